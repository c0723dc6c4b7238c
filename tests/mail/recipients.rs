//! One refused address costs the others nothing, and only those that can be tried again are.

use serde_json::json;

use crate::{
    harness::{Post, QUICK},
    sink::{Act, Sink},
};

#[test]
fn each_recipient_has_its_own_result() {
    let sink = Sink::start();
    let post = Post::new(sink.port, QUICK, "");
    let id = post.send(json!({ "to": ["one@example.org", "550=gone@example.org"], "bcc": ["two@example.org"] }));
    let message = post.wait(&id, "failed");
    let status = |index: usize| message["recipients"][index]["status"].as_str().unwrap().to_owned();
    assert_eq!([status(0), status(1), status(2)], ["delivered", "failed", "delivered"]);
    assert!(message["reason"].as_str().unwrap().starts_with("550=gone@example.org: 550 "), "{}", message["reason"]);
    let taken = sink.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].to, ["one@example.org", "two@example.org"]);
    assert!(!taken[0].content.contains("two@example.org"), "a blind copy stands in no header");

    // Sent again, it goes to the one that it did not reach.
    assert_eq!(post.act(&id, "replay").status, 200);
    post.wait_until(&id, "its second end", |message| message["attempts"] == 2 && message["status"] == "failed");
    assert_eq!(sink.taken().len(), 1, "those who had it do not get it twice");
}

#[test]
fn only_those_who_wait_are_tried_again() {
    let sink = Sink::start();
    let post = Post::new(sink.port, QUICK, "");
    let id = post.send(json!({ "to": ["one@example.org", "450=later@example.org"] }));
    post.wait_until(&id, "a second attempt", |message| message["attempts"].as_u64() >= Some(2));
    sink.at("rcpt", Act::Say("250 2.1.5 ok"));
    let message = post.wait(&id, "delivered");
    assert_eq!(message["recipients"][0]["status"], "delivered");
    let taken = sink.taken();
    assert_eq!(taken.len(), 2, "one mail for each: {taken:#?}");
    assert_eq!(taken[1].to, ["450=later@example.org"]);
    assert_eq!(taken[0].header("message-id"), taken[1].header("message-id"));
}
