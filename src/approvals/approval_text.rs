//! [`ApprovalText`]: the text that an SSH key signs, canonical and short enough to read.
//!
//! [`ApprovalText::to_text`] writes it, [`ApprovalText::parse`] accepts exactly what that writes, and [`is_reason`] says which
//! reasons fit. Signatures, and whether a text is for a change, are not the concern of this module.

use jiff::Timestamp;

use crate::model::{Digest, EnvironmentName, Meaning};

/// Maximum length of a reason, in characters.
pub const REASON_LIMIT: usize = 400;

const HEADING: &str = "mailwright-approval-v1";
/// The heading of a text that states another meaning than `approved`.
const HEADING_WITH_MEANING: &str = "mailwright-approval-v2";

/// The text that a signer signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalText {
    /// The environment.
    pub environment: EnvironmentName,
    /// The action: `apply`, or `rollback to generation 41`.
    pub action: String,
    /// The generation that the change starts from.
    pub base: u64,
    /// The digest of the change; see [`crate::model::approvals::digest`].
    pub digest: Digest,
    /// The meaning.
    pub meaning: Meaning,
    /// The expiry of the approval.
    pub expires: Timestamp,
    /// The reason; can be empty.
    pub reason: String,
}

impl ApprovalText {
    /// Returns the text, with a line end after each line.
    pub fn to_text(&self) -> String {
        let Self { environment, action, base, digest, meaning, expires, reason } = self;
        let (heading, meaning) = match meaning {
            Meaning::Approved => (HEADING, String::new()),
            other => (HEADING_WITH_MEANING, format!("meaning: {other}\n")),
        };
        format!(
            "{heading}\nenvironment: {environment}\naction: {action}\nbase generation: {base}\ndigest: {digest}\n{meaning}expires: {expires}\nreason: {reason}\n"
        )
    }

    /// Parses a text. Only the canonical form is accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let has_meaning = match lines.next()? {
            HEADING => false,
            HEADING_WITH_MEANING => true,
            _ => return None,
        };
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");
        let parsed = Self {
            environment: field("environment")?.parse().ok()?,
            action: field("action")?.to_owned(),
            base: field("base generation")?.parse().ok()?,
            digest: field("digest")?.parse().ok()?,
            meaning: if has_meaning { field("meaning")?.parse().ok()? } else { Meaning::Approved },
            expires: field("expires")?.parse().ok()?,
            reason: field("reason")?.to_owned(),
        };
        (is_reason(&parsed.reason) && parsed.to_text() == text).then_some(parsed)
    }
}

/// Returns true if a text can be a reason: one line of bounded length.
pub fn is_reason(text: &str) -> bool {
    text.chars().count() <= REASON_LIMIT && !text.chars().any(char::is_control) && text.trim() == text
}
