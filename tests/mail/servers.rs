//! Mail servers as they are: replies in other encodings and forms, keywords in any case, HELO alone, challenges in any
//! words, and servers that have something against this machine and not against a message.

use serde_json::json;

use crate::{
    mail_service::{DEADLINES, MailService, QUICK, count, environment, relay},
    sink::{Action, Sink},
    support::own::{own_sender, sending_from},
};

fn first_attempt(service: &MailService, id: &str) -> serde_json::Value {
    service.wait_until(id, "an attempt", |message| !message["history"].as_array().unwrap().is_empty())
}

#[test]
fn three_digits_decide_in_any_encoding_and_form() {
    for (verb, reply, status) in [
        ("connect", &b"220 \xd3\xca\xbc\xfe ESMTP\r\n"[..], "delivered"),
        ("connect", b"220-first\n220\n", "delivered"),
        ("rcpt", b"550 5.1.1 Empf\xe4nger unbekannt\r\n", "failed"),
        ("rcpt", b"550-5.1.1 no such\r\n550 user\r\n", "failed"),
        ("rcpt", b"550\r\n", "failed"),
        ("rcpt", b"250\n", "delivered"),
        ("mail", b"250-a\r\n250-b\r\n250 c\r\n", "delivered"),
        ("data", b"354\r\n", "delivered"),
        ("dot", b"250 f\xfcr Zustellung angenommen\r\n", "delivered"),
        ("dot", b"250ok\r\n", "delivered"),
        ("dot", b"550 abgelehnt: \xdcberpr\xfcfung\r\n", "failed"),
        ("dot", b"250-queued\r\n550 no, after all\r\n", "failed"),
        // Neither yes nor no, after the last byte.
        ("dot", b"\xff\xfe\xfd\r\n", "unknown"),
        ("dot", b"what?\r\n", "unknown"),
        ("dot", b"550-no\r\n250 ok\r\n", "unknown"),
    ] {
        let sink = Sink::start();
        sink.on(verb, Action::Bytes(reply));
        let service = MailService::new(sink.port, QUICK, "");
        let id = service.send(json!({}));
        let message = service.wait(&id, status);
        assert_eq!(message["attempts"], 1, "{verb} {:?}: {message:#}", String::from_utf8_lossy(reply));
    }
}

#[test]
fn an_early_reply_is_not_taken_as_the_reply_to_the_contents() {
    let sink = Sink::start();
    sink.on("data", Action::Bytes(b"354 go ahead\r\n250 2.0.0 taken already\r\n"));
    let sender = own_sender();
    let service = MailService::new(sink.port, QUICK, &sending_from(&sender));
    let id = service.send(json!({}));
    let message = first_attempt(&service, &id);
    assert_eq!(message["history"][0]["class"], "transient", "{message:#}");
    assert!(sink.received_from(&sender).is_empty());
    sink.on("data", Action::Usual);
    service.wait(&id, "delivered");
    assert_eq!(sink.received_from(&sender).len(), 1);
}

#[test]
fn a_reply_too_many_gives_no_recipient_the_refusal_of_another() {
    for (verb, bytes) in
        [("mail", &b"250 2.1.0 ok\r\n250 2.1.0 sender ok\r\n"[..]), ("ehlo", b"250 sink\r\n250 sink\r\n")]
    {
        for pipelining in [false, true] {
            let sink = Sink::start();
            if pipelining {
                sink.extensions(&["PIPELINING"]);
            }
            sink.on(verb, Action::Bytes(bytes));
            let service = MailService::new(sink.port, QUICK, "");
            let id =
                service.send(json!({ "to": ["550=first@example.org", "second@example.org", "third@example.org"] }));
            let attempt = first_attempt(&service, &id);
            assert_eq!(attempt["history"][0]["class"], "transient", "{verb}: {attempt:#}");
            sink.on(verb, Action::Usual);
            let message = service.wait(&id, "failed");
            let status: Vec<_> = message["recipients"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
            assert_eq!(status, ["failed", "delivered", "delivered"], "{verb}: {message:#}");
        }
    }
}

#[test]
fn extensions_are_recognized_in_any_case() {
    let sink = Sink::start();
    sink.extensions(&["8BitMime", "smtputf8", "size 20000", "dsn"]);
    let service = MailService::new(sink.port, QUICK, "");
    let utf8 = service.send(json!({ "to": ["jörg@example.org"], "notify": { "success": true } }));
    service.wait(&utf8, "delivered");
    assert!(sink.commands().iter().any(|command| command.contains("SMTPUTF8") && command.contains("SIZE=")));
    assert!(sink.commands().iter().any(|command| command.contains("NOTIFY=SUCCESS")), "{:?}", sink.commands());
    let large = service.send(json!({ "text": "x\n".repeat(20_000) }));
    assert_eq!(service.wait(&large, "failed")["history"][0]["class"], "size");
}

#[test]
fn recipients_are_pipelined_where_the_server_offers_it() {
    let sink = Sink::start();
    sink.extensions(&["pipelining", "8BITMIME"]);
    let service = MailService::new(sink.port, QUICK, "");
    let to: Vec<String> = (0..45)
        .map(|n| if n % 9 == 4 { format!("550=r{n}@example.org") } else { format!("r{n}@example.org") })
        .collect();
    let id = service.send(json!({ "to": to }));
    let message = service.wait(&id, "failed");
    for recipient in message["recipients"].as_array().unwrap() {
        let refused = recipient["address"].as_str().unwrap().starts_with("550=");
        assert_eq!(recipient["status"], if refused { "failed" } else { "delivered" }, "{recipient}");
    }
    assert_eq!(sink.received()[0].to.len(), 40);
}

#[test]
fn a_server_without_ehlo_gets_helo() {
    for refusal in [&b"500 what\r\n"[..], b"502 5.5.1 not implemented\r\n", b"550 no\r\n"] {
        let sink = Sink::start();
        sink.on("ehlo", Action::Bytes(refusal));
        sink.on("helo", Action::Usual);
        let service = MailService::new(sink.port, QUICK, "");
        let id = service.send(json!({}));
        service.wait(&id, "delivered");
        assert!(sink.commands().iter().any(|command| command.starts_with("HELO ")), "{:?}", sink.commands());
        assert!(sink.commands().iter().all(|command| !command.contains("SIZE=")), "nothing was offered");
    }
    // What needs an offer is not sent without it, and the reason names the refusal.
    let sink = Sink::start();
    sink.on("ehlo", Action::Reply("502 5.5.1 not implemented"));
    sink.on("helo", Action::Usual);
    let service = MailService::guarded(sink.port, QUICK, "none", true);
    service.send(json!({}));
    let outbox = service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["finding"].is_object());
    let suspended = &outbox["suspended"][0];
    assert!(suspended["reason"].as_str().unwrap().contains("refuses EHLO: 502 5.5.1"), "{suspended:#}");
    assert_eq!(suspended["finding"]["id"], "SMTP-AUTH", "{suspended:#}");
}

#[test]
fn challenges_are_answered_by_their_order() {
    for (offer, name, password) in [
        ("AUTH LOGIN", "VXNlcm5hbWU6", "UGFzc3dvcmQ6"),
        ("auth login", "QmVudXR6ZXJuYW1lOg==", "UGFzc3dvcnQ6"),
        ("AUTH=LOGIN", "", ""),
        ("AUTH LOGIN", "no base64 at all!", "Passwort:"),
        ("AUTH LOGIN", "UGFzc3dvcmQ6", "VXNlcm5hbWU6"),
        ("AUTH PLAIN", "", ""),
        ("AUTH PLAIN", "R28gYWhlYWQ=", ""),
    ] {
        let sink = Sink::start();
        sink.users(&[("mailer", "right-password")]);
        sink.auth(offer);
        sink.challenges(name, password);
        let service = MailService::guarded(sink.port, QUICK, "none", true);
        let id = service.send(json!({}));
        service.wait(&id, "delivered");
        assert_eq!(sink.logins(), [("right-password".to_owned(), true)], "{offer} {name}");
        let verified = service.repo.run(&["verify", "dev", "relay", "--format", "json"]).json();
        let findings = verified["profiles"][0]["findings"].as_array().unwrap();
        let login = findings.iter().find(|finding| finding["id"] == "SMTP-LOGIN").unwrap();
        assert_eq!(login["verdict"], "pass", "{offer} {name}: {login:#}");
    }
}

#[test]
fn after_an_unsupported_mechanism_the_next_is_tried() {
    let sink = Sink::start();
    sink.users(&[("mailer", "right-password")]);
    sink.on("auth", Action::ReplyTimes(1, "504 5.5.4 Unrecognized authentication type"));
    let service = MailService::guarded(sink.port, QUICK, "none", true);
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(sink.seen("auth"), 2, "PLAIN, then LOGIN");
}

#[test]
fn no_reply_discloses_the_password() {
    const ENCODED: &str = "AG1haWxlcgByaWdodC1wYXNzd29yZA==";
    let sink = Sink::start();
    sink.users(&[("mailer", "right-password")]);
    let service = MailService::guarded(sink.port, QUICK, "none", true);
    let reply = "451-4.3.0 you said Right-\r\n451-password or\r\n451 4.3.0 AG1haWxlcgByaWdodC1wYXNzd29yZA==";
    for verb in ["mail", "rcpt", "data", "dot"] {
        sink.on(verb, Action::Reply(reply));
        let id = service.send(json!({}));
        let message =
            service.wait_until(&id, "a reason", |message| message["reason"].as_str().is_some_and(|r| !r.is_empty()));
        let verified = service.repo.run(&["verify", "dev", "relay", "--format", "json"]).stdout;
        for shown in [message.to_string(), verified] {
            let shown = shown.to_lowercase();
            assert!(!shown.contains("right-password") && !shown.contains("said right-"), "{verb}: {shown}");
            assert!(!shown.contains(&ENCODED.to_lowercase()), "{verb}: {shown}");
        }
        assert!(message["reason"].as_str().unwrap().contains("you said …"), "{verb}: {message:#}");
        sink.on(verb, Action::Usual);
        service.wait(&id, "delivered");
    }
}

#[test]
fn clear_text_after_starttls_is_never_read() {
    let sink = Sink::start();
    sink.extensions(&["starttls", "8BITMIME"]);
    sink.on("starttls", Action::Bytes(b"220 go ahead\r\n250-injected\r\n250 AUTH PLAIN\r\n"));
    let service = MailService::guarded(sink.port, QUICK, "starttls", true);
    service.send(json!({}));
    let outbox = service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "relay");
    assert!(outbox["suspended"][0]["reason"].as_str().unwrap().contains("in clear"), "{outbox:#}");
    assert!(sink.commands().iter().all(|command| !command.starts_with("AUTH")), "{:?}", sink.commands());
}

#[test]
fn replies_about_this_machine_fail_no_message() {
    for (verb, reply) in [
        ("rcpt", "504 5.5.2 <vm>: Helo command rejected: need fully-qualified hostname"),
        ("rcpt", "450 4.7.1 <vm>: Helo command rejected: Host not found"),
        ("rcpt", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.example"),
        ("rcpt", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]"),
        ("rcpt", "550 5.7.64 TenantAttribution; Relay Access Denied"),
        ("rcpt", "554 5.7.1 <customer@example.org>: Relay access denied"),
        ("rcpt", "553 5.7.1 <erp@example.com>: Sender address rejected: not owned by user mailer"),
        ("mail", "530 5.7.57 Client not authenticated to send mail"),
        ("data", "554 5.7.1 Client host rejected: Access denied"),
        ("dot", "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains."),
        ("ehlo", "501 5.5.4 Invalid domain name"),
        ("connect", "554 no SMTP service here"),
        ("connect", "521 mail.example.com does not accept mail"),
    ] {
        let sink = Sink::start();
        sink.on(verb, Action::Reply(reply));
        let service = MailService::new(sink.port, QUICK, "");
        let ids: Vec<String> = (0..8).map(|_| service.send(json!({}))).collect();
        let outbox = service
            .wait_outbox(&format!("the suspended profile for {reply}"), |outbox| outbox["suspended"] != json!([]));
        assert_eq!(count(&outbox, "failed"), 0, "{reply}: {outbox:#}");
        sink.on(verb, Action::Usual);
        for id in &ids {
            assert_eq!(service.wait(id, "delivered")["attempts"], 1, "{reply}: it costs the message nothing");
        }
        assert_eq!(sink.received().len(), 8, "{reply}");
    }
}

#[test]
fn a_message_that_was_refused_leaves_at_once_when_the_profile_changes() {
    let sink = Sink::start();
    sink.on("rcpt", Action::Reply("553 5.7.1 <erp@example.com>: Sender address rejected: not owned by user"));
    let mut service = MailService::unapplied(sink.port, QUICK, "");
    // By itself the profile would be tried again after the end of the test.
    service.repo.serve_with(&["--demo", "--probe-after", "3600"]);
    service.apply();
    let id = service.send(json!({}));
    let outbox = service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["finding"].is_object());
    assert_eq!(outbox["suspended"][0]["finding"]["id"], "SMTP-RECIPIENT", "{outbox:#}");
    sink.on("rcpt", Action::Usual);
    let path = "environments/dev/profiles/relay.yaml";
    service.repo.write(path, service.repo.read(path).replace("erp@example.com", "mailer@example.com"));
    service.apply();
    service.wait(&id, "delivered");
}

#[test]
fn verify_names_the_sender_as_a_recipient_and_sends_nothing() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let finding = || {
        let verified = service.repo.run(&["verify", "dev", "relay", "--format", "json"]).json();
        let findings = verified["profiles"][0]["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["id"] == "SMTP-RECIPIENT").unwrap()
    };
    assert_eq!(finding()["verdict"], "pass");
    let commands = sink.commands();
    assert!(commands.contains(&"RCPT TO:<erp@example.com>".to_owned()), "{commands:?}");
    assert!(commands.contains(&"RSET".to_owned()) && !commands.contains(&"DATA".to_owned()), "{commands:?}");
    sink.on("rcpt", Action::Reply("504 5.5.2 <vm>: Helo command rejected: need fully-qualified hostname"));
    let refused = finding();
    assert_eq!((&refused["verdict"], &refused["severity"]), (&json!("fail"), &json!("error")), "{refused:#}");
    assert!(refused["remedy"][0].as_str().unwrap().contains("--smtp-helo-name"), "{refused:#}");
    service.repo.run(&["verify", "dev", "relay"]).code(3);
    // A sender without a mailbox says nothing about other mail.
    sink.on("rcpt", Action::Reply("550 5.1.1 <erp@example.com>: Recipient address rejected: User unknown"));
    let unknown = finding();
    assert_eq!((&unknown["verdict"], &unknown["severity"]), (&json!("unknown"), &json!("info")), "{unknown:#}");
}

#[test]
fn verify_names_what_mail_from_is_refused_for() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    for (reply, id, verdict) in [
        ("530 5.7.0 Must issue a STARTTLS command first", "SMTP-TLS", "fail"),
        ("530 5.7.57 Client not authenticated to send mail", "SMTP-LOGIN", "fail"),
        ("550 5.7.506 Access Denied, Bad HELO", "SMTP-RECIPIENT", "fail"),
        ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.example", "SMTP-RECIPIENT", "fail"),
        ("553 5.7.1 <erp@example.com>: Sender address rejected: not owned by user mailer", "SMTP-SENDER", "fail"),
        ("550 5.7.705 Access denied, tenant has exceeded threshold", "SMTP-SENDER", "fail"),
        ("451 4.3.0 try again later", "SMTP-SENDER", "unknown"),
    ] {
        sink.on("mail", Action::Reply(reply));
        let verified = service.repo.run(&["verify", "dev", "relay", "--format", "json"]).json();
        let findings = verified["profiles"][0]["findings"].as_array().unwrap().clone();
        let about_mail: Vec<_> = findings.iter().filter(|finding| finding["seen"] == reply).collect();
        assert_eq!(about_mail.len(), 1, "{reply}: {findings:#?}");
        assert_eq!((&about_mail[0]["id"], &about_mail[0]["verdict"]), (&json!(id), &json!(verdict)), "{reply}");
        let blames_sender = about_mail[0]["message"].as_str().unwrap().contains("erp@example.com");
        assert_eq!(blames_sender, id == "SMTP-SENDER", "{reply}: {:#}", about_mail[0]);
        assert!(!about_mail[0]["remedy"].as_array().unwrap().is_empty(), "{reply}");
    }
}

#[test]
fn the_helo_name_can_be_set() {
    let sink = Sink::start();
    let mut service = MailService::unapplied(sink.port, QUICK, "");
    let options = ["--demo", "--smtp-helo-name", "mail.example.com"];
    service.repo.serve_with(&[&options[..], &DEADLINES[..]].concat());
    service.apply();
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(sink.commands()[0], "EHLO mail.example.com");
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    let name = sink.commands()[0].clone();
    let name = name.strip_prefix("EHLO ").unwrap();
    assert!(name == "[127.0.0.1]" || name.contains('.'), "a full name or an address: {name}");
}

#[test]
fn one_bad_server_does_not_delay_others() {
    for (verb, act) in [
        ("connect", Action::Silent),
        ("connect", Action::HangUp),
        ("ehlo", Action::Silent),
        ("rcpt", Action::Bytes(b"550 Empf\xe4nger unbekannt\r\n")),
        ("dot", Action::Silent),
    ] {
        let (bad, good) = (Sink::start(), Sink::start());
        bad.on(verb, act.clone());
        let mut service = MailService::unapplied(good.port, QUICK, "");
        environment(&service.repo, QUICK);
        relay(&service.repo, "bad", bad.port, "", "functions: [all-reports]\nappliesTo: system-wide\n");
        // The bad server's deadlines are longer than the test: what arrives did not wait for it.
        let deadlines = ["--delivery-deadlines", "connect=600,command=600,data=600,dot=600"];
        service.repo.serve_with(&[&["--demo"], &deadlines[..]].concat());
        service.apply();
        for _ in 0..20 {
            service.send(json!({ "function": "all-reports" }));
            service.send(json!({}));
            service.send(json!({}));
        }
        assert_eq!(good.wait_received(40).len(), 40, "{verb} {act:?}");
    }
}

#[test]
fn malformed_replies_for_some_recipients_do_not_affect_the_others() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let odd: Vec<String> =
        (0..10).map(|n| service.send(json!({ "to": [format!("550=odd{n}@example.org")] }))).collect();
    let others: Vec<String> = (0..40).map(|n| service.send(json!({ "to": [format!("r{n}@example.org")] }))).collect();
    for id in &odd {
        assert_eq!(service.wait(id, "failed")["attempts"], 1);
    }
    for id in &others {
        assert_eq!(service.wait(id, "delivered")["attempts"], 1);
    }
    assert_eq!(service.outbox()["suspended"], json!([]), "unknown recipients say nothing about the profile");
}
