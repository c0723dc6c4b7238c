//! Routing changes: the combinations of company and function (and client, for `user-interface`) whose sender differs after a
//! change.
//!
//! [`find_routing_changes`] compares two states; the sender is the profile and its From address. A company that a state does not
//! have has no sender there. [`sender_groups`] puts equal changes together. The plan shows the result; it does not stop an apply.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        CompanyId, ProfileChange, ProfileName, State,
        resolution::{Cell, Resolver},
    },
    text::enumerate,
};

/// A cell of the routing table whose sender changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingChange {
    /// The cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// The current sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<CellSender>,
    /// The sender after the change; none if the cell loses its sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<CellSender>,
}

/// The sender of a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellSender {
    /// The profile.
    pub profile: ProfileName,
    /// The From address; none for a delegate, which sends as the signed-in user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Returns the cells whose sending profile or From address differs, in order. A rename alone is not a difference.
/// `operations` are the changes between the two states; renames are read from them.
pub fn find_routing_changes(before: &State, after: &State, operations: &[ProfileChange]) -> Vec<RoutingChange> {
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
fn sender(resolver: &Resolver<'_>, cell: &Cell, companies: &BTreeSet<CompanyId>) -> Option<CellSender> {
    if !companies.contains(&cell.company) {
        return None;
    }
    resolver
        .sender(cell)
        .map(|(name, profile)| CellSender { profile: name.clone(), from: profile.from_address().map(str::to_owned) })
}

/// Cells with the same change from one sender to another.
pub struct SenderGroup<'a> {
    /// The earlier sender.
    pub before: Option<&'a CellSender>,
    /// The later sender.
    pub after: Option<&'a CellSender>,
    /// The cells.
    pub cells: Vec<&'a RoutingChange>,
}

/// Groups cells, in the order of their first cell; those that lose their sender come first.
pub fn sender_groups(senders: &[RoutingChange]) -> Vec<SenderGroup<'_>> {
    let mut index = HashMap::new();
    let mut groups: Vec<SenderGroup<'_>> = Vec::new();
    for change in senders {
        let key = (change.before.as_ref(), change.after.as_ref());
        let at = *index.entry(key).or_insert_with(|| {
            groups.push(SenderGroup { before: key.0, after: key.1, cells: Vec::new() });
            groups.len() - 1
        });
        groups[at].cells.push(change);
    }
    groups.sort_by_key(|group| group.after.is_some());
    groups
}

impl SenderGroup<'_> {
    /// Returns lines such as `EDU1, EDU2: all-documents, document-quality`, with one line per set of companies.
    pub fn lines(&self) -> Vec<String> {
        let mut companies: BTreeMap<_, BTreeSet<&CompanyId>> = BTreeMap::new();
        for change in &self.cells {
            let function = (change.cell.function, change.cell.client);
            companies.entry(function).or_default().insert(&change.cell.company);
        }
        let mut lines: Vec<(BTreeSet<&CompanyId>, Vec<String>)> = Vec::new();
        for ((function, client), companies) in companies {
            let word = client.map_or(function.to_string(), |client| format!("{function} ({})", client.id()));
            match lines.iter_mut().find(|(known, _)| *known == companies) {
                Some((_, words)) => words.push(word),
                None => lines.push((companies, vec![word])),
            }
        }
        let line = |(companies, words): &(BTreeSet<&CompanyId>, Vec<String>)| {
            format!("{}: {}", enumerate(companies.iter().map(ToString::to_string), 8), words.join(", "))
        };
        lines.iter().map(line).collect()
    }
}
