//! `kill -9` at named points: the mail server tells how far a message has come, and the service dies exactly there.

use std::time::Duration;

use serde_json::json;

use crate::{
    harness::{Post, QUICK},
    sink::{Act, Sink},
};

const HOLDS: &str = "  functions: { default: { unknown: hold } }\n";

#[test]
fn after_it_was_accepted() {
    let sink = Sink::start();
    sink.at("connect", Act::Silent);
    let mut post = Post::new(sink.port, QUICK, "");
    let id = post.send(json!({}));
    sink.wait_for("connect", 1);
    sink.at("connect", Act::Usual);
    post.restart();
    let message = post.wait(&id, "delivered");
    assert_eq!(message["possibleDuplicate"], serde_json::Value::Null);
    assert_eq!(sink.taken().len(), 1);
}

#[test]
fn while_the_envelope_is_agreed_upon() {
    let sink = Sink::start();
    sink.at("rcpt", Act::Silent);
    let mut post = Post::new(sink.port, QUICK, "");
    let id = post.send(json!({}));
    sink.wait_for("rcpt", 1);
    sink.at("rcpt", Act::Usual);
    post.restart();
    // Nothing had left, so nothing is in doubt.
    let message = post.wait(&id, "delivered");
    assert_eq!(message["possibleDuplicate"], serde_json::Value::Null, "{message:#}");
    assert_eq!(sink.taken().len(), 1);
}

#[test]
fn after_the_dot_and_before_the_answer() {
    let sink = Sink::start();
    sink.at("dot", Act::Silent);
    let mut post = Post::new(sink.port, &format!("{QUICK}{HOLDS}"), "");
    let id = post.send(json!({}));
    sink.wait_for("dot", 1);
    sink.at("dot", Act::Usual);
    post.restart();
    // The server has it, and the service cannot know.
    let message = post.wait(&id, "unknown");
    assert_eq!(message["recipients"][0]["status"], "unknown");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(sink.taken().len(), 1, "what nobody can know of is not sent again by itself");
    // Somebody decides, and it is marked.
    assert_eq!(post.act(&id, "replay").status, 200);
    let message = post.wait(&id, "delivered");
    assert_eq!(message["possibleDuplicate"], true);
    let taken = sink.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].header("message-id"), taken[1].header("message-id"), "both have one Message-ID");
}

#[test]
fn after_it_was_marked_and_before_the_dot() {
    let sink = Sink::start();
    sink.stall_after(Some(20_000));
    let mut post = Post::new(sink.port, &format!("{QUICK}{HOLDS}"), "");
    // More than fits between the two: the service is still writing when the server reads no more.
    let id = post.send(json!({ "text": "0123456789 ".repeat(1_200_000) }));
    sink.wait_for("stalled", 1);
    let message = post.wait(&id, "sending");
    assert_eq!(message["attempts"], 1);
    sink.stall_after(None);
    post.restart();
    // It cannot have been taken, and the service cannot know how far it had come.
    let message = post.wait(&id, "unknown");
    assert_eq!((&message["attempts"], message["history"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(message["history"][0]["class"], "unknown", "the attempt is told of: {message:#}");
    assert!(sink.taken().is_empty());
    assert_eq!(post.act(&id, "replay").status, 200);
    assert_eq!(post.wait(&id, "delivered")["attempts"], 2);
    assert_eq!(sink.taken().len(), 1);
}

#[test]
fn after_the_answer_and_before_it_was_written_down() {
    let sink = Sink::start();
    sink.at("dot", Act::Held);
    let mut post = Post::new(sink.port, &format!("{QUICK}{HOLDS}"), "");
    let id = post.send(json!({}));
    sink.wait_for("dot", 1);
    // Nothing can be written any more: whatever the server answers now, the service cannot write it down.
    let store = rusqlite::Connection::open(post.trial.path(".data/store.sqlite")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    sink.at("dot", Act::Usual);
    sink.wait_taken(1);
    std::thread::sleep(Duration::from_millis(500));
    post.trial.kill();
    store.execute_batch("ROLLBACK").unwrap();
    drop(store);
    post.restart();
    let message = post.wait(&id, "unknown");
    let own = message["messageId"].as_str().unwrap().to_owned();
    let copies = sink.taken().iter().filter(|taken| taken.header("message-id") == Some(own.clone())).count();
    assert_eq!(copies, 1, "it had been taken, and is not sent again by itself:\n{message:#}");
}
