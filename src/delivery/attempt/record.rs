//! The result of an attempt: what it means for the message, the profile and the mailbox, and its record.
//!
//! [`AttemptRunner::record_outcome`] takes what the transport returned. It asks the refusals of the profile whether a refusal
//! concerns the message or the profile, suspends the profile or pauses its mailbox, and hands the message that [`outcome`] computes
//! to the recorder. A failure that suspends the profile counts neither as a try of the message nor against its lifetime. A
//! throttled mailbox pauses for the time that the server asks for, at most an hour. A failure of the server, or an unknown outcome,
//! starts the back-off of the profile. If the store could not record the beginning of the attempt, the message is released as if it
//! had not been tried. Nothing here connects.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::AttemptRunner;
use crate::{
    delivery::{
        failure::{Failure, Refusal},
        outcome, random_unit,
        refusals::{Attribution, may_concern_message},
        sending_profile::SendingProfile,
        transport::{RecipientResults, TransportResult},
    },
    model::{
        Attempt, Message, Status,
        message::{Class, describe_phase},
    },
    replies::RefusalScope,
    store::outbox::{Claimed, Settled},
    time::steady_clock::later,
};

/// The pause of a throttled mailbox whose server does not state one.
const THROTTLED: Duration = Duration::from_secs(60);
/// The longest pause of a mailbox.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// The time that a message that may have caused a suspension waits behind others.
const BEHIND_OTHERS: SignedDuration = SignedDuration::from_secs(5);

impl AttemptRunner {
    /// Records the result of an attempt. Returns false if the failure concerns the mailbox or the server.
    pub(super) fn record_outcome(
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
        // All recipients were refused together, for a reason that concerns none of them.
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
        message.reason = format!("{}: {}", describe_phase(failure.phase), failure.reply);
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
        let reply = format!("{}: {}", describe_phase(failure.phase), failure.reply);
        let released = self.recorder.scheduler().back_off(&profile.name, Instant::now(), random_unit(), &reply);
        self.recorder.release(released);
    }

    /// Records that the server answered and did not refuse the profile.
    fn server_answered(&self, profile: &Arc<SendingProfile>) {
        self.recorder.scheduler().server_answered(&profile.name);
        self.suspender.resume(profile);
    }
}
