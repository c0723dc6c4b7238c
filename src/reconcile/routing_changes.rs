//! Routing changes: the cells of the table of (company, function) whose sender differs after a change.

use std::collections::{BTreeSet, HashMap};

use super::plan::{CellSender, RoutingChange};
use crate::model::{
    ProfileChange, ProfileName, State,
    resolution::{Cell, Resolver},
};

/// Returns the cells whose sending profile or From address differs, in order. A rename alone is not a difference.
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
        let one = sender(&old, &cell, &before.settings.companies);
        let other = sender(&new, &cell, &after.settings.companies);
        let same = match (&one, &other) {
            (Some(one), Some(other)) => {
                one.from == other.from && renamed.get(&one.profile).copied().unwrap_or(&one.profile) == &other.profile
            }
            (None, None) => true,
            _ => false,
        };
        if !same {
            changes.push(RoutingChange { cell, before: one, after: other });
        }
    }
    changes
}

/// Returns the sender of a cell; none for a company that is not in the environment.
fn sender(resolver: &Resolver<'_>, cell: &Cell, companies: &BTreeSet<crate::model::CompanyId>) -> Option<CellSender> {
    if !companies.contains(&cell.company) {
        return None;
    }
    resolver
        .sender(cell)
        .map(|(name, profile)| CellSender { profile: name.clone(), from: profile.from_address().map(str::to_owned) })
}
