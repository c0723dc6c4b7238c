//! Tests of texts and of the evaluation, with SSH keys and a passkey that is a program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

use std::collections::BTreeSet;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    model::{
        approvals::ApprovalRule,
        signature::{IdentityEvidence, PasskeyEvidence},
    },
    passkey::Challenge,
};

fn text() -> ApprovalText {
    ApprovalText {
        environment: "prod".parse().unwrap(),
        action: SignedAction::Rollback(41).to_string(),
        base: 42,
        digest: Digest::of_bytes(b"change"),
        meaning: Meaning::Approved,
        expires: Timestamp::from_second(1_800_000_000).unwrap(),
        reason: "The relay is down".to_owned(),
    }
}

#[test]
fn only_the_canonical_form_of_a_text_is_accepted() {
    let canonical = text().to_text();
    assert_eq!(ApprovalText::parse(&canonical), Some(text()));
    for other in [
        canonical.trim_end().to_owned(),
        canonical.replace('\n', "\r\n"),
        format!("{canonical}more\n"),
        canonical.replace("base generation: 42", "base generation: 042"),
        canonical.replace("reason: ", "reason:  "),
    ] {
        assert_eq!(ApprovalText::parse(&other), None, "{other:?}");
    }
}

#[test]
fn a_text_with_another_meaning_has_version_2() {
    let reviewed = ApprovalText { meaning: Meaning::Reviewed, ..text() };
    let canonical = reviewed.to_text();
    assert!(canonical.starts_with("mailwright-approval-v2\n") && canonical.contains("\nmeaning: reviewed\n"));
    assert_eq!(ApprovalText::parse(&canonical), Some(reviewed));
    assert!(!text().to_text().contains("meaning"));
    for other in [
        canonical.replace("-v2", "-v1"),
        canonical.replace("meaning: reviewed", "meaning: approved"),
        canonical.replace("meaning: reviewed", "meaning: Reviewed"),
        text().to_text().replace("-v1", "-v2"),
    ] {
        assert_eq!(ApprovalText::parse(&other), None, "{other:?}");
    }
}

#[test]
fn a_reason_is_one_bounded_line() {
    assert!(is_reason("") && is_reason(&"x".repeat(REASON_LIMIT)));
    for other in ["two\nlines", " space", "space ", &"x".repeat(REASON_LIMIT + 1)] {
        assert!(!is_reason(other), "{other:?}");
    }
}

const ORIGIN: &str = "https://mail.example.com";

/// A passkey that is a program.
struct Device {
    key: Ed25519KeyPair,
    passkey: Passkey,
}

impl Device {
    fn new(id: &str) -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let cose = [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32][..], key.public_key().as_ref()].concat();
        let passkey = Passkey {
            id: BASE64_URL_SAFE_NO_PAD.encode(id),
            handle: String::new(),
            public_key: BASE64_URL_SAFE_NO_PAD.encode(cose),
            counter: 9,
            is_synced: false,
            transports: Vec::new(),
        };
        Self { key, passkey }
    }

    /// Signs a document, as a browser at `origin` asks for it.
    fn sign(&self, document: &Digest, origin: &str) -> PasskeyEvidence {
        let challenge = Challenge::for_document(document).unwrap().text();
        let client_data = format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{origin}"}}"#);
        // The site, the flags for a person who was identified, and a counter that is behind the stored one.
        let data = [&Sha256::digest(b"mail.example.com")[..], &[0b101], &1_u32.to_be_bytes()].concat();
        let message = [data.as_slice(), &Sha256::digest(&client_data)].concat();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        PasskeyEvidence {
            passkey: self.passkey.id.clone(),
            public_key: self.passkey.public_key.clone(),
            client_data: encode(client_data.as_bytes()),
            authenticator_data: encode(&data),
            signature: encode(self.key.sign(&message).as_ref()),
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_799_990_000).unwrap()
}

/// Three signers, each an operator with two passkeys; alice has an SSH key as well.
struct Office {
    rules: Approvals,
    operators: Vec<SigningOperator>,
    persons: Vec<SigningPerson>,
    devices: Vec<[Device; 2]>,
    key: PrivateKey,
    needs: Vec<ApprovalNeed>,
    environment: EnvironmentName,
    site: RelyingParty,
}

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

impl Office {
    fn new(count: u8, meaning: Meaning) -> Self {
        let key = PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]));
        let devices: Vec<[Device; 2]> =
            NAMES.iter().map(|name| [Device::new(name), Device::new(&format!("{name}, second"))]).collect();
        let signer = |name: &&str| Signer {
            name: (*name).to_owned(),
            key: (*name == "alice").then(|| key.public_key().to_openssh().unwrap()),
            operator: Some(name.to_uppercase()),
            person: None,
            group: None,
            role: None,
            issuer: None,
            email: None,
            until: None,
        };
        let rule = ApprovalRule {
            count,
            signers: BTreeSet::new(),
            groups: BTreeSet::new(),
            meaning,
            functions: BTreeSet::new(),
            companies: BTreeSet::new(),
            actions: BTreeSet::new(),
            when: None,
            reason_required: false,
            passkey_age: None,
        };
        let rules =
            Approvals { signers: NAMES.iter().map(signer).collect(), rules: vec![rule], ..Approvals::default() };
        let operators = NAMES.iter().zip(&devices).map(|(name, devices)| SigningOperator {
            id: format!("id of {name}"),
            name: (*name).to_owned(),
            passkeys: devices
                .iter()
                .map(|device| SigningPasskey { key: device.passkey.clone(), added_at: Timestamp::UNIX_EPOCH })
                .collect(),
        });
        let need = ApprovalNeed {
            count,
            signers: rules.signers.iter().map(Signer::identify).collect(),
            meaning,
            reason_required: false,
            passkey_age: None,
            because: Vec::new(),
        };
        Self {
            operators: operators.collect(),
            persons: Vec::new(),
            rules,
            devices,
            key,
            needs: vec![need],
            environment: "prod".parse().unwrap(),
            site: RelyingParty::from_origin(ORIGIN).unwrap(),
        }
    }

    /// Returns the record that a signer signs, without evidence.
    fn record(&self, signer: usize, meaning: Meaning) -> Signature {
        Signature {
            id: format!("{signer:016}"),
            signer: NAMES[signer].to_owned(),
            operator: format!("id of {}", NAMES[signer]),
            identity: None,
            printed_name: format!("{} Example", NAMES[signer]),
            meaning,
            environment: self.environment.clone(),
            action: SignedAction::Apply.to_string(),
            base: 42,
            digest: Digest::of_bytes(b"change"),
            reason: "seen".to_owned(),
            requested_at: now(),
            at: now(),
            offset_minutes: 60,
            expires: Timestamp::from_second(1_800_000_000).unwrap(),
            method: SignatureMethod::Passkey,
            recent_passkey: None,
            evidence: SignatureEvidence::default(),
        }
    }

    fn sign(&self, signer: usize, device: usize, record: Signature) -> Signature {
        let evidence = self.devices[signer][device].sign(&record.text_digest(), ORIGIN);
        Signature { evidence: SignatureEvidence::Passkey(evidence), ..record }
    }

    fn signed(&self, signer: usize, meaning: Meaning) -> Signature {
        self.sign(signer, 0, self.record(signer, meaning))
    }

    fn ssh(&self, meaning: Meaning) -> Approval {
        let text = ApprovalText { action: SignedAction::Apply.to_string(), meaning, ..text() }.to_text();
        Approval { signature: sign(&self.key, &text).unwrap(), message: text }
    }

    fn request(&self) -> ApprovalRequest<'_> {
        ApprovalRequest {
            rules: &self.rules,
            needs: &self.needs,
            environment: &self.environment,
            base: 42,
            action: SignedAction::Apply,
            digest: Digest::of_bytes(b"change"),
            now: now(),
            caller: Actor { name: "pipeline", subject: "token:1" },
            author: None,
            operators: &self.operators,
            persons: &self.persons,
            site: Some(&self.site),
        }
    }

    fn evaluate(&self, approvals: &[Approval], signatures: &[Signature]) -> Evaluation {
        self.request().evaluate(SignaturesGiven { approvals, signatures }).unwrap()
    }

    /// Returns the code with which a signature is refused.
    fn code(&self, signature: &Signature) -> Code {
        let evaluation = self.evaluate(&[], std::slice::from_ref(signature));
        assert!(evaluation.approved.is_empty(), "{evaluation:?}");
        evaluation.rejected[0].code
    }
}

#[test]
fn a_signature_by_passkey_counts_and_is_shown_as_it_was_made() {
    let office = Office::new(2, Meaning::Approved);
    let evaluation = office.evaluate(&[office.ssh(Meaning::Approved)], &[office.signed(1, Meaning::Approved)]);
    assert!(evaluation.missing.is_empty() && evaluation.rejected.is_empty(), "{evaluation:?}");
    let [ssh, passkey] = &evaluation.approved[..] else { panic!("{evaluation:?}") };
    assert_eq!((ssh.method, ssh.at, ssh.printed_name.as_str()), (SignatureMethod::Ssh, Some(now()), "alice"));
    assert_eq!(passkey.describe(), "bob Example (bob) approved 2027-01-15T06:13:20+01:00 by passkey: seen");
    assert_eq!(passkey.digest, Some(Digest::of_bytes(b"change")));
    // The operator gets another name in the policy and in the console: the record stays.
    let kept: Approved = serde_json::from_str(&serde_json::to_string(passkey).unwrap()).unwrap();
    assert_eq!(kept.describe(), passkey.describe());
}

#[test]
fn a_person_counts_once_by_whatever_key() {
    let office = Office::new(2, Meaning::Approved);
    let second = office.sign(0, 1, office.record(0, Meaning::Approved));
    let first = office.signed(0, Meaning::Approved);
    for (approvals, signatures) in [
        (vec![], vec![first.clone(), second.clone()]),
        (vec![], vec![first.clone(), first.clone()]),
        (vec![office.ssh(Meaning::Approved)], vec![first, second]),
    ] {
        let evaluation = office.evaluate(&approvals, &signatures);
        assert_eq!((evaluation.approved.len(), evaluation.missing.len()), (1, 1), "{evaluation:?}");
    }
}

#[test]
fn a_need_is_met_by_signatures_with_its_meaning_only() {
    for wanted in Meaning::ALL {
        let office = Office::new(1, wanted);
        for given in Meaning::ALL {
            let by_passkey = office.evaluate(&[], &[office.signed(1, given)]);
            let by_ssh = office.evaluate(&[office.ssh(given)], &[]);
            for evaluation in [by_passkey, by_ssh] {
                assert_eq!(evaluation.missing.is_empty(), given == wanted, "{given} for {wanted}: {evaluation:?}");
            }
        }
    }
}

#[test]
fn every_changed_field_of_a_signature_is_noticed() {
    let office = Office::new(1, Meaning::Approved);
    let good = office.signed(0, Meaning::Approved);
    let another = Digest::of_bytes(b"another change");
    let changes: [fn(&mut Signature); 11] = [
        |signature| signature.id.push('0'),
        |signature| signature.printed_name = "Mallory".to_owned(),
        |signature| signature.meaning = Meaning::Reviewed,
        |signature| signature.environment = "test".parse().unwrap(),
        |signature| signature.action = "rollback to generation 1".to_owned(),
        |signature| signature.base = 43,
        |signature| signature.digest = Digest::of_bytes(b"another change"),
        |signature| signature.reason.clear(),
        |signature| signature.requested_at = Timestamp::UNIX_EPOCH,
        |signature| signature.offset_minutes = 0,
        |signature| signature.expires = Timestamp::MAX,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut changed = good.clone();
        change(&mut changed);
        assert_eq!(office.code(&changed), Code::ApprovalForged, "{index}");
    }
    // Another person's name, or another person's passkey.
    let mut stolen = good.clone();
    stolen.signer = "bob".to_owned();
    assert_eq!(office.code(&stolen), Code::ApprovalByUnknownSigner);
    stolen.operator = "id of bob".to_owned();
    assert_eq!(office.code(&stolen), Code::ApprovalByUnknownSigner);
    // A good signature of another change, or of this change in another environment.
    let record = office.record(0, Meaning::Approved);
    let elsewhere = Signature { environment: "test".parse().unwrap(), ..record.clone() };
    for other in [Signature { digest: another, ..record.clone() }, Signature { base: 41, ..record.clone() }, elsewhere]
    {
        assert_eq!(office.code(&office.sign(0, 0, other)), Code::ApprovalForAnotherPlan);
    }
    let long = Signature { expires: Timestamp::from_second(1_900_000_000).unwrap(), ..record.clone() };
    assert_eq!(office.code(&office.sign(0, 0, long)), Code::ApprovalMalformed);
    let over = Signature { expires: now(), ..record.clone() };
    assert_eq!(office.code(&office.sign(0, 0, over)), Code::ApprovalExpired);
    let evidence = office.devices[0][0].sign(&record.text_digest(), "https://evil.example.com");
    let evidence = SignatureEvidence::Passkey(evidence);
    assert_eq!(office.code(&Signature { evidence, ..record }), Code::ApprovalForged);
}

#[test]
fn who_is_not_an_operator_or_a_signer_any_more_has_not_approved() {
    let mut office = Office::new(1, Meaning::Approved);
    let signature = office.signed(0, Meaning::Approved);
    assert!(office.evaluate(&[], std::slice::from_ref(&signature)).missing.is_empty());
    let site = office.request().site.cloned();
    let request = ApprovalRequest { site: None, ..office.request() };
    let given = SignaturesGiven { approvals: &[], signatures: std::slice::from_ref(&signature) };
    assert_eq!(request.evaluate(given).unwrap().rejected[0].code, Code::ApprovalForged, "{site:?}");
    // The passkey was removed.
    let passkeys = std::mem::take(&mut office.operators[0].passkeys);
    assert_eq!(office.code(&signature), Code::ApprovalByUnknownSigner);
    office.operators[0].passkeys = passkeys;
    // Another person got the name.
    let id = std::mem::replace(&mut office.operators[0].id, "id of another alice".to_owned());
    assert_eq!(office.code(&signature), Code::ApprovalByUnknownSigner);
    office.operators[0].id = id;
    // The operator is not the signer any more; then the signer is gone.
    let operator = office.rules.signers[0].operator.take();
    assert_eq!(office.code(&signature), Code::ApprovalByUnknownSigner);
    office.rules.signers[0].operator = operator;
    office.rules.signers[0].until = Some("2026-12-31".parse().unwrap());
    assert_eq!(office.code(&signature), Code::ApprovalByUnknownSigner);
    office.rules.signers.remove(0);
    assert_eq!(office.code(&signature), Code::ApprovalByUnknownSigner);
}

#[test]
fn an_author_states_authorship_and_does_not_approve() {
    let mut office = Office::new(1, Meaning::Approved);
    let by_author = |office: &Office, meaning: Meaning, author: &str, caller: &str| {
        let signatures = [office.signed(0, meaning)];
        let actor = |name| Actor { name, subject: "" };
        let request = ApprovalRequest { author: Some(actor(author)), caller: actor(caller), ..office.request() };
        let evaluation = request.evaluate(SignaturesGiven { approvals: &[], signatures: &signatures }).unwrap();
        evaluation.rejected.first().map(|rejected| rejected.code)
    };
    // The name of the operator is that of the signer, whatever the case.
    for (author, caller) in [("Alice", "bob"), ("bob", "ALICE")] {
        for meaning in [Meaning::Approved, Meaning::Reviewed] {
            assert_eq!(by_author(&office, meaning, author, caller), Some(Code::SelfApproval));
        }
        assert_eq!(by_author(&office, Meaning::Authored, author, caller), None);
    }
    office.rules.signers[0].name = "ann".to_owned();
    let signatures = [office.sign(0, 0, Signature { signer: "ann".to_owned(), ..office.record(0, Meaning::Approved) })];
    let request = ApprovalRequest { author: Some(Actor { name: "alice", subject: "" }), ..office.request() };
    let evaluation = request.evaluate(SignaturesGiven { approvals: &[], signatures: &signatures }).unwrap();
    assert_eq!(evaluation.rejected[0].code, Code::SelfApproval, "by the name of the operator");
    office.rules.self_approval = true;
    let request = ApprovalRequest { author: Some(Actor { name: "alice", subject: "" }), ..office.request() };
    let evaluation = request.evaluate(SignaturesGiven { approvals: &[], signatures: &signatures }).unwrap();
    assert!(evaluation.rejected.is_empty());
}

const ISSUER: &str = "https://login.example.com";

/// A signer who is the persons with a role, and another one who is a person with a key as well.
fn with_identities(count: u8) -> Office {
    let mut office = Office::new(count, Meaning::Approved);
    let signer = |document: serde_json::Value| serde_json::from_value::<Signer>(document).unwrap();
    office.rules.signers[0].person = Some("p-alice".to_owned());
    office.rules.signers[0].issuer = Some(ISSUER.to_owned());
    for (name, kind) in [("quality", "role"), ("finance", "group")] {
        office.rules.signers.push(signer(serde_json::json!({ "name": name, kind: name, "issuer": ISSUER })));
    }
    office.needs[0].signers = office.rules.signers.iter().map(Signer::identify).collect();
    office
}

/// A signature of a person as a signer; the provider states these roles and groups.
fn confirmed(office: &mut Office, signer: &str, id: &str, subjects: &[Subject]) -> Signature {
    let identity = SignerIdentity { issuer: ISSUER.to_owned(), id: id.to_owned() };
    let record = Signature {
        id: format!("{:016}", office.persons.len()),
        signer: signer.to_owned(),
        operator: String::new(),
        identity: Some(identity.clone()),
        method: SignatureMethod::IdentityProvider,
        evidence: SignatureEvidence::Identity(IdentityEvidence {
            id_token: "the service has verified it".to_owned(),
            key: serde_json::Value::Null,
        }),
        ..office.record(0, Meaning::Approved)
    };
    let statement = IdentityStatement {
        identity,
        nonce: record.text_digest().to_string(),
        authenticated_at: now(),
        subjects: subjects.to_vec(),
    };
    office.persons.push(SigningPerson { signature: record.id.clone(), statement: Ok(statement) });
    record
}

#[test]
fn persons_with_a_role_count_each_once_whatever_else_they_are() {
    let (role, group) = (Subject::of_role(ISSUER, "quality"), Subject::of_group(ISSUER, "finance"));
    let mut office = with_identities(2);
    let both = [role.clone(), group.clone()];
    let one = confirmed(&mut office, "quality", "p1", &both);
    let same = confirmed(&mut office, "finance", "p1", &both);
    let other = confirmed(&mut office, "quality", "p2", std::slice::from_ref(&role));
    let twice = office.evaluate(&[], &[one.clone(), same]);
    assert_eq!((twice.approved.len(), twice.missing.len()), (1, 1), "{twice:?}");
    assert!(office.evaluate(&[], &[one, other]).missing.is_empty());
    // A person with a key: its account is the same person, and counts for its role as well.
    let alice = confirmed(&mut office, "quality", "p-alice", std::slice::from_ref(&role));
    let evaluation = office.evaluate(&[office.ssh(Meaning::Approved)], std::slice::from_ref(&alice));
    assert_eq!((evaluation.approved.len(), evaluation.missing.len()), (1, 1), "{evaluation:?}");
    office.needs[0].count = 1;
    office.needs[0].signers.retain(|signer| signer.name == "quality");
    assert_eq!(
        office.evaluate(&[office.ssh(Meaning::Approved)], &[]).missing.len(),
        1,
        "the key says nothing of roles"
    );
    assert!(office.evaluate(&[office.ssh(Meaning::Approved)], &[alice]).missing.is_empty());
}

#[test]
fn a_statement_of_another_text_person_time_or_role_does_not_count() {
    let role = Subject::of_role(ISSUER, "quality");
    let mut office = with_identities(1);
    let signature = confirmed(&mut office, "quality", "p1", std::slice::from_ref(&role));
    assert!(office.evaluate(&[], std::slice::from_ref(&signature)).missing.is_empty());
    let changes: [fn(&mut Signature); 5] = [
        |signature| signature.reason = "other".to_owned(),
        |signature| signature.printed_name = "Mallory".to_owned(),
        |signature| signature.identity = Some(SignerIdentity { issuer: ISSUER.to_owned(), id: "p2".to_owned() }),
        |signature| signature.identity = None,
        |signature| signature.evidence = SignatureEvidence::default(),
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut changed = signature.clone();
        change(&mut changed);
        let code = office.code(&changed);
        assert!([Code::ApprovalForged, Code::ApprovalByUnknownSigner].contains(&code), "{index}: {code}");
    }
    let mut with = |change: &dyn Fn(&mut IdentityStatement)| {
        let kept = office.persons.clone();
        change(office.persons[0].statement.as_mut().unwrap());
        let code = office.code(&signature);
        office.persons = kept;
        code
    };
    assert_eq!(with(&|statement| statement.nonce.clear()), Code::ApprovalForged);
    assert_eq!(with(&|statement| statement.identity.id = "p2".to_owned()), Code::ApprovalForged);
    assert_eq!(
        with(&|statement| statement.authenticated_at = now() - SignedDuration::from_mins(5)),
        Code::ApprovalForged
    );
    assert_eq!(with(&|statement| statement.subjects.clear()), Code::ApprovalByUnknownSigner);
    let other = Subject::of_role("https://other.example.com", "quality");
    assert_eq!(with(&|statement| statement.subjects = vec![other.clone()]), Code::ApprovalByUnknownSigner);
    office.persons.clear();
    assert_eq!(office.code(&signature), Code::ApprovalForged);
}

#[test]
fn a_person_is_known_by_its_id_and_not_by_its_name() {
    let role = Subject::of_role(ISSUER, "quality");
    let mut office = with_identities(1);
    let (own, alice) = (format!("identity:{ISSUER} p1"), format!("identity:{ISSUER} p-alice"));
    let signature = confirmed(&mut office, "quality", "p1", std::slice::from_ref(&role));
    let of_alice = confirmed(&mut office, "quality", "p-alice", std::slice::from_ref(&role));
    let by = |author: Actor<'_>, caller: Actor<'_>, signature: &Signature, approvals: &[Approval]| {
        let request = ApprovalRequest { author: Some(author), caller, ..office.request() };
        let signatures = if approvals.is_empty() { std::slice::from_ref(signature) } else { &[] };
        let evaluation = request.evaluate(SignaturesGiven { approvals, signatures }).unwrap();
        evaluation.rejected.first().map(|rejected| rejected.code)
    };
    let actor = |name: &'static str, subject| Actor { name, subject };
    let other = actor("bob", "operator:2");
    assert_eq!(by(actor("Renamed (sso:p1)", own.as_str()), other, &signature, &[]), Some(Code::SelfApproval));
    assert_eq!(by(other, actor("Renamed (sso:p1)", own.as_str()), &signature, &[]), Some(Code::SelfApproval));
    // The name of a role is not that of a person.
    assert_eq!(by(actor("quality", "token:2"), other, &signature, &[]), None);
    // Alice is one person by her account, her key and her passkey.
    assert_eq!(by(actor("alice", "operator:1"), other, &of_alice, &[]), Some(Code::SelfApproval));
    let ssh = [office.ssh(Meaning::Approved)];
    assert_eq!(by(actor("Alice (sso:p-alice)", alice.as_str()), other, &signature, &ssh), Some(Code::SelfApproval));
}

#[test]
fn a_rule_can_refuse_new_passkeys() {
    let mut office = Office::new(1, Meaning::Approved);
    office.needs[0].passkey_age = Some("2d".parse().unwrap());
    let signature = office.signed(1, Meaning::Approved);
    for (hours, is_old_enough) in [(0, false), (47, false), (48, true), (500, true)] {
        office.operators[1].passkeys[0].added_at = now() - SignedDuration::from_hours(hours);
        let evaluation = office.evaluate(&[], std::slice::from_ref(&signature));
        assert_eq!(evaluation.missing.is_empty(), is_old_enough, "{hours}");
        let codes: Vec<Code> = evaluation.rejected.iter().map(|rejected| rejected.code).collect();
        assert_eq!(codes, if is_old_enough { vec![] } else { vec![Code::PasskeyTooNew] });
    }
    // A second passkey of the person, and a key that is not a passkey.
    office.operators[1].passkeys[0].added_at = now();
    let second = office.sign(1, 1, office.record(1, Meaning::Approved));
    assert!(office.evaluate(&[], &[signature.clone(), second.clone()]).missing.is_empty());
    assert!(office.evaluate(&[], &[second, signature]).missing.is_empty());
    assert!(office.evaluate(&[office.ssh(Meaning::Approved)], &[]).missing.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the signatures come, a need counts distinct persons with its meaning.
    #[test]
    fn a_need_counts_distinct_persons(
        count in 1_u8..4, wanted in 0_usize..3, given in prop::collection::vec((0_usize..3, 0_usize..3, 0_usize..3), 0..12),
    ) {
        let office = Office::new(count, Meaning::ALL[wanted]);
        let (mut approvals, mut signatures) = (Vec::new(), Vec::new());
        let mut persons = BTreeSet::new();
        for (person, device, meaning) in given {
            let meaning = Meaning::ALL[meaning];
            // The third device of alice is the SSH key; the others have none.
            match (person, device) {
                (0, 2) => approvals.push(office.ssh(meaning)),
                (_, 2) => continue,
                _ => signatures.push(office.sign(person, device, office.record(person, meaning))),
            }
            if meaning == Meaning::ALL[wanted] {
                persons.insert(person);
            }
        }
        let evaluation = office.evaluate(&approvals, &signatures);
        prop_assert!(evaluation.rejected.is_empty());
        prop_assert_eq!(evaluation.missing.is_empty(), persons.len() >= usize::from(count));
    }
}
