//! Follows the files: plans on change and on a timer, applies where an environment says so, tells what changed.
//!
//! * [`files`] is where the files come from: a folder, or a clone that follows a branch
//! * `environment` does one pass over one environment: look, plan, perhaps apply
//! * [`reports`] remembers what was told, and tells what is new, by webhook and by mail
//! * [`http`] answers what a monitor asks
//!
//! Only whoever holds the lease `watch` in an environment's service applies and tells there; others plan and show.
//! Nothing here prints.

mod environment;
pub mod files;
pub mod http;
pub mod reports;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    sync::{RwLock, Semaphore, watch},
    task::JoinSet,
};

use crate::{
    clock::Clock,
    config::Selection,
    model::EnvironmentName,
    rollout::{Connect, Problem, lock::Lasting},
};
use environment::Watched;
use files::{Files, Snapshot};
use reports::Reports;

/// The longest that an environment in which something fails is left alone.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// What a watch is to do.
pub struct Options {
    /// Which environments.
    pub selection: Selection,
    /// Where the memory lies.
    pub data: PathBuf,
    /// How often each environment is planned, whatever happens.
    pub every: Duration,
    /// How often the files are looked at.
    pub poll: Duration,
    /// How many environments at once.
    pub parallel: usize,
    /// How long the lease lasts.
    pub lasting: Lasting,
    /// Who holds it.
    pub holder: String,
    /// Makes clients.
    pub connect: Connect,
    /// What time it is.
    pub clock: Clock,
}

/// Who acts in an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Nobody knows yet.
    #[default]
    Unknown,
    /// This one.
    Acting,
    /// Another one.
    Standby,
}

/// A credential and when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expiring {
    /// The profile.
    pub profile: String,
    /// Its secret.
    pub secret: String,
    /// When.
    pub ends: Timestamp,
    /// In how many whole days; negative once it has.
    pub days: i64,
}

/// How an environment stands.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Who acts in it.
    pub role: Role,
    /// The commit that it was last planned from.
    pub commit: Option<String>,
    /// When.
    pub planned_at: Option<Timestamp>,
    /// The service's generation then.
    pub generation: u64,
    /// How many changes are pending.
    pub changes: usize,
    /// The same in words.
    pub summary: String,
    /// What was changed outside Git.
    pub drift: Vec<String>,
    /// Credentials that end soon.
    pub expiring: Vec<Expiring>,
    /// Why the last pass was no success.
    pub problem: Option<Problem>,
    /// Why what is pending is not applied, where it should be.
    pub refused: Option<Problem>,
    /// When something was last applied.
    pub applied_at: Option<Timestamp>,
    /// How often something was applied.
    pub applies: u64,
    /// How many passes failed.
    pub errors: u64,
}

/// What the files stand at.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesStanding {
    /// The commit.
    pub commit: Option<String>,
    /// Why the files cannot be followed now.
    pub problem: Option<Problem>,
    /// When the history was last found rewritten.
    pub rewritten_at: Option<Timestamp>,
}

/// All that is known.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The files.
    pub files: FilesStanding,
    /// The environments.
    pub environments: BTreeMap<EnvironmentName, Standing>,
}

/// A look at the files that is under way; it gives them back.
type Looking = tokio::task::JoinHandle<(Files, Result<Option<Snapshot>, Problem>)>;

impl Status {
    /// 0 clean; 2 drift or changes pending; 1 errors.
    pub fn exit_code(&self) -> u8 {
        let all = || self.environments.values();
        if self.files.problem.is_some() || all().any(|one| one.problem.is_some() || one.refused.is_some()) {
            1
        } else if all().any(|one| one.changes > 0 || !one.drift.is_empty()) {
            2
        } else {
            0
        }
    }
}

/// What all parts of a watch share.
pub struct Shared {
    options: Options,
    status: Mutex<Status>,
    reports: Reports,
    /// Whoever reads files holds it; whoever replaces them waits.
    reading: RwLock<()>,
    begun: Instant,
}

impl Shared {
    /// What is known now.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Environments that were not planned within three times the interval.
    pub fn not_ready(&self) -> Vec<(EnvironmentName, String)> {
        let status = self.status();
        let (now, limit) = (self.options.clock.now(), self.options.every.as_secs().max(1) * 3);
        let is_late = |standing: &Standing| {
            let at = standing.planned_at.map_or(i64::MIN / 2, Timestamp::as_second);
            standing.problem.is_some() && standing.planned_at.is_none()
                || u64::try_from(now.as_second().saturating_sub(at)).unwrap_or(0) > limit
        };
        let why = |standing: &Standing| {
            standing.problem.as_ref().map_or_else(|| "not planned yet".to_owned(), |problem| problem.message.clone())
        };
        let late = status.environments.iter().filter(|(_, standing)| is_late(standing));
        late.map(|(name, standing)| (name.clone(), why(standing))).collect()
    }

    fn set(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A watch.
pub struct Watch {
    shared: Arc<Shared>,
    files: Files,
}

/// When an environment is looked at next.
struct Turn {
    watched: Option<Box<Watched>>,
    at: Instant,
    failures: u32,
}

impl Watch {
    /// Reads what was told before.
    pub fn new(options: Options, files: Files) -> Result<Self, Problem> {
        let reports = Reports::open(&options.data, options.clock.clone())?;
        let shared =
            Shared { options, status: Mutex::default(), reports, reading: RwLock::default(), begun: Instant::now() };
        Ok(Self { shared: Arc::new(shared), files })
    }

    /// What others may look at.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Works until `stop`, or once. What is under way is brought to its end.
    pub async fn run(self, once: bool, mut stop: watch::Receiver<bool>) -> Status {
        let shared = Arc::clone(&self.shared);
        tracing::info!(uptime = ?shared.begun.elapsed(), "watching");
        let mut turns: BTreeMap<EnvironmentName, Turn> = BTreeMap::new();
        let mut under_way: JoinSet<(EnvironmentName, Box<Watched>, bool)> = JoinSet::new();
        let permits = Arc::new(Semaphore::new(shared.options.parallel.max(1)));
        let mut snapshot: Option<Arc<Snapshot>> = None;
        let (mut look_at, mut timer_at) = (Instant::now(), Instant::now());
        let mut looking: Option<Looking> = None;
        let mut files = Some(self.files);
        let telling = (!once).then(|| tokio::spawn(tell(Arc::clone(&shared))));
        loop {
            let now = Instant::now();
            if let Some(mut own) = files.take_if(|_| now >= look_at) {
                let (again, shared) = (now >= timer_at, Arc::clone(&shared));
                if again {
                    timer_at = now + shared.options.every;
                }
                looking = Some(tokio::spawn(async move {
                    let found = own.look(&shared, again).await;
                    (own, found)
                }));
            }
            if let Some(snapshot) = &snapshot {
                for (name, turn) in &mut turns {
                    if now < turn.at {
                        continue;
                    }
                    let Some(mut watched) = turn.watched.take() else { continue };
                    let (snapshot, permits) = (Arc::clone(snapshot), Arc::clone(&permits));
                    let (shared, name) = (Arc::clone(&shared), name.clone());
                    under_way.spawn(async move {
                        let _permit = permits.acquire_owned().await;
                        let succeeded = watched.pass(&shared, &snapshot).await;
                        (name, watched, succeeded)
                    });
                }
            }
            if once
                && under_way.is_empty()
                && looking.is_none()
                && (snapshot.is_some() || shared.status().files.problem.is_some())
            {
                break;
            }
            let next = turns.values().filter(|turn| turn.watched.is_some()).map(|turn| turn.at);
            let next = next.chain(files.is_some().then_some(look_at)).min();
            let pause = next.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(done) = under_way.join_next(), if !under_way.is_empty() => {
                    let Ok((name, watched, succeeded)) = done else { continue };
                    let Some(turn) = turns.get_mut(&name) else {
                        watched.leave().await;
                        continue;
                    };
                    turn.failures = if succeeded { 0 } else { turn.failures + 1 };
                    let every = shared.options.every;
                    // The first repetition comes soon, so that a short absence is a short one.
                    let first = every.min(shared.options.poll.max(Duration::from_millis(200)));
                    let wait = if succeeded { every } else { first.saturating_mul(1 << (turn.failures - 1).min(12)).min(LONGEST) };
                    // What came meanwhile was put at once.
                    turn.at = if turn.at > now && turn.at <= Instant::now() { Instant::now() } else { Instant::now() + wait };
                    if once { turn.at += Duration::from_secs(86_400 * 365); }
                    turn.watched = Some(watched);
                }
                looked = async { match looking.as_mut() { Some(task) => task.await, None => std::future::pending().await } } => {
                    looking = None;
                    look_at = Instant::now() + shared.options.poll;
                    let Ok((own, found)) = looked else { break };
                    files = Some(own);
                    let found = found.and_then(|found| match found {
                        None => Ok(None),
                        Some(found) => {
                            let names = found.names(&shared.options.selection)?;
                            Ok(Some((found, names)))
                        }
                    });
                    match found {
                        Ok(None) => shared.set(|status| status.files.problem = None),
                        Ok(Some((found, names))) => {
                            let is_new = snapshot.as_ref().is_none_or(|old| old.source.commit != found.source.commit || old.source.dirty != found.source.dirty);
                            let gone: Vec<_> = turns.keys().filter(|name| !names.contains(name)).cloned().collect();
                            for name in gone {
                                if let Some(watched) = turns.remove(&name).and_then(|turn| turn.watched) {
                                    watched.leave().await;
                                }
                            }
                            for name in &names {
                                let new = || Turn { watched: Some(Box::new(Watched::new(name.clone()))), at: Instant::now(), failures: 0 };
                                let turn = turns.entry(name.clone()).or_insert_with(new);
                                // A new commit is looked at soon even where something fails.
                                if is_new {
                                    turn.at = Instant::now();
                                }
                            }
                            if is_new {
                                tracing::info!(commit = found.source.commit, environments = names.len(), "new files");
                            }
                            shared.set(|status| {
                                status.files.problem = None;
                                status.files.commit.clone_from(&found.source.commit);
                                status.environments.retain(|name, _| names.contains(name));
                                for name in names {
                                    status.environments.entry(name).or_default();
                                }
                            });
                            snapshot = Some(Arc::new(found));
                        }
                        Err(problem) => {
                            tracing::warn!(code = problem.code.id(), problem = problem.message, "the files cannot be followed");
                            shared.set(|status| status.files.problem = Some(problem));
                        }
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        tracing::info!("ending what is under way");
        while let Some(done) = under_way.join_next().await {
            if let Ok((_, watched, _)) = done {
                watched.leave().await;
            }
        }
        if let Some(telling) = telling {
            telling.abort();
        }
        shared.reports.deliver(&shared.options.connect).await;
        for turn in turns.into_values() {
            if let Some(watched) = turn.watched {
                watched.leave().await;
            }
        }
        shared.status()
    }
}

/// Tells what is to be told, for as long as the watch runs.
async fn tell(shared: Arc<Shared>) {
    loop {
        shared.reports.deliver(&shared.options.connect).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
