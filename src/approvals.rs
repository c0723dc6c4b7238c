//! Approvals: the text that a signer signs, the signature, and the evaluation of signatures.
//!
//! * [`ApprovalText`] is the text that an SSH key signs; [`sign`] signs it
//! * [`Signature`] is the signature of an operator of the console, by a passkey
//! * [`ApprovalRequest::evaluate`] decides which signatures of a change count, and which are missing
//!
//! An approval is a text with an SSH signature in the namespace [`NAMESPACE`], compatible with `ssh-keygen -Y sign` and
//! `-Y verify`. The text is short and canonical: a signer can read it, and the service computes it from the change. Which approvals
//! a change needs is decided in [`crate::model::approvals`]. An approval that does not count (unknown signer, invalid signature,
//! other plan, expired) is rejected by itself; one that cannot be read, or more than 20, makes the whole request [`Malformed`].
//!
//! The answer of a passkey is verified again each time, and its operator must still be one: a person who was removed or suspended
//! after the signature has not approved. A signer counts once for each meaning, whatever the number of keys.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig, public::KeyData};

use crate::{
    model::{
        Approval, ApprovalNeed, Approvals, Code, Digest, EnvironmentName, Meaning, Signature,
        approvals::{Approved, SignedAction, Signer},
        signature::SignatureMethod,
    },
    passkey::{Passkey, PasskeyError, RelyingParty},
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

/// An operator of the console, as far as signatures are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningOperator {
    /// The id, which no other operator ever has.
    pub id: String,
    /// The name, by which a signer of the policy names the operator.
    pub name: String,
    /// The passkeys; empty for an operator who was removed or suspended.
    pub passkeys: Vec<Passkey>,
}

/// The signatures that were made for a change.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignaturesGiven<'a> {
    /// Texts that were signed with SSH keys.
    pub approvals: &'a [Approval],
    /// Signatures of operators.
    pub signatures: &'a [Signature],
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
    /// The name of the author of a proposal.
    pub author: Option<&'a str>,
    /// The operators who may sign now.
    pub operators: &'a [SigningOperator],
    /// The site that passkeys belong to; without one, no signature by a passkey counts.
    pub site: Option<&'a RelyingParty>,
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
    /// Evaluates the signatures of the change.
    pub fn evaluate(&self, given: SignaturesGiven<'_>) -> Result<Evaluation, Malformed> {
        let SignaturesGiven { approvals, signatures } = given;
        let count = approvals.len() + signatures.len();
        if count > APPROVALS_LIMIT {
            return Err(Malformed(format!("the change has {count} approvals, and the maximum is {APPROVALS_LIMIT}")));
        }
        let mut evaluation = Evaluation::default();
        for (index, approval) in approvals.iter().enumerate() {
            let (text, signature) = parse(approval)
                .map_err(|reason| Malformed(format!("approval {} of {}: {reason}", index + 1, approvals.len())))?;
            evaluation.add(self.verify_approval(&text, &signature, approval));
        }
        for signature in signatures {
            evaluation.add(self.verify_signature(signature));
        }
        for need in self.needs {
            let of_need = |approved: &&Approved| {
                approved.meaning == need.meaning && need.signers.iter().any(|signer| signer.name == approved.signer)
            };
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

    /// Verifies an approval by an SSH key. The signature is checked before the text is used.
    fn verify_approval(
        &self,
        text: &ApprovalText,
        signature: &SshSig,
        approval: &Approval,
    ) -> Result<Approved, RejectedApproval> {
        let key = signature.public_key();
        let fingerprint_of_key = fingerprint(key);
        let is_own = |signer: &&Signer| signer.public_key().is_some_and(|own| own.is_ok_and(|own| is_same(&own, key)));
        let Some(signer) = self.rules.signers.iter().find(is_own) else {
            return reject(&fingerprint_of_key, Code::ApprovalByUnknownSigner, "is not the key of an allowed signer");
        };
        if signature.namespace() != NAMESPACE {
            let reason = format!("signed in another namespace than `{NAMESPACE}`");
            return reject(&signer.name, Code::ApprovalForged, reason);
        }
        if !is_valid_signature(signature, &approval.message) {
            return reject(&signer.name, Code::ApprovalForged, "has an invalid signature");
        }
        let ApprovalText { environment, action, base, digest, meaning, expires, reason } = text;
        self.verify_terms(
            signer,
            &SignedTerms { environment, action, base: *base, digest, meaning: *meaning, expires: *expires },
        )?;
        Ok(Approved {
            signer: signer.name.clone(),
            printed_name: signer.name.clone(),
            meaning: *meaning,
            method: SignatureMethod::Ssh,
            at: Some(self.now),
            offset_minutes: None,
            digest: Some(digest.clone()),
            key: fingerprint_of_key,
            reason: reason.clone(),
            expires: *expires,
            approval: Some(approval.clone()),
            signature: None,
        })
    }

    /// Verifies a signature of an operator: the operator first, then the answer of the passkey, then what was signed.
    fn verify_signature(&self, signature: &Signature) -> Result<Approved, RejectedApproval> {
        let Signature { environment, action, base, digest, meaning, expires, evidence, .. } = signature;
        let name = &signature.signer;
        let Some(operator) = self.operators.iter().find(|operator| operator.id == signature.operator) else {
            return reject(name, Code::ApprovalByUnknownSigner, "signed as an operator who was removed or suspended");
        };
        let is_signer = |signer: &&Signer| signer.name == *name && signer.is_operator(&operator.name);
        let Some(signer) = self.rules.signers.iter().find(is_signer) else {
            return reject(name, Code::ApprovalByUnknownSigner, "is not an allowed signer");
        };
        let is_own = |passkey: &&Passkey| passkey.id == evidence.passkey && passkey.public_key == evidence.public_key;
        let Some(passkey) = operator.passkeys.iter().find(is_own) else {
            return reject(name, Code::ApprovalByUnknownSigner, "signed with a passkey that was removed");
        };
        let Some(site) = self.site else {
            return reject(name, Code::ApprovalForged, "signed with a passkey, and the service has no public address");
        };
        match site.verify_evidence(evidence, &signature.text_digest(), passkey) {
            Ok(()) => {}
            Err(PasskeyError::OtherSite) => {
                return reject(name, Code::ApprovalForged, "signed at another address of the console");
            }
            Err(_) => return reject(name, Code::ApprovalForged, "has an invalid signature"),
        }
        self.verify_terms(
            signer,
            &SignedTerms { environment, action, base: *base, digest, meaning: *meaning, expires: *expires },
        )?;
        Ok(Approved {
            signer: signer.name.clone(),
            printed_name: signature.printed_name.clone(),
            meaning: *meaning,
            method: signature.method,
            at: Some(signature.at),
            offset_minutes: Some(signature.offset_minutes),
            digest: Some(digest.clone()),
            key: evidence.passkey.clone(),
            reason: signature.reason.clone(),
            expires: *expires,
            approval: None,
            signature: Some(signature.clone()),
        })
    }

    /// Verifies what was signed, and that the signer may sign it.
    fn verify_terms(&self, signer: &Signer, terms: &SignedTerms<'_>) -> Result<(), RejectedApproval> {
        let SignedTerms { environment, action, base, digest, meaning, expires } = *terms;
        if let Some(until) = signer.expired_on(self.now) {
            return reject(&signer.name, Code::ApprovalByUnknownSigner, format!("was an allowed signer until {until}"));
        }
        let is_same_change = environment == self.environment
            && base == self.base
            && *action == self.action.to_string()
            && *digest == self.digest;
        if !is_same_change {
            let short = digest.short();
            return reject(
                &signer.name,
                Code::ApprovalForAnotherPlan,
                format!("approved another plan ({action} of `{environment}`, from generation {base}, {short})"),
            );
        }
        if expires <= self.now {
            return reject(&signer.name, Code::ApprovalExpired, format!("approved until {expires}"));
        }
        if expires > self.now + VALIDITY_LIMIT {
            return reject(&signer.name, Code::ApprovalMalformed, "approved for more than 30 days");
        }
        let is_own = |name: &str| self.rules.is_self_approval(signer, meaning, name);
        let reason = if self.author.is_some_and(is_own) {
            "proposed the change, and another signer must approve it"
        } else if is_own(self.caller) {
            "applies the change, and another signer must approve it"
        } else {
            return Ok(());
        };
        reject(&signer.name, Code::SelfApproval, reason)
    }
}

impl Evaluation {
    /// Adds the result for one signature. A signer counts once for each meaning.
    fn add(&mut self, result: Result<Approved, RejectedApproval>) {
        let approved = match result {
            Ok(approved) => approved,
            Err(rejected) => return self.rejected.push(rejected),
        };
        let is_same = |other: &&mut Approved| other.signer == approved.signer && other.meaning == approved.meaning;
        match self.approved.iter_mut().find(is_same) {
            None => self.approved.push(approved),
            // If a signer has several approvals, one with a reason is preferred.
            Some(other) if other.reason.is_empty() => *other = approved,
            Some(_) => {}
        }
    }
}

/// The terms that a signer signed.
struct SignedTerms<'a> {
    environment: &'a EnvironmentName,
    action: &'a String,
    base: u64,
    digest: &'a Digest,
    meaning: Meaning,
    expires: Timestamp,
}

fn reject<T>(signer: &str, code: Code, reason: impl Into<String>) -> Result<T, RejectedApproval> {
    Err(RejectedApproval { signer: signer.to_owned(), code, reason: reason.into() })
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

#[cfg(test)]
mod tests;
