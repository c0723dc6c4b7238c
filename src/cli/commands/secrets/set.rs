//! `mailwright secrets set`: seals a value.

use std::path::Path;

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable,
        commands::secrets::{
            files::write_age,
            recipients_file::{read_recipients, refuse_public},
            sealing::{find_destination, fresh_value_id, parse_reference, seal_error},
            value,
        },
        environment::Environment,
    },
    config::Repository,
    model::{Destination, EnvironmentName, SecretReference},
    secrets::{Recipients, seal_for},
};

/// Seal a value to the environment's recipients
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright secrets set prod relay/password                    asks, and does not show what is typed\n  \
    pass show relay | mailwright secrets set prod relay/password  one line end at the end is dropped\n  \
    mailwright secrets set prod remittance/certificate < certificate-and-key.pem\n\n\
    The value is sealed for the destination that the profiles name which use it: the environment, the kind of credential,\n    \
    the mail server or the tenant and client. It is never sent anywhere else, so name the secret in a profile first.\n\n    \
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

impl Runnable for Set {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let reference = parse_reference(&environment.name, &self.name)?;
        let recipients = read_recipients(environment.repository.root(), &environment.name)?;
        refuse_public(&environment, &recipients)?;
        let path = Repository::secret_path(&environment.name, &reference);
        let destination = seal_value(context, &environment, &reference, &path, &recipients)?;
        let count = recipients.texts().count();
        if self.format == Format::Json {
            context.printer.out(&format!(
                "{:#}",
                json!({ "sealed": path, "recipients": count, "used": true, "destination": destination.to_string() })
            ));
        } else {
            context.printer.out(&sealed(&path, count, &destination, &environment.name));
        }
        Ok(Exit::Done)
    }
}

/// Takes a value from the operator, and seals it into a file for the destination of the profiles that name it. Returns
/// that destination.
pub(super) fn seal_value(
    context: &Context,
    environment: &Environment,
    reference: &SecretReference,
    path: &Path,
    recipients: &Recipients,
) -> Result<Destination, CliError> {
    let destination = find_destination(environment, reference)?;
    let value = value::take(context, environment, reference)?;
    let sealed = seal_for(&value, recipients, &fresh_value_id()?, &destination.digest(&environment.name))
        .map_err(|error| seal_error(reference, &error))?;
    write_age(environment, path, &sealed)?;
    Ok(destination)
}

/// That a file is sealed, in words.
pub(super) fn sealed(
    path: &Path,
    recipients: usize,
    destination: &Destination,
    environment: &EnvironmentName,
) -> String {
    let s = if recipients == 1 { "" } else { "s" };
    format!("sealed {} to {recipients} recipient{s}, {}", path.display(), sealed_for(destination, environment))
}

/// The destination that a value was sealed for, in words: the operator sees where the files send it now.
pub(super) fn sealed_for(destination: &Destination, environment: &EnvironmentName) -> String {
    format!("for {destination} in {environment}")
}
