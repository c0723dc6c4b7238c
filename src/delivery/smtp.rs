//! One conversation with a mail server, carried by lettre, with what lettre lacks: a deadline for every phase, a result
//! for every recipient, and the knowledge whether the last byte left.
//!
//! The last one decides whether a mail may have been taken. lettre writes a message part by part, and the final dot when
//! its iterator has no more: so the moment in which the iterator ends is the moment before the dot.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::AsyncSmtpConnection,
        commands::{Data, Ehlo, Mail, Noop, Rcpt, Rset},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter, RcptParameter},
        response::Response,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{timeout, timeout_at},
};

use super::classify;
use crate::{
    model::{
        Encryption,
        message::{Class, Notify},
        provider::Smtp,
    },
    smtp::{hello_name, log_in, said, tls, tls_error},
};

/// How a message is cut for writing.
const CHUNK: usize = 64 * 1024;
/// How many bytes a second are expected of a server at least.
const SLOWEST: usize = 10_000;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(20);
/// How many messages one connection carries.
const USES: u32 = 500;
/// After which idle time a connection is asked whether it still lives.
const DOUBTFUL: Duration = Duration::from_secs(5);

/// How long each phase may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// For the answer to each command.
    pub command: Duration,
    /// For the contents, before their size is counted: a second more for every 10 kB. Within them, for each 64 KiB: a
    /// server that reads no more is given up then, however large the whole is.
    pub data: Duration,
    /// For the answer to the final dot (RFC 5321 asks for ten minutes).
    pub dot: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            command: Duration::from_secs(60),
            data: Duration::from_secs(60),
            dot: Duration::from_secs(600),
        }
    }
}

/// Where something ended, and how.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) phase: &'static str,
    pub(super) reply: String,
    pub(super) class: Class,
    /// Whether it says something about the server, and nothing about the message.
    pub(super) is_servers: bool,
    /// How long the other side asks to wait.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(phase: &'static str, reply: impl Into<String>, class: Class) -> Self {
        Self { phase, reply: reply.into(), class, is_servers: false, retry_after: None }
    }

    /// The beginning of the reply, for the log: no address of a mail goes there.
    pub(super) fn code(&self) -> String {
        let words = self.reply.split_whitespace().take(3);
        let safe = |word: &&str| word.len() < 40 && !word.contains(['@', '<', '=']);
        words.take_while(safe).collect::<Vec<_>>().join(" ")
    }

    fn servers(self) -> Self {
        Self { is_servers: true, ..self }
    }
}

/// What proves who sends.
pub(super) enum Login {
    Nobody,
    Password { username: String, password: SecretString },
    Token { username: String, token: SecretString },
}

/// A connection that is logged in.
pub(super) struct Connection {
    inner: AsyncSmtpConnection,
    deadlines: Deadlines,
    pub(super) server: String,
    /// What the server can do, as it said itself: lettre keeps only what it uses.
    extensions: Vec<String>,
    /// How large a message it takes.
    size: Option<u64>,
    uses: u32,
    idle_since: Instant,
}

/// What is to be sent.
pub(super) struct Letter<'a> {
    pub(super) from: &'a str,
    pub(super) recipients: &'a [String],
    pub(super) bytes: &'a [u8],
    /// Whether addresses or header need `SMTPUTF8`.
    pub(super) utf8: bool,
    /// Whether there is more than ASCII.
    pub(super) eight_bit: bool,
    pub(super) notify: Option<&'a Notify>,
    /// The id by which notifications name it.
    pub(super) id: String,
}

/// What became of a letter that got as far as the recipients.
pub(super) struct Sent {
    /// Each recipient that was refused.
    pub(super) refused: Vec<(String, Failure)>,
    /// The answer to the final dot; none if there was nobody left to send to.
    pub(super) reply: Option<String>,
}

impl Sent {
    /// A refusal that says nothing about its recipient, but about whoever sends.
    pub(super) fn everybodys(&self) -> Option<usize> {
        self.refused.iter().position(|(_, failure)| matches!(failure.class, Class::Auth | Class::Throttled))
    }
}

impl Connection {
    /// Connects, encrypts as the profile states and never less, and logs in.
    pub(super) async fn open(
        smtp: &Smtp,
        login: &Login,
        authorities: Option<&[u8]>,
        deadlines: Deadlines,
    ) -> Result<Self, Failure> {
        let unreachable = |reply: String| Failure::new("connect", reply, Class::Transient).servers();
        let host = smtp.host.trim_matches(['[', ']']);
        let found = timeout(deadlines.connect, lookup_host((host, smtp.port))).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses.take(4).collect(),
            Ok(Err(error)) => return Err(unreachable(format!("the name {host} does not resolve: {error}"))),
            Err(_) => return Err(unreachable(format!("the name {host} was not resolved in time"))),
        };
        let mut last = unreachable(format!("the name {host} has no address"));
        for address in addresses {
            match Self::greet(address, smtp, authorities, deadlines).await {
                Ok(mut connection) => {
                    connection.log_in(login).await?;
                    return Ok(connection);
                }
                // What TLS says holds for the name, whichever address answers.
                Err(failure) if failure.class == Class::Auth => return Err(failure),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn greet(
        address: SocketAddr,
        smtp: &Smtp,
        authorities: Option<&[u8]>,
        deadlines: Deadlines,
    ) -> Result<Self, Failure> {
        let connected = async |address| {
            let failed = |why: String| Failure::new("connect", why, Class::Transient).servers();
            match timeout(deadlines.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // lettre writes the final dot by itself: without this it would wait for the other side to have
                    // acknowledged the contents, which some do only after 40 ms.
                    drop(stream.set_nodelay(true));
                    Ok(stream)
                }
                Ok(Err(error)) => Err(failed(format!("{address}: {error}"))),
                Err(_) => Err(failed(silent(deadlines.connect))),
            }
        };
        let hello = ClientId::Domain(hello_name());
        let parameters = || {
            tls(&smtp.host, authorities, false)
                .map_err(|error| Failure::new("tls", said(&error), Class::Auth).servers())
        };
        let implicit = if smtp.encryption == Encryption::Tls { Some(parameters()?) } else { None };
        let connect = async {
            match implicit {
                Some(tls) => {
                    AsyncSmtpConnection::connect_tokio1(address, Some(deadlines.connect), &hello, Some(tls), None).await
                }
                None => AsyncSmtpConnection::connect_with_transport(Box::new(connected(address).await?), &hello).await,
            }
            .map_err(|error| server_failed("greeting", &error))
        };
        let mut inner = match timeout(deadlines.connect + deadlines.command, connect).await {
            Err(_) => {
                return Err(Failure::new("greeting", silent(deadlines.command), Class::Transient).servers());
            }
            Ok(Err(failure)) => return Err(failure),
            Ok(Ok(inner)) => inner,
        };
        if smtp.encryption == Encryption::Starttls {
            if !inner.can_starttls() {
                close(inner);
                let why = "the server does not offer STARTTLS, and nothing is sent in clear";
                return Err(Failure::new("tls", why, Class::Auth).servers());
            }
            let upgrade = inner.starttls(parameters()?, &hello);
            match timeout(deadlines.connect, upgrade).await {
                Err(_) => return Err(Failure::new("tls", silent(deadlines.connect), Class::Transient).servers()),
                Ok(Err(error)) => return Err(server_failed("tls", &error)),
                Ok(Ok(())) => {}
            }
        }
        let server = format!("{} [{address}]", smtp.host);
        let (extensions, size) = (Vec::new(), None);
        let mut connection = Self { inner, deadlines, server, extensions, size, uses: 0, idle_since: Instant::now() };
        connection.ask(hello).await?;
        Ok(connection)
    }

    async fn ask(&mut self, hello: ClientId) -> Result<(), Failure> {
        let offers = match self.command("greeting", Ehlo::new(hello)).await {
            Ok(offers) => offers,
            // Some (OpenSMTPD) do not say it twice; then only what lettre kept is known.
            Err(failure) if !failure.is_servers => return Ok(()),
            Err(failure) => return Err(failure),
        };
        self.extensions = offers.message().skip(1).map(str::to_ascii_uppercase).collect();
        let size = self.extensions.iter().find_map(|line| line.strip_prefix("SIZE "));
        self.size = size.and_then(|size| size.trim().parse().ok());
        Ok(())
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), Failure> {
        let (mechanisms, credentials): (&[Mechanism], _) = match login {
            Login::Nobody => return Ok(()),
            Login::Password { username, password } => (
                &[Mechanism::Plain, Mechanism::Login],
                Credentials::new(username.clone(), password.expose_secret().to_owned()),
            ),
            Login::Token { username, token } => {
                (&[Mechanism::Xoauth2], Credentials::new(username.clone(), token.expose_secret().to_owned()))
            }
        };
        let Some(mechanism) = self.inner.server_info().get_auth_mechanism(mechanisms) else {
            let names: Vec<String> = mechanisms.iter().map(ToString::to_string).collect();
            let why =
                format!("the server does not offer AUTH {}, and nothing is sent without a login", names.join(" or "));
            return Err(Failure::new("login", why, Class::Auth).servers());
        };
        match timeout(self.deadlines.command, log_in(&mut self.inner, mechanism, &credentials)).await {
            Err(_) => Err(Failure::new("login", silent(self.deadlines.command), Class::Transient).servers()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let mut failure = server_failed("login", &error);
                // A strange server may send back what it was told.
                if let Login::Password { password: secret, .. } | Login::Token { token: secret, .. } = login
                    && secret.expose_secret().len() > 3
                {
                    failure.reply = failure.reply.replace(secret.expose_secret(), "…");
                }
                Err(failure)
            }
        }
    }

    /// Whether another letter may go through it.
    pub(super) fn is_usable(&self) -> bool {
        !self.inner.has_broken() && self.uses < USES && self.idle_since.elapsed() < IDLE
    }

    /// Whether it still answers, if it was idle for so long that one may doubt.
    pub(super) async fn still_answers(&mut self) -> bool {
        if self.idle_since.elapsed() < DOUBTFUL {
            return true;
        }
        matches!(timeout(Duration::from_secs(5), self.inner.command(Noop)).await, Ok(Ok(_)))
    }

    /// Whether it has carried a letter before: then its end is no news about the server.
    pub(super) fn is_used(&self) -> bool {
        self.uses > 0
    }

    async fn command(&mut self, phase: &'static str, command: impl std::fmt::Display) -> Result<Response, Failure> {
        match timeout(self.deadlines.command, self.inner.command(command)).await {
            Err(_) => Err(Failure::new(phase, silent(self.deadlines.command), Class::Transient).servers()),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(message_failed(phase, &error)),
        }
    }

    /// Sends a letter. `begin` is awaited when the server has said yes to everything but the contents: from then on the
    /// mail may be taken. If it says no, nothing is sent.
    pub(super) async fn send(
        &mut self,
        letter: &Letter<'_>,
        begin: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Sent, Failure> {
        let sent = self.transact(letter, begin).await;
        self.uses += 1;
        self.idle_since = Instant::now();
        sent
    }

    async fn transact(
        &mut self,
        letter: &Letter<'_>,
        begin: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Sent, Failure> {
        let mail = self.mail(letter)?;
        if let Err(failure) = self.command("mail", mail).await {
            self.reset(&failure).await;
            return Err(failure);
        }
        let mut refused = Vec::new();
        for (index, recipient) in letter.recipients.iter().enumerate() {
            let Ok(address) = recipient.parse::<Address>() else {
                refused.push((recipient.clone(), Failure::new("rcpt", "not an address", Class::Permanent)));
                continue;
            };
            match self.command("rcpt", Rcpt::new(address, self.rcpt_options(letter.notify))).await {
                Ok(_) => {}
                // The connection is gone, or the server will have nothing more to do with it.
                Err(failure) if failure.is_servers || failure.reply.starts_with("421") => return Err(failure),
                // Too much is too much for the others, too.
                Err(failure) if failure.class == Class::Throttled => {
                    let rest = letter.recipients.get(index..).unwrap_or_default();
                    refused.extend(rest.iter().map(|recipient| (recipient.clone(), failure.clone())));
                    break;
                }
                Err(failure) => refused.push((recipient.clone(), failure)),
            }
        }
        if refused.len() == letter.recipients.len() {
            self.reset_quietly().await;
            return Ok(Sent { refused, reply: None });
        }
        if let Err(failure) = self.command("data", Data).await {
            self.reset(&failure).await;
            return Err(failure);
        }
        if let Err(failure) = begin.await {
            // After DATA there is no way back but to hang up.
            self.break_off();
            return Err(failure);
        }
        let reply = self.contents(letter.bytes).await?;
        Ok(Sent { refused, reply: Some(reply) })
    }

    fn mail(&self, letter: &Letter<'_>) -> Result<Mail, Failure> {
        let info = self.inner.server_info();
        let from: Address =
            letter.from.parse().map_err(|_| Failure::new("mail", "the sender is no address", Class::Auth))?;
        let mut parameters = Vec::new();
        if letter.utf8 {
            if !info.supports_feature(Extension::SmtpUtfEight) {
                let why = "an address or the header is not ASCII, and the server does not take that (SMTPUTF8)";
                return Err(Failure::new("mail", why, Class::Permanent));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if letter.eight_bit {
            if !info.supports_feature(Extension::EightBitMime) {
                let why = "the body is not ASCII, and the server does not take that (8BITMIME)";
                return Err(Failure::new("mail", why, Class::Permanent));
            }
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if let Some(limit) = self.size {
            if limit > 0 && letter.bytes.len() as u64 > limit {
                let why = format!("{} bytes, and the server takes {limit} (SIZE)", letter.bytes.len());
                return Err(Failure::new("mail", why, Class::Size));
            }
            parameters.push(MailParameter::Size(letter.bytes.len()));
        }
        if let Some(notify) = letter.notify.filter(|_| self.offers("DSN")) {
            let ret = if notify.full { "FULL" } else { "HDRS" };
            parameters.push(MailParameter::Other { keyword: "RET".to_owned(), value: Some(ret.to_owned()) });
            parameters.push(MailParameter::Other { keyword: "ENVID".to_owned(), value: Some(letter.id.clone()) });
        }
        Ok(Mail::new(Some(from), parameters))
    }

    fn rcpt_options(&self, notify: Option<&Notify>) -> Vec<RcptParameter> {
        let Some(notify) = notify.filter(|_| self.offers("DSN")) else { return Vec::new() };
        let wanted = [("SUCCESS", notify.success), ("FAILURE", notify.failure), ("DELAY", notify.delay)];
        let wanted: Vec<&str> = wanted.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        let value = if wanted.is_empty() { "NEVER".to_owned() } else { wanted.join(",") };
        vec![RcptParameter::Other { keyword: "NOTIFY".to_owned(), value: Some(value) }]
    }

    fn offers(&self, extension: &str) -> bool {
        self.extensions.iter().any(|line| line.split(' ').next() == Some(extension))
    }

    async fn contents(&mut self, bytes: &[u8]) -> Result<String, Failure> {
        // lettre ends the contents with a line end of its own before the dot.
        let bytes = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
        let written = Arc::new(Written::default());
        let parts = Parts { rest: bytes, written: Arc::clone(&written) };
        let Deadlines { data, dot, .. } = self.deadlines;
        let (whole, part) = (data + takes(bytes.len()), data + takes(CHUNK));
        let began = Instant::now();
        let mut writing = std::pin::pin!(self.inner.message_iter(parts));
        let result = loop {
            // The contents left in time, and the server thinks about them; or it still has to read some.
            let (has_left, last) = written.so_far(began);
            let until = if has_left { began + whole + dot } else { (began + whole).min(last + part) };
            if let Ok(result) = timeout_at(until.into(), &mut writing).await {
                break result;
            }
            let (has_left, last) = written.so_far(began);
            if has_left && until >= began + whole + dot {
                return Err(Failure::new("dot", silent(began.elapsed()), Class::Unknown).servers());
            }
            if !has_left && Instant::now() >= (began + whole).min(last + part) {
                let why = format!("the server read no more: {}", silent(last.elapsed()));
                return Err(Failure::new("data", why, Class::Transient).servers());
            }
        };
        match result {
            Ok(response) => Ok(reply_text(&response)),
            Err(error) if error.status().is_some() => Err(message_failed("dot", &error)),
            Err(error) if written.so_far(began).0 => Err(Failure::new("dot", said(&error), Class::Unknown).servers()),
            // The end of the contents never left, so the server cannot have taken them.
            Err(error) => Err(Failure::new("data", said(&error), Class::Transient).servers()),
        }
    }

    /// Makes the connection ready for another letter, where it is sound.
    async fn reset(&mut self, failure: &Failure) {
        if !failure.is_servers {
            self.reset_quietly().await;
        }
    }

    async fn reset_quietly(&mut self) {
        if !matches!(timeout(self.deadlines.command, self.inner.command(Rset)).await, Ok(Ok(_))) {
            self.break_off();
        }
    }

    fn break_off(&mut self) {
        self.uses = USES;
    }

    /// Says good-bye, and does not wait for long.
    pub(super) async fn quit(mut self) {
        drop(timeout(Duration::from_secs(2), self.inner.quit()).await);
    }
}

/// How far the writing of a message has come.
#[derive(Default)]
struct Written {
    /// Everything but the dot is written, or is being written.
    dot: AtomicBool,
    /// When the last part was begun; none before the first.
    last: Mutex<Option<Instant>>,
}

impl Written {
    /// Whether there is nothing left but the dot, and when the last part was begun.
    fn so_far(&self, began: Instant) -> (bool, Instant) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.dot.load(Ordering::Acquire), last.unwrap_or(began))
    }
}

/// A message in parts; its end is the moment before the dot.
struct Parts<'a> {
    rest: &'a [u8],
    written: Arc<Written>,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            self.written.dot.store(true, Ordering::Release);
            return None;
        }
        *self.written.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let (part, rest) = self.rest.split_at(self.rest.len().min(CHUNK));
        self.rest = rest;
        Some(part)
    }
}

/// How long so many bytes may take.
fn takes(bytes: usize) -> Duration {
    Duration::from_secs((bytes / SLOWEST) as u64)
}

fn silent(after: Duration) -> String {
    format!("nothing for {} s", after.as_secs().max(1))
}

fn reply_text(response: &Response) -> String {
    let text: Vec<&str> = response.message().collect();
    let text = format!("{} {}", response.code(), text.join(" "));
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// What went wrong before there was a letter.
fn server_failed(phase: &'static str, error: &Error) -> Failure {
    let reply = said(error);
    if let Some(tls) = tls_error(error) {
        return Failure::new("tls", format!("{reply}: {tls}").chars().take(300).collect::<String>(), Class::Auth)
            .servers();
    }
    match error.status() {
        Some(_) => judged(phase, reply).servers(),
        None => Failure::new(phase, reply, Class::Transient).servers(),
    }
}

/// A reply, as the table reads it.
fn judged(phase: &'static str, reply: String) -> Failure {
    let meaning = classify::smtp(phase, &reply);
    Failure { retry_after: meaning.wait, ..Failure::new(phase, reply, meaning.class) }
}

/// What went wrong with a letter.
fn message_failed(phase: &'static str, error: &Error) -> Failure {
    let reply = said(error);
    match error.status() {
        Some(_) => {
            let failure = judged(phase, reply);
            // 421 closes the connection, whatever it was about.
            if failure.reply.starts_with("421") { failure.servers() } else { failure }
        }
        None => Failure::new(phase, reply, Class::Transient).servers(),
    }
}

fn close(inner: AsyncSmtpConnection) {
    tokio::spawn(async move {
        let mut inner = inner;
        drop(timeout(Duration::from_secs(2), inner.quit()).await);
    });
}

/// Connections of one profile that wait for the next letter.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<Connection>>,
}

impl Pool {
    /// A connection that still answers, or a new one.
    pub(super) async fn connection(
        &self,
        open: impl AsyncFnOnce() -> Result<Connection, Failure>,
    ) -> Result<Connection, Failure> {
        while let Some(mut connection) = self.take() {
            if connection.is_usable() && connection.still_answers().await {
                return Ok(connection);
            }
            tokio::spawn(connection.quit());
        }
        open().await
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }

    /// Gives a connection back.
    pub(super) fn give_back(&self, connection: Connection) {
        if connection.is_usable() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
        } else {
            tokio::spawn(connection.quit());
        }
    }

    /// Closes what was idle for too long; all of it if nobody is to use it any more.
    pub(super) fn tidy(&self, all: bool) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (keep, leave): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut *idle).into_iter().partition(|connection| !all && connection.is_usable());
        *idle = keep;
        for connection in leave {
            tokio::spawn(connection.quit());
        }
    }
}
