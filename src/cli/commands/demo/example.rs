//! The example repository of the demo, embedded in the program: the environment `dev`, its layers, and its sealed secrets.
//!
//! [`write`] writes the files into a new folder, with the ports of the sandbox. The secrets are sealed to the public identity
//! of the examples and protect nothing.

use std::path::Path;

/// Returns the path and the contents of a file of this repository.
macro_rules! file {
    ($path:literal) => {
        ($path, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)).as_slice())
    };
}

const FILES: &[(&str, &[u8])] = &[
    file!("environments/base/environment.yaml"),
    file!("environments/base/profiles/legacy.yaml"),
    file!("environments/base/profiles/relay.yaml"),
    file!("environments/base/profiles/reports.yaml"),
    file!("environments/office/environment.yaml"),
    file!("environments/office/profiles/desktop.yaml"),
    file!("environments/office/profiles/documents.yaml"),
    file!("environments/office/profiles/remittance.yaml"),
    file!("environments/office/profiles/web.yaml"),
    file!("environments/dev/environment.yaml"),
    file!("environments/dev/profiles/desktop.yaml"),
    file!("environments/dev/profiles/documents.yaml"),
    file!("environments/dev/profiles/relay.yaml"),
    file!("environments/dev/profiles/remittance.yaml"),
    file!("environments/dev/profiles/reports.yaml"),
    file!("environments/dev/profiles/web.yaml"),
    file!("secrets/dev/demo-identity.txt"),
    file!("secrets/dev/recipients.txt"),
    file!("secrets/dev/documents/client-secret.age"),
    file!("secrets/dev/relay/password.age"),
    file!("secrets/dev/remittance/certificate.age"),
];

/// The file that names the ports of the stand-ins.
const ENVIRONMENT: &str = "environments/dev/environment.yaml";

/// Writes the files into a new folder. The stand-ins of the example listen on these ports.
pub(super) fn write(project: &Path, sandbox_port: u16, smtp_port: u16) -> std::io::Result<()> {
    for (path, contents) in FILES {
        let target = project.join(path);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if *path == ENVIRONMENT {
            let text = String::from_utf8_lossy(contents);
            let text = text.replace("8471", &sandbox_port.to_string()).replace("8487", &smtp_port.to_string());
            std::fs::write(target, text)?;
        } else {
            std::fs::write(target, contents)?;
        }
    }
    Ok(())
}
