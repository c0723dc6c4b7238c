//! Sign-in with an identity provider: an issuer of the test's own, which answers as the test says, and everything that must give
//! no session.

use std::collections::BTreeMap;

use super::{
    client::Client,
    edit::{NEW, plan, send_on},
};
use crate::{
    oidc::faketime,
    support::{
        host_process::HostProcess,
        issuer::{AUDIENCE, Issuer, Key, key, now, sign},
        repository::{HttpResponse, TestRepository},
        sandbox::{Sandbox, SigningCertificate},
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::Digest as _;

const CLIENT: &str = "the-console";
const SECRET: &str = "C4nary/of+the&client=secret";
pub(super) const PUBLIC: &str = "https://mail.example.com";
const BEGIN: &str = "/console/sign-in/with/sso?next=/console/profiles";
const CALLBACK: &str = "/console/sign-in/callback";

/// A service at which persons of an issuer sign in.
pub(super) struct Setup {
    pub(super) issuer: Issuer,
    pub(super) key: Key,
    pub(super) repo: TestRepository,
}

fn settings(issuer: &Issuer) -> String {
    format!(
        "issuers:
  - issuer: {}
    audience: {AUDIENCE}
    rules:
      - {{ name: ci, role: deployer, claims: {{ sub: 'person-*' }} }}
    console:
      label: Example <b>Inc</b>
      clientId: {CLIENT}
      clientSecretFile: secret.txt
      rules:
        - {{ name: admins, role: admin, claims: {{ roles: Mail.Admin }} }}
        - {{ name: desk, role: viewer, claims: {{ groups: ['mail-desk', 'mail-{{environment}}'] }} }}
        - {{ name: members, role: bound, claims: {{ roles: Member }} }}
",
        issuer.address
    )
}

impl Setup {
    pub(super) fn new() -> Self {
        Self::with(|_| {}, &[])
    }

    fn with(change: impl FnOnce(&Issuer), before: &[&str]) -> Self {
        let (issuer, key) = (Issuer::start(), key("one", Algorithm::RS256));
        issuer.publish(&[&key]);
        change(&issuer);
        let mut repo = TestRepository::small();
        repo.write("oidc.yaml", settings(&issuer));
        repo.write("secret.txt", format!("{SECRET}\n"));
        let path = repo.path("oidc.yaml");
        repo.serve_under(before, &["--demo", "--oidc", path.to_str().unwrap(), "--public-url", PUBLIC]);
        Self { issuer, key, repo }
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.repo)
    }

    /// Answers a code with an ID token.
    pub(super) fn issue(&self, token: &str) {
        let answer = json!({ "access_token": "unused", "token_type": "Bearer", "id_token": token });
        self.issuer.answers.lock().unwrap().redeemed = Some((200, answer));
    }

    /// The claims of a person, for a sign-in that has begun.
    pub(super) fn claims(&self, begun: &BTreeMap<String, String>) -> Value {
        json!({
            "iss": self.issuer.address, "aud": CLIENT, "sub": "person-1", "name": "Ann Example", "nonce": begun["nonce"],
            "roles": ["Mail.Admin"], "iat": now(), "exp": now() + 3600,
        })
    }

    /// Signs in as a person, with other claims than the usual ones.
    pub(super) fn sign_in(&self, client: &mut Client, change: impl FnOnce(&mut Value)) -> HttpResponse {
        let begun = begin(client);
        let mut claims = self.claims(&begun);
        change(&mut claims);
        self.issue(&sign(&self.key, &claims));
        come_back(client, &begun)
    }

    pub(super) fn audit(&self) -> Vec<Value> {
        self.repo.http("GET", "/v1/audit?limit=1000", &[], b"").json()["entries"].as_array().unwrap().clone()
    }
}

/// Follows the link to the issuer, and returns the parameters that it is given.
fn begin(client: &mut Client) -> BTreeMap<String, String> {
    let answer = client.get(BEGIN);
    assert_eq!(answer.status, 303, "{}", answer.body);
    parameters(answer.header("location").unwrap())
}

pub(super) fn parameters(location: &str) -> BTreeMap<String, String> {
    reqwest::Url::parse(location).unwrap().query_pairs().into_owned().collect()
}

pub(super) fn come_back(client: &mut Client, begun: &BTreeMap<String, String>) -> HttpResponse {
    client.get(&format!("{CALLBACK}?code=the-code&state={}", begun["state"]))
}

/// The answer is a page that says why, and gives no session.
fn assert_refused(client: &Client, answer: &HttpResponse, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{words}: {}\n{}", answer.head, answer.body);
    assert!(answer.body.contains(words), "{words}: {}", answer.body);
    assert!(client.cookies.keys().all(|name| name == "__Host-mw.language"), "{words}: {:?}", client.cookies);
}

#[test]
fn a_person_signs_in_and_gets_the_rights_of_its_role() {
    let setup = Setup::new();
    let mut client = setup.client();
    let form = client.page("/console/sign-in?next=/console/profiles%3Fq%3Da");
    // At the public address, whatever the address of the form is: the answer comes there.
    let link = format!("href=\"{PUBLIC}/console/sign-in/with/sso?next=/console/profiles%3Fq%3Da\"");
    assert!(form.contains(&link), "{form}");
    assert!(form.contains("Sign in with Example &#60;b&#62;Inc&#60;/b&#62;"), "{form}");

    let begun = begin(&mut client);
    let names: Vec<&str> = begun.keys().map(String::as_str).collect();
    let expected = [
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    ];
    assert_eq!(names, expected);
    let values = ["client_id", "redirect_uri", "response_type", "scope", "response_mode", "code_challenge_method"];
    let wanted = [CLIENT, &format!("{PUBLIC}{CALLBACK}"), "code", "openid profile", "query", "S256"];
    assert_eq!(values.map(|name| begun[name].as_str()), wanted);
    assert_eq!(client.cookies.keys().collect::<Vec<_>>(), ["__Host-mw.sign-in"]);

    setup.issue(&sign(&setup.key, &setup.claims(&begun)));
    let answer = come_back(&mut client, &begun);
    assert_eq!(answer.header("location"), Some("/console/sign-in?next=/console/profiles&why=done"), "{}", answer.body);
    assert_eq!(client.cookies.keys().collect::<Vec<_>>(), ["__Host-mw"]);
    let page = client.page("/console/profiles");
    // The name for display; the id is in the list of sessions and in the audit log.
    assert!(page.contains("<bdi>Ann Example</bdi>"), "{page}");
    assert!(client.page("/console/sessions").contains("Ann Example (sso:person-1)"));
    client.page("/console/tokens");

    let answers = setup.issuer.answers.lock().unwrap();
    let [(heads, redeemed)] = answers.redemptions.as_slice() else { panic!("{:?}", answers.redemptions) };
    assert_eq!((redeemed["grant_type"].as_str(), redeemed["code"].as_str()), ("authorization_code", "the-code"));
    assert_eq!(redeemed["redirect_uri"], begun["redirect_uri"]);
    let hash = sha2::Sha256::digest(redeemed["code_verifier"].as_bytes());
    assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(hash), begun["code_challenge"]);
    // Without a list of ways, an issuer reads the secret in the header.
    let encoded = "C4nary%2Fof%2Bthe%26client%3Dsecret";
    let expected = base64::prelude::BASE64_STANDARD.encode(format!("{CLIENT}:{encoded}"));
    assert!(heads.iter().any(|head| head.ends_with(&format!("Basic {expected}"))), "{heads:?}");
    assert!(!redeemed.contains_key("client_secret"));
    drop(answers);

    let entries = setup.audit();
    let created = entries.iter().find(|entry| entry["action"] == "session.create").unwrap();
    assert_eq!((&created["actor"], &created["outcome"]), (&json!("Ann Example (sso:person-1)"), &json!("accepted")));
    let (audit, log) = (json!(entries).to_string(), setup.repo.service_log());
    for secret in ["C4nary", "the-code", &begun["state"], &begun["nonce"], &redeemed_verifier(&setup)] {
        assert!(!audit.contains(secret) && !log.contains(secret), "{secret}");
    }
    client.post("/console/sign-out", &[]);
    assert_eq!(client.get("/console").status, 303);
}

fn redeemed_verifier(setup: &Setup) -> String {
    setup.issuer.answers.lock().unwrap().redemptions[0].1["code_verifier"].clone()
}

#[test]
fn a_proposer_with_another_name_is_the_same_person() {
    let setup = Setup::new();
    setup.repo.write("environments/dev/environment.yaml", "companies: [EDU1]\npolicy: { console: propose }\n");
    setup.repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let mut client = setup.client();
    assert_eq!(setup.sign_in(&mut client, |_| {}).status, 303);
    let page = plan(&mut client, NEW);
    let proposed = send_on(&mut client, "/console/plan/propose", &page, &[("reason", "new")]);
    let path = proposed.header("location").unwrap_or_else(|| panic!("{}", proposed.body)).to_owned();
    let apply = |client: &mut Client| {
        let page = client.page(&path);
        let generation = [("planned", "1")];
        (page, client.post(&format!("{path}/apply"), &generation))
    };
    // Many providers let people change the name that is shown.
    let mut renamed = setup.client();
    assert_eq!(setup.sign_in(&mut renamed, |claims| claims["name"] = json!("Anna Sample")).status, 303);
    let (page, answer) = apply(&mut renamed);
    assert!(!page.contains(">Apply</button>"), "{page}");
    assert!(answer.status == 403 && answer.body.contains("a proposal of yours"), "{}", answer.body);
    assert_eq!(setup.repo.state()["generation"], 1);
    // Another person of the same name.
    let mut other = setup.client();
    assert_eq!(setup.sign_in(&mut other, |claims| claims["sub"] = json!("person-2")).status, 303);
    let (page, answer) = apply(&mut other);
    assert!(page.contains(">Apply</button>"), "{page}");
    assert_eq!(answer.status, 303, "{}", answer.body);
}

#[test]
fn groups_and_roles_are_subjects_of_the_access_policy() {
    let setup = Setup::new();
    // A viewer by its group, which may name the environment.
    let mut viewer = setup.client();
    let answer = setup.sign_in(&mut viewer, |claims| {
        claims["roles"] = Value::Null;
        claims["groups"] = json!(["others", "mail-dev"]);
    });
    assert_eq!(answer.status, 303, "{}", answer.body);
    viewer.page("/console/profiles");
    assert_eq!(viewer.get("/console/tokens").status, 403);
    // A member without rights of its own, until a binding names its role.
    let member = |claims: &mut Value| claims["roles"] = json!(["Member"]);
    let mut client = setup.client();
    let answer = setup.sign_in(&mut client, member);
    assert_refused(&client, &answer, 403, "MW0202");
    let address = &setup.issuer.address;
    let policy = format!(
        "bindings:\n  people:\n    subjects: [{{ role: Member, issuer: \"{address}\" }}]\n    roles: [viewer]\n"
    );
    setup.repo.write("environments/dev/access.yaml", policy);
    let applied = setup.repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]);
    applied.code(0);
    let mut client = setup.client();
    assert_eq!(setup.sign_in(&mut client, member).status, 303);
    client.page("/console/profiles");
    assert_eq!(client.get("/console/tokens").status, 403);
    // A right that is taken away is gone with the next request.
    setup.repo.write("environments/dev/access.yaml", "bindings: {}\n");
    setup.repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert_eq!(client.get("/console/profiles").header("location").map(|to| to.contains("why=ended")), Some(true));
}

#[test]
fn an_id_token_that_is_not_for_this_sign_in_gives_no_session() {
    let setup = Setup::new();
    let with = |claim: &'static str, value: Value, words: &str| {
        let mut client = setup.client();
        let answer = setup.sign_in(&mut client, |claims| claims[claim] = value);
        // After ten, refusals from one address are counted only.
        if answer.status == 429 {
            return;
        }
        assert_refused(&client, &answer, 401, words);
    };
    with("nonce", json!("another"), "belongs to another sign-in");
    with("nonce", Value::Null, "belongs to another sign-in");
    with("iss", json!("https://elsewhere.example"), "another issuer");
    with("aud", json!(AUDIENCE), "another application");
    with("aud", json!([CLIENT, AUDIENCE]), "another application");
    with("azp", json!("another"), "another application");
    with("exp", json!(now() - 61), "has expired");
    with("iat", json!(now() - 700), "issued too long ago");
    with("roles", json!(["Mail.Reader"]), "your account has no role here");
    with("sub", Value::Null, "claim that identifies a person");
    for (claim, value) in [("exp", Value::Null), ("iat", json!(now() + 120)), ("exp", json!(now() + 90_000))] {
        with(claim, value, "");
    }
    let mut client = setup.client();
    let begun = begin(&mut client);
    let claims = setup.claims(&begun);
    // No token, no signature, a public key that is taken for a shared secret, and a key of someone else under the same name.
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none", "kid": "one" })), part(&claims));
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("one".to_owned());
    let shared = EncodingKey::from_secret(setup.key.public_pem.as_bytes());
    let symmetric = jsonwebtoken::encode(&header, &claims, &shared).unwrap();
    let stranger = sign(&key("one", Algorithm::RS256), &claims);
    for token in ["not a token".to_owned(), unsigned, symmetric, stranger] {
        setup.issue(&token);
        let mut client = setup.client();
        let begun = begin(&mut client);
        let answer = come_back(&mut client, &begun);
        assert!([401, 429].contains(&answer.status) && client.cookies.is_empty(), "{token}: {}", answer.head);
    }
    let log = setup.repo.service_log();
    for words in ["RS256, PS256 or ES256", "its signature is not valid"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(!setup.audit().iter().any(|entry| entry["action"] == "session.create" && entry["outcome"] == "accepted"));
}

#[test]
fn an_answer_works_once_in_its_browser_and_for_its_issuer() {
    let setup = Setup::new();
    let mut client = setup.client();
    let begun = begin(&mut client);
    let kept = client.cookies.clone();
    setup.issue(&sign(&setup.key, &setup.claims(&begun)));
    let path = format!("{CALLBACK}?code=the-code&state={}", begun["state"]);

    // A browser that has begun nothing, and one that has begun another sign-in.
    let mut other = setup.client();
    let answer = other.get(&path);
    assert_refused(&other, &answer, 401, "has begun no sign-in");
    begin(&mut other);
    let answer = other.get(&path);
    assert_refused(&other, &answer, 401, "belongs to another sign-in");
    // An issuer that says it is another one; an issuer of the settings at the address of another; no code; no state.
    for (more, words) in [
        ("&iss=https%3A%2F%2Felsewhere.example", "from another identity provider"),
        ("&code=", "form"),
        ("&state=x", "form"),
    ] {
        let mut client = setup.client();
        let begun = begin(&mut client);
        let answer = client.get(&format!("{CALLBACK}?code=the-code&state={}{more}", begun["state"]));
        assert!(answer.status >= 400 && !client.cookies.contains_key("__Host-mw"), "{words}: {}", answer.head);
    }
    let mut mixed = setup.client();
    let of_mixed = begin(&mut mixed);
    let answer = mixed.get(&format!("{CALLBACK}/other?code=the-code&state={}", of_mixed["state"]));
    assert_refused(&mixed, &answer, 401, "address of another identity provider");
    assert_eq!(setup.issuer.answers.lock().unwrap().redemptions.len(), 0, "no code was sent to anyone");

    // The answer, and the same answer again in the same browser.
    assert_eq!(client.get(&path).status, 303);
    assert!(client.cookies.contains_key("__Host-mw"));
    let mut again = setup.client();
    again.cookies = kept;
    let answer = again.get(&path);
    assert_refused(&again, &answer, 401, "was used before");
    assert_eq!(setup.issuer.answers.lock().unwrap().redemptions.len(), 1);
}

#[test]
fn an_issuer_that_names_itself_must_do_so() {
    let setup = Setup::with(
        |issuer| {
            let more = json!({
                "authorization_response_iss_parameter_supported": true, "cloud_instance_name": "x",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            });
            issuer.answers.lock().unwrap().configuration = more.as_object().unwrap().clone();
        },
        &[],
    );
    let mut client = setup.client();
    let begun = begin(&mut client);
    // What names a cloud instance is Entra: accounts are chosen, and tenant and object id identify a person.
    assert_eq!(begun["prompt"], "select_account");
    setup.issue(&sign(&setup.key, &setup.claims(&begun)));
    let answer = come_back(&mut client, &begun);
    assert_refused(&client, &answer, 401, "does not name the identity provider");
    let begun = begin(&mut client);
    setup.issue(&sign(&setup.key, &setup.claims(&begun)));
    let own = setup.issuer.address.replace(':', "%3A").replace('/', "%2F");
    let answer = client.get(&format!("{CALLBACK}?code=c&state={}&iss={own}", begun["state"]));
    assert_refused(&client, &answer, 401, "the scope <code>profile</code> asks for them");
    assert_eq!(setup.issuer.answers.lock().unwrap().redemptions[0].1["client_secret"], SECRET);
}

#[test]
fn errors_of_the_issuer_are_shown_so_that_nothing_is_hidden() {
    let setup = Setup::new();
    let mut client = setup.client();
    let begun = begin(&mut client);
    let text = "AADSTS65004%3A+User+declined+%3Cscript%3E%E2%80%AE%0D%0Anext";
    // An error without the state of this browser shows nothing of it.
    let answer = client.get(&format!("{CALLBACK}?error=access_denied&error_description={text}&state=x"));
    assert!(answer.status == 401 && !answer.body.contains("65004"), "{}", answer.body);
    let begun = if client.cookies.is_empty() { begin(&mut client) } else { begun };
    let answer =
        client.get(&format!("{CALLBACK}?error=access_denied&error_description={text}&state={}", begun["state"]));
    assert_refused(&client, &answer, 401, "access_denied: AADSTS65004: User declined &#60;script&#62;");
    assert!(!answer.body.contains("<script>") && !answer.body.contains('\u{202e}') && !answer.body.contains("next\n"));
    // An error of the token endpoint, which repeats what it was sent.
    let begun = begin(&mut client);
    let echo =
        json!({ "error": "invalid_client", "error_description": format!("AADSTS7000215: {SECRET} is wrong\u{1b}[2J") });
    setup.issuer.answers.lock().unwrap().redeemed = Some((401, echo));
    let answer = come_back(&mut client, &begun);
    assert_refused(&client, &answer, 401, "AADSTS7000215: … is wrong");
    assert!(!setup.repo.service_log().contains("C4nary"));
    // Where the browser continues is a path of the console, whatever the link says.
    for next in ["https://evil.example/", "//evil.example", "/console/../..//evil", "/console\\@evil", "/v1/state"] {
        let mut client = setup.client();
        let answer = client.get(&format!("/console/sign-in/with/sso?next={}", next.replace('\\', "%5C")));
        let begun = parameters(answer.header("location").unwrap());
        setup.issue(&sign(&setup.key, &setup.claims(&begun)));
        let location = come_back(&mut client, &begun).header("location").unwrap().to_owned();
        assert!(location.starts_with("/console/sign-in?next=/console"), "{next}: {location}");
        assert!(!client.get(&location).header("location").unwrap().starts_with("//"), "{next}");
    }
}

#[test]
fn an_issuer_that_is_down_or_sends_too_much_gives_no_session() {
    let setup = Setup::new();
    let mut client = setup.client();
    let begun = begin(&mut client);
    let redeem = |client: &mut Client, begun: &BTreeMap<String, String>, answer: (u16, Value)| {
        setup.issuer.answers.lock().unwrap().redeemed = Some(answer);
        come_back(client, begun)
    };
    let huge = json!({ "id_token": "x".repeat(9 * 1024 * 1024) });
    let answer = redeem(&mut client, &begun, (200, huge));
    assert_refused(&client, &answer, 503, "MW0325");
    for (status, body, expected) in [
        (500, json!({}), 503),
        (503, json!({ "error": "temporarily_unavailable" }), 503),
        (200, json!({ "access_token": "x" }), 401),
        (200, json!([1, 2]), 401),
        (200, json!({ "id_token": "x".repeat(40_000) }), 401),
        (302, json!({}), 503),
    ] {
        let begun = begin(&mut client);
        let answer = redeem(&mut client, &begun, (status, body.clone()));
        assert_refused(&client, &answer, expected, "class=\"notice error\"");
    }
    // Endpoints that may not be used, an issuer that does not answer, and one that the settings do not name.
    let unusable = Setup::with(
        |issuer| {
            let answers = &mut issuer.answers.lock().unwrap();
            answers.configuration.insert("token_endpoint".to_owned(), json!("http://elsewhere.example/token"));
        },
        &[],
    );
    let mut client = unusable.client();
    let answer = client.get(BEGIN);
    assert_refused(&client, &answer, 503, "names no address for sign-ins that may be used");
    let down = Setup::with(|issuer| issuer.answers.lock().unwrap().down = true, &[]);
    let mut client = down.client();
    let answer = client.get(BEGIN);
    assert_refused(&client, &answer, 503, "cannot be fetched now");
    let answer = client.get("/console/sign-in/with/other");
    assert_refused(&client, &answer, 401, "no issuer of this name");
    // The token of the service opens the console as before.
    client.sign_in(down.repo.token());
    client.page("/console");
}

/// Changes the claims of an identity token.
type Change = fn(&mut Value);

#[test]
fn an_identity_is_confirmed_at_the_issuer_by_the_same_person_just_now() {
    let setup = Setup::new();
    let mut client = setup.client();
    assert_eq!(client.get("/console/confirm/identity").status, 303, "a sign-in comes first");
    setup.sign_in(&mut client, |_| {});
    let secret = client.cookies["__Host-mw"].clone();
    let confirm = |client: &mut Client, change: &dyn Fn(&mut Value)| {
        let answer = client.get("/console/confirm/identity?next=/console/tokens");
        let begun = parameters(answer.header("location").unwrap());
        assert_eq!((begun["prompt"].as_str(), begun["max_age"].as_str()), ("login", "0"));
        let mut claims = setup.claims(&begun);
        claims["auth_time"] = json!(now());
        change(&mut claims);
        setup.issue(&sign(&setup.key, &claims));
        come_back(client, &begun)
    };
    let cases: [(Change, &str); 4] = [
        (|claims: &mut Value| claims["auth_time"] = Value::Null, "does not say when you entered your password"),
        (|claims: &mut Value| claims["auth_time"] = json!(now() - 120), "did not ask you for your password again"),
        (|claims: &mut Value| claims["auth_time"] = json!(now() + 600), "does not say when"),
        (|claims: &mut Value| claims["sub"] = json!("person-2"), "of another account"),
    ];
    for (change, words) in cases {
        let answer = confirm(&mut client, &change);
        assert!(answer.status == 401 && answer.body.contains(words), "{words}: {}", answer.body);
        // The session is as it was.
        assert_eq!(client.cookies.iter().collect::<Vec<_>>(), [(&"__Host-mw".to_owned(), &secret)]);
        client.page("/console/tokens");
    }
    let answer = confirm(&mut client, &|_| {});
    assert_eq!(answer.header("location"), Some("/console/tokens"), "{}", answer.body);
    let renewed = client.cookies["__Host-mw"].clone();
    assert_ne!(renewed, secret);
    client.page("/console/tokens");
    // The secret from before is nothing any more.
    client.cookies = [("__Host-mw".to_owned(), secret)].into();
    assert_eq!(client.get("/console/tokens").status, 303);
    let entries = setup.audit();
    let confirmations = |outcome: &str| {
        entries.iter().filter(|entry| entry["action"] == "session.confirm" && entry["outcome"] == outcome).count()
    };
    assert_eq!((confirmations("accepted"), confirmations("refused")), (1, 4));
    // Another session, that of a token, confirms nothing at an issuer.
    let mut token = Client::signed_in(&setup.repo);
    assert_eq!(token.get("/console/confirm/identity").status, 401);
}

#[test]
fn a_restart_keeps_sessions_and_ends_the_sign_ins_in_progress() {
    let mut setup = Setup::new();
    let (mut client, mut other) = (setup.client(), setup.client());
    setup.sign_in(&mut client, |_| {});
    let begun = begin(&mut other);
    setup.issue(&sign(&setup.key, &setup.claims(&begun)));
    setup.repo.kill();
    let path = setup.repo.path("oidc.yaml");
    setup.repo.serve_with(&["--demo", "--oidc", path.to_str().unwrap(), "--public-url", PUBLIC]);
    let moved = |client: Client| {
        let mut moved = setup.client();
        moved.cookies = client.cookies;
        moved
    };
    let (mut client, mut other) = (moved(client), moved(other));
    client.page("/console/tokens");
    let answer = come_back(&mut other, &begun);
    assert_refused(&other, &answer, 401, "belongs to another sign-in");
}

#[test]
fn a_sign_in_takes_ten_minutes_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    let before = faketime(&offset);
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let setup = Setup::with(|_| {}, &before);
    for (ahead, status) in [("+9m", 303), ("+25m", 401)] {
        let mut client = setup.client();
        let begun = begin(&mut client);
        std::fs::write(&offset, ahead).unwrap();
        let mut claims = setup.claims(&begun);
        for claim in ["iat", "exp"] {
            let minutes: i64 = ahead.trim_matches(['+', 'm']).parse().unwrap();
            claims[claim] = json!(claims[claim].as_i64().unwrap() + minutes * 60);
        }
        setup.issue(&sign(&setup.key, &claims));
        let answer = come_back(&mut client, &begun);
        assert_eq!(answer.status, status, "{ahead}: {}", answer.body);
        assert_eq!(answer.body.contains("longer than 10 minutes"), status == 401);
    }
}

#[test]
fn other_settings_end_the_sessions_of_persons_whom_they_do_not_admit() {
    let setup = Setup::new();
    let mut admin = setup.client();
    setup.sign_in(&mut admin, |_| {});
    let mut viewer = setup.client();
    setup.sign_in(&mut viewer, |claims| {
        claims["roles"] = Value::Null;
        claims["groups"] = json!(["mail-desk"]);
    });
    admin.page("/console");
    viewer.page("/console");
    // Another rule for the desk; that for administrators is the same.
    let text = setup.repo.read("oidc.yaml").replace("mail-desk", "mail-desk-2");
    setup.repo.write("oidc.yaml", &text);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while viewer.get("/console").status != 303 {
        assert!(std::time::Instant::now() < deadline, "{}", setup.repo.service_log());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    admin.page("/console");
    // A file that would admit everyone, or that confuses persons with pipelines, changes nothing.
    let reloads = |outcome: &str| setup.repo.service_log().matches(outcome).count();
    for (from, to, words) in [
        ("roles: Mail.Admin", "email: ann@example.com", "does not identify a person"),
        (CLIENT, AUDIENCE, "would be one of a pipeline"),
        ("clientSecretFile: secret.txt", "clientSecretFile: missing.txt", "cannot read the credential"),
    ] {
        setup.repo.write("oidc.yaml", text.replace(from, to));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while reloads(words) == 0 {
            assert!(std::time::Instant::now() < deadline, "{words}: {}", setup.repo.service_log());
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        admin.page("/console");
    }
    // Without the issuer, its persons are gone.
    setup.repo.write("oidc.yaml", "issuers: []\n");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while admin.get("/console").status != 303 {
        assert!(std::time::Instant::now() < deadline, "{}", setup.repo.service_log());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn tokens_of_persons_and_of_pipelines_are_not_taken_for_one_another() {
    let setup = Setup::new();
    let mut client = setup.client();
    let begun = begin(&mut client);
    // The ID token of a person at the API: its subject would match the rule for pipelines.
    let person = sign(&setup.key, &setup.claims(&begun));
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        setup.repo.http_without_token("GET", "/v1/state", &[("Authorization", &bearer)], b"").status
    };
    let mut pipeline = setup.claims(&begun);
    pipeline["aud"] = json!(AUDIENCE);
    let pipeline = sign(&setup.key, &pipeline);
    assert_eq!((ask(&person), ask(&pipeline)), (401, 200));
    // The token of a pipeline in the sign-in of a person.
    setup.issue(&pipeline);
    let answer = come_back(&mut client, &begun);
    assert_refused(&client, &answer, 401, "another application");
}

#[test]
fn environments_of_one_process_share_no_sign_in() {
    let (issuer, key) = (Issuer::start(), key("one", Algorithm::RS256));
    issuer.publish(&[&key]);
    let repo = TestRepository::empty();
    repo.write("oidc.yaml", settings(&issuer));
    repo.write("secret.txt", SECRET);
    let mut host = HostProcess::new(&repo, "hosted", vec!["one".to_owned(), "two".to_owned()]);
    let path = repo.path("oidc.yaml").display().to_string();
    host.options = ["--oidc", &path, "--public-url", PUBLIC].map(str::to_owned).to_vec();
    host.start();
    let at = |name: &str| Client::at(&host.root(), &format!("/environments/{name}"));
    let (mut one, mut two) = (at("one"), at("two"));
    let (begun, of_two) = (begin(&mut one), begin(&mut two));
    assert_eq!(begun["redirect_uri"], format!("{PUBLIC}/environments/one{CALLBACK}"));
    assert_eq!(one.cookies.keys().collect::<Vec<_>>(), ["__Host-mw.sign-in-one"]);
    let issue = |begun: &BTreeMap<String, String>, groups: Value| {
        let claims = json!({
            "iss": issuer.address, "aud": CLIENT, "sub": "p", "nonce": begun["nonce"], "groups": groups, "iat": now(),
            "exp": now() + 60,
        });
        let answer = json!({ "id_token": sign(&key, &claims) });
        issuer.answers.lock().unwrap().redeemed = Some((200, answer));
    };
    // The cookie of one environment, under the name of the other.
    issue(&begun, json!(["mail-one"]));
    let value = one.cookies["__Host-mw.sign-in-one"].clone();
    two.cookies = [("__Host-mw.sign-in-two".to_owned(), value)].into();
    let answer = come_back(&mut two, &begun);
    assert_refused(&two, &answer, 401, "belongs to another sign-in");
    assert_eq!(come_back(&mut one, &begun).status, 303);
    one.page("/console/profiles");
    // A group for one environment gives nothing in the other, and neither does the session.
    let of_two = if two.cookies.is_empty() { begin(&mut two) } else { of_two };
    issue(&of_two, json!(["mail-one"]));
    let answer = come_back(&mut two, &of_two);
    assert_refused(&two, &answer, 401, "has no role here");
    two.cookies.clone_from(&one.cookies);
    two.cookies.insert("__Host-mw-two".to_owned(), one.cookies["__Host-mw-one"].clone());
    assert_eq!(two.get("/console/profiles").status, 303);
}

const TENANT: &str = "0c0ffee0-0000-4000-8000-000000000001";
const REGISTRATION: &str = "0c0ffee0-0000-4000-8000-0000000000cc";

/// A service at which persons of a tenant of the sandbox sign in.
struct AtEntra {
    sandbox: Sandbox,
    scenario: Value,
    repo: TestRepository,
}

impl AtEntra {
    /// `credential` is the line of the settings, `given` are keys of the registration.
    fn new(credential: &str, contents: &str, platform: &str, given: Value) -> Self {
        let mut registration = json!({ "client": REGISTRATION, "name": "Console", "groupClaims": true });
        registration["redirects"][platform] = json!([format!("{PUBLIC}{CALLBACK}")]);
        registration["roles"] = json!({ "adele@contoso.example": ["Mail.Admin"] });
        for (key, value) in given.as_object().unwrap() {
            registration[key] = value.clone();
        }
        let many: Vec<String> = (0..201).map(|number| format!("group-{number}")).collect();
        let scenario = json!({ "tenants": [{
            "id": TENANT, "domains": ["contoso.example"], "applications": [registration],
            "users": [{ "name": "adele@contoso.example" }, { "name": "many@contoso.example", "groups": many }],
        }] });
        let sandbox = Sandbox::start(scenario.clone());
        let mut repo = TestRepository::small();
        let rules = "rules: [{ name: admins, role: admin, claims: { roles: Mail.Admin } }, { name: groups, role: viewer, claims: { groups: group-1 } }]";
        let console = format!(
            "    console:\n      label: Contoso\n      clientId: {REGISTRATION}\n      {credential}\n      {rules}\n"
        );
        let issuer = format!("{}/{TENANT}/v2.0", sandbox.running.address);
        repo.write("oidc.yaml", format!("issuers:\n  - issuer: {issuer}\n{console}"));
        repo.write("credential", contents);
        repo.write("ca.pem", &sandbox.running.authority);
        let (path, authority) = (repo.path("oidc.yaml"), repo.path("ca.pem"));
        let (path, authority) = (path.to_str().unwrap(), authority.to_str().unwrap());
        repo.serve_with(&["--demo", "--oidc", path, "--outgoing-ca-file", authority, "--public-url", PUBLIC]);
        Self { sandbox, scenario, repo }
    }

    /// Begins a sign-in, and returns its state and the answer of Entra: the address that it sends the browser to, or its page.
    fn choose(&self, client: &mut Client, user: &str) -> (String, Result<String, String>) {
        let answer = client.get(BEGIN);
        assert_eq!(answer.status, 303, "{}", answer.body);
        let location = format!("{}&sandbox_picked=account&login_hint={user}", answer.header("location").unwrap());
        let state = parameters(&location)["state"].clone();
        let authority = reqwest::Certificate::from_pem(self.sandbox.running.authority.as_bytes()).unwrap();
        let http =
            reqwest::Client::builder().add_root_certificate(authority).redirect(reqwest::redirect::Policy::none());
        let http = http.build().unwrap();
        self.sandbox.runtime.block_on(async {
            let answer = http.get(location).send().await.unwrap();
            let to = answer.headers().get("location").map(|to| to.to_str().unwrap().replace(PUBLIC, ""));
            match to {
                Some(to) => (state, Ok(to)),
                None => (state, Err(answer.text().await.unwrap())),
            }
        })
    }
}

#[test]
fn a_secret_a_certificate_and_a_public_client_redeem_codes_at_entra() {
    let certificate = SigningCertificate::new();
    for (credential, contents, platform, given) in [
        ("clientSecretFile: credential", SECRET.to_owned(), "web", json!({ "secrets": [{ "value": SECRET }] })),
        (
            "certificateFile: credential",
            certificate.pem(),
            "web",
            json!({ "certificates": [{ "pem": certificate.certificate }] }),
        ),
        ("scopes: [openid, profile]", String::new(), "publicClient", json!({})),
    ] {
        let setup = AtEntra::new(credential, &contents, platform, given);
        let mut client = Client::new(&setup.repo);
        let (_, answer) = setup.choose(&mut client, "adele@contoso.example");
        let answer = client.get(&answer.unwrap());
        assert_eq!(answer.status, 303, "{credential}: {}", answer.body);
        client.page("/console/tokens");
    }
}

#[test]
fn what_entra_refuses_gives_no_session() {
    let setup =
        AtEntra::new("clientSecretFile: credential", SECRET, "web", json!({ "secrets": [{ "value": SECRET }] }));
    let adele = "adele@contoso.example";
    // A code that was redeemed before, and the code of another sign-in, which another verifier belongs to.
    let mut first = Client::new(&setup.repo);
    let (_, used) = setup.choose(&mut first, adele);
    let used = used.unwrap();
    assert_eq!(first.get(&used).status, 303);
    let mut victim = Client::new(&setup.repo);
    let (_, stolen) = setup.choose(&mut victim, adele);
    for (other, words) in [(used, "AADSTS54005"), (stolen.unwrap(), "AADSTS501481")] {
        let mut client = Client::new(&setup.repo);
        let (state, _) = setup.choose(&mut client, adele);
        let code = parameters(&format!("{PUBLIC}{other}"))["code"].clone();
        let answer = client.get(&format!("{CALLBACK}?code={code}&state={state}"));
        assert_refused(&client, &answer, 401, words);
    }
    // More groups than a token states: the rule for one of them does not match, and the page says why.
    let mut client = Client::new(&setup.repo);
    let (_, answer) = setup.choose(&mut client, "many@contoso.example");
    let answer = client.get(&answer.unwrap());
    assert_refused(&client, &answer, 401, "in more groups than the identity provider states");
    // An account that is disabled, and a redirect URI that is not registered: Entra shows these itself.
    let mut changed = setup.scenario.clone();
    changed["tenants"][0]["users"][0]["enabled"] = json!(false);
    setup.sandbox.put(&changed);
    let (_, answer) = setup.choose(&mut Client::new(&setup.repo), adele);
    assert!(answer.unwrap_err().contains("AADSTS50057"));
    first.page("/console");
    changed["tenants"][0]["applications"][0]["redirects"]["web"] = json!([format!("{PUBLIC}{CALLBACK}/")]);
    setup.sandbox.put(&changed);
    let (_, answer) = setup.choose(&mut Client::new(&setup.repo), adele);
    assert!(answer.unwrap_err().contains("AADSTS50011"));
    // A wrong secret.
    let wrong =
        AtEntra::new("clientSecretFile: credential", "C4nary", "web", json!({ "secrets": [{ "value": SECRET }] }));
    let mut client = Client::new(&wrong.repo);
    let (_, answer) = wrong.choose(&mut client, adele);
    let answer = client.get(&answer.unwrap());
    assert_refused(&client, &answer, 401, "AADSTS7000215");
    assert!(!wrong.repo.service_log().contains("C4nary"));
}
