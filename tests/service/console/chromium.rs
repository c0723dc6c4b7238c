//! Pages in Chromium whose contents need mail, a hold, a verification or a change by hand; `browser::pages` has every page without.

use crate::support::{browser::check_pages, repository::TestRepository};
use serde_json::json;

#[test]
fn pages_withstand_what_a_browser_can_be() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo.patch(
        "relay",
        &json!({ "description": "Changed by hand, with a long description that has to be wrapped somewhere" }),
    );
    let hold = json!({ "profile": "relay", "reason": "The relay is moved to another building" });
    assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
    repo.run(&["verify", "dev", "relay"]);
    // Mail that the hold lets wait, and mail that an operator cancelled.
    let mail = json!({
        "company": "EDU1", "function": "default", "to": ["customer@example.org"],
        "subject": "Statement of account for November, with a subject that is long enough to be wrapped", "text": "t",
        "document": { "type": "statement", "number": "2026-11-0042" },
    });
    let json_type = [("Content-Type", "application/json")];
    let mut sent = (0..3).map(|number| {
        let mut mail = mail.clone();
        mail["document"]["number"] = format!("2026-11-{number}").into();
        let answer = repo.http("POST", "/v1/messages", &json_type, mail.to_string().as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    });
    let (waiting, cancelled) = (sent.next().unwrap(), sent.next().unwrap());
    assert_eq!(repo.http("POST", &format!("/v1/messages/{cancelled}/cancel"), &[], b"").status, 200);
    let (waiting, cancelled) = (format!("/console/outbox/{waiting}"), format!("/console/outbox/{cancelled}"));
    // A plan of files.
    let relay = repo.read("environments/dev/profiles/relay.yaml");
    let relay = relay.replace("description: Everything", "description: Nearly everything");
    repo.write("environments/dev/profiles/relay.yaml", relay);
    let proposed = ["plan", "dev", "--propose", "--reason", "The relay has another name", "--format", "json"];
    let proposed = repo.run(&proposed).code(0).json();
    let proposal = proposed["proposal"]["address"].as_str().unwrap().strip_prefix(repo.address()).unwrap().to_owned();
    let address = repo.address().replace("127.0.0.1", "localhost");
    let pages = [
        ("console-overview", "/console"),
        ("console-profiles", "/console/profiles"),
        ("console-profile", "/console/profiles/relay"),
        ("console-outbox", "/console/outbox"),
        ("console-outbox-queued", "/console/outbox?status=queued"),
        ("console-outbox-none", "/console/outbox?q=nothing"),
        ("console-message-waiting", &waiting),
        ("console-message-cancelled", &cancelled),
        ("console-bulk", "/console/outbox/bulk?status=queued&action=cancel"),
        ("console-bulk-replay", "/console/outbox/bulk?status=cancelled&action=replay-all"),
        ("console-holds", "/console/holds"),
        ("console-cell", "/console/coverage/EDU1/documents-remittance"),
        ("console-history", "/console/history"),
        ("console-history-diff", "/console/history/diff?from=0&to=2"),
        ("console-rollback", "/console/history/1/rollback"),
        ("console-rollback-guarded", "/console/history/0/rollback"),
        ("console-audit", "/console/audit"),
        ("console-proposals", "/console/proposals"),
        ("console-proposal", &proposal),
    ];
    let problems = check_pages(&address, Some(repo.token()), &pages);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
