//! The replies of the sandbox's Entra: error words and hints, claims of tokens, and the discovery document, as replies of the
//! real service have them.

use crate::support::sandbox::{DESKTOP, DIRECT, FORM, SECRET, Sandbox, TENANT, WEB, encode, good};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

fn post(sandbox: &Sandbox, tenant: &str, form: &[(&str, &str)], origin: Option<&str>) -> (u16, Value) {
    let url = format!("{}/{tenant}/oauth2/v2.0/token", sandbox.running.address);
    let request = sandbox.http.post(url).header("content-type", FORM).body(encode(form));
    let request = match origin {
        Some(origin) => request.header("origin", origin),
        None => request,
    };
    sandbox.runtime.block_on(async {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    })
}

/// Returns a client that follows no redirect.
fn without_redirects(sandbox: &Sandbox) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(sandbox.running.authority.as_bytes()).unwrap();
    let http = reqwest::Client::builder().add_root_certificate(authority);
    http.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Signs in at the authorize endpoint without a browser, and returns the status, the place that it leads to, and the page.
fn authorize(sandbox: &Sandbox, query: &[(&str, &str)]) -> (u16, String, String) {
    let url = format!("{}/{TENANT}/oauth2/v2.0/authorize", sandbox.running.address);
    let url = reqwest::Url::parse_with_params(&url, query).unwrap();
    let http = without_redirects(sandbox);
    sandbox.runtime.block_on(async {
        let answer = http.get(url).send().await.unwrap();
        let place = answer.headers().get("location").map_or("", |place| place.to_str().unwrap()).to_owned();
        (answer.status().as_u16(), place, answer.text().await.unwrap())
    })
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_fault_has_the_word_and_the_status_of_its_code() {
    let sandbox = Sandbox::start(good());
    let scope = format!("{}/.default", sandbox.running.address);
    let form =
        [("grant_type", "client_credentials"), ("client_id", DIRECT), ("client_secret", SECRET), ("scope", &*scope)];
    for (code, status, error, suberror) in [
        (65_001, 400, "invalid_grant", json!("consent_required")),
        (7_000_112, 401, "unauthorized_client", Value::Null),
        (7_000_215, 401, "invalid_client", Value::Null),
        (70_021, 401, "invalid_client", Value::Null),
        (9_002_313, 400, "invalid_grant", Value::Null),
        (700_027, 401, "invalid_client", Value::Null),
        (700_024, 401, "invalid_client", Value::Null),
        (50_076, 400, "interaction_required", json!("basic_action")),
        (53_003, 400, "invalid_grant", json!("message_only")),
        (90_036, 500, "server_error", Value::Null),
        (90_033, 503, "temporarily_unavailable", Value::Null),
        (135_099, 400, "invalid_request", Value::Null),
    ] {
        sandbox.fault(&json!({ "at": "/token", "aadsts": code, "times": 1 }));
        let (found, body) = post(&sandbox, TENANT, &form, None);
        assert_eq!((found, &body["error"], &body["suberror"]), (status, &json!(error), &suberror), "{code}: {body}");
        assert_eq!(body["error_codes"], json!([code]));
        assert!(body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: ")), "{body}");
        // What a client must ask for is itself JSON.
        let claims = body["claims"].as_str().map(|claims| serde_json::from_str::<Value>(claims).unwrap());
        assert_eq!(claims.is_some(), code == 50_076, "{body}");
    }
}

/// Tenant, form, status, word and code.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str, u32);

#[test]
fn mistakes_of_a_request_have_their_own_codes() {
    let mut scenario = good();
    let subject = "repo:contoso/erp:environment:production";
    scenario["tenants"][0]["applications"][0]["federated"] =
        json!([{ "issuer": "https://i.example", "subject": subject }]);
    let mut disabled = scenario["tenants"][0]["applications"][3].clone();
    disabled["client"] = json!("0c0ffee0-0000-4000-8000-0000000000ab");
    disabled["disabled"] = json!(true);
    scenario["tenants"][0]["applications"].as_array_mut().unwrap().push(disabled);
    let sandbox = Sandbox::start(scenario);
    let part = |document: Value| BASE64_URL_SAFE_NO_PAD.encode(document.to_string());
    let claims = json!({ "iss": "https://i.example", "sub": subject.replace("production", "Production"), "aud": "api://AzureADTokenExchange" });
    let assertion = format!("{}.{}.c2lnbmF0dXJl", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
    let scope = format!("{}/.default", sandbox.running.address);
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let grant = ("grant_type", "client_credentials");
    let code = ("grant_type", "authorization_code");
    let cases: [Case<'_>; 5] = [
        ("not a name", &[grant, ("client_id", DIRECT)], 400, "invalid_request", 900_023),
        ("nowhere.example", &[grant, ("client_id", DIRECT)], 400, "invalid_request", 90_002),
        (
            TENANT,
            &[
                grant,
                ("client_id", DIRECT),
                ("client_assertion", &*assertion),
                ("client_assertion_type", kind),
                ("scope", &*scope),
            ],
            401,
            "invalid_client",
            7_002_138,
        ),
        (
            TENANT,
            &[grant, ("client_id", "0c0ffee0-0000-4000-8000-0000000000ab"), ("client_secret", "reader-secret")],
            401,
            "unauthorized_client",
            7_000_112,
        ),
        (TENANT, &[code, ("client_id", DESKTOP), ("code", "random")], 400, "invalid_grant", 9_002_313),
    ];
    for (tenant, form, status, error, code) in cases {
        let (found, body) = post(&sandbox, tenant, form, None);
        assert_eq!((found, &body["error"], &body["error_codes"]), (status, &json!(error), &json!([code])), "{body}");
    }
}

#[test]
fn a_code_of_another_platform_is_redeemed_neither_with_nor_without_an_origin() {
    let sandbox = Sandbox::start(good());
    let verifier = "a-verifier-of-at-least-forty-three-characters-1234";
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(<sha2::Sha256 as sha2::Digest>::digest(verifier));
    let redeem = |client: &str, redirect: &str, origin: Option<&str>| {
        let query = [
            ("client_id", client),
            ("redirect_uri", redirect),
            ("response_type", "code"),
            ("scope", "User.Read"),
            ("login_hint", "alice@contoso.example"),
            ("code_challenge", &*challenge),
            ("code_challenge_method", "S256"),
        ];
        let (_, place, _) = authorize(&sandbox, &query);
        let place = reqwest::Url::parse(&place).unwrap();
        let code = place.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("redirect_uri", redirect),
            ("code", &*code),
            ("code_verifier", verifier),
        ];
        post(&sandbox, TENANT, &form, origin)
    };
    let (spa, origin) = ("https://erp.contoso.example/web", "https://erp.contoso.example");
    assert_eq!(redeem(WEB, spa, Some(origin)).0, 200);
    let (status, body) = redeem(WEB, spa, None);
    assert_eq!((status, &body["error"], &body["error_codes"]), (400, &json!("invalid_request"), &json!([9_002_327])));
    assert_eq!(redeem(DESKTOP, "https://localhost", None).0, 200);
    let (status, body) = redeem(DESKTOP, "https://localhost", Some(origin));
    assert_eq!((status, &body["error"], &body["error_codes"]), (400, &json!("invalid_request"), &json!([9_002_326])));
    let text = body["error_description"].as_str().unwrap();
    assert!(text.contains("Request origin: 'https://erp.contoso.example'."), "{text}");
}

#[test]
fn a_token_of_an_application_has_the_claims_of_graphs() {
    let sandbox = Sandbox::start(good());
    let scope = format!("{}/.default", sandbox.running.address);
    let form =
        [("grant_type", "client_credentials"), ("client_id", DIRECT), ("client_secret", SECRET), ("scope", &*scope)];
    let (_, body) = post(&sandbox, TENANT, &form, None);
    let token = body["access_token"].as_str().unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = decode(parts[1]);
    let names: Vec<&String> = claims.as_object().unwrap().keys().collect();
    let captured = [
        "aio",
        "app_displayname",
        "appid",
        "appidacr",
        "aud",
        "exp",
        "iat",
        "idp",
        "idtyp",
        "iss",
        "nbf",
        "oid",
        "rh",
        "roles",
        "sub",
        "tenant_region_scope",
        "tid",
        "uti",
        "ver",
        "wids",
        "xms_tcdt",
    ];
    assert_eq!(names, captured);
    assert_eq!((&claims["sub"], &claims["idp"]), (&claims["oid"], &claims["iss"]));
    let header = decode(parts[0]);
    let names: Vec<&String> = header.as_object().unwrap().keys().collect();
    assert_eq!(names, ["alg", "kid", "nonce", "typ", "x5t"]);
    assert_eq!(header["kid"], header["x5t"]);
}

#[test]
fn the_discovery_document_has_the_fields_of_the_real_one_and_they_lead_somewhere() {
    let sandbox = Sandbox::start(good());
    let get = |url: &str| sandbox.runtime.block_on(sandbox.http.get(url).send()).unwrap();
    let document = |tenant: &str| -> Value {
        let url = format!("{}/{tenant}/v2.0/.well-known/openid-configuration", sandbox.running.address);
        sandbox.runtime.block_on(get(&url).json()).unwrap()
    };
    let found = document(TENANT);
    let names: Vec<&String> = found.as_object().unwrap().keys().collect();
    let captured = [
        "authorization_endpoint",
        "claims_supported",
        "cloud_graph_host_name",
        "cloud_instance_name",
        "device_authorization_endpoint",
        "end_session_endpoint",
        "frontchannel_logout_supported",
        "http_logout_supported",
        "id_token_signing_alg_values_supported",
        "issuer",
        "jwks_uri",
        "kerberos_endpoint",
        "msgraph_host",
        "rbac_url",
        "request_uri_parameter_supported",
        "response_modes_supported",
        "response_types_supported",
        "scopes_supported",
        "subject_types_supported",
        "tenant_region_scope",
        "token_endpoint",
        "token_endpoint_auth_methods_supported",
        "userinfo_endpoint",
    ];
    assert_eq!(names, captured);
    assert_eq!(document("common")["tenant_region_scope"], Value::Null);
    assert_eq!(document("nowhere.example")["error_codes"], json!([90_002]));
    assert_eq!(document("nonsense!")["error_codes"], json!([900_023]));
    assert_eq!(get(found["userinfo_endpoint"].as_str().unwrap()).status(), 401);
    // The end of a session leads back to a registered address, and to no other.
    let leave = |back: &str| {
        let url = format!("{}?post_logout_redirect_uri={back}", found["end_session_endpoint"].as_str().unwrap());
        sandbox.runtime.block_on(without_redirects(&sandbox).get(url).send()).unwrap().status().as_u16()
    };
    assert_eq!(leave("https://erp.contoso.example/web"), 303);
    assert_eq!(leave("https://elsewhere.example/"), 200);
}

#[test]
fn form_post_is_a_page_that_posts_and_escapes_what_it_repeats() {
    let sandbox = Sandbox::start(good());
    let query = [
        ("client_id", DESKTOP),
        ("redirect_uri", "https://localhost"),
        ("response_type", "code"),
        ("response_mode", "form_post"),
        ("scope", "User.Read"),
        ("state", "\"><script>"),
    ];
    let (status, place, page) = authorize(&sandbox, &query);
    assert_eq!((status, &*place), (200, ""));
    assert!(page.contains("<form method=\"POST\" name=\"hiddenform\" action=\"https://localhost\">"), "{page}");
    assert!(page.contains("name=\"code\" value=\"0."), "{page}");
    assert!(page.contains("name=\"state\" value=\"&quot;>&lt;script>\""), "{page}");
}
