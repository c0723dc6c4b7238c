//! What every command is handed: the repository, the printer, the clock.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio::runtime::Runtime;

use super::{CliError, Printer};
use crate::{cli::ui::printer::Aside, client::Connections, model::Code, time::Clock};

/// What every command is handed. Cheap to clone: what is dear is shared.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) clock: Clock,
    project: Option<PathBuf>,
    shared: Arc<Shared>,
}

/// What is made once, however many environments a command is about.
#[derive(Debug, Default)]
struct Shared {
    runtime: OnceLock<Runtime>,
    connections: Connections,
}

impl Context {
    pub(crate) fn new(project: Option<PathBuf>, threads: Option<u16>, printer: Printer) -> Result<Self, CliError> {
        if let Some(threads) = threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(usize::from(threads))
                .build_global()
                .map_err(|error| CliError::new(format!("cannot start {threads} threads: {error}")))?;
        }
        Ok(Self { printer, clock: Clock::system(), project, shared: Arc::default() })
    }

    /// The repository: what `--project` names, or this folder or the nearest above that has `environments/`.
    pub(crate) fn project(&self) -> Result<PathBuf, CliError> {
        let has = |folder: &Path| folder.join("environments").is_dir();
        if let Some(folder) = &self.project {
            if has(folder) {
                return Ok(folder.clone());
            }
            return Err(CliError::coded(
                Code::Unreadable,
                format!("`{}` has no folder `environments`", folder.display()),
            )
            .remedy("Name the folder that holds `environments/` and `secrets/`."));
        }
        let here = std::env::current_dir()
            .map_err(|error| CliError::new(format!("cannot tell which folder this is: {error}")))?;
        // The shortest way to say it, so that messages name files as the user would.
        let found = here.ancestors().find(|folder| has(folder)).ok_or_else(|| {
            CliError::coded(Code::Unreadable, "neither this folder nor one above has a folder `environments`")
                .remedy("Go to the repository, or name it with `--project DIR`.")
        })?;
        Ok(if found == here { PathBuf::from(".") } else { found.to_owned() })
    }

    /// The repository's files.
    pub(crate) fn repository(&self) -> Result<crate::config::Repository, CliError> {
        let root = self.project()?;
        if let Some(path) = crate::git::find_empty_submodule(&root) {
            let what = format!("`{}` is a Git submodule whose files are not checked out", path.escape_debug());
            return Err(CliError::coded(Code::Submodule, what).remedy("git submodule update --init"));
        }
        crate::config::Repository::open(&root).map_err(|report| super::environment::problems(self, &report))
    }

    /// The runtime of commands that talk to a service.
    pub(crate) fn runtime(&self) -> Result<&Runtime, CliError> {
        if let Some(runtime) = self.shared.runtime.get() {
            return Ok(runtime);
        }
        let made = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| CliError::new(format!("cannot start: {error}")))?;
        Ok(self.shared.runtime.get_or_init(|| made))
    }

    /// What the clients of all services share.
    pub(crate) fn connections(&self) -> &Connections {
        &self.shared.connections
    }

    /// The same, with what is said kept instead of printed.
    pub(crate) fn aside(&self) -> (Self, Arc<Aside>) {
        let (printer, aside) = self.printer.aside();
        (Self { printer, ..self.clone() }, aside)
    }
}
