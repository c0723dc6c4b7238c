//! Findings for a sign-in that failed, by the cause that `entra::aadsts` names and the kind of credential.
//!
//! [`SignInAttempt::explain`] turns an error into one finding with a remedy. For an unknown code the finding quotes the code and
//! names no cause. A host that is busy, unreachable or gives an unusable answer makes it `unknown`. It does not sign in again.

use super::Kind;
use crate::{
    entra::{
        aadsts::{AadstsCode, Cause},
        permissions,
        sign_in::{Refusal, SignInError},
    },
    model::{finding::Finding, finding_id::FindingId, provider::Credential},
    text::shell::quote_path,
    verify::{graph::directory_access::unreachable, remedy::Remedies},
};

/// A sign-in that was attempted, with the names for its remedies.
pub(in crate::verify::graph) struct SignInAttempt<'a> {
    /// The credential that was presented.
    pub(in crate::verify::graph) credential: &'a Credential,
    /// The scope that was requested.
    pub(in crate::verify::graph) scope: &'a str,
    pub(in crate::verify::graph) base: &'a str,
    /// The command that seals a new value.
    pub(in crate::verify::graph) seal_command: &'a str,
    pub(in crate::verify::graph) remedies: &'a Remedies<'a>,
}

/// Returns the finding for a sign-in host that is overloaded or fails.
pub(in crate::verify::graph) fn busy(base: &str, seen: String) -> Finding {
    Finding::unknown(FindingId::Answer, base, "the sign-in host is overloaded, or fails")
        .seen(seen)
        .expected("a token")
        .remedy(["Verify again in some minutes."])
}

impl SignInAttempt<'_> {
    /// Returns the finding for a sign-in that failed.
    pub(in crate::verify::graph) fn explain(&self, error: &SignInError) -> Finding {
        let Self { base, seal_command, .. } = self;
        match error {
            SignInError::Http(error) => unreachable(error, FindingId::SignIn),
            SignInError::Certificate(error) => {
                let pointer = Kind::from_credential(self.credential).pointer();
                Finding::fail(FindingId::Certificate, pointer, format!("the certificate cannot sign: {error}"))
                    .expected("a PEM file with the certificate and its RSA private key")
                    .remedy([(*seal_command).to_owned()])
            }
            SignInError::UnusableToken(_) => {
                Finding::unknown(FindingId::Answer, base, "the token of the sign-in host cannot be used")
                    .seen(error.to_string())
                    .expected("a token of visible ASCII characters (RFC 6750)")
                    .remedy(["Check whether a proxy answers in its place, or changes the reply; then verify again."])
            }
            SignInError::Unknown(status @ 500..) => busy(base, format!("HTTP {status}")),
            SignInError::Unknown(status) => {
                Finding::unknown(FindingId::Answer, base, "the reply of the sign-in host has an unknown form")
                    .seen(format!("HTTP {status}"))
                    .expected("a token, or an error as Entra writes it")
                    .remedy(["Check whether a proxy answers in its place; then verify again."])
            }
            SignInError::Refused(refusal) => self.explain_refusal(refusal).seen(evidence(refusal)),
        }
    }

    fn explain_refusal(&self, refusal: &Refusal) -> Finding {
        let kind = Kind::from_credential(self.credential);
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
                let own = Finding::fail(FindingId::SignIn, kind.pointer(), "the sign-in host received no credential")
                    .expected("a client secret or an assertion");
                match self.credential {
                    Credential::FederatedTokenFile(path) => own.remedy(token_file_steps(path)),
                    _ => own.remedy([self.seal_command]),
                }
            }
            (
                Cause::Client | Cause::ServicePrincipal | Cause::ClientDisabled | Cause::Tenant | Cause::Cloud
                | Cause::Resource | Cause::ResourceDisabled | Cause::Assignment | Cause::Consent,
                _,
            ) => self.tenants(cause, entry),
            (Cause::ConditionalAccess, _) => {
                Finding::fail(FindingId::ConditionalAccess, self.base, "Conditional Access does not let the application sign in from here")
                    .expected("a policy that lets it in from the service's addresses")
                    .remedy([
                        "Portal: Protection > Conditional Access > Policies: check those for workload identities, and the sign-in logs of the service principal.",
                        "A policy may depend on the location: run the check where the service runs (without `--local`).",
                    ])
            }
            (Cause::Service, _) => {
                let own = busy(self.base, String::new());
                // A code with its own meaning is more precise than a busy host.
                match entry.filter(|entry| entry.error != "temporarily_unavailable") {
                    Some(entry) => Finding { message: format!("the sign-in host does not decide: {}", entry.meaning), ..own }
                        .remedy([entry.remedy.clone()]),
                    None => own,
                }
            }
            _ => self.other(refusal, entry),
        }
    }

    fn secret(&self, cause: Cause, entry: Option<&AadstsCode>) -> Finding {
        let (id, message, expected) = match (cause, entry) {
            (Cause::SecretExpired, _) => {
                (FindingId::CredentialExpired, "the client secret has expired", "a client secret that is valid")
            }
            (Cause::SecretWrong, Some(entry)) => {
                (FindingId::SecretWrong, entry.meaning.as_str(), "the value of a client secret of this application")
            }
            _ => (
                FindingId::SecretWrong,
                "the client secret is not accepted",
                "the value of a client secret of this application",
            ),
        };
        Finding::fail(id, Kind::Secret.pointer(), message)
            .expected(expected)
            .remedy(self.remedies.new_secret(self.seal_command))
    }

    fn certificate(&self, cause: Cause, entry: Option<&AadstsCode>) -> Finding {
        let pointer = Kind::Certificate.pointer();
        let meaning = entry.map_or("the application does not know it", |entry| entry.meaning.as_str());
        match cause {
            Cause::CertificateExpired => Finding::fail(FindingId::CredentialExpired, pointer, meaning)
                .expected("a certificate that is valid")
                .remedy(self.remedies.new_certificate(self.seal_command)),
            // The assertion is signed a moment before it is sent, for some minutes.
            Cause::AssertionTime => Finding::fail(
                FindingId::Certificate,
                pointer,
                "the assertion has expired or is not valid yet for the sign-in host: this machine's clock is wrong",
            )
            .expected("a clock that is correct to within a few minutes")
            .remedy(["timedatectl set-ntp true", "If the clock is correct, verify again: the certificate itself was not refused."]),
            Cause::Assertion => Finding::fail(
                FindingId::Certificate,
                pointer,
                format!("the assertion that the certificate signed is not accepted: {meaning}"),
            )
            .expected("an assertion for this tenant and this application")
            .remedy(entry.map(|entry| entry.remedy.clone()))
            .remedy(["Compare `tenant`, `client` and `cloud` with the registration's overview page."]),
            Cause::Proof => Finding::fail(
                FindingId::Certificate,
                pointer,
                "the certificate is not accepted: the application does not know it, or does not trust its issuer or subject",
            )
            .expected("a certificate that is uploaded to the registration")
            .remedy(self.remedies.new_certificate(self.seal_command)),
            _ => Finding::fail(FindingId::Certificate, pointer, format!("the certificate is not accepted: {meaning}"))
                .expected("a certificate that is uploaded to the registration")
                .remedy(self.remedies.new_certificate(self.seal_command)),
        }
    }

    /// Returns the finding for a federated token, which is corrected where it is written or trusted.
    fn federated(&self, cause: Cause, entry: Option<&AadstsCode>) -> Finding {
        let pointer = Kind::Federated.pointer();
        let meaning = entry.map(|entry| entry.meaning.as_str()).unwrap_or_default();
        let advice = entry.map(|entry| entry.remedy.clone());
        let writer = || match self.credential {
            Credential::FederatedTokenFile(path) => token_file_steps(path),
            _ => Vec::new(),
        };
        let finding =
            |message: String, expected: &str| Finding::fail(FindingId::Federation, pointer, message).expected(expected);
        match cause {
            Cause::AssertionTime => finding(
                "the federated token has expired or is not valid yet, or a clock is wrong".to_owned(),
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

    /// Returns the finding for a cause in the tenant: the application, the resource, or the right to use it.
    fn tenants(&self, cause: Cause, entry: Option<&AadstsCode>) -> Finding {
        let Self { base, remedies, .. } = self;
        let client = format!("{base}/client");
        let meaning = entry.map(|entry| entry.meaning.as_str());
        let (resource, id) = if self.scope == remedies.endpoints.exchange_scope() {
            ("Exchange Online", permissions::EXCHANGE_APP_ID)
        } else {
            ("Microsoft Graph", permissions::GRAPH_APP_ID)
        };
        match cause {
            Cause::Client => Finding::fail(FindingId::Client, &client, meaning.unwrap_or("the client does not exist in this tenant"))
                .expected(format!("an application {} in tenant {}", remedies.client, remedies.tenant))
                .remedy(["Compare Application (client) ID and Directory (tenant) ID on the registration's overview page."])
                .remedy(remedies.install()),
            Cause::ServicePrincipal => Finding::fail(FindingId::ServicePrincipal, &client, meaning.unwrap_or("the application is not installed in the tenant"))
                .expected("a service principal of the application")
                .remedy(remedies.install()),
            Cause::ClientDisabled => Finding::fail(FindingId::ClientDisabled, &client, meaning.unwrap_or("the application is disabled"))
                .expected("an application that may sign in")
                .remedy(remedies.enable())
                .remedy(remedies.activate()),
            Cause::Tenant => tenant_unknown(base, remedies),
            Cause::Cloud => Finding::fail(
                FindingId::Cloud,
                &format!("{base}/cloud"),
                "the tenant is in another Microsoft cloud than the profile states",
            )
            .expected("the tenant's own cloud")
            .remedy(["Correct `cloud`: global, us-government-l4, us-government-l5 or china."]),
            Cause::ResourceDisabled => Finding::fail(
                FindingId::ServicePrincipal,
                base,
                format!("{resource} is disabled in this tenant: a subscription has lapsed, or an administrator switched it off"),
            )
            .expected(format!("{resource} enabled in the tenant"))
            .remedy([
                "Portal: Microsoft 365 admin center > Billing > Your products: check for a subscription that has lapsed.".to_owned(),
                format!("az ad sp show --id {id} --query accountEnabled"),
            ]),
            Cause::Assignment => Finding::fail(FindingId::Assignment, &client, meaning.unwrap_or("an assignment is required, and there is none"))
                .expected("an assignment, or none required")
                .remedy(entry.map(|entry| entry.remedy.clone())),
            Cause::Consent => Finding::fail(FindingId::Consent, &client, meaning.unwrap_or("consent to the requested permissions is missing"))
                .expected("consent to the permissions that the profile needs")
                .remedy(remedies.consent_steps(None)),
            _ => Finding::fail(FindingId::ServicePrincipal, base, format!("{resource} is not known in this tenant"))
                .expected(format!("{resource}'s service principal"))
                .remedy([format!("az ad sp create --id {id}")]),
        }
    }

    /// Returns the finding for a cause without a finding of its own, with the meaning from the table or a link to
    /// Microsoft's page.
    fn other(&self, refusal: &Refusal, entry: Option<&AadstsCode>) -> Finding {
        let message = match entry {
            Some(entry) => format!("the application cannot sign in: {}", entry.meaning),
            None => "the application cannot sign in".to_owned(),
        };
        let pointer = Kind::from_credential(self.credential).pointer();
        let finding = Finding::fail(FindingId::SignIn, pointer, message).expected("a token");
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

/// Returns the steps that show the origin of a federated token.
fn token_file_steps(path: &str) -> Vec<String> {
    vec![
        format!(
            "Check the program that writes {path}: the file must contain one JWT that is renewed before it ends (`exp`)."
        ),
        format!("Show its claims: cut -d. -f2 {} | base64 -d", quote_path(std::path::Path::new(path))),
    ]
}

/// Returns the findings that a cause is reported as; the kind of credential selects one of several.
pub fn findings_of_cause(cause: Cause) -> &'static [FindingId] {
    match cause {
        Cause::SecretWrong => &[FindingId::SecretWrong],
        Cause::SecretExpired => &[FindingId::CredentialExpired],
        Cause::Proof => &[FindingId::SecretWrong, FindingId::Certificate, FindingId::Federation],
        Cause::CertificateExpired => &[FindingId::CredentialExpired, FindingId::Federation],
        Cause::Certificate | Cause::AssertionTime | Cause::Assertion => {
            &[FindingId::Certificate, FindingId::Federation]
        }
        Cause::FederationMatch | Cause::FederationCase | Cause::FederationBlocked => &[FindingId::Federation],
        Cause::Client => &[FindingId::Client],
        Cause::ServicePrincipal | Cause::Resource | Cause::ResourceDisabled => &[FindingId::ServicePrincipal],
        Cause::ClientDisabled => &[FindingId::ClientDisabled],
        Cause::Tenant => &[FindingId::Tenant],
        Cause::Cloud => &[FindingId::Cloud],
        Cause::Assignment => &[FindingId::Assignment],
        Cause::Consent => &[FindingId::Consent],
        Cause::ConditionalAccess => &[FindingId::ConditionalAccess],
        Cause::Service => &[FindingId::Answer],
        Cause::NoCredential
        | Cause::Restricted
        | Cause::Request
        | Cause::UserAccount
        | Cause::UserPassword
        | Cause::UserInteraction
        | Cause::UserSession
        | Cause::Platform
        | Cause::Endpoint
        | Cause::Unknown => &[FindingId::SignIn],
    }
}

/// Returns the codes and the beginning of the text of a refusal.
fn evidence(refusal: &Refusal) -> String {
    let codes: Vec<String> = refusal.error_codes.iter().map(|code| format!("AADSTS{code}")).collect();
    let codes = if codes.is_empty() { refusal.error.clone() } else { codes.join(", ") };
    let text = refusal.error_description.split_once(": ").map_or(refusal.error_description.as_str(), |(_, text)| text);
    let text: String = text.chars().take(200).collect();
    if text.is_empty() { codes } else { format!("{codes}: {text}") }
}

/// Returns the finding for a tenant that does not exist, or not in this cloud.
pub(in crate::verify::graph) fn tenant_unknown(base: &str, remedies: &Remedies<'_>) -> Finding {
    Finding::fail(
        FindingId::Tenant,
        &format!("{base}/tenant"),
        "the tenant does not exist in this cloud: mistyped, or in another Microsoft cloud",
    )
    .expected(format!("a tenant {} at {}", remedies.tenant, remedies.endpoints.sign_in.host_str().unwrap_or_default()))
    .remedy([
        "Compare with Directory (tenant) ID on the registration's overview page.",
        "A tenant of US Government or China needs `cloud` in the profile.",
    ])
}

/// Returns the finding for a value that is the id of a secret.
pub(in crate::verify::graph) fn secret_id_finding(seal_command: &str, remedies: &Remedies<'_>) -> Finding {
    Finding::fail(
        FindingId::SecretId,
        Kind::Secret.pointer(),
        "the sealed value is a GUID: the id of a client secret, not its value",
    )
    .seen("a value in the form of a GUID")
    .expected("the value, which the portal shows once")
    .remedy(remedies.new_secret(seal_command))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::*;
    use crate::{
        entra::{Endpoints, aadsts},
        model::{Cloud, finding::Verdict},
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
    fn every_code_is_reported_by_its_cause_with_each_kind_of_credential() {
        let endpoints = Endpoints::for_cloud(&Cloud::Global).unwrap();
        let remedies =
            Remedies { verify_command: "again", endpoints: &endpoints, tenant: "contoso.example", client: "client" };
        for credential in credentials() {
            let is_federated = matches!(credential, Credential::FederatedTokenFile(_));
            let seal = if is_federated { "" } else { "mailwright secrets set dev documents/secret" };
            for scope in [endpoints.graph_scope(), endpoints.exchange_scope().to_owned()] {
                let attempt = SignInAttempt {
                    credential: &credential,
                    scope: &scope,
                    base: "",
                    seal_command: seal,
                    remedies: &remedies,
                };
                for entry in aadsts::all() {
                    // Entra does not mention a secret after a certificate was presented, and the reverse.
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
                    let found = attempt.explain(&SignInError::Refused(refusal));
                    let what = format!("AADSTS{} with {credential:?}: {found:?}", entry.code);
                    assert!(findings_of_cause(entry.cause).contains(&found.id), "{what}");
                    assert_eq!(found.verdict == Verdict::Unknown, entry.cause.is_transient(), "{what}");
                    assert!(!found.message.is_empty() && !found.remedy.is_empty(), "{what}");
                    assert!(found.remedy.iter().all(|step| !step.trim().is_empty()), "{what}");
                    let text = found.remedy.join(" ");
                    assert!(!is_federated || !text.contains("certificate.pem"), "{what}");
                    assert!(found.seen.contains(&entry.code.to_string()), "{what}");
                    // The finding names the resource that was requested.
                    let is_exchange = scope == endpoints.exchange_scope();
                    if matches!(entry.cause, Cause::Resource | Cause::ResourceDisabled) {
                        assert_eq!(found.message.contains("Exchange Online"), is_exchange, "{what}");
                    }
                }
            }
        }
    }
}
