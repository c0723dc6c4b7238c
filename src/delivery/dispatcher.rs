//! Dispatcher: claims due messages from the store, runs workers, and shuts down gracefully.
//!
//! [`Dispatcher::start`] restores the scheduler from the store, settles messages that were in flight when the process ended, and
//! starts the background tasks. The scheduler decides what is claimed; an [`AttemptRunner`] runs each attempt.
//! [`Delivery`](super::Delivery) is the only caller. Nothing here knows a protocol or interprets a reply.
//!
//! If the store fails during the start, delivery does not start. If a write fails later, no message is started until a test of the
//! store succeeds; after another process took over delivery, none is started any more. An attempt that panics leaves its message
//! unknown. Attempts that run past the deadline of a shutdown are settled as interrupted at the next start.

mod clock_changes;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, RwLock, watch};
use uuid::Uuid;

use super::{
    Setup,
    access_tokens::AccessTokens,
    attempt::AttemptRunner,
    credentials::Credentials,
    outcome::refusals_at_begin,
    ready_queue::count_waiting,
    recorder::Recorder,
    rotation::Rotations,
    route_index::RouteIndex,
    scheduler::{Scheduler, Step, Turn, lane_of},
    suspender::Suspender,
    transport::Transports,
    webhooks::Webhooks,
};
use crate::{
    entra::Http,
    model::{Attempt, Digest, Message, ProfileName, State, message::Class},
    store::{
        Store, StoreError,
        outbox::{DeliveryOwner, PurgeCutoffs},
    },
    telemetry,
    time::steady_clock::{SteadyClock, earlier, later},
};

/// The time for which events wait for a webhook that is behind, as a multiple of `delivery.keep.delivered`.
const UNSENT_EVENTS_KEPT: u32 = 2;
/// The interval at which expired messages and keys are removed.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);
/// The time for which an idempotency key is kept: 30 days.
const KEYS_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Mailbox usage that is restored at the start: that of a day.
const USAGE_RESTORED: Duration = Duration::from_secs(86_400);

/// The dispatcher of an environment.
pub(super) struct Dispatcher {
    store: Arc<dyn Store>,
    recorder: Arc<Recorder>,
    transports: Arc<Transports>,
    rotations: Arc<Rotations>,
    suspender: Arc<Suspender>,
    runner: Arc<AttemptRunner>,
    /// Read-locked while a message is accepted, so that the time does not move in between.
    accepting: RwLock<()>,
    /// The newest state.
    state: watch::Receiver<Arc<State>>,
    /// Wakes the webhooks after a change of the settings.
    webhooks_changed: Arc<Notify>,
    is_stopping: AtomicBool,
}

impl Dispatcher {
    /// Starts delivery.
    pub(super) async fn start(setup: Setup, http: Http) -> Result<Arc<Self>, StoreError> {
        let Setup { store, identity, outbound, clock, mut state } = setup;
        let time = SteadyClock::new(&clock);
        let initial = Arc::clone(&state.borrow_and_update());
        let owner = store.acquire_delivery(Uuid::now_v7()).await?;
        let scheduler = restore_scheduler(store.as_ref(), initial, time.now()).await?;
        let recorder = Arc::new(Recorder::new(Arc::clone(&store), owner, time, scheduler));
        let rotations =
            Arc::new(Rotations::restore(store.rotations().await?, Arc::clone(&recorder), outbound.probe_after));
        let credentials = Credentials {
            store: Arc::clone(&store),
            identity: Arc::clone(&identity),
            federated: outbound.federated.clone(),
            http: http.clone(),
            clock: clock.clone(),
            state: state.clone(),
            tokens: AccessTokens::default(),
        };
        let webhooks_changed = Arc::new(Notify::new());
        let webhooks =
            Webhooks::new(Arc::clone(&recorder), &identity, http.trust(), clock.clone(), Arc::clone(&webhooks_changed));
        let transports = Arc::new(Transports::new(http, credentials, Arc::clone(&rotations), outbound.clone()));
        let pool = outbound.pool.clone();
        let suspender = Arc::new(Suspender::new(
            Arc::clone(&recorder),
            Arc::clone(&transports),
            Arc::clone(&rotations),
            outbound,
            clock,
        ));
        let runner =
            Arc::new(AttemptRunner::new(Arc::clone(&recorder), Arc::clone(&transports), Arc::clone(&suspender), pool));
        let dispatcher = Arc::new(Self {
            store,
            recorder,
            transports,
            rotations,
            suspender,
            runner,
            accepting: RwLock::new(()),
            state: state.clone(),
            webhooks_changed,
            is_stopping: AtomicBool::new(false),
        });
        dispatcher.settle_interrupted(owner).await?;
        dispatcher.recorder.update_pauses().await;
        telemetry::spawn(Arc::clone(&dispatcher).run(state));
        telemetry::spawn(Arc::clone(&dispatcher).purge());
        telemetry::spawn(Arc::clone(&dispatcher).follow_clock());
        match webhooks {
            Ok(webhooks) => drop(telemetry::spawn(webhooks.run())),
            Err(reason) => tracing::error!(reason, "cannot call webhooks"),
        }
        Ok(dispatcher)
    }

    /// Returns the recorder.
    pub(super) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Returns the transports.
    pub(super) fn transports(&self) -> &Transports {
        &self.transports
    }

    /// Returns the rotations.
    pub(super) fn rotations(&self) -> &Rotations {
        &self.rotations
    }

    /// Returns the lock that is read-locked while a message is accepted.
    pub(super) fn accepting(&self) -> &RwLock<()> {
        &self.accepting
    }

    /// Settles messages that were in flight when the process ended: it is unknown whether they were sent.
    async fn settle_interrupted(&self, owner: DeliveryOwner) -> Result<(), StoreError> {
        let interrupted = self.store.interrupted(owner).await?;
        if !interrupted.is_empty() {
            tracing::warn!(messages = interrupted.len(), "the service ended while messages were being sent");
        }
        for message in interrupted {
            let reason = "the service ended while it was being sent";
            let attempt = self.interrupted_attempt(&message, reason);
            let refused = refusals_at_begin(&message);
            let settled = self.runner.after_unknown(message, reason, Some(attempt), &refused);
            let (lane, due) = (lane_of(&settled.message), settled.message.next_attempt_at);
            let events = self.store.settle(owner, settled).await?;
            self.recorder.publish(events);
            if let Some(due) = due {
                self.recorder.message_due(&lane, due);
            }
        }
        Ok(())
    }

    /// Returns the record of an attempt that did not end.
    fn interrupted_attempt(&self, message: &Message, reason: &str) -> Attempt {
        let routes = Arc::clone(self.recorder.scheduler().routes());
        let profile = routes.resolve(&message.company, message.function).profile;
        Attempt {
            number: message.attempts,
            at: self.recorder.now(),
            milliseconds: 0,
            profile: profile.unwrap_or_else(|| message.profile.clone()),
            generation: routes.state().generation,
            server: String::new(),
            phase: "dot".to_owned(),
            reply: reason.to_owned(),
            class: Class::Unknown,
            next_attempt_at: None,
        }
    }

    async fn run(self: Arc<Self>, mut state: watch::Receiver<Arc<State>>) {
        loop {
            if self.is_stopping() {
                return;
            }
            // First of all: nothing is started under an outdated state.
            if state.has_changed().unwrap_or(false) {
                let state = Arc::clone(&state.borrow_and_update());
                self.apply_state(state).await;
            }
            if !self.recorder.is_store_healthy() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if !self.recorder.test_store().await {
                    continue;
                }
            }
            self.expire_holds().await;
            self.claim_due().await;
            let throttles_matter = self.recorder.scheduler().throttles_matter(self.recorder.now(), Instant::now());
            if throttles_matter {
                self.recorder.write_pauses().await;
            }
            self.suspender.start_probes();
            self.start_secret_trials();
            let wake = self.next_wake();
            tokio::select! {
                () = self.recorder.woken() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    state.mark_changed();
                }
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let (now, instant) = (self.recorder.now(), Instant::now());
        let (routes, wake) = {
            let mut scheduler = self.recorder.scheduler();
            (Arc::clone(scheduler.routes()), scheduler.next_wake(now, instant))
        };
        let Some(trial) = self.rotations.next_trial(&routes) else { return wake };
        let wait = u64::try_from(trial.as_millisecond() - now.as_millisecond()).unwrap_or(0).max(1);
        instant.checked_add(Duration::from_millis(wait)).map_or(wake, |trial| trial.min(wake))
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Returns the routes of the newest state. Right after a change, the scheduler does not have them yet; then they are built for
    /// this caller, which takes milliseconds for thousands of profiles.
    pub(super) fn newest_routes(&self) -> Arc<RouteIndex> {
        let routes = Arc::clone(self.recorder.scheduler().routes());
        let newest = Arc::clone(&self.state.borrow());
        if routes.state().generation == newest.generation { routes } else { Arc::new(RouteIndex::new(newest)) }
    }

    /// Returns true if the state has changed since the scheduler got its routes: then nothing is started until it has the new
    /// ones.
    fn is_outdated(&self) -> bool {
        let newest = self.state.borrow().generation;
        self.recorder.scheduler().routes().state().generation != newest
    }

    // Claims and workers

    /// Claims messages for the profiles that may send, and starts workers for them.
    async fn claim_due(self: &Arc<Self>) {
        let turns = self.recorder.scheduler().next_turns(self.recorder.now(), Instant::now());
        for Turn { profile, claims } in turns {
            for (lane, limit) in claims {
                let now = self.recorder.now();
                // A message that is submitted from here on is noted on its own.
                self.recorder.scheduler().clear_due(&lane);
                let claim = match self.store.claim(&lane, now, limit).await {
                    Ok(claim) => claim,
                    Err(error) => {
                        self.recorder.scheduler().message_due(&lane, now);
                        self.recorder.store_failed(&error);
                        return;
                    }
                };
                let released = {
                    let mut scheduler = self.recorder.scheduler();
                    if let Some(next) = claim.next_due {
                        scheduler.message_due(&lane, next);
                    }
                    scheduler.add_claimed(&profile, claim.messages, self.recorder.now())
                };
                self.recorder.release(released);
            }
            let tickets = self.recorder.scheduler().start_workers(&profile);
            for ticket in tickets {
                telemetry::spawn(Arc::clone(self).work(profile.clone(), ticket));
            }
        }
    }

    /// Sends one message after the other, until the ready queue is empty or no message may be started.
    async fn work(self: Arc<Self>, profile: ProfileName, ticket: u64) {
        loop {
            let step = if self.is_stopping() || !self.recorder.is_store_healthy() || self.is_outdated() {
                Step::End
            } else {
                let now = self.recorder.now();
                self.recorder.scheduler().next_step(&profile, ticket, now, Instant::now())
            };
            let (sending, claimed) = match step {
                Step::Send(sending, claimed) => (sending, claimed),
                Step::Wait(freed) => {
                    freed.await;
                    continue;
                }
                Step::End => break,
            };
            let work = self.recorder.start_work();
            let (mailbox, recipients) = (sending.mailbox.clone(), count_waiting(&claimed));
            let (runner, message) = (Arc::clone(&self.runner), claimed.message.clone());
            // A task of its own: a panic costs this message and not the worker.
            let attempt = telemetry::spawn(async move { runner.run(sending, claimed).await });
            let is_healthy = match attempt.await {
                Ok(is_healthy) => is_healthy,
                Err(error) => {
                    if error.is_panic() {
                        self.settle_panicked(message);
                    }
                    false
                }
            };
            let is_low = self.recorder.scheduler().message_ended(&profile, &mailbox, is_healthy, recipients);
            drop(work);
            if is_low {
                self.recorder.wake();
            }
        }
        let released = self.recorder.scheduler().end_worker(&profile, ticket);
        self.recorder.release(released);
        self.recorder.wake();
    }

    /// Settles a message whose attempt panicked as `unknown`: whether it was sent is not known, and another attempt might panic
    /// again.
    fn settle_panicked(&self, mut message: Message) {
        const REASON: &str = "the attempt ended with an internal error; see the log of the service";
        tracing::error!(message_id = %message.id, "an attempt panicked; the message is unknown");
        message.attempts = message.attempts.saturating_add(1);
        let attempt = self.interrupted_attempt(&message, REASON);
        self.recorder.settle(self.runner.leave_unknown(message, REASON, Some(attempt), &[]));
    }

    /// Starts trials of next secrets that are due.
    fn start_secret_trials(self: &Arc<Self>) {
        for profile in self.rotations.start_trials() {
            let (dispatcher, work) = (Arc::clone(self), self.recorder.start_work());
            telemetry::spawn(async move {
                let _work = work;
                dispatcher.transports.try_next_secret(&profile).await;
                dispatcher.rotations.trial_ended();
                // Other secrets may wait for a trial.
                dispatcher.recorder.wake();
            });
        }
    }

    // Changes

    /// Applies a new state: the queues, connections and tokens of changed profiles are dropped.
    async fn apply_state(&self, state: Arc<State>) {
        let routes = Arc::new(RouteIndex::new(state));
        let released = {
            let mut scheduler = self.recorder.scheduler();
            let mut released = scheduler.set_routes(Arc::clone(&routes));
            released.extend(scheduler.recall(None, self.recorder.now()));
            released
        };
        self.recorder.release(released);
        let live: HashSet<Digest> =
            routes.state().live_stored().map(|(_, stored)| Digest::of_document(stored)).collect();
        self.transports.credentials().retain_tokens(|profile| live.contains(profile));
        self.suspender.resume_changed(&live).await;
        self.rotations.forget_removed().await;
        self.webhooks_changed.notify_one();
        self.recorder.update_pauses().await;
    }

    /// Reads the holds from the store.
    pub(super) async fn reload_holds(&self) -> Result<(), StoreError> {
        let holds = self.store.holds().await?;
        let released = self.recorder.scheduler().set_holds(holds, self.recorder.now());
        self.recorder.release(released);
        self.recorder.update_pauses().await;
        Ok(())
    }

    /// Removes expired holds, and closes idle connections.
    async fn expire_holds(&self) {
        let has_expired = self.recorder.scheduler().expire_holds(self.recorder.now());
        if has_expired {
            self.recorder.update_pauses().await;
        }
        self.recorder.scheduler().close_idle_connections(false);
    }

    /// Removes messages and idempotency keys whose time of storage has ended.
    async fn purge(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PURGE_INTERVAL).await;
            loop {
                let routes = Arc::clone(self.recorder.scheduler().routes());
                let settings = &routes.state().settings.delivery;
                let (now, keep) = (self.recorder.now(), settings.keep);
                let before = PurgeCutoffs {
                    delivered: earlier(now, keep.delivered.duration()),
                    unsent_events: earlier(now, keep.delivered.duration().saturating_mul(UNSENT_EVENTS_KEPT)),
                    webhooks: settings.webhooks.iter().map(|webhook| webhook.url.clone()).collect(),
                    failed: earlier(now, keep.failed.duration()),
                    keys: earlier(now, KEYS_KEPT),
                };
                match self.store.purge(before).await {
                    Ok(purged) => {
                        if purged.unsent_events > 0 {
                            let events = purged.unsent_events;
                            tracing::error!(events, "events that a webhook has not received are removed");
                            let lost = u64::try_from(events).unwrap_or(u64::MAX);
                            metrics::counter!("mailwright_webhook_events_lost_total").increment(lost);
                        }
                        if purged.rows == 0 {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot remove old messages");
                        break;
                    }
                }
            }
        }
    }

    /// Starts nothing new, and waits until attempts and writes have ended, but no longer than `deadline`.
    pub(super) async fn stop(&self, deadline: Duration) {
        self.is_stopping.store(true, Ordering::Release);
        self.recorder.wake();
        let until = Instant::now() + deadline;
        while self.recorder.in_flight() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = self.recorder.in_flight();
        if left > 0 {
            tracing::warn!(left, "stopped while messages were being sent; their outcome is unknown");
        }
        self.recorder.scheduler().close_idle_connections(true);
    }
}

/// Restores the scheduler from the store.
async fn restore_scheduler(store: &dyn Store, state: Arc<State>, now: Timestamp) -> Result<Scheduler, StoreError> {
    // Under a clock that was ahead, messages were scheduled for later than they would be now.
    let longest = state.settings.delivery.retry.longest.duration();
    let mut scheduler = Scheduler::new(Arc::new(RouteIndex::new(state)));
    scheduler.set_holds(store.holds().await?, now);
    for record in store.suspended_profiles().await? {
        scheduler.suspensions().restore(record);
    }
    store.retime(SignedDuration::ZERO, later(now, longest)).await?;
    for lane in store.lanes().await? {
        scheduler.restore_lane(&lane);
    }
    scheduler.set_usage(store.usage(earlier(now, USAGE_RESTORED)).await?, now);
    Ok(scheduler)
}
