//! `why`: one answer for a document, a message, a recipient, or a function and a day.

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
    support::repository::{run_command, send_arguments},
};

#[test]
fn a_suspended_profile_is_named_with_everything_that_waits_for_it() {
    let sink = Sink::start();
    sink.users(&[("mailer", "right-password")]);
    sink.on("auth", Action::Reply("535 5.7.8 authentication failed"));
    let service = MailService::guarded(sink.port, QUICK, "none", true);
    let id = service.send(json!({ "document": { "type": "invoice", "number": "4711" } }));
    service.wait_outbox("the suspension with its finding", |outbox| outbox["suspended"][0]["finding"].is_object());
    for _ in 0..3 {
        service.send(json!({}));
    }
    let answer = service.repo.run(&["why", "dev", "--document", "invoice/4711"]).code(0).stdout;
    for expected in [
        "invoice/4711 of EDU1 (default) to customer@example.org is queued",
        "Sender:  profile `relay`, chosen at generation",
        "auth at login: 535 5.7.8 authentication failed",
        "Waits:   the profile `relay` is suspended",
        "since ",
        "3 other messages wait for the same reason.",
        "SMTP-LOGIN",
        "Next:    mailwright secrets set dev relay/login",
    ] {
        assert!(answer.contains(expected), "{expected}\n{answer}");
    }
    let json = service.repo.run(&["why", "dev", "--message", &id, "--format", "json"]).code(0).json();
    assert_eq!((&json["environment"], &json["waitingWithIt"]), (&json!("dev"), &json!(3)), "{json:#}");
    assert_eq!(json["command"], "mailwright secrets set dev relay/login");
    assert_eq!(json["message"]["waiting"]["reason"], "suspended");
    // The command works as printed.
    sink.on("auth", Action::Usual);
    service.repo.pipe(&["secrets", "set", "dev", "relay/login"], b"right-password").code(0);
    service.apply();
    service.wait(&id, "delivered");
    let answer = service.repo.run(&["why", "dev", "--message", &id]).code(0).stdout;
    assert!(answer.contains("is delivered") && answer.contains("Result:  the mail server accepted it"), "{answer}");
    assert!(!answer.contains("Next:"), "{answer}");
}

#[test]
fn a_recipient_a_function_and_a_day_find_what_was_not_delivered() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let delivered = service.send(json!({}));
    service.wait(&delivered, "delivered");
    sink.on("rcpt", Action::Reply("550 5.1.1 no such mailbox"));
    let failed = service.send(json!({}));
    service.wait(&failed, "failed");
    sink.on("rcpt", Action::Usual);
    let later = service.send(json!({}));
    service.wait(&later, "delivered");

    let answer = service.repo.run(&["why", "dev", "--recipient", "customer@example.org"]).code(0).stdout;
    assert!(answer.starts_with("3 messages match; this is the newest one that was not delivered."), "{answer}");
    assert!(answer.contains("550 5.1.1 no such mailbox"), "{answer}");
    assert!(answer.contains(&format!("Next:    mailwright outbox replay dev {failed}")), "{answer}");
    let today = jiff::Zoned::now().date().to_string();
    let json =
        service.repo.run(&["why", "dev", "--function", "default", "--day", &today, "--format", "json"]).code(0).json();
    assert_eq!((&json["found"], &json["message"]["id"]), (&json!(3), &json!(failed)), "{json:#}");

    // Nothing was submitted: the sender is named all the same.
    let nothing = service.repo.run(&["why", "dev", "--function", "all-reports", "--since", "2d"]).code(0).stdout;
    assert!(nothing.contains("No accepted message matches"), "{nothing}");
    assert!(nothing.contains("EDU1 all-reports would be sent by `relay`"), "{nothing}");
    let usage = service.repo.run(&["why", "dev", "--document", "4711"]).code(1).stderr;
    assert!(usage.contains("--document invoice/4711"), "{usage}");
}

#[test]
fn a_sender_gets_an_answer_about_its_own_mail_only() {
    let sink = Sink::start();
    sink.on("rcpt", Action::Reply("451 4.7.1 greylisted"));
    let service = MailService::new(sink.port, "  retry: { first: 1h, longest: 1h }\n", "");
    let other = service.send(json!({}));
    let token = service
        .repo
        .run(&["token", "create", "dev", "--name", "shop", "--role", "sender", "--format", "json"])
        .code(0)
        .json()["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    let run = |arguments: &[&str]| {
        let mut command = service.repo.command(arguments);
        command.env("MAILWRIGHT_TOKEN", &token);
        run_command(command)
    };
    let sent = run(&send_arguments("dev", "own@example.org", &["--format", "json"]));
    let own = sent.code(0).json()["id"].as_str().unwrap().to_owned();
    service.wait_until(&own, "an attempt", |message| message["attempts"] == 1);
    let answer = run(&["why", "dev", "--message", &own]).code(0).stdout;
    assert!(answer.contains("451 4.7.1 greylisted") && !answer.contains("other message"), "{answer}");
    run(&["why", "dev", "--message", &other]).code(1);
}
