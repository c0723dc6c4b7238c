//! The journal: one line an entry, each durable before the next step begins.
//!
//! A line is `{"sum":"...","entry":{...}}`; its sum covers the entry and the sum of the line before, so a line that was
//! changed, removed or put in between shows. A last line without its end is what a crash leaves: it was never acted on,
//! and is left out. Entries that are handed in while the disk is busy are written together. Once a write has failed
//! nothing more is taken, so that no step begins that is not written down.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::mpsc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Problem;
use crate::{
    model::Provenance,
    model::{Code, Digest, EnvironmentName, RolloutName},
};

/// The largest journal, in bytes: ten thousand environments, each several times.
const LIMIT: u64 = 64 * 1024 * 1024;
/// How many entries are written together.
const TOGETHER: usize = 256;

/// What happened, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When, by the clock of the machine that wrote it.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What is to be done, as the files said it when the run began or was told to go on with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The digest of the rollout's file.
    pub file: Digest,
    /// Which commit the files are of.
    pub source: Provenance,
    /// The environment whose service keeps the lease.
    pub coordinator: EnvironmentName,
    /// The waves.
    pub waves: Vec<OrderedWave>,
}

/// A wave of an [`Order`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderedWave {
    /// What it is called.
    pub name: String,
    /// Its environments, each with the digest of what its files say.
    pub environments: BTreeMap<EnvironmentName, String>,
}

/// What happened. What begins with an intent ends with an outcome, or nobody knows yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A run begins.
    Begun {
        /// The run.
        run: Uuid,
        /// The rollout.
        rollout: RolloutName,
        /// Version of the program.
        mailwright: String,
        /// Who.
        by: String,
        /// What is to be done.
        order: Order,
    },
    /// Somebody goes on.
    Resumed {
        /// Who.
        by: String,
        /// What is to be done from now on, where the files changed and that was accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<Order>,
    },
    /// The lease is held.
    Leased {
        /// The number of the holding.
        token: u64,
    },
    /// A wave begins.
    WaveBegun {
        /// Which.
        wave: String,
    },
    /// A changeset is about to be sent.
    Intended {
        /// To which environment.
        environment: EnvironmentName,
        /// The changeset's id.
        changeset: Uuid,
        /// The generation that it was computed from.
        base: u64,
        /// What it does, in short.
        summary: String,
    },
    /// An environment has what the files say, or failed.
    Ended {
        /// Which.
        environment: EnvironmentName,
        /// What became of it.
        outcome: Outcome,
    },
    /// A wave soaks.
    SoakBegun {
        /// Which.
        wave: String,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// A wave has soaked.
    SoakEnded {
        /// Which.
        wave: String,
    },
    /// The checks of an environment were made.
    Checked {
        /// Which.
        environment: EnvironmentName,
        /// What does not hold; none if all do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// A wave is done.
    WaveEnded {
        /// Which.
        wave: String,
    },
    /// What was done is taken back.
    TakingBack {
        /// Of this wave; none means of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wave: Option<String>,
        /// Whether what held nothing before is to hold nothing again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        to_nothing: bool,
        /// Why.
        why: Problem,
    },
    /// A rollback is about to be asked for.
    BackIntended {
        /// In which environment.
        environment: EnvironmentName,
        /// From which generation.
        base: u64,
        /// To which.
        to: u64,
    },
    /// An environment is taken back, or is not.
    TakenBack {
        /// Which.
        environment: EnvironmentName,
        /// The generation that it is at now; none if there was nothing to take back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
        /// Why it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// Nothing more is begun until somebody goes on.
    Paused {
        /// Why.
        why: String,
        /// The problem, where it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// More failed than may.
    Stopped {
        /// What.
        problem: Problem,
    },
    /// Somebody gave it up.
    Aborted {
        /// Who.
        by: String,
    },
    /// All waves are done.
    Finished,
}

/// What became of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "became", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// A changeset was taken.
    Applied {
        /// The generation that it made.
        generation: u64,
        /// The generation before.
        before: u64,
        /// What it did, in short.
        summary: String,
    },
    /// It had what the files say before.
    AlreadySo {
        /// The generation that it is at.
        generation: u64,
    },
    /// It failed.
    Failed {
        /// Why.
        problem: Problem,
    },
}

/// What is read of a journal.
#[derive(Debug, Default)]
pub struct Contents {
    /// The entries.
    pub entries: Vec<Entry>,
    /// How many bytes of the file they take: what is behind broke off.
    pub length: u64,
    /// The sum of the last one.
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

/// Reads a journal. One that is not there is empty.
pub fn read(path: &Path) -> Result<Contents, Problem> {
    let damaged = |why: String| {
        Problem::new(Code::JournalDamaged, format!("the journal `{}`: {why}", path.display())).remedy(
            "`mailwright history ENV` tells what each environment has. Move the journal away to give the run up.",
        )
    };
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(damaged(error.to_string())),
    }
    if bytes.len() as u64 > LIMIT {
        return Err(damaged(format!("it has more than {} MiB", LIMIT / 1024 / 1024)));
    }
    let mut contents = Contents::default();
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
                    .map_err(|_| damaged(format!("line {number} was written by another version")))?;
                contents.entries.push(entry);
                parsed.sum.clone_into(&mut contents.sum);
                contents.length += line.len() as u64;
            }
            // The end of a write that a crash cut off; nothing came of it.
            _ if is_last && !whole => break,
            _ => return Err(damaged(format!("line {number} is not as it was written"))),
        }
    }
    Ok(contents)
}

struct Job {
    entry: Entry,
    done: oneshot::Sender<Result<(), Problem>>,
}

/// Writes entries. The thread behind it ends with it.
pub struct Journal {
    jobs: mpsc::Sender<Job>,
    clock: crate::time::Clock,
}

impl Journal {
    /// Goes on behind what was read. The caller holds the rollout's lock.
    pub fn open(path: &Path, after: &Contents, clock: crate::time::Clock) -> Result<Self, Problem> {
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

    /// Writes what happens; it is durable when this returns, or nothing more will be.
    pub async fn append(&self, event: Event) -> Result<Entry, Problem> {
        let entry = Entry { at: self.clock.now(), event };
        let (done, told) = oneshot::channel();
        let gone = || Problem::new(Code::JournalUnwritable, "the journal's writer is gone");
        self.jobs.send(Job { entry: entry.clone(), done }).map_err(|_| gone())?;
        told.await.map_err(|_| gone())??;
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
            jobs.extend(queue.try_iter().take(TOGETHER - 1));
            let result = match &self.broken {
                Some(problem) => Err(problem.clone()),
                None => self.write(&jobs),
            };
            if let Err(problem) = &result {
                self.broken = Some(problem.clone());
            }
            for job in jobs {
                // Nobody may be waiting any more.
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
        if length > LIMIT {
            let limit = format!("it would have more than {} MiB", LIMIT / 1024 / 1024);
            return Err(unwritable(&self.path, &limit));
        }
        let written = self.file.write_all_at(text.as_bytes(), self.length).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What may have been written in part is cut off; if that fails too, reading leaves it out.
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
        format!("the journal `{}` cannot be written: {why}; nothing was begun that is not in it", path.display()),
    )
    .remedy("Make room, or look at the folder's permissions; then `mailwright rollout resume NAME`.")
}

/// Writes a small file beside the journal, whole or not at all.
pub(crate) fn write_beside(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
