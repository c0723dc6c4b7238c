//! A profile: its effective values, who serves what, where it comes from, and what delivery and the verifier say about it.
//!
//! Secrets are named, never shown; the service does not have their values in any answer.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State as Shared, http::Method};
use jiff::Timestamp;

use super::{
    message::Done,
    profiles::{Problems, ProfileStatus, Verification, drift},
    test_message::TestForm,
};
use crate::{
    console::{
        answer::{Answer, render},
        extract::{Parameters, Segment},
        page::{Page, SignedIn, shown, shown_up_to},
    },
    model::{
        AppliesTo, ChangeKind, Code, CompanyId, CredentialEnd, Encryption, Function, Generation, Profile, ProfileName,
        Provenance, Provider, State,
        access::{Activity, Area},
        finding::{Finding, Verdict},
        provider::Credential,
    },
    service::{HttpProblem, Service},
};

/// Maximum number of differences from the last apply.
const DIFFERENCES: usize = 100;
/// Maximum size of a value in a difference, in characters.
const VALUE: usize = 300;

/// The page.
#[derive(Template)]
#[template(path = "profile.html")]
struct ProfilePage {
    page: Page,
    name: String,
    description: String,
    status: ProfileStatus,
    drift: Option<&'static str>,
    differences: Vec<Difference>,
    is_live: bool,
    is_enabled: bool,
    may_verify: bool,
    /// True if the caller may plan changes here.
    may_edit: bool,
    /// The generation that the page shows.
    base: u64,
    values: Vec<Value>,
    /// The fields as files name them, each with the generation that gave it its value; empty if the profile is not live.
    origins: Vec<OriginRow>,
    may_see_history: bool,
    limits: Vec<Value>,
    functions: Vec<Function>,
    /// None if the profile is system-wide.
    companies: Option<Vec<CompanyId>>,
    /// The form of a test message; none if the profile is not live.
    test: Option<TestForm>,
    /// True if a test message was sent just now.
    is_test_sent: bool,
    change: Change,
    suspended: Option<Suspension>,
    unreachable: bool,
    paused_until: Option<Timestamp>,
    rotations: Vec<RotationRow>,
    holds: Vec<HoldRow>,
    credentials: Vec<CredentialEnd>,
    verified: Option<VerifiedView>,
}

/// A field that differs from what the last apply left.
struct Difference {
    path: String,
    applied: String,
    live: String,
}

/// A setting: the key of its label, and its value.
struct Value {
    label: &'static str,
    text: String,
    /// True if the value is a name or address that is shown in a fixed-width font.
    is_code: bool,
}

/// The origin of a field's value.
struct OriginRow {
    path: String,
    /// None if the value is older than the changes that were searched.
    origin: Option<Origin>,
}

struct Origin {
    generation: u64,
    at: Timestamp,
    by: String,
    kind: &'static str,
    /// The beginning of the commit; empty if Git did not apply it.
    commit: String,
}

/// The last change of the profile.
struct Change {
    generation: u64,
    at: Timestamp,
    by: String,
    kind: &'static str,
    /// Where it came from, if Git applied it.
    provenance: Option<Provenance>,
    approvals: usize,
}

struct Suspension {
    since: Timestamp,
    reason: String,
    remedy: Vec<String>,
    next_probe_at: Timestamp,
}

struct RotationRow {
    secret: String,
    standing: &'static str,
    since: Timestamp,
    reason: String,
    next_try_at: Option<Timestamp>,
}

struct HoldRow {
    reason: String,
    owner: String,
    since: Timestamp,
    until: Option<Timestamp>,
}

/// The last verification.
struct VerifiedView {
    at: Timestamp,
    level: &'static str,
    /// True if the profile was changed since.
    is_outdated: bool,
    passed: usize,
    open: Vec<FindingRow>,
    other: Vec<FindingRow>,
}

/// A finding of the verifier.
pub(super) struct FindingRow {
    pub(super) id: String,
    pub(super) verdict: &'static str,
    pub(super) severity: &'static str,
    pub(super) message: String,
    pub(super) seen: String,
    pub(super) expected: String,
    pub(super) remedy: Vec<String>,
    pub(super) waived: Option<String>,
}

/// Shows the page.
pub(in crate::console) async fn show(
    Shared(service): Shared<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(name): Segment<String>,
    Parameters(Done { done }): Parameters<Done>,
) -> Answer {
    let missing = || {
        HttpProblem::not_found("the profile does not exist")
            .remedy("Choose one from the list of profiles. A profile that was renamed is listed under its new name.")
    };
    let name: ProfileName = name.parse().map_err(|_| missing())?;
    let state = service.state();
    let found = state.profiles.get(&name).ok_or_else(missing)?;
    let stored = found.live.as_ref().or(found.applied()).ok_or_else(missing)?;
    service.check_visible(&caller, &name, (&Method::GET, &page.here)).await?;
    let profile = &stored.profile;
    let trouble = service.trouble();
    let verified = match service.verified(&name).await {
        Ok(verified) => Some(verified),
        Err(problem) if problem.code() == Code::NotFound => None,
        Err(problem) => return Err(problem),
    };
    // The result can be that of settings before the last change.
    let last = service.last_verified_of(&name).await?.filter(|_| verified.is_some());
    let is_of_live = last.as_ref().is_some_and(|last| last.of == stored.verified_digest());
    let origins = match &found.live {
        Some(live) => service.field_origins(&name, live).await?.into_iter().map(OriginRow::new).collect(),
        None => Vec::new(),
    };
    let generation = service.generation_entry(found.changed.generation).await?;
    let approvals = generation.as_ref().map_or(0, |generation| generation.approvals.len());
    let provenance = generation
        .filter(|_| found.changed.kind == ChangeKind::Apply)
        .map(|generation| printable_provenance(generation.provenance));
    let suspended = trouble.suspended.iter().find(|suspended| suspended.profile == name).map(|suspended| Suspension {
        since: suspended.since,
        reason: shown(&suspended.reason),
        remedy: suspended.finding.iter().flat_map(|finding| finding.remedy.iter().map(|step| shown(step))).collect(),
        next_probe_at: suspended.next_probe_at,
    });
    let rotations = trouble.rotations.iter().filter(|rotation| rotation.profile == name).map(|rotation| RotationRow {
        secret: rotation.secret.to_string(),
        standing: rotation.standing.id(),
        since: rotation.since,
        reason: shown(&rotation.reason),
        next_try_at: rotation.next_try_at,
    });
    let holds =
        service.visible_holds(&caller).into_iter().filter(|hold| hold.profile.as_ref() == Some(&name)).map(|hold| {
            HoldRow { reason: shown(&hold.reason), owner: shown(&hold.owner), since: hold.since, until: hold.until }
        });
    render(&ProfilePage {
        test: found.live.as_ref().map(|live| TestForm::new(&service, &page, &caller, &name, &live.profile)),
        is_test_sent: done == "test",
        status: Problems::new(&trouble).status(
            &name,
            found,
            Verification::of_live(&service, &name, found, last.as_ref()),
        ),
        drift: drift(found),
        differences: if drift(found).is_some() { differences(&state, &name) } else { Vec::new() },
        is_live: found.live.is_some(),
        is_enabled: profile.enabled,
        may_verify: page.may(Area::Profiles, Activity::Verify),
        may_edit: service.may_change_profiles(&caller),
        base: state.generation,
        description: shown(&profile.description),
        values: values(&page, profile),
        origins,
        may_see_history: page.may(Area::History, Activity::See),
        limits: limits(profile),
        functions: profile.functions.iter().copied().collect(),
        companies: match &profile.applies_to {
            AppliesTo::SystemWide => None,
            AppliesTo::Companies(companies) => Some(companies.iter().cloned().collect()),
        },
        change: Change {
            generation: found.changed.generation,
            at: found.changed.at,
            by: shown(&found.changed.by),
            kind: found.changed.kind.id(),
            provenance,
            approvals,
        },
        suspended,
        unreachable: trouble.down.contains(&name),
        paused_until: trouble.paused.iter().find(|paused| paused.profile == name).map(|paused| paused.until),
        rotations: rotations.collect(),
        holds: holds.collect(),
        credentials: last.map(|last| last.credentials).unwrap_or_default(),
        verified: verified.map(|verified| {
            let (open, other): (Vec<_>, Vec<_>) = verified.findings.iter().partition(|finding| finding.is_open());
            VerifiedView {
                at: verified.at,
                level: verified.reached.id(),
                is_outdated: !is_of_live,
                passed: verified.count(Verdict::Pass),
                open: open.into_iter().map(finding_row).collect(),
                other: other.into_iter().map(finding_row).collect(),
            }
        }),
        name: name.to_string(),
        page,
    })
}

impl OriginRow {
    fn new((path, generation): (String, Option<Generation>)) -> Self {
        let commit = |source: &Provenance| {
            let commit = source.commit.as_deref().map(shown).unwrap_or_default();
            commit.chars().take(12).collect()
        };
        let origin = generation.map(|generation| Origin {
            generation: generation.number,
            at: generation.at,
            by: shown(&generation.by),
            kind: generation.kind.id(),
            commit: commit(&generation.provenance),
        });
        Self { path: shown(&path), origin }
    }
}

/// Returns the fields in which a profile differs from what the last apply left.
fn differences(state: &State, name: &ProfileName) -> Vec<Difference> {
    let found = crate::changes::drift::drift(state).into_iter().find(|drift| drift.name.as_ref() == Some(name));
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => shown_up_to(text, VALUE),
        other => shown_up_to(&other.to_string(), VALUE),
    };
    let fields = found.into_iter().flat_map(|drift| drift.fields);
    fields
        .take(DIFFERENCES)
        .map(|field| Difference { path: shown(&field.path), applied: text(&field.applied), live: text(&field.live) })
        .collect()
}

pub(super) fn finding_row(finding: &Finding) -> FindingRow {
    FindingRow {
        id: finding.id.to_string(),
        verdict: match finding.verdict {
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
            Verdict::Pass => "pass",
        },
        severity: finding.severity.id(),
        message: shown(&finding.message),
        seen: shown(&finding.seen),
        expected: shown(&finding.expected),
        remedy: finding.remedy.iter().map(|step| shown(step)).collect(),
        waived: finding.waived.as_deref().map(shown),
    }
}

fn printable_provenance(source: Provenance) -> Provenance {
    let text = |text: Option<String>| text.map(|text| shown(&text));
    Provenance {
        commit: text(source.commit),
        branch: text(source.branch),
        author: source
            .author
            .map(|author| crate::model::provenance::Author { name: shown(&author.name), email: shown(&author.email) }),
        signer: text(source.signer),
        ..source
    }
}

/// Returns the settings of the provider and the sender, with defaults filled in.
fn values(page: &Page, profile: &Profile) -> Vec<Value> {
    let code = |label, text: &str| Value { label, text: shown(text), is_code: true };
    let plain = |label, text: String| Value { label, text, is_code: false };
    let mut values = vec![plain("profile-provider", page.word("provider", profile.provider.id()))];
    let credential = |values: &mut Vec<Value>, credential: &Credential| match credential {
        Credential::ClientSecret(named) => values.push(code("profile-client-secret", named.secret.as_ref())),
        Credential::Certificate(named) => values.push(code("profile-certificate", named.secret.as_ref())),
        Credential::FederatedTokenFile(path) => values.push(code("profile-token-file", path)),
    };
    match &profile.provider {
        Provider::Smtp(smtp) => {
            values.push(code("profile-server", &format!("{}:{}", smtp.host, smtp.port)));
            let encryption = match smtp.encryption {
                Encryption::Starttls => "starttls",
                Encryption::Tls => "tls",
                Encryption::None => "none",
            };
            values.push(plain("profile-encryption", page.word("encryption", encryption)));
            values.extend(smtp.username.as_deref().map(|name| code("profile-username", name)));
            values.extend(smtp.password.as_ref().map(|named| code("profile-password", named.secret.as_ref())));
            if let Some(oauth) = &smtp.oauth {
                values.push(code("profile-cloud", oauth.cloud.name()));
                values.push(code("profile-tenant", &oauth.tenant));
                values.push(code("profile-client", &oauth.client));
                credential(&mut values, &oauth.credential);
            }
        }
        Provider::MicrosoftGraphDelegate(delegate) => {
            values.push(code("profile-cloud", delegate.cloud.name()));
            values.push(code("profile-tenant", &delegate.tenant));
            values.push(code("profile-client", &delegate.client));
            values.push(plain("profile-platform", page.word("platform", delegate.platform.id())));
            values.push(code("profile-redirect", &delegate.redirect));
            values.push(plain("profile-address-book", page.word("answer", answer(delegate.address_book))));
        }
        Provider::MicrosoftGraphDirect(direct) => {
            values.push(code("profile-cloud", direct.cloud.name()));
            values.push(code("profile-tenant", &direct.tenant));
            values.push(code("profile-client", &direct.client));
            credential(&mut values, &direct.credential);
            values.push(plain("profile-address-book", page.word("answer", answer(direct.address_book))));
        }
    }
    if let Some(from) = &profile.from {
        values.push(code("profile-from", &from.address));
        values.extend(from.name.as_deref().map(|name| plain("profile-from-name", shown(name))));
        values.extend(from.dkim_selector.as_deref().map(|selector| code("profile-dkim", selector)));
    }
    values.push(plain("profile-enabled", page.word("answer", answer(profile.enabled))));
    values
}

/// Returns the effective limits of the mailbox.
fn limits(profile: &Profile) -> Vec<Value> {
    let limits = profile.limits();
    let plain = |label, text: String| Value { label, text, is_code: false };
    let mut values = Vec::new();
    values.extend(limits.per_minute.map(|count| plain("profile-limit-minute", count.to_string())));
    values.push(plain("profile-limit-concurrency", limits.concurrency.to_string()));
    values.extend(limits.recipients_per_day.map(|count| plain("profile-limit-day", count.to_string())));
    values.push(plain("profile-limit-size", (limits.message_size / 1024 / 1024).to_string()));
    values
}

fn answer(is_true: bool) -> &'static str {
    if is_true { "yes" } else { "no" }
}
