//! What a change does to mail: the cells of the table of (company, function) whose sender differs afterwards.

use std::collections::{BTreeSet, HashMap};

use super::plan::{Sender, SenderChange};
use crate::model::{
    ProfileChange, ProfileName, State,
    resolution::{Cell, Resolver},
};

/// The cells whose sending profile or From address differs, in order. A mere rename is no difference.
pub(super) fn changes(before: &State, after: &State, operations: &[ProfileChange]) -> Vec<SenderChange> {
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
            changes.push(SenderChange { cell, before: one, after: other });
        }
    }
    changes
}

/// A company that the environment does not have has no sender.
fn sender(resolver: &Resolver<'_>, cell: &Cell, companies: &BTreeSet<crate::model::CompanyId>) -> Option<Sender> {
    if !companies.contains(&cell.company) {
        return None;
    }
    resolver
        .sender(cell)
        .map(|(name, profile)| Sender { profile: name.clone(), from: profile.from_address().map(str::to_owned) })
}
