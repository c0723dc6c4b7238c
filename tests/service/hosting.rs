//! Several environments in one process: each behind a path of its own, with everything of its own, and nothing that
//! crosses.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{
    host_process::HostProcess,
    repository::{CommandOutput, SMALL_PROFILE, TestRepository, run_command, send_arguments},
    tools::tool,
};
use serde_json::{Value, json};

/// A repository whose environments have one address in common, and the process that serves them.
struct HostingFixture {
    repo: TestRepository,
    host: HostProcess,
}

impl HostingFixture {
    fn new(names: &[&str]) -> Self {
        let repo = TestRepository::empty();
        let mut host = HostProcess::new(&repo, ".data", names.iter().map(ToString::to_string).collect());
        host.demo = false;
        host.start();
        repo.write(
            "environments/base/environment.yaml",
            format!(
                "abstract: true\ncompanies: [EDU1]\nservice: {{ address: '{}/environments/{{environment}}' }}\n",
                host.root()
            ),
        );
        repo.write("environments/base/profiles/relay.yaml", SMALL_PROFILE);
        for name in names {
            repo.write(&format!("environments/{name}/environment.yaml"), "extends: base\n");
        }
        Self { repo, host }
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.repo.command(arguments);
        command.env("MAILWRIGHT_TOKEN_FILE", "tokens/{environment}");
        run_command(command)
    }

    fn applied(&self) {
        self.run(&["apply", "*", "--yes", "--skip-verify"]).code(0);
    }

    fn generation(&self, name: &str) -> Value {
        self.host.request(name, "GET", "/v1/state", b"").json()["generation"].clone()
    }
}

/// A start that fails: what it says.
fn fails(repo: &TestRepository, arguments: &[&str]) -> String {
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
    let output = repo.run(&arguments).code(1);
    assert!(!output.stdout.contains("mw_"), "{}", output.stdout);
    output.stderr
}

#[test]
fn nothing_crosses() {
    let fixture = HostingFixture::new(&["acme", "beta"]);
    let host = &fixture.host;
    fixture.run(&["apply", "acme", "--yes", "--skip-verify"]).code(0);
    assert_eq!((fixture.generation("acme"), fixture.generation("beta")), (json!(1), json!(0)));
    // The token of one opens nothing of the other, and nothing of the process.
    let acme = format!("Bearer {}", host.token("acme"));
    let foreign = [("Authorization", acme.as_str())];
    let addresses = [
        ("GET", "state"),
        ("GET", "service"),
        ("GET", "audit"),
        ("GET", "tokens"),
        ("GET", "events"),
        ("GET", "outbox"),
        ("GET", "messages"),
        ("GET", "verify"),
        ("GET", "generations"),
        ("POST", "changesets"),
        ("POST", "rollbacks"),
        ("POST", "messages"),
        ("POST", "tokens"),
        ("POST", "leases/x"),
        ("PATCH", "profiles/relay"),
        ("DELETE", "tokens/x"),
    ];
    for (method, path) in addresses {
        let answer = host.http(method, &format!("/environments/beta/v1/{path}"), &foreign, b"{}");
        assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("MW0201")), "{method} {path}");
    }
    assert_eq!(host.http("GET", "/environments/beta/metrics", &foreign, b"").status, 401);
    for path in ["/v1/state", "/metrics", "/openapi.json", "/", "/environments", "/environments/"] {
        assert_eq!(host.http("GET", path, &foreign, b"").status, 404, "{path}");
    }
    // No way of writing an address leads from one to the other.
    for path in [
        "/environments/acme/../beta/v1/state",
        "/environments/acme/%2e%2e/beta/v1/state",
        "/environments/acme%2f..%2fbeta/v1/state",
        "/environments/ACME/v1/state",
        "/environments/acme/environments/acme/v1/state",
        "//environments/acme/v1/state",
        "/environments//acme/v1/state",
        "/environments/acme//v1/state",
        "/environments/acme/environments/beta/v1/state",
    ] {
        let answer = host.http("GET", path, &foreign, b"");
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    // Metrics, audit log and secrets of one environment are not those of the other.
    let metrics = host.request("acme", "GET", "/metrics", b"").body;
    assert!(metrics.contains("mailwright_generations_total{environment=\"acme\"} 1"), "{metrics}");
    assert!(
        metrics.contains("mailwright_store_writes_total{environment=\"acme\"}") && !metrics.contains("beta"),
        "{metrics}"
    );
    let metrics = host.request("beta", "GET", "/metrics", b"").body;
    assert!(metrics.contains("mailwright_authentication_failures_total{environment=\"beta\"} 17"), "{metrics}");
    assert!(!metrics.contains("acme") && !metrics.contains("mailwright_generations_total"), "{metrics}");
    assert!(!host.request("beta", "GET", "/v1/audit?limit=100", b"").body.contains("acme"));
    let recipient = |name: &str| host.request(name, "GET", "/v1/service", b"").json()["recipient"].clone();
    assert_ne!(recipient("acme"), recipient("beta"));
    // Each line of the log says whose it is.
    let log = host.log();
    let line = log.lines().find(|line| line.contains("generation applied")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["span"]["environment"], "acme");
}

#[test]
fn answers_name_addresses_that_are_there() {
    let fixture = HostingFixture::new(&["acme", "beta"]);
    fixture.applied();
    let message = json!({
        "company": "EDU1", "function": "default", "to": ["ann@example.com"], "subject": "x", "text": "y",
    });
    let answer = fixture.host.request("acme", "POST", "/v1/messages", message.to_string().as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.body);
    let location = answer.header("location").unwrap().to_owned();
    assert!(location.starts_with("/environments/acme/v1/messages/"), "{location}");
    let of = |name: &str| format!("Bearer {}", fixture.host.token(name));
    assert_eq!(fixture.host.http("GET", &location, &[("Authorization", &of("acme"))], b"").status, 200);
    let elsewhere = location.replace("acme", "beta");
    assert_eq!(fixture.host.http("GET", &elsewhere, &[("Authorization", &of("beta"))], b"").status, 404);
    let document = fixture.host.request("beta", "GET", "/openapi.json", b"").json();
    assert_eq!(document["servers"], json!([{ "url": "/environments/beta" }]));
}

#[test]
fn health_is_asked_of_the_process_and_of_each() {
    let fixture = HostingFixture::new(&["acme", "beta"]);
    let send_request = |path: &str| fixture.host.http("GET", path, &[], b"");
    for path in ["/healthz", "/environments/acme/healthz", "/environments/beta/readyz"] {
        assert_eq!(send_request(path).status, 200, "{path}");
    }
    let ready = send_request("/readyz");
    // The list of environments is not disclosed without a token.
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\nenvironments: 2\n"));
}

#[test]
fn the_number_of_concurrent_requests_is_limited_for_all_clients() {
    let fixture = HostingFixture::new(&["acme", "beta"]);
    // Bodies that never come, more than there are places.
    let hold = |token: &str| {
        let head = format!(
            "POST /environments/acme/v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        );
        let begin = |_| {
            let mut stream = TcpStream::connect(fixture.host.root().trim_start_matches("http://")).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        };
        (0..150).map(begin).collect::<Vec<TcpStream>>()
    };
    let send_request = |path: &str| fixture.host.request("beta", "GET", path, b"");
    let tokens = ["one", "two", "three"].map(|name| {
        let body = json!({ "name": name, "role": "sender" }).to_string();
        let made = fixture.host.request("acme", "POST", "/v1/tokens", body.as_bytes()).json();
        made["secret"].as_str().unwrap().to_owned()
    });
    // One token cannot take all of them, however many it asks for.
    let mut held = hold(&tokens[0]);
    assert_eq!(send_request("/v1/state").status, 200);
    held.extend(hold(&tokens[1]));
    held.extend(hold(&tokens[2]));
    let until = Instant::now() + Duration::from_secs(120);
    while send_request("/v1/state").status != 503 {
        assert!(Instant::now() < until, "there is always another place");
    }
    assert_eq!(send_request("/v1/state").json()["code"], "MW0222");
    assert_eq!((send_request("/readyz").status, fixture.host.http("GET", "/readyz", &[], b"").status), (200, 200));
    drop(held);
    while send_request("/v1/state").status != 200 {
        assert!(Instant::now() < until, "the places are never given back");
    }
}

#[test]
fn a_store_that_fails_later_is_its_own_environments_trouble() {
    let mut fixture = HostingFixture::new(&["acme", "beta"]);
    fixture.applied();
    fixture.host.kill();
    let (program, wal) = (tool("strace"), fixture.repo.path(".data/beta/store.sqlite-wal"));
    let trace = fixture.repo.path("trace");
    let words = [
        program.to_str().unwrap(),
        "-D",
        "-f",
        "-qq",
        "-P",
        wal.to_str().unwrap(),
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        "inject=fsync,fdatasync:error=EIO:when=30+",
        "-o",
        trace.to_str().unwrap(),
        "--",
    ];
    fixture.host.wrapper = words.map(str::to_owned).to_vec();
    fixture.host.start();
    let ready = |path: &str| fixture.host.http("GET", path, &[], b"").status;
    let mut tries = 0;
    while ready("/environments/beta/readyz") == 200 {
        tries += 1;
        assert!(tries < 200, "the disk never failed");
    }
    assert_eq!((ready("/environments/acme/readyz"), ready("/readyz"), ready("/healthz")), (200, 503, 200));
    fixture.repo.write("environments/base/profiles/relay.yaml", SMALL_PROFILE.replace("erp@", "mail@"));
    fixture.run(&["apply", "acme", "--yes", "--skip-verify"]).code(0);
    assert_eq!(fixture.generation("acme"), 2);
    let refused = fixture.run(&["apply", "beta", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("MW0222"), "{}", refused.stderr);
    // On a sound disk again, nothing is half.
    fixture.host.kill();
    fixture.host.wrapper.clear();
    fixture.host.start();
    assert_eq!((fixture.generation("acme"), fixture.generation("beta")), (json!(2), json!(1)));
}

#[test]
fn every_command_works_through_a_path() {
    let fixture = HostingFixture::new(&["acme", "beta"]);
    let run = |arguments: &[&str]| fixture.run(arguments).code(0).stdout;
    run(&["secrets", "init", "acme", "--from-service"]);
    let set = |text: &[u8]| {
        let output = fixture.repo.pipe(&["secrets", "set", "acme", "relay/password"], text);
        output.code(0);
    };
    fixture.repo.write(
        "environments/acme/profiles/relay.yaml",
        "provider:\n  smtp:\n    encryption: starttls\n    username: erp\n    password: { secret: relay/password }\n",
    );
    set(b"correct horse");
    run(&["validate"]);
    assert!(run(&["plan", "acme"]).contains("/environments/acme, generation 0"));
    run(&["plan", "acme", "--out", "acme.plan"]);
    run(&["apply", "./acme.plan", "--yes", "--skip-verify"]);
    run(&["apply", "beta", "--yes", "--skip-verify"]);
    assert!(run(&["plan", "*", "--detailed-exitcode"]).contains("2 environments: 2 without changes"));
    run(&["drift", "acme"]);
    assert_eq!(
        run(&["status", "acme", "--format", "json"]).parse::<Value>().unwrap()["service"]["environment"],
        "acme"
    );
    run(&["show", "acme", "relay"]);
    run(&["resolve", "acme", "EDU1", "default"]);
    let verified = fixture.run(&["verify", "acme", "--format", "json"]);
    assert!(verified.json()["profiles"][0]["profile"] == "relay", "{}", verified.stdout);
    assert!(run(&["history", "acme"]).contains('1'));
    run(&["blame", "acme", "relay"]);
    let sent = run(&send_arguments("acme", "ann@example.com", &["--subject", "x", "--format", "json"]));
    let id = sent.parse::<Value>().unwrap()["id"].as_str().unwrap().to_owned();
    run(&["outbox", "status", "acme"]);
    run(&["outbox", "show", "acme", &id]);
    assert!(run(&["outbox", "list", "acme"]).contains(&id[..8]));
    assert!(!run(&["outbox", "list", "beta"]).contains(&id[..8]));
    assert!(run(&["token", "create", "acme", "--name", "pipeline", "--role", "deployer"]).contains("mw_"));
    assert!(
        run(&["token", "list", "acme"]).contains("pipeline") && !run(&["token", "list", "beta"]).contains("pipeline")
    );
    run(&["audit", "list", "acme"]);
    run(&["audit", "verify", "acme"]);
    set(b"battery staple");
    assert!(run(&["plan", "acme"]).contains("(secret rotated)"));
    run(&["apply", "acme", "--yes", "--skip-verify"]);
    run(&["rollback", "acme", "--to", "1", "--yes"]);
    run(&["secrets", "check"]);
    run(&["secrets", "expiring"]);
    fixture
        .repo
        .write("rollouts/all.yaml", "gate: false\ncoordinator: beta\nwaves: [{ name: all, environments: ['*'] }]\n");
    run(&["rollout", "plan", "all"]);
    run(&["rollout", "start", "all", "--yes"]);
    run(&["rollout", "status", "all"]);
    run(&["import", "acme", "--dry-run"]);
    run(&["watch", "--once"]);
    run(&["secrets", "rotate", "acme", "--status"]);
    fixture.repo.write("environments/base/profiles/reports.yaml", SMALL_PROFILE.replace("default", "all-reports"));
    run(&["plan", "*", "--out", "plans"]);
    run(&["apply", "plans/acme.plan", "plans/beta.plan", "--yes", "--skip-verify"]);
}

#[test]
fn an_unknown_environment_is_reported_with_a_remedy() {
    let fixture = HostingFixture::new(&["acme"]);
    for (name, address) in [
        ("gone", format!("{}/environments/gone", fixture.host.root())),
        ("bare", fixture.host.root()),
        ("twice", format!("{}/environments/acme", fixture.host.address("acme"))),
    ] {
        fixture.repo.write(
            &format!("environments/{name}/environment.yaml"),
            format!("extends: base\nservice: {{ address: '{address}' }}\n"),
        );
        fixture.repo.write(&format!("tokens/{name}"), "mw_000000000000_x");
    }
    for (name, words, remedy) in [
        ("gone", "/environments/gone: no environment `gone` is served here", "add `--environment NAME`"),
        ("bare", "several environments are served here, and the address names none", "Append `/environments/bare`"),
        ("twice", "one environment is served here, at the root", "Remove `/environments/"),
    ] {
        let output = fixture.run(&["plan", name]).code(1);
        assert!(output.stderr.contains("error[MW0334]") && output.stderr.contains(words), "{}", output.stderr);
        assert!(output.stderr.contains(remedy), "{}", output.stderr);
    }
    // One environment alone is at the root, as it ever was.
    let mut alone = TestRepository::small();
    alone.serve();
    let output = alone.run(&["plan", "dev", "--service", &format!("{}/environments/dev", alone.address())]).code(1);
    assert!(output.stderr.contains("error[MW0334]") && output.stderr.contains("Remove"), "{}", output.stderr);
}

#[test]
fn new_ones_join_those_that_are_there() {
    let mut fixture = HostingFixture::new(&["acme", "beta"]);
    fixture.applied();
    let before = (fixture.repo.read("tokens/acme"), fixture.repo.read("tokens/beta"));
    assert_eq!(fixture.host.stop(), 0);
    // All environments of the folder, whichever are named.
    fixture.host.names = vec!["gamma".to_owned()];
    fixture.host.start();
    assert!(
        fixture.host.startup_line().starts_with("mailwright serves 3 environments at http://"),
        "{}",
        fixture.host.startup_line()
    );
    assert_eq!((fixture.repo.read("tokens/acme"), fixture.repo.read("tokens/beta")), before);
    fixture.repo.write("environments/gamma/environment.yaml", "extends: base\n");
    fixture.applied();
    assert_eq!(["acme", "beta", "gamma"].map(|name| fixture.generation(name)), [json!(1), json!(1), json!(1)]);
    // Killed at any moment, all of them are there again.
    fixture.host.kill();
    fixture.host.names.clear();
    fixture.host.start();
    assert_eq!(fixture.generation("gamma"), 1);
    assert!(fixture.run(&["plan", "*", "--detailed-exitcode"]).code(0).stdout.contains("3 without changes"));
    // Its folder is a data folder as any other: it can be served alone, and looked at.
    fixture.host.stop();
    fixture.run(&["audit", "verify", "gamma", "--data", ".data/gamma"]).code(0);
}

#[test]
fn first_tokens_of_many_go_to_a_file_each_or_are_shown_in_a_table() {
    let repo = TestRepository::empty();
    let names: Vec<String> = (1..=21).map(|number| format!("customer-{number:02}")).collect();
    let mut host = HostProcess::new(&repo, ".data", names.clone());
    host.start();
    for name in &names {
        assert_eq!(host.request(name, "GET", "/v1/tokens", b"").status, 200, "{name}");
    }
    let mut arguments = vec!["--data", "other", "--token-file", "one.token"];
    for name in &names {
        arguments.extend(["--environment", name]);
    }
    let refused = fails(&repo, &arguments);
    assert!(refused.contains("MW0256") && refused.contains("'tokens/{environment}.token'"), "{refused}");
    let refused = fails(&repo, &[&arguments[..3], &["nowhere/{environment}"], &arguments[4..]].concat());
    assert!(refused.contains("MW0332") && refused.contains("`nowhere/customer-01`"), "{refused}");
    // An environment whose start failed has its first start the next time, and without files each is listed.
    let stopped =
        [&["serve", "--listen", "127.0.0.1:0", "--stop-at-end-of-input"], &arguments[..2], &arguments[4..]].concat();
    let output = repo.run(&stopped).code(0);
    assert_eq!(output.stdout.matches("mw_").count(), 21, "{}", output.stdout);
    assert_eq!(output.stdout.matches("  age1").count(), 21, "{}", output.stdout);
    let again = repo.run(&["serve", "--listen", "127.0.0.1:0", "--stop-at-end-of-input", "--hosted", "other"]).code(0);
    assert!(!again.stdout.contains("mw_") && !again.stdout.contains("New"), "{}", again.stdout);
}

#[test]
fn if_one_environment_cannot_be_served_none_is_and_nothing_is_created() {
    let mut fixture = HostingFixture::new(&["acme", "beta"]);
    fixture.applied();
    fixture.host.kill();
    let repo = &fixture.repo;
    let hosted = ["--hosted", ".data", "--environment", "new"];
    let refused = |words: &[&str]| {
        let said = fails(repo, &hosted);
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(said.contains("no environment is served") && !repo.path(".data/new").exists(), "{said}");
    };
    let kept = repo.path("kept");
    let beta = |file: &str| repo.path(&format!(".data/beta/{file}"));
    // A store of another environment, one of a newer version, none that can be read.
    std::fs::rename(repo.path(".data/beta"), &kept).unwrap();
    copy(&kept, &repo.path(".data/beta"));
    copy(&repo.path(".data/acme"), &repo.path(".data/beta"));
    refused(&["MW0211", "environment `beta`", "`acme`"]);
    copy(&kept, &repo.path(".data/beta"));
    let store = rusqlite::Connection::open(beta("store.sqlite")).unwrap();
    store.execute("INSERT INTO schema_version (version, digest) VALUES (9000, 'x')", []).unwrap();
    drop(store);
    refused(&["MW0252", "environment `beta`"]);
    for file in ["store.sqlite-wal", "store.sqlite-shm"] {
        drop(std::fs::remove_file(beta(file)));
    }
    std::fs::write(beta("store.sqlite"), vec![b'x'; 10_000]).unwrap();
    refused(&["environment `beta`"]);
    // No identity next to the store; one that others may read.
    copy(&kept, &repo.path(".data/beta"));
    std::fs::remove_file(beta("identity.txt")).unwrap();
    refused(&["MW0330", "environment `beta`"]);
    copy(&kept, &repo.path(".data/beta"));
    // Another process serves it.
    let lock = std::fs::File::options().write(true).open(beta("lock")).unwrap();
    lock.try_lock().unwrap();
    refused(&["MW0222", "environment `beta`", "another service uses"]);
    drop(lock);
    // The port is looked at first.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = repo.run(&[&["serve", "--listen", &address], &hosted[..]].concat()).code(1);
    assert!(output.stderr.contains("MW0331") && !repo.path(".data/new").exists(), "{}", output.stderr);
    fixture.host.start();
    assert_eq!((fixture.generation("acme"), fixture.generation("beta")), (json!(1), json!(1)));
}

#[test]
fn a_folder_of_one_kind_is_not_taken_for_the_other() {
    let mut repo = TestRepository::small();
    repo.serve();
    // The first token is stored before the service answers.
    repo.run(&["status", "dev"]).code(0);
    repo.kill();
    for arguments in [
        &["--environment", "a", "--environment", "b", "--data", ".data"][..],
        &["--hosted", ".data"],
        &["--hosted", ".data", "--environment", "dev"],
    ] {
        let refused = fails(&repo, arguments);
        assert!(refused.contains("MW0335") && refused.contains("mv .data .data-of-all/dev"), "{refused}");
    }
    assert!(!repo.path(".data/a").exists() && !repo.path(".data/dev").exists());
    // The remedy works.
    std::fs::create_dir(repo.path("many")).unwrap();
    std::fs::rename(repo.path(".data"), repo.path("many/dev")).unwrap();
    let stopped = ["serve", "--listen", "127.0.0.1:0", "--stop-at-end-of-input", "--demo"];
    let output = repo.run(&[&stopped[..], &["--hosted", "many"]].concat()).code(0);
    assert!(
        output.stdout.contains("serves 1 environment at http://") && !output.stdout.contains("New"),
        "{}",
        output.stdout
    );
    let refused = fails(&repo, &["--demo", "--environment", "dev", "--data", "many"]);
    assert!(refused.contains("MW0335") && refused.contains("--data many/dev"), "{refused}");
    assert!(!repo.path("many/store.sqlite").exists() && !repo.path("many/lock").exists());
    let output = repo.run(&[&stopped[..], &["--environment", "dev", "--data", "many/dev"]].concat()).code(0);
    assert!(!output.stdout.contains("environments") && !output.stdout.contains("new service"), "{}", output.stdout);
    let refused = fails(&repo, &["--hosted", "nowhere"]);
    assert!(refused.contains("MW0257") && refused.contains("does not contain an environment"), "{refused}");
    assert!(!repo.path("nowhere").exists());
}

#[test]
fn a_stop_ends_all_of_them_in_order() {
    let mut fixture = HostingFixture::new(&["acme", "beta"]);
    fixture.applied();
    // Each has a client on the stream of events, which never ends.
    let follow = |name: &str| {
        let (listen, token) = (fixture.host.root(), fixture.host.token(name));
        let path = format!("/environments/{name}/v1/events");
        let mut stream = TcpStream::connect(listen.trim_start_matches("http://")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "HTTP/1.1 200 OK");
        lines
    };
    let followers = ["acme", "beta"].map(follow);
    assert_eq!(fixture.host.stop(), 0);
    assert!(!fixture.host.log().contains("closing connections whose"), "{}", fixture.host.log());
    for follower in followers {
        let last = follower.map(Result::unwrap).last();
        assert_eq!(last.as_deref(), Some(""), "the stream ends as a whole");
    }
}

/// The files of a folder into another one, over what is there.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    drop(std::fs::remove_dir_all(to));
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_federated_token_is_for_what_the_option_says_or_nothing_starts() {
    let repo = TestRepository::empty();
    let (file, data) = (repo.path("token"), repo.path(".data"));
    let alone = file.to_str().unwrap().to_owned();
    let several = ["--environment", "acme", "--environment", "beta", "--data", data.to_str().unwrap()];
    for environments in [&several[..], &["--environment", "acme", "--data", data.to_str().unwrap()]] {
        let said = fails(&repo, &[environments, &["--federated-token-file", &alone]].concat());
        let written = format!("--federated-token-file '{alone}=ENV,tenant=TENANT,client=CLIENT'");
        assert!(said.contains(&written), "{said}");
    }
    for words in ["=acme", "=acme,tenant=a", "=acme,tenant=a,client=b,port=1"] {
        let said = fails(&repo, &[&several[..], &["--federated-token-file", &format!("{alone}{words}")]].concat());
        assert!(said.contains("--federated-token-file"), "{said}");
    }
    assert!(!data.exists(), "nothing is made");
}

#[test]
fn a_federated_token_of_one_environment_is_refused_to_the_others() {
    const CLIENT: &str = "0c0ffee0-0000-4000-8000-0000000000d1";
    let repo = TestRepository::empty();
    let file = repo.path("token");
    std::fs::write(&file, "e30.e30.c2ln").unwrap();
    let file = file.to_str().unwrap();
    let mut host = HostProcess::new(&repo, ".data", vec!["acme".to_owned(), "beta".to_owned()]);
    host.demo = false;
    host.options =
        vec!["--federated-token-file".to_owned(), format!("{file}=acme,tenant=contoso.example,client={CLIENT}")];
    host.start();
    repo.write(
        "environments/base/environment.yaml",
        format!(
            "abstract: true\ncompanies: [EDU1]\nservice: {{ address: '{}/environments/{{environment}}' }}\n",
            host.root()
        ),
    );
    let profile = json!({
        "provider": { "microsoft-graph-direct": {
            "tenant": "contoso.example", "client": CLIENT, "credential": { "federatedTokenFile": file },
        } },
        "from": { "address": "erp@example.com" }, "functions": ["default"], "appliesTo": "system-wide",
    });
    repo.write("environments/base/profiles/relay.json", profile.to_string());
    for name in ["acme", "beta"] {
        repo.write(&format!("environments/{name}/environment.yaml"), "extends: base\n");
    }
    let fixture = HostingFixture { repo, host };
    fixture.run(&["apply", "acme", "--yes", "--skip-verify"]).code(0);
    let said = fixture.run(&["apply", "beta", "--yes", "--skip-verify"]).code(1).stderr;
    assert!(said.contains("MW0385") && said.contains("in environment acme"), "{said}");
    assert_eq!((fixture.generation("acme"), fixture.generation("beta")), (json!(1), json!(0)));
}
