//! Entity tags (RFC 9110) of the state and of profiles, for conditional requests.
//!
//! [`tag_profile`] returns the tag of a profile, and [`StateTag`] remembers that of the live state. A tag has the generation and a
//! digest of the contents: after a restore, another change gets a number that was used before. Nothing here decides about a request.

use std::sync::{Arc, Weak};

use crate::{
    model::{Digest, ProfileState, State},
    sync::Mutex,
};

/// Returns the tag of a profile.
pub(super) fn tag_profile(profile: &ProfileState) -> String {
    format_tag(profile.changed.generation, &Digest::of_document(profile))
}

/// The tag of the state that was sent last. It is kept, because the digest of ten thousand profiles takes a while.
#[derive(Default)]
pub(super) struct StateTag(Mutex<(Weak<State>, String)>);

impl StateTag {
    /// Returns the tag of a state, if it is known.
    pub(super) fn find(&self, state: &Arc<State>) -> Option<String> {
        let known = self.0.lock();
        (known.0.as_ptr() == Arc::as_ptr(state)).then(|| known.1.clone())
    }

    /// Computes the tag of a state from its document, and remembers it.
    pub(super) fn compute(&self, state: &Arc<State>, document: &[u8]) -> String {
        let tag = format_tag(state.generation, &Digest::of_bytes(document));
        *self.0.lock() = (Arc::downgrade(state), tag.clone());
        tag
    }
}

fn format_tag(generation: u64, digest: &Digest) -> String {
    format!("\"g{generation}-{}\"", digest.as_str().trim_start_matches("sha256:"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_of_one_generation_differ_with_the_contents() {
        let profile = |by: &str| -> ProfileState {
            let changed = json!({ "generation": 7, "at": "2026-01-01T00:00:00Z", "by": by, "kind": "apply" });
            ProfileState::new(None, None, serde_json::from_value(changed).unwrap())
        };
        let tag = tag_profile(&profile("ann"));
        assert!(tag.starts_with("\"g7-") && tag == tag_profile(&profile("ann")), "{tag}");
        assert_ne!(tag, tag_profile(&profile("ben")));

        let (tags, state) = (StateTag::default(), Arc::new(State::empty("prod".parse().unwrap())));
        assert_eq!(tags.find(&state), None);
        let tag = tags.compute(&state, b"one");
        assert_eq!(tags.find(&state).as_ref(), Some(&tag));
        let restored = Arc::new(State::clone(&state));
        assert_eq!(tags.find(&restored), None);
        assert_ne!(tags.compute(&restored, b"two"), tag);
    }
}
