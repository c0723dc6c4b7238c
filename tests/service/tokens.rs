//! Tokens from the command line: whose they are, what they are limited to, where they are kept, and the way back for an
//! administrator who has lost theirs. Environment variables that are not settings of Mailwright.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::repository::{TestRepository, run_command};
use serde_json::json;

fn applied() -> TestRepository {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo
}

const CREATE: [&str; 4] = ["token", "create", "dev", "--name"];

#[test]
fn a_list_shows_what_each_token_is_limited_to() {
    let repo = applied();
    let limited = ["erp", "--role", "sender", "--companies", "EDU1", "--functions", "all-documents,default"];
    repo.run(&[&CREATE[..], &limited].concat()).code(0);
    let list = repo.run(&["token", "list", "dev"]).code(0).stdout;
    let line = |name: &str| list.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(list.contains("COMPANIES") && list.contains("FUNCTIONS"), "{list}");
    assert!(line("erp").contains("EDU1") && line("erp").contains("default, all-documents"), "{list}");
    assert_eq!(line("first-admin").matches("all").count(), 2, "{list}");
}

#[test]
fn a_company_that_is_unknown_is_refused_and_so_is_a_function() {
    let mut repo = TestRepository::small();
    repo.serve();
    let sender = |name: &'static str, company: &'static str| {
        [&CREATE[..], &[name, "--role", "sender", "--companies", company]].concat()
    };
    // Before the first apply, the service knows no company at all.
    repo.run(&sender("early", "EDU7")).code(0);
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo.run(&sender("known", "EDU1")).code(0);
    let refused = repo.run(&sender("unknown", "EDU9")).code(1);
    assert!(refused.stderr.contains("MW0105") && refused.stderr.contains("EDU9"), "{}", refused.stderr);
    let refused = repo.run(&[&CREATE[..], &["x", "--role", "sender", "--functions", "all-document"]].concat()).code(1);
    assert!(refused.stderr.contains("all-document"), "{}", refused.stderr);
    let body = json!({ "name": "x", "role": "sender", "scope": { "companies": ["EDU1", "EDU9"] } }).to_string();
    assert_eq!(repo.http("POST", "/v1/tokens", &[], body.as_bytes()).status, 422);
}

#[test]
fn a_name_that_could_be_taken_for_another_subject_is_refused() {
    let repo = applied();
    let create = |path: &str, name: &str| {
        let body = json!({ "name": name, "role": "viewer" }).to_string();
        repo.http("POST", path, &[], body.as_bytes())
    };
    // People of an identity provider are named `Name (PROVIDER:ID)`. Tokens and operators are refused alike.
    for path in ["/v1/tokens", "/v1/operators"] {
        for name in ["", " x", "x ", "a\nb", "(service)", "Ann (entra:1)", &"x".repeat(81)] {
            let refused = create(path, name);
            assert!(
                refused.status == 400 && refused.body.contains("`name` must have"),
                "{path} {name}: {}",
                refused.body
            );
        }
        let scoped = json!({ "name": "y", "role": "viewer", "scope": { "companies": ["EDU1"] } }).to_string();
        assert_eq!(repo.http("POST", path, &[], scoped.as_bytes()).status, 400);
        let unknown = json!({ "name": "y", "role": "sender", "scope": { "companies": ["EDU9"] } }).to_string();
        assert_eq!(repo.http("POST", path, &[], unknown.as_bytes()).status, 422, "{path}");
        assert_eq!(create(path, &"x".repeat(80)).status, 201);
    }
}

#[test]
fn two_tokens_in_effect_do_not_share_a_name() {
    let repo = applied();
    repo.run(&[&CREATE[..], &["pipeline", "--role", "deployer"]].concat()).code(0);
    for name in ["pipeline", "Pipeline"] {
        let refused = repo.run(&[&CREATE[..], &[name, "--role", "viewer"]].concat()).code(1);
        assert!(refused.stderr.contains("MW0228") && refused.stderr.contains("token revoke dev"), "{}", refused.stderr);
    }
    let list = repo.run(&["token", "list", "dev", "--format", "json"]).code(0).json();
    let tokens = list["tokens"].as_array().unwrap();
    let id = tokens.iter().find(|token| token["name"] == "pipeline").unwrap()["id"].as_str().unwrap();
    assert_eq!(tokens.len(), 2);
    repo.run(&["token", "revoke", "dev", id]).code(0);
    repo.run(&[&CREATE[..], &["pipeline", "--role", "viewer"]].concat()).code(0);
}

#[test]
fn the_service_of_another_environment_is_refused() {
    let repo = applied();
    repo.write("environments/prod/environment.yaml", "companies: [EDU1]\n");
    let address = repo.address().to_owned();
    for arguments in [
        &["token", "list", "prod"][..],
        &["token", "create", "prod", "--name", "x", "--role", "viewer"],
        &["token", "revoke", "prod", "000000000000"],
    ] {
        let refused = repo.run(&[arguments, &["--service", &address]].concat()).code(1);
        assert!(refused.stderr.contains("MW0211") && refused.stderr.contains("`dev`"), "{}", refused.stderr);
    }
    assert_eq!(
        repo.run(&["token", "list", "dev", "--format", "json"]).code(0).json()["tokens"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_lost_token_of_an_administrator_has_a_way_back() {
    let mut repo = applied();
    let lost = repo.token().to_owned();
    repo.kill();
    repo.remove(".token");
    repo.serve_with(&["--demo", "--new-admin-token"]);
    let fresh = repo.token().to_owned();
    assert_ne!(fresh, lost);
    let list = repo.run(&["token", "list", "dev", "--format", "json"]).code(0).json();
    let admins = list["tokens"].as_array().unwrap().iter().filter(|token| token["role"] == "admin").count();
    assert_eq!(admins, 2);
    let id = lost.split('_').nth(1).unwrap();
    repo.run(&["token", "revoke", "dev", id]).code(0);
    assert!(repo.run(&["audit", "list", "dev"]).code(0).stdout.contains("--new-admin-token"));
    // Without the option, a start makes none.
    repo.kill();
    repo.serve();
    assert_eq!(repo.token(), fresh);
}

#[test]
fn a_token_file_that_others_can_read_is_warned_of() {
    let repo = applied();
    repo.write("token", repo.token());
    let list = |mode: u32| {
        std::fs::set_permissions(repo.path("token"), std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = repo.command(&["token", "list", "dev", "--token-file", "token"]);
        command.env_remove("MAILWRIGHT_TOKEN");
        run_command(command).code(0).stderr
    };
    for mode in [0o644, 0o640, 0o604, 0o620] {
        let stderr = list(mode);
        assert!(
            stderr.contains("others can read the token file `token`") && stderr.contains("chmod 600 token"),
            "{stderr}"
        );
    }
    assert!(!list(0o600).contains("others can read"));
}

#[test]
fn variables_of_kubernetes_are_not_settings() {
    let repo = applied();
    let links = [
        ("MAILWRIGHT_SERVICE_HOST", "10.96.14.2"),
        ("MAILWRIGHT_SERVICE_PORT", "8470"),
        ("MAILWRIGHT_SERVICE_PORT_HTTPS", "8470"),
        ("MAILWRIGHT_PORT", "tcp://10.96.14.2:8470"),
        ("MAILWRIGHT_PORT_8470_TCP", "tcp://10.96.14.2:8470"),
        ("MAILWRIGHT_PORT_8470_TCP_PROTO", "tcp"),
        ("MAILWRIGHT_PORT_8470_TCP_PORT", "8470"),
        ("MAILWRIGHT_PORT_8470_TCP_ADDR", "10.96.14.2"),
        ("MAILWRIGHT_BETA_SERVICE_HOST", "10.96.14.3"),
        ("MAILWRIGHT_BETA_PORT_8470_TCP", "tcp://10.96.14.3:8470"),
    ];
    let mut command = repo.command(&["plan", "dev"]);
    command.envs(links);
    assert!(run_command(command).code(0).stdout.contains("No changes."));
    for (name, value) in
        [("MAILWRIGHT_PORT", "8470"), ("MAILWRIGHT_SERVICE_HOST", "mail.example.com"), ("MAILWRIGHT_TOKNE", "x")]
    {
        let mut command = repo.command(&["plan", "dev"]);
        command.envs(links).env(name, value);
        let refused = run_command(command).code(1);
        assert!(refused.stderr.contains("MW0250") && refused.stderr.contains(name), "{}", refused.stderr);
    }
}
