//! The audit log and the tokens in the console: search, verification, export, revocation. Both are for administrators.

use super::client::Client;
use crate::support::repository::TestRepository;
use serde_json::{Value, json};

fn service() -> TestRepository {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo
}

#[test]
fn entries_are_searched_page_by_page() {
    let repo = service();
    let hostile = "<script>alert(1)</script>\u{202e}gpj";
    for number in 0..60 {
        let hold = json!({ "profile": "relay", "reason": format!("{hostile} {number}") });
        assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
        let id = repo.http("GET", "/v1/holds", &[], b"").json()["holds"][0]["id"].as_str().unwrap().to_owned();
        assert!(repo.http("DELETE", &format!("/v1/holds/{id}"), &[], b"").status < 300);
    }
    let mut client = Client::signed_in(&repo);
    let rows = |page: &str| page.matches("<tr data-row").count();
    let first = client.page("/console/audit");
    assert!(first.len() < 200_000 && !first.contains("<script>alert") && !first.contains('\u{202e}'), "{first}");
    assert_eq!(rows(&first), 100);
    let older = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let second = client.page(&older);
    assert!((20..100).contains(&rows(&second)) && second.contains("changeset"), "{second}");
    assert_eq!(rows(&client.page("/console/audit?action=hold.create")), 60);
    assert_eq!(rows(&client.page("/console/audit?action=hold.&q=gpj+59")), 1);
    assert_eq!(rows(&client.page("/console/audit?actor=other")), 0);
    assert_eq!(rows(&client.page("/console/audit?until=2001-01-01T00:00")), 0);
    assert!(client.page("/console/audit?outcome=x&since=y").contains("Nothing can match"));
    // An export has all that the filter finds.
    let answer = client.get("/console/audit/export?format=json&action=hold.create");
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"audit-dev.json\""));
    let entries: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(entries.len(), 60);
    assert!(entries.iter().all(|entry| entry["action"] == "hold.create" && entry["hash"].is_string()));
    let answer = client.get("/console/audit/export?format=csv");
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    let lines: Vec<&str> = answer.body.trim_end().split("\r\n").collect();
    assert_eq!(lines[0], "sequence,at,actor,action,outcome,detail,previous,hash");
    assert_eq!(lines.len() - 1, rows(&first) + rows(&second));
    assert!(client.get("/console/audit/export?format=json&action=none").body.split_whitespace().eq(["[", "]"]));
}

#[test]
fn names_that_a_spreadsheet_would_compute_are_text_in_an_export() {
    let repo = service();
    let token = repo.run(&["token", "create", "dev", "--name", "=1+1\",x", "--role", "admin"]).code(0).stdout;
    let mut client = Client::new(&repo);
    client.sign_in(token.trim());
    let csv = client.get("/console/audit/export?format=csv&action=session.create").body;
    assert!(csv.contains(",\"'=1+1\"\",x\",\"session.create\""), "{csv}");
}

#[test]
fn the_chain_is_verified_by_a_button() {
    let mut repo = service();
    let page = Client::signed_in(&repo).post("/console/audit/verify", &[]);
    assert!(page.status == 200 && page.body.contains("is intact"), "{}", page.body);
    repo.kill();
    let connection = rusqlite::Connection::open(repo.path(".data/store.sqlite")).unwrap();
    let change = "UPDATE audit SET entry = replace(entry, 'changeset', 'changesex')";
    assert!(connection.execute(change, []).unwrap() > 2);
    drop(connection);
    repo.serve();
    let page = Client::signed_in(&repo).post("/console/audit/verify", &[]);
    assert!(page.status == 200 && page.body.contains("was changed by something other"), "{}", page.body);
}

#[test]
fn an_administrator_revokes_a_token_and_not_the_last_one() {
    let repo = service();
    let scoped = ["--role", "sender", "--companies", "EDU1", "--functions", "default"];
    repo.run(&[&["token", "create", "dev", "--name", "<b>shop</b>"], &scoped[..]].concat()).code(0);
    let tokens = repo.http("GET", "/v1/tokens", &[], b"").json();
    let id = |name: &str| {
        let all = tokens["tokens"].as_array().unwrap();
        all.iter().find(|token| token["name"].as_str().unwrap().contains(name)).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let own = tokens["tokens"][0]["id"].as_str().unwrap().to_owned();
    let mut client = Client::signed_in(&repo);
    let page = client.page("/console/tokens");
    assert!(page.contains("&#60;b&#62;shop") && page.contains("EDU1") && !page.contains("mw_"), "{page}");
    assert_eq!(client.post(&format!("/console/tokens/{}/revoke", id("shop")), &[]).status, 303);
    assert!(client.page("/console/tokens").contains("revoked"));
    let refused = client.post(&format!("/console/tokens/{own}/revoke"), &[]);
    assert!(refused.status == 409 && refused.body.contains("last token"), "{}", refused.body);
    assert_eq!(client.post("/console/tokens/nothing/revoke", &[]).status, 404);
    // Others see neither.
    let token = repo.run(&["token", "create", "dev", "--name", "d", "--role", "deployer"]).code(0).stdout;
    client.sign_in(token.trim());
    assert!(!client.page("/console").contains("/console/tokens"));
    for path in ["/console/tokens", "/console/audit", "/console/audit/export?format=csv"] {
        assert_eq!(client.get(path).status, 403, "{path}");
    }
    for path in ["/console/audit/verify", &format!("/console/tokens/{own}/revoke")] {
        assert_eq!(client.post(path, &[]).status, 403, "{path}");
    }
}
