//! Reasons why a value is unsuitable for its field, and the way to a suitable one. None quotes the value.
//!
//! [`CredentialError`] is returned by [`parse_value`](super::parse_value). Nothing here reads a value.

use super::CertificateError;

/// The reason why a value is unsuitable for its field. Never quotes the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The value is empty.
    #[error("it is empty")]
    Empty,
    /// The value consists of blanks and invisible characters.
    #[error("it consists of blanks or invisible characters alone")]
    Blank,
    /// The value begins or ends with a character that copying adds.
    #[error("it begins or ends with an invisible character or a no-break space, which copying adds")]
    InvisibleEnd,
    /// The value is a client secret that begins or ends with a blank.
    #[error("it begins or ends with a blank, and no client secret does")]
    BlankEnd,
    /// The value is UTF-16, as Windows PowerShell writes files.
    #[error("it is UTF-16 text, as Windows PowerShell writes files, and a secret is UTF-8")]
    Utf16,
    /// The value is a PKCS#12 file.
    #[error("it is a PFX (PKCS#12) file, and a certificate is needed in PEM form")]
    Pkcs12,
    /// The value is a Java keystore.
    #[error("it is a Java keystore, and a certificate is needed in PEM form")]
    Keystore,
    /// The value is DER.
    #[error("it is a certificate or key in DER form, and PEM form is needed")]
    Der,
    /// The value is PKCS#12 or DER in base64 or hexadecimal, without PEM's lines around it.
    #[error("it is a PFX or DER file in base64 or hexadecimal, and a certificate is needed in PEM form")]
    Base64,
    /// The value is a PEM file in base64.
    #[error("it is a PEM file in base64, and the file itself is needed")]
    PemInBase64,
    /// The value is a JSON Web Key (RFC 7517).
    #[error("it is a JSON Web Key, and a certificate is needed in PEM form")]
    WebKey,
    /// The value is encrypted by another program.
    #[error("it is encrypted by {0}, and the value itself is needed")]
    Encrypted(&'static str),
    /// The value is a manifest of Kubernetes.
    #[error("it is a Kubernetes secret, and one value of it is needed")]
    KubernetesSecret,
    /// The value is an assignment, as files of environment variables have them.
    #[error("it is an assignment to a variable, and the value alone is needed")]
    Assignment,
    /// The value has a byte order mark inside.
    #[error("it has a byte order mark inside it, which is invisible and belongs to no value")]
    InnerMark,
    /// The value is not text, and none of the above.
    #[error("it is not text")]
    NotText,
    /// The value has control characters.
    #[error("it contains a control character")]
    Control,
    /// The value is an age file.
    #[error("it is an age file: it would be sealed twice")]
    AgeFile,
    /// The value has the markers of a merge that was not resolved.
    #[error("it has merge conflict markers in it")]
    MergeMarkers,
    /// The value is a pointer of Git LFS or git-annex.
    #[error("it is a pointer of Git LFS or git-annex, and not the file itself")]
    Pointer,
    /// The value is a key or certificate where a password or client secret belongs.
    #[error("it is a private key or certificate, and {0} is needed")]
    Pem(&'static str),
    /// The value has more than one line.
    #[error("it has line breaks, and {0} is one line")]
    LineBreaks(&'static str),
    /// The value is the id of a client secret.
    #[error("it is a GUID: the id of a client secret, not its value")]
    SecretId,
    /// The value is the output of a command that created a client secret, as JSON.
    #[error("it is a JSON document, and only the client secret's value is needed")]
    Json,
    /// The certificate or its key cannot be used.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
}

impl CredentialError {
    /// Returns the way to a suitable value.
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty | Self::Blank => "Seal the real value.".to_owned(),
            Self::InvisibleEnd => "Type the first and last characters of the value again, or copy the value without what surrounds it.".to_owned(),
            Self::BlankEnd => "Seal the value without the blanks around it.".to_owned(),
            Self::Utf16 => "Save it as UTF-8, in PowerShell: [IO.File]::WriteAllText('value.txt', $value); then seal value.txt.".to_owned(),
            Self::Pkcs12 | Self::Base64 => "openssl pkcs12 -in FILE.pfx -nodes -out certificate.pem (base64: decode it first); then seal certificate.pem.".to_owned(),
            Self::PemInBase64 => "base64 --decode < FILE > value.pem; then seal value.pem.".to_owned(),
            Self::WebKey => "Seal the certificate with its private key as PEM; the program that wrote the key converts it.".to_owned(),
            Self::Encrypted(_) => "Decrypt it with that program first, and seal the result.".to_owned(),
            Self::KubernetesSecret => "kubectl get secret NAME --output jsonpath='{.data.KEY}' | base64 --decode; then seal that.".to_owned(),
            Self::Assignment => "Seal the text after the equals sign, without quotation marks.".to_owned(),
            Self::InnerMark => "Type the value again, or save the file as UTF-8 without a byte order mark.".to_owned(),
            Self::Keystore => "keytool -importkeystore -srckeystore FILE.jks -destkeystore FILE.pfx -deststoretype PKCS12; openssl pkcs12 -in FILE.pfx -nodes -out certificate.pem; then seal certificate.pem.".to_owned(),
            Self::Der => "openssl x509 -inform DER -in FILE.cer > certificate.pem; openssl pkey -inform DER -in FILE.key >> certificate.pem; then seal certificate.pem.".to_owned(),
            Self::NotText | Self::Control => "Seal the value as UTF-8 text: a password, a client secret, or a PEM file.".to_owned(),
            Self::AgeFile => "Seal the value itself; `age -d -i KEYFILE FILE` opens the file.".to_owned(),
            Self::MergeMarkers => "Resolve the conflict first: take one of the two values.".to_owned(),
            Self::Pointer => "Fetch the file first (git lfs pull, git annex get), and seal that.".to_owned(),
            Self::Pem(_) => "Seal the password or client secret; a certificate belongs into a credential `certificate: { secret: ... }`.".to_owned(),
            Self::LineBreaks(_) => "Seal the value alone, on one line.".to_owned(),
            Self::SecretId => "Seal the value, which the portal shows once, next to its id; if it is lost, make a new client secret.".to_owned(),
            Self::Json => "Seal the field `password` of it alone: ... --query password --output tsv.".to_owned(),
            Self::Certificate(error) => error.remedy().to_owned(),
        }
    }

    /// Returns true if the value itself is valid, and only its receiver does not accept the kind of key at present.
    pub fn depends_on_receiver(&self) -> bool {
        matches!(self, Self::Certificate(CertificateError::EllipticKey | CertificateError::OtherKey))
    }
}
