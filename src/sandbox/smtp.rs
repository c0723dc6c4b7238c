//! Mail server of the sandbox: STARTTLS or TLS, AUTH LOGIN and XOAUTH2, DATA and BDAT, one mail after the other.
//!
//! [`serve`] accepts connections until the sandbox ends. Users, refusals and faults are those of the scenario. Accepted mail is
//! kept in memory and not forwarded. A line over 64 KiB or a mail over 40 MiB ends the connection.
//!
//! Extensions and replies are those of Exchange Online, as conversations with smtp.office365.com show them (one of 2025-11-23,
//! and one logged by `Net::SMTP`): the extensions in its order, no AUTH PLAIN, and a sender without the right Send As is refused
//! after the contents. The refusal of a large message (552 5.3.4) is from Microsoft's list of non-delivery reports.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{Sandbox, Scenario, SentMail, faults::Fault, scenario::Smtp};

/// The commands that a fault can apply to, with the name of their phase. `greeting` and `dot` are phases, too.
const PHASES: &[(&str, &str)] = &[
    ("EHLO", "ehlo"),
    ("HELO", "ehlo"),
    ("STARTTLS", "starttls"),
    ("AUTH", "auth"),
    ("MAIL", "mail"),
    ("RCPT", "rcpt"),
    ("DATA", "data"),
];

/// The longest line, in bytes.
const LINE_LIMIT: usize = 64 * 1024;
/// The largest mail, in bytes.
const MAIL_LIMIT: usize = 40 * 1024 * 1024;

/// The refusal of a mail over the limit.
const TOO_LARGE: &str = "552 5.3.4 Message size exceeds fixed maximum message size";

/// Accepts connections until the sandbox ends. `implicit` means TLS from the first byte.
pub(super) async fn serve(sandbox: Arc<Sandbox>, listener: TcpListener, tls: TlsAcceptor, implicit: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        let (sandbox, tls) = (Arc::clone(&sandbox), tls.clone());
        tokio::spawn(async move {
            if sandbox.scenario().smtp.silent {
                tokio::time::sleep(std::time::Duration::from_secs(600)).await;
                return;
            }
            // An error of a connection ends only that connection.
            drop(serve_connection(&sandbox, stream, &tls, implicit).await);
        });
    }
}

async fn serve_connection(
    sandbox: &Sandbox,
    stream: TcpStream,
    tls: &TlsAcceptor,
    implicit: bool,
) -> std::io::Result<()> {
    if implicit {
        return Session::new(sandbox, true)
            .serve_commands(BufReader::new(tls.accept(stream).await?), true)
            .await
            .map(drop);
    }
    let mut session = Session::new(sandbox, false);
    if let Some(plain) = session.serve_commands(BufReader::new(stream), true).await? {
        session.encrypted = true;
        session.user = None;
        let encrypted = tls.accept(plain.into_inner()).await?;
        session.serve_commands(BufReader::new(encrypted), false).await?;
    }
    Ok(())
}

/// The effect of a fault on a phase of a session.
#[derive(PartialEq)]
enum Injected {
    /// There is none, or only a delay: the phase continues.
    Nothing,
    /// The reply was sent instead of the usual one.
    Replied,
    /// The connection ends.
    Closed,
}

struct Session<'a> {
    sandbox: &'a Sandbox,
    encrypted: bool,
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
    /// The contents that came by BDAT so far.
    chunks: Vec<u8>,
}

impl<'a> Session<'a> {
    fn new(sandbox: &'a Sandbox, encrypted: bool) -> Self {
        Self { sandbox, encrypted, user: None, from: None, to: Vec::new(), chunks: Vec::new() }
    }

    /// Serves a connection until it ends, or until STARTTLS: then the stream is returned.
    async fn serve_commands<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        mut stream: BufReader<S>,
        greets: bool,
    ) -> std::io::Result<Option<BufReader<S>>> {
        if greets {
            if self.inject(&mut stream, "greeting").await? != Injected::Nothing {
                return Ok(None);
            }
            reply(&mut stream, "220 sandbox.invalid ESMTP Mailwright sandbox").await?;
        }
        loop {
            let Some(line) = read_line(&mut stream).await? else { return Ok(None) };
            let upper = line.to_ascii_uppercase();
            let verb = upper.split_whitespace().next().unwrap_or_default();
            if let Some((_, phase)) = PHASES.iter().find(|(of, _)| *of == verb) {
                match self.inject(&mut stream, phase).await? {
                    Injected::Nothing => {}
                    Injected::Replied => continue,
                    Injected::Closed => return Ok(None),
                }
            }
            let scenario = self.sandbox.scenario();
            let smtp = &scenario.smtp;
            match verb {
                "HELO" => reply(&mut stream, "250 sandbox.invalid Hello [127.0.0.1]").await?,
                "EHLO" => {
                    let mut lines = vec![
                        "sandbox.invalid Hello [127.0.0.1]".to_owned(),
                        format!("SIZE {}", size_limit(smtp)),
                        "PIPELINING".to_owned(),
                        "DSN".to_owned(),
                        "ENHANCEDSTATUSCODES".to_owned(),
                    ];
                    if !self.encrypted && !smtp.no_starttls {
                        lines.push("STARTTLS".to_owned());
                    }
                    let by_token = scenario
                        .tenants
                        .iter()
                        .flat_map(|tenant| &tenant.applications)
                        .any(|application| application.granted.iter().any(|role| role == "SMTP.SendAsApp"));
                    let mut mechanisms = Vec::new();
                    if !smtp.users.is_empty() {
                        mechanisms.push("LOGIN");
                    }
                    if by_token {
                        mechanisms.push("XOAUTH2");
                    }
                    if self.encrypted && !mechanisms.is_empty() {
                        lines.push(format!("AUTH {}", mechanisms.join(" ")));
                    }
                    lines.extend(["8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8"].map(str::to_owned));
                    let last = lines.len() - 1;
                    for (index, line) in lines.iter().enumerate() {
                        reply(&mut stream, &format!("250{}{line}", if index == last { " " } else { "-" })).await?;
                    }
                }
                "STARTTLS" if !self.encrypted && !smtp.no_starttls => {
                    reply(&mut stream, "220 2.0.0 SMTP server ready").await?;
                    return Ok(Some(stream));
                }
                "AUTH" => self.auth(&mut stream, &line).await?,
                "MAIL" if smtp.requires_login && self.user.is_none() => {
                    reply(&mut stream, "530 5.7.57 Client not authenticated to send mail.").await?;
                }
                "MAIL" if announced_size(&upper).is_some_and(|size| size > size_limit(smtp)) => {
                    reply(&mut stream, TOO_LARGE).await?;
                }
                "MAIL" => {
                    let from = address(&line);
                    if smtp.refused_senders.iter().any(|refused| refused.eq_ignore_ascii_case(&from)) {
                        reply(&mut stream, "550 5.7.60 SMTP; Client does not have permissions to send as this sender")
                            .await?;
                    } else {
                        self.from = Some(from);
                        reply(&mut stream, "250 2.1.0 Sender OK").await?;
                    }
                }
                "RCPT" if self.from.is_some() => {
                    let to = address(&line);
                    if smtp.refused_recipients.iter().any(|refused| refused.eq_ignore_ascii_case(&to)) {
                        reply(&mut stream, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found").await?;
                    } else {
                        self.to.push(to);
                        reply(&mut stream, "250 2.1.5 Recipient OK").await?;
                    }
                }
                "DATA" if !self.to.is_empty() => {
                    reply(&mut stream, "354 Start mail input; end with <CRLF>.<CRLF>").await?;
                    let Some(mail) = read_mail(&mut stream).await? else { return Ok(None) };
                    if self.finish(&mut stream, mail).await? == Injected::Closed {
                        return Ok(None);
                    }
                }
                "BDAT" => {
                    let Some((size, is_last)) = chunk(&upper) else {
                        reply(&mut stream, "501 5.5.4 Invalid arguments").await?;
                        continue;
                    };
                    if self.chunks.len().saturating_add(size) > MAIL_LIMIT {
                        return Ok(None);
                    }
                    let Some(bytes) = read_chunk(&mut stream, size).await? else { return Ok(None) };
                    // A refused chunk was read all the same (RFC 3030).
                    if self.to.is_empty() {
                        reply(&mut stream, "503 5.5.1 Bad sequence of commands").await?;
                        continue;
                    }
                    self.chunks.extend_from_slice(&bytes);
                    if !is_last {
                        reply(&mut stream, &format!("250 2.6.0 CHUNK received OK, {size} octets")).await?;
                        continue;
                    }
                    let mail = String::from_utf8_lossy(&std::mem::take(&mut self.chunks)).into_owned();
                    if self.finish(&mut stream, mail).await? == Injected::Closed {
                        return Ok(None);
                    }
                }
                "RSET" => {
                    (self.from, self.to, self.chunks) = (None, Vec::new(), Vec::new());
                    reply(&mut stream, "250 2.0.0 Resetting").await?;
                }
                "NOOP" => reply(&mut stream, "250 2.0.0 OK").await?,
                "QUIT" => {
                    reply(&mut stream, "221 2.0.0 Service closing transmission channel").await?;
                    return Ok(None);
                }
                "RCPT" | "DATA" => reply(&mut stream, "503 5.5.1 Bad sequence of commands").await?,
                _ => reply(&mut stream, "500 5.3.3 Unrecognized command").await?,
            }
        }
    }

    /// Accepts the contents of a mail, or refuses them: they are too large, or the sender is not the user's own.
    async fn finish<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, mail: String) -> std::io::Result<Injected> {
        let (to, from) = (std::mem::take(&mut self.to), self.from.take().unwrap_or_default());
        let scenario = self.sandbox.scenario();
        if mail.len() as u64 > size_limit(&scenario.smtp) {
            reply(stream, TOO_LARGE).await?;
            return Ok(Injected::Replied);
        }
        if let Some((user, sender)) = self.denied_sender(&scenario, &from, &mail) {
            let text = format!(
                "554 5.2.252 SendAsDenied; {user} not allowed to send as {sender}; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception with message Cannot submit message."
            );
            reply(stream, &text.replace(['\r', '\n'], " ")).await?;
            return Ok(Injected::Replied);
        }
        let mail = json!({ "mime": mail, "to": to, "user": self.user });
        let fault = self.sandbox.take_fault("smtp/dot");
        if fault.as_ref().is_none_or(|fault| fault.after || !fault.replaces_smtp_reply()) {
            self.sandbox.record_mail(SentMail { by: "smtp".to_owned(), from, at: self.sandbox.now(), mail }).await;
        }
        let injected = apply(fault, stream).await?;
        if injected == Injected::Nothing {
            reply(stream, "250 2.6.0 Queued mail for delivery").await?;
        }
        Ok(injected)
    }

    /// Returns the login and the sender that it may not send as: of the envelope, or of the header `From`. Only a login with
    /// the name of a user of a tenant has a mailbox; any other may send from every address.
    fn denied_sender(&self, scenario: &Scenario, envelope: &str, mail: &str) -> Option<(String, String)> {
        let login = self.user.as_ref()?;
        let user = scenario.tenants.iter().find_map(|tenant| tenant.user(login))?;
        let head = mail.split("\r\n\r\n").next().unwrap_or_default();
        let header = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("from").then(|| match address(value) {
                bare if bare.is_empty() => value.trim().to_owned(),
                address => address,
            })
        });
        let senders = [Some(envelope.to_owned()), header].into_iter().flatten().filter(|sender| !sender.is_empty());
        senders.map(|sender| (user.name.clone(), sender)).find(|(_, sender)| !user.may_send_as(sender))
    }

    /// Applies the fault of a phase, if the scenario has one.
    async fn inject<S: AsyncWrite + Unpin>(&self, stream: &mut S, phase: &str) -> std::io::Result<Injected> {
        apply(self.sandbox.take_fault(&format!("smtp/{phase}")), stream).await
    }

    async fn auth<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut BufReader<S>,
        line: &str,
    ) -> std::io::Result<()> {
        let decode = |text: &str| {
            BASE64_STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
        };
        let mut words = line.split_whitespace().skip(1);
        let (user, password) = match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("LOGIN") => {
                let user = if let Some(first) = words.next() {
                    decode(first)
                } else {
                    reply(stream, "334 VXNlcm5hbWU6").await?;
                    decode(&read_line(stream).await?.unwrap_or_default())
                };
                reply(stream, "334 UGFzc3dvcmQ6").await?;
                (user, decode(&read_line(stream).await?.unwrap_or_default()))
            }
            Some("XOAUTH2") => {
                let first = if let Some(first) = words.next() {
                    first.to_owned()
                } else {
                    reply(stream, "334 ").await?;
                    read_line(stream).await?.unwrap_or_default()
                };
                return self.auth_xoauth2(stream, &decode(&first)).await;
            }
            _ => return reply(stream, "504 5.7.4 Unrecognized authentication type").await,
        };
        let good =
            self.encrypted && self.sandbox.scenario().smtp.users.get(&user).is_some_and(|known| *known == password);
        if good {
            self.user = Some(user);
            reply(stream, "235 2.7.0 Authentication successful").await
        } else {
            reply(stream, "535 5.7.3 Authentication unsuccessful").await
        }
    }
}

impl Session<'_> {
    /// Logs in with `user=a@b ^A auth=Bearer TOKEN ^A ^A`. The token must be for Exchange and not expired, and its application
    /// must be allowed to send.
    async fn auth_xoauth2<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut BufReader<S>,
        response: &str,
    ) -> std::io::Result<()> {
        let part = |name: &str| response.split('\u{1}').find_map(|part| part.strip_prefix(name));
        let (user, token) = (part("user="), part("auth=Bearer "));
        let scenario = self.sandbox.scenario();
        let claims = token.and_then(|token| self.sandbox.tokens.read(token));
        let good = claims.is_some_and(|claims| {
            let roles = claims["roles"].as_array();
            let allowed = roles.is_some_and(|roles| roles.iter().any(|role| role == "SMTP.SendAsApp"));
            let tenant = scenario.tenant(claims["tid"].as_str().unwrap_or_default());
            let known = tenant.is_some_and(|tenant| user.is_some_and(|user| tenant.user(user).is_some()));
            let is_current = claims["exp"].as_i64().unwrap_or_default() > self.sandbox.now().as_second();
            claims["aud"] == super::entra::EXCHANGE && is_current && allowed && known
        });
        if self.encrypted && good {
            self.user = user.map(str::to_owned);
            reply(stream, "235 2.7.0 Authentication successful").await
        } else {
            // RFC 7628 has the server send the reason first (334). It is left out.
            reply(stream, "535 5.7.3 Authentication unsuccessful").await
        }
    }
}

/// Applies a fault: delays, replies or closes. A reply of 421 ends the connection, too.
async fn apply<S: AsyncWrite + Unpin>(fault: Option<Fault>, stream: &mut S) -> std::io::Result<Injected> {
    let Some(fault) = fault else { return Ok(Injected::Nothing) };
    tokio::time::sleep(fault.delay()).await;
    if fault.reset {
        return Ok(Injected::Closed);
    }
    let Some(text) = fault.smtp_reply() else { return Ok(Injected::Nothing) };
    reply(stream, &text).await?;
    Ok(if text.starts_with("421") { Injected::Closed } else { Injected::Replied })
}

/// Returns the largest mail that is accepted, in bytes.
fn size_limit(smtp: &Smtp) -> u64 {
    smtp.size.unwrap_or(35_000_000)
}

/// Returns the size that a command MAIL announces (RFC 1870).
fn announced_size(line: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| word.strip_prefix("SIZE=")?.parse().ok())
}

/// Returns the size of a chunk, and whether it is the last one (RFC 3030).
fn chunk(line: &str) -> Option<(usize, bool)> {
    let mut words = line.split_whitespace().skip(1);
    let size = words.next()?.parse().ok()?;
    Some((size, words.next() == Some("LAST")))
}

async fn read_chunk<S: AsyncRead + Unpin>(stream: &mut BufReader<S>, size: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = stream.take(size as u64).read_to_end(&mut bytes).await?;
    Ok((read == size).then_some(bytes))
}

fn address(line: &str) -> String {
    line.split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .map_or(String::new(), |(address, _)| address.to_owned())
}

async fn reply<S: AsyncWrite + Unpin>(stream: &mut S, line: &str) -> std::io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let chunk = stream.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(chunk.len(), |at| at + 1);
        line.extend_from_slice(&chunk[..taken]);
        stream.consume(taken);
        if line.len() > LINE_LIMIT {
            return Ok(None);
        }
        if end.is_some() {
            return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()));
        }
    }
}

async fn read_mail<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<Option<String>> {
    let mut mail = String::new();
    while let Some(line) = read_line(stream).await? {
        if line == "." {
            return Ok(Some(mail));
        }
        mail.push_str(line.strip_prefix('.').unwrap_or(&line));
        mail.push_str("\r\n");
        if mail.len() > MAIL_LIMIT {
            return Ok(None);
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn xoauth2_accepts_no_token_that_has_expired() {
        let tenant = "0c0ffee0-0000-4000-8000-000000000001";
        let scenario = json!({ "tenants": [{ "id": tenant, "domains": ["contoso.example"], "users": [{ "name": "a@contoso.example" }] }] });
        let scenario: Scenario = serde_json::from_value(scenario).unwrap();
        let sandbox = Sandbox::new(String::new(), scenario).unwrap();
        for (seconds, expected) in [(3600, "235 "), (-1, "535 ")] {
            let claims = json!({
                "aud": crate::sandbox::entra::EXCHANGE, "tid": tenant, "roles": ["SMTP.SendAsApp"],
                "exp": sandbox.now().as_second() + seconds,
            });
            let response = format!("user=a@contoso.example\u{1}auth=Bearer {}\u{1}\u{1}", sandbox.tokens.sign(&claims));
            let mut session = Session::new(&sandbox, true);
            let (client, server) = tokio::io::duplex(4096);
            session.auth_xoauth2(&mut BufReader::new(server), &response).await.unwrap();
            let mut line = String::new();
            BufReader::new(client).read_line(&mut line).await.unwrap();
            assert!(line.starts_with(expected), "{seconds}: {line}");
        }
    }
}
