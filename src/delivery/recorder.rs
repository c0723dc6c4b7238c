//! Recorder: writes the results of delivery to the store, publishes events, and keeps the scheduler in step with the store.
//!
//! [`Recorder`] is shared by all parts of delivery. It does not decide what is recorded.
//!
//! A failed write makes the store unhealthy: no message is started then. Results and releases are written again until they succeed.
//! A result is given up, and logged with its outcome, if the store is broken or another process took over delivery: the message is
//! then unknown. A subscriber that is more than 1,024 events behind misses some and reads them from the store.

use std::{
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

use super::scheduler::{Scheduler, lane_of};
use crate::{
    model::{Lane, Status},
    store::{
        Store, StoreError,
        outbox::{Begun, Claimed, DeliveryOwner, Event, NewEvent, Settled},
    },
    sync::Mutex,
    telemetry::{self, DELIVERY_SECONDS, ProfileLabels},
    time::steady_clock::SteadyClock,
};

/// The number of events that a slow subscriber may be behind.
const EVENT_BUFFER: usize = 1024;

/// The writing side of delivery.
pub(super) struct Recorder {
    store: Arc<dyn Store>,
    owner: DeliveryOwner,
    time: SteadyClock,
    scheduler: Mutex<Scheduler>,
    /// Wakes the dispatcher.
    wake: Notify,
    events: broadcast::Sender<Event>,
    /// True while the store can be written.
    is_store_healthy: AtomicBool,
    /// False after another process took over delivery.
    is_owner: AtomicBool,
    /// Attempts and writes in flight.
    in_flight: AtomicUsize,
    labels: ProfileLabels,
    /// Held while pauses are written, so that the newest ones are written last.
    pauses: tokio::sync::Mutex<()>,
}

/// Work in flight, for as long as this exists.
pub(super) struct InFlight(Arc<Recorder>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Recorder {
    /// Creates a recorder.
    pub(super) fn new(store: Arc<dyn Store>, owner: DeliveryOwner, time: SteadyClock, scheduler: Scheduler) -> Self {
        let (events, _) = broadcast::channel(EVENT_BUFFER);
        Self {
            store,
            owner,
            time,
            scheduler: Mutex::new(scheduler),
            wake: Notify::new(),
            events,
            is_store_healthy: AtomicBool::new(true),
            is_owner: AtomicBool::new(true),
            in_flight: AtomicUsize::new(0),
            labels: ProfileLabels::default(),
            pauses: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns the store.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the time by which everything that waits is measured.
    pub(super) fn time(&self) -> &SteadyClock {
        &self.time
    }

    /// Returns the current time of the steady clock.
    pub(super) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// Locks the scheduler.
    pub(super) fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock()
    }

    /// Wakes the dispatcher.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until the dispatcher is woken.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Counts work in flight until the result is dropped.
    pub(super) fn start_work(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    /// Returns how many attempts and writes are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    // Store health

    /// Returns true if the store can be written, as far as is known.
    pub(super) fn is_store_healthy(&self) -> bool {
        self.is_store_healthy.load(Ordering::Acquire)
    }

    /// Notes that a write failed: nothing is sent until the store can be written again. Nothing is sent any more if another
    /// process took over delivery.
    pub(super) fn store_failed(&self, error: &StoreError) {
        if matches!(error, StoreError::NotOwner { .. }) && self.is_owner.swap(false, Ordering::AcqRel) {
            tracing::error!(%error, "another process took over delivery; delivery stopped");
            self.is_store_healthy.store(false, Ordering::Release);
        }
        if self.is_store_healthy.swap(false, Ordering::AcqRel) {
            tracing::error!(%error, "store writes failing; delivery paused");
        }
        self.wake();
    }

    /// Tests the store after a failure. Returns true if it can be written again. Only the dispatcher calls this.
    pub(super) async fn test_store(&self) -> bool {
        let is_healthy = self.is_owner.load(Ordering::Acquire) && self.store.probe().await.is_ok();
        if is_healthy {
            tracing::info!("store writes succeed again; delivery resumed");
            self.is_store_healthy.store(true, Ordering::Release);
        }
        is_healthy
    }

    /// Waits until the dispatcher has found the store healthy. After the loss of ownership it never does: then the caller tries
    /// once more, and is refused.
    async fn wait_for_store(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if self.is_store_healthy() || !self.is_owner.load(Ordering::Acquire) {
                return;
            }
        }
    }

    // Messages

    /// Notes that a message is due at `at`. Returns true if that is sooner than anything known to be due in its lane.
    pub(super) fn message_due(self: &Arc<Self>, lane: &Lane, at: Timestamp) -> bool {
        let (is_sooner, is_new) = {
            let mut scheduler = self.scheduler();
            (scheduler.next_due(lane).is_none_or(|due| at < due), scheduler.message_due(lane, at))
        };
        if is_new {
            // A hold may cover the lane already; then its lifetime is paused from the start.
            let recorder = Arc::clone(self);
            telemetry::spawn(async move { recorder.update_pauses().await });
        }
        is_sooner
    }

    /// Returns claimed messages that were not attempted to the store, where they wait as before.
    pub(super) fn release(self: &Arc<Self>, claimed: Vec<Claimed>) {
        if claimed.is_empty() {
            return;
        }
        let (recorder, work) = (Arc::clone(self), self.start_work());
        telemetry::spawn(async move {
            let _work = work;
            let ids: Vec<Uuid> = claimed.iter().map(|claimed| claimed.message.id).collect();
            while let Err(error) = recorder.store.release(&ids).await {
                recorder.store_failed(&error);
                if matches!(error, StoreError::Broken) {
                    return;
                }
                recorder.wait_for_store().await;
            }
            // The claim comes after the release: an earlier claim would not find the messages, and would not be repeated.
            let now = recorder.now();
            for Claimed { message, .. } in claimed {
                recorder.message_due(&lane_of(&message), message.next_attempt_at.unwrap_or(now));
            }
            recorder.wake();
        });
    }

    /// Marks a message in the store before its last byte leaves.
    pub(super) async fn begin(&self, begun: Begun) -> Result<(), StoreError> {
        let begun = self.store.begin(self.owner, begun).await;
        begun.inspect_err(|error| self.store_failed(error))
    }

    /// Writes the result of a message, however long that takes. The caller does not wait for it.
    pub(super) fn settle(self: &Arc<Self>, settled: Settled) {
        self.count(&settled);
        let (recorder, work) = (Arc::clone(self), self.start_work());
        telemetry::spawn(async move {
            let _work = work;
            let (lane, due) = (lane_of(&settled.message), settled.message.next_attempt_at);
            loop {
                match recorder.store.settle(recorder.owner, settled.clone()).await {
                    Ok(events) => {
                        recorder.publish(events);
                        break;
                    }
                    Err(error) => {
                        recorder.store_failed(&error);
                        if matches!(error, StoreError::Broken | StoreError::NotOwner { .. }) {
                            // A message that was sent and cannot be recorded is `unknown` after the next start, or for the
                            // process that took over. Its log then has the outcome for the operator who decides.
                            log_unrecorded(&settled, &error);
                            return;
                        }
                        recorder.wait_for_store().await;
                    }
                }
            }
            if let Some(due) = due {
                recorder.message_due(&lane, due);
                recorder.wake();
            }
        });
    }

    /// Counts an attempt, and measures how long a delivered message took.
    fn count(&self, settled: &Settled) {
        if let Some(attempt) = &settled.attempt {
            let labels = [("profile", self.labels.label(&attempt.profile)), ("outcome", attempt.class.id().to_owned())];
            metrics::counter!("mailwright_attempts_total", &labels).increment(1);
            let duration = Duration::from_millis(attempt.milliseconds);
            metrics::histogram!("mailwright_attempt_seconds").record(duration.as_secs_f64());
        }
        let message = &settled.message;
        if let Some(finished) = message.finished_at.filter(|_| message.status == Status::Delivered) {
            let passed = Duration::try_from(finished.duration_since(message.queued_since())).unwrap_or_default();
            metrics::histogram!(DELIVERY_SECONDS).record(passed.as_secs_f64());
        }
    }

    /// Returns the labels of profiles in metrics.
    pub(super) fn labels(&self) -> &ProfileLabels {
        &self.labels
    }

    // Events

    /// Publishes events that were written to the store.
    pub(super) fn publish(&self, events: Vec<Event>) {
        for event in events {
            let labels = [("type", event.event.kind.id())];
            metrics::counter!("mailwright_events_total", &labels).increment(1);
            self.log_end(&event.event);
            // Without subscribers this fails, which is not an error.
            drop(self.events.send(event));
        }
    }

    /// Logs and counts the end of a message. The line has no address of a recipient.
    fn log_end(&self, event: &NewEvent) {
        let Some(message) = &event.message else { return };
        let profile = event.profile.as_ref().map(|profile| self.labels.label(profile)).unwrap_or_default();
        let status = event.kind.id();
        let labels = [("profile", profile), ("status", status.to_owned())];
        metrics::counter!("mailwright_messages_finished_total", &labels).increment(1);
        let profile = event.profile.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(message_id = %message.id, company = %message.company, function = %message.function, profile, status, "message finished");
    }

    /// Subscribes to events.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    // Pauses

    /// Pauses and resumes the lifetime of messages, and wakes the dispatcher.
    pub(super) async fn update_pauses(&self) {
        self.write_pauses().await;
        self.wake();
    }

    /// Pauses and resumes the lifetime of messages.
    pub(super) async fn write_pauses(&self) {
        let _one_at_a_time = self.pauses.lock().await;
        let changed = self.scheduler().update_pauses(self.now());
        if !changed.is_empty()
            && let Err(error) = self.store.pause(changed).await
        {
            self.store_failed(&error);
        }
    }
}

/// Logs an outcome that the store does not have and will not get. The line has no address of a recipient.
fn log_unrecorded(settled: &Settled, error: &StoreError) {
    let Settled { message, attempt, .. } = settled;
    let profile = attempt.as_ref().map(|attempt| attempt.profile.to_string()).unwrap_or_default();
    let outcome = attempt.as_ref().map_or("", |attempt| attempt.class.id());
    let status = message.status.id();
    tracing::error!(message_id = %message.id, company = %message.company, function = %message.function, profile, outcome, status, %error, "cannot record the outcome of a message");
}
