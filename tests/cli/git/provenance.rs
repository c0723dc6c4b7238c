//! Provenance of a generation: commit, branch, author, signature, uncommitted changes.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{edit, git, layered};
use crate::support::{
    repository::{TestRepository, run_command},
    tools::{folder, tool},
};

/// Applies, and gives what the service keeps of where it came from.
pub(crate) fn applied(repo: &TestRepository, more: &[&str]) -> Value {
    let arguments = [&["apply", "dev", "--yes", "--skip-verify"][..], more].concat();
    repo.run(&arguments).code(0);
    repo.http("GET", "/v1/generations?limit=1", &[], b"").json()["generations"][0]["provenance"].clone()
}

/// Makes a key, and has Git sign with it; `trusted` says whether Git knows whose it is.
pub(crate) fn sign_with_ssh(repo: &TestRepository, trusted: bool) {
    let key = repo.path(".key");
    let made = Command::new(tool("ssh-keygen")).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let public = repo.read(".key.pub");
    let signers = repo.path(".signers");
    std::fs::write(&signers, if trusted { format!("ada@example.com {public}") } else { String::new() }).unwrap();
    let program = tool("ssh-keygen");
    for (name, value) in [
        ("gpg.format", "ssh"),
        ("gpg.ssh.program", program.to_str().unwrap()),
        ("gpg.ssh.allowedSignersFile", signers.to_str().unwrap()),
        ("user.signingKey", key.to_str().unwrap()),
    ] {
        git(repo, &["config", name, value]);
        set_for_user(repo, name, value);
    }
}

/// Sets a key of the user's own configuration, which is what Mailwright has Git check signatures by.
pub(crate) fn set_for_user(repo: &TestRepository, name: &str, value: &str) {
    git(repo, &["config", "--file", ".gitconfig", name, value]);
}

/// A `GnuPG` of the test's own, that Git signs and checks with: its home is in the folder of the repository. Its agent ends
/// when that folder is removed.
pub(crate) struct Gpg {
    program: std::path::PathBuf,
    home: std::path::PathBuf,
}

impl Gpg {
    pub(crate) fn new(repo: &TestRepository) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let (home, program) = (repo.path(".gnupg"), repo.path(".gpg"));
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
        let gpg = Self { program, home };
        gpg.at(None);
        let usr = folder().join("usr");
        let libraries = usr.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
        let script = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH='{}' GNUPGHOME='{}' exec '{}' \"$@\"\n",
            libraries.display(),
            gpg.home.display(),
            tool("gpg").display()
        );
        std::fs::write(&gpg.program, script).unwrap();
        std::fs::set_permissions(&gpg.program, std::fs::Permissions::from_mode(0o755)).unwrap();
        for (name, value) in [("gpg.format", "openpgp"), ("gpg.program", gpg.program.to_str().unwrap())] {
            git(repo, &["config", name, value]);
            set_for_user(repo, name, value);
        }
        gpg
    }

    /// From now on `GnuPG` believes that it is this time; none is the real one.
    pub(crate) fn at(&self, time: Option<&str>) {
        let agent = format!("agent-program {}\n", tool("gpg-agent").display());
        let time = time.map(|time| format!("faked-system-time {time}\n")).unwrap_or_default();
        std::fs::write(self.home.join("gpg.conf"), agent + &time).unwrap();
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new(&self.program)
            .args(["--batch", "--yes", "--quiet"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A key that Git signs with from now on; its maker trusts it. Gives its fingerprint.
    pub(crate) fn key(&self, repo: &TestRepository, address: &str, lasts: &str) -> String {
        self.run(&["--passphrase", "", "--quick-generate-key", address, "ed25519", "sign", lasts], "");
        let listed = self.run(&["--with-colons", "--list-keys", &format!("<{address}>")], "");
        let print = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
        let print = print.trim_end_matches(':').to_owned();
        git(repo, &["config", "user.signingKey", &print]);
        print
    }
}

#[test]
fn commit_author_and_signature_go_with_each_generation() {
    let mut repo = layered();
    repo.serve();
    let head = git(&repo, &["rev-parse", "HEAD"]);
    let recorded = applied(&repo, &[]);
    assert_eq!(recorded["commit"], json!(head));
    assert_eq!(recorded["branch"], "main");
    assert_eq!(recorded["author"], json!({ "name": "Ada Example", "email": "ada@example.com" }));
    assert_eq!((&recorded["signature"], &recorded["dirty"]), (&json!("none"), &json!(false)));

    sign_with_ssh(&repo, true);
    edit(&repo, "environments/dev/environment.yaml", "[EDU1]", "[EDU1, EDU2]");
    git(&repo, &["commit", "--quiet", "-aS", "-m", "signed"]);
    let recorded = applied(&repo, &[]);
    assert_eq!((&recorded["signature"], &recorded["signer"]), (&json!("good"), &json!("ada@example.com")));

    // A key that is not trusted, and an uncommitted change.
    std::fs::write(repo.path(".signers"), "").unwrap();
    edit(&repo, "environments/dev/environment.yaml", "EDU2", "EDU3");
    let recorded = applied(&repo, &[]);
    assert_eq!((&recorded["signature"], &recorded["dirty"]), (&json!("unknown-key"), &json!(true)));

    let text = repo.run(&["history", "dev"]).code(0).stdout;
    for shown in ["AUTHOR", "SIGNATURE", "BRANCH", "Ada Example", "good", "unknown-key", "main", &head[..12]] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(text.contains('+'), "dirty: {text}");
}

#[test]
fn the_repository_does_not_say_which_signatures_are_good() {
    let mut repo = layered();
    repo.serve();
    sign_with_ssh(&repo, true);
    git(&repo, &["commit", "--quiet", "--allow-empty", "-S", "-m", "signed"]);
    assert_eq!(applied(&repo, &[])["signature"], "good");
    // The repository vouches for a key, and the user does not.
    std::fs::remove_file(repo.path(".gitconfig")).unwrap();
    let program = tool("ssh-keygen");
    set_for_user(&repo, "gpg.ssh.program", program.to_str().unwrap());
    edit(&repo, "environments/dev/environment.yaml", "[EDU1]", "[EDU1, EDU2]");
    assert_ne!(applied(&repo, &[])["signature"], "good");
    assert_eq!(git(&repo, &["log", "-1", "--format=%G?"]), "G", "Git itself would believe it");
}

#[test]
fn the_branch_of_a_pipeline() {
    let mut repo = layered();
    repo.serve();
    git(&repo, &["checkout", "--quiet", "--detach"]);
    let branch = |variables: &[(&str, &str)], more: &[&str]| {
        let arguments = [&["plan", "dev", "--format", "json"][..], more].concat();
        let mut command = repo.command(&arguments);
        command.envs(variables.iter().copied());
        run_command(command).code(0).json()["source"]["branch"].clone()
    };
    assert_eq!(branch(&[], &[]), Value::Null);
    assert_eq!(branch(&[], &["--branch", "release/1"]), "release/1");
    assert_eq!(branch(&[("GITHUB_REF_TYPE", "branch"), ("GITHUB_REF_NAME", "main")], &[]), "main");
    assert_eq!(branch(&[("GITHUB_REF_TYPE", "tag"), ("GITHUB_REF_NAME", "main")], &[]), Value::Null, "a tag is none");
    let pull = [("GITHUB_HEAD_REF", "topic"), ("GITHUB_REF_TYPE", "branch"), ("GITHUB_REF_NAME", "7/merge")];
    assert_eq!(branch(&pull, &[]), "topic");
    assert_eq!(branch(&[("CI_COMMIT_BRANCH", "main")], &[]), "main");
    assert_eq!(branch(&[("CI_COMMIT_REF_NAME", "v1"), ("CI_COMMIT_TAG", "v1")], &[]), Value::Null);
    assert_eq!(branch(&[("BUILD_SOURCEBRANCH", "refs/heads/release/2")], &[]), "release/2");
    assert_eq!(branch(&[("BUILD_SOURCEBRANCH", "refs/tags/v1")], &[]), Value::Null);
    git(&repo, &["checkout", "--quiet", "main"]);
    assert_eq!(branch(&[("CI_COMMIT_BRANCH", "other")], &[]), "main", "what is checked out is nearer");
}

#[test]
fn ignored_files_count_as_dirty_if_mailwright_reads_them() {
    let mut repo = layered();
    repo.serve();
    let dirty = || repo.run(&["plan", "dev", "--format", "json"]).code(0).json()["source"]["dirty"].clone();
    repo.write(".gitignore", "*.yaml\n.*\n");
    assert_eq!(dirty(), false, "outside of what is read");
    repo.write("environments/dev/.cache", "x");
    assert_eq!(dirty(), false, "dot files mean nothing");
    repo.write("environments/dev/profiles/hidden.yaml", "null\n");
    assert_eq!(dirty(), true);
}

#[test]
fn dirty_means_different_from_the_commit_whatever_the_index_says() {
    let mut repo = layered();
    repo.serve();
    let dirty = || repo.run(&["plan", "dev", "--format", "json"]).code(0).json()["source"]["dirty"].clone();
    let file = "environments/dev/environment.yaml";
    git(&repo, &["update-index", "--assume-unchanged", file]);
    edit(&repo, file, "[EDU1]", "[EDU1, EDU2]");
    assert_eq!(git(&repo, &["status", "--porcelain", "environments"]), "", "Git itself sees nothing");
    assert_eq!(dirty(), true);
    // Nor does a replacement of the commit count, which Git would show in its place.
    git(&repo, &["update-index", "--no-assume-unchanged", file]);
    let one = git(&repo, &["rev-parse", "HEAD"]);
    git(&repo, &["commit", "--quiet", "-am", "two"]);
    git(&repo, &["replace", &one, "HEAD"]);
    git(&repo, &["reset", "--quiet", "--soft", &one]);
    assert_eq!(git(&repo, &["status", "--porcelain", "environments"]), "", "Git itself sees nothing");
    assert_eq!(dirty(), true);
    git(&repo, &["replace", "-d", &one]);
    git(&repo, &["checkout", "--quiet", "--force", &one]);
    assert_eq!(dirty(), false);
    // Files that a sparse checkout leaves out are not missing.
    git(&repo, &["sparse-checkout", "set", "--no-cone", "/environments/dev/", "/environments/base/"]);
    assert!(!repo.path("environments/prod").exists());
    assert_eq!(dirty(), false);
    repo.remove(file);
    repo.write("environments/dev/environment.json", r#"{ "extends": "base", "companies": ["EDU1"] }"#);
    assert_eq!(dirty(), true);
}

#[test]
fn a_variable_of_a_hook_does_not_lead_to_another_repository() {
    let mut repo = layered();
    repo.serve();
    let other = layered();
    edit(&other, "environments/dev/environment.yaml", "[EDU1]", "[EDU7]");
    let theirs = super::commit(&other, "another one");
    let mut command = repo.command(&["plan", "dev", "--format", "json"]);
    command.env("GIT_DIR", other.path(".git")).env("GIT_WORK_TREE", other.folder.path());
    command.env("GIT_INDEX_FILE", other.path(".git/index")).env("GIT_OBJECT_DIRECTORY", other.path(".git/objects"));
    command.env("GIT_TRACE", repo.path(".traced"));
    let source = run_command(command).code(0).json()["source"].clone();
    assert_eq!(source["commit"], json!(git(&repo, &["rev-parse", "HEAD"])));
    assert_ne!(source["commit"], json!(theirs));
    assert_eq!(source["dirty"], false);
    assert!(!repo.path(".traced").exists());
}

#[test]
fn a_repository_of_another_user_is_named_as_the_cause() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut repo = layered();
    repo.serve();
    repo.write(".bin/git", "#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 PATH=\"${PATH#*:}\" exec git \"$@\"\n");
    std::fs::set_permissions(repo.path(".bin/git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (_, path) = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap();
    let path = format!("{}:{}", repo.path(".bin").display(), path.display());
    let run = |arguments: &[&str]| {
        let mut command = repo.command(arguments);
        command.env("PATH", &path);
        run_command(command)
    };
    let output = run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert!(
        output.stderr.contains("warning[MW0303]") && output.stderr.contains("safe.directory /"),
        "{}",
        output.stderr
    );
    let file = "environments/dev/environment.yaml";
    repo.write(file, format!("{}policy: {{ source: {{ branches: [main] }} }}\n", repo.read(file)));
    let output = run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(output.stderr.contains("error[MW0303]") && !output.stderr.contains("MW0305"), "{}", output.stderr);
    assert!(run(&["diff"]).code(1).stderr.contains("MW0303"));
    // A submodule that is not checked out does not count as an empty folder, whether Git says so or not.
    repo.write(".gitmodules", "[submodule \"x\"]\n\tpath = environments/dev/profiles\n\turl = ../x\n");
    std::fs::create_dir(repo.path("environments/dev/profiles")).unwrap();
    assert!(run(&["plan", "dev"]).code(1).stderr.contains("MW0300"));
}

#[test]
fn the_output_is_bounded_and_cannot_move_a_cursor() {
    let mut repo = layered();
    repo.serve();
    let name = format!("Eve \u{1b}[2J{}", "x".repeat(1000));
    git(&repo, &["-c", &format!("user.name={name}"), "commit", "--quiet", "--allow-empty", "-m", "x"]);
    let recorded = applied(&repo, &[]);
    let kept = recorded["author"]["name"].as_str().unwrap();
    assert!(kept.starts_with("Eve [2Jxxx") && kept.chars().count() == 250, "{kept}");
    assert!(!repo.run(&["history", "dev"]).code(0).stdout.contains('\x1b'));
    // A changeset that is sent by hand need not keep to that.
    let changeset = json!({
        "id": "01890000-0000-8000-8000-000000000000", "environment": "dev", "base": 1,
        "provenance": { "branch": "x".repeat(251) },
    });
    let answer = repo.http("POST", "/v1/changesets", &[], changeset.to_string().as_bytes());
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("MW0212")), "{answer:?}");
}

#[test]
fn generations_of_before_are_read() {
    let old = json!({ "commit": "abc", "branch": "main", "dirty": true, "mailwright": "0.0.9" });
    let read: mailwright::model::Provenance = serde_json::from_value(old.clone()).unwrap();
    assert_eq!((&read.author, &read.signature), (&None, &None));
    assert_eq!(serde_json::to_value(&read).unwrap(), old, "and written as they were");
}

#[test]
fn a_damaged_repository_is_named() {
    let mut repo = layered();
    repo.serve();
    applied(&repo, &[]);
    repo.write(".git/HEAD", "garbage\n");
    edit(&repo, "environments/base/profiles/relay.yaml", "erp@example.com", "other@example.com");
    let warned = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let place = std::fs::canonicalize(repo.path(".git")).unwrap();
    assert!(warned.stderr.contains("warning[MW0303]"), "{}", warned.stderr);
    assert!(
        warned.stderr.contains(&format!("does not recognise the repository `{}`", place.display())),
        "{}",
        warned.stderr
    );
}
