//! Private keys in files of the repository: `validate` reports those that Git has or would add, wherever people put them.

use std::path::Path;

use secrecy::ExposeSecret as _;

use super::{git, layered};

/// Returns the files that `validate` reports for a private key, with their lines.
fn reported(repo: &crate::support::repository::TestRepository) -> Vec<String> {
    let output = repo.run(&["validate", "--format", "json"]);
    let report = output.json();
    let found = report["diagnostics"].as_array().unwrap().iter().filter(|one| one["code"] == "MW0033");
    let mut found: Vec<String> =
        found.map(|one| format!("{}:{}", one["file"].as_str().unwrap(), one["line"])).collect();
    found.sort();
    assert_eq!(output.code, i32::from(!found.is_empty()), "{}", output.stdout);
    found
}

#[test]
fn a_private_key_that_git_has_or_would_add_is_an_error() {
    let repo = layered();
    assert_eq!(reported(&repo), Vec::<String>::new());

    let identity = age::x25519::Identity::generate().to_string().expose_secret().to_owned();
    let plugin = "AGE-PLUGIN-YUBIKEY-1QQPQ8W0GZ9V9UPYXNW0";
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ssh");
    let ssh = std::fs::read(fixtures.join("ed25519")).unwrap();
    let protected = std::fs::read(fixtures.join("ed25519-protected")).unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("secrets/dev/demo-identity.txt");

    repo.write(".gitignore", "/ignored.txt\n/secrets/dev/ignored/\n");
    repo.write("ignored.txt", &identity);
    repo.write("secrets/dev/ignored/key.txt", &identity);
    repo.write("secrets/dev/key.txt", format!("# created: today\n# public key: age1...\n{identity}\n"));
    repo.write("secrets/dev/protected", &protected);
    repo.write("secrets/dev/demo-identity.txt", std::fs::read(demo).unwrap());
    repo.write("environments/dev/notes.md", format!("# {}\n", identity.to_lowercase()));
    repo.write("environments/prod/profiles/plugin.txt", plugin);
    repo.write("id_ed25519", &ssh);
    let wide = |text: &str, mark: bool, unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(text.encode_utf16()).flat_map(unit).collect()
    };
    repo.write("secrets/dev/utf16le.txt", wide(&format!("key:\r\n{identity}\r\n"), true, u16::to_le_bytes));
    repo.write("secrets/dev/utf16be.txt", wide(&identity, true, u16::to_be_bytes));
    repo.write("secrets/dev/unmarked.txt", wide(&identity, false, u16::to_le_bytes));
    repo.write("login.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\nComment: a\r\n");
    repo.write(
        "environments/dev/key.jwk",
        r#"{"kty":"EC","crv":"P-256","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#,
    );
    repo.write(
        "secrets/dev/key.asc",
        format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}\n=abcd\n", "lFgEZ1b2cRYJKwYB".repeat(4)),
    );
    repo.write("README.md", "An identity (AGE-SECRET-KEY-1...) is private.\n");
    repo.write("other/key.txt", &identity);
    std::os::unix::fs::symlink("/dev/zero", repo.path("zero")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(repo.path("secrets/fifo")).status().unwrap().success());
    let expected = [
        "environments/dev/key.jwk:1",
        "environments/dev/notes.md:1",
        "environments/prod/profiles/plugin.txt:1",
        "id_ed25519:1",
        "login.ppk:1",
        "secrets/dev/key.asc:1",
        "secrets/dev/key.txt:3",
        "secrets/dev/unmarked.txt:1",
        "secrets/dev/utf16be.txt:1",
        "secrets/dev/utf16le.txt:2",
    ];
    // Not added yet, and committed, even if a later line ignores it.
    assert_eq!(reported(&repo), expected);
    repo.remove("secrets/fifo");
    git(&repo, &["add", "--all"]);
    git(&repo, &["commit", "--quiet", "-m", "keys"]);
    repo.write(".gitignore", "*\n");
    assert_eq!(reported(&repo), expected);
    let output = repo.run(&["validate"]);
    assert!(!output.stdout.contains(&identity) && output.stdout.contains("an age identity"), "{}", output.stdout);
    // Outside of a repository of Git, nothing would be added.
    std::fs::remove_dir_all(repo.path(".git")).unwrap();
    let output = repo.run(&["validate"]);
    assert!(!output.stdout.contains("MW0033"), "{}", output.stdout);
}
