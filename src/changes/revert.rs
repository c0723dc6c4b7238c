//! The changes that return the live profiles to those of an earlier generation: create, update or delete.
//!
//! [`revert_changes`] is used by the service for a rollback, and by the client to show one before it is requested. It compares
//! profiles with the digests of their secrets, and applies nothing; both callers compute the settings with
//! `Settings::going_back_to`. A profile that was renamed since then appears as a deletion and a creation.

use std::collections::BTreeMap;

use crate::model::{ProfileChange, ProfileName, State, StoredProfile};

/// Returns the changes that lead from the live state to the profiles of an earlier generation.
pub fn revert_changes(state: &State, target: &BTreeMap<ProfileName, StoredProfile>) -> Vec<ProfileChange> {
    let live: BTreeMap<&ProfileName, &StoredProfile> = state.live_stored().collect();
    let mut changes = Vec::new();
    for (name, profile) in target {
        let (name, profile) = (name.clone(), profile.clone());
        match live.get(&name) {
            None => changes.push(ProfileChange::Create { name, profile }),
            Some(now) if **now != profile => changes.push(ProfileChange::Update { name, profile }),
            Some(_) => {}
        }
    }
    let gone = live.keys().filter(|name| !target.contains_key(**name));
    changes.extend(gone.map(|name| ProfileChange::Delete { name: (*name).clone() }));
    changes
}
