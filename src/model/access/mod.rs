//! Access policy: the roles and bindings of an environment, and the decision on a request.
//!
//! [`AccessPolicy`] is the document `access.yaml`; the service stores it with the settings. [`decide`] is the only function that
//! decides: the service, the console and `mailwright access` use it, so they cannot disagree. Nothing is allowed that no grant
//! allows. The rights that a change needs are computed in [`crate::changes::access`]; the policy that applies to a change is the
//! live one, not the one that the change brings.
//!
//! * `vocabulary`: [`Area`], [`Activity`] and [`FieldPattern`]
//! * `presets`: the built-in roles as grants
//! * `decision`: [`Question`], [`Decision`] and [`decide`]
//! * `widening`: rights that one policy gives and another does not

mod decision;
mod presets;
mod vocabulary;
mod widening;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CompanyId, Function, HumanDuration};

pub use decision::{Decision, Extent, GrantId, Lack, Principal, Question, decide, describe_question, grants_of};
pub use presets::preset;
pub use vocabulary::{Activity, Area, FieldPattern, NAME_FIELD};
pub use widening::{Gain, describe_gains, excess, gains, gains_beyond, has_administrator};

/// Maximum number of roles of a policy.
pub const ROLES_LIMIT: usize = 100;
/// Maximum number of grants of a role.
pub const GRANTS_LIMIT: usize = 50;
/// Maximum number of bindings of a policy, and of subjects of a binding.
pub const BINDINGS_LIMIT: usize = 500;
/// Maximum length of the name of a subject.
pub const SUBJECT_LIMIT: usize = 300;
/// The longest time that a step-up can last, in seconds: a working day.
pub const STEP_UP_LIMIT: u64 = 12 * 3600;

/// The access policy of an environment: named roles, and who has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AccessPolicy {
    /// The roles by name, in addition to the built-in ones.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, RoleDefinition>,
    /// The bindings by name. A name lets a layer change or remove a binding.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bindings: BTreeMap<String, Binding>,
}

/// A named set of grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RoleDefinition {
    /// The purpose.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 200)]
    pub description: String,
    /// The grants. Together they are what the role allows.
    #[schema(max_items = 50)]
    pub grants: Vec<Grant>,
}

/// A grant: these activities in these areas. A limit that is not set allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Grant {
    /// The areas.
    pub areas: BTreeSet<Area>,
    /// The activities.
    pub activities: BTreeSet<Activity>,
    /// The companies; empty means all. A profile that is system-wide concerns all companies.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub companies: BTreeSet<CompanyId>,
    /// The functions; empty means all. A function includes those that fall back to it, except for `default`, which includes only
    /// itself.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub functions: BTreeSet<Function>,
    /// The fields; empty means all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub fields: BTreeSet<FieldPattern>,
    /// The time within which the caller must have confirmed its identity again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_up: Option<HumanDuration>,
}

/// Gives roles to subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Binding {
    /// The subjects.
    #[schema(max_items = 500)]
    pub subjects: BTreeSet<Subject>,
    /// The roles: names of this policy, or built-in ones.
    pub roles: BTreeSet<String>,
}

/// A holder of rights: exactly one of the first six keys, and `issuer` with `group` or `role`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Subject {
    /// The name of an API token. Names are compared without case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name of an operator: a person who signs in to the console with a passkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The name of a rule of the service's issuers file (`serve --oidc`): the pipelines that it admits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The fingerprint of an SSH key, `SHA256:...`. Reserved: no caller is authenticated by a key yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A group of an identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// An application role of an identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The issuer of a group or a role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// The kinds of subjects, as files and command lines write them.
pub const SUBJECT_KINDS: [&str; 6] = ["token", "operator", "pipeline", "key", "group", "role"];

impl AccessPolicy {
    /// Returns true if the policy has neither roles nor bindings.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.bindings.is_empty()
    }

    /// Returns the grants of a role: one of the policy, or a built-in one.
    pub fn grants(&self, role: &str) -> &[Grant] {
        match role.parse::<super::token::Role>() {
            Ok(built_in) => preset(built_in),
            Err(_) => self.roles.get(role).map_or(&[], |role| &role.grants),
        }
    }

    /// Returns every subject of the bindings, each once.
    pub fn subjects(&self) -> BTreeSet<&Subject> {
        self.bindings.values().flat_map(|binding| &binding.subjects).collect()
    }
}

impl Subject {
    fn named(kind: &str, name: &str, issuer: Option<&str>) -> Self {
        let name = Some(name.to_owned());
        let mut subject = Self { issuer: issuer.map(str::to_owned), ..Self::default() };
        match kind {
            "token" => subject.token = name,
            "operator" => subject.operator = name,
            "pipeline" => subject.pipeline = name,
            "key" => subject.key = name,
            "group" => subject.group = name,
            _ => subject.role = name,
        }
        subject
    }

    /// Creates the subject of an API token.
    pub fn of_token(name: &str) -> Self {
        Self::named("token", name, None)
    }

    /// Creates the subject of a person.
    pub fn of_operator(name: &str) -> Self {
        Self::named("operator", name, None)
    }

    /// Creates the subject of the pipelines that a rule of the issuers file admits.
    pub fn of_pipeline(rule: &str) -> Self {
        Self::named("pipeline", rule, None)
    }

    /// Creates the subject of a group of an identity provider.
    pub fn of_group(issuer: &str, group: &str) -> Self {
        Self::named("group", group, Some(issuer))
    }

    /// Creates the subject of an application role of an identity provider.
    pub fn of_role(issuer: &str, role: &str) -> Self {
        Self::named("role", role, Some(issuer))
    }

    /// Returns the kinds that are set, each with its name. A valid subject has one.
    pub fn kinds(&self) -> Vec<(&'static str, &str)> {
        let values = [&self.token, &self.operator, &self.pipeline, &self.key, &self.group, &self.role];
        SUBJECT_KINDS.into_iter().zip(values).filter_map(|(kind, value)| Some((kind, value.as_deref()?))).collect()
    }

    /// Returns the reason why this is not a subject; none if it is one.
    pub fn flaw(&self) -> Option<&'static str> {
        let kinds = self.kinds();
        let [(kind, name)] = kinds.as_slice() else {
            return Some("a subject has exactly one of `token`, `operator`, `pipeline`, `key`, `group` and `role`");
        };
        if name.trim().is_empty() || name.chars().count() > SUBJECT_LIMIT || name.chars().any(char::is_control) {
            return Some("the name of a subject is one line of 1 to 300 characters");
        }
        match (matches!(*kind, "group" | "role"), &self.issuer) {
            (true, None) => Some("a group or a role of an identity provider needs its `issuer`"),
            (false, Some(_)) => Some("`issuer` goes with `group` or `role`"),
            (true, Some(issuer)) if issuer.is_empty() || issuer.len() > SUBJECT_LIMIT => {
                Some("the issuer is an address of at most 300 characters")
            }
            _ if *kind == "key" && !name.starts_with("SHA256:") => {
                Some("a key is named by its fingerprint, `SHA256:...`, as `ssh-keygen -l` prints it")
            }
            _ => None,
        }
    }

    /// Returns true if both are the same. Names of tokens and operators are compared without case, because they are unique without
    /// case; groups, roles and keys exactly.
    pub fn is_same(&self, other: &Self) -> bool {
        let folded = |name: &Option<String>| name.as_ref().map(|name| name.to_lowercase());
        folded(&self.token) == folded(&other.token)
            && folded(&self.operator) == folded(&other.operator)
            && (&self.pipeline, &self.key, &self.group, &self.role, &self.issuer)
                == (&other.pipeline, &other.key, &other.group, &other.role, &other.issuer)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.kinds().into_iter();
        if let Some((kind, name)) = parts.next() {
            write!(f, "{kind}:{name}")?;
        }
        match &self.issuer {
            Some(issuer) => write!(f, "@{issuer}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Subject {
    type Err = &'static str;
    /// Parses `KIND:NAME`; for a group or a role of an identity provider `KIND:NAME@ISSUER`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a subject is KIND:NAME, with token, operator, pipeline, key, group or role as KIND";
        let (kind, name) = text.split_once(':').ok_or(FORM)?;
        if !SUBJECT_KINDS.contains(&kind) {
            return Err(FORM);
        }
        let subject = match (kind, name.split_once('@')) {
            ("group" | "role", Some((name, issuer))) => Self::named(kind, name, Some(issuer)),
            _ => Self::named(kind, name, None),
        };
        subject.flaw().map_or(Ok(subject), Err)
    }
}

/// The rule for the name of a role or a binding, in words.
pub const ACCESS_NAME_RULE: &str = "1 to 63 small letters, digits and dashes, beginning with a letter.";

/// Returns true if a text can be the name of a role or a binding ([`ACCESS_NAME_RULE`]).
pub fn is_access_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::*;

    #[test]
    fn a_subject_is_read_as_it_is_written() {
        for text in
            ["token:erp", "operator:ann", "pipeline:deploy", "key:SHA256:abc", "group:Mail@https://issuer.example"]
        {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for wrong in ["erp", "user:ann", "group:Mail", "key:abc", "token:", "token:a\nb"] {
            assert!(wrong.parse::<Subject>().is_err(), "{wrong}");
        }
        assert!(Subject::of_token("ERP").is_same(&Subject::of_token("erp")));
        assert!(!Subject::of_token("erp").is_same(&Subject::of_operator("erp")));
        assert!(!Subject::of_group("https://a", "G").is_same(&Subject::of_group("https://b", "G")));
        let two = Subject { token: Some("a".to_owned()), operator: Some("b".to_owned()), ..Subject::default() };
        assert!(two.flaw().is_some());
    }

    #[test]
    fn names_of_roles_are_plain() {
        assert!(is_access_name("mail-desk") && is_access_name("a1"));
        for wrong in ["", "-a", "a-", "Mail", "a b", "1a", &"a".repeat(64)] {
            assert!(!is_access_name(wrong), "{wrong}");
        }
    }
}
