//! A repository with a bare remote, environments with their services, and a watch that follows it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    fleet::Fleet,
    own::own_loopback,
    repository::{CommandOutput, PROGRAM, SMALL_PROFILE, run_command},
};

/// A repository with a bare remote, and services.
pub(crate) struct WatchFixture {
    pub(crate) fleet: Fleet,
}

/// A watch at work.
pub(crate) struct WatchProcess {
    pub(crate) child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Drop for WatchProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl WatchFixture {
    /// One environment `one` whose profile sends nothing, so that verify has nothing to ask of a mail server.
    pub(crate) fn new(rest: &str) -> Self {
        let mut fixture = Self { fleet: Fleet::new() };
        fixture.fleet.served("one", &format!("unserved: [{{ reason: not in use }}]\n{rest}"));
        fixture.from("erp@example.com");
        fixture.begin();
        fixture
    }

    /// One environment `one` whose profile sends by a port of this machine.
    pub(crate) fn sending(port: u16, rest: &str) -> Self {
        let mut fixture = Self { fleet: Fleet::new() };
        fixture.fleet.served("one", rest);
        fixture.by(port);
        fixture.begin();
        fixture
    }

    /// Makes the repositories, and pushes what is there.
    pub(crate) fn begin(&self) {
        self.fleet.repo.write(".gitignore", "tokens\nremote.git\n.token\n.data\ndata*\n*.pem\n");
        self.git(&["init", "--quiet", "--bare", "--initial-branch=main", "remote.git"]);
        self.git(&["init", "--quiet", "--initial-branch=main", "."]);
        self.push("first");
    }

    pub(crate) fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        let user = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
        command.current_dir(self.fleet.repo.folder.path()).args(user);
        command.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        run_command(command).code(0);
    }

    pub(crate) fn push(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["push", "--quiet", "--force", "remote.git", "HEAD:refs/heads/main"]);
    }

    /// The profile of all, switched off, from this address.
    pub(crate) fn from(&self, address: &str) {
        let text = SMALL_PROFILE.replace("erp@example.com", address);
        self.fleet.repo.write("environments/base/profiles/relay.yaml", format!("enabled: false\n{text}"));
    }

    /// The profile of all, sending by a port of this machine.
    pub(crate) fn by(&self, port: u16) {
        self.fleet.repo.write("environments/base/profiles/relay.yaml", sending_by(port));
    }

    /// Says something else in the file of `one`.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path = "environments/one/environment.yaml";
        let text = self.fleet.repo.read(path);
        assert!(text.contains(from), "{text}");
        self.fleet.repo.write(path, text.replace(from, to));
    }

    pub(crate) fn command(&self, data: &str) -> Command {
        let mut command = self.fleet.command(&["watch", "--repository", "remote.git", "--branch", "main"]);
        command.args(["--data", data, "--every", "1s", "--poll", "1s", "--listen", "127.0.0.1:0"]);
        command.args(["--lease-seconds", "3"]);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        command
    }

    pub(crate) fn once(&self, data: &str) -> CommandOutput {
        self.once_with(data, &[])
    }

    pub(crate) fn once_with(&self, data: &str, more: &[&str]) -> CommandOutput {
        let mut command = self.command(data);
        command.arg("--once").args(more);
        run_command(command)
    }

    pub(crate) fn watch(&self, data: &str) -> WatchProcess {
        self.watch_with(data, &[])
    }

    pub(crate) fn watch_with(&self, data: &str, more: &[&str]) -> WatchProcess {
        let mut command = self.command(data);
        command.args(more);
        WatchProcess::start(command)
    }

    pub(crate) fn state(&self) -> Value {
        self.fleet.services[0].state()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.fleet.generation(0)
    }

    pub(crate) fn sender(&self) -> String {
        self.state()["profiles"]["relay"]["live"]["profile"]["from"]["address"].as_str().unwrap_or_default().to_owned()
    }

    /// A new token of the first service.
    pub(crate) fn token(&self, role: &str) -> String {
        self.fleet.run(&["token", "create", "one", "--name", role, "--role", role]).code(0).stdout.trim().to_owned()
    }

    /// The leases that are held in the first service.
    pub(crate) fn leases(&self) -> Vec<Value> {
        self.fleet.services[0].http("GET", "/v1/leases", &[], b"").json()["leases"].as_array().unwrap().clone()
    }
}

/// A profile that serves everything by a port of this machine.
pub(crate) fn sending_by(port: u16) -> String {
    SMALL_PROFILE.replace("host: smtp.example.com", &format!("host: 127.0.0.1\n    port: {port}\n    encryption: none"))
}

impl WatchProcess {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let (mut stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().rsplit('/').next().unwrap().to_owned(), log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Asks it to end as a service manager does.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end, so long at most. Gives the exit code.
    pub(crate) fn wait(&mut self, seconds: u64) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().unwrap_or(-1));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").1).unwrap()
    }

    pub(crate) fn one(&self) -> Value {
        self.of("one")
    }

    pub(crate) fn of(&self, name: &str) -> Value {
        self.status()["environments"][name].clone()
    }
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A receiver of webhooks that keeps what it hears, and when.
#[derive(Clone)]
pub(crate) struct WebhookReceiver {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<(Instant, Value)>>>,
    answer: Arc<Mutex<&'static str>>,
}

impl WebhookReceiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((own_loopback(), 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let receiver = Self { url, heard: Arc::default(), answer: Arc::new(Mutex::new("204 No Content")) };
        let kept = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                // A peer that goes away ends its own connection and nothing else.
                std::thread::spawn(move || drop(kept.hear(BufReader::new(stream))));
            }
        });
        receiver
    }

    fn hear(&self, mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
        let (mut length, mut line) = (0, String::new());
        while stream.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        self.heard.lock().unwrap().push((Instant::now(), serde_json::from_slice(&body).unwrap()));
        let answer = *self.answer.lock().unwrap();
        write!(stream.get_mut(), "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    /// Sets the response from now on.
    pub(crate) fn answer(&self, answer: &'static str) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Returns the setting that sends reports here.
    pub(crate) fn notify(&self) -> String {
        format!("notify: {{ webhooks: [{{ url: '{}' }}] }}", self.url)
    }

    pub(crate) fn heard(&self) -> Vec<(Instant, Value)> {
        self.heard.lock().unwrap().clone()
    }

    /// Returns the reports of one type of event.
    pub(crate) fn of(&self, event: &str) -> Vec<Value> {
        self.heard().into_iter().map(|(_, report)| report).filter(|report| report["event"] == event).collect()
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        self.of(event).len()
    }
}

/// Stands between the watch and a service, and holds what is applied.
#[derive(Clone)]
pub(crate) struct HoldingProxy {
    pub(crate) port: u16,
    /// True if responses to changesets are held, and the number of changesets that went through.
    state: Arc<(Mutex<(bool, usize)>, Condvar)>,
}

impl HoldingProxy {
    pub(crate) fn start(service: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let between = Self { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let (own, service) = (between.clone(), service.trim_start_matches("http://").to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let there = TcpStream::connect(&service).unwrap();
                let holds = Arc::new(Mutex::new(false));
                let (up, down) = (own.clone(), own.clone());
                let (from, to) = (stream.try_clone().unwrap(), there.try_clone().unwrap());
                let seen = Arc::clone(&holds);
                std::thread::spawn(move || {
                    up.copy(from, to, |between, bytes| {
                        let is_changeset = bytes.starts_with(b"POST /v1/changesets?dryRun=false");
                        *seen.lock().unwrap() |= is_changeset;
                        if is_changeset {
                            between.state.0.lock().unwrap().1 += 1;
                            between.state.1.notify_all();
                        }
                    });
                });
                std::thread::spawn(move || {
                    down.copy(there, stream, |between, _| {
                        if std::mem::take(&mut *holds.lock().unwrap()) {
                            let state = between.state.0.lock().unwrap();
                            drop(between.state.1.wait_while(state, |(holds, _)| *holds).unwrap());
                        }
                    });
                });
            }
        });
        between
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, mut before: impl FnMut(&Self, &[u8])) {
        let mut buffer = [0; 65536];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            before(self, &buffer[..read]);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        drop(to.shutdown(std::net::Shutdown::Both));
    }

    /// Holds the answers to changesets, or lets them go.
    pub(crate) fn hold(&self, holds: bool) {
        self.state.0.lock().unwrap().0 = holds;
        self.state.1.notify_all();
    }

    /// Returns the number of changesets that were sent.
    pub(crate) fn sent(&self) -> usize {
        self.state.0.lock().unwrap().1
    }
}

/// Takes connections and never says a word.
pub(crate) fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            kept.push(stream);
        }
    });
    port
}

/// Returns the program as a command, for tests without a fixture.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    command
}
