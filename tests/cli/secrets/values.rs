//! A value that its field cannot need is refused where it is sealed, applied and verified, each time with the reason, and
//! is never sent. What a pipe adds around a value is left out.

use std::io::Write as _;

use crate::support::repository::TestRepository;
use serde_json::json;

const RECIPIENTS: &str = include_str!("../../../secrets/dev/recipients.txt");
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";

/// A repository with a profile whose secret has this field.
fn create_repo(field: &str) -> TestRepository {
    let repo = TestRepository::empty();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\n");
    let provider = match field {
        "password" => json!({ "smtp": {
            "host": "127.0.0.1", "port": 9, "encryption": "none", "username": "erp", "password": { "secret": "mail/value" },
        } }),
        field => json!({ "microsoft-graph-direct": {
            "tenant": "contoso.example", "client": "0c0ffee0-0000-4000-8000-0000000000d1",
            "cloud": { "custom": { "signIn": "https://127.0.0.1:9", "graph": "https://127.0.0.1:9" } },
            "credential": { field: { "secret": "mail/value" } },
        } }),
    };
    let profile = json!({
        "provider": provider, "from": { "address": "erp@example.com" }, "functions": ["default"], "appliesTo": "system-wide",
    });
    repo.write("environments/dev/profiles/mail.json", profile.to_string());
    repo.write("secrets/dev/recipients.txt", RECIPIENTS);
    repo.write("secrets/dev/demo-identity.txt", include_str!("../../../secrets/dev/demo-identity.txt"));
    repo
}

/// Seals a value as the stock `age` program does, so that nothing of ours looks at it.
fn seal(repo: &TestRepository, value: &[u8]) {
    let line = RECIPIENTS.lines().find(|line| line.starts_with("age1")).unwrap();
    let recipient: age::x25519::Recipient = line.split_whitespace().next().unwrap().parse().unwrap();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).unwrap();
    writer.write_all(value).unwrap();
    writer.finish().unwrap();
    repo.write("secrets/dev/mail/value.age", file);
}

/// Values that the field cannot need, each with a word of the reason.
fn unfit(field: &str) -> Vec<(Vec<u8>, &'static str)> {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let mut all = vec![
        (wide("\u{feff}s3cret\r\n"), "UTF-16"),
        (wide("s3cret"), "UTF-16"),
        ([&[0x30, 0x82, 0x0a, 0x3f, 0x02, 0x01, 0x03, 0x30][..], &[0x11; 60]].concat(), "PFX"),
        ([&[0x30, 0x82, 0x03, 0x0f, 0x30, 0x82][..], &[0x11; 60]].concat(), "DER"),
        (b"  \t".to_vec(), "blanks"),
        ("\u{a0}\u{200b}".into(), "blanks"),
        (b"caf\xe9".to_vec(), "not text"),
        (b"<<<<<<< HEAD\none\n=======\ntwo\n>>>>>>> topic\n".to_vec(), "merge conflict"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n".to_vec(), "Git LFS"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6131\n".to_vec(), "Ansible Vault"),
        (b"ENC[AES256_GCM,data:p673w==,iv:YY=,tag:cQ==,type:str]".to_vec(), "SOPS"),
        (b"apiVersion: v1\nkind: Secret\ndata:\n  password: czNjcmV0\n".to_vec(), "Kubernetes"),
        (br#"{"kty": "RSA", "n": "AQAB"}"#.to_vec(), "JSON Web Key"),
        (b"s3\xef\xbb\xbfcret".to_vec(), "byte order mark inside"),
        ([&b"3082019302010330"[..], &b"fb".repeat(400)].concat(), "hexadecimal"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\nx\n-----END AGE ENCRYPTED FILE-----\n".to_vec(), "sealed twice"),
    ];
    all.extend(match field {
        "certificate" => vec![
            (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_vec(), "without its private key"),
            (KEY.into(), "no certificate"),
            (b"s3cret".to_vec(), "no certificate"),
        ],
        "clientSecret" => vec![
            (KEY.into(), "private key or certificate"),
            (b"s3cret ".to_vec(), "ends with a blank"),
            (b"one\ntwo".to_vec(), "line breaks"),
            (b"6f9619ff-8b86-d011-b42d-00c04fc964ff\n".to_vec(), "id of a client secret"),
        ],
        _ => vec![
            (KEY.into(), "private key or certificate"),
            ("s3cret\u{a0}".into(), "no-break space"),
            (b"one\r\ntwo".to_vec(), "line breaks"),
            (b"SMTP_PASSWORD=s3cret".to_vec(), "assignment"),
        ],
    });
    all
}

#[test]
fn a_value_that_cannot_work_is_refused_at_every_door() {
    for field in ["password", "clientSecret", "certificate"] {
        let mut repo = create_repo(field);
        repo.serve();
        for (value, why) in unfit(field) {
            let set = repo.pipe(&["secrets", "set", "dev", "mail/value"], &value).code(1);
            assert!(set.stderr.contains("MW0045") && set.stderr.contains(why), "{field}: {}", set.stderr);
            assert!(set.stderr.contains("help: "), "{}", set.stderr);
            seal(&repo, &value);
            let verify = repo.run(&["verify", "dev", "--format", "json"]);
            assert_eq!(verify.code, 3, "{field} {why}: {}{}", verify.stdout, verify.stderr);
            let findings = verify.json()["profiles"][0]["findings"].as_array().unwrap().clone();
            let failed = findings.iter().find(|finding| {
                finding["verdict"] == "fail"
                    && finding["severity"] == "error"
                    && finding["message"].as_str().unwrap().contains(why)
            });
            assert!(failed.is_some(), "{field} {why}: {findings:#?}");
            let apply = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
            assert!(apply.stderr.contains("MW0045") && apply.stderr.contains(why), "{field}: {}", apply.stderr);
            assert_eq!(repo.state()["generation"], 0);
        }
    }
}

#[test]
fn whitespace_around_a_piped_value_is_removed() {
    let mut repo = create_repo("password");
    repo.serve();
    let mut digests = Vec::new();
    for value in [&b"\xef\xbb\xbfs3cret\r\n"[..], b"\xef\xbb\xbfs3cret", b"s3cret\n"] {
        let set = repo.pipe(&["secrets", "set", "dev", "mail/value"], value).code(0);
        assert_eq!(set.stderr.contains("byte order mark"), value.starts_with(b"\xef"), "{}", set.stderr);
        let service = mailwright::secrets::ServiceIdentity::demo().unwrap();
        let opened = service.open(repo.read("secrets/dev/mail/value.age").as_bytes()).unwrap();
        digests.push(String::from_utf8(secrecy::ExposeSecret::expose_secret(&opened).to_vec()).unwrap());
    }
    assert_eq!(digests, ["s3cret"; 3]);
    // The same in a file of the stock program: it is taken, and means the value.
    seal(&repo, b"\xef\xbb\xbfs3cret\r\n");
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    // Other blanks are a part of a password.
    let set = repo.pipe(&["secrets", "set", "dev", "mail/value"], b"s3cret \n").code(0);
    assert!(set.stderr.contains("begins or ends with a blank"), "{}", set.stderr);
    // A secret that no profile names yet has no destination to be sealed for.
    let unnamed = repo.pipe(&["secrets", "set", "dev", "other/value"], KEY.as_bytes()).code(1);
    assert!(unnamed.stderr.contains("MW0040"), "{}", unnamed.stderr);
}

#[test]
fn an_identity_file_may_be_saved_by_windows() {
    let repo = create_repo("password");
    repo.pipe(&["secrets", "set", "dev", "mail/value"], b"s3cret").code(0);
    let text = include_str!("../../../secrets/dev/demo-identity.txt").replace('\n', "\r\n");
    let wide: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [format!("\u{feff}{text}").into_bytes(), wide] {
        repo.write("key.txt", bytes);
        repo.run(&["secrets", "rekey", "dev", "--identity", "key.txt"]).code(0);
    }
}
