//! Merging of two verification results of the same settings.
//!
//! [`Verified::with_earlier`] merges check by check: the newer result decides what it saw at least as far as the earlier one did.
//! Of the rest, proven findings of the earlier result are carried over, with the time of their proof, for [`REMEMBERED`] (7 days).
//! So a run without directory access does not discard what an earlier run with access has seen. The caller compares the digests of
//! both results: they must be of the same settings and secrets.

use jiff::{SignedDuration, Timestamp};

use crate::{
    model::{
        finding::{Finding, Verdict, Verified},
        finding_id::FindingId,
    },
    time::local::format_utc,
};

/// The time for which a proven finding counts without being seen again.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Verified {
    /// Returns this result, with what an earlier result of the same settings proved and this one could not see.
    #[must_use]
    pub fn with_earlier(mut self, earlier: &Verified) -> Self {
        let carried: Vec<Finding> = earlier
            .findings
            .iter()
            .filter(|finding| is_remembered(finding, earlier.at, self.at) && !self.decides(finding))
            .map(|finding| carry(finding, earlier))
            .collect();
        if carried.is_empty() {
            return self;
        }
        let is_replaced = |finding: &Finding| {
            carried.iter().any(|carried| {
                is_same_check(carried, finding)
                    && match finding.verdict {
                        Verdict::Unknown => !matches!(finding.id, FindingId::VerifySecret | FindingId::VerifyHost),
                        // This result was made with less access, so a pass does not refute the earlier failure.
                        Verdict::Pass => carried.verdict == Verdict::Fail,
                        Verdict::Fail => false,
                    }
            })
        };
        self.findings.retain(|finding| !is_replaced(finding));
        self.reached = carried.iter().map(|finding| finding.level).fold(self.reached, Ord::max);
        self.findings.extend(carried);
        self.findings
            .sort_by(|a, b| (a.verdict, a.severity, a.id, &a.message).cmp(&(b.verdict, b.severity, b.id, &b.message)));
        self
    }

    /// Returns true if this result says as much about a check as an earlier finding did, or more.
    fn decides(&self, earlier: &Finding) -> bool {
        let mut same = self.findings.iter().filter(|finding| is_same_check(finding, earlier)).peekable();
        if same.peek().is_none() {
            // The earlier result is reported only if it applies, and it does not apply any more.
            return self.reached >= earlier.level;
        }
        same.any(|finding| match finding.verdict {
            Verdict::Unknown => false,
            Verdict::Fail => true,
            Verdict::Pass => finding.level >= earlier.level || earlier.verdict == Verdict::Pass,
        })
    }
}

fn is_remembered(finding: &Finding, at: Timestamp, now: Timestamp) -> bool {
    let proved = finding.proved_at.unwrap_or(at);
    finding.verdict != Verdict::Unknown
        && now.duration_since(proved) <= REMEMBERED
        && finding.ends.is_none_or(|ends| ends > now || finding.verdict == Verdict::Fail)
}

fn is_same_check(one: &Finding, other: &Finding) -> bool {
    let check = |finding: &Finding| finding.id.check().unwrap_or(finding.id);
    check(one) == check(other) && one.next == other.next
}

fn carry(finding: &Finding, earlier: &Verified) -> Finding {
    let mut carried = finding.clone();
    if carried.proved_at.is_none() {
        carried.proved_at = Some(earlier.at);
        if carried.verdict == Verdict::Fail {
            carried.remedy.push(format!(
                "This was proved at {}, when verify reached level `{}`, and the last run could not see it. When it is corrected, verify as far again.",
                format_utc(earlier.at),
                finding.level
            ));
        }
    }
    carried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Level;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn verified(hours: i64, reached: Level, findings: Vec<(Finding, Level)>) -> Verified {
        let findings = findings.into_iter().map(|(finding, level)| Finding { level, ..finding }).collect();
        Verified {
            profile: "desktop".parse().unwrap(),
            provider: "microsoft-graph-delegate".to_owned(),
            reached,
            findings,
            at: at(hours),
        }
    }

    fn fail(id: FindingId) -> Finding {
        Finding::fail(id, "", "wrong")
    }
    fn pass(id: FindingId) -> Finding {
        Finding::pass(id, "", "right")
    }
    fn unknown(id: FindingId) -> Finding {
        Finding::unknown(id, "", "not seen")
    }

    fn verdicts(verified: &Verified) -> Vec<(FindingId, Verdict)> {
        verified.findings.iter().map(|finding| (finding.id, finding.verdict)).collect()
    }

    #[test]
    fn what_a_reader_saw_outlives_a_run_without_one() {
        let reader = verified(
            0,
            Level::Reader,
            vec![
                (fail(FindingId::RedirectNative), Level::Reader),
                (fail(FindingId::Permission), Level::Reader),
                (fail(FindingId::PermissionExcess), Level::Reader),
                (pass(FindingId::Audience), Level::Reader),
                (pass(FindingId::Tenant), Level::Anonymous),
            ],
        );
        let anonymous = || {
            vec![
                (unknown(FindingId::Redirect), Level::Anonymous),
                (unknown(FindingId::Permission), Level::Anonymous),
                (unknown(FindingId::Registration), Level::Anonymous),
                (pass(FindingId::Tenant), Level::Anonymous),
            ]
        };
        let joined = verified(1, Level::Anonymous, anonymous()).with_earlier(&reader);
        assert_eq!(joined.reached, Level::Reader);
        assert_eq!(
            verdicts(&joined),
            [
                (FindingId::Permission, Verdict::Fail),
                (FindingId::RedirectNative, Verdict::Fail),
                (FindingId::PermissionExcess, Verdict::Fail),
                (FindingId::Tenant, Verdict::Pass),
                (FindingId::Audience, Verdict::Pass),
            ]
        );
        assert!(joined.findings[0].remedy.last().unwrap().contains("1970-01-01 00:00:00Z"));
        // A later run that sees nothing new changes nothing; the time stays that of the proof.
        let again = verified(2, Level::Anonymous, anonymous()).with_earlier(&joined);
        assert_eq!(verdicts(&again), verdicts(&joined));
        assert_eq!(again.findings[0].proved_at, Some(at(0)));
        assert_eq!(again.findings[0].remedy, joined.findings[0].remedy);
        // The proof is forgotten in time.
        let late = verified(8 * 24, Level::Anonymous, anonymous()).with_earlier(&again);
        assert_eq!(late.reached, Level::Anonymous);
        assert_eq!(late.count(Verdict::Fail), 0);
    }

    #[test]
    fn who_sees_as_far_decides() {
        let reader = verified(0, Level::Reader, vec![(fail(FindingId::RedirectNative), Level::Reader)]);
        let fixed = vec![(pass(FindingId::Redirect), Level::Reader)];
        assert_eq!(
            verdicts(&verified(1, Level::Reader, fixed).with_earlier(&reader)),
            [(FindingId::Redirect, Verdict::Pass)]
        );
        // A pass that was seen with less access does not replace the failure.
        let less = verified(1, Level::Credential, vec![(pass(FindingId::Redirect), Level::Credential)]);
        assert_eq!(verdicts(&less.with_earlier(&reader)), [(FindingId::RedirectNative, Verdict::Fail)]);
        // A failure that was seen with less access is new.
        let good = verified(0, Level::Reader, vec![(pass(FindingId::SignIn), Level::Reader)]);
        let failed = verified(1, Level::Credential, vec![(fail(FindingId::SecretWrong), Level::Credential)]);
        assert_eq!(verdicts(&failed.with_earlier(&good)), [(FindingId::SecretWrong, Verdict::Fail)]);
        // A result that is reported only if it applies is gone where as much was seen.
        let excess = verified(0, Level::Reader, vec![(fail(FindingId::PermissionExcess), Level::Reader)]);
        assert_eq!(verdicts(&verified(1, Level::Reader, Vec::new()).with_earlier(&excess)), []);
        assert_eq!(
            verdicts(&verified(1, Level::Anonymous, Vec::new()).with_earlier(&excess)),
            [(FindingId::PermissionExcess, Verdict::Fail)]
        );
    }

    #[test]
    fn what_kept_a_run_from_looking_is_told_all_the_same() {
        let good = verified(0, Level::Credential, vec![(pass(FindingId::SignIn), Level::Credential)]);
        let blind = verified(1, Level::Anonymous, vec![(unknown(FindingId::VerifySecret), Level::Anonymous)]);
        assert_eq!(
            verdicts(&blind.with_earlier(&good)),
            [(FindingId::VerifySecret, Verdict::Unknown), (FindingId::SignIn, Verdict::Pass)]
        );
        // A credential that has ended since does not count as good.
        let ends = vec![(pass(FindingId::CredentialExpiry).ends(at(5)), Level::Credential)];
        let expiring = verified(0, Level::Credential, ends);
        let later = verified(6, Level::Anonymous, vec![(unknown(FindingId::CredentialExpiry), Level::Anonymous)]);
        assert_eq!(verdicts(&later.with_earlier(&expiring)), [(FindingId::CredentialExpiry, Verdict::Unknown)]);
    }
}
