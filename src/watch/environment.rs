//! One pass over one environment: look at the service, plan, perhaps apply, and say how it stands.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

use super::{
    Expiring, Role, Shared,
    files::{Snapshot, blocking, broken},
    reports::{Condition, Kind},
};
use crate::{
    client::Client,
    config::Desired,
    model::{
        Allowances, Code, Digest, EnvironmentName, Lapse, ProfileName, State, WatchSettings,
        provenance::SourcePolicy,
        watch_settings::{ApplyMode, DriftMode},
    },
    reconcile::{
        self, Planned, Request,
        plan::{Cause, Plan},
        sealed,
    },
    rollout::{
        Problem, Purpose,
        environment::{Last, blocked, patiently, verified},
        lock::Lease,
    },
    verify::{ending, gate},
};

/// The name of the lease.
const LEASE: &str = "watch";
/// How long a service may take to be looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How long an apply may take, its verification and its repetitions with it.
const APPLY: &str = "10m";

/// An environment, between passes.
pub(super) struct Watched {
    name: EnvironmentName,
    lease: Option<Lease>,
    settings: WatchSettings,
}

/// What is applied of a plan.
struct Ready {
    planned: Planned,
    request: Option<crate::api::VerifyRequest>,
}

impl Watched {
    pub(super) fn new(name: EnvironmentName) -> Self {
        Self { name, lease: None, settings: WatchSettings::default() }
    }

    /// Gives the lease back.
    pub(super) async fn leave(self) {
        if let Some(lease) = self.lease {
            lease.release().await;
        }
    }

    fn is_acting(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !*lease.lost().borrow())
    }

    /// One pass; whether it was a success.
    pub(super) async fn pass(&mut self, shared: &Shared, snapshot: &Snapshot) -> bool {
        let loaded = {
            let _reading = shared.reading.read().await;
            let (repository, name) = (std::sync::Arc::clone(&snapshot.repository), self.name.clone());
            blocking(move || repository.load(&name)).await
        };
        let desired = loaded.and_then(|loaded| loaded.map_err(|report| broken(&report)));
        if let Ok(desired) = &desired {
            self.settings = desired.watch.clone();
        }
        let looked = match tokio::time::timeout(LOOK, self.look(shared, snapshot)).await {
            Ok(looked) => looked,
            Err(_) => {
                Err(Problem::new(Code::ServiceUnreachable, format!("the service did not answer within {LOOK:?}")))
            }
        };
        let (client, state) = match looked {
            Ok(looked) => looked,
            Err(problem) => {
                tracing::warn!(environment = %self.name, code = problem.code.id(), problem = problem.message, "cannot be looked at");
                // Whoever stood by still does: another one tells it.
                let tells = self.is_acting() || self.lease.is_some() || self.role(shared) != Role::Standby;
                let condition =
                    Condition::new(Kind::EnvironmentUnreachable, "service", problem.code.id(), &problem.message);
                if tells {
                    shared.reports.hold(
                        &self.name,
                        &self.settings.notify,
                        &[Kind::EnvironmentUnreachable],
                        vec![condition],
                    );
                }
                self.failed(shared, problem);
                return false;
            }
        };
        self.take_lease(shared, &client).await;
        shared.reports.hold(&self.name, &self.settings.notify, &[Kind::EnvironmentUnreachable], Vec::new());
        let now = shared.options.clock.now();
        let drifted: Vec<String> = reconcile::drift(&state)
            .iter()
            .map(|drift| drift.name.as_ref().map_or("the environment's settings".to_owned(), ToString::to_string))
            .collect();
        let drift_digest = Digest::of_document(&reconcile::drift(&state)).to_string();
        let mut conditions = Vec::new();
        if !drifted.is_empty() {
            let what = format!("changed outside Git: {}", drifted.join(", "));
            conditions.push(Condition::new(Kind::DriftFound, "drift", &drift_digest, &what));
        }
        let expiring = match &desired {
            Ok(desired) => self.expiring(shared, &client, &state, desired).await,
            Err(_) => self.standing(shared).expiring,
        };
        for credential in &expiring {
            let key = format!("credential:{}:{}:{}", credential.profile, credential.secret, credential.ends);
            let what = format!(
                "`{}` of `{}` ends on {}",
                credential.secret,
                credential.profile,
                credential.ends.strftime("%Y-%m-%d")
            );
            conditions.push(Condition::new(Kind::CredentialExpiring, &key, "", &what));
        }
        let (mut outcome, mut plan) = (Ok(None), None);
        match &desired {
            Err(problem) => outcome = Err(problem.clone()),
            Ok(desired) => match Self::plan(snapshot, desired, &state, &client, &[]) {
                Err(problem) => outcome = Err(problem),
                Ok(planned) => {
                    plan = Some(planned.plan.clone());
                    if self.is_acting() {
                        outcome = self.act(shared, snapshot, desired, &state, &client, planned).await;
                    }
                }
            },
        }
        let is_broken = desired.is_err() || plan.is_none();
        let refused = outcome.as_ref().err().cloned();
        if let Some(problem) = &refused {
            tracing::warn!(environment = %self.name, code = problem.code.id(), problem = problem.message, "not applied");
            conditions.push(Condition::new(
                Kind::ApplyRefused,
                "apply",
                &format!("{} {}", problem.code.id(), problem.message),
                &problem.message,
            ));
        }
        let applied = outcome.ok().flatten();
        if self.is_acting() {
            let kinds = [Kind::DriftFound, Kind::CredentialExpiring, Kind::ApplyRefused];
            shared.reports.hold(&self.name, &self.settings.notify, &kinds, conditions);
            if let Some((_, summary)) = &applied {
                shared.reports.once(&self.name, &self.settings.notify, Kind::ApplyDone, summary);
            }
        }
        let role = if self.is_acting() { Role::Acting } else { Role::Standby };
        shared.set(|status| {
            let Some(standing) = status.environments.get_mut(&self.name) else { return };
            standing.role = role;
            standing.drift = drifted;
            standing.expiring = expiring;
            standing.generation = state.generation;
            if let Some(plan) = &plan {
                standing.commit.clone_from(&snapshot.source.commit);
                standing.planned_at = Some(now);
                let settings = usize::from(plan.settings.as_ref().is_some_and(|settings| !settings.fields.is_empty()));
                standing.changes = plan.changes.iter().filter(|change| !change.is_note()).count() + settings;
                standing.summary = plan.summary_line();
            }
            standing.problem = refused.clone().filter(|_| is_broken);
            standing.refused = refused.clone().filter(|_| !is_broken);
            standing.errors += u64::from(refused.is_some());
            if let Some((generation, _)) = applied {
                standing.applies += 1;
                standing.applied_at = Some(now);
                standing.generation = generation;
                standing.changes = 0;
            }
        });
        refused.is_none()
    }

    fn standing(&self, shared: &Shared) -> super::Standing {
        shared.status().environments.remove(&self.name).unwrap_or_default()
    }

    fn role(&self, shared: &Shared) -> Role {
        self.standing(shared).role
    }

    fn failed(&self, shared: &Shared, problem: Problem) {
        shared.set(|status| {
            if let Some(standing) = status.environments.get_mut(&self.name) {
                standing.problem = Some(problem);
                standing.errors += 1;
            }
        });
    }

    async fn look(&self, shared: &Shared, snapshot: &Snapshot) -> Result<(Client, State), Problem> {
        let (connect, name) = (std::sync::Arc::clone(&shared.options.connect), self.name.clone());
        let repository = std::sync::Arc::clone(&snapshot.repository);
        let made = move || connect(&name, repository.service_address(&name).as_deref(), Purpose::Deploy);
        let client = blocking(made).await??;
        let state = client.state().await?;
        if state.environment != self.name {
            let message = format!("the service at {} belongs to environment `{}`", client.address(), state.environment);
            return Err(Problem::new(Code::WrongEnvironment, message));
        }
        Ok((client, state))
    }

    /// Takes the lease where nobody has it.
    async fn take_lease(&mut self, shared: &Shared, client: &Client) {
        if self.is_acting() {
            return;
        }
        self.lease = None;
        let (connect, name) = (std::sync::Arc::clone(&shared.options.connect), self.name.clone());
        let address = client.address().to_owned();
        let own = blocking(move || connect(&name, Some(&address), Purpose::Deploy)).await.and_then(|made| made);
        let taken = match own {
            Ok(own) => Lease::take(own, LEASE, shared.options.holder.clone(), shared.options.lasting).await,
            Err(problem) => Err(problem),
        };
        match taken {
            Ok(lease) => {
                tracing::info!(environment = %self.name, "this watch acts");
                self.lease = Some(lease);
            }
            Err(problem) => {
                tracing::info!(environment = %self.name, code = problem.code.id(), reason = problem.message, "another watch acts");
            }
        }
    }

    async fn expiring(&self, shared: &Shared, client: &Client, state: &State, desired: &Desired) -> Vec<Expiring> {
        let Ok(Ok(last)) = tokio::time::timeout(LOOK, client.last_verified()).await else { return Vec::new() };
        let now = shared.options.clock.now();
        let limit = SignedDuration::from_hours(24 * i64::from(desired.verify.credential_days));
        let soon = ending::of_environment(state, &last.profiles).into_iter().filter_map(|credential| {
            let end = credential.end.filter(|end| end.ends.duration_since(now) <= limit)?;
            let days = (end.ends.as_second() - now.as_second()).div_euclid(86_400);
            Some(Expiring {
                profile: credential.profile.to_string(),
                secret: credential.secret.to_string(),
                ends: end.ends,
                days,
            })
        });
        soon.collect()
    }

    fn plan(
        snapshot: &Snapshot,
        desired: &Desired,
        state: &State,
        client: &Client,
        only: &[ProfileName],
    ) -> Result<Planned, Problem> {
        let request = Request {
            desired,
            state,
            service: client.address(),
            source: snapshot.source.clone(),
            only,
            with_settings: false,
            allowances: Allowances::default(),
            verified: &BTreeMap::new(),
        };
        reconcile::plan(&request).map_err(|error| Problem::new(error.code(), error.to_string()).remedy(error.remedy()))
    }

    fn may(&self, cause: Cause) -> bool {
        let auto = self.settings.apply == ApplyMode::Auto;
        let revert = self.settings.drift == DriftMode::Revert;
        match cause {
            Cause::Git => auto,
            Cause::Drift => revert,
            Cause::Both => auto && revert,
        }
    }

    /// Applies what may be applied. Gives the generation that came of it, and what it was.
    async fn act(
        &self,
        shared: &Shared,
        snapshot: &Snapshot,
        desired: &Desired,
        state: &State,
        client: &Client,
        mut planned: Planned,
    ) -> Result<Option<(u64, String)>, Problem> {
        let may_all = planned.plan.cause().map_or(self.settings.apply == ApplyMode::Auto, |cause| self.may(cause));
        if planned.plan.has_nothing_to_send() {
            return Ok(None);
        }
        if !may_all {
            if let Some(problem) = self.in_the_way(&planned.plan) {
                return Err(problem);
            }
            let names = planned.plan.changes.iter().filter(|change| !change.is_note() && self.may(change.cause));
            let names: Vec<ProfileName> = names.map(|change| change.name.clone()).collect();
            if names.is_empty() {
                return Ok(None);
            }
            planned = Self::plan(snapshot, desired, state, client, &names)?;
        }
        blocked(&planned.plan)?;
        if let Some(breach) = planned.plan.policy.first() {
            return Err(Problem::new(SourcePolicy::code(), breach.message.clone()).remedy(breach.remedy.clone()));
        }
        if planned.plan.approvals.is_some() {
            let remedy = format!("mailwright plan {0} --out {0}.plan, approve it, and apply that.", self.name);
            return Err(Problem::new(Code::ApprovalMissing, "the plan needs approvals").remedy(remedy));
        }
        let Ready { planned, request } = self.arm(shared, snapshot, desired, state, planned).await?;
        let Some(lease) = &self.lease else { return Ok(None) };
        let mut lost = lease.lost();
        let last = Last::default();
        let deadline: Lapse = APPLY.parse().map_err(|_| Problem::new(Code::Internal, "no deadline"))?;
        let work = async {
            if let Some(request) = &request {
                verified(client, request, desired, &shared.options.clock, &last).await?;
            }
            tracing::info!(environment = %self.name, summary = planned.plan.summary_line(), "applying");
            patiently(&last, || client.apply(&planned.changeset, false)).await
        };
        let result = tokio::select! {
            // Without the lease another one may act already.
            _ = lost.wait_for(|lost| *lost) => return Err(Problem::new(Code::LeaseLost, "the lease was lost while it was applied")),
            result = tokio::time::timeout(deadline.duration(), work) => result,
        };
        match result {
            Ok(Ok(result)) => Ok(Some((
                result.generation,
                format!("generation {}: {}", result.generation, planned.plan.summary_line()),
            ))),
            Ok(Err(problem)) => Err(problem),
            Err(_) => Err(last.too_long(deadline)),
        }
    }

    /// Puts the age files in, and makes the request of the gate, while nobody changes the files.
    async fn arm(
        &self,
        shared: &Shared,
        snapshot: &Snapshot,
        desired: &Desired,
        state: &State,
        mut planned: Planned,
    ) -> Result<Ready, Problem> {
        let _reading = shared.reading.read().await;
        let root = snapshot.repository.root();
        let files = sealed::needed(desired, state, &planned.changeset);
        sealed::attach(&mut planned.changeset, &files, root)
            .map_err(|error| Problem::new(Code::PlanOutdated, error.to_string()).remedy("It is planned again."))?;
        let request = gate::request(&planned.changeset, Some((root, desired)));
        Ok(Ready { planned, request })
    }

    /// What Git changes and what waits because the same was changed outside Git.
    fn in_the_way(&self, plan: &Plan) -> Option<Problem> {
        if self.settings.apply != ApplyMode::Auto {
            return None;
        }
        let settings =
            plan.settings.iter().filter(|settings| !settings.fields.is_empty() && settings.cause != Cause::Drift);
        let both =
            plan.changes.iter().find(|change| change.cause == Cause::Both).map(|change| format!("`{}`", change.name));
        let what = both.or_else(|| settings.map(|_| "the environment's settings".to_owned()).next())?;
        let message = format!("{what} waits: something was changed outside Git, and that would be undone");
        Some(
            Problem::new(Code::DriftInTheWay, message)
                .remedy("Write it into the files, apply by hand, or say `watch: { drift: revert }`."),
        )
    }
}
