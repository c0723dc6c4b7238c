//! AADSTS codes: the numbers that Entra gives the causes of a refused sign-in.
//!
//! The table is data (`aadsts.json`): for each code its cause, its meaning, a remedy, and the source. `verify`,
//! delivery and `mailwright explain` read the same rows. The field `error` is the OAuth error that the code usually
//! comes with; Microsoft changes errors and codes without notice, so nothing here decides by the error.
//!
//! [`find`] returns none for a code that is not in the table. [`crate::entra::sign_in::Refusal::cause`] interprets a whole refusal:
//! a failure of the service precedes the code; without a row, ranges of codes and the OAuth error decide, otherwise it is `Unknown`.
//! Nothing here knows a profile: remedies with real names are made by `verify`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// One code of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AadstsCode {
    /// The number after `AADSTS`.
    pub code: u32,
    /// The OAuth error that usually comes with the code.
    pub error: String,
    /// The kind of cause.
    pub cause: Cause,
    /// Microsoft's own name for the code.
    pub name: String,
    /// The meaning, in one sentence without a full stop.
    pub meaning: String,
    /// The remedy.
    pub remedy: String,
    /// The source of this row.
    pub source: String,
}

/// The kinds of causes. Delivery has one class for each. In `verify`, several causes can share a finding, and one can have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The client secret is wrong.
    SecretWrong,
    /// The client secret has expired.
    SecretExpired,
    /// The credential is not accepted, whichever kind it is.
    Proof,
    /// No credential came with the request.
    NoCredential,
    /// The certificate is not one that the application knows, or is not usable.
    Certificate,
    /// The certificate has expired or is not valid yet.
    CertificateExpired,
    /// An assertion has expired or is not valid yet: a wrong clock, or a token that was not renewed.
    AssertionTime,
    /// An assertion cannot be read, or has another audience.
    Assertion,
    /// No federated credential matches the token.
    FederationMatch,
    /// The subject differs from a federated credential's by case alone.
    FederationCase,
    /// Federation is not allowed for this token or tenant.
    FederationBlocked,
    /// The application is not known in the tenant.
    Client,
    /// The application is known, and not installed in the tenant.
    ServicePrincipal,
    /// The application is disabled.
    ClientDisabled,
    /// The tenant is not known.
    Tenant,
    /// The tenant is in another cloud.
    Cloud,
    /// A restriction of tenants does not allow this tenant.
    Restricted,
    /// The resource is not known in the tenant.
    Resource,
    /// The resource is disabled in the tenant, or was never subscribed to.
    ResourceDisabled,
    /// An assignment is required, and there is none.
    Assignment,
    /// Consent is missing, or the registration does not request the permission.
    Consent,
    /// The request is malformed.
    Request,
    /// A policy of the tenant blocks the sign-in.
    ConditionalAccess,
    /// A failure or a limit of the sign-in service, which ends by itself.
    Service,
    /// The user's account does not belong to the tenant.
    UserAccount,
    /// The user's password is wrong, or the account cannot sign in.
    UserPassword,
    /// The user must be present, for example for multifactor authentication.
    UserInteraction,
    /// The user's session or code has ended.
    UserSession,
    /// The redirect URI or its platform is wrong.
    Platform,
    /// The address that was asked does not serve this application.
    Endpoint,
    /// A refusal of Entra that neither the table, nor a range of codes, nor the OAuth error explains.
    Unknown,
}

impl Cause {
    /// Returns true if the cause ends without a change by an administrator.
    pub fn is_transient(self) -> bool {
        self == Self::Service
    }
}

#[expect(clippy::expect_used, reason = "the table is part of the binary, and a test reads it")]
static TABLE: LazyLock<Vec<AadstsCode>> =
    LazyLock::new(|| serde_json::from_str(include_str!("aadsts.json")).expect("aadsts.json is well formed"));

/// Returns every code of the table, in numeric order.
pub fn all() -> &'static [AadstsCode] {
    &TABLE
}

/// Returns the row of a code.
pub fn find(code: u32) -> Option<&'static AadstsCode> {
    TABLE.binary_search_by_key(&code, |entry| entry.code).ok().map(|at| &TABLE[at])
}

/// Returns the address of Microsoft's own page about a code.
pub fn page(code: u32) -> String {
    format!("https://login.microsoftonline.com/error?code={code}")
}

/// Parses a code as people write it: `AADSTS7000215` in any case, followed by the rest of a copied message.
pub fn parse(text: &str) -> Option<u32> {
    let text = text.trim();
    let prefix = text.get(..6).filter(|prefix| prefix.eq_ignore_ascii_case("AADSTS"))?;
    let rest = text[prefix.len()..].trim_start();
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

/// Returns every code that a text names with `AADSTS` in capitals, in order.
pub fn find_codes(text: &str) -> Vec<u32> {
    text.match_indices("AADSTS").filter_map(|(at, _)| parse(&text[at..])).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code), "codes in numeric order, each once");
        for entry in all() {
            assert_eq!(find(entry.code).map(|found| found.code), Some(entry.code));
            assert!(entry.cause != Cause::Unknown, "AADSTS{}", entry.code);
            for text in [&entry.error, &entry.name, &entry.meaning, &entry.remedy, &entry.source] {
                assert!(!text.trim().is_empty(), "AADSTS{}", entry.code);
            }
            assert!(entry.remedy.ends_with('.') && !entry.meaning.ends_with('.'), "AADSTS{}", entry.code);
        }
    }

    #[test]
    fn codes_are_read_as_people_write_them() {
        for text in
            ["AADSTS7000215", "aadsts7000215", " AADSTS7000215: Invalid client secret provided.", "AADSTS 7000215"]
        {
            assert_eq!(parse(text), Some(7_000_215), "{text}");
        }
        for text in ["", "AADSTS", "AADSTSx", "7000215", "MW0007", "AADSTS99999999999", "ÄÄDSTS1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let both = "AADSTS70002: Error validating credentials. AADSTS50012: Invalid client secret is provided.";
        assert_eq!(find_codes(both), [70_002, 50_012]);
    }
}
