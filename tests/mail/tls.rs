//! Certificates that have expired, are for another name, or from an unknown authority; STARTTLS stripped. Nothing is ever
//! sent in clear or to a stranger: the profile is suspended, with verify's finding. And where all is well, it is delivered
//! through real Postfix and Dovecot.

use serde_json::json;

use crate::{
    mail_service::{DEADLINES, MailService, QUICK},
    support::{
        own::{own_sender, sending_from},
        postfix::{PASSWORD, Postfix, USER},
        repository::TestRepository,
    },
};

fn start_service(postfix: &Postfix, port: u16, encryption: &str) -> MailService {
    let repo = TestRepository::without_profiles();
    crate::mail_service::environment(&repo, QUICK);
    repo.write(
        "environments/dev/profiles/relay.yaml",
        format!("provider:\n  smtp:\n    host: localhost\n    port: {port}\n    encryption: {encryption}\n    username: {USER}\n    password: {{ secret: relay/login }}\nfrom: {{ address: erp@example.com }}\nfunctions: [default]\nappliesTo: system-wide\n"),
    );
    repo.write("ca.pem", &postfix.authority);
    repo.pipe(&["secrets", "set", "dev", "relay/login"], PASSWORD.as_bytes()).code(0);
    let ca = repo.path("ca.pem");
    let mut service = MailService { repo };
    service.repo.serve_with(&[&["--demo", "--outgoing-ca-file", ca.to_str().unwrap()], &DEADLINES[..]].concat());
    service.apply();
    service
}

#[test]
fn only_trusted_servers_get_mail() {
    let postfix = Postfix::start();
    for (port, finding) in [
        (postfix.expired, "SMTP-CERTIFICATE-EXPIRED"),
        (postfix.misnamed, "SMTP-CERTIFICATE-NAME"),
        (postfix.unknown, "SMTP-CERTIFICATE"),
    ] {
        let service = start_service(&postfix, port, "starttls");
        let id = service.send(json!({}));
        let outbox = service.wait_outbox("the suspended profile with its finding", |outbox| {
            outbox["suspended"][0]["finding"].is_object()
        });
        assert_eq!(outbox["suspended"][0]["finding"]["id"], finding, "{outbox:#}");
        assert_eq!(service.message(&id)["attempts"], 0);
    }
    for (port, encryption) in [(postfix.starttls, "starttls"), (postfix.tls, "tls")] {
        let service = start_service(&postfix, port, encryption);
        let id = service.send(json!({ "to": ["mailer@localhost"] }));
        let message = service.wait_until(&id, "an attempt that came to the recipients", |message| {
            !message["history"].as_array().unwrap().is_empty()
        });
        let phase = message["history"][0]["phase"].as_str().unwrap().to_owned();
        assert!(["rcpt", "dot"].contains(&phase.as_str()), "logged in, and the sender was accepted: {message:#}");
        assert_eq!(service.outbox()["suspended"], json!([]));
    }
}

#[test]
fn nothing_is_sent_if_starttls_is_removed_from_the_reply() {
    let sink = crate::sink::Sink::start();
    let sender = own_sender();
    let service = MailService::unapplied(sink.port, QUICK, &sending_from(&sender));
    let text =
        service.repo.read("environments/dev/profiles/relay.yaml").replace("encryption: none", "encryption: starttls");
    service.repo.write("environments/dev/profiles/relay.yaml", text);
    let mut service = service;
    service.repo.serve_with(&[&["--demo"], &DEADLINES[..]].concat());
    service.apply();
    service.send(json!({}));
    let outbox = service
        .wait_outbox("the suspended profile with its finding", |outbox| outbox["suspended"][0]["finding"].is_object());
    assert_eq!(outbox["suspended"][0]["finding"]["id"], "SMTP-STARTTLS", "{outbox:#}");
    let mail = format!("MAIL FROM:<{sender}>");
    assert!(sink.commands().iter().all(|command| !command.starts_with(&mail)), "{:?}", sink.commands());
}
