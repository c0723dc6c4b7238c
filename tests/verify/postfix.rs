//! The checks of a mail server against third-party servers: Postfix, with Dovecot's SASL, and certificates made with
//! OpenSSL.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use crate::support::postfix::{PASSWORD, Postfix, USER};
use mailwright::{
    model::{
        finding::{Level, Verdict, Verified},
        finding_id::FindingId,
    },
    time::Clock,
    verify::{Subject, SubjectSecret, Verifier, VerifyOptions},
};
use serde_json::json;

async fn verify(verifier: &Arc<Verifier>, port: u16, encryption: &str, from: &str, password: Option<&str>) -> Verified {
    let mut server = json!({ "host": "localhost", "port": port, "encryption": encryption });
    if password.is_some() {
        server["username"] = json!(USER);
        server["password"] = json!({ "secret": "relay/password" });
    }
    let profile = json!({
        "provider": { "smtp": server }, "from": { "address": from }, "functions": ["default"], "appliesTo": "system-wide",
    });
    let subject = Subject {
        name: "relay".parse().unwrap(),
        profile: serde_json::from_value(profile).unwrap(),
        secret: password.map_or(SubjectSecret::None, |password| SubjectSecret::Value(password.to_owned().into())),
        next: SubjectSecret::None,
        refused: None,
    };
    verifier.verify(&subject).await
}

/// Returns the failed checks: ids with the observed values.
fn failed_checks(verified: &Verified) -> Vec<(FindingId, &str)> {
    let failed = verified.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    failed.map(|finding| (finding.id, finding.seen.as_str())).collect()
}

/// One finding with all that it says.
fn whole(verified: &Verified, id: FindingId) -> String {
    verified.findings.iter().find(|finding| finding.id == id).map(crate::support::sandbox::whole).unwrap_or_default()
}

fn has_passed(verified: &Verified, id: FindingId) -> bool {
    verified.findings.iter().any(|finding| finding.id == id && finding.verdict == Verdict::Pass)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_and_dovecot_agree_with_the_verifier() {
    let postfix = tokio::task::spawn_blocking(Postfix::start).await.unwrap();
    let mut options = VerifyOptions::new("dev".parse().unwrap(), Clock::system().now());
    // Postfix starts a process for each session, and delays after a refused login, which takes long on a busy machine.
    options.smtp_timeout = std::time::Duration::from_secs(60);
    options.http.authorities = Some(postfix.authority.clone().into_bytes());
    // No server answers there, and that is the only finding.
    options.dns_server = Some("127.0.0.1:1".parse().unwrap());
    let verifier = Arc::new(Verifier::new(options).unwrap());
    let sender = "documents@contoso.example";

    for (port, encryption) in [(postfix.starttls, "starttls"), (postfix.tls, "tls")] {
        let good = verify(&verifier, port, encryption, sender, Some(PASSWORD)).await;
        assert_eq!(failed_checks(&good), [], "{encryption}");
        assert_eq!(good.reached, Level::Credential);
        for id in [
            FindingId::SmtpGreeting,
            FindingId::SmtpCertificate,
            FindingId::SmtpAuth,
            FindingId::SmtpLogin,
            FindingId::SmtpSender,
            FindingId::SmtpSize,
        ] {
            assert!(has_passed(&good, id), "{encryption}: {id}");
        }
        let version = good.findings.iter().find(|finding| finding.id == FindingId::SmtpTls).unwrap();
        assert_eq!(version.message, "the connection is encrypted with TLS 1.3");
        let size = good.findings.iter().find(|finding| finding.id == FindingId::SmtpSize).unwrap();
        assert_eq!(size.message, "mail of up to 20 MB is accepted");
    }

    let older = verify(&verifier, postfix.older, "starttls", sender, Some(PASSWORD)).await;
    let version = older.findings.iter().find(|finding| finding.id == FindingId::SmtpTls).unwrap();
    assert_eq!(
        (version.verdict, version.message.as_str()),
        (Verdict::Pass, "the connection is encrypted with TLS 1.2")
    );
    let oldest = verify(&verifier, postfix.oldest, "starttls", sender, Some(PASSWORD)).await;
    let s_client = |port: u16| {
        format!("openssl s_client -connect localhost:{port} -servername localhost -starttls smtp </dev/null")
    };
    assert_eq!(
        whole(&oldest, FindingId::SmtpTls),
        format!(
            "fail error SMTP-TLS at /provider/smtp/host (level 1)\n  \
             the server offers only insecure versions of TLS\n  \
             seen: neither TLS 1.2 nor TLS 1.3\n  expected: TLS 1.2 or 1.3\n  \
             > Have the server's administrator enable TLS 1.2 or 1.3.\n  > {}\n",
            s_client(postfix.oldest)
        )
    );
    assert_eq!(oldest.reached, Level::Anonymous);

    let wrong = verify(&verifier, postfix.starttls, "starttls", sender, Some("another-password")).await;
    let [(FindingId::SmtpLogin, seen)] = failed_checks(&wrong)[..] else { panic!("{:?}", failed_checks(&wrong)) };
    assert!(seen.starts_with("535 5.7.8 Error: authentication failed"), "{seen}");

    let expired = verify(&verifier, postfix.expired, "starttls", sender, Some(PASSWORD)).await;
    assert_eq!(failed_checks(&expired), [(FindingId::SmtpCertificateExpired, "valid until 2021-01-01T00:00:00Z")]);
    assert_eq!(
        whole(&expired, FindingId::SmtpCertificateExpired),
        format!(
            "fail error SMTP-CERTIFICATE-EXPIRED at /provider/smtp/host (level 1)\n  \
             the server's certificate has expired\n  seen: valid until 2021-01-01T00:00:00Z\n  \
             expected: a certificate that is valid\n  > Have the server's administrator renew it.\n  > {}\n",
            s_client(postfix.expired)
        )
    );
    let misnamed = verify(&verifier, postfix.misnamed, "starttls", sender, Some(PASSWORD)).await;
    let [(FindingId::SmtpCertificateName, seen)] = failed_checks(&misnamed)[..] else {
        panic!("{:?}", failed_checks(&misnamed))
    };
    assert!(seen.contains("mail.elsewhere.example"), "{seen}");
    assert_eq!(
        whole(&misnamed, FindingId::SmtpCertificateName),
        format!(
            "fail error SMTP-CERTIFICATE-NAME at /provider/smtp/host (level 1)\n  \
             the server's certificate is not for localhost\n  seen: {seen}\n  expected: localhost\n  \
             > Write `host` as one of these names if this is the intended server; otherwise have the certificate replaced.\n  > {}\n",
            s_client(postfix.misnamed)
        )
    );
    let unknown = verify(&verifier, postfix.unknown, "starttls", sender, Some(PASSWORD)).await;
    assert_eq!(
        failed_checks(&unknown),
        [(
            FindingId::SmtpCertificate,
            "no authority that is trusted here issued the server's certificate; its issuer is `CN=other`"
        )]
    );
    for refused in [&expired, &misnamed, &unknown] {
        assert_eq!(refused.reached, Level::Anonymous, "no password goes to a server that is not trusted");
        assert!(!has_passed(refused, FindingId::SmtpLogin));
    }

    let odd = verify(&verifier, postfix.starttls, "starttls", "sender@nowhere", Some(PASSWORD)).await;
    let [(FindingId::SmtpSender, seen)] = failed_checks(&odd)[..] else { panic!("{:?}", failed_checks(&odd)) };
    assert!(seen.starts_with("504 5.5.2"), "{seen}");
    let stranger = verify(&verifier, postfix.strict, "starttls", sender, None).await;
    let [(FindingId::SmtpSender, seen)] = failed_checks(&stranger)[..] else {
        panic!("{:?}", failed_checks(&stranger))
    };
    assert!(seen.starts_with("554 5.7.1"), "{seen}");

    let swapped = verify(&verifier, postfix.starttls, "tls", sender, Some(PASSWORD)).await;
    assert_eq!(failed_checks(&swapped).iter().map(|(id, _)| *id).collect::<Vec<_>>(), [FindingId::SmtpTls]);
    tokio::task::spawn_blocking(move || drop(postfix)).await.unwrap();
}
