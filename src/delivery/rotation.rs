//! Rotation: chooses between the current and the next secret of a profile while a secret is being rotated.
//!
//! The next secret is tried first. Once it is accepted and that is recorded, only it is used. If the store cannot record it, the
//! session is used all the same, since both secrets belong to the same account, and the next secret is tried first again; nothing
//! is sent meanwhile, because the start of an attempt cannot be recorded either. While it is refused, delivery falls back to the
//! current secret at once, which does not count as a try of a message; one alert is sent, and the next secret is tried again
//! without a message, after waits that double up to an hour, so that no account is locked out. If the server cannot be reached with
//! the next secret, the current one is not tried, and the message is tried again later. After a recorded refusal, a
//! login for a message or a probe begins with the current secret, and tries the next one once if the current one is refused. A
//! login with both refused fails, and the caller suspends the profile.
//!
//! Messages and probes of suspended profiles use [`Rotations::log_in`], trials of a next secret [`Rotations::try_next_secret`].
//! Only logins are repeated here, not messages.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;

use super::{
    back_off::doubled,
    failure::Failure,
    next_secret::{NextSecret, SecretVersion},
    recorder::Recorder,
    route_index::RouteIndex,
    sending_profile::SendingProfile,
};
use crate::{
    model::{
        Digest, ProfileName,
        delivery::EventKind,
        message::describe_phase,
        rotation::{Rotation, Standing},
    },
    store::outbox::NewEvent,
    sync::Mutex,
    time::steady_clock::later,
};

/// The longest wait between two trials of a next secret, unless the first one is longer.
const LONGEST: Duration = Duration::from_secs(3600);
/// The number of next secrets that are tried at once without a message.
const TRIALS: usize = 8;

/// A login that works with either version of a secret.
pub(super) trait LogIn: Sync {
    /// The result of a login: a connection or a token.
    type Session: Send;

    /// Logs in with one version of the secret.
    fn log_in(
        &self,
        profile: &SendingProfile,
        secret: SecretVersion,
    ) -> impl Future<Output = Result<Self::Session, Failure>> + Send;
}

/// The results of next secrets, by subject.
#[derive(Default)]
struct RotationStates {
    rotations: HashMap<Digest, Rotation>,
    /// Held while a next secret is tried; other workers wait for the result.
    turns: HashMap<Digest, Arc<tokio::sync::Mutex<()>>>,
    /// The number of next secrets that are being tried without a message.
    trials: usize,
}

impl RotationStates {
    /// Returns the standing of a next secret, and how often it was refused.
    fn standing(&self, subject: &Digest) -> (Standing, u32) {
        self.rotations.get(subject).map_or((Standing::Staged, 0), |known| (known.standing, known.refusals))
    }

    /// Returns when the next trial is due. Secrets that no profile has any more are not tried.
    fn next_trial(&self, routes: &RouteIndex) -> Option<Timestamp> {
        if self.trials >= TRIALS {
            // The end of a trial wakes the dispatcher.
            return None;
        }
        let is_wanted = |rotation: &&Rotation| {
            rotation.standing != Standing::Promoted && routes.profiles_by_subject().contains_key(&rotation.of)
        };
        let waiting = self.rotations.values().filter(is_wanted);
        waiting.filter_map(|rotation| rotation.next_try_at).min()
    }
}

/// The rotations of an environment.
pub(super) struct Rotations {
    states: Mutex<RotationStates>,
    recorder: Arc<Recorder>,
    /// The wait before a next secret that was refused is tried again.
    first_wait: Duration,
}

impl Rotations {
    /// Creates the rotations as the store keeps them.
    pub(super) fn restore(rotations: Vec<Rotation>, recorder: Arc<Recorder>, first_wait: Duration) -> Self {
        let rotations = rotations.into_iter().map(|rotation| (rotation.of.clone(), rotation)).collect();
        let states = RotationStates { rotations, ..RotationStates::default() };
        Self { states: Mutex::new(states), recorder, first_wait }
    }

    /// Returns the rotation of every live profile with a next secret, sorted by profile.
    pub(super) fn list(&self, routes: &RouteIndex) -> Vec<Rotation> {
        let states = self.states.lock();
        let staged_at = |name: &ProfileName| {
            let state = routes.state().profiles.get(name);
            state.map_or(Timestamp::UNIX_EPOCH, |state| state.changed.at)
        };
        let rotation = |(name, next): (&ProfileName, &NextSecret)| match states.rotations.get(&next.subject) {
            // The secrets of two profiles may have one value under two names.
            Some(known) => Rotation { profile: name.clone(), secret: next.reference.clone(), ..known.clone() },
            None => next.clone().rotation(name, Standing::Staged, staged_at(name)),
        };
        routes.next_secrets().iter().map(rotation).collect()
    }

    /// Returns when the next trial is due.
    pub(super) fn next_trial(&self, routes: &RouteIndex) -> Option<Timestamp> {
        self.states.lock().next_trial(routes)
    }

    /// Returns the standing of the next secret of a profile, and how often it was refused; none if the profile has only one secret.
    fn standing(&self, profile: &SendingProfile) -> Option<(Standing, u32)> {
        let next = NextSecret::of_profile(&profile.stored)?;
        Some(self.states.lock().standing(&next.subject))
    }

    /// Waits until no other worker tries the next secret of a profile.
    async fn wait_for_turn(&self, profile: &SendingProfile) -> Option<OwnedMutexGuard<()>> {
        let next = NextSecret::of_profile(&profile.stored)?;
        let turn = Arc::clone(self.states.lock().turns.entry(next.subject).or_default());
        Some(turn.lock_owned().await)
    }

    /// Returns the version of the secret that a profile uses: the next one after it was accepted.
    pub(super) fn version_in_use(&self, profile: &SendingProfile) -> SecretVersion {
        match self.standing(profile) {
            Some((Standing::Promoted, _)) => SecretVersion::Next,
            _ => SecretVersion::Current,
        }
    }

    /// Logs in with the version of the secret that is to be tried first, and with the other version if the first is refused.
    pub(super) async fn log_in<L: LogIn>(&self, profile: &SendingProfile, login: &L) -> Result<L::Session, Failure> {
        let is_staged = |standing| matches!(standing, Some((Standing::Staged, _)));
        let turn = if is_staged(self.standing(profile)) { self.wait_for_turn(profile).await } else { None };
        // Another worker may have tried it while this one waited.
        let standing = self.standing(profile);
        let _turn = turn.filter(|_| is_staged(standing));
        match standing {
            None => login.log_in(profile, SecretVersion::Current).await,
            Some((Standing::Promoted, _)) => login.log_in(profile, SecretVersion::Next).await,
            Some((Standing::Staged, _)) => self.try_next_first(profile, login).await,
            Some((Standing::Refused, refusals)) => self.try_current_first(profile, refusals, login).await,
        }
    }

    async fn try_next_first<L: LogIn>(&self, profile: &SendingProfile, login: &L) -> Result<L::Session, Failure> {
        let refused = match login.log_in(profile, SecretVersion::Next).await {
            Ok(session) => {
                self.promote(profile).await;
                return Ok(session);
            }
            Err(failure) if failure.is_refused_credential() => failure,
            Err(failure) => return Err(failure),
        };
        let outcome = login.log_in(profile, SecretVersion::Current).await;
        match &outcome {
            Ok(_) => self.record_refusal(profile, &refused, true).await,
            Err(failure) if failure.is_refused_credential() => self.record_refusal(profile, &refused, false).await,
            // The server is unavailable; the next login shows which secret is wrong.
            Err(_) => {}
        }
        outcome.map_err(|failure| if failure.is_refused_credential() { with_next(failure, &refused) } else { failure })
    }

    async fn try_current_first<L: LogIn>(
        &self,
        profile: &SendingProfile,
        refusals: u32,
        login: &L,
    ) -> Result<L::Session, Failure> {
        let refused = match login.log_in(profile, SecretVersion::Current).await {
            Err(failure) if failure.is_refused_credential() => failure,
            decided => return decided,
        };
        // The password may have been changed just now. One worker finds out for all.
        let _turn = self.wait_for_turn(profile).await;
        match self.standing(profile) {
            Some((Standing::Promoted, _)) => return login.log_in(profile, SecretVersion::Next).await,
            Some((_, now)) if now != refusals => return Err(refused),
            _ => {}
        }
        match login.log_in(profile, SecretVersion::Next).await {
            Ok(session) => {
                self.promote(profile).await;
                Ok(session)
            }
            Err(failure) if failure.is_refused_credential() => {
                self.record_refusal(profile, &failure, false).await;
                Err(with_next(refused, &failure))
            }
            Err(_) => Err(refused),
        }
    }

    /// Records that the next secret was accepted, before anything is sent with it. If that fails, the caller's session is still
    /// good: it is logged in to the account that the profile names, and the secret stays the one that is tried first.
    async fn promote(&self, profile: &SendingProfile) {
        let Some(next) = NextSecret::of_profile(&profile.stored) else { return };
        if self.version_in_use(profile) == SecretVersion::Next {
            return;
        }
        let (now, reference, subject) = (self.recorder.now(), next.reference.clone(), next.subject.clone());
        let rotation = next.rotation(&profile.name, Standing::Promoted, now);
        let reason = format!("the next value of {reference} is accepted; from now on only it is used");
        if self.record(rotation, Some((EventKind::Rotated, reason))).await {
            // Connections that were opened with the current secret are closed.
            let mut scheduler = self.recorder.scheduler();
            let routes = Arc::clone(scheduler.routes());
            scheduler.renew_connections(routes.profiles_by_subject().get(&subject).into_iter().flatten());
            drop(scheduler);
            tracing::info!(profile = %profile.name, secret = %reference, "rotated: the next secret is used from now on");
            metrics::counter!("mailwright_rotations_total", "outcome" => "promoted").increment(1);
        }
    }

    /// Records that the next secret was refused. One alert is sent, if the current one works.
    async fn record_refusal(&self, profile: &SendingProfile, failure: &Failure, current_works: bool) {
        let Some(next) = NextSecret::of_profile(&profile.stored) else { return };
        let known = self.states.lock().rotations.get(&next.subject).cloned();
        if known.as_ref().is_some_and(|known| known.standing == Standing::Promoted) {
            return;
        }
        let (now, reference) = (self.recorder.now(), next.reference.clone());
        let refusals = known.as_ref().map_or(0, |known| known.refusals).saturating_add(1);
        let was_alerted = known.as_ref().is_some_and(|known| known.alerted);
        let since = known.filter(|known| known.standing == Standing::Refused).map_or(now, |known| known.since);
        let reason = format!("{}: {}", describe_phase(failure.phase), failure.reply);
        let is_news = current_works && !was_alerted;
        let alert = format!("the next value of {reference} is refused, and the current one is used ({reason})");
        let rotation = Rotation {
            reason,
            alerted: was_alerted || current_works,
            refusals,
            next_try_at: Some(later(now, wait_after(refusals, self.first_wait))),
            ..next.rotation(&profile.name, Standing::Refused, since)
        };
        if self.record(rotation, is_news.then_some((EventKind::NextRefused, alert))).await && is_news {
            tracing::warn!(profile = %profile.name, secret = %reference, code = %failure.code(), "the next secret is refused; the current one is used");
            metrics::counter!("mailwright_rotations_total", "outcome" => "refused").increment(1);
        }
    }

    /// Writes a rotation to the store and publishes its event. Returns false if nothing was recorded: no profile has
    /// this next secret with this provider any more, or the store fails. After a failure of the store nothing is sent until it
    /// works again, and the secret is tried again.
    async fn record(&self, rotation: Rotation, event: Option<(EventKind, String)>) -> bool {
        let (subject, profile) = (rotation.of.clone(), rotation.profile.clone());
        let routes = Arc::clone(self.recorder.scheduler().routes());
        if !routes.profiles_by_subject().contains_key(&subject) {
            return false;
        }
        let at = self.recorder.now();
        let event = event.map(|(kind, reason)| NewEvent { kind, at, message: None, profile: Some(profile), reason });
        match self.recorder.store().set_rotation(subject.clone(), Some(rotation.clone()), event).await {
            Ok(events) => {
                self.states.lock().rotations.insert(subject, rotation);
                self.recorder.publish(events);
                true
            }
            Err(error) => {
                self.recorder.store_failed(&error);
                false
            }
        }
    }

    /// Begins trials of next secrets that were never tried, or were refused long enough ago. Returns a profile for each; the
    /// caller runs [`try_next_secret`](Self::try_next_secret) and then [`trial_ended`](Self::trial_ended).
    pub(super) fn start_trials(&self) -> Vec<Arc<SendingProfile>> {
        let now = self.recorder.now();
        let mut scheduler = self.recorder.scheduler();
        let routes = Arc::clone(scheduler.routes());
        let mut states = self.states.lock();
        let mut started = Vec::new();
        for (subject, profiles) in routes.profiles_by_subject() {
            if states.trials >= TRIALS {
                break;
            }
            let known = states.rotations.get(subject);
            if known.is_some_and(|known| known.standing == Standing::Promoted || known.next_try_at > Some(now)) {
                continue;
            }
            // Both secrets of a suspended profile are tried by its probes; a disabled profile does not log in.
            let may_try = |name: &&ProfileName| {
                !scheduler.is_suspended(name) && routes.live_profile(name).is_some_and(|stored| stored.profile.enabled)
            };
            let candidate = profiles.iter().find(may_try);
            let named = candidate.or(profiles.first());
            let Some((name, next)) = named.and_then(|name| routes.next_secrets().get_key_value(name)) else {
                continue;
            };
            // In memory only: the next trial, should this one have no result.
            let mut known = known.cloned().unwrap_or_else(|| next.clone().rotation(name, Standing::Staged, now));
            known.next_try_at = Some(later(now, wait_after(known.refusals.max(1), self.first_wait)));
            states.rotations.insert(subject.clone(), known);
            let queue = candidate.and_then(|name| scheduler.ready_queue(name));
            if let Some(queue) = queue {
                states.trials += 1;
                started.push(Arc::clone(queue.profile()));
            }
        }
        started
    }

    /// Tries the next secret of a profile without a message, and records the result. Returns the session of a login that was
    /// accepted.
    pub(super) async fn try_next_secret<L: LogIn>(&self, profile: &SendingProfile, login: &L) -> Option<L::Session> {
        let _turn = self.wait_for_turn(profile).await;
        if self.version_in_use(profile) == SecretVersion::Next {
            return None;
        }
        match login.log_in(profile, SecretVersion::Next).await {
            Ok(session) => {
                self.promote(profile).await;
                Some(session)
            }
            Err(failure) => {
                // The profile is not suspended, so the current secret works as far as is known.
                if failure.is_refused_credential() {
                    self.record_refusal(profile, &failure, true).await;
                }
                None
            }
        }
    }

    /// Ends a trial that [`start_trials`](Self::start_trials) began.
    pub(super) fn trial_ended(&self) {
        let mut states = self.states.lock();
        states.trials = states.trials.saturating_sub(1);
    }

    /// Removes the rotations of next secrets that no profile has any more.
    pub(super) async fn forget_removed(&self) {
        let routes = Arc::clone(self.recorder.scheduler().routes());
        let removed: Vec<Digest> = {
            let mut states = self.states.lock();
            let is_wanted = |subject: &Digest| routes.profiles_by_subject().contains_key(subject);
            states.turns.retain(|subject, _| is_wanted(subject));
            let removed = states.rotations.keys().filter(|subject| !is_wanted(subject)).cloned().collect();
            states.rotations.retain(|subject, _| is_wanted(subject));
            removed
        };
        for subject in removed {
            if let Err(error) = self.recorder.store().set_rotation(subject, None, None).await {
                self.recorder.store_failed(&error);
            }
        }
    }
}

/// Returns the wait before the next trial: doubled with each refusal.
fn wait_after(refusals: u32, first: Duration) -> Duration {
    doubled(first, refusals.saturating_sub(1), LONGEST.max(first))
}

/// Adds the refusal of the next secret to that of the current one, because both were tried.
fn with_next(current: Failure, next: &Failure) -> Failure {
    Failure { reply: format!("{} (the next secret: {})", current.reply, next.reply), ..current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_of_a_refused_secret_back_off_up_to_an_hour() {
        let first = Duration::from_secs(60);
        let waits: Vec<u64> = (1..=8).map(|refusals| wait_after(refusals, first).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(wait_after(u32::MAX, first), LONGEST);
        assert_eq!(wait_after(5, Duration::from_secs(7200)).as_secs(), 7200, "never sooner than the first wait");
    }

    #[test]
    fn a_secret_without_a_result_is_staged() {
        let mut states = RotationStates::default();
        let subject = Digest::of_bytes(b"subject");
        assert_eq!(states.standing(&subject), (Standing::Staged, 0));
        let next = NextSecret {
            reference: "relay/password".parse().unwrap(),
            digest: Digest::of_bytes(b"next"),
            subject: subject.clone(),
        };
        let rotation = next.rotation(&"relay".parse().unwrap(), Standing::Refused, Timestamp::UNIX_EPOCH);
        states.rotations.insert(subject.clone(), Rotation { refusals: 3, ..rotation });
        assert_eq!(states.standing(&subject), (Standing::Refused, 3));
    }
}
