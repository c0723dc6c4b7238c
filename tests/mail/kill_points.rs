//! `kill -9` at named points: the mail server reports the progress of a message, and the service is killed exactly there.

use std::time::Duration;

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
    support::own::{own_sender, sending_from},
};

const HOLDS: &str = "  functions: { default: { unknown: hold } }\n";

#[test]
fn killed_after_a_message_was_accepted() {
    let sink = Sink::start();
    sink.on("connect", Action::Silent);
    let mut service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({}));
    sink.wait_for("connect", 1);
    sink.on("connect", Action::Usual);
    service.restart();
    let message = service.wait(&id, "delivered");
    assert_eq!(message["possibleDuplicate"], serde_json::Value::Null);
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn killed_during_the_envelope() {
    let sink = Sink::start();
    sink.on("rcpt", Action::Silent);
    let mut service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({}));
    sink.wait_for("rcpt", 1);
    sink.on("rcpt", Action::Usual);
    service.restart();
    // Nothing had left, so nothing is in doubt.
    let message = service.wait(&id, "delivered");
    assert_eq!(message["possibleDuplicate"], serde_json::Value::Null, "{message:#}");
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn recipients_that_were_refused_keep_their_result() {
    let sink = Sink::start();
    sink.on("dot", Action::Silent);
    let mut service = MailService::new(sink.port, &format!("{QUICK}{HOLDS}"), "");
    let to = ["550=never@example.org", "450=later@example.org", "taken@example.org"];
    let id = service.send(json!({ "to": to }));
    sink.wait_for("dot", 1);
    sink.on("dot", Action::Usual);
    service.restart();
    // Only the one that was accepted is in doubt. The one that was refused for now is attempted again.
    let message = service.wait_until(&id, "another attempt", |message| message["history"][1].is_object());
    let status = |index: usize| message["recipients"][index]["status"].as_str().unwrap();
    assert_eq!((status(0), status(1), status(2)), ("failed", "waiting", "unknown"), "{message:#}");
    assert!(message["recipients"][0]["reply"].as_str().unwrap().starts_with("550"), "{message:#}");
    assert_eq!(message["history"][1]["phase"], "rcpt", "{message:#}");
    assert_eq!(service.act(&id, "cancel").status, 200);
}

#[test]
fn killed_after_the_dot_and_before_the_final_reply() {
    let sink = Sink::start();
    sink.on("dot", Action::Silent);
    let mut service = MailService::new(sink.port, &format!("{QUICK}{HOLDS}"), "");
    let id = service.send(json!({}));
    sink.wait_for("dot", 1);
    sink.on("dot", Action::Usual);
    service.restart();
    // The server has it, and the service cannot know.
    let message = service.wait(&id, "unknown");
    assert_eq!(message["recipients"][0]["status"], "unknown");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(sink.received().len(), 1, "an unknown message is not sent again without a decision");
    // An operator decides, and it is marked.
    assert_eq!(service.act(&id, "replay").status, 200);
    let message = service.wait(&id, "delivered");
    assert_eq!(message["possibleDuplicate"], true);
    let received = sink.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("message-id"), received[1].header("message-id"), "both have one Message-ID");
}

#[test]
fn killed_after_a_message_was_marked_and_before_the_dot() {
    let sink = Sink::start();
    sink.stall_after(Some(20_000));
    let sender = own_sender();
    let mut service = MailService::new(sink.port, &format!("{QUICK}{HOLDS}"), &sending_from(&sender));
    // More than fits between the two: the service is still writing when the server reads no more.
    let id = service.send(json!({ "text": "0123456789 ".repeat(1_200_000) }));
    sink.wait_for("stalled", 1);
    let message = service.wait(&id, "sending");
    assert_eq!(message["attempts"], 1);
    sink.stall_after(None);
    service.restart();
    // It cannot have been taken, and the service cannot know how far it had come.
    let message = service.wait(&id, "unknown");
    assert_eq!((&message["attempts"], message["history"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(message["history"][0]["class"], "unknown", "the attempt is in the history: {message:#}");
    assert!(sink.received_from(&sender).is_empty());
    assert_eq!(service.act(&id, "replay").status, 200);
    assert_eq!(service.wait(&id, "delivered")["attempts"], 2);
    assert_eq!(sink.received_from(&sender).len(), 1);
}

#[test]
fn killed_after_the_final_reply_and_before_it_was_recorded() {
    let sink = Sink::start();
    sink.on("dot", Action::Held);
    let mut service = MailService::new(sink.port, &format!("{QUICK}{HOLDS}"), "");
    let id = service.send(json!({}));
    sink.wait_for("dot", 1);
    // Nothing can be written any more: whatever the server answers now, the service cannot write it down.
    let store = rusqlite::Connection::open(service.repo.path(".data/store.sqlite")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    sink.on("dot", Action::Usual);
    sink.wait_received(1);
    std::thread::sleep(Duration::from_millis(500));
    service.repo.kill();
    store.execute_batch("ROLLBACK").unwrap();
    drop(store);
    service.restart();
    let message = service.wait(&id, "unknown");
    let own = message["messageId"].as_str().unwrap().to_owned();
    let copies = sink.received().iter().filter(|received| received.header("message-id") == Some(own.clone())).count();
    assert_eq!(copies, 1, "it had been taken, and is not sent again by itself:\n{message:#}");
}
