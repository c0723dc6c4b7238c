//! Holds: nothing leaves of what is held, its clock stands still, and it leaves when the hold ends.

use std::time::Duration;

use serde_json::json;

use crate::{
    harness::{Post, QUICK, count},
    sink::{Act, Sink},
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

/// A service with forty messages, of which two at a time are under way.
fn under_way(sink: &Sink) -> (Post, Vec<String>) {
    sink.at("dot", Act::Slowly(25));
    let post = Post::new(sink.port, QUICK, "limits: { concurrency: 2 }\n");
    let ids = (0..40).map(|_| post.send(json!({}))).collect();
    sink.wait_taken(2);
    (post, ids)
}

#[test]
fn a_hold_reaches_what_was_read_ahead() {
    let sink = Sink::start();
    let (post, ids) = under_way(&sink);
    let hold = post.trial.run(&["outbox", "dev", "hold", "--company", "EDU1", "--reason", "x", "--format", "json"]);
    let begun = sink.seen("mail");
    std::thread::sleep(Duration::from_secs(3));
    let since = sink.seen("mail") - begun;
    assert!(since <= 2, "{since} began after the hold was acknowledged");
    assert!(count(&post.outbox(), "queued") >= 20, "{:#}", post.outbox());
    // Nobody works on what is held, so it can be called back.
    let waits = ids.iter().rev().take(10);
    waits.for_each(|id| assert_eq!(post.act(id, "cancel").status, 200));
    post.trial.run(&["outbox", "dev", "release", hold.code(0).json()["id"].as_str().unwrap()]).code(0);
    let outbox = post.wait_empty();
    assert_eq!((count(&outbox, "delivered"), count(&outbox, "cancelled")), (30, 10));
    assert_eq!(sink.taken().len(), 30);
}

#[test]
fn what_was_read_ahead_can_be_called_back() {
    let sink = Sink::start();
    let (post, ids) = under_way(&sink);
    let status: Vec<u16> = ids.iter().map(|id| post.act(id, "cancel").status).collect();
    let outbox = post.wait_empty();
    // What was delivered or under way by then is not called back.
    let refused = status.iter().filter(|status| **status == 409).count();
    assert!(refused <= sink.taken().len() && status.iter().all(|status| [200, 409].contains(status)), "{status:?}");
    assert_eq!(count(&outbox, "cancelled"), 40 - refused as u64);
    assert_eq!(sink.taken().len(), refused, "what was called back never leaves, and all else does");
}

#[test]
fn nobody_holds_what_does_not_exist() {
    let sink = Sink::start();
    let post = Post::new(sink.port, QUICK, "");
    for what in [["--company", "NOPE"], ["--profile", "nope"]] {
        let refused = post.trial.run(&[&["outbox", "dev", "hold", "--reason", "x"], &what[..]].concat()).code(1);
        assert!(refused.stderr.contains("MW0340") && refused.stderr.contains(what[1]), "{}", refused.stderr);
    }
    assert_eq!(post.outbox()["holds"], json!([]));
}

#[test]
fn what_is_sent_again_has_its_time_anew() {
    let sink = Sink::start();
    let post = Post::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ lifetime: 3s }} }}\n"), "");
    let id = post.send(json!({ "to": ["550=x@example.org"] }));
    post.wait(&id, "failed");
    // Its lane stands still for longer than it lives, before it is sent again.
    let hold = post.trial.run(&["outbox", "dev", "hold", "--company", "EDU1", "--reason", "x", "--format", "json"]);
    std::thread::sleep(Duration::from_secs(5));
    post.trial.run(&["outbox", "dev", "release", hold.code(0).json()["id"].as_str().unwrap()]).code(0);
    sink.at("mail", Act::Say("451 4.3.0 not now"));
    assert_eq!(post.act(&id, "replay").status, 200);
    let began = std::time::Instant::now();
    let message = post.wait(&id, "failed");
    assert!(message["reason"].as_str().unwrap().contains("within 3s"), "{message:#}");
    assert!(began.elapsed() < Duration::from_secs(8), "what stood still before is no gift: {:?}", began.elapsed());
}
