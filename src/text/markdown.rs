//! Escaping of text from other systems for Markdown, so that the result contains no link, mention, HTML, image, table
//! cell or other markup of theirs.
//!
//! | function | for |
//! | --- | --- |
//! | [`code_span`] | a name or value |
//! | [`escape_inline`] | a sentence, in which pairs of single backticks keep their meaning as code spans |
//! | [`html_text`] | a sentence within an HTML block, where Markdown is not read |
//! | [`code_block`] | several lines |

use crate::text::{is_hidden, printable};

/// Returns a name or value as a code span, also for a cell of a table. A code span cannot mention a person.
pub fn code_span(text: &str) -> String {
    let text = printable(text).replace('`', "'");
    if text.trim().is_empty() { String::new() } else { format!("`{}`", span_content(&text)) }
}

/// Returns a sentence as Markdown for a paragraph, a heading, a list item or a cell of a table.
///
/// Text between two single backticks stays a code span. Words that a renderer would turn into a link or a mention become
/// code spans. Everything else is plain text.
pub fn escape_inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for segment in segments(text) {
        match segment {
            Segment::Code(text) if text.is_empty() => {}
            // Two adjacent code spans would have two backticks between them, which would end neither of them.
            Segment::Code(text) if out.ends_with('`') => {
                out.pop();
                out.push_str(&span_content(&text));
                out.push('`');
            }
            Segment::Code(text) => out.push_str(&format!("`{}`", span_content(&text))),
            Segment::Plain(text) => escape(&mut out, &text),
        }
    }
    out
}

/// Returns a sentence as HTML for the inside of an HTML block, with code spans as `code` elements.
pub fn html_text(text: &str) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let html = |segment| match segment {
        Segment::Code(text) if text.is_empty() => String::new(),
        Segment::Code(text) => format!("<code>{}</code>", escaped(&text)),
        Segment::Plain(text) => escaped(&text),
    };
    segments(text).into_iter().map(html).collect()
}

/// A part of a sentence.
enum Segment {
    /// The content of a code span, without backticks.
    Code(String),
    /// Text without backticks and without words that a renderer would turn into links.
    Plain(String),
}

/// Splits a sentence at its backticks and at words that must be code spans.
fn segments(text: &str) -> Vec<Segment> {
    let line: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    let parts = split_at_single_backticks(&printable(&line));
    let mut segments = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        if index % 2 == 1 {
            segments.push(Segment::Code(part.clone()));
            continue;
        }
        let mut plain = String::new();
        for (index, word) in part.split(' ').enumerate() {
            if index > 0 {
                plain.push(' ');
            }
            if is_linked(word) {
                segments.push(Segment::Plain(std::mem::take(&mut plain)));
                segments.push(Segment::Code(word.to_owned()));
            } else {
                plain.push_str(word);
            }
        }
        segments.push(Segment::Plain(plain));
    }
    segments
}

/// Splits a line at single backticks, which GitHub Flavored Markdown pairs from left to right. Every second part is
/// between two of them. A backtick without a partner and runs of several become apostrophes.
fn split_at_single_backticks(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        let (before, run) = rest.split_at(at);
        let length = run.len() - run.trim_start_matches('`').len();
        if let Some(last) = parts.last_mut() {
            last.push_str(before);
            if length > 1 {
                last.push_str(&"'".repeat(length));
            }
        }
        if length == 1 {
            parts.push(String::new());
        }
        rest = &run[length..];
    }
    if let Some(last) = parts.last_mut() {
        last.push_str(rest);
    }
    if parts.len().is_multiple_of(2)
        && let Some(unpaired) = parts.pop()
        && let Some(last) = parts.last_mut()
    {
        last.push('\'');
        last.push_str(&unpaired);
    }
    parts
}

/// Returns true if a renderer makes a link of a word, or notifies a person or an issue because of it: an address, a
/// URL, `@name`, `#1`, `!1`, `GH-1`, and `owner/name#1`, which notifies another repository.
fn is_linked(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    if lower.contains("://") || lower.contains("www.") {
        return true;
    }
    if lower.match_indices("gh-").any(|(at, _)| lower[at + 3..].starts_with(|c: char| c.is_ascii_digit())) {
        return true;
    }
    let mut characters = word.chars().peekable();
    while let Some(c) = characters.next() {
        let next = characters.peek().copied().unwrap_or(' ');
        if matches!(c, '#' | '!') && next.is_ascii_digit() || c == '@' && next.is_alphanumeric() {
            return true;
        }
    }
    false
}

/// Escapes the content of a code span. A cell of a table ends at a pipe even there, and before a pipe renderers
/// disagree about the meaning of two backslashes.
fn span_content(text: &str) -> String {
    text.replace("\\|", "\\¦").replace('|', "\\|")
}

/// Appends text, which contains no backticks, so that none of its characters is markup.
fn escape(out: &mut String, text: &str) {
    let text = if out.is_empty() { text.trim_start() } else { text };
    let at_start = out.is_empty();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let mut previous = ' ';
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let next = characters.peek().map_or(' ', |(_, next)| *next);
        // At its start, a line can be a heading, a quotation, an item of a list, a ruler or an alert of GitHub.
        let is_block = at_start
            && (at == 0 && matches!(c, '#' | '>' | '-' | '+' | '=' | '[')
                || at > 0 && at == digits && matches!(c, '.' | ')'));
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '\\' | '|' | '*' | '~' | '$' => out.extend(['\\', c]),
            '_' if !previous.is_alphanumeric() || !next.is_alphanumeric() => out.extend(['\\', c]),
            // Together with a text in brackets it would be a link or its definition.
            '(' | '[' | ':' if previous == ']' => out.extend(['\\', c]),
            _ if is_block => out.extend(['\\', c]),
            _ => out.push(c),
        }
        previous = c;
    }
}

/// Returns several lines as a block of code.
pub fn code_block(text: &str) -> String {
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
    use proptest::prelude::*;

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
    fn a_sentence_mentions_no_person_and_contains_no_link() {
        for (text, shown) in [
            ("the profile `relay` was refused", "the profile `relay` was refused"),
            ("ask @octocat, please", "ask `@octocat,` please"),
            ("(@octocat)", "`(@octocat)`"),
            ("see #12 and !7", "see `#12` and `!7`"),
            ("see GH-12", "see `GH-12`"),
            ("see octocat/hello#12, a/b!7 or AB#3", "see `octocat/hello#12,` `a/b!7` or `AB#3`"),
            ("erp@example.com is accepted", "`erp@example.com` is accepted"),
            ("[click](https://evil.example)", "`[click](https://evil.example)`"),
            ("see WWW.evil.example", "see `WWW.evil.example`"),
            ("error[MW0200]: [a][b]", "error[MW0200]\\: [a]\\[b]"),
            ("<img src=x> a | b & c", "&lt;img src=x> a \\| b &amp; c"),
            ("a `b @c` d", "a `b @c` d"),
            ("an odd ` @one", "an odd ' `@one`"),
            ("a ``` and @one`", "a ''' and `@one'`"),
            ("@one`two`", "`@onetwo`"),
            ("a `b\\|c`", "a `b\\¦c`"),
            ("_a_ snake_case", "\\_a\\_ snake_case"),
            ("# title", "\\# title"),
            ("12. item", "12\\. item"),
            ("[!NOTE]", "\\[!NOTE]"),
            ("one\ntwo", "one two"),
        ] {
            assert_eq!(escape_inline(text), shown);
        }
    }

    #[test]
    fn html_text_has_code_elements_and_no_others() {
        assert_eq!(
            html_text("the `<b>` of @octocat & </summary><img src=x> `"),
            "the <code>&lt;b&gt;</code> of <code>@octocat</code> &amp; &lt;/summary&gt;&lt;img src=x&gt; '"
        );
    }

    /// Parts of sentences that begin or end markup in some place.
    fn hostile_text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            prop::sample::select(vec![
                "`",
                "``",
                "```",
                "~~~",
                "|",
                "\\",
                "\\|",
                "\\`",
                "[",
                "]",
                "(",
                ")",
                "!",
                "[x](y)",
                "![x](y)",
                "[x]: y",
                "[^1]",
                "[^1]: y",
                "[ ]",
                "[!NOTE]",
                "<",
                ">",
                "<b>",
                "</summary>",
                "<!--",
                "-->",
                "&lt;",
                "&",
                "*",
                "**",
                "_",
                "__",
                "~",
                "~~",
                "$",
                "$$",
                "#",
                "# ",
                "- ",
                "+ ",
                "1. ",
                "1) ",
                "> ",
                "---",
                "===",
                "    ",
                "\t",
                "\n",
                "\r\n",
                "@a",
                "a@b.example",
                "http://",
                "https://x.example",
                "www.",
                "www.x.example",
                "mailto:",
                "xmpp:a@b.example",
                "GH-1",
                "#1",
                ":",
                "'",
                "\"",
                "\u{a0}",
                "\u{200b}",
            ])
            .prop_map(str::to_owned),
            "[a-zA-Z0-9 .]{1,4}",
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    fn node_kinds(node: &markdown::mdast::Node, kinds: &mut Vec<String>) {
        let debug = format!("{node:?}");
        kinds.push(debug.split([' ', '{']).next().unwrap_or_default().to_owned());
        node.children().into_iter().flatten().for_each(|child| node_kinds(child, kinds));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_renderer_finds_only_text_and_code_spans(text in hostile_text()) {
            let shown = escape_inline(&text);
            for (document, containers) in [
                (format!("{shown}\n"), &["Root", "Paragraph"][..]),
                (format!("Seen: {shown}\n"), &["Root", "Paragraph"]),
                (format!("> {shown}\n"), &["Root", "Blockquote", "Paragraph"]),
                (format!("- {shown}\n"), &["Root", "List", "ListItem", "Paragraph"]),
                (format!("#### {shown}\n"), &["Root", "Heading"]),
                (format!("| a | b |\n| --- | --- |\n| {shown} | {} |\n", code_span(&text)), &["Root", "Table", "TableRow", "TableCell"]),
            ] {
                let tree = markdown::to_mdast(&document, &markdown::ParseOptions::gfm()).map_err(|error| TestCaseError::fail(error.to_string()))?;
                let mut kinds = Vec::new();
                node_kinds(&tree, &mut kinds);
                let is_expected = |kind: &String| matches!(kind.as_str(), "Text" | "InlineCode") || containers.contains(&kind.as_str());
                prop_assert!(kinds.iter().all(is_expected), "{document:?}: {kinds:?}");
                prop_assert!(kinds.iter().filter(|kind| *kind == "TableCell").count() % 4 == 0, "{document:?}: {kinds:?}");
            }
        }

        #[test]
        fn html_text_contains_no_other_element(text in hostile_text()) {
            let rest = html_text(&text).replace("<code>", "").replace("</code>", "");
            prop_assert!(!rest.contains(['<', '>', '`']), "{rest}");
        }
    }

    #[test]
    fn a_block_stays_a_block() {
        assert_eq!(code_block("one\n```\n@x\u{1b}"), "```text\none\n'''\n@x\\u001b\n```\n");
    }
}
