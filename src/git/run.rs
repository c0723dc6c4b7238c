//! Runs `git`, and nothing that a repository could make it run.
//!
//! Every key of `.git/config` belongs to the repository, and many keys name a program. A list of the keys to turn off
//! would have to grow with Git. So only commands are used that read objects, references and the index: none of them
//! converts contents, compares a work tree, runs a hook or opens an editor, whatever the configuration says. The work
//! tree is compared by [`super::work_tree`], signatures are checked by [`super::signature`] in a repository without
//! configuration of its own, and a clone that is checked out has attributes that turn every filter off
//! ([`super::Follower`]). What `command` sets is a second line of defence.

use std::{
    ffi::OsStr,
    io::{Read, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::model::Code;

/// The most that one answer may have, in bytes.
const ANSWER: u64 = 256 * 1024 * 1024;
/// The longest that one question may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether it is to end.
const LOOK: Duration = Duration::from_millis(200);
/// What is kept of what Git says when it fails, in bytes.
const COMPLAINT: u64 = 4096;

/// What holds whatever any configuration says: no program is started, and objects are those that their ids name.
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

/// The variables that Git inherits: where the operator's own configuration is, and how a remote is reached. The others
/// would lead it to another repository than the one that is named, as in a hook, or have it write traces.
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

fn is_of_git(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"GIT_")
}

fn is_inherited(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    INHERITED.contains(&name) || name.starts_with("GIT_CONFIG_KEY_") || name.starts_with("GIT_CONFIG_VALUE_")
}

/// Why Git has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    /// Which kind of problem it is.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Git in a folder.
#[derive(Clone, Debug)]
pub(super) struct Git {
    root: PathBuf,
    stop: Option<Stop>,
}

/// Ends a Git that waits for a network, and the helpers that it started.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends it, and every one that begins later.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Git {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), stop: None }
    }

    /// One that can be ended while it is at work.
    pub(super) fn stoppable(root: &Path, stop: Stop) -> Self {
        Self { root: root.to_owned(), stop: Some(stop) }
    }

    /// Where it runs.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Git with everything turned off that would start another program, talk to a network, or write.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.root).args(["--no-pager", "--no-optional-locks", "--literal-pathspecs"]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_git(name) && !is_inherited(name)) {
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

    /// The answer to a question; none if Git says no. Its complaint is of no interest.
    pub(super) fn ask(&self, arguments: &[&str]) -> Option<String> {
        let (answer, _) = self.answer(arguments).ok()?;
        answer.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The same by a command that was made by hand.
    pub(super) fn ask_by(&self, command: Command) -> Option<String> {
        let (answer, _) = self.answer_by(command).ok()?;
        answer.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The answer to a question that has one.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.run_by(self.command(arguments))
    }

    /// The same by a command that was made by hand.
    pub(super) fn run_by(&self, command: Command) -> Result<Vec<u8>, GitError> {
        match self.answer_by(command)? {
            (Some(answer), _) => Ok(answer),
            (None, complaint) => Err(self.refused(&complaint)),
        }
    }

    /// The answer, or none and the complaint.
    fn answer(&self, arguments: &[&str]) -> Result<(Option<Vec<u8>>, String), GitError> {
        self.answer_by(self.command(arguments))
    }

    fn answer_by(&self, command: Command) -> Result<(Option<Vec<u8>>, String), GitError> {
        let mut running = Running::begin(command, None, self.stop.clone())?;
        let mut answer = Vec::new();
        let read = running.stdout.by_ref().take(ANSWER + 1).read_to_end(&mut answer);
        if answer.len() as u64 > ANSWER {
            return Err(GitError {
                code: Code::TooLarge,
                message: "Git's answer has more than 256 MiB".to_owned(),
                remedy: "Is this the right repository? Mailwright reads `environments/` and `secrets/`.".to_owned(),
            });
        }
        let (succeeded, complaint) = running.end();
        Ok((read.ok().filter(|_| succeeded).map(|_| answer), complaint))
    }

    /// The commit that is checked out, if there is one. A folder that is no work tree has none; where Git refuses to look,
    /// that is an error.
    pub(super) fn head(&self) -> Result<Option<String>, GitError> {
        let (answer, complaint) = self.answer(&["rev-parse", "--verify", "--quiet", "HEAD"])?;
        match answer {
            Some(answer) => Ok(Some(String::from_utf8_lossy(&answer).trim().to_owned())),
            // A branch without commits is quiet about it.
            None if complaint.trim().is_empty() || complaint.contains("not a git repository") => Ok(None),
            None => Err(self.refused(&complaint)),
        }
    }

    /// Refuses a configuration that has the work tree elsewhere: paths would be those of another folder.
    pub(super) fn check_work_tree(&self) -> Result<(), GitError> {
        let told = self.run(&["rev-parse", "--show-prefix"])?;
        let told = String::from_utf8_lossy(&told).trim_end_matches('\n').to_owned();
        let here = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        let inside = |top: &Path| here.strip_prefix(top).map(|path| path.to_string_lossy().into_owned()).ok();
        let top = here.ancestors().find(|folder| folder.join(".git").exists());
        if top.and_then(inside).is_some_and(|prefix| prefix == told.trim_end_matches('/')) {
            return Ok(());
        }
        Err(GitError {
            code: Code::GitFailed,
            message: "the repository's configuration has its work tree in another folder".to_owned(),
            remedy: format!("Look at it: git -C '{}' config --show-origin core.worktree", here.display()),
        })
    }

    /// What to say where Git refuses.
    pub(super) fn refused(&self, complaint: &str) -> GitError {
        let first = complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
        let first: String = first.trim_start_matches("fatal: ").escape_debug().take(300).collect();
        if complaint.contains("safe.directory") {
            let folder = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
            let folder = folder.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&folder);
            return GitError {
                code: Code::GitFailed,
                message: format!("Git refuses to read a repository of another user: {first}"),
                remedy: format!(
                    "If the repository is to be trusted: git config --global --add safe.directory '{}'",
                    folder.display()
                ),
            };
        }
        let remedy = if complaint.contains("not a git repository") {
            "Go to a clone of the repository, or name it with `--project DIR`."
        } else if self.lacks_objects() {
            return GitError {
                code: Code::HistoryMissing,
                message: format!("this clone does not have all of the history: {first}"),
                remedy: COMPLETE.to_owned(),
            };
        } else {
            "Ask Git by hand for more."
        };
        GitError { code: Code::GitFailed, message: format!("Git refuses: {first}"), remedy: remedy.to_owned() }
    }

    /// Whether the clone is shallow.
    pub(super) fn is_shallow(&self) -> bool {
        self.ask(&["rev-parse", "--is-shallow-repository"]).as_deref() == Some("true")
    }

    fn lacks_objects(&self) -> bool {
        self.is_shallow() || self.ask(&["config", "--get", "extensions.partialClone"]).is_some()
    }
}

/// How to complete a clone.
pub(super) const COMPLETE: &str =
    "Complete it: git fetch --unshallow (in GitHub Actions, `fetch-depth: 0`), or clone without `--filter`.";

/// Git at work. It is ended when it takes too long, or when nobody listens any more.
pub(super) struct Running {
    child: Arc<Mutex<Child>>,
    pub(super) stdout: std::io::BufReader<std::process::ChildStdout>,
    complaint: std::thread::JoinHandle<String>,
    _alarm: mpsc::Sender<()>,
}

/// Ends it; with its group, if it has one.
fn kill(child: &mut Child, has_group: bool) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    // One that has ended and was waited for has no group any more, and its number may be another's.
    if has_group && matches!(child.try_wait(), Ok(None)) {
        let _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
    }
    drop(child.kill());
}

impl Running {
    /// Git with something on its standard input.
    pub(super) fn feed(command: Command, input: Option<Vec<u8>>) -> Result<Self, GitError> {
        Self::begin(command, input, None)
    }

    fn begin(mut command: Command, input: Option<Vec<u8>>, stop: Option<Stop>) -> Result<Self, GitError> {
        if stop.is_some() {
            // A group of its own, so that its helpers can be ended with it: they would keep its output open.
            command.process_group(0);
        }
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let failed = |error: &std::io::Error| GitError {
            code: Code::GitFailed,
            message: format!("the program `git` cannot be run: {error}"),
            remedy: "Install Git, and put it on the PATH.".to_owned(),
        };
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(mut stderr)) = pipes else {
            return Err(failed(&std::io::Error::other("its output cannot be read")));
        };
        let complaint = std::thread::spawn(move || {
            let mut kept = Vec::new();
            drop(stderr.by_ref().take(COMPLAINT).read_to_end(&mut kept));
            drop(std::io::copy(&mut stderr, &mut std::io::sink()));
            String::from_utf8_lossy(&kept).into_owned()
        });
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // A Git that has enough closes its end; what it answered is read all the same.
            std::thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let child = Arc::new(Mutex::new(child));
        let (alarm, ended) = mpsc::channel::<()>();
        let watched = Arc::clone(&child);
        std::thread::spawn(move || {
            let until = Instant::now() + PATIENCE;
            let is_wanted = || stop.as_ref().is_some_and(Stop::is_wanted);
            while ended.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                if Instant::now() > until || is_wanted() {
                    kill(&mut watched.lock().unwrap_or_else(PoisonError::into_inner), stop.is_some());
                    break;
                }
            }
        });
        Ok(Self { child, stdout: std::io::BufReader::new(stdout), complaint, _alarm: alarm })
    }

    /// Waits for its end: whether it succeeded, and what it complained of.
    pub(super) fn end(self) -> (bool, String) {
        let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
        (status.is_ok_and(|status| status.success()), self.complaint.join().unwrap_or_default())
    }

    /// Ends it: what is to come is not wanted.
    pub(super) fn stop(self) {
        {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            drop(child.kill());
            drop(child.wait());
        }
        drop(self.complaint.join());
    }
}
