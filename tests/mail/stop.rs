//! SIGTERM under load: nothing new is begun, what is under way ends, and nothing is left in doubt.

use std::time::Duration;

use crate::harness::{Load, Post, QUICK, RealSink, nothing_is_lost};

#[test]
fn what_is_under_way_ends() {
    let sink = RealSink::start(&["-w", "1"]);
    let mut post = Post::new(sink.port, QUICK, "limits: { concurrency: 4 }\n");
    let load = Load::start(&post, 2, Duration::from_millis(60));
    std::thread::sleep(Duration::from_millis(1500));
    let mut service = post.trial.service.take().unwrap();
    assert!(std::process::Command::new("kill").arg(service.child.id().to_string()).status().unwrap().success());
    let status = service.child.wait().unwrap();
    assert!(status.success(), "{status}");
    post.restart();
    let accepted = load.end();
    post.wait_outbox("an empty queue", |outbox| {
        crate::harness::count(outbox, "queued") + crate::harness::count(outbox, "sending") == 0
    });
    let tally = nothing_is_lost(&post, &accepted, &sink.message_ids());
    assert_eq!((tally.unknown, tally.twice), (0, 0), "{tally:?}");
    assert!(tally.delivered > 5, "{tally:?}");
}
