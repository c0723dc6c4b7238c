//! Secret detection: finds keys, tokens and masked values in strings of files and requests that should not contain any.
//!
//! [`detect`] returns the problem to report, without the string. It is a heuristic: it misses passwords that look like words.
//! Fields that hold a secret by name are recognised by the schema, not here.

use super::Code;

/// Returns the code, message and remedy for a string that looks like a secret or a masked value; none for any other.
pub fn detect(text: &str) -> Option<(Code, &'static str, &'static str)> {
    const SEAL: &str = "Seal it with `mailwright secrets set`, and refer to it with `{ secret: NAME/KEY }`. If it was ever committed, change it.";
    if text.contains("-----BEGIN ") {
        return Some((Code::LooksLikeSecret, "this is a PEM block", SEAL));
    }
    if mentions_age_identity(text.as_bytes()) {
        return Some((Code::LooksLikeSecret, "this is an age identity, the private half", SEAL));
    }
    if is_masked(text) {
        return Some((
            Code::MaskedValue,
            "this is a mask, copied from a screen or an export",
            "Write the real value; refer to a secret with `{ secret: NAME/KEY }`.",
        ));
    }
    if text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';')).any(looks_random) {
        return Some((Code::LooksLikeSecret, "this looks like a key or a password", SEAL));
    }
    None
}

/// Returns true if a text has the beginning of an age identity, in any case. A key need not follow it: whole keys are found by
/// `secrets::find_private_key`.
pub fn mentions_age_identity(text: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"AGE-SECRET-KEY-";
    text.windows(BEGINNING.len()).any(|part| part.eq_ignore_ascii_case(BEGINNING))
}

/// Returns true for keys whose values are names, of a secret, a function, a layer or a profile. Names are not searched.
pub fn is_name(key: &str) -> bool {
    matches!(key, "secret" | "functions" | "extends" | "renamedFrom")
}

/// Returns true for a string that is not searched: a name, the path of a file, or a public SSH key or its fingerprint, which
/// resemble a secret.
pub fn is_exempt(key: &str, text: &str) -> bool {
    is_name(key)
        || key == "federatedTokenFile" && text.starts_with('/')
        || key == "key" && is_fingerprint(text)
        || matches!(key, "key" | "recipient") && ssh_key::PublicKey::from_openssh(text.trim()).is_ok()
}

/// Returns true for the fingerprint of a public SSH key, as `ssh-keygen -l` prints it: the digest of 32 bytes in base64.
fn is_fingerprint(text: &str) -> bool {
    text.parse::<ssh_key::Fingerprint>().is_ok_and(ssh_key::Fingerprint::is_sha256)
}

/// Returns true for a mask that a screen or an export shows in place of a secret: stars, bullets, `[masked]`,
/// `(sensitive value)`, `***redacted***`. A value that merely contains one is not a mask.
pub fn is_masked(value: &str) -> bool {
    const WORDS: &[&str] = &["masked", "redacted", "hidden", "sensitive", "sensitive value", "secret value"];
    let dot = |c: char| matches!(c, '*' | '•' | '●' | '∙' | '·' | '⁎' | '∗' | '○' | '◦' | '■' | '█' | '▪' | '⬤');
    let value = value.trim();
    if value == "**SOPS**" || (value.chars().count() >= 3 && value.chars().all(dot)) {
        return true;
    }
    if value.len() >= 3 && ['x', 'X'].iter().any(|x| value.chars().all(|c| c == *x)) {
        return true;
    }
    let inner = value.trim_matches(|c| dot(c) || matches!(c, '[' | ']' | '(' | ')' | '<' | '>' | '{' | '}'));
    inner.len() < value.len() && WORDS.iter().any(|word| inner.trim().eq_ignore_ascii_case(word))
}

/// Returns true for a long word of mixed capitals, small letters and digits, which is typical of keys and not of names.
fn looks_random(word: &str) -> bool {
    if word.len() < 24 || !word.is_ascii() || word.contains("://") || word.contains('@') {
        return false;
    }
    let has = |class: fn(&u8) -> bool| word.as_bytes().iter().filter(|byte| class(byte)).count();
    let (upper, lower, digits) = (has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase), has(u8::is_ascii_digit));
    let mixed = upper >= 3 && lower >= 3 && digits >= 2;
    let long_hex =
        word.len() >= 40 && word.bytes().all(|b| b.is_ascii_hexdigit()) && digits >= 8 && digits < word.len();
    (mixed && entropy(word) > 3.8) || long_hex
}

/// Returns the Shannon entropy, in bits per character.
fn entropy(word: &str) -> f64 {
    let mut counts = [0_u32; 128];
    for byte in word.bytes() {
        counts[usize::from(byte & 0x7f)] += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "words are short")]
    let length = word.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum()
}
