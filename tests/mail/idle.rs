//! While everything waits, whatever it waits for, the service has nothing to do: the store's transactions are counted.

use std::time::Duration;

use serde_json::json;

use crate::{
    harness::{Post, QUICK, relay},
    sink::{Act, Sink},
};

/// How many transactions the store has seen.
fn transactions(post: &Post) -> u64 {
    let metrics = post.trial.http("GET", "/metrics", &[], b"").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("mailwright_store_transactions_total"));
    line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or_default()
}

/// Asserts that nothing happens from here on: fewer than one transaction a second, after what was under way has ended.
fn is_idle(post: &Post, what: &str) {
    std::thread::sleep(Duration::from_millis(1500));
    let before = transactions(post);
    std::thread::sleep(Duration::from_secs(5));
    let seen = transactions(post) - before;
    assert!(seen <= 5, "{what}: {seen} transactions in five seconds\n{:#}\n{}", post.outbox(), post.log());
}

/// Holds the lane of a function of EDU1.
fn hold(post: &Post, function: &str) {
    let hold = json!({ "company": "EDU1", "function": function, "reason": "later" });
    assert_eq!(post.trial.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status, 201);
}

#[test]
fn a_server_that_was_away_and_then_asks_for_patience() {
    let sink = Sink::start();
    sink.at("connect", Act::SayTimes(1, "421 4.3.2 shutting down"));
    sink.at("mail", Act::Say("432 4.3.2 concurrent connections limit exceeded"));
    let post = Post::new(sink.port, "", "");
    post.send(json!({ "subject": "a" }));
    sink.wait_for("connect", 1);
    let ids: Vec<String> = (0..3).map(|_| post.send(json!({ "subject": "b" }))).collect();
    sink.wait_for("mail", 1);
    is_idle(&post, "down, then throttled");
    post.send(json!({ "subject": "c" }));
    hold(&post, "all-reports");
    post.send(json!({ "function": "all-reports" }));
    is_idle(&post, "and more mail, some of it held");
    assert!(ids.iter().all(|id| post.message(id)["status"] == "queued"));
}

#[test]
fn a_suspended_profile_whose_mailbox_has_reached_its_limit() {
    let sink = Sink::start();
    sink.users(&[("mailer", "right-password")]);
    let post = Post::guarded(sink.port, "", "none", true);
    let limited = post.trial.read("environments/dev/profiles/relay.yaml");
    post.trial.write("environments/dev/profiles/relay.yaml", format!("{limited}limits: {{ recipientsPerDay: 1 }}\n"));
    post.apply();
    let first = post.send(json!({}));
    post.wait(&first, "delivered");
    // The login is refused now and then works again: one message would go first, and the day's limit does not let it.
    sink.users(&[("mailer", "another-password")]);
    for _ in 0..3 {
        post.send(json!({}));
    }
    is_idle(&post, "the limit of the day");
    sink.users(&[("mailer", "right-password")]);
    is_idle(&post, "the login works again");
}

#[test]
fn two_profiles_with_one_mailbox_whose_server_is_slow() {
    let sink = Sink::start();
    sink.at("dot", Act::Held);
    let post = Post::unapplied(sink.port, QUICK, "limits: { concurrency: 1 }\n");
    let more = "functions: [all-reports]\nappliesTo: system-wide\nlimits: { concurrency: 1 }\n";
    relay(&post.trial, "reports", sink.port, "", more);
    let mut post = post;
    post.trial.serve_with(&["--demo"]);
    post.apply();
    let ids: Vec<String> =
        (0..6).map(|n| post.send(json!({ "function": if n % 2 == 0 { "default" } else { "all-reports" } }))).collect();
    sink.wait_for("dot", 1);
    is_idle(&post, "one connection for two profiles");
    // Both get their turn, and neither more than the mailbox may have.
    sink.at("dot", Act::Usual);
    for id in &ids {
        post.wait(id, "delivered");
    }
    assert_eq!(sink.taken().len(), 6);
    assert_eq!(sink.most_open().min(2), sink.most_open(), "one connection for each profile at most");
}

#[test]
fn a_rate_and_a_refused_next_secret_and_a_server_that_is_gone() {
    let sink = Sink::start();
    let gone = Sink::start();
    gone.at("connect", Act::HangUp);
    let post = Post::unapplied(sink.port, "", "limits: { perMinute: 2 }\n");
    relay(&post.trial, "gone", gone.port, "", "functions: [all-reports]\nappliesTo: system-wide\n");
    let mut post = post;
    post.trial.serve_with(&["--demo"]);
    post.apply();
    for _ in 0..5 {
        post.send(json!({}));
        post.send(json!({ "function": "all-reports" }));
    }
    sink.wait_taken(2);
    gone.wait_for("connect", 3);
    is_idle(&post, "a rate, and a server that hangs up");
}
