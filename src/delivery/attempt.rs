//! Attempt: sends one message by its current profile, and records the outcome.
//!
//! [`AttemptRunner::run`] loads the content, builds the outgoing message, sends it with the transport of the profile and
//! decides with [`outcome`] what the result means for the message, the profile and the mailbox. A failure that suspends the
//! profile counts neither as a try of the message nor against its lifetime. A message is marked in the store before its last
//! byte is sent, so that a crash leaves it `unknown` and never sends it twice silently.

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
    outcome,
    outgoing::{OutgoingMessage, SendOptions},
    random_unit,
    ready_queue::{LARGE_PER_PROFILE, SendingProfile},
    recorder::Recorder,
    refusals::{Attribution, may_concern_message},
    scheduler::lane_of,
    sent_items::{SentItemsResult, search_sent_items},
    suspender::Suspender,
    transport::{Failure, RecipientResults, RecordBegin, Refusal, TransportResult, Transports},
};
use crate::{
    mime::Malformed,
    model::{
        Attempt, Message, Provider, Status,
        delivery::{Delivery as DeliverySettings, RecipientGuard, Unknown},
        message::{Class, RecipientStatus},
    },
    replies::RefusalScope,
    store::{
        StoreError,
        outbox::{Begun, Claimed, Settled},
    },
    sync::BlockingPool,
    time::steady_clock::later,
};

/// The pause of a throttled mailbox whose server does not state one.
const THROTTLED: Duration = Duration::from_secs(60);
/// The longest pause of a mailbox.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// The time that a message that may have caused a suspension waits behind others.
const BEHIND_OTHERS: SignedDuration = SignedDuration::from_secs(5);
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

    /// Records the result of an attempt. Returns false if the failure concerns the mailbox or the server.
    fn record_outcome(
        &self,
        profile: &Arc<SendingProfile>,
        message: Message,
        at: Timestamp,
        started: Instant,
        result: TransportResult,
    ) -> bool {
        let TransportResult { server, outcome } = result;
        let attempt = Attempt {
            number: message.attempts.saturating_add(1),
            at,
            milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            profile: profile.name.clone(),
            generation: profile.generation,
            server,
            phase: String::new(),
            reply: String::new(),
            class: Class::Transient,
            next_attempt_at: None,
        };
        match self.attribute(profile, &message, outcome) {
            Ok(results) => self.record_results(profile, message, attempt, results),
            Err(failure) => self.record_failure(profile, message, attempt, failure),
        }
    }

    /// Decides whether refusals concern the message or the profile, with what is known of other messages.
    fn attribute(
        &self,
        profile: &SendingProfile,
        message: &Message,
        outcome: Result<RecipientResults, Failure>,
    ) -> Result<RecipientResults, Failure> {
        match outcome {
            // No recipient was accepted because of the profile or the mailbox: as if MAIL had been refused.
            Ok(results) if results.reply.is_none() => match self.refusal_of_profile(profile, message, &results) {
                Some(failure) => Err(failure),
                None => Ok(results),
            },
            Ok(results) => {
                let mut scheduler = self.recorder.scheduler();
                if let Some(queue) = scheduler.ready_queue(&profile.name) {
                    queue.refusals.message_accepted(message.id);
                    let now = Instant::now();
                    results.refused.iter().for_each(|(_, failure)| queue.refusals.recipient_refused(failure, now));
                }
                drop(scheduler);
                Ok(results)
            }
            // Replies of Graph state their subject.
            Err(failure) if matches!(failure.phase, "mail" | "data" | "dot") => {
                Err(self.reclassify(profile, message, failure).1)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Returns the refusal of a message without accepted recipients, if it concerns the profile or the mailbox.
    fn refusal_of_profile(
        &self,
        profile: &SendingProfile,
        message: &Message,
        results: &RecipientResults,
    ) -> Option<Failure> {
        if let Some(failure) = results.refusal_of_profile() {
            let (attribution, failure) = self.reclassify(profile, message, failure.clone());
            let concerns_message = attribution == Attribution::Message && failure.class != Class::Throttled;
            return (!concerns_message).then_some(failure);
        }
        // All recipients were refused, without a word about any of them.
        let is_alike = |(_, failure): &Refusal| {
            failure.class == Class::Permanent && failure.scope == RefusalScope::Unstated && !failure.concerns_server
        };
        let (_, first) = results.refused.first().filter(|_| results.refused.iter().all(is_alike))?;
        let (attribution, failure) = self.reclassify(profile, message, first.clone());
        (attribution == Attribution::Profile).then_some(failure)
    }

    /// Returns the subject of a refusal of a whole message, and the refusal with the class that follows from it. A refusal of
    /// the profile does not count as a try of the message.
    fn reclassify(&self, profile: &SendingProfile, message: &Message, failure: Failure) -> (Attribution, Failure) {
        let mut scheduler = self.recorder.scheduler();
        let Some(queue) = scheduler.ready_queue(&profile.name) else {
            let concerns_profile = failure.class == Class::Auth;
            return (if concerns_profile { Attribution::Profile } else { Attribution::Message }, failure);
        };
        let attribution = queue.refusals.message_refused(message.id, &failure, Instant::now());
        let failure = match (failure.class, attribution) {
            (_, Attribution::Undecided) => Failure { class: Class::Transient, ..failure },
            (Class::Auth, Attribution::Message) if failure.reply.starts_with('4') => {
                Failure { class: Class::Transient, ..failure }
            }
            (Class::Auth, Attribution::Message) => Failure { class: Class::Permanent, ..failure },
            (Class::Permanent, Attribution::Profile) => Failure {
                class: Class::Auth,
                scope: RefusalScope::AllMessages,
                reply: format!("{} (the same to several messages in a row)", failure.reply),
                ..failure
            },
            _ => failure,
        };
        (attribution, failure)
    }

    /// Records an attempt with a result for each recipient.
    fn record_results(
        &self,
        profile: &Arc<SendingProfile>,
        message: Message,
        attempt: Attempt,
        results: RecipientResults,
    ) -> bool {
        let (phase, class) = outcome::summarize(&results);
        let first_refusal = || results.refused.first().map(|(_, failure)| failure.reply.clone()).unwrap_or_default();
        let reply = results.reply.clone().filter(|reply| !reply.is_empty()).unwrap_or_else(first_refusal);
        let attempt = Attempt { phase: phase.to_owned(), reply, class, ..attempt };
        self.server_answered(profile);
        let throttled = results.refused.iter().find(|(_, failure)| failure.class == Class::Throttled);
        let is_throttled = throttled.map(|(_, failure)| self.pause_mailbox(profile, failure)).is_some();
        let wait = self.back_off(message.attempts.saturating_add(1));
        let now = self.recorder.now();
        self.recorder.settle(outcome::after_results(message, attempt, results, now, wait));
        !is_throttled
    }

    /// Records an attempt that failed as a whole.
    fn record_failure(
        &self,
        profile: &Arc<SendingProfile>,
        mut message: Message,
        attempt: Attempt,
        mut failure: Failure,
    ) -> bool {
        tracing::info!(message_id = %message.id, profile = %profile.name, phase = failure.phase, class = failure.class.id(), code = %failure.code(), "an attempt failed");
        let now = self.recorder.now();
        let attempt =
            Attempt { phase: failure.phase.to_owned(), reply: failure.reply.clone(), class: failure.class, ..attempt };
        message.reason = format!("{}: {}", failure.phase, failure.reply);
        let refused = std::mem::take(&mut failure.refused);
        // A failure that concerns the profile may be the reason of each refusal as well.
        if failure.class != Class::Auth {
            outcome::apply_refusals(&mut message, &refused);
            if let Some((_, failure)) = refused.iter().find(|(_, failure)| failure.class == Class::Throttled) {
                self.pause_mailbox(profile, failure);
            }
        }
        let wait = self.back_off(message.attempts.saturating_add(1));
        match failure.class {
            Class::Auth => {
                self.suspend(profile, message, attempt, &failure, now);
                false
            }
            Class::Throttled => {
                let pause = self.pause_mailbox(profile, &failure).max(Duration::from_secs(1));
                self.recorder.settle(outcome::retry(message, attempt, later(now, pause)));
                false
            }
            Class::Transient if failure.phase == "begin" => {
                // Nothing was attempted, because the store cannot record it.
                message.next_attempt_at = Some(now);
                self.recorder.release(vec![Claimed { message, content: None, paused_before: SignedDuration::ZERO }]);
                true
            }
            Class::Transient => {
                // A server that refuses MAIL for now refuses it for all messages.
                let concerns_server = failure.concerns_server || failure.phase == "mail";
                if concerns_server {
                    self.back_off_profile(profile, &failure);
                }
                let due = later(now, failure.retry_after.unwrap_or_default().max(wait));
                self.recorder.settle(outcome::retry(message, attempt, due));
                !concerns_server
            }
            Class::Unknown => {
                // The next message may end in doubt as well: nothing else is sent until one has a reply.
                self.back_off_profile(profile, &failure);
                message.attempts = message.attempts.saturating_add(1);
                self.recorder.settle(self.after_unknown(message, &failure.reply, Some(attempt), &refused));
                false
            }
            Class::Size | Class::Permanent | Class::Delivered => {
                self.recorder.settle(outcome::after_refusal(message, attempt, &failure, &refused, now, wait));
                self.server_answered(profile);
                true
            }
        }
    }

    /// Suspends the profile. The attempt is recorded, and counts neither as a try of the message nor against its lifetime.
    fn suspend(
        &self,
        profile: &Arc<SendingProfile>,
        mut message: Message,
        attempt: Attempt,
        failure: &Failure,
        now: Timestamp,
    ) {
        let next = self.suspender.suspend(profile, failure).unwrap_or(now);
        message.status = Status::Queued;
        // If the message may be the cause after all, it waits behind the others until the next probe and blocks none of them.
        message.next_attempt_at = Some(match failure.scope {
            RefusalScope::Relay | RefusalScope::AllMessages => next,
            _ if may_concern_message(failure) => next.min(now + BEHIND_OTHERS),
            _ => now,
        });
        let attempt = Attempt { next_attempt_at: Some(next), ..attempt };
        self.recorder.settle(Settled { message, attempt: Some(attempt), events: Vec::new() });
    }

    /// Pauses the mailbox, because the server asked to wait. Returns for how long.
    fn pause_mailbox(&self, profile: &SendingProfile, failure: &Failure) -> Duration {
        let wait = failure.retry_after.unwrap_or_else(|| THROTTLED.mul_f64(1.0 + random_unit() / 4.0));
        let wait = wait.min(LONGEST_PAUSE);
        let now = Instant::now();
        self.recorder.scheduler().pause_mailbox(&profile.mailbox, now, now + wait, &failure.reply);
        wait
    }

    /// Starts the back-off of a profile; after it, one message goes first.
    fn back_off_profile(&self, profile: &SendingProfile, failure: &Failure) {
        let reply = format!("{}: {}", failure.phase, failure.reply);
        let released = self.recorder.scheduler().back_off(&profile.name, Instant::now(), random_unit(), &reply);
        self.recorder.release(released);
    }

    /// Records that the server answered and did not refuse the profile.
    fn server_answered(&self, profile: &Arc<SendingProfile>) {
        self.recorder.scheduler().server_answered(&profile.name);
        self.suspender.resume(profile);
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
