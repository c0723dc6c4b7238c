//! Refusals that do not name the party that they are about. The same one to every message suspends the profile before
//! everything has failed; one that others do not get is held against the message.

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK, count},
    sink::{Action, Sink},
};

#[test]
fn the_same_refusal_of_every_message_suspends_the_profile() {
    for (verb, reply) in [("rcpt", "550 go away"), ("rcpt", "554 5.7.1 policy 4711"), ("dot", "554 5.7.1 not from you")]
    {
        let sink = Sink::start();
        sink.on(verb, Action::Reply(reply));
        let service = MailService::new(sink.port, QUICK, "");
        let ids: Vec<String> = (0..30).map(|n| service.send(json!({ "to": [format!("r{n}@example.org")] }))).collect();
        let outbox = service.wait_outbox("the suspended profile", |outbox| outbox["suspended"] != json!([]));
        assert!(count(&outbox, "failed") <= 4, "{reply}: {outbox:#}");
        assert_eq!(outbox["parked"], outbox["suspended"], "the former name is still written");
        // It is tried now and then, and costs no more messages.
        service.wait_outbox("another try", |_| sink.seen(verb) > 8);
        assert!(count(&service.outbox(), "failed") <= 4, "{reply}: {:#}", service.outbox());
        sink.on(verb, Action::Usual);
        let outbox = service.wait_empty();
        let failed = count(&outbox, "failed");
        assert!(failed <= 4 && count(&outbox, "delivered") + failed == ids.len() as u64, "{reply}: {outbox:#}");
        assert_eq!(outbox["suspended"], json!([]));
    }
}

#[test]
fn unknown_recipients_suspend_nothing() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let ids: Vec<String> = (0..20).map(|n| service.send(json!({ "to": [format!("550=r{n}@example.org")] }))).collect();
    for id in &ids {
        service.wait(id, "failed");
    }
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn addresses_that_the_server_does_not_support_suspend_nothing() {
    let sink = Sink::start();
    sink.extensions(&["8BITMIME"]);
    let service = MailService::new(sink.port, QUICK, "");
    let ids: Vec<String> = (0..10).map(|n| service.send(json!({ "to": [format!("jörg{n}@example.org")] }))).collect();
    for id in &ids {
        assert!(service.wait(id, "failed")["reason"].as_str().unwrap().contains("SMTPUTF8"));
    }
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn a_recipient_without_relaying_delays_no_other() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let outside: Vec<String> =
        (0..3).map(|n| service.send(json!({ "to": [format!("relay={n}@example.org")] }))).collect();
    let inside: Vec<String> = (0..20).map(|n| service.send(json!({ "to": [format!("r{n}@example.com")] }))).collect();
    for id in &inside {
        service.wait(id, "delivered");
    }
    for id in &outside {
        let message = service.wait(id, "failed");
        assert!(message["recipients"][0]["reply"].as_str().unwrap().contains("Relay access denied"), "{message:#}");
    }
    // From now on such a message waits until another one passes, and nothing is suspended for it.
    let id = service.send(json!({ "to": ["relay=9@example.org"] }));
    service.wait_until(&id, "a refusal", |message| message["attempts"].as_u64() > Some(0));
    let other = service.send(json!({ "to": ["r@example.com"] }));
    service.wait(&other, "delivered");
    service.wait(&id, "failed");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn a_recipient_without_relaying_does_not_affect_the_others_of_its_message() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({ "to": ["relay=1@example.org", "a@example.com"] }));
    let message = service.wait(&id, "failed");
    assert_eq!(message["recipients"][1]["status"], "delivered", "{message:#}");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn refused_contents_delay_no_other_message() {
    let sink = Sink::start();
    sink.on("dot", Action::Reply("554 5.7.1 Message rejected, virus found"));
    let service = MailService::new(sink.port, QUICK, "");
    let bad: Vec<String> = (0..12).map(|n| service.send(json!({ "to": [format!("b{n}@example.org")] }))).collect();
    for id in &bad {
        service.wait(id, "failed");
    }
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn a_recipient_whose_server_refuses_the_sender_fails_and_delays_no_other() {
    let sink = Sink::start();
    sink.on("rcpt", Action::Reply("550 5.7.1 Sender rejected by this user"));
    let service = MailService::new(sink.port, QUICK, "");
    let bad = service.send(json!({ "to": ["relay=1@example.org"] }));
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"] != json!([]));
    sink.on("rcpt", Action::Usual);
    let good: Vec<String> = (0..5).map(|n| service.send(json!({ "to": [format!("g{n}@example.com")] }))).collect();
    for id in &good {
        service.wait(id, "delivered");
    }
    service.wait(&bad, "failed");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn an_excused_reply_fails_no_message_of_a_later_outage() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let partial = service.send(json!({ "to": ["relay=1@example.org", "a@example.com"] }));
    let message = service.wait(&partial, "failed");
    let reply = message["recipients"][0]["reply"].as_str().unwrap().to_owned();
    sink.on("rcpt", Action::Reply(String::leak(reply)));
    let waiting: Vec<String> = (0..10).map(|n| service.send(json!({ "to": [format!("c{n}@example.com")] }))).collect();
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"] != json!([]));
    sink.on("rcpt", Action::Usual);
    for id in &waiting {
        service.wait(id, "delivered");
    }
}
