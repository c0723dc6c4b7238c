//! Access tokens: one request for all workers that wait for a token, and a new one before it expires.
//!
//! [`Credentials`](super::credentials::Credentials) calls [`AccessTokens::get_or_fetch`] with the request to make. A token belongs
//! to one profile and one version of its secret, and must not be used for another. It is replaced five minutes before it expires,
//! or after four fifths of a short lifetime; a response without a lifetime counts as 50 minutes. If a request fails, its caller
//! gets the failure and the next caller that waits makes its own request. Nothing is written to disk.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::SecretString;

use super::{failure::Failure, next_secret::SecretVersion};
use crate::{model::Digest, sync::Mutex};

/// The longest time before its expiry at which a token is replaced.
const EARLY: Duration = Duration::from_secs(300);
/// The lifetime of a token whose response states none.
const USUAL: Duration = Duration::from_secs(3000);
/// The longest that a token is used, whatever lifetime the response states.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A token, and until when it is used.
struct CachedToken {
    value: SecretString,
    until: Instant,
}

type Slot = Arc<tokio::sync::Mutex<Option<CachedToken>>>;

/// The tokens in use, by the digest of the profile and the version of its secret.
#[derive(Default)]
pub(super) struct AccessTokens {
    slots: Mutex<HashMap<(Digest, SecretVersion), Slot>>,
}

impl AccessTokens {
    fn slot(&self, profile: &Digest, version: SecretVersion) -> Slot {
        Arc::clone(self.slots.lock().entry((profile.clone(), version)).or_default())
    }

    /// Returns the cached token of a profile, or fetches one: its value and its lifetime. Concurrent callers wait for the same
    /// request.
    pub(super) async fn get_or_fetch(
        &self,
        profile: &Digest,
        version: SecretVersion,
        fetch: impl AsyncFnOnce() -> Result<(SecretString, Option<Duration>), Failure>,
    ) -> Result<SecretString, Failure> {
        let slot = self.slot(profile, version);
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| token.until > Instant::now()) {
            return Ok(token.value.clone());
        }
        let requested = Instant::now();
        let (value, lifetime) = fetch().await?;
        *slot = Some(CachedToken { value: value.clone(), until: requested + time_of_use(lifetime) });
        Ok(value)
    }

    /// Drops the tokens of a profile, because one was not accepted.
    pub(super) async fn forget(&self, profile: &Digest) {
        for version in [SecretVersion::Current, SecretVersion::Next] {
            *self.slot(profile, version).lock().await = None;
        }
    }

    /// Drops the tokens of profiles that are not live any more.
    pub(super) fn retain(&self, is_live: impl Fn(&Digest) -> bool) {
        self.slots.lock().retain(|(profile, _), _| is_live(profile));
    }
}

/// Returns for how long a token is used.
fn time_of_use(lifetime: Option<Duration>) -> Duration {
    let lifetime = lifetime.unwrap_or(USUAL).min(LONGEST);
    lifetime.saturating_sub(EARLY.min(lifetime / 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_before_it_expires_and_after_a_day_at_the_latest() {
        let seconds = |seconds| time_of_use(Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!((seconds(3600), seconds(100), seconds(0)), (3300, 80, 0));
        assert_eq!(time_of_use(Some(Duration::MAX)), LONGEST.saturating_sub(EARLY));
        assert_eq!(time_of_use(None), USUAL.saturating_sub(EARLY));
    }

    #[tokio::test]
    async fn one_request_serves_all_and_a_failure_is_not_kept() {
        let tokens = AccessTokens::default();
        let profile = Digest::of_bytes(b"profile");
        let failure = Failure::new("token", "refused", crate::model::message::Class::Auth);
        let failed = tokens.get_or_fetch(&profile, SecretVersion::Current, async || Err(failure)).await;
        assert!(failed.is_err());
        let mut requests = 0;
        for _ in 0..3 {
            let fetch = async || {
                requests += 1;
                Ok((SecretString::from("token"), None))
            };
            assert!(tokens.get_or_fetch(&profile, SecretVersion::Current, fetch).await.is_ok());
        }
        assert_eq!(requests, 1);
        tokens.forget(&profile).await;
        let fetch = async || Ok((SecretString::from("new"), None));
        assert!(tokens.get_or_fetch(&profile, SecretVersion::Current, fetch).await.is_ok());
    }
}
