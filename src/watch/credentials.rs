//! Credentials that end: what `verify` saw, and that it is seen at all.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::SignedDuration;

use super::{
    Expiring, Shared,
    environment::{Read, Watched},
};
use crate::{
    api::VerifyRequest,
    client::Client,
    model::{LastVerified, ProfileName, State, StoredProfile},
    verify::{
        expiry::{self, CredentialExpiry},
        gate,
    },
};

/// How long a service may take to say what was seen.
const ASK: Duration = Duration::from_secs(60);
/// How long it may take to look anew.
const VERIFY: Duration = Duration::from_secs(120);
/// What was seen so long ago is looked at anew.
const OLD: SignedDuration = SignedDuration::from_hours(24);
/// And no more often than this, whatever comes of it.
const PAUSE: Duration = Duration::from_secs(3600);

impl Watched {
    /// Credentials that end soon, or none if nobody can say.
    pub(super) async fn expiring(
        &mut self,
        shared: &Shared,
        client: &Client,
        state: &State,
        read: &Read,
    ) -> Option<Vec<Expiring>> {
        let mut last = seen(client).await?;
        if self.is_acting() && self.look_anew(shared, client, state, read, &last).await {
            last = seen(client).await?;
        }
        let now = shared.options.clock.now();
        let limit = SignedDuration::from_hours(24 * i64::from(read.desired.verify.credential_days));
        let soon = expiry::live_credentials(state, &last).into_iter().filter_map(|credential| {
            let end = credential.end.filter(|end| end.ends.duration_since(now) <= limit)?;
            let days = (end.ends.as_second() - now.as_second()).div_euclid(86_400);
            Some(Expiring {
                profile: credential.profile.to_string(),
                secret: credential.secret.to_string(),
                kind: credential.kind,
                ends: end.ends,
                days,
            })
        });
        Some(soon.collect())
    }

    /// Has the service verify the profiles whose credentials nobody has looked at for long. Whether it did.
    async fn look_anew(
        &mut self,
        shared: &Shared,
        client: &Client,
        state: &State,
        read: &Read,
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
        let reader = {
            let _lying = shared.files.read().await;
            gate::reader_file(read.snapshot.repository.root(), &read.desired)
        };
        let request = VerifyRequest {
            environment: self.name.clone(),
            siblings: gate::beside(&read.desired, &profiles),
            profiles,
            // The service has the others: they are live.
            secrets: reader.into_iter().collect(),
            credential_days: read.desired.verify.credential_days,
            probe: false,
            reader: gate::reading(&read.desired),
            reader_token: None,
        };
        let asked = tokio::time::timeout(VERIFY, client.verify(&request, drop)).await;
        let failed = match asked {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error.message,
            Err(_) => format!("no answer within {VERIFY:?}"),
        };
        tracing::warn!(environment = %self.name, problem = failed, "when credentials end could not be looked up");
        false
    }
}

/// What was seen last of each profile.
async fn seen(client: &Client) -> Option<BTreeMap<ProfileName, LastVerified>> {
    Some(tokio::time::timeout(ASK, client.last_verified()).await.ok()?.ok()?.profiles)
}
