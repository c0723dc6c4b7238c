//! `mailwright secrets init`: writes `recipients.txt`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        commands::secrets::recipients_file::{check_not_public, recipients_path},
        environment::Environment,
        ui::age_prompt::AgePrompt,
    },
    fs::write_atomically,
    model::Code,
    operations::check_environment,
    secrets::Recipients,
};

/// Write the recipients of the environment's secrets
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets init prod age1qz...                       the service's recipient\n  \
    mailwright secrets init prod --from-service \"$(cat ~/.ssh/id_ed25519.pub)\"\n\n\
    Recipients: age1... (X25519), ssh-ed25519, ssh-rsa, age1tag1.../age1tagpq1...\n\
    (hardware), age1NAME1... (plugins). An existing file is not changed: edit it,\n\
    and run `mailwright secrets rekey ENV`.")]
pub(super) struct Init {
    /// Environment
    environment: String,
    /// Recipients: age recipients or SSH public keys, each in quotes
    recipients: Vec<String>,
    /// Add the recipient of the running service
    #[arg(long)]
    from_service: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Init {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let path = recipients_path(&environment.name);
        let root = environment.repository.root();
        let target = root.join(&path);
        if target.exists() {
            return Err(CliError::coded(Code::RecipientsInvalid, format!("`{}` already exists", path.display()))
                .remedy(format!("Edit it, and run `mailwright secrets rekey {}`.", environment.name)));
        }
        let mut text = format!(
            "# Recipients of the secrets of `{0}`, one per line: that of the service, and those of the operators.\n\
             # After a change: mailwright secrets rekey {0}\n",
            environment.name
        );
        // Writing to a String cannot fail.
        if self.from_service {
            let client = environment.client(context, &self.service)?;
            let info = context.runtime()?.block_on(client.service())?;
            check_environment(&client, &info.environment, &environment.name)?;
            let _ = writeln!(text, "\n# the service at {}\n{}", client.address(), info.recipient);
        }
        for recipient in &self.recipients {
            let _ = writeln!(text, "\n{}", recipient.trim());
        }
        let recipients = Recipients::parse(&text, &AgePrompt).map_err(|error| {
            CliError::coded(Code::RecipientsInvalid, format!("cannot write recipients.txt: {error}"))
                .remedy("Name at least one recipient, or pass `--from-service`. An identity (AGE-SECRET-KEY-...) is private and must not be used here.")
        })?;
        // The service may have been started with `--demo`.
        check_not_public(&environment, &recipients)?;
        let failed = |error: std::io::Error| {
            CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
        };
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        write_atomically(&target, text.as_bytes()).map_err(failed)?;
        let mut wrote = vec![path];
        wrote.extend(write_git_attributes(root)?);
        if self.format == Format::Json {
            context.printer.json(&json!({ "wrote": wrote }));
        } else {
            for path in &wrote {
                context.printer.out(&format!("wrote {}", path.display()));
            }
        }
        if !self.from_service {
            context.printer.note("The recipient of the service must be in the file, or it cannot decrypt the secrets; its first start prints it.");
        }
        Ok(Exit::Done)
    }
}

/// Disables line ending conversion of age files in Git, unless it is disabled already: files are compared by digest.
fn write_git_attributes(root: &Path) -> Result<Option<PathBuf>, CliError> {
    let path = Path::new("secrets").join(".gitattributes");
    let is_disabled = |path: &Path| {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
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
