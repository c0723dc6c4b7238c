//! Tokens from the command line: whose they are, what they are limited to, where they are kept, and the way back for an
//! administrator who has lost theirs. Variables of the environment that are nobody's setting.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::trial::{Trial, finish};
use serde_json::json;

fn applied() -> Trial {
    let mut trial = Trial::small();
    trial.serve();
    trial.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    trial
}

const CREATE: [&str; 4] = ["token", "create", "dev", "--name"];

#[test]
fn a_list_shows_what_each_token_is_limited_to() {
    let trial = applied();
    let limited = ["erp", "--role", "sender", "--companies", "EDU1", "--functions", "all-documents,default"];
    trial.run(&[&CREATE[..], &limited].concat()).code(0);
    let list = trial.run(&["token", "list", "dev"]).code(0).stdout;
    let line = |name: &str| list.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(list.contains("COMPANIES") && list.contains("FUNCTIONS"), "{list}");
    assert!(line("erp").contains("EDU1") && line("erp").contains("default, all-documents"), "{list}");
    assert_eq!(line("first-admin").matches("all").count(), 2, "{list}");
}

#[test]
fn a_company_that_is_unknown_is_refused_and_so_is_a_function() {
    let mut trial = Trial::small();
    trial.serve();
    let sender = |name: &'static str, company: &'static str| {
        [&CREATE[..], &[name, "--role", "sender", "--companies", company]].concat()
    };
    // Before the first apply, the service knows no company at all.
    trial.run(&sender("early", "EDU7")).code(0);
    trial.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    trial.run(&sender("known", "EDU1")).code(0);
    let refused = trial.run(&sender("unknown", "EDU9")).code(1);
    assert!(refused.stderr.contains("MW0105") && refused.stderr.contains("EDU9"), "{}", refused.stderr);
    let refused = trial.run(&[&CREATE[..], &["x", "--role", "sender", "--functions", "all-document"]].concat()).code(1);
    assert!(refused.stderr.contains("all-document"), "{}", refused.stderr);
    let body = json!({ "name": "x", "role": "sender", "scope": { "companies": ["EDU1", "EDU9"] } }).to_string();
    assert_eq!(trial.http("POST", "/v1/tokens", &[], body.as_bytes()).status, 422);
}

#[test]
fn two_tokens_in_effect_do_not_share_a_name() {
    let trial = applied();
    trial.run(&[&CREATE[..], &["pipeline", "--role", "deployer"]].concat()).code(0);
    for name in ["pipeline", "Pipeline"] {
        let refused = trial.run(&[&CREATE[..], &[name, "--role", "viewer"]].concat()).code(1);
        assert!(refused.stderr.contains("MW0228") && refused.stderr.contains("token revoke dev"), "{}", refused.stderr);
    }
    let list = trial.run(&["token", "list", "dev", "--format", "json"]).code(0).json();
    let tokens = list["tokens"].as_array().unwrap();
    let id = tokens.iter().find(|token| token["name"] == "pipeline").unwrap()["id"].as_str().unwrap();
    assert_eq!(tokens.len(), 2);
    trial.run(&["token", "revoke", "dev", id]).code(0);
    trial.run(&[&CREATE[..], &["pipeline", "--role", "viewer"]].concat()).code(0);
}

#[test]
fn the_service_of_another_environment_is_refused() {
    let trial = applied();
    trial.write("environments/prod/environment.yaml", "companies: [EDU1]\n");
    let address = trial.address().to_owned();
    for arguments in [
        &["token", "list", "prod"][..],
        &["token", "create", "prod", "--name", "x", "--role", "viewer"],
        &["token", "revoke", "prod", "000000000000"],
    ] {
        let refused = trial.run(&[arguments, &["--service", &address]].concat()).code(1);
        assert!(refused.stderr.contains("MW0211") && refused.stderr.contains("`dev`"), "{}", refused.stderr);
    }
    assert_eq!(
        trial.run(&["token", "list", "dev", "--format", "json"]).code(0).json()["tokens"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_lost_token_of_an_administrator_has_a_way_back() {
    let mut trial = applied();
    let lost = trial.token().to_owned();
    trial.kill();
    trial.remove(".token");
    trial.serve_with(&["--demo", "--new-admin-token"]);
    let fresh = trial.token().to_owned();
    assert_ne!(fresh, lost);
    let list = trial.run(&["token", "list", "dev", "--format", "json"]).code(0).json();
    let admins = list["tokens"].as_array().unwrap().iter().filter(|token| token["role"] == "admin").count();
    assert_eq!(admins, 2);
    let id = lost.split('_').nth(1).unwrap();
    trial.run(&["token", "revoke", "dev", id]).code(0);
    assert!(trial.run(&["audit", "list", "dev"]).code(0).stdout.contains("--new-admin-token"));
    // Without the option, a start makes none.
    trial.kill();
    trial.serve();
    assert_eq!(trial.token(), fresh);
}

#[test]
fn a_token_file_that_others_can_read_is_warned_of() {
    let trial = applied();
    trial.write("token", trial.token());
    let list = |mode: u32| {
        std::fs::set_permissions(trial.path("token"), std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = trial.command(&["token", "list", "dev", "--token-file", "token"]);
        command.env_remove("MAILWRIGHT_TOKEN");
        finish(command).code(0).stderr
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
fn what_kubernetes_puts_into_a_pod_is_no_setting() {
    let trial = applied();
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
    let mut command = trial.command(&["plan", "dev"]);
    command.envs(links);
    assert!(finish(command).code(0).stdout.contains("No changes."));
    for (name, value) in
        [("MAILWRIGHT_PORT", "8470"), ("MAILWRIGHT_SERVICE_HOST", "mail.example.com"), ("MAILWRIGHT_TOKNE", "x")]
    {
        let mut command = trial.command(&["plan", "dev"]);
        command.envs(links).env(name, value);
        let refused = finish(command).code(1);
        assert!(refused.stderr.contains("MW0250") && refused.stderr.contains(name), "{}", refused.stderr);
    }
}
