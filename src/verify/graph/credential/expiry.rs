//! Findings about the expiry of client secrets and certificates.
//!
//! The end of a certificate is in the certificate; that of a client secret is known only to the directory, which identifies it by
//! the first characters of the value. Without access to the directory, or if it is unclear which entry is in use, the finding for a
//! client secret is *unknown*. What has expired is an error; what ends within the limit is a warning.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use secrecy::ExposeSecret as _;

use super::Kind;
use crate::{
    entra::{
        Certificate,
        graph::{Application, KeyCredential, PasswordCredential},
        sign_in::ClientAuthentication,
    },
    model::{
        finding::{Finding, Verdict},
        finding_id::FindingId,
    },
    verify::remedy::Remedies,
};

/// Returns the finding about the expiry of the credential in use.
///
/// A client secret is recognised by its hint, which is its first three characters. If the same is true of all registered
/// secrets that it could be, the hint is not needed. The secret does not leave this function.
pub(in crate::verify::graph) fn expiry(
    application: &Application,
    kind: Kind,
    proof: Option<&ClientAuthentication>,
    limit: (Timestamp, u16),
    seal_command: &str,
    remedies: &Remedies<'_>,
) -> Option<Finding> {
    let (what, pointer) = (kind.noun(), kind.pointer());
    let secret = match proof {
        // A certificate states its own expiry.
        Some(ClientAuthentication::Certificate(certificate)) => {
            return evaluate_certificate(&application.key_credentials, certificate, limit, seal_command, remedies);
        }
        Some(ClientAuthentication::Secret(secret)) => Some(secret.expose_secret()),
        _ => None,
    };
    let may_be_in_use = |credential: &&PasswordCredential| match (credential.hint.as_deref(), secret) {
        (Some(hint), Some(secret)) => secret.starts_with(hint),
        _ => true,
    };
    let candidates: Vec<Registered> = match kind {
        Kind::Federated => return None,
        Kind::Secret => application.password_credentials.iter().filter(may_be_in_use).map(from_password).collect(),
        Kind::Certificate => application.key_credentials.iter().map(from_key).collect(),
    };
    let begins_later = |begin: Option<Timestamp>| begin.filter(|begin| *begin > limit.0);
    // One that begins later cannot be in use, unless there is no other.
    let first_to_begin = candidates.iter().filter_map(|(begin, _, name)| Some((begins_later(*begin)?, name))).min();
    if let Some((begin, name)) = first_to_begin
        && candidates.iter().all(|(begin, ..)| begins_later(*begin).is_some())
    {
        return Some(not_valid_yet(kind, begin, name, limit.0, seal_command, remedies));
    }
    let candidates: Vec<(Option<Timestamp>, String)> = candidates
        .into_iter()
        .filter(|(begin, ..)| begins_later(*begin).is_none())
        .map(|(_, end, name)| (end, name))
        .collect();
    let listed = candidates.iter().map(|(end, name)| match end {
        Some(end) => format!("{name} until {}", end.to_zoned(TimeZone::UTC).date()),
        None => name.clone(),
    });
    let listed = format!("{} {what}s: {}", candidates.len(), listed.collect::<Vec<_>>().join(", "));
    let Some((end, name)) = candidates.iter().max_by_key(|(end, _)| end.unwrap_or(Timestamp::MAX)) else {
        return Some(
            Finding::unknown(
                FindingId::CredentialExpiry,
                pointer,
                format!("the registration does not list the {what} in use, so its end is not known"),
            )
            .seen(format!("no {what} that it could be"))
            .expected(format!("the {what} of the profile"))
            .remedy([format!(
                "It was added a moment ago, or is on the service principal: az ad sp credential list --id {}",
                remedies.id()
            )]),
        );
    };
    // Whichever credential is in use, it expires no later than the last of all.
    if let Some(end) = end {
        let finding = evaluate(kind, *end, name, limit, seal_command, remedies);
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
        Finding::unknown(FindingId::CredentialExpiry, pointer, format!("it is not known which {what} is in use"))
            .seen(listed)
            .expected("one whose hint or thumbprint is that of the sealed value")
            .remedy(["Delete the credentials that are not in use."]),
    )
}

/// Returns the finding about the expiry of a certificate, for a registration that cannot be read.
pub(in crate::verify::graph) fn certificate_expiry(
    certificate: &Certificate,
    limit: (Timestamp, u16),
    seal_command: &str,
    remedies: &Remedies<'_>,
) -> Option<Finding> {
    evaluate_certificate(&[], certificate, limit, seal_command, remedies)
}

/// Evaluates the time in which a certificate is valid.
fn evaluate_certificate(
    registered: &[KeyCredential],
    certificate: &Certificate,
    (now, limit): (Timestamp, u16),
    seal_command: &str,
    remedies: &Remedies<'_>,
) -> Option<Finding> {
    let (end, name) = find_certificate(registered, certificate)?;
    if let Some(begin) = certificate.not_before().filter(|begin| *begin > now) {
        return Some(not_valid_yet(Kind::Certificate, begin, &name, now, seal_command, remedies));
    }
    Some(evaluate(Kind::Certificate, end, &name, (now, limit), seal_command, remedies))
}

/// Returns the finding about a credential that becomes valid later.
fn not_valid_yet(
    kind: Kind,
    begin: Timestamp,
    name: &str,
    now: Timestamp,
    seal_command: &str,
    remedies: &Remedies<'_>,
) -> Finding {
    let (what, on) = (kind.noun(), begin.to_zoned(TimeZone::UTC).date());
    let (id, new) = match kind {
        Kind::Certificate => (FindingId::Certificate, remedies.new_certificate(seal_command)),
        Kind::Secret | Kind::Federated => (FindingId::SecretWrong, remedies.new_secret(seal_command)),
    };
    let mut steps = vec![format!(
        "Check the clock: timedatectl status. Otherwise wait until {on}, or seal a {what} that is valid now:"
    )];
    steps.extend(new);
    Finding::fail(
        id,
        kind.pointer(),
        format!("the {what} is not valid yet, or a clock is behind: it is valid from {on}"),
    )
    .seen(format!("{name}, from {begin}; the time here is {now}"))
    .expected(format!("a {what} that is valid"))
    .remedy(steps)
}

fn evaluate(
    kind: Kind,
    end: Timestamp,
    name: &str,
    (now, limit): (Timestamp, u16),
    seal_command: &str,
    remedies: &Remedies<'_>,
) -> Finding {
    let days = (end.as_second() - now.as_second()).div_euclid(86_400);
    let on = end.to_zoned(TimeZone::UTC).date();
    let what = kind.noun();
    let steps = || match kind {
        Kind::Certificate => remedies.new_certificate(seal_command),
        Kind::Secret | Kind::Federated => remedies.new_secret(seal_command),
    };
    let weekday = weekday(on.weekday());
    if days < 0 {
        return Finding::fail(
            FindingId::CredentialExpired,
            kind.pointer(),
            format!("the {what} expired on {weekday}, {on}"),
        )
        .seen(format!("{name}, until {end}"))
        .expected(format!("a {what} that is valid"))
        .ends(end)
        .remedy(steps());
    }
    if days <= i64::from(limit) {
        return Finding::fail(
            FindingId::CredentialExpires,
            kind.pointer(),
            format!("the {what} expires in {days} days, on {weekday}, {on}"),
        )
        .seen(format!("{name}, until {end}"))
        .expected(format!("more than {limit} days"))
        .ends(end)
        .remedy(steps());
    }
    Finding::pass(
        FindingId::CredentialExpiry,
        kind.pointer(),
        format!("the {what} is valid for {days} more days, until {on}"),
    )
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

/// The beginning and the expiry of a registered credential, and its name.
type Registered = (Option<Timestamp>, Option<Timestamp>, String);

fn from_password(credential: &PasswordCredential) -> Registered {
    let id = credential.key_id.as_deref().unwrap_or("?");
    let name = match credential.display_name.as_deref() {
        Some(name) if !name.is_empty() => format!("\"{name}\" ({id})"),
        _ => id.to_owned(),
    };
    (credential.start_date_time, credential.end_date_time, name)
}

fn from_key(credential: &KeyCredential) -> Registered {
    let name = credential.custom_key_identifier.as_deref().or(credential.key_id.as_deref()).unwrap_or("?");
    (credential.start_date_time, credential.end_date_time, format!("thumbprint {name}"))
}

fn find_certificate(credentials: &[KeyCredential], certificate: &Certificate) -> Option<(Timestamp, String)> {
    // Graph identifies certificates by SHA-1, in base64 or in hexadecimal. The certificate itself states its expiry as well.
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
    use super::*;
    use crate::{entra::Endpoints, model::Cloud};

    #[test]
    fn a_certificate_is_valid_from_its_beginning_to_its_end() {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        (parameters.not_before, parameters.not_after) =
            (rcgen::date_time_ymd(2027, 1, 1), rcgen::date_time_ymd(2028, 1, 1));
        let pem = parameters.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let proof = ClientAuthentication::Certificate(Certificate::from_pem(pem.into()).unwrap());
        let ClientAuthentication::Certificate(certificate) = &proof else { unreachable!() };
        let endpoints = Endpoints::for_cloud(&Cloud::Global).unwrap();
        let remedies =
            Remedies { verify_command: "verify", endpoints: &endpoints, tenant: "contoso.example", client: "client" };
        let evaluate = |now: &str| {
            let limit = (now.parse().unwrap(), 30);
            let finding = certificate_expiry(certificate, limit, "seal", &remedies).unwrap();
            let registration = Application::default();
            let read = expiry(&registration, Kind::Certificate, Some(&proof), limit, "seal", &remedies);
            assert_eq!(read.unwrap().id, finding.id, "{now}");
            (finding.id, finding.verdict)
        };
        assert_eq!(evaluate("2026-12-31T23:59:59Z"), (FindingId::Certificate, Verdict::Fail));
        assert_eq!(evaluate("2027-01-01T00:00:00Z"), (FindingId::CredentialExpiry, Verdict::Pass));
        assert_eq!(evaluate("2027-12-24T00:00:00Z"), (FindingId::CredentialExpires, Verdict::Fail));
        assert_eq!(evaluate("2028-01-02T00:00:00Z"), (FindingId::CredentialExpired, Verdict::Fail));
    }

    #[test]
    fn a_client_secret_that_begins_later_is_not_the_one_in_use() {
        let secret = |start: &str, end: &str| PasswordCredential {
            start_date_time: start.parse().ok(),
            end_date_time: end.parse().ok(),
            ..PasswordCredential::default()
        };
        let (current, later) = (
            secret("2024-01-01T00:00:00Z", "2028-01-01T00:00:00Z"),
            secret("2035-01-01T00:00:00Z", "2037-01-01T00:00:00Z"),
        );
        let endpoints = Endpoints::for_cloud(&Cloud::Global).unwrap();
        let remedies =
            Remedies { verify_command: "verify", endpoints: &endpoints, tenant: "contoso.example", client: "client" };
        let evaluate = |secrets: &[&PasswordCredential], now: &str| {
            let password_credentials = secrets.iter().map(|secret| (*secret).clone()).collect();
            let application = Application { password_credentials, ..Application::default() };
            let limit = (now.parse().unwrap(), 30);
            let finding = expiry(&application, Kind::Secret, None, limit, "seal", &remedies).unwrap();
            (finding.id, finding.verdict)
        };
        let now = "2026-11-27T00:00:00Z";
        assert_eq!(evaluate(&[&later], now), (FindingId::SecretWrong, Verdict::Fail));
        assert_eq!(evaluate(&[&current], now), evaluate(&[&current, &later], now));
        let (id, verdict) = evaluate(&[&current, &later], "2028-02-01T00:00:00Z");
        assert_eq!(
            (id, verdict),
            (FindingId::CredentialExpired, Verdict::Fail),
            "the later one does not begin in time"
        );
    }
}
