//! SMTP connection: a conversation with a mail server, with a deadline for each phase.
//!
//! [`Connection`] is opened, sends messages and is returned to the pool. Before the final dot a message cannot have been accepted;
//! after it that is unknown until the server replies. `SmtpClient` reports if the dot was sent. The result names the recipients
//! that were refused on their own; a refusal of the message or a lost connection is a failure of the others. Without the STARTTLS
//! or AUTH that the profile requires, opening fails and nothing is sent. Failures are classified in `smtp_failure`. Nothing here
//! retries a message.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::timeout;

use super::{
    RecipientResults, RecordBegin,
    deadlines::SmtpDeadlines,
    smtp_failure::{message_failure, refuses_parameters, server_failure},
};
use crate::{
    delivery::{
        failure::{Failure, Refusal},
        outgoing::needs_smtputf8,
    },
    mime::{Malformed, seven_bit},
    model::{
        Encryption,
        message::{Class, Notify},
        provider::Smtp,
    },
    net::{resolve::resolve, tls::Trust},
    smtp::{
        HelloName,
        client::{DataDeadlines, DataError, PART, SmtpClient, SmtpError, TlsSettings},
        login::Login,
    },
    sync::BlockingPool,
};

/// The slowest acceptable transfer, in bytes per second.
const MIN_BYTES_PER_SECOND: usize = 10_000;
/// The time for which an idle connection is kept open.
const MAX_IDLE: Duration = Duration::from_secs(20);
/// The largest number of messages on one connection.
const MAX_USES: u32 = 500;
/// The idle time after which a connection is tested with NOOP before it is used.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(5);
/// The number of RCPT commands sent at once to a server that offers PIPELINING: they and their replies fit into the buffers of
/// both sides, so that neither waits for the other to read.
const PIPELINED_RECIPIENTS: usize = 20;

/// The parameters of a connection that do not depend on the profile.
#[derive(Clone, Copy)]
pub(super) struct ConnectionOptions<'a> {
    pub(super) trust: &'a Trust,
    pub(super) hello: &'a HelloName,
    pub(super) deadlines: SmtpDeadlines,
}

/// A connection that is logged in.
pub(super) struct Connection {
    client: SmtpClient,
    deadlines: SmtpDeadlines,
    server: String,
    uses: u32,
    idle_since: Instant,
    /// True if the server refused optional parameters of MAIL on this connection, and accepted MAIL without them.
    omits_parameters: bool,
}

/// A message and its envelope.
pub(super) struct Envelope<'a> {
    pub(super) from: &'a str,
    pub(super) recipients: &'a [String],
    pub(super) bytes: &'a Bytes,
    /// Threads that convert large messages.
    pub(super) pool: &'a BlockingPool,
    /// True if addresses or the header need `SMTPUTF8`.
    pub(super) utf8: bool,
    /// True if the message is not ASCII.
    pub(super) eight_bit: bool,
    pub(super) notify: Option<&'a Notify>,
    /// The envelope id that delivery status notifications repeat.
    pub(super) id: String,
}

impl Envelope<'_> {
    /// Returns the same message with this content, which is ASCII; unchanged if there is none.
    fn in_ascii<'b>(&'b self, contents: Option<&'b Bytes>) -> Envelope<'b> {
        Envelope {
            bytes: contents.unwrap_or(self.bytes),
            eight_bit: self.eight_bit && contents.is_none(),
            id: self.id.clone(),
            ..*self
        }
    }

    /// Converts the content for a server that lacks SMTPUTF8, or 8BITMIME as well.
    async fn downgrade(&self, offers_eight_bit: bool) -> Result<Bytes, Malformed> {
        let bytes = self.bytes.clone();
        let convert = move || seven_bit::downgrade(&bytes, offers_eight_bit);
        self.pool.run(self.bytes.len(), convert).await.map(Bytes::from)
    }
}

impl Connection {
    /// Connects, encrypts at least as the profile states, and logs in.
    pub(super) async fn open(smtp: &Smtp, login: &Login, options: ConnectionOptions<'_>) -> Result<Self, Failure> {
        let unreachable = |reply: String| Failure::new("connect", reply, Class::Transient).of_server();
        let host = smtp.host.trim_matches(['[', ']']);
        let found = timeout(options.deadlines.connect, resolve(host, smtp.port)).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses.into_iter().take(4).collect(),
            Ok(Err(error)) => return Err(unreachable(format!("the name {host} does not resolve: {error}"))),
            Err(_) => return Err(unreachable(format!("the name {host} was not resolved in time"))),
        };
        let mut last = unreachable(format!("the name {host} has no address"));
        for address in addresses {
            match Self::greet(address, smtp, login, options).await {
                Ok(mut connection) => {
                    connection.log_in(login).await?;
                    return Ok(connection);
                }
                // A TLS failure concerns the name, whichever address answers. A refusal at the greeting may be that of one
                // machine among several, and states more than an address that does not answer.
                Err(failure) if failure.class == Class::Auth && failure.phase != "greeting" => return Err(failure),
                Err(failure) if last.class == Class::Auth && !failure.reply.starts_with('4') => {}
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn greet(
        address: SocketAddr,
        smtp: &Smtp,
        login: &Login,
        options: ConnectionOptions<'_>,
    ) -> Result<Self, Failure> {
        let ConnectionOptions { trust, hello, deadlines } = options;
        let settings = || {
            let config = trust.client_config().map_err(|why| Failure::new("tls", why, Class::Auth).of_server())?;
            Ok(TlsSettings { config: Arc::new(config), host: smtp.host.clone() })
        };
        let implicit = if smtp.encryption == Encryption::Tls { Some(settings()?) } else { None };
        let mut client = SmtpClient::connect(address, implicit.as_ref(), deadlines.connect)
            .await
            .map_err(|error| server_failure("connect", error))?;
        // The server knows the secret from an earlier connection, and can repeat it in its greeting.
        if let Some(secret) = login.secret() {
            client.hide_secret(secret);
        }
        client.greet(hello, deadlines.command).await.map_err(|error| {
            let is_silent = matches!(error, SmtpError::Timeout(_)) && smtp.encryption != Encryption::Tls;
            let failure = server_failure("greeting", error);
            if is_silent {
                let reply = format!(
                    "{}; a server that waits for TLS (`encryption: tls`, port 465) is silent as well",
                    failure.reply
                );
                return Failure { reply, ..failure };
            }
            failure
        })?;
        if smtp.encryption == Encryption::Starttls {
            if !client.capabilities().offers("STARTTLS") {
                let why = explain_missing(&client, "the server does not offer STARTTLS, and nothing is sent in clear");
                tokio::spawn(client.quit());
                return Err(Failure::new("tls", why, Class::Auth).of_server());
            }
            let settings = settings()?;
            let upgraded = client.start_tls(&settings, hello, deadlines.connect).await;
            upgraded.map_err(|error| server_failure("tls", error))?;
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
            return Err(Failure::new("login", explain_missing(&self.client, &why), Class::Auth).of_server());
        }
        let logged_in = self.client.log_in(login, &mechanisms, self.deadlines.command).await;
        logged_in.map_err(|error| server_failure("login", error))
    }

    /// Returns the server as attempts record it: its name and address.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Returns true if the connection can carry another message.
    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_broken() && self.uses < MAX_USES && self.idle_since.elapsed() < MAX_IDLE
    }

    /// Returns true if the server still answers. A connection that was used recently is not tested.
    pub(super) async fn still_answers(&mut self) -> bool {
        if self.idle_since.elapsed() < TEST_AFTER_IDLE {
            return true;
        }
        self.client.command("NOOP", Duration::from_secs(5)).await.is_ok_and(|reply| reply.is_success())
    }

    /// Returns true if the connection has carried a message: then its end says nothing about the server.
    pub(super) fn is_used(&self) -> bool {
        self.uses > 0
    }

    /// Returns true if the server offers an extension; its keyword is given in upper case.
    pub(super) fn offers(&self, keyword: &str) -> bool {
        self.client.capabilities().offers(keyword)
    }

    /// Reads the reply to a command that was sent, which must be a success.
    async fn expect_success(&mut self, phase: &'static str) -> Result<(), Failure> {
        match self.client.reply(self.deadlines.command).await {
            Ok(reply) if reply.is_success() => Ok(()),
            Ok(reply) => Err(message_failure(phase, SmtpError::Refused(reply))),
            Err(error) => Err(message_failure(phase, error)),
        }
    }

    /// Sends a message. `record` is called when the server has accepted everything but the content, with the recipients that it
    /// has refused. If it fails, the content is not sent.
    pub(super) async fn send(
        &mut self,
        envelope: &Envelope<'_>,
        record: &impl RecordBegin,
    ) -> Result<RecipientResults, Failure> {
        let sent = self.transact(envelope, record).await;
        self.uses += 1;
        self.idle_since = Instant::now();
        sent
    }

    async fn transact(
        &mut self,
        envelope: &Envelope<'_>,
        record: &impl RecordBegin,
    ) -> Result<RecipientResults, Failure> {
        let (offers_utf8, offers_eight_bit) = (self.offers("SMTPUTF8"), self.offers("8BITMIME"));
        // A server that lacks an extension gets the message in ASCII, for the recipients with an ASCII address.
        let offers_eight_bit = offers_eight_bit && (!self.omits_parameters || envelope.utf8);
        let lacks = envelope.utf8 && !offers_utf8 || envelope.eight_bit && !offers_eight_bit;
        let converted = if lacks {
            let converted = envelope.downgrade(offers_eight_bit).await;
            Some(converted.map_err(|error| Failure::new("mail", error.to_string(), Class::Permanent))?)
        } else {
            None
        };
        if !offers_utf8 && needs_smtputf8(envelope.from) {
            let why = "the sender's address needs SMTPUTF8, which the server does not offer";
            return Err(Failure::new("mail", why, Class::Auth));
        }
        let envelope = &Envelope {
            bytes: converted.as_ref().unwrap_or(envelope.bytes),
            utf8: envelope.utf8 && offers_utf8,
            eight_bit: envelope.eight_bit && offers_eight_bit,
            id: envelope.id.clone(),
            ..*envelope
        };
        let mut refused = self.send_mail(envelope).await.err();
        let mut seven_bit = None;
        if refused.as_ref().is_some_and(refuses_parameters) && !self.omits_parameters {
            // Without BODY=8BITMIME the contents must be ASCII. SMTPUTF8 implies 8BITMIME (RFC 6531), so both stay.
            if envelope.eight_bit && !envelope.utf8 {
                seven_bit = envelope.downgrade(false).await.ok();
            }
            if !envelope.eight_bit || envelope.utf8 || seven_bit.is_some() {
                self.omits_parameters = true;
                refused = self.send_mail(&envelope.in_ascii(seven_bit.as_ref())).await.err();
                self.omits_parameters = refused.is_none();
            }
        }
        if let Some(failure) = refused {
            self.reset(&failure).await;
            return Err(failure);
        }
        let envelope = &envelope.in_ascii(seven_bit.as_ref());
        let refused = self.send_recipients(envelope).await?;
        if refused.len() == envelope.recipients.len() {
            self.reset_transaction().await;
            return Ok(RecipientResults { refused, reply: None });
        }
        match self.client.command("DATA", self.deadlines.command).await {
            Ok(reply) if reply.is_intermediate() => {}
            failed => {
                // With a success, the replies are out of step: the refusals may be those of other recipients.
                let is_out_of_step = match &failed {
                    Ok(reply) => reply.is_success(),
                    Err(error) => matches!(error, SmtpError::OutOfStep),
                };
                let refused = if is_out_of_step { Vec::new() } else { refused };
                let failure = message_failure("data", failed.map_or_else(|error| error, SmtpError::Refused));
                self.reset(&failure).await;
                return Err(Failure { refused, ..failure });
            }
        }
        if let Err(failure) = record.record_begin(refused.clone()).await {
            // After DATA a transaction can only be ended by closing the connection.
            self.retire();
            return Err(failure);
        }
        match self.send_content(envelope.bytes).await {
            Ok(reply) => Ok(RecipientResults { refused, reply: Some(reply) }),
            Err(failure) => Err(Failure { refused, ..failure }),
        }
    }

    /// Sends MAIL.
    async fn send_mail(&mut self, envelope: &Envelope<'_>) -> Result<(), Failure> {
        let mail = self.mail_command(envelope)?;
        let sent = self.client.send_commands(&[&mail], self.deadlines.command).await;
        sent.map_err(|error| message_failure("mail", error))?;
        self.expect_success("mail").await
    }

    /// Sends RCPT for each recipient, and returns those that were refused.
    async fn send_recipients(&mut self, envelope: &Envelope<'_>) -> Result<Vec<Refusal>, Failure> {
        let options = self.rcpt_parameters(envelope.notify);
        let at_once = if self.offers("PIPELINING") { PIPELINED_RECIPIENTS } else { 1 };
        let mut refused = Vec::new();
        let mut throttled: Option<Failure> = None;
        for group in envelope.recipients.chunks(at_once) {
            // A throttled mailbox is throttled for the other recipients as well.
            if let Some(failure) = &throttled {
                refused.extend(group.iter().map(|recipient| (recipient.clone(), failure.clone())));
                continue;
            }
            let mut named = Vec::new();
            for recipient in group {
                if needs_smtputf8(recipient) && !self.offers("SMTPUTF8") {
                    let why = "the address needs SMTPUTF8, which the server does not offer";
                    refused.push((recipient.clone(), Failure::new("rcpt", why, Class::Permanent)));
                } else if is_path(recipient) {
                    named.push((recipient, format!("RCPT TO:<{recipient}>{options}")));
                } else {
                    refused
                        .push((recipient.clone(), Failure::new("rcpt", "the address is malformed", Class::Permanent)));
                }
            }
            let commands: Vec<&str> = named.iter().map(|(_, command)| command.as_str()).collect();
            if commands.is_empty() {
                continue;
            }
            let sent = self.client.send_commands(&commands, self.deadlines.command).await;
            sent.map_err(|error| message_failure("rcpt", error))?;
            for (recipient, _) in named {
                match self.expect_success("rcpt").await {
                    Ok(()) => {}
                    // The connection is lost, or the server is about to close it.
                    Err(failure) if failure.concerns_server => return Err(failure),
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

    fn mail_command(&self, envelope: &Envelope<'_>) -> Result<String, Failure> {
        if !is_path(envelope.from) {
            return Err(Failure::new("mail", "the address of the sender is malformed", Class::Auth));
        }
        let mut command = format!("MAIL FROM:<{}>", envelope.from);
        if envelope.utf8 {
            command.push_str(" SMTPUTF8");
        }
        if envelope.eight_bit {
            command.push_str(" BODY=8BITMIME");
        }
        if let Some(limit) = self.client.capabilities().size() {
            if limit > 0 && envelope.bytes.len() as u64 > limit {
                let why =
                    format!("the message has {} bytes, and the server accepts {limit} (SIZE)", envelope.bytes.len());
                return Err(Failure::new("mail", why, Class::Size));
            }
            if !self.omits_parameters {
                command.push_str(&format!(" SIZE={}", envelope.bytes.len()));
            }
        }
        if let Some(notify) = envelope.notify.filter(|_| self.uses_dsn()) {
            let ret = if notify.full { "FULL" } else { "HDRS" };
            command.push_str(&format!(" RET={ret} ENVID={}", envelope.id));
        }
        Ok(command)
    }

    fn rcpt_parameters(&self, notify: Option<&Notify>) -> String {
        let Some(notify) = notify.filter(|_| self.uses_dsn()) else { return String::new() };
        let wanted = [("SUCCESS", notify.success), ("FAILURE", notify.failure), ("DELAY", notify.delay)];
        let wanted: Vec<&str> = wanted.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        format!(" NOTIFY={}", if wanted.is_empty() { "NEVER".to_owned() } else { wanted.join(",") })
    }

    async fn send_content(&mut self, bytes: &[u8]) -> Result<String, Failure> {
        let SmtpDeadlines { data, dot, .. } = self.deadlines;
        let deadlines =
            DataDeadlines { whole: data + transfer_time(bytes.len()), part: data + transfer_time(PART), dot };
        match self.client.send_data(bytes, deadlines).await {
            // Neither success nor failure, or both: a success at the end does not cancel a refusal before it.
            Ok(reply) if reply.is_intermediate() || reply.is_success() && reply.is_mixed() => {
                self.retire();
                Err(Failure::new("dot", reply.to_string(), Class::Unknown).of_server())
            }
            Ok(reply) if reply.is_success() => Ok(reply.to_string()),
            Ok(reply) => Err(message_failure("dot", SmtpError::Refused(reply))),
            Err(DataError::Incomplete(error)) => Err(message_failure("data", error)),
            Err(DataError::InDoubt(error)) => Err(Failure::new("dot", error.to_string(), Class::Unknown).of_server()),
        }
    }

    /// Resets the transaction unless the connection failed.
    async fn reset(&mut self, failure: &Failure) {
        if !failure.concerns_server {
            self.reset_transaction().await;
        }
    }

    async fn reset_transaction(&mut self) {
        if !self.client.command("RSET", self.deadlines.command).await.is_ok_and(|reply| reply.is_success()) {
            self.retire();
        }
    }

    /// Makes the connection unusable for another message.
    fn retire(&mut self) {
        self.uses = MAX_USES;
    }

    /// Closes the connection with QUIT, and does not wait long for the reply.
    pub(super) async fn quit(self) {
        self.client.quit().await;
    }
}

/// Returns how long a transfer may take.
fn transfer_time(bytes: usize) -> Duration {
    Duration::from_secs((bytes / MIN_BYTES_PER_SECOND) as u64)
}

/// Explains why an extension is missing: a server that refuses EHLO offers none.
fn explain_missing(client: &SmtpClient, why: &str) -> String {
    match client.capabilities().refused() {
        Some(reply) => format!("{why} (it refuses EHLO: {reply})"),
        None => why.to_owned(),
    }
}

/// Returns true if an address can be written between the angle brackets of MAIL and RCPT: nothing in it ends them early or
/// begins another command.
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
