//! [`SharedRead`]: one read of the store for all who ask for the same at about the same time.
//!
//! The overview, the outbox and their live updates need counts over all messages and the results of all verifications. Many open
//! pages get the same change at the same time; the store is read once or twice for them, not once for each. A caller never
//! gets what was read before it asked: after an action, it sees what the action has changed.

use std::{sync::Arc, time::Instant};

/// The last value that was read.
struct Latest<T> {
    began: Instant,
    value: Arc<T>,
}

/// A value that is read again for each caller, and shared by the callers that wait meanwhile.
pub(super) struct SharedRead<T>(tokio::sync::Mutex<Option<Latest<T>>>);

impl<T> Default for SharedRead<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(None))
    }
}

impl<T> SharedRead<T> {
    /// Returns a value whose reading began after this call: that of another caller, or an own one by `read`.
    pub(super) async fn get<E>(&self, read: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let asked = Instant::now();
        // The caller that reads holds the lock. One that gives up releases it.
        let mut latest = self.0.lock().await;
        if let Some(latest) = latest.as_ref().filter(|latest| latest.began >= asked) {
            return Ok(Arc::clone(&latest.value));
        }
        let began = Instant::now();
        let value = Arc::new(read.await?);
        *latest = Some(Latest { began, value: Arc::clone(&value) });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::sync::{Barrier, Notify};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn those_who_wait_share_one_read_that_began_after_they_asked() {
        let (shared, reads) = (Arc::new(SharedRead::<usize>::default()), Arc::new(AtomicUsize::new(0)));
        let (begun, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Notify::new()));
        let first = {
            let (shared, reads) = (Arc::clone(&shared), Arc::clone(&reads));
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            tokio::spawn(async move {
                let read = async {
                    begun.wait().await;
                    go_on.notified().await;
                    Ok::<_, ()>(reads.fetch_add(1, Ordering::Relaxed))
                };
                shared.get(read).await.map(|value| *value)
            })
        };
        begun.wait().await;
        // They ask while the first read is under way; what it sees may be older than what they have done.
        let others: Vec<_> = (0..10)
            .map(|_| {
                let (shared, reads) = (Arc::clone(&shared), Arc::clone(&reads));
                let read = async move { Ok::<_, ()>(reads.fetch_add(1, Ordering::Relaxed)) };
                tokio::spawn(async move { shared.get(read).await.map(|value| *value) })
            })
            .collect();
        // Each task of this thread runs until it waits.
        tokio::task::yield_now().await;
        go_on.notify_one();
        assert_eq!(first.await.ok(), Some(Ok(0)));
        for other in others {
            assert_eq!(other.await.ok(), Some(Ok(1)));
        }
        assert_eq!(reads.load(Ordering::Relaxed), 2);
        let later = shared.get(async { Ok::<_, ()>(reads.fetch_add(1, Ordering::Relaxed)) }).await;
        assert_eq!(later.map(|value| *value), Ok(2), "a later caller does not get an older value");
    }

    #[tokio::test]
    async fn a_reader_that_gives_up_or_fails_leaves_the_others_alone() {
        let shared = SharedRead::<u8>::default();
        let given_up = tokio::time::timeout(Duration::from_millis(1), shared.get(pending::<Result<u8, ()>>())).await;
        assert!(given_up.is_err());
        assert_eq!(shared.get(async { Err::<u8, _>("busy") }).await, Err("busy"));
        assert_eq!(shared.get(async { Ok::<_, ()>(7) }).await.map(|value| *value), Ok(7));
    }
}
