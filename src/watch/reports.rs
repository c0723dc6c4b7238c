//! What is told: each thing once when it begins, once when it ends, and once a day in between. What was told, and what
//! is still to be told, is in a file that is durable before anything is sent, so a crash loses nothing; a receiver may
//! hear one report twice, and knows it by its id.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::blocking;
use crate::{
    api::messages::Submission,
    clock::Clock,
    model::{
        Code, EnvironmentName,
        watch_settings::{Notify, NotifyMail},
    },
    rollout::{Connect, Problem, Purpose, journal::write_beside},
};

/// After so many tries a report is given up.
const TRIES: u32 = 20;
/// How many reports may wait.
const WAITING: usize = 1000;
/// How often what lasts is told, in seconds.
const REMIND: i64 = 86_400;
/// The largest memory that is read.
const LARGEST: u64 = 16 * 1024 * 1024;

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
    /// A change was not applied.
    ApplyRefused,
    /// A credential ends soon.
    CredentialExpiring,
    /// The service does not answer.
    EnvironmentUnreachable,
    /// It does again.
    EnvironmentBack,
}

/// Something that lasts for a time.
pub(super) struct Condition {
    kind: Kind,
    key: String,
    digest: String,
    message: String,
}

impl Condition {
    pub(super) fn new(kind: Kind, key: &str, digest: &str, message: &str) -> Self {
        Self { kind, key: key.to_owned(), digest: digest.to_owned(), message: message.to_owned() }
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
    /// Whether it was told before and still lasts.
    pub reminder: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    kind: Kind,
    digest: String,
    told: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Receiver {
    Webhook(String),
    Mail(NotifyMail),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    report: Report,
    receiver: Receiver,
    tries: u32,
    next: Timestamp,
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
    http: Option<reqwest::Client>,
}

impl Reports {
    pub(super) fn open(data: &Path, clock: Clock) -> Result<Self, Problem> {
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
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(15))
            .user_agent(concat!("mailwright/", env!("CARGO_PKG_VERSION")))
            .build()
            .ok();
        Ok(Self { path, clock, memory: Mutex::new(memory), http })
    }

    /// Of these kinds just these conditions hold now: tells what is new, what is over, and what lasts long.
    pub(super) fn hold(&self, name: &EnvironmentName, notify: &Notify, kinds: &[Kind], holds: Vec<Condition>) {
        let now = self.clock.now();
        self.change(|memory| {
            let known = memory.known.entry(name.clone()).or_default();
            let mut told: Vec<(Kind, String, bool)> = Vec::new();
            let over: Vec<String> = known
                .iter()
                .filter(|(key, known)| kinds.contains(&known.kind) && !holds.iter().any(|held| held.key == **key))
                .map(|(key, _)| key.clone())
                .collect();
            for key in &over {
                match known.remove(key).map(|known| known.kind) {
                    Some(Kind::DriftFound) => {
                        told.push((Kind::DriftGone, "nothing is changed outside Git any more".to_owned(), false));
                    }
                    Some(Kind::EnvironmentUnreachable) => {
                        told.push((Kind::EnvironmentBack, "the service answers again".to_owned(), false));
                    }
                    _ => {}
                }
            }
            for Condition { kind, key, digest, message } in holds {
                let before = known.get(&key);
                let is_new = before.is_none_or(|before| before.digest != digest);
                if is_new || before.is_some_and(|before| now.as_second() - before.told.as_second() >= REMIND) {
                    told.push((kind, message, !is_new));
                    known.insert(key, Known { kind, digest, told: now });
                }
            }
            let changed = !told.is_empty() || !over.is_empty();
            for (kind, message, reminder) in told {
                wait(memory, name, notify, kind, &message, reminder, now);
            }
            changed
        });
    }

    /// Tells something that happened.
    pub(super) fn once(&self, name: &EnvironmentName, notify: &Notify, kind: Kind, message: &str) {
        let now = self.clock.now();
        self.change(|memory| {
            wait(memory, name, notify, kind, message, false, now);
            true
        });
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

    /// Tells what is due.
    pub(super) async fn deliver(&self, connect: &Connect) {
        let now = self.clock.now();
        let due: Vec<Waiting> = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.waiting.iter().filter(|waiting| waiting.next <= now).take(32).cloned().collect()
        };
        let mut tasks = tokio::task::JoinSet::new();
        for one in due {
            let (http, connect) = (self.http.clone(), Arc::clone(connect));
            tasks.spawn(async move {
                let result = send(&one, http, connect).await;
                (one, result)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let Ok((one, result)) = done else { continue };
            let same = |waiting: &Waiting| waiting.report.id == one.report.id;
            self.change(|memory| {
                match result {
                    Ok(()) => memory.waiting.retain(|waiting| !same(waiting)),
                    Err(why) => {
                        tracing::warn!(environment = %one.report.environment, why, tries = one.tries + 1, "a report was not taken");
                        let wait = SECONDS << one.tries.min(11);
                        for waiting in memory.waiting.iter_mut().filter(|waiting| same(waiting)) {
                            waiting.tries += 1;
                            waiting.next = Timestamp::from_second(now.as_second() + wait.min(1800)).unwrap_or(now);
                        }
                        memory.waiting.retain(|waiting| waiting.tries < TRIES);
                    }
                }
                true
            });
        }
    }
}

/// The first wait after a failure.
const SECONDS: i64 = 1;

fn wait(
    memory: &mut Memory,
    name: &EnvironmentName,
    notify: &Notify,
    kind: Kind,
    message: &str,
    reminder: bool,
    now: Timestamp,
) {
    let webhooks = notify.webhooks.iter().map(|webhook| Receiver::Webhook(webhook.url.clone()));
    let receivers = webhooks.chain(notify.mail.clone().map(Receiver::Mail));
    tracing::info!(environment = %name, event = ?kind, reminder, "{message}");
    for receiver in receivers {
        let message = message.chars().take(2000).collect();
        // An id each, so that each receiver's is done with by itself.
        let report = Report { id: Uuid::now_v7(), at: now, environment: name.clone(), event: kind, message, reminder };
        memory.waiting.push(Waiting { report, receiver, tries: 0, next: now });
    }
    let excess = memory.waiting.len().saturating_sub(WAITING);
    memory.waiting.drain(..excess);
}

async fn send(one: &Waiting, http: Option<reqwest::Client>, connect: Connect) -> Result<(), String> {
    let report = &one.report;
    match &one.receiver {
        Receiver::Webhook(url) => {
            let http = http.ok_or("no HTTP client could be made")?;
            let body = serde_json::to_string(report).map_err(|error| error.to_string())?;
            let sent = http.post(url).header("content-type", "application/json").body(body).send().await;
            let answer = sent.map_err(|error| error.without_url().to_string())?;
            if answer.status().is_success() {
                Ok(())
            } else {
                Err(format!("the webhook answered {}", answer.status().as_u16()))
            }
        }
        Receiver::Mail(mail) => {
            let name = report.environment.clone();
            let client = blocking(move || connect(&name, None, Purpose::Probe)).await.and_then(|made| made);
            let client = client.map_err(|problem| problem.message)?;
            let event = serde_json::to_value(report.event).ok();
            let event = event.as_ref().and_then(|event| event.as_str()).unwrap_or_default();
            let mut submission = Submission::new(mail.company.clone(), mail.function);
            submission.to.clone_from(&mail.to);
            submission.subject = format!("[{}] {event}", report.environment);
            submission.text = Some(format!("{}: {}\n\n{}\n", report.environment, report.message, report.at));
            let key = format!("watch-{}-{event}-{}", report.environment, report.id);
            let sent = tokio::time::timeout(Duration::from_secs(30), client.submit(&submission, Some(&key))).await;
            sent.map_err(|_| "no answer".to_owned())?.map(drop).map_err(|error| error.message)
        }
    }
}
