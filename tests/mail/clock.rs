//! A clock that is set while the service runs neither hastens nor holds up any mail.

use serde_json::json;

use crate::{
    mail_service::{DEADLINES, MailService, PATIENCE, QUICK, count},
    sink::{Action, Sink},
    support::tools,
};

/// A service whose clock is as `offset` says, at each moment.
fn start_service(sink: &Sink, delivery: &str, offset: &str) -> (MailService, std::path::PathBuf) {
    let service = MailService::unapplied(sink.port, delivery, "");
    let path = service.repo.path("offset");
    std::fs::write(&path, offset).unwrap();
    let mut service = service;
    start(&mut service);
    service.apply();
    (service, path)
}

fn start(service: &mut MailService) {
    let library = std::fs::read_dir(tools::folder().join("usr/lib"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("libfaketime is missing; run the tests with ./test"));
    let preload = format!("LD_PRELOAD={}", library.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", service.repo.path("offset").display());
    let before =
        ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"];
    service.repo.serve_under(&before, &[&["--demo"], &DEADLINES[..]].concat());
}

#[test]
fn a_clock_that_jumps_does_not_change_the_schedule() {
    let sink = Sink::start();
    let (service, offset) = start_service(&sink, QUICK, "+0");
    sink.on("rcpt", Action::Reply("451 4.3.0 not now"));
    let waits = service.send(json!({}));
    service.wait_until(&waits, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    let tries = || service.message(&waits)["attempts"].as_u64().unwrap();
    // Three days on: no message's lifetime of two days is over, and nothing is tried faster.
    std::fs::write(&offset, "+3d").unwrap();
    let (before, began) = (tries(), std::time::Instant::now());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let within = tries() - before;
    // A second lies between two of them, however long the machine took for the three.
    let elapsed = began.elapsed();
    assert!(within <= elapsed.as_secs() + 1, "{within} attempts within {elapsed:?}");
    assert_eq!(service.message(&waits)["status"], "queued");
    // A day back: what is due is still due, and what is new leaves at once.
    std::fs::write(&offset, "-1d").unwrap();
    sink.on("rcpt", Action::Usual);
    service.wait(&waits, "delivered");
    let fresh = service.send(json!({}));
    service.wait(&fresh, "delivered");
}

#[test]
fn a_restart_under_an_earlier_clock_delays_nothing() {
    let sink = Sink::start();
    sink.on("mail", Action::Reply("451 4.3.0 not now"));
    let (mut service, offset) = start_service(&sink, QUICK, "+2d");
    let waits = service.send(json!({}));
    service.wait_until(&waits, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    // It was two days ahead: what is due then would wait for two days.
    service.repo.kill();
    std::fs::write(&offset, "+0").unwrap();
    sink.on("mail", Action::Usual);
    start(&mut service);
    service.wait(&waits, "delivered");
}

#[test]
fn a_clock_that_was_set_is_adopted_and_the_schedule_moves_with_it() {
    let sink = Sink::start();
    sink.on("rcpt", Action::Reply("451 4.3.0 not now"));
    // Before NTP had its say, it was ten days behind.
    let lifetime = "  functions: { default: { lifetime: 2h } }\n";
    let (service, offset) = start_service(&sink, &format!("{QUICK}{lifetime}"), "-10d");
    let waits = service.send(json!({}));
    service.wait_until(&waits, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    std::fs::write(&offset, "+0").unwrap();
    let off = || {
        let id = service.send(json!({ "company": "EDU2" }));
        let accepted = service.message(&id)["acceptedAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        jiff::Timestamp::now().duration_since(accepted).as_secs().abs()
    };
    assert!(off() > 86_400, "it may be set back at once");
    let until = std::time::Instant::now() + PATIENCE;
    while off() > 60 {
        assert!(std::time::Instant::now() < until, "it was never followed: {}", service.log());
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    // Ten days are more than it lives, and it has not passed them; it is tried as before.
    let tries = service.message(&waits)["attempts"].as_u64();
    service.wait_until(&waits, "another attempt", |message| message["attempts"].as_u64() > tries);
    assert_eq!(count(&service.outbox(), "failed"), 0);
    // The same back again.
    std::fs::write(&offset, "-10d").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(20));
    let tries = service.message(&waits)["attempts"].as_u64();
    service.wait_until(&waits, "another attempt", |message| message["attempts"].as_u64() > tries);
    sink.on("rcpt", Action::Usual);
    let outbox = service.wait_empty();
    assert_eq!((count(&outbox, "failed"), count(&outbox, "unknown")), (0, 0), "{outbox:#}");
}
