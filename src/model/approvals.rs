//! Approval policy: the signers of an environment, the rules, and the approvals that a change needs by them.
//!
//! * [`Approvals`] is the policy: [`Signer`]s, and [`ApprovalRule`]s, which can have a [`FieldCondition`]
//! * [`ApprovalNeed`] is what a change needs by one rule: the plan shows it, and the service enforces it
//! * [`digest`] is what an approval signs; [`Approved`] is one that counted
//!
//! A signer is one person, known by an SSH key, a passkey and an account of an identity provider, which count once; or all
//! persons with a role, or of a group, of an identity provider. A signer without a valid key has no fingerprint, so that no
//! signature is found to be of that signer. Which approvals a change needs is decided in `changes::approval_needs`; which
//! signatures count, in `approvals`.

mod field_condition;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use ssh_key::{
    HashAlg, PublicKey,
    public::{EcdsaPublicKey, KeyData},
};
use utoipa::ToSchema;

use super::{
    Approval, CompanyId, Digest, EnvironmentName, Function, HumanDuration, ProfileChange, Settings,
    access::Subject,
    signature::{Meaning, Signature, SignatureMethod, SignerIdentity, with_offset},
};
pub use field_condition::FieldCondition;

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
    /// True if the approval of the person who proposed or applies the change counts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub self_approval: bool,
    /// True if an administrator may apply without approvals in an emergency. The audit log records it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// The time after which a proposal cannot be signed or applied; without it, a proposal does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<HumanDuration>,
}

/// A person who may approve: with an SSH key, as an operator of the console with a passkey, as a person of an identity provider, or
/// with several of them. Or all persons who have a role, or are in a group, of an identity provider: they sign in the console, and
/// each counts once.
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
    /// The id of the person at `issuer`: `TENANT/OBJECT` of Entra, otherwise `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 300)]
    pub person: Option<String>,
    /// The group of `issuer` whose persons may sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 300)]
    pub group: Option<String>,
    /// The application role of `issuer` whose persons may sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 300)]
    pub role: Option<String>,
    /// The issuer of `person`, `group` or `role`: an identity provider with which persons sign in to the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 300)]
    pub issuer: Option<String>,
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
    /// The fields, and their values, that a change must touch to need the approvals; without it, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<FieldCondition>,
    /// True if an approval must say why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reason_required: bool,
    /// The age that a passkey must have at the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey_age: Option<HumanDuration>,
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
    /// Returns the verb for what a change with this action does to a profile.
    pub(crate) fn description(self) -> &'static str {
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
    /// The age that a passkey must have at the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey_age: Option<HumanDuration>,
    /// Reasons why the rule matches; at most ten.
    pub because: Vec<String>,
}

/// A signer, by name, by the fingerprint of the key, by the operator, and by what an identity provider states.
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
    /// The id of the person at the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The group of the issuer: every person in it is such a signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The role of the issuer: every person who has it is such a signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The issuer of the person, the group or the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl KnownSigner {
    /// Returns true if the signer is all persons with a role, or of a group.
    fn is_many(&self) -> bool {
        self.role.is_some() || self.group.is_some()
    }

    /// Returns the name, and for a role or a group what it is: `quality (role Mail.Quality)`.
    pub fn describe(&self) -> String {
        match (&self.role, &self.group) {
            (Some(role), _) => format!("{} (role {role})", self.name),
            (None, Some(group)) => format!("{} (group {group})", self.name),
            (None, None) => self.name.clone(),
        }
    }
}

/// A caller who proposed or applies a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actor<'a> {
    /// The name, which is for display and can change for a person of an identity provider.
    pub name: &'a str,
    /// The subject, which no other caller ever is; empty if it is not known.
    pub subject: &'a str,
}

impl ApprovalNeed {
    /// Returns a phrase such as `2 approvals of alice, bob or carol`.
    pub fn describe(&self) -> String {
        let names: Vec<String> = self.signers.iter().map(KnownSigner::describe).collect();
        let are_all = names.len() <= usize::from(self.count) && !self.signers.iter().any(KnownSigner::is_many);
        let signers = match names.as_slice() {
            [] => "no signer".to_owned(),
            [one] => one.clone(),
            [front @ .., last] => format!("{} {} {last}", front.join(", "), if are_all { "and" } else { "or" }),
        };
        let noun = self.meaning.noun(self.count);
        let why = if self.reason_required { ", each with a reason" } else { "" };
        let age = self.passkey_age.map_or_else(String::new, |age| format!(", by passkeys that are at least {age} old"));
        format!("{} {noun} of {signers}{why}{age}", self.count)
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
            person: self.person.clone(),
            group: self.group.clone(),
            role: self.role.clone(),
            issuer: self.issuer.clone(),
        }
    }

    /// Returns true if the signer is all persons with a role, or of a group, of an identity provider.
    pub fn is_many(&self) -> bool {
        self.role.is_some() || self.group.is_some()
    }

    /// Returns the role or the group of an identity provider that the signer is.
    pub fn class(&self) -> Option<Subject> {
        let issuer = self.issuer.as_deref()?;
        let role = self.role.as_deref().map(|role| Subject::of_role(issuer, role));
        role.or_else(|| self.group.as_deref().map(|group| Subject::of_group(issuer, group)))
    }

    /// Returns the person of an identity provider that the signer is.
    pub fn identity(&self) -> Option<SignerIdentity> {
        Some(SignerIdentity { issuer: self.issuer.clone()?, id: self.person.clone()? })
    }

    /// Returns true if a caller is the signer, as far as that is known. A role or a group is not one person.
    pub fn is_actor(&self, actor: Actor<'_>) -> bool {
        let is_person = || self.identity().is_some_and(|own| own.subject() == actor.subject);
        !self.is_many() && (self.is_named(actor.name) || is_person())
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

    /// Returns true if the environment does not accept a signature with this meaning of a person who proposed or applies the
    /// change. An author states authorship of what is the author's own.
    pub fn refuses_own(&self, meaning: Meaning) -> bool {
        meaning != Meaning::Authored && !self.self_approval
    }

    /// Returns true if the environment does not accept a signature with this meaning of a signer, because the signer is the
    /// caller who proposed or applies the change.
    pub fn is_self_approval(&self, signer: &Signer, meaning: Meaning, actor: Actor<'_>) -> bool {
        self.refuses_own(meaning) && signer.is_actor(actor)
    }

    /// Returns the need of a rule that a change matches, with the reasons.
    pub(crate) fn describe_need(&self, rule: &ApprovalRule, because: Vec<String>) -> ApprovalNeed {
        ApprovalNeed {
            count: rule.count,
            signers: self.signers_of(rule).map(Signer::identify).collect(),
            meaning: rule.meaning,
            reason_required: rule.reason_required,
            passkey_age: rule.passkey_age,
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
    /// The fingerprint of the SSH key, the id of the passkey, or the id of the person at the identity provider.
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
    /// The basis on which it counts; not kept.
    #[serde(skip)]
    pub standing: Standing,
}

/// The basis on which a signature counts, as it is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The person: equal texts are one person.
    pub person: String,
    /// The names of the signers of the policy as which the person counts.
    pub signers: BTreeSet<String>,
    /// The age of the passkey at the signature; none for other methods.
    pub passkey_age: Option<SignedDuration>,
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

    /// Returns the person of an identity provider who signed.
    pub fn identity(&self) -> Option<&SignerIdentity> {
        self.signature.as_ref()?.identity.as_ref()
    }

    /// Returns true if a caller made the signature, as far as that is known. `signers` are those of the policy.
    pub fn is_by(&self, signers: &[Signer], actor: Actor<'_>) -> bool {
        // A person who signs as a member of a role can be known by another signer, with an operator or a key.
        let is_signer = |signer: &Signer| {
            signer.name == self.signer
                || self.identity().is_some_and(|identity| signer.identity().as_ref() == Some(identity))
        };
        self.identity().is_some_and(|identity| identity.subject() == actor.subject)
            || signers.iter().any(|signer| is_signer(signer) && signer.is_actor(actor))
    }

    /// Describes the signature in one line: `Alice Example (alice) approved 2026-11-27T18:10:00+01:00 by passkey: Ticket 4711`.
    pub fn describe(&self) -> String {
        let alias = if self.person() == self.signer { String::new() } else { format!(" ({})", self.signer) };
        let time = self.time().map_or_else(String::new, |time| format!(" {time}"));
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        let recent = self.signature.as_ref().and_then(Signature::describe_recent_passkey);
        let recent = recent.map_or_else(String::new, |recent| format!(" ({recent})"));
        format!("{}{alias} {}{time} by {}{recent}{reason}", self.person(), self.meaning, self.method.id())
    }
}
