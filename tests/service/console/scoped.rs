//! A person whose rights are limited to one company: each page shows what is in scope and nothing of the other company, and the
//! person's own work is done there.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use super::{
    client::Client,
    edit::{plan, send_on},
};
use crate::support::repository::{HttpResponse, SMALL_PROFILE, TestRepository};

/// Each text of the other company has this word, and nothing else has it.
const CANARY: &str = "canary";
const OTHER: &str = "canary-branch";

const POLICY: &str = "\
roles:
  desk:
    grants:
      - { areas: [profiles], activities: [see, change, create, enable, verify], companies: [EDU1] }
      - { areas: [outbox], activities: [see, retry, cancel, hold], companies: [EDU1] }
      - { areas: [changes], activities: [plan, propose, edit] }
bindings:
  desk: { subjects: [{ token: desk }], roles: [desk] }
";

struct Scene {
    repo: TestRepository,
    desk: Client,
    own_message: String,
    other_message: String,
    other_proposal: String,
}

fn profile(company: &str, word: &str) -> String {
    let profile = SMALL_PROFILE.replace("[default]", "[all-documents]").replace("erp@", &format!("{word}@"));
    let profile = profile.replace("smtp.example.com", &format!("{word}.invalid"));
    let profile = profile.replace("system-wide", &format!("{{ companies: [{company}] }}"));
    format!("description: of {word}\n{profile}")
}

/// The form of a profile of one company, with some fields replaced.
fn form<'a>(name: &'a str, company: &'a str, description: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("action", "save"),
        ("original", name),
        ("base", "9999"),
        ("provider", "smtp"),
        ("name", name),
        ("description", description),
        ("enabled", "yes"),
        ("host", "own.invalid"),
        ("encryption", "starttls"),
        ("login", "none"),
        ("from-address", "own@example.com"),
        ("applies-to", "companies"),
        ("company", company),
        ("function", "all-documents"),
    ]
}

fn token(repo: &TestRepository, name: &str, role: &str) -> String {
    repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout.trim().to_owned()
}

fn send(repo: &TestRepository, company: &str, word: &str) -> String {
    let mail = json!({
        "company": company, "function": "all-documents", "to": [format!("{word}-reader@example.org")],
        "subject": format!("subject of {word}"), "text": "t",
    });
    let sent = repo.http("POST", "/v1/messages", &[], mail.to_string().as_bytes());
    assert_eq!(sent.status, 202, "{}", sent.body);
    sent.json()["id"].as_str().unwrap().to_owned()
}

/// Two companies with a profile, a hold, a message, drift, a run of the verifier and a proposal each.
fn scene() -> Scene {
    let mut repo = TestRepository::small();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    repo.write("environments/dev/access.yaml", POLICY);
    repo.write("environments/dev/profiles/own.yaml", profile("EDU1", "own"));
    repo.write(&format!("environments/dev/profiles/{OTHER}.yaml"), profile("EDU2", CANARY));
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    for (company, word) in [("EDU1", "own"), ("EDU2", CANARY)] {
        let hold = ["outbox", "hold", "dev", "--company", company, "--reason", &format!("hold of {word}")];
        repo.run(&hold).code(0);
    }
    let (own_message, other_message) = (send(&repo, "EDU1", "own"), send(&repo, "EDU2", CANARY));
    let drift = json!({ "description": format!("changed {CANARY}") });
    assert_eq!(repo.patch(OTHER, &drift).status, 200);
    let mut admin = Client::signed_in(&repo);
    assert_eq!(admin.post("/console/verify", &[("profile", OTHER)]).status, 303);
    let page = plan(&mut admin, &form(OTHER, "EDU2", "proposed canary"));
    let proposed = send_on(&mut admin, "/console/plan/propose", &page, &[("reason", "reason of canary")]);
    assert_eq!(proposed.status, 303, "{}", proposed.body);
    let other_proposal = proposed.header("location").unwrap().to_owned();
    let mut desk = Client::new(&repo);
    desk.sign_in(&token(&repo, "desk", "bound"));
    Scene { repo, desk, own_message, other_message, other_proposal }
}

/// Asserts that an answer has nothing of the other company but the address that was asked for.
fn assert_clean(path: &str, answer: &HttpResponse) {
    let text = answer.body.replace(path, "").to_lowercase();
    assert!(!text.contains(CANARY), "{path}: {}", answer.body);
}

fn refused(path: &str, answer: &HttpResponse) {
    assert_eq!(answer.status, 403, "{path}: {}", answer.body);
    assert!(answer.body.contains("MW0202") && answer.body.contains("may not"), "{path}: {}", answer.body);
    assert_clean(path, answer);
}

#[test]
fn pages_show_what_is_in_scope_and_nothing_of_the_other_company() {
    let Scene { mut desk, own_message, other_message, other_proposal, repo: _repo } = scene();
    let page = plan(&mut desk, &form("own", "EDU1", "proposed"));
    let own_proposal = send_on(&mut desk, "/console/plan/propose", &page, &[("reason", "own reason")]);
    let own_proposal = own_proposal.header("location").unwrap().to_owned();
    let shown = [
        ("/console", "hold of own"),
        ("/console/profiles", "of own"),
        ("/console/profiles?sort=-changed&q=o", "of own"),
        ("/console/profiles/own", "own@example.com"),
        ("/console/profiles/own/edit", "own.invalid"),
        ("/console/profiles/new", "smtp"),
        ("/console/profiles/new?provider=smtp", "value=\"EDU1\""),
        ("/console/outbox", "subject of own"),
        ("/console/outbox?q=subject", "subject of own"),
        (&format!("/console/outbox/{own_message}"), "subject of own"),
        ("/console/outbox/bulk?status=queued&action=cancel", "subject of own"),
        ("/console/holds", "hold of own"),
        ("/console/coverage", "EDU1"),
        ("/console/coverage/EDU1/all-documents", "own"),
        ("/console/proposals", "own reason"),
        (&own_proposal, "proposed"),
        ("/console/verify", "verify"),
        ("/console/setup", "own.invalid"),
    ];
    for (path, text) in shown {
        let answer = desk.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.body.contains(text), "{path}: {}", answer.body);
        assert_clean(path, &answer);
    }
    let setup = desk.page("/console/setup");
    assert!(!setup.contains("Sign in to see") && !setup.contains("Confirm your"), "{setup}");
    let list = desk.page("/console/profiles");
    assert!(!list.contains("/console/profiles/relay"), "a profile of all companies is not in reach: {list}");
    let coverage = desk.page("/console/coverage");
    assert!(coverage.contains(">relay<") && !coverage.contains("EDU2"), "it sends for the company: {coverage}");
    let bulk = desk.page("/console/outbox/bulk?status=queued&action=cancel");
    assert!(bulk.contains("name=\"count\" value=\"1\""), "{bulk}");
    for path in [
        format!("/console/profiles/{OTHER}"),
        format!("/console/profiles/{OTHER}/edit"),
        format!("/console/profiles/{OTHER}/patch"),
        "/console/profiles/relay".to_owned(),
        "/console/coverage/EDU2/all-documents".to_owned(),
        other_proposal,
        "/console/history".to_owned(),
        "/console/history/diff?from=1&to=2".to_owned(),
        "/console/audit".to_owned(),
        "/console/access".to_owned(),
    ] {
        refused(&path, &desk.get(&path));
    }
    let path = format!("/console/outbox/{other_message}");
    assert_eq!(desk.get(&path).status, 404);
}

#[test]
fn no_address_that_is_read_shows_anything_of_the_other_company() {
    let Scene { mut desk, own_message, other_message, other_proposal, repo: _repo } = scene();
    let mut walked = BTreeSet::new();
    for route in mailwright::console::route_list().into_iter().filter(|route| route.method == "GET") {
        if route.path.ends_with("/live") {
            continue;
        }
        for (name, id, company) in [("own", &own_message, "EDU1"), (OTHER, &other_message, "EDU2")] {
            let proposal = other_proposal.rsplit('/').next().unwrap();
            let id = if route.path.contains("/outbox/") { id } else { proposal };
            let path = route.path.replace("{hash}/{name}", "0/console.css").replace("{name}", name);
            let path = path.replace("{company}", company).replace("{function}", "all-documents").replace("{id}", id);
            let path = path.replace("{sequence}", "1").replace("{number}", "1").replace("{provider}", "x");
            let path = path.replace("{digest}", "x");
            assert!(!path.contains('{'), "an example is missing: {path}");
            let answer = desk.get(&path);
            assert_clean(&path, &answer);
            walked.insert(path);
        }
    }
    assert!(walked.len() > 40, "{walked:#?}");
    // The navigation leads to what may be opened.
    let page = desk.page("/console/profiles");
    let navigation = page.split("<nav").nth(1).unwrap().split("</nav>").next().unwrap();
    let links: Vec<&str> = navigation.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(links.contains(&"/console/outbox") && !links.contains(&"/console/history"), "{links:?}");
    for link in links {
        desk.page(link);
    }
}

/// Reads a stream until a line has a text, and returns everything that was sent.
fn read_until(repo: &TestRepository, client: &Client, path: &str, text: &str, act: impl FnOnce()) -> String {
    let address = repo.address().trim_start_matches("http://");
    let cookies: Vec<String> = client.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {}\r\n\r\n", cookies.join("; "));
    stream.write_all(head.as_bytes()).unwrap();
    let (mut stream, mut all, mut line) = (BufReader::new(stream), String::new(), String::new());
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
    act();
    while !line.contains(text) {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "{path}: it ended: {all}");
        all.push_str(&line);
    }
    all
}

#[test]
fn live_updates_have_nothing_of_the_other_company() {
    let Scene { repo, desk, own_message, .. } = scene();
    let hold = |company: &str, reason: &str| {
        let hold = json!({ "company": company, "function": "all-documents", "reason": reason });
        assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
    };
    for (index, path) in ["/console/live", "/console/outbox/live"].into_iter().enumerate() {
        let sent = read_until(&repo, &desk, path, &format!("subject of own-{index}"), || {
            send(&repo, "EDU2", &format!("{CANARY}-{index}"));
            hold("EDU2", &format!("{CANARY}-{index}"));
            hold("EDU1", &format!("subject of own-{index}"));
            send(&repo, "EDU1", &format!("own-{index}"));
        });
        assert!(!sent.to_lowercase().contains(CANARY), "{path}: {sent}");
    }
    let sent = read_until(&repo, &desk, &format!("/console/outbox/{own_message}/live"), "subject of own", || {});
    assert!(!sent.to_lowercase().contains(CANARY), "{sent}");
}

#[test]
fn the_person_does_its_own_work_and_none_of_the_other_company() {
    let Scene { repo, mut desk, own_message, other_message, other_proposal } = scene();
    // A change is planned, written for Git, proposed and applied.
    let page = plan(&mut desk, &form("own", "EDU1", "changed"));
    let patch = send_on(&mut desk, "/console/plan/patch", &page, &[]);
    assert!(patch.status == 200 && patch.body.contains("profiles/own.yaml"), "{}", patch.body);
    let applied = send_on(
        &mut desk,
        "/console/plan/apply",
        &page,
        &[("accept-unverified", "yes"), ("accept-findings", "own"), ("reason", "r")],
    );
    assert_eq!(applied.status, 303, "{}", applied.body);
    assert_eq!(repo.state()["profiles"]["own"]["live"]["profile"]["description"], "changed");
    assert!(desk.page("/console/profiles/own/patch").contains("changed"));
    let generation = repo.state()["generation"].clone();

    for (path, fields) in [
        ("/console/plan", form(OTHER, "EDU2", "changed")),
        ("/console/plan", form("own", "EDU2", "changed")),
        ("/console/plan", [form("own", "EDU1", "changed"), vec![("company", "EDU2")]].concat()),
        ("/console/plan", vec![("action", "delete"), ("original", OTHER), ("base", "1")]),
        ("/console/plan/patch", vec![("action", "disable"), ("original", OTHER), ("base", "1")]),
        ("/console/plan/apply", form(OTHER, "EDU2", "changed")),
        ("/console/plan/propose", form(OTHER, "EDU2", "changed")),
        ("/console/verify", vec![("profile", OTHER)]),
        ("/console/holds", vec![("company", "EDU2"), ("reason", "r")]),
        ("/console/holds", vec![("function", "all-documents"), ("reason", "r")]),
    ] {
        let answer = desk.post(path, &fields);
        assert_eq!(answer.status, 403, "{path}: {}", answer.body);
        assert!(!answer.body.replace(OTHER, "").to_lowercase().contains(CANARY), "{path}: {}", answer.body);
    }
    let reason = ("reason", "r");
    for (action, fields) in [
        ("apply", vec![reason, ("planned", "1")]),
        ("reject", vec![reason]),
        ("verify", vec![]),
        ("sign", vec![reason, ("meaning", "approved"), ("offset", "0")]),
        ("approve", vec![("message", "m"), ("signature", "s")]),
    ] {
        let path = format!("{other_proposal}/{action}");
        let answer = desk.post(&path, &fields);
        assert_eq!(answer.status, 403, "{path}: {}", answer.body);
        assert_clean(&path, &answer);
    }
    assert_eq!(repo.state()["generation"], generation);

    // Its mail.
    let act = |desk: &mut Client, id: &str, action: &str| desk.post(&format!("/console/outbox/{id}/{action}"), &[]);
    assert_eq!(act(&mut desk, &own_message, "retry").status, 303);
    let other = act(&mut desk, &other_message, "retry");
    assert!(other.status == 404, "{}", other.body);
    assert_clean("", &other);
    let bulk = desk.page("/console/outbox/bulk?status=queued&action=cancel");
    let form = bulk.split_once("action=\"/console/outbox/bulk\"").unwrap().1;
    let cancelled = send_on(&mut desk, "/console/outbox/bulk", &format!("class=\"plan\"{form}"), &[]);
    assert_eq!(cancelled.status, 303, "{}", cancelled.body);
    let result = desk.page(cancelled.header("location").unwrap());
    assert!(result.contains('1'), "{result}");
    let status = |id: &str| repo.http("GET", &format!("/v1/messages/{id}"), &[], b"").json()["status"].clone();
    assert_eq!((status(&own_message), status(&other_message)), (json!("cancelled"), json!("queued")));
}

#[test]
fn a_person_of_one_function_sees_the_cells_of_that_function() {
    let mut repo = TestRepository::small();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\n");
    repo.write("environments/dev/access.yaml", POLICY.replace("companies: [EDU1]", "functions: [all-documents]"));
    repo.write("environments/dev/profiles/own.yaml", profile("EDU1", "own"));
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    let mut desk = Client::new(&repo);
    desk.sign_in(&token(&repo, "desk", "bound"));
    let coverage = desk.page("/console/coverage");
    assert!(coverage.contains(">own<") && coverage.contains("Your rights do not include this function"), "{coverage}");
    assert_eq!(desk.get("/console/coverage/EDU1/default").status, 403);
    assert_eq!(desk.get("/console/coverage/EDU1/all-documents").status, 200);
    assert_eq!(desk.get("/console/profiles/own").status, 200);
    assert_eq!(desk.get("/console/profiles/relay").status, 403);
}
