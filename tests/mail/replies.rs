//! 4xx and 5xx at each verb: what is for now is tried again, what is for ever is not, and neither costs the service its
//! connection for longer than it must.

use serde_json::json;

use crate::{
    mail_service::{MailService, PostfixSink, QUICK},
    sink::{Action, Sink},
    support::own::{own_sender, sending_from},
};

#[test]
fn transient_replies_are_retried_at_each_command() {
    let verbs = ["connect", "ehlo", "mail", "rcpt", "data", "dot"];
    let threads: Vec<_> = verbs
        .into_iter()
        .map(|verb| {
            std::thread::spawn(move || {
                let sink = Sink::start();
                sink.on(verb, Action::ReplyTimes(1, "451 4.3.0 not now"));
                let service = MailService::new(sink.port, QUICK, "");
                let id = service.send(json!({}));
                let message = service.wait(&id, "delivered");
                assert_eq!(message["attempts"], 2, "{verb}: {:#}", message["history"]);
                assert_eq!(message["history"][0]["class"], "transient", "{verb}");
                assert_eq!(sink.received().len(), 1, "{verb}");
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn permanent_replies_are_not_retried_and_can_be_replayed() {
    let verbs = ["rcpt", "data", "dot"];
    for verb in verbs {
        let sink = Sink::start();
        sink.on(verb, Action::ReplyTimes(1, "550 5.1.1 no such user"));
        let sender = own_sender();
        let service = MailService::new(sink.port, QUICK, &sending_from(&sender));
        let id = service.send(json!({}));
        let message = service.wait(&id, "failed");
        assert_eq!(message["attempts"], 1, "{verb}");
        assert!(message["recipients"][0]["reply"].as_str().unwrap().contains("no such user"), "{message:#}");
        assert!(sink.received_from(&sender).is_empty(), "{verb}");
        // It is kept, and can be sent again once the cause is fixed.
        assert_eq!(service.act(&id, "replay").status, 200);
        let message = service.wait(&id, "delivered");
        assert_eq!(message["possibleDuplicate"], serde_json::Value::Null, "it had not arrived before");
    }
}

#[test]
fn postfix_refuses_a_recipient() {
    // smtp-sink's own faults: `-r` answers 4xx, `-f` 5xx, `-q` hangs up.
    for (options, status, class) in [
        (["-f", "RCPT"], "failed", "permanent"),
        (["-f", "."], "failed", "permanent"),
        (["-r", "DATA"], "queued", "transient"),
        (["-q", "MAIL"], "queued", "transient"),
        (["-q", "."], "unknown", "unknown"),
    ] {
        let sink = PostfixSink::start(&options);
        let service = MailService::new(sink.port, QUICK, "");
        let id = service.send(json!({}));
        let message =
            service.wait_until(&id, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
        assert_eq!(message["history"][0]["class"], class, "{options:?}: {:#}", message["history"]);
        service.wait(&id, status);
    }
}

#[test]
fn a_temporary_refusal_of_the_sender_is_not_repeated_for_each_message() {
    let sink = Sink::start();
    sink.on("mail", Action::Reply("451 4.3.0 not now"));
    let service = MailService::new(sink.port, QUICK, "limits: { concurrency: 4 }\n");
    for _ in 0..100 {
        service.send(json!({}));
    }
    service.wait_outbox("the server to be left alone", |outbox| outbox["unreachable"] == json!(["relay"]));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(sink.seen("mail") <= 14, "asked {} times", sink.seen("mail"));
    sink.on("mail", Action::Usual);
    assert_eq!(crate::mail_service::count(&service.wait_empty(), "delivered"), 100);
}

/// A service that begins with STARTTLS or logs in, where the verb asks for it.
fn post_for(verb: &str, sink: &Sink) -> MailService {
    match verb {
        "starttls" => {
            sink.extensions(&["STARTTLS", "8BITMIME"]);
            MailService::guarded(sink.port, QUICK, "starttls", false)
        }
        "auth" => {
            sink.users(&[("mailer", "right-password")]);
            MailService::guarded(sink.port, QUICK, "none", true)
        }
        _ => MailService::new(sink.port, QUICK, ""),
    }
}

#[test]
fn a_temporary_refusal_of_login_or_starttls_is_tried_again() {
    for verb in ["auth", "starttls"] {
        let sink = Sink::start();
        let service = post_for(verb, &sink);
        sink.on(verb, Action::ReplyTimes(1, "454 4.7.0 not now"));
        let id = service.send(json!({}));
        let message =
            service.wait_until(&id, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
        assert_eq!(message["history"][0]["class"], "transient", "{verb}: {:#}", message["history"]);
        assert_eq!(service.outbox()["suspended"], json!([]), "{verb}: nothing needs fixing");
        if verb == "auth" {
            service.wait(&id, "delivered");
        }
    }
}

#[test]
fn a_permanent_refusal_before_any_recipient_fails_no_message() {
    for (verb, reply) in [
        ("connect", "554 5.7.1 no service for you"),
        ("ehlo", "550 5.7.1 no service for you"),
        ("starttls", "554 5.7.0 no TLS"),
        ("auth", "535 5.7.8 authentication failed"),
        ("mail", "550 5.7.1 no mail from you"),
    ] {
        let sink = Sink::start();
        let service = post_for(verb, &sink);
        sink.on(verb, Action::Reply(reply));
        let id = service.send(json!({}));
        service
            .wait_outbox(&format!("the profile to be suspended for {verb}"), |outbox| outbox["suspended"] != json!([]));
        assert_eq!(service.message(&id)["status"], "queued", "{verb}");
        if verb != "starttls" {
            sink.on(verb, Action::Usual);
            service.wait(&id, "delivered");
        }
    }
}
