//! Conformance tests for every store, written against the traits. A new store adds one line at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use crate::support::generated;
use jiff::Timestamp;
use mailwright::passkey::Passkey;
use mailwright::{
    model::{
        Attempt, AuditEntry, AuditOutcome, ChangeKind, ChangeRecord, ChangeSummary, Changeset, Destination, Digest,
        Encryption, Generation, Lane, ProfileChange, ProfileName, ProfileState, Provenance, SecretRecord, Settings,
        State, Status, StoredProfile,
        access::Subject,
        message::Class,
        operator::{Enrolment, Operator, PasskeyInfo},
        proposal::{Decision, Proposal, ProposedChange},
        rotation::{Rotation, Standing},
        session::{Admission, Session, SessionSubject},
        token::{Role, Scope, Token},
    },
    store::{
        AuditEvent, AuditLog as _, AuditSearch, Commit, CommitError, DECIDED_PROPOSALS, EndedSessions, Integrity as _,
        LeaseTaken, NewSecret, OPEN_PROPOSALS, PasskeyAdded, PasskeyRemoved, PasskeyUsed, ProposalStored,
        SESSIONS_PER_SUBJECT, SqliteStore, Store, StoreError, StoredPasskey, StoredToken, WantedLease,
        outbox::{
            Begun, DeliveryOwner, IdempotencyKey, Lanes as _, NewEvent, NewMessage, PurgeCutoffs, Purged, Search,
            Settled, SubmissionOutcome,
        },
    },
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::json;
use uuid::Uuid;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn event(action: &'static str) -> AuditEvent {
    AuditEvent {
        at: at(0),
        actor: "ann".to_owned(),
        action,
        outcome: AuditOutcome::Accepted,
        detail: json!({ "n": 1 }),
    }
}

/// The commit that makes these profiles live, from what the store holds.
fn commit(state: &State, profiles: &BTreeMap<ProfileName, StoredProfile>, id: Option<Uuid>) -> Commit {
    let number = state.generation + 1;
    let record = ChangeRecord { generation: number, at: at(1), by: "ann".to_owned(), kind: ChangeKind::Apply };
    let touched = state.profiles.keys().chain(profiles.keys()).cloned().collect();
    let mut after = state.clone();
    after.settings_changed = Some(record.clone());
    after.settings = Settings { companies: ["A".parse().unwrap()].into(), ..Settings::default() };
    after.applied_settings = Some(Settings::default());
    after.profiles = profiles
        .iter()
        .map(|(name, stored)| {
            (name.clone(), ProfileState::new(Some(stored.clone()), Some(stored.clone()), record.clone()))
        })
        .collect();
    let secrets = profiles.values().flat_map(|stored| {
        stored.age_files().map(|(_, digest)| NewSecret {
            record: SecretRecord {
                digest: digest.clone(),
                value_id: Some(format!("value of {}", digest.short())),
                sealed_for: None,
                destination: stored.profile.provider.destination(),
            },
            age_file: digest.as_str().as_bytes().to_vec(),
        })
    });
    Commit {
        base: state.generation,
        generation: Generation {
            number,
            at: at(1),
            by: "ann".to_owned(),
            kind: ChangeKind::Apply,
            changeset: id,
            rolled_back_to: None,
            provenance: Provenance::default(),
            allowances: mailwright::model::Allowances::default(),
            approvals: Vec::new(),
            summary: ChangeSummary::default(),
            unmanaged: Vec::new(),
        },
        changeset: id.map(|id| Digest::of_bytes(id.as_bytes())),
        after: Arc::new(after),
        touched,
        secrets: secrets.collect(),
        event: event("changeset"),
    }
}

fn token(id: &str, second: i64) -> StoredToken {
    let token = Token {
        id: id.to_owned(),
        name: format!("n{id}"),
        scope: mailwright::model::token::Scope::default(),
        role: Role::Viewer,
        created_at: at(second),
        expires_at: None,
        revoked_at: None,
        suspended_at: None,
        succeeds: None,
    };
    StoredToken { token, hash: Digest::of_bytes(id.as_bytes()) }
}

/// The whole contract. `open` opens the same store each time it is called.
async fn conforms(open: impl Fn() -> Box<dyn Store>) {
    let mut runner = TestRunner::deterministic();
    let mut any = || generated::any_profiles().new_tree(&mut runner).unwrap().current();
    let store = open();
    assert_eq!(store.state().await.unwrap(), State::empty(generated::environment()));
    store.probe().await.unwrap();

    // Every generation reads back as it was written, now and after a reopening.
    let mut history = Vec::new();
    for round in 1..=20_u64 {
        let (state, profiles, id) = (store.state().await.unwrap(), any(), Uuid::from_u128(u128::from(round)));
        assert_eq!(state.generation, round - 1);
        store.commit(commit(&state, &profiles, Some(id))).await.unwrap();
        let live: BTreeMap<_, _> =
            store.state().await.unwrap().live_stored().map(|(n, s)| (n.clone(), s.clone())).collect();
        assert_eq!(live, profiles);
        history.push(profiles);
    }
    let reopened = open();
    assert_eq!(reopened.state().await.unwrap(), store.state().await.unwrap());
    for (index, profiles) in history.iter().enumerate() {
        let detail = reopened.generation(index as u64 + 1).await.unwrap().unwrap();
        assert_eq!((detail.generation.number, &detail.profiles), (index as u64 + 1, profiles));
        for digest in profiles.values().flat_map(|stored| stored.secrets.values()) {
            assert_eq!(store.age_file(digest).await.unwrap().unwrap(), digest.as_str().as_bytes());
            assert_eq!(store.secrets(vec![digest.clone()]).await.unwrap().len(), 1);
        }
    }
    assert!(
        store.generation(0).await.unwrap().is_none()
            && store.generation(21).await.unwrap().is_none()
            && store.generation(u64::MAX).await.unwrap().is_none()
    );
    // The versions of a profile are the generations that changed it.
    for name in history.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>() {
        let mut changed: Vec<(u64, Option<&StoredProfile>)> = Vec::new();
        for (index, profiles) in history.iter().enumerate() {
            let now = profiles.get(name);
            if changed.last().map_or(now.is_some(), |(_, before)| *before != now) {
                changed.push((index as u64 + 1, now));
            }
        }
        changed.reverse();
        let versions = reopened.profile_versions(name, 1000).await.unwrap();
        let found: Vec<_> = versions.iter().map(|(generation, stored)| (generation.number, stored.as_ref())).collect();
        assert_eq!(found, changed, "{name}");
        assert_eq!(reopened.profile_versions(name, 1).await.unwrap(), versions[..1]);
    }
    assert!(store.profile_versions(&"unknown-name".parse().unwrap(), 10).await.unwrap().is_empty());
    let page: Vec<u64> =
        store.generations(Some(18), 3).await.unwrap().iter().map(|generation| generation.number).collect();
    assert_eq!(page, [17, 16, 15]);
    assert_eq!(store.secrets(vec![Digest::of_bytes(b"never")]).await.unwrap(), vec![]);

    // A refused commit leaves nothing: not a profile, not a secret, not a line in the audit log.
    let state = store.state().await.unwrap();
    let lines = store.audit(0, 1000).await.unwrap().len();
    let mut stale = commit(&state, &any(), None);
    stale.base = 3;
    assert!(matches!(store.commit(stale).await, Err(CommitError::Stale(20))));
    let taken = commit(&state, &any(), Some(Uuid::from_u128(7)));
    assert!(matches!(store.commit(taken).await, Err(CommitError::Taken { generation: 7, .. })));
    assert_eq!(store.state().await.unwrap(), state);
    assert_eq!(store.audit(0, 1000).await.unwrap().len(), lines);
    let (digest, generation) = store.changeset(Uuid::from_u128(7)).await.unwrap().unwrap();
    assert_eq!((digest, generation.number), (Digest::of_bytes(Uuid::from_u128(7).as_bytes()), 7));
    assert!(store.changeset(Uuid::from_u128(99)).await.unwrap().is_none());

    // Of commits on one generation, made at once, one is taken.
    let (one, other) = (open(), open());
    let (first, second) =
        tokio::join!(one.commit(commit(&state, &any(), None)), other.commit(commit(&state, &any(), None)));
    assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1);
    assert_eq!(store.state().await.unwrap().generation, 21);

    // A secret keeps the destination that it was first accepted for.
    let profiles: BTreeMap<ProfileName, StoredProfile> = [(
        "moved".parse().unwrap(),
        generated::stored(generated::smtp("first.example", &["default"], Some("a/b")), "v"),
    )]
    .into();
    store.commit(commit(&store.state().await.unwrap(), &profiles, None)).await.unwrap();
    let elsewhere: BTreeMap<ProfileName, StoredProfile> = [(
        "moved".parse().unwrap(),
        generated::stored(generated::smtp("second.example", &["default"], Some("a/b")), "v"),
    )]
    .into();
    store.commit(commit(&store.state().await.unwrap(), &elsewhere, None)).await.unwrap();
    let record = store.state().await.unwrap().secrets.into_values().next().unwrap();
    assert!(record.destination.to_string().starts_with("first.example"));
    // So does a value, by whatever it came.
    let id = record.value_id.clone().unwrap();
    let second = Destination::Smtp { host: "second.example".to_owned(), port: 587, encryption: Encryption::Tls };
    assert_eq!(store.bind(id.clone(), second.clone()).await.unwrap(), record.destination);
    assert_eq!(store.bind("another".to_owned(), second.clone()).await.unwrap(), second);
    assert_eq!(store.bind("another".to_owned(), record.destination.clone()).await.unwrap(), second);
    let known = open().destinations(vec![id.clone(), "another".to_owned(), "unknown".to_owned()]).await.unwrap();
    assert_eq!(known, [(id, record.destination), ("another".to_owned(), second)].into());

    // Tokens.
    store.create_token(token("b", 2), event("token.create")).await.unwrap();
    store.create_token(token("a", 3), event("token.create")).await.unwrap();
    assert!(store.create_token(token("a", 4), event("token.create")).await.is_err());
    let ids: Vec<String> = store.tokens().await.unwrap().into_iter().map(|token| token.id).collect();
    assert_eq!(ids, ["b", "a"]);
    assert_eq!(store.token("a").await.unwrap().unwrap().hash, Digest::of_bytes(b"a"));
    assert!(store.token("c").await.unwrap().is_none());
    assert_eq!(store.revoke_token("a", at(5), event("token.revoke")).await.unwrap().unwrap().revoked_at, Some(at(5)));
    assert_eq!(store.revoke_token("a", at(6), event("token.revoke")).await.unwrap().unwrap().revoked_at, Some(at(5)));
    assert!(store.revoke_token("c", at(6), event("token.revoke")).await.unwrap().is_none());

    // The audit log is a chain without gaps, in every page size.
    store.record(event("access")).await.unwrap();
    let entries = open().audit(0, 1000).await.unwrap();
    let mut previous = AuditEntry::genesis();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(
            (entry.sequence, &entry.previous, &entry.hash),
            (index as u64 + 1, &previous, &entry.expected_hash())
        );
        previous = entry.hash.clone();
    }
    assert_eq!(store.audit(entries.len() as u64 - 2, 1).await.unwrap()[0].sequence, entries.len() as u64 - 1);
    assert!(store.audit(u64::MAX, 10).await.unwrap().is_empty());

    // A search is newest first, and a page continues before a number.
    let numbers = async |search: AuditSearch, limit: u32| -> Vec<u64> {
        store.find_audit(search, limit).await.unwrap().iter().map(|entry| entry.sequence).collect()
    };
    let last = entries.len() as u64;
    assert_eq!(numbers(AuditSearch::default(), 2).await, [last, last - 1]);
    assert_eq!(numbers(AuditSearch { before: Some(last), ..AuditSearch::default() }, 1).await, [last - 1]);
    let of = |action: &str| entries.iter().filter(|entry| entry.action.starts_with(action)).count();
    for action in ["token.", "token.revoke", "access", "oken"] {
        let search = AuditSearch { action: Some(action.to_owned()), ..AuditSearch::default() };
        assert_eq!(numbers(search, 1000).await.len(), of(action), "{action}");
    }
    let refused = AuditSearch { outcome: Some(AuditOutcome::Refused), ..AuditSearch::default() };
    let expected = entries.iter().filter(|entry| entry.outcome == AuditOutcome::Refused).count();
    assert_eq!(numbers(refused, 1000).await.len(), expected);
    let at_entry = entries[1].at;
    let later = entries.iter().filter(|entry| entry.at >= at_entry).count();
    let since = AuditSearch { since: Some(at_entry), ..AuditSearch::default() };
    let until = AuditSearch { until: Some(at_entry), ..AuditSearch::default() };
    assert_eq!((numbers(since, 1000).await.len(), numbers(until, 1000).await.len()), (later, entries.len() - later));
    let none = AuditSearch { actor: Some("%".to_owned()), ..AuditSearch::default() };
    assert!(numbers(none, 10).await.is_empty());
    let none = AuditSearch { text: Some("not in any details".to_owned()), ..AuditSearch::default() };
    assert!(numbers(none, 10).await.is_empty());
}

/// The contract of leases. `open` opens the same store each time it is called.
async fn leases(open: impl Fn() -> Box<dyn Store>) {
    let wanted = |name: &str, holder: &str, token: Option<u64>, now: i64| WantedLease {
        name: name.to_owned(),
        holder: holder.to_owned(),
        by: "ann".to_owned(),
        token,
        now: at(now),
        until: at(now + 10),
    };
    let store = open();
    let take = async |store: &dyn Store, wanted| store.take_lease(wanted, event("lease.take")).await.unwrap();
    let held = |taken: LeaseTaken| match taken {
        LeaseTaken::Held(lease) => lease,
        other => panic!("{other:?}"),
    };
    let lines = async |store: &dyn Store| store.audit(0, 1000).await.unwrap().len();

    // One of two that ask at once gets it.
    let (one, other) = (open(), open());
    let (first, second) =
        tokio::join!(take(&*one, wanted("a", "one", None, 0)), take(&*other, wanted("a", "other", None, 0)));
    let (lease, refused) = match (first, second) {
        (LeaseTaken::Held(lease), LeaseTaken::HeldByAnother(by))
        | (LeaseTaken::HeldByAnother(by), LeaseTaken::Held(lease)) => (lease, by),
        both => panic!("{both:?}"),
    };
    assert_eq!(lease, refused);
    assert_eq!((lease.since, lease.until), (at(0), at(10)));
    assert_eq!(lines(&*store).await, 1);

    // The holder renews it, by its number alone; a renewal leaves no line in the audit log.
    let renewed = held(take(&*store, wanted("a", &lease.holder, Some(lease.token), 5)).await);
    assert_eq!((renewed.token, renewed.since, renewed.until), (lease.token, at(0), at(15)));
    for (holder, token) in [("another", None), ("another", Some(lease.token)), (&lease.holder, Some(99))] {
        assert_eq!(take(&*store, wanted("a", holder, token, 6)).await, LeaseTaken::HeldByAnother(renewed.clone()));
    }
    assert_eq!(lines(&*store).await, 1);
    assert_eq!(open().leases(at(14)).await.unwrap(), std::slice::from_ref(&renewed), "it outlives the process");
    assert!(store.leases(at(15)).await.unwrap().is_empty());

    // A holder that forgot its number takes a new holding.
    let again = held(take(&*store, wanted("b", "b", None, 6)).await);
    assert!(held(take(&*store, wanted("b", "b", None, 6)).await).token > again.token);

    // After it has expired, every client may acquire it, with another token, the earlier holder as well.
    let next = held(take(&*store, wanted("a", "next", None, 15)).await);
    assert!(next.token > renewed.token);
    assert!(!store.release_lease("a", renewed.token, event("lease.release")).await.unwrap());
    assert!(store.release_lease("a", next.token, event("lease.release")).await.unwrap());
    assert!(!store.release_lease("a", next.token, event("lease.release")).await.unwrap());
    let last = held(take(&*open(), wanted("a", "next", Some(next.token), 16)).await);
    assert!(last.token > next.token, "numbers only grow");
    assert_eq!(held(take(&*store, wanted("b", "b", None, 16)).await).name, "b");
    assert_eq!(lines(&*store).await, 7);
}

/// The contract of sessions.
async fn sessions(open: impl Fn() -> Box<dyn Store>) {
    let session = |id: &str, token: &str, begun: i64, ends: i64| Session {
        id: id.to_owned(),
        subject: SessionSubject::Token(token.to_owned()),
        name: token.to_owned(),
        role: Role::Viewer,
        created_at: at(begun),
        used_at: at(begun),
        ends_at: at(ends),
        authenticated_at: None,
        passkey: None,
        admission: None,
        client: "browser".to_owned(),
        address: "127.0.0.1".to_owned(),
    };
    let hash = |id: &str| Digest::of_bytes(id.as_bytes());
    let store = open();
    let create = async |session: Session, now: i64| {
        let event = AuditEvent { at: at(now), ..event("session.create") };
        store.create_session(session.clone(), hash(&session.id), event).await.unwrap();
    };
    let lines = async || store.audit(0, 1000).await.unwrap().len();
    create(session("a", "ann", 0, 100), 0).await;
    create(session("b", "ann", 5, 50), 5).await;
    create(session("c", "bob", 10, 100), 10).await;
    assert_eq!(lines().await, 3);
    assert_eq!(open().session(&hash("a")).await.unwrap(), Some(session("a", "ann", 0, 100)), "it outlives the process");
    assert_eq!(store.session(&hash("x")).await.unwrap(), None);
    let ids = async |now: i64| -> Vec<String> {
        store.sessions(at(now)).await.unwrap().into_iter().map(|session| session.id).collect()
    };
    assert_eq!(ids(20).await, ["c", "b", "a"]);
    assert_eq!(ids(50).await, ["c", "a"]);

    // Using one is not audited, and does not move back.
    store.use_session("a", at(30)).await.unwrap();
    store.use_session("a", at(20)).await.unwrap();
    store.use_session("x", at(20)).await.unwrap();
    assert_eq!(store.session(&hash("a")).await.unwrap().unwrap().used_at, at(30));
    assert_eq!(lines().await, 3);

    // A confirmed identity gives the session another secret, and the old one is nothing any more.
    let renew = async |id: &str, hash: Digest| {
        store.renew_session(id, hash, at(31), Some("p".to_owned()), event("session.confirm")).await
    };
    let renewed = renew("c", hash("c2")).await.unwrap().unwrap();
    assert_eq!((renewed.authenticated_at, renewed.used_at), (Some(at(31)), at(31)));
    assert_eq!(renewed.passkey.as_deref(), Some("p"));
    assert_eq!(store.session(&hash("c")).await.unwrap(), None);
    assert_eq!(open().session(&hash("c2")).await.unwrap(), Some(renewed));
    assert_eq!(renew("x", hash("x2")).await.unwrap(), None);
    assert_eq!(lines().await, 4);

    // Sessions of a person of an identity provider keep what it was admitted with.
    let person = |issuer: &str| SessionSubject::Identity { issuer: issuer.to_owned(), id: "42".to_owned() };
    let admission = Admission {
        subjects: vec![Subject::of_group("https://a.example", "Mail")],
        role: Role::Bound,
        scope: Scope::default(),
        settings: hash("settings"),
    };
    let admitted = |id: &str, issuer: &str| Session {
        subject: person(issuer),
        admission: Some(admission.clone()),
        authenticated_at: Some(at(32)),
        ..session(id, "eve", 32, 40)
    };
    create(admitted("p", "https://a.example"), 32).await;
    create(admitted("q", "https://b.example"), 32).await;
    assert_eq!(open().session(&hash("p")).await.unwrap(), Some(admitted("p", "https://a.example")));
    let ended = EndedSessions::OfSubject(person("https://b.example"));
    assert_eq!(store.end_sessions(ended, event("session.end")).await.unwrap(), 1);
    assert!(store.session(&hash("p")).await.unwrap().is_some(), "the same id of another issuer");
    assert_eq!(lines().await, 7);

    // Creating one removes those that have ended.
    create(session("d", "bob", 60, 100), 60).await;
    assert_eq!(store.session(&hash("b")).await.unwrap(), None);

    let end = async |ended| store.end_sessions(ended, event("session.end")).await.unwrap();
    assert_eq!(end(EndedSessions::One("a".to_owned())).await, 1);
    assert_eq!(end(EndedSessions::One("a".to_owned())).await, 0);
    assert_eq!(end(EndedSessions::OfSubject(SessionSubject::Token("bob".to_owned()))).await, 2);
    assert_eq!(lines().await, 10, "an entry for each that ended something");
    assert_eq!(ids(0).await, [""; 0]);

    // One subject has a limited number; the one that ends first makes room.
    for number in 0..=i64::try_from(SESSIONS_PER_SUBJECT).unwrap() {
        create(session(&format!("n{number}"), "ann", 70, 200 + number), 70).await;
    }
    assert_eq!(store.sessions(at(70)).await.unwrap().len(), SESSIONS_PER_SUBJECT);
    assert_eq!(store.session(&hash("n0")).await.unwrap(), None);
    assert!(store.session(&hash("n1")).await.unwrap().is_some());
}

/// The contract of operators.
async fn operators(open: impl Fn() -> Box<dyn Store>) {
    let hash = |text: &str| Digest::of_bytes(text.as_bytes());
    let enrolment = |ends: i64| Enrolment { by: "root".to_owned(), created_at: at(0), ends_at: at(ends) };
    let operator = |id: &str, name: &str| Operator {
        id: id.to_owned(),
        name: name.to_owned(),
        role: Role::Bound,
        scope: Scope::default(),
        created_at: at(0),
        removed_at: None,
        suspended_at: None,
        enrolment: Some(enrolment(100)),
        passkeys: Vec::new(),
    };
    let passkey = |id: &str| StoredPasskey {
        info: PasskeyInfo {
            id: id.to_owned(),
            label: id.to_owned(),
            added_at: at(1),
            used_at: None,
            is_synced: false,
            enrolled_by: None,
        },
        key: Passkey {
            id: format!("credential {id}"),
            handle: "handle".to_owned(),
            public_key: "key".to_owned(),
            counter: 1,
            is_synced: false,
            transports: vec!["internal".to_owned()],
        },
    };
    let at_time = |action: &'static str, second: i64| AuditEvent { at: at(second), ..event(action) };
    let store = open();
    let lines = async || store.audit(0, 1000).await.unwrap().len();
    let create = async |id: &str, name: &str| {
        store.create_operator(operator(id, name), hash(id), event("operator.create")).await
    };
    create("a", "Ann").await.unwrap();
    create("b", "bob").await.unwrap();
    assert!(matches!(create("c", "ANN").await, Err(StoreError::OperatorNameTaken(name)) if name == "Ann"));
    assert_eq!(lines().await, 2);
    assert_eq!(store.operators().await.unwrap(), [operator("a", "Ann"), operator("b", "bob")]);
    assert_eq!(store.operator_of_enrolment(&hash("a")).await.unwrap().unwrap().operator.id, "a");
    assert_eq!(store.operator_of_enrolment(&hash("x")).await.unwrap(), None);

    // A link registers one passkey, in its time, and while no other one was made.
    let add = async |id: &str, key: &str, consumed: Option<Digest>, second: i64| {
        store.add_passkey(id, passkey(key), consumed, at_time("operator.enrol", second)).await.unwrap()
    };
    assert_eq!(add("a", "k1", Some(hash("a")), 100).await, PasskeyAdded::NoEnrolment, "it has ended");
    assert_eq!(add("a", "k1", Some(hash("b")), 5).await, PasskeyAdded::NoEnrolment, "the link of another one");
    assert_eq!(add("x", "k1", None, 5).await, PasskeyAdded::NotActive);
    assert!(matches!(add("a", "k1", Some(hash("a")), 5).await, PasskeyAdded::Added(_)));
    assert_eq!(add("a", "k2", Some(hash("a")), 6).await, PasskeyAdded::NoEnrolment, "it was used");
    assert_eq!(add("b", "k1", Some(hash("b")), 6).await, PasskeyAdded::Known, "the key of another one");
    assert_eq!(lines().await, 3);
    let opened = store.open_enrolment("a", enrolment(50), hash("a2"), event("operator.link"), None).await.unwrap();
    assert!(opened.unwrap().1.is_empty());
    let reset = NewEvent {
        kind: mailwright::model::delivery::EventKind::OperatorReset,
        at: at(2),
        message: None,
        profile: None,
        reason: "a link".to_owned(),
    };
    let again =
        store.open_enrolment("a", enrolment(60), hash("a3"), event("operator.link"), Some(reset)).await.unwrap();
    assert_eq!(again.unwrap().1.len(), 1);
    assert_eq!(add("a", "k2", Some(hash("a2")), 6).await, PasskeyAdded::NoEnrolment, "it was replaced");
    assert!(matches!(add("a", "k2", Some(hash("a3")), 6).await, PasskeyAdded::Added(_)));

    // The count rises with each use; of two answers with one count, one is accepted.
    let used = async |key: &str, counter: u32, second: i64| store.use_passkey(key, counter, at(second)).await.unwrap();
    assert_eq!(used("k1", 2, 7).await, PasskeyUsed::Used);
    assert_eq!((used("k1", 2, 8).await, used("k1", 0, 8).await), (PasskeyUsed::CountTooLow, PasskeyUsed::CountTooLow));
    // One that was removed meanwhile was not copied.
    assert_eq!(used("x", 9, 8).await, PasskeyUsed::Unknown);
    let stored = open().operator_of_passkey("k1").await.unwrap().unwrap();
    assert_eq!((stored.keys[0].key.counter, stored.operator.passkeys[0].used_at), (2, Some(at(7))));
    assert!(open().check().await.unwrap().problems.is_empty(), "a use does not change the statement");

    let remove = async |key: &str, keep_last: bool| {
        store.remove_passkey("a", key, keep_last, event("operator.remove-passkey")).await.unwrap()
    };
    assert!(matches!(remove("k1", true).await, PasskeyRemoved::Removed(_)));
    assert_eq!((remove("k1", true).await, remove("k2", true).await), (PasskeyRemoved::Unknown, PasskeyRemoved::Last));
    assert!(matches!(remove("k2", false).await, PasskeyRemoved::Removed(_)));
    assert_eq!(store.operator_of_passkey("k1").await.unwrap(), None);

    // A removal is for ever, and so is the name.
    let removed = store.remove_operator("b", at(9), event("operator.remove")).await.unwrap().unwrap();
    assert_eq!((removed.removed_at, removed.enrolment), (Some(at(9)), None));
    let again = store.remove_operator("b", at(10), event("operator.remove")).await.unwrap().unwrap();
    assert_eq!(again.removed_at, Some(at(9)));
    assert_eq!(store.remove_operator("x", at(9), event("operator.remove")).await.unwrap(), None);
    assert!(create("d", "BOB").await.is_err());
    assert_eq!(store.operator_of_enrolment(&hash("b")).await.unwrap(), None);
    assert_eq!(add("b", "k9", None, 11).await, PasskeyAdded::NotActive);
    let opened = store.open_enrolment("b", enrolment(50), hash("b2"), event("operator.link"), None).await.unwrap();
    assert_eq!(opened.unwrap().0.enrolment, None);
    assert_eq!(store.confirm_operator("a", event("operator.confirm")).await.unwrap().unwrap().suspended_at, None);
    assert!(open().check().await.unwrap().problems.is_empty());
}

/// A changeset that changes nothing.
fn changeset(base: u64) -> Changeset {
    serde_json::from_value(json!({
        "id": "018f3a2e-0000-7000-8000-00000000000a", "environment": generated::environment(), "base": base,
    }))
    .unwrap()
}

/// The contract of proposals.
async fn proposals(open: impl Fn() -> Box<dyn Store>) {
    let proposal = |id: &str, second: i64| Proposal {
        id: id.to_owned(),
        at: at(second),
        by: "ann".to_owned(),
        by_subject: "operator:1".to_owned(),
        reason: "why".to_owned(),
        summary: ChangeSummary { destroyed: 1, ..ChangeSummary::default() },
        contents: ProposedChange::Edit {
            base: 3,
            change: ProfileChange::Delete { name: "relay".parse().unwrap() },
            age_files: BTreeMap::from([(Digest::of_bytes(b"a"), "YQ==".to_owned())]),
        },
        approvals: Vec::new(),
        signatures: Vec::new(),
        reminded_at: None,
        decision: None,
    };
    let decided_at = |id: &str, second: i64, decided: i64| Proposal {
        decision: Some(Decision { at: at(decided), by: "bob".to_owned(), reason: String::new(), generation: Some(4) }),
        ..proposal(id, second)
    };
    let decided = |id: &str, second: i64| decided_at(id, second, 90);
    let store = open();
    let create = async |proposal| store.create_proposal(proposal, event("proposal.create"), Vec::new()).await.unwrap();
    let update = async |proposal| store.update_proposal(proposal, event("proposal.apply"), Vec::new()).await.unwrap();
    let ids =
        async || -> Vec<String> { store.proposals().await.unwrap().into_iter().map(|proposal| proposal.id).collect() };
    let lines = async || store.audit(0, 5000).await.unwrap().len();
    assert_eq!(create(proposal("a", 1)).await, ProposalStored::Stored(Vec::new()));
    assert_eq!(create(proposal("b", 2)).await, ProposalStored::Stored(Vec::new()));
    assert_eq!(open().proposal("a").await.unwrap(), Some(proposal("a", 1)), "it outlives the process");
    assert_eq!(store.proposal("x").await.unwrap(), None);
    assert_eq!(ids().await, ["b", "a"]);
    assert_eq!(lines().await, 2);

    // One that is open can be replaced, and is decided once.
    let changed = Proposal { reason: "better".to_owned(), ..proposal("b", 2) };
    assert_eq!(update(changed.clone()).await, ProposalStored::Stored(Vec::new()));
    assert_eq!(store.proposal("b").await.unwrap(), Some(changed));
    assert_eq!(update(decided_at("b", 2, 80)).await, ProposalStored::Stored(Vec::new()));
    assert_eq!(update(proposal("b", 2)).await, ProposalStored::NotOpen);
    assert_eq!(update(decided("x", 2)).await, ProposalStored::NotOpen);
    assert_eq!(store.proposal("b").await.unwrap(), Some(decided_at("b", 2, 80)));
    assert_eq!(ids().await, ["a", "b"], "open ones come first");
    assert_eq!(lines().await, 4, "what was refused is not in the audit log");

    // A plan of files keeps its contents, and the list is without them.
    let plan = Proposal {
        contents: ProposedChange::Files {
            changeset: Box::new(Changeset {
                changes: vec![ProfileChange::Delete { name: "relay".parse().unwrap() }],
                secrets: BTreeMap::from([(Digest::of_bytes(b"a"), "YQ==".to_owned())]),
                settings: Some(Settings::default()),
                ..changeset(3)
            }),
        },
        ..proposal("p", 3)
    };
    assert_eq!(create(plan.clone()).await, ProposalStored::Stored(Vec::new()));
    assert_eq!(store.proposal("p").await.unwrap(), Some(plan.clone()));
    let listed = store.proposals().await.unwrap().into_iter().find(|proposal| proposal.id == "p").unwrap();
    assert_eq!(listed.contents, ProposedChange::Files { changeset: Box::new(changeset(3)) });
    let mut ended = plan;
    ended.decide(Decision { at: at(91), by: "bob".to_owned(), reason: "no".to_owned(), generation: None });
    assert_eq!(update(ended).await, ProposalStored::Stored(Vec::new()));
    assert_eq!(store.proposal("p").await.unwrap().unwrap().contents, listed.contents);

    // Both kinds are bounded.
    for number in 1..OPEN_PROPOSALS {
        assert_eq!(create(proposal(&format!("n{number:03}"), 100)).await, ProposalStored::Stored(Vec::new()));
    }
    assert_eq!(create(proposal("more", 100)).await, ProposalStored::TooMany);
    assert_eq!(store.proposal("more").await.unwrap(), None);
    for number in 1..OPEN_PROPOSALS {
        assert_eq!(update(decided(&format!("n{number:03}"), 100)).await, ProposalStored::Stored(Vec::new()));
    }
    assert_eq!(update(decided_at("a", 1, 200)).await, ProposalStored::Stored(Vec::new()));
    assert_eq!(store.proposals().await.unwrap().len(), DECIDED_PROPOSALS);
    assert_eq!(ids().await.first().map(String::as_str), Some("a"), "an old proposal that was decided last");
    assert_eq!(store.proposal("b").await.unwrap(), None, "the first decision goes first");
}

#[tokio::test]
async fn sqlite_keeps_proposals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    proposals(|| Box::new(SqliteStore::open(&path, &generated::environment()).unwrap())).await;
}

#[tokio::test]
async fn sqlite_keeps_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    sessions(|| Box::new(SqliteStore::open(&path, &generated::environment()).unwrap())).await;
}

#[tokio::test]
async fn sqlite_keeps_operators() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    operators(|| Box::new(SqliteStore::open(&path, &generated::environment()).unwrap())).await;
}

#[tokio::test]
async fn sqlite_keeps_leases() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    leases(|| Box::new(SqliteStore::open(&path, &generated::environment()).unwrap())).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    conforms(|| Box::new(SqliteStore::open(&path, &generated::environment()).unwrap())).await;
}

fn raw(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn message(number: u128, to: &str) -> NewMessage {
    let lane = lane();
    let message = serde_json::json!({
        "id": uuid::Uuid::from_u128(number), "status": "queued", "company": lane.company, "function": lane.function,
        "messageId": format!("<{number}@example.com>"), "subject": "s", "size": 4,
        "recipients": [{ "address": to, "status": "waiting" }],
        "document": { "type": "invoice", "number": number.to_string() },
        "by": "sender", "owner": "sender", "acceptedAt": at(1), "generation": 1, "profile": "relay",
        "resolution": { "cell": { "company": lane.company, "function": lane.function }, "profile": "relay", "steps": [] },
        "attempts": 0, "nextAttemptAt": at(1),
    });
    NewMessage {
        message: serde_json::from_value(message).unwrap(),
        content: b"body".to_vec(),
        key: None,
        allow_duplicate: false,
    }
}

/// The outcome of one message on its own.
async fn accept(store: &dyn Store, new: NewMessage) -> SubmissionOutcome {
    let mut accepted = store.accept(vec![new]).await.unwrap();
    assert_eq!(accepted.len(), 1);
    accepted.remove(0)
}

async fn status(store: &dyn Store, id: Uuid) -> Status {
    store.message(id).await.unwrap().unwrap().status
}

fn lane() -> Lane {
    Lane { company: "EDU1".parse().unwrap(), function: "default".parse().unwrap() }
}

/// The contract of an outbox. `open` opens the same store each time it is called.
async fn delivers(open: impl Fn() -> Box<dyn Store>) {
    let store = open();
    let key = |key: &str, of: &str| IdempotencyKey { key: key.to_owned(), digest: Digest::of_bytes(of.as_bytes()) };
    let now = at(100);
    let owner = store.acquire_delivery(Uuid::from_u128(1)).await.unwrap();

    // One message a key, and one document a recipient.
    let first = || NewMessage { key: Some(key("k", "a")), ..message(1, "a@example.org") };
    assert_eq!(
        accept(&*store, first()).await,
        SubmissionOutcome::Now(serde_json::to_string(&first().message).unwrap())
    );
    assert!(matches!(accept(&*store, first()).await, SubmissionOutcome::Before(before) if before.id.as_u128() == 1));
    let other = NewMessage { key: Some(key("k", "b")), ..message(2, "a@example.org") };
    assert_eq!(accept(&*store, other).await, SubmissionOutcome::KeyReused);
    assert_eq!(store.replayed("sender", &key("k", "b")).await.unwrap(), Some(SubmissionOutcome::KeyReused));
    assert_eq!(store.replayed("another client", &key("k", "a")).await.unwrap(), None);
    let same = |again| NewMessage {
        allow_duplicate: again,
        message: mailwright::model::Message { id: uuid::Uuid::from_u128(3), ..message(1, "A@example.org").message },
        ..message(1, "a@example.org")
    };
    assert_eq!(accept(&*store, same(false)).await, SubmissionOutcome::DocumentSent(uuid::Uuid::from_u128(1)));
    assert!(matches!(accept(&*store, same(true)).await, SubmissionOutcome::Now(_)));

    // A claimed message is handed out once; a released one, again.
    let claim = store.claim(&lane(), now, 10).await.unwrap();
    assert_eq!(claim.messages.len(), 2);
    assert_eq!(claim.messages[0].content.as_deref(), Some(&b"body"[..]));
    assert!(store.claim(&lane(), now, 10).await.unwrap().messages.is_empty());
    let ids: Vec<uuid::Uuid> = claim.messages.iter().map(|claimed| claimed.message.id).collect();
    store.release(&ids).await.unwrap();
    let mut again = store.claim(&lane(), now, 1).await.unwrap().messages;
    again.extend(store.claim(&lane(), now, 1).await.unwrap().messages);
    assert_eq!(again.iter().map(|claimed| claimed.message.id).collect::<Vec<_>>(), ids, "in order");

    // A claimed message cannot be changed.
    let unchanged = |message: mailwright::model::Message| {
        Ok((Settled { message, attempt: None, events: Vec::new() }, event("message.retry")))
    };
    assert!(matches!(store.change(ids[0], false, Box::new(unchanged)).await.unwrap(), Some(Err(_))));
    assert!(store.change(uuid::Uuid::from_u128(99), false, Box::new(unchanged)).await.unwrap().is_none());

    // Begun, and then the process ends: the next start reports exactly that.
    let mut begun = again[0].message.clone();
    begun.status = Status::Sending;
    begun.next_attempt_at = None;
    let begin = Begun { message: begun.clone(), mailbox: "mailbox".to_owned(), recipients: 3, at: at(120) };
    store.begin(owner, begin).await.unwrap();
    assert_eq!(store.interrupted(owner).await.unwrap(), [], "its own attempt is under way");
    drop(store);
    let store = open();
    let owner = store.acquire_delivery(Uuid::from_u128(2)).await.unwrap();
    assert_eq!(store.interrupted(owner).await.unwrap().iter().map(|message| message.id).collect::<Vec<_>>(), [ids[0]]);
    let usage = store.usage(at(120)).await.unwrap();
    assert_eq!(
        (usage[0].mailbox.as_str(), usage[0].minute, usage[0].messages, usage[0].recipients),
        ("mailbox", at(120), 1, 3)
    );
    assert_eq!(store.usage(at(180)).await.unwrap(), []);
    let claim = store.claim(&lane(), now, 10).await.unwrap();
    assert_eq!(
        claim.messages.iter().map(|claimed| claimed.message.id).collect::<Vec<_>>(),
        [ids[1]],
        "what was not begun is simply due"
    );

    // An attempt that cannot be marked must not go on.
    let unknown = mailwright::model::Message { id: Uuid::from_u128(99), ..claim.messages[0].message.clone() };
    let begin = Begun { message: unknown, mailbox: "mailbox".to_owned(), recipients: 1, at: now };
    assert!(matches!(store.begin(owner, begin).await, Err(StoreError::Corrupt(_))));

    // Settled: the record, the attempt, the event, and when it is due again.
    let mut later = claim.messages[0].message.clone();
    later.next_attempt_at = Some(at(500));
    later.attempts = 1;
    let events = store.settle(owner, Settled { message: later, attempt: None, events: Vec::new() }).await.unwrap();
    assert!(events.is_empty());
    let claim = store.claim(&lane(), now, 10).await.unwrap();
    assert!(claim.messages.is_empty());
    assert_eq!(claim.next_due, Some(at(500)));
    let mut done = begun;
    done.status = Status::Delivered;
    done.finished_at = Some(at(130));
    let event = NewEvent {
        kind: mailwright::model::delivery::EventKind::Delivered,
        at: at(130),
        message: None,
        profile: None,
        reason: String::new(),
    };
    let events = store.settle(owner, Settled { message: done, attempt: None, events: vec![event] }).await.unwrap();
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [1]);
    assert_eq!(store.events(0, 10).await.unwrap(), events);
    let counts: std::collections::BTreeMap<_, _> = store.counts().await.unwrap().into_iter().collect();
    assert_eq!((counts[&Status::Queued], counts[&Status::Delivered]), (1, 1));
    let found = store
        .search(Search { document: Some(("invoice".to_owned(), Some("1".to_owned()))), ..Search::default() }, 10)
        .await
        .unwrap();
    assert_eq!(found.len(), 2);

    assert_eq!(store.ended_since(at(130)).await.unwrap(), [(Status::Delivered, 1)]);
    assert_eq!(store.ended_since(at(131)).await.unwrap(), []);
    // The state of a rotation is kept until it is removed, with its events.
    let rotation = |standing| Rotation {
        profile: "relay".parse().unwrap(),
        secret: "relay/password".parse().unwrap(),
        next: Digest::of_bytes(b"next"),
        of: Digest::of_bytes(b"of"),
        standing,
        since: at(130),
        reason: String::new(),
        alerted: false,
        refusals: 0,
        next_try_at: None,
    };
    let of = Digest::of_bytes(b"of");
    store.set_rotation(of.clone(), Some(rotation(Standing::Refused)), None).await.unwrap();
    let rotated = NewEvent {
        kind: mailwright::model::delivery::EventKind::Rotated,
        at: at(131),
        message: None,
        profile: Some("relay".parse().unwrap()),
        reason: "accepted".to_owned(),
    };
    let events = store.set_rotation(of.clone(), Some(rotation(Standing::Promoted)), Some(rotated)).await.unwrap();
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [2]);
    drop(store);
    let store = open();
    assert_eq!(store.rotations().await.unwrap(), [rotation(Standing::Promoted)]);
    store.set_rotation(of, None, None).await.unwrap();
    assert!(store.rotations().await.unwrap().is_empty());

    let cutoffs = |delivered, keys| PurgeCutoffs {
        delivered,
        unsent_events: delivered,
        webhooks: vec!["https://slow.example".to_owned(), "https://new.example".to_owned()],
        failed: at(-10_000),
        keys,
    };
    // A webhook that is behind keeps its events, until the time after which none are kept.
    store.set_webhook_cursor("https://slow.example", 0).await.unwrap();
    store.set_webhook_cursor("https://not-configured.example", 0).await.unwrap();
    let kept = PurgeCutoffs { unsent_events: at(-10_000), ..cutoffs(at(131), at(-10_000)) };
    let events = async |store: &dyn Store| {
        store.events(0, 10).await.unwrap().iter().map(|event| event.number).collect::<Vec<_>>()
    };
    // An old message and an old event are removed; a waiting message is kept, and so is the last event.
    assert_eq!(store.purge(kept.clone()).await.unwrap(), Purged { rows: 1, unsent_events: 0 });
    assert_eq!(events(&*store).await, [1, 2], "the webhook has received neither");
    assert_eq!(store.purge(kept).await.unwrap(), Purged::default());
    let lost = store.purge(cutoffs(at(131), at(-10_000))).await.unwrap();
    assert_eq!(lost, Purged { rows: 1, unsent_events: 1 }, "after that time, the loss is reported");
    assert_eq!(store.purge(cutoffs(at(200), at(-10_000))).await.unwrap(), Purged::default());
    assert_eq!(events(&*store).await, [2]);
    assert!(store.message(ids[0]).await.unwrap().is_none() && store.content(ids[0]).await.unwrap().is_none());
    assert!(store.message(ids[1]).await.unwrap().is_some());
    // A key lives on, with its answer, until its own time is over.
    assert!(matches!(accept(&*store, first()).await, SubmissionOutcome::Before(before) if before.id == ids[0]));
    let before = store.replayed("sender", &key("k", "a")).await.unwrap();
    assert!(matches!(before, Some(SubmissionOutcome::Before(before)) if before.status == Status::Delivered));
    assert_eq!(store.replayed("sender", &key("k", "b")).await.unwrap(), Some(SubmissionOutcome::KeyReused));
    store.purge(cutoffs(at(-10_000), Timestamp::MAX)).await.unwrap();
    assert_eq!(store.replayed("sender", &key("k", "a")).await.unwrap(), None);
}

#[tokio::test]
async fn sqlite_delivers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    delivers(|| Box::new(SqliteStore::open(&path, &generated::environment()).unwrap())).await;
}

/// A message and its attempts are read as they were at one moment, while others write.
async fn reads_a_message_with_its_attempts(store: Arc<dyn Store>) {
    const ATTEMPTS: u32 = 400;
    let owner = store.acquire_delivery(Uuid::from_u128(1)).await.unwrap();
    assert!(store.message_with_attempts(Uuid::from_u128(1)).await.unwrap().is_none());
    accept(&*store, message(1, "a@example.org")).await;
    let claimed = store.claim(&lane(), at(100), 1).await.unwrap().messages.remove(0).message;
    let id = claimed.id;
    assert_eq!(store.message_with_attempts(id).await.unwrap(), Some((claimed.clone(), Vec::new())));
    let writer = Arc::clone(&store);
    let written = tokio::spawn(async move {
        let mut message = claimed;
        for number in 1..=ATTEMPTS {
            message.status = Status::Sending;
            let begin = Begun { message: message.clone(), mailbox: "mailbox".to_owned(), recipients: 1, at: at(100) };
            writer.begin(owner, begin).await.unwrap();
            message.status = Status::Queued;
            message.attempts = number;
            let attempt = Attempt {
                number,
                at: at(100),
                milliseconds: 1,
                profile: "relay".parse().unwrap(),
                generation: 1,
                server: "server".to_owned(),
                phase: "dot".to_owned(),
                reply: "451".to_owned(),
                class: Class::Transient,
                next_attempt_at: None,
            };
            let settled = Settled { message: message.clone(), attempt: Some(attempt), events: Vec::new() };
            writer.settle(owner, settled).await.unwrap();
        }
    });
    loop {
        let is_over = written.is_finished();
        let (message, history) = store.message_with_attempts(id).await.unwrap().unwrap();
        let numbers: Vec<u32> = history.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (1..=message.attempts).collect::<Vec<_>>(), "{:?}", message.status);
        if is_over {
            assert_eq!(message.attempts, ATTEMPTS);
            break;
        }
    }
    written.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_reads_a_message_with_its_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    reads_a_message_with_its_attempts(Arc::new(SqliteStore::open(&path, &generated::environment()).unwrap())).await;
}

/// One process at a time delivers. `open` opens the same store each time it is called.
async fn has_one_owner_of_delivery(open: impl Fn() -> Box<dyn Store>) {
    let store = open();
    for number in 1..=2 {
        accept(&*store, message(number, "a@example.org")).await;
    }
    let [earlier, later] = [1, 2].map(Uuid::from_u128);
    let old = store.acquire_delivery(earlier).await.unwrap();
    assert_eq!(store.acquire_delivery(earlier).await.unwrap(), old, "the owner keeps its epoch");
    let messages = store.claim(&lane(), at(100), 10).await.unwrap().messages;
    let begun = |index: usize| {
        let mut message = messages[index].message.clone();
        (message.status, message.next_attempt_at) = (Status::Sending, None);
        Begun { message, mailbox: "mailbox".to_owned(), recipients: 1, at: at(120) }
    };
    let settled = |status: Status| {
        let mut message = messages[0].message.clone();
        (message.status, message.next_attempt_at, message.finished_at) = (status, None, Some(at(130)));
        let about = NewEvent::about(mailwright::model::delivery::EventKind::Delivered, &message, at(130));
        Settled { message, attempt: None, events: vec![about] }
    };
    store.begin(old, begun(0)).await.unwrap();

    // Another process takes over, and learns what was under way.
    let new = store.acquire_delivery(later).await.unwrap();
    assert!(new.epoch > old.epoch, "{new:?} after {old:?}");
    let interrupted = store.interrupted(new).await.unwrap();
    assert_eq!(interrupted.iter().map(|message| message.id).collect::<Vec<_>>(), [messages[0].message.id]);

    // The earlier one goes on, and changes nothing.
    let refused = |error: StoreError| {
        assert!(
            matches!(error, StoreError::NotOwner { own, current } if (own, current) == (old.epoch, new.epoch)),
            "{error}"
        );
    };
    refused(store.begin(old, begun(1)).await.unwrap_err());
    refused(store.settle(old, settled(Status::Delivered)).await.unwrap_err());
    let forged = DeliveryOwner { instance: earlier, epoch: new.epoch };
    assert!(store.begin(forged, begun(1)).await.is_err(), "the epoch alone is not enough");
    assert_eq!(status(&*store, messages[0].message.id).await, Status::Sending);
    assert_eq!(status(&*store, messages[1].message.id).await, Status::Queued);
    assert_eq!(store.usage(at(0)).await.unwrap().iter().map(|usage| usage.messages).sum::<u64>(), 1);
    assert_eq!(store.newest_event().await.unwrap(), 0);

    // The new one decides, and its own attempts are none of those that were interrupted.
    store.settle(new, settled(Status::Unknown)).await.unwrap();
    store.begin(new, begun(1)).await.unwrap();
    assert_eq!(store.interrupted(new).await.unwrap(), []);
    assert_eq!(status(&*store, messages[0].message.id).await, Status::Unknown);

    // The epoch outlives the process. The first one may come back, as another owner.
    drop(store);
    let store = open();
    let again = store.acquire_delivery(earlier).await.unwrap();
    assert!(again.epoch > new.epoch);
    assert!(store.begin(old, begun(1)).await.is_err(), "not with its old epoch");
}

#[tokio::test]
async fn sqlite_has_one_owner_of_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    has_one_owner_of_delivery(|| Box::new(SqliteStore::open(&path, &generated::environment()).unwrap())).await;
}

/// Many messages in one call have the outcomes that they would have one by one.
async fn accepts_many(store: &dyn Store) {
    let key = |of: &str| Some(IdempotencyKey { key: "k".to_owned(), digest: Digest::of_bytes(of.as_bytes()) });
    let repeated = message(1, "a@example.org");
    let same_document = NewMessage {
        message: mailwright::model::Message { id: Uuid::from_u128(5), ..message(1, "a@example.org").message },
        ..message(1, "a@example.org")
    };
    let new = vec![
        NewMessage { key: key("a"), ..message(1, "a@example.org") },
        NewMessage { key: key("a"), ..repeated },
        NewMessage { key: key("b"), ..message(3, "a@example.org") },
        same_document,
        message(4, "a@example.org"),
    ];
    let accepted = store.accept(new).await.unwrap();
    assert!(matches!(&accepted[0], SubmissionOutcome::Now(_)));
    assert!(matches!(&accepted[1], SubmissionOutcome::Before(before) if before.id == Uuid::from_u128(1)), "by its key");
    assert_eq!(accepted[2..4], [SubmissionOutcome::KeyReused, SubmissionOutcome::DocumentSent(Uuid::from_u128(1))]);
    assert!(matches!(&accepted[4], SubmissionOutcome::Now(_)), "those before it do not matter");
    let ids = |found: Vec<(u64, mailwright::model::Message)>| {
        found.iter().map(|(_, message)| message.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(ids(store.search(Search::default(), 10).await.unwrap()), [4, 1], "newest first");
    assert_eq!(store.count(Search::default(), 10).await.unwrap(), 2);
    assert_eq!(store.count(Search::default(), 1).await.unwrap(), 1, "no further than the limit");
    let with = |text: &str| Search { text: Some(text.to_owned()), ..Search::default() };
    for (text, found) in [
        ("EXAMPLE.ORG", 2),
        ("@example.com>", 2),
        ("<4@", 1),
        ("S", 2),
        ("4", 1),
        ("%", 0),
        ("\"", 0),
        ("no such text", 0),
    ] {
        assert_eq!(store.search(with(text), 10).await.unwrap().len(), found, "{text}");
        assert_eq!(store.count(with(text), 10).await.unwrap(), found as u64, "{text}");
    }
    let queued = Search { status: Some(Status::Queued), before: Some(1), ..Search::default() };
    assert_eq!(store.count(queued, 10).await.unwrap(), 0);
    assert_eq!(store.accept(Vec::new()).await.unwrap(), []);

    // All or none: the id of the second one is taken.
    let failed = store
        .accept(vec![message(6, "b@example.org"), NewMessage { allow_duplicate: true, ..message(4, "b@example.org") }])
        .await;
    assert!(failed.is_err());
    assert!(store.message(Uuid::from_u128(6)).await.unwrap().is_none());
}

#[tokio::test]
async fn sqlite_accepts_many() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.sqlite"), &generated::environment()).unwrap();
    accepts_many(&store).await;
}

#[tokio::test]
async fn sqlite_is_migrated_from_an_older_version_and_refuses_a_newer_or_foreign_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    SqliteStore::make_old(&path, 1).unwrap();
    let store = SqliteStore::open(&path, &generated::environment()).unwrap();
    store.probe().await.unwrap();
    drop(store);
    let other = SqliteStore::open(&path, &"other".parse().unwrap()).map(drop);
    assert!(matches!(other, Err(StoreError::OtherEnvironment { .. })), "{other:?}");
    raw(&path, "INSERT INTO schema_version VALUES (99, 'sha256:x')");
    let newer = SqliteStore::open(&path, &generated::environment()).map(drop);
    assert!(matches!(newer, Err(StoreError::Newer { found: 99, known: 18 })), "{newer:?}");
    raw(
        &path,
        "DELETE FROM schema_version WHERE version = 99; UPDATE schema_version SET digest = 'sha256:y' WHERE version = 2",
    );
    assert!(matches!(SqliteStore::open(&path, &generated::environment()).map(drop), Err(StoreError::Corrupt(_))));
}

#[tokio::test]
async fn a_change_past_the_service_breaks_the_audit_chain() {
    use crate::support::repository::TestRepository;
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let head =
        repo.run(&["audit", "verify", "dev", "--format", "json"]).code(0).json()["head"].as_str().unwrap().to_owned();
    repo.patch("relay", &json!({ "description": "x" }));
    repo.run(&["audit", "verify", "dev", "--expect-head", &head]).code(0);
    repo.kill();
    let data = repo.path(".data").to_str().unwrap().to_owned();
    repo.run(&["audit", "verify", "dev", "--data", &data, "--expect-head", &head]).code(0);
    let verify = |sql: &str| {
        raw(&repo.path(".data/store.sqlite"), sql);
        let output = repo.run(&["audit", "verify", "dev", "--data", &data, "--expect-head", &head]).code(1);
        assert!(output.stderr.contains("MW0240"), "{}", output.stderr);
        output.stderr
    };
    raw(&repo.path(".data/store.sqlite"), "CREATE TABLE kept AS SELECT * FROM audit");
    assert!(verify("DELETE FROM audit WHERE sequence > 1").contains("cut off"));
    assert!(
        verify("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept WHERE sequence <> 2")
            .contains("entry 3 comes after entry 1")
    );
    assert!(
        verify(
            "DELETE FROM audit; INSERT INTO audit SELECT sequence, replace(entry, 'first-admin', 'mallory') FROM kept"
        )
        .contains("does not have the hash")
    );
}

/// A service with a few generations, a revoked token and an approval rule, stopped; and the head of its log.
fn stopped() -> (crate::support::repository::TestRepository, String) {
    use crate::support::repository::TestRepository;
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let made = repo.run(&["token", "create", "dev", "--name", "x", "--role", "viewer", "--format", "json"]).code(0);
    repo.run(&["token", "revoke", "dev", made.json()["id"].as_str().unwrap()]).code(0);
    repo.run(&["token", "create", "dev", "--name", "y", "--role", "viewer"]).code(0);
    repo.patch("relay", &json!({ "description": "x" }));
    repo.run(&["audit", "verify", "dev"]).code(0);
    // `store.position` is written twice a second.
    std::thread::sleep(std::time::Duration::from_secs(1));
    repo.kill();
    let data = repo.path(".data").to_str().unwrap().to_owned();
    (repo, data)
}

#[test]
fn a_change_of_any_table_past_the_service_is_reported() {
    for (sql, wanted) in [
        ("UPDATE profile SET state = replace(state, 'smtp.example.com', 'evil.example.com')", "profile `relay`"),
        (
            "UPDATE profile SET state = replace(state, 'smtp.example.com', 'evil.example.com'), digest = NULL",
            "profiles or settings",
        ),
        ("DELETE FROM profile", "profiles or settings"),
        ("INSERT INTO profile (name, state) SELECT 'other', state FROM profile", "profiles or settings"),
        (
            "UPDATE profile_history SET live = replace(live, 'smtp.example', 'evil.example') WHERE generation = 1",
            "generation 1",
        ),
        (
            "UPDATE profile_history SET live = replace(live, 'smtp.example', 'evil.example') WHERE generation = 2",
            "generation 2",
        ),
        ("DELETE FROM profile_history WHERE generation = 1", "generation 1"),
        (
            "UPDATE generation SET document = replace(document, 'first-admin', 'mallory') WHERE number = 1",
            "generation 1",
        ),
        ("UPDATE generation SET settings = replace(settings, 'EDU1', 'EDU2') WHERE number = 2", "generation 2"),
        ("UPDATE store SET value = replace(value, 'EDU1', 'EDU2') WHERE key = 'settings'", "profiles or settings"),
        (
            "UPDATE store SET value = replace(value, 'EDU1', 'EDU2') WHERE key = 'appliedSettings'",
            "profiles or settings",
        ),
        ("UPDATE token SET document = replace(document, 'viewer', 'admin')", "the tokens"),
        ("UPDATE token SET hash = 'sha256:' || substr(hash, 8, 32) || substr(hash, 8, 32)", "the tokens"),
        ("UPDATE token SET document = json_remove(document, '$.revokedAt')", "was revoked by entry"),
        ("DELETE FROM token", "the tokens"),
    ] {
        let (mut repo, data) = stopped();
        let store = repo.path(".data/store.sqlite");
        raw(&store, "PRAGMA foreign_keys = off");
        let before = std::fs::read(&store).unwrap();
        raw(&store, sql);
        let output = repo.run(&["audit", "verify", "dev", "--data", &data]).code(1);
        assert!(output.stderr.contains("MW0240") && output.stderr.contains(wanted), "{sql}: {}", output.stderr);
        // The service says it as well: in its log, to monitors, in its audit log, and to clients.
        if sql.contains("revokedAt") {
            // A token that was revoked stays revoked, whatever the table says.
            repo.serve();
            let list = repo.run(&["audit", "list", "dev"]).code(0).stdout;
            assert!(list.contains("store.altered") && list.matches("token.revoke").count() == 2, "{list}");
        }
        if sql.starts_with("UPDATE profile SET") {
            repo.serve();
            let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
            let ready = || repo.http_without_token("GET", "/readyz", &[], b"").body;
            while !ready().contains("differences") {
                assert!(std::time::Instant::now() < until, "{sql}: {}", ready());
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            assert!(repo.service.as_ref().unwrap().log.lock().unwrap().contains("changed by another program"));
            assert!(repo.run(&["audit", "list", "dev"]).code(0).stdout.contains("store.altered"));
            assert!(repo.run(&["audit", "verify", "dev"]).code(1).stderr.contains(wanted), "{sql}");
        }
        drop(before);
    }
}

/// A copy of the data folder of a stopped service, to be changed. Gives its folder and its database.
fn copied(
    repo: &crate::support::repository::TestRepository,
    with_position: bool,
) -> (tempfile::TempDir, std::path::PathBuf) {
    let copy = tempfile::tempdir().unwrap();
    for file in ["store.sqlite", "store.sqlite-wal", "store.position"] {
        if with_position || file != "store.position" {
            drop(std::fs::copy(repo.path(&format!(".data/{file}")), copy.path().join(file)));
        }
    }
    let store = copy.path().join("store.sqlite");
    (copy, store)
}

/// Lowers the noted head to what is in the log.
const HEAD_AS_IN_LOG: &str = "UPDATE store SET value = (SELECT json_object('sequence', sequence, 'hash', \
     json_extract(entry, '$.hash')) FROM audit ORDER BY sequence DESC LIMIT 1) WHERE key = 'auditHead'";

#[test]
fn entries_generations_and_tokens_that_were_deleted_are_reported() {
    let (repo, data) = stopped();
    let verify = |data: &str| repo.run(&["audit", "verify", "dev", "--data", data]);
    verify(&data).code(0);
    let emptied = "DELETE FROM audit; DELETE FROM store WHERE key IN ('auditHead', 'statedBy')";
    let rows = "DELETE FROM audit; DELETE FROM profile_history; DELETE FROM secret; DELETE FROM generation; \
                DELETE FROM profile; DELETE FROM token";
    let shorter = format!("DELETE FROM audit WHERE sequence > 3; {HEAD_AS_IN_LOG}");
    // With `store.position` next to the database, and without it.
    for (sql, with_position, without) in [
        ("DELETE FROM audit", "entries 1 to 6 of the audit log are missing", "entries 1 to 6"),
        ("DELETE FROM audit WHERE sequence = 6", "entry 6, the newest of the audit log, is missing", "entry 6"),
        ("DELETE FROM audit WHERE sequence > 3", "entries 4 to 6 of the audit log are missing", "entries 4 to 6"),
        ("DELETE FROM audit WHERE sequence = 4", "entry 5 comes after entry 3", "entry 5 comes after entry 3"),
        ("DELETE FROM audit WHERE sequence < 6", "entry 6 comes after entry 0", "entry 6 comes after entry 0"),
        (
            emptied,
            "entries 1 to 6 of the audit log are missing",
            "records generation 1, 2; no entry of the audit log records token",
        ),
        (&shorter, "entries 4 to 6 of the audit log are missing", "records generation 2"),
        (
            "DELETE FROM store WHERE key = 'auditHead'",
            "the newest entry of the audit log is missing",
            "the newest entry",
        ),
        (rows, "entries 1 to 6 of the audit log are missing", "entries 1 to 6"),
        (&format!("{rows}; DELETE FROM store WHERE key <> 'environment'"), "entries 1 to 6", ""),
        ("DELETE FROM generation WHERE number = 2", "generation 2 is stated, and 1 is there", "generation 2 is stated"),
        ("DELETE FROM generation WHERE number = 1", "generation 1 in the history", "generation 1 in the history"),
        ("DELETE FROM generation", "generation 2 is stated, and 0 is there", "generation 2 is stated"),
        ("DELETE FROM token", "the tokens are not those", "the tokens are not those"),
        ("DELETE FROM token WHERE rowid = (SELECT max(rowid) FROM token)", "the tokens are not", "the tokens are not"),
        ("DELETE FROM token WHERE document LIKE '%revokedAt%'", "the tokens are not", "the tokens are not"),
    ] {
        for (is_there, wanted) in [(true, with_position), (false, without)] {
            let (folder, store) = copied(&repo, is_there);
            raw(&store, &format!("PRAGMA foreign_keys = off; {sql}"));
            let output = verify(folder.path().to_str().unwrap());
            if wanted.is_empty() {
                // Nothing is left that an entry would have to record.
                output.code(0);
                continue;
            }
            assert!(output.code == 1 && output.stderr.contains("MW0240"), "{sql}: {} {}", output.stdout, output.stderr);
            assert!(output.stderr.contains(wanted), "{sql}, {is_there}: {}", output.stderr);
        }
    }
}

#[test]
fn a_service_whose_log_was_shortened_says_so() {
    let (mut repo, _) = stopped();
    repo.serve();
    let store = repo.path(".data/store.sqlite");
    // While it runs: the next entry says so first, and its number leaves the gap.
    raw(&store, "DELETE FROM audit");
    repo.run(&["token", "create", "dev", "--name", "z", "--role", "viewer"]).code(0);
    let listed = || repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).json()["entries"].clone();
    let found = listed();
    assert_eq!((&found[0]["sequence"], &found[0]["action"]), (&json!(7), &json!("store.altered")), "{found}");
    assert!(found[0]["detail"]["why"].as_str().unwrap().contains("entries 1 to 6"), "{found}");
    assert_eq!(found[1]["action"], "token.create");
    let output = repo.run(&["audit", "verify", "dev"]).code(1);
    assert!(output.stderr.contains("entry 7 comes after entry 0"), "{}", output.stderr);
    for sql in ["DELETE FROM audit", "DELETE FROM audit; DELETE FROM store WHERE key IN ('auditHead', 'statedBy')"] {
        // The file is written twice a second.
        std::thread::sleep(std::time::Duration::from_secs(1));
        repo.kill();
        raw(&store, sql);
        repo.serve();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
        let ready = || repo.http_without_token("GET", "/readyz", &[], b"").body;
        while !ready().contains("differences") {
            assert!(std::time::Instant::now() < until, "{sql}: {}", ready());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(repo.service.as_ref().unwrap().log.lock().unwrap().contains("of the audit log are missing"), "{sql}");
        assert!(repo.run(&["audit", "list", "dev"]).code(0).stdout.contains("store.altered"), "{sql}");
        repo.run(&["audit", "verify", "dev"]).code(1);
    }
}

#[test]
fn what_the_migrations_did_not_make_is_refused() {
    let (mut repo, _) = stopped();
    let verify = |data: &str| repo.run(&["audit", "verify", "dev", "--data", data]).code(1).stderr;
    let trigger = "CREATE TRIGGER x AFTER INSERT ON token BEGIN INSERT INTO token SELECT 'evil', document, hash, \
                   created_at FROM token LIMIT 1; END";
    for (sql, wanted) in [
        (trigger, "trigger `x`"),
        ("CREATE VIEW v AS SELECT * FROM token", "view `v`"),
        ("CREATE TABLE t (a)", "table `t`"),
        ("DROP INDEX event_at", "index `event_at`"),
        ("DROP INDEX event_at; CREATE INDEX event_at ON event (number)", "`event_at` of the database was changed"),
    ] {
        let (folder, store) = copied(&repo, true);
        raw(&store, sql);
        let said = verify(folder.path().to_str().unwrap());
        assert!(said.contains("MW0240") && said.contains(wanted), "{sql}: {said}");
        let refused = SqliteStore::open(&store, &"dev".parse().unwrap()).map(drop);
        assert!(matches!(&refused, Err(StoreError::Corrupt(why)) if why.contains(wanted)), "{sql}: {refused:?}");
    }
    // A service does not start on it, and the remedy is not about permissions.
    raw(&repo.path(".data/store.sqlite"), trigger);
    let serve = ["serve", "--environment", "dev", "--data", ".data", "--demo", "--listen", "127.0.0.1:0"];
    let refused = repo.run(&serve).code(1).stderr;
    raw(&repo.path(".data/store.sqlite"), "DROP TRIGGER x");
    assert!(refused.contains("trigger `x`") && refused.contains("mailwright restore"), "{refused}");
    assert!(!refused.contains("permissions"), "{refused}");
    // One that is added while the service runs does nothing, and is reported.
    repo.serve();
    raw(&repo.path(".data/store.sqlite"), trigger);
    repo.run(&["token", "create", "dev", "--name", "z", "--role", "viewer"]).code(0);
    let tokens = repo.run(&["token", "list", "dev", "--format", "json"]).code(0).stdout;
    assert!(tokens.contains("\"z\"") && !tokens.contains("evil"), "{tokens}");
    assert!(repo.run(&["audit", "verify", "dev"]).code(1).stderr.contains("trigger `x`"));
}

#[tokio::test]
async fn a_position_of_an_older_version_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let open = || SqliteStore::open(&path, &generated::environment()).unwrap();
    let store = open();
    store.record(event("access")).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let file = path.with_extension("position");
    let text = std::fs::read_to_string(&file).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = format!("mailwright 1 {} {}", words[2], words[3]);
    let line = format!("{line} {}\n", Digest::of_bytes(line.as_bytes()));
    std::fs::write(&file, format!("{line:160}{line:160}")).unwrap();
    let store = open();
    assert_eq!(store.settle_restore(at(1)).await.unwrap(), None);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("mailwright 2 "));
    assert!(store.check().await.unwrap().problems.is_empty());
}

#[test]
fn a_change_that_a_later_commit_covers_is_recorded() {
    let (mut repo, data) = stopped();
    repo.serve();
    // While the service runs, with a digest: the next change is made on it, and says so before it.
    raw(
        &repo.path(".data/store.sqlite"),
        "UPDATE profile SET state = replace(state, 'smtp.example.com', 'evil.example.com'), digest = zeroblob(32)",
    );
    repo.run(&["token", "create", "dev", "--name", "z", "--role", "viewer"]).code(0);
    let listed = repo.run(&["audit", "list", "dev"]).code(0).stdout;
    assert!(listed.contains("store.altered"), "{listed}");
    repo.kill();
    let output = repo.run(&["audit", "verify", "dev", "--data", &data]).code(1);
    assert!(output.stderr.contains("live otherwise than the history says"), "{}", output.stderr);
}

#[test]
fn the_audit_log_is_read_without_a_trace() {
    let (mut repo, data) = stopped();
    let files = |repo: &crate::support::repository::TestRepository| {
        let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(repo.path(".data"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    // Changes in the write-ahead log of a killed service count; a copy without it is read as it is.
    repo.run(&["audit", "verify", "dev", "--data", &data]).code(0);
    raw(&repo.path(".data/store.sqlite"), "PRAGMA wal_checkpoint(TRUNCATE)");
    let before = files(&repo);
    repo.run(&["audit", "verify", "dev", "--data", &data]).code(0);
    assert_eq!(files(&repo), before, "nothing was written, and no file was made");
    // An older version is not brought up to date, and its chain is checked all the same.
    let old = tempfile::tempdir().unwrap();
    let path = old.path().join("store.sqlite");
    SqliteStore::make_old(&path, 8).unwrap();
    raw(&path, "INSERT INTO store VALUES ('environment', '\"dev\"'); PRAGMA wal_checkpoint(TRUNCATE)");
    let before = std::fs::read(&path).unwrap();
    let output = repo.run(&["audit", "verify", "dev", "--data", old.path().to_str().unwrap()]).code(0);
    assert!(output.stdout.contains("0 entries"), "{}", output.stdout);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // Next to a running service.
    repo.serve();
    repo.run(&["audit", "verify", "dev", "--data", &data]).code(0);
}

/// Returns the ids of the messages that a search finds, the newest first; and compares the count with them.
async fn found(store: &dyn Store, search: Search) -> Vec<u128> {
    let found = store.search(search.clone(), 100).await.unwrap();
    assert_eq!(store.count(search.clone(), 100).await.unwrap(), found.len() as u64, "{search:?}");
    found.into_iter().map(|(_, message)| message.id.as_u128()).collect()
}

/// A search finds what it should, whichever conditions are combined; also messages that a store of an older version accepted.
#[tokio::test]
async fn a_search_finds_the_same_in_an_older_store() {
    let messages = || {
        let mut messages: Vec<NewMessage> =
            (1..=4).map(|number| message(number, &format!("Ann{number}@Branch.example.org"))).collect();
        let change = |new: &mut NewMessage, change: &dyn Fn(&mut mailwright::model::Message)| change(&mut new.message);
        change(&mut messages[1], &|message| message.subject = "ÄPFEL und % of_all! \"Birnen\"".to_owned());
        change(&mut messages[2], &|message| {
            message.owner = "other".to_owned();
            message.accepted_at = at(50);
            message.profile = "second".parse().unwrap();
        });
        change(&mut messages[3], &|message| message.company = "EDU2".parse().unwrap());
        messages
    };
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = (folder.path().join("new.sqlite"), folder.path().join("old.sqlite"));
    let fresh = SqliteStore::open(&new, &generated::environment()).unwrap();
    for message in messages() {
        accept(&fresh, message).await;
    }
    // As the version before wrote them.
    SqliteStore::make_old(&old, 16).unwrap();
    raw(&old, "INSERT INTO lane (id, company, function) VALUES (1, 'EDU1', 'default'), (2, 'EDU2', 'default')");
    for NewMessage { message, .. } in messages() {
        let lane = if message.company.as_str() == "EDU1" { 1 } else { 2 };
        let record = serde_json::to_string(&message).unwrap().replace('\'', "''");
        let document = message.document.as_ref().unwrap();
        raw(
            &old,
            &format!(
                "INSERT INTO message (id, lane, status, due, paused_before, message_id, document_type, document_number, record)
                 VALUES ('{}', {lane}, 'queued', 1000, 0, '{}', '{}', '{}', '{record}')",
                message.id, message.message_id, document.kind, document.number,
            ),
        );
    }
    let summary = json!({ "of": Digest::of_bytes(b"x"), "at": "2026-11-23T12:00:00.123456789Z", "reached": "anonymous", "errors": 0,
        "warnings": 0, "unknown": 0, "passed": 1 });
    raw(&old, &format!("INSERT INTO verification (name, summary, document) VALUES ('relay', '{summary}', '{{}}')"));
    let migrated = SqliteStore::open(&old, &generated::environment()).unwrap();
    let (fresh, migrated): (&dyn Store, &dyn Store) = (&fresh, &migrated);
    let last = migrated.last_verified().await.unwrap();
    assert_eq!((last.len(), last.values().next().unwrap().of.clone()), (1, Digest::of_bytes(b"x")));
    assert!(migrated.planned_verified().await.unwrap().is_empty());
    let (name, result) = last.first_key_value().unwrap();
    assert_eq!(migrated.last_verified_of(name).await.unwrap().as_ref(), Some(result));
    assert!(migrated.last_verified_of(&"unknown-name".parse().unwrap()).await.unwrap().is_none());

    let text = |text: &str| Search { text: Some(text.to_owned()), ..Search::default() };
    let company: mailwright::model::CompanyId = "EDU2".parse().unwrap();
    let lanes = |company: &str| vec![Lane { company: company.parse().unwrap(), function: "default".parse().unwrap() }];
    let searches: Vec<(Search, &[u128])> = vec![
        (text("ANN3@branch"), &[3]),
        (text("branch.EXAMPLE"), &[4, 3, 2, 1]),
        (text("birnen\""), &[2]),
        (text("% of_all!"), &[2]),
        (text("ÄPFEL"), &[2]),
        (text("n_w"), &[]),
        (text("4"), &[4]),
        (text("org\n"), &[]),
        (text("nowhere"), &[]),
        (Search { recipient: Some("ann1@BRANCH.example.org".to_owned()), ..Search::default() }, &[1]),
        (Search { recipient: Some("nn1@branch.example.org".to_owned()), ..Search::default() }, &[]),
        (Search { owner: Some("other".to_owned()), ..Search::default() }, &[3]),
        (Search { since: Some(at(50)), ..Search::default() }, &[3]),
        (Search { until: Some(at(50)), ..Search::default() }, &[4, 2, 1]),
        (Search { company: Some(company.clone()), ..Search::default() }, &[4]),
        (Search { company: Some(company.clone()), status: Some(Status::Queued), ..Search::default() }, &[4]),
        (Search { company: Some(company.clone()), status: Some(Status::Failed), ..Search::default() }, &[]),
        (Search { status: Some(Status::Queued), ..text("ann2") }, &[2]),
        (Search { status: Some(Status::Failed), ..text("ann2") }, &[]),
        (Search { before: Some(3), ..text("branch") }, &[2, 1]),
        (Search { company: Some(company), ..text("ann") }, &[4]),
        // Queued mail goes by the lanes that a profile sends now, whatever was chosen at its acceptance.
        (Search { profile: Some(("second".parse().unwrap(), Vec::new())), ..Search::default() }, &[]),
        (Search { profile: Some(("second".parse().unwrap(), lanes("EDU2"))), ..Search::default() }, &[4]),
        (Search { lanes: Some(lanes("EDU2")), status: Some(Status::Queued), ..Search::default() }, &[4]),
        (Search { id_prefix: Some(Uuid::from_u128(2).to_string()), ..text("birnen") }, &[2]),
        (Search { id_prefix: Some(Uuid::from_u128(1).to_string()), ..text("birnen") }, &[]),
    ];
    for (search, expected) in searches {
        for (name, store) in [("new", fresh), ("old", migrated)] {
            assert_eq!(found(store, search.clone()).await, expected, "{name}: {search:?}");
        }
    }
}

#[tokio::test]
async fn a_document_with_many_messages_costs_one_look_a_recipient() {
    use mailwright::store::outbox::Messages as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let store = SqliteStore::open(&path, &generated::environment()).unwrap();
    let of_one = |number: u128, to: &str, again| NewMessage {
        allow_duplicate: again,
        message: mailwright::model::Message {
            id: Uuid::from_u128(number),
            document: message(7, to).message.document,
            ..message(number, to).message
        },
        ..message(number, to)
    };
    for number in 1..=300 {
        let taken = accept(&store, of_one(number, &format!("c{number}@example.org"), false)).await;
        assert!(matches!(taken, SubmissionOutcome::Now(_)), "another recipient");
    }
    let refused = accept(&store, of_one(900, "C17@example.org", false)).await;
    assert_eq!(refused, SubmissionOutcome::DocumentSent(Uuid::from_u128(17)));
    // A message that failed for the recipient does not count; sent again, it counts once more.
    let change = |status: Status, recipient: &'static str| {
        let change = move |mut message: mailwright::model::Message| {
            message.status = status;
            message.recipients[0].status = serde_json::from_value(json!(recipient)).unwrap();
            Ok((Settled { message, attempt: None, events: Vec::new() }, event("message.replay")))
        };
        store.change(Uuid::from_u128(17), false, Box::new(change))
    };
    change(Status::Failed, "failed").await.unwrap().unwrap().unwrap();
    assert!(matches!(accept(&store, of_one(901, "c17@example.org", false)).await, SubmissionOutcome::Now(_)));
    change(Status::Queued, "waiting").await.unwrap().unwrap().unwrap();
    assert!(matches!(accept(&store, of_one(902, "c17@example.org", false)).await, SubmissionOutcome::DocumentSent(_)));
    let steps: Vec<String> = rusqlite::Connection::open(&path)
        .unwrap()
        .prepare("EXPLAIN QUERY PLAN SELECT message FROM document_recipient WHERE document_type = 'a' AND document_number = 'b' AND company = 'c' AND address = 'd' ORDER BY message DESC LIMIT 1")
        .unwrap()
        .query_map([], |row| row.get(3))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(steps.len() == 1 && steps[0].starts_with("SEARCH"), "{steps:?}");
}

#[tokio::test]
async fn a_store_of_an_older_version_is_not_a_restored_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    SqliteStore::make_old(&path, 8).unwrap();
    let name = serde_json::to_string(&generated::environment()).unwrap();
    raw(&path, &format!("INSERT INTO store VALUES ('environment', '{name}')"));
    for _ in 0..3 {
        let store = SqliteStore::open(&path, &generated::environment()).unwrap();
        assert_eq!(store.settle_restore(at(1)).await.unwrap(), None);
        store.probe().await.unwrap();
    }
    // The older version's database in the place of the newer one is.
    let store = SqliteStore::open(&path, &generated::environment()).unwrap();
    store.record(event("access")).await.unwrap();
    drop(store);
    std::thread::sleep(std::time::Duration::from_millis(700));
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(folder.path().join(format!("store.sqlite{suffix}"))));
    }
    SqliteStore::make_old(&path, 8).unwrap();
    raw(&path, &format!("INSERT INTO store VALUES ('environment', '{name}')"));
    let store = SqliteStore::open(&path, &generated::environment()).unwrap();
    assert!(store.settle_restore(at(2)).await.unwrap().is_some());
    assert!(store.confirm_restore(event("store.restore-confirmed")).await.unwrap());
    assert!(!store.confirm_restore(event("store.restore-confirmed")).await.unwrap());
    assert_eq!(store.settle_restore(at(3)).await.unwrap(), None);
    assert!(store.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn after_a_restore_the_earlier_owner_settles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let store = SqliteStore::open(&path, &generated::environment()).unwrap();
    accept(&store, message(1, "a@example.org")).await;
    let old = store.acquire_delivery(Uuid::from_u128(1)).await.unwrap();
    let claimed = store.claim(&lane(), at(100), 10).await.unwrap().messages.remove(0);
    let mut sending = claimed.message.clone();
    (sending.status, sending.next_attempt_at) = (Status::Sending, None);
    let begun = Begun { message: sending, mailbox: "mailbox".to_owned(), recipients: 1, at: at(120) };
    store.begin(old, begun.clone()).await.unwrap();
    drop(store);

    let store = SqliteStore::open_restored(&path, &generated::environment()).unwrap();
    assert_eq!(store.settle_restore(at(200)).await.unwrap().unwrap().messages, 1);
    // No process has acquired delivery yet. The one before the restore is refused all the same.
    let mut message = claimed.message.clone();
    (message.status, message.next_attempt_at, message.finished_at) = (Status::Delivered, None, Some(at(210)));
    let late = store.settle(old, Settled { message, attempt: None, events: Vec::new() }).await;
    assert!(matches!(late, Err(StoreError::NotOwner { own, current }) if current > own), "{late:?}");
    assert!(store.begin(old, begun).await.is_err());
    assert_eq!(status(&store, claimed.message.id).await, Status::Unknown);
    let new = store.acquire_delivery(Uuid::from_u128(2)).await.unwrap();
    assert!(new.epoch > old.epoch, "{new:?} after {old:?}");
    assert_eq!(store.interrupted(new).await.unwrap(), [], "it is settled already");
}

#[tokio::test]
async fn a_release_that_fails_ends_no_claim() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let store = SqliteStore::open(&path, &generated::environment()).unwrap();
    accept(&store, message(1, "a@example.org")).await;
    let id = store.claim(&lane(), at(100), 10).await.unwrap().messages[0].message.id;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.release(&[id]).await.unwrap_err();
    other.execute_batch("ROLLBACK").unwrap();
    // Its worker tries again to release it. Until then no other worker gets it.
    assert!(store.claim(&lane(), at(100), 10).await.unwrap().messages.is_empty());
    store.release(&[id]).await.unwrap();
    assert_eq!(store.claim(&lane(), at(100), 10).await.unwrap().messages.len(), 1);
}
