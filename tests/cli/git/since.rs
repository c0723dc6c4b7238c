//! `plan --since`: only the environments that the change touches.

use super::{commit, edit, git, layered, touched};
use crate::support::trial::{Ran, Trial, finish};

#[test]
fn through_layers_variables_and_secrets() {
    let trial = layered();
    let after = |path: &str, from: &str, to: &str| {
        edit(&trial, path, from, to);
        let touched = touched(&trial, &[]);
        git(&trial, &["checkout", "--quiet", "."]);
        touched
    };
    let all = "dev changed, prod changed, test changed";
    assert_eq!(after("environments/base/profiles/reports.yaml", "[all-reports]", "[all-documents]"), all);
    assert_eq!(after("environments/base/environment.yaml", "example.com", "example.org"), all, "a variable");
    assert_eq!(
        after("environments/base/profiles/relay.yaml", "smtp.example.com", "other.example.com"),
        "dev changed, prod changed",
        "`test` says its own"
    );
    assert_eq!(after("environments/prod/environment.yaml", "[EDU1]", "[EDU2]"), "prod changed");
    assert_eq!(after("environments/prod/environment.yaml", "companies", "# a remark\ncompanies"), "");
    trial.write("environments/base/README.md", "About.\n");
    trial.write("environments/prod/.notes", "About.\n");
    assert_eq!(touched(&trial, &[]), "", "what means nothing touches nothing");
    // The layer changes: what the old one said counts as much as what the new one says.
    trial.write("environments/other/environment.yaml", "abstract: true\n");
    trial.write("environments/prod/environment.yaml", "extends: other\ncompanies: [EDU1]\n");
    assert_eq!(touched(&trial, &["HEAD"]), "prod invalid", "nobody sends there");
}

/// A repository whose environment `dev` has a running service; `prod` and `test` have none.
fn served() -> Trial {
    let mut trial = layered();
    trial.serve();
    let declared = format!("service: {{ address: '{}' }}\ncompanies", trial.address());
    edit(&trial, "environments/dev/environment.yaml", "companies", &declared);
    commit(&trial, "where dev is");
    trial
}

/// Each environment's own address counts.
fn run(trial: &Trial, arguments: &[&str]) -> Ran {
    let mut command = trial.command(arguments);
    command.env_remove("MAILWRIGHT_SERVICE");
    finish(command)
}

#[test]
fn plan_asks_only_the_services_of_what_is_touched() {
    let trial = served();
    let declared = "environments/dev/environment.yaml";
    run(&trial, &["apply", "dev", "--yes", "--skip-verify"]).code(0);
    for command in ["plan", "status", "drift", "verify"] {
        let ran = run(&trial, &[command, "--since", "HEAD"]).code(0);
        assert!(ran.stdout.starts_with("No environment says anything else than HEAD ("), "{command}: {}", ran.stdout);
    }
    let ran = run(&trial, &["plan", "--since", "HEAD", "--format", "json"]).code(0);
    assert_eq!(ran.json()["environments"], serde_json::json!({}));
    edit(&trial, declared, "[EDU1]", "[EDU1, EDU2]");
    let ran = run(&trial, &["plan", "--since", "HEAD", "--detailed-exitcode"]).code(2);
    assert!(ran.stdout.contains("=== dev") && ran.stdout.matches("Plan: ").count() == 1, "{}", ran.stdout);
    // `prod` and `test` have no service here: planning them fails, and `dev` still shows.
    edit(&trial, "environments/base/environment.yaml", "example.com", "example.org");
    let ran = run(&trial, &["plan", "--since", "HEAD"]).code(1);
    assert!(ran.stdout.contains("=== dev") && ran.stdout.contains("MW0207"), "{}", ran.stdout);
    assert!(ran.stdout.contains("3 environments: 1 with changes, 2 failed."), "{}", ran.stdout);
    let ran = run(&trial, &["plan", "--since", "HEAD", "dev"]).code(0);
    assert!(ran.stdout.contains("reports@example.org"), "{}", ran.stdout);
    std::fs::remove_dir_all(trial.path("environments/test")).unwrap();
    let ran = run(&trial, &["plan", "--since", "HEAD"]).code(1);
    assert!(ran.stderr.contains("test is gone since HEAD ("), "{}", ran.stderr);
    // What is touched is what is applied, and what is checked.
    git(&trial, &["checkout", "--quiet", "."]);
    edit(&trial, declared, "[EDU1]", "[EDU1, EDU3]");
    run(&trial, &["apply", "--since", "HEAD", "--yes", "--skip-verify"]).code(0);
    run(&trial, &["plan", "dev", "--detailed-exitcode"]).code(0);
    let ran = run(&trial, &["validate", "--since", "HEAD"]).code(0);
    assert!(ran.stdout.starts_with("No problems in 1 environment"), "{}", ran.stdout);
}

#[test]
fn since_a_branch_parted() {
    let trial = served();
    git(&trial, &["checkout", "--quiet", "-b", "topic"]);
    git(&trial, &["checkout", "--quiet", "main"]);
    edit(&trial, "environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
    commit(&trial, "on main");
    git(&trial, &["checkout", "--quiet", "topic"]);
    edit(&trial, "environments/dev/environment.yaml", "[EDU1]", "[EDU1, EDU2]");
    let ran = run(&trial, &["plan", "--since", "main..."]).code(0);
    assert!(ran.stdout.contains("=== dev") && !ran.stdout.contains("prod"), "{}", ran.stdout);
    // Without the dots it is what differs: what `main` has beyond this would go.
    let ran = run(&trial, &["plan", "--since", "main"]).code(1);
    assert!(ran.stdout.contains("=== dev") && ran.stdout.contains("=== prod"), "{}", ran.stdout);
}
