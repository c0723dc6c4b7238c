//! The state that all commands share: the folder of the repository, the printer, the clock, the async runtime and the
//! connections.
//!
//! Every `Runnable` gets a [`Context`]. Cloning is cheap; the runtime is started on first use, and each call of
//! [`Context::repository`] opens the files. Without a folder `environments`, that is an error. Arguments of a single command are
//! not part of it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio::runtime::Runtime;

use super::{CliError, Printer};
use crate::{cli::ui::printer::TaskLog, client::Connections, model::Code, time::Clock};

/// State shared by all commands. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) clock: Clock,
    project: Option<PathBuf>,
    shared: Arc<SharedState>,
}

/// The parts that all clones share.
#[derive(Debug, Default)]
struct SharedState {
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

    /// Returns the repository's folder: `--project`, or the current folder or the nearest parent with `environments/`.
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
            .remedy("Give `--project` the folder that contains `environments/` and `secrets/`."));
        }
        let here = std::env::current_dir()
            .map_err(|error| CliError::new(format!("cannot find the current folder: {error}")))?;
        // The shortest form, so that messages name files as the user would.
        let found = here.ancestors().find(|folder| has(folder)).ok_or_else(|| {
            CliError::coded(Code::Unreadable, "neither this folder nor a parent has a folder `environments`")
                .remedy("Change to the repository, or name it with `--project DIR`.")
        })?;
        Ok(if found == here { PathBuf::from(".") } else { found.to_owned() })
    }

    /// Returns the repository's folder, or the folder in which a new repository begins: `--project`, or the current folder.
    pub(crate) fn project_or_new(&self) -> PathBuf {
        self.project().unwrap_or_else(|_| self.project.clone().unwrap_or_else(|| PathBuf::from(".")))
    }

    /// Returns the folder that `--project` names.
    pub(crate) fn named_project(&self) -> Option<&Path> {
        self.project.as_deref()
    }

    /// Opens the repository's files.
    pub(crate) fn repository(&self) -> Result<crate::config::Repository, CliError> {
        let root = self.project()?;
        if let Some(path) = crate::git::find_empty_submodule(&root) {
            let what = format!("`{}` is a Git submodule whose files are not checked out", path.escape_debug());
            return Err(CliError::coded(Code::Submodule, what).remedy("git submodule update --init"));
        }
        crate::config::Repository::open(&root).map_err(|report| super::environment::problems(self, &report))
    }

    /// Returns the runtime for commands that call a service. Starts it at the first call.
    pub(crate) fn runtime(&self) -> Result<&Runtime, CliError> {
        if let Some(runtime) = self.shared.runtime.get() {
            return Ok(runtime);
        }
        let started = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| CliError::new(format!("cannot start the runtime: {error}")))?;
        Ok(self.shared.runtime.get_or_init(|| started))
    }

    /// Returns the connections that the clients of all services share.
    pub(crate) fn connections(&self) -> &Connections {
        &self.shared.connections
    }

    /// Returns a context whose messages are collected instead of printed, and the collected messages.
    pub(crate) fn with_task_log(&self) -> (Self, Arc<TaskLog>) {
        let (printer, task_log) = self.printer.with_task_log();
        (Self { printer, ..self.clone() }, task_log)
    }
}
