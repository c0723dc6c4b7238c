//! `mailwright secrets set`: seals a value.

use std::path::Path;

use serde_json::json;

use super::{
    CliError, Context, Environment, Exit, fresh_value_id, recipients, reference, refuse_public, seal_error, value,
    write_age,
};
use crate::{
    cli::plan::{self, Format},
    config::Repository,
    model::SecretReference,
    secrets::{Recipients, seal},
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
        let count = seal_value(context, &environment, &reference, &path, &recipients)?;
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
    context: &Context,
    environment: &Environment,
    reference: &SecretReference,
    path: &Path,
    recipients: &Recipients,
) -> Result<usize, CliError> {
    let value = value::take(context, environment, reference)?;
    let sealed = seal(&value, recipients, &fresh_value_id()?).map_err(|error| seal_error(reference, &error))?;
    write_age(environment, path, &sealed)?;
    Ok(recipients.texts().count())
}

/// That a file is sealed, in words.
pub(super) fn sealed(path: &Path, recipients: usize) -> String {
    let s = if recipients == 1 { "" } else { "s" };
    format!("sealed {} to {recipients} recipient{s}", path.display())
}
