//! Age files: both ways with Debian's `age`, every kind of key, and what headers tell without one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod support;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use mailwright::secrets::{self, Header, OpenError, Recipients, ServiceIdentity, ValueId};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use support::{tools::tool, trial::Trial};

/// Runs a tool in the trial's folder; its standard output.
fn run(trial: &Trial, program: &str, arguments: &[&str], input: &[u8]) -> (bool, Vec<u8>) {
    let mut child = Command::new(tool(program))
        .args(arguments)
        .current_dir(trial.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), output.stdout)
}

/// A new age identity in a file of this name; its recipient.
fn keygen(trial: &Trial, name: &str) -> String {
    assert!(run(trial, "age-keygen", &["-o", name], b"").0);
    let text = trial.read(name);
    text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
}

fn ssh_keygen(trial: &Trial, kind: &str) -> String {
    let name = format!("ssh-{kind}");
    assert!(run(trial, "ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", "ann@example.com", "-f", &name], b"").0);
    trial.read(&format!("{name}.pub")).trim().to_owned()
}

#[test]
fn stock_age_opens_what_is_sealed_here_with_every_kind_of_key() {
    let trial = Trial::small();
    let recipients = [
        keygen(&trial, "one.txt"),
        keygen(&trial, "two.txt"),
        ssh_keygen(&trial, "ed25519"),
        ssh_keygen(&trial, "rsa"),
    ];
    let mut arguments = vec!["secrets", "init", "dev"];
    arguments.extend(recipients.iter().map(String::as_str));
    trial.run(&arguments).code(0);
    let value = "Grüße, \"quotes\" and $dollars\nand a second line";
    trial.pipe(&["secrets", "set", "dev", "relay/password"], format!("{value}\n").as_bytes()).code(0);
    for identity in ["one.txt", "two.txt", "ssh-ed25519", "ssh-rsa"] {
        let (opened, plain) = run(&trial, "age", &["-d", "-i", identity, "secrets/dev/relay/password.age"], b"");
        assert!(opened, "{identity}");
        assert_eq!(String::from_utf8(plain).unwrap(), value, "{identity}");
    }
    keygen(&trial, "stranger.txt");
    assert!(!run(&trial, "age", &["-d", "-i", "stranger.txt", "secrets/dev/relay/password.age"], b"").0);
    trial.run(&["secrets", "check", "dev"]).code(0);
}

#[test]
fn what_stock_age_seals_is_opened_here_armored_or_not() {
    let mut trial = Trial::examples();
    let service = ServiceIdentity::demo().unwrap();
    let recipient = service.recipient();
    for armor in [&["-a"][..], &[]] {
        let mut arguments = armor.to_vec();
        arguments.extend(["-r", &recipient, "-o", "secrets/dev/relay/password.age"]);
        assert!(run(&trial, "age", &arguments, b"made elsewhere").0);
        let file = std::fs::read(trial.path("secrets/dev/relay/password.age")).unwrap();
        assert_eq!(service.open(&file).unwrap().expose_secret(), b"made elsewhere");
        let header = Header::read(&file).unwrap();
        assert_eq!((header.value_id, header.recipients, header.kinds), (None, None, vec!["X25519".to_owned()]));
        trial.run(&["validate", "dev"]).code(0);
    }
    trial.serve();
    trial.run(&["apply", "dev", "--yes"]).code(0);
    trial.pipe(&["secrets", "set", "dev", "relay/password"], b"made here").code(0);
    assert!(trial.run(&["plan", "dev"]).code(0).stdout.contains("(secret file changed)"));
}

#[test]
fn rekey_keeps_the_value_and_its_id_for_every_kind_of_operator() {
    let trial = Trial::small();
    let (ann, bob) = (keygen(&trial, "ann.txt"), keygen(&trial, "bob.txt"));
    let (ed25519, rsa) = (ssh_keygen(&trial, "ed25519"), ssh_keygen(&trial, "rsa"));
    trial.run(&["secrets", "init", "dev", &ann, &ed25519, &rsa]).code(0);
    trial.pipe(&["secrets", "set", "dev", "a/one"], b"first").code(0);
    let read = |trial: &Trial| std::fs::read(trial.path("secrets/dev/a/one.age")).unwrap();
    let before = Header::read(&read(&trial)).unwrap();
    assert_eq!(before.kinds, ["X25519", "ssh-ed25519", "ssh-rsa"]);
    trial.write("secrets/dev/recipients.txt", format!("{ann}\n{ed25519}\n{rsa}\n{bob} # joined\n"));
    let wrong = trial.run(&["secrets", "check", "dev"]).code(1);
    assert!(wrong.stderr.is_empty() && wrong.stdout.contains("MW0035"), "{}{}", wrong.stdout, wrong.stderr);
    trial.write("secrets/dev/recipients.txt", format!("{ann}\n{ed25519}\n{rsa}\n\n# joined\n{bob}\n"));
    let wrong = trial.run(&["secrets", "check", "dev"]).code(1);
    assert!(wrong.stdout.contains("MW0036") && wrong.stdout.contains(&bob[..20]), "{}", wrong.stdout);
    assert!(trial.run(&["secrets", "rekey", "dev", "--dry-run"]).code(0).stdout.contains("would seal"));
    let refused = trial.run(&["secrets", "rekey", "dev", "-i", "bob.txt"]).code(1);
    assert!(refused.stderr.contains("MW0038"), "{}", refused.stderr);
    for identity in ["ann.txt", "ssh-ed25519", "ssh-rsa", "bob.txt"] {
        trial.run(&["secrets", "rekey", "dev", "--all", "-i", identity]).code(0);
        let after = Header::read(&read(&trial)).unwrap();
        assert_eq!(after.value_id, before.value_id);
        assert_ne!(after.digest, before.digest);
    }
    let (opened, plain) = run(&trial, "age", &["-d", "-i", "bob.txt", "secrets/dev/a/one.age"], b"");
    assert!(opened && plain == b"first");
    assert!(trial.run(&["secrets", "rekey", "dev"]).code(0).stderr.contains("0 sealed again, 1 left"));
    // Somebody leaves: the file still names them until it is sealed again.
    trial.write("secrets/dev/recipients.txt", format!("{ann}\n"));
    assert!(trial.run(&["secrets", "check", "dev"]).code(1).stdout.contains("3 recipient(s)"));
    let listed = trial.run(&["secrets", "list", "dev", "--format", "json"]).code(0).json();
    assert_eq!((&listed["secrets"][0]["name"], &listed["secrets"][0]["state"]), (&"a/one".into(), &"unused".into()));
}

#[test]
fn the_identity_comes_from_the_flag_the_variable_or_the_usual_place() {
    let trial = Trial::small();
    std::fs::create_dir_all(trial.path("home/.config/age")).unwrap();
    let ann = keygen(&trial, "home/.config/age/keys.txt");
    trial.run(&["secrets", "init", "dev", &ann]).code(0);
    trial.pipe(&["secrets", "set", "dev", "a/one"], b"first").code(0);
    let rekey = |variables: &[(&str, &Path)]| {
        let mut command = trial.command(&["secrets", "rekey", "dev", "--all"]);
        command.env("HOME", trial.path("nowhere")).env_remove("XDG_CONFIG_HOME");
        for (name, value) in variables {
            command.env(name, value);
        }
        support::trial::finish(command)
    };
    assert!(rekey(&[]).code(1).stderr.contains("MW0038"));
    rekey(&[("HOME", &trial.path("home"))]).code(0);
    rekey(&[("MAILWRIGHT_AGE_IDENTITY_FILE", &trial.path("home/.config/age/keys.txt"))]).code(0);
    assert!(
        rekey(&[("MAILWRIGHT_AGE_IDENTITY_FILE", &trial.path("environments/dev/environment.yaml"))])
            .code(1)
            .stderr
            .contains("MW0038")
    );
}

#[test]
fn an_edit_goes_through_the_editor_and_leaves_nothing_behind() {
    let trial = Trial::small();
    let ann = keygen(&trial, "ann.txt");
    trial.run(&["secrets", "init", "dev", &ann]).code(0);
    trial.pipe(&["secrets", "set", "dev", "a/one"], b"before").code(0);
    let edit = |editor: &str| {
        let mut command = trial.command(&["secrets", "edit", "dev", "a/one", "-i", "ann.txt"]);
        command.env("EDITOR", editor).env_remove("VISUAL");
        support::trial::finish(command)
    };
    trial.write(
        "editor.sh",
        "#!/bin/sh\nstat -c %a \"$1\" > mode\ncat \"$1\" > /dev/null\necho after > \"$1\"\necho \"$1\" > path\n",
    );
    assert!(edit("sh editor.sh").code(0).stdout.contains("sealed"));
    assert_eq!(trial.read("mode").trim(), "600");
    assert!(!Path::new(trial.read("path").trim()).exists());
    assert_eq!(run(&trial, "age", &["-d", "-i", "ann.txt", "secrets/dev/a/one.age"], b"").1, b"after");
    assert!(edit("true").code(0).stdout.contains("Not changed"));
    edit("false").code(1);
    assert_eq!(run(&trial, "age", &["-d", "-i", "ann.txt", "secrets/dev/a/one.age"], b"").1, b"after");
}

#[test]
fn what_cannot_be_sealed_or_addressed_is_refused() {
    let trial = Trial::small();
    let ann = keygen(&trial, "ann.txt");
    let identity = trial.read("ann.txt");
    let secret_key = identity.lines().last().unwrap();
    let refused = trial.run(&["secrets", "init", "dev", secret_key]).code(1);
    assert!(refused.stderr.contains("private half") && !refused.stderr.contains(secret_key), "{}", refused.stderr);
    trial.run(&["secrets", "init", "dev", "age1nonsense"]).code(1);
    trial.run(&["secrets", "init", "dev"]).code(1);
    let missing = trial.pipe(&["secrets", "set", "dev", "a/one"], b"x").code(1);
    assert!(missing.stderr.contains("MW0035") && missing.stderr.contains("secrets init dev"), "{}", missing.stderr);
    trial.run(&["secrets", "init", "dev", &ann]).code(0);
    trial.run(&["secrets", "init", "dev", &ann]).code(1);
    for (value, code) in [
        (&b""[..], "MW0011"),
        (b"\n", "MW0011"),
        (b"********", "MW0032"),
        (b"[masked]\n", "MW0032"),
        (&[b'k'; 20_000], "MW0213"),
    ] {
        let refused = trial.pipe(&["secrets", "set", "dev", "a/one"], value).code(1);
        assert!(refused.stderr.contains(code), "{}", refused.stderr);
    }
    for name in ["one", "a/b/c", "../a/b", "a/.b", ""] {
        assert!(trial.pipe(&["secrets", "set", "dev", name], b"x").code(1).stderr.contains("MW0106"), "{name}");
    }
    assert!(!trial.path("secrets/dev/a").exists());
    trial.pipe(&["secrets", "set", "dev", "a/one"], &[b'k'; 16 * 1024]).code(0);
}

fn any_recipients() -> (Recipients, age::x25519::Identity) {
    let identity = age::x25519::Identity::generate();
    (Recipients::parse(&identity.to_public().to_string(), &age::NoCallbacks).unwrap(), identity)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens_and_what_is_tampered_with_does_not(
        value in prop::collection::vec(any::<u8>(), 1..2000),
        spot in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        prop_assume!(!std::str::from_utf8(&value).is_ok_and(secrets::is_masked));
        let (recipients, identity) = any_recipients();
        let id = ValueId::from_random([7; 16]);
        let sealed = secrets::seal(&SecretSlice::from(value.clone()), &recipients, &id).unwrap();
        let open = |file: &[u8]| secrets::open(file, std::iter::once(&identity as &dyn age::Identity));
        let opened = open(&sealed).unwrap();
        prop_assert_eq!(opened.expose_secret(), &value[..]);
        prop_assert_eq!(Header::read(&sealed).unwrap().value_id, Some(id.as_str().to_owned()));
        let again = secrets::rekey(&sealed, std::iter::once(&identity as &dyn age::Identity), &recipients, ValueId::from_random([9; 16])).unwrap().unwrap();
        prop_assert_eq!(Header::read(&again).unwrap().value_id, Some(id.as_str().to_owned()));
        prop_assert_ne!(&again, &sealed);
        // Any bit of the binary form: the header is authenticated, and so is every part of the body.
        let mut binary = Vec::new();
        std::io::Read::read_to_end(&mut age::armor::ArmoredReader::new(&sealed[..]), &mut binary).unwrap();
        let spot = spot.index(binary.len());
        binary[spot] ^= flip;
        match open(&binary) {
            Err(OpenError::NotAge | OpenError::Tampered | OpenError::NotForUs) => {}
            other => prop_assert!(false, "{:?}", other.map(|_| "opened")),
        }
    }

    #[test]
    fn a_header_is_read_from_anything_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..300) {
        drop(Header::read(&bytes));
        let mut text = b"age-encryption.org/v1\n-> X25519 ".to_vec();
        text.extend(&bytes);
        drop(Header::read(&text));
        let (recipients, _) = any_recipients();
        let sealed = secrets::seal(&SecretSlice::from(b"v".to_vec()), &recipients, &ValueId::from_random([1; 16])).unwrap();
        drop(Header::read(&sealed[..cut.min(sealed.len())]));
    }
}

#[test]
fn the_demo_identity_is_told_apart() {
    assert!(ServiceIdentity::demo().unwrap().is_public());
    let own = ServiceIdentity::generate();
    assert!(!own.is_public());
    let file = own.to_file();
    assert_eq!(ServiceIdentity::parse(&file).unwrap().recipient(), own.recipient());
    assert!(ServiceIdentity::parse(&SecretString::from(format!("{0}{0}", file.expose_secret()))).is_err());
}

#[derive(Clone)]
struct Knows(&'static str);
impl age::Callbacks for Knows {
    fn display_message(&self, _: &str) {}
    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }
    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }
    fn request_passphrase(&self, _: &str) -> Option<SecretString> {
        Some(SecretString::from(self.0.to_owned()))
    }
}

#[test]
fn a_passphrase_protects_an_operators_identity() {
    // Sealed by the library, as `age -p` would: that program wants a terminal.
    let trial = Trial::small();
    let ann = keygen(&trial, "ann.txt");
    let encryptor = age::Encryptor::with_user_passphrase(SecretString::from("correct horse".to_owned()));
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).unwrap();
    writer.write_all(trial.read("ann.txt").as_bytes()).unwrap();
    writer.finish().unwrap();
    trial.write("ann.age", file);

    let recipients = Recipients::parse(&ann, &age::NoCallbacks).unwrap();
    let sealed =
        secrets::seal(&SecretSlice::from(b"value".to_vec()), &recipients, &ValueId::from_random([1; 16])).unwrap();
    for (passphrase, opens) in [("correct horse", true), ("wrong horse", false)] {
        let mut identities = secrets::Identities::default();
        identities.add_file(&trial.path("ann.age"), &Knows(passphrase)).unwrap();
        assert_eq!(secrets::open(&sealed, identities.iter()).is_ok(), opens, "{passphrase}");
    }
    // Through the program, without a terminal to ask on: a clear word, no hang.
    trial.run(&["secrets", "init", "dev", &ann]).code(0);
    trial.pipe(&["secrets", "set", "dev", "a/one"], b"x").code(0);
    let refused = trial.run(&["secrets", "rekey", "dev", "--all", "-i", "ann.age"]).code(1);
    assert!(refused.stderr.contains("MW0038"), "{}", refused.stderr);
}
