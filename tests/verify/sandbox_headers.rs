//! Reply headers of the sandbox's Entra and Graph: what browsers need (CORS), and what clients read, as captured replies of the
//! real services have it (`src/sandbox/reply_headers.rs` names the captures).

use crate::support::sandbox::{DIRECT, FORM, SECRET, Sandbox, TENANT, encode, good, reader_token};
use reqwest::{Method, Response, header::HeaderMap};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

const PAGE: &str = "https://erp.contoso.example";

fn send(sandbox: &Sandbox, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let url = format!("{}{path}", sandbox.running.address);
    let request = sandbox.http.request(method, url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    sandbox.runtime.block_on(request.send()).unwrap()
}

fn of<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Asks for a token with a wrong secret, or with the right one.
fn token(sandbox: &Sandbox, secret: &str, headers: &[(&str, &str)]) -> (HeaderMap, Value) {
    let url = format!("{}/{TENANT}/oauth2/v2.0/token", sandbox.running.address);
    let scope = format!("{}/.default", sandbox.running.address);
    let form =
        [("grant_type", "client_credentials"), ("client_id", DIRECT), ("client_secret", secret), ("scope", &*scope)];
    let request = sandbox.http.post(url).header("content-type", FORM).body(encode(&form));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    sandbox.runtime.block_on(async {
        let answer = request.send().await.unwrap();
        (answer.headers().clone(), answer.json().await.unwrap())
    })
}

#[test]
fn a_page_of_another_origin_may_read_what_entra_and_graph_let_it_read() {
    let sandbox = Sandbox::start(good());
    for path in [
        format!("/{TENANT}/v2.0/.well-known/openid-configuration"),
        format!("/{TENANT}/discovery/v2.0/keys"),
        "/common/discovery/instance".to_owned(),
    ] {
        let answer = send(&sandbox, Method::GET, &path, &[("origin", PAGE)]);
        assert_eq!(of(answer.headers(), "access-control-allow-origin"), "*", "{path}");
        assert_eq!(of(answer.headers(), "access-control-allow-methods"), "GET, OPTIONS", "{path}");
        assert_eq!(of(answer.headers(), "cache-control"), "max-age=86400, private", "{path}");
    }

    // The token endpoint lets pages alone read it, refusals included.
    let (with, _) = token(&sandbox, "wrong", &[("origin", PAGE)]);
    assert_eq!(of(&with, "access-control-allow-origin"), "*");
    let exposed = "Content-Length,Content-Encoding,x-ms-request-id,x-ms-srs";
    assert_eq!(of(&with, "access-control-expose-headers"), exposed);
    let (without, _) = token(&sandbox, SECRET, &[]);
    assert!(!without.contains_key("access-control-allow-origin"));

    // A browser asks Graph first, whatever headers the request has; no token is needed for that.
    for names in ["authorization,content-type", "authorization,consistencylevel", "sdkversion"] {
        let asked =
            [("origin", PAGE), ("access-control-request-method", "POST"), ("access-control-request-headers", names)];
        let answer = send(&sandbox, Method::OPTIONS, "/v1.0/me/sendMail", &asked);
        assert_eq!(answer.status(), 200);
        assert_eq!(of(answer.headers(), "access-control-allow-origin"), "*");
        assert_eq!(of(answer.headers(), "access-control-allow-methods"), "POST");
        assert_eq!(of(answer.headers(), "access-control-allow-headers"), names);
    }
    let answer = send(&sandbox, Method::GET, "/v1.0/me", &[("origin", PAGE)]);
    assert_eq!(answer.status(), 401);
    assert_eq!(of(answer.headers(), "access-control-allow-origin"), "*");
    assert!(of(answer.headers(), "access-control-expose-headers").contains("Retry-After"));

    // A fault is Graph's own reply, so that a page reads it; a page of a proxy is not.
    sandbox.fault(&json!({ "at": "/v1.0/me", "status": 429, "retryAfter": 2, "times": 1 }));
    let answer = send(&sandbox, Method::GET, "/v1.0/me", &[("origin", PAGE)]);
    assert_eq!((answer.status().as_u16(), of(answer.headers(), "access-control-allow-origin")), (429, "*"));
    sandbox.fault(&json!({ "at": "/v1.0/me", "body": "html", "times": 1 }));
    let answer = send(&sandbox, Method::GET, "/v1.0/me", &[("origin", PAGE)]);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));

    // No source shows that Exchange lets pages upload, and the control of the sandbox is not for pages.
    let asked = [("origin", PAGE), ("access-control-request-method", "PUT")];
    for path in ["/v1.0/upload/x", "/sandbox/mail", "/sandbox/scenario"] {
        let answer = send(&sandbox, Method::OPTIONS, path, &asked);
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{path}");
        let answer = send(&sandbox, Method::GET, path, &[("origin", PAGE)]);
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{path}");
    }
}

#[test]
fn replies_have_the_headers_that_clients_read() {
    let sandbox = Sandbox::start(good());
    let id = "5f3a9c1e-0000-4000-8000-00000000c11e";
    for secret in [SECRET, "wrong"] {
        let (headers, body) =
            token(&sandbox, secret, &[("client-request-id", id), ("return-client-request-id", "true")]);
        for (name, value) in [
            ("content-type", "application/json; charset=utf-8"),
            ("cache-control", "no-store, no-cache"),
            ("pragma", "no-cache"),
            ("expires", "-1"),
            ("x-content-type-options", "nosniff"),
            ("client-request-id", id),
        ] {
            assert_eq!(of(&headers, name), value, "{name}");
        }
        assert!(of(&headers, "x-ms-ests-server").ends_with("ProdSlices"));
        if secret == "wrong" {
            // The reply names the ids by which Microsoft's support finds a request.
            assert_eq!(body["correlation_id"], id);
            assert_eq!(body["trace_id"], of(&headers, "x-ms-request-id"));
        }
    }

    let token = sandbox.runtime.block_on(reader_token(&sandbox.running));
    let bearer = format!("Bearer {}", token.expose_secret());
    let asked = [("authorization", &*bearer), ("client-request-id", id)];
    let answer = send(&sandbox, Method::GET, "/v1.0/users", &asked);
    for (name, value) in [
        (
            "content-type",
            "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8",
        ),
        ("odata-version", "4.0"),
        ("cache-control", "no-cache"),
        ("client-request-id", id),
    ] {
        assert_eq!(of(answer.headers(), name), value, "{name}");
    }
    assert!(of(answer.headers(), "x-ms-ags-diagnostic").contains("ServerInfo"));

    // An error names both ids, and is plain JSON; one of Exchange has a code and a message alone.
    let answer = send(&sandbox, Method::GET, "/v1.0/users/unknown@contoso.example", &asked);
    let headers = answer.headers().clone();
    let body: Value = sandbox.runtime.block_on(answer.json()).unwrap();
    assert_eq!(of(&headers, "content-type"), "application/json");
    assert_eq!(body["error"]["innerError"]["request-id"], of(&headers, "request-id"));
    assert_eq!(body["error"]["innerError"]["client-request-id"], id);
    let answer = send(&sandbox, Method::GET, "/v1.0/users/alice@contoso.example/mailboxSettings", &asked);
    let body: Value = sandbox.runtime.block_on(answer.json()).unwrap();
    let keys: Vec<&String> = body["error"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message"], "{body}");

    // A browser would keep these for every port of this machine.
    for path in ["/v1.0/users".to_owned(), format!("/{TENANT}/v2.0/.well-known/openid-configuration")] {
        let answer = send(&sandbox, Method::GET, &path, &asked);
        let kept = ["strict-transport-security", "set-cookie"].map(|name| answer.headers().contains_key(name));
        assert_eq!(kept, [false, false], "{path}");
    }
}
