//! Reload of the trusted issuers while the service runs: on SIGHUP, and when the settings change.
//!
//! [`Issuers`] holds the [`IssuerSet`] in effect; [`follow`] replaces it. Settings that are not valid change nothing and are
//! reported in the log. A reload is recorded in every environment's audit log before it takes effect; if one record fails, the
//! earlier set stays and the reload is tried again, at intervals that double up to 5 minutes. Settings that are not valid are read
//! again at SIGHUP or at the next change of the source, which is looked at every 5 seconds: the same contents stay invalid.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{IssuerSet, OidcSettings};
use crate::{
    model::{AuditOutcome, Digest},
    service::Service,
    store::{AuditEvent, StoreError},
};

/// Interval at which the source is checked for changes.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// The longest interval between two tries of a reload that could not be recorded.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// The outcome of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reload {
    /// The settings are in effect.
    Accepted,
    /// The settings cannot be read, or are not valid.
    Invalid,
    /// The audit log of an environment cannot be written.
    NotRecorded,
}

/// Source of the issuers' settings: a file that the caller of the service reads.
pub trait IssuersSource: Send + Sync {
    /// Returns the name of the source, for the log.
    fn name(&self) -> String;
    /// Returns a digest of the present contents; none if they cannot be read.
    fn digest(&self) -> Option<Digest>;
    /// Reads the settings. An error is one line that says what is wrong.
    fn read(&self) -> Result<OidcSettings, String>;
}

/// The trusted issuers in effect, shared by all environments of a process.
pub struct Issuers {
    source: Box<dyn IssuersSource>,
    authorities: Option<Vec<u8>>,
    /// True if the service knows the address that identity providers send browsers back to.
    has_public_url: bool,
    /// The digest of the contents that were read first.
    first: Option<Digest>,
    current: RwLock<Arc<IssuerSet>>,
}

impl Issuers {
    /// Starts with settings that the caller read from `source` when it had the digest `first`. `authorities` (PEM) are
    /// trusted in addition to the platform's certificate authorities. Without a public URL, settings by which persons sign in are
    /// refused. An error says which setting is wrong.
    pub fn new(
        source: Box<dyn IssuersSource>,
        first: Option<Digest>,
        settings: OidcSettings,
        authorities: Option<Vec<u8>>,
        has_public_url: bool,
    ) -> Result<Self, String> {
        let current = RwLock::new(Arc::new(create_set(settings, authorities.clone(), has_public_url)?));
        Ok(Self { source, authorities, has_public_url, first, current })
    }

    /// Returns the issuers in effect.
    pub(in crate::service) fn current(&self) -> Arc<IssuerSet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, mut set: IssuerSet) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        set.inherit_keys(&current);
        *current = Arc::new(set);
    }
}

fn create_set(settings: OidcSettings, authorities: Option<Vec<u8>>, has_public_url: bool) -> Result<IssuerSet, String> {
    if settings.signs_in_persons() && !has_public_url {
        return Err(
            "`console` needs the address that browsers are sent back to: start the service with `--public-url`"
                .to_owned(),
        );
    }
    IssuerSet::new(settings, authorities)
}

/// Reloads the issuers of these environments whenever the source changes or the process receives SIGHUP.
pub(in crate::service) async fn follow(issuers: Arc<Issuers>, services: Vec<Arc<Service>>) {
    fetch_missing_keys(&issuers, &services);
    let mut seen = issuers.first.clone();
    let mut hangup = signal(SignalKind::hangup()).ok();
    // The number of tries that could not be recorded, and the time of the next one.
    let (mut failures, mut retry_at) = (0_u32, None::<Instant>);
    loop {
        let is_requested = tokio::select! {
            () = tokio::time::sleep(CHECK_EVERY) => false,
            () = received(hangup.as_mut()) => true,
        };
        let digest = issuers.source.digest();
        let is_due = retry_at.is_some_and(|at| at <= Instant::now());
        if is_requested || is_due || digest != seen {
            seen = digest;
            let reloaded = reload(&issuers, &services).await;
            failures = if reloaded == Reload::NotRecorded { failures.saturating_add(1) } else { 0 };
            retry_at = (failures > 0).then(|| Instant::now() + retry_after(failures));
            let outcome = if reloaded == Reload::Accepted { "accepted" } else { "refused" };
            for service in &services {
                let count = || metrics::counter!("mailwright_issuers_reloads_total", "outcome" => outcome).increment(1);
                service.context.in_scope(count);
            }
        }
    }
}

/// Starts to fetch the keys of issuers without known keys, so that no request has to wait for them.
fn fetch_missing_keys(issuers: &Issuers, services: &[Arc<Service>]) {
    if let Some(service) = services.first() {
        issuers.current().fetch_missing_keys(service.clock.now());
    }
}

/// Returns the time after which a reload that could not be recorded is tried again.
fn retry_after(failures: u32) -> Duration {
    let factor = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    CHECK_EVERY.saturating_mul(factor).min(LONGEST_RETRY)
}

/// Reads the settings and puts them into effect.
async fn reload(issuers: &Issuers, services: &[Arc<Service>]) -> Reload {
    let file = issuers.source.name();
    let create = |settings| create_set(settings, issuers.authorities.clone(), issuers.has_public_url);
    let read = issuers.source.read().and_then(create);
    let set = match read {
        Ok(set) => set,
        Err(reason) => {
            tracing::error!(file, reason, "cannot use the issuers file; the settings read before stay in effect");
            return Reload::Invalid;
        }
    };
    // The audit log has the change before it admits a caller.
    if let Err(error) = record_reload(&set, services).await {
        tracing::error!(file, %error, "cannot record the reload of the issuers file; the settings read before stay in effect");
        return Reload::NotRecorded;
    }
    tracing::info!(file, "issuers file reloaded");
    issuers.replace(set);
    // Streams of persons that the settings do not admit any more end.
    for service in services {
        service.sessions_changed();
    }
    fetch_missing_keys(issuers, services);
    Reload::Accepted
}

async fn record_reload(set: &IssuerSet, services: &[Arc<Service>]) -> Result<(), StoreError> {
    for service in services {
        let event = AuditEvent {
            at: service.clock.now(),
            actor: "(issuers file)".to_owned(),
            action: "issuers.reload",
            outcome: AuditOutcome::Accepted,
            detail: json!({ "issuers": set.names() }),
        };
        service.context.instrument(service.store.record(event)).await?;
    }
    Ok(())
}

/// Waits for a signal; forever if none can arrive.
async fn received(hangup: Option<&mut Signal>) {
    if let Some(hangup) = hangup
        && hangup.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_that_is_not_recorded_is_tried_again_at_growing_intervals() {
        let waits: Vec<u64> = (1..=8).map(|failures| retry_after(failures).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(retry_after(u32::MAX), LONGEST_RETRY);
    }
}
