//! Throttle of a mailbox: limits messages at the same time, messages in any 60 seconds, and recipients in any 24 hours.
//!
//! All profiles that send through a mailbox share one [`MailboxThrottle`]; if their limits differ, those of the profile that was
//! set up last apply. A rate counts the messages since it was set. A message starts while the limit of recipients is not reached, so
//! its own recipients can exceed it; they count for up to a minute longer than a day. After a failure one message is sent at a time,
//! and each success doubles that. Usage before a start is restored from the store, so that a restart does not double the rate; pauses
//! that a server asked for are not. The caller passes the time.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{Notify, futures::OwnedNotified};

use super::REPLY_LENGTH;
use crate::{model::delivery::Effective, store::outbox::Usage, text::shortened};

const MINUTE: Duration = Duration::from_secs(60);
/// The minutes for which recipients count: a day, and the rest of the minute in which they were counted.
const DAY: i64 = 24 * 60 + 1;

/// The recent usage of a mailbox, and its limits.
#[derive(Debug)]
pub(super) struct MailboxThrottle {
    limits: Effective,
    /// The start of each message of the last minute. Only kept if there is a rate.
    started: VecDeque<Instant>,
    /// Recipients of the last day, by minute since 1970, and their sum.
    recipients: VecDeque<(i64, u64)>,
    today: u64,
    /// Recipients of messages in flight: they may be counted at any moment.
    expected: u64,
    in_flight: u16,
    /// Tickets of workers that wait for one of the mailbox's connections, in the order in which they get one.
    queue: VecDeque<u64>,
    /// Wakes the workers of `queue`.
    freed: Arc<Notify>,
    /// The number of messages sent at once: 1 after a failure, doubled with each success up to the limit.
    window: u16,
    /// The wait that the server requested.
    pause: Option<Pause>,
}

/// A wait that a server requested.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) since: Instant,
    pub(super) until: Instant,
    /// The reply that requested it.
    pub(super) reply: String,
}

/// Why a mailbox sends nothing now.
#[derive(Clone, Debug)]
pub(super) struct ThrottleState {
    pub(super) explanation: String,
    pub(super) since: Option<Instant>,
    /// When it ends, as far as that is known.
    pub(super) until: Option<Instant>,
    /// The server's reply; empty if the limit is an own one.
    pub(super) reply: String,
}

impl MailboxThrottle {
    /// Creates a throttle without usage.
    pub(super) fn new(limits: Effective) -> Self {
        Self {
            limits,
            started: VecDeque::new(),
            recipients: VecDeque::new(),
            today: 0,
            expected: 0,
            in_flight: 0,
            queue: VecDeque::new(),
            freed: Arc::default(),
            window: limits.concurrency,
            pause: None,
        }
    }

    /// Changes the limits.
    pub(super) fn set_limits(&mut self, limits: Effective) {
        self.window = if self.window == self.limits.concurrency { limits.concurrency } else { self.window };
        self.limits = limits;
    }

    /// Adds usage that the store counted, the oldest minute first. Messages that may be younger than 60 seconds count as
    /// started now.
    pub(super) fn add_usage(&mut self, usage: &Usage, minute: i64, now: Instant) {
        // If the clock was ahead at that time, the usage must not last for longer.
        let used = minute_of(usage.minute);
        self.recipients.push_back((used.min(minute), usage.recipients));
        self.today += usage.recipients;
        if used >= minute - 1 {
            let messages = usize::try_from(usage.messages).unwrap_or(usize::MAX).min(100_000);
            self.started.extend(std::iter::repeat_n(now, messages));
        }
    }

    /// Returns how many more messages can be claimed to start now; `claimed` are in memory already.
    pub(super) fn available(&mut self, now: Instant, minute: i64, claimed: usize) -> usize {
        let window = usize::from(self.window.min(self.limits.concurrency));
        let connections = window.saturating_sub(usize::from(self.in_flight) + claimed);
        connections.min(self.allowance(now, minute, claimed))
    }

    /// Returns how many messages the pause, the rate and the daily limit allow now, without regard to connections.
    pub(super) fn allowance(&mut self, now: Instant, minute: i64, claimed: usize) -> usize {
        if self.paused_until(now).is_some() {
            return 0;
        }
        if let Some(day) = self.limits.recipients_per_day
            && self.recipients_today(minute) + self.expected >= u64::from(day)
        {
            return 0;
        }
        let Some(rate) = self.limits.per_minute else { return usize::MAX };
        self.drop_old(now);
        usize::try_from(rate).unwrap_or(usize::MAX).saturating_sub(self.started.len() + claimed)
    }

    /// Returns true if a worker must wait for a connection: all are taken, or another worker is first in the queue.
    pub(super) fn must_wait(&self, ticket: u64) -> bool {
        self.in_flight >= self.window.min(self.limits.concurrency)
            || self.queue.front().is_some_and(|first| *first != ticket)
    }

    /// Queues a worker for the next free connection. The returned future ends when it should try again.
    pub(super) fn enqueue(&mut self, ticket: u64) -> OwnedNotified {
        if !self.queue.contains(&ticket) {
            self.queue.push_back(ticket);
        }
        Arc::clone(&self.freed).notified_owned()
    }

    /// Removes a worker from the queue: it has a connection, or nothing left to send.
    pub(super) fn dequeue(&mut self, ticket: u64) {
        let before = self.queue.len();
        self.queue.retain(|own| *own != ticket);
        if self.queue.len() < before {
            self.freed.notify_waiters();
        }
    }

    /// Returns the limit that only time lifts; the lifetime of messages is paused meanwhile.
    pub(super) fn why_blocked(&self, now: Instant, minute: i64) -> Option<ThrottleState> {
        if let Some(pause) = self.pause.as_ref().filter(|pause| pause.until > now) {
            return Some(ThrottleState {
                explanation: "its server asked to wait".to_owned(),
                since: Some(pause.since),
                until: Some(pause.until),
                reply: pause.reply.clone(),
            });
        }
        let own = |explanation: String, until: Option<Instant>| ThrottleState {
            explanation,
            since: None,
            until,
            reply: String::new(),
        };
        if let Some(rate) = self.limits.per_minute {
            let old = self.started.partition_point(|started| now.duration_since(*started) >= MINUTE);
            if self.started.len() - old >= usize::try_from(rate).unwrap_or(usize::MAX) {
                let until = self.started.get(old).map(|first| *first + MINUTE);
                return Some(own(format!("its mailbox may send {rate} messages a minute"), until));
            }
        }
        let day = self.limits.recipients_per_day?;
        let over = self.recipients.iter().take_while(|(old, _)| *old <= minute - DAY).map(|(_, count)| count).sum();
        if self.today.saturating_sub(over) < u64::from(day) {
            return None;
        }
        let oldest = self.recipients.iter().map(|(old, _)| *old).find(|old| *old > minute - DAY);
        let minutes = oldest.map_or(0, |oldest| u64::try_from(oldest + DAY - minute).unwrap_or(0));
        Some(own(
            format!("its mailbox may reach {day} recipients a day"),
            now.checked_add(Duration::from_secs(minutes * 60)),
        ))
    }

    /// Returns true if messages may wait in memory for a connection: the mailbox has neither a rate nor a daily limit.
    pub(super) fn may_read_ahead(&self) -> bool {
        self.limits.per_minute.is_none()
            && self.limits.recipients_per_day.is_none()
            && self.window == self.limits.concurrency
    }

    /// Returns how many messages may be in flight at once.
    pub(super) fn concurrency(&self) -> usize {
        usize::from(self.window.min(self.limits.concurrency))
    }

    /// Returns when a message can be started, if that depends on time alone.
    pub(super) fn next_available(&mut self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.paused_until(now) {
            return Some(until);
        }
        if self.limits.per_minute.is_some() {
            self.drop_old(now);
            return self.started.front().map(|first| *first + MINUTE);
        }
        None
    }

    /// Counts a message that a worker starts.
    pub(super) fn message_started(&mut self, now: Instant, recipients: u64) {
        self.in_flight += 1;
        self.expected += recipients;
        if self.limits.per_minute.is_some() {
            self.started.push_back(now);
        }
    }

    /// Counts the recipients of a message that is handed to the server.
    pub(super) fn count_recipients(&mut self, minute: i64, recipients: u32) {
        self.today += u64::from(recipients);
        match self.recipients.back_mut() {
            Some((last, count)) if *last == minute => *count += u64::from(recipients),
            _ => self.recipients.push_back((minute, u64::from(recipients))),
        }
    }

    /// Counts a message off. A failure of the mailbox or the server reduces the concurrency to 1.
    pub(super) fn message_ended(&mut self, is_healthy: bool, recipients: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.expected = self.expected.saturating_sub(recipients);
        self.window = if is_healthy { self.window.saturating_mul(2).clamp(1, self.limits.concurrency) } else { 1 };
        self.freed.notify_waiters();
    }

    /// Moves the usage by so many minutes, because the system clock was set.
    pub(super) fn shift(&mut self, by: i64) {
        self.recipients.iter_mut().for_each(|(minute, _)| *minute += by);
    }

    /// Reduces the concurrency to 1.
    pub(super) fn slow_down(&mut self) {
        self.window = 1;
    }

    /// Pauses the mailbox, because its server asked to wait, and reduces the concurrency to 1.
    pub(super) fn pause(&mut self, now: Instant, until: Instant, reply: &str) {
        // A server that asks again at the end of a pause extends it.
        let earlier = self.pause.take().filter(|pause| pause.until + MINUTE >= now);
        let since = earlier.map_or(now, |pause| pause.since);
        self.pause = Some(Pause { since, until, reply: shortened(reply, REPLY_LENGTH).into_owned() });
        self.slow_down();
    }

    /// Ends the pause. Returns true if the mailbox was paused.
    pub(super) fn end_pause(&mut self) -> bool {
        self.pause.take().is_some()
    }

    /// Returns until when the mailbox is paused, if that is in the future.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.pause.as_ref().map(|pause| pause.until).filter(|until| *until > now)
    }

    fn drop_old(&mut self, now: Instant) {
        while self.started.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            self.started.pop_front();
        }
    }

    fn recipients_today(&mut self, minute: i64) -> u64 {
        while let Some((_, count)) = self.recipients.front().filter(|(old, _)| *old <= minute - DAY).copied() {
            self.today -= count;
            self.recipients.pop_front();
        }
        self.today
    }
}

/// Returns the minute of a time, since 1970.
pub(super) fn minute_of(time: Timestamp) -> i64 {
    time.as_second() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(concurrency: u16, per_minute: Option<u32>, recipients_per_day: Option<u32>) -> Effective {
        Effective { concurrency, per_minute, recipients_per_day, message_size: 0 }
    }

    #[test]
    fn the_rate_holds_in_any_sixty_seconds() {
        let start = Instant::now();
        let mut throttle = MailboxThrottle::new(limits(10, Some(2), None));
        for _ in 0..2 {
            assert_eq!(throttle.allowance(start, 0, 0).min(1), 1);
            throttle.message_started(start, 1);
        }
        assert_eq!(throttle.allowance(start + MINUTE.saturating_sub(Duration::from_millis(1)), 0, 0), 0);
        assert_eq!(throttle.next_available(start), Some(start + MINUTE));
        assert_eq!(throttle.allowance(start + MINUTE, 1, 0), 2);
    }

    #[test]
    fn recipients_of_a_day_count_when_started_and_are_forgotten_after_a_day() {
        let now = Instant::now();
        let mut throttle = MailboxThrottle::new(limits(10, None, Some(5)));
        throttle.message_started(now, 5);
        assert_eq!(throttle.allowance(now, 0, 0), 0, "five are in flight");
        throttle.count_recipients(0, 5);
        throttle.message_ended(true, 5);
        assert_eq!(throttle.allowance(now, 24 * 60, 0), 0, "the first may have been counted at the end of its minute");
        assert!(throttle.allowance(now, DAY, 0) > 0);
    }

    #[test]
    fn a_failure_reduces_the_concurrency_and_successes_restore_it() {
        let now = Instant::now();
        let mut throttle = MailboxThrottle::new(limits(4, None, None));
        throttle.message_started(now, 1);
        throttle.message_ended(false, 1);
        assert_eq!((throttle.concurrency(), throttle.may_read_ahead()), (1, false));
        for expected in [2, 4, 4] {
            throttle.message_started(now, 1);
            throttle.message_ended(true, 1);
            assert_eq!(throttle.concurrency(), expected);
        }
    }

    #[test]
    fn a_pause_ends_by_itself_or_at_once() {
        let now = Instant::now();
        let until = now + Duration::from_secs(3600);
        let mut throttle = MailboxThrottle::new(limits(4, None, None));
        throttle.pause(now, until, "432 later");
        let state = throttle.why_blocked(now, 0).unwrap();
        assert_eq!((state.since, state.until, state.reply.as_str()), (Some(now), Some(until), "432 later"));
        assert_eq!((throttle.allowance(now, 0, 0), throttle.paused_until(now)), (0, Some(until)));
        assert!(throttle.allowance(until, 0, 0) > 0);
        assert!(throttle.end_pause() && !throttle.end_pause());
        assert!(throttle.allowance(now, 0, 0) > 0);
    }
}
