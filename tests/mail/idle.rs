//! While everything waits, whatever it waits for, the service has nothing to do: the store's transactions are counted.

use std::time::Duration;

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK, relay},
    sink::{Action, Sink},
};

/// Returns the number of transactions of the store.
fn transactions(service: &MailService) -> u64 {
    let metrics = service.repo.http("GET", "/metrics", &[], b"").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("mailwright_store_transactions_total"));
    line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or_default()
}

/// Asserts that nothing happens from here on: fewer than one transaction a second, after what was under way has ended.
fn assert_idle(service: &MailService, what: &str) {
    std::thread::sleep(Duration::from_millis(1500));
    let before = transactions(service);
    std::thread::sleep(Duration::from_secs(5));
    let seen = transactions(service) - before;
    assert!(seen <= 5, "{what}: {seen} transactions in five seconds\n{:#}\n{}", service.outbox(), service.log());
}

/// Holds the lane of a function of EDU1.
fn hold(service: &MailService, function: &str) {
    let hold = json!({ "company": "EDU1", "function": function, "reason": "later" });
    assert_eq!(service.repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status, 201);
}

#[test]
fn idle_after_an_outage_and_a_throttling_reply() {
    let sink = Sink::start();
    sink.on("connect", Action::ReplyTimes(1, "421 4.3.2 shutting down"));
    sink.on("mail", Action::Reply("432 4.3.2 concurrent connections limit exceeded"));
    let service = MailService::new(sink.port, "", "");
    service.send(json!({ "subject": "a" }));
    sink.wait_for("connect", 1);
    let ids: Vec<String> = (0..3).map(|_| service.send(json!({ "subject": "b" }))).collect();
    sink.wait_for("mail", 1);
    assert_idle(&service, "down, then throttled");
    service.send(json!({ "subject": "c" }));
    hold(&service, "all-reports");
    service.send(json!({ "function": "all-reports" }));
    assert_idle(&service, "and more mail, some of it held");
    assert!(ids.iter().all(|id| service.message(id)["status"] == "queued"));
}

#[test]
fn idle_with_a_suspended_profile_whose_mailbox_has_reached_its_limit() {
    let sink = Sink::start();
    sink.users(&[("mailer", "right-password")]);
    let service = MailService::guarded(sink.port, "", "none", true);
    let limited = service.repo.read("environments/dev/profiles/relay.yaml");
    service.repo.write("environments/dev/profiles/relay.yaml", format!("{limited}limits: {{ recipientsPerDay: 1 }}\n"));
    service.apply();
    let first = service.send(json!({}));
    service.wait(&first, "delivered");
    // The login is refused now and then works again: one message would go first, and the day's limit does not let it.
    sink.users(&[("mailer", "another-password")]);
    for _ in 0..3 {
        service.send(json!({}));
    }
    assert_idle(&service, "the limit of the day");
    sink.users(&[("mailer", "right-password")]);
    assert_idle(&service, "the login works again");
}

#[test]
fn idle_with_two_profiles_of_one_mailbox_whose_server_is_slow() {
    let sink = Sink::start();
    sink.on("dot", Action::Held);
    let service = MailService::unapplied(sink.port, QUICK, "limits: { concurrency: 1 }\n");
    let more = "functions: [all-reports]\nappliesTo: system-wide\nlimits: { concurrency: 1 }\n";
    relay(&service.repo, "reports", sink.port, "", more);
    let mut service = service;
    service.repo.serve_with(&["--demo"]);
    service.apply();
    let ids: Vec<String> = (0..6)
        .map(|n| service.send(json!({ "function": if n % 2 == 0 { "default" } else { "all-reports" } })))
        .collect();
    sink.wait_for("dot", 1);
    assert_idle(&service, "one connection for two profiles");
    // Both get their turn, and neither more than the mailbox may have.
    sink.on("dot", Action::Usual);
    for id in &ids {
        service.wait(id, "delivered");
    }
    assert_eq!(sink.received().len(), 6);
    assert_eq!(sink.most_open().min(2), sink.most_open(), "one connection for each profile at most");
}

#[test]
fn idle_with_a_rate_a_refused_next_secret_and_an_unreachable_server() {
    let sink = Sink::start();
    let gone = Sink::start();
    gone.on("connect", Action::HangUp);
    let service = MailService::unapplied(sink.port, "", "limits: { perMinute: 2 }\n");
    relay(&service.repo, "gone", gone.port, "", "functions: [all-reports]\nappliesTo: system-wide\n");
    let mut service = service;
    service.repo.serve_with(&["--demo"]);
    service.apply();
    for _ in 0..5 {
        service.send(json!({}));
        service.send(json!({ "function": "all-reports" }));
    }
    sink.wait_received(2);
    gone.wait_for("connect", 3);
    assert_idle(&service, "a rate, and a server that hangs up");
}
