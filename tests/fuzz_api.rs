//! The API against its own OpenAPI document, under a public fuzzer: no answer 5xx, none that is not documented.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod support;

use std::process::Command;

use support::{tools::tool, trial::Trial};

#[test]
fn schemathesis_finds_nothing() {
    let mut trial = Trial::examples();
    trial.serve();
    trial.run(&["apply", "dev", "--yes"]).code(0);
    let document = format!("{}/openapi.json", trial.address());
    let output = Command::new(tool("schemathesis"))
        .args(["run", &document, "--max-examples", "40", "--seed", "7", "--workers", "2", "--phases", "examples,coverage,fuzzing"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
        // Revoking the token that the fuzzer uses would end it early; the service forbids that by itself.
        .args(["-H", &format!("Authorization: Bearer {}", trial.token())])
        .args(["--request-timeout", "30", "--no-color", "--suppress-health-check", "all", "--generation-database", "none"])
        .current_dir(trial.folder.path())
        .output()
        .unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("Test cases:") || told.contains("generated"), "{told}");
    trial.run(&["audit", "verify", "dev"]).code(0);
}
