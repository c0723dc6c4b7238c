//! A process that serves several environments, each at `/environments/NAME`.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use super::repository::{HttpResponse, PROGRAM, TestRepository, clear_environment, send_request};

/// One process, and the folder of its environments. It keeps its port over its ends.
pub(crate) struct HostProcess {
    pub(crate) names: Vec<String>,
    data: PathBuf,
    tokens: PathBuf,
    listen: String,
    /// True if its identities are the public one of the examples.
    pub(crate) demo: bool,
    /// The program that starts it, with its options: `strace -D`, say.
    pub(crate) wrapper: Vec<String>,
    /// Further options of its own.
    pub(crate) options: Vec<String>,
    child: Option<(Child, BufReader<ChildStdout>)>,
    startup_line: String,
}

impl HostProcess {
    /// Creates a process that is not started yet. Tokens go to `tokens/NAME` of the repository.
    pub(crate) fn new(repo: &TestRepository, folder: &str, names: Vec<String>) -> Self {
        std::fs::create_dir_all(repo.path("tokens")).unwrap();
        let (data, tokens) = (repo.path(folder), repo.path("tokens"));
        std::fs::create_dir_all(data.parent().unwrap()).unwrap();
        Self {
            names,
            data,
            tokens,
            listen: "127.0.0.1:0".to_owned(),
            demo: true,
            wrapper: Vec::new(),
            options: Vec::new(),
            child: None,
            startup_line: String::new(),
        }
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.wait_until_listening();
    }

    /// Starts it, so that others can be started meanwhile.
    pub(crate) fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let words = [&self.wrapper[..], &[PROGRAM.to_owned()]].concat();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        clear_environment(&mut command);
        command.args(["serve", "--log-format", "json", "--listen", &self.listen]).arg("--hosted").arg(&self.data);
        command.arg("--token-file").arg(self.tokens.join("{environment}"));
        if self.demo {
            command.arg("--demo");
        }
        for name in &self.names {
            command.args(["--environment", name]);
        }
        command.args(&self.options);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        self.child = Some((child, stdout));
    }

    /// Waits until it listens, and has handed out its first tokens.
    pub(crate) fn wait_until_listening(&mut self) {
        let (_, stdout) = self.child.as_mut().unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        self.startup_line.clone_from(&line);
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        address.unwrap_or_else(|| panic!("it did not start: {line}{}", self.log())).clone_into(&mut self.listen);
        // First tokens count once they were handed out.
        for name in self.names.clone() {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while self.request(&name, "GET", "/v1/service", b"").status == 401 && std::time::Instant::now() < until {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }

    /// Returns the line that it prints when it listens.
    pub(crate) fn startup_line(&self) -> &str {
        &self.startup_line
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// Returns its log, over all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The process's own address.
    pub(crate) fn root(&self) -> String {
        format!("http://{}", self.listen)
    }

    pub(crate) fn address(&self, name: &str) -> String {
        format!("http://{}/environments/{name}", self.listen)
    }

    pub(crate) fn token(&self, name: &str) -> String {
        std::fs::read_to_string(self.tokens.join(name)).unwrap().trim().to_owned()
    }

    /// Sends a request with an environment's token.
    pub(crate) fn request(&self, name: &str, method: &str, path: &str, body: &[u8]) -> HttpResponse {
        let path = format!("/environments/{name}{path}");
        self.http(method, &path, &[("Authorization", &format!("Bearer {}", self.token(name)))], body)
    }

    /// Sends a request without a token.
    pub(crate) fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpResponse {
        send_request(&self.listen, method, path, headers, body)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().0.id()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some((mut child, _)) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks it to end, and gives the code that it ended with.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal("TERM");
        let (mut child, _) = self.child.take().unwrap();
        child.wait().unwrap().code().unwrap_or(-1)
    }

    /// It goes on, and does nothing: what it is sent waits.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
