//! Private keys in the text of any file: age identities, identities of plugins, and private keys that no passphrase protects.
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

/// Returns the first private key in a text that no passphrase protects.
pub fn find_private_key(text: &str) -> Option<FoundKey> {
    let mut lines = text.lines();
    let mut number = 0;
    while let Some(line) = lines.next() {
        number += 1;
        if let Some(kind) = find_identity(line).or_else(|| find_pem(line, lines.clone())) {
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
    let (label, rest) = label.split_once("PRIVATE KEY-----")?;
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
        for beginning in ["AGE-", "AGE-PLUGIN-", "-1", "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----"] {
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
