//! `mailwright secrets rekey`: seals every secret to the present recipients, without a new value.

use std::path::PathBuf;

use serde_json::json;

use super::{
    CliError, Context, Environment, Exit, IdentityOptions, files, fresh_value_id, open_error, read_age, recipients,
    refuse_public, seal_error, write_age,
};
use crate::{
    cli::plan::{self, Format},
    secrets::{Header, Recipients, rekey},
};

/// Seal every secret to the present recipients; no value changes
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright secrets rekey prod --dry-run\n  mailwright secrets rekey prod --identity ~/.config/age/keys.txt\n\n\
    Files that are addressed to the present recipients already are left alone, so a run that was broken off can be\n\
    run again. Each file is replaced whole. A plan shows `(secret resealed, same value)`.\n\n\
    Whoever is taken out of recipients.txt can still open what Git remembers: change the values themselves too."
)]
pub(super) struct Rekey {
    /// The environment
    environment: String,
    /// List what would be sealed again, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Seal again even what is addressed to the present recipients already
    #[arg(long)]
    all: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    identities: IdentityOptions,
}

impl Rekey {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        plan::json_even_on_errors(context, self.format == Format::Json, || self.rekey(context))
    }

    fn rekey(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let root = environment.repository.root();
        let recipients = recipients(root, &environment.name)?;
        refuse_public(&environment, &recipients)?;
        let mut outdated = Vec::new();
        let mut current = 0;
        for (reference, path) in files(root, &environment.name)?.age_files().cloned() {
            let bytes = read_age(root, &path)?;
            if is_addressed(&bytes, &recipients) && !self.all {
                current += 1;
            } else {
                outdated.push((reference, path, bytes));
            }
        }
        let is_json = self.format == Format::Json;
        let document = |sealed: &[&PathBuf]| json!({ "sealed": sealed, "unchanged": current, "dryRun": self.dry_run });
        if self.dry_run {
            let paths: Vec<&PathBuf> = outdated.iter().map(|(_, path, _)| path).collect();
            if is_json {
                context.printer.out(&format!("{:#}", document(&paths)));
            } else {
                for path in paths {
                    context.printer.out(&format!("would seal {} again", path.display()));
                }
            }
            context.printer.note(&format!("{} would be sealed again, {current} left as they are.", outdated.len()));
            return Ok(Exit::Done);
        }
        let (mut done, mut failures) = (Vec::new(), Vec::new());
        if !outdated.is_empty() {
            let identities = self.identities.load(outdated.iter().map(|(_, _, bytes)| bytes.as_slice()))?;
            let total = outdated.len();
            for (index, (reference, path, bytes)) in outdated.iter().enumerate() {
                let sealed = rekey(bytes, identities.iter(), &recipients, fresh_value_id()?)
                    .map_err(|error| open_error(path, &error))
                    .and_then(|sealed| sealed.map_err(|error| seal_error(reference, &error)))
                    .and_then(|sealed| write_age(&environment, path, &sealed));
                match sealed {
                    Ok(()) => {
                        done.push(path);
                        if !is_json {
                            context.printer.out(&format!("sealed {} again", path.display()));
                        }
                    }
                    Err(error) => failures.push(error),
                }
                if total > 100 && (index + 1) % 100 == 0 {
                    context.printer.note(&format!("{} of {total}", index + 1));
                }
            }
        }
        context.printer.note(&format!("{} sealed again, {current} left as they are.", done.len()));
        if is_json && failures.is_empty() {
            context.printer.out(&format!("{:#}", document(&done)));
        }
        let count = failures.len();
        let mut failures = failures.into_iter();
        match failures.next() {
            None => Ok(Exit::Done),
            Some(only) if count == 1 => Err(only),
            Some(first) => {
                let whole = CliError {
                    details: vec![first.message],
                    ..CliError::new(format!("{count} files were not sealed again"))
                };
                let whole = CliError { code: first.code, remedy: first.remedy, ..whole };
                Err(failures.fold(whole, |whole, failure| whole.detail(failure.message)))
            }
        }
    }
}

/// Whether a file is addressed to just these recipients already, as far as it says itself.
pub(super) fn is_addressed(file: &[u8], recipients: &Recipients) -> bool {
    let wanted: Vec<&str> = recipients.fingerprints().collect();
    let named = Header::read(file).ok().and_then(|header| header.recipients);
    named.is_some_and(|have| {
        have.len() == wanted.len() && wanted.iter().all(|print| have.iter().any(|own| own == print))
    })
}
