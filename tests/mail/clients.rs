//! Clients that are slow, idle or greedy delay no other client, and cost bounded memory.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    mail_service::{DEADLINES, MailService, QUICK},
    sink::Sink,
};

#[test]
fn idle_and_slow_connections_do_not_delay_others() {
    let sink = Sink::start();
    let mut service = MailService::unapplied(sink.port, QUICK, "");
    // With so few descriptors, each connection that is not closed would be missed by delivery.
    let limited = ["sh", "-c", "ulimit -n 128 && exec \"$0\" \"$@\""];
    service.repo.serve_under(&limited, &[&["--demo", "--idle-timeout", "2"], &DEADLINES[..]].concat());
    service.apply();
    let address = service.repo.address().trim_start_matches("http://").to_owned();
    let begun = ["", "POST /v1/messages HTTP/1.1\r\nHost: te", "PRI * HT", "G"];
    let idle: Vec<TcpStream> = (0..500)
        .map(|index| {
            let mut stream = TcpStream::connect(&address).unwrap();
            // One that was closed for another cannot be written to.
            drop(stream.write_all(begun[index % begun.len()].as_bytes()));
            stream
        })
        .collect();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(service.repo.http_without_token("GET", path, &[], b"").status, 200, "{path}");
    }
    let ids: Vec<String> = (0..20).map(|_| service.send(json!({}))).collect();
    for id in &ids {
        service.wait(id, "delivered");
    }
    // Each of them is closed, also without other clients that need the slot.
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let read = stream.read(&mut [0; 1024]);
        let is_open = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_open, "a silent connection is still open");
    }
    let log = service.repo.service.as_ref().unwrap().log.lock().unwrap().clone();
    assert!(!log.contains("Too many open files"), "{log}");
}

#[test]
fn large_submissions_are_accepted_or_refused_within_bounds() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let before = service.repo.resident_memory();
    // 50 MB in base64 are more than a route takes; 20 MB of file are not.
    let file = |bytes: usize| json!({ "attachments": [{ "name": "f.bin", "content": "QUJD".repeat(bytes / 3) }] });
    let refused = service.submit(file(37_000_000));
    assert_eq!(refused.status, 413, "{}", refused.body);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| service.send(file(20_000_000)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for id in &ids {
        service.wait(id, "delivered");
    }
    assert_eq!(sink.received().len(), 6);
    let peak = service.repo.peak_memory();
    // The program itself with the code that is used meanwhile, the six bodies of 27 MB, and what `memory.rs` says of making
    // and delivering messages.
    let most = before + 40 + 6 * 27 + 64 + 28 + 96 + 20;
    assert!(peak < most, "{peak} MiB at the most, {before} MiB before");
    // A body that is promised and never comes ends with its deadline or its connection.
    let mut stream = TcpStream::connect(service.repo.address().trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 60000000\r\n\r\n",
        service.repo.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(stream);
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
}

#[test]
fn incomplete_bodies_do_not_delay_others() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let [greedy, patient] = ["greedy", "patient"].map(|name| {
        let create = ["token", "create", "dev", "--name", name, "--role", "sender"];
        service.repo.run(&create).code(0).stdout.trim().to_owned()
    });
    let address = service.repo.address().trim_start_matches("http://").to_owned();
    let begin = |token: &str, length: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    // None of these says how long it is, and none comes.
    let endless: Vec<TcpStream> = (0..6).map(|_| begin(&patient, "Transfer-Encoding: chunked")).collect();
    // More than there are places.
    let promised: Vec<TcpStream> = (0..300).map(|_| begin(&greedy, "Content-Length: 1000")).collect();
    std::thread::sleep(Duration::from_secs(1));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(service.repo.http_without_token("GET", path, &[], b"").status, 200, "{path}");
    }
    let began = Instant::now();
    let id = service.send(json!({}));
    service.send(json!({ "text": "x".repeat(1_000_000) }));
    service.wait(&id, "delivered");
    println!("accepted after {:?} next to {} bodies that do not come", began.elapsed(), endless.len() + promised.len());
    // Each is given up, and says why.
    let mut answers = String::new();
    for mut stream in endless {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = [0; 2048];
        let read = stream.read(&mut answer).unwrap();
        answers.push_str(&String::from_utf8_lossy(&answer[..read]));
    }
    assert_eq!(answers.matches("HTTP/1.1 408").count(), 6, "{answers}");
    // One that is slow and goes on is taken, be it ever so large.
    let body = crate::mail_service::message(json!({ "text": "x".repeat(300_000) })).to_string();
    let mut stream = begin(&patient, &format!("Content-Length: {}", body.len()));
    for part in body.as_bytes().chunks(30_000) {
        stream.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    let mut answer = [0; 64];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer));
}
