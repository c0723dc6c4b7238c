//! Cache of tokens, so that a submission does not read the store to authenticate its caller.
//!
//! [`TokenCache::invalidate`] forgets all tokens whenever one is created, revoked or confirmed. Tokens that were read before that
//! are not cached afterwards: one of them may have been revoked in between. At 10,000 tokens the cache is emptied. Unknown tokens
//! are not cached.

use std::{collections::HashMap, sync::MutexGuard};

use crate::{store::StoredToken, sync::Mutex};

/// Maximum number of tokens in the cache.
const CAPACITY: usize = 10_000;

/// Tokens by id.
#[derive(Default)]
pub(super) struct TokenCache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// The number of invalidations.
    version: u64,
    tokens: HashMap<String, StoredToken>,
}

/// The version of the cache before a token was read from the store.
#[derive(Clone, Copy)]
pub(super) struct CacheVersion(u64);

impl TokenCache {
    /// Returns a token, or the version to pass to [`TokenCache::insert`] after reading it from the store.
    pub(super) fn get(&self, id: &str) -> Result<StoredToken, CacheVersion> {
        let entries = self.entries();
        entries.tokens.get(id).cloned().ok_or(CacheVersion(entries.version))
    }

    /// Adds a token that was read from the store, unless the cache was invalidated since.
    pub(super) fn insert(&self, id: &str, token: &StoredToken, version: CacheVersion) {
        let mut entries = self.entries();
        if entries.tokens.len() >= CAPACITY {
            entries.tokens.clear();
        }
        if entries.version == version.0 {
            entries.tokens.insert(id.to_owned(), token.clone());
        }
    }

    /// Forgets all tokens.
    pub(super) fn invalidate(&self) {
        let mut entries = self.entries();
        entries.version += 1;
        entries.tokens.clear();
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock()
    }
}
