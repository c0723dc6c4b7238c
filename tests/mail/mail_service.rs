//! A service with one mail server to send to, and what a test asks of it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    repository::{HttpResponse, TestRepository},
    tools,
};

/// Short waits, so that a test need not wait for long.
pub(crate) const QUICK: &str = "  retry: { first: 1s, longest: 2s }\n";

/// Deadlines that a slow machine does not reach. A suspended profile is tried again after a second.
pub(crate) const DEADLINES: [&str; 4] =
    ["--delivery-deadlines", "connect=120,command=120,data=120,dot=120", "--probe-after", "1"];

/// Deadlines of a second or two, for servers that let each one pass.
const SHORT_DEADLINES: [&str; 4] = ["--delivery-deadlines", "connect=2,command=2,data=2,dot=3", "--probe-after", "1"];

/// The time after which a test gives up: far longer than anything takes on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The login of the profile `relay`, if it has one.
pub(crate) const LOGIN: &str = "    username: mailer\n    password: { secret: relay/login }\n";

/// A service, and its repository.
pub(crate) struct MailService {
    pub(crate) repo: TestRepository,
}

impl MailService {
    /// A service whose profile `relay` sends everything to a port of this machine. `delivery` is what the environment
    /// says under that key; `profile` is added to the profile.
    pub(crate) fn new(port: u16, delivery: &str, profile: &str) -> Self {
        let mut service = Self::unapplied(port, delivery, profile);
        service.repo.serve_with(&[&["--demo"], &DEADLINES[..]].concat());
        service.apply();
        service
    }

    /// The same, with deadlines that pass while a test waits.
    pub(crate) fn with_short_deadlines(port: u16, delivery: &str, profile: &str) -> Self {
        let mut service = Self::unapplied(port, delivery, profile);
        service.repo.serve_with(&[&["--demo"], &SHORT_DEADLINES[..]].concat());
        service.apply();
        service
    }

    pub(crate) fn unapplied(port: u16, delivery: &str, profile: &str) -> Self {
        let repo = TestRepository::empty();
        environment(&repo, delivery);
        relay(&repo, "relay", port, "", profile);
        Self { repo }
    }

    /// A service that logs in as `mailer`, or begins with STARTTLS, at a port of this machine.
    pub(crate) fn guarded(port: u16, delivery: &str, encryption: &str, logs_in: bool) -> Self {
        Self::with_password(port, delivery, encryption, logs_in.then_some("right-password"))
    }

    /// A service that logs in as `mailer` with a password, if there is one.
    pub(crate) fn with_password(port: u16, delivery: &str, encryption: &str, password: Option<&str>) -> Self {
        let repo = TestRepository::without_profiles();
        environment(&repo, delivery);
        relay(&repo, "relay", port, if password.is_some() { LOGIN } else { "" }, "");
        let path = "environments/dev/profiles/relay.yaml";
        repo.write(path, repo.read(path).replace("encryption: none", &format!("encryption: {encryption}")));
        if let Some(password) = password {
            repo.pipe(&["secrets", "set", "dev", "relay/login"], password.as_bytes()).code(0);
        }
        let mut service = Self { repo };
        service.repo.serve_with(&[&["--demo"], &DEADLINES[..]].concat());
        service.apply();
        service
    }

    pub(crate) fn apply(&self) {
        self.repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    }

    /// Kills the service and starts it again on the same data.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&DEADLINES);
    }

    /// The same with deadlines that pass while a test waits.
    pub(crate) fn restart_with_short_deadlines(&mut self) {
        self.restart_with(&SHORT_DEADLINES);
    }

    fn restart_with(&mut self, deadlines: &[&str]) {
        self.repo.kill();
        self.repo.serve_with(&[&["--demo"], deadlines].concat());
    }

    /// Submits a message, which must be accepted.
    pub(crate) fn send(&self, more: Value) -> String {
        let answer = self.submit(more);
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Submits a message.
    pub(crate) fn submit(&self, more: Value) -> HttpResponse {
        self.submit_under(None, more)
    }

    /// Submits a message in MIME form for the company EDU1 and the function `default`; `query` is appended to the address.
    pub(crate) fn submit_raw(&self, raw: impl AsRef<[u8]>, query: &str) -> HttpResponse {
        let path = format!("/v1/messages?company=EDU1&function=default{query}");
        self.repo.http("POST", &path, &[("Content-Type", "message/rfc822")], raw.as_ref())
    }

    pub(crate) fn submit_under(&self, key: Option<&str>, more: Value) -> HttpResponse {
        let headers: Vec<(&str, &str)> = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
        self.repo.http("POST", "/v1/messages", &headers, message(more).to_string().as_bytes())
    }

    /// A message as it is now.
    pub(crate) fn message(&self, id: &str) -> Value {
        let answer = self.repo.http("GET", &format!("/v1/messages/{id}"), &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Waits until a message has this status.
    pub(crate) fn wait(&self, id: &str, status: &str) -> Value {
        self.wait_until(id, &format!("it to be {status}"), |message| message["status"] == status)
    }

    pub(crate) fn wait_until(&self, id: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let message = self.message(id);
            if done(&message) {
                return message;
            }
            assert!(Instant::now() < until, "waited for {what}:\n{message:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the state of the outbox.
    pub(crate) fn outbox(&self) -> Value {
        self.repo.http("GET", "/v1/outbox", &[], b"").json()
    }

    /// Waits until the outbox meets a condition.
    pub(crate) fn wait_outbox(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        self.wait_outbox_for(PATIENCE, what, done)
    }

    fn wait_outbox_for(&self, patience: Duration, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + patience;
        loop {
            let outbox = self.outbox();
            if done(&outbox) {
                return outbox;
            }
            assert!(Instant::now() < until, "waited for {what}:\n{outbox:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until nothing waits any more.
    pub(crate) fn wait_empty(&self) -> Value {
        self.wait_empty_for(PATIENCE)
    }

    pub(crate) fn wait_empty_for(&self, patience: Duration) -> Value {
        let is_empty = |outbox: &Value| count(outbox, "queued") + count(outbox, "sending") == 0;
        self.wait_outbox_for(patience, "an empty queue", is_empty)
    }

    pub(crate) fn act(&self, id: &str, action: &str) -> HttpResponse {
        self.repo.http("POST", &format!("/v1/messages/{id}/{action}"), &[], b"null")
    }

    /// Waits until the service has logged a line with a text, and returns the line.
    pub(crate) fn wait_logged(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = self.repo.service.as_ref().unwrap().log.lock().unwrap().clone();
            if let Some(line) = log.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(Instant::now() < until, "waited for `{text}` in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The end of the service's log, for a test that failed.
    pub(crate) fn log(&self) -> String {
        let log = self.repo.service.as_ref().map(|service| service.log.lock().unwrap().clone()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("\"request\"")).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// Returns the size of a scenario: the value of its environment variable, or its short form.
pub(crate) fn scale(name: &str, short: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// Returns the number of messages with a status.
pub(crate) fn count(outbox: &Value, status: &str) -> u64 {
    outbox["messages"][status].as_u64().unwrap_or_default()
}

pub(crate) fn environment(repo: &TestRepository, delivery: &str) {
    let delivery = if delivery.is_empty() { String::new() } else { format!("delivery:\n{delivery}") };
    repo.write("environments/dev/environment.yaml", format!("companies: [EDU1, EDU2]\n{delivery}"));
}

/// A profile that sends to a port of this machine. `smtp` is added to the provider, `more` to the profile.
pub(crate) fn relay(repo: &TestRepository, name: &str, port: u16, smtp: &str, more: &str) {
    let more = if more.contains("functions:") {
        more.to_owned()
    } else {
        format!("{more}functions: [default]\nappliesTo: system-wide\n")
    };
    let more =
        if more.contains("from:") { more } else { format!("from: {{ address: erp@example.com, name: ERP }}\n{more}") };
    repo.write(
        &format!("environments/dev/profiles/{name}.yaml"),
        format!("provider:\n  smtp:\n    host: 127.0.0.1\n    port: {port}\n    encryption: none\n{smtp}{more}"),
    );
}

/// A message with the usual parts; `more` replaces or adds parts.
pub(crate) fn message(more: Value) -> Value {
    let mut message = json!({
        "company": "EDU1", "function": "default", "to": ["customer@example.org"],
        "subject": "Invoice", "text": "Please find it attached.\n",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        message[key] = value.clone();
    }
    message
}

/// Postfix's `smtp-sink`: it takes everything, and writes it into a file.
pub(crate) struct PostfixSink {
    pub(crate) port: u16,
    pub(crate) folder: tempfile::TempDir,
    child: Child,
}

impl PostfixSink {
    /// `more`: its own options for faults and delays.
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_at(crate::support::postfix::free_port(), more)
    }

    pub(crate) fn start_at(port: u16, more: &[&str]) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new().prefix("mailwright-sink-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let tools = tools::folder();
        let mut command = Command::new(tools.join("usr/sbin/smtp-sink"));
        command.env("LD_LIBRARY_PATH", tools.join("usr/lib/postfix")).current_dir(folder.path());
        command.args(["-u", "nobody", "-D", "mail"]).args(more).arg(format!("127.0.0.1:{port}")).arg("500");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        crate::support::postfix::wait_for(
            || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
            "smtp-sink to listen",
        );
        Self { port, folder, child }
    }

    /// Returns the number of accepted mails per Message-ID.
    pub(crate) fn message_ids(&self) -> BTreeMap<String, usize> {
        let path: PathBuf = self.folder.path().join("mail");
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let mut found = BTreeMap::new();
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("Message-ID: ") {
                *found.entry(id.trim().to_owned()).or_default() += 1;
            }
        }
        found
    }
}

impl Drop for PostfixSink {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Submits messages at a given pace and records which were accepted. It continues while the service is away.
pub(crate) struct LoadGenerator {
    stop: Arc<AtomicBool>,
    address: Arc<Mutex<(String, String)>>,
    accepted: Arc<Mutex<BTreeMap<String, String>>>,
    refused: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl LoadGenerator {
    pub(crate) fn start(service: &MailService, threads: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let address = Arc::new(Mutex::new((service.repo.address().to_owned(), service.repo.token().to_owned())));
        let (accepted, refused) = (Arc::<Mutex<BTreeMap<String, String>>>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..threads)
            .map(|thread| {
                let (stop, address) = (Arc::clone(&stop), Arc::clone(&address));
                let (accepted, refused) = (Arc::clone(&accepted), Arc::clone(&refused));
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        let (address, token) = address.lock().unwrap().clone();
                        let body = message(json!({ "to": [format!("customer-{thread}-{number}@example.org")] }));
                        let answer = runtime.block_on(async {
                            let request = http.post(format!("{address}/v1/messages")).bearer_auth(token).json(&body);
                            let answer = request.send().await.ok()?;
                            if answer.status() != 202 {
                                return None;
                            }
                            answer.json::<Value>().await.ok()
                        });
                        if let Some(message) = answer {
                            let text = |key: &str| message[key].as_str().unwrap().to_owned();
                            accepted.lock().unwrap().insert(text("messageId"), text("id"));
                        } else {
                            refused.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(20));
                        }
                        std::thread::sleep(pause);
                    }
                })
            })
            .collect();
        Self { stop, address, accepted, refused, threads }
    }

    /// The service listens elsewhere by now.
    pub(crate) fn moved(&self, service: &MailService) {
        *self.address.lock().unwrap() = (service.repo.address().to_owned(), service.repo.token().to_owned());
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Ends, and gives what was accepted: Message-ID to id.
    pub(crate) fn end(self) -> BTreeMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.accepted.lock().unwrap().clone()
    }
}

/// Asserts at the end that no accepted message is lost, and that each one that arrived twice is marked.
pub(crate) fn assert_nothing_lost(
    service: &MailService,
    accepted: &BTreeMap<String, String>,
    arrived: &BTreeMap<String, usize>,
) -> DeliveryCounts {
    let mut tally = DeliveryCounts::default();
    for (message_id, id) in accepted {
        let message = service.message(id);
        let copies = arrived.get(message_id).copied().unwrap_or_default();
        match message["status"].as_str().unwrap() {
            "delivered" => {
                assert!(copies >= 1, "{id} is said to be delivered, and did not arrive");
                tally.delivered += 1;
            }
            "unknown" => tally.unknown += 1,
            other => panic!("{id} is {other}:\n{message:#}"),
        }
        if copies > 1 {
            assert_eq!(
                message["possibleDuplicate"], true,
                "{id} arrived {copies} times, and is not marked:\n{message:#}"
            );
            tally.twice += 1;
        }
    }
    tally
}

/// The number of messages per outcome.
#[derive(Debug, Default)]
pub(crate) struct DeliveryCounts {
    pub(crate) delivered: usize,
    pub(crate) unknown: usize,
    pub(crate) twice: usize,
}
