//! Things that are said in two places say the same: functions and schemas, codes and their pages, types and schemas.

use std::collections::BTreeSet;

use mailwright::{
    config::SCHEMAS,
    model::{Code, Function, Profile, settings::DeleteLimit},
};
use serde_json::{Value, json};

fn schema(name: &str) -> Value {
    serde_json::from_str(SCHEMAS.iter().find(|(known, _)| *known == name).unwrap().1).unwrap()
}

#[test]
fn schemas_are_good_schemas() {
    // One may refer to another, and to nothing else.
    let own = SCHEMAS.iter().map(|(name, _)| schema(name));
    let own = own.map(|document| (document["$id"].as_str().unwrap().to_owned(), document));
    let registry = own.fold(jsonschema::Registry::new(), |registry, (id, document)| {
        registry.add(id, jsonschema::Resource::from_contents(document)).unwrap()
    });
    let registry = registry.prepare().unwrap();
    for (name, text) in SCHEMAS {
        let document: Value = serde_json::from_str(text).unwrap();
        assert!(jsonschema::meta::is_valid(&document), "{name}");
        assert_eq!(document["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(document["$id"], format!("https://mailwright.dev/schema/{name}.schema.json"));
        jsonschema::options().offline().with_registry(&registry).build(&document).unwrap();
    }
}

#[test]
fn the_schemas_know_the_functions_of_the_catalogue() {
    let ids: Vec<&str> = Function::all().map(Function::id).collect();
    assert_eq!(ids.len(), 13);
    assert_eq!(schema("profile")["$defs"]["function"]["then"]["enum"], json!(ids));
    assert_eq!(
        schema("environment")["properties"]["unserved"]["items"]["properties"]["functions"]["items"]["enum"],
        json!(ids)
    );
    assert_eq!(
        schema("rollout")["$defs"]["checks"]["properties"]["probe"]["properties"]["function"]["enum"],
        json!(ids)
    );
    for function in Function::all() {
        assert_eq!(function.chain().last().unwrap().id(), "default", "{function}");
    }
}

#[test]
fn the_schemas_state_the_defaults_that_the_types_have() {
    let minimal = |provider: Value| -> Value {
        let profile: Profile = serde_json::from_value(
            json!({ "provider": provider, "functions": ["default"], "appliesTo": "system-wide" }),
        )
        .unwrap();
        serde_json::to_value(profile).unwrap()
    };
    let defs = &schema("profile")["$defs"];
    let smtp = minimal(json!({ "smtp": { "host": "a" } }));
    assert_eq!(smtp["enabled"], defs["file"]["properties"]["enabled"]["default"]);
    assert_eq!(smtp["provider"]["smtp"]["port"], defs["smtp"]["properties"]["port"]["default"]);
    assert_eq!(smtp["provider"]["smtp"]["encryption"], defs["smtp"]["properties"]["encryption"]["default"]);
    let direct = minimal(
        json!({ "microsoft-graph-direct": { "tenant": "t", "client": "c", "credential": { "clientSecret": { "secret": "a/b" } } } }),
    );
    assert_eq!(direct["provider"]["microsoft-graph-direct"]["cloud"], defs["cloud"]["default"]);
    let deletes = &schema("environment")["properties"]["policy"]["properties"]["deletes"]["properties"];
    assert_eq!(
        (&json!(DeleteLimit::default().percent), &json!(DeleteLimit::default().at_least)),
        (&deletes["percent"]["default"], &deletes["atLeast"]["default"])
    );
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let pages = include_str!("../../src/model/codes.md");
    let headings: Vec<&str> = pages.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let expected: Vec<String> = Code::ALL.iter().map(|code| format!("{code} {}", code.title())).collect();
    assert_eq!(headings, expected);
    for code in Code::ALL {
        assert!(code.explanation().len() > 40, "{code}");
        assert!(!code.explanation().contains("\n## "), "{code}");
    }
    let ids: BTreeSet<&str> = Code::ALL.iter().map(|code| code.id()).collect();
    assert_eq!(ids.len(), Code::ALL.len());
}

#[test]
fn every_example_names_its_schema_for_editors() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("environments");
    let mut count = 0;
    for environment in std::fs::read_dir(root).unwrap() {
        let folder = environment.unwrap().path();
        let profiles = std::fs::read_dir(folder.join("profiles"))
            .unwrap()
            .map(|entry| (entry.unwrap().path(), "../../../schema/profile.schema.json"));
        let own = (folder.join("environment.yaml"), "../../schema/environment.schema.json");
        for (path, schema) in profiles.chain([own]) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(&format!("# yaml-language-server: $schema={schema}\n")), "{}", path.display());
            assert!(path.parent().unwrap().join(schema).is_file());
            count += 1;
        }
    }
    assert!(count > 15);
}

#[test]
fn the_openapi_document_is_the_one_that_is_checked_in() {
    let document = serde_json::to_value(mailwright::service::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let text = format!("{document:#}\n");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    if std::fs::read_to_string(&path).unwrap_or_default() != text {
        let fresh = path.with_extension("json.new");
        std::fs::write(&fresh, &text).unwrap();
        panic!("docs/openapi.json is out of date; the present one is in {}", fresh.display());
    }
}
