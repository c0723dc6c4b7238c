//! Patches of the console, taken into files in any form: comments, flow style, JSON, layers, secrets, and files that were changed.

use serde_json::{Value, json};

use super::{
    client::Client,
    edit::{NEW, assert_plan_is_empty, commit_files, git, plan, repository, send_on, with},
};
use crate::support::repository::{CommandOutput, SMALL_PROFILE, TestRepository};

const RELAY: &str = "environments/dev/profiles/relay.yaml";

/// A service with this file of the profile `relay`.
fn with_file(path: &str, text: &str) -> TestRepository {
    let mut repo = TestRepository::small();
    repo.remove(RELAY);
    repo.write(path, text);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    commit_files(&repo);
    repo
}

/// Changes the live profile, and saves its patch.
fn change(repo: &TestRepository, patch: &Value) {
    let changed = repo.patch("relay", patch);
    assert_eq!(changed.status, 200, "{}", changed.body);
    save(repo, "/console/profiles/relay/patch");
}

fn save(repo: &TestRepository, path: &str) {
    let page = Client::signed_in(repo).page(path);
    repo.write("relay.patch", page);
}

fn import(repo: &TestRepository) -> CommandOutput {
    repo.run(&["import", "--patch", "relay.patch"])
}

/// Imports the patch, and asserts that the plan is empty and that Git has no new commit.
fn import_all(repo: &TestRepository) -> CommandOutput {
    let before = git(repo, &["rev-parse", "HEAD"]);
    let dry = repo.run(&["import", "--patch", "relay.patch", "--dry-run"]).code(0).stdout;
    assert!(dry.contains("would ") && git(repo, &["status", "--porcelain"]).is_empty(), "{dry}");
    let imported = import(repo).code(0);
    assert_plan_is_empty(repo);
    assert_eq!(git(repo, &["rev-parse", "HEAD"]), before, "nothing is committed");
    assert!(!git(repo, &["status", "--porcelain"]).is_empty());
    let again = import(repo).code(0).stdout;
    assert!(again.contains("the files have this change"), "{again}");
    imported
}

fn refused(repo: &TestRepository, code: &str, words: &[&str]) {
    let before = git(repo, &["status", "--porcelain"]);
    let output = import(repo);
    let text = format!("{}{}", output.stdout, output.stderr);
    output.code(1);
    assert!(text.contains(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(git(repo, &["status", "--porcelain"]), before, "nothing was written");
}

#[test]
fn a_file_that_new_profile_has_written_keeps_its_comments() {
    let mut repo = TestRepository::small();
    repo.remove(RELAY);
    let new =
        ["new", "profile", "relay", "--provider", "smtp", "--host", "smtp.example.com", "--from", "erp@example.com"];
    repo.run(&[&new[..], &["--environment", "dev"]].concat()).code(0);
    let before = repo.read(RELAY);
    assert!(before.contains("# yaml-language-server") && before.contains("# `starttls`, `tls`"), "{before}");
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    commit_files(&repo);
    let page = Client::signed_in(&repo).page("/console/profiles/relay");
    assert!(!page.contains("import --patch"), "{page}");
    change(
        &repo,
        &json!({
            "description": "Of the head office", "provider": { "smtp": { "port": 465, "encryption": "tls" } },
            "from": { "name": "Head office" }, "limits": { "perMinute": 5 },
        }),
    );
    let page = Client::signed_in(&repo).page("/console/profiles/relay");
    assert!(page.contains("mailwright import --patch relay.patch") && page.contains("unless the files have"), "{page}");
    import_all(&repo);
    let after = repo.read(RELAY);
    let comments = |text: &str| text.matches('#').count();
    assert_eq!(comments(&after), comments(&before), "{after}");
    assert!(after.contains("port: 465\n    encryption: tls # `starttls`"), "{after}");
}

#[test]
fn flow_style_and_json_stay() {
    let flow = "{ provider: { smtp: { host: smtp.example.com } }, from: { address: erp@example.com, name: ERP }, functions: [default], appliesTo: system-wide }\n";
    let changes = json!({
        "from": { "address": "mail@example.com", "name": null }, "functions": ["default", "all-documents"], "description": "d",
    });
    let repo = with_file(RELAY, flow);
    change(&repo, &changes);
    import_all(&repo);
    let after = repo.read(RELAY);
    assert!(
        after.starts_with("{ provider: { smtp: { host: smtp.example.com } }, from: { address: mail@example.com }"),
        "{after}"
    );
    assert_eq!(after.lines().count(), 1, "{after}");

    let document = json!({
        "provider": { "smtp": { "host": "smtp.example.com" } }, "from": { "address": "erp@example.com", "name": "ERP" },
        "functions": ["default"], "appliesTo": "system-wide",
    });
    let path = "environments/dev/profiles/relay.json";
    let repo = with_file(path, &format!("{document:#}\n"));
    change(&repo, &changes);
    import_all(&repo);
    let after: Value = serde_json::from_str(&repo.read(path)).unwrap();
    assert_eq!(after["from"], json!({ "address": "mail@example.com" }));
    assert!(!repo.path(RELAY).exists());
}

#[test]
fn anchors_are_written_out_and_the_loss_of_comments_is_said() {
    let text = "# of the team\nprovider: { smtp: { host: &name smtp.example.com } }\nfrom: { address: erp@example.com }\nfunctions: [default]\nappliesTo: system-wide\ndescription: *name\n";
    let repo = with_file(RELAY, text);
    change(&repo, &json!({ "provider": { "smtp": { "host": "mx.example.com" } } }));
    let imported = import_all(&repo);
    assert!(imported.stderr.contains("could not be kept"), "{}", imported.stderr);
    let after = repo.read(RELAY);
    assert!(after.contains("description: smtp.example.com") && after.contains("host: mx.example.com"), "{after}");
}

#[test]
fn layers_keep_what_other_environments_inherit() {
    let mut repo = TestRepository::small();
    let base = "# for all branches\nprovider:\n  smtp:\n    host: ${host}\nfrom: { address: erp@example.com, name: ERP }\nfunctions: [default]\nappliesTo: system-wide\n";
    repo.write("environments/base/environment.yaml", "abstract: true\n");
    repo.write("environments/base/profiles/relay.yaml", base);
    repo.write("environments/base/profiles/other.yaml", SMALL_PROFILE.replace("[default]", "[all-documents]"));
    repo.write(
        "environments/dev/environment.yaml",
        "extends: base\ncompanies: [EDU1]\nvariables: { host: smtp.example.com }\n",
    );
    repo.remove(RELAY);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    commit_files(&repo);
    change(&repo, &json!({ "provider": { "smtp": { "port": 25 } }, "from": { "name": null }, "description": "${x}" }));
    import_all(&repo);
    assert_eq!(repo.read("environments/base/profiles/relay.yaml"), base);
    let own = repo.read(RELAY);
    assert!(!own.contains("host") && own.contains("port: 25") && own.contains("name: null"), "{own}");
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    // An own file is changed again, a field that a variable gives is written out, and an inherited profile is removed by null.
    change(&repo, &json!({ "provider": { "smtp": { "port": 26, "host": "mx.example.com" } } }));
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "--quiet", "-m", "overlay"]);
    import_all(&repo);
    assert!(repo.read(RELAY).contains("host: mx.example.com"));
    let mut client = Client::signed_in(&repo);
    let page = plan(&mut client, &[("action", "delete"), ("original", "other"), ("base", "9")]);
    let patch = send_on(&mut client, "/console/plan/patch", &page, &[]);
    repo.write("relay.patch", patch.body);
    import(&repo).code(0);
    assert!(repo.read("environments/dev/profiles/other.yaml").ends_with("null\n"));
}

#[test]
fn the_patch_of_a_proposal_makes_and_removes_files() {
    let repo = repository();
    commit_files(&repo);
    let mut client = Client::signed_in(&repo);
    let page = plan(&mut client, NEW);
    assert!(
        page.contains("mailwright import --patch invoices.patch") && !page.contains("mailwright import dev"),
        "{page}"
    );
    let proposed = send_on(&mut client, "/console/plan/propose", &page, &[("reason", "for the branch")]);
    let address = proposed.header("location").unwrap().to_owned();
    let page = client.page(&address);
    assert!(page.contains("Files for Git") && page.contains("mailwright import --patch invoices.patch"), "{page}");
    save(&repo, &format!("{address}/patch"));
    assert!(repo.read("relay.patch").contains("Reason: for the branch"));
    import(&repo).code(0);
    let plan_of_files = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan_of_files.contains("invoices"), "it is not applied: {plan_of_files}");
    let page = client.page(&address);
    let applied = send_on(&mut client, &format!("{address}/apply"), &page, &[]);
    assert_eq!(applied.status, 303, "{}", applied.body);
    assert_plan_is_empty(&repo);
    assert_eq!(client.get(&format!("{address}/patch")).status, 404);
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "--quiet", "-m", "invoices"]);
    let page = plan(&mut client, &[("action", "delete"), ("original", "invoices"), ("base", "9")]);
    repo.write("relay.patch", send_on(&mut client, "/console/plan/patch", &page, &[]).body);
    import(&repo).code(0);
    assert!(!repo.path("environments/dev/profiles/invoices.yaml").exists());
    // Two persons: the files have a profile of the name already.
    let other = with(NEW, &[("name", "sales"), ("base", "9")]);
    let page = self::plan(&mut client, &other);
    repo.write("relay.patch", send_on(&mut client, "/console/plan/patch", &page, &[]).body);
    repo.write("environments/dev/profiles/sales.yaml", SMALL_PROFILE.replace("[default]", "[all-documents]"));
    refused(&repo, "MW0458", &["already", "sales"]);
}

#[test]
fn files_that_differ_and_patches_of_others_are_refused() {
    let repo = with_file(RELAY, SMALL_PROFILE);
    change(&repo, &json!({ "from": { "address": "mail@example.com" } }));
    let patch = repo.read("relay.patch");
    repo.write(RELAY, SMALL_PROFILE.replace("erp@", "git@"));
    refused(&repo, "MW0457", &["from.address", "relay"]);
    // Another field may have changed.
    repo.write(RELAY, format!("description: in Git\n{SMALL_PROFILE}"));
    import(&repo).code(0);
    assert!(repo.read(RELAY).contains("description: in Git\n") && repo.read(RELAY).contains("mail@example.com"));
    for (text, word) in [
        ("nothing".to_owned(), "differences"),
        (patch.replace("environments/dev/profiles/relay.yaml", "../relay.yaml"), "../relay.yaml"),
        (
            patch.replace("environments/dev/profiles/relay.yaml", "environments/dev/environment.yaml"),
            "environment.yaml",
        ),
        (patch.replace("environments/dev/profiles/relay.yaml", "secrets/dev/../../x.age"), "x.age"),
        (patch.replace("appliesTo: system-wide", "appliesTo: nowhere"), "relay"),
        (patch.replacen("@@ -1", "@@ -4", 1), "damaged"),
    ] {
        repo.write("relay.patch", text);
        refused(&repo, "MW0456", &[word]);
    }
}
