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
        "Next:    mailwright secrets set dev relay/login && mailwright apply dev",
    ] {
        assert!(answer.contains(expected), "{expected}\n{answer}");
    }
    let json = service.repo.run(&["why", "dev", "--message", &id, "--format", "json"]).code(0).json();
    assert_eq!((&json["environment"], &json["waitingWithIt"]), (&json!("dev"), &json!(3)), "{json:#}");
    assert_eq!(json["command"], "mailwright secrets set dev relay/login && mailwright apply dev");
    assert_eq!(json["message"]["waiting"]["reason"], "suspended");
    // The command works as printed.
    sink.on("auth", Action::Usual);
    service.repo.pipe(&["secrets", "set", "dev", "relay/login"], b"right-password").code(0);
    service.apply();
    service.wait(&id, "delivered");
    let answer = service.repo.run(&["why", "dev", "--message", &id]).code(0).stdout;
    assert!(answer.contains("is delivered") && answer.contains("Result:  the mail server accepted it"), "{answer}");
    assert!(!answer.contains("Next:"), "{answer}");
    // `dot` is the name of the phase in documents.
    assert!(answer.contains("delivered: 250") && !answer.contains(" dot"), "{answer}");
    let shown = service.repo.run(&["outbox", "show", "dev", &id]).code(0).stdout;
    assert!(shown.contains("end of data") && !shown.contains(" dot "), "{shown}");
    assert_eq!(service.message(&id)["history"].as_array().unwrap().last().unwrap()["phase"], "dot");
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

#[test]
fn a_sender_reads_no_reply_to_the_mail_of_others() {
    let sink = Sink::start();
    sink.on("mail", Action::Reply("432 4.3.2 k9-secret@example.org has too many connections"));
    let service = MailService::new(sink.port, QUICK, "limits: { preset: exchange-online-smtp }\n");
    let other = service.send(json!({ "to": ["k9-secret@example.org"] }));
    service.wait_outbox("a throttled profile", |outbox| outbox["waiting"][0]["reason"] == "throttled");
    let shop = service.repo.run(&["token", "create", "dev", "--name", "shop", "--role", "sender"]).code(0).stdout;
    let authorization = format!("Bearer {}", shop.trim());
    let call = |method: &str, path: &str, body: &str| {
        service.repo.http_without_token(method, path, &[("Authorization", authorization.as_str())], body.as_bytes())
    };
    let document = json!({ "type": "invoice", "number": "4711" });
    let sent = call("POST", "/v1/messages", &crate::mail_service::message(json!({ "document": document })).to_string());
    assert_eq!(sent.status, 202, "{}", sent.body);
    let own = format!("/v1/messages/{}", sent.json()["id"].as_str().unwrap());
    let seen = call("GET", &own, "").json();
    assert_eq!(seen["waiting"]["reason"], "throttled", "{seen:#}");
    let operator = service.repo.http("GET", &own, &[], b"").json();
    assert!(operator["waiting"]["lastReply"].as_str().unwrap().contains("k9-secret"), "{operator:#}");
    // Neither here nor in any list, with any filter.
    for path in [
        own.as_str(),
        "/v1/messages",
        "/v1/messages?reason=throttled",
        "/v1/messages?profile=relay",
        "/v1/messages?recipient=k9-secret@example.org",
        &format!("/v1/messages?id={}", &other[..8]),
        &format!("/v1/messages/{other}"),
        &format!("/v1/messages/{other}/content"),
        "/v1/outbox",
        "/v1/holds",
        "/v1/audit",
        "/v1/state",
    ] {
        let answer = call("GET", path, "");
        assert!(!answer.body.contains("k9-secret") && !answer.body.contains("432"), "{path}: {}", answer.body);
        let is_path_of_other = path.ends_with(&other) || path.ends_with("/content");
        assert!(is_path_of_other || !answer.body.contains(&other), "{path}: {}", answer.body);
    }
    for action in ["cancel", "retry", "replay"] {
        let answer = call("POST", &format!("/v1/messages/{other}/{action}"), "");
        assert!(answer.status == 404 || answer.status == 403, "{action}: {}", answer.body);
        assert!(!answer.body.contains("k9-secret"), "{}", answer.body);
    }
    // A document that another sender sent is named without its message.
    let resent = json!({ "document": document, "to": ["customer@example.org"] });
    let again = service.submit(resent.clone());
    assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("MW0265")), "{}", again.body);
    assert!(again.body.contains(sent.json()["id"].as_str().unwrap()), "an operator gets the id: {}", again.body);
    let first = json!({ "document": { "type": "invoice", "number": "1" }, "to": ["customer@example.org"] });
    let others = service.send(first.clone());
    let refused = call("POST", "/v1/messages", &crate::mail_service::message(first).to_string());
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("MW0265")), "{}", refused.body);
    assert!(refused.body.contains("by another sender") && !refused.body.contains(&others), "{}", refused.body);
}
