//! The sandbox against Microsoft's own client libraries: MSAL for Python and for Node, and the Graph client for
//! JavaScript. If they can work with it, it is not just a mirror of our own code.

use std::{path::Path, process::Command};

use crate::support::{
    sandbox::{DESKTOP, DIRECT, READER, SECRET, TENANT, good},
    tools::{folder, tool},
};
use mailwright::sandbox::{Ports, SandboxServer};
use serde_json::{Value, json};

const WRITER: &str = "0c0ffee0-0000-4000-8000-0000000000cc";

/// A certificate of an application, with its key, as files.
fn certificate(folder: &Path) -> String {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
    certificate.pem()
}

fn scenario(certificate: &str) -> Value {
    let mut scenario = good();
    let tenant = &mut scenario["tenants"][0];
    tenant["approvesDeviceCodes"] = json!("alice@contoso.example");
    let direct = &mut tenant["applications"][0];
    direct["certificates"] = json!([{ "pem": certificate }]);
    direct["federated"] =
        json!([{ "issuer": "https://issuer.example", "subject": "system:serviceaccount:mail:mailwright" }]);
    let reader = &mut tenant["applications"][3];
    reader["granted"] = json!(["Application.Read.All", "Directory.Read.All", "Organization.Read.All"]);
    let writer = json!({
        "client": WRITER, "name": "Writer", "granted": ["Mail.Send", "Mail.ReadWrite"],
        "secrets": [{ "value": "writer-secret" }],
    });
    tenant["applications"].as_array_mut().unwrap().push(writer);
    scenario
}

/// Runs a script against a sandbox of its own, and gives what it prints.
fn run(program: &Path, arguments: &[&str]) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let place = tempfile::tempdir().unwrap();
    let scenario = scenario(&certificate(place.path()));
    let applications = scenario["tenants"][0]["applications"].as_array().unwrap().len();
    let ports = Ports { https: 0, smtp: 0, smtps: 0, dns: 0 };
    let running = runtime.block_on(SandboxServer::start(serde_json::from_value(scenario).unwrap(), ports)).unwrap();
    let file = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(file("ca.pem"), &running.authority).unwrap();
    let given = json!({
        "address": running.address, "tenant": TENANT, "ca": file("ca.pem"),
        "key": file("key.pem"), "certificate": file("certificate.pem"),
        "direct": DIRECT, "secret": SECRET, "expired": "old-secret",
        "public": DESKTOP, "user": "alice@contoso.example", "sender": "documents@contoso.example",
        "reader": READER, "readerSecret": "reader-secret", "writer": WRITER, "writerSecret": "writer-secret",
        "applications": applications,
    });
    std::fs::write(file("given.json"), given.to_string()).unwrap();
    let output = Command::new(program)
        .args(arguments)
        .arg(file("given.json"))
        .env("NODE_EXTRA_CA_CERTS", file("ca.pem"))
        .env("NO_PROXY", "localhost")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

#[test]
fn msal_for_python_obtains_tokens_by_every_flow() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/msal_python.py");
    let printed = run(&tool("python3"), &[script]);
    assert_eq!(printed.lines().filter(|line| line.starts_with("ok ")).count(), 10, "{printed}");
}

#[test]
fn msal_for_node_and_the_graph_client_read_and_send() {
    // The script is next to its modules, which is where Node looks for them.
    let script = folder().join("clients/msal_node.mjs");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/msal_node.mjs"), &script).unwrap();
    let printed = run(&tool("node"), &[script.to_str().unwrap()]);
    assert_eq!(printed.lines().filter(|line| line.starts_with("ok ")).count(), 12, "{printed}");
}
