//! [`Signature`]: the electronic signature of a person of the console on a change, with the evidence that proves it.
//!
//! A person signs a text ([`Signature::text`]) that the page shows: what is done where, the digest of the change, the meaning of
//! the signature, and who signs. The passkey signs the digest of that text, so that no part of the record can be changed later
//! without notice. [`Meaning`] and [`SignatureMethod`] are those of SSH signatures as well. Nothing here verifies: that is
//! [`crate::approvals`].

use std::fmt;

use jiff::{Timestamp, tz::Offset};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Digest, EnvironmentName};

/// The first line of the text that a person signs.
const HEADING: &str = "mailwright-signature-v1";

/// The meaning of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// The signer has reviewed the change.
    Reviewed,
    /// The signer approves the change.
    #[default]
    Approved,
    /// The signer is the author of the change.
    Authored,
}

impl Meaning {
    /// Every meaning.
    pub const ALL: [Self; 3] = [Self::Reviewed, Self::Approved, Self::Authored];

    /// Returns the meaning as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            Meaning::Reviewed => "reviewed",
            Meaning::Approved => "approved",
            Meaning::Authored => "authored",
        }
    }

    /// Returns true for the meaning of signatures that state none.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the noun for signatures with this meaning: `approval`, `reviews`.
    pub(super) fn noun(self, count: u8) -> &'static str {
        match (self, count) {
            (Meaning::Reviewed, 1) => "review",
            (Meaning::Reviewed, _) => "reviews",
            (Meaning::Approved, 1) => "approval",
            (Meaning::Approved, _) => "approvals",
            (Meaning::Authored, 1) => "signature of authorship",
            (Meaning::Authored, _) => "signatures of authorship",
        }
    }
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl std::str::FromStr for Meaning {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|meaning| meaning.id() == text).ok_or("a meaning is reviewed, approved or authored")
    }
}

/// The way in which a signature was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureMethod {
    /// By a passkey, in the console.
    Passkey,
    /// By an SSH key.
    #[default]
    Ssh,
}

impl SignatureMethod {
    /// Returns the method as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            SignatureMethod::Passkey => "passkey",
            SignatureMethod::Ssh => "ssh",
        }
    }
}

/// A signature of a person of the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    /// The id, which no other signature has.
    pub id: String,
    /// The name of the signer in the policy.
    pub signer: String,
    /// The id of the operator. It is never given to another person.
    pub operator: String,
    /// The name of the person at the time of the signature.
    pub printed_name: String,
    /// The meaning.
    pub meaning: Meaning,
    /// The environment.
    pub environment: EnvironmentName,
    /// The action: `apply`.
    pub action: String,
    /// The generation that the change starts from.
    pub base: u64,
    /// The digest of the change.
    pub digest: Digest,
    /// The reason; can be empty.
    pub reason: String,
    /// The time at which the text was shown to be signed; at most five minutes before `at`.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// The time of the signature.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The offset of the person's browser from UTC, in minutes; east is positive.
    pub offset_minutes: i16,
    /// The time after which the signature does not count for a change that was not applied.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// The method.
    pub method: SignatureMethod,
    /// The answer of the passkey.
    pub evidence: PasskeyEvidence,
}

/// The answer of a passkey, and its public key: what is needed to verify a signature again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasskeyEvidence {
    /// The id of the passkey, as base64url.
    #[schema(max_length = 2048)]
    pub passkey: String,
    /// The public key (COSE), as base64url.
    #[schema(max_length = 4096)]
    pub public_key: String,
    /// The statement of the browser (`clientDataJSON`), as base64url.
    #[schema(max_length = 8192)]
    pub client_data: String,
    /// The data that the passkey signed, as base64url.
    #[schema(max_length = 8192)]
    pub authenticator_data: String,
    /// The signature, as base64url.
    #[schema(max_length = 4096)]
    pub signature: String,
}

impl Signature {
    /// Returns the text that the person signs. It has every field of the record that was known before the signature.
    pub fn text(&self) -> String {
        let Self { id, signer, operator, printed_name, meaning, environment, action, base, digest, reason, .. } = self;
        let (requested, expires) = (with_offset(self.requested_at, self.offset_minutes), self.expires);
        format!(
            "{HEADING}\nid: {id}\nenvironment: {environment}\naction: {action}\nbase generation: {base}\ndigest: {digest}\nmeaning: {meaning}\nsigner: {signer}\noperator: {operator}\nname: {printed_name}\nrequested: {requested}\nexpires: {expires}\nreason: {reason}\n"
        )
    }

    /// Returns the digest of the text, which the passkey signs.
    pub fn text_digest(&self) -> Digest {
        Digest::of_bytes(self.text().as_bytes())
    }
}

/// Returns a time as it was on the clock of a person: `2026-11-27T18:10:00+01:00`.
pub fn with_offset(at: Timestamp, minutes: i16) -> String {
    let offset = Offset::from_seconds(i32::from(minutes) * 60).unwrap_or(Offset::UTC);
    let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
    second.display_with_offset(offset).to_string()
}

/// Returns true if a browser's offset can be one: no place on earth is further from UTC than 14 hours.
pub fn is_offset(minutes: i16) -> bool {
    (-14 * 60..=14 * 60).contains(&minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_with_the_offset_of_its_person() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(with_offset(at, 0), "2027-01-15T08:00:00+00:00");
        assert_eq!(with_offset(at, 330), "2027-01-15T13:30:00+05:30");
        assert_eq!(with_offset(at, -210), "2027-01-15T04:30:00-03:30");
        assert!(is_offset(840) && is_offset(-720) && !is_offset(841));
    }
}
