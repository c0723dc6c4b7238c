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

use base64::{Engine as _, prelude::BASE64_STANDARD};

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
    /// It is PKCS#12 or DER in base64, without PEM's lines around it.
    #[error("it is a PFX or DER file in base64, and a certificate is needed in PEM form")]
    Base64,
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
    let Some(kind) = kind else { return Ok(text) };
    if !text.contains("-----BEGIN ") && is_base64_of_binary(text) {
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
    if text.contains(['\r', '\n']) { Err(Unfit::LineBreaks(kind.words())) } else { Ok(()) }
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

fn is_base64_of_binary(text: &str) -> bool {
    // Longer than any password; DER that begins with a long length is `MI...` in base64.
    if text.len() < 200 || !text.starts_with("MI") {
        return false;
    }
    let packed: String = text.split_whitespace().collect();
    BASE64_STANDARD.decode(packed).is_ok_and(|bytes| binary(&bytes).is_some())
}

#[cfg(test)]
mod tests {
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
