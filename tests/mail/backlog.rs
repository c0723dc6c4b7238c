//! A server that is away while much waits: memory stays bounded, nothing slows down, everything leaves when it is back. The
//! long form (`MAILWRIGHT_TEST_BACKLOG=200000`) is what the figures of the documentation come from.

use std::time::{Duration, Instant};

use crate::{
    harness::{DEADLINES, Load, Post, QUICK, RealSink, count},
    support::postfix::free_port,
};

/// Resident memory of the service, in MiB.
fn resident(post: &Post) -> u64 {
    let pid = post.trial.service.as_ref().unwrap().child.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn much_that_waits_costs_no_memory_and_leaves_when_the_server_is_back() {
    let wanted: u64 = std::env::var("MAILWRIGHT_TEST_BACKLOG").ok().and_then(|text| text.parse().ok()).unwrap_or(4000);
    let port = free_port();
    let mut post = Post::unapplied(port, QUICK, "");
    post.trial.serve_with(&[&["--demo"], &DEADLINES[..]].concat());
    post.apply();
    let load = Load::start(&post, 16, Duration::ZERO);
    let until = Instant::now() + Duration::from_secs(600);
    while load.accepted() < usize::try_from(wanted).unwrap() {
        assert!(Instant::now() < until, "{} accepted", load.accepted());
        std::thread::sleep(Duration::from_millis(50));
    }
    let accepted = load.end();
    let memory = resident(&post);
    assert!(memory < 256, "{memory} MiB with {} waiting", accepted.len());
    let outbox = post.outbox();
    assert_eq!(outbox["down"][0], "relay", "{outbox:#}");
    let sink = RealSink::start_at(port, &[]);
    let began = Instant::now();
    post.wait_outbox("everything to leave", |outbox| count(outbox, "delivered") == accepted.len() as u64);
    println!(
        "{} left in {:?}; {} MiB resident before, {} after",
        accepted.len(),
        began.elapsed(),
        memory,
        resident(&post)
    );
    let arrived = sink.message_ids();
    assert!(accepted.keys().all(|id| arrived.get(id) == Some(&1)), "each arrived once");
}
