//! The share that one token, or a client without any, can use up: connections, memory, the audit log, runs of the
//! verifier, streams of events. Each is bounded, and the rest of the service goes on.
#![allow(clippy::print_stdout, reason = "a test says how it went")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::support::repository::{HttpResponse, TestRepository};
use serde_json::{Value, json};

fn connect(repo: &TestRepository) -> TcpStream {
    let stream = TcpStream::connect(repo.address().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Makes a token, and gives what goes into a header.
fn token(repo: &TestRepository, name: &str, role: &str) -> String {
    let made = repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout;
    format!("Bearer {}", made.trim())
}

fn ask_as(repo: &TestRepository, authorization: &str, method: &str, path: &str, body: &[u8]) -> HttpResponse {
    repo.http_without_token(method, path, &[("Authorization", authorization)], body)
}

/// Reads until the other side closes, and gives what came.
fn read_to_end(mut stream: TcpStream) -> String {
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Ok(_) => {}
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection is still open"),
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn metric(repo: &TestRepository, name: &str) -> f64 {
    let metrics = repo.http("GET", "/metrics", &[], b"").body;
    let line = metrics.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn a_connection_without_a_request_is_closed_however_it_is_silent() {
    let mut repo = TestRepository::small();
    repo.serve_with(&["--demo", "--idle-timeout", "1"]);
    let begun = [
        "",
        "G",
        "PRI * HT",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\r\n\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\nHost: te",
        "\u{16}\u{3}\u{1}",
    ];
    let silent: Vec<TcpStream> = begun
        .iter()
        .map(|begun| {
            let mut stream = connect(&repo);
            stream.write_all(begun.as_bytes()).unwrap();
            stream
        })
        .collect();
    // One that is kept alive and has nothing more to ask; one that begins another request and stops.
    let kept: Vec<TcpStream> = ["", "GET /healthz HTTP/1.1\r\nHo"]
        .iter()
        .map(|next| {
            let mut stream = connect(&repo);
            stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n{next}").as_bytes()).unwrap();
            stream
        })
        .collect();
    for stream in silent {
        read_to_end(stream);
    }
    for stream in kept {
        assert!(read_to_end(stream).starts_with("HTTP/1.1 200"));
    }
    until("all to be closed", || metric(&repo, "mailwright_connections") <= 1.0);
}

/// A certificate of `localhost` that signs itself, and its key, in files of the repository.
fn certificate(repo: &TestRepository) -> (String, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    repo.write("server.pem", cert.pem());
    repo.write("server.key", signing_key.serialize_pem());
    let path = |name: &str| repo.path(name).to_str().unwrap().to_owned();
    (path("server.pem"), path("server.key"))
}

#[test]
fn a_connection_by_tls_is_closed_however_it_is_silent() {
    use std::sync::Arc;
    let mut repo = TestRepository::small();
    let (chain, key) = certificate(&repo);
    repo.serve_with(&["--demo", "--idle-timeout", "1", "--tls-cert", &chain, "--tls-key", &key]);
    let address = repo.address().trim_start_matches("https://").to_owned();
    let open = || {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    };
    // Nothing; the beginning of a handshake; bytes that are not a handshake.
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n"] {
        let mut stream = open();
        stream.write_all(begun).unwrap();
        read_to_end(stream);
    }
    // A whole handshake, and then no request: of HTTP/1, of HTTP/2, of HTTP/2 after the half of its preface.
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(&chain).unwrap();
    let der =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem).unwrap();
    roots.add(der).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for (protocol, begun) in [("http/1.1", ""), ("h2", ""), ("h2", "PRI * HT")] {
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        let name = "localhost".try_into().unwrap();
        let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(client, open());
        stream.write_all(begun.as_bytes()).unwrap();
        stream.flush().unwrap();
        let read = stream.read_to_end(&mut Vec::new());
        let is_open = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_open, "{protocol} {begun}: the connection is still open");
        assert_eq!(stream.conn.alpn_protocol(), Some(protocol.as_bytes()));
    }
}

#[test]
fn silent_connections_leave_descriptors_for_the_service() {
    let mut repo = TestRepository::small();
    let limited = ["sh", "-c", "ulimit -n 128 && exec \"$0\" \"$@\""];
    repo.serve_under(&limited, &["--demo", "--idle-timeout", "3600"]);
    let silent: Vec<TcpStream> = (0..400).map(|_| connect(&repo)).collect();
    for _ in 0..20 {
        assert_eq!(repo.http_without_token("GET", "/healthz", &[], b"").status, 200);
    }
    assert_eq!(repo.http_without_token("GET", "/readyz", &[], b"").status, 200);
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let limit = metric(&repo, "mailwright_connections_limit");
    assert!((4.0..=50.0).contains(&limit), "{limit}");
    assert!(metric(&repo, "mailwright_connections") <= limit);
    assert!(metric(&repo, "mailwright_connections_evicted_total") >= 300.0);
    let log = repo.service.as_ref().unwrap().log.lock().unwrap().clone();
    assert!(log.contains("the limit of connections is reached"), "{log}");
    assert!(log.contains("the limit of open files allows few connections"), "{log}");
    drop(silent);
}

#[test]
fn a_client_that_does_not_read_its_answer_does_not_keep_its_place() {
    let mut repo = TestRepository::small();
    repo.serve_with(&["--demo", "--max-connections", "4"]);
    // More than fits into the buffers of both sides would have to be asked for; the place is free when the rest is
    // written.
    let unread: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut stream = connect(&repo);
            stream.write_all(b"GET /openapi.json HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            stream
        })
        .collect();
    until("a free place", || repo.http_without_token("GET", "/healthz", &[], b"").status == 200);
    drop(unread);
}

#[test]
fn a_request_names_its_host_once() {
    let mut repo = TestRepository::small();
    repo.serve();
    let status = |head: &str| {
        let mut stream = connect(&repo);
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        read_to_end(stream).split_whitespace().nth(1).unwrap_or("closed").to_owned()
    };
    assert_eq!(status("GET /healthz HTTP/1.1\r\nHost: test\r\n"), "200");
    assert_eq!(status("GET /healthz HTTP/1.1\r\nHost: [::1]:8470\r\n"), "200");
    assert_eq!(status("GET /healthz HTTP/1.0\r\n"), "200");
    for head in [
        "GET /healthz HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nhost: b\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a b\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a/b\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\r\n",
        "GET http://other.example/healthz HTTP/1.1\r\n",
        "GET /nothing HTTP/1.1\r\n",
    ] {
        assert_eq!(status(head), "400", "{head}");
    }
}

#[test]
fn a_failed_login_leaves_a_line_with_its_peer_and_never_the_token() {
    let mut repo = TestRepository::small();
    repo.serve();
    let good = repo.token().to_owned();
    let (id, secret) = good.trim_start_matches("mw_").split_once('_').unwrap();
    let wrong = format!("mw_{id}_{}x", &secret[..secret.len() - 1]);
    for shown in [wrong.as_str(), "mw_Canary-Secret_x", "Canary-Secret", "mw_Canary-Secret-Alone"] {
        assert_eq!(ask_as(&repo, &format!("Bearer {shown}"), "GET", "/v1/state", b"").status, 401);
    }
    let log = || repo.service.as_ref().unwrap().log.lock().unwrap().clone();
    until("four lines", || log().matches("authentication failed").count() >= 4);
    let lines: Vec<Value> = log()
        .lines()
        .filter(|line| line.contains("authentication failed"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["token_id"], id, "{lines:?}");
    assert!(lines.iter().all(|line| line["peer"].as_str().unwrap().starts_with("127.0.0.1:")), "{lines:?}");
    assert!(lines[1..].iter().all(|line| line["token_id"] == ""), "{lines:?}");
    assert!(!log().contains("Canary-Secret") && !log().contains(&secret[..20]), "{}", log());
}

#[test]
fn many_large_bodies_at_once_take_bounded_memory() {
    let mut repo = TestRepository::small();
    repo.serve();
    let planner = token(&repo, "pull-requests", "planner");
    let before = repo.peak_memory();
    let filler = "x".repeat(31 * 1024 * 1024);
    let changeset =
        json!({ "id": "018f3a2e-0000-7000-8000-000000000001", "environment": "dev", "base": 7, "changes": [],
        "provenance": { "branch": filler } })
        .to_string();
    let verify = json!({ "environment": "dev", "profiles": {}, "readerToken": filler }).to_string();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (repo, planner) = (&repo, &planner);
            let (path, body) =
                if number % 2 == 0 { ("/v1/changesets?dryRun=true", &changeset) } else { ("/v1/verify", &verify) };
            scope.spawn(move || {
                let answer = ask_as(repo, planner, "POST", path, body.as_bytes());
                println!("{path}: {}", answer.status);
            });
        }
        // Others are served meanwhile.
        for _ in 0..10 {
            assert_eq!(repo.http("GET", "/v1/state", &[], b"").status, 200);
            assert_eq!(repo.patch("absent", &json!({})).status, 412);
        }
    });
    // One large body of each kind at a time, with what is made of it.
    assert!(repo.peak_memory() < before + 200, "{} MiB, before {before}", repo.peak_memory());
}

#[test]
fn a_document_that_stops_arriving_is_given_up() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut stream = connect(&repo);
    let head = format!(
        "POST /v1/changesets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"id\":",
        repo.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert!(read_to_end(stream).starts_with("HTTP/1.1 408"));
}

#[test]
fn refusals_of_a_token_are_summed_up() {
    let mut repo = TestRepository::small();
    repo.serve();
    let sender = token(&repo, "erp", "sender");
    for _ in 0..300 {
        assert_eq!(ask_as(&repo, &sender, "POST", "/v1/changesets", b"{}").status, 403);
    }
    let refused = |repo: &TestRepository| {
        let audit = repo.http("GET", "/v1/audit?limit=1000", &[], b"").json();
        let entries = audit["entries"].as_array().unwrap().clone();
        entries.into_iter().filter(|entry| entry["actor"] == "erp").collect::<Vec<Value>>()
    };
    assert!((20..=25).contains(&refused(&repo).len()), "{}", refused(&repo).len());
    // Nothing is left out: what was not written yet is written when the service stops.
    let id = repo.service.as_ref().unwrap().child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    repo.service.as_mut().unwrap().child.wait().unwrap();
    repo.serve();
    let entries = refused(&repo);
    let times: u64 = entries.iter().map(|entry| entry["detail"]["times"].as_u64().unwrap_or(1)).sum();
    assert_eq!(times, 300, "{entries:?}");
    let sum = entries.iter().find(|entry| entry["detail"]["times"].is_u64()).unwrap();
    assert_eq!((&sum["outcome"], &sum["detail"]["last"]["path"]), (&json!("refused"), &json!("/v1/changesets")));
    repo.run(&["audit", "verify", "dev"]).code(0);
}

/// A mail server that accepts connections and says nothing; how many were opened and closed so far.
fn silent_server() -> (u16, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let shared = Arc::clone(&counts);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counts) = (stream.unwrap(), Arc::clone(&shared));
            counts[0].fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                drop(stream.read_to_end(&mut Vec::new()));
                counts[1].fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (port, counts)
}

#[test]
fn a_run_of_the_verifier_is_one_of_few_and_ends_with_its_client() {
    let (port, counts) = silent_server();
    let mut repo = TestRepository::small();
    let profile = format!(
        "provider:\n  smtp:\n    host: 127.0.0.1\n    port: {port}\n    encryption: none\nfrom:\n  address: erp@example.com\nfunctions: [default]\nappliesTo: system-wide\n"
    );
    repo.write("environments/dev/profiles/relay.yaml", profile);
    repo.serve_with(&["--demo", "--smtp-timeout", "300"]);
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let planner = token(&repo, "pull-requests", "planner");
    let stored = repo.state()["profiles"]["relay"]["live"].clone();
    let body = json!({ "environment": "dev", "profiles": { "relay": stored } }).to_string();
    let begin = || {
        let mut stream = connect(&repo);
        let head = format!(
            "POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: {planner}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    // A run looks whether the server can be reached at all, and then waits for its greeting.
    let are = |opened: usize, closed: usize| {
        until(&format!("{opened} connections, {closed} of them closed"), || {
            (counts[0].load(Ordering::SeqCst), counts[1].load(Ordering::SeqCst)) == (opened, closed)
        });
    };
    let mut running: Vec<TcpStream> = (0..4).map(|_| begin()).collect();
    are(8, 4);
    let refused = ask_as(&repo, &planner, "POST", "/v1/verify", body.as_bytes());
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("MW0227")), "{}", refused.body);
    // Another token has runs of its own, and a client that goes away leaves nothing running.
    let other = token(&repo, "others", "planner");
    let empty = json!({ "environment": "dev", "profiles": {} }).to_string();
    assert_eq!(ask_as(&repo, &other, "POST", "/v1/verify", empty.as_bytes()).status, 200);
    running.pop();
    are(8, 5);
    running.push(begin());
    are(10, 6);
}

#[test]
fn results_are_kept_of_live_profiles_only() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let planner = token(&repo, "pull-requests", "planner");
    let stored = repo.state()["profiles"]["relay"]["live"].clone();
    let mut profiles = json!({ "relay": stored });
    for number in 0..30 {
        profiles[format!("invented-{number}")] = stored.clone();
    }
    let body = json!({ "environment": "dev", "profiles": profiles }).to_string();
    let answer = ask_as(&repo, &planner, "POST", "/v1/verify", body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let kept = repo.http("GET", "/v1/verify", &[], b"").json();
    let names: Vec<&String> = kept["profiles"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["relay"]);
}

/// Begins to hear events, and reads the head.
fn events(repo: &TestRepository, authorization: &str, query: &str) -> BufReader<TcpStream> {
    let mut stream = connect(repo);
    let head = format!("GET /v1/events{query} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream);
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    lines
}

#[test]
fn a_stream_of_events_ends_with_its_token_and_one_token_hears_few() {
    let mut repo = TestRepository::small();
    repo.serve();
    let viewer = token(&repo, "monitor", "viewer");
    let mut streams: Vec<BufReader<TcpStream>> = (0..16).map(|_| events(&repo, &viewer, "")).collect();
    let refused = ask_as(&repo, &viewer, "GET", "/v1/events", b"");
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("MW0227")), "{}", refused.body);
    drop(events(&repo, &token(&repo, "another", "viewer"), ""));
    // A stream that ends makes room.
    drop(streams.pop());
    until("a free place", || {
        let mut stream = connect(&repo);
        stream
            .write_all(format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {viewer}\r\n\r\n").as_bytes())
            .unwrap();
        let mut first = String::new();
        BufReader::new(stream).read_line(&mut first).unwrap();
        first.starts_with("HTTP/1.1 200")
    });
    let id = viewer.trim_start_matches("Bearer mw_").split('_').next().unwrap();
    repo.run(&["token", "revoke", "dev", id]).code(0);
    for stream in streams {
        // The last chunk of the answer: it ends in good order.
        let rest: String = stream.lines().map_while(Result::ok).collect();
        assert!(rest.ends_with('0'), "{rest}");
    }
}
