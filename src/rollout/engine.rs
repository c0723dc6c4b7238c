//! Works through the waves: apply, soak, check, and what happens where too much fails.
//!
//! Each step is journalled before and after, so the engine holds nothing that the journal does not tell. It is told to
//! pause or to end by a [`Wish`]; what is under way is brought to its end, and nothing new is begun.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    Entry, Event, Journal, Material, Problem, Run,
    environment::{Note, Target},
    journal::Outcome,
    lock::Held,
    run::{Back, Became, EnvironmentRun, Standing, WaveRun},
};
use crate::{
    model::{
        Code, EnvironmentName,
        rollout::{Terms, Then},
    },
    time::Clock,
};

/// What somebody wants while the engine is at work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// To go on.
    #[default]
    GoOn,
    /// Nothing more is begun.
    Pause {
        /// Why.
        why: String,
    },
    /// It is given up.
    Abort {
        /// Who.
        by: String,
        /// Whether everything is taken back first, and how far.
        take_back: Option<Reach>,
    },
    /// Somebody else may begin: the lease is lost.
    LeaseLost,
}

/// How far taking back goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To what each environment held; one that held nothing is left as it is, and told of.
    ToWhatWas,
    /// To nothing as well, where that is what an environment held.
    ToNothing,
}

/// Tells of each entry once it is durable.
pub type Tell = Box<dyn Fn(&Entry, &Run) + Send + Sync>;

/// Works through a rollout.
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    material: Material,
    journal: Journal,
    run: Mutex<Run>,
    clock: Clock,
    wish: watch::Receiver<Wish>,
    held: Held,
    tell: Tell,
}

impl Shared {
    /// Writes an entry, and takes it into account.
    async fn write(&self, event: Event) -> Result<(), Problem> {
        let entry = self.journal.append(event).await?;
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.take(&entry);
        (self.tell)(&entry, &run);
        Ok(())
    }

    fn run<T>(&self, read: impl FnOnce(&Run) -> T) -> T {
        read(&self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn environment(&self, name: &EnvironmentName) -> EnvironmentRun {
        self.run(|run| run.environments.get(name).cloned().unwrap_or_default())
    }

    fn wish(&self) -> Wish {
        // A process that was stopped for a while finds out here, before anybody has told it.
        if self.held.now() { self.wish.borrow().clone() } else { Wish::LeaseLost }
    }

    /// Whether anything new may begin. Taking back goes on where it was asked for.
    fn may_begin(&self, taking_back: bool) -> bool {
        match self.wish() {
            Wish::GoOn => true,
            Wish::Abort { .. } => taking_back,
            Wish::Pause { .. } | Wish::LeaseLost => false,
        }
    }
}

impl Note for Shared {
    async fn note(&self, event: Event) -> Result<(), Problem> {
        self.write(event).await
    }
}

/// What a step does in one environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Apply,
    Check,
    TakeBack,
}

impl Engine {
    /// An engine for a run whose journal is open. Nothing happens before [`Engine::work`].
    pub fn new(
        material: Material,
        journal: Journal,
        run: Run,
        clock: Clock,
        (wish, held): (watch::Receiver<Wish>, Held),
        tell: Tell,
    ) -> Self {
        Self { shared: Arc::new(Shared { material, journal, run: Mutex::new(run), clock, wish, held, tell }) }
    }

    /// Writes an entry of its caller's.
    pub async fn note(&self, event: Event) -> Result<(), Problem> {
        self.shared.write(event).await
    }

    /// Works until the run is finished, stopped, aborted or paused, and gives the run as it is then. An error is the
    /// journal's: what was begun is in it, and nothing else was.
    pub async fn work(self) -> Result<Run, Problem> {
        if self.shared.run(|run| run.taking_back.is_some()) {
            self.take_back().await?;
            return Ok(self.shared.run(Run::clone));
        }
        let count = self.shared.run(|run| run.waves.len());
        for index in 0..count {
            if !self.wave(index).await? {
                // Who gives up a run that has just stopped by itself gives it up all the same.
                let stopped = self.shared.run(|run| matches!(run.standing, Standing::Stopped { .. }));
                if stopped && matches!(self.shared.wish(), Wish::Abort { .. }) {
                    self.interrupted().await?;
                }
                return Ok(self.shared.run(Run::clone));
            }
        }
        self.shared.write(Event::Finished).await?;
        Ok(self.shared.run(Run::clone))
    }

    /// Gives the run up without working on it, and undoes it if that is wanted.
    pub async fn abort(self, by: &str, take_back: Option<Reach>) -> Result<Run, Problem> {
        if let Some(reach) = take_back {
            self.shared.write(everything_back(by, reach)).await?;
            if !self.take_back_all().await? {
                return Ok(self.shared.run(Run::clone));
            }
        }
        self.shared.write(Event::Aborted { by: by.to_owned() }).await?;
        Ok(self.shared.run(Run::clone))
    }

    /// One wave to its end. False if the run goes no further.
    async fn wave(&self, index: usize) -> Result<bool, Problem> {
        let Some(wave) = self.shared.run(|run| run.waves.get(index).cloned()) else { return Ok(true) };
        if wave.ended {
            return Ok(true);
        }
        if self.interrupted().await? {
            return Ok(false);
        }
        let terms = self.shared.material.file.waves.get(index).map(|wave| wave.terms.clone()).unwrap_or_default();
        if !wave.begun {
            self.shared.write(Event::WaveBegun { wave: wave.name.clone() }).await?;
        }
        self.each(&wave, &terms, Step::Apply).await?;
        if self.interrupted().await? || self.too_many(index, &terms).await? {
            return Ok(false);
        }
        if !self.soak(index, &terms).await? {
            return Ok(false);
        }
        if terms.checks.as_ref().is_some_and(|checks| !checks.is_empty()) {
            self.each(&wave, &terms, Step::Check).await?;
            if self.interrupted().await? || self.too_many(index, &terms).await? {
                return Ok(false);
            }
        }
        self.shared.write(Event::WaveEnded { wave: wave.name }).await?;
        Ok(true)
    }

    /// A step in every environment of a wave that needs it, so many at once. Ends early where more fail than may.
    async fn each(&self, wave: &WaveRun, terms: &Terms, step: Step) -> Result<(), Problem> {
        let places = Arc::new(Semaphore::new(terms.parallel()));
        let tolerated = terms.failures().tolerate as usize;
        let mut under_way: JoinSet<Result<(), Problem>> = JoinSet::new();
        let mut result = Ok(());
        for name in &wave.environments {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            while let Some(ended) = under_way.try_join_next() {
                result = result.and(joined(ended));
            }
            let too_many = step != Step::TakeBack && self.shared.run(|run| run.failures(wave)) > tolerated;
            if result.is_err() || too_many || !self.shared.may_begin(step == Step::TakeBack) {
                break;
            }
            if !wants(&self.shared.environment(name), step, self.shared.run(Run::goes_to_nothing)) {
                continue;
            }
            let (shared, name, terms) = (Arc::clone(&self.shared), name.clone(), terms.clone());
            under_way.spawn(async move {
                let _place = place;
                one(&shared, &name, &terms, step).await
            });
        }
        // What is under way is brought to its end.
        while let Some(ended) = under_way.join_next().await {
            result = result.and(joined(ended));
        }
        result
    }

    /// Waits until the wave has soaked; the time is counted from what the journal says, so a restart does not prolong
    /// it. False if somebody wants something else meanwhile.
    async fn soak(&self, index: usize, terms: &Terms) -> Result<bool, Problem> {
        let wave = |run: &Run| run.waves.get(index).cloned();
        let Some(before) = self.shared.run(wave) else { return Ok(true) };
        let seconds = terms.soak.map_or(0, |soak| soak.duration().as_secs());
        // Where nothing was changed there is nothing to wait for.
        let changed = self.shared.run(|run| {
            let applied = |name| {
                let became = run.environments.get(name).map(|environment| environment.became);
                matches!(became, Some(Became::Applied { .. }))
            };
            before.environments.iter().any(applied)
        });
        if before.soaked || seconds == 0 || !changed {
            return Ok(true);
        }
        if before.soak.is_none() {
            self.shared.write(Event::SoakBegun { wave: before.name.clone(), seconds }).await?;
        }
        let Some((since, seconds)) = self.shared.run(wave).and_then(|wave| wave.soak) else { return Ok(true) };
        let mut wishes = self.shared.wish.clone();
        loop {
            let passed = self.shared.clock.now().as_millisecond().saturating_sub(since.as_millisecond());
            // A clock that was set back must not make it wait longer than it says.
            let passed = u64::try_from(passed).unwrap_or(0);
            let left = Duration::from_millis((seconds * 1000).saturating_sub(passed));
            if left.is_zero() {
                break;
            }
            let changed = tokio::time::timeout(left.min(Duration::from_secs(5)), wishes.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                // Nobody is there to want anything.
                tokio::time::sleep(left.min(Duration::from_secs(5))).await;
            }
            if self.interrupted().await? {
                return Ok(false);
            }
        }
        self.shared.write(Event::SoakEnded { wave: before.name }).await?;
        Ok(true)
    }

    /// Does what is wished for. True if the run goes no further.
    async fn interrupted(&self) -> Result<bool, Problem> {
        if let Wish::Abort { by, take_back } = self.shared.wish() {
            if let Some(reach) = take_back {
                self.shared.write(everything_back(&by, reach)).await?;
                if !self.take_back_all().await? {
                    return Ok(true);
                }
            }
            self.shared.write(Event::Aborted { by }).await?;
            return Ok(true);
        }
        self.paused().await
    }

    /// Pauses if that is wished for, or has to be. True if it did.
    async fn paused(&self) -> Result<bool, Problem> {
        let event = match self.shared.wish() {
            Wish::GoOn | Wish::Abort { .. } => return Ok(false),
            Wish::Pause { why } => Event::Paused { why, problem: None },
            Wish::LeaseLost => {
                let problem = Problem::new(
                    Code::LeaseLost,
                    "the lease could not be renewed in time, so somebody else may begin; nothing new was begun",
                )
                .remedy("Once the coordinator's service answers again: `mailwright rollout resume NAME`.");
                Event::Paused { why: "the lease was lost".to_owned(), problem: Some(problem) }
            }
        };
        self.shared.write(event).await?;
        Ok(true)
    }

    /// Where more failed than may: stops, and takes the wave back if the rollout says so.
    async fn too_many(&self, index: usize, terms: &Terms) -> Result<bool, Problem> {
        let failures = terms.failures();
        let Some(wave) = self.shared.run(|run| run.waves.get(index).cloned()) else { return Ok(false) };
        let (failed, first) = self.shared.run(|run| {
            let first = wave.environments.iter().find_map(|name| {
                let environment = run.environments.get(name)?;
                Some((name.clone(), environment.problem.clone().filter(|_| environment.failed())?))
            });
            (run.failures(&wave), first)
        });
        if failed <= failures.tolerate as usize {
            return Ok(false);
        }
        let tolerated = failures.tolerate;
        let why = first.map(|(name, problem)| format!("; `{name}`: {}", problem.message)).unwrap_or_default();
        let problem = Problem::new(
            Code::RolloutStopped,
            format!(
                "{failed} of {} environments of the wave `{}` failed, and {tolerated} may{why}",
                wave.environments.len(),
                wave.name
            ),
        )
        .remedy(
            "Mend the cause, then `mailwright rollout resume NAME`; or `mailwright rollout abort NAME --take-back`.",
        );
        if failures.then == Then::Stop {
            self.shared.write(Event::Stopped { problem }).await?;
            return Ok(true);
        }
        self.shared.write(Event::TakingBack { wave: Some(wave.name), why: problem, to_nothing: false }).await?;
        self.take_back().await?;
        Ok(true)
    }

    /// Takes back what the journal says, and ends the run as it was to end.
    async fn take_back(&self) -> Result<(), Problem> {
        let Some(back) = self.shared.run(|run| run.taking_back.clone()) else { return Ok(()) };
        let Some(wave) = back.wave else {
            if self.take_back_all().await? {
                self.shared.write(Event::Aborted { by: back.why.message }).await?;
            }
            return Ok(());
        };
        let Some(index) = self.shared.run(|run| run.waves.iter().position(|own| own.name == wave)) else {
            return self.shared.write(Event::Stopped { problem: back.why }).await;
        };
        if self.take_wave_back(index).await? {
            self.shared.write(Event::Stopped { problem: back.why }).await?;
        }
        Ok(())
    }

    /// Takes everything back, the last wave first. False if somebody wants it to pause.
    async fn take_back_all(&self) -> Result<bool, Problem> {
        let count = self.shared.run(|run| run.waves.len());
        for index in (0..count).rev() {
            if !self.take_wave_back(index).await? {
                return Ok(false);
            }
        }
        self.take_back_the_rest().await
    }

    /// What was done in environments that no wave has any more.
    async fn take_back_the_rest(&self) -> Result<bool, Problem> {
        let rest = self.shared.run(|run| {
            let in_a_wave = |name: &EnvironmentName| run.waves.iter().any(|wave| wave.environments.contains(name));
            run.environments.keys().filter(|name| !in_a_wave(name)).cloned().collect::<Vec<_>>()
        });
        for name in rest {
            let problem = Problem::new(
                Code::RolloutFilesChanged,
                "the rollout no longer has it, so it is not taken back".to_owned(),
            )
            .remedy(format!("mailwright history {name}; mailwright rollback {name} --to N"));
            if wants(&self.shared.environment(&name), Step::TakeBack, self.shared.run(Run::goes_to_nothing)) {
                let event = Event::TakenBack { environment: name, generation: None, problem: Some(problem) };
                self.shared.write(event).await?;
            }
        }
        Ok(true)
    }

    async fn take_wave_back(&self, index: usize) -> Result<bool, Problem> {
        let Some(wave) = self.shared.run(|run| run.waves.get(index).cloned()) else { return Ok(true) };
        let terms = self.shared.material.file.waves.get(index).map(|wave| wave.terms.clone()).unwrap_or_default();
        self.each(&wave, &terms, Step::TakeBack).await?;
        Ok(!self.paused().await?)
    }
}

fn everything_back(by: &str, reach: Reach) -> Event {
    let why = Problem::new(Code::RolloutStopped, by.to_owned());
    Event::TakingBack { wave: None, why, to_nothing: reach == Reach::ToNothing }
}

fn joined(ended: Result<Result<(), Problem>, tokio::task::JoinError>) -> Result<(), Problem> {
    ended.unwrap_or_else(|error| Err(Problem::new(Code::Internal, format!("a step was not finished: {error}"))))
}

/// Whether an environment needs a step.
fn wants(environment: &EnvironmentRun, step: Step, to_nothing: bool) -> bool {
    match step {
        Step::Apply => !environment.is_so() && !environment.failed(),
        Step::Check => environment.is_so() && environment.holds.is_none(),
        // What failed may have been taken all the same.
        Step::TakeBack => {
            let changed = matches!(environment.became, Became::Applied { .. }) || !environment.open.is_empty();
            // What was refused because it held nothing before has another chance where that is meant.
            let held_nothing = matches!(environment.became, Became::Applied { before: 0, .. });
            let again = to_nothing && held_nothing && environment.back == Some(Back::Refused);
            changed && (again || matches!(environment.back, None | Some(Back::Asked { .. })))
        }
    }
}

/// A step in one environment, with what came of it in the journal.
async fn one(shared: &Shared, name: &EnvironmentName, terms: &Terms, step: Step) -> Result<(), Problem> {
    let known = shared.environment(name);
    let (material, clock, held) = (&shared.material, &shared.clock, Some(&shared.held));
    let target = Target { name, material, clock, held, deadline: terms.deadline() };
    let environment = name.clone();
    let event = match step {
        Step::Apply => match target.apply(&known, shared).await? {
            // What came of it is for whoever goes on to find out: what was intended is in the journal.
            Outcome::Failed { problem } if problem.code == Code::LeaseLost => return Ok(()),
            outcome => Event::Ended { environment, outcome },
        },
        Step::Check => {
            let checks = terms.checks.clone().unwrap_or_default();
            let run = shared.run(|run| run.id);
            Event::Checked { environment, problem: target.check(&checks, &known, run).await.err() }
        }
        Step::TakeBack => match target.take_back(&known, shared, shared.run(Run::goes_to_nothing)).await? {
            Err(problem) if problem.code == Code::LeaseLost => return Ok(()),
            Ok(generation) => Event::TakenBack { environment, generation, problem: None },
            Err(problem) => Event::TakenBack { environment, generation: None, problem: Some(problem) },
        },
    };
    shared.write(event).await
}
