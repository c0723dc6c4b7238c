//! Access control: the built-in roles as grants, the decision against a naive reference, `access.yaml`, and the commands that show
//! it.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::repository::{SMALL_PROFILE, TestRepository};
use jiff::Timestamp;
use mailwright::{
    changes::access::loses_administrator,
    config::SCHEMAS,
    model::{
        CompanyId, Function, HumanDuration, Profile,
        access::{
            AccessPolicy, Activity, Area, Binding, Decision, Extent, FieldPattern, Grant, Principal, Question,
            RoleDefinition, Subject, decide, gains, gains_beyond,
        },
        operator::{Operator, PasskeyInfo},
        token::{Role, Scope},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-11-27T12:00:00Z".parse().unwrap()
}

fn with_role(role: Role) -> Principal {
    Principal { role: Some(role), ..Principal::default() }
}

/// Every right that exists, and the built-in roles that have it.
const RIGHTS: &[(&str, &str, &[&str])] = &[
    ("service", "see", &["viewer", "planner", "deployer", "admin"]),
    ("profiles", "see", &["viewer", "planner", "deployer", "admin"]),
    ("profiles", "create", &["deployer", "admin"]),
    ("profiles", "change", &["deployer", "admin"]),
    ("profiles", "delete", &["deployer", "admin"]),
    ("profiles", "enable", &["deployer", "admin"]),
    ("profiles", "rotate", &["deployer", "admin"]),
    ("profiles", "verify", &["planner", "deployer", "admin"]),
    ("settings", "see", &["viewer", "planner", "deployer", "admin"]),
    ("settings", "change", &["deployer", "admin"]),
    ("access", "see", &["viewer", "planner", "deployer", "admin"]),
    ("access", "change", &["admin"]),
    ("changes", "plan", &["planner", "deployer", "admin"]),
    ("changes", "propose", &["planner", "deployer", "admin"]),
    ("changes", "approve", &["admin"]),
    ("changes", "apply", &["deployer", "admin"]),
    ("changes", "rollback", &["deployer", "admin"]),
    ("changes", "edit", &["admin"]),
    ("changes", "break-glass", &["admin"]),
    ("history", "see", &["viewer", "planner", "deployer", "admin"]),
    ("outbox", "see", &["viewer", "planner", "deployer", "admin"]),
    ("outbox", "retry", &["deployer", "admin"]),
    ("outbox", "cancel", &["deployer", "admin"]),
    ("outbox", "hold", &["deployer", "admin"]),
    ("outbox", "replay", &["deployer", "admin"]),
    ("outbox", "resolve", &["deployer", "admin"]),
    ("outbox", "export", &["admin"]),
    ("outbox", "confirm", &["admin"]),
    ("own-mail", "see", &["sender", "admin"]),
    ("own-mail", "cancel", &["sender", "admin"]),
    ("mail", "submit", &["sender", "admin"]),
    ("mail", "name-sender", &["admin"]),
    ("mail", "look-up", &["sender", "admin"]),
    ("audit", "see", &["admin"]),
    ("audit", "verify", &["admin"]),
    ("audit", "export", &["admin"]),
    ("tokens", "see", &["admin"]),
    ("tokens", "create", &["admin"]),
    ("tokens", "confirm", &["admin"]),
    ("tokens", "delete", &["admin"]),
    ("operators", "see", &["admin"]),
    ("operators", "create", &["admin"]),
    ("operators", "confirm", &["admin"]),
    ("operators", "delete", &["admin"]),
    ("rollouts", "see", &["viewer", "planner", "deployer", "admin"]),
    ("rollouts", "run", &["deployer", "admin"]),
];

#[test]
fn every_right_has_its_owners_among_the_built_in_roles() {
    let policy = AccessPolicy::default();
    let listed: Vec<(&str, &str)> = RIGHTS.iter().map(|(area, activity, _)| (*area, *activity)).collect();
    let existing: Vec<(&str, &str)> = Area::pairs().map(|(area, activity)| (area.id(), activity.id())).collect();
    assert_eq!(listed, existing);
    for (area, activity, roles) in RIGHTS {
        let question = Question::everywhere(area.parse().unwrap(), activity.parse().unwrap()).of_field(Extent::All);
        let owners: Vec<&str> = Role::ALL
            .iter()
            .filter(|role| decide(&policy, &with_role(**role), &question, now()).is_allowed())
            .map(|role| role.id())
            .collect();
        assert_eq!(owners, *roles, "{activity} in {area}");
    }
}

#[test]
fn a_limit_that_would_limit_nothing_is_an_error() {
    let repo = TestRepository::small();
    let validate = |grant: &str| {
        repo.write(
            "environments/dev/access.yaml",
            format!("roles:\n  desk:\n    grants:\n      - {grant}\nbindings:\n  desk: {{ subjects: [{{ token: desk }}], roles: [desk] }}\n"),
        );
        repo.run(&["validate", "dev"])
    };
    for (grant, message) in [
        ("{ areas: [history], activities: [see], companies: [EDU1] }", "`companies` does not limit `history`"),
        ("{ areas: [profiles, settings], activities: [see], companies: [EDU1] }", "does not limit `settings`"),
        ("{ areas: [tokens], activities: [create], functions: [default] }", "`functions` does not limit `tokens`"),
    ] {
        let output = validate(grant).code(1);
        assert!(output.stdout.contains("MW0011") && output.stdout.contains(message), "{}", output.stdout);
        assert!(output.stdout.contains("access.yaml:4:"), "{}", output.stdout);
    }
    validate("{ areas: [profiles, outbox, mail], activities: [see, submit], companies: [EDU1], functions: [default] }")
        .code(0);
}

#[test]
fn a_credential_without_a_role_and_without_a_binding_may_do_nothing() {
    let unbound = Principal { subjects: vec![Subject::of_token("erp")], ..Principal::default() };
    for (area, activity) in Area::pairs() {
        assert!(!decide(&AccessPolicy::default(), &unbound, &Question::any(area, activity), now()).is_allowed());
    }
}

#[test]
fn the_scope_of_a_sender_limits_its_grants() {
    let company: CompanyId = "EDU1".parse().unwrap();
    let other: CompanyId = "EDU2".parse().unwrap();
    let functions: BTreeSet<Function> = ["all-documents".parse().unwrap()].into();
    let scope = Scope { companies: [company.clone()].into(), functions };
    for (asked, function) in
        [(&company, "all-documents"), (&company, "document-quality"), (&company, "default"), (&other, "all-documents")]
    {
        let function: Function = function.parse().unwrap();
        let principal = Principal { scope: scope.clone(), ..with_role(Role::Sender) };
        let question = Question::any(Area::Mail, Activity::Submit).at(Extent::One(asked), Extent::One(function));
        let decision = decide(&AccessPolicy::default(), &principal, &question, now());
        assert_eq!(decision.is_allowed(), scope.covers(asked, function), "{asked} {function}: {}", decision.describe());
    }
}

#[test]
fn a_step_up_needs_a_recent_confirmation_and_a_token_cannot_give_one() {
    let grant = Grant {
        areas: [Area::Profiles].into(),
        activities: [Activity::Change].into(),
        step_up: Some(HumanDuration::seconds(600)),
        ..Grant::default()
    };
    let role = RoleDefinition { grants: vec![grant], ..RoleDefinition::default() };
    let binding = Binding {
        subjects: [Subject::of_operator("ann"), Subject::of_token("erp")].into(),
        roles: ["desk".to_owned()].into(),
    };
    let policy =
        AccessPolicy { roles: [("desk".to_owned(), role)].into(), bindings: [("desk".to_owned(), binding)].into() };
    let question = Question::any(Area::Profiles, Activity::Change);
    let ask = |subject: Subject, authenticated_at: Option<Timestamp>| {
        let principal = Principal { subjects: vec![subject], authenticated_at, ..Principal::default() };
        decide(&policy, &principal, &question, now())
    };
    let before = |seconds: i64| Some(now() - jiff::SignedDuration::from_secs(seconds));
    assert!(ask(Subject::of_operator("ann"), before(600)).is_allowed());
    assert!(matches!(ask(Subject::of_operator("ann"), before(601)), Decision::StepUp { possible: true, .. }));
    assert!(!ask(Subject::of_operator("ann"), before(-1)).is_allowed(), "a time in the future");
    let token = ask(Subject::of_token("erp"), None);
    assert!(matches!(token, Decision::StepUp { possible: false, .. }));
    assert!(token.describe().contains("a token cannot do that"), "{}", token.describe());
}

// A naive reference, written from the documentation: one grant must allow the whole question.

fn reference(policy: &AccessPolicy, principal: &Principal, question: &Question<'_>) -> bool {
    let mut grants: Vec<Grant> = Vec::new();
    if let Some(role) = principal.role {
        grants.extend(policy.grants(role.id()).to_vec());
    }
    for binding in policy.bindings.values() {
        if principal.subjects.iter().any(|subject| binding.subjects.contains(subject)) {
            grants.extend(binding.roles.iter().flat_map(|role| policy.grants(role).to_vec()));
        }
    }
    let limited = ["profiles", "outbox", "own-mail", "mail"].contains(&question.area.id());
    grants.iter().any(|grant| {
        if !grant.areas.contains(&question.area) || !grant.activities.contains(&question.activity) {
            return false;
        }
        if grant.step_up.is_some() && principal.authenticated_at != Some(now()) {
            return false;
        }
        let company = match question.company {
            _ if !limited || grant.companies.is_empty() => true,
            Extent::Any => true,
            Extent::All => false,
            Extent::One(company) => grant.companies.contains(company),
        };
        let function = match question.function {
            _ if !limited || grant.functions.is_empty() => true,
            Extent::Any => true,
            Extent::All => false,
            Extent::One(function) => {
                let parent = function.falls_back_to().filter(|parent| parent.id() != "default");
                grant.functions.contains(&function) || parent.is_some_and(|parent| grant.functions.contains(&parent))
            }
        };
        let has_fields = ["profiles", "settings"].contains(&question.area.id());
        let field = match question.field {
            _ if !has_fields || grant.fields.is_empty() => true,
            Extent::Any => true,
            Extent::All => false,
            Extent::One(path) => grant.fields.iter().any(|pattern| {
                let own = pattern.as_str().trim_end_matches(".*");
                path == own || path.starts_with(&format!("{own}."))
            }),
        };
        company && function && field
    })
}

fn pick<T: Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn companies() -> Vec<CompanyId> {
    ["A", "B", "C"].map(|id| id.parse().unwrap()).to_vec()
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let areas = prop::collection::btree_set(pick(Area::ALL.to_vec()), 1..4);
    let activities = prop::collection::btree_set(pick(Activity::ALL.to_vec()), 1..8);
    let companies = prop::collection::btree_set(pick(companies()), 0..3);
    let functions = prop::collection::btree_set(pick(Function::all().collect::<Vec<_>>()), 0..3);
    let patterns: Vec<FieldPattern> = FieldPattern::all().iter().map(|text| text.parse().unwrap()).collect();
    let fields = prop::collection::btree_set(pick(patterns), 0..3);
    let step_up = prop::option::weighted(0.2, Just(HumanDuration::seconds(600)));
    (areas, activities, companies, functions, fields, step_up).prop_map(
        |(areas, activities, companies, functions, fields, step_up)| Grant {
            areas,
            activities,
            companies,
            functions,
            fields,
            step_up,
        },
    )
}

fn subjects() -> Vec<Subject> {
    vec![Subject::of_token("erp"), Subject::of_operator("ann"), Subject::of_group("https://issuer.example", "Mail")]
}

fn any_policy() -> impl Strategy<Value = AccessPolicy> {
    let role = prop::collection::vec(any_grant(), 1..4)
        .prop_map(|grants| RoleDefinition { description: String::new(), grants });
    let roles = prop::collection::btree_map(pick(vec!["x".to_owned(), "y".to_owned(), "z".to_owned()]), role, 1..4);
    let names = ["x", "y", "z", "viewer", "admin", "unknown"].map(str::to_owned).to_vec();
    let binding = (prop::collection::btree_set(pick(subjects()), 1..3), prop::collection::btree_set(pick(names), 1..3))
        .prop_map(|(subjects, roles)| Binding { subjects, roles });
    let bindings = prop::collection::btree_map(pick(vec!["one".to_owned(), "two".to_owned()]), binding, 0..3);
    (roles, bindings).prop_map(|(roles, bindings)| AccessPolicy { roles, bindings })
}

fn any_principal() -> impl Strategy<Value = Principal> {
    let role = prop::option::weighted(0.3, pick(Role::ALL.to_vec()));
    (prop::sample::subsequence(subjects(), 0..=3), role, any::<bool>()).prop_map(|(subjects, role, confirmed)| {
        Principal { subjects, role, scope: Scope::default(), authenticated_at: confirmed.then(now) }
    })
}

/// A question that owns its texts: none means any, an empty one means all.
#[derive(Clone, Debug)]
#[allow(clippy::option_option, reason = "generated by two strategies for optional values")]
struct Asked {
    area: Area,
    activity: Activity,
    company: Option<Option<CompanyId>>,
    function: Option<Option<Function>>,
    field: Option<Option<&'static str>>,
}

impl Asked {
    fn question(&self) -> Question<'_> {
        #[allow(clippy::option_option, reason = "the fields of the question")]
        fn extent<T>(asked: Option<Option<T>>) -> Extent<T> {
            match asked {
                None => Extent::Any,
                Some(None) => Extent::All,
                Some(Some(one)) => Extent::One(one),
            }
        }
        Question {
            area: self.area,
            activity: self.activity,
            company: extent(self.company.as_ref().map(Option::as_ref)),
            function: extent(self.function),
            field: extent(self.field),
        }
    }
}

fn any_question() -> impl Strategy<Value = Asked> {
    let fields: Vec<&'static str> =
        [Area::Profiles.fields(), Area::Settings.fields(), &["provider.smtp.password.next", "appliesTo.companies"]]
            .concat();
    (
        pick(Area::pairs().collect::<Vec<_>>()),
        prop::option::of(prop::option::of(pick(companies()))),
        prop::option::of(prop::option::of(pick(Function::all().collect::<Vec<_>>()))),
        prop::option::of(prop::option::of(pick(fields))),
    )
        .prop_map(|((area, activity), company, function, field)| Asked {
            area,
            activity,
            company,
            function,
            field,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_decision_is_that_of_a_naive_reference(
        policy in any_policy(),
        principal in any_principal(),
        questions in prop::collection::vec(any_question(), 5),
    ) {
        for asked in &questions {
            let decision = decide(&policy, &principal, &asked.question(), now());
            prop_assert_eq!(decision.is_allowed(), reference(&policy, &principal, &asked.question()), "{:?}", decision);
        }
    }

    #[test]
    fn a_further_grant_takes_no_right_away(
        policy in any_policy(),
        principal in any_principal(),
        asked in any_question(),
        grant in any_grant(),
        role in pick(vec!["x", "y", "z"]),
    ) {
        let before = decide(&policy, &principal, &asked.question(), now()).is_allowed();
        let mut more = policy.clone();
        more.roles.entry(role.to_owned()).or_default().grants.push(grant);
        let after = decide(&more, &principal, &asked.question(), now()).is_allowed();
        prop_assert!(!before || after);
    }

    #[test]
    fn every_right_that_a_change_adds_is_reported(
        before in any_policy(),
        after in any_policy(),
        asked in any_question(),
    ) {
        let gained = gains(&before, &after);
        for subject in subjects() {
            let principal = Principal { subjects: vec![subject.clone()], authenticated_at: Some(now()), ..Principal::default() };
            let had = decide(&before, &principal, &asked.question(), now()).is_allowed();
            let has = decide(&after, &principal, &asked.question(), now()).is_allowed();
            if has && !had {
                prop_assert!(gained.iter().any(|gain| gain.subject == subject.to_string()
                    && (gain.area, gain.activity) == (asked.area, asked.activity)));
            }
        }
        prop_assert!(gains(&before, &before).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_right_that_the_caller_does_not_have_is_reported(
        before in any_policy(),
        after in any_policy(),
        caller in any_principal(),
        questions in prop::collection::vec(any_question(), 5),
    ) {
        let caller = Principal { authenticated_at: Some(now()), ..caller };
        let beyond = gains_beyond(&before, &after, &caller);
        for (asked, subject) in questions.iter().flat_map(|asked| subjects().into_iter().map(move |one| (asked, one))) {
            let principal =
                Principal { subjects: vec![subject.clone()], authenticated_at: Some(now()), ..Principal::default() };
            let may = |policy: &AccessPolicy, who: &Principal| decide(policy, who, &asked.question(), now()).is_allowed();
            if may(&after, &principal) && !may(&before, &principal) && !may(&before, &caller) {
                prop_assert!(beyond.iter().any(|gain| gain.subject == subject.to_string()
                    && (gain.area, gain.activity) == (asked.area, asked.activity)));
            }
        }
        let admin = with_role(Role::Admin);
        prop_assert!(gains_beyond(&before, &after, &admin).is_empty());
    }
}

fn schema(name: &str) -> Value {
    serde_json::from_str(SCHEMAS.iter().find(|(known, _)| *known == name).unwrap().1).unwrap()
}

#[test]
fn the_schema_has_the_vocabularies_of_the_types() {
    let grant = &schema("access")["$defs"]["grant"]["properties"];
    let areas: Vec<&str> = Area::ALL.iter().map(|area| area.id()).collect();
    let activities: Vec<&str> = Activity::ALL.iter().map(|activity| activity.id()).collect();
    assert_eq!(grant["areas"]["items"]["enum"], json!(areas));
    assert_eq!(grant["activities"]["items"]["enum"], json!(activities));
    assert_eq!(grant["fields"]["items"]["enum"], json!(FieldPattern::all()));
    assert_eq!(grant["functions"]["items"]["enum"], json!(Function::all().map(Function::id).collect::<Vec<_>>()));
}

/// Adds the path of every leaf below a node of a schema.
fn leaves(root: &Value, node: &Value, path: &str, out: &mut BTreeSet<String>) {
    let node = match node["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => node,
    };
    let properties = node["properties"].as_object().or_else(|| node["else"]["properties"].as_object());
    match properties {
        Some(map) if !map.is_empty() && !map.contains_key("secret") => {
            for (key, value) in map {
                leaves(root, value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, out);
            }
        }
        _ => drop(out.insert(path.to_owned())),
    }
}

/// Returns the paths that are neither fields that grants can name in an area, nor below one.
fn unnamed(area: Area, paths: &BTreeSet<String>) -> Vec<&String> {
    let known = |path: &str| area.fields().iter().any(|field| path == *field || path.starts_with(&format!("{field}.")));
    paths.iter().filter(|path| !known(path)).collect()
}

/// Every leaf of the schema of environments, in the sections that the service stores, is a field that grants can name.
#[test]
fn every_field_of_the_settings_can_be_named() {
    let root = schema("environment");
    let mut found = BTreeSet::new();
    leaves(&root, &root, "", &mut found);
    let sections = ["companies", "unserved", "policy.", "delivery.", "verify.reader."];
    found.retain(|path| sections.iter().any(|section| path.starts_with(section)));
    assert!(found.len() > 20, "{found:?}");
    let unknown = unnamed(Area::Settings, &found);
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Every leaf of the schema of profiles is a field that grants can name, or below one.
#[test]
fn every_field_of_a_profile_can_be_named() {
    let root = schema("profile");
    let mut found = BTreeSet::new();
    leaves(&root, &root["$defs"]["file"], "", &mut found);
    // How a rename is declared; its field is `name`.
    assert!(found.remove("renamedFrom"));
    assert!(found.len() > 20, "{found:?}");
    let unknown = unnamed(Area::Profiles, &found);
    assert!(unknown.is_empty(), "{unknown:?}");
    let profile: Profile = serde_json::from_value(json!({
        "provider": { "smtp": { "host": "a" } }, "functions": ["default"], "appliesTo": "system-wide",
    }))
    .unwrap();
    let document: BTreeMap<String, Value> = serde_json::from_value(serde_json::to_value(profile).unwrap()).unwrap();
    assert!(
        document.keys().all(|key| Area::Profiles.fields().iter().any(|field| field.split('.').next() == Some(key)))
    );
}

const POLICY: &str = "\
roles:
  mail-desk:
    description: Maintains the sender addresses
    grants:
      - areas: [profiles]
        activities: [see, change]
        companies: [EDU1]
        fields: [from.*, provider.smtp.host]
bindings:
  desk:
    subjects:
      - operator: ann
      - { group: Mail, issuer: \"https://login.example.com\" }
      - { key: \"SHA256:uNiVztksCsDhcc0u9e8BrrJXJ7Pm2rRE0AmvIM7Dl/E\" }
    roles: [mail-desk, viewer]
";

fn with_policy(policy: &str) -> TestRepository {
    let repo = TestRepository::small();
    repo.write("environments/dev/access.yaml", policy);
    repo.write(
        "environments/dev/profiles/invoices.yaml",
        SMALL_PROFILE.replace("[default]", "[all-documents]").replace("system-wide", "{ companies: [EDU1] }"),
    );
    repo
}

/// `CODE line:column message. remedy` of every problem.
fn problems(policy: &str) -> Vec<String> {
    let output = with_policy(policy).run(&["validate", "--format", "json"]);
    let report = output.json();
    report["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            assert_eq!(d["file"], "environments/dev/access.yaml", "{d}");
            let text = |key: &str| d[key].as_str().unwrap().to_owned();
            format!("{} {}:{} {}. {}", text("code"), d["line"], d["column"], text("message"), text("remedy"))
        })
        .collect()
}

#[test]
fn a_policy_is_validated_with_places() {
    assert_eq!(problems(POLICY), Vec::<String>::new());
    let changed = |from: &str, to: &str| {
        assert!(POLICY.contains(from), "{from}");
        problems(&POLICY.replace(from, to))
    };
    let one = |found: Vec<String>, expected: &[&str]| {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(expected.iter().all(|part| found[0].contains(part)), "{found:?}");
    };
    one(changed("areas: [profiles]", "areas: [profile]"), &["MW0007 5:17", "Did you mean `profiles`?"]);
    one(changed("[see, change]", "[see, chnage]"), &["MW0007 6:27", "Did you mean `change`?"]);
    one(changed("provider.smtp.host", "provider.smtp.hots"), &["MW0007 8:26", "Did you mean `provider.smtp.host`?"]);
    one(changed("[from.*,", "[from,"), &["MW0007 8:18", "Did you mean `from.*`?"]);
    one(changed("[EDU1]", "[EDU9]"), &["MW0105 7:21"]);
    one(changed("[see, change]", "[see, submit]"), &["MW0011 6:27", "It exists in `mail`"]);
    one(changed("areas: [profiles]", "areas: [profiles, mail]"), &["MW0011 5:27", "has `submit`"]);
    let moved = changed("areas: [profiles]", "areas: [history]");
    assert!(moved.iter().any(|problem| problem.contains("exists in")), "{moved:?}");
    assert_eq!(moved.iter().filter(|problem| problem.contains("have no field")).count(), 2, "{moved:?}");
    one(changed("roles: [mail-desk, viewer]", "roles: [mail-desc, viewer]"), &["MW0007 15:13", "mail-desk"]);
    one(changed("operator: ann", "user: ann"), &["MW0008 12:9", "Allowed are"]);
    one(changed("operator: ann", "{ operator: ann, token: ann }"), &["MW0011", "exactly one of"]);
    one(changed(", issuer: \"https://login.example.com\"", ""), &["MW0011", "needs its `issuer`"]);
    assert!(changed("  mail-desk:", "  Mail-Desk:")[0].starts_with("MW0106 2:3"));
    assert!(problems("[]\n")[0].starts_with("MW0010 1:1"));
    let builtin = "roles:\n  admin:\n    grants: [{ areas: [service], activities: [see] }]\n";
    one(problems(builtin), &["MW0106 2:3", "built-in role"]);
    let long = "roles:\n  x:\n    grants: [{ areas: [service], activities: [see], stepUp: 13h }]\n";
    one(problems(long), &["MW0011 3:61", "at most 12 hours"]);
}

#[test]
fn the_policy_belongs_into_its_own_file() {
    let repo = TestRepository::small();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\naccess: { roles: {} }\n");
    let output = repo.run(&["validate"]).code(1);
    assert!(output.stdout.contains("MW0008") && output.stdout.contains("into access.yaml"), "{}", output.stdout);
    let repo = with_policy(POLICY);
    repo.write("environments/dev/access.json", "{}");
    assert!(repo.run(&["validate"]).code(1).stdout.contains("MW0014"));
}

#[test]
fn layers_are_merged_and_rendered() {
    let repo = with_policy("bindings:\n  desk:\n    roles: [viewer]\n  gone: null\n");
    repo.write("environments/base/environment.yaml", "abstract: true\n");
    repo.write(
        "environments/base/access.yaml",
        format!("{POLICY}  gone:\n    subjects: [{{ token: erp }}]\n    roles: [admin]\n"),
    );
    let own = std::fs::read_to_string(repo.path("environments/dev/environment.yaml")).unwrap();
    repo.write("environments/dev/environment.yaml", format!("extends: base\n{own}"));
    repo.run(&["validate"]).code(0);
    let rendered = repo.run(&["render", "dev", "--format", "json"]).code(0).json().to_string();
    assert!(rendered.contains("mail-desk") && rendered.contains("from.*"), "{rendered}");
    let list = repo.run(&["access", "list", "dev", "--format", "json"]).code(0).json();
    assert_eq!(list["bindings"]["desk"]["roles"], json!(["viewer"]));
    let subjects = list["bindings"]["desk"]["subjects"].as_array().unwrap();
    assert!(subjects.contains(&json!({ "operator": "ann" })), "{subjects:?}");
    assert!(list["bindings"]["gone"].is_null() && list["roles"]["mail-desk"].is_object());
}

#[test]
fn the_commands_answer_from_the_files() {
    let repo = with_policy(POLICY);
    let list = repo.run(&["access", "list", "dev"]).code(0).stdout;
    assert!(
        list.contains("mail-desk")
            && list.contains("operator:ann")
            && list.contains("group:Mail@https://login.example.com"),
        "{list}"
    );
    let all = repo.run(&["access", "explain", "dev", "ann"]).code(0).stdout;
    assert!(all.contains("operator:ann: bindings `desk`.") && all.contains("outbox"), "{all}");
    let ask = |more: &[&str], code: i32| {
        let usual = ["access", "explain", "dev", "operator:ann", "profiles:change"];
        repo.run(&[&usual[..], more].concat()).code(code).stdout
    };
    assert!(
        ask(&[], 0).contains("may `change` in `profiles`: allowed by grant 1 of the role `mail-desk` (binding `desk`)")
    );
    assert!(ask(&["--company", "EDU1", "--field", "from.name"], 0).contains("operator:ann may"));
    let refused = ask(&["--company", "EDU1", "--field", "limits.perMinute"], 2);
    assert!(refused.contains("may not") && refused.contains("only for fields from.*, provider.smtp.host"), "{refused}");
    let nothing = repo.run(&["access", "explain", "dev", "token:erp"]).code(0).stdout;
    assert!(nothing.contains("It may do nothing.") && nothing.contains("--role ROLE"), "{nothing}");
    assert!(repo.run(&["access", "explain", "dev", "anm"]).code(1).stderr.contains("Did you mean `ann`?"));
    assert!(repo.run(&["access", "explain", "dev", "ann", "chnage"]).code(1).stderr.contains("Did you mean `change`?"));

    let who = repo.run(&["access", "who", "dev", "provider.smtp.host", "invoices"]).code(0).stdout;
    for holder in [
        "tokens and operators with the role `deployer`",
        "tokens and operators with the role `admin`",
        "`operator:ann`",
        "`group:Mail@",
    ] {
        assert!(who.contains(holder), "{who}");
    }
    assert!(!who.contains("viewer"), "{who}");
    let system_wide = repo.run(&["access", "who", "dev", "from.name", "relay"]).code(0).stdout;
    assert!(!system_wide.contains("ann"), "the grant is for one company, and the profile for all: {system_wide}");
    assert!(repo.run(&["access", "who", "dev", "provider.smtp.hots", "invoices"]).code(1).stderr.contains("smtp.host"));
    assert!(
        repo.run(&["access", "who", "dev", "enabled", "invoice"]).code(1).stderr.contains("Did you mean `invoices`?")
    );
    let without = TestRepository::small();
    assert!(without.run(&["access", "list", "dev"]).code(0).stdout.contains("no access policy"));
}

#[test]
fn an_operator_who_can_sign_in_is_an_administrator_too() {
    let binding = Binding {
        subjects: [Subject { token: Some("chief".to_owned()), ..Subject::default() }].into(),
        roles: ["admin".to_owned()].into(),
    };
    let before = AccessPolicy { bindings: [("chief".to_owned(), binding)].into(), ..AccessPolicy::default() };
    let after = AccessPolicy::default();
    let passkey = PasskeyInfo {
        id: "key".to_owned(),
        label: "Laptop".to_owned(),
        added_at: now(),
        used_at: None,
        is_synced: false,
        enrolled_by: None,
    };
    let operator = Operator {
        id: "1".to_owned(),
        name: "ann".to_owned(),
        role: Role::Admin,
        scope: Scope::default(),
        created_at: now(),
        removed_at: None,
        suspended_at: None,
        enrolment: None,
        passkeys: vec![passkey],
    };
    let loses = |operators: &[Operator]| loses_administrator(&before, &after, (&[], operators), now());
    assert!(loses(&[]) && !loses(std::slice::from_ref(&operator)));
    for other in [
        Operator { role: Role::Deployer, ..operator.clone() },
        Operator { removed_at: Some(now()), ..operator.clone() },
        Operator { suspended_at: Some(now()), ..operator.clone() },
        // The person has not opened the link yet, and may never do so.
        Operator { passkeys: Vec::new(), ..operator.clone() },
    ] {
        assert!(loses(std::slice::from_ref(&other)), "{other:?}");
    }
    assert!(!loses_administrator(&before, &before, (&[], &[]), now()));
}
