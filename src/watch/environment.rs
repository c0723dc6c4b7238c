//! One pass over one environment: look at the service, plan, perhaps apply, and say how it stands.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{
    Expiring, Role, Shared,
    act::{Applied, Outcome},
    reports::{Condition, Kind},
};
use crate::{
    changes::drift::{Drift, DriftKind},
    client::Client,
    config::{Desired, Report, Repository},
    model::{Code, Digest, EnvironmentName, ProfileName, State, WatchSettings},
    reconcile::{self, PlanRequest, Planned},
    rollout::{Problem, Purpose, lock::Lease},
    watch::checkout::{Snapshot, blocking, broken},
};

/// The name of the lease.
const LEASE: &str = "watch";
/// How long a service may take to be looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How often a plan is made anew because somebody changed the environment, or its files, in between.
const PLANS: u32 = 3;
/// How many objects a report names.
const NAMED: usize = 10;

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It is as it should be, or waits for a person: there is no hurry.
    Well,
    /// It is worth trying again before long.
    Failed,
    /// The watch ends.
    Stopped,
}

/// An environment, between passes.
pub(super) struct Watched {
    pub(super) name: EnvironmentName,
    pub(super) lease: Option<Lease>,
    pub(super) settings: WatchSettings,
    /// When this watch last had the credentials looked at.
    pub(super) verified: Option<Instant>,
    /// Files that are being loaded for longer than they may.
    loading: Mutex<Option<Loading>>,
}

type Loading = JoinHandle<Loaded>;

/// The outcome of loading.
struct Loaded {
    /// The address of the service, as far as the files have it.
    address: Option<String>,
    desired: Result<Desired, Report>,
}

/// The files of an environment, as one pass reads them.
pub(super) struct Read {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) desired: Desired,
}

/// What there is before anything is planned.
struct Prepared {
    client: Client,
    state: State,
    /// Why the lease cannot be taken, where it is not that another one has it.
    unleased: Option<Problem>,
    expiring: Option<Vec<Expiring>>,
}

/// What a pass has found out.
struct Found {
    state: State,
    /// What there is to do, or why nobody can say.
    planned: Result<Planned, Problem>,
    commit: Option<String>,
    outcome: Outcome,
    applied: Option<Applied>,
    /// Whether it was not seen how it stands since something was applied.
    is_unseen: bool,
}

impl Watched {
    pub(super) fn new(name: EnvironmentName) -> Self {
        Self { name, lease: None, settings: WatchSettings::default(), verified: None, loading: Mutex::default() }
    }

    /// Gives the lease back.
    pub(super) async fn leave(self) {
        if let Some(lease) = self.lease {
            lease.release().await;
        }
    }

    pub(super) fn is_acting(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !*lease.lost().borrow())
    }

    /// One pass, and how it ended.
    pub(super) async fn pass(mut self, shared: Arc<Shared>) -> (Self, Came) {
        let came = self.one(&shared).await;
        (self, came)
    }

    async fn one(&mut self, shared: &Shared) -> Came {
        let (address, read) = self.read(shared).await;
        let prepared = tokio::select! {
            prepared = self.prepare(shared, address, read.as_ref().ok()) => prepared,
            () = shared.stopped() => return Came::Stopped,
        };
        let Prepared { client, state, unleased, expiring } = match prepared {
            Ok(prepared) => prepared,
            Err(problem) => {
                // The address is in the files that were not read.
                let unread = read.err().filter(|unread| unread.code == Code::DeadlineExceeded);
                let unread = unread.filter(|_| problem.code == Code::AddressMissing);
                return self.unreachable(shared, unread.unwrap_or(problem));
            }
        };
        let found = self.work(shared, &client, state, read).await;
        if matches!(found.outcome, Outcome::Stopped) {
            return Came::Stopped;
        }
        self.report(shared, &found, expiring.as_deref());
        self.settle(shared, found, expiring, unleased)
    }

    /// Looks at the service, and takes the lease.
    async fn prepare(
        &mut self,
        shared: &Shared,
        address: Option<String>,
        read: Option<&Read>,
    ) -> Result<Prepared, Problem> {
        let (client, state) = self.look(shared, address).await?;
        let unleased = self.take_lease(shared, &client).await.err();
        shared.reports.hold(&self.name, &self.settings.notify, &[Kind::EnvironmentUnreachable], Vec::new());
        let expiring = match read {
            Some(read) => self.expiring(shared, &client, &state, read).await,
            None => None,
        };
        Ok(Prepared { client, state, unleased, expiring })
    }

    /// Reads the files as they lie there. Where they break the rules, the service can be found all the same.
    async fn read(&mut self, shared: &Shared) -> (Option<String>, Result<Read, Problem>) {
        let (address, read) = self.load_present(shared).await;
        if let Ok(read) = &read {
            self.settings = read.desired.watch.clone();
        }
        (address, read)
    }

    /// Loads the files as they lie there, again where they were replaced meanwhile. Returns the address of the service, as
    /// far as they have it, and what they amount to.
    async fn load_present(&self, shared: &Shared) -> (Option<String>, Result<Read, Problem>) {
        for _ in 0..PLANS {
            let snapshot = match shared.snapshot().await {
                Ok(snapshot) => snapshot,
                Err(problem) => return (None, Err(problem)),
            };
            let Loaded { address, desired } = match self.load(shared, &snapshot).await {
                Ok(loaded) => loaded,
                Err(problem) => return (None, Err(problem)),
            };
            if shared.snapshot().await.is_ok_and(|present| present.revision == snapshot.revision) {
                let read = desired.map(|desired| Read { snapshot, desired }).map_err(|report| broken(&report));
                return (address, read);
            }
        }
        let message = format!("the files of `{}` were replaced {PLANS} times while they were read", self.name);
        (None, Err(Problem::new(Code::DeadlineExceeded, message).remedy("The next pass reads them again.")))
    }

    /// Loads the files, within the time that they may take. Other environments, and the files themselves, go on meanwhile.
    /// Loading that takes longer goes on by itself; its result is dropped, and it is not begun again before it has ended.
    async fn load(&self, shared: &Shared, snapshot: &Arc<Snapshot>) -> Result<Loaded, Problem> {
        let limit = shared.options.loading;
        let slow = || {
            Problem::new(Code::DeadlineExceeded, format!("the files of `{}` were not read within {limit:?}", self.name))
                .remedy(format!("Look for what takes so long: `mailwright validate {}`.", self.name))
        };
        if self.loading().as_ref().is_some_and(|task| !task.is_finished()) {
            return Err(slow());
        }
        let place = tokio::time::timeout(limit, Arc::clone(&shared.loads).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let message =
                format!("the files of `{}` were not read: those of other environments take too long", self.name);
            return Err(Problem::new(Code::DeadlineExceeded, message).remedy("Look at the disk that has the files."));
        };
        let (repository, name) = (Arc::clone(&snapshot.repository), self.name.clone());
        let mut task = tokio::task::spawn_blocking(move || {
            let _place = place;
            load_apart(&repository, &name)
        });
        let Ok(loaded) = tokio::time::timeout(limit, &mut task).await else {
            *self.loading() = Some(task);
            return Err(slow());
        };
        loaded.map_err(|_| Problem::new(Code::Internal, "a task of the watch broke off"))
    }

    fn loading(&self) -> MutexGuard<'_, Option<Loading>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, shared: &Shared, address: Option<String>) -> Result<(Client, State), Problem> {
        let work = async {
            let (connect, name) = (Arc::clone(&shared.options.connect), self.name.clone());
            let client = blocking(move || connect(&name, address.as_deref(), Purpose::Deploy)).await??;
            let state = self.state(&client).await?;
            Ok((client, state))
        };
        let slow =
            |_| Err(Problem::new(Code::ServiceUnreachable, format!("the service did not answer within {LOOK:?}")));
        tokio::time::timeout(LOOK, work).await.unwrap_or_else(slow)
    }

    async fn state(&self, client: &Client) -> Result<State, Problem> {
        let state = client.state().await?;
        if state.environment == self.name {
            return Ok(state);
        }
        let message = format!("the service at {} belongs to environment `{}`", client.address(), state.environment);
        Err(Problem::new(Code::WrongEnvironment, message)
            .remedy("Correct the address in its environment.yaml. A service serves one environment."))
    }

    /// Says that the service cannot be looked at.
    fn unreachable(&self, shared: &Shared, problem: Problem) -> Came {
        tracing::warn!(
            environment = %self.name, code = problem.code.id(), problem = problem.message, remedy = problem.remedy,
            "cannot be looked at"
        );
        // Whoever stood by still does: another one tells it.
        if self.lease.is_some() || shared.standing(&self.name).role != Role::Standby {
            let kind = Kind::EnvironmentUnreachable;
            let condition = Condition::of(kind, "service", problem.code.id(), &problem);
            shared.reports.hold(&self.name, &self.settings.notify, &[kind], vec![condition]);
        }
        shared.set(|status| {
            if let Some(standing) = status.environments.get_mut(&self.name) {
                standing.problem = Some(problem);
                standing.errors += 1;
            }
        });
        Came::Failed
    }

    /// Takes the lease where nobody has it. That another one has it is no failure.
    async fn take_lease(&mut self, shared: &Shared, client: &Client) -> Result<(), Problem> {
        if self.is_acting() {
            return Ok(());
        }
        if self.lease.take().is_some() {
            tracing::warn!(environment = %self.name, "the lease was lost; this watch acts no more");
        }
        let (connect, name) = (Arc::clone(&shared.options.connect), self.name.clone());
        let address = client.address().to_owned();
        let own = blocking(move || connect(&name, Some(&address), Purpose::Deploy)).await??;
        match Lease::take(own, LEASE, shared.options.holder.clone(), shared.options.lasting).await {
            Ok(lease) => {
                tracing::info!(environment = %self.name, "this watch acts");
                self.lease = Some(lease);
                Ok(())
            }
            Err(problem) if problem.code == Code::LeaseHeld => {
                if shared.standing(&self.name).role != Role::Standby {
                    tracing::info!(environment = %self.name, reason = problem.message, "another watch acts");
                }
                Ok(())
            }
            Err(problem) => Err(problem),
        }
    }

    /// Plans, and applies where this watch acts and may.
    async fn work(&self, shared: &Shared, client: &Client, state: State, read: Result<Read, Problem>) -> Found {
        let (mut state, mut read, mut applied) = (state, read, None);
        let mut plans = 0;
        loop {
            let (planned, commit) = match &read {
                Ok(read) => (plan(read, &state, client, &[]), read.snapshot.source.commit.clone()),
                Err(problem) => (Err(problem.clone()), None),
            };
            let mut outcome = match (&read, &planned) {
                (Ok(read), Ok(planned)) if self.is_acting() && applied.is_none() => {
                    self.act(shared, client, read, &state, planned).await
                }
                _ => Outcome::Nothing,
            };
            plans += 1;
            let is_outdated = matches!(&outcome, Outcome::Failed(problem)
                if matches!(problem.code, Code::StaleGeneration | Code::PlanOutdated));
            let mut is_unseen = false;
            if let Outcome::Applied(done) = outcome {
                applied = Some(done);
                outcome = Outcome::Nothing;
                is_unseen = true;
            } else if !is_outdated || plans >= PLANS {
                return Found { state, planned, commit, outcome, applied, is_unseen };
            }
            // How it stands now is told, and not how it stood before.
            let again = tokio::select! {
                again = tokio::time::timeout(LOOK, self.state(client)) => again.ok().and_then(Result::ok),
                () = shared.stopped() => None,
            };
            let Some(again) = again else { return Found { state, planned, commit, outcome, applied, is_unseen } };
            state = again;
            if applied.is_none() {
                read = self.load_present(shared).await.1;
            }
        }
    }

    /// Tells what is new, if this watch is the one that does.
    fn report(&self, shared: &Shared, found: &Found, expiring: Option<&[Expiring]>) {
        let notify = &self.settings.notify;
        if let Some(applied) = &found.applied {
            shared.reports.once(&self.name, notify, Kind::ApplyDone, &applied.words());
        }
        let failure = found.planned.as_ref().err().or(match &found.outcome {
            Outcome::Failed(problem) => Some(problem),
            _ => None,
        });
        if let Some(problem) = failure {
            tracing::warn!(
                environment = %self.name, code = problem.code.id(), problem = problem.message, remedy = problem.remedy,
                "not applied"
            );
        }
        if !self.is_acting() || found.is_unseen {
            return;
        }
        let mut conditions = Vec::new();
        let drift = crate::changes::drift::drift(&found.state);
        if !drift.is_empty() {
            let digest = Digest::of_document(&drift).to_string();
            let remedy = format!(
                "`mailwright drift {0}` shows it. Write it into the files to keep it; `mailwright apply {0}` undoes it.",
                self.name
            );
            conditions.push(Condition::new(Kind::DriftFound, "drift", &digest, &drift_words(&drift), &remedy));
        }
        for credential in expiring.unwrap_or_default() {
            let key = format!("credential:{}:{}:{}", credential.profile, credential.secret, credential.ends);
            let remedy = format!("Get a new one, and: mailwright secrets rotate {} {}", self.name, credential.secret);
            conditions.push(Condition::new(Kind::CredentialExpiring, &key, "", &credential.words(), &remedy));
        }
        // The same plan that is refused for the same reason is told once, however the words differ.
        let of_plan = |problem: &Problem| match &found.planned {
            Ok(planned) => {
                format!(
                    "{} {}",
                    problem.code.id(),
                    Digest::of_document(&(&planned.plan.changes, &planned.plan.settings))
                )
            }
            Err(_) => format!("{} {}", problem.code.id(), problem.message),
        };
        match (&found.outcome, failure) {
            (_, Some(problem)) => {
                conditions.push(Condition::of(Kind::ApplyRefused, "apply", &of_plan(problem), problem));
            }
            (Outcome::Waits(problem), None) => {
                conditions.push(Condition::of(Kind::ApplyWaiting, "waiting", &of_plan(problem), problem));
            }
            _ => {}
        }
        let mut kinds = vec![Kind::DriftFound, Kind::ApplyRefused, Kind::ApplyWaiting];
        // What nobody could ask for has not ended.
        if expiring.is_some() {
            kinds.push(Kind::CredentialExpiring);
        }
        shared.reports.hold(&self.name, notify, &kinds, conditions);
    }

    /// Says how it stands.
    fn settle(
        &self,
        shared: &Shared,
        found: Found,
        expiring: Option<Vec<Expiring>>,
        unleased: Option<Problem>,
    ) -> Came {
        let now = shared.options.clock.now();
        let role = match (&unleased, self.is_acting()) {
            (Some(_), _) => Role::Unknown,
            (None, true) => Role::Acting,
            (None, false) => Role::Standby,
        };
        if let Some(problem) = &unleased {
            tracing::warn!(
                environment = %self.name, code = problem.code.id(), problem = problem.message, remedy = problem.remedy,
                "the lease cannot be taken, so nothing is applied or told here"
            );
        }
        let Found { state, planned, commit, outcome, applied, is_unseen } = found;
        let (refused, waiting) = match outcome {
            Outcome::Failed(problem) => (Some(problem), None),
            Outcome::Waits(problem) => (None, Some(problem)),
            _ => (None, None),
        };
        let problem = planned.as_ref().err().cloned().or(unleased);
        let came = if problem.is_some() || refused.is_some() { Came::Failed } else { Came::Well };
        shared.set(|status| {
            let Some(standing) = status.environments.get_mut(&self.name) else { return };
            standing.role = role;
            let drift = crate::changes::drift::drift(&state);
            standing.drift = if is_unseen { Vec::new() } else { drift.iter().map(name_of).collect() };
            standing.expiring = expiring.unwrap_or_else(|| std::mem::take(&mut standing.expiring));
            standing.generation = state.generation;
            if let Ok(Planned { plan, .. }) = &planned {
                standing.commit = commit;
                standing.planned_at = Some(now);
                let settings = usize::from(plan.settings.as_ref().is_some_and(|settings| !settings.fields.is_empty()));
                let changes = plan.changes.iter().filter(|change| !change.is_note()).count() + settings;
                standing.changes = if is_unseen { 0 } else { changes };
                standing.summary = plan.summary_line();
            }
            standing.errors += u64::from(came == Came::Failed);
            standing.problem = problem;
            standing.refused = refused;
            standing.waiting = waiting;
            if let Some(applied) = applied {
                standing.applies += 1;
                standing.applied_at = Some(now);
                standing.applied = Some(applied.words());
            }
        });
        came
    }
}

/// Loads an environment with threads of its own: a file that cannot be read to its end keeps them, and not those that other
/// environments are loaded and planned with.
fn load_apart(repository: &Repository, name: &EnvironmentName) -> Loaded {
    let work = || Loaded { address: repository.service_address(name), desired: repository.load(name) };
    match rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

/// What brings the service to what the files say; with names, only these profiles.
pub(super) fn plan(read: &Read, state: &State, client: &Client, only: &[ProfileName]) -> Result<Planned, Problem> {
    let request = PlanRequest {
        source: read.snapshot.source.clone(),
        only,
        ..PlanRequest::new(&read.desired, state, client.address())
    };
    reconcile::plan(&request).map_err(|error| Problem::new(error.code(), error.to_string()).remedy(error.remedy()))
}

fn name_of(drift: &Drift) -> String {
    drift.name.as_ref().map_or("the environment's settings".to_owned(), ToString::to_string)
}

/// What was changed outside Git, and by whom.
fn drift_words(drift: &[Drift]) -> String {
    let one = |drift: &Drift| {
        let what = drift.name.as_ref().map_or("the environment's settings".to_owned(), |name| format!("`{name}`"));
        let how = match drift.kind {
            DriftKind::Changed => "changed",
            DriftKind::Removed => "removed",
            DriftKind::Restored => "brought back",
        };
        let by = drift.by.as_ref().map(|by| format!(" by `{}` (generation {})", by.by, by.generation));
        format!("{what} was {how} outside Git{}", by.unwrap_or_default())
    };
    let mut words: Vec<String> = drift.iter().take(NAMED).map(one).collect();
    if drift.len() > NAMED {
        words.push(format!("and {} more", drift.len() - NAMED));
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

    use std::sync::Condvar;

    use tokio::sync::watch;

    use super::*;
    use crate::{
        config::Selection,
        model::Provenance,
        rollout::lock::Lasting,
        time::Clock,
        vfs::{BlobError, Blobs, Kind as Entry, Tree},
        watch::{Options, Reporting, checkout::Files},
    };

    /// Contents by their id; those of `slow` come when they are let go.
    #[derive(Default)]
    struct Disk {
        /// Whether they are asked for, and whether they may come.
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

    impl Blobs for Held {
        fn blob(&self, id: &str, _limit: u64) -> Result<Arc<[u8]>, BlobError> {
            if id == "slow" {
                self.0.set(|(asked, _)| *asked = true);
                drop(self.0.changed.wait_while(self.0.state.lock().unwrap(), |(_, free)| !*free).unwrap());
            }
            Ok(Arc::from(b"companies: [EDU1]\nunserved: [{ reason: a test }]\n".as_slice()))
        }
    }

    fn snapshot(disk: &Arc<Disk>, revision: u64) -> Arc<Snapshot> {
        let entry = |name: &str| (format!("environments/{name}/environment.yaml"), Entry::File, name.to_owned());
        let tree = Tree::new(["slow", "quick"].map(entry), Arc::new(Held(Arc::clone(disk))));
        let repository = Repository::open_tree(std::path::Path::new("."), tree).map_err(|_| "broken").unwrap();
        Arc::new(Snapshot {
            repository: Arc::new(repository),
            source: Provenance::default(),
            source_refusal: None,
            revision,
        })
    }

    fn shared(folder: &std::path::Path, loading: Duration) -> Arc<Shared> {
        let options = Options {
            selection: Selection::default(),
            data: folder.to_owned(),
            every: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            parallel: 1,
            loading,
            lasting: Lasting::default(),
            holder: "test".to_owned(),
            connect: Arc::new(|_, _, _| Err(Problem::new(Code::Internal, "no service"))),
            clock: Clock::system(),
            reporting: Reporting { authorities: None, remind: Duration::from_secs(1), tries: 1 },
            stop: watch::channel(false).1,
        };
        super::super::Watch::new(options, Files::folder(folder.to_owned())).unwrap().shared()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn files_that_take_too_long_are_given_up_and_not_read_twice() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<Disk>::default());
        let shared = shared(folder.path(), Duration::from_millis(300));
        *shared.files.write().await = Some(Ok(snapshot(&disk, 1)));
        let slow = Watched::new("slow".parse().unwrap());
        for _ in 0..3 {
            let problem = slow.load_present(&shared).await.1.err().unwrap();
            assert_eq!(problem.code, Code::DeadlineExceeded, "{}", problem.message);
        }
        assert_eq!(shared.loads.available_permits() + 1, super::super::LOADS, "one thread reads it");
        disk.set(|(_, free)| *free = true);
        let until = Instant::now() + Duration::from_secs(60);
        while slow.load_present(&shared).await.1.is_err_and(|problem| problem.code == Code::DeadlineExceeded) {
            assert!(Instant::now() < until, "it is never read again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn others_are_read_and_files_replaced_while_one_environment_is_loaded() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<Disk>::default());
        let shared = shared(folder.path(), Duration::from_secs(120));
        *shared.files.write().await = Some(Ok(snapshot(&disk, 1)));
        let (slow, own) = (Watched::new("slow".parse().unwrap()), Arc::clone(&shared));
        let loading = tokio::spawn(async move { slow.load_present(&own).await.1.map(|read| read.snapshot.revision) });
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, disk.is_asked()).await.unwrap();
        let quick = Watched::new("quick".parse().unwrap());
        let read = tokio::time::timeout(limit, quick.load_present(&shared)).await.unwrap();
        assert!(read.1.is_ok_and(|read| read.snapshot.revision == 1));
        *tokio::time::timeout(limit, shared.files.write()).await.unwrap() = Some(Ok(snapshot(&disk, 2)));
        let read = tokio::time::timeout(limit, quick.load_present(&shared)).await.unwrap();
        assert!(read.1.is_ok_and(|read| read.snapshot.revision == 2));
        assert!(!loading.is_finished());
        // What was read of files that were replaced meanwhile is read again.
        disk.set(|(_, free)| *free = true);
        assert_eq!(tokio::time::timeout(limit, loading).await.unwrap().unwrap().ok(), Some(2));
    }
}
