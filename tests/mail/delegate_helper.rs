//! `mailwright delegate` over time: an ID token that ends, mails that were sent before, and many messages. No outcome is lost, no
//! message is sent twice, and none is resolved by the mail of another one.

use serde_json::{Value, json};

use crate::{
    delegate::under_clock,
    delegate_desktop::{Desktop, scenario, spawn},
    support::repository::run_command,
};

/// A scenario whose sandbox has another time than this machine: an ID token lasts 3,900 seconds from then.
fn at_clock(seconds: i64) -> Value {
    let mut scenario = scenario();
    scenario["clock"] = json!(seconds);
    scenario
}

/// Submits a message with a given `Message-ID` that another program names the person for, and returns its id.
fn submit_named(desktop: &Desktop, person: &Value, message_id: &str) -> String {
    let text = |key: &str| person[key].as_str().unwrap().to_owned();
    let path = format!(
        "/v1/messages?company=EDU1&function=user-interface&client=native&senderTenant={}&senderObject={}",
        text("tenant"),
        text("object")
    );
    let mail = format!("To: a@example.org\r\nSubject: Named\r\nMessage-ID: {message_id}\r\n\r\nhi\r\n");
    let answer = desktop.service.repo.http("POST", &path, &[("Content-Type", "message/rfc822")], mail.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn person(desktop: &Desktop) -> Value {
    let shown = run_command(desktop.command(&["login", "dev"], &["--device-code", "--format", "json"])).code(0);
    shown.json()["person"].clone()
}

fn run_named(desktop: &Desktop) -> crate::support::repository::CommandOutput {
    run_command(desktop.command(&["run", "dev"], &["--once", "--device-code", "--include-named"]))
}

#[test]
fn an_id_token_that_ends_within_a_lease_is_renewed_before_it() {
    let usual = Desktop::new();
    usual.send(&[]).code(0);
    let requests = usual.requests("/oauth2/v2.0/token");
    // 250 seconds are left, and a lease has 300.
    let ending = Desktop::with(&[], at_clock(-3650));
    ending.send(&[]).code(0);
    assert_eq!(ending.requests("/oauth2/v2.0/token"), requests + 1);
    assert_eq!((ending.mails().len(), &ending.message()["sender"]["epoch"]), (1, &json!(1)));
}

#[test]
fn an_outcome_is_reported_although_the_id_token_ends_while_graph_answers() {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    let words = under_clock(&offset);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // 400 seconds are left, so that the message is begun.
    let desktop = Desktop::with(&words, at_clock(-3500));
    desktop.sandbox.fault(&json!({ "at": "/me/sendMail", "delay": 15_000, "after": true, "times": 1 }));
    let child = spawn(desktop.send_command(&["--device-code"]));
    desktop.wait_for("the mail", || desktop.mails().len() == 1);
    let requests = desktop.requests("/oauth2/v2.0/token");
    std::fs::write(&offset, "+520").unwrap();
    desktop.sandbox.put(&scenario());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    // The service refused the first token; the person was not asked for the second one.
    assert_eq!(desktop.requests("/oauth2/v2.0/token"), requests + 1);
    let message = desktop.message();
    assert_eq!((&message["status"], &message["sender"]["epoch"]), (&json!("delivered"), &json!(1)), "{message:#}");
    assert_eq!(desktop.mails().len(), 1);
}

#[test]
fn a_mail_of_an_earlier_lease_resolves_a_replayed_message_that_is_not_sent_again() {
    let mut blind = scenario();
    blind["tenants"][0]["applications"][1]["consented"] = json!(["Mail.Send", "User.Read"]);
    let desktop = Desktop::with(&[], blind);
    desktop.sandbox.fault(&json!({ "at": "/me/sendMail", "reset": true, "after": true, "times": 1 }));
    desktop.send(&[]).code(6);
    let id = desktop.message()["id"].as_str().unwrap().to_owned();
    assert_eq!(desktop.service.act(&id, "replay").status, 200);
    assert_eq!(desktop.message()["possibleDuplicate"], true);
    desktop.sandbox.put(&scenario());
    let found = desktop.run_once().code(0);
    assert!(found.stdout.contains("delivered"), "{}\n{}", found.stdout, found.stderr);
    let message = desktop.message();
    assert!(message["history"].to_string().contains("an earlier attempt sent it at"), "{message:#}");
    assert_eq!((desktop.mails().len(), &message["sender"]["epoch"]), (1, &json!(2)));
    // Delivered, and sent again to everyone: the first mail is not this one.
    let all = json!({ "allRecipients": true }).to_string();
    let again = desktop.service.repo.http("POST", &format!("/v1/messages/{id}/replay"), &[], all.as_bytes());
    assert_eq!(again.status, 200, "{}", again.body);
    desktop.run_once().code(0);
    assert_eq!((desktop.mails().len(), &desktop.message()["status"]), (2, &json!("delivered")));
}

#[test]
fn a_mail_from_before_the_message_is_another_one_and_the_outcome_stays_unknown() {
    // Exchange's clock is an hour behind: the mail is older than the message.
    let desktop = Desktop::with(&[], at_clock(-3500));
    desktop.sandbox.fault(&json!({ "at": "/me/sendMail", "reset": true, "after": true, "times": 1 }));
    desktop.send(&[]).code(6);
    let message = desktop.message();
    assert_eq!((desktop.mails().len(), &message["status"]), (1, &json!("unknown")), "{message:#}");
    assert!(message["reason"].as_str().unwrap().contains("another mail with this Message-ID"), "{message:#}");
    // A later look says so, and changes nothing.
    let looked = desktop.run_once().code(0);
    assert!(looked.stderr.contains("another mail with this Message-ID"), "{}", looked.stderr);
    assert_eq!((desktop.mails().len(), &desktop.message()["status"]), (1, &json!("unknown")));
}

#[test]
fn a_mail_of_another_message_with_the_same_id_resolves_nothing() {
    let desktop = Desktop::new();
    let person = person(&desktop);
    let first = submit_named(&desktop, &person, "<same@example.org>");
    run_named(&desktop).code(0);
    assert_eq!((desktop.mails().len(), &desktop.service.message(&first)["status"]), (1, &json!("delivered")));
    let second = submit_named(&desktop, &person, "<same@example.org>");
    desktop.sandbox.fault(&json!({ "at": "/me/sendMail", "reset": true, "times": 1 }));
    run_named(&desktop).code(0);
    let message = desktop.service.message(&second);
    assert_eq!((desktop.mails().len(), &message["status"]), (1, &json!("unknown")), "{message:#}");
    assert!(message["reason"].as_str().unwrap().contains("which another message has as well"), "{message:#}");
}

#[test]
fn a_run_sends_more_messages_than_a_page_has() {
    let desktop = Desktop::new();
    let person = person(&desktop);
    for number in 0..120 {
        submit_named(&desktop, &person, &format!("<{number}@example.org>"));
    }
    let sent = run_named(&desktop).code(0);
    assert_eq!((desktop.mails().len(), sent.stdout.lines().count()), (120, 120), "{}", sent.stderr);
    assert_eq!(desktop.service.outbox()["messages"]["delivered"], 120);
}
