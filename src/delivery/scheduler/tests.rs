//! Property tests of the scheduler: under any sequence of delays it claims no message that cannot be started, sends every
//! message at last, and wakes only when something is due.
//!
//! [`Simulation`] replaces the dispatcher: its time is simulated, and its store is a list.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

use proptest::prelude::*;
use serde_json::json;

use crate::{
    delivery::scheduler::*,
    model::{Digest, EnvironmentName, ProfileState, Settings, State, StoredProfile},
};

/// A change from outside the scheduler.
#[derive(Clone, Debug)]
enum Event {
    /// One of the attempts in flight ends.
    End(usize, Outcome),
    /// Mail is submitted for a lane.
    Submit(usize, usize),
    /// A lane is held for so many seconds.
    Hold(usize, i64),
    /// A profile is suspended, and tried again after so many seconds.
    Suspend(usize, i64),
    /// The login of a suspended profile works again: one message goes first.
    Trial(usize),
    /// Time passes; the scheduler wakes at the times that it asked for.
    Wait(u64),
}

#[derive(Clone, Debug)]
enum Outcome {
    Delivered,
    Transient(i64),
    Throttled(u64),
    Down,
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        Just(Outcome::Delivered),
        (1..40_i64).prop_map(Outcome::Transient),
        (1..90_u64).prop_map(Outcome::Throttled),
        Just(Outcome::Down),
    ];
    prop_oneof![
        6 => (0..8_usize, outcome).prop_map(|(which, outcome)| Event::End(which, outcome)),
        3 => (0..4_usize, 1..12_usize).prop_map(|(lane, count)| Event::Submit(lane, count)),
        1 => (0..4_usize, 1..60_i64).prop_map(|(lane, seconds)| Event::Hold(lane, seconds)),
        1 => (0..3_usize, 1..60_i64).prop_map(|(profile, seconds)| Event::Suspend(profile, seconds)),
        2 => (0..3_usize).prop_map(Event::Trial),
        3 => (1..45_u64).prop_map(Event::Wait),
    ]
}

/// Limits of a profile, as its file states them.
fn limits() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(json!({})),
        (1..4_u16).prop_map(|at_once| json!({ "concurrency": at_once })),
        (1..6_u32).prop_map(|rate| json!({ "perMinute": rate })),
        (1..6_u32).prop_map(|day| json!({ "recipientsPerDay": day, "concurrency": 2 })),
        (1..6_u32, 1..6_u32).prop_map(|(rate, day)| json!({ "perMinute": rate, "recipientsPerDay": day })),
    ]
}

struct Simulation {
    scheduler: Scheduler,
    now: Timestamp,
    instant: Instant,
    /// The messages in the store: the lane of each, and when it is due.
    stored: Vec<(Lane, Timestamp)>,
    in_flight: Vec<(ProfileName, u64, Lane)>,
    /// Workers that wait for a connection.
    queued: Vec<(ProfileName, u64)>,
    lanes: Vec<Lane>,
    profiles: Vec<ProfileName>,
}

impl Simulation {
    /// Creates three profiles, of which the first two use one mailbox if `shared`, and four lanes.
    fn new(shared: bool, limits: [serde_json::Value; 3]) -> Self {
        let environment: EnvironmentName = "simulated".parse().unwrap();
        let mut state = State::empty(environment);
        state.settings = Settings { companies: ["A", "B"].map(|id| id.parse().unwrap()).into(), ..Settings::default() };
        let functions = [json!(["default"]), json!(["all-reports"]), json!(["electronic-signatures"])];
        let mut profiles = Vec::new();
        for (index, (functions, limits)) in functions.into_iter().zip(limits).enumerate() {
            let name: ProfileName = format!("p{index}").parse().unwrap();
            let user = if shared && index < 2 { "mailer".to_owned() } else { format!("mailer{index}") };
            let profile = serde_json::from_value(json!({
                "provider": { "smtp": { "host": "mail.example.com", "username": user, "password": { "secret": "a/b" } } },
                "from": { "address": "mail@example.com" }, "functions": functions, "appliesTo": "system-wide",
                "limits": limits,
            }));
            let stored = StoredProfile { profile: profile.unwrap(), secrets: BTreeMap::new(), next: BTreeMap::new() };
            let changed = serde_json::from_value(
                json!({ "generation": 1, "at": "2026-01-01T00:00:00Z", "by": "ann", "kind": "apply" }),
            );
            state
                .profiles
                .insert(name.clone(), ProfileState::new(Some(stored.clone()), Some(stored), changed.unwrap()));
            profiles.push(name);
        }
        let lane = |company: &str, function: &str| Lane {
            company: company.parse().unwrap(),
            function: function.parse().unwrap(),
        };
        let lanes = vec![
            lane("A", "default"),
            lane("B", "all-reports"),
            lane("A", "all-reports"),
            lane("A", "electronic-signatures"),
        ];
        Self {
            scheduler: Scheduler::new(Arc::new(RouteIndex::new(Arc::new(state)))),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            instant: Instant::now() + Duration::from_secs(100_000),
            stored: Vec::new(),
            in_flight: Vec::new(),
            queued: Vec::new(),
            lanes,
            profiles,
        }
    }

    fn claimed(&self, lane: &Lane) -> Claimed {
        let message = serde_json::from_value(json!({
            "id": uuid::Uuid::from_u128(1), "status": "queued", "company": lane.company, "function": lane.function,
            "messageId": "<1@example.com>", "subject": "s", "size": 4,
            "recipients": [{ "address": "a@example.org", "status": "waiting" }],
            "by": "sender", "acceptedAt": self.now, "generation": 1, "profile": "p0",
            "resolution": { "cell": { "company": lane.company, "function": lane.function }, "profile": "p0", "steps": [] },
            "attempts": 0, "nextAttemptAt": self.now,
        }));
        Claimed { message: message.unwrap(), content: None, paused_before: SignedDuration::ZERO }
    }

    fn wait_in_store(&mut self, lane: Lane, due: Timestamp) {
        self.scheduler.message_due(&lane, due);
        self.stored.push((lane, due));
    }

    fn release(&mut self, claimed: Vec<Claimed>) {
        let at = self.now;
        for Claimed { message, .. } in claimed {
            self.wait_in_store(lane_of(&message), at);
        }
    }

    /// Suspends a profile, or notes that its probe failed.
    fn suspend(&mut self, name: &ProfileName, seconds: i64) {
        let record = json!({
            "profile": name, "of": Digest::of_bytes(b"of"), "since": self.now, "reason": "login refused",
            "nextProbeAt": self.now,
        });
        let first = Duration::from_secs(seconds.unsigned_abs());
        let record = || serde_json::from_value(record).unwrap();
        self.scheduler.suspensions().suspend(name, record, self.now, first);
    }

    /// Runs a worker until it sends, stored or ends. Returns true if it sends.
    fn run_worker(&mut self, profile: ProfileName, ticket: u64) -> bool {
        match self.scheduler.next_step(&profile, ticket, self.now, self.instant) {
            Step::Send(_, claimed) => {
                self.in_flight.push((profile, ticket, lane_of(&claimed.message)));
                true
            }
            Step::Wait(_) => {
                self.queued.push((profile, ticket));
                false
            }
            Step::End => {
                let left = self.scheduler.end_worker(&profile, ticket);
                self.release(left);
                false
            }
        }
    }

    /// Wakes the workers that wait for a connection. Returns true if one of them sends.
    fn wake_waiting(&mut self) -> bool {
        let mut any = false;
        loop {
            let queued = std::mem::take(&mut self.queued);
            let sent =
                queued.into_iter().fold(false, |sent, (profile, ticket)| self.run_worker(profile, ticket) || sent);
            any |= sent;
            if !sent {
                return any;
            }
        }
    }

    /// Runs one pass of the scheduler. Returns the number of store transactions, and true if an attempt began.
    fn run_pass(&mut self) -> (usize, bool) {
        let at = self.now;
        let (mut transactions, mut sent) = (0, false);
        for Turn { profile, claims } in self.scheduler.next_turns(self.now, self.instant) {
            for (lane, limit) in claims {
                transactions += 1;
                self.scheduler.clear_due(&lane);
                let mut taken = Vec::new();
                let mut next_due = None;
                self.stored.sort_by_key(|(_, due)| *due);
                let mut left = Vec::new();
                for (own, due) in std::mem::take(&mut self.stored) {
                    if own == lane && due <= at && taken.len() < limit {
                        taken.push(own);
                    } else {
                        if own == lane {
                            next_due = next_due.or(Some(due));
                        }
                        left.push((own, due));
                    }
                }
                self.stored = left;
                if let Some(due) = next_due {
                    self.scheduler.message_due(&lane, due);
                }
                let taken: Vec<Claimed> = taken.iter().map(|lane| self.claimed(lane)).collect();
                let left = self.scheduler.add_claimed(&profile, taken, self.now);
                assert!(left.is_empty());
            }
            for ticket in self.scheduler.start_workers(&profile) {
                sent |= self.run_worker(profile.clone(), ticket);
            }
        }
        sent |= self.wake_waiting();
        (transactions, sent)
    }

    /// Runs passes until nothing is claimed any more.
    fn settle(&mut self) {
        let mut idle = 0;
        loop {
            let (transactions, sent) = self.run_pass();
            if transactions == 0 {
                break;
            }
            idle = if sent { 0 } else { idle + 1 };
            assert!(idle < 4, "the scheduler claims messages that cannot begin, in an endless loop");
        }
    }

    /// Lets time pass. Returns how often the scheduler woke without starting an attempt.
    fn wait(&mut self, time: Duration) -> usize {
        let until = self.instant + time;
        let mut idle = 0;
        loop {
            let wake = self.scheduler.next_wake(self.now, self.instant);
            let at = wake.min(until);
            self.now = later(self.now, at - self.instant);
            self.instant = at;
            let now = self.now;
            self.scheduler.expire_holds(now);
            // The dispatcher tries the logins of suspended profiles; here they are refused again.
            for profile in self.scheduler.suspensions().start_probes(now) {
                self.suspend(&profile, 60);
            }
            if at == until {
                return idle;
            }
            let before = self.in_flight.len();
            self.settle();
            idle += usize::from(self.in_flight.len() == before);
            assert!(idle < 1000, "the scheduler wakes again and again without a reason");
        }
    }

    /// Applies a change, and runs passes until the scheduler is idle.
    fn apply(&mut self, event: Event) {
        let at = self.now;
        match event {
            Event::Submit(lane, count) => {
                let lane = self.lanes[lane].clone();
                (0..count).for_each(|_| self.wait_in_store(lane.clone(), at));
            }
            Event::Hold(lane, seconds) => {
                let Lane { company, function } = self.lanes[lane].clone();
                let hold = json!({
                    "id": "h", "company": company, "function": function, "reason": "r", "owner": "o",
                    "since": self.now, "until": self.now + jiff::SignedDuration::from_secs(seconds),
                });
                let mut holds = self.scheduler.holds(self.now);
                holds.push(serde_json::from_value(hold).unwrap());
                let recalled = self.scheduler.set_holds(holds, self.now);
                self.release(recalled);
            }
            Event::Suspend(profile, seconds) => {
                let name = self.profiles[profile].clone();
                self.suspend(&name, seconds);
                let drained = self.scheduler.drain_ready(&name);
                self.release(drained);
            }
            Event::Trial(profile) => {
                self.scheduler.suspensions().send_one(&self.profiles[profile]);
            }
            Event::End(which, outcome) => self.end_attempt(which, &outcome),
            Event::Wait(seconds) => {
                let idle = self.wait(Duration::from_secs(seconds));
                // Each time that is due may wake it once; nothing may wake it all the time.
                assert!(
                    idle <= 30 + usize::try_from(seconds).unwrap(),
                    "woke {idle} times without a reason in {seconds} s"
                );
            }
        }
        self.settle();
    }

    /// Ends one of the attempts in flight.
    fn end_attempt(&mut self, which: usize, outcome: &Outcome) {
        if self.in_flight.is_empty() {
            return;
        }
        let (profile, ticket, lane) = self.in_flight.remove(which % self.in_flight.len());
        let mailbox = self.scheduler.ready[&profile].profile().mailbox.clone();
        let now = self.now;
        match outcome {
            Outcome::Delivered => {
                self.scheduler.server_answered(&profile);
                self.scheduler.suspensions().end(&profile);
                self.scheduler.count_recipients(&mailbox, now, 1);
            }
            Outcome::Transient(seconds) => self.wait_in_store(lane, now + SignedDuration::from_secs(*seconds)),
            Outcome::Throttled(seconds) => {
                self.scheduler.pause_mailbox(
                    &mailbox,
                    self.instant,
                    self.instant + Duration::from_secs(*seconds),
                    "432",
                );
                self.wait_in_store(lane, now + SignedDuration::from_secs(1));
            }
            Outcome::Down => {
                let drained = self.scheduler.back_off(&profile, self.instant, 0.5, "421");
                self.release(drained);
                self.wait_in_store(lane, now + SignedDuration::from_secs(1));
            }
        }
        let is_healthy = matches!(outcome, Outcome::Delivered);
        self.scheduler.message_ended(&profile, &mailbox, is_healthy, 1);
        self.run_worker(profile, ticket);
        self.wake_waiting();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_messages_that_can_begin_are_claimed_and_each_wake_has_a_reason(
        shared in any::<bool>(),
        limits in [limits(), limits(), limits()],
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut simulation = Simulation::new(shared, limits);
        for event in events {
            simulation.apply(event);
        }
    }

    /// Profiles that share a mailbox all get their turn, and no message that may be sent is forgotten.
    #[test]
    fn every_message_is_sent_once_all_delays_end(
        shared in any::<bool>(),
        at_once in 1..4_u16,
        events in prop::collection::vec(event(), 1..40),
    ) {
        let limits = json!({ "concurrency": at_once });
        let mut simulation = Simulation::new(shared, [limits.clone(), limits.clone(), limits]);
        for event in events {
            simulation.apply(event);
        }
        simulation.scheduler.set_holds(Vec::new(), simulation.now);
        let profiles = simulation.profiles.clone();
        for profile in &profiles {
            simulation.scheduler.suspensions().end(profile);
        }
        for _ in 0..5000 {
            simulation.settle();
            if simulation.stored.is_empty() && simulation.in_flight.is_empty() {
                break;
            }
            if simulation.in_flight.is_empty() {
                simulation.wait(Duration::from_secs(2));
            } else {
                simulation.end_attempt(0, &Outcome::Delivered);
            }
        }
        prop_assert!(simulation.stored.is_empty() && simulation.in_flight.is_empty() && simulation.queued.is_empty(), "{:?}", simulation.stored);
    }
}

#[test]
fn a_back_off_and_a_pause_delay_for_the_longer_of_the_two() {
    let mut simulation = Simulation::new(false, [json!({}), json!({}), json!({})]);
    simulation.apply(Event::Submit(0, 1));
    simulation.apply(Event::End(0, Outcome::Down));
    simulation.apply(Event::Submit(0, 3));
    simulation.wait(Duration::from_secs(2));
    assert_eq!(simulation.in_flight.len(), 1, "one goes first");
    simulation.apply(Event::End(0, Outcome::Throttled(60)));
    assert_eq!(simulation.run_pass(), (0, false));
    assert!(simulation.wait(Duration::from_secs(59)) <= 10);
    assert!(simulation.in_flight.is_empty());
    simulation.wait(Duration::from_secs(10));
    assert_eq!(simulation.in_flight.len(), 1);
}

#[test]
fn a_worker_of_a_replaced_queue_takes_and_ends_nothing_of_the_new_one() {
    let mut simulation = Simulation::new(false, [json!({}), json!({}), json!({})]);
    simulation.apply(Event::Submit(0, 1));
    let (profile, old, lane) = simulation.in_flight.first().unwrap().clone();
    let changed = Simulation::new(false, [json!({ "concurrency": 3 }), json!({}), json!({})]);
    assert!(simulation.scheduler.set_routes(Arc::clone(&changed.scheduler.routes)).is_empty());
    let claimed = simulation.claimed(&lane);
    let (now, instant) = (simulation.now, simulation.instant);
    let scheduler = &mut simulation.scheduler;
    assert!(scheduler.add_claimed(&profile, vec![claimed], now).is_empty());
    let new = scheduler.start_workers(&profile);
    assert_eq!(new.len(), 1, "the worker of the old queue is none of the new one");
    assert!(matches!(scheduler.next_step(&profile, old, now, instant), Step::End));
    assert!(scheduler.end_worker(&profile, old).is_empty());
    let queue = scheduler.ready(&profile).unwrap();
    assert_eq!((queue.workers(), queue.len()), (1, 1));
    let left = scheduler.end_worker(&profile, *new.first().unwrap());
    assert_eq!(left.len(), 1, "the last worker returns what would wait for nothing");
}
