//! Signatures of operators on proposals: what is signed, by whom, once, and everything that must not count. The devices are
//! software.

use super::{
    client::Client,
    edit::{NEW, plan, send_on, with},
};
use crate::support::{
    passkey_device::{PasskeyDevice, options},
    repository::{HttpResponse, TestRepository},
};

/// A person with a passkey, signed in.
struct Person {
    client: Client,
    device: PasskeyDevice,
}

/// A service at which two of three operators must sign, and its address under the name that has passkeys.
fn serve() -> (TestRepository, String) {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.write("environments/dev/environment.yaml", policy("{ count: 2, groups: [finance], reasonRequired: true }"));
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let address = repo.address().replace("127.0.0.1", "localhost");
    (repo, address)
}

fn policy(rule: &str) -> String {
    format!(
        "\
companies: [EDU1]
policy:
  approvals:
    signers:
      - {{ name: dora, operator: dora }}
      - {{ name: emil, operator: Emil, email: emil@example.com }}
      - {{ name: frank, operator: frank }}
    groups: {{ finance: [dora, emil, frank] }}
    rules:
      - {rule}
"
    )
}

fn enrol(repo: &TestRepository, address: &str, name: &str) -> Person {
    enrol_as(repo, address, name, "planner")
}

fn enrol_as(repo: &TestRepository, address: &str, name: &str, role: &str) -> Person {
    let link = repo.run(&["operator", "add", "dev", "--name", name, "--role", role]).code(0).stdout;
    let code = link.trim().split_once('#').unwrap().1;
    let (mut client, mut device) = (Client::at(address, ""), PasskeyDevice::new(address));
    let page = client.post("/console/enroll", &[("code", code)]);
    assert_eq!(page.status, 200, "{}", page.body);
    let answer = device.create(&options(&page.body));
    assert_eq!(client.post("/console/enroll/passkey", &[("answer", &answer), ("label", "Laptop")]).status, 303);
    Person { client, device }
}

/// Proposes a profile of this name, and returns the address of the proposal.
fn propose(client: &mut Client, name: &str) -> String {
    let page = plan(client, &with(NEW, &[("name", name)]));
    let answer = send_on(client, "/console/plan/propose", &page, &[("reason", "")]);
    assert_eq!(answer.status, 303, "{}", answer.body);
    answer.header("location").unwrap().to_owned()
}

/// Returns the record that a page carries.
fn draft(page: &str) -> String {
    let text =
        page.split("name=\"draft\" value=\"").nth(1).unwrap_or_else(|| panic!("{page}")).split('"').next().unwrap();
    text.replace("&#34;", "\"").replace("&quot;", "\"").replace("&#38;", "&").replace("&amp;", "&")
}

impl Person {
    /// Asks for the page that shows what is signed.
    fn review(&mut self, proposal: &str, meaning: &str) -> HttpResponse {
        let fields = [("meaning", meaning), ("reason", "Ticket 4711"), ("offset", "60")];
        self.client.post(&format!("{proposal}/sign"), &fields)
    }

    fn sign(&mut self, proposal: &str) -> HttpResponse {
        let page = self.review(proposal, "approved");
        assert_eq!(page.status, 200, "{}", page.body);
        let answer = self.device.get(&options(&page.body));
        self.client.post(&format!("{proposal}/signature"), &[("draft", &draft(&page.body)), ("answer", &answer)])
    }
}

fn refusals(repo: &TestRepository) -> i64 {
    let store = rusqlite::Connection::open(repo.path(".data/store.sqlite")).unwrap();
    let query = "SELECT count(*) FROM event WHERE json_extract(record, '$.type') = 'signature-refused'";
    store.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn two_persons_sign_what_they_see_and_the_history_keeps_it() {
    let (repo, address) = serve();
    let (mut dora, mut emil) = (enrol(&repo, &address, "dora"), enrol(&repo, &address, "emil"));
    let mut ann = Client::signed_in(&repo);
    let (proposal, other) = (propose(&mut ann, "invoices"), propose(&mut ann, "orders"));
    assert!(dora.client.page(&proposal).contains("I approve it"));
    assert!(!ann.page(&proposal).contains("I approve it"), "a token does not sign");
    let without = [("meaning", "approved"), ("reason", ""), ("offset", "0")];
    assert!(dora.client.post(&format!("{proposal}/sign"), &without).body.contains("MW0316"));
    assert!(dora.review(&proposal, "reviewed").body.contains("MW0314"), "no rule asks for a review");
    let page = dora.review(&proposal, "approved").body;
    for shown in ["dora", "Ticket 4711", "sha256:", "has approved", "mailwright-signature-v1", "+01:00"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    // A record that was changed is not the one that was shown.
    let answer = dora.device.get(&options(&page));
    let changed = draft(&page).replace("Ticket 4711", "Ticket 4712");
    let before = refusals(&repo);
    let send = |person: &mut Person, proposal: &str, draft: &str, answer: &str| {
        person.client.post(&format!("{proposal}/signature"), &[("draft", draft), ("answer", answer)])
    };
    assert!(send(&mut dora, &proposal, &changed, &answer).status >= 400);
    // The request is used up, for the true record too.
    assert!(send(&mut dora, &proposal, &draft(&page), &answer).status >= 400);
    // Another person's answer, and an answer for another proposal.
    let page = dora.review(&proposal, "approved").body;
    let answer = emil.device.get(&options(&page));
    assert!(send(&mut emil, &proposal, &draft(&page), &answer).status >= 400);
    let page = emil.review(&proposal, "approved").body;
    let answer = emil.device.get(&options(&page));
    let refused = send(&mut emil, &other, &draft(&page), &answer);
    assert!(refused.body.contains("MW0312"), "{}", refused.body);
    assert_eq!(refusals(&repo), before + 4, "each is an event");

    let page = dora.review(&proposal, "approved").body;
    let answer = dora.device.get(&options(&page));
    assert_eq!(send(&mut dora, &proposal, &draft(&page), &answer).status, 303);
    assert!(send(&mut dora, &proposal, &draft(&page), &answer).status >= 400, "an answer counts once");
    let again = dora.sign(&proposal);
    assert!(again.status == 409 && again.body.contains("MW0327"), "the same person twice: {}", again.body);
    let page = ann.page(&proposal);
    let refused = send_on(&mut ann, &format!("{proposal}/apply"), &page, &[]);
    assert_eq!(refused.status, 403, "one of two: {}", refused.body);
    assert_eq!(emil.sign(&proposal).status, 303);
    repo.run(&["audit", "verify", "dev"]).code(0);
    let page = ann.page(&proposal);
    let applied = send_on(&mut ann, &format!("{proposal}/apply"), &page, &[]);
    assert_eq!(applied.status, 303, "{}", applied.body);
    let history = repo.run(&["history", "dev"]).code(0).stdout;
    for shown in
        ["dora approved 20", "emil approved 20", "+01:00 by passkey (passkey enrolled 20", "): Ticket 4711 (sha256:"]
    {
        assert!(history.contains(shown), "{shown}: {history}");
    }
    let audit =
        repo.run(&["audit", "list", "dev", "--action", "proposal.sign", "--outcome", "accepted"]).code(0).stdout;
    assert_eq!(audit.matches("by passkey").count(), 2, "{audit}");
    repo.run(&["audit", "verify", "dev"]).code(0);
    // Another generation: the other proposal has another digest.
    assert!(ann.page(&other).contains("Missing:"));
}

#[test]
fn the_signature_of_a_removed_person_does_not_count_at_the_apply() {
    let (repo, address) = serve();
    let (mut dora, mut emil) = (enrol(&repo, &address, "dora"), enrol(&repo, &address, "emil"));
    let mut ann = Client::signed_in(&repo);
    let proposal = propose(&mut ann, "invoices");
    assert_eq!((dora.sign(&proposal).status, emil.sign(&proposal).status), (303, 303));
    let page = ann.page(&proposal);
    repo.run(&["operator", "remove", "dev", "dora", "--yes"]).code(0);
    let refused = send_on(&mut ann, &format!("{proposal}/apply"), &page, &[]);
    assert!(refused.status == 403 && refused.body.contains("MW0314"), "{}", refused.body);
    let mut frank = enrol(&repo, &address, "frank");
    assert_eq!(frank.sign(&proposal).status, 303);
    assert_eq!(send_on(&mut ann, &format!("{proposal}/apply"), &page, &[]).status, 303);
}

#[test]
fn an_author_does_not_approve() {
    let (repo, address) = serve();
    let mut dora = enrol(&repo, &address, "dora");
    let proposal = propose(&mut dora.client, "invoices");
    let refused = dora.sign(&proposal);
    assert!(refused.body.contains("MW0317"), "{}", refused.body);
    assert_eq!(refusals(&repo), 1);
}

#[test]
fn a_passkey_of_a_new_link_is_shown_with_its_signature_wherever_that_is() {
    let (repo, address) = serve();
    let (mut dora, mut emil) = (enrol(&repo, &address, "dora"), enrol(&repo, &address, "emil"));
    let mut ann = Client::signed_in(&repo);
    let proposal = propose(&mut ann, "invoices");
    assert_eq!(dora.sign(&proposal).status, 303);
    // An administrator makes a link for emil after the proposal, and the person who opens it can sign as emil.
    let link = repo.run(&["operator", "link", "dev", "emil"]).code(0).stdout;
    let code = link.trim().split_once('#').unwrap().1;
    let mut thief = Person { client: Client::at(&address, ""), device: PasskeyDevice::new(&address) };
    let page = thief.client.post("/console/enroll", &[("code", code)]);
    let answer = thief.device.create(&options(&page.body));
    let enrolled = thief.client.post("/console/enroll/passkey", &[("answer", &answer), ("label", "Other")]);
    assert_eq!(enrolled.status, 303, "{}", enrolled.body);
    // A passkey that the new one adds does not hide the link.
    let page = thief.client.page("/console/account");
    let mut second = PasskeyDevice::new(&address);
    let answer = second.create(&options(&page));
    let added = thief.client.post("/console/account/passkeys", &[("answer", &answer), ("label", "Second")]);
    assert_eq!(added.status, 303, "{}", added.body);
    thief.device = second;
    assert_eq!(thief.sign(&proposal).status, 303);

    let page = ann.page(&proposal);
    let flag = "0 minutes before the signature and after the proposal";
    assert!(page.contains("recent passkey") && page.contains(flag), "{page}");
    assert_eq!(page.matches("by link of ").count(), 2, "{page}");
    assert_eq!(page.matches("and after the proposal").count(), 1, "{page}");
    let id = proposal.rsplit_once('/').unwrap().1;
    let detail = repo.http("GET", &format!("/v1/proposals/{id}"), &[], b"").json();
    let passkeys: Vec<_> =
        detail["signatures"].as_array().unwrap().iter().map(|one| one["recentPasskey"].clone()).collect();
    assert_eq!((&passkeys[0]["isAfterProposal"], &passkeys[1]["isAfterProposal"]), (&false.into(), &true.into()));
    assert!(passkeys.iter().all(|one| one["linkBy"].is_string()), "{passkeys:?}");
    let store = rusqlite::Connection::open(repo.path(".data/store.sqlite")).unwrap();
    let query = "SELECT count(*) FROM event WHERE json_extract(record, '$.reason') LIKE '%after the proposal%'";
    assert_eq!(store.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap(), 1, "the event says so");

    let page = ann.page(&proposal);
    assert_eq!(send_on(&mut ann, &format!("{proposal}/apply"), &page, &[]).status, 303);
    assert!(repo.run(&["history", "dev"]).code(0).stdout.contains(flag));
    let audit = repo.run(&["audit", "list", "dev", "--action", "changeset", "--format", "json"]).code(0).stdout
        + &repo.run(&["audit", "list", "dev", "--action", "console.edit", "--format", "json"]).code(0).stdout;
    assert!(audit.contains(flag), "{audit}");
    for page in ["/console/history/diff?to=2", proposal.as_str()] {
        assert!(ann.page(page).contains(flag), "{page}");
    }
    drop(emil.client.page(&proposal));
}

#[test]
fn a_rule_refuses_passkeys_that_are_too_new() {
    let (repo, address) = serve();
    let mut dora = enrol(&repo, &address, "dora");
    let mut emil = enrol(&repo, &address, "emil");
    let mut ann = Client::signed_in(&repo);
    // The rules are changed with the signatures that they ask for.
    repo.write("environments/dev/environment.yaml", policy("{ count: 1, passkeyAge: 2h }"));
    let proposed = repo.run(&["plan", "dev", "--propose"]).code(0);
    let proposal = format!("/console/{}", proposed.stderr.trim().rsplit_once("/console/").unwrap().1);
    assert_eq!((dora.sign(&proposal).status, emil.sign(&proposal).status), (303, 303));
    let page = ann.page(&proposal);
    let applied = send_on(&mut ann, &format!("{proposal}/apply"), &page, &[]);
    assert_eq!(applied.status, 303, "{}", applied.body);

    let proposal = propose(&mut ann, "invoices");
    assert!(ann.page(&proposal).contains("by passkeys that are at least 2h old"));
    let before = refusals(&repo);
    let refused = dora.sign(&proposal);
    assert!(refused.body.contains("MW0326") && refused.body.contains("is not 2h old"), "{}", refused.body);
    assert_eq!(refusals(&repo), before + 1);
    assert!(ann.page(&proposal).contains("Missing:"));
}

#[test]
fn a_namesake_does_not_withdraw_a_proposal() {
    let (repo, address) = serve();
    let mut dora = enrol(&repo, &address, "dora");
    let proposal = propose(&mut dora.client, "invoices");
    let token = repo.run(&["token", "create", "dev", "--name", "dora", "--role", "planner"]).code(0).stdout;
    let mut namesake = Client::new(&repo);
    namesake.sign_in(token.trim());
    assert!(!namesake.page(&proposal).contains(">Reject</button>"));
    let refused = namesake.post(&format!("{proposal}/reject"), &[("reason", "mine")]);
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert_eq!(dora.client.post(&format!("{proposal}/reject"), &[("reason", "")]).status, 303, "withdrawn");
}

/// Two persons who may do everything, in an environment whose console only proposes, where one signature is needed.
fn two_persons(self_approval: bool) -> (TestRepository, Person, Person) {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.write(
        "environments/dev/environment.yaml",
        format!(
            "companies: [EDU1]\npolicy:\n  console: propose\n  approvals:\n    signers: [{{ name: dora, operator: dora }}, {{ name: emil, operator: emil }}]\n    selfApproval: {self_approval}\n    rules: [{{ count: 1 }}]\n"
        ),
    );
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let address = repo.address().replace("127.0.0.1", "localhost");
    let (dora, emil) = (enrol_as(&repo, &address, "dora", "admin"), enrol_as(&repo, &address, "emil", "admin"));
    (repo, dora, emil)
}

#[test]
fn two_persons_are_enough_where_changes_are_proposed_and_signed() {
    let (repo, mut dora, mut emil) = two_persons(false);
    let proposal = propose(&mut dora.client, "invoices");
    let apply = |client: &mut Client, proposal: &str| {
        let fields = [("planned", "1"), ("accept-unverified", "yes"), ("reason", "no server here")];
        client.post(&format!("{proposal}/apply"), &fields)
    };
    let refused = apply(&mut dora.client, &proposal);
    assert!(refused.status == 403 && refused.body.contains("MW0395"), "{}", refused.body);
    assert!(dora.client.page(&proposal).contains("This is your proposal"));
    assert!(emil.client.page(&proposal).contains("It can be applied when all signatures are there"));
    assert_eq!(emil.sign(&proposal).status, 303);
    // The signature of the one who looks at it counts, and is shown so; the other one applies.
    let page = emil.client.page(&proposal);
    assert!(page.contains("You have signed this proposal") && !page.contains("Missing:"), "{page}");
    assert!(!page.contains("another signer must approve it") && !page.contains("Continue to sign"), "{page}");
    assert!(!page.contains("Sign with an SSH key"), "no signer has one: {page}");
    let refused = apply(&mut emil.client, &proposal);
    assert!(refused.status == 403, "{}", refused.body);
    assert!(dora.client.page(&proposal).contains(">Apply</button>"));
    assert_eq!(apply(&mut dora.client, &proposal).status, 303);
    assert!(dora.client.page(&proposal).contains("Open the profile invoices"));
    let history = repo.run(&["history", "dev"]).code(0).stdout;
    assert!(history.contains("emil approved"), "{history}");
}

#[test]
fn an_own_signature_does_not_replace_the_other_person() {
    let (_repo, mut dora, mut emil) = two_persons(true);
    let proposal = propose(&mut dora.client, "invoices");
    assert_eq!(dora.sign(&proposal).status, 303, "the environment lets a proposer approve");
    let fields = [("planned", "1"), ("accept-unverified", "yes"), ("reason", "no server here")];
    let refused = dora.client.post(&format!("{proposal}/apply"), &fields);
    assert!(refused.status == 403 && refused.body.contains("MW0395"), "{}", refused.body);
    assert!(dora.client.page(&proposal).contains("This is your proposal"));
    assert_eq!(emil.client.post(&format!("{proposal}/apply"), &fields).status, 303);
}
