//! Warnings that say that a secret or a decision is less safe than it seems. Each has a test, so that none disappears.

use crate::support::repository::{SMALL_PROFILE, TestRepository, run_command};

#[test]
fn the_first_token_in_a_file_that_git_would_add_is_warned_of() {
    for (ignored, is_warned) in [("", true), ("/.token\n", false)] {
        let mut repo = TestRepository::small();
        crate::git::git(&repo, &["init", "-q"]);
        repo.write(".gitignore", ignored);
        repo.serve();
        // The token is accepted after the warning, and each request is logged.
        let log = loop {
            repo.state();
            let log = repo.service_log();
            if log.contains("/v1/state") {
                break log;
            }
        };
        let warning = "warning: Git does not ignore `";
        assert_eq!(log.contains(warning), is_warned, "{log}");
        assert_eq!(log.contains("at the top of its work tree: /.token\n"), is_warned, "{log}");
        assert!(!log.contains(repo.token()), "{log}");
    }
}

#[test]
fn a_pull_request_with_a_token_that_may_apply_is_warned_of() {
    let mut repo = TestRepository::small();
    repo.serve();
    let warning = "warning: the token of this pull request's job may apply";
    let plan = |variable: (&str, &str), token: Option<&str>| {
        let mut command = repo.command(&["plan", "dev"]);
        command.env(variable.0, variable.1);
        if let Some(token) = token {
            command.env("MAILWRIGHT_TOKEN", token);
        }
        run_command(command).code(0).stderr
    };
    for variable in [
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("CI_MERGE_REQUEST_IID", "7"),
        ("SYSTEM_PULLREQUEST_PULLREQUESTID", "7"),
    ] {
        let said = plan(variable, None);
        assert!(said.contains(warning) && said.contains("role `planner`"), "{said}");
    }
    assert!(!plan(("GITHUB_EVENT_NAME", "push"), None).contains("warning"));
    repo.run(&["token", "create", "dev", "--name", "ci", "--role", "planner", "--out", "ci.token"]).code(0);
    let token = repo.read("ci.token").trim().to_owned();
    assert!(!plan(("GITHUB_EVENT_NAME", "pull_request"), Some(&token)).contains("warning"));
}

#[test]
fn a_plan_that_was_not_compared_with_the_service_is_warned_of() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["plan", "dev", "--out", "dev.plan"]).code(0);
    let warning = "warning: this is the plan in the file; it was not compared with the service";
    let said = repo.run(&["approve", "dev.plan", "--offline", "--key", "none.pub"]);
    assert!(said.stderr.contains(warning), "{}", said.stderr);
    let said = repo.run(&["approve", "dev.plan", "--key", "none.pub"]);
    assert!(!said.stderr.contains("warning"), "{}", said.stderr);
}

#[test]
fn an_elliptic_key_is_sealed_with_a_warning() {
    let repo = TestRepository::small();
    let profile = SMALL_PROFILE.split("from:").nth(1).unwrap();
    repo.write(
        "environments/dev/profiles/documents.yaml",
        format!(
            "provider:\n  microsoft-graph-direct:\n    tenant: contoso.example\n    client: 11111111-1111-4111-8111-111111111111\n    credential: {{ certificate: {{ secret: documents/certificate }} }}\nfrom:{}",
            profile.replace("[default]", "[all-reports]")
        ),
    );
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    repo.run(&["secrets", "init", "dev", &recipient]).code(0);
    let key = rcgen::generate_simple_self_signed(vec!["erp".to_owned()]).unwrap();
    let pem = format!("{}{}", key.cert.pem(), key.signing_key.serialize_pem());
    let output = repo.pipe(&["secrets", "set", "dev", "documents/certificate"], pem.as_bytes()).code(0);
    let warning = "warning: `documents/certificate` is sealed, but verify and apply will reject it";
    assert!(output.stderr.contains(warning) && output.stderr.contains("help: "), "{}", output.stderr);
}

#[test]
fn an_unusual_port_is_a_warning_of_apply() {
    let mut repo = TestRepository::small();
    let profile =
        SMALL_PROFILE.replace("smtp.example.com", "smtp.example.com\n    port: 465\n    encryption: starttls");
    repo.write("environments/dev/profiles/relay.yaml", profile);
    repo.serve();
    let said = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0).stderr;
    assert!(said.contains("warning[MW0111]: `relay`: "), "{said}");
    repo.write("environments/dev/profiles/relay.yaml", SMALL_PROFILE);
    let said = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0).stderr;
    assert!(!said.contains("warning"), "{said}");
}
