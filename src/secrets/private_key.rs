//! Private keys in the text of any file: age identities, identities of plugins, private keys that no passphrase protects (PEM,
//! OpenSSH, `PuTTY`, JWK), and private keys of `OpenPGP`, protected or not.
//!
//! [`find_private_key`] is for files that can be committed. A document that only mentions the beginning of a key is not reported:
//! the key must follow. The first key is returned with its line; keys in another encoding, or with a passphrase, are not found.
//! Nothing here reads a file.

/// A private key in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundKey {
    /// The line, from 1.
    pub line: usize,
    /// The kind of key, with its article.
    pub kind: &'static str,
}

/// The shortest data of an identity, in characters. A native identity has 58, that of a plugin may name a slot only.
const SHORTEST_IDENTITY: usize = 8;
/// The shortest data of a key in PEM, in characters.
const SHORTEST_PEM: usize = 40;
/// The beginning of an OpenSSH key without a passphrase, in base64: `openssh-key-v1`, and the cipher `none`.
const OPEN_SSH: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbm";

/// The shortest private part of a key in JSON, in characters of base64. The shortest in use are those of P-256 and Ed25519: 43.
const SHORTEST_JWK: usize = 40;
/// The largest number of lines before the data of an armoured block of `OpenPGP` (RFC 9580, 6.2.2).
const ARMOUR_HEADERS: usize = 10;
/// The beginning of a private key of `PuTTY`, before its version.
const PUTTY: &str = "PuTTY-User-Key-File-";

/// Returns the first private key in a text that no passphrase protects.
pub fn find_private_key(text: &str) -> Option<FoundKey> {
    let has_key_type = text.contains("\"kty\"") || text.contains("\\\"kty\\\"");
    let mut lines = text.lines();
    let mut number = 0;
    while let Some(line) = lines.next() {
        number += 1;
        let found = find_identity(line)
            .or_else(|| find_pem(line, lines.clone()))
            .or_else(|| find_putty(line, lines.clone()))
            .or_else(|| if has_key_type { find_jwk(line) } else { None });
        if let Some(kind) = found {
            return Some(FoundKey { line: number, kind });
        }
    }
    None
}

/// Finds an age identity in a line. Identities are written in capitals, and read in any case.
fn find_identity(line: &str) -> Option<&'static str> {
    let line = line.to_ascii_uppercase();
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find_map(|word| {
        let (prefix, data) = word.rsplit_once("-1")?;
        if data.len() < SHORTEST_IDENTITY || !data.chars().all(|c| c.is_ascii_alphanumeric()) {
            return None;
        }
        if prefix.contains("AGE-SECRET-KEY") {
            Some("an age identity, the private half")
        } else if prefix.contains("AGE-PLUGIN-") {
            Some("the identity of an age plugin")
        } else {
            None
        }
    })
}

/// Finds a private key in PEM that begins in a line and goes on in the next ones.
fn find_pem<'a>(line: &'a str, next: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let (_, label) = line.split_once("-----BEGIN ")?;
    let (label, rest) = match (label.split_once("PRIVATE KEY-----"), label.split_once("PGP PRIVATE KEY BLOCK-----")) {
        (Some(found), _) => found,
        (None, Some((_, rest))) => return has_data(rest, next).then_some("a private key of OpenPGP"),
        (None, None) => return None,
    };
    if label == "ENCRYPTED " {
        return None;
    }
    // The lines of a YAML text are indented, and a string in quotes has `\n` in place of line ends.
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let mut data = String::new();
    for line in std::iter::once(rest).chain(next) {
        if line.contains("ENCRYPTED") {
            return None;
        }
        let part = line.split("-----").next().unwrap_or_default().replace("\\n", "");
        data.extend(part.chars().filter(|c| is_base64(*c)));
        if line.contains("-----") || data.len() >= SHORTEST_PEM {
            break;
        }
    }
    let is_open_ssh = label == "OPENSSH ";
    let is_bare = if is_open_ssh { data.starts_with(OPEN_SSH) } else { data.len() >= SHORTEST_PEM };
    is_bare.then_some(if is_open_ssh {
        "an SSH key without a passphrase"
    } else {
        "a private key without a passphrase"
    })
}

/// Returns true if the lines of an armoured block of `OpenPGP` have data. Lines such as `Comment: ...` can come first.
fn has_data<'a>(rest: &'a str, next: impl Iterator<Item = &'a str>) -> bool {
    let is_data = |part: &str| {
        let part = part.trim_matches(|c: char| c.is_whitespace() || c == '"');
        part.len() >= SHORTEST_PEM && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))
    };
    std::iter::once(rest).chain(next.take(ARMOUR_HEADERS)).flat_map(|line| line.split("\\n")).any(is_data)
}

/// Finds a private key of `PuTTY` that begins in a line: it names its encryption in one of the next ones.
fn find_putty<'a>(line: &'a str, next: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let (_, rest) = line.split_once(PUTTY)?;
    let version = rest.strip_prefix(|c: char| c.is_ascii_digit())?;
    let mut lines = std::iter::once(version).chain(next.take(2)).flat_map(|line| line.split("\\n"));
    let is_bare = lines.any(|line| line.trim().strip_prefix("Encryption:").is_some_and(|value| value.trim() == "none"));
    is_bare.then_some("a PuTTY key without a passphrase")
}

/// Finds the private part of a JSON Web Key (RFC 7517) in a line: `"d"`, or `"k"` of a symmetric key.
fn find_jwk(line: &str) -> Option<&'static str> {
    ["\"d", "\"k"].iter().find_map(|key| {
        line.match_indices(key).find_map(|(at, key)| {
            let rest = line[at + key.len()..].trim_start_matches('\\').strip_prefix('"')?.trim_start();
            let rest = rest.strip_prefix(':')?.trim_start().trim_start_matches('\\').strip_prefix('"')?;
            let is_base64 = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/');
            (rest.chars().take_while(is_base64).take(SHORTEST_JWK).count() >= SHORTEST_JWK)
                .then_some("a private key in JSON (JWK)")
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<&'static str> {
        find_private_key(text).map(|found| found.kind)
    }

    /// Takes minutes if each beginning of a key is followed to the end of the text.
    #[test]
    fn many_beginnings_of_keys_are_searched_once() {
        for beginning in [
            "AGE-",
            "AGE-PLUGIN-",
            "-1",
            "-----BEGIN PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\n",
            "PuTTY-User-Key-File-3:\n",
            "PuTTY-User-Key-File-3",
            "\"d\"",
            "\"kty\":\"d\\",
        ] {
            assert_eq!(kind(&beginning.repeat(1_000_000 / beginning.len())), None, "{beginning}");
        }
    }

    #[test]
    fn a_key_is_found_wherever_it_is_in_a_text() {
        let identity = "AGE-SECRET-KEY-1QQPQ8W0GZ9V9UPYXNW0T7T0Z0FCZ4KQ2R4Q6PGJ8N8W3Z0YQ5XQSAAAAAA";
        for text in [identity.to_owned(), format!("# {}", identity.to_lowercase()), format!("a: \"{identity}\" # b")] {
            assert_eq!(kind(&text), Some("an age identity, the private half"), "{text}");
        }
        let post_quantum = "AGE-SECRET-KEY-PQ-1QQPQ8W0GZ9V9UPY";
        assert_eq!(
            find_private_key(&format!("x\n\n{post_quantum}\n")),
            Some(FoundKey { line: 3, kind: "an age identity, the private half" })
        );
        assert_eq!(kind("AGE-PLUGIN-YUBIKEY-1QQPQ8W0GZ9V9UPY"), Some("the identity of an age plugin"));
        assert_eq!(kind("AGE-PLUGIN-TPM-1-1QQPQ8W0GZ9V9UPY"), Some("the identity of an age plugin"));
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj";
        for text in [
            format!("-----BEGIN PRIVATE KEY-----\n{body}\n"),
            format!("key: |\n  -----BEGIN RSA PRIVATE KEY-----\n  {body}\n"),
            format!("key: \"-----BEGIN EC PRIVATE KEY-----\\n{body}\\n\""),
        ] {
            assert_eq!(kind(&text), Some("a private key without a passphrase"), "{text}");
        }
    }

    #[test]
    fn keys_of_other_programs_are_found() {
        let data = "lFgEZ1b2cRYJKwYBBAHaRw8BAQdAn0yGd3lXq8vU2W5v7Q0c1b5d9x7J8y6Tz1m2n3o4";
        for header in ["", "Version: GnuPG v2\nComment: x\n"] {
            let block = format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\n{header}\n{data}\n=abcd\n");
            assert_eq!(kind(&block), Some("a private key of OpenPGP"));
            assert_eq!(kind(&block.replace('\n', "\\n")), Some("a private key of OpenPGP"));
            assert_eq!(kind(&block.replace("PRIVATE", "PUBLIC")), None);
        }
        assert_eq!(kind("-----BEGIN PGP PRIVATE KEY BLOCK-----\n...\n-----END PGP PRIVATE KEY BLOCK-----\n"), None);
        for version in [2, 3] {
            let ppk = |encryption: &str| {
                format!(
                    "PuTTY-User-Key-File-{version}: ssh-ed25519\r\nEncryption: {encryption}\r\nComment: a\r\nPublic-Lines: 2\r\n"
                )
            };
            assert_eq!(kind(&ppk("none")), Some("a PuTTY key without a passphrase"));
            assert_eq!(kind(&ppk("aes256-cbc")), None);
        }
        let d = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE";
        for text in [
            format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"{d}\"}}"),
            format!("{{\n  \"d\" : \"{d}\",\n  \"kty\": \"OKP\"\n}}"),
            format!("key: \"{{\\\"kty\\\":\\\"EC\\\",\\\"d\\\":\\\"{d}\\\"}}\""),
            format!("{{\"kty\":\"oct\",\"k\":\"{d}\"}}"),
        ] {
            assert_eq!(kind(&text), Some("a private key in JSON (JWK)"), "{text}");
            assert_eq!(kind(&text.replace("kty", "typ")), None, "{text}");
        }
        assert_eq!(kind("{\"kty\":\"EC\",\"d\":\"...\"}"), None);
        assert_eq!(kind(&format!("{{\"kty\":\"EC\",\"x\":\"{d}\",\"id\":\"{d}\"}}")), None);
    }

    #[test]
    fn what_only_mentions_a_key_or_is_protected_is_not_reported() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj";
        for text in [
            "",
            "an identity (AGE-SECRET-KEY-1...) is private",
            "`AGE-SECRET-KEY-1` and `AGE-PLUGIN-`",
            "age1qqpq8w0gz9v9upyxnw0t7t0z0fcz4kq2r4q6pgj8n8w3z0yq5xqsaaaaaa",
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\nand much more text that follows, with words",
            &format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}"),
            &format!("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: A,00\n\n{body}"),
            &format!("-----BEGIN PUBLIC KEY-----\n{body}"),
        ] {
            assert_eq!(kind(text), None, "{text}");
        }
        let ssh = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ssh/");
            std::fs::read_to_string(format!("{folder}{name}")).unwrap()
        };
        assert_eq!(kind(&ssh("ed25519")), Some("an SSH key without a passphrase"));
        assert_eq!(kind(&ssh("ed25519-protected")), None);
    }
}
