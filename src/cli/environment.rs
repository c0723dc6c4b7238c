//! The environment that a command names: its files, its service.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use crate::{
    client::Client,
    config::{Desired, Report, Repository, suggest},
    git,
    model::{
        Changeset, Code, CompanyId, Digest, EnvironmentName, Function, InvalidName, ProfileName, Provenance, State,
    },
    reconcile::{self, plan::MovedService},
};

use super::{CliError, Context, ServiceOptions};

/// An environment that was asked for. Several share their repository, and what Git says of it.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) name: EnvironmentName,
    pub(crate) repository: Arc<Repository>,
    /// That its files name another service than before, where that is known.
    pub(crate) moved: Option<MovedService>,
    source: Arc<OnceLock<git::WorkTreeProvenance>>,
}

impl Environment {
    /// One of a repository's, the first of perhaps many.
    pub(crate) fn new(name: EnvironmentName, repository: Arc<Repository>) -> Self {
        Self { name, repository, moved: None, source: Arc::default() }
    }

    /// Another one of the same repository.
    pub(crate) fn sibling(&self, name: EnvironmentName) -> Self {
        Self { name, moved: None, ..self.clone() }
    }

    /// Finds it. An unknown name is answered with a near one.
    pub(crate) fn find(context: &Context, name: &str) -> Result<Self, CliError> {
        let repository = context.repository()?;
        let names = repository.environments();
        if let Some(known) = names.iter().find(|known| known.as_str() == name) {
            Ok(Self::new(known.clone(), Arc::new(repository)))
        } else {
            let error = CliError::coded(Code::UnknownEnvironment, format!("unknown environment `{name}`"));
            let known = names.iter().map(EnvironmentName::as_str);
            Err(match suggest::nearest(name, known.clone()) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy(format!("There are: {}.", known.collect::<Vec<_>>().join(", "))),
            })
        }
    }

    /// What its files say, if they pass every rule. Otherwise the problems are printed.
    pub(crate) fn desired(&self, context: &Context) -> Result<Desired, CliError> {
        self.repository.load(&self.name).map_err(|report| problems(context, &report))
    }

    /// A client for its service. Needs no more of the files than the address.
    pub(crate) fn client(&self, context: &Context, options: &ServiceOptions) -> Result<Client, CliError> {
        let declared = self.repository.service_address(&self.name);
        options.client(context, &self.name, declared.as_deref())
    }

    /// Which commit its files are of. `branch` is what the user says; else what is checked out; else what the CI
    /// system says. Where Git refuses to tell, a warning says so.
    pub(crate) fn source(&self, context: &Context, branch: Option<&str>) -> Provenance {
        let asked = || {
            let mut source = git::read_provenance(self.repository.root(), branch.map(str::to_owned));
            source.provenance.branch = source.provenance.branch.or_else(super::variables::branch);
            // Once for all environments of a repository.
            if let Some(refusal) = &source.refusal {
                warn_of_source(context, refusal);
            }
            source
        };
        self.source.get_or_init(asked).provenance.clone()
    }

    /// Why Git does not say which commit the files are of, if somebody asked and it refused.
    pub(crate) fn source_refusal(&self) -> Option<CliError> {
        self.source.get()?.refusal.clone().map(CliError::from)
    }
}

/// Warns that nothing will be recorded of where the files come from, since Git refuses to say it.
pub(crate) fn warn_of_source(context: &Context, refusal: &git::GitError) {
    context.printer.note(&format!(
        "warning[{}]: commit, branch and author cannot be recorded: {}\n  {}",
        refusal.code, refusal.message, refusal.remedy
    ));
}

/// Prints the problems of the files, and gives the error that ends the command.
pub(crate) fn problems(context: &Context, report: &Report) -> CliError {
    context.printer.note(&report.human());
    CliError::of_files(report.diagnostics.clone())
}

/// Reads the service's state, and makes sure that it is the environment's.
pub(crate) async fn state(client: &Client, name: &EnvironmentName) -> Result<State, CliError> {
    let state = client.state().await?;
    if state.environment != *name {
        return Err(other_environment(client, &state.environment, name));
    }
    Ok(state)
}

/// Makes sure that a service is the environment's, before anything is asked of it or done there.
pub(crate) async fn check_service(client: &Client, name: &EnvironmentName) -> Result<(), CliError> {
    let found = client.service().await?.environment;
    if found == *name { Ok(()) } else { Err(other_environment(client, &found, name)) }
}

fn other_environment(client: &Client, found: &EnvironmentName, wanted: &EnvironmentName) -> CliError {
    CliError::coded(
        Code::WrongEnvironment,
        format!("the service at {} belongs to environment `{found}`, not `{wanted}`", client.address()),
    )
    .remedy("Correct the address. A service serves one environment.")
}

/// A company's id, as it was typed.
pub(crate) fn company(text: &str) -> Result<CompanyId, CliError> {
    text.parse().map_err(|_| {
        CliError::coded(Code::InvalidName, format!("`{}` is not a company id", text.escape_debug()))
            .remedy(format!("{}.", CompanyId::RULE))
    })
}

/// A function, by its id; a near one is suggested.
pub(crate) fn function(id: &str) -> Result<Function, CliError> {
    id.parse().map_err(|_| {
        let error = CliError::coded(Code::UnknownValue, format!("unknown function `{id}`"));
        match suggest::nearest(id, Function::all().map(Function::id)) {
            Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
            None => error.remedy("`mailwright functions` lists them."),
        }
    })
}

/// A profile's name, well formed or refused.
pub(crate) fn profile_name(text: &str) -> Result<ProfileName, CliError> {
    text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::InvalidName, format!("`{}` is not a profile's name", text.escape_debug()))
            .remedy(format!("{rule}."))
    })
}

/// Puts the age files into a changeset.
pub(crate) fn attach(
    changeset: &mut Changeset,
    files: &BTreeMap<Digest, PathBuf>,
    environment: &Environment,
) -> Result<(), CliError> {
    reconcile::attachments::attach(changeset, files, environment.repository.root())
        .map_err(|error| CliError::coded(Code::PlanOutdated, error.to_string()).remedy("Plan again."))
}

impl From<reconcile::PlanError> for CliError {
    fn from(error: reconcile::PlanError) -> Self {
        CliError::coded(error.code(), error.to_string()).remedy(error.remedy())
    }
}
