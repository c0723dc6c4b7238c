//! The file of issuers, read again while the service runs: on SIGHUP, and when its contents change. One that makes no
//! sense changes nothing, and says so.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Oidc, OidcError, Service};
use crate::{api::AuditOutcome, model::Digest, store::AuditEvent};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// The largest that is looked at, in bytes; what is larger makes no sense anyhow.
const LIMIT: u64 = 1024 * 1024;

/// The file that says whose identity tokens are taken.
#[derive(Clone, Debug)]
pub struct IssuersFile {
    /// Where it is.
    pub path: PathBuf,
    /// Certificate authorities that are trusted beside the platform's (PEM).
    pub authorities: Option<Vec<u8>>,
}

impl IssuersFile {
    /// Reads it.
    pub fn read(&self) -> Result<Oidc, OidcError> {
        Oidc::read(&self.path, self.authorities.clone())
    }

    /// Its contents, in short; none if it cannot be read.
    fn digest(&self) -> Option<Digest> {
        contents(&self.path).ok().map(|bytes| Digest::of_bytes(&bytes))
    }
}

fn contents(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Service {
    /// Takes identity tokens as the file says, and goes on doing so when it says something else. `read` is what was
    /// read of it before the service listens.
    pub fn follow_issuers(self: &Arc<Self>, file: IssuersFile, read: Oidc) {
        let seen = file.digest();
        self.accept_identity_tokens(read);
        tokio::spawn(Arc::clone(self).keep_up(file, seen));
    }

    async fn keep_up(self: Arc<Self>, file: IssuersFile, mut seen: Option<Digest>) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                () = received(hangup.as_mut()) => true,
            };
            let now = file.digest();
            if asked || now != seen {
                seen = now;
                self.take_issuers(&file).await;
            }
        }
    }

    async fn take_issuers(&self, file: &IssuersFile) {
        let path = file.path.display();
        let outcome = match file.read() {
            Ok(read) => {
                // What changes who gets in is written down before anybody does.
                let event = AuditEvent {
                    at: self.clock.now(),
                    actor: "(file of issuers)".to_owned(),
                    action: "issuers.reload",
                    outcome: AuditOutcome::Accepted,
                    detail: json!({ "issuers": read.issuers() }),
                };
                match self.store.record(event).await {
                    Ok(_) => {
                        tracing::info!(file = %path, "the file of issuers was read again, and counts from now on");
                        self.accept_identity_tokens(read);
                        "taken"
                    }
                    Err(error) => {
                        tracing::error!(file = %path, %error, "the file of issuers was read again, and that could not be written down: what was read before counts");
                        "refused"
                    }
                }
            }
            Err(error) => {
                let why = match error {
                    OidcError::Unreadable(report) => {
                        let first = report.diagnostics.first();
                        first.map_or_else(String::new, |first| format!("line {}: {}", first.line, first.message))
                    }
                    OidcError::Wrong(why) => why,
                };
                tracing::error!(file = %path, why, "the file of issuers makes no sense: what was read before counts");
                "refused"
            }
        };
        metrics::counter!("mailwright_issuers_reloads_total", "outcome" => outcome).increment(1);
    }
}

/// Waits for a signal; for ever where none can come.
async fn received(hangup: Option<&mut Signal>) {
    if let Some(hangup) = hangup
        && hangup.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}
