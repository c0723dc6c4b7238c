//! Runs `git` so that a repository cannot make it run another program.
//!
//! Every key of `.git/config` belongs to the repository, and many keys name a program. A list of the keys to turn off
//! would have to grow with Git. So only commands are used that read objects, references and the index: none of them
//! converts contents, compares a work tree, runs a hook or opens an editor, whatever the configuration says. The work
//! tree is compared by [`super::work_tree`], signatures are checked by [`super::signature`] in a repository without
//! configuration of its own, and a clone that is checked out has attributes that turn every filter off
//! ([`super::Follower`]). The settings of `command` are a second line of defence.
//!
//! A command that runs for 120 seconds, or is cancelled, is killed and counts as failed. An output over 256 MiB is a problem.

use std::{
    ffi::OsStr,
    io::{Read, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::{
    model::{Code, Problem},
    sync::Mutex,
    text::{printable, shell::quote_path},
};

/// The maximum size of an output, in bytes.
const OUTPUT_LIMIT: u64 = 256 * 1024 * 1024;
/// The maximum duration of a command.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The interval at which timeout and cancellation are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The maximum size of standard error that is kept, in bytes.
const STDERR_LIMIT: u64 = 4096;

/// Settings that override every configuration: Git starts no program, and replaces no object by another.
const SETTINGS: [&str; 12] = [
    "core.alternateRefsCommand=",
    "core.commitGraph=false",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.quotePath=false",
    "core.useReplaceRefs=false",
    "diff.external=",
    "i18n.logOutputEncoding=UTF-8",
    "log.showSignature=false",
    "protocol.allow=never",
    "safe.bareRepository=explicit",
    "submodule.recurse=false",
];

/// The `GIT_` variables that Git inherits: the location of the operator's configuration, and the access to a remote. Others
/// could select another repository, as inside a hook, or make Git write traces.
const INHERITED: [&str; 17] = [
    "GIT_ASKPASS",
    "GIT_CEILING_DIRECTORIES",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_EXEC_PATH",
    "GIT_HTTP_USER_AGENT",
    "GIT_PROXY_COMMAND",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
];

fn is_git_variable(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"GIT_")
}

fn is_inherited(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    INHERITED.contains(&name) || name.starts_with("GIT_CONFIG_KEY_") || name.starts_with("GIT_CONFIG_VALUE_")
}

/// Runs Git in a folder.
#[derive(Clone, Debug)]
pub(super) struct Git {
    root: PathBuf,
    cancellation: Option<Cancellation>,
}

/// Cancels Git processes that wait for a network, with the helpers that they started.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Cancels the running process and every later one.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Git {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), cancellation: None }
    }

    /// Runs Git in a folder, with a handle that cancels its processes.
    pub(super) fn cancellable(root: &Path, cancellation: Cancellation) -> Self {
        Self { root: root.to_owned(), cancellation: Some(cancellation) }
    }

    /// Returns the folder that Git runs in.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a command with everything disabled that would start another program, use a network, or write.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.root).args(["--no-pager", "--no-optional-locks", "--literal-pathspecs"]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_git_variable(name) && !is_inherited(name)) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_GRAFT_FILE", "/dev/null/none")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Returns the trimmed output of a command; none if it fails.
    pub(super) fn query(&self, arguments: &[&str]) -> Option<String> {
        let (answer, _) = self.output(arguments).ok()?;
        answer.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Runs a prepared command like [`Git::query`].
    pub(super) fn query_command(&self, command: Command) -> Option<String> {
        let (answer, _) = self.output_of(command).ok()?;
        answer.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Returns the output of a command that must succeed.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, Problem> {
        self.run_command(self.command(arguments))
    }

    /// Runs a prepared command like [`Git::run`].
    pub(super) fn run_command(&self, command: Command) -> Result<Vec<u8>, Problem> {
        match self.output_of(command)? {
            (Some(answer), _) => Ok(answer),
            (None, stderr_text) => Err(self.failure(&stderr_text)),
        }
    }

    /// Returns the output (none if the command fails) and standard error.
    fn output(&self, arguments: &[&str]) -> Result<(Option<Vec<u8>>, String), Problem> {
        self.output_of(self.command(arguments))
    }

    fn output_of(&self, command: Command) -> Result<(Option<Vec<u8>>, String), Problem> {
        let mut running = GitProcess::spawn(command, None, self.cancellation.clone())?;
        let mut answer = Vec::new();
        let read = running.stdout.by_ref().take(OUTPUT_LIMIT + 1).read_to_end(&mut answer);
        if answer.len() as u64 > OUTPUT_LIMIT {
            return Err(
                Problem::new(Code::TooLarge, "Git's answer has more than 256 MiB").remedy(WRONG_REPOSITORY_REMEDY)
            );
        }
        let (succeeded, stderr_text) = running.wait();
        Ok((read.ok().filter(|_| succeeded).map(|_| answer), stderr_text))
    }

    /// Returns true if Git would add a path. False if it ignores it, and if it refuses to answer.
    pub(super) fn is_unignored(&self, path: &Path) -> bool {
        let mut command = self.command(&["--no-literal-pathspecs", "check-ignore", "--quiet", "--"]);
        command.arg(path);
        // `check-ignore` refuses literal pathspecs; an absolute path has no magic. Without a match it fails in silence.
        self.output_of(command).is_ok_and(|(answer, stderr_text)| answer.is_none() && stderr_text.trim().is_empty())
    }

    /// Returns the commit that is checked out. A folder outside of a work tree has none; a refusal of Git is an error.
    pub(super) fn head(&self) -> Result<Option<String>, Problem> {
        let (answer, stderr_text) = self.output(&["rev-parse", "--verify", "--quiet", "HEAD"])?;
        match answer {
            Some(answer) => Ok(Some(String::from_utf8_lossy(&answer).trim().to_owned())),
            // For a branch without commits, Git prints nothing.
            None if stderr_text.trim().is_empty() => Ok(None),
            None if stderr_text.contains("not a git repository") => match self.folder_with_repository() {
                None => Ok(None),
                Some(folder) => {
                    let repository = folder.join(".git");
                    let message = format!("Git does not recognise the repository `{}`", repository.display());
                    let remedy = format!(
                        "It is damaged: `git -C {} status` reports the same. Compare its files `HEAD` and `config`, or clone the repository again.",
                        quote_path(&folder)
                    );
                    Err(Problem::new(Code::GitFailed, message).remedy(remedy))
                }
            },
            None => Err(self.failure(&stderr_text)),
        }
    }

    /// Returns the folder at or above the project that has a `.git`.
    fn folder_with_repository(&self) -> Option<PathBuf> {
        let here = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        here.ancestors().find(|folder| folder.join(".git").exists()).map(Path::to_owned)
    }

    /// Rejects a repository whose configuration sets another work tree: paths would belong to another folder.
    pub(super) fn check_work_tree(&self) -> Result<(), Problem> {
        let reported = self.run(&["rev-parse", "--show-prefix"])?;
        let reported = String::from_utf8_lossy(&reported).trim_end_matches('\n').to_owned();
        let here = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        let inside = |top: &Path| here.strip_prefix(top).map(|path| path.to_string_lossy().into_owned()).ok();
        let top = here.ancestors().find(|folder| folder.join(".git").exists());
        if top.and_then(inside).is_some_and(|prefix| prefix == reported.trim_end_matches('/')) {
            return Ok(());
        }
        let message = "the repository's configuration has its work tree in another folder";
        let remedy = format!("Look at it: git -C {} config --show-origin core.worktree", quote_path(&here));
        Err(Problem::new(Code::GitFailed, message).remedy(remedy))
    }

    /// Describes a failure by Git's standard error.
    pub(super) fn failure(&self, stderr_text: &str) -> Problem {
        let first = stderr_text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
        let first: String = printable(first.trim_start_matches("fatal: ")).chars().take(300).collect();
        if stderr_text.contains("safe.directory") {
            let folder = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
            let folder = folder.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&folder);
            let message = format!("Git refuses to read a repository of another user: {first}");
            let remedy = format!(
                "If the repository is to be trusted: git config --global --add safe.directory {}",
                quote_path(folder)
            );
            return Problem::new(Code::GitFailed, message).remedy(remedy);
        }
        let remedy = if stderr_text.contains("not a git repository") {
            "Go to a clone of the repository, or name it with `--project DIR`."
        } else if self.is_incomplete() {
            return Problem::new(Code::HistoryMissing, format!("this clone does not have all of the history: {first}"))
                .remedy(UNSHALLOW_REMEDY);
        } else {
            "Run Git by hand for details."
        };
        Problem::new(Code::GitFailed, format!("Git refuses: {first}")).remedy(remedy)
    }

    /// Returns true if the clone is shallow.
    pub(super) fn is_shallow(&self) -> bool {
        self.query(&["rev-parse", "--is-shallow-repository"]).as_deref() == Some("true")
    }

    fn is_incomplete(&self) -> bool {
        self.is_shallow() || self.query(&["config", "--get", "extensions.partialClone"]).is_some()
    }
}

/// The remedy for a repository that is too large.
pub(super) const WRONG_REPOSITORY_REMEDY: &str =
    "Is this the right repository? Mailwright reads `environments/` and `secrets/`.";
/// The remedy for an incomplete clone.
pub(super) const UNSHALLOW_REMEDY: &str =
    "Complete it: git fetch --unshallow (in GitHub Actions, `fetch-depth: 0`), or clone without `--filter`.";

/// A running Git. It is killed when it exceeds the timeout, or when it is cancelled.
pub(super) struct GitProcess {
    child: Arc<Mutex<Child>>,
    pub(super) stdout: std::io::BufReader<std::process::ChildStdout>,
    stderr_text: std::thread::JoinHandle<String>,
    _alarm: mpsc::Sender<()>,
}

/// Kills a process, with its group if it has one of its own.
fn kill_group(child: &mut Child, has_group: bool) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    // After a process was waited for, its id may belong to another group.
    if has_group && matches!(child.try_wait(), Ok(None)) {
        let _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
    }
    drop(child.kill());
}

impl GitProcess {
    /// Starts Git with data on its standard input.
    pub(super) fn spawn_with_input(command: Command, input: Option<Vec<u8>>) -> Result<Self, Problem> {
        Self::spawn(command, input, None)
    }

    fn spawn(
        mut command: Command,
        input: Option<Vec<u8>>,
        cancellation: Option<Cancellation>,
    ) -> Result<Self, Problem> {
        if cancellation.is_some() {
            // A group of its own, so that its helpers are killed too: they would keep its output open.
            command.process_group(0);
        }
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let failed = |error: &std::io::Error| {
            Problem::new(Code::GitFailed, format!("cannot run `git`: {error}"))
                .remedy("Install Git, and put it on the PATH.")
        };
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(mut stderr)) = pipes else {
            return Err(failed(&std::io::Error::other("its output cannot be read")));
        };
        let stderr_text = std::thread::spawn(move || {
            let mut kept = Vec::new();
            drop(stderr.by_ref().take(STDERR_LIMIT).read_to_end(&mut kept));
            drop(std::io::copy(&mut stderr, &mut std::io::sink()));
            String::from_utf8_lossy(&kept).into_owned()
        });
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // Git may close its input early; its output is read all the same.
            std::thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let child = Arc::new(Mutex::new(child));
        let (alarm, ended) = mpsc::channel::<()>();
        let watched = Arc::clone(&child);
        std::thread::spawn(move || {
            let until = Instant::now() + TIMEOUT;
            let is_cancelled = || cancellation.as_ref().is_some_and(Cancellation::is_cancelled);
            while ended.recv_timeout(POLL_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
                if Instant::now() > until || is_cancelled() {
                    kill_group(&mut watched.lock(), cancellation.is_some());
                    break;
                }
            }
        });
        Ok(Self { child, stdout: std::io::BufReader::new(stdout), stderr_text, _alarm: alarm })
    }

    /// Waits for the process. Returns true if it succeeded, and its standard error.
    pub(super) fn wait(self) -> (bool, String) {
        let status = self.child.lock().wait();
        (status.is_ok_and(|status| status.success()), self.stderr_text.join().unwrap_or_default())
    }

    /// Kills the process: the rest of its output is not needed.
    pub(super) fn kill(self) {
        {
            let mut child = self.child.lock();
            drop(child.kill());
            drop(child.wait());
        }
        drop(self.stderr_text.join());
    }
}
