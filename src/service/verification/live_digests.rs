//! [`LiveDigests`]: the digest of each live profile under which results of the verifier are kept.
//!
//! Pages and their live updates compare the last result of each profile with its live settings. Computing a digest serializes the
//! profile, so it is computed once per change. Nothing here reads a result.

use std::collections::HashMap;

use crate::{
    model::{Digest, ProfileName, ProfileState},
    sync::Mutex,
};

/// The number of entries from which those of profiles that are gone may be dropped.
const CLEARED_FROM: usize = 100_000;

/// The digests, each with the generation that set the profile.
#[derive(Default)]
pub(in crate::service) struct LiveDigests(Mutex<HashMap<ProfileName, (u64, Digest)>>);

impl LiveDigests {
    /// Returns the digest of a profile; none if it is not live.
    pub(super) fn find(&self, name: &ProfileName, profile: &ProfileState) -> Option<Digest> {
        let (live, generation) = (profile.live.as_ref()?, profile.changed.generation);
        let mut digests = self.0.lock();
        if let Some((known, digest)) = digests.get(name)
            && *known == generation
        {
            return Some(digest.clone());
        }
        if digests.len() >= CLEARED_FROM {
            digests.clear();
        }
        let digest = live.verified_digest();
        digests.insert(name.clone(), (generation, digest.clone()));
        Some(digest)
    }
}
