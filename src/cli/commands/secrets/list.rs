//! `mailwright secrets list`: lists the secrets of environments with their recipients, their users, and what binds them to a
//! destination.
//!
//! Reads the headers of age files only, and needs no key. Problems are reported by `secrets check`. A secret that is missing or not
//! an age file is listed as such.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, OutputArgs, Runnable,
        args::environments::EnvironmentsArgs,
        commands::secrets::{
            files::{list_files, read_age},
            recipients_file::read_recipients,
        },
        environment::Environment,
        fleet::Fleet,
        ui::{
            fleet_report::{Significance, Summary, SummaryLabels},
            table::table,
            wording::count_of,
        },
    },
    secrets::{Header, fingerprint},
};

/// List the secrets with their recipients, profiles and state
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets list prod\n  \
    mailwright secrets list prod --format json\n  \
    mailwright secrets list 'cust-*'                equal ones together\n\n\
    Needs no key. `bound by` shows what binds a secret to its destination:\n\
    `destination` (written in the file), or `value-id` or `file` (stored in the\n\
    service when it first accepted the secret). The recipients are in the headers\n\
    that `secrets set` writes; for a file of another program only their kinds are\n\
    known.")]
pub(super) struct List {
    #[command(flatten)]
    environments: EnvironmentsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Runnable for List {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let labels = SummaryLabels { notable: ("incomplete", "with missing secrets"), quiet: ("complete", "complete") };
        let repository = Arc::new(context.repository()?);
        let EnvironmentsArgs { environments, selection } = &self.environments;
        let fleet = Fleet::without_services(context, &repository, environments, selection)?;
        fleet.run(context, self.output.format, &labels, |_, environment| list(environment))
    }
}

fn list(environment: &Environment) -> Result<Summary, CliError> {
    let root = environment.repository.root();
    let used = environment.repository.used_secrets(&environment.name);
    let found = list_files(root, &environment.name)?;
    let present: BTreeMap<_, _> = found.secrets.into_iter().collect();
    let staged: BTreeMap<_, _> = found.next.into_iter().collect();
    let known: BTreeMap<String, String> = read_recipients(root, &environment.name)
        .map(|recipients| recipients.texts().map(|text| (fingerprint(text), text.to_owned())).collect())
        .unwrap_or_default();
    let names: BTreeSet<_> = used.keys().chain(present.keys()).chain(staged.keys()).collect();
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    // Each service has a recipient of its own, so recipients are only counted when environments are compared.
    let mut compared = Vec::new();
    let mut lacking = 0;
    for name in names {
        let uses = used.get(name).cloned().unwrap_or_default();
        let users = uses.names();
        let header = match present.get(name) {
            None => None,
            Some(path) => Some(Header::read(&read_age(root, path)?)),
        };
        let (state, to) = match &header {
            None => ("missing", Vec::new()),
            Some(Err(_)) => ("not an age file", Vec::new()),
            Some(Ok(header)) => (if users.is_empty() { "unused" } else { "ok" }, describe_recipients(header, &known)),
        };
        lacking += usize::from(!matches!(header, Some(Ok(_))));
        let digest = header.as_ref().and_then(|header| header.as_ref().ok()).map(|header| header.digest.clone());
        let binding = header.as_ref().and_then(|header| header.as_ref().ok()).map(|header| header.binding().id());
        let used_by = if users.is_empty() { "-".to_owned() } else { users.join(", ") };
        let bound = binding.unwrap_or("-").to_owned();
        rows.push(vec![name.to_string(), state.to_owned(), used_by, bound, to.join(", ")]);
        compared.push(json!([name, state, users, binding, to.len(), staged.contains_key(name)]));
        let mut document = json!({ "name": name, "state": state, "profiles": uses.profiles, "reader": uses.reader, "recipients": to, "digest": digest, "binding": binding });
        if let Some(path) = staged.get(name) {
            let (state, to, header) = match Header::read(&read_age(root, path)?) {
                Ok(header) => ("staged", describe_recipients(&header, &known), Some(header)),
                Err(_) => ("not an age file", Vec::new(), None),
            };
            let binding = header.as_ref().map(|header| header.binding().id());
            let bound = binding.unwrap_or("-").to_owned();
            rows.push(vec!["  its next value".to_owned(), state.to_owned(), String::new(), bound, to.join(", ")]);
            let digest = header.map(|header| header.digest);
            document["next"] = json!({ "state": state, "recipients": to, "digest": digest, "binding": binding });
        }
        documents.push(document);
    }
    let text = if rows.is_empty() {
        format!("{} has no secrets, and no profile uses one.", environment.name)
    } else {
        table(&["secret", "state", "used by", "bound by", "sealed to"], rows)
    };
    let significance = if lacking > 0 { Significance::Counted } else { Significance::Shown };
    let count = count_of(documents.len(), "secret");
    let line = if lacking > 0 { format!("{count}, {lacking} of them missing or unreadable") } else { count };
    let document = json!({ "environment": environment.name, "secrets": documents });
    Ok(Summary { content: Some(json!(compared)), ..Summary::new(significance, line, text, document) })
}

/// Returns the recipients of a file, as far as its header names them.
fn describe_recipients(header: &Header, known: &BTreeMap<String, String>) -> Vec<String> {
    let named = |print: &String| {
        known.get(print).map_or(format!("({print}, not in recipients.txt)"), |text| short_recipient(text))
    };
    match &header.recipients {
        Some(fingerprints) => fingerprints.iter().map(named).collect(),
        None => header.kinds.iter().map(|kind| format!("({kind})")).collect(),
    }
}

/// Returns a recipient for a table: the first characters of a key, or the comment of an SSH key.
pub(super) fn short_recipient(recipient: &str) -> String {
    let mut words = recipient.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(kind), Some(_), Some(comment)) if kind.starts_with("ssh-") => comment.to_owned(),
        (Some(kind), Some(key), None) if kind.starts_with("ssh-") => {
            let end: String = key.chars().skip(key.chars().count().saturating_sub(8)).collect();
            format!("{kind} ...{end}")
        }
        _ => format!("{}...", recipient.chars().take(12).collect::<String>()),
    }
}
