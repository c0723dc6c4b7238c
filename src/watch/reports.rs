//! Reports to webhooks and mailboxes. A condition is reported when it begins and at intervals while it lasts; the end of drift and
//! of an outage is reported too. A receiver that is added while it lasts gets its report, too: what was reported is recorded for
//! each receiver.
//!
//! [`Reports`] keeps the conditions that were reported and the reports that are queued in a file. The file is durable before a
//! report is sent, so a crash loses no report; a receiver may get a report twice, and recognises it by its id. If the file cannot
//! be written, that is logged and reports are sent nevertheless. A report is given up, and logged, after a number of attempts, or
//! as the oldest of a queue with more than 50. A file that cannot be read at the start is a problem.
//!
//! Reports of one environment to one receiver are sent in order: one that is not accepted holds up the later ones, and no others.

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

use super::ReportOptions;
use crate::{
    fs::write_private,
    model::{
        Code, EnvironmentName, Problem,
        watch_settings::{Notify, NotifyMail},
    },
    net::{http_client::HttpClient, tls::Trust},
    time::Clock,
};

/// The largest number of queued reports of one environment to one receiver.
const QUEUE_LIMIT: usize = 50;
/// The first pause after a failed attempt, in seconds; it doubles each time.
const FIRST_PAUSE: i64 = 1;
/// The longest pause after a failed attempt, in seconds.
const LONGEST_PAUSE: i64 = 1800;
/// The largest file that is read, in bytes.
const SIZE_LIMIT: u64 = 64 * 1024 * 1024;
/// The time limit for the answer of a webhook.
const WEBHOOK_LIMIT: Duration = Duration::from_secs(15);

/// The kind of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportKind {
    /// Something was changed outside Git.
    DriftFound,
    /// The change outside Git is gone.
    DriftGone,
    /// A change was applied.
    ApplyDone,
    /// A change was not applied. The next pass tries again.
    ApplyRefused,
    /// A change waits for an operator.
    ApplyWaiting,
    /// A credential expires soon.
    CredentialExpiring,
    /// The service does not answer.
    EnvironmentUnreachable,
    /// The service answers again.
    EnvironmentBack,
}

impl ReportKind {
    /// Returns the name of the kind, as webhooks get it.
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

    /// Returns the subject of a mail.
    pub fn subject(self) -> &'static str {
        match self {
            Self::DriftFound => "changed outside Git",
            Self::DriftGone => "no changes outside Git any more",
            Self::ApplyDone => "applied",
            Self::ApplyRefused => "not applied",
            Self::ApplyWaiting => "a change waits for an operator",
            Self::CredentialExpiring => "a credential expires soon",
            Self::EnvironmentUnreachable => "the service cannot be reached",
            Self::EnvironmentBack => "the service answers again",
        }
    }
}

/// A condition that lasts for a time.
pub(super) struct Condition {
    kind: ReportKind,
    /// The object of the condition. A condition with another digest is reported as a new one.
    key: String,
    digest: String,
    text: ReportText,
}

/// The text of a report.
#[derive(Clone, Debug, Default)]
struct ReportText {
    message: String,
    code: Option<Code>,
    remedy: String,
}

impl Condition {
    pub(super) fn new(kind: ReportKind, key: &str, digest: &str, message: &str, remedy: &str) -> Self {
        let text = ReportText { message: message.to_owned(), code: None, remedy: remedy.to_owned() };
        Self { kind, key: key.to_owned(), digest: digest.to_owned(), text }
    }

    pub(super) fn from_problem(kind: ReportKind, key: &str, digest: &str, problem: &Problem) -> Self {
        let text =
            ReportText { message: problem.message.clone(), code: Some(problem.code), remedy: problem.remedy.clone() };
        Self { kind, key: key.to_owned(), digest: digest.to_owned(), text }
    }
}

/// A report, as a webhook gets it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The id. A report with the same id is the same report.
    pub id: Uuid,
    /// The time.
    pub at: Timestamp,
    /// The environment.
    pub environment: EnvironmentName,
    /// The kind of the report.
    pub event: ReportKind,
    /// The message.
    pub message: String,
    /// The code, if the report is about a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The remedy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// True if the condition was reported before and still lasts.
    pub reminder: bool,
}

/// A condition that was reported.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ReportedCondition {
    kind: ReportKind,
    digest: String,
    since: Timestamp,
    reported: Timestamp,
    /// The receivers that the report was sent or queued to.
    #[serde(default)]
    receivers: BTreeSet<Receiver>,
}

/// A receiver of reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Receiver {
    Webhook(String),
    Mail(NotifyMail),
}

/// The queue of one environment's reports to one receiver.
pub(super) type DeliveryLane = (Receiver, EnvironmentName);

/// A report that is queued for its receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct QueuedReport {
    pub(super) report: Report,
    pub(super) receiver: Receiver,
    tries: u32,
    next: Timestamp,
}

impl QueuedReport {
    fn is_of(&self, lane: &DeliveryLane) -> bool {
        self.receiver == lane.0 && self.report.environment == lane.1
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ReportStore {
    known: BTreeMap<EnvironmentName, BTreeMap<String, ReportedCondition>>,
    waiting: Vec<QueuedReport>,
}

/// The reported conditions and the queued reports.
pub struct Reports {
    path: PathBuf,
    clock: Clock,
    store: Mutex<ReportStore>,
    options: ReportOptions,
    given_up: AtomicU64,
    pub(super) http: HttpClient,
}

impl Reports {
    pub(super) fn open(data: &Path, clock: Clock, options: ReportOptions) -> Result<Self, Problem> {
        let path = data.join("notifications.json");
        let failed =
            |why: String| Problem::new(Code::WatchUnwritable, format!("cannot read `{}`: {why}", path.display()));
        let store = match std::fs::metadata(&path) {
            Err(_) => ReportStore::default(),
            Ok(about) if about.len() > SIZE_LIMIT => return Err(failed("it is too large".to_owned())),
            Ok(_) => {
                let text = crate::fs::read_ordinary(&path, SIZE_LIMIT).map_err(|error| failed(error.to_string()))?;
                serde_json::from_slice(&text).map_err(|error| {
                    failed(format!("it was not written by this program: {error}"))
                        .remedy("Remove the file; conditions that last are reported again.")
                })?
            }
        };
        let http = webhook_client(options.authorities.as_deref())?;
        Ok(Self { path, clock, store: Mutex::new(store), options, given_up: AtomicU64::new(0), http })
    }

    /// Sets the present conditions of some kinds. Reports those that are new, those that have ended, and those that were reported
    /// long ago.
    pub(super) fn set_conditions(
        &self,
        name: &EnvironmentName,
        notify: &Notify,
        kinds: &[ReportKind],
        conditions: Vec<Condition>,
    ) {
        let now = self.clock.now();
        let remind = i64::try_from(self.options.remind.as_secs()).unwrap_or(i64::MAX).max(1);
        let receivers = receivers_of(notify);
        self.change(|store| {
            let known = store.known.entry(name.clone()).or_default();
            let mut reports: Vec<(ReportKind, ReportText, bool)> = Vec::new();
            let mut late_reports: Vec<(ReportKind, ReportText, BTreeSet<Receiver>)> = Vec::new();
            let has_ended = |key: &String, known: &ReportedCondition| {
                kinds.contains(&known.kind)
                    && !conditions.iter().any(|present| present.key == *key && present.kind == known.kind)
            };
            let ended: Vec<(String, ReportedCondition)> = known
                .iter()
                .filter(|(key, known)| has_ended(key, known))
                .map(|(key, known)| (key.clone(), known.clone()))
                .collect();
            for (key, condition) in &ended {
                known.remove(key);
                reports.extend(
                    report_of_end(condition)
                        .map(|(kind, message)| (kind, ReportText { message, ..ReportText::default() }, false)),
                );
            }
            for Condition { kind, key, digest, text } in conditions {
                let before = known.get(&key);
                let is_new = before.is_none_or(|before| before.digest != digest);
                if is_new || before.is_some_and(|before| now.as_second() - before.reported.as_second() >= remind) {
                    reports.push((kind, text, !is_new));
                    let since = before.filter(|_| !is_new).map_or(now, |before| before.since);
                    let receivers = receivers.clone();
                    known.insert(key, ReportedCondition { kind, digest, since, reported: now, receivers });
                } else if let Some(before) = known.get_mut(&key)
                    && before.receivers != receivers
                {
                    late_reports.push((kind, text, receivers.difference(&before.receivers).cloned().collect()));
                    before.receivers.clone_from(&receivers);
                }
            }
            let changed = !reports.is_empty() || !ended.is_empty() || !late_reports.is_empty();
            for (kind, text, reminder) in reports {
                self.enqueue(store, name, &receivers, kind, &text, reminder);
            }
            for (kind, text, new_receivers) in late_reports {
                self.enqueue(store, name, &new_receivers, kind, &text, false);
            }
            changed
        });
    }

    /// Reports an event.
    pub(super) fn report_event(&self, name: &EnvironmentName, notify: &Notify, kind: ReportKind, message: &str) {
        self.change(|store| {
            self.enqueue(
                store,
                name,
                &receivers_of(notify),
                kind,
                &ReportText { message: message.to_owned(), ..ReportText::default() },
                false,
            );
            true
        });
    }

    /// Removes the conditions of environments that do not exist any more.
    pub(super) fn retain_environments(&self, names: &BTreeSet<EnvironmentName>) {
        self.change(|store| {
            let before = store.known.len();
            store.known.retain(|name, _| names.contains(name));
            store.known.len() < before
        });
    }

    fn enqueue(
        &self,
        store: &mut ReportStore,
        name: &EnvironmentName,
        receivers: &BTreeSet<Receiver>,
        kind: ReportKind,
        text: &ReportText,
        reminder: bool,
    ) {
        let now = self.clock.now();
        tracing::info!(environment = %name, event = kind.id(), reminder, receivers = receivers.len(), "{}", text.message);
        if kind == ReportKind::EnvironmentBack {
            // Mail about the outage would go through the service that was away; it is not sent any more.
            store.waiting.retain(|waiting| {
                let is_late = waiting.report.event == ReportKind::EnvironmentUnreachable
                    && waiting.report.environment == *name
                    && matches!(waiting.receiver, Receiver::Mail(_));
                !is_late
            });
        }
        for receiver in receivers.iter().cloned() {
            // Each receiver gets a report with an id of its own, so that each is settled by itself.
            let report = Report {
                id: Uuid::now_v7(),
                at: now,
                environment: name.clone(),
                event: kind,
                message: text.message.chars().take(2000).collect(),
                code: text.code,
                remedy: text.remedy.clone(),
                reminder,
            };
            let lane = (receiver, name.clone());
            let of_lane = |waiting: &&QueuedReport| waiting.is_of(&lane);
            if store.waiting.iter().filter(of_lane).count() >= QUEUE_LIMIT
                && let Some(oldest) = store.waiting.iter().position(|waiting| waiting.is_of(&lane))
            {
                let oldest = store.waiting.remove(oldest);
                self.give_up(&oldest, "the queue is full");
            }
            store.waiting.push(QueuedReport { report, receiver: lane.0, tries: 0, next: now });
        }
    }

    fn give_up(&self, waiting: &QueuedReport, why: &str) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        let report = &waiting.report;
        tracing::error!(
            environment = %report.environment, event = report.event.id(), id = %report.id, tries = waiting.tries, why,
            "report given up: {}", report.message
        );
    }

    /// Changes the store, and writes it if `change` returns true.
    fn change(&self, change: impl FnOnce(&mut ReportStore) -> bool) {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut store) {
            let text = serde_json::to_string(&*store).unwrap_or_default();
            if let Err(error) = write_private(&self.path, text.as_bytes()) {
                tracing::error!(%error, "cannot write the reports; some may be sent twice");
            }
        }
    }

    /// Returns the number of queued reports, and the number that was given up.
    pub(super) fn counts(&self) -> (usize, u64) {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        (store.waiting.len(), self.given_up.load(Ordering::Relaxed))
    }

    /// Returns the queues whose first report is due.
    pub(super) fn due(&self) -> BTreeSet<DeliveryLane> {
        let now = self.clock.now();
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heads = BTreeMap::new();
        for waiting in &store.waiting {
            let lane = (waiting.receiver.clone(), waiting.report.environment.clone());
            heads.entry(lane).or_insert(waiting.next);
        }
        heads.into_iter().filter(|(_, next)| *next <= now).map(|(lane, _)| lane).collect()
    }

    /// Returns the first report of a queue, if it is due.
    pub(super) fn first(&self, lane: &DeliveryLane) -> Option<QueuedReport> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let first = store.waiting.iter().find(|waiting| waiting.is_of(lane))?;
        (first.next <= self.clock.now()).then(|| first.clone())
    }

    /// Records the result of sending a report. Returns true if it was accepted.
    pub(super) fn settle(&self, sent: &QueuedReport, result: Result<(), String>) -> bool {
        let id = sent.report.id;
        let Err(why) = result else {
            self.change(|store| {
                store.waiting.retain(|waiting| waiting.report.id != id);
                true
            });
            return true;
        };
        let now = self.clock.now();
        let wait = (FIRST_PAUSE << sent.tries.min(20)).min(LONGEST_PAUSE);
        self.change(|store| {
            let Some(at) = store.waiting.iter().position(|waiting| waiting.report.id == id) else { return false };
            if let Some(waiting) = store.waiting.get_mut(at) {
                waiting.tries += 1;
                waiting.next = now.checked_add(SignedDuration::from_secs(wait)).unwrap_or(now);
            }
            if sent.tries + 1 >= self.options.tries {
                let given_up = store.waiting.remove(at);
                self.give_up(&given_up, &why);
            } else {
                tracing::warn!(
                    environment = %sent.report.environment, event = sent.report.event.id(), why,
                    tries = sent.tries + 1, again_in = wait, "report not accepted"
                );
            }
            true
        });
        false
    }
}

/// Returns the receivers that an environment names.
fn receivers_of(notify: &Notify) -> BTreeSet<Receiver> {
    let webhooks = notify.webhooks.iter().map(|webhook| Receiver::Webhook(webhook.url.clone()));
    webhooks.chain(notify.mail.clone().map(Receiver::Mail)).collect()
}

/// Returns the report of the end of a condition, for kinds that have one.
fn report_of_end(condition: &ReportedCondition) -> Option<(ReportKind, String)> {
    match condition.kind {
        ReportKind::DriftFound => Some((ReportKind::DriftGone, "there are no changes outside Git any more".to_owned())),
        ReportKind::EnvironmentUnreachable => {
            let since = condition.since.strftime("%Y-%m-%d %H:%M UTC");
            Some((ReportKind::EnvironmentBack, format!("the service answers again; it did not since {since}")))
        }
        _ => None,
    }
}

/// Creates the client that posts to webhooks.
fn webhook_client(authorities: Option<&[u8]>) -> Result<HttpClient, Problem> {
    let tls = Trust::new(authorities).and_then(|trust| trust.client_config()).map_err(|why| {
        Problem::new(Code::Unreadable, format!("cannot call webhooks: {why}"))
            .remedy("Give `--outgoing-ca-file` a PEM file with certificates.")
    })?;
    Ok(HttpClient::new(move |builder| builder.timeout(WEBHOOK_LIMIT).tls_backend_preconfigured(tls.clone())))
}
