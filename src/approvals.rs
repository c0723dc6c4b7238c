//! Approvals: the text that a signer signs, the signature, and the evaluation of signatures.
//!
//! * [`ApprovalText`] is the text that an SSH key signs; [`sign`] signs it
//! * [`Signature`] is the signature of a person of the console, by a passkey or by an identity provider
//! * [`ApprovalRequest::evaluate`] decides which approvals (SSH) and signatures of a change count, and which needs are not met
//!
//! SSH signatures are in the namespace [`NAMESPACE`], compatible with `ssh-keygen -Y sign` and `-Y verify`. The text is short and
//! canonical, so that a signer can read it. Its environment, action, base generation and digest must be those of the change;
//! meaning, expiry and reason are taken from the text. Which approvals a change needs is decided in `changes::approval_needs`.
//!
//! A signature of any kind that does not count (unknown signer, invalid, other plan, expired, of the author or the caller unless
//! the policy allows it) is rejected, and the others still count. An SSH approval that cannot be parsed, or more than 20
//! signatures of all kinds together, makes the whole request [`Malformed`].
//!
//! A signature by a passkey is verified at each evaluation, and its signer must be an operator at that time: one who was removed
//! or suspended after signing has not approved. The ID token of an identity provider is verified by the service, which passes on
//! what it states ([`SigningPerson`]). A person counts once for each meaning (approved, reviewed, authored), whatever the number
//! of keys, accounts, roles and groups.

mod approval_text;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig, public::KeyData};

use crate::{
    model::{
        Approval, ApprovalNeed, Approvals, Code, Digest, EnvironmentName, Meaning, Signature,
        access::Subject,
        approvals::{Actor, Approved, SignedAction, Signer, Standing},
        signature::{PasskeyEvidence, SignatureEvidence, SignatureMethod, SignerIdentity},
    },
    passkey::{Passkey, PasskeyError, RelyingParty},
};
pub use approval_text::{ApprovalText, REASON_LIMIT, is_reason};

/// The namespace of the signatures (`ssh-keygen -Y sign -n`).
pub const NAMESPACE: &str = "approval@mailwright.dev";
/// Maximum number of approvals of a change.
pub const APPROVALS_LIMIT: usize = 20;
/// Maximum size of an approval's text, in bytes.
pub const TEXT_LIMIT: usize = 2048;
/// Maximum size of an armoured signature, in bytes. A signature of RSA 4096 has 1500.
pub const SIGNATURE_LIMIT: usize = 8192;
/// Maximum validity of an approval.
pub const VALIDITY_LIMIT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Difference of the clocks of the service and of an identity provider.
const LEEWAY: SignedDuration = SignedDuration::from_mins(1);

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
    /// The passkeys.
    pub passkeys: Vec<SigningPasskey>,
}

/// A passkey of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningPasskey {
    /// The key.
    pub key: Passkey,
    /// The time of its registration.
    pub added_at: Timestamp,
}

/// The statement of an identity provider for a signature. The service has verified the ID token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningPerson {
    /// The id of the signature.
    pub signature: String,
    /// The statement, or the reason why there is none that counts.
    pub statement: Result<IdentityStatement, (Code, String)>,
}

/// A statement of an identity provider about a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityStatement {
    /// The person.
    pub identity: SignerIdentity,
    /// The digest of what the person was asked to sign.
    pub nonce: String,
    /// The time at which the person confirmed its identity.
    pub authenticated_at: Timestamp,
    /// The groups and roles that the person has, as far as is known.
    pub subjects: Vec<Subject>,
}

/// The signatures that were made for a change.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignaturesGiven<'a> {
    /// Texts that were signed with SSH keys.
    pub approvals: &'a [Approval],
    /// Signatures of persons of the console.
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
    /// The caller who applies the change.
    pub caller: Actor<'a>,
    /// The author of a proposal.
    pub author: Option<Actor<'a>>,
    /// The operators who may sign now.
    pub operators: &'a [SigningOperator],
    /// The statements of identity providers, by signature.
    pub persons: &'a [SigningPerson],
    /// The site that passkeys belong to; without one, no signature by a passkey counts.
    pub site: Option<&'a RelyingParty>,
}

/// The result of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The approvals that count; one per person and meaning.
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
                approved.meaning == need.meaning
                    && need.signers.iter().any(|signer| approved.standing.signers.contains(&signer.name))
            };
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for approved in evaluation.approved.iter().filter(of_need) {
                match find_obstacle(need, approved) {
                    None => with.push(approved.signer_or_person()),
                    Some(rejected) => without.push(rejected),
                }
            }
            if with.len() < usize::from(need.count) {
                evaluation.missing.push((need.clone(), with));
                evaluation.rejected.extend(without);
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
            standing: Standing::of_signer(signer, None),
        })
    }

    /// Verifies a signature of a person of the console.
    fn verify_signature(&self, signature: &Signature) -> Result<Approved, RejectedApproval> {
        let (key, standing) = match (&signature.identity, &signature.evidence) {
            (None, SignatureEvidence::Passkey(evidence)) => {
                let (signer, age) = self.verify_passkey(signature, evidence)?;
                (evidence.passkey.clone(), Standing::of_signer(signer, Some(age)))
            }
            (Some(identity), SignatureEvidence::Identity(_)) => {
                (identity.id.clone(), self.verify_statement(signature, identity)?)
            }
            _ => return reject(&signature.signer, Code::ApprovalForged, "has the evidence of another method"),
        };
        Ok(Approved {
            signer: signature.signer.clone(),
            printed_name: signature.printed_name.clone(),
            meaning: signature.meaning,
            method: signature.method,
            at: Some(signature.at),
            offset_minutes: Some(signature.offset_minutes),
            digest: Some(signature.digest.clone()),
            key,
            reason: signature.reason.clone(),
            expires: signature.expires,
            approval: None,
            signature: Some(signature.clone()),
            standing,
        })
    }

    /// Verifies a signature of an operator: the operator first, then the answer of the passkey, then what was signed. Returns the
    /// signer, and the age of the passkey at the signature.
    fn verify_passkey(
        &self,
        signature: &Signature,
        evidence: &PasskeyEvidence,
    ) -> Result<(&Signer, SignedDuration), RejectedApproval> {
        let name = &signature.signer;
        let Some(operator) = self.operators.iter().find(|operator| operator.id == signature.operator) else {
            return reject(name, Code::ApprovalByUnknownSigner, "signed as an operator who was removed or suspended");
        };
        let is_signer = |signer: &&Signer| signer.name == *name && signer.is_operator(&operator.name);
        let Some(signer) = self.rules.signers.iter().find(is_signer) else {
            return reject(name, Code::ApprovalByUnknownSigner, "is not an allowed signer");
        };
        let is_own =
            |one: &&SigningPasskey| one.key.id == evidence.passkey && one.key.public_key == evidence.public_key;
        let Some(passkey) = operator.passkeys.iter().find(is_own) else {
            return reject(name, Code::ApprovalByUnknownSigner, "signed with a passkey that was removed");
        };
        let Some(site) = self.site else {
            return reject(name, Code::ApprovalForged, "signed with a passkey, and the service has no public address");
        };
        match site.verify_evidence(evidence, &signature.text_digest(), &passkey.key) {
            Ok(()) => {}
            Err(PasskeyError::OtherSite) => {
                return reject(name, Code::ApprovalForged, "signed at another address of the console");
            }
            Err(_) => return reject(name, Code::ApprovalForged, "has an invalid signature"),
        }
        self.verify_terms(signer, &SignedTerms::of(signature))?;
        Ok((signer, signature.at.duration_since(passkey.added_at)))
    }

    /// Verifies a signature of a person of an identity provider: the provider's statement first, then what was signed, then the
    /// signers as which the person counts.
    fn verify_statement(&self, signature: &Signature, identity: &SignerIdentity) -> Result<Standing, RejectedApproval> {
        let name = &signature.signer;
        let Some(person) = self.persons.iter().find(|person| person.signature == signature.id) else {
            return reject(name, Code::ApprovalForged, "signed with an identity provider that was not asked");
        };
        let statement = match &person.statement {
            Ok(statement) => statement,
            Err((code, reason)) => return reject(name, *code, reason.clone()),
        };
        if statement.identity != *identity || statement.nonce != signature.text_digest().as_str() {
            return reject(name, Code::ApprovalForged, "has an invalid signature");
        }
        let at = statement.authenticated_at;
        if at + LEEWAY < signature.requested_at || at > signature.at + LEEWAY {
            return reject(name, Code::ApprovalForged, "did not confirm its identity for this signature");
        }
        let is_person = |signer: &Signer| signer.identity().is_some_and(|own| own == *identity);
        let is_member = |signer: &Signer| {
            signer.class().is_some_and(|class| statement.subjects.iter().any(|own| own.is_same(&class)))
        };
        let own: Vec<&Signer> =
            self.rules.signers.iter().filter(|signer| is_person(signer) || is_member(signer)).collect();
        let Some(stated) = own.iter().find(|signer| signer.name == *name) else {
            let reason = "is not an allowed signer, or does not have the role or the group any more";
            return reject(name, Code::ApprovalByUnknownSigner, reason);
        };
        self.verify_terms(stated, &SignedTerms::of(signature))?;
        let named = own.iter().find(|signer| is_person(signer));
        if self.rules.refuses_own(signature.meaning) {
            let is_own = |actor: Actor<'_>| {
                identity.subject() == actor.subject || named.is_some_and(|signer| signer.is_actor(actor))
            };
            if self.author.is_some_and(is_own) {
                return reject(name, Code::SelfApproval, PROPOSED);
            }
            if is_own(self.caller) {
                return reject(name, Code::SelfApproval, APPLIES);
            }
        }
        let is_current = |signer: &&&Signer| signer.expired_on(self.now).is_none();
        Ok(Standing {
            person: named.map_or_else(|| identity.subject(), |signer| Standing::person_of(signer)),
            signers: own.iter().filter(is_current).map(|signer| signer.name.clone()).collect(),
            passkey_age: None,
        })
    }

    /// Returns true if a signature with a meaning does not count because the signer is the author or the caller.
    fn is_own(&self, signer: &Signer, meaning: Meaning, actor: Option<Actor<'_>>) -> bool {
        actor.is_some_and(|actor| self.rules.is_self_approval(signer, meaning, actor))
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
        let reason = if self.is_own(signer, meaning, self.author) {
            PROPOSED
        } else if self.is_own(signer, meaning, Some(self.caller)) {
            APPLIES
        } else {
            return Ok(());
        };
        reject(&signer.name, Code::SelfApproval, reason)
    }
}

const PROPOSED: &str = "proposed the change, and another signer must approve it";
const APPLIES: &str = "applies the change, and another signer must approve it";

/// Returns the reason why a signature does not count for a need, although its signer may sign for it.
fn find_obstacle(need: &ApprovalNeed, approved: &Approved) -> Option<RejectedApproval> {
    let rejected = |code, reason| Some(RejectedApproval { signer: approved.signer_or_person(), code, reason });
    if need.reason_required && approved.reason.is_empty() {
        return rejected(Code::ApprovalWithoutReason, "gave no reason, and a reason is required".to_owned());
    }
    let (wanted, age) = (need.passkey_age?, approved.standing.passkey_age?);
    if age >= SignedDuration::try_from(wanted.duration()).unwrap_or(SignedDuration::MAX) {
        return None;
    }
    let recent = approved.signature.as_ref().and_then(Signature::describe_recent_passkey);
    let recent = recent.map(|recent| format!(" ({recent})")).unwrap_or_default();
    rejected(Code::PasskeyTooNew, format!("signed with a passkey that is not {wanted} old{recent}"))
}

impl Standing {
    fn of_signer(signer: &Signer, passkey_age: Option<SignedDuration>) -> Self {
        let signers = std::iter::once(signer.name.clone()).collect();
        Self { person: Self::person_of(signer), signers, passkey_age }
    }

    fn person_of(signer: &Signer) -> String {
        format!("signer {}", signer.name)
    }
}

impl Approved {
    /// Returns the name of the signer; of a person who counts by a role or a group, the name of the person.
    fn signer_or_person(&self) -> String {
        let is_named = self.standing.person == format!("signer {}", self.signer);
        if is_named { self.signer.clone() } else { format!("{} ({})", self.person(), self.signer) }
    }
}

/// Returns an approval by an SSH key as a record shows it, without an evaluation: it was verified when it was added. `None` if it
/// cannot be read.
pub fn read_approval(approval: &Approval, signers: &[Signer]) -> Option<Approved> {
    let (text, signature) = parse(approval).ok()?;
    let key = fingerprint(signature.public_key());
    let signer = signers.iter().find(|signer| signer.identify().key == key);
    let name = signer.map_or_else(|| key.clone(), |signer| signer.name.clone());
    Some(Approved {
        signer: name.clone(),
        printed_name: name,
        meaning: text.meaning,
        method: SignatureMethod::Ssh,
        at: None,
        offset_minutes: None,
        digest: Some(text.digest),
        key,
        reason: text.reason,
        expires: text.expires,
        approval: Some(approval.clone()),
        signature: None,
        standing: Standing::default(),
    })
}

impl Evaluation {
    /// Adds the result for one signature. A person counts once for each meaning, as every signer that it is.
    fn add(&mut self, result: Result<Approved, RejectedApproval>) {
        let approved = match result {
            Ok(approved) => approved,
            Err(rejected) => return self.rejected.push(rejected),
        };
        let is_same = |other: &&mut Approved| {
            other.standing.person == approved.standing.person && other.meaning == approved.meaning
        };
        let Some(other) = self.approved.iter_mut().find(is_same) else { return self.approved.push(approved) };
        let signers = other.standing.signers.union(&approved.standing.signers).cloned().collect();
        // If a person has several approvals, one with a reason is preferred, and then one that is not by a new passkey.
        let age = |one: &Approved| one.standing.passkey_age.unwrap_or(SignedDuration::MAX);
        let rank = |one: &Approved| (!one.reason.is_empty(), age(one));
        if rank(&approved) > rank(other) {
            *other = approved;
        }
        other.standing.signers = signers;
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

impl<'a> SignedTerms<'a> {
    fn of(signature: &'a Signature) -> Self {
        let Signature { environment, action, base, digest, meaning, expires, .. } = signature;
        Self { environment, action, base: *base, digest, meaning: *meaning, expires: *expires }
    }
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
