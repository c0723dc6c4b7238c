//! How much a mailbox may send, counted for all who send through it: at once, in any 60 seconds, in any 24 hours.
//!
//! What was sent before a start is counted as the store remembers it, so that a restart cannot be used to send twice as
//! fast.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{model::delivery::Effective, store::outbox::Usage};

const MINUTE: Duration = Duration::from_secs(60);
/// Minutes of a day.
const DAY: i64 = 24 * 60;

/// What a mailbox has sent lately.
#[derive(Debug)]
pub(super) struct Counter {
    limits: Effective,
    /// When each message of the last minute began. Only kept where there is a rate.
    begun: VecDeque<Instant>,
    /// Recipients of the last day, by minute since 1970, and how many these are.
    recipients: VecDeque<(i64, u64)>,
    today: u64,
    /// Recipients of what is under way: they may be counted at any moment.
    expected: u64,
    pub(super) in_flight: u16,
    /// Tickets of workers that wait for one of the mailbox's connections, in the order in which they get one.
    queue: VecDeque<u64>,
    /// Wakes the workers of `queue`.
    freed: Arc<Notify>,
    /// How many at once just now: less than the limit after something went wrong, doubled with each success.
    window: u16,
    /// The other side asked for patience.
    pub(super) paused_until: Option<Instant>,
}

impl Counter {
    pub(super) fn new(limits: Effective) -> Self {
        Self {
            limits,
            begun: VecDeque::new(),
            recipients: VecDeque::new(),
            today: 0,
            expected: 0,
            in_flight: 0,
            queue: VecDeque::new(),
            freed: Arc::default(),
            window: limits.concurrency,
            paused_until: None,
        }
    }

    pub(super) fn set_limits(&mut self, limits: Effective) {
        self.window = if self.window == self.limits.concurrency { limits.concurrency } else { self.window };
        self.limits = limits;
    }

    /// Remembers what the store counted in a minute, the oldest first. What may lie within the last 60 seconds is taken to
    /// have been just now.
    pub(super) fn remember(&mut self, usage: &Usage, minute: i64, now: Instant) {
        // A clock that was ahead then must not make it last for longer.
        self.recipients.push_back((usage.minute.min(minute), usage.recipients));
        self.today += usage.recipients;
        if usage.minute >= minute - 1 {
            let messages = usize::try_from(usage.messages).unwrap_or(usize::MAX).min(100_000);
            self.begun.extend(std::iter::repeat_n(now, messages));
        }
    }

    /// How many messages may begin now. `claimed` wait in memory already.
    pub(super) fn room(&mut self, now: Instant, minute: i64, claimed: usize) -> usize {
        let window = usize::from(self.window.min(self.limits.concurrency));
        let connections = window.saturating_sub(usize::from(self.in_flight) + claimed);
        connections.min(self.allowance(now, minute, claimed))
    }

    /// How many messages the pause, the rate and the daily limit allow now, whatever is under way.
    pub(super) fn allowance(&mut self, now: Instant, minute: i64, claimed: usize) -> usize {
        if self.paused_until.is_some_and(|until| until > now) {
            return 0;
        }
        if let Some(day) = self.limits.recipients_per_day
            && self.today(minute) + self.expected >= u64::from(day)
        {
            return 0;
        }
        let Some(rate) = self.limits.per_minute else { return usize::MAX };
        self.forget(now);
        usize::try_from(rate).unwrap_or(usize::MAX).saturating_sub(self.begun.len() + claimed)
    }

    /// Returns true if a worker must wait for a connection: all are taken, or another worker is first in the queue.
    pub(super) fn must_queue(&self, ticket: u64) -> bool {
        self.in_flight >= self.window.min(self.limits.concurrency)
            || self.queue.front().is_some_and(|first| *first != ticket)
    }

    /// Queues a worker for the next free connection. The returned future ends when it is worth another look.
    pub(super) fn enqueue(&mut self, ticket: u64) -> OwnedNotified {
        if !self.queue.contains(&ticket) {
            self.queue.push_back(ticket);
        }
        Arc::clone(&self.freed).notified_owned()
    }

    /// Removes a worker from the queue: it begins, or it has nothing left to send.
    pub(super) fn dequeue(&mut self, ticket: u64) {
        let before = self.queue.len();
        self.queue.retain(|own| *own != ticket);
        if self.queue.len() < before {
            self.freed.notify_waiters();
        }
    }

    /// What the mailbox has to wait for, if it is for the clock alone: the time of messages that wait for it does not pass.
    pub(super) fn waits_for(&self, now: Instant, minute: i64) -> Option<String> {
        if self.paused_until.is_some_and(|until| until > now) {
            return Some("the other side asked for patience".to_owned());
        }
        if let Some(rate) = self.limits.per_minute {
            let old = self.begun.partition_point(|begun| now.duration_since(*begun) >= MINUTE);
            if self.begun.len() - old >= usize::try_from(rate).unwrap_or(usize::MAX) {
                return Some(format!("its mailbox may send {rate} messages a minute"));
            }
        }
        let day = self.limits.recipients_per_day?;
        let over = self.recipients.iter().take_while(|(old, _)| *old <= minute - DAY).map(|(_, count)| count).sum();
        (self.today.saturating_sub(over) >= u64::from(day))
            .then(|| format!("its mailbox may reach {day} recipients a day"))
    }

    /// Whether there is no rate, so that messages may wait in memory for their turn.
    pub(super) fn may_read_ahead(&self) -> bool {
        self.limits.per_minute.is_none()
            && self.limits.recipients_per_day.is_none()
            && self.window == self.limits.concurrency
    }

    pub(super) fn concurrency(&self) -> usize {
        usize::from(self.window.min(self.limits.concurrency))
    }

    /// When there may be room again, if the clock alone brings it.
    pub(super) fn next_room(&mut self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Some(until);
        }
        if self.limits.per_minute.is_some() {
            self.forget(now);
            return self.begun.front().map(|first| *first + MINUTE);
        }
        None
    }

    /// A message for so many recipients begins.
    pub(super) fn begin(&mut self, now: Instant, recipients: u64) {
        self.in_flight += 1;
        self.expected += recipients;
        if self.limits.per_minute.is_some() {
            self.begun.push_back(now);
        }
    }

    /// Its recipients are counted, now that it leaves.
    pub(super) fn count(&mut self, minute: i64, recipients: u32) {
        self.today += u64::from(recipients);
        match self.recipients.back_mut() {
            Some((last, count)) if *last == minute => *count += u64::from(recipients),
            _ => self.recipients.push_back((minute, u64::from(recipients))),
        }
    }

    /// A message for so many recipients ended; `well` if nothing about the mailbox was wrong.
    pub(super) fn end(&mut self, well: bool, recipients: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.expected = self.expected.saturating_sub(recipients);
        self.window = if well { self.window.saturating_mul(2).clamp(1, self.limits.concurrency) } else { 1 };
        self.freed.notify_waiters();
    }

    /// The clock was set, by so many minutes.
    pub(super) fn follow(&mut self, by: i64) {
        self.recipients.iter_mut().for_each(|(minute, _)| *minute += by);
    }

    /// From now on gently.
    pub(super) fn slow_down(&mut self) {
        self.window = 1;
    }

    fn forget(&mut self, now: Instant) {
        while self.begun.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            self.begun.pop_front();
        }
    }

    fn today(&mut self, minute: i64) -> u64 {
        while let Some((_, count)) = self.recipients.front().filter(|(old, _)| *old <= minute - DAY).copied() {
            self.today -= count;
            self.recipients.pop_front();
        }
        self.today
    }
}
