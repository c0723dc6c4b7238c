//! Access: every address with every role, and tokens that are wrong, expired, revoked or missing.

use crate::support::repository::TestRepository;
use serde_json::json;

const ROLES: [&str; 4] = ["viewer", "planner", "deployer", "admin"];

fn token(repo: &TestRepository, role: &str) -> String {
    let output = repo.run(&["token", "create", "dev", "--name", &format!("the {role}"), "--role", role]).code(0);
    output.stdout.trim().to_owned()
}

#[test]
fn every_address_asks_for_its_role_and_no_more() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let changeset =
        json!({ "id": "018f3a2e-0000-7000-8000-00000000000a", "environment": "dev", "base": 1, "changes": [] })
            .to_string();
    let proposal = format!(r#"{{"changeset":{changeset}}}"#);
    let rollback = json!({ "to": 1, "base": 1 }).to_string();
    let profile = repo.state()["profiles"]["relay"]["live"]["profile"].to_string();
    let new_token = json!({ "name": "x", "role": "viewer" }).to_string();
    // The least role, and what an empty hand gets of it.
    let table: Vec<(&str, &str, &str, usize)> = vec![
        ("GET", "/metrics", "", 0),
        ("GET", "/v1/service", "", 0),
        ("GET", "/v1/state", "", 0),
        ("GET", "/v1/generations", "", 0),
        ("GET", "/v1/generations/1", "", 0),
        ("GET", "/v1/profiles/relay", "", 0),
        ("GET", "/v1/resolve?company=EDU1&function=default", "", 0),
        ("POST", "/v1/changesets?dryRun=true", &changeset, 1),
        ("GET", "/v1/verify", "", 0),
        ("GET", "/v1/verify/absent", "", 0),
        ("POST", "/v1/verify", r#"{"environment":"dev","profiles":{}}"#, 1),
        ("POST", "/v1/rollbacks", &rollback, 2),
        ("PUT", "/v1/profiles/relay", &profile, 3),
        ("PATCH", "/v1/profiles/relay", "{}", 3),
        ("DELETE", "/v1/profiles/absent", "", 3),
        ("GET", "/v1/tokens", "", 3),
        ("POST", "/v1/tokens", &new_token, 3),
        ("DELETE", "/v1/tokens/000000000000", "", 3),
        ("GET", "/v1/operators", "", 3),
        ("POST", "/v1/operators", r#"{"name":"x"}"#, 3),
        ("DELETE", "/v1/operators/000000000000", "", 3),
        ("POST", "/v1/operators/000000000000/confirm", "", 3),
        ("POST", "/v1/operators/000000000000/link", "{}", 3),
        ("DELETE", "/v1/operators/000000000000/passkeys/0", "", 3),
        ("GET", "/v1/audit", "", 3),
        ("GET", "/v1/audit/check", "", 3),
        ("POST", "/v1/tokens/000000000000/confirm", "", 3),
        ("POST", "/v1/outbox/confirm-restore", "", 3),
        ("POST", "/v1/messages/018f3a2e-0000-7000-8000-00000000000a/replay", "", 2),
        (
            "POST",
            "/v1/messages/018f3a2e-0000-7000-8000-00000000000a/resolve",
            r#"{"outcome":"failed","reason":"r"}"#,
            2,
        ),
        ("POST", "/v1/changesets", &changeset, 2),
        ("GET", "/v1/proposals", "", 0),
        ("GET", "/v1/proposals/000000000000", "", 0),
        ("POST", "/v1/proposals", &proposal, 1),
        ("GET", "/v1/leases", "", 0),
        ("POST", "/v1/leases/test", r#"{"holder":"h","seconds":5}"#, 2),
        ("DELETE", "/v1/leases/test?token=9", "", 2),
    ];
    let tokens = ROLES.map(|role| token(&repo, role));
    for (method, path, body, least) in table {
        for (index, token) in tokens.iter().enumerate() {
            let authorization = format!("Bearer {token}");
            let headers = [("Authorization", authorization.as_str()), ("If-Match", "*")];
            let answer = repo.http_without_token(method, path, &headers, body.as_bytes());
            let allowed = index >= least;
            assert_eq!(
                answer.status != 403,
                allowed,
                "{method} {path} as {}: {} {}",
                ROLES[index],
                answer.status,
                answer.body
            );
            assert!(allowed || answer.json()["code"] == "MW0202");
        }
        let answer = repo.http_without_token(method, path, &[("If-Match", "*")], body.as_bytes());
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{method} {path}");
    }
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(repo.http_without_token("GET", path, &[], b"").status, 200, "{path}");
    }
    let audit = repo.run(&["audit", "list", "dev"]).code(0).stdout;
    assert!(audit.contains("the viewer") && audit.contains("refused"), "{audit}");
}

#[test]
fn wrong_expired_and_revoked_tokens_open_nothing() {
    let mut repo = TestRepository::small();
    repo.serve();
    let status = |token: &str| {
        repo.http_without_token("GET", "/v1/service", &[("Authorization", &format!("Bearer {token}"))], b"").status
    };
    let good = repo.token().to_owned();
    assert_eq!(status(&good), 200);
    let mut other = good.clone();
    let last = if other.pop() == Some('A') { 'B' } else { 'A' };
    other.push(last);
    for wrong in [
        other.as_str(),
        "",
        "mw_",
        "mw__",
        "mw_abc",
        &good[..good.len() - 1],
        &format!("{good}x"),
        "mw_%00_x",
        &"x".repeat(5000),
    ] {
        assert_eq!(status(wrong), 401, "{wrong}");
    }
    let two = repo.http_without_token(
        "GET",
        "/v1/service",
        &[("Authorization", &format!("Bearer {good}")), ("Authorization", "Bearer x")],
        b"",
    );
    assert_eq!(two.status, 401);
    assert_eq!(
        repo.http_without_token("GET", "/v1/service", &[("Authorization", &format!("Basic {good}"))], b"").status,
        401
    );

    // The only administrator's token stays; another may go.
    let id = good.split('_').nth(1).unwrap();
    let refused = repo.run(&["token", "revoke", "dev", id]).code(1);
    assert!(
        refused.stderr.contains("MW0333") && refused.stderr.contains("last token with the role `admin`"),
        "{}",
        refused.stderr
    );
    let second = token(&repo, "admin");
    repo.run(&["token", "revoke", "dev", id]).code(0);
    assert_eq!((status(&good), status(&second)), (401, 200));

    let now = || mailwright::time::Clock::system().now();
    let soon = now() + std::time::Duration::from_secs(3);
    let body = json!({ "name": "short", "role": "viewer", "expiresAt": soon.to_string() }).to_string();
    let answer = repo.http_without_token(
        "POST",
        "/v1/tokens",
        &[("Authorization", &format!("Bearer {second}"))],
        body.as_bytes(),
    );
    assert_eq!(answer.status, 201, "{}", answer.body);
    let short = answer.json()["secret"].as_str().unwrap().to_owned();
    let valid = status(&short);
    assert!(valid == 200 || now() > soon, "{valid} before the end");
    let rest = std::time::Duration::try_from(soon.duration_since(now())).unwrap_or_default();
    std::thread::sleep(rest + std::time::Duration::from_millis(100));
    assert_eq!(status(&short), 401);
}

#[test]
fn the_first_token_is_kept_by_its_hash_only() {
    let mut repo = TestRepository::small();
    repo.serve();
    let token = repo.token().to_owned();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo.kill();
    for file in std::fs::read_dir(repo.path(".data")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
    }
}

#[test]
fn a_name_is_that_of_one_token_at_a_time_and_mail_is_that_of_its_token() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let create = |name: &str, more: &[&str]| {
        let usual = ["token", "create", "dev", "--name", name, "--role", "sender", "--format", "json"];
        repo.run(&[&usual[..], more].concat())
    };
    let made = |output: crate::support::repository::CommandOutput| {
        let made = output.code(0).json();
        (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
    };
    let (first, secret) = made(create("erp", &[]));
    for same in ["erp", "ERP", "Erp"] {
        assert!(create(same, &[]).code(1).stdout.contains("MW0228"), "{same}");
    }
    assert!(create("ÄRP", &[]).code == 0 && create("ärp", &[]).code == 1, "whatever the letters");

    let ask = |token: &str, method: &str, path: &str, key: Option<&str>, body: &str| {
        let authorization = format!("Bearer {token}");
        let mut headers = vec![("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        headers.extend(key.map(|key| ("Idempotency-Key", key)));
        repo.http_without_token(method, path, &headers, body.as_bytes())
    };
    let mail =
        json!({ "company": "EDU1", "function": "default", "to": ["a@example.org"], "subject": "s", "text": "t" });
    let sent = ask(&secret, "POST", "/v1/messages", Some("k"), &mail.to_string());
    assert_eq!(sent.status, 202, "{}", sent.body);
    let path = format!("/v1/messages/{}", sent.json()["id"].as_str().unwrap());
    let sees = |token: &str| {
        let list = ask(token, "GET", "/v1/messages", None, "").json()["messages"].as_array().map_or(0, Vec::len);
        (ask(token, "GET", &path, None, "").status, list)
    };
    assert_eq!(sees(&secret), (200, 1));
    let again = |token: &str| ask(token, "POST", "/v1/messages", Some("k"), &mail.to_string());

    // A successor takes over, while the old one still works and afterwards.
    assert!(create("other", &["--replaces", &first]).code(1).stdout.contains("MW0212"), "under its name alone");
    let (second, successor) = made(create("ERP", &["--replaces", &first]));
    assert_eq!((sees(&secret), sees(&successor)), ((200, 1), (200, 1)));
    assert_eq!(again(&successor).header("idempotency-replayed"), Some("true"));
    repo.run(&["token", "revoke", "dev", &first]).code(0);
    assert_eq!((sees(&secret).0, sees(&successor)), (401, (200, 1)));
    let (third, last) = made(create("erp", &["--replaces", &second]));
    assert_eq!(sees(&last), (200, 1), "and so on");

    // Another token of a name that is free again is another one.
    for id in [&second, &third] {
        repo.run(&["token", "revoke", "dev", id]).code(0);
    }
    let (_, stranger) = made(create("erp", &[]));
    assert_eq!(sees(&stranger), (404, 0));
    assert_eq!(again(&stranger).header("idempotency-replayed"), None, "it has its own keys");
    assert_eq!(ask(&stranger, "POST", &format!("{path}/cancel"), None, "").status, 404);
}
