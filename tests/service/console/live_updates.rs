//! Live updates of pages end with what let the person see them: the operator, its passkey, the token, or the role.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use super::client::Client;
use crate::support::{
    passkey_device::{PasskeyDevice, options},
    repository::TestRepository,
};

const STREAMS: [&str; 2] = ["/console/live", "/console/outbox/live"];
const POLICY: &str = "bindings:\n  people: { subjects: [{ operator: dora }, { token: desk }], roles: [viewer] }\n";

fn serve() -> (TestRepository, String) {
    let mut repo = TestRepository::small();
    repo.write("environments/dev/access.yaml", POLICY);
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    let address = repo.address().replace("127.0.0.1", "localhost");
    (repo, address)
}

/// A person with a passkey, signed in.
fn enrol(repo: &TestRepository, address: &str, name: &str, role: &str) -> Client {
    let link = repo.run(&["operator", "add", "dev", "--name", name, "--role", role]).code(0).stdout;
    let mut client = Client::at(address, "");
    let page = client.post("/console/enroll", &[("code", link.trim().split_once('#').unwrap().1)]);
    let answer = PasskeyDevice::new(address).create(&options(&page.body));
    assert_eq!(client.post("/console/enroll/passkey", &[("answer", &answer), ("label", "x")]).status, 303);
    client
}

/// Opens the streams of a browser, and reads the first update of each.
fn open(repo: &TestRepository, client: &Client) -> Vec<BufReader<TcpStream>> {
    let address = repo.address().trim_start_matches("http://");
    let cookies: Vec<String> = client.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let open = |path: &&str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {}\r\nConnection: close\r\n\r\n",
            cookies.join("; ")
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
        while !line.starts_with("data: ") {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0, "{path}: it ended before the first update");
        }
        stream
    };
    STREAMS.iter().map(open).collect()
}

/// Reads streams to their end, which must come.
fn rest(streams: Vec<BufReader<TcpStream>>) {
    for stream in streams {
        // A stream that goes on ends the test by the time limit of the socket.
        let lines: Vec<String> = stream.lines().collect::<Result<_, _>>().unwrap();
        assert_eq!(lines.iter().rev().find(|line| !line.is_empty()).map(String::as_str), Some("0"), "in good order");
    }
}

#[test]
fn streams_end_with_the_operator_and_with_its_passkey() {
    let (repo, address) = serve();
    let (dora, emil) = (enrol(&repo, &address, "dora", "bound"), enrol(&repo, &address, "emil", "viewer"));
    let (of_dora, of_emil) = (open(&repo, &dora), open(&repo, &emil));
    repo.run(&["operator", "remove", "dev", "emil", "--yes"]).code(0);
    rest(of_emil);
    let list = repo.run(&["operator", "list", "dev", "--format", "json"]).code(0).json();
    let operator = &list["operators"][0];
    let (id, passkey) = (operator["id"].as_str().unwrap(), operator["passkeys"][0]["id"].as_str().unwrap());
    let path = format!("/v1/operators/{id}/passkeys/{passkey}");
    assert!(repo.http("DELETE", &path, &[], b"").status < 300);
    rest(of_dora);
}

#[test]
fn streams_end_with_the_token_and_with_the_role() {
    let (repo, address) = serve();
    let dora = enrol(&repo, &address, "dora", "bound");
    let token = |name: &str, role: &str| {
        repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout.trim().to_owned()
    };
    let (desk, watcher) = (token("desk", "bound"), token("watcher", "viewer"));
    let [mut bound, mut by_role] = [Client::new(&repo), Client::new(&repo)];
    bound.sign_in(&desk);
    by_role.sign_in(&watcher);
    let streams = [open(&repo, &dora), open(&repo, &bound), open(&repo, &by_role)];
    // The binding goes: who had its rights by it sees nothing more. The others go on.
    repo.write("environments/dev/access.yaml", "bindings: {}\n");
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let [of_dora, of_bound, of_role] = streams;
    rest(of_dora);
    rest(of_bound);
    assert!(dora_is_refused(&repo, &dora), "and the pages are refused");
    let id = watcher.split('_').nth(1).unwrap();
    let hold = json!({ "company": "EDU1", "reason": "the-stream-goes-on" }).to_string();
    assert!(repo.http("POST", "/v1/holds", &[], hold.as_bytes()).status < 300);
    // The overview, which names the reason, is sent again.
    let mut of_role = of_role;
    let mut line = String::new();
    while !line.contains("the-stream-goes-on") {
        line.clear();
        assert!(of_role[0].read_line(&mut line).unwrap() > 0, "it ended too early");
    }
    repo.run(&["token", "revoke", "dev", id]).code(0);
    rest(of_role);
}

fn dora_is_refused(repo: &TestRepository, dora: &Client) -> bool {
    let cookies: Vec<String> = dora.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let cookies = cookies.join("; ");
    repo.http_without_token("GET", "/console/live", &[("Cookie", &cookies)], b"").status != 200
}
