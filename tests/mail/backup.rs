//! `backup` and `restore`: a running service is copied, its identity never in the clear; a restore goes into an empty folder, and
//! through the confirmation of an administrator.

use std::path::Path;

use serde_json::json;

use crate::{
    mail_service::{DEADLINES, MailService, QUICK, count},
    sink::{Action, Sink},
    support::tools,
};

/// Creates an age identity. Returns its file and its recipient.
fn keygen(folder: &Path, name: &str) -> (String, String) {
    let path = folder.join(name);
    let made = std::process::Command::new(tools::tool("age-keygen")).arg("-o").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    let recipient = said.trim().rsplit(' ').next().unwrap().to_owned();
    (path.to_str().unwrap().to_owned(), recipient)
}

fn has_key(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let bytes = std::fs::read(entry.path()).unwrap();
        bytes.windows(15).any(|window| window == b"AGE-SECRET-KEY-")
    })
}

#[test]
fn a_running_service_is_backed_up_and_restored_elsewhere() {
    use std::os::unix::fs::PermissionsExt as _;
    let sink = Sink::start();
    sink.on("rcpt", Action::Reply("451 4.7.1 not now"));
    let mut service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({}));
    let keys = tempfile::tempdir().unwrap();
    let (identity, recipient) = keygen(keys.path(), "operator.txt");
    let (other, _) = keygen(keys.path(), "other.txt");
    let run = |arguments: &[&str]| service.repo.run(arguments);
    let backup = run(&["backup", "--data", ".data", "--to", "copy", "--recipient", &recipient]).code(0).stdout;
    assert!(backup.contains("mailwright restore copy"), "{backup}");
    let copy = service.repo.path("copy");
    assert!(!has_key(&copy), "the identity is never in the clear");
    for file in ["store.sqlite", "identity.age", "backup.json"] {
        let mode = std::fs::metadata(copy.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    // A folder is never written over, and the service's own recipient would be lost with it.
    run(&["backup", "--data", ".data", "--to", "copy", "--recipient", &recipient]).code(1);
    let own = service.repo.http("GET", "/v1/service", &[], b"").json()["recipient"].as_str().unwrap().to_owned();
    let refused = run(&["backup", "--data", ".data", "--to", "own", "--recipient", &own]).code(1).stderr;
    assert!(refused.contains("the service's own recipient") && !service.repo.path("own").exists(), "{refused}");

    // Neither into a folder with data, nor with another identity, nor a damaged copy.
    let refused = run(&["restore", "copy", "--data", ".data", "--identity", &identity]).code(1).stderr;
    assert!(refused.contains("is not empty") && refused.contains("nothing was changed"), "{refused}");
    run(&["restore", "copy", "--data", "new", "--identity", &other]).code(1);
    run(&["restore", "copy", "--data", "new", "--identity", &identity, "--environment", "prod"]).code(1);
    let store = copy.join("store.sqlite");
    let whole = std::fs::read(&store).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&store, &damaged).unwrap();
    run(&["restore", "copy", "--data", "new", "--identity", &identity]).code(1);
    assert!(!service.repo.path("new/store.sqlite").exists() && !service.repo.path("new/identity.txt").exists());
    std::fs::write(&store, &whole).unwrap();

    let restored =
        run(&["restore", "copy", "--data", "new", "--identity", &identity, "--environment", "dev", "--format", "json"])
            .code(0)
            .json();
    assert_eq!(restored["next"][0], "mailwright serve --environment dev --data new --restored");
    let file = service.repo.path("new/identity.txt");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read(&file).unwrap().len(),
        std::fs::read(service.repo.path(".data/identity.txt")).unwrap().len()
    );

    // The existing path: waiting mail is unknown, and an administrator confirms.
    service.repo.kill();
    std::fs::rename(service.repo.path(".data"), service.repo.path("old")).unwrap();
    std::fs::rename(service.repo.path("new"), service.repo.path(".data")).unwrap();
    sink.on("rcpt", Action::Usual);
    service.repo.serve_with(&[&["--demo", "--restored"], &DEADLINES[..]].concat());
    let outbox = service.outbox();
    assert_eq!((count(&outbox, "unknown"), outbox["restored"].is_object()), (1, true), "{outbox:#}");
    assert_eq!(service.submit(json!({})).status, 503);
    service.repo.run(&["outbox", "resolve", "dev", &id, "--failed", "--reason", "never left"]).code(0);
    service.repo.run(&["outbox", "confirm-restore", "dev", "--yes"]).code(0);
    let after = service.send(json!({}));
    service.wait(&after, "delivered");
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn a_backup_needs_a_way_to_seal_the_identity() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    service.repo.run(&["backup", "--data", ".data", "--to", "copy"]).code(1);
    let refused = service.repo.run(&["backup", "--data", ".data", "--to", "copy", "--passphrase"]).code(1).stderr;
    assert!(refused.contains("standard input is not a terminal"), "{refused}");
    let wrong = service.repo.run(&["backup", "--data", ".data", "--to", "copy", "--recipient", "age1x"]).code(1).stderr;
    assert!(wrong.contains("--recipient"), "{wrong}");
    let elsewhere = service.repo.run(&["backup", "--data", "environments", "--to", "copy", "--passphrase"]).code(1);
    assert!(elsewhere.stderr.contains("it has no `store.sqlite`"), "{}", elsewhere.stderr);
    assert!(!service.repo.path("copy").exists());
}
