//! Many environments at once, against real services, dead and wrong ones among them: a failure of one hides no result of
//! the others, the exit code covers all of them, and nothing depends on the order of responses.

use crate::support::{
    fleet::Fleet,
    recorder::Recorder,
    repository::{SMALL_PROFILE, TestRepository, run_command},
};
use serde_json::{Value, json};

/// Three environments with services, one of them applied already; one without a service; one with invalid files.
fn mixed() -> Fleet {
    let mut fleet = Fleet::new();
    fleet.served("prod-1", "labels: { region: emea }");
    fleet.served("prod-2", "labels: { region: emea }");
    fleet.served("prod-3", "labels: { region: apac }");
    fleet.dead("prod-4", "labels: { region: apac }");
    fleet.environment("test-1", "companies: [wrong]");
    fleet
}

#[test]
fn a_plan_of_many_lists_each_in_the_order_of_names() {
    let fleet = mixed();
    fleet.run(&["apply", "prod-1", "--yes", "--skip-verify"]).code(0);
    let output = fleet.run(&["plan", "*"]).code(1);
    let at = |text: &str| output.stdout.find(text).unwrap_or_else(|| panic!("{text}:\n{}", output.stdout));
    // Without changes, one line is the whole output.
    assert!(!output.stdout.contains("=== prod-1"), "{}", output.stdout);
    // Equal changes are shown once.
    assert!(at("=== prod-2, prod-3\n") < at("=== prod-4"));
    assert!(at("=== prod-4") < at("error[MW0200]") && at("error[MW0200]") < at("=== test-1"));
    assert!(at("environments/test-1/environment.yaml:2:13") > at("=== test-1"));
    let table = &output.stdout[at("ENVIRONMENT")..];
    let lines: Vec<&str> = table.lines().map(|line| line.split(" at http").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "ENVIRONMENT  RESULT",
            "prod-1       no changes",
            "prod-2       1 to add, 1 to change, 0 to destroy",
            "prod-3       1 to add, 1 to change, 0 to destroy",
            "prod-4       error[MW0200]: no service answers",
            "test-1       the files have problems",
            "",
            "5 environments: 2 with changes, 1 without changes, 2 failed.",
        ]
    );
    assert!(output.stderr.contains("error[MW0270]: 2 of 5 environments failed: prod-4, test-1"), "{}", output.stderr);
    // Elsewhere than on a terminal there is no line per environment.
    assert!(!output.stderr.contains("prod-1: no changes") && !output.stderr.contains('\u{1b}'), "{}", output.stderr);
}

#[test]
fn the_output_does_not_depend_on_the_concurrency() {
    let fleet = mixed();
    let outputs: Vec<String> =
        ["1", "2", "16"].iter().map(|n| fleet.run(&["plan", "*", "--parallel", n]).code(1).stdout).collect();
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
    let output = fleet.run(&["plan", "*", "--parallel", "0"]).code(1);
    assert!(output.stdout.is_empty());
}

#[test]
fn json_is_one_document_with_every_environment() {
    let fleet = mixed();
    let document = fleet.run(&["plan", "*", "--format", "json"]).code(1).json();
    let environments = document["environments"].as_object().unwrap();
    assert_eq!(environments.keys().collect::<Vec<_>>(), ["prod-1", "prod-2", "prod-3", "prod-4", "test-1"]);
    assert_eq!(environments["prod-2"]["summary"]["add"], 1);
    assert_eq!(environments["prod-4"]["error"]["code"], "MW0200");
    assert!(environments["test-1"]["error"]["message"].as_str().unwrap().contains("validate"));
    assert_eq!(
        document["summary"],
        json!({ "environments": 5, "failed": 2, "changed": 3, "unchanged": 0, "exitCode": 1 })
    );
    // A pattern that finds one is still a document of many; a name alone is that of one.
    let one = fleet.run(&["plan", "prod-[1]", "--format", "json"]).code(0).json();
    assert_eq!(one["summary"]["environments"], 1);
    let alone = fleet.run(&["plan", "prod-1", "--format", "json"]).code(0).json();
    assert_eq!(alone["environment"], "prod-1");
}

#[test]
fn selectors_choose_and_a_selection_of_nothing_is_an_error() {
    let fleet = mixed();
    let names = |arguments: &[&str]| {
        let document = fleet.run(arguments).json();
        document["environments"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&["plan", "-l", "region=emea", "--format", "json"]), "prod-1 prod-2");
    assert_eq!(names(&["status", "prod-*", "-l", "region=apac", "--format", "json"]), "prod-3 prod-4");
    assert_eq!(names(&["drift", "prod-2", "prod-1", "prod-2", "--format", "json"]), "prod-1 prod-2");
    let nothing = fleet.run(&["plan", "stage-*", "--format", "json"]).code(1);
    assert_eq!(nothing.json()["error"]["code"], "MW0024");
    assert!(fleet.run(&["plan", "prod-1", "prdo-2"]).code(1).stderr.contains("Did you mean `prod-2`?"));
    // An abstract layer that is named is reported like any other failure.
    let named = fleet.run(&["plan", "base", "prod-1"]).code(1);
    assert!(named.stdout.contains("=== base") && named.stdout.contains("MW0025"), "{}", named.stdout);
}

#[test]
fn the_exit_code_covers_all_environments() {
    let mut fleet = Fleet::new();
    fleet.served("a", "");
    fleet.served("b", "");
    let code = |arguments: &[&str]| fleet.run(arguments).code;
    assert_eq!(code(&["plan", "*"]), 0);
    assert_eq!(code(&["plan", "*", "--detailed-exitcode"]), 2);
    assert_eq!(code(&["apply", "*", "--yes", "--skip-verify"]), 0);
    assert_eq!(code(&["plan", "*", "--detailed-exitcode=causes"]), 0);
    assert_eq!(code(&["drift", "*"]), 0);
    // Drift in one, Git ahead in the other.
    assert_eq!(fleet.services[0].patch("relay", &json!({ "description": "by hand" })).status, 200);
    assert_eq!(code(&["plan", "*", "--detailed-exitcode=causes"]), 7);
    assert_eq!(code(&["drift", "*"]), 2);
    fleet.environment(
        "b",
        &format!("service: {{ address: {} }}\nvariables: {{ domain: b.example }}", fleet.services[1].address()),
    );
    assert_eq!(code(&["plan", "b", "--detailed-exitcode=causes"]), 2);
    assert_eq!(code(&["plan", "*", "--detailed-exitcode=causes"]), 8);
    // An error beats everything.
    fleet.dead("c", "");
    assert_eq!(code(&["plan", "*", "--detailed-exitcode=causes"]), 1);
    assert_eq!(code(&["drift", "*"]), 1);
    let drift = fleet.run(&["drift", "a", "b"]).code(2).stdout;
    assert!(drift.contains("=== a") && !drift.contains("=== b"), "{drift}");
    assert!(drift.ends_with("2 environments: 1 with drift, 1 without drift.\n"), "{drift}");
}

#[test]
fn each_service_has_its_own_token_and_none_goes_to_another() {
    let mut fleet = Fleet::new();
    fleet.served("a", "");
    fleet.served("b", "");
    fleet.run(&["status", "*"]).code(0);
    // A token that says where it belongs is not even sent elsewhere.
    let other = Recorder::start();
    fleet.environment("c", &format!("service: {{ address: '{}' }}", other.address()));
    fleet.repo.write("tokens/a", format!("{}\norigin: {}\n", fleet.services[0].token(), fleet.services[0].address()));
    let status = ["status", "*", "--format", "json", "--token-file", "tokens/a"];
    let document = run_command(fleet.repo.command(&status)).code(1).json();
    for name in ["b", "c"] {
        assert_eq!(document["environments"][name]["error"]["code"], "MW0047", "{document:#}");
    }
    assert_eq!(document["environments"]["a"]["service"]["environment"], "a");
    let origin = format!("a={}", fleet.services[0].address());
    let pinned = ["status", "*", "--format", "json", "--token-origin", &origin];
    let document = fleet.run(&pinned).code(1).json();
    for name in ["b", "c"] {
        assert_eq!(document["environments"][name]["error"]["code"], if name == "b" { "MW0047" } else { "MW0206" });
    }
    assert_eq!(other.seen(), "");
    std::fs::remove_dir_all(fleet.repo.path("environments/c")).unwrap();
    fleet.repo.write("tokens/a", fleet.services[0].token());
    std::fs::remove_file(fleet.repo.path("tokens/b")).unwrap();
    let document = fleet.run(&["status", "*", "--format", "json"]).code(1).json();
    assert_eq!(document["environments"]["b"]["error"]["code"], "MW0206");
    assert!(document["environments"]["b"]["error"]["message"].as_str().unwrap().contains("tokens/b"));
    // One address for several is a mistake, wherever it comes from; with the placeholder it is none.
    let address = fleet.services[0].address().to_owned();
    let refused = fleet.run(&["plan", "*", "--service", &address]).code(1);
    assert!(refused.stderr.contains("MW0256") && refused.stderr.contains("`--service`"), "{}", refused.stderr);
    let mut command = fleet.command(&["plan", "*"]);
    command.env("MAILWRIGHT_SERVICE", &address);
    assert!(run_command(command).code(1).stderr.contains("`MAILWRIGHT_SERVICE` names one service"));
    let output =
        fleet.run(&["status", "*", "--service", "http://localhost:1/{environment}", "--format", "json"]).code(1);
    assert!(output.stdout.contains("http://localhost:1/a"), "{}", output.stdout);
}

#[test]
fn a_wrong_service_is_reported_under_its_name() {
    let mut fleet = Fleet::new();
    fleet.served("a", "");
    let address = fleet.services[0].address().to_owned();
    fleet.environment("b", &format!("service: {{ address: {address} }}"));
    fleet.repo.write("tokens/b", fleet.services[0].token());
    fleet.environment("c", "");
    fleet.repo.write("tokens/c", "x");
    let document = fleet.run(&["plan", "*", "--format", "json"]).code(1).json();
    assert_eq!(document["environments"]["a"]["summary"]["add"], 1);
    assert_eq!(document["environments"]["b"]["error"]["code"], "MW0211");
    assert_eq!(document["environments"]["c"]["error"]["code"], "MW0207");
}

#[test]
fn apply_shows_all_plans_and_applies_what_can_be() {
    let fleet = mixed();
    // Without a terminal to confirm at: the plans are shown, and nothing is changed.
    let asked = fleet.run(&["apply", "prod-*", "--skip-verify"]).code(1);
    assert!(asked.stdout.contains("=== prod-1") && asked.stderr.contains("MW0233"), "{}", asked.stderr);
    assert!((0..3).all(|index| fleet.generation(index) == 0));
    let output = fleet.run(&["apply", "*", "--skip-verify", "--yes"]).code(1);
    assert!((0..3).all(|index| fleet.generation(index) == 1));
    let last = &output.stdout[output.stdout.rfind("ENVIRONMENT").unwrap()..];
    assert!(last.contains("prod-1       1 added, 1 changed, 0 destroyed. Generation 1\n"), "{last}");
    assert!(last.contains("test-1       the files have problems\n"), "{last}");
    assert!(last.ends_with("5 environments: 3 applied, 2 failed.\n"), "{last}");
    // Each failure is reported once.
    assert_eq!(output.stdout.matches("=== prod-4").count(), 1, "{}", output.stdout);
    let again = fleet.run(&["apply", "prod-[123]", "--skip-verify", "--yes", "--format", "json"]).code(0).json();
    assert_eq!(again["environments"]["prod-2"]["result"], Value::Null);
    assert_eq!(
        again["summary"],
        json!({ "environments": 3, "failed": 0, "applied": 0, "unchanged": 3, "exitCode": 0 })
    );
}

#[test]
fn a_guard_in_one_environment_stops_that_one_alone() {
    let mut fleet = Fleet::new();
    fleet.served("a", "policy: { deletes: { percent: 0, atLeast: 0 } }");
    fleet.served("b", "");
    for name in ["a", "b"] {
        fleet.repo.write(
            &format!("environments/{name}/profiles/reports.yaml"),
            SMALL_PROFILE.replace("default", "all-reports"),
        );
    }
    fleet.run(&["apply", "*", "--skip-verify", "--yes"]).code(0);
    fleet.repo.remove("environments/a/profiles/reports.yaml");
    fleet.repo.write(
        "environments/b/profiles/reports.yaml",
        SMALL_PROFILE.replace("default", "all-reports").replace("smtp.example.com", "other.example.com"),
    );
    let output = fleet.run(&["apply", "*", "--skip-verify", "--yes", "--format", "json"]).code(1);
    let document = output.json();
    assert_eq!(document["environments"]["a"]["error"]["code"], "MW0218");
    assert_eq!(document["environments"]["a"]["plan"]["summary"]["destroy"], 1);
    assert_eq!(document["environments"]["b"]["result"]["generation"], 2);
    assert_eq!((fleet.generation(0), fleet.generation(1)), (1, 2));
}

#[test]
fn saved_plans_of_several_are_a_file_each_and_applied_together() {
    let fleet = mixed();
    let saved = fleet.run(&["plan", "prod-*", "--out", "plans"]).code(1);
    assert!(saved.stderr.contains("mailwright apply plans/*.plan"), "{}", saved.stderr);
    assert!(!fleet.repo.path("plans/prod-4.plan").exists());
    let twice = fleet.run(&["apply", "plans/prod-1.plan", "prod-1", "--yes", "--skip-verify"]).code(1);
    assert!(twice.stderr.contains("`prod-1` is given twice"), "{}", twice.stderr);
    let files = ["plans/prod-3.plan", "plans/prod-1.plan", "plans/prod-2.plan"];
    let apply: Vec<&str> = ["apply"].into_iter().chain(files).chain(["--yes", "--skip-verify"]).collect();
    fleet.run(&apply).code(0);
    assert!((0..3).all(|index| fleet.generation(index) == 1));
    let again = fleet.run(&apply).code(0);
    assert!(again.stdout.contains("Already applied"), "{}", again.stdout);
    assert!((0..3).all(|index| fleet.generation(index) == 1));
    // A file where a folder is needed.
    let refused = fleet.run(&["plan", "prod-*", "--out", "tokens/prod-1"]).code(1);
    assert!(refused.stderr.contains("--out plans/"), "{}", refused.stderr);
}

#[test]
fn a_shared_failure_is_reported_once() {
    let fleet = Fleet::new();
    for index in 0..60 {
        fleet.dead(&format!("prod-{index:02}"), "");
    }
    fleet.repo.write("environments/base/profiles/relay.yaml", "provider: {}\n");
    let output = fleet.run(&["plan", "*"]).code(1);
    assert_eq!(output.stdout.matches("===").count(), 1, "{}", output.stdout);
    assert!(output.stdout.contains("=== prod-00, prod-01, prod-02, prod-03, prod-04 and 55 more"));
    let validated = fleet.run(&["validate", "prod-*", "--format", "json"]).code(1).json();
    assert_eq!((&validated["environmentCount"], &validated["failed"][59]), (&json!(60), &json!("prod-59")));
}

#[test]
fn validate_takes_patterns_and_selectors() {
    let fleet = mixed();
    let output = fleet.run(&["validate", "prod-*", "-l", "region=emea"]).code(0);
    assert!(output.stdout.starts_with("No problems in 2 environments"), "{}", output.stdout);
    let output = fleet.run(&["validate", "--parallel", "1"]).code(1);
    assert!(output.stdout.contains("With errors: test-1\n"), "{}", output.stdout);
}

#[test]
fn markdown_of_many_is_one_comment() {
    let fleet = mixed();
    let text = fleet.run(&["plan", "*", "--format", "markdown"]).code(1).stdout;
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}:\n{text}"));
    assert!(at("### Summary") < at("### Mailwright plan: `prod-1`"));
    assert!(at("| `prod-4` | error[MW0200]") < at("### `prod-4`\n\n```text\nerror[MW0200]"));
    assert!(!text.contains('\u{1b}'));
    let drift = fleet.run(&["drift", "prod-1", "prod-4", "--format", "markdown"]).code(1).stdout;
    assert!(drift.contains("| `prod-1` | no drift |"), "{drift}");
}

#[test]
fn verify_of_many_joins_its_reports_in_every_format() {
    let fleet = mixed();
    let verify = |format: &str| fleet.run(&["verify", "prod-1", "prod-2", "prod-4", "--format", format]).code(1);
    let document = verify("json").json();
    assert_eq!(document["environments"]["prod-2"]["environment"], "prod-2");
    assert_eq!(document["environments"]["prod-4"]["error"]["code"], "MW0200");
    let sarif = verify("sarif").json();
    assert_eq!(sarif["runs"].as_array().unwrap().len(), 1);
    let texts: Vec<&str> = sarif["runs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["message"]["text"].as_str().unwrap())
        .collect();
    for name in ["prod-1/relay: ", "prod-2/relay: "] {
        assert!(texts.iter().any(|text| text.starts_with(name)), "{texts:?}");
    }
    let notice = &sarif["runs"][0]["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"];
    assert!(notice.as_str().unwrap().starts_with("prod-4 could not be checked: error[MW0200]"), "{notice}");
    let junit = verify("junit").stdout;
    assert_eq!(junit.matches("<testsuites").count(), 1);
    assert!(junit.contains("<testsuite name=\"prod-2/relay\"") && junit.contains("errors=\"1\""), "{junit}");
    let github = verify("github").stdout;
    assert!(github.starts_with("::error title=prod-4 could not be checked::error[MW0200]"), "{github}");
    // Only the files' own checks: the host that does not exist is a finding, and the code is verify's own.
    let found = fleet.run(&["verify", "prod-1", "prod-2", "--fail-on", "warning"]);
    assert_eq!(found.code, 3, "{}{}", found.stdout, found.stderr);
}

#[test]
fn verify_distinguishes_profiles_from_environments() {
    let mut fleet = Fleet::new();
    fleet.served("a", "");
    fleet.served("relay", "");
    let unclear = fleet.run(&["verify", "a", "relay"]).code(1);
    assert!(unclear.stderr.contains("--profile relay"), "{}", unclear.stderr);
    let alone = fleet.run(&["verify", "a", "--profile", "relay", "--format", "json"]).json();
    assert_eq!(alone["profiles"][0]["profile"], "relay");
    let both = fleet.run(&["verify", "relay", "a", "--format", "json"]).json();
    assert_eq!(both["environments"].as_object().unwrap().len(), 2);
    let unknown = fleet.run(&["verify", "a", "rely"]).code(1);
    assert!(unknown.stderr.contains("Did you mean `relay`?"), "{}", unknown.stderr);
}

#[test]
fn the_output_for_a_single_environment_is_unchanged() {
    let mut repo = TestRepository::small();
    repo.serve();
    let output = repo.run(&["plan", "dev"]).code(0);
    assert!(!output.stdout.contains("===") && !output.stdout.contains("ENVIRONMENT"), "{}", output.stdout);
    assert!(output.stderr.is_empty(), "{}", output.stderr);
}

/// Services that answer, with a refusal, only once all of them have been asked. Gives their addresses.
fn only_together(count: usize) -> Vec<String> {
    use std::{
        io::{Read as _, Write as _},
        sync::{Arc, Barrier},
    };
    let all = Arc::new(Barrier::new(count));
    let serve = |_| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, all) = (format!("http://{}", listener.local_addr().unwrap()), Arc::clone(&all));
        std::thread::spawn(move || {
            let mut is_first = true;
            for mut stream in listener.incoming().flatten() {
                drop(stream.read(&mut [0; 8192]));
                if std::mem::take(&mut is_first) {
                    all.wait();
                }
                drop(stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            }
        });
        address
    };
    (0..count).map(serve).collect()
}

#[test]
fn commands_for_secrets_ask_environments_in_parallel() {
    for arguments in [&["secrets", "expiring"][..], &["secrets", "rotate", "--status"]] {
        let fleet = Fleet::new();
        for (index, address) in only_together(4).iter().enumerate() {
            fleet.environment(&format!("e{index}"), &format!("service: {{ address: {address} }}"));
            fleet.repo.write(&format!("tokens/e{index}"), "mw_000000000000_x");
        }
        // One after the other, none would ever be answered.
        let asked = fleet.run(arguments).code(1);
        for index in 0..4 {
            assert!(asked.stderr.contains(&format!("e{index}: cannot query its service")), "{}", asked.stderr);
        }
        assert_eq!(asked.stdout, "Nothing is known: 4 environments could not be queried.\n");
    }
}

#[test]
fn that_there_is_nothing_is_said_of_those_alone_that_were_asked() {
    let mut fleet = Fleet::new();
    fleet.served("prod-1", "");
    fleet.served("prod-2", "");
    let all = |fleet: &Fleet, code: i32| {
        let expiring = fleet.run(&["secrets", "expiring"]).code(code).stdout;
        let within = fleet.run(&["secrets", "expiring", "--within", "30d"]).code(code).stdout;
        let rotating = fleet.run(&["secrets", "rotate", "--status"]).code(code).stdout;
        [expiring, within, rotating]
    };
    let nothing = [
        "No client secrets or certificates are in use",
        "No credential is known to expire within 30d",
        "No rotation is in progress",
    ];
    assert_eq!(all(&fleet, 0), nothing.map(|nothing| format!("{nothing}.\n")));
    fleet.dead("prod-3", "");
    let rest = " in 2 environments. Nothing is known about 1 environment: the service could not be queried.\n";
    assert_eq!(all(&fleet, 1), nothing.map(|nothing| format!("{nothing}{rest}")));
    // Drift and status say nothing of what did not answer, either.
    for command in ["drift", "status"] {
        let output = fleet.run(&[command, "*"]).code(1);
        assert!(output.stdout.contains("prod-3") && output.stdout.contains("1 failed"), "{}", output.stdout);
    }
}
