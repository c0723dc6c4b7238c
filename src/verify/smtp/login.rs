//! Login to a mail server: with a password, or with a token that the application gets from Microsoft.
//!
//! Methods of [`Session`]. A server that offers no suitable mechanism gets no credential. A refusal becomes a finding by the
//! meaning of its reply. Without a user the login is left out; a password that cannot be opened is a finding, and the checks go
//! on without login. A token that Microsoft does not issue ends them, as a refusal does.

use secrecy::{ExposeSecret as _, SecretString};

use super::{ENCRYPTION, LOGIN, Session, Step, advice, is_transient, without_ehlo};
use crate::{
    credential::CredentialKind,
    entra::Endpoints,
    model::{
        finding::{Finding, Level},
        finding_id::FindingId,
        provider::Oauth,
    },
    replies::{self, ProfileFault},
    smtp::{
        client::{SmtpClient, SmtpError},
        login::Login,
    },
    verify::{
        graph::ApplicationLogin,
        secret::{self, SubjectSecret},
    },
};

/// Returns the finding for a password that Exchange Online will stop accepting.
pub(super) fn basic_auth() -> Finding {
    Finding::fail(FindingId::SmtpBasicAuth, LOGIN, "Exchange Online stops accepting passwords for SMTP")
        .seen("a password for a host of Exchange Online")
        .expected("Microsoft Graph, OAuth, or High Volume Email")
        .remedy([
            "End of December 2026: off by default for existing tenants; an administrator can switch it on again.",
            "New tenants after that: not available by default. Second half of 2027: Microsoft announces the day of the end.",
            "Move to the provider `microsoft-graph-direct`. Afterwards the server answers: 550 5.7.30 Basic authentication is not supported for Client Submission.",
        ])
}

impl Session<'_> {
    /// Logs in, if the profile names a user.
    pub(super) async fn login(&mut self, client: &mut SmtpClient) -> Step<()> {
        let Some(username) = &self.smtp.username else { return Ok(()) };
        let usable: &[&str] = if self.smtp.oauth.is_some() { &["XOAUTH2"] } else { &["PLAIN", "LOGIN"] };
        let capabilities = client.capabilities();
        let offered = capabilities.mechanisms().join(" ");
        if !capabilities.mechanisms().iter().any(|own| usable.contains(&own.as_str())) {
            let seen = if offered.is_empty() { "no AUTH".to_owned() } else { format!("AUTH {offered}") };
            let seen = without_ehlo(capabilities, &seen);
            return Err(Box::new(
                Finding::fail(
                    FindingId::SmtpAuth,
                    LOGIN,
                    match self.smtp.oauth {
                        None => "the server offers no login mechanism for a password",
                        Some(_) => "the server offers no login mechanism for a token",
                    },
                )
                    .seen(seen)
                    .expected(if self.smtp.oauth.is_none() { "AUTH PLAIN or LOGIN" } else { "AUTH XOAUTH2" })
                    .remedy(["Logins are often offered on 587 and 465 alone, and only once encrypted: check `port` and `encryption`. Without a login, remove `username` and `password`."]),
            ));
        }
        self.pass(FindingId::SmtpAuth, LOGIN, format!("the server offers AUTH {offered}"));
        let token;
        let password = match (&self.smtp.oauth, self.secret) {
            (Some(oauth), secret) => {
                token = self.token(oauth, secret).await?;
                &token
            }
            (None, opened) => {
                let seal_command = self.seal_command().unwrap_or_default();
                match opened.value_for(CredentialKind::Password, LOGIN, &seal_command) {
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
                let mut finding =
                    Finding::pass(FindingId::SmtpLogin, LOGIN, format!("the login as {username} is accepted"));
                finding.level = Level::Credential;
                self.findings.push(finding);
                Ok(())
            }
            Err(SmtpError::Timeout(_)) => Err(Box::new(self.timed_out(FindingId::SmtpLogin, "the login"))),
            Err(error) => {
                self.reached = Level::Credential;
                Err(Box::new(self.login_refused(&error, &username)))
            }
        }
    }

    /// Returns the finding for a login that was refused.
    fn login_refused(&self, error: &SmtpError, username: &str) -> Finding {
        let seen = error.to_string();
        let fault = match error {
            SmtpError::Refused(reply) => replies::classify_smtp("login", &reply.to_string()).fault,
            _ => None,
        };
        if fault == Some(ProfileFault::Encryption) {
            let remedy =
                advice("login", error).unwrap_or_else(|| "Set `encryption: starttls` or `encryption: tls`.".to_owned());
            let message = "the server accepts a login over an encrypted connection only";
            return Finding::fail(FindingId::SmtpLogin, ENCRYPTION, message)
                .seen(seen)
                .expected("235")
                .remedy([remedy]);
        }
        let is_switched_off = seen.contains("5.7.139") || seen.contains("5.7.30");
        let remedy = if self.smtp.oauth.is_some() {
            vec![
                "The application needs SMTP.SendAsApp (Office 365 Exchange Online) with consent, or the role in Exchange alone.".to_owned(),
                "In PowerShell (Connect-ExchangeOnline first): New-ServicePrincipal, then Add-MailboxPermission for the mailbox that sends.".to_owned(),
            ]
        } else if is_switched_off {
            vec![
                "SMTP AUTH is switched off for the tenant or the mailbox: Set-CASMailbox MAILBOX -SmtpClientAuthenticationDisabled $false".to_owned(),
                "Or move to the provider `microsoft-graph-direct`.".to_owned(),
            ]
        } else {
            let check =
                "Check user name and password with the server's administrator; some servers want an app password.";
            std::iter::once(check.to_owned()).chain(self.seal_command()).collect()
        };
        let mut finding = if is_transient(error) {
            Finding::unknown(FindingId::SmtpLogin, LOGIN, "the server deferred the login")
        } else {
            Finding::fail(FindingId::SmtpLogin, LOGIN, format!("the login as {username} is refused"))
        };
        finding.level = Level::Credential;
        finding.seen(seen).expected("235").remedy(remedy)
    }

    /// Returns the command that seals another password, if the profile has one.
    fn seal_command(&self) -> Option<String> {
        let reference = &self.smtp.password.as_ref()?.secret;
        Some(secret::seal_command(self.verifier.environment(), reference, self.is_next))
    }

    /// Signs in at Microsoft, and returns the token that logs in.
    async fn token(&mut self, oauth: &Oauth, secret: &SubjectSecret) -> Step<SecretString> {
        let endpoints = Endpoints::for_cloud(&oauth.cloud).map_err(|error| {
            Box::new(Finding::fail(FindingId::CloudHosts, "/provider/smtp/oauth/cloud", error.to_string()))
        })?;
        let verify_command = format!("mailwright verify {} {}", self.verifier.environment(), self.subject.name);
        let login = ApplicationLogin {
            tenant: &oauth.tenant,
            client: &oauth.client,
            credential: &oauth.credential,
            secret,
            pointer: "/provider/smtp/oauth",
            verify_command: &verify_command,
            is_next: self.is_next,
            destination: self.subject.profile.provider.destination(),
        };
        self.findings.extend(login.certificate_expiry(self.verifier, &endpoints));
        let token = login
            .token(self.verifier, &endpoints, endpoints.exchange_scope())
            .await
            .map_err(|finding| Box::new(Finding { level: Level::Credential, ..finding }))?;
        let mut accepted = Finding::pass(FindingId::SignIn, "/provider/smtp/oauth", "the application can sign in");
        accepted.level = Level::Credential;
        self.findings.push(accepted);
        self.findings.extend(login.secret_expiry(self.verifier, &endpoints).await);
        Ok(token)
    }
}
