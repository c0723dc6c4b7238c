//! [`Signature`]: the electronic signature of a person of the console on a change, with the evidence that proves it.
//!
//! A person signs a text ([`Signature::text`]) that the page shows: what is done where, the digest of the change, the meaning of
//! the signature, and who signs. The passkey signs the digest of that text, or the identity provider states it in the ID token
//! with which it confirms the person, so that no part of the text can be changed later without notice. The time of the signature,
//! its method and its passkey are added to the record afterwards. [`Meaning`] and [`SignatureMethod`] are those of SSH signatures
//! as well. Nothing here verifies: that is [`crate::approvals`].

use std::fmt;

use jiff::{
    SignedDuration, Timestamp,
    tz::{Offset, TimeZone},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Digest, EnvironmentName, session::SessionSubject};

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
    /// By a confirmation of the person at its identity provider, in the console.
    IdentityProvider,
}

impl SignatureMethod {
    /// Returns the method as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            SignatureMethod::Passkey => "passkey",
            SignatureMethod::Ssh => "ssh",
            SignatureMethod::IdentityProvider => "identity-provider",
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
    /// The id of the operator, which is never given to another person; empty for a person of an identity provider.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// The person of an identity provider; absent for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<SignerIdentity>,
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
    /// The time at which the text was shown to be signed; at most 20 minutes before `at`.
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
    /// The passkey, if it was registered shortly before the signature, or after the proposal was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent_passkey: Option<RecentPasskey>,
    /// The answer of the passkey, or the statement of the identity provider.
    pub evidence: SignatureEvidence,
}

/// A person of an identity provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignerIdentity {
    /// The issuer.
    #[schema(max_length = 300)]
    pub issuer: String,
    /// The id that the issuer never gives to another person: `TENANT/OBJECT` of Entra, otherwise `sub`.
    #[schema(max_length = 300)]
    pub id: String,
}

impl SignerIdentity {
    /// Returns the subject as sessions have it.
    pub fn subject(&self) -> String {
        SessionSubject::Identity { issuer: self.issuer.clone(), id: self.id.clone() }.to_string()
    }
}

/// A passkey that was registered shortly before a signature with it. A person who may issue enrolment links could have registered
/// it in the name of the signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentPasskey {
    /// The time of its registration.
    #[schema(value_type = String, format = DateTime)]
    pub added_at: Timestamp,
    /// The caller who issued the enrolment link; absent if the person added the passkey itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_by: Option<String>,
    /// True if it was registered after the proposal was made.
    pub is_after_proposal: bool,
}

/// The age below which a passkey is recent at a signature.
const RECENT: SignedDuration = SignedDuration::from_hours(7 * 24);

impl RecentPasskey {
    /// Returns the passkey of a signature if it is recent.
    pub fn find(
        added_at: Timestamp,
        link_by: Option<&str>,
        proposed_at: Timestamp,
        signed_at: Timestamp,
    ) -> Option<Self> {
        let is_after_proposal = added_at >= proposed_at;
        let is_recent = is_after_proposal || Self::is_recent(added_at, signed_at);
        is_recent.then(|| Self { added_at, link_by: link_by.map(str::to_owned), is_after_proposal })
    }

    /// Returns true if a passkey that was registered at one time is recent at another.
    pub fn is_recent(added_at: Timestamp, at: Timestamp) -> bool {
        at.duration_since(added_at) < RECENT
    }

    /// Describes it: `passkey enrolled 2026-11-26 by link of ann, 1 hour before the signature`.
    pub fn describe(&self, signed_at: Timestamp) -> String {
        let day = self.added_at.to_zoned(TimeZone::UTC).date();
        let link = self.link_by.as_ref().map_or_else(|| "by its owner".to_owned(), |by| format!("by link of {by}"));
        let proposal = if self.is_after_proposal { " and after the proposal" } else { "" };
        format!("passkey enrolled {day} {link}, {} before the signature{proposal}", Self::age(self.added_at, signed_at))
    }

    fn age(from: Timestamp, to: Timestamp) -> String {
        let minutes = to.duration_since(from).as_mins().max(0);
        let (number, unit) = match minutes {
            0..60 => (minutes, "minute"),
            60..1440 => (minutes / 60, "hour"),
            _ => (minutes / 1440, "day"),
        };
        format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
    }
}

/// The proof of a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SignatureEvidence {
    /// The answer of a passkey.
    Passkey(PasskeyEvidence),
    /// The statement of an identity provider.
    Identity(IdentityEvidence),
}

impl Default for SignatureEvidence {
    fn default() -> Self {
        Self::Passkey(PasskeyEvidence::default())
    }
}

/// The ID token with which an identity provider confirmed a person for one signature: its `nonce` is the digest of the signed text.
/// It gives access to nothing, and has expired within a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityEvidence {
    /// The ID token, as the provider signed it (JWS).
    #[schema(max_length = 12288)]
    pub id_token: String,
    /// The public key that the provider published for it (JWK).
    #[schema(value_type = Object)]
    pub key: serde_json::Value,
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
        let Self { id, signer, printed_name, meaning, environment, action, base, digest, reason, .. } = self;
        let person = match &self.identity {
            None => format!("operator: {}", self.operator),
            Some(SignerIdentity { issuer, id }) => format!("issuer: {issuer}\nperson: {id}"),
        };
        let (requested, expires) = (with_offset(self.requested_at, self.offset_minutes), self.expires);
        format!(
            "{HEADING}\nid: {id}\nenvironment: {environment}\naction: {action}\nbase generation: {base}\ndigest: {digest}\nmeaning: {meaning}\nsigner: {signer}\n{person}\nname: {printed_name}\nrequested: {requested}\nexpires: {expires}\nreason: {reason}\n"
        )
    }

    /// Describes the passkey if it was registered shortly before the signature.
    pub fn describe_recent_passkey(&self) -> Option<String> {
        self.recent_passkey.as_ref().map(|recent| recent.describe(self.at))
    }

    /// Returns the digest of the text: the passkey signs it, and the `nonce` of an ID token states it.
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
    fn a_recent_passkey_says_by_whose_link_and_how_long_before() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let find = |added, link, proposed| RecentPasskey::find(at(added), link, at(proposed), at(0));
        let recent = find(-3700, Some("ann"), -7200).unwrap();
        assert_eq!(
            recent.describe(at(0)),
            "passkey enrolled 2027-01-15 by link of ann, 1 hour before the signature and after the proposal"
        );
        let recent = find(-6 * 86_400, None, -60).unwrap();
        assert_eq!(recent.describe(at(0)), "passkey enrolled 2027-01-09 by its owner, 6 days before the signature");
        assert_eq!(find(-7 * 86_400, Some("ann"), -60), None);
        assert!(find(-8 * 86_400, Some("ann"), -9 * 86_400).is_some_and(|recent| recent.is_after_proposal));
    }

    #[test]
    fn a_time_is_shown_with_the_offset_of_its_person() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(with_offset(at, 0), "2027-01-15T08:00:00+00:00");
        assert_eq!(with_offset(at, 330), "2027-01-15T13:30:00+05:30");
        assert_eq!(with_offset(at, -210), "2027-01-15T04:30:00-03:30");
        assert!(is_offset(840) && is_offset(-720) && !is_offset(841));
    }
}
