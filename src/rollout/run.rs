//! What the entries of a journal amount to: how far the run is, and what is known of each environment.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Entry, Event, Problem,
    journal::{Order, Outcome},
};
use crate::model::{EnvironmentName, RolloutName};

/// How far a run is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The run.
    pub id: Uuid,
    /// The rollout.
    pub rollout: RolloutName,
    /// When it began.
    pub begun_at: Timestamp,
    /// Who began it.
    pub by: String,
    /// When something was written last.
    pub last_at: Timestamp,
    /// What is to be done.
    #[serde(skip)]
    pub order: Order,
    /// Where it stands.
    pub standing: Standing,
    /// What is being taken back, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taking_back: Option<TakingBack>,
    /// The waves.
    pub waves: Vec<WaveRun>,
    /// The environments, also those that an earlier order had and the present one has not.
    pub environments: BTreeMap<EnvironmentName, EnvironmentRun>,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Standing {
    /// Somebody is at it, or was until the process ended.
    UnderWay,
    /// It waits for somebody to go on.
    Paused {
        /// Why.
        why: String,
        /// The problem, where it is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// More failed than may.
    Stopped {
        /// What.
        problem: Problem,
    },
    /// Somebody gave it up.
    Aborted {
        /// Who.
        by: String,
    },
    /// All waves are done.
    Finished,
}

impl Standing {
    /// Whether nothing more comes of the run.
    pub fn is_final(&self) -> bool {
        matches!(self, Standing::Aborted { .. } | Standing::Finished)
    }
}

/// What is being taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakingBack {
    /// Of which wave; none means of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// Whether what held nothing before is to hold nothing again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub to_nothing: bool,
    /// Why.
    pub why: Problem,
}

/// How far a wave is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveRun {
    /// What it is called.
    pub name: String,
    /// Its environments.
    pub environments: Vec<EnvironmentName>,
    /// Whether it has begun.
    pub begun: bool,
    /// Since when it soaks, and for how many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<(Timestamp, u64)>,
    /// Whether it has soaked.
    pub soaked: bool,
    /// Whether it is done.
    pub ended: bool,
}

/// What is known of an environment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentRun {
    /// What became of it.
    pub became: Became,
    /// When that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Changesets that were about to be sent, and what became of which is not written down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Intent>,
    /// Whether its checks hold; none if they were not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// How often its checks were made.
    pub checks: u32,
    /// The failure, of the change or of a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// What became of taking it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
}

/// What became of an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Became {
    /// Its turn has not come, or nobody knows what came of it.
    #[default]
    Waiting,
    /// It has what the files say.
    Applied {
        /// The generation that was made.
        generation: u64,
        /// The generation before.
        before: u64,
    },
    /// It had what the files say before.
    AlreadySo {
        /// The generation that it is at.
        generation: u64,
    },
    /// It failed.
    Failed,
}

/// A changeset that was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// Its id.
    pub changeset: Uuid,
    /// The generation that it was computed from.
    pub base: u64,
    /// What it does.
    pub summary: String,
}

/// What became of taking an environment back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Back {
    /// It was asked for, and nobody knows yet.
    Asked {
        /// From which generation.
        base: u64,
        /// To which.
        to: u64,
    },
    /// It is back, at this generation.
    Done {
        /// The generation; none if there was nothing to take back.
        generation: Option<u64>,
    },
    /// It is not.
    Refused,
}

impl EnvironmentRun {
    /// Whether it counts as a failure.
    pub fn failed(&self) -> bool {
        self.became == Became::Failed || self.holds == Some(false)
    }

    /// Whether its change is done.
    pub fn is_so(&self) -> bool {
        matches!(self.became, Became::Applied { .. } | Became::AlreadySo { .. })
    }
}

impl Run {
    /// What the entries of a journal amount to; none if nothing has begun.
    pub fn of(entries: &[Entry]) -> Option<Self> {
        let (first, rest) = entries.split_first()?;
        let Event::Begun { run, rollout, by, order, .. } = &first.event else { return None };
        let mut state = Self {
            id: *run,
            rollout: rollout.clone(),
            begun_at: first.at,
            by: by.clone(),
            last_at: first.at,
            order: order.clone(),
            standing: Standing::UnderWay,
            taking_back: None,
            waves: Vec::new(),
            environments: BTreeMap::new(),
        };
        state.arrange(order.clone());
        for entry in rest {
            state.take(entry);
        }
        Some(state)
    }

    /// Another entry.
    pub fn take(&mut self, entry: &Entry) {
        self.last_at = entry.at;
        match &entry.event {
            Event::Begun { .. } | Event::Leased { .. } => {}
            Event::Resumed { order, .. } => {
                if matches!(self.standing, Standing::Stopped { .. }) {
                    self.try_failed_again();
                }
                self.standing = Standing::UnderWay;
                if let Some(order) = order {
                    self.arrange(order.clone());
                }
            }
            Event::WaveBegun { wave } => self.wave(wave, |wave| wave.begun = true),
            Event::Intended { environment, changeset, base, summary } => {
                let intent = Intent { changeset: *changeset, base: *base, summary: summary.clone() };
                self.environment(environment).open.push(intent);
            }
            Event::Ended { environment, outcome } => self.ended(environment, outcome, entry.at),
            Event::SoakBegun { wave, seconds } => {
                let soak = (entry.at, *seconds);
                self.wave(wave, |wave| (wave.soak, wave.soaked) = (Some(soak), false));
            }
            Event::SoakEnded { wave } => self.wave(wave, |wave| wave.soaked = true),
            Event::Checked { environment, problem } => {
                let run = self.environment(environment);
                run.checks += 1;
                run.holds = Some(problem.is_none());
                run.problem.clone_from(problem);
            }
            Event::WaveEnded { wave } => self.wave(wave, |wave| wave.ended = true),
            Event::TakingBack { wave, why, to_nothing } => {
                self.taking_back = Some(TakingBack { wave: wave.clone(), why: why.clone(), to_nothing: *to_nothing });
            }
            Event::BackIntended { environment, base, to } => {
                self.environment(environment).back = Some(Back::Asked { base: *base, to: *to });
            }
            Event::TakenBack { environment, generation, problem } => {
                let run = self.environment(environment);
                match problem {
                    None => run.back = Some(Back::Done { generation: *generation }),
                    Some(problem) => (run.back, run.problem) = (Some(Back::Refused), Some(problem.clone())),
                }
            }
            Event::Paused { why, problem } => {
                self.standing = Standing::Paused { why: why.clone(), problem: problem.clone() };
            }
            Event::Stopped { problem } => {
                self.taking_back = None;
                self.standing = Standing::Stopped { problem: problem.clone() };
            }
            Event::Aborted { by } => {
                self.taking_back = None;
                self.standing = Standing::Aborted { by: by.clone() };
            }
            Event::Finished => self.standing = Standing::Finished,
        }
    }

    fn ended(&mut self, name: &EnvironmentName, outcome: &Outcome, at: Timestamp) {
        let run = self.environment(name);
        run.at = Some(at);
        run.problem = None;
        match outcome {
            Outcome::Applied { generation, before, .. } => {
                run.became = Became::Applied { generation: *generation, before: *before };
                run.open.clear();
            }
            Outcome::AlreadySo { generation } => {
                run.became = Became::AlreadySo { generation: *generation };
                run.open.clear();
            }
            // What was sent stays open: nobody may know what came of it.
            Outcome::Failed { problem } => {
                (run.became, run.problem) = (Became::Failed, Some(problem.clone()));
            }
        }
    }

    /// Whether what is being taken back goes to nothing where nothing was.
    pub fn goes_to_nothing(&self) -> bool {
        self.taking_back.as_ref().is_some_and(|back| back.to_nothing)
    }

    /// After a stop, what failed in the waves that are not done is tried again, and so is what was taken back.
    fn try_failed_again(&mut self) {
        for wave in &mut self.waves {
            let mut again = false;
            for name in &wave.environments {
                let Some(run) = self.environments.get_mut(name) else { continue };
                if run.back.is_some() {
                    *run = EnvironmentRun { checks: run.checks, ..EnvironmentRun::default() };
                    again = true;
                } else if wave.ended {
                    // What was tolerated stays so.
                } else if run.became == Became::Failed {
                    (run.became, run.problem, again) = (Became::Waiting, None, true);
                } else if run.holds == Some(false) {
                    (run.holds, run.problem) = (None, None);
                }
            }
            if again {
                (wave.soak, wave.soaked, wave.ended) = (None, false, false);
            }
        }
    }

    /// The waves of an order; what is known of waves and environments of the same names stays.
    fn arrange(&mut self, order: Order) {
        let known = std::mem::take(&mut self.waves);
        self.waves = order
            .waves
            .iter()
            .map(|wave| {
                let before = known.iter().find(|known| known.name == wave.name);
                let environments: Vec<EnvironmentName> = wave.environments.keys().cloned().collect();
                let done =
                    |name: &EnvironmentName| self.environments.get(name).is_some_and(|e| e.is_so() || e.failed());
                WaveRun {
                    name: wave.name.clone(),
                    begun: before.is_some_and(|wave| wave.begun),
                    soak: before.and_then(|wave| wave.soak),
                    soaked: before.is_some_and(|wave| wave.soaked),
                    ended: before.is_some_and(|wave| wave.ended) && environments.iter().all(done),
                    environments,
                }
            })
            .collect();
        for name in order.waves.iter().flat_map(|wave| wave.environments.keys()) {
            self.environments.entry(name.clone()).or_default();
        }
        self.order = order;
    }

    fn wave(&mut self, name: &str, change: impl FnOnce(&mut WaveRun)) {
        if let Some(wave) = self.waves.iter_mut().find(|wave| wave.name == name) {
            change(wave);
        }
    }

    fn environment(&mut self, name: &EnvironmentName) -> &mut EnvironmentRun {
        self.environments.entry(name.clone()).or_default()
    }

    /// How many environments of a wave failed.
    pub fn failures(&self, wave: &WaveRun) -> usize {
        wave.environments.iter().filter(|name| self.environments.get(*name).is_some_and(EnvironmentRun::failed)).count()
    }

    /// The environments that failed, with why.
    pub fn problems(&self) -> impl Iterator<Item = (&EnvironmentName, &Problem)> {
        self.environments.iter().filter_map(|(name, run)| Some((name, run.problem.as_ref()?)))
    }
}
