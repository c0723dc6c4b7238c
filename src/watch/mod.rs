//! Follows the files: plans on change and on a timer, applies where an environment says so, tells what changed.
//!
//! * [`checkout`] is where the files come from: a folder, or a clone that follows a branch
//! * `round` says whose turn it is: the files, the environments, again and again
//! * `environment` does one pass over one environment: look, plan, say how it stands
//! * `act` applies what may be applied of a plan
//! * `credentials` looks up which of them end soon
//! * [`reports`] remembers what was told and what is to be told; `sending` sends it, by webhook and by mail
//! * [`status_server`] answers what a monitor asks
//!
//! Only whoever holds the lease `watch` in an environment's service applies and tells there; others plan and show.
//! Nothing here prints.

mod act;
pub mod checkout;
mod credentials;
mod environment;
mod notifier;
mod pass;
pub mod reports;
pub mod status_server;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{RwLock, Semaphore, watch};

use crate::{
    config::Selection,
    model::{Code, EnvironmentName},
    rollout::{Connect, Problem, lock::Lasting},
    time::Clock,
};
use checkout::{Files, Snapshot};
use reports::Reports;

/// The longest that an environment in which something fails is left alone.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// How many environments are loaded at once, those among them that take longer than they may.
const LOADS: usize = 64;

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
    /// How long the files of one environment may take to be loaded.
    pub loading: Duration,
    /// How long the lease lasts.
    pub lasting: Lasting,
    /// Who holds it.
    pub holder: String,
    /// Makes clients.
    pub connect: Connect,
    /// What time it is.
    pub clock: Clock,
    /// How reports are sent.
    pub reporting: Reporting,
    /// Becomes true when it is to end.
    pub stop: watch::Receiver<bool>,
}

/// How reports are sent.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// Certificate authorities to trust besides the machine's own, as PEM, for webhooks.
    pub authorities: Option<Vec<u8>>,
    /// How often what lasts is told again.
    pub remind: Duration,
    /// After so many tries a report is given up.
    pub tries: u32,
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
    /// What it is.
    pub kind: &'static str,
    /// When.
    pub ends: Timestamp,
    /// In how many whole days; negative once it has.
    pub days: i64,
}

impl Expiring {
    /// In words.
    pub fn words(&self) -> String {
        let Self { profile, secret, kind, ends, days } = self;
        let day = ends.strftime("%Y-%m-%d");
        if *days < 0 {
            format!("the {kind} `{secret}` of `{profile}` has expired, on {day}")
        } else {
            format!("the {kind} `{secret}` of `{profile}` ends on {day}, in {days} days")
        }
    }
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
    /// Why the last pass could not plan.
    pub problem: Option<Problem>,
    /// Why what is pending was not applied; it is tried again.
    pub refused: Option<Problem>,
    /// Why what is pending waits for a person.
    pub waiting: Option<Problem>,
    /// What was last applied.
    pub applied: Option<String>,
    /// When.
    pub applied_at: Option<Timestamp>,
    /// How often something was applied.
    pub applies: u64,
    /// How many passes failed.
    pub errors: u64,
}

impl Standing {
    /// Whether something failed.
    pub fn has_failed(&self) -> bool {
        self.problem.is_some() || self.refused.is_some()
    }

    /// Whether something waits for a person.
    pub fn waits(&self) -> bool {
        self.waiting.is_some() || self.changes > 0 || !self.drift.is_empty()
    }
}

/// What the files stand at.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesStanding {
    /// The commit.
    pub commit: Option<String>,
    /// Whether something in them is not committed.
    pub dirty: bool,
    /// When they were last looked at with success.
    pub looked_at: Option<Timestamp>,
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

impl Status {
    /// 0 all is as it should be; 1 something failed; 2 something waits for a person.
    pub fn exit_code(&self) -> u8 {
        if self.files.problem.is_some() || self.environments.values().any(Standing::has_failed) {
            1
        } else if self.environments.values().any(Standing::waits) {
            2
        } else {
            0
        }
    }
}

/// The files as they lie there, or why nobody can read them.
type Lying = Result<Arc<Snapshot>, Problem>;

/// What all parts of a watch share.
pub struct Shared {
    options: Options,
    status: Mutex<Status>,
    reports: Reports,
    /// None before the first look. It is held while the files are replaced, and not while an environment is loaded.
    files: RwLock<Option<Lying>>,
    /// Places for loading.
    loads: Arc<Semaphore>,
}

impl Shared {
    /// What is known now.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Environments that were not planned within three times the interval.
    pub fn not_ready(&self) -> Vec<(EnvironmentName, String)> {
        let status = self.status();
        let (now, usual) = (self.options.clock.now(), self.options.every.saturating_mul(3));
        let is_late = |standing: &Standing| {
            let Some(at) = standing.planned_at else { return true };
            // What fails is left alone for longer and longer.
            let limit = if standing.refused.is_some() { usual.max(LONGEST.saturating_mul(2)) } else { usual };
            u64::try_from(now.as_second().saturating_sub(at.as_second())).unwrap_or(0) > limit.as_secs().max(3)
        };
        let why = |standing: &Standing| {
            standing.problem.as_ref().map_or_else(|| "not planned yet".to_owned(), |problem| problem.message.clone())
        };
        let late = status.environments.iter().filter(|(_, standing)| is_late(standing));
        late.map(|(name, standing)| (name.clone(), why(standing))).collect()
    }

    /// Whether all is followed and planned.
    pub fn is_ready(&self) -> bool {
        let files = self.status().files;
        files.problem.is_none() && files.looked_at.is_some() && self.not_ready().is_empty()
    }

    /// Returns the files as they lie there, or why they cannot be read. Waits while they are replaced.
    async fn snapshot(&self) -> Lying {
        let unread = || Err(Problem::new(Code::Internal, "the files were not looked at yet"));
        self.files.read().await.clone().unwrap_or_else(unread)
    }

    fn set(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn standing(&self, name: &EnvironmentName) -> Standing {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.environments.get(name).cloned().unwrap_or_default()
    }

    /// Returns when the watch is to end.
    async fn stopped(&self) {
        let mut stop = self.options.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could say so.
            std::future::pending::<()>().await;
        }
    }
}

/// A watch.
pub struct Watch {
    shared: Arc<Shared>,
    files: Files,
}

impl Watch {
    /// Reads what was told before.
    pub fn new(options: Options, files: Files) -> Result<Self, Problem> {
        let reports = Reports::open(&options.data, options.clock.clone(), options.reporting.clone())?;
        let (files_now, loads) = (RwLock::default(), Arc::new(Semaphore::new(LOADS)));
        let shared = Shared { options, status: Mutex::default(), reports, files: files_now, loads };
        Ok(Self { shared: Arc::new(shared), files })
    }

    /// What others may look at.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Works until it is to end, or once. An apply that was sent is brought to its end.
    pub async fn run(self, once: bool) -> Status {
        let shared = Arc::clone(&self.shared);
        let (ended, end) = watch::channel(false);
        let telling = tokio::spawn(notifier::tell(Arc::clone(&shared), end));
        pass::Round::new(Arc::clone(&shared), self.files, once).run().await;
        ended.send_replace(true);
        drop(telling.await);
        shared.status()
    }
}
