//! Sending by a mail server: a conversation with a deadline for every phase, a result for every recipient, and the
//! knowledge whether the final dot was sent.
//!
//! The last one decides whether a mail may have been accepted: before the dot it cannot have been, after it nobody knows
//! until the server replies. `SmtpClient` keeps the two apart.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::timeout;

use super::content;
pub(super) use crate::smtp::login::Login;
use crate::{
    model::{
        Encryption,
        message::{Class, Notify},
        provider::Smtp,
    },
    net::{resolve::resolve, tls::Trust},
    replies::{self, About},
    smtp::{
        HelloName,
        client::{DataDeadlines, DataError, PART, SmtpClient, SmtpError, TlsSettings},
    },
    sync::BlockingPool,
};

/// How many bytes a second are expected of a server at least.
const SLOWEST: usize = 10_000;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(20);
/// How many messages one connection carries.
const USES: u32 = 500;
/// After which idle time a connection is asked whether it still lives.
const DOUBTFUL: Duration = Duration::from_secs(5);
/// Recipients that are named at once to a server that offers PIPELINING: their commands and replies fit into the
/// buffers of both sides, so that neither waits for the other to read.
const AT_ONCE: usize = 20;

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
    /// Whom the reply is about.
    pub(super) about: About,
    /// What an administrator does about it, where the table of replies says so.
    pub(super) remedy: Option<&'static str>,
    /// Whether it says something about the server, and nothing about the message.
    pub(super) is_servers: bool,
    /// How long the other side asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// Each recipient that was refused by itself before the rest failed: the failure is not about these.
    pub(super) refused: Vec<(String, Failure)>,
}

impl Failure {
    pub(super) fn new(phase: &'static str, reply: impl Into<String>, class: Class) -> Self {
        Self {
            phase,
            reply: reply.into(),
            class,
            about: About::Unstated,
            remedy: None,
            is_servers: false,
            retry_after: None,
            refused: Vec::new(),
        }
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

/// How delivery reaches mail servers.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    pub(super) trust: &'a Trust,
    pub(super) hello: &'a HelloName,
    pub(super) deadlines: Deadlines,
}

/// A connection that is logged in.
pub(super) struct Connection {
    client: SmtpClient,
    deadlines: Deadlines,
    pub(super) server: String,
    uses: u32,
    idle_since: Instant,
    /// The server has refused optional parameters of MAIL on this connection, and accepted MAIL without them.
    omits_parameters: bool,
}

/// What is to be sent.
pub(super) struct Letter<'a> {
    pub(super) from: &'a str,
    pub(super) recipients: &'a [String],
    pub(super) bytes: &'a Bytes,
    /// Threads that convert large letters.
    pub(super) pool: &'a BlockingPool,
    /// Whether addresses or header need `SMTPUTF8`.
    pub(super) utf8: bool,
    /// Whether there is more than ASCII.
    pub(super) eight_bit: bool,
    pub(super) notify: Option<&'a Notify>,
    /// The id by which notifications name it.
    pub(super) id: String,
}

impl Letter<'_> {
    /// The same letter with these contents, which are ASCII; as it is if there are none.
    fn in_ascii<'b>(&'b self, contents: Option<&'b Bytes>) -> Letter<'b> {
        Letter {
            bytes: contents.unwrap_or(self.bytes),
            eight_bit: self.eight_bit && contents.is_none(),
            id: self.id.clone(),
            ..*self
        }
    }

    /// Converts the contents for a server that lacks SMTPUTF8, or 8BITMIME as well.
    async fn downgraded(&self, offers_eight_bit: bool) -> Result<Bytes, content::Malformed> {
        let bytes = self.bytes.clone();
        let convert = move || content::downgraded(&bytes, offers_eight_bit);
        self.pool.run(self.bytes.len(), convert).await.map(Bytes::from)
    }
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
    pub(super) async fn open(smtp: &Smtp, login: &Login, reach: Reach<'_>) -> Result<Self, Failure> {
        let unreachable = |reply: String| Failure::new("connect", reply, Class::Transient).servers();
        let host = smtp.host.trim_matches(['[', ']']);
        let found = timeout(reach.deadlines.connect, resolve(host, smtp.port)).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses.into_iter().take(4).collect(),
            Ok(Err(error)) => return Err(unreachable(format!("the name {host} does not resolve: {error}"))),
            Err(_) => return Err(unreachable(format!("the name {host} was not resolved in time"))),
        };
        let mut last = unreachable(format!("the name {host} has no address"));
        for address in addresses {
            match Self::greet(address, smtp, login, reach).await {
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

    async fn greet(address: SocketAddr, smtp: &Smtp, login: &Login, reach: Reach<'_>) -> Result<Self, Failure> {
        let Reach { trust, hello, deadlines } = reach;
        let settings = || {
            let config = trust.client_config().map_err(|why| Failure::new("tls", why, Class::Auth).servers())?;
            Ok(TlsSettings { config: Arc::new(config), host: smtp.host.clone() })
        };
        let implicit = if smtp.encryption == Encryption::Tls { Some(settings()?) } else { None };
        let mut client = SmtpClient::connect(address, implicit.as_ref(), deadlines.connect)
            .await
            .map_err(|error| server_failed("connect", error))?;
        // The server knows it from an earlier connection, and can repeat it in its greeting.
        if let Some(secret) = login.secret() {
            client.hide_secret(secret);
        }
        client.greet(hello, deadlines.command).await.map_err(|error| server_failed("greeting", error))?;
        if smtp.encryption == Encryption::Starttls {
            if !client.capabilities().offers("STARTTLS") {
                let why = lacking(&client, "the server does not offer STARTTLS, and nothing is sent in clear");
                tokio::spawn(client.quit());
                return Err(Failure::new("tls", why, Class::Auth).servers());
            }
            let settings = settings()?;
            let upgraded = client.start_tls(&settings, hello, deadlines.connect).await;
            upgraded.map_err(|error| server_failed("tls", error))?;
        }
        let server = format!("{} [{address}]", smtp.host);
        Ok(Self { client, deadlines, server, uses: 0, idle_since: Instant::now(), omits_parameters: false })
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), Failure> {
        if matches!(login, Login::None) {
            return Ok(());
        }
        let mechanisms = login.offered(self.client.capabilities());
        if mechanisms.is_empty() {
            let names: Vec<&str> = login.mechanisms().iter().map(|mechanism| mechanism.name()).collect();
            let why =
                format!("the server does not offer AUTH {}, and nothing is sent without a login", names.join(" or "));
            return Err(Failure::new("login", lacking(&self.client, &why), Class::Auth).servers());
        }
        let logged_in = self.client.log_in(login, &mechanisms, self.deadlines.command).await;
        logged_in.map_err(|error| server_failed("login", error))
    }

    /// Whether another letter may go through it.
    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_broken() && self.uses < USES && self.idle_since.elapsed() < IDLE
    }

    /// Whether it still answers, if it was idle for so long that one may doubt.
    pub(super) async fn still_answers(&mut self) -> bool {
        if self.idle_since.elapsed() < DOUBTFUL {
            return true;
        }
        self.client.command("NOOP", Duration::from_secs(5)).await.is_ok_and(|reply| reply.is_success())
    }

    /// Whether it has carried a letter before: then its end is no news about the server.
    pub(super) fn is_used(&self) -> bool {
        self.uses > 0
    }

    /// Returns true if the server offers an extension; its keyword is given in upper case.
    pub(super) fn offers(&self, keyword: &str) -> bool {
        self.client.capabilities().offers(keyword)
    }

    /// Reads the reply to a command that was sent, which must be a success.
    async fn confirm(&mut self, phase: &'static str) -> Result<(), Failure> {
        match self.client.reply(self.deadlines.command).await {
            Ok(reply) if reply.is_success() => Ok(()),
            Ok(reply) => Err(message_failed(phase, SmtpError::Refused(reply))),
            Err(error) => Err(message_failed(phase, error)),
        }
    }

    /// Sends a letter. `begin` is called when the server has said yes to everything but the contents, with the recipients
    /// that it has refused: from then on the mail may be taken. If `begin` fails, nothing is sent.
    pub(super) async fn send(
        &mut self,
        letter: &Letter<'_>,
        begin: impl AsyncFnOnce(Vec<(String, Failure)>) -> Result<(), Failure>,
    ) -> Result<Sent, Failure> {
        let sent = self.transact(letter, begin).await;
        self.uses += 1;
        self.idle_since = Instant::now();
        sent
    }

    async fn transact(
        &mut self,
        letter: &Letter<'_>,
        begin: impl AsyncFnOnce(Vec<(String, Failure)>) -> Result<(), Failure>,
    ) -> Result<Sent, Failure> {
        let (offers_utf8, offers_eight_bit) = (self.offers("SMTPUTF8"), self.offers("8BITMIME"));
        // A server that lacks an extension gets the message in ASCII, for those whose address is.
        let offers_eight_bit = offers_eight_bit && (!self.omits_parameters || letter.utf8);
        let lacks = letter.utf8 && !offers_utf8 || letter.eight_bit && !offers_eight_bit;
        let converted = if lacks {
            let converted = letter.downgraded(offers_eight_bit).await;
            Some(converted.map_err(|error| Failure::new("mail", error.to_string(), Class::Permanent))?)
        } else {
            None
        };
        if !offers_utf8 && content::needs_smtputf8(letter.from) {
            let why = "the sender's address needs SMTPUTF8, which the server does not offer";
            return Err(Failure::new("mail", why, Class::Auth));
        }
        let letter = &Letter {
            bytes: converted.as_ref().unwrap_or(letter.bytes),
            utf8: letter.utf8 && offers_utf8,
            eight_bit: letter.eight_bit && offers_eight_bit,
            id: letter.id.clone(),
            ..*letter
        };
        let mut refused = self.begin_mail(letter).await.err();
        let mut seven_bit = None;
        if refused.as_ref().is_some_and(refuses_parameters) && !self.omits_parameters {
            // Without BODY=8BITMIME the contents must be ASCII. SMTPUTF8 implies 8BITMIME (RFC 6531), so both stay.
            if letter.eight_bit && !letter.utf8 {
                seven_bit = letter.downgraded(false).await.ok();
            }
            if !letter.eight_bit || letter.utf8 || seven_bit.is_some() {
                self.omits_parameters = true;
                refused = self.begin_mail(&letter.in_ascii(seven_bit.as_ref())).await.err();
                self.omits_parameters = refused.is_none();
            }
        }
        if let Some(failure) = refused {
            self.reset(&failure).await;
            return Err(failure);
        }
        let letter = &letter.in_ascii(seven_bit.as_ref());
        let refused = self.recipients(letter).await?;
        if refused.len() == letter.recipients.len() {
            self.reset_quietly().await;
            return Ok(Sent { refused, reply: None });
        }
        match self.client.command("DATA", self.deadlines.command).await {
            Ok(reply) if reply.is_intermediate() => {}
            failed => {
                let failure = message_failed("data", failed.map_or_else(|error| error, SmtpError::Refused));
                self.reset(&failure).await;
                return Err(Failure { refused, ..failure });
            }
        }
        if let Err(failure) = begin(refused.clone()).await {
            // After DATA there is no way back but to hang up.
            self.break_off();
            return Err(failure);
        }
        match self.contents(letter.bytes).await {
            Ok(reply) => Ok(Sent { refused, reply: Some(reply) }),
            Err(failure) => Err(Failure { refused, ..failure }),
        }
    }

    /// Names the sender.
    async fn begin_mail(&mut self, letter: &Letter<'_>) -> Result<(), Failure> {
        let mail = self.mail(letter)?;
        let sent = self.client.send_commands(&[&mail], self.deadlines.command).await;
        sent.map_err(|error| message_failed("mail", error))?;
        self.confirm("mail").await
    }

    /// Names the recipients, and returns those that were refused.
    async fn recipients(&mut self, letter: &Letter<'_>) -> Result<Vec<(String, Failure)>, Failure> {
        let options = self.rcpt_options(letter.notify);
        let at_once = if self.offers("PIPELINING") { AT_ONCE } else { 1 };
        let mut refused = Vec::new();
        let mut throttled: Option<Failure> = None;
        for group in letter.recipients.chunks(at_once) {
            // Too much is too much for the others, too.
            if let Some(failure) = &throttled {
                refused.extend(group.iter().map(|recipient| (recipient.clone(), failure.clone())));
                continue;
            }
            let mut named = Vec::new();
            for recipient in group {
                if content::needs_smtputf8(recipient) && !self.offers("SMTPUTF8") {
                    let why = "the address needs SMTPUTF8, which the server does not offer";
                    refused.push((recipient.clone(), Failure::new("rcpt", why, Class::Permanent)));
                } else if is_path(recipient) {
                    named.push((recipient, format!("RCPT TO:<{recipient}>{options}")));
                } else {
                    refused.push((recipient.clone(), Failure::new("rcpt", "not an address", Class::Permanent)));
                }
            }
            let commands: Vec<&str> = named.iter().map(|(_, command)| command.as_str()).collect();
            if commands.is_empty() {
                continue;
            }
            let sent = self.client.send_commands(&commands, self.deadlines.command).await;
            sent.map_err(|error| message_failed("rcpt", error))?;
            for (recipient, _) in named {
                match self.confirm("rcpt").await {
                    Ok(()) => {}
                    // The connection is gone, or the server will have nothing more to do with it.
                    Err(failure) if failure.is_servers => return Err(failure),
                    Err(failure) => {
                        if failure.class == Class::Throttled {
                            throttled.get_or_insert_with(|| failure.clone());
                        }
                        refused.push((recipient.clone(), failure));
                    }
                }
            }
        }
        Ok(refused)
    }

    fn uses_dsn(&self) -> bool {
        self.offers("DSN") && !self.omits_parameters
    }

    fn mail(&self, letter: &Letter<'_>) -> Result<String, Failure> {
        if !is_path(letter.from) {
            return Err(Failure::new("mail", "the sender is no address", Class::Auth));
        }
        let mut command = format!("MAIL FROM:<{}>", letter.from);
        if letter.utf8 {
            command.push_str(" SMTPUTF8");
        }
        if letter.eight_bit {
            command.push_str(" BODY=8BITMIME");
        }
        if let Some(limit) = self.client.capabilities().size() {
            if limit > 0 && letter.bytes.len() as u64 > limit {
                let why = format!("{} bytes, and the server takes {limit} (SIZE)", letter.bytes.len());
                return Err(Failure::new("mail", why, Class::Size));
            }
            if !self.omits_parameters {
                command.push_str(&format!(" SIZE={}", letter.bytes.len()));
            }
        }
        if let Some(notify) = letter.notify.filter(|_| self.uses_dsn()) {
            let ret = if notify.full { "FULL" } else { "HDRS" };
            command.push_str(&format!(" RET={ret} ENVID={}", letter.id));
        }
        Ok(command)
    }

    fn rcpt_options(&self, notify: Option<&Notify>) -> String {
        let Some(notify) = notify.filter(|_| self.uses_dsn()) else { return String::new() };
        let wanted = [("SUCCESS", notify.success), ("FAILURE", notify.failure), ("DELAY", notify.delay)];
        let wanted: Vec<&str> = wanted.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        format!(" NOTIFY={}", if wanted.is_empty() { "NEVER".to_owned() } else { wanted.join(",") })
    }

    async fn contents(&mut self, bytes: &[u8]) -> Result<String, Failure> {
        let Deadlines { data, dot, .. } = self.deadlines;
        let deadlines = DataDeadlines { whole: data + takes(bytes.len()), part: data + takes(PART), dot };
        match self.client.send_data(bytes, deadlines).await {
            // Neither yes nor no; or both, and a yes at the end takes back no refusal.
            Ok(reply) if reply.is_intermediate() || reply.is_success() && reply.is_mixed() => {
                self.break_off();
                Err(Failure::new("dot", reply.to_string(), Class::Unknown).servers())
            }
            Ok(reply) if reply.is_success() => Ok(reply.to_string()),
            Ok(reply) => Err(message_failed("dot", SmtpError::Refused(reply))),
            Err(DataError::Incomplete(error)) => Err(message_failed("data", error)),
            Err(DataError::InDoubt(error)) => Err(Failure::new("dot", error.to_string(), Class::Unknown).servers()),
        }
    }

    /// Makes the connection ready for another letter, where it is sound.
    async fn reset(&mut self, failure: &Failure) {
        if !failure.is_servers {
            self.reset_quietly().await;
        }
    }

    async fn reset_quietly(&mut self) {
        if !self.client.command("RSET", self.deadlines.command).await.is_ok_and(|reply| reply.is_success()) {
            self.break_off();
        }
    }

    fn break_off(&mut self) {
        self.uses = USES;
    }

    /// Says good-bye, and does not wait for long.
    pub(super) async fn quit(self) {
        self.client.quit().await;
    }
}

/// How long so many bytes may take.
fn takes(bytes: usize) -> Duration {
    Duration::from_secs((bytes / SLOWEST) as u64)
}

/// Why an offer is missing: where the server knows no EHLO it offers nothing, and its reply to that is the reason.
fn lacking(client: &SmtpClient, why: &str) -> String {
    match client.capabilities().refused() {
        Some(reply) => format!("{why} (it refuses EHLO: {reply})"),
        None => why.to_owned(),
    }
}

/// Returns true if a reply to MAIL is about its parameters: a code for them (RFC 5321, 4.2.2), and no enhanced code with
/// another subject than the protocol (RFC 3463).
fn refuses_parameters(failure: &Failure) -> bool {
    let mut words = failure.reply.split([' ', '-']);
    let code = words.next().unwrap_or_default();
    let enhanced = words.next().filter(|word| word.starts_with("5.") && word.matches('.').count() == 2);
    !failure.is_servers
        && match enhanced {
            Some(enhanced) => enhanced.starts_with("5.5.") && code.starts_with('5'),
            None => matches!(code, "501" | "504" | "555"),
        }
}

/// Returns true for what can stand between the angle brackets of MAIL and RCPT: nothing that would end them early, or
/// make another command of it.
fn is_path(address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let is_quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let ends = |c: char| c.is_control() || (!is_quoted && (c.is_whitespace() || matches!(c, '<' | '>' | '"')));
    !local.is_empty()
        && !domain.is_empty()
        && address.len() <= 1000
        && !local.contains(ends)
        && !domain.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"'))
}

/// What went wrong before there was a letter.
fn server_failed(phase: &'static str, error: SmtpError) -> Failure {
    match error {
        SmtpError::Refused(reply) => judged(phase, reply.to_string()).servers(),
        SmtpError::Tls(fault) => {
            let class = if fault.is_lasting() { Class::Auth } else { Class::Transient };
            Failure::new("tls", fault.to_string(), class).servers()
        }
        SmtpError::Injected => Failure::new("tls", error.to_string(), Class::Auth).servers(),
        error => Failure::new(phase, error.to_string(), Class::Transient).servers(),
    }
}

/// A reply, as the table reads it.
fn judged(phase: &'static str, reply: String) -> Failure {
    let meaning = replies::smtp(phase, &reply);
    Failure {
        retry_after: meaning.wait,
        about: meaning.about,
        remedy: meaning.remedy,
        // A reply of success where another one belongs says that the two sides do not understand each other.
        ..Failure::new(phase, reply, if meaning.class == Class::Delivered { Class::Transient } else { meaning.class })
    }
}

/// What went wrong with a letter.
fn message_failed(phase: &'static str, error: SmtpError) -> Failure {
    match error {
        SmtpError::Refused(reply) => {
            // 421 closes the connection, whatever it was about; a success out of place ends it as well.
            let ends = reply.code() == 421 || reply.is_success() || reply.is_intermediate();
            let failure = judged(phase, reply.to_string());
            if ends { failure.servers() } else { failure }
        }
        error => Failure::new(phase, error.to_string(), Class::Transient).servers(),
    }
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
