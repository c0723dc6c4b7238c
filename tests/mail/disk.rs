//! The disk: synced before 202; full, and emptied again; failing.

use std::{process::Command, time::Duration};

use serde_json::json;

use crate::{
    mail_service::PostfixSink,
    mail_service::{DEADLINES, LoadGenerator, MailService, QUICK, assert_nothing_lost, count},
    sink::Sink,
    support::{postfix::wait_for, tools::tool},
};

/// `strace -f`, with its options.
fn strace<'a>(program: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&[program, "-f", "-qq"], options, &["--"]].concat()
}

#[test]
fn a_message_is_synced_before_it_is_accepted() {
    let sink = Sink::start();
    let mut service = MailService::unapplied(sink.port, QUICK, "");
    let program = tool("strace");
    let trace = service.repo.path("trace");
    let options = ["-e", "trace=fsync,fdatasync,sendto,write,writev", "-s", "40", "-o", trace.to_str().unwrap()];
    service.repo.serve_under(&strace(program.to_str().unwrap(), &options), &[&["--demo"], &DEADLINES[..]].concat());
    service.apply();
    // Held, so that nothing but the submissions writes.
    service.repo.run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "quiet"]).code(0);
    let before = std::fs::read_to_string(&trace).unwrap().lines().count();
    for _ in 0..20 {
        service.send(json!({}));
    }
    let text = std::fs::read_to_string(&trace).unwrap();
    let (mut synced, mut accepted) = (false, 0);
    for line in text.lines().skip(before) {
        if (line.contains("fsync(") || line.contains("fdatasync(") || line.contains("sync resumed>"))
            && line.trim_end().ends_with("= 0")
        {
            synced = true;
        }
        if line.contains("HTTP/1.1 202") {
            assert!(synced, "answered before anything was synced:\n{line}");
            (synced, accepted) = (false, accepted + 1);
        }
    }
    assert_eq!(accepted, 20, "{text}");
}

#[test]
fn nothing_is_accepted_after_the_disk_failed() {
    let sink = Sink::start();
    let mut service = MailService::unapplied(sink.port, QUICK, "");
    let program = tool("strace");
    let log = service.repo.path("trace");
    let options =
        ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=60+", "-o", log.to_str().unwrap()];
    service.repo.serve_under(&strace(program.to_str().unwrap(), &options), &[&["--demo"], &DEADLINES[..]].concat());
    service.apply();
    let mut accepted = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        let answer = service.submit(json!({}));
        match answer.status {
            202 => {
                assert_eq!(refused, 0, "after a failure nothing is promised any more");
                accepted.push(answer.json()["id"].as_str().unwrap().to_owned());
            }
            503 => refused += 1,
            other => panic!("{other}: {}", answer.body),
        }
        if refused > 5 {
            break;
        }
    }
    assert!(refused > 5 && !accepted.is_empty(), "{} accepted, {refused} refused", accepted.len());
    assert_eq!(service.repo.http_without_token("GET", "/readyz", &[], b"").status, 503);
    // Started again on a sound disk, everything that was promised is there.
    service.restart();
    service.wait_empty();
    for id in &accepted {
        let message = service.message(id);
        assert!(["delivered", "unknown"].contains(&message["status"].as_str().unwrap()), "{message:#}");
    }
}

#[test]
fn a_full_disk_refuses_and_pauses_and_resumes_when_there_is_room() {
    let sink = PostfixSink::start(&[]);
    let mut service = MailService::unapplied(sink.port, QUICK, "");
    let data = service.repo.path(".data");
    std::fs::create_dir_all(&data).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=10m none {0} && chmod 700 {0} && dd if=/dev/zero of={0}/ballast bs=1M count=6 status=none && exec \"$0\" \"$@\"",
        data.display()
    );
    service.repo.serve_under(&["unshare", "-m", "sh", "-c", &script], &[&["--demo"], &DEADLINES[..]].concat());
    service.apply();
    let load = LoadGenerator::start(&service, 3, Duration::from_millis(1));
    // 5 KB each: it is full soon.
    wait_for(|| load.refused() > 20, "the disk to be full");
    assert_eq!(service.repo.http_without_token("GET", "/readyz", &[], b"").status, 503);
    std::thread::sleep(Duration::from_secs(1));
    let pid = service.repo.service.as_ref().unwrap().child.id();
    let ballast = format!("/proc/{pid}/root{}/ballast", data.display());
    assert!(Command::new("rm").arg(&ballast).status().unwrap().success());
    let before = load.accepted();
    wait_for(|| load.accepted() > before + 50, "mail to be accepted again");
    let accepted = load.end();
    let outbox = service.wait_empty();
    assert_eq!(count(&outbox, "failed"), 0, "{outbox:#}");
    let tally = assert_nothing_lost(&service, &accepted, &sink.message_ids());
    assert_eq!((tally.unknown, tally.twice), (0, 0), "{tally:?}");
}
