//! Local stand-ins for Entra, Microsoft Graph, a mail server and a name server, for experiments and tests.
//!
//! [`SandboxServer::start`] serves a [`Scenario`]. Only `cli` uses this module: a profile reaches
//! the sandbox by the cloud `custom` or by a host name, like the real services. Replies follow
//! Microsoft's documentation, errors included. The sandbox writes nothing to disk but its
//! authority, if it is to be kept, and its secrets protect nothing.
//!
//! | part | contents |
//! | --- | --- |
//! | `entra` | discovery, authorize, device code, tokens, the end of a session |
//! | `graph` | the directory, its address book, mailboxes, `sendMail`, upload sessions, `$batch`, user info |
//! | `reply_headers` | headers of replies, with those that browsers need (CORS) |
//! | `smtp`, `dns` | a mail server and text records |
//! | [`faults`] | faults that a scenario injects |
//! | `authority` | its certificate authority, created at each start or kept in a folder |
//!
//! Under `/sandbox` it can be inspected and changed while it runs: `GET /sandbox/mail`, `GET /sandbox/requests`,
//! `POST /sandbox/introspect`, `GET` and `PUT /sandbox/scenario`, `GET`, `POST` and `DELETE /sandbox/faults`, `GET` and
//! `POST /sandbox/device`.

mod authority;
mod dns;
mod entra;
pub mod faults;
mod graph;
mod reply_headers;
pub mod scenario;
mod smtp;
mod tokens;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    path::Path,
    sync::{Arc, RwLock},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use faults::Fault;
use jiff::Timestamp;
pub use scenario::Scenario;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::Mutex,
    task::JoinSet,
};

use crate::time::Clock;

/// The number of mails and requests that are kept.
const KEPT: usize = 10_000;

/// Ports of the sandbox. Port 0 means any free one.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Entra and Graph, over HTTPS.
    pub https: u16,
    /// A mail server with STARTTLS.
    pub smtp: u16,
    /// A mail server with TLS from the first byte.
    pub smtps: u16,
    /// A name server.
    pub dns: u16,
}

/// A mail that the sandbox accepted.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SentMail {
    by: String,
    from: String,
    /// The time of acceptance.
    at: Timestamp,
    mail: Value,
}

/// A request that was received, and the status of its reply.
#[derive(Clone, Debug, Serialize)]
struct RequestRecord {
    method: String,
    path: String,
    status: u16,
}

/// The sandbox's state.
pub(crate) struct Sandbox {
    address: String,
    clock: Clock,
    scenario: RwLock<Arc<Scenario>>,
    tokens: tokens::Tokens,
    user_consents: Mutex<HashMap<String, entra::UserConsent>>,
    refresh_tokens: Mutex<HashMap<String, entra::UserConsent>>,
    devices: Mutex<HashMap<String, entra::DeviceSignIn>>,
    drafts: Mutex<HashMap<String, (String, Value)>>,
    uploads: Mutex<HashMap<String, graph::Upload>>,
    mail: Mutex<VecDeque<SentMail>>,
    requests: Mutex<VecDeque<RequestRecord>>,
}

impl Sandbox {
    fn new(address: String, scenario: Scenario) -> Result<Self, String> {
        Ok(Self {
            address,
            clock: Clock::system(),
            scenario: RwLock::new(Arc::new(scenario)),
            tokens: tokens::Tokens::new()?,
            user_consents: Mutex::default(),
            refresh_tokens: Mutex::default(),
            devices: Mutex::default(),
            drafts: Mutex::default(),
            uploads: Mutex::default(),
            mail: Mutex::default(),
            requests: Mutex::default(),
        })
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn scenario(&self) -> Arc<Scenario> {
        Arc::clone(&self.scenario.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Scenario)) {
        let mut scenario = self.scenario.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(Arc::make_mut(&mut scenario));
    }

    /// Returns the time of the sandbox: the clock's, plus the offset of the scenario.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_second(now.as_second() + self.scenario().clock).unwrap_or(now)
    }

    /// Returns the fault for a path, if the scenario has one, and counts it.
    fn take_fault(&self, path: &str) -> Option<Fault> {
        if self.scenario().faults.is_empty() {
            return None;
        }
        let mut found = None;
        self.change(|scenario| {
            if let Some(fault) =
                scenario.faults.iter_mut().find_map(|fault| fault.applies_to(path).then(|| fault.clone()))
            {
                found = Some(fault);
            }
        });
        found
    }

    /// Keeps a mail that was accepted. Beyond the limit, the oldest mail is dropped.
    async fn record_mail(&self, sent: SentMail) {
        let mut mail = self.mail.lock().await;
        if mail.len() >= KEPT {
            mail.pop_front();
        }
        mail.push_back(sent);
    }
}

/// A running sandbox, until it is dropped.
pub struct SandboxServer {
    /// Entra and Graph: `https://localhost:PORT`.
    pub address: String,
    /// The mail server with STARTTLS.
    pub smtp: SocketAddr,
    /// The mail server with TLS from the first byte.
    pub smtps: SocketAddr,
    /// The name server.
    pub dns: SocketAddr,
    /// The certificate authority, in PEM form.
    pub authority: String,
    tasks: JoinSet<()>,
}

impl SandboxServer {
    /// Starts everything on 127.0.0.1, with a new certificate authority.
    pub async fn start(scenario: Scenario, ports: Ports) -> Result<Self, String> {
        Self::start_with_authority(scenario, ports, None).await
    }

    /// Starts everything on 127.0.0.1. The certificate authority is that of a folder, which is filled if it has none.
    pub async fn start_with_authority(scenario: Scenario, ports: Ports, folder: Option<&Path>) -> Result<Self, String> {
        let authority = authority::Authority::new(&["localhost".to_owned(), "127.0.0.1".to_owned()], folder)?;
        let listen_error =
            |what: &str, port: u16, error: &std::io::Error| format!("cannot listen for {what} on port {port}: {error}");
        let listen = async |what: &str, port: u16| {
            TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| listen_error(what, port, &error))
        };
        let https = listen("HTTPS", ports.https).await?;
        let smtp = listen("SMTP", ports.smtp).await?;
        let smtps = listen("SMTP over TLS", ports.smtps).await?;
        let dns =
            UdpSocket::bind(("127.0.0.1", ports.dns)).await.map_err(|error| listen_error("DNS", ports.dns, &error))?;
        let place = |address: std::io::Result<SocketAddr>| address.map_err(|error| error.to_string());
        let address = format!("https://localhost:{}", place(https.local_addr())?.port());
        let sandbox = Arc::new(Sandbox::new(address.clone(), scenario)?);
        let mut running = Self {
            address,
            smtp: place(smtp.local_addr())?,
            smtps: place(smtps.local_addr())?,
            dns: place(dns.local_addr())?,
            authority: authority.pem,
            tasks: JoinSet::new(),
        };
        let mail_tls = tokio_rustls::TlsAcceptor::from(Arc::new(authority.tls.clone()));
        let mut web_tls = authority.tls;
        web_tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let https = https.into_std().map_err(|error| error.to_string())?;
        let server =
            axum_server::from_tcp_rustls(https, axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(web_tls)))
                .map_err(|error| error.to_string())?;
        let app = routes(Arc::clone(&sandbox)).into_make_service();
        running.tasks.spawn(async move { drop(server.serve(app).await) });
        running.tasks.spawn(smtp::serve(Arc::clone(&sandbox), smtp, mail_tls.clone(), false));
        running.tasks.spawn(smtp::serve(Arc::clone(&sandbox), smtps, mail_tls, true));
        running.tasks.spawn(dns::serve(sandbox, dns));
        Ok(running)
    }

    /// Waits until all servers end. The caller usually stops at a signal instead.
    pub async fn wait(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

fn routes(sandbox: Arc<Sandbox>) -> Router {
    Router::new()
        .route("/common/discovery/instance", get(entra::instance))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(entra::discovery))
        .route("/{tenant}/discovery/v2.0/keys", get(entra::keys))
        .route("/{tenant}/oauth2/v2.0/authorize", get(entra::authorize))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(entra::device_code))
        .route("/{tenant}/oauth2/v2.0/token", post(entra::token))
        .route("/{tenant}/adminconsent", get(entra::admin_consent))
        .route("/{tenant}/v2.0/adminconsent", get(entra::admin_consent))
        .route("/{tenant}/oauth2/v2.0/logout", get(entra::log_out))
        .route("/oidc/userinfo", get(graph::user_info))
        .route("/v1.0/{*path}", any(graph::handle))
        .route("/sandbox/mail", get(mail))
        .route("/sandbox/requests", get(requests))
        .route("/sandbox/introspect", post(entra::introspect))
        .route("/sandbox/scenario", put(set_scenario).get(scenario))
        .route("/sandbox/faults", post(add_fault).get(faults_now).delete(remove_faults))
        .route("/sandbox/device", get(device_page).post(approve))
        .layer(middleware::from_fn(reply_headers::answer_preflight))
        .layer(middleware::from_fn_with_state(Arc::clone(&sandbox), inject_faults))
        .layer(middleware::from_fn(reply_headers::add))
        .layer(DefaultBodyLimit::max(64 * 1024 * 1024))
        .with_state(sandbox)
}

/// Delays replies, injects faults, and records requests.
async fn inject_faults(State(sandbox): State<Arc<Sandbox>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    if path.starts_with("/sandbox/") {
        return next.run(request).await;
    }
    let latency = sandbox.scenario().latency;
    if latency > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(latency)).await;
    }
    let mut response = match sandbox.take_fault(&path) {
        Some(fault) => apply_fault(&sandbox, &fault, request, next).await,
        None => next.run(request).await,
    };
    let date = sandbox.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(header::DATE, date);
    }
    let mut requests = sandbox.requests.lock().await;
    if requests.len() >= KEPT {
        requests.pop_front();
    }
    requests.push_back(RequestRecord { method, path, status: response.status().as_u16() });
    response
}

async fn apply_fault(sandbox: &Sandbox, fault: &Fault, request: Request, next: Next) -> Response {
    if fault.after {
        let carried_out = next.clone().run(request).await;
        tokio::time::sleep(fault.delay()).await;
        return replacement(sandbox, fault).unwrap_or(carried_out);
    }
    tokio::time::sleep(fault.delay()).await;
    if let Some(response) = replacement(sandbox, fault) {
        return response;
    }
    replace_body(fault, request, next).await
}

/// Returns the reply that a fault replaces the usual one with.
fn replacement(sandbox: &Sandbox, fault: &Fault) -> Option<Response> {
    if fault.reset {
        // A body that fails before its first byte ends the connection.
        let broken = broken_body();
        return Some(Response::builder().header(header::CONTENT_LENGTH, 100).body(broken).unwrap_or_default());
    }
    if let Some(claims) = &fault.claims {
        let encoded = BASE64_STANDARD.encode(claims.to_string());
        let challenge = format!(
            "Bearer realm=\"\", authorization_uri=\"{}/common/oauth2/authorize\", error=\"insufficient_claims\", claims=\"{encoded}\"",
            sandbox.address()
        );
        let body = graph::error_body(
            sandbox.now(),
            "InvalidAuthenticationToken",
            "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp",
        );
        return Some((StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], Json(body)).into_response());
    }
    if let Some(code) = fault.aadsts {
        return Some(entra::OAuthError::from_code(code).into_response(sandbox));
    }
    if let Some(to) = &fault.redirect {
        return Some((StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response());
    }
    let status = |status: Option<u16>| StatusCode::from_u16(status.unwrap_or(200)).unwrap_or(StatusCode::OK);
    if let Some(document) = &fault.json {
        return Some((status(fault.status), Json(document.clone())).into_response());
    }
    if fault.status.is_some() && fault.body == Some(faults::Body::Html) {
        return Some((status(fault.status), page()).into_response());
    }
    if let Some(status) = fault.status {
        let code =
            fault.code.as_deref().unwrap_or(if status == 429 { "TooManyRequests" } else { "ServiceUnavailable" });
        let mut response = (
            StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            Json(graph::error_body(sandbox.now(), code, "Please retry again later.")),
        )
            .into_response();
        if let Some(text) = fault.retry_after_text(sandbox.now())
            && let Ok(text) = HeaderValue::from_str(&text)
        {
            response.headers_mut().insert(header::RETRY_AFTER, text);
        }
        return Some(response);
    }
    None
}

async fn replace_body(fault: &Fault, request: Request, next: Next) -> Response {
    let json_type = [(header::CONTENT_TYPE, "application/json")];
    match fault.body {
        None => next.run(request).await,
        Some(faults::Body::Html) => page().into_response(),
        Some(faults::Body::Truncated) => (json_type, "{\"value\":[{\"id\":\"").into_response(),
        Some(faults::Body::Huge) => {
            (json_type, format!("{{\"value\":\"{}\"}}", "x".repeat(20 * 1024 * 1024))).into_response()
        }
        Some(faults::Body::Empty) => (json_type, "").into_response(),
        Some(faults::Body::OpaqueToken) => {
            Json(json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": "EwBgA8l6BAAU-opaque" }))
                .into_response()
        }
        Some(faults::Body::Strange) => {
            let response = next.run(request).await;
            let status = response.status();
            let bytes = axum::body::to_bytes(response.into_body(), 64 * 1024 * 1024).await.unwrap_or_default();
            let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if let Some(map) = document.as_object_mut() {
                map.insert("@odata.novelty".to_owned(), json!({ "of": ["2031"] }));
                map.insert("unheardOf".to_owned(), json!([1, null, { "deep": true }]));
            }
            (status, Json(document)).into_response()
        }
    }
}

/// Returns a page like that of a proxy, a gateway or a captive portal.
fn page() -> axum::response::Html<&'static str> {
    axum::response::Html("<!DOCTYPE html><title>Sign in to the network</title><p>Accept the terms of use.</p>")
}

fn broken_body() -> Body {
    struct Broken;
    impl http_body::Body for Broken {
        type Data = axum::body::Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
        }
    }
    Body::new(Broken)
}

async fn mail(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    Json(json!(sandbox.mail.lock().await.iter().collect::<Vec<_>>()))
}

async fn requests(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    Json(json!(sandbox.requests.lock().await.iter().collect::<Vec<_>>()))
}

async fn scenario(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    Json(json!(*sandbox.scenario()))
}

async fn set_scenario(State(sandbox): State<Arc<Sandbox>>, Json(scenario): Json<Scenario>) -> StatusCode {
    sandbox.change(|present| *present = scenario);
    StatusCode::NO_CONTENT
}

async fn add_fault(State(sandbox): State<Arc<Sandbox>>, Json(fault): Json<Fault>) -> StatusCode {
    sandbox.change(|scenario| scenario.faults.push(fault));
    StatusCode::NO_CONTENT
}

async fn faults_now(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    Json(json!({ "faults": sandbox.scenario().faults }))
}

/// The faults to remove: those with this `at`, or all.
#[derive(Deserialize)]
struct RemovedFaults {
    at: Option<String>,
}

async fn remove_faults(State(sandbox): State<Arc<Sandbox>>, Query(removed): Query<RemovedFaults>) -> StatusCode {
    sandbox.change(|scenario| scenario.faults.retain(|fault| removed.at.as_ref().is_some_and(|at| *at != fault.at)));
    StatusCode::NO_CONTENT
}

async fn device_page() -> axum::response::Html<&'static str> {
    axum::response::Html(
        "<!DOCTYPE html><title>Enter code</title><form method=post><label>Code <input name=user_code></label> <label>User <input name=user></label> <button>Next</button></form>",
    )
}

#[derive(Deserialize)]
struct Approval {
    user_code: String,
    user: String,
}

async fn approve(State(sandbox): State<Arc<Sandbox>>, axum::Form(approval): axum::Form<Approval>) -> Response {
    let mut devices = sandbox.devices.lock().await;
    match devices.values_mut().find(|device| device.user_code.eq_ignore_ascii_case(approval.user_code.trim())) {
        Some(device) => {
            device.approved = Some(approval.user);
            "You have signed in. You may now close this window.".into_response()
        }
        None => (StatusCode::NOT_FOUND, "That code didn't work.").into_response(),
    }
}
