//! Every page of the console, in every way that pages must withstand.

use std::collections::BTreeSet;

use mailwright::console::route_list;
use serde_json::json;

use crate::support::{browser::check_pages, repository::TestRepository};

/// The pages for people who have signed in: the name of the screenshots, the address, and the address as routes have it if it
/// has a parameter. `WAITING` and `CANCELLED` are the ids of messages, `PROPOSAL` that of a proposal. A new page is a line.
const PAGES: &[(&str, &str, &str)] = &[
    ("overview", "/console", ""),
    ("profiles", "/console/profiles", ""),
    ("profiles-filtered", "/console/profiles?q=no-such-profile", "/console/profiles"),
    ("profile", "/console/profiles/relay", "/console/profiles/{name}"),
    ("profile-new", "/console/profiles/new?provider=smtp", "/console/profiles/new"),
    ("profile-new-choice", "/console/profiles/new", ""),
    ("profile-new-direct", "/console/profiles/new?provider=microsoft-graph-direct", "/console/profiles/new"),
    ("profile-new-delegate", "/console/profiles/new?provider=microsoft-graph-delegate", "/console/profiles/new"),
    ("profile-edit", "/console/profiles/relay/edit", "/console/profiles/{name}/edit"),
    ("proposals", "/console/proposals", ""),
    ("proposal", "/console/proposals/PROPOSAL", "/console/proposals/{id}"),
    ("outbox", "/console/outbox", ""),
    ("outbox-queued", "/console/outbox?status=queued", "/console/outbox"),
    ("outbox-none", "/console/outbox?q=nothing", "/console/outbox"),
    ("message-waiting", "/console/outbox/WAITING", "/console/outbox/{id}"),
    ("message-cancelled", "/console/outbox/CANCELLED", "/console/outbox/{id}"),
    ("bulk", "/console/outbox/bulk?status=queued&action=cancel", "/console/outbox/bulk"),
    ("bulk-replay", "/console/outbox/bulk?status=cancelled&action=replay-all", "/console/outbox/bulk"),
    ("holds", "/console/holds", ""),
    ("coverage", "/console/coverage", ""),
    ("cell", "/console/coverage/EDU1/documents-remittance", "/console/coverage/{company}/{function}"),
    ("history", "/console/history", ""),
    ("difference", "/console/history/diff?from=0&to=2", "/console/history/diff"),
    ("rollback", "/console/history/1/rollback", "/console/history/{number}/rollback"),
    ("rollback-guarded", "/console/history/0/rollback", "/console/history/{number}/rollback"),
    ("audit", "/console/audit", ""),
    ("tokens", "/console/tokens", ""),
    ("operators", "/console/operators", ""),
    ("account", "/console/account", ""),
    ("confirm", "/console/confirm", ""),
    ("verify", "/console/verify", ""),
    ("rollouts", "/console/rollouts", ""),
    ("access", "/console/access", ""),
    ("access-answers", "/console/access?subject=token:ann&role=planner", "/console/access"),
    ("access-field", "/console/access?field=provider.smtp.host&profile=relay", "/console/access"),
    ("waiting", "/console/waiting", ""),
    ("compose", "/console/compose", ""),
    ("setup", "/console/setup", ""),
    ("sessions", "/console/sessions", ""),
];

/// The pages for everyone.
const OPEN_PAGES: &[(&str, &str, &str)] = &[
    ("sign-in", "/console/sign-in", ""),
    ("enroll", "/console/enroll", ""),
    ("delegate", "/console/delegate", ""),
    ("setup-signed-out", "/console/setup", ""),
];

/// Addresses that are not pages (files and streams), and pages that need what the tests of their own make.
const OTHERS: &[&str] = &[
    "/console/assets/{hash}/{name}",
    "/console/audit/export",
    "/console/confirm/identity",
    "/console/live",
    "/console/outbox/live",
    "/console/outbox/{id}/live",
    "/console/outbox/bulk/{sequence}",
    "/console/profiles/{name}/patch",
    "/console/proposals/{id}/patch",
    "/console/proposals/{id}/sign/{digest}",
    "/console/sign-in/callback",
    "/console/sign-in/callback/{provider}",
    "/console/sign-in/with/{provider}",
    "/console/verify/{id}",
    "/console/waiting/{id}",
];

/// Something of everything: a profile that was changed by hand and verified, a hold, mail that waits for it and mail that was
/// cancelled, a plan of files that was proposed. Returns the repository, and the ids of the messages and of the proposal.
fn with_contents() -> (TestRepository, [String; 2], String) {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    repo.patch(
        "relay",
        &json!({ "description": "Changed by hand, with a long description that has to be wrapped somewhere" }),
    );
    let hold = json!({ "profile": "relay", "reason": "The relay is moved to another building" });
    assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
    repo.run(&["verify", "dev", "relay"]);
    let messages = [0, 1].map(|number| {
        let mail = json!({
            "company": "EDU1", "function": "default", "to": ["customer@example.org"],
            "subject": "Statement of account for November, with a subject that is long enough to be wrapped", "text": "t",
            "document": { "type": "statement", "number": format!("2026-11-{number}") },
        });
        let answer = repo.http("POST", "/v1/messages", &[], mail.to_string().as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    });
    assert_eq!(repo.http("POST", &format!("/v1/messages/{}/cancel", messages[1]), &[], b"").status, 200);
    let relay = repo.read("environments/dev/profiles/relay.yaml");
    let relay = relay.replace("description: Everything", "description: Nearly everything");
    repo.write("environments/dev/profiles/relay.yaml", relay);
    let proposed = ["plan", "dev", "--propose", "--reason", "The relay has another name", "--format", "json"];
    let proposed = repo.run(&proposed).code(0).json();
    let proposal = proposed["proposal"]["address"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    (repo, messages, proposal)
}

#[test]
fn every_page_withstands_every_way_to_read_it() {
    let (repo, [waiting, cancelled], proposal) = with_contents();
    let address =
        |path: &str| path.replace("WAITING", &waiting).replace("CANCELLED", &cancelled).replace("PROPOSAL", &proposal);
    let pages: Vec<_> = PAGES.iter().map(|(name, path, _)| (*name, address(path))).collect();
    let open: Vec<_> = OPEN_PAGES.iter().map(|(name, path, _)| (*name, (*path).to_owned())).collect();
    let problems = check_pages(&repo.address().replace("127.0.0.1", "localhost"), repo.token(), &pages, &open);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_page_is_in_the_table() {
    let routes: BTreeSet<String> =
        route_list().into_iter().filter(|route| route.method == "GET").map(|route| route.path).collect();
    let tables = PAGES.iter().chain(OPEN_PAGES);
    let mut known: BTreeSet<String> =
        tables.map(|(_, path, route)| if route.is_empty() { *path } else { *route }.to_owned()).collect();
    known.extend(OTHERS.iter().map(|path| (*path).to_owned()));
    assert_eq!(known, routes);
}
