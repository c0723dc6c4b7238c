//! Requests for signature by mail, followed to the mailbox: who gets one, what its link opens, one reminder, and nothing for a
//! person who was removed.

use serde_json::Value;

use super::{
    client::Client,
    edit::{NEW, plan, send_on, with},
};
use crate::{
    oidc::faketime,
    support::{
        passkey_device::{PasskeyDevice, options},
        repository::TestRepository,
        sandbox::{PASSWORD, Sandbox, good, smtp},
    },
};

const PUBLIC: &str = "https://mail.example.com";
const POLICY: &str = "\
companies: [EDU1]
unserved: [{ reason: trial }]
policy:
  approvals:
    signers:
      - { name: dora, operator: dora, email: dora@contoso.example }
      - { name: emil, operator: Emil, email: emil@contoso.example }
      - { name: frank, operator: frank, email: frank@contoso.example }
      - { name: gina, operator: gina }
    rules:
      - { count: 2 }
";

struct Setup {
    repo: TestRepository,
    sandbox: Sandbox,
    offset: std::path::PathBuf,
}

impl Setup {
    /// A service that sends `electronic-signatures` through the sandbox's mail server, with a clock that is set.
    fn new() -> Self {
        Self::with(POLICY)
    }

    fn with(policy: &str) -> Self {
        let sandbox = Sandbox::start(good());
        let mut repo = TestRepository::empty();
        repo.write("secrets/dev/recipients.txt", include_str!("../../../secrets/dev/recipients.txt"));
        repo.write("secrets/dev/demo-identity.txt", include_str!("../../../secrets/dev/demo-identity.txt"));
        let relay = smtp().to_string().replace("\"SMTP\"", &sandbox.running.smtp.port().to_string());
        repo.write(
            "environments/dev/profiles/relay.json",
            relay.replace("[\"default\"]", "[\"electronic-signatures\"]"),
        );
        repo.write("environments/dev/environment.yaml", policy);
        repo.write("ca.pem", &sandbox.running.authority);
        repo.pipe(&["secrets", "set", "dev", "relay/password"], PASSWORD.as_bytes()).code(0);
        let (ca, offset) = (repo.path("ca.pem"), repo.path("offset"));
        let before = faketime(&offset);
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        repo.serve_under(&before, &["--demo", "--public-url", PUBLIC, "--outgoing-ca-file", ca.to_str().unwrap()]);
        repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
        for name in ["dora", "Emil", "frank", "gina"] {
            repo.run(&["operator", "add", "dev", "--name", name, "--role", "planner"]).code(0);
        }
        Self { repo, sandbox, offset }
    }

    /// Proposes a profile of this name, and returns the path of the proposal.
    fn propose(&self, name: &str) -> String {
        let mut ann = Client::signed_in(&self.repo);
        let page = plan(&mut ann, &with(NEW, &[("name", name)]));
        let answer = send_on(&mut ann, "/console/plan/propose", &page, &[("reason", "")]);
        assert_eq!(answer.status, 303, "{}", answer.body);
        answer.header("location").unwrap().to_owned()
    }

    /// Returns the mail that has arrived, as recipient and text, once there is this number.
    fn wait_for_mail(&self, number: usize) -> Vec<(String, String)> {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
        loop {
            let mail = self.sandbox.get("mail");
            let mail = mail.as_array().unwrap();
            if mail.len() >= number {
                return mail.iter().map(read).collect();
            }
            assert!(std::time::Instant::now() < until, "{mail:#?}\n{}", self.repo.service_log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn set_clock(&self, ahead: &str) {
        std::fs::write(&self.offset, ahead).unwrap();
    }
}

fn read(mail: &Value) -> (String, String) {
    let to = mail["mail"]["to"].as_array().unwrap();
    assert_eq!(to.len(), 1, "each signer gets a mail of its own: {mail}");
    let text = mail["mail"]["mime"].as_str().unwrap().replace("=\r\n", "").replace("=3D", "=");
    (to[0].as_str().unwrap().to_owned(), text)
}

fn recipients(mail: &[(String, String)]) -> Vec<&str> {
    let mut recipients: Vec<&str> = mail.iter().map(|(to, _)| to.as_str()).collect();
    recipients.sort_unstable();
    recipients
}

#[test]
fn signers_get_a_mail_whose_link_opens_the_proposal_and_one_reminder() {
    let setup = Setup::new();
    let repo = &setup.repo;
    repo.run(&["operator", "remove", "dev", "frank", "--yes"]).code(0);
    let proposal = setup.propose("invoices");
    let mail = setup.wait_for_mail(2);
    assert_eq!(recipients(&mail), ["dora@contoso.example", "emil@contoso.example"]);
    let (_, text) = &mail[0];
    assert!(text.contains("Subject: Signature needed: invoices in dev"), "{text}");
    assert!(!text.contains("billing@"), "no details of the change: {text}");
    let link = text.split_whitespace().find(|word| word.starts_with(PUBLIC)).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(link, format!("{PUBLIC}{proposal}"));
    // The link asks a person who is not signed in to do that first, and opens the page of the proposal.
    let path = link.strip_prefix(PUBLIC).unwrap();
    let mut dora = Client::new(repo);
    let sent_on = dora.get(path);
    assert!(sent_on.status == 303 && sent_on.header("location").unwrap().contains(path), "{}", sent_on.head);
    let enrolment = repo.run(&["operator", "link", "dev", "dora"]).code(0).stdout;
    let page = dora.post("/console/enroll", &[("code", enrolment.trim().split_once('#').unwrap().1)]);
    let answer = PasskeyDevice::new(PUBLIC).create(&options(&page.body));
    assert_eq!(dora.post("/console/enroll/passkey", &[("answer", &answer), ("label", "Laptop")]).status, 303);
    let page = dora.page(path);
    assert!(page.contains("invoices") && page.contains("I approve it"), "{page}");
    let audit = repo.run(&["audit", "list", "dev", "--action", "proposal.request", "--format", "json"]).code(0).stdout;
    assert!(audit.contains("withoutAddress") && audit.contains("gina"), "{audit}");

    // A day later, once. By then another one was removed.
    repo.run(&["operator", "remove", "dev", "emil", "--yes"]).code(0);
    setup.set_clock("+25h");
    let mail = setup.wait_for_mail(3);
    assert_eq!(recipients(&mail[2..]), ["dora@contoso.example"]);
    assert!(mail[2].1.contains(&format!("{PUBLIC}{proposal}")), "{}", mail[2].1);
    // The search that reminds of a second proposal finds the first one again, and reminds of it no more.
    let second = setup.propose("orders");
    assert_eq!(recipients(&setup.wait_for_mail(4)[3..]), ["dora@contoso.example"]);
    setup.set_clock("+50h");
    let mail = setup.wait_for_mail(5);
    assert!(mail[4].1.contains(&second), "{}", mail[4].1);
    assert_eq!(mail.len(), 5, "{:?}", recipients(&mail));
    let reminders =
        repo.run(&["audit", "list", "dev", "--action", "proposal.remind", "--format", "json"]).code(0).stdout;
    assert_eq!(reminders.matches("proposal.remind").count(), 2, "{reminders}");
}

#[test]
fn a_proposal_whose_time_is_over_cannot_be_signed_and_is_closed() {
    let setup = Setup::with(&POLICY.replace("  approvals:\n", "  approvals:\n    expiresIn: 1h\n"));
    let repo = &setup.repo;
    let proposal = setup.propose("invoices");
    let id = proposal.rsplit('/').next().unwrap();
    let read = || repo.http("GET", &format!("/v1/proposals/{id}"), &[], b"").json()["proposal"].clone();
    assert_eq!(read()["status"], "open");
    let enrolment = repo.run(&["operator", "link", "dev", "dora"]).code(0).stdout;
    let mut dora = Client::new(repo);
    let page = dora.post("/console/enroll", &[("code", enrolment.trim().split_once('#').unwrap().1)]);
    let answer = PasskeyDevice::new(PUBLIC).create(&options(&page.body));
    assert_eq!(dora.post("/console/enroll/passkey", &[("answer", &answer), ("label", "Laptop")]).status, 303);
    let before = dora.page(&proposal);
    assert!(before.contains("I approve it") && before.contains("can be signed and applied until"), "{before}");

    // Less than the idle time of a session, so the clock is set twice.
    for ahead in ["+20m", "+40m", "+61m"] {
        setup.set_clock(ahead);
        dora.page("/console/proposals");
    }
    let late = dora.page(&proposal);
    assert!(!late.contains("I approve it") && !late.contains("/apply\" class=\"primary\""), "{late}");
    let fields = [("meaning", "approved"), ("reason", "late"), ("offset", "60")];
    let refused = dora.post(&format!("{proposal}/sign"), &fields);
    assert!(refused.body.contains("MW0313") || refused.body.contains("MW0397"), "{}", refused.body);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    loop {
        let found = read();
        if found["status"] == "rejected" {
            assert_eq!(found["decidedBy"], "(service)", "{found}");
            break;
        }
        assert_eq!(found["status"], "expired");
        assert!(std::time::Instant::now() < until, "{}", repo.service_log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let audit = repo.run(&["audit", "list", "dev", "--action", "proposal.expire", "--format", "json"]).code(0).stdout;
    assert!(audit.contains(id), "{audit}");
}
