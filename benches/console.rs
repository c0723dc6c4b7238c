//! Pages of the console of a service with 10,000 profiles and 200,000 messages. `benches/README.md` describes how to run it
//! and its results. `COMPANIES=1 MESSAGES=100` shows in a minute that it runs to its end; its figures say nothing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    missing_docs,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and ends where it fails"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{
    functions,
    postfix::{free_port, wait_for},
    repository::TestRepository,
    tools,
};

const CLIENTS: usize = 16;
/// A function whose mail a hold keeps: a tenth of all, of every company.
const HELD: &str = "documents-remittance";
/// The other mail is that of some companies, so that `smtp-sink` has enough connections for the profiles that send it.
const BUSY_COMPANIES: usize = 4;
/// The time in which some mail must leave.
const PATIENCE: Duration = Duration::from_secs(120);
/// Requests per page; the first one is not counted.
const RUNS: usize = 15;

/// The size of the service.
#[derive(Clone, Copy)]
struct Size {
    /// Ten profiles each.
    companies: usize,
    /// A tenth of them is held.
    messages: usize,
}

impl Size {
    fn from_environment() -> Self {
        let number = |name: &str, usual: usize| -> usize {
            let Ok(text) = std::env::var(name) else { return usual };
            text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
        };
        let size = Self { companies: number("COMPANIES", 1000), messages: number("MESSAGES", 200_000) };
        // A company's id has three digits, and the pages need a message that waits and one that was delivered.
        assert!(
            (1..=1000).contains(&size.companies) && size.messages >= 10,
            "COMPANIES is 1 to 1000, MESSAGES at least 10"
        );
        size
    }

    /// Returns the company with a number, or the last one.
    fn company(self, number: usize) -> String {
        format!("C{:03}", number.min(self.companies - 1))
    }
}

fn main() {
    let size = Size::from_environment();
    let Size { messages, .. } = size;
    let port = free_port();
    let sink = Sink::start(port);
    let repo = service(port, size);
    let began = Instant::now();
    submit(&repo, size);
    let held = wait_until_sent(&repo);
    eprintln!("{messages} messages, {held} of them held, in {:.0} s", began.elapsed().as_secs_f64());
    // The last results of the verifier, and a profile that differs from the files.
    repo.run(&["verify", "dev"]);
    let changed = repo.patch(&format!("{}-default", size.company(3)), &json!({ "description": "Changed by hand" }));
    assert_eq!(changed.status, 200, "{}", changed.body);
    let session = Session::start(&repo);
    println!("| page | best | median | compared with the page for signing in | size | compressed |");
    println!("| --- | --- | --- | --- | --- | --- |");
    // The page for signing in leads on who has signed in.
    let visitor = Session { address: session.address.clone(), cookie: String::new() };
    let sign_in = visitor.measure("/console/sign-in").median;
    for (name, path) in pages(&repo, size) {
        let measured = if path == "/console/sign-in" { &visitor } else { &session }.measure(&path);
        println!(
            "| {name} | {} | {} | {:.1} | {:.0} KB | {:.0} KB |",
            milliseconds(measured.best),
            milliseconds(measured.median),
            measured.median.as_secs_f64() / sign_in.as_secs_f64(),
            f64::from(measured.size) / 1000.0,
            f64::from(measured.compressed) / 1000.0,
        );
    }
    drop(sink);
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Returns the name and the address of each page.
fn pages(repo: &TestRepository, size: Size) -> Vec<(&'static str, String)> {
    let (company, middle) = (size.company(3), size.company(size.companies / 2));
    let last_page = (size.companies * 10).div_ceil(100).min(50);
    let message = |filter: &str| -> String {
        let found = repo.http("GET", &format!("/v1/messages?limit=1&{filter}"), &[], b"").json();
        found["messages"][0]["id"].as_str().unwrap_or_else(|| panic!("no message: {filter}: {found}")).to_owned()
    };
    let (waiting, delivered) = (message("status=queued"), message("status=delivered"));
    let path = |text: &str| text.to_owned();
    vec![
        ("sign-in", path("/console/sign-in")),
        ("overview", path("/console")),
        ("profiles", path("/console/profiles")),
        ("profiles, page 50", format!("/console/profiles?page={last_page}")),
        ("profiles, a text", path("/console/profiles?q=c07")),
        ("profiles by the last change", path("/console/profiles?sort=-changed")),
        ("a profile", format!("/console/profiles/{company}-default")),
        ("a new profile", path("/console/profiles/new?provider=smtp")),
        ("a profile, edited", format!("/console/profiles/{company}-default/edit")),
        ("coverage", path("/console/coverage")),
        ("a cell of the coverage", format!("/console/coverage/{middle}/default")),
        ("outbox", path("/console/outbox")),
        ("outbox, delivered", path("/console/outbox?status=delivered")),
        ("outbox, waiting", path("/console/outbox?status=queued")),
        ("outbox, of a company", format!("/console/outbox?company={company}")),
        ("outbox, of a profile", format!("/console/outbox?profile={company}-default")),
        ("outbox, a text", path("/console/outbox?q=branch+77")),
        ("outbox, a text that is in no message", path("/console/outbox?q=nowhere")),
        ("outbox, an old page", format!("/console/outbox?before={}", size.messages / 2)),
        ("a message that waits", format!("/console/outbox/{waiting}")),
        ("a message that was delivered", format!("/console/outbox/{delivered}")),
        ("all that wait, to be cancelled", path("/console/outbox/bulk?status=queued&action=cancel")),
        ("holds", path("/console/holds")),
        ("history", path("/console/history")),
        ("differences of two generations", path("/console/history/diff?from=0&to=1")),
        ("rollback", path("/console/history/0/rollback")),
        ("audit log", path("/console/audit")),
        ("audit log, a text", path("/console/audit?q=nowhere")),
        ("tokens", path("/console/tokens")),
        ("sessions", path("/console/sessions")),
        ("proposals", path("/console/proposals")),
        ("setup", path("/console/setup")),
    ]
}

/// A service with ten profiles for each company, which send to a port of this machine.
fn service(port: u16, size: Size) -> TestRepository {
    let mut repo = TestRepository::empty();
    repo.quiet = true;
    repo.write_companies(size.companies, |company, function| {
        format!(
            "description: Mail of {company}, {function}\nprovider: {{ smtp: {{ host: 127.0.0.1, port: {port}, encryption: none }} }}\n\
             from: {{ address: erp@example.com, name: Example Ltd }}\nfunctions: [{function}]\nappliesTo: {{ companies: [{company}] }}\n"
        )
    });
    repo.serve_with(&["--demo"]);
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let held =
        functions().take(10).find(|function| *function == HELD).unwrap_or_else(|| panic!("{HELD} has no profile"));
    let hold = json!({ "function": held, "reason": "Remittances wait for the auditor" });
    assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
    repo
}

/// Submits messages for all companies and functions.
fn submit(repo: &TestRepository, Size { companies, messages }: Size) {
    let busy: Vec<&str> = functions().take(10).filter(|function| *function != HELD).collect();
    let address = repo.address().trim_start_matches("http://").to_owned();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(&address);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= messages {
                        break;
                    }
                    let (company, function) = match number % 10 {
                        0 => (number / 10 % companies, HELD),
                        _ => (number % BUSY_COMPANIES.min(companies), busy[number % busy.len()]),
                    };
                    let body = json!({
                        "company": format!("C{company:03}"),
                        "function": function,
                        "to": [format!("accounts-{}@customer-{}.example.org", number % 100, number % 5000)],
                        "subject": format!("Statement of account {number} of branch {} for November", number % 997),
                        "text": "The statement of account is attached.",
                        "document": { "type": "statement", "number": format!("2026-11-{number:06}") },
                    });
                    let token = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", repo.token());
                    let answer = connection.ask("POST", "/v1/messages", &token, body.to_string().as_bytes());
                    assert_eq!(answer.status, 202);
                }
            });
        }
    });
}

/// Waits until only what is held waits, and returns its number.
fn wait_until_sent(repo: &TestRepository) -> u64 {
    let (mut left_before, mut progress) = (u64::MAX, Instant::now());
    loop {
        let status: Value = repo.http("GET", "/v1/outbox", &[], b"").json();
        let held: u64 = status["waiting"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|group| group["reason"] == "held")
            .map(|group| group["messages"].as_u64().unwrap())
            .sum();
        let count = |id: &str| status["messages"][id].as_u64().unwrap_or(0);
        let left = count("queued") + count("sending") - held.min(count("queued"));
        if left == 0 {
            assert_eq!((count("failed"), count("unknown")), (0, 0), "not everything was delivered: {status}");
            return held;
        }
        if left < left_before {
            (left_before, progress) = (left, Instant::now());
        }
        assert!(progress.elapsed() < PATIENCE, "no mail leaves any more: {status}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `smtp-sink`, which accepts everything.
struct Sink(Child);

impl Sink {
    fn start(port: u16) -> Self {
        let tools = tools::folder();
        let child = Command::new(tools.join("usr/sbin/smtp-sink"))
            .env("LD_LIBRARY_PATH", tools.join("usr/lib/postfix"))
            .args(["-u", "nobody", "-m", "2000", &format!("127.0.0.1:{port}"), "500"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), "smtp-sink to listen");
        Self(child)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Time and size of a page.
struct Measured {
    best: Duration,
    median: Duration,
    size: u32,
    compressed: u32,
}

/// A browser that has signed in.
struct Session {
    address: String,
    cookie: String,
}

impl Session {
    fn start(repo: &TestRepository) -> Self {
        let address = repo.address().trim_start_matches("http://").to_owned();
        let form = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n";
        let body = format!("token={}&next=/console", repo.token());
        let answer = Connection::open(&address).ask("POST", "/console/sign-in", form, body.as_bytes());
        assert_eq!(answer.status, 303);
        let mut cookies = answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookies.rfind(|cookie| cookie.starts_with("__Host-mw=")).unwrap();
        Self { address, cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    fn measure(&self, path: &str) -> Measured {
        let mut connection = Connection::open(&self.address);
        let cookie = if self.cookie.is_empty() { String::new() } else { format!("Cookie: {}\r\n", self.cookie) };
        let mut get = |more: &str| {
            let asked = Instant::now();
            let answer = connection.ask("GET", path, &format!("{cookie}{more}"), b"");
            assert_eq!(answer.status, 200, "{path}");
            (asked.elapsed(), u32::try_from(answer.size).unwrap())
        };
        let size = get("").1;
        let compressed = get("Accept-Encoding: gzip\r\n").1;
        let mut times: Vec<Duration> = (0..RUNS).map(|_| get("Accept-Encoding: gzip\r\n").0).collect();
        times.sort();
        Measured { best: times[0], median: times[RUNS / 2], size, compressed }
    }
}

struct Answer {
    status: u16,
    head: String,
    /// Size of the body.
    size: usize,
}

/// A connection that stays open. Without an HTTP library, so that asking costs as little as it can.
struct Connection(TcpStream);

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: service\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.0.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut read = Vec::with_capacity(64 * 1024);
        let start = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill(&mut read);
        };
        let head = String::from_utf8_lossy(&read[..start]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let head_with_case = String::from_utf8_lossy(&read[..start]).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let size = match length {
            Some(length) => {
                while read.len() < start + length {
                    self.fill(&mut read);
                }
                length
            }
            None if head.contains("transfer-encoding: chunked") => self.read_chunks(read.split_off(start)),
            None => 0,
        };
        Answer { status, head: head_with_case, size }
    }

    /// Reads a body in chunks to its end, and returns its size.
    fn read_chunks(&mut self, mut read: Vec<u8>) -> usize {
        let (mut at, mut size) = (0, 0);
        loop {
            let Some(line) = read[at..].windows(2).position(|window| window == b"\r\n") else {
                self.fill(&mut read);
                continue;
            };
            let chunk = usize::from_str_radix(std::str::from_utf8(&read[at..at + line]).unwrap(), 16).unwrap();
            let end = at + line + 2 + chunk + 2;
            while read.len() < end {
                self.fill(&mut read);
            }
            if chunk == 0 {
                return size;
            }
            (at, size) = (end, size + chunk);
        }
    }

    fn fill(&mut self, read: &mut Vec<u8>) {
        let mut buffer = [0; 64 * 1024];
        let count = self.0.read(&mut buffer).unwrap();
        assert!(count > 0, "the service hung up");
        read.extend_from_slice(&buffer[..count]);
    }
}
