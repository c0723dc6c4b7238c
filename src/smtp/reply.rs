//! Replies of a mail server (RFC 5321, section 4.2), read as bytes.
//!
//! [`ReplyParser`] receives bytes and returns a [`Reply`] when it is complete. The code of a reply has the meaning; its text is for
//! people, may have any encoding, and is made printable. Lines end with CRLF or LF. Long lines and lines after the 200th are cut. A
//! first line without a code, or a reply of more than 16 MiB that is not a refusal, is a [`MalformedReply`].
//!
//! Nothing here connects, waits or interprets a reply.

use std::fmt;

use crate::text::is_hidden;
use crate::text::redaction::Redaction;

/// Bytes of one line that are kept. What follows is read as far as a secret can reach that begins before, and then dropped.
const LINE_KEPT: usize = 1000;
/// Bytes of one reply that are read, the dropped ones included: its end has the code that decides.
const REPLY_LIMIT: usize = 16 * 1024 * 1024;
/// Lines of one reply that are kept.
const LINES_KEPT: usize = 200;
/// Characters of a reply that are shown.
const SHOWN: usize = 300;

/// A complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    lines: Vec<String>,
    is_cut: bool,
    is_mixed: bool,
}

/// A reply that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReply {
    /// The line does not begin with three digits.
    #[error("the peer is not a mail server: `{0}`")]
    NoCode(String),
    /// The reply exceeds the size limit.
    #[error("a reply of more than {} MiB", REPLY_LIMIT / 1024 / 1024)]
    TooLong,
}

/// Parses replies from a stream of bytes.
#[derive(Debug, Default)]
pub struct ReplyParser {
    line: Vec<u8>,
    lines: Vec<ReplyLine>,
    /// The code of the first line that had one.
    first_code: Option<u16>,
    /// True if a line had a code of another class than the first.
    is_mixed: bool,
    total: usize,
    redaction: Redaction,
}

/// The text of a line.
#[derive(Debug)]
struct ReplyLine {
    kept: String,
    /// The text behind it. It is dropped after the search for secrets, which can begin in what is kept.
    dropped: String,
}

/// A line of a reply.
enum Line {
    /// The last line, with the code.
    Last(u16, ReplyLine),
    /// A line that is followed by others.
    Continued(u16, ReplyLine),
    /// A text without a code.
    Bare(ReplyLine),
}

impl ReplyLine {
    /// Decodes text of unknown encoding as UTF-8, and divides it at a character.
    fn new(bytes: &[u8]) -> Self {
        let mut at = bytes.len().min(LINE_KEPT);
        while at > 0 && at < bytes.len() && bytes[at] & 0b1100_0000 == 0b1000_0000 {
            at -= 1;
        }
        Self { kept: printable(&bytes[..at]), dropped: printable(&bytes[at..]) }
    }
}

/// Replaces secrets in the text of lines, and returns what is kept of each.
fn redacted(lines: Vec<ReplyLine>, redaction: &Redaction) -> Vec<String> {
    let mut texts: Vec<String> = lines.into_iter().flat_map(|line| [line.kept, line.dropped]).collect();
    redaction.apply(&mut texts);
    texts.into_iter().step_by(2).collect()
}

impl Reply {
    /// Returns the three digits as a number.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Returns the text of each line, without codes. There is at least one line.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Returns true for 2xx.
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// Returns true for 3xx: the server waits for more.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// Returns true for 4xx.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// Returns true if the end of the reply was not read, so that the connection cannot be used any more.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns true if the lines have codes of different classes: `550-no`, then `250 ok`.
    pub fn is_mixed(&self) -> bool {
        self.is_mixed
    }

    /// Adds a line of text at the end.
    pub(super) fn push_line(&mut self, line: &str) {
        self.lines.push(printable(line.as_bytes()));
    }

    /// Replaces secrets in the text of all lines.
    pub(super) fn redact(&mut self, redaction: &Redaction) {
        redaction.apply(&mut self.lines);
    }
}

/// Writes the code and the text on one line, truncated.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.lines.join(" ");
        let text = format!("{} {}", self.code, text.trim());
        f.write_str(&text.trim_end().chars().take(SHOWN).collect::<String>())
    }
}

impl ReplyParser {
    /// Replaces a secret wherever a reply repeats it, from now on.
    pub(super) fn hide(&mut self, secret: &str) {
        self.redaction.add(secret);
    }

    /// Returns the secrets that are replaced.
    pub(super) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// Reads bytes up to the end of the reply. Returns how many were read, and the reply if it is complete; what
    /// follows belongs to the next one.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(usize, Option<Reply>), MalformedReply> {
        let read = LINE_KEPT + self.redaction.longest();
        for (at, byte) in bytes.iter().enumerate() {
            self.total += 1;
            if *byte == b'\n' {
                if let Some(reply) = self.end_line(false)? {
                    return Ok((at + 1, Some(reply)));
                }
            } else if self.line.len() < read {
                self.line.push(*byte);
            }
            if self.total >= REPLY_LIMIT {
                return self.end_reply().map(|reply| (at + 1, Some(reply)));
            }
        }
        Ok((bytes.len(), None))
    }

    /// Returns the last reply after the end of the connection, if only its line end is missing.
    pub fn finish(&mut self) -> Option<Reply> {
        if self.line.is_empty() { None } else { self.end_line(true).ok().flatten() }
    }

    /// Returns true if nothing of a reply was read yet.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Ends a reply at the size limit: a last line without an end still has a code, and so has a refusal whose last line is
    /// missing. After a success a refusal could follow.
    fn end_reply(&mut self) -> Result<Reply, MalformedReply> {
        if let Some(reply) = self.end_line(true).ok().flatten() {
            return Ok(reply);
        }
        match self.first_code {
            Some(code @ 400..) if !self.is_mixed => Ok(self.take_reply(code, true)),
            _ => Err(MalformedReply::TooLong),
        }
    }

    /// Returns what was read as a reply, and begins the next one.
    fn take_reply(&mut self, code: u16, is_cut: bool) -> Reply {
        let lines = redacted(std::mem::take(&mut self.lines), &self.redaction);
        let is_mixed = std::mem::take(&mut self.is_mixed);
        (self.first_code, self.total) = (None, 0);
        Reply { code, lines, is_cut, is_mixed }
    }

    fn end_line(&mut self, is_cut: bool) -> Result<Option<Reply>, MalformedReply> {
        let line = std::mem::take(&mut self.line);
        match read_line(&line) {
            Line::Last(code, text) => {
                self.keep_line(text);
                self.record_code(code);
                Ok(Some(self.take_reply(code, is_cut)))
            }
            Line::Continued(code, text) => {
                self.record_code(code);
                self.keep_line(text);
                Ok(None)
            }
            // Some servers break long texts without repeating the code.
            Line::Bare(text) if self.first_code.is_some() => {
                self.keep_line(text);
                Ok(None)
            }
            // Some servers send an empty line before their greeting.
            Line::Bare(text) if text.kept.is_empty() && line.iter().all(u8::is_ascii_whitespace) => Ok(None),
            Line::Bare(text) => {
                let text: String = redacted(vec![text], &self.redaction).concat().chars().take(60).collect();
                (self.lines, self.total) = (Vec::new(), 0);
                Err(MalformedReply::NoCode(text))
            }
        }
    }

    fn record_code(&mut self, code: u16) {
        let first = *self.first_code.get_or_insert(code);
        self.is_mixed |= first / 100 != code / 100;
    }

    fn keep_line(&mut self, line: ReplyLine) {
        if self.lines.len() < LINES_KEPT {
            self.lines.push(line);
        } else if let Some(last) = self.lines.last_mut()
            && last.dropped.len() < self.redaction.longest()
        {
            last.dropped.extend([line.kept, line.dropped]);
        }
    }
}

/// Parses a line without its LF.
fn read_line(line: &[u8]) -> Line {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (digits, rest) = line.split_at(line.len().min(3));
    let code =
        digits.iter().try_fold(0_u16, |code, byte| byte.is_ascii_digit().then(|| code * 10 + u16::from(byte - b'0')));
    match (code, rest.first()) {
        (Some(code @ 200..=599), Some(b'-')) if digits.len() == 3 => Line::Continued(code, ReplyLine::new(&rest[1..])),
        // The text may be missing, and so may the space before it; with a fourth digit it is not a code.
        (Some(code @ 200..=599), next) if digits.len() == 3 && !next.is_some_and(u8::is_ascii_digit) => {
            Line::Last(code, ReplyLine::new(rest))
        }
        _ => Line::Bare(ReplyLine::new(line)),
    }
}

/// Decodes text of unknown encoding as UTF-8, with replacement characters, and makes it printable.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::*;

    const SECRET: &str = "Sup3r-S3cret/Pa55-é";

    fn shown(line: &[u8]) -> String {
        let mut parser = ReplyParser::default();
        parser.hide(SECRET);
        let (_, reply) = parser.push(line).unwrap();
        reply.unwrap().lines().collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_secret_across_the_end_of_what_is_kept_of_a_line_is_removed() {
        let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let json: String = SECRET.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        for written in [SECRET, &percent, &json] {
            for kept in 0..=written.len() {
                let before = "-".repeat(LINE_KEPT - "  ".len() - kept);
                let text = shown(format!("535 {before} {written} and more\r\n").as_bytes());
                let rest = text.trim_start_matches('-').replace('…', "");
                assert!(rest.trim().is_empty(), "{kept} of {written}: {rest}");
                assert!(text.len() <= LINE_KEPT + '…'.len_utf8(), "{}", text.len());
            }
        }
        // The rest of a line is not shown, however much of it is secret.
        let many = shown(format!("535 {}{}\r\n", format!("{SECRET} ").repeat(60), "x".repeat(2000)).as_bytes());
        assert!(!many.contains('x') && !many.contains("S3cret"), "{many}");
        // Nor is a secret that begins in the last line that is kept.
        let lines = format!("535-{}\r\n", "x").repeat(LINES_KEPT - 1);
        let text = shown(format!("{lines}535-Sup3r-S3c\r\n535-ret/Pa\r\n535 55-é\r\n").as_bytes());
        assert_eq!(text.lines().last(), Some("…"));
    }
}
