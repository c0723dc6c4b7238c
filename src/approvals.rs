//! Approvals: the text that a signer signs, the signature, and the evaluation of signatures.
//!
//! * [`ApprovalText`] is the signed text; [`sign`] signs it
//! * [`ApprovalRequest::evaluate`] decides which of a change's approvals count, and which are missing
//!
//! A signature is an SSH signature in the namespace [`NAMESPACE`], compatible with `ssh-keygen -Y sign` and `-Y verify`. The text
//! is short and canonical: a signer can read it, and the service computes it from the change. Which approvals a change needs is
//! decided in [`crate::model::approvals`]. An approval that does not count (unknown signer, invalid signature, other plan, expired)
//! is rejected by itself; one that cannot be read, or more than 20, makes the whole request [`Malformed`].

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::Serialize;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig, public::KeyData};

use crate::model::{
    Approval, ApprovalNeed, Approvals, Code, Digest, EnvironmentName,
    approvals::{Approved, SignedAction, Signer},
};

/// The namespace of the signatures (`ssh-keygen -Y sign -n`).
pub const NAMESPACE: &str = "approval@mailwright.dev";
/// Maximum number of approvals of a change.
pub const APPROVALS_LIMIT: usize = 20;
/// Maximum size of an approval's text, in bytes.
pub const TEXT_LIMIT: usize = 2048;
/// Maximum size of an armoured signature, in bytes. A signature of RSA 4096 has 1500.
pub const SIGNATURE_LIMIT: usize = 8192;
/// Maximum length of a reason, in characters.
pub const REASON_LIMIT: usize = 400;
/// Maximum validity of an approval.
pub const VALIDITY_LIMIT: SignedDuration = SignedDuration::from_hours(30 * 24);

const HEADING: &str = "mailwright-approval-v1";

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
    /// The expiry of the approval.
    pub expires: Timestamp,
    /// The reason; can be empty.
    pub reason: String,
}

impl ApprovalText {
    /// Returns the text, with a line end after each line.
    pub fn to_text(&self) -> String {
        let Self { environment, action, base, digest, expires, reason } = self;
        format!(
            "{HEADING}\nenvironment: {environment}\naction: {action}\nbase generation: {base}\ndigest: {digest}\nexpires: {expires}\nreason: {reason}\n"
        )
    }

    /// Parses a text. Only the canonical form is accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next() == Some(HEADING)).then_some(())?;
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");
        let parsed = Self {
            environment: field("environment")?.parse().ok()?,
            action: field("action")?.to_owned(),
            base: field("base generation")?.parse().ok()?,
            digest: field("digest")?.parse().ok()?,
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

/// Signs a text and returns the armoured signature.
pub fn sign(key: &PrivateKey, text: &str) -> Result<String, ssh_key::Error> {
    key.sign(NAMESPACE, HashAlg::Sha512, text.as_bytes())?.to_pem(LineEnding::LF)
}

/// Returns the fingerprint of a key, as `ssh-keygen -l` prints it.
pub fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// An approval that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedApproval {
    /// The signer; the key's fingerprint if it belongs to no signer.
    pub signer: String,
    /// The kind of problem.
    pub code: Code,
    /// The reason, worded to follow the signer's name: `approved another plan`.
    pub reason: String,
}

/// A change that needs approvals.
#[derive(Clone, Debug)]
pub struct ApprovalRequest<'a> {
    /// The live rules of the environment.
    pub rules: &'a Approvals,
    /// The approvals that the change needs by these rules.
    pub needs: &'a [ApprovalNeed],
    /// The environment.
    pub environment: &'a EnvironmentName,
    /// The generation that the change starts from.
    pub base: u64,
    /// The action.
    pub action: SignedAction,
    /// The digest of the change.
    pub digest: Digest,
    /// The time of the evaluation.
    pub now: Timestamp,
    /// The name of the caller who applies the change.
    pub caller: &'a str,
}

/// The result of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The approvals that count; one per signer.
    pub approved: Vec<Approved>,
    /// The approvals that do not count.
    pub rejected: Vec<RejectedApproval>,
    /// The needs that are not met, each with the signers who approved so far.
    pub missing: Vec<(ApprovalNeed, Vec<String>)>,
}

/// An approval that cannot be parsed. The message does not quote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl ApprovalRequest<'_> {
    /// Evaluates the approvals of the change.
    pub fn evaluate(&self, approvals: &[Approval]) -> Result<Evaluation, Malformed> {
        if approvals.len() > APPROVALS_LIMIT {
            return Err(Malformed(format!(
                "the change has {} approvals, and the maximum is {APPROVALS_LIMIT}",
                approvals.len()
            )));
        }
        let mut evaluation = Evaluation::default();
        for (index, approval) in approvals.iter().enumerate() {
            let (text, signature) = parse(approval)
                .map_err(|reason| Malformed(format!("approval {} of {}: {reason}", index + 1, approvals.len())))?;
            match self.verify(&text, &signature, approval) {
                Ok(approved) => {
                    let same = evaluation.approved.iter_mut().find(|other| other.signer == approved.signer);
                    match same {
                        None => evaluation.approved.push(approved),
                        // If a signer has several approvals, one with a reason is preferred.
                        Some(other) if other.reason.is_empty() => *other = approved,
                        Some(_) => {}
                    }
                }
                Err(rejected) => evaluation.rejected.push(rejected),
            }
        }
        for need in self.needs {
            let of_need = |approved: &&Approved| need.signers.iter().any(|signer| signer.name == approved.signer);
            let (with, without): (Vec<&Approved>, Vec<&Approved>) = evaluation
                .approved
                .iter()
                .filter(of_need)
                .partition(|approved| !need.reason_required || !approved.reason.is_empty());
            if with.len() < usize::from(need.count) {
                evaluation.rejected.extend(without.into_iter().map(|approved| RejectedApproval {
                    signer: approved.signer.clone(),
                    code: Code::ApprovalWithoutReason,
                    reason: "gave no reason, and a reason is required".to_owned(),
                }));
                let have = with.into_iter().map(|approved| approved.signer.clone()).collect();
                evaluation.missing.push((need.clone(), have));
            }
        }
        Ok(evaluation)
    }

    /// Verifies an approval. The signature is checked before the text is used.
    fn verify(
        &self,
        text: &ApprovalText,
        signature: &SshSig,
        approval: &Approval,
    ) -> Result<Approved, RejectedApproval> {
        let key = signature.public_key();
        let fingerprint_of_key = fingerprint(key);
        let signer = self.rules.signers.iter().find(|signer| signer.public_key().is_ok_and(|own| is_same(&own, key)));
        let name = signer.map_or(fingerprint_of_key.as_str(), |signer| signer.name.as_str());
        let reject = |code: Code, reason: String| Err(RejectedApproval { signer: name.to_owned(), code, reason });
        let Some(signer) = signer else {
            return reject(Code::ApprovalByUnknownSigner, "is not the key of an allowed signer".to_owned());
        };
        if signature.namespace() != NAMESPACE {
            return reject(Code::ApprovalForged, format!("signed in another namespace than `{NAMESPACE}`"));
        }
        if !is_valid_signature(signature, &approval.message) {
            return reject(Code::ApprovalForged, "has an invalid signature".to_owned());
        }
        if let Some(until) = expired_on(signer, self.now) {
            return reject(Code::ApprovalByUnknownSigner, format!("was an allowed signer until {until}"));
        }
        let is_same_change = text.environment == *self.environment
            && text.base == self.base
            && text.action == self.action.to_string()
            && text.digest == self.digest;
        if !is_same_change {
            return reject(
                Code::ApprovalForAnotherPlan,
                format!(
                    "approved another plan ({} of `{}`, from generation {}, {})",
                    text.action,
                    text.environment,
                    text.base,
                    text.digest.short()
                ),
            );
        }
        if text.expires <= self.now {
            return reject(Code::ApprovalExpired, format!("approved until {}", text.expires));
        }
        if text.expires > self.now + VALIDITY_LIMIT {
            return reject(Code::ApprovalMalformed, "approved for more than 30 days".to_owned());
        }
        // Names are compared without case: `Alice` is the signer `alice`.
        if signer.name.to_lowercase() == self.caller.to_lowercase() && !self.rules.self_approval {
            return reject(Code::SelfApproval, "applies the change, and another signer must approve it".to_owned());
        }
        Ok(Approved {
            signer: signer.name.clone(),
            key: fingerprint_of_key,
            reason: text.reason.clone(),
            expires: text.expires,
            approval: approval.clone(),
        })
    }
}

fn parse(approval: &Approval) -> Result<(ApprovalText, SshSig), &'static str> {
    if approval.message.len() > TEXT_LIMIT || approval.signature.len() > SIGNATURE_LIMIT {
        return Err("it is too large");
    }
    let text = ApprovalText::parse(&approval.message).ok_or("its text is not the text of an approval")?;
    let signature = SshSig::from_pem(&approval.signature).map_err(|_| "its signature is not an SSH signature")?;
    Ok((text, signature))
}

/// Returns true if two keys are the same. The application name of a security key is part of it.
fn is_same(one: &KeyData, other: &KeyData) -> bool {
    fingerprint(one) == fingerprint(other)
}

/// Returns true if a signature of a text is valid for the key that it names. For a security key, the signature must state that
/// a person touched it.
fn is_valid_signature(signature: &SshSig, text: &str) -> bool {
    let key = signature.public_key();
    if matches!(key, KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_)) {
        // Such a signature ends with a byte of flags and a counter of four bytes; the lowest flag is the touch.
        let bytes = signature.signature_bytes();
        let touched = bytes.len().checked_sub(5).and_then(|at| bytes.get(at)).is_some_and(|flags| flags & 1 == 1);
        if !touched {
            return false;
        }
    }
    PublicKey::from(key.clone()).verify(NAMESPACE, text.as_bytes(), signature).is_ok()
}

/// Returns the last day of a signer who may not sign any more.
fn expired_on(signer: &Signer, now: Timestamp) -> Option<jiff::civil::Date> {
    signer.until.filter(|until| now.to_zoned(TimeZone::UTC).date() > *until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> ApprovalText {
        ApprovalText {
            environment: "prod".parse().unwrap(),
            action: SignedAction::Rollback(41).to_string(),
            base: 42,
            digest: Digest::of_bytes(b"change"),
            expires: Timestamp::from_second(1_800_000_000).unwrap(),
            reason: "The relay is down".to_owned(),
        }
    }

    #[test]
    fn only_the_canonical_form_of_a_text_is_accepted() {
        let canonical = text().to_text();
        assert_eq!(ApprovalText::parse(&canonical), Some(text()));
        for other in [
            canonical.trim_end().to_owned(),
            canonical.replace('\n', "\r\n"),
            format!("{canonical}more\n"),
            canonical.replace("base generation: 42", "base generation: 042"),
            canonical.replace("reason: ", "reason:  "),
        ] {
            assert_eq!(ApprovalText::parse(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_reason_is_one_bounded_line() {
        assert!(is_reason("") && is_reason(&"x".repeat(REASON_LIMIT)));
        for other in ["two\nlines", " space", "space ", &"x".repeat(REASON_LIMIT + 1)] {
            assert!(!is_reason(other), "{other:?}");
        }
    }
}
