//! `mailwright audit`: reads and verifies the service's audit log.

use std::path::PathBuf;

use serde_json::json;

use super::{
    CliError, Context, Exit, ServiceOptions,
    environment::Environment,
    plan::{self, Format},
};
use crate::{
    api::{AuditEntry, AuditOutcome},
    model::{Code, Digest, EnvironmentName},
    store::{SqliteStore, Store as _},
};

/// Read and verify the service's audit log
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright audit list prod\n  mailwright audit verify prod\n  \
    mailwright audit verify prod --expect-head sha256:...   the head that an earlier run printed\n  \
    mailwright audit verify prod --data /var/lib/mailwright of a stopped service or a copy of its store\n\n\
    Every entry carries the hash of the one before, so none can be changed, removed or put in between unseen.\n\
    Keep the head that `verify` prints somewhere else: only that shows entries cut off at the end.")]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuditCommand {
    /// Print the entries, oldest first
    List {
        /// The environment
        environment: String,
        /// Only entries after this number
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: u64,
        /// How to print them
        #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        service: ServiceOptions,
    },
    /// Compute the chain of hashes again
    Verify {
        /// The environment
        environment: String,
        /// The hash that some entry must have: a head that was noted before
        #[arg(long, value_name = "HASH")]
        expect_head: Option<Digest>,
        /// Read the store in this data folder instead of asking the service
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        data: Option<PathBuf>,
        /// How to print the result
        #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        service: ServiceOptions,
    },
}

impl Audit {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.command {
            AuditCommand::List { environment, after, format, service } => {
                plan::json_even_on_errors(context, format == Format::Json, || {
                    list(context, &environment, after, format, &service)
                })
            }
            AuditCommand::Verify { environment, expect_head, data, format, service } => {
                plan::json_even_on_errors(context, format == Format::Json, || {
                    let source = match data {
                        Some(folder) => Source::open(&environment, &folder)?,
                        None => Source::Service(Box::new(
                            Environment::find(context, &environment)?.client(context, &service)?,
                        )),
                    };
                    verify(context, &source, expect_head.as_ref(), format)
                })
            }
        }
    }
}

/// Where the entries come from.
enum Source {
    Service(Box<crate::client::Client>),
    Store(Box<SqliteStore>),
}

impl Source {
    fn open(environment: &str, folder: &std::path::Path) -> Result<Self, CliError> {
        let failed =
            |why: String| CliError::coded(Code::Unreadable, format!("the store in `{}`: {why}", folder.display()));
        let environment: EnvironmentName = environment.parse().map_err(|_| failed("no such environment".to_owned()))?;
        let path = folder.join("store.sqlite");
        if !path.is_file() {
            return Err(CliError::coded(Code::NotFound, format!("no store is in `{}`", folder.display()))
                .remedy("Give the data folder of the service, or a copy of it: the folder with `store.sqlite`."));
        }
        let store = SqliteStore::open(&path, &environment).map_err(|error| failed(error.to_string()))?;
        Ok(Source::Store(Box::new(store)))
    }

    async fn page(&self, after: u64) -> Result<Vec<AuditEntry>, CliError> {
        match self {
            Source::Service(client) => Ok(client.audit(Some(after), 1000).await?.entries),
            Source::Store(store) => store
                .audit(after, 1000)
                .await
                .map_err(|error| CliError::coded(Code::AuditBroken, format!("the audit log cannot be read: {error}"))),
        }
    }
}

fn list(
    context: &Context,
    environment: &str,
    after: u64,
    format: Format,
    service: &ServiceOptions,
) -> Result<Exit, CliError> {
    let client = Environment::find(context, environment)?.client(context, service)?;
    let source = Source::Service(Box::new(client));
    let runtime = context.runtime()?;
    let mut after = after;
    let mut all = Vec::new();
    loop {
        let page = runtime.block_on(source.page(after))?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        all.extend(page);
    }
    if format == Format::Json {
        context.printer.out(&format!("{:#}", json!({ "entries": all })));
        return Ok(Exit::Done);
    }
    let rows = all.iter().map(|entry| {
        let outcome = match entry.outcome {
            AuditOutcome::Accepted => "accepted",
            AuditOutcome::Refused => "refused",
        };
        vec![
            entry.sequence.to_string(),
            entry.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            entry.actor.clone(),
            entry.action.clone(),
            outcome.to_owned(),
            words(entry),
        ]
    });
    context.printer.out(&super::table::table(&["no", "at", "who", "what", "outcome", "detail"], rows));
    Ok(Exit::Done)
}

/// The part of an entry's detail that fits a line.
fn words(entry: &AuditEntry) -> String {
    let text = |key: &str| match &entry.detail[key] {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let part = |label: &str, key: &str| text(key).map(|value| format!("{label} {value}"));
    let parts = [
        part("generation", "generation"),
        part("back to", "rolledBackTo"),
        part("profile", "profile"),
        approved(entry),
        entry.detail["allowances"]["breakGlass"].as_str().map(|reason| format!("without approvals: {reason}")),
        part("token", "name"),
        part("message", "message"),
        part("was", "was"),
        part("resolved as", "resolved"),
        text("times").map(|times| format!("{times} times until {}", text("until").unwrap_or_default())),
        text("reason"),
        text("code"),
        text("why"),
    ];
    crate::reconcile::render::shown(&serde_json::Value::from(
        parts.into_iter().flatten().collect::<Vec<_>>().join(", "),
    ))
    .trim_matches('"')
    .to_owned()
}

/// Who approved it, with their reasons.
fn approved(entry: &AuditEntry) -> Option<String> {
    let approvals = entry.detail["approvals"].as_array().filter(|approvals| !approvals.is_empty())?;
    let words = approvals.iter().map(|approval| {
        let (signer, reason) = (approval["signer"].as_str(), approval["reason"].as_str());
        let reason = reason.filter(|reason| !reason.is_empty()).map(|reason| format!(" ({reason})"));
        format!("{}{}", signer.unwrap_or_default(), reason.unwrap_or_default())
    });
    Some(format!("approved by {}", words.collect::<Vec<_>>().join(", ")))
}

fn verify(context: &Context, source: &Source, expected: Option<&Digest>, format: Format) -> Result<Exit, CliError> {
    let runtime = context.runtime()?;
    let mut previous = AuditEntry::genesis();
    let mut count = 0;
    let mut seen = expected.is_none();
    loop {
        let page = runtime.block_on(source.page(count))?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            let broken = if entry.sequence != count + 1 {
                Some(format!("entry {} comes after entry {count}", entry.sequence))
            } else if entry.previous != previous {
                Some(format!("entry {} does not carry the hash of the one before", entry.sequence))
            } else if entry.expected_hash() != entry.hash {
                Some(format!("entry {} does not have the hash of its contents", entry.sequence))
            } else {
                None
            };
            if let Some(broken) = broken {
                return Err(CliError::coded(Code::AuditBroken, format!("the audit log is broken: {broken}"))
                    .remedy("Somebody changed the store past the service. Compare it with a backup."));
            }
            count = entry.sequence;
            seen = seen || expected == Some(&entry.hash);
            previous = entry.hash;
        }
    }
    if !seen {
        return Err(CliError::coded(
            Code::AuditBroken,
            "the audit log is in order, but has no entry with the expected hash: it was cut off",
        )
        .remedy("Somebody put an older or another store in its place. Compare it with a backup."));
    }
    if format == Format::Json {
        context.printer.out(&format!("{:#}", json!({ "entries": count, "head": previous, "intact": true })));
    } else {
        context.printer.out(&format!("The audit log is intact: {count} entries.\nhead {previous}"));
    }
    Ok(Exit::Done)
}
