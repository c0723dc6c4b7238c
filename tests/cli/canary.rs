//! A secret put through every command, format, log level, crash and answer appears nowhere but inside age files.

use std::path::Path;

use crate::support::repository::{CommandOutput, TestRepository, run_command};
use serde_json::json;

const OLD: &str = "Canary-Old-b7Qx93Lm";
const NEW: &str = "Canary-New-k2Rv58Tz";

/// Fails if the bytes contain any form of a canary: plain, base64, hexadecimal.
fn clean(bytes: &[u8], where_: &str) {
    use base64::Engine as _;
    for canary in [OLD, NEW] {
        let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
        let encoded = base64::prelude::BASE64_STANDARD_NO_PAD.encode(canary);
        for form in [canary, &hex, &encoded[..encoded.len() - 2]] {
            assert!(!bytes.windows(form.len()).any(|window| window == form.as_bytes()), "{form} is in {where_}");
        }
    }
}

fn check(output: &CommandOutput, what: &str) {
    clean(output.stdout.as_bytes(), what);
    clean(output.stderr.as_bytes(), what);
}

fn check_folder(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_folder(&path);
        } else {
            clean(&std::fs::read(&path).unwrap(), &path.display().to_string());
        }
    }
}

#[test]
fn a_secret_is_nowhere_but_in_its_age_file() {
    let mut repo = TestRepository::examples();
    check(&repo.pipe(&["secrets", "set", "dev", "relay/password"], OLD.as_bytes()).code(0), "secrets set");
    check(&repo.pipe(&["secrets", "set", "dev", "documents/client-secret"], OLD.as_bytes()).code(0), "secrets set");
    repo.serve();
    check(&repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0), "apply");
    check(&repo.pipe(&["secrets", "set", "dev", "relay/password"], NEW.as_bytes()).code(0), "secrets set");
    check(&repo.run(&["secrets", "rekey", "dev", "--all", "-i", "secrets/dev/demo-identity.txt"]).code(0), "rekey");

    for format in ["human", "json", "markdown"] {
        check(&repo.run(&["plan", "dev", "--format", format]).code(0), "plan");
        check(&repo.run(&["drift", "dev", "--format", format]).code(0), "drift");
    }
    let formats = ["human", "json"];
    for format in formats {
        check(&repo.run(&["show", "dev", "relay", "--format", format]).code(0), "show");
        check(&repo.run(&["status", "dev", "--format", format]).code(0), "status");
        check(&repo.run(&["history", "dev", "--format", format]).code(0), "history");
        check(&repo.run(&["blame", "dev", "relay", "--format", format]).code(0), "blame");
        check(&repo.run(&["resolve", "dev", "EDU1", "default", "--format", format]).code(0), "resolve");
        check(&repo.run(&["import", "dev", "--dry-run", "--format", format]).code(0), "import");
        check(&repo.run(&["secrets", "list", "dev", "--format", format]).code(0), "secrets list");
        check(&repo.run(&["secrets", "check", "dev", "--format", format]).code(0), "secrets check");
        check(&repo.run(&["audit", "list", "dev", "--format", format]).code(0), "audit");
    }
    for format in ["human", "json", "github", "sarif"] {
        check(&repo.run(&["validate", "--format", format]).code(0), "validate");
    }
    for format in ["yaml", "json"] {
        check(&repo.run(&["render", "dev", "--format", format]).code(0), "render");
    }
    // With the value in an editor, and as it is.
    let mut edit = repo.command(&["secrets", "edit", "dev", "relay/password", "-i", "secrets/dev/demo-identity.txt"]);
    edit.env("EDITOR", format!("printf {OLD} >"));
    check(&run_command(edit).code(0), "secrets edit");
    check(&repo.pipe(&["secrets", "set", "dev", "relay/password", "--format", "json"], NEW.as_bytes()).code(0), "set");
    let rekey = ["secrets", "rekey", "dev", "--all", "-i", "secrets/dev/demo-identity.txt", "--format", "json"];
    check(&repo.run(&rekey).code(0), "rekey");
    check(&repo.run(&["secrets", "init", "dev", "--from-service", "--format", "json"]).code(1), "secrets init");

    check(&repo.run(&["plan", "dev", "--out", "canary.plan"]).code(0), "plan --out");
    check(&repo.run(&["apply", "--skip-verify", "./canary.plan", "--yes"]).code(0), "apply FILE");
    check(&repo.run(&["rollback", "dev", "--to", "1", "--yes"]).code(0), "rollback");
    check(&repo.run(&["apply", "--skip-verify", "dev", "--yes", "--format", "markdown"]).code(0), "apply");
    for format in formats {
        check(&repo.run(&["rollback", "dev", "--to", "1", "--yes", "--format", format]).code(0), "rollback");
        check(&repo.run(&["apply", "--skip-verify", "dev", "--yes", "--format", format]).code(0), "apply");
        let made = repo.run(&["token", "create", "dev", "--name", "x", "--role", "viewer", "--format", format]).code(0);
        check(&made, "token create");
        check(&repo.run(&["token", "list", "dev", "--format", format]).code(0), "token list");
        let id = made.stdout.split("mw_").nth(1).unwrap().split('_').next().unwrap().to_owned();
        check(&repo.run(&["token", "revoke", "dev", &id, "--format", format]).code(0), "token revoke");
        check(&repo.run(&["audit", "verify", "dev", "--format", format]).code(0), "audit verify");
    }
    // By its own ways the service opens the secret: to prove that it can log in, and to send. Nothing listens there.
    for format in ["human", "json", "markdown", "sarif", "junit", "github"] {
        check(&repo.run(&["verify", "dev", "--format", format, "--only", "relay"]), "verify");
    }
    let send =
        ["send", "dev", "--company", "EDU1", "--function", "default", "--to", "a@example.com", "--text", "hello"];
    for format in ["human", "json"] {
        let sent = repo.run(&[&send[..], &["--format", format]].concat());
        check(&sent, "send");
        let messages = repo.http("GET", "/v1/messages", &[], b"").json();
        let id = messages["messages"][0]["id"].as_str().unwrap().to_owned();
        for what in [&["list"][..], &["status"], &["show", &id]] {
            check(
                &repo.run(&[&["outbox", what[0], "dev"], &what[1..], &["--format", format]].concat()).code(0),
                "outbox",
            );
        }
    }
    // A profile that was made by hand is written into files, with its secret as a name.
    let relay = repo.state()["profiles"]["relay"]["live"]["profile"].clone();
    let mut by_hand = relay;
    by_hand["enabled"] = json!(false);
    let body = by_hand.to_string();
    let put = repo.http("PUT", "/v1/profiles/by-hand", &[("If-None-Match", "*")], body.as_bytes());
    assert_eq!(put.status, 200, "{}", put.body);
    check(&repo.run(&["import", "dev", "--format", "json"]).code(0), "import");
    assert!(repo.path("environments/dev/profiles/by-hand.yaml").exists());
    repo.remove("environments/dev/profiles/by-hand.yaml");
    for path in [
        "/v1/state",
        "/v1/service",
        "/v1/generations",
        "/v1/generations/1",
        "/v1/profiles/relay",
        "/v1/audit",
        "/v1/tokens",
        "/v1/messages",
        "/v1/outbox",
        "/v1/verify",
        "/metrics",
        "/openapi.json",
        "/v1/nothing",
    ] {
        clean(repo.http("GET", path, &[], b"").body.as_bytes(), path);
    }
    // Refusals: a redirected secret, a wrong recipient, a literal, a secret in a body.
    repo.write("environments/dev/profiles/relay.yaml", "provider: { smtp: { encryption: none, host: 127.9.9.9 } }\n");
    check(&repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(1), "redirected");
    repo.write(
        "environments/dev/profiles/relay.yaml",
        format!("provider: {{ smtp: {{ encryption: none, password: {NEW} }} }}\n"),
    );
    check(&repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(1), "literal");
    check(&repo.run(&["plan", "dev", "--format", "json"]).code(1), "literal");
    let answer = repo.patch("relay", &json!({ "provider": { "smtp": { "password": NEW } } }));
    assert_eq!(answer.status, 400);
    clean(answer.body.as_bytes(), "a literal in a patch");
    let answer = repo.http("POST", "/v1/changesets", &[], format!("{{\"id\": \"{NEW}\"}}").as_bytes());
    clean(answer.body.as_bytes(), "a literal in a changeset");
    repo.remove("environments/dev/profiles/relay.yaml");

    // A crash, and the log of everything above at its most talkative.
    let log = repo.service.as_ref().unwrap().log.clone();
    repo.kill();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let log = log.lock().unwrap().clone();
    assert!(log.contains("request"), "the log is empty");
    clean(log.as_bytes(), "the log");
    assert!(!log.contains("mw_"), "a token is in the log");
    check_folder(repo.folder.path());
    // The age files do hold it.
    let identity = mailwright::secrets::ServiceIdentity::demo().unwrap();
    let file = std::fs::read(repo.path("secrets/dev/relay/password.age")).unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&identity.open(&file).unwrap()), NEW.as_bytes());
}

#[test]
fn no_crash_leaves_a_secret_behind() {
    use std::os::unix::process::ExitStatusExt as _;
    // Both leave a core by default; Rust keeps SIGSEGV to itself, for the first time.
    for signal in ["-ABRT", "-QUIT"] {
        let mut repo = TestRepository::examples();
        repo.pipe(&["secrets", "set", "dev", "relay/password"], NEW.as_bytes()).code(0);
        let folder = repo.path("").to_str().unwrap().to_owned();
        let unlimited = ["sh", "-c", "ulimit -c unlimited; cd \"$0\" && exec \"$@\"", &folder];
        repo.serve_under(&unlimited, &["--demo"]);
        repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
        // The secret is in use: it has just been opened for a login at a port without a listener.
        repo.run(&["verify", "dev", "--only", "relay"]);
        let log = repo.service.as_ref().unwrap().log.clone();
        let child = &mut repo.service.as_mut().unwrap().child;
        let pid = child.id().to_string();
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(cores.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{cores}");
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let ended = child.wait().unwrap();
        assert!(ended.signal().is_some() && !ended.core_dumped(), "{signal}: {ended:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
        clean(log.lock().unwrap().as_bytes(), "the log");
        check_folder(repo.folder.path());
    }
}

#[test]
fn no_debug_output_contains_a_secret() {
    let identity = mailwright::secrets::ServiceIdentity::demo().unwrap();
    let file = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("secrets/dev/relay/password.age")).unwrap();
    let opened = identity.open(&file).unwrap();
    assert!(!format!("{opened:?}").contains("example-relay"));
    let secret = mailwright::store::NewSecret {
        record: serde_json::from_value(json!({ "digest": mailwright::model::Digest::of_bytes(&file), "destination": { "smtp": { "host": "a", "port": 1, "encryption": "tls" } } })).unwrap(),
        age_file: file,
    };
    assert!(!format!("{secret:?}").contains("age_file"));
}
