//! One connection to a mail server: commands and replies, each with a deadline of its own.
//!
//! [`SmtpClient`] connects, encrypts, greets and sends contents. It reads replies and does not interpret them. After an error that
//! is not a refusal, a 421, or a reply that came before its command, the connection cannot be used any more
//! ([`SmtpClient::is_broken`]). An error of [`SmtpClient::send_data`] states if the final dot may have been sent.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ProtocolVersion, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Capabilities, DataEncoder, HelloName, MalformedReply, Reply, ReplyParser};
use crate::net::handshake_fault::HandshakeFault;

/// Bytes of contents that are written at once.
pub(crate) const PART: usize = 64 * 1024;
/// Bytes that are read at once.
const READ_SIZE: usize = 8 * 1024;
/// The time that a server that stops reading has to send a reply.
const FINAL_REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to a mail server.
#[derive(Debug)]
pub(crate) struct SmtpClient {
    stream: Stream,
    /// Bytes that arrived and belong to no reply yet.
    unread: Vec<u8>,
    parser: ReplyParser,
    capabilities: Capabilities,
    is_broken: bool,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
    /// During the TLS handshake, and after it failed.
    Closed,
}

/// Settings for TLS with one server.
#[derive(Clone, Debug)]
pub(crate) struct TlsSettings {
    pub(crate) config: Arc<ClientConfig>,
    /// The host name or address that the certificate must be for.
    pub(crate) host: String,
}

/// The reason why a step with a server failed.
#[derive(Clone, Debug)]
pub(crate) enum SmtpError {
    /// The server refused, or its reply does not fit the command.
    Refused(Reply),
    /// No reply within the deadline.
    Timeout(Duration),
    /// The connection ended or broke.
    ConnectionLost(String),
    /// The peer does not speak SMTP.
    Malformed(MalformedReply),
    /// The TLS handshake failed.
    Tls(HandshakeFault),
    /// The server sent bytes in clear after its reply to STARTTLS.
    Injected,
    /// The server sent a reply before the command that it would be taken for.
    OutOfStep,
    /// A command that cannot be sent.
    InvalidCommand,
    /// The list of mechanisms for the login is empty.
    NoMechanism,
}

impl fmt::Display for SmtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reply) => reply.fmt(f),
            Self::Timeout(after) => write!(f, "no response within {} s", after.as_secs().max(1)),
            Self::ConnectionLost(why) => f.write_str(why),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Tls(fault) => fault.fmt(f),
            Self::Injected => f.write_str(
                "the server sent more than its reply to STARTTLS in clear: another machine may be in between",
            ),
            Self::OutOfStep => f.write_str("the server sent more replies than it got commands"),
            Self::NoMechanism => f.write_str("cannot log in: no login mechanism was selected"),
            Self::InvalidCommand => f.write_str("the address cannot be part of an SMTP command"),
        }
    }
}

/// Deadlines for the transmission of contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataDeadlines {
    /// The deadline for the whole contents.
    pub(crate) whole: Duration,
    /// The deadline for each part of the contents.
    pub(crate) part: Duration,
    /// The deadline for the reply to the final dot.
    pub(crate) dot: Duration,
}

/// The reason why contents have no reply.
#[derive(Debug)]
pub(crate) enum DataError {
    /// The final dot was not sent, so the server cannot have accepted the message.
    Incomplete(SmtpError),
    /// The final dot was sent, or a part of it.
    InDoubt(SmtpError),
}

impl SmtpClient {
    /// Connects to an address, and encrypts at once if `tls` is given.
    pub(crate) async fn connect(
        address: SocketAddr,
        tls: Option<&TlsSettings>,
        wait: Duration,
    ) -> Result<Self, SmtpError> {
        let until = Instant::now() + wait;
        let stream = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(SmtpError::ConnectionLost(format!("{address}: {error}"))),
            Err(_) => return Err(SmtpError::Timeout(wait)),
        };
        // The final dot is a packet of its own: without this it would wait until the contents are acknowledged, which
        // some systems do only after 40 ms.
        drop(stream.set_nodelay(true));
        let mut client = Self {
            stream: Stream::Plain(stream),
            unread: Vec::new(),
            parser: ReplyParser::default(),
            capabilities: Capabilities::default(),
            is_broken: false,
        };
        if let Some(tls) = tls {
            client.encrypt(tls, wait).await?;
        }
        Ok(client)
    }

    /// Replaces a secret wherever the server repeats it, in every later reply of the connection.
    pub(crate) fn hide_secret(&mut self, secret: &str) {
        self.parser.hide(secret);
    }

    /// Adds a line to a reply, without the secrets that are replaced.
    pub(super) fn extend_reply(&self, reply: &mut Reply, line: &str) {
        reply.push_line(line);
        reply.redact(self.parser.redaction());
    }

    /// Waits for the greeting, and greets with EHLO, or with HELO where the server does not know that.
    pub(crate) async fn greet(&mut self, hello: &HelloName, wait: Duration) -> Result<(), SmtpError> {
        let reply = self.reply(wait).await?;
        if !reply.is_success() {
            return Err(SmtpError::Refused(reply));
        }
        self.hello(hello, wait).await
    }

    /// Greets with EHLO, or with HELO where the server does not accept that, and keeps what the server offers.
    pub(crate) async fn hello(&mut self, hello: &HelloName, wait: Duration) -> Result<(), SmtpError> {
        let name = hello.for_connection(self.local_address());
        let extended = self.command(&format!("EHLO {name}"), wait).await?;
        if extended.is_success() {
            self.capabilities = Capabilities::from_reply(&extended);
            return Ok(());
        }
        if extended.is_transient() {
            return Err(SmtpError::Refused(extended));
        }
        let plain = self.command(&format!("HELO {name}"), wait).await;
        match plain {
            Ok(plain) if plain.is_success() => {
                self.capabilities = Capabilities::from_helo(&plain, extended);
                Ok(())
            }
            // If EHLO is unknown, the reply to HELO states the reason.
            Ok(plain) if matches!(extended.code(), 500 | 502) => Err(SmtpError::Refused(plain)),
            _ => Err(SmtpError::Refused(extended)),
        }
    }

    /// Encrypts the connection by STARTTLS, and greets again: extensions offered in clear are discarded (RFC 3207).
    pub(crate) async fn start_tls(
        &mut self,
        tls: &TlsSettings,
        hello: &HelloName,
        wait: Duration,
    ) -> Result<(), SmtpError> {
        let reply = self.command("STARTTLS", wait).await?;
        if !reply.is_success() {
            return Err(SmtpError::Refused(reply));
        }
        // Bytes that follow the reply in clear would be read as if they had been encrypted (CVE-2011-0411).
        if !self.unread.is_empty() {
            self.is_broken = true;
            return Err(SmtpError::Injected);
        }
        self.encrypt(tls, wait).await?;
        self.capabilities = Capabilities::default();
        self.hello(hello, wait).await
    }

    async fn encrypt(&mut self, tls: &TlsSettings, wait: Duration) -> Result<(), SmtpError> {
        let host = tls.host.trim_matches(['[', ']']).to_owned();
        self.is_broken = true;
        let Ok(name) = ServerName::try_from(host) else {
            return Err(SmtpError::ConnectionLost("the host is not a name that a certificate could be for".to_owned()));
        };
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Err(SmtpError::ConnectionLost("the connection is encrypted already".to_owned()));
        };
        let connecting = TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream);
        match timeout(wait, connecting).await {
            Err(_) => Err(SmtpError::Timeout(wait)),
            Ok(Ok(stream)) => {
                self.stream = Stream::Encrypted(Box::new(stream));
                self.is_broken = false;
                Ok(())
            }
            Ok(Err(error)) => Err(match HandshakeFault::find(&error) {
                Some(fault) => SmtpError::Tls(fault),
                None => SmtpError::ConnectionLost(format!("the connection ended within the TLS handshake: {error}")),
            }),
        }
    }

    /// Returns the extensions that the server offers.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns true if the connection cannot be used any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken || !self.unread.is_empty()
    }

    /// Returns the name of the TLS version; none in clear.
    pub(crate) fn tls_version(&self) -> Option<&'static str> {
        let Stream::Encrypted(stream) = &self.stream else { return None };
        Some(match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        })
    }

    /// Returns the server's certificate (DER); none in clear.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        let Stream::Encrypted(stream) = &self.stream else { return None };
        stream.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref)
    }

    fn local_address(&self) -> Option<IpAddr> {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Encrypted(stream) => stream.get_ref().0,
            Stream::Closed => return None,
        };
        stream.local_addr().ok().map(|address| address.ip())
    }

    /// Sends a command and returns its reply, positive or negative.
    pub(crate) async fn command(&mut self, command: &str, wait: Duration) -> Result<Reply, SmtpError> {
        self.send_commands(&[command], wait).await?;
        self.reply(wait).await
    }

    /// Sends several commands at once, to a server that offers PIPELINING (RFC 2920). Each has a reply of its own.
    pub(crate) async fn send_commands(&mut self, commands: &[&str], wait: Duration) -> Result<(), SmtpError> {
        // A line end within a command would make two of it.
        if commands.iter().any(|command| command.contains(char::is_control)) {
            return Err(SmtpError::InvalidCommand);
        }
        // A reply that has arrived already would be taken for the one to this command, and each later one for another's.
        if !self.unread.is_empty() {
            self.is_broken = true;
            return Err(SmtpError::OutOfStep);
        }
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(commands.iter().map(|c| c.len() + 2).sum()));
        for command in commands {
            bytes.extend_from_slice(command.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let until = Instant::now() + wait;
        self.write(&bytes, until, wait).await
    }

    /// Waits for a reply. All of it must arrive within the deadline.
    pub(crate) async fn reply(&mut self, wait: Duration) -> Result<Reply, SmtpError> {
        self.reply_until(Instant::now() + wait, wait).await
    }

    async fn reply_until(&mut self, until: Instant, wait: Duration) -> Result<Reply, SmtpError> {
        loop {
            let unread = std::mem::take(&mut self.unread);
            match self.parser.push(&unread) {
                Ok((taken, reply)) => {
                    self.unread = unread.get(taken..).unwrap_or_default().to_vec();
                    if let Some(reply) = reply {
                        // 421 announces the end of the connection. After an incomplete reply, its rest would be read as
                        // the next one.
                        self.is_broken |= reply.is_cut() || reply.code() == 421;
                        return Ok(reply);
                    }
                }
                Err(malformed) => {
                    self.is_broken = true;
                    return Err(SmtpError::Malformed(malformed));
                }
            }
            let mut buffer = vec![0; READ_SIZE];
            let read = match &mut self.stream {
                Stream::Plain(stream) => timeout_at(until, stream.read(&mut buffer)).await,
                Stream::Encrypted(stream) => timeout_at(until, stream.read(&mut buffer)).await,
                Stream::Closed => Ok(Ok(0)),
            };
            match read {
                Err(_) => {
                    self.is_broken = true;
                    return Err(SmtpError::Timeout(wait));
                }
                Ok(Ok(count @ 1..)) => {
                    buffer.truncate(count);
                    self.unread = buffer;
                }
                ended => {
                    self.is_broken = true;
                    if let Some(reply) = self.parser.finish() {
                        return Ok(reply);
                    }
                    return Err(SmtpError::ConnectionLost(match ended {
                        Ok(Err(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => error.to_string(),
                        _ => "the server closed the connection".to_owned(),
                    }));
                }
            }
        }
    }

    /// Sends contents after the server accepted DATA, and the final dot. Returns the reply to the dot.
    pub(crate) async fn send_data(&mut self, bytes: &[u8], deadlines: DataDeadlines) -> Result<Reply, DataError> {
        // A reply that has already arrived cannot be the one to the dot.
        if !self.unread.is_empty() {
            self.is_broken = true;
            let early = "the server replied to the contents before they were sent";
            return Err(DataError::Incomplete(SmtpError::ConnectionLost(early.to_owned())));
        }
        let DataDeadlines { whole, part, dot } = deadlines;
        let end = Instant::now() + whole;
        let mut encoder = DataEncoder::default();
        let mut encoded = Vec::with_capacity(bytes.len().min(PART) + PART / 64);
        for chunk in bytes.chunks(PART) {
            encoded.clear();
            encoder.encode(chunk, &mut encoded);
            let until = end.min(Instant::now() + part);
            match self.write(&encoded, until, part).await {
                Ok(()) => {}
                Err(SmtpError::Timeout(after)) => {
                    return Err(DataError::Incomplete(SmtpError::ConnectionLost(format!(
                        "the server stopped reading: {}",
                        SmtpError::Timeout(after)
                    ))));
                }
                // A server that aborts the transmission sends a reply before it closes the connection.
                Err(error) => {
                    let reply = self.reply(FINAL_REPLY_TIMEOUT).await;
                    self.is_broken = true;
                    return Err(DataError::Incomplete(match reply {
                        Ok(reply) if !reply.is_success() && !reply.is_intermediate() => SmtpError::Refused(reply),
                        _ => error,
                    }));
                }
            }
        }
        encoded.clear();
        encoder.finish(&mut encoded);
        let until = Instant::now() + dot;
        self.write(&encoded, until, dot).await.map_err(DataError::InDoubt)?;
        self.reply_until(until, dot).await.map_err(DataError::InDoubt)
    }

    /// Sends QUIT, and waits for at most two seconds.
    pub(crate) async fn quit(mut self) {
        if !self.is_broken() {
            drop(self.command("QUIT", Duration::from_secs(2)).await);
        }
    }

    async fn write(&mut self, bytes: &[u8], until: Instant, wait: Duration) -> Result<(), SmtpError> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => timeout_at(until, write_all(stream, bytes)).await,
            Stream::Encrypted(stream) => timeout_at(until, write_all(stream, bytes)).await,
            Stream::Closed => Ok(Err(std::io::ErrorKind::NotConnected.into())),
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.is_broken = true;
                Err(SmtpError::ConnectionLost(error.to_string()))
            }
            Err(_) => {
                self.is_broken = true;
                Err(SmtpError::Timeout(wait))
            }
        }
    }
}

async fn write_all<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
