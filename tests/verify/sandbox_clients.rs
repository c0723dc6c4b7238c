//! The sandbox against Microsoft's own client libraries: MSAL for Python, for Node and for browsers, azure-identity, the
//! generated Graph SDK for Python, and the Graph client for JavaScript. If they can work with it, it is not just a mirror of
//! our own code.

use std::{path::Path, process::Command};

use crate::support::{
    sandbox::{DESKTOP, DIRECT, READER, SECRET, Sandbox, TENANT, good},
    tools::{folder, tool},
};
use serde_json::{Value, json};

const WRITER: &str = "0c0ffee0-0000-4000-8000-0000000000cc";
const ADMINISTRATOR: &str = "0c0ffee0-0000-4000-8000-0000000000ad";
const PAGE: &str = "0c0ffee0-0000-4000-8000-0000000000e3";
const SERVER: &str = "0c0ffee0-0000-4000-8000-0000000000e4";

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
    let administrator = json!({
        "client": ADMINISTRATOR, "name": "Administrator", "secrets": [{ "value": "admin-secret" }],
        "granted": ["Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"],
    });
    // The same page as a `spa`, and as a `web` by mistake.
    let delegated = ["Mail.Send", "User.Read", "User.ReadBasic.All"];
    let page = |client: &str, platform: &str| json!({ "client": client, "name": "Page", "redirects": { platform: ["http://localhost/page"] }, "consented": delegated });
    let more = [writer, administrator, page(PAGE, "spa"), page(SERVER, "web")];
    tenant["applications"].as_array_mut().unwrap().extend(more);
    tenant["groups"] = json!([{ "name": "Sales", "mail": "sales@contoso.example" }]);
    tenant["contacts"] = json!([{ "name": "Customer Ltd", "mail": "info@customer.example", "company": "Customer" }]);
    scenario
}

/// A token of the issuer that the application trusts.
fn assertion() -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    let part = |document: Value| BASE64_URL_SAFE_NO_PAD.encode(document.to_string());
    let claims = json!({
        "iss": "https://issuer.example", "sub": "system:serviceaccount:mail:mailwright", "aud": "api://AzureADTokenExchange",
    });
    format!("{}.{}.c2lnbmF0dXJl", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims))
}

/// Runs a script against a sandbox of its own, and gives what it prints.
fn run(program: &Path, arguments: &[&str]) -> String {
    let place = tempfile::tempdir().unwrap();
    let scenario = scenario(&certificate(place.path()));
    let applications = scenario["tenants"][0]["applications"].as_array().unwrap().len();
    let sandbox = Sandbox::start(scenario);
    let file = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(file("ca.pem"), &sandbox.running.authority).unwrap();
    let given = json!({
        "address": sandbox.running.address, "tenant": TENANT, "ca": file("ca.pem"),
        "key": file("key.pem"), "certificate": file("certificate.pem"),
        "direct": DIRECT, "secret": SECRET, "expired": "old-secret",
        "public": DESKTOP, "user": "alice@contoso.example", "sender": "documents@contoso.example",
        "reader": READER, "readerSecret": "reader-secret", "writer": WRITER, "writerSecret": "writer-secret",
        "applications": applications, "administrator": ADMINISTRATOR, "administratorSecret": "admin-secret",
        "assertion": assertion(),
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

#[test]
fn azure_identity_and_the_generated_sdk_sign_in_read_write_and_send() {
    let python = folder().join("python-graph/bin/python3");
    assert!(python.is_file(), "msgraph-sdk is not in target/tools; run the tests with ./test, which puts it there");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/graph_python.py");
    let printed = run(&python, &[script]);
    assert_eq!(printed.lines().filter(|line| line.starts_with("ok ")).count(), 15, "{printed}");
}

#[cfg(target_os = "linux")]
#[test]
fn msal_for_browsers_signs_in_and_a_page_of_another_origin_calls_graph() {
    let place = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(scenario(&certificate(place.path())));
    let given = json!({
        "sandbox": sandbox.running.address, "tenant": TENANT, "client": PAGE, "other": SERVER, "user": "alice@contoso.example",
    });
    let seen = crate::support::browser::run_script("browser_msal.mjs", &given);
    let own = &seen["own"];
    assert_eq!((&own["account"], &own["renewed"]), (&json!("alice@contoso.example"), &json!(true)), "{seen}");
    assert_eq!(own["sent"]["status"], 202, "{seen}");
    assert_eq!(own["found"]["body"]["value"], json!([{ "mail": "alice@contoso.example" }]), "{seen}");
    // A page can read an error, its id and the time to wait.
    assert_eq!((&own["refused"]["status"], own["refused"]["id"].is_string()), (&json!(404), true), "{seen}");
    assert_eq!((&own["throttled"]["status"], &own["throttled"]["after"]), (&json!(429), &json!("7")), "{seen}");
    // A page that is registered as `web` learns why it cannot redeem its code.
    let other = &seen["other"];
    assert!(other["text"].as_str().unwrap().contains("AADSTS9002326"), "{seen}");
    assert_eq!([&own["violations"], &other["violations"]], [&json!([]), &json!([])], "{seen}");
}
