//! A delivered message is not sent again by mistake: not by a filter, not by an id, not by the API. An unknown outcome is
//! decided by an operator.

use serde_json::{Value, json};

use crate::{
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
};

/// The audit entries of an action.
fn audit(service: &MailService, action: &str) -> Vec<Value> {
    let entries = service.repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).json()["entries"].clone();
    entries.as_array().unwrap().iter().filter(|entry| entry["action"] == action).cloned().collect()
}

fn replay(service: &MailService, id: &str, body: &str) -> crate::support::repository::HttpResponse {
    service.repo.http("POST", &format!("/v1/messages/{id}/replay"), &[], body.as_bytes())
}

#[test]
fn delivered_and_cancelled_mail_is_not_sent_again_without_saying_so() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let ids: Vec<String> = (0..3).map(|_| service.send(json!({}))).collect();
    for id in &ids {
        service.wait(id, "delivered");
    }
    let hold = service.repo.http("POST", "/v1/holds", &[], br#"{ "company": "EDU1", "reason": "r" }"#).json();
    let cancelled = service.send(json!({}));
    assert_eq!(service.act(&cancelled, "cancel").status, 200);
    let path = format!("/v1/holds/{}", hold["id"].as_str().unwrap());
    assert_eq!(service.repo.http("DELETE", &path, &[], b"").status, 204);
    let accepted = service.message(&ids[0])["acceptedAt"].clone();

    for arguments in [
        &["replay", "--status", "delivered", "--yes"][..],
        &["replay", "--status", "cancelled", "--yes"],
        &["replay", &ids[0], "--yes"],
        &["replay", &ids[0], &cancelled, "--yes"],
        &["replay", "--status", "delivered", "--dry-run"],
    ] {
        let output = service.repo.run(&[&["outbox", arguments[0], "dev"], &arguments[1..]].concat()).code(1);
        assert!(output.stderr.contains("MW0242") && output.stderr.contains("--all-recipients"), "{}", output.stderr);
    }
    for (id, body) in [(&ids[0], "null"), (&ids[1], "{}"), (&ids[2], r#"{ "allRecipients": false }"#), (&cancelled, "")]
    {
        let answer = replay(&service, id, body);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some("MW0242")), "{}", answer.body);
    }
    assert_eq!(sink.received().len(), 3, "nothing was sent again");

    // Nothing happens without a question, and a dry run says what would.
    let again =
        |more: &[&str]| service.repo.run(&[&["outbox", "replay", "dev", &ids[0], "--all-recipients"], more].concat());
    assert!(again(&[]).code(1).stderr.contains("MW0233"));
    let dry = again(&["--dry-run", "--format", "json"]).code(0).json();
    let recipient = &dry["messages"][0]["recipients"][0];
    assert_eq!((&recipient["address"], &recipient["status"]), (&json!("customer@example.org"), &json!("delivered")));
    assert_eq!(recipient["sent"], true);
    let shown = again(&["--dry-run"]).code(0).stdout;
    assert!(shown.contains("customer@example.org") && shown.contains("1 received it before"), "{shown}");
    assert_eq!(sink.received().len(), 3);
    again(&["--yes"]).code(0);
    let message = service.wait_until(&ids[0], "it to be sent again", |message| message["attempts"] == 2);
    assert_eq!(sink.wait_received(4).len(), 4);
    assert_eq!(message["acceptedAt"], accepted, "the time of acceptance stays");
    assert_eq!((&message["sentAgain"], &message["possibleDuplicate"]), (&json!(true), &Value::Null), "it is certain");
    let entries = audit(&service, "message.replay");
    assert_eq!(entries.len(), 1, "a refusal does not count as a replay: {entries:#?}");
    assert_eq!((&entries[0]["detail"]["message"], &entries[0]["detail"]["recipients"]), (&json!(ids[0]), &json!(1)));
    assert!(service.repo.run(&["audit", "list", "dev"]).code(0).stdout.contains(&format!("message {}", ids[0])));
    assert_eq!(audit(&service, "message.cancel")[0]["detail"]["message"], json!(cancelled));

    // The same for what was called back.
    assert_eq!(replay(&service, &cancelled, r#"{ "allRecipients": true }"#).status, 200);
    let message = service.wait(&cancelled, "delivered");
    assert_eq!(
        (&message["sentAgain"], &message["possibleDuplicate"]),
        (&Value::Null, &Value::Null),
        "it had not arrived"
    );
    assert_eq!(replay(&service, &ids[1], r#"{ "everybody": true }"#).status, 400, "no field is guessed");
}

#[test]
fn only_recipients_without_a_copy_get_it() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({ "to": ["one@example.org", "550=gone@example.org"] }));
    let first = service.wait(&id, "failed");
    sink.on("rcpt", Action::Reply("250 2.1.5 ok"));
    let dry = service.repo.run(&["outbox", "replay", "dev", "--status", "failed", "--dry-run"]).code(0).stdout;
    assert!(dry.contains("1 message to 1 recipient: 0 received it before"), "{dry}");
    service.repo.run(&["outbox", "replay", "dev", "--status", "failed", "--yes"]).code(0);
    let message = service.wait(&id, "delivered");
    assert_eq!(message["acceptedAt"], first["acceptedAt"]);
    assert!(message["requeuedAt"].is_string());
    let received = sink.wait_received(2);
    assert_eq!(received[1].to, ["550=gone@example.org"]);
    assert_eq!((&message["sentAgain"], &message["possibleDuplicate"]), (&Value::Null, &Value::Null));
    // With `--all-recipients` every recipient gets it.
    let twice = service.repo.run(&["outbox", "replay", "dev", &id, &id, "--all-recipients", "--dry-run"]).code(0);
    assert_eq!(
        twice.stdout.matches(&id[..8]).count(),
        1,
        "a message that is named twice is sent once: {}",
        twice.stdout
    );
    service.repo.run(&["outbox", "replay", "dev", &id, "--all-recipients", "--yes"]).code(0);
    assert_eq!(sink.wait_received(3)[2].to.len(), 2);
}

/// A message of which the service cannot know whether the server accepted it.
fn unknown(service: &MailService, sink: &Sink, more: Value) -> String {
    sink.on("dot", Action::HangUp);
    let id = service.send(more);
    service.wait(&id, "unknown");
    sink.on("dot", Action::Usual);
    id
}

#[test]
fn an_unknown_outcome_is_decided_by_an_operator() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ unknown: hold }} }}\n"), "");
    let (found, lost) = (unknown(&service, &sink, json!({})), unknown(&service, &sink, json!({})));
    let resolve = |arguments: &[&str]| service.repo.run(&[&["outbox", "resolve", "dev"], arguments].concat());
    assert_ne!(resolve(&[&found, "--delivered"]).code, 0, "a reason is wanted");
    assert_ne!(resolve(&[&found, "--reason", "r"]).code, 0, "and the outcome");
    assert_ne!(resolve(&[&found, "--delivered", "--failed", "--reason", "r"]).code, 0, "and one of them");
    resolve(&[&found, "--delivered", "--reason", "in Sent Items"]).code(0);
    let message = service.message(&found);
    assert_eq!((&message["status"], &message["recipients"][0]["status"]), (&json!("delivered"), &json!("delivered")));
    assert!(message["reason"].as_str().unwrap().ends_with("in Sent Items"), "{message:#}");
    assert!(resolve(&[&found, "--failed", "--reason", "r"]).code(1).stderr.contains("MW0266"));

    assert!(resolve(&["--status", "unknown", "--failed", "--reason", "r"]).code(1).stderr.contains("MW0233"));
    resolve(&["--status", "unknown", "--failed", "--reason", "not in the log", "--yes"]).code(0);
    assert_eq!(service.message(&lost)["status"], "failed");
    let entries = audit(&service, "message.resolve");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["detail"]["message"], json!(found));
    assert_eq!(
        (&entries[1]["detail"]["resolved"], &entries[1]["detail"]["reason"]),
        (&json!("failed"), &json!("not in the log"))
    );
    let metrics = service.repo.http("GET", "/metrics", &[], b"").body;
    for kind in ["delivered", "failed"] {
        assert!(metrics.contains(&format!("mailwright_events_total{{type=\"{kind}\"}} 1")), "{metrics}");
    }
    assert_eq!(sink.received().len(), 2, "neither was sent again");
    // The API says the same, and no sender resolves.
    let answer =
        |body: &str| service.repo.http("POST", &format!("/v1/messages/{lost}/resolve"), &[], body.as_bytes()).status;
    assert_eq!(answer(r#"{ "outcome": "delivered", "reason": "r" }"#), 409);
    assert_eq!(answer(r#"{ "outcome": "delivered", "reason": "" }"#), 400);
    assert_eq!(answer(r#"{ "outcome": "lost", "reason": "r" }"#), 400);

    // One that another recipient was refused for stays failed, even if others got it.
    let mixed = service.send(json!({ "to": ["450=later@example.org", "550=gone@example.org"] }));
    service.wait_until(&mixed, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    sink.on("rcpt", Action::Reply("250 2.1.5 ok"));
    sink.on("dot", Action::HangUp);
    service.wait(&mixed, "unknown");
    resolve(&[&mixed, "--delivered", "--reason", "the customer has it"]).code(0);
    let message = service.message(&mixed);
    assert_eq!((&message["status"], &message["recipients"][0]["status"]), (&json!("failed"), &json!("delivered")));
}
