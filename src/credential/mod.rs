//! Values of credentials: whether a value can be what its field needs. Pure; asked when a value is sealed, when it is
//! applied, when it is verified and before it is sent.
//!
//! * [`CredentialKind`]: password, client secret or certificate; a profile's field decides
//! * [`text`]: the value as text, or the reason why it is [`Unfit`]
//! * [`trim`]: what a pipe or an editor added around a value
//! * [`Certificate`](certificate::CertificateWithKey): the certificate and the key of a PEM file that belong together
//!
//! No message quotes a value.

pub mod certificate;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use zeroize::Zeroizing;

pub use crate::model::CredentialKind;
use crate::model::provider::{Credential, Provider};
pub use certificate::{CertificateError, CertificateWithKey};

/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

impl CredentialKind {
    /// The kind of a profile's secret; none if it names none.
    pub fn of(provider: &Provider) -> Option<Self> {
        match provider {
            Provider::Smtp(smtp) => match (&smtp.password, &smtp.oauth) {
                (Some(_), _) => Some(Self::Password),
                (None, Some(oauth)) => Self::of_credential(&oauth.credential),
                (None, None) => None,
            },
            Provider::MicrosoftGraphDirect(direct) => Self::of_credential(&direct.credential),
            Provider::MicrosoftGraphDelegate(_) => None,
        }
    }

    /// The kind of an application's credential; none for a federated token.
    pub fn of_credential(credential: &Credential) -> Option<Self> {
        match credential {
            Credential::ClientSecret(_) => Some(Self::ClientSecret),
            Credential::Certificate(_) => Some(Self::Certificate),
            Credential::FederatedTokenFile(_) => None,
        }
    }

    /// The kind that a field of a profile needs, by its key.
    pub fn of_field(key: &str) -> Option<Self> {
        match key {
            "password" => Some(Self::Password),
            "clientSecret" => Some(Self::ClientSecret),
            "certificate" => Some(Self::Certificate),
            _ => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Password => "a password",
            Self::ClientSecret => "a client secret",
            Self::Certificate => "a certificate with its key",
        }
    }
}

/// Why a value cannot be what its field needs. Never quotes the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is UTF-16, as Windows PowerShell writes files.
    #[error("it is UTF-16 text, as Windows PowerShell writes files, and a secret is UTF-8")]
    Utf16,
    /// It is a PKCS#12 file.
    #[error("it is a PFX (PKCS#12) file, and a certificate is needed in PEM form")]
    Pkcs12,
    /// It is a Java keystore.
    #[error("it is a Java keystore, and a certificate is needed in PEM form")]
    Keystore,
    /// It is DER.
    #[error("it is a certificate or key in DER form, and PEM form is needed")]
    Der,
    /// It is PKCS#12 or DER in base64 or hexadecimal, without PEM's lines around it.
    #[error("it is a PFX or DER file in base64 or hexadecimal, and a certificate is needed in PEM form")]
    Base64,
    /// It is a PEM file in base64.
    #[error("it is a PEM file in base64, and the file itself is needed")]
    PemInBase64,
    /// It is a JSON Web Key (RFC 7517).
    #[error("it is a JSON Web Key, and a certificate is needed in PEM form")]
    WebKey,
    /// It is encrypted by another program.
    #[error("it is encrypted by {0}, and the value itself is needed")]
    Encrypted(&'static str),
    /// It is a manifest of Kubernetes.
    #[error("it is a Kubernetes secret, and one value of it is needed")]
    KubernetesSecret,
    /// It is an assignment, as files of environment variables have them.
    #[error("it is an assignment to a variable, and the value alone is needed")]
    Assignment,
    /// It has a byte order mark inside.
    #[error("it has a byte order mark inside it, which is invisible and belongs to no value")]
    InnerMark,
    /// It is neither of these, and not text.
    #[error("it is not text")]
    NotText,
    /// It has control characters.
    #[error("it has a control character in it")]
    Control,
    /// It is an age file.
    #[error("it is an age file: it would be sealed twice")]
    AgeFile,
    /// It has the markers of a merge that was not resolved.
    #[error("it has merge conflict markers in it")]
    MergeMarkers,
    /// It is a pointer of Git LFS or git-annex.
    #[error("it is a pointer of Git LFS or git-annex, and not the file that it stands for")]
    Pointer,
    /// It is a key or certificate where a password or client secret belongs.
    #[error("it is a private key or certificate, and {0} is needed")]
    Pem(&'static str),
    /// It has more than one line.
    #[error("it has line breaks, and {0} is one line")]
    LineBreaks(&'static str),
    /// It is the id of a client secret.
    #[error("it is a GUID: the id of a client secret, not its value")]
    SecretId,
    /// It is the answer of a command that made a client secret.
    #[error("it is a JSON document, and only the client secret's value is needed")]
    Json,
    /// The certificate or its key cannot be used.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
}

impl Unfit {
    /// The way to a value that fits.
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty => "Seal the real value.".to_owned(),
            Self::Utf16 => "Save it as UTF-8, in PowerShell: [IO.File]::WriteAllText('value.txt', $value); then seal value.txt.".to_owned(),
            Self::Pkcs12 | Self::Base64 => "openssl pkcs12 -in FILE.pfx -nodes -out certificate.pem (base64: decode it first); then seal certificate.pem.".to_owned(),
            Self::PemInBase64 => "base64 --decode < FILE > value.pem; then seal value.pem.".to_owned(),
            Self::WebKey => "Seal the certificate with its private key as PEM; the program that wrote the key converts it.".to_owned(),
            Self::Encrypted(_) => "Decrypt it with that program first, and seal the result.".to_owned(),
            Self::KubernetesSecret => "kubectl get secret NAME --output jsonpath='{.data.KEY}' | base64 --decode; then seal that.".to_owned(),
            Self::Assignment => "Seal what is behind the equals sign, without quotation marks.".to_owned(),
            Self::InnerMark => "Type the value again, or save the file as UTF-8 without a byte order mark.".to_owned(),
            Self::Keystore => "keytool -importkeystore -srckeystore FILE.jks -destkeystore FILE.pfx -deststoretype PKCS12; openssl pkcs12 -in FILE.pfx -nodes -out certificate.pem; then seal certificate.pem.".to_owned(),
            Self::Der => "openssl x509 -inform DER -in FILE.cer > certificate.pem; openssl pkey -inform DER -in FILE.key >> certificate.pem; then seal certificate.pem.".to_owned(),
            Self::NotText | Self::Control => "Seal the value as UTF-8 text: a password, a client secret, or a PEM file.".to_owned(),
            Self::AgeFile => "Seal the value itself; `age -d -i KEYFILE FILE` opens the file.".to_owned(),
            Self::MergeMarkers => "Resolve the conflict first: take one of the two values.".to_owned(),
            Self::Pointer => "Fetch the file first (git lfs pull, git annex get), and seal that.".to_owned(),
            Self::Pem(_) => "Seal the password or client secret; a certificate belongs into a credential `certificate: { secret: ... }`.".to_owned(),
            Self::LineBreaks(_) => "Seal the value alone, on one line.".to_owned(),
            Self::SecretId => "Seal the value, which the portal shows once, beside its id; if it is lost, make a new client secret.".to_owned(),
            Self::Json => "Seal the field `password` of it alone: ... --query password --output tsv.".to_owned(),
            Self::Certificate(error) => error.remedy().to_owned(),
        }
    }

    /// Returns true if it is the receiver that does not take such a value today, and the value itself is sound.
    pub fn depends_on_receiver(&self) -> bool {
        matches!(self, Self::Certificate(CertificateError::EllipticKey | CertificateError::OtherKey))
    }
}

/// A value without what a pipe or an editor added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Whether there was a byte order mark before it.
    pub had_mark: bool,
    /// Whether there was a line end behind it.
    pub had_line_end: bool,
}

/// Takes off a UTF-8 byte order mark at the beginning and one line end at the end, which most programs add.
pub fn trim(value: &[u8]) -> Trimmed<'_> {
    let unmarked = value.strip_prefix(MARK);
    let rest = unmarked.unwrap_or(value);
    let ended = rest.strip_suffix(b"\r\n").or_else(|| rest.strip_suffix(b"\n"));
    Trimmed { value: ended.unwrap_or(rest), had_mark: unmarked.is_some(), had_line_end: ended.is_some() }
}

/// The value as its field needs it. Without a kind, only what no field can need is refused.
pub fn text(kind: Option<CredentialKind>, value: &[u8]) -> Result<&str, Unfit> {
    let value = trim(value).value;
    if value.is_empty() {
        return Err(Unfit::Empty);
    }
    if is_utf16(value) {
        return Err(Unfit::Utf16);
    }
    if let Some(unfit) = binary(value) {
        return Err(unfit);
    }
    let text = std::str::from_utf8(value).map_err(|_| Unfit::NotText)?;
    if text.starts_with("age-encryption.org/") || text.trim_start().starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        return Err(Unfit::AgeFile);
    }
    let is_marker = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    if text.lines().any(is_marker) {
        return Err(Unfit::MergeMarkers);
    }
    if text.starts_with("version https://git-lfs.github.com/spec/") || text.starts_with("/annex/objects/") {
        return Err(Unfit::Pointer);
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n')) {
        return Err(Unfit::Control);
    }
    if let Some(unfit) = other_document(text) {
        return Err(unfit);
    }
    let Some(kind) = kind else { return Ok(text) };
    if !text.contains("-----BEGIN ") && is_text_of_binary(text) {
        return Err(Unfit::Base64);
    }
    match kind {
        CredentialKind::Certificate => {
            CertificateWithKey::parse(text)?;
        }
        CredentialKind::Password | CredentialKind::ClientSecret => one_line(kind, text)?,
    }
    Ok(text)
}

/// Recognises documents of other programs that hold a secret, or hold it encrypted.
fn other_document(text: &str) -> Option<Unfit> {
    if text.contains('\u{feff}') {
        return Some(Unfit::InnerMark);
    }
    let start = text.trim_start();
    if start.starts_with("$ANSIBLE_VAULT;") {
        return Some(Unfit::Encrypted("Ansible Vault"));
    }
    if text.contains("ENC[AES256_GCM,data:") {
        return Some(Unfit::Encrypted("SOPS"));
    }
    if start.starts_with("-----BEGIN PGP MESSAGE-----") {
        return Some(Unfit::Encrypted("PGP"));
    }
    // `-----BEGIN` in base64.
    if start.starts_with("LS0tLS1CRUdJTi") {
        return Some(Unfit::PemInBase64);
    }
    let has_line = |wanted: &[&str]| text.lines().any(|line| wanted.contains(&line.trim_end()));
    if text.lines().any(|line| line.starts_with("apiVersion:")) && has_line(&["kind: Secret", "kind: SealedSecret"]) {
        return Some(Unfit::KubernetesSecret);
    }
    if start.starts_with('{')
        && let Ok(document) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(start)
    {
        let has_key_type = |key: &serde_json::Value| key.get("kty").is_some_and(serde_json::Value::is_string);
        let keys = document.get("keys").and_then(serde_json::Value::as_array);
        if document.get("kty").is_some_and(serde_json::Value::is_string)
            || keys.is_some_and(|keys| keys.iter().any(has_key_type))
        {
            return Some(Unfit::WebKey);
        }
        if document.contains_key("apiVersion")
            && document.get("kind").is_some_and(|kind| kind == "Secret" || kind == "SealedSecret")
        {
            return Some(Unfit::KubernetesSecret);
        }
    }
    None
}

/// Returns true for `SMTP_PASSWORD=...`: a name in capitals that says it is a secret, and something behind the sign.
fn is_assignment(line: &str) -> bool {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else { return false };
    let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let is_secret = ["PASSWORD", "PASSWD", "SECRET"].iter().any(|word| name.contains(word));
    is_name && is_secret && !value.trim_matches('=').is_empty()
}

fn one_line(kind: CredentialKind, text: &str) -> Result<(), Unfit> {
    let is_key =
        text.contains("-----BEGIN ") || text.starts_with("AGE-SECRET-KEY-") || text.starts_with("PuTTY-User-Key");
    if is_key {
        return Err(Unfit::Pem(kind.words()));
    }
    if kind == CredentialKind::ClientSecret {
        if text.trim_start().starts_with('{')
            && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
        {
            return Err(Unfit::Json);
        }
        if uuid::Uuid::try_parse(text.trim()).is_ok() {
            return Err(Unfit::SecretId);
        }
    }
    if text.contains(['\r', '\n']) {
        return Err(Unfit::LineBreaks(kind.words()));
    }
    if is_assignment(text) { Err(Unfit::Assignment) } else { Ok(()) }
}

/// With its mark, or as text of the Latin alphabet without one.
fn is_utf16(value: &[u8]) -> bool {
    if value.starts_with(b"\xff\xfe") || value.starts_with(b"\xfe\xff") {
        return true;
    }
    let (pairs, _) = value.as_chunks::<2>();
    pairs.len() >= 2 && (pairs.iter().all(|[_, high]| *high == 0) || pairs.iter().all(|[high, _]| *high == 0))
}

/// Recognises binary files that hold certificates and keys.
fn binary(value: &[u8]) -> Option<Unfit> {
    if value.starts_with(b"\xfe\xed\xfe\xed") || value.starts_with(b"\xce\xce\xce\xce") {
        return Some(Unfit::Keystore);
    }
    // An ASN.1 SEQUENCE with a long or open length: nothing that somebody types begins so.
    let [0x30, length @ 0x80..=0x84, rest @ ..] = value else { return None };
    let contents = rest.get(usize::from(length & 0x7f)..).unwrap_or_default();
    // A PFX begins with its version, 3 (RFC 7292).
    Some(if contents.starts_with(&[0x02, 0x01, 0x03]) { Unfit::Pkcs12 } else { Unfit::Der })
}

/// Returns true for the bytes of [`binary`] written as base64, as base64url, or in hexadecimal.
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
        return bytes.is_ok_and(|bytes| binary(&Zeroizing::new(bytes)).is_some());
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
    binary(bytes) == Some(Unfit::Pkcs12) || rest.len().checked_sub(count) == Some(stated)
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
    fn a_mark_and_one_line_end_are_taken_off() {
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
            assert_eq!(text(kind, b"\xef\xbb\xbfs3cret, \xc3\xbc\r\n"), Ok("s3cret, \u{fc}"));
        }
    }

    #[test]
    fn what_no_field_needs_is_refused_whatever_the_field() {
        let long_pfx = [&[0x30, 0x82, 0x0a, 0x3f, 0x02, 0x01, 0x03, 0x30][..], &[0x11; 60]].concat();
        let open_pfx = [&[0x30, 0x80, 0x02, 0x01, 0x03, 0x30][..], &[0x11; 60]].concat();
        let der = [&[0x30, 0x82, 0x03, 0x0f, 0x30, 0x82][..], &[0x11; 60]].concat();
        let cases = [
            (b"".to_vec(), Unfit::Empty),
            (b"\xef\xbb\xbf\n".to_vec(), Unfit::Empty),
            (utf16("s3cret\r\n", false, true), Unfit::Utf16),
            (utf16("s3cret", true, true), Unfit::Utf16),
            (utf16("s3cret", false, false), Unfit::Utf16),
            (utf16("s3cret", true, false), Unfit::Utf16),
            (utf16("-----BEGIN CERTIFICATE-----\r\n", false, true), Unfit::Utf16),
            (long_pfx, Unfit::Pkcs12),
            (open_pfx, Unfit::Pkcs12),
            (der, Unfit::Der),
            (b"\xfe\xed\xfe\xed\x00\x00\x00\x02".to_vec(), Unfit::Keystore),
            (b"caf\xe9".to_vec(), Unfit::NotText),
            (b"s3\x00cret".to_vec(), Unfit::Control),
            (b"s3\x1bcret".to_vec(), Unfit::Control),
            (b"age-encryption.org/v1\n-> X25519 x\n".to_vec(), Unfit::AgeFile),
            (b"-----BEGIN AGE ENCRYPTED FILE-----\nx\n".to_vec(), Unfit::AgeFile),
            (b"<<<<<<< HEAD\na\n=======\nb\n>>>>>>> topic\n".to_vec(), Unfit::MergeMarkers),
            (b"b\n>>>>>>> topic\n".to_vec(), Unfit::MergeMarkers),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n".to_vec(), Unfit::Pointer),
            (b"/annex/objects/SHA256E-s12--4d7a\n".to_vec(), Unfit::Pointer),
        ];
        for (value, why) in cases {
            for kind in [None, Some(Password), Some(ClientSecret), Some(Certificate)] {
                assert_eq!(text(kind, &value), Err(why.clone()), "{kind:?} {value:?}");
            }
            assert!(!why.remedy().is_empty());
        }
    }

    #[test]
    fn a_document_of_another_program_is_refused_whatever_the_field() {
        let cases = [
            ("$ANSIBLE_VAULT;1.1;AES256\n6131\n", Unfit::Encrypted("Ansible Vault")),
            ("ENC[AES256_GCM,data:p673w==,iv:YY=,tag:cQ==,type:str]", Unfit::Encrypted("SOPS")),
            (
                "password: ENC[AES256_GCM,data:p673w==,iv:YY=,tag:cQ==,type:str]\nsops:\n  mac: x\n",
                Unfit::Encrypted("SOPS"),
            ),
            ("-----BEGIN PGP MESSAGE-----\n\nhQE\n-----END PGP MESSAGE-----", Unfit::Encrypted("PGP")),
            ("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUI=", Unfit::PemInBase64),
            ("apiVersion: v1\nkind: Secret\ndata:\n  password: czNjcmV0\n", Unfit::KubernetesSecret),
            ("{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"data\": {}}", Unfit::KubernetesSecret),
            ("{\"kty\": \"RSA\", \"n\": \"AQAB\"}", Unfit::WebKey),
            ("{\"keys\": [{\"kty\": \"EC\"}]}", Unfit::WebKey),
            ("s3\u{feff}cret", Unfit::InnerMark),
            ("\u{feff}\u{feff}s3cret", Unfit::InnerMark),
        ];
        for (value, why) in cases {
            for kind in [None, Some(Password), Some(ClientSecret), Some(Certificate)] {
                assert_eq!(text(kind, value.as_bytes()), Err(why.clone()), "{kind:?} {value}");
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
                    assert_eq!(text(Some(kind), value.as_bytes()), Err(Unfit::Base64), "{kind:?} {value}");
                }
            }
        }
        // A long random number is a password.
        let random = "3082ffff".repeat(32);
        assert_eq!(text(Some(Password), random.as_bytes()), Ok(random.as_str()));
    }

    #[test]
    fn an_assignment_is_refused_and_what_resembles_one_is_not() {
        for kind in [Password, ClientSecret] {
            for value in ["PASSWORD=s3cret", "export SMTP_PASSWORD=\"s3cret\"", "AZURE_CLIENT_SECRET=abc~Q8"] {
                assert_eq!(text(Some(kind), value.as_bytes()), Err(Unfit::Assignment), "{value}");
            }
            for value in ["password=x", "PASSWORD=", "SECRET==", "A=b", "my PASSWORD=x", "cGFzc3dvcmQ="] {
                assert_eq!(text(Some(kind), value.as_bytes()), Ok(value));
            }
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
                assert_eq!(text(Some(kind), value.as_bytes()), Err(Unfit::Pem(kind.words())), "{value}");
            }
            for value in ["one\ntwo", "one\r\ntwo\r\n", "value\n\n", "value\r"] {
                assert_eq!(text(Some(kind), value.as_bytes()), Err(Unfit::LineBreaks(kind.words())), "{value:?}");
            }
            let binary = [&[0x30, 0x82, 0x0a, 0x3f, 0x02, 0x01, 0x03][..], &[0x11; 400]].concat();
            let base64 = BASE64_STANDARD.encode(binary);
            assert_eq!(text(Some(kind), base64.as_bytes()), Err(Unfit::Base64));
            for value in ["=======", "<<<<<<<", "{", "{\"a", "a b\tc", "MIIabc", "---", "\u{1f511}"] {
                assert_eq!(text(Some(kind), value.as_bytes()), Ok(value));
            }
        }
        let id = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
        assert_eq!(text(Some(Password), id.as_bytes()), Ok(id));
        for id in [id, "6F9619FF-8B86-D011-B42D-00C04FC964FF\r\n", " 6f9619ff8b86d011b42d00c04fc964ff "] {
            assert_eq!(text(Some(ClientSecret), id.as_bytes()), Err(Unfit::SecretId), "{id:?}");
        }
        let answer = "{\n  \"appId\": \"x\",\n  \"password\": \"y\"\n}\n";
        assert_eq!(text(Some(ClientSecret), answer.as_bytes()), Err(Unfit::Json));
    }
}
