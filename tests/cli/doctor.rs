//! `doctor`: each check with its remedy, and what depends on a failed one is skipped.

use serde_json::Value;

use crate::support::repository::{TestRepository, run_command};

/// Returns the outcome and the remedy of a check.
fn check(document: &Value, name: &str) -> (String, String) {
    let checks = document["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    let found = found.unwrap_or_else(|| panic!("there is no check `{name}`: {document:#}"));
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("message") + " > " + &text("remedy"))
}

#[test]
fn a_sound_set_up_passes_and_each_fault_has_its_remedy() {
    let mut repo = TestRepository::small();
    repo.serve();
    let diagnose = |variables: &[(&str, &str)], code: i32| {
        let mut command = repo.command(&["doctor", "dev", "--format", "json"]);
        for (name, value) in variables {
            command.env(name, value);
        }
        run_command(command).code(code).json()
    };
    let sound = diagnose(&[], 0);
    for name in ["files", "authority", "token", "dns", "service", "version", "clock"] {
        assert_eq!(check(&sound, name).0, "ok", "{name}: {sound:#}");
    }
    let (outcome, text) = check(&sound, "git");
    assert!(outcome == "warning" && text.contains("git init && git add environments"), "{text}");

    let no_token = diagnose(&[("MAILWRIGHT_TOKEN", "")], 1);
    let (outcome, text) = check(&no_token, "token");
    assert!(outcome == "failed" && text.contains("MAILWRIGHT_TOKEN"), "{text}");
    assert_eq!(check(&no_token, "service").0, "skipped");
    let wrong_token = diagnose(&[("MAILWRIGHT_TOKEN", "mw_000000000000_x")], 1);
    assert_eq!(check(&wrong_token, "service").0, "failed", "{wrong_token:#}");
    let nowhere = diagnose(&[("MAILWRIGHT_SERVICE", "https://nowhere.invalid")], 1);
    let (outcome, text) = check(&nowhere, "dns");
    assert!(outcome == "failed" && text.contains("nowhere.invalid"), "{text}");
    let authority = diagnose(&[("MAILWRIGHT_CA_FILE", "environments/dev/environment.yaml")], 1);
    assert_eq!(check(&authority, "authority").0, "failed", "{authority:#}");

    let text = repo.run(&["doctor", "dev"]).code(0).stdout;
    assert!(text.contains("ok       service") && text.contains("warning  git"), "{text}");
    repo.write("environments/dev/environment.yaml", "companies: [EDU1\n");
    let (outcome, text) = check(&diagnose(&[], 1), "files");
    assert!(outcome == "failed" && text.contains("mailwright validate dev"), "{text}");
}

#[test]
fn a_service_of_another_environment_is_named() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.write("environments/other/environment.yaml", "companies: [EDU1]\n");
    let output = repo.run(&["doctor", "other", "--format", "json"]).code(1).json();
    let (outcome, text) = check(&output, "service");
    assert!(outcome == "failed" && text.contains("belongs to environment `dev`, not `other`"), "{text}");
}

#[test]
fn a_link_to_a_device_and_a_fifo_are_not_read() {
    let mut repo = TestRepository::small();
    repo.serve();
    std::fs::create_dir_all(repo.path("secrets/dev/x")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", repo.path("secrets/dev/x/zero.age")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(repo.path("secrets/dev/x/fifo.age")).status().unwrap();
    assert!(fifo.success());
    std::os::unix::fs::symlink("/dev/zero", repo.path("secrets/dev/recipients.txt")).unwrap();
    let output = repo.run(&["doctor", "dev", "--format", "json"]).code(1).json();
    let (outcome, text) = check(&output, "recipients");
    assert!(outcome == "failed" && text.contains("not an ordinary file"), "{text}");
}
