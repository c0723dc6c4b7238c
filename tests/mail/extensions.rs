//! SMTP extensions: an extension is used if the server offers it, and not otherwise: SIZE, 8BITMIME, SMTPUTF8, DSN.

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
};

#[test]
fn offered_extensions_are_used() {
    let sink = Sink::start();
    sink.extensions(&["8BITMIME", "SMTPUTF8", "SIZE 36700160", "DSN"]);
    let service = MailService::new(sink.port, QUICK, "");
    let notify = json!({ "success": true, "failure": true, "full": true });
    let id = service.send(json!({ "to": ["jörg@example.org"], "notify": notify }));
    service.wait(&id, "delivered");
    let commands = sink.commands();
    let mail = commands.iter().find(|command| command.starts_with("MAIL")).unwrap();
    for part in ["SMTPUTF8", "SIZE=", "RET=FULL", &format!("ENVID={id}")] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    assert!(
        commands.iter().any(|command| command == "RCPT TO:<jörg@example.org> NOTIFY=SUCCESS,FAILURE"),
        "{commands:?}"
    );
    let raw = "To: a@example.org\nSubject: raw\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n";
    let answer = service.submit_raw(raw, "");
    service.wait(answer.json()["id"].as_str().unwrap(), "delivered");
    assert!(sink.commands().iter().any(|command| command.contains("BODY=8BITMIME")), "{:?}", sink.commands());
    assert!(sink.received()[1].content.ends_with("Grüße\r\n"));
}

#[test]
fn missing_extensions_are_not_assumed() {
    let sink = Sink::start();
    sink.extensions(&["SIZE 20000"]);
    let service = MailService::new(sink.port, QUICK, "");
    let utf8 = service.send(json!({ "to": ["jörg@example.org"] }));
    assert!(service.wait(&utf8, "failed")["reason"].as_str().unwrap().contains("SMTPUTF8"));
    let large = service.send(json!({ "text": "x\n".repeat(20_000) }));
    let message = service.wait(&large, "failed");
    assert_eq!(message["history"][0]["class"], "size", "{message:#}");
    let raw = "To: a@example.org, jörg@example.org\nSubject: Grüße\n\nGrüße = gut\n";
    let answer = service.submit_raw(raw, "");
    // Only the address that needs SMTPUTF8 fails; the others get the message in ASCII.
    let message = service.wait(answer.json()["id"].as_str().unwrap(), "failed");
    let of =
        |index: usize| (&message["recipients"][index]["status"], message["recipients"][index]["reply"].to_string());
    assert_eq!(of(0).0, "delivered", "{message:#}");
    assert!(of(1).0 == "failed" && of(1).1.contains("SMTPUTF8"), "{message:#}");
    let received = &sink.received()[0];
    assert_eq!(received.to, ["a@example.org"]);
    assert!(received.content.is_ascii(), "{}", received.content);
    let read = mail_parser::MessageParser::default().parse(received.content.as_bytes()).unwrap();
    assert_eq!((read.subject().unwrap(), read.body_text(0).unwrap().trim_end()), ("Grüße", "Grüße = gut"));
    // What is signed arrives as it was, or not at all.
    let raw = "To: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n--b\nContent-Type: application/pkcs7-signature\n\nx\n--b--\n";
    let answer = service.submit_raw(raw, "");
    assert!(
        service.wait(answer.json()["id"].as_str().unwrap(), "failed")["reason"].as_str().unwrap().contains("8BITMIME")
    );
    // A request for notifications does not prevent delivery by a server that has none.
    let plain = service.send(json!({ "notify": { "success": true } }));
    service.wait(&plain, "delivered");
    assert!(
        sink.commands().iter().all(|command| !command.contains("NOTIFY=") && !command.contains("SMTPUTF8")),
        "{:?}",
        sink.commands()
    );
}

#[test]
fn a_server_that_refuses_what_it_offers_gets_mail_without_it() {
    for reply in ["555 5.5.4 Unsupported option: SIZE", "501 Syntax error in parameters or arguments"] {
        let sink = Sink::start();
        sink.extensions(&["8BITMIME", "SIZE 36700160", "DSN"]);
        sink.on("mail", Action::ReplyTimes(1, reply));
        let service = MailService::new(sink.port, QUICK, "");
        let raw = "To: a@example.org\nSubject: raw\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGr\u{fc}\u{df}e\n";
        let answer = service.submit_raw(raw, "");
        let message = service.wait(answer.json()["id"].as_str().unwrap(), "delivered");
        assert_eq!(message["history"].as_array().unwrap().len(), 1, "one attempt: {message:#}");
        let commands = || sink.commands().into_iter().filter(|command| command.starts_with("MAIL")).collect::<Vec<_>>();
        assert_eq!(commands().len(), 2, "{:?}", commands());
        assert!(commands()[0].contains(" BODY=8BITMIME") && commands()[0].contains(" SIZE="), "{:?}", commands());
        assert!(commands()[1].ends_with('>'), "{:?}", commands());
        let received = &sink.received()[0];
        assert!(received.content.is_ascii(), "{}", received.content);
        let read = mail_parser::MessageParser::default().parse(received.content.as_bytes()).unwrap();
        assert_eq!(read.body_text(0).unwrap().trim_end(), "Gr\u{fc}\u{df}e");
        // The connection remembers it.
        let next = service.send(json!({ "notify": { "success": true } }));
        service.wait(&next, "delivered");
        assert!(commands()[2].ends_with('>'), "{:?}", commands());
        assert_eq!(service.outbox()["suspended"], json!([]));
    }
}

#[test]
fn a_refusal_without_optional_parameters_is_about_what_it_says() {
    let sink = Sink::start();
    sink.extensions(&["8BITMIME", "SMTPUTF8", "SIZE 36700160"]);
    sink.on("mail", Action::Reply("555 5.5.4 Unsupported option: SMTPUTF8"));
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({ "to": ["j\u{f6}rg@example.org"] }));
    let suspended = service.wait_outbox("the profile is suspended", |outbox| outbox["suspended"][0].is_object());
    assert!(suspended["suspended"][0].to_string().contains("555 5.5.4"), "{suspended:#}");
    let commands: Vec<String> = sink.commands().into_iter().filter(|command| command.starts_with("MAIL")).collect();
    // What follows are the checks of the suspended profile, which send nothing.
    assert!(commands[0].contains(" SMTPUTF8") && commands[0].contains(" SIZE="), "{commands:?}");
    assert!(commands[1].contains(" SMTPUTF8") && !commands[1].contains(" SIZE="), "{commands:?}");
    sink.on("mail", Action::Usual);
    service.wait(&id, "delivered");
}
