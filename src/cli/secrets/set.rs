//! `mailwright secrets set`: seals a value.

use std::{
    io::{IsTerminal as _, Read as _},
    path::Path,
};

use secrecy::SecretSlice;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    CliError, Context, Environment, Exit, fresh_value_id, recipients, reference, refuse_public, seal_error, write_age,
};
use crate::{
    cli::plan::{self, Format},
    config::Repository,
    model::{Code, SecretReference},
    secrets::{Recipients, VALUE_LIMIT, seal},
};

/// Seal a value to the environment's recipients
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright secrets set prod relay/password                    asks, and does not show what is typed\n  \
    pass show relay | mailwright secrets set prod relay/password  one line end at the end is dropped\n  \
    mailwright secrets set prod remittance/certificate < certificate-and-key.pem\n\n\
    There is no option for the value: a command line is seen by others and kept in a history."
)]
pub(super) struct Set {
    /// The environment
    environment: String,
    /// The secret: NAME/KEY
    name: String,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

impl Set {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        plan::json_even_on_errors(context, self.format == Format::Json, || self.set(context))
    }

    fn set(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let reference = reference(&self.name)?;
        let recipients = recipients(environment.repository.root(), &environment.name)?;
        refuse_public(&environment, &recipients)?;
        let path = Repository::secret_path(&environment.name, &reference);
        let count = seal_value(&environment, &reference, &path, &recipients)?;
        let is_used = environment.repository.used_secrets(&environment.name).contains_key(&reference);
        if self.format == Format::Json {
            context.printer.out(&format!("{:#}", json!({ "sealed": path, "recipients": count, "used": is_used })));
        } else {
            context.printer.out(&sealed(&path, count));
        }
        if !is_used {
            context
                .printer
                .note(&format!("No profile names it yet: write `{{ secret: {reference} }}` where it belongs."));
        }
        Ok(Exit::Done)
    }
}

/// Takes a value from the operator, and seals it into a file. Tells to how many recipients.
pub(super) fn seal_value(
    environment: &Environment,
    reference: &SecretReference,
    path: &Path,
    recipients: &Recipients,
) -> Result<usize, CliError> {
    let value = if std::io::stdin().is_terminal() { typed(reference.as_str())? } else { piped()? };
    let sealed = seal(&value, recipients, &fresh_value_id()?).map_err(|error| seal_error(reference, &error))?;
    write_age(environment, path, &sealed)?;
    Ok(recipients.texts().count())
}

/// That a file is sealed, in words.
pub(super) fn sealed(path: &Path, recipients: usize) -> String {
    let s = if recipients == 1 { "" } else { "s" };
    format!("sealed {} to {recipients} recipient{s}", path.display())
}

fn typed(name: &str) -> Result<SecretSlice<u8>, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("cannot read from the terminal: {error}"));
    let first = Zeroizing::new(rpassword::prompt_password(format!("Value of {name} (not shown): ")).map_err(failed)?);
    let second = Zeroizing::new(rpassword::prompt_password("Once more: ").map_err(failed)?);
    if first != second {
        return Err(CliError::coded(Code::InvalidValue, "the two differ; nothing was sealed")
            .remedy("Try again; or pipe the value in: mailwright secrets set ENV NAME < FILE."));
    }
    Ok(SecretSlice::from(first.as_bytes().to_vec()))
}

/// Standard input, bounded; one line end at its end is dropped, since most programs add one.
pub(super) fn piped() -> Result<SecretSlice<u8>, CliError> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(VALUE_LIMIT + 3));
    std::io::stdin()
        .lock()
        .take(VALUE_LIMIT as u64 + 3)
        .read_to_end(&mut buffer)
        .map_err(|error| CliError::new(format!("cannot read standard input: {error}")))?;
    Ok(SecretSlice::from(without_line_end(&buffer).to_vec()))
}

pub(super) fn without_line_end(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes)
}
