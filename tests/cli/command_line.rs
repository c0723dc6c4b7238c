//! The command line itself: what is misspelt is refused, every failure has its code and remedy, help has examples.

use std::process::Command;

use crate::support::repository::{PROGRAM, TestRepository, clear_environment, run_command};

const COMMANDS: &[&str] = &[
    "init",
    "microsoft",
    "new",
    "render",
    "validate",
    "diff",
    "plan",
    "apply",
    "verify",
    "sandbox",
    "drift",
    "status",
    "show",
    "resolve",
    "why",
    "doctor",
    "backup",
    "restore",
    "history",
    "blame",
    "rollback",
    "import",
    "secrets",
    "token",
    "access",
    "audit",
    "serve",
    "demo",
    "functions",
    "explain",
    "schema",
    "completions",
];

#[test]
fn every_command_has_help_with_examples_within_the_line() {
    let repo = TestRepository::small();
    let overview = repo.run(&["--help"]).code(0).stdout;
    for command in COMMANDS {
        assert!(overview.contains(&format!("  {command} ")), "{command}");
        let help = repo.run(&[command, "--help"]).code(0).stdout;
        assert!(help.contains("Examples:\n  mailwright "), "{command}:\n{help}");
    }
    assert_eq!(repo.run(&["--version"]).code(0).stdout, format!("mailwright {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_noun_takes_its_verb_first_and_the_other_order_gets_the_right_command_line() {
    let repo = TestRepository::small();
    for (wrong, right) in [
        (&["outbox", "dev", "list", "--status", "failed"][..], "mailwright outbox list dev --status failed"),
        (&["token", "dev", "revoke", "a b"], "mailwright token revoke dev 'a b'"),
        (&["--color", "never", "secrets", "dev", "list"], "mailwright --color never secrets list dev"),
    ] {
        let output = repo.run(wrong).code(1);
        assert!(output.stderr.contains(&format!("Did you mean this?\n\n  {right}\n")), "{}", output.stderr);
        assert_eq!(output.stdout, "");
    }
    let other = repo.run(&["outbox", "dev", "lost"]).code(1);
    assert!(!other.stderr.contains("The verb comes first"), "{}", other.stderr);
}

#[test]
fn a_format_is_offered_by_commands_that_write_it() {
    let mut repo = TestRepository::small();
    for command in [&["status", "dev"][..], &["history", "dev"], &["outbox", "list", "dev"], &["token", "list", "dev"]]
    {
        let output = repo.run(&[command, &["--format", "markdown"]].concat()).code(1);
        assert!(output.stderr.contains("[possible values: human, json]"), "{command:?}: {}", output.stderr);
    }
    repo.serve();
    let drift = repo.run(&["drift", "dev", "--format", "markdown"]).code(0).stdout;
    assert!(drift.starts_with("### `dev`\n\n```text\nNo drift in dev at generation 0."), "{drift}");
    for (command, generation) in
        [(&["status", "dev"][..], true), (&["drift", "dev"], true), (&["token", "list", "dev"], false)]
    {
        let document = repo.run(&[command, &["--format", "json"]].concat()).code(0).json();
        assert!(document["formatVersion"] == 1 && document["environment"] == "dev", "{document:#}");
        assert_eq!(document["generation"].is_u64(), generation, "{document:#}");
    }
}

#[test]
fn help_has_topics_and_every_command() {
    let repo = TestRepository::small();
    let overview = repo.run(&["help"]).code(0).stdout;
    assert_eq!(overview, repo.run(&["--help"]).code(0).stdout);
    for group in ["Start:", "Files:", "Mail:", "Secrets and access:"] {
        assert!(overview.contains(&format!("\n{group}\n")), "{group}\n{overview}");
    }
    assert_eq!(
        repo.run(&["help", "outbox", "list"]).code(0).stdout,
        repo.run(&["outbox", "list", "--help"]).code(0).stdout
    );
    assert!(repo.run(&["help", "environment"]).code(0).stdout.contains("MAILWRIGHT_TOKEN_FILE"));
    let unknown = repo.run(&["help", "outbx"]).code(1).stderr;
    assert!(unknown.contains("Did you mean `outbox`?"), "{unknown}");
    // The page has the same table.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md")).unwrap();
    let topic = repo.run(&["help", "exit-codes"]).code(0).stdout;
    let mut code = String::new();
    for line in topic.lines().filter(|line| line.starts_with("  ")) {
        if let Some(meaning) = line.strip_prefix("       ") {
            let row = page.lines().find(|row| row.starts_with(&format!("| {code} |"))).unwrap();
            assert!(row.contains(meaning), "{code}: {meaning}");
        } else {
            code = line.trim().split(' ').next().unwrap().to_owned();
            let meaning = line.trim().split_once("  ").unwrap().1;
            assert!(page.contains(&format!("| {code} | {meaning} |")), "{line}");
        }
    }
}

#[test]
fn resolve_shows_all_companies_and_functions() {
    let mut repo = TestRepository::examples();
    let desired = repo.run(&["resolve", "dev", "--desired"]).code(0).stdout;
    assert!(desired.contains("COMPANY") && desired.contains("documents-remittance"), "{desired}");
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"value").code(0);
    repo.pipe(&["secrets", "set", "dev", "documents/client-secret"], b"a-client-secret-of-this-test").code(0);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    assert_eq!(repo.run(&["resolve", "dev"]).code(0).stdout, desired);
    let one = repo.run(&["resolve", "dev", "EDU1", "--format", "json"]).code(0).json();
    assert!(one["environment"] == "dev" && one["formatVersion"] == 1, "{one}");
    let resolutions = one["resolutions"].as_array().unwrap();
    assert!(resolutions.len() > 10 && resolutions.iter().all(|row| row["company"] == "EDU1"), "{one}");
    for arguments in [&["resolve", "dev", "ZZ9"][..], &["resolve", "dev", "ZZ9", "default"]] {
        for more in [&[] as &[&str], &["--desired"]] {
            let output = repo.run(&[arguments, more].concat()).code(1);
            assert!(output.stderr.contains("MW0105") && output.stderr.contains("EDU1"), "{}", output.stderr);
        }
    }
}

#[test]
fn tokens_expire_unless_they_must_not() {
    let mut repo = TestRepository::small();
    repo.serve();
    let create = |name: &str, more: &[&str]| {
        let usual = ["token", "create", "dev", "--name", name, "--role", "viewer", "--format", "json"];
        repo.run(&[&usual[..], more].concat()).code(0).json()["expiresAt"].clone()
    };
    assert!(create("usual", &[]).is_string());
    assert!(create("short", &["--expires", "12h"]).is_string());
    assert!(create("eternal", &["--expires", "never"]).is_null());
    let list = repo.run(&["token", "list", "dev"]).code(0).stdout;
    assert!(list.contains("until 20") && list.contains("does not expire"), "{list}");
    let wrong = ["token", "create", "dev", "--name", "x", "--role", "viewer", "--expires", "soon"];
    assert!(repo.run(&wrong).code(1).stderr.contains("such as 90d"));
}

#[test]
fn completions_offer_no_name_that_a_shell_interprets() {
    let repo = TestRepository::examples();
    let hostile =
        ["$(touch x)", "`id`", "a b", "a;b", "a'b", "a\"b", "a\nb", "~root", "*", "{a,b}", "é", "--yes", "-r"];
    for name in hostile {
        repo.write(&format!("environments/{name}/environment.yaml"), "companies: [EDU1]\n");
        repo.write(&format!("environments/dev/profiles/{name}.yaml"), "{}\n");
        repo.write(&format!("rollouts/{name}.yaml"), "{}\n");
        repo.write(&format!("secrets/dev/{name}/{name}.age"), "x");
    }
    for words in [&["plan", ""][..], &["show", "dev", ""], &["secrets", "set", "dev", ""], &["rollout", "plan", ""]] {
        let mut command = repo.command(&[&["--", "mailwright"], words].concat());
        command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
        let text = run_command(command).code(0).stdout;
        let is_plain = |line: &str| {
            line.starts_with("--") && line != "--yes"
                || line.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        };
        assert!(text.lines().all(is_plain), "{words:?}: {text}");
        assert!(!text.lines().any(|line| line == "-r"), "{words:?}: {text}");
    }
}

#[test]
fn completions_offer_no_file_that_a_shell_interprets() {
    let repo = TestRepository::examples();
    let hostile = [
        "$(touch x).csv",
        "`id`.csv",
        "a b.csv",
        "a;b.csv",
        "a'b.csv",
        "a\"b.csv",
        "a\nb.csv",
        "~root.csv",
        "*.csv",
        "-x.csv",
        "\u{1b}[2J.csv",
        "\u{202e}.csv",
        "a\u{b}b.csv",
        "a\tb.csv",
        "a:b.csv",
        "a&b.csv",
        "a|b.csv",
        "#a.csv",
        "!a.csv",
        "%a.csv",
    ];
    for name in hostile {
        repo.write(name, "name\n");
        repo.write(&format!("$(touch y)/{name}"), "name\n");
    }
    repo.write("list-1.csv", "name\n");
    repo.write("lists/größe.csv", "name\n");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        for (word, expected) in [("", "list-1.csv"), ("lists/", "lists/größe.csv"), ("list-1", "list-1.csv")] {
            let words = ["new", "environment", "--from-csv", word];
            let mut command = repo.command(&[&["--", "mailwright"], &words[..]].concat());
            command.env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
            let text = run_command(command).code(0).stdout;
            let is_plain = |line: &str| line.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c));
            assert!(text.lines().all(|line| is_plain(line) && !line.starts_with('-')), "{shell}, {word}: {text}");
            assert!(text.lines().any(|line| line == expected), "{shell}, {word}: {text}");
        }
    }
}

#[test]
fn completions_know_the_names_in_the_repository() {
    let repo = TestRepository::examples();
    let complete = |words: &[&str]| {
        let mut command = repo.command(&[&["--", "mailwright"], words].concat());
        command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
        run_command(command).code(0).stdout
    };
    let has = |text: &str, name: &str| text.lines().any(|line| line == name);
    for (words, name) in [
        (&["plan", ""][..], "dev"),
        (&["outbox", "list", ""], "dev"),
        (&["show", "dev", ""], "relay"),
        (&["secrets", "set", "dev", ""], "relay/password"),
        (&["send", "dev", "--function", ""], "documents-remittance"),
        (&["resolve", "dev", "EDU1", "documents-r"], "documents-remittance"),
        (&["explain", "MW01"], "MW0104"),
        (&["out"], "outbox"),
    ] {
        let text = complete(words);
        assert!(has(&text, name), "{words:?}: {text}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = repo.run(&["completions", shell]).code(0).stdout;
        assert!(script.contains("COMPLETE") && script.contains("mailwright"), "{shell}: {script}");
        // A line that is being typed can contain commands, which completion must not run.
        assert!(!script.contains("Invoke-Expression") && !script.contains("eval "), "{shell}: {script}");
    }
}

#[test]
fn the_only_environment_need_not_be_named() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["outbox", "status"]).code(0);
    assert_eq!(repo.run(&["outbox", "list"]).code(0).stdout, "No messages.\n");
    let id = "01980c1e-0000-7000-8000-000000000000";
    for arguments in [&["outbox", "show", id][..], &["outbox", "show", "dev", id], &["outbox", "cancel", id]] {
        let output = repo.run(arguments).code(1);
        assert!(output.stderr.contains("MW0214"), "{arguments:?}: {}", output.stderr);
    }
    for (arguments, expected) in [
        (&["outbox", "show", "dve", id][..], "unknown environment `dve`"),
        (&["outbox", "show", "dev", "01980c1e-0000"], "no message has an id that begins with `01980c1e-0000`"),
        (&["outbox", "show"], "an id is required"),
        (&["outbox", "show", "dev", id, id], "unexpected argument"),
        (&["outbox", "cancel"], "neither a message id nor `--status`"),
    ] {
        let output = repo.run(arguments).code(1);
        assert!(output.stderr.contains(expected), "{arguments:?}: {}", output.stderr);
    }
    // A layer that others extend does not count as an environment.
    repo.write("environments/base/environment.yaml", "abstract: true\n");
    let commands: &[&[&str]] = &[
        &["plan"],
        &["apply", "--skip-verify", "--yes"],
        &["drift"],
        &["status"],
        &["history"],
        &["show", "relay"],
        &["blame", "relay"],
        &["render"],
        &["render", "relay"],
        &["resolve", "EDU1"],
        &["why", "--function", "default"],
        &["rollback", "--to", "1", "--yes"],
        &["import", "--dry-run"],
        &["secrets", "list"],
        &["token", "list"],
        &["audit", "list"],
        &["audit", "verify"],
        &["outbox", "status"],
    ];
    for command in commands {
        repo.run(command).code(0);
    }
    let token = repo.run(&["token", "create", "--name", "x", "--role", "viewer", "--format", "json"]).code(0).json();
    repo.run(&["token", "revoke", token["id"].as_str().unwrap()]).code(0);
    let output = repo.run(&["show", "dve", "relay"]).code(1);
    assert!(output.stderr.contains("Did you mean `dev`?"), "{}", output.stderr);
    assert!(repo.run(&["show", "dev"]).code(1).stderr.contains("a profile is required"));

    repo.write("environments/other/environment.yaml", "companies: [EDU1]\n");
    for command in commands {
        let output = repo.run(command).code(1);
        assert!(output.stderr.contains("Name one of: dev, other."), "{command:?}: {}", output.stderr);
    }
}

/// The grammar is `mailwright NOUN VERB ENV`: the environment is the first name behind the verb, and can be omitted.
#[test]
fn the_environment_is_the_first_name_of_a_command_and_can_be_omitted() {
    fn check(command: &clap::Command, path: &str, found: &mut usize) {
        let positionals: Vec<&clap::Arg> = command.get_positionals().collect();
        for (index, argument) in positionals.iter().enumerate() {
            let names = argument.get_value_names().unwrap_or_default();
            let is_environment = names.first().is_some_and(|name| name.starts_with("ENV"));
            let is_known = argument.get_id() == "environment" || argument.get_id() == "environments";
            assert!(is_environment || !is_known, "{path}: `{}` is shown as {names:?}", argument.get_id());
            if !is_environment {
                continue;
            }
            *found += 1;
            // Recipients come first where one recipient is changed in many environments.
            assert!(index == 0 || path.starts_with(" secrets recipients "), "{path}: the environment is not the first");
            // `delegate` works on a desktop without a repository, where no environment can be the only one.
            let is_required = path == " secrets init" || path.starts_with(" delegate ");
            assert!(!argument.is_required_set() || is_required, "{path}: the environment is required");
        }
        for subcommand in command.get_subcommands() {
            assert!(!subcommand.has_subcommands() || positionals.is_empty(), "{path}: a name before the verb");
            check(subcommand, &format!("{path} {}", subcommand.get_name()), found);
        }
    }
    let mut found = 0;
    check(&mailwright::cli::command(), "", &mut found);
    assert!(found > 40, "{found}");
}

#[test]
fn an_error_before_the_command_runs_has_the_format_of_the_command() {
    let repo = TestRepository::small();
    let error = |command: Command| {
        let output = run_command(command).code(1);
        serde_json::from_str::<serde_json::Value>(&output.stdout).unwrap()["error"].clone()
    };
    let mut command = repo.command(&["plan", "dev", "--format", "json"]);
    command.env("MAILWRIGHT_TOKN", "x");
    assert_eq!(error(command)["code"], "MW0250");
    let command = repo.command(&["validate", "-C", "environments", "--format", "json"]);
    assert!(error(command)["message"].as_str().unwrap().contains("has no folder `environments`"));
    let mut command = repo.command(&["plan", "dev"]);
    command.env("MAILWRIGHT_TOKN", "x");
    assert_eq!(run_command(command).code(1).stdout, "");
}

#[test]
fn a_misspelt_flag_command_or_variable_of_ours_is_an_error_and_never_looks_like_changes() {
    let mut repo = TestRepository::small();
    repo.serve();
    for arguments in [
        &["apply", "--skip-verify", "dev", "--yse"][..],
        &["apply", "--skip-verify", "dev", "--dry-run"],
        &["plann", "dev"],
        &["plan", "dev", "--detailed-exit-code"],
        &["plan", "--no-such"],
        &[],
    ] {
        let output = repo.run(arguments).code(1);
        assert!(output.stdout.is_empty(), "{}", output.stdout);
    }
    let mut command = repo.command(&["apply", "--skip-verify", "dev", "--yes"]);
    command.env("MAILWRIGHT_TOKN", "x");
    let output = run_command(command).code(1);
    assert!(
        output.stderr.contains("MW0250") && output.stderr.contains("Did you mean `MAILWRIGHT_TOKEN`?"),
        "{}",
        output.stderr
    );
    assert_eq!(repo.state()["generation"], 0);
}

#[test]
fn each_way_of_not_reaching_the_service_has_its_own_error() {
    let mut repo = TestRepository::small();
    repo.serve();
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = repo.command(arguments);
        for (name, value) in variables {
            command.env(name, value);
        }
        let output = run_command(command).code(1);
        output.stderr.split(['[', ']']).nth(1).unwrap_or_default().to_owned()
            + " "
            + output.stderr.lines().next().unwrap_or_default()
    };
    let plan = ["plan", "dev"];
    assert!(with(&[("MAILWRIGHT_SERVICE", "http://127.0.0.1:1")], &plan).starts_with("MW0200"));
    assert!(with(&[("MAILWRIGHT_SERVICE", "https://nowhere.invalid")], &plan).starts_with("MW0200"));
    assert!(with(&[("MAILWRIGHT_TOKEN", "mw_000000000000_x")], &plan).starts_with("MW0201"));
    assert!(with(&[("MAILWRIGHT_TOKEN", "")], &plan).starts_with("MW0206"));
    assert!(with(&[("MAILWRIGHT_TOKEN", "a b")], &plan).starts_with("MW0206"));
    assert!(with(&[("MAILWRIGHT_SERVICE", "")], &plan).starts_with("MW0207"));
    assert!(with(&[("MAILWRIGHT_SERVICE", "ftp://x")], &plan).starts_with("MW0207"));
    assert!(with(&[("MAILWRIGHT_SERVICE", "http://user:pass@localhost")], &plan).starts_with("MW0207"));
    assert!(with(&[("MAILWRIGHT_SERVICE", "http://192.0.2.1")], &plan).starts_with("MW0253"));
    let clear = repo.address().to_owned();
    assert!(with(&[("MAILWRIGHT_SERVICE", &clear.replace("http:", "https:"))], &plan).starts_with("MW0203"));
    let not_tls = repo.run(&["plan", "dev", "--service", &clear.replace("http:", "https:")]).code(1).stderr;
    assert!(not_tls.contains("does not speak TLS") && not_tls.contains("begins with `http://`"), "{not_tls}");
    assert!(with(&[], &["plan", "dve"]).starts_with("MW0024"));
    // Strangers: a web server that is none of ours, and one of another version.
    let stranger = |head: &'static str| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            while let Ok((mut stream, _)) = listener.accept() {
                drop(stream.read(&mut [0; 4096]));
                drop(stream.write_all(head.as_bytes()));
            }
        });
        address
    };
    let page = stranger("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<hi>");
    assert!(with(&[("MAILWRIGHT_SERVICE", &page)], &plan).starts_with("MW0204"));
    let newer = stranger(
        "HTTP/1.1 404 Not Found\r\nmailwright-api-version: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    );
    assert!(with(&[("MAILWRIGHT_SERVICE", &newer)], &plan).starts_with("MW0205"));
    let half = stranger(
        "HTTP/1.1 200 OK\r\nmailwright-api-version: 1\r\nContent-Length: 5000\r\n\r\n{\"environment\":\"dev\",\"generation\":0,",
    );
    assert!(with(&[("MAILWRIGHT_SERVICE", &half)], &plan).starts_with("MW0208"));
    let empty =
        stranger("HTTP/1.1 200 OK\r\nmailwright-api-version: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    assert!(with(&[("MAILWRIGHT_SERVICE", &empty)], &plan).starts_with("MW0208"));
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_and_one_that_is_given_is_taken() {
    let mut repo = TestRepository::small();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    repo.write("server.pem", key.cert.pem());
    repo.write("server.key", key.signing_key.serialize_pem());
    let (certificate, private) = (repo.path("server.pem"), repo.path("server.key"));
    repo.serve_with(&["--demo", "--tls-cert", certificate.to_str().unwrap(), "--tls-key", private.to_str().unwrap()]);
    let address = repo.address().replace("127.0.0.1", "localhost");
    let plan = |more: &[&str], address: &str| {
        let mut arguments = vec!["plan", "dev", "--service", address];
        arguments.extend(more);
        repo.run(&arguments)
    };
    let untrusted = plan(&[], &address).code(1);
    assert!(untrusted.stderr.contains("MW0203") && untrusted.stderr.contains("--ca-file"), "{}", untrusted.stderr);
    assert!(untrusted.stderr.contains("certificate is signed by itself"), "{}", untrusted.stderr);
    plan(&["--ca-file", "server.pem"], &address).code(0);
    let misnamed = plan(&["--ca-file", "server.pem"], &address.replace("localhost", "127.0.0.1")).code(1);
    assert!(misnamed.stderr.contains("MW0203"), "{}", misnamed.stderr);
    assert!(misnamed.stderr.contains("is for other names: localhost"), "{}", misnamed.stderr);
    repo.write("empty.pem", "nothing");
    let empty = plan(&["--ca-file", "empty.pem"], &address).code(1);
    assert!(empty.stderr.contains("MW0203") && empty.stderr.contains("holds no certificate"), "{}", empty.stderr);
}

#[test]
fn a_certificate_of_an_authority_is_pinned_and_a_service_that_speaks_tls_only_is_named() {
    let mut repo = TestRepository::small();
    let mut wanted = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    wanted.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    repo.write("server.pem", wanted.self_signed(&key).unwrap().pem());
    repo.write("server.key", key.serialize_pem());
    let (certificate, private) = (repo.path("server.pem"), repo.path("server.key"));
    repo.serve_with(&["--demo", "--tls-cert", certificate.to_str().unwrap(), "--tls-key", private.to_str().unwrap()]);
    let address = repo.address().replace("127.0.0.1", "localhost");
    let untrusted = repo.run(&["plan", "dev", "--service", &address]).code(1).stderr;
    assert!(untrusted.contains("MW0203") && untrusted.contains("signed by itself"), "{untrusted}");
    repo.run(&["plan", "dev", "--service", &address, "--ca-file", "server.pem"]).code(0);
    let clear = repo.run(&["plan", "dev", "--service", &address.replace("https:", "http:")]).code(1).stderr;
    assert!(clear.contains("MW0204") && clear.contains("begins with `https://`"), "{clear}");
}

#[test]
fn serve_refuses_what_would_be_unsafe() {
    let repo = TestRepository::small();
    let data = repo.path(".data");
    let serve = |more: &[&str]| {
        let mut arguments = vec!["serve", "--environment", "dev", "--data", data.to_str().unwrap()];
        arguments.extend(more);
        repo.run(&arguments).code(1).stderr
    };
    assert!(serve(&["--listen", "0.0.0.0:0"]).contains("MW0253"));
    assert!(serve(&["--tls-cert", "x.pem"]).contains("--tls-key"));
    // The public identity of the examples, outside a demo.
    std::fs::create_dir_all(&data).unwrap();
    repo.write(".data/identity.txt", mailwright::secrets::DEMO_IDENTITY);
    std::fs::set_permissions(repo.path(".data/identity.txt"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    assert!(serve(&["--listen", "127.0.0.1:0"]).contains("other users can read it"));
    std::fs::set_permissions(repo.path(".data/identity.txt"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    assert!(serve(&["--listen", "127.0.0.1:0"]).contains("MW0224"));
}

#[test]
fn a_data_folder_belongs_to_one_service_and_one_environment() {
    let mut repo = TestRepository::small();
    repo.serve();
    let data = repo.path(".data").to_str().unwrap().to_owned();
    let again =
        repo.run(&["serve", "--demo", "--environment", "dev", "--data", &data, "--listen", "127.0.0.1:0"]).code(1);
    assert!(again.stderr.contains("another service uses the data folder"), "{}", again.stderr);
    repo.kill();
    let other =
        repo.run(&["serve", "--demo", "--environment", "prod", "--data", &data, "--listen", "127.0.0.1:0"]).code(1);
    assert!(other.stderr.contains("MW0211"), "{}", other.stderr);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(repo.path(".data/identity.txt")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_service_of_another_environment_is_not_planned_against() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.write("environments/other/environment.yaml", "companies: [EDU1]\n");
    repo.write("environments/other/profiles/relay.yaml", crate::support::repository::SMALL_PROFILE);
    let output = repo.run(&["plan", "other"]).code(1);
    assert!(output.stderr.contains("MW0211"), "{}", output.stderr);
}

#[test]
fn mail_of_another_environment_is_neither_shown_nor_changed() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    repo.run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "wait"]).code(0);
    let send = ["--company", "EDU1", "--function", "default", "--to", "a@example.com", "--subject", "s", "--text", "t"];
    repo.run(&[&["send", "dev"], &send[..]].concat()).code(0);
    let listed = || repo.run(&["outbox", "list", "dev", "--format", "json"]).code(0).json();
    let before = listed();
    assert_eq!(before["messages"].as_array().unwrap().len(), 1, "{before:#}");
    let id = before["messages"][0]["id"].as_str().unwrap().to_owned();
    repo.write("environments/other/environment.yaml", "companies: [EDU1]\n");
    repo.write("environments/other/profiles/relay.yaml", crate::support::repository::SMALL_PROFILE);
    let commands: [&[&str]; 9] = [
        &["outbox", "status", "other"],
        &["outbox", "list", "other"],
        &["outbox", "show", "other", &id],
        &["outbox", "cancel", "other", &id],
        &["outbox", "cancel", "other", "--status", "queued"],
        &["outbox", "hold", "other", "--company", "EDU1", "--reason", "in other"],
        &["why", "other", "--message", &id],
        &["history", "other"],
        &[&["send", "other"], &send[..]].concat(),
    ];
    for command in commands {
        let output = repo.run(command);
        assert!(output.stderr.contains("belongs to environment `dev`, not `other`"), "{command:?}: {}", output.stderr);
    }
    assert_eq!(listed(), before);
    let names_it = |name: &str| repo.http("GET", "/v1/messages", &[("Mailwright-Environment", name)], b"").status;
    assert_eq!((names_it("dev"), names_it("other"), names_it("Not a name")), (200, 409, 400));
}

#[test]
fn missing_files_are_named_with_a_remedy() {
    let repo = TestRepository::small();
    for missing in ["./p.plan", "p.plan", "plans/p"] {
        let output = repo.run(&["apply", missing, "--yes"]).code(1);
        assert!(output.stderr.contains(&format!("cannot read the saved plan `{missing}`")), "{}", output.stderr);
        assert!(output.stderr.contains("plan ENV --out FILE"), "{}", output.stderr);
    }
    let output = repo.run(&["plan", "dev", "--service", "http://127.0.0.1:1", "--token-file", "none"]).code(1);
    assert!(
        output.stderr.contains("MW0206") && output.stderr.contains("help: Correct `--token-file`"),
        "{}",
        output.stderr
    );
    let output = repo.run(&["audit", "verify", "dev", "--data", "."]).code(1);
    assert!(
        output.stderr.contains("MW0214") && output.stderr.contains("`.` does not contain a store"),
        "{}",
        output.stderr
    );
    for code in ["MW0007", "mw0007", "mw7", "7"] {
        assert!(repo.run(&["explain", code]).code(0).stdout.starts_with("MW0007: "), "{code}");
    }
    assert!(repo.run(&["explain", "MW9999"]).code(1).stderr.contains("MW0007"));
    let copied = "invalid_client: AADSTS7000215: Invalid client secret provided.";
    for code in ["AADSTS7000215", "aadsts7000215", "AADSTS7000215: Invalid client secret provided.", copied, "7000215"]
    {
        let page = repo.run(&["explain", code]).code(0).stdout;
        assert!(page.starts_with("AADSTS7000215: ") && page.contains("GRAPH-SECRET-WRONG"), "{code}: {page}");
    }
    let busy = repo.run(&["explain", "AADSTS50196"]).code(0).stdout;
    assert!(busy.contains("GRAPH-ANSWER") && busy.contains("the profile is not suspended"), "{busy}");
    for (reply, expected) in [
        ("5.7.1", "At MAIL: the sender is not allowed for this login; the profile is suspended"),
        ("550 5.7.1 Relay access denied", "the server does not relay for this machine or login"),
        ("4.2.1", "the attempt is made again later"),
        ("535 5.7.139", "the login is refused"),
        ("432", "too many connections at once"),
        ("550 no such user here", "The words of a reply count as well"),
    ] {
        let page = repo.run(&["explain", reply]).code(0).stdout;
        assert!(page.contains("a reply of a mail server") && page.contains(expected), "{reply}: {page}");
    }
    for (code, expected) in [
        ("ErrorAccessDenied", "Test-ApplicationAccessPolicy -Identity SENDER -AppId CLIENT"),
        ("authorization_requestdenied", "the profile is suspended and its mail waits"),
        ("ApplicationThrottled", "nothing else leaves through this mailbox"),
    ] {
        let page = repo.run(&["explain", code]).code(0).stdout;
        assert!(page.contains("an error of Microsoft Graph") && page.contains(expected), "{code}: {page}");
    }
    let long = repo.run(&["explain", &"x".repeat(100_000)]).code(1).stderr;
    assert!(long.contains("MW0007") && long.len() < 1000, "{} bytes", long.len());
    let unknown = repo.run(&["explain", "AADSTS987654"]).code(1).stderr;
    assert!(unknown.contains("MW0007") && unknown.contains("error?code=987654"), "{unknown}");
    // Nothing to check is not the same as nothing wrong.
    let empty = TestRepository::empty();
    for arguments in [&["validate"][..], &["validate", "--format", "json"]] {
        let output = empty.run(arguments).code(1);
        assert!(
            output.stdout.contains("MW0024") && output.stdout.contains("no environment found"),
            "{}",
            output.stdout
        );
    }
}

#[test]
fn a_demo_with_used_ports_names_them_and_the_way_to_find_the_owner() {
    let repo = TestRepository::examples();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = repo.run(&["demo", "--once", "--sandbox-port", &port]).code(1);
    assert!(output.stderr.contains("MW0331") && output.stderr.contains(&format!("port {port}")), "{}", output.stderr);
    assert!(!output.stderr.contains("--port"), "{}", output.stderr);
}

#[test]
fn it_works_from_any_folder_below_the_repository_and_says_where_none_is() {
    let repo = TestRepository::small();
    let mut command = repo.command(&["validate"]);
    command.current_dir(repo.path("environments/dev/profiles"));
    run_command(command).code(0);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    clear_environment(&mut command);
    let output = run_command({
        command.arg("validate").current_dir(elsewhere.path());
        command
    })
    .code(1);
    assert!(output.stderr.contains("--project DIR"), "{}", output.stderr);
    let mut command = Command::new(PROGRAM);
    clear_environment(&mut command);
    command.args(["validate", "-C"]).arg(repo.folder.path()).current_dir(elsewhere.path());
    run_command(command).code(0);
}

#[test]
fn apply_never_asks_without_a_terminal() {
    let mut repo = TestRepository::small();
    repo.serve();
    let output = repo.run(&["apply", "--skip-verify", "dev"]).code(1);
    assert!(output.stderr.contains("MW0233") && output.stderr.contains("--yes"), "{}", output.stderr);
    assert_eq!(repo.state()["generation"], 0);
}

#[test]
fn completions_and_man_pages_are_made() {
    let repo = TestRepository::small();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(repo.run(&["completions", shell]).code(0).stdout.contains("mailwright"));
    }
    repo.run(&["man", "."]).code(0);
    assert!(repo.read("mailwright-plan.1").contains("detailed"));
    let page = repo.read("mailwright-outbox-list.1");
    assert!(page.contains(".SH EXAMPLES\n.nf\nmailwright outbox list prod"), "{page}");
}

#[test]
fn colour_only_where_it_is_wanted() {
    let mut repo = TestRepository::small();
    repo.serve();
    assert!(!repo.run(&["plan", "dev"]).code(0).stdout.contains('\u{1b}'));
    assert!(repo.run(&["plan", "dev", "--color", "always"]).code(0).stdout.contains('\u{1b}'));
}
