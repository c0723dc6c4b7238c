//! [`read_patch`]: reads a patch that [`super::git_patch`] wrote.
//!
//! Such a patch has the whole contents of each file, before and after. Another patch, or one that was changed, is an error. Names of
//! files are not judged here.

use super::git_patch::FileChange;

/// Reads the files of a patch. The error names what is wrong with it.
pub fn read_patch(mail: &str) -> Result<Vec<FileChange>, String> {
    // A mail program may have stored it with CRLF.
    let mail = mail.replace("\r\n", "\n");
    let (_, body) = mail.split_once("\n---\n").ok_or("it has no part with differences")?;
    let body = body.rsplit_once("\n-- \nmailwright ").ok_or("it does not end as a patch of Mailwright does")?.0;
    let files: Vec<&str> = body.split("\ndiff --git a/").skip(1).collect();
    if files.is_empty() {
        return Err("it has no file".to_owned());
    }
    files.into_iter().map(read_file).collect()
}

fn read_file(text: &str) -> Result<FileChange, String> {
    let mut lines = text.split_inclusive('\n');
    let head = lines.next().unwrap_or_default().trim_end();
    let path = head.split_once(" b/").map(|(path, _)| path.to_owned());
    let path = path.filter(|path| head == format!("{path} b/{path}"));
    let path = path.ok_or("the head of a file is not understood")?;
    let damaged = || format!("the differences of `{path}` are damaged");
    let range = lines.find_map(|line| line.strip_prefix("@@ -")).ok_or_else(damaged)?;
    let (old, new) =
        range.trim_end().strip_suffix(" @@").and_then(|range| range.split_once(" +")).ok_or_else(damaged)?;
    let (mut before, mut after) = (Side::default(), Side::default());
    let mut last = "";
    for line in lines {
        let (sign, rest) = line.split_at_checked(1).ok_or_else(damaged)?;
        match sign {
            "+" => after.text.push_str(rest),
            "-" => before.text.push_str(rest),
            " " => [&mut before, &mut after].into_iter().for_each(|side| side.text.push_str(rest)),
            // The line above ends without a line feed.
            "\\" => {
                before.is_unended |= last != "+";
                after.is_unended |= last != "-";
            }
            _ => return Err(damaged()),
        }
        last = sign;
    }
    let before = before.whole(old, damaged)?;
    let after = after.whole(new, damaged)?;
    Ok(FileChange { path: path.clone(), before, after })
}

/// One side of the differences of a file.
#[derive(Default)]
struct Side {
    text: String,
    /// True if the file does not end with a line feed.
    is_unended: bool,
}

impl Side {
    /// Returns the contents of the file, none without a file. It is an error if the range says that they are not whole.
    fn whole(mut self, range: &str, damaged: impl Fn() -> String) -> Result<Option<String>, String> {
        // The last line of a part has lost its line feed, or has one that the file does not have.
        self.text.truncate(self.text.strip_suffix('\n').unwrap_or(&self.text).len());
        if !self.text.is_empty() && !self.is_unended {
            self.text.push('\n');
        }
        let expected = match self.text.lines().count() {
            0 => "0,0".to_owned(),
            count => format!("1,{count}"),
        };
        if range == expected { Ok((!self.text.is_empty()).then_some(self.text)) } else { Err(damaged()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use jiff::Timestamp;

    use super::*;
    use crate::changes::git_patch::GitPatch;

    #[test]
    fn a_patch_is_read_as_it_was_written() {
        let change = |path: &str, before: Option<&str>, after: Option<&str>| FileChange {
            path: path.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let files = vec![
            change("environments/dev/profiles/a.yaml", Some("a: 1\nb: 2\nc: 3\n"), Some("a: 1\nb: 4\nc: 3\n")),
            change("environments/dev/profiles/b.yaml", None, Some("# -- \n---\n-- \nx\n")),
            change("secrets/dev/a/password.age", Some("one\ntwo\n"), None),
            change("secrets/dev/b/password.age", Some("one\ntwo"), Some("one\nthree")),
            change("secrets/dev/c/password.age", Some("one\ntwo"), Some("one\ntwo\n")),
        ];
        let patch = GitPatch {
            author: "ann".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            subject: "s".to_owned(),
            reason: "r\n---\n".to_owned(),
            note: None,
            files: files.clone(),
        };
        assert_eq!(read_patch(&patch.to_mail()).unwrap(), files);
        assert_eq!(read_patch(&patch.to_mail().replace('\n', "\r\n")).unwrap(), files);
        for (from, to) in [("+b: 4\n", ""), ("@@ -1,3", "@@ -2,3"), ("\n-- \nmailwright", "\n"), ("\n---\n", "\n")] {
            assert!(read_patch(&patch.to_mail().replacen(from, to, 1)).is_err(), "{from}");
        }
    }
}
