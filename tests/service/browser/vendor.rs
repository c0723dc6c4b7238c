//! The scripts of other authors in `src/console/assets`: unchanged, made from what the lock names, small, without `eval`.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mailwright::model::Digest;
use serde_json::Value;

use crate::support::tools::folder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn assets() -> PathBuf {
    root().join("src/console/assets")
}

fn documents() -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(assets().join("vendor.json")).unwrap()).unwrap()
}

/// Returns the length of a file as a browser gets it.
fn compressed(path: &Path) -> usize {
    let mut gzip = Command::new("gzip");
    let mut gzip = gzip.args(["-9", "--stdout"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, bytes) = (gzip.stdin.take().unwrap(), fs::read(path).unwrap());
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let length = gzip.wait_with_output().unwrap().stdout.len();
    writer.join().unwrap().unwrap();
    length
}

#[test]
fn each_file_is_the_one_that_its_document_names() {
    let documents = documents();
    assert_eq!(documents.len(), 4);
    let lock: Value =
        serde_json::from_str(&fs::read_to_string(root().join("tests/clients/package-lock.json")).unwrap()).unwrap();
    let locked: Vec<&Value> = lock["packages"].as_object().unwrap().values().collect();
    for document in &documents {
        let name = document["file"].as_str().unwrap();
        let bytes = fs::read(assets().join(name)).unwrap();
        let digest = format!("sha256:{}", document["sha256"].as_str().unwrap());
        assert_eq!(Digest::of_bytes(&bytes).as_str(), digest, "{name}");
        // MSAL.js has the address of a service in virtual machines, which it never asks in a browser.
        let text = String::from_utf8(bytes).unwrap().replace("http://169.254.169.254/metadata/instance/compute", "");
        for evaluates in ["eval(", "new Function(", "sourceMappingURL", "http://"] {
            assert!(!text.contains(evaluates), "{name}: {evaluates}");
        }
        for package in document["packages"].as_array().unwrap() {
            let is_locked = |locked: &&&Value| {
                locked["integrity"] == package["integrity"] && locked["version"] == package["version"]
            };
            assert!(locked.iter().any(|entry| is_locked(&entry)), "{package}");
        }
    }
}

/// npm compared the packages with the lock when `./test` installed them.
#[test]
fn the_locked_packages_make_the_same_files() {
    let made = tempfile::tempdir().unwrap();
    let script = root().join("tests/clients/vendor.mjs");
    let output = Command::new("node").arg(script).arg(folder().join("clients")).arg(made.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<String> =
        documents().iter().map(|document| document["file"].as_str().unwrap().to_owned()).collect();
    names.extend(["vendor.json", "vendor.cdx.json", "licences.txt"].map(str::to_owned));
    for name in names {
        let (committed, made) = (fs::read(assets().join(&name)).unwrap(), fs::read(made.path().join(&name)).unwrap());
        assert!(committed == made, "{name} is another; tests/clients/vendor.mjs says how to make it");
    }
}

/// The scripts of the pages "Compose" and "Waiting for me"; no other page loads them.
const OF_DELEGATES: [&str; 6] =
    ["compose.js", "delegate-mailbox.js", "delegate-return.js", "delegate.js", "msal.js", "waiting.js"];

#[test]
fn all_scripts_and_styles_are_small() {
    let (mut ordinary, mut of_delegates) = (BTreeMap::new(), BTreeMap::new());
    for entry in fs::read_dir(assets()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "js" || end == "css") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let sizes = if OF_DELEGATES.contains(&&*name) { &mut of_delegates } else { &mut ordinary };
            sizes.insert(name, compressed(&path));
        }
    }
    let all: usize = ordinary.values().sum();
    assert!(ordinary.len() >= 3 && all < 150_000, "{all}: {ordinary:?}");
    let all: usize = of_delegates.values().sum();
    assert!(of_delegates.len() == OF_DELEGATES.len() && all < 100_000, "{all}: {of_delegates:?}");
}
