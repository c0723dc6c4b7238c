//! A mail server, up to the point where a mail would follow: name, connection, greeting, encryption, certificate,
//! login, sender. Each step has a deadline of its own, so a silent server costs seconds. Nothing is sent, unless a
//! probe was asked for.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use lettre::transport::smtp::{
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, TlsParameters},
    extension::{ClientId, ServerInfo},
    response::Response,
};
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{net::TcpStream, time::timeout};

use super::{Finding, Id, Level, Opened, Subject, Verifier, graph::Applicant, secret};
use crate::{
    credential::CredentialKind,
    microsoft::Endpoints,
    model::{
        Encryption,
        provider::{Oauth, Smtp},
    },
    smtp::{hello_name, log_in, newest_tls, said, tls, tls_error},
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

    /// A step with its deadline.
    async fn within<T>(
        &self,
        id: Id,
        what: &str,
        step: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, StepError> {
        match timeout(self.deadline(), step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(StepError::Smtp(error)),
            Err(_) => Err(StepError::Silent(Box::new(self.silent(id, what)))),
        }
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
        let hello = ClientId::Domain(hello_name());
        let mut connection = self.greeted(address, &hello).await?;
        let greeted = connection.server_info().name().to_owned();
        self.pass(Id::SmtpGreeting, HOST, format!("the server greets as {greeted}"));
        if self.smtp.encryption == Encryption::Starttls {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(Box::new(
                    Finding::fail(Id::SmtpStarttls, "/provider/smtp/encryption", "the server does not offer STARTTLS, and nothing is sent in clear")
                        .seen("EHLO without STARTTLS")
                        .expected("250-STARTTLS")
                        .remedy([
                            "Port 465 with `encryption: tls` where the server has it.",
                            "Or have the server's administrator enable STARTTLS. Somebody in between may have taken it out of the answer.",
                        ]),
                ));
            }
            self.pass(Id::SmtpStarttls, "/provider/smtp/encryption", "the server offers STARTTLS".to_owned());
            let tls = self.tls(false)?;
            if let Err(error) = self.within(Id::SmtpTls, "the TLS handshake", connection.starttls(tls, &hello)).await {
                return Err(self.tls_failed(error));
            }
        }
        if self.smtp.encryption == Encryption::None && crate::model::rules::is_loopback(&self.smtp.host) {
            self.pass(Id::SmtpInClear, "/provider/smtp/encryption", "in clear, and on this machine alone".to_owned());
        } else if self.smtp.encryption == Encryption::None {
            self.findings.push(
                Finding::fail(Id::SmtpInClear, "/provider/smtp/encryption", "mail travels to this server in clear")
                    .seen("encryption: none")
                    .expected("starttls or tls")
                    .remedy(["Use `encryption: starttls` where the server offers it; in clear is for a relay on this machine."]),
            );
        } else {
            self.certificate(&connection);
            let version = self.tls_version(address, &hello).await;
            self.pass(Id::SmtpTls, "/provider/smtp/encryption", format!("the connection is encrypted with {version}"));
        }
        let offers = self.offers(&mut connection, &hello).await?;
        self.login(&mut connection, &offers).await?;
        self.sender(&mut connection).await?;
        if self.verifier.options.probe && !self.is_next {
            self.probe(&mut connection).await?;
        }
        // The server's good-bye changes nothing any more.
        drop(timeout(self.deadline(), connection.quit()).await);
        Ok(())
    }

    async fn connect_somewhere(&mut self) -> Step<SocketAddr> {
        let host = self.smtp.host.trim_matches(['[', ']']);
        let found = timeout(self.deadline(), tokio::net::lookup_host((host, self.smtp.port))).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses.collect(),
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

    async fn greeted(&mut self, address: SocketAddr, hello: &ClientId) -> Step<AsyncSmtpConnection> {
        let tls = if self.smtp.encryption == Encryption::Tls { Some(self.tls(false)?) } else { None };
        let with_tls = tls.is_some();
        let connect = AsyncSmtpConnection::connect_tokio1(address, Some(self.deadline()), hello, tls, None);
        match self.within(Id::SmtpGreeting, "its greeting", connect).await {
            Ok(connection) => Ok(connection),
            Err(StepError::Silent(finding)) => Err(finding),
            Err(StepError::Smtp(error)) if with_tls && tls_error(&error).is_some() => {
                Err(self.tls_failed(StepError::Smtp(error)))
            }
            Err(StepError::Smtp(error)) => Err(Box::new(
                Finding::fail(
                    Id::SmtpGreeting,
                    HOST,
                    "the server does not greet as a mail server, or refuses this machine",
                )
                .seen(said(&error))
                .expected("220, then 250 to EHLO")
                .remedy([
                    format!("nc {} {}", self.smtp.host, self.smtp.port),
                    "554 and 421 here mean that the server refuses this machine's address; ask its administrator."
                        .to_owned(),
                ]),
            )),
        }
    }

    /// Which version of TLS the two agree on. The library does not tell, so that a second connection, on which nothing is
    /// said but this, takes the newest one or does not come about.
    async fn tls_version(&self, address: SocketAddr, hello: &ClientId) -> &'static str {
        const NOT_TOLD_APART: &str = "TLS 1.2 or 1.3";
        let authorities = self.verifier.options.http.authorities.as_deref();
        let Ok(newest) = newest_tls(&self.smtp.host, authorities) else { return NOT_TOLD_APART };
        let (at_once, later) = match self.smtp.encryption {
            Encryption::Tls => (Some(newest), None),
            _ => (None, Some(newest)),
        };
        let connect = async {
            let wait = Some(self.deadline());
            let mut connection = AsyncSmtpConnection::connect_tokio1(address, wait, hello, at_once, None).await?;
            if let Some(tls) = later {
                connection.starttls(tls, hello).await?;
            }
            connection.abort().await;
            Ok(())
        };
        match timeout(self.deadline(), connect).await {
            Ok(Ok(())) => "TLS 1.3",
            Ok(Err(error)) if tls_error(&error).is_some_and(|error| is_too_old(&error)) => "TLS 1.2",
            _ => NOT_TOLD_APART,
        }
    }

    fn tls(&self, blind: bool) -> Step<TlsParameters> {
        let authorities = self.verifier.options.http.authorities.as_deref();
        tls(&self.smtp.host, authorities, blind).map_err(|error| {
            Box::new(Finding::unknown(Id::SmtpTls, BASE, "TLS could not be set up here").seen(error.to_string()))
        })
    }

    fn tls_failed(&self, error: StepError) -> Box<Finding> {
        let error = match error {
            StepError::Silent(finding) => return finding,
            StepError::Smtp(error) => error,
        };
        let host = &self.smtp.host;
        let s_client = format!(
            "openssl s_client -connect {host}:{} -servername {host}{} </dev/null",
            self.smtp.port,
            if self.smtp.encryption == Encryption::Starttls { " -starttls smtp" } else { "" }
        );
        let Some(tls) = tls_error(&error) else {
            return Box::new(
                Finding::fail(Id::SmtpTls, "/provider/smtp/encryption", "the connection cannot be encrypted")
                    .seen(said(&error))
                    .expected("TLS 1.2 or 1.3")
                    .remedy([s_client, "`tls` is for port 465, `starttls` for 587: check both.".to_owned()]),
            );
        };
        let finding = match &tls {
            TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                let until = match &tls {
                    TlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
                        let seconds = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
                        Timestamp::from_second(seconds).map_or_else(|_| "long ago".to_owned(), |at| at.to_string())
                    }
                    _ => "an earlier day".to_owned(),
                };
                Finding::fail(Id::SmtpCertificateExpired, HOST, "the server's certificate has expired")
                    .seen(format!("valid until {until}"))
                    .expected("a certificate that is valid")
                    .remedy(["Have the server's administrator renew it.".to_owned(), s_client])
            }
            TlsError::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => Finding::fail(
                Id::SmtpCertificate,
                HOST,
                "the server's certificate is not valid yet, or this machine's clock is behind",
            )
            .seen(tls.to_string())
            .expected("a certificate that is valid")
            .remedy([s_client, "timedatectl status".to_owned()]),
            TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => {
                let names = match &tls {
                    TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
                        presented.join(", ")
                    }
                    _ => "other names".to_owned(),
                };
                Finding::fail(Id::SmtpCertificateName, HOST, format!("the server's certificate is not for {host}"))
                    .seen(format!("names in it: {names}"))
                    .expected(host.clone())
                    .remedy(["Write `host` as one of these names if that is the server meant; otherwise have the certificate replaced.".to_owned(), s_client])
            }
            TlsError::InvalidCertificate(other) => Finding::fail(
                Id::SmtpCertificate,
                HOST,
                "the server's certificate is not trusted",
            )
            .seen(format!("{other:?}").chars().take(200).collect::<String>())
            .expected("a chain to an authority that this machine trusts")
            .remedy([
                "The server must send its intermediate certificates.".to_owned(),
                "An authority of your own: `--outgoing-ca-file FILE`, for `mailwright serve` or with `--local`."
                    .to_owned(),
                s_client,
            ]),
            old if is_too_old(old) => Finding::fail(
                Id::SmtpTls,
                HOST,
                "the server offers only versions or ciphers of TLS that are no longer safe",
            )
            .seen(tls.to_string())
            .expected("TLS 1.2 or 1.3")
            .remedy([s_client]),
            other => Finding::fail(Id::SmtpTls, "/provider/smtp/encryption", "what answers does not speak TLS")
                .seen(other.to_string().chars().take(200).collect::<String>())
                .expected("TLS 1.2 or 1.3")
                .remedy(["`tls` is for port 465, `starttls` for 587: check both.".to_owned(), s_client]),
        };
        Box::new(finding)
    }

    fn certificate(&mut self, connection: &AsyncSmtpConnection) {
        let Ok(der) = connection.peer_certificate() else { return };
        let end =
            x509_parser::parse_x509_certificate(&der).ok().map(|(_, found)| found.validity().not_after.timestamp());
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

    /// What the server says to EHLO, read as it stands: mechanisms that no library knows included.
    async fn offers(&mut self, connection: &mut AsyncSmtpConnection, hello: &ClientId) -> Step<Offers> {
        let asked = self.within(Id::SmtpGreeting, "EHLO", connection.command(format!("EHLO {hello}\r\n"))).await;
        let offers = match asked {
            Ok(response) => Offers::read(&response),
            // Some (OpenSMTPD) do not say it twice; then only what lettre kept is known.
            Err(StepError::Smtp(error)) if error.status().is_some() => Offers::of(connection.server_info()),
            Err(error) => return Err(error.into_finding(Id::SmtpGreeting, "the server does not answer EHLO")),
        };
        match offers.size {
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
        Ok(offers)
    }

    async fn login(&mut self, connection: &mut AsyncSmtpConnection, offers: &Offers) -> Step<()> {
        let Some(username) = &self.smtp.username else { return Ok(()) };
        let known: &[(&str, Mechanism)] = match &self.smtp.oauth {
            None => &[("PLAIN", Mechanism::Plain), ("LOGIN", Mechanism::Login)],
            Some(_) => &[("XOAUTH2", Mechanism::Xoauth2)],
        };
        let mechanisms: Vec<Mechanism> = known
            .iter()
            .filter(|(name, _)| offers.mechanisms.iter().any(|offered| offered == name))
            .map(|(_, mechanism)| *mechanism)
            .collect();
        if mechanisms.is_empty() {
            let seen = if offers.mechanisms.is_empty() {
                "no AUTH".to_owned()
            } else {
                format!("AUTH {}", offers.mechanisms.join(" "))
            };
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
        self.pass(Id::SmtpAuth, LOGIN, format!("the server offers AUTH {}", offers.mechanisms.join(" ")));
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
        let credentials = Credentials::new(username.clone(), password.expose_secret().to_owned());
        let answered = self.within(Id::SmtpLogin, "the login", log_in(connection, mechanisms[0], &credentials)).await;
        match answered {
            Ok(_) => {
                self.reached = Level::Credential;
                let mut finding = Finding::pass(Id::SmtpLogin, LOGIN, format!("the login as {username} is accepted"));
                finding.level = Level::Credential;
                self.findings.push(finding);
                Ok(())
            }
            Err(StepError::Silent(finding)) => Err(finding),
            Err(StepError::Smtp(error)) => {
                self.reached = Level::Credential;
                let seen = said(&error).replace(password.expose_secret(), "…");
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
                let mut finding = if error.is_transient() {
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

    async fn sender(&mut self, connection: &mut AsyncSmtpConnection) -> Step<()> {
        let from = self.subject.profile.from_address().unwrap_or_default().to_owned();
        let asked =
            self.within(Id::SmtpSender, "MAIL FROM", connection.command(format!("MAIL FROM:<{from}>\r\n"))).await;
        match asked {
            Ok(_) => {
                self.pass(Id::SmtpSender, "/from/address", format!("{from} is accepted as sender"));
                // Whatever it says, the next command begins anew or the connection ends.
                drop(timeout(self.deadline(), connection.command("RSET\r\n")).await);
                Ok(())
            }
            Err(StepError::Silent(finding)) => Err(finding),
            Err(StepError::Smtp(error)) => {
                let message = format!("{from} is not accepted as sender");
                let finding = if error.is_transient() {
                    Finding::unknown(Id::SmtpSender, "/from/address", message)
                } else {
                    Finding::fail(Id::SmtpSender, "/from/address", message)
                };
                Err(Box::new(finding.seen(said(&error)).expected("250").remedy([
                    "Some servers let a login send as its own address alone: give it the right to send as this one, or correct `from.address`.",
                    "A server that wants a login first says so here: add `username` and `password`.",
                ])))
            }
        }
    }

    async fn probe(&mut self, connection: &mut AsyncSmtpConnection) -> Step<()> {
        let from = self.subject.profile.from_address().unwrap_or_default().to_owned();
        let failed = |error: StepError| error.into_finding(Id::SmtpProbe, "a mail to the sender itself is not taken");
        for command in [format!("MAIL FROM:<{from}>\r\n"), format!("RCPT TO:<{from}>\r\n"), "DATA\r\n".to_owned()] {
            self.within(Id::SmtpProbe, "a mail to the sender itself", connection.command(command))
                .await
                .map_err(failed)?;
        }
        let mail = format!(
            "From: <{from}>\r\nTo: <{from}>\r\nSubject: Mailwright: a test of this mailbox\r\nDate: {}\r\nMessage-ID: <{}@mailwright.invalid>\r\n\r\nSomebody ran `mailwright verify --probe`. Nothing is to be done.\r\n",
            self.verifier.now().strftime("%a, %d %b %Y %H:%M:%S +0000"),
            uuid::Uuid::now_v7(),
        );
        self.within(Id::SmtpProbe, "a mail to the sender itself", connection.message(mail.as_bytes()))
            .await
            .map_err(failed)?;
        self.reached = Level::Probe;
        let mut finding =
            Finding::pass(Id::SmtpProbe, "/from/address", format!("a mail from {from} to itself was taken"));
        finding.level = Level::Probe;
        self.findings.push(finding);
        Ok(())
    }
}

/// Whether the two have no version of TLS in common.
fn is_too_old(error: &TlsError) -> bool {
    matches!(error, TlsError::AlertReceived(AlertDescription::ProtocolVersion) | TlsError::PeerIncompatible(_))
}

enum StepError {
    Silent(Box<Finding>),
    Smtp(lettre::transport::smtp::Error),
}

impl StepError {
    fn into_finding(self, id: Id, message: &str) -> Box<Finding> {
        match self {
            Self::Silent(finding) => finding,
            Self::Smtp(error) => {
                Box::new(Finding::fail(id, HOST, message).seen(said(&error)).expected("a positive reply"))
            }
        }
    }
}

#[derive(Debug, Default)]
struct Offers {
    mechanisms: Vec<String>,
    size: Option<u64>,
}

impl Offers {
    fn read(response: &Response) -> Self {
        let mut offers = Self::default();
        for line in response.message() {
            let mut words = line.split_whitespace();
            match words.next().map(str::to_ascii_uppercase).as_deref() {
                Some("AUTH") => offers.mechanisms.extend(words.map(str::to_ascii_uppercase)),
                Some("SIZE") => offers.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
                _ => {}
            }
        }
        offers.mechanisms.dedup();
        offers
    }

    fn of(server: &ServerInfo) -> Self {
        let known = [("PLAIN", Mechanism::Plain), ("LOGIN", Mechanism::Login), ("XOAUTH2", Mechanism::Xoauth2)];
        let offered = known.into_iter().filter(|(_, mechanism)| server.supports_auth_mechanism(*mechanism));
        Self { mechanisms: offered.map(|(name, _)| name.to_owned()).collect(), size: None }
    }
}
