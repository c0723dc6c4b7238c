//! Waiting mail: groups the queued messages by the reason for which they wait, the profile and the hold.
//!
//! [`group`] is for status pages, [`of_message`] for one message, and [`find_lanes`] for searches. Profiles that cannot send are
//! listed without mail as well. If nothing delays a message, its reason is `scheduled`. They read the scheduler and what the store
//! counted; they change nothing and do not read the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    scheduled_queue::ScheduledQueue,
    scheduler::{Scheduler, lane_of},
    throttle::minute_of,
};
use crate::{
    model::{EnvironmentName, Lane, Message, ProfileName, Provider, WaitReason, Waiting, waiting::needs_operator},
    store::outbox::LaneBacklog,
    text::{printable, shell::quote_posix, shortened},
    time::steady_clock::{earlier, later},
};

/// The maximum length of an explanation, in characters: the reply of a server, and what to do. A command in it must not be cut.
const EXPLANATION_LENGTH: usize = 800;

/// The present moment, on the steady clock and on the machine's monotonic clock.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: Timestamp,
    pub(super) instant: Instant,
}

impl Clock {
    /// Converts a moment of the monotonic clock.
    fn time_of(self, instant: Instant) -> Timestamp {
        if instant >= self.instant {
            return later(self.now, instant - self.instant);
        }
        // In whole milliseconds, as the clock counts them.
        let ago = u64::try_from((self.instant - instant).as_millis()).unwrap_or(u64::MAX);
        earlier(self.now, Duration::from_millis(ago))
    }
}

/// The reason for which the mail of a lane waits.
struct Wait {
    reason: WaitReason,
    profile: Option<ProfileName>,
    explanation: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    last_reply: String,
    next_attempt_at: Option<Timestamp>,
    hold: Option<String>,
}

impl Wait {
    fn new(reason: WaitReason, profile: Option<&ProfileName>, explanation: String) -> Self {
        Self {
            reason,
            profile: profile.cloned(),
            explanation,
            since: None,
            until: None,
            last_reply: String::new(),
            next_attempt_at: None,
            hold: None,
        }
    }

    fn key(&self) -> (WaitReason, Option<ProfileName>, Option<String>) {
        (self.reason, self.profile.clone(), self.hold.clone())
    }

    /// Returns the group of this reason, without messages.
    fn into_group(self, now: Timestamp) -> Waiting {
        let Self { reason, profile, explanation, since, until, last_reply, next_attempt_at, hold } = self;
        Waiting {
            reason,
            profile,
            explanation: shortened(&printable(&explanation), EXPLANATION_LENGTH).into_owned(),
            since,
            until,
            last_reply: shortened(&printable(&last_reply), EXPLANATION_LENGTH).into_owned(),
            next_attempt_at,
            hold,
            companies: Vec::new(),
            functions: Vec::new(),
            messages: 0,
            oldest_at: None,
            oldest_seconds: 0,
            needs_operator: needs_operator(reason, since, until, now),
            command: None,
        }
    }
}

/// Groups the queued messages by reason and profile. Profiles that cannot send are listed without messages as well.
pub(super) fn group(
    scheduler: &Scheduler,
    environment: &EnvironmentName,
    backlog: &[LaneBacklog],
    clock: Clock,
) -> Vec<Waiting> {
    let mut groups: BTreeMap<(WaitReason, Option<ProfileName>, Option<String>), Waiting> = BTreeMap::new();
    let mut examples: BTreeMap<(WaitReason, Option<ProfileName>, Option<String>), Message> = BTreeMap::new();
    for lane in backlog.iter().filter(|lane| lane.messages > 0) {
        let wait = find_wait(scheduler, &lane.lane, lane.next.as_ref(), clock);
        let key = wait.key();
        let (since, next) = (wait.since, wait.next_attempt_at);
        let group = groups.entry(key.clone()).or_insert_with(|| wait.into_group(clock.now));
        group.since = earliest(group.since, since);
        group.next_attempt_at = earliest(group.next_attempt_at, next);
        group.messages += lane.messages;
        let oldest = lane.oldest.as_ref().map(Message::queued_since);
        if group.oldest_at.is_none() || oldest.is_some_and(|oldest| Some(oldest) < group.oldest_at) {
            group.oldest_at = oldest.or(group.oldest_at);
            examples.extend(lane.oldest.clone().map(|message| (key, message)));
        }
        if !group.companies.contains(&lane.lane.company) {
            group.companies.push(lane.lane.company.clone());
        }
        if !group.functions.contains(&lane.lane.function) {
            group.functions.push(lane.lane.function);
        }
    }
    for profile in stopped_profiles(scheduler) {
        if let Some(wait) = find_profile_wait(scheduler, &profile, clock) {
            groups.entry(wait.key()).or_insert_with(|| wait.into_group(clock.now));
        }
    }
    groups
        .into_iter()
        .map(|(key, mut group)| {
            group.companies.sort();
            group.functions.sort();
            complete(&mut group, scheduler, environment, examples.get(&key), clock.now);
            group
        })
        .collect()
}

/// Returns why a message waits, as if it were the only one.
pub(super) fn of_message(
    scheduler: &Scheduler,
    environment: &EnvironmentName,
    message: &Message,
    clock: Clock,
) -> Waiting {
    let mut group = find_wait(scheduler, &lane_of(message), Some(message), clock).into_group(clock.now);
    (group.companies, group.functions) = (vec![message.company.clone()], vec![message.function]);
    (group.messages, group.oldest_at) = (1, Some(message.queued_since()));
    complete(&mut group, scheduler, environment, Some(message), clock.now);
    group
}

/// Returns the lanes that a profile sends, or whose mail waits for a reason.
pub(super) fn find_lanes(
    scheduler: &Scheduler,
    profile: Option<&ProfileName>,
    reason: Option<WaitReason>,
    clock: Clock,
) -> Vec<Lane> {
    let is_wanted = |lane: &&Lane| {
        let wait = find_wait(scheduler, lane, None, clock);
        profile.is_none_or(|profile| wait.profile.as_ref() == Some(profile))
            && reason.is_none_or(|reason| wait.reason == reason)
    };
    scheduler.lanes().filter(is_wanted).cloned().collect()
}

/// Sets the age and the command of a group.
fn complete(
    group: &mut Waiting,
    scheduler: &Scheduler,
    environment: &EnvironmentName,
    example: Option<&Message>,
    now: Timestamp,
) {
    let age = group.oldest_at.map_or(0, |oldest| now.as_second().saturating_sub(oldest.as_second()));
    group.oldest_seconds = u64::try_from(age).unwrap_or(0);
    group.command = command(group, scheduler, environment, example);
}

/// Returns the command that removes the cause of a wait, or the next one to run.
fn command(
    group: &Waiting,
    scheduler: &Scheduler,
    environment: &EnvironmentName,
    example: Option<&Message>,
) -> Option<String> {
    match group.reason {
        WaitReason::Held => {
            Some(format!("mailwright outbox release {environment} {}", quote_posix(group.hold.as_ref()?)))
        }
        WaitReason::Suspended => {
            let profile = group.profile.as_ref()?;
            let secret = scheduler.routes().live_profile(profile)?.secrets.keys().next();
            match secret.filter(|_| is_refused_secret(&group.last_reply)) {
                Some(secret) => {
                    Some(format!("mailwright secrets set {environment} {secret} && mailwright apply {environment}"))
                }
                None => Some(format!("mailwright verify {environment} {profile}")),
            }
        }
        WaitReason::ServerAway => Some(format!("mailwright verify {environment} {}", group.profile.as_ref()?)),
        WaitReason::NoSender => {
            let (company, function) = (group.companies.first()?, group.functions.first()?);
            Some(format!("mailwright resolve {environment} {company} {}", function.id()))
        }
        // The limits of the environment cannot be lifted by a retry.
        WaitReason::Throttled if group.last_reply.is_empty() => None,
        WaitReason::Throttled | WaitReason::Scheduled => {
            let example = example.filter(|_| group.next_attempt_at.is_some() || group.until.is_some())?;
            Some(format!("mailwright outbox retry {environment} {}", example.id))
        }
    }
}

/// Returns true if the reason of a suspension says that the secret itself is refused. Other causes, such as a missing consent,
/// are not removed by a new secret.
fn is_refused_secret(reason: &str) -> bool {
    reason.starts_with("login: 535")
        || reason.starts_with("token: ")
            && ["AADSTS7000215", "AADSTS7000222", "AADSTS700027"].iter().any(|code| reason.contains(code))
}

/// Returns the profiles that cannot send now, for a reason of their own.
fn stopped_profiles(scheduler: &Scheduler) -> BTreeSet<ProfileName> {
    let suspended = scheduler.suspension_records().map(|record| record.profile.clone());
    suspended.chain(scheduler.ready_profiles().cloned()).collect()
}

/// Returns why the mail of a lane waits. `next` is its message that is due first.
fn find_wait(scheduler: &Scheduler, lane: &Lane, next: Option<&Message>, clock: Clock) -> Wait {
    let paused_since = scheduler.scheduled(lane).and_then(ScheduledQueue::paused_since);
    let profile = scheduler.profile_of(lane);
    if let Some(hold) = scheduler.find_hold(lane, clock.now) {
        return Wait {
            since: Some(hold.since),
            until: hold.until,
            next_attempt_at: hold.until,
            hold: Some(hold.id.clone()),
            ..Wait::new(WaitReason::Held, profile.as_ref(), format!("held by {}: {}", hold.owner, hold.reason))
        };
    }
    let Some(profile) = profile else {
        let explanation = format!("no profile serves {} for {} any more", lane.function.id(), lane.company);
        return Wait { since: paused_since, ..Wait::new(WaitReason::NoSender, None, explanation) };
    };
    let stored = scheduler.routes().live_profile(&profile);
    if stored.is_some_and(|stored| matches!(stored.profile.provider, Provider::MicrosoftGraphDelegate(_))) {
        let explanation = format!("`{profile}` sends as a signed-in user, which the service cannot do");
        return Wait { since: paused_since, ..Wait::new(WaitReason::NoSender, Some(&profile), explanation) };
    }
    if let Some(wait) = find_profile_wait(scheduler, &profile, clock) {
        return wait;
    }
    let is_due = scheduler.scheduled(lane).is_some_and(|queue| queue.is_due(clock.now));
    if let Some(state) = scheduler.throttle_state(&profile, clock.instant, minute_of(clock.now)).filter(|_| is_due) {
        let explanation = format!("the profile `{profile}` is throttled: {}", state.explanation);
        let until = state.until.map(|until| clock.time_of(until));
        return Wait {
            since: paused_since,
            until,
            next_attempt_at: until,
            ..Wait::new(WaitReason::Throttled, Some(&profile), explanation)
        };
    }
    let next_attempt_at = next.and_then(|message| message.next_attempt_at).filter(|next| *next > clock.now);
    let explanation = match next_attempt_at {
        Some(_) => "the next attempt is scheduled".to_owned(),
        None => "due; the profile sends its mail in turn".to_owned(),
    };
    let last_reply = next.map(|message| message.reason.clone()).unwrap_or_default();
    Wait { last_reply, next_attempt_at, ..Wait::new(WaitReason::Scheduled, Some(&profile), explanation) }
}

/// Returns why a profile cannot send: it is suspended, its server asked to wait, or its server is unavailable.
fn find_profile_wait(scheduler: &Scheduler, profile: &ProfileName, clock: Clock) -> Option<Wait> {
    if let Some(record) = scheduler.suspension_records().find(|record| record.profile == *profile) {
        return Some(Wait {
            since: Some(record.since),
            last_reply: record.reason.clone(),
            next_attempt_at: Some(record.next_probe_at),
            ..Wait::new(WaitReason::Suspended, Some(profile), format!("the profile `{profile}` is suspended"))
        });
    }
    let throttle = scheduler.throttle_state(profile, clock.instant, minute_of(clock.now));
    if let Some(state) = throttle.filter(|state| !state.reply.is_empty()) {
        let until = state.until.map(|until| clock.time_of(until));
        return Some(Wait {
            since: state.since.map(|since| clock.time_of(since)),
            until,
            next_attempt_at: until,
            last_reply: state.reply,
            ..Wait::new(
                WaitReason::Throttled,
                Some(profile),
                format!("the profile `{profile}` is throttled: {}", state.explanation),
            )
        });
    }
    let queue = scheduler.ready(profile)?;
    let outage = queue.outage()?;
    Some(Wait {
        since: Some(clock.time_of(outage.since)),
        next_attempt_at: queue.backs_off_until(clock.instant).map(|until| clock.time_of(until)),
        last_reply: outage.reply.clone(),
        ..Wait::new(WaitReason::ServerAway, Some(profile), format!("the server of `{profile}` is unavailable"))
    })
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_converted_in_both_directions() {
        let earlier = Instant::now();
        let instant = earlier + Duration::from_secs(5);
        let clock = Clock { now: Timestamp::from_second(1000).unwrap(), instant };
        assert_eq!(clock.time_of(instant + Duration::from_secs(5)).as_second(), 1005);
        assert_eq!(clock.time_of(earlier).as_second(), 995);
    }

    #[test]
    fn only_a_refused_secret_is_replaced() {
        assert!(is_refused_secret("login: 535 5.7.3 Authentication unsuccessful"));
        assert!(is_refused_secret(
            "token: invalid_client: AADSTS7000222: The provided client secret keys are expired."
        ));
        assert!(!is_refused_secret("token: invalid_grant: AADSTS65001: consent is missing"));
        assert!(!is_refused_secret("tls: certificate expired"));
    }
}
