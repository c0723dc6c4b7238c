//! Sessions: sign-in, sign-out, what ends them, what they may not do, and several environments in one process.

use super::client::Client;
use crate::support::{host_process::HostProcess, repository::TestRepository};
use serde_json::{Value, json};

fn audit(repo: &TestRepository) -> Vec<Value> {
    repo.http("GET", "/v1/audit?limit=1000", &[], b"").json()["entries"].as_array().unwrap().clone()
}

fn actions(repo: &TestRepository) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    audit(repo)
        .iter()
        .filter(|entry| entry["action"].as_str().is_some_and(|action| action.starts_with("session.")))
        .map(|entry| (text(&entry["action"]), text(&entry["outcome"])))
        .collect()
}

#[test]
fn a_session_begins_with_a_token_and_ends_with_the_sign_out() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut client = Client::new(&repo);
    let to_form = client.get("/console/profiles?q=a%26b");
    assert_eq!(to_form.header("location"), Some("/console/sign-in?next=/console/profiles%3Fq%3Da%2526b"));
    let form = client.page("/console/sign-in?next=/console/profiles%3Fq%3Da%2526b");
    assert!(form.contains("name=\"next\" value=\"/console/profiles?q=a%26b\""), "{form}");
    let answer = client.post("/console/sign-in", &[("token", repo.token()), ("next", "/console/profiles?q=a%26b")]);
    let done = answer.header("location").unwrap().to_owned();
    assert_eq!(client.cookies.keys().collect::<Vec<_>>(), ["__Host-mw"]);
    assert_eq!(client.get(&done).header("location"), Some("/console/profiles?q=a%26b"));
    client.page("/console/profiles?q=a%26b");

    let kept = client.cookies.clone();
    assert_eq!(
        client.post("/console/sign-out", &[]).header("location"),
        Some("/console/sign-in?next=/console&why=out")
    );
    assert!(client.cookies.is_empty());
    // The cookie that someone kept opens nothing.
    client.cookies = kept;
    let ended = client.get("/console");
    assert_eq!(ended.header("location"), Some("/console/sign-in?next=/console&why=ended"));
    assert!(client.page("/console/sign-in?next=/console&why=ended").contains("Your session has ended"));
    let accepted = |action: &str| (action.to_owned(), "accepted".to_owned());
    assert_eq!(actions(&repo), [accepted("session.create"), accepted("session.end")]);
}

#[test]
fn a_browser_that_did_not_keep_its_cookie_is_told_why() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut client = Client::new(&repo);
    let answer = client.post("/console/sign-in", &[("token", repo.token())]);
    client.cookies.clear();
    let page = client.page(answer.header("location").unwrap());
    assert!(page.contains("Your browser did not keep the session") && page.contains("https"), "{page}");
    // A browser on another machine, without encryption.
    let answer = client.send("GET", "/console/sign-in", &[("User-Agent", "Mozilla/5.0 (X11)")], "");
    assert!(answer.body.contains("You cannot sign in at this address") && !answer.body.contains("name=\"token\""));
    let proxied = [("User-Agent", "Mozilla/5.0 (X11)"), ("X-Forwarded-Proto", "https")];
    assert!(client.send("GET", "/console/sign-in", &proxied, "").body.contains("name=\"token\""));
}

#[test]
fn a_sign_in_gives_a_new_session_whatever_the_browser_had() {
    let mut repo = TestRepository::small();
    repo.serve();
    let chosen = "A".repeat(43);
    let mut client = Client::new(&repo);
    client.cookies.insert("__Host-mw".to_owned(), chosen.clone());
    client.sign_in(repo.token());
    let first = client.cookies["__Host-mw"].clone();
    assert_ne!(first, chosen);
    client.sign_in(repo.token());
    let second = client.cookies["__Host-mw"].clone();
    assert_ne!(first, second);
    let mut other = Client::new(&repo);
    for (value, status) in [(&chosen, 303), (&first, 303), (&second, 200)] {
        other.cookies = [("__Host-mw".to_owned(), value.clone())].into();
        assert_eq!(other.get("/console").status, status, "{value}");
    }
    // Two cookies of the name are none.
    let answer = other.send("GET", "/console/profiles", &[("Cookie", &format!("__Host-mw={first}"))], "");
    assert_eq!(answer.status, 303);
}

#[test]
fn a_revoked_token_ends_its_sessions_at_once() {
    let mut repo = TestRepository::small();
    repo.serve();
    let token = repo.run(&["token", "create", "dev", "--name", "ann", "--role", "viewer"]).code(0).stdout;
    let token = token.trim().to_owned();
    let mut client = Client::new(&repo);
    client.sign_in(&token);
    client.page("/console");
    repo.run(&["token", "revoke", "dev", token.split('_').nth(1).unwrap()]).code(0);
    assert_eq!(client.get("/console").status, 303);
    let refused = client.post("/console/sign-in", &[("token", &token)]);
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("MW0201") && refused.body.contains("the token was revoked"), "{}", refused.body);
}

#[test]
fn sessions_are_listed_and_ended_by_their_owner_or_an_administrator() {
    let mut repo = TestRepository::small();
    repo.serve();
    let token = |name: &str| {
        repo.run(&["token", "create", "dev", "--name", name, "--role", "viewer"]).code(0).stdout.trim().to_owned()
    };
    let mut admin = Client::signed_in(&repo);
    let (mut ann, mut ann_again, mut bob) = (Client::new(&repo), Client::new(&repo), Client::new(&repo));
    let (anns, bobs) = (token("ann"), token("<bob>"));
    ann.sign_in(&anns);
    ann_again.sign_in(&anns);
    bob.sign_in(&bobs);
    let count = |page: &str| page.matches("/end\">").count();
    assert_eq!(count(&ann.page("/console/sessions")), 2);
    let of_bob = bob.page("/console/sessions");
    assert!(count(&of_bob) == 1 && of_bob.contains("&#60;bob&#62;") && !of_bob.contains("<bob>"), "{of_bob}");
    assert_eq!(count(&admin.page("/console/sessions")), 4);
    let id = of_bob.split("/console/sessions/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    // Another one's session is none, and neither is one that does not exist.
    for wrong in [&id, "000000000000", "x"] {
        assert_eq!(ann.post(&format!("/console/sessions/{wrong}/end"), &[]).status, 404, "{wrong}");
    }
    bob.page("/console");
    assert_eq!(admin.post(&format!("/console/sessions/{id}/end"), &[]).status, 303);
    assert_eq!(bob.get("/console").status, 303);
    ann.post("/console/sign-out-everywhere", &[]);
    assert_eq!((ann_again.get("/console").status, admin.get("/console").status), (303, 200));
}

#[test]
fn refused_sign_ins_are_recorded_without_the_token_and_limited() {
    let mut repo = TestRepository::small();
    repo.serve();
    let canary = format!("mw_0123456789ab_{}", "C4nary".repeat(7));
    let mut client = Client::new(&repo);
    let statuses: Vec<u16> = (0..13).map(|_| client.post("/console/sign-in", &[("token", &canary)]).status).collect();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 3]].concat());
    let refused: Vec<Value> =
        audit(&repo).into_iter().filter(|entry| entry["action"] == json!("session.create")).collect();
    assert_eq!(refused.len(), 10);
    assert_eq!((&refused[0]["actor"], &refused[0]["outcome"]), (&json!("(none)"), &json!("refused")));
    // Behind one proxy all have one address, so a valid token is accepted.
    client.sign_in(repo.token());
    let log = repo.service_log();
    assert!(!log.contains("C4nary") && log.contains("sign-in failed"), "{log}");
    assert!(!audit(&repo).iter().any(|entry| entry.to_string().contains("C4nary")));
}

#[test]
fn a_session_of_one_environment_is_nothing_in_another() {
    let repo = TestRepository::empty();
    let mut host = HostProcess::new(&repo, "data", vec!["acme".to_owned(), "beta".to_owned()]);
    host.start();
    let mut acme = Client::at(&host.root(), "/environments/acme");
    acme.sign_in(&host.token("acme"));
    assert_eq!(acme.cookies.keys().collect::<Vec<_>>(), ["__Host-mw-acme"]);
    let page = acme.page("/console");
    assert!(
        page.contains("href=\"/environments/acme/console/profiles\"") && !page.contains("href=\"/console"),
        "{page}"
    );
    let mut beta = Client::at(&host.root(), "/environments/beta");
    beta.cookies.clone_from(&acme.cookies);
    let secret = acme.cookies["__Host-mw-acme"].clone();
    let refused = beta.get("/console");
    assert_eq!(refused.header("location"), Some("/environments/beta/console/sign-in?next=/console"));
    beta.cookies.insert("__Host-mw-beta".to_owned(), secret);
    assert_eq!(beta.get("/console").status, 303);
    // One browser has both.
    beta.sign_in(&host.token("beta"));
    assert_eq!((beta.get("/console").status, acme.get("/console").status), (200, 200));
    assert_eq!(beta.post("/console/sign-in", &[("token", &host.token("acme"))]).status, 401);
}
