//! Operators by the API and the command line: rights to create them, links, limits of time, and a restore from a backup.

use crate::support::repository::{HttpResponse, TestRepository, run_command};
use serde_json::{Value, json};

const POLICY: &str = "\
roles:
  registrar:
    grants:
      - { areas: [operators], activities: [see, create, delete] }
      - { areas: [profiles], activities: [see] }
bindings:
  registrar:
    subjects: [{ token: registrar }]
    roles: [registrar]
  deployers:
    subjects: [{ operator: carl }]
    roles: [deployer]
";

fn serve() -> TestRepository {
    let mut repo = TestRepository::small();
    repo.write("environments/dev/access.yaml", POLICY);
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    repo
}

fn token(repo: &TestRepository, name: &str, role: &str) -> String {
    repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout.trim().to_owned()
}

fn ask(repo: &TestRepository, token: &str, method: &str, path: &str, body: &Value) -> HttpResponse {
    let authorization = format!("Bearer {token}");
    repo.http_without_token(method, path, &[("Authorization", &authorization)], body.to_string().as_bytes())
}

fn operators(repo: &TestRepository) -> Vec<Value> {
    let list = repo.run(&["operator", "list", "dev", "--format", "json"]).code(0).json();
    list["operators"].as_array().unwrap().clone()
}

#[test]
fn a_person_with_more_rights_is_neither_created_nor_reset() {
    let repo = serve();
    let registrar = token(&repo, "registrar", "bound");
    let create = |name: &str, role: &str| {
        ask(&repo, &registrar, "POST", "/v1/operators", &json!({ "name": name, "role": role }))
    };
    assert_eq!(create("ann", "bound").status, 201);
    let refused = |answer: HttpResponse| {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0401")), "{}", answer.body);
    };
    refused(create("bob", "viewer"));
    refused(create("Carl", "bound"));
    // Of a person with more rights, also a link.
    repo.run(&["operator", "add", "dev", "--name", "carl"]).code(0);
    let carl = operators(&repo)[1]["id"].as_str().unwrap().to_owned();
    let link = |id: &str, body: Value| ask(&repo, &registrar, "POST", &format!("/v1/operators/{id}/link"), &body);
    refused(link(&carl, json!({})));
    let ann = operators(&repo)[0]["id"].as_str().unwrap().to_owned();
    let made = link(&ann, json!({}));
    assert_eq!(made.status, 201);
    assert!(made.json()["secret"].as_str().unwrap().starts_with("mwe_") && made.json()["link"].is_null());
    for wrong in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        assert_eq!(link(&ann, json!({ "linkEndsAt": wrong })).status, 400);
    }
    assert_eq!(link("000000000000", json!({})).status, 404);
    for name in ["", " x", "a\nb", "(service)", &"x".repeat(81)] {
        assert_eq!(create(name, "bound").status, 400, "{name}");
    }
    // A list has no secret, and no key.
    let text = ask(&repo, &registrar, "GET", "/v1/operators", &json!(null)).body;
    assert!(!text.contains("mwe_") && !text.contains("sha256"), "{text}");
    assert!(!repo.service_log().contains("mwe_"));
    let audit = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).stdout;
    assert!(audit.contains("operator.create") && audit.contains("operator.link") && !audit.contains("mwe_"));
    let explained = repo.run(&["access", "explain", "dev", "operator:carl", "--live"]).code(0).stdout;
    assert!(explained.contains("role `bound` of the operator; bindings `deployers`"), "{explained}");
}

#[test]
fn the_command_line_prints_a_link_alone_and_finds_people_by_name() {
    let repo = serve();
    let output =
        repo.run(&["operator", "add", "dev", "--name", "Ann Onymous", "--role", "viewer", "--expires-in", "72h"]);
    let output = output.code(0);
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.stdout);
    assert!(output.stdout.starts_with("http://localhost:") && output.stdout.contains("/console/enroll#mwe_"));
    let json = repo.run(&["operator", "link", "dev", "ann onymous", "--format", "json"]).code(0).json();
    assert!(json["link"].as_str().unwrap().contains(json["secret"].as_str().unwrap()), "{json}");
    let list = repo.run(&["operator", "list", "dev"]).code(0).stdout;
    assert!(list.contains("Ann Onymous") && list.contains("link until"), "{list}");
    let long = repo.run(&["operator", "add", "dev", "--name", "x", "--expires-in", "8d"]).code(1);
    assert!(long.stderr.contains("within 7 days"), "{}", long.stderr);
    let unknown = repo.run(&["operator", "remove", "dev", "zoe", "--yes"]).code(1);
    assert!(unknown.stderr.contains("MW0214") && unknown.stderr.contains("operator list dev"), "{}", unknown.stderr);
    let asked = repo.run(&["operator", "remove", "dev", "Ann Onymous"]).code(1);
    assert!(asked.stderr.contains("MW0233"), "{}", asked.stderr);
    let removed = repo.run(&["operator", "remove", "dev", "Ann Onymous", "--yes"]).code(0).stdout;
    assert!(removed.contains("is removed"), "{removed}");
    assert!(repo.run(&["operator", "list", "dev"]).code(0).stdout.contains("removed"));
    let mut viewer = repo.command(&["operator", "list", "dev"]);
    viewer.env("MAILWRIGHT_TOKEN", token(&repo, "viewer", "viewer"));
    assert!(run_command(viewer).code(1).stderr.contains("MW0202"));
}

/// Ends the service as an administrator does, so that everything is in the one file.
fn stop(repo: &mut TestRepository) {
    let process = repo.service.as_mut().unwrap();
    let id = process.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    process.child.wait().unwrap();
    repo.service = None;
}

#[test]
fn after_a_restore_people_wait_and_who_was_removed_stays_removed() {
    let mut repo = serve();
    let link = repo.run(&["operator", "add", "dev", "--name", "ann", "--role", "viewer"]).code(0).stdout;
    repo.run(&["operator", "add", "dev", "--name", "bob"]).code(0);
    let (store, copy) = (repo.path(".data/store.sqlite"), repo.path("copy.sqlite"));
    rusqlite::Connection::open(&store).unwrap().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    repo.run(&["operator", "remove", "dev", "bob", "--yes"]).code(0);
    stop(&mut repo);
    std::fs::copy(&copy, &store).unwrap();
    repo.serve();
    let found = operators(&repo);
    assert!(found[0]["suspendedAt"].is_string() && found[0]["enrolment"].is_null(), "{found:?}");
    assert!(found[1]["removedAt"].is_string(), "{found:?}");
    let code = link.trim().split_once('#').unwrap().1;
    let body = format!("code={code}");
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Host", "localhost:1"),
    ];
    let opened = repo.http_without_token("POST", "/console/enroll", &headers, body.as_bytes());
    assert!([400, 401, 409].contains(&opened.status), "{}", opened.status);
    let refused = repo.run(&["operator", "link", "dev", "ann"]).code(1);
    assert!(refused.stderr.contains("MW0411"), "{}", refused.stderr);
    let status = repo.run(&["outbox", "status", "dev"]).stdout;
    assert!(status.contains("1 operators are suspended"), "{status}");
    let confirmed = repo.run(&["operator", "confirm", "dev", "ann"]).code(0).stdout;
    assert!(confirmed.contains("Passkeys of the backup: none"), "{confirmed}");
    assert!(operators(&repo)[0]["suspendedAt"].is_null());
    repo.run(&["operator", "link", "dev", "ann"]).code(0);
}
