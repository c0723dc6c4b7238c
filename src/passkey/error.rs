//! [`PasskeyError`]: the reasons why an answer of a browser is refused. None quotes the answer.

/// The reason why an answer of a browser is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    /// The answer is malformed or too large.
    #[error("the answer of the browser is malformed")]
    Malformed,
    /// The answer is of another kind: a registration in place of a sign-in.
    #[error("the answer of the browser is for another purpose")]
    OtherPurpose,
    /// The challenge is unknown, was used, or is older than five minutes.
    #[error("the request was answered before, or more than five minutes ago")]
    Challenge,
    /// The page that asked is of another site, or in a frame of another site.
    #[error("the answer was given to another site")]
    OtherSite,
    /// The device did not identify the person.
    #[error("the device did not check who uses it")]
    NotVerified,
    /// The algorithm of the key is not one that was asked for.
    #[error("the key uses an algorithm that is not supported")]
    Algorithm,
    /// The answer is of a key that was not asked for.
    #[error("the passkey is not one of this person")]
    OtherKey,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// The counter did not rise: the key may have been copied.
    #[error("the passkey was used before with a higher count: it may have been copied")]
    Counter,
}
