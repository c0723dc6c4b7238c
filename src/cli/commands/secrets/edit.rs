//! `mailwright secrets edit`: opens a secret in an editor and seals it again.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable,
        args::identity::IdentityOptions,
        commands::secrets::{
            belonging::{Belonging, Everywhere},
            files::{read_age, write_age},
            recipients_file::{read_recipients, refuse_public},
            scratch::Scratch,
            sealing::{find_destination, fresh_value_id, open_error, parse_reference, seal_error},
            set::sealed_for,
            value,
        },
        environment::Environment,
        variables,
    },
    config::Repository,
    model::Code,
    secrets::{Header, VALUE_LIMIT, open, seal_for},
};

/// Open a secret in an editor, and seal it again
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright secrets edit prod remittance/certificate --identity ~/.config/age/keys.txt\n\n\
    The editor is VISUAL or EDITOR. The text lies in memory only (XDG_RUNTIME_DIR or /dev/shm) while it is edited, and\n\
    is wiped afterwards; where there is no such place, nothing is opened unless `--on-disk` allows it.\n\
    A value that was not changed is not sealed again."
)]
pub(super) struct Edit {
    /// The environment
    environment: String,
    /// The secret: NAME/KEY
    name: String,
    /// Let the text lie on disk while it is edited, where there is no folder in memory
    #[arg(long)]
    on_disk: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    identities: IdentityOptions,
}

impl Runnable for Edit {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let reference = parse_reference(&environment.name, &self.name)?;
        let root = environment.repository.root();
        let recipients = read_recipients(root, &environment.name)?;
        refuse_public(&environment, &recipients)?;
        let path = Repository::secret_path(&environment.name, &reference);
        let file = read_age(root, &path).map_err(|error| {
            error.remedy(format!("Seal a first value: mailwright secrets set {} {reference}", self.environment))
        })?;
        let destination = find_destination(&environment, &reference)?;
        // Before it is opened: the editor must not show a value that belongs elsewhere, nor its seal follow.
        let (belonging, mut everywhere) = (Belonging::new(&environment, &recipients), Everywhere::default());
        belonging.check(&reference, &file, true, &mut everywhere)?;
        if let Ok(header) = Header::read(&file)
            && header.sealed_for.is_none()
        {
            belonging.check_copies(&reference, &header, &mut everywhere)?;
        }
        let identities = self.identities.load(std::iter::once(file.as_slice()))?;
        let before = open(&file, identities.iter()).map_err(|error| open_error(&path, &error))?;
        let after = edited(context, &before, &self.scratch()?)?;
        let after = value::edited(context, &environment, &reference, &before, &after)?;
        if after.expose_secret() == before.expose_secret() {
            return Ok(self.tell(context, None));
        }
        let sealed = seal_for(&after, &recipients, &fresh_value_id()?, &destination.digest(&environment.name))
            .map_err(|error| seal_error(&reference, &error))?;
        write_age(&environment, &path, &sealed)?;
        Ok(self.tell(context, Some((&path, &sealed_for(&destination, &environment.name)))))
    }
}

impl Edit {
    fn tell(&self, context: &Context, sealed: Option<(&Path, &str)>) -> Exit {
        context.printer.out(&match sealed {
            _ if self.format == Format::Json => format!("{:#}", json!({ "sealed": sealed.map(|(path, _)| path) })),
            Some((path, sealed_for)) => format!("sealed {} {sealed_for}", path.display()),
            None => "Not changed; nothing was sealed.".to_owned(),
        });
        Exit::Done
    }

    /// A folder in memory; on disk only if that is allowed.
    fn scratch(&self) -> Result<Scratch, CliError> {
        let in_memory: Vec<_> = variables::runtime_dir().into_iter().chain([PathBuf::from("/dev/shm")]).collect();
        Scratch::new(&in_memory, self.on_disk.then(std::env::temp_dir)).map_err(failed)?.ok_or_else(|| {
            CliError::coded(Code::Unreadable, "there is no folder in memory to edit a secret in")
                .remedy("Use `mailwright secrets set`, or allow the disk with `--on-disk`.")
        })
    }
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::new(format!("cannot prepare the text for the editor: {error}"))
}

fn edited(context: &Context, before: &SecretSlice<u8>, scratch: &Scratch) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let editor = variables::editor().ok_or_else(|| {
        CliError::coded(Code::Usage, "neither VISUAL nor EDITOR names an editor")
            .remedy("Set one of them, for example EDITOR=nano.")
    })?;
    scratch.write(before.expose_secret()).map_err(failed)?;
    let ended = context.runtime()?.block_on(run(command(&editor, &scratch.file())))?;
    if !ended.success() {
        return Err(CliError::new("the editor ended with an error; nothing was sealed"));
    }
    // More than any value may have, for a byte order mark and a line end.
    scratch.read(VALUE_LIMIT + 6).map_err(failed)
}

/// The editor with the file. As with Git, the shell takes VISUAL and EDITOR apart.
fn command(editor: &str, file: &Path) -> Command {
    if cfg!(unix) {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{editor} \"$@\"")).arg(editor).arg(file);
        command
    } else {
        let mut words = editor.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg(file);
        command
    }
}

/// Waits for the editor. A signal must not end this program before the text is wiped: what is typed on the terminal
/// (Ctrl-C, Ctrl-\\) is the editor's business; when the session ends, so does the editor.
async fn run(mut command: Command) -> Result<ExitStatus, CliError> {
    let not_started = |error: std::io::Error| CliError::new(format!("cannot start the editor: {error}"));
    #[cfg(unix)]
    let (_typed, mut hangup, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        let typed = [signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::quit()).map_err(failed)?];
        (typed, signal(SignalKind::hangup()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
    };
    let mut child = command.spawn().map_err(not_started)?;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        let pause = tokio::time::sleep(Duration::from_millis(20));
        #[cfg(unix)]
        let ended = tokio::select! {
            () = pause => false,
            _ = hangup.recv() => true,
            _ = terminate.recv() => true,
        };
        #[cfg(not(unix))]
        let ended = {
            pause.await;
            false
        };
        if ended {
            drop(child.kill());
            drop(child.wait());
            return Err(CliError::new("told to stop while the text was edited; nothing was sealed"));
        }
    }
}
