//! Sealing in the browser: the files of `seal.js` are those of `secrets set`, and it refuses no value that `secrets set` takes.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mailwright::{
    credential::parse_value,
    model::{CredentialKind, Destination, EnvironmentName, Provider},
    secrets::{
        Binding, Header, Identities, NoCallbacks, OpenError, Purpose, Recipients, ServiceIdentity, is_masked, open,
    },
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::support::{browser::run_script, repository::TestRepository, tools::tool};

/// A recipient of a hardware key, which age 1.3 knows. Its private half is nowhere.
const TAGGED: &str = "age1tag1q064mcew743y4a3nw3c3f5gqn6nef5yydx8wrsz0h3wv32az92ptj3z7vsc";

fn ssh(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ssh").join(name)
}

/// A form, and the provider of the profile that it describes.
struct Target {
    kind: CredentialKind,
    places: &'static [&'static str],
    parts: Value,
    provider: Value,
}

impl Target {
    fn destination(&self) -> Destination {
        serde_json::from_value::<Provider>(self.provider.clone()).unwrap().destination()
    }
}

fn credential(kind: CredentialKind) -> Value {
    match kind {
        CredentialKind::Certificate => json!({ "certificate": { "secret": "a/b" } }),
        _ => json!({ "clientSecret": { "secret": "a/b" } }),
    }
}

/// Every form of a destination, spelt as people spell them.
fn targets() -> Vec<Target> {
    const CLIENT: &str = "0C0F5A3B-1d2e-4f60-8a7b-9c8d7e6f5a4b";
    let smtp = |host: &str, encryption: &str| Target {
        kind: CredentialKind::Password,
        places: &["smtp"],
        parts: json!({ "host": format!(" {host} "), "encryption": encryption, "tenant": "of another provider" }),
        provider: json!({ "smtp": { "host": host, "encryption": encryption, "username": "erp", "password": { "secret": "a/b" } } }),
    };
    let graph = |kind: CredentialKind, cloud: &str, custom: [&str; 2], tenant: &str| {
        let own = match cloud {
            "custom" => json!({ "custom": { "signIn": custom[0], "graph": custom[1] } }),
            name => json!(name),
        };
        Target {
            kind,
            places: &["entra"],
            parts: json!({ "cloud": cloud, "sign-in": custom[0], "graph": custom[1], "tenant": tenant, "client": CLIENT, "host": "x" }),
            provider: json!({ "microsoft-graph-direct": {
                "cloud": own, "tenant": tenant, "client": CLIENT, "credential": credential(kind),
            } }),
        }
    };
    vec![
        smtp("Mail.Example.com.", "starttls"),
        smtp("mail.example.com", "tls"),
        smtp("127.0.0.1", "none"),
        graph(CredentialKind::ClientSecret, "global", ["", ""], "Contoso.onmicrosoft.com"),
        graph(CredentialKind::Certificate, "us-government-l5", ["", ""], "contoso.onmicrosoft.com"),
        graph(CredentialKind::ClientSecret, "custom", ["https://Login.example/", "https://graph.example"], "t"),
        Target {
            kind: CredentialKind::ClientSecret,
            places: &["smtp", "entra"],
            parts: json!({ "host": "Smtp.Office365.com", "encryption": "starttls", "tenant": "T", "client": "C1" }),
            provider: json!({ "smtp": { "host": "smtp.office365.com", "encryption": "starttls", "username": "erp",
                "oauth": { "tenant": "t", "client": "c1", "credential": credential(CredentialKind::ClientSecret) } } }),
        },
    ]
}

fn case(target: &Target, value: &[u8], environment: &str, recipients: &str) -> Value {
    json!({
        "value": BASE64_STANDARD.encode(value), "kind": target.kind.id(), "places": target.places,
        "parts": target.parts, "environment": environment, "recipients": recipients,
    })
}

fn seal_all(cases: &[Value]) -> Vec<Value> {
    let result = run_script("seal.mjs", &json!({ "cases": cases }));
    let results = result["results"].as_array().unwrap();
    assert_eq!(results.len(), cases.len());
    results.clone()
}

fn runner() -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Returns so many values of a strategy, the same in each run.
fn sample<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = runner();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// A certificate with its key, as PEM, with as much text around it as makes it large.
fn certificate(comment: usize) -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let own = rcgen::CertificateParams::new(vec!["mail.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    // Without the last line end, which is not sealed.
    format!("{}{}{}", "# comment\n".repeat(comment), own.pem(), key.serialize_pem().trim_end()).into_bytes()
}

#[test]
fn every_value_opens_for_its_destination_and_for_no_other() {
    let (service, operator) = (ServiceIdentity::generate(), ServiceIdentity::generate());
    let read = |name: &str| fs::read_to_string(ssh(name)).unwrap();
    let recipients = format!(
        "\u{feff}# the service\r\n{}\n\n  {}  \n{}{}{}\n{TAGGED}\n",
        service.recipient(),
        operator.recipient().to_uppercase(),
        read("ed25519.pub"),
        read("rsa.pub"),
        service.recipient(),
    );
    let expected = Recipients::parse(&recipients, &NoCallbacks).unwrap();
    let environment: EnvironmentName = "prod".parse().unwrap();
    let targets = targets();
    let certificates = [certificate(0), certificate(1000)];
    // Passwords of all scripts, and of the length of a block and around it.
    let mut texts = sample(&"[!-~¡-ÿĀ-žА-я一-三😀-😎]{1,80}", 120);
    texts.extend([1, 63, 64, 65, 16 * 1024].map(|length| "k".repeat(length)));
    let cases: Vec<(usize, Vec<u8>)> = texts
        .into_iter()
        .enumerate()
        .map(|(index, text)| {
            let target = index % targets.len();
            let is_certificate = targets[target].kind == CredentialKind::Certificate;
            (target, if is_certificate { certificates[index % 2].clone() } else { text.into_bytes() })
        })
        // What the command line refuses is another test.
        .filter(|(target, value)| {
            parse_value(Some(targets[*target].kind), value).is_ok() && !is_masked(&String::from_utf8_lossy(value))
        })
        .collect();
    assert!(cases.len() > 100, "{}", cases.len());
    let given: Vec<Value> =
        cases.iter().map(|(target, value)| case(&targets[*target], value, "prod", &recipients)).collect();
    let mut ids = BTreeSet::new();
    for ((target, value), result) in cases.iter().zip(seal_all(&given)) {
        let file = result["file"].as_str().unwrap_or_else(|| panic!("{result}: {}", String::from_utf8_lossy(value)));
        let file = file.as_bytes();
        let header = Header::read(file).unwrap();
        assert_eq!(header.binding(), Binding::Destination);
        assert!(header.recipients.unwrap().iter().map(String::as_str).eq(expected.fingerprints()));
        assert_eq!(header.kinds, ["X25519", "X25519", "ssh-ed25519", "ssh-rsa", "p256tag"]);
        assert!(ids.insert(header.value_id.unwrap()), "each value has an id of its own");
        for (other, destination) in targets.iter().map(Target::destination).enumerate() {
            let purpose = Purpose { environment: &environment, destination: &destination, accepted_for: None };
            let opened = service.open_for(file, &purpose);
            let is_same = targets[*target].destination().digest(&environment) == destination.digest(&environment);
            // What may go in clear may go encrypted, but to the same host; here they differ.
            match opened {
                Ok(opened) => assert!(is_same && opened.expose_secret() == value.as_slice(), "{target} {other}"),
                Err(OpenError::Redirected(_)) => assert!(!is_same, "{target} {other}"),
                Err(error) => panic!("{target} {other}: {error}"),
            }
        }
        let destination = targets[*target].destination();
        let elsewhere: EnvironmentName = "staging".parse().unwrap();
        let purpose = Purpose { environment: &elsewhere, destination: &destination, accepted_for: None };
        assert!(matches!(service.open_for(file, &purpose), Err(OpenError::Redirected(_))));
    }
    // Each of the other recipients opens the last of them.
    let last = seal_all(&given[..1])[0]["file"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("operator.txt");
    fs::write(&own, operator.to_operator_file().expose_secret()).unwrap();
    for key in [own.clone(), ssh("ed25519"), ssh("rsa")] {
        let mut identities = Identities::default();
        identities.add_file(&key, &NoCallbacks).unwrap();
        let opened =
            open(last.as_bytes(), identities.iter()).unwrap_or_else(|error| panic!("{}: {error}", key.display()));
        assert_eq!(opened.expose_secret(), cases[0].1.as_slice());
        let file = folder.path().join("sealed.age");
        fs::write(&file, &last).unwrap();
        let stock = Command::new(tool("age")).arg("-d").arg("-i").arg(&key).arg(&file).output().unwrap();
        assert!(stock.status.success(), "{}: {}", key.display(), String::from_utf8_lossy(&stock.stderr));
        assert_eq!(stock.stdout, cases[0].1);
    }
}

/// Recipients that a browser cannot encrypt to are refused before anything is sealed.
#[test]
fn recipients_of_plugins_and_of_other_keys_are_refused() {
    let service = ServiceIdentity::generate().recipient();
    let targets = targets();
    let ecdsa = fs::read_to_string(ssh("ecdsa.pub")).unwrap();
    let ed25519 = fs::read_to_string(ssh("ed25519.pub")).unwrap();
    let cut = format!("ssh-ed25519 {}", &ed25519.split(' ').nth(1).unwrap()[..60]);
    let (most, last) = service.split_at(service.len() - 1);
    let misspelt = format!("{most}{}", if last == "q" { "p" } else { "q" });
    let quantum = format!("age1pq1{}", "q".repeat(1960));
    for (recipients, reason) in [
        (String::new(), "recipient"),
        ("# no recipient\n".to_owned(), "recipient"),
        (format!("{service}\nage1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt"), "recipient"),
        (format!("{service}\n{ecdsa}"), "recipient"),
        (cut, "recipient"),
        (misspelt, "recipient"),
        ("AGE-SECRET-KEY-1QQPQ8W0GZ9V9UPYXNW0T7T0Z0FCZ4KQ2R4Q6PGJ8N8W3Z0YQ5XQSAAAAAA".to_owned(), "recipient"),
        (format!("{service}\n{quantum}"), "mixed"),
    ] {
        let result = seal_all(&[case(&targets[0], b"s3cret", "dev", &recipients)]);
        assert_eq!(result[0]["reason"], reason, "{recipients}: {result:?}");
    }
    let mut incomplete = targets;
    incomplete[0].parts = json!({ "host": "  ", "encryption": "tls" });
    assert_eq!(seal_all(&[case(&incomplete[0], b"s3cret", "dev", &service)])[0]["reason"], "destination");
}

/// Pieces of values that administrators paste by mistake, in any order.
fn mistake() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[ -~]{0,12}".prop_map(String::into_bytes),
        "\\PC{0,6}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..6),
        prop::sample::select(vec![
            "\u{feff}",
            "\n",
            "\r\n",
            "\r",
            " ",
            "\t",
            "\u{a0}",
            "\u{200b}",
            "\u{200d}",
            "\u{2028}",
            "\u{85}",
            "\u{fe0f}",
            "\0",
            "\u{1b}",
            "***",
            "****",
            "•••",
            "xxx",
            "XXX",
            "[masked]",
            "<redacted>",
            "**SOPS**",
            "(sensitive value)",
            "PASSWORD=",
            "export SMTP_SECRET=",
            "=",
            "{\"password\": \"x\"}",
            "{\"kty\": \"RSA\"}",
            "{\"keys\": [{\"kty\": \"EC\"}]}",
            "{\"apiVersion\": \"v1\", \"kind\": \"Secret\"}",
            "apiVersion: v1\nkind: Secret\n",
            "kind: SealedSecret",
            "<<<<<<< HEAD\n",
            ">>>>>>> topic",
            "version https://git-lfs.github.com/spec/v1\n",
            "/annex/objects/",
            "age-encryption.org/v1\n",
            "-----BEGIN AGE ENCRYPTED FILE-----",
            "-----BEGIN PRIVATE KEY-----",
            "AGE-SECRET-KEY-1Q",
            "PuTTY-User-Key",
            "$ANSIBLE_VAULT;1.1",
            "ENC[AES256_GCM,data:x]",
            "-----BEGIN PGP MESSAGE-----",
            "LS0tLS1CRUdJTi",
            "4f2c1b9e-1111-4222-8333-944444444444",
            "{4f2c1b9e-1111-4222-8333-944444444444}",
            "urn:uuid:4f2c1b9e111142228333944444444444",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::sample::select(vec![
            b"\xff\xfes\0".to_vec(),
            b"s\x003\0".to_vec(),
            b"\0s\x003".to_vec(),
            b"\x30\x82\x01\x93\x02\x01\x03".to_vec(),
            b"\xfe\xed\xfe\xed".to_vec(),
            b"\xce\xce\xce\xce".to_vec(),
            b"caf\xe9".to_vec(),
        ]),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// The browser knows fewer mistakes than the command line. It must refuse no value that the command line seals, and its short
/// list must not shrink: of passwords and client secrets, it finds the same.
#[test]
fn the_browser_and_the_command_line_refuse_the_same_values() {
    let targets = targets();
    let service = ServiceIdentity::generate().recipient();
    let mut cases = Vec::new();
    for value in sample(&mistake(), 1500) {
        cases.push((&targets[0], value.clone()));
        cases.push((&targets[3], value));
    }
    let mut refused = 0;
    let given: Vec<Value> = cases.iter().map(|(target, value)| case(target, value, "dev", &service)).collect();
    for ((target, value), result) in cases.iter().zip(seal_all(&given)) {
        let text = parse_value(Some(target.kind), value).ok().filter(|text| !is_masked(text));
        let shown = format!("{:?} {:?} {result}", target.kind, String::from_utf8_lossy(value));
        assert_eq!(result["file"].is_string(), text.is_some(), "{shown}: {:?}", parse_value(Some(target.kind), value));
        refused += usize::from(text.is_none());
    }
    assert!(refused > 500 && refused < 2500, "{refused}");
    // Certificates: the usual mistakes.
    let pem = String::from_utf8(certificate(0)).unwrap();
    let (own, key) = pem.split_at(pem.find("-----BEGIN PRIVATE").unwrap());
    let long = BASE64_STANDARD.encode([&[0x30, 0x82, 0x01, 0x93, 0x02, 0x01, 0x03][..], &[0xfb; 400]].concat());
    for (value, reason) in [
        (pem.as_str(), None),
        (own, Some("no-key")),
        (key, Some("no-certificate")),
        (&pem.replace(" PRIVATE", " ENCRYPTED PRIVATE"), Some("encrypted-key")),
        (&pem.replace(" PRIVATE", " OPENSSH PRIVATE"), Some("openssh-key")),
        (&long, Some("base64")),
        ("s3cret", Some("no-certificate")),
        (&"x".repeat(16 * 1024 + 1), Some("too-long")),
    ] {
        let result = seal_all(&[case(&targets[4], value.as_bytes(), "dev", &service)]);
        assert_eq!(result[0]["reason"].as_str(), reason, "{value:.60}: {result:?}");
    }
}

#[test]
fn every_reason_is_documented() {
    let result = run_script("seal.mjs", &json!({ "cases": [] }));
    let reasons: Vec<&str> =
        result["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect();
    let page = include_str!("../../../docs/console-sealing.md");
    let table = page.split("## Reasons").nth(1).unwrap().split("\n## ").next().unwrap();
    let documented: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(documented, reasons);
}

/// Through the program: what the browser sealed is accepted, and for another host it is not.
#[test]
fn the_service_accepts_a_file_of_the_browser_for_its_destination_alone() {
    let mut repo = TestRepository::empty();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\n");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("secrets/dev");
    for file in ["recipients.txt", "demo-identity.txt"] {
        repo.write(&format!("secrets/dev/{file}"), fs::read(own.join(file)).unwrap());
    }
    repo.write(
        "environments/dev/profiles/relay.yaml",
        "provider: { smtp: { host: mail.example.com, username: erp, password: { secret: relay/password } } }\n\
         from: { address: erp@example.com }\nfunctions: [default]\nappliesTo: system-wide\n",
    );
    let recipients = repo.read("secrets/dev/recipients.txt");
    let target = &targets()[0];
    let mut elsewhere = targets().remove(0);
    elsewhere.parts = json!({ "host": "mail.example.net", "encryption": "starttls" });
    let files = seal_all(&[
        case(&elsewhere, b"Canary-Sup3r-S3cret-Pa55", "dev", &recipients),
        case(target, b"Canary-Sup3r-S3cret-Pa55", "dev", &recipients),
    ]);
    repo.serve();
    repo.write("secrets/dev/relay/password.age", files[0]["file"].as_str().unwrap());
    let check = repo.run(&["secrets", "check", "dev"]).code(1);
    assert!(check.stdout.contains("MW0217") || check.stderr.contains("MW0217"), "{check:?}");
    let refused = repo.run(&["apply", "dev", "--yes", "--skip-verify"]);
    assert!(refused.code == 1 && refused.stderr.contains("another destination"), "{refused:?}");
    repo.write("secrets/dev/relay/password.age", files[1]["file"].as_str().unwrap());
    repo.run(&["secrets", "check", "dev"]).code(0);
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert!(!repo.service_log().contains("Canary"));
    let key = SecretString::from(repo.read("secrets/dev/demo-identity.txt"));
    let opened = ServiceIdentity::parse(&key).unwrap().open(files[1]["file"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(opened.expose_secret(), b"Canary-Sup3r-S3cret-Pa55");
}

/// In Chromium, under the policy of the console's pages: the value leaves the page as an age file, and in no other way.
#[test]
fn a_form_posts_an_age_file_and_never_the_value() {
    const VALUE: &str = "Canary-Sup3r-S3cret-Pa55 ü";
    let service = ServiceIdentity::generate();
    let environment: EnvironmentName = "prod".parse().unwrap();
    let pem = String::from_utf8(certificate(0)).unwrap();
    let result = run_script(
        "seal_form.mjs",
        &json!({
            "environment": "prod", "recipients": format!("# the service\n{}\n", service.recipient()),
            "value": VALUE, "certificate": pem,
        }),
    );
    for none in ["accessible", "violations", "errors", "postedWithProblems", "postedWithoutLibrary"] {
        assert_eq!(result[none], json!([]), "{none}: {result:#}");
    }
    assert_eq!(result["offered"], true);
    let problems = json!([
        ["Type the password.", "password"],
        ["This is a mask.", "password"],
        ["This is a key.", "password"],
        ["assignment", "password"],
    ]);
    assert_eq!(result["problems"], problems, "the text of the page, or the reason; the focus is on the field");
    assert_eq!(result["broken"], json!(["library", "password"]));
    // The field, the text about recipients, the text about https.
    assert_eq!(result["plugin"], json!([false, true, false]));
    assert_eq!(result["insecure"], json!([false, false, true]));
    assert_eq!(result["plain"], json!([false, true]), "the field, the text in its place");
    assert_eq!(
        result["postedPlain"],
        json!([{ "host": "Mail.Example.com", "encryption": "starttls", "action": "save" }])
    );
    assert_eq!(
        (&result["certificateMissing"], &result["certificateProblem"]),
        (&json!("empty"), &json!("no-certificate"))
    );
    assert_eq!(result["swappedStays"], "/swapped");

    let smtp = |encryption: &str| {
        let provider = json!({ "smtp": {
            "host": "mail.example.com", "encryption": encryption, "username": "erp", "password": { "secret": "a/b" },
        } });
        serde_json::from_value::<Provider>(provider).unwrap().destination()
    };
    let graph = serde_json::from_value::<Provider>(json!({ "microsoft-graph-direct": {
        "tenant": "contoso.example", "client": "0c0f5a3b-1d2e-4f60-8a7b-9c8d7e6f5a4b",
        "credential": credential(CredentialKind::Certificate),
    } }));
    let graph = graph.unwrap().destination();
    for (form, field, destination, value) in [
        ("form", "sealed-password", smtp("starttls"), VALUE),
        ("inClear", "sealed-password", smtp("none"), VALUE),
        ("swapped", "sealed-password", smtp("starttls"), VALUE),
        ("certificate", "sealed-certificate", graph.clone(), pem.as_str()),
        ("certificateText", "sealed-certificate", graph, pem.as_str()),
    ] {
        let posted = result[form].as_array().unwrap();
        assert_eq!(posted.len(), 1, "{form}: {posted:?}");
        if !form.starts_with("certificate") {
            assert_eq!(posted[0]["action"], "save", "{form}: the button that was pressed is posted");
        }
        let file = posted[0][field].as_str().unwrap();
        let purpose = Purpose { environment: &environment, destination: &destination, accepted_for: None };
        let opened = service.open_for(file.as_bytes(), &purpose).unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(opened.expose_secret(), value.as_bytes(), "{form}");
        assert_eq!(Header::read(file.as_bytes()).unwrap().sealed_for, Some(destination.digest(&environment)), "{form}");
    }
    // What is sealed for an encrypted connection is not sent in clear.
    let clear = smtp("none");
    let purpose = Purpose { environment: &environment, destination: &clear, accepted_for: None };
    let encrypted = result["form"][0]["sealed-password"].as_str().unwrap();
    assert!(matches!(service.open_for(encrypted.as_bytes(), &purpose), Err(OpenError::Redirected(_))));
    let shown = result["requests"].to_string() + &result["afterBack"].to_string();
    assert!(shown.contains("sealed-password") && !shown.contains("Canary") && !shown.contains("S3cret"), "{shown}");
}
