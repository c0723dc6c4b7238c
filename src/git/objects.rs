//! [`Objects`]: contents of files of commits, read by `git cat-file --batch` and kept, so that a blob in two revisions is read
//! once.
//!
//! A blob over 1 MiB, and any beyond a total of 512 MiB, is refused as too large; one that a partial clone lacks is missing. The
//! others are read all the same. It does not know paths: `comparison` lists them.

use std::{
    collections::{BTreeSet, HashMap},
    io::{BufRead as _, Read as _},
    sync::{Arc, PoisonError, RwLock},
};

use rayon::prelude::*;

use super::run::{Git, GitProcess};
use crate::{
    sync::Mutex,
    vfs::{BlobError, BlobStore},
};

/// The maximum size of a blob that is read, in bytes: the limit of `config` for a file.
const LARGEST: u64 = 1024 * 1024;
/// The maximum total size of all blobs, in bytes.
const TOTAL_LIMIT: u64 = 512 * 1024 * 1024;
/// The number of blobs per process.
const BATCH_SIZE: usize = 4000;

type Contents = Result<Arc<[u8]>, BlobError>;

/// The blobs of a repository that were requested so far.
pub(super) struct Objects {
    git: Git,
    known: RwLock<HashMap<String, Contents>>,
    read: Mutex<u64>,
}

impl Objects {
    pub(super) fn new(git: Git) -> Self {
        Self { git, known: RwLock::default(), read: Mutex::default() }
    }

    /// Reads many blobs at once. Failures are remembered too.
    pub(super) fn fetch<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let wanted: BTreeSet<&str> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            ids.into_iter().filter(|id| !known.contains_key(*id)).collect()
        };
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let found: Vec<Vec<(String, Contents)>> = wanted.par_chunks(BATCH_SIZE).map(|ids| self.batch(ids)).collect();
        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(found.into_iter().flatten());
    }

    fn batch(&self, ids: &[&str]) -> Vec<(String, Contents)> {
        let mut found = Vec::with_capacity(ids.len());
        while found.len() < ids.len() {
            let before = found.len();
            let stopped = self.run_batch(&ids[before..], &mut found);
            if let Err(error) = stopped
                && let Some(id) = ids.get(found.len())
            {
                found.push(((*id).to_owned(), Err(BlobError::Unreadable(error))));
            }
        }
        found
    }

    /// Reads blobs until the end or the first failure. A blob that is too large ends the process; the next process continues
    /// after it.
    fn run_batch(&self, ids: &[&str], found: &mut Vec<(String, Contents)>) -> Result<(), String> {
        let input: Vec<u8> = ids.iter().flat_map(|id| id.bytes().chain([b'\n'])).collect();
        let command = self.git.command(&["cat-file", "--batch"]);
        let mut running = GitProcess::spawn_with_input(command, Some(input)).map_err(|problem| problem.message)?;
        for id in ids {
            let Some(contents) = self.read_object(&mut running) else {
                let (_, stderr_text) = running.wait();
                // Git exits at an object that must not be fetched.
                if stderr_text.contains("lazy fetch") || stderr_text.contains("could not fetch") {
                    found.push(((*id).to_owned(), Err(BlobError::Missing)));
                    return Ok(());
                }
                return Err(self.git.failure(&stderr_text).message);
            };
            let is_too_large = contents == Err(BlobError::TooLarge);
            found.push(((*id).to_owned(), contents));
            if is_too_large {
                running.kill();
                return Ok(());
            }
        }
        drop(running.wait());
        Ok(())
    }

    /// Reads one response: `ID blob SIZE`, the contents and a line end; or `ID missing`. None if Git has exited.
    fn read_object(&self, running: &mut GitProcess) -> Option<Contents> {
        let mut head = Vec::new();
        let read = running.stdout.by_ref().take(300).read_until(b'\n', &mut head).ok()?;
        if read == 0 {
            return None;
        }
        let head = String::from_utf8_lossy(&head);
        let words: Vec<&str> = head.split_whitespace().collect();
        let [_, "blob", size] = words[..] else { return Some(Err(BlobError::Missing)) };
        let size: u64 = size.parse().ok()?;
        {
            let mut all = self.read.lock();
            if size > LARGEST || *all + size > TOTAL_LIMIT {
                return Some(Err(BlobError::TooLarge));
            }
            *all += size;
        }
        let mut contents = vec![0; usize::try_from(size).ok()? + 1];
        running.stdout.read_exact(&mut contents).ok()?;
        contents.pop();
        Some(Ok(contents.into()))
    }
}

impl BlobStore for Objects {
    fn blob(&self, id: &str, limit: u64) -> Result<Arc<[u8]>, BlobError> {
        let look_up = || self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let contents = look_up().unwrap_or_else(|| {
            self.fetch([id]);
            look_up().unwrap_or(Err(BlobError::Missing))
        })?;
        if contents.len() as u64 > limit { Err(BlobError::TooLarge) } else { Ok(contents) }
    }
}
