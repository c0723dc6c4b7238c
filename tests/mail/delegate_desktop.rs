//! `mailwright delegate` at a desktop: sign-in with the browser or a device code, mail from the person's own mailbox, and what
//! follows if Graph refuses, the person signs in with another account, or the program ends: no mail is sent twice, lost, or sent
//! as another person.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    delegate::under_clock,
    mail_service::{DEADLINES, MailService, PATIENCE, QUICK},
    sink::Sink,
    support::{
        repository::{CommandOutput, TestRepository, run_command},
        sandbox::{DESKTOP, Sandbox, TENANT, delegate, good},
    },
};

const TENANT_ID: &str = "0c0ffee0-0000-4000-8000-000000000001";
pub(crate) const ALICE: &str = "alice@contoso.example";

/// A service with a delegate profile, the sandbox that its persons sign in to, and a relay that must get nothing.
pub(crate) struct Desktop {
    pub(crate) sandbox: Sandbox,
    pub(crate) service: MailService,
    sink: Sink,
}

pub(crate) fn scenario() -> Value {
    let mut scenario = good();
    scenario["tenants"][0]["approvesDeviceCodes"] = json!(ALICE);
    let desktop = &mut scenario["tenants"][0]["applications"][1];
    assert_eq!(desktop["client"], DESKTOP);
    desktop["redirects"]["publicClient"] = json!(["https://localhost", "http://localhost"]);
    scenario
}

impl Desktop {
    pub(crate) fn new() -> Self {
        Self::under(&[])
    }

    pub(crate) fn under(before: &[&str]) -> Self {
        Self::with(before, scenario())
    }

    pub(crate) fn with(before: &[&str], scenario: Value) -> Self {
        let sandbox = Sandbox::start(scenario);
        let sink = Sink::start();
        let mut service = MailService::unapplied(sink.port, QUICK, "");
        let profile = delegate(DESKTOP).to_string().replace("HERE", &sandbox.running.address);
        service.repo.write("environments/dev/profiles/desktop.json", profile);
        let issuer = format!("{}/{TENANT_ID}/v2.0", sandbox.running.address);
        service.repo.write("oidc.yaml", format!("issuers:\n  - issuer: {issuer}\n    delegates: true\n"));
        service.repo.write("ca.pem", &sandbox.running.authority);
        start(&mut service.repo, before);
        service.apply();
        Self { sandbox, service, sink }
    }

    pub(crate) fn command(&self, words: &[&str], more: &[&str]) -> Command {
        let mut command =
            self.service.repo.command(&[&["delegate"], words, &["--outgoing-ca-file", "ca.pem"], more].concat());
        let host = &self.sandbox.running.address;
        command.args(["--sign-in-host", host, "--graph-host", host]);
        command.env("MAILWRIGHT_DELEGATE_TENANT", TENANT).env("MAILWRIGHT_DELEGATE_APPLICATION", DESKTOP);
        command
    }

    pub(crate) fn send_command(&self, more: &[&str]) -> Command {
        let parts =
            ["--company", "EDU1", "--to", "customer@example.org", "--subject", "Invoice", "--text", "Attached."];
        self.command(&["send", "dev"], &[&parts, more].concat())
    }

    pub(crate) fn send(&self, more: &[&str]) -> CommandOutput {
        run_command(self.send_command(&[&["--device-code"], more].concat()))
    }

    pub(crate) fn run_once(&self) -> CommandOutput {
        run_command(self.command(&["run", "dev"], &["--once", "--device-code"]))
    }

    pub(crate) fn mails(&self) -> Vec<Value> {
        self.sandbox.get("mail").as_array().unwrap().clone()
    }

    /// The only message of the service.
    pub(crate) fn message(&self) -> Value {
        let found = self.service.repo.http("GET", "/v1/messages", &[], b"").json();
        assert_eq!(found["messages"].as_array().unwrap().len(), 1, "{found:#}");
        self.service.message(found["messages"][0]["id"].as_str().unwrap())
    }

    pub(crate) fn no_message(&self) {
        let found = self.service.repo.http("GET", "/v1/messages", &[], b"").json();
        assert!(found["messages"].as_array().unwrap().is_empty(), "{found:#}");
    }

    pub(crate) fn requests(&self, part: &str) -> usize {
        let requests = self.sandbox.get("requests");
        requests.as_array().unwrap().iter().filter(|request| request["path"].as_str().unwrap().contains(part)).count()
    }

    pub(crate) fn wait_for(&self, what: &str, done: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < until, "waited for {what}: {}", self.service.log());
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }
}

fn start(repo: &mut TestRepository, before: &[&str]) {
    let (oidc, ca) = (repo.path("oidc.yaml"), repo.path("ca.pem"));
    let more = ["--demo", "--oidc", oidc.to_str().unwrap(), "--outgoing-ca-file", ca.to_str().unwrap()];
    repo.serve_under(before, &[&more[..], &DEADLINES[..]].concat());
}

/// A program whose standard error is read while it runs.
pub(crate) fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Writes a file that no compression makes smaller.
pub(crate) fn file(folder: &Path, name: &str, size: usize) {
    let mut state = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(size)
    .collect();
    std::fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn mail_leaves_from_the_mailbox_of_the_person_with_small_and_large_attachments() {
    let desktop = Desktop::new();
    let folder = desktop.service.repo.path(".");
    file(&folder, "invoice.pdf", 2_000_000);
    file(&folder, "drawing.pdf", 5_000_000);
    let sent = desktop.send(&["--attach", "invoice.pdf", "--bcc", "quiet@example.org"]).code(0);
    assert!(sent.stdout.contains("delivered (desktop)"), "{}\n{}", sent.stdout, sent.stderr);
    let message = desktop.message();
    let mails = desktop.mails();
    assert_eq!((mails.len(), &mails[0]["from"], &mails[0]["by"]), (1, &json!(ALICE), &json!("graph")));
    let mime = mails[0]["mail"]["mime"].as_str().unwrap();
    let own = format!("Message-ID: {}", message["messageId"].as_str().unwrap());
    for part in ["From: alice@contoso.example", "Bcc: quiet@example.org", "filename=\"invoice.pdf\"", &own] {
        assert!(mime.contains(part), "{part}: {}", &mime[..600]);
    }
    assert_eq!((&message["status"], &message["sender"]["proof"]), (&json!("delivered"), &json!("id-token")));
    // By a draft and an upload session.
    desktop.send(&["--attach", "drawing.pdf"]).code(0);
    let mails = desktop.mails();
    assert_eq!((mails.len(), &mails[1]["from"]), (2, &json!(ALICE)));
    assert_eq!(mails[1]["mail"]["attachments"][0]["name"], "drawing.pdf");
    assert_eq!(mails[1]["mail"]["attachments"][0]["size"], 5_000_000);
    assert!(desktop.requests("createUploadSession") == 1 && desktop.requests("/v1.0/upload/") > 1);
    assert!(desktop.sink.received().is_empty());
    // Neither a token nor a code of the sandbox is in the service's data or in its log.
    let log = desktop.service.repo.service_log();
    assert!(!log.contains("eyJ"), "a token is in the log");
    assert_eq!(desktop.requests("grant"), 0);
    let audit = desktop.service.repo.http("GET", "/v1/audit?limit=1000", &[], b"").body;
    assert!(!audit.contains("eyJ") && audit.contains("delegate.report"), "{audit}");
}

#[test]
fn the_browser_signs_in_by_a_loopback_address_that_takes_its_own_answer_only() {
    let desktop = Desktop::new();
    // A browser that writes down its arguments.
    let (browser, opened) = (desktop.service.repo.path("browser.sh"), desktop.service.repo.path("opened"));
    std::fs::write(&browser, format!("#!/bin/sh\necho \"$@\" > {}\n", opened.display())).unwrap();
    std::fs::set_permissions(&browser, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = desktop.send_command(&["--user", ALICE]);
    command.env("BROWSER", &browser);
    let mut child = spawn(command);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let link =
        lines.find_map(|line| line.unwrap().strip_prefix("Sign in with the browser: ").map(str::to_owned)).unwrap();
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
    let authority = reqwest::Certificate::from_pem(desktop.sandbox.running.authority.as_bytes()).unwrap();
    let http = reqwest::Client::builder().add_root_certificate(authority).redirect(reqwest::redirect::Policy::none());
    let http = http.build().unwrap();
    let get = |address: String| {
        desktop.sandbox.runtime.block_on(async {
            let answer = http.get(address).send().await.unwrap();
            let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), location)
        })
    };
    // Other users of the machine see the arguments of the browser: they have nothing of the sign-in.
    desktop.wait_for("the browser", || std::fs::read_to_string(&opened).is_ok_and(|text| text.ends_with('\n')));
    assert_eq!(std::fs::read_to_string(&opened).unwrap().trim(), link);
    assert!(link.starts_with("http://127.0.0.1:") && link.contains("/start/") && !link.contains('?'), "{link}");
    let (status, address) = get(link.clone());
    assert_eq!(status, 302);
    let address = address.unwrap();
    // A second request for the link gets nothing.
    assert_eq!(get(link), (410, None));
    let asked: std::collections::BTreeMap<String, String> =
        reqwest::Url::parse(&address).unwrap().query_pairs().into_owned().collect();
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(asked["claims"].contains("cp1") && asked["scope"].contains("offline_access"), "{asked:?}");
    let loopback = asked["redirect_uri"].replace("localhost", "127.0.0.1");
    // A forged answer, and a request for something else, are not taken.
    assert_eq!(get(format!("{loopback}?code=forged&state=forged")).0, 400);
    assert_eq!(get(format!("{loopback}favicon.ico")).0, 404);
    let (status, location) = get(address);
    assert!((300..400).contains(&status), "{status}");
    assert_eq!(get(location.unwrap().replace("localhost", "127.0.0.1")).0, 200);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", rest.join().unwrap());
    assert_eq!((desktop.mails().len(), &desktop.message()["status"]), (1, &json!("delivered")));
}

#[test]
fn another_account_is_refused_before_anything_is_submitted() {
    let desktop = Desktop::new();
    let refused = desktop.send(&["--user", "documents@contoso.example"]).code(1);
    assert!(
        refused.stderr.contains("MW0437") && refused.stderr.contains("signed in as alice@contoso.example"),
        "{}",
        refused.stderr
    );
    desktop.no_message();
    // Without consent the administrator's link is printed.
    let mut without = scenario();
    without["tenants"][0]["applications"][1]["consented"] = json!([]);
    desktop.sandbox.put(&without);
    let refused = desktop.send(&[]).code(1);
    let link = format!("/{TENANT}/adminconsent?client_id={DESKTOP}");
    assert!(refused.stderr.contains("MW0437") && refused.stderr.contains(&link), "{}", refused.stderr);
    desktop.no_message();
    assert!(desktop.mails().is_empty());
}

#[test]
fn login_shows_the_account_and_keeps_nothing() {
    let desktop = Desktop::new();
    let shown = run_command(desktop.command(&["login", "dev"], &["--device-code"])).code(0);
    assert!(shown.stdout.contains("signed in as") && shown.stdout.contains(ALICE), "{}", shown.stdout);
    let document =
        run_command(desktop.command(&["login", "dev"], &["--device-code", "--format", "json"])).code(0).json();
    assert_eq!(document["address"], ALICE, "{document:#}");
    assert!(!document.to_string().contains("eyJ"));
}

#[test]
fn consent_that_is_withdrawn_and_a_demand_for_a_new_sign_in_lose_no_message() {
    let desktop = Desktop::new();
    // Consent is withdrawn after the sign-in.
    desktop.sandbox.fault(&json!({ "at": "/me/sendMail", "status": 403, "code": "ErrorAccessDenied", "times": 1 }));
    let refused = desktop.send(&[]).code(1);
    assert!(refused.stderr.contains("MW0438") && refused.stderr.contains("adminconsent"), "{}", refused.stderr);
    assert_eq!(desktop.message()["status"], "awaiting-sender");
    assert!(desktop.mails().is_empty());
    // Graph demands other claims: one new sign-in, and the message leaves.
    let claims = json!({ "access_token": { "nbf": { "essential": true, "value": "1700000000" } } });
    desktop.sandbox.fault(&json!({ "at": "/me/sendMail", "claims": claims, "times": 1 }));
    let sent = desktop.run_once().code(0);
    assert!(sent.stdout.contains("delivered"), "{}\n{}", sent.stdout, sent.stderr);
    assert_eq!((desktop.mails().len(), &desktop.message()["status"]), (1, &json!("delivered")));
    assert_eq!(desktop.message()["sender"]["epoch"], 3);
    // A refusal of the message itself ends it.
    desktop
        .sandbox
        .fault(&json!({ "at": "/me/sendMail", "status": 400, "code": "ErrorInvalidRecipients", "times": 1 }));
    desktop.send(&[]).code(1);
    assert_eq!(desktop.mails().len(), 1);
    assert_eq!(desktop.service.outbox()["messages"]["failed"], 1);
}

#[test]
fn an_answer_that_is_lost_is_looked_for_in_sent_items() {
    let mut blind = scenario();
    blind["tenants"][0]["applications"][1]["consented"] = json!(["Mail.Send", "User.Read"]);
    let desktop = Desktop::with(&[], blind);
    let lost = json!({ "at": "/me/sendMail", "reset": true, "after": true, "times": 1 });
    desktop.sandbox.fault(&lost);
    desktop.send(&["--attach", "oidc.yaml"]).code(6);
    // Without consent to `Mail.ReadWrite` the helper cannot look, so that the outcome is unknown.
    assert_eq!((desktop.mails().len(), &desktop.message()["status"]), (1, &json!("unknown")));
    // With it, a later run finds the message, and the person is not asked.
    desktop.sandbox.put(&scenario());
    let found = desktop.run_once().code(0);
    assert!(found.stdout.contains("delivered"), "{}", found.stderr);
    let history = desktop.message()["history"].clone();
    assert!(history.to_string().contains("found in Sent Items, sent at"), "{history:#}");
    desktop.sandbox.fault(&lost);
    let found = desktop.send(&["--attach", "oidc.yaml"]).code(0);
    assert!(found.stdout.contains("delivered"), "{}", found.stderr);
    assert_eq!(desktop.mails().len(), 2);
    // It was not carried out, which cannot be known; it is not sent again.
    desktop.sandbox.fault(&json!({ "at": "/me/sendMail", "reset": true, "times": 1 }));
    desktop.send(&["--attach", "oidc.yaml"]).code(6);
    desktop.run_once().code(0);
    assert_eq!((desktop.mails().len(), &desktop.service.outbox()["messages"]["unknown"]), (2, &json!(1)));
}

#[test]
fn a_helper_that_is_killed_while_it_sends_leaves_the_outcome_unknown_and_sends_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    let words = under_clock(&offset);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Killed before Graph has carried the request out, and afterwards.
    let ends = [
        json!({ "at": "/me/sendMail", "delay": 600_000, "times": 1 }),
        json!({ "at": "/me/sendMail", "delay": 600_000, "after": true, "times": 1 }),
    ];
    for (fault, arrived) in ends.iter().zip([0, 1]) {
        let desktop = Desktop::under(&words);
        desktop.sandbox.fault(fault);
        let mut child = spawn(desktop.send_command(&["--device-code"]));
        desktop.wait_for("the lease", || desktop.service.outbox()["messages"]["sending"] == 1);
        if arrived == 1 {
            desktop.wait_for("the mail", || desktop.mails().len() == 1);
        } else {
            desktop.wait_for("the request", || desktop.sandbox.get("faults").to_string().contains("\"times\":0"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Another helper of the person cannot have it meanwhile.
        desktop.run_once().code(0);
        assert_eq!((desktop.mails().len(), &desktop.message()["status"]), (arrived, &json!("sending")));
        std::fs::write(&offset, "+301").unwrap();
        desktop.wait_for("the end of the lease", || {
            desktop.run_once().code(0);
            desktop.message()["status"] != "sending"
        });
        // It is found in Sent Items if it is there, and is not sent otherwise.
        let ended = if arrived == 1 { "delivered" } else { "unknown" };
        desktop.wait_for("the outcome", || {
            desktop.run_once().code(0);
            desktop.message()["status"] == ended
        });
        assert_eq!(desktop.mails().len(), arrived);
        std::fs::write(&offset, "+0").unwrap();
    }
}

#[test]
fn two_helpers_send_each_message_once_and_named_messages_only_when_asked() {
    let desktop = Desktop::new();
    // What another program names for the person is not sent without the person's word.
    let object = run_command(desktop.command(&["login", "dev"], &["--device-code", "--format", "json"])).code(0).json();
    let person = object["person"].clone();
    for _ in 0..4 {
        let message = json!({
            "company": "EDU1", "function": "user-interface", "client": "native", "to": ["a@example.org"],
            "subject": "Named", "text": "x", "sender": person,
        });
        let answer = desktop.service.repo.http("POST", "/v1/messages", &[], message.to_string().as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    let listed = desktop.run_once().code(0);
    assert!(listed.stderr.contains("--include-named") && desktop.mails().is_empty(), "{}", listed.stderr);
    let helpers: Vec<Child> = (0..2)
        .map(|_| spawn(desktop.command(&["run", "dev"], &["--once", "--device-code", "--include-named"])))
        .collect();
    for helper in helpers {
        let ended = helper.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let ids: std::collections::BTreeSet<String> = desktop
        .mails()
        .iter()
        .map(|mail| {
            let mime = mail["mail"]["mime"].as_str().unwrap().to_owned();
            mime.lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned()
        })
        .collect();
    assert_eq!((desktop.mails().len(), ids.len()), (4, 4));
    assert_eq!(desktop.service.outbox()["messages"]["delivered"], 4);
}
