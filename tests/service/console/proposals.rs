//! Proposals: stored by one person, shown with their plan, signed, and applied or rejected by another person.

use super::{
    client::Client,
    edit::{NEW, plan, repository, send_on, with},
};
use crate::support::repository::{TestRepository, run_command};
use serde_json::{Value, json};

const PROPOSES: &str = "companies: [EDU1]\npolicy:\n  console: propose\n";

fn apply(repo: &TestRepository) {
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
}

fn sign_in(repo: &TestRepository, name: &str, role: &str) -> Client {
    let token = repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout;
    let mut client = Client::new(repo);
    client.sign_in(token.trim());
    client
}

/// Proposes a change, and returns the address of the proposal.
fn propose(client: &mut Client, fields: &[(&str, &str)], reason: &str) -> String {
    let page = plan(client, fields);
    let answer = send_on(client, "/console/plan/propose", &page, &[("reason", reason)]);
    assert_eq!(answer.status, 303, "{}", answer.body);
    answer.header("location").unwrap().to_owned()
}

#[test]
fn a_proposal_is_applied_by_another_person() {
    let repo = repository();
    repo.write("environments/dev/environment.yaml", PROPOSES);
    apply(&repo);
    let (mut ann, mut bob) = (sign_in(&repo, "ann", "admin"), sign_in(&repo, "bob", "admin"));
    let address = propose(&mut ann, NEW, "for the branch");
    assert_eq!(repo.state()["generation"], 2, "nothing is applied yet");
    let own = ann.page(&address);
    assert!(own.contains("This is your proposal") && !own.contains(">Apply</button>"), "{own}");
    assert_eq!(ann.post(&format!("{address}/apply"), &[("planned", "2")]).status, 403);
    let list = bob.page("/console/proposals");
    assert!(list.contains(&address) && list.contains("for the branch") && list.contains("ann"), "{list}");
    let page = bob.page(&address);
    assert!(page.contains("mail.example.com") && page.contains(">Apply</button>"), "{page}");
    let applied = send_on(&mut bob, &format!("{address}/apply"), &page, &[]);
    assert_eq!(applied.status, 303, "{}", applied.body);
    let state = repo.state();
    assert_eq!(state["profiles"]["invoices"]["live"]["profile"]["provider"]["smtp"]["host"], "mail.example.com");
    assert_eq!(state["profiles"]["invoices"]["changed"]["by"], "bob");
    assert!(bob.page(&address).contains("applied"));
    let again = bob.post(&format!("{address}/apply"), &[("planned", "3")]);
    assert!(again.status == 409 && again.body.contains("MW0397"), "{}", again.body);
    let audit = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).stdout;
    for text in ["proposal.create", "proposal.apply", "for the branch", "of ann"] {
        assert!(audit.contains(text), "{text}: {audit}");
    }
}

#[test]
fn a_proposal_is_rejected_with_a_reason_or_withdrawn() {
    let repo = repository();
    let (mut ann, mut bob) = (sign_in(&repo, "ann", "planner"), sign_in(&repo, "bob", "admin"));
    let mut carl = sign_in(&repo, "carl", "planner");
    let address = propose(&mut ann, NEW, "");
    assert_eq!(carl.post(&format!("{address}/reject"), &[("reason", "no")]).status, 403);
    let without = bob.post(&format!("{address}/reject"), &[("reason", "")]);
    assert!(without.status == 400 && without.body.contains("needs a reason"), "{}", without.body);
    assert_eq!(bob.post(&format!("{address}/reject"), &[("reason", "not <b>now</b>")]).status, 303);
    let page = ann.page(&address);
    assert!(page.contains("not &#60;b&#62;now") && page.contains("rejected") && !page.contains("<b>now"), "{page}");
    let second = propose(&mut ann, NEW, "again");
    assert_eq!(ann.post(&format!("{second}/reject"), &[("reason", "")]).status, 303);
    assert!(carl.page("/console/proposals").contains("rejected"));
    assert_eq!(repo.state()["generation"], 1);
    assert_eq!(ann.get("/console/proposals/000000000000").status, 404);
}

#[test]
fn a_token_that_gets_a_revoked_ones_name_does_not_get_its_proposals() {
    let repo = repository();
    let create = ["token", "create", "dev", "--name", "ann", "--role", "planner"];
    let first = repo.run(&create).code(0).stdout.trim().to_owned();
    let mut ann = Client::new(&repo);
    ann.sign_in(&first);
    let address = propose(&mut ann, NEW, "of the first one");
    repo.run(&["token", "revoke", "dev", first.split('_').nth(1).unwrap()]).code(0);
    let mut other = Client::new(&repo);
    other.sign_in(repo.run(&create).code(0).stdout.trim());
    let page = other.page(&address);
    assert!(!page.contains("/reject\""), "a button to reject: {page}");
    for reason in ["", "not needed"] {
        assert_eq!(other.post(&format!("{address}/reject"), &[("reason", reason)]).status, 403);
    }
    // A token that replaces another one continues it.
    let second = propose(&mut other, NEW, "of the second one");
    let listed = repo.run(&["token", "list", "dev", "--format", "json"]).code(0).json();
    let tokens = listed["tokens"].as_array().unwrap();
    let own = tokens.iter().find(|token| token["name"] == "ann" && token["revokedAt"].is_null()).unwrap();
    let wanted = json!({ "name": "ann", "role": "planner", "replaces": own["id"] }).to_string();
    let made = repo.http("POST", "/v1/tokens", &[], wanted.as_bytes());
    assert_eq!(made.status, 201, "{}", made.body);
    let mut renewed = Client::new(&repo);
    renewed.sign_in(made.json()["secret"].as_str().unwrap());
    assert_eq!(renewed.post(&format!("{second}/reject"), &[("reason", "")]).status, 303);
}

#[test]
fn a_proposal_does_not_undo_what_came_after_it() {
    let repo = repository();
    let (mut ann, mut bob) = (sign_in(&repo, "ann", "admin"), sign_in(&repo, "bob", "admin"));
    let page = plan(&mut bob, NEW);
    assert_eq!(send_on(&mut bob, "/console/plan/apply", &page, &[]).status, 303);
    let mine = with(NEW, &[("original", "invoices"), ("base", "2"), ("description", "of ann")]);
    let address = propose(&mut ann, &mine, "");
    let page = bob.page(&address);
    let other = with(NEW, &[("original", "invoices"), ("base", "2"), ("host", "other.example.com")]);
    let theirs = plan(&mut bob, &other);
    assert_eq!(send_on(&mut bob, "/console/plan/apply", &theirs, &[]).status, 303);
    let shown = bob.page(&address);
    assert!(shown.contains("It cannot be applied any more") && shown.contains("other.example.com"), "{shown}");
    let refused = send_on(&mut bob, &format!("{address}/apply"), &page, &[]);
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(
        repo.state()["profiles"]["invoices"]["live"]["profile"]["provider"]["smtp"]["host"],
        "other.example.com"
    );
}

/// The reason is part of the text that an SSH key signs, so the page asks for it first.
#[test]
fn a_required_reason_is_asked_for_before_a_text_is_signed_with_ssh() {
    let repo = repository();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    repo.write(
        "environments/dev/environment.yaml",
        format!(
            "companies: [EDU1]\npolicy:\n  approvals:\n    signers: [{{ name: carol, key: \"{key}\" }}]\n    rules: [{{ count: 1, reasonRequired: true }}]\n"
        ),
    );
    apply(&repo);
    let mut client = Client::signed_in(&repo);
    let address = propose(&mut client, NEW, "new branch");
    let page = client.page(&address);
    assert!(page.contains("ssh-reason") && !page.contains("readonly>"), "{page}");
    let page = client.page(&format!("{address}?reason=Ticket%205"));
    assert!(page.contains("readonly>") && page.contains("reason: Ticket 5"), "{page}");
    let page = client.page(&format!("{address}?reason=two%0Alines"));
    assert!(!page.contains("readonly>"), "{page}");
}

#[test]
fn a_proposal_that_needs_approvals_is_signed_with_ssh() {
    let repo = repository();
    let key = repo.path("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let public = repo.read("key.pub");
    repo.write(
        "environments/dev/environment.yaml",
        format!(
            "companies: [EDU1]\npolicy:\n  approvals:\n    signers:\n      - {{ name: carol, key: \"{}\", email: carol@example.com }}\n    rules:\n      - count: 1\n",
            public.trim()
        ),
    );
    apply(&repo);
    let mut client = Client::signed_in(&repo);
    let direct = plan(&mut client, NEW);
    let refused = send_on(&mut client, "/console/plan/apply", &direct, &[]);
    assert!(refused.status == 403 && refused.body.contains("MW0320"), "{}", refused.body);
    let address = propose(&mut client, NEW, "");
    let page = client.page(&address);
    let text = page.split("readonly>").nth(1).unwrap().split("</textarea>").next().unwrap().trim_start();
    let text = format!("{}\n", text.trim_end());
    assert!(text.starts_with("mailwright-approval-v1\n"), "{text}");
    let refused = send_on(&mut client, &format!("{address}/apply"), &page, &[]);
    assert_eq!(refused.status, 403, "{}", refused.body);
    let forged = client.post(&format!("{address}/approve"), &[("message", &text), ("signature", "nothing")]);
    assert!(forged.status >= 400 && forged.status < 500, "{}", forged.body);
    // The refusal is in the audit log and an event; the signer was asked by mail.
    let refused = repo.run(&["audit", "list", "dev", "--action", "proposal.sign", "--outcome", "refused"]).code(0);
    assert!(refused.stdout.contains("MW0315"), "{}", refused.stdout);
    let kinds = event_kinds(&repo);
    assert_eq!(kinds, ["signature-requested", "signature-refused"]);
    let request = wait_for_audit(&repo, "proposal.request");
    assert!(request["detail"]["messages"]["carol"].is_string(), "{request}");
    let outbox = repo.run(&["outbox", "list", "dev", "--format", "json"]).code(0).stdout;
    assert!(outbox.contains("electronic-signatures") && outbox.contains("carol@example.com"), "{outbox}");
    let approve = |client: &mut Client, address: &str| {
        let page = client.page(address);
        let text = page.split("readonly>").nth(1).unwrap().split("</textarea>").next().unwrap().trim();
        let text = format!("{text}\n");
        repo.write("text", &text);
        drop(std::fs::remove_file(repo.path("text.sig")));
        let signed = std::process::Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "approval@mailwright.dev", "-f"])
            .arg(&key)
            .arg(repo.path("text"))
            .output()
            .unwrap();
        assert!(signed.status.success(), "{signed:?}");
        let crlf = |text: String| text.replace('\n', "\r\n");
        let (message, signature) = (crlf(text), crlf(repo.read("text.sig")));
        let added = client.post(&format!("{address}/approve"), &[("message", &message), ("signature", &signature)]);
        assert_eq!(added.status, 303, "{}", added.body);
    };
    approve(&mut client, &address);
    let page = client.page(&address);
    assert!(page.contains("carol") && page.contains("has approved"), "{page}");
    assert!(event_kinds(&repo).contains(&"signed".to_owned()));
    // A signature that is removed from the store, and one that is added to it, are found.
    repo.run(&["audit", "verify", "dev"]).code(0);
    let store = rusqlite::Connection::open(repo.path(".data/store.sqlite")).unwrap();
    let record: String = store.query_row("SELECT record FROM proposal", [], |row| row.get(0)).unwrap();
    store.execute("UPDATE proposal SET record = json_remove(record, '$.approvals')", []).unwrap();
    let found = repo.run(&["audit", "verify", "dev"]).code(1);
    assert!(found.stderr.contains("is missing, or was changed"), "{found:?}");
    store
        .execute(
            "UPDATE proposal SET record = json_insert(?1, '$.approvals[#]', json_extract(?1, '$.approvals[0]'))",
            [&record],
        )
        .unwrap();
    let found = repo.run(&["audit", "verify", "dev"]).code(1);
    assert!(found.stderr.contains("has a signature that no entry records"), "{found:?}");
    store.execute("UPDATE proposal SET record = ?1", [&record]).unwrap();
    drop(store);
    repo.run(&["audit", "verify", "dev"]).code(0);
    let applied = send_on(&mut client, &format!("{address}/apply"), &page, &[]);
    assert_eq!(applied.status, 303, "{}", applied.body);
    let history = repo.run(&["history", "dev", "--format", "json"]).code(0).stdout;
    assert!(history.contains("carol"), "{history}");
    let history = repo.run(&["history", "dev"]).code(0).stdout;
    assert!(history.contains("Signatures of generation 3:") && history.contains("carol approved 20"), "{history}");
    // So does the page of a proposal that was rejected.
    let rejected = propose(&mut client, &super::edit::with(NEW, &[("name", "orders"), ("base", "3")]), "");
    approve(&mut client, &rejected);
    assert_eq!(client.post(&format!("{rejected}/reject"), &[("reason", "no")]).status, 303);
    let page = client.page(&rejected);
    assert!(page.contains("carol") && page.contains("with an SSH key") && page.contains("rejected"), "{page}");
    // The page of the applied proposal and the difference of the generation keep the signature.
    for address in [address.as_str(), "/console/history/diff?to=3"] {
        let page = client.page(address);
        assert!(page.contains("carol") && page.contains("with an SSH key"), "{page}");
    }
}

/// Returns the kinds of the events about signatures, oldest first.
fn event_kinds(repo: &TestRepository) -> Vec<String> {
    let store = rusqlite::Connection::open(repo.path(".data/store.sqlite")).unwrap();
    let query = "SELECT json_extract(record, '$.type') FROM event WHERE record LIKE '%proposal%' ORDER BY number";
    let mut statement = store.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Waits for the first entry of an action: mail is submitted in the background.
fn wait_for_audit(repo: &TestRepository, action: &str) -> Value {
    for _ in 0..2400 {
        let entries = repo.http("GET", "/v1/audit?limit=1000", &[], b"").json()["entries"].as_array().unwrap().clone();
        if let Some(found) = entries.into_iter().find(|entry| entry["action"] == action) {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("no entry {action}");
}

/// Proposes the plan of the files, and returns the path of its page.
fn propose_files(repo: &TestRepository, token: &str, arguments: &[&str]) -> String {
    let mut all = vec!["plan", "dev", "--propose", "--format", "json"];
    all.extend(arguments);
    let mut command = repo.command(&all);
    command.env("MAILWRIGHT_TOKEN", token);
    let document: Value = serde_json::from_str(&run_command(command).code(0).stdout).unwrap();
    let address = document["proposal"]["address"].as_str().unwrap();
    assert!(address.ends_with(document["proposal"]["id"].as_str().unwrap()), "{document}");
    address.strip_prefix(repo.address()).unwrap().to_owned()
}

fn token(repo: &TestRepository, name: &str, role: &str) -> String {
    repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout.trim().to_owned()
}

#[test]
fn a_plan_of_files_is_proposed_by_a_planner_and_applied_in_the_console() {
    let repo = repository();
    apply(&repo);
    let (ann, bob) = (token(&repo, "ann", "planner"), token(&repo, "bob", "deployer"));
    let relay = repo.read("environments/dev/profiles/relay.yaml");
    std::fs::remove_file(repo.path("environments/dev/profiles/relay.yaml")).unwrap();
    repo.write("environments/dev/profiles/second.yaml", relay);
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    let address = propose_files(&repo, &ann, &["--reason", "a second `relay`"]);
    assert_eq!(repo.state()["generation"], 1, "nothing is applied yet");
    let mut client = Client::new(&repo);
    client.sign_in(&ann);
    let own = client.page(&address);
    assert!(own.contains("second") && !own.contains(">Apply</button>"), "a planner may not apply: {own}");
    assert_eq!(client.post(&format!("{address}/apply"), &[("planned", "1")]).status, 403);
    let mut client = Client::new(&repo);
    client.sign_in(&bob);
    let list = client.page("/console/proposals");
    assert!(
        list.contains(&address)
            && list.contains("Plan of files")
            && list.contains("1 added")
            && list.contains("Settings"),
        "{list}"
    );
    let page = client.page(&address);
    for text in ["second", "companies", "EDU2", "a second `relay`", "would be deleted", "smtp.example.com"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("Difference from Git"), "an apply makes no drift: {page}");
    // The guard first, then the gate.
    let unseen = [("accept-unverified", "yes"), ("reason", "tried by hand")];
    let guarded = send_on(&mut client, &format!("{address}/apply"), &page, &unseen);
    assert!(guarded.status == 422 && guarded.body.contains("MW0218"), "{} {}", guarded.status, guarded.body);
    let lifted = [("allow-name", "relay"), unseen[0], unseen[1]];
    let gated = send_on(&mut client, &format!("{address}/apply"), &page, &lifted[..1]);
    assert!(gated.status == 422 && gated.body.contains("MW0234"), "{} {}", gated.status, gated.body);
    assert!(gated.body.contains("value=\"relay\" checked"), "what was confirmed stays: {}", gated.body);
    let applied = send_on(&mut client, &format!("{address}/apply"), &page, &lifted);
    assert_eq!(applied.status, 303, "{}", applied.body);
    let plan = repo.run(&["plan", "dev", "--detailed-exitcode"]);
    plan.code(0);
    let history: Value =
        serde_json::from_str(&repo.run(&["history", "dev", "--format", "json"]).code(0).stdout).unwrap();
    let newest = &history["generations"][0];
    assert_eq!((&newest["kind"], &newest["by"]), (&json!("apply"), &json!("bob")), "{history}");
    assert_eq!(newest["allowances"]["unverified"], true, "{history}");
    let audit = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).stdout;
    for text in ["proposal.create", "proposal.apply", "of ann: a second", "tried by hand"] {
        assert!(audit.contains(text), "{text}: {audit}");
    }
    let decided = client.page(&address);
    assert!(decided.contains("applied") && decided.contains("tried by hand"), "{decided}");
}

#[test]
fn a_plan_of_files_is_not_applied_after_another_change() {
    let repo = repository();
    apply(&repo);
    let relay = repo.read("environments/dev/profiles/relay.yaml");
    repo.write("environments/dev/profiles/second.yaml", relay.replace("[default]", "[documents-accounts-receivable]"));
    let address = propose_files(&repo, repo.token(), &[]);
    let mut client = Client::signed_in(&repo);
    let before = client.page(&address);
    let edit = plan(&mut client, NEW);
    assert_eq!(send_on(&mut client, "/console/plan/apply", &edit, &[]).status, 303);
    let page = client.page(&address);
    assert!(page.contains("MW0210") && page.contains("plan dev --propose"), "{page}");
    let lifted = [("accept-unverified", "yes"), ("reason", "r")];
    let refused = send_on(&mut client, &format!("{address}/apply"), &before, &lifted);
    assert!(refused.status == 409 && refused.body.contains("MW0210"), "{} {}", refused.status, refused.body);
    assert_eq!(client.post(&format!("{address}/reject"), &[("reason", "stale")]).status, 303);
    assert!(client.page(&address).contains("rejected"));
}

#[test]
fn a_plan_of_files_that_cannot_be_proposed_is_refused() {
    let repo = repository();
    apply(&repo);
    let nothing = repo.run(&["plan", "dev", "--propose", "--format", "json"]).code(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&nothing).unwrap()["proposal"], Value::Null);
    let relay = repo.read("environments/dev/profiles/relay.yaml");
    repo.write("environments/dev/profiles/second.yaml", relay.replace("[default]", "[documents-accounts-receivable]"));
    let viewer = token(&repo, "eve", "viewer");
    let mut command = repo.command(&["plan", "dev", "--propose"]);
    command.env("MAILWRIGHT_TOKEN", &viewer);
    let refused = run_command(command).code(1).stderr;
    assert!(refused.contains("MW0202") && refused.contains("planner"), "{refused}");
    // The service refuses these itself, also from other clients.
    let ask = |body: Value| {
        let authorization = format!("Bearer {}", repo.token());
        let answer = repo.http_without_token(
            "POST",
            "/v1/proposals",
            &[("Authorization", &authorization), ("Content-Type", "application/json")],
            body.to_string().as_bytes(),
        );
        (answer.status, answer.json()["code"].as_str().map(str::to_owned))
    };
    let changeset = |base: u64| {
        json!({
            "id": "018f3a2e-0000-7000-8000-00000000000a", "environment": "dev", "base": base,
            "settings": { "companies": ["EDU1", "EDU2"] },
        })
    };
    assert_eq!(ask(json!({ "changeset": changeset(1) })).0, 201);
    assert_eq!(ask(json!({ "changeset": changeset(7) })), (409, Some("MW0210".to_owned())));
    assert_eq!(ask(json!({ "changeset": changeset(1), "reason": "two\nlines" })).0, 400);
    let empty =
        json!({ "changeset": { "id": "018f3a2e-0000-7000-8000-00000000000b", "environment": "dev", "base": 1 } });
    assert_eq!(ask(empty).0, 400);
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\npolicy:\n  console: read-only\n");
    apply(&repo);
    assert_eq!(ask(json!({ "changeset": changeset(2) })), (403, Some("MW0395".to_owned())));
}

#[test]
fn a_proposal_is_either_applied_or_rejected() {
    let repo = repository();
    apply(&repo);
    let mut ann = sign_in(&repo, "ann", "admin");
    for round in 0..4 {
        let description = format!("round {round}");
        let state = repo.state();
        let base = state["generation"].to_string();
        let mut fields = with(NEW, &[("description", &description)]);
        if !state["profiles"]["invoices"].is_null() {
            fields = with(&fields, &[("original", "invoices"), ("base", &base)]);
        }
        let address = propose(&mut ann, &fields, "");
        let (mut one, mut other) =
            (sign_in(&repo, &format!("b{round}"), "admin"), sign_in(&repo, &format!("c{round}"), "admin"));
        let page = one.page(&address);
        let path = address.clone();
        let (applied, rejected) = std::thread::scope(|scope| {
            let apply = scope.spawn(|| send_on(&mut one, &format!("{path}/apply"), &page, &[]));
            let reject = scope.spawn(|| other.post(&format!("{path}/reject"), &[("reason", "no")]));
            (apply.join().unwrap(), reject.join().unwrap())
        });
        let now = repo.state()["generation"].to_string();
        let shown = ann.page(&address);
        if applied.status == 303 {
            assert_eq!(rejected.status, 409, "{}", rejected.body);
            assert!(now != base && shown.contains(">applied<"), "{shown}");
        } else {
            assert_eq!((applied.status, rejected.status), (409, 303), "{}", applied.body);
            assert!(now == base && shown.contains(">rejected<"), "{shown}");
        }
    }
}

/// Who may apply in general, and not this change, sees that before the button.
#[test]
fn the_page_says_which_right_the_caller_lacks() {
    let repo = repository();
    apply(&repo);
    let planner = token(&repo, "ann", "planner");
    let path = "environments/dev/access.yaml";
    repo.write(path, "bindings:\n  zoe: { subjects: [{ token: zoe }], roles: [admin] }\n");
    let mut command = repo.command(&["plan", "dev", "--propose", "--format", "json"]);
    command.env("MAILWRIGHT_TOKEN", &planner);
    let document: Value = serde_json::from_str(&run_command(command).code(0).stdout).unwrap();
    let address = document["proposal"]["address"].as_str().unwrap().strip_prefix(repo.address()).unwrap().to_owned();
    let mut deployer = sign_in(&repo, "bob", "deployer");
    let page = deployer.page(&address);
    assert!(page.contains("MW0400") && !page.contains("<button class=\"primary\" form=\"plan\">"), "{page}");
    // The proposer withdraws, others reject.
    let mut ann = Client::new(&repo);
    ann.sign_in(&planner);
    assert!(ann.page(&address).contains(">Withdraw<") && page.contains(">Reject<"));
}
