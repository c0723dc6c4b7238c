//! Origins of tokens: a token goes only to an origin that is named outside of the files, and to this machine never through
//! a proxy. What comes back acts on no terminal.

use crate::support::{
    recorder::Recorder,
    repository::{CommandOutput, TestRepository, run_command},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

const TOKEN: &str = "mw_0123456789ab_the-real-token";

/// A repository whose files name this service.
fn naming(address: &str) -> TestRepository {
    let repo = TestRepository::small();
    repo.write(
        "environments/dev/environment.yaml",
        format!("companies: [EDU1]\nservice: {{ address: '{address}' }}\n"),
    );
    repo
}

/// Asks the service of the files, through a proxy if it is not on this machine.
fn ask(repo: &TestRepository, proxy: &Recorder, arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
    let mut command = repo.command(arguments);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy.address());
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy").env("MAILWRIGHT_TOKEN", TOKEN);
    command.envs(variables.iter().copied());
    run_command(command)
}

fn identity_token(audience: &serde_json::Value) -> String {
    let claims =
        json!({ "iss": "https://issuer.example", "sub": "pipeline", "aud": audience, "exp": 4_000_000_000_u64 });
    format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[test]
fn the_files_alone_do_not_choose_where_a_token_goes() {
    let proxy = Recorder::start();
    let repo = naming("http://mail.example.com");
    for arguments in [
        &["status", "dev"][..],
        &["plan", "dev"],
        &["apply", "dev", "--yes"],
        &["verify", "dev"],
        &["drift", "dev"],
        &["token", "list", "dev"],
    ] {
        let reader = [("MAILWRIGHT_READER_TOKEN", "e30.e30.the-readers-token")];
        let clear = [arguments, &["--allow-clear-text"]].concat();
        let output = ask(&repo, &proxy, &clear, &reader).code(1);
        assert!(
            output.stderr.contains("MW0046") && output.stderr.contains("http://mail.example.com"),
            "{}",
            output.stderr
        );
        assert!(output.stderr.contains("export MAILWRIGHT_TOKEN_ORIGINS=http://mail.example.com"), "{}", output.stderr);
    }
    assert_eq!(proxy.seen(), "", "nothing is sent");
    // With the origin it goes there, by the proxy: this way the test would see it.
    let pinned = [("MAILWRIGHT_TOKEN_ORIGINS", "http://mail.example.com")];
    ask(&repo, &proxy, &["status", "dev", "--allow-clear-text"], &pinned).code(1);
    assert!(proxy.seen().contains(TOKEN), "{}", proxy.seen());
    let before = proxy.seen();
    for origins in [
        "https://mail.example.com",
        "http://mail.example.com:8080",
        "test=http://mail.example.com http://*.mail.example.com",
    ] {
        let output =
            ask(&repo, &proxy, &["status", "dev", "--allow-clear-text"], &[("MAILWRIGHT_TOKEN_ORIGINS", origins)])
                .code(1);
        assert!(output.stderr.contains("MW0047"), "{}", output.stderr);
        let option = ["status", "dev", "--allow-clear-text", "--token-origin", origins.split(' ').next().unwrap()];
        assert!(ask(&repo, &proxy, &option, &pinned).code(1).stderr.contains("MW0047"));
    }
    repo.write("tokens/dev", format!("\u{feff}{TOKEN}\r\n# our service\r\norigin: https://other.example.com\r\n"));
    let file = ["status", "dev", "--allow-clear-text", "--token-file", "tokens/{environment}"];
    assert!(ask(&repo, &proxy, &file, &[]).code(1).stderr.contains("https://other.example.com"));
    assert_eq!(proxy.seen(), before, "nothing more is sent");
    repo.write("tokens/dev", format!("{TOKEN}\norigin: http://mail.example.com\n"));
    ask(&repo, &proxy, &file, &[]).code(1);
    assert_ne!(proxy.seen(), before);
    // Given outside of the files, the address needs no more.
    let before = proxy.seen();
    let given = [("MAILWRIGHT_SERVICE", "http://given.example.com")];
    ask(&repo, &proxy, &["status", "dev", "--allow-clear-text"], &given).code(1);
    assert!(proxy.seen().len() > before.len() && proxy.seen().contains("given.example.com"));
    // A text that is not an origin is reported before anything else.
    for origins in ["mail.example.com", "https://*", "https://{environment}"] {
        let output = ask(&repo, &proxy, &["status", "dev"], &[("MAILWRIGHT_TOKEN_ORIGINS", origins)]).code(1);
        assert!(output.stderr.contains("MW0251") && output.stderr.contains("is not an origin"), "{}", output.stderr);
    }
}

#[test]
fn an_identity_token_goes_to_its_audience_alone() {
    let proxy = Recorder::start();
    let repo = naming("http://evil.example");
    for audience in [json!("https://mail.example.com"), json!(["other", "https://mail.example.com/prod"])] {
        let token = identity_token(&audience);
        let output =
            ask(&repo, &proxy, &["plan", "dev", "--allow-clear-text"], &[("MAILWRIGHT_TOKEN", &token)]).code(1);
        assert!(
            output.stderr.contains("MW0047") && output.stderr.contains("https://mail.example.com"),
            "{}",
            output.stderr
        );
    }
    let token = identity_token(&json!("mailwright"));
    let output = ask(&repo, &proxy, &["plan", "dev", "--allow-clear-text"], &[("MAILWRIGHT_TOKEN", &token)]).code(1);
    assert!(output.stderr.contains("MW0046"), "{}", output.stderr);
    // GitHub is not even asked for one.
    let github = Recorder::start();
    let url = format!("{}/token", github.address());
    let asking = [
        ("MAILWRIGHT_TOKEN", ""),
        ("MAILWRIGHT_OIDC_AUDIENCE", "https://mail.example.com"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "the-asking-token"),
    ];
    assert!(ask(&repo, &proxy, &["plan", "dev", "--allow-clear-text"], &asking).code(1).stderr.contains("MW0047"));
    assert_eq!(github.seen(), "");
    // Nor does it go to another service of this machine.
    let here = Recorder::start();
    let repo = naming(&here.address());
    assert!(ask(&repo, &proxy, &["plan", "dev"], &asking).code(1).stderr.contains("MW0047"));
    assert_eq!((here.seen(), github.seen(), proxy.seen()), <_>::default());
    // With the origin of its audience it is asked for, and not through the proxy.
    let given = [asking.as_slice(), &[("MAILWRIGHT_SERVICE", "http://mail.example.com")]].concat();
    ask(&repo, &proxy, &["plan", "dev", "--allow-clear-text"], &given).code(1);
    assert!(github.seen().contains("the-asking-token") && !proxy.seen().contains("the-asking-token"));
}

#[test]
fn a_service_on_this_machine_is_never_reached_through_a_proxy() {
    let mut repo = TestRepository::small();
    repo.serve();
    let (address, token) = (repo.address().to_owned(), repo.token().to_owned());
    let port = address.rsplit(':').next().unwrap();
    let proxy = Recorder::start();
    for host in ["127.0.0.1", "127.1", "0x7f.1", "localhost", "LOCALHOST.", "mail.localhost", "[::ffff:127.0.0.1]"] {
        let address = format!("http://{host}:{port}");
        let variables = [("MAILWRIGHT_SERVICE", address.as_str()), ("MAILWRIGHT_TOKEN", token.as_str())];
        let output = ask(&repo, &proxy, &["status", "dev"], &variables).code(0);
        assert!(output.stdout.contains("generation"), "{host}: {}", output.stdout);
    }
    assert_eq!(proxy.seen(), "");
    // A value that only looks like a loopback address gets no token in clear text.
    for host in ["127.0.0.1.example.com", "localhost.example.com", "0.0.0.0", "[::ffff:128.0.0.1]", "mylocalhost"] {
        let address = format!("http://{host}:{port}");
        let variables = [("MAILWRIGHT_SERVICE", address.as_str()), ("MAILWRIGHT_TOKEN", token.as_str())];
        let output = ask(&repo, &proxy, &["status", "dev"], &variables).code(1);
        assert!(output.stderr.contains("MW0253"), "{host}: {}", output.stderr);
    }
    assert_eq!(proxy.seen(), "");
}

#[test]
fn a_redirect_takes_the_token_nowhere() {
    let (elsewhere, proxy) = (Recorder::start(), Recorder::start());
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let head =
            format!("HTTP/1.1 {status}\r\nMailwright-API-Version: 1\r\nContent-Length: 0\r\nConnection: close\r\n");
        let service = Recorder::answering(format!("{head}Location: {}/v1/service\r\n\r\n", elsewhere.address()));
        let repo = naming(&service.address());
        ask(&repo, &proxy, &["status", "dev"], &[]).code(1);
        assert!(service.seen().contains(TOKEN));
    }
    assert_eq!((elsewhere.seen(), proxy.seen()), <_>::default());
}

#[test]
fn a_watch_begins_only_with_an_origin() {
    let proxy = Recorder::start();
    let repo = naming("http://mail.example.com");
    let watch = ["watch", "--once", "--allow-clear-text", "--data", "memory"];
    let output = ask(&repo, &proxy, &watch, &[]).code(1);
    assert!(output.stderr.contains("MW0046"), "{}", output.stderr);
    assert_eq!(proxy.seen(), "");
    let output = ask(&repo, &proxy, &watch, &[("MAILWRIGHT_TOKEN_ORIGINS", "https://other.example.com")]).code(1);
    assert!(output.stdout.contains("MW0047"), "{}{}", output.stdout, output.stderr);
    assert_eq!(proxy.seen(), "");
    ask(&repo, &proxy, &watch, &[("MAILWRIGHT_TOKEN_ORIGINS", "http://mail.example.com")]).code(1);
    assert!(proxy.seen().contains(TOKEN));
}

#[test]
fn text_of_a_service_cannot_control_the_terminal() {
    const HOSTILE: &str = "one\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}two\u{2066}\nNo changes. The service holds what the files say.\r\u{1b}[8m";
    let problem = json!({
        "type": "about:blank", "title": HOSTILE, "status": 422, "detail": HOSTILE, "code": "MW0219", "remedy": HOSTILE,
        "violations": [{ "pointer": HOSTILE, "code": "MW0104", "message": HOSTILE, "remedy": HOSTILE }],
    })
    .to_string();
    let head = "HTTP/1.1 422 Unprocessable Content\r\nMailwright-API-Version: 1\r\nContent-Type: application/problem+json\r\nConnection: close\r\n";
    let service = Recorder::answering(format!("{head}Content-Length: {}\r\n\r\n{problem}", problem.len()));
    let repo = naming(&service.address());
    let proxy = Recorder::start();
    for arguments in [
        &["plan", "dev"][..],
        &["plan", "dev", "--format", "json"],
        &["plan", "*", "--format", "markdown"],
        &["status", "dev"],
        &["status", "*"],
        &["apply", "dev", "--yes", "--skip-verify"],
        &["outbox", "status", "dev"],
        &["watch", "--once", "--data", "memory"],
    ] {
        let output = ask(&repo, &proxy, arguments, &[]);
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(text.contains("\\u001b[2J") && text.contains("\\u202e"), "{arguments:?}: {text}");
        let hidden =
            |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!text.contains(hidden), "{arguments:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("No changes.")), "{arguments:?}: {text}");
    }
}

#[test]
fn a_service_that_never_ends_a_list_is_left() {
    let mut repo = TestRepository::small();
    repo.serve();
    let audit = repo.http("GET", "/v1/audit?limit=100", &[], b"").body;
    for (body, arguments) in [
        (r#"{"messages":[],"nextBefore":5}"#, &["outbox", "cancel", "dev", "--status", "queued", "--yes"][..]),
        (audit.as_str(), &["audit", "list", "dev"]),
    ] {
        let head =
            "HTTP/1.1 200 OK\r\nMailwright-API-Version: 1\r\nContent-Type: application/json\r\nConnection: close\r\n";
        let service = Recorder::answering(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
        let mut command = repo.command(arguments);
        command.env("MAILWRIGHT_SERVICE", service.address());
        let output = run_command(command).code(1);
        assert!(output.stderr.contains("MW0208") && output.stderr.contains("again"), "{}", output.stderr);
    }
}

#[test]
fn a_plan_says_that_the_files_name_another_service() {
    let mut repo = TestRepository::small();
    repo.serve();
    let say = |repo: &TestRepository, address: &str| {
        repo.write(
            "environments/dev/environment.yaml",
            format!("companies: [EDU1]\nservice: {{ address: '{address}' }}\n"),
        );
    };
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(repo.folder.path()).args(["-c", "user.name=A", "-c", "user.email=a@example.com"]);
        command.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        run_command(command).code(0);
    };
    say(&repo, "https://mail.example.com");
    git(&["init", "--quiet", "."]);
    git(&["add", "environments"]);
    git(&["commit", "--quiet", "-m", "one"]);
    let address = repo.address().to_owned();
    let plan = |more: &[&str]| {
        let arguments = [&["plan", "dev", "--since", "HEAD"], more].concat();
        repo.run(&arguments).code(0).stdout
    };
    assert!(!plan(&[]).contains("another service"));
    say(&repo, &address);
    let words = format!("`{address}` instead of `https://mail.example.com`");
    assert!(plan(&[]).contains(&words), "{}", plan(&[]));
    let markdown = plan(&["--format", "markdown"]);
    assert!(
        markdown.contains("> [!CAUTION]\n> the files name another service than") && markdown.contains(&words),
        "{markdown}"
    );
    let document: serde_json::Value = serde_json::from_str(&plan(&["--format", "json"])).unwrap();
    let moved =
        if document["moved"].is_object() { &document["moved"] } else { &document["environments"]["dev"]["moved"] };
    assert_eq!((&moved["from"], &moved["to"]), (&json!("https://mail.example.com"), &json!(address)));
}

#[test]
fn a_pull_request_with_a_token_that_may_apply_is_warned_of() {
    let mut repo = TestRepository::small();
    repo.serve();
    for (role, variable, warned) in [
        ("deployer", Some(("GITHUB_EVENT_NAME", "pull_request")), true),
        ("admin", Some(("CI_MERGE_REQUEST_IID", "7")), true),
        ("planner", Some(("GITHUB_EVENT_NAME", "pull_request")), false),
        ("planner", Some(("SYSTEM_PULLREQUEST_PULLREQUESTID", "7")), false),
        ("deployer", Some(("GITHUB_EVENT_NAME", "push")), false),
        ("deployer", None, false),
    ] {
        let name = format!("{role}-{}", variable.map_or("none".to_owned(), |(name, value)| format!("{name}-{value}")));
        let token = repo.run(&["token", "create", "dev", "--name", &name, "--role", role]).code(0).stdout;
        let mut command = repo.command(&["plan", "dev"]);
        command.env("MAILWRIGHT_TOKEN", token.trim());
        for other in ["GITHUB_EVENT_NAME", "CI_MERGE_REQUEST_IID", "SYSTEM_PULLREQUEST_PULLREQUESTID"] {
            command.env_remove(other);
        }
        command.envs(variable);
        let output = run_command(command).code(0);
        assert_eq!(output.stderr.contains("may apply"), warned, "{role} {variable:?}: {}", output.stderr);
    }
}

#[test]
fn text_of_others_cannot_reverse_a_line() {
    const TURNED: &str = "inv\u{202e}fdp.exe\u{2066}\u{feff}";
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let name = format!("@octocat|`{TURNED}");
    let token = repo.run(&["token", "create", "dev", "--name", &name, "--role", "admin"]).code(0).stdout;
    let mut repo = repo;
    if let Some(service) = &mut repo.service {
        token.trim().clone_into(&mut service.token);
    }
    let message = json!({
        "company": "EDU1", "function": "default", "to": ["someone@example.com"], "subject": TURNED, "text": TURNED,
        "document": { "type": TURNED, "number": TURNED },
    });
    let sent = repo.http("POST", "/v1/messages", &[], message.to_string().as_bytes());
    assert_eq!(sent.status, 202, "{}", sent.body);
    let id = sent.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(repo.patch("relay", &json!({ "description": "by hand" })).status, 200);
    for arguments in [
        &["outbox", "list", "dev"][..],
        &["outbox", "list", "dev", "--format", "json"],
        &["outbox", "show", "dev", &id],
        &["token", "list", "dev"],
        &["history", "dev"],
        &["blame", "dev", "relay"],
        &["drift", "dev"],
        &["plan", "dev"],
        &["plan", "dev", "--format", "markdown"],
        &["plan", "dev", "--format", "json"],
        &["status", "dev"],
    ] {
        let output = repo.run(arguments);
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{feff}']), "{arguments:?}: {text:?}");
        if arguments.contains(&"json") {
            serde_json::from_str::<serde_json::Value>(&output.stdout).unwrap();
        }
        if arguments.contains(&"markdown") {
            assert!(text.contains("`@octocat\\|'inv\\u202efdp.exe"), "{text}");
        }
    }
}
