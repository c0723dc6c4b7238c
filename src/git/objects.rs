//! Contents of files, from `git cat-file --batch`. What two revisions share is read once.

use std::{
    collections::{BTreeSet, HashMap},
    io::{BufRead as _, Read as _},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use rayon::prelude::*;

use super::run::{Git, GitError, Running};
use crate::vfs::{BlobError, Blobs};

/// The largest blob that is read, in bytes: what `config` takes of any file.
const LARGEST: u64 = 1024 * 1024;
/// All that is read together, in bytes.
const TOGETHER: u64 = 512 * 1024 * 1024;
/// So many are worth another process.
const CHUNK: usize = 4000;

type Contents = Result<Arc<[u8]>, BlobError>;

/// The blobs of a repository, as far as somebody asked for them.
pub(super) struct Objects {
    git: Git,
    known: RwLock<HashMap<String, Contents>>,
    read: Mutex<u64>,
}

impl Objects {
    pub(super) fn new(git: Git) -> Self {
        Self { git, known: RwLock::default(), read: Mutex::default() }
    }

    /// Reads many at once. What cannot be read is remembered as such.
    pub(super) fn fetch<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let wanted: BTreeSet<&str> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            ids.into_iter().filter(|id| !known.contains_key(*id)).collect()
        };
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let found: Vec<Vec<(String, Contents)>> = wanted.par_chunks(CHUNK).map(|ids| self.batch(ids)).collect();
        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(found.into_iter().flatten());
    }

    fn batch(&self, ids: &[&str]) -> Vec<(String, Contents)> {
        let mut found = Vec::with_capacity(ids.len());
        while found.len() < ids.len() {
            let before = found.len();
            let stopped = self.one_process(&ids[before..], &mut found);
            if let Err(error) = stopped
                && let Some(id) = ids.get(found.len())
            {
                found.push(((*id).to_owned(), Err(BlobError::Unreadable(error))));
            }
        }
        found
    }

    /// Reads until the end, or until something is in the way: a blob that is too large ends the process, and the
    /// next one begins behind it.
    fn one_process(&self, ids: &[&str], found: &mut Vec<(String, Contents)>) -> Result<(), String> {
        let input: Vec<u8> = ids.iter().flat_map(|id| id.bytes().chain([b'\n'])).collect();
        let command = self.git.command(&["cat-file", "--batch"]);
        let mut running = Running::feed(command, Some(input)).map_err(|error: GitError| error.message)?;
        for id in ids {
            let Some(contents) = self.next(&mut running) else {
                let (_, complaint) = running.end();
                // A promised object that must not be fetched ends Git.
                if complaint.contains("lazy fetch") || complaint.contains("could not fetch") {
                    found.push(((*id).to_owned(), Err(BlobError::Missing)));
                    return Ok(());
                }
                return Err(self.git.refused(&complaint).message);
            };
            let is_too_large = contents == Err(BlobError::TooLarge);
            found.push(((*id).to_owned(), contents));
            if is_too_large {
                running.stop();
                return Ok(());
            }
        }
        drop(running.end());
        Ok(())
    }

    /// One answer: `ID blob SIZE`, the contents and a line end; or `ID missing`. None if Git has ended.
    fn next(&self, running: &mut Running) -> Option<Contents> {
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
            let mut all = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if size > LARGEST || *all + size > TOGETHER {
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

impl Blobs for Objects {
    fn blob(&self, id: &str, limit: u64) -> Result<Arc<[u8]>, BlobError> {
        let look_up = || self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let contents = look_up().unwrap_or_else(|| {
            self.fetch([id]);
            look_up().unwrap_or(Err(BlobError::Missing))
        })?;
        if contents.len() as u64 > limit { Err(BlobError::TooLarge) } else { Ok(contents) }
    }
}
