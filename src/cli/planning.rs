//! [`Planning`]: a plan of one environment for `plan` and `apply`. It reads files and service at the same time, and compares them;
//! if one of the two cannot be read there is an error instead, except for stored verifications, which are optional.
//!
//! [`Planning::try_on_service`] has the service check the changeset without committing it (left out if the token may not, or a
//! guard stops the plan), [`Planning::save`] writes the plan to a file, and [`Planning::propose`] stores it in the service. The comparison is [`crate::reconcile::plan()`].
//! Rollouts and watch plan by [`crate::operations`], without an operator.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    api::{LastVerifiedList, proposals::ProposalEntry},
    cli::{
        CliError, Context, ServiceArgs,
        args::plan::PlanLimits,
        environment::{self, Environment},
        saved_plan::write_plan,
        variables,
    },
    client::Client,
    config::Desired,
    model::{Code, Digest, State, token::Role},
    operations::{EnvironmentFiles, blockers},
    reconcile::{self, PlanRequest, Planned, attachments, saved::SavedPlan},
};

/// A plan, with everything that it was computed from.
pub(crate) struct Planning {
    pub(crate) environment: Environment,
    pub(crate) client: Arc<Client>,
    pub(crate) desired: Desired,
    pub(crate) state: State,
    pub(crate) planned: Planned,
}

impl Planning {
    /// Reads files and service, and compares them. There is no plan if a read fails, even in part.
    pub(crate) fn start(
        context: &Context,
        environment: &Environment,
        limits: &PlanLimits,
        service: &ServiceArgs,
    ) -> Result<Self, CliError> {
        let runtime = context.runtime()?;
        let client = environment.client(context, service).map(Arc::new);
        // The service answers while the files are read. Problems of the files are reported first.
        let answer = client.as_ref().ok().map(|client| {
            let (client, name) = (Arc::clone(client), environment.name.clone());
            runtime.spawn(async move {
                let (state, verified) = tokio::join!(environment::state(&client, &name), client.last_verified());
                // Earlier verifications are optional: without them the plan says that they are unknown.
                Ok::<_, CliError>((state?, verified.unwrap_or_default()))
            })
        });
        let desired = environment.desired(context)?;
        let client = client?;
        let (state, verified) = match answer {
            Some(answer) => runtime
                .block_on(answer)
                .map_err(|error| CliError::new(format!("cannot ask the service: {error}")))??,
            None => (runtime.block_on(environment::state(&client, &environment.name))?, LastVerifiedList::default()),
        };
        warn_about_role(context, &client)?;
        let only = limits.only(desired.profiles.keys().chain(state.profiles.keys()))?;
        let source = environment.source(context, limits.branch.as_deref());
        let root = environment.repository.root();
        let files = EnvironmentFiles { root, desired: &desired, source: &source, source_refusal: None };
        let mut planned = reconcile::plan(&PlanRequest {
            only: &only,
            with_settings: limits.with_settings,
            allowances: limits.allowances()?,
            verified: &verified,
            ..files.plan_request(&state, client.address())
        })?;
        planned.plan.moved.clone_from(&environment.moved);
        Ok(Self { environment: environment.clone(), client, desired, state, planned })
    }

    /// Has the service try the change. Returns its refusal; none if it would accept the change, or the token may not ask.
    pub(crate) fn try_on_service(&mut self, context: &Context) -> Result<Option<CliError>, CliError> {
        let plan = &self.planned.plan;
        // The plan knows the destination of each secret, so the service need not be asked.
        if let Err(refusal) = blockers::check_secrets(plan) {
            return Ok(Some(refusal.into()));
        }
        if plan.has_nothing_to_send() || !plan.guards.is_empty() {
            return Ok(None);
        }
        let files = self.files();
        environment::attach(&mut self.planned.changeset, &files, &self.environment)?;
        let tried = context.runtime()?.block_on(self.client.apply(&self.planned.changeset, true));
        self.planned.changeset.secrets.clear();
        match tried {
            Ok(_) => Ok(None),
            Err(error) if error.code == Code::RoleTooLow => Ok(None),
            Err(error) => Ok(Some(CliError::from(error))),
        }
    }

    /// Stores the plan in the service as a proposal; none if there is nothing to send.
    pub(crate) fn propose(&mut self, context: &Context, reason: &str) -> Result<Option<ProposalEntry>, CliError> {
        if self.planned.plan.has_nothing_to_send() {
            return Ok(None);
        }
        blockers::check_proposal(&self.planned.plan, self.environment.source_refusal().as_ref())?;
        let files = self.files();
        environment::attach(&mut self.planned.changeset, &files, &self.environment)?;
        let proposed = context.runtime()?.block_on(self.client.propose(&self.planned.changeset, reason));
        self.planned.changeset.secrets.clear();
        Ok(Some(proposed?))
    }

    /// Returns the age files that the changeset needs.
    pub(crate) fn files(&self) -> BTreeMap<Digest, PathBuf> {
        attachments::required_age_files(&self.desired, &self.state, &self.planned.changeset)
    }

    /// Writes the plan to a file.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CliError> {
        write_plan(path, &SavedPlan::new(&self.planned, self.files()))
    }
}

/// Warns if the job of a pull request has a token that may apply: the author of the request can use it.
fn warn_about_role(context: &Context, client: &Client) -> Result<(), CliError> {
    if !variables::is_pull_request() {
        return Ok(());
    }
    // A service that does not report the role does not prevent the plan.
    let role = context.runtime()?.block_on(client.service()).ok().and_then(|info| info.role);
    if role.is_some_and(|role| role.includes(Role::Deployer)) {
        context.printer.note(
            "warning: the token of this pull request's job may apply, and the author of the request can use it\nhelp: Give such jobs a token of role `planner`, and use that of role `deployer` after the merge only (docs/ci.md).",
        );
    }
    Ok(())
}
