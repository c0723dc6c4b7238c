//! A secret belongs to one destination: which destinations are the same, what a digest says of them, and that no way to
//! write a file down makes another secret of it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mailwright::{
    model::{CredentialKind, Destination, Digest, EnvironmentName, Provider},
    secrets::{
        Binding, Header, Identities, OpenError, Purpose, Recipients, ServiceIdentity, ValueId, rekey, seal, seal_for,
    },
};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::{Value, json};

fn environment(name: &str) -> EnvironmentName {
    name.parse().unwrap()
}

fn destination(provider: Value) -> Destination {
    serde_json::from_value::<Provider>(provider).unwrap().destination()
}

fn smtp(host: &str, port: u16, encryption: &str) -> Destination {
    destination(json!({ "smtp": {
        "host": host, "port": port, "encryption": encryption, "username": "erp", "password": { "secret": "a/b" },
    } }))
}

fn credential(kind: &str) -> Value {
    match kind {
        "federatedTokenFile" => json!({ kind: "/token" }),
        kind => json!({ kind: { "secret": "a/b" } }),
    }
}

fn graph(cloud: Value, tenant: &str, client: &str, kind: &str) -> Destination {
    destination(json!({ "microsoft-graph-direct": {
        "cloud": cloud, "tenant": tenant, "client": client, "credential": credential(kind),
    } }))
}

fn oauth(host: &str, encryption: &str, tenant: &str, kind: &str) -> Destination {
    let oauth = json!({ "tenant": tenant, "client": "C1", "credential": credential(kind) });
    destination(json!({ "smtp": { "host": host, "encryption": encryption, "username": "erp", "oauth": oauth } }))
}

/// Another implementation (a browser, a script) computes the same digest from this text.
#[test]
fn the_digest_is_that_of_the_canonical_form() {
    let custom = json!({ "custom": { "signIn": "https://Login.example/", "graph": "https://graph.example" } });
    for (destination, canonical) in [
        (
            smtp("Mail.Example.com.", 587, "starttls"),
            r#"{"environment":"prod","kind":"password","smtp":{"encryption":"required","host":"mail.example.com"}}"#,
        ),
        (
            smtp("127.0.0.1", 25, "none"),
            r#"{"environment":"prod","kind":"password","smtp":{"encryption":"none","host":"127.0.0.1"}}"#,
        ),
        (
            graph(json!("global"), "Contoso.example", "C1", "clientSecret"),
            r#"{"entra":{"client":"c1","cloud":"global","tenant":"contoso.example"},"environment":"prod","kind":"client-secret"}"#,
        ),
        (
            graph(custom, "t", "c1", "certificate"),
            r#"{"entra":{"client":"c1","cloud":{"graph":"https://graph.example","signIn":"https://login.example"},"tenant":"t"},"environment":"prod","kind":"certificate"}"#,
        ),
        (
            oauth("smtp.office365.com", "tls", "t", "clientSecret"),
            r#"{"entra":{"client":"c1","cloud":"global","tenant":"t"},"environment":"prod","kind":"client-secret","smtp":{"encryption":"required","host":"smtp.office365.com"}}"#,
        ),
    ] {
        assert_eq!(destination.digest(&environment("prod")), Digest::of_bytes(canonical.as_bytes()), "{canonical}");
    }
}

#[test]
fn the_same_host_with_equal_or_stronger_encryption_is_the_same_destination() {
    let prod = environment("prod");
    let submission = smtp("mail.example.com", 587, "starttls");
    let implicit = smtp("MAIL.example.com.", 465, "tls");
    let clear = smtp("mail.example.com", 25, "none");
    for (from, to, may) in [
        (&submission, &implicit, true),
        (&implicit, &submission, true),
        (&clear, &implicit, true),
        (&clear, &submission, true),
        (&submission, &clear, false),
        (&implicit, &clear, false),
    ] {
        assert_eq!(from.admits(to), may, "{from} -> {to}");
        assert_eq!(to.matches(&prod, &from.digest(&prod)), may, "{from} -> {to}");
    }
}

#[test]
fn another_host_kind_tenant_client_cloud_or_provider_is_another_destination() {
    let global = || json!("global");
    let all = [
        smtp("a.example", 587, "starttls"),
        smtp("b.example", 587, "starttls"),
        smtp("a.example.evil", 587, "starttls"),
        graph(global(), "t", "c1", "clientSecret"),
        graph(global(), "t", "c1", "certificate"),
        graph(global(), "u", "c1", "clientSecret"),
        graph(global(), "t", "c2", "clientSecret"),
        graph(json!("china"), "t", "c1", "clientSecret"),
        graph(json!({ "custom": { "signIn": "https://x", "graph": "https://y" } }), "t", "c1", "clientSecret"),
        graph(json!({ "custom": { "signIn": "https://x", "graph": "https://z" } }), "t", "c1", "clientSecret"),
        graph(json!({ "custom": { "signIn": "https://x:444", "graph": "https://y" } }), "t", "c1", "clientSecret"),
        oauth("a.example", "tls", "t", "clientSecret"),
        oauth("b.example", "tls", "t", "clientSecret"),
        oauth("a.example", "tls", "t", "certificate"),
    ];
    let prod = environment("prod");
    for (index, one) in all.iter().enumerate() {
        for (other_index, other) in all.iter().enumerate() {
            assert_eq!(one.admits(other), index == other_index, "{one} -> {other}");
            assert_eq!(other.matches(&prod, &one.digest(&prod)), index == other_index, "{one} -> {other}");
        }
        assert!(!one.matches(&environment("dev"), &one.digest(&prod)), "{one}");
    }
    // A destination without a secret admits none.
    let none = graph(global(), "t", "c1", "federatedTokenFile");
    assert!(none.kind().is_none() && !none.admits(&none) && !none.matches(&prod, &none.digest(&prod)));
}

fn any_destination() -> impl Strategy<Value = Destination> {
    let encryption = || prop::sample::select(vec!["none", "starttls", "tls"]);
    let host = || prop::sample::select(vec!["a.example", "b.example", "A.example."]);
    let tenant = || prop::sample::select(vec!["t", "T", "u"]);
    let kind = || prop::sample::select(vec!["clientSecret", "certificate", "federatedTokenFile"]);
    let cloud = || prop::sample::select(vec![json!("global"), json!("china")]);
    prop_oneof![
        (host(), 1_u16..3, encryption()).prop_map(|(host, port, encryption)| smtp(host, port, encryption)),
        (cloud(), tenant(), kind()).prop_map(|(cloud, tenant, kind)| graph(cloud, tenant, "c1", kind)),
        (host(), encryption(), tenant(), kind())
            .prop_map(|(host, encryption, tenant, kind)| oauth(host, encryption, tenant, kind)),
    ]
}

/// A way to write a file down again.
#[derive(Clone, Copy, Debug)]
enum Form {
    Binary,
    Armored,
    Crlf,
    BlanksAround,
    NoLastLineEnd,
    MoreLineEnds,
}

fn in_form(binary: &[u8], form: Form) -> Vec<u8> {
    let body = BASE64_STANDARD.encode(binary);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let armor = |end: &str| {
        let lines: String = lines.iter().map(|line| format!("{line}{end}")).collect();
        format!("-----BEGIN AGE ENCRYPTED FILE-----{end}{lines}-----END AGE ENCRYPTED FILE-----{end}")
    };
    match form {
        Form::Binary => binary.to_vec(),
        Form::Armored => armor("\n").into_bytes(),
        Form::Crlf => armor("\r\n").into_bytes(),
        Form::BlanksAround => format!("\n\n{}  \n\t\n", armor("\n")).into_bytes(),
        Form::NoLastLineEnd => armor("\n").trim_end().as_bytes().to_vec(),
        Form::MoreLineEnds => format!("{}\n\n\n", armor("\n")).into_bytes(),
    }
}

fn binary(armored: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut age::armor::ArmoredReader::new(armored), &mut bytes).unwrap();
    bytes
}

proptest! {
    /// A record admits exactly the destinations that a sealed digest matches.
    #[test]
    fn records_and_digests_agree(from in any_destination(), to in any_destination()) {
        let prod = environment("prod");
        prop_assert_eq!(from.admits(&to), from.kind().is_some() && to.matches(&prod, &from.digest(&prod)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever form a file is written in, it is the same secret: same digest, same id, and it goes nowhere else.
    #[test]
    fn no_form_of_a_file_makes_another_secret_of_it(
        form in prop::sample::select(vec![
            Form::Binary, Form::Armored, Form::Crlf, Form::BlanksAround, Form::NoLastLineEnd, Form::MoreLineEnds,
        ]),
        way in 0..3_usize,
        from in any_destination(),
        to in any_destination(),
    ) {
        prop_assume!(from.kind().is_some());
        let prod = environment("prod");
        let service = ServiceIdentity::generate();
        let recipients = Recipients::parse(&service.recipient(), &age::NoCallbacks).unwrap();
        let value = SecretSlice::from(b"correct horse".to_vec());
        let id = ValueId::from_random([7; 16]);
        let original = match way {
            0 => seal_for(&value, &recipients, &id, &from.digest(&prod)).unwrap(),
            1 => seal(&value, &recipients, &id).unwrap(),
            _ => {
                let key: age::x25519::Recipient = service.recipient().parse().unwrap();
                age::encrypt(&key, b"correct horse").unwrap()
            }
        };
        let header = Header::read(&original).unwrap();
        prop_assert_eq!(header.binding(), [Binding::Destination, Binding::ValueId, Binding::File][way]);
        let again = in_form(&binary(&original), form);
        if let Ok(read) = Header::read(&again) {
            prop_assert_eq!(&read, &header);
        } else {
            // Refused is as good; the usual forms are read.
            prop_assert!(!matches!(form, Form::Binary | Form::Armored | Form::Crlf));
        }
        // Sealed again for others, it is the same secret too.
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.txt");
        std::fs::write(&key, service.to_file().expose_secret()).unwrap();
        let mut keys = Identities::default();
        keys.add_file(&key, &age::NoCallbacks).unwrap();
        let rekeyed = rekey(&original, keys.iter(), &recipients, None).unwrap().unwrap();
        let read = Header::read(&rekeyed).unwrap();
        prop_assert_eq!((read.bound_id(), &read.sealed_for), (header.bound_id(), &header.sealed_for));

        // The record decides for files that carry no destination, and both do for those that do.
        for file in [&again, &rekeyed] {
            let purpose = Purpose { environment: &prod, destination: &to, accepted_for: Some(&from) };
            let opened = service.open_for(file, &purpose);
            prop_assert_eq!(opened.is_ok(), Header::read(file).is_ok() && from.admits(&to), "{} -> {}", &from, &to);
            if Header::read(file).is_ok() && !from.admits(&to) {
                prop_assert!(matches!(opened, Err(OpenError::Redirected(_))));
            }
        }
        // Without any record the file itself decides, if it can.
        if way == 0 {
            for (environment, may) in [(&prod, from.admits(&to)), (&environment("dev"), false)] {
                let purpose = Purpose { environment, destination: &to, accepted_for: None };
                prop_assert_eq!(service.open_for(&original, &purpose).is_ok(), may);
            }
        }
    }
}

#[test]
fn a_stanza_of_ours_is_read_as_it_was_written_or_not_at_all() {
    let digest = Digest::of_bytes(b"x");
    let id = "AAAAAAAAAAAAAAAAAAAAAA";
    let file = |stanzas: &str| {
        format!("age-encryption.org/v1\n{stanzas}--- {}\n{}", "A".repeat(43), "x".repeat(32)).into_bytes()
    };
    let good = format!("-> mailwright-v2 {id} {digest} 0123456789abcdef\n\n");
    let header = Header::read(&file(&good)).unwrap();
    assert_eq!((header.value_id.as_deref(), header.sealed_for), (Some(id), Some(digest.clone())));
    assert_eq!(header.recipients.unwrap(), ["0123456789abcdef"]);
    for stanzas in [
        "-> mailwright-v2\n\n".to_owned(),
        format!("-> mailwright-v2 {id}\n\n"),
        format!("-> mailwright-v2 {id} 0123456789abcdef\n\n"),
        format!("-> mailwright-v2 {digest} {id}\n\n"),
        format!("-> mailwright-v2 {id} {} 0123456789abcdef\n\n", digest.as_str().to_uppercase()),
        format!("-> mailwright-v3 {id} {digest}\n\n"),
        format!("{good}{good}"),
        format!("{good}-> mailwright-v1 {id}\n\n"),
        format!("-> mailwright-v1 {id} {digest}\n\n"),
    ] {
        assert!(Header::read(&file(&stanzas)).is_err(), "{stanzas}");
    }
}

/// The kinds have ids of their own, which are part of the canonical form.
#[test]
fn kinds_are_written_as_documented() {
    for (kind, id) in [
        (CredentialKind::Password, "password"),
        (CredentialKind::ClientSecret, "client-secret"),
        (CredentialKind::Certificate, "certificate"),
    ] {
        assert_eq!((kind.id(), json!(kind)), (id, json!(id)));
    }
}
