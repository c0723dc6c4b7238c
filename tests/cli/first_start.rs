//! The first start of a service: what it makes, what it refuses, and that one that failed is tried again as the first.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::support::repository::{TestRepository, run_command};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A start that fails: what it says.
fn fails(repo: &TestRepository, more: &[&str]) -> String {
    let mut arguments = vec!["serve", "--environment", "dev", "--data", ".data"];
    arguments.extend(more);
    let output = repo.run(&arguments).code(1);
    assert!(!output.stdout.contains("mw_"), "{}", output.stdout);
    output.stderr
}

#[test]
fn a_first_start_that_fails_is_the_first_again_the_next_time() {
    let mut repo = TestRepository::small();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let refused = fails(&repo, &["--listen", "127.0.0.1:0", "--tls-cert", "none.pem", "--tls-key", "none.key"]);
    assert!(refused.contains("MW0331"), "{refused}");
    let refused = fails(&repo, &["--listen", "127.0.0.1:0", "--token-file", "nowhere/token"]);
    assert!(refused.contains("MW0332") && refused.contains("`nowhere/token`"), "{refused}");
    let refused = fails(&repo, &["--listen", &taken, "--token-file", ".token"]);
    assert!(refused.contains("MW0331") && refused.contains(&taken), "{refused}");
    assert!(!repo.path(".token").exists());
    drop(listener);
    // The token that this start hands out is one that the service knows.
    repo.serve_with(&[]);
    repo.run(&["status", "dev"]).code(0);
    repo.run(&["token", "list", "dev"]).code(0);
}

/// A token that was not shown is not stored.
#[test]
fn a_token_that_cannot_be_printed_is_not_stored() {
    let mut repo = TestRepository::small();
    for output in ["> /dev/full", "> /dev/null", ">&-"] {
        let program = env!("CARGO_BIN_EXE_mailwright");
        let line = format!("exec '{program}' serve --environment dev --data .data --listen 127.0.0.1:0 {output}");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &line]).current_dir(repo.folder.path()).stdin(std::process::Stdio::null());
        let output = run_command(command).code(1);
        assert!(
            output.stderr.contains("error[MW0332]") && output.stderr.contains("the token was not stored"),
            "{line}: {}",
            output.stderr
        );
    }
    // The next start is the first one again, and its token is in a file: then standard output does not matter.
    repo.serve_with(&[]);
    let tokens = repo.run(&["token", "list", "dev"]).code(0).stdout;
    assert_eq!(tokens.matches("first-admin").count(), 1, "{tokens}");
}

#[test]
fn a_lost_identity_is_not_replaced_for_an_existing_store() {
    let mut repo = TestRepository::small();
    repo.serve_with(&[]);
    repo.kill();
    let kept = repo.read(".data/identity.txt");
    repo.remove(".data/identity.txt");
    let refused = fails(&repo, &["--listen", "127.0.0.1:0"]);
    assert!(refused.contains("MW0330") && refused.contains("Restore `identity.txt` from its copy"), "{refused}");
    assert!(fails(&repo, &["--listen", "127.0.0.1:0", "--demo"]).contains("MW0330"));
    assert!(!repo.path(".data/identity.txt").exists());
    repo.write(".data/identity.txt", kept);
    set_mode(&repo.path(".data/identity.txt"), 0o600);
    repo.serve_with(&[]);
    repo.run(&["status", "dev"]).code(0);
}

#[test]
fn a_store_does_not_start_with_another_services_identity() {
    let mut repo = TestRepository::small();
    let mut other = TestRepository::small();
    repo.serve_with(&[]);
    other.serve_with(&[]);
    repo.kill();
    other.kill();
    let (own, theirs) = (repo.read(".data/identity.txt"), other.read(".data/identity.txt"));
    let recipient = own.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    repo.write(".data/identity.txt", theirs);
    let refused = fails(&repo, &["--listen", "127.0.0.1:0"]);
    assert!(refused.contains("MW0386") && refused.contains(&recipient), "{refused}");
    assert!(!refused.contains("AGE-SECRET-KEY"), "{refused}");
    // Its own one, as an editor of Windows saves it, is taken.
    repo.write(".data/identity.txt", format!("\u{feff}{}", own.replace('\n', "\r\n")));
    repo.serve_with(&[]);
    repo.run(&["status", "dev"]).code(0);
}

#[test]
fn the_data_folder_is_private_if_the_service_creates_it_and_unchanged_otherwise() {
    let mut repo = TestRepository::small();
    repo.serve();
    assert_eq!(mode(&repo.path(".data")), 0o700);
    repo.kill();
    // Its files are private in any case, those that `SQLite` adds next to the store included.
    set_mode(&repo.path(".data"), 0o755);
    set_mode(&repo.path(".data/store.sqlite"), 0o644);
    repo.serve();
    assert_eq!(mode(&repo.path(".data")), 0o755);
    for entry in fs::read_dir(repo.path(".data")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    repo.kill();
    // In a folder that every user may write to, another user could place a key.
    set_mode(&repo.path(".data"), 0o1777);
    let refused = fails(&repo, &["--demo", "--listen", "127.0.0.1:0"]);
    assert!(refused.contains("mode 1777") && refused.contains("chmod 700 .data"), "{refused}");
    assert_eq!(mode(&repo.path(".data")), 0o777);
}

#[test]
fn the_address_to_listen_at_may_be_a_name() {
    let mut repo = TestRepository::small();
    repo.serve_with(&["--demo"]);
    repo.kill();
    let wrong = fails(&repo, &["--demo", "--listen", "localhost"]);
    assert!(wrong.contains("HOST:PORT"), "{wrong}");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let taken = fails(&repo, &["--demo", "--listen", &format!("localhost:{port}")]);
    assert!(taken.contains("MW0331") && taken.contains(&format!("127.0.0.1:{port}")), "{taken}");
}

/// The files that README shows, as a reader would copy them.
fn copy_from_readme(repo: &TestRepository) -> usize {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let files = blocks.filter_map(|text| Some((text.strip_prefix("# ")?.lines().next()?, text)));
    let written = files.filter(|(path, _)| path.starts_with("environments/"));
    written.map(|(path, text)| repo.write(&path.replace("/prod/", "/dev/"), text)).count()
}

#[test]
fn the_first_steps_of_readme_work() {
    let mut repo = TestRepository::empty();
    assert_eq!(copy_from_readme(&repo), 2);
    repo.serve_with(&[]);
    let recipient = repo.run(&["secrets", "keygen", "--out", "key.txt"]).code(0).stdout;
    repo.run(&["secrets", "init", "dev", "--from-service", recipient.trim()]).code(0);
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"correct horse").code(0);
    assert_eq!(repo.run(&["validate"]).code(0).stdout, "No problems in 1 environment, 3 files.\n");
    assert!(repo.run(&["plan", "dev"]).code(0).stdout.contains("Plan: 1 to add, 1 to change, 0 to destroy."));
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert!(repo.run(&["plan", "dev"]).code(0).stdout.contains("No changes."));
    repo.run(&["secrets", "check"]).code(0);
}
