//! Delivery compared with the disk's own speed, and with stock Postfix. `benches/README.md` describes how to run it and
//! its results.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    missing_docs,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and ends where it fails"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use support::{
    postfix::{free_port, wait_for},
    repository::TestRepository,
    tools,
};

/// As large as the messages of Postfix's own load generator in this run.
const SIZE: usize = 5120;
const CLIENTS: usize = 16;

fn main() {
    let largest: usize = std::env::var("LARGEST").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000);
    println!("| what | messages | ours | compared with | theirs | ratio |");
    println!("| --- | --- | --- | --- | --- | --- |");
    acceptance();
    against_postfix();
    let mut size = 1000;
    while size <= largest {
        backlog(size);
        size = if size * 10 > largest && size < largest { largest } else { size * 10 };
    }
}

fn print_row(what: &str, messages: usize, ours: &str, with: &str, theirs: &str, ratio: f64) {
    println!("| {what} | {messages} | {ours} | {with} | {theirs} | {ratio:.2} |");
}

/// Returns how often per second the disk under the temporary folder can be synced, one page at a time.
fn syncs_a_second(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("sync-probe")).unwrap();
    let page = [7; 4096];
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(2) {
        file.write_all(&page).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// A service whose one profile sends to a port.
fn service(port: u16, more: &str) -> TestRepository {
    let mut repo = TestRepository::empty();
    repo.write(
        "environments/dev/environment.yaml",
        "companies: [EDU1]\ndelivery:\n  retry: { first: 1s, longest: 2s }\n",
    );
    repo.write(
        "environments/dev/profiles/relay.yaml",
        format!("provider: {{ smtp: {{ host: 127.0.0.1, port: {port}, encryption: none }} }}\nfrom: {{ address: erp@example.com }}\nfunctions: [default]\nappliesTo: system-wide\n{more}"),
    );
    repo.quiet = true;
    repo.serve_with(&["--demo", "--delivery-deadlines", "connect=2"]);
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    repo
}

fn metric(repo: &TestRepository, name: &str) -> f64 {
    let text = repo.http("GET", "/metrics", &[], b"").body;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
}

/// Submits messages over connections that stay open. Returns the time of each. Without an HTTP library, so that the
/// load costs as little as it can: it shares the machine with the service.
fn submit(repo: &TestRepository, messages: usize, clients: usize, rate: Option<f64>) -> (Duration, Vec<Duration>) {
    let body = json!({
        "company": "EDU1", "function": "default", "to": ["customer@example.org"], "subject": "Invoice",
        "text": "0123456789 0123456789 0123456789 0123456789 0123456789 012345\n".repeat(SIZE / 64),
    })
    .to_string();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: service\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        repo.token(),
        body.len()
    );
    let address = repo.address().trim_start_matches("http://").to_owned();
    let next = AtomicUsize::new(0);
    let times = Mutex::new(Vec::with_capacity(messages));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(&address).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut own = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= messages {
                        break;
                    }
                    if let Some(rate) = rate {
                        let due = began + Duration::from_secs_f64(number as f64 / rate);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                    let asked = Instant::now();
                    stream.write_all(request.as_bytes()).unwrap();
                    read_accepted_reply(&mut stream);
                    own.push(asked.elapsed());
                }
                times.lock().unwrap().extend(own);
            });
        }
    });
    let mut times = times.into_inner().unwrap();
    times.sort();
    (began.elapsed(), times)
}

/// Reads an answer to its end; it must be a 202.
fn read_accepted_reply(stream: &mut TcpStream) {
    let mut answer = Vec::with_capacity(4096);
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the service hung up");
        answer.extend_from_slice(&buffer[..read]);
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 202"), "{head}");
        let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
        if answer.len() == end + 4 + length {
            return;
        }
    }
}

/// Measures how fast messages are accepted durably on an idle service. Few clients are limited by the disk, many by the
/// processor, which the load shares with the service.
fn acceptance() {
    const MESSAGES: usize = 10_000;
    // No server listens there: accepted messages wait.
    let repo = service(free_port(), "");
    submit(&repo, 500, CLIENTS, None);
    let mut usual = 0.0;
    for clients in [1, 2, 4, 8, CLIENTS] {
        let counts = || ["transactions", "writes"].map(|what| metric(&repo, &format!("mailwright_store_{what}_total")));
        // The disk is asked before and after: it may have others to serve.
        let (syncs, before) = (syncs_a_second(repo.folder.path()), counts());
        let (took, _) = submit(&repo, MESSAGES, clients, None);
        let (after, syncs) = (counts(), f64::midpoint(syncs, syncs_a_second(repo.folder.path())));
        let batch = (after[1] - before[1]) / (after[0] - before[0]);
        usual = MESSAGES as f64 / took.as_secs_f64();
        print_row(
            &format!("accepted durably, a second; clients: {clients}"),
            MESSAGES,
            &format!("{usual:.0}"),
            &format!("{syncs:.0} syncs a second x {batch:.1} messages a commit"),
            &format!("{:.0}", syncs * batch),
            usual / (syncs * batch),
        );
    }
    let (_, times) = submit(&repo, MESSAGES / 2, 64, Some(usual / 2.0));
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    print_row(
        "p99 of acceptance at half load",
        MESSAGES / 2,
        &format!("{:.1} ms", at(0.99)),
        "p50",
        &format!("{:.1} ms", at(0.5)),
        at(0.99) / at(0.5),
    );
}

/// Starts `smtp-sink`, which ends after a number of messages.
fn sink(port: u16, messages: usize) -> Child {
    let tools = tools::folder();
    let child = Command::new(tools.join("usr/sbin/smtp-sink"))
        .env("LD_LIBRARY_PATH", tools.join("usr/lib/postfix"))
        .args(["-u", "nobody", "-M", &messages.to_string(), &format!("127.0.0.1:{port}"), "500"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), "smtp-sink to listen");
    child
}

/// Measures the time from the first submission until the sink has every message.
fn against_postfix() {
    const MESSAGES: usize = 5000;
    let port = free_port();
    let mut end = sink(port, MESSAGES);
    let repo = service(port, "limits: { concurrency: 20 }\n");
    let began = Instant::now();
    submit(&repo, MESSAGES, 20, None);
    end.wait().unwrap();
    let ours = MESSAGES as f64 / began.elapsed().as_secs_f64();
    drop(repo);

    let port = free_port();
    let mut end = sink(port, MESSAGES);
    let postfix = Postfix::start(port);
    let tools = tools::folder();
    let began = Instant::now();
    let source = Command::new(tools.join("usr/sbin/smtp-source"))
        .env("LD_LIBRARY_PATH", tools.join("usr/lib/postfix"))
        .args([
            "-s",
            "20",
            "-m",
            &MESSAGES.to_string(),
            "-l",
            &SIZE.to_string(),
            "-f",
            "erp@example.com",
            "-t",
            "customer@example.org",
        ])
        .arg(format!("127.0.0.1:{}", postfix.port))
        .status()
        .unwrap();
    assert!(source.success());
    end.wait().unwrap();
    let theirs = MESSAGES as f64 / began.elapsed().as_secs_f64();
    drop(postfix);
    print_row(
        "submitted and delivered, a second",
        MESSAGES,
        &format!("{ours:.0}"),
        "stock Postfix, smtp-source to smtp-sink",
        &format!("{theirs:.0}"),
        ours / theirs,
    );
}

/// Measures the cost of a message with a backlog, and the memory of the backlog.
fn backlog(size: usize) {
    let port = free_port();
    let repo = service(port, "limits: { concurrency: 20 }\n");
    let (took, _) = submit(&repo, size, CLIENTS, None);
    let waiting = repo.peak_memory();
    let mut end = sink(port, size);
    // A server that was away is tried again within a minute. That wait is not measured: the clock
    // starts with the first arrival.
    let arrived = || repo.http("GET", "/v1/outbox", &[], b"").json()["messages"]["delivered"].as_u64().unwrap_or(0);
    let first = loop {
        match arrived() {
            0 => std::thread::sleep(Duration::from_millis(5)),
            some => break some as usize,
        }
    };
    let began = Instant::now();
    end.wait().unwrap();
    let drained = began.elapsed().mul_f64(size as f64 / size.saturating_sub(first).max(1) as f64);
    print_row(
        "a message accepted, while nothing leaves",
        size,
        &format!("{:.2} ms", took.as_secs_f64() * 1000.0 / size as f64),
        "and delivered, once the server is there",
        &format!("{:.2} ms", drained.as_secs_f64() * 1000.0 / size as f64),
        took.as_secs_f64() / drained.as_secs_f64(),
    );
    println!(
        "| memory at the most, MiB | {size} | {waiting} while they wait | {} once they have left | | |",
        repo.peak_memory()
    );
}

/// Starts Postfix with Debian's settings, except for its folders and its relay host.
struct Postfix {
    port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Postfix {
    fn start(sink: u16) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new().prefix("mailwright-postfix-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (root, port) = (folder.path().display().to_string(), free_port());
        let tools = tools::folder();
        let lib = tools.join("usr/lib/postfix");
        let conf: PathBuf = folder.path().join("postfix");
        std::fs::create_dir(&conf).unwrap();
        std::fs::write(
            conf.join("main.cf"),
            format!(
                "compatibility_level = 3.6\nmail_owner = proxy\nsetgid_group = operator\ndefault_privs = nobody\n\
                 queue_directory = {root}/queue\ndata_directory = {root}/data\ncommand_directory = {bin}/usr/sbin\n\
                 daemon_directory = {lib}/sbin\nshlib_directory = {lib}\nmeta_directory = {root}/postfix\n\
                 import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LD_LIBRARY_PATH\n\
                 maillog_file = {root}/mail.log\nmaillog_file_prefixes = {root}\n\
                 inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = localhost\nmydestination = localhost\n\
                 mynetworks = 127.0.0.0/8\nrelayhost = [127.0.0.1]:{sink}\nalias_maps =\nalias_database =\n\
                 smtpd_tls_security_level = none\nsmtp_tls_security_level = none\n",
                bin = tools.display(),
                lib = lib.display(),
            ),
        )
        .unwrap();
        std::fs::copy(tools.join("usr/share/postfix/makedefs.out"), conf.join("makedefs.out")).unwrap();
        std::fs::write(conf.join("dynamicmaps.cf"), "").unwrap();
        std::fs::write(
            conf.join("master.cf"),
            format!(
                "127.0.0.1:{port} inet n - n - - smtpd\npickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\n\
                 qmgr unix n - n 300 1 qmgr\ntlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\n\
                 bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n\
                 verify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\nproxymap unix - - n - - proxymap\n\
                 smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\n\
                 discard unix - - n - - discard\nanvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\n\
                 postlog unix-dgram n - n - 1 postlogd\n"
            ),
        )
        .unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        for part in [
            "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "public",
            "maildrop", "pid", "saved", "trace",
        ] {
            std::fs::create_dir_all(folder.path().join("queue").join(part)).unwrap();
        }
        let script = format!(
            "chown -R proxy {root}/data {root}/queue && chown root {root}/queue {root}/queue/pid && chgrp operator {root}/queue/public {root}/queue/maildrop"
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let child = Command::new(lib.join("sbin/master"))
            .args(["-d", "-c"])
            .arg(&conf)
            .env("MAIL_CONFIG", &conf)
            .env("LD_LIBRARY_PATH", &lib)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), "Postfix to listen");
        Self { port, child, _folder: folder }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}
