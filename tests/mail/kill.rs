//! `kill -9` under load, at random points. The long form (`MAILWRIGHT_TEST_KILLS=200`, some minutes) is what the figures
//! of the documentation come from.

use std::time::Duration;

use crate::{
    mail_service::{LoadGenerator, MailService, PostfixSink, QUICK, assert_nothing_lost, scale},
    support::postfix::wait_for,
};

#[test]
fn a_service_that_is_killed_again_and_again_loses_nothing() {
    let kills = scale("MAILWRIGHT_TEST_KILLS", 12);
    let sink = PostfixSink::start(&[]);
    let mut service =
        MailService::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ unknown: retry }} }}\n"), "");
    let load = LoadGenerator::start(&service, 4, Duration::from_millis(5));
    for kill in 0..kills {
        // Some are accepted between two kills, however slow the machine is, and it is never the same moment twice.
        let before = load.accepted();
        wait_for(|| load.accepted() >= before + 5, "mail to be accepted");
        std::thread::sleep(Duration::from_millis(60 + kill * 37 % 240));
        service.restart();
        load.moved(&service);
    }
    std::thread::sleep(Duration::from_millis(300));
    let (count, refused) = (load.accepted(), load.refused());
    let accepted = load.end();
    service.wait_empty();
    let tally = assert_nothing_lost(&service, &accepted, &sink.message_ids());
    println!("{kills} kills: {count} accepted, {refused} refused, {tally:?}");
    assert!(accepted.len() > 50, "there was no load to speak of: {} accepted", accepted.len());
    assert_eq!(tally.delivered, accepted.len(), "the unknown ones were sent again");
}
