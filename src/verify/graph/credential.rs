//! Signing in as the application: what a refusal means, and how long the credential lasts.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use secrecy::ExposeSecret as _;

use crate::{
    entra::{
        Certificate,
        aadsts::{Cause, Entry},
        graph::{Application, KeyCredential, PasswordCredential},
        permissions,
        sign_in::{Proof, Refusal, SignInError},
    },
    model::{
        finding::{Finding, Verdict},
        finding_id::Id,
        provider::Credential,
    },
    verify::remedy::Remedies,
};

/// Which kind of proof a profile has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Secret,
    Certificate,
    Federated,
}

impl Kind {
    pub(super) fn of(credential: &Credential) -> Self {
        match credential {
            Credential::ClientSecret(_) => Kind::Secret,
            Credential::Certificate(_) => Kind::Certificate,
            Credential::FederatedTokenFile(_) => Kind::Federated,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Kind::Secret => "client secret",
            Kind::Certificate => "certificate",
            Kind::Federated => "federated token",
        }
    }

    pub(super) fn pointer(self) -> &'static str {
        match self {
            Kind::Secret => "/provider/microsoft-graph-direct/credential/clientSecret",
            Kind::Certificate => "/provider/microsoft-graph-direct/credential/certificate",
            Kind::Federated => "/provider/microsoft-graph-direct/credential/federatedTokenFile",
        }
    }
}

/// The sign-in worked.
pub(super) fn accepted(kind: Kind) -> Finding {
    Finding::pass(Id::SignIn, kind.pointer(), format!("the {} is accepted", kind.words()))
}

/// A sign-in that was tried.
pub(super) struct Tried<'a> {
    /// What the application proved itself with.
    pub(super) credential: &'a Credential,
    /// What it asked for.
    pub(super) scope: &'a str,
    pub(super) base: &'a str,
    /// The command that seals a new value.
    pub(super) seal: &'a str,
    pub(super) remedies: &'a Remedies<'a>,
}

/// The sign-in host has trouble of its own, or too much to do.
pub(super) fn busy(base: &str, seen: String) -> Finding {
    Finding::unknown(Id::Answer, base, "the sign-in host is busy, or has trouble of its own")
        .seen(seen)
        .expected("a token")
        .remedy(["Verify again in some minutes."])
}

impl Tried<'_> {
    /// Returns what a sign-in that failed tells.
    pub(super) fn failed(&self, error: &SignInError) -> Finding {
        let Self { base, seal, .. } = self;
        match error {
            SignInError::Http(error) => crate::verify::graph::directory_access::unreachable(error, Id::SignIn),
            SignInError::Certificate(error) => {
                let pointer = Kind::of(self.credential).pointer();
                Finding::fail(Id::Certificate, pointer, format!("the certificate cannot sign: {error}"))
                    .expected("a PEM file with the certificate and its RSA private key")
                    .remedy([(*seal).to_owned()])
            }
            SignInError::Unknown(status @ 500..) => busy(base, format!("HTTP {status}")),
            SignInError::Unknown(status) => {
                Finding::unknown(Id::Answer, base, "the sign-in host answered in a form that is not known")
                    .seen(format!("HTTP {status}"))
                    .expected("a token, or an error as Entra writes it")
                    .remedy(["Check whether a proxy answers in its place; then verify again."])
            }
            SignInError::Refused(refusal) => self.refused(refusal).seen(evidence(refusal)),
        }
    }

    fn refused(&self, refusal: &Refusal) -> Finding {
        let kind = Kind::of(self.credential);
        let cause = refusal.cause();
        let entry = refusal.entry().filter(|entry| entry.cause == cause);
        match (cause, kind) {
            (Cause::Proof | Cause::Certificate | Cause::CertificateExpired | Cause::AssertionTime | Cause::Assertion, Kind::Federated)
            | (Cause::FederationMatch | Cause::FederationCase | Cause::FederationBlocked, _) => self.federated(cause, entry),
            (Cause::SecretExpired | Cause::SecretWrong, _) | (Cause::Proof, Kind::Secret) => self.secret(cause, entry),
            (Cause::Proof | Cause::Certificate | Cause::CertificateExpired | Cause::AssertionTime | Cause::Assertion, Kind::Certificate) => {
                self.certificate(cause, entry)
            }
            (Cause::NoCredential, _) => {
                let own = Finding::fail(Id::SignIn, kind.pointer(), "the sign-in host saw no credential")
                    .expected("a client secret or an assertion");
                match self.credential {
                    Credential::FederatedTokenFile(path) => own.remedy(written(path)),
                    _ => own.remedy([self.seal]),
                }
            }
            (
                Cause::Client | Cause::ServicePrincipal | Cause::ClientDisabled | Cause::Tenant | Cause::Cloud
                | Cause::Resource | Cause::ResourceDisabled | Cause::Assignment | Cause::Consent,
                _,
            ) => self.tenants(cause, entry),
            (Cause::ConditionalAccess, _) => {
                Finding::fail(Id::ConditionalAccess, self.base, "Conditional Access does not let the application sign in from here")
                    .expected("a policy that lets it in from the service's addresses")
                    .remedy([
                        "Portal: Protection > Conditional Access > Policies: look at those for workload identities, and at the sign-in logs of the service principal.",
                        "A policy may know places: run the check where the service runs (without `--local`).",
                    ])
            }
            (Cause::Service, _) => {
                let own = busy(self.base, String::new());
                // A number that has a cause of its own tells more than that the host is busy.
                match entry.filter(|entry| entry.error != "temporarily_unavailable") {
                    Some(entry) => Finding { message: format!("the sign-in host does not decide: {}", entry.meaning), ..own }
                        .remedy([entry.remedy.clone()]),
                    None => own,
                }
            }
            _ => self.other(refusal, entry),
        }
    }

    fn secret(&self, cause: Cause, entry: Option<&Entry>) -> Finding {
        let (id, message, expected) = match (cause, entry) {
            (Cause::SecretExpired, _) => {
                (Id::CredentialExpired, "the client secret has expired", "a client secret that is valid")
            }
            (Cause::SecretWrong, Some(entry)) => {
                (Id::SecretWrong, entry.meaning.as_str(), "the value of a client secret of this application")
            }
            _ => (
                Id::SecretWrong,
                "the client secret is not accepted",
                "the value of a client secret of this application",
            ),
        };
        Finding::fail(id, Kind::Secret.pointer(), message)
            .expected(expected)
            .remedy(self.remedies.new_secret(self.seal))
    }

    fn certificate(&self, cause: Cause, entry: Option<&Entry>) -> Finding {
        let pointer = Kind::Certificate.pointer();
        let meaning = entry.map_or("the application does not know it", |entry| entry.meaning.as_str());
        match cause {
            Cause::CertificateExpired => Finding::fail(Id::CredentialExpired, pointer, meaning)
                .expected("a certificate that is valid")
                .remedy(self.remedies.new_certificate(self.seal)),
            // The assertion is signed a moment before it is sent, for some minutes.
            Cause::AssertionTime => Finding::fail(
                Id::Certificate,
                pointer,
                "what the certificate signed is not within its time for the sign-in host: this machine's clock is off",
            )
            .expected("a clock that is right to some minutes")
            .remedy(["timedatectl set-ntp true", "Where the clock is right, verify again: the certificate itself was not refused."]),
            Cause::Assertion => Finding::fail(
                Id::Certificate,
                pointer,
                format!("what the certificate signed is not accepted: {meaning}"),
            )
            .expected("an assertion for this tenant and this application")
            .remedy(entry.map(|entry| entry.remedy.clone()))
            .remedy(["Compare `tenant`, `client` and `cloud` with the registration's overview page."]),
            Cause::Proof => Finding::fail(
                Id::Certificate,
                pointer,
                "the certificate is not accepted: the application does not know it, or does not trust its issuer or subject",
            )
            .expected("a certificate that is uploaded to the registration")
            .remedy(self.remedies.new_certificate(self.seal)),
            _ => Finding::fail(Id::Certificate, pointer, format!("the certificate is not accepted: {meaning}"))
                .expected("a certificate that is uploaded to the registration")
                .remedy(self.remedies.new_certificate(self.seal)),
        }
    }

    /// A federated token is somebody else's: what is wrong with it is put right where it is written or trusted.
    fn federated(&self, cause: Cause, entry: Option<&Entry>) -> Finding {
        let pointer = Kind::Federated.pointer();
        let meaning = entry.map(|entry| entry.meaning.as_str()).unwrap_or_default();
        let advice = entry.map(|entry| entry.remedy.clone());
        let writer = || match self.credential {
            Credential::FederatedTokenFile(path) => written(path),
            _ => Vec::new(),
        };
        let finding =
            |message: String, expected: &str| Finding::fail(Id::Federation, pointer, message).expected(expected);
        match cause {
            Cause::AssertionTime => finding(
                "the federated token has expired or is not valid yet, or a clock is off".to_owned(),
                "a token that is renewed before it ends",
            )
            .remedy(writer())
            .remedy(["timedatectl set-ntp true"]),
            Cause::Assertion => finding(format!("the federated token is not accepted: {meaning}"), "one JWT for this application, and nothing else in the file")
                .remedy(advice)
                .remedy(writer()),
            Cause::Proof | Cause::Certificate | Cause::CertificateExpired => finding(
                "the signature of the federated token is not accepted: its issuer does not publish the key, or something else signed it".to_owned(),
                "a token that its issuer signed (RS256), with the key at the issuer's /.well-known/openid-configuration",
            )
            .remedy(writer())
            .remedy(self.remedies.federation()),
            Cause::FederationBlocked => finding(meaning.to_owned(), "a token that may be used for federation")
                .remedy(advice)
                .remedy(self.remedies.federation()),
            Cause::FederationCase => finding(meaning.to_owned(), "a federated credential with exactly the token's subject")
                .remedy(self.remedies.federation())
                .remedy(advice),
            _ => finding(meaning.to_owned(), "a federated credential with exactly the token's issuer, subject and audience")
                .remedy(self.remedies.federation())
                .remedy(["A new one takes some minutes to work."]),
        }
    }

    /// What the tenant knows of the application, of the resource, and of who may use it.
    fn tenants(&self, cause: Cause, entry: Option<&Entry>) -> Finding {
        let Self { base, remedies, .. } = self;
        let client = format!("{base}/client");
        let meaning = entry.map(|entry| entry.meaning.as_str());
        let (resource, id) = if self.scope == remedies.endpoints.exchange_scope() {
            ("Exchange Online", permissions::EXCHANGE_APP_ID)
        } else {
            ("Microsoft Graph", permissions::GRAPH_APP_ID)
        };
        match cause {
            Cause::Client => Finding::fail(Id::Client, &client, meaning.unwrap_or("the client does not exist in this tenant"))
                .expected(format!("an application {} in tenant {}", remedies.client, remedies.tenant))
                .remedy(["Compare Application (client) ID and Directory (tenant) ID on the registration's overview page."])
                .remedy(remedies.install()),
            Cause::ServicePrincipal => Finding::fail(Id::ServicePrincipal, &client, meaning.unwrap_or("the application is not installed in the tenant"))
                .expected("a service principal of the application")
                .remedy(remedies.install()),
            Cause::ClientDisabled => Finding::fail(Id::ClientDisabled, &client, meaning.unwrap_or("the application is disabled"))
                .expected("an application that may sign in")
                .remedy(remedies.enable())
                .remedy(remedies.activate()),
            Cause::Tenant => tenant_unknown(base, remedies),
            Cause::Cloud => Finding::fail(
                Id::Cloud,
                &format!("{base}/cloud"),
                "the tenant is in another Microsoft cloud than the profile states",
            )
            .expected("the tenant's own cloud")
            .remedy(["Correct `cloud`: global, us-government-l4, us-government-l5 or china."]),
            Cause::ResourceDisabled => Finding::fail(
                Id::ServicePrincipal,
                base,
                format!("{resource} is disabled in this tenant: a subscription has lapsed, or an administrator switched it off"),
            )
            .expected(format!("{resource} enabled in the tenant"))
            .remedy([
                "Portal: Microsoft 365 admin center > Billing > Your products: look for a subscription that has lapsed.".to_owned(),
                format!("az ad sp show --id {id} --query accountEnabled"),
            ]),
            Cause::Assignment => Finding::fail(Id::Assignment, &client, meaning.unwrap_or("an assignment is required, and there is none"))
                .expected("an assignment, or none required")
                .remedy(entry.map(|entry| entry.remedy.clone())),
            Cause::Consent => Finding::fail(Id::Consent, &client, meaning.unwrap_or("nobody has consented to what is asked for"))
                .expected("consent to what the profile needs")
                .remedy(remedies.consent_steps(None)),
            _ => Finding::fail(Id::ServicePrincipal, base, format!("{resource} is not known in this tenant"))
                .expected(format!("{resource}'s service principal"))
                .remedy([format!("az ad sp create --id {id}")]),
        }
    }

    /// What has no finding of its own: the table says what it means, and Microsoft's page what is not in the table.
    fn other(&self, refusal: &Refusal, entry: Option<&Entry>) -> Finding {
        let message = match entry {
            Some(entry) => format!("the application cannot sign in: {}", entry.meaning),
            None => "the application cannot sign in".to_owned(),
        };
        let pointer = Kind::of(self.credential).pointer();
        let finding = Finding::fail(Id::SignIn, pointer, message).expected("a token");
        let finding = finding.remedy(entry.map(|entry| entry.remedy.clone()));
        match refusal.error_codes.first() {
            Some(code) => {
                let sign_in = self.remedies.endpoints.sign_in.as_str();
                finding.remedy([format!("What the code means: {sign_in}error?code={code}")])
            }
            None => finding,
        }
    }
}

/// Where a federated token comes from.
fn written(path: &str) -> Vec<String> {
    vec![
        format!("Look at what writes {path}: it must hold one JWT that is renewed before it ends (`exp`)."),
        format!("What stands in it: cut -d. -f2 {path} | base64 -d"),
    ]
}

/// The findings that a cause is reported as; which of several depends on the kind of credential.
pub fn reported_as(cause: Cause) -> &'static [Id] {
    match cause {
        Cause::SecretWrong => &[Id::SecretWrong],
        Cause::SecretExpired => &[Id::CredentialExpired],
        Cause::Proof => &[Id::SecretWrong, Id::Certificate, Id::Federation],
        Cause::CertificateExpired => &[Id::CredentialExpired, Id::Federation],
        Cause::Certificate | Cause::AssertionTime | Cause::Assertion => &[Id::Certificate, Id::Federation],
        Cause::FederationMatch | Cause::FederationCase | Cause::FederationBlocked => &[Id::Federation],
        Cause::Client => &[Id::Client],
        Cause::ServicePrincipal | Cause::Resource | Cause::ResourceDisabled => &[Id::ServicePrincipal],
        Cause::ClientDisabled => &[Id::ClientDisabled],
        Cause::Tenant => &[Id::Tenant],
        Cause::Cloud => &[Id::Cloud],
        Cause::Assignment => &[Id::Assignment],
        Cause::Consent => &[Id::Consent],
        Cause::ConditionalAccess => &[Id::ConditionalAccess],
        Cause::Service => &[Id::Answer],
        Cause::NoCredential
        | Cause::Restricted
        | Cause::Request
        | Cause::UserAccount
        | Cause::UserPassword
        | Cause::UserInteraction
        | Cause::UserSession
        | Cause::Platform
        | Cause::Endpoint
        | Cause::Unknown => &[Id::SignIn],
    }
}

fn evidence(refusal: &Refusal) -> String {
    let codes: Vec<String> = refusal.error_codes.iter().map(|code| format!("AADSTS{code}")).collect();
    let codes = if codes.is_empty() { refusal.error.clone() } else { codes.join(", ") };
    let text = refusal.error_description.split_once(": ").map_or(refusal.error_description.as_str(), |(_, text)| text);
    let text: String = text.chars().take(200).collect();
    if text.is_empty() { codes } else { format!("{codes}: {text}") }
}

/// The tenant does not exist, or not in this cloud.
pub(super) fn tenant_unknown(base: &str, remedies: &Remedies<'_>) -> Finding {
    Finding::fail(
        Id::Tenant,
        &format!("{base}/tenant"),
        "the tenant does not exist in this cloud: mistyped, or in another Microsoft cloud",
    )
    .expected(format!("a tenant {} at {}", remedies.tenant, remedies.endpoints.sign_in.host_str().unwrap_or_default()))
    .remedy([
        "Compare with Directory (tenant) ID on the registration's overview page.",
        "A tenant of US Government or China needs `cloud` in the profile.",
    ])
}

/// The value is the secret's id.
pub(super) fn is_the_id(seal: &str, remedies: &Remedies<'_>) -> Finding {
    Finding::fail(
        Id::SecretId,
        Kind::Secret.pointer(),
        "the sealed value is a GUID: the id of a client secret, not its value",
    )
    .seen("a value in the form of a GUID")
    .expected("the value, which the portal shows once")
    .remedy(remedies.new_secret(seal))
}

/// How long the credential in use lasts. Which of several secrets it is tells the hint, the first three characters of
/// the value; what holds for all that it could be is decided without. The secret never leaves this function.
pub(super) fn expiry(
    application: &Application,
    kind: Kind,
    proof: Option<&Proof>,
    limit: (Timestamp, u16),
    seal: &str,
    remedies: &Remedies<'_>,
) -> Option<Finding> {
    let (what, pointer) = (kind.words(), kind.pointer());
    let secret = match proof {
        // A certificate knows its own end.
        Some(Proof::Certificate(certificate)) => {
            let (end, name) = of_certificate(&application.key_credentials, certificate)?;
            return Some(judged(kind, end, &name, limit, seal, remedies));
        }
        Some(Proof::Secret(secret)) => Some(secret.expose_secret()),
        _ => None,
    };
    let mine = |credential: &&PasswordCredential| match (credential.hint.as_deref(), secret) {
        (Some(hint), Some(secret)) => secret.starts_with(hint),
        _ => true,
    };
    let candidates: Vec<Registered> = match kind {
        Kind::Federated => return None,
        Kind::Secret => application.password_credentials.iter().filter(mine).map(of_password).collect(),
        Kind::Certificate => application.key_credentials.iter().map(of_key).collect(),
    };
    let listed = candidates.iter().map(|(end, name)| match end {
        Some(end) => format!("{name} until {}", end.to_zoned(TimeZone::UTC).date()),
        None => name.clone(),
    });
    let listed = format!("{} {what}s: {}", candidates.len(), listed.collect::<Vec<_>>().join(", "));
    let Some((end, name)) = candidates.iter().max_by_key(|(end, _)| end.unwrap_or(Timestamp::MAX)) else {
        return Some(
            Finding::unknown(
                Id::CredentialExpiry,
                pointer,
                format!("the registration does not list the {what} in use, so until when it is good could not be seen"),
            )
            .seen(format!("no {what} that it could be"))
            .expected(format!("the {what} of the profile"))
            .remedy([format!(
                "It was added a moment ago, or is on the service principal: az ad sp credential list --id {}",
                remedies.client
            )]),
        );
    };
    // Whichever is in use, it ends no later than the last of all.
    if let Some(end) = end {
        let finding = judged(kind, *end, name, limit, seal, remedies);
        let alike = candidates.iter().all(|(other, _)| other.as_ref() == Some(end));
        if alike && secret.is_some() {
            return Some(finding);
        }
        if alike || finding.verdict != Verdict::Pass {
            let whole = match candidates.len() {
                1 => format!("the only {what} of the registration"),
                more => format!("the last of {more} {what}s of the registration"),
            };
            let message = finding.message.replacen(&format!("the {what}"), &whole, 1);
            return Some(Finding { message, ..finding });
        }
    }
    Some(
        Finding::unknown(Id::CredentialExpiry, pointer, format!("which {what} is in use could not be told apart"))
            .seen(listed)
            .expected("one whose hint or thumbprint is that of the sealed value")
            .remedy(["Delete the credentials that nobody uses."]),
    )
}

/// How long a certificate lasts, as it says itself: for where the registration cannot be read.
pub(super) fn of_itself(
    certificate: &Certificate,
    limit: (Timestamp, u16),
    seal: &str,
    remedies: &Remedies<'_>,
) -> Option<Finding> {
    let (end, name) = of_certificate(&[], certificate)?;
    Some(judged(Kind::Certificate, end, &name, limit, seal, remedies))
}

fn judged(
    kind: Kind,
    end: Timestamp,
    name: &str,
    (now, limit): (Timestamp, u16),
    seal: &str,
    remedies: &Remedies<'_>,
) -> Finding {
    let days = (end.as_second() - now.as_second()).div_euclid(86_400);
    let on = end.to_zoned(TimeZone::UTC).date();
    let what = kind.words();
    let steps = || match kind {
        Kind::Certificate => remedies.new_certificate(seal),
        Kind::Secret | Kind::Federated => remedies.new_secret(seal),
    };
    let weekday = weekday(on.weekday());
    if days < 0 {
        return Finding::fail(Id::CredentialExpired, kind.pointer(), format!("the {what} expired on {weekday}, {on}"))
            .seen(format!("{name}, until {end}"))
            .expected(format!("a {what} that is valid"))
            .ends(end)
            .remedy(steps());
    }
    if days <= i64::from(limit) {
        return Finding::fail(
            Id::CredentialExpires,
            kind.pointer(),
            format!("the {what} expires in {days} days, on {weekday}, {on}"),
        )
        .seen(format!("{name}, until {end}"))
        .expected(format!("more than {limit} days"))
        .ends(end)
        .remedy(steps());
    }
    Finding::pass(Id::CredentialExpiry, kind.pointer(), format!("the {what} is good for {days} more days, until {on}"))
        .seen(name)
        .ends(end)
}

fn weekday(day: jiff::civil::Weekday) -> &'static str {
    use jiff::civil::Weekday;
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// When a registered credential ends, and what it is called.
type Registered = (Option<Timestamp>, String);

fn of_password(credential: &PasswordCredential) -> Registered {
    let id = credential.key_id.as_deref().unwrap_or("?");
    let name = match credential.display_name.as_deref() {
        Some(name) if !name.is_empty() => format!("\"{name}\" ({id})"),
        _ => id.to_owned(),
    };
    (credential.end_date_time, name)
}

fn of_key(credential: &KeyCredential) -> Registered {
    let name = credential.custom_key_identifier.as_deref().or(credential.key_id.as_deref()).unwrap_or("?");
    (credential.end_date_time, format!("thumbprint {name}"))
}

fn of_certificate(credentials: &[KeyCredential], certificate: &Certificate) -> Option<(Timestamp, String)> {
    // Graph gives SHA-1, in base64 or in hexadecimal; the certificate itself knows its end as well.
    let thumbprint = certificate.sha1_thumbprint();
    let hex: String = thumbprint.iter().map(|byte| format!("{byte:02X}")).collect();
    let base64 = BASE64_STANDARD.encode(thumbprint);
    let registered = credentials.iter().find(|credential| {
        credential.custom_key_identifier.as_deref().is_some_and(|id| id == base64 || id.eq_ignore_ascii_case(&hex))
    });
    let end = registered.and_then(|credential| credential.end_date_time).or_else(|| certificate.not_after())?;
    Some((end, format!("thumbprint {hex}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::*;
    use crate::{
        entra::{Endpoints, aadsts},
        model::Cloud,
    };

    fn credentials() -> [Credential; 3] {
        ["clientSecret", "certificate"]
            .map(|kind| serde_json::json!({ kind: { "secret": "documents/secret" } }))
            .into_iter()
            .chain([serde_json::json!({ "federatedTokenFile": "/run/token" })])
            .map(|document| serde_json::from_value(document).unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    #[test]
    fn every_code_is_reported_as_its_cause_says_whichever_the_credential() {
        let endpoints = Endpoints::of(&Cloud::Global).unwrap();
        let remedies = Remedies { again: "again", endpoints: &endpoints, tenant: "contoso.example", client: "client" };
        for credential in credentials() {
            let is_federated = matches!(credential, Credential::FederatedTokenFile(_));
            let seal = if is_federated { "" } else { "mailwright secrets set dev documents/secret" };
            for scope in [endpoints.graph_scope(), endpoints.exchange_scope().to_owned()] {
                let tried = Tried { credential: &credential, scope: &scope, base: "", seal, remedies: &remedies };
                for entry in aadsts::all() {
                    // Entra says nothing of a secret to whom presented a certificate, and the reverse.
                    let of_a_secret = matches!(entry.cause, Cause::SecretWrong | Cause::SecretExpired);
                    let of_an_assertion = matches!(
                        entry.cause,
                        Cause::Certificate | Cause::CertificateExpired | Cause::AssertionTime | Cause::Assertion
                    );
                    let has_a_secret = matches!(credential, Credential::ClientSecret(_));
                    if of_a_secret && !has_a_secret || of_an_assertion && has_a_secret {
                        continue;
                    }
                    let refusal = Refusal {
                        error: entry.error.clone(),
                        error_description: format!("AADSTS{}: Something.", entry.code),
                        error_codes: vec![entry.code],
                        ..Refusal::default()
                    };
                    let found = tried.failed(&SignInError::Refused(refusal));
                    let what = format!("AADSTS{} with {credential:?}: {found:?}", entry.code);
                    assert!(reported_as(entry.cause).contains(&found.id), "{what}");
                    assert_eq!(found.verdict == Verdict::Unknown, entry.cause.is_transient(), "{what}");
                    assert!(!found.message.is_empty() && !found.remedy.is_empty(), "{what}");
                    assert!(found.remedy.iter().all(|step| !step.trim().is_empty()), "{what}");
                    let text = found.remedy.join(" ");
                    assert!(!is_federated || !text.contains("certificate.pem"), "{what}");
                    assert!(found.seen.contains(&entry.code.to_string()), "{what}");
                    // What is said of the resource is said of the one that was asked for.
                    let is_exchange = scope == endpoints.exchange_scope();
                    if matches!(entry.cause, Cause::Resource | Cause::ResourceDisabled) {
                        assert_eq!(found.message.contains("Exchange Online"), is_exchange, "{what}");
                    }
                }
            }
        }
    }
}
