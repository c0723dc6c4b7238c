//! Suspensions: profiles that cannot send until an operator fixes them, because a login is refused, a secret has expired or
//! a consent is missing.
//!
//! [`Suspensions`] is the state machine: a suspended profile waits, then its login is tried, then one message goes first if mail is
//! due. Success ends the suspension; a failure doubles the wait, up to 15 minutes. A change of the profile ends it as well. After a
//! restart the waits begin with the shortest. [`Suspender`](super::suspender::Suspender) acts on it. Nothing here connects, reads
//! the clock or writes to the store.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::back_off::doubled;
use crate::{
    model::{Digest, ProfileName, finding::Finding, suspension::SuspendedProfile},
    time::steady_clock::{later, moved},
};

/// The longest wait between two probes, unless the first one is longer.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The shortest wait between two probes if an operator asks for one: a server that counts refused logins must not lock the
/// account because of many retries.
const SHORTEST: SignedDuration = SignedDuration::from_secs(15);

/// The step of a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeState {
    /// The next probe is not due yet.
    Waiting,
    /// The login is being tried.
    LoggingIn,
    /// The login works; one message goes first.
    SendingOne,
}

/// A suspended profile.
#[derive(Debug)]
struct Suspension {
    record: SuspendedProfile,
    /// The number of probes that were scheduled.
    probes: u32,
    /// The time of the last probe.
    probed_at: Option<Timestamp>,
    state: ProbeState,
}

/// The suspended profiles.
#[derive(Debug, Default)]
pub(super) struct Suspensions {
    by_profile: HashMap<ProfileName, Suspension>,
}

impl Suspensions {
    /// Adds a suspension as the store keeps it.
    pub(super) fn restore(&mut self, record: SuspendedProfile) {
        let suspension = Suspension { record, probes: 0, probed_at: None, state: ProbeState::Waiting };
        self.by_profile.insert(suspension.record.profile.clone(), suspension);
    }

    /// Suspends a profile, or schedules the next probe of one whose probe failed. `record` describes a new suspension; `first`
    /// is the wait before its first probe. Returns the record and true if the suspension is new.
    ///
    /// Attempts that were under way when the profile was suspended fail as well and change nothing.
    pub(super) fn suspend(
        &mut self,
        profile: &ProfileName,
        record: impl FnOnce() -> SuspendedProfile,
        now: Timestamp,
        first: Duration,
    ) -> (SuspendedProfile, bool) {
        let is_new = !self.by_profile.contains_key(profile);
        let suspension = self.by_profile.entry(profile.clone()).or_insert_with(|| Suspension {
            record: record(),
            probes: 0,
            probed_at: None,
            state: ProbeState::Waiting,
        });
        if is_new || suspension.state != ProbeState::Waiting {
            suspension.state = ProbeState::Waiting;
            suspension.record.next_probe_at = later(now, wait_before(suspension.probes, first));
            suspension.probes = suspension.probes.saturating_add(1);
        }
        (suspension.record.clone(), is_new)
    }

    /// Ends a suspension. Returns true if the profile was suspended.
    pub(super) fn end(&mut self, profile: &ProfileName) -> bool {
        self.by_profile.remove(profile).is_some()
    }

    /// Returns true if a profile is suspended.
    pub(super) fn contains(&self, profile: &ProfileName) -> bool {
        self.by_profile.contains_key(profile)
    }

    /// Returns the step of a suspension; none if the profile is not suspended.
    pub(super) fn state(&self, profile: &ProfileName) -> Option<ProbeState> {
        self.by_profile.get(profile).map(|suspension| suspension.state)
    }

    /// Returns the records, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &SuspendedProfile> {
        self.by_profile.values().map(|suspension| &suspension.record)
    }

    /// Marks the suspended profiles that are due for a login attempt (a probe), and returns them.
    pub(super) fn start_probes(&mut self, now: Timestamp) -> Vec<ProfileName> {
        let is_due = |suspension: &&mut Suspension| {
            suspension.state == ProbeState::Waiting && suspension.record.next_probe_at <= now
        };
        let due = self.by_profile.values_mut().filter(is_due);
        due.map(|suspension| {
            suspension.state = ProbeState::LoggingIn;
            suspension.probed_at = Some(now);
            suspension.record.profile.clone()
        })
        .collect()
    }

    /// Makes the next probe of a profile due now, because an operator asks for it. Returns true if it was not due, and the last
    /// one is long enough ago.
    pub(super) fn probe_now(&mut self, profile: &ProfileName, now: Timestamp) -> bool {
        let Some(suspension) = self.by_profile.get_mut(profile) else { return false };
        let last = suspension.probed_at.unwrap_or(suspension.record.since);
        let is_early = suspension.state != ProbeState::Waiting
            || suspension.record.next_probe_at <= now
            || now.duration_since(last) < SHORTEST;
        if !is_early {
            suspension.record.next_probe_at = now;
        }
        !is_early
    }

    /// Notes that the login of a probe succeeded and that mail waits: one message goes first.
    pub(super) fn send_one(&mut self, profile: &ProfileName) {
        if let Some(suspension) = self.by_profile.get_mut(profile) {
            suspension.state = ProbeState::SendingOne;
        }
    }

    /// Adds the finding that explains a suspension. Returns the record; none if the suspension has ended.
    pub(super) fn set_finding(&mut self, profile: &ProfileName, finding: Option<Finding>) -> Option<SuspendedProfile> {
        let suspension = self.by_profile.get_mut(profile)?;
        suspension.record.finding = finding;
        Some(suspension.record.clone())
    }

    /// Returns the profiles that were changed since they were suspended. `live` are the digests of the current profiles.
    pub(super) fn changed(&self, live: &HashSet<Digest>) -> Vec<ProfileName> {
        let changed = self.by_profile.values().filter(|suspension| !live.contains(&suspension.record.of));
        changed.map(|suspension| suspension.record.profile.clone()).collect()
    }

    /// Returns when the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        let waiting = self.by_profile.values().filter(|suspension| suspension.state == ProbeState::Waiting);
        waiting.map(|suspension| suspension.record.next_probe_at).min()
    }

    /// Moves all probes, because the system clock was set.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        for suspension in self.by_profile.values_mut() {
            suspension.record.next_probe_at = moved(suspension.record.next_probe_at, by);
        }
    }

    /// Returns the records, sorted by profile.
    pub(super) fn records(&self) -> Vec<SuspendedProfile> {
        let mut records: Vec<SuspendedProfile> =
            self.by_profile.values().map(|suspension| suspension.record.clone()).collect();
        records.sort_by(|a, b| a.profile.cmp(&b.profile));
        records
    }
}

/// Returns the wait before a probe: doubled with each earlier probe.
fn wait_before(probes: u32, first: Duration) -> Duration {
    doubled(first, probes, LONGEST.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn name() -> ProfileName {
        "relay".parse().unwrap()
    }

    fn suspend(suspensions: &mut Suspensions, now: Timestamp) -> (SuspendedProfile, bool) {
        let record = || SuspendedProfile {
            profile: name(),
            of: Digest::of_bytes(b"profile"),
            since: now,
            reason: "login: 535 refused".to_owned(),
            finding: None,
            next_probe_at: now,
        };
        suspensions.suspend(&name(), record, now, FIRST)
    }

    #[test]
    fn attempts_that_fail_together_suspend_once() {
        let mut suspensions = Suspensions::default();
        let (record, is_new) = suspend(&mut suspensions, at(0));
        assert!(is_new && record.next_probe_at == at(60));
        let (record, is_new) = suspend(&mut suspensions, at(5));
        assert!(!is_new && record.next_probe_at == at(60), "the probe is not postponed");
        assert_eq!(record.since, at(0));
    }

    #[test]
    fn probes_back_off_up_to_a_quarter_of_an_hour() {
        let mut suspensions = Suspensions::default();
        let mut now = suspend(&mut suspensions, at(0)).0.next_probe_at;
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert_eq!(suspensions.start_probes(now), [name()]);
            assert!(suspensions.start_probes(now).is_empty(), "it is being probed");
            let next = suspend(&mut suspensions, now).0.next_probe_at;
            waits.push(next.as_second() - now.as_second());
            now = next;
        }
        assert_eq!(waits, [120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn an_operator_can_ask_for_a_probe_but_not_for_many() {
        let mut suspensions = Suspensions::default();
        assert!(!suspensions.probe_now(&name(), at(0)), "it is not suspended");
        suspend(&mut suspensions, at(0));
        assert!(!suspensions.probe_now(&name(), at(14)), "it was refused a moment ago");
        assert!(suspensions.probe_now(&name(), at(20)));
        assert_eq!(suspensions.start_probes(at(20)), [name()]);
        assert!(!suspensions.probe_now(&name(), at(40)), "it is being probed");
        assert_eq!(suspend(&mut suspensions, at(40)).0.next_probe_at, at(40 + 120));
        assert!(!suspensions.probe_now(&name(), at(34)) && suspensions.probe_now(&name(), at(35)));
    }

    #[test]
    fn after_a_login_one_message_decides() {
        let mut suspensions = Suspensions::default();
        suspend(&mut suspensions, at(0));
        assert_eq!(suspensions.next_probe(), Some(at(60)));
        suspensions.start_probes(at(60));
        assert_eq!(suspensions.next_probe(), None);
        suspensions.send_one(&name());
        assert_eq!(suspensions.state(&name()), Some(ProbeState::SendingOne));
        // The message is refused as well.
        let (record, is_new) = suspend(&mut suspensions, at(61));
        assert!(!is_new && record.next_probe_at == at(61 + 120));
        assert!(suspensions.end(&name()) && !suspensions.end(&name()));
    }

    #[test]
    fn only_a_changed_profile_is_resumed_by_a_change() {
        let mut suspensions = Suspensions::default();
        suspend(&mut suspensions, at(0));
        assert!(suspensions.changed(&HashSet::from([Digest::of_bytes(b"profile")])).is_empty());
        assert_eq!(suspensions.changed(&HashSet::new()), [name()]);
    }
}
