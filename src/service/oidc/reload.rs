//! The file of issuers, read again while the service runs: on SIGHUP, and when its contents change. One that makes no
//! sense changes nothing, and says so.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Oidc, OidcError};
use crate::{
    api::AuditOutcome,
    model::Digest,
    service::Service,
    store::{AuditEvent, StoreError},
};

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
    fn read(&self) -> Result<Oidc, OidcError> {
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

/// The issuers that are believed just now, by all environments of a process.
pub struct Issuers {
    file: IssuersFile,
    /// What the file had in it when it was first read.
    first: Option<Digest>,
    present: RwLock<Arc<Oidc>>,
}

impl Issuers {
    /// Reads the file for the first time.
    pub fn read(file: IssuersFile) -> Result<Self, OidcError> {
        // Before it is read: what is written in between is seen as a change.
        let first = file.digest();
        let present = RwLock::new(Arc::new(file.read()?));
        Ok(Self { file, first, present })
    }

    /// Whose identity tokens are taken.
    pub(in crate::service) fn present(&self) -> Arc<Oidc> {
        Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on, these count, and none that was said before.
    fn accept(&self, mut oidc: Oidc) {
        let mut present = self.present.write().unwrap_or_else(PoisonError::into_inner);
        oidc.inherit(&present);
        *present = Arc::new(oidc);
    }
}

/// Goes on taking identity tokens as the file says, when it says something else, for these environments.
pub(in crate::service) async fn follow(issuers: Arc<Issuers>, services: Vec<Arc<Service>>) {
    fetch_keys(&issuers, &services);
    let mut seen = issuers.first.clone();
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        let asked = tokio::select! {
            () = tokio::time::sleep(EVERY) => false,
            () = received(hangup.as_mut()) => true,
        };
        let now = issuers.file.digest();
        if asked || now != seen {
            seen = now;
            let outcome = read_again(&issuers, &services).await;
            for service in &services {
                let count = || metrics::counter!("mailwright_issuers_reloads_total", "outcome" => outcome).increment(1);
                service.behalf.call(count);
            }
        }
    }
}

/// Begins to fetch the keys of issuers of whom none are known, so that no request has to wait for them.
fn fetch_keys(issuers: &Issuers, services: &[Arc<Service>]) {
    if let Some(service) = services.first() {
        issuers.present().fetch_keys(service.clock.now());
    }
}

async fn read_again(issuers: &Issuers, services: &[Arc<Service>]) -> &'static str {
    let path = issuers.file.path.display();
    let read = match issuers.file.read() {
        Ok(read) => read,
        Err(error) => {
            let why = match error {
                OidcError::Unreadable(report) => {
                    let first = report.diagnostics.first();
                    first.map_or_else(String::new, |first| format!("line {}: {}", first.line, first.message))
                }
                OidcError::Wrong(why) => why,
            };
            tracing::error!(file = %path, why, "the file of issuers makes no sense: what was read before counts");
            return "refused";
        }
    };
    // What changes who gets in is written down before anybody does.
    if let Err(error) = written_down(&read, services).await {
        tracing::error!(file = %path, %error, "the file of issuers was read again, and that could not be written down: what was read before counts");
        return "refused";
    }
    tracing::info!(file = %path, "the file of issuers was read again, and counts from now on");
    issuers.accept(read);
    fetch_keys(issuers, services);
    "taken"
}

async fn written_down(read: &Oidc, services: &[Arc<Service>]) -> Result<(), StoreError> {
    for service in services {
        let event = AuditEvent {
            at: service.clock.now(),
            actor: "(file of issuers)".to_owned(),
            action: "issuers.reload",
            outcome: AuditOutcome::Accepted,
            detail: json!({ "issuers": read.issuers() }),
        };
        service.behalf.run(service.store.record(event)).await?;
    }
    Ok(())
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
