//! A repository in a temporary folder, and a real service for it. Both are removed when the value is dropped.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mailwright");

/// A repository, and its service if it was started.
pub(crate) struct TestRepository {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) service: Option<ServiceProcess>,
    environment: String,
    /// If set, the service logs warnings only, as in production.
    pub(crate) quiet: bool,
}

/// A running service.
pub(crate) struct ServiceProcess {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) log: std::sync::Arc<std::sync::Mutex<String>>,
    /// True if another program started it.
    is_wrapped: bool,
}

impl ServiceProcess {
    /// Ends it at once, and what it started: `strace` would leave the service running.
    fn end(&mut self) {
        // `pkill` reads the status of every process of the machine.
        if self.is_wrapped {
            let killed = Command::new("pkill").args(["-KILL", "-P", &self.child.id().to_string()]).status();
            // A process below another program ends only when that program has waited for it.
            let until = Instant::now() + Duration::from_secs(60);
            while killed.as_ref().is_ok_and(std::process::ExitStatus::success)
                && Instant::now() < until
                && matches!(self.child.try_wait(), Ok(None))
            {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The exit code and output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandOutput {
    /// Fails the test unless the command ended with this code.
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}

impl From<std::process::Output> for CommandOutput {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// An HTTP response of the service.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl HttpResponse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.head, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl TestRepository {
    /// An empty repository.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("mailwright-test-").tempdir().unwrap();
        fs::create_dir_all(folder.path().join("environments")).unwrap();
        Self { folder, service: None, environment: "dev".to_owned(), quiet: false }
    }

    /// An empty repository, whose service is that of another environment than `dev`.
    pub(crate) fn for_environment(environment: &str) -> Self {
        let mut repo = Self::empty();
        environment.clone_into(&mut repo.environment);
        repo
    }

    /// A copy of this repository's own examples.
    pub(crate) fn examples() -> Self {
        let repo = Self::empty();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["environments", "secrets", "rollouts"] {
            copy(&root.join(part), &repo.folder.path().join(part));
        }
        repo
    }

    /// The example repository without its profiles and their secrets. The recipients and the identity of `dev` are left.
    pub(crate) fn without_profiles() -> Self {
        let repo = Self::examples();
        for old in ["environments", "secrets/prod", "secrets/dev/relay", "secrets/dev/documents"] {
            // An example that is gone is not missed.
            drop(fs::remove_dir_all(repo.path(old)));
        }
        repo
    }

    /// A repository with one environment `dev` and one profile that serves everything, without secrets.
    pub(crate) fn small() -> Self {
        let repo = Self::empty();
        repo.write("environments/dev/environment.yaml", "companies: [EDU1]\n");
        repo.write("environments/dev/profiles/relay.yaml", SMALL_PROFILE);
        repo
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes the environment `dev` with companies `C000`, `C001` and so on, and ten profiles for each.
    pub(crate) fn write_companies(&self, count: usize, profile: impl Fn(&str, &str) -> String) {
        let companies: Vec<String> = (0..count).map(|number| format!("C{number:03}")).collect();
        self.write(
            "environments/dev/environment.yaml",
            format!("companies: [{}]\nunserved: [{{ reason: not in use }}]\n", companies.join(", ")),
        );
        for company in &companies {
            for function in super::functions().take(10) {
                self.write(&format!("environments/dev/profiles/{company}-{function}.yaml"), profile(company, function));
            }
        }
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let is_token = path.starts_with("tokens/");
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if is_token {
            // Others could read it otherwise, which is warned of.
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    /// Starts (or restarts) the service of environment `dev`, with the public identity of the examples.
    pub(crate) fn serve(&mut self) -> &ServiceProcess {
        self.serve_with(&["--demo"])
    }

    pub(crate) fn serve_with(&mut self, more: &[&str]) -> &ServiceProcess {
        self.serve_under(&[], more)
    }

    /// Starts the service by another program: `strace -f`, `faketime`, a shell that has changed the limits.
    pub(crate) fn serve_under(&mut self, before: &[&str], more: &[&str]) -> &ServiceProcess {
        let data = self.path(".data");
        let token_file = self.path(".token");
        let mut words = before.iter().copied().chain([PROGRAM]);
        let mut command = Command::new(words.next().unwrap_or(PROGRAM));
        command.args(words);
        clear_environment(&mut command);
        let mut child = command
            .args(["serve", "--environment", &self.environment, "--listen", "127.0.0.1:0", "--log-format", "json"])
            .arg("--data")
            .arg(&data)
            .arg("--token-file")
            .arg(&token_file)
            .args(more)
            .env("MAILWRIGHT_LOG", if self.quiet { "warn" } else { "debug" })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (mut stderr, kept) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.split_whitespace().last().unwrap_or_default().to_owned();
        if !address.starts_with("http") {
            std::thread::sleep(Duration::from_millis(200));
            panic!("the service did not start: {line}{}", log.lock().unwrap());
        }
        std::thread::spawn(move || drop(std::io::copy(&mut stdout, &mut std::io::sink())));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !token_file.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let token = fs::read_to_string(&token_file).unwrap().trim().to_owned();
        self.service = Some(ServiceProcess { child, address, token, log, is_wrapped: !before.is_empty() });
        self.service.as_ref().unwrap()
    }

    /// Stops the service at once, as a power cut would stop the process.
    pub(crate) fn kill(&mut self) {
        if let Some(mut service) = self.service.take() {
            service.end();
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.service.as_ref().unwrap().address
    }

    pub(crate) fn token(&self) -> &str {
        &self.service.as_ref().unwrap().token
    }

    /// Returns what the service wrote to standard error so far.
    pub(crate) fn service_log(&self) -> String {
        self.service.as_ref().unwrap().log.lock().unwrap().clone()
    }

    /// The program, ready to run in this repository against this service.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        clear_environment(&mut command);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        // The Git configuration of this repository's user, and nothing of the machine's.
        command.env("GIT_CONFIG_GLOBAL", self.path(".gitconfig")).env("GIT_CONFIG_NOSYSTEM", "1");
        if let Some(service) = &self.service {
            command.env("MAILWRIGHT_SERVICE", &service.address).env("MAILWRIGHT_TOKEN", &service.token);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        run_command(self.command(arguments))
    }

    /// Runs with something on standard input.
    pub(crate) fn pipe(&self, arguments: &[&str], input: &[u8]) -> CommandOutput {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A program that refuses early closes its end; that is its right.
        drop(child.stdin.take().unwrap().write_all(input));
        child.wait_with_output().unwrap().into()
    }

    /// Sends a request without the client, so that each byte of it is known.
    pub(crate) fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpResponse {
        let authorization = format!("Bearer {}", self.token());
        let mut all = vec![("Authorization", authorization.as_str())];
        all.extend(headers);
        self.http_without_token(method, path, &all, body)
    }

    pub(crate) fn http_without_token(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        send_request(self.address().trim_start_matches("http://"), method, path, headers, body)
    }

    /// Returns the resident memory of the service, in MiB.
    pub(crate) fn resident_memory(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Returns the largest resident memory of the service so far, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let pid = self.service.as_ref().unwrap().child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() / 1024
    }

    /// Returns the state, as the service reports it.
    pub(crate) fn state(&self) -> Value {
        self.http("GET", "/v1/state", &[], b"").json()
    }

    /// Changes a profile by hand.
    pub(crate) fn patch(&self, profile: &str, patch: &Value) -> HttpResponse {
        let path = format!("/v1/profiles/{profile}");
        self.http(
            "PATCH",
            &path,
            &[("If-Match", "*"), ("Content-Type", "application/merge-patch+json")],
            patch.to_string().as_bytes(),
        )
    }
}

/// The profile of [`TestRepository::small`].
pub(crate) const SMALL_PROFILE: &str = "provider:\n  smtp:\n    host: smtp.example.com\nfrom:\n  address: erp@example.com\nfunctions: [default]\nappliesTo: system-wide\n";

/// A request by hand to `host:port`.
pub(crate) fn send_request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> HttpResponse {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(240))).unwrap();
    let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map_or("test", |(_, host)| *host);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            head.push_str("Content-Type: application/json\r\n");
        }
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A service that refuses a body need not read it to its end.
    drop(stream.write_all(body));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    parse_response(&String::from_utf8_lossy(&answer))
}

fn parse_response(text: &str) -> HttpResponse {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    HttpResponse { status, head: head.to_owned(), body }
}

fn unchunked(body: &str) -> String {
    let (mut rest, mut out) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { break };
        let Some(chunk) = after.get(..size) else { break };
        out.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    out
}

/// Nothing of the machine that runs the tests.
pub(crate) fn clear_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAILWRIGHT_") {
            command.env_remove(name);
        }
    }
    for name in ["GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME", "BUILD_SOURCEBRANCH"] {
        command.env_remove(name);
    }
    command.env_remove("NO_COLOR").env("GIT_CEILING_DIRECTORIES", std::env::temp_dir());
}

/// Returns the arguments of `send` for a text of the company EDU1 and the function `default`; `more` is appended.
pub(crate) fn send_arguments<'a>(environment: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let arguments = ["send", environment, "--company", "EDU1", "--function", "default", "--to", to, "--text", "x"];
    [&arguments[..], more].concat()
}

pub(crate) fn run_command(mut command: Command) -> CommandOutput {
    command.output().unwrap().into()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap();
        }
    }
}

impl Drop for TestRepository {
    fn drop(&mut self) {
        if let Some(mut service) = self.service.take() {
            service.end();
        }
    }
}
