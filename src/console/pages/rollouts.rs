//! Rollouts: who holds a lease of this service (a rollout, a watch), and what was last applied, as far as the service knows.
//!
//! The waves of a rollout and its pauses are in its journal, which is on the machine that runs it; the page says how to read it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;

use super::{history::Row, profiles};
use crate::{
    console::{
        answer::{Answer, render},
        page::{Page, SignedIn, shown, shown_up_to},
    },
    model::{ChangeKind, Lease},
    service::Service,
};

/// Number of generations that are read.
const READ: u32 = 200;
/// Number of applies that are listed.
const ROWS: usize = 20;
/// Maximum number of leases that are listed.
const LEASES: usize = 50;
/// The name of the lease of a watch.
const WATCH: &str = "watch";
/// The beginning of the name of the lease of a rollout.
const ROLLOUT: &str = "rollout:";

/// The page.
#[derive(Template)]
#[template(path = "rollouts.html")]
struct RolloutsPage {
    page: Page,
    /// The lease of the watch that applies to this environment.
    watch: Option<LeaseRow>,
    rollouts: Vec<LeaseRow>,
    /// Leases of other clients.
    others: Vec<LeaseRow>,
    more: usize,
    /// The applies, newest first.
    rows: Vec<Row>,
    /// The number of generations that were read, if there are older ones.
    read_of_more: Option<u32>,
    current: u64,
    /// Number of profiles that differ from the last apply.
    drifted: usize,
    settings_drifted: bool,
}

struct LeaseRow {
    /// The name of the rollout, or of the lease.
    name: String,
    holder: String,
    by: String,
    since: Timestamp,
    until: Timestamp,
}

impl LeaseRow {
    fn new(lease: &Lease) -> Self {
        Self {
            name: shown_up_to(lease.name.strip_prefix(ROLLOUT).unwrap_or(&lease.name), 120),
            holder: shown_up_to(&lease.holder, 200),
            by: shown(&lease.by),
            since: lease.since,
            until: lease.until,
        }
    }
}

/// Shows the page.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
) -> Answer {
    let leases = service.leases().await?;
    let newest = service.generations(&caller, None, READ).await?;
    let read_of_more = newest.next_before.map(|_| READ);
    let applies = newest.generations.into_iter().filter(|generation| generation.kind == ChangeKind::Apply);
    let state = service.state();
    let (mut rollouts, mut others, mut watch) = (Vec::new(), Vec::new(), None);
    for lease in leases.iter().take(LEASES) {
        let row = LeaseRow::new(lease);
        if lease.name == WATCH {
            watch = Some(row);
        } else if lease.name.starts_with(ROLLOUT) {
            rollouts.push(row);
        } else {
            others.push(row);
        }
    }
    render(&RolloutsPage {
        watch,
        rollouts,
        others,
        more: leases.len().saturating_sub(LEASES),
        rows: applies.take(ROWS).map(Row::new).collect(),
        read_of_more,
        current: state.generation,
        drifted: state.profiles.values().filter(|found| profiles::drift(found).is_some()).count(),
        settings_drifted: state.applied_settings.as_ref().is_some_and(|applied| *applied != state.settings),
        page,
    })
}
