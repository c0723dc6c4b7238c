//! Reply headers of Entra and Graph, with those that let the pages of other origins read the replies (CORS).
//!
//! [`add`] is outside of the layer of faults, so that their replies have the headers, too. [`answer_preflight`] is inside of
//! it: a fault applies to a preflight, the request that a browser sends before another one, as to any request. Neither reads a
//! body, a token or the scenario, and pages (HTML) stay as they are: those of a fault are a proxy's.
//!
//! Sources:
//! - openid-configuration and instance discovery: recordings of `Azure/azure-sdk-for-js` (2021-04 to 2021-11) and traces of
//!   `azsdk-python-identity` 1.25.1 (2025-12-29): `Access-Control-Allow-Origin: *` for every caller,
//!   `Access-Control-Allow-Methods: GET, OPTIONS`, `Cache-Control: max-age=86400, private`. The document with the keys is
//!   assumed to be served like them.
//! - the token endpoint: the reply to MSAL.js 3.23 with `Origin` of 2024-10-10 (with the headers of CORS), and recordings without
//!   `Origin` (without them). Users of MSAL.js read the text of AADSTS9002326 in the browser
//!   (`Azure-Samples/ms-identity-javascript-angular-tutorial#37`), hence errors have them, too.
//! - Graph: a reply to a mail client (2025, "Poland Central") and Microsoft's own reference of `profilephoto-get`: the headers
//!   of CORS for every caller. No capture of a preflight was found: method and headers are returned as they were asked for,
//!   because browsers may send any header to Graph (`SdkVersion`, `ConsistencyLevel`, `client-request-id`).
//!
//! Left out on purpose: `Strict-Transport-Security`, which a browser applies to every port of `localhost`, and Entra's cookies,
//! which it sends to every port. No header of CORS is known for the addresses of upload sessions, hence there are none.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use uuid::Uuid;

/// The parts of the sandbox that differ in their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// Entra's documents about a tenant and a cloud.
    Metadata,
    /// Entra's token endpoint.
    Token,
    /// Everything else of Entra.
    SignIn,
    Graph,
    /// The addresses of upload sessions, which belong to Exchange.
    Upload,
    /// The control of the sandbox itself.
    Sandbox,
}

impl Service {
    fn of(path: &str) -> Self {
        if path.starts_with("/sandbox/") {
            Self::Sandbox
        } else if path.starts_with("/v1.0/upload/") {
            Self::Upload
        } else if path.starts_with("/v1.0/") || path == "/oidc/userinfo" {
            Self::Graph
        } else if path.ends_with("/.well-known/openid-configuration")
            || path.ends_with("/discovery/instance")
            || path.ends_with("/discovery/v2.0/keys")
        {
            Self::Metadata
        } else if path.ends_with("/oauth2/v2.0/token") {
            Self::Token
        } else {
            Self::SignIn
        }
    }
}

/// The header by which a client names its request.
const CLIENT_REQUEST_ID: &str = "client-request-id";
/// The ids of a request of Graph, and of one of Entra.
const REQUEST_ID: &str = "request-id";
const ENTRA_REQUEST_ID: &str = "x-ms-request-id";

/// The content type of a document of Graph. An error is `application/json`.
const DOCUMENT: &str =
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";
/// The headers of Graph that a page may read.
const EXPOSED_BY_GRAPH: &str = "ETag, Location, Preference-Applied, Content-Range, request-id, client-request-id, ReadWriteConsistencyToken, Retry-After, SdkVersion, WWW-Authenticate, x-ms-client-gcc-tenant, X-Planner-Operationid, x-ms-permissions-recommendations";

/// Answers the preflight of a browser. Other requests are passed on.
pub(super) async fn answer_preflight(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let asked = |name: HeaderName| headers.get(name).cloned();
    let method = asked(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| headers.contains_key(header::ORIGIN));
    let (Some(method), true) = (method, request.method() == Method::OPTIONS) else { return next.run(request).await };
    match Service::of(request.uri().path()) {
        Service::Graph => {
            let mut response = StatusCode::OK.into_response();
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
            if let Some(names) = asked(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
            }
            response
        }
        // No header is allowed: no source shows one, and MSAL.js sends none.
        Service::Metadata | Service::Token => StatusCode::OK.into_response(),
        Service::SignIn | Service::Upload | Service::Sandbox => next.run(request).await,
    }
}

/// Adds the headers of the service that a request is for.
pub(super) async fn add(request: Request, next: Next) -> Response {
    let service = Service::of(request.uri().path());
    let asked = request.headers().clone();
    let is_mail = is_mailbox(request.uri().path());
    let mut response = next.run(request).await;
    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("text/html")));
    if is_page || matches!(service, Service::Sandbox | Service::Upload) {
        return response;
    }
    let is_error = !response.status().is_success();
    let headers = response.headers_mut();
    if service == Service::Graph {
        add_graph(headers, &asked, is_error, is_mail);
    } else {
        add_entra(headers, &asked, service);
    }
    response
}

/// Returns true for a path of Exchange behind Graph.
fn is_mailbox(path: &str) -> bool {
    ["/sendMail", "/messages", "/mailFolders", "/mailboxSettings"].iter().any(|part| path.contains(part))
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

fn put_if_absent(headers: &mut HeaderMap, name: &'static str, value: impl FnOnce() -> HeaderValue) {
    if !headers.contains_key(name) {
        headers.insert(name, value());
    }
}

fn new_id() -> HeaderValue {
    HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn has_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
}

fn add_graph(headers: &mut HeaderMap, asked: &HeaderMap, is_error: bool, is_mail: bool) {
    put(headers, header::CACHE_CONTROL, if is_mail { "private" } else { "no-cache" });
    put(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_BY_GRAPH);
    if has_json(headers) && !is_error {
        put(headers, header::CONTENT_TYPE, DOCUMENT);
        put(headers, HeaderName::from_static("odata-version"), "4.0");
    }
    put_if_absent(headers, REQUEST_ID, new_id);
    // A client that names no request gets the id of the service twice.
    let own = headers.get(REQUEST_ID).cloned();
    if let Some(id) = asked.get(CLIENT_REQUEST_ID).cloned().or(own) {
        headers.insert(CLIENT_REQUEST_ID, id);
    }
    put(
        headers,
        HeaderName::from_static("x-ms-ags-diagnostic"),
        r#"{"ServerInfo":{"DataCenter":"Sandbox","Slice":"E","Ring":"1","ScaleUnit":"000","RoleInstance":"SANDBOX"}}"#,
    );
}

fn add_entra(headers: &mut HeaderMap, asked: &HeaderMap, service: Service) {
    if service == Service::Metadata {
        put_if_absent(headers, "cache-control", || HeaderValue::from_static("max-age=86400, private"));
        put(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        put(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, OPTIONS");
    } else {
        put(headers, header::CACHE_CONTROL, "no-store, no-cache");
        put(headers, header::PRAGMA, "no-cache");
        put(headers, header::EXPIRES, "-1");
    }
    if service == Service::Token && asked.contains_key(header::ORIGIN) {
        put(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        put(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "POST, OPTIONS");
        put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, "Content-Length,Content-Encoding,x-ms-request-id,x-ms-srs");
    }
    if has_json(headers) {
        put(headers, header::CONTENT_TYPE, "application/json; charset=utf-8");
    }
    put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(headers, header::X_XSS_PROTECTION, "0");
    put(headers, HeaderName::from_static("p3p"), r#"CP="DSP CUR OTPi IND OTRi ONL FIN""#);
    put(headers, HeaderName::from_static("x-ms-ests-server"), "2.1.0.0 - SANDBOX ProdSlices");
    put(headers, HeaderName::from_static("x-ms-srs"), "1.P");
    put_if_absent(headers, ENTRA_REQUEST_ID, new_id);
    // Microsoft Entra returns the client's id if it is asked to.
    let returns =
        asked.get("return-client-request-id").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    if let Some(id) = asked.get(CLIENT_REQUEST_ID).filter(|_| returns) {
        headers.insert(CLIENT_REQUEST_ID, id.clone());
    }
}
