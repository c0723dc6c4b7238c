//! What keeps two from working on one rollout: a locked file for this machine, a lease in a service for all others.
//! And how somebody at another terminal says what is wanted of whoever is at it.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Problem, journal::write_beside};
use crate::{
    api::leases::NewLease,
    client::Client,
    model::{Code, RolloutName},
};

/// How many journals of earlier runs are kept.
const KEPT: usize = 10;

/// Where a rollout's journal lies, and what is beside it.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// A rollout's folder that nobody else on this machine works in. The lock goes with the process, however that ends.
pub struct Locked {
    folder: Folder,
    _lock: File,
}

/// What somebody at another terminal wants of whoever is at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// What is wanted.
    pub want: Want,
    /// Who wants it.
    pub by: String,
}

/// What can be wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// Nothing more is begun.
    Pause,
    /// It is given up.
    Abort,
    /// It is given up and undone.
    TakeBack,
    /// The same, and what held nothing before holds nothing again.
    TakeBackToNothing,
}

impl Folder {
    /// The folder of a rollout below `state`.
    pub fn new(state: &Path, name: &RolloutName) -> Self {
        Self { path: state.join("rollouts").join(name.as_str()) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    fn request_file(&self) -> PathBuf {
        self.path.join("request.json")
    }

    /// Takes the lock; it is refused while another process has it.
    pub fn lock(&self) -> Result<Locked, Problem> {
        let failed = |error: std::io::Error| {
            Problem::new(
                Code::JournalUnwritable,
                format!("cannot work in `{}`: {error}; nothing was begun", self.path.display()),
            )
            .remedy("Check the folder's permissions and free space, or give another one with `--state DIR`.")
        };
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        let file = self.path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(file).map_err(failed)?;
        // Somebody who only looks whether it is locked has it for an instant.
        let mut tried = lock.try_lock();
        for _ in 0..4 {
            if !matches!(tried, Err(std::fs::TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(30));
            tried = lock.try_lock();
        }
        match tried {
            Ok(()) => Ok(Locked { folder: self.clone(), _lock: lock }),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
            Err(std::fs::TryLockError::WouldBlock) => Err(Problem::new(
                Code::RolloutRunning,
                format!("another process is at work on this rollout (`{}`)", self.path.display()),
            )
            .remedy("`mailwright rollout status NAME` shows how far it is; `pause` and `abort` ask it to end.")),
        }
    }

    /// Whether some process has the lock.
    pub fn is_locked(&self) -> bool {
        let Ok(lock) = File::open(self.path.join("lock")) else { return false };
        matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
    }

    /// Says what is wanted of whoever has the lock.
    pub fn ask(&self, request: &Request) -> Result<(), Problem> {
        let text = serde_json::to_string(request).unwrap_or_default();
        write_beside(&self.request_file(), &text).map_err(|error| {
            Problem::new(
                Code::JournalUnwritable,
                format!("cannot write what is wanted into `{}`: {error}", self.path.display()),
            )
        })
    }

    /// What is wanted, if anything is.
    pub fn asked(&self) -> Option<Request> {
        let file = File::open(self.request_file()).ok()?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, 4096), &mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Locked {
    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Forgets what was wanted of an earlier process.
    pub fn forget_requests(&self) {
        drop(std::fs::remove_file(self.folder.request_file()));
    }

    /// Puts the journal of an ended run aside, for a new one to begin; a few are kept.
    pub fn put_journal_aside(&self, run: uuid::Uuid) -> Result<(), Problem> {
        let failed = |error: std::io::Error| {
            Problem::new(
                Code::JournalUnwritable,
                format!("cannot put the last run's journal aside in `{}`: {error}", self.folder.path.display()),
            )
        };
        std::fs::rename(self.folder.journal(), self.folder.path.join(format!("journal-{run}.jsonl")))
            .map_err(failed)?;
        let mut old: Vec<PathBuf> = std::fs::read_dir(&self.folder.path)
            .map_err(failed)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-")))
            .collect();
        // The ids of runs are in order of time.
        old.sort();
        for path in old.iter().take(old.len().saturating_sub(KEPT)) {
            drop(std::fs::remove_file(path));
        }
        Ok(())
    }

    /// Who holds leases for this folder: made once, so that whoever goes on after a crash holds what was held.
    pub fn holder(&self, by: &str) -> Result<String, Problem> {
        let path = self.folder.path.join("holder");
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        let known = known.trim();
        let id = if known.len() == 36 && known.parse::<uuid::Uuid>().is_ok() {
            known.to_owned()
        } else {
            let id = uuid::Uuid::now_v7().to_string();
            write_beside(&path, &id).map_err(|error| {
                Problem::new(
                    Code::JournalUnwritable,
                    format!("cannot write `{}`: {error}; nothing was begun", path.display()),
                )
            })?;
            id
        };
        let by: String = by.chars().filter(|c| !c.is_control()).take(150).collect();
        Ok(format!("{by} {id}"))
    }
}

/// A lease that is held and renewed for as long as this lives.
pub struct Lease {
    client: Arc<Client>,
    name: String,
    token: u64,
    held: Held,
    renewing: tokio::task::JoinHandle<()>,
    /// True once it is lost.
    lost: watch::Receiver<bool>,
}

/// Tells whether a lease is surely held at this moment, without asking anybody: by when it was last renewed. A process that
/// was stopped for a while, or a machine that was, knows by that before it does anything.
#[derive(Clone, Debug)]
pub struct Held {
    begun: Instant,
    /// When it was last renewed, in milliseconds since `begun`: before the request was sent, so the service counts
    /// from later on.
    renewed: Arc<AtomicU64>,
    lasts: Duration,
}

impl Held {
    /// Whether it is. Some time is left for what is under way to end before anybody else may begin.
    pub fn now(&self) -> bool {
        self.begun.elapsed().saturating_sub(self.since()) <= self.lasts.mul_f64(0.7)
    }

    fn since(&self) -> Duration {
        Duration::from_millis(self.renewed.load(Ordering::Relaxed))
    }
}

/// How long a lease lasts without being renewed, and how often it is.
#[derive(Clone, Copy, Debug)]
pub struct Lasting {
    /// In seconds.
    pub seconds: u32,
}

impl Default for Lasting {
    fn default() -> Self {
        Self { seconds: 60 }
    }
}

impl Lease {
    /// Takes a lease, or says who has it.
    pub async fn take(client: Client, name: &str, holder: String, lasting: Lasting) -> Result<Self, Problem> {
        let (client, name) = (Arc::new(client), name.to_owned());
        let begun = Instant::now();
        let seconds = lasting.seconds.max(3);
        let wanted = NewLease { holder: holder.clone(), seconds, token: None };
        let taken = tokio::time::timeout(Duration::from_secs(30), client.take_lease(&name, &wanted)).await;
        let lease = match taken {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) if error.code == Code::NotFound => {
                return Err(Problem::new(
                    Code::VersionMismatch,
                    format!("the service at {} knows no leases: it is of an earlier version", client.address()),
                )
                .remedy("Bring that service up to date first, or name another one as `coordinator`."));
            }
            Ok(Err(error)) => return Err(error.condensed()),
            Err(_) => {
                return Err(Problem::new(
                    Code::ServiceUnreachable,
                    format!("the service at {} did not answer within 30 s", client.address()),
                ));
            }
        };
        let (tell, lost) = watch::channel(false);
        let token = lease.token;
        let held = Held { begun, renewed: Arc::default(), lasts: Duration::from_secs(seconds.into()) };
        let renewal = Renewal {
            client: Arc::clone(&client),
            name: name.clone(),
            wanted: NewLease { token: Some(token), ..wanted },
            held: held.clone(),
        };
        let renewing = tokio::spawn(async move {
            renewal.keep().await;
            tell.send_replace(true);
        });
        Ok(Self { client, name, token, held, renewing, lost })
    }

    /// The number of the holding.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether it is held.
    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// Becomes true once it is lost.
    pub fn lost(&self) -> watch::Receiver<bool> {
        self.lost.clone()
    }

    /// Gives it back. If that fails, it lapses.
    pub async fn release(self) {
        self.renewing.abort();
        let given = self.client.release_lease(&self.name, self.token);
        drop(tokio::time::timeout(Duration::from_secs(5), given).await);
    }
}

impl Drop for Lease {
    /// What nobody holds any more lapses.
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

struct Renewal {
    client: Arc<Client>,
    name: String,
    wanted: NewLease,
    held: Held,
}

impl Renewal {
    /// Returns when the lease is lost, or may be.
    async fn keep(&self) {
        let Held { begun, renewed, lasts } = &self.held;
        let pause = *lasts / 4;
        loop {
            tokio::time::sleep(pause).await;
            let asked = Instant::now();
            let left = lasts.saturating_sub(begun.elapsed().saturating_sub(self.held.since()));
            let answer = tokio::time::timeout(left.min(pause), self.client.take_lease(&self.name, &self.wanted)).await;
            match answer {
                // Another number means that it had lapsed: somebody may have come and gone meanwhile.
                Ok(Ok(lease)) if Some(lease.token) == self.wanted.token => {
                    let since = asked.duration_since(*begun).as_millis();
                    renewed.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                Ok(Ok(_)) => return,
                Ok(Err(error)) if error.code == Code::LeaseHeld => return,
                _ => {}
            }
            if !self.held.now() {
                return;
            }
        }
    }
}
