//! Certificates and handshakes of servers that OpenSSL made: what is accepted, what is not, and in which words.

use std::{path::Path, process::Stdio, sync::Arc};

use mailwright::net::{certificate_fault::CertificateFault, handshake_fault::HandshakeFault, tls::Trust};
use rustls::pki_types::ServerName;
use serde_json::json;

use crate::{
    mail_service::QUICK,
    support::{
        postfix::{free_port, wait_for},
        repository::TestRepository,
        tools::tool,
    },
};

fn sh(folder: &Path, script: &str) {
    let ended = std::process::Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(ended.status.success(), "{script}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// A server of OpenSSL's with a certificate; it ends with this.
struct Server {
    port: u16,
    child: std::process::Child,
}

impl Server {
    fn start(folder: &Path, name: &str, more: &[&str]) -> Self {
        let port = free_port();
        let mut command = std::process::Command::new(tool("openssl"));
        command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        command.args(["-cert", &format!("{name}.pem"), "-key", &format!("{name}.key")]).args(more).current_dir(folder);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), "OpenSSL to listen");
        Self { port, child }
    }

    /// The outcome of a handshake.
    fn connect(&self, trust: &Trust) -> Result<(), HandshakeFault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(trust.client_config().unwrap()));
            let name = ServerName::try_from("localhost").unwrap();
            match connector.connect(name, stream).await {
                Ok(_) => Ok(()),
                Err(error) => Err(HandshakeFault::find(&error).unwrap_or_else(|| panic!("{error:?}"))),
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Certificates of the kinds that servers have: files NAME.pem and NAME.key.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("mailwright-trust-").tempdir().unwrap();
    let openssl = tool("openssl").display().to_string();
    let own = |name: &str, more: &str| {
        format!(
            "{openssl} req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -subj /O={name}/CN=localhost {more} 2>/dev/null"
        )
    };
    let san = "-addext subjectAltName=DNS:localhost";
    let steps = [
        own("authority", &format!("-days 30 {san}")),
        own("misnamed", "-days 30 -addext subjectAltName=DNS:elsewhere.example"),
        own("nameless", "-days 30"),
        own("sha1", &format!("-days 30 -sha1 {san}")),
        // Issued by another one, and in the file itself.
        own("issuer", "-days 30"),
        format!(
            "{openssl} req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /O=leaf/CN=localhost 2>/dev/null\n\
             printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > leaf.ext\n\
             {openssl} x509 -req -in leaf.csr -CA issuer.pem -CAkey issuer.key -CAcreateserial -days 30 -extfile leaf.ext -out leaf.pem 2>/dev/null\n\
             {openssl} x509 -req -sha1 -in leaf.csr -CA issuer.pem -CAkey issuer.key -CAcreateserial -days 30 -extfile leaf.ext -out weak.pem 2>/dev/null\n\
             cp leaf.key weak.key\n\
             {openssl} x509 -req -in leaf.csr -signkey leaf.key -days 30 -out version1.pem 2>/dev/null\n\
             cp leaf.key version1.key\n\
             printf 'subjectAltName=DNS:other.example\\nbasicConstraints=CA:FALSE\\n' > other.ext\n\
             {openssl} req -newkey rsa:2048 -nodes -keyout child.key -out child.csr -subj /O=child/CN=localhost 2>/dev/null\n\
             {openssl} x509 -req -in child.csr -CA leaf.pem -CAkey leaf.key -CAcreateserial -days 30 -extfile leaf.ext -out child.pem 2>/dev/null"
        ),
    ];
    sh(folder.path(), &steps.join("\n"));
    folder
}

#[test]
fn a_certificate_in_the_file_is_trusted_for_its_name_and_no_other() {
    let folder = certificates();
    let read = |name: &str| std::fs::read(folder.path().join(format!("{name}.pem"))).unwrap();
    let trust = |names: &[&str]| {
        let pem: Vec<u8> = names.iter().flat_map(|name| read(name)).collect();
        Trust::new(Some(&pem)).unwrap()
    };
    // OpenSSL shows a certificate that is signed with SHA-1 only if asked to.
    let lenient = ["-cipher", "DEFAULT:@SECLEVEL=0"];
    let handshake =
        |name: &str, trusted: &[&str]| Server::start(folder.path(), name, &lenient).connect(&trust(trusted));
    let certificate = HandshakeFault::Certificate;

    // Pinned: CA:TRUE as OpenSSL makes it, SHA-1, and one that another authority issued.
    assert_eq!(handshake("authority", &["authority"]), Ok(()));
    assert_eq!(handshake("sha1", &["sha1"]), Ok(()));
    assert_eq!(handshake("leaf", &["leaf"]), Ok(()));
    assert_eq!(handshake("leaf", &["issuer"]), Ok(()), "an authority, as before");
    // Its name counts all the same.
    let names = vec!["elsewhere.example".to_owned()];
    assert_eq!(handshake("misnamed", &["misnamed"]), Err(certificate(CertificateFault::Name { names })));
    let common_name = "localhost".to_owned();
    assert_eq!(handshake("nameless", &["nameless"]), Err(certificate(CertificateFault::NoName { common_name })));
    // A server's certificate in the file issues nothing.
    let Err(HandshakeFault::Certificate(CertificateFault::UnknownIssuer { .. })) = handshake("child", &["leaf"]) else {
        panic!("{:?}", handshake("child", &["leaf"]));
    };
    // What is not in the file is named as what it is.
    assert_eq!(handshake("authority", &["issuer"]), Err(certificate(CertificateFault::SelfSigned)));
    assert_eq!(handshake("version1", &["issuer"]), Err(certificate(CertificateFault::Version { version: 1 })));
    assert_eq!(handshake("version1", &["version1"]), Err(certificate(CertificateFault::Version { version: 1 })));
    let algorithm = "SHA-1".to_owned();
    assert_eq!(handshake("weak", &["issuer"]), Err(certificate(CertificateFault::WeakSignature { algorithm })));
}

#[test]
fn faults_of_a_chain_and_of_keys_are_named() {
    let folder = certificates();
    let script = r#"
        own() { name=$1; key=$2; shift 2; OPENSSL req -x509 -newkey "rsa:$key" -nodes -keyout "$name.key" -out "$name.pem" -subj "/O=$name/CN=$name" -days 30 "$@" 2>/dev/null; }
        issue() {
            OPENSSL req -newkey "rsa:$3" -nodes -keyout "$1.key" -out "$1.csr" -subj "/O=$1/CN=localhost" 2>/dev/null
            printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n%s\n' "$4" > "$1.ext"
            OPENSSL x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
        }
        own narrow 2048 -addext 'nameConstraints=critical,permitted;DNS:example.com'
        own small 1024
        issue constrained narrow 2048 ''
        issue clients issuer 2048 'extendedKeyUsage=clientAuth'
        issue critical issuer 2048 '1.2.3.4=critical,ASN1:UTF8String:x'
        issue weakkey issuer 1024 ''
        issue weakissuer small 2048 ''
    "#;
    sh(folder.path(), &script.replace("OPENSSL", &tool("openssl").display().to_string()));
    for (name, trusted, fault) in [
        ("constrained", "narrow", CertificateFault::NameConstraint),
        ("clients", "issuer", CertificateFault::Purpose),
        ("critical", "issuer", CertificateFault::CriticalExtension),
        ("weakkey", "issuer", CertificateFault::KeySize { bits: 1024, is_issuer: false }),
        ("weakissuer", "small", CertificateFault::KeySize { bits: 1024, is_issuer: true }),
        ("child", "issuer", CertificateFault::IssuerNotAuthority),
    ] {
        let trust = Trust::new(Some(&std::fs::read(folder.path().join(format!("{trusted}.pem"))).unwrap())).unwrap();
        // The chain of `child` has a certificate that is not one of an authority.
        let chain: &[&str] = if name == "child" { &["-cert_chain", "leaf.pem"] } else { &[] };
        for version in ["-tls1_2", "-tls1_3"] {
            let more = [chain, &["-cipher", "DEFAULT:@SECLEVEL=0", version]].concat();
            let outcome = Server::start(folder.path(), name, &more).connect(&trust);
            assert_eq!(outcome, Err(HandshakeFault::Certificate(fault.clone())), "{name} {version}");
        }
    }
}

/// An error that has the name of one of the certificate library's.
#[derive(Debug)]
enum LibraryError {
    NameConstraintViolation,
    EndEntityUsedAsCa,
    MaximumPathDepthExceeded,
    UnsupportedCertVersion,
    TrailingData,
}

impl std::fmt::Display for LibraryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for LibraryError {}

#[test]
fn a_handshake_without_a_common_cipher_is_not_a_lack_of_tls() {
    let folder = certificates();
    let trust = Trust::new(Some(&std::fs::read(folder.path().join("authority.pem")).unwrap())).unwrap();
    let handshake = |more: &[&str]| Server::start(folder.path(), "authority", more).connect(&trust);
    assert_eq!(handshake(&["-tls1_2", "-cipher", "AES128-SHA"]), Err(HandshakeFault::Cipher));
    assert_eq!(handshake(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]), Err(HandshakeFault::Version));
    // Something that is not TLS.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write as _;
        for mut stream in listener.incoming().flatten() {
            drop(stream.write_all(b"220 mail.example.com ESMTP\r\n"));
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(trust.client_config().unwrap()));
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap_err()
    });
    assert_eq!(HandshakeFault::find(&error), Some(HandshakeFault::NotTls));
}

#[test]
fn every_certificate_fault_is_reported_with_a_remedy() {
    let at = "2020-01-01T00:00:00Z".parse().ok();
    let text = || "x".to_owned();
    let library = |error| {
        let error = rustls::OtherError(Arc::new(error));
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(error))
    };
    let certificates = [
        CertificateFault::Expired { until: at },
        CertificateFault::NotYetValid { from: at },
        CertificateFault::Name { names: vec![text()] },
        CertificateFault::NoName { common_name: text() },
        CertificateFault::UnknownIssuer { issuer: text() },
        CertificateFault::SelfSigned,
        CertificateFault::Authority,
        CertificateFault::Version { version: 1 },
        CertificateFault::WeakSignature { algorithm: text() },
        CertificateFault::Purpose,
        CertificateFault::KeySize { bits: 1024, is_issuer: false },
        CertificateFault::KeySize { bits: 1024, is_issuer: true },
        CertificateFault::NameConstraint,
        CertificateFault::IssuerNotAuthority,
        CertificateFault::CriticalExtension,
        CertificateFault::Chain,
        CertificateFault::RevocationUnknown,
        CertificateFault::Revoked,
        CertificateFault::Malformed,
        CertificateFault::NoAuthorities,
    ];
    let mut faults: Vec<HandshakeFault> = certificates.into_iter().map(HandshakeFault::Certificate).collect();
    faults.extend([
        HandshakeFault::Version,
        HandshakeFault::Cipher,
        HandshakeFault::NotTls,
        HandshakeFault::ClientCertificate,
    ]);
    faults.extend(
        [
            rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA),
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnhandledCriticalExtension),
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownRevocationStatus),
            rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature),
            rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure),
            library(LibraryError::NameConstraintViolation),
            library(LibraryError::EndEntityUsedAsCa),
            library(LibraryError::MaximumPathDepthExceeded),
            library(LibraryError::UnsupportedCertVersion),
            library(LibraryError::TrailingData),
            rustls::Error::PeerMisbehaved(rustls::PeerMisbehaved::TooMuchEarlyDataReceived),
        ]
        .iter()
        .map(HandshakeFault::new),
    );
    for fault in faults {
        let said = fault.to_string();
        assert!(
            !said.contains("::") && !said.contains("other error") && !said.contains('(')
                || ["CA:TRUE", "CA:FALSE", "(extended", "(name constraints)"].iter().any(|part| said.contains(part)),
            "{said}"
        );
        let debug = said
            .split_whitespace()
            .any(|word| word.chars().skip(1).any(char::is_uppercase) && word.chars().any(char::is_lowercase));
        assert!(!debug, "no name of a type: {said}");
        assert!(
            !fault.remedy("mail.example.com", "openssl s_client -connect mail.example.com:465").is_empty(),
            "{said}"
        );
    }
}

#[test]
fn verify_accepts_a_server_whose_own_certificate_is_in_the_file() {
    let folder = certificates();
    let repo = TestRepository::empty();
    crate::mail_service::environment(&repo, QUICK);
    let server = Server::start(folder.path(), "authority", &[]);
    repo.write(
        "environments/dev/profiles/relay.yaml",
        format!("provider:\n  smtp:\n    host: localhost\n    port: {}\n    encryption: tls\nfrom: {{ address: erp@example.com }}\nfunctions: [default]\nappliesTo: system-wide\n", server.port),
    );
    // Without it the finding says how to give it, in words.
    let refused = repo.run(&["verify", "dev", "--local", "--format", "json"]).code(3).json();
    let findings = refused["profiles"][0]["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["id"] == "SMTP-CERTIFICATE").unwrap();
    assert!(finding["seen"].as_str().unwrap().contains("signed by itself"), "{finding:#}");
    assert!(finding["remedy"].to_string().contains("--outgoing-ca-file server.pem"), "{finding:#}");
    assert!(!finding.to_string().contains("OtherError"), "{finding:#}");
    let ca = folder.path().join("authority.pem");
    let pinned = repo
        .run(&[
            "verify",
            "dev",
            "--local",
            "--smtp-timeout",
            "1",
            "--outgoing-ca-file",
            ca.to_str().unwrap(),
            "--format",
            "json",
        ])
        .json();
    let findings = pinned["profiles"][0]["findings"].as_array().unwrap();
    let failed: Vec<_> =
        findings.iter().filter(|finding| finding["verdict"] == "fail").map(|finding| &finding["id"]).collect();
    assert!(!failed.contains(&&json!("SMTP-CERTIFICATE")) && !failed.contains(&&json!("SMTP-TLS")), "{findings:#?}");
    assert!(failed.contains(&&json!("SMTP-GREETING")), "the handshake is done, and no greeting follows: {findings:#?}");
}
