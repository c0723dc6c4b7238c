//! Passkeys (W3C Web Authentication, level 3): registration of a person's key, and verification of what it signs.
//!
//! * [`RelyingParty`]: the site that keys belong to. It makes the options for a browser and verifies the answers
//! * [`Challenges`], [`Challenge`]: random numbers that an answer must contain. Each waits in memory for one answer, for at most
//!   five minutes; beyond 10,000, the oldest are dropped
//! * [`Passkey`]: the public half of a key, as it is stored
//! * [`PasskeyError`]: the reason why an answer is refused
//!
//! Every answer must come from a person whom the device has identified (user verification: fingerprint, face or PIN). Where a
//! device was made is not asked for and not judged (attestation): any device may be used. Nothing here knows operators or rights:
//! `service::passkeys` finds the request and the person of an answer. An answer is input from outside: it is bounded, and an
//! error never quotes it.
//!
//! The caller takes the challenge from [`Challenges`] before it verifies an answer, which alone makes it single and limits its
//! age. It refuses an id that is stored already, and stores the key and each new counter. A counter that does not rise is
//! refused, because the key may have been copied; a device that does not count always states 0. Evidence of a signature that was
//! verified before is verified again without a waiting challenge and without the counter ([`RelyingParty::verify_evidence`]).

mod authenticator_data;
mod cbor;
mod challenge;
mod client_data;
mod error;
mod public_key;
mod relying_party;

pub use challenge::{Challenge, Challenges};
pub use error::PasskeyError;
pub use public_key::Algorithm;
pub use relying_party::{
    Assertion, AssertionResponse, Passkey, Person, Registration, RegistrationResponse, RelyingParty,
};
