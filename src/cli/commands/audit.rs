//! `mailwright audit`: lists the audit log of a service, and verifies its hash chain and the store's agreement with it.
//!
//! `verify` fetches every entry and recomputes the chain in this process. The service compares its own store with the log; with
//! `--data` this process does. Only `--expect-head` detects a log that was rewritten completely. A broken chain and a store that
//! differs are errors. A change of the store that the log already records (`store.altered`) is listed, and is not an error by itself.
//! A log without a digest of the store counts as intact. Both commands take many environments; `--data` and `--expect-head` take one.
//!
//! `audit verify --data` reads the store of a stopped or running service directly, without changing it. The chain is defined
//! in [`crate::model::audit`], the comparison with the store in [`crate::store`].

use std::path::PathBuf;

use serde::Deserialize as _;
use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::environments::EnvironmentsArgs,
        environment::Environment,
        fleet::Fleet,
        ui::{
            fleet_report::{Significance, Summary, SummaryLabels},
            table::table,
            wording::count_of,
        },
    },
    model::{
        AuditEntry, AuditOutcome, Code, Digest, EnvironmentName, Meaning, Signature, integrity::StoreCheck,
        signature::with_offset,
    },
    store::AuditReader,
    text::printable,
    time::local::format_time,
};

/// Read and verify the service's audit log
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright audit list prod\n  \
    mailwright audit list 'cust-*' --after 1200\n  \
    mailwright audit list prod --action proposal.sign --format json   signatures, with their evidence\n  \
    mailwright audit verify prod\n  \
    mailwright audit verify 'cust-*'                        many; those that differ are last\n  \
    mailwright audit verify prod --expect-head sha256:...   the head that an earlier run printed\n  \
    mailwright audit verify prod --data /var/lib/mailwright of a service or a copy of its store, read only\n\n\
    Every entry contains the hash of the previous one, so a changed, removed or\n\
    inserted entry is detected. Entries of changes contain the digest of all\n\
    profiles, settings and tokens: `verify` compares the store with it. The number\n\
    and hash of the newest entry are also kept outside the log, so a truncated log\n\
    is detected. Keep the head that `verify` prints in another place: only that\n\
    detects a log that was rewritten completely.")]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuditCommand {
    /// Print the entries, oldest first
    List {
        #[command(flatten)]
        environments: EnvironmentsArgs,
        /// Only entries after this number
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: u64,
        /// Only actions that begin with this: `proposal.sign`, `message.`
        #[arg(long, value_name = "ACTION")]
        action: Option<String>,
        /// Only entries of this caller
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
        /// Only accepted or refused actions
        #[arg(long, value_name = "OUTCOME")]
        outcome: Option<AuditOutcome>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Recompute the hash chain, and compare the store with the digests in the log
    Verify {
        #[command(flatten)]
        environments: EnvironmentsArgs,
        /// Hash that an entry must have: the head that an earlier run printed
        #[arg(long, value_name = "HASH")]
        expect_head: Option<Digest>,
        /// Read the store in this data folder instead of calling the service
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        data: Option<PathBuf>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

impl Runnable for Audit {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            AuditCommand::List { output, .. } | AuditCommand::Verify { output, .. } => output.format.into(),
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match &self.command {
            AuditCommand::List { environments, after, action, actor, outcome, output, service } => {
                let is_wanted = |entry: &AuditEntry| {
                    action.as_ref().is_none_or(|action| entry.action.starts_with(action))
                        && actor.as_ref().is_none_or(|actor| entry.actor == *actor)
                        && outcome.is_none_or(|outcome| entry.outcome == outcome)
                };
                let labels = SummaryLabels { notable: ("listed", "with entries"), quiet: ("empty", "without entries") };
                let fleet = Fleet::from_args(context, environments, service)?;
                fleet.run(context, output.format, &labels, |context, environment| {
                    list(context, environment, *after, &is_wanted, service)
                })
            }
            AuditCommand::Verify { environments, expect_head, data, output, service } => match data {
                Some(folder) => {
                    let [environment] = &environments.environments[..] else {
                        return Err(CliError::coded(
                            Code::SeveralEnvironments,
                            "`--data` is the folder of one environment",
                        )
                        .remedy("Name that environment alone."));
                    };
                    let name: EnvironmentName = environment.parse().map_err(|_| {
                        let name = environment.escape_debug();
                        CliError::coded(Code::InvalidName, format!("`{name}` is not the name of an environment"))
                    })?;
                    let source = AuditSource::open(&name, folder)?;
                    verify(context, environment, &source, expect_head.as_ref())?.print(context, output.format, &name)
                }
                None => verify_by_service(context, environments, expect_head.as_ref(), output.format, service),
            },
        }
    }
}

/// Verifies the logs of one or many environments by their services.
fn verify_by_service(
    context: &Context,
    environments: &EnvironmentsArgs,
    expected: Option<&Digest>,
    format: Format,
    service: &ServiceArgs,
) -> Result<Exit, CliError> {
    let fleet = Fleet::from_args(context, environments, service)?;
    if expected.is_some() && matches!(fleet, Fleet::Many(_)) {
        return Err(CliError::coded(Code::SeveralEnvironments, "`--expect-head` is the head of one environment")
            .remedy("Name that environment alone."));
    }
    let labels = SummaryLabels { notable: ("altered", "altered before"), quiet: ("intact", "intact") };
    fleet.run(context, format, &labels, |context, environment| {
        let source = AuditSource::Service(Box::new(environment.client(context, service)?));
        verify(context, environment.name.as_str(), &source, expected)
    })
}

/// The source of the entries.
enum AuditSource {
    Service(Box<crate::client::Client>),
    Store(Box<AuditReader>),
}

impl AuditSource {
    fn open(environment: &EnvironmentName, folder: &std::path::Path) -> Result<Self, CliError> {
        let failed = |why: String| {
            CliError::coded(Code::Unreadable, format!("cannot read the store in `{}`: {why}", folder.display()))
        };
        let path = folder.join("store.sqlite");
        if !path.is_file() {
            return Err(CliError::coded(Code::NotFound, format!("`{}` does not contain a store", folder.display()))
                .remedy("Pass the data folder of the service or a copy of it: the folder with `store.sqlite`."));
        }
        let store = AuditReader::open(&path, environment).map_err(|error| failed(error.to_string()))?;
        Ok(AuditSource::Store(Box::new(store)))
    }

    async fn page(&self, after: u64) -> Result<Vec<AuditEntry>, CliError> {
        match self {
            AuditSource::Service(client) => Ok(client.audit(Some(after), 1000).await?.entries),
            AuditSource::Store(store) => store.entries(after, 1000).map_err(unreadable),
        }
    }

    /// Compares the store with the digests in its audit log.
    async fn check(&self) -> Result<StoreCheck, CliError> {
        match self {
            AuditSource::Service(client) => Ok(client.check_store().await?),
            AuditSource::Store(store) => store.check().map_err(unreadable),
        }
    }
}

fn unreadable(error: crate::store::StoreError) -> CliError {
    CliError::coded(Code::AuditBroken, format!("cannot read the audit log: {error}"))
}

fn list(
    context: &Context,
    environment: &Environment,
    after: u64,
    is_wanted: &dyn Fn(&AuditEntry) -> bool,
    service: &ServiceArgs,
) -> Result<Summary, CliError> {
    let client = environment.client(context, service)?;
    let source = AuditSource::Service(Box::new(client));
    let runtime = context.runtime()?;
    let mut after = after;
    let mut all = Vec::new();
    loop {
        let page = runtime.block_on(source.page(after))?;
        let Some(last) = page.last() else { break };
        // A service that lists the same entries again would fill the memory.
        if last.sequence <= after {
            return Err(CliError::coded(Code::IncompleteAnswer, "the service lists the same audit entries again")
                .remedy("Check the version and the address of the service."));
        }
        after = last.sequence;
        all.extend(page.into_iter().filter(|entry| is_wanted(entry)));
    }
    let rows = all.iter().map(|entry| {
        let outcome = match entry.outcome {
            AuditOutcome::Accepted => "accepted",
            AuditOutcome::Refused => "refused",
        };
        vec![
            entry.sequence.to_string(),
            format_time(entry.at),
            entry.actor.clone(),
            entry.action.clone(),
            outcome.to_owned(),
            describe_entry(entry),
        ]
    });
    let text = table(&["no", "at", "actor", "action", "outcome", "detail"], rows);
    let (line, significance) = match all.last() {
        Some(last) => {
            let (actor, action) = (printable(&last.actor), printable(&last.action));
            (format!("{}, the last one {action} by {actor}", count_of(all.len(), "entry")), Significance::Counted)
        }
        None => ("no entries".to_owned(), Significance::Quiet),
    };
    Ok(Summary::new(significance, line, text, json!({ "environment": environment.name, "entries": all })))
}

/// Describes an entry's detail in one line.
fn describe_entry(entry: &AuditEntry) -> String {
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
        describe_approvals(entry),
        describe_signature(entry),
        entry.detail["allowances"]["breakGlass"].as_str().map(|reason| format!("without approvals: {reason}")),
        part(if entry.action.starts_with("operator.") { "operator" } else { "token" }, "name"),
        part("passkey", "label"),
        part("message", "message"),
        part("was", "was"),
        part("resolved as", "resolved"),
        text("times").map(|times| {
            let until = text("until").map(|until| until.parse().map_or(until, format_time));
            format!("{times} times until {}", until.unwrap_or_default())
        }),
        text("reason"),
        text("code"),
        text("why"),
    ];
    printable(&parts.into_iter().flatten().collect::<Vec<_>>().join(", ")).into_owned()
}

/// Lists the signers of an entry with their reasons.
fn describe_approvals(entry: &AuditEntry) -> Option<String> {
    let approvals = entry.detail["approvals"].as_array().filter(|approvals| !approvals.is_empty())?;
    let signers = approvals.iter().map(|approval| {
        let (signer, reason) = (approval["signer"].as_str(), approval["reason"].as_str());
        let reason = reason.filter(|reason| !reason.is_empty()).map(|reason| format!(" ({reason})"));
        let meaning = approval["meaning"].as_str().unwrap_or("approved");
        (meaning, format!("{}{}", signer.unwrap_or_default(), reason.unwrap_or_default()))
    });
    let signers: Vec<(&str, String)> = signers.collect();
    let by_meaning = Meaning::ALL.iter().filter_map(|meaning| {
        let of_meaning = signers.iter().filter(|(own, _)| *own == meaning.id()).map(|(_, signer)| signer.as_str());
        let of_meaning = of_meaning.collect::<Vec<_>>().join(", ");
        (!of_meaning.is_empty()).then(|| format!("{meaning} by {of_meaning}"))
    });
    Some(by_meaning.collect::<Vec<_>>().join(", "))
}

/// Describes the signature of a person of the console that an entry records.
fn describe_signature(entry: &AuditEntry) -> Option<String> {
    let signature = Signature::deserialize(&entry.detail["signature"]).ok()?;
    let Signature { signer, printed_name, meaning, at, offset_minutes, method, .. } = &signature;
    let time = with_offset(*at, *offset_minutes);
    let recent = signature.describe_recent_passkey().map_or_else(String::new, |recent| format!(" ({recent})"));
    Some(format!("{printed_name} ({signer}) {meaning} {time} by {}{recent}", method.id()))
}

/// Verifies one log, and compares the store with it.
fn verify(
    context: &Context,
    environment: &str,
    source: &AuditSource,
    expected: Option<&Digest>,
) -> Result<Summary, CliError> {
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
            if let Some(broken) = entry.broken(count, &previous) {
                return Err(CliError::coded(Code::AuditBroken, format!("the audit log is broken: {broken}"))
                    .remedy("The store was changed without the service. Compare it with a backup."));
            }
            count = entry.sequence;
            seen = seen || expected == Some(&entry.hash);
            previous = entry.hash;
        }
    }
    if !seen {
        return Err(CliError::coded(
            Code::AuditBroken,
            "the audit log is intact, but has no entry with the expected hash: entries were cut off",
        )
        .remedy("The store was replaced by an older or another one. Compare it with a backup."));
    }
    let check = runtime.block_on(source.check())?;
    if !check.problems.is_empty() {
        let shown: Vec<String> = check.problems.iter().map(|problem| printable(problem).into_owned()).collect();
        return Err(CliError::coded(
            Code::AuditBroken,
            format!("the store differs from its audit log: {}", shown.join("; ")),
        )
        .remedy("The store was changed without the service. Compare it with a backup."));
    }
    let StoreCheck { stated_by, altered_before, .. } = &check;
    let document = json!({
        "environment": environment, "entries": count, "head": previous, "intact": true, "statedBy": stated_by, "alteredBefore": altered_before,
    });
    let mut text = format!("The audit log is intact: {count} entries.");
    text.push_str(&match stated_by {
        Some(entry) => {
            format!("\nThe store matches entry {entry}: profiles, settings, tokens, every generation.")
        }
        None => "\nNo entry has a digest of the store yet; the next change adds one.".to_owned(),
    });
    let (mut line, mut significance) = (format!("intact, {count} entries"), Significance::Quiet);
    if !altered_before.is_empty() {
        let entries = altered_before.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("\nThe store had been changed without the service before: entry {entries}."));
        line = format!("{line}; changed without the service before entry {entries}");
        significance = Significance::Listed;
    }
    Ok(Summary::new(significance, line, format!("{text}\nhead {previous}"), document))
}
