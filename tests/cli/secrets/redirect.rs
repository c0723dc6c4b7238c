//! No secret can be redirected: whatever is done to its file, to the profile or to the folder that it lies in, it goes to
//! the destination that it was sealed for, or nowhere.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    sync::{Arc, LazyLock, Mutex},
};

use crate::support::{generated, own::own_sender, repository::TestRepository};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mailwright::{
    model::{
        ChangeKind, ChangeRecord, Destination, Digest, Encryption, ProfileState, SecretRecord, State, StoredProfile,
    },
    secrets::{Header, Recipients, ValueId, seal},
    store::{AuditEvent, Commit, Generations as _, NewSecret, Secrets as _, SqliteStore},
};
use secrecy::SecretSlice;
use serde_json::json;

const PASSWORD: &str = "Canary-Sup3r-S3cret-Pa55";
const FILE: &str = "secrets/dev/relay/password.age";

/// Files that carry no destination, and those that do.
const WAYS: [&str; 3] = ["v2", "v1", "age"];

/// An environment whose profile `relay` logs in at a host, and whose secrets are sealed to the public identity.
fn create_repo() -> TestRepository {
    let repo = TestRepository::empty();
    environment(&repo, "dev");
    relay(&repo, "relay", "host: 127.0.0.1, port: 9, encryption: none", "relay/password");
    repo
}

fn environment(repo: &TestRepository, name: &str) {
    repo.write(&format!("environments/{name}/environment.yaml"), "companies: [EDU1]\n");
    for file in ["recipients.txt", "demo-identity.txt"] {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("secrets/dev").join(file);
        repo.write(&format!("secrets/{name}/{file}"), fs::read(example).unwrap());
    }
}

/// The sender of a test alone.
static SENDER: LazyLock<String> = LazyLock::new(own_sender);

fn relay(repo: &TestRepository, name: &str, place: &str, secret: &str) {
    relay_of(repo, "dev", name, place, secret);
}

fn relay_of(repo: &TestRepository, environment: &str, name: &str, place: &str, secret: &str) {
    let function = if name == "relay" { "default" } else { "all-documents" };
    repo.write(
        &format!("environments/{environment}/profiles/{name}.yaml"),
        format!(
            "provider: {{ smtp: {{ {place}, username: mailer, password: {{ secret: {secret} }} }} }}\n\
             from: {{ address: {} }}\nfunctions: [{function}]\nappliesTo: system-wide\n",
            *SENDER
        ),
    );
}

/// The value, sealed to the public identity in one of the ways.
fn sealed(repo: &TestRepository, way: &str) {
    match way {
        "v2" => drop(repo.pipe(&["secrets", "set", "dev", "relay/password"], PASSWORD.as_bytes()).code(0)),
        "v1" => {
            let recipients = Recipients::parse(&repo.read("secrets/dev/recipients.txt"), &age::NoCallbacks).unwrap();
            let value = SecretSlice::from(PASSWORD.as_bytes().to_vec());
            let id = ValueId::from_random([9; 16]);
            repo.write(FILE, seal(&value, &recipients, &id).unwrap());
        }
        _ => {
            let text = repo.read("secrets/dev/recipients.txt");
            let key = text.lines().find(|line| line.starts_with("age1")).unwrap();
            let key: age::x25519::Recipient = key.parse().unwrap();
            repo.write(FILE, age::encrypt_and_armor(&key, PASSWORD.as_bytes()).unwrap());
        }
    }
}

fn apply(repo: &TestRepository) {
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
}

/// Checks that plan and service refuse to send the secret, and that nothing was changed.
fn refused(repo: &TestRepository, what: &str) {
    let generation = repo.state()["generation"].clone();
    let plan = repo.run(&["plan", "dev"]);
    assert_eq!(plan.code, 1, "{what}: {}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("this secret would go to a new place"), "{what}: {}", plan.stdout);
    assert!(plan.stderr.contains("MW0217"), "{what}: {}", plan.stderr);
    let apply = repo.run(&["apply", "dev", "--yes", "--skip-verify"]);
    assert!(apply.code == 1 && apply.stderr.contains("MW0217"), "{what}: {}{}", apply.stdout, apply.stderr);
    assert_eq!(repo.state()["generation"], generation, "{what}");
}

fn binary(file: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut age::armor::ArmoredReader::new(file), &mut bytes).unwrap();
    bytes
}

fn armored(binary: &[u8], end: &str) -> String {
    let body = BASE64_STANDARD.encode(binary);
    let lines = body.as_bytes().chunks(64).map(|line| format!("{}{end}", std::str::from_utf8(line).unwrap()));
    let lines: String = lines.collect();
    format!("-----BEGIN AGE ENCRYPTED FILE-----{end}{lines}-----END AGE ENCRYPTED FILE-----{end}")
}

/// The same file, written in other ways.
fn forms(file: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let binary = binary(file);
    let armor = armored(&binary, "\n");
    vec![
        ("armor taken off", binary.clone()),
        ("armor put on", armor.clone().into_bytes()),
        ("CRLF", armored(&binary, "\r\n").into_bytes()),
        ("no last line end", armor.trim_end().as_bytes().to_vec()),
        ("a line end more", format!("{armor}\n").into_bytes()),
        ("blanks around", format!("  \n{armor}  \n").into_bytes()),
    ]
}

#[test]
fn a_file_written_in_another_way_is_the_same_secret() {
    for way in WAYS {
        let mut repo = create_repo();
        sealed(&repo, way);
        repo.serve();
        apply(&repo);
        let original = fs::read(repo.path(FILE)).unwrap();
        for (what, form) in forms(&original) {
            // A file that is refused as an age file is not sent either.
            if Header::read(&form).is_err() {
                continue;
            }
            let what = format!("{way}, {what}");
            repo.write(FILE, &form);
            let same = repo.run(&["plan", "dev"]).code(0);
            assert!(same.stdout.contains("No changes."), "{what}: {}", same.stdout);
            relay(&repo, "relay", "host: 127.9.9.9, port: 9, encryption: none", "relay/password");
            refused(&repo, &what);
            relay(&repo, "relay", "host: 127.0.0.1, port: 9, encryption: none", "relay/password");
        }
    }
}

#[test]
fn sealing_again_for_others_launders_nothing() {
    for way in WAYS {
        let mut repo = create_repo();
        sealed(&repo, way);
        repo.serve();
        apply(&repo);
        let before = Header::read(&fs::read(repo.path(FILE)).unwrap()).unwrap();
        let key = ["-i", "secrets/dev/demo-identity.txt"];
        let all = ["secrets", "rekey", "dev", "--all"];
        let rekeyed = repo.run(&[&all[..], &key].concat());
        if way == "age" {
            // Nothing says that it belongs here, unless the operator does.
            assert!(rekeyed.code == 1 && rekeyed.stderr.contains("MW0042"), "{}", rekeyed.stderr);
            assert!(rekeyed.stderr.contains("mailwright secrets rekey dev relay/password"), "{}", rekeyed.stderr);
            repo.run(&[&["secrets", "rekey", "dev", "relay/password"][..], &key].concat()).code(0);
        } else {
            assert_eq!(rekeyed.code, 0, "{}", rekeyed.stderr);
        }
        let after = Header::read(&fs::read(repo.path(FILE)).unwrap()).unwrap();
        assert_ne!(before.digest, after.digest);
        assert_eq!(before.bound_id(), after.bound_id(), "{way}");
        let plan = repo.run(&["plan", "dev"]).code(0);
        assert!(plan.stdout.contains("(secret resealed, same value)"), "{way}: {}", plan.stdout);
        relay(&repo, "relay", "host: 127.9.9.9, port: 9, encryption: none", "relay/password");
        refused(&repo, way);
        // Nor when the operator is talked into naming it for the new place: the service knows the value.
        let named = repo.run(&[&["secrets", "rekey", "dev", "relay/password"][..], &key].concat());
        assert!(named.code == 0 || named.stderr.contains("MW0042"), "{}", named.stderr);
        refused(&repo, way);
    }
}

#[test]
fn a_copy_under_another_name_or_in_another_environment_goes_nowhere() {
    for way in WAYS {
        let mut repo = create_repo();
        sealed(&repo, way);
        repo.serve();
        apply(&repo);
        // Next to an attacker's own server, in the same environment.
        relay(&repo, "theirs", "host: 127.9.9.9, port: 9, encryption: none", "theirs/password");
        repo.write("secrets/dev/theirs/password.age", fs::read(repo.path(FILE)).unwrap());
        refused(&repo, way);
        let key = ["-i", "secrets/dev/demo-identity.txt"];
        let rekey = repo.run(&[&["secrets", "rekey", "dev", "--all"][..], &key].concat()).code(1);
        assert!(rekey.stderr.contains("MW0042") && rekey.stderr.contains("theirs/password"), "{}", rekey.stderr);
        // A recipient is added: the environment is left as it is, and the copy is named.
        let new = age::x25519::Identity::generate().to_public().to_string();
        let before = repo.read("secrets/dev/recipients.txt");
        let add = repo.run(&[&["secrets", "recipients", "add", &new, "dev"][..], &key].concat()).code(1);
        assert!(add.stderr.contains("MW0042") && add.stderr.contains("theirs/password"), "{}", add.stderr);
        assert_eq!(repo.read("secrets/dev/recipients.txt"), before);
        refused(&repo, way);
    }
}

#[test]
fn a_file_of_another_environment_is_refused_though_it_opens() {
    let mut repo = create_repo();
    environment(&repo, "prod");
    relay_of(&repo, "prod", "relay", "host: 127.0.0.1, port: 9, encryption: none", "relay/password");
    repo.pipe(&["secrets", "set", "prod", "relay/password"], PASSWORD.as_bytes()).code(0);
    repo.write(FILE, fs::read(repo.path("secrets/prod/relay/password.age")).unwrap());
    repo.serve();
    // Nothing was ever accepted: the file alone says that it belongs elsewhere.
    refused(&repo, "another environment");
    let check = repo.run(&["secrets", "check", "dev"]).code(1);
    assert!(check.stdout.contains("error[MW0217]"), "{}", check.stdout);
    let key = ["-i", "secrets/dev/demo-identity.txt"];
    for what in [&["secrets", "rekey", "dev", "--all"][..], &["secrets", "rekey", "dev", "relay/password"]] {
        let rekey = repo.run(&[what, &key].concat()).code(1);
        assert!(rekey.stderr.contains("MW0042"), "{}", rekey.stderr);
    }
    // A value that is set here belongs here.
    repo.pipe(&["secrets", "set", "dev", "relay/password"], PASSWORD.as_bytes()).code(0);
    repo.run(&["secrets", "check", "dev"]).code(0);
    apply(&repo);
}

#[test]
fn a_sealed_value_is_bound_before_it_is_applied() {
    let mut repo = create_repo();
    sealed(&repo, "v2");
    repo.serve();
    // The order of merges does not matter.
    relay(&repo, "relay", "host: 127.9.9.9, port: 9, encryption: none", "relay/password");
    refused(&repo, "another host");
    relay(&repo, "relay", "host: 127.0.0.1, port: 9, encryption: none", "relay/password");
    apply(&repo);
}

#[test]
fn the_same_host_with_equal_or_stronger_encryption_needs_no_new_seal() {
    for way in WAYS {
        let mut repo = create_repo();
        relay(&repo, "relay", "host: localhost, port: 587, encryption: starttls", "relay/password");
        sealed(&repo, way);
        repo.serve();
        apply(&repo);
        for (place, may) in [
            ("host: localhost, port: 465, encryption: tls", true),
            ("host: LOCALHOST, port: 2587, encryption: starttls", true),
            ("host: localhost, port: 25, encryption: none", false),
            ("host: 127.0.0.1, port: 587, encryption: starttls", false),
            ("host: localhost.evil.example, port: 587, encryption: starttls", false),
        ] {
            relay(&repo, "relay", place, "relay/password");
            if may {
                apply(&repo);
            } else {
                refused(&repo, place);
            }
        }
    }
}

#[test]
fn a_secret_of_one_kind_is_not_sent_as_another() {
    let mut repo = create_repo();
    let graph = |repo: &TestRepository, kind: &str| {
        repo.write(
            "environments/dev/profiles/relay.yaml",
            format!(
                "provider:\n  microsoft-graph-direct:\n    tenant: contoso.example\n    client: 0c0ffee0-0000-4000-8000-0000000000aa\n    \
                 credential: {{ {kind}: {{ secret: relay/password }} }}\n\
                 from: {{ address: erp@example.com }}\nfunctions: [default]\nappliesTo: system-wide\n"
            ),
        );
    };
    graph(&repo, "clientSecret");
    sealed(&repo, "v1");
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    graph(&repo, "certificate");
    refused(&repo, "another kind");
    let answer = repo.run(&["plan", "dev"]).stdout;
    assert!(answer.contains("as a client secret") && answer.contains("as a certificate"), "{answer}");
}

#[test]
fn a_value_that_verify_gets_first_is_bound_as_well() {
    for way in ["v1", "age"] {
        let (port, heard) = listener();
        let mut repo = create_repo();
        let here = format!("host: 127.0.0.1, port: {port}, encryption: none");
        relay(&repo, "relay", &here, "relay/password");
        sealed(&repo, way);
        repo.serve();
        let verify = || repo.run(&["verify", "dev", "--format", "json"]).json().to_string();
        let first = verify();
        assert!(heard.lock().unwrap().contains("AUTH"), "{first}");
        heard.lock().unwrap().clear();
        relay(&repo, "relay", &here.replace("127.0.0.1", "127.9.9.9"), "relay/password");
        let moved = verify();
        assert!(moved.contains(&format!("was accepted for 127.0.0.1:{port}")), "{moved}");
        let sent = heard.lock().unwrap().clone();
        assert!(sent.contains("EHLO") && !sent.contains("AUTH"), "{sent}");
        let apply = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
        assert!(apply.stderr.contains("MW0217"), "{}", apply.stderr);
    }
}

fn reader(repo: &TestRepository, address: &str, secret: &str) {
    repo.write(
        "environments/dev/environment.yaml",
        format!(
            "companies: [EDU1]\nverify:\n  reader:\n    cloud: {{ custom: {{ signIn: {address}, graph: {address} }} }}\n    \
             tenant: contoso.example\n    client: 0c0ffee0-0000-4000-8000-0000000000aa\n    \
             credential: {{ clientSecret: {{ secret: {secret} }} }}\n"
        ),
    );
}

#[test]
fn the_reader_is_a_destination_like_any_other() {
    for way in WAYS {
        let mut repo = create_repo();
        sealed(&repo, way);
        repo.serve();
        apply(&repo);
        // The password of the relay, as the client secret of an attacker's own application.
        reader(&repo, "https://127.9.9.9:9", "relay/password");
        refused(&repo, way);
        let plan = repo.run(&["plan", "dev", "--format", "json"]).code(1).json();
        let redirected = &plan["redirected"][0];
        assert!(redirected["profile"].is_null() && redirected["secret"] == "relay/password", "{redirected}");
        assert!(redirected["place"]["file"] == "environments/dev/environment.yaml", "{redirected}");
        // The service does not rely on the plan.
        let digest = repo.state()["profiles"]["relay"]["live"]["secrets"]["relay/password"].clone();
        let application = json!({
            "cloud": { "custom": { "signIn": "https://127.9.9.9:9", "graph": "https://127.9.9.9:9" } },
            "tenant": "contoso.example", "client": "0c0ffee0-0000-4000-8000-0000000000aa",
            "credential": { "clientSecret": { "secret": "relay/password" } },
        });
        let settings = json!({ "companies": ["EDU1"], "reader": { "application": application, "secret": digest } });
        let changeset = json!({ "id": "018f3a2e-0000-7000-8000-000000000001", "environment": "dev", "base": 1, "settings": settings });
        let answer = repo.http("POST", "/v1/changesets", &[], changeset.to_string().as_bytes());
        assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("MW0217")), "{}", answer.body);
    }
}

#[test]
fn the_reader_is_planned_approved_and_bound() {
    let mut repo = create_repo();
    sealed(&repo, "v2");
    repo.serve();
    apply(&repo);
    reader(&repo, "https://127.0.0.1:9", "reader/secret");
    repo.pipe(&["secrets", "set", "dev", "reader/secret"], b"of the reader").code(0);
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    for field in [
        "verify.reader.client",
        "verify.reader.cloud.custom.signIn",
        "verify.reader.credential.clientSecret = reader/secret (new secret)",
    ] {
        assert!(plan.contains(field), "{field}: {plan}");
    }
    let file = "environments/dev/environment.yaml";
    let signer = include_str!("../../fixtures/ssh/ed25519.pub").trim();
    let policy = format!(
        "policy: {{ approvals: {{ signers: [{{ name: alice, key: '{signer}' }}], rules: [{{ count: 1, actions: [secrets] }}] }} }}\n"
    );
    repo.write(file, repo.read(file) + &policy);
    apply(&repo);
    assert!(repo.run(&["plan", "dev"]).code(0).stdout.contains("No changes."));
    // Another value of it is a secret's change, and another place is refused.
    repo.pipe(&["secrets", "set", "dev", "reader/secret"], b"another of the reader").code(0);
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("verify.reader.credential.clientSecret = reader/secret (secret rotated)"), "{plan}");
    assert!(plan.contains("It needs 1 approval of alice"), "{plan}");
    assert!(repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1).stderr.contains("MW0310"));
    repo.write(file, repo.read(file).replace("https://127.0.0.1:9", "https://127.9.9.9:9"));
    refused(&repo, "another place");
    // Back to a generation without it, and forth again: its file is still there.
    repo.write(file, repo.read(file).replace("https://127.9.9.9:9", "https://127.0.0.1:9"));
    let state = repo.state();
    assert_eq!(state["settings"]["reader"]["application"]["tenant"], "contoso.example");
    assert_eq!(state["secrets"].as_object().unwrap().len(), 2);
}

/// A mail server that accepts a login and records all commands.
fn listener() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            drop(stream.write_all(b"220 here\r\n"));
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                kept.lock().unwrap().push_str(&line);
                let answer = if line.starts_with("EHLO") {
                    "250-here\r\n250 AUTH PLAIN LOGIN\r\n"
                } else if line.starts_with("AUTH") {
                    "235 ok\r\n"
                } else {
                    "250 ok\r\n"
                };
                drop(stream.write_all(answer.as_bytes()));
                line.clear();
            }
        }
    });
    (port, heard)
}

#[test]
fn a_redirected_secret_is_an_error_of_verify_even_if_its_server_is_silent() {
    let mut repo = create_repo();
    sealed(&repo, "v2");
    repo.serve();
    apply(&repo);
    relay(&repo, "relay", "host: 127.9.9.9, port: 9, encryption: none", "relay/password");
    for more in [&[][..], &["--local", "-i", "secrets/dev/demo-identity.txt"]] {
        let report = repo.run(&[&["verify", "dev", "--format", "json"], more].concat()).code(3).json();
        let findings = report["profiles"][0]["findings"].as_array().unwrap();
        let found =
            findings.iter().find(|finding| finding["id"] == "VERIFY-SECRET").unwrap_or_else(|| panic!("{report}"));
        assert_eq!((&found["verdict"], &found["severity"]), (&json!("fail"), &json!("error")), "{report}");
    }
}

#[test]
fn a_check_from_this_machine_sends_a_secret_only_where_it_is_known_to_belong() {
    let login = BASE64_STANDARD.encode(format!("\0mailer\0{PASSWORD}"));
    for way in WAYS {
        let (port, heard) = listener();
        let mut repo = create_repo();
        let here = format!("host: 127.0.0.1, port: {port}, encryption: none");
        relay(&repo, "relay", &here, "relay/password");
        sealed(&repo, way);
        let local = |repo: &TestRepository, more: &[&str]| {
            let verify = ["verify", "dev", "--local", "-i", "secrets/dev/demo-identity.txt", "--format", "json"];
            repo.run(&[&verify[..], more].concat()).json().to_string()
        };
        let was_sent = || std::mem::take(&mut *heard.lock().unwrap()).contains(&login);
        // Without a terminal it cannot be confirmed.
        let report = local(&repo, &[]);
        assert_eq!(was_sent(), way == "v2", "{way}: {report}");
        if way != "v2" {
            assert!(report.contains("--send-secret relay/password"), "{report}");
            local(&repo, &["--send-secret", "relay/password"]);
            assert!(was_sent(), "{way}");
        }
        // The service knows it.
        repo.serve();
        apply(&repo);
        local(&repo, &[]);
        assert!(was_sent(), "{way}");
        // Another host: neither by the file, nor by what the service knows, nor because the operator insists.
        relay(&repo, "relay", &here.replace("127.0.0.1", "127.0.0.2"), "relay/password");
        for more in [&[][..], &["--send-secret", "relay/password"]] {
            let report = local(&repo, more);
            assert!(!was_sent() && report.contains("would travel to"), "{way}: {report}");
        }
    }
}

/// Each change of the files alone, for a file that names its destination and for one whose destination the service knows.
#[test]
fn no_change_of_the_files_redirects_a_check_from_this_machine() {
    let login = BASE64_STANDARD.encode(format!("\0mailer\0{PASSWORD}"));
    for way in ["v2", "v1"] {
        let ((port, heard), (other_port, other_heard)) = (listener(), listener());
        let mut repo = create_repo();
        let place = |host: &str, port: u16| format!("host: {host}, port: {port}, encryption: none");
        let here = place("localhost", port);
        relay(&repo, "relay", &here, "relay/password");
        sealed(&repo, way);
        repo.serve();
        apply(&repo);
        let was_sent = |environment: &str, profile: &str| {
            let verify =
                ["verify", environment, profile, "--local", "-i", "secrets/dev/demo-identity.txt", "--format", "json"];
            let output = repo.run(&verify);
            let (first, other) =
                (std::mem::take(&mut *heard.lock().unwrap()), std::mem::take(&mut *other_heard.lock().unwrap()));
            (first.contains(&login) || other.contains(&login), format!("{}{}", output.stdout, output.stderr))
        };
        let check = |environment: &str, profile: &str, what: &str, expected: bool| {
            let (sent, report) = was_sent(environment, profile);
            assert_eq!(sent, expected, "{way}, {what}: {report}");
        };
        check("dev", "relay", "as it was applied", true);
        for (what, host, port, expected) in [
            ("another host", "127.0.0.2", port, false),
            ("a subdomain", "relay.localhost", port, false),
            ("another host with a dot", "127.0.0.2.", port, false),
            ("a full-width letter", "ｌocalhost", port, false),
            ("another port", "localhost", other_port, true),
            ("capitals", "LocalHost", port, true),
        ] {
            relay(&repo, "relay", &place(&format!("\"{host}\""), port), "relay/password");
            check("dev", "relay", what, expected);
        }
        relay(&repo, "relay", &here, "relay/password");
        // A new profile with the same secret, and one with a link to it, send it nowhere else.
        relay(&repo, "extra", &place("127.0.0.2", port), "relay/password");
        check("dev", "extra", "a new profile", false);
        fs::create_dir_all(repo.path("secrets/dev/extra")).unwrap();
        std::os::unix::fs::symlink("../relay/password.age", repo.path("secrets/dev/extra/password.age")).unwrap();
        relay(&repo, "extra", &place("127.0.0.2", port), "extra/password");
        check("dev", "extra", "a link", false);
        relay(&repo, "extra", &here, "relay/password");
        check("dev", "extra", "a profile of another name", true);
        // Another environment, with the same file.
        environment(&repo, "other");
        fs::create_dir_all(repo.path("secrets/other/relay")).unwrap();
        fs::copy(repo.path(FILE), repo.path("secrets/other/relay/password.age")).unwrap();
        relay_of(&repo, "other", "relay", &here, "relay/password");
        check("other", "relay", "another environment", false);
    }
    // What was sealed for an encrypted connection is not sent in clear.
    let (port, heard) = listener();
    let repo = create_repo();
    relay(&repo, "relay", &format!("host: localhost, port: {port}, encryption: starttls"), "relay/password");
    sealed(&repo, "v2");
    relay(&repo, "relay", &format!("host: localhost, port: {port}, encryption: none"), "relay/password");
    repo.run(&["verify", "dev", "--local", "-i", "secrets/dev/demo-identity.txt"]);
    assert!(!heard.lock().unwrap().contains(&login));
}

/// The store is not trusted either: the file itself says where it may go.
#[tokio::test(flavor = "multi_thread")]
async fn delivery_compares_before_it_sends() {
    let (port, heard) = listener();
    let mut repo = create_repo();
    let here = format!("host: 127.0.0.1, port: {port}, encryption: none");
    relay(&repo, "relay", &here, "relay/password");
    sealed(&repo, "v2");
    repo.serve();
    apply(&repo);
    repo.kill();
    heard.lock().unwrap().clear();
    let store = SqliteStore::open(&repo.path(".data/store.sqlite"), &"dev".parse().unwrap()).unwrap();
    let state = store.state().await.unwrap();
    let mut stored = state.live_stored().next().unwrap().1.clone();
    let mut record = state.secrets.values().next().unwrap().clone();
    let mut profile = serde_json::to_value(&stored.profile).unwrap();
    profile["provider"]["smtp"]["host"] = json!("127.9.9.9");
    stored.profile = serde_json::from_value(profile).unwrap();
    record.destination = stored.profile.provider.destination();
    let file = fs::read(repo.path(FILE)).unwrap();
    store.commit(commit(&state, 2, stored, record, &file)).await.unwrap();
    drop(store);
    let raw = rusqlite::Connection::open(repo.path(".data/store.sqlite")).unwrap();
    for sql in [
        "UPDATE secret SET record = replace(record, '127.0.0.1', '127.9.9.9')",
        "UPDATE secret_value SET destination = replace(destination, '127.0.0.1', '127.9.9.9')",
    ] {
        assert_eq!(raw.execute(sql, []).unwrap(), 1);
    }
    drop(raw);
    repo.serve();
    let send =
        ["send", "dev", "--company", "EDU1", "--function", "default", "--to", "a@example.com", "--text", "hello"];
    repo.run(&send).code(0);
    for _ in 0..600 {
        let outbox = repo.http("GET", "/v1/outbox", &[], b"").body;
        if outbox.contains("would travel to 127.9.9.9") {
            let commands = heard.lock().unwrap().clone();
            let login = BASE64_STANDARD.encode(format!("\0mailer\0{PASSWORD}"));
            // The profile is suspended, and checked without its login: no mail is sent.
            assert!(!commands.contains(&login) && !commands.contains("DATA"), "{commands}");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{}", repo.http("GET", "/v1/outbox", &[], b"").body);
}

/// A store that was written before digests were those of the binary form.
#[tokio::test]
async fn an_older_store_is_rewritten_and_knows_the_same_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let environment = generated::environment();
    let identity = mailwright::secrets::ServiceIdentity::generate();
    let recipients = Recipients::parse(&identity.recipient(), &age::NoCallbacks).unwrap();
    let value = SecretSlice::from(b"correct horse".to_vec());
    let file = seal(&value, &recipients, &ValueId::from_random([3; 16])).unwrap();
    let crlf = String::from_utf8(file.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    let header = Header::read(&file).unwrap();

    let store = SqliteStore::open(&path, &environment).unwrap();
    let place = |host: &str| Destination::Smtp { host: host.to_owned(), port: 587, encryption: Encryption::Starttls };
    // The same file twice, as the older version knew it: under the digests of its bytes.
    for (number, (bytes, host)) in [(&file, "first.example"), (&crlf, "second.example")].into_iter().enumerate() {
        let digest = Digest::of_bytes(bytes);
        let profile = generated::smtp(host, &["default"], Some("a/b"));
        let stored = StoredProfile {
            profile,
            secrets: [("a/b".parse().unwrap(), digest.clone())].into(),
            next: BTreeMap::new(),
        };
        let record =
            SecretRecord { digest, value_id: header.value_id.clone(), sealed_for: None, destination: place(host) };
        store.commit(commit(&store.state().await.unwrap(), number as u64 + 1, stored, record, bytes)).await.unwrap();
    }
    drop(store);
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("DROP TABLE secret_value; DELETE FROM schema_version WHERE version = 10").unwrap();
    drop(raw);

    let store = SqliteStore::open(&path, &environment).unwrap();
    let state = store.state().await.unwrap();
    let record = &state.secrets[&header.digest];
    assert_eq!(record.destination, place("first.example"), "the first one counts");
    assert_eq!(state.secrets.len(), 1);
    let id = header.bound_id().as_str().to_owned();
    assert_eq!(store.destinations(vec![id.clone()]).await.unwrap(), [(id, place("first.example"))].into());
    for generation in [1, 2] {
        let profiles = store.generation(generation).await.unwrap().unwrap().profiles;
        let digests: Vec<_> = profiles.values().flat_map(|stored| stored.secrets.values()).collect();
        assert_eq!(digests, [&header.digest], "generation {generation}");
    }
    assert_eq!(Header::read(&store.age_file(&header.digest).await.unwrap().unwrap()).unwrap(), header);
}

fn commit(state: &State, number: u64, stored: StoredProfile, record: SecretRecord, file: &[u8]) -> Commit {
    let at = jiff::Timestamp::from_second(1).unwrap();
    let changed = ChangeRecord { generation: number, at, by: "ann".to_owned(), kind: ChangeKind::Apply };
    let mut after = state.clone();
    let name: mailwright::model::ProfileName = "relay".parse().unwrap();
    after.profiles.insert(name.clone(), ProfileState::new(Some(stored.clone()), Some(stored), changed));
    let generation = json!({
        "number": number, "at": at, "by": "ann", "kind": "apply", "provenance": {},
        "summary": { "added": 0, "changed": 0, "destroyed": 0, "renamed": 0, "adopted": 0, "forgotten": 0, "settings": false },
    });
    Commit {
        base: state.generation,
        generation: serde_json::from_value(generation).unwrap(),
        changeset: None,
        after: Arc::new(after),
        touched: [name].into(),
        secrets: vec![NewSecret { record, age_file: file.to_vec() }],
        event: AuditEvent {
            at,
            actor: "ann".to_owned(),
            action: "changeset",
            outcome: mailwright::model::AuditOutcome::Accepted,
            detail: json!({}),
        },
    }
}
