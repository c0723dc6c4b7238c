//! Service plans: which of a user's licences hold a mailbox in Exchange Online. [`mailbox`] answers for the plans of a user.
//!
//! `assignedPlans` names a service for each plan, and `exchange` also for many that hold no mailbox: Bookings, `MyAnalytics`,
//! data classification, and the foundation that comes with Power BI or Entra ID P1. So the plan's id decides. The table is
//! data (`plans.json`, from Microsoft's page "Product names and service plan identifiers for licensing"); an id that is in
//! neither list is *unknown*.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use crate::entra::graph::AssignedPlan;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[expect(dead_code, reason = "for readers of the file")]
    source: String,
    mailbox: BTreeMap<String, String>,
    other: BTreeMap<String, String>,
}

#[expect(clippy::expect_used, reason = "the table is part of the binary, and a test reads it")]
static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("plans.json")).expect("plans.json is well formed"));

/// The mailbox licence of a user, according to the plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mailbox {
    /// A usable plan has a mailbox.
    Licensed,
    /// No usable plan is known to have a mailbox, but one of Exchange is not in the table. Contains the ids.
    Unknown(Vec<String>),
    /// The only plans with a mailbox are suspended or locked.
    Suspended,
    /// No plan has a mailbox.
    None,
}

/// Returns the mailbox licence that the plans imply.
pub fn mailbox(plans: &[AssignedPlan]) -> Mailbox {
    let id = |plan: &AssignedPlan| plan.service_plan_id.as_deref().unwrap_or_default().to_lowercase();
    let is = |plan: &AssignedPlan, statuses: &[&str]| {
        plan.capability_status
            .as_deref()
            .is_some_and(|own| statuses.iter().any(|status| own.eq_ignore_ascii_case(status)))
    };
    // A plan in `Warning` belongs to a subscription that has just ended: it works for some more weeks.
    let usable: Vec<&AssignedPlan> = plans.iter().filter(|plan| is(plan, &["Enabled", "Warning"])).collect();
    if usable.iter().any(|plan| TABLE.mailbox.contains_key(&id(plan))) {
        return Mailbox::Licensed;
    }
    let of_exchange = |plan: &&&AssignedPlan| {
        plan.service.as_deref().is_some_and(|service| service.eq_ignore_ascii_case("exchange"))
            && !TABLE.other.contains_key(&id(plan))
    };
    let unknown: Vec<String> = usable
        .iter()
        .filter(of_exchange)
        .map(|plan| plan.service_plan_id.as_deref().unwrap_or("a plan without an id").chars().take(60).collect())
        .collect();
    if !unknown.is_empty() {
        return Mailbox::Unknown(unknown);
    }
    let suspended =
        |plan: &AssignedPlan| is(plan, &["Suspended", "LockedOut"]) && TABLE.mailbox.contains_key(&id(plan));
    if plans.iter().any(suspended) { Mailbox::Suspended } else { Mailbox::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(id: Option<&str>, status: &str) -> AssignedPlan {
        AssignedPlan {
            capability_status: Some(status.to_owned()),
            service: Some("exchange".to_owned()),
            service_plan_id: id.map(str::to_owned),
        }
    }

    #[test]
    fn the_lists_do_not_overlap_and_hold_ids() {
        for id in TABLE.mailbox.keys().chain(TABLE.other.keys()) {
            assert!(id.parse::<uuid::Uuid>().is_ok() && *id == id.to_lowercase(), "{id}");
        }
        assert!(TABLE.mailbox.keys().all(|id| !TABLE.other.contains_key(id)));
    }

    #[test]
    fn only_a_plan_with_a_mailbox_counts() {
        let standard = Some("9AAF7827-D63C-4B61-89C3-182F06F82E5C");
        let foundation = Some("113feb6c-3fe4-4440-bddc-54d774bf0318");
        let made_up = Some("00000000-0000-4000-8000-000000000001");
        assert_eq!(mailbox(&[plan(standard, "Enabled")]), Mailbox::Licensed);
        assert_eq!(mailbox(&[plan(standard, "warning")]), Mailbox::Licensed);
        assert_eq!(mailbox(&[plan(standard, "Deleted"), plan(foundation, "Enabled")]), Mailbox::None);
        assert_eq!(mailbox(&[plan(standard, "Suspended"), plan(foundation, "Enabled")]), Mailbox::Suspended);
        assert_eq!(mailbox(&[plan(standard, "LockedOut")]), Mailbox::Suspended);
        assert!(matches!(mailbox(&[plan(made_up, "Enabled")]), Mailbox::Unknown(ids) if ids.len() == 1));
        assert!(matches!(mailbox(&[plan(None, "Enabled")]), Mailbox::Unknown(_)));
        assert_eq!(mailbox(&[plan(made_up, "Deleted")]), Mailbox::None);
        assert_eq!(mailbox(&[plan(made_up, "Enabled"), plan(standard, "Enabled")]), Mailbox::Licensed);
        assert_eq!(mailbox(&[]), Mailbox::None);
    }
}
