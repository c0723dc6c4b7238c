//! An environment with a restricted set of recipients: a copy of production cannot write to customers.

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK, environment},
    sink::{Action, Sink},
    support::own::{own_sender, sending_from},
};

#[test]
fn only_allowed_recipients_get_mail() {
    let sink = Sink::start();
    let delivery =
        format!("{QUICK}  recipients: {{ allow: [\"*@example.com\", tester@example.org], subjectTag: \"[TEST]\" }}\n");
    let service = MailService::new(sink.port, &delivery, "");
    let refused = service.submit(json!({ "to": ["customer@example.org"] }));
    assert_eq!((refused.status, refused.json()["code"].as_str().unwrap()), (422, "MW0263"));
    assert!(!refused.body.contains("customer@"), "no echo: {}", refused.body);
    let id = service
        .send(json!({ "to": ["Tester <TESTER@example.org>", "colleague@EXAMPLE.com"], "subject": "Rechnung für Sie" }));
    service.wait(&id, "delivered");
    let received = sink.received();
    assert_eq!(received[0].to, ["TESTER@example.org", "colleague@EXAMPLE.com"]);
    assert_eq!(received[0].header("subject").unwrap(), "[TEST] Rechnung =?utf-8?b?ZsO8cg==?= Sie");
}

#[test]
fn messages_accepted_earlier_are_guarded_as_well() {
    let sink = Sink::start();
    sink.on("rcpt", Action::Reply("451 4.3.0 not now"));
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({ "to": ["customer@example.org", "tester@example.com"] }));
    service.wait_until(&id, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    environment(&service.repo, &format!("{QUICK}  recipients: {{ allow: [\"*@example.com\"] }}\n"));
    service.apply();
    sink.on("rcpt", Action::Usual);
    let message = service.wait(&id, "failed");
    assert_eq!(message["recipients"][0]["reply"], "the environment may not write to it");
    assert_eq!(message["recipients"][1]["status"], "delivered");
    assert_eq!(sink.received()[0].to, ["tester@example.com"]);
}

#[test]
fn everything_can_go_to_one_address_instead() {
    let sink = Sink::start();
    let service =
        MailService::new(sink.port, &format!("{QUICK}  recipients: {{ rewriteTo: tests@example.com }}\n"), "");
    let id = service
        .send(json!({ "to": ["customer@example.org"], "cc": ["other@example.org"], "bcc": ["hidden@example.org"] }));
    let message = service.wait(&id, "delivered");
    assert_eq!(message["recipients"].as_array().unwrap().len(), 3);
    let received = sink.received();
    assert_eq!((received.len(), &received[0].to), (1, &vec!["tests@example.com".to_owned()]));
    assert_eq!(received[0].header("to").unwrap(), "tests@example.com");
    assert!(received[0].header("cc").is_none(), "{}", received[0].content);
    assert!(received[0].content.contains("X-Mailwright-Recipient: hidden@example.org\r\n"));
}

#[test]
fn a_tag_that_is_not_ascii_stays_separated_from_the_subject() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, &format!("{QUICK}  recipients: {{ subjectTag: \"[PRÜFUNG]\" }}\n"), "");
    let ids: Vec<String> =
        ["Rechnung", "Übersicht für Sie"].map(|subject| service.send(json!({ "subject": subject }))).into();
    for id in &ids {
        service.wait(id, "delivered");
    }
    let mut subjects: Vec<String> = sink
        .received()
        .iter()
        .map(|received| {
            let message = mail_parser::MessageParser::default().parse(received.content.as_bytes()).unwrap();
            message.subject().unwrap().to_owned()
        })
        .collect();
    subjects.sort();
    assert_eq!(subjects, ["[PRÜFUNG] Rechnung", "[PRÜFUNG] Übersicht für Sie"]);
}

#[test]
fn a_refusal_of_the_rewritten_address_counts_for_every_recipient() {
    let sink = Sink::start();
    let sender = own_sender();
    let delivery = format!("{QUICK}  recipients: {{ rewriteTo: 550=tests@example.com }}\n");
    let service = MailService::new(sink.port, &delivery, &sending_from(&sender));
    let id = service.send(json!({ "to": ["customer@example.org"], "cc": ["other@example.org"] }));
    let message = service.wait(&id, "failed");
    let recipients = message["recipients"].as_array().unwrap();
    assert!(recipients.len() == 2 && recipients.iter().all(|one| one["status"] == "failed"), "{message:#}");
    assert!(sink.received_from(&sender).is_empty());
}
