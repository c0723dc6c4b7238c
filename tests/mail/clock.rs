//! A clock that is set while the service runs neither hastens nor holds up any mail.

use serde_json::json;

use crate::{
    harness::{DEADLINES, Post, QUICK},
    sink::{Act, Sink},
    support::tools,
};

#[test]
fn a_clock_that_jumps_changes_nothing_about_what_waits() {
    let sink = Sink::start();
    let mut post = Post::unapplied(sink.port, QUICK, "");
    let library = std::fs::read_dir(tools::folder().join("usr/lib"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file())
        .expect("./test unpacks it");
    let offset = post.trial.path("offset");
    std::fs::write(&offset, "+0").unwrap();
    let preload = format!("LD_PRELOAD={}", library.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", offset.display());
    let before =
        ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"];
    post.trial.serve_under(&before, &[&["--demo"], &DEADLINES[..]].concat());
    post.apply();
    sink.at("rcpt", Act::Say("451 4.3.0 not now"));
    let waits = post.send(json!({}));
    post.wait_until(&waits, "an attempt", |message| message["attempts"].as_u64() >= Some(1));
    let tries = || post.message(&waits)["attempts"].as_u64().unwrap();
    // Three days on: nobody's lifetime of two is over, and nothing is tried faster.
    std::fs::write(&offset, "+3d").unwrap();
    let (before, began) = (tries(), std::time::Instant::now());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let within = tries() - before;
    assert!(within <= 4, "{within} attempts within {:?}", began.elapsed());
    assert_eq!(post.message(&waits)["status"], "queued");
    // A day back: what is due is still due, and what is new leaves at once.
    std::fs::write(&offset, "-1d").unwrap();
    sink.at("rcpt", Act::Usual);
    post.wait(&waits, "delivered");
    let fresh = post.send(json!({}));
    post.wait(&fresh, "delivered");
}
