//! `mailwright secrets edit`: decrypts a secret into a temporary folder, opens an editor, and seals the result again.
//!
//! The text is kept in memory (see `scratch`) unless `--on-disk` is given, and wiped afterwards. An unchanged value is not sealed
//! again. Of several environments, all must have the same value. If the editor fails or the program is stopped, nothing is sealed.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, OutputArgs, Runnable,
        args::identity::IdentityArgs,
        commands::secrets::{
            files::{read_age, write_age},
            names::SecretNames,
            ownership::{OwnershipCheck, ValueIndex},
            recipients_file::{check_not_public, read_recipients},
            scratch::Scratch,
            sealing::{find_destination, fresh_value_id, open_error, parse_reference, seal_error},
            set::describe_destination,
            value,
        },
        environment::Environment,
        fleet::Fleet,
        ui::fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
        variables,
    },
    config::Repository,
    model::{Code, Destination, SecretReference},
    secrets::{Header, Recipients, open, seal_for},
};

/// Open a secret in an editor, and seal the result
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailwright secrets edit ENV... NAME/KEY",
    after_help = "Examples:\n  \
    mailwright secrets edit prod remittance/certificate --identity ~/.config/age/keys.txt\n  \
    mailwright secrets edit 'cust-*' relay/password       one value for all, if all have the same\n\n\
    The editor is VISUAL or EDITOR. While it is edited, the text is stored in memory\n\
    only (XDG_RUNTIME_DIR or /dev/shm), and it is wiped afterwards. Without such a\n\
    folder, `--on-disk` is required. An unchanged value is not sealed again."
)]
pub(super) struct Edit {
    #[command(flatten)]
    names: SecretNames,
    /// Store the text on disk while it is edited if there is no folder in memory
    #[arg(long)]
    on_disk: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    identities: IdentityArgs,
}

impl Runnable for Edit {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (fleet, secret) = self.names.find(context, None)?;
        let (environments, several) = match fleet {
            Fleet::Single(environment) => (vec![environment], false),
            Fleet::Many(set) if set.print_if_empty(context, self.output.format) => return Ok(Exit::Done),
            Fleet::Many(set) => (set.environments, true),
        };
        let Some(repository) = environments.first().map(|first| Arc::clone(&first.repository)) else {
            return Ok(Exit::Done);
        };
        // The values are only edited together if all can be read, and are the same.
        let open = |environment| self.open(environment, secret);
        let opened = environments.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = opened.first() else { return Ok(Exit::Done) };
        if let Some(other) = opened.iter().find(|one| one.before.expose_secret() != first.before.expose_secret()) {
            let (one, other) = (&first.environment.name, &other.environment.name);
            return Err(CliError::coded(
                Code::InvalidValue,
                format!("cannot edit `{secret}` of several environments: the values of {one} and {other} differ"),
            )
            .remedy(
                "Edit one environment at a time, or give all the same value: `mailwright secrets set ENV... NAME/KEY`.",
            ));
        }
        let after = edit_text(context, &first.before, &self.scratch()?)?;
        let results = opened.iter().map(|opened| {
            let result = opened.seal(context, &after);
            TaskResult { name: opened.environment.name.clone(), notes: String::new(), result }
        });
        if several {
            let labels = SummaryLabels { notable: ("sealed", "sealed"), quiet: ("unchanged", "unchanged") };
            let report = FleetReport::new(results.collect(), Some(&repository));
            return report.summary_only(self.names.selection.summary).print(context, self.output.format, &labels);
        }
        for TaskResult { name, result, .. } in results {
            result?.print(context, self.output.format, &name)?;
        }
        Ok(Exit::Done)
    }
}

/// A secret that was decrypted.
struct OpenedSecret {
    environment: Environment,
    reference: SecretReference,
    path: PathBuf,
    recipients: Recipients,
    destination: Destination,
    before: SecretSlice<u8>,
}

impl OpenedSecret {
    /// Seals the edited text, unless it is unchanged.
    fn seal(&self, context: &Context, after: &[u8]) -> Result<Summary, CliError> {
        let Self { environment, reference, path, recipients, destination, before } = self;
        let after = value::prepare_edited(context, environment, reference, before, after)?;
        if after.value.expose_secret() == before.expose_secret() {
            let text = "No changes; nothing was sealed.".to_owned();
            return Ok(Summary::new(Significance::Quiet, "unchanged".to_owned(), text, json!({ "sealed": null })));
        }
        let sealed = seal_for(&after.value, recipients, &fresh_value_id()?, &destination.digest(&environment.name))
            .map_err(|error| seal_error(reference, &error))?;
        write_age(environment, path, &sealed)?;
        after.print_notes(context);
        let sealed_for = describe_destination(destination, &environment.name);
        let text = format!("sealed {} {sealed_for}", path.display());
        Ok(Summary::new(Significance::Listed, format!("sealed for {destination}"), text, json!({ "sealed": path })))
    }
}

impl Edit {
    /// Decrypts the secret of one environment.
    fn open(&self, environment: Environment, secret: &str) -> Result<OpenedSecret, CliError> {
        let reference = parse_reference(&environment.name, secret)?;
        let root = environment.repository.root();
        let recipients = read_recipients(root, &environment.name)?;
        check_not_public(&environment, &recipients)?;
        let path = Repository::secret_path(&environment.name, &reference);
        let file = read_age(root, &path).map_err(|error| {
            error.remedy(format!("Seal a first value: mailwright secrets set {} {reference}", environment.name))
        })?;
        let destination = find_destination(&environment, &reference)?;
        // Checked before the file is opened: a value that belongs elsewhere must not be shown or sealed.
        let (ownership, mut value_index) = (OwnershipCheck::new(&environment, &recipients), ValueIndex::default());
        ownership.check(&reference, &file, true, &mut value_index)?;
        if let Ok(header) = Header::read(&file)
            && header.sealed_for.is_none()
        {
            ownership.check_copies(&reference, &header, &mut value_index)?;
        }
        let identities = self.identities.load(std::iter::once(file.as_slice()))?;
        let before =
            open(&file, identities.iter()).map_err(|error| open_error(&environment.name, &reference, &path, &error))?;
        Ok(OpenedSecret { environment, reference, path, recipients, destination, before })
    }

    /// Creates a folder in memory, or on disk if that is allowed.
    fn scratch(&self) -> Result<Scratch, CliError> {
        let in_memory: Vec<_> = variables::runtime_dir().into_iter().chain([PathBuf::from("/dev/shm")]).collect();
        Scratch::new(&in_memory, self.on_disk.then(std::env::temp_dir)).map_err(failed)?.ok_or_else(|| {
            CliError::coded(Code::Unreadable, "cannot edit a secret: there is no folder in memory")
                .remedy("Use `mailwright secrets set`, or pass `--on-disk`.")
        })
    }
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::new(format!("cannot prepare the text for the editor: {error}"))
}

/// Opens the editor and returns the edited text.
fn edit_text(context: &Context, before: &SecretSlice<u8>, scratch: &Scratch) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let editor = variables::editor().ok_or_else(|| {
        CliError::coded(Code::VariableUnusable, "neither VISUAL nor EDITOR is set")
            .remedy("Set one of them, for example EDITOR=nano.")
    })?;
    scratch.write(before.expose_secret()).map_err(failed)?;
    let status = context.runtime()?.block_on(run_editor(editor_command(&editor, &scratch.file())))?;
    if !status.success() {
        return Err(CliError::new("the editor ended with an error; nothing was sealed"));
    }
    scratch.read(value::GIVEN_LIMIT).map_err(failed)
}

/// Returns the command for the editor. As in Git, the shell splits VISUAL and EDITOR.
fn editor_command(editor: &str, file: &Path) -> Command {
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

/// Runs the editor and waits for it. Signals must not end this program before the text is wiped: Ctrl-C and Ctrl-\\ are
/// left to the editor, and when the session ends the editor is stopped.
async fn run_editor(mut command: Command) -> Result<ExitStatus, CliError> {
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
            return Err(CliError::new("stopped by a signal while the text was edited; nothing was sealed"));
        }
    }
}
