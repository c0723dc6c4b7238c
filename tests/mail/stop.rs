//! SIGTERM under load: nothing new is begun, what is under way ends, and nothing is left in doubt.

use std::time::Duration;

use crate::{
    mail_service::{LoadGenerator, MailService, PostfixSink, QUICK, assert_nothing_lost},
    support::postfix::wait_for,
};

#[test]
fn deliveries_in_progress_are_finished() {
    let sink = PostfixSink::start(&["-w", "1"]);
    let mut service = MailService::new(sink.port, QUICK, "limits: { concurrency: 4 }\n");
    let load = LoadGenerator::start(&service, 2, Duration::from_millis(60));
    wait_for(|| load.accepted() > 12, "mail to be under way");
    let mut process = service.repo.service.take().unwrap();
    assert!(std::process::Command::new("kill").arg(process.child.id().to_string()).status().unwrap().success());
    let status = process.child.wait().unwrap();
    assert!(status.success(), "{status}");
    service.restart();
    let accepted = load.end();
    service.wait_outbox("an empty queue", |outbox| {
        crate::mail_service::count(outbox, "queued") + crate::mail_service::count(outbox, "sending") == 0
    });
    let tally = assert_nothing_lost(&service, &accepted, &sink.message_ids());
    assert_eq!((tally.unknown, tally.twice), (0, 0), "{tally:?}");
    assert!(tally.delivered > 5, "{tally:?}");
}
