//! Finds the certificate and the private key that belong together in a PEM file, whatever the order of its blocks.
//!
//! Entra accepts RSA keys for certificates of applications (Microsoft, "Certificate credentials": PS256 or RS256). Other keys are
//! recognised only to give the reason. If several certificates have the key, the one that expires last is used. A file without such
//! a pair is a [`CertificateError`] with a remedy. Whether the certificate is valid now is answered by
//! [`CertificateWithKey::invalid_at`], and does not matter for finding it.

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use secrecy::SecretString;
use zeroize::Zeroizing;

/// `rsaEncryption` (RFC 8017): the algorithm of an RSA key, as DER has it in a PKCS#8 key.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// `id-ecPublicKey` (RFC 5480): the algorithm of an elliptic-curve key.
const ELLIPTIC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// The certificate and the private key that belong together.
#[derive(Debug)]
pub struct CertificateWithKey {
    /// The certificate, as DER.
    pub der: Vec<u8>,
    /// The key, as one PEM block.
    pub key: SecretString,
}

/// The reason why a certificate cannot be used. Never quotes the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file holds no certificate in PEM form.
    #[error("the file holds no certificate in PEM form")]
    NoCertificate,
    /// The file holds a certificate request instead of a certificate.
    #[error("the file holds a request for a certificate, and not the certificate itself")]
    Request,
    /// The file holds a certificate in OpenSSL's own form, with its settings of trust.
    #[error("the file holds a certificate in OpenSSL's own form (TRUSTED CERTIFICATE), and the usual form is needed")]
    TrustedForm,
    /// The file holds certificates in a PKCS#7 container.
    #[error("the file holds its certificates in a container (PKCS#7), and each is needed by itself")]
    Container,
    /// The file holds no private key.
    #[error("the file holds a certificate without its private key")]
    NoKey,
    /// A block of the file is cut off, or not what its first line says.
    #[error("the file is damaged: a block of it is cut off, or not what its first line says")]
    Damaged,
    /// The key is protected by a passphrase.
    #[error("the private key is encrypted with a passphrase, which the service cannot enter")]
    EncryptedKey,
    /// The key is an elliptic-curve key.
    #[error("the private key is an elliptic-curve key, and Entra accepts RSA keys only")]
    EllipticKey,
    /// The key is neither RSA nor of an elliptic curve.
    #[error("the private key is not an RSA key, and Entra accepts RSA keys only")]
    OtherKey,
    /// The key is in the form that OpenSSH writes.
    #[error("the private key is in OpenSSH's form, and PEM form is needed")]
    OpenSshKey,
    /// The RSA key cannot be used.
    #[error("the RSA private key cannot be used: it is damaged, or has fewer than 2048 bits")]
    UnusableKey,
    /// The key belongs to none of the certificates.
    #[error("the private key belongs to none of the certificates in the file")]
    KeyOfAnother,
    /// The private key fails to sign.
    #[error("the private key cannot sign")]
    NotSigned,
}

impl CertificateError {
    /// Returns the way to a usable file.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoCertificate | Self::NoKey => {
                "Put both into one file: cat certificate.pem key.pem > both.pem; then seal both.pem."
            }
            Self::Request => {
                "Seal the certificate that the authority made of the request, with the key that the request was made with."
            }
            Self::TrustedForm => {
                "Convert it: openssl x509 -in FILE -out certificate.pem; cat certificate.pem key.pem > both.pem; then seal both.pem."
            }
            Self::Container => {
                "Convert it: openssl pkcs7 -print_certs -in FILE -out certificate.pem; cat certificate.pem key.pem > both.pem; then seal both.pem."
            }
            Self::Damaged | Self::UnusableKey => {
                "Check it with `openssl x509 -in FILE -noout -text` and `openssl rsa -in FILE -check -noout`; then seal a whole file."
            }
            Self::EncryptedKey => {
                "Remove the passphrase, which sealing replaces: openssl pkey -in FILE -out key.pem; cat certificate.pem key.pem > both.pem; then seal both.pem."
            }
            Self::EllipticKey | Self::OtherKey => {
                "Make a certificate with an RSA key: openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=mail -keyout key.pem -out certificate.pem; upload certificate.pem to the registration, and seal both."
            }
            Self::OpenSshKey => {
                "Convert a copy of it: ssh-keygen -p -m PEM -f COPY; then seal it with its certificate."
            }
            Self::KeyOfAnother => {
                "These two must print the same: openssl x509 -in FILE -noout -pubkey; openssl pkey -in FILE -pubout. Seal the key with its own certificate."
            }
            Self::NotSigned => "Seal the certificate and its key once more.",
        }
    }
}

/// A block of a PEM file.
struct Block<'a> {
    label: &'a str,
    der: Zeroizing<Vec<u8>>,
    is_encrypted: bool,
}

impl CertificateWithKey {
    /// Finds the certificate and the key that belong together, in any order and among other blocks.
    pub fn parse(pem: &str) -> Result<Self, CertificateError> {
        let blocks = parse_blocks(pem)?;
        let certificates: Vec<&Block<'_>> =
            blocks.iter().filter(|block| matches!(block.label, "CERTIFICATE" | "X509 CERTIFICATE")).collect();
        let keys: Vec<&Block<'_>> = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY")).collect();
        if certificates.is_empty() {
            let has = |is_meant: fn(&str) -> bool| blocks.iter().any(|block| is_meant(block.label));
            return Err(if has(|label| label == "TRUSTED CERTIFICATE") {
                CertificateError::TrustedForm
            } else if has(|label| matches!(label, "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" | "CERTIFICATE CHAIN")) {
                CertificateError::Container
            } else if has(|label| label.ends_with("CERTIFICATE REQUEST")) {
                CertificateError::Request
            } else {
                CertificateError::NoCertificate
            });
        }
        if keys.is_empty() {
            return Err(CertificateError::NoKey);
        }
        // The public key and the expiry (seconds since 1970) of each certificate.
        let mut known = Vec::new();
        for certificate in certificates {
            let (_, parsed) =
                x509_parser::parse_x509_certificate(&certificate.der).map_err(|_| CertificateError::Damaged)?;
            let public = parsed.public_key().subject_public_key.data.to_vec();
            known.push((public, parsed.validity().not_after.timestamp(), certificate));
        }
        let mut reason = None;
        for key in keys {
            let public = match public_key(key) {
                Ok(public) => public,
                Err(error) => {
                    reason = reason.or(Some(error));
                    continue;
                }
            };
            // If a certificate and its renewal have the same key, the one that expires later is used.
            let own = known.iter().filter(|(other, _, _)| *other == public).max_by_key(|(_, expiry, _)| *expiry);
            if let Some((_, _, certificate)) = own {
                return Ok(Self { der: certificate.der.to_vec(), key: to_pem(key) });
            }
            reason = Some(CertificateError::KeyOfAnother);
        }
        Err(reason.unwrap_or(CertificateError::NoKey))
    }
}

impl CertificateWithKey {
    /// Describes why the certificate is not valid at a time; none if it is.
    pub fn invalid_at(&self, now: Timestamp) -> Option<String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.der).ok()?;
        let validity = parsed.validity();
        let at = |time: i64| Timestamp::from_second(time).ok();
        let (from, until) = (at(validity.not_before.timestamp())?, at(validity.not_after.timestamp())?);
        if until < now {
            return Some(format!("the certificate expired on {}", until.strftime("%Y-%m-%d")));
        }
        (from > now).then(|| format!("the certificate is not valid before {}", from.strftime("%Y-%m-%d %H:%MZ")))
    }
}

/// Returns true if a PKCS#8 key names this algorithm near its beginning.
fn names_algorithm(key: &Block<'_>, algorithm: &[u8]) -> bool {
    key.der.windows(algorithm.len()).take(40).any(|window| window == algorithm)
}

/// Returns the public half of a private key, in the form that certificates contain.
fn public_key(key: &Block<'_>) -> Result<Vec<u8>, CertificateError> {
    let pair = match key.label {
        _ if key.is_encrypted => return Err(CertificateError::EncryptedKey),
        "OPENSSH PRIVATE KEY" => return Err(CertificateError::OpenSshKey),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&key.der),
        "PRIVATE KEY" if names_algorithm(key, RSA) => RsaKeyPair::from_pkcs8(&key.der),
        "EC PRIVATE KEY" => return Err(CertificateError::EllipticKey),
        _ if names_algorithm(key, ELLIPTIC) => return Err(CertificateError::EllipticKey),
        _ => return Err(CertificateError::OtherKey),
    };
    pair.map(|pair| pair.public_key().as_ref().to_vec()).map_err(|_| CertificateError::UnusableKey)
}

/// Renders a block in the standard form: without indents and headers, and with LF.
fn to_pem(key: &Block<'_>) -> SecretString {
    let body = Zeroizing::new(BASE64_STANDARD.encode(&key.der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 100));
    text.push_str(&format!("-----BEGIN {}-----\n", key.label));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(&format!("-----END {}-----\n", key.label));
    SecretString::from(text.as_str())
}

/// Returns the blocks of a PEM file in order. Text around them is ignored.
fn parse_blocks(pem: &str) -> Result<Vec<Block<'_>>, CertificateError> {
    const BEGIN: &str = "-----BEGIN ";
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some(start) = rest.find(BEGIN) {
        let named = rest.get(start + BEGIN.len()..).unwrap_or_default();
        let (label, body) = named.split_once("-----").ok_or(CertificateError::Damaged)?;
        let (body, after) = body.split_once(&format!("-----END {label}-----")).ok_or(CertificateError::Damaged)?;
        rest = after;
        // RFC 1421: lines with a colon are headers; OpenSSL marks an encrypted key with `Proc-Type: 4,ENCRYPTED`.
        let headers = || body.lines().filter(|line| line.contains(':'));
        let is_encrypted = label == "ENCRYPTED PRIVATE KEY"
            || headers().any(|line| line.contains("Proc-Type") && line.contains("ENCRYPTED"));
        let mut packed = Zeroizing::new(String::with_capacity(body.len()));
        // Continuation lines of a header have no colon, and precede the empty line.
        let lines = match headers().next() {
            Some(_) => body.split_once("\n\n").or_else(|| body.split_once("\r\n\r\n")).map_or(body, |(_, rest)| rest),
            None => body,
        };
        lines.lines().filter(|line| !line.contains(':')).for_each(|line| packed.extend(line.split_whitespace()));
        let der = BASE64_STANDARD.decode(packed.as_bytes()).map(Zeroizing::new);
        match der {
            Ok(der) => found.push(Block { label, der, is_encrypted }),
            // A damaged block of another kind is ignored.
            Err(_) if label.ends_with("PRIVATE KEY") || label.ends_with("CERTIFICATE") => {
                return Err(CertificateError::Damaged);
            }
            Err(_) => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
    use secrecy::ExposeSecret as _;

    use super::*;

    /// A certificate and its key, as PEM.
    fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(vec!["mail.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn parse(pem: &str) -> Result<Vec<u8>, CertificateError> {
        CertificateWithKey::parse(pem).map(|found| found.der)
    }

    #[test]
    fn other_forms_of_a_certificate_are_named() {
        let (own, key) = pair(&PKCS_RSA_SHA256);
        for (label, error) in [
            ("TRUSTED CERTIFICATE", CertificateError::TrustedForm),
            ("PKCS7", CertificateError::Container),
            ("CMS", CertificateError::Container),
            ("NEW CERTIFICATE REQUEST", CertificateError::Request),
        ] {
            assert_eq!(parse(&format!("{}{key}", own.replace("CERTIFICATE", label))), Err(error));
            assert!(error.remedy().ends_with('.'));
        }
    }

    #[test]
    fn the_times_of_a_certificate_are_compared() {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let mut parameters = CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 2, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let file = parameters.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let found = CertificateWithKey::parse(&file).unwrap();
        let at = |time: &str| found.invalid_at(time.parse().unwrap());
        assert_eq!(at("2026-02-10T00:00:00Z"), None);
        assert_eq!(at("2026-03-02T00:00:00Z").unwrap(), "the certificate expired on 2026-03-01");
        assert_eq!(at("2026-01-31T00:00:00Z").unwrap(), "the certificate is not valid before 2026-02-01 00:00Z");
    }

    #[test]
    fn the_certificate_of_the_key_is_found_in_any_order() {
        let (own, key) = pair(&PKCS_RSA_SHA256);
        let (other, other_key) = pair(&PKCS_RSA_SHA256);
        let (elliptic, elliptic_key) = pair(&PKCS_ECDSA_P256_SHA256);
        let alone = parse(&format!("{own}{key}")).unwrap();
        for file in [
            format!("{key}{own}"),
            format!("{other}{own}{key}"),
            format!("{own}{other}{key}"),
            format!("{key}{other}{own}"),
            format!("{elliptic}{own}{elliptic_key}{key}"),
            format!(
                "Bag Attributes\r\n    localKeyID: 01\r\nsubject=CN = mail\r\n{}",
                format!("{other}{own}{key}").replace('\n', "\r\n")
            ),
            format!("{own}\n-----BEGIN DH PARAMETERS-----\n!!\n-----END DH PARAMETERS-----\n{key}"),
            own.lines().chain(key.lines()).map(|line| format!("  {line}\n")).collect(),
        ] {
            assert_eq!(parse(&file).as_ref(), Ok(&alone), "{file}");
        }
        for file in [format!("{other}{key}"), format!("{own}{other_key}"), format!("{elliptic}{key}")] {
            assert_eq!(parse(&file), Err(CertificateError::KeyOfAnother));
        }
        assert_eq!(parse(&format!("{elliptic}{elliptic_key}")), Err(CertificateError::EllipticKey));
        // The key that is handed on is one block that signs.
        let found = CertificateWithKey::parse(&format!("{other}{own}{key}")).unwrap();
        assert!(jsonwebtoken::EncodingKey::from_rsa_pem(found.key.expose_secret().as_bytes()).is_ok());
    }

    #[test]
    fn each_fault_of_a_file_is_distinguished() {
        let (own, key) = pair(&PKCS_RSA_SHA256);
        let cut: String = key.lines().take(5).map(|line| format!("{line}\n")).collect();
        let relabelled = |label: &str| key.replace("PRIVATE KEY", label);
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        for (file, why) in [
            (key.clone(), CertificateError::NoCertificate),
            ("no PEM at all".to_owned(), CertificateError::NoCertificate),
            (own.clone(), CertificateError::NoKey),
            (format!("{own}{cut}"), CertificateError::Damaged),
            (format!("{own}{}", key.replacen("MII", "MI!", 1)), CertificateError::Damaged),
            (format!("{}{key}", own.replacen("MII", "AAA", 1)), CertificateError::Damaged),
            (format!("{own}{}", relabelled("ENCRYPTED PRIVATE KEY")), CertificateError::EncryptedKey),
            (format!("{own}{traditional}"), CertificateError::EncryptedKey),
            (format!("{own}{}", relabelled("OPENSSH PRIVATE KEY")), CertificateError::OpenSshKey),
            (format!("{own}{}", relabelled("RSA PRIVATE KEY")), CertificateError::UnusableKey),
            (format!("{own}{}", relabelled("DSA PRIVATE KEY")), CertificateError::OtherKey),
            (format!("{}{key}", own.replace("CERTIFICATE", "CERTIFICATE REQUEST")), CertificateError::Request),
        ] {
            assert_eq!(parse(&file), Err(why), "{file}");
            assert!(!why.remedy().is_empty());
        }
    }
}
