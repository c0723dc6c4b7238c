//! Writer: the only connection that writes, on its own thread, with group commit: jobs that arrive while the disk is busy go
//! into the next transaction together.
//!
//! The repositories call [`Writer::write_grouped`] for small jobs and [`Writer::write_single`] for large ones. A job is durable
//! when the call returns. A job that fails is undone without affecting the others; if the commit fails, all of its jobs fail. After
//! an error of the disk, or in a corrupt file, no job is accepted until the next start; a full disk is not such an error.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    StoreError,
    audit_log::HEAD,
    failed,
    position::{Extent, Keeper},
};
use crate::telemetry::EnvironmentContext;

/// Maximum number of jobs in one transaction.
const TOGETHER: usize = 512;
/// Maximum time for which jobs are added to a transaction.
const GATHER: Duration = Duration::from_millis(20);

/// Reports the outcome of the transaction to the caller.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// A job, which runs only if its transaction has begun, and the runtime of its caller.
type Shared = (Box<dyn FnOnce(Result<&Connection, StoreError>) -> Finish + Send>, Handle);
/// A job with its own transaction. Returns the extent of the database, if the job changed something.
type Lone = Box<dyn FnOnce(&mut Connection) -> Result<Option<Extent>, rusqlite::Error> + Send>;

enum Job {
    /// The job shares a transaction with others.
    Grouped(Shared),
    /// The job has its own transaction, because it is large.
    Single(Lone),
    /// The store is about to be closed.
    Settle(oneshot::Sender<Result<(), StoreError>>),
}

/// Hands jobs to the writing thread. Cheap to clone; the thread ends with the last one.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// Set after the disk failed. What the disk holds is not known then, so no further job is accepted.
    broken: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread. `position` records what is durable.
    pub(super) fn start(connection: Connection, position: Keeper) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let broken = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&broken);
        let context = EnvironmentContext::current();
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || match context {
                Some(context) => context.in_scope(|| run(connection, &queue, &flag, position)),
                None => run(connection, &queue, &flag, position),
            })
            .map_err(|error| StoreError::Database(format!("cannot start the writing thread: {error}")))?;
        Ok(Self { jobs, broken })
    }

    /// Runs a small job in a transaction that it may share. The job is durable when this returns.
    pub(super) async fn write_grouped<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (sender, receiver) = oneshot::channel();
        let work = Box::new(move |begun: Result<&Connection, StoreError>| {
            let result = begun.map_err(E::from).and_then(|connection| undoable(connection, work));
            let finish: Finish = Box::new(move |committed| {
                // The caller may have stopped waiting.
                drop(sender.send(match (committed, result) {
                    (Ok(()), result) => result,
                    (Err(_), Err(error)) => Err(error),
                    (Err(error), Ok(_)) => Err(error.into()),
                }));
            });
            finish
        });
        self.hand_over(Job::Grouped((work, Handle::current())), receiver).await
    }

    /// Runs a large job in a transaction of its own.
    pub(super) async fn write_single<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (sender, receiver) = oneshot::channel();
        let job = Job::Single(Box::new(move |connection| {
            let before = connection.total_changes();
            let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            let (answer, ended) = match begun {
                Err(error) => (Err(StoreError::Database(error.to_string()).into()), Err(error)),
                Ok(transaction) => match work(&transaction) {
                    Err(error) => (Err(error), Ok(None)),
                    Ok(value) => {
                        let counted = count(&transaction, before);
                        match counted.and_then(|count| transaction.commit().map(|()| count)) {
                            Ok(count) => (Ok(value), Ok(count)),
                            Err(error) => (Err(StoreError::Database(error.to_string()).into()), Err(error)),
                        }
                    }
                },
            };
            metrics::counter!("mailwright_store_transactions_total").increment(1);
            drop(sender.send(answer));
            ended
        }));
        self.hand_over(job, receiver).await
    }

    /// Moves everything from the write-ahead log into the database file, and records the position.
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.hand_over(Job::Settle(sender), receiver).await
    }

    async fn hand_over<T, E: From<StoreError>>(
        &self,
        job: Job,
        receiver: oneshot::Receiver<Result<T, E>>,
    ) -> Result<T, E> {
        if self.broken.load(Ordering::Acquire) {
            return Err(broken().into());
        }
        let gone = || StoreError::Database("the writing thread has ended".to_owned());
        self.jobs.send(job).map_err(|_| gone())?;
        match receiver.await {
            Ok(answer) => answer,
            Err(_) if self.broken.load(Ordering::Acquire) => Err(broken().into()),
            Err(_) => Err(gone().into()),
        }
    }
}

fn broken() -> StoreError {
    StoreError::Broken
}

/// Runs a job so that it can be undone without undoing the others in its transaction.
fn undoable<T, E: From<StoreError>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    run_cached(connection, "SAVEPOINT job").map_err(failed)?;
    let result = work(connection);
    if result.is_err() && connection.is_autocommit() {
        // SQLite has undone the whole transaction, this savepoint included.
        return result;
    }
    if result.is_err() {
        run_cached(connection, "ROLLBACK TO job").map_err(failed)?;
    }
    run_cached(connection, "RELEASE job").map_err(failed)?;
    result
}

/// Runs one of the statements that surround every job. They are compiled once.
fn run_cached(connection: &Connection, statement: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// Counts the transaction if it changed something; a transaction without changes needs no write to disk. Returns the extent of
/// the database in that case.
fn count(connection: &Connection, changes_before: u64) -> Result<Option<Extent>, rusqlite::Error> {
    if connection.total_changes() == changes_before {
        return Ok(None);
    }
    let commits: i64 = connection
        .prepare_cached("UPDATE position SET commits = commits + 1 WHERE id = 1 RETURNING commits")?
        .query_row([], |row| row.get(0))?;
    let head: Option<String> = connection
        .prepare_cached("SELECT value FROM store WHERE key = ?1")?
        .query_row([HEAD], |row| row.get(0))
        .optional()?;
    let head = head.and_then(|head| serde_json::from_str(&head).ok());
    Ok(Some(Extent { commits: commits.unsigned_abs(), head }))
}

/// Returns the next job. Writes the position while waiting, whenever that is due.
fn receive(queue: &mpsc::Receiver<Job>, position: &mut Keeper, broken: &AtomicBool) -> Option<Job> {
    loop {
        let Some(wait) = position.due().filter(|_| !broken.load(Ordering::Acquire)) else { return queue.recv().ok() };
        match queue.recv_timeout(wait) {
            Ok(job) => return Some(job),
            Err(mpsc::RecvTimeoutError::Timeout) => position.write(),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                position.write();
                return None;
            }
        }
    }
}

fn run(mut connection: Connection, queue: &mpsc::Receiver<Job>, broken: &AtomicBool, mut position: Keeper) {
    let mut next = receive(queue, &mut position, broken);
    while let Some(job) = next.take() {
        // Callers in the queue get the error that their job was dropped.
        if broken.load(Ordering::Acquire) {
            return;
        }
        match job {
            Job::Single(work) => match work(&mut connection) {
                Ok(Some(extent)) => position.reached(extent),
                Ok(None) => {}
                Err(error) => note_failure(&error, broken),
            },
            Job::Grouped(first) => next = share(&connection, queue, first, broken, &mut position),
            Job::Settle(sender) => {
                position.write();
                // If another connection still reads, the write-ahead log stays, which is harmless.
                let done = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
                drop(sender.send(done.map_err(failed)));
            }
        }
        if next.is_none() {
            next = receive(queue, &mut position, broken);
        }
    }
}

/// Runs one transaction for the first job and those that wait. Returns a job that needs its own transaction.
fn share(
    connection: &Connection,
    queue: &mpsc::Receiver<Job>,
    first: Shared,
    broken: &AtomicBool,
    position: &mut Keeper,
) -> Option<Job> {
    let (first, runtime) = first;
    let before = connection.total_changes();
    if let Err(error) = run_cached(connection, "BEGIN IMMEDIATE") {
        note_failure(&error, broken);
        let error = error.to_string();
        first(Err(StoreError::Database(error.clone())))(Err(StoreError::Database(error)));
        return None;
    }
    let begun = Instant::now();
    let mut finish = vec![first(Ok(connection))];
    let mut other = None;
    // A full disk can make SQLite undo the whole transaction. A job after that would be committed by itself, and reported as failed.
    while finish.len() < TOGETHER && begun.elapsed() < GATHER && !connection.is_autocommit() {
        match queue.try_recv() {
            Ok(Job::Grouped((work, _))) => finish.push(work(Ok(connection))),
            Ok(alone) => {
                other = Some(alone);
                break;
            }
            Err(_) => break,
        }
    }
    metrics::counter!("mailwright_store_transactions_total").increment(1);
    metrics::counter!("mailwright_store_writes_total").increment(finish.len() as u64);
    let counted = count(connection, before).and_then(|count| run_cached(connection, "COMMIT").map(|()| count));
    let committed = counted.map_err(|error| {
        note_failure(&error, broken);
        // A failed commit may leave the transaction open.
        drop(connection.execute_batch("ROLLBACK"));
        failed(error)
    });
    let reached = committed.as_ref().ok().cloned().flatten();
    // Waking many callers takes longer than handing them over, and the disk would be idle meanwhile.
    runtime.spawn(async move {
        for finish in finish {
            finish(match &committed {
                Ok(_) => Ok(()),
                Err(error) => Err(StoreError::Database(error.to_string())),
            });
        }
    });
    if let Some(extent) = reached {
        position.reached(extent);
    }
    other
}

/// Records a failed write or `fsync`. After it the contents of the disk are unknown: the kernel may have dropped the pages. A
/// full disk is not such a failure.
fn note_failure(error: &rusqlite::Error, broken: &AtomicBool) {
    let code = error.sqlite_error_code();
    if matches!(code, Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt)) {
        broken.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::{super::position, *};

    /// A database with the tables that a transaction needs, of at most sixteen pages.
    fn database(folder: &std::path::Path) -> (std::path::PathBuf, Connection) {
        let path = folder.join("store.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA max_page_count = 16;
                 CREATE TABLE position (id INTEGER PRIMARY KEY, commits INTEGER);
                 INSERT INTO position VALUES (1, 0);
                 CREATE TABLE store (key TEXT PRIMARY KEY, value TEXT);
                 CREATE TABLE item (name TEXT, bytes BLOB)",
            )
            .unwrap();
        (path, connection)
    }

    fn insert(connection: &Connection, name: &str, bytes: i64) -> Result<(), StoreError> {
        let statement = "INSERT INTO item VALUES (?1, zeroblob(?2))";
        connection.execute(statement, rusqlite::params![name, bytes]).map(drop).map_err(failed)
    }

    #[tokio::test]
    async fn a_job_is_reported_as_it_was_committed_also_when_the_disk_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let (path, connection) = database(folder.path());
        let at = position::Position { incarnation: "0".repeat(32), commits: 0, head: None };
        position::create(&path, &at).unwrap();
        let writer = Writer::start(connection, Keeper::open(&path, at)).unwrap();
        // The first job holds the thread until the others wait, so that they share its transaction.
        let (open, gate) = mpsc::channel::<()>();
        let jobs =
            [("first", 10, Some(gate)), ("large", 1_000_000, None), ("last", 10, None)].map(|(name, bytes, gate)| {
                writer.write_grouped(move |connection| {
                    gate.map(|gate| gate.recv());
                    insert(connection, name, bytes)
                })
            });
        let [first, large, last] = jobs;
        let (first, large, last, ()) = tokio::join!(first, large, last, async move { open.send(()).unwrap() });
        assert!(large.unwrap_err().to_string().contains("full"));
        let names: Vec<String> = writer
            .write_grouped(|connection| {
                let mut statement = connection.prepare("SELECT name FROM item").map_err(failed)?;
                let names = statement.query_map([], |row| row.get(0)).map_err(failed)?;
                names.collect::<Result<_, _>>().map_err(failed)
            })
            .await
            .unwrap();
        let reported = [("first", first), ("last", last)].into_iter();
        let reported: Vec<&str> = reported.filter_map(|(name, result)| result.is_ok().then_some(name)).collect();
        assert_eq!(names, reported);
    }
}
