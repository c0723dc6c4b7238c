//! A server that defers unknown senders: the next attempt delivers, once.

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
};

#[test]
fn the_next_attempt_delivers_one_copy() {
    let sink = Sink::start();
    sink.on("rcpt", Action::ReplyTimes(1, "450 4.2.0 <customer@example.org>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.org.html"));
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({}));
    let message = service.wait(&id, "delivered");
    assert_eq!(message["attempts"], 2);
    let history = message["history"].as_array().unwrap();
    assert_eq!((&history[0]["phase"], &history[0]["class"]), (&json!("rcpt"), &json!("transient")));
    assert!(history[0]["nextAttemptAt"].is_string() && history[1]["nextAttemptAt"].is_null());
    assert_eq!(sink.received().len(), 1);
}
