//! Folding of text to the width of a terminal.
//!
//! Lines are broken at spaces. Continuation lines are indented like the text that they continue: behind a label
//! (`service      ...`), a list mark or a field name. A word is never broken, so URLs, paths and hashes can be copied. Text
//! between back quotes stays on one line if it fits. A command line for a shell is continued with ` \`, so that it still
//! can be copied as a whole.

use unicode_width::UnicodeWidthStr as _;

/// The largest indentation of continuation lines, as a part of the width.
const MAX_INDENT: usize = 3;
/// Programs whose command lines are continued with a backslash.
const PROGRAMS: &[&str] =
    &["mailwright", "az", "git", "curl", "openssl", "ssh-keygen", "age-keygen", "export", "printf"];

/// Folds every line of a text that is wider than `width` columns. ANSI colours have no width.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        if visible_width(line) <= width { lines.push(line.to_owned()) } else { lines.extend(wrap_line(line, width)) }
    }
    lines.join("\n")
}

/// Returns the number of columns of a text without its ANSI colours.
pub(crate) fn visible_width(text: &str) -> usize {
    let mut columns = 0;
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[") {
        let (before, escape) = rest.split_at(start);
        columns += before.width();
        rest = escape.find(|end: char| end.is_ascii_alphabetic()).map_or("", |end| &escape[end + 1..]);
    }
    columns + rest.width()
}

/// Folds one line.
fn wrap_line(line: &str, width: usize) -> Vec<String> {
    let indent = indentation(line).min(width / MAX_INDENT);
    let is_command = is_command(line);
    // Two columns are kept for the backslash of a continued command.
    let room = if is_command { width.saturating_sub(2) } else { width };
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut is_first_word = true;
    for word in split_words(line, width - indent) {
        if !is_first_word && visible_width(&current) + visible_width(word.trim_end()) > room {
            let end = current.trim_end();
            lines.push(if is_command { format!("{end} \\") } else { end.to_owned() });
            current = " ".repeat(indent);
        }
        current.push_str(word);
        is_first_word = is_first_word && word.trim().is_empty();
    }
    lines.push(current.trim_end().to_owned());
    lines
}

/// Returns the column at which the text of a line begins, behind its indentation and its label or mark.
fn indentation(line: &str) -> usize {
    let leading = line.len() - line.trim_start_matches(' ').len();
    let text = &line[leading..];
    for mark in ["- ", "* ", "> ", "+ ", "~ ", "help: ", "$ "] {
        if text.starts_with(mark) {
            return leading + mark.len();
        }
    }
    // A label is one or two words, and at least two spaces follow it.
    let label = text.find("  ").filter(|end| *end <= 24 && text[..*end].matches(' ').count() <= 1);
    match label {
        Some(end) => {
            let gap = text[end..].len() - text[end..].trim_start_matches(' ').len();
            leading + visible_width(&text[..end]) + gap
        }
        None if leading > 0 => leading + 2,
        None => 0,
    }
}

/// Returns true if a line is a command to copy.
fn is_command(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches(['>', '$']).trim_start();
    let text = text.rsplit(" | ").next().unwrap_or(text);
    let Some((program, arguments)) = text.split_once(' ') else { return false };
    // A sentence that begins with the name of a program is not a command: it ends with a full stop.
    PROGRAMS.contains(&program) && !arguments.ends_with('.')
}

/// Splits a line into words with the spaces that follow them. A quoted or back-quoted text that is not wider than `room`
/// is one word.
fn split_words(line: &str, room: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut has_text = false;
    let mut quote: Option<char> = None;
    let mut was_space = false;
    for (at, character) in line.char_indices() {
        if was_space && character != ' ' && has_text && quote.is_none() {
            words.push(&line[start..at]);
            start = at;
        }
        has_text = has_text || character != ' ';
        let opens = at == start || line[start..at].ends_with(['(', '=', ' ']) || line[start..at].trim().is_empty();
        match quote {
            Some(open) if open == character => quote = None,
            None if matches!(character, '`' | '\'' | '"') && opens => {
                // Only a text that ends on this line and fits is kept together.
                let rest = &line[at + character.len_utf8()..];
                quote = rest.find(character).filter(|end| rest[..*end].width() + 2 <= room).map(|_| character);
            }
            _ => {}
        }
        was_space = character == ' ';
    }
    words.push(&line[start..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_at_spaces_and_indented_behind_its_label() {
        assert_eq!(wrap("service      one two three four", 24), "service      one two\n        three four");
        assert_eq!(wrap("service      one two three four", 40), "service      one two three four");
        assert_eq!(wrap("  - one two three four", 14), "  - one two\n    three four");
        assert_eq!(wrap("one two three", 8), "one two\nthree");
    }

    #[test]
    fn words_urls_and_quoted_texts_stay_whole() {
        let url = "https://example.com/a/very/long/path/that/does/not/fit";
        assert_eq!(wrap(&format!("see {url} now"), 20), format!("see\n{url}\nnow"));
        assert_eq!(wrap("run `mailwright plan` and wait", 20), "run\n`mailwright plan`\nand wait");
        assert_eq!(wrap("it is the user's own fault, is it", 20), "it is the user's own\nfault, is it");
        assert_eq!(wrap("chmod 700 \"it's a folder\"", 20), "chmod 700\n\"it's a folder\"");
    }

    #[test]
    fn a_command_stays_copyable() {
        assert_eq!(
            wrap("  > mailwright token create prod --name erp", 30),
            "  > mailwright token create \\\n    prod --name erp"
        );
        assert_eq!(wrap("df -h | mailwright send prod --to a", 30), "df -h | mailwright send prod \\\n--to a");
    }

    #[test]
    fn colours_have_no_width() {
        let text = "\u{1b}[1mone two\u{1b}[0m";
        assert_eq!(visible_width(text), 7);
        assert_eq!(wrap(text, 7), text);
    }
}
