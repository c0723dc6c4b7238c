//! [`MemoryBudget`]: the memory that request bodies of one class may occupy.
//!
//! Bodies reserve it in [`super::http::upload`]; the sizes are in [`super::limits`]. A body that does not fit waits; none is
//! refused here. A body that is larger than the budget for processing reserves all of it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory for bodies of one class, in KiB.
#[derive(Clone)]
pub(super) struct MemoryBudget {
    /// Memory for bodies that arrive; the first bytes of each are not counted.
    arriving: Arc<Semaphore>,
    /// Memory for bodies that are processed.
    processing: Arc<Semaphore>,
    /// The total of `processing`: a larger body reserves all of it.
    processing_limit: usize,
}

impl MemoryBudget {
    pub(super) fn new(arriving: usize, processing: usize) -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        Self { arriving: permits(arriving), processing: permits(processing), processing_limit: processing }
    }

    /// Waits for memory for a body that arrives.
    pub(super) async fn reserve_arriving(&self, kibibytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.arriving).acquire_many_owned(kibibytes).await.ok()
    }

    /// Waits for memory for a body of this size that is processed.
    pub(super) async fn reserve_processing(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kibibytes = u32::try_from((bytes / 1024 + 1).min(self.processing_limit)).unwrap_or(u32::MAX);
        Arc::clone(&self.processing).acquire_many_owned(kibibytes).await.ok()
    }
}
