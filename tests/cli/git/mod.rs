//! Commits, branches, signatures and differences, with a real `git` in temporary folders.

mod blame;
mod diff;
mod hostile;
mod policy;
mod private_keys;
mod provenance;
mod since;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::support::repository::{SMALL_PROFILE, TestRepository};

/// Runs `git` in a folder, with nothing of the machine's own configuration. Gives what it printed.
pub(crate) fn git_in(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Ada Example", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main"])
        .args(["-c", "protocol.file.allow=always", "-c", "advice.detachedHead=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_DATE", "2026-11-01T10:00:00Z")
        .env("GIT_COMMITTER_DATE", "2026-11-01T10:00:00Z")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn git(repo: &TestRepository, arguments: &[&str]) -> String {
    git_in(repo.folder.path(), arguments)
}

/// Commits everything.
pub(crate) fn commit(repo: &TestRepository, message: &str) -> String {
    git(repo, &["add", "--all", "environments", "secrets", ".gitattributes"]);
    git(repo, &["commit", "--quiet", "--allow-empty", "-m", message]);
    git(repo, &["rev-parse", "HEAD"])
}

/// A repository of an abstract `base` with two profiles, and of `dev`, `prod` and `test`, which extend it; `test` has
/// a host of its own.
pub(crate) fn layered() -> TestRepository {
    let repo = TestRepository::empty();
    repo.write(".gitattributes", "*.age -text\n");
    repo.write("secrets/README.md", "Sealed.\n");
    repo.write("environments/base/environment.yaml", "abstract: true\nvariables: { domain: example.com }\n");
    repo.write("environments/base/profiles/relay.yaml", SMALL_PROFILE);
    repo.write(
        "environments/base/profiles/reports.yaml",
        SMALL_PROFILE.replace("[default]", "[all-reports]").replace("erp@example.com", "reports@${domain}"),
    );
    for (name, region) in [("dev", "emea"), ("prod", "emea"), ("test", "apac")] {
        let text = format!("extends: base\ncompanies: [EDU1]\nlabels: {{ region: {region} }}\n");
        repo.write(&format!("environments/{name}/environment.yaml"), text);
    }
    repo.write("environments/test/profiles/relay.yaml", "provider: { smtp: { host: test.example.com } }\n");
    git(&repo, &["init", "--quiet"]);
    commit(&repo, "one");
    repo
}

/// Replaces a text in a file.
pub(crate) fn edit(repo: &TestRepository, path: &str, from: &str, to: &str) {
    let text = repo.read(path);
    assert!(text.contains(from), "{path} has no {from}");
    repo.write(path, text.replace(from, to));
}

/// Returns the environments that `diff` lists, each with its status.
pub(crate) fn touched(repo: &TestRepository, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["diff", "--format", "json"].iter().chain(arguments).copied().collect();
    let document = document(&repo.run(&arguments));
    let environments = document["environments"].as_object().unwrap_or_else(|| panic!("{document:#}")).iter();
    let words = environments
        .map(|(_, entry)| format!("{} {}", entry["environment"].as_str().unwrap(), entry["status"].as_str().unwrap()));
    words.collect::<Vec<_>>().join(", ")
}

/// Parses the JSON of `diff` and validates it against its schema.
pub(crate) fn document(output: &crate::support::repository::CommandOutput) -> serde_json::Value {
    let schema = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let diff = schema(include_str!("../../../schema/diff.schema.json"));
    let plan = schema(include_str!("../../../schema/plan.schema.json"));
    let registry = jsonschema::Registry::new()
        .add(plan["$id"].as_str().unwrap(), jsonschema::Resource::from_contents(plan.clone()))
        .unwrap()
        .prepare()
        .unwrap();
    let validator = jsonschema::options().offline().with_registry(&registry).build(&diff).unwrap();
    let document = output.json();
    let errors: Vec<String> =
        validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
    document
}
