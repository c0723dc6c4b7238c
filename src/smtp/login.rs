//! Logins: AUTH PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login) and XOAUTH2 (Microsoft's and Google's), over RFC 4954.
//!
//! LOGIN is answered by the order of the challenges, whatever they say: servers word them as they like, and the draft asks
//! clients not to read them.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{
    Capabilities, Reply,
    client::{SmtpClient, SmtpError},
};

/// What proves who sends.
#[derive(Debug)]
pub(crate) enum Login {
    /// No login.
    Nobody,
    /// A user name and a password.
    Password { username: String, password: SecretString },
    /// A user name and an access token.
    Token { username: String, token: SecretString },
}

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    Login,
    Xoauth2,
}

impl Mechanism {
    /// As servers name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Xoauth2 => "XOAUTH2",
        }
    }
}

impl Login {
    /// The mechanisms that carry it, the preferred one first.
    pub(crate) fn mechanisms(&self) -> &'static [Mechanism] {
        match self {
            Self::Nobody => &[],
            Self::Password { .. } => &[Mechanism::Plain, Mechanism::Login],
            Self::Token { .. } => &[Mechanism::Xoauth2],
        }
    }

    /// The mechanisms that carry it and that a server offers.
    pub(crate) fn offered(&self, capabilities: &Capabilities) -> Vec<Mechanism> {
        let offers = |mechanism: &&Mechanism| capabilities.mechanisms().iter().any(|own| own == mechanism.name());
        self.mechanisms().iter().filter(offers).copied().collect()
    }

    /// The password or token.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.parts().map(|(_, secret)| secret)
    }

    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Nobody => None,
            Self::Password { username, password: secret } | Self::Token { username, token: secret } => {
                Some((username, secret.expose_secret()))
            }
        }
    }
}

impl SmtpClient {
    /// Logs in by the first of the mechanisms. Another one is tried only if the server does not know it after all; a
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
                Mechanism::Plain => encoded(&format!("\0{username}\0{secret}")),
                Mechanism::Login => encoded(secret),
                Mechanism::Xoauth2 => encoded(&format!("user={username}\u{1}auth=Bearer {secret}\u{1}\u{1}")),
            });
            let reply = match mechanism {
                Mechanism::Plain => self.plain(&response, wait).await,
                Mechanism::Login => self.login(username, &response, wait).await,
                Mechanism::Xoauth2 => self.xoauth2(&response, wait).await,
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
            None => Ok(()),
        }
    }

    async fn plain(&mut self, response: &str, wait: Duration) -> Result<Reply, SmtpError> {
        let reply = self.command(&Zeroizing::new(format!("AUTH PLAIN {response}")), wait).await?;
        if reply.code() != 334 {
            return Ok(reply);
        }
        // The server does not take it with the command, and asks for it.
        let reply = self.command(response, wait).await?;
        self.end(reply, wait).await
    }

    async fn login(&mut self, username: &str, response: &str, wait: Duration) -> Result<Reply, SmtpError> {
        let mut reply = self.command("AUTH LOGIN", wait).await?;
        for answer in [&encoded(username), response] {
            if reply.code() != 334 {
                return Ok(reply);
            }
            reply = self.command(answer, wait).await?;
        }
        self.end(reply, wait).await
    }

    async fn xoauth2(&mut self, response: &str, wait: Duration) -> Result<Reply, SmtpError> {
        let mut reply = self.command(&Zeroizing::new(format!("AUTH XOAUTH2 {response}")), wait).await?;
        if reply.code() == 334 && challenge(&reply).is_empty() {
            reply = self.command(response, wait).await?;
        }
        if reply.code() != 334 {
            return Ok(reply);
        }
        // A server that does not accept a token says why in a challenge, and refuses when that is answered with nothing.
        let why = BASE64_STANDARD.decode(challenge(&reply)).unwrap_or_default();
        let mut reply = self.command("", wait).await?;
        if !reply.is_success() && !why.is_empty() {
            self.extend_reply(&mut reply, &String::from_utf8_lossy(&why));
        }
        self.end(reply, wait).await
    }

    /// A server that asks for more than there is: the login is called off, and its answer to that is the answer.
    async fn end(&mut self, reply: Reply, wait: Duration) -> Result<Reply, SmtpError> {
        if reply.code() == 334 { self.command("*", wait).await } else { Ok(reply) }
    }
}

fn challenge(reply: &Reply) -> &str {
    reply.lines().next().unwrap_or_default()
}

fn encoded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}
