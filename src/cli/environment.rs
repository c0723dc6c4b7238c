//! The environment that a command names: its files, its service.

use crate::{
    client::Client,
    config::{Desired, Report, Repository, suggest},
    git,
    model::{Code, CompanyId, EnvironmentName, Function, ProfileName, State},
    reconcile::{self, Planned, plan::Source},
};

use super::{CliError, Context, ServiceOptions};

/// An environment that was asked for by name.
pub(crate) struct Environment {
    pub(crate) name: EnvironmentName,
    pub(crate) repository: Repository,
}

impl Environment {
    /// Finds it. An unknown name is answered with a near one.
    pub(crate) fn find(context: &Context, name: &str) -> Result<Self, CliError> {
        let repository = context.repository()?;
        let names = repository.environments();
        if let Some(known) = names.iter().find(|known| known.as_str() == name) {
            Ok(Self { name: known.clone(), repository })
        } else {
            let error = CliError::coded(Code::UnknownEnvironment, format!("there is no environment `{name}`"));
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
        options.client(context, declared.as_deref())
    }

    /// Which commit its files are of.
    pub(crate) fn source(&self) -> Source {
        git::source(self.repository.root())
    }
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
        return Err(CliError::coded(
            Code::WrongEnvironment,
            format!("the service at {} belongs to environment `{}`, not `{name}`", client.address(), state.environment),
        )
        .remedy("Correct the address. A service serves one environment."));
    }
    Ok(state)
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
        let error = CliError::coded(Code::UnknownValue, format!("there is no function `{id}`"));
        match suggest::nearest(id, Function::all().map(Function::id)) {
            Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
            None => error.remedy("`mailwright functions` lists them."),
        }
    })
}

/// A profile's name, well formed or refused.
pub(crate) fn profile_name(text: &str) -> Result<ProfileName, CliError> {
    text.parse().map_err(|_| {
        CliError::coded(Code::InvalidName, format!("`{}` is not a profile's name", text.escape_debug()))
            .remedy(format!("{}.", ProfileName::RULE))
    })
}

/// Puts the age files into a plan's changeset.
pub(crate) fn attach(
    planned: &mut Planned,
    environment: &Environment,
    desired: &Desired,
    state: &State,
) -> Result<(), CliError> {
    let files = reconcile::sealed::needed(desired, state, &planned.changeset);
    reconcile::sealed::attach(&mut planned.changeset, &files, environment.repository.root())
        .map_err(|error| CliError::coded(Code::PlanOutdated, error.to_string()).remedy("Plan again."))
}

impl From<reconcile::PlanError> for CliError {
    fn from(error: reconcile::PlanError) -> Self {
        CliError::coded(error.code(), error.to_string()).remedy(error.remedy())
    }
}
