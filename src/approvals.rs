//! Approvals: the text that is signed, signing it, and whether what was signed counts.
//!
//! A signature is an `sshsig` in the namespace [`NAMESPACE`], so `ssh-keygen -Y sign` and `-Y verify` make and check the
//! same ones. The text is short and canonical: a reader sees what is signed, and the service can compute it from the
//! change that it is handed. Which approvals a change needs is the matter of [`crate::model::approvals`].

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::Serialize;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig, public::KeyData};

use crate::model::{
    Approval, ApprovalNeed, Approvals, Code, Digest, EnvironmentName,
    approvals::{Approved, Deed, Signer},
};

/// What `ssh-keygen -Y sign -n` is given.
pub const NAMESPACE: &str = "approval@mailwright.dev";
/// How many approvals a change may carry.
pub const MOST: usize = 20;
/// How many bytes a message may have.
pub const MESSAGE_LIMIT: usize = 2048;
/// How many bytes an armoured signature may have: one of RSA 4096 has 1500.
pub const SIGNATURE_LIMIT: usize = 8192;
/// How many characters a reason may have.
pub const REASON_LIMIT: usize = 400;
/// How far ahead an approval may expire.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);

const HEADING: &str = "mailwright-approval-v1";

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The environment.
    pub environment: EnvironmentName,
    /// What is done: `apply`, or `rollback to generation 41`.
    pub deed: String,
    /// The generation that the change starts from.
    pub base: u64,
    /// The digest of the change; see [`crate::model::approvals::digest`].
    pub digest: Digest,
    /// When the approval ends.
    pub expires: Timestamp,
    /// Why it is given; may be empty.
    pub reason: String,
}

impl Message {
    /// The text, with a line end after each line.
    pub fn to_text(&self) -> String {
        let Self { environment, deed, base, digest, expires, reason } = self;
        format!(
            "{HEADING}\nenvironment: {environment}\naction: {deed}\nbase generation: {base}\ndigest: {digest}\nexpires: {expires}\nreason: {reason}\n"
        )
    }

    /// Reads a text. Nothing but the canonical one is taken.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next() == Some(HEADING)).then_some(())?;
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");
        let message = Self {
            environment: field("environment")?.parse().ok()?,
            deed: field("action")?.to_owned(),
            base: field("base generation")?.parse().ok()?,
            digest: field("digest")?.parse().ok()?,
            expires: field("expires")?.parse().ok()?,
            reason: field("reason")?.to_owned(),
        };
        (is_reason(&message.reason) && message.to_text() == text).then_some(message)
    }
}

/// Whether a text can be a reason: one line, and not too long.
pub fn is_reason(text: &str) -> bool {
    text.chars().count() <= REASON_LIMIT && !text.chars().any(char::is_control) && text.trim() == text
}

/// Signs a text; gives the armoured signature.
pub fn sign(key: &PrivateKey, text: &str) -> Result<String, ssh_key::Error> {
    key.sign(NAMESPACE, HashAlg::Sha512, text.as_bytes())?.to_pem(LineEnding::LF)
}

/// The fingerprint of a key, as `ssh-keygen -l` prints it.
pub fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// An approval that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The signer, or the key's fingerprint where nobody has it.
    pub by: String,
    /// Which problem it is.
    pub code: Code,
    /// Why, as the end of a sentence.
    pub why: String,
}

/// What approvals are held against.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The environment's rules, live.
    pub rules: &'a Approvals,
    /// What the change needs by them.
    pub needs: &'a [ApprovalNeed],
    /// The environment.
    pub environment: &'a EnvironmentName,
    /// The generation that the change starts from.
    pub base: u64,
    /// What is done with it.
    pub deed: Deed,
    /// Its digest.
    pub digest: Digest,
    /// When.
    pub now: Timestamp,
    /// Who applies.
    pub caller: &'a str,
}

/// What approvals come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Those that hold; one a signer.
    pub approved: Vec<Approved>,
    /// Those that do not.
    pub passed_over: Vec<PassedOver>,
    /// The needs that are not met: what is needed, and who approved so far.
    pub missing: Vec<(ApprovalNeed, Vec<String>)>,
}

/// An approval that is no approval at all. Told without an echo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Asked<'_> {
    /// Holds approvals against what is needed.
    pub fn judge(&self, approvals: &[Approval]) -> Result<Judgement, Malformed> {
        if approvals.len() > MOST {
            return Err(Malformed(format!("there are {} approvals, and {MOST} are the most", approvals.len())));
        }
        let mut judgement = Judgement::default();
        for (index, approval) in approvals.iter().enumerate() {
            let (message, signature) = read(approval)
                .map_err(|why| Malformed(format!("approval {} of {}: {why}", index + 1, approvals.len())))?;
            match self.hold(&message, &signature, approval) {
                Ok(approved) => {
                    let same = judgement.approved.iter_mut().find(|other| other.signer == approved.signer);
                    match same {
                        None => judgement.approved.push(approved),
                        // Of several by one signer, one with a reason is worth more.
                        Some(other) if other.reason.is_empty() => *other = approved,
                        Some(_) => {}
                    }
                }
                Err(passed_over) => judgement.passed_over.push(passed_over),
            }
        }
        for need in self.needs {
            let of_need = |approved: &&Approved| need.signers.iter().any(|signer| signer.name == approved.signer);
            let (with, without): (Vec<&Approved>, Vec<&Approved>) = judgement
                .approved
                .iter()
                .filter(of_need)
                .partition(|approved| !need.reason_required || !approved.reason.is_empty());
            if with.len() < usize::from(need.count) {
                judgement.passed_over.extend(without.into_iter().map(|approved| PassedOver {
                    by: approved.signer.clone(),
                    code: Code::ApprovalWithoutReason,
                    why: "does not say why, and a reason is wanted".to_owned(),
                }));
                let have = with.into_iter().map(|approved| approved.signer.clone()).collect();
                judgement.missing.push((need.clone(), have));
            }
        }
        Ok(judgement)
    }

    /// Whether an approval holds. Nothing of its message is believed before the signature is.
    fn hold(&self, message: &Message, signature: &SshSig, approval: &Approval) -> Result<Approved, PassedOver> {
        let key = signature.public_key();
        let print = fingerprint(key);
        let signer = self.rules.signers.iter().find(|signer| signer.public_key().is_ok_and(|own| is_same(&own, key)));
        let by = signer.map_or(print.as_str(), |signer| signer.name.as_str());
        let refuse = |code: Code, why: String| Err(PassedOver { by: by.to_owned(), code, why });
        let Some(signer) = signer else {
            return refuse(Code::ApprovalByUnknownSigner, "is the key of no allowed signer".to_owned());
        };
        if signature.namespace() != NAMESPACE {
            return refuse(Code::ApprovalForged, format!("signed for another purpose than `{NAMESPACE}`"));
        }
        if !verifies(signature, &approval.message) {
            return refuse(Code::ApprovalForged, "has a signature that does not hold".to_owned());
        }
        if let Some(until) = ended(signer, self.now) {
            return refuse(Code::ApprovalByUnknownSigner, format!("was an allowed signer until {until}"));
        }
        let same = message.environment == *self.environment
            && message.base == self.base
            && message.deed == self.deed.to_string()
            && message.digest == self.digest;
        if !same {
            return refuse(
                Code::ApprovalForAnotherPlan,
                format!(
                    "approved another plan ({} of `{}`, from generation {}, {})",
                    message.deed,
                    message.environment,
                    message.base,
                    message.digest.short()
                ),
            );
        }
        if message.expires <= self.now {
            return refuse(Code::ApprovalExpired, format!("approved until {}", message.expires));
        }
        if message.expires > self.now + LONGEST {
            return refuse(Code::ApprovalMalformed, "approved for more than 30 days".to_owned());
        }
        // Names are compared without case everywhere: `Alice` is the one whom the rules call `alice`.
        if signer.name.to_lowercase() == self.caller.to_lowercase() && !self.rules.self_approval {
            return refuse(Code::SelfApproval, "applies it, and somebody else is wanted".to_owned());
        }
        Ok(Approved {
            signer: signer.name.clone(),
            key: print,
            reason: message.reason.clone(),
            expires: message.expires,
            approval: approval.clone(),
        })
    }
}

fn read(approval: &Approval) -> Result<(Message, SshSig), &'static str> {
    if approval.message.len() > MESSAGE_LIMIT || approval.signature.len() > SIGNATURE_LIMIT {
        return Err("it is larger than any approval");
    }
    let message = Message::parse(&approval.message).ok_or("its text is not one of an approval")?;
    let signature = SshSig::from_pem(&approval.signature).map_err(|_| "its signature is none of SSH's")?;
    Ok((message, signature))
}

/// Whether two keys are one. An application name that a security key carries is part of it.
fn is_same(one: &KeyData, other: &KeyData) -> bool {
    fingerprint(one) == fingerprint(other)
}

/// Whether the signature is one of the text, by the key that it names. A security key must have been touched.
fn verifies(signature: &SshSig, text: &str) -> bool {
    let key = signature.public_key();
    if matches!(key, KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_)) {
        // Flags and a counter of four bytes end such a signature; the lowest flag is the touch.
        let bytes = signature.signature_bytes();
        let touched = bytes.len().checked_sub(5).and_then(|at| bytes.get(at)).is_some_and(|flags| flags & 1 == 1);
        if !touched {
            return false;
        }
    }
    PublicKey::from(key.clone()).verify(NAMESPACE, text.as_bytes(), signature).is_ok()
}

/// The last day of a signer whose days are over.
fn ended(signer: &Signer, now: Timestamp) -> Option<jiff::civil::Date> {
    signer.until.filter(|until| now.to_zoned(TimeZone::UTC).date() > *until)
}
