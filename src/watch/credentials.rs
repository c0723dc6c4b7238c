//! Credentials that expire soon: reads the service's last verifications, and has profiles verified whose last one is old.
//!
//! A pass calls [`CredentialMonitor::find_expiring`]. Only the watch that holds the lease requests verifications, and not more than
//! one an hour, whatever its outcome. If the service does not answer, the result is none, and what was found before stays reported.
//! No credential is read: the service verifies.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::SignedDuration;

use super::{ExpiringCredential, Shared, loader::LoadedFiles};
use crate::{
    client::Client,
    model::{EnvironmentName, LastVerified, ProfileName, State, StoredProfile},
    operations::gate,
    verify::expiry::{self, CredentialExpiry},
};

/// The time limit for reading the last verifications.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// The time limit of a verification.
const VERIFY_LIMIT: Duration = Duration::from_secs(120);
/// The age from which a verification is repeated.
const OLD: SignedDuration = SignedDuration::from_hours(24);
/// The shortest pause between two verifications, whatever their outcome.
const PAUSE: Duration = Duration::from_secs(3600);

/// Watches the credentials of one environment.
pub(super) struct CredentialMonitor {
    name: EnvironmentName,
    /// The time of the last verification that this watch requested.
    verified: Option<Instant>,
}

impl CredentialMonitor {
    pub(super) fn new(name: EnvironmentName) -> Self {
        Self { name, verified: None }
    }

    /// Returns the credentials that expire soon, or none if the service does not answer. `is_active` is true for the watch that
    /// holds the lease: it has old verifications repeated.
    pub(super) async fn find_expiring(
        &mut self,
        shared: &Shared,
        client: &Client,
        state: &State,
        files: &LoadedFiles,
        is_active: bool,
    ) -> Option<Vec<ExpiringCredential>> {
        let mut last = fetch_last_verified(client).await?;
        if is_active && self.verify_old(shared, client, state, files, &last).await {
            last = fetch_last_verified(client).await?;
        }
        let now = shared.options.clock.now();
        let limit = SignedDuration::from_hours(24 * i64::from(files.desired.verify.credential_days));
        let soon = expiry::live_credentials(state, &last).into_iter().filter_map(|credential| {
            let end = credential.end.filter(|end| end.ends.duration_since(now) <= limit)?;
            let days = (end.ends.as_second() - now.as_second()).div_euclid(86_400);
            Some(ExpiringCredential {
                profile: credential.profile.to_string(),
                secret: credential.secret.to_string(),
                kind: credential.kind,
                ends: end.ends,
                days,
            })
        });
        Some(soon.collect())
    }

    /// Has the service verify the profiles whose last verification is old. Returns true if it did.
    async fn verify_old(
        &mut self,
        shared: &Shared,
        client: &Client,
        state: &State,
        files: &LoadedFiles,
        last: &BTreeMap<ProfileName, LastVerified>,
    ) -> bool {
        let now = shared.options.clock.now();
        let is_due = |row: &CredentialExpiry| row.is_old || row.seen.is_none_or(|seen| now.duration_since(seen) >= OLD);
        let due: Vec<ProfileName> =
            expiry::live_credentials(state, last).into_iter().filter(is_due).map(|row| row.profile).collect();
        let profiles: BTreeMap<ProfileName, StoredProfile> = state
            .live_stored()
            .filter(|(name, stored)| stored.profile.enabled && due.contains(name))
            .map(|(name, stored)| (name.clone(), stored.clone()))
            .collect();
        if profiles.is_empty() || self.verified.is_some_and(|at| at.elapsed() < PAUSE) {
            return false;
        }
        self.verified = Some(Instant::now());
        let request = {
            let _checked_out = shared.files.read().await;
            gate::profile_request(files.snapshot.repository.root(), &files.desired, profiles)
        };
        let failure = match request {
            Ok(request) => match tokio::time::timeout(VERIFY_LIMIT, client.verify(&request, drop)).await {
                Ok(Ok(_)) => return true,
                Ok(Err(error)) => error.message,
                Err(_) => format!("no answer within {VERIFY_LIMIT:?}"),
            },
            Err(error) => error.message,
        };
        tracing::warn!(environment = %self.name, problem = failure, "cannot read when credentials expire");
        false
    }
}

/// Reads the last verification of each profile.
async fn fetch_last_verified(client: &Client) -> Option<BTreeMap<ProfileName, LastVerified>> {
    Some(tokio::time::timeout(READ_LIMIT, client.last_verified()).await.ok()?.ok()?.profiles)
}
