//! `mailwright microsoft register`: prints a script for `az` or PowerShell that registers a profile's application in Microsoft
//! Entra.
//!
//! The script is rendered by [`crate::verify::register`]; the user runs it. With `--check`, `mailwright verify` is run for the
//! profile instead. Nothing else here calls Microsoft. An unknown profile, one that does not use Graph or is of a custom cloud, and
//! one whose provider is incomplete, are errors.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, args::environment::EnvironmentArg,
        environment,
    },
    config::{Repository, Sourced},
    model::{Code, EnvironmentName, ProfileName, Provider},
    verify::register::{
        ClientPlace, NotRegistrable, RegisteredProfile, Registration, RegistrationOptions, Shell, UNREGISTERED_CLIENT,
    },
};

/// The time for which a new client secret is valid, in seconds.
const SECRET_SECONDS: i64 = 365 * 86_400;

/// Set up what a profile needs at Microsoft
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright microsoft register prod documents\n  \
    mailwright microsoft register prod documents --shell powershell > register.ps1\n  \
    mailwright microsoft register prod documents --check")]
pub(crate) struct Microsoft {
    #[command(subcommand)]
    command: MicrosoftCommand,
}

#[derive(Debug, clap::Subcommand)]
enum MicrosoftCommand {
    Register(Register),
}

/// Print the script that registers a profile's application as the profile needs it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright microsoft register prod documents           prints the script; read it\n  \
    mailwright microsoft register prod documents | bash    runs it; needs `az`\n  \
    mailwright microsoft register prod documents --shell powershell > register.ps1\n  \
    mailwright microsoft register prod documents --scoped  Exchange limits the sender\n  \
    mailwright microsoft register prod documents --check   compares with what exists\n\n\
    The script registers the application (or finds it), sets platforms and redirect\n\
    URIs, requests and grants the permissions, and pipes a new credential into\n\
    `mailwright secrets set` without showing it. It writes a new client id into the\n\
    profile. It removes nothing, and can run again. Profiles with the same client id\n\
    share one application, which gets what all of them need.")]
struct Register {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Profile that sends through Microsoft Graph
    #[arg(value_name = "PROFILE")]
    profile: Vec<String>,
    /// Language of the script
    #[arg(long, value_enum, default_value_t = ShellName::Bash, value_name = "SHELL")]
    shell: ShellName,
    /// Leave `Mail.Send` to Exchange, which limits it to the profile's mailbox
    #[arg(long)]
    scoped: bool,
    /// Issuer of the federated token
    #[arg(long, value_name = "URL", requires = "subject", value_hint = clap::ValueHint::Url)]
    issuer: Option<String>,
    /// Subject of the federated token
    #[arg(long, value_name = "TEXT", requires = "issuer")]
    subject: Option<String>,
    /// Compare with what exists, as `mailwright verify` does
    #[arg(long, conflicts_with_all = ["scoped", "issuer", "shell", "format"])]
    check: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// The language of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ShellName {
    /// Bash with Azure's command line (`az`)
    Bash,
    /// PowerShell with Microsoft.Graph.Authentication
    Powershell,
}

impl Runnable for Microsoft {
    fn error_format(&self) -> ErrorFormat {
        let MicrosoftCommand::Register(register) = &self.command;
        register.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let MicrosoftCommand::Register(register) = &self.command;
        register.run(context)
    }
}

impl Register {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (environment, profile) = self.environment.find_before_one(context, &self.profile, "a profile")?;
        let (repository, environment) = (environment.repository, environment.name);
        let name = environment::profile_name(&profile)?;
        if self.check {
            return Self::check(&environment, &name, repository.root());
        }
        let registration = self.registration(context, &repository, &environment, &name)?;
        let shell = match self.shell {
            ShellName::Bash => Shell::Bash,
            ShellName::Powershell => Shell::Powershell,
        };
        let script = registration.script(shell);
        if self.output.format == Format::Json {
            context.printer.json(&json!({ "environment": environment, "profile": name, "script": script }));
        } else {
            context.printer.document(&script);
        }
        Ok(Exit::Done)
    }

    fn registration(
        &self,
        context: &Context,
        repository: &Repository,
        environment: &EnvironmentName,
        name: &ProfileName,
    ) -> Result<Registration, CliError> {
        // The secret need not exist yet, so the files are read as far as they can be.
        let effective = repository.effective_environment(environment);
        let Some(own) = effective.profiles.get(name) else {
            let names: Vec<&str> = effective.profiles.keys().map(ProfileName::as_str).collect();
            return Err(CliError::coded(Code::NotFound, format!("`{environment}` has no profile `{name}`"))
                .remedy(format!("Its profiles are: {}. `mailwright new profile` creates one.", names.join(", "))));
        };
        let read = |sourced: &Sourced| -> Option<RegisteredProfile> {
            let document = sourced.to_json();
            let provider: Provider = serde_json::from_value(document["provider"].clone()).ok()?;
            Some(RegisteredProfile { provider, from: document["from"]["address"].as_str().map(str::to_owned) })
        };
        let profiles: BTreeMap<ProfileName, RegisteredProfile> = effective
            .profiles
            .iter()
            .filter(|(_, sourced)| sourced.to_json()["enabled"] != json!(false))
            .filter_map(|(known, sourced)| Some((known.clone(), read(sourced)?)))
            .chain(read(own).map(|own| (name.clone(), own)))
            .collect();
        let Some(profile) = profiles.get(name) else {
            return Err(CliError::coded(Code::InvalidValue, format!("the provider of `{name}` is not complete"))
                .remedy(format!("`mailwright validate {environment}` shows the problems.")));
        };
        let secret_file = profile.provider.secret().map(|(reference, _)| {
            (Repository::secret_path(environment, reference), Repository::recipients_path(environment))
        });
        let now = context.clock.now();
        let expires = jiff::Timestamp::from_second(now.as_second() + SECRET_SECONDS).unwrap_or(now);
        let options = RegistrationOptions {
            is_scoped: self.scoped,
            federation: self.issuer.clone().zip(self.subject.clone()),
            secret_expires: expires,
            client_place: client_place(own),
            secret_file,
        };
        Registration::for_profile(environment, name, &profiles, options)
            .map_err(|reason| not_registrable(name, &reason))
    }

    /// Runs `mailwright verify` for the profile, which compares the registration with the profile.
    fn check(environment: &EnvironmentName, name: &ProfileName, root: &std::path::Path) -> Result<Exit, CliError> {
        let program = std::env::current_exe()
            .map_err(|error| CliError::new(format!("cannot find this program's file: {error}")))?;
        let status = std::process::Command::new(program)
            .args(["verify", environment.as_str(), name.as_str(), "--all", "--project"])
            .arg(root)
            .status()
            .map_err(|error| CliError::new(format!("cannot run `mailwright verify`: {error}")))?;
        let is_code = |exit: &Exit| status.code() == Some(i32::from(exit.code()));
        Ok(Exit::ALL.into_iter().find(is_code).unwrap_or(Exit::Error))
    }
}

/// Returns the place that states the client id of a profile, or the place of the variable that it is.
fn client_place(profile: &Sourced) -> Option<ClientPlace> {
    let provider = field(profile, "provider")?;
    let settings = ["microsoft-graph-direct", "microsoft-graph-delegate"].iter().find_map(|id| field(provider, id))?;
    let Sourced::Leaf { value, place, variables } = field(settings, "client")? else { return None };
    if value.as_str() != Some(UNREGISTERED_CLIENT) {
        return None;
    }
    let place = variables.first().map_or(place, |(_, place)| place);
    Some(ClientPlace { path: place.file.split('/').collect(), line: place.line })
}

fn field<'a>(sourced: &'a Sourced, name: &str) -> Option<&'a Sourced> {
    let Sourced::Map(entries) = sourced else { return None };
    entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn not_registrable(name: &ProfileName, reason: &NotRegistrable) -> CliError {
    let error = CliError::coded(Code::InvalidValue, format!("cannot register an application for `{name}`: {reason}"));
    match reason {
        NotRegistrable::OtherProvider => {
            error.remedy("Name a profile with the provider microsoft-graph-direct or microsoft-graph-delegate.")
        }
        NotRegistrable::InvalidClient => {
            error.remedy(format!("Write the client id, or `{UNREGISTERED_CLIENT}` for a new application."))
        }
        NotRegistrable::CustomCloud => error
            .remedy("Register the application with the tools of that cloud; `mailwright verify` checks the result."),
        NotRegistrable::Cloud(_) => error.remedy("Correct `cloud` of the profile."),
        NotRegistrable::FederationUnknown => {
            error.remedy("Pass `--issuer URL` and `--subject TEXT`, to the letter as in the token.")
        }
    }
}
