//! `mailwright verify` and the gate before an apply, through the binary and the running service.

use crate::support::{
    own::own_loopback,
    repository::TestRepository,
    sandbox::{DESKTOP, DIRECT, READER, SECRET, Sandbox, WEB, delegate, direct, good},
};
use serde_json::{Value, json};

/// A repository with one direct profile, `documents`, whose tenant is the sandbox's.
fn create_repo(sandbox: &Sandbox) -> TestRepository {
    let repo = TestRepository::examples();
    for old in ["environments", "secrets"] {
        std::fs::remove_dir_all(repo.path(old)).unwrap();
    }
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\nunserved: [{ reason: trial }]\n");
    write(&repo, sandbox, "documents", &direct());
    repo.write("ca.pem", &sandbox.running.authority);
    let demo = include_str!("../../secrets/dev/recipients.txt");
    repo.write("secrets/dev/recipients.txt", demo);
    let identity = include_str!("../../secrets/dev/demo-identity.txt");
    repo.write("secrets/dev/demo-identity.txt", identity);
    repo.write("key.txt", identity);
    repo.pipe(&["secrets", "set", "dev", "documents/secret"], SECRET.as_bytes()).code(0);
    repo
}

fn write(repo: &TestRepository, sandbox: &Sandbox, name: &str, profile: &Value) {
    let text = profile.to_string().replace("HERE", &sandbox.running.address);
    repo.write(&format!("environments/dev/profiles/{name}.json"), text);
}

fn local<'a>(more: &[&'a str], dns: &'a str) -> Vec<&'a str> {
    [&["verify", "dev", "--local", "-i", "key.txt", "--outgoing-ca-file", "ca.pem", "--dns-server", dns], more].concat()
}

fn without_consent() -> Value {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!([]);
    scenario
}

#[test]
fn the_exit_code_reflects_the_findings() {
    let sandbox = Sandbox::start(without_consent());
    let repo = create_repo(&sandbox);
    let dns = sandbox.running.dns.to_string();
    let run = |more: &[&str]| repo.run(&local(more, &dns));
    let found = run(&[]).code(3);
    assert!(found.stdout.contains("at        environments/dev/profiles/documents.json:1:"), "{}", found.stdout);
    assert!(found.stdout.contains("mailwright verify dev documents --probe"), "{}", found.stdout);
    sandbox.put(&good());
    let clean = run(&[]).code(0);
    assert!(clean.stdout.contains("level 2 of 4: credential"), "{}", clean.stdout);
    assert!(clean.stdout.contains("An unknown check was not completed and is not a pass"), "{}", clean.stdout);
    run(&["--fail-on", "warning"]).code(0);
    assert!(
        clean.stdout.lines().any(|line| line.contains(" unknown, ") && line.contains(" in 1 profile;")),
        "{}",
        clean.stdout
    );
    run(&["--fail-on", "unknown"]).code(3);
    let mut excess = good();
    excess["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    sandbox.put(&excess);
    run(&[]).code(0);
    run(&["--fail-on", "warning"]).code(3);
    assert!(run(&["documnets"]).code(1).stderr.contains("Did you mean `documents`?"));
    // Without the key the rest is still checked, and the finding says what is missing.
    let mut command = repo.command(&["verify", "dev", "--local", "--outgoing-ca-file", "ca.pem", "--dns-server", &dns]);
    command.env("HOME", repo.path("empty-home"));
    let keyless = crate::support::repository::run_command(command).code(0);
    assert!(keyless.stdout.contains("unknown VERIFY-SECRET"), "{}", keyless.stdout);
}

#[test]
fn every_format_says_the_same() {
    let sandbox = Sandbox::start(without_consent());
    let repo = create_repo(&sandbox);
    let dns = sandbox.running.dns.to_string();
    let run = |format: &str| repo.run(&local(&["--format", format], &dns)).code(3).stdout;
    let report: Value = serde_json::from_str(&run("json")).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../schema/verify-report.schema.json")).unwrap();
    let validator = jsonschema::options().build(&schema).unwrap();
    let problems: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}");
    let findings = report["profiles"][0]["findings"].as_array().unwrap();
    let open: Vec<&Value> = findings.iter().filter(|finding| finding["verdict"] != "pass").collect();
    let consent = open.iter().find(|finding| finding["id"] == "GRAPH-CONSENT").unwrap();
    assert_eq!(
        (&consent["verdict"], &consent["severity"]),
        (&json!("unknown"), &json!("error")),
        "Exchange may grant it"
    );

    let sarif: Value = serde_json::from_str(&run("sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), open.len());
    assert!(results.iter().all(|result| result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        == "environments/dev/profiles/documents.json"));

    let junit = run("junit");
    assert_eq!(junit.matches("<testcase ").count(), findings.len());
    assert_eq!(junit.matches("<failure ").count(), 1);
    let github = run("github");
    assert_eq!(github.lines().filter(|line| line.starts_with("::")).count(), open.len());
    assert!(github.contains("::error file=environments/dev/profiles/documents.json,line=1,"), "{github}");
    let markdown = run("markdown");
    assert_eq!(markdown.matches("<details>").count(), open.len());
    for text in [&junit, &github, &markdown] {
        assert!(text.contains("GRAPH-CONSENT"));
        assert!(!text.contains(SECRET) && !text.contains("eyJ"));
    }
}

#[test]
fn a_reader_signs_in_by_device_code_and_a_token_goes_nowhere_else() {
    let mut scenario = good();
    scenario["tenants"][0]["approvesDeviceCodes"] = json!("alice@contoso.example");
    scenario["tenants"][0]["applications"][3]["publicFlows"] = json!(true);
    scenario["tenants"][0]["applications"][3]["consented"] = json!(["Application.Read.All", "Directory.Read.All"]);
    let (sandbox, other) = (Sandbox::start(scenario), Sandbox::start(good()));
    let repo = create_repo(&sandbox);
    write(&repo, &sandbox, "desktop", &delegate(DESKTOP));
    let dns = sandbox.running.dns.to_string();
    let output = repo.run(&local(&["--sign-in", READER], &dns)).code(0);
    assert!(output.stderr.contains("/sandbox/device and enter the code "), "{}", output.stderr);
    assert!(output.stdout.contains(" 3 reader ") || output.stdout.contains("3 reader"), "{}", output.stdout);

    // A profile names another host: the token is for the first one's Graph, and the second one never sees it.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let token = runtime.block_on(crate::support::sandbox::reader_token(&sandbox.running));
    write(&repo, &other, "web", &delegate(WEB));
    let both = format!("{}{}", sandbox.running.authority, other.running.authority);
    repo.write("ca.pem", both);
    let mut command = repo.command(&local(&["web"], &dns));
    command.env("MAILWRIGHT_READER_TOKEN", secrecy::ExposeSecret::expose_secret(&token));
    let output = crate::support::repository::run_command(command).code(0);
    assert!(output.stdout.contains("seen      no token that may read it"), "{}", output.stdout);
    let asked = other.get("requests");
    assert!(asked.as_array().unwrap().iter().all(|request| !request["path"].as_str().unwrap().contains("v1.0/appl")));
}

/// Without the reader, checks would be unknown for a reason that no finding names.
#[test]
fn a_reader_whose_file_cannot_be_read_is_reported() {
    use mailwright::{config::Repository, model::Code, operations::gate};
    let sandbox = Sandbox::start(good());
    let repo = create_repo(&sandbox);
    repo.write(
        "environments/dev/environment.yaml",
        format!(
            "companies: [EDU1]\nunserved: [{{ reason: trial }}]\nverify:\n  reader:\n    tenant: contoso.onmicrosoft.com\n    client: {READER}\n    credential: {{ clientSecret: {{ secret: reader/secret }} }}\n"
        ),
    );
    repo.pipe(&["secrets", "set", "dev", "reader/secret"], b"reader-secret").code(0);
    let root = repo.folder.path();
    let repository = std::sync::Arc::new(Repository::open(root).unwrap());
    let desired = repository.load(&"dev".parse().unwrap()).unwrap();
    let request = || gate::profile_request(root, &desired, std::collections::BTreeMap::new());
    assert_eq!(request().unwrap().secrets.len(), 1);
    // The file is lost after the others were read.
    repo.remove("secrets/dev/reader/secret.age");
    let problem = request().unwrap_err();
    assert_eq!(problem.code, Code::Unreadable);
    assert!(problem.message.contains("`secrets/dev/reader/secret.age`"), "{}", problem.message);
}

#[test]
fn the_environments_own_reader_reads_for_its_own_tenant() {
    let (sandbox, other) = (Sandbox::start(good()), Sandbox::start(good()));
    let mut repo = create_repo(&sandbox);
    let reader = |repo: &TestRepository, address: &str, tenant: &str| {
        repo.write(
            "environments/dev/environment.yaml",
            format!(
                "companies: [EDU1]\nunserved: [{{ reason: trial }}]\nverify:\n  reader:\n    cloud: {{ custom: {{ signIn: {address}, graph: {address} }} }}\n    tenant: {tenant}\n    client: {READER}\n    credential: {{ clientSecret: {{ secret: reader/secret }} }}\n"
            ),
        );
    };
    write(&repo, &sandbox, "desktop", &delegate(DESKTOP));
    let dns = sandbox.running.dns.to_string();
    let run = |repo: &TestRepository, more: &[&str]| repo.run(&local(more, &dns));

    // Its secret is missing, sealed, counted.
    reader(&repo, &sandbox.running.address, "contoso.onmicrosoft.com");
    let missing = repo.run(&["validate", "dev"]).code(1);
    assert!(missing.stdout.contains("environment.yaml:8:") && missing.stdout.contains("secrets/dev/reader/secret.age"));
    repo.pipe(&["secrets", "set", "dev", "reader/secret"], b"reader-secret").code(0);
    let listed = repo.run(&["secrets", "list", "dev"]).code(0).stdout;
    assert!(listed.contains("verify.reader"), "{listed}");

    // It reads for the tenant under whichever name.
    let output = run(&repo, &["desktop"]).code(0);
    assert!(output.stdout.contains(" 3 reader "), "{}", output.stdout);

    // Through the service only for a token that may apply; other tokens cannot make the service use it.
    let ca = repo.path("ca.pem");
    repo.write("ca.pem", format!("{}{}", sandbox.running.authority, other.running.authority));
    repo.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns]);
    // What is live is contacted for a planner as well.
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let planner = repo.run(&["token", "create", "dev", "--name", "ci", "--role", "planner"]).code(0).stdout;
    let output = repo.run(&["verify", "dev", "desktop"]).code(0);
    assert!(output.stdout.contains(" 3 reader "), "{}", output.stdout);
    let mut command = repo.command(&["verify", "dev", "desktop"]);
    command.env("MAILWRIGHT_TOKEN", planner.trim());
    let output = crate::support::repository::run_command(command).code(0);
    // What the reader saw a moment ago still counts; the report says that it could not be asked now.
    assert!(output.stdout.contains(" 3 reader "), "{}", output.stdout);
    assert!(output.stdout.contains("VERIFY-SECRET: the environment's reader: "), "{}", output.stdout);
    assert!(
        output.stdout.contains("only a caller with the right `apply` in `changes` (built-in role `deployer`)"),
        "{}",
        output.stdout
    );

    // Its secret goes to no other host, whatever the files say: the plan reports it, and verify does not send it.
    reader(&repo, &other.running.address, "contoso.onmicrosoft.com");
    let plan = repo.run(&["plan", "dev"]).code(1);
    assert!(plan.stdout.contains("verify.reader: this secret would go to a new place"), "{}", plan.stdout);
    write(&repo, &other, "web", &delegate(WEB));
    let output = repo.run(&["verify", "dev", "web"]).code(0);
    assert!(output.stdout.contains("would travel to client"), "{}", output.stdout);
    let here = run(&repo, &["web"]).code(0);
    assert!(here.stdout.contains("would travel to client"), "{}", here.stdout);
    assert!(!other.get("requests").to_string().contains("/token"));
    repo.remove("environments/dev/profiles/web.json");
    reader(&repo, &sandbox.running.address, "contoso.onmicrosoft.com");

    // A rejected secret of the reader is reported for the environment, and the rest is still checked.
    repo.pipe(&["secrets", "set", "dev", "reader/secret"], b"another-secret").code(0);
    let refused = run(&repo, &["desktop"]).code(0);
    assert!(refused.stdout.contains("warning GRAPH-SECRET-WRONG: the environment's reader: "), "{}", refused.stdout);
    assert!(refused.stdout.contains("at        environments/dev/environment.yaml:8:"), "{}", refused.stdout);
    assert!(refused.stdout.contains("mailwright secrets set dev reader/secret"), "{}", refused.stdout);

    // A waiver can accept that, too, and is then in use.
    let path = "environments/dev/environment.yaml";
    let waiver = "  waivers: [{ finding: GRAPH-SECRET-WRONG, reason: known, expires: \"2099-01-01\" }]\n";
    repo.write(path, format!("{}{waiver}", repo.read(path)));
    let waived = run(&repo, &[]).code(0).stdout;
    assert!(waived.contains(", 1 waived in") && !waived.contains("WAIVER-UNUSED"), "{waived}");
    reader(&repo, &sandbox.running.address, "contoso.onmicrosoft.com");

    // A profile that names other hosts is not read for, and its host never hears of the reader.
    repo.pipe(&["secrets", "set", "dev", "reader/secret"], b"reader-secret").code(0);
    write(&repo, &other, "web", &delegate(WEB));
    repo.write("ca.pem", format!("{}{}", sandbox.running.authority, other.running.authority));
    let output = run(&repo, &["web"]).code(0);
    assert!(output.stdout.contains("seen      no token that may read it"), "{}", output.stdout);
    let asked = other.get("requests").to_string();
    assert!(!asked.contains("/token") && !asked.contains("v1.0/appl"), "{asked}");

    // An incomplete setting is reported with its place.
    repo.write(
        "environments/dev/environment.yaml",
        "companies: [EDU1]\nunserved: [{ reason: trial }]\nverify:\n  reader: { tenant: common, client: x }\n",
    );
    let wrong = repo.run(&["validate", "dev"]).code(1).stdout;
    assert!(wrong.contains("environment.yaml:4:") && wrong.contains("`credential` is missing"), "{wrong}");
}

/// A proxy as companies have it: it knows CONNECT and nothing else. Gives its address, and who was asked for so far.
fn proxy(answer: &'static str) -> (std::net::SocketAddr, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind((own_loopback(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let seen = std::sync::Arc::clone(&seen);
            std::thread::spawn(move || {
                let mut lines = BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                while lines.next().is_some_and(|line| !line.is_empty()) {}
                seen.lock().unwrap().push(first);
                let mut client = client;
                client.write_all(answer.as_bytes()).unwrap();
            });
        }
    });
    (address, asked)
}

#[test]
fn the_connection_may_use_a_proxy() {
    let sandbox = Sandbox::start(good());
    let repo = create_repo(&sandbox);
    let dns = sandbox.running.dns.to_string();
    let through = |proxy: std::net::SocketAddr| {
        let mut command = repo.command(&local(&[], &dns));
        command.env("HTTPS_PROXY", format!("http://{proxy}")).env_remove("NO_PROXY").env_remove("no_proxy");
        crate::support::repository::run_command(command)
    };
    // This machine is not reached through one.
    let (address, asked) = proxy("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    let output = through(address).code(0);
    assert!(output.stdout.contains(" 2 credential "), "{}", output.stdout);
    assert_eq!(asked.lock().unwrap().len(), 0);

    let path = "environments/dev/profiles/documents.json";
    repo.write(path, repo.read(path).replace("https://localhost:", "https://login.example.test:"));
    // The secret was sealed for another host, which is an error of its own.
    let output = through(address).code(3);
    assert!(output.stdout.contains("unknown GRAPH-REACHABLE"), "{}", output.stdout);
    assert!(output.stdout.contains("HTTPS_PROXY"), "{}", output.stdout);
    let asked = asked.lock().unwrap().clone();
    assert!(!asked.is_empty() && asked.iter().all(|line| line.starts_with("CONNECT login.example.test:")), "{asked:?}");
}

#[test]
fn the_report_is_json_even_if_nothing_could_be_checked() {
    let sandbox = Sandbox::start(good());
    let repo = create_repo(&sandbox);
    let output = repo.run(&["verify", "dev", "absent", "--local", "--format", "json"]).code(1);
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(document["error"]["message"].as_str().unwrap().contains("has no profile `absent`"), "{document}");
}

#[test]
fn waivers_apply_until_they_expire_and_unused_ones_are_reported() {
    let sandbox = Sandbox::start(without_consent());
    let repo = create_repo(&sandbox);
    let dns = sandbox.running.dns.to_string();
    let with = |waivers: &str| {
        repo.write(
            "environments/dev/environment.yaml",
            format!("companies: [EDU1]\nunserved: [{{ reason: trial }}]\nverify:\n  waivers:\n{waivers}"),
        );
        repo.run(&local(&["--format", "json"], &dns))
    };
    let waived =
        with("    - { finding: GRAPH-CONSENT, profile: documents, reason: in a week, expires: \"2099-01-01\" }\n")
            .code(0);
    let report = waived.json();
    let consent = |report: &Value| {
        let findings = report["profiles"][0]["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["id"] == "GRAPH-CONSENT").unwrap()
    };
    assert_eq!(consent(&report)["waived"], "in a week (until 2099-01-01)");
    assert_eq!(report["findings"], json!([]));

    let expired = with("    - { finding: GRAPH-CONSENT, reason: last year, expires: \"2025-01-01\" }\n").code(3).json();
    assert_eq!(consent(&expired)["waived"], Value::Null);
    let mut finding = expired["findings"][0].clone();
    // It counts until the end of its day, whichever day the test runs on.
    let expected = finding["expected"].take();
    assert!(expected.as_str().unwrap().ends_with(" or later"), "{expected}");
    assert_eq!(
        finding,
        json!({
            "id": "VERIFY-WAIVER-EXPIRED", "verdict": "fail", "severity": "warning", "level": "offline",
            "pointer": "/verify/waivers/0",
            "place": { "file": "environments/dev/environment.yaml", "line": 5, "column": finding["place"]["column"] },
            "message": "the waiver for GRAPH-CONSENT expired on 2025-01-01",
            "seen": "expires: 2025-01-01", "expected": null,
            "remedy": ["Correct the finding that it waives, or review the reason and set a new date."],
        })
    );

    let unused = with(
        "    - { finding: GRAPH-CONSENT, reason: known, expires: \"2099-01-01\" }\n    - { finding: SMTP-NAME, reason: gone, expires: \"2099-01-01\" }\n",
    )
    .code(0)
    .json();
    assert_eq!(unused["findings"][0]["id"], "VERIFY-WAIVER-UNUSED");
    assert_eq!(unused["findings"][0]["place"]["line"], 6);

    let unmatched =
        with("    - { finding: GRAPH-CONSENT, profile: documnets, reason: known, expires: \"2099-01-01\" }\n")
            .code(3)
            .json();
    assert_eq!(
        unmatched["findings"][0]["remedy"],
        json!(["The profile `documnets` does not exist. Did you mean `documents`?"])
    );
    let case = with("    - { finding: graph-consent, reason: known, expires: \"2099-01-01\" }\n").code(1);
    assert!(
        case.stdout.contains("this is not the id of a finding")
            || case.stderr.contains("this is not the id of a finding")
    );

    let day = with("    - { finding: GRAPH-CONSENT, reason: known, expires: \"2026-02-30\" }\n").code(1);
    assert!(day.stderr.contains("this day does not exist"), "{}", day.stderr);
}

#[test]
fn an_apply_passes_through_the_gate_and_the_audit_log_has_what_was_accepted() {
    let sandbox = Sandbox::start(without_consent());
    let mut repo = create_repo(&sandbox);
    let (ca, dns) = (repo.path("ca.pem"), sandbox.running.dns.to_string());
    repo.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns]);

    let stopped = repo.run(&["apply", "dev", "--yes"]).code(1);
    assert!(
        stopped.stderr.contains("MW0234") && stopped.stderr.contains("unknown GRAPH-CONSENT"),
        "{}",
        stopped.stderr
    );
    assert_eq!(repo.state()["generation"], 0);
    // The plan knows what was said of it.
    let plan = repo.run(&["plan", "dev", "--format", "json"]).code(0).json();
    let before = plan["verified"].as_array().unwrap();
    assert_eq!((&before[0]["profile"], &before[0]["current"]), (&json!("documents"), &json!(true)));
    assert_eq!(before[0]["last"]["errors"], 1, "an error that could not be checked stops an apply");
    assert!(before[0]["last"]["unknown"].as_u64() > Some(0), "{before:?}");
    let shown = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(shown.contains("Verify, last known:\n  documents: ") && shown.contains(" unknown, "), "{shown}");

    let stray = repo.run(&["apply", "dev", "--yes", "--allow-findings", "absent"]).code(1);
    assert!(stray.stderr.contains("the plan does not change `absent`"), "{}", stray.stderr);
    repo.run(&["apply", "dev", "--yes", "--allow-findings", "documents"]).code(0);
    let audit = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).stdout;
    assert!(audit.contains("\"findings\""), "{audit}");

    // After the correction the gate is open, and reports that.
    sandbox.put(&good());
    repo.write(
        "environments/dev/profiles/documents.json",
        repo.read("environments/dev/profiles/documents.json")
            .replace("\"functions\"", "\"description\":\"changed\",\"functions\""),
    );
    let done = repo.run(&["apply", "dev", "--yes"]).code(0);
    assert!(done.stderr.contains("Verify: ") && done.stderr.contains("in 1 profile;"), "{}", done.stderr);
    let last = repo.http("GET", "/v1/verify/documents", &[], b"");
    assert_eq!(last.json()["reached"], "credential");

    // A saved plan goes the same way.
    sandbox.put(&without_consent());
    repo.write(
        "environments/dev/profiles/documents.json",
        repo.read("environments/dev/profiles/documents.json").replace("changed", "again"),
    );
    repo.run(&["plan", "dev", "--out", "./dev.plan"]).code(0);
    let late = repo.run(&["apply", "./dev.plan", "--yes"]).code(1);
    assert!(late.stderr.contains("MW0234"), "{}", late.stderr);
    repo.run(&["apply", "./dev.plan", "--yes", "--skip-verify"]).code(0);
    let audit = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).stdout;
    assert!(audit.contains("\"unverified\""), "{audit}");

    let log = repo.service.as_ref().unwrap().log.lock().unwrap().clone();
    assert!(!log.contains(SECRET) && !log.contains("eyJ0"), "the log has a secret or a token");
}

/// Results of a reader remain valid until a later reader contradicts them or the settings change: a run with fewer
/// permissions discards nothing.
#[test]
fn the_gate_keeps_results_for_the_same_settings() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][1]["redirects"] = json!({ "web": ["https://localhost"] });
    let sandbox = Sandbox::start(scenario);
    let mut repo = create_repo(&sandbox);
    let (ca, dns) = (repo.path("ca.pem"), sandbox.running.dns.to_string());
    repo.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns]);
    write(&repo, &sandbox, "desktop", &delegate(DESKTOP));
    let token = sandbox.runtime.block_on(crate::support::sandbox::reader_token(&sandbox.running));
    let by_reader = || {
        let mut command = repo.command(&["verify", "dev", "desktop"]);
        command.env("MAILWRIGHT_READER_TOKEN", secrecy::ExposeSecret::expose_secret(&token));
        crate::support::repository::run_command(command)
    };
    let last = || {
        let list = repo.http("GET", "/v1/verify", &[], b"").json();
        let planned = list["planned"]["desktop"][0].clone();
        if planned.is_null() { list["profiles"]["desktop"].clone() } else { planned }
    };
    let found = by_reader().code(3);
    assert!(found.stdout.contains("error GRAPH-REDIRECT-NATIVE"), "{}", found.stdout);
    // The gate asks without a reader, and a verify by hand does.
    for _ in 0..2 {
        let stopped = repo.run(&["apply", "dev", "--yes"]).code(1);
        assert!(stopped.stderr.contains("MW0234"), "{}", stopped.stderr);
        assert!(stopped.stderr.contains("error GRAPH-REDIRECT-NATIVE"), "{}", stopped.stderr);
        assert!(stopped.stderr.contains("when verify reached level `reader`"), "{}", stopped.stderr);
        let again = repo.run(&["verify", "dev", "desktop", "--format", "json"]).code(3).json();
        let findings = again["profiles"][0]["findings"].as_array().unwrap();
        assert!(findings.iter().any(|f| f["id"] == "GRAPH-REDIRECT-NATIVE" && f["provedAt"].is_string()), "{again:#}");
        assert_eq!((&last()["reached"], &last()["errors"]), (&json!("reader"), &json!(1)));
    }
    // A description is nothing that a check reads: what was proved still counts.
    let first = repo.read("environments/dev/profiles/desktop.json");
    repo.write(
        "environments/dev/profiles/desktop.json",
        first.replace("\"functions\"", "\"description\":\"x\",\"functions\""),
    );
    repo.run(&["verify", "dev", "desktop"]).code(3);
    repo.write("environments/dev/profiles/desktop.json", &first);
    repo.run(&["verify", "dev", "desktop"]).code(3);
    // Corrected, and seen as far: that decides.
    sandbox.put(&good());
    repo.run(&["verify", "dev", "desktop"]).code(3);
    by_reader().code(0);
    repo.run(&["apply", "dev", "--yes"]).code(0);
    assert_eq!((&last()["reached"], &last()["errors"]), (&json!("reader"), &json!(0)));
}

#[test]
fn a_planner_cannot_make_the_service_send_to_new_destinations() {
    let (sandbox, other) = (Sandbox::start(good()), Sandbox::start(good()));
    let mut repo = create_repo(&sandbox);
    let both = format!("{}{}", sandbox.running.authority, other.running.authority);
    repo.write("ca.pem", both);
    let (ca, dns) = (repo.path("ca.pem"), sandbox.running.dns.to_string());
    repo.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns]);
    let planner = repo.run(&["token", "create", "dev", "--name", "ci", "--role", "planner"]).code(0).stdout;
    let verify = |token: &str| {
        let mut command = repo.command(&["verify", "dev", "--format", "json"]);
        command.env("MAILWRIGHT_TOKEN", token.trim());
        let output = crate::support::repository::run_command(command);
        serde_json::from_str::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{}{}", output.stdout, output.stderr))
    };
    let ids = |report: &Value| -> Vec<String> {
        let findings = report["profiles"][0]["findings"].as_array().unwrap();
        findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
    };
    // Nothing is live yet: the planner's request contacts no server.
    let before = sandbox.get("requests").as_array().unwrap().len();
    assert_eq!(ids(&verify(&planner)), ["VERIFY-HOST"]);
    assert_eq!(sandbox.get("requests").as_array().unwrap().len(), before);
    // A token that may apply has it checked with the secret that is only in the files.
    let admin = repo.token().to_owned();
    assert!(ids(&verify(&admin)).contains(&"GRAPH-SIGN-IN".to_owned()));
    repo.run(&["apply", "dev", "--yes"]).code(0);
    assert!(ids(&verify(&planner)).contains(&"GRAPH-SIGN-IN".to_owned()));
    // The secret is bound to its destination: for another host it is not opened at all.
    write(&repo, &other, "documents", &direct());
    for token in [&planner, &admin] {
        let report = verify(token);
        assert!(!ids(&report).contains(&"GRAPH-SIGN-IN".to_owned()), "{report}");
    }
    let asked = other.get("requests");
    assert!(
        asked.as_array().unwrap().iter().all(|request| !request["path"].as_str().unwrap().contains("token")),
        "{asked}"
    );
    // A probe sends mail, which a planner may not.
    let mut command = repo.command(&["verify", "dev", "--probe"]);
    command.env("MAILWRIGHT_TOKEN", planner.trim());
    assert!(crate::support::repository::run_command(command).code(1).stderr.contains("a probe sends mail"));
}

#[test]
fn an_exported_registration_needs_no_network() {
    let sandbox = Sandbox::start(good());
    let repo = create_repo(&sandbox);
    write(&repo, &sandbox, "web", &delegate(WEB));
    let export = json!({
        "appId": WEB, "signInAudience": "AzureADMyOrg", "web": { "redirectUris": ["https://erp.contoso.example/web"] },
        "requiredResourceAccess": [],
    });
    repo.write("app.json", export.to_string());
    let output = repo.run(&["verify", "dev", "--manifest", "app.json"]).code(3);
    assert!(
        output.stdout.contains("error GRAPH-REDIRECT-SPA") && output.stdout.contains("0 requests."),
        "{}",
        output.stdout
    );
    assert_eq!(sandbox.get("requests"), json!([]));
    repo.write("app.json", json!({ "appId": DIRECT.replace('d', "f") }).to_string());
    let other = repo.run(&["verify", "dev", "--manifest", "app.json"]).code(1);
    assert!(other.stderr.contains("the manifests do not contain the registration of any profile"));
    // What else has an `appId` is refused as what it is.
    for (document, what) in [
        (
            json!({ "appId": WEB, "servicePrincipalType": "Application", "replyUrls": [], "signInAudience": "AzureADMyOrg" }),
            "this is a service principal",
        ),
        (
            json!([{ "appId": WEB, "@odata.type": "#microsoft.graph.servicePrincipal", "displayName": "Web" }]),
            "this is a service principal",
        ),
        (
            json!({ "appId": WEB, "displayName": "Web", "password": "canary-of-a-password", "tenant": "contoso.example" }),
            "this is a credential",
        ),
        (json!({ "appId": WEB, "displayName": "Web" }), "no other property of a registration"),
    ] {
        repo.write("app.json", document.to_string());
        let refused = repo.run(&["verify", "dev", "web", "--manifest", "app.json"]).code(1).stderr;
        assert!(refused.contains(what) && refused.contains(&format!("az ad app show --id {WEB}")), "{refused}");
        assert!(!refused.contains("canary"), "{refused}");
    }
}

#[test]
fn a_registration_exported_by_powershell_is_read_and_a_long_list_is_shortened() {
    let sandbox = Sandbox::start(good());
    let repo = create_repo(&sandbox);
    write(&repo, &sandbox, "web", &delegate(WEB));
    let graph = "00000003-0000-0000-c000-000000000000";
    let permissions: Vec<Value> =
        (0..716).map(|id| json!({ "id": format!("00000000-0000-0000-0000-{id:012}"), "type": "Scope" })).collect();
    let camel = json!({
        "appId": WEB, "signInAudience": "AzureADMyOrg", "web": { "redirectUris": ["https://erp.contoso.example/web"] },
        "requiredResourceAccess": [{ "resourceAppId": graph, "resourceAccess": permissions }],
        "passwordCredentials": [{ "keyId": "k", "endDateTime": "2020-01-01T00:00:00Z" }],
        "keyCredentials": [{ "keyId": "c", "customKeyIdentifier": "AQL/" }],
    });
    repo.write("app.json", camel.to_string());
    let text = repo.run(&["verify", "dev", "web", "--manifest", "app.json"]).code(3).stdout;
    assert!(text.contains("GRAPH-PERMISSION-EXCESS") && text.contains(" and 706 more"), "{text}");
    assert!(text.len() < 20_000, "{} bytes", text.len());
    let pascal: Vec<Value> =
        (0..716).map(|id| json!({ "Id": format!("00000000-0000-0000-0000-{id:012}"), "Type": "Scope" })).collect();
    let powershell = json!({
        "AppId": WEB, "SignInAudience": "AzureADMyOrg", "Web": { "RedirectUris": ["https://erp.contoso.example/web"] },
        "RequiredResourceAccess": [{ "ResourceAppId": graph, "ResourceAccess": pascal }],
        "PasswordCredentials": [{ "KeyId": "k", "EndDateTime": "/Date(1577836800000)/" }],
        "KeyCredentials": [{ "KeyId": "c", "CustomKeyIdentifier": [1, 2, 255] }], "Spa": null,
    });
    repo.write("powershell.json", powershell.to_string());
    assert_eq!(repo.run(&["verify", "dev", "web", "--manifest", "powershell.json"]).code(3).stdout, text);
    for (document, what) in [
        (
            json!({ "AppId": WEB, "AppRoleAssignments": [], "Oauth2PermissionScopes": [], "SignInAudience": "AzureADMyOrg" }),
            "this is a service principal",
        ),
        (json!({ "AppId": WEB, "ReplyUrls": [], "PasswordCredentials": [] }), "the output of a retired tool"),
        (
            json!({ "AppId": WEB, "SignInAudience": "x", "RequiredResourceAccess": ["Microsoft.Graph.Models.Access"] }),
            "ConvertTo-Json -Depth 10",
        ),
    ] {
        repo.write("app.json", document.to_string());
        let refused = repo.run(&["verify", "dev", "web", "--manifest", "app.json"]).code(1).stderr;
        assert!(refused.contains(what), "{refused}");
    }
}

#[test]
fn named_profiles_are_checked_and_given_values_are_used() {
    let sandbox = Sandbox::start(good());
    let repo = create_repo(&sandbox);
    write(&repo, &sandbox, "web", &delegate(WEB));
    let export = json!({
        "appId": WEB, "signInAudience": "AzureADMyOrg", "spa": { "redirectUris": ["https://erp.contoso.example/web"] },
        "displayName": "Bürö", "requiredResourceAccess": [],
    })
    .to_string();
    repo.write("app.json", &export);
    let named = repo.run(&["verify", "dev", "documents", "web", "--manifest", "app.json"]).code(1);
    assert!(named.stderr.contains("MW0214") && named.stderr.contains("`documents` has the client"), "{}", named.stderr);
    let all = repo.run(&["verify", "dev", "--manifest", "app.json"]);
    assert!(all.stderr.contains("Not checked with the manifests: `documents` has the client"), "{}", all.stderr);
    // An application that logs in by SMTP has a registration, but no check compares it.
    let oauth =
        json!({ "tenant": "contoso.example", "client": DIRECT, "credential": { "federatedTokenFile": "/run/token" } });
    let relay = json!({
        "provider": { "smtp": {
            "host": "smtp.office365.com", "port": 587, "encryption": "starttls", "username": "documents@contoso.example",
            "oauth": oauth,
        } },
        "from": { "address": "documents@contoso.example" }, "functions": ["default"], "appliesTo": "system-wide",
    });
    write(&repo, &sandbox, "relay", &relay);
    let named = repo.run(&["verify", "dev", "relay", "web", "--manifest", "app.json"]).code(1).stderr;
    assert!(named.contains("`relay` sends by SMTP") && !named.contains("no registration"), "{named}");

    // As PowerShell writes files.
    let wide = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xFEFF).chain(export.encode_utf16()).flat_map(order).collect()
    };
    for bytes in [wide(u16::to_le_bytes), wide(u16::to_be_bytes), [b"\xEF\xBB\xBF", export.as_bytes()].concat()] {
        repo.write("wide.json", bytes);
        let output = repo.run(&["verify", "dev", "web", "--manifest", "wide.json"]);
        assert_eq!(output.stdout, repo.run(&["verify", "dev", "web", "--manifest", "app.json"]).stdout);
        assert!(output.stdout.contains("GRAPH-PERMISSION"), "{}", output.stdout);
    }

    for ignored in [
        &["--manifest", "app.json", "--probe"][..],
        &["--manifest", "app.json", "--sign-in", READER],
        &["--manifest", "app.json", "--dns-server", "127.0.0.1:53"],
        &["--dns-server", "127.0.0.1:53"],
        &["--smtp-timeout", "3"],
        &["--identity", "key.txt"],
    ] {
        let output = repo.run(&[&["verify", "dev"], ignored].concat()).code(1);
        assert!(
            output.stderr.contains("MW0251") || output.stderr.contains("cannot be used with"),
            "{ignored:?}: {}",
            output.stderr
        );
    }
    let help = repo.run(&["verify", "--help"]).code(0).stdout;
    assert!(
        help.contains("--smtp-timeout") && !help.contains("--delivery-deadlines") && !help.contains("--probe-after")
    );
    let help = repo.run(&["serve", "--help"]).code(0).stdout;
    assert!(help.contains("--smtp-timeout") && help.contains("--delivery-deadlines") && help.contains("--probe-after"));

    // A delegate sends as the signed-in user, so a probe is not possible.
    let dns = sandbox.running.dns.to_string();
    let probed = repo.run(&local(&["web", "--probe"], &dns)).code(0);
    assert!(
        probed.stdout.contains("unknown GRAPH-PROBE: no mail was sent as a probe: a delegate"),
        "{}",
        probed.stdout
    );
}

#[test]
fn a_reader_that_cannot_sign_in_gets_the_reason() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][3]["publicFlows"] = json!(false);
    let sandbox = Sandbox::start(scenario);
    let repo = create_repo(&sandbox);
    let dns = sandbox.running.dns.to_string();
    write(&repo, &sandbox, "desktop", &delegate(DESKTOP));
    let failed = |arguments: &[&str]| repo.run(arguments).code(1).stderr;

    let stranger = failed(&["verify", "dev", "desktop", "--local", "-i", "key.txt", "--sign-in", READER]);
    assert!(stranger.contains("MW0350") && stranger.contains("--outgoing-ca-file FILE"), "{stranger}");
    let closed = failed(&local(&["desktop", "--sign-in", READER], &dns));
    assert!(closed.contains("--is-fallback-public-client true"), "{closed}");
    let unknown = failed(&local(&["desktop", "--sign-in", "0c0ffee0-0000-4000-8000-0000000000ff"], &dns));
    assert!(unknown.contains("0c0ffee0-0000-4000-8000-0000000000ff does not exist there"), "{unknown}");
    sandbox.fault(&json!({ "at": "/devicecode", "status": 500 }));
    let trouble = failed(&local(&["desktop", "--sign-in", READER], &dns));
    assert!(trouble.contains("HTTP 500") && trouble.contains("busy or failing"), "{trouble}");

    // Policies, guests and a busy host: each message names the remedy.
    let refused = |code: u32, word: &str| {
        json!({ "at": "/devicecode", "times": 1, "status": 400, "json": {
            "error": word, "error_description": format!("AADSTS{code}: Something."), "error_codes": [code],
        } })
    };
    for (fault, words) in [
        (refused(50_005, "interaction_required"), "A policy of the tenant blocks it"),
        (refused(50_097, "interaction_required"), "A policy of the tenant blocks it"),
        (refused(50_020, "invalid_grant"), "Sign in with an account of contoso.example"),
        (refused(50_105, "invalid_grant"), "Assign the user to the client"),
        (refused(50_076, "interaction_required"), "multifactor"),
        (refused(50_196, "invalid_grant"), "Sign in again in a few minutes"),
        (
            json!({ "at": "/devicecode", "times": 1, "status": 503, "retryAfter": 600 }),
            "Sign in again in a few minutes",
        ),
        (json!({ "at": "/devicecode", "times": 1, "status": 403, "body": "html" }), "HTTPS_PROXY"),
    ] {
        sandbox.put(&good());
        sandbox.fault(&fault);
        let text = failed(&local(&["desktop", "--sign-in", READER], &dns));
        assert!(text.contains("MW0350") && text.contains(words), "{fault}: {text}");
    }

    let mut elsewhere = delegate(DESKTOP);
    elsewhere["provider"]["microsoft-graph-delegate"]["tenant"] = json!("elsewhere.example");
    sandbox.put(&good());
    write(&repo, &sandbox, "desktop", &elsewhere);
    let nowhere = failed(&local(&["desktop", "--sign-in", READER], &dns));
    assert!(nowhere.contains("elsewhere.example does not exist in this cloud"), "{nowhere}");

    let relay = json!({
        "provider": { "smtp": { "host": "localhost", "port": 2525, "encryption": "none" } },
        "from": { "address": "documents@contoso.example" }, "functions": ["default"], "appliesTo": "system-wide",
    });
    write(&repo, &sandbox, "relay", &relay);
    let mail = failed(&local(&["relay", "--sign-in", READER], &dns));
    assert!(mail.contains("none of these profiles uses Microsoft Graph"), "{mail}");

    let mut command = repo.command(&local(&["documents"], &dns));
    command.env("MAILWRIGHT_READER_TOKEN", "an-opaque-token");
    let opaque = crate::support::repository::run_command(command).code(1).stderr;
    assert!(opaque.contains("MW0351") && opaque.contains("az account get-access-token"), "{opaque}");
    assert!(!opaque.contains("an-opaque-token"), "{opaque}");
}

/// The application of a second tenant.
const FABRIKAM: &str = "0c0ffee0-0000-4000-8000-0000000000f2";

#[test]
fn a_readers_token_reads_in_its_own_tenant_alone() {
    let mut scenario = good();
    let mut web = scenario["tenants"][0]["applications"][2].clone();
    web["client"] = json!(FABRIKAM);
    let fabrikam = json!({
        "id": "0c0ffee0-0000-4000-8000-000000000002", "domains": ["fabrikam.example"], "applications": [web],
    });
    scenario["tenants"].as_array_mut().unwrap().push(fabrikam);
    let sandbox = Sandbox::start(scenario);
    let repo = create_repo(&sandbox);
    let dns = sandbox.running.dns.to_string();
    write(&repo, &sandbox, "desktop", &delegate(DESKTOP));
    let mut theirs = delegate(WEB);
    theirs["provider"]["microsoft-graph-delegate"]["tenant"] = json!("fabrikam.example");
    theirs["provider"]["microsoft-graph-delegate"]["client"] = json!(FABRIKAM);
    write(&repo, &sandbox, "theirs", &theirs);
    let token = sandbox.runtime.block_on(crate::support::sandbox::reader_token(&sandbox.running));
    let mut command = repo.command(&local(&[], &dns));
    command.env("MAILWRIGHT_READER_TOKEN", secrecy::ExposeSecret::expose_secret(&token));
    let output = crate::support::repository::run_command(command).code(0);
    assert!(output.stdout.contains("seen      the reader's token is of another tenant"), "{}", output.stdout);
    assert!(output.stdout.contains("theirs (microsoft-graph-delegate), level 1 of 4: anonymous"), "{}", output.stdout);
    assert!(output.stdout.contains("desktop    microsoft-graph-delegate  3 reader"), "{}", output.stdout);
    assert!(!output.stdout.contains("does not exist"), "{}", output.stdout);
}

#[test]
fn permissions_of_another_profile_are_no_excess() {
    let mut scenario = good();
    let app = &mut scenario["tenants"][0]["applications"][1];
    app["redirects"]["spa"] = json!(["https://erp.contoso.example/web"]);
    app["consented"].as_array_mut().unwrap().push(json!("Contacts.Read"));
    app["requests"]["delegated"].as_array_mut().unwrap().push(json!("Contacts.Read"));
    let sandbox = Sandbox::start(scenario);
    let mut repo = create_repo(&sandbox);
    let dns = sandbox.running.dns.to_string();
    let mut desktop = delegate(DESKTOP);
    desktop["provider"]["microsoft-graph-delegate"]["addressBook"] = json!(true);
    let mut web = delegate(WEB);
    web["provider"]["microsoft-graph-delegate"]["client"] = json!(DESKTOP);
    write(&repo, &sandbox, "desktop", &desktop);
    write(&repo, &sandbox, "web", &web);
    let ca = repo.path("ca.pem");
    repo.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns]);
    let token = sandbox.runtime.block_on(crate::support::sandbox::reader_token(&sandbox.running));
    let run = |arguments: &[&str]| {
        let mut command = repo.command(arguments);
        command.env("MAILWRIGHT_READER_TOKEN", secrecy::ExposeSecret::expose_secret(&token));
        crate::support::repository::run_command(command).code(0).stdout
    };
    // Nothing is live yet, so the service knows the other profile from the request alone.
    for arguments in [&local(&["web"], &dns)[..], &["verify", "dev", "web"]] {
        let found = run(arguments);
        assert!(found.contains("3 reader") && !found.contains("GRAPH-PERMISSION-EXCESS"), "{found}");
    }
    repo.remove("environments/dev/profiles/desktop.json");
    let found = run(&["verify", "dev", "web"]);
    assert!(found.contains("more delegated permission than this profile needs"), "{found}");
}

#[test]
fn a_domain_that_fails_does_not_affect_another() {
    let sandbox = Sandbox::start(good());
    let repo = create_repo(&sandbox);
    let dns = sandbox.running.dns.to_string();
    let mut bad = direct();
    bad["from"]["address"] = json!("bad@bad.example");
    bad["functions"] = json!(["document-quality"]);
    write(&repo, &sandbox, "a-bad", &bad);
    sandbox.fault(&json!({ "at": "dns/bad.example" }));
    sandbox.fault(&json!({ "at": "dns/_dmarc.bad.example" }));
    let report = repo.run(&local(&["--format", "json"], &dns)).json();
    let verdicts = |index: usize| -> Vec<(String, String)> {
        let findings = report["profiles"][index]["findings"].as_array().unwrap();
        let dns = findings.iter().filter(|finding| finding["id"].as_str().unwrap().starts_with("DNS-"));
        dns.map(|finding| (finding["id"].as_str().unwrap().to_owned(), finding["verdict"].as_str().unwrap().to_owned()))
            .collect()
    };
    let both = |verdict: &str| ["DNS-SPF", "DNS-DMARC"].map(|id| (id.to_owned(), verdict.to_owned()));
    assert_eq!(verdicts(0), both("unknown"));
    assert_eq!(verdicts(1), both("pass"));
}

#[test]
fn unknown_checks_fail_with_fail_on_unknown() {
    let sandbox = Sandbox::start(good());
    let mut repo = create_repo(&sandbox);
    let (ca, dns) = (repo.path("ca.pem"), sandbox.running.dns.to_string());
    repo.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns]);
    sandbox.fault(&json!({ "at": "openid-configuration", "body": "html" }));
    let seen = repo.run(&["verify", "dev"]).code(0).stdout;
    assert!(seen.contains("1 unknown in 1 profile;"), "{seen}");
    assert!(seen.contains("An unknown check was not completed and is not a pass"), "{seen}");
    repo.run(&["verify", "dev", "--fail-on", "unknown"]).code(3);

    let stopped = repo.run(&["apply", "dev", "--yes", "--fail-on", "unknown"]).code(1);
    assert!(
        stopped.stderr.contains("MW0234") && stopped.stderr.contains("unknown results in documents"),
        "{}",
        stopped.stderr
    );
    assert_eq!(repo.state()["generation"], 0);
    let done = repo.run(&["apply", "dev", "--yes"]).code(0);
    assert!(done.stderr.contains("Verify: 1 unknown in 1 profile;"), "{}", done.stderr);
    assert!(done.stderr.contains("`--fail-on unknown` stops the apply"), "{}", done.stderr);
}

/// Every way in which something was written down while profiles were verified.
#[test]
fn no_output_of_verify_contains_a_secret_or_a_token() {
    use base64::Engine as _;
    const HIDDEN: &str = "canary-of-the-reader";
    let mut scenario = good();
    let tenant = &mut scenario["tenants"][0];
    tenant["approvesDeviceCodes"] = json!("alice@contoso.example");
    let reader = &mut tenant["applications"][3];
    reader["publicFlows"] = json!(true);
    reader["consented"] = json!(["Application.Read.All", "Directory.Read.All"]);
    reader["secrets"] = json!([{ "value": "reader-secret" }, { "value": HIDDEN }]);
    let sandbox = Sandbox::start(scenario);
    let mut repo = create_repo(&sandbox);
    write(&repo, &sandbox, "desktop", &delegate(DESKTOP));
    repo.write(
        "environments/dev/environment.yaml",
        format!(
            "companies: [EDU1]\nunserved: [{{ reason: trial }}]\nverify:\n  reader:\n    cloud: {{ custom: {{ signIn: {0}, graph: {0} }} }}\n    tenant: contoso.example\n    client: {READER}\n    credential: {{ clientSecret: {{ secret: reader/secret }} }}\n",
            sandbox.running.address
        ),
    );
    repo.pipe(&["secrets", "set", "dev", "reader/secret"], HIDDEN.as_bytes()).code(0);
    let (ca, dns) = (repo.path("ca.pem"), sandbox.running.dns.to_string());
    repo.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns]);
    let token = sandbox.runtime.block_on(crate::support::sandbox::reader_token(&sandbox.running));
    let token = secrecy::ExposeSecret::expose_secret(&token);

    let mut said = String::new();
    let mut hear = |output: crate::support::repository::CommandOutput| {
        assert!(output.code == 0 || output.code == 3, "{}{}", output.stdout, output.stderr);
        said.push_str(&output.stdout);
        said.push_str(&output.stderr);
    };
    for format in ["human", "json", "sarif", "junit", "markdown", "github"] {
        hear(repo.run(&["verify", "dev", "--probe", "--format", format]));
        hear(repo.run(&local(&["--all", "--probe", "--format", format], &dns)));
    }
    hear(repo.run(&local(&["--sign-in", READER], &dns)));
    hear(repo.run(&["verify", "dev", "--sign-in", READER, "--outgoing-ca-file", "ca.pem"]));
    for arguments in [&local(&[], &dns)[..], &["verify", "dev"]] {
        let mut command = repo.command(arguments);
        command.env("MAILWRIGHT_READER_TOKEN", token);
        hear(crate::support::repository::run_command(command));
    }
    // If signing in fails, the response is shown, and not the request.
    sandbox.fault(&json!({ "at": "/token", "aadsts": 7_000_215, "times": 4 }));
    hear(repo.run(&local(&[], &dns)));
    hear(repo.run(&["apply", "dev", "--yes", "--allow-findings", "documents"]));
    for path in ["/v1/verify", "/v1/verify/documents", "/v1/verify/desktop", "/v1/audit"] {
        let answer = repo.http("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        said.push_str(&answer.body);
    }
    said.push_str(&repo.service.as_ref().unwrap().log.lock().unwrap());
    assert!(said.contains("a mail from documents@contoso.example to itself was accepted") && said.contains("3 reader"));
    assert!(sandbox.get("mail").as_array().unwrap().len() >= 12, "the probes were sent");
    for hidden in [SECRET, HIDDEN, token, "eyJ0eXAi", "eyJhbGci"] {
        let hex = hidden.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        let encoded = base64::prelude::BASE64_STANDARD_NO_PAD.encode(hidden);
        for form in [hidden, &hex, &encoded[..encoded.len() - 2]] {
            assert!(!said.contains(form), "{form} was shown");
        }
    }
}

#[test]
fn findings_are_explained() {
    let repo = TestRepository::empty();
    let output = repo.run(&["explain", "GRAPH-REDIRECT-SPA"]).code(0);
    assert!(output.stdout.contains("AADSTS9002326"), "{}", output.stdout);
    assert!(repo.run(&["explain", "GRAPH-REDIRECT-SAP"]).code(1).stderr.contains("Did you mean `GRAPH-REDIRECT-SPA`?"));
}
