//! The catalogue of problem codes. `mailwright explain MW0007` prints the page that stands in `codes.md`;
//! a test holds the two together. A code is never reused and never changes its meaning.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

/// How much a problem weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Stops the command.
    Error,
    /// Is shown, and stops nothing.
    Warning,
}

macro_rules! codes {
    (@status) => { 500 };
    (@status $status:literal) => { $status };
    ($($number:literal $severity:ident $variant:ident $(($status:literal))? $title:literal;)*) => {
        /// The kind of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// The code as people write it: `MW0007`.
            pub fn id(self) -> &'static str {
                match self { $(Code::$variant => concat!("MW", $number)),* }
            }

            /// The problem in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }

            /// Whether the problem stops the command.
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity),* }
            }

            /// Returns the HTTP status of an answer with this code: 500 for codes that the service does not answer with.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => codes!(@status $($status)?)),* }
            }
        }
    };
}

codes! {
    "0001" Error Syntax "the file is not well-formed YAML or JSON";
    "0002" Error Encoding "the file is not UTF-8";
    "0003" Error DuplicateKey "a key stands twice in one map";
    "0004" Error AmbiguousScalar "a plain value that YAML versions read differently";
    "0005" Error EmptyFile "the file is empty";
    "0006" Error FileTooLarge "the file is larger than any profile can be";
    "0007" Error UnknownValue "a value that is not one of those allowed";
    "0008" Error UnknownKey "a key that means nothing here";
    "0009" Error MissingKey "a key that must be there is missing";
    "0010" Error WrongType "a value of the wrong type";
    "0011" Error InvalidValue "a value that is not allowed here";
    "0012" Error TooDeep "nested too deeply, or aliases that expand to too much";
    "0013" Error UnsupportedYaml "a YAML feature that is not supported here";
    "0014" Error UnexpectedFile "a file or folder that means nothing here";
    "0015" Error LinkOutside "a link that leaves the repository";
    "0016" Error Unreadable "the file cannot be read";
    "0017" Error TooLong "a name or a text is too long";
    "0018" Error TooManyProblems "a file has more problems than are listed";
    "0020" Error LayerMissing "`extends` names a folder that is not there";
    "0021" Error LayerCycle "`extends` goes in a circle";
    "0022" Error UnknownVariable "a variable that no layer defines";
    "0023" Error MalformedVariable "`${` without a well-formed name";
    "0024" Error UnknownEnvironment "there is no such environment";
    "0025" Error AbstractEnvironment "an abstract layer cannot be planned or applied";
    "0030" Error LiteralSecret "a literal where a secret belongs";
    "0031" Error SecretMissing "the file of a secret is missing";
    "0032" Error MaskedValue "a masked value instead of the real one";
    "0033" Error LooksLikeSecret "a text that looks like a key or a password";
    "0034" Error NotAgeFile(422) "the file of a secret is not an age file";
    "0035" Error RecipientsInvalid "the recipients file is missing or cannot be understood";
    "0036" Error RecipientMissing "a secret is not addressed to all recipients";
    "0037" Warning SecretUnused "a secret that no profile names";
    "0038" Error IdentityMissing "no identity at hand opens the file";
    "0040" Error DestinationUnknown "a secret without a known destination";
    "0041" Error DestinationsDiffer "profiles that send one secret to different destinations";
    "0042" Error SecretFromElsewhere "a secret that belongs to another place";
    "0043" Warning DestinationUnsealed "a secret that does not carry its destination";
    "0045" Error SecretUnfit(422) "a value that its field cannot need";
    "0046" Error TokenUnpinned "a token with no origin that it is known to be for";
    "0047" Error TokenOfAnotherOrigin "a token that is for another origin";
    "0100" Error DelegateFunction "a delegate profile claims more than `user-interface`";
    "0101" Error NativeRedirect "a native delegate's redirect is not `https://localhost`";
    "0102" Error SpaRedirect "a spa delegate's redirect is not an HTTPS address";
    "0103" Error FromMissing "a profile without a From address";
    "0104" Error ClaimedTwice "two enabled profiles claim the same";
    "0105" Error UnknownCompany(422) "a company that the environment does not have";
    "0106" Error InvalidName "a name that is not allowed";
    "0107" Error PasswordInClear "a password over an unencrypted connection";
    "0108" Error NoRoute(422) "a company and function that nobody sends for";
    "0109" Error LoginIncomplete "a user name without a password, or the reverse";
    "0110" Error InvalidAddress "not an e-mail address";
    "0111" Warning UnusualPort "a port that rarely speaks this encryption";
    "0112" Error NamesDifferInCase "two names that differ in case only";
    "0113" Error RenameImpossible "a rename that cannot be";
    "0200" Error ServiceUnreachable "the service does not answer";
    "0201" Error TokenRefused(401) "the service does not accept the token";
    "0202" Error RoleTooLow(403) "the token's role does not allow this";
    "0203" Error TlsFailed "the service's certificate is not trusted";
    "0204" Error NotMailwright "what answers is not a Mailwright service";
    "0205" Error VersionMismatch "the service speaks another version of the API";
    "0206" Error TokenMissing "no token is at hand";
    "0207" Error AddressMissing "no service address is at hand";
    "0208" Error IncompleteAnswer "the service's answer broke off or makes no sense";
    "0210" Error StaleGeneration(409) "the service's state has moved on";
    "0211" Error WrongEnvironment(409) "the service belongs to another environment";
    "0212" Error MalformedRequest(400) "the request cannot be understood";
    "0213" Error TooLarge(413) "the request is too large";
    "0214" Error NotFound(404) "there is no such thing";
    "0215" Error ChangesetReused(409) "a changeset id with other contents";
    "0216" Error SecretNotOpenable(422) "the service cannot open a secret";
    "0217" Error SecretRedirected(422) "a secret would travel to another destination";
    "0218" Error DeletionGuarded(422) "a deletion that nobody has allowed";
    "0219" Error RulesBroken(422) "the change would break the rules";
    "0220" Error SecretNotSent(422) "a secret that the service does not have and was not sent";
    "0221" Error PreconditionMissing(428) "the request does not say which state it changes";
    "0222" Error Busy(503) "the service has too much to do";
    "0223" Error Internal(500) "the service failed";
    "0224" Error PublicIdentity "a public identity outside demo mode";
    "0225" Error DigestMismatch(422) "an age file and its digest do not belong together";
    "0226" Error MethodNotAllowed(405) "this address does not know the method";
    "0227" Error TooManyAtOnce(429) "a token has too much under way at once";
    "0228" Error TokenNameTaken(409) "the name of a token is taken";
    "0230" Error PlanDamaged "the saved plan is damaged or from another version";
    "0231" Error PlanOutdated "the saved plan no longer fits the files";
    "0233" Error NotConfirmed "nobody has confirmed the plan";
    "0234" Error VerifyFailed "verify found what keeps mail from leaving";
    "0235" Error ImportNotVerified "what would be imported is not what is there";
    "0236" Error ListMalformed "a list of profiles that is not understood";
    "0237" Error EnvironmentListMalformed "a list of environments that is not understood";
    "0240" Error AuditBroken "the audit log's chain is broken";
    "0242" Error MessageAlreadySent(409) "the message was sent or cancelled before";
    "0245" Error RestoreUnconfirmed(503) "a restore from a backup that nobody has confirmed";
    "0246" Error TokenSuspended(401) "a token that is suspended after a restore";
    "0250" Error UnknownEnvironmentVariable "an environment variable of ours that does not exist";
    "0251" Error Usage "the command line makes no sense";
    "0252" Error StoreNewer "the store was written by a newer version";
    "0253" Error ClearText "listening in clear on an address that others can reach";
    "0260" Error OutOfScope(403) "the token is not for this company and function";
    "0261" Error MessageMalformed(422) "the message cannot be taken";
    "0262" Error MessageTooLarge(413) "the message is too large";
    "0263" Error RecipientNotAllowed(422) "the environment may not write to somebody";
    "0264" Error IdempotencyKeyReused(422) "an idempotency key with another message";
    "0265" Error DocumentAlreadySent(409) "the document was sent before";
    "0266" Error InvalidTransition(409) "the message's status does not allow this";
    "0267" Error NotDelivered "the message was not delivered";
    "0268" Error ClientMissing(422) "mail of the user interface without its client";
    "0270" Error SomeEnvironmentsFailed "some of the environments failed";
    "0271" Error EnvironmentExists "the environment is there already";
    "0272" Warning VariableUnused "a variable that nothing takes";
    "0280" Error LeaseHeld(409) "somebody else is at it";
    "0281" Error RolloutUnknown "there is no such rollout";
    "0282" Error WaveEmpty "a wave that selects nothing";
    "0283" Error RolloutRunning "the rollout is under way already";
    "0284" Error RolloutUnfinished "an earlier run has not come to its end";
    "0285" Error RolloutNotStarted "there is no run to go on with";
    "0286" Error RolloutFilesChanged "the files changed since the rollout began";
    "0287" Error JournalUnwritable "a step cannot be journalled";
    "0288" Error JournalDamaged "the rollout's journal is damaged";
    "0289" Error RolloutStopped "the rollout stopped before its end";
    "0290" Error CheckFailed "a check between waves does not hold";
    "0291" Error DeadlineExceeded "an environment took longer than it may";
    "0292" Error ChangedMeanwhile "somebody changed the environment since";
    "0293" Error LeaseLost "the lease is lost";
    "0294" Error NoPreviousGeneration "there was nothing before";
    "0300" Error Submodule "a Git submodule where files belong";
    "0301" Error UnknownRevision "Git knows no such revision";
    "0302" Error HistoryMissing "this clone does not have that part of the history";
    "0303" Error GitFailed "Git cannot be asked";
    "0304" Warning LineEndings "an age file with translated line ends";
    "0305" Error SourceRefused(422) "the environment's policy does not let files of this source in";
    "0310" Error ApprovalMissing(403) "approvals that the environment wants are missing";
    "0311" Error ApprovalForged(403) "an approval's signature does not hold";
    "0312" Error ApprovalForAnotherPlan(403) "an approval of another plan";
    "0313" Error ApprovalExpired(403) "an approval that has expired";
    "0314" Error ApprovalByUnknownSigner(403) "an approval by somebody who is no allowed signer";
    "0315" Error ApprovalMalformed(400) "an approval that cannot be understood";
    "0316" Error ApprovalWithoutReason(403) "an approval without a reason";
    "0317" Error SelfApproval(403) "an approval by the one who applies";
    "0318" Error BreakGlassRefused(403) "nobody may do without approvals here";
    "0319" Error SigningKeyUnfit "no key at hand can sign";
    "0320" Error ManualChangeNeedsApproval(403) "a change by hand of what needs approvals";
    "0321" Error IdentityTokenRefused(401) "the identity token is not accepted";
    "0322" Error IssuerUnreachable(503) "the issuer's keys cannot be fetched";
    "0323" Error IdentityTokenMissing "the pipeline gave no identity token";
    "0330" Error ServiceIdentityLost "a store without the service's identity";
    "0331" Error CannotListen "the service cannot listen";
    "0332" Error Unwritable "a file cannot be written";
    "0333" Error LastAdministrator(409) "the last administrator's token";
    "0334" Error NotHosted(404) "the environment is not served at this address";
    "0335" Error DataFolderMismatch "the data folder is of another kind";
    "0340" Error HoldTargetMissing(422) "a hold for what does not exist";
    "0350" Error SignInFailed "the reader could not sign in";
    "0351" Error ReaderTokenUnusable "the reader's token cannot be used";
    "0360" Error ReservedSecretName "a secret's name that ends in `.next`";
    "0361" Error StagedSecretMissing "no next value is staged";
    "0362" Error StagedSecretExists "a next value is staged already";
    "0363" Error StagedSecretNotPromoted "the next value has not been accepted yet";
    "0364" Error RecipientRequired "a recipient that must stay";
    "0370" Error WatchUnwritable "the watch's folder cannot be used";
    "0371" Error FilesInvalid "the files of this commit break the rules";
    "0372" Error DriftConflict "a change waits, because the same was changed outside Git";
    "0373" Error RemoteRefused "this is not a repository that can be followed";
    "0385" Error FederatedTokenRedirected(422) "a federated token would be used for another destination";
    "0386" Error IdentityMismatch "a store of another service's identity";
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^MW[0-9]{4}$")).into()
    }
}

impl ToSchema for Code {}

/// There is no such code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such code")]
pub struct UnknownCode;

impl Code {
    /// What `explain` prints: the rule at length, as Markdown without its heading.
    pub fn explanation(self) -> &'static str {
        let heading = format!("## {} ", self.id());
        let pages = include_str!("codes.md");
        let Some(start) = pages.find(&heading) else { return "" };
        let page = &pages[start..];
        let body = page.find('\n').map_or("", |end| &page[end + 1..]);
        body.find("\n## ").map_or(body, |end| &body[..end]).trim()
    }
}

impl FromStr for Code {
    type Err = UnknownCode;
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Code::ALL.iter().copied().find(|code| code.id().eq_ignore_ascii_case(text)).ok_or(UnknownCode)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
