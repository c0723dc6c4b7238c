//! `mailwright secrets set`: seals a value to the environment's recipients.

use std::path::Path;

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable,
        commands::secrets::{
            files::write_age,
            recipients_file::{check_not_public, read_recipients},
            sealing::{find_destination, fresh_value_id, parse_reference, seal_error},
            value,
        },
        environment::Environment,
        ui::wording::count_of,
    },
    config::Repository,
    model::{Destination, EnvironmentName, SecretReference},
    secrets::{Recipients, seal_for},
};

/// Seal a value to the environment's recipients
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets set prod relay/password                    asks for the value without showing it\n  \
    pass show relay | mailwright secrets set prod relay/password  one trailing line break is removed\n  \
    mailwright secrets set prod remittance/certificate < certificate-and-key.pem\n\n\
    The value is sealed for the destination in the profiles that use it: the\n\
    environment, the kind of credential, and the mail server, or the tenant and\n\
    client. It is never sent elsewhere, so use the secret in a profile first.\n\n\
    There is no option for the value, because other users and the shell history can\n\
    see a command line.")]
pub(super) struct Set {
    /// Environment
    environment: String,
    /// Secret: NAME/KEY
    name: String,
    /// Output format
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
        check_not_public(&environment, &recipients)?;
        let path = Repository::secret_path(&environment.name, &reference);
        let destination = seal_value(context, &environment, &reference, &path, &recipients)?;
        let count = recipients.texts().count();
        if self.format == Format::Json {
            context.printer.json(
                &json!({ "sealed": path, "recipients": count, "used": true, "destination": destination.to_string() }),
            );
        } else {
            context.printer.out(&describe_sealed(&path, count, &destination, &environment.name));
        }
        Ok(Exit::Done)
    }
}

/// Reads a value from the operator, and seals it for the destination of the profiles that use it. Returns that destination.
pub(super) fn seal_value(
    context: &Context,
    environment: &Environment,
    reference: &SecretReference,
    path: &Path,
    recipients: &Recipients,
) -> Result<Destination, CliError> {
    let destination = find_destination(environment, reference)?;
    let value = value::read_value(context, environment, reference)?;
    let sealed = seal_for(&value, recipients, &fresh_value_id()?, &destination.digest(&environment.name))
        .map_err(|error| seal_error(reference, &error))?;
    write_age(environment, path, &sealed)?;
    Ok(destination)
}

/// Describes a sealed file.
pub(super) fn describe_sealed(
    path: &Path,
    recipients: usize,
    destination: &Destination,
    environment: &EnvironmentName,
) -> String {
    format!(
        "sealed {} to {}, {}",
        path.display(),
        count_of(recipients, "recipient"),
        describe_destination(destination, environment)
    )
}

/// Describes the destination for which a value was sealed, so that the operator can check it.
pub(super) fn describe_destination(destination: &Destination, environment: &EnvironmentName) -> String {
    format!("for {destination} in {environment}")
}
