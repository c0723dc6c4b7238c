//! A change of configuration takes effect for the next attempt: another server, another profile, none at all.

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK, count, environment, relay},
    sink::{Action, Sink},
};

#[test]
fn the_next_attempt_goes_to_the_new_server() {
    let (old, new) = (Sink::start(), Sink::start());
    old.on("rcpt", Action::Reply("451 4.3.0 not now"));
    let service = MailService::new(old.port, QUICK, "");
    let id = service.send(json!({}));
    service.wait_until(&id, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    relay(&service.repo, "relay", new.port, "", "");
    service.apply();
    let message = service.wait(&id, "delivered");
    assert_eq!(new.received().len(), 1);
    assert_eq!(message["generation"], 1, "the generation at which it was accepted");
    let last = message["history"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["generation"], 2, "and the one that sent it: {last:#}");
}

#[test]
fn connections_of_the_old_configuration_are_closed() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(sink.connections(), 1);
    // Reused while nothing changes.
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(sink.connections(), 1);
    relay(&service.repo, "relay", sink.port, "", "description: changed\n");
    service.apply();
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(sink.connections(), 2);
}

#[test]
fn messages_of_a_deleted_profile_are_resolved_again_or_wait() {
    let sink = Sink::start();
    let service = MailService::unapplied(sink.port, QUICK, "");
    let own = "functions: [default]\nappliesTo: { companies: [EDU1] }\nfrom: { address: edu1@example.com }\n";
    let silent = Sink::start();
    silent.on("rcpt", Action::Reply("451 4.3.0 not now"));
    relay(&service.repo, "own", silent.port, "", own);
    let mut service = service;
    service.repo.serve_with(&["--demo"]);
    service.apply();
    let first = service.send(json!({}));
    let message = service.wait_until(&first, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    assert_eq!(message["profile"], "own");
    assert_eq!(message["resolution"]["steps"][0]["found"], "own");
    // Its profile is gone; the system-wide one serves the company now, under its own address.
    service.repo.remove("environments/dev/profiles/own.yaml");
    service.repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-deletes", "own"]).code(0);
    let message = service.wait(&first, "delivered");
    assert_eq!(message["history"].as_array().unwrap().last().unwrap()["profile"], "relay");
    assert_eq!(sink.received()[0].from, "erp@example.com");
    assert!(sink.received()[0].header("from").unwrap().contains("erp@example.com"));

    // Without a profile it waits and says why; another company's profile does not send it.
    sink.on("rcpt", Action::Reply("451 4.3.0 not now"));
    let second = service.send(json!({ "company": "EDU1" }));
    service.wait_until(&second, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    environment(&service.repo, &format!("{QUICK}unserved: [{{ reason: trial, companies: [EDU1] }}]\n"));
    let other = "functions: [default]\nappliesTo: { companies: [EDU2] }\nfrom: { address: edu2@example.com }\n";
    relay(&service.repo, "relay", sink.port, "", other);
    service.repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-deletes", "relay"]).code(0);
    sink.on("rcpt", Action::Usual);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let message = service.message(&second);
    assert_eq!(message["status"], "queued");
    assert!(
        message["waiting"]["explanation"].as_str().unwrap().starts_with("no profile serves default for EDU1"),
        "{message:#}"
    );
    let waiting = &service.outbox()["waiting"][0];
    assert_eq!((&waiting["reason"], &waiting["needsOperator"]), (&"no-sender".into(), &true.into()), "{waiting:#}");
    assert_eq!(waiting["command"], "mailwright resolve dev EDU1 default");
    assert_eq!(sink.received().len(), 1, "one company's mail never leaves by another company's profile");
    assert_eq!(count(&service.outbox(), "failed"), 0);
}

#[test]
fn prefetched_messages_use_the_new_profile() {
    let (old, new) = (Sink::start(), Sink::start());
    // Two are under way until the change has been taken, and others are read ahead.
    old.on("dot", Action::Held);
    let service = MailService::new(old.port, QUICK, "limits: { concurrency: 2 }\n");
    for _ in 0..40 {
        service.send(json!({}));
    }
    old.wait_for("dot", 2);
    let own = "functions: [default]\nappliesTo: { companies: [EDU1] }\nfrom: { address: edu1@example.com }\n";
    relay(&service.repo, "own", new.port, "", own);
    service.apply();
    let begun = old.seen("mail");
    old.on("dot", Action::Usual);
    let outbox = service.wait_empty();
    let since = old.seen("mail") - begun;
    assert!(since <= 2, "{since} began by the old profile after the change was taken");
    assert_eq!(count(&outbox, "delivered"), 40);
    assert!(
        new.received().len() >= 20 && old.received().len() + new.received().len() == 40,
        "{}",
        new.received().len()
    );
}
