//! `mailwright secrets init`: writes `recipients.txt` for one or many environments, and turns off line-ending conversion of
//! age files in `.gitattributes`.
//!
//! The recipients are arguments, and with `--from-service` that of each environment's service. Existing files are not changed: of
//! several environments those are left out, of one it is an error.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, OutputArgs, Runnable, ServiceArgs,
        args::environments::SelectionArgs,
        commands::secrets::recipients_file::check_not_public,
        environment::Environment,
        fleet::Fleet,
        ui::{
            age_prompt::AgePrompt,
            fleet_report::{Significance, Summary, SummaryLabels},
            wording::count_of,
        },
    },
    config::Repository,
    fs::write_atomically,
    model::Code,
    operations::check_environment,
    secrets::{Recipients, RecipientsError, render_recipients},
};

/// Write the recipients of the environment's secrets
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets init prod age1qz...                       the service's recipient\n  \
    mailwright secrets init prod --from-service \"$(cat ~/.ssh/id_ed25519.pub)\"\n  \
    mailwright secrets init 'cust-*' --from-service age1qz...    many; existing files are left out\n\n\
    Recipients: age1... (X25519), ssh-ed25519, ssh-rsa, age1tag1.../age1tagpq1...\n\
    (hardware), age1NAME1... (plugins). An existing file is not changed: edit it,\n\
    and run `mailwright secrets rekey ENV`.")]
pub(super) struct Init {
    /// Environment: a name, or a pattern such as 'prod-*'
    #[arg(value_name = "ENV")]
    environment: String,
    /// Recipients: age recipients or SSH public keys, each in quotes
    recipients: Vec<String>,
    /// Add the recipient of the running service
    #[arg(long)]
    from_service: bool,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Init {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let labels = SummaryLabels { notable: ("written", "written"), quiet: ("existing", "left out, which exist") };
        let repository = Arc::new(context.repository()?);
        let patterns = std::slice::from_ref(&self.environment);
        let fleet = if self.from_service {
            Fleet::find(context, &repository, patterns, &self.selection, &self.service)?
        } else {
            Fleet::without_services(context, &repository, patterns, &self.selection)?
        };
        let several = matches!(fleet, Fleet::Many(_));
        let exit = fleet.run(context, self.output.format, &labels, |context, environment| {
            self.write(context, environment, several)
        });
        if !self.from_service && (exit.is_ok() || several) {
            context.printer.note("The recipient of the service must be in the file, or it cannot decrypt the secrets; its first start prints it.");
        }
        exit
    }
}

impl Init {
    /// Writes the file of one environment. Of several, those that have one are left out.
    fn write(&self, context: &Context, environment: &Environment, several: bool) -> Result<Summary, CliError> {
        let path = Repository::recipients_path(&environment.name);
        let root = environment.repository.root();
        let target = root.join(&path);
        if target.exists() {
            if several {
                let line = format!("`{}` exists", path.display());
                return Ok(Summary::new(Significance::Quiet, line, String::new(), json!({ "wrote": [] })));
            }
            return Err(CliError::coded(Code::RecipientsInvalid, format!("`{}` already exists", path.display()))
                .remedy(format!("Edit it, and run `mailwright secrets rekey {}`.", environment.name)));
        }
        check_each(&self.recipients)?;
        let mut named: Vec<(Option<String>, &str)> = Vec::new();
        let own;
        if self.from_service {
            let client = environment.client(context, &self.service)?;
            let info = context.runtime()?.block_on(client.service())?;
            check_environment(&client, &info.environment, &environment.name)?;
            own = info.recipient;
            named.push((Some(format!("the service at {}", client.address())), &own));
        }
        named.extend(self.recipients.iter().map(|recipient| (None, recipient.as_str())));
        let named = named.iter().map(|(comment, recipient)| (comment.as_deref(), *recipient));
        let text = render_recipients(&environment.name, named);
        let recipients = Recipients::parse(&text, &AgePrompt).map_err(|error| {
            CliError::coded(Code::RecipientsInvalid, format!("cannot write recipients.txt: {error}"))
                .remedy("Name at least one recipient, or pass `--from-service`. An identity (AGE-SECRET-KEY-...) is private and must not be used here.")
        })?;
        // The service may have been started with `--demo`.
        check_not_public(environment, &recipients)?;
        let failed = |error: std::io::Error| {
            CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
        };
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        write_atomically(&target, text.as_bytes()).map_err(failed)?;
        let mut wrote = vec![path];
        wrote.extend(write_git_attributes(root)?);
        if self.from_service && recipients.texts().count() == 1 {
            context.printer.note(&format!(
                "warning: only the service can open these secrets, so no operator can edit or move them.\n\
                 help: mailwright secrets recipients add \"$(mailwright secrets keygen)\" {}",
                environment.name
            ));
        }
        let text = wrote.iter().map(|path| format!("wrote {}", path.display())).collect::<Vec<_>>().join("\n");
        let line = format!("wrote {}", count_of(recipients.texts().count(), "recipient"));
        Ok(Summary::new(Significance::Listed, line, text, json!({ "wrote": wrote })))
    }
}

/// Returns an error for an argument without a recipient, such as `"$(cat FILE)"` of a file that does not exist.
fn check_each(recipients: &[String]) -> Result<(), CliError> {
    for (index, recipient) in recipients.iter().enumerate() {
        let one = recipient.trim();
        if one.is_empty() || one.starts_with('#') {
            let message = format!("recipient {} is empty", index + 1);
            return Err(CliError::coded(Code::RecipientsInvalid, message).remedy(
                "Check the command in `$(...)`: a file that does not exist leaves an empty argument. Without a key: `mailwright secrets keygen`.",
            ));
        }
        Recipients::parse(one, &AgePrompt).map_err(|error| {
            let why = match error {
                RecipientsError::Line { why, .. } => why,
                RecipientsError::Empty => error.to_string(),
            };
            CliError::coded(Code::RecipientsInvalid, format!("recipient {} is not a recipient: {why}", index + 1)).remedy(
                "Pass age1..., or an SSH public key in quotes. An identity (AGE-SECRET-KEY-...) is private and must not be used here.",
            )
        })?;
    }
    Ok(())
}

/// The number of bytes of `.gitattributes` that are read.
const ATTRIBUTES_LIMIT: u64 = 1024 * 1024;

/// Disables line ending conversion of age files in Git, unless it is disabled already: files are compared by digest.
fn write_git_attributes(root: &Path) -> Result<Option<PathBuf>, CliError> {
    let path = Path::new("secrets").join(".gitattributes");
    let is_disabled = |path: &Path| {
        let text = crate::fs::read_ordinary(&root.join(path), ATTRIBUTES_LIMIT).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().any(|line| line.trim_start().starts_with("*.age") && line.contains("-text"))
    };
    if is_disabled(Path::new(".gitattributes")) || root.join(&path).exists() {
        return Ok(None);
    }
    let text = "# Age files are compared by digest: line endings must not be converted.\n*.age -text\n";
    write_atomically(&root.join(&path), text.as_bytes())
        .map_err(|error| CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display())))?;
    Ok(Some(path))
}
