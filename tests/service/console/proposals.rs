//! Proposals: stored by one person, shown with their plan, signed, and applied or rejected by another person.

use super::{
    client::Client,
    edit::{NEW, plan, repository, send_on, with},
};
use crate::support::repository::TestRepository;

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
            "companies: [EDU1]\npolicy:\n  approvals:\n    signers:\n      - {{ name: carol, key: \"{}\" }}\n    rules:\n      - count: 1\n",
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
    repo.write("text", &text);
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
    let page = client.page(&address);
    assert!(page.contains("carol") && page.contains("has approved"), "{page}");
    let applied = send_on(&mut client, &format!("{address}/apply"), &page, &[]);
    assert_eq!(applied.status, 303, "{}", applied.body);
    let history = repo.run(&["history", "dev", "--format", "json"]).code(0).stdout;
    assert!(history.contains("carol"), "{history}");
}
