//! `mailwright watch`: the program, a real service, a real bare repository as the remote.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]
#![allow(clippy::disallowed_methods, reason = "a test waits")]

#[path = "support/mod.rs"]
mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{fleet::Fleet, trial::finish};

/// A repository with a bare remote, one environment `one` with its service.
struct Scene {
    fleet: Fleet,
}

struct Watching {
    child: Child,
    address: String,
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Scene {
    fn new(rest: &str) -> Self {
        let mut fleet = Fleet::new();
        fleet.served("one", &format!("unserved: [{{ reason: nobody sends here }}]\n{rest}"));
        fleet.trial.write(".gitignore", "tokens\nremote.git\n.token\n.data\ndata*\n");
        let scene = Self { fleet };
        scene.from("erp@example.com");
        scene.git(&["init", "--quiet", "--bare", "--initial-branch=main", "remote.git"]);
        scene.git(&["init", "--quiet", "--initial-branch=main", "."]);
        scene.push("first");
        scene
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.current_dir(self.fleet.trial.folder.path()).args([
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.com",
        ]);
        command.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        finish(command).code(0);
    }

    fn push(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["push", "--quiet", "--force", "remote.git", "HEAD:refs/heads/main"]);
    }

    fn from(&self, address: &str) {
        let text = support::trial::SMALL_PROFILE.replace("erp@example.com", address);
        // Nothing sends here, so verify has nothing to ask of a mail server.
        let text = format!("enabled: false\n{text}");
        self.fleet.trial.write("environments/base/profiles/relay.yaml", text);
    }

    fn command(&self, data: &str) -> Command {
        let mut command = self.fleet.command(&["watch", "--repository", "remote.git", "--branch", "main"]);
        command.args([
            "--data",
            data,
            "--every",
            "1s",
            "--poll",
            "1s",
            "--listen",
            "127.0.0.1:0",
            "--lease-seconds",
            "3",
        ]);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        command
    }

    fn once(&self, data: &str) -> support::trial::Ran {
        let mut command = self.command(data);
        command.arg("--once");
        finish(command)
    }

    fn watch(&self, data: &str) -> Watching {
        let mut child = self.command(data).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Watching { child, address: line.trim().rsplit('/').next().unwrap().to_owned() }
    }

    fn state(&self) -> Value {
        self.fleet.services[0].state()
    }

    fn sender(&self) -> String {
        self.state()["profiles"]["relay"]["live"]["profile"]["from"]["address"].as_str().unwrap_or_default().to_owned()
    }
}

impl Watching {
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn one(&self) -> Value {
        let status: Value = serde_json::from_str(&self.get("/status").1).unwrap();
        status["environments"]["one"].clone()
    }
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A receiver of webhooks that keeps what it hears.
fn receiver() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Value>>>::default());
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut length, mut line) = (0, String::new());
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            stream.into_inner().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (format!("http://{address}/"), heard)
}

fn count(heard: &Mutex<Vec<Value>>, event: &str) -> usize {
    heard.lock().unwrap().iter().filter(|report| report["event"] == event).count()
}

#[test]
fn a_push_is_applied_with_auto_and_a_broken_or_rewritten_history_harms_nothing() {
    let (url, heard) = receiver();
    let scene = Scene::new(&format!("watch: {{ apply: auto, notify: {{ webhooks: [{{ url: '{url}' }}] }} }}"));
    let watch = scene.watch("data-a");
    eventually("the first apply", || scene.sender() == "erp@example.com");
    scene.from("new@example.com");
    scene.push("another sender");
    eventually("the push", || scene.sender() == "new@example.com");
    eventually("both applies are told", || count(&heard, "apply-done") == 2);
    let generation = scene.state()["generation"].clone();
    scene.fleet.trial.write("environments/base/profiles/relay.yaml", "nonsense: 1\n");
    scene.push("broken");
    eventually("the broken commit is told", || count(&heard, "apply-refused") == 1);
    assert_eq!(watch.one()["problem"]["code"], "MW0371");
    assert_eq!(scene.state()["generation"], generation);
    scene.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    scene.from("third@example.com");
    scene.push("rewritten");
    eventually("the rewritten history is followed", || scene.sender() == "third@example.com");
    let status: Value = serde_json::from_str(&watch.get("/status").1).unwrap();
    assert!(status["files"]["rewrittenAt"].is_string());
    let metrics = watch.get("/metrics").1;
    assert!(metrics.contains("mailwright_watch_applies_total{environment=\"one\"} 3"), "{metrics}");
    assert_eq!(watch.get("/healthz").0, 200);
}

#[test]
fn drift_is_told_once_and_undone_only_when_told() {
    let (url, heard) = receiver();
    let scene = Scene::new(&format!("watch: {{ notify: {{ webhooks: [{{ url: '{url}' }}] }} }}"));
    let service = &scene.fleet.services[0];
    assert_eq!(scene.once("data-b").code(2).code, 2, "changes wait for somebody");
    assert_eq!(service.state()["generation"], 0);
    scene.fleet.run(&["apply", "one", "--yes", "--skip-verify"]).code(0);
    scene.once("data-b").code(0);
    assert_eq!(service.patch("relay", &json!({ "from": { "address": "by-hand@example.com" } })).status, 200);
    let watch = scene.watch("data-b");
    eventually("the drift is told", || count(&heard, "drift-found") == 1);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(count(&heard, "drift-found"), 1, "told once");
    assert_eq!(scene.sender(), "by-hand@example.com");
    assert_eq!(watch.one()["drift"], json!(["relay"]));
    let file = scene.fleet.trial.read("environments/one/environment.yaml");
    scene.fleet.trial.write("environments/one/environment.yaml", file.replace("watch: {", "watch: { drift: revert,"));
    scene.push("undo it");
    eventually("it is undone", || scene.sender() == "erp@example.com");
    eventually("that is told", || count(&heard, "drift-gone") == 1);
}

#[test]
fn one_of_two_acts_and_the_other_takes_over() {
    let scene = Scene::new("watch: { apply: auto }");
    let mut first = scene.watch("data-c");
    eventually("the first acts", || first.one()["role"] == "acting");
    let second = scene.watch("data-d");
    eventually("the second stands by", || second.one()["role"] == "standby");
    first.child.kill().unwrap();
    scene.from("after@example.com");
    scene.push("after the end of the first");
    eventually("the second takes over", || second.one()["role"] == "acting");
    eventually("and acts", || scene.sender() == "after@example.com");
}

#[test]
fn a_service_that_goes_and_comes_back_is_told_and_two_cannot_share_a_folder() {
    let (url, heard) = receiver();
    let mut scene = Scene::new(&format!("watch: {{ notify: {{ webhooks: [{{ url: '{url}' }}] }} }}"));
    let watch = scene.watch("data-e");
    eventually("ready", || watch.get("/readyz").0 == 200);
    let refused = finish(scene.command("data-e")).code(1);
    assert!(refused.stderr.contains("MW0370"), "{}", refused.stderr);
    scene.fleet.services[0].kill();
    eventually("not ready", || watch.get("/readyz").0 == 503);
    eventually("told", || count(&heard, "environment-unreachable") == 1);
    let address = scene.fleet.services[0].serve().address.clone();
    scene.fleet.environment("one", &format!("service: {{ address: {address} }}\nunserved: [{{ reason: nobody sends here }}]\nwatch: {{ notify: {{ webhooks: [{{ url: '{url}' }}] }} }}"));
    scene.push("the service's new place");
    eventually("back", || count(&heard, "environment-back") == 1);
    eventually("ready again", || watch.get("/readyz").0 == 200);
}
