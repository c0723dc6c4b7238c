//! Conditions of approval rules on fields and values: no change escapes a rule by several steps, by another way to the same
//! state, or by another spelling.

use std::collections::{BTreeMap, BTreeSet};

use mailwright::{
    changes::{approval_needs::find_needs, revert_changes},
    config::SCHEMAS,
    model::{
        ChangeKind, ChangeRecord, CompanyId, ProfileChange, ProfileName, Settings, State, StoredProfile,
        access::FieldPattern,
        approvals::{ApprovalRule, FieldCondition},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

type Profiles = BTreeMap<ProfileName, StoredProfile>;

fn record(generation: u64) -> ChangeRecord {
    ChangeRecord { generation, at: jiff::Timestamp::UNIX_EPOCH, by: "ann".to_owned(), kind: ChangeKind::Apply }
}

fn rule(document: Value) -> ApprovalRule {
    serde_json::from_value(document).unwrap()
}

fn settings(companies: &[&str], rule: &ApprovalRule) -> Settings {
    let companies: Vec<CompanyId> = companies.iter().map(|company| company.parse().unwrap()).collect();
    serde_json::from_value(json!({
        "companies": companies,
        "policy": { "approvals": { "signers": [{ "name": "ann", "operator": "ann" }], "rules": [rule] } },
    }))
    .unwrap()
}

fn state(settings: &Settings, profiles: &Profiles) -> State {
    let mut state = State::empty("dev".parse().unwrap());
    let create = |(name, profile): (&ProfileName, &StoredProfile)| ProfileChange::Create {
        name: name.clone(),
        profile: profile.clone(),
    };
    let changes: Vec<ProfileChange> = profiles.iter().map(create).collect();
    state.change(Some(settings), &changes, &record(1)).unwrap();
    state
}

fn change(before: &State, settings: Option<&Settings>, changes: &[ProfileChange]) -> State {
    let mut after = before.clone();
    after.change(settings, changes, &record(before.generation + 1)).unwrap();
    after
}

/// Returns the reasons why a step needs the approval, and the state after it.
fn step(before: &State, settings: &Settings, profiles: &Profiles) -> (Vec<String>, State) {
    let changes = revert_changes(before, profiles);
    let settings = Some(settings).filter(|settings| **settings != before.settings);
    let after = change(before, settings, &changes);
    let needs = find_needs(before, &after, &changes);
    (needs.into_iter().next().map(|need| need.because).unwrap_or_default(), after)
}

fn smtp(host: &str, functions: &[&str], enabled: bool) -> StoredProfile {
    serde_json::from_value(json!({ "profile": {
        "enabled": enabled,
        "provider": { "smtp": { "host": host, "port": 587 } },
        "from": { "address": "erp@contoso.example" },
        "functions": functions,
        "appliesTo": "system-wide",
    } }))
    .unwrap()
}

fn profiles(all: &[(&str, StoredProfile)]) -> Profiles {
    all.iter().map(|(name, stored)| (name.parse().unwrap(), stored.clone())).collect()
}

/// The reasons of each step from the first set of profiles over the others.
fn walk(rule: &ApprovalRule, steps: &[Profiles]) -> Vec<Vec<String>> {
    let settings = settings(&["EDU1"], rule);
    let mut now = state(&settings, &steps[0]);
    let mut reasons = Vec::new();
    for profiles in &steps[1..] {
        let (because, after) = step(&now, &settings, profiles);
        reasons.push(because);
        now = after;
    }
    reasons
}

const GOOD: &str = "smtp.contoso.example";
const EVIL: &str = "smtp.evil.example";

#[test]
fn a_rule_matches_its_fields_and_no_others() {
    let rule = rule(json!({ "count": 1, "when": { "fields": ["provider.smtp.host", "from.*"] } }));
    let relay = |host: &str| profiles(&[("relay", smtp(host, &["default"], true))]);
    let mut described = relay(GOOD);
    for stored in described.values_mut() {
        stored.profile.description = "Relay".to_owned();
    }
    let reasons = walk(&rule, &[relay(GOOD), described, relay(EVIL)]);
    assert_eq!(reasons, [vec![], vec!["changes `provider.smtp.host` of `relay`".to_owned()]]);
}

#[test]
fn values_are_compared_before_and_after() {
    let values =
        rule(json!({ "count": 1, "when": { "fields": ["provider.smtp.host"], "values": ["*.evil.example"] } }));
    let others =
        rule(json!({ "count": 1, "when": { "fields": ["provider.smtp.host"], "otherThan": ["*.contoso.example"] } }));
    let relay = |host: &str| profiles(&[("relay", smtp(host, &["default"], true))]);
    let steps = [relay("a.contoso.example"), relay("b.contoso.example"), relay(EVIL), relay("a.contoso.example")];
    let asked = |rule: &ApprovalRule| walk(rule, &steps).iter().map(|because| !because.is_empty()).collect::<Vec<_>>();
    assert_eq!(asked(&values), [false, true, true]);
    assert_eq!(asked(&others), [false, true, true]);
    // Another kind of provider has no host: it does not send by an accepted one.
    let mut graph = relay(GOOD);
    for stored in graph.values_mut() {
        stored.profile.provider = serde_json::from_value(json!({ "microsoft-graph-direct": {
            "tenant": "0c0ffee0-0000-4000-8000-000000000001", "client": "0c0ffee0-0000-4000-8000-0000000000cc",
            "credential": { "federatedTokenFile": "/run/token" },
        } }))
        .unwrap();
    }
    assert!(!walk(&others, &[relay(GOOD), graph.clone()])[0].is_empty());
    assert!(walk(&values, &[relay(GOOD), graph])[0].is_empty());
}

#[test]
fn another_way_to_the_same_state_needs_the_same() {
    let rule = rule(json!({
        "count": 1, "functions": ["documents-remittance"], "when": { "fields": ["provider.smtp.host"] },
    }));
    let base = ("relay", smtp(GOOD, &["default"], true));
    let pay = |host: &str, enabled| ("pay", smtp(host, &["documents-remittance"], enabled));
    let documents = ("documents", smtp(EVIL, &["all-documents"], true));
    let start = profiles(&[base.clone(), pay(GOOD, true)]);
    let asked = |steps: &[Profiles]| walk(&rule, steps).iter().any(|because| !because.is_empty());
    let cases: [(&str, Vec<Profiles>); 6] = [
        ("change", vec![profiles(&[base.clone(), pay(EVIL, true)])]),
        ("delete, create", vec![profiles(std::slice::from_ref(&base)), profiles(&[base.clone(), pay(EVIL, true)])]),
        (
            "disable, change, enable",
            vec![
                profiles(&[base.clone(), pay(GOOD, false)]),
                profiles(&[base.clone(), pay(EVIL, false)]),
                profiles(&[base.clone(), pay(EVIL, true)]),
            ],
        ),
        (
            "a profile for another function, which gets this one later",
            vec![
                profiles(&[base.clone(), ("x", smtp(EVIL, &["document-quality"], true)), pay(GOOD, true)]),
                profiles(&[base.clone(), ("x", smtp(EVIL, &["documents-remittance"], true))]),
            ],
        ),
        (
            "a profile for all documents, which others fall back to",
            vec![
                profiles(&[base.clone(), documents.clone(), pay(GOOD, true)]),
                profiles(&[base.clone(), documents.clone(), pay(GOOD, false)]),
            ],
        ),
        (
            "the function is given up, and the default profile changes",
            vec![profiles(std::slice::from_ref(&base)), profiles(&[("relay", smtp(EVIL, &["default"], true))])],
        ),
    ];
    for (way, steps) in cases {
        let steps: Vec<Profiles> = std::iter::once(start.clone()).chain(steps).collect();
        assert!(asked(&steps), "{way}");
    }
    // What does not concern remittances needs nothing.
    let other = profiles(&[base, pay(GOOD, true), ("x", smtp(EVIL, &["document-quality"], true))]);
    assert!(!asked(&[start, other]));
}

#[test]
fn a_rename_hides_nothing() {
    let rule = rule(json!({ "count": 1, "when": { "fields": ["provider.smtp.host"] } }));
    let settings = settings(&["EDU1"], &rule);
    let before = state(&settings, &profiles(&[("relay", smtp(GOOD, &["default"], true))]));
    for (host, is_asked) in [(GOOD, false), (EVIL, true)] {
        let changes = [ProfileChange::Rename {
            from: "relay".parse().unwrap(),
            name: "other".parse().unwrap(),
            profile: smtp(host, &["default"], true),
        }];
        let after = change(&before, None, &changes);
        assert_eq!(!find_needs(&before, &after, &changes).is_empty(), is_asked, "{host}");
    }
}

#[test]
fn settings_have_fields_too_and_rules_about_approvals_are_for_everyone() {
    let rule =
        rule(json!({ "count": 1, "when": { "fields": ["delivery.recipients.*"], "values": ["*@evil.example"] } }));
    let all = profiles(&[("relay", smtp(GOOD, &["default"], true))]);
    let before_settings = settings(&["EDU1"], &rule);
    let before = state(&before_settings, &all);
    let with = |key: &str, value: Value| {
        let mut document = serde_json::to_value(&before_settings).unwrap();
        document["delivery"][key] = value;
        serde_json::from_value::<Settings>(document).unwrap()
    };
    let harmless = with("recipients", json!({ "allow": ["*@contoso.example"] }));
    let wanted = with("recipients", json!({ "allow": ["*@contoso.example", "x@EVIL.example"] }));
    assert!(step(&before, &harmless, &all).0.is_empty());
    let because = step(&before, &wanted, &all).0;
    assert_eq!(because, ["changes `delivery.recipients.allow` of the environment's settings"]);
    let mut weaker = before_settings.clone();
    weaker.policy.approvals.rules[0].when = None;
    assert_eq!(step(&before, &weaker, &all).0, ["changes the rules about approvals"]);
    let mut access = before_settings.clone();
    access.access = serde_json::from_value(json!({ "bindings": { "x": {
        "subjects": [{ "token": "eve" }], "roles": ["admin"],
    } } }))
    .unwrap();
    assert_eq!(step(&before, &access, &all).0, ["changes the access policy"]);
}

#[test]
fn another_spelling_is_the_same_value() {
    let includes = |pattern: &str, value: &str| {
        let fields = BTreeSet::from(["from.address".parse::<FieldPattern>().unwrap()]);
        let values = BTreeSet::from([pattern.to_owned()]);
        FieldCondition { fields, values, other_than: BTreeSet::new() }.includes(value)
    };
    for (pattern, value) in [
        ("smtp.evil.example", "SMTP.Evil.Example"),
        ("smtp.evil.example", "smtp.evil.example."),
        ("*.evil.example", "mail.EVIL.example."),
        ("pay@evil.example", "Pay@Evil.Example"),
        ("pay@evil.example", "\"pay\"@evil.example"),
        ("*@münchen.example", "x@xn--mnchen-3ya.example"),
        ("*@xn--mnchen-3ya.example", "x@MÜNCHEN.example"),
        ("*@m*nchen.example", "x@xn--mnchen-3ya.example"),
        ("Müller*", "müller & Söhne"),
        ("*@a.b.example", "x@a\u{3002}b\u{ff0e}example"),
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("2001:db8::1", "2001:DB8:0:0:0:0:0:1"),
        ("587", "587"),
        ("false", "False"),
        ("*", ""),
        ("a*b*c", "a--b--b--c"),
    ] {
        assert!(includes(pattern, value), "{pattern} {value}");
    }
    for (pattern, value) in [
        ("*.evil.example", "evil.example"),
        ("smtp.evil.example", "smtp.evil.example.org"),
        ("evil.example", "smtp.evil.example"),
        ("a*b*c", "a--c--b"),
        ("ab*ba", "aba"),
        ("", "x"),
    ] {
        assert!(!includes(pattern, value), "{pattern} {value}");
    }
}

#[test]
fn the_schema_lists_the_fields_of_access_yaml() {
    let (_, text) = SCHEMAS.iter().find(|(name, _)| *name == "environment").unwrap();
    let schema: Value = serde_json::from_str(text).unwrap();
    assert_eq!(schema["$defs"]["field"]["enum"], json!(FieldPattern::all()));
}

const HOSTS: [&str; 3] = ["a.contoso.example", "b.contoso.example", EVIL];
const FUNCTIONS: [&str; 4] = ["default", "all-documents", "documents-remittance", "document-quality"];

fn some_profile() -> impl Strategy<Value = StoredProfile> {
    let functions = prop::collection::btree_set(prop::sample::select(FUNCTIONS.to_vec()), 1..3);
    let companies = prop::option::of(prop::collection::btree_set(prop::sample::select(vec!["EDU1", "EDU2"]), 1..3));
    let digest = prop::option::of(0_u8..2);
    let address = prop::sample::select(vec!["erp@contoso.example", "pay@evil.example"]);
    (prop::sample::select(HOSTS.to_vec()), functions, companies, any::<bool>(), digest, address).prop_map(
        |(host, functions, companies, enabled, secret, address)| {
            let mut smtp = json!({ "host": host, "port": 587 });
            let mut secrets = json!({});
            if let Some(number) = secret {
                smtp["username"] = json!("erp");
                smtp["password"] = json!({ "secret": "relay/password" });
                secrets = json!({ "relay/password": format!("sha256:{}", format!("{number:02x}").repeat(32)) });
            }
            serde_json::from_value(json!({
                "profile": {
                    "enabled": enabled, "provider": { "smtp": smtp }, "from": { "address": address },
                    "functions": functions,
                    "appliesTo": companies.map_or(json!("system-wide"), |companies| json!({ "companies": companies })),
                },
                "secrets": secrets,
            }))
            .unwrap()
        },
    )
}

fn some_profiles() -> impl Strategy<Value = Profiles> {
    let name = prop::sample::select(vec!["a", "b", "c"]).prop_map(|name| name.parse::<ProfileName>().unwrap());
    prop::collection::btree_map(name, some_profile(), 0..4)
}

fn some_rule() -> impl Strategy<Value = ApprovalRule> {
    let fields = prop::collection::btree_set(
        prop::sample::select(vec![
            "provider.smtp.host",
            "from.*",
            "provider.smtp.password",
            "functions",
            "enabled",
            "companies",
        ]),
        1..3,
    );
    let patterns = prop::sample::select(vec!["*.evil.example", "a.*", "*@evil.example", "true", "EDU2"]);
    let patterns = || prop::option::of(prop::collection::btree_set(patterns.clone(), 1..3));
    let functions = prop::option::of(prop::sample::select(FUNCTIONS.to_vec()));
    let company = prop::option::of(Just("EDU1"));
    (fields, patterns(), patterns(), functions, company).prop_map(|(fields, values, other_than, function, company)| {
        let mut when = json!({ "fields": fields });
        if let Some(values) = values {
            when["values"] = json!(values);
        }
        if let Some(other_than) = other_than {
            when["otherThan"] = json!(other_than);
        }
        let mut document = json!({ "count": 1, "when": when });
        if let Some(function) = function {
            document["functions"] = json!([function]);
        }
        if let Some(company) = company {
            document["companies"] = json!([company]);
        }
        rule(document)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A change that needs the approval cannot be made in two steps of which none needs it.
    #[test]
    fn no_change_escapes_by_two_steps(
        rule in some_rule(), states in prop::array::uniform3((some_profiles(), prop::sample::subsequence(vec!["EDU1", "EDU2"], 1..=2))),
    ) {
        let [(a, of_a), (b, of_b), (c, of_c)] = &states;
        let [first, between, last] = [of_a, of_b, of_c].map(|companies| settings(companies, &rule));
        let start = state(&first, a);
        let (direct, _) = step(&start, &last, c);
        let (one, halfway) = step(&start, &between, b);
        let (two, _) = step(&halfway, &last, c);
        prop_assert!(direct.is_empty() || !one.is_empty() || !two.is_empty(), "{direct:?}");
    }

    /// A condition narrows a rule and never widens it, and a change back needs what the change needed.
    #[test]
    fn a_condition_narrows_and_is_symmetric(rule in some_rule(), a in some_profiles(), b in some_profiles()) {
        let same = settings(&["EDU1", "EDU2"], &rule);
        let (there, after) = step(&state(&same, &a), &same, &b);
        let (back, _) = step(&after, &same, &a);
        prop_assert_eq!(there.is_empty(), back.is_empty());
        let open = ApprovalRule { when: None, functions: BTreeSet::new(), companies: BTreeSet::new(), ..rule };
        let open = settings(&["EDU1", "EDU2"], &open);
        let (without, _) = step(&state(&open, &a), &open, &b);
        prop_assert!(there.is_empty() || !without.is_empty());
    }
}
