//! The verifier with many profiles, compared with the least time that its requests can take. `benches/README.md`
//! describes how to run it and its results.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    missing_docs,
    reason = "a benchmark prints, and ends where it fails"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use mailwright::{
    entra::{
        Endpoints, Http, http,
        sign_in::{ClientAuthentication, SignIn},
    },
    model::{Cloud, cloud::CustomCloud, finding::Level},
    sandbox::scenario::Tenant,
    time::Clock,
    verify::{Subject, SubjectSecret, Verifier, VerifyOptions},
};
use secrecy::SecretString;
use serde_json::json;
use support::repository::PROGRAM;

/// The delay of every reply of the sandbox.
const LATENCY: Duration = Duration::from_millis(20);
const CONNECTIONS: u32 = 8;
const TENANT: &str = "contoso.example";
const READER: &str = "0c0ffee0-0000-4000-8000-0000000000aa";

fn main() {
    println!("| what | profiles | requests | a profile | least time | ours | ratio | memory added |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sandbox = Sandbox::start();
    for profiles in [100, 1000, 5000] {
        runtime.block_on(run("direct, each with a credential of its own", &sandbox, profiles, false));
    }
    for profiles in [100, 1000, 5000] {
        runtime.block_on(run("delegate, one reader's token", &sandbox, profiles, true));
    }
}

/// Runs in a process of its own, so that its memory is not counted.
struct Sandbox {
    child: Child,
    address: String,
    authority: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Sandbox {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (scenario, ca) = (folder.path().join("scenario.json"), folder.path().join("ca.pem"));
        let document = json!({
            "latency": LATENCY.as_millis(),
            "dns": { TENANT: ["v=spf1 -all"], "_dmarc.contoso.example": ["v=DMARC1; p=none"] },
            "tenants": [{
                "id": "0c0ffee0-0000-4000-8000-000000000001", "domains": [TENANT], "moreRegistrations": 5000,
                "applications": [{
                    "client": READER, "granted": ["Directory.Read.All", "Application.Read.All"],
                    "secrets": [{ "value": "reader-secret" }],
                }],
            }],
        });
        std::fs::write(&scenario, document.to_string()).unwrap();
        let mut child = Command::new(PROGRAM)
            .arg("sandbox")
            .arg(&scenario)
            .arg("--ca-file")
            .arg(&ca)
            .args(["--port", "0", "--smtp-port", "0", "--smtps-port", "0", "--dns-port", "0", "--stop-at-end-of-input"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(found) = line.strip_prefix("Entra and Graph") {
                found.trim().clone_into(&mut address);
            }
            if line.starts_with("Authority") {
                break;
            }
        }
        Self { child, address, authority: std::fs::read(&ca).unwrap(), _folder: folder }
    }

    fn http(&self) -> http::HttpOptions {
        http::HttpOptions { authorities: Some(self.authority.clone()), ..http::HttpOptions::default() }
    }

    async fn reader(&self) -> SecretString {
        let custom = CustomCloud { sign_in: self.address.clone(), graph: self.address.clone() };
        let endpoints = Endpoints::for_cloud(&Cloud::Custom(custom)).unwrap();
        let sign_in = SignIn::new(Http::new(&self.http()).unwrap(), endpoints.clone());
        let proof = ClientAuthentication::Secret("reader-secret".to_owned().into());
        sign_in
            .application_token(TENANT, READER, &proof, &endpoints.graph_scope(), Clock::system().now())
            .await
            .unwrap()
            .value
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn run(what: &str, sandbox: &Sandbox, profiles: u32, delegates: bool) {
    let cloud = json!({ "custom": { "signIn": sandbox.address, "graph": sandbox.address } });
    let subjects: Vec<Subject> = (0..profiles)
        .map(|number| {
            let client = Tenant::additional_client_id(number).to_string();
            let profile = if delegates {
                json!({
                    "provider": { "microsoft-graph-delegate": {
                        "cloud": cloud, "tenant": TENANT, "client": client, "platform": "native", "redirect": "https://localhost",
                    } },
                    "functions": ["user-interface"], "appliesTo": "system-wide",
                })
            } else {
                // DNS queries are not measured here. Without a From, none is sent.
                json!({
                    "provider": { "microsoft-graph-direct": {
                        "cloud": cloud, "tenant": TENANT, "client": client,
                        "credential": { "clientSecret": { "secret": "a/b" } },
                    } },
                    "functions": ["all-documents"], "appliesTo": "system-wide",
                })
            };
            let secret =
                if delegates { SubjectSecret::None } else { SubjectSecret::Value(format!("secret-of-{number}").into()) };
            Subject {
                name: format!("p{number}").parse().unwrap(),
                profile: serde_json::from_value(profile).unwrap(),
                secret,
                next: SubjectSecret::None,
                refused: None,
            }
        })
        .collect();
    let mut options = VerifyOptions::new("dev".parse().unwrap(), Clock::system().now());
    options.http = sandbox.http();
    options.reader = if delegates { Some(sandbox.reader().await) } else { None };
    let wanted = if delegates { Level::Reader } else { Level::Credential };
    let verifier = Arc::new(Verifier::new(options).unwrap());
    let before = memory("VmRSS:");
    // Reset the peak.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let started = Instant::now();
    let mut results = Arc::clone(&verifier).run(subjects);
    let mut done = 0;
    while let Some(verified) = results.recv().await {
        assert_eq!(verified.reached, wanted, "{:?}", verified.findings);
        done += 1;
    }
    assert_eq!(done, profiles);
    let ours = started.elapsed();
    let requests = u32::try_from(verifier.requests()).unwrap();
    let least = LATENCY * requests.div_ceil(CONNECTIONS);
    println!(
        "| {what} | {profiles} | {requests} | {:.2} | {:.2} s | {:.2} s | {:.2} | {} MB |",
        f64::from(requests) / f64::from(profiles),
        least.as_secs_f64(),
        ours.as_secs_f64(),
        ours.as_secs_f64() / least.as_secs_f64(),
        memory("VmHWM:").saturating_sub(before) / 1024
    );
}

/// Returns the memory of this process (`VmRSS:`), or its peak (`VmHWM:`), in KiB.
fn memory(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
