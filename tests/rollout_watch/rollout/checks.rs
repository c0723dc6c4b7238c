//! Checks between waves, with a real mail server: a probe, the share of failed deliveries, verify; and the gate before.

use mailwright::{api::messages::Submission, model::Status};

use crate::{
    rollout::fixture::{RolloutFixture, end, is},
    sink::{Action, Sink},
};

/// The relay is a mail server on this machine.
fn relay(fleet: &RolloutFixture, port: u16) {
    fleet.repo.write(
        "environments/base/profiles/relay.yaml",
        format!("provider:\n  smtp: {{ host: localhost, port: {port}, encryption: none }}\nfrom:\n  address: 'erp@${{domain}}'\nfunctions: [default]\nappliesTo: system-wide\n"),
    );
}

const CHECKED: &str = "gate: false\nwaves:\n  - { name: one, environments: [c-01, c-02], checks: CHECKS }\n  - { name: two, environments: ['*'] }\n";

#[test]
fn a_probe_is_delivered_once_or_stops_it() {
    let sink = Sink::start();
    let fleet = RolloutFixture::new(3);
    fleet.rollout("relay", &CHECKED.replace("CHECKS", "{ probe: { to: probe@example.org, within: 20s } }"));
    relay(&fleet, sink.port);
    fleet.run(&["rollout", "start", "relay", "--yes"]).code(0);
    let mut subjects: Vec<String> = sink.received().iter().map(|taken| taken.header("Subject").unwrap()).collect();
    subjects.sort();
    assert_eq!(subjects, ["Probe of c-01", "Probe of c-02"]);

    // A server that takes no mail.
    let refuses = Sink::start();
    refuses.on("rcpt", Action::Reply("550 5.7.1 no mail from you"));
    relay(&fleet, refuses.port);
    let output = fleet.run(&["rollout", "start", "relay", "--yes"]).code(1);
    assert!(
        output.stdout.contains("MW0290") && output.stdout.contains("probe@example.org is failed"),
        "{}",
        output.stdout
    );
    // Once it does, going on sends a new probe to those that failed.
    refuses.on("rcpt", Action::Usual);
    fleet.run(&["rollout", "resume", "relay"]).code(0);
    assert_eq!(refuses.received().len(), 2);
}

#[test]
fn a_token_that_may_not_send_is_reported() {
    let sink = Sink::start();
    let fleet = RolloutFixture::new(1);
    fleet.rollout(
        "relay",
        "gate: false\nwaves:\n  - { name: one, environments: [c-01], checks: { probe: { to: a@example.org } } }\n",
    );
    relay(&fleet, sink.port);
    let wanted = serde_json::from_value(serde_json::json!({ "name": "pipeline", "role": "deployer" })).unwrap();
    let deployer = fleet.ask(fleet.client("c-01").create_token(&wanted)).unwrap().secret;
    fleet.repo.write("deployer/c-01", deployer);
    let output = fleet.run(&["rollout", "start", "relay", "--yes", "--token-file", "deployer/{environment}"]).code(1);
    assert!(
        output.stderr.contains("MW0289") && output.stdout.contains("MW0202"),
        "{}\n{}",
        output.stdout,
        output.stderr
    );
    assert!(output.stdout.contains("--probe-token-file"), "{}", output.stdout);
    let two = ["--token-file", "deployer/{environment}", "--probe-token-file", "tokens/{environment}"];
    fleet.run(&[&["rollout", "resume", "relay"], &two[..]].concat()).code(0);
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn the_share_of_failed_deliveries_counts_from_the_change_on() {
    let sink = Sink::start();
    let fleet = RolloutFixture::empty(3);
    relay(&fleet, sink.port);
    fleet.seed();
    let send = |name: &str, to: &str| {
        let mut submission = Submission::new("EDU1".parse().unwrap(), "default".parse().unwrap());
        submission.to = vec![to.to_owned()];
        submission.text = Some("hello".to_owned());
        fleet.ask(async {
            let client = fleet.client(name);
            let mut message = client.submit(&submission, None).await.unwrap();
            while !message.status.is_final() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                message = client.message(message.id).await.unwrap().message;
            }
            message.status
        })
    };
    // Deliveries that failed before the change do not count.
    sink.on("rcpt", Action::Reply("550 5.1.1 no such user"));
    assert_eq!(send("c-01", "before@example.org"), Status::Failed);
    sink.on("rcpt", Action::Usual);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let text =
        CHECKED.replace("checks: CHECKS }", "soak: 15s, checks: { failedDeliveries: { below: 40%, over: 15m } } }");
    fleet.rollout("relay", &text);
    fleet.repo.write("environments/base/environment.yaml", "abstract: true\ncompanies: [EDU1, EDU2]\n");
    let child = fleet.spawn(&["rollout", "start", "relay", "--yes"]);
    fleet.wait_for("relay", is("soakStarted"));
    for number in 0..3 {
        assert_eq!(send("c-01", &format!("{number}@example.org")), Status::Delivered);
    }
    sink.on("rcpt", Action::Reply("550 5.1.1 no such user"));
    assert_eq!(send("c-02", "after@example.org"), Status::Failed);
    let output = end(child).code(1);
    assert!(output.stdout.contains("c-01: the checks passed"), "{}", output.stdout);
    assert!(output.stdout.contains("failedDeliveries: 1 of 1 deliveries failed"), "{}", output.stdout);
}

#[test]
fn verify_runs_before_and_after_the_change() {
    let sink = Sink::start();
    let fleet = RolloutFixture::new(2);
    relay(&fleet, sink.port);
    let text = "waves:\n  - { name: all, environments: ['*'], parallel: 1, soak: 2s, checks: { verify: clean } }\n";
    fleet.rollout("relay", text);
    let child = fleet.spawn(&["rollout", "start", "relay", "--yes"]);
    fleet.wait_for("relay", is("soakStarted"));
    sink.on("mail", Action::Reply("550 5.7.1 not you"));
    let output = end(child).code(1);
    assert!(
        output.stdout.contains("MW0290") && output.stdout.contains("verify: verify found errors in relay"),
        "{}",
        output.stdout
    );
    // The gate: nothing is applied where the server would take nothing.
    fleet.run(&["rollout", "abort", "relay", "--yes"]).code(0);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    relay(&fleet, port);
    let output = fleet.run(&["rollout", "start", "relay", "--yes"]).code(1);
    assert!(output.stdout.contains("MW0234") && output.stdout.contains("c-01"), "{}{}", output.stdout, output.stderr);
    assert_eq!(fleet.generations("c-01").len(), 2, "the seed, and the first rollout");
    fleet.run(&["rollout", "abort", "relay", "--yes"]).code(0);
    fleet.rollout("relay", &format!("gate: false\n{}", text.replace(", checks: { verify: clean }", "")));
    fleet.run(&["rollout", "start", "relay", "--yes"]).code(0);
    let last = fleet.generations("c-01").pop().unwrap();
    assert!(last.allowances.unverified, "the audit log says that it was not verified");
}
