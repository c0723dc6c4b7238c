//! A change of configuration takes effect for the next attempt: another server, another profile, none at all.

use serde_json::json;

use crate::{
    harness::{Post, QUICK, count, environment, relay},
    sink::{Act, Sink},
};

#[test]
fn the_next_attempt_goes_to_the_new_server() {
    let (old, new) = (Sink::start(), Sink::start());
    old.at("rcpt", Act::Say("451 4.3.0 not now"));
    let post = Post::new(old.port, QUICK, "");
    let id = post.send(json!({}));
    post.wait_until(&id, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    relay(&post.trial, "relay", new.port, "", "");
    post.apply();
    let message = post.wait(&id, "delivered");
    assert_eq!(new.taken().len(), 1);
    assert_eq!(message["generation"], 1, "the generation at which it was accepted");
    let last = message["history"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["generation"], 2, "and the one that sent it: {last:#}");
}

#[test]
fn connections_of_the_old_configuration_are_closed() {
    let sink = Sink::start();
    let post = Post::new(sink.port, QUICK, "");
    let id = post.send(json!({}));
    post.wait(&id, "delivered");
    assert_eq!(sink.connections(), 1);
    // Reused while nothing changes.
    let id = post.send(json!({}));
    post.wait(&id, "delivered");
    assert_eq!(sink.connections(), 1);
    relay(&post.trial, "relay", sink.port, "", "description: changed\n");
    post.apply();
    let id = post.send(json!({}));
    post.wait(&id, "delivered");
    assert_eq!(sink.connections(), 2);
}

#[test]
fn messages_of_a_deleted_profile_are_resolved_anew_or_wait() {
    let sink = Sink::start();
    let post = Post::unapplied(sink.port, QUICK, "");
    let own = "functions: [default]\nappliesTo: { companies: [EDU1] }\nfrom: { address: edu1@example.com }\n";
    let silent = Sink::start();
    silent.at("rcpt", Act::Say("451 4.3.0 not now"));
    relay(&post.trial, "own", silent.port, "", own);
    let mut post = post;
    post.trial.serve_with(&["--demo"]);
    post.apply();
    let first = post.send(json!({}));
    let message = post.wait_until(&first, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    assert_eq!(message["profile"], "own");
    assert_eq!(message["resolution"]["steps"][0]["found"], "own");
    // Its profile is gone; the system-wide one serves the company now, under its own address.
    post.trial.remove("environments/dev/profiles/own.yaml");
    post.trial.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-deletes", "own"]).code(0);
    let message = post.wait(&first, "delivered");
    assert_eq!(message["history"].as_array().unwrap().last().unwrap()["profile"], "relay");
    assert_eq!(sink.taken()[0].from, "erp@example.com");
    assert!(sink.taken()[0].header("from").unwrap().contains("erp@example.com"));

    // With nobody left, it waits and says why; nobody else's profile takes it.
    sink.at("rcpt", Act::Say("451 4.3.0 not now"));
    let second = post.send(json!({ "company": "EDU1" }));
    post.wait_until(&second, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    environment(&post.trial, &format!("{QUICK}unserved: [{{ reason: trial, companies: [EDU1] }}]\n"));
    let other = "functions: [default]\nappliesTo: { companies: [EDU2] }\nfrom: { address: edu2@example.com }\n";
    relay(&post.trial, "relay", sink.port, "", other);
    post.trial.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-deletes", "relay"]).code(0);
    sink.at("rcpt", Act::Usual);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let message = post.message(&second);
    assert_eq!(message["status"], "queued");
    assert!(message["waitsFor"].as_str().unwrap().starts_with("no profile serves default for EDU1"), "{message:#}");
    assert_eq!(sink.taken().len(), 1, "one company's mail never leaves by another company's profile");
    assert_eq!(count(&post.outbox(), "failed"), 0);
}

#[test]
fn what_was_read_ahead_goes_by_the_new_profile() {
    let (old, new) = (Sink::start(), Sink::start());
    old.at("dot", Act::Slowly(25));
    let post = Post::new(old.port, QUICK, "limits: { concurrency: 2 }\n");
    for _ in 0..40 {
        post.send(json!({}));
    }
    old.wait_taken(2);
    let own = "functions: [default]\nappliesTo: { companies: [EDU1] }\nfrom: { address: edu1@example.com }\n";
    relay(&post.trial, "own", new.port, "", own);
    post.apply();
    let begun = old.seen("mail");
    let outbox = post.wait_empty();
    let since = old.seen("mail") - begun;
    assert!(since <= 2, "{since} began by the old profile after the change was taken");
    assert_eq!(count(&outbox, "delivered"), 40);
    assert!(new.taken().len() >= 20 && old.taken().len() + new.taken().len() == 40, "{}", new.taken().len());
}
