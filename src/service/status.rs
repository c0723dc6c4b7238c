//! State of the service for the API and the console: readiness, information about the service, the outbox, leases, profiles with
//! problems, and the profile that sends for a cell.
//!
//! Methods of [`Service`]; nothing here changes the configuration or a message. [`Readiness`] counts what needs an operator
//! although the service is ready; a service that is not ready is an [`HttpProblem`]. `routes::health` computes the metrics
//! itself.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{COUNTED, Service, caller::Caller, http::HttpProblem};
use crate::{
    api::{self, ServiceInfo, messages::OutboxStatus},
    delivery::Trouble,
    model::{
        Code, Lease, ProfileName, Status, WaitReason, Waiting,
        access::Area,
        resolution::{Cell, Resolution, Resolver},
    },
    store::{
        StoreError,
        outbox::{LaneScope, Search},
    },
    time::steady_clock::earlier,
};

/// Counts of what needs an operator although the service is ready. Written as `/readyz` shows it.
pub(crate) struct Readiness {
    /// Suspended profiles.
    pub(crate) suspended: usize,
    /// Profiles whose server does not answer.
    pub(crate) unreachable: usize,
    /// Differences between the store and its audit log.
    pub(crate) differences: usize,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ready\n")?;
        if (self.suspended, self.unreachable) != (0, 0) {
            writeln!(f, "suspended profiles: {}", self.suspended)?;
            writeln!(f, "profiles whose server does not answer: {}", self.unreachable)?;
        }
        if self.differences > 0 {
            writeln!(f, "differences between the store and its audit log: {}", self.differences)?;
        }
        Ok(())
    }
}

/// Counts over all messages.
#[derive(Clone)]
pub(super) struct OutboxCounts {
    messages: BTreeMap<Status, u64>,
    waiting: Vec<Waiting>,
}

impl Service {
    async fn count_outbox(&self) -> Result<OutboxCounts, StoreError> {
        let messages = self.store.counts().await?.into_iter().collect();
        Ok(OutboxCounts { messages, waiting: self.delivery.waiting(|_| true).await? })
    }

    /// Counts the mail that a caller with limited rights may see. Replies to whole profiles are left out: they can be to the mail
    /// of other companies, and quote its recipients.
    async fn count_visible(self: &Arc<Self>, caller: &Caller, scope: LaneScope) -> Result<OutboxCounts, HttpProblem> {
        let (store, within) = (Arc::clone(&self.store), scope.clone());
        let messages = self.search(caller, async move {
            let mut messages = BTreeMap::new();
            for status in Status::ALL {
                let search = Search { status: Some(*status), within: Some(within.clone()), ..Search::default() };
                messages.insert(*status, store.count(search, COUNTED).await?);
            }
            Ok(messages)
        });
        let messages = messages.await?;
        let mut waiting = self.delivery.waiting(|lane| scope.lanes.contains(lane)).await?;
        waiting.retain(|group| group.messages > 0);
        for group in waiting.iter_mut().filter(|group| group.reason != WaitReason::Scheduled) {
            group.last_reply.clear();
        }
        Ok(OutboxCounts { messages, waiting })
    }

    /// Checks that the store can be written to, and counts the profiles that cannot send.
    pub(crate) async fn readiness(&self) -> Result<Readiness, HttpProblem> {
        self.store.probe().await?;
        if let Some(restored) = self.restored() {
            return Err(HttpProblem::new(
                Code::RestoreUnconfirmed,
                format!("the store was restored from a backup ({}), and no administrator has confirmed that", restored.why),
            )
            .remedy(format!(
                "Check the messages of `mailwright outbox list {0} --status unknown`, then run: mailwright outbox confirm-restore {0}",
                self.store.environment()
            )));
        }
        let trouble = self.delivery.trouble();
        if !trouble.records {
            let reason = "delivery is paused until the store can be written to".to_owned();
            return Err(StoreError::Database(reason).into());
        }
        Ok(Readiness {
            suspended: trouble.suspended.len(),
            unreachable: trouble.down.len(),
            differences: self.store_differences().len(),
        })
    }

    /// Returns version, recipient, generation and role, as the API answers it.
    pub(crate) fn info(&self, caller: &Caller) -> Result<ServiceInfo, HttpProblem> {
        Ok(ServiceInfo {
            product: "mailwright".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: api::VERSION,
            environment: self.store.environment().clone(),
            role: caller.principal.role,
            recipient: self.identity.recipient(),
            generation: self.state().generation,
            webhook_key: crate::delivery::public_key(&self.identity).map_err(HttpProblem::internal)?,
            demo: self.demo,
            started_at: self.started_at,
            time: Some(self.clock.now()),
        })
    }

    /// Returns the state of delivery, as far as the caller may see it. With `finished_within`, also counts the messages that
    /// finished in that number of seconds, which is for callers who may see all mail.
    pub(crate) async fn outbox_status(
        self: &Arc<Self>,
        caller: &Caller,
        finished_within: Option<u32>,
    ) -> Result<OutboxStatus, HttpProblem> {
        let finished = match finished_within {
            None => None,
            Some(seconds @ 1..=2_592_000) => {
                let since = earlier(self.delivery.now(), Duration::from_secs(u64::from(seconds)));
                let store = Arc::clone(&self.store);
                let counted = self.search(caller, async move { store.ended_since(since).await }).await?;
                Some(counted.into_iter().collect())
            }
            Some(_) => return Err(HttpProblem::malformed("`finishedWithin` must be from 1 to 2592000 seconds")),
        };
        let OutboxCounts { messages, waiting } = match self.lane_scope(caller).await? {
            None => OutboxCounts::clone(&*self.outbox_reads.get(self.count_outbox()).await?),
            Some(scope) => self.count_visible(caller, scope).await?,
        };
        let trouble = if caller.sees_all(Area::Outbox) { self.trouble() } else { self.visible_trouble(caller) };
        let Trouble { suspended, down, paused, records, rotations } = trouble;
        let (restored, holds) = (self.restored(), self.visible_holds(caller));
        Ok(OutboxStatus {
            messages,
            finished,
            waiting,
            parked: suspended.clone(),
            suspended,
            unreachable: down,
            paused,
            restored,
            holds,
            store_writable: records,
            rotations,
        })
    }

    /// Returns the active leases, by name.
    pub(crate) async fn leases(&self) -> Result<Vec<Lease>, HttpProblem> {
        Ok(self.store.leases(self.clock.now()).await?)
    }

    /// Returns the profiles with problems, and the rotations of secrets.
    pub(crate) fn trouble(&self) -> Trouble {
        self.delivery.trouble()
    }

    /// Returns the problems of the profiles that a caller may see.
    pub(crate) fn visible_trouble(&self, caller: &Caller) -> Trouble {
        let mut trouble = self.delivery.trouble();
        if !caller.sees_all(Area::Profiles) {
            let state = self.state();
            let is_seen = |name: &ProfileName| caller.sees_profile_named(name, &state);
            trouble.suspended.retain(|suspended| is_seen(&suspended.profile));
            trouble.down.retain(is_seen);
            trouble.paused.retain(|paused| is_seen(&paused.profile));
            trouble.rotations.retain(|rotation| is_seen(&rotation.profile));
        }
        trouble
    }

    /// Returns the profile that sends for a cell, with the steps that lead to it.
    pub(crate) fn resolve(&self, cell: Cell) -> Result<Resolution, HttpProblem> {
        let state = self.state();
        if !state.settings.companies.contains(&cell.company) {
            return Err(HttpProblem::unknown_company(&cell.company, &state.settings, &state.environment));
        }
        Ok(Resolver::new(state.live()).explain(&cell))
    }
}
