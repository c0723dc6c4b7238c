//! The API against its own `OpenAPI` document, under a public fuzzer: no answer 5xx, none that is not documented.

use std::process::Command;

use crate::support::{repository::TestRepository, tools::tool};

const EACH: &str = "examples,coverage,fuzzing";

/// Fuzzes the addresses that `choice` names, each for itself or (`stateful`) with what others answered.
fn fuzz(repo: &TestRepository, phases: &str, choice: [&str; 2]) {
    let document = format!("{}/openapi.json", repo.address());
    let output = Command::new(tool("schemathesis"))
        .args([
            "run",
            &document,
            "--max-examples",
            "25",
            "--seed",
            "7",
            // Two of them get into each other's way inside the fuzzer, now and then.
            "--workers",
            "1",
            "--phases",
            phases,
            // A stream of events has no end, and the fuzzer reads to the end; see below.
            "--exclude-path",
            "/v1/events",
        ])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(["-H", &format!("Authorization: Bearer {}", repo.token())])
        .args([
            "--request-timeout",
            "30",
            "--no-color",
            "--suppress-health-check",
            "all",
            "--generation-database",
            "none",
        ])
        .args(choice)
        .current_dir(repo.folder.path())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text: String = text.chars().take(10_000).collect();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("passed"), "{text}");
}

#[test]
fn schemathesis_finds_nothing_by_going_on_with_what_it_was_answered() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    fuzz(&repo, "stateful", ["--exclude-path", "/v1/tokens/{id}"]);
    assert_eq!(repo.http("GET", "/v1/service", &[], b"").status, 200);
    repo.kill();
    let data = repo.path(".data").to_str().unwrap().to_owned();
    repo.run(&["audit", "verify", "dev", "--data", &data]).code(0);
}

/// The status and the content type of an answer that need not end.
fn begins(repo: &TestRepository, query: &str, header: &str) -> (String, String) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut stream = std::net::TcpStream::connect(repo.address().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let token = repo.token();
    let request =
        format!("GET /v1/events{query} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let head: Vec<String> =
        BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    let media_type = head.iter().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    (head[0].split(' ').nth(1).unwrap_or_default().to_owned(), media_type.to_owned())
}

#[test]
fn the_stream_of_events_answers_as_it_is_documented() {
    let mut repo = TestRepository::small();
    repo.serve();
    let document = repo.http("GET", "/openapi.json", &[], b"").json();
    let documented = document["paths"]["/v1/events"]["get"]["responses"].clone();
    let long = "9".repeat(5000);
    let queries =
        ["", "0", "1", "18446744073709551615", "18446744073709551616", "-1", "1.5", "true", "%00", "%ff", &long];
    for value in queries {
        let query = if value.is_empty() { String::new() } else { format!("?after={value}") };
        for header in ["", "Last-Event-ID: 0\r\n", "Last-Event-ID: -1\r\n", "Last-Event-ID: \u{e9}\r\n"] {
            let (status, media_type) = begins(&repo, &query, header);
            let known =
                documented.get(&status).or_else(|| documented.get("default")).filter(|_| !status.starts_with('5'));
            let known = known.unwrap_or_else(|| panic!("{status} is not documented: {query:.40} {header}"));
            assert!(known["content"].get(&media_type).is_some(), "{status} {media_type}: {query:.40} {header}");
            let is_number = value.is_empty() || value.parse::<u64>().is_ok();
            assert_eq!(status == "200", is_number, "{query:.40} {header}");
        }
    }
    assert_eq!(begins(&repo, "?before=1", "").0, "400");
}

#[test]
fn schemathesis_finds_nothing() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    // The fuzzer reuses ids from responses. Revoking its own token comes last.
    fuzz(&repo, EACH, ["--exclude-path", "/v1/tokens/{id}"]);
    assert_eq!(repo.http("GET", "/v1/service", &[], b"").status, 200);
    fuzz(&repo, EACH, ["--include-path", "/v1/tokens/{id}"]);
    repo.kill();
    let data = repo.path(".data").to_str().unwrap().to_owned();
    repo.run(&["audit", "verify", "dev", "--data", &data]).code(0);
}
