//! Commands that are printed to be pasted: a name of a file, an address or a reply of a service is one argument of them, and runs
//! nothing.

use std::os::unix::fs::PermissionsExt as _;

use mailwright::{
    api::{VERSION, VERSION_HEADER},
    secrets::ServiceIdentity,
};
use serde_json::json;

use crate::support::{
    pasted::{HOSTILE, calls_of},
    recorder::Recorder,
    repository::{TestRepository, run_command},
};

/// Returns the text between two others.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("`{start}` is not in {text}"));
    let (found, _) = rest.rsplit_once(end).unwrap_or_else(|| panic!("`{end}` is not in {rest}"));
    found
}

/// Returns a path as an argument that is not an option.
fn as_argument(path: &str) -> String {
    if path.starts_with('-') { format!("./{path}") } else { path.to_owned() }
}

#[test]
fn a_path_is_one_argument() {
    let mut repo = TestRepository::small();
    repo.serve();
    for name in HOSTILE {
        let data = format!("{name}.data");
        std::fs::create_dir(repo.path(&data)).unwrap();
        std::fs::set_permissions(repo.path(&data), std::fs::Permissions::from_mode(0o777)).unwrap();
        let refused = repo.run(&["serve", "--environment", "dev", &format!("--data={data}")]).code(1).stderr;
        let command = between(&refused, "or run: ", "\n      (details");
        assert_eq!(calls_of(command), [["chmod", "700", &as_argument(&data)]], "{refused}");

        let token = format!("{name}.token");
        repo.write(&token, repo.token());
        std::fs::set_permissions(repo.path(&token), std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut command = repo.command(&["token", "list", "dev", &format!("--token-file={token}")]);
        command.env_remove("MAILWRIGHT_TOKEN");
        let warned = run_command(command).code(0).stderr;
        let command = between(&warned, "Correct it: ", "\n");
        assert_eq!(calls_of(command), [["chmod", "600", &as_argument(&token)]], "{warned}");

        let plan = format!("{name}.plan");
        let saved = repo.run(&["plan", "dev", &format!("--out={plan}")]).stderr;
        let command = between(&saved, "To carry it out:\n", "\n");
        assert_eq!(calls_of(command), [["mailwright", "apply", &as_argument(&plan)]], "{saved}");
    }
}

#[test]
fn a_folder_with_plans_is_one_argument_and_its_pattern_expands() {
    let mut repo = TestRepository::small();
    repo.serve();
    for name in ["dev", "other"] {
        let settings = json!({ "companies": ["EDU1"], "service": { "address": repo.address() } });
        repo.write(&format!("environments/{name}/environment.yaml"), settings.to_string());
    }
    std::fs::create_dir(repo.path("a;touch pwned")).unwrap();
    // The service is that of `dev`; the plan of the other environment fails, and is not saved.
    let mut command = repo.command(&["plan", "dev", "other", "--out", "a;touch pwned"]);
    command.env_remove("MAILWRIGHT_SERVICE");
    let saved = run_command(command).stderr;
    let (_, rest) = saved.split_once("To carry it out:\n").unwrap_or_else(|| panic!("{saved}"));
    let command = rest.lines().next().unwrap();
    // The stand-ins run in another folder, where the pattern matches nothing.
    assert_eq!(calls_of(command), [["mailwright", "apply", "a;touch pwned/*.plan"]], "{saved}");
    assert!(command.ends_with("/*.plan"), "the pattern is outside of the quotes: {command}");
}

#[test]
fn a_folder_of_git_is_one_argument() {
    let repo = TestRepository::small();
    for name in HOSTILE {
        for part in [".git", "environments/dev/profiles"] {
            std::fs::create_dir_all(repo.path(&format!("{name}/{part}"))).unwrap();
        }
        repo.write(&format!("{name}/environments/dev/environment.yaml"), "companies: [EDU1]\n");
        let folder = std::fs::canonicalize(repo.path(name)).unwrap();
        let mut command = repo.command(&["doctor", "dev", "--format", "json"]);
        command.current_dir(&folder);
        let document = run_command(command).json();
        let checks = document["checks"].as_array().unwrap();
        let remedy = checks.iter().find(|check| check["name"] == "git").unwrap()["remedy"].as_str().unwrap();
        let command = between(remedy, "It is damaged: `", "` reports the same");
        // Each remedy is on one line, so a line break is escaped.
        let shown = folder.to_str().unwrap().replace('\n', "\\n");
        assert_eq!(calls_of(command), [["git", "-C", shown.as_str(), "status"]], "{remedy}");
    }
}

#[test]
fn the_next_commands_of_init_have_each_path_as_one_argument() {
    let repo = TestRepository::empty();
    std::fs::remove_dir(repo.path("environments")).unwrap();
    for name in HOSTILE {
        let data = format!("--data={name}");
        let document = repo
            .run(&[
                "init",
                "--company=EDU1",
                "--provider=smtp",
                "--host=smtp.example.com",
                "--username=erp",
                "--from=erp@example.com",
                "--keygen",
                "--dry-run",
                "--format=json",
                &data,
            ])
            .code(0)
            .json();
        let (path, token) = (as_argument(name), as_argument(&format!("{name}/token")));
        let next = document["next"].as_array().unwrap();
        assert_eq!(
            calls_of(next[0].as_str().unwrap()),
            [["mailwright", "serve", "--environment", "prod", "--data", &path, "--token-file", &token]]
        );
        let apply = next.last().unwrap().as_str().unwrap();
        assert_eq!(calls_of(apply), [["mailwright", "apply", "prod", "--token-file", &token]]);
    }
}

#[test]
fn the_address_of_a_service_is_one_value() {
    let repo = TestRepository::small();
    for host in ["$(touch)", "a;touch", "a&touch", "a`touch`", "o'brien.example", "$home", "{a,b}.example"] {
        let address = format!("https://{host}");
        let settings = json!({ "companies": ["EDU1"], "service": { "address": address } });
        repo.write("environments/dev/environment.yaml", settings.to_string());
        let mut command = repo.command(&["status", "dev"]);
        command.env("MAILWRIGHT_TOKEN", "mw_0123456789ab_x");
        let refused = run_command(command).code(1).stderr;
        let export = between(&refused, "is correct: ", "\n      (details");
        let calls = calls_of(&format!("{export}\nmailwright \"$MAILWRIGHT_TOKEN_ORIGINS\""));
        assert_eq!(calls, [["mailwright", &address]], "{refused}");
    }
}

#[test]
fn the_recipient_that_a_service_states_is_one_argument_or_not_printed() {
    let mut repo = TestRepository::examples();
    repo.serve();
    let mut info: serde_json::Value = serde_json::from_str(&repo.http("GET", "/v1/service", &[], b"").body).unwrap();
    let own = info["recipient"].as_str().unwrap().to_owned();
    let mut remedy = |recipient: &str| {
        info["recipient"] = json!(recipient);
        let body = info.to_string();
        let service = Recorder::answering(format!(
            "HTTP/1.1 200 OK\r\n{VERSION_HEADER}: {VERSION}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ));
        let mut command = repo.command(&["doctor", "dev", "--format", "json"]);
        command.env("MAILWRIGHT_SERVICE", service.address());
        let document = run_command(command).json();
        let checks = document["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "recipients").unwrap_or_else(|| panic!("{document:#}"));
        check["remedy"].as_str().unwrap_or_else(|| panic!("{check:#}")).to_owned()
    };
    repo.write("secrets/dev/recipients.txt", format!("{}\n", ServiceIdentity::generate().recipient()));
    assert_eq!(calls_of(&remedy(&own)), [["mailwright", "secrets", "recipients", "add", &own, "dev"]]);
    for hostile in HOSTILE {
        let remedy = remedy(hostile);
        assert!(!remedy.contains("mailwright secrets"), "{remedy}");
    }
}
