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
fn after_the_answer_and_before_it_was_written_down() {
    let sink = Sink::start();
    let mut post = Post::new(sink.port, &format!("{QUICK}{HOLDS}"), "");
    // However fast the kill is, it is delivered or unknown, and never sent twice.
    for _ in 0..5 {
        let id = post.send(json!({}));
        let before = sink.taken().len();
        sink.wait_taken(before.max(1));
        post.restart();
        let message = post
            .wait_until(&id, "its end", |message| message["status"] == "delivered" || message["status"] == "unknown");
        let own = message["messageId"].as_str().unwrap().to_owned();
        let copies = sink.taken().iter().filter(|taken| taken.header("message-id") == Some(own.clone())).count();
        assert!(copies == 1 || copies == 0 && message["status"] == "unknown", "{copies} copies:\n{message:#}");
    }
}
