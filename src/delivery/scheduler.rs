//! What delivery keeps in mind: whose turn it is, what each mailbox may still send, what stands still and why. All of it
//! can be made again from the store; none of it grows with the messages that wait.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{Semaphore, futures::OwnedNotified};

use super::{refusals::Refusals, smtp::Pool};
use crate::{
    delivery::{fair_share::Shares, route_index::Routes, throttle::Counter},
    model::{
        Digest, Function, Hold, Lane, ProfileName, Provider, StoredProfile, message::RecipientStatus,
        rotation::Rotation, suspension::Parked,
    },
    store::outbox::{Claimed, LaneState, Usage},
    time::steady_clock::moved,
};

/// How many messages wait in memory for each connection, where there is no rate.
const READ_AHEAD: usize = 4;
/// The longest that a server which cannot be reached is left alone.
const LONGEST_DOWN: Duration = Duration::from_secs(60);
/// How many KiB of large messages of one profile are in memory at once: two thirds of what all have.
pub(super) const LARGE_OF_ONE: u32 = 64 * 1024;

/// The lines of messages, and who serves them.
pub(super) struct Board {
    pub(super) routes: Arc<Routes>,
    pub(super) lanes: BTreeMap<Lane, LaneLine>,
    pub(super) lines: HashMap<ProfileName, Line>,
    pub(super) counters: HashMap<String, Counter>,
    pub(super) holds: Vec<Hold>,
    pub(super) parked: HashMap<ProfileName, ParkedLine>,
    /// What came of next secrets, by what was rotated.
    pub(super) rotations: HashMap<Digest, Rotation>,
    /// One at a time tries a next secret; the others wait for what comes of it.
    pub(super) trials: HashMap<Digest, Arc<tokio::sync::Mutex<()>>>,
    /// How many next secrets are being tried with no message behind them.
    pub(super) trying: usize,
    /// What each mailbox had sent before the start.
    pub(super) usage: Vec<Usage>,
    /// When that was, in minutes since 1970.
    pub(super) usage_at: i64,
    /// Whether a mailbox had to wait when that was last looked at.
    limited: bool,
    /// The number of the newest worker's ticket.
    tickets: u64,
}

/// A company and a function.
#[derive(Clone, Debug)]
pub(super) struct LaneLine {
    pub(super) next_due: Option<i64>,
    pub(super) sender: Option<ProfileName>,
    paused_since: Option<i64>,
    paused_total: i64,
}

/// A profile that sends.
pub(super) struct Line {
    pub(super) sender: Arc<Sending>,
    pub(super) ready: VecDeque<Claimed>,
    pub(super) workers: usize,
    /// What the server refused since the profile is as it is.
    pub(super) refusals: Refusals,
    shares: Shares,
    down_until: Option<Instant>,
    down_count: u32,
}

/// What a worker needs of a profile; another one once the profile changes.
pub(super) struct Sending {
    pub(super) name: ProfileName,
    pub(super) stored: StoredProfile,
    pub(super) of: Digest,
    pub(super) generation: u64,
    pub(super) mailbox: String,
    pub(super) pool: Pool,
    /// Room for its large messages, in KiB: a server that stalls leaves some of all the room to the others.
    pub(super) large: Arc<Semaphore>,
}

/// A profile that is parked.
pub(super) struct ParkedLine {
    pub(super) parked: Parked,
    pub(super) tries: u32,
    pub(super) probing: bool,
    /// One message may try whether it works again.
    pub(super) trial: bool,
}

/// Messages that a worker is to take.
pub(super) struct Turn {
    pub(super) profile: ProfileName,
    pub(super) claims: Vec<(Lane, usize)>,
}

/// What a worker does next.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once; a box for each message would cost more")]
pub(super) enum Step {
    /// Sends this message.
    Send(Arc<Sending>, Claimed),
    /// Waits: the mailbox's connections are in use by another profile of the same mailbox.
    Wait(OwnedNotified),
    /// Ends: nothing may begin now.
    End,
}

impl Sending {
    /// The same with no connections yet.
    pub(super) fn renewed(&self) -> Self {
        Self {
            name: self.name.clone(),
            stored: self.stored.clone(),
            of: self.of.clone(),
            generation: self.generation,
            mailbox: self.mailbox.clone(),
            pool: Pool::default(),
            large: Arc::clone(&self.large),
        }
    }
}

impl Board {
    pub(super) fn new(routes: Arc<Routes>) -> Self {
        Self {
            routes,
            lanes: BTreeMap::new(),
            lines: HashMap::new(),
            counters: HashMap::new(),
            holds: Vec::new(),
            parked: HashMap::new(),
            rotations: HashMap::new(),
            trials: HashMap::new(),
            trying: 0,
            usage: Vec::new(),
            usage_at: 0,
            limited: false,
            tickets: 0,
        }
    }

    /// Takes a lane as the store has it.
    pub(super) fn restore(&mut self, state: LaneState) {
        let sender = self.routes.resolve(&state.lane.company, state.lane.function).profile;
        let LaneState { lane, next_due, paused_since, paused_total } = state;
        self.lanes.insert(lane, LaneLine { next_due, sender, paused_since, paused_total });
    }

    /// A message of the lane is due then. True if nobody knew of the lane.
    pub(super) fn due(&mut self, lane: &Lane, at: i64) -> bool {
        if let Some(line) = self.lanes.get_mut(lane) {
            line.next_due = Some(line.next_due.map_or(at, |due| due.min(at)));
            return false;
        }
        let sender = self.routes.resolve(&lane.company, lane.function).profile;
        let line = LaneLine { next_due: Some(at), sender, paused_since: None, paused_total: 0 };
        self.lanes.insert(lane.clone(), line);
        true
    }

    /// When the first message that waits in the lane is due, as far as anybody has said so.
    pub(super) fn next_due(&self, lane: &Lane) -> Option<i64> {
        self.lanes.get(lane)?.next_due
    }

    /// Whatever was due in the lane is being asked for.
    pub(super) fn forget_due(&mut self, lane: &Lane) {
        if let Some(line) = self.lanes.get_mut(lane) {
            line.next_due = None;
        }
    }

    /// Takes a new state. Lines of profiles that are another by now are let go; what they had claimed comes back.
    pub(super) fn set_routes(&mut self, routes: Arc<Routes>) -> Vec<Claimed> {
        self.routes = routes;
        for (lane, line) in &mut self.lanes {
            line.sender = self.routes.resolve(&lane.company, lane.function).profile;
        }
        let mut back = Vec::new();
        let routes = Arc::clone(&self.routes);
        self.lines.retain(|name, line| {
            let same = routes.stored(name).is_some_and(|stored| line.sender.stored == *stored);
            if !same {
                back.extend(line.ready.drain(..));
                line.sender.pool.tidy(true);
            }
            same
        });
        back
    }

    /// Takes back what was read ahead and may not leave as it was meant to any more: a hold has come over it, or another
    /// profile serves it now. `only` names a profile if the others need no look.
    pub(super) fn take_back(&mut self, only: Option<&ProfileName>, now: Timestamp) -> Vec<Claimed> {
        let mut back = Vec::new();
        let mut lines = std::mem::take(&mut self.lines);
        for (name, line) in lines.iter_mut().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
            let (stay, go): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut line.ready).into_iter().partition(|claimed| {
                    let lane = lane_of(&claimed.message);
                    let own = self.lanes.get(&lane).is_some_and(|lane| lane.sender.as_ref() == Some(name));
                    own && self.held(&lane, now).is_none()
                });
            line.ready = stay;
            back.extend(go);
        }
        self.lines = lines;
        back
    }

    /// Takes back one message that was read ahead, for somebody who wants to change it.
    pub(super) fn take_out(&mut self, id: uuid::Uuid) -> Option<Claimed> {
        self.lines.values_mut().find_map(|line| {
            let at = line.ready.iter().position(|claimed| claimed.message.id == id)?;
            line.ready.remove(at)
        })
    }

    /// The line of a profile; made when it is first needed.
    pub(super) fn line(&mut self, name: &ProfileName) -> Option<&mut Line> {
        if !self.lines.contains_key(name) {
            let stored = self.routes.stored(name)?.clone();
            let mailbox = mailbox(&stored);
            let limits = stored.profile.limits();
            if let Some(counter) = self.counters.get_mut(&mailbox) {
                counter.set_limits(limits);
            } else {
                let mut counter = Counter::new(limits);
                let now = Instant::now();
                for usage in self.usage.iter().filter(|usage| usage.mailbox == mailbox) {
                    counter.remember(usage, self.usage_at, now);
                }
                self.counters.insert(mailbox.clone(), counter);
            }
            let sender = Arc::new(Sending {
                name: name.clone(),
                of: Digest::of_document(&stored),
                generation: self.routes.state().generation,
                mailbox,
                pool: Pool::default(),
                large: Arc::new(Semaphore::new(LARGE_OF_ONE as usize)),
                stored,
            });
            let line = Line {
                sender,
                ready: VecDeque::new(),
                workers: 0,
                refusals: Refusals::default(),
                shares: Shares::default(),
                down_until: None,
                down_count: 0,
            };
            self.lines.insert(name.clone(), line);
        }
        self.lines.get_mut(name)
    }

    fn held(&self, lane: &Lane, now: Timestamp) -> Option<&Hold> {
        let line = self.lanes.get(lane)?;
        self.holds.iter().find(|hold| hold.covers(lane, line.sender.as_ref(), now))
    }

    /// Why nothing of a lane may leave just now; none if it may.
    pub(super) fn blocked(&self, lane: &Lane, now: Timestamp) -> Option<String> {
        let line = self.lanes.get(lane)?;
        if let Some(hold) = self.held(lane, now) {
            return Some(format!("held by {}: {}", hold.owner, hold.reason));
        }
        let Some(sender) = &line.sender else {
            return Some(format!("no profile serves {} for {} any more", lane.function.id(), lane.company));
        };
        if self
            .routes
            .stored(sender)
            .is_some_and(|stored| matches!(stored.profile.provider, Provider::MicrosoftGraphDelegate(_)))
        {
            return Some(format!("`{sender}` sends as a signed-in user, and nobody is signed in here"));
        }
        let parked = self.parked.get(sender)?;
        Some(format!("the profile `{sender}` is parked: {}", parked.parked.reason))
    }

    /// Why a lane's mail waits for its mailbox to have room, if it does.
    pub(super) fn limited(&self, lane: &Lane, now: Timestamp) -> Option<String> {
        let line = self.lanes.get(lane)?;
        line.next_due.filter(|due| *due <= now.as_millisecond())?;
        let sender = line.sender.as_ref()?;
        let counter = self.counters.get(&self.lines.get(sender)?.sender.mailbox)?;
        let why = counter.waits_for(Instant::now(), now.as_second() / 60)?;
        Some(format!("the profile `{sender}` waits: {why}"))
    }

    /// Ends the pause of the mailbox that sends a lane's mail. Returns true if it was paused.
    pub(super) fn end_pause(&mut self, lane: &Lane) -> bool {
        let sender = self.lanes.get(lane).and_then(|line| line.sender.as_ref());
        let Some(line) = sender.and_then(|sender| self.lines.get(sender)) else { return false };
        self.counters.get_mut(&line.sender.mailbox).is_some_and(|counter| counter.paused_until.take().is_some())
    }

    /// Whether the clocks of lanes may have to stop or start on account of what mailboxes may send.
    pub(super) fn limits_matter(&mut self, now: Timestamp, instant: Instant) -> bool {
        let minute = now.as_second() / 60;
        let are = self.counters.values().any(|counter| counter.waits_for(instant, minute).is_some());
        std::mem::replace(&mut self.limited, are) || are
    }

    /// Stops and starts the clocks of lanes, as things are now. What changed is to be written.
    pub(super) fn repause(&mut self, now: Timestamp) -> Vec<LaneState> {
        let at = now.as_millisecond();
        let mut changed = Vec::new();
        let lanes: Vec<Lane> = self.lanes.keys().cloned().collect();
        for lane in lanes {
            let blocked = self.blocked(&lane, now).or_else(|| self.limited(&lane, now)).is_some();
            let Some(line) = self.lanes.get_mut(&lane) else { continue };
            match (blocked, line.paused_since) {
                (true, None) => line.paused_since = Some(at),
                (false, Some(since)) => {
                    line.paused_total += (at - since).max(0);
                    line.paused_since = None;
                }
                _ => continue,
            }
            let LaneLine { next_due, paused_since, paused_total, .. } = line.clone();
            changed.push(LaneState { lane, next_due, paused_since, paused_total });
        }
        changed
    }

    /// How long a lane's clock has stood still since a message was accepted, in milliseconds.
    pub(super) fn stood_still(&self, lane: &Lane, paused_before: i64, now: i64) -> i64 {
        let Some(line) = self.lanes.get(lane) else { return 0 };
        let total = line.paused_total + line.paused_since.map_or(0, |since| (now - since).max(0));
        total - paused_before
    }

    /// The clock was set: everything that waits moves with it, and no lane's time has passed for it.
    pub(super) fn follow(&mut self, by: i64) {
        for line in self.lanes.values_mut() {
            line.next_due = line.next_due.map(|due| due + by);
            line.paused_since = line.paused_since.map(|since| since + by);
            line.paused_total += by;
        }
        let minutes = by / 60_000;
        self.counters.values_mut().for_each(|counter| counter.follow(minutes));
        self.usage.iter_mut().for_each(|usage| usage.minute += minutes);
        self.usage_at += minutes;
        for line in self.parked.values_mut() {
            line.parked.next_probe_at = moved(line.parked.next_probe_at, by);
        }
    }

    /// Whose turn it is, and how many messages of which lanes each may take.
    pub(super) fn turns(&mut self, now: Timestamp, instant: Instant) -> Vec<Turn> {
        let at = now.as_millisecond();
        let mut waiting: BTreeMap<ProfileName, Vec<Lane>> = BTreeMap::new();
        for (lane, line) in &self.lanes {
            let Some(sender) = line.sender.as_ref().filter(|_| line.next_due.is_some_and(|due| due <= at)) else {
                continue;
            };
            let trial = self.parked.get(sender).is_some_and(|parked| parked.trial);
            // What blocks a lane is asked anew: a lane may be younger than the hold that is for it.
            if if trial { self.held(lane, now).is_none() } else { self.blocked(lane, now).is_none() } {
                waiting.entry(sender.clone()).or_default().push(lane.clone());
            }
        }
        let mut turns = Vec::new();
        for (profile, lanes) in waiting {
            let room = self.room(&profile, now, instant);
            let Some(line) = self.lines.get_mut(&profile).filter(|_| room > 0) else { continue };
            let claims = line.shares.of(lanes, room);
            turns.push(Turn { profile, claims });
        }
        turns
    }

    fn room(&mut self, profile: &ProfileName, now: Timestamp, instant: Instant) -> usize {
        let parked = self.parked.get(profile).map(|parked| parked.trial);
        let Some(line) = self.line(profile) else { return 0 };
        if line.down_until.is_some_and(|until| until > instant) {
            return 0;
        }
        let (ready, mailbox, is_down) = (line.ready.len(), line.sender.mailbox.clone(), line.down_count > 0);
        let workers = line.workers;
        let Some(counter) = self.counters.get_mut(&mailbox) else { return 0 };
        let minute = now.as_second() / 60;
        match parked {
            Some(false) => return 0,
            // One message goes first. It waits for the mailbox as any other: what nothing allows to begin is not claimed.
            None if !is_down => {}
            Some(true) | None => {
                let allowed = counter.allowance(instant, minute, ready) > 0;
                return usize::from(allowed && ready == 0 && workers == 0);
            }
        }
        if counter.may_read_ahead() {
            if counter.paused_until.is_some_and(|until| until > instant) {
                return 0;
            }
            let wanted = READ_AHEAD * counter.concurrency();
            // A little is not worth asking for.
            return if ready * 2 <= wanted { wanted - ready } else { 0 };
        }
        counter.room(instant, minute, ready)
    }

    /// What a worker of the profile does next. `ticket` is the worker's own: workers of profiles that share a mailbox take
    /// turns at its connections.
    pub(super) fn next(&mut self, profile: &ProfileName, ticket: u64, minute: i64, instant: Instant) -> Step {
        let Some(line) = self.lines.get(profile).filter(|line| !line.ready.is_empty()) else { return Step::End };
        let Some(counter) = self.counters.get_mut(&line.sender.mailbox) else { return Step::End };
        if counter.allowance(instant, minute, 0) == 0 {
            return Step::End;
        }
        if counter.must_queue(ticket) {
            // Without another profile at work, the profile's own workers free the connection and take the message.
            let shared = |(name, other): (&ProfileName, &Line)| {
                name != profile && other.workers > 0 && other.sender.mailbox == line.sender.mailbox
            };
            if !self.lines.iter().any(shared) {
                return Step::End;
            }
            return Step::Wait(counter.enqueue(ticket));
        }
        let Some(line) = self.lines.get_mut(profile) else { return Step::End };
        let Some(claimed) = line.ready.pop_front() else { return Step::End };
        counter.begin(instant, waiting(&claimed));
        counter.dequeue(ticket);
        Step::Send(Arc::clone(&line.sender), claimed)
    }

    /// A ticket for a worker.
    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// A worker that waited for a connection waits no more.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.counters.values_mut().for_each(|counter| counter.dequeue(ticket));
    }

    /// How many more workers a profile may have.
    pub(super) fn workers_wanted(&mut self, profile: &ProfileName) -> usize {
        let Some(line) = self.lines.get(profile) else { return 0 };
        let concurrency = self.counters.get(&line.sender.mailbox).map_or(1, Counter::concurrency);
        line.ready.len().min(concurrency).saturating_sub(line.workers)
    }

    /// The server of a profile cannot be reached. What was claimed comes back.
    pub(super) fn down(&mut self, profile: &ProfileName, now: Instant, chance: f64) -> Vec<Claimed> {
        let Some(line) = self.lines.get_mut(profile) else { return Vec::new() };
        // Those that were under way when the first one failed say nothing new.
        if line.down_until.is_none_or(|until| until <= now) {
            let wait = Duration::from_secs(1 << line.down_count.min(9)).min(LONGEST_DOWN);
            line.down_until = Some(now + wait.mul_f64(0.75 + chance / 2.0));
            line.down_count += 1;
        }
        line.ready.drain(..).collect()
    }

    /// The server of a profile answered.
    pub(super) fn up(&mut self, profile: &ProfileName) {
        if let Some(line) = self.lines.get_mut(profile) {
            (line.down_until, line.down_count) = (None, 0);
        }
    }

    /// The profiles whose server cannot be reached, and for how long they are left alone.
    pub(super) fn is_down(&self, profile: &ProfileName) -> bool {
        self.lines.get(profile).is_some_and(|line| line.down_count > 0)
    }

    /// When there is something to do that only the clock brings.
    pub(super) fn next_wake(&mut self, now: Timestamp, instant: Instant) -> Instant {
        let at = now.as_millisecond();
        let from = |milliseconds: i64| instant + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
        let mut wakes = vec![instant + Duration::from_secs(30)];
        wakes.extend(
            self.lanes.values().filter_map(|line| line.next_due).filter(|due| *due > at).map(|due| from(due - at)),
        );
        wakes.extend(self.lines.values().filter_map(|line| line.down_until).filter(|until| *until > instant));
        let has_due: Vec<String> = self
            .lanes
            .values()
            .filter(|line| line.next_due.is_some_and(|due| due <= at))
            .filter_map(|line| Some(self.lines.get(line.sender.as_ref()?)?.sender.mailbox.clone()))
            .collect();
        for mailbox in has_due {
            wakes.extend(self.counters.get_mut(&mailbox).and_then(|counter| counter.next_room(instant)));
        }
        wakes.extend(
            self.parked
                .values()
                .filter(|parked| !parked.probing && !parked.trial)
                .map(|parked| from(parked.parked.next_probe_at.as_millisecond() - at)),
        );
        wakes.extend(self.next_trial().map(|next| from(next.as_millisecond() - at)));
        wakes
            .extend(self.holds.iter().filter_map(|hold| hold.until).map(|until| from(until.as_millisecond() - at + 1)));
        wakes.into_iter().min().unwrap_or(instant).max(instant + Duration::from_millis(1))
    }
}

/// What is counted together: one login at one server, one mailbox of one application.
fn mailbox(stored: &StoredProfile) -> String {
    let profile = &stored.profile;
    let from = profile.from_address().unwrap_or_default().to_lowercase();
    match &profile.provider {
        Provider::Smtp(smtp) => {
            let who = smtp.username.as_deref().unwrap_or(&from).to_lowercase();
            format!("smtp:{}:{}:{who}", smtp.host.to_lowercase(), smtp.port)
        }
        Provider::MicrosoftGraphDirect(direct) => format!("graph:{}:{from}", direct.client.to_lowercase()),
        Provider::MicrosoftGraphDelegate(delegate) => format!("graph:{}", delegate.client.to_lowercase()),
    }
}

/// How many recipients are still to be reached.
pub(super) fn waiting(claimed: &Claimed) -> u64 {
    claimed.message.recipients.iter().filter(|recipient| recipient.status == RecipientStatus::Waiting).count() as u64
}

/// A lane of a message.
pub(super) fn lane_of(message: &crate::model::Message) -> Lane {
    let function: Function = message.function;
    Lane { company: message.company.clone(), function }
}

#[cfg(test)]
mod tests;
