//! TLS of a mail server: STARTTLS, the handshake, and the certificate.
//!
//! Methods of [`Session`]. A failed handshake, also that of `encryption: tls` in `greet`, ends the checks with one finding,
//! which states the cause and the remedy. If STARTTLS is missing or fails, neither a login nor an address is sent. The
//! handshake verifies the certificate; here only the end of its validity is evaluated.

use std::sync::Arc;

use jiff::Timestamp;

use super::{BASE, ENCRYPTION, HOST, Session, Step, without_ehlo};
use crate::{
    model::{Encryption, finding::Finding, finding_id::FindingId},
    net::{certificate_fault::CertificateFault, handshake_fault::HandshakeFault},
    smtp::client::{SmtpClient, SmtpError, TlsSettings},
    text::shell::quote_posix,
};

impl Session<'_> {
    /// Encrypts the connection by STARTTLS.
    pub(super) async fn start_tls(&mut self, mut client: SmtpClient) -> Step<SmtpClient> {
        if !client.capabilities().offers("STARTTLS") {
            let seen = without_ehlo(client.capabilities(), "EHLO without STARTTLS");
            tokio::spawn(client.quit());
            return Err(Box::new(
                Finding::fail(FindingId::SmtpStarttls, ENCRYPTION, "the server does not offer STARTTLS, and nothing is sent in clear")
                    .seen(seen)
                    .expected("250-STARTTLS")
                    .remedy([
                        "Port 465 with `encryption: tls` where the server has it.",
                        "Or have the server's administrator enable STARTTLS. A machine in between may have removed it from the reply.",
                    ]),
            ));
        }
        self.pass(FindingId::SmtpStarttls, ENCRYPTION, "the server offers STARTTLS".to_owned());
        let settings = self.tls_settings()?;
        match client.start_tls(&settings, &self.verifier.options.hello, self.deadline()).await {
            Ok(()) => Ok(client),
            Err(error) => Err(self.tls_failed(error)),
        }
    }

    /// Evaluates the encryption of the connection.
    pub(super) fn encryption(&mut self, client: &SmtpClient) {
        if self.smtp.encryption != Encryption::None {
            self.certificate(client);
            let version = client.tls_version().unwrap_or("TLS");
            self.pass(FindingId::SmtpTls, ENCRYPTION, format!("the connection is encrypted with {version}"));
        } else if crate::model::host::is_loopback(&self.smtp.host) {
            self.pass(FindingId::SmtpInClear, ENCRYPTION, "mail is sent in clear, and on this machine only".to_owned());
        } else {
            self.findings.push(
                Finding::fail(FindingId::SmtpInClear, ENCRYPTION, "mail is sent to this server in clear")
                    .seen("encryption: none")
                    .expected("starttls or tls")
                    .remedy(["Use `encryption: starttls` where the server offers it; in clear is for a relay on this machine."]),
            );
        }
    }

    pub(super) fn tls_settings(&self) -> Step<TlsSettings> {
        let config = self.verifier.http().trust().client_config();
        let config = config.map_err(|why| {
            Box::new(Finding::unknown(FindingId::SmtpTls, BASE, "cannot set up TLS on this machine").seen(why))
        })?;
        Ok(TlsSettings { config: Arc::new(config), host: self.smtp.host.clone() })
    }

    pub(super) fn tls_failed(&self, error: SmtpError) -> Box<Finding> {
        let host = &self.smtp.host;
        let command = format!(
            "openssl s_client -connect {} -servername {}{}",
            quote_posix(&format!("{host}:{}", self.smtp.port)),
            quote_posix(host),
            if self.smtp.encryption == Encryption::Starttls { " -starttls smtp" } else { "" }
        );
        let fault = match error {
            SmtpError::Tls(fault) => fault,
            SmtpError::Timeout(_) => return Box::new(self.timed_out(FindingId::SmtpTls, "the TLS handshake")),
            error => {
                return Box::new(
                    Finding::fail(FindingId::SmtpTls, ENCRYPTION, "the connection cannot be encrypted")
                        .seen(error.to_string())
                        .expected("TLS 1.2 or 1.3")
                        .remedy([
                            format!("{command} </dev/null"),
                            "`tls` is for port 465, `starttls` for 587: check both.".to_owned(),
                        ]),
                );
            }
        };
        let HandshakeFault::Certificate(certificate) = &fault else {
            let pointer = if fault == HandshakeFault::NotTls { ENCRYPTION } else { HOST };
            return Box::new(
                Finding::fail(FindingId::SmtpTls, pointer, fault.to_string())
                    .seen(match &fault {
                        HandshakeFault::Version => "neither TLS 1.2 nor TLS 1.3",
                        HandshakeFault::Cipher => "no cipher, key exchange or signature in common",
                        HandshakeFault::NotTls => "something that is not TLS",
                        _ => "the handshake ended",
                    })
                    .expected("TLS 1.2 or 1.3")
                    .remedy(fault.remedy(host, &command)),
            );
        };
        let time = |at: &Option<Timestamp>| at.map_or_else(|| "an unreadable time".to_owned(), |at| at.to_string());
        let finding = match certificate {
            CertificateFault::Expired { until } => {
                Finding::fail(FindingId::SmtpCertificateExpired, HOST, "the server's certificate has expired")
                    .seen(format!("valid until {}", time(until)))
                    .expected("a certificate that is valid")
            }
            CertificateFault::NotYetValid { from } => Finding::fail(
                FindingId::SmtpCertificate,
                HOST,
                "the server's certificate is not valid yet, or this machine's clock is behind",
            )
            .seen(format!("valid from {}", time(from)))
            .expected("a certificate that is valid"),
            CertificateFault::Name { names } => {
                Finding::fail(FindingId::SmtpCertificateName, HOST, format!("the server's certificate is not for {host}"))
                    .seen(format!("names in it: {}", names.join(", ")))
                    .expected(host.clone())
            }
            CertificateFault::NoName { .. } => {
                Finding::fail(FindingId::SmtpCertificateName, HOST, format!("the server's certificate is not for {host}"))
                    .seen(certificate.to_string())
                    .expected(format!("{host} as subject alternative name"))
            }
            CertificateFault::UnknownIssuer { .. } | CertificateFault::SelfSigned | CertificateFault::NoAuthorities => {
                Finding::fail(FindingId::SmtpCertificate, HOST, "the server's certificate is not trusted")
                    .seen(certificate.to_string())
                    .expected("a chain to an authority that this machine trusts, or the certificate itself in `--outgoing-ca-file`")
            }
            other => Finding::fail(FindingId::SmtpCertificate, HOST, "the server's certificate cannot be accepted")
                .seen(other.to_string())
                .expected("an X.509 version 3 certificate of a server, signed with SHA-256 or better"),
        };
        Box::new(finding.remedy(fault.remedy(host, &command)))
    }

    fn certificate(&mut self, client: &SmtpClient) {
        let Some(der) = client.certificate() else { return };
        let end =
            x509_parser::parse_x509_certificate(der).ok().map(|(_, found)| found.validity().not_after.timestamp());
        let Some(end) = end.and_then(|end| Timestamp::from_second(end).ok()) else { return };
        let days = (end.as_second() - self.verifier.now().as_second()).div_euclid(86_400);
        let limit = self.verifier.credential_days().min(14);
        if days <= i64::from(limit) {
            self.findings.push(
                Finding::fail(
                    FindingId::SmtpCertificateExpires,
                    HOST,
                    format!("the server's certificate expires in {days} days"),
                )
                .seen(format!("valid until {end}"))
                .expected(format!("more than {limit} days"))
                .remedy(["Have the server's administrator renew it."]),
            );
        } else {
            self.pass(
                FindingId::SmtpCertificate,
                HOST,
                format!("the server's certificate is trusted, and valid for {days} more days"),
            );
        }
    }
}
