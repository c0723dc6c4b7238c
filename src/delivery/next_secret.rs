//! The next secret of a profile, which is staged to replace the current one, and the version of a secret that a login uses.
//!
//! [`NextSecret`] identifies it by digests and has no value. `rotation` decides which version is used, `credentials` opens it.

use jiff::Timestamp;

use crate::model::{
    Digest, ProfileName, SecretReference, StoredProfile,
    rotation::{Rotation, Standing},
};

/// The version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SecretVersion {
    Current,
    Next,
}

/// The next secret of a profile.
#[derive(Clone, Debug)]
pub(super) struct NextSecret {
    pub(super) reference: SecretReference,
    pub(super) digest: Digest,
    /// The digest of the next secret and the login that it is for. Profiles with the same login share the result.
    pub(super) subject: Digest,
}

impl NextSecret {
    /// Returns the next secret of a profile, if it has one.
    pub(super) fn of_profile(stored: &StoredProfile) -> Option<Self> {
        let (reference, digest) = stored.next.iter().next()?;
        let subject = Digest::of_document(&(&stored.profile.provider, digest));
        Some(Self { reference: reference.clone(), digest: digest.clone(), subject })
    }

    /// Returns the state of the rotation with this secret, before any try.
    pub(super) fn rotation(self, profile: &ProfileName, standing: Standing, since: Timestamp) -> Rotation {
        Rotation {
            profile: profile.clone(),
            secret: self.reference,
            next: self.digest,
            of: self.subject,
            standing,
            since,
            reason: String::new(),
            alerted: false,
            refusals: 0,
            next_try_at: None,
        }
    }
}
