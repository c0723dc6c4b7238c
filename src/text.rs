//! Text as other programs save it. What Mailwright's own files may be is stricter, and a matter of `config`.

/// The text of a file that an editor, a spreadsheet, PowerShell or `az` saved: UTF-8 with or without its mark, or UTF-16
/// with it. None if it is neither.
pub fn decoded(bytes: &[u8]) -> Option<String> {
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
