//! Claims messages, gives them to workers, and ends gracefully.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, broadcast, watch};

use super::{Outgoing, Setup, chance, locked, webhooks};
use crate::{
    delivery::{
        access_tokens::Tokens,
        attempt::kept_refusals,
        route_index::Routes,
        scheduler::{Board, Step, Turn, lane_of, waiting},
    },
    entra::Http,
    model::{Attempt, Lane, Message, ProfileName, State, message::Class},
    secrets::ServiceIdentity,
    store::{
        Store, StoreError,
        outbox::{Claimed, Event, Settled},
    },
    telemetry,
    time::{Clock, steady_clock::SteadyClock},
};

/// How many KiB of large messages are in memory at once.
const LARGE_AT_ONCE: usize = 96 * 1024;
/// How often what is old is removed.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// How long an idempotency key is kept, in milliseconds: 30 days.
const KEYS_KEPT: i64 = 30 * 86_400_000;

/// How often the machine's clock is looked at, and how often it must have said the same to be followed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOKS: u32 = 5;
/// How far off it may be, in milliseconds.
const TOLERATED: i64 = 2000;
/// The longest that any other side asks to wait, in milliseconds.
const LONGEST_ASKED: i64 = 3_600_000;

/// Everything that delivery works with.
pub(super) struct Engine {
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: Arc<ServiceIdentity>,
    pub(super) outgoing: Outgoing,
    pub(super) clock: Clock,
    pub(super) time: SteadyClock,
    /// Held by whoever takes a message under the time of now, so that this does not move meanwhile.
    pub(super) moment: tokio::sync::RwLock<()>,
    pub(super) http: Http,
    pub(super) tokens: Tokens,
    pub(super) wake: Notify,
    pub(super) events: broadcast::Sender<Event>,
    /// The webhooks may be others by now.
    pub(super) webhooks: Notify,
    /// Room for large messages, in KiB.
    pub(super) large: Arc<Semaphore>,
    /// The state, as it is at each moment.
    state: watch::Receiver<Arc<State>>,
    board: Mutex<Board>,
    /// Held while the clocks of lanes are written.
    clocks: tokio::sync::Mutex<()>,
    /// Whether the store can record what happens.
    records: AtomicBool,
    stopping: AtomicBool,
    /// Attempts and writes that are under way.
    busy: AtomicUsize,
}

/// Something that is under way for as long as this lives.
pub(super) struct Busy(Arc<Engine>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Engine {
    pub(super) async fn start(setup: Setup, http: Http) -> Result<Arc<Self>, StoreError> {
        let Setup { store, identity, outgoing, clock, mut state } = setup;
        let time = SteadyClock::new(&clock);
        let routes = Arc::new(Routes::new(Arc::clone(&state.borrow_and_update())));
        let mut board = Board::new(routes);
        board.holds = store.holds().await?;
        for parked in store.parked().await? {
            board.park(parked);
        }
        board.restore_rotations(store.rotations().await?);
        // Under a clock that was ahead, messages were told to wait for longer than they would be now.
        let longest = board.routes.state().settings.delivery.retry.longest.milliseconds();
        store.retime(0, time.now().as_millisecond() + longest).await?;
        let lanes = store.lanes().await?;
        for lane in lanes {
            board.restore(lane);
        }
        board.usage_at = time.now().as_second() / 60;
        board.usage = store.usage(board.usage_at - 24 * 60).await?;
        let (events, _) = broadcast::channel(1024);
        let engine = Arc::new(Self {
            store,
            identity,
            outgoing,
            clock,
            time,
            moment: tokio::sync::RwLock::new(()),
            http,
            tokens: Tokens::default(),
            wake: Notify::new(),
            events,
            webhooks: Notify::new(),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            state: state.clone(),
            board: Mutex::new(board),
            clocks: tokio::sync::Mutex::new(()),
            records: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
        });
        engine.recover().await?;
        engine.repause().await;
        telemetry::spawn(Arc::clone(&engine).run(state));
        telemetry::spawn(Arc::clone(&engine).purge());
        telemetry::spawn(Arc::clone(&engine).keep_time());
        telemetry::spawn(webhooks::run(Arc::clone(&engine)));
        Ok(engine)
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        locked(&self.board)
    }

    pub(super) fn records(&self) -> bool {
        self.records.load(Ordering::Acquire)
    }

    /// The store could not record something: nothing is sent until it can again.
    pub(super) fn cannot_record(&self, error: &StoreError) {
        if self.records.swap(false, Ordering::AcqRel) {
            tracing::error!(%error, "the store cannot record what happens; nothing is sent until it can");
        }
        self.wake.notify_one();
    }

    /// Waits until the store records again, as far as the scheduler knows. Only that one asks the store meanwhile.
    async fn until_it_records(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if self.records() {
                return;
            }
        }
    }

    /// A message of a lane is due then. True if that is sooner than anything that the lane was known to wait for.
    pub(super) fn due(self: &Arc<Self>, lane: &Lane, at: Timestamp) -> bool {
        let at = at.as_millisecond();
        let (is_sooner, is_new) = {
            let mut board = self.board();
            (board.next_due(lane).is_none_or(|due| at < due), board.due(lane, at))
        };
        if is_new {
            // It may be held already, and then its clock stands still from the beginning.
            let engine = Arc::clone(self);
            telemetry::spawn(async move { engine.repause().await });
        }
        is_sooner
    }

    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }

    /// What was under way when the process ended: nobody can know what became of it.
    async fn recover(self: &Arc<Self>) -> Result<(), StoreError> {
        let interrupted = self.store.interrupted().await?;
        if !interrupted.is_empty() {
            tracing::warn!(messages = interrupted.len(), "the service ended while these were being sent");
        }
        for message in interrupted {
            let why = "the service ended while it was being sent";
            let attempt = self.interrupted_attempt(&message, why);
            let refused = kept_refusals(&message);
            let settled = self.after_unknown(message, why, Some(attempt), &refused);
            let (lane, due) = (lane_of(&settled.message), settled.message.next_attempt_at);
            let events = self.store.settle(settled).await?;
            self.tell(events);
            if let Some(due) = due {
                self.due(&lane, due);
            }
        }
        Ok(())
    }

    /// The attempt during which the process ended, as far as it is known.
    fn interrupted_attempt(&self, message: &Message, why: &str) -> Attempt {
        let routes = Arc::clone(&self.board().routes);
        Attempt {
            number: message.attempts,
            at: self.time.now(),
            milliseconds: 0,
            profile: routes.resolve(&message.company, message.function).profile.unwrap_or(message.profile.clone()),
            generation: routes.state().generation,
            server: String::new(),
            phase: "dot".to_owned(),
            reply: why.to_owned(),
            class: Class::Unknown,
            next_attempt_at: None,
        }
    }

    async fn run(self: Arc<Self>, mut state: watch::Receiver<Arc<State>>) {
        loop {
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            // First of all: nothing begins under a state that is not the present one.
            if state.has_changed().unwrap_or(false) {
                let state = Arc::clone(&state.borrow_and_update());
                self.reconfigure(state).await;
            }
            if !self.records() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if self.store.probe().await.is_ok() {
                    tracing::info!("the store records again");
                    self.records.store(true, Ordering::Release);
                } else {
                    continue;
                }
            }
            self.lapse().await;
            self.pass().await;
            let limits_matter = self.board().limits_matter(self.time.now(), Instant::now());
            if limits_matter {
                self.rewrite_clocks().await;
            }
            self.probes();
            self.try_next_secrets();
            let wake = {
                let mut board = self.board();
                board.next_wake(self.time.now(), Instant::now())
            };
            tokio::select! {
                () = self.wake.notified() => {}
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

    /// Claims for everybody whose turn it is, and sees to it that there are workers.
    async fn pass(self: &Arc<Self>) {
        let turns = self.board().turns(self.time.now(), Instant::now());
        for Turn { profile, claims } in turns {
            for (lane, limit) in claims {
                let now = self.time.now().as_millisecond();
                // What is submitted from here on says so itself.
                self.board().forget_due(&lane);
                let claim = match self.store.claim(&lane, now, limit).await {
                    Ok(claim) => claim,
                    Err(error) => {
                        self.board().due(&lane, now);
                        self.cannot_record(&error);
                        return;
                    }
                };
                let mut board = self.board();
                if let Some(next) = claim.next_due {
                    board.due(&lane, next);
                }
                let back = if let Some(line) = board.line(&profile) {
                    line.ready.extend(claim.messages);
                    // A hold may have come while the store was asked.
                    board.take_back(Some(&profile), self.time.now())
                } else {
                    claim.messages
                };
                drop(board);
                self.give_back(back);
            }
            let wanted = self.board().workers_wanted(&profile);
            for _ in 0..wanted {
                if let Some(line) = self.board().line(&profile) {
                    line.workers += 1;
                }
                telemetry::spawn(Arc::clone(self).work(profile.clone()));
            }
        }
    }

    /// Sends one message after the other, until there is none or no more may go.
    async fn work(self: Arc<Self>, profile: ProfileName) {
        let ticket = self.board().ticket();
        let mut has_waited = false;
        loop {
            let step = if self.stopping.load(Ordering::Acquire) || !self.records() || self.is_outdated() {
                Step::End
            } else {
                let minute = self.time.now().as_second() / 60;
                self.board().next(&profile, ticket, minute, Instant::now())
            };
            let (sender, claimed) = match step {
                Step::Send(sender, claimed) => (sender, claimed),
                Step::Wait(freed) => {
                    has_waited = true;
                    freed.await;
                    continue;
                }
                Step::End => break,
            };
            let busy = self.busy();
            let (mailbox, recipients) = (sender.mailbox.clone(), waiting(&claimed));
            let (engine, message) = (Arc::clone(&self), claimed.message.clone());
            // A task of its own: a panic costs this message and not the worker.
            let attempt = telemetry::spawn(async move { engine.attempt(sender, claimed).await });
            let well = match attempt.await {
                Ok(well) => well,
                Err(error) => {
                    if error.is_panic() {
                        self.panicked(message);
                    }
                    false
                }
            };
            let low = {
                let mut board = self.board();
                if let Some(counter) = board.counters.get_mut(&mailbox) {
                    counter.end(well, recipients);
                }
                board.lines.get(&profile).is_none_or(|line| line.ready.len() < 2 * line.workers)
            };
            drop(busy);
            if low {
                self.wake.notify_one();
            }
        }
        let left = {
            let mut board = self.board();
            if has_waited {
                board.leave(ticket);
            }
            match board.lines.get_mut(&profile) {
                Some(line) => {
                    line.workers = line.workers.saturating_sub(1);
                    // The last one leaves nothing behind that nobody would take.
                    if line.workers == 0 { line.ready.drain(..).collect() } else { Vec::new() }
                }
                None => Vec::new(),
            }
        };
        self.give_back(left);
        self.wake.notify_one();
    }

    /// An attempt panicked. Whether the message was sent is not known, and a repetition might panic again: it waits for a
    /// person.
    fn panicked(self: &Arc<Self>, mut message: Message) {
        const WHY: &str = "the attempt ended with an internal error; the log has the details";
        tracing::error!(message = %message.id, "an attempt panicked; the message is unknown");
        message.attempts += 1;
        let attempt = self.interrupted_attempt(&message, WHY);
        self.settle(self.left_unknown(message, WHY, Some(attempt), &[]));
    }

    /// Whether the state has changed since the lines were made: then nothing begins until they are made anew.
    fn is_outdated(&self) -> bool {
        let newest = self.state.borrow().generation;
        self.board().routes.state().generation != newest
    }

    /// Messages that were claimed and not tried wait again, as they did before.
    pub(super) fn give_back(self: &Arc<Self>, claimed: Vec<Claimed>) {
        if claimed.is_empty() {
            return;
        }
        let (engine, busy) = (Arc::clone(self), self.busy());
        telemetry::spawn(async move {
            let _busy = busy;
            let ids: Vec<uuid::Uuid> = claimed.iter().map(|claimed| claimed.message.id).collect();
            while let Err(error) = engine.store.release(&ids).await {
                engine.cannot_record(&error);
                if matches!(error, StoreError::Broken) {
                    return;
                }
                engine.until_it_records().await;
            }
            // Only now: whoever asked for them before would be told that somebody works on them, and not ask again.
            let now = engine.time.now();
            for Claimed { message, .. } in claimed {
                engine.due(&lane_of(&message), message.next_attempt_at.unwrap_or(now));
            }
            engine.wake.notify_one();
        });
    }

    /// Writes what became of a message, however long that takes, while the worker goes on.
    pub(super) fn settle(self: &Arc<Self>, settled: Settled) {
        let (engine, busy) = (Arc::clone(self), self.busy());
        telemetry::spawn(async move {
            let _busy = busy;
            let (lane, due) = (lane_of(&settled.message), settled.message.next_attempt_at);
            loop {
                match engine.store.settle(settled.clone()).await {
                    Ok(events) => {
                        engine.tell(events);
                        break;
                    }
                    Err(error) => {
                        engine.cannot_record(&error);
                        if matches!(error, StoreError::Broken) {
                            // What was sent and cannot be recorded is `unknown` after the next start.
                            return;
                        }
                        engine.until_it_records().await;
                    }
                }
            }
            if let Some(due) = due {
                engine.due(&lane, due);
                engine.wake.notify_one();
            }
        });
    }

    /// Tells whoever listens.
    pub(super) fn tell(&self, events: Vec<Event>) {
        for event in events {
            let labels = [("type", event.event.kind.id())];
            metrics::counter!("mailwright_events_total", &labels).increment(1);
            // Nobody may be listening.
            drop(self.events.send(event));
        }
    }

    /// A new state: lines of profiles that changed are let go, with their connections and tokens.
    async fn reconfigure(self: &Arc<Self>, state: Arc<State>) {
        let routes = Arc::new(Routes::new(state));
        let back = {
            let mut board = self.board();
            let mut back = board.set_routes(Arc::clone(&routes));
            back.extend(board.take_back(None, self.time.now()));
            back
        };
        self.give_back(back);
        let live: std::collections::HashSet<crate::model::Digest> =
            routes.state().live_stored().map(|(_, stored)| crate::model::Digest::of_document(stored)).collect();
        self.tokens.keep(|of| live.contains(of));
        self.unpark_changed(&live).await;
        self.forget_rotations().await;
        self.webhooks.notify_one();
        self.repause().await;
    }

    /// Stops and starts the clocks of lanes, as things are now.
    pub(super) async fn repause(&self) {
        self.rewrite_clocks().await;
        self.wake.notify_one();
    }

    async fn rewrite_clocks(&self) {
        // What is newer in memory is written later.
        let _one_at_a_time = self.clocks.lock().await;
        let changed = self.board().repause(self.time.now());
        if !changed.is_empty()
            && let Err(error) = self.store.pause(changed).await
        {
            self.cannot_record(&error);
        }
    }

    pub(super) async fn read_holds(self: &Arc<Self>) -> Result<(), StoreError> {
        let holds = self.store.holds().await?;
        let back = {
            let mut board = self.board();
            board.holds = holds;
            board.take_back(None, self.time.now())
        };
        self.give_back(back);
        self.repause().await;
        Ok(())
    }

    /// Holds that have come to their end.
    async fn lapse(&self) {
        let now = self.time.now();
        let lapsed = {
            let mut board = self.board();
            let before = board.holds.len();
            board.holds.retain(|hold| hold.until.is_none_or(|until| until > now));
            before != board.holds.len()
        };
        if lapsed {
            self.repause().await;
        }
        let board = self.board();
        board.lines.values().for_each(|line| line.sender.pool.tidy(false));
    }

    /// Looks at the machine's clock now and then, and follows it if it was set for good.
    async fn keep_time(self: Arc<Self>) {
        let (mut seen, mut looks) = (0, 0);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let drift = self.time.drift();
            looks = if drift.abs() < TOLERATED {
                0
            } else if (drift - seen).abs() < TOLERATED / 2 {
                looks + 1
            } else {
                1
            };
            seen = drift;
            if looks < LOOKS {
                continue;
            }
            looks = 0;
            tracing::warn!(milliseconds = drift, "the clock was set; everything that waits moves with it");
            let followed = self.follow(drift).await;
            // What was being written at that moment may have been told an hour that is no more.
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = followed.and(self.retime(0).await) {
                self.cannot_record(&error);
            }
        }
    }

    async fn follow(self: &Arc<Self>, by: i64) -> Result<(), StoreError> {
        let nobody_takes = self.moment.write().await;
        self.time.follow(by);
        self.board().follow(by);
        let retimed = self.retime(by).await;
        drop(nobody_takes);
        retimed
    }

    /// Moves what waits in the store; nothing waits for longer than it would if it were told now.
    async fn retime(self: &Arc<Self>, by: i64) -> Result<(), StoreError> {
        let longest = self.board().routes.state().settings.delivery.retry.longest.milliseconds();
        let latest = self.time.now().as_millisecond() + longest.max(LONGEST_ASKED);
        self.store.retime(by, latest).await?;
        for state in self.store.lanes().await? {
            if let Some(due) = state.next_due {
                self.board().due(&state.lane, due);
            }
        }
        self.wake.notify_one();
        Ok(())
    }

    async fn purge(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PURGE_EVERY).await;
            loop {
                let keep = self.board().routes.state().settings.delivery.keep;
                let now = self.time.now().as_millisecond();
                let purged = self
                    .store
                    .purge(now - keep.delivered.milliseconds(), now - keep.failed.milliseconds(), now - KEYS_KEPT)
                    .await;
                match purged {
                    Ok(count) if count > 0 => tokio::time::sleep(Duration::from_millis(50)).await,
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "old messages could not be removed");
                        break;
                    }
                }
            }
        }
    }

    pub(super) async fn stop(&self, patience: Duration) {
        self.stopping.store(true, Ordering::Release);
        self.wake.notify_one();
        let until = Instant::now() + patience;
        while self.busy.load(Ordering::Acquire) > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = self.busy.load(Ordering::Acquire);
        if left > 0 {
            tracing::warn!(left, "stopped while mail was being sent; nobody can know what became of it");
        }
        self.board().lines.values().for_each(|line| line.sender.pool.tidy(true));
    }

    /// How long to wait after so many attempts: doubled each time, with a share of chance.
    pub(super) fn back_off(&self, attempts: u32) -> Duration {
        let retry = self.board().routes.state().settings.delivery.retry;
        let wait = retry.first.duration().saturating_mul(1 << attempts.saturating_sub(1).min(20));
        wait.min(retry.longest.duration()).mul_f64(0.85 + chance() * 0.3)
    }
}
