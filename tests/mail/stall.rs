//! A mail server that begins to take a message and then reads no more, or a byte a second: the attempt ends within the
//! deadline of a part and not of the whole, nothing is in doubt since the dot never left, and other messages do not wait.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    mail_service::{MailService, QUICK, assert_nothing_lost, relay},
    sink::Sink,
};

/// More than fits between the two: what a system keeps for a connection on its own machine is at most 10 MB.
const LARGE: usize = 14_000_000;
/// The time that a part may take with the deadlines of these tests: 2 s, and 6 s for its 64 KiB.
const PART: Duration = Duration::from_secs(8);

fn large_message() -> Value {
    json!({ "text": "0123456789 ".repeat(LARGE / 11) })
}

fn stalls(make: impl Fn(&Sink)) {
    let sink = Sink::start();
    make(&sink);
    let service = MailService::with_short_deadlines(sink.port, QUICK, "");
    let submitted = service.submit(large_message()).json();
    let text = |key: &str| submitted[key].as_str().unwrap().to_owned();
    let (large, accepted) = (text("id"), BTreeMap::from([(text("messageId"), text("id"))]));
    sink.wait_for("stalled", 1);
    let message =
        service.wait_until(&large, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
    let attempt = &message["history"][0];
    assert_eq!((&attempt["phase"], &attempt["class"]), (&json!("data"), &json!("transient")), "{attempt:#}");
    assert!(
        attempt["reply"].as_str().unwrap().starts_with("the server stopped reading: no response within "),
        "{attempt:#}"
    );
    assert!(attempt["nextAttemptAt"].is_string(), "{attempt:#}");
    // For the whole it would have been twenty minutes.
    let took = Duration::from_millis(attempt["milliseconds"].as_u64().unwrap());
    assert!(took >= PART && took < PART * 10, "{took:?}");

    sink.stall_after(None);
    let message = service.wait(&large, "delivered");
    assert_eq!(message["possibleDuplicate"], Value::Null, "{message:#}");
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for received in &sink.received() {
        *arrived.entry(received.header("message-id").unwrap()).or_default() += 1;
    }
    let tally = assert_nothing_lost(&service, &accepted, &arrived);
    assert_eq!((tally.delivered, tally.unknown, tally.twice), (1, 0, 0));
    assert_eq!(service.outbox()["unreachable"], json!([]));
}

#[test]
fn a_server_that_stops_reading_times_out_and_the_outcome_is_known() {
    stalls(|sink| sink.stall_after(Some(100_000)));
}

#[test]
fn a_server_that_reads_a_byte_a_second_times_out() {
    stalls(|sink| sink.drip_after(100_000));
}

#[test]
fn others_do_not_wait_for_a_server_that_stops_reading() {
    let (sink, other) = (Sink::start(), Sink::start());
    sink.stall_after(Some(100_000));
    let mut service = MailService::unapplied(sink.port, QUICK, "limits: { concurrency: 4 }\n");
    relay(&service.repo, "reports", other.port, "", "functions: [all-reports]\nappliesTo: system-wide\n");
    // Ten minutes, far more than the rest of this test takes: the attempt does not end by itself.
    service.repo.serve_with(&["--demo", "--delivery-deadlines", "connect=600,command=600,data=600,dot=600"]);
    service.apply();
    let large = service.send(large_message());
    sink.wait_for("stalled", 1);
    // The same server by its other connections, and another server.
    let others: Vec<String> = (0..10).map(|_| service.send(json!({}))).collect();
    let reports: Vec<String> = (0..10).map(|_| service.send(json!({ "function": "all-reports" }))).collect();
    for id in others.iter().chain(&reports) {
        service.wait(id, "delivered");
    }
    assert_eq!(service.message(&large)["status"], "sending");
}
