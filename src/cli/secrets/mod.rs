//! `mailwright secrets`: one file a subcommand. What they share is here: the recipients of an environment, the keys
//! of the operator, the files that are there, and how the operator is asked.

mod check;
mod edit;
mod init;
mod list;
mod rekey;
mod set;

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use age::secrecy::SecretString;

use super::{CliError, Context, Exit, environment::Environment, variables};
use crate::{
    config::Repository,
    model::{Code, EnvironmentName, SecretReference},
    secrets::{Identities, OpenError, Recipients, SealError, ValueId},
};

/// Seal, list and check the secrets of an environment
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright secrets init prod age1... \"ssh-ed25519 AAAA... ann@example.com\"\n  \
    mailwright secrets set prod relay/password\n  mailwright secrets list prod\n  mailwright secrets check\n  \
    mailwright secrets rekey prod\n\n\
    A secret is a plain age file, secrets/ENV/NAME/KEY.age, sealed to everyone in secrets/ENV/recipients.txt.\n\
    `age -d -i KEYFILE secrets/ENV/NAME/KEY.age` opens it without this program.\n\n\
    Keys to open with, first that is there: `--identity FILE` (may be given several times),\n\
    MAILWRIGHT_AGE_IDENTITY_FILE, ~/.config/age/keys.txt, ~/.config/sops/age/keys.txt, ~/.ssh/id_ed25519, ~/.ssh/id_rsa.")]
pub(crate) struct Secrets {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretsCommand {
    Init(init::Init),
    Set(set::Set),
    Edit(edit::Edit),
    List(list::List),
    Rekey(rekey::Rekey),
    Check(check::Check),
}

impl Secrets {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.command {
            SecretsCommand::Init(command) => command.run(context),
            SecretsCommand::Set(command) => command.run(context),
            SecretsCommand::Edit(command) => command.run(context),
            SecretsCommand::List(command) => command.run(context),
            SecretsCommand::Rekey(command) => command.run(context),
            SecretsCommand::Check(command) => command.run(context),
        }
    }
}

/// The keys to open with.
#[derive(Debug, clap::Args)]
struct IdentityOptions {
    /// A file with age identities or an SSH key; may be given several times
    #[arg(long, short = 'i', value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    identity: Vec<PathBuf>,
}

impl IdentityOptions {
    /// The keys that are named, or else those at the usual places.
    fn load(&self) -> Result<Identities, CliError> {
        let mut identities = Identities::default();
        let named: Vec<PathBuf> = if self.identity.is_empty() {
            variables::read(variables::AGE_IDENTITY_FILE).map(PathBuf::from).into_iter().collect()
        } else {
            self.identity.clone()
        };
        for path in &named {
            identities
                .add_file(path, &Prompt)
                .map_err(|error| CliError::coded(Code::IdentityMissing, error.to_string()))?;
        }
        if named.is_empty() {
            for path in usual_places().into_iter().filter(|path| path.is_file()) {
                // A key of another kind at a usual place is no reason to stop.
                drop(identities.add_file(&path, &Prompt));
            }
        }
        if identities.is_empty() {
            return Err(CliError::coded(Code::IdentityMissing, "no age identity is at hand to open the secrets with").remedy(
                "Give `--identity FILE`, set MAILWRIGHT_AGE_IDENTITY_FILE, or put one at ~/.config/age/keys.txt (`age-keygen -o ~/.config/age/keys.txt`).",
            ));
        }
        Ok(identities)
    }
}

fn usual_places() -> Vec<PathBuf> {
    let Some(home) = variables::home() else { return Vec::new() };
    let config = variables::config_home().unwrap_or_else(|| home.join(".config"));
    vec![
        config.join("age/keys.txt"),
        config.join("sops/age/keys.txt"),
        home.join(".ssh/id_ed25519"),
        home.join(".ssh/id_rsa"),
    ]
}

/// Asks the operator on the terminal; without one, nothing is answered.
#[derive(Clone, Copy, Debug)]
struct Prompt;

#[expect(clippy::print_stderr, reason = "this is the command line, and age calls back into it")]
impl age::Callbacks for Prompt {
    fn display_message(&self, message: &str) {
        eprintln!("{message}");
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        eprintln!("{message} [{yes}/{}]", no.unwrap_or("no"));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok()?;
        Some(line.trim().eq_ignore_ascii_case(yes))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        eprintln!("{description}:");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok()?;
        Some(line.trim().to_owned())
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        rpassword::prompt_password(format!("{description}: ")).ok().map(SecretString::from)
    }
}

/// Where an environment's recipients stand, relative to the repository.
fn recipients_path(environment: &EnvironmentName) -> PathBuf {
    Path::new("secrets").join(environment.as_str()).join("recipients.txt")
}

/// The recipients of an environment's secrets.
fn recipients(root: &Path, environment: &EnvironmentName) -> Result<Recipients, CliError> {
    let path = recipients_path(environment);
    let wrong = |why: String| CliError::coded(Code::RecipientsInvalid, format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(root.join(&path)).map_err(|error| {
        wrong(error.to_string()).remedy(format!("Make it: mailwright secrets init {environment} RECIPIENT..."))
    })?;
    Recipients::parse(&text, &Prompt).map_err(|error| {
        wrong(error.to_string()).remedy("One recipient a line: the service's own (`mailwright status` and the service's first start tell it) and the operators'.")
    })
}

/// A secret's name, well formed or refused.
fn reference(text: &str) -> Result<SecretReference, CliError> {
    text.parse().map_err(|_| {
        CliError::coded(Code::InvalidName, format!("`{}` is not the name of a secret", text.escape_debug()))
            .remedy(format!("{}.", SecretReference::RULE))
    })
}

/// A new value's id.
fn fresh_value_id() -> Result<ValueId, CliError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| CliError::new(format!("the machine gives no random numbers: {error}")))?;
    Ok(ValueId::from_random(random))
}

/// The secrets whose files are there, by name.
fn files(root: &Path, environment: &EnvironmentName) -> Result<Vec<(SecretReference, PathBuf)>, CliError> {
    let folder = Path::new("secrets").join(environment.as_str());
    let failed = |path: &Path, error: &std::io::Error| {
        CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display()))
    };
    let mut found = Vec::new();
    for name in entries(&root.join(&folder)).map_err(|error| failed(&folder, &error))? {
        let below = folder.join(&name);
        if !root.join(&below).is_dir() {
            continue;
        }
        for file in entries(&root.join(&below)).map_err(|error| failed(&below, &error))? {
            let Some(key) = file.strip_suffix(".age") else { continue };
            if let Ok(reference) = format!("{name}/{key}").parse() {
                found.push((reference, below.join(&file)));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> std::io::Result<Vec<String>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reads an age file, bounded.
fn read_age(root: &Path, path: &Path) -> Result<Vec<u8>, CliError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(root.join(path))
        .and_then(|file| file.take(crate::secrets::FILE_LIMIT as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display())))?;
    Ok(bytes)
}

/// Writes an age file in the place of the old one.
fn write_age(environment: &Environment, reference: &SecretReference, bytes: &[u8]) -> Result<PathBuf, CliError> {
    let path = Repository::secret_path(&environment.name, reference);
    let target = environment.repository.root().join(&path);
    let failed = |error: std::io::Error| {
        CliError::coded(Code::Unreadable, format!("cannot write `{}`: {error}", path.display()))
    };
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    crate::config::write_atomically(&target, bytes).map_err(failed)?;
    Ok(path)
}

fn seal_error(reference: &SecretReference, error: &SealError) -> CliError {
    let (code, remedy) = match error {
        SealError::Masked => {
            (Code::MaskedValue, "Give the real value; what was copied is what a screen shows in its place.")
        }
        SealError::Empty => {
            (Code::InvalidValue, "Type the value, or pipe it in: printf %s VALUE | mailwright secrets set ...")
        }
        SealError::TooLong => (Code::TooLarge, "A secret is a password, a client secret, or a PEM file."),
        SealError::Incompatible => {
            (Code::RecipientsInvalid, "Keep one kind in recipients.txt. The service's recipient is a classic one.")
        }
        SealError::Age(_) => {
            (Code::RecipientsInvalid, "Look at recipients.txt, and whether the plugins that it needs are installed.")
        }
    };
    CliError::coded(code, format!("`{reference}` was not sealed: {error}")).remedy(remedy)
}

fn open_error(path: &Path, error: &OpenError) -> CliError {
    let (code, remedy) = match error {
        OpenError::NotForUs => {
            (Code::IdentityMissing, "Use the identity of somebody in recipients.txt: `--identity FILE`.")
        }
        OpenError::NotAge | OpenError::Tampered => {
            (Code::NotAgeFile, "Take the file from Git again, or seal the value once more: mailwright secrets set.")
        }
        OpenError::Size | OpenError::Masked => (Code::MaskedValue, "Seal the real value: mailwright secrets set."),
        OpenError::Key(_) => {
            (Code::IdentityMissing, "A passphrase needs a terminal to be typed on; a plugin must be installed.")
        }
    };
    CliError::coded(code, format!("`{}` cannot be opened: {error}", path.display())).remedy(remedy)
}
