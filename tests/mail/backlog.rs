//! A server that is away while much waits: memory stays bounded, nothing slows down, everything leaves when it is back.
//! The long form (`MAILWRIGHT_TEST_BACKLOG=200000 MAILWRIGHT_TEST_AWAY=7200`) is what the figures of the documentation
//! come from. That no statement's cost grows with what waits, `tests/service/query_plans.rs` holds.

use std::time::{Duration, Instant};

use crate::{
    mail_service::{DEADLINES, LoadGenerator, MailService, PostfixSink, QUICK, count, scale},
    support::postfix::free_port,
};

/// The seconds of processor time that the service has used.
fn processor_time(service: &MailService) -> f64 {
    let pid = service.repo.service.as_ref().unwrap().child.id();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, in hundredths of a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
fn a_large_backlog_costs_no_memory_and_is_delivered_when_the_server_is_back() {
    let wanted = scale("MAILWRIGHT_TEST_BACKLOG", 4000);
    let away = Duration::from_secs(scale("MAILWRIGHT_TEST_AWAY", 5));
    let port = free_port();
    let mut service = MailService::unapplied(port, QUICK, "");
    service.repo.serve_with(&[&["--demo"], &DEADLINES[..]].concat());
    service.apply();
    let load = LoadGenerator::start(&service, 16, Duration::ZERO);
    let until = Instant::now() + Duration::from_secs(120 + wanted / 20);
    while load.accepted() < usize::try_from(wanted).unwrap() {
        assert!(Instant::now() < until, "{} accepted", load.accepted());
        std::thread::sleep(Duration::from_millis(50));
    }
    let accepted = load.end();
    let (since, used) = (Instant::now(), processor_time(&service));
    std::thread::sleep(away);
    // Waiting costs nothing: a periodic scan of the whole queue would show here.
    let used = processor_time(&service) - used;
    assert!(used < since.elapsed().as_secs_f64() / 10.0 + 1.0, "{used} s of work while nothing could be done");
    let memory = service.repo.resident_memory();
    assert!(memory < 256, "{memory} MiB with {} waiting", accepted.len());
    let outbox = service.outbox();
    assert_eq!(outbox["unreachable"][0], "relay", "{outbox:#}");
    let sink = PostfixSink::start_at(port, &[]);
    let began = Instant::now();
    let outbox = service.wait_empty_for(Duration::from_secs(180 + wanted / 50));
    assert_eq!(count(&outbox, "delivered"), accepted.len() as u64, "{outbox:#}");
    println!(
        "{} left in {:?}; {} MiB resident before, {} after",
        accepted.len(),
        began.elapsed(),
        memory,
        service.repo.resident_memory()
    );
    let arrived = sink.message_ids();
    assert!(accepted.keys().all(|id| arrived.get(id) == Some(&1)), "each arrived once");
}
