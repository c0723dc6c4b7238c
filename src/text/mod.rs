//! Text from other programs: decoding, and escaping for display.
//!
//! * [`decode`], [`try_decode`], [`decode_lossy`]: the text of a file in UTF-8 or UTF-16. `config` is stricter with Mailwright's own
//!   files
//! * [`printable`], [`printable_lines`], [`printable_paragraph`], [`printable_log_line`]: text with terminal control characters
//!   and invisible characters escaped. The printer, the log and Markdown use them, so that no command needs to
//! * [`enumerate`], [`shortened`]: bounded lists and texts for messages
//! * [`redaction::Redaction`]: removal of secrets from the replies of other hosts
//! * [`composed`]: one spelling of letters with diacritics
//! * [`percent_encode`], [`percent_decode`]: the encoding of URLs and of MIME parameters

pub mod markdown;
pub mod redaction;
pub mod shell;

use std::borrow::Cow;

/// Returns the name of an encoding other than UTF-8, recognised by its byte order mark or by the zero bytes of wide characters.
pub fn detect_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some("UTF-16"),
        _ => {}
    }
    let head = bytes.get(..bytes.len().min(256)).unwrap_or_default();
    let zeros = |parity: usize| head.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, half) = (zeros(0), zeros(1), head.len() / 2);
    let is_wide = half >= 2 && even.min(odd) == 0 && even.max(odd) * 2 >= half;
    is_wide.then_some("UTF-16 without a byte order mark")
}

/// Returns the text of a file as [`try_decode`] does, or the problem with its encoding, as words that follow "it is".
pub fn decode(bytes: &[u8]) -> Result<String, String> {
    match (try_decode(bytes), detect_encoding(bytes)) {
        (Some(text), None | Some("UTF-16")) => Ok(text),
        (_, Some(encoding)) => Err(encoding.to_owned()),
        (None, None) => Err("neither UTF-8 nor UTF-16".to_owned()),
    }
}

/// Returns the text of a file that an editor, a spreadsheet, PowerShell or `az` saved: UTF-8 with or without a byte order mark,
/// or UTF-16 with one. None if it is neither.
pub fn try_decode(bytes: &[u8]) -> Option<String> {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, left) = rest.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().copied().map(unit).collect();
        String::from_utf16(&units).ok().filter(|_| left.is_empty())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => std::str::from_utf8(rest).ok().map(str::to_owned),
    }
}

/// Returns the text of any file, with replacement characters: UTF-8, or UTF-16 with or without a byte order mark. A search for
/// words finds them in every part that has the encoding of the beginning.
pub fn decode_lossy(bytes: &[u8]) -> String {
    if !detect_encoding(bytes).is_some_and(|found| found.starts_with("UTF-16")) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let head = bytes.get(..bytes.len().min(256)).unwrap_or_default();
    // Of a character of ASCII, the first byte is zero in big-endian order.
    let zeros = |parity: usize| head.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let is_big = bytes.starts_with(&[0xfe, 0xff]) || !bytes.starts_with(&[0xff, 0xfe]) && zeros(0) > zeros(1);
    let unit = if is_big { u16::from_be_bytes } else { u16::from_le_bytes };
    let (pairs, _) = bytes.as_chunks::<2>();
    let text = String::from_utf16_lossy(&pairs.iter().copied().map(unit).collect::<Vec<u16>>());
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}

/// Returns a text on one line, safe for a terminal, a log or a page: characters that move the cursor, change the direction of
/// writing or are invisible are escaped as in JSON.
pub fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |_| false, false)
}

/// Returns a text of several lines. Line ends, tabs, and the colours that this program uses are kept.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'), true)
}

/// Returns a text of several lines that contains text of other programs: line ends and tabs are kept, colours are not.
pub fn printable_paragraph(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'), false)
}

/// Returns a line of a log, with its colours and without its line end.
pub fn printable_log_line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false, true)
}

/// Joins the first items of a list and counts the others: `a, b and 14 more`. Each item is cut at 100 characters.
pub fn enumerate<T: AsRef<str>>(items: impl IntoIterator<Item = T>, max: usize) -> String {
    let mut text = String::new();
    let mut count = 0_usize;
    for item in items {
        count += 1;
        if count > max {
            continue;
        }
        if count > 1 {
            text.push_str(", ");
        }
        text.push_str(&shortened(item.as_ref(), 100));
    }
    if count > max {
        text.push_str(&format!(" and {} more", count - max));
    }
    text
}

/// Cuts a text at that many characters, and marks the cut.
pub fn shortened(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// Returns a text in normalization form C (Unicode TR 15): a letter with its diacritics is one character where there is one, as
/// directories and most keyboards write it. macOS file names and some programs write two.
pub fn composed(text: &str) -> Cow<'_, str> {
    icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Percent-encodes all bytes but ASCII letters, digits and those in `unreserved` (RFC 3986, section 2.1).
pub fn percent_encode(bytes: &[u8], unreserved: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || unreserved.contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Decodes percent-encoded bytes. A percent sign without two hexadecimal digits stays as it is.
pub fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        let hex = (*first == b'%').then(|| behind.get(..2)).flatten();
        // `from_str_radix` alone would accept a sign, as in `%+5`.
        let hex = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit)).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    decoded
}

/// Returns true for a character that is invisible or that changes the display of the text around it: control characters,
/// line and paragraph separators, bidirectional controls (Unicode TR 9), and characters that have no shape, fillers and
/// variation selectors among them. The joiners U+200C and U+200D are part of how some scripts are written, and the
/// selectors U+FE0E and U+FE0F of how emoji are: they are shown as they are.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00ad}'
                | '\u{034f}'
                | '\u{061c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0d}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool, keeps_styles: bool) -> Cow<'_, str> {
    if !text.chars().any(|c| is_hidden(c) && !is_kept(c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = style_length(rest).filter(|_| keeps_styles) {
            safe.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            _ if !is_hidden(c) || is_kept(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    Cow::Owned(safe)
}

/// The maximum length of a style's parameters, in bytes. Without a limit, a text of unfinished sequences would be read to its
/// end from each of them.
const STYLE_LENGTH: usize = 16;

/// Returns the length of a sequence that sets a foreground colour or a weight, as this program writes them. A sequence that
/// hides text (8, or a background) is not one.
fn style_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.bytes().take(STYLE_LENGTH).position(|byte| byte == b'm')?;
    let is_ours = |part: &str| matches!(part.parse::<u8>(), Ok(0..=4 | 22..=24 | 30..=37 | 39 | 90..=97));
    let parameters = &parameters[..end];
    (parameters.is_empty() || parameters.split(';').all(is_ours)).then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_without_two_hexadecimal_digits_stays() {
        for (text, decoded) in
            [("a%41%4a%4A", "aAJJ"), ("%+5%-5% 5", "%+5%-5% 5"), ("%", "%"), ("%4", "%4"), ("%zz", "%zz")]
        {
            assert_eq!(percent_decode(text.as_bytes()), decoded.as_bytes(), "{text}");
        }
    }

    #[test]
    fn characters_that_move_turn_or_hide_text_are_escaped() {
        for (text, shown) in [
            ("plain, ünïcödé, 日本, עברית", "plain, ünïcödé, 日本, עברית"),
            ("a\u{1b}[2Jb", "a\\u001b[2Jb"),
            ("a\u{1b}]0;title\u{7}", "a\\u001b]0;title\\u0007"),
            ("a\u{9b}31m", "a\\u009b31m"),
            ("invoice\u{202e}fdp.exe", "invoice\\u202efdp.exe"),
            ("a\u{2066}b\u{2069}\u{200f}\u{061c}", "a\\u2066b\\u2069\\u200f\\u061c"),
            ("one\r\ntwo\tthree", "one\\r\\ntwo\\tthree"),
            ("a\u{2028}b\u{feff}\u{200b}", "a\\u2028b\\ufeff\\u200b"),
            ("\u{e0041}", "\\udb40\\udc41"),
            ("\u{7f}\u{0}", "\\u007f\\u0000"),
            ("pay\u{ad}pal\u{34f}", "pay\\u00adpal\\u034f"),
            ("\u{115f}\u{1160}\u{3164}\u{ffa0}", "\\u115f\\u1160\\u3164\\uffa0"),
            ("a\u{2800}b\u{180b}\u{fe00}", "a\\u2800b\\u180b\\ufe00"),
            ("\u{1d173}", "\\ud834\\udd73"),
            ("\u{2764}\u{fe0f} \u{1f468}\u{200d}\u{1f469}", "\u{2764}\u{fe0f} \u{1f468}\u{200d}\u{1f469}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable("\u{1b}[31mred"), "\\u001b[31mred");
        assert_eq!(
            printable_lines("\u{1b}[1m\u{1b}[31mred\u{1b}[0m\n\tnext"),
            "\u{1b}[1m\u{1b}[31mred\u{1b}[0m\n\tnext"
        );
        for hiding in ["\u{1b}[8m", "\u{1b}[7m", "\u{1b}[41m", "\u{1b}[38;5;0m", "\u{1b}[1A", "\u{1b}[1;8m", "\u{1b}c"]
        {
            assert!(!printable_lines(hiding).contains('\u{1b}'), "{hiding:?}");
            assert!(!printable_log_line(hiding).contains('\u{1b}'), "{hiding:?}");
        }
        assert_eq!(printable_log_line("\u{1b}[2mone\n\u{1b}[2mtwo"), "\u{1b}[2mone\\n\u{1b}[2mtwo");
    }

    #[test]
    fn unfinished_sequences_take_linear_time() {
        // Reading to the end of the text for each sequence would take hours.
        let text = "\u{1b}[".repeat(2_000_000);
        assert!(!printable_lines(&text).contains('\u{1b}'));
        assert_eq!(printable_lines("\u{1b}[0;0;0;0;0;0;0;0;0m").matches('\u{1b}').count(), 0);
    }

    #[test]
    fn text_of_other_programs_keeps_its_lines_and_loses_its_colours() {
        assert_eq!(printable_paragraph("\u{1b}[30mone\n\ttwo\r"), "\\u001b[30mone\n\ttwo\\r");
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let document = serde_json::json!({ "a\u{202e}": ["\u{1b}[2J", "\u{9b}\u{e0041}\u{7f}", "line\nend"] });
        let text = format!("{document:#}");
        let shown = printable_lines(&text);
        assert!(!shown.contains(|c| is_hidden(c) && c != '\n'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), document);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        assert_eq!(enumerate(["a", "b"], 2), "a, b");
        assert_eq!(enumerate(["a", "b", "c", "d"].map(str::to_owned), 2), "a, b and 2 more");
        assert_eq!(enumerate([] as [&str; 0], 2), "");
        assert_eq!(enumerate(["x".repeat(200)], 2).chars().count(), 101);
    }

    #[test]
    fn encodings_of_windows_are_read_or_named() {
        let wide = |text: &str, mark: bool, unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let mark = mark.then_some(0xfeff_u16);
            mark.into_iter().chain(text.encode_utf16()).flat_map(unit).collect()
        };
        let text = "a: 1\r\nb: \u{e9}\r\n";
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            wide(text, true, u16::to_le_bytes),
            wide(text, true, u16::to_be_bytes),
        ] {
            assert_eq!(decode(&bytes).as_deref(), Ok(text));
        }
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            assert_eq!(decode(&wide(text, false, unit)), Err("UTF-16 without a byte order mark".to_owned()));
        }
        let utf32: Vec<u8> = "\u{feff}a: 1".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        assert_eq!(decode(&utf32), Err("UTF-32".to_owned()));
        assert_eq!(decode(b"caf\xe9"), Err("neither UTF-8 nor UTF-16".to_owned()));
        for plain in ["", "a", "ab", "a\0b", "\0"] {
            assert_eq!(decode(plain.as_bytes()).as_deref(), Ok(plain), "a zero alone says nothing");
        }
    }
}
