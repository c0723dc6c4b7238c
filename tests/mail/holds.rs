//! Holds: nothing leaves of what is held, its clock stands still, and it leaves when the hold ends.

use std::time::Duration;

use serde_json::json;

use crate::{
    harness::{Post, QUICK},
    sink::Sink,
};

#[test]
fn what_is_held_waits_and_what_is_not_leaves() {
    let sink = Sink::start();
    let mut post = Post::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ lifetime: 2s }} }}\n"), "");
    let held = post
        .trial
        .run(&["outbox", "dev", "hold", "--company", "EDU1", "--reason", "wrong price list", "--format", "json"])
        .code(0)
        .json();
    assert_eq!((&held["owner"], &held["reason"]), (&json!("first-admin"), &json!("wrong price list")));
    let waits = post.send(json!({}));
    let leaves = post.send(json!({ "company": "EDU2" }));
    post.wait(&leaves, "delivered");
    // Longer than its lifetime, and over a restart.
    post.restart();
    std::thread::sleep(Duration::from_millis(2500));
    let message = post.message(&waits);
    assert_eq!((&message["status"], &message["attempts"]), (&json!("queued"), &json!(0)));
    assert_eq!(message["waitsFor"], "held by first-admin: wrong price list");
    assert_eq!(sink.taken().len(), 1);
    post.trial.run(&["outbox", "dev", "release", held["id"].as_str().unwrap()]).code(0);
    post.wait(&waits, "delivered");
    let audit = post.trial.run(&["audit", "list", "dev", "--format", "json"]).code(0).stdout;
    assert!(audit.contains("hold.create") && audit.contains("hold.remove") && audit.contains("wrong price list"));
}

#[test]
fn a_hold_ends_by_itself() {
    let sink = Sink::start();
    let post = Post::new(sink.port, QUICK, "");
    post.trial.run(&["outbox", "dev", "hold", "--function", "default", "--reason", "a moment", "--for", "2s"]).code(0);
    let id = post.send(json!({}));
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(post.message(&id)["status"], "queued");
    post.wait(&id, "delivered");
    assert_eq!(post.outbox()["holds"], json!([]));
}

#[test]
fn what_waits_can_be_called_back() {
    let sink = Sink::start();
    let post = Post::new(sink.port, QUICK, "");
    post.trial.run(&["outbox", "dev", "hold", "--profile", "relay", "--reason", "a moment"]).code(0);
    let id = post.send(json!({}));
    let shown = post.trial.run(&["outbox", "dev", "show", &id]).code(0).stdout;
    assert!(shown.contains("waits      held by first-admin: a moment"), "{shown}");
    post.trial.run(&["outbox", "dev", "cancel", &id]).code(0);
    assert_eq!(post.message(&id)["status"], "cancelled");
    let again = post.trial.run(&["outbox", "dev", "cancel", &id]).code(1);
    assert!(again.stderr.contains("MW0266"), "{}", again.stderr);
    let holds = post.trial.run(&["outbox", "dev", "holds", "--format", "json"]).code(0).json();
    post.trial.run(&["outbox", "dev", "release", holds[0]["id"].as_str().unwrap()]).code(0);
    std::thread::sleep(Duration::from_millis(500));
    assert!(sink.taken().is_empty(), "what was called back never leaves");
}
