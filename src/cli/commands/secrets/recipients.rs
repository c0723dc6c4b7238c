//! `mailwright secrets recipients`: lists, adds and removes recipients in many environments.
//!
//! All files of an environment are sealed and written to temporary files before the first one is replaced. They are then replaced
//! one after the other, `recipients.txt` last, so that an interrupted run can be repeated. An environment that fails does not stop
//! the others; the exit code is then 1.
//!
//! The last recipient cannot be removed. An X25519 recipient may be the service's: if the service cannot be asked, its removal is
//! refused without `--even-the-service`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::identity::IdentityArgs,
        commands::secrets::{
            environments::EnvironmentFilter,
            files::{list_files, read_age},
            list::short_recipient,
            ownership::{OwnershipCheck, ValueIndex},
            recipients_file::{check_not_public, read_recipients},
            rekey::is_encrypted_to,
            sealing::{open_error, seal_error},
        },
        environment::Environment,
        ui::{age_prompt::AgePrompt, format::document_of, table::table, wording::count_of},
    },
    config::Repository,
    fs::{read_ordinary, write_all},
    model::{Code, EnvironmentName, SecretReference},
    secrets::{Identities, RECIPIENTS_LIMIT, Recipients, fingerprint, is_native_recipient, rekey},
};

/// List, add or remove recipients in many environments
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets recipients list\n  \
    mailwright secrets recipients add \"$(cat ann.pub)\" --dry-run\n  \
    mailwright secrets recipients add \"$(cat ann.pub)\" -l region=emea\n  \
    mailwright secrets recipients remove \"ssh-ed25519 AAAA...\" 'prod-*' --identity ~/.config/age/keys.txt\n\n\
    Every secret of the environments is sealed again to the new recipients; values\n\
    and destinations do not change. A file whose value belongs to another\n\
    environment or name is rejected. All files of an environment are sealed before\n\
    the first one is replaced, recipients.txt last. If that is interrupted, run the\n\
    command again: it completes the environment. An error in one does not affect\n\
    the others.\n\n\
    The service stores the recipients, and the console encrypts for them. To apply an\n\
    added one: `mailwright apply ENV --allow-rights`.\n\n\
    A removed recipient can still decrypt versions in Git's history: change the\n\
    values too (`mailwright secrets rotate`).")]
pub(super) struct RecipientsCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(List),
    Add(Add),
    Remove(Remove),
}

/// List the recipients and their environments
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    environments: EnvironmentFilter,
    #[command(flatten)]
    output: OutputArgs,
}

/// Add a recipient, and seal every secret to it as well
#[derive(Debug, clap::Args)]
struct Add {
    /// Age recipient or SSH public key, in quotes
    recipient: String,
    /// Comment for recipients.txt, such as a name
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    options: RecipientsArgs,
}

/// Remove a recipient, and seal every secret without it
#[derive(Debug, clap::Args)]
struct Remove {
    /// Age recipient or SSH public key, in quotes
    recipient: String,
    /// Remove this recipient even if it is, or might be, that of the service
    #[arg(long, value_name = "RECIPIENT")]
    even_the_service: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    options: RecipientsArgs,
}

#[derive(Debug, clap::Args)]
struct RecipientsArgs {
    #[command(flatten)]
    environments: EnvironmentFilter,
    /// List the changes without writing them
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    identities: IdentityArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Runnable for RecipientsCommand {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            Command::List(list) => list.output.format.into(),
            Command::Add(add) => add.options.output.format.into(),
            Command::Remove(remove) => remove.options.output.format.into(),
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match &self.command {
            Command::List(list) => list.run(context),
            Command::Add(add) => add.run(context),
            Command::Remove(remove) => remove.run(context),
        }
    }
}

impl List {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let (mut rows, mut documents) = (Vec::new(), serde_json::Map::new());
        for name in select_with_recipients(&repository, &self.environments)? {
            let recipients = read_recipients(repository.root(), &name)?;
            let known: Vec<_> =
                recipients.texts().map(|text| json!({ "recipient": text, "fingerprint": fingerprint(text) })).collect();
            documents.insert(name.to_string(), json!({ "environment": name, "recipients": known }));
            rows.extend(recipients.texts().map(|text| (name.clone(), text.to_owned())));
        }
        if self.output.format == Format::Json {
            context.printer.json(&self.environments.document(documents)?);
        } else {
            // Grouped by recipient, to show in which environments each one is.
            let mut texts: Vec<&String> = rows.iter().map(|(_, text)| text).collect();
            texts.sort();
            texts.dedup_by_key(|text| fingerprint(text));
            let cells = texts.into_iter().map(|text| {
                let own = rows.iter().filter(|(_, other)| fingerprint(other) == fingerprint(text));
                let names: Vec<&str> = own.map(|(name, _)| name.as_str()).collect();
                vec![short_recipient(text), fingerprint(text), names.join(", ")]
            });
            context.printer.out(&table(&["recipient", "fingerprint", "environments"], cells));
        }
        Ok(Exit::Done)
    }
}

impl Add {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let recipient = self.recipient.trim();
        if recipient.is_empty() || recipient.starts_with('#') || recipient.contains(['\n', '\r']) {
            return Err(CliError::coded(Code::RecipientsInvalid, "invalid recipient")
                .remedy("Pass one recipient: age1..., or an SSH public key in quotes."));
        }
        let comment = match &self.comment {
            Some(comment) if comment.chars().any(char::is_control) || comment.chars().count() > 200 => {
                return Err(CliError::coded(Code::InvalidValue, "a comment is one line of at most 200 characters"));
            }
            comment => comment.as_deref(),
        };
        self.options.run(context, recipient, "add", |_, text, recipients| {
            if recipients.fingerprints().any(|own| own == fingerprint(recipient)) {
                return Ok(text.to_owned());
            }
            let mut text = text.trim_end().to_owned();
            text.push_str("\n\n");
            if let Some(comment) = comment {
                text.push_str("# ");
                text.push_str(comment);
                text.push('\n');
            }
            text.push_str(recipient);
            text.push('\n');
            Ok(text)
        })
    }
}

impl Remove {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let recipient = self.recipient.trim();
        let removed = fingerprint(recipient);
        let is_confirmed = match &self.even_the_service {
            None => false,
            Some(named) if fingerprint(named) == removed => true,
            Some(_) => {
                return Err(CliError::coded(Code::Usage, "`--even-the-service` names another recipient")
                    .remedy("Name the same recipient twice, or leave it out."));
            }
        };
        self.options.run(context, recipient, "remove", |environment, text, recipients| {
            if !recipients.fingerprints().any(|own| own == removed) {
                return Ok(text.to_owned());
            }
            let keep = |why: String| CliError::coded(Code::RecipientRequired, why);
            if recipients.fingerprints().count() == 1 {
                return Err(keep("it is the only recipient; the secrets could not be decrypted".to_owned())
                    .remedy("Add another recipient first."));
            }
            // The recipient of a service is always an X25519 key.
            if !is_confirmed && is_native_recipient(recipient) {
                let answer = environment
                    .client(context, &self.service)
                    .and_then(|client| Ok(context.runtime()?.block_on(client.service())?));
                match answer {
                    Ok(info) if info.environment != environment.name => {
                        return Err(keep(format!(
                            "the service belongs to environment `{}`, so it is not known whether this recipient is that of the service",
                            info.environment
                        ))
                        .remedy(format!("Correct the address. If it is not the recipient of the service: --even-the-service {recipient}")));
                    }
                    Ok(info) if fingerprint(&info.recipient) == removed => {
                        return Err(keep("it is the recipient of the service, which could not send mail without it".to_owned())
                            .remedy(format!("If the service has a new identity whose recipient was added before: --even-the-service {recipient}")));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        return Err(keep(format!(
                            "cannot query the service, so it is not known whether this is its recipient: {}",
                            error.message
                        ))
                        .remedy(format!("Pass `--service` and a token. If it is not the recipient of the service: --even-the-service {recipient}")));
                    }
                }
            }
            Ok(remove_recipient(text, &removed))
        })
    }
}

/// The files to write for an environment.
struct PreparedFiles {
    name: EnvironmentName,
    /// True if recipients.txt changes. Secrets can be outdated without such a change.
    recipients_change: bool,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// The number of secrets that need no change.
    current: usize,
}

impl RecipientsArgs {
    /// Changes the selected environments. `change` returns the new text of recipients.txt, or an error.
    fn run(
        &self,
        context: &Context,
        recipient: &str,
        action: &str,
        change: impl Fn(&Environment, &str, &Recipients) -> Result<String, CliError>,
    ) -> Result<Exit, CliError> {
        let repository = Arc::new(context.repository()?);
        let names = select_with_recipients(&repository, &self.environments)?;
        let (mut identities, mut value_index): (Option<Identities>, _) = (None, ValueIndex::default());
        let mut done = Vec::new();
        let mut failures: Vec<(EnvironmentName, CliError)> = Vec::new();
        for name in names {
            let environment = Environment::new(name, Arc::clone(&repository));
            let prepared = self.prepare(&environment, &change, &mut identities, &mut value_index);
            let prepared = prepared.and_then(|prepared| {
                if !self.dry_run {
                    write_all(repository.root(), &prepared.files).map_err(|error| {
                        CliError::coded(Code::Unwritable, format!("cannot write its files: {error}")).remedy(
                            "Run the command again: it replaces the files that still have the earlier recipients.",
                        )
                    })?;
                }
                Ok(prepared)
            });
            match prepared {
                Ok(prepared) => done.push(prepared),
                Err(error) => failures.push((environment.name, error)),
            }
        }
        self.report(context, recipient, action, &done, &failures)?;
        if failures.is_empty() {
            return Ok(Exit::Done);
        }
        Err(CliError { in_json: true, ..CliError::already_printed() })
    }

    fn prepare(
        &self,
        environment: &Environment,
        change: impl Fn(&Environment, &str, &Recipients) -> Result<String, CliError>,
        identities: &mut Option<Identities>,
        value_index: &mut ValueIndex,
    ) -> Result<PreparedFiles, CliError> {
        let (root, name) = (environment.repository.root(), &environment.name);
        let before = read_recipients(root, name)?;
        let path = Repository::recipients_path(name);
        let bytes = read_ordinary(&root.join(&path), RECIPIENTS_LIMIT)
            .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display())))?;
        // The file may have another encoding; it is written back as UTF-8.
        let text = crate::text::decode(&bytes).map_err(|encoding| {
            CliError::coded(Code::RecipientsInvalid, format!("{}: it is {encoding}", path.display()))
        })?;
        let changed = change(environment, &text, &before)?;
        let recipients = Recipients::parse(&changed, &AgePrompt).map_err(|error| {
            CliError::coded(Code::RecipientsInvalid, format!("cannot change recipients.txt: {error}"))
                .remedy("Pass one recipient: age1..., or an SSH public key in quotes. An identity (AGE-SECRET-KEY-...) is private and must not be used here.")
        })?;
        check_not_public(environment, &recipients)?;
        let ownership = OwnershipCheck::new(environment, &before);
        let mut outdated: Vec<(SecretReference, PathBuf, Vec<u8>)> = Vec::new();
        let mut current = 0;
        for (reference, path) in list_files(root, name)?.age_files() {
            let bytes = read_age(root, path)?;
            if is_encrypted_to(&bytes, &recipients) {
                current += 1;
            } else {
                outdated.push((reference.clone(), path.clone(), bytes));
            }
        }
        let mut files = Vec::new();
        if !outdated.is_empty() {
            if identities.is_none() {
                // Loaded once, so that a passphrase is requested once and not per environment.
                *identities = Some(self.identities.load(outdated.iter().map(|(_, _, bytes)| bytes.as_slice()))?);
            }
            let Some(identities) = identities.as_ref() else { return Err(CliError::new("no identity was loaded")) };
            for (reference, path, bytes) in &outdated {
                let sealed = rekey(bytes, identities.iter(), &recipients, None)
                    .map_err(|error| open_error(&environment.name, reference, path, &error))?
                    .map_err(|error| seal_error(reference, &error))?;
                ownership.check(reference, bytes, false, value_index)?;
                files.push((path.clone(), sealed));
            }
        }
        let recipients_change = changed != text;
        if recipients_change {
            files.push((path, changed.into_bytes()));
        }
        Ok(PreparedFiles { name: name.clone(), recipients_change, files, current })
    }

    fn report(
        &self,
        context: &Context,
        recipient: &str,
        action: &str,
        done: &[PreparedFiles],
        failures: &[(EnvironmentName, CliError)],
    ) -> Result<(), CliError> {
        let changed: Vec<&PreparedFiles> = done.iter().filter(|prepared| !prepared.files.is_empty()).collect();
        let total: usize = changed.iter().map(|prepared| prepared.files.len()).sum();
        if self.output.format == Format::Json {
            let changed = done.iter().map(|prepared| {
                let files: Vec<_> = prepared.files.iter().map(|(path, _)| display(path)).collect();
                (&prepared.name, json!({ "recipientsChanged": prepared.recipients_change, "files": files }))
            });
            let failed = failures.iter().map(|(name, error)| (name, error.to_json()));
            let documents = changed
                .chain(failed)
                .map(|(name, document)| (name.to_string(), document_of(name.as_str(), "result", &document)));
            let mut document = self.environments.document(documents.collect())?;
            document["action"] = json!(action);
            document["recipient"] = json!(recipient);
            document["dryRun"] = json!(self.dry_run);
            context.printer.json(&document);
            return Ok(());
        }
        let printer = &context.printer;
        for prepared in done {
            if prepared.files.is_empty() {
                printer.out(&format!("{}: no changes, {} secrets are up to date", prepared.name, prepared.current));
                continue;
            }
            printer.out(&format!("{}:", prepared.name));
            for (path, _) in &prepared.files {
                let verb = if self.dry_run { "would change" } else { "changed" };
                printer.out(&format!("  {verb} {}", display(path)));
            }
        }
        for (name, error) in failures {
            printer.note(
                &CliError {
                    // Files are replaced one after the other.
                    message: match error.code {
                        Some(Code::Unwritable) => format!("{name} may be changed in part: {}", error.message),
                        _ => format!("{name} was not changed: {}", error.message),
                    },
                    ..without_message(error)
                }
                .render(),
            );
        }
        let would = if self.dry_run { "would be " } else { "" };
        printer.note(&format!(
            "{} {would}changed in {}{}.",
            count_of(total, "file"),
            count_of(changed.len(), "environment"),
            if failures.is_empty() { String::new() } else { format!("; {} failed", failures.len()) }
        ));
        if action == "remove" && total > 0 {
            printer.note("The removed recipient can still decrypt versions in Git's history: change the values too (mailwright secrets rotate).");
        }
        Ok(())
    }
}

/// Returns the code, details and remedy of an error, without its message.
fn without_message(error: &CliError) -> CliError {
    CliError { code: error.code, details: error.details.clone(), remedy: error.remedy.clone(), ..CliError::new("") }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

/// Returns the selected environments; if none is named, those with a recipients.txt.
fn select_with_recipients(repository: &Repository, many: &EnvironmentFilter) -> Result<Vec<EnvironmentName>, CliError> {
    let mut names = many.select(repository)?;
    let all = names.clone();
    let named = all.iter().find(|name| !repository.is_abstract(name));
    if many.environments.is_empty() {
        names.retain(|name| repository.root().join(Repository::recipients_path(name)).is_file());
    }
    if names.is_empty() {
        return Err(CliError::coded(Code::RecipientsInvalid, "none of the selected environments has a recipients.txt")
            .remedy(format!(
                "Create one: mailwright secrets init {} --from-service \"$(mailwright secrets keygen)\"",
                named.map_or("ENV", EnvironmentName::as_str)
            )));
    }
    Ok(names)
}

/// Removes the lines of a recipient, and the comment directly above it if it is about this recipient only.
fn remove_recipient(text: &str, removed: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_recipient = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let mut drop = vec![false; lines.len()];
    for (index, line) in lines.iter().enumerate() {
        if !is_recipient(line) || fingerprint(line) != removed {
            continue;
        }
        let above = lines.iter().take(index).rev().take_while(|line| line.trim().starts_with('#')).count();
        // A comment at the beginning belongs to the file, and a comment above several recipients belongs to all of them.
        let is_its_own = above < index && lines.get(index + 1).is_none_or(|below| !is_recipient(below));
        let first = if is_its_own { index - above } else { index };
        drop.iter_mut().take(index + 1).skip(first).for_each(|drop| *drop = true);
    }
    let mut kept: Vec<&str> = Vec::new();
    for (line, drop) in lines.iter().zip(drop) {
        let is_second_blank = line.trim().is_empty() && kept.last().is_some_and(|last| last.trim().is_empty());
        if !drop && !is_second_blank {
            kept.push(line);
        }
    }
    format!("{}\n", kept.join("\n").trim_end())
}
