//! Third-party programs. `./test` unpacks them into `target/tools`.

use std::path::PathBuf;

/// Returns the folder that `./test` unpacks into.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}

/// A program of `target/tools`. A test without it fails, and says what to do.
pub(crate) fn tool(name: &str) -> PathBuf {
    let tools = folder();
    let places = [tools.join("usr/bin").join(name), tools.join("python/bin").join(name)];
    places
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .unwrap_or_else(|| panic!("`{name}` is not in target/tools; run the tests with ./test, which puts it there"))
}

/// An age file without its armor.
pub(crate) fn without_armor(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = std::str::from_utf8(bytes).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::prelude::BASE64_STANDARD.decode(body).unwrap()
}
