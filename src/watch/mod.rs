//! Follows the files: plans environments on change and on a timer, applies where they allow it, and reports what changed.
//!
//! * [`checkout`] is the source of the files: a folder, or a clone that follows a branch
//! * `pass_scheduler` decides when the files are polled and when each environment has its next pass
//! * `environment` is one pass over one environment: read the state, plan, apply, record the status
//! * `loader` loads the files of an environment within a time limit
//! * `apply` applies the part of a plan that the environment allows
//! * `waves` applies in the waves of a rollout, where environments say so; `wave_runs` holds the runs that were requested
//! * `credentials` finds credentials that expire soon
//! * [`reports`] keeps the reports, and what was reported before; `notifier` sends them by webhook and mail
//! * [`status_server`] answers health checks, and serves metrics and the status
//!
//! Several watches can follow the same files. The one that holds the lease `watch` in the service of an environment applies and
//! reports there; the others plan and show the status. A failure in one environment stops no other one and is tried again after
//! growing pauses. With `--once` each environment has one pass, and no rollout is started. Nothing here prints.

mod apply;
pub mod checkout;
mod credentials;
mod environment;
mod loader;
mod notifier;
mod pass_scheduler;
pub mod reports;
mod status;
pub mod status_server;
mod wave_runs;
mod waves;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{RwLock, Semaphore, watch};

use crate::{
    config::Selection,
    model::{Code, EnvironmentName, Problem},
    operations::{Connector, LeaseDuration},
    time::Clock,
};
use checkout::{Files, Snapshot};
use reports::Reports;
pub use status::{EnvironmentStatus, ExpiringCredential, FilesStatus, PassResult, Role, WatchStatus};
use wave_runs::WaveRuns;

/// The longest pause after a failure in an environment.
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// The largest number of environments that are loaded at once, with those that exceed their time limit.
const PARALLEL_LOADS: usize = 64;

/// The options of a watch.
pub struct WatchOptions {
    /// The environments.
    pub selection: Selection,
    /// The folder of the state that survives a restart.
    pub data: PathBuf,
    /// The interval in which each environment is planned, even without changes.
    pub every: Duration,
    /// The interval in which the files are checked for changes.
    pub poll: Duration,
    /// The number of environments that have a pass at once.
    pub parallel: usize,
    /// The time limit for loading the files of one environment.
    pub load_limit: Duration,
    /// The duration of the lease.
    pub lease_duration: LeaseDuration,
    /// The holder of the lease.
    pub holder: String,
    /// Creates clients.
    pub connect: Connector,
    /// The clock.
    pub clock: Clock,
    /// The options of reports.
    pub reporting: ReportOptions,
    /// Becomes true when the watch must end.
    pub stop: watch::Receiver<bool>,
}

/// The options of reports.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// Certificate authorities to trust for webhooks in addition to the system's, as PEM.
    pub authorities: Option<Vec<u8>>,
    /// The interval in which a condition that lasts is reported again.
    pub remind: Duration,
    /// The number of attempts after which a report is given up.
    pub tries: u32,
}

/// The files that are checked out, or the reason for which they cannot be read.
type Checkout = Result<Arc<Snapshot>, Problem>;

/// The state that all parts of a watch share.
pub struct Shared {
    options: WatchOptions,
    status: Mutex<WatchStatus>,
    reports: Reports,
    /// The files; none before they were read for the first time. The lock is held while the files are replaced, and not while
    /// an environment is loaded.
    files: RwLock<Option<Checkout>>,
    /// Permits for loading.
    loads: Arc<Semaphore>,
    /// The rollouts that environments are applied by.
    waves: WaveRuns,
}

impl Shared {
    /// Returns the present status.
    pub fn status(&self) -> WatchStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the environments that were not planned within three times the interval, with the reasons.
    pub fn not_ready(&self) -> Vec<(EnvironmentName, String)> {
        let status = self.status();
        let (now, usual) = (self.options.clock.now(), self.options.every.saturating_mul(3));
        let is_late = |status: &EnvironmentStatus| {
            let Some(at) = status.planned_at else { return true };
            // The pauses after failures grow.
            let limit = if status.refused.is_some() { usual.max(LONGEST_PAUSE.saturating_mul(2)) } else { usual };
            u64::try_from(now.as_second().saturating_sub(at.as_second())).unwrap_or(0) > limit.as_secs().max(3)
        };
        let reason = |status: &EnvironmentStatus| {
            status.problem.as_ref().map_or_else(|| "not planned yet".to_owned(), |problem| problem.message.clone())
        };
        let late = status.environments.iter().filter(|(_, status)| is_late(status));
        late.map(|(name, status)| (name.clone(), reason(status))).collect()
    }

    /// Returns true if the files are followed and every environment is planned.
    pub fn is_ready(&self) -> bool {
        let files = self.status().files;
        files.problem.is_none() && files.looked_at.is_some() && self.not_ready().is_empty()
    }

    /// Returns the files that are checked out. Waits while they are replaced.
    async fn snapshot(&self) -> Checkout {
        let unread = || Err(Problem::new(Code::Internal, "the files were not read yet"));
        self.files.read().await.clone().unwrap_or_else(unread)
    }

    fn set(&self, change: impl FnOnce(&mut WatchStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn environment_status(&self, name: &EnvironmentName) -> EnvironmentStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.environments.get(name).cloned().unwrap_or_default()
    }

    /// Waits until the watch is requested to stop.
    async fn stopped(&self) {
        let mut stop = self.options.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Without a sender the watch is never stopped.
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
    /// Reads the reports of an earlier process.
    pub fn new(options: WatchOptions, files: Files) -> Result<Self, Problem> {
        let reports = Reports::open(&options.data, options.clock.clone(), options.reporting.clone())?;
        let (files_now, loads) = (RwLock::default(), Arc::new(Semaphore::new(PARALLEL_LOADS)));
        let (status, waves) = (Mutex::default(), WaveRuns::default());
        let shared = Shared { options, status, reports, files: files_now, loads, waves };
        Ok(Self { shared: Arc::new(shared), files })
    }

    /// Returns the shared state, for the status server.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Runs until the watch must end, or one pass. The answer to a changeset that was sent is waited for.
    pub async fn run(self, once: bool) -> WatchStatus {
        let shared = Arc::clone(&self.shared);
        let (ended, end) = watch::channel(false);
        let notifier = tokio::spawn(notifier::run(Arc::clone(&shared), end));
        // One pass is too short for waves, which soak.
        let waves = (!once).then(|| tokio::spawn(waves::run(Arc::clone(&shared))));
        pass_scheduler::PassScheduler::new(Arc::clone(&shared), self.files, once).run().await;
        if let Some(waves) = waves {
            drop(waves.await);
        }
        ended.send_replace(true);
        drop(notifier.await);
        shared.status()
    }
}
