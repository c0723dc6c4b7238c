//! `render`: what the layers amount to, with the place of every value; secrets stay names, whatever the files say.

use std::collections::BTreeMap;

use crate::support::repository::{SMALL_PROFILE, TestRepository};
use mailwright::config::Repository;
use serde_json::Value;

fn layered() -> TestRepository {
    let repo = TestRepository::empty();
    repo.write(
        "environments/base/environment.yaml",
        "abstract: true\ncompanies: [EDU1]\nvariables:\n  domain: example.com\n  port: 587\n",
    );
    repo.write(
        "environments/base/profiles/relay.yaml",
        "provider:\n  smtp:\n    host: smtp.${domain}\n    port: ${port}\n    username: erp\n    password: { secret: relay/password }\nfrom:\n  address: erp@${domain}\nfunctions: [default, all-reports]\nappliesTo: system-wide\n",
    );
    repo.write(
        "environments/prod/environment.yaml",
        "extends: base\nvariables: { domain: prod.example }\nlabels: { tier: \"1\" }\n",
    );
    repo.write("environments/prod/profiles/relay.yaml", "description: Über alles\n");
    repo
}

#[test]
fn every_value_has_the_place_that_it_comes_from() {
    let repo = layered();
    let output = repo.run(&["render", "prod"]);
    insta::assert_snapshot!(output.stdout);
    let one = repo.run(&["render", "prod", "relay"]).stdout;
    assert!(one.starts_with("# profile relay of prod, over base\ndescription: Über alles "), "{one}");
}

/// `path: value` of every line, by the indentation.
fn lines(yaml: &str) -> BTreeMap<String, (String, String)> {
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut found = BTreeMap::new();
    for line in yaml.lines().filter(|line| !line.starts_with('#')) {
        let depth = line.len() - line.trim_start().len();
        path.retain(|(other, _)| *other < depth);
        let (value, place) = line.split_once(" # ").unwrap_or((line, ""));
        if let Some((key, value)) = value.trim().split_once(':') {
            path.push((depth, key.to_owned()));
            let pointer = path.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join("/");
            found.insert(pointer, (value.trim().to_owned(), place.to_owned()));
        }
    }
    found
}

#[test]
fn the_places_are_those_where_the_values_stand() {
    let repo = TestRepository::examples();
    let document = repo.run(&["render", "dev", "--format", "json"]).code(0).json();
    let yaml = lines(&repo.run(&["render", "dev"]).code(0).stdout);
    let places = document["places"].as_object().unwrap();
    assert!(places.len() > 100, "{}", places.len());
    for (pointer, place) in places {
        let value = document.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        let text = repo.read(place["file"].as_str().unwrap());
        let line = text.lines().nth(usize::try_from(place["line"].as_u64().unwrap()).unwrap() - 1).unwrap();
        // A text without a variable is printed unchanged.
        if place["variables"].is_null() {
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert!(line.contains(&written), "{pointer}: {written} in {line}");
        } else {
            assert!(line.contains("${"), "{pointer}: {line}");
        }
        // Both forms say the same.
        let key = pointer.trim_start_matches('/').replacen("value/", "environment/", 1);
        if let Some((_, location)) = yaml.get(&key) {
            let expected = format!("{}:{}", place["file"].as_str().unwrap(), place["line"]);
            assert!(location.starts_with(&expected), "{key}: {location}");
        }
    }
    // It is what the other commands work with.
    let desired = Repository::open(repo.folder.path()).unwrap().load(&"dev".parse().unwrap()).unwrap();
    for (name, profile) in &desired.profiles {
        let mut profile = serde_json::to_value(&profile.stored.profile).unwrap();
        drop_defaults(&mut profile, &document["profiles"][name.as_str()]);
        assert_eq!(profile, document["profiles"][name.as_str()], "{name}");
    }
}

/// Takes out what no file says.
fn drop_defaults(value: &mut Value, written: &Value) {
    if let (Value::Object(map), Value::Object(kept)) = (value, written) {
        map.retain(|key, _| kept.contains_key(key));
        map.iter_mut().for_each(|(key, value)| drop_defaults(value, &kept[key]));
    }
}

#[test]
fn files_with_problems_are_rendered_as_far_as_they_can_be() {
    let repo = layered();
    repo.write("environments/prod/environment.yaml", "extends: bsae\nlabels: { tier: gold }\nfoo: 1\n");
    let output = repo.run(&["render", "prod"]).code(1);
    assert!(
        output.stdout.contains("tier: gold") && output.stderr.contains("Did you mean `base`?"),
        "{}{}",
        output.stdout,
        output.stderr
    );
    repo.write("environments/prod/environment.yaml", "extends: base\nvariables: { domain: null }\n");
    let output = repo.run(&["render", "prod", "relay", "--format", "json"]).code(1);
    assert_eq!(output.json()["value"]["from"]["address"], "erp@${domain}");
    assert!(output.stderr.contains("undefined variable `domain`"), "{}", output.stderr);
    // An abstract layer need not be complete.
    repo.run(&["render", "base"]).code(0);
    assert!(repo.run(&["render", "prod", "rely"]).code(1).stderr.contains("Did you mean `relay`?"));
}

#[test]
fn possible_secrets_are_never_printed() {
    let repo = layered();
    repo.write(
        "environments/prod/environment.yaml",
        "extends: base\nvariables: { relayPassword: canary-1, plain: canary-free }\npasswrd: canary-2\n",
    );
    repo.write(
        "environments/prod/profiles/relay.yaml",
        "description: ${relayPassword}\nprovider:\n  smtp:\n    password: canary-3\n    passwort: { x: canary-4 }\nfrom:\n  name: AKa9Xq2LmZ8vBn4Rt6Yw1Cd3canary\n",
    );
    for format in ["yaml", "json"] {
        let output = repo.run(&["render", "prod", "--format", format]).code(1);
        assert!(output.stdout.contains("canary-free"), "{}", output.stdout);
        for leaked in ["canary-1", "canary-2", "canary-3", "canary-4", "AKa9"] {
            assert!(
                !output.stdout.contains(leaked) && !output.stderr.contains(leaked),
                "{leaked}: {}{}",
                output.stdout,
                output.stderr
            );
        }
    }
    assert!(SMALL_PROFILE.contains("smtp"));
}

#[test]
fn the_values_of_many_unknown_keys_are_masked() {
    let repo = layered();
    let unknown: String = (0..300).map(|n| format!("pasword{n}: hunter{n}\n")).collect();
    repo.write("environments/prod/profiles/relay.yaml", &unknown);
    let nested: String = (0..300).map(|n| format!("      note{n}: hunter{n}\n")).collect();
    repo.write(
        "environments/prod/environment.yaml",
        format!("extends: base\nvariables: {{ domain: prod.example }}\nverify:\n  credentials:\n    more:\n{nested}"),
    );
    for format in ["yaml", "json"] {
        let output = repo.run(&["render", "prod", "--format", format]);
        assert!(output.stdout.contains("pasword299") && output.stdout.contains("note299"), "{}", output.stdout);
        assert!(!output.stdout.contains("hunter"), "{}", output.stdout);
    }
}
