//! A mail server, up to the point where a mail would follow: name, connection, greeting, encryption, certificate,
//! login, sender, and the sender as a recipient. Each step has a deadline of its own, so a silent server costs seconds.
//! Nothing is sent, unless a probe was asked for. The conversation is the one that delivery has ([`crate::smtp`]), and a
//! reply means what it means there ([`crate::replies`]).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{net::TcpStream, time::timeout};

use super::{Opened, Subject, Verifier, graph::Applicant, secret};
use crate::{
    credential::CredentialKind,
    entra::Endpoints,
    model::{
        Encryption,
        finding::{Finding, Level, Severity},
        finding_id::Id,
        message::Class,
        provider::{Oauth, Smtp},
    },
    net::{
        resolve::resolve,
        tls::{CertificateFault, HandshakeFault},
    },
    replies::{self, About},
    smtp::{
        Capabilities, Reply,
        client::{DataDeadlines, DataError, SmtpClient, SmtpError, TlsSettings},
        login::Login,
    },
};

const BASE: &str = "/provider/smtp";
const HOST: &str = "/provider/smtp/host";
const LOGIN: &str = "/provider/smtp/password";

/// Below this a mail server is narrow for documents, in bytes.
const SMALL: u64 = 10_000_000;

/// The first finding that ends a check; what was found before it is kept.
type Step<T> = Result<T, Box<Finding>>;

/// Every check of one server.
pub(super) async fn check(
    verifier: &Verifier,
    subject: &Subject,
    smtp: &Smtp,
    (secret, is_next): (&Opened, bool),
) -> (Vec<Finding>, Level) {
    let mut findings = Vec::new();
    if smtp.is_exchange_online() && smtp.password.is_some() {
        findings.push(basic_auth());
    }
    let mut visit = Visit { verifier, smtp, subject, secret, is_next, findings, reached: Level::Anonymous };
    if let Err(finding) = visit.all().await {
        visit.findings.push(*finding);
    }
    let Visit { mut findings, reached, .. } = visit;
    for finding in &mut findings {
        finding.level = finding.level.max(Level::Anonymous);
    }
    (findings, reached)
}

fn basic_auth() -> Finding {
    Finding::fail(Id::SmtpBasicAuth, LOGIN, "Exchange Online stops accepting passwords for SMTP")
        .seen("a password for a host of Exchange Online")
        .expected("Microsoft Graph, OAuth, or High Volume Email")
        .remedy([
            "End of December 2026: off by default for existing tenants; an administrator can switch it on again.",
            "New tenants after that: not available by default. Second half of 2027: Microsoft names the day of the end.",
            "Move to the provider `microsoft-graph-direct`. Afterwards the server answers: 550 5.7.30 Basic authentication is not supported for Client Submission.",
        ])
}

struct Visit<'a> {
    verifier: &'a Verifier,
    smtp: &'a Smtp,
    subject: &'a Subject,
    secret: &'a Opened,
    /// Whether the secret is the next one: then only the login is of interest.
    is_next: bool,
    findings: Vec<Finding>,
    reached: Level,
}

impl Visit<'_> {
    fn deadline(&self) -> Duration {
        self.verifier.options.smtp_timeout
    }

    fn pass(&mut self, id: Id, pointer: &str, message: String) {
        self.findings.push(Finding::pass(id, pointer, message));
    }

    fn silent(&self, id: Id, what: &str) -> Finding {
        Finding::fail(id, HOST, format!("the server did not answer in time: {what}"))
            .seen(format!("nothing for {} s", self.deadline().as_secs()))
            .expected("an answer")
            .remedy([
                format!("nc -v {} {}", self.smtp.host, self.smtp.port),
                "A firewall that drops packets, or TLS expected where clear text is sent (or the reverse), looks like this: check `port` and `encryption`.".to_owned(),
            ])
    }

    async fn all(&mut self) -> Step<()> {
        let address = self.connect_somewhere().await?;
        let hello = &self.verifier.options.hello;
        let mut client = self.greeted(address).await?;
        let greeted = client.capabilities().domain().to_owned();
        self.pass(Id::SmtpGreeting, HOST, format!("the server greets as {greeted}"));
        if self.smtp.encryption == Encryption::Starttls {
            if !client.capabilities().offers("STARTTLS") {
                let seen = without_ehlo(client.capabilities(), "EHLO without STARTTLS");
                tokio::spawn(client.quit());
                return Err(Box::new(
                    Finding::fail(Id::SmtpStarttls, "/provider/smtp/encryption", "the server does not offer STARTTLS, and nothing is sent in clear")
                        .seen(seen)
                        .expected("250-STARTTLS")
                        .remedy([
                            "Port 465 with `encryption: tls` where the server has it.",
                            "Or have the server's administrator enable STARTTLS. Somebody in between may have taken it out of the answer.",
                        ]),
                ));
            }
            self.pass(Id::SmtpStarttls, "/provider/smtp/encryption", "the server offers STARTTLS".to_owned());
            let settings = self.tls()?;
            if let Err(error) = client.start_tls(&settings, hello, self.deadline()).await {
                return Err(self.tls_failed(error));
            }
        }
        if self.smtp.encryption == Encryption::None && crate::model::host::is_loopback(&self.smtp.host) {
            self.pass(Id::SmtpInClear, "/provider/smtp/encryption", "in clear, and on this machine alone".to_owned());
        } else if self.smtp.encryption == Encryption::None {
            self.findings.push(
                Finding::fail(Id::SmtpInClear, "/provider/smtp/encryption", "mail travels to this server in clear")
                    .seen("encryption: none")
                    .expected("starttls or tls")
                    .remedy(["Use `encryption: starttls` where the server offers it; in clear is for a relay on this machine."]),
            );
        } else {
            self.certificate(&client);
            let version = client.tls_version().unwrap_or("TLS");
            self.pass(Id::SmtpTls, "/provider/smtp/encryption", format!("the connection is encrypted with {version}"));
        }
        self.size(client.capabilities());
        self.login(&mut client).await?;
        self.sender(&mut client).await?;
        if self.verifier.options.probe && !self.is_next {
            self.probe(&mut client).await?;
        }
        // The server's good-bye changes nothing any more.
        tokio::spawn(client.quit());
        Ok(())
    }

    async fn connect_somewhere(&mut self) -> Step<SocketAddr> {
        let host = self.smtp.host.trim_matches(['[', ']']);
        let found = timeout(self.deadline(), resolve(host, self.smtp.port)).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(_)) => Vec::new(),
            Err(_) => return Err(Box::new(self.silent(Id::SmtpName, "the look-up of its name"))),
        };
        if addresses.is_empty() {
            return Err(Box::new(
                Finding::fail(Id::SmtpName, HOST, format!("the name {host} does not resolve"))
                    .seen("no address")
                    .expected("an address")
                    .remedy([
                        format!("dig +short {host}"),
                        "Correct `host`, or the resolver of this machine.".to_owned(),
                    ]),
            ));
        }
        self.pass(
            Id::SmtpName,
            HOST,
            format!("{host} resolves to {} address{}", addresses.len(), if addresses.len() == 1 { "" } else { "es" }),
        );
        let mut last = String::new();
        for address in addresses.iter().take(4) {
            match timeout(self.deadline(), TcpStream::connect(address)).await {
                Ok(Ok(_)) => {
                    self.pass(Id::SmtpConnect, HOST, format!("port {} of {host} takes connections", self.smtp.port));
                    return Ok(*address);
                }
                Ok(Err(error)) => last = format!("{address}: {error}"),
                Err(_) => last = format!("{address}: no answer within {} s", self.deadline().as_secs()),
            }
        }
        Err(Box::new(
            Finding::fail(Id::SmtpConnect, HOST, format!("nobody takes connections at {host}, port {}", self.smtp.port))
                .seen(last)
                .expected("a connection")
                .remedy([
                    format!("nc -v {host} {}", self.smtp.port),
                    "Check `port` (587 with starttls, 465 with tls), the firewall, and whether the network blocks outgoing mail.".to_owned(),
                ]),
        ))
    }

    async fn greeted(&mut self, address: SocketAddr) -> Step<SmtpClient> {
        let tls = if self.smtp.encryption == Encryption::Tls { Some(self.tls()?) } else { None };
        let greeted = async {
            let mut client = SmtpClient::connect(address, tls.as_ref(), self.deadline()).await?;
            if let (None, Opened::Value(password)) = (&self.smtp.oauth, self.secret) {
                client.hide_secret(password.expose_secret());
            }
            client.greet(&self.verifier.options.hello, self.deadline()).await?;
            Ok(client)
        };
        match greeted.await {
            Ok(client) => Ok(client),
            Err(SmtpError::Silent(_)) => Err(Box::new(self.silent(Id::SmtpGreeting, "its greeting"))),
            Err(error @ SmtpError::Tls(_)) => Err(self.tls_failed(error)),
            Err(error) => {
                let advice = advice("greeting", &error).unwrap_or_else(|| {
                    "554 and 421 here mean that the server refuses this machine's address; ask its administrator."
                        .to_owned()
                });
                Err(Box::new(
                    Finding::fail(
                        Id::SmtpGreeting,
                        HOST,
                        "the server does not greet as a mail server, or refuses this machine",
                    )
                    .seen(error.to_string())
                    .expected("220, then 250 to EHLO")
                    .remedy([format!("nc {} {}", self.smtp.host, self.smtp.port), advice]),
                ))
            }
        }
    }

    fn tls(&self) -> Step<TlsSettings> {
        let config = self.verifier.http().trust().client_config();
        let config = config
            .map_err(|why| Box::new(Finding::unknown(Id::SmtpTls, BASE, "TLS could not be set up here").seen(why)))?;
        Ok(TlsSettings { config: Arc::new(config), host: self.smtp.host.clone() })
    }

    fn tls_failed(&self, error: SmtpError) -> Box<Finding> {
        let host = &self.smtp.host;
        let look = format!(
            "openssl s_client -connect {host}:{} -servername {host}{}",
            self.smtp.port,
            if self.smtp.encryption == Encryption::Starttls { " -starttls smtp" } else { "" }
        );
        let fault = match error {
            SmtpError::Tls(fault) => fault,
            SmtpError::Silent(_) => return Box::new(self.silent(Id::SmtpTls, "the TLS handshake")),
            error => {
                return Box::new(
                    Finding::fail(Id::SmtpTls, "/provider/smtp/encryption", "the connection cannot be encrypted")
                        .seen(error.to_string())
                        .expected("TLS 1.2 or 1.3")
                        .remedy([
                            format!("{look} </dev/null"),
                            "`tls` is for port 465, `starttls` for 587: check both.".to_owned(),
                        ]),
                );
            }
        };
        let HandshakeFault::Certificate(certificate) = &fault else {
            let pointer = if fault == HandshakeFault::NotTls { "/provider/smtp/encryption" } else { HOST };
            return Box::new(
                Finding::fail(Id::SmtpTls, pointer, fault.to_string())
                    .seen(match &fault {
                        HandshakeFault::Version => "neither TLS 1.2 nor TLS 1.3",
                        HandshakeFault::Cipher => "no cipher, key exchange or signature in common",
                        HandshakeFault::NotTls => "something that is not TLS",
                        _ => "the handshake ended",
                    })
                    .expected("TLS 1.2 or 1.3")
                    .remedy(fault.remedy(host, &look)),
            );
        };
        let time = |at: &Option<Timestamp>| at.map_or_else(|| "an unreadable time".to_owned(), |at| at.to_string());
        let finding = match certificate {
            CertificateFault::Expired { until } => {
                Finding::fail(Id::SmtpCertificateExpired, HOST, "the server's certificate has expired")
                    .seen(format!("valid until {}", time(until)))
                    .expected("a certificate that is valid")
            }
            CertificateFault::NotYetValid { from } => Finding::fail(
                Id::SmtpCertificate,
                HOST,
                "the server's certificate is not valid yet, or this machine's clock is behind",
            )
            .seen(format!("valid from {}", time(from)))
            .expected("a certificate that is valid"),
            CertificateFault::Name { names } => {
                Finding::fail(Id::SmtpCertificateName, HOST, format!("the server's certificate is not for {host}"))
                    .seen(format!("names in it: {}", names.join(", ")))
                    .expected(host.clone())
            }
            CertificateFault::NoName { .. } => {
                Finding::fail(Id::SmtpCertificateName, HOST, format!("the server's certificate is not for {host}"))
                    .seen(certificate.to_string())
                    .expected(format!("{host} as subject alternative name"))
            }
            CertificateFault::UnknownIssuer { .. } | CertificateFault::SelfSigned | CertificateFault::NoAuthorities => {
                Finding::fail(Id::SmtpCertificate, HOST, "the server's certificate is not trusted")
                    .seen(certificate.to_string())
                    .expected("a chain to an authority that this machine trusts, or the certificate itself in `--outgoing-ca-file`")
            }
            other => Finding::fail(Id::SmtpCertificate, HOST, "the server's certificate cannot be accepted")
                .seen(other.to_string())
                .expected("an X.509 version 3 certificate of a server, signed with SHA-256 or better"),
        };
        Box::new(finding.remedy(fault.remedy(host, &look)))
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
                    Id::SmtpCertificateExpires,
                    HOST,
                    format!("the server's certificate expires in {days} days"),
                )
                .seen(format!("valid until {end}"))
                .expected(format!("more than {limit} days"))
                .remedy(["Have the server's administrator renew it."]),
            );
        } else {
            self.pass(
                Id::SmtpCertificate,
                HOST,
                format!("the server's certificate is trusted, and good for {days} more days"),
            );
        }
    }

    /// How large a mail the server accepts.
    fn size(&mut self, capabilities: &Capabilities) {
        match capabilities.size() {
            Some(size) if size > 0 && size < SMALL => self.findings.push(
                Finding::fail(
                    Id::SmtpSize,
                    HOST,
                    format!("the server takes mail of up to {} MB only", size / 1_000_000),
                )
                .seen(format!("SIZE {size}"))
                .expected("10 MB or more, for documents with attachments")
                .remedy(["Ask the server's administrator for more room, or send documents by another profile."]),
            ),
            Some(0) => self.pass(Id::SmtpSize, HOST, "the server states no limit of size".to_owned()),
            Some(size) => {
                self.pass(Id::SmtpSize, HOST, format!("mail of up to {} MB is taken", size / 1_000_000));
            }
            None => {}
        }
    }

    async fn login(&mut self, client: &mut SmtpClient) -> Step<()> {
        let Some(username) = &self.smtp.username else { return Ok(()) };
        let fits: &[&str] = if self.smtp.oauth.is_some() { &["XOAUTH2"] } else { &["PLAIN", "LOGIN"] };
        let capabilities = client.capabilities();
        let offered = capabilities.mechanisms().join(" ");
        if !capabilities.mechanisms().iter().any(|own| fits.contains(&own.as_str())) {
            let seen = if offered.is_empty() { "no AUTH".to_owned() } else { format!("AUTH {offered}") };
            let seen = without_ehlo(capabilities, &seen);
            return Err(Box::new(
                Finding::fail(
                    Id::SmtpAuth,
                    LOGIN,
                    match self.smtp.oauth {
                        None => "the server offers no login that a password fits",
                        Some(_) => "the server offers no login that a token fits",
                    },
                )
                    .seen(seen)
                    .expected(if self.smtp.oauth.is_none() { "AUTH PLAIN or LOGIN" } else { "AUTH XOAUTH2" })
                    .remedy(["Logins are often offered on 587 and 465 alone, and only once encrypted: check `port` and `encryption`. Without a login, remove `username` and `password`."]),
            ));
        }
        self.pass(Id::SmtpAuth, LOGIN, format!("the server offers AUTH {offered}"));
        let token;
        let password = match (&self.smtp.oauth, self.secret) {
            (Some(oauth), secret) => {
                token = self.token(oauth, secret).await?;
                &token
            }
            (None, opened) => {
                let reference = self.smtp.password.as_ref().map(|named| &named.secret);
                let environment = self.verifier.environment();
                let seal = reference.map(|reference| secret::seal(environment, reference, self.is_next));
                match opened.fitting(CredentialKind::Password, LOGIN, &seal.unwrap_or_default()) {
                    Ok(Some(password)) => password,
                    Ok(None) => return Ok(()),
                    Err(finding) => {
                        self.findings.push(*finding);
                        return Ok(());
                    }
                }
            }
        };
        let (username, secret) = (username.clone(), password.expose_secret().to_owned().into());
        let login = match &self.smtp.oauth {
            Some(_) => Login::Token { username: username.clone(), token: secret },
            None => Login::Password { username: username.clone(), password: secret },
        };
        let mechanisms = login.offered(client.capabilities());
        match client.log_in(&login, &mechanisms, self.deadline()).await {
            Ok(()) => {
                self.reached = Level::Credential;
                let mut finding = Finding::pass(Id::SmtpLogin, LOGIN, format!("the login as {username} is accepted"));
                finding.level = Level::Credential;
                self.findings.push(finding);
                Ok(())
            }
            Err(SmtpError::Silent(_)) => Err(Box::new(self.silent(Id::SmtpLogin, "the login"))),
            Err(error) => {
                self.reached = Level::Credential;
                let seen = error.to_string();
                let switched_off = seen.contains("5.7.139") || seen.contains("5.7.30");
                let remedy = if self.smtp.oauth.is_some() {
                    vec![
                        "The application needs SMTP.SendAsApp (Office 365 Exchange Online) with consent, or the role in Exchange alone.".to_owned(),
                        "In PowerShell (Connect-ExchangeOnline first): New-ServicePrincipal, then Add-MailboxPermission for the mailbox that sends.".to_owned(),
                    ]
                } else if switched_off {
                    vec![
                        "SMTP AUTH is switched off for the tenant or the mailbox: Set-CASMailbox MAILBOX -SmtpClientAuthenticationDisabled $false".to_owned(),
                        "Or move to the provider `microsoft-graph-direct`.".to_owned(),
                    ]
                } else {
                    let named = self.smtp.password.as_ref();
                    let seal =
                        named.map(|named| secret::seal(self.verifier.environment(), &named.secret, self.is_next));
                    let check = "Check user name and password with the server's administrator; some servers want an app password.";
                    std::iter::once(check.to_owned()).chain(seal).collect()
                };
                let id = Id::SmtpLogin;
                let mut finding = if is_transient(&error) {
                    Finding::unknown(id, LOGIN, "the server could not decide about the login")
                } else {
                    Finding::fail(id, LOGIN, format!("the login as {username} is refused"))
                };
                finding.level = Level::Credential;
                Err(Box::new(finding.seen(seen).expected("235").remedy(remedy)))
            }
        }
    }

    /// The token that logs in.
    async fn token(&mut self, oauth: &Oauth, secret: &Opened) -> Step<SecretString> {
        let endpoints = Endpoints::of(&oauth.cloud).map_err(|error| {
            Box::new(Finding::fail(Id::CloudHosts, "/provider/smtp/oauth/cloud", error.to_string()))
        })?;
        let again = format!("mailwright verify {} {}", self.verifier.environment(), self.subject.name);
        let applicant = Applicant {
            tenant: &oauth.tenant,
            client: &oauth.client,
            credential: &oauth.credential,
            secret,
            pointer: "/provider/smtp/oauth",
            again: &again,
            is_next: self.is_next,
            destination: self.subject.profile.provider.destination(),
        };
        self.findings.extend(applicant.certificate_end(self.verifier, &endpoints));
        let token = applicant
            .token(self.verifier, &endpoints, endpoints.exchange_scope())
            .await
            .map_err(|finding| Box::new(Finding { level: Level::Credential, ..finding }))?;
        let mut accepted = Finding::pass(Id::SignIn, "/provider/smtp/oauth", "the application can sign in");
        accepted.level = Level::Credential;
        self.findings.push(accepted);
        self.findings.extend(applicant.secret_end(self.verifier, &endpoints).await);
        Ok(token)
    }

    async fn sender(&mut self, client: &mut SmtpClient) -> Step<()> {
        let from = self.subject.profile.from_address().unwrap_or_default().to_owned();
        match accepted(client.command(&format!("MAIL FROM:<{from}>"), self.deadline()).await) {
            Ok(_) => self.pass(Id::SmtpSender, "/from/address", format!("{from} is accepted as sender")),
            Err(SmtpError::Silent(_)) => return Err(Box::new(self.silent(Id::SmtpSender, "MAIL FROM"))),
            Err(error) => {
                let message = format!("{from} is not accepted as sender");
                let finding = if is_transient(&error) {
                    Finding::unknown(Id::SmtpSender, "/from/address", message)
                } else {
                    Finding::fail(Id::SmtpSender, "/from/address", message)
                };
                return Err(Box::new(finding.seen(error.to_string()).expected("250").remedy([
                    "Some servers let a login send as its own address alone: give it the right to send as this one, or correct `from.address`.",
                    "A server that wants a login first says so here: add `username` and `password`.",
                ])));
            }
        }
        self.recipient(client, &from).await;
        // Whatever it says, the next command begins anew or the connection ends.
        drop(client.command("RSET", self.deadline()).await);
        Ok(())
    }

    /// Names the sender as a recipient: many servers say only then what they have against this machine, its name or its
    /// login. Whether the mailbox exists is not the question.
    async fn recipient(&mut self, client: &mut SmtpClient, from: &str) {
        let message = format!("the server does not accept mail from this machine as {from}");
        let error = match accepted(client.command(&format!("RCPT TO:<{from}>"), self.deadline()).await) {
            Ok(_) => {
                return self.pass(Id::SmtpRecipient, HOST, format!("a mail to {from} would be accepted"));
            }
            Err(SmtpError::Silent(_)) => {
                return self.findings.push(self.silent(Id::SmtpRecipient, "RCPT TO"));
            }
            Err(error) => error,
        };
        let meaning = match &error {
            SmtpError::Refused(reply) => Some(replies::smtp("rcpt", &reply.to_string())),
            _ => None,
        };
        let finding = if let Some(meaning) = meaning.filter(|meaning| meaning.class == Class::Auth) {
            let advice = advice("rcpt", &error).unwrap_or_else(|| "Ask the server's administrator.".to_owned());
            let mut finding = Finding::fail(Id::SmtpRecipient, HOST, message).remedy([advice]);
            // A server for one domain alone relays to no other, and may well be meant for mail to its own.
            if meaning.about == About::Relay {
                finding.message =
                    format!("the server does not relay to {from} for this machine, and perhaps to others neither");
                finding.severity = Severity::Warning;
            }
            finding
        } else {
            let message = format!("whether mail is accepted is not known: {from} is not accepted as recipient");
            let mut finding = Finding::unknown(Id::SmtpRecipient, HOST, message);
            // A sender without a mailbox is usual.
            finding.severity = Severity::Info;
            finding.remedy([
                "A mail to an address that exists decides. A sender needs no mailbox, but what bounces is lost then.",
            ])
        };
        self.findings.push(finding.seen(error.to_string()).expected("250"));
    }

    async fn probe(&mut self, client: &mut SmtpClient) -> Step<()> {
        let from = self.subject.profile.from_address().unwrap_or_default().to_owned();
        let failed = |visit: &Self, error: SmtpError| {
            Box::new(match error {
                SmtpError::Silent(_) => visit.silent(Id::SmtpProbe, "a mail to the sender itself"),
                error => Finding::fail(Id::SmtpProbe, HOST, "a mail to the sender itself is not taken")
                    .seen(error.to_string())
                    .expected("a positive reply"),
            })
        };
        for command in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{from}>")] {
            accepted(client.command(&command, self.deadline()).await).map_err(|error| failed(self, error))?;
        }
        match client.command("DATA", self.deadline()).await {
            Ok(reply) if reply.is_intermediate() => {}
            Ok(reply) => return Err(failed(self, SmtpError::Refused(reply))),
            Err(error) => return Err(failed(self, error)),
        }
        let mail = format!(
            "From: <{from}>\r\nTo: <{from}>\r\nSubject: Mailwright: a test of this mailbox\r\nDate: {}\r\nMessage-ID: <{}@mailwright.invalid>\r\n\r\nSomebody ran `mailwright verify --probe`. Nothing is to be done.\r\n",
            self.verifier.now().strftime("%a, %d %b %Y %H:%M:%S +0000"),
            uuid::Uuid::now_v7(),
        );
        let wait = self.deadline();
        let sent = client.send_data(mail.as_bytes(), DataDeadlines { whole: wait, part: wait, dot: wait }).await;
        let sent = sent.map_err(|error| match error {
            DataError::Incomplete(error) | DataError::InDoubt(error) => error,
        });
        accepted(sent).map_err(|error| failed(self, error))?;
        self.reached = Level::Probe;
        let mut finding =
            Finding::pass(Id::SmtpProbe, "/from/address", format!("a mail from {from} to itself was taken"));
        finding.level = Level::Probe;
        self.findings.push(finding);
        Ok(())
    }
}

/// A reply that is a success; every other one is an error.
fn accepted(reply: Result<Reply, SmtpError>) -> Result<Reply, SmtpError> {
    reply.and_then(|reply| if reply.is_success() { Ok(reply) } else { Err(SmtpError::Refused(reply)) })
}

/// Returns true for what may be over in a while, by itself.
fn is_transient(error: &SmtpError) -> bool {
    matches!(error, SmtpError::Refused(reply) if reply.is_transient())
}

/// What to do about a refusal, as the table of replies says.
fn advice(phase: &str, error: &SmtpError) -> Option<String> {
    let SmtpError::Refused(reply) = error else { return None };
    replies::smtp(phase, &reply.to_string()).remedy.map(|remedy| format!("{remedy}."))
}

/// What was seen in the reply to EHLO; where the server refuses that, it offers nothing, and its reply says why.
fn without_ehlo(capabilities: &Capabilities, seen: &str) -> String {
    capabilities.refused().map_or_else(|| seen.to_owned(), |reply| format!("{seen}; EHLO is refused: {reply}"))
}
