//! Identity tokens of pipelines: an issuer of the test's own, tokens that are good, and everything that must open
//! nothing.

use std::time::{Duration, Instant};

use crate::support::{
    issuer::{AUDIENCE, Issuer, Key, SUBJECT, claims, key, now, sign},
    repository::{HttpResponse, TestRepository, run_command},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A service that takes tokens of the issuer, and the same claims with something else in them.
fn create_repo(issuer: &Issuer) -> TestRepository {
    let mut repo = TestRepository::small();
    repo.write("oidc.yaml", rules(issuer));
    let path = repo.path("oidc.yaml");
    repo.serve_with(&["--demo", "--oidc", path.to_str().unwrap()]);
    repo
}

fn rules(issuer: &Issuer) -> String {
    format!(
        "issuers:\n  - issuer: {}\n    audience: {AUDIENCE}\n    rules:\n      - name: ci\n        role: deployer\n        claims: {{ sub: '{SUBJECT}', repository: example/mail }}\n      - name: pull-requests\n        role: planner\n        claims: {{ sub: 'repo:example/*:pull_request' }}\n",
        issuer.address
    )
}

fn ask(repo: &TestRepository, token: &str) -> HttpResponse {
    repo.http_without_token("GET", "/v1/state", &[("Authorization", &format!("Bearer {token}"))], b"")
}

fn refused(repo: &TestRepository, token: &str, words: &str) {
    let answer = ask(repo, token);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("MW0321")), "{words}: {}", answer.body);
    assert!(answer.body.contains(words), "{words}: {}", answer.body);
}

#[test]
fn a_pipeline_applies_by_its_identity_token_alone() {
    let issuer = Issuer::start();
    let (rsa, ec) = (key("one", Algorithm::RS256), key("two", Algorithm::ES256));
    issuer.publish(&[&rsa, &ec]);
    let repo = create_repo(&issuer);
    let with = |token: &str, arguments: &[&str]| {
        let mut command = repo.command(arguments);
        command.env("MAILWRIGHT_TOKEN", token);
        run_command(command)
    };
    with(&sign(&rsa, &claims(&issuer)), &["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let newest = repo.http("GET", "/v1/generations?limit=1", &[], b"").json();
    assert_eq!(newest["generations"][0]["by"], format!("ci ({SUBJECT})"));
    // A list of audiences, another algorithm, and another rule, which grants its own role and not more.
    let mut other = claims(&issuer);
    other["aud"] = json!(["https://elsewhere.example", AUDIENCE]);
    other["sub"] = json!("repo:example/mail:pull_request");
    let planner = sign(&ec, &other);
    with(&planner, &["plan", "dev"]).code(0);
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    let output = with(&planner, &["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(output.stderr.contains("error[MW0202]"), "{}", output.stderr);
    let audit = repo.http("GET", "/v1/audit?limit=100", &[], b"").json().to_string();
    assert!(audit.contains("pull-requests (repo:example/mail:pull_request)"), "{audit}");
    // The keys were fetched once for all of that.
    assert_eq!(issuer.asked(), 1);
}

#[test]
fn a_claim_may_name_the_environment_that_is_asked() {
    let issuer = Issuer::start();
    let good = key("one", Algorithm::RS256);
    issuer.publish(&[&good]);
    let mut repo = TestRepository::small();
    repo.write("oidc.yaml", rules(&issuer).replace(SUBJECT, "repo:example/mail:environment:{environment}"));
    let path = repo.path("oidc.yaml");
    repo.serve_with(&["--demo", "--oidc", path.to_str().unwrap()]);
    let of = |name: &str| {
        let mut claims = claims(&issuer);
        claims["sub"] = json!(format!("repo:example/mail:environment:{name}"));
        sign(&good, &claims)
    };
    assert_eq!(ask(&repo, &of("dev")).status, 200);
    refused(&repo, &of("prod"), "no rule");
    refused(&repo, &of("{environment}"), "no rule");
}

#[test]
fn a_token_for_another_audience_opens_nothing() {
    let issuer = Issuer::start();
    let good = key("one", Algorithm::RS256);
    issuer.publish(&[&good]);
    let repo = create_repo(&issuer);
    assert_eq!(ask(&repo, &sign(&good, &claims(&issuer))).status, 200);
    let with = |claim: &str, value: Value| {
        let mut claims = claims(&issuer);
        claims[claim] = value;
        sign(&good, &claims)
    };
    let cases = [
        ("aud", json!("https://elsewhere.example"), "audience"),
        ("aud", json!(format!("{AUDIENCE}/")), "audience"),
        ("aud", Value::Null, "audience"),
        ("iss", json!("https://token.actions.githubusercontent.com"), "issuer"),
        ("iss", json!(format!("{}/", issuer.address)), "issuer"),
        ("sub", json!("repo:example/mail:ref:refs/heads/other"), "no rule"),
        ("sub", json!(format!("{SUBJECT}-evil")), "no rule"),
        ("sub", json!("repo:examples/mail:pull_request_target"), "no rule"),
        ("sub", json!("repo:example/x:environment:evil:pull_request"), "no rule"),
        ("sub", json!("repo:example/x/y:pull_request"), "no rule"),
        ("sub", Value::Null, "no `sub` claim"),
        ("repository", json!("mallory/mail"), "no rule"),
        ("repository", Value::Null, "no rule"),
        ("exp", json!(now() - 61), "has expired"),
        ("exp", Value::Null, "no `iat` or no `exp`"),
        ("exp", json!(now() + 7200), "for longer"),
        ("exp", json!("soon"), "no `iat` or no `exp`"),
        ("exp", json!(i64::MAX), "for longer"),
        ("exp", json!(u64::MAX), "for longer"),
        ("exp", json!(1e300), "for longer"),
        ("iat", json!(i64::MIN), "for longer"),
        ("iat", json!(-1e300), "for longer"),
        ("iat", Value::Null, "no `iat` or no `exp`"),
        ("iat", json!(now() + 120), "not valid yet"),
        ("nbf", json!(now() + 120), "not valid yet"),
        ("nbf", json!("now"), "not valid yet"),
    ];
    for (claim, value, words) in cases {
        refused(&repo, &with(claim, value), words);
    }
    // The widest span that there is, and a pull request of any repository of the owner.
    let mut widest = claims(&issuer);
    (widest["iat"], widest["exp"]) = (json!(i64::MIN), json!(i64::MAX));
    refused(&repo, &sign(&good, &widest), "for longer");
    assert_eq!(ask(&repo, &with("sub", json!("repo:example/any:pull_request"))).status, 200);
    // A small clock difference is tolerated.
    assert_eq!(ask(&repo, &with("exp", json!(now() - 20))).status, 200);
    assert_eq!(ask(&repo, &with("nbf", json!(now() + 20))).status, 200);
}

#[test]
fn a_signature_that_is_none_opens_nothing() {
    let issuer = Issuer::start();
    let (good, stranger) = (key("one", Algorithm::RS256), key("one", Algorithm::RS256));
    // An issuer that publishes a secret key by mistake does not make it one to trust.
    issuer.publish(&[&good]);
    let secret = BASE64_URL_SAFE_NO_PAD.encode(b"0123456789abcdef0123456789abcdef");
    issuer.answers.lock().unwrap().keys.push(json!({ "kty": "oct", "kid": "oct", "k": secret, "alg": "HS256" }));
    let repo = create_repo(&issuer);
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let body = encode(&claims(&issuer));
    // No signature at all.
    for name in ["none", "None", "NONE"] {
        let head = encode(&json!({ "alg": name, "typ": "JWT", "kid": "one" }));
        refused(&repo, &format!("{head}.{body}."), "not accepted");
    }
    // The public key taken for a shared secret.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("one".to_owned());
    for secret in [good.public_pem.as_bytes(), good.published["n"].as_str().unwrap().as_bytes()] {
        let token = jsonwebtoken::encode(&header, &claims(&issuer), &EncodingKey::from_secret(secret)).unwrap();
        refused(&repo, &token, "RS256, PS256 or ES256");
    }
    header.kid = Some("oct".to_owned());
    let key = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    refused(&repo, &jsonwebtoken::encode(&header, &claims(&issuer), &key).unwrap(), "RS256, PS256 or ES256");
    // Another issuer's key under the same name; claims exchanged behind the signature; a key that brings itself along.
    refused(&repo, &sign(&stranger, &claims(&issuer)), "signature");
    let token = sign(&good, &claims(&issuer));
    let parts: Vec<&str> = token.split('.').collect();
    let mut other = claims(&issuer);
    other["repository"] = json!("mallory/mail");
    refused(&repo, &format!("{}.{}.{}", parts[0], encode(&other), parts[2]), "signature");
    let mut header = Header::new(Algorithm::RS256);
    header.jwk = Some(serde_json::from_value(stranger.published.clone()).unwrap());
    let token = jsonwebtoken::encode(&header, &claims(&issuer), &stranger.signing).unwrap();
    refused(&repo, &token, "signature");
    // Too large, and not one at all.
    let mut huge = claims(&issuer);
    huge["more"] = json!("x".repeat(9000));
    assert_eq!(ask(&repo, &sign(&good, &huge)).status, 401);
    assert_eq!(ask(&repo, "eyJ.e30.").status, 401);
    assert_eq!(ask(&repo, &format!("{}.{}", parts[0], parts[1])).status, 401);
}

/// Returns the words before a program whose clock is ahead by what a file says, which is created.
pub(crate) fn faketime(offset: &std::path::Path) -> Vec<String> {
    let library = std::fs::read_dir(crate::support::tools::folder().join("usr/lib"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file())
        .unwrap();
    std::fs::write(offset, "+0").unwrap();
    let preload = format!("LD_PRELOAD={}", library.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", offset.display());
    let fixed = ["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"].map(str::to_owned);
    [vec!["env".to_owned(), preload, file], fixed.to_vec()].concat()
}

/// A service whose clock is ahead by what the file says: `+61`, `+2h`.
fn trial_with_a_clock(issuer: &Issuer) -> (TestRepository, std::path::PathBuf) {
    let mut repo = TestRepository::small();
    repo.write("oidc.yaml", rules(issuer));
    let offset = repo.path("offset");
    let before = faketime(&offset);
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let path = repo.path("oidc.yaml");
    repo.serve_under(&before, &["--demo", "--oidc", path.to_str().unwrap()]);
    (repo, offset)
}

#[test]
fn keys_are_rotated_and_strangers_do_not_make_the_service_ask() {
    let issuer = Issuer::start();
    let (old, new) = (key("old", Algorithm::RS256), key("new", Algorithm::RS256));
    issuer.publish(&[&old]);
    let (repo, offset) = trial_with_a_clock(&issuer);
    let at = |key: &Key, ahead: i64| {
        let mut claims = claims(&issuer);
        for claim in ["iat", "nbf", "exp"] {
            claims[claim] = json!(claims[claim].as_i64().unwrap() + ahead);
        }
        sign(key, &claims)
    };
    assert_eq!(ask(&repo, &at(&old, 0)).status, 200);
    issuer.publish(&[&old, &new]);
    // Within a minute of the last time, an unknown key is not asked for, however often it is shown.
    for _ in 0..20 {
        refused(&repo, &at(&new, 0), "does not publish");
    }
    assert_eq!(issuer.asked(), 1);
    std::fs::write(&offset, "+61").unwrap();
    assert_eq!(ask(&repo, &at(&new, 61)).status, 200);
    assert_eq!(ask(&repo, &at(&old, 61)).status, 200);
    assert_eq!(issuer.asked(), 2);
    // A key that is not published any more is refused once the keys are an hour old.
    issuer.publish(&[&new]);
    std::fs::write(&offset, "+2h").unwrap();
    refused(&repo, &at(&old, 7200), "does not publish");
    assert_eq!(ask(&repo, &at(&new, 7200)).status, 200);
    // The issuer is down: what is known is used for a day, and not longer.
    issuer.answers.lock().unwrap().down = true;
    std::fs::write(&offset, "+12h").unwrap();
    assert_eq!(ask(&repo, &at(&new, 12 * 3600)).status, 200);
    std::fs::write(&offset, "+27h").unwrap();
    let answer = ask(&repo, &at(&new, 27 * 3600));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("MW0322")), "{}", answer.body);
}

#[test]
fn an_issuer_that_is_down_opens_no_door_and_closes_none() {
    let issuer = Issuer::start();
    let (known, unknown) = (key("known", Algorithm::RS256), key("unknown", Algorithm::RS256));
    issuer.publish(&[&known]);
    issuer.answers.lock().unwrap().down = true;
    let mut repo = create_repo(&issuer);
    let answer = ask(&repo, &sign(&known, &claims(&issuer)));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("MW0322")), "{}", answer.body);
    // The service's own tokens are not concerned.
    assert_eq!(repo.http("GET", "/v1/state", &[], b"").status, 200);
    // An issuer that names itself otherwise is not believed.
    repo.kill();
    {
        let mut answers = issuer.answers.lock().unwrap();
        answers.down = false;
        answers.names = Some("https://elsewhere.example".to_owned());
    }
    let path = repo.path("oidc.yaml");
    repo.serve_with(&["--demo", "--oidc", path.to_str().unwrap()]);
    assert_eq!(ask(&repo, &sign(&known, &claims(&issuer))).status, 503);
    repo.kill();
    issuer.answers.lock().unwrap().names = None;
    repo.serve_with(&["--demo", "--oidc", path.to_str().unwrap()]);
    assert_eq!(ask(&repo, &sign(&known, &claims(&issuer))).status, 200);
    // Down again: only tokens with a known key are accepted.
    issuer.answers.lock().unwrap().down = true;
    assert_eq!(ask(&repo, &sign(&known, &claims(&issuer))).status, 200);
    assert_ne!(ask(&repo, &sign(&unknown, &claims(&issuer))).status, 200);
}

#[test]
fn an_issuer_without_keys_takes_nothing_from_others() {
    use std::io::Write as _;
    // It takes connections, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut issuer = Issuer::start();
    issuer.address = format!("http://{}", silent.local_addr().unwrap());
    let repo = create_repo(&issuer);
    let token = sign(&key("one", Algorithm::RS256), &claims(&issuer));
    let address = repo.address().trim_start_matches("http://");
    let waiting: Vec<std::net::TcpStream> = (0..300)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let head = format!("GET /v1/state HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(repo.http("GET", "/v1/state", &[], b"").status, 200);
    }
    // Each of them is asked to retry: the issuer has not answered at all.
    for mut stream in waiting {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 503");
    }
    drop(silent);
}

#[test]
fn github_hands_the_token_out_and_nothing_is_stored() {
    let issuer = Issuer::start();
    let good = key("one", Algorithm::RS256);
    issuer.publish(&[&good]);
    issuer.answers.lock().unwrap().token = sign(&good, &claims(&issuer));
    let repo = create_repo(&issuer);
    let ask = |url: &str, asking: &str| {
        let mut command = repo.command(&["apply", "dev", "--yes", "--skip-verify"]);
        command
            .env_remove("MAILWRIGHT_TOKEN")
            .env("MAILWRIGHT_OIDC_AUDIENCE", AUDIENCE)
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", url)
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", asking);
        run_command(command)
    };
    let url = format!("{}/token?api-version=2.0", issuer.address);
    ask(&url, "the-asking-token").code(0);
    assert_eq!(
        issuer.answers.lock().unwrap().audiences.first().unwrap(),
        "api-version=2.0&audience=https%3A%2F%2Fmail.example.com"
    );
    let output = ask(&url, "another-token").code(1);
    assert!(output.stderr.contains("error[MW0323]") && !output.stderr.contains("another-token"), "{}", output.stderr);
    for url in ["http://mail.example.com/token", "nonsense", ""] {
        let output = ask(url, "the-asking-token").code(1);
        assert!(
            output.stderr.contains("error[MW0323]") && !output.stderr.contains("asking-token"),
            "{}",
            output.stderr
        );
    }
    let log = repo.service.as_ref().unwrap().log.lock().unwrap().clone();
    assert!(!log.contains(&issuer.answers.lock().unwrap().token), "the log holds a token");
}

#[test]
fn a_file_that_lets_too_many_in_keeps_the_service_from_starting() {
    let issuer = Issuer::start();
    let repo = TestRepository::small();
    let good = rules(&issuer);
    let sub = format!("{{ sub: '{SUBJECT}', repository: example/mail }}");
    let cases = [
        (good.replace(&sub, "{}"), "every token of the issuer"),
        (good.replace(&sub, "{ sub: '*' }"), "every token of the issuer"),
        (good.replace(&sub, "{ sub: [] }"), "every token of the issuer"),
        (good.replace("audience:", "audiences:"), "audiences"),
        (good.replace(&format!("audience: {AUDIENCE}"), "audience: ''"), "the audience is empty"),
        (good.replace(&issuer.address, "http://issuer.example"), "not an https:// address"),
        (good.replace("role: deployer", "role: root"), "root"),
        ("issuers: 3\n".to_owned(), "oidc.yaml:1:"),
    ];
    for (text, words) in cases {
        repo.write("oidc.yaml", text);
        let data = repo.path(".data");
        let output = repo
            .run(&[
                "serve",
                "--environment",
                "dev",
                "--demo",
                "--listen",
                "127.0.0.1:0",
                "--data",
                data.to_str().unwrap(),
                "--oidc",
                "oidc.yaml",
            ])
            .code(1);
        assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
    }
    // A service without configured issuers accepts no such token.
    let mut repo = repo;
    repo.serve();
    refused(&repo, &sign(&key("one", Algorithm::RS256), &claims(&issuer)), "accepts none");
}

/// Asks until the answer has this status.
fn becomes(repo: &TestRepository, token: &str, status: u16) {
    let until = Instant::now() + Duration::from_secs(120);
    let mut answer = ask(repo, token);
    while answer.status != status && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
        answer = ask(repo, token);
    }
    assert_eq!(answer.status, status, "{}", answer.body);
}

fn says(repo: &TestRepository, words: &str) {
    let log = &repo.service.as_ref().unwrap().log;
    let until = Instant::now() + Duration::from_secs(120);
    while !log.lock().unwrap().contains(words) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(log.lock().unwrap().contains(words), "{words}: {}", log.lock().unwrap());
}

fn hang_up(repo: &TestRepository) {
    let id = repo.service.as_ref().unwrap().child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
}

#[test]
fn the_file_is_read_again_when_it_changes() {
    let issuer = Issuer::start();
    let rsa = key("one", Algorithm::RS256);
    issuer.publish(&[&rsa]);
    let repo = create_repo(&issuer);
    let main = sign(&rsa, &claims(&issuer));
    let mut other = claims(&issuer);
    other["sub"] = json!("repo:example/mail:ref:refs/heads/other");
    let other = sign(&rsa, &other);
    assert_eq!((ask(&repo, &main).status, ask(&repo, &other).status), (200, 401));
    // Another branch gets in and the first one is out, without a restart.
    repo.write("oidc.yaml", rules(&issuer).replace(SUBJECT, "repo:example/mail:ref:refs/heads/other"));
    becomes(&repo, &other, 200);
    refused(&repo, &main, "no rule of the service");
    let audit = repo.http("GET", "/v1/audit?limit=100", &[], b"").json();
    let entry = audit["entries"].as_array().unwrap().iter().find(|entry| entry["action"] == "issuers.reload").unwrap();
    assert_eq!((&entry["outcome"], &entry["detail"]["issuers"][0]), (&json!("accepted"), &json!(issuer.address)));

    // The issuer does not answer while the file is read again: its keys are known, and stay so.
    issuer.answers.lock().unwrap().down = true;
    repo.write("oidc.yaml", rules(&issuer));
    hang_up(&repo);
    becomes(&repo, &main, 200);
    refused(&repo, &other, "no rule of the service");
}

#[test]
fn a_file_that_makes_no_sense_keeps_the_old_one() {
    let issuer = Issuer::start();
    let rsa = key("one", Algorithm::RS256);
    issuer.publish(&[&rsa]);
    let repo = create_repo(&issuer);
    let token = sign(&rsa, &claims(&issuer));
    assert_eq!(ask(&repo, &token).status, 200);
    let refusals = |count: u32| {
        let line = format!("mailwright_issuers_reloads_total{{outcome=\"refused\"}} {count}");
        let until = Instant::now() + Duration::from_secs(120);
        let metrics = || repo.http("GET", "/metrics", &[], b"").body;
        while !metrics().contains(&line) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(metrics().contains(&line), "{line}: {}", metrics());
    };
    for (count, (text, words)) in [
        ("issuers: [", "cannot use the issuers file; the settings read before stay in effect"),
        (&rules(&issuer).replace("role: deployer", "role: king"), "line 6: "),
        // A rule that accepts every token is refused like an unreadable file.
        (
            &rules(&issuer).replace(SUBJECT, "*").replace(", repository: example/mail", ""),
            "it would admit every token of the issuer",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        repo.write("oidc.yaml", text);
        hang_up(&repo);
        refusals(u32::try_from(count).unwrap() + 1);
        says(&repo, words);
        assert_eq!(ask(&repo, &token).status, 200, "{words}");
    }
    repo.remove("oidc.yaml");
    hang_up(&repo);
    refusals(4);
    assert_eq!(ask(&repo, &token).status, 200);
    let audit = repo.http("GET", "/v1/audit?limit=100", &[], b"").body;
    assert!(!audit.contains("issuers.reload"), "{audit}");
    // And when it makes sense again, it counts.
    repo.write("oidc.yaml", rules(&issuer).replace("deployer", "viewer"));
    hang_up(&repo);
    says(&repo, "issuers file reloaded");
    assert_eq!(ask(&repo, &token).status, 200);
}
