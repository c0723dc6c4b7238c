//! The result of a profile whose checks panicked: the finding `VERIFY-INTERNAL`.
//!
//! [`settle`] replaces the result of such a task and logs the panic. Other profiles are not affected.

use tokio::task::JoinError;

use crate::model::{
    finding::{Finding, Verified},
    finding_id::FindingId,
};

/// Returns the finding for checks that panicked.
pub(super) fn finding() -> Finding {
    Finding::fail(FindingId::VerifyInternal, "", "the checks ended with an internal error")
        .seen("a panic; the log of the program that ran the checks has it")
        .expected("a result of every check")
        .remedy(["Verify again. If the problem lasts, report it with that log."])
}

/// Returns the result of a task, or the other one if the task panicked.
pub(super) fn settle(ended: Result<Verified, JoinError>, if_it_panics: Verified) -> Verified {
    ended.unwrap_or_else(|error| {
        tracing::error!(profile = %if_it_panics.profile, %error, "the checks of a profile ended with an internal error");
        if_it_panics
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        model::finding::Verdict,
        verify::{Subject, SubjectSecret, Verifier, VerifyOptions},
    };

    #[tokio::test]
    async fn a_check_that_panics_is_an_error_of_its_profile() {
        let verifier = Verifier::new(VerifyOptions::new("dev".parse().unwrap(), Timestamp::UNIX_EPOCH)).unwrap();
        let profile = serde_json::json!({
            "provider": { "smtp": { "host": "smtp.example.com" } }, "functions": ["default"], "appliesTo": "system-wide",
        });
        let subject = Subject {
            name: "relay".parse().unwrap(),
            profile: serde_json::from_value(profile).unwrap(),
            secret: SubjectSecret::None,
            next: SubjectSecret::None,
            refused: None,
        };
        let ended = tokio::spawn(async { panic!("a defect") }).await;
        let verified = settle(ended, verifier.unchecked(&subject, finding()));
        assert_eq!(verified.profile, subject.name);
        let [finding] = &verified.findings[..] else { panic!("{:?}", verified.findings) };
        assert_eq!((finding.id, finding.verdict), (FindingId::VerifyInternal, Verdict::Fail));
        assert!(finding.is_open() && finding.profile.as_ref() == Some(&subject.name));
    }
}
