//! Signing in as the application: what a refusal means, and how long the credential lasts.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use secrecy::ExposeSecret as _;

use crate::{
    microsoft::{
        Certificate,
        graph::{Application, KeyCredential, PasswordCredential},
        sign_in::{Proof, Refusal, SignInError},
    },
    model::provider::Credential,
    verify::{Finding, Id, Verdict, remedy::Remedies},
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

/// What the sign-in ended with. `seal` is the command that seals a new value.
pub(super) fn refused(error: &SignInError, kind: Kind, base: &str, seal: &str, remedies: &Remedies<'_>) -> Finding {
    match error {
        SignInError::Http(error) => super::sight::unreachable(error, Id::SignIn),
        SignInError::Certificate(error) => {
            Finding::fail(Id::Certificate, kind.pointer(), format!("the certificate cannot sign: {error}"))
                .expected("a PEM file with the certificate and its RSA private key")
                .remedy([seal.to_owned()])
        }
        SignInError::Unknown(status @ 500..) => {
            Finding::unknown(Id::Answer, base, "the sign-in host is busy, or has trouble of its own")
                .seen(format!("HTTP {status}"))
                .expected("a token")
                .remedy(["Verify again in some minutes."])
        }
        SignInError::Unknown(status) => {
            Finding::unknown(Id::Answer, base, "the sign-in host answered in a form that is not known")
                .seen(format!("HTTP {status}"))
                .expected("a token, or an error as Entra writes it")
                .remedy(["Check whether a proxy answers in its place; then verify again."])
        }
        SignInError::Refused(refusal) => by_code(refusal, kind, base, seal, remedies).seen(evidence(refusal)),
    }
}

fn evidence(refusal: &Refusal) -> String {
    let codes: Vec<String> = refusal.error_codes.iter().map(|code| format!("AADSTS{code}")).collect();
    let codes = if codes.is_empty() { refusal.error.clone() } else { codes.join(", ") };
    let text = refusal.error_description.split_once(": ").map_or(refusal.error_description.as_str(), |(_, text)| text);
    let text: String = text.chars().take(200).collect();
    if text.is_empty() { codes } else { format!("{codes}: {text}") }
}

fn by_code(refusal: &Refusal, kind: Kind, base: &str, seal: &str, remedies: &Remedies<'_>) -> Finding {
    let pointer = kind.pointer();
    if refusal.is(&[7_000_222]) {
        return Finding::fail(Id::CredentialExpired, pointer, "the client secret has expired")
            .expected("a client secret that is valid")
            .remedy(remedies.new_secret(seal));
    }
    if refusal.is(&[7_000_215]) {
        return Finding::fail(Id::SecretWrong, pointer, "the client secret is not accepted: it belongs to another application, was deleted, or is its id instead of its value")
            .expected("the value of a client secret of this application")
            .remedy(remedies.new_secret(seal));
    }
    if refusal.is(&[700_016, 700_038, 70_001]) {
        return Finding::fail(
            Id::Client,
            &format!("{base}/client"),
            "the client does not exist in this tenant: another tenant's, mistyped, or not installed there",
        )
        .expected(format!("an application {} in tenant {}", remedies.client, remedies.tenant))
        .remedy(["Compare Application (client) ID and Directory (tenant) ID on the registration's overview page."])
        .remedy(remedies.install());
    }
    if refusal.is(&[90_002, 900_023]) {
        return tenant_unknown(base, remedies);
    }
    if refusal.is(&[900_382, 900_432, 90_038]) {
        return Finding::fail(
            Id::Cloud,
            &format!("{base}/cloud"),
            "the tenant is in another Microsoft cloud than the profile states",
        )
        .expected("the tenant's own cloud")
        .remedy(["Correct `cloud`: global, us-government-l4, us-government-l5 or china."]);
    }
    if refusal.is(&[7_000_112, 1_000_031]) {
        return Finding::fail(Id::ClientDisabled, &format!("{base}/client"), "the application is disabled")
            .expected("an application that may sign in")
            .remedy(remedies.enable());
    }
    if refusal.is(&[700_027, 700_030, 50_012, 700_024, 500_133, 50_013, 50_027]) {
        let (id, message, expected) = if kind == Kind::Federated {
            (Id::Federation, "the federated token is not accepted", "a token of an issuer that the application trusts")
        } else {
            (
                Id::Certificate,
                "the certificate is not accepted: the application does not know it, or this machine's clock is off",
                "a certificate that is uploaded to the registration",
            )
        };
        return Finding::fail(id, pointer, message).expected(expected).remedy(remedies.new_certificate(seal));
    }
    if refusal.is(&[70_021, 700_211, 700_212, 700_213, 700_223, 700_222]) {
        return Finding::fail(
            Id::Federation,
            pointer,
            "no federated credential of the application matches the token's issuer, subject and audience",
        )
        .expected("a federated credential with exactly these")
        .remedy(remedies.federation())
        .remedy(["A new one takes some minutes to work."]);
    }
    if refusal.is(&[53_000, 53_001, 53_002, 53_003, 53_004, 530_032, 530_035, 50_131]) {
        return Finding::fail(Id::ConditionalAccess, base, "Conditional Access does not let the application sign in from here")
            .expected("a policy that lets it in from the service's addresses")
            .remedy([
                "Portal: Protection > Conditional Access > Policies: look at those for workload identities, and at the sign-in logs of the service principal.",
                "A policy may know places: run the check where the service runs (without `--local`).",
            ]);
    }
    if refusal.is(&[90_006, 90_024, 90_033, 50_033, 50_087, 90_090, 90_055]) {
        return Finding::unknown(Id::Answer, base, "the sign-in host is busy")
            .remedy(["Verify again in some minutes."]);
    }
    if refusal.is(&[7_000_218, 7_000_216]) {
        return Finding::fail(Id::SignIn, pointer, "the sign-in host saw no credential")
            .expected("a client secret or an assertion")
            .remedy([seal.to_owned()]);
    }
    if refusal.is(&[500_011, 50_001]) {
        return Finding::fail(Id::ServicePrincipal, base, "Microsoft Graph is not known in this tenant")
            .expected("Microsoft Graph's service principal")
            .remedy([format!("az ad sp create --id {}", crate::microsoft::permissions::GRAPH_APP_ID)]);
    }
    let mut finding = Finding::fail(Id::SignIn, pointer, "the application cannot sign in").expected("a token");
    if let Some(code) = refusal.error_codes.first() {
        let sign_in = remedies.endpoints.sign_in.as_str();
        finding = finding.remedy([format!("What the code means: {sign_in}error?code={code}")]);
    }
    finding
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
