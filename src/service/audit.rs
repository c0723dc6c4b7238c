//! The audit log as it is read: pages, searches, and the comparison of the store with it, for the API and the console.
//!
//! Entries are written where the recorded action is done. Reading is not recorded.

use std::sync::Arc;

use super::{Service, caller::Caller, http::HttpProblem};
use crate::{
    api::AuditPage,
    model::{AuditEntry, integrity::StoreCheck},
    store::AuditSearch,
};

impl Service {
    /// Returns one page of the entries after a number, oldest first.
    pub(crate) async fn audit_entries(
        self: &Arc<Self>,
        caller: &Caller,
        after: u64,
        limit: u32,
    ) -> Result<AuditPage, HttpProblem> {
        if !(1..=1000).contains(&limit) {
            return Err(HttpProblem::malformed("`limit` must be from 1 to 1000"));
        }
        let store = Arc::clone(&self.store);
        let entries = self.search(caller, async move { store.audit(after, limit).await }).await?;
        let next_after = entries.last().map(|last| last.sequence).filter(|_| entries.len() == limit as usize);
        Ok(AuditPage { entries, next_after })
    }

    /// Returns the newest entries that a search finds, newest first.
    pub(crate) async fn find_audit_entries(
        self: &Arc<Self>,
        caller: &Caller,
        search: AuditSearch,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, HttpProblem> {
        let store = Arc::clone(&self.store);
        self.search(caller, async move { store.find_audit(search, limit).await }).await
    }

    /// Recomputes the chain of hashes, and compares the store with the audit log. Reads the whole store.
    pub(crate) async fn compare_with_audit_log(&self) -> Result<StoreCheck, HttpProblem> {
        Ok(self.store.check().await?)
    }
}
