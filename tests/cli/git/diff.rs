//! `mailwright diff`: what a branch changes, as people and programs read it.

use super::{commit, document, edit, git, layered, touched};
use crate::support::repository::{SMALL_PROFILE, TestRepository};

/// The commits' ids differ from run to run only in tests that seal secrets; the rest is fixed.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "COMMIT");
    settings
}

/// A branch that changes a base, renames a profile, removes one, makes one, and brings an environment.
fn branch() -> TestRepository {
    let repo = layered();
    git(&repo, &["checkout", "--quiet", "-b", "topic"]);
    edit(&repo, "environments/base/profiles/relay.yaml", "smtp.example.com", "smtp2.example.com");
    repo.write("environments/prod/profiles/reports.yaml", "from: { address: prod@example.com }\n");
    repo.write("environments/test/profiles/reports.yaml", "null\n");
    let moved = repo.read("environments/base/profiles/reports.yaml");
    repo.write("environments/test/profiles/reporting.yaml", format!("renamedFrom: reports\n{moved}"));
    edit(&repo, "environments/test/environment.yaml", "[EDU1]", "[EDU1, EDU2]");
    repo.write("environments/new/environment.yaml", "extends: base\ncompanies: [EDU1]\n");
    commit(&repo, "two");
    repo
}

#[test]
fn a_branch_by_environment() {
    let repo = branch();
    let human = repo.run(&["diff", "main...topic"]).code(0).stdout;
    let markdown = repo.run(&["diff", "main...topic", "--format", "markdown"]).code(0).stdout;
    settings().bind(|| {
        insta::assert_snapshot!("human", human);
        insta::assert_snapshot!("markdown", markdown);
    });
}

#[test]
fn the_document_has_the_places_of_both_sides() {
    let repo = branch();
    let document = document(&repo.run(&["diff", "main..topic", "prod", "--format", "json"]).code(0));
    let plan = &document["environments"]["prod"]["plan"];
    let change = plan["changes"].as_array().unwrap().iter().find(|change| change["name"] == "reports").unwrap();
    let field = &change["fields"][0];
    assert_eq!((&field["before"], &field["after"]), (&"reports@example.com".into(), &"prod@example.com".into()));
    assert_eq!(field["place"]["file"], "environments/prod/profiles/reports.yaml");
    assert_eq!(field["beforePlace"]["file"], "environments/base/profiles/reports.yaml");
    let senders = plan["senders"].as_array().unwrap();
    assert!(
        senders.iter().any(|cell| cell["function"] == "all-reports" && cell["after"]["from"] == "prod@example.com")
    );
}

#[test]
fn every_way_to_name_two_sides() {
    let repo = layered();
    git(&repo, &["checkout", "--quiet", "-b", "topic"]);
    edit(&repo, "environments/dev/environment.yaml", "[EDU1]", "[EDU1, EDU2]");
    commit(&repo, "on the branch");
    git(&repo, &["checkout", "--quiet", "main"]);
    edit(&repo, "environments/prod/environment.yaml", "[EDU1]", "[EDU1, EDU3]");
    commit(&repo, "on main, since");
    assert_eq!(touched(&repo, &["main..topic"]), "dev changed, prod changed", "as they are");
    assert_eq!(touched(&repo, &["main...topic"]), "dev changed", "since they parted");
    assert_eq!(touched(&repo, &["topic.."]), "dev changed, prod changed", "what is left out is HEAD");
    assert_eq!(touched(&repo, &["...topic"]), "dev changed");
    assert_eq!(touched(&repo, &["HEAD~1"]), "prod changed", "one revision, and the work tree");
    assert_eq!(touched(&repo, &[]), "", "HEAD, and the work tree");
    // The work tree includes uncommitted, untracked and ignored files.
    repo.write(".gitignore", "two.yaml\n");
    repo.write("environments/test/profiles/two.yaml", SMALL_PROFILE.replace("[default]", "[all-documents]"));
    edit(&repo, "environments/dev/environment.yaml", "[EDU1]", "[EDU4]");
    assert_eq!(touched(&repo, &[]), "dev changed, test changed");
    assert_eq!(touched(&repo, &["dev"]), "dev changed", "an environment is not a revision");
    assert_eq!(touched(&repo, &["HEAD", "t*"]), "test changed");
    assert_eq!(touched(&repo, &["-l", "region=emea"]), "dev changed");
    assert_eq!(touched(&repo, &["topic", "-l", "region=emea", "p*"]), "prod changed");
}

#[test]
fn exit_codes_and_what_cannot_be_understood() {
    let repo = layered();
    repo.run(&["diff", "--detailed-exitcode"]).code(0);
    edit(&repo, "environments/base/profiles/relay.yaml", "smtp.example.com", "other.example.com");
    repo.run(&["diff"]).code(0);
    repo.run(&["diff", "--detailed-exitcode"]).code(2);
    let error = |arguments: &[&str]| {
        let output = repo.run(&[&["diff"], arguments].concat()).code(1);
        assert_eq!(output.stdout, "");
        output.stderr
    };
    assert!(error(&["nowhere"]).contains("MW0301]: unknown revision `nowhere`"));
    assert!(error(&["main..nowhere"]).contains("MW0301"));
    assert!(error(&[&"0".repeat(40)]).contains("origin/main..."), "a pipeline's word for no earlier commit");
    assert!(error(&["HEAD", "pord"]).contains("Did you mean `prod`?"));
    assert!(error(&["HEAD", "-l", "region=mars"]).contains("MW0024"));
    assert!(error(&["--", "--output=x"]).contains("MW0301]: `--output=x` is not a revision"));
    assert!(error(&["a\u{1b}[2Jb"]).contains(r"`a\u{1b}[2Jb`"), "nothing moves the cursor");
    git(&repo, &["branch", "prod"]);
    assert!(error(&["prod"]).contains("`prod` is both an environment and a revision"));
    let json = document(&repo.run(&["diff", "nowhere", "--format", "json"]).code(1));
    assert_eq!(json["error"]["code"], "MW0301");
    let bare = TestRepository::small();
    assert!(bare.run(&["diff"]).code(1).stderr.contains("MW0303"), "no repository");
}

#[test]
fn a_side_with_problems_is_named_and_the_others_show() {
    let repo = layered();
    edit(&repo, "environments/prod/environment.yaml", "companies", "compannies");
    edit(&repo, "environments/dev/environment.yaml", "[EDU1]", "[EDU1, EDU2]");
    let output = repo.run(&["diff"]).code(1);
    let (dev, prod) = output.stdout.split_once("prod cannot be compared").unwrap();
    assert!(dev.contains("companies = [+\"EDU2\"]"), "{dev}");
    assert!(prod.contains("In the work tree:") && prod.contains("MW0008"), "{prod}");
    commit(&repo, "broken");
    edit(&repo, "environments/prod/environment.yaml", "compannies", "companies");
    let output = repo.run(&["diff"]).code(1);
    assert!(output.stdout.contains("In HEAD ("), "{}", output.stdout);
    let json = document(&repo.run(&["diff", "--format", "json"]).code(1));
    assert_eq!(json["environments"]["prod"]["old"]["diagnostics"][0]["code"], "MW0008");
    assert!(json.get("error").is_none(), "one document");
}

#[test]
fn a_change_of_a_layer_is_shown_once() {
    let repo = layered();
    for number in 0..40 {
        repo.write(&format!("environments/site-{number:02}/environment.yaml"), "extends: base\ncompanies: [EDU1]\n");
    }
    commit(&repo, "sites");
    edit(&repo, "environments/base/environment.yaml", "example.com", "example.org");
    let text = repo.run(&["diff"]).code(0).stdout;
    assert_eq!(text.matches("reports@example.org").count(), 2, "once as a field, once as a sender: {text}");
    assert!(text.contains("and 31 more (43 environments alike)"), "{text}");
    assert!(text.contains("Diff: 43 environments changed, 0 new, 0 gone."), "{text}");
    repo.run(&["validate"]).code(0);
}

#[test]
fn secrets_by_their_digests() {
    let repo = TestRepository::examples();
    repo.write(".gitattributes", "*.age -text\n");
    git(&repo, &["init", "--quiet"]);
    commit(&repo, "one");
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"another").code(0);
    assert!(repo.run(&["diff"]).code(0).stdout.contains("relay/password (secret rotated)"));
    commit(&repo, "two");
    repo.run(&["secrets", "rekey", "dev", "--all", "-i", "secrets/dev/demo-identity.txt"]).code(0);
    let text = repo.run(&["diff", "HEAD", "dev"]).code(0).stdout;
    assert!(text.contains("relay/password (secret resealed, same value)"), "{text}");
    // Who can open them, with no other file.
    commit(&repo, "three");
    let recipients = repo.read("secrets/dev/recipients.txt");
    let ann = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";
    repo.write("secrets/dev/recipients.txt", format!("{recipients}\n# Ann\n{ann}\n"));
    let text = repo.run(&["diff", "HEAD"]).code(0).stdout;
    assert!(text.contains("secretRecipients") && text.contains(&format!("{ann} # Ann")), "{text}");
    repo.write("secrets/dev/recipients.txt", recipients);
    edit(&repo, "environments/base/profiles/relay.yaml", "username: erp", "username: other");
    edit(&repo, "environments/prod/environment.yaml", "extends: office", "extends: office # the same");
    assert_eq!(touched(&repo, &["HEAD"]), "dev changed, prod changed");
}

#[test]
fn a_renamed_folder_is_reported_as_renamed() {
    let repo = layered();
    git(&repo, &["mv", "environments/prod", "environments/live"]);
    let text = repo.run(&["diff"]).code(0).stdout;
    assert!(text.contains("The contents are those of `prod`, which is gone."), "{text}");
    assert_eq!(touched(&repo, &[]), "live added, prod removed");
    // A layer under another name changes nothing where all that extend it follow.
    git(&repo, &["mv", "environments/live", "environments/prod"]);
    git(&repo, &["mv", "environments/base", "environments/ground"]);
    assert_eq!(touched(&repo, &[]), "dev invalid, prod invalid, test invalid");
    for name in ["dev", "prod", "test"] {
        edit(&repo, &format!("environments/{name}/environment.yaml"), "extends: base", "extends: ground");
    }
    assert_eq!(touched(&repo, &[]), "");
}

#[test]
fn a_repository_in_a_folder_of_another() {
    let outer = TestRepository::empty();
    let inner = layered();
    std::fs::remove_dir_all(inner.path(".git")).unwrap();
    git(&outer, &["init", "--quiet"]);
    std::fs::rename(inner.path("environments"), outer.path("erp-environments")).unwrap();
    std::fs::create_dir(outer.path("erp")).unwrap();
    std::fs::rename(outer.path("erp-environments"), outer.path("erp/environments")).unwrap();
    git(&outer, &["add", "erp"]);
    git(&outer, &["commit", "--quiet", "-m", "one"]);
    edit(&outer, "erp/environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
    assert_eq!(touched(&outer, &["--project", "erp"]), "prod changed");
    git(&outer, &["commit", "--quiet", "-am", "two"]);
    assert_eq!(touched(&outer, &["HEAD~1..", "--project", "erp"]), "prod changed");
}
