//! Repository of proposals: changes that wait for another person.

use async_trait::async_trait;

use super::{
    AuditEvent, StoreError,
    outbox::{Event, NewEvent},
};
use crate::model::proposal::Proposal;

/// Maximum number of open proposals.
pub const OPEN_PROPOSALS: usize = 200;

/// Maximum size of all open proposals, in bytes.
pub const OPEN_PROPOSALS_SIZE: usize = 256 * 1024 * 1024;

/// Number of decided proposals that are kept, the latest decisions first.
pub const DECIDED_PROPOSALS: usize = 200;

/// The outcome of storing a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposalStored {
    /// It was stored, with these events.
    Stored(Vec<Event>),
    /// The maximum number of proposals is open, or their maximum size is reached.
    TooMany,
    /// It does not exist, or was decided before.
    NotOpen,
}

/// Proposals.
#[async_trait]
pub trait Proposals: Send + Sync {
    /// Stores an open proposal and its events, unless too many are open.
    async fn create_proposal(
        &self,
        proposal: Proposal,
        event: AuditEvent,
        news: Vec<NewEvent>,
    ) -> Result<ProposalStored, StoreError>;

    /// Replaces an open proposal, with its decision if it has one, and stores its events. Keeps those that were decided last.
    async fn update_proposal(
        &self,
        proposal: Proposal,
        event: AuditEvent,
        news: Vec<NewEvent>,
    ) -> Result<ProposalStored, StoreError>;

    /// Returns a proposal.
    async fn proposal(&self, id: &str) -> Result<Option<Proposal>, StoreError>;

    /// Returns the proposals: open ones first, then the last decided first. Without the changes, settings and age files of plans.
    async fn proposals(&self) -> Result<Vec<Proposal>, StoreError>;
}
