//! A profile as workers send with it: settings, mailbox, idle connections, and memory for its large messages.
//!
//! The ready queue has one [`SendingProfile`] per profile, and makes a new one when the profile changes. Attempts that have begun
//! keep theirs. Profiles with the same mailbox (login and server, or application and address) share its limits. Nothing here
//! connects.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::transport::connection_pool::ConnectionPool;
use crate::model::{Digest, ProfileName, Provider, StoredProfile};

/// The limit for large messages of one profile in memory, in KiB: two thirds of the limit for all profiles.
pub(super) const LARGE_PER_PROFILE: u32 = 64 * 1024;

/// A profile as workers use it. A change of the profile makes a new one.
pub(super) struct SendingProfile {
    pub(super) name: ProfileName,
    pub(super) stored: StoredProfile,
    /// The digest of the profile with its secrets.
    pub(super) digest: Digest,
    /// The generation in which the profile was read.
    pub(super) generation: u64,
    /// The mailbox that it sends through; profiles with the same mailbox share its limits.
    pub(super) mailbox: String,
    /// Idle connections.
    pub(super) pool: ConnectionPool,
    /// Memory for its large messages, in KiB: a server that stalls leaves some of the total to other profiles.
    pub(super) large: Arc<Semaphore>,
}

impl SendingProfile {
    /// Creates the profile that a state describes.
    pub(super) fn new(name: ProfileName, stored: StoredProfile, generation: u64) -> Self {
        Self {
            name,
            digest: Digest::of_document(&stored),
            generation,
            mailbox: mailbox_of(&stored),
            pool: ConnectionPool::default(),
            large: Arc::new(Semaphore::new(LARGE_PER_PROFILE as usize)),
            stored,
        }
    }

    /// Returns the same profile without connections.
    pub(super) fn without_connections(&self) -> Self {
        Self {
            name: self.name.clone(),
            stored: self.stored.clone(),
            digest: self.digest.clone(),
            generation: self.generation,
            mailbox: self.mailbox.clone(),
            pool: ConnectionPool::default(),
            large: Arc::clone(&self.large),
        }
    }

    /// Returns the address that it sends from; empty if the provider decides it.
    pub(super) fn sender_address(&self) -> &str {
        self.stored.profile.from_address().unwrap_or_default()
    }
}

/// Returns the mailbox whose limits a profile uses: one login at one server, or one mailbox of one application.
fn mailbox_of(stored: &StoredProfile) -> String {
    let profile = &stored.profile;
    let from = profile.from_address().unwrap_or_default().to_lowercase();
    match &profile.provider {
        Provider::Smtp(smtp) => {
            let user = smtp.username.as_deref().unwrap_or(&from).to_lowercase();
            format!("smtp:{}:{}:{user}", smtp.host.to_lowercase(), smtp.port)
        }
        Provider::MicrosoftGraphDirect(direct) => format!("graph:{}:{from}", direct.client.to_lowercase()),
        Provider::MicrosoftGraphDelegate(delegate) => format!("graph:{}", delegate.client.to_lowercase()),
    }
}
