//! Which of a profile's two secrets is used while one is being rotated. The next one is tried first. Once it is
//! accepted, which is written down before anything leaves by it, only it is used. While it is refused the current one
//! is used, at once and at no message's expense; one alert goes out, and the next one is tried again only now and then
//! and with no message behind it, so that no account is locked out. If the current one is refused as well, the next one
//! has another chance before the profile is parked.
//!
//! Only the login is repeated, never a message.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::smtp::{Connection, Failure};
use crate::{
    delivery::{
        access_tokens::Token,
        dispatcher::Engine,
        scheduler::{Board, Sending},
    },
    entra::Endpoints,
    model::{
        Digest, ProfileName, Provider, SecretReference, StoredProfile,
        delivery::EventKind,
        message::Class,
        provider::{GraphDirect, Smtp},
        rotation::{Rotation, Standing},
    },
    store::outbox::NewEvent,
    telemetry,
    time::steady_clock::later,
};

/// The longest between two tries of a next secret.
const LONGEST: Duration = Duration::from_secs(3600);
/// How many next secrets are tried at once with no message behind them.
const AT_ONCE: usize = 8;

/// Which of the two secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Which {
    Current,
    Next,
}

/// The next secret of a profile.
#[derive(Clone, Debug)]
pub(super) struct Next {
    reference: SecretReference,
    digest: Digest,
    /// The digest of it with the login that it is for: for another login, what came of it says nothing.
    pub(super) of: Digest,
}

impl Next {
    /// The one of a profile, if there is one.
    pub(super) fn of(stored: &StoredProfile) -> Option<Self> {
        let (reference, digest) = stored.next.iter().next()?;
        let of = Digest::of_document(&(&stored.profile.provider, digest));
        Some(Self { reference: reference.clone(), digest: digest.clone(), of })
    }

    fn rotation(self, profile: &ProfileName, standing: Standing, since: Timestamp) -> Rotation {
        Rotation {
            profile: profile.clone(),
            secret: self.reference,
            next: self.digest,
            of: self.of,
            standing,
            since,
            reason: String::new(),
            alerted: false,
            refusals: 0,
            next_try_at: None,
        }
    }
}

/// A way to log in with either secret.
pub(super) trait LogIn: Sync {
    /// What a login gives.
    type Done: Send;

    /// Logs in with one of the secrets.
    fn log_in(
        &self,
        engine: &Engine,
        sender: &Sending,
        which: Which,
    ) -> impl Future<Output = Result<Self::Done, Failure>> + Send;
}

impl LogIn for Smtp {
    type Done = Connection;

    async fn log_in(&self, engine: &Engine, sender: &Sending, which: Which) -> Result<Connection, Failure> {
        engine.connect_with(sender, self, which).await
    }
}

impl LogIn for (&GraphDirect, &Endpoints) {
    type Done = Token;

    async fn log_in(&self, engine: &Engine, sender: &Sending, which: Which) -> Result<Token, Failure> {
        engine.graph_token_with(sender, self.0, self.1, which).await
    }
}

impl Board {
    pub(super) fn restore_rotations(&mut self, rotations: Vec<Rotation>) {
        self.rotations = rotations.into_iter().map(|rotation| (rotation.of.clone(), rotation)).collect();
    }

    /// How every rotation of a live profile stands, by the profile's name.
    pub(super) fn rotations(&self) -> Vec<Rotation> {
        let staged = |name: &ProfileName| {
            let state = self.routes.state().profiles.get(name);
            state.map_or(Timestamp::UNIX_EPOCH, |state| state.changed.at)
        };
        let stands = |(name, next): (&ProfileName, &Next)| match self.rotations.get(&next.of) {
            // The secrets of two profiles may have one value under two names.
            Some(known) => Rotation { profile: name.clone(), secret: next.reference.clone(), ..known.clone() },
            None => next.clone().rotation(name, Standing::Staged, staged(name)),
        };
        self.routes.rotating().iter().map(stands).collect()
    }

    /// What is logged in with a secret that is used no more ends: new pools for the profiles that did.
    fn renew(&mut self, of: &Digest) {
        for name in self.routes.rotated().get(of).into_iter().flatten() {
            if let Some(line) = self.lines.get_mut(name) {
                line.sender.pool.tidy(true);
                line.sender = Arc::new(line.sender.renewed());
            }
        }
    }

    /// Whose turn it is to try a next secret.
    fn trial(&mut self, of: &Digest) -> Arc<Mutex<()>> {
        Arc::clone(self.trials.entry(of.clone()).or_default())
    }

    /// When the next of the refused secrets is tried again.
    pub(super) fn next_trial(&self) -> Option<Timestamp> {
        if self.trying >= AT_ONCE {
            // The end of one of them wakes.
            return None;
        }
        // One that no profile has any more is never tried: it must not wake anybody.
        let is_wanted = |rotation: &&Rotation| {
            rotation.standing != Standing::Promoted && self.routes.rotated().contains_key(&rotation.of)
        };
        let waiting = self.rotations.values().filter(is_wanted);
        waiting.filter_map(|rotation| rotation.next_try_at).min()
    }
}

impl Engine {
    /// What is known of the next secret; none if there is no next secret.
    fn known(&self, sender: &Sending) -> Option<(Standing, u32)> {
        let next = Next::of(&sender.stored)?;
        let board = self.board();
        Some(board.rotations.get(&next.of).map_or((Standing::Staged, 0), |known| (known.standing, known.refusals)))
    }

    /// Waits until nobody else tries the next secret.
    async fn turn(&self, sender: &Sending) -> Option<OwnedMutexGuard<()>> {
        let next = Next::of(&sender.stored)?;
        let trial = self.board().trial(&next.of);
        Some(trial.lock_owned().await)
    }

    /// Which secret stands for the profile: the next one once it was accepted.
    pub(super) fn settled_on(&self, sender: &Sending) -> Which {
        match self.known(sender) {
            Some((Standing::Promoted, _)) => Which::Next,
            _ => Which::Current,
        }
    }

    /// Logs in with the secret that is to be tried first, and with the other one where that
    /// is refused.
    pub(super) async fn with_secret<L: LogIn>(&self, sender: &Sending, by: &L) -> Result<L::Done, Failure> {
        let is_staged = |known| matches!(known, Some((Standing::Staged, _)));
        let turn = if is_staged(self.known(sender)) { self.turn(sender).await } else { None };
        // Somebody else may have found out meanwhile.
        let known = self.known(sender);
        let _turn = turn.filter(|_| is_staged(known));
        match known {
            None => by.log_in(self, sender, Which::Current).await,
            Some((Standing::Promoted, _)) => by.log_in(self, sender, Which::Next).await,
            Some((Standing::Staged, _)) => self.next_first(sender, by).await,
            Some((Standing::Refused, refusals)) => self.current_first(sender, refusals, by).await,
        }
    }

    async fn next_first<L: LogIn>(&self, sender: &Sending, by: &L) -> Result<L::Done, Failure> {
        let refused = match by.log_in(self, sender, Which::Next).await {
            Ok(done) => {
                self.promote(sender).await;
                return Ok(done);
            }
            Err(failure) if is_refusal(&failure) => failure,
            Err(failure) => return Err(failure),
        };
        let outcome = by.log_in(self, sender, Which::Current).await;
        match &outcome {
            Ok(_) => self.refuse(sender, &refused, true).await,
            Err(failure) if is_refusal(failure) => self.refuse(sender, &refused, false).await,
            // Whether anything is wrong with either shows when the server can be reached again.
            Err(_) => {}
        }
        outcome.map_err(|failure| if is_refusal(&failure) { both(failure, &refused) } else { failure })
    }

    async fn current_first<L: LogIn>(&self, sender: &Sending, refusals: u32, by: &L) -> Result<L::Done, Failure> {
        let refused = match by.log_in(self, sender, Which::Current).await {
            Err(failure) if is_refusal(&failure) => failure,
            decided => return decided,
        };
        // The password may have been changed just now. One finds out for all.
        let _turn = self.turn(sender).await;
        match self.known(sender) {
            Some((Standing::Promoted, _)) => return by.log_in(self, sender, Which::Next).await,
            Some((_, now)) if now != refusals => return Err(refused),
            _ => {}
        }
        match by.log_in(self, sender, Which::Next).await {
            Ok(done) => {
                self.promote(sender).await;
                Ok(done)
            }
            Err(failure) if is_refusal(&failure) => {
                self.refuse(sender, &failure, false).await;
                Err(both(refused, &failure))
            }
            Err(_) => Err(refused),
        }
    }

    /// The next secret was accepted. That is on disk before anybody builds on it.
    async fn promote(&self, sender: &Sending) {
        let Some(next) = Next::of(&sender.stored) else { return };
        if self.settled_on(sender) == Which::Next {
            return;
        }
        let (now, reference) = (self.time.now(), next.reference.clone());
        let rotation = next.rotation(&sender.name, Standing::Promoted, now);
        let reason = format!("the next value of {reference} is accepted; from now on only it is used");
        let of = rotation.of.clone();
        if self.keep_rotation(rotation, Some((EventKind::Rotated, reason))).await {
            self.board().renew(&of);
            tracing::info!(profile = %sender.name, secret = %reference, "rotated: the next secret is used from now on");
            metrics::counter!("mailwright_rotations_total", "outcome" => "promoted").increment(1);
        }
    }

    /// The next secret was refused. One alert goes out, if the current one works.
    async fn refuse(&self, sender: &Sending, failure: &Failure, current_works: bool) {
        let Some(next) = Next::of(&sender.stored) else { return };
        let known = self.board().rotations.get(&next.of).cloned();
        if known.as_ref().is_some_and(|known| known.standing == Standing::Promoted) {
            return;
        }
        let (now, reference) = (self.time.now(), next.reference.clone());
        let refusals = known.as_ref().map_or(0, |known| known.refusals) + 1;
        let was_alerted = known.as_ref().is_some_and(|known| known.alerted);
        let since = known.filter(|known| known.standing == Standing::Refused).map_or(now, |known| known.since);
        let reason = format!("{}: {}", failure.phase, failure.reply);
        let is_news = current_works && !was_alerted;
        let alert = format!("the next value of {reference} is refused, and the current one is used ({reason})");
        let rotation = Rotation {
            reason,
            alerted: was_alerted || current_works,
            refusals,
            next_try_at: Some(later(now, self.until_next_trial(refusals))),
            ..next.rotation(&sender.name, Standing::Refused, since)
        };
        if self.keep_rotation(rotation, is_news.then_some((EventKind::NextRefused, alert))).await && is_news {
            tracing::warn!(profile = %sender.name, secret = %reference, code = %failure.code(), "the next secret is refused; the current one is used");
            metrics::counter!("mailwright_rotations_total", "outcome" => "refused").increment(1);
        }
    }

    fn until_next_trial(&self, refusals: u32) -> Duration {
        let first = self.outgoing.probe_after;
        first.saturating_mul(1 << refusals.saturating_sub(1).min(12)).min(LONGEST.max(first))
    }

    /// Writes down how a rotation stands, and tells of it. False if it is not so any more, or cannot be written.
    async fn keep_rotation(&self, rotation: Rotation, event: Option<(EventKind, String)>) -> bool {
        let profile = rotation.profile.clone();
        // Somebody changed the profile meanwhile: what came of it is of no interest.
        let of = rotation.of.clone();
        if !self.board().routes.rotated().contains_key(&of) {
            return false;
        }
        let at = self.time.now();
        let event =
            event.map(|(kind, reason)| NewEvent { kind, at, message: None, profile: Some(profile.clone()), reason });
        match self.store.set_rotation(of.clone(), Some(rotation.clone()), event).await {
            Ok(events) => {
                self.board().rotations.insert(of, rotation);
                self.tell(events);
                true
            }
            // Nothing is sent until the store records again; then it is found out once more.
            Err(error) => {
                self.cannot_record(&error);
                false
            }
        }
    }

    /// Tries next secrets that were never tried, or were refused long enough ago, with no message behind them.
    pub(super) fn try_next_secrets(self: &Arc<Self>) {
        let now = self.time.now();
        let due: Vec<Arc<Sending>> = {
            let mut board = self.board();
            if board.trying >= AT_ONCE {
                return;
            }
            let routes = Arc::clone(&board.routes);
            let mut senders = Vec::new();
            for (of, profiles) in routes.rotated() {
                let known = board.rotations.get(of);
                if known.is_some_and(|known| known.standing == Standing::Promoted || known.next_try_at > Some(now)) {
                    continue;
                }
                // A parked profile is tried with both anyway; a disabled one has no business there.
                let may = |name: &&ProfileName| {
                    !board.parked.contains_key(*name)
                        && routes.stored(name).is_some_and(|stored| stored.profile.enabled)
                };
                let candidate = profiles.iter().find(may);
                let Some((name, next)) =
                    candidate.or(profiles.first()).and_then(|name| routes.rotating().get_key_value(name))
                else {
                    continue;
                };
                // In memory alone: the next try, should this one come to nothing.
                let mut known = known.cloned().unwrap_or_else(|| next.clone().rotation(name, Standing::Staged, now));
                known.next_try_at = Some(later(now, self.until_next_trial(known.refusals.max(1))));
                board.rotations.insert(of.clone(), known);
                let sender = candidate.and_then(|name| board.line(name)).map(|line| Arc::clone(&line.sender));
                board.trying += usize::from(sender.is_some());
                senders.extend(sender);
                if board.trying >= AT_ONCE {
                    break;
                }
            }
            senders
        };
        for sender in due {
            let (engine, busy) = (Arc::clone(self), self.busy());
            telemetry::spawn(async move {
                let _busy = busy;
                engine.try_next_secret(&sender).await;
                engine.board().trying -= 1;
                // There may be others that wait for their turn.
                engine.wake.notify_one();
            });
        }
    }

    async fn try_next_secret(self: &Arc<Self>, sender: &Sending) {
        let turn = self.turn(sender).await;
        if self.settled_on(sender) == Which::Next {
            return;
        }
        let outcome = match &sender.stored.profile.provider {
            Provider::Smtp(smtp) => match self.connect_with(sender, smtp, Which::Next).await {
                Ok(connection) => {
                    drop(tokio::spawn(connection.quit()));
                    Ok(())
                }
                Err(failure) => Err(failure),
            },
            Provider::MicrosoftGraphDirect(direct) => match Endpoints::for_cloud(&direct.cloud) {
                Ok(endpoints) => self.graph_token_with(sender, direct, &endpoints, Which::Next).await.map(drop),
                Err(error) => Err(Failure::new("token", error.to_string(), Class::Auth)),
            },
            Provider::MicrosoftGraphDelegate(_) => return,
        };
        match outcome {
            Ok(()) => self.promote(sender).await,
            // The profile is not parked, so the current one works, as far as anybody knows.
            Err(failure) if is_refusal(&failure) => self.refuse(sender, &failure, true).await,
            Err(_) => {}
        }
        drop(turn);
    }

    /// Forgets what came of next secrets that are none any more.
    pub(super) async fn forget_rotations(&self) {
        let gone: Vec<Digest> = {
            let mut board = self.board();
            let routes = Arc::clone(&board.routes);
            board.trials.retain(|of, _| routes.rotated().contains_key(of));
            let gone = board.rotations.keys().filter(|of| !routes.rotated().contains_key(*of)).cloned().collect();
            board.rotations.retain(|of, _| routes.rotated().contains_key(of));
            gone
        };
        for of in gone {
            if let Err(error) = self.store.set_rotation(of, None, None).await {
                self.cannot_record(&error);
            }
        }
    }
}

/// Whether it says that the secret is wrong, and not the server or its certificate.
fn is_refusal(failure: &Failure) -> bool {
    failure.class == Class::Auth && matches!(failure.phase, "login" | "token")
}

/// Whoever reads why a profile is parked is to know that both were tried.
fn both(current: Failure, next: &Failure) -> Failure {
    Failure { reply: format!("{} (the next secret: {})", current.reply, next.reply), ..current }
}
