//! ID tokens of persons who send by a delegate profile: the check, and the person.
//!
//! [`IssuerSet::verify_sender`] accepts an ID token of an issuer whose settings have `delegates: true`, for one of the
//! applications that the caller names, and returns a [`VerifiedSender`]. The token gives no role and is not kept. A person is
//! identified by tenant and object id; a token of another tenant than the issuer's, of a guest, or without these ids is refused.
//! So is an access token: it has the same signature, but proves that a program may act, and not who is signed in.
//! `service::delegates` refuses most access tokens, and all of Microsoft Graph, before they get here.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{IssuerSet, VerifiedToken, check_is_no_evidence, persons::display_name, settings::IssuerSettings};
use crate::{
    entra::token_detection::ACCESS_TOKEN_CLAIMS,
    model::{Code, sender::PersonId},
    service::http::HttpProblem,
};

/// Maximum size of the ID token of a sender, in bytes. It can name 200 groups.
const SENDER_TOKEN_LIMIT: usize = 16 * 1024;

/// A person who was identified by an ID token.
#[derive(Clone, Debug)]
pub(in crate::service) struct VerifiedSender {
    pub(in crate::service) person: PersonId,
    /// The name for display; the person can change it.
    pub(in crate::service) name: String,
    /// The client id that the token is for.
    pub(in crate::service) application: String,
}

impl IssuerSet {
    /// Returns true if pages of an origin may use the delegate addresses from a browser.
    pub(in crate::service) fn allows_delegates_of(&self, origin: &str) -> bool {
        let mut issuers = self.issuers.iter().filter(|issuer| issuer.settings.delegates);
        issuers.any(|issuer| issuer.settings.delegate_origins.iter().any(|allowed| allowed == origin))
    }

    /// Verifies the ID token of a person. `is_application` returns true for the client ids of delegate profiles in a tenant.
    pub(in crate::service) async fn verify_sender(
        &self,
        token: &str,
        is_application: impl Fn(&str, Uuid) -> bool,
        now: Timestamp,
    ) -> Result<VerifiedSender, HttpProblem> {
        if token.len() > SENDER_TOKEN_LIMIT {
            return Err(refused("it is too large"));
        }
        let find = |claims: &Value| {
            let mut same_issuer = self.issuers.iter().filter(|issuer| claims["iss"] == *issuer.settings.issuer);
            same_issuer
                .find(|issuer| issuer.settings.delegates)
                .ok_or_else(|| refused("the service does not accept senders of its issuer"))
        };
        let for_sender = |problem: HttpProblem| match problem.code() {
            Code::IdentityTokenRefused => {
                let reason = problem.message().rsplit_once("not accepted: ").map_or("", |(_, reason)| reason);
                refused(reason)
            }
            _ => problem,
        };
        let VerifiedToken { claims, issuer, .. } = self.verify(token, find, now).await.map_err(for_sender)?;
        check_is_no_evidence(&claims).map_err(for_sender)?;
        IssuerSettings::check_sender_validity(&claims, now).map_err(for_sender)?;
        identify_sender(&issuer.settings.issuer, &claims, is_application)
    }
}

/// Returns the person of verified claims.
fn identify_sender(
    issuer: &str,
    claims: &Value,
    is_application: impl Fn(&str, Uuid) -> bool,
) -> Result<VerifiedSender, HttpProblem> {
    if ACCESS_TOKEN_CLAIMS.iter().any(|claim| !claims[*claim].is_null()) {
        return Err(refused("it is an access token, and not an ID token"));
    }
    let uuid = |claim: &str| claims[claim].as_str().and_then(|text| text.parse::<Uuid>().ok());
    let (Some(tenant), Some(object)) = (uuid("tid"), uuid("oid")) else {
        return Err(refused("it has no `tid` or no `oid`; the scope `profile` asks for them"));
    };
    if !issuer.split('/').any(|part| part.parse::<Uuid>().is_ok_and(|id| id == tenant)) {
        return Err(refused("it is of another tenant than its issuer"));
    }
    // The mailbox of a guest is in the home tenant. `idp` is the issuer of the home tenant, `acct` is 1 for a guest.
    let is_guest = claims["idp"]
        .as_str()
        .is_some_and(|idp| idp.trim_end_matches('/') != issuer && !idp.contains(&tenant.to_string()))
        || claims["acct"] == 1;
    if is_guest {
        return Err(refused("the account is a guest of the tenant, and its mailbox is in its home tenant"));
    }
    // Only one audience: a token for several could have been given to another program.
    let application = match &claims["aud"] {
        Value::String(audience) => audience.as_str(),
        Value::Array(audiences) if audiences.len() == 1 => audiences[0].as_str().unwrap_or_default(),
        _ => "",
    };
    let is_party = claims["azp"].is_null() || claims["azp"] == application;
    if application.is_empty() || !is_party || !is_application(application, tenant) {
        return Err(refused("it is not for the application of an enabled delegate profile in its tenant"));
    }
    Ok(VerifiedSender {
        person: PersonId { tenant, object },
        name: display_name(claims),
        application: application.to_ascii_lowercase(),
    })
}

/// Returns the problem of an ID token that is not accepted.
fn refused(reason: &str) -> HttpProblem {
    HttpProblem::new(Code::SenderTokenRefused, format!("the ID token of the sender is not accepted: {reason}")).remedy(
        "Sign in again. If that does not help, an administrator compares the token with the delegate profile and with the service's issuers file (`delegates: true`).",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://login.example/0c0ffee0-0000-4000-8000-000000000001/v2.0";

    fn identify(change: impl FnOnce(&mut Value)) -> Result<PersonId, String> {
        let mut claims = json!({
            "iss": ISSUER, "aud": "app", "tid": "0c0ffee0-0000-4000-8000-000000000001",
            "oid": "0c0ffee0-0000-4000-8000-0000000000f1", "name": "Ann",
        });
        change(&mut claims);
        identify_sender(ISSUER, &claims, |application, _| application == "app")
            .map(|sender| sender.person)
            .map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn only_an_id_token_of_a_member_for_the_application_identifies_a_sender() {
        assert!(identify(|_| {}).is_ok());
        assert!(identify(|claims| claims["aud"] = json!(["app"])).is_ok());
        assert!(identify(|claims| claims["idp"] = json!(ISSUER)).is_ok());
        let cases: [(&str, Value, &str); 11] = [
            ("aud", json!("other"), "delegate profile"),
            ("aud", json!(["app", "other"]), "delegate profile"),
            ("aud", json!(""), "delegate profile"),
            ("azp", json!("other"), "delegate profile"),
            ("scp", json!("Mail.Send"), "access token"),
            ("appid", json!("app"), "access token"),
            ("idtyp", json!("app"), "access token"),
            ("tid", json!("0c0ffee0-0000-4000-8000-000000000002"), "another tenant"),
            ("oid", Value::Null, "no `tid` or no `oid`"),
            ("idp", json!("https://sts.windows.net/0c0ffee0-0000-4000-8000-000000000002/"), "guest"),
            ("acct", json!(1), "guest"),
        ];
        for (claim, value, words) in cases {
            let found = identify(|claims| claims[claim] = value.clone());
            assert!(found.as_ref().is_err_and(|reason| reason.contains(words)), "{claim} {value}: {found:?}");
        }
    }
}
