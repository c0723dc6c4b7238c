//! `plan --since`: only the environments that the change touches.

use super::{commit, edit, git, layered, touched};
use crate::support::repository::{CommandOutput, TestRepository, run_command};

#[test]
fn through_layers_variables_and_secrets() {
    let repo = layered();
    let after = |path: &str, from: &str, to: &str| {
        edit(&repo, path, from, to);
        let touched = touched(&repo, &[]);
        git(&repo, &["checkout", "--quiet", "."]);
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
    repo.write("environments/base/README.md", "About.\n");
    repo.write("environments/prod/.notes", "About.\n");
    assert_eq!(touched(&repo, &[]), "", "what means nothing touches nothing");
    // The layer changes: what the old one said counts as much as what the new one says.
    repo.write("environments/other/environment.yaml", "abstract: true\n");
    repo.write("environments/prod/environment.yaml", "extends: other\ncompanies: [EDU1]\n");
    assert_eq!(touched(&repo, &["HEAD"]), "prod invalid", "it has no sender");
}

/// A repository whose environment `dev` has a running service; `prod` and `test` have none.
fn served() -> TestRepository {
    let mut repo = layered();
    repo.serve();
    let declared = format!("service: {{ address: '{}' }}\ncompanies", repo.address());
    edit(&repo, "environments/dev/environment.yaml", "companies", &declared);
    commit(&repo, "where dev is");
    repo
}

/// Each environment's own address counts.
fn run(repo: &TestRepository, arguments: &[&str]) -> CommandOutput {
    let mut command = repo.command(arguments);
    command.env_remove("MAILWRIGHT_SERVICE");
    run_command(command)
}

#[test]
fn plan_asks_only_the_services_of_what_is_touched() {
    let repo = served();
    let declared = "environments/dev/environment.yaml";
    run(&repo, &["apply", "dev", "--yes", "--skip-verify"]).code(0);
    for command in ["plan", "status", "drift", "verify"] {
        let output = run(&repo, &[command, "--since", "HEAD"]).code(0);
        assert!(output.stdout.starts_with("No environment differs from HEAD ("), "{command}: {}", output.stdout);
    }
    let output = run(&repo, &["plan", "--since", "HEAD", "--format", "json"]).code(0);
    assert_eq!(output.json()["environments"], serde_json::json!({}));
    edit(&repo, declared, "[EDU1]", "[EDU1, EDU2]");
    let output = run(&repo, &["plan", "--since", "HEAD", "--detailed-exitcode"]).code(2);
    assert!(output.stdout.contains("=== dev") && output.stdout.matches("Plan: ").count() == 1, "{}", output.stdout);
    // `prod` and `test` have no service here: planning them fails, and `dev` still shows.
    edit(&repo, "environments/base/environment.yaml", "example.com", "example.org");
    let output = run(&repo, &["plan", "--since", "HEAD"]).code(1);
    assert!(output.stdout.contains("=== dev") && output.stdout.contains("MW0207"), "{}", output.stdout);
    assert!(output.stdout.contains("3 environments: 1 with changes, 2 failed."), "{}", output.stdout);
    let output = run(&repo, &["plan", "--since", "HEAD", "dev"]).code(0);
    assert!(output.stdout.contains("reports@example.org"), "{}", output.stdout);
    std::fs::remove_dir_all(repo.path("environments/test")).unwrap();
    let output = run(&repo, &["plan", "--since", "HEAD"]).code(1);
    assert!(output.stderr.contains("test was removed since HEAD ("), "{}", output.stderr);
    // The environments that changed are applied and checked, and no others.
    git(&repo, &["checkout", "--quiet", "."]);
    edit(&repo, declared, "[EDU1]", "[EDU1, EDU3]");
    run(&repo, &["apply", "--since", "HEAD", "--yes", "--skip-verify"]).code(0);
    run(&repo, &["plan", "dev", "--detailed-exitcode"]).code(0);
    let output = run(&repo, &["validate", "--since", "HEAD"]).code(0);
    assert!(output.stdout.starts_with("No problems in 1 environment"), "{}", output.stdout);
}

#[test]
fn since_a_branch_parted() {
    let repo = served();
    git(&repo, &["checkout", "--quiet", "-b", "topic"]);
    git(&repo, &["checkout", "--quiet", "main"]);
    edit(&repo, "environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
    commit(&repo, "on main");
    git(&repo, &["checkout", "--quiet", "topic"]);
    edit(&repo, "environments/dev/environment.yaml", "[EDU1]", "[EDU1, EDU2]");
    let output = run(&repo, &["plan", "--since", "main..."]).code(0);
    assert!(output.stdout.contains("=== dev") && !output.stdout.contains("prod"), "{}", output.stdout);
    // Without the dots it is what differs: what `main` has beyond this would go.
    let output = run(&repo, &["plan", "--since", "main"]).code(1);
    assert!(output.stdout.contains("=== dev") && output.stdout.contains("=== prod"), "{}", output.stdout);
}
