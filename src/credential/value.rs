//! Checks of a value, for every kind of credential: from bytes to the text that is sealed or sent, or to a reason against it.
//!
//! [`parse_value`] recognises what administrators paste by mistake: files in another encoding or format, documents of other
//! programs, encrypted values, ids instead of secrets. The first reason found is returned. It does not ask a server if the
//! credential is right. The commands that seal, the plan, the verifier and delivery call it.

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use zeroize::Zeroizing;

use super::{CertificateWithKey, CredentialError, CredentialKind};
use crate::text::is_hidden;

/// UTF-8's byte order mark.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A value without a byte order mark and a final line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed<'a> {
    /// The value.
    pub value: &'a [u8],
    /// True if a byte order mark was removed.
    pub had_mark: bool,
    /// True if a line end was removed.
    pub had_line_end: bool,
}

/// Removes a UTF-8 byte order mark at the beginning and one line end at the end, which many programs add.
pub fn trim(value: &[u8]) -> Trimmed<'_> {
    let unmarked = value.strip_prefix(BYTE_ORDER_MARK);
    let rest = unmarked.unwrap_or(value);
    let ended = rest.strip_suffix(b"\r\n").or_else(|| rest.strip_suffix(b"\n"));
    Trimmed { value: ended.unwrap_or(rest), had_mark: unmarked.is_some(), had_line_end: ended.is_some() }
}

/// Returns the value as text, if it is suitable for its field. Without a kind, only values that no field accepts are rejected.
pub fn parse_value(kind: Option<CredentialKind>, value: &[u8]) -> Result<&str, CredentialError> {
    let value = trim(value).value;
    if value.is_empty() {
        return Err(CredentialError::Empty);
    }
    if is_utf16(value) {
        return Err(CredentialError::Utf16);
    }
    if let Some(error) = detect_binary(value) {
        return Err(error);
    }
    let text = std::str::from_utf8(value).map_err(|_| CredentialError::NotText)?;
    if text.starts_with("age-encryption.org/") || text.trim_start().starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        return Err(CredentialError::AgeFile);
    }
    let is_marker = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    if text.lines().any(is_marker) {
        return Err(CredentialError::MergeMarkers);
    }
    if text.starts_with("version https://git-lfs.github.com/spec/") || text.starts_with("/annex/objects/") {
        return Err(CredentialError::Pointer);
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n')) {
        return Err(CredentialError::Control);
    }
    if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
        return Err(CredentialError::Blank);
    }
    if let Some(error) = detect_document(text) {
        return Err(error);
    }
    let Some(kind) = kind else { return Ok(text) };
    if !text.contains("-----BEGIN ") && is_text_of_binary(text) {
        return Err(CredentialError::Base64);
    }
    match kind {
        CredentialKind::Certificate => {
            CertificateWithKey::parse(text)?;
        }
        CredentialKind::Password | CredentialKind::ClientSecret => check_one_line(kind, text)?,
    }
    Ok(text)
}

/// Recognises documents of other programs that hold a secret, or hold it encrypted.
fn detect_document(text: &str) -> Option<CredentialError> {
    if text.contains('\u{feff}') {
        return Some(CredentialError::InnerMark);
    }
    let start = text.trim_start();
    if start.starts_with("$ANSIBLE_VAULT;") {
        return Some(CredentialError::Encrypted("Ansible Vault"));
    }
    if text.contains("ENC[AES256_GCM,data:") {
        return Some(CredentialError::Encrypted("SOPS"));
    }
    if start.starts_with("-----BEGIN PGP MESSAGE-----") {
        return Some(CredentialError::Encrypted("PGP"));
    }
    // `-----BEGIN` in base64.
    if start.starts_with("LS0tLS1CRUdJTi") {
        return Some(CredentialError::PemInBase64);
    }
    let has_line = |wanted: &[&str]| text.lines().any(|line| wanted.contains(&line.trim_end()));
    if text.lines().any(|line| line.starts_with("apiVersion:")) && has_line(&["kind: Secret", "kind: SealedSecret"]) {
        return Some(CredentialError::KubernetesSecret);
    }
    if start.starts_with('{')
        && let Ok(document) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(start)
    {
        let has_key_type = |key: &serde_json::Value| key.get("kty").is_some_and(serde_json::Value::is_string);
        let keys = document.get("keys").and_then(serde_json::Value::as_array);
        if document.get("kty").is_some_and(serde_json::Value::is_string)
            || keys.is_some_and(|keys| keys.iter().any(has_key_type))
        {
            return Some(CredentialError::WebKey);
        }
        if document.contains_key("apiVersion")
            && document.get("kind").is_some_and(|kind| kind == "Secret" || kind == "SealedSecret")
        {
            return Some(CredentialError::KubernetesSecret);
        }
    }
    None
}

/// Returns true for `SMTP_PASSWORD=...`: a name in capitals that names a secret, and a value.
fn is_assignment(line: &str) -> bool {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else { return false };
    let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let is_secret = ["PASSWORD", "PASSWD", "SECRET"].iter().any(|word| name.contains(word));
    is_name && is_secret && !value.trim_matches('=').is_empty()
}

fn check_one_line(kind: CredentialKind, text: &str) -> Result<(), CredentialError> {
    let is_key =
        text.contains("-----BEGIN ") || text.starts_with("AGE-SECRET-KEY-") || text.starts_with("PuTTY-User-Key");
    if is_key {
        return Err(CredentialError::Pem(kind.describe()));
    }
    if kind == CredentialKind::ClientSecret {
        if text.trim_start().starts_with('{')
            && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
        {
            return Err(CredentialError::Json);
        }
        if uuid::Uuid::try_parse(text.trim()).is_ok() {
            return Err(CredentialError::SecretId);
        }
    }
    if text.contains(['\r', '\n']) {
        return Err(CredentialError::LineBreaks(kind.describe()));
    }
    if has_at_end(text, |c| is_invisible(c) || !c.is_ascii() && c.is_whitespace()) {
        return Err(CredentialError::InvisibleEnd);
    }
    if kind == CredentialKind::ClientSecret && has_blank_at_end(text) {
        return Err(CredentialError::BlankEnd);
    }
    if is_assignment(text) { Err(CredentialError::Assignment) } else { Ok(()) }
}

/// Returns true for characters without a width. The variation selectors of emoji are a part of what they follow.
fn is_invisible(c: char) -> bool {
    is_hidden(c) && !c.is_ascii() || matches!(c, '\u{200c}' | '\u{200d}')
}

/// Returns true if a text begins or ends with a space or a tab: a password may.
pub fn has_blank_at_end(text: &str) -> bool {
    has_at_end(text, |c| matches!(c, ' ' | '\t'))
}

fn has_at_end(text: &str, is_meant: impl Fn(char) -> bool) -> bool {
    text.starts_with(&is_meant) || text.ends_with(&is_meant)
}

/// Returns true for UTF-16 with a byte order mark, or for text of the Latin alphabet without one.
fn is_utf16(value: &[u8]) -> bool {
    if value.starts_with(b"\xff\xfe") || value.starts_with(b"\xfe\xff") {
        return true;
    }
    let (pairs, _) = value.as_chunks::<2>();
    pairs.len() >= 2 && (pairs.iter().all(|[_, high]| *high == 0) || pairs.iter().all(|[high, _]| *high == 0))
}

/// Recognises binary files that hold certificates and keys.
fn detect_binary(value: &[u8]) -> Option<CredentialError> {
    if value.starts_with(b"\xfe\xed\xfe\xed") || value.starts_with(b"\xce\xce\xce\xce") {
        return Some(CredentialError::Keystore);
    }
    // An ASN.1 SEQUENCE with a long or open length: no typed text begins with it.
    let [0x30, length @ 0x80..=0x84, rest @ ..] = value else { return None };
    let contents = rest.get(usize::from(length & 0x7f)..).unwrap_or_default();
    // A PFX begins with its version, 3 (RFC 7292).
    Some(if contents.starts_with(&[0x02, 0x01, 0x03]) { CredentialError::Pkcs12 } else { CredentialError::Der })
}

/// Returns true for the bytes of [`detect_binary`] written as base64, as base64url, or in hexadecimal.
fn is_text_of_binary(text: &str) -> bool {
    // Longer than any password.
    if text.len() < 200 {
        return false;
    }
    let text = text.trim_start();
    let text = text.strip_prefix("data:").and_then(|uri| uri.split_once(',')).map_or(text, |(_, data)| data);
    // DER that begins with a long length is `MI...` in base64.
    if text.starts_with("MI") {
        let standard = |c: char| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        };
        let packed = text.chars().filter(|c| !c.is_whitespace() && *c != '=').map(standard);
        let bytes = BASE64_STANDARD_NO_PAD.decode(Zeroizing::new(packed.collect::<String>()).as_bytes());
        return bytes.is_ok_and(|bytes| detect_binary(&Zeroizing::new(bytes)).is_some());
    }
    let digits = text.trim_start_matches("0x").chars().filter(|c| !c.is_whitespace() && *c != ':');
    let digits = Zeroizing::new(digits.collect::<String>());
    let is_hexadecimal = digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = Zeroizing::new(digits.as_bytes().chunks(2).filter_map(byte).collect::<Vec<u8>>());
    is_hexadecimal && has_own_length(&bytes)
}

/// Returns true for a PFX, and for DER whose length is that of the bytes: no random number is likely to be either.
fn has_own_length(bytes: &[u8]) -> bool {
    let [0x30, length @ 0x80..=0x84, rest @ ..] = bytes else { return false };
    let count = usize::from(length & 0x7f);
    let stated = rest.iter().take(count).fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    detect_binary(bytes) == Some(CredentialError::Pkcs12) || rest.len().checked_sub(count) == Some(stated)
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::{
        CredentialKind::{Certificate, ClientSecret, Password},
        *,
    };

    fn utf16(text: &str, swap: bool, mark: bool) -> Vec<u8> {
        let mark = if mark { "\u{feff}" } else { "" };
        let unit = |unit: u16| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() };
        format!("{mark}{text}").encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn a_byte_order_mark_and_one_line_end_are_removed() {
        for (value, rest, mark, end) in [
            (&b"value"[..], &b"value"[..], false, false),
            (b"value\r\n", b"value", false, true),
            (b"\xef\xbb\xbfvalue\n", b"value", true, true),
            (b"\xef\xbb\xbf\xef\xbb\xbfvalue\n\n", b"\xef\xbb\xbfvalue\n", true, true),
            (b"", b"", false, false),
            (b"\r\n", b"", false, true),
        ] {
            assert_eq!(trim(value), Trimmed { value: rest, had_mark: mark, had_line_end: end }, "{value:?}");
        }
        for kind in [None, Some(Password), Some(ClientSecret)] {
            assert_eq!(parse_value(kind, b"\xef\xbb\xbfs3cret, \xc3\xbc\r\n"), Ok("s3cret, \u{fc}"));
        }
    }

    #[test]
    fn values_that_no_field_accepts_are_rejected_for_every_field() {
        let long_pfx = [&[0x30, 0x82, 0x0a, 0x3f, 0x02, 0x01, 0x03, 0x30][..], &[0x11; 60]].concat();
        let open_pfx = [&[0x30, 0x80, 0x02, 0x01, 0x03, 0x30][..], &[0x11; 60]].concat();
        let der = [&[0x30, 0x82, 0x03, 0x0f, 0x30, 0x82][..], &[0x11; 60]].concat();
        let cases = [
            (b"".to_vec(), CredentialError::Empty),
            (b"\xef\xbb\xbf\n".to_vec(), CredentialError::Empty),
            (utf16("s3cret\r\n", false, true), CredentialError::Utf16),
            (utf16("s3cret", true, true), CredentialError::Utf16),
            (utf16("s3cret", false, false), CredentialError::Utf16),
            (utf16("s3cret", true, false), CredentialError::Utf16),
            (utf16("-----BEGIN CERTIFICATE-----\r\n", false, true), CredentialError::Utf16),
            (long_pfx, CredentialError::Pkcs12),
            (open_pfx, CredentialError::Pkcs12),
            (der, CredentialError::Der),
            (b"\xfe\xed\xfe\xed\x00\x00\x00\x02".to_vec(), CredentialError::Keystore),
            (b"   ".to_vec(), CredentialError::Blank),
            (b"\t \r\n\r\n".to_vec(), CredentialError::Blank),
            ("\u{a0}".as_bytes().to_vec(), CredentialError::Blank),
            ("\u{200b} \u{200d}\u{3000}\n".as_bytes().to_vec(), CredentialError::Blank),
            (b"caf\xe9".to_vec(), CredentialError::NotText),
            (b"s3\x00cret".to_vec(), CredentialError::Control),
            (b"s3\x1bcret".to_vec(), CredentialError::Control),
            (b"age-encryption.org/v1\n-> X25519 x\n".to_vec(), CredentialError::AgeFile),
            (b"-----BEGIN AGE ENCRYPTED FILE-----\nx\n".to_vec(), CredentialError::AgeFile),
            (b"<<<<<<< HEAD\na\n=======\nb\n>>>>>>> topic\n".to_vec(), CredentialError::MergeMarkers),
            (b"b\n>>>>>>> topic\n".to_vec(), CredentialError::MergeMarkers),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n".to_vec(),
                CredentialError::Pointer,
            ),
            (b"/annex/objects/SHA256E-s12--4d7a\n".to_vec(), CredentialError::Pointer),
        ];
        for (value, why) in cases {
            for kind in [None, Some(Password), Some(ClientSecret), Some(Certificate)] {
                assert_eq!(parse_value(kind, &value), Err(why.clone()), "{kind:?} {value:?}");
            }
            assert!(!why.remedy().is_empty());
        }
    }

    #[test]
    fn documents_of_other_programs_are_rejected_for_every_field() {
        let cases = [
            ("$ANSIBLE_VAULT;1.1;AES256\n6131\n", CredentialError::Encrypted("Ansible Vault")),
            ("ENC[AES256_GCM,data:p673w==,iv:YY=,tag:cQ==,type:str]", CredentialError::Encrypted("SOPS")),
            (
                "password: ENC[AES256_GCM,data:p673w==,iv:YY=,tag:cQ==,type:str]\nsops:\n  mac: x\n",
                CredentialError::Encrypted("SOPS"),
            ),
            ("-----BEGIN PGP MESSAGE-----\n\nhQE\n-----END PGP MESSAGE-----", CredentialError::Encrypted("PGP")),
            ("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUI=", CredentialError::PemInBase64),
            ("apiVersion: v1\nkind: Secret\ndata:\n  password: czNjcmV0\n", CredentialError::KubernetesSecret),
            ("{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"data\": {}}", CredentialError::KubernetesSecret),
            ("{\"kty\": \"RSA\", \"n\": \"AQAB\"}", CredentialError::WebKey),
            ("{\"keys\": [{\"kty\": \"EC\"}]}", CredentialError::WebKey),
            ("s3\u{feff}cret", CredentialError::InnerMark),
            ("\u{feff}\u{feff}s3cret", CredentialError::InnerMark),
        ];
        for (value, why) in cases {
            for kind in [None, Some(Password), Some(ClientSecret), Some(Certificate)] {
                assert_eq!(parse_value(kind, value.as_bytes()), Err(why.clone()), "{kind:?} {value}");
            }
            assert!(why.remedy().ends_with('.'));
        }
    }

    #[test]
    fn a_pfx_is_recognised_in_every_spelling() {
        let pfx = [&[0x30, 0x82, 0x01, 0x93, 0x02, 0x01, 0x03][..], &[0xfb; 400]].concat();
        let der = [&[0x30, 0x82, 0x01, 0x90][..], &[0xfb; 400]].concat();
        for bytes in [pfx, der] {
            let hexadecimal: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            for value in [
                BASE64_STANDARD.encode(&bytes),
                BASE64_URL_SAFE_NO_PAD.encode(&bytes),
                format!("data:application/x-pkcs12;base64,{}", BASE64_STANDARD.encode(&bytes)),
                hexadecimal.concat(),
                hexadecimal.concat().to_uppercase(),
                hexadecimal.join(":"),
                format!("0x{}", hexadecimal.concat()),
            ] {
                for kind in [Password, ClientSecret, Certificate] {
                    assert_eq!(
                        parse_value(Some(kind), value.as_bytes()),
                        Err(CredentialError::Base64),
                        "{kind:?} {value}"
                    );
                }
            }
        }
        // A long random number is a password.
        let random = "3082ffff".repeat(32);
        assert_eq!(parse_value(Some(Password), random.as_bytes()), Ok(random.as_str()));
    }

    #[test]
    fn an_assignment_is_refused_and_what_resembles_one_is_not() {
        for kind in [Password, ClientSecret] {
            for value in ["PASSWORD=s3cret", "export SMTP_PASSWORD=\"s3cret\"", "AZURE_CLIENT_SECRET=abc~Q8"] {
                assert_eq!(parse_value(Some(kind), value.as_bytes()), Err(CredentialError::Assignment), "{value}");
            }
            for value in ["password=x", "PASSWORD=", "SECRET==", "A=b", "my PASSWORD=x", "cGFzc3dvcmQ="] {
                assert_eq!(parse_value(Some(kind), value.as_bytes()), Ok(value));
            }
        }
    }

    #[test]
    fn what_copying_adds_at_an_end_is_refused() {
        for kind in [Password, ClientSecret] {
            for value in [
                "s3cret\u{a0}",
                "\u{200b}s3cret",
                "s3cret\u{200b}",
                "s3cret\u{2028}",
                "\u{202f}s3cret\n",
                "s3cret\u{200d}",
            ] {
                let refused = parse_value(Some(kind), value.as_bytes());
                assert_eq!(refused, Err(CredentialError::InvisibleEnd), "{kind:?} {value:?}");
            }
            for value in ["s3 cret", "s3\u{a0}cret", "\u{2764}\u{fe0f}"] {
                assert_eq!(parse_value(Some(kind), value.as_bytes()), Ok(value));
            }
        }
        // A password may have blanks, and Entra makes no client secret that begins or ends with one.
        for value in [" s3cret", "s3cret ", "\ts3cret"] {
            assert_eq!(parse_value(Some(Password), value.as_bytes()), Ok(value));
            assert!(has_blank_at_end(value));
            assert_eq!(parse_value(Some(ClientSecret), value.as_bytes()), Err(CredentialError::BlankEnd));
        }
        for why in [CredentialError::Blank, CredentialError::InvisibleEnd, CredentialError::BlankEnd] {
            assert!(why.remedy().ends_with('.'));
        }
    }

    #[test]
    fn a_password_and_a_client_secret_are_one_line_and_no_key() {
        for kind in [Password, ClientSecret] {
            for value in [
                "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
                "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----",
                "Bag Attributes\n-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
                "AGE-SECRET-KEY-1QQQQ",
            ] {
                assert_eq!(
                    parse_value(Some(kind), value.as_bytes()),
                    Err(CredentialError::Pem(kind.describe())),
                    "{value}"
                );
            }
            for value in ["one\ntwo", "one\r\ntwo\r\n", "value\n\n", "value\r"] {
                assert_eq!(
                    parse_value(Some(kind), value.as_bytes()),
                    Err(CredentialError::LineBreaks(kind.describe())),
                    "{value:?}"
                );
            }
            let binary = [&[0x30, 0x82, 0x0a, 0x3f, 0x02, 0x01, 0x03][..], &[0x11; 400]].concat();
            let base64 = BASE64_STANDARD.encode(binary);
            assert_eq!(parse_value(Some(kind), base64.as_bytes()), Err(CredentialError::Base64));
            for value in ["=======", "<<<<<<<", "{", "{\"a", "a b\tc", "MIIabc", "---", "\u{1f511}"] {
                assert_eq!(parse_value(Some(kind), value.as_bytes()), Ok(value));
            }
        }
        let id = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
        assert_eq!(parse_value(Some(Password), id.as_bytes()), Ok(id));
        for id in [id, "6F9619FF-8B86-D011-B42D-00C04FC964FF\r\n", " 6f9619ff8b86d011b42d00c04fc964ff "] {
            assert_eq!(parse_value(Some(ClientSecret), id.as_bytes()), Err(CredentialError::SecretId), "{id:?}");
        }
        let answer = "{\n  \"appId\": \"x\",\n  \"password\": \"y\"\n}\n";
        assert_eq!(parse_value(Some(ClientSecret), answer.as_bytes()), Err(CredentialError::Json));
    }
}
