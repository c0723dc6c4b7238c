//! The state of a run: its waves and environments, computed from the entries of its journal.
//!
//! [`Run::from_entries`] and `apply_entry` are the only way to a state, so a run that is resumed has the state that it had. A
//! journal that does not begin with the start of a run has no state; entries about unknown waves are ignored. Nothing here reads a
//! file or asks a service.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Entry, Event, PauseOrigin,
    journal::{ApplyOutcome, RolloutSpec},
};
pub use super::{
    environment_run::{EnvironmentOutcome, EnvironmentRun, Intent, RollbackStatus},
    run_status::{RunRollback, RunStatus},
};
use crate::model::{EnvironmentName, Problem, RolloutName};

/// The state of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The id of the run.
    pub id: Uuid,
    /// The rollout.
    pub rollout: RolloutName,
    /// The time of the first entry.
    pub started_at: Timestamp,
    /// The operator who started the run.
    pub by: String,
    /// True if the run is one of a watch: it obeys `watch.drift` of each environment.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub watch: bool,
    /// The time of the last entry.
    pub last_at: Timestamp,
    /// The environments that an earlier run changed and whose wave did not complete its soak time and checks.
    #[serde(skip)]
    pub unsoaked: BTreeSet<EnvironmentName>,
    /// The waves and environments as the files had them.
    #[serde(skip)]
    pub spec: RolloutSpec,
    /// The status of the run.
    pub status: RunStatus,
    /// The rollback that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RunRollback>,
    /// The waves.
    pub waves: Vec<WaveRun>,
    /// The environments, also those that an earlier version of the files had and the present one does not have.
    pub environments: BTreeMap<EnvironmentName, EnvironmentRun>,
}

/// The state of a wave.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveRun {
    /// The name of the wave.
    pub name: String,
    /// The environments of the wave.
    pub environments: Vec<EnvironmentName>,
    /// True once the wave has started.
    pub started: bool,
    /// The start of the soak time, and its length in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<(Timestamp, u64)>,
    /// True once the soak time is over.
    pub soaked: bool,
    /// True once the wave is done.
    pub ended: bool,
}

impl Run {
    /// Computes the state of a run from the entries of its journal; none if there is no run.
    pub fn from_entries(entries: &[Entry]) -> Option<Self> {
        let (first, rest) = entries.split_first()?;
        let Event::Started { run, rollout, by, watch, unsoaked, spec, .. } = &first.event else { return None };
        let mut state = Self {
            id: *run,
            rollout: rollout.clone(),
            started_at: first.at,
            by: by.clone(),
            watch: *watch,
            unsoaked: unsoaked.clone(),
            last_at: first.at,
            spec: spec.clone(),
            status: RunStatus::Running,
            rollback: None,
            waves: Vec::new(),
            environments: BTreeMap::new(),
        };
        state.set_spec(spec.clone());
        for entry in rest {
            state.apply_entry(entry);
        }
        Some(state)
    }

    /// Returns the environments of a wave that this run or an earlier one changed.
    pub fn changed_in<'a>(&'a self, wave: &'a WaveRun) -> impl Iterator<Item = &'a EnvironmentName> {
        let applied = |name: &EnvironmentName| {
            let run = self.environments.get(name);
            run.is_some_and(|run| matches!(run.outcome, EnvironmentOutcome::Applied { .. }) && run.rollback.is_none())
        };
        wave.environments.iter().filter(move |name| applied(name) || self.unsoaked.contains(*name))
    }

    /// Returns the changed environments whose wave did not complete its soak time and checks, for the run that follows this one.
    pub fn not_soaked(&self) -> BTreeSet<EnvironmentName> {
        let open = self.waves.iter().filter(|wave| !wave.ended);
        open.flat_map(|wave| self.changed_in(wave)).cloned().collect()
    }

    /// Applies an entry of the journal.
    pub fn apply_entry(&mut self, entry: &Entry) {
        self.last_at = entry.at;
        match &entry.event {
            Event::Started { .. } | Event::LeaseAcquired { .. } => {}
            Event::Resumed { watch, spec, .. } => {
                self.watch |= watch;
                if matches!(self.status, RunStatus::Stopped { .. }) {
                    self.reset_failed();
                }
                self.status = RunStatus::Running;
                if let Some(spec) = spec {
                    self.set_spec(spec.clone());
                }
            }
            Event::WaveStarted { wave } => self.wave(wave, |wave| wave.started = true),
            Event::Intended { environment, changeset, base, summary } => {
                let intent = Intent { changeset: *changeset, base: *base, summary: summary.clone() };
                self.environment(environment).open.push(intent);
            }
            Event::Ended { environment, outcome } => self.ended(environment, outcome, entry.at),
            Event::SoakStarted { wave, seconds } => {
                let soak = (entry.at, *seconds);
                self.wave(wave, |wave| (wave.soak, wave.soaked) = (Some(soak), false));
            }
            Event::SoakEnded { wave } => self.wave(wave, |wave| wave.soaked = true),
            Event::Checked { environment, problem } => {
                let run = self.environment(environment);
                run.checks += 1;
                run.checks_passed = Some(problem.is_none());
                run.problem.clone_from(problem);
            }
            Event::WaveEnded { wave } => self.wave(wave, |wave| wave.ended = true),
            Event::RollbackStarted { wave, reason, to_empty } => {
                let (wave, reason, to_empty) = (wave.clone(), reason.clone(), *to_empty);
                self.rollback = Some(RunRollback { wave, to_empty, reason });
            }
            Event::RollbackIntended { environment, base, to } => {
                self.environment(environment).rollback = Some(RollbackStatus::Requested { base: *base, to: *to });
            }
            Event::RollbackEnded { environment, generation, problem } => {
                let run = self.environment(environment);
                match problem {
                    None => run.rollback = Some(RollbackStatus::Done { generation: *generation }),
                    Some(problem) => {
                        (run.rollback, run.problem) = (Some(RollbackStatus::Refused), Some(problem.clone()));
                    }
                }
            }
            Event::Paused { reason, by, problem } => {
                let by = by.clone().or_else(|| PauseOrigin::of_old_entry(reason));
                self.status = RunStatus::Paused { reason: reason.clone(), by, problem: problem.clone() };
            }
            Event::Stopped { problem } => {
                self.rollback = None;
                self.status = RunStatus::Stopped { problem: problem.clone() };
            }
            Event::Aborted { by } => {
                self.rollback = None;
                self.status = RunStatus::Aborted { by: by.clone() };
            }
            Event::Finished => self.status = RunStatus::Finished,
        }
    }

    fn ended(&mut self, name: &EnvironmentName, outcome: &ApplyOutcome, at: Timestamp) {
        let run = self.environment(name);
        run.at = Some(at);
        run.problem = None;
        match outcome {
            ApplyOutcome::Applied { generation, before, .. } => {
                run.outcome = EnvironmentOutcome::Applied { generation: *generation, before: *before };
                run.open.clear();
            }
            ApplyOutcome::Unchanged { generation } => {
                run.outcome = EnvironmentOutcome::Unchanged { generation: *generation };
                run.open.clear();
            }
            // A changeset that was sent stays open: its outcome may be unknown.
            ApplyOutcome::Failed { problem } => {
                (run.outcome, run.problem) = (EnvironmentOutcome::Failed, Some(problem.clone()));
            }
        }
    }

    /// Returns true if the rollback empties environments that were empty before the run.
    pub fn rolls_back_to_empty(&self) -> bool {
        self.rollback.as_ref().is_some_and(|rollback| rollback.to_empty)
    }

    /// Resets the environments that a run tries again after a stop: those that failed in waves that are not done, and those
    /// that were rolled back.
    fn reset_failed(&mut self) {
        for wave in &mut self.waves {
            let mut again = false;
            for name in &wave.environments {
                let Some(run) = self.environments.get_mut(name) else { continue };
                if run.rollback.is_some() {
                    *run = EnvironmentRun { checks: run.checks, ..EnvironmentRun::default() };
                    again = true;
                } else if wave.ended {
                    // Failures that were tolerated stay tolerated.
                } else if run.outcome == EnvironmentOutcome::Failed {
                    (run.outcome, run.problem, again) = (EnvironmentOutcome::Waiting, None, true);
                } else if run.checks_passed == Some(false) {
                    (run.checks_passed, run.problem) = (None, None);
                }
            }
            if again {
                (wave.soak, wave.soaked, wave.ended) = (None, false, false);
            }
        }
    }

    /// Sets the waves. The state of waves and environments that have the same names is kept.
    fn set_spec(&mut self, spec: RolloutSpec) {
        let known = std::mem::take(&mut self.waves);
        self.waves = spec
            .waves
            .iter()
            .map(|wave| {
                let before = known.iter().find(|known| known.name == wave.name);
                let environments: Vec<EnvironmentName> = wave.environments.keys().cloned().collect();
                let done = |name: &EnvironmentName| {
                    self.environments.get(name).is_some_and(|e| e.is_applied() || e.has_failed())
                };
                WaveRun {
                    name: wave.name.clone(),
                    started: before.is_some_and(|wave| wave.started),
                    soak: before.and_then(|wave| wave.soak),
                    soaked: before.is_some_and(|wave| wave.soaked),
                    ended: before.is_some_and(|wave| wave.ended) && environments.iter().all(done),
                    environments,
                }
            })
            .collect();
        for name in spec.waves.iter().flat_map(|wave| wave.environments.keys()) {
            self.environments.entry(name.clone()).or_default();
        }
        self.spec = spec;
    }

    fn wave(&mut self, name: &str, change: impl FnOnce(&mut WaveRun)) {
        if let Some(wave) = self.waves.iter_mut().find(|wave| wave.name == name) {
            change(wave);
        }
    }

    fn environment(&mut self, name: &EnvironmentName) -> &mut EnvironmentRun {
        self.environments.entry(name.clone()).or_default()
    }

    /// Returns true if the waves have an environment, as the files had them.
    pub fn includes(&self, name: &EnvironmentName) -> bool {
        self.spec.waves.iter().any(|wave| wave.environments.contains_key(name))
    }

    /// Returns true if the wave of an environment is done.
    pub fn is_done(&self, name: &EnvironmentName) -> bool {
        self.waves.iter().any(|wave| wave.ended && wave.environments.contains(name))
    }

    /// Counts the environments of a wave that failed.
    pub fn failures(&self, wave: &WaveRun) -> usize {
        wave.environments
            .iter()
            .filter(|name| self.environments.get(*name).is_some_and(EnvironmentRun::has_failed))
            .count()
    }

    /// Returns the environments that failed, with the reasons.
    pub fn problems(&self) -> impl Iterator<Item = (&EnvironmentName, &Problem)> {
        self.environments.iter().filter_map(|(name, run)| Some((name, run.problem.as_ref()?)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use super::*;
    use crate::{
        model::{Code, Digest, Provenance},
        rollout::journal::WaveSpec,
    };

    fn entry(event: Event) -> Entry {
        Entry { at: Timestamp::UNIX_EPOCH, event }
    }

    fn name(text: &str) -> EnvironmentName {
        text.parse().unwrap()
    }

    fn failed() -> Problem {
        Problem::new(Code::ServiceUnreachable, "no service answers")
    }

    fn ended(environment: &str, outcome: ApplyOutcome) -> Entry {
        entry(Event::Ended { environment: name(environment), outcome })
    }

    /// A run with one wave of the environments `a` and `b`.
    fn started() -> Entry {
        let environments = ["a", "b"].map(|environment| (name(environment), String::new())).into();
        let spec = RolloutSpec {
            file: Digest::of_bytes(b""),
            source: Provenance::default(),
            coordinator: name("a"),
            waves: vec![WaveSpec { name: "all".to_owned(), environments }],
        };
        let (rollout, mailwright, by) = ("port".parse().unwrap(), String::new(), "ann".to_owned());
        entry(Event::Started {
            run: Uuid::nil(),
            rollout,
            mailwright,
            by,
            watch: false,
            unsoaked: BTreeSet::new(),
            spec,
        })
    }

    #[test]
    fn entries_add_up_to_a_run() {
        assert!(Run::from_entries(&[]).is_none());
        let applied = ApplyOutcome::Applied { generation: 2, before: 1, summary: String::new() };
        let run = Run::from_entries(&[started(), ended("a", applied)]).unwrap();
        assert_eq!(run.environments[&name("a")].outcome, EnvironmentOutcome::Applied { generation: 2, before: 1 });
        assert_eq!(run.environments[&name("b")].outcome, EnvironmentOutcome::Waiting);
        assert_eq!((run.status, run.waves.len()), (RunStatus::Running, 1));
    }

    #[test]
    fn an_environment_whose_check_failed_soaks_in_the_next_run_too() {
        let applied = || ended("a", ApplyOutcome::Applied { generation: 2, before: 1, summary: String::new() });
        let soaked = || entry(Event::SoakEnded { wave: "all".to_owned() });
        let checked = |problem| entry(Event::Checked { environment: name("a"), problem });
        let stopped = || entry(Event::Stopped { problem: failed() });
        let run = Run::from_entries(&[started(), applied(), soaked(), checked(Some(failed())), stopped()]).unwrap();
        assert_eq!(run.not_soaked(), [name("a")].into());
        let wave_ended = entry(Event::WaveEnded { wave: "all".to_owned() });
        let run = Run::from_entries(&[started(), applied(), soaked(), checked(None), wave_ended]).unwrap();
        assert_eq!(run.not_soaked(), BTreeSet::new());
    }

    #[test]
    fn a_changeset_without_a_known_answer_stays_open_after_a_failure() {
        let intent =
            Event::Intended { environment: name("a"), changeset: Uuid::nil(), base: 1, summary: String::new() };
        let failure = ended("a", ApplyOutcome::Failed { problem: failed() });
        let run = Run::from_entries(&[started(), entry(intent), failure]).unwrap();
        assert_eq!((run.environments[&name("a")].open.len(), run.failures(&run.waves[0])), (1, 1));
    }

    #[test]
    fn resuming_after_a_stop_tries_failed_environments_again() {
        let failure = || ended("a", ApplyOutcome::Failed { problem: failed() });
        let resumed = || entry(Event::Resumed { by: "ann".to_owned(), watch: false, spec: None });
        let stopped = entry(Event::Stopped { problem: failed() });
        let run = Run::from_entries(&[started(), failure(), stopped, resumed()]).unwrap();
        assert!(!run.environments[&name("a")].has_failed());
        let paused = entry(Event::Paused { reason: "Ctrl-C".to_owned(), by: None, problem: None });
        let run = Run::from_entries(&[started(), failure(), paused, resumed()]).unwrap();
        assert!(run.environments[&name("a")].has_failed(), "a pause keeps failures");
    }

    #[test]
    fn an_old_entry_without_an_origin_is_of_the_watch_if_its_reason_is() {
        let status = |reason: &str| {
            let paused = entry(Event::Paused { reason: reason.to_owned(), by: None, problem: None });
            Run::from_entries(&[started(), paused]).unwrap().status
        };
        for reason in ["the watch ends", "a newer commit"] {
            assert!(!status(reason).is_paused_by_operator(), "{reason}");
        }
        for reason in ["Ctrl-C", "requested by ann@host", "requested by the watch ends"] {
            assert!(status(reason).is_paused_by_operator(), "{reason}");
        }
    }
}
