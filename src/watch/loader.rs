//! Loads the files of one environment, within a time limit.
//!
//! Files can be replaced while they are loaded: they are loaded again then, three times at most. Files that break a rule are a
//! problem, with the address of the service if it can be read. A load that exceeds its limit continues in the background and its
//! result is dropped; the next load of the environment starts after it has ended. Other environments are not affected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use super::{Shared, checkout::Snapshot};
use crate::{
    config::{Desired, Report, Repository},
    model::{Code, EnvironmentName, Problem},
    operations::{EnvironmentFiles, MAX_PLANS},
};

/// The files of an environment, as one pass reads them.
pub(super) struct LoadedFiles {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) desired: Desired,
}

impl LoadedFiles {
    /// Returns the files in the form that operations take.
    pub(super) fn as_environment_files(&self) -> EnvironmentFiles<'_> {
        let Snapshot { repository, source, source_refusal, .. } = &*self.snapshot;
        EnvironmentFiles {
            root: repository.root(),
            desired: &self.desired,
            source,
            source_refusal: source_refusal.as_ref(),
        }
    }
}

/// The outcome of a load.
struct Loaded {
    /// The address of the service, if the files have it.
    address: Option<String>,
    desired: Result<Desired, Report>,
}

/// Loads the files of one environment, one load at a time.
pub(super) struct Loader {
    name: EnvironmentName,
    /// A load that exceeded its limit.
    running: Mutex<Option<JoinHandle<Loaded>>>,
}

impl Loader {
    pub(super) fn new(name: EnvironmentName) -> Self {
        Self { name, running: Mutex::default() }
    }

    /// Loads the files that are checked out, again if they were replaced meanwhile. The address of the service is returned even if
    /// the files break a rule.
    pub(super) async fn load(&self, shared: &Shared) -> (Option<String>, Result<LoadedFiles, Problem>) {
        for _ in 0..MAX_PLANS {
            let snapshot = match shared.snapshot().await {
                Ok(snapshot) => snapshot,
                Err(problem) => return (None, Err(problem)),
            };
            let Loaded { address, desired } = match self.load_snapshot(shared, &snapshot).await {
                Ok(loaded) => loaded,
                Err(problem) => return (None, Err(problem)),
            };
            if shared.snapshot().await.is_ok_and(|present| present.revision == snapshot.revision) {
                let files = desired.map(|desired| LoadedFiles { snapshot, desired });
                return (address, files.map_err(|report| report.to_problem()));
            }
        }
        let message = format!("the files of `{}` were replaced {MAX_PLANS} times while they were loaded", self.name);
        (None, Err(Problem::new(Code::DeadlineExceeded, message).remedy("The next pass loads them again.")))
    }

    async fn load_snapshot(&self, shared: &Shared, snapshot: &Arc<Snapshot>) -> Result<Loaded, Problem> {
        let (limit, name) = (shared.options.load_limit, &self.name);
        let too_slow = || {
            Problem::new(Code::DeadlineExceeded, format!("the files of `{name}` were not loaded within {limit:?}"))
                .remedy(format!("Find out what takes so long: mailwright validate {name}"))
        };
        if self.running().as_ref().is_some_and(|task| !task.is_finished()) {
            return Err(too_slow());
        }
        let permit = tokio::time::timeout(limit, Arc::clone(&shared.loads).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let message = format!("the files of `{name}` were not loaded: loading other environments takes too long");
            return Err(Problem::new(Code::DeadlineExceeded, message).remedy("Check the disk that has the files."));
        };
        let (repository, name) = (Arc::clone(&snapshot.repository), self.name.clone());
        let mut task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            load_in_own_threads(&repository, &name)
        });
        let Ok(loaded) = tokio::time::timeout(limit, &mut task).await else {
            *self.running() = Some(task);
            return Err(too_slow());
        };
        loaded.map_err(|_| Problem::new(Code::Internal, "loading the files ended unexpectedly"))
    }

    fn running(&self) -> MutexGuard<'_, Option<JoinHandle<Loaded>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads an environment with threads of its own: a file that cannot be read to its end blocks these threads, and not those that
/// other environments are loaded and planned with.
fn load_in_own_threads(repository: &Repository, name: &EnvironmentName) -> Loaded {
    let work = || Loaded { address: repository.service_address(name), desired: repository.load(name) };
    match rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

    use std::{
        sync::Condvar,
        time::{Duration, Instant},
    };

    use tokio::sync::watch;

    use super::*;
    use crate::{
        config::Selection,
        model::Provenance,
        operations::LeaseDuration,
        time::Clock,
        vfs::{BlobError, BlobStore, EntryKind, Tree},
        watch::{ReportOptions, WatchOptions, checkout::Files},
    };

    /// Contents by id. Those of `slow` are returned when they are released.
    #[derive(Default)]
    struct Disk {
        /// The two flags: true if the contents were requested, and true if they are released.
        state: Mutex<(bool, bool)>,
        changed: Condvar,
    }

    impl Disk {
        fn set(&self, change: impl FnOnce(&mut (bool, bool))) {
            change(&mut self.state.lock().unwrap());
            self.changed.notify_all();
        }

        async fn is_asked(self: &Arc<Self>) {
            let disk = Arc::clone(self);
            let wait = move || drop(disk.changed.wait_while(disk.state.lock().unwrap(), |(asked, _)| !*asked).unwrap());
            tokio::task::spawn_blocking(wait).await.unwrap();
        }
    }

    struct Held(Arc<Disk>);

    impl BlobStore for Held {
        fn blob(&self, id: &str, _limit: u64) -> Result<Arc<[u8]>, BlobError> {
            if id == "slow" {
                self.0.set(|(asked, _)| *asked = true);
                drop(self.0.changed.wait_while(self.0.state.lock().unwrap(), |(_, free)| !*free).unwrap());
            }
            Ok(Arc::from(b"companies: [EDU1]\nunserved: [{ reason: a test }]\n".as_slice()))
        }
    }

    fn snapshot(disk: &Arc<Disk>, revision: u64) -> Arc<Snapshot> {
        let entry = |name: &str| (format!("environments/{name}/environment.yaml"), EntryKind::File, name.to_owned());
        let tree = Tree::new(["slow", "quick"].map(entry), Arc::new(Held(Arc::clone(disk))));
        let repository = Repository::open_tree(std::path::Path::new("."), tree).map_err(|_| "broken").unwrap();
        Arc::new(Snapshot {
            repository: Arc::new(repository),
            source: Provenance::default(),
            source_refusal: None,
            revision,
        })
    }

    fn shared(folder: &std::path::Path, load_limit: Duration) -> Arc<Shared> {
        let options = WatchOptions {
            selection: Selection::default(),
            data: folder.to_owned(),
            every: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            parallel: 1,
            load_limit,
            lease_duration: LeaseDuration::default(),
            holder: "test".to_owned(),
            connect: Arc::new(|_, _, _| Err(Problem::new(Code::Internal, "no service"))),
            clock: Clock::system(),
            reporting: ReportOptions { authorities: None, remind: Duration::from_secs(1), tries: 1 },
            stop: watch::channel(false).1,
        };
        super::super::Watch::new(options, Files::folder(folder.to_owned())).unwrap().shared()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn files_that_take_too_long_are_given_up_and_not_read_twice() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<Disk>::default());
        let shared = shared(folder.path(), Duration::from_millis(300));
        *shared.files.write().await = Some(Ok(snapshot(&disk, 1)));
        let slow = Loader::new("slow".parse().unwrap());
        for _ in 0..3 {
            let problem = slow.load(&shared).await.1.err().unwrap();
            assert_eq!(problem.code, Code::DeadlineExceeded, "{}", problem.message);
        }
        assert_eq!(shared.loads.available_permits() + 1, super::super::PARALLEL_LOADS, "one thread reads it");
        disk.set(|(_, free)| *free = true);
        let until = Instant::now() + Duration::from_secs(60);
        while slow.load(&shared).await.1.is_err_and(|problem| problem.code == Code::DeadlineExceeded) {
            assert!(Instant::now() < until, "it is never read again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn others_are_read_and_files_replaced_while_one_environment_is_loaded() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<Disk>::default());
        let shared = shared(folder.path(), Duration::from_secs(120));
        *shared.files.write().await = Some(Ok(snapshot(&disk, 1)));
        let (slow, own) = (Loader::new("slow".parse().unwrap()), Arc::clone(&shared));
        let loading = tokio::spawn(async move { slow.load(&own).await.1.map(|files| files.snapshot.revision) });
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, disk.is_asked()).await.unwrap();
        let quick = Loader::new("quick".parse().unwrap());
        let read = tokio::time::timeout(limit, quick.load(&shared)).await.unwrap();
        assert!(read.1.is_ok_and(|files| files.snapshot.revision == 1));
        *tokio::time::timeout(limit, shared.files.write()).await.unwrap() = Some(Ok(snapshot(&disk, 2)));
        let read = tokio::time::timeout(limit, quick.load(&shared)).await.unwrap();
        assert!(read.1.is_ok_and(|files| files.snapshot.revision == 2));
        assert!(!loading.is_finished());
        // Files that were replaced while they were read are read again.
        disk.set(|(_, free)| *free = true);
        assert_eq!(tokio::time::timeout(limit, loading).await.unwrap().unwrap().ok(), Some(2));
    }
}
