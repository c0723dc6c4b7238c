//! The checks of a mail server, up to the point where a mail would follow: name, connection, greeting, encryption,
//! certificate, login, sender, and the sender as a recipient.
//!
//! [`check`] runs them in one [`Session`]; a step that fails ends it, except a missing password or a refused recipient. A
//! certificate that expires soon, a small size limit or a connection in clear is a finding and ends nothing. Each step has a
//! deadline of its own, so a silent server costs seconds. The SMTP client is the one of delivery ([`crate::smtp`]), and a reply has
//! the same meaning as there ([`crate::replies`]). No mail is sent unless a probe was requested.

mod envelope;
mod login;
mod tls;

use std::{net::SocketAddr, time::Duration};

use secrecy::ExposeSecret as _;
use tokio::{net::TcpStream, time::timeout};

use super::{Subject, SubjectSecret, Verifier};
use crate::{
    model::{
        Encryption,
        finding::{Finding, Level},
        finding_id::FindingId,
        provider::Smtp,
    },
    net::resolve::resolve,
    replies,
    smtp::{
        Capabilities, Reply,
        client::{SmtpClient, SmtpError},
    },
    text::shell::quote_posix,
};

const BASE: &str = "/provider/smtp";
const HOST: &str = "/provider/smtp/host";
const LOGIN: &str = "/provider/smtp/password";
const ENCRYPTION: &str = "/provider/smtp/encryption";

/// The size limit of a server, in bytes, below which there is a warning: documents have attachments.
const SMALL_SIZE: u64 = 10_000_000;

/// The result of a step. The error is the finding that ends the check; the findings before it are kept.
type Step<T> = Result<T, Box<Finding>>;

/// Runs every check of one server.
pub(super) async fn check(
    verifier: &Verifier,
    subject: &Subject,
    smtp: &Smtp,
    (secret, is_next): (&SubjectSecret, bool),
) -> (Vec<Finding>, Level) {
    let mut findings = Vec::new();
    if smtp.is_exchange_online() && smtp.password.is_some() {
        findings.push(login::basic_auth());
    }
    let mut session = Session { verifier, smtp, subject, secret, is_next, findings, reached: Level::Anonymous };
    if let Err(finding) = session.run().await {
        session.findings.push(*finding);
    }
    let Session { mut findings, reached, .. } = session;
    for finding in &mut findings {
        finding.level = finding.level.max(Level::Anonymous);
    }
    (findings, reached)
}

/// One connection to the server, and the findings so far.
struct Session<'a> {
    verifier: &'a Verifier,
    smtp: &'a Smtp,
    subject: &'a Subject,
    secret: &'a SubjectSecret,
    /// True if the secret is the staged one of a rotation: then only the login is of interest.
    is_next: bool,
    findings: Vec<Finding>,
    reached: Level,
}

impl Session<'_> {
    fn deadline(&self) -> Duration {
        self.verifier.options.smtp_timeout
    }

    fn pass(&mut self, id: FindingId, pointer: &str, message: String) {
        self.findings.push(Finding::pass(id, pointer, message));
    }

    fn timed_out(&self, id: FindingId, what: &str) -> Finding {
        Finding::fail(id, HOST, format!("the server did not answer in time: {what}"))
            .seen(format!("no response within {} s", self.deadline().as_secs()))
            .expected("an answer")
            .remedy([
                format!("nc -v {} {}", self.smtp.host, self.smtp.port),
                "A firewall that drops packets, or TLS expected where clear text is sent (or the reverse), looks like this: check `port` and `encryption`.".to_owned(),
            ])
    }

    async fn run(&mut self) -> Step<()> {
        let address = self.connect().await?;
        let mut client = self.greet(address).await?;
        let domain = client.capabilities().domain().to_owned();
        self.pass(FindingId::SmtpGreeting, HOST, format!("the server greets as {domain}"));
        if self.smtp.encryption == Encryption::Starttls {
            client = self.start_tls(client).await?;
        }
        self.encryption(&client);
        self.size(client.capabilities());
        self.login(&mut client).await?;
        self.sender(&mut client).await?;
        if self.verifier.options.probe && !self.is_next {
            self.probe(&mut client).await?;
        }
        // The reply to QUIT changes nothing any more.
        tokio::spawn(client.quit());
        Ok(())
    }

    async fn connect(&mut self) -> Step<SocketAddr> {
        let host = self.smtp.host.trim_matches(['[', ']']);
        let found = timeout(self.deadline(), resolve(host, self.smtp.port)).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(_)) => Vec::new(),
            Err(_) => return Err(Box::new(self.timed_out(FindingId::SmtpName, "the look-up of its name"))),
        };
        if addresses.is_empty() {
            return Err(Box::new(
                Finding::fail(FindingId::SmtpName, HOST, format!("the name {host} does not resolve"))
                    .seen("no address")
                    .expected("an address")
                    .remedy([
                        format!("dig +short {host}"),
                        "Correct `host`, or the resolver of this machine.".to_owned(),
                    ]),
            ));
        }
        self.pass(
            FindingId::SmtpName,
            HOST,
            format!("{host} resolves to {} address{}", addresses.len(), if addresses.len() == 1 { "" } else { "es" }),
        );
        let mut last = String::new();
        for address in addresses.iter().take(4) {
            match timeout(self.deadline(), TcpStream::connect(address)).await {
                Ok(Ok(_)) => {
                    self.pass(
                        FindingId::SmtpConnect,
                        HOST,
                        format!("port {} of {host} accepts connections", self.smtp.port),
                    );
                    return Ok(*address);
                }
                Ok(Err(error)) => last = format!("{address}: {error}"),
                Err(_) => last = format!("{address}: no answer within {} s", self.deadline().as_secs()),
            }
        }
        Err(Box::new(
            Finding::fail(FindingId::SmtpConnect, HOST, format!("no server accepts connections at {host}, port {}", self.smtp.port))
                .seen(last)
                .expected("a connection")
                .remedy([
                    format!("nc -v {host} {}", self.smtp.port),
                    "Check `port` (587 with starttls, 465 with tls), the firewall, and whether the network blocks outgoing mail.".to_owned(),
                ]),
        ))
    }

    async fn greet(&mut self, address: SocketAddr) -> Step<SmtpClient> {
        let tls = if self.smtp.encryption == Encryption::Tls { Some(self.tls_settings()?) } else { None };
        let greeting = async {
            let mut client = SmtpClient::connect(address, tls.as_ref(), self.deadline()).await?;
            if let (None, SubjectSecret::Value(password)) = (&self.smtp.oauth, self.secret) {
                client.hide_secret(password.expose_secret());
            }
            client.greet(&self.verifier.options.hello, self.deadline()).await?;
            Ok(client)
        };
        match greeting.await {
            Ok(client) => Ok(client),
            Err(SmtpError::Timeout(_)) => Err(Box::new(self.timed_out(FindingId::SmtpGreeting, "its greeting"))),
            Err(error @ SmtpError::Tls(_)) => Err(self.tls_failed(error)),
            Err(error) => {
                let advice = advice("greeting", &error).unwrap_or_else(|| {
                    "421 here means that the server is busy, or refuses this machine's address; ask its administrator."
                        .to_owned()
                });
                Err(Box::new(
                    Finding::fail(
                        FindingId::SmtpGreeting,
                        HOST,
                        "the server does not greet as a mail server, or refuses this machine",
                    )
                    .seen(error.to_string())
                    .expected("220, then 250 to EHLO")
                    .remedy([format!("nc {} {}", quote_posix(&self.smtp.host), self.smtp.port), advice]),
                ))
            }
        }
    }

    /// Evaluates the size of a message that the server accepts.
    fn size(&mut self, capabilities: &Capabilities) {
        match capabilities.size() {
            Some(size) if size > 0 && size < SMALL_SIZE => self.findings.push(
                Finding::fail(
                    FindingId::SmtpSize,
                    HOST,
                    format!("the server accepts mail of up to {} MB only", size / 1_000_000),
                )
                .seen(format!("SIZE {size}"))
                .expected("10 MB or more, for documents with attachments")
                .remedy(["Ask the server's administrator for a higher limit, or send documents by another profile."]),
            ),
            Some(0) => self.pass(FindingId::SmtpSize, HOST, "the server states no limit of size".to_owned()),
            Some(size) => {
                self.pass(FindingId::SmtpSize, HOST, format!("mail of up to {} MB is accepted", size / 1_000_000));
            }
            None => {}
        }
    }
}

/// Returns a reply that is a success; any other reply is an error.
fn accepted(reply: Result<Reply, SmtpError>) -> Result<Reply, SmtpError> {
    reply.and_then(|reply| if reply.is_success() { Ok(reply) } else { Err(SmtpError::Refused(reply)) })
}

/// Returns true for a refusal that may end by itself.
fn is_transient(error: &SmtpError) -> bool {
    matches!(error, SmtpError::Refused(reply) if reply.is_transient())
}

/// Returns the remedy for a refusal from the table of replies.
fn advice(phase: &str, error: &SmtpError) -> Option<String> {
    let SmtpError::Refused(reply) = error else { return None };
    replies::classify_smtp(phase, &reply.to_string()).remedy.map(|remedy| format!("{remedy}."))
}

/// Returns what the server offers, with the reason if it refuses EHLO and so offers nothing.
fn without_ehlo(capabilities: &Capabilities, seen: &str) -> String {
    capabilities.refused().map_or_else(|| seen.to_owned(), |reply| format!("{seen}; EHLO is refused: {reply}"))
}
