//! The source of a changeset, and the source policy of an environment.
//!
//! All of it is stated by the sender: a note, not a proof. [`SourcePolicy::breaches`] compares the two; a branch, commit or
//! signature that is not stated does not satisfy a requirement. `docs/git.md` explains the limits of a source policy.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Code, Digest};

/// The source of a changeset, as the sender states it: a note, not a proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provenance {
    /// The Git commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub commit: Option<String>,
    /// The Git branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 250)]
    pub branch: Option<String>,
    /// The author of the commit, as the commit names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// Git's verdict on the commit's signature; absent if it was not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// The signer, as Git names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 250)]
    pub signer: Option<String>,
    /// True if the work tree had changes that were not committed.
    #[serde(default)]
    pub dirty: bool,
    /// The digest of the plan that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// Version of the program that computed the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 50)]
    pub mailwright: Option<String>,
}

/// The author of a commit, as the commit names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Author {
    /// The name.
    #[schema(max_length = 250)]
    pub name: String,
    /// The address.
    #[schema(max_length = 250)]
    pub email: String,
}

impl Author {
    /// The longest name, address or signer, in characters.
    pub const LONGEST: usize = 250;
}

/// Git's verdict on a commit's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// The signature is good, and the key is trusted.
    Good,
    /// The signature is good, and the owner of the key is not known.
    UnknownKey,
    /// The signature is good, but it or the key has expired since.
    Expired,
    /// The signature is good, and the key was revoked.
    Revoked,
    /// The signature does not fit the commit.
    Bad,
    /// The signature cannot be checked: the key is not available.
    Unchecked,
    /// The commit is not signed.
    None,
}

impl Signature {
    /// Reads the letter of `%G?` of `git log`.
    pub fn from_git(letter: &str) -> Option<Self> {
        match letter {
            "G" => Some(Signature::Good),
            "U" => Some(Signature::UnknownKey),
            "X" | "Y" => Some(Signature::Expired),
            "R" => Some(Signature::Revoked),
            "B" => Some(Signature::Bad),
            "E" => Some(Signature::Unchecked),
            "N" => Some(Signature::None),
            _ => None,
        }
    }

    /// Returns the verdict as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            Signature::Good => "good",
            Signature::UnknownKey => "unknown-key",
            Signature::Expired => "expired",
            Signature::Revoked => "revoked",
            Signature::Bad => "bad",
            Signature::Unchecked => "unchecked",
            Signature::None => "none",
        }
    }
}

impl Provenance {
    /// Returns the name of a field that is too long, if any.
    pub fn too_long(&self) -> Option<&'static str> {
        let longer = |text: &Option<String>, most: usize| text.as_ref().is_some_and(|text| text.chars().count() > most);
        let author = self.author.as_ref().map(|author| [Some(author.name.clone()), Some(author.email.clone())]);
        if longer(&self.commit, 100) {
            Some("commit")
        } else if longer(&self.branch, 250) {
            Some("branch")
        } else if author.is_some_and(|parts| parts.iter().any(|part| longer(part, Author::LONGEST))) {
            Some("author")
        } else if longer(&self.signer, Author::LONGEST) {
            Some("signer")
        } else if longer(&self.mailwright, 50) {
            Some("mailwright")
        } else {
            None
        }
    }
}

/// The sources that an environment may be applied from. Without a requirement, all are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SourcePolicy {
    /// The branches that are allowed; `*` matches anything without a slash, `**` anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// True if everything must be committed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clean: bool,
    /// True if the commit's signature must be good.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
}

/// A breach of a source policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Breach {
    /// The fault, in one sentence.
    pub message: String,
    /// The remedy.
    pub remedy: String,
}

impl SourcePolicy {
    /// Returns true if the policy allows every source.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the breaches of a source; empty if it is allowed.
    pub fn breaches(&self, source: &Provenance) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let mut breach = |message: String, remedy: &str| breaches.push(Breach { message, remedy: remedy.to_owned() });
        let is_allowed = |branch: &String| self.branches.iter().any(|pattern| matches(pattern, branch));
        if !self.branches.is_empty() && !source.branch.as_ref().is_some_and(is_allowed) {
            let from = source.branch.as_ref().map_or("no branch".to_owned(), |b| format!("`{}`", b.escape_debug()));
            let allowed = self.branches.iter().map(|b| format!("`{}`", b.escape_debug())).collect::<Vec<_>>();
            breach(
                format!("the files are from {from}, and only {} may be applied", allowed.join(", ")),
                "Merge the change to such a branch, and apply from there; `--branch` names it where none is checked out.",
            );
        }
        if self.clean && (source.dirty || source.commit.is_none()) {
            let message = if source.commit.is_none() {
                "the files are of no commit, and only what is committed may be applied"
            } else {
                "there are changes that are not committed, and only what is committed may be applied"
            };
            breach(message.to_owned(), "Commit them, and plan again.");
        }
        if self.signed && source.signature != Some(Signature::Good) {
            let what = match source.signature {
                None | Some(Signature::None) => "the commit is not signed".to_owned(),
                Some(signature) => format!("the commit's signature is not good ({})", signature.id()),
            };
            breach(
                format!("{what}, and only signed commits may be applied"),
                "Sign it (`git commit --amend -S`), and let Git know the key: `git log -1 --show-signature` shows details.",
            );
        }
        breaches
    }

    /// Returns the code that every breach has.
    pub fn code() -> Code {
        Code::SourceRefused
    }
}

/// Returns true if a branch's name fits a pattern: `*` matches anything without a slash, `**` anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(at) = pattern.find('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(&pattern[..at]) else { return false };
    let (behind, over_slashes) = match pattern[at..].strip_prefix("**") {
        Some(behind) => (behind, true),
        None => (&pattern[at + 1..], false),
    };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.take_while(|end| over_slashes || !rest[..*end].contains('/')).any(|end| matches(behind, &rest[end..]))
}
