//! [`Challenge`]: the random number that an answer must contain. [`Challenges`]: those that wait for their answer.
//!
//! Each is taken by the first answer, whether that is accepted or not. They are kept in memory: after a restart, a request is
//! made again.

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{model::Digest, sync::Mutex};

/// The time within which a request is answered.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Maximum number of requests that wait. Beyond it, the oldest are dropped: a sign-in can begin without a credential.
const LIMIT: usize = 10_000;

/// A challenge: 32 random bytes and, for a signature, the SHA-256 of the digest of what is signed. The answer contains it, so
/// the answer shows later what was signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Challenge(Vec<u8>);

impl Challenge {
    /// Makes a challenge for a registration or a sign-in.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes.to_vec()))
    }

    /// Makes a challenge for a signature of a document.
    pub fn for_document(digest: &Digest) -> Result<Self, getrandom::Error> {
        let Self(mut bytes) = Self::random()?;
        bytes.extend(Sha256::digest(digest.as_str()));
        Ok(Self(bytes))
    }

    /// Returns true if the challenge is for a signature of this document.
    pub fn is_for(&self, digest: &Digest) -> bool {
        self.0.get(32..).is_some_and(|signed| signed == &Sha256::digest(digest.as_str())[..])
    }

    /// Parses a challenge from an answer.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        matches!(bytes.len(), 32 | 64).then_some(Self(bytes))
    }

    /// Returns the challenge as base64url.
    pub fn text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.0)
    }
}

/// The requests that wait for their answers. `T` is the request that a challenge was made for.
pub struct Challenges<T>(Mutex<HashMap<Challenge, (Timestamp, T)>>);

impl<T> Default for Challenges<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<T> Challenges<T> {
    /// Remembers a request.
    pub fn add(&self, challenge: Challenge, request: T, now: Timestamp) {
        let mut waiting = self.0.lock();
        if waiting.len() >= LIMIT {
            waiting.retain(|_, (since, _)| is_open(*since, now));
        }
        if waiting.len() >= LIMIT {
            // One pass over all drops a tenth of them, so that a flood does not make each request expensive.
            let mut ages: Vec<Timestamp> = waiting.values().map(|(since, _)| *since).collect();
            let (_, oldest, _) = ages.select_nth_unstable(LIMIT / 10);
            let oldest = *oldest;
            waiting.retain(|_, (since, _)| *since > oldest);
        }
        waiting.insert(challenge, (now, request));
    }

    /// Takes the request that an answer belongs to; none if it is unknown, was answered, or is too old.
    pub fn take(&self, challenge: &Challenge, now: Timestamp) -> Option<T> {
        let (since, request) = self.0.lock().remove(challenge)?;
        is_open(since, now).then_some(request)
    }
}

fn is_open(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).unsigned_abs() <= LIFETIME
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_once_and_within_five_minutes() {
        let challenges = Challenges::default();
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let (first, second, third) =
            (Challenge::random().unwrap(), Challenge::random().unwrap(), Challenge::random().unwrap());
        challenges.add(first.clone(), "first", at(0));
        challenges.add(second.clone(), "second", at(0));
        assert_eq!(challenges.take(&third, at(0)), None);
        assert_eq!(challenges.take(&first, at(300)), Some("first"));
        assert_eq!(challenges.take(&first, at(300)), None);
        assert_eq!(challenges.take(&second, at(301)), None);
        assert_eq!(challenges.take(&second, at(1)), None, "an answer that is too late is an answer");
        // A clock that was set back does not keep a request open.
        challenges.add(third.clone(), "third", at(1000));
        assert_eq!(challenges.take(&third, at(0)), None);
    }

    #[test]
    fn a_flood_of_requests_drops_the_oldest() {
        let challenges = Challenges::default();
        let at = |index: i64| Timestamp::from_millisecond(1_800_000_000_000 + index).unwrap();
        let all: Vec<Challenge> = (0..LIMIT + 10).map(|_| Challenge::random().unwrap()).collect();
        for (challenge, index) in all.iter().zip(0..) {
            challenges.add(challenge.clone(), (), at(index));
        }
        assert!(challenges.0.lock().len() <= LIMIT);
        assert_eq!(challenges.take(&all[0], at(20_000)), None);
        assert_eq!(challenges.take(&all[LIMIT + 9], at(20_000)), Some(()));
    }

    #[test]
    fn a_challenge_for_a_document_is_for_that_document() {
        let (one, other) = (Digest::of_bytes(b"one"), Digest::of_bytes(b"other"));
        let challenge = Challenge::for_document(&one).unwrap();
        assert!(challenge.is_for(&one) && !challenge.is_for(&other));
        assert_eq!(Challenge::parse(&challenge.text()), Some(challenge));
        assert!(!Challenge::random().unwrap().is_for(&one));
        assert_ne!(Challenge::for_document(&one).unwrap(), Challenge::for_document(&one).unwrap());
    }
}
