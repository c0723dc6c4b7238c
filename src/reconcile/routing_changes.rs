//! Routing changes: the combinations of company and function (and client, for `user-interface`) whose sender differs after a
//! change.
//!
//! [`find_routing_changes`] compares two states; the sender is the profile and its From address. A company that a state does not
//! have has no sender there. A rename alone is not a change. The plan shows the result; it does not stop an apply.

use std::collections::{BTreeSet, HashMap};

use super::plan::{CellSender, RoutingChange};
use crate::model::{
    ProfileChange, ProfileName, State,
    resolution::{Cell, Resolver},
};

/// Returns the cells whose sending profile or From address differs, in order. A rename alone is not a difference.
/// `operations` are the changes between the two states; renames are read from them.
pub(super) fn find_routing_changes(before: &State, after: &State, operations: &[ProfileChange]) -> Vec<RoutingChange> {
    if operations.is_empty() && before.settings.companies == after.settings.companies {
        return Vec::new();
    }
    let renamed: HashMap<&ProfileName, &ProfileName> = operations
        .iter()
        .filter_map(|change| match change {
            ProfileChange::Rename { from, name, .. } => Some((from, name)),
            _ => None,
        })
        .collect();
    let (old, new) = (Resolver::new(before.live()), Resolver::new(after.live()));
    let companies: BTreeSet<_> = before.settings.companies.union(&after.settings.companies).collect();
    let mut changes = Vec::new();
    for cell in Cell::all(companies) {
        let sender_before = sender(&old, &cell, &before.settings.companies);
        let sender_after = sender(&new, &cell, &after.settings.companies);
        let same = match (&sender_before, &sender_after) {
            (Some(old), Some(new)) => {
                old.from == new.from && renamed.get(&old.profile).copied().unwrap_or(&old.profile) == &new.profile
            }
            (None, None) => true,
            _ => false,
        };
        if !same {
            changes.push(RoutingChange { cell, before: sender_before, after: sender_after });
        }
    }
    changes
}

/// Returns the sender of a cell; none if no profile sends for it, or the company is not in the environment.
fn sender(resolver: &Resolver<'_>, cell: &Cell, companies: &BTreeSet<crate::model::CompanyId>) -> Option<CellSender> {
    if !companies.contains(&cell.company) {
        return None;
    }
    resolver
        .sender(cell)
        .map(|(name, profile)| CellSender { profile: name.clone(), from: profile.from_address().map(str::to_owned) })
}
