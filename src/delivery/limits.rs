//! How much a mailbox may send, counted for all who send through it: at once, in any 60 seconds, in any 24 hours.
//!
//! What is counted by the minute begins full after a start, so that a restart cannot be used to send twice as fast; what
//! is counted by the day is kept by the store.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::model::delivery::Effective;

const MINUTE: Duration = Duration::from_secs(60);
const HOURS: i64 = 24;

/// What a mailbox has sent lately.
#[derive(Debug)]
pub(super) struct Counter {
    limits: Effective,
    /// When each message of the last minute began. Only kept where there is a rate.
    begun: VecDeque<Instant>,
    /// Before this nobody knows what was sent: the process had not started.
    blind_until: Instant,
    /// Recipients by hour since 1970.
    recipients: VecDeque<(i64, u64)>,
    pub(super) in_flight: u16,
    /// How many at once just now: less than the limit after something went wrong, doubled with each success.
    window: u16,
    /// The other side asked for patience.
    pub(super) paused_until: Option<Instant>,
}

impl Counter {
    pub(super) fn new(limits: Effective, started: Instant, fresh: bool) -> Self {
        Self {
            limits,
            begun: VecDeque::new(),
            blind_until: if fresh { started } else { started + MINUTE },
            recipients: VecDeque::new(),
            in_flight: 0,
            window: limits.concurrency,
            paused_until: None,
        }
    }

    pub(super) fn set_limits(&mut self, limits: Effective) {
        self.window = if self.window == self.limits.concurrency { limits.concurrency } else { self.window };
        self.limits = limits;
    }

    /// Remembers what the store counted.
    pub(super) fn remember(&mut self, hour: i64, recipients: u64) {
        self.recipients.push_back((hour, recipients));
    }

    /// How many messages may begin now. `claimed` wait in memory already.
    pub(super) fn room(&mut self, now: Instant, hour: i64, claimed: usize) -> usize {
        if self.paused_until.is_some_and(|until| until > now) {
            return 0;
        }
        let window = usize::from(self.window.min(self.limits.concurrency));
        let mut room = window.saturating_sub(usize::from(self.in_flight) + claimed);
        if let Some(rate) = self.limits.per_minute {
            self.forget(now);
            let rate = usize::try_from(rate).unwrap_or(usize::MAX);
            let used = self.begun.len() + if self.blind_until > now { rate } else { 0 };
            room = room.min(rate.saturating_sub(used + claimed));
        }
        if let Some(day) = self.limits.recipients_per_day
            && self.today(hour) >= u64::from(day)
        {
            room = 0;
        }
        room
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
            if self.blind_until > now {
                return Some(self.blind_until);
            }
            return self.begun.front().map(|first| *first + MINUTE);
        }
        None
    }

    /// A message begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.in_flight += 1;
        if self.limits.per_minute.is_some() {
            self.begun.push_back(now);
        }
    }

    /// Its recipients are counted, now that it leaves.
    pub(super) fn count(&mut self, hour: i64, recipients: u32) {
        match self.recipients.back_mut() {
            Some((last, count)) if *last == hour => *count += u64::from(recipients),
            _ => self.recipients.push_back((hour, u64::from(recipients))),
        }
    }

    /// A message ended; `well` if nothing about the mailbox was wrong.
    pub(super) fn end(&mut self, well: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.window = if well { self.window.saturating_mul(2).clamp(1, self.limits.concurrency) } else { 1 };
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

    fn today(&mut self, hour: i64) -> u64 {
        while self.recipients.front().is_some_and(|(old, _)| *old <= hour - HOURS) {
            self.recipients.pop_front();
        }
        self.recipients.iter().map(|(_, count)| count).sum()
    }
}
