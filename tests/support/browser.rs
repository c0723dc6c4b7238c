//! Scripts that drive a real browser: `tests/clients/browser*.mjs`, with Chromium and Playwright from `target/tools`.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use super::tools::folder;

/// Runs a script of `tests/clients` and returns its result. `given` is an object; the script's library adds the rest.
pub(crate) fn run_script(name: &str, given: &Value) -> Value {
    let tools = folder();
    let browser = tools.join("usr/lib/chromium/chromium-headless-shell");
    assert!(browser.is_file(), "Chromium is not in target/tools; run the tests with ./test, which puts it there");
    // Where Debian's packages have libraries.
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = [format!("usr/lib/{machine}"), format!("usr/lib/{machine}/pulseaudio"), format!("lib/{machine}")];
    let libraries: Vec<String> = folders.iter().map(|folder| tools.join(folder).display().to_string()).collect();
    let mut all = json!({
        "tools": tools,
        "libraries": libraries.join(":"),
        "screenshots": Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots"),
        "assets": Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets"),
    });
    for (key, value) in given.as_object().unwrap() {
        all[key] = value.clone();
    }
    // A file, because a command line is seen by every user of the machine, and tokens are given.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), all.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    let output = Command::new("node").arg(script).arg(file.path()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}:\n{stdout}\n{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{name}: {error}:\n{stdout}\n{stderr}"))
}

/// Opens each page, a name and a path, in every way that pages must withstand: `pages` as the owner of a token, `open` without a
/// session. Returns the problems, each with its page.
pub(crate) fn check_pages(
    address: &str,
    token: &str,
    pages: &[(&str, String)],
    open: &[(&str, String)],
) -> Vec<String> {
    let list = |pages: &[(&str, String)]| -> Vec<Value> {
        pages.iter().map(|(name, path)| json!({ "name": name, "path": path })).collect()
    };
    let given = json!({ "address": address, "token": token, "pages": list(pages), "open": list(open) });
    let result = run_script("browser_pages.mjs", &given);
    let by_page = result.as_object().unwrap();
    assert_eq!(by_page.len(), pages.len() + open.len(), "{result}");
    let lines = by_page.iter().flat_map(|(page, found)| {
        found.as_array().unwrap().iter().map(move |problem| format!("{page}: {}", problem.as_str().unwrap()))
    });
    lines.collect()
}
