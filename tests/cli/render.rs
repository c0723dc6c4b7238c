//! `render`: what the layers amount to, with the place of every value; secrets stay names, whatever the files say.

use std::collections::BTreeMap;

use crate::support::trial::{SMALL_PROFILE, Trial};
use mailwright::config::Repository;
use serde_json::Value;

fn layered() -> Trial {
    let trial = Trial::empty();
    trial.write(
        "environments/base/environment.yaml",
        "abstract: true\ncompanies: [EDU1]\nvariables:\n  domain: example.com\n  port: 587\n",
    );
    trial.write(
        "environments/base/profiles/relay.yaml",
        "provider:\n  smtp:\n    host: smtp.${domain}\n    port: ${port}\n    username: erp\n    password: { secret: relay/password }\nfrom:\n  address: erp@${domain}\nfunctions: [default, all-reports]\nappliesTo: system-wide\n",
    );
    trial.write(
        "environments/prod/environment.yaml",
        "extends: base\nvariables: { domain: prod.example }\nlabels: { tier: \"1\" }\n",
    );
    trial.write("environments/prod/profiles/relay.yaml", "description: Über alles\n");
    trial
}

#[test]
fn every_value_has_the_place_that_it_comes_from() {
    let trial = layered();
    let ran = trial.run(&["render", "prod"]);
    insta::assert_snapshot!(ran.stdout);
    let one = trial.run(&["render", "prod", "relay"]).stdout;
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
    let trial = Trial::examples();
    let document = trial.run(&["render", "dev", "--format", "json"]).code(0).json();
    let yaml = lines(&trial.run(&["render", "dev"]).code(0).stdout);
    let places = document["places"].as_object().unwrap();
    assert!(places.len() > 100, "{}", places.len());
    for (pointer, place) in places {
        let value = document.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        let text = trial.read(place["file"].as_str().unwrap());
        let line = text.lines().nth(usize::try_from(place["line"].as_u64().unwrap()).unwrap() - 1).unwrap();
        // What takes no variable stands there as it is.
        if place["variables"].is_null() {
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert!(line.contains(&written), "{pointer}: {written} in {line}");
        } else {
            assert!(line.contains("${"), "{pointer}: {line}");
        }
        // Both forms say the same.
        let key = pointer.trim_start_matches('/').replacen("value/", "environment/", 1);
        if let Some((_, told)) = yaml.get(&key) {
            let expected = format!("{}:{}", place["file"].as_str().unwrap(), place["line"]);
            assert!(told.starts_with(&expected), "{key}: {told}");
        }
    }
    // It is what the other commands work with.
    let desired = Repository::open(trial.folder.path()).unwrap().load(&"dev".parse().unwrap()).unwrap();
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
    let trial = layered();
    trial.write("environments/prod/environment.yaml", "extends: bsae\nlabels: { tier: gold }\nfoo: 1\n");
    let ran = trial.run(&["render", "prod"]).code(1);
    assert!(
        ran.stdout.contains("tier: gold") && ran.stderr.contains("Did you mean `base`?"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    trial.write("environments/prod/environment.yaml", "extends: base\nvariables: { domain: null }\n");
    let ran = trial.run(&["render", "prod", "relay", "--format", "json"]).code(1);
    assert_eq!(ran.json()["value"]["from"]["address"], "erp@${domain}");
    assert!(ran.stderr.contains("no layer defines the variable `domain`"), "{}", ran.stderr);
    // An abstract layer need not be complete.
    trial.run(&["render", "base"]).code(0);
    assert!(trial.run(&["render", "prod", "rely"]).code(1).stderr.contains("Did you mean `relay`?"));
}

#[test]
fn what_could_be_a_secret_is_never_printed() {
    let trial = layered();
    trial.write(
        "environments/prod/environment.yaml",
        "extends: base\nvariables: { relayPassword: canary-1, plain: canary-free }\npasswrd: canary-2\n",
    );
    trial.write(
        "environments/prod/profiles/relay.yaml",
        "description: ${relayPassword}\nprovider:\n  smtp:\n    password: canary-3\n    passwort: { x: canary-4 }\nfrom:\n  name: AKa9Xq2LmZ8vBn4Rt6Yw1Cd3canary\n",
    );
    for format in ["yaml", "json"] {
        let ran = trial.run(&["render", "prod", "--format", format]).code(1);
        assert!(ran.stdout.contains("canary-free"), "{}", ran.stdout);
        for leaked in ["canary-1", "canary-2", "canary-3", "canary-4", "AKa9"] {
            assert!(
                !ran.stdout.contains(leaked) && !ran.stderr.contains(leaked),
                "{leaked}: {}{}",
                ran.stdout,
                ran.stderr
            );
        }
    }
    assert!(SMALL_PROFILE.contains("smtp"));
}
