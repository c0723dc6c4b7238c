//! Another process takes over delivery while a message is being sent: the first one records and sends nothing more, and
//! logs the outcome that it cannot record.

use serde_json::{Value, json};

use crate::{
    login::events,
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
};

/// A message whose outcome is unknown waits for an operator.
const HOLDS: &str = "  functions: { default: { unknown: hold } }\n";
/// The server may take its time: the test decides when it answers.
const PATIENT: [&str; 3] = ["--demo", "--delivery-deadlines", "dot=300"];

/// Makes another process the owner of delivery. The lock of the data folder prevents that on one machine; it does not on a
/// file system whose locks do not hold.
fn take_over(service: &MailService) {
    let store = rusqlite::Connection::open(service.repo.path(".data/store.sqlite")).unwrap();
    let sql = "UPDATE store SET value = json_set(value, '$.epoch', json_extract(value, '$.epoch') + 1,
        '$.instance', '00000000-0000-0000-0000-000000000001') WHERE key = 'deliveryOwner'";
    assert_eq!(store.execute(sql, []).unwrap(), 1);
}

/// Returns the types of the events about a message.
fn events_about(service: &MailService, id: &str) -> Vec<String> {
    let all = events(service);
    let about = all.iter().filter(|event| event["message"]["id"] == id);
    about.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_outcome_of_an_earlier_owner_is_logged_and_not_recorded() {
    let sink = Sink::start();
    sink.on("dot", Action::Held);
    let mut service = MailService::unapplied(sink.port, &format!("{QUICK}{HOLDS}"), "");
    service.repo.serve_with(&PATIENT);
    service.apply();
    let id = service.send(json!({}));
    sink.wait_for("dot", 1);
    take_over(&service);
    sink.on("dot", Action::Usual);
    sink.wait_received(1);

    let line: Value = serde_json::from_str(&service.wait_logged("cannot record the outcome of a message")).unwrap();
    let line = line.to_string();
    for expected in [id.as_str(), "\"relay\"", "\"delivered\""] {
        assert!(line.contains(expected), "{expected} in {line}");
    }
    assert!(!line.contains("customer@example.org"), "{line}");
    service.wait_logged("another process took over delivery; delivery stopped");
    let message = service.message(&id);
    assert_eq!((&message["status"], &message["history"]), (&json!("sending"), &json!([])), "{message:#}");
    assert_eq!(events_about(&service, &id), Vec::<String>::new());

    // The next owner settles it, once, and does not send it again by itself.
    service.restart();
    let message = service.wait(&id, "unknown");
    assert_eq!(message["history"].as_array().unwrap().len(), 1, "{message:#}");
    assert_eq!(message["history"][0]["class"], "unknown", "{message:#}");
    assert_eq!(events_about(&service, &id), ["unknown"]);
    // It delivers what comes next; by then it would have sent this one as well.
    let next = service.send(json!({}));
    service.wait(&next, "delivered");
    assert_eq!(sink.received().len(), 2);
}
