//! The API against its own `OpenAPI` document, under a public fuzzer: no answer 5xx, none that is not documented.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod support;

use std::process::Command;

use support::{tools::tool, trial::Trial};

/// Fuzzes the addresses that `choice` names.
fn fuzz(trial: &Trial, choice: [&str; 2]) {
    let document = format!("{}/openapi.json", trial.address());
    let output = Command::new(tool("schemathesis"))
        .args([
            "run",
            &document,
            "--max-examples",
            "60",
            "--seed",
            "7",
            "--workers",
            "2",
            "--phases",
            "examples,coverage,fuzzing",
            // A stream of events has no end.
            "--exclude-path",
            "/v1/events",
        ])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(["-H", &format!("Authorization: Bearer {}", trial.token())])
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
        .current_dir(trial.folder.path())
        .output()
        .unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let told: String = told.chars().take(10_000).collect();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("passed"), "{told}");
}

#[test]
fn schemathesis_finds_nothing() {
    let mut trial = Trial::examples();
    trial.serve();
    trial.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    // The fuzzer remembers ids that it was told. That it may revoke its own token comes last.
    fuzz(&trial, ["--exclude-path", "/v1/tokens/{id}"]);
    assert_eq!(trial.http("GET", "/v1/service", &[], b"").status, 200);
    fuzz(&trial, ["--include-path", "/v1/tokens/{id}"]);
    trial.kill();
    let data = trial.path(".data").to_str().unwrap().to_owned();
    trial.run(&["audit", "verify", "dev", "--data", &data]).code(0);
}
