//! One refused address costs the others nothing, and only those that can be tried again are.

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
};

#[test]
fn each_recipient_has_its_own_result() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({ "to": ["one@example.org", "550=gone@example.org"], "bcc": ["two@example.org"] }));
    let message = service.wait(&id, "failed");
    let status = |index: usize| message["recipients"][index]["status"].as_str().unwrap().to_owned();
    assert_eq!([status(0), status(1), status(2)], ["delivered", "failed", "delivered"]);
    assert!(message["reason"].as_str().unwrap().starts_with("550=gone@example.org: 550 "), "{}", message["reason"]);
    let received = sink.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].to, ["one@example.org", "two@example.org"]);
    assert!(!received[0].content.contains("two@example.org"), "a blind copy is in no header");

    // Sent again, it goes to the one that it did not reach.
    assert_eq!(service.act(&id, "replay").status, 200);
    service.wait_until(&id, "its second end", |message| message["attempts"] == 2 && message["status"] == "failed");
    assert_eq!(sink.received().len(), 1, "those who had it do not get it twice");
}

#[test]
fn only_waiting_recipients_are_tried_again() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({ "to": ["one@example.org", "450=later@example.org"] }));
    service.wait_until(&id, "a second attempt", |message| message["attempts"].as_u64() >= Some(2));
    sink.on("rcpt", Action::Reply("250 2.1.5 ok"));
    let message = service.wait(&id, "delivered");
    assert_eq!(message["recipients"][0]["status"], "delivered");
    let received = sink.received();
    assert_eq!(received.len(), 2, "one mail for each: {received:#?}");
    assert_eq!(received[1].to, ["450=later@example.org"]);
    assert_eq!(received[0].header("message-id"), received[1].header("message-id"));
}

/// Holds messages with unknown outcome, so that an operator decides.
fn held(sink: &Sink) -> MailService {
    MailService::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ unknown: hold }} }}\n"), "")
}

/// The status of each recipient, and the code of its reply.
fn results(message: &serde_json::Value) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let recipients = message["recipients"].as_array().unwrap().iter();
    let code = |reply: String| reply.chars().take(3).collect();
    recipients.map(|one| (text(&one["status"]), code(text(&one["reply"])))).collect()
}

fn to_three() -> serde_json::Value {
    json!({ "to": ["one@example.org", "550=gone@example.org", "450=later@example.org"] })
}

#[test]
fn an_unknown_outcome_leaves_refused_recipients_refused() {
    let sink = Sink::start();
    let service = held(&sink);
    sink.on("dot", Action::HangUpTimes(1));
    let id = service.send(to_three());
    let message = service.wait_until(&id, "the later attempt", |message| {
        message["attempts"].as_u64() >= Some(2) && message["status"] == "queued"
    });
    let states: Vec<String> = results(&message).into_iter().map(|(status, _)| status).collect();
    assert_eq!(states, ["unknown", "failed", "waiting"], "{message:#}");
    assert_eq!((&results(&message)[1].1[..], &results(&message)[2].1[..]), ("550", "450"));
    sink.on("rcpt", Action::Reply("250 2.1.5 ok"));
    let message = service.wait(&id, "unknown");
    let states: Vec<String> = results(&message).into_iter().map(|(status, _)| status).collect();
    assert_eq!(states, ["unknown", "failed", "delivered"], "{message:#}");
    let received = sink.received();
    assert_eq!(received.len(), 2, "{received:#?}");
    assert_eq!(
        (&received[0].to[..], &received[1].to[..]),
        (&["one@example.org".to_owned()][..], &["450=later@example.org".to_owned()][..])
    );

    // An operator decides for the one recipient alone.
    service.repo.run(&["outbox", "resolve", "dev", &id, "--delivered", "--reason", "in its log"]).code(0);
    let message = service.message(&id);
    let states: Vec<String> = results(&message).into_iter().map(|(status, _)| status).collect();
    assert_eq!(states, ["delivered", "failed", "delivered"], "{message:#}");
    assert_eq!((&message["status"], &results(&message)[1].1[..]), (&json!("failed"), "550"));
    // Sent again, it goes to the one that it did not reach.
    assert_eq!(service.act(&id, "replay").status, 200);
    service.wait(&id, "delivered");
    assert_eq!(sink.received().last().unwrap().to, ["550=gone@example.org"]);
}

#[test]
fn a_refusal_of_the_contents_concerns_the_accepted_recipients() {
    for (place, reply, code) in [
        ("dot", "554 5.6.0 not this", "554"),
        ("data", "554 5.6.0 not this", "554"),
        ("dot", "552 5.3.4 too large", "552"),
    ] {
        let sink = Sink::start();
        let service = held(&sink);
        sink.on(place, Action::ReplyTimes(1, reply));
        let id = service.send(to_three());
        let message = service.wait_until(&id, "a later attempt", |message| {
            message["attempts"].as_u64() >= Some(2) && message["status"] == "queued"
        });
        let wanted = [("failed", code), ("failed", "550"), ("waiting", "450")];
        assert_eq!(results(&message), wanted.map(|(status, code)| (status.to_owned(), code.to_owned())), "{place}");
        sink.on("rcpt", Action::Reply("250 2.1.5 ok"));
        let message = service.wait(&id, "failed");
        assert_eq!(results(&message)[2].0, "delivered", "{place}: {message:#}");
        assert_eq!(results(&message)[0].1, code, "{place}");
        let received = sink.received();
        assert_eq!(received.len(), 1, "{place}: {received:#?}");
        assert_eq!(received[0].to, ["450=later@example.org"]);
    }
}

#[test]
fn a_temporary_refusal_keeps_permanently_refused_recipients() {
    let sink = Sink::start();
    let service = held(&sink);
    sink.on("dot", Action::ReplyTimes(2, "451 4.3.0 later"));
    let id = service.send(json!({ "to": ["one@example.org", "550=gone@example.org"] }));
    let message = service.wait(&id, "failed");
    let wanted = [("delivered", "250"), ("failed", "550")];
    assert_eq!(results(&message), wanted.map(|(status, code)| (status.to_owned(), code.to_owned())), "{message:#}");
    let asked = sink.commands().iter().filter(|line| line.contains("550=gone@example.org")).count();
    assert_eq!(asked, 1, "it is not asked again");
    assert_eq!(message["attempts"], 3);
}

#[test]
fn a_page_of_messages_ends_after_many_recipients() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    service.repo.run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "test"]).code(0);
    let ids: Vec<String> = (0..25)
        .map(|number| {
            let to: Vec<String> = (0..500).map(|index| format!("c{index}-{number}@example.org")).collect();
            service.send(json!({ "to": to }))
        })
        .collect();
    let page = |before: &str| service.repo.http("GET", &format!("/v1/messages?limit=500{before}"), &[], b"").json();
    let first = page("");
    let listed = |page: &serde_json::Value| -> Vec<String> {
        let messages = page["messages"].as_array().unwrap().iter();
        messages.map(|message| message["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&first).len(), 20, "10,000 recipients");
    let second = page(&format!("&before={}", first["nextBefore"]));
    assert_eq!(second["nextBefore"], json!(null));
    let mut all = [listed(&first), listed(&second)].concat();
    all.reverse();
    assert_eq!(all, ids);
    // A command that needs all of them follows the pages.
    service.repo.run(&["outbox", "cancel", "dev", "--status", "queued", "--yes"]).code(0);
    assert_eq!(service.outbox()["messages"]["cancelled"], json!(25));
}
