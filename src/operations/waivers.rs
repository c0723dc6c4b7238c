//! Waivers: findings that the environment's file accepts up to and including a day (UTC).
//!
//! [`apply`] marks the findings of a `verify` report that a waiver matches by finding id and profile; none is removed. An expired
//! waiver waives nothing and is itself a finding. So is one with an unknown id, and, if every enabled profile was checked, one that
//! matches nothing. [`add_places`] adds file and line to the findings. Runs no check.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    config::{Desired, suggest},
    model::{
        ProfileName, VerifySettings, Waiver,
        finding::{Finding, Report, Verdict},
        finding_id::FindingId,
    },
};

/// Marks the findings that are waived, and adds findings about the waivers. `complete` is the environment if every enabled
/// profile of it was checked: only then can it be said that a waiver matches nothing.
pub fn apply(report: &mut Report, settings: &VerifySettings, now: Timestamp, complete: Option<&Desired>) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let mut added = Vec::new();
    for (index, waiver) in settings.waivers.iter().enumerate() {
        let pointer = format!("/verify/waivers/{index}");
        let expired = waiver.expires < today;
        let mut matched = false;
        let of_profiles = report.profiles.iter_mut().flat_map(|verified| &mut verified.findings);
        for finding in of_profiles.chain(&mut report.findings) {
            if finding.verdict != Verdict::Pass && matches(waiver, finding) {
                matched = true;
                if !expired {
                    finding.waived = Some(format!("{} (until {})", waiver.reason, waiver.expires));
                }
            }
        }
        let of_profile = waiver.profile.as_ref().map_or(String::new(), |name| format!(" of `{name}`"));
        if expired {
            added.push(
                Finding::fail(
                    FindingId::WaiverExpired,
                    &pointer,
                    format!("the waiver for {}{of_profile} expired on {}", waiver.finding, waiver.expires),
                )
                .seen(format!("expires: {}", waiver.expires))
                .expected(format!("{today} or later"))
                .remedy(["Correct the finding that it waives, or review the reason and set a new date."]),
            );
        } else if !matched && let Some(remedy) = unused_remedy(waiver, complete) {
            added.push(
                Finding::fail(
                    FindingId::WaiverUnused,
                    &pointer,
                    format!("the waiver for {}{of_profile} matches no finding", waiver.finding),
                )
                .seen(waiver.finding.clone())
                .expected("a finding that it waives")
                .remedy([remedy]),
            );
        }
    }
    report.findings.extend(added);
}

/// Returns the remedy for a waiver that matched nothing; none if it is not known whether the finding
/// was checked.
fn unused_remedy(waiver: &Waiver, complete: Option<&Desired>) -> Option<String> {
    if waiver.finding.parse::<FindingId>().is_err() {
        return Some("The id does not exist; `mailwright explain` lists all of them.".to_owned());
    }
    let desired = complete?;
    let Some(name) = &waiver.profile else {
        return Some("Remove it: the finding that it waived is corrected.".to_owned());
    };
    match desired.profiles.get(name) {
        None => Some(match suggest::nearest(name.as_str(), desired.profiles.keys().map(ProfileName::as_str)) {
            Some(similar) => format!("The profile `{name}` does not exist. Did you mean `{similar}`?"),
            None => format!("The profile `{name}` does not exist: correct the name, or remove the waiver."),
        }),
        // A disabled profile was not checked.
        Some(profile) if !profile.stored.profile.enabled => None,
        Some(_) => Some("Remove it: the finding that it waived is corrected.".to_owned()),
    }
}

fn matches(waiver: &Waiver, finding: &Finding) -> bool {
    finding.id.id() == waiver.finding
        && waiver.profile.as_ref().is_none_or(|name| finding.profile.as_ref() == Some(name))
}

/// Adds the places in the files to findings.
pub fn add_places(report: &mut Report, desired: &Desired) {
    for finding in report.profiles.iter_mut().flat_map(|verified| &mut verified.findings) {
        let profile = finding.profile.as_ref().and_then(|name: &ProfileName| desired.profiles.get(name));
        finding.place = profile.map(|profile| profile.place_of(&finding.pointer));
    }
    for finding in &mut report.findings {
        finding.place =
            Some(desired.environment_places.find(&finding.pointer).unwrap_or_else(|| desired.settings_place.clone()));
    }
}
