//! Approval policy: the signers of an environment, the rules, and the approvals that a change needs by them.
//!
//! The plan shows the needs and the service enforces them, both by [`find_needs`]. The rules are those of the live settings, not
//! those of the changeset: a change cannot weaken the rules that apply to it. Signatures are the topic of [`crate::approvals`]. A
//! change of the rules about approvals, or of the access policy, or one that adds a recipient of secrets, matches every rule. A signer without a valid key has no
//! fingerprint, so that no signature is found to be of that signer. A signer is one person: an SSH key and a passkey of the same
//! signer count once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use ssh_key::{
    HashAlg, PublicKey,
    public::{EcdsaPublicKey, KeyData},
};
use utoipa::ToSchema;

use super::{
    AppliesTo, Approval, CompanyId, Digest, EnvironmentName, Function, HumanDuration, Profile, ProfileChange,
    ProfileName, Settings, State, StoredProfile,
    resolution::{Cell, Resolver},
    secret_recipient::find_added,
    signature::{Meaning, Signature, SignatureMethod, with_offset},
};

/// The maximum number of reasons that a need lists.
const REASONS: usize = 10;

/// The approval policy of an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Approvals {
    /// The signers who may approve.
    #[schema(max_items = 100)]
    pub signers: Vec<Signer>,
    /// Named groups of signers, which rules can name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, Vec<String>>)]
    pub groups: BTreeMap<String, BTreeSet<String>>,
    /// Rules for approvals. A change must satisfy every rule that it matches.
    #[schema(max_items = 50)]
    pub rules: Vec<ApprovalRule>,
    /// True if the approval of the person who applies counts: the signer has the name of the token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub self_approval: bool,
    /// True if an administrator may apply without approvals in an emergency. The audit log records it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// The time after which a proposal that needs signatures cannot be applied; without it, there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<HumanDuration>,
}

/// A person who may approve: with an SSH key, as an operator of the console with a passkey, or with both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Signer {
    /// The name, as plans, the history and the audit log show it.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// The public key, as in a `.pub` file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub key: Option<String>,
    /// The name of the operator who signs in the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub operator: Option<String>,
    /// The address for requests for signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 254)]
    pub email: Option<String>,
    /// The last day (UTC) on which the approvals count; without it, they always do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    pub until: Option<jiff::civil::Date>,
}

/// A rule: which changes need approvals, and how many. A condition that is not set matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ApprovalRule {
    /// The number of different signers.
    #[schema(minimum = 1, maximum = 20)]
    pub count: u8,
    /// The signers that count, with those of `groups`; if both are empty, all count.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub signers: BTreeSet<String>,
    /// The groups whose signers count.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// The meaning that a signature must have.
    #[serde(default, skip_serializing_if = "Meaning::is_default")]
    pub meaning: Meaning,
    /// The functions; empty means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub functions: BTreeSet<Function>,
    /// The companies; empty means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub companies: BTreeSet<CompanyId>,
    /// The actions; empty means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub actions: BTreeSet<ApprovedAction>,
    /// True if an approval must say why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reason_required: bool,
}

/// Kinds of changes that a rule distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovedAction {
    /// A profile is created.
    Create,
    /// A profile is changed.
    Update,
    /// A profile is deleted.
    Delete,
    /// A profile is renamed.
    Rename,
    /// The environment's settings change, which concern every function and company.
    Settings,
    /// A profile gets an age file that it did not have.
    Secrets,
}

impl ApprovedAction {
    fn description(self) -> &'static str {
        match self {
            ApprovedAction::Create => "creates",
            ApprovedAction::Update => "updates",
            ApprovedAction::Delete => "deletes",
            ApprovedAction::Rename => "renames",
            ApprovedAction::Settings => "changes",
            ApprovedAction::Secrets => "changes the secret of",
        }
    }
}

/// The approvals that a change needs by one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ApprovalNeed {
    /// The number of different signers.
    pub count: u8,
    /// The signers whose approvals count.
    pub signers: Vec<KnownSigner>,
    /// The meaning that the signatures must have.
    #[serde(default)]
    pub meaning: Meaning,
    /// True if each must say why.
    #[serde(default)]
    pub reason_required: bool,
    /// Reasons why the rule matches; at most ten.
    pub because: Vec<String>,
}

/// A signer, by name, by the fingerprint of the key and by the operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KnownSigner {
    /// The name.
    pub name: String,
    /// The key's fingerprint, `SHA256:...`, as `ssh-keygen -l` prints it; empty without a key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The operator who signs in the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

impl ApprovalNeed {
    /// Returns a phrase such as `2 approvals of alice, bob or carol`.
    pub fn describe(&self) -> String {
        let names: Vec<&str> = self.signers.iter().map(|signer| signer.name.as_str()).collect();
        let signers = match names.as_slice() {
            [] => "no signer".to_owned(),
            [one] => (*one).to_owned(),
            [front @ .., last] => format!(
                "{} {} {last}",
                front.join(", "),
                if front.len() < usize::from(self.count) { "and" } else { "or" }
            ),
        };
        let noun = self.meaning.noun(self.count);
        let why = if self.reason_required { ", each with a reason" } else { "" };
        format!("{} {noun} of {signers}{why}", self.count)
    }
}

impl Signer {
    /// Returns the key, or the reason why it cannot approve; none if the signer has no key.
    pub fn public_key(&self) -> Option<Result<KeyData, &'static str>> {
        self.key.as_deref().map(parse_key)
    }

    /// Returns name, fingerprint and operator. An invalid key has no fingerprint.
    pub fn identify(&self) -> KnownSigner {
        let key = self.public_key().and_then(Result::ok);
        KnownSigner {
            name: self.name.clone(),
            key: key.map(|key| key.fingerprint(HashAlg::Sha256).to_string()).unwrap_or_default(),
            operator: self.operator.clone(),
        }
    }

    /// Returns true if a name of a token or of an operator is that of the signer. Names are compared without case: `Alice` is
    /// the signer `alice`.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.to_lowercase() == name.to_lowercase() || self.is_operator(name)
    }

    /// Returns true if the signer signs as the operator with this name. Names are compared without case.
    pub fn is_operator(&self, name: &str) -> bool {
        self.operator.as_ref().is_some_and(|operator| operator.to_lowercase() == name.to_lowercase())
    }

    /// Returns the last day of the signer if it is over: signatures do not count any more.
    pub fn expired_on(&self, now: Timestamp) -> Option<jiff::civil::Date> {
        self.until.filter(|until| now.to_zoned(TimeZone::UTC).date() > *until)
    }
}

fn parse_key(text: &str) -> Result<KeyData, &'static str> {
    const UNFIT: &str = "this is not a public SSH key of a kind that can approve";
    let key = PublicKey::from_openssh(text.trim()).map_err(|_| UNFIT)?;
    match key.key_data() {
        KeyData::Ed25519(_)
        | KeyData::SkEd25519(_)
        | KeyData::SkEcdsaSha2NistP256(_)
        | KeyData::Ecdsa(EcdsaPublicKey::NistP256(_)) => {}
        KeyData::Rsa(rsa) => {
            let bits = rsa.n.as_positive_bytes().map_or(0, <[u8]>::len) * 8;
            if !(2048..=4096).contains(&bits) {
                return Err("an RSA key that approves has 2048 to 4096 bits");
            }
        }
        _ => return Err(UNFIT),
    }
    Ok(key.key_data().clone())
}

impl Approvals {
    /// Returns true if no rule and no signer is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the signers whose signatures count for a rule.
    pub fn signers_of<'a>(&'a self, rule: &'a ApprovalRule) -> impl Iterator<Item = &'a Signer> {
        let is_open = rule.signers.is_empty() && rule.groups.is_empty();
        let is_member = |name: &String| {
            rule.groups.iter().filter_map(|group| self.groups.get(group)).any(|members| members.contains(name))
        };
        self.signers
            .iter()
            .filter(move |signer| is_open || rule.signers.contains(&signer.name) || is_member(&signer.name))
    }

    /// Returns true if the environment does not accept a signature with this meaning of a signer who is the person with a name, who
    /// proposed or applies the change. An author states authorship of what is the author's own.
    pub fn is_self_approval(&self, signer: &Signer, meaning: Meaning, name: &str) -> bool {
        meaning != Meaning::Authored && !self.self_approval && signer.is_named(name)
    }

    fn describe_need(&self, rule: &ApprovalRule, because: Vec<String>) -> ApprovalNeed {
        ApprovalNeed {
            count: rule.count,
            signers: self.signers_of(rule).map(Signer::identify).collect(),
            meaning: rule.meaning,
            reason_required: rule.reason_required,
            because,
        }
    }
}

/// The action that a signer approves; part of the signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedAction {
    /// The change is applied.
    Apply,
    /// The state is rolled back to a generation.
    Rollback(u64),
}

impl fmt::Display for SignedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignedAction::Apply => f.write_str("apply"),
            SignedAction::Rollback(to) => write!(f, "rollback to generation {to}"),
        }
    }
}

/// Computes the digest that an approval signs: action, environment, starting generation, settings and changes, with a version.
///
/// Plan and service compute it from the changes themselves, with age files by their digests. It contains neither the sender nor
/// the allowances.
pub fn digest(
    environment: &EnvironmentName,
    base: u64,
    action: SignedAction,
    settings: Option<&Settings>,
    changes: &[ProfileChange],
) -> Digest {
    let changes = Digest::of_documents(changes);
    Digest::of_document(&("mailwright-approval-v1", environment, base, action.to_string(), settings, changes))
}

/// The effect of one change on one live profile.
struct Effect<'a> {
    actions: BTreeSet<ApprovedAction>,
    before: Option<(&'a ProfileName, &'a StoredProfile)>,
    after: Option<(&'a ProfileName, &'a StoredProfile)>,
}

/// Returns the approvals that a change from `before` to `after` needs by the rules that are live before it: one need for each rule
/// that matches.
pub fn find_needs(before: &State, after: &State, changes: &[ProfileChange]) -> Vec<ApprovalNeed> {
    let approvals = &before.settings.policy.approvals;
    if approvals.rules.is_empty() {
        return Vec::new();
    }
    let settings = before.settings != after.settings;
    let secret = |state: &State| state.settings.reader.as_ref().and_then(|reader| reader.secret.clone());
    let reader = secret(after).is_some_and(|new| secret(before) != Some(new));
    // A person who could change the rules or the access policy alone could avoid every approval.
    let rules = *approvals != after.settings.policy.approvals;
    let access = before.settings.access != after.settings.access;
    // The holder of an added key reads every secret that is encrypted afterwards.
    let added = find_added(&before.settings.secret_recipients, &after.settings.secret_recipients);
    let effects: Vec<Effect<'_>> = changes.iter().filter_map(|change| find_effect(before, change)).collect();
    let narrow = |rule: &ApprovalRule| !rule.functions.is_empty() || !rule.companies.is_empty();
    let serving = approvals.rules.iter().any(narrow).then(|| (Serving::new(before), Serving::new(after)));
    let mut needs = Vec::new();
    for rule in &approvals.rules {
        let mut because = Vec::new();
        if rules {
            because.push("changes the rules about approvals".to_owned());
        } else if access {
            because.push("changes the access policy".to_owned());
        } else if !added.is_empty() {
            because.push("lets more persons decrypt secrets".to_owned());
        } else if settings && rule.is_for(ApprovedAction::Settings) {
            because.push("changes the environment's settings".to_owned());
        } else if reader && rule.is_for(ApprovedAction::Secrets) {
            because.push(format!("{} `verify.reader`", ApprovedAction::Secrets.description()));
        }
        for effect in &effects {
            let Some(action) = effect.actions.iter().copied().find(|action| rule.is_for(*action)) else { continue };
            let concerned = serving.as_ref().is_none_or(|(old, new)| rule.concerns(effect, old, new));
            if concerned && because.len() < REASONS {
                let name = effect.after.or(effect.before).map_or("", |(name, _)| name.as_str());
                because.push(format!("{} `{name}`", action.description()));
            }
        }
        if !because.is_empty() {
            needs.push(approvals.describe_need(rule, because));
        }
    }
    needs
}

/// Returns the effect of a change on live profiles; none if the change only records something.
fn find_effect<'a>(state: &'a State, change: &'a ProfileChange) -> Option<Effect<'a>> {
    let live = |name: &ProfileName| {
        let (name, found) = state.profiles.get_key_value(name)?;
        Some((name, found.live.as_ref()?))
    };
    let before = match change {
        ProfileChange::Rename { from, .. } => live(from),
        ProfileChange::Forget { .. } => None,
        other => live(other.name()),
    };
    let after = change.profile().map(|profile| (change.name(), profile));
    let mut actions = BTreeSet::new();
    match (before, after) {
        (None, Some(_)) => drop(actions.insert(ApprovedAction::Create)),
        (Some(_), None) => drop(actions.insert(ApprovedAction::Delete)),
        (Some((old, before)), Some((new, after))) => {
            if old != new {
                actions.insert(ApprovedAction::Rename);
            }
            if before.profile != after.profile {
                actions.insert(ApprovedAction::Update);
            }
        }
        (None, None) => {}
    }
    let had = |digest: &Digest| before.is_some_and(|(_, stored)| stored.secrets.values().any(|own| own == digest));
    // A staged next value is used as soon as the server accepts it.
    let had_next = |digest: &Digest| before.is_some_and(|(_, stored)| stored.age_files().any(|(_, own)| own == digest));
    if after.is_some_and(|(_, stored)| {
        stored.secrets.values().any(|digest| !had(digest)) || stored.next.values().any(|digest| !had_next(digest))
    }) {
        actions.insert(ApprovedAction::Secrets);
    }
    (!actions.is_empty()).then_some(Effect { actions, before, after })
}

/// The cells that each profile sends for, by profile.
struct Serving<'a>(HashMap<&'a ProfileName, Vec<Cell>>);

impl<'a> Serving<'a> {
    fn new(state: &'a State) -> Self {
        let resolver = Resolver::new(state.live());
        let mut cells: HashMap<&ProfileName, Vec<Cell>> = HashMap::new();
        for cell in Cell::all(&state.settings.companies) {
            if let Some((name, _)) = resolver.sender(&cell) {
                cells.entry(name).or_default().push(cell);
            }
        }
        Self(cells)
    }
}

impl ApprovalRule {
    fn is_for(&self, action: ApprovedAction) -> bool {
        self.actions.is_empty() || self.actions.contains(&action)
    }

    fn names(&self, company: &CompanyId, function: Function) -> bool {
        (self.companies.is_empty() || self.companies.contains(company))
            && (self.functions.is_empty() || self.functions.contains(&function))
    }

    /// Returns true if the profile, before or after the change, claims what the rule is about, or sends for it by fallback.
    fn concerns(&self, effect: &Effect<'_>, old: &Serving<'_>, new: &Serving<'_>) -> bool {
        if self.functions.is_empty() && self.companies.is_empty() {
            return true;
        }
        [(effect.before, old), (effect.after, new)].into_iter().any(|(side, serving)| {
            let Some((name, stored)) = side else { return false };
            let sends = serving.0.get(name).into_iter().flatten();
            self.claimed_by(&stored.profile) || sends.into_iter().any(|cell| self.names(&cell.company, cell.function))
        })
    }

    fn claimed_by(&self, profile: &Profile) -> bool {
        let functions = self.functions.is_empty() || profile.functions.iter().any(|own| self.functions.contains(own));
        let companies = match &profile.applies_to {
            AppliesTo::SystemWide => true,
            AppliesTo::Companies(own) => {
                self.companies.is_empty() || own.iter().any(|company| self.companies.contains(company))
            }
        };
        functions && companies
    }
}

/// Returns true if a text may be the name of a signer. The name is part of file names.
pub fn is_signer_name(text: &str) -> bool {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-');
    (1..=64).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fit)
}

/// An approval that counted, as the history keeps it. It shows the signer as at the time of the signature; later changes of names
/// do not change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approved {
    /// The signer's name.
    pub signer: String,
    /// The name of the person at the time of the signature; empty in entries of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub printed_name: String,
    /// The meaning.
    #[serde(default)]
    pub meaning: Meaning,
    /// The method.
    #[serde(default)]
    pub method: SignatureMethod,
    /// The time of the signature. An SSH signature states none: then it is the time at which the service accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// The offset of the person's browser from UTC at the signature, in minutes; east is positive. Absent for an SSH signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_minutes: Option<i16>,
    /// The digest of the change that was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The fingerprint of the SSH key, or the id of the passkey.
    pub key: String,
    /// The reason of the approval.
    pub reason: String,
    /// The time at which the approval would have expired.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// The signed text and the SSH signature, for `ssh-keygen -Y verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// The signature of a person of the console, with its evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

impl Approved {
    /// Returns the time of the signature as the person's clock showed it, or in UTC; none in entries of earlier versions.
    pub fn time(&self) -> Option<String> {
        Some(with_offset(self.at?, self.offset_minutes.unwrap_or_default()))
    }

    /// Returns the name of the person at the time of the signature.
    pub fn person(&self) -> &str {
        if self.printed_name.is_empty() { &self.signer } else { &self.printed_name }
    }

    /// Describes the signature in one line: `Alice Example (alice) approved 2026-11-27T18:10:00+01:00 by passkey: Ticket 4711`.
    pub fn describe(&self) -> String {
        let alias = if self.person() == self.signer { String::new() } else { format!(" ({})", self.signer) };
        let time = self.time().map_or_else(String::new, |time| format!(" {time}"));
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("{}{alias} {}{time} by {}{reason}", self.person(), self.meaning, self.method.id())
    }
}
