//! Text from elsewhere in Markdown: it stays text. No mention, link, table cell, code span or HTML begins in it.

use crate::text::{is_hidden, printable};

/// A name or value as a code span, also in a table. A code span notifies nobody.
pub fn code_span(text: &str) -> String {
    let text = printable(text).replace('`', "'").replace('|', "\\|");
    if text.trim().is_empty() { String::new() } else { format!("`{text}`") }
}

/// A sentence, also in a table. The code spans that it has stay; everything else is plain text.
pub fn inline(text: &str) -> String {
    let line: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    let line = printable(&line);
    // With an odd number of backticks one of them begins nothing.
    let has_spans = line.matches('`').count().is_multiple_of(2);
    let mut out = String::with_capacity(line.len() + 16);
    if has_spans {
        for (index, part) in line.split('`').enumerate() {
            if index % 2 == 1 {
                out.push_str(&format!("`{}`", part.replace('|', "\\|")));
            } else {
                plain(&mut out, part);
            }
        }
    } else {
        plain(&mut out, &line.replace('`', "'"));
    }
    out
}

/// Text outside of code spans.
fn plain(out: &mut String, text: &str) {
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        // What notifies a person or leaves a note on another issue: `@name`, `#1`, `!1`, wherever it stands in a word.
        let mut before = ' ';
        let mut refers = word.chars().peekable();
        let mut is_reference = false;
        while let Some(c) = refers.next() {
            let next = refers.peek().copied().unwrap_or(' ');
            is_reference |= !before.is_alphanumeric()
                && (c == '@' && next.is_alphanumeric() || matches!(c, '#' | '!') && next.is_ascii_digit());
            before = c;
        }
        if is_reference {
            out.push_str(&code_span(word));
            continue;
        }
        let mut before = ' ';
        for c in word.chars() {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '\\' | '|' | '*' | '~' => out.extend(['\\', c]),
                // Together with a text in brackets it would be a link.
                '(' | '[' | ':' if before == ']' => out.extend(['\\', c]),
                _ => out.push(c),
            }
            before = c;
        }
    }
}

/// A block of text as it is, whatever it holds.
pub fn fenced(text: &str) -> String {
    let text: String =
        text.chars()
            .map(|c| {
                if is_hidden(c) && c != '\n' {
                    printable(c.encode_utf8(&mut [0; 4])).into_owned()
                } else {
                    c.to_string()
                }
            })
            .collect();
    format!("```text\n{}\n```\n", text.replace("```", "'''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_span() {
        for (name, shown) in [
            ("@octocat", "`@octocat`"),
            ("a`b|c", "`a'b\\|c`"),
            ("x\n| forged |", "`x\\n\\| forged \\|`"),
            ("inv\u{202e}x", "`inv\\u202ex`"),
            ("", ""),
        ] {
            assert_eq!(code_span(name), shown);
        }
    }

    #[test]
    fn a_sentence_notifies_nobody_and_links_nowhere() {
        for (text, shown) in [
            ("the profile `relay` was refused", "the profile `relay` was refused"),
            ("ask @octocat, please", "ask `@octocat,` please"),
            ("(@octocat)", "`(@octocat)`"),
            ("see #12 and !7", "see `#12` and `!7`"),
            ("erp@example.com", "erp@example.com"),
            ("[click](https://evil.example)", "[click]\\(https://evil.example)"),
            ("error[MW0200]: [a][b]", "error[MW0200]\\: [a]\\[b]"),
            ("<img src=x> a | b & c", "&lt;img src=x> a \\| b &amp; c"),
            ("a `b @c` d", "a `b @c` d"),
            ("an odd ` @one", "an odd ' `@one`"),
            ("one\ntwo", "one two"),
        ] {
            assert_eq!(inline(text), shown);
        }
    }

    #[test]
    fn a_block_stays_a_block() {
        assert_eq!(fenced("one\n```\n@x\u{1b}"), "```text\none\n'''\n@x\\u001b\n```\n");
    }
}
