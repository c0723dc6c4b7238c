//! `mailwright secrets recipients`: who may open what, changed over many environments at once.
//!
//! Each environment is changed whole or not at all: all its files are sealed in memory and lie on disk before the first
//! one is put in its place, and `recipients.txt` comes last, so that a run that was broken off can be run again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceOptions,
        args::identity::IdentityOptions,
        commands::secrets::{
            belonging::{Belonging, Everywhere},
            environments::Many,
            files::{list_files, read_age},
            list::short,
            recipients_file::{read_recipients, recipients_path, refuse_public},
            rekey::is_addressed,
            sealing::{open_error, seal_error},
        },
        environment::Environment,
        ui::age_prompt::AgePrompt,
        ui::table::table,
    },
    config::Repository,
    fs::write_all,
    model::{Code, EnvironmentName, SecretReference},
    secrets::{Identities, Recipients, fingerprint, is_native_recipient, rekey},
};

/// Who can open the secrets: list, add or remove a recipient over many environments at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright secrets recipients list\n  \
    mailwright secrets recipients add \"$(cat ann.pub)\" --dry-run\n  \
    mailwright secrets recipients add \"$(cat ann.pub)\" -l region=emea\n  \
    mailwright secrets recipients remove \"ssh-ed25519 AAAA...\" 'prod-*' --identity ~/.config/age/keys.txt\n\n\
    Every secret of the environments is sealed again to the new recipients; no value changes, nor where it may be sent. A\n\
    file whose value belongs to another environment or name is refused. An environment is changed\n\
    whole or not at all, and one that fails does not keep the others from being changed. What was changed is one\n\
    commit's worth.\n\n\
    Whoever is removed can still open what Git remembers: change the values too (`mailwright secrets rotate`).")]
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

/// List who can open the secrets of which environment
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    environments: Many,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

/// Add a recipient, and seal every secret to it as well
#[derive(Debug, clap::Args)]
struct Add {
    /// An age recipient or an SSH public key, in quotes
    recipient: String,
    /// Who that is; becomes a comment in recipients.txt
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// Remove a recipient, and seal every secret without it
#[derive(Debug, clap::Args)]
struct Remove {
    /// An age recipient or an SSH public key, in quotes
    recipient: String,
    /// Remove this one even if it is, or might be, the service's own
    #[arg(long, value_name = "RECIPIENT")]
    even_the_service: Option<String>,
    #[command(flatten)]
    service: ServiceOptions,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
struct Options {
    #[command(flatten)]
    environments: Many,
    /// List what would be changed, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    identities: IdentityOptions,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

impl Runnable for RecipientsCommand {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            Command::List(list) => list.format.into(),
            Command::Add(add) => add.options.format.into(),
            Command::Remove(remove) => remove.options.format.into(),
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
        let mut rows = Vec::new();
        for name in with_recipients(&repository, &self.environments)? {
            let recipients = read_recipients(repository.root(), &name)?;
            rows.extend(recipients.texts().map(|text| (name.clone(), text.to_owned())));
        }
        if self.format == Format::Json {
            let documents: Vec<_> = rows
                .iter()
                .map(|(name, text)| json!({ "environment": name, "recipient": text, "fingerprint": fingerprint(text) }))
                .collect();
            context.printer.out(&format!("{:#}", json!({ "recipients": documents })));
        } else {
            // By recipient: what one wants to know is where somebody still is.
            let mut texts: Vec<&String> = rows.iter().map(|(_, text)| text).collect();
            texts.sort();
            texts.dedup_by_key(|text| fingerprint(text));
            let cells = texts.into_iter().map(|text| {
                let own = rows.iter().filter(|(_, other)| fingerprint(other) == fingerprint(text));
                let names: Vec<&str> = own.map(|(name, _)| name.as_str()).collect();
                vec![short(text), fingerprint(text), names.join(", ")]
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
            return Err(CliError::coded(Code::RecipientsInvalid, "this is not a recipient")
                .remedy("One recipient: age1..., or an SSH public key in quotes."));
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
        let gone = fingerprint(recipient);
        let is_meant = match &self.even_the_service {
            None => false,
            Some(named) if fingerprint(named) == gone => true,
            Some(_) => {
                return Err(CliError::coded(Code::Usage, "`--even-the-service` names another recipient")
                    .remedy("Name the same recipient twice, or leave it out."));
            }
        };
        self.options.run(context, recipient, "remove", |environment, text, recipients| {
            if !recipients.fingerprints().any(|own| own == gone) {
                return Ok(text.to_owned());
            }
            let keep = |why: String| CliError::coded(Code::RecipientRequired, why);
            if recipients.fingerprints().count() == 1 {
                return Err(keep("it is the only one; nobody could open the secrets any more".to_owned())
                    .remedy("Add another recipient before."));
            }
            // A service's own recipient is always of this kind.
            if !is_meant && is_native_recipient(recipient) {
                let asked = environment
                    .client(context, &self.service)
                    .and_then(|client| Ok(context.runtime()?.block_on(client.service())?));
                match asked {
                    Ok(info) if info.environment != environment.name => {
                        return Err(keep(format!(
                            "the service that was asked belongs to `{}`, so it could not be asked whether this is its own",
                            info.environment
                        ))
                        .remedy(format!("Correct the address. If it is not the service's: --even-the-service {recipient}")));
                    }
                    Ok(info) if fingerprint(&info.recipient) == gone => {
                        return Err(keep("it is the service's own; the service could not send any more".to_owned())
                            .remedy(format!("If its identity is replaced and the new one was added before: --even-the-service {recipient}")));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        return Err(keep(format!(
                            "the service could not be asked whether it is its own: {}",
                            error.message
                        ))
                        .remedy(format!("Give `--service` and a token. If it is not the service's: --even-the-service {recipient}")));
                    }
                }
            }
            Ok(without(text, &gone))
        })
    }
}

/// What is to be written for an environment.
struct Prepared {
    name: EnvironmentName,
    /// Whether the recipients change; secrets may lag behind them.
    recipients_change: bool,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// How many secrets are as they must be.
    current: usize,
}

impl Options {
    /// `change` gives the new text of an environment's recipients.txt, or says why not.
    fn run(
        &self,
        context: &Context,
        recipient: &str,
        action: &str,
        change: impl Fn(&Environment, &str, &Recipients) -> Result<String, CliError>,
    ) -> Result<Exit, CliError> {
        let repository = Arc::new(context.repository()?);
        let names = with_recipients(&repository, &self.environments)?;
        let (mut identities, mut everywhere): (Option<Identities>, _) = (None, Everywhere::default());
        let mut done = Vec::new();
        let mut failures: Vec<(EnvironmentName, CliError)> = Vec::new();
        for name in names {
            let environment = Environment::new(name, Arc::clone(&repository));
            let prepared = self.prepare(&environment, &change, &mut identities, &mut everywhere);
            let prepared = prepared.and_then(|prepared| {
                if !self.dry_run {
                    write_all(repository.root(), &prepared.files).map_err(|error| {
                        CliError::coded(Code::Unreadable, format!("its files could not be written: {error}"))
                    })?;
                }
                Ok(prepared)
            });
            match prepared {
                Ok(prepared) => done.push(prepared),
                Err(error) => failures.push((environment.name, error)),
            }
        }
        self.tell(context, recipient, action, &done, &failures);
        if failures.is_empty() {
            return Ok(Exit::Done);
        }
        Err(CliError { in_json: true, ..CliError::already_told() })
    }

    fn prepare(
        &self,
        environment: &Environment,
        change: impl Fn(&Environment, &str, &Recipients) -> Result<String, CliError>,
        identities: &mut Option<Identities>,
        everywhere: &mut Everywhere,
    ) -> Result<Prepared, CliError> {
        let (root, name) = (environment.repository.root(), &environment.name);
        let before = read_recipients(root, name)?;
        let path = recipients_path(name);
        let bytes = std::fs::read(root.join(&path))
            .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display())))?;
        // It was read as text a moment ago, in whatever encoding; it is written back as UTF-8.
        let text = crate::text::decode(&bytes).map_err(|encoding| {
            CliError::coded(Code::RecipientsInvalid, format!("{}: it is {encoding}", path.display()))
        })?;
        let changed = change(environment, &text, &before)?;
        let recipients = Recipients::parse(&changed, &AgePrompt).map_err(|error| {
            CliError::coded(Code::RecipientsInvalid, format!("nothing was changed: {error}"))
                .remedy("One recipient: age1..., or an SSH public key in quotes. An identity (AGE-SECRET-KEY-...) is the private half and does not belong here.")
        })?;
        refuse_public(environment, &recipients)?;
        let belonging = Belonging::new(environment, &before);
        let mut outdated: Vec<(SecretReference, PathBuf, Vec<u8>)> = Vec::new();
        let mut current = 0;
        for (reference, path) in list_files(root, name)?.age_files() {
            let bytes = read_age(root, path)?;
            if is_addressed(&bytes, &recipients) {
                current += 1;
            } else {
                outdated.push((reference.clone(), path.clone(), bytes));
            }
        }
        let mut files = Vec::new();
        if !outdated.is_empty() {
            if identities.is_none() {
                // Asks for a passphrase once, and not once an environment.
                *identities = Some(self.identities.load(outdated.iter().map(|(_, _, bytes)| bytes.as_slice()))?);
            }
            let Some(identities) = identities.as_ref() else { return Err(CliError::new("no identity was loaded")) };
            for (reference, path, bytes) in &outdated {
                let sealed = rekey(bytes, identities.iter(), &recipients, None)
                    .map_err(|error| open_error(path, &error))?
                    .map_err(|error| seal_error(reference, &error))?;
                belonging.check(reference, bytes, false, everywhere)?;
                files.push((path.clone(), sealed));
            }
        }
        let recipients_change = changed != text;
        if recipients_change {
            files.push((path, changed.into_bytes()));
        }
        Ok(Prepared { name: name.clone(), recipients_change, files, current })
    }

    fn tell(
        &self,
        context: &Context,
        recipient: &str,
        action: &str,
        done: &[Prepared],
        failures: &[(EnvironmentName, CliError)],
    ) {
        let changed: Vec<&Prepared> = done.iter().filter(|prepared| !prepared.files.is_empty()).collect();
        let total: usize = changed.iter().map(|prepared| prepared.files.len()).sum();
        if self.format == Format::Json {
            let environments: Vec<_> = done
                .iter()
                .map(|prepared| {
                    let files: Vec<_> = prepared.files.iter().map(|(path, _)| shown(path)).collect();
                    json!({ "environment": prepared.name, "recipientsChanged": prepared.recipients_change, "files": files })
                })
                .collect();
            let failed: Vec<_> = failures
                .iter()
                .map(|(name, error)| json!({ "environment": name, "code": error.code, "message": error.message, "remedy": error.remedy }))
                .collect();
            let document = json!({
                "action": action, "recipient": recipient, "dryRun": self.dry_run, "environments": environments, "failed": failed,
            });
            context.printer.out(&format!("{document:#}"));
            return;
        }
        let printer = &context.printer;
        for prepared in done {
            if prepared.files.is_empty() {
                printer.out(&format!(
                    "{}: nothing to change, {} secrets are as they must be",
                    prepared.name, prepared.current
                ));
                continue;
            }
            printer.out(&format!("{}:", prepared.name));
            for (path, _) in &prepared.files {
                let verb = if self.dry_run { "would change" } else { "changed" };
                printer.out(&format!("  {verb} {}", shown(path)));
            }
        }
        for (name, error) in failures {
            printer.note(
                &CliError { message: format!("{name} was not changed: {}", error.message), ..copy(error) }.render(),
            );
        }
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let would = if self.dry_run { "would be " } else { "" };
        printer.note(&format!(
            "{total} file{} {would}changed in {} environment{}{}.",
            s(total),
            changed.len(),
            s(changed.len()),
            if failures.is_empty() { String::new() } else { format!("; {} failed", failures.len()) }
        ));
        if action == "remove" && total > 0 {
            printer.note("Whoever is removed can still open what Git remembers: change the values too (mailwright secrets rotate).");
        }
    }
}

fn copy(error: &CliError) -> CliError {
    CliError { code: error.code, details: error.details.clone(), remedy: error.remedy.clone(), ..CliError::new("") }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The environments that are meant: where none is named, those that have recipients.
fn with_recipients(repository: &Repository, many: &Many) -> Result<Vec<EnvironmentName>, CliError> {
    let mut names = many.select(repository)?;
    if many.environments.is_empty() {
        names.retain(|name| repository.root().join(recipients_path(name)).is_file());
    }
    if names.is_empty() {
        return Err(CliError::coded(Code::RecipientsInvalid, "no environment that is meant has a recipients.txt")
            .remedy("Make one: mailwright secrets init ENV RECIPIENT..."));
    }
    Ok(names)
}

/// The text without the lines of a recipient, and without the comment that stands right above it and is about it alone.
fn without(text: &str, gone: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_recipient = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let mut drop = vec![false; lines.len()];
    for (index, line) in lines.iter().enumerate() {
        if !is_recipient(line) || fingerprint(line) != gone {
            continue;
        }
        let above = lines.iter().take(index).rev().take_while(|line| line.trim().starts_with('#')).count();
        // A comment at the head is about the file, and one above several recipients about them all.
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
