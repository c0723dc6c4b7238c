//! Properties of the parser, the layers and the writer that hold for all files.

use crate::support::{
    generated,
    repository::{SMALL_PROFILE, TestRepository},
};
use mailwright::{
    config::Repository,
    model::{EnvironmentName, file_text},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn dev() -> EnvironmentName {
    "dev".parse().unwrap()
}

/// RFC 7396, as its text has it.
fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut map = if let Value::Object(map) = target { map } else { Map::new() };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            let old = map.remove(key).unwrap_or(Value::Null);
            map.insert(key.clone(), merge_patch(old, value));
        }
    }
    Value::Object(map)
}

/// A layer of a profile: any part of it, and nulls.
fn any_layer() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![Just(Value::Null), "[a-z]{1,8}( [a-z]{1,8})?".prop_map(Value::from)];
    let smtp = (
        prop::option::of(prop_oneof![Just(Value::Null), Just(json!("a.example")), Just(json!("b.example"))]),
        prop::option::of(prop_oneof![Just(Value::Null), (1_u16..500).prop_map(Value::from)]),
    );
    (prop::option::of(text()), prop::option::of(any::<bool>()), prop::option::of(smtp), prop::option::of(text()))
        .prop_map(|(description, enabled, smtp, name)| {
            let mut layer = Map::new();
            let mut put = |key: &str, value: Option<Value>| value.and_then(|value| layer.insert(key.to_owned(), value));
            put("description", description);
            put("enabled", enabled.map(Value::from));
            put("from", name.map(|name| json!({ "name": name })));
            put(
                "provider",
                smtp.map(|(host, port)| {
                    let mut map = Map::new();
                    host.and_then(|host| map.insert("host".to_owned(), host));
                    port.and_then(|port| map.insert("port".to_owned(), port));
                    json!({ "smtp": map })
                }),
            );
            Value::Object(layer)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_file_makes_it_panic_and_every_place_lies_in_the_file(bytes in prop::collection::vec(any::<u8>(), 0..300), yaml in "[a-z:\\- \\[\\]{}\"'&*!|>%@`#,?\n\t0-9~]{0,200}") {
        for text in [bytes, yaml.into_bytes()] {
            let repo = TestRepository::small();
            repo.write("environments/dev/profiles/relay.yaml", &text);
            let report = Repository::open(repo.folder.path()).unwrap().check(&[dev()]);
            prop_assert!(report.has_errors());
            for diagnostic in report.diagnostics {
                let lines = String::from_utf8_lossy(&text).lines().count();
                prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
                if diagnostic.file.ends_with("relay.yaml") {
                    prop_assert!(diagnostic.line <= lines + 2, "{diagnostic:?}");
                }
                prop_assert!(!diagnostic.message.is_empty() && !diagnostic.remedy.is_empty());
            }
        }
    }

    #[test]
    fn layers_merge_as_rfc_7396_says(layers in prop::collection::vec(any_layer(), 1..4)) {
        let repo = TestRepository::empty();
        let whole: Value = json!({ "provider": { "smtp": { "host": "z.example" } }, "from": { "address": "a@example.com" }, "functions": ["default"], "appliesTo": "system-wide" });
        let mut expected = whole.clone();
        repo.write("environments/l0/environment.yaml", "abstract: true\ncompanies: [A]\nunserved: [{ reason: all }]\n");
        repo.write("environments/l0/profiles/p.json", whole.to_string());
        for (index, layer) in layers.iter().enumerate() {
            let last = index + 1 == layers.len();
            let folder = if last { "dev".to_owned() } else { format!("l{}", index + 1) };
            let is_abstract = if last { "" } else { "abstract: true\n" };
            repo.write(&format!("environments/{folder}/environment.yaml"), format!("extends: l{index}\n{is_abstract}"));
            repo.write(&format!("environments/{folder}/profiles/p.yaml"), layer.to_string());
            expected = merge_patch(expected, layer);
        }
        let repository = Repository::open(repo.folder.path()).unwrap();
        let expected: Result<mailwright::model::Profile, _> = serde_json::from_value(expected);
        match (repository.load(&dev()), expected) {
            (Ok(desired), Ok(expected)) => prop_assert_eq!(&desired.profiles.values().next().unwrap().stored.profile, &expected),
            (Err(report), Err(_)) => prop_assert!(report.has_errors()),
            (loaded, expected) => prop_assert!(false, "{:?} against {expected:?}", loaded.map(|_| ())),
        }
    }

    #[test]
    fn written_profiles_are_read_back(stored in generated::any_stored(), description in "\\PC{0,60}", name in prop::option::of("\\PC{1,40}")) {
        let mut profile = stored.profile;
        profile.description = description;
        if let Some(from) = &mut profile.from {
            from.name = name;
        }
        let text = file_text::render_profile(&profile);
        let repo = TestRepository::empty();
        repo.write("environments/dev/environment.yaml", "companies: [A, B, C1, D222]\nunserved: [{ reason: all }]\n");
        repo.write("environments/dev/profiles/p.yaml", &text);
        for secret in ["relay/password", "graph/client-secret"] {
            let example = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("secrets/dev/relay/password.age")).unwrap();
            repo.write(&format!("secrets/dev/{secret}.age"), example);
        }
        match Repository::open(repo.folder.path()).unwrap().load(&dev()) {
            Ok(desired) => prop_assert_eq!(&desired.profiles.values().next().unwrap().stored.profile, &profile, "{}", text),
            // A generated profile may break a rule; it must not be misread.
            Err(report) => {
                for diagnostic in report.diagnostics {
                    prop_assert!(diagnostic.code.id() >= "MW0100" || ["MW0032", "MW0033"].contains(&diagnostic.code.id()), "{:?}\n{}", diagnostic, text);
                }
            }
        }
    }

    #[test]
    fn variables_are_put_in_and_nothing_else_is(before in "[a-z {}]{0,8}", after in "[a-z {}$]{0,8}", value in "[a-zA-Z0-9 .]{1,10}") {
        let repo = TestRepository::small();
        let after = after.replace("${", "");
        // Without one `${`, its neighbours can be another.
        prop_assume!(!after.contains("${") && !after.ends_with('$') && !before.ends_with('$'));
        let written = format!("{before}${{thing}}{after}$${{thing}}");
        repo.write("environments/dev/environment.yaml", json!({ "companies": ["EDU1"], "variables": { "thing": value } }).to_string());
        repo.write("environments/dev/profiles/relay.yaml", format!("description: {}\n{SMALL_PROFILE}", json!(written)));
        let desired = Repository::open(repo.folder.path()).unwrap().load(&dev());
        match desired {
            Ok(desired) => prop_assert_eq!(&desired.profiles.values().next().unwrap().stored.profile.description, &format!("{before}{value}{after}${{thing}}")),
            Err(report) => prop_assert!(report.diagnostics.iter().all(|d| ["MW0032", "MW0033"].contains(&d.code.id())), "{report:?}"),
        }
    }
}

#[test]
fn generated_environments_apply_to_an_empty_plan_and_import_to_one() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut tried = 0;
    for _ in 0..60 {
        if tried == 6 {
            break;
        }
        let profiles = generated::any_profiles().new_tree(&mut runner).unwrap().current();
        let mut repo = TestRepository::empty();
        repo.write("environments/dev/environment.yaml", "companies: [A, B, C1, D222]\nunserved: [{ reason: all }]\n");
        repo.write("secrets/dev/recipients.txt", mailwright::secrets::ServiceIdentity::demo().unwrap().recipient());
        repo.write("secrets/dev/demo-identity.txt", mailwright::secrets::DEMO_IDENTITY);
        for (name, stored) in &profiles {
            let mut profile = stored.profile.clone();
            profile.from.get_or_insert(mailwright::model::Mailbox {
                address: "a@example.com".to_owned(),
                name: None,
                dkim_selector: None,
            });
            profile.enabled = false;
            // Each has secrets of its own, so that no two destinations share one.
            let text = file_text::render_profile(&profile)
                .replace("relay/password", &format!("{name}/password"))
                .replace("graph/client-secret", &format!("{name}/secret"));
            if text.contains("microsoft-graph-delegate") && !text.contains("  - user-interface\nappliesTo") {
                continue;
            }
            repo.write(&format!("environments/dev/profiles/{name}.yaml"), text);
            for key in ["password", "secret"] {
                if !repo.read(&format!("environments/dev/profiles/{name}.yaml")).contains(&format!("{name}/{key}")) {
                    continue;
                }
                repo.pipe(&["secrets", "set", "dev", &format!("{name}/{key}")], b"generated").code(0);
            }
        }
        let report = repo.run(&["validate", "--format", "json"]).json();
        if report["errors"] != 0 {
            continue;
        }
        tried += 1;
        repo.serve();
        // However many threads read and compare, what they say is the same to the last byte.
        let under = |threads: &str, what: &[&str]| {
            repo.run(&[what, &["--format", "json", "--threads", threads]].concat()).code(0).stdout
        };
        for what in [&["validate"][..], &["plan", "dev"]] {
            let one = under("1", what);
            (0..3).for_each(|_| assert_eq!(under("16", what), one));
        }
        repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
        repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
        let folder = repo.path("environments/dev/profiles");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        repo.run(&["import", "dev"]).code(0);
        let output = repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
        assert!(output.stdout.contains("No changes."), "{}", output.stdout);
    }
    assert!(tried >= 4, "only {tried} generated environments were valid");
}
