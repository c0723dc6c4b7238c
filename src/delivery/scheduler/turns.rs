//! Turns: which profiles may claim how many messages of which lanes now, and what a worker does next.
//!
//! The dispatcher asks [`Scheduler::next_turns`] and claims what a [`Turn`] allows; each worker asks [`Scheduler::next_step`]
//! before each message. A profile that is suspended, backs off, or whose mailbox is paused gets no turn. After a login that worked
//! again, or an outage, one message goes first. Nothing here claims, sends or reads the system clock.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use jiff::Timestamp;
use tokio::sync::futures::OwnedNotified;

use super::Scheduler;
use crate::{
    delivery::{
        ready_queue::{ReadyQueue, count_waiting},
        sending_profile::SendingProfile,
        suspension::ProbeState,
        throttle::{MailboxThrottle, minute_of},
    },
    model::{Lane, ProfileName},
    store::outbox::Claimed,
};

/// The number of messages per connection that wait in memory, if the mailbox has no rate.
const READ_AHEAD: usize = 4;

/// Messages that a profile may claim.
pub(in crate::delivery) struct Turn {
    pub(in crate::delivery) profile: ProfileName,
    pub(in crate::delivery) claims: Vec<(Lane, usize)>,
}

/// The next step of a worker.
#[expect(clippy::large_enum_variant, reason = "it is matched at once; a box for each message would cost more")]
pub(in crate::delivery) enum Step {
    /// Sends this message.
    Send(Arc<SendingProfile>, Claimed),
    /// Waits: the connections of the mailbox are in use by another profile.
    Wait(OwnedNotified),
    /// Ends: no message may be started now.
    End,
}

impl Scheduler {
    /// Returns the profiles that may send now, and how many messages of which lanes each may claim.
    pub(in crate::delivery) fn next_turns(&mut self, now: Timestamp, instant: Instant) -> Vec<Turn> {
        let mut waiting: BTreeMap<ProfileName, Vec<Lane>> = BTreeMap::new();
        for (lane, queue) in &self.scheduled {
            let Some(profile) = queue.profile().filter(|_| queue.is_due(now)) else { continue };
            // A suspension that sends one message does not block its lanes.
            let is_blocked = match self.suspensions.state(profile) {
                Some(ProbeState::SendingOne) => self.find_hold(lane, now).is_some(),
                _ => self.is_blocked(lane, now),
            };
            if !is_blocked {
                waiting.entry(profile.clone()).or_default().push(lane.clone());
            }
        }
        let mut turns = Vec::new();
        for (profile, lanes) in waiting {
            let room = self.room(&profile, now, instant);
            let Some(queue) = self.ready.get_mut(&profile).filter(|_| room > 0) else { continue };
            let claims = queue.shares.divide(lanes, room);
            turns.push(Turn { profile, claims });
        }
        turns
    }

    /// Returns how many messages a profile may claim.
    fn room(&mut self, profile: &ProfileName, now: Timestamp, instant: Instant) -> usize {
        let probe = self.suspensions.state(profile);
        let Some(queue) = self.ready_queue(profile) else { return 0 };
        if queue.backs_off_until(instant).is_some() {
            return 0;
        }
        let (ready, workers, is_down) = (queue.len(), queue.workers(), queue.is_down());
        let mailbox = queue.profile().mailbox.clone();
        let Some(throttle) = self.throttles.get_mut(&mailbox) else { return 0 };
        let minute = minute_of(now);
        match probe {
            Some(ProbeState::Waiting | ProbeState::LoggingIn) => return 0,
            None if !is_down => {}
            // One message goes first, if its mailbox allows it to be started.
            Some(ProbeState::SendingOne) | None => {
                let is_allowed = throttle.allowance(instant, minute, ready) > 0;
                return usize::from(is_allowed && ready == 0 && workers == 0);
            }
        }
        if throttle.may_read_ahead() {
            if throttle.paused_until(instant).is_some() {
                return 0;
            }
            let wanted = READ_AHEAD * throttle.concurrency();
            // A few messages are not worth a claim.
            return if ready * 2 <= wanted { wanted - ready } else { 0 };
        }
        throttle.available(instant, minute, ready)
    }

    /// Returns the next step of a worker. `ticket` identifies the worker: workers of profiles that share a mailbox take turns
    /// at its connections.
    pub(in crate::delivery) fn next_step(
        &mut self,
        profile: &ProfileName,
        ticket: u64,
        now: Timestamp,
        instant: Instant,
    ) -> Step {
        // A worker of a queue that was replaced sends nothing of the new one, which has workers of its own.
        let own = self.ready.get(profile).filter(|queue| queue.has_worker(ticket) && queue.len() > 0);
        let Some(queue) = own else { return Step::End };
        let mailbox = &queue.profile().mailbox;
        let Some(throttle) = self.throttles.get_mut(mailbox) else { return Step::End };
        if throttle.allowance(instant, minute_of(now), 0) == 0 {
            return Step::End;
        }
        if throttle.must_wait(ticket) {
            // Without another profile at the mailbox, the own workers free a connection and send the message.
            let is_shared = |(name, other): (&ProfileName, &ReadyQueue)| {
                name != profile && other.workers() > 0 && other.profile().mailbox == *mailbox
            };
            if !self.ready.iter().any(is_shared) {
                return Step::End;
            }
            return Step::Wait(throttle.enqueue(ticket));
        }
        let Some(queue) = self.ready.get_mut(profile) else { return Step::End };
        let Some(claimed) = queue.pop() else { return Step::End };
        throttle.message_started(instant, count_waiting(&claimed));
        throttle.dequeue(ticket);
        Step::Send(Arc::clone(queue.profile()), claimed)
    }

    /// Starts as many workers as a profile can use now. Returns a ticket for each.
    pub(in crate::delivery) fn start_workers(&mut self, profile: &ProfileName) -> Vec<u64> {
        let Some(queue) = self.ready.get_mut(profile) else { return Vec::new() };
        let concurrency = self.throttles.get(&queue.profile().mailbox).map_or(1, MailboxThrottle::concurrency);
        let count = queue.len().min(concurrency).saturating_sub(queue.workers());
        (0..count)
            .map(|_| {
                self.tickets += 1;
                queue.worker_started(self.tickets);
                self.tickets
            })
            .collect()
    }

    /// Counts a message of a worker off. Returns true if more should be claimed for the profile.
    pub(in crate::delivery) fn message_ended(
        &mut self,
        profile: &ProfileName,
        mailbox: &str,
        is_healthy: bool,
        recipients: u64,
    ) -> bool {
        if let Some(throttle) = self.throttles.get_mut(mailbox) {
            throttle.message_ended(is_healthy, recipients);
        }
        self.ready.get(profile).is_none_or(ReadyQueue::is_low)
    }

    /// Ends a worker. Returns claimed messages that have no worker any more.
    pub(in crate::delivery) fn end_worker(&mut self, profile: &ProfileName, ticket: u64) -> Vec<Claimed> {
        self.throttles.values_mut().for_each(|throttle| throttle.dequeue(ticket));
        self.ready.get_mut(profile).map(|queue| queue.worker_ended(ticket)).unwrap_or_default()
    }
}
