//! `mailwright secrets`, as an operator uses it. The canary is the value: it may appear nowhere.
#![allow(clippy::disallowed_methods, reason = "a test runs programs")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    repository::{CommandOutput, PROGRAM, TestRepository, clear_environment, run_command},
    tools,
};
use mailwright::secrets::{Header, ServiceIdentity};
use secrecy::ExposeSecret as _;
use serde_json::Value;

const CANARY: &str = "Canary-7f3e9a51c2";
const FILE: &str = "secrets/dev/relay/password.age";

/// A repository with a profile that names `relay/password`, and the key of an operator that opens it: `key.txt`.
struct Operator {
    repo: TestRepository,
    identity: ServiceIdentity,
}

impl Operator {
    fn new() -> Self {
        let repo = TestRepository::small();
        repo.write(
            "environments/dev/profiles/relay.yaml",
            "provider:\n  smtp:\n    host: smtp.example.com\n    username: erp\n    password: { secret: relay/password }\n\
             from:\n  address: erp@example.com\nfunctions: [default]\nappliesTo: system-wide\n",
        );
        let identity = ServiceIdentity::generate();
        repo.write("key.txt", identity.to_file().expose_secret());
        let operator = Self { repo, identity };
        operator.run(&["init", "dev", &operator.identity.recipient()]).code(0);
        operator
    }

    /// `mailwright secrets`, with nothing of the tester's own keys in reach.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.repo.command(&[&["secrets"], arguments].concat());
        command
            .env("HOME", self.repo.path("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("VISUAL")
            .env_remove("EDITOR");
        command
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        quiet(run_command(self.command(arguments)))
    }

    fn set(&self, name: &str, value: &[u8]) -> CommandOutput {
        quiet(self.repo.pipe(&["secrets", "set", "dev", name], value))
    }

    /// Has another profile, `other`, send a secret to a host.
    fn name(&self, reference: &str, host: &str) {
        self.repo.write(
            "environments/dev/profiles/other.yaml",
            format!(
                "provider:\n  smtp:\n    host: {host}\n    username: erp\n    password: {{ secret: {reference} }}\n\
                 from:\n  address: erp@example.com\nfunctions: [all-documents]\nappliesTo: system-wide\n"
            ),
        );
    }

    /// Seals a secret that nothing names any more.
    fn leave_behind(&self, reference: &str) {
        self.name(reference, "smtp.example.com");
        self.set(reference, b"x1").code(0);
        self.repo.remove("environments/dev/profiles/other.yaml");
    }

    fn header(&self) -> Header {
        Header::read(&fs::read(self.repo.path(FILE)).unwrap()).unwrap()
    }

    fn value(&self) -> Vec<u8> {
        self.identity.open(&fs::read(self.repo.path(FILE)).unwrap()).unwrap().expose_secret().to_vec()
    }

    /// An editor: a script that gets the file as `$1`.
    fn editor(&self, script: &str) -> PathBuf {
        let path = self.repo.path("an editor");
        fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn edit(&self, script: &str, more: &[&str]) -> CommandOutput {
        let editor = self.editor(script);
        let mut command = self.command(&[&["edit", "dev", "relay/password", "--identity", "key.txt"], more].concat());
        quiet(run_command({
            command.env("EDITOR", format!("'{}'", editor.display()));
            command
        }))
    }

    /// Returns the codes and files of the findings of `check`.
    fn findings(&self, code: i32) -> Vec<(String, String)> {
        let document = self.run(&["check", "dev", "--format", "json"]).code(code).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        document["findings"].as_array().unwrap().iter().map(|f| (text(&f["code"]), text(&f["file"]))).collect()
    }
}

/// Fails if the canary was said.
fn quiet(output: CommandOutput) -> CommandOutput {
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains(CANARY), "the value was shown:\n{text}");
    }
    output
}

#[test]
fn set_seals_what_is_piped_without_its_line_end() {
    let operator = Operator::new();
    for (piped, kept) in [
        (format!("{CANARY}\n"), CANARY.to_owned()),
        (format!("{CANARY}\r\n"), CANARY.to_owned()),
        (CANARY.to_owned(), CANARY.to_owned()),
        (format!(" {CANARY} "), format!(" {CANARY} ")),
    ] {
        let before = fs::read(operator.repo.path(FILE)).ok().map(|bytes| Header::read(&bytes).unwrap().value_id);
        let output = operator.set("relay/password", piped.as_bytes()).code(0);
        assert_eq!(
            output.stdout,
            "sealed secrets/dev/relay/password.age to 1 recipient, for smtp.example.com:587 (starttls) in dev\n"
        );
        let warning = "warning: the value begins or ends with a blank, which is a part of it.\n";
        assert_eq!(output.stderr, if kept.starts_with(' ') { warning } else { "" });
        assert_eq!(operator.value(), kept.as_bytes());
        assert_ne!(Some(operator.header().value_id), before, "each value has an id of its own");
    }
    // Only one line end is left out, and a password has no other.
    assert!(operator.set("relay/password", format!("{CANARY}\n\n").as_bytes()).code(1).stderr.contains("MW0045"));
    // It is a file of the repository like any other, and nothing is left next to it.
    let mode = |path: &str| fs::metadata(operator.repo.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(FILE), mode("key.txt"));
    assert_eq!(fs::read_dir(operator.repo.path("secrets/dev/relay")).unwrap().count(), 1);
    // A secret that no profile names has no destination to be sealed for, and neither has one that two profiles send to different ones.
    let output = operator.set("relay/other", CANARY.as_bytes()).code(1);
    assert!(output.stderr.contains("MW0040") && output.stderr.contains("{ secret: relay/other }"), "{}", output.stderr);
    operator.name("relay/password", "elsewhere.example.com");
    let output = operator.set("relay/password", CANARY.as_bytes()).code(1);
    assert!(output.stderr.contains("MW0041") && output.stderr.contains("elsewhere.example.com"), "{}", output.stderr);
    operator.name("relay/password", "SMTP.example.com");
    operator.set("relay/password", CANARY.as_bytes()).code(0);
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode() {
    let operator = Operator::new();
    operator.set("relay/password", b"x1").code(0);
    fs::set_permissions(operator.repo.path(FILE), fs::Permissions::from_mode(0o640)).unwrap();
    operator.set("relay/password", b"x2").code(0);
    assert_eq!(fs::metadata(operator.repo.path(FILE)).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn set_refuses_what_cannot_be_a_value_and_changes_nothing() {
    let operator = Operator::new();
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    let before = operator.repo.read(FILE);
    let large = CANARY.repeat(2000);
    for (value, code) in
        [("", "MW0011"), ("\n", "MW0011"), ("*****\n", "MW0032"), ("[masked]", "MW0032"), (&large, "MW0213")]
    {
        let output = operator.set("relay/password", value.as_bytes()).code(1);
        assert!(output.stderr.contains(code) && output.stderr.contains("help: "), "{}", output.stderr);
        assert_eq!(operator.repo.read(FILE), before);
    }
    for (name, code) in [("relay", "MW0106"), ("../relay/password", "MW0106"), ("relay/../password", "MW0106")] {
        assert!(operator.set(name, b"x1").code(1).stderr.contains(code), "{name}");
    }
    let output = quiet(operator.repo.pipe(&["secrets", "set", "dve", "relay/password"], CANARY.as_bytes())).code(1);
    assert!(output.stderr.contains("MW0024") && output.stderr.contains("dev"), "{}", output.stderr);
    assert_eq!(operator.repo.read(FILE), before);
}

#[test]
fn typed_values_are_hidden_and_asked_for_twice() {
    let operator = Operator::new();
    let typed = |lines: &str| {
        operator.repo.write("typed", lines);
        let mut terminal = Command::new(tools::tool("python"));
        clear_environment(&mut terminal);
        let typist = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/typist.py");
        terminal.arg(typist).args([PROGRAM, "secrets", "set", "dev", "relay/password"]);
        terminal.current_dir(operator.repo.folder.path());
        terminal.stdin(fs::File::open(operator.repo.path("typed")).unwrap());
        quiet(run_command(terminal))
    };
    let shown = typed(&format!("{CANARY}\n{CANARY}\n")).code(0).stdout;
    assert!(shown.contains("Value of relay/password (not shown): (typed)"), "{shown}");
    assert!(shown.contains("Once more: (typed)"), "{shown}");
    assert_eq!(operator.value(), CANARY.as_bytes());
    let before = operator.repo.read(FILE);
    let shown = typed(&format!("{CANARY}\nanother\n")).code(1).stdout;
    assert!(shown.contains("the two values differ"), "{shown}");
    assert_eq!(operator.repo.read(FILE), before);
}

#[test]
fn results_are_available_as_json() {
    let operator = Operator::new();
    let path = "secrets/dev/relay/password.age";
    let set = operator.repo.pipe(&["secrets", "set", "dev", "relay/password", "--format", "json"], CANARY.as_bytes());
    let destination = "smtp.example.com:587 (starttls)";
    assert_eq!(
        quiet(set).code(0).json(),
        serde_json::json!({ "formatVersion": 1, "environment": "dev", "sealed": path, "recipients": 1, "used": true, "destination": destination })
    );
    let rekey = |more: &[&str]| {
        operator.run(&[&["rekey", "dev", "-i", "key.txt", "--format", "json"], more].concat()).code(0).json()
    };
    assert_eq!(
        rekey(&[]),
        serde_json::json!({ "formatVersion": 1, "environment": "dev", "sealed": [], "unchanged": 1, "dryRun": false })
    );
    assert_eq!(
        rekey(&["--all", "--dry-run"]),
        serde_json::json!({ "formatVersion": 1, "environment": "dev", "sealed": [path], "unchanged": 0, "dryRun": true })
    );
    assert_eq!(rekey(&["--all"])["sealed"], serde_json::json!([path]));
    let mut edit = operator.command(&["edit", "dev", "relay/password", "-i", "key.txt", "--format", "json"]);
    edit.env("EDITOR", "true");
    assert_eq!(
        quiet(run_command(edit)).code(0).json(),
        serde_json::json!({ "formatVersion": 1, "environment": "dev", "sealed": null })
    );
    let error = operator.run(&["init", "dev", &operator.identity.recipient(), "--format", "json"]).code(1).json();
    assert_eq!(error["error"]["code"], "MW0035");
}

#[test]
fn a_file_of_another_destination_is_neither_edited_nor_made_the_current_one() {
    let operator = Operator::new();
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    operator.name("other/password", "elsewhere.example.com");
    let theirs = "secrets/dev/other/password.age";
    let foreign = fs::read(operator.repo.path(FILE)).unwrap();
    operator.repo.write(theirs, &foreign);
    let edit = |name: &str| {
        let mut edit = operator.command(&["edit", "dev", name, "-i", "key.txt"]);
        edit.env(
            "EDITOR",
            operator.editor("touch opened; printf 1 >> \"$1\"").display().to_string().replace(' ', "\\ "),
        );
        edit.current_dir(operator.repo.path(""));
        quiet(run_command(edit))
    };
    let output = edit("other/password").code(1);
    assert!(
        output.stderr.contains("MW0042") && output.stderr.contains("secrets set dev other/password"),
        "{}",
        output.stderr
    );
    assert!(!operator.repo.path("opened").exists(), "the editor saw it");
    assert_eq!(fs::read(operator.repo.path(theirs)).unwrap(), foreign);
    // A file without a destination, as `age` makes it, is recognised by its copy.
    let key: age::x25519::Recipient = operator.identity.recipient().parse().unwrap();
    let unbound = age::encrypt(&key, CANARY.as_bytes()).unwrap();
    for path in [FILE, theirs] {
        operator.repo.write(path, &unbound);
    }
    let output = edit("other/password").code(1);
    assert!(
        output.stderr.contains("MW0042") && output.stderr.contains("secrets/dev/relay/password"),
        "{}",
        output.stderr
    );
    assert!(!operator.repo.path("opened").exists(), "the editor saw it");
    operator.repo.remove(theirs);
    let output = edit("relay/password").code(0);
    assert!(output.stdout.contains("for smtp.example.com:587 (starttls) in dev"), "{}", output.stdout);
    // A next value that was copied there does not become the current one.
    operator.set("other/password", b"x1").code(0);
    let own = fs::read(operator.repo.path(theirs)).unwrap();
    operator.repo.write("secrets/dev/other/password.next.age", &foreign);
    let finish = ["rotate", "dev", "other/password", "--finish", "--unconfirmed", "other/password"];
    let output = operator.run(&finish).code(1);
    assert!(output.stderr.contains("MW0042") && output.stderr.contains("--replace"), "{}", output.stderr);
    assert_eq!(fs::read(operator.repo.path(theirs)).unwrap(), own);
}

#[test]
fn init_keeps_git_from_translating_age_files_unless_the_attributes_exist() {
    let operator = Operator::new();
    let attributes = "secrets/.gitattributes";
    assert!(operator.repo.read(attributes).contains("\n*.age -text\n"));
    operator.run(&["check"]).code(1);
    operator.repo.remove("secrets/dev/recipients.txt");
    operator.repo.write(attributes, "mine\n");
    let again = operator.run(&["init", "dev", &operator.identity.recipient(), "--format", "json"]).code(0).json();
    assert_eq!(
        again,
        serde_json::json!({ "formatVersion": 1, "environment": "dev", "wrote": ["secrets/dev/recipients.txt"] })
    );
    assert_eq!(operator.repo.read(attributes), "mine\n");
}

#[test]
fn init_writes_the_recipients_and_changes_no_existing_file() {
    let operator = Operator::new();
    let path = "secrets/dev/recipients.txt";
    let before = operator.repo.read(path);
    assert!(before.contains(&operator.identity.recipient()) && before.contains("mailwright secrets rekey dev"));
    assert!(operator.run(&["init", "dev", &operator.identity.recipient()]).code(1).stderr.contains("MW0035"));
    assert_eq!(operator.repo.read(path), before);
    operator.repo.remove(path);
    let private = operator.repo.read("key.txt").lines().last().unwrap().to_owned();
    for wrong in [vec![], vec!["nonsense"], vec![private.as_str()]] {
        let output = operator.run(&[&["init", "dev"], wrong.as_slice()].concat()).code(1);
        assert!(output.stderr.contains("MW0035") && !output.stderr.contains(&private), "{}", output.stderr);
        assert!(!operator.repo.path(path).exists());
    }
}

#[test]
fn init_asks_the_service_for_its_recipient_and_refuses_the_public_one() {
    let mut repo = TestRepository::small();
    let profile = Operator::new().repo.read("environments/dev/profiles/relay.yaml");
    repo.write("environments/dev/profiles/relay.yaml", profile);
    repo.serve_with(&[]);
    let from_service = ["secrets", "init", "dev", "--from-service"];
    repo.run(&from_service).code(0);
    let recipient = repo.http("GET", "/v1/service", &[], b"").json()["recipient"].as_str().unwrap().to_owned();
    assert!(repo.read("secrets/dev/recipients.txt").contains(&recipient));
    quiet(repo.pipe(&["secrets", "set", "dev", "relay/password"], CANARY.as_bytes())).code(0);
    repo.kill();

    let mut demo = TestRepository::small();
    demo.serve();
    assert!(demo.run(&from_service).code(1).stderr.contains("MW0224"));
    let public = ServiceIdentity::demo().unwrap().recipient();
    assert!(demo.run(&["secrets", "init", "dev", &public]).code(1).stderr.contains("MW0224"));
    assert!(!demo.path("secrets/dev/recipients.txt").exists());
    demo.write("secrets/dev/demo-identity.txt", mailwright::secrets::DEMO_IDENTITY);
    demo.run(&from_service).code(0);
}

#[test]
fn edit_seals_only_what_was_changed_and_leaves_nothing_behind() {
    let operator = Operator::new();
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    let (before, id) = (operator.repo.read(FILE), operator.header().value_id);
    let seen = operator.repo.path("seen");
    // An editor adds a line end; the value has none. The text is its owner's alone, in memory, and goes afterwards.
    let look = format!(
        "stat -c '%a %n' \"$1\" \"$(dirname \"$1\")\" > '{0}'\nstat -f -c %T \"$1\" >> '{0}'\ncp \"$1\" \"$1~\"\necho >> \"$1\"",
        seen.display()
    );
    assert_eq!(operator.edit(&look, &[]).code(0).stdout, "No changes; nothing was sealed.\n");
    assert_eq!(operator.repo.read(FILE), before);
    let seen = fs::read_to_string(seen).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert!(lines[0].starts_with("600 ") && lines[1].starts_with("700 ") && lines[2] == "tmpfs", "{seen}");
    assert!(!Path::new(lines[1].split_once(' ').unwrap().1).exists(), "the folder is gone");

    operator.edit("printf 'new-%s' \"$(cat \"$1\")\" > \"$1\"", &[]).code(0);
    assert_eq!(operator.value(), format!("new-{CANARY}").as_bytes());
    assert_ne!(operator.header().value_id, id, "a new value has a new id");

    let before = operator.repo.read(FILE);
    for refused in ["exit 1", ": > \"$1\"", "echo '*****' > \"$1\"", "head -c 20000 /dev/zero > \"$1\"", "rm \"$1\""] {
        operator.edit(refused, &[]).code(1);
        assert_eq!(operator.repo.read(FILE), before, "{refused}");
    }
    assert!(
        operator.run(&["edit", "dev", "relay/password", "--identity", "key.txt"]).code(1).stderr.contains("VISUAL")
    );
    assert!(operator.edit("true", &["--identity", "missing"]).code(1).stderr.contains("MW0038"));
}

#[test]
fn edit_wipes_the_text_also_when_the_session_ends() {
    let operator = Operator::new();
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    let before = operator.repo.read(FILE);
    let started = operator.repo.path("started");
    let editor =
        operator.editor(&format!("echo \"$1\" > '{0}.new'\nmv '{0}.new' '{0}'\nexec sleep 60", started.display()));
    let mut command = operator.command(&["edit", "dev", "relay/password", "--identity", "key.txt"]);
    let mut child = command
        .env("EDITOR", format!("'{}'", editor.display()))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !started.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = PathBuf::from(fs::read_to_string(&started).unwrap().trim());
    assert_eq!(fs::read_to_string(&text).unwrap(), CANARY);
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!text.exists() && !text.parent().unwrap().exists());
    assert_eq!(operator.repo.read(FILE), before);
}

#[test]
fn rekey_takes_in_and_leaves_out_without_a_new_value() {
    let operator = Operator::new();
    let other = ServiceIdentity::generate();
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    operator.leave_behind("documents/client-secret");
    let (file, id) = (operator.repo.read(FILE), operator.header().value_id);
    let rekey = |more: &[&str]| operator.run(&[&["rekey", "dev", "--identity", "key.txt"], more].concat());

    assert!(rekey(&[]).code(0).stderr.contains("0 sealed again, 2 unchanged."));
    assert_eq!(operator.repo.read(FILE), file);
    let one = operator.repo.read("secrets/dev/recipients.txt");
    operator.repo.write("secrets/dev/recipients.txt", format!("{one}\n{}\n", other.recipient()));
    assert_eq!(
        operator.findings(1).iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(),
        ["MW0037", "MW0036", "MW0036"]
    );
    // The rehearsal needs no key and writes nothing.
    let rehearsal = operator.run(&["rekey", "dev", "--dry-run"]).code(0);
    assert_eq!(rehearsal.stdout.lines().count(), 2);
    assert_eq!(operator.repo.read(FILE), file);

    rekey(&[]).code(0);
    assert_eq!(operator.header().value_id, id);
    let bytes = fs::read(operator.repo.path(FILE)).unwrap();
    assert_eq!(other.open(&bytes).unwrap().expose_secret(), CANARY.as_bytes());
    assert_eq!(operator.value(), CANARY.as_bytes());

    // Removed again: a removed recipient no longer opens it, and until then `check` reports that they do.
    operator.repo.write("secrets/dev/recipients.txt", &one);
    assert!(operator.findings(1).iter().any(|(code, _)| code == "MW0036"));
    // One file that does not open stops neither the others nor the exit code.
    operator.repo.write("secrets/dev/broken/key.age", "not an age file");
    let output = rekey(&[]).code(1);
    assert!(
        output.stderr.contains("secrets/dev/broken/key.age") && output.stderr.contains("MW0034"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("2 sealed again"), "{}", output.stderr);
    assert!(other.open(&fs::read(operator.repo.path(FILE)).unwrap()).is_err());
    operator.repo.remove("secrets/dev/broken/key.age");
    // A key that is not a recipient opens nothing, and nothing is changed.
    operator.repo.write("key.txt", other.to_file().expose_secret());
    let file = operator.repo.read(FILE);
    assert!(rekey(&["--all"]).code(1).stderr.contains("MW0038"));
    assert_eq!(operator.repo.read(FILE), file);
}

#[test]
fn keys_are_found_where_they_are_kept() {
    let operator = Operator::new();
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    let key = operator.repo.read("key.txt");
    let rekey = |variable: Option<(&str, &str)>| {
        let mut command = operator.command(&["rekey", "dev", "--all"]);
        command.envs(variable);
        quiet(run_command(command))
    };
    let output = rekey(None).code(1);
    assert!(
        output.stderr.contains("MW0038") && output.stderr.contains("MAILWRIGHT_AGE_IDENTITY_FILE"),
        "{}",
        output.stderr
    );
    rekey(Some(("MAILWRIGHT_AGE_IDENTITY_FILE", operator.repo.path("key.txt").to_str().unwrap()))).code(0);
    for place in ["home/.config/age/keys.txt", "home/.config/sops/age/keys.txt"] {
        operator.repo.write(place, &key);
        rekey(None).code(0);
        // A named identity takes precedence over one that is found.
        rekey(Some(("MAILWRIGHT_AGE_IDENTITY_FILE", "missing"))).code(1);
        operator.repo.remove(place);
    }
    operator.repo.write("elsewhere/age/keys.txt", &key);
    rekey(Some(("XDG_CONFIG_HOME", operator.repo.path("elsewhere").to_str().unwrap()))).code(0);

    let ssh = include_str!("../../fixtures/ssh/ed25519.pub");
    operator.repo.write("secrets/dev/recipients.txt", format!("{}\n{ssh}", operator.identity.recipient()));
    operator.run(&["rekey", "dev", "--identity", "key.txt"]).code(0);
    operator.repo.write("home/.ssh/id_ed25519", include_bytes!("../../fixtures/ssh/ed25519"));
    rekey(None).code(0);
    // A key of another kind at a usual place is passed over.
    operator.repo.write("home/.ssh/id_rsa", include_bytes!("../../fixtures/ssh/ecdsa"));
    rekey(None).code(0);
}

#[test]
fn plugins_seal_and_open() {
    let operator = Operator::new();
    let recipient = "age1mwtest1qqqsyqcyq5rqwqcxcmr";
    operator.repo.write("secrets/dev/recipients.txt", format!("{}\n{recipient}\n", operator.identity.recipient()));
    operator.repo.write("plugin.txt", "# a plugin's identity\nAGE-PLUGIN-MWTEST-1EFUP80\n");
    let with_plugin = |arguments: &[&str], input: &[u8]| {
        let path = std::env::var_os("PATH").unwrap();
        let fixtures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
        let path = std::env::join_paths(std::iter::once(fixtures).chain(std::env::split_paths(&path))).unwrap();
        let mut command = operator.command(arguments);
        command.env("PATH", path);
        operator.repo.write("input", input);
        quiet(run_command({
            command.stdin(fs::File::open(operator.repo.path("input")).unwrap());
            command
        }))
    };
    // Without the plugin nothing can be sealed to it; what only looks at the file does not mind.
    let output = operator.set("relay/password", CANARY.as_bytes()).code(1);
    assert!(output.stderr.contains("MW0035") && output.stderr.contains("age-plugin-mwtest"), "{}", output.stderr);
    with_plugin(&["set", "dev", "relay/password"], CANARY.as_bytes()).code(0);
    operator.run(&["check", "dev"]).code(0);
    assert_eq!(operator.header().kinds, ["X25519", "mwtest"]);
    let output = with_plugin(&["rekey", "dev", "--all", "--identity", "plugin.txt"], b"").code(0);
    assert!(output.stderr.contains("please touch the key") && !output.stderr.contains('\u{1b}'), "{:?}", output.stderr);
    assert_eq!(operator.value(), CANARY.as_bytes());
    let output = operator.run(&["rekey", "dev", "--all", "--identity", "plugin.txt"]).code(1);
    assert!(output.stderr.contains("age-plugin-mwtest"), "{}", output.stderr);
}

#[test]
fn list_shows_recipients_and_uses_and_never_a_value() {
    let operator = Operator::new();
    let document = operator.run(&["list", "dev", "--format", "json"]).code(0).json();
    assert_eq!(document["secrets"][0]["state"], "missing");
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    operator.leave_behind("old/password");
    let document = operator.run(&["list", "dev", "--format", "json"]).code(0).json();
    let secrets = document["secrets"].as_array().unwrap();
    assert_eq!((&secrets[0]["name"], &secrets[0]["state"]), (&"old/password".into(), &"unused".into()));
    assert_eq!((&secrets[1]["name"], &secrets[1]["state"]), (&"relay/password".into(), &"ok".into()));
    assert_eq!(secrets[1]["profiles"], serde_json::json!(["relay"]));
    assert_eq!(secrets[1]["digest"], operator.header().digest.as_str());
    let table = operator.run(&["list", "dev"]).code(0).stdout;
    assert!(table.contains("relay/password") && table.contains("unused"), "{table}");
}

#[test]
fn check_finds_what_is_wrong_and_what_should_not_lie_there() {
    let operator = Operator::new();
    let code = |path: &str| operator.findings(1).into_iter().find(|(_, file)| file == path).map(|(code, _)| code);
    assert_eq!(code(FILE).as_deref(), Some("MW0031"), "missing");
    operator.repo.write(FILE, CANARY);
    assert_eq!(code(FILE).as_deref(), Some("MW0034"), "not an age file");
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    assert_eq!(operator.findings(0), []);

    for stray in ["secrets/dev/relay/password.txt", "secrets/dev/relay/.password.age.swp", "secrets/dev/relay/-.age"] {
        operator.repo.write(stray, CANARY);
        assert_eq!(code(stray).as_deref(), Some("MW0014"), "{stray}");
        operator.repo.remove(stray);
    }
    operator.repo.write("secrets/dev/key.txt", operator.identity.to_file().expose_secret());
    assert_eq!(code("secrets/dev/key.txt").as_deref(), Some("MW0033"), "a private key");
    operator.repo.remove("secrets/dev/key.txt");
    operator.repo.write("secrets/dev/README.md", "What is here.");
    assert_eq!(operator.findings(0), []);

    // The public recipient of the examples, without the file that marks it as public: nothing is sealed to it.
    let recipients = operator.repo.read("secrets/dev/recipients.txt");
    let demo = ServiceIdentity::demo().unwrap();
    operator.repo.write("secrets/dev/recipients.txt", format!("{recipients}{}\n", demo.recipient()));
    assert_eq!(code("secrets/dev/recipients.txt").as_deref(), Some("MW0224"));
    assert!(operator.set("relay/password", CANARY.as_bytes()).code(1).stderr.contains("MW0224"));
    operator.repo.write("secrets/dev/demo-identity.txt", demo.to_file().expose_secret());
    operator.set("relay/password", CANARY.as_bytes()).code(0);
    assert_eq!(operator.findings(0), []);

    operator.repo.write("secrets/dev/recipients.txt", "\nage1wrong\n");
    let human = operator.run(&["check", "dev"]).code(1).stdout;
    assert!(human.contains("secrets/dev/recipients.txt:2:1: not a recipient"), "{human}");
}

#[test]
fn the_examples_pass_the_check() {
    TestRepository::examples().run(&["secrets", "check"]).code(0);
}

#[test]
fn a_link_out_of_the_repository_is_neither_written_nor_read_through() {
    let operator = Operator::new();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), operator.repo.path("secrets/dev/relay")).unwrap();
    let output = operator.set("relay/password", CANARY.as_bytes()).code(1);
    assert!(output.stderr.contains("MW0015"), "{}", output.stderr);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn the_readers_secret_is_not_rotated_and_the_remedy_is_named() {
    let operator = Operator::new();
    operator.repo.write(
        "environments/dev/environment.yaml",
        "companies: [EDU1]\nverify: { reader: { tenant: contoso.example, client: 0c0ffee0-0000-4000-8000-0000000000aa, credential: { clientSecret: { secret: reader/secret } } } }\n",
    );
    operator.repo.pipe(&["secrets", "set", "dev", "reader/secret"], CANARY.as_bytes()).code(0);
    let output = operator.repo.pipe(&["secrets", "rotate", "dev", "reader/secret"], CANARY.as_bytes()).code(1);
    assert!(
        output.stderr.contains("MW0037") && output.stderr.contains("only `verify.reader` uses `reader/secret`"),
        "{output:?}"
    );
    assert!(output.stderr.contains("mailwright secrets set dev reader/secret; mailwright verify dev"), "{output:?}");
    assert!(!operator.repo.path("secrets/dev/reader/secret.next.age").exists());
    operator.repo.pipe(&["secrets", "set", "dev", "reader/secret"], b"another").code(0);
}
