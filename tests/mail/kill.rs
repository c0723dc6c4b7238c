//! `kill -9` under load, at random points. The long form (`MAILWRIGHT_TEST_KILLS=200`, some minutes) is what the figures of
//! the documentation come from.

use std::time::Duration;

use crate::harness::{Load, Post, QUICK, RealSink, knob, nothing_is_lost};

#[test]
fn a_service_that_is_killed_again_and_again_loses_nothing() {
    let kills = knob("MAILWRIGHT_TEST_KILLS", 12);
    let sink = RealSink::start(&[]);
    let mut post = Post::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ unknown: retry }} }}\n"), "");
    let load = Load::start(&post, 4, Duration::from_millis(5));
    for kill in 0..kills {
        // Never the same moment twice.
        std::thread::sleep(Duration::from_millis(60 + kill * 37 % 240));
        post.restart();
        load.moved(&post);
    }
    std::thread::sleep(Duration::from_millis(300));
    let (count, refused) = (load.accepted(), load.refused());
    let accepted = load.end();
    post.wait_empty();
    let tally = nothing_is_lost(&post, &accepted, &sink.message_ids());
    println!("{kills} kills: {count} accepted, {refused} refused, {tally:?}");
    assert!(accepted.len() > 50, "there was no load to speak of: {} accepted", accepted.len());
    assert_eq!(tally.delivered, accepted.len(), "what nobody could know of was sent again");
}
