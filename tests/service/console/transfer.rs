//! How pages and assets reach a browser: by HTTP/2 where TLS is on, compressed, and small together; events as they happen.

use std::path::Path;

use crate::support::{browser::run_script, repository::TestRepository};
use serde_json::json;

/// Maximum size of all assets together, compressed, in bytes.
const ASSETS_LIMIT: u64 = 150_000;

#[test]
fn a_browser_gets_pages_by_http_2_compressed_and_events_at_once() {
    let mut repo = TestRepository::examples();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    repo.write("server.pem", cert.pem());
    repo.write("server.key", signing_key.serialize_pem());
    let path = |name: &str| repo.path(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("server.pem"), path("server.key"));
    repo.serve_with(&["--demo", "--tls-cert", &certificate, "--tls-key", &key]);
    let pages = ["/console/setup", "/console", "/console/outbox", "/console/profiles/new?provider=smtp"];
    let given = json!({ "address": repo.address(), "certificate": certificate, "token": repo.token(), "pages": pages });
    let result = run_script("http2.mjs", &given);
    assert_eq!((&result["protocol"], &result["status"]), (&json!("h2"), &json!(303)));
    for page in pages {
        let seen = &result["pages"][page];
        assert_eq!((&seen["status"], &seen["encoding"]), (&json!(200), &json!("gzip")), "{page}: {result:#}");
        let (compressed, size) = (seen["compressed"].as_u64().unwrap(), seen["size"].as_u64().unwrap());
        assert!(compressed * 3 < size * 2, "{page}: {seen}");
    }
    let assets = result["assets"].as_object().unwrap();
    let mut total = 0;
    for (name, seen) in assets {
        assert_eq!(seen["status"], 200, "{name}");
        assert!(seen["encoding"] == "gzip" || seen["size"].as_u64().unwrap() < 1024, "{name}: {seen}");
        total += seen["compressed"].as_u64().unwrap();
    }
    // A file that other pages refer to counts with its full size.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets");
    for file in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        let is_document = name.starts_with("vendor.") || name == "licences.txt";
        // Those of the pages for delegate profiles have a limit of their own (`browser/vendor.rs`).
        let is_of_delegates = name.starts_with("delegate") || ["msal.js", "compose.js", "waiting.js"].contains(&&*name);
        if !is_document && !is_of_delegates && !assets.contains_key(&name) {
            total += file.metadata().unwrap().len();
        }
    }
    assert!(assets.contains_key("age.js") && assets.contains_key("htmx.min.js"), "{assets:#?}");
    assert!(total < ASSETS_LIMIT, "{total} bytes: {assets:#?}");
    let live = json!({ "type": "text/event-stream", "encoding": "", "arrived": true, "hold": 201 });
    assert_eq!(result["live"], live);
}
