//! Certificates that have expired, are for another name, or from nobody known; STARTTLS taken out of the answer. Nothing is
//! ever sent in clear or to a stranger: the profile is parked, with verify's finding. And where all is well, it is delivered
//! through real Postfix and Dovecot.

use serde_json::json;

use crate::{
    harness::{DEADLINES, Post, QUICK},
    support::{
        postfix::{PASSWORD, Postfix, USER},
        trial::Trial,
    },
};

fn post(postfix: &Postfix, port: u16, encryption: &str) -> Post {
    let trial = Trial::examples();
    for old in ["environments", "secrets/prod", "secrets/dev/relay", "secrets/dev/documents"] {
        drop(std::fs::remove_dir_all(trial.path(old)));
    }
    crate::harness::environment(&trial, QUICK);
    trial.write(
        "environments/dev/profiles/relay.yaml",
        format!("provider:\n  smtp:\n    host: localhost\n    port: {port}\n    encryption: {encryption}\n    username: {USER}\n    password: {{ secret: relay/login }}\nfrom: {{ address: erp@example.com }}\nfunctions: [default]\nappliesTo: system-wide\n"),
    );
    trial.write("ca.pem", &postfix.authority);
    trial.pipe(&["secrets", "set", "dev", "relay/login"], PASSWORD.as_bytes()).code(0);
    let ca = trial.path("ca.pem");
    let mut post = Post { trial };
    post.trial.serve_with(&[&["--demo", "--outgoing-ca-file", ca.to_str().unwrap()], &DEADLINES[..]].concat());
    post.apply();
    post
}

#[test]
fn what_is_not_trusted_gets_nothing_and_what_is_gets_the_mail() {
    let postfix = Postfix::start();
    for (port, finding) in [
        (postfix.expired, "SMTP-CERTIFICATE-EXPIRED"),
        (postfix.misnamed, "SMTP-CERTIFICATE-NAME"),
        (postfix.unknown, "SMTP-CERTIFICATE"),
    ] {
        let post = post(&postfix, port, "starttls");
        let id = post.send(json!({}));
        let outbox = post
            .wait_outbox("the parked profile with its finding", |outbox| outbox["parked"][0]["finding"].is_object());
        assert_eq!(outbox["parked"][0]["finding"]["id"], finding, "{outbox:#}");
        assert_eq!(post.message(&id)["attempts"], 0);
    }
    for (port, encryption) in [(postfix.starttls, "starttls"), (postfix.tls, "tls")] {
        let post = post(&postfix, port, encryption);
        let id = post.send(json!({ "to": ["mailer@localhost"] }));
        let message = post.wait_until(&id, "an attempt that came to the recipients", |message| {
            !message["history"].as_array().unwrap().is_empty()
        });
        let phase = message["history"][0]["phase"].as_str().unwrap().to_owned();
        assert!(["rcpt", "dot"].contains(&phase.as_str()), "logged in, and the sender was accepted: {message:#}");
        assert_eq!(post.outbox()["parked"], json!([]));
    }
}

#[test]
fn starttls_that_was_taken_out_of_the_answer_sends_nothing() {
    let sink = crate::sink::Sink::start();
    let post = Post::unapplied(sink.port, QUICK, "");
    let text =
        post.trial.read("environments/dev/profiles/relay.yaml").replace("encryption: none", "encryption: starttls");
    post.trial.write("environments/dev/profiles/relay.yaml", text);
    let mut post = post;
    post.trial.serve_with(&[&["--demo"], &DEADLINES[..]].concat());
    post.apply();
    post.send(json!({}));
    let outbox =
        post.wait_outbox("the parked profile with its finding", |outbox| outbox["parked"][0]["finding"].is_object());
    assert_eq!(outbox["parked"][0]["finding"]["id"], "SMTP-STARTTLS", "{outbox:#}");
    assert!(
        sink.taken().is_empty() && sink.commands().iter().all(|command| !command.starts_with("MAIL")),
        "{:?}",
        sink.commands()
    );
}
