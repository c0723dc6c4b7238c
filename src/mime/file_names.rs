//! Names of files that the header fields of a message state, read from its bytes without the parser.
//!
//! A parser decides for one of several fields, for one order of sections (RFC 2231) and for one structure of parts. Mail programs
//! decide otherwise, so [`find_stated_name`] visits what any of them could take for a name: of every line that begins a
//! `Content-Type` or `Content-Disposition`, wherever it is, of every parameter, and of sections with gaps or repetitions. What
//! cannot be decoded is visited as it is; a value without quotes is visited up to each end that programs know; a value of more
//! than 256 KiB is cut. Nothing here decides which names are allowed.

use std::collections::{BTreeMap, HashSet};

use super::field::decode_words;
use crate::text::percent_decode;

/// The fields that state names.
const FIELDS: [&[u8]; 2] = [b"content-type", b"content-disposition"];
/// The end of the names of the parameters.
const KEY: &str = "name";
/// The longest value that is read, in bytes. A longer one ends there.
const VALUE: usize = 256 * 1024;
/// The characters that end a value without quotes. Programs differ: some read blanks as a part of it, others stop at every
/// character that a token cannot have (RFC 2045).
const ENDS: [&str; 4] = [";", ";,", ";, \t\u{b}\u{c}", ";, \t\u{b}\u{c}()<>@:\\\"/[]?="];

/// The value of a parameter, once for each of [`ENDS`]; none if an earlier value has the same end.
type Texts = [Option<String>; ENDS.len()];

/// Calls `found` with every name that a field of the message states, until it returns a result.
pub(super) fn find_stated_name<T>(message: &[u8], mut found: impl FnMut(&str) -> Option<T>) -> Option<T> {
    let mut from = 0;
    while from < message.len() {
        let end = line_end(message, from);
        let line = &message[from..end];
        from = next_line(message, end);
        let Some(value) = value_of_field(line) else { continue };
        let mut value = value.to_vec();
        // Folded lines belong to the value.
        while matches!(message.get(from), Some(b' ' | b'\t')) {
            let end = line_end(message, from);
            if value.len() < VALUE {
                value.extend_from_slice(&message[from..end]);
            }
            from = next_line(message, end);
        }
        let text = String::from_utf8_lossy(&value[..value.len().min(VALUE)]);
        if let Some(result) = stated_names(&text).iter().find_map(|name| found(name)) {
            return Some(result);
        }
    }
    None
}

/// Returns where a line ends. A lone CR ends a line as well: it does on the way.
fn line_end(message: &[u8], from: usize) -> usize {
    memchr::memchr2(b'\r', b'\n', &message[from..]).map_or(message.len(), |at| from + at)
}

fn next_line(message: &[u8], end: usize) -> usize {
    if message[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 }
}

/// Returns the value of a line that begins one of the fields.
fn value_of_field(line: &[u8]) -> Option<&[u8]> {
    if !matches!(line.first(), Some(b'c' | b'C')) {
        return None;
    }
    let colon = line.iter().take(80).position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii();
    FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)).then(|| &line[colon + 1..])
}

/// Returns the names that the value of a field states, with encoded words decoded.
fn stated_names(value: &str) -> Vec<String> {
    let lower = value.to_ascii_lowercase();
    let (mut names, mut extended) = (Vec::new(), Vec::new());
    let mut sections: [BTreeMap<u32, Vec<String>>; ENDS.len()] = Default::default();
    let mut read_until = [0; ENDS.len()];
    let mut at = 0;
    // `filename` ends with `name` as well. The search continues within the value: what looks like a name in one parameter can hide
    // the next one.
    while let Some(found) = lower[at..].find(KEY) {
        at += found + KEY.len();
        let is_extended = value[at..].starts_with('*');
        let (number, rest) = section_number(&value[at..]);
        let Some(rest) = rest.trim_start().strip_prefix('=') else { continue };
        let texts = read_texts(value, value.len() - rest.trim_start().len(), &mut read_until);
        match number {
            Some(number) => {
                for (sections, text) in sections.iter_mut().zip(texts) {
                    sections.entry(number).or_default().extend(text);
                }
            }
            None if is_extended => extended.extend(texts.into_iter().flatten()),
            None => names.extend(texts.into_iter().flatten()),
        }
    }
    for sections in sections.iter().filter(|sections| !sections.is_empty()) {
        // All sections; and those without a gap, of the first and of the last that have each number.
        extended.push(sections.values().flatten().map(String::as_str).collect());
        let in_order = || (0..).map_while(|number| sections.get(&number));
        extended.push(in_order().filter_map(|texts| texts.first()).map(String::as_str).collect());
        extended.push(in_order().filter_map(|texts| texts.last()).map(String::as_str).collect());
    }
    // Mail programs differ in whether they decode such a value.
    names.extend(extended.into_iter().flat_map(|text| [decode_extended(&text), text]));
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names.iter().flat_map(|name| readings(name)).collect()
}

/// Returns a name as mail programs read it: with encoded words decoded strictly and tolerantly, and cut at a NUL.
pub(super) fn readings(name: &str) -> Vec<String> {
    let mut readings = vec![decode_words(name), decode_tolerantly(name)];
    let cut = readings.iter().filter_map(|reading| Some(reading.split_once('\0')?.0.to_owned()));
    readings.extend(cut.collect::<Vec<_>>());
    readings.dedup();
    readings
}

/// Decodes encoded words as tolerant programs do: also next to other text, and base64 without padding or with characters that
/// are not of its alphabet.
fn decode_tolerantly(text: &str) -> String {
    let (mut decoded, mut rest, mut follows_word) = (String::new(), text, false);
    while let Some(start) = rest.find("=?") {
        let (before, word) = rest.split_at(start);
        let mut parts = word[2..].splitn(3, '?');
        let (charset, encoding, tail) =
            (parts.next(), parts.next(), parts.next().and_then(|tail| tail.split_once("?=")));
        let (Some(charset), Some(encoding), Some((content, after))) = (charset, encoding, tail) else {
            // No complete word follows either.
            break;
        };
        // Blanks between two encoded words are not part of the text.
        if !(follows_word && before.trim().is_empty()) {
            decoded.push_str(before);
        }
        let content = if encoding.eq_ignore_ascii_case("b") { complete_base64(content) } else { content.to_owned() };
        decoded.push_str(&decode_words(&format!("=?{charset}?{encoding}?{content}?=")));
        (rest, follows_word) = (after, true);
    }
    decoded + rest
}

/// Keeps the base64 characters before the padding, and adds the padding that they need.
fn complete_base64(text: &str) -> String {
    let is_base64 = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    let mut kept: String = text.chars().take_while(|c| *c != '=').filter(is_base64).collect();
    // A single last character has fewer bits than a byte.
    if kept.len() % 4 == 1 {
        kept.pop();
    }
    let padding = kept.len().wrapping_neg() % 4;
    kept + &"=".repeat(padding)
}

/// Decodes an extended value (RFC 2231): `charset'language'`, then bytes as `%2E`. Letters of names that matter are ASCII.
fn decode_extended(text: &str) -> String {
    let value = text.splitn(3, '\'').nth(2).unwrap_or(text);
    String::from_utf8_lossy(&percent_decode(value.as_bytes())).into_owned()
}

/// Splits the mark of an extended or continued parameter off (RFC 2231): `*`, `*0`, `*0*`.
fn section_number(text: &str) -> (Option<u32>, &str) {
    let Some(mark) = text.strip_prefix('*') else { return (None, text) };
    let digits = mark.len() - mark.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = mark.split_at(digits);
    (number.parse().ok(), rest.strip_prefix('*').unwrap_or(rest))
}

/// Reads the value of a parameter that begins at `start`. `read_until` has the end of the last value without quotes for each of
/// [`ENDS`]: a later value with the same end has the same last characters, and reading it again would take quadratic time.
fn read_texts(value: &str, start: usize, read_until: &mut [usize; ENDS.len()]) -> Texts {
    let (mut start, mut unclosed) = (start, None);
    if let Some(quoted) = value[start..].strip_prefix('"') {
        let (content, is_closed) = read_quoted(quoted);
        if is_closed {
            return std::array::from_fn(|_| Some(content.clone()));
        }
        (start, unclosed) = (start + 1, Some(content));
    }
    std::array::from_fn(|kind| {
        if let Some(content) = unclosed.take() {
            return Some(content);
        }
        if start < read_until[kind] {
            return None;
        }
        let end = value[start..].find(|c| ENDS[kind].contains(c)).map_or(value.len(), |at| start + at);
        read_until[kind] = end;
        Some(value[start..end].trim().to_owned())
    })
}

/// Returns the text up to the closing quote, and true if there is one.
fn read_quoted(quoted: &str) -> (String, bool) {
    let mut content = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => return (content, true),
            '\\' => content.extend(characters.next()),
            c => content.push(c),
        }
    }
    (content, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(message: &str) -> Vec<String> {
        let mut names = Vec::new();
        find_stated_name::<()>(message.as_bytes(), |name| {
            names.push(name.to_owned());
            None
        });
        names
    }

    #[test]
    fn every_name_that_a_program_could_read_is_found() {
        for message in [
            "Content-Disposition: attachment; filename=a.exe\r\n",
            "Content-Disposition: attachment; filename=a.txt\r\nContent-Disposition: attachment; filename=a.exe\r\n",
            "Content-Disposition: attachment; filename=a.exe\r\nContent-Disposition: attachment; filename=a.txt\r\n",
            "X: b\rContent-Disposition: attachment; filename=a.exe\r\r",
            "content-type :\n application/pdf;\n\tNAME\n =\n \"a.e\\xe\"\n",
            "Content-Type: application/pdf; name*0=a.exe; name*2=.txt\r\n",
            "Content-Type: application/pdf; name*1=exe; name*0=a.\r\n",
            "Content-Type: application/pdf; name*0=a.exe; name*0=b.txt\r\n",
            "Content-Type: application/pdf; name*0=b.txt; name*0=a.exe\r\n",
            "Content-Disposition: attachment; filename=\"=?utf-8?B?YS5l?= =?utf-8?B?eGU=?=\"\r\n",
            "Content-Disposition: attachment; filename=\"=?utf-8?B?YS5leGU?=\"\r\n",
            "Content-Disposition: attachment; filename=\"=?utf-8?b?YS5l*eGU=?=\"\r\n",
            "Content-Disposition: attachment; filename=\"=?utf-8?B?YS5l?= =?utf-8?B?eGU?=\"\r\n",
            "Content-Disposition: attachment; filename=\"=?utf-8?B?YS4?=exe\"\r\n",
            "Content-Disposition: attachment; filename=\"=?utf-8?B?YS4?= =?utf-8?Q?exe?=\"\r\n",
            "Content-Disposition: attachment; filename=\"a.=?iso-8859-1?Q?e=78e?=\"\r\n",
            "Content-Disposition: attachment; filename=\"=?a=?utf-8?B?YS5leGU?=\"; filename*=utf-8''a.exe%00.txt\r\n",
            "Content-Disposition: attachment, filename=a.exe, x\r\n",
            "text\r\n--\r\nContent-Disposition: attachment; filename=a.exe",
            "Content-Disposition: attachment; filename*=utf-8''a%2Eexe\r\n",
            "Content-Disposition: attachment; filename*0*=utf-8'en'a%2e; filename*1=exe\r\n",
            "Content-Type: application/pdf; name*=iso-8859-1''a.exe\r\n",
            "Content-Disposition: attachment; filename=a.exe x\r\n",
            "Content-Disposition: attachment; filename=a.exe\tx.txt\r\n",
            "Content-Disposition: attachment; filename=a.exe\r\n x.txt\r\n",
            "Content-Disposition: attachment; filename=a.exe(x).txt\r\n",
            "Content-Disposition: attachment; filename=a.exe\"x\r\n",
            "Content-Disposition: attachment; filename=\"a.exe; x=y\r\n",
            "Content-Disposition: attachment; filename*0=a. x; filename*1=exe x\r\n",
            "Content-Disposition: attachment; filename*=utf-8''a%2eexe x\r\n",
            "Content-Disposition: attachment; x=\"name=\"; filename=a.exe; y=\"z\"\r\nContent-Disposition: attachment; filename=a.txt\r\n",
            "Content-Disposition: attachment; x=\"name=\"; filename=\"a.exe\"; y=\"z\"\r\n",
            "Content-Disposition: attachment; x=\"name*0=\"; filename*0=a.; filename*1=exe; y=\"z\"\r\n",
        ] {
            assert!(names(message).iter().any(|name| name == "a.exe"), "{message}: {:?}", names(message));
        }
        assert_eq!(names("Content-Type: a/b; name=\"a.exe notes.pdf\"\r\n"), ["a.exe notes.pdf"]);
        assert_eq!(names("Content-Type: a/b; name=a.pdf,b.exe\r\n"), ["a.pdf,b.exe", "a.pdf"]);
        for field in ["Content-Description", "Content-Location", "Content-ID", "Content-Dispositio", "X-Content-Type"] {
            assert!(names(&format!("{field}: a.exe; name=a.exe; filename*=utf-8''a.exe\r\n")).is_empty(), "{field}");
        }
        assert!(names("Subject: name=a.exe\r\n\r\nname=a.exe\r\n Content-Type: x; name=a.exe\r\n").is_empty());
    }

    #[test]
    fn a_value_without_an_end_is_read_once() {
        for start in ["name=", "name=\"", "name*0=\""] {
            for next in ["name=x", "name=name=x", "name*=x", "name*0=x"] {
                let folded = format!("Content-Type: a/b; {start}x\r\n{}", format!(" {next}\r\n").repeat(100_000));
                let names = names(&folded);
                // Sections are also visited together.
                let length: usize = names.iter().map(String::len).sum();
                assert!(names.len() <= 12 && length <= 12 * VALUE, "{start} {next}: {} {length}", names.len());
            }
        }
    }
}
