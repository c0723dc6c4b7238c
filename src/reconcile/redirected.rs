//! Secrets that would travel to a place that they were not accepted for. The service refuses them; the plan says so
//! before anything is sent.

use std::collections::HashMap;

use super::plan::RedirectedSecret;
use crate::{
    config::Desired,
    model::{Destination, Digest, ProfileChange, State},
};

/// Secrets whose digest was accepted for one destination and would travel to another.
pub(super) fn secrets(desired: &Desired, state: &State, operations: &[ProfileChange]) -> Vec<RedirectedSecret> {
    let mut accepted: HashMap<&Digest, Destination> =
        state.secrets.iter().map(|(digest, record)| (digest, record.destination.clone())).collect();
    let mut redirected = Vec::new();
    for change in operations {
        let Some(stored) = change.profile() else { continue };
        let Some((reference, pointer)) = stored.profile.provider.secret() else { continue };
        let destination = stored.profile.provider.destination();
        for digest in [&stored.secrets, &stored.next].into_iter().filter_map(|digests| digests.get(reference)) {
            let first = accepted.entry(digest).or_insert_with(|| destination.clone());
            if *first != destination {
                let place =
                    desired.profiles.get(change.name()).map(|profile| profile.place_of(&format!("/provider{pointer}")));
                redirected.push(RedirectedSecret {
                    profile: change.name().clone(),
                    secret: reference.clone(),
                    digest: digest.clone(),
                    accepted_for: first.clone(),
                    would_go_to: destination.clone(),
                    place: place.unwrap_or_else(|| desired.settings_place.clone()),
                });
            }
        }
    }
    redirected
}
