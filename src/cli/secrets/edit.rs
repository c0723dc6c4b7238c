//! `mailwright secrets edit`: opens a secret in an editor and seals it again.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use secrecy::{ExposeSecret as _, SecretSlice};
use zeroize::Zeroizing;

use super::{
    CliError, Context, Environment, Exit, IdentityOptions, fresh_value_id, open_error, read_age, recipients, reference,
    seal_error, set::without_line_end, variables, write_age,
};
use crate::{
    config::Repository,
    model::Code,
    secrets::{VALUE_LIMIT, open, seal},
};

/// Open a secret in an editor, and seal it again
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright secrets edit prod remittance/certificate --identity ~/.config/age/keys.txt\n\n\
    The editor is VISUAL or EDITOR. The text lies in memory only (/dev/shm or XDG_RUNTIME_DIR) while it is edited, and\n\
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
    #[command(flatten)]
    identities: IdentityOptions,
}

impl Edit {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let reference = reference(&self.name)?;
        let root = environment.repository.root();
        let recipients = recipients(root, &environment.name)?;
        let path = Repository::secret_path(&environment.name, &reference);
        let identities = self.identities.load()?;
        let before = open(&read_age(root, &path)?, identities.iter()).map_err(|error| open_error(&path, &error))?;
        let after = edited(&before, &self.folder()?)?;
        if after.expose_secret() == before.expose_secret() {
            context.printer.out("Not changed; nothing was sealed.");
            return Ok(Exit::Done);
        }
        let sealed = seal(&after, &recipients, &fresh_value_id()?).map_err(|error| seal_error(&reference, &error))?;
        let path = write_age(&environment, &reference, &sealed)?;
        context.printer.out(&format!("sealed {}", path.display()));
        Ok(Exit::Done)
    }

    /// A folder in memory; on disk only if that is allowed.
    fn folder(&self) -> Result<PathBuf, CliError> {
        let shared = Path::new("/dev/shm");
        if shared.is_dir() {
            return Ok(shared.to_owned());
        }
        if let Some(folder) = variables::runtime_dir().filter(|folder| folder.is_dir()) {
            return Ok(folder);
        }
        if self.on_disk {
            return Ok(std::env::temp_dir());
        }
        Err(CliError::coded(Code::Unreadable, "there is no folder in memory to edit a secret in")
            .remedy("Use `mailwright secrets set`, or allow the disk with `--on-disk`."))
    }
}

fn edited(before: &SecretSlice<u8>, folder: &Path) -> Result<SecretSlice<u8>, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("cannot prepare the text for the editor: {error}"));
    let editor = variables::editor().ok_or_else(|| {
        CliError::coded(Code::Usage, "neither VISUAL nor EDITOR names an editor")
            .remedy("Set one of them, for example EDITOR=nano.")
    })?;
    // A folder of its own, so that what the editor puts beside the file goes with it.
    let private = tempfile::Builder::new().prefix("mailwright-").tempdir_in(folder).map_err(failed)?;
    let path = private.path().join("secret");
    let mut file = std::fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        file.mode(0o600);
    }
    file.write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(before.expose_secret()))
        .map_err(failed)?;
    let mut words = editor.split_whitespace();
    let ended = Command::new(words.next().unwrap_or_default()).args(words).arg(&path).status();
    let after = std::fs::metadata(&path)
        .and_then(|metadata| {
            if metadata.len() > VALUE_LIMIT as u64 + 2 { Ok(vec![0; VALUE_LIMIT + 1]) } else { std::fs::read(&path) }
        })
        .map(Zeroizing::new);
    wipe(&path);
    match ended {
        Ok(status) if status.success() => {}
        Ok(_) => return Err(CliError::new("the editor ended with an error; nothing was sealed")),
        Err(error) => return Err(CliError::new(format!("cannot start the editor: {error}"))),
    }
    let after = after.map_err(failed)?;
    // Editors end a file with a line end; it belongs to the value only if it was there before.
    let kept = if before.expose_secret().ends_with(b"\n") { after.as_slice() } else { without_line_end(&after) };
    Ok(SecretSlice::from(kept.to_vec()))
}

/// Writes zeros over a file before it goes.
fn wipe(path: &Path) {
    if let Ok(metadata) = std::fs::metadata(path) {
        let zeros = vec![0; usize::try_from(metadata.len()).unwrap_or(0)];
        drop(std::fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(&zeros)));
    }
}
