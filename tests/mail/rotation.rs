//! A secret is rotated: the next value is tried first and used once it is accepted; while it is refused the current one
//! is used, and no message pays for it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    graph,
    harness::{DEADLINES, Post, QUICK, count, environment, relay},
    login::events,
    sink::{Act, Sink},
    support::{
        sandboxed::{SECRET, Sandbox, Signing, direct, good},
        trial::Trial,
    },
};

const OLD: &str = "Canary-Old-q81Xw7Pd";
const NEW: &str = "Canary-New-z55Tb2Kf";

fn post(sink: &Sink) -> Post {
    let trial = Trial::examples();
    for old in ["environments", "secrets/prod", "secrets/dev/relay", "secrets/dev/documents"] {
        drop(std::fs::remove_dir_all(trial.path(old)));
    }
    environment(&trial, QUICK);
    relay(&trial, "relay", sink.port, "    username: mailer\n    password: { secret: relay/login }\n", "");
    trial.pipe(&["secrets", "set", "dev", "relay/login"], OLD.as_bytes()).code(0);
    let mut post = Post { trial };
    post.trial.serve_with(&[&["--demo"], &DEADLINES[..]].concat());
    post.apply();
    post
}

/// Stages the next value, and applies it.
fn stage(post: &Post, value: &str) {
    post.trial.pipe(&["secrets", "rotate", "dev", "relay/login"], value.as_bytes()).code(0);
    let plan = post.trial.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("provider.smtp.password.next = relay/login (next secret staged)"), "{plan}");
    post.apply();
}

fn finish(post: &Post) -> crate::support::trial::Ran {
    post.trial.run(&["secrets", "rotate", "dev", "relay/login", "--finish"])
}

fn stands(outbox: &Value, standing: &str) -> bool {
    outbox["rotations"][0]["standing"] == standing
}

/// What was told, but for deliveries.
fn told(post: &Post) -> Vec<String> {
    let all = events(post);
    let kinds = all.iter().filter_map(|event| event["type"].as_str()).filter(|kind| *kind != "delivered");
    kinds.map(str::to_owned).collect()
}

fn send_all(post: &Post, count: usize) {
    let ids: Vec<String> = (0..count).map(|_| post.send(json!({}))).collect();
    for id in ids {
        let message = post.wait(&id, "delivered");
        assert_eq!(message["attempts"], 1, "no message pays for a rotation: {message:#}");
        assert!(message["possibleDuplicate"].is_null());
    }
}

/// No value stands in what the service says or writes down.
fn nothing_leaks(post: &Post) {
    let log = post.trial.service.as_ref().unwrap().log.lock().unwrap().clone();
    let answers =
        ["/v1/state", "/v1/outbox", "/v1/verify", "/v1/audit"].map(|path| post.trial.http("GET", path, &[], b"").body);
    let told = format!("{:?}", events(post));
    for text in answers.iter().chain([&log, &told]) {
        assert!(!text.contains(OLD) && !text.contains(NEW), "{text}");
    }
    let store = std::fs::read_dir(post.trial.path(".data")).unwrap();
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
    let mut post = post(&sink);
    send_all(&post, 1);
    stage(&post, NEW);
    // Nobody has to send anything for that.
    post.wait_outbox("the promotion", |outbox| stands(outbox, "promoted"));
    send_all(&post, 5);
    assert_eq!(sink.came_by()[1..], [NEW; 5], "from then on only it is used");
    assert_eq!(told(&post), ["rotated"]);
    let status = post.trial.run(&["secrets", "rotate", "--status"]).code(0).stdout;
    assert!(status.contains("promoted") && status.contains("rotate dev relay/login --finish"), "{status}");
    assert!(post.trial.run(&["status", "dev"]).code(0).stdout.contains("is in use since"));
    post.trial.run(&["drift", "dev"]).code(0);
    nothing_leaks(&post);

    // Also after kill -9.
    let before = sink.logins().len();
    post.restart();
    assert!(stands(&post.outbox(), "promoted"));
    send_all(&post, 2);
    assert!(sink.logins()[before..].iter().all(|(password, _)| password == NEW), "{:?}", &sink.logins()[before..]);

    // A change that has nothing to do with it does not begin anew.
    relay(
        &post.trial,
        "relay",
        sink.port,
        "    username: mailer\n    password: { secret: relay/login }\n",
        "description: another\n",
    );
    post.apply();
    send_all(&post, 1);
    assert_eq!(told(&post), ["rotated"]);

    // The file moves, and the service has it already.
    finish(&post).code(0);
    let plan = post.trial.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("provider.smtp.password = relay/login (rotation finished)"), "{plan}");
    assert!(!plan.contains("withdrawn"), "{plan}");
    let plan = post.trial.run(&["plan", "dev", "--out", "saved.plan"]).code(0);
    drop(plan);
    let saved: Value = serde_json::from_str(&post.trial.read("saved.plan")).unwrap();
    assert_eq!(saved["secretFiles"], json!({}), "no age file is sent again");
    sink.users(&[("mailer", NEW)]);
    post.apply();
    assert_eq!(post.outbox()["rotations"], Value::Null);
    send_all(&post, 2);
    post.trial.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
    post.trial.run(&["drift", "dev"]).code(0);
    // And the way back: to when both were there.
    post.trial.run(&["rollback", "dev", "--to", "3", "--yes"]).code(0);
    post.wait_outbox("the promotion", |outbox| stands(outbox, "promoted"));
    send_all(&post, 1);
}

#[test]
fn while_the_next_value_is_refused_the_current_one_is_used() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let post = post(&sink);
    stage(&post, NEW);
    send_all(&post, 30);
    let outbox = post.wait_outbox("the refusal", |outbox| stands(outbox, "refused"));
    assert_eq!(outbox["parked"], json!([]));
    assert!(outbox["rotations"][0]["reason"].as_str().unwrap().contains("535"), "{outbox:#}");
    std::thread::sleep(Duration::from_secs(4));
    send_all(&post, 30);
    let refused = sink.logins().iter().filter(|(password, _)| password == NEW).count();
    assert!((2..=5).contains(&refused), "{refused} tries: now and then, and not with every message");
    assert_eq!(told(&post), ["next-refused"], "one alert");
    let status = post.trial.run(&["outbox", "dev", "status"]).code(0).stdout;
    assert!(status.contains("rotation     relay: the next value of relay/login is refused since"), "{status}");
    let metrics = post.trial.http("GET", "/metrics", &[], b"").body;
    assert!(metrics.contains("mailwright_next_secrets_refused 1"), "{metrics}");
    // verify says of which it speaks, and that mail leaves.
    let verified = post.trial.run(&["verify", "dev", "relay", "--format", "json"]).json();
    let findings = verified["profiles"][0]["findings"].as_array().unwrap();
    let next = findings.iter().find(|finding| finding["next"] == true).unwrap();
    assert!(
        next["message"].as_str().unwrap().starts_with("the next value: the login as mailer is refused"),
        "{next:#}"
    );
    assert_eq!(next["severity"], "warning");
    assert!(next["remedy"].to_string().contains("secrets rotate dev relay/login --replace"), "{next:#}");
    assert!(findings.iter().any(|finding| finding["id"] == "SMTP-LOGIN" && finding["verdict"] == "pass"));
    // It is not finished for that, unless somebody insists by name.
    let no = finish(&post).code(1);
    assert!(no.stderr.contains("MW0363") && no.stderr.contains("is refused since"), "{}", no.stderr);
    assert!(post.trial.path("secrets/dev/relay/login.next.age").exists());
    nothing_leaks(&post);

    // The password is changed at the server: no message waits, and nothing is parked.
    sink.users(&[("mailer", NEW)]);
    sink.at("mail", Act::Say("421 4.3.2 closing")); // Every connection is a new one.
    let id = post.send(json!({}));
    post.wait_outbox("the promotion", |outbox| stands(outbox, "promoted"));
    sink.at("mail", Act::Usual);
    post.wait(&id, "delivered");
    assert_eq!(told(&post), ["next-refused", "rotated"]);
    finish(&post).code(0);
    post.apply();
    send_all(&post, 3);
    assert!(count(&post.outbox(), "failed") == 0);
}

#[test]
fn a_password_that_is_changed_at_the_server_costs_no_message() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let post = post(&sink);
    stage(&post, NEW);
    post.wait_outbox("the refusal", |outbox| stands(outbox, "refused"));
    // No connection is open, and the next trial is not due for a second: the message itself finds out.
    sink.users(&[("mailer", NEW)]);
    send_all(&post, 1);
    assert!(stands(&post.outbox(), "promoted"));
    assert_eq!(told(&post), ["next-refused", "rotated"], "it was never parked");
}

#[test]
fn with_both_refused_the_profile_is_parked() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let post = post(&sink);
    sink.users(&[("mailer", "neither")]);
    post.trial.pipe(&["secrets", "rotate", "dev", "relay/login"], NEW.as_bytes()).code(0);
    let id = post.send(json!({}));
    post.wait_outbox("the parked profile", |outbox| outbox["parked"][0]["profile"] == "relay");
    post.apply();
    let outbox = post.wait_outbox("both to be tried", |outbox| {
        outbox["parked"][0]["reason"].as_str().is_some_and(|reason| reason.contains("the next secret: 535"))
    });
    assert!(stands(&outbox, "refused"), "{outbox:#}");
    assert_eq!(post.message(&id)["attempts"], 0);
    sink.users(&[("mailer", NEW)]);
    let message = post.wait(&id, "delivered");
    assert_eq!(message["attempts"], 1);
    assert_eq!(sink.came_by(), [NEW]);
    let told = told(&post);
    assert!(told.ends_with(&["rotated".to_owned(), "resumed".to_owned()]), "{told:?}");
}

#[test]
fn killed_between_the_promotion_and_its_use() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD), ("mailer", NEW)]);
    let mut post = post(&sink);
    sink.at("rcpt", Act::Silent);
    stage(&post, NEW);
    let id = post.send(json!({}));
    sink.wait_for("rcpt", 1);
    post.wait_outbox("the promotion", |outbox| stands(outbox, "promoted"));
    sink.at("rcpt", Act::Usual);
    let before = sink.logins().len();
    post.restart();
    let message = post.wait(&id, "delivered");
    assert!(message["possibleDuplicate"].is_null());
    assert_eq!(sink.came_by(), [NEW], "once, by the next value");
    assert!(sink.logins()[before..].iter().all(|(password, _)| password == NEW));
    assert_eq!(told(&post), ["rotated"]);
}

#[test]
fn profiles_with_one_login_share_what_came_of_it() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let post = post(&sink);
    for name in ["edu1", "edu2"] {
        let functions = if name == "edu1" { "all-reports" } else { "document-quality" };
        let own = format!("functions: [{functions}]\nappliesTo: system-wide\n");
        relay(&post.trial, name, sink.port, "    username: mailer\n    password: { secret: relay/login }\n", &own);
    }
    post.trial.pipe(&["secrets", "rotate", "dev", "relay/login"], NEW.as_bytes()).code(0);
    post.apply();
    let all = |outbox: &Value, standing: &str| {
        let rotations = outbox["rotations"].as_array().unwrap();
        rotations.len() == 3 && rotations.iter().all(|rotation| rotation["standing"] == standing)
    };
    let outbox = post.wait_outbox("the refusal", |outbox| all(outbox, "refused"));
    assert_eq!(outbox["rotations"][0]["profile"], "edu1");
    assert_eq!(sink.logins().iter().filter(|(password, _)| password == NEW).count(), 1, "one trial for all of them");
    let no = finish(&post).code(1).stderr;
    assert!(["edu1:", "edu2:", "relay:"].iter().all(|name| no.contains(name)), "{no}");
    sink.users(&[("mailer", OLD), ("mailer", NEW)]);
    post.wait_outbox("the promotion", |outbox| all(outbox, "promoted"));
    assert_eq!(told(&post), ["next-refused", "rotated"]);
    finish(&post).code(0);
}

#[test]
fn a_rotation_is_abandoned() {
    let sink = Sink::start();
    sink.users(&[("mailer", OLD)]);
    let post = post(&sink);
    stage(&post, NEW);
    post.wait_outbox("the refusal", |outbox| stands(outbox, "refused"));
    let twice = post.trial.pipe(&["secrets", "rotate", "dev", "relay/login"], b"a-third-value").code(1);
    assert!(twice.stderr.contains("MW0362"), "{}", twice.stderr);
    post.trial.run(&["secrets", "rotate", "dev", "relay/login", "--abandon"]).code(0);
    let none = post.trial.run(&["secrets", "rotate", "dev", "relay/login", "--abandon"]).code(1);
    assert!(none.stderr.contains("MW0361"), "{}", none.stderr);
    let plan = post.trial.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("(next secret withdrawn)"), "{plan}");
    post.apply();
    assert_eq!(post.outbox()["rotations"], Value::Null);
    send_all(&post, 3);
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
    let mut profile = direct();
    profile["functions"] = json!(["default"]);
    let post = graph::post_with(&sandbox, QUICK, &profile, "documents/secret", SECRET);
    send_all(&post, 1);
    post.trial.run(&["verify", "dev"]);
    let expiring = || post.trial.run(&["secrets", "expiring", "--format", "json"]).code(0).json();
    let before = expiring();
    assert_eq!(before["credentials"][0]["ends"], "2027-11-23T12:00:00Z", "{before:#}");
    assert_eq!(before["credentials"][0]["profile"], "documents");

    post.trial.pipe(&["secrets", "rotate", "dev", "documents/secret"], NEXT.as_bytes()).code(0);
    post.apply();
    post.wait_outbox("the promotion", |outbox| stands(outbox, "promoted"));
    send_all(&post, 2);
    // What verify sees counts for the value that is in use.
    post.trial.run(&["verify", "dev"]);
    let after = expiring();
    assert_eq!(after["credentials"][0]["ends"], "2031-01-02T00:00:00Z", "{after:#}");
    post.trial.run(&["secrets", "rotate", "dev", "documents/secret", "--finish"]).code(0);
    post.apply();
    send_all(&post, 1);
    let text = post.trial.run(&["secrets", "expiring"]).code(0).stdout;
    assert!(text.contains("2031-01-02") && text.contains("before its last change"), "{text}");
    let soon = ["secrets", "expiring", "--within", "3650d", "--detailed-exitcode"];
    assert_eq!(post.trial.run(&soon).code, 2);
    assert_eq!(post.trial.run(&["secrets", "expiring", "--within", "1d", "--detailed-exitcode"]).code, 0);
    // A service that does not answer is named, and hides nothing.
    post.trial.write(
        "environments/other/environment.yaml",
        "companies: [EDU1]\nservice: { address: 'http://127.0.0.1:9' }\n",
    );
    let address = post.trial.address().to_owned();
    post.trial.write(
        "environments/dev/environment.yaml",
        format!("companies: [EDU1, EDU2]\nservice: {{ address: '{address}' }}\n"),
    );
    let mut command = post.trial.command(&["secrets", "expiring"]);
    command.env_remove("MAILWRIGHT_SERVICE");
    let both = crate::support::trial::finish(command).code(1);
    assert!(
        both.stdout.contains("2031-01-02") && both.stderr.contains("other: its service could not be asked"),
        "{both:?}"
    );
}

/// A sandbox whose application knows these certificates, and a service that sends by the first one.
fn by_certificate(known: &[&Signing], first: &Signing) -> (Sandbox, Post) {
    let sandbox = Sandbox::start(registered(known));
    let mut profile = direct();
    profile["functions"] = json!(["default"]);
    profile["provider"]["microsoft-graph-direct"]["credential"] =
        json!({ "certificate": { "secret": "documents/key" } });
    let post = graph::post_with(&sandbox, QUICK, &profile, "documents/key", &pem(first));
    send_all(&post, 1);
    (sandbox, post)
}

fn registered(certificates: &[&Signing]) -> Value {
    let mut scenario = good();
    let pems: Vec<Value> = certificates.iter().map(|known| json!({ "pem": known.certificate })).collect();
    scenario["tenants"][0]["applications"][0]["certificates"] = json!(pems);
    scenario
}

fn pem(signing: &Signing) -> String {
    format!("{}{}", signing.certificate, signing.key)
}

fn stage_certificate(post: &Post, value: &str, more: &[&str]) {
    let arguments = [&["secrets", "rotate", "dev", "documents/key"][..], more].concat();
    post.trial.pipe(&arguments, value.as_bytes()).code(0);
    let plan = post.trial.run(&["plan", "dev"]).code(0).stdout;
    assert!(
        plan.contains("credential.certificate.next = documents/key (next secret staged)") || !more.is_empty(),
        "{plan}"
    );
    post.apply();
}

#[test]
fn a_next_certificate_is_tried_first_and_used_from_then_on() {
    let (old, new) = (Signing::new(), Signing::new());
    let (sandbox, mut post) = by_certificate(&[&old, &new], &old);
    stage_certificate(&post, &pem(&new), &[]);
    post.wait_outbox("the promotion", |outbox| stands(outbox, "promoted"));
    assert_eq!(told(&post), ["rotated"]);
    // The registration forgets the old one. Nothing but the new one can sign in now, also after a restart.
    sandbox.put(&registered(&[&new]));
    post.trial.kill();
    graph::start(&mut post);
    send_all(&post, 2);
    assert_eq!(told(&post), ["rotated"]);
    post.trial.run(&["verify", "dev"]);
    let listed = post.trial.run(&["secrets", "expiring"]).code(0).stdout;
    assert!(listed.contains(&format!("certificate thumbprint {}", new.thumbprint)), "{listed}");
    let done = post.trial.run(&["secrets", "rotate", "dev", "documents/key", "--finish"]).code(0);
    assert!(done.stdout.contains("key.next.age over secrets/dev/documents/key.age"), "{done:?}");
    let plan = post.trial.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("rotation finished"), "{plan}");
    post.apply();
    send_all(&post, 1);
    assert_eq!(post.outbox()["rotations"], Value::Null);
}

#[test]
fn while_a_next_certificate_is_refused_the_current_one_signs() {
    let (old, new) = (Signing::new(), Signing::new());
    let (sandbox, post) = by_certificate(&[&old], &old);
    // Nobody has uploaded it yet.
    stage_certificate(&post, &pem(&new), &[]);
    let outbox = post.wait_outbox("the refusal", |outbox| stands(outbox, "refused"));
    assert!(outbox["rotations"][0]["reason"].as_str().unwrap().contains("700027"), "{outbox:#}");
    send_all(&post, 10);
    assert_eq!((&post.outbox()["parked"], told(&post)), (&json!([]), vec!["next-refused".to_owned()]));
    let verified = post.trial.run(&["verify", "dev", "documents", "--format", "json"]).json();
    let findings = verified["profiles"][0]["findings"].as_array().unwrap();
    let next = findings.iter().find(|finding| finding["next"] == true).unwrap();
    assert_eq!((&next["id"], &next["severity"]), (&json!("GRAPH-CERTIFICATE"), &json!("warning")), "{next:#}");
    assert!(findings.iter().any(|finding| finding["id"] == "GRAPH-SIGN-IN" && finding["verdict"] == "pass"));
    assert!(
        post.trial.run(&["secrets", "rotate", "dev", "documents/key", "--finish"]).code(1).stderr.contains("MW0363")
    );

    // It is uploaded: from then on it signs, and no message has paid for any of it.
    sandbox.put(&registered(&[&old, &new]));
    post.wait_outbox("the promotion", |outbox| stands(outbox, "promoted"));
    sandbox.put(&registered(&[&new]));
    send_all(&post, 2);
    assert_eq!(told(&post), ["next-refused", "rotated"]);
    let log = post.trial.service.as_ref().unwrap().log.lock().unwrap().clone();
    let secret = |signing: &Signing| signing.key.lines().nth(3).unwrap().to_owned();
    assert!(!log.contains(&secret(&old)) && !log.contains(&secret(&new)));
}

#[test]
fn a_next_certificate_without_its_key_harms_nothing() {
    let (old, new) = (Signing::new(), Signing::new());
    let (_sandbox, post) = by_certificate(&[&old, &new], &old);
    let refused = post.trial.pipe(&["secrets", "rotate", "dev", "documents/key"], new.certificate.as_bytes()).code(1);
    assert!(
        refused.stderr.contains("MW0045") && refused.stderr.contains("without its private key"),
        "{}",
        refused.stderr
    );
    assert!(post.trial.run(&["plan", "dev"]).code(0).stdout.contains("No changes."));
    send_all(&post, 2);
    assert_eq!((&post.outbox()["parked"], told(&post)), (&json!([]), Vec::new()));
    stage_certificate(&post, &pem(&new), &[]);
    post.wait_outbox("the promotion", |outbox| stands(outbox, "promoted"));
    send_all(&post, 1);
}
