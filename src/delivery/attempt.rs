//! Attempt: sends one claimed message by its current profile, and records the outcome.
//!
//! The workers of the dispatcher call [`AttemptRunner::run`]. It loads the content, builds the outgoing message and sends it with
//! the transport of the profile; `record` decides what the result means. A message is marked in the store before its last byte is
//! sent. If the process then ends, or the answer is lost, the outcome is unknown and the policy of the environment decides: an
//! operator, a retry that is marked as a possible duplicate, or a search in Sent Items.
//!
//! A message that is too old, has no recipient left, cannot be built or has no content in the store fails without an attempt. If
//! the store cannot be read, the message is released and claimed later. An attempt is not repeated here: a message that is to be
//! tried again is settled as queued, and claimed again when it is due.

mod record;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    failure::{Failure, Refusal},
    outcome,
    outgoing::{OutgoingMessage, SendOptions},
    random_unit,
    recorder::Recorder,
    scheduler::lane_of,
    sending_profile::{LARGE_PER_PROFILE, SendingProfile},
    sent_items::{SentItemsResult, search_sent_items},
    suspender::Suspender,
    transport::{RecordBegin, TransportResult, Transports},
};
use crate::{
    mime::Malformed,
    model::{
        Attempt, Message, Provider, Status,
        delivery::{Delivery as DeliverySettings, RecipientGuard, Unknown},
        message::{Class, RecipientStatus},
    },
    store::{
        StoreError,
        outbox::{Begun, Claimed, Settled},
    },
    sync::BlockingPool,
};

/// The time within which a sent message appears in Sent Items.
const SENT_ITEMS_DELAY: Duration = Duration::from_secs(20);
/// The limit for large messages in memory, in KiB.
const LARGE_IN_MEMORY: usize = 96 * 1024;
/// The largest content that is kept in memory without a permit, in bytes.
const SMALL: u64 = 64 * 1024;

/// Memory for a large message: of its profile and of all profiles.
type MemoryPermit = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Runs attempts.
pub(super) struct AttemptRunner {
    recorder: Arc<Recorder>,
    transports: Arc<Transports>,
    suspender: Arc<Suspender>,
    /// Memory for large messages, in KiB.
    large: Arc<Semaphore>,
    /// Threads that prepare large messages.
    pool: BlockingPool,
}

/// The mark that an attempt leaves in the store before the message is handed over.
struct BeginMark<'a> {
    recorder: &'a Recorder,
    profile: &'a SendingProfile,
    message: &'a Message,
    recipients: usize,
    has_begun: AtomicBool,
}

impl RecordBegin for BeginMark<'_> {
    async fn record_begin(&self, refused: Vec<Refusal>) -> Result<(), Failure> {
        self.has_begun.store(true, Ordering::Release);
        let now = self.recorder.now();
        let begun = outcome::begin(self.message, &refused);
        let recipients = u32::try_from(self.recipients).unwrap_or(u32::MAX);
        let mailbox = &self.profile.mailbox;
        self.recorder.begin(Begun { message: begun, mailbox: mailbox.clone(), recipients, at: now }).await.map_err(
            |error| Failure::new("begin", format!("the store cannot record the attempt: {error}"), Class::Transient),
        )?;
        self.recorder.scheduler().count_recipients(mailbox, now, recipients);
        Ok(())
    }

    fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }
}

impl AttemptRunner {
    /// Creates a runner.
    pub(super) fn new(
        recorder: Arc<Recorder>,
        transports: Arc<Transports>,
        suspender: Arc<Suspender>,
        pool: BlockingPool,
    ) -> Self {
        Self { recorder, transports, suspender, large: Arc::new(Semaphore::new(LARGE_IN_MEMORY)), pool }
    }

    /// Attempts a message. Returns false if the failure concerns the mailbox or the server, so that fewer messages are sent at
    /// once.
    pub(super) async fn run(&self, profile: Arc<SendingProfile>, claimed: Claimed) -> bool {
        let Claimed { mut message, content, paused_before } = claimed;
        let now = self.recorder.now();
        let settings = self.settings();
        if let Some(settled) = self.expire(&message, paused_before, now) {
            self.recorder.settle(settled);
            return true;
        }
        let (content, _memory) = match self.load(&profile, &message, content).await {
            Ok(content) => content,
            // The store works and has no content: another attempt would block the lane for ever.
            Err(StoreError::Corrupt(what)) => {
                tracing::error!(message_id = %message.id, what, "message content missing");
                self.recorder.settle(outcome::give_up(message, format!("the store does not have {what}"), now));
                return true;
            }
            Err(error) => {
                self.recorder.store_failed(&error);
                self.recorder.release(vec![Claimed { message, content: None, paused_before }]);
                return true;
            }
        };
        let guard = &settings.recipients;
        refuse_guarded(&mut message, guard);
        let waiting = outcome::waiting_recipients(&message);
        if waiting.is_empty() {
            self.recorder.settle(outcome::give_up(message, "no recipient is left".to_owned(), now));
            return true;
        }
        let outgoing = match self.build(&profile, &message, content, &waiting, guard).await {
            Ok(outgoing) => outgoing,
            Err(error) => {
                self.recorder.settle(outcome::give_up(message, error.to_string(), now));
                return true;
            }
        };
        if message.search_first {
            match search_sent_items(&self.recorder, &self.transports, &profile, &message).await {
                Ok(SentItemsResult::Sent) => {
                    let settled = outcome::found_in_sent_items(message, &profile.name, self.recorder.now());
                    self.recorder.settle(settled);
                    return true;
                }
                // The message may still appear in Sent Items, so this attempt may be a duplicate.
                Ok(SentItemsResult::NotSent) => (message.search_first, message.possible_duplicate) = (false, true),
                Ok(SentItemsResult::Unclear(reason)) => {
                    let reason = format!("cannot determine whether it was sent: {reason}");
                    self.recorder.settle(self.leave_unknown(message, &reason, None, &[]));
                    return true;
                }
                Err(failure) => {
                    let result = TransportResult { server: String::new(), outcome: Err(failure) };
                    return self.record_outcome(&profile, message, now, Instant::now(), result);
                }
            }
        }
        let started = Instant::now();
        let mark = BeginMark {
            recorder: &self.recorder,
            profile: &profile,
            message: &message,
            recipients: outgoing.recipients.len(),
            has_begun: AtomicBool::new(false),
        };
        let mut result = self.transports.send(&profile, &message, &outgoing, &mark).await;
        // All recipients get the result of the one address that replaced them. The settings of this attempt count; they may
        // have changed in the meantime.
        if outgoing.is_rewritten
            && let Ok(results) = &mut result.outcome
            && let Some((_, failure)) = results.refused.pop()
        {
            results.refused = waiting.iter().map(|recipient| (recipient.clone(), failure.clone())).collect();
        }
        drop(outgoing);
        self.record_outcome(&profile, message, now, started, result)
    }

    /// Settles a message that is too old for another attempt.
    fn expire(&self, message: &Message, paused_before: SignedDuration, now: Timestamp) -> Option<Settled> {
        let lifetime = self.settings().lifetime(message.function);
        let paused = self.recorder.scheduler().paused_for(&lane_of(message), paused_before, now);
        let age = now.duration_since(message.queued_since()).saturating_sub(paused);
        if Duration::try_from(age).unwrap_or_default() <= lifetime.duration() {
            return None;
        }
        let last = if message.reason.is_empty() { String::new() } else { format!("; last: {}", message.reason) };
        let message = message.clone();
        if message.search_first {
            let reason = format!("cannot determine within {lifetime} whether it was sent{last}");
            return Some(self.leave_unknown(message, &reason, None, &[]));
        }
        Some(outcome::give_up(message, format!("it could not be delivered within {lifetime}{last}"), now))
    }

    /// Loads the content of a message, and waits for memory if it is large.
    async fn load(
        &self,
        profile: &SendingProfile,
        message: &Message,
        content: Option<Vec<u8>>,
    ) -> Result<(Vec<u8>, Option<MemoryPermit>), StoreError> {
        if let Some(content) = content {
            return Ok((content, None));
        }
        // While it is read, and while it is converted for Graph, it is in memory twice.
        let kibibytes = u32::try_from(message.size / 1024 * 2).unwrap_or(u32::MAX).clamp(1, LARGE_PER_PROFILE);
        let own = Arc::clone(&profile.large).acquire_many_owned(kibibytes).await.ok();
        let all = Arc::clone(&self.large).acquire_many_owned(kibibytes).await.ok();
        let memory = own.zip(all);
        let content = self.recorder.store().content(message.id).await?;
        let content = content.ok_or_else(|| StoreError::Corrupt(format!("the contents of {}", message.id)))?;
        Ok((content, memory.filter(|_| message.size > SMALL)))
    }

    /// Builds the outgoing message from the stored content.
    async fn build(
        &self,
        profile: &Arc<SendingProfile>,
        message: &Message,
        content: Vec<u8>,
        waiting: &[String],
        guard: &RecipientGuard,
    ) -> Result<OutgoingMessage, Malformed> {
        let (profile, name, waiting, guard) =
            (Arc::clone(profile), message.sender_name.clone(), waiting.to_vec(), guard.clone());
        let build = move || {
            let own_name = profile.stored.profile.from.as_ref().and_then(|from| from.name.as_deref());
            let options = SendOptions {
                address: profile.sender_address(),
                name: name.as_deref().or(own_name),
                guard: &guard,
                header_is_envelope: matches!(profile.stored.profile.provider, Provider::MicrosoftGraphDirect(_)),
            };
            OutgoingMessage::build(content, &waiting, &options)
        };
        self.pool.run(usize::try_from(message.size).unwrap_or(usize::MAX), build).await
    }

    /// Settles a message of which it is unknown whether it was accepted, by the policy of the environment. `refused` are the
    /// recipients that it was certainly not accepted for.
    pub(super) fn after_unknown(
        &self,
        mut message: Message,
        reply: &str,
        attempt: Option<Attempt>,
        refused: &[Refusal],
    ) -> Settled {
        let routes = Arc::clone(self.recorder.scheduler().routes());
        let policy = routes.state().settings.delivery.unknown(message.function);
        let profile = routes.resolve(&message.company, message.function).profile;
        let has_sent_items = profile
            .as_ref()
            .and_then(|name| routes.live_profile(name))
            .is_some_and(|stored| matches!(stored.profile.provider, Provider::MicrosoftGraphDirect(_)));
        let wait = match policy {
            Unknown::Retry => self.back_off(message.attempts.max(1)),
            // Sent Items say nothing about recipients that the server refused for now.
            Unknown::SearchSentItems if has_sent_items && refused.is_empty() => SENT_ITEMS_DELAY,
            Unknown::SearchSentItems | Unknown::Hold => return self.leave_unknown(message, reply, attempt, refused),
        };
        let due = self.recorder.time().after(wait);
        message.search_first = policy == Unknown::SearchSentItems;
        message.possible_duplicate |= policy == Unknown::Retry;
        message.status = Status::Queued;
        message.next_attempt_at = Some(due);
        message.reason = format!("unknown: {reply}");
        let attempt = attempt.map(|attempt| Attempt { next_attempt_at: Some(due), ..attempt });
        Settled { message, attempt, events: Vec::new() }
    }

    /// Settles a message as `unknown` until an operator decides.
    pub(super) fn leave_unknown(
        &self,
        message: Message,
        reason: &str,
        attempt: Option<Attempt>,
        refused: &[Refusal],
    ) -> Settled {
        let wait = self.back_off(message.attempts.max(1));
        outcome::leave_unknown(message, reason, attempt, refused, self.recorder.now(), wait)
    }

    /// Returns the back-off after so many attempts.
    fn back_off(&self, attempts: u32) -> Duration {
        outcome::back_off(&self.settings().retry, attempts, random_unit())
    }

    fn settings(&self) -> DeliverySettings {
        self.recorder.scheduler().routes().state().settings.delivery.clone()
    }
}

/// Fails the recipients that the environment may not write to.
fn refuse_guarded(message: &mut Message, guard: &RecipientGuard) {
    if guard.rewrite_to.is_some() {
        return;
    }
    let waiting = message.recipients.iter_mut().filter(|recipient| recipient.status == RecipientStatus::Waiting);
    for recipient in waiting.filter(|recipient| !guard.allows(&recipient.address)) {
        recipient.status = RecipientStatus::Failed;
        "the environment may not write to it".clone_into(&mut recipient.reply);
    }
}
