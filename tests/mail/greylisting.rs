//! A server that says "not now" to whom it does not know: the next attempt delivers, once.

use serde_json::json;

use crate::{
    harness::{Post, QUICK},
    sink::{Act, Sink},
};

#[test]
fn the_next_attempt_delivers_one_copy() {
    let sink = Sink::start();
    sink.at("rcpt", Act::SayTimes(1, "450 4.2.0 <customer@example.org>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.org.html"));
    let post = Post::new(sink.port, QUICK, "");
    let id = post.send(json!({}));
    let message = post.wait(&id, "delivered");
    assert_eq!(message["attempts"], 2);
    let history = message["history"].as_array().unwrap();
    assert_eq!((&history[0]["phase"], &history[0]["class"]), (&json!("rcpt"), &json!("transient")));
    assert!(history[0]["nextAttemptAt"].is_string() && history[1]["nextAttemptAt"].is_null());
    assert_eq!(sink.taken().len(), 1);
}
