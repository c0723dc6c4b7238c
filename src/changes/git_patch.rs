//! [`GitPatch`]: changes of whole text files as an e-mail that `git am` applies, with author, date and subject.
//!
//! [`profile_changes`] returns the files of a profile that a change concerns: its YAML, as `mailwright import` writes it, and the age
//! files of its secret. A file that exists is replaced as a whole, so the patch applies only if it has the contents that the patch
//! expects. Pure; nothing here runs Git.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;

use crate::model::{Digest, EnvironmentName, ProfileName, SecretReference, StoredProfile, file_text::render_profile};

/// The change of a text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The path in the repository.
    pub path: String,
    /// The earlier contents; none if the file is new.
    pub before: Option<String>,
    /// The later contents; none if the file is removed.
    pub after: Option<String>,
}

/// A patch.
#[derive(Clone, Debug)]
pub struct GitPatch {
    /// The name of the author.
    pub author: String,
    /// The time of the change.
    pub at: Timestamp,
    /// The first line of the commit message.
    pub subject: String,
    /// The reason of the author, for the commit message; can be empty.
    pub reason: String,
    /// A step that is left after the patch was applied, for the commit message.
    pub note: Option<String>,
    /// The changed files.
    pub files: Vec<FileChange>,
}

/// Returns the text of an age file; none if it is not text, or not known.
pub type AgeText<'a> = dyn Fn(&Digest) -> Option<String> + 'a;

/// Returns the digest of a file of a profile's secret, of the current value or of the next one.
pub fn file_digest<'a>(stored: &'a StoredProfile, file: &SecretReference) -> Option<&'a Digest> {
    match file.next_of() {
        Some(secret) => stored.next.get(&secret),
        None => stored.secrets.get(file),
    }
}

/// Returns the files of a profile that differ. `in_git` has the age files that Git has, of this profile and of others that share a
/// secret with it. An age file without a text is left out, and that of a secret that the profile does not use any more stays.
pub fn profile_changes(
    environment: &EnvironmentName,
    name: &ProfileName,
    (before, after): (Option<&StoredProfile>, Option<&StoredProfile>),
    in_git: &BTreeMap<SecretReference, Digest>,
    age_text: &AgeText<'_>,
) -> Vec<FileChange> {
    let text = |stored: Option<&StoredProfile>| stored.map(|stored| render_profile(&stored.profile));
    let mut files = vec![FileChange {
        path: format!("environments/{environment}/profiles/{name}.yaml"),
        before: text(before),
        after: text(after),
    }];
    for secret in after.iter().flat_map(|stored| stored.secrets.keys()) {
        for file in [secret.clone(), secret.next()] {
            let (earlier, later) = (in_git.get(&file), after.and_then(|stored| file_digest(stored, &file)));
            let (earlier_text, later_text) = (earlier.and_then(age_text), later.and_then(age_text));
            if earlier != later && later.is_some() == later_text.is_some() {
                files.push(FileChange {
                    path: format!("secrets/{environment}/{file}.age"),
                    before: earlier_text,
                    after: later_text,
                });
            }
        }
    }
    files.retain(|file| file.before != file.after);
    files
}

impl GitPatch {
    /// Returns the patch as an e-mail, as `git format-patch` writes it.
    pub fn to_mail(&self) -> String {
        // Writing to a String cannot fail.
        let mut out = String::from("From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n");
        let _ = writeln!(out, "From: {} <console@mailwright.invalid>", phrase(&self.author));
        let _ = writeln!(out, "Date: {}", self.at.strftime("%a, %d %b %Y %H:%M:%S +0000"));
        let _ = writeln!(out, "Subject: [PATCH] {}", one_line(&self.subject));
        out.push_str("MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n");
        if !self.reason.is_empty() {
            // With a word in front, no text can be taken for a header or the end of the message.
            let _ = writeln!(out, "Reason: {}\n", one_line(&self.reason));
        }
        if let Some(note) = &self.note {
            let _ = writeln!(out, "Note: {}\n", one_line(note));
        }
        out.push_str("---\n\n");
        for file in &self.files {
            write_file(&mut out, file);
        }
        let _ = write!(out, "-- \nmailwright {}\n\n", env!("CARGO_PKG_VERSION"));
        out
    }
}

/// Writes the difference of a file: every earlier line is removed, and every later one added.
fn write_file(out: &mut String, FileChange { path, before, after }: &FileChange) {
    let _ = writeln!(out, "diff --git a/{path} b/{path}");
    let (old, new) = match (before, after) {
        (None, _) => {
            out.push_str("new file mode 100644\n");
            ("/dev/null".to_owned(), format!("b/{path}"))
        }
        (_, None) => {
            out.push_str("deleted file mode 100644\n");
            (format!("a/{path}"), "/dev/null".to_owned())
        }
        _ => (format!("a/{path}"), format!("b/{path}")),
    };
    let (removed, added) = (lines(before.as_deref()), lines(after.as_deref()));
    // What both begin and end with is context.
    let start = removed.iter().zip(&added).take_while(|(one, other)| one == other).count();
    let rest = removed.len().min(added.len()) - start;
    let end = removed.iter().rev().zip(added.iter().rev()).take(rest).take_while(|(one, other)| one == other).count();
    let range = |lines: &[&str]| if lines.is_empty() { "0,0".to_owned() } else { format!("1,{}", lines.len()) };
    let _ = writeln!(out, "--- {old}\n+++ {new}\n@@ -{} +{} @@", range(&removed), range(&added));
    let mut write = |sign: char, part: &[&str]| {
        for line in part {
            let _ = write!(out, "{sign}{line}");
            if !line.ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        }
    };
    write(' ', &removed[..start]);
    write('-', &removed[start..removed.len() - end]);
    write('+', &added[start..added.len() - end]);
    write(' ', &removed[removed.len() - end..]);
}

fn lines(text: Option<&str>) -> Vec<&str> {
    text.unwrap_or_default().split_inclusive('\n').collect()
}

/// Returns a name for the header: without the characters that have a meaning there.
fn phrase(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || " ._-".contains(c) { c } else { '_' }).collect();
    let plain = plain.trim().to_owned();
    if plain.is_empty() { "console".to_owned() } else { plain }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_has_every_line_of_a_file_once() {
        let change = |before: Option<&str>, after: Option<&str>| {
            let mut out = String::new();
            let (before, after) = (before.map(str::to_owned), after.map(str::to_owned));
            write_file(&mut out, &FileChange { path: "f".to_owned(), before, after });
            out.split_once("@@ -").unwrap().1.to_owned()
        };
        assert_eq!(change(None, Some("a\nb\n")), "0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(change(Some("a\nb\nc\n"), Some("a\nx\nc\n")), "1,3 +1,3 @@\n a\n-b\n+x\n c\n");
        assert_eq!(change(Some("a\na\n"), Some("a\n")), "1,2 +1,1 @@\n a\n-a\n");
        assert_eq!(change(Some("a"), None), "1,1 +0,0 @@\n-a\n\\ No newline at end of file\n");
    }
}
