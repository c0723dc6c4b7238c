//! Logins: AUTH PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login) and XOAUTH2 (Microsoft's and Google's), over RFC
//! 4954.
//!
//! LOGIN is answered by the order of the challenges. Servers use different texts for them, and the draft asks
//! clients not to read them.
//!
//! A refused login is returned and not repeated; the next mechanism is tried only if the server does not implement the one before
//! (500, 501, 502 or 504). An empty list of mechanisms is an error and not a success without a login.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{
    Capabilities, Reply,
    client::{SmtpClient, SmtpError},
};

/// Credentials for a mail server.
#[derive(Debug)]
pub(crate) enum Login {
    /// No login.
    None,
    /// A user name and a password.
    Password { username: String, password: SecretString },
    /// A user name and an access token.
    Token { username: String, token: SecretString },
}

/// A login mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    Login,
    Xoauth2,
}

impl Mechanism {
    /// Returns the name that servers use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Xoauth2 => "XOAUTH2",
        }
    }
}

impl Login {
    /// Returns the mechanisms for these credentials, the preferred one first.
    pub(crate) fn mechanisms(&self) -> &'static [Mechanism] {
        match self {
            Self::None => &[],
            Self::Password { .. } => &[Mechanism::Plain, Mechanism::Login],
            Self::Token { .. } => &[Mechanism::Xoauth2],
        }
    }

    /// Returns the mechanisms for these credentials that a server offers.
    pub(crate) fn offered(&self, capabilities: &Capabilities) -> Vec<Mechanism> {
        let offers = |mechanism: &&Mechanism| capabilities.mechanisms().iter().any(|own| own == mechanism.name());
        self.mechanisms().iter().filter(offers).copied().collect()
    }

    /// Returns the password or token.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.parts().map(|(_, secret)| secret)
    }

    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::None => None,
            Self::Password { username, password: secret } | Self::Token { username, token: secret } => {
                Some((username, secret.expose_secret()))
            }
        }
    }
}

impl SmtpClient {
    /// Logs in by the first mechanism. The next one is tried only if the server does not implement the one before; a
    /// login that was refused is not repeated. The secret is hidden in this and every later reply of the connection.
    pub(crate) async fn log_in(
        &mut self,
        login: &Login,
        mechanisms: &[Mechanism],
        wait: Duration,
    ) -> Result<(), SmtpError> {
        let Some((username, secret)) = login.parts() else { return Ok(()) };
        self.hide_secret(secret);
        let mut last = None;
        for mechanism in mechanisms {
            let response = Zeroizing::new(match mechanism {
                Mechanism::Plain => encode_base64(&format!("\0{username}\0{secret}")),
                Mechanism::Login => encode_base64(secret),
                Mechanism::Xoauth2 => encode_base64(&format!("user={username}\u{1}auth=Bearer {secret}\u{1}\u{1}")),
            });
            let reply = match mechanism {
                Mechanism::Plain => self.auth_plain(&response, wait).await,
                Mechanism::Login => self.auth_login(username, &response, wait).await,
                Mechanism::Xoauth2 => self.auth_xoauth2(&response, wait).await,
            }?;
            if reply.is_success() {
                return Ok(());
            }
            let is_unknown = matches!(reply.code(), 500 | 501 | 502 | 504);
            last = Some(reply);
            if !is_unknown || self.is_broken() {
                break;
            }
        }
        match last {
            Some(reply) => Err(SmtpError::Refused(reply)),
            None => Err(SmtpError::NoMechanism),
        }
    }

    async fn auth_plain(&mut self, response: &str, wait: Duration) -> Result<Reply, SmtpError> {
        let reply = self.command(&Zeroizing::new(format!("AUTH PLAIN {response}")), wait).await?;
        if reply.code() != 334 {
            return Ok(reply);
        }
        // The server does not accept an initial response, and asks for it.
        let reply = self.command(response, wait).await?;
        self.cancel_if_pending(reply, wait).await
    }

    async fn auth_login(&mut self, username: &str, response: &str, wait: Duration) -> Result<Reply, SmtpError> {
        let mut reply = self.command("AUTH LOGIN", wait).await?;
        for answer in [&encode_base64(username), response] {
            if reply.code() != 334 {
                return Ok(reply);
            }
            reply = self.command(answer, wait).await?;
        }
        self.cancel_if_pending(reply, wait).await
    }

    async fn auth_xoauth2(&mut self, response: &str, wait: Duration) -> Result<Reply, SmtpError> {
        let mut reply = self.command(&Zeroizing::new(format!("AUTH XOAUTH2 {response}")), wait).await?;
        if reply.code() == 334 && challenge(&reply).is_empty() {
            reply = self.command(response, wait).await?;
        }
        if reply.code() != 334 {
            return Ok(reply);
        }
        // A server that does not accept a token sends the reason in a challenge, and refuses after an empty response.
        let why = BASE64_STANDARD.decode(challenge(&reply)).unwrap_or_default();
        let mut reply = self.command("", wait).await?;
        if !reply.is_success() && !why.is_empty() {
            self.extend_reply(&mut reply, &String::from_utf8_lossy(&why));
        }
        self.cancel_if_pending(reply, wait).await
    }

    /// Cancels the login if the server asks for more than the mechanism has. The reply to that is the result.
    async fn cancel_if_pending(&mut self, reply: Reply, wait: Duration) -> Result<Reply, SmtpError> {
        if reply.code() == 334 { self.command("*", wait).await } else { Ok(reply) }
    }
}

fn challenge(reply: &Reply) -> &str {
    reply.lines().next().unwrap_or_default()
}

fn encode_base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_mechanism_is_no_login() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wait = Duration::from_secs(60);
        let mut client = SmtpClient::connect(listener.local_addr().unwrap(), None, wait).await.unwrap();
        let login = Login::Password { username: "erp".to_owned(), password: "secret".to_owned().into() };
        assert!(matches!(client.log_in(&login, &[], wait).await, Err(SmtpError::NoMechanism)));
        assert!(client.log_in(&Login::None, &[], wait).await.is_ok(), "a profile without a login");
    }
}
