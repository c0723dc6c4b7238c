//! [`Environment`]: one environment of the repository, with its desired state, a client for its service, and the commit of its
//! files.
//!
//! Commands use it after `args` or `fleet` have found it. Errors of the files are printed here, and end the command. An unknown
//! name is an error that suggests a similar one. If Git does not name the commit, that is a warning, and the source stays unknown.
//! Planning and applying are in `planning` and [`crate::operations`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use crate::{
    client::Client,
    config::{Desired, Report, Repository, suggest},
    git,
    model::{
        Changeset, Code, CompanyId, Digest, EnvironmentName, Function, InvalidName, Problem, ProfileName, Provenance,
        State,
    },
    operations,
    reconcile::plan::MovedService,
};

use super::{CliError, Context, ServiceArgs};

/// An environment of the repository. Several share the repository and its source.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) name: EnvironmentName,
    pub(crate) repository: Arc<Repository>,
    /// The change of the service address in the files, if it is known.
    pub(crate) moved: Option<MovedService>,
    source: Arc<OnceLock<git::WorkTreeProvenance>>,
}

impl Environment {
    /// Creates the first environment of a repository.
    pub(crate) fn new(name: EnvironmentName, repository: Arc<Repository>) -> Self {
        Self { name, repository, moved: None, source: Arc::default() }
    }

    /// Creates another environment of the same repository.
    pub(crate) fn sibling(&self, name: EnvironmentName) -> Self {
        Self { name, moved: None, ..self.clone() }
    }

    /// Finds an environment by name. The error for an unknown name suggests a similar one.
    pub(crate) fn find(context: &Context, name: &str) -> Result<Self, CliError> {
        Self::find_in(&Arc::new(context.repository()?), name)
    }

    /// Returns the only environment of a repository; layers that others extend do not count.
    pub(crate) fn only_in(repository: &Arc<Repository>) -> Result<Self, CliError> {
        let mut all = repository.environments();
        all.retain(|name| !repository.is_abstract(name));
        match all.as_slice() {
            [one] => Ok(Self::new(one.clone(), Arc::clone(repository))),
            [] => Err(CliError::coded(Code::UnknownEnvironment, "the repository has no environment")
                .remedy("Create one: mailwright new environment NAME")),
            several => {
                let names: Vec<&str> = several.iter().map(EnvironmentName::as_str).take(10).collect();
                let more = if several.len() > names.len() { ", ..." } else { "" };
                Err(CliError::coded(Code::EnvironmentNotNamed, "the command needs the name of an environment")
                    .remedy(format!("Name one of: {}{more}.", names.join(", "))))
            }
        }
    }

    /// Finds an environment in a repository that is open already.
    pub(crate) fn find_in(repository: &Arc<Repository>, name: &str) -> Result<Self, CliError> {
        let names = repository.environments();
        if let Some(known) = names.iter().find(|known| known.as_str() == name) {
            Ok(Self::new(known.clone(), Arc::clone(repository)))
        } else {
            let error = CliError::coded(Code::UnknownEnvironment, format!("unknown environment `{name}`"));
            let known = names.iter().map(EnvironmentName::as_str);
            Err(match suggest::nearest(name, known.clone()) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy(format!("There are: {}.", known.collect::<Vec<_>>().join(", "))),
            })
        }
    }

    /// Loads the desired state. If the files break rules, the problems are printed.
    pub(crate) fn desired(&self, context: &Context) -> Result<Desired, CliError> {
        self.repository.load(&self.name).map_err(|report| problems(context, &report))
    }

    /// Creates a client for the service. Only the address is read from the files.
    pub(crate) fn client(&self, context: &Context, options: &ServiceArgs) -> Result<Client, CliError> {
        let declared = self.repository.service_address(&self.name);
        options.client(context, &self.name, declared.as_deref())
    }

    /// Returns the commit, branch and author of the files, as [`read_source`] reads them.
    pub(crate) fn source(&self, context: &Context, branch: Option<&str>) -> Provenance {
        // Read once for all environments of a repository, so that the warning is printed once.
        self.source.get_or_init(|| read_source(context, self.repository.root(), branch)).provenance.clone()
    }

    /// The reason for which Git did not name the source of the files, if it was asked and refused.
    pub(crate) fn source_refusal(&self) -> Option<Problem> {
        self.source.get()?.refusal.clone()
    }
}

/// Reads the commit, branch and author of the files. The branch is the given one, or the one that is checked out, or that of the
/// CI system. If Git refuses to answer, a warning is printed.
pub(crate) fn read_source(context: &Context, root: &Path, branch: Option<&str>) -> git::WorkTreeProvenance {
    let mut source = git::read_provenance(root, branch.map(str::to_owned));
    source.provenance.branch = source.provenance.branch.or_else(super::variables::branch);
    if let Some(refusal) = &source.refusal {
        context.printer.note(&format!(
            "warning[{}]: commit, branch and author cannot be recorded: {}\n  {}",
            refusal.code, refusal.message, refusal.remedy
        ));
    }
    source
}

/// Prints the problems of the files, and returns the error that ends the command.
pub(crate) fn problems(context: &Context, report: &Report) -> CliError {
    context.printer.note(&report.human());
    CliError::from_diagnostics(report.diagnostics.clone())
}

/// Reads the state of a service, which must belong to the environment.
pub(crate) async fn state(client: &Client, name: &EnvironmentName) -> Result<State, CliError> {
    Ok(operations::fetch_state(client, name).await?)
}

/// Checks that a service belongs to the environment.
pub(crate) async fn check_service(client: &Client, name: &EnvironmentName) -> Result<(), CliError> {
    Ok(operations::check_service(client, name).await?)
}

/// Parses the id of a company.
pub(crate) fn company(text: &str) -> Result<CompanyId, CliError> {
    text.parse().map_err(|_| {
        CliError::coded(Code::InvalidName, format!("`{}` is not a company id", text.escape_debug()))
            .remedy(format!("{}.", CompanyId::RULE))
    })
}

/// Parses the id of a function. The error suggests a similar one.
pub(crate) fn function(id: &str) -> Result<Function, CliError> {
    id.parse().map_err(|_| {
        let error = CliError::coded(Code::UnknownValue, format!("unknown function `{id}`"));
        match suggest::nearest(id, Function::all().map(Function::id)) {
            Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
            None => error.remedy("`mailwright functions` lists them."),
        }
    })
}

/// Parses the name of a profile.
pub(crate) fn profile_name(text: &str) -> Result<ProfileName, CliError> {
    text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::InvalidName, format!("`{}` is not the name of a profile", text.escape_debug()))
            .remedy(format!("{rule}."))
    })
}

/// Attaches age files to a changeset.
pub(crate) fn attach(
    changeset: &mut Changeset,
    files: &BTreeMap<Digest, PathBuf>,
    environment: &Environment,
) -> Result<(), CliError> {
    Ok(operations::attach(changeset, files, environment.repository.root())?)
}
