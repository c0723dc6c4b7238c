//! Transport of the client: sends one HTTP request to a service within limits of time and size, and classifies a failure.
//!
//! [`Transport`] belongs to one service; [`Connections`] are shared by the transports of several. A failure is a [`Problem`]
//! whose code distinguishes a service that does not answer, an untrusted certificate, a refusal, and another API version. A
//! request fails after 10 seconds without a connection, 60 seconds without data or 5 minutes in all (a verification after an
//! hour), an answer beyond 256 MiB. `http://` is refused for other machines unless the caller allows it. Nothing here retries,
//! follows a redirect, or knows an endpoint.

use std::time::Duration;

use reqwest::{
    Method, Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::{ClientOptions, Progress};
use crate::{
    api::{
        self, ENVIRONMENT_HEADER, IDEMPOTENCY_KEY_HEADER, ProblemDetails, THIS_SERVICE, VERSION_HEADER,
        delegates::SENDER_TOKEN_HEADER,
    },
    model::{Code, Problem},
    net::{
        certificate_fault::CertificateFault,
        handshake_fault::HandshakeFault,
        http_client::{HttpClient, describe_error, is_loopback_url},
        tls::Trust,
    },
    sync::Mutex,
    text::shell::quote_posix,
};

/// The largest answer that is read, in bytes: twenty times the size of ten thousand profiles.
const ANSWER_LIMIT: usize = 256 * 1024 * 1024;

/// The time limit of a verification.
const LINES_DEADLINE: Duration = Duration::from_secs(3600);

/// Connections that clients of several services share. Preparing TLS, with all authorities that a machine trusts, takes longer
/// than a request.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Vec<Prepared>>);

/// Connections that trust certain certificates in addition to the machine's authorities.
#[derive(Debug)]
struct Prepared {
    authority: Option<Vec<u8>>,
    http: HttpClient,
}

impl Connections {
    fn get(&self, authority: Option<&[u8]>) -> Result<HttpClient, Problem> {
        let mut prepared = self.0.lock();
        if let Some(found) = prepared.iter().find(|found| found.authority.as_deref() == authority) {
            return Ok(found.http.clone());
        }
        let http = prepare(authority)?;
        prepared.push(Prepared { authority: authority.map(<[u8]>::to_vec), http: http.clone() });
        Ok(http)
    }
}

fn prepare(authority: Option<&[u8]>) -> Result<HttpClient, Problem> {
    let tls = Trust::new(authority).and_then(|trust| trust.client_config()).map_err(|why| {
        Problem::new(Code::TlsFailed, format!("cannot use the certificates for the service: {why}"))
            .remedy("Give `--ca-file` or MAILWRIGHT_CA_FILE a file that begins with `-----BEGIN CERTIFICATE-----`.")
    })?;
    Ok(HttpClient::new(move |builder| {
        builder
            .tls_backend_preconfigured(tls.clone())
            // Idle connections to a thousand services are not kept.
            .pool_idle_timeout(Duration::from_secs(2))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .timeout(Duration::from_secs(300))
    }))
}

/// Sends requests to one service.
pub(super) struct Transport {
    http: HttpClient,
    base: Url,
    address: String,
    authorization: SecretString,
    environment: Option<HeaderValue>,
}

impl Transport {
    pub(super) fn new(address: &str, token: SecretString, options: &ClientOptions<'_>) -> Result<Self, Problem> {
        let base = parse_address(address, options.allow_clear_text)?;
        let http = match options.connections {
            Some(connections) => connections.get(options.authority)?,
            None => prepare(options.authority)?,
        };
        http.prepare(&base).map_err(|error| unprepared(&error))?;
        // A token with a line end or other control character would break the header.
        if token.expose_secret().is_empty() || !token.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Problem::new(
                Code::TokenMissing,
                "the token is empty, or has characters that are not allowed in a token",
            )
            .remedy("Use the token alone, as `mailwright token create` printed it."));
        }
        let authorization = SecretString::from(format!("Bearer {}", token.expose_secret()));
        let environment = options.environment.map(|name| HeaderValue::from_str(name.as_str())).transpose();
        let environment = environment.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        Ok(Self { http, address: base.as_str().trim_end_matches('/').to_owned(), base, authorization, environment })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn request(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<reqwest::RequestBuilder, Problem> {
        let url = self
            .base
            .join(path.trim_start_matches('/'))
            .map_err(|error| Problem::new(Code::AddressMissing, format!("`{path}` is not a valid path: {error}")))?;
        let mut authorization = HeaderValue::from_str(self.authorization.expose_secret()).map_err(|_| {
            Problem::new(Code::TokenMissing, "the token has characters that are not allowed in a token")
        })?;
        authorization.set_sensitive(true);
        let mut request =
            self.http.request(method, url).map_err(|error| unprepared(&error))?.header(AUTHORIZATION, authorization);
        if let Some(environment) = &self.environment {
            request = request.header(ENVIRONMENT_HEADER, environment);
        }
        // On this machine, compression takes longer than the transfer.
        if is_loopback_url(&self.base) {
            request = request.header(ACCEPT_ENCODING, "identity");
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        Ok(request)
    }

    /// Sends a request, and reads the answer as `T`. `path` begins with a slash and may have a query.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, Problem> {
        let bytes = self.exchange(self.request(method, path, body)?).await?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))
    }

    /// Posts a body of any media type, with an idempotency key if there is one.
    pub(super) async fn post_as<T: DeserializeOwned>(
        &self,
        path: &str,
        media_type: &'static str,
        key: Option<&str>,
        sender: Option<&SecretString>,
        body: Vec<u8>,
    ) -> Result<T, Problem> {
        let mut request = self.request(Method::POST, path, None)?.header(CONTENT_TYPE, media_type).body(body);
        if let Some(token) = sender {
            let unusable = |_| Problem::new(Code::SenderTokenRefused, "the ID token cannot be written into a header");
            let mut value = HeaderValue::from_str(token.expose_secret()).map_err(unusable)?;
            value.set_sensitive(true);
            request = request.header(SENDER_TOKEN_HEADER, value);
        }
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY_HEADER, key);
        }
        let bytes = self.exchange(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))
    }

    /// Posts JSON, and updates the progress meanwhile.
    pub(super) async fn post_watched<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
        progress: &Progress,
    ) -> Result<T, Problem> {
        let request = self.request(Method::POST, path, None)?.header(CONTENT_TYPE, "application/json");
        let bytes = self.exchange(request.body(progress.watch(body))).await?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))
    }

    /// Reads an answer as bytes.
    pub(super) async fn bytes(&self, path: &str) -> Result<Vec<u8>, Problem> {
        self.exchange(self.request(Method::GET, path, None)?).await
    }

    /// Sends a request, and ignores the body of the answer.
    pub(super) async fn send_and_discard(&self, method: Method, path: &str) -> Result<(), Problem> {
        self.exchange(self.request(method, path, None)?).await.map(drop)
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Problem> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        self.check_version(&response)?;
        let bytes = self.read(response).await?;
        if status.is_success() { Ok(bytes) } else { Err(self.refused(status, &bytes)) }
    }

    /// Posts JSON, and calls `each` with each line of the answer.
    pub(super) async fn lines(
        &self,
        path: &str,
        body: Vec<u8>,
        mut each: impl FnMut(&[u8]) -> Result<(), serde_json::Error>,
    ) -> Result<(), Problem> {
        // A verification takes as long as the slowest mail server; the service limits each step.
        let request = self.request(Method::POST, path, Some(body))?.timeout(LINES_DEADLINE);
        let mut response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        self.check_version(&response)?;
        if !status.is_success() {
            let bytes = self.read(response).await?;
            return Err(self.refused(status, &bytes));
        }
        let mut rest = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(&line).map_err(|error| unreadable(&error))?;
            }
            if rest.len() > ANSWER_LIMIT {
                return Err(Problem::new(Code::IncompleteAnswer, "a line in the answer of the service is too large"));
            }
        }
        Ok(())
    }

    /// Checks the API version, which every answer of a service has. An answer without it comes from another program.
    fn check_version(&self, response: &Response) -> Result<(), Problem> {
        let version = response.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        match version {
            Some(version) if version == api::VERSION.to_string() => Ok(()),
            Some(version) => Err(Problem::new(
                Code::VersionMismatch,
                format!(
                    "the service at {} has version {version} of the API, this program version {}",
                    self.address,
                    api::VERSION
                ),
            )
            .remedy("Use a `mailwright` of the version of the service; `mailwright --version` prints the version of this one.")),
            // The answer of a proxy while the service restarts.
            None if matches!(response.status().as_u16(), 502..=504) => Err(Problem::new(
                Code::ServiceUnreachable,
                format!(
                    "the proxy at {} reports that the service does not answer (HTTP {})",
                    self.address,
                    response.status().as_u16()
                ),
            )
            .remedy("Start the service, or wait until it has restarted.")),
            None => Err(Problem::new(
                Code::NotMailwright,
                format!(
                    "the server at {} is not a Mailwright service (HTTP {})",
                    self.address,
                    response.status().as_u16()
                ),
            )
            .remedy("Check the address, and any proxy in between.")),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(Problem::new(Code::IncompleteAnswer, "the answer of the service is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Problem {
        let Ok(document) = serde_json::from_slice::<ProblemDetails>(body) else {
            return Problem::new(
                Code::NotMailwright,
                format!("the service at {} answered HTTP {} without a reason", self.address, status.as_u16()),
            );
        };
        let remedy = match document.code {
            Code::TokenRefused if document.remedy.is_empty() => {
                "Check which token is in MAILWRIGHT_TOKEN or its file; it may have expired or belong to another service.".to_owned()
            }
            _ => self.name_environment(&document.remedy),
        };
        let message = match document.code {
            // The address is wrong, so the message names it.
            Code::NotHosted => format!("{}: {}", self.address, document.detail),
            Code::WrongEnvironment => match document.detail.strip_prefix(THIS_SERVICE) {
                Some(rest) => format!("the service at {}{rest}", self.address),
                None => document.detail,
            },
            _ => document.detail,
        };
        let problem = Problem::new(document.code, message).remedy(remedy);
        document.violations.iter().fold(problem, |problem, violation| problem.detail(violation.to_string()))
    }

    /// Returns a remedy of the service with the name of the environment, which the service leaves to the caller.
    fn name_environment(&self, remedy: &str) -> String {
        let Some(name) = self.environment.as_ref().and_then(|name| name.to_str().ok()) else {
            return remedy.to_owned();
        };
        remedy.replace(" ENV ", &format!(" {name} ")).replace("/environments/NAME", &format!("/environments/{name}"))
    }

    /// Classifies a failure of the connection.
    fn failed(&self, error: &reqwest::Error) -> Problem {
        let address = &self.address;
        // A connection that breaks later leaves open whether the request was read.
        let is_unread = |fault: &HandshakeFault| error.is_connect() || *fault == HandshakeFault::ClientCertificate;
        if let Some(fault) = HandshakeFault::find(error).filter(|fault| fault.is_lasting() && is_unread(fault)) {
            return Problem::new(Code::TlsFailed, format!("cannot connect to {address} by TLS: {fault}"))
                .remedy(self.tls_remedy(&fault));
        }
        let why = describe_error(error);
        if self.base.scheme() == "http" && why.to_lowercase().contains("invalid http version") {
            return Problem::new(Code::NotMailwright, format!("the server at {address} does not speak unencrypted HTTP: {why}"))
                .remedy("If the service has a certificate (`--tls-cert`), its address begins with `https://`; otherwise correct the address.");
        }
        if error.is_connect() || error.is_timeout() && !error.is_body() {
            return Problem::new(Code::ServiceUnreachable, format!("no service answers at {address}: {why}"))
                .remedy("Start it with `mailwright serve`, or correct the address (`--service URL`, MAILWRIGHT_SERVICE, `service.address`).");
        }
        Problem::new(Code::IncompleteAnswer, format!("the answer of {address} was interrupted: {why}"))
            .remedy("Try again; a changeset that was accepted is not applied twice.")
    }

    fn tls_remedy(&self, fault: &HandshakeFault) -> String {
        let remedy = match fault {
            HandshakeFault::Certificate(fault) => match fault {
                CertificateFault::Expired { .. } => {
                    "Renew the certificate of the service (`--tls-cert`), or that of its proxy."
                }
                CertificateFault::NotYetValid { .. } => {
                    "Correct this machine's clock, or replace the service's certificate (`--tls-cert`)."
                }
                CertificateFault::Name { .. } | CertificateFault::NoName { .. } => {
                    "Correct the address to a name in the certificate, or replace the certificate: `mailwright explain MW0203` has the command."
                }
                CertificateFault::UnknownIssuer { .. }
                | CertificateFault::SelfSigned
                | CertificateFault::Authority
                | CertificateFault::NoAuthorities => {
                    "If this is the right service, pass its certificate, or that of the issuing authority, with `--ca-file FILE` or MAILWRIGHT_CA_FILE."
                }
                CertificateFault::Version { .. }
                | CertificateFault::WeakSignature { .. }
                | CertificateFault::KeySize { .. }
                | CertificateFault::NameConstraint
                | CertificateFault::IssuerNotAuthority
                | CertificateFault::CriticalExtension
                | CertificateFault::Chain
                | CertificateFault::RevocationUnknown
                | CertificateFault::Purpose
                | CertificateFault::Revoked
                | CertificateFault::Malformed
                | CertificateFault::Other { .. } => {
                    "Replace the service's certificate: `mailwright explain MW0203` has the command."
                }
            },
            HandshakeFault::Version | HandshakeFault::Cipher => {
                "Enable TLS 1.2 or 1.3 with ECDHE and AES-GCM or ChaCha20-Poly1305 in the proxy of the service."
            }
            HandshakeFault::NotTls => {
                "If the service listens without TLS on this machine, its address begins with `http://`."
            }
            HandshakeFault::ClientCertificate => {
                "Configure the proxy of the service to accept clients without a certificate: the token authenticates them."
            }
            HandshakeFault::Alert { .. } | HandshakeFault::Other { .. } => {
                let host = self.base.host_str().unwrap_or_default();
                let port = self.base.port_or_known_default().unwrap_or(443);
                return format!(
                    "Inspect the server: openssl s_client -connect {} -servername {} </dev/null",
                    quote_posix(&format!("{host}:{port}")),
                    quote_posix(host)
                );
            }
        };
        remedy.to_owned()
    }
}

fn unprepared(error: &reqwest::Error) -> Problem {
    Problem::new(Code::ServiceUnreachable, format!("cannot prepare requests: {}", describe_error(error)))
}

fn parse_address(address: &str, allow_clear_text: bool) -> Result<Url, Problem> {
    let wrong = |why: &str| {
        Problem::new(Code::AddressMissing, format!("`{address}` is not the address of a service: {why}"))
            .remedy("Write it as https://host or https://host:port.")
    };
    // An address with a password is not shown.
    if address.contains('@') {
        return Err(Problem::new(
            Code::AddressMissing,
            "the address of a service must not have a user name or password",
        )
        .remedy("Write it as https://host or https://host:port; the token goes into MAILWRIGHT_TOKEN."));
    }
    let mut url = Url::parse(address).map_err(|error| wrong(&error.to_string()))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    match url.scheme() {
        "https" => {}
        "http" if allow_clear_text || is_loopback_url(&url) => {}
        "http" => {
            return Err(Problem::new(
                Code::ClearText,
                format!("the token would be sent to `{host}` without encryption"),
            )
            .remedy("Use https://, or `--allow-clear-text` where the network in between is trusted."));
        }
        _ => return Err(wrong("it must begin with https:// or http://")),
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Returns the problem of a document that cannot be read or written.
pub(super) fn unreadable(error: &serde_json::Error) -> Problem {
    // The message of serde_json may quote a value, so only kind and place are used.
    Problem::new(
        Code::IncompleteAnswer,
        format!(
            "cannot read the answer of the service: {:?} error at line {}, column {}",
            error.classify(),
            error.line(),
            error.column()
        ),
    )
    .remedy("Check that this program and the service have the same version.")
}
