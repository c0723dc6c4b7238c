//! A secret is rotated: the next value is tried first and used once it is accepted; while it is refused the current one
//! is used, and no message pays for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    graph,
    login::events,
    mail_service::{LOGIN, MailService, QUICK, count, relay},
    sink::{Action, Sink},
    support::sandbox::{SECRET, Sandbox, SigningCertificate, good},
};

const OLD: &str = "Canary-Old-q81Xw7Pd";
const NEW: &str = "Canary-New-z55Tb2Kf";

fn start_service(sink: &Sink) -> MailService {
    MailService::with_password(sink.port, QUICK, "none", Some(OLD))
}

/// Stages the next value, and applies it.
fn stage(service: &MailService, value: &str) {
    service.repo.pipe(&["secrets", "rotate", "dev", "relay/login"], value.as_bytes()).code(0);
    let plan = service.repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("provider.smtp.password.next = relay/login (next secret staged)"), "{plan}");
    service.apply();
}

fn finish(service: &MailService) -> crate::support::repository::CommandOutput {
    service.repo.run(&["secrets", "rotate", "dev", "relay/login", "--finish"])
}

fn has_state(outbox: &Value, standing: &str) -> bool {
    outbox["rotations"][0]["standing"] == standing
}

/// Returns the types of events, without deliveries.
fn rotation_events(service: &MailService) -> Vec<String> {
    let all = events(service);
    let kinds = all.iter().filter_map(|event| event["type"].as_str()).filter(|kind| *kind != "delivered");
    kinds.map(str::to_owned).collect()
}

fn send_all(service: &MailService, count: usize) {
    let ids: Vec<String> = (0..count).map(|_| service.send(json!({}))).collect();
    for id in ids {
        let message = service.wait(&id, "delivered");
        assert_eq!(message["attempts"], 1, "no message pays for a rotation: {message:#}");
        assert!(message["possibleDuplicate"].is_null());
    }
}

/// Asserts that no value is in the responses, the log or the events.
fn assert_no_secret_leaks(service: &MailService) {
    let log = service.repo.service.as_ref().unwrap().log.lock().unwrap().clone();
    let answers = ["/v1/state", "/v1/outbox", "/v1/verify", "/v1/audit"]
        .map(|path| service.repo.http("GET", path, &[], b"").body);
    let recorded = format!("{:?}", events(service));
    for text in answers.iter().chain([&log, &recorded]) {
        assert!(!text.contains(OLD) && !text.contains(NEW), "{text}");
    }
    let store = std::fs::read_dir(service.repo.path(".data")).unwrap();
    for file in store.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        let has = |canary: &str| bytes.windows(canary.len()).any(|part| part == canary.as_bytes());
        assert!(!has(OLD) && !has(NEW), "{}", file.display());
    }
}

#[test]
fn the_next_value_is_used_once_it_is_accepted() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD), ("mailer", NEW)]);
    let mut service = start_service(&sink);
    send_all(&service, 1);
    stage(&service, NEW);
    // No message is needed for that.
    service.wait_outbox("the promotion", |outbox| has_state(outbox, "promoted"));
    send_all(&service, 5);
    assert_eq!(sink.passwords_used()[1..], [NEW; 5], "from then on only it is used");
    assert_eq!(rotation_events(&service), ["rotated"]);
    let status = service.repo.run(&["secrets", "rotate", "--status"]).code(0).stdout;
    assert!(status.contains("promoted") && status.contains("rotate dev relay/login --finish"), "{status}");
    assert!(service.repo.run(&["status", "dev"]).code(0).stdout.contains("has been in use since"));
    service.repo.run(&["drift", "dev"]).code(0);
    assert_no_secret_leaks(&service);

    // Also after kill -9.
    let before = sink.logins().len();
    service.restart();
    assert!(has_state(&service.outbox(), "promoted"));
    send_all(&service, 2);
    assert!(sink.logins()[before..].iter().all(|(password, _)| password == NEW), "{:?}", &sink.logins()[before..]);

    // A change that has nothing to do with it does not start it again.
    relay(&service.repo, "relay", sink.port, LOGIN, "description: another\n");
    service.apply();
    send_all(&service, 1);
    assert_eq!(rotation_events(&service), ["rotated"]);

    // The file moves, and the service has it already.
    finish(&service).code(0);
    let plan = service.repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("provider.smtp.password = relay/login (rotation finished)"), "{plan}");
    assert!(!plan.contains("withdrawn"), "{plan}");
    let plan = service.repo.run(&["plan", "dev", "--out", "saved.plan"]).code(0);
    drop(plan);
    let saved: Value = serde_json::from_str(&service.repo.read("saved.plan")).unwrap();
    assert_eq!(saved["secretFiles"], json!({}), "no age file is sent again");
    sink.users(&[("mailer", NEW)]);
    service.apply();
    assert_eq!(service.outbox()["rotations"], Value::Null);
    send_all(&service, 2);
    service.repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
    service.repo.run(&["drift", "dev"]).code(0);
    // And the way back: to when both were there.
    service.repo.run(&["rollback", "dev", "--to", "3", "--yes"]).code(0);
    service.wait_outbox("the promotion", |outbox| has_state(outbox, "promoted"));
    send_all(&service, 1);
}

#[test]
fn while_the_next_value_is_refused_the_current_one_is_used() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let service = start_service(&sink);
    let began = Instant::now();
    stage(&service, NEW);
    send_all(&service, 30);
    let outbox = service.wait_outbox("the refusal", |outbox| has_state(outbox, "refused"));
    assert_eq!(outbox["suspended"], json!([]));
    assert!(outbox["rotations"][0]["reason"].as_str().unwrap().contains("535"), "{outbox:#}");
    std::thread::sleep(Duration::from_secs(4));
    send_all(&service, 30);
    let refused = sink.logins().iter().filter(|(password, _)| password == NEW).count();
    // Tries are a second apart at first, then twice as long each time.
    let allowed = 3 + began.elapsed().as_secs().ilog2() as usize;
    assert!((2..=allowed).contains(&refused), "{refused} tries: now and then, and not with every message");
    assert_eq!(rotation_events(&service), ["next-refused"], "one alert");
    let status = service.repo.run(&["outbox", "status", "dev"]).code(0).stdout;
    assert!(status.contains("rotation     relay: the next value of relay/login has been refused since"), "{status}");
    let metrics = service.repo.http("GET", "/metrics", &[], b"").body;
    assert!(metrics.contains("mailwright_next_secrets_refused 1"), "{metrics}");
    // verify says of which it speaks, and that mail leaves.
    let verified = service.repo.run(&["verify", "dev", "relay", "--format", "json"]).json();
    let findings = verified["profiles"][0]["findings"].as_array().unwrap();
    let next = findings.iter().find(|finding| finding["next"] == true).unwrap();
    assert!(
        next["message"].as_str().unwrap().starts_with("the next value: the login as mailer is refused"),
        "{next:#}"
    );
    assert_eq!(next["severity"], "warning");
    assert!(next["remedy"].to_string().contains("secrets rotate dev relay/login --replace"), "{next:#}");
    assert!(findings.iter().any(|finding| finding["id"] == "SMTP-LOGIN" && finding["verdict"] == "pass"));
    // That does not finish it, unless the operator insists by name.
    let no = finish(&service).code(1);
    assert!(no.stderr.contains("MW0363") && no.stderr.contains("has been refused since"), "{}", no.stderr);
    assert!(service.repo.path("secrets/dev/relay/login.next.age").exists());
    assert_no_secret_leaks(&service);

    // The password is changed at the server: no message waits, and nothing is suspended.
    sink.users(&[("mailer", NEW)]);
    sink.on("mail", Action::Reply("421 4.3.2 closing")); // Every connection is a new one.
    let id = service.send(json!({}));
    service.wait_outbox("the promotion", |outbox| has_state(outbox, "promoted"));
    sink.on("mail", Action::Usual);
    service.wait(&id, "delivered");
    assert_eq!(rotation_events(&service), ["next-refused", "rotated"]);
    finish(&service).code(0);
    service.apply();
    send_all(&service, 3);
    assert!(count(&service.outbox(), "failed") == 0);
}

#[test]
fn a_password_that_is_changed_at_the_server_costs_no_message() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let service = start_service(&sink);
    stage(&service, NEW);
    service.wait_outbox("the refusal", |outbox| has_state(outbox, "refused"));
    // No connection is open, and the next attempt is not due for a second: the message itself finds out.
    sink.users(&[("mailer", NEW)]);
    send_all(&service, 1);
    assert!(has_state(&service.outbox(), "promoted"));
    assert_eq!(rotation_events(&service), ["next-refused", "rotated"], "it was never suspended");
}

#[test]
fn with_both_refused_the_profile_is_suspended() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let service = start_service(&sink);
    sink.users(&[("mailer", "neither")]);
    service.repo.pipe(&["secrets", "rotate", "dev", "relay/login"], NEW.as_bytes()).code(0);
    let id = service.send(json!({}));
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "relay");
    service.apply();
    let outbox = service.wait_outbox("both to be tried", |outbox| {
        outbox["suspended"][0]["reason"].as_str().is_some_and(|reason| reason.contains("the next secret: 535"))
    });
    assert!(has_state(&outbox, "refused"), "{outbox:#}");
    assert_eq!(service.message(&id)["attempts"], 0);
    sink.users(&[("mailer", NEW)]);
    let message = service.wait(&id, "delivered");
    assert_eq!(message["attempts"], 1);
    assert_eq!(sink.passwords_used(), [NEW]);
    let recorded = rotation_events(&service);
    assert!(recorded.ends_with(&["rotated".to_owned(), "resumed".to_owned()]), "{recorded:?}");
}

#[test]
fn a_kill_between_promotion_and_use_loses_nothing() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD), ("mailer", NEW)]);
    let mut service = start_service(&sink);
    sink.on("rcpt", Action::Silent);
    stage(&service, NEW);
    let id = service.send(json!({}));
    sink.wait_for("rcpt", 1);
    service.wait_outbox("the promotion", |outbox| has_state(outbox, "promoted"));
    sink.on("rcpt", Action::Usual);
    let before = sink.logins().len();
    service.restart();
    let message = service.wait(&id, "delivered");
    assert!(message["possibleDuplicate"].is_null());
    assert_eq!(sink.passwords_used(), [NEW], "once, by the next value");
    assert!(sink.logins()[before..].iter().all(|(password, _)| password == NEW));
    assert_eq!(rotation_events(&service), ["rotated"]);
}

#[test]
fn profiles_with_one_login_share_its_state() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let service = start_service(&sink);
    for name in ["edu1", "edu2"] {
        let functions = if name == "edu1" { "all-reports" } else { "document-quality" };
        let own = format!("functions: [{functions}]\nappliesTo: system-wide\n");
        relay(&service.repo, name, sink.port, LOGIN, &own);
    }
    service.repo.pipe(&["secrets", "rotate", "dev", "relay/login"], NEW.as_bytes()).code(0);
    service.apply();
    let all = |outbox: &Value, standing: &str| {
        let rotations = outbox["rotations"].as_array().unwrap();
        rotations.len() == 3 && rotations.iter().all(|rotation| rotation["standing"] == standing)
    };
    let outbox = service.wait_outbox("the refusal", |outbox| all(outbox, "refused"));
    assert_eq!(outbox["rotations"][0]["profile"], "edu1");
    assert_eq!(sink.logins().iter().filter(|(password, _)| password == NEW).count(), 1, "one attempt for all of them");
    let no = finish(&service).code(1).stderr;
    assert!(["edu1:", "edu2:", "relay:"].iter().all(|name| no.contains(name)), "{no}");
    sink.users(&[("mailer", OLD), ("mailer", NEW)]);
    service.wait_outbox("the promotion", |outbox| all(outbox, "promoted"));
    assert_eq!(rotation_events(&service), ["next-refused", "rotated"]);
    finish(&service).code(0);
}

#[test]
fn a_rotation_is_abandoned() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let service = start_service(&sink);
    stage(&service, NEW);
    service.wait_outbox("the refusal", |outbox| has_state(outbox, "refused"));
    let twice = service.repo.pipe(&["secrets", "rotate", "dev", "relay/login"], b"a-third-value").code(1);
    assert!(twice.stderr.contains("MW0362"), "{}", twice.stderr);
    service.repo.run(&["secrets", "rotate", "dev", "relay/login", "--abandon"]).code(0);
    let none = service.repo.run(&["secrets", "rotate", "dev", "relay/login", "--abandon"]).code(1);
    assert!(none.stderr.contains("MW0361"), "{}", none.stderr);
    let plan = service.repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("(next secret withdrawn)"), "{plan}");
    service.apply();
    assert_eq!(service.outbox()["rotations"], Value::Null);
    send_all(&service, 3);
}

#[test]
fn an_applications_secret_is_rotated_and_its_end_is_listed() {
    const NEXT: &str = "nXt-canary-of-the-next-client-secret";
    let mut scenario = good();
    let application = &mut scenario["tenants"][0]["applications"][0];
    application["granted"] = json!(["Mail.Send", "Application.Read.All"]);
    application["secrets"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "value": NEXT, "name": "next", "expires": "2031-01-02T00:00:00Z" }));
    let sandbox = Sandbox::start(scenario);
    let service = graph::start_service(&sandbox, QUICK);
    send_all(&service, 1);
    service.repo.run(&["verify", "dev"]);
    let expiring = || service.repo.run(&["secrets", "expiring", "--format", "json"]).code(0).json();
    let before = expiring();
    assert_eq!(before["credentials"][0]["ends"], "2027-11-23T12:00:00Z", "{before:#}");
    assert_eq!(before["credentials"][0]["profile"], "documents");

    service.repo.pipe(&["secrets", "rotate", "dev", "documents/secret"], NEXT.as_bytes()).code(0);
    service.apply();
    service.wait_outbox("the promotion", |outbox| has_state(outbox, "promoted"));
    send_all(&service, 2);
    // What verify sees counts for the value that is in use.
    service.repo.run(&["verify", "dev"]);
    let after = expiring();
    assert_eq!(after["credentials"][0]["ends"], "2031-01-02T00:00:00Z", "{after:#}");
    service.repo.run(&["secrets", "rotate", "dev", "documents/secret", "--finish"]).code(0);
    service.apply();
    send_all(&service, 1);
    let text = service.repo.run(&["secrets", "expiring"]).code(0).stdout;
    assert!(text.contains("2031-01-02") && text.contains("before its last change"), "{text}");
    let soon = ["secrets", "expiring", "--within", "3650d", "--detailed-exitcode"];
    assert_eq!(service.repo.run(&soon).code, 2);
    assert_eq!(service.repo.run(&["secrets", "expiring", "--within", "1d", "--detailed-exitcode"]).code, 0);
    // A service that does not answer is named, and hides nothing.
    service.repo.write(
        "environments/other/environment.yaml",
        "companies: [EDU1]\nservice: { address: 'http://127.0.0.1:9' }\n",
    );
    let address = service.repo.address().to_owned();
    service.repo.write(
        "environments/dev/environment.yaml",
        format!("companies: [EDU1, EDU2]\nservice: {{ address: '{address}' }}\n"),
    );
    let mut command = service.repo.command(&["secrets", "expiring"]);
    command.env_remove("MAILWRIGHT_SERVICE");
    let both = crate::support::repository::run_command(command).code(1);
    assert!(both.stdout.contains("2031-01-02") && both.stderr.contains("other: cannot query its service"), "{both:?}");
}

#[test]
fn the_status_shows_what_ends_soon_and_what_was_verified() {
    let mut scenario = good();
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(13 * 24 + 12);
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Application.Read.All"]);
    scenario["tenants"][0]["applications"][0]["secrets"] =
        json!([{ "value": SECRET, "name": "current", "expires": ends.to_string() }]);
    let sandbox = Sandbox::start(scenario);
    let service = graph::start_service(&sandbox, QUICK);
    send_all(&service, 1);
    service.repo.run(&["verify", "dev"]);
    let text = service.repo.run(&["status", "dev"]).code(0).stdout;
    let day = ends.strftime("%Y-%m-%d");
    assert!(text.contains(&format!("ends soon    client secret of documents: 13 days ({day})")), "{text}");
    let status = service.repo.run(&["status", "dev", "--format", "json"]).code(0).json();
    assert_eq!(
        (&status["endingSoon"][0]["days"], &status["endingSoon"][0]["kind"]),
        (&json!(13), &json!("client secret"))
    );
    let reached = status["verified"]["documents"]["reached"].as_str().unwrap();
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d");
    assert!(text.contains(&format!("{reached} {today}")), "{text}");
}

/// A sandbox whose application knows these certificates, and a service that sends by the first one.
fn by_certificate(known: &[&SigningCertificate], first: &SigningCertificate) -> (Sandbox, MailService) {
    let sandbox = Sandbox::start(registered(known));
    let service = graph::start_with_certificate(&sandbox, &first.pem());
    send_all(&service, 1);
    (sandbox, service)
}

fn registered(certificates: &[&SigningCertificate]) -> Value {
    let mut scenario = good();
    let pems: Vec<Value> = certificates.iter().map(|known| json!({ "pem": known.certificate })).collect();
    scenario["tenants"][0]["applications"][0]["certificates"] = json!(pems);
    scenario
}

fn stage_certificate(service: &MailService, value: &str, more: &[&str]) {
    let arguments = [&["secrets", "rotate", "dev", "documents/key"][..], more].concat();
    service.repo.pipe(&arguments, value.as_bytes()).code(0);
    let plan = service.repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(
        plan.contains("credential.certificate.next = documents/key (next secret staged)") || !more.is_empty(),
        "{plan}"
    );
    service.apply();
}

#[test]
fn a_next_certificate_is_tried_first_and_used_from_then_on() {
    let (old, new) = (SigningCertificate::new(), SigningCertificate::new());
    let (sandbox, mut service) = by_certificate(&[&old, &new], &old);
    stage_certificate(&service, &new.pem(), &[]);
    service.wait_outbox("the promotion", |outbox| has_state(outbox, "promoted"));
    assert_eq!(rotation_events(&service), ["rotated"]);
    // The registration forgets the old one. Nothing but the new one can sign in now, also after a restart.
    sandbox.put(&registered(&[&new]));
    service.repo.kill();
    graph::start(&mut service);
    send_all(&service, 2);
    assert_eq!(rotation_events(&service), ["rotated"]);
    service.repo.run(&["verify", "dev"]);
    let listed = service.repo.run(&["secrets", "expiring"]).code(0).stdout;
    assert!(listed.contains(&format!("certificate thumbprint {}", new.thumbprint)), "{listed}");
    let done = service.repo.run(&["secrets", "rotate", "dev", "documents/key", "--finish"]).code(0);
    assert!(done.stdout.contains("key.next.age over secrets/dev/documents/key.age"), "{done:?}");
    let plan = service.repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("rotation finished"), "{plan}");
    service.apply();
    send_all(&service, 1);
    assert_eq!(service.outbox()["rotations"], Value::Null);
}

#[test]
fn while_a_next_certificate_is_refused_the_current_one_signs() {
    let (old, new) = (SigningCertificate::new(), SigningCertificate::new());
    let (sandbox, service) = by_certificate(&[&old], &old);
    // It has not been uploaded yet.
    stage_certificate(&service, &new.pem(), &[]);
    let outbox = service.wait_outbox("the refusal", |outbox| has_state(outbox, "refused"));
    assert!(outbox["rotations"][0]["reason"].as_str().unwrap().contains("700027"), "{outbox:#}");
    send_all(&service, 10);
    assert_eq!(
        (&service.outbox()["suspended"], rotation_events(&service)),
        (&json!([]), vec!["next-refused".to_owned()])
    );
    let verified = service.repo.run(&["verify", "dev", "documents", "--format", "json"]).json();
    let findings = verified["profiles"][0]["findings"].as_array().unwrap();
    let next = findings.iter().find(|finding| finding["next"] == true).unwrap();
    assert_eq!((&next["id"], &next["severity"]), (&json!("GRAPH-CERTIFICATE"), &json!("warning")), "{next:#}");
    assert!(findings.iter().any(|finding| finding["id"] == "GRAPH-SIGN-IN" && finding["verdict"] == "pass"));
    assert!(
        service.repo.run(&["secrets", "rotate", "dev", "documents/key", "--finish"]).code(1).stderr.contains("MW0363")
    );

    // It is uploaded: from then on it signs, and no message has paid for any of it.
    sandbox.put(&registered(&[&old, &new]));
    service.wait_outbox("the promotion", |outbox| has_state(outbox, "promoted"));
    sandbox.put(&registered(&[&new]));
    send_all(&service, 2);
    assert_eq!(rotation_events(&service), ["next-refused", "rotated"]);
    let log = service.repo.service.as_ref().unwrap().log.lock().unwrap().clone();
    let secret = |signing: &SigningCertificate| signing.key.lines().nth(3).unwrap().to_owned();
    assert!(!log.contains(&secret(&old)) && !log.contains(&secret(&new)));
}

#[test]
fn a_next_certificate_without_its_key_changes_nothing() {
    let (old, new) = (SigningCertificate::new(), SigningCertificate::new());
    let (_sandbox, service) = by_certificate(&[&old, &new], &old);
    let refused = service.repo.pipe(&["secrets", "rotate", "dev", "documents/key"], new.certificate.as_bytes()).code(1);
    assert!(
        refused.stderr.contains("MW0045") && refused.stderr.contains("without its private key"),
        "{}",
        refused.stderr
    );
    assert!(service.repo.run(&["plan", "dev"]).code(0).stdout.contains("No changes."));
    send_all(&service, 2);
    assert_eq!((&service.outbox()["suspended"], rotation_events(&service)), (&json!([]), Vec::new()));
    stage_certificate(&service, &new.pem(), &[]);
    service.wait_outbox("the promotion", |outbox| has_state(outbox, "promoted"));
    send_all(&service, 1);
}
