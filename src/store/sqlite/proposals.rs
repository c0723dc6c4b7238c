//! Proposals in `SQLite`.

use async_trait::async_trait;
use rusqlite::params;

use super::{
    AuditEvent, Proposals, SqliteStore, StoreError, append, events::insert_event, failed, record, records, text,
};
use crate::{
    model::proposal::Proposal,
    store::{DECIDED_PROPOSALS, OPEN_PROPOSALS, OPEN_PROPOSALS_SIZE, ProposalStored, outbox::NewEvent},
};

/// A record without what is large in it: the changes, settings and age files of a plan, the age files of an edit.
const SHORT: &str =
    "json_remove(record, '$.changeset.changes', '$.changeset.settings', '$.changeset.secrets', '$.ageFiles')";

#[async_trait]
impl Proposals for SqliteStore {
    async fn create_proposal(
        &self,
        proposal: Proposal,
        event: AuditEvent,
        news: Vec<NewEvent>,
    ) -> Result<ProposalStored, StoreError> {
        self.write_plainly(move |transaction| {
            let query = "SELECT count(*), coalesce(sum(octet_length(record)), 0) FROM proposal WHERE is_open = 1";
            let (open, size): (u32, i64) =
                transaction.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
            let contents = text(&proposal)?;
            let size = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(contents.len());
            if open as usize >= OPEN_PROPOSALS || size > OPEN_PROPOSALS_SIZE {
                return Ok(ProposalStored::TooMany);
            }
            transaction
                .execute(
                    "INSERT INTO proposal (id, at, is_open, record) VALUES (?1, ?2, 1, ?3)",
                    params![proposal.id, proposal.at.as_millisecond(), contents],
                )
                .map_err(failed)?;
            append(transaction, &event)?;
            let events = news.iter().map(|news| insert_event(transaction, news)).collect::<Result<_, _>>()?;
            Ok(ProposalStored::Stored(events))
        })
        .await
    }

    async fn update_proposal(
        &self,
        proposal: Proposal,
        event: AuditEvent,
        news: Vec<NewEvent>,
    ) -> Result<ProposalStored, StoreError> {
        self.write_plainly(move |transaction| {
            // The time of a decided one is that of its decision: the list and the limit go by it.
            let at = proposal.decision.as_ref().map_or(proposal.at, |decision| decision.at);
            let changed = transaction
                .execute(
                    "UPDATE proposal SET record = ?2, is_open = ?3, at = ?4 WHERE id = ?1 AND is_open = 1",
                    params![proposal.id, text(&proposal)?, proposal.decision.is_none(), at.as_millisecond()],
                )
                .map_err(failed)?;
            if changed == 0 {
                return Ok(ProposalStored::NotOpen);
            }
            // The history of proposals is bounded; the audit log keeps the end of each.
            transaction
                .execute(
                    "DELETE FROM proposal WHERE id IN
                     (SELECT id FROM proposal WHERE is_open = 0 ORDER BY at DESC, id LIMIT -1 OFFSET ?1)",
                    [i64::try_from(DECIDED_PROPOSALS).unwrap_or(i64::MAX)],
                )
                .map_err(failed)?;
            append(transaction, &event)?;
            let events = news.iter().map(|news| insert_event(transaction, news)).collect::<Result<_, _>>()?;
            Ok(ProposalStored::Stored(events))
        })
        .await
    }

    async fn proposal(&self, id: &str) -> Result<Option<Proposal>, StoreError> {
        let id = id.to_owned();
        self.read(move |transaction| record(transaction, "SELECT record FROM proposal WHERE id = ?1", [id])).await
    }

    async fn proposals(&self) -> Result<Vec<Proposal>, StoreError> {
        let query = format!("SELECT {SHORT} FROM proposal ORDER BY is_open DESC, at DESC, id LIMIT ?1");
        let limit = i64::try_from(OPEN_PROPOSALS + DECIDED_PROPOSALS).unwrap_or(i64::MAX);
        self.read(move |transaction| records(transaction, &query, [limit])).await
    }
}
