//! The checks of the two Graph providers.
//!
//! `GraphCheck` runs the checks of one profile: `tenant`, then `direct` or `delegate`. These parts send requests, by
//! `directory_access`, `sign_in` and `probe`; the other parts are pure and evaluate replies: `registration`,
//! `permission`, `redirect`, `credential`, `mailbox`. An exported registration is evaluated by the same code as one
//! that was read from Graph.
//!
//! A profile with a credential usually costs three requests: the `OpenID` configuration of its tenant (once per tenant), a token,
//! and one `$batch` with everything else. A reader's token, further pages, repetitions and a probe add to them. No part changes
//! anything at Microsoft, except that `probe` sends a mail.

mod credential;
mod delegate;
mod direct;
mod directory_access;
mod mailbox;
mod permission;
mod probe;
mod redirect;
mod registration;
mod sign_in;
mod tenant;

pub use credential::findings_of_cause;
pub(super) use directory_access::NoAccess;
pub use registration::from_export;
pub(super) use sign_in::{ApplicationLogin, sign_in_reader};

use super::{Finding, Level, Subject, Verifier, secret::SubjectSecret};

/// The checks of one profile, and the findings so far.
pub(super) struct GraphCheck<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) subject: &'a Subject,
    pub(super) secret: &'a SubjectSecret,
    /// True if the secret is the staged one of a rotation: then only the sign-in and the expiry are of interest.
    pub(super) is_next: bool,
    pub(super) findings: Vec<Finding>,
    pub(super) reached: Level,
}

impl GraphCheck<'_> {
    fn add(&mut self, level: Level, findings: impl IntoIterator<Item = Finding>) {
        self.reached = self.reached.max(level);
        self.findings.extend(findings.into_iter().map(|finding| Finding { level, ..finding }));
    }

    /// Returns the command that verifies this profile again.
    fn verify_command(&self) -> String {
        format!("mailwright verify {} {}", self.verifier.environment(), self.subject.name)
    }

    /// Returns the command that seals another value for the profile's secret.
    fn seal_command(&self) -> String {
        match self.subject.profile.provider.secret() {
            Some((reference, _)) => super::secret::seal_command(self.verifier.environment(), reference, self.is_next),
            None => String::new(),
        }
    }
}
