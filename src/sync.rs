//! Synchronisation: a [`Mutex`] whose `lock` never fails, and a [`BlockingPool`] for CPU-bound work in asynchronous code.
//!
//! A mutex stays usable after a panic, and its value is the one that the panic left. A panic of work in the pool continues in the
//! caller of `run`. Work on at most 16 KiB of input runs on the caller's thread. A lock must not be held across an `await`. Nothing
//! here knows messages, stores or requests.

use std::{
    fmt,
    num::NonZero,
    panic::resume_unwind,
    sync::{Arc, MutexGuard, PoisonError},
};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// Input of this size or less is processed on the thread of the caller: handing it over would cost more.
const INLINE: usize = 16 * 1024;

/// A mutex that ignores poisoning: a panic while it is locked leaves the value as it was at that moment.
///
/// It suits values that are valid after every single statement that changes them, such as maps and counters.
#[derive(Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Creates an unlocked mutex.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Locks the mutex. Blocks until it is free.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bounded access to the blocking threads of the runtime, for parsing and composing that would otherwise stop the threads
/// that serve connections.
///
/// Cheap to clone; clones share the bound.
#[derive(Clone, Debug)]
pub struct BlockingPool {
    permits: Arc<Semaphore>,
}

impl Default for BlockingPool {
    /// Runs as many pieces of work at once as the machine has processors, and two at least.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(2, NonZero::get).max(2))
    }
}

impl BlockingPool {
    /// Creates a pool that runs `limit` pieces of work at once.
    pub fn new(limit: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(limit)) }
    }

    /// Runs `work` on input of `size` bytes and returns its result: at once if the input is small, otherwise on a blocking
    /// thread as soon as one is free. Work that has begun ends and counts against the bound even if the caller goes away.
    ///
    /// A panic of `work` continues in the caller.
    pub async fn run<T: Send + 'static>(&self, size: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
        if size <= INLINE {
            return work();
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await;
        match done {
            Ok(result) => result,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime is shutting down, and with it the task that waits here.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_mutex_is_usable_after_a_panic() {
        let mutex = Arc::new(Mutex::new(1));
        let other = Arc::clone(&mutex);
        let panicked = std::thread::spawn(move || {
            let mut value = other.lock();
            *value = 2;
            panic!("while it is locked");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*mutex.lock(), 2);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn large_work_leaves_the_runtime_free_and_stays_within_the_bound() {
        let pool = BlockingPool::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..6)
            .map(|number| {
                let (pool, running, most) = (pool.clone(), Arc::clone(&running), Arc::clone(&most));
                tokio::spawn(async move {
                    let work = move || {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(30));
                        running.fetch_sub(1, Ordering::SeqCst);
                        number
                    };
                    pool.run(1_000_000, work).await
                })
            })
            .collect();
        // This thread is the only one of the runtime, so the work runs on it.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(running.load(Ordering::SeqCst) > 0);
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), number);
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_continues_in_the_caller() {
        let task = tokio::spawn(async { BlockingPool::new(1).run(usize::MAX, || panic!("broken")).await });
        let panicked: Result<(), _> = task.await;
        assert!(panicked.unwrap_err().is_panic());
    }
}
