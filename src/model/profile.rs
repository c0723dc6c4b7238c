//! [`Profile`]: a provider, the functions that it serves, the companies that it applies to, enabled or not. [`StoredProfile`]
//! adds the digests of its secrets.
//!
//! Profiles are complete here: layers merged, variables interpolated, defaults filled. They contain names of secrets, never
//! values. The rules for them are in [`crate::model::rules`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    CompanyId, Digest, Function, Limits, Provider, SecretReference,
    delivery::{Effective, Preset},
};

/// A profile as it takes effect: layers merged, variables interpolated, defaults filled. Its name is the key under which it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Profile {
    /// The purpose; at most 100 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 100)]
    pub description: String,
    /// False if the profile is disabled: resolution ignores it.
    #[serde(default = "Profile::default_enabled")]
    #[schema(default = true)]
    pub enabled: bool,
    /// The way in which the profile sends.
    pub provider: Provider,
    /// The sender of the mail. A delegate sends as the signed-in user, and needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Mailbox>,
    /// The functions that the profile claims.
    #[schema(min_items = 1)]
    pub functions: BTreeSet<Function>,
    /// The companies that the profile applies to.
    pub applies_to: AppliesTo,
    /// Limits of the mailbox.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub limits: Limits,
}

fn is_usual(limits: &Limits) -> bool {
    *limits == Limits::default()
}

impl Profile {
    fn default_enabled() -> bool {
        true
    }

    /// Returns the limits of the mailbox; the preset fills those that are not set.
    pub fn limits(&self) -> Effective {
        let usual = match &self.provider {
            Provider::Smtp(smtp) if smtp.is_exchange_online() => Preset::ExchangeOnlineSmtp,
            Provider::Smtp(_) => Preset::Own,
            Provider::MicrosoftGraphDelegate(_) | Provider::MicrosoftGraphDirect(_) => Preset::MicrosoftGraph,
        };
        self.limits.effective(usual)
    }

    /// Returns the From address, if the profile states one.
    pub fn from_address(&self) -> Option<&str> {
        self.from.as_ref().map(|from| from.address.as_str())
    }
}

/// An address with an optional display name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Mailbox {
    /// The address, as in RFC 5321.
    #[serde(deserialize_with = "super::address::deserialize")]
    #[schema(min_length = 3, max_length = 320)]
    pub address: String,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub name: Option<String>,
    /// The selector under which the domain publishes its DKIM key, where the environment states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63)]
    pub dkim_selector: Option<String>,
}

/// The companies that a profile applies to: the word `system-wide`, or `{ companies: [EDU1, ...] }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppliesTo {
    /// All companies, except those for which another profile claims the function by name.
    SystemWide,
    /// Only these companies.
    Companies(BTreeSet<CompanyId>),
}

/// A profile with the digest of every secret that it names: what the store keeps and what plans compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StoredProfile {
    /// The profile.
    pub profile: Profile,
    /// The digest of the age file of each secret. Contains exactly the secrets that the profile names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub secrets: BTreeMap<SecretReference, Digest>,
    /// The next values, where a rotation is under way: the digest of the age file next to the current one, by secret. The next
    /// value is tried first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub next: BTreeMap<SecretReference, Digest>,
}

impl StoredProfile {
    /// Returns every age file that the profile uses, those of next values included.
    pub fn age_files(&self) -> impl Iterator<Item = (&SecretReference, &Digest)> {
        self.secrets.iter().chain(&self.next)
    }

    /// Returns the names of the files of its secrets, next values included.
    pub fn file_names(&self) -> impl Iterator<Item = SecretReference> {
        self.secrets.keys().cloned().chain(self.next.keys().map(SecretReference::next))
    }

    /// Returns the digest under which results of the verifier are kept: of everything but the description, which changes
    /// nothing that can be verified.
    pub fn verified_digest(&self) -> Digest {
        let mut verified = self.clone();
        verified.profile.description.clear();
        Digest::of_document(&verified)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use serde_json::json;

    use super::StoredProfile;

    #[test]
    fn results_of_the_verifier_outlive_a_description_and_nothing_else() {
        let profile = |description: &str, host: &str, enabled: bool| {
            let document = json!({ "profile": {
                "description": description,
                "enabled": enabled,
                "provider": { "smtp": { "host": host, "port": 587 } },
                "from": { "address": "erp@contoso.example" },
                "functions": ["default"],
                "appliesTo": "system-wide",
            } });
            serde_json::from_value::<StoredProfile>(document).unwrap().verified_digest()
        };
        let first = profile("Invoices", "smtp.contoso.example", true);
        assert_eq!(first, profile("Invoices of all companies", "smtp.contoso.example", true));
        assert_ne!(first, profile("Invoices", "mail.contoso.example", true));
        assert_ne!(first, profile("Invoices", "smtp.contoso.example", false));
    }
}
