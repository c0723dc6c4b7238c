//! The journal of a run: one entry per line, each durable before the next step begins.
//!
//! A line is `{"sum":"...","entry":{...}}`. The sum covers the entry and the sum of the line before, so a line that was changed,
//! removed or inserted is detected. A last line without a line end is the rest of a crash: no step began after it, and it is
//! ignored. Entries that arrive during a write are written together. After a failed write the journal accepts no entries, so no
//! step begins that is not recorded. A missing file is an empty journal; a damaged one, one with an entry that this version cannot
//! read, or one beyond 64 MiB, is a problem.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    sync::mpsc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::PauseOrigin;
use crate::model::{Code, Digest, EnvironmentName, Problem, Provenance, RolloutName};

/// The largest journal, in bytes: enough for ten thousand environments with several entries each.
const SIZE_LIMIT: u64 = 64 * 1024 * 1024;
/// The largest number of entries in one write.
const BATCH: usize = 256;

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The time, by the clock of the machine that wrote it.
    pub at: Timestamp,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// The waves and environments of a rollout, as the files had them when the run was started or resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// The digest of the rollout's file.
    pub file: Digest,
    /// The commit, branch and author of the files.
    pub source: Provenance,
    /// The environment whose service keeps the lease.
    pub coordinator: EnvironmentName,
    /// The waves.
    pub waves: Vec<WaveSpec>,
}

/// A wave of a [`RolloutSpec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveSpec {
    /// The name of the wave.
    pub name: String,
    /// The environments of the wave, each with the digest of its desired state.
    pub environments: BTreeMap<EnvironmentName, String>,
}

/// An event of a run. An intent without an outcome means that the outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// The run was started.
    Started {
        /// The id of the run.
        run: Uuid,
        /// The rollout.
        rollout: RolloutName,
        /// The version of the program.
        mailwright: String,
        /// The operator.
        by: String,
        /// True if a watch started the run: `watch.drift` of each environment applies to it, also after a person resumed it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        watch: bool,
        /// The environments that an earlier run changed and whose wave did not complete its soak time and checks. Their wave
        /// soaks and is checked in this run even if nothing changes in it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        unsoaked: BTreeSet<EnvironmentName>,
        /// The waves and environments.
        spec: RolloutSpec,
    },
    /// The run was resumed.
    Resumed {
        /// The operator.
        by: String,
        /// True if a watch resumed the run, which is a run of the watch from then on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        watch: bool,
        /// The waves and environments from now on, if the files changed and the operator accepted that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spec: Option<RolloutSpec>,
    },
    /// The lease was acquired.
    LeaseAcquired {
        /// The fencing token.
        token: u64,
    },
    /// A wave starts.
    WaveStarted {
        /// The name of the wave.
        wave: String,
    },
    /// A changeset is about to be sent.
    Intended {
        /// The environment.
        environment: EnvironmentName,
        /// The id of the changeset.
        changeset: Uuid,
        /// The generation that the changeset was computed from.
        base: u64,
        /// The number of changes of each kind.
        summary: String,
    },
    /// The apply of an environment ended.
    Ended {
        /// The environment.
        environment: EnvironmentName,
        /// The outcome.
        outcome: ApplyOutcome,
    },
    /// The soak time of a wave starts.
    SoakStarted {
        /// The name of the wave.
        wave: String,
        /// The soak time, in seconds.
        seconds: u64,
    },
    /// The soak time of a wave is over.
    SoakEnded {
        /// The name of the wave.
        wave: String,
    },
    /// The checks of an environment were run.
    Checked {
        /// The environment.
        environment: EnvironmentName,
        /// The check that failed; none if all passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// A wave is done.
    WaveEnded {
        /// The name of the wave.
        wave: String,
    },
    /// A rollback starts.
    RollbackStarted {
        /// The wave that is rolled back; none for all waves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wave: Option<String>,
        /// True if environments that were empty before the run are emptied.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        to_empty: bool,
        /// The reason.
        reason: Problem,
    },
    /// The rollback of an environment is about to be requested.
    RollbackIntended {
        /// The environment.
        environment: EnvironmentName,
        /// The generation that the run created.
        base: u64,
        /// The generation to return to.
        to: u64,
    },
    /// The rollback of an environment ended.
    RollbackEnded {
        /// The environment.
        environment: EnvironmentName,
        /// The generation that the rollback created; none if there was nothing to roll back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
        /// The reason for which the environment is not rolled back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// Nothing more is started until the run is resumed.
    Paused {
        /// The reason.
        reason: String,
        /// The origin. Without one and without a problem it was an operator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<PauseOrigin>,
        /// The problem that made it pause, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// More environments failed than the rollout tolerates.
    Stopped {
        /// The failure.
        problem: Problem,
    },
    /// An operator aborted the run.
    Aborted {
        /// The operator.
        by: String,
    },
    /// All waves are done.
    Finished,
}

impl Event {
    /// Returns the entry of a pause that an operator requested.
    pub fn paused_by_operator(by: String) -> Self {
        Self::Paused { reason: format!("requested by {by}"), by: Some(PauseOrigin::Operator(by)), problem: None }
    }
}

/// The outcome of the apply in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ApplyOutcome {
    /// A changeset was applied.
    Applied {
        /// The generation that the changeset created.
        generation: u64,
        /// The generation before the changeset.
        before: u64,
        /// The number of changes of each kind.
        summary: String,
    },
    /// The environment was already as the files say.
    Unchanged {
        /// The generation of the environment.
        generation: u64,
    },
    /// The apply failed.
    Failed {
        /// The failure.
        problem: Problem,
    },
}

/// The contents of a journal.
#[derive(Debug, Default)]
pub struct JournalContents {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The number of bytes that the entries occupy; the rest of the file is an incomplete line.
    pub length: u64,
    /// The sum of the last entry.
    sum: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    sum: &'a str,
    #[serde(borrow)]
    entry: &'a RawValue,
}

fn sum(previous: &str, entry: &str) -> String {
    let digest = Digest::of_bytes(format!("{previous}{entry}").as_bytes());
    digest.as_str().trim_start_matches("sha256:").chars().take(16).collect()
}

/// Reads a journal. A missing file is an empty journal.
pub fn read(path: &Path) -> Result<JournalContents, Problem> {
    let damaged = |why: String| {
        Problem::new(Code::JournalDamaged, format!("cannot read the journal `{}`: {why}", path.display())).remedy(
            "`mailwright history '*' --summary` shows what was applied to each environment. Move the journal away to give the run up.",
        )
    };
    let bytes = match crate::fs::read_ordinary(path, SIZE_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            return Err(damaged(format!("it is larger than {} MiB", SIZE_LIMIT / 1024 / 1024)));
        }
        Err(error) => return Err(damaged(error.to_string())),
    };
    let mut contents = JournalContents::default();
    let mut number = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        number += 1;
        let whole = line.ends_with(b"\n");
        let read = std::str::from_utf8(line).ok().and_then(|text| {
            let parsed: Line<'_> = serde_json::from_str(text).ok()?;
            (parsed.sum == sum(&contents.sum, parsed.entry.get())).then_some(parsed)
        });
        let is_last = contents.length + line.len() as u64 == bytes.len() as u64;
        match read {
            Some(parsed) if whole => {
                let entry = serde_json::from_str(parsed.entry.get())
                    .map_err(|_| damaged(format!("line {number} was written by another version of mailwright")))?;
                contents.entries.push(entry);
                parsed.sum.clone_into(&mut contents.sum);
                contents.length += line.len() as u64;
            }
            // An incomplete write: no step began after it.
            _ if is_last && !whole => break,
            _ => return Err(damaged(format!("line {number} was changed after it was written"))),
        }
    }
    Ok(contents)
}

struct Job {
    entry: Entry,
    done: oneshot::Sender<Result<(), Problem>>,
}

/// Writes entries in a thread of its own, which ends when this value is dropped.
pub struct Journal {
    jobs: mpsc::Sender<Job>,
    clock: crate::time::Clock,
}

impl Journal {
    /// Opens the journal to append after the contents that were read. The caller holds the rollout's lock.
    pub fn open(path: &Path, after: &JournalContents, clock: crate::time::Clock) -> Result<Self, Problem> {
        let failed = |error: std::io::Error| unwritable(path, &error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        file.set_len(after.length).map_err(failed)?;
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        let (jobs, queue) = mpsc::channel();
        let mut writer =
            Writer { file, path: path.to_owned(), length: after.length, sum: after.sum.clone(), broken: None };
        std::thread::Builder::new()
            .name("rollout-journal".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(failed)?;
        Ok(Self { jobs, clock })
    }

    /// Appends an entry. It is durable when this returns; after a failure, every later call fails.
    pub async fn append(&self, event: Event) -> Result<Entry, Problem> {
        let entry = Entry { at: self.clock.now(), event };
        let (done, written) = oneshot::channel();
        let gone = || Problem::new(Code::JournalUnwritable, "the thread that writes the journal has ended");
        self.jobs.send(Job { entry: entry.clone(), done }).map_err(|_| gone())?;
        written.await.map_err(|_| gone())??;
        Ok(entry)
    }
}

struct Writer {
    file: File,
    path: PathBuf,
    length: u64,
    sum: String,
    broken: Option<Problem>,
}

impl Writer {
    fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut jobs = vec![first];
            jobs.extend(queue.try_iter().take(BATCH - 1));
            let result = match &self.broken {
                Some(problem) => Err(problem.clone()),
                None => self.write(&jobs),
            };
            if let Err(problem) = &result {
                self.broken = Some(problem.clone());
            }
            for job in jobs {
                // The caller may have given up waiting.
                drop(job.done.send(result.clone()));
            }
        }
    }

    fn write(&mut self, jobs: &[Job]) -> Result<(), Problem> {
        use std::os::unix::fs::FileExt as _;
        let mut text = String::new();
        let mut last = self.sum.clone();
        for job in jobs {
            let entry = serde_json::to_string(&job.entry)
                .map_err(|error| Problem::new(Code::JournalUnwritable, error.to_string()))?;
            last = sum(&last, &entry);
            text.push_str(&format!("{{\"sum\":\"{last}\",\"entry\":{entry}}}\n"));
        }
        let length = self.length + text.len() as u64;
        if length > SIZE_LIMIT {
            let limit = format!("it would be larger than {} MiB", SIZE_LIMIT / 1024 / 1024);
            return Err(unwritable(&self.path, &limit));
        }
        let written = self.file.write_all_at(text.as_bytes(), self.length).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Removes a partial write. If that fails too, the next reader ignores the incomplete line.
            drop(self.file.set_len(self.length));
            return Err(unwritable(&self.path, &error));
        }
        (self.length, self.sum) = (length, last);
        Ok(())
    }
}

fn unwritable(path: &Path, why: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        Code::JournalUnwritable,
        format!("cannot write the journal `{}`: {why}; every step that began is recorded in it", path.display()),
    )
    .remedy("Free disk space or correct the permissions of the folder; then `mailwright rollout resume NAME`.")
}
