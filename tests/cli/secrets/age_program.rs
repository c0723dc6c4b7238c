//! The files work with other people's `age`, in both directions.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::support::{
    repository::{CommandOutput, TestRepository, run_command},
    tools,
};
use mailwright::secrets::{Header, Identities, OpenError, Recipients, ServiceIdentity, ValueId, open, rekey};
use secrecy::ExposeSecret as _;

const VALUE: &str = "correct horse battery staple";

/// A repository whose `dev` is addressed to a key of `age-keygen`, in `key.txt`, and to an SSH key.
fn create_repo() -> (TestRepository, String) {
    let repo = TestRepository::small();
    repo.write(
        "environments/dev/profiles/relay.yaml",
        "provider:\n  smtp:\n    host: smtp.example.com\n    username: erp\n    password: { secret: relay/password }\n\
         from:\n  address: erp@example.com\nfunctions: [default]\nappliesTo: system-wide\n",
    );
    run_command({
        let mut command = Command::new(tools::tool("age-keygen"));
        command.arg("-o").arg(repo.path("key.txt"));
        command
    })
    .code(0);
    let recipient = run_command({
        let mut command = Command::new(tools::tool("age-keygen"));
        command.arg("-y").arg(repo.path("key.txt"));
        command
    })
    .code(0)
    .stdout
    .trim()
    .to_owned();
    let ssh = include_str!("../../fixtures/ssh/ed25519.pub").trim();
    repo.run(&["secrets", "init", "dev", &recipient, ssh]).code(0);
    (repo, recipient)
}

fn age(repo: &TestRepository, arguments: &[&str]) -> CommandOutput {
    let mut command = Command::new(tools::tool("age"));
    command.args(arguments).current_dir(repo.folder.path()).stdin(Stdio::null());
    run_command(command)
}

#[test]
fn age_opens_what_was_set() {
    let (repo, _) = create_repo();
    repo.pipe(&["secrets", "set", "dev", "relay/password"], VALUE.as_bytes()).code(0);
    let file = "secrets/dev/relay/password.age";
    let ssh = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ssh/ed25519");
    for key in ["key.txt", ssh] {
        if key == ssh {
            // SSH's own rule for private keys, which a checkout does not keep.
            fs::copy(ssh, repo.path("ssh")).unwrap();
        }
        let key = if key == ssh { "ssh" } else { key };
        assert_eq!(age(&repo, &["-d", "-i", key, file]).code(0).stdout, VALUE);
    }
    // Also after a rekey, and not for another key.
    repo.run(&["secrets", "rekey", "dev", "--all", "--identity", "key.txt"]).code(0);
    assert_eq!(age(&repo, &["-d", "-i", "key.txt", file]).code(0).stdout, VALUE);
    repo.write("stranger.txt", ServiceIdentity::generate().to_file().expose_secret());
    assert!(age(&repo, &["-d", "-i", "stranger.txt", file]).code(1).stderr.contains("no identity matched"));
}

#[test]
fn files_of_the_age_program_open_and_can_be_rekeyed() {
    let (repo, _) = create_repo();
    let profile = "environments/dev/profiles/relay.yaml";
    repo.write(profile, repo.read(profile).replace("relay/password", "relay/armored"));
    repo.write("value", VALUE);
    fs::create_dir_all(repo.path("secrets/dev/relay")).unwrap();
    for (name, more) in [("armored", &["-a"][..]), ("binary", &[])] {
        let file = format!("secrets/dev/relay/{name}.age");
        // recipients.txt is a valid recipients file of age, comments included.
        let arguments = [&["-R", "secrets/dev/recipients.txt", "-o", &file], more, &["value"]].concat();
        age(&repo, &arguments).code(0);
        let bytes = fs::read(repo.path(&file)).unwrap();
        let mut keys = Identities::default();
        keys.add_file(&repo.path("key.txt"), &age::NoCallbacks).unwrap();
        assert_eq!(open(&bytes, keys.iter()).unwrap().expose_secret(), VALUE.as_bytes());

        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.value_id, header.recipients), (None, None));
        assert_eq!(header.kinds, ["X25519", "ssh-ed25519"]);
        // A rekey gives it what it lacks: the id that it was bound under.
        let text = repo.read("secrets/dev/recipients.txt");
        let recipients = Recipients::parse(&text, &age::NoCallbacks).unwrap();
        let again = rekey(&bytes, keys.iter(), &recipients, None).unwrap().unwrap();
        let id = ValueId::bound(None, &header.digest);
        assert_eq!(Header::read(&again).unwrap().value_id.as_deref(), Some(id.as_str()));
    }
    let found = repo.run(&["secrets", "check", "dev", "--format", "json"]).code(0).json();
    assert_eq!(found["files"], 2);
    // One recipient more: for such files only the number is known, and it is reported.
    let text = repo.read("secrets/dev/recipients.txt");
    repo.write("secrets/dev/recipients.txt", format!("{text}{}\n", ServiceIdentity::generate().recipient()));
    let found = repo.run(&["secrets", "check", "dev", "--format", "json"]).code(1).json();
    let codes: Vec<_> = found["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == "MW0036").count(), 2, "{codes:?}");
}

#[test]
fn age_refuses_what_was_tampered_with_as_we_do() {
    let (repo, _) = create_repo();
    repo.pipe(&["secrets", "set", "dev", "relay/password"], VALUE.as_bytes()).code(0);
    let armored = fs::read(repo.path("secrets/dev/relay/password.age")).unwrap();
    let mut binary = Vec::new();
    std::io::Read::read_to_end(&mut age::armor::ArmoredReader::new(&armored[..]), &mut binary).unwrap();
    let end = binary.windows(5).position(|bytes| bytes == b"\n--- ").unwrap() + 1;
    let added = [&binary[..end], b"-> added stanza\n\n", &binary[end..]].concat();
    repo.write("added.age", &added);
    assert!(age(&repo, &["-d", "-i", "key.txt", "added.age"]).code(1).stderr.contains("bad header MAC"));
    let mut keys = Identities::default();
    keys.add_file(&repo.path("key.txt"), &age::NoCallbacks).unwrap();
    assert_eq!(open(&added, keys.iter()).map(|_| ()), Err(OpenError::Tampered));
}

#[test]
fn a_service_identity_is_an_identity_file_of_age() {
    let repo = TestRepository::small();
    let identity = ServiceIdentity::generate();
    repo.write("identity.txt", identity.to_file().expose_secret());
    let mut keygen = Command::new(tools::tool("age-keygen"));
    keygen.arg("-y").arg(repo.path("identity.txt"));
    assert_eq!(run_command(keygen).code(0).stdout.trim(), identity.recipient());
}
