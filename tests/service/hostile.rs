//! Broken, forged or huge requests: each has its own error, changes nothing, and costs bounded memory.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::support::{
    functions,
    repository::{SMALL_PROFILE, TestRepository},
};
use serde_json::{Value, json};

fn post(repo: &TestRepository, changeset: &Value) -> (u16, String) {
    let answer = repo.http("POST", "/v1/changesets", &[], changeset.to_string().as_bytes());
    let code = if answer.status < 300 { String::new() } else { answer.json()["code"].as_str().unwrap().to_owned() };
    (answer.status, code)
}

fn smtp(secret: &str) -> Value {
    json!({
        "provider": { "smtp": { "host": "smtp.example.com", "username": "erp", "password": { "secret": secret } } },
        "from": { "address": "erp@example.com" }, "functions": ["default"], "appliesTo": "system-wide",
    })
}

fn changeset(number: u32, profile: &Value, digest: &str, age_file: Option<&str>) -> Value {
    let mut changeset = json!({
        "id": format!("018f3a2e-0000-7000-8000-{number:012}"), "environment": "dev", "base": 0,
        "settings": { "companies": ["EDU1"] },
        "changes": [{ "action": "create", "name": "relay", "profile": { "profile": profile, "secrets": { "relay/password": digest } } }],
    });
    if let Some(age_file) = age_file {
        changeset["secrets"] = json!({ digest: age_file });
    }
    changeset
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

fn digest(bytes: &[u8]) -> String {
    // Of an age file, the digest of its binary form.
    let header = mailwright::secrets::Header::read(bytes);
    header.map_or_else(|_| mailwright::model::Digest::of_bytes(bytes), |header| header.digest).to_string()
}

#[test]
fn keys_and_masks_in_ordinary_texts_are_refused_by_the_service_too_and_not_echoed() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let before = repo.state();
    let secret = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQ";
    for (patch, pointer, code) in [
        (json!({ "from": { "name": "*****" } }), "/from/name", "MW0032"),
        (json!({ "description": "-----BEGIN PRIVATE KEY-----" }), "/description", "MW0033"),
        (json!({ "description": secret }), "/description", "MW0033"),
        (
            json!({ "provider": { "smtp": { "host": "kX8~Q7abcD.9zPq2LmN4rStU6vWxYz1A" } } }),
            "/provider/smtp/host",
            "MW0033",
        ),
    ] {
        let answer = repo.patch("relay", &patch);
        assert_eq!(answer.status, 422, "{patch}: {}", answer.body);
        assert!(!answer.body.contains(secret));
        let violations = answer.json()["violations"].clone();
        let found = violations.as_array().unwrap().iter().any(|v| v["pointer"] == pointer && v["code"] == code);
        assert!(found, "{violations}");
    }
    // A changeset goes the same way, its settings with it.
    let profile = json!({ "profile": before["profiles"]["relay"]["live"]["profile"] });
    let with = |settings: &Value, description: &str| {
        let mut profile = profile.clone();
        profile["profile"]["description"] = json!(description);
        json!({ "id": "018f3a2e-0000-7000-8000-000000000009", "environment": "dev", "base": 1, "settings": settings,
            "changes": [{ "action": "update", "name": "relay", "profile": profile }] })
    };
    let plain = json!({ "companies": ["EDU1"] });
    let masked = json!({ "companies": ["EDU1"], "unserved": [{ "functions": ["default"], "reason": "[masked]" }] });
    assert_eq!(post(&repo, &with(&plain, secret)), (422, "MW0219".to_owned()));
    assert_eq!(post(&repo, &with(&masked, "fine")), (422, "MW0219".to_owned()));
    assert_eq!(repo.state(), before);
    assert!(!repo.http("GET", "/v1/audit", &[], b"").body.contains(secret));
}

#[test]
fn an_age_file_that_cannot_be_taken_is_named_and_changes_nothing() {
    let mut repo = TestRepository::examples();
    repo.serve();
    let good = std::fs::read(repo.path("secrets/dev/relay/password.age")).unwrap();
    let other = std::fs::read(repo.path("secrets/prod/relay/password.age")).unwrap();
    let mut tampered = good.clone();
    let spot = good.len() * 6 / 10;
    tampered[spot] = if tampered[spot] == b'A' { b'B' } else { b'A' };
    let profile = smtp("relay/password");
    let send = |number, digest: &str, file: Option<&str>| post(&repo, &changeset(number, &profile, digest, file));
    assert_eq!(send(1, &digest(&other), Some(&base64(&other))), (422, "MW0216".to_owned()));
    let (status, code) = send(2, &digest(&tampered), Some(&base64(&tampered)));
    assert!(status == 422 && (code == "MW0216" || code == "MW0034"), "{status} {code}");
    assert_eq!(send(3, &digest(&good), Some(&base64(&other))), (422, "MW0225".to_owned()));
    assert_eq!(send(4, &digest(&good), None), (422, "MW0220".to_owned()));
    assert_eq!(send(5, &digest(b"plain"), Some(&base64(b"plain"))), (422, "MW0034".to_owned()));
    assert_eq!(send(6, &digest(&good), Some("not base64!")), (400, "MW0212".to_owned()));
    let large = vec![b'x'; 100_000];
    assert_eq!(send(7, &digest(&large), Some(&base64(&large))), (413, "MW0213".to_owned()));
    let masked = repo.pipe(&["secrets", "set", "dev", "relay/password"], b"*****").code(1);
    assert!(masked.stderr.contains("MW0032"), "{}", masked.stderr);
    // A mask that another program sealed is refused by the service.
    let recipient =
        mailwright::secrets::ServiceIdentity::demo().unwrap().recipient().parse::<age::x25519::Recipient>().unwrap();
    let masked = age::encrypt(&recipient, b"[masked]").unwrap();
    assert_eq!(send(8, &digest(&masked), Some(&base64(&masked))), (422, "MW0216".to_owned()));
    assert_eq!(repo.state()["generation"], 0);
    assert_eq!(send(9, &digest(&good), Some(&base64(&good))), (201, String::new()));
    // Each refusal is in the audit log, with its code.
    let audit = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).json();
    let refused = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["outcome"] == "refused").count();
    assert_eq!(refused, 8);
}

#[test]
fn changesets_that_make_no_sense() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let stored = repo.state()["profiles"]["relay"]["live"].clone();
    let base = json!({ "id": "018f3a2e-0000-7000-8000-0000000000ff", "environment": "dev", "base": 1, "changes": [] });
    let with = |key: &str, value: Value| {
        let mut changeset = base.clone();
        changeset[key] = value;
        changeset
    };
    let changes = |changes: Value| post(&repo, &with("changes", changes));
    assert_eq!(post(&repo, &with("environment", json!("prod"))), (409, "MW0211".to_owned()));
    assert_eq!(post(&repo, &with("base", json!(0))), (409, "MW0210".to_owned()));
    assert_eq!(post(&repo, &with("base", json!(-1))), (400, "MW0212".to_owned()));
    assert_eq!(post(&repo, &with("base", json!(18_446_744_073_709_551_615_u64))), (409, "MW0210".to_owned()));
    assert_eq!(post(&repo, &with("id", json!("x"))), (400, "MW0212".to_owned()));
    assert_eq!(post(&repo, &with("dryrun", json!(true))), (400, "MW0212".to_owned()));
    assert_eq!(
        changes(json!([{ "action": "create", "name": "relay", "profile": stored }])),
        (409, "MW0210".to_owned())
    );
    assert_eq!(changes(json!([{ "action": "delete", "name": "absent" }])), (409, "MW0210".to_owned()));
    assert_eq!(
        changes(
            json!([{ "action": "update", "name": "relay", "profile": stored }, { "action": "delete", "name": "relay" }])
        ),
        (409, "MW0210".to_owned())
    );
    assert_eq!(
        changes(json!([{ "action": "create", "name": "../../etc/passwd", "profile": stored }])),
        (400, "MW0212".to_owned())
    );
    assert_eq!(
        changes(json!([{ "action": "create", "name": "second", "profile": stored }])),
        (422, "MW0219".to_owned())
    );
    let mut stray = stored.clone();
    stray["secrets"] = json!({ "a/b": digest(b"") });
    assert_eq!(changes(json!([{ "action": "update", "name": "relay", "profile": stray }])), (400, "MW0212".to_owned()));
    assert_eq!(post(&repo, &with("secrets", json!({ digest(b"x"): base64(b"x") }))), (400, "MW0212".to_owned()));
    assert_eq!(repo.state()["generation"], 1);

    // The same id with other contents is not the same changeset; with the same contents it is, and changes nothing.
    let mut changed = stored.clone();
    changed["profile"]["description"] = json!("changed");
    let once = with("changes", json!([{ "action": "update", "name": "relay", "profile": changed }]));
    assert_eq!(post(&repo, &once).0, 201);
    assert_eq!(post(&repo, &once).0, 200);
    assert_eq!(post(&repo, &base), (409, "MW0215".to_owned()));
    assert_eq!(repo.state()["generation"], 2);
}

#[test]
fn bodies_that_break_off_lie_or_never_end() {
    let mut repo = TestRepository::small();
    repo.serve();
    let before = repo.peak_memory();
    let huge = format!("{{\"id\":\"{}\"}}", "x".repeat(50 * 1024 * 1024));
    let answer = repo.http("POST", "/v1/changesets", &[], huge.as_bytes());
    assert_eq!((answer.status, &answer.json()["code"]), (413, &json!("MW0213")));
    assert!(repo.peak_memory() < before + 100, "{} MiB", repo.peak_memory());
    for body in ["", "{", "[]", "null", "{\"id\":", "\u{0}", "{} {}"] {
        let answer = repo.http("POST", "/v1/changesets", &[("Content-Type", "application/json")], body.as_bytes());
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("MW0212")), "{body:?}");
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(repo.http("POST", "/v1/changesets", &[], deep.as_bytes()).status, 400);
    assert_eq!(repo.http("POST", "/v1/changesets", &[("Content-Type", "text/plain")], b"{}").status, 415);
    // A body that is promised and does not come.
    let mut stream = TcpStream::connect(repo.address().trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /v1/changesets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"id\":",
        repo.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    drop(stream.read_to_string(&mut answer));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    // A secret in the wrong place is not echoed.
    let body = json!({ "provider": { "smtp": { "host": "a", "password": "Canary-In-A-Body" } } }).to_string();
    let answer = repo.http("PUT", "/v1/profiles/relay", &[("If-Match", "*")], body.as_bytes());
    assert!(answer.status == 400 && !answer.body.contains("Canary"), "{}", answer.body);
    assert_eq!(repo.state()["generation"], 0);
}

#[test]
fn headers_and_addresses_that_make_no_sense() {
    let mut repo = TestRepository::small();
    repo.serve();
    let raw = |head: &str| {
        let mut stream = TcpStream::connect(repo.address().trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        drop(stream.write_all(head.as_bytes()));
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        answer.split_whitespace().nth(1).unwrap_or("closed").to_owned()
    };
    assert_eq!(raw(&format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(200_000))), "431");
    assert_eq!(raw(&format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: a\r\n".repeat(500))), "431");
    assert_eq!(raw("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "400");
    assert_eq!(raw("NONSENSE\r\n\r\n"), "400");
    // Headers that trickle in are cut off.
    assert!(["408", "closed"].contains(&raw("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").as_str()));
    for (path, status) in [
        ("/v1/nothing", 404),
        ("/v1/profiles/%00", 400),
        ("/v1/profiles/%ff", 400),
        ("/v1/profiles/a%2Fb", 400),
        ("/v1/profiles/none", 404),
        ("/v1/generations/-1", 400),
        ("/v1/generations/18446744073709551615", 404),
        ("/v1/generations/99999999999999999999", 400),
        ("/v1/generations?before=18446744073709551615", 200),
        ("/v1/generations?limit=0", 400),
        ("/v1/generations?limit=1001", 400),
        ("/v1/generations?x=1", 400),
        ("/v1/audit?after=18446744073709551615", 200),
        ("/v1/resolve", 400),
        ("/v1/resolve?company=EDU1&function=nothing", 400),
        ("/v1/resolve?company=edu1&function=default", 400),
        ("/v1/resolve?company=EDU9&function=default", 422),
    ] {
        let answer = repo.http("GET", path, &[], b"");
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(
            status == 200 || answer.header("content-type") == Some("application/problem+json"),
            "{path}: {}",
            answer.head
        );
    }
    assert_eq!(repo.http("DELETE", "/v1/state", &[], b"").status, 405);
    // Preconditions of changes by hand.
    assert_eq!(repo.http("DELETE", "/v1/profiles/relay", &[], b"").status, 428);
    assert_eq!(repo.http("DELETE", "/v1/profiles/relay", &[("If-Match", "\"g7\"")], b"").status, 412);
}

#[test]
fn an_entity_tag_names_contents_and_not_a_number() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    // After a restore, another change has the same number.
    let tag = |path: &str| repo.http("GET", path, &[], b"").header("etag").unwrap().to_owned();
    let (profile, state) = (tag("/v1/profiles/relay"), tag("/v1/state"));
    let number = profile.split_once('-').unwrap().0.to_owned() + "\"";
    assert_eq!(repo.http("DELETE", "/v1/profiles/relay", &[("If-Match", number.as_str())], b"").status, 412);
    assert_eq!(repo.http("GET", "/v1/state", &[("If-None-Match", number.as_str())], b"").status, 200);
    assert_eq!(repo.http("GET", "/v1/state", &[("If-None-Match", state.as_str())], b"").status, 304);
    let patch = [("If-Match", profile.as_str()), ("Content-Type", "application/merge-patch+json")];
    for status in [200, 412] {
        let answer = repo.http("PATCH", "/v1/profiles/relay", &patch, br#"{"description":"by hand"}"#);
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    assert_eq!(repo.http("GET", "/v1/state", &[("If-None-Match", state.as_str())], b"").status, 200);
}

#[test]
fn ten_thousand_profiles_go_through_in_bounded_memory() {
    let mut repo = TestRepository::empty();
    let companies: Vec<String> = (0..1000).map(|number| format!("C{number:03}")).collect();
    repo.write("environments/dev/environment.yaml", format!("companies: [{}]\n", companies.join(", ")));
    for company in &companies {
        for function in functions().take(10) {
            let text = SMALL_PROFILE
                .replace("[default]", &format!("[{function}]"))
                .replace("system-wide", &format!("{{ companies: [{company}] }}"));
            repo.write(&format!("environments/dev/profiles/{company}-{function}.yaml"), text);
        }
    }
    repo.serve();
    let output = repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    assert!(
        output.stdout.contains("Apply complete! Resources: 10000 added"),
        "{}",
        &output.stdout[output.stdout.len() - 200..]
    );
    assert!(repo.run(&["plan", "dev"]).code(0).stdout.contains("No changes."));
    assert!(repo.peak_memory() < 400, "{} MiB", repo.peak_memory());
}

#[test]
fn of_two_simultaneous_applies_one_is_refused_and_asked_to_plan_again() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let stored = repo.state()["profiles"]["relay"]["live"].clone();
    for round in 1..=10_u32 {
        let change = |number: u32| {
            let mut changed = stored.clone();
            changed["profile"]["description"] = json!(format!("round {round}, number {number}"));
            json!({ "id": format!("018f3a2e-0000-7000-8000-{:012}", round * 10 + number), "environment": "dev", "base": round, "changes": [{ "action": "update", "name": "relay", "profile": changed }] })
        };
        let results: Vec<(u16, String)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|number| {
                    let changeset = change(number);
                    let repo = &repo;
                    scope.spawn(move || post(repo, &changeset))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.0 == 201).count(), 1, "{results:?}");
        assert_eq!(results.iter().filter(|result| **result == (409, "MW0210".to_owned())).count(), 3, "{results:?}");
    }
    repo.run(&["audit", "verify", "dev"]).code(0);
}
