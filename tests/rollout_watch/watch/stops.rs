//! Each reason to refuse an apply stops a watch too: with a clear message, nothing is applied, and the other environments
//! go on. An environment that waits for a person is not a failure of the watch.

use serde_json::json;

use crate::{
    sink::Sink,
    support::fleet::Fleet,
    watch::fixture::{WatchFixture, WebhookReceiver, eventually, sending_by},
};

const SIGNER: &str = include_str!("../../fixtures/ssh/ed25519.pub");

/// Five environments, applied once from a branch that all allow; then a change that four of them stop.
fn stopped(receiver: &WebhookReceiver, sink: &Sink) -> WatchFixture {
    let mut fixture = WatchFixture { fleet: Fleet::new() };
    fixture.by(sink.port);
    let watch = format!("watch: {{ apply: auto, {} }}\n", receiver.notify());
    let signer = format!("signers: [{{ name: alice, key: '{}' }}]", SIGNER.trim());
    for (name, policy) in [
        ("approval", format!("policy: {{ approvals: {{ {signer}, rules: [{{ count: 1 }}] }} }}\n")),
        ("good", String::new()),
        ("guard", "policy: { deletes: { percent: 0, atLeast: 0 } }\n".to_owned()),
        ("secret", String::new()),
        ("source", "policy: { source: { branches: [release] } }\n".to_owned()),
    ] {
        fixture.fleet.served(name, &format!("{policy}{watch}"));
    }
    let repo = &fixture.fleet.repo;
    let reports = sending_by(sink.port).replace("[default]", "[all-reports]");
    repo.write("environments/guard/profiles/reports.yaml", reports);
    for file in ["recipients.txt", "demo-identity.txt"] {
        let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("secrets/dev").join(file);
        repo.write(&format!("secrets/secret/{file}"), std::fs::read(example).unwrap());
    }
    let login = "provider: { smtp: { username: mailer, password: { secret: relay/login } } }\n";
    repo.write("environments/secret/profiles/relay.yaml", login);
    repo.pipe(&["secrets", "set", "secret", "relay/login"], b"a-password-of-another").code(0);
    fixture.begin();
    fixture.git(&["checkout", "--quiet", "-b", "release"]);
    fixture.fleet.run(&["apply", "*", "--yes", "--skip-verify"]).code(0);
    fixture.git(&["checkout", "--quiet", "main"]);

    let another = Sink::start();
    let repo = &fixture.fleet.repo;
    repo.write("environments/base/profiles/relay.yaml", sending_by(sink.port).replace("erp@", "new@"));
    repo.remove("environments/guard/profiles/reports.yaml");
    let elsewhere = login.replace("username", &format!("host: 127.0.0.2, port: {}, username", another.port));
    repo.write("environments/secret/profiles/relay.yaml", elsewhere);
    fixture.push("another sender for all");
    fixture
}

#[test]
fn each_says_why_and_the_others_go_on() {
    let (receiver, sink) = (WebhookReceiver::start(), Sink::start());
    let fixture = stopped(&receiver, &sink);
    let generations = || (0..5).map(|index| fixture.fleet.generation(index)).collect::<Vec<_>>();
    assert_eq!(generations(), [1, 1, 1, 1, 1]);
    let once = fixture.once("data").code(2);
    insta::with_settings!({ filters => vec![(r"port \d+|:\d+|127.0.0.1, \d+", "PORT")] }, {
        insta::assert_snapshot!(once.stdout);
    });
    assert_eq!(generations(), [1, 2, 1, 1, 1]);
    assert_eq!(once.stderr, "");

    let watch = fixture.watch("data");
    for (name, code) in [("approval", "MW0310"), ("guard", "MW0218"), ("secret", "MW0217"), ("source", "MW0305")] {
        eventually(&format!("{name} waits"), || watch.of(name)["waiting"]["code"] == code);
        let reports = receiver.of("apply-waiting");
        let reports: Vec<_> = reports.iter().filter(|report| report["environment"] == name).collect();
        assert_eq!(reports.len(), 1, "{name} is reported once, by `--once`, and not again after a start: {reports:?}");
        assert_eq!(reports[0]["code"], code);
        assert!(!reports[0]["remedy"].as_str().unwrap().is_empty(), "{reports:?}");
    }
    let planned = watch.of("guard")["plannedAt"].clone();
    eventually("it is looked at again", || watch.of("guard")["plannedAt"] != planned);
    // Waiting for a person is not a failure: the interval stays the same, and no error is counted.
    for name in ["approval", "guard", "secret", "source"] {
        assert_eq!(watch.of(name)["errors"], json!(0), "{name}");
    }
    let metrics = watch.get("/metrics").1;
    assert!(metrics.contains("mailwright_watch_waiting{environment=\"guard\"} 1"), "{metrics}");
    assert!(metrics.contains("mailwright_watch_refused{environment=\"guard\"} 0"), "{metrics}");
    assert_eq!(watch.get("/readyz").0, 200);
    assert_eq!(receiver.count("apply-refused"), 0);
    assert_eq!(generations(), [1, 2, 1, 1, 1]);

    // An apply by an operator ends it.
    fixture.fleet.run(&["apply", "guard", "--yes", "--allow-deletes", "reports"]).code(0);
    eventually("the guard waits no more", || watch.of("guard")["waiting"].is_null());
}

#[test]
fn a_change_in_git_and_by_hand_waits_whole() {
    let receiver = WebhookReceiver::start();
    let fixture = WatchFixture::new(&format!("watch: {{ apply: auto, {} }}", receiver.notify()));
    let second = "enabled: false\nprovider: { smtp: { host: a.example.com } }\nfrom: { address: a@example.com }\nfunctions: [all-reports]\nappliesTo: system-wide\n";
    fixture.fleet.repo.write("environments/one/profiles/reports.yaml", second);
    fixture.push("two profiles");
    fixture.once("data").code(0);
    let service = &fixture.fleet.services[0];
    assert_eq!(service.patch("relay", &json!({ "description": "by hand" })).status, 200);
    // A profile that was only changed by hand stays, and one that was only changed in Git is applied.
    fixture.fleet.repo.write("environments/one/profiles/reports.yaml", second.replace("a@", "b@"));
    fixture.push("another sender of reports");
    let once = fixture.once("data").code(2);
    let expected =
        "one: applied: 0 to add, 1 to change, 0 to destroy (generation 3)\none: changed outside Git: relay\n";
    assert!(once.stdout.starts_with(expected), "{}", once.stdout);
    assert_eq!(fixture.state()["profiles"]["relay"]["live"]["profile"]["description"], "by hand");
    // A profile that was changed in Git and outside it holds back the whole commit: a commit is applied whole or not at all.
    fixture.from("git@example.com");
    fixture.fleet.repo.write("environments/one/profiles/reports.yaml", second.replace("a@", "c@"));
    fixture.push("both");
    let once = fixture.once("data").code(2);
    insta::assert_snapshot!(once.stdout);
    assert_eq!(fixture.generation(), 3);
    assert_eq!(receiver.of("apply-waiting")[0]["code"], "MW0372");
    fixture.edit("apply: auto", "apply: auto, drift: revert");
    fixture.push("Git is right");
    fixture.once("data").code(0);
    assert_eq!(fixture.sender(), "git@example.com");
}
