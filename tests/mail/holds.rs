//! Holds: a held message does not leave, its lifetime is paused, and it leaves when the hold ends.

use std::time::Duration;

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK, count},
    sink::{Action, Sink},
    support::own::{own_sender, sending_from},
};

#[test]
fn held_messages_wait_and_others_leave() {
    let sink = Sink::start();
    let mut service =
        MailService::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ lifetime: 10s }} }}\n"), "");
    let held = service
        .repo
        .run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "wrong price list", "--format", "json"])
        .code(0)
        .json();
    assert_eq!((&held["owner"], &held["reason"]), (&json!("first-admin"), &json!("wrong price list")));
    let waits = service.send(json!({}));
    let leaves = service.send(json!({ "company": "EDU2" }));
    service.wait(&leaves, "delivered");
    // Longer than its lifetime, and over a restart.
    service.restart();
    std::thread::sleep(Duration::from_millis(10_500));
    let message = service.message(&waits);
    assert_eq!((&message["status"], &message["attempts"]), (&json!("queued"), &json!(0)));
    assert_eq!(message["waiting"]["explanation"], "held by first-admin: wrong price list");
    assert_eq!(sink.received().len(), 1);
    service.repo.run(&["outbox", "release", "dev", held["id"].as_str().unwrap()]).code(0);
    service.wait(&waits, "delivered");
    let audit = service.repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).stdout;
    assert!(audit.contains("hold.create") && audit.contains("hold.remove") && audit.contains("wrong price list"));
}

#[test]
fn a_hold_ends_by_itself() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let hold = ["outbox", "hold", "dev", "--function", "default", "--reason", "a moment", "--for", "3s"];
    let hold = service.repo.run(&[&hold[..], &["--format", "json"]].concat()).code(0).json();
    let id = service.send(json!({}));
    let message = service.wait(&id, "delivered");
    let time = |text: &serde_json::Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let (attempt, end) = (time(&message["history"][0]["at"]), time(&hold["until"]));
    assert!(attempt >= end, "attempted at {attempt}, and held until {end}");
    assert_eq!(service.outbox()["holds"], json!([]));
}

#[test]
fn queued_messages_can_be_cancelled() {
    let sink = Sink::start();
    let sender = own_sender();
    let service = MailService::new(sink.port, QUICK, &sending_from(&sender));
    service.repo.run(&["outbox", "hold", "dev", "--profile", "relay", "--reason", "a moment"]).code(0);
    let id = service.send(json!({}));
    let shown = service.repo.run(&["outbox", "show", "dev", &id]).code(0).stdout;
    assert!(shown.contains("waits      held by first-admin: a moment"), "{shown}");
    // A status can select many messages: the question names how many, and nothing is changed without an answer.
    let asked = service.repo.run(&["outbox", "cancel", "dev", "--status", "queued"]).code(1);
    assert!(asked.stderr.contains("MW0233") && asked.stdout.contains(&id[..13]), "{}{}", asked.stdout, asked.stderr);
    assert_eq!(service.message(&id)["status"], "queued");
    service.repo.run(&["outbox", "cancel", "dev", &id]).code(0);
    assert_eq!(service.message(&id)["status"], "cancelled");
    let again = service.repo.run(&["outbox", "cancel", "dev", &id]).code(1);
    assert!(again.stderr.contains("MW0266"), "{}", again.stderr);
    let holds = service.repo.run(&["outbox", "holds", "dev", "--format", "json"]).code(0).json();
    assert_eq!(holds["holds"].as_array().unwrap().len(), 1);
    let none = service.repo.run(&["outbox", "release", "dev"]).code(1);
    assert!(none.stderr.contains("`mailwright outbox holds dev` shows the ids."), "{}", none.stderr);
    let released = service.repo.run(&["outbox", "release", "dev", "--reason", "a moment"]).code(0);
    assert!(released.stdout.contains("Released.") || released.stderr.contains("Released."), "{released:?}");
    std::thread::sleep(Duration::from_millis(500));
    assert!(sink.received_from(&sender).is_empty(), "what was called back never leaves");
}

/// A service with forty messages, of which two at a time are under way.
fn messages_in_delivery(sink: &Sink) -> (MailService, Vec<String>) {
    sink.on("dot", Action::Slowly(25));
    let service = MailService::new(sink.port, QUICK, "limits: { concurrency: 2 }\n");
    let ids = (0..40).map(|_| service.send(json!({}))).collect();
    sink.wait_received(2);
    (service, ids)
}

#[test]
fn a_hold_applies_to_prefetched_messages() {
    let sink = Sink::start();
    // Two are under way until the hold has been acknowledged, and others are read ahead.
    sink.on("dot", Action::Held);
    let service = MailService::new(sink.port, QUICK, "limits: { concurrency: 2 }\n");
    let ids: Vec<String> = (0..40).map(|_| service.send(json!({}))).collect();
    sink.wait_for("dot", 2);
    let hold = service.repo.run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "x", "--format", "json"]);
    sink.on("dot", Action::Usual);
    service.wait_outbox("the end of those under way", |outbox| count(outbox, "delivered") >= 2);
    std::thread::sleep(Duration::from_secs(3));
    let begun = sink.seen("mail");
    assert!(begun <= 4, "{} began after the hold was acknowledged", begun - 2);
    assert!(count(&service.outbox(), "queued") >= 20, "{:#}", service.outbox());
    // A held message is not being sent, so it can be called back.
    let waits = ids.iter().rev().take(10);
    waits.for_each(|id| assert_eq!(service.act(id, "cancel").status, 200));
    service.repo.run(&["outbox", "release", "dev", hold.code(0).json()["id"].as_str().unwrap()]).code(0);
    let outbox = service.wait_empty();
    assert_eq!((count(&outbox, "delivered"), count(&outbox, "cancelled")), (30, 10));
    assert_eq!(sink.received().len(), 30);
}

#[test]
fn prefetched_messages_can_be_cancelled() {
    let sink = Sink::start();
    let (service, ids) = messages_in_delivery(&sink);
    let status: Vec<u16> = ids.iter().map(|id| service.act(id, "cancel").status).collect();
    let outbox = service.wait_empty();
    // What was delivered or under way by then is not called back.
    let refused = status.iter().filter(|status| **status == 409).count();
    assert!(refused <= sink.received().len() && status.iter().all(|status| [200, 409].contains(status)), "{status:?}");
    assert_eq!(count(&outbox, "cancelled"), 40 - refused as u64);
    assert_eq!(sink.received().len(), refused, "what was called back never leaves, and all else does");
}

/// The service refuses what the command refuses, and an equal hold is not stored twice.
#[test]
fn the_service_refuses_a_hold_for_everything() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let post =
        |document: &serde_json::Value| service.repo.http("POST", "/v1/holds", &[], document.to_string().as_bytes());
    for everything in [json!({ "reason": "x" }), json!({ "reason": "x", "profile": null, "company": null })] {
        let refused = post(&everything);
        assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("MW0258")), "{}", refused.body);
    }
    assert_eq!(service.outbox()["holds"], json!([]));
    let one = json!({ "reason": "x", "company": "EDU1" });
    let (first, again) = (post(&one), post(&one));
    assert_eq!((first.status, again.status), (201, 200), "{}{}", first.body, again.body);
    assert_eq!(first.json()["id"], again.json()["id"]);
    let path = format!("/v1/holds/{}", first.json()["id"].as_str().unwrap());
    assert_eq!(service.repo.http("DELETE", &path, &[], b"").status, 204);
    assert_eq!(service.repo.http("DELETE", &path, &[], b"").status, 404);
    assert_eq!(service.outbox()["holds"], json!([]));
}

#[test]
fn a_hold_needs_an_existing_object() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    for what in [["--company", "NOPE"], ["--profile", "nope"]] {
        let refused = service.repo.run(&[&["outbox", "hold", "dev", "--reason", "x"], &what[..]].concat()).code(1);
        let code = if what[0] == "--company" { "MW0105" } else { "MW0340" };
        assert!(refused.stderr.contains(code) && refused.stderr.contains(what[1]), "{}", refused.stderr);
    }
    assert_eq!(service.outbox()["holds"], json!([]));
}

#[test]
fn a_message_that_is_sent_again_gets_a_new_lifetime() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ lifetime: 3s }} }}\n"), "");
    let id = service.send(json!({ "to": ["550=x@example.org"] }));
    service.wait(&id, "failed");
    // Its profile is suspended for longer than its lifetime, before it is sent again.
    let hold = service.repo.run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "x", "--format", "json"]);
    std::thread::sleep(Duration::from_secs(5));
    service.repo.run(&["outbox", "release", "dev", hold.code(0).json()["id"].as_str().unwrap()]).code(0);
    sink.on("mail", Action::Reply("451 4.3.0 not now"));
    assert_eq!(service.act(&id, "replay").status, 200);
    let message = service.wait(&id, "failed");
    assert!(message["reason"].as_str().unwrap().contains("within 3s"), "{message:#}");
    // An earlier pause does not extend the lifetime: no attempt begins after it. The pause was two seconds longer.
    let time = |text: &serde_json::Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let again = time(&message["requeuedAt"]);
    let last = message["history"].as_array().unwrap().iter().map(|attempt| time(&attempt["at"])).max().unwrap();
    assert!(last.duration_since(again).as_secs() < 5, "{message:#}");
}
