//! `mailwright init`: writes what a repository needs for its first environment, and prints the commands that follow.
//!
//! `questions` asks for what the arguments leave open, `files` makes the files. All of them are checked together before the first
//! one is written, and an existing file is never replaced. Without a terminal, one error names the flags that are missing.
//! Identities are created first, and remain if a file cannot be written.

mod files;
mod questions;

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use serde_json::json;

use self::files::{FirstFiles, PlannedFile};
use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::profile::{ProfileArgs, ProviderName, missing_error},
        operator_key::{create_identity, default_identity_file, read_recipient},
        ui::wording::count_of,
    },
    model::{Code, EnvironmentName},
    operations::check_environment,
    secrets::{SERVICE_IDENTITY_FILE, ServiceIdentity, fingerprint},
    text::shell::{quote_path, quote_posix},
};

/// The address of a service on this machine.
const LOCAL_SERVICE: &str = "http://127.0.0.1:8470";

/// Set up a repository: an environment, its first profile, recipients, schemas and CI
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright init                                       asks on a terminal\n  \
    mailwright init --company EDU1 --provider smtp --host smtp.example.com \\\n      \
    --username erp --from erp@example.com --data ~/mailwright --keygen\n  \
    mailwright init --company EDU1 --provider microsoft-graph-direct \\\n      \
    --tenant contoso.onmicrosoft.com --from erp@contoso.com \\\n      \
    --data ~/mailwright --recipient ~/.ssh/id_ed25519.pub --ci github\n  \
    mailwright init --dry-run ...                         lists the files\n\n\
    Every question of the terminal is a flag. Without a terminal nothing is asked,\n\
    and one error names the flags that are missing. Nothing is overwritten: an\n\
    existing .gitignore, schema or pipeline stays as it is.\n\n\
    The service must be one of the recipients. `--from-service` asks a running one;\n\
    `--data` creates the identity of one that will run on this machine.")]
pub(crate) struct Init {
    /// Name of the environment [default: prod]
    #[arg(long, value_name = "ENV")]
    environment: Option<String>,
    /// Company of the ERP: 1 to 4 characters of A-Z and 0-9 (can be repeated)
    #[arg(long, value_name = "ID")]
    company: Vec<String>,
    /// Name of the profile [default: relay, microsoft365, desktop or web, by its provider]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    settings: ProfileArgs,
    /// Recipient of the secrets: age1..., an SSH public key, or the path of its file (can be repeated)
    #[arg(long, value_name = "RECIPIENT", help_heading = "Secrets")]
    recipient: Vec<String>,
    /// Recipient of the secrets: the age identity ~/.config/age/keys.txt, created if it does not exist
    #[arg(long, help_heading = "Secrets")]
    keygen: bool,
    /// Recipient of the secrets: the running service
    #[arg(long, conflicts_with = "data", help_heading = "Secrets")]
    from_service: bool,
    /// Recipient of the secrets: a service that will run on this machine with this data folder
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Secrets")]
    data: Option<PathBuf>,
    /// Pipeline to write [default: none]
    #[arg(long, value_enum, value_name = "FORGE")]
    ci: Option<Ci>,
    /// List the files without writing them
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

/// A forge with a template for its pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Ci {
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
    /// Azure Pipelines
    Azure,
    /// No pipeline
    None,
}

impl Runnable for Init {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut answers = self.clone();
        let root = context.project_or_new();
        if self.output.format == Format::Human && std::io::stdin().is_terminal() {
            questions::ask_missing(context, &root, &mut answers)?;
        }
        answers.check_complete()?;
        answers.carry_out(context, &root)
    }
}

/// The recipients that `init` found.
#[derive(Default)]
struct ChosenRecipients {
    /// Lines of recipients.txt, each with a comment.
    lines: Vec<(String, String)>,
    /// Identities to create: a file, and true for that of the service.
    to_create: Vec<(PathBuf, bool)>,
    has_service: bool,
    has_operator: bool,
}

impl Init {
    /// Returns one error that names every missing flag.
    fn check_complete(&self) -> Result<(), CliError> {
        let mut missing = self.settings.missing();
        if self.company.is_empty() {
            missing.insert(0, "--company");
        }
        if self.settings.provider.is_some() && self.needs_secrets() && !self.names_recipient() {
            missing.push("one of --data, --from-service, --keygen, --recipient");
        }
        if missing.is_empty() { Ok(()) } else { Err(missing_error(&missing)) }
    }

    fn names_recipient(&self) -> bool {
        self.keygen || self.from_service || self.data.is_some() || !self.recipient.is_empty()
    }

    /// Returns true if the profile has a secret, as far as the answers say so.
    fn needs_secrets(&self) -> bool {
        match self.settings.provider {
            Some(ProviderName::Smtp) => self.settings.username.is_some(),
            Some(ProviderName::MicrosoftGraphDirect) => self.settings.federated_token.is_none(),
            Some(ProviderName::MicrosoftGraphDelegate) | None => false,
        }
    }

    fn environment_name(&self) -> &str {
        self.environment.as_deref().unwrap_or("prod")
    }

    fn profile_name(&self) -> &str {
        let is_web = self.settings.platform.as_deref() == Some("spa");
        self.profile.as_deref().unwrap_or(match self.settings.provider {
            Some(ProviderName::MicrosoftGraphDirect) => "microsoft365",
            Some(ProviderName::MicrosoftGraphDelegate) if is_web => "web",
            Some(ProviderName::MicrosoftGraphDelegate) => "desktop",
            Some(ProviderName::Smtp) | None => "relay",
        })
    }

    fn service_address(&self) -> &str {
        self.service.service.as_deref().unwrap_or(LOCAL_SERVICE)
    }

    /// Returns the address on which a service of this machine listens.
    fn listen_address(&self) -> Result<String, CliError> {
        let address = self.service_address();
        let local = reqwest::Url::parse(address)
            .ok()
            .filter(|url| url.scheme() == "http" && url.path() == "/" && crate::net::http_client::is_loopback_url(url));
        let port = local.as_ref().and_then(reqwest::Url::port_or_known_default);
        match (local.as_ref().and_then(reqwest::Url::host_str), port) {
            (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
            _ => Err(CliError::coded(
                Code::Usage,
                format!("`--data` is for a service on this machine, but `{address}` is not one without TLS"),
            )
            .remedy("Start that service first and pass `--from-service`, or omit `--service`.")),
        }
    }

    fn carry_out(&self, context: &Context, root: &Path) -> Result<Exit, CliError> {
        let environment = files::check_environment_name(root, self.environment_name())?;
        let profile = self.settings.profile(self.profile_name(), &[])?;
        let listen = self.data.as_ref().map(|_| self.listen_address()).transpose()?;
        let recipients = self.recipients(context, &environment)?;
        let planned = FirstFiles {
            root,
            environment: &environment,
            companies: &self.company,
            service: self.service_address(),
            profile: &profile,
            recipients: &recipients.lines,
            ci: self.ci.unwrap_or(Ci::None),
            data: self.data.as_deref(),
        }
        .plan(context)?;
        if !self.dry_run {
            // The keys come first: files without the key to their secrets would be of no use.
            let mut lines = Vec::new();
            for (path, is_service) in &recipients.to_create {
                lines.push((path.clone(), *is_service, create_key(path, *is_service)?));
            }
            files::write(root, &planned, &lines)?;
        }
        let warnings = Self::warnings(&recipients, &environment);
        let next = self.next_commands(&environment, &profile, listen.as_deref());
        self.report(context, &environment, &planned, &recipients, &warnings, &next);
        Ok(Exit::Done)
    }

    /// Returns the recipients that the answers name.
    fn recipients(&self, context: &Context, environment: &EnvironmentName) -> Result<ChosenRecipients, CliError> {
        let mut chosen = ChosenRecipients::default();
        if let Some(folder) = &self.data {
            let path = folder.join(SERVICE_IDENTITY_FILE);
            let comment = "the service on this machine".to_owned();
            chosen.has_service = true;
            if path.exists() {
                chosen.lines.push((comment, read_recipient(&path)?));
            } else {
                chosen.lines.push((comment, files::placeholder(&path)));
                chosen.to_create.push((path, true));
            }
        }
        if self.from_service {
            let client = self.service.client(context, environment, Some(self.service_address()))?;
            let info = context.runtime()?.block_on(client.service())?;
            check_environment(&client, &info.environment, environment)?;
            chosen.lines.push((format!("the service at {}", client.address()), info.recipient));
            chosen.has_service = true;
        }
        if self.keygen {
            let path = default_identity_file().ok_or_else(|| {
                CliError::coded(Code::VariableUnusable, "cannot find the home folder, so the identity has no place").remedy(
                    "Create it with `mailwright secrets keygen --out FILE`, and pass the recipient with `--recipient`.",
                )
            })?;
            let comment = format!("the identity {}", path.display());
            chosen.has_operator = true;
            if path.exists() {
                chosen.lines.push((comment, read_recipient(&path)?));
            } else {
                chosen.lines.push((comment, files::placeholder(&path)));
                chosen.to_create.push((path, false));
            }
        }
        for given in &self.recipient {
            let recipient = files::read_recipient_argument(given)?;
            let known = chosen.lines.iter().any(|(_, line)| fingerprint(line) == fingerprint(&recipient));
            if !known {
                chosen.has_operator = true;
                chosen.lines.push(("an operator".to_owned(), recipient));
            }
        }
        Ok(chosen)
    }

    fn warnings(recipients: &ChosenRecipients, environment: &EnvironmentName) -> Vec<String> {
        let mut warnings = Vec::new();
        if recipients.lines.is_empty() {
            return warnings;
        }
        if !recipients.has_operator {
            warnings.push(format!(
                "only the service can open the secrets, so no operator can edit or move them. Add yourself: mailwright secrets recipients add \"$(mailwright secrets keygen)\" {environment}"
            ));
        }
        if !recipients.has_service {
            warnings.push(format!(
                "the service cannot open the secrets until its recipient is added: mailwright secrets recipients add RECIPIENT {environment}; the first start of the service prints it"
            ));
        }
        warnings
    }

    /// Returns the commands that follow, as they are to be typed, with the purpose of each.
    fn next_commands(
        &self,
        environment: &EnvironmentName,
        profile: &crate::config::scaffold::NewProfile,
        listen: Option<&str>,
    ) -> Vec<(String, &'static str)> {
        let mut next = Vec::new();
        let token_file = match (&self.data, &self.service.token_file) {
            (Some(folder), _) => Some(folder.join("token")),
            (None, given) => given.clone(),
        };
        let token = token_file.map(|path| format!(" --token-file {}", quote_path(&path))).unwrap_or_default();
        if let (Some(folder), Some(listen)) = (&self.data, listen) {
            let folder = quote_path(folder);
            let listen =
                if listen == "127.0.0.1:8470" { String::new() } else { format!(" --listen {}", quote_posix(listen)) };
            next.push((
                format!("mailwright serve --environment {environment}{listen} --data {folder}{token}"),
                "Run the service, in a terminal of its own",
            ));
        }
        let name = &profile.name;
        let is_unregistered =
            profile.application().is_some_and(|own| own.client == crate::config::scaffold::UNREGISTERED_CLIENT);
        if is_unregistered {
            next.push((
                format!("mailwright microsoft register {environment} {name} | bash"),
                "Register the application with `az`; without `| bash` it prints the script",
            ));
        } else if let Some(key) = profile.secret_key() {
            let from = if key == "certificate" { " < certificate-and-key.pem" } else { "" };
            next.push((format!("mailwright secrets set {environment} {name}/{key}{from}"), "Seal the credential"));
        }
        next.push((
            format!("mailwright apply {environment}{token}"),
            "Check that mail will leave, and change the service",
        ));
        next
    }

    fn report(
        &self,
        context: &Context,
        environment: &EnvironmentName,
        planned: &[PlannedFile],
        recipients: &ChosenRecipients,
        warnings: &[String],
        next: &[(String, &'static str)],
    ) {
        let paths = |is_kept: bool| -> Vec<String> {
            planned.iter().filter(|file| file.exists == is_kept).map(|file| file.path.display().to_string()).collect()
        };
        let (written, kept) = (paths(false), paths(true));
        let keys: Vec<String> = recipients.to_create.iter().map(|(path, _)| path.display().to_string()).collect();
        if self.output.format == Format::Json {
            let commands: Vec<&String> = next.iter().map(|(command, _)| command).collect();
            let document = json!({
                "environment": environment, "profile": self.profile_name(), "dryRun": self.dry_run,
                "written": written, "kept": kept, "identities": keys, "recipients": recipients.lines.len(),
                "warnings": warnings, "next": commands,
            });
            context.printer.json(&document);
            return;
        }
        let verb = if self.dry_run { "would write" } else { "wrote" };
        for path in keys.iter().chain(&written) {
            context.printer.out(&format!("{verb} {path}"));
        }
        for path in &kept {
            let data = self.data.as_deref().and_then(|data| files::data_line(&context.project_or_new(), data));
            let hint = match data.filter(|_| path == ".gitignore") {
                Some(line) => format!("; add `*.plan`, `*.token` and `{line}` to it"),
                None if path == ".gitignore" => "; add `*.plan` and `*.token` to it".to_owned(),
                None => String::new(),
            };
            context.printer.note(&format!("kept {path}, which exists already{hint}"));
        }
        if !recipients.lines.is_empty() {
            context
                .printer
                .note(&format!("The secrets will be sealed to {}.", count_of(recipients.lines.len(), "recipient")));
        }
        for warning in warnings {
            context.printer.note(&format!("warning: {warning}"));
        }
        let lines: Vec<String> = next
            .iter()
            .enumerate()
            .map(|(index, (command, purpose))| format!("  {}. {purpose}:\n     {command}", index + 1))
            .collect();
        context.printer.note(&format!("\nNext:\n{}", lines.join("\n")));
    }
}

/// Creates an identity, and returns its recipient.
fn create_key(path: &Path, is_service: bool) -> Result<String, CliError> {
    if !is_service {
        return create_identity(path);
    }
    let failed = |error: std::io::Error| {
        CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    files::create_private_folder(folder).map_err(failed)?;
    // Git ignores the folder wherever it is, also if the repository has a `.gitignore` already.
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        crate::fs::write_private(&ignore, b"*\n").map_err(failed)?;
    }
    let identity = ServiceIdentity::generate();
    let text = identity.to_file();
    crate::fs::write_private(path, secrecy::ExposeSecret::expose_secret(&text).as_bytes()).map_err(failed)?;
    Ok(identity.recipient())
}
