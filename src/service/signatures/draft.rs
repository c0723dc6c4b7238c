//! [`SignatureDraft`]: a signature before it is made, as the page shows it, and [`SignatureDrafts`], which wait for the answer of
//! an identity provider.
//!
//! The form of a passkey carries its draft itself. The way over an identity provider carries only the digest, so the service
//! keeps the draft until the person comes back. Whether a signature counts is not decided here.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::{
    model::{
        Digest, Signature,
        session::Session,
        signature::{RecentPasskey, SignatureEvidence, SignatureMethod},
    },
    service::identity_sign_in::SIGN_IN_LIMIT,
    sync::Mutex,
};

/// Maximum number of texts that wait for a signature by an identity provider, in all and of one session.
const DRAFTS: usize = 1000;
const DRAFTS_OF_SESSION: usize = 5;

/// A signature that waits for the answer of a passkey or of an identity provider. The page shows its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignatureDraft {
    /// The id of the proposal.
    pub(crate) proposal: String,
    pub(super) record: Signature,
}

impl SignatureDraft {
    /// Returns the record as the form of the page carries it. It is not secret, and the signed digest covers it.
    pub(crate) fn to_field(&self) -> String {
        serde_json::to_string(&self.record).unwrap_or_default()
    }

    /// Parses the field of a form. A field that was changed has another digest, for which no request waits.
    pub(crate) fn from_field(proposal: String, field: &str) -> Option<Self> {
        let record = serde_json::from_str(field).ok()?;
        Some(Self { proposal, record })
    }

    /// Returns the record, for the page that shows it.
    pub(crate) fn record(&self) -> &Signature {
        &self.record
    }

    /// Returns the text that the person signs.
    pub(crate) fn text(&self) -> String {
        self.record.text()
    }

    /// Returns true if the person signs with its identity provider.
    pub(crate) fn is_for_provider(&self) -> bool {
        self.record.identity.is_some()
    }

    /// Returns the digest of the text, which is signed.
    pub(crate) fn digest(&self) -> Digest {
        self.record.text_digest()
    }

    /// Returns the signature with its evidence.
    pub(super) fn complete(
        self,
        at: Timestamp,
        evidence: SignatureEvidence,
        recent_passkey: Option<RecentPasskey>,
    ) -> Signature {
        let method = match &evidence {
            SignatureEvidence::Passkey(_) => SignatureMethod::Passkey,
            SignatureEvidence::Identity(_) => SignatureMethod::IdentityProvider,
        };
        Signature { at, method, recent_passkey, evidence, ..self.record }
    }
}

/// Texts that pages show to persons of identity providers, until they sign them. The oldest ones make room for others.
#[derive(Default)]
pub(in crate::service) struct SignatureDrafts(Mutex<VecDeque<WaitingDraft>>);

struct WaitingDraft {
    session: String,
    digest: String,
    since: Timestamp,
    draft: SignatureDraft,
}

impl SignatureDrafts {
    pub(super) fn add(&self, session: &Session, draft: SignatureDraft, now: Timestamp) {
        let mut waiting = self.0.lock();
        waiting.retain(|one| is_waiting(one, now));
        if waiting.iter().filter(|one| one.session == session.id).count() >= DRAFTS_OF_SESSION
            && let Some(first) = waiting.iter().position(|one| one.session == session.id)
        {
            waiting.remove(first);
        }
        if waiting.len() >= DRAFTS {
            waiting.pop_front();
        }
        let (session, digest) = (session.id.clone(), draft.digest().to_string());
        waiting.push_back(WaitingDraft { session, digest, since: now, draft });
    }

    /// Returns true if a text waits for a signature of a proposal in a session.
    pub(in crate::service) fn has(&self, session: &Session, proposal: &str, digest: &str, now: Timestamp) -> bool {
        self.0.lock().iter().any(|one| {
            one.session == session.id && one.digest == digest && one.draft.proposal == proposal && is_waiting(one, now)
        })
    }

    /// Takes a text out: it is signed once.
    pub(super) fn take(&self, session: &Session, digest: &str, now: Timestamp) -> Option<SignatureDraft> {
        let mut waiting = self.0.lock();
        let found = waiting.iter().position(|one| one.session == session.id && one.digest == digest)?;
        waiting.remove(found).filter(|one| is_waiting(one, now)).map(|one| one.draft)
    }
}

fn is_waiting(one: &WaitingDraft, now: Timestamp) -> bool {
    // The time on the page of the provider comes on top.
    now.duration_since(one.since).abs() <= SIGN_IN_LIMIT + SIGN_IN_LIMIT
}
