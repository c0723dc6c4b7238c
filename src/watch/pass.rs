//! Whose turn it is: the files are looked at now and then, each environment on change and on a timer, and one in which
//! something fails later and later. None waits for another.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    LONGEST, Shared,
    environment::{Came, Watched},
};
use crate::{
    git::Cancellation,
    model::EnvironmentName,
    rollout::Problem,
    watch::checkout::{Files, Seen},
};

/// A pass that takes longer gives up its place: it waits for somebody else, and others need not wait for it.
const PLACE: Duration = Duration::from_secs(3);
/// How long giving back all leases may take in the end.
const LEAVING: Duration = Duration::from_secs(10);

/// What a look at the files gives back: the files, and what was seen.
type Looked = (Files, Result<Option<Seen>, Problem>);

/// When an environment is looked at next.
struct Turn {
    /// None while it is.
    watched: Option<Watched>,
    at: Instant,
    failures: u32,
    /// Whether something new came while it was looked at.
    again: bool,
    /// Whether it was looked at.
    done: bool,
}

/// All turns.
pub(super) struct Round {
    shared: Arc<Shared>,
    once: bool,
    /// None while they are looked at.
    files: Option<Files>,
    stop: Cancellation,
    look_at: Instant,
    timer_at: Instant,
    /// What was seen last.
    seen: Option<Seen>,
    looking: JoinSet<Looked>,
    turns: BTreeMap<EnvironmentName, Turn>,
    passes: JoinSet<(EnvironmentName, Watched, Came)>,
    places: Arc<Semaphore>,
    leaving: JoinSet<()>,
}

impl Round {
    pub(super) fn new(shared: Arc<Shared>, files: Files, once: bool) -> Self {
        let places = Arc::new(Semaphore::new(shared.options.parallel.max(1)));
        Self {
            shared,
            once,
            stop: files.stop(),
            files: Some(files),
            look_at: Instant::now(),
            timer_at: Instant::now(),
            seen: None,
            looking: JoinSet::new(),
            turns: BTreeMap::new(),
            passes: JoinSet::new(),
            places,
            leaving: JoinSet::new(),
        }
    }

    /// Goes round until it is to end, or once.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            self.begin();
            if self.once && self.is_done() {
                break;
            }
            let pause = self.pause();
            tokio::select! {
                () = shared.stopped() => break,
                Some(ended) = self.passes.join_next(), if !self.passes.is_empty() => {
                    if let Ok((name, watched, came)) = ended {
                        self.ended(&name, watched, came);
                    }
                }
                Some(looked) = self.looking.join_next(), if !self.looking.is_empty() => match looked {
                    Ok((files, found)) => self.looked(files, found),
                    Err(error) => {
                        tracing::error!(%error, "the files can be followed no more");
                        break;
                    }
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.end().await;
    }

    /// Begins whatever is due.
    fn begin(&mut self) {
        let now = Instant::now();
        if now >= self.look_at
            && let Some(mut files) = self.files.take()
        {
            let again = now >= self.timer_at;
            if again {
                self.timer_at = now + self.shared.options.every;
            }
            let shared = Arc::clone(&self.shared);
            self.looking.spawn(async move {
                let found = files.look(&shared, again).await;
                (files, found)
            });
        }
        for (name, turn) in &mut self.turns {
            if now < turn.at || self.once && turn.done {
                continue;
            }
            let Some(watched) = turn.watched.take() else { continue };
            self.passes.spawn(pass(name.clone(), watched, Arc::clone(&self.shared), Arc::clone(&self.places)));
        }
    }

    /// Whether all was looked at.
    fn is_done(&self) -> bool {
        let is_read = self.seen.is_some() || self.shared.status().files.problem.is_some();
        is_read && self.looking.is_empty() && self.passes.is_empty()
    }

    fn pause(&self) -> Duration {
        let next = self.turns.values().filter(|turn| turn.watched.is_some()).map(|turn| turn.at);
        let next = next.chain(self.files.is_some().then_some(self.look_at)).min();
        next.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(Instant::now()))
    }

    fn ended(&mut self, name: &EnvironmentName, watched: Watched, came: Came) {
        let Some(turn) = self.turns.get_mut(name) else {
            self.leaving.spawn(watched.leave());
            return;
        };
        turn.failures = if came == Came::Failed { turn.failures + 1 } else { 0 };
        let options = &self.shared.options;
        let wait = if turn.failures == 0 {
            options.every
        } else {
            // The first repetition comes soon, so that a short absence is a short one.
            let first = options.every.min(options.poll.max(Duration::from_millis(200)));
            first.saturating_mul(1 << (turn.failures - 1).min(12)).min(LONGEST)
        };
        let wait = if std::mem::take(&mut turn.again) { Duration::ZERO } else { wait };
        turn.at = Instant::now() + wait;
        turn.watched = Some(watched);
        turn.done = true;
    }

    fn looked(&mut self, files: Files, found: Result<Option<Seen>, Problem>) {
        self.look_at = Instant::now() + self.shared.options.poll;
        self.files = Some(files);
        match found {
            Ok(seen) => {
                if let Some(seen) = seen {
                    self.see(seen);
                }
                let now = self.shared.options.clock.now();
                self.shared.set(|status| {
                    status.files.problem = None;
                    status.files.looked_at = Some(now);
                });
            }
            Err(problem) => {
                tracing::warn!(
                    code = problem.code.id(),
                    problem = problem.message,
                    remedy = problem.remedy,
                    "the files cannot be followed"
                );
                // Their readers are to say so, and not when their turn comes by itself.
                let is_new = self.shared.status().files.problem.is_none_or(|known| known != problem);
                self.shared.set(|status| status.files.problem = Some(problem));
                if is_new {
                    self.hurry();
                }
            }
        }
    }

    fn see(&mut self, seen: Seen) {
        let is_new = self.seen.as_ref().is_none_or(|old| !old.is_of_same_files(&seen));
        let gone: Vec<_> = self.turns.keys().filter(|name| !seen.names.contains(*name)).cloned().collect();
        for name in gone {
            if let Some(watched) = self.turns.remove(&name).and_then(|turn| turn.watched) {
                self.leaving.spawn(watched.leave());
            }
        }
        for name in &seen.names {
            let new = || Turn {
                watched: Some(Watched::new(name.clone())),
                at: Instant::now(),
                failures: 0,
                again: false,
                done: false,
            };
            self.turns.entry(name.clone()).or_insert_with(new);
        }
        let had_problem = self.shared.status().files.problem.is_some();
        if is_new || had_problem {
            tracing::info!(commit = seen.commit, dirty = seen.dirty, environments = seen.names.len(), "new files");
            self.hurry();
        }
        self.shared.set(|status| {
            status.files.commit.clone_from(&seen.commit);
            status.files.dirty = seen.dirty;
            status.environments.retain(|name, _| seen.names.contains(name));
            for name in &seen.names {
                status.environments.entry(name.clone()).or_default();
            }
        });
        self.shared.reports.keep_only(&seen.names);
        self.seen = Some(seen);
    }

    /// Looks at each soon, also where something fails.
    fn hurry(&mut self) {
        for turn in self.turns.values_mut() {
            turn.at = Instant::now();
            turn.again = turn.watched.is_none();
        }
    }

    /// Waits for what is under way, and gives the leases back.
    async fn end(mut self) {
        tracing::info!("ending what is under way");
        self.stop.cancel();
        drop(tokio::time::timeout(LEAVING, self.looking.join_next()).await);
        while let Some(ended) = self.passes.join_next().await {
            if let Ok((name, watched, _)) = ended {
                match self.turns.get_mut(&name) {
                    Some(turn) => turn.watched = Some(watched),
                    None => drop(self.leaving.spawn(watched.leave())),
                }
            }
        }
        for watched in self.turns.into_values().filter_map(|turn| turn.watched) {
            self.leaving.spawn(watched.leave());
        }
        let all = async { while self.leaving.join_next().await.is_some() {} };
        drop(tokio::time::timeout(LEAVING, all).await);
    }
}

/// One pass, when there is a place for it.
async fn pass(
    name: EnvironmentName,
    watched: Watched,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
) -> (EnvironmentName, Watched, Came) {
    let place = tokio::select! {
        place = places.acquire_owned() => place,
        () = shared.stopped() => return (name, watched, Came::Stopped),
    };
    let mut passing = tokio::spawn(watched.pass(shared));
    let ended = if let Ok(ended) = tokio::time::timeout(PLACE, &mut passing).await {
        ended
    } else {
        drop(place);
        passing.await
    };
    match ended {
        Ok((watched, came)) => (name, watched, came),
        Err(error) => {
            tracing::error!(environment = %name, %error, "a pass broke off");
            (name.clone(), Watched::new(name), Came::Failed)
        }
    }
}
