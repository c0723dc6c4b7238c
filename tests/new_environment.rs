//! `new environment`: a short file that reads back as what was asked for, nothing overwritten, nothing wrong left behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod support;

use serde_json::json;
use support::trial::Trial;

/// A base that takes variables and a secret.
fn trial() -> Trial {
    let trial = Trial::empty();
    trial.write(
        "environments/base/environment.yaml",
        "abstract: true\ncompanies: [EDU1]\nvariables: { domain: example.com, port: 587, code: \"0123\" }\n",
    );
    trial.write(
        "environments/base/profiles/relay.yaml",
        "provider:\n  smtp:\n    host: ${host}\n    port: ${port}\n    username: erp\n    password: { secret: relay/password }\nfrom:\n  address: erp@${domain}\nfunctions: [default]\nappliesTo: system-wide\n",
    );
    trial
}

#[test]
fn it_writes_a_short_file_and_says_what_is_missing() {
    let trial = trial();
    let ran = trial
        .run(&[
            "new",
            "environment",
            "acme",
            "--from",
            "base",
            "--set",
            "host=smtp.acme.example",
            "--set",
            "port=25",
            "--set",
            "code=42",
            "--label",
            "region=emea",
            "--label",
            "wave=2",
            "--company",
            "ACME",
            "--company",
            "10",
            "--service",
            "https://mail.acme.example",
        ])
        .code(0);
    assert_eq!(ran.stdout, "wrote environments/acme/environment.yaml\n");
    assert_eq!(
        trial.read("environments/acme/environment.yaml"),
        "# yaml-language-server: $schema=../../schema/environment.schema.json\n\
         extends: base\ncompanies: [\"ACME\", \"10\"]\n\n\
         service:\n  address: \"https://mail.acme.example\"\n\n\
         labels:\n  region: emea\n  wave: \"2\"\n\n\
         variables:\n  code: \"42\"\n  host: smtp.acme.example\n  port: 25\n"
    );
    assert!(ran.stderr.contains("mailwright secrets init acme"), "{}", ran.stderr);
    assert!(ran.stderr.contains("mailwright secrets set acme relay/password"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("warning") && !ran.stderr.contains("service:"), "{}", ran.stderr);
    // As soon as the secret is there, the environment is whole.
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    trial.run(&["secrets", "init", "acme", &recipient]).code(0);
    trial.pipe(&["secrets", "set", "acme", "relay/password"], b"pass").code(0);
    trial.run(&["validate", "acme"]).code(0);
}

#[test]
fn nothing_is_overwritten() {
    let trial = trial();
    let before = trial.read("environments/base/environment.yaml");
    for name in ["base", "Base"] {
        let ran = trial.run(&["new", "environment", name, "--format", "json"]).code(1);
        assert_eq!(ran.json()["error"]["code"], "MW0271");
    }
    assert_eq!(trial.read("environments/base/environment.yaml"), before);
    std::fs::create_dir(trial.path("environments/.x")).unwrap();
    trial.write("environments/taken", "");
    assert!(trial.run(&["new", "environment", "taken"]).code(1).stderr.contains("MW0271"));
}

#[test]
fn what_makes_no_sense_leaves_nothing_behind() {
    let trial = trial();
    for (arguments, says) in [
        (&["../x"][..], "is not an environment's name"),
        (&["x", "--from", "bsae"], "Did you mean `base`?"),
        (&["x", "--from", "base", "--company", "too-long"], "is not a company id"),
        (&["x", "--from", "base", "--label", "a=b c"], "not a label's value"),
        (&["x", "--from", "base", "--label", "_a=b"], "the name of a label is not allowed"),
        (&["x", "--from", "base", "--set", "1a=b"], "the name of a variable is not allowed"),
        (&["x", "--from", "base", "--set", "host=${domain}"], "takes another variable"),
        (&["x", "--from", "base", "--set", "host=a", "--set", "host=b"], "given twice"),
        (&["x", "--from", "base", "--set", "host"], "NAME=VALUE"),
        (&["x", "--from", "base", "--set", "host=AKa9Xq2LmZ8vBn4Rt6Yw1Cd3"], "looks like a key"),
        (&["x", "--from", "base", "--service", "ftp://x"], "not the address of a service"),
    ] {
        let all: Vec<&str> = ["new", "environment"].into_iter().chain(arguments.iter().copied()).collect();
        let ran = trial.run(&all).code(1);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("AKa9"), "{}", ran.stderr);
        assert!(ran.stdout.is_empty() && !trial.path("environments/x").exists(), "{arguments:?}: {}", ran.stdout);
    }
}

#[test]
fn a_variable_that_nothing_takes_is_a_warning() {
    let trial = trial();
    let ran = trial.run(&["new", "environment", "a", "--from", "base", "--set", "hosst=a", "--set", "host=b"]).code(0);
    assert!(ran.stderr.contains("warning[MW0272]: no layer has or takes the variable `hosst`. Did you mean `host`?"));
    assert_eq!(ran.stderr.matches("warning").count(), 1, "{}", ran.stderr);
    // One that something takes and nobody sets is told as what is missing.
    let ran = trial.run(&["new", "environment", "b", "--from", "base", "--format", "json"]).code(0);
    let document = ran.json();
    assert_eq!(document["problems"][0]["code"], "MW0022");
    assert_eq!(document["missing"], json!({ "secrets": ["relay/password"], "service": true }));
}

#[test]
fn texts_of_all_kinds_read_back_as_they_were() {
    let trial = trial();
    let values = [
        "yes",
        "null",
        "0123",
        "1e3",
        "0x1F",
        "12:30",
        "a: b",
        "# no",
        "- a",
        "\"quoted\"",
        "it's",
        "Ünï ☃",
        "a\\b",
        "{}",
        "*a",
        "&a",
        "@a",
        "`a`",
        "%a",
        "!a",
        "2026-01-01",
        "~",
        " spaced ",
        "tab\there",
    ];
    for (index, value) in values.iter().enumerate() {
        let name = format!("e{index}");
        let set = format!("text={value}");
        trial.run(&["new", "environment", &name, "--from", "base", "--set", &set, "--set", "host=h"]).code(0);
        let rendered = trial.run(&["render", &name, "--format", "json"]).json();
        assert_eq!(rendered["value"]["variables"]["text"], *value);
    }
    for (text, value) in [("5", json!(5)), ("true", json!(true)), ("1.5", json!(1.5))] {
        let name = format!("n{}", text.replace('.', "-"));
        trial.run(&["new", "environment", &name, "--set", &format!("n={text}")]).code(0);
        assert_eq!(trial.run(&["render", &name, "--format", "json"]).json()["value"]["variables"]["n"], value);
    }
}

#[test]
fn a_dry_run_prints_the_file() {
    let trial = trial();
    let ran = trial.run(&["new", "environment", "a", "--from", "base", "--dry-run"]).code(0);
    assert!(ran.stdout.ends_with("extends: base\n"), "{}", ran.stdout);
    assert!(!trial.path("environments/a").exists());
}
