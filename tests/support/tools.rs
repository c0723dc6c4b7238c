//! Programs that nobody here wrote. `./test` unpacks them into `target/tools`.

use std::path::PathBuf;

/// Where `./test` unpacks.
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

/// A binary age file in the armor of age.
pub(crate) fn armored(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN AGE ENCRYPTED FILE-----\n{}\n-----END AGE ENCRYPTED FILE-----\n", lines.join("\n"))
}
