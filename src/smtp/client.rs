//! One connection to a mail server: commands and replies, each with a deadline of its own.
//!
//! [`SmtpClient`] connects, encrypts, greets and sends contents. What a reply means is the caller's; here it is only read.
//! After an error that is not a refusal the connection is of no use any more, and [`SmtpClient::is_broken`] says so.

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
use crate::net::tls::HandshakeFault;

/// Bytes of contents that are written at once.
pub(crate) const PART: usize = 64 * 1024;
/// Bytes that are read at once.
const READ: usize = 8 * 1024;
/// How long a server that stops reading has to say why.
const LAST_WORD: Duration = Duration::from_secs(2);

/// A connection to a mail server.
#[derive(Debug)]
pub(crate) struct SmtpClient {
    stream: Stream,
    /// What arrived and belongs to no reply yet.
    unread: Vec<u8>,
    parser: ReplyParser,
    capabilities: Capabilities,
    is_broken: bool,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
    /// While TLS is being set up, and for good where that failed.
    Gone,
}

/// How a server is to be known over TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsSettings {
    pub(crate) config: Arc<ClientConfig>,
    /// The host name or address that the certificate must be for.
    pub(crate) host: String,
}

/// Why a step with a server failed.
#[derive(Clone, Debug)]
pub(crate) enum SmtpError {
    /// The server refused, or its reply does not fit the command.
    Refused(Reply),
    /// No reply within the deadline.
    Silent(Duration),
    /// The connection ended or broke.
    Lost(String),
    /// What answers does not speak SMTP.
    Malformed(MalformedReply),
    /// The TLS handshake failed.
    Tls(HandshakeFault),
    /// The server sent something before encryption began that nobody asked for.
    Injected,
    /// A command that cannot be sent.
    Unsendable,
}

impl fmt::Display for SmtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reply) => reply.fmt(f),
            Self::Silent(after) => write!(f, "nothing for {} s", after.as_secs().max(1)),
            Self::Lost(why) => f.write_str(why),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Tls(fault) => fault.fmt(f),
            Self::Injected => f.write_str(
                "the server sent more than its reply to STARTTLS in clear: another machine may be in between",
            ),
            Self::Unsendable => f.write_str("the address cannot be part of an SMTP command"),
        }
    }
}

/// How long the transmission of contents may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataDeadlines {
    /// For all of the contents.
    pub(crate) whole: Duration,
    /// For each part of them.
    pub(crate) part: Duration,
    /// For the reply to the final dot.
    pub(crate) dot: Duration,
}

/// Why contents have no reply.
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
            Ok(Err(error)) => return Err(SmtpError::Lost(format!("{address}: {error}"))),
            Err(_) => return Err(SmtpError::Silent(wait)),
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
            // Where the command is unknown, the reply to the other one says what is wrong.
            Ok(plain) if matches!(extended.code(), 500 | 502) => Err(SmtpError::Refused(plain)),
            _ => Err(SmtpError::Refused(extended)),
        }
    }

    /// Encrypts the connection by STARTTLS, and greets again: what was offered in clear counts no more (RFC 3207).
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
        // Whatever follows the reply in clear would be taken for the server's encrypted words (CVE-2011-0411).
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
            return Err(SmtpError::Lost("the host is not a name that a certificate could be for".to_owned()));
        };
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(SmtpError::Lost("the connection is encrypted already".to_owned()));
        };
        let connecting = TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream);
        match timeout(wait, connecting).await {
            Err(_) => Err(SmtpError::Silent(wait)),
            Ok(Ok(stream)) => {
                self.stream = Stream::Encrypted(Box::new(stream));
                self.is_broken = false;
                Ok(())
            }
            Ok(Err(error)) => Err(match HandshakeFault::find(&error) {
                Some(fault) => SmtpError::Tls(fault),
                None => SmtpError::Lost(format!("the connection ended within the TLS handshake: {error}")),
            }),
        }
    }

    /// What the server offers.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns true once the connection is of no use any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The version of TLS in words; none in clear.
    pub(crate) fn tls_version(&self) -> Option<&'static str> {
        let Stream::Encrypted(stream) = &self.stream else { return None };
        Some(match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        })
    }

    /// The server's certificate (DER); none in clear.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        let Stream::Encrypted(stream) = &self.stream else { return None };
        stream.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref)
    }

    fn local_address(&self) -> Option<IpAddr> {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Encrypted(stream) => stream.get_ref().0,
            Stream::Gone => return None,
        };
        stream.local_addr().ok().map(|address| address.ip())
    }

    /// Sends a command and waits for its reply, whatever that says.
    pub(crate) async fn command(&mut self, command: &str, wait: Duration) -> Result<Reply, SmtpError> {
        self.send_commands(&[command], wait).await?;
        self.reply(wait).await
    }

    /// Sends commands at once, which takes a server that offers PIPELINING (RFC 2920). Each has a reply of its own.
    pub(crate) async fn send_commands(&mut self, commands: &[&str], wait: Duration) -> Result<(), SmtpError> {
        // A line end within a command would make two of it.
        if commands.iter().any(|command| command.contains(char::is_control)) {
            return Err(SmtpError::Unsendable);
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
                        // 421 announces the end of the connection, and after a part of a reply the rest would follow.
                        self.is_broken |= reply.is_cut() || reply.code() == 421;
                        return Ok(reply);
                    }
                }
                Err(malformed) => {
                    self.is_broken = true;
                    return Err(SmtpError::Malformed(malformed));
                }
            }
            let mut buffer = vec![0; READ];
            let read = match &mut self.stream {
                Stream::Plain(stream) => timeout_at(until, stream.read(&mut buffer)).await,
                Stream::Encrypted(stream) => timeout_at(until, stream.read(&mut buffer)).await,
                Stream::Gone => Ok(Ok(0)),
            };
            match read {
                Err(_) => {
                    self.is_broken = true;
                    return Err(SmtpError::Silent(wait));
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
                    return Err(SmtpError::Lost(match ended {
                        Ok(Err(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => error.to_string(),
                        _ => "the server closed the connection".to_owned(),
                    }));
                }
            }
        }
    }

    /// Sends contents, which the server has said it waits for, and the final dot; returns the reply to that.
    pub(crate) async fn send_data(&mut self, bytes: &[u8], deadlines: DataDeadlines) -> Result<Reply, DataError> {
        // A reply that is here already cannot be the one to the dot.
        if !self.unread.is_empty() {
            self.is_broken = true;
            let early = "the server replied to the contents before they were sent";
            return Err(DataError::Incomplete(SmtpError::Lost(early.to_owned())));
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
                Err(SmtpError::Silent(after)) => {
                    return Err(DataError::Incomplete(SmtpError::Lost(format!(
                        "the server read no more: {}",
                        SmtpError::Silent(after)
                    ))));
                }
                // A server that has enough of it says so before it hangs up.
                Err(error) => {
                    let said = self.reply(LAST_WORD).await;
                    self.is_broken = true;
                    return Err(DataError::Incomplete(match said {
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

    /// Says good-bye, and does not wait for long.
    pub(crate) async fn quit(mut self) {
        if !self.is_broken {
            drop(self.command("QUIT", Duration::from_secs(2)).await);
        }
    }

    async fn write(&mut self, bytes: &[u8], until: Instant, wait: Duration) -> Result<(), SmtpError> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => timeout_at(until, write_all(stream, bytes)).await,
            Stream::Encrypted(stream) => timeout_at(until, write_all(stream, bytes)).await,
            Stream::Gone => Ok(Err(std::io::ErrorKind::NotConnected.into())),
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.is_broken = true;
                Err(SmtpError::Lost(error.to_string()))
            }
            Err(_) => {
                self.is_broken = true;
                Err(SmtpError::Silent(wait))
            }
        }
    }
}

async fn write_all<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
