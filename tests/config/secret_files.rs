//! Properties of age files: each recipient can open them, no change goes unnoticed, and the header says without a key
//! what was written into it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use age::{NoCallbacks, secrecy::SecretString};
use mailwright::secrets::{
    FILE_LIMIT, Header, Identities, OpenError, Recipients, SealError, ServiceIdentity, VALUE_LIMIT, ValueId,
    fingerprint, is_masked, open, rekey, seal, seal_with_passphrase,
};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretSlice};

const TAG: &str = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";

fn value(bytes: &[u8]) -> SecretSlice<u8> {
    SecretSlice::from(bytes.to_vec())
}

fn id(byte: u8) -> ValueId {
    ValueId::from_random([byte; 16])
}

fn recipients(lines: &[&str]) -> Recipients {
    Recipients::parse(&lines.join("\n"), &NoCallbacks).expect("recipients")
}

fn sealed(bytes: &[u8], to: &ServiceIdentity) -> Vec<u8> {
    seal(&value(bytes), &recipients(&[&to.recipient()]), &id(7)).expect("sealed")
}

fn why(identity: &ServiceIdentity, file: &[u8]) -> OpenError {
    identity.open(file).map(|_| ()).expect_err("it must not open")
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ssh").join(name)
}

fn public_half(name: &str) -> String {
    std::fs::read_to_string(fixture(&format!("{name}.pub"))).expect("a fixture")
}

/// The binary form of an armored file, and back: to tamper with what the armor would catch.
fn binary(armored: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut age::armor::ArmoredReader::new(armored), &mut bytes).expect("armor");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_sealed_value_opens_for_its_recipients_only(
        bytes in proptest::collection::vec(any::<u8>(), 1..2000), random in any::<[u8; 16]>()
    ) {
        prop_assume!(!std::str::from_utf8(&bytes).is_ok_and(is_masked));
        let (service, operator, stranger) = (ServiceIdentity::generate(), ServiceIdentity::generate(), ServiceIdentity::generate());
        let to = recipients(&[&service.recipient(), &operator.recipient()]);
        let value_id = ValueId::from_random(random);
        let file = seal(&value(&bytes), &to, &value_id).expect("sealed");
        for identity in [&service, &operator] {
            let opened = identity.open(&file).expect("it opens");
            prop_assert_eq!(opened.expose_secret(), bytes.as_slice());
        }
        prop_assert_eq!(why(&stranger, &file), OpenError::NotForUs);
        let header = Header::read(&file).expect("a header");
        prop_assert_eq!(header.value_id.as_deref(), Some(value_id.as_str()));
        prop_assert_eq!(header.recipients, Some(vec![fingerprint(&service.recipient()), fingerprint(&operator.recipient())]));
        prop_assert_eq!(header.kinds, ["X25519", "X25519"]);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let service = ServiceIdentity::demo().expect("demo");
        prop_assert!(Header::read(&bytes).is_err());
        prop_assert_eq!(why(&service, &bytes), OpenError::NotAge);
        // And with a beginning that leads further into the parser.
        let beginnings: [&[u8]; 3] = [b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> X25519 ", b"-----BEGIN AGE ENCRYPTED FILE-----\n"];
        for beginning in beginnings {
            let bytes = [beginning, &bytes].concat();
            prop_assert!(Header::read(&bytes).is_err());
            prop_assert_eq!(why(&service, &bytes), OpenError::NotAge);
        }
    }

    #[test]
    fn a_header_with_any_words_is_read_or_refused(words in "[!-~ \n]{0,300}", mark in any::<bool>()) {
        let mark = if mark { "mailwright-v1 " } else { "" };
        let bytes = format!("age-encryption.org/v1\n-> {mark}{words}\n\n--- {}\n{}", "A".repeat(43), "x".repeat(32));
        if let Ok(header) = Header::read(bytes.as_bytes()) {
            prop_assert!(header.value_id.is_none_or(|id| id.len() == 22));
            prop_assert!(header.recipients.iter().flatten().all(|print| print.len() == 16));
        }
    }

    #[test]
    fn a_rekey_keeps_the_value_and_its_id_and_changes_the_file(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
        prop_assume!(!std::str::from_utf8(&bytes).is_ok_and(is_masked));
        let (before, after) = (ServiceIdentity::generate(), ServiceIdentity::generate());
        let file = sealed(&bytes, &before);
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key.txt");
        std::fs::write(&key, before.to_file().expose_secret()).expect("written");
        let mut keys = Identities::default();
        keys.add_file(&key, &NoCallbacks).expect("an identity");
        let again = rekey(&file, keys.iter(), &recipients(&[&after.recipient()]), None).expect("opens").expect("seals");
        let (old, new) = (Header::read(&file).expect("a header"), Header::read(&again).expect("a header"));
        prop_assert_eq!(old.value_id, new.value_id);
        prop_assert_ne!(old.digest, new.digest);
        prop_assert_eq!(new.recipients, Some(vec![fingerprint(&after.recipient())]));
        let opened = after.open(&again).expect("opens");
        prop_assert_eq!(opened.expose_secret(), bytes.as_slice());
        prop_assert_eq!(why(&before, &again), OpenError::NotForUs);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let service = ServiceIdentity::generate();
    let armored = sealed(b"correct horse", &service);
    for file in [binary(&armored), armored] {
        // Every bit of the short binary form, every 11th of the armored one (11 and 8 share no factor).
        let step = if file.starts_with(b"age") { 1 } else { 11 };
        for bit in (0..file.len() * 8).step_by(step) {
            let mut bent = file.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let error = why(&service, &bent);
            assert!(
                matches!(error, OpenError::NotAge | OpenError::NotForUs | OpenError::Tampered),
                "bit {bit}: {error:?}"
            );
        }
    }
}

#[test]
fn tampering_damage_and_a_wrong_recipient_are_different_errors() {
    let service = ServiceIdentity::generate();
    let file = binary(&sealed(b"correct horse", &service));
    let text = String::from_utf8_lossy(&file).into_owned();
    let end = text.find("\n--- ").expect("the end of the header");
    let with = |stanza: &str| [&file[..=end], stanza.as_bytes(), &file[end + 1..]].concat();

    assert_eq!(why(&service, &with("-> added stanza\n\n")), OpenError::Tampered, "a stanza was added");
    let mark = text.find("-> mailwright-v1 ").expect("our stanza") + 17;
    let mut other_id = file.clone();
    other_id[mark] = if other_id[mark] == b'A' { b'B' } else { b'A' };
    assert_eq!(why(&service, &other_id), OpenError::Tampered, "the value's id was changed");
    let mut body = file.clone();
    *body.last_mut().expect("a body") ^= 1;
    assert_eq!(why(&service, &body), OpenError::Tampered, "the body was changed");
    assert_eq!(why(&service, &file[..file.len() - 1]), OpenError::Tampered, "the body was cut off");
    assert_eq!(why(&service, &[&file[..], b"x"].concat()), OpenError::Tampered, "something was added");
    assert_eq!(why(&service, &file[..end]), OpenError::NotAge, "the header was cut off");
    assert_eq!(why(&service, b""), OpenError::NotAge);
    assert_eq!(why(&ServiceIdentity::generate(), &file), OpenError::NotForUs);
}

#[test]
fn a_stanza_of_ours_that_seal_did_not_write_is_refused() {
    for words in ["", " short", " AAAAAAAAAAAAAAAAAAAAAA nothex", " AAAAAAAAAAAAAAAAAAAAAA 0123456789ABCDEF"] {
        let file =
            format!("age-encryption.org/v1\n-> mailwright-v1{words}\n\n--- {}\n{}", "A".repeat(43), "x".repeat(32));
        assert!(Header::read(file.as_bytes()).is_err(), "{words}");
    }
    let stanza = "-> mailwright-v1 AAAAAAAAAAAAAAAAAAAAAA 0123456789abcdef\n\n";
    let file = |count| {
        format!("age-encryption.org/v1\n{}--- {}\n{}", stanza.repeat(count), "A".repeat(43), "x".repeat(32))
            .into_bytes()
    };
    assert_eq!(Header::read(&file(1)).expect("one is fine").value_id.as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAA"));
    assert!(Header::read(&file(2)).is_err());
}

#[test]
fn size_and_length_are_bounded() {
    let service = ServiceIdentity::generate();
    let to = recipients(&[&service.recipient()]);
    let largest = vec![b'a'; VALUE_LIMIT];
    let file = seal(&value(&largest), &to, &id(1)).expect("the largest value fits");
    assert!(file.len() < FILE_LIMIT);
    assert_eq!(service.open(&file).expect("opens").expose_secret().len(), VALUE_LIMIT);
    assert!(matches!(seal(&value(&vec![b'a'; VALUE_LIMIT + 1]), &to, &id(1)), Err(SealError::TooLong)));
    assert!(matches!(seal(&value(b""), &to, &id(1)), Err(SealError::Empty)));

    // The length of a value that another program sealed is checked when it is opened.
    let theirs = |bytes: &[u8]| {
        let recipient: age::x25519::Recipient = service.recipient().parse().expect("a recipient");
        age::encrypt_and_armor(&recipient, bytes).expect("sealed").into_bytes()
    };
    assert_eq!(service.open(&theirs(b"x1")).expect("opens").expose_secret(), b"x1");
    assert_eq!(why(&service, &theirs(b"")), OpenError::Size);
    assert_eq!(why(&service, &theirs(&vec![b'a'; VALUE_LIMIT + 1])), OpenError::Size);
    assert_eq!(why(&service, &theirs(b"*****")), OpenError::Masked);

    let mut large = file.clone();
    large.resize(FILE_LIMIT + 1, b'\n');
    assert!(Header::read(&large).is_err());
    assert_eq!(why(&service, &large), OpenError::NotAge);
    // A header of very many short stanzas, whose parsing would cost the square of them.
    let many =
        format!("age-encryption.org/v1\n{}--- {}\n{}", "-> a\n\n".repeat(10_000), "A".repeat(43), "x".repeat(32));
    assert!(many.len() < FILE_LIMIT);
    let error = Header::read(many.as_bytes()).expect_err("it is too long");
    assert!(error.to_string().contains("more than 2000 lines"), "{error}");
    // And more recipients than fit are refused when sealing, not when reading.
    let crowd: Vec<String> = (0..900).map(|_| ServiceIdentity::generate().recipient()).collect();
    let crowd = recipients(&crowd.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(matches!(seal(&value(b"x1"), &crowd, &id(1)), Err(SealError::Age(_))));
}

#[test]
fn masks_are_distinguished_from_values() {
    for mask in [
        "***",
        "*****",
        "••••••••",
        " ***** ",
        "●●●",
        "[masked]",
        "(sensitive value)",
        "<redacted>",
        "***REDACTED***",
        "[ Hidden ]",
        "xxxxxx",
        "**SOPS**",
    ] {
        assert!(is_masked(mask), "{mask}");
        let service = ServiceIdentity::generate();
        let refused = seal(&value(mask.as_bytes()), &recipients(&[&service.recipient()]), &id(1));
        assert!(matches!(refused, Err(SealError::Masked)), "{mask}");
    }
    for real in ["", "p*ss", "hunter2", "masked", "xX", "x1", "[brackets]", "****a", "-----BEGIN CERTIFICATE-----"] {
        assert!(!is_masked(real), "{real}");
    }
}

#[test]
fn recipients_files_say_where_they_are_wrong() {
    let error = |text: &str| Recipients::parse(text, &NoCallbacks).map(|_| ()).expect_err("refused").to_string();
    insta::assert_snapshot!(error("# empty\n\n"), @"it names no recipient");
    insta::assert_snapshot!(error("# one\nage1nonsense\n"), @"line 2 is not a recipient: write an age recipient (`age1...`), an SSH public key, or a plugin's recipient");
    insta::assert_snapshot!(error(&public_half("ecdsa")), @"line 1 is not a recipient: only whole ssh-ed25519 keys, and ssh-rsa keys of 2048 to 16384 bits, can be recipients");
    let key = public_half("ed25519");
    let key = key.split_whitespace().nth(1).expect("a key");
    insta::assert_snapshot!(error(&format!("ssh-ed25519 {key}é")), @"line 1 is not a recipient: the SSH key is followed by something that does not belong to it");
    insta::assert_snapshot!(error(&format!("ssh-ed25519 {key} \u{1b}[2Jname")), @"line 1 is not a recipient: there are control characters in it");

    // A private key in the wrong file has its own message, which does not repeat the key.
    let private = ServiceIdentity::generate().to_file();
    let private = private.expose_secret().lines().last().expect("the key").to_owned();
    let message = error(&format!("\n  {private}"));
    assert!(message.contains("line 2") && message.contains("private half"), "{message}");
    assert!(!message.contains(&private[20..40]), "the key was repeated");
}

#[test]
fn every_kind_of_recipient_is_understood_and_the_same_one_counts_once() {
    let service = ServiceIdentity::generate().recipient();
    let (ed25519, rsa) = (public_half("ed25519"), public_half("rsa"));
    // The plugin is not installed: that matters only for sealing.
    let plugin = "age1mwtest1qqqsyqcyq5rqwqcxcmr";
    let text = format!("\u{feff}# a comment\r\n{service}\r\n{}\n{ed25519}{rsa}\n{TAG}\n", service.to_ascii_uppercase());
    let all = Recipients::parse(&text, &NoCallbacks).expect("recipients");
    assert_eq!(all.texts().count(), 4);
    let file = seal(&value(b"hunter2"), &all, &id(3)).expect("sealed");
    assert_eq!(Header::read(&file).expect("a header").kinds, ["X25519", "ssh-ed25519", "ssh-rsa", "p256tag"]);
    let Err(SealError::Age(message)) = seal(&value(b"hunter2"), &recipients(&[plugin]), &id(3)) else {
        panic!("no plugin, no file")
    };
    assert!(message.contains("age-plugin-mwtest"), "{message}");
}

/// Gives a passphrase, and counts how often it is asked.
#[derive(Clone)]
struct Passphrase(&'static str, Arc<AtomicUsize>);

impl age::Callbacks for Passphrase {
    fn display_message(&self, _: &str) {}
    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }
    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }
    fn request_passphrase(&self, _: &str) -> Option<SecretString> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Some(SecretString::from(self.0.to_owned()))
    }
}

fn asks(passphrase: &'static str) -> Passphrase {
    Passphrase(passphrase, Arc::default())
}

#[test]
fn ssh_keys_open_and_ask_once_and_only_for_files_that_are_theirs() {
    let asked = asks("pass");
    for name in ["ed25519", "rsa", "ed25519-protected"] {
        let mut keys = Identities::default();
        keys.add_file(&fixture(name), &asked).expect("a key");
        let theirs = seal(&value(b"hunter2"), &recipients(&[&public_half(name), TAG]), &id(3)).expect("sealed");
        let others = sealed(b"hunter2", &ServiceIdentity::generate());
        assert_eq!(open(&others, keys.iter()).map(|_| ()), Err(OpenError::NotForUs));
        for _ in 0..2 {
            assert_eq!(open(&theirs, keys.iter()).expect("opens").expose_secret(), b"hunter2");
        }
    }
    assert_eq!(asked.1.load(Ordering::SeqCst), 1);

    let theirs = seal(&value(b"hunter2"), &recipients(&[&public_half("ed25519-protected")]), &id(3)).expect("sealed");
    let mut keys = Identities::default();
    keys.add_file(&fixture("ed25519-protected"), &asks("wrong")).expect("a key");
    let error = open(&theirs, keys.iter()).map(|_| ()).expect_err("the passphrase is wrong");
    assert!(matches!(&error, OpenError::Key(why) if why.contains("passphrase")), "{error:?}");
    // A key that cannot be used does not keep the next one from being tried.
    keys.add_file(&fixture("ed25519"), &NoCallbacks).expect("a key");
    let both = recipients(&[&public_half("ed25519-protected"), &public_half("ed25519")]);
    let file = seal(&value(b"hunter2"), &both, &id(3)).expect("sealed");
    assert_eq!(open(&file, keys.iter()).expect("opens").expose_secret(), b"hunter2");

    let unfit = keys.add_file(&fixture("ecdsa"), &NoCallbacks).expect_err("age has no ECDSA identities");
    assert!(unfit.to_string().contains("ssh-ed25519 and ssh-rsa can"), "{unfit}");
}

/// Seals as `age -p` does, with little work.
fn with_passphrase(passphrase: &str, bytes: &[u8]) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    recipient.set_work_factor(6);
    age::encrypt(&recipient, bytes).expect("sealed")
}

#[test]
fn identity_files_may_be_protected_and_files_may_be_sealed_with_a_passphrase() {
    let folder = tempfile::tempdir().expect("a folder");
    let identity = ServiceIdentity::generate();
    let path = folder.path().join("keys.age");
    std::fs::write(&path, with_passphrase("pass", identity.to_file().expose_secret().as_bytes())).expect("written");
    let file = sealed(b"hunter2", &identity);
    for (passphrase, opens) in [("pass", true), ("wrong", false)] {
        let mut keys = Identities::default();
        keys.add_file(&path, &asks(passphrase)).expect("an identity file");
        let opened = open(&file, keys.iter());
        assert_eq!(opened.is_ok(), opens);
        assert!(opens || matches!(opened.map(|_| ()), Err(OpenError::Key(_))));

        let mut keys = Identities::default();
        keys.add_passphrase(&asks(passphrase));
        let opened = open(&with_passphrase("pass", b"hunter2"), keys.iter());
        assert_eq!(opened.is_ok(), opens);
        assert!(opens || matches!(opened.map(|_| ()), Err(OpenError::Key(_))));
    }
    // A work factor that would take hours is refused before any work is done.
    let hostile = format!(
        "age-encryption.org/v1\n-> scrypt {} 40\n{}\n--- {}\n{}",
        "A".repeat(22),
        "A".repeat(43),
        "A".repeat(43),
        "x".repeat(32)
    );
    let mut keys = Identities::default();
    keys.add_passphrase(&asks("pass"));
    let error = open(hostile.as_bytes(), keys.iter()).map(|_| ()).expect_err("too much work");
    assert!(error.to_string().contains("work factor of 40"), "{error}");

    for (text, message) in
        [("# nothing\n", "no identity"), ("AGE-SECRET-KEY-1CANARY\n", "line 1"), ("-----BEGIN X", "SSH key")]
    {
        std::fs::write(&path, text).expect("written");
        let error = Identities::default().add_file(&path, &NoCallbacks).expect_err("no identity").to_string();
        assert!(error.contains(message) && !error.contains("CANARY"), "{error}");
    }
}

#[test]
fn post_quantum_and_classic_recipients_do_not_mix() {
    let post_quantum = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tagpq.txt"))
        .expect("a fixture");
    let alone = recipients(&[&post_quantum]);
    let file = seal(&value(b"hunter2"), &alone, &id(3)).expect("sealed");
    assert_eq!(Header::read(&file).expect("a header").kinds, ["mlkem768p256tag"]);
    let mixed = recipients(&[&post_quantum, &ServiceIdentity::generate().recipient()]);
    assert!(matches!(seal(&value(b"hunter2"), &mixed, &id(3)), Err(SealError::Incompatible)));
}

#[test]
fn the_identity_of_the_examples_is_known_as_public_and_opens_them() {
    let demo = ServiceIdentity::demo().expect("well-formed");
    assert!(demo.is_public());
    assert!(!ServiceIdentity::generate().is_public());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("secrets");
    let text = std::fs::read_to_string(root.join("dev/demo-identity.txt")).expect("it is there");
    assert!(text.starts_with("# PUBLIC.") && text.contains("guards nothing"));
    assert!(text.contains(&format!("# public key: {}\n", demo.recipient())));
    for (name, beginning) in
        [("relay/password", ""), ("documents/client-secret", ""), ("remittance/certificate", "-----BEGIN ")]
    {
        let file = std::fs::read(root.join("dev").join(format!("{name}.age"))).expect("it is there");
        let opened = demo.open(&file).expect("the demo identity opens it");
        assert!(opened.expose_secret().starts_with(beginning.as_bytes()), "{name}");
        let file = std::fs::read(root.join("prod").join(format!("{name}.age"))).expect("it is there");
        assert_eq!(why(&demo, &file), OpenError::NotForUs, "prod/{name}");
    }
}

#[test]
fn a_service_identity_reads_what_it_wrote_and_never_repeats_what_it_cannot_read() {
    let identity = ServiceIdentity::generate();
    let again = ServiceIdentity::parse(&identity.to_file()).expect("it reads its own file");
    assert_eq!(again.recipient(), identity.recipient());
    let windows = identity.to_file().expose_secret().replace('\n', "\r\n");
    assert!(ServiceIdentity::parse(&SecretString::from(windows)).is_ok());
    for text in ["", "# only a comment\n", "AGE-SECRET-KEY-1CANARY"] {
        let error = ServiceIdentity::parse(&SecretString::from(text.to_owned())).map(|_| ()).expect_err("refused");
        assert!(!error.contains("CANARY"));
    }
    let two = format!("{0}{0}", identity.to_file().expose_secret());
    assert!(ServiceIdentity::parse(&SecretString::from(two)).is_err());
}

#[test]
fn a_passphrase_seals_no_value_that_is_not_one() {
    let seal = |bytes: &[u8]| seal_with_passphrase(&value(bytes), SecretString::from("a passphrase".to_owned()));
    assert!(matches!(seal(b""), Err(SealError::Empty)));
    assert!(matches!(seal(b"********"), Err(SealError::Masked)));
    assert!(matches!(seal(&vec![b'x'; VALUE_LIMIT + 1]), Err(SealError::TooLong)));
}

/// The comment above a recipient, or behind an SSH key, names its holder; no key is a name.
#[test]
fn recipients_have_the_names_that_their_comments_say() {
    let [service, ann, bob, eve] = [(); 4].map(|()| ServiceIdentity::generate().recipient());
    let text = format!(
        "# Recipients of `dev`.\n# After a change: rekey\n\n# the service\r\n{service}\n\n#  Ann \u{202e} Meyer\n{}\n\n# of the group\n\n{bob}\n\
         # AGE-SECRET-KEY-1QQPQ\n{eve}\n# {}\nssh-ed25519 {}   bob@laptop, home\n",
        ann.to_uppercase(),
        "ab ".repeat(70),
        public_half("ed25519").split_whitespace().nth(1).unwrap(),
    );
    let named: Vec<(String, Option<String>)> = Recipients::parse(&text, &NoCallbacks)
        .unwrap()
        .to_settings()
        .into_iter()
        .map(|one| (one.recipient, one.name))
        .collect();
    let name = |recipient: &str| named.iter().find(|(own, _)| own == recipient).unwrap().1.as_deref();
    assert_eq!((name(&service), name(&ann)), (Some("the service"), Some("Ann   Meyer")));
    assert_eq!(
        (name(&bob), name(&eve)),
        (None, None),
        "a comment that ends with a blank line is about what is above it"
    );
    let ssh = named.iter().find(|(recipient, _)| recipient.starts_with("ssh-")).unwrap();
    assert!(ssh.0.split(' ').count() == 2 && ssh.1.as_deref() == Some("ab ".repeat(27).trim()), "{ssh:?}");
    // What is written is read as the same.
    let lines: Vec<(Option<&str>, &str)> =
        named.iter().map(|(recipient, name)| (name.as_deref(), recipient.as_str())).collect();
    let written = mailwright::secrets::render_recipients(&"dev".parse().unwrap(), lines);
    let again = Recipients::parse(&written, &NoCallbacks).unwrap().to_settings();
    assert_eq!(again, Recipients::parse(&text, &NoCallbacks).unwrap().to_settings(), "{written}");
}
