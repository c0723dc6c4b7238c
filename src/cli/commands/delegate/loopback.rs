//! Loopback address of a sign-in with the browser: a short link that leads to the sign-in page once, and the answer of that page.
//!
//! [`Loopback::open`] listens on this machine, and [`Loopback::wait_for_code`] answers the browser. Other users of the machine see
//! the arguments of a program, so the browser is started with [`Loopback::link`]. The address of the sign-in page, with its state,
//! nonce and PKCE challenge, is only in the answer to the first request for that link. An answer with another state than that of
//! the sign-in is ignored. Nothing here redeems a code.

use std::time::Duration;

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::cli::{Printer, variables};

/// The time in which a request to the loopback address arrives.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest request to the loopback address that is read. A code has about 1,500 bytes.
const REQUEST_LIMIT: usize = 32 * 1024;
/// The largest number of connections to the loopback address in one sign-in.
const CONNECTIONS: usize = 50;

/// The reason why the loopback address got no code.
pub(super) enum AnswerError {
    Io(String),
    Refused { error: String, description: String },
}

/// A listener on this machine, for one sign-in.
pub(super) struct Loopback {
    listener: TcpListener,
    port: u16,
    /// The random part of the link.
    secret: String,
}

impl Loopback {
    /// Listens on a free port. `secret` is random, so that only the browser that got the link can begin the sign-in.
    pub(super) async fn open(secret: String) -> Result<Self, std::io::Error> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port, secret })
    }

    /// Returns the redirect URI of the sign-in. Entra ignores the port of `localhost`.
    pub(super) fn redirect(&self) -> Result<Url, String> {
        Url::parse(&format!("http://localhost:{}/", self.port)).map_err(|error| error.to_string())
    }

    /// Returns the address that the browser is started with.
    pub(super) fn link(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path())
    }

    fn path(&self) -> String {
        format!("/start/{}", self.secret)
    }

    /// Leads the browser to the sign-in page, once, and waits for the answer of that page. Returns its code. Other requests are
    /// answered and ignored.
    pub(super) async fn wait_for_code(&self, sign_in_page: &Url, state: &str) -> Result<String, AnswerError> {
        let (start, mut is_started) = (self.path(), false);
        for _ in 0..CONNECTIONS {
            let accepted = self.listener.accept().await;
            let (mut stream, _) =
                accepted.map_err(|error| AnswerError::Io(format!("cannot read the answer: {error}")))?;
            match read_address(&mut stream).await {
                Some(address) if address.path() == start && !is_started => {
                    is_started = true;
                    redirect(&mut stream, sign_in_page).await;
                }
                Some(address) if address.path() == start => {
                    let text =
                        "This link was used. If not by you, stop the program. Otherwise start the sign-in again.";
                    answer(&mut stream, "410 Gone", text).await;
                }
                Some(address) if address.path() == "/" && address.query().is_some() => {
                    if let Some(code) = read_answer(&mut stream, &address, state).await? {
                        return Ok(code);
                    }
                }
                _ => answer(&mut stream, "404 Not Found", "There is nothing here.").await,
            }
        }
        Err(AnswerError::Io("too many requests came to the loopback address".to_owned()))
    }
}

/// Opens the link with the program of the desktop. If that fails, the link that was printed is there.
pub(super) fn open_browser(printer: &Printer, link: &str) {
    let given = variables::read(variables::BROWSER);
    let program =
        given.unwrap_or_else(|| if cfg!(target_os = "macos") { "open".to_owned() } else { "xdg-open".to_owned() });
    let mut command = std::process::Command::new(&program);
    let quiet = std::process::Stdio::null;
    let started = command.arg(link).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    if let Err(error) = started {
        printer.note(&format!("The browser cannot be opened (`{program}`: {error}); open the address above."));
    }
}

/// Reads the answer of the sign-in page. Returns the code; none if the request is not an answer to this sign-in.
async fn read_answer(stream: &mut TcpStream, address: &Url, state: &str) -> Result<Option<String>, AnswerError> {
    let query: Vec<(String, String)> = address.query_pairs().into_owned().collect();
    let parameter = |name: &str| query.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    // An answer to another sign-in, or one that was forged.
    if parameter("state") != Some(state) {
        answer(stream, "400 Bad Request", "This is not the answer to the sign-in that was begun.").await;
        return Ok(None);
    }
    if let Some(error) = parameter("error") {
        answer(stream, "200 OK", "The sign-in failed. The program says why. You can close this page.").await;
        let description = parameter("error_description").unwrap_or_default().to_owned();
        return Err(AnswerError::Refused { error: error.to_owned(), description });
    }
    if let Some(code) = parameter("code").filter(|code| !code.is_empty()) {
        answer(stream, "200 OK", "Signed in. You can close this page.").await;
        return Ok(Some(code.to_owned()));
    }
    answer(stream, "400 Bad Request", "The answer has no code.").await;
    Ok(None)
}

/// Reads the address of a GET request; none if it is another request.
async fn read_address(stream: &mut TcpStream) -> Option<Url> {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") && bytes.len() < REQUEST_LIMIT {
            let mut part = [0; 4096];
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(&part[..count]),
            }
        }
    };
    tokio::time::timeout(REQUEST_TIMEOUT, read).await.ok()?;
    let head = String::from_utf8(bytes).ok()?;
    let target = head.lines().next()?.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    Url::parse("http://localhost/").ok()?.join(&target).ok()
}

async fn redirect(stream: &mut TcpStream, address: &Url) {
    let head = format!("302 Found\r\nLocation: {address}");
    answer(stream, &head, "The sign-in page opens.").await;
}

/// Answers a request. `head` is the status, and further headers.
async fn answer(stream: &mut TcpStream, head: &str, text: &str) {
    let body = format!("<!DOCTYPE html><meta charset=\"utf-8\"><title>Mailwright</title><p>{text}</p>");
    let head = format!(
        "HTTP/1.1 {head}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'\r\nConnection: close\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(format!("{head}{body}").as_bytes()).await);
    drop(stream.shutdown().await);
}
