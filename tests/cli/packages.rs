//! The packages of a release: what `packaging/build` makes of a program, installed into folders of their own.
//!
//! The program is the one that the tests run, so the packages cost seconds. Nothing is installed on the machine: `dpkg` works
//! in a folder, in a user namespace. `packaging/test-image` builds and runs the container image.
#![allow(clippy::disallowed_methods, reason = "packagers find their programs by PATH")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    ci_templates::yaml,
    support::repository::{CommandOutput, PROGRAM, clear_environment, run_command},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn run(program: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = Command::new(program);
    clear_environment(&mut command);
    command.args(arguments);
    run_command(command)
}

/// Runs a script in a folder, and fails the test unless it succeeds.
fn shell(folder: &Path, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(folder);
    run_command(command).code(0).stdout
}

/// Returns the only file of a folder whose name ends like this.
fn file(folder: &Path, end: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_str().unwrap().ends_with(end));
    assert_eq!(found.len(), 1, "{end}: {found:?}");
    found.remove(0)
}

/// Returns the paths of files below a folder, without the folder.
fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else {
                found.insert(entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// The folder of an installation, in which `dpkg` works.
struct Installation {
    folder: tempfile::TempDir,
}

impl Installation {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("mailwright-test-").tempdir().unwrap();
        for part in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/log", "run"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Returns true if something is at this path, be it a link to nothing.
    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn dpkg(&self, arguments: &[&str]) {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "dpkg"]).arg("--root").arg(self.folder.path());
        // The scripts of the package run as they are; DPKG_ROOT names the folder.
        command.args(["--force-script-chrootless", "--force-depends", "--force-confold", "--force-bad-path"]);
        command.args(arguments);
        run_command(command).code(0);
    }
}

/// Returns the sections of a unit's file: the values of each key.
fn unit_settings(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut settings = BTreeMap::<&str, Vec<&str>>::new();
    for (key, value) in text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')) {
        settings.entry(key).or_default().push(value);
    }
    settings
}

#[test]
fn packages_install_run_and_leave() {
    let output = tempfile::Builder::new().prefix("mailwright-test-").tempdir().unwrap();
    let mut command = Command::new(root().join("packaging/build"));
    command.args(["--fast", "--binary", PROGRAM, "--output"]).arg(output.path());
    run_command(command).code(0);
    shell(output.path(), "sha256sum --check --strict SHA256SUMS && test $(wc -l <SHA256SUMS) = 3");

    let deb = file(output.path(), ".deb");
    let bill = fs::read_to_string(file(output.path(), ".cdx.json")).unwrap();
    check_bill_of_materials(&bill);
    check_installation_in_ci(output.path());
    check_tarball(&file(output.path(), ".tar.gz"), &bill);
    check_control(&deb);
    check_life_of_the_package(&deb, &bill);
}

/// The CI templates install a release of these files, and nothing if one of them was changed.
fn check_installation_in_ci(release: &Path) {
    let github = yaml("templates/github-actions.yml");
    let azure = yaml("templates/azure-pipelines.yml");
    let of_azure = &azure["stages"][0]["jobs"][0]["steps"];
    let steps = [(&github["jobs"]["check"]["steps"], "run"), (of_azure, "bash")];
    for (steps, key) in steps {
        let mut scripts = steps.as_array().unwrap().iter().filter_map(|step| step[key].as_str());
        let script = scripts.find(|text| text.contains("/releases/download/")).unwrap();
        let folder = tempfile::Builder::new().prefix("mailwright-test-").tempdir().unwrap();
        let curl = folder.path().join("curl");
        fs::write(
            &curl,
            "#!/bin/sh\nfor argument; do case $argument in https:*) cp \"$RELEASE/${argument##*/}\" .;; esac; done\n",
        )
        .unwrap();
        fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).unwrap();
        let install = |release: &Path| {
            let mut command = Command::new("bash");
            command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).current_dir(folder.path());
            let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
            command.env("HOME", folder.path()).env("PATH", path).env("RELEASE", release);
            command.env("GITHUB_PATH", folder.path().join("path"));
            command.env("VERSION", concat!("v", env!("CARGO_PKG_VERSION")));
            run_command(command)
        };
        let program = folder.path().join(".local/bin/mailwright");
        let changed = tempfile::Builder::new().prefix("mailwright-test-").tempdir().unwrap();
        for path in [file(release, ".tar.gz"), release.join("SHA256SUMS")] {
            fs::copy(&path, changed.path().join(path.file_name().unwrap())).unwrap();
        }
        fs::write(file(changed.path(), ".tar.gz"), "another program").unwrap();
        let refused = install(changed.path());
        assert!(refused.code != 0 && !program.exists(), "{refused:?}");
        install(release).code(0);
        assert_eq!(run(&program, &["--version"]).code(0).stdout, run(Path::new(PROGRAM), &["--version"]).stdout);
    }
}

/// The bill of materials names what is linked, at the versions of `Cargo.lock`, and nothing of this machine.
fn check_bill_of_materials(bill: &str) {
    assert!(!bill.contains(env!("CARGO_MANIFEST_DIR")) && !bill.contains("file://"));
    let bill: Value = serde_json::from_str(bill).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["metadata"]["component"]["bom-ref"], format!("pkg:cargo/mailwright@{}", env!("CARGO_PKG_VERSION")));
    let components = bill["components"].as_array().unwrap();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let scripts: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(root().join("src/console/assets/vendor.cdx.json")).unwrap()).unwrap();
    let is_script = |component: &Value| component["purl"].as_str().unwrap().starts_with("pkg:npm/");
    assert!(components.iter().filter(|component| is_script(component)).eq(&scripts));
    for component in components.iter().filter(|component| !is_script(component)) {
        let (name, version) = (component["name"].as_str().unwrap(), component["version"].as_str().unwrap());
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{name} {version}");
        let licence = &component["licenses"][0];
        assert!(licence["expression"].is_string() || licence["license"].is_object(), "{name} has no licence");
        assert_eq!(component["hashes"][0]["alg"], "SHA-256", "{name}");
    }
    let names: BTreeSet<&str> = components.iter().map(|component| component["name"].as_str().unwrap()).collect();
    assert!(["rusqlite", "libsqlite3-sys", "rustls", "age", "axum"].iter().all(|name| names.contains(name)));
    assert!(!names.contains("proptest") && !names.contains("insta"), "tests are not part of the program");
}

/// The tarball is one folder for `/usr/local`, and its program runs.
fn check_tarball(tarball: &Path, bill: &str) {
    let folder = tempfile::Builder::new().prefix("mailwright-test-").tempdir().unwrap();
    let mut command = Command::new("tar");
    command.args(["--strip-components=1", "-xzf"]).arg(tarball).arg("-C").arg(folder.path());
    run_command(command).code(0);
    let program = folder.path().join("bin/mailwright");
    assert_eq!(run(&program, &["--version"]).code(0).stdout, run(Path::new(PROGRAM), &["--version"]).stdout);
    let symbols = shell(folder.path(), "nm bin/mailwright 2>&1 || true");
    assert!(symbols.contains("no symbols"), "{symbols:.200}");
    let unit = fs::read_to_string(folder.path().join("lib/systemd/system/mailwright@.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/mailwright serve"));
    assert_eq!(fs::read_to_string(folder.path().join("share/doc/mailwright/mailwright.cdx.json")).unwrap(), bill);
    let found = files_below(folder.path());
    for wanted in [
        "share/man/man1/mailwright.1",
        "share/man/man1/mailwright-serve.1",
        "share/bash-completion/completions/mailwright",
        "share/zsh/site-functions/_mailwright",
        "share/fish/vendor_completions.d/mailwright.fish",
        "lib/systemd/system/mailwright-hosted.service",
        "lib/systemd/system/mailwright-watch.service",
        "share/doc/mailwright/LICENSE-MIT",
        "share/doc/mailwright/licences.txt",
        "share/doc/mailwright/docs/install.md",
        "share/doc/mailwright/docs/images/overview.png",
    ] {
        assert!(found.contains(wanted), "{wanted}: {found:?}");
    }
    shell(folder.path(), "bash -n share/bash-completion/completions/mailwright");
    // Every file belongs to root and has the date of the commit.
    let mut command = Command::new("tar");
    command.args(["--numeric-owner", "-tvzf"]).arg(tarball);
    let list = run_command(command).code(0).stdout;
    assert!(list.lines().all(|line| line.split_whitespace().nth(1) == Some("0/0")), "{list}");
    let times: BTreeSet<Vec<&str>> =
        list.lines().map(|line| line.split_whitespace().skip(3).take(2).collect()).collect();
    assert_eq!(times.len(), 1, "{times:?}");
}

fn check_control(deb: &Path) {
    let field = |name: &str| {
        let mut command = Command::new("dpkg-deb");
        command.arg("--field").arg(deb).arg(name);
        run_command(command).code(0).stdout.trim().to_owned()
    };
    assert_eq!(field("Package"), "mailwright");
    assert!(field("Version").starts_with(env!("CARGO_PKG_VERSION")));
    let depends = field("Depends");
    assert!(depends.contains("ca-certificates") && depends.contains("libc6 (>= "), "{depends}");
    assert!(!depends.contains("ssl") && !depends.contains("sqlite"), "{depends}");
}

/// Installation, upgrade, removal and purge: data and settings stay until the purge.
fn check_life_of_the_package(deb: &Path, bill: &str) {
    let installation = Installation::new();
    let deb = deb.to_str().unwrap();
    installation.dpkg(&["--install", deb]);
    let program = installation.path("usr/bin/mailwright");
    let version = run(&program, &["--version"]).code(0).stdout;
    assert_eq!(version, run(Path::new(PROGRAM), &["--version"]).stdout);
    for folder in ["etc/mailwright/tls", "etc/mailwright/tokens"] {
        assert_eq!(fs::metadata(installation.path(folder)).unwrap().permissions().mode() & 0o7777, 0o700, "{folder}");
    }
    for wanted in [
        "usr/share/bash-completion/completions/mailwright",
        "usr/share/zsh/vendor-completions/_mailwright",
        "usr/share/fish/vendor_completions.d/mailwright.fish",
        "usr/share/man/man1/mailwright.1.gz",
        "usr/share/man/man1/mailwright-secrets-set.1.gz",
        "usr/share/doc/mailwright/copyright",
        "usr/share/doc/mailwright/licences.txt",
        "usr/share/doc/mailwright/changelog.Debian.gz",
        "usr/share/doc/mailwright/docs/install.md",
        "usr/share/doc/mailwright/docs/images/overview.png",
    ] {
        assert!(installation.has(wanted), "{wanted}");
    }
    assert_eq!(
        fs::read_to_string(installation.path("usr/share/doc/mailwright/mailwright.cdx.json")).unwrap(),
        bill,
        "the package has the bill of materials that is published with it"
    );
    check_units(&installation.path("usr/lib/systemd/system"));

    // What a running service and its administrator add.
    let store = "var/lib/private/mailwright/prod/store.sqlite";
    let wants = "etc/systemd/system/multi-user.target.wants";
    installation.write(store, "mail that was accepted");
    symlink("private/mailwright", installation.path("var/lib/mailwright")).unwrap();
    installation.write("var/lib/mailwright-hosted/acme/store.sqlite", "of a unit with a permanent user");
    installation.write("etc/mailwright/prod.conf", "OPTIONS=\"--listen 0.0.0.0:8470\"\n");
    installation.write("etc/mailwright/tokens/prod", "mw_token");
    installation.write("etc/mailwright/watch.conf", "OPTIONS=\"--repository https://git.example.com/mail.git\"\n");
    installation.write(&format!("{wants}/mailwright@prod.service"), "");
    installation.write(&format!("{wants}/other.service"), "");
    installation.write("var/lib/other/file", "");
    let of_the_administrator = |when: &str, is_there: bool| {
        for path in [
            store,
            "var/lib/mailwright",
            "var/lib/mailwright-hosted/acme/store.sqlite",
            "etc/mailwright/prod.conf",
            "etc/mailwright/tokens/prod",
            "etc/mailwright/watch.conf",
            &format!("{wants}/mailwright@prod.service"),
        ] {
            assert_eq!(installation.has(path), is_there, "{path} after the {when}");
        }
        assert!(installation.has("var/lib/other/file") && installation.has(&format!("{wants}/other.service")));
    };
    installation.dpkg(&["--install", deb]);
    of_the_administrator("upgrade", true);
    let settings = fs::read_to_string(installation.path("etc/mailwright/watch.conf")).unwrap();
    assert!(settings.contains("git.example.com/mail.git\""), "the administrator's settings: {settings}");
    installation.dpkg(&["--remove", "mailwright"]);
    of_the_administrator("removal", true);
    assert!(!program.exists());
    installation.dpkg(&["--purge", "mailwright"]);
    of_the_administrator("purge", false);
    for gone in
        ["etc/mailwright", "var/lib/private/mailwright", "var/lib/mailwright-hosted", "usr/share/doc/mailwright"]
    {
        assert!(!installation.has(gone), "{gone}");
    }
}

/// The units confine what they run, use options that the program has, and are accepted by systemd where that is installed.
fn check_units(folder: &Path) {
    let names = files_below(folder);
    assert_eq!(names.len(), 3, "{names:?}");
    let systemd = Path::new("/usr/bin/systemd-analyze");
    let checked = tempfile::Builder::new().prefix("mailwright-test-").tempdir().unwrap();
    for name in &names {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let settings = unit_settings(&text);
        for (key, value) in [
            ("DynamicUser", "yes"),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateTmp", "yes"),
            ("PrivateDevices", "yes"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("MemoryDenyWriteExecute", "yes"),
            ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
            ("SystemCallArchitectures", "native"),
            ("LimitCORE", "0"),
            ("UMask", "0077"),
        ] {
            assert_eq!(settings.get(key).map(Vec::as_slice), Some(&[value][..]), "{name}: {key}");
        }
        assert!(settings["SystemCallFilter"].contains(&"@system-service"), "{name}");
        assert!(settings.contains_key("StateDirectory") && settings.contains_key("LoadCredential"), "{name}");

        let line = settings["ExecStart"][0];
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("/usr/bin/mailwright"));
        let help = run(Path::new(PROGRAM), &[words.next().unwrap(), "--help"]).code(0).stdout;
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{option} <")), "{name}: {option}");
        }
        if systemd.exists() {
            let unit = checked.path().join(name);
            fs::write(&unit, text.replace("/usr/bin/mailwright", PROGRAM)).unwrap();
            let unit = unit.to_str().unwrap();
            let verified = run(systemd, &["verify", "--man=no", unit]).code(0);
            assert_eq!(verified.stderr, "", "{name}");
            run(systemd, &["security", "--offline=yes", "--threshold=15", unit]).code(0);
        }
    }
}
