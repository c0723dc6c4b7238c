//! The main job through the real program against the real service: plan, apply, look, drift, go back, import.

use crate::support::repository::{CommandOutput, SMALL_PROFILE, TestRepository};
use serde_json::{Value, json};

fn applied(repo: &TestRepository) -> CommandOutput {
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0)
}

fn plan(repo: &TestRepository) -> Value {
    repo.run(&["plan", "dev", "--format", "json"]).code(0).json()
}

fn actions(plan: &Value) -> Vec<String> {
    plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{} {}", change["action"].as_str().unwrap(), change["name"].as_str().unwrap()))
        .collect()
}

#[test]
fn the_demo_goes_the_whole_way_in_an_empty_folder() {
    let repo = TestRepository::empty();
    std::fs::remove_dir(repo.path("environments")).unwrap();
    let mut demo = repo.command(&["demo", "--once", "--listen", "127.0.0.1:0"]);
    demo.args(free_ports());
    let output = crate::support::repository::run_command(demo).code(0);
    for step in [
        "$ mailwright validate",
        "Plan: 7 to add, 1 to change, 0 to destroy.",
        "$ mailwright verify dev",
        "Apply complete! Resources: 7 added, 1 changed, 0 destroyed. Generation 1.",
        "--subject 'Remittance for November'",
        " delivered (remittance)",
        "No changes. The service holds what the files say.",
    ] {
        assert!(output.stdout.contains(step), "{step}:\n{}{}", output.stdout, output.stderr);
    }
    assert!(output.stdout.find("Apply complete!") < output.stdout.find("No changes."));
    // The first apply stops at what verify finds, and only at that.
    assert!(output.stderr.contains("unknown GRAPH-CONSENT: `Mail.Send` is requested"), "{}", output.stderr);
    assert!(output.stderr.contains("[MW0234]: verify found errors in documents"), "{}", output.stderr);
}

/// Has the example's sandbox listen where nothing else does.
fn free_ports() -> [String; 4] {
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (https, smtp) = (port(), port());
    ["--sandbox-port".to_owned(), https, "--smtp-port".to_owned(), smtp]
}

#[cfg(unix)]
#[test]
fn the_demos_service_ends_with_the_demo_however_it_ends() {
    use std::{io::Read as _, process::Stdio};
    let repo = TestRepository::examples();
    let mut demo = repo
        .command(&["demo", "--listen", "127.0.0.1:0"])
        .args(free_ports())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut banner = String::new();
    let mut output = demo.stdout.take().unwrap();
    let mut buffer = [0; 4096];
    while !banner.contains("runs until Ctrl-C") {
        let read = output.read(&mut buffer).unwrap();
        assert!(read > 0, "{banner}");
        banner.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let address = banner.split("It listens at http://").nth(1).unwrap().split(". ").next().unwrap();
    let address = address.lines().next().unwrap().trim_end_matches('.').to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());
    // Its log is not read any more, and it gets no signal to stop.
    demo.kill().unwrap();
    demo.wait().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while std::net::TcpStream::connect(&address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the service is still there");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn an_applied_environment_has_nothing_left_to_do_and_resolves_at_once() {
    let mut repo = TestRepository::examples();
    repo.serve();
    let before = repo.run(&["plan", "dev", "--detailed-exitcode"]).code(2);
    assert!(before.stdout.contains("+ documents  environments/office/profiles/documents.yaml"), "{}", before.stdout);
    applied(&repo);
    repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
    repo.run(&["drift", "dev"]).code(0);
    let resolution = repo.run(&["resolve", "dev", "EDU1", "documents-remittance", "--format", "json"]).code(0).json();
    assert_eq!(resolution["profile"], "remittance");
    let resolution = repo.run(&["resolve", "dev", "EDU2", "documents-remittance", "--format", "json"]).code(0).json();
    assert_eq!(resolution["profile"], "documents");
    let desired = repo.run(&["resolve", "dev", "EDU2", "user-interface", "--client", "spa", "--desired"]).code(0);
    assert!(desired.stdout.ends_with("=> web\n"), "{}", desired.stdout);
    let status = repo.run(&["status", "dev", "--format", "json"]).code(0).json();
    assert_eq!((&status["profiles"], &status["drift"], &status["unmanaged"]), (&json!(7), &json!(0), &json!(0)));
}

#[test]
fn a_plan_shows_each_field_with_its_place_and_secrets_by_kind() {
    let mut repo = TestRepository::examples();
    repo.serve();
    applied(&repo);
    let relay = repo.read("environments/dev/profiles/relay.yaml");
    repo.write("environments/dev/profiles/relay.yaml", format!("{relay}provider:\n  smtp:\n    host: 127.0.0.2\n"));
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"another value\n").code(0);
    repo.pipe(&["secrets", "rekey", "dev", "--all", "-i", "secrets/dev/demo-identity.txt"], b"").code(0);
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"yet another value\n").code(0);
    let output = repo.run(&["plan", "dev"]).code(0);
    insta::with_settings!({ filters => vec![(r"http://127.0.0.1:\d+", "http://SERVICE")] }, {
        insta::assert_snapshot!("plan_with_secrets", output.stdout);
    });
    let plan = plan(&repo);
    let kinds: Vec<&Value> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|change| change["fields"].as_array().unwrap())
        .map(|field| &field["secret"]["kind"])
        .filter(|kind| !kind.is_null())
        .collect();
    assert_eq!(kinds, ["resealed", "rotated", "resealed"]);
    // A file of another program has no value id, so a change of the value cannot be determined.
    let recipient =
        mailwright::secrets::ServiceIdentity::demo().unwrap().recipient().parse::<age::x25519::Recipient>().unwrap();
    repo.write("secrets/dev/relay/password.age", age::encrypt(&recipient, b"made elsewhere").unwrap());
    let output = repo.run(&["plan", "dev"]).code(0);
    assert!(output.stdout.contains("relay/password (secret file changed)"), "{}", output.stdout);
}

#[test]
fn the_json_plan_keeps_to_its_schema_in_every_case() {
    let schema: Value = serde_json::from_str(include_str!("../../schema/plan.schema.json")).unwrap();
    let validator = jsonschema::options().offline().build(&schema).unwrap();
    let check = |output: &CommandOutput| {
        let errors: Vec<String> =
            validator.iter_errors(&output.json()).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:?}\n{}", output.stdout);
    };
    let mut repo = TestRepository::examples();
    check(&repo.run(&["plan", "nowhere", "--format", "json"]).code(1));
    check(&repo.run(&["plan", "dev", "--format", "json"]).code(1));
    repo.serve();
    check(&repo.run(&["plan", "dev", "--format", "json"]).code(0));
    applied(&repo);
    check(&repo.run(&["plan", "dev", "--format", "json"]).code(0));
    repo.patch("reports", &json!({ "description": "by hand", "functions": ["all-reports"] }));
    repo.http("DELETE", "/v1/profiles/legacy", &[("If-Match", "*")], b"");
    repo.remove("environments/office/profiles/remittance.yaml");
    repo.remove("environments/dev/profiles/remittance.yaml");
    check(&repo.run(&["plan", "dev", "--format", "json"]).code(0));
    repo.write("environments/dev/profiles/relay.yaml", "provider: { smtp: { encryption: none, host: 127.0.0.9 } }\n");
    check(&repo.run(&["plan", "dev", "--format", "json"]).code(1));
    repo.write("environments/dev/profiles/relay.yaml", "provider: [");
    check(&repo.run(&["plan", "dev", "--format", "json"]).code(1));
}

#[test]
fn drift_is_reported_with_its_author_and_reverted() {
    let mut repo = TestRepository::examples();
    repo.serve();
    applied(&repo);
    let answer = repo.patch("reports", &json!({ "provider": { "smtp": { "port": 2525 } } }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let drift = repo.run(&["drift", "dev"]).code(2);
    assert!(drift.stdout.contains("~ reports was changed by `first-admin`"), "{}", drift.stdout);
    assert!(drift.stdout.contains("provider.smtp.port: 8487 -> 2525"), "{}", drift.stdout);
    // Git did not change, so this is drift alone; then Git changes another field, so it is both.
    repo.run(&["plan", "dev", "--detailed-exitcode=causes"]).code(7);
    repo.write("environments/dev/profiles/reports.yaml", "provider: { smtp: { host: 127.0.0.7, port: 8487 } }\n");
    repo.run(&["plan", "dev", "--detailed-exitcode=causes"]).code(8);
    let planned = plan(&repo);
    let causes: Vec<_> = planned["changes"][0]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field["path"].as_str().unwrap(), field["cause"].as_str().unwrap()))
        .collect();
    assert_eq!(causes, [("provider.smtp.host", "git"), ("provider.smtp.port", "drift")]);
    applied(&repo);
    repo.run(&["drift", "dev"]).code(0);
    let live = repo.state()["profiles"]["reports"]["live"]["profile"]["provider"]["smtp"].clone();
    assert_eq!((&live["host"], &live["port"]), (&json!("127.0.0.7"), &json!(8487)));
}

#[test]
fn a_change_by_hand_that_git_then_says_too_is_noted_and_changes_nothing() {
    let mut repo = TestRepository::small();
    repo.serve();
    applied(&repo);
    repo.patch("relay", &json!({ "description": "agreed" }));
    repo.write("environments/dev/profiles/relay.yaml", format!("description: agreed\n{SMALL_PROFILE}"));
    let planned = repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
    assert!(planned.stdout.contains("No changes."), "{}", planned.stdout);
    applied(&repo);
    repo.run(&["drift", "dev"]).code(0);
}

#[test]
fn going_back_takes_secrets_along_and_shows_as_drift() {
    let mut repo = TestRepository::examples();
    repo.serve();
    applied(&repo);
    let digest = |repo: &TestRepository| repo.state()["profiles"]["relay"]["live"]["secrets"]["relay/password"].clone();
    let first = digest(&repo);
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"second value").code(0);
    applied(&repo);
    assert_ne!(digest(&repo), first);
    let output = repo.run(&["rollback", "dev", "--to", "1", "--yes"]).code(0);
    assert!(output.stdout.contains("This is generation 3."), "{}", output.stdout);
    assert_eq!(digest(&repo), first);
    assert_eq!(repo.run(&["history", "dev", "--format", "json"]).code(0).json()["generations"][0]["rolledBackTo"], 1);
    let none = repo.run(&["history", "dev", "--before", "1"]).code(0).stdout;
    assert!(none.contains("No generations before 1.") && !none.contains("nothing has changed"), "{none}");
    let drift = repo.run(&["drift", "dev"]).code(2);
    assert!(drift.stdout.contains("rollback"), "{}", drift.stdout);
    repo.run(&["rollback", "dev", "--to", "1", "--yes"]).code(0);
    repo.run(&["rollback", "dev", "--to", "99", "--yes"]).code(1);
    repo.run(&["rollback", "dev", "--to", "1"]).code(0);
    repo.run(&["rollback", "dev", "--to", "2"]).code(1);
}

#[test]
fn a_saved_plan_is_applied_exactly_and_only_while_it_fits() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["plan", "dev", "--out", "dev.plan"]).code(0);
    let saved = repo.read("dev.plan");
    assert!(!saved.contains("BEGIN AGE") && !saved.contains("AGE-SECRET"));
    // The files are edited in between: the saved plan is applied, not the files.
    repo.write("environments/dev/profiles/extra.yaml", SMALL_PROFILE.replace("[default]", "[all-reports]"));
    repo.run(&["apply", "--skip-verify", "./dev.plan"]).code(1);
    repo.run(&["apply", "--skip-verify", "./dev.plan", "--yes"]).code(0);
    assert_eq!(repo.state()["profiles"].as_object().unwrap().len(), 7);
    // A second time it is what it was: taken before.
    let again = repo.run(&["apply", "--skip-verify", "./dev.plan", "--yes"]).code(0);
    assert!(again.stdout.contains("Already applied"), "{}", again.stdout);
    repo.write("dev2.plan", saved.replace("\"Example Ltd\"", "\"Another Ltd\""));
    assert!(repo.run(&["apply", "--skip-verify", "./dev2.plan", "--yes"]).code(1).stderr.contains("MW0230"));
    repo.remove("environments/dev/profiles/extra.yaml");
    // A plan from before another client's change is refused.
    repo.write("environments/dev/profiles/legacy.yaml", "description: A\n");
    repo.run(&["plan", "dev", "--out", "late.plan"]).code(0);
    repo.patch("reports", &json!({ "description": "another client" }));
    let late = repo.run(&["apply", "--skip-verify", "./late.plan", "--yes"]).code(1);
    assert!(late.stderr.contains("MW0210"), "{}", late.stderr);
    // And one whose age file changed.
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"planned").code(0);
    repo.run(&["plan", "dev", "--out", "secret.plan"]).code(0);
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"changed since").code(0);
    assert!(repo.run(&["apply", "--skip-verify", "./secret.plan", "--yes"]).code(1).stderr.contains("MW0231"));
}

#[test]
fn a_rename_keeps_the_profile_and_is_suggested_where_it_was_not_said() {
    let mut repo = TestRepository::small();
    repo.serve();
    applied(&repo);
    repo.remove("environments/dev/profiles/relay.yaml");
    repo.write("environments/dev/profiles/mail.yaml", SMALL_PROFILE);
    let planned = plan(&repo);
    assert_eq!(actions(&planned), ["create mail", "delete relay"]);
    assert_eq!(
        planned["hints"][0],
        json!({ "hint": "probably-rename", "from": "relay", "to": "mail", "file": "environments/dev/profiles/mail.yaml" })
    );
    repo.write("environments/dev/profiles/mail.yaml", format!("renamedFrom: relay\n{SMALL_PROFILE}"));
    let planned = plan(&repo);
    assert_eq!((actions(&planned), &planned["senders"]), (vec!["rename mail".to_owned()], &json!([])));
    applied(&repo);
    let planned = plan(&repo);
    assert_eq!(actions(&planned), Vec::<String>::new());
    assert_eq!(planned["hints"][0]["hint"], "rename-done");
}

#[test]
fn unmanaged_profiles_are_left_alone_imported_or_pruned() {
    let mut repo = TestRepository::small();
    repo.serve();
    applied(&repo);
    let by_hand = json!({ "provider": { "smtp": { "host": "hand.example.com" } }, "from": { "address": "no@example.com", "name": "yes: \"no\" # ${x}" }, "functions": ["all-reports"], "appliesTo": { "companies": ["EDU1"] } });
    let answer = repo.http("PUT", "/v1/profiles/by-hand", &[("If-None-Match", "*")], by_hand.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let planned = plan(&repo);
    assert_eq!((actions(&planned), &planned["unmanaged"]), (vec![], &json!(["by-hand"])));

    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\npolicy: { prune: all }\n");
    assert_eq!(actions(&plan(&repo)), ["delete by-hand"]);

    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\n");
    let dry = repo.run(&["import", "dev", "--dry-run"]).code(0);
    assert_eq!(dry.stdout, "would write environments/dev/profiles/by-hand.yaml\n");
    repo.run(&["import", "dev"]).code(0);
    let planned = repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
    assert!(planned.stdout.contains("No changes.") && planned.stdout.contains("record 1 more"), "{}", planned.stdout);
    applied(&repo);
    assert!(!repo.run(&["plan", "dev"]).code(0).stdout.contains("note"));
    assert_eq!(repo.run(&["import", "dev"]).code(0).stdout, "Nothing to import: every live profile has a file.\n");
}

#[test]
fn a_layer_renames_a_profile_for_every_environment_that_inherits_it() {
    let mut repo = TestRepository::examples();
    repo.serve();
    applied(&repo);
    let moved = |name: &str| repo.path(&format!("environments/base/profiles/{name}.yaml"));
    std::fs::rename(moved("legacy"), moved("older")).unwrap();
    let planned = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(planned.contains("add to environments/base/profiles/older.yaml:\n\n    renamedFrom: legacy"), "{planned}");
    let text = repo.read("environments/base/profiles/older.yaml");
    repo.write("environments/base/profiles/older.yaml", format!("renamedFrom: legacy\n{text}"));
    let planned = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(planned.contains("older is the new name of legacy") && planned.contains("0 to destroy"), "{planned}");
    applied(&repo);
    let planned = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(
        planned.contains("No changes.") && planned.contains("when every environment that inherits it"),
        "{planned}"
    );
    assert!(repo.state()["profiles"]["legacy"].is_null());
}

#[test]
fn an_age_file_for_another_destination_is_refused_by_the_plan_and_by_the_service() {
    let mut repo = TestRepository::examples();
    repo.serve();
    applied(&repo);
    repo.write("environments/dev/profiles/relay.yaml", "provider: { smtp: { encryption: none, host: 127.9.9.9 } }\n");
    // A plan that the service would refuse fails early, whether the client or the service finds out.
    let planned = repo.run(&["plan", "dev", "--out", "dev.plan"]).code(1);
    assert!(planned.stdout.contains("this secret would go to a new place"), "{}", planned.stdout);
    assert!(planned.stderr.contains("MW0217") && !repo.path("dev.plan").exists(), "{}", planned.stderr);
    let planned = repo.run(&["plan", "dev", "--format", "json"]).code(1).json();
    assert_eq!((&planned["error"]["code"], planned["redirected"].as_array().unwrap().len()), (&json!("MW0217"), 1));
    let refused = repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(1);
    assert!(refused.stderr.contains("MW0217") && refused.stderr.contains("127.9.9.9"), "{}", refused.stderr);
    assert_eq!(repo.state()["generation"], 1);
    // The service does not rely on the plan: a changeset by hand is refused too.
    let stored = repo.state()["profiles"]["relay"]["live"].clone();
    let mut stolen = stored.clone();
    stolen["profile"]["provider"]["smtp"]["host"] = json!("127.9.9.9");
    let changeset = json!({ "id": "018f3a2e-0000-7000-8000-000000000001", "environment": "dev", "base": 1, "changes": [{ "action": "update", "name": "relay", "profile": stolen }] });
    let answer = repo.http("POST", "/v1/changesets", &[], changeset.to_string().as_bytes());
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("MW0217")));
    assert_eq!(
        repo.patch("relay", &json!({ "provider": { "smtp": { "host": "127.9.9.9" } } })).json()["code"],
        "MW0217"
    );
    // Sealed again by an operator who knows the value, it may go there.
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"example-relay-dev").code(0);
    applied(&repo);
    assert_eq!(repo.state()["generation"], 2);
}

#[test]
fn deletions_beyond_the_limit_need_a_word_for_this_plan() {
    let mut repo = TestRepository::small();
    for index in 0..5 {
        let profile = SMALL_PROFILE.replace(
            "[default]",
            &format!(
                "[{}]",
                ["all-reports", "all-documents", "electronic-signatures", "document-quality", "document-purchasing"]
                    [index]
            ),
        );
        repo.write(&format!("environments/dev/profiles/p{index}.yaml"), profile);
    }
    repo.serve();
    applied(&repo);
    for index in 0..3 {
        repo.remove(&format!("environments/dev/profiles/p{index}.yaml"));
    }
    let refused = repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(1);
    assert!(refused.stderr.contains("3 of 6 profiles would be deleted and 1 may be"), "{}", refused.stderr);
    assert!(repo.run(&["plan", "dev"]).code(0).stdout.contains("--allow-deletes 3"));
    repo.run(&["apply", "--skip-verify", "dev", "--yes", "--allow-deletes", "2"]).code(1);
    repo.run(&["apply", "--skip-verify", "dev", "--yes", "--allow-deletes", "p0,p1"]).code(1);
    // The service refuses by itself what no plan would send.
    let changes: Vec<_> = (0..3).map(|index| json!({ "action": "delete", "name": format!("p{index}") })).collect();
    let changeset =
        json!({ "id": "018f3a2e-0000-7000-8000-000000000002", "environment": "dev", "base": 1, "changes": changes });
    assert_eq!(repo.http("POST", "/v1/changesets", &[], changeset.to_string().as_bytes()).json()["code"], "MW0218");
    repo.run(&["apply", "--skip-verify", "dev", "--yes", "--allow-deletes", "3"]).code(0);
    let audit = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).json();
    let last = audit["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["detail"]["allowances"]["deletes"], &last["detail"]["guardsLifted"][0]["guard"]),
        (&json!(3), &json!("too-many-deletes"))
    );
}

#[test]
fn a_plan_limited_to_one_profile_touches_no_other() {
    let mut repo = TestRepository::examples();
    repo.serve();
    let planned = repo.run(&["plan", "dev", "--only", "legacy", "--format", "json"]).code(0).json();
    assert_eq!((actions(&planned), &planned["settings"]), (vec!["create legacy".to_owned()], &Value::Null));
    let wrong = repo.run(&["plan", "dev", "--only", "legcy"]).code(1);
    assert!(wrong.stderr.contains("Did you mean `legacy`?"), "{}", wrong.stderr);
}

#[test]
fn markdown_fits_a_comment_however_long_the_plan() {
    let mut repo = TestRepository::small();
    for index in 0..400 {
        let profile = SMALL_PROFILE.replace("functions: [default]", "functions: [all-reports]\nenabled: false\ndescription: A profile among many, so that the comment gets long");
        repo.write(&format!("environments/dev/profiles/p{index}.yaml"), profile);
    }
    repo.serve();
    let output = repo.run(&["plan", "dev", "--format", "markdown"]).code(0);
    assert!(
        output.stdout.starts_with("<!-- mailwright plan dev -->\n### Mailwright plan: `dev`\n\n**Plan: 401 to add"),
        "{}",
        &output.stdout[..200]
    );
    assert!(
        output.stdout.len() < 65_536 && output.stdout.contains("more changes; the plan as text or JSON has them all")
    );
    assert_eq!(output.stdout.matches("<details>").count(), output.stdout.matches("</details>").count());
}

/// Warnings and settings have no bound of their own: many of them are counted instead of shown.
#[test]
fn markdown_fits_a_comment_however_many_the_warnings_and_settings() {
    let mut repo = TestRepository::small();
    let write = |repo: &TestRepository, prefix: &str| {
        for index in 0..300 {
            let profile = SMALL_PROFILE.replace(
                "functions: [default]",
                &format!("functions: [all-reports]\nenabled: false\ndescription: Number {index}"),
            );
            repo.write(&format!("environments/dev/profiles/{prefix}{index}.yaml"), profile);
        }
    };
    write(&repo, "a-profile-with-a-long-name-");
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    for index in 0..300 {
        repo.remove(&format!("environments/dev/profiles/a-profile-with-a-long-name-{index}.yaml"));
    }
    write(&repo, "another-profile-with-a-long-name-");
    let companies: Vec<String> = (0..9000_u32)
        .map(|index| {
            let digit =
                |place: u32| char::from_digit(index / 20_u32.pow(place) % 20 + 10, 36).unwrap().to_ascii_uppercase();
            (0..4).map(digit).collect()
        })
        .collect();
    repo.write("environments/dev/environment.yaml", format!("companies: [EDU1, EDU2, {}]\n", companies.join(", ")));
    let output = repo.run(&["plan", "dev", "--format", "markdown"]).code(0).stdout;
    for counted in
        ["more warnings; the plan as text or JSON has them all", "more fields; the plan", "more changes; the plan"]
    {
        assert!(output.contains(counted), "no {counted}: {}", &output[..2000]);
    }
    assert!(output.contains("has the contents of") && output.len() <= 60_000, "{}", output.len());
    assert_eq!(output.matches("<details>").count(), output.matches("</details>").count());
    assert_eq!(output.matches("```").count() % 2, 0);
    assert!(output.trim_end().ends_with("</sub>"), "the end is there");
}

#[test]
fn a_plan_of_invalid_files_lists_the_problems_as_json() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.write("environments/dev/profiles/relay.yaml", format!("{SMALL_PROFILE}enabeld: true\n"));
    let error = repo.run(&["plan", "dev", "--format", "json"]).code(1).json()["error"].clone();
    assert_eq!(error["code"], "MW0008");
    let problem = &error["diagnostics"][0];
    assert_eq!((&problem["file"], &problem["line"]), (&json!("environments/dev/profiles/relay.yaml"), &json!(8)));
}

#[test]
fn a_large_apply_says_how_far_it_is() {
    let mut repo = TestRepository::small();
    for index in 0..1200 {
        let profile = SMALL_PROFILE.replace("functions: [default]", "functions: [all-reports]\nenabled: false");
        repo.write(&format!("environments/dev/profiles/p{index}.yaml"), profile);
    }
    repo.serve();
    let mut terminal = std::process::Command::new(crate::support::tools::tool("python"));
    crate::support::repository::clear_environment(&mut terminal);
    terminal.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/typist.py"));
    terminal
        .args([crate::support::repository::PROGRAM, "apply", "dev", "--skip-verify", "--yes"])
        .stdin(std::process::Stdio::null());
    terminal.env("MAILWRIGHT_SERVICE", repo.address()).env("MAILWRIGHT_TOKEN", repo.token());
    terminal.current_dir(repo.folder.path());
    let shown = crate::support::repository::run_command(terminal).code(0).stdout;
    let moves: Vec<&str> = shown.split('\r').filter(|line| line.starts_with("\u{1b}[K")).collect();
    // The progress at the moment of each reading is a matter of chance.
    let is_final = |line: &&str| line.contains("1201 changes and") && line.contains("0 secrets");
    assert!(moves.iter().any(is_final), "{moves:?}");
    assert!(moves.last().unwrap().contains("Apply complete!"), "{moves:?}");
}

#[test]
fn the_order_of_a_plan_does_not_depend_on_threads() {
    let mut repo = TestRepository::examples();
    repo.serve();
    let with = |threads: &str| repo.run(&["plan", "dev", "--format", "json", "--threads", threads]).code(0).stdout;
    assert_eq!(with("1"), with("16"));
}

/// A rollback sets what is live, and not what Git wants: until the files say the same, it shows, and is taken back.
#[test]
fn a_rollback_is_drift_until_the_files_declare_it() {
    let mut repo = TestRepository::small();
    repo.serve();
    let apply = |repo: &TestRepository| {
        drop(repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-deletes", "9"]).code(0));
    };
    let web = SMALL_PROFILE.replace("[default]", "[user-interface]");
    repo.write("environments/dev/profiles/web.yaml", &web);
    // Made by hand, and never in Git.
    apply(&repo);
    let live: Value = repo.state()["profiles"]["web"]["live"]["profile"].clone();
    let mut by_hand = live.clone();
    by_hand["functions"] = json!(["all-reports"]);
    let put = |repo: &TestRepository, name: &str, profile: &Value| {
        let precondition = if repo.state()["profiles"].get(name).is_some() { "If-Match" } else { "If-None-Match" };
        let body = profile.to_string();
        let answer = repo.http("PUT", &format!("/v1/profiles/{name}"), &[(precondition, "*")], body.as_bytes());
        assert!(answer.status < 300, "{answer:?}");
    };
    put(&repo, "manual", &by_hand);
    let target = repo.state()["generation"].clone();
    // Git removes one; an administrator removes the other.
    repo.remove("environments/dev/profiles/web.yaml");
    apply(&repo);
    let answer = repo.http("DELETE", "/v1/profiles/manual", &[("If-Match", "*")], b"");
    assert!(answer.status < 300, "{answer:?}");
    let output = repo.run(&["rollback", "dev", "--to", &target.to_string(), "--yes"]).code(0);
    assert!(!output.stdout.contains("not declared"), "{}", output.stdout);
    let state = repo.state();
    assert_eq!(state["profiles"]["web"]["applied"], "absent");
    assert_eq!(state["profiles"]["manual"]["applied"], "never", "it was not Git's then either");
    // Every command that compares says so.
    let drift = repo.run(&["drift", "dev"]).code(2);
    assert!(drift.stdout.contains("web") && drift.stdout.contains("brought back by"), "{}", drift.stdout);
    assert!(drift.stdout.contains("Not in Git, created outside it: manual"), "{}", drift.stdout);
    let plan = repo.run(&["plan", "dev", "--detailed-exitcode"]).code(2);
    let words = "no file declares it, and it was brought back by a rollback of";
    assert!(plan.stdout.contains(words) && plan.stdout.contains("1 to destroy"), "{}", plan.stdout);
    let status = repo.run(&["status", "dev"]).code(0).stdout;
    assert!(status.contains("1 not in Git") && status.contains("1 changed outside Git"), "{status}");
    assert!(repo.run(&["show", "dev", "web"]).code(0).stdout.contains("the last apply had removed it"));
    // A change by hand does not take it out of Git's care.
    let mut other = live;
    other["description"] = json!("by hand");
    put(&repo, "web", &other);
    assert_eq!(repo.state()["profiles"]["web"]["applied"], "absent");
    // The files declare it again: no deletion, and it is as it was before.
    repo.write("environments/dev/profiles/web.yaml", &web);
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("from now on the files declare it again"), "{plan}");
    repo.remove("environments/dev/profiles/web.yaml");
    // Or they do not: the next apply removes it, and nothing is left to report.
    apply(&repo);
    assert!(repo.state()["profiles"].get("web").is_none());
    assert!(repo.run(&["drift", "dev"]).code(0).stdout.contains("manual"));
    // Back and forth it stays Git's.
    repo.run(&["rollback", "dev", "--to", &target.to_string(), "--yes"]).code(0);
    let output = repo.run(&["rollback", "dev", "--to", "3", "--yes", "--allow-deletes", "9"]).code(0);
    assert!(output.stdout.contains("because generation 3 does not have it"), "{}", output.stdout);
    repo.run(&["rollback", "dev", "--to", &target.to_string(), "--yes"]).code(0);
    assert_eq!(repo.state()["profiles"]["web"]["applied"], "absent");
    repo.run(&["drift", "dev"]).code(2);
}
