//! What is told: each thing once when it begins, once when it ends, and now and then in between. What was told, and what
//! is still to be told, is in a file that is durable before anything is sent, so a crash loses nothing; a receiver may
//! hear one report twice, and knows it by its id.
//!
//! Reports of one environment to one receiver go in order: one that is not taken holds up those behind it, and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Reporting;
use crate::{
    model::{
        Code, EnvironmentName,
        watch_settings::{Notify, NotifyMail},
    },
    net::{http_client::HttpClient, tls::Trust},
    rollout::{Problem, journal::write_beside},
    time::Clock,
};

/// How many reports of one environment may wait for one receiver.
const WAITING: usize = 50;
/// The first wait after a failure; doubled each time.
const FIRST_WAIT: i64 = 1;
/// And at most.
const LONGEST_WAIT: i64 = 1800;
/// The largest memory that is read.
const LARGEST: u64 = 64 * 1024 * 1024;
/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something was changed outside Git.
    DriftFound,
    /// It is no more.
    DriftGone,
    /// A change was applied.
    ApplyDone,
    /// A change was not applied, and is tried again.
    ApplyRefused,
    /// A change waits for a person.
    ApplyWaiting,
    /// A credential ends soon.
    CredentialExpiring,
    /// The service does not answer.
    EnvironmentUnreachable,
    /// It does again.
    EnvironmentBack,
}

impl Kind {
    /// Its name, as a webhook gets it.
    pub fn id(self) -> &'static str {
        match self {
            Self::DriftFound => "drift-found",
            Self::DriftGone => "drift-gone",
            Self::ApplyDone => "apply-done",
            Self::ApplyRefused => "apply-refused",
            Self::ApplyWaiting => "apply-waiting",
            Self::CredentialExpiring => "credential-expiring",
            Self::EnvironmentUnreachable => "environment-unreachable",
            Self::EnvironmentBack => "environment-back",
        }
    }

    /// What a mail's subject says.
    pub fn words(self) -> &'static str {
        match self {
            Self::DriftFound => "changed outside Git",
            Self::DriftGone => "nothing is changed outside Git any more",
            Self::ApplyDone => "applied",
            Self::ApplyRefused => "not applied",
            Self::ApplyWaiting => "a change waits for somebody",
            Self::CredentialExpiring => "a credential ends soon",
            Self::EnvironmentUnreachable => "the service cannot be reached",
            Self::EnvironmentBack => "the service answers again",
        }
    }
}

/// Something that lasts for a time.
pub(super) struct Condition {
    kind: Kind,
    /// What it is of; one that is told with another digest is another one.
    key: String,
    digest: String,
    said: Said,
}

/// What is said of something.
#[derive(Clone, Debug, Default)]
struct Said {
    message: String,
    code: Option<Code>,
    remedy: String,
}

impl Condition {
    pub(super) fn new(kind: Kind, key: &str, digest: &str, message: &str, remedy: &str) -> Self {
        let said = Said { message: message.to_owned(), code: None, remedy: remedy.to_owned() };
        Self { kind, key: key.to_owned(), digest: digest.to_owned(), said }
    }

    pub(super) fn of(kind: Kind, key: &str, digest: &str, problem: &Problem) -> Self {
        let said = Said { message: problem.message.clone(), code: Some(problem.code), remedy: problem.remedy.clone() };
        Self { kind, key: key.to_owned(), digest: digest.to_owned(), said }
    }
}

/// A report, as a webhook gets it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its id; a second one with the same id is the same.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// The environment.
    pub environment: EnvironmentName,
    /// What.
    pub event: Kind,
    /// In words.
    pub message: String,
    /// Which problem, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Whether it was told before and still lasts.
    pub reminder: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    kind: Kind,
    digest: String,
    /// None where an earlier version wrote it.
    #[serde(default)]
    since: Option<Timestamp>,
    told: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Receiver {
    Webhook(String),
    Mail(NotifyMail),
}

/// One environment's reports to one receiver.
pub(super) type Lane = (Receiver, EnvironmentName);

/// A report that waits for its receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) report: Report,
    pub(super) receiver: Receiver,
    tries: u32,
    next: Timestamp,
}

impl Waiting {
    fn is_of(&self, lane: &Lane) -> bool {
        self.receiver == lane.0 && self.report.environment == lane.1
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    known: BTreeMap<EnvironmentName, BTreeMap<String, Known>>,
    waiting: Vec<Waiting>,
}

/// What was told and what is to be told.
pub struct Reports {
    path: PathBuf,
    clock: Clock,
    memory: Mutex<Memory>,
    options: Reporting,
    given_up: AtomicU64,
    pub(super) http: HttpClient,
}

impl Reports {
    pub(super) fn open(data: &Path, clock: Clock, options: Reporting) -> Result<Self, Problem> {
        let path = data.join("told.json");
        let failed = |why: String| Problem::new(Code::WatchUnwritable, format!("`{}`: {why}", path.display()));
        let memory = match std::fs::metadata(&path) {
            Err(_) => Memory::default(),
            Ok(about) if about.len() > LARGEST => return Err(failed("too large".to_owned())),
            Ok(_) => {
                let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
                serde_json::from_str(&text).map_err(|error| {
                    failed(format!("not what this program wrote: {error}"))
                        .remedy("Remove it; what lasts is told once more.")
                })?
            }
        };
        let http = http(options.authorities.as_deref())?;
        Ok(Self { path, clock, memory: Mutex::new(memory), options, given_up: AtomicU64::new(0), http })
    }

    /// Of these kinds just these conditions hold now: tells what is new, what is over, and what lasts long.
    pub(super) fn hold(&self, name: &EnvironmentName, notify: &Notify, kinds: &[Kind], holds: Vec<Condition>) {
        let now = self.clock.now();
        let remind = i64::try_from(self.options.remind.as_secs()).unwrap_or(i64::MAX).max(1);
        self.change(|memory| {
            let known = memory.known.entry(name.clone()).or_default();
            let mut told: Vec<(Kind, Said, bool)> = Vec::new();
            let is_over = |key: &String, known: &Known| {
                kinds.contains(&known.kind) && !holds.iter().any(|held| held.key == *key && held.kind == known.kind)
            };
            let over: Vec<(String, Known)> = known
                .iter()
                .filter(|(key, known)| is_over(key, known))
                .map(|(key, known)| (key.clone(), known.clone()))
                .collect();
            for (key, over) in &over {
                known.remove(key);
                told.extend(
                    said_at_the_end(over).map(|(kind, message)| (kind, Said { message, ..Said::default() }, false)),
                );
            }
            for Condition { kind, key, digest, said } in holds {
                let before = known.get(&key);
                let is_new = before.is_none_or(|before| before.digest != digest);
                if is_new || before.is_some_and(|before| now.as_second() - before.told.as_second() >= remind) {
                    told.push((kind, said, !is_new));
                    let since = before.filter(|_| !is_new).map_or(Some(now), |before| before.since);
                    known.insert(key, Known { kind, digest, since, told: now });
                }
            }
            let changed = !told.is_empty() || !over.is_empty();
            for (kind, said, reminder) in told {
                self.put(memory, name, notify, kind, &said, reminder);
            }
            changed
        });
    }

    /// Tells something that happened.
    pub(super) fn once(&self, name: &EnvironmentName, notify: &Notify, kind: Kind, message: &str) {
        self.change(|memory| {
            self.put(memory, name, notify, kind, &Said { message: message.to_owned(), ..Said::default() }, false);
            true
        });
    }

    /// Forgets what lasted in environments that are no more.
    pub(super) fn keep_only(&self, names: &BTreeSet<EnvironmentName>) {
        self.change(|memory| {
            let before = memory.known.len();
            memory.known.retain(|name, _| names.contains(name));
            memory.known.len() < before
        });
    }

    fn put(
        &self,
        memory: &mut Memory,
        name: &EnvironmentName,
        notify: &Notify,
        kind: Kind,
        said: &Said,
        reminder: bool,
    ) {
        let now = self.clock.now();
        let webhooks = notify.webhooks.iter().map(|webhook| Receiver::Webhook(webhook.url.clone()));
        tracing::info!(environment = %name, event = kind.id(), reminder, "{}", said.message);
        if kind == Kind::EnvironmentBack {
            // By mail through the service that was away, nobody need hear of it any more.
            memory.waiting.retain(|waiting| {
                let is_late = waiting.report.event == Kind::EnvironmentUnreachable
                    && waiting.report.environment == *name
                    && matches!(waiting.receiver, Receiver::Mail(_));
                !is_late
            });
        }
        for receiver in webhooks.chain(notify.mail.clone().map(Receiver::Mail)) {
            // An id each, so that each receiver's is done with by itself.
            let report = Report {
                id: Uuid::now_v7(),
                at: now,
                environment: name.clone(),
                event: kind,
                message: said.message.chars().take(2000).collect(),
                code: said.code,
                remedy: said.remedy.clone(),
                reminder,
            };
            let lane = (receiver, name.clone());
            let of_lane = |waiting: &&Waiting| waiting.is_of(&lane);
            if memory.waiting.iter().filter(of_lane).count() >= WAITING
                && let Some(oldest) = memory.waiting.iter().position(|waiting| waiting.is_of(&lane))
            {
                let oldest = memory.waiting.remove(oldest);
                self.give_up(&oldest, "too many wait behind it");
            }
            memory.waiting.push(Waiting { report, receiver: lane.0, tries: 0, next: now });
        }
    }

    fn give_up(&self, waiting: &Waiting, why: &str) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        let report = &waiting.report;
        tracing::error!(
            environment = %report.environment, event = report.event.id(), id = %report.id, tries = waiting.tries, why,
            "a report is given up: {}", report.message
        );
    }

    fn change(&self, change: impl FnOnce(&mut Memory) -> bool) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut memory) {
            let text = serde_json::to_string(&*memory).unwrap_or_default();
            if let Err(error) = write_beside(&self.path, &text) {
                tracing::error!(%error, "what was told cannot be kept; it may be told twice");
            }
        }
    }

    /// How many wait, and how many were given up.
    pub(super) fn counts(&self) -> (usize, u64) {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        (memory.waiting.len(), self.given_up.load(Ordering::Relaxed))
    }

    /// The lanes in which something is due.
    pub(super) fn due(&self) -> BTreeSet<Lane> {
        let now = self.clock.now();
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heads = BTreeMap::new();
        for waiting in &memory.waiting {
            let lane = (waiting.receiver.clone(), waiting.report.environment.clone());
            heads.entry(lane).or_insert(waiting.next);
        }
        heads.into_iter().filter(|(_, next)| *next <= now).map(|(lane, _)| lane).collect()
    }

    /// The first of a lane, if it is due.
    pub(super) fn first(&self, lane: &Lane) -> Option<Waiting> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let first = memory.waiting.iter().find(|waiting| waiting.is_of(lane))?;
        (first.next <= self.clock.now()).then(|| first.clone())
    }

    /// Notes what came of sending one; whether it was taken.
    pub(super) fn settle(&self, sent: &Waiting, result: Result<(), String>) -> bool {
        let id = sent.report.id;
        let Err(why) = result else {
            self.change(|memory| {
                memory.waiting.retain(|waiting| waiting.report.id != id);
                true
            });
            return true;
        };
        let now = self.clock.now();
        let wait = (FIRST_WAIT << sent.tries.min(20)).min(LONGEST_WAIT);
        self.change(|memory| {
            let Some(at) = memory.waiting.iter().position(|waiting| waiting.report.id == id) else { return false };
            if let Some(waiting) = memory.waiting.get_mut(at) {
                waiting.tries += 1;
                waiting.next = now.checked_add(SignedDuration::from_secs(wait)).unwrap_or(now);
            }
            if sent.tries + 1 >= self.options.tries {
                let given_up = memory.waiting.remove(at);
                self.give_up(&given_up, &why);
            } else {
                tracing::warn!(
                    environment = %sent.report.environment, event = sent.report.event.id(), why,
                    tries = sent.tries + 1, again_in = wait, "a report was not taken"
                );
            }
            true
        });
        false
    }
}

/// What is told when something is over, if anything is.
fn said_at_the_end(over: &Known) -> Option<(Kind, String)> {
    match over.kind {
        Kind::DriftFound => Some((Kind::DriftGone, "nothing is changed outside Git any more".to_owned())),
        Kind::EnvironmentUnreachable => {
            let since = over.since.unwrap_or(over.told).strftime("%Y-%m-%d %H:%M UTC");
            Some((Kind::EnvironmentBack, format!("the service answers again; it was away since {since}")))
        }
        _ => None,
    }
}

/// The client that posts to webhooks.
fn http(authorities: Option<&[u8]>) -> Result<HttpClient, Problem> {
    let tls = Trust::new(authorities).and_then(|trust| trust.client_config()).map_err(|why| {
        Problem::new(Code::Unreadable, format!("cannot call webhooks: {why}"))
            .remedy("Give `--outgoing-ca-file` a PEM file with certificates.")
    })?;
    Ok(HttpClient::new(move |builder| builder.timeout(PATIENCE).tls_backend_preconfigured(tls.clone())))
}
