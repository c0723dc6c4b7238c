//! What every command is handed: the repository, the printer, the clock.

use std::path::{Path, PathBuf};

use super::{CliError, Printer};
use crate::{clock::Clock, model::Code};

/// What every command is handed.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) clock: Clock,
    project: Option<PathBuf>,
}

impl Context {
    pub(crate) fn new(project: Option<PathBuf>, threads: Option<u16>, printer: Printer) -> Result<Self, CliError> {
        if let Some(threads) = threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(usize::from(threads))
                .build_global()
                .map_err(|error| CliError::new(format!("cannot start {threads} threads: {error}")))?;
        }
        Ok(Self { printer, clock: Clock::system(), project })
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
        crate::config::Repository::open(&root).map_err(|report| super::environment::problems(self, &report))
    }

    /// A runtime for commands that talk to the service.
    #[expect(clippy::unused_self, reason = "asked of the context like everything else")]
    pub(crate) fn runtime(&self) -> Result<tokio::runtime::Runtime, CliError> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| CliError::new(format!("cannot start: {error}")))
    }
}
