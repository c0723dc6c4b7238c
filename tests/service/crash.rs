//! `kill -9` at any moment of an apply: the old generation or the new one, never between, and the audit chain holds.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "the long form is asked for, and reports")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::support::repository::TestRepository;
use serde_json::{Value, json};

/// The number of times that the service is killed. The long form: `MAILWRIGHT_TEST_CRASHES=200`.
fn kills() -> u32 {
    std::env::var("MAILWRIGHT_TEST_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(80)
}
/// Profiles that every apply changes.
const PROFILES: u32 = 40;

fn profile(round: u32, number: u32) -> Value {
    let functions = if number == 0 { json!(["default"]) } else { json!(["all-reports"]) };
    json!({ "profile": {
        "description": format!("round {round}"), "enabled": number == 0, "provider": { "smtp": { "host": "smtp.example.com" } },
        "from": { "address": "erp@example.com" }, "functions": functions, "appliesTo": "system-wide",
    } })
}

fn changeset(round: u32, base: u64) -> String {
    let action = if base == 0 { "create" } else { "update" };
    let changes: Vec<_> = (0..PROFILES)
        .map(|number| json!({ "action": action, "name": format!("p{number}"), "profile": profile(round, number) }))
        .collect();
    json!({ "id": format!("018f3a2e-0000-7000-8000-{round:012}"), "environment": "dev", "base": base, "settings": { "companies": ["EDU1"] }, "changes": changes }).to_string()
}

/// The time before the kill: around the time that an apply takes here and now, whatever else the machine does. It
/// is found by what happened, and not measured.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(Duration::from_millis(8))
    }

    /// Anywhere from at once to well after it.
    fn next(&self, round: u32) -> Duration {
        self.0.mul_f64(f64::from(round * 7919 % 1600) / 1000.0)
    }

    fn was_too_short(&mut self) {
        self.0 = self.0.mul_f64(1.1).min(Duration::from_secs(5));
    }

    fn was_too_long(&mut self) {
        self.0 = self.0.mul_f64(0.9).max(Duration::from_micros(200));
    }
}

/// Sends without waiting for the answer.
fn send(repo: &TestRepository, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(repo.address().trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /v1/changesets HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        repo.token(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The generation and the round that all profiles are of.
fn whole(repo: &TestRepository) -> (u64, Option<u32>) {
    let state = repo.state();
    let generation = state["generation"].as_u64().unwrap();
    let mut rounds: Vec<&str> = state["profiles"]
        .as_object()
        .unwrap()
        .values()
        .map(|profile| profile["live"]["profile"]["description"].as_str().unwrap())
        .collect();
    assert!(rounds.is_empty() || rounds.len() == PROFILES as usize, "{} profiles", rounds.len());
    rounds.dedup();
    assert!(rounds.len() <= 1, "the state is of several rounds: {rounds:?}");
    (generation, rounds.first().map(|round| round.trim_start_matches("round ").parse().unwrap()))
}

#[test]
fn a_killed_apply_was_taken_whole_or_not_at_all() {
    let mut repo = TestRepository::small();
    repo.serve();
    let (mut taken, mut lost, mut answered) = (0, 0, 0);
    let mut pause = Pause::new();
    let kills = kills();
    for round in 1..=kills {
        let (before, _) = whole(&repo);
        let body = changeset(round, before);
        let mut stream = send(&repo, &body);
        std::thread::sleep(pause.next(round));
        repo.kill();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        repo.serve();
        let (after, of) = whole(&repo);
        let was_answered = answer.starts_with("HTTP/1.1 201");
        answered += u32::from(was_answered);
        if after == before {
            assert!(!was_answered, "round {round} was answered and is lost");
            lost += 1;
            pause.was_too_short();
            // The same changeset again is taken now, and once only.
            let answer = repo.http("POST", "/v1/changesets", &[], body.as_bytes());
            assert_eq!(answer.status, 201, "{}", answer.body);
        } else {
            assert_eq!((after, of), (before + 1, Some(round)));
            taken += 1;
            pause.was_too_long();
            let answer = repo.http("POST", "/v1/changesets", &[], body.as_bytes());
            assert_eq!((answer.status, &answer.json()["outcome"]), (200, &json!("already-applied")));
        }
        if round % 20 == 0 {
            repo.run(&["audit", "verify", "dev"]).code(0);
        }
    }
    assert!(taken > 10 && lost > 10, "the kills do not spread: {taken} taken ({answered} answered), {lost} lost");
    let verified = repo.run(&["audit", "verify", "dev", "--format", "json"]).code(0).json();
    assert_eq!(verified["entries"], u64::from(kills) + 1);
}

/// A client that is killed closes its connection. The state that was committed must then be the one that is reported, and
/// the one that mail is sent by.
#[test]
fn after_a_client_goes_away_the_reported_and_the_stored_state_agree() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut pause = Pause::new();
    let (mut taken, mut lost) = (0, 0);
    for round in 1..=100 {
        let (before, _) = whole(&repo);
        let body = changeset(round, before);
        let stream = send(&repo, &body);
        std::thread::sleep(pause.next(round));
        drop(stream);
        // The same changeset again waits for the first one, if that is under way still, and returns its outcome.
        let again = repo.http("POST", "/v1/changesets", &[], body.as_bytes());
        match again.status {
            201 => {
                lost += 1;
                pause.was_too_short();
            }
            200 => {
                assert_eq!(again.json()["outcome"], "already-applied", "{}", again.body);
                taken += 1;
                pause.was_too_long();
            }
            _ => panic!("round {round}: {}", again.body),
        }
        let kept = repo.http("GET", "/v1/generations?limit=1", &[], b"").json()["generations"][0]["number"].as_u64();
        let (reported, of) = whole(&repo);
        assert_eq!((kept, reported, of), (Some(reported), before + 1, Some(round)), "round {round}");
    }
    println!("{taken} taken, {lost} lost");
    assert!(taken > 10, "{taken} taken, {lost} lost");
}
