//! Verifier runs that a person starts in the console, with their progress.
//!
//! A run verifies one live profile, or all enabled ones that its caller may verify, with the secrets that the service has. It
//! reads its results in the background; they are stored as the profiles' last ones. The service keeps the last [`KEPT`] runs in
//! memory, which a restart forgets. The limits of concurrent runs, and the end of a run with the credential of its caller, are
//! those of every run.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;

use super::may_verify;
use crate::{
    api::{VerifyLine, VerifyRequest},
    model::{
        ProfileName, StoredProfile,
        access::{Activity, Area},
    },
    service::{Service, caller::Caller, changes::planned::count_errors, http::HttpProblem, http::upload::BodyPermit},
    sync::Mutex,
    telemetry,
};

/// Number of runs that are kept.
const KEPT: usize = 20;
/// Number of failing profiles that a run names.
const FAILING_NAMED: usize = 100;

/// A run and its progress.
#[derive(Clone, Debug)]
pub(crate) struct VerificationRun {
    /// The id.
    pub(crate) id: String,
    /// The name of the caller.
    pub(crate) by: String,
    pub(crate) started_at: Timestamp,
    /// The profile, if the run is for one.
    pub(crate) profile: Option<ProfileName>,
    /// The number of profiles to verify.
    pub(crate) total: usize,
    /// The number of profiles that were verified so far.
    pub(crate) done: usize,
    /// Profiles with errors, with the number of errors; at most 100.
    pub(crate) failing: BTreeMap<ProfileName, usize>,
    /// The number of profiles with errors.
    pub(crate) failures: usize,
    pub(crate) standing: RunStanding,
}

/// The standing of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunStanding {
    Running,
    /// Every profile was verified, and the results are stored.
    Complete,
    /// It ended early: the caller's credential ended, the results could not be stored, or the service stops.
    Incomplete,
}

/// The runs that the service keeps, the newest first.
#[derive(Default)]
pub(in crate::service) struct VerificationRuns(Mutex<VecDeque<VerificationRun>>);

impl VerificationRuns {
    fn add(&self, run: VerificationRun) {
        let mut runs = self.0.lock();
        runs.push_front(run);
        runs.truncate(KEPT);
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut VerificationRun)) {
        if let Some(run) = self.0.lock().iter_mut().find(|run| run.id == id) {
            change(run);
        }
    }
}

impl Service {
    /// Starts a run for one live profile, or for all that are enabled and that the caller may verify. Returns its id.
    pub(crate) async fn start_verification(
        self: &Arc<Self>,
        caller: &Caller,
        profile: Option<ProfileName>,
    ) -> Result<String, HttpProblem> {
        let state = self.state();
        // The right for one profile is checked by `verify`.
        let profiles: BTreeMap<ProfileName, StoredProfile> = state
            .live_stored()
            .filter(|(name, stored)| match &profile {
                Some(wanted) => *name == wanted,
                None => stored.profile.enabled && may_verify(caller, name, stored),
            })
            .map(|(name, stored)| (name.clone(), stored.clone()))
            .collect();
        if profiles.is_empty() {
            return Err(HttpProblem::not_found("the profile does not exist, or none is enabled")
                .remedy("Choose a profile from the list, or enable one."));
        }
        let total = profiles.len();
        // The application that reads the directory is for callers who may apply.
        let reader = state.settings.reader.clone().filter(|_| caller.may_at_all(Area::Changes, Activity::Apply));
        let request = VerifyRequest {
            environment: self.store.environment().clone(),
            profiles,
            secrets: BTreeMap::new(),
            siblings: Vec::new(),
            credential_days: 30,
            probe: false,
            reader,
            reader_token: None,
        };
        let mut id = [0; 6];
        getrandom::fill(&mut id).map_err(HttpProblem::internal)?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut lines = self.verify(caller, request, BodyPermit::none()).await?;
        self.verification_runs.add(VerificationRun {
            id: id.clone(),
            by: caller.name.clone(),
            started_at: self.clock.now(),
            profile,
            total,
            done: 0,
            failing: BTreeMap::new(),
            failures: 0,
            standing: RunStanding::Running,
        });
        let (service, own) = (Arc::clone(self), id.clone());
        telemetry::spawn(async move {
            let mut standing = RunStanding::Incomplete;
            while let Some(line) = lines.recv().await {
                match line {
                    VerifyLine::Verified(verified) => service.verification_runs.update(&own, |run| {
                        let errors = count_errors(&verified);
                        run.done += 1;
                        if errors > 0 {
                            run.failures += 1;
                            if run.failing.len() < FAILING_NAMED {
                                run.failing.insert(verified.profile.clone(), errors);
                            }
                        }
                    }),
                    VerifyLine::Environment(_) => {}
                    // The last line: everything is stored.
                    VerifyLine::Requests(_) => standing = RunStanding::Complete,
                }
            }
            service.verification_runs.update(&own, |run| run.standing = standing);
        });
        Ok(id)
    }

    /// Returns the kept runs that a caller may see, the newest first.
    pub(crate) fn visible_runs(&self, caller: &Caller) -> Vec<VerificationRun> {
        let mut runs: Vec<VerificationRun> = self.verification_runs.0.lock().iter().cloned().collect();
        runs.retain(|run| self.sees_run(caller, run));
        runs
    }

    /// Returns true if a caller may see a run: that of a profile that it may see, one that it started itself, or one of all.
    fn sees_run(&self, caller: &Caller, run: &VerificationRun) -> bool {
        let is_of_visible = |name| caller.sees_profile_named(name, &self.state());
        caller.sees_all(Area::Profiles)
            || match &run.profile {
                Some(name) => is_of_visible(name),
                // It names profiles that were visible at its start.
                None => run.by == caller.name && run.failing.keys().all(is_of_visible),
            }
    }

    /// Returns a run that a caller may see.
    pub(crate) fn visible_run(&self, caller: &Caller, id: &str) -> Result<VerificationRun, HttpProblem> {
        let found = self.verification_runs.0.lock().iter().find(|run| run.id == id).cloned();
        let found = found.filter(|run| self.sees_run(caller, run));
        found.ok_or_else(|| {
            HttpProblem::not_found("the service does not know the run any more")
                .remedy("The results are on the pages of the profiles. Start another run.")
        })
    }
}
