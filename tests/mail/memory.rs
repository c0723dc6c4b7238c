//! Eight bodies of 50 MB at once, submitted and then delivered: what the service uses beyond what it begins with stays
//! within what it sets aside for them.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    graph::post_with,
    mail_service::{MailService, QUICK, count},
    sink::Sink,
    support::sandbox::{SECRET, Sandbox, good},
};

/// The number of submissions at once.
const AT_ONCE: usize = 8;
/// The size of a submission, in bytes.
const BODY: usize = 50_000_000;

/// The memory that submissions may use, in MiB: `ROOM` of `src/service/upload.rs` for what is read (here five bodies;
/// three wait), `WORK` for what is being made of one of them, what the store copies of one when it writes it, and some
/// for everything else.
const SUBMITTED: u64 = 256 + 64 + 48 + 24;
/// The memory that deliveries may use, in MiB: `LARGE_IN_MEMORY` of `src/delivery/attempt.rs`, which admits one of these
/// messages and its second copy while it is read or converted, and some for everything else.
const DELIVERED: u64 = 96 + 40;

/// Returns the largest resident memory during some work. It is read every few milliseconds; a large body exists for longer.
fn peak_during(service: &MailService, work: impl FnOnce()) -> u64 {
    /// Ends the reading, also when the work fails.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let end = Done(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                most.fetch_max(service.repo.resident_memory(), Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        work();
        drop(end);
    });
    most.into_inner()
}

/// A message in parts, as JSON of about so many bytes.
fn in_parts() -> Value {
    json!({ "attachments": [{ "name": "f.bin", "content": "QUJD".repeat(BODY / 4) }] })
}

/// A whole message of about so many bytes.
fn whole() -> Vec<u8> {
    let mut bytes = b"To: customer@example.org\r\nSubject: large\r\nMIME-Version: 1.0\r\n\
        Content-Type: application/octet-stream; name=f.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        .to_vec();
    let line = format!("{}\r\n", "QUJD".repeat(19));
    bytes.extend(line.bytes().cycle().take(BODY / line.len() * line.len()));
    bytes
}

fn send_whole(service: &MailService, whole: &[u8]) {
    let answer = service.submit_raw(whole, "");
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// Submits so many at once while nothing may leave, then lets them leave.
fn assert_within_bounds(service: &MailService, submit: impl Fn(usize) + Sync) {
    let hold = br#"{ "function": "default", "reason": "until all is there" }"#;
    let hold = service.repo.http("POST", "/v1/holds", &[], hold).json()["id"].as_str().unwrap().to_owned();
    let before = service.repo.resident_memory();
    let number = AtomicUsize::new(0);
    let submitted = peak_during(service, || {
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| submit(number.fetch_add(1, Ordering::Relaxed)));
            }
        });
    }) - before;
    let delivered = peak_during(service, || {
        assert_eq!(service.repo.http("DELETE", &format!("/v1/holds/{hold}"), &[], b"").status, 204);
        let outbox = service.wait_empty_for(Duration::from_secs(200));
        assert_eq!(count(&outbox, "delivered"), AT_ONCE as u64, "{outbox:#}");
    }) - before;
    println!("beyond {before} MiB: {submitted} MiB to submit them, {delivered} MiB to deliver them");
    assert!(submitted <= SUBMITTED, "{submitted} MiB to submit them");
    assert!(delivered <= DELIVERED, "{delivered} MiB to deliver them");
    // What is large is given back, and not kept for the next time.
    let after = service.repo.resident_memory();
    assert!(after < before + 40, "{after} MiB afterwards, {before} before");
}

#[test]
fn large_messages_by_smtp_stay_within_the_memory_limit() {
    let sink = Sink::start();
    sink.extensions(&["8BITMIME", "SIZE 100000000"]);
    let service = MailService::new(sink.port, QUICK, "limits: { messageSize: 60000000 }\n");
    let whole = whole();
    assert_within_bounds(&service, |number| match number % 2 {
        0 => drop(service.send(in_parts())),
        _ => send_whole(&service, &whole),
    });
}

#[test]
fn large_messages_by_graph_stay_within_the_memory_limit() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    let sandbox = Sandbox::start(scenario);
    let mut profile = crate::graph::profile();
    profile["limits"] = json!({ "messageSize": 60_000_000 });
    let service = post_with(&sandbox, QUICK, &profile, "documents/secret", SECRET);
    let whole = whole();
    assert_within_bounds(&service, |_| send_whole(&service, &whole));
    let uploads = sandbox.get("requests");
    let uploads =
        uploads.as_array().unwrap().iter().filter(|request| request["path"].as_str().unwrap().contains("/upload/"));
    // 37 MB each, in pieces of 3.3 MB.
    assert!(uploads.count() >= AT_ONCE * 11);
}
