//! `mailwright secrets`: seals, edits, checks, re-encrypts and rotates the age files of the repository. One file per
//! subcommand.
//!
//! `files`, `recipients_file`, `sealing`, `value` and `environments` hold what several subcommands use; the encryption is
//! [`crate::secrets`]. No subcommand prints a value, and none reads one from the service.

mod check;
mod edit;
mod environments;
mod expiring;
mod files;
mod init;
mod keygen;
mod list;
mod names;
mod ownership;
mod recipients;
mod recipients_file;
mod rekey;
mod rotate;
mod scratch;
mod sealing;
mod set;
mod value;
mod value_list;

use crate::cli::{CliError, Context, ErrorFormat, Exit, Runnable};

/// Seal, list and check the secrets of an environment
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets init prod age1... \"ssh-ed25519 AAAA... ann@example.com\"\n  \
    mailwright secrets keygen\n  \
    mailwright secrets set prod relay/password\n  \
    mailwright secrets set 'cust-*' relay/password < FILE\n  \
    mailwright secrets list prod\n  \
    mailwright secrets check\n  \
    mailwright secrets rekey prod\n  \
    mailwright secrets rotate prod relay/password\n  \
    mailwright secrets recipients remove \"ssh-ed25519 AAAA...\"\n\n\
    A secret is a plain age file, secrets/ENV/NAME/KEY.age, sealed to everyone in\n\
    secrets/ENV/recipients.txt. `age -d -i KEYFILE secrets/ENV/NAME/KEY.age`\n\
    decrypts it without this program.\n\n\
    Identities for decryption: `--identity FILE` (can be repeated), or else\n\
    MAILWRIGHT_AGE_IDENTITY_FILE, or else all existing files of\n\
    ~/.config/age/keys.txt, ~/.config/sops/age/keys.txt, ~/.ssh/id_ed25519 and\n\
    ~/.ssh/id_rsa (macOS: ~/Library/Application Support; Windows: %APPDATA%; or\n\
    XDG_CONFIG_HOME).")]
pub(crate) struct Secrets {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretsCommand {
    Init(init::Init),
    Keygen(keygen::Keygen),
    Set(set::Set),
    Edit(edit::Edit),
    List(list::List),
    Rekey(rekey::Rekey),
    Rotate(rotate::Rotate),
    Recipients(recipients::RecipientsCommand),
    Expiring(expiring::Expiring),
    Check(check::Check),
}

impl SecretsCommand {
    fn runnable(&self) -> &dyn Runnable {
        match self {
            Self::Init(command) => command,
            Self::Keygen(command) => command,
            Self::Set(command) => command,
            Self::Edit(command) => command,
            Self::List(command) => command,
            Self::Rekey(command) => command,
            Self::Rotate(command) => command,
            Self::Recipients(command) => command,
            Self::Expiring(command) => command,
            Self::Check(command) => command,
        }
    }
}

impl Runnable for Secrets {
    fn error_format(&self) -> ErrorFormat {
        self.command.runnable().error_format()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        self.command.runnable().run(context)
    }
}
