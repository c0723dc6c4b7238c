//! `init`, `new profile` and `keygen`: from an empty folder to a delivered mail, and nothing overwritten on the way.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use crate::support::repository::{CommandOutput, PROGRAM, TestRepository, run_command};

/// An empty folder, with a home folder of its own.
fn empty_folder() -> TestRepository {
    let repo = TestRepository::for_environment("prod");
    fs::remove_dir(repo.path("environments")).unwrap();
    fs::create_dir(repo.path("home")).unwrap();
    repo
}

fn run(repo: &TestRepository, arguments: &[&str]) -> CommandOutput {
    let mut command = repo.command(arguments);
    command.env("HOME", repo.path("home")).env_remove("XDG_CONFIG_HOME");
    run_command(command)
}

const SMTP: &[&str] = &[
    "init",
    "--company",
    "EDU1",
    "--provider",
    "smtp",
    "--host",
    "smtp.example.com",
    "--username",
    "erp",
    "--from",
    "erp@example.com",
];

fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    base.iter().chain(more).copied().collect()
}

#[test]
fn an_empty_folder_becomes_a_repository_and_the_printed_commands_work() {
    let mut repo = empty_folder();
    let output = run(&repo, &with(SMTP, &["--data", "data", "--keygen", "--ci", "github", "--format", "json"])).code(0);
    let document = output.json();
    assert_eq!(document["recipients"], 2, "{document:#}");
    assert_eq!(document["warnings"].as_array().map(Vec::len), Some(0));
    assert_eq!(
        document["next"],
        serde_json::json!([
            "mailwright serve --environment prod --data data --token-file data/token",
            "mailwright secrets set prod relay/password",
            "mailwright apply prod --token-file data/token",
        ])
    );
    for path in [
        "environments/prod/environment.yaml",
        "environments/prod/profiles/relay.yaml",
        "secrets/prod/recipients.txt",
        "secrets/.gitattributes",
        ".gitignore",
        ".github/workflows/mailwright.yml",
    ] {
        assert!(repo.path(path).is_file(), "{path}");
    }
    assert!(repo.read(".gitignore").contains("\n/data/\n"), "{}", repo.read(".gitignore"));
    // The first line of each file names a schema that exists.
    for path in ["environments/prod/environment.yaml", "environments/prod/profiles/relay.yaml"] {
        let text = repo.read(path);
        let schema = text.lines().next().unwrap().split("$schema=").nth(1).unwrap();
        assert!(repo.path(path).parent().unwrap().join(schema).is_file(), "{schema}");
    }
    assert_eq!(repo.read("data/.gitignore"), "*\n");
    for key in ["data/identity.txt", "home/.config/age/keys.txt"] {
        assert_eq!(fs::metadata(repo.path(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
    }
    run(&repo, &["validate"]).code(1);
    repo.pipe(&["secrets", "set", "prod", "relay/password"], b"pass").code(0);
    run(&repo, &["validate"]).code(0);
    run(&repo, &["secrets", "check"]).code(0);
    // The service starts with the identity that `init` made, so the secret opens.
    fs::rename(repo.path("data"), repo.path(".data")).unwrap();
    repo.serve_with(&[]);
    let plan = run(&repo, &["apply", "prod", "--yes", "--skip-verify"]).code(0);
    assert!(plan.stdout.contains("Generation 1"), "{}", plan.stdout);
}

#[test]
fn without_a_terminal_one_error_names_every_missing_flag() {
    let repo = empty_folder();
    let error = |arguments: &[&str]| run(&repo, arguments).code(1).stderr;
    assert!(error(&["init"]).contains("required flags are missing: --company, --provider"));
    let smtp = error(&["init", "--provider", "smtp", "--username", "erp"]);
    assert!(smtp.contains("--company, --host, --from, one of --data, --from-service, --keygen, --recipient"), "{smtp}");
    let web = error(&["init", "--provider", "microsoft-graph-delegate", "--platform", "spa", "--company", "A"]);
    assert!(web.contains("missing: --tenant, --redirect"), "{web}");
    let stray = error(&with(SMTP, &["--tenant", "contoso.com", "--keygen"]));
    assert!(stray.contains("`--tenant` does not belong to `smtp`"), "{stray}");
    assert_eq!(fs::read_dir(repo.folder.path()).unwrap().count(), 1, "only the home folder");
}

#[test]
fn nothing_is_overwritten_and_a_dry_run_writes_nothing() {
    let repo = empty_folder();
    let dry = run(&repo, &with(SMTP, &["--data", "data", "--keygen", "--dry-run"])).code(0);
    assert!(dry.stdout.contains("would write environments/prod/profiles/relay.yaml"), "{}", dry.stdout);
    assert_eq!(fs::read_dir(repo.folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(repo.path("home")).unwrap().count(), 0);
    repo.write(".gitignore", "mine\n");
    repo.write("schema/profile.schema.json", "{}");
    let first = run(&repo, &with(SMTP, &["--data", "data", "--keygen"])).code(0);
    let hint = "kept .gitignore, which exists already; add `*.plan`, `*.token` and `/data/` to it";
    assert!(first.stderr.contains(hint), "{}", first.stderr);
    assert_eq!((repo.read(".gitignore"), repo.read("schema/profile.schema.json")), ("mine\n".into(), "{}".into()));
    let before = repo.read("environments/prod/environment.yaml");
    let again = run(&repo, &with(SMTP, &["--data", "data", "--keygen", "--format", "json"])).code(1);
    assert_eq!(again.json()["error"]["code"], "MW0271");
    assert_eq!(repo.read("environments/prod/environment.yaml"), before);
    // Another environment uses the identities that exist.
    let (service, own) = (repo.read("data/identity.txt"), repo.read("home/.config/age/keys.txt"));
    run(&repo, &with(SMTP, &["--data", "data", "--keygen", "--environment", "test"])).code(0);
    assert_eq!((repo.read("data/identity.txt"), repo.read("home/.config/age/keys.txt")), (service, own));
    assert!(repo.read("secrets/test/recipients.txt").lines().filter(|line| line.starts_with("age1")).count() == 2);
}

#[test]
fn every_provider_makes_files_that_pass_the_checks() {
    for (provider, name) in [
        (&["microsoft-graph-direct", "--from", "erp@contoso.com"][..], "microsoft365"),
        (&["microsoft-graph-direct", "--from", "erp@contoso.com", "--credential", "certificate"], "microsoft365"),
        (&["microsoft-graph-delegate"], "desktop"),
        (&["microsoft-graph-delegate", "--platform", "spa", "--redirect", "https://erp.contoso.com/web"], "web"),
    ] {
        let repo = empty_folder();
        let mut arguments = vec!["init", "--company", "EDU1", "--tenant", "contoso.onmicrosoft.com", "--data", "data"];
        arguments.extend(["--keygen", "--format", "json", "--provider"]);
        arguments.extend(provider);
        let document = run(&repo, &arguments).code(0).json();
        assert_eq!(document["profile"], name, "{document:#}");
        assert_eq!(document["next"][1], format!("mailwright microsoft register prod {name} | bash"));
        let validated = run(&repo, &["validate", "--format", "json"]).json();
        let problems: Vec<&serde_json::Value> = validated["problems"]
            .as_array()
            .or(validated["diagnostics"].as_array())
            .unwrap_or_else(|| panic!("{validated:#}"))
            .iter()
            .filter(|problem| problem["severity"] == "error" && problem["code"] != "MW0031")
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

#[test]
fn an_answer_that_makes_an_invalid_file_is_refused_before_anything_is_written() {
    let repo = empty_folder();
    for (flag, value, says) in [
        ("--from", "nonsense", "MW0"),
        ("--host", "smtp example", "MW0"),
        ("--environment", "../x", "is not an environment's name"),
        ("--profile", "a b", "is not the name of a profile"),
        ("--company", "too-long", "is not a company id"),
        ("--recipient", "", "`--recipient` is empty"),
        ("--recipient", "age1nonsense", "is not a recipient"),
        ("--recipient", "./missing.pub", "cannot read `./missing.pub`"),
        ("--service", "ftp://x", "not one without TLS"),
    ] {
        let mut arguments: Vec<&str> = with(SMTP, &["--data", "data", "--keygen"]);
        if let Some(at) = arguments.iter().position(|argument| *argument == flag) {
            arguments.drain(at..at + 2);
        }
        arguments.extend([flag, value]);
        let refused = run(&repo, &arguments).code(1);
        assert!(refused.stderr.contains(says), "{flag} {value}: {}", refused.stderr);
        assert!(!repo.path("environments").exists() && !repo.path("data").exists(), "{flag} {value}");
        assert!(!repo.path("home/.config").exists(), "{flag} {value}");
    }
}

#[test]
fn on_a_terminal_every_answer_is_asked_for() {
    let repo = empty_folder();
    let program = format!("{PROGRAM} init; echo code=$?");
    // `script` runs it on a terminal of its own.
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &program, "/dev/null"]).current_dir(repo.folder.path());
    command.env("HOME", repo.path("home")).env_remove("XDG_CONFIG_HOME");
    crate::support::repository::clear_environment(&mut command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let answers = "\nEDU1 10\n1\nsmtp.example.com\n2\nerp\nerp@example.com\n1\nmydata\n1\n2\n";
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), answers.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("code=0"), "{shown}");
    assert!(shown.contains("How does the mail leave?") && shown.contains("Next:"), "{shown}");
    let environment = repo.read("environments/prod/environment.yaml");
    assert!(environment.contains("companies: [\"EDU1\", \"10\"]"), "{environment}");
    let profile = repo.read("environments/prod/profiles/relay.yaml");
    assert!(profile.contains("port: 465") && profile.contains("username: erp"), "{profile}");
    assert!(repo.path(".github/workflows/mailwright.yml").is_file());
    assert!(repo.path("mydata/identity.txt").is_file() && repo.path("home/.config/age/keys.txt").is_file());
}

#[test]
fn a_profile_is_added_to_an_environment_or_a_layer() {
    let repo = TestRepository::small();
    repo.write(
        "environments/base/environment.yaml",
        "abstract: true\nvariables: { domain: example.com, host: smtp.example.com }\n",
    );
    let direct = ["new", "profile", "documents", "--provider", "microsoft-graph-direct", "--tenant", "contoso.com"];
    let output = repo.run(&with(&direct, &["--from", "a@contoso.com", "--function", "all-documents"])).code(0);
    assert_eq!(output.stdout, "wrote environments/dev/profiles/documents.yaml\n");
    assert!(output.stderr.contains("mailwright microsoft register dev documents"), "{}", output.stderr);
    assert!(output.stderr.contains("mailwright secrets set dev documents/client-secret"), "{}", output.stderr);
    assert!(repo.path("schema/profile.schema.json").is_file());
    let again = repo.run(&with(&direct, &["--from", "b@contoso.com"])).code(1);
    assert!(again.stderr.contains("MW0271"), "{}", again.stderr);
    let layered = ["new", "profile", "relay", "--environment", "base", "--provider", "smtp", "--host", "${host}"];
    let output = repo.run(&with(&layered, &["--from", "erp@${domain}", "--company", "EDU1"])).code(0);
    assert_eq!(output.stdout, "wrote environments/base/profiles/relay.yaml\n");
    assert!(repo.read("environments/base/profiles/relay.yaml").contains("companies: [\"EDU1\"]"));
    let other = ["new", "profile", "x", "--provider", "smtp", "--host", "h", "--from", "a@b.example"];
    let printed = repo.run(&with(&other, &["--function", "all-reports", "--dry-run"]));
    assert!(printed.code(0).stdout.contains("host: h") && !repo.path("environments/dev/profiles/x.yaml").exists());
    let missing = repo.run(&["new", "profile", "x", "--provider", "smtp"]).code(1).stderr;
    assert!(missing.contains("required flags are missing: --host, --from"), "{missing}");
}

#[test]
fn an_environment_is_created_in_an_empty_repository() {
    let repo = empty_folder();
    run(&repo, &["new", "environment", "../x"]).code(1);
    run(&repo, &["new", "environment", "a", "--company", "too-long"]).code(1);
    assert!(!repo.path("environments").exists());
    run(&repo, &["new", "environment", "prod", "--dry-run"]).code(0);
    assert!(!repo.path("environments").exists());
    let output = run(&repo, &["new", "environment", "prod", "--company", "EDU1"]).code(0);
    assert_eq!(output.stdout, "wrote environments/prod/environment.yaml\n");
    assert!(repo.path("schema/environment.schema.json").is_file());
}

#[test]
fn an_identity_is_private_and_never_replaced() {
    let repo = empty_folder();
    let output = run(&repo, &["secrets", "keygen"]).code(0);
    let recipient = output.stdout.trim();
    assert!(recipient.starts_with("age1") && !output.stderr.contains("AGE-SECRET-KEY"), "{output:?}");
    let path = repo.path("home/.config/age/keys.txt");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(recipient) && text.contains("AGE-SECRET-KEY-1"));
    // `"$(mailwright secrets keygen)"` is also right for the second environment.
    let again = run(&repo, &["secrets", "keygen"]).code(0);
    assert_eq!(again.stdout.trim(), recipient);
    assert!(again.stderr.contains("exists already") && !again.stderr.contains("AGE-SECRET-KEY"), "{}", again.stderr);
    let named = run(&repo, &["secrets", "keygen", "--out", path.to_str().unwrap()]).code(1);
    assert!(named.stderr.contains("already exists") && named.stderr.contains(recipient), "{}", named.stderr);
    assert!(named.stdout.is_empty() && !named.stderr.contains("AGE-SECRET-KEY"), "{}", named.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let other = run(&repo, &["secrets", "keygen", "--out", "ann.identity", "--format", "json"]).code(0).json();
    assert!(other["recipient"].as_str().unwrap().starts_with("age1"));
    assert_eq!(mode(&repo.path("ann.identity")), 0o600);
}

#[test]
fn an_empty_recipient_is_refused_and_a_service_alone_is_a_warning() {
    let mut repo = TestRepository::small();
    repo.serve_with(&[]);
    for recipient in ["", "  ", "# empty", "nonsense"] {
        let refused = repo.run(&["secrets", "init", "dev", "--from-service", recipient]).code(1);
        assert!(refused.stderr.contains("MW0035") && refused.stderr.contains("recipient 1 is"), "{}", refused.stderr);
        assert!(!repo.path("secrets/dev").exists());
    }
    let alone = repo.run(&["secrets", "init", "dev", "--from-service"]).code(0);
    assert!(alone.stderr.contains("warning: only the service can open these secrets"), "{}", alone.stderr);
    // The remedy works.
    let key = repo.run(&["secrets", "keygen", "--out", "ann.identity"]).code(0).stdout;
    repo.run(&["secrets", "recipients", "add", key.trim(), "dev"]).code(0);
    assert!(repo.read("secrets/dev/recipients.txt").contains(key.trim()));
}

#[test]
fn a_data_folder_inside_the_repository_is_ignored_however_it_is_named() {
    let outside = tempfile::tempdir().unwrap();
    for (given, line) in [
        ("data", Some("/data/")),
        ("./data", Some("/data/")),
        ("data/", Some("/data/")),
        ("HERE/a/data", Some("/a/data/")),
        ("da*ta", Some("/da\\*ta/")),
        ("OUTSIDE/data", None),
    ] {
        let repo = empty_folder();
        let given = given.replace("HERE", &repo.folder.path().display().to_string());
        let given = given.replace("OUTSIDE", &outside.path().display().to_string());
        run(&repo, &with(SMTP, &["--data", &given, "--keygen"])).code(0);
        let text = repo.read(".gitignore");
        let found = text.split_once("# The data of the service.\n").map(|(_, rest)| rest.trim_end());
        assert_eq!(found, line, "{given}: {text}");
    }
}

#[test]
fn a_side_that_cannot_open_the_secrets_is_warned_of() {
    for (options, warning) in [
        (
            &["--data", "data"][..],
            "warning: only the service can open the secrets, so no operator can edit or move them",
        ),
        (&["--keygen"], "warning: the service cannot open the secrets until its recipient is added"),
        (&["--data", "data", "--keygen"], ""),
    ] {
        let said = run(&empty_folder(), &with(SMTP, options)).code(0).stderr;
        assert!(said.contains(warning), "{options:?}: {said}");
        assert_eq!(said.matches("warning").count(), usize::from(!warning.is_empty()), "{options:?}: {said}");
    }
}

#[test]
fn a_secret_that_git_would_add_is_warned_of() {
    let mut repo = TestRepository::small();
    repo.serve();
    let key = repo.run(&["secrets", "keygen", "--out", "before.identity"]).code(0);
    assert!(!key.stderr.contains("warning"), "outside of a work tree: {}", key.stderr);
    crate::git::git(&repo, &["init", "-q"]);
    let token = |file: &str| {
        let name = file.replace('/', "-");
        repo.run(&["token", "create", "dev", "--name", &name, "--role", "viewer", "--out", file]).code(0).stderr
    };
    let backup = |folder: &str| {
        let arguments = ["backup", "--data", ".data", "--to", folder, "--recipient", key.stdout.trim()];
        repo.run(&arguments).code(0).stderr
    };
    let said = repo.run(&["secrets", "keygen", "--out", "ann.identity"]).code(0).stderr;
    for (said, line) in [(said, "/ann.identity"), (token("t/one"), "/t/one"), (backup("copies/one"), "/copies/one/")] {
        assert!(said.contains("warning: Git does not ignore") && said.contains(&format!(": {line}\n")), "{said}");
    }
    repo.write(".gitignore", "*.identity\n/t/\n/copies/\n");
    let said = repo.run(&["secrets", "keygen", "--out", "eve.identity"]).code(0).stderr;
    for said in [said, token("t/two"), backup("copies/two")] {
        assert!(!said.contains("warning"), "{said}");
    }
}
