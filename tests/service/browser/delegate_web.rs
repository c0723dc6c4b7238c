//! Mail from the mailbox of a signed-in person, by the pages of the console and by the sample pages for web clients: the person
//! signs in at the sandbox's Entra, messages are sent once or wait, and no token for Graph reaches the service.

use std::{fs, net::TcpListener, path::Path};

use serde_json::{Value, json};

use crate::support::{
    browser::run_script,
    repository::TestRepository,
    sandbox::{Sandbox, SigningCertificate, WEB, good},
};

const TENANT_ID: &str = "0c0ffee0-0000-4000-8000-000000000001";

/// A service with a delegate profile for browsers, and the sandbox that its persons sign in to.
struct Web {
    sandbox: Sandbox,
    repo: TestRepository,
    /// The port of the proxy in front of the service, and that of the web client of the ERP system.
    ports: [u16; 2],
}

/// Returns ports that are free.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Returns the scenario. Everything is consented to, or sending is not.
fn scenario(consented: bool) -> Value {
    let mut scenario = good();
    let web = &mut scenario["tenants"][0]["applications"][2];
    assert_eq!(web["client"], WEB);
    web["redirects"]["spa"] = json!(["https://localhost/console/delegate", "http://localhost/erp"]);
    if !consented {
        web["consented"] = json!(["User.Read"]);
    }
    scenario
}

/// Returns the object id of a user, which the sandbox derives from the name.
fn object_id(user: &str) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(format!("{TENANT_ID}/{user}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Uuid::new_v8(bytes).to_string()
}

impl Web {
    fn new(consented: bool) -> Self {
        let sandbox = Sandbox::start(scenario(consented));
        let ports = free_ports();
        let mut repo = TestRepository::empty();
        repo.write(
            "environments/dev/environment.yaml",
            "companies: [EDU1, EDU2]\nunserved: [{ reason: not in use }]\n",
        );
        let profile = json!({
            "provider": { "microsoft-graph-delegate": {
                "cloud": { "custom": { "signIn": sandbox.running.address, "graph": sandbox.running.address } },
                "tenant": "contoso.example", "client": WEB, "platform": "spa",
                "redirect": format!("https://localhost:{}/console/delegate", ports[0]),
            } },
            "functions": ["user-interface"], "appliesTo": "system-wide",
        });
        repo.write("environments/dev/profiles/web.json", profile.to_string());
        repo.write(
            "oidc.yaml",
            format!(
                "issuers:\n  - issuer: {}/{TENANT_ID}/v2.0\n    delegates: true\n    delegateOrigins: [\"http://localhost:{}\"]\n",
                sandbox.running.address, ports[1]
            ),
        );
        repo.write("ca.pem", &sandbox.running.authority);
        let (oidc, ca) = (repo.path("oidc.yaml"), repo.path("ca.pem"));
        repo.serve_with(&["--oidc", oidc.to_str().unwrap(), "--outgoing-ca-file", ca.to_str().unwrap()]);
        repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
        Self { sandbox, repo, ports }
    }

    fn run(&self, task: &str) -> Value {
        let proxy = SigningCertificate::new();
        run_script(
            "delegate_web.mjs",
            &json!({
                "task": task, "service": self.repo.address(), "token": self.repo.token(), "port": self.ports[0],
                "erp": self.ports[1], "certificate": proxy.certificate, "key": proxy.key,
                "sandbox": self.sandbox.running.address, "consented": scenario(true), "client": WEB,
                "alice": { "tenant": TENANT_ID, "object": object_id("alice@contoso.example") },
                "examples": Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"),
            }),
        )
    }

    /// Asserts that no token for Graph reached the service: neither in a request, nor in its files, its log or its answers.
    fn assert_no_token(&self, result: &Value) {
        let tokens: Vec<&str> =
            result["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
        assert!(tokens.len() >= 4 && tokens[0].len() > 30, "{tokens:?}");
        assert!(result["requests"].as_u64().unwrap() > 20);
        assert_eq!(result["disclosed"], 0, "a token for Graph was sent to the service");
        let log = self.repo.service_log();
        let audit = self.repo.http("GET", "/v1/audit?limit=1000", &[], b"").body;
        let mut places = vec![("log".to_owned(), log.into_bytes()), ("audit".to_owned(), audit.into_bytes())];
        files_below(&self.repo.path(".data"), &mut places);
        assert!(places.len() > 3);
        for (place, bytes) in &places {
            let has = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
            // Not even an ID token is kept; `eyJ` begins every token of the sandbox but refresh tokens.
            assert!(!has(b"eyJ"), "{place} has a token");
            assert!(tokens.iter().all(|token| !has(token.as_bytes())), "{place} has a token for Graph");
        }
        assert_eq!(result["violations"], json!([]));
    }

    fn audit(&self, id: &str) -> Vec<Value> {
        let audit = self.repo.http("GET", "/v1/audit?limit=1000", &[], b"").json();
        let of_message = |entry: &&Value| entry["detail"]["message"] == id;
        audit["entries"].as_array().unwrap().iter().filter(of_message).cloned().collect()
    }
}

fn files_below(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn an_invoice_is_composed_and_leaves_from_the_mailbox_of_the_person() {
    let web = Web::new(false);
    let result = web.run("compose");
    // The sign-in asks for the person alone, the first message for the permission to send.
    let asked = |name: &str| text(&result[name][0]).to_owned();
    assert!(!asked("identified").contains("Mail.") && asked("identified").contains("profile"), "{result}");
    assert!(asked("asked").contains("Mail.Send") && !asked("asked").contains("Mail.ReadWrite"), "{}", asked("asked"));
    let hosts = web.sandbox.running.address.trim_end_matches('/');
    let policy = text(&result["policy"]);
    assert!(policy.contains(&format!("connect-src 'self' {hosts} {hosts}; ")), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("script-src 'self'; "), "{policy}");
    assert_eq!((&result["accessible"], &result["stored"]), (&json!([]), &json!(0)));
    // Without consent the message waits, and the administrator's link is shown.
    assert!(
        text(&result["withoutConsent"]["consent"]).contains("/contoso.example/adminconsent?client_id="),
        "{result}"
    );
    assert_eq!((&result["withoutConsent"]["mails"], &result["waiting"]), (&json!(0), &json!("awaiting-sender")));
    let mails = result["mails"].as_array().unwrap();
    assert_eq!(
        (mails.len(), &mails[0]["from"], &mails[0]["by"]),
        (1, &json!("alice@contoso.example"), &json!("graph"))
    );
    let mime = text(&mails[0]["mail"]["mime"]);
    let message = &result["message"];
    let own = format!("Message-ID: {}", text(&message["messageId"]));
    for part in ["From: alice@contoso.example", "Bcc: quiet@example.org", "filename=\"invoice.pdf\"", "second@", &own] {
        assert!(mime.contains(part), "{part}: {}", &mime[..600]);
    }
    assert!(mime.len() > 2_600_000);
    assert_eq!((&message["status"], &message["sender"]["proof"]), (&json!("delivered"), &json!("id-token")));
    // The pages and the audit log say who sent it, and by which client.
    assert!(text(&result["page"]).contains("alice@contoso.example"), "{}", result["page"]);
    let entries = web.audit(text(&message["id"]));
    let actions: Vec<&str> = entries.iter().map(|entry| text(&entry["action"])).collect();
    for action in ["message.compose", "delegate.begin", "delegate.report"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    let report = entries.iter().find(|entry| entry["action"] == "delegate.report").unwrap();
    assert_eq!((&report["detail"]["client"], &report["detail"]["outcome"]), (&json!("spa"), &json!("sent")));
    assert!(!text(&report["detail"]["requestId"]).is_empty() && text(&report["actor"]).contains("alice"), "{report}");
    assert_eq!(result["composed"], 2);
    assert!(text(&result["refused"]).contains("MW0"), "{}", result["refused"]);
    web.assert_no_token(&result);
}

#[test]
fn whatever_goes_wrong_a_message_is_sent_once_or_waits() {
    let web = Web::new(true);
    let result = web.run("refusals");
    // The page of another account has the refusal, and nothing of the message.
    let mismatch = &result["mismatch"];
    assert!(text(&mismatch["problem"]).contains("documents@contoso.example"), "{mismatch}");
    assert!(!text(&mismatch["page"]).contains("For Alice alone") && !text(&mismatch["page"]).contains("customer@"));
    assert!(text(&result["listed"]).contains("For Alice alone"), "{}", result["listed"]);
    assert_eq!((&result["accessible"], &result["wide"]), (&json!([]), &json!([])));
    let redirects = result["challenge"]["redirects"].as_array().unwrap();
    assert!(redirects.len() == 1 && text(&redirects[0]).contains("1700000000"), "{redirects:?}");
    let message = &result["challenge"]["message"];
    assert_eq!((&message["status"], &message["sender"]["epoch"]), (&json!("delivered"), &json!(2)));
    assert_eq!(result["challenge"]["mails"], 1);
    assert_eq!(result["twice"], json!({ "redirects": 1, "status": "awaiting-sender" }));
    assert_eq!(result["day"], 1);
    assert_eq!(result["tabs"]["mails"], 1, "{}", result["tabs"]);
    let sent =
        result["tabs"]["outcomes"].as_array().unwrap().iter().filter(|shown| text(shown).contains("Sent: Two tabs"));
    assert_eq!(sent.count(), 1, "{}", result["tabs"]);
    assert_eq!(result["failed"], "failed");
    assert_eq!((&result["lost"], &result["found"]), (&json!("unknown"), &json!("delivered")));
    assert_eq!(result["attachments"], json!([2]));
    let large = &result["large"];
    let command = format!("mailwright delegate run dev --tenant contoso.example --application {WEB}");
    assert!(text(&large["problem"]).contains(&command) && text(&large["problem"]).contains("large.bin"), "{large}");
    assert_eq!((&large["status"], &result["cancelled"]), (&json!("awaiting-sender"), &json!("cancelled")));
    assert_eq!(result["closed"], json!({ "status": "sending", "mails": 0 }));
    web.assert_no_token(&result);
}

#[test]
fn the_sample_pages_open_the_console_and_use_the_lease_api_themselves() {
    for file in ["delegate-open-console.html", "delegate-own-sign-in.html"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file)).unwrap();
        assert!(text.lines().count() <= 60, "{file}");
    }
    let web = Web::new(true);
    let result = web.run("samples");
    assert!(text(&result["log"]).contains("By the ERP: sent"), "{}", result["log"]);
    assert_eq!((&result["byConsole"], &result["byErp"]), (&json!("delivered"), &json!("delivered")));
    // Without a token the answer is 401, and only the named origin may read it.
    assert_eq!((&result["reach"], &result["mails"]), (&json!([401, "blocked", "blocked"]), &json!(2)));
    web.assert_no_token(&result);
}
