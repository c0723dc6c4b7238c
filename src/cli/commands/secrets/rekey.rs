//! `mailwright secrets rekey`: encrypts secrets again that are not encrypted to exactly the recipients in `recipients.txt`.
//!
//! Values keep their id and destination. A file whose value belongs to another place is refused (`ownership`). Each file is
//! replaced atomically, and files that are up to date are not changed, so a run can be repeated. A file that fails is reported, and
//! the others are sealed; the exit code is then 1.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable,
        args::{environment::EnvironmentArg, identity::IdentityArgs},
        commands::secrets::{
            files::{list_files, read_age, write_age},
            ownership::{OwnershipCheck, ValueIndex},
            recipients_file::{check_not_public, read_recipients},
            sealing::{find_destination, open_error, parse_reference, seal_error},
            set::describe_destination,
        },
    },
    model::{Code, SecretReference},
    secrets::{Header, Recipients, rekey},
};

/// Seal every secret to the present recipients; no value changes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets rekey prod --dry-run\n  \
    mailwright secrets rekey prod --identity ~/.config/age/keys.txt\n  \
    mailwright secrets rekey prod relay/password     bind this secret to its destination\n\n\
    Files that are encrypted to the present recipients are not changed, so an\n\
    interrupted run can be repeated. Each file is replaced atomically. A plan shows\n\
    `(secret resealed, same value)`.\n\n\
    A value keeps its id and its destination. A file whose value belongs to another\n\
    environment or name is rejected. A file without a destination (made by `age`, or\n\
    by an older version) can be named to bind it to the destination in the profiles.\n\n\
    A removed recipient can still decrypt versions in Git's history: change the\n\
    values too.")]
pub(super) struct Rekey {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Secrets whose values are known to belong to this environment: NAME/KEY; all others are not changed
    #[arg(value_name = "NAME/KEY")]
    names: Vec<String>,
    /// List the files without writing them
    #[arg(long)]
    dry_run: bool,
    /// Seal again even files that are encrypted to the present recipients
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    identities: IdentityArgs,
}

impl Runnable for Rekey {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (environment, names) = self.environment.find_before(context, &self.names, |text| text.contains('/'))?;
        let root = environment.repository.root();
        let recipients = read_recipients(root, &environment.name)?;
        check_not_public(&environment, &recipients)?;
        let named: Vec<SecretReference> =
            names.iter().map(|text| parse_reference(&environment.name, text)).collect::<Result<_, _>>()?;
        let present = list_files(root, &environment.name)?;
        if let Some(missing) = named.iter().find(|named| !present.secrets.iter().any(|(own, _)| own == *named)) {
            return Err(CliError::coded(
                Code::SecretMissing,
                format!("`{missing}` of `{}` has no file", environment.name),
            )
            .remedy(format!("Seal a value: mailwright secrets set {} {missing}", environment.name)));
        }
        let ownership = OwnershipCheck::new(&environment, &recipients);
        let (mut value_index, mut failures) = (ValueIndex::default(), Vec::new());
        let is_named = !named.is_empty();
        let mut outdated = Vec::new();
        let mut current = 0;
        for (reference, path) in present.age_files().cloned() {
            let bytes = read_age(root, &path)?;
            let is_skipped =
                if is_named { !named.contains(&reference) } else { is_encrypted_to(&bytes, &recipients) && !self.all };
            if is_skipped {
                current += 1;
                continue;
            }
            outdated.push((reference, path, bytes));
        }
        let is_json = self.output.format == Format::Json;
        let document = |sealed: &[&PathBuf]| {
            json!({
                "environment": environment.name, "sealed": sealed, "unchanged": current, "dryRun": self.dry_run,
            })
        };
        if self.dry_run {
            outdated.retain(|(reference, _, bytes)| {
                let checked = ownership.check(reference, bytes, is_named, &mut value_index);
                checked.map_err(|error| failures.push(error)).is_ok()
            });
            let paths: Vec<&PathBuf> = outdated.iter().map(|(_, path, _)| path).collect();
            if is_json {
                context.printer.json(&document(&paths));
            } else {
                for path in paths {
                    context.printer.out(&format!("would seal {} again", path.display()));
                }
            }
            context.printer.note(&format!("{} would be sealed again, {current} unchanged.", outdated.len()));
            return combine(failures);
        }
        let mut done = Vec::new();
        if !outdated.is_empty() {
            let identities = self.identities.load(outdated.iter().map(|(_, _, bytes)| bytes.as_slice()))?;
            let total = outdated.len();
            for (index, (reference, path, bytes)) in outdated.iter().enumerate() {
                let destination = if is_named { Some(find_destination(&environment, reference)?) } else { None };
                let digest = destination.as_ref().map(|destination| destination.digest(&environment.name));
                let sealed = rekey(bytes, identities.iter(), &recipients, digest.as_ref())
                    .map_err(|error| open_error(&environment.name, reference, path, &error))
                    .and_then(|sealed| sealed.map_err(|error| seal_error(reference, &error)))
                    .and_then(|sealed| {
                        ownership.check(reference, bytes, is_named, &mut value_index)?;
                        Ok(sealed)
                    })
                    .and_then(|sealed| write_age(&environment, path, &sealed));
                match sealed {
                    Ok(()) => {
                        done.push(path);
                        if !is_json {
                            let bound = destination
                                .as_ref()
                                .map(|to| format!(", {}", describe_destination(to, &environment.name)));
                            let bound = bound.unwrap_or_default();
                            context.printer.out(&format!("sealed {} again{bound}", path.display()));
                        }
                    }
                    Err(error) => failures.push(error),
                }
                if total > 100 && (index + 1) % 100 == 0 {
                    context.printer.note(&format!("{} of {total}", index + 1));
                }
            }
        }
        context.printer.note(&format!("{} sealed again, {current} unchanged.", done.len()));
        if is_json && failures.is_empty() {
            context.printer.json(&document(&done));
        }
        combine(failures)
    }
}

/// Combines failures into one error.
fn combine(failures: Vec<CliError>) -> Result<Exit, CliError> {
    let count = failures.len();
    let mut failures = failures.into_iter();
    match failures.next() {
        None => Ok(Exit::Done),
        Some(only) if count == 1 => Err(only),
        Some(first) => {
            let combined = CliError {
                details: vec![first.message],
                ..CliError::new(format!("{count} files were not sealed again"))
            };
            let combined = CliError { code: first.code, remedy: first.remedy, ..combined };
            Err(failures.fold(combined, |combined, failure| combined.detail(failure.message)))
        }
    }
}

/// Returns true if a file's header names exactly these recipients.
pub(super) fn is_encrypted_to(file: &[u8], recipients: &Recipients) -> bool {
    let wanted: Vec<&str> = recipients.fingerprints().collect();
    let named = Header::read(file).ok().and_then(|header| header.recipients);
    named.is_some_and(|have| {
        have.len() == wanted.len() && wanted.iter().all(|print| have.iter().any(|own| own == print))
    })
}
