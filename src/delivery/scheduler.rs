//! Scheduler: decides which profile sends next, subject to throttles, holds and suspensions.
//!
//! [`Scheduler`] combines the scheduled queues (the mail of each lane that waits in the store), the ready queues (the mail of each
//! profile that was claimed), the throttles of the mailboxes, the holds and the [`Suspensions`]; `turns` decides from them what is
//! claimed and sent. The dispatcher, its workers and the recorder share one under a lock. It is rebuilt from the store at each
//! start, without the pauses of mailboxes, back-offs and refusals, which a restart forgets. Its size does not depend on the number
//! of messages that wait. It does not read the system clock, connect or write to the store.

mod turns;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    ready_queue::ReadyQueue,
    route_index::RouteIndex,
    scheduled_queue::ScheduledQueue,
    sending_profile::SendingProfile,
    suspension::Suspensions,
    throttle::{MailboxThrottle, ThrottleState, minute_of},
};
use crate::{
    model::{Hold, Lane, Message, ProfileName, Provider, suspension::SuspendedProfile},
    store::outbox::{Claimed, LaneState, Usage},
    time::steady_clock::{later, moved},
};

pub(super) use turns::{Step, Turn};

/// The longest that the dispatcher sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The queues of an environment, and all that delays them.
pub(super) struct Scheduler {
    routes: Arc<RouteIndex>,
    scheduled: BTreeMap<Lane, ScheduledQueue>,
    ready: HashMap<ProfileName, ReadyQueue>,
    throttles: HashMap<String, MailboxThrottle>,
    holds: Vec<Hold>,
    suspensions: Suspensions,
    /// The usage of each mailbox before the start.
    usage: Vec<Usage>,
    /// The minute of the start, since 1970.
    usage_minute: i64,
    /// True if a mailbox was throttled at the last check.
    was_throttled: bool,
    /// The number of the newest worker ticket.
    tickets: u64,
}

/// Returns the lane of a message.
pub(super) fn lane_of(message: &Message) -> Lane {
    Lane { company: message.company.clone(), function: message.function }
}

impl Scheduler {
    /// Creates a scheduler without mail.
    pub(super) fn new(routes: Arc<RouteIndex>) -> Self {
        Self {
            routes,
            scheduled: BTreeMap::new(),
            ready: HashMap::new(),
            throttles: HashMap::new(),
            holds: Vec::new(),
            suspensions: Suspensions::default(),
            usage: Vec::new(),
            usage_minute: 0,
            was_throttled: false,
            tickets: 0,
        }
    }

    /// Returns the current routes.
    pub(super) fn routes(&self) -> &Arc<RouteIndex> {
        &self.routes
    }

    /// Returns the suspended profiles.
    pub(super) fn suspensions(&mut self) -> &mut Suspensions {
        &mut self.suspensions
    }

    /// Returns the records of the suspended profiles.
    pub(super) fn suspension_records(&self) -> impl Iterator<Item = &SuspendedProfile> {
        self.suspensions.iter()
    }

    /// Returns true if a profile is suspended.
    pub(super) fn is_suspended(&self, profile: &ProfileName) -> bool {
        self.suspensions.contains(profile)
    }

    /// Sets the usage of each mailbox before the start.
    pub(super) fn set_usage(&mut self, usage: Vec<Usage>, now: Timestamp) {
        (self.usage, self.usage_minute) = (usage, minute_of(now));
    }

    // Scheduled queues

    /// Adds the scheduled queue of a lane as the store keeps it.
    pub(super) fn restore_lane(&mut self, state: &LaneState) {
        let profile = self.route(&state.lane);
        self.scheduled.insert(state.lane.clone(), ScheduledQueue::restore(state, profile));
    }

    /// Notes that a message is due at `at`. Returns true if its lane is new.
    pub(super) fn message_due(&mut self, lane: &Lane, at: Timestamp) -> bool {
        if let Some(queue) = self.scheduled.get_mut(lane) {
            queue.add_due(at);
            return false;
        }
        let queue = ScheduledQueue::new(at, self.route(lane));
        self.scheduled.insert(lane.clone(), queue);
        true
    }

    /// Returns every lane that ever had a message.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.scheduled.keys()
    }

    /// Returns the scheduled queue of a lane.
    pub(super) fn scheduled(&self, lane: &Lane) -> Option<&ScheduledQueue> {
        self.scheduled.get(lane)
    }

    /// Returns the profile that sends the messages of a lane.
    pub(super) fn profile_of(&self, lane: &Lane) -> Option<ProfileName> {
        self.scheduled.get(lane).map_or_else(|| self.route(lane), |queue| queue.profile().cloned())
    }

    /// Returns when the first message of a lane is due, as far as it is known.
    pub(super) fn next_due(&self, lane: &Lane) -> Option<Timestamp> {
        self.scheduled.get(lane)?.next_due()
    }

    /// Forgets what is due in a lane, because the store is about to be queried for it.
    pub(super) fn clear_due(&mut self, lane: &Lane) {
        if let Some(queue) = self.scheduled.get_mut(lane) {
            queue.clear_due();
        }
    }

    /// Returns true if a message of a profile is due.
    pub(super) fn has_due(&self, profile: &ProfileName, now: Timestamp) -> bool {
        self.scheduled.values().any(|queue| queue.profile() == Some(profile) && queue.is_due(now))
    }

    /// Returns for how long the lifetime of a message was paused since it was accepted.
    pub(super) fn paused_for(&self, lane: &Lane, before: SignedDuration, now: Timestamp) -> SignedDuration {
        self.scheduled.get(lane).map_or(SignedDuration::ZERO, |queue| queue.paused_for(before, now))
    }

    /// Pauses and resumes the lifetime of messages. Returns the lanes that changed, for the store.
    pub(super) fn update_pauses(&mut self, now: Timestamp) -> Vec<LaneState> {
        let mut changed = Vec::new();
        let lanes: Vec<Lane> = self.scheduled.keys().cloned().collect();
        for lane in lanes {
            let is_paused = self.is_blocked(&lane, now) || self.is_throttled(&lane, now);
            if let Some(queue) = self.scheduled.get_mut(&lane)
                && queue.set_paused(is_paused, now)
            {
                changed.push(queue.state(lane));
            }
        }
        changed
    }

    fn route(&self, lane: &Lane) -> Option<ProfileName> {
        self.routes.resolve(&lane.company, lane.function).profile
    }

    // Ready queues

    /// Returns the ready queue of a live profile. It is created when it is first needed.
    pub(super) fn ready_queue(&mut self, name: &ProfileName) -> Option<&mut ReadyQueue> {
        if !self.ready.contains_key(name) {
            let stored = self.routes.live_profile(name)?.clone();
            let limits = stored.profile.limits();
            let profile = SendingProfile::new(name.clone(), stored, self.routes.state().generation);
            if let Some(throttle) = self.throttles.get_mut(&profile.mailbox) {
                throttle.set_limits(limits);
            } else {
                let mut throttle = MailboxThrottle::new(limits);
                let now = Instant::now();
                for usage in self.usage.iter().filter(|usage| usage.mailbox == profile.mailbox) {
                    throttle.add_usage(usage, self.usage_minute, now);
                }
                self.throttles.insert(profile.mailbox.clone(), throttle);
            }
            self.ready.insert(name.clone(), ReadyQueue::new(profile));
        }
        self.ready.get_mut(name)
    }

    /// Returns the profiles that have a ready queue.
    pub(super) fn ready_profiles(&self) -> impl Iterator<Item = &ProfileName> {
        self.ready.keys()
    }

    /// Returns the ready queue of a profile, if it has one already.
    pub(super) fn ready(&self, profile: &ProfileName) -> Option<&ReadyQueue> {
        self.ready.get(profile)
    }

    /// Adds claimed messages to the ready queue of a profile. Returns those that must be released, because the profile is gone
    /// or a hold was added in the meantime.
    pub(super) fn add_claimed(
        &mut self,
        profile: &ProfileName,
        messages: Vec<Claimed>,
        now: Timestamp,
    ) -> Vec<Claimed> {
        let Some(queue) = self.ready_queue(profile) else { return messages };
        queue.extend(messages);
        self.recall(Some(profile), now)
    }

    /// Removes claimed messages that may no longer be sent by their profile: a hold covers them, or another profile sends them
    /// now. `only` limits the check to one profile.
    pub(super) fn recall(&mut self, only: Option<&ProfileName>, now: Timestamp) -> Vec<Claimed> {
        let Self { ready, scheduled, holds, .. } = self;
        let mut recalled = Vec::new();
        for (name, queue) in ready.iter_mut().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
            recalled.extend(queue.drain_unless(|claimed| {
                let lane = lane_of(&claimed.message);
                let profile = scheduled.get(&lane).and_then(ScheduledQueue::profile);
                profile == Some(name) && !holds.iter().any(|hold| hold.covers(&lane, profile, now))
            }));
        }
        recalled
    }

    /// Removes a claimed message from its ready queue, so that the caller can change it.
    pub(super) fn remove_ready(&mut self, id: Uuid) -> Option<Claimed> {
        self.ready.values_mut().find_map(|queue| queue.remove(id))
    }

    /// Removes all claimed messages of a profile.
    pub(super) fn drain_ready(&mut self, profile: &ProfileName) -> Vec<Claimed> {
        self.ready.get_mut(profile).map(ReadyQueue::drain).unwrap_or_default()
    }

    /// Sets the routes of a new state. The ready queues of changed profiles are dropped; their messages are returned.
    pub(super) fn set_routes(&mut self, routes: Arc<RouteIndex>) -> Vec<Claimed> {
        self.routes = routes;
        for (lane, queue) in &mut self.scheduled {
            queue.set_profile(self.routes.resolve(&lane.company, lane.function).profile);
        }
        let mut released = Vec::new();
        let routes = Arc::clone(&self.routes);
        self.ready.retain(|name, queue| {
            let is_same = routes.live_profile(name).is_some_and(|stored| queue.profile().stored == *stored);
            if !is_same {
                released.extend(queue.drain());
                queue.profile().pool.close_idle(true);
            }
            is_same
        });
        released
    }

    /// Makes workers of these profiles log in again.
    pub(super) fn renew_connections<'a>(&mut self, profiles: impl IntoIterator<Item = &'a ProfileName>) {
        for name in profiles {
            if let Some(queue) = self.ready.get_mut(name) {
                queue.renew_connections();
            }
        }
    }

    /// Closes connections that were idle for too long, or all idle ones.
    pub(super) fn close_idle_connections(&self, all: bool) {
        self.ready.values().for_each(|queue| queue.profile().pool.close_idle(all));
    }

    /// Starts the back-off of a profile whose server is unavailable, and returns its claimed messages.
    pub(super) fn back_off(&mut self, profile: &ProfileName, now: Instant, random: f64, reply: &str) -> Vec<Claimed> {
        let Some(queue) = self.ready.get_mut(profile) else { return Vec::new() };
        queue.back_off(now, random, reply);
        queue.drain()
    }

    /// Ends the back-off of a profile, because its server answered.
    pub(super) fn server_answered(&mut self, profile: &ProfileName) {
        if let Some(queue) = self.ready.get_mut(profile) {
            queue.server_answered();
        }
    }

    /// Returns the profiles whose server is unavailable, sorted.
    pub(super) fn down_profiles(&self) -> Vec<ProfileName> {
        let down = self.ready.iter().filter(|(_, queue)| queue.is_down());
        let mut names: Vec<ProfileName> = down.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    // Holds

    /// Replaces the holds. Returns the claimed messages that they cover.
    pub(super) fn set_holds(&mut self, holds: Vec<Hold>, now: Timestamp) -> Vec<Claimed> {
        self.holds = holds;
        self.recall(None, now)
    }

    /// Returns the holds in effect.
    pub(super) fn holds(&self, now: Timestamp) -> Vec<Hold> {
        self.holds.iter().filter(|hold| hold.until.is_none_or(|until| until > now)).cloned().collect()
    }

    /// Removes holds that have expired. Returns true if there were any.
    pub(super) fn expire_holds(&mut self, now: Timestamp) -> bool {
        let before = self.holds.len();
        self.holds.retain(|hold| hold.until.is_none_or(|until| until > now));
        before != self.holds.len()
    }

    /// Returns the hold that covers a lane.
    pub(super) fn find_hold(&self, lane: &Lane, now: Timestamp) -> Option<&Hold> {
        let profile = self.scheduled.get(lane)?.profile();
        self.holds.iter().find(|hold| hold.covers(lane, profile, now))
    }

    /// Returns true if no message of a lane may be sent: a hold covers it, or no profile can send it.
    fn is_blocked(&self, lane: &Lane, now: Timestamp) -> bool {
        let Some(queue) = self.scheduled.get(lane) else { return false };
        let Some(profile) = queue.profile() else { return true };
        let stored = self.routes.live_profile(profile);
        self.find_hold(lane, now).is_some()
            || stored.is_some_and(|stored| matches!(stored.profile.provider, Provider::MicrosoftGraphDelegate(_)))
            || self.suspensions.contains(profile)
    }

    // Throttles

    /// Returns true if mail of a lane is due and waits for its mailbox.
    fn is_throttled(&self, lane: &Lane, now: Timestamp) -> bool {
        let queue = self.scheduled.get(lane).filter(|queue| queue.is_due(now));
        let profile = queue.and_then(ScheduledQueue::profile);
        profile.is_some_and(|profile| self.throttle_state(profile, Instant::now(), minute_of(now)).is_some())
    }

    /// Returns why the mailbox of a profile sends nothing now; none if it sends.
    pub(super) fn throttle_state(&self, profile: &ProfileName, instant: Instant, minute: i64) -> Option<ThrottleState> {
        self.throttles.get(&self.ready.get(profile)?.profile().mailbox)?.why_blocked(instant, minute)
    }

    /// Returns true if a mailbox is throttled or was throttled at the last call: then lifetimes may have to pause or resume.
    pub(super) fn throttles_matter(&mut self, now: Timestamp, instant: Instant) -> bool {
        let minute = minute_of(now);
        let is_throttled = self.throttles.values().any(|throttle| throttle.why_blocked(instant, minute).is_some());
        std::mem::replace(&mut self.was_throttled, is_throttled) || is_throttled
    }

    /// Pauses a mailbox whose server asked to wait.
    pub(super) fn pause_mailbox(&mut self, mailbox: &str, now: Instant, until: Instant, reply: &str) {
        if let Some(throttle) = self.throttles.get_mut(mailbox) {
            throttle.pause(now, until, reply);
        }
    }

    /// Ends the pause of the mailbox that sends the mail of a lane, and makes the probe of its suspended profile due. Returns true
    /// if there was one.
    pub(super) fn end_pause(&mut self, lane: &Lane, now: Timestamp) -> bool {
        let Some(profile) = self.scheduled.get(lane).and_then(ScheduledQueue::profile) else { return false };
        if self.suspensions.probe_now(profile, now) {
            return true;
        }
        let Some(queue) = self.ready.get(profile) else { return false };
        self.throttles.get_mut(&queue.profile().mailbox).is_some_and(MailboxThrottle::end_pause)
    }

    /// Returns the profiles whose mailbox is paused, sorted, each with the remaining time.
    pub(super) fn paused_profiles(&self, now: Instant) -> Vec<(ProfileName, Duration)> {
        let remaining = |queue: &ReadyQueue| {
            let until = self.throttles.get(&queue.profile().mailbox)?.paused_until(now)?;
            Some(until.saturating_duration_since(now))
        };
        let paused = self.ready.iter().filter_map(|(name, queue)| Some((name.clone(), remaining(queue)?)));
        let mut paused: Vec<_> = paused.collect();
        paused.sort();
        paused
    }

    /// Reduces a mailbox to one message at a time, after something went wrong.
    pub(super) fn slow_down(&mut self, mailbox: &str) {
        if let Some(throttle) = self.throttles.get_mut(mailbox) {
            throttle.slow_down();
        }
    }

    /// Counts the recipients of a message that is handed to the server.
    pub(super) fn count_recipients(&mut self, mailbox: &str, now: Timestamp, recipients: u32) {
        if let Some(throttle) = self.throttles.get_mut(mailbox) {
            throttle.count_recipients(minute_of(now), recipients);
        }
    }

    // Time

    /// Returns when there is something to do that depends on time alone.
    pub(super) fn next_wake(&mut self, now: Timestamp, instant: Instant) -> Instant {
        let until = |at: Timestamp| {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            instant + wait.min(LONGEST_SLEEP)
        };
        let mut wakes = vec![instant + LONGEST_SLEEP];
        let due = self.scheduled.values().filter_map(ScheduledQueue::next_due).filter(|due| *due > now);
        wakes.extend(due.map(until));
        wakes.extend(self.ready.values().filter_map(|queue| queue.backs_off_until(instant)));
        let with_due: Vec<String> = self
            .scheduled
            .values()
            .filter(|queue| queue.is_due(now))
            .filter_map(|queue| Some(self.ready.get(queue.profile()?)?.profile().mailbox.clone()))
            .collect();
        for mailbox in with_due {
            wakes.extend(self.throttles.get_mut(&mailbox).and_then(|throttle| throttle.next_available(instant)));
        }
        wakes.extend(self.suspensions.next_probe().map(until));
        let holds = self.holds.iter().filter_map(|hold| hold.until);
        wakes.extend(holds.map(|end| until(later(end, Duration::from_millis(1)))));
        wakes.into_iter().min().unwrap_or(instant).max(instant + Duration::from_millis(1))
    }

    /// Moves everything that waits, because the system clock was set.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        self.scheduled.values_mut().for_each(|queue| queue.shift(by));
        let minutes = by.as_mins();
        self.throttles.values_mut().for_each(|throttle| throttle.shift(minutes));
        self.usage.iter_mut().for_each(|usage| usage.minute = moved(usage.minute, SignedDuration::from_mins(minutes)));
        self.usage_minute += minutes;
        self.suspensions.shift(by);
    }
}

#[cfg(test)]
mod tests;
