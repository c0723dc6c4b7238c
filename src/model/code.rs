//! Catalogue of problem codes.
//!
//! A [`Code`] has an id (`MW0007`), a title, a [`Severity`] and an HTTP status. `mailwright explain MW0007` prints its page in
//! `codes.md`; a test keeps the two consistent. A code is never reused and never changes its meaning.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

/// Severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The command stops.
    Error,
    /// The problem is reported, and the command continues.
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

            /// Returns the id: `MW0007`.
            pub fn id(self) -> &'static str {
                match self { $(Code::$variant => concat!("MW", $number)),* }
            }

            /// Returns the title: the kind of problem in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }

            /// Returns the severity.
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
    "0001" Error Syntax "malformed YAML or JSON";
    "0002" Error Encoding "the file is not UTF-8";
    "0003" Error DuplicateKey "duplicate key";
    "0004" Error AmbiguousScalar "plain value that YAML versions read differently";
    "0005" Error EmptyFile "the file is empty";
    "0006" Error FileTooLarge "file too large";
    "0007" Error UnknownValue "unknown value";
    "0008" Error UnknownKey "unknown key";
    "0009" Error MissingKey "missing key";
    "0010" Error WrongType "wrong type";
    "0011" Error InvalidValue "invalid value";
    "0012" Error TooDeep "nested too deeply, or too many aliases";
    "0013" Error UnsupportedYaml "unsupported YAML feature";
    "0014" Error UnexpectedFile "unexpected file";
    "0015" Error LinkOutside "link outside the repository";
    "0016" Error Unreadable "unreadable file";
    "0017" Error TooLong "text too long";
    "0018" Error TooManyProblems "more problems than are listed";
    "0020" Error LayerMissing "`extends` names an unknown layer";
    "0021" Error LayerCycle "circular `extends`";
    "0022" Error UnknownVariable "undefined variable";
    "0023" Error MalformedVariable "malformed variable reference";
    "0024" Error UnknownEnvironment "unknown environment";
    "0025" Error AbstractEnvironment "abstract layer";
    "0030" Error LiteralSecret "literal value instead of a secret";
    "0031" Error SecretMissing "missing secret file";
    "0032" Error MaskedValue "masked value";
    "0033" Error LooksLikeSecret "text that looks like a secret";
    "0034" Error NotAgeFile(422) "invalid age file";
    "0035" Error RecipientsInvalid(422) "invalid recipients file";
    "0036" Error RecipientMissing(422) "secret not encrypted for all recipients";
    "0037" Warning SecretUnused "unused secret";
    "0038" Error IdentityMissing "no identity can decrypt the file";
    "0040" Error DestinationUnknown "secret with an unknown destination";
    "0041" Error DestinationsDiffer "one secret with several destinations";
    "0042" Error SecretFromElsewhere "secret that belongs elsewhere";
    "0043" Warning DestinationUnsealed "secret not bound to its destination";
    "0045" Error SecretUnfit(422) "unsuitable secret value";
    "0046" Error TokenUnpinned "token without an origin";
    "0047" Error TokenOfAnotherOrigin "token for another origin";
    "0100" Error DelegateFunction "delegate profile with other functions than `user-interface`";
    "0101" Error NativeRedirect "redirect of a native delegate must be `https://localhost`";
    "0102" Error SpaRedirect "redirect of a spa delegate must be an HTTPS address";
    "0103" Error FromMissing "missing From address";
    "0104" Error ClaimedTwice "two profiles claim the same function";
    "0105" Error UnknownCompany(422) "unknown company";
    "0106" Error InvalidName "invalid name";
    "0107" Error PasswordInClear "password over an unencrypted connection";
    "0108" Error NoRoute(422) "no profile serves this company and function";
    "0109" Error LoginIncomplete "incomplete login";
    "0110" Error InvalidAddress "invalid e-mail address";
    "0111" Warning UnusualPort "unusual port";
    "0112" Error NamesDifferInCase "names that differ only in case";
    "0113" Error RenameImpossible "impossible rename";
    "0200" Error ServiceUnreachable "service unreachable";
    "0201" Error TokenRefused(401) "token not accepted";
    "0202" Error RoleTooLow(403) "role does not allow the request";
    "0203" Error TlsFailed "certificate of the service not trusted";
    "0204" Error NotMailwright "not a Mailwright service";
    "0205" Error VersionMismatch "API version mismatch";
    "0206" Error TokenMissing "no token";
    "0207" Error AddressMissing "no service address";
    "0208" Error IncompleteAnswer "incomplete answer";
    "0210" Error StaleGeneration(409) "stale generation";
    "0211" Error WrongEnvironment(409) "service of another environment";
    "0212" Error MalformedRequest(400) "malformed request";
    "0213" Error TooLarge(413) "request too large";
    "0214" Error NotFound(404) "not found";
    "0215" Error ChangesetReused(409) "changeset id reused";
    "0216" Error SecretNotOpenable(422) "secret cannot be decrypted";
    "0217" Error SecretRedirected(422) "secret redirected";
    "0218" Error DeletionGuarded(422) "deletion not allowed";
    "0219" Error RulesBroken(422) "rules broken";
    "0220" Error SecretNotSent(422) "secret not sent";
    "0221" Error PreconditionMissing(428) "missing precondition";
    "0222" Error Busy(503) "service busy";
    "0223" Error Internal(500) "internal error";
    "0224" Error PublicIdentity(422) "public identity outside demo mode";
    "0225" Error DigestMismatch(422) "age file and digest differ";
    "0226" Error MethodNotAllowed(405) "method not allowed";
    "0227" Error TooManyAtOnce(429) "too many concurrent requests of one token";
    "0228" Error TokenNameTaken(409) "token name taken";
    "0230" Error PlanDamaged "damaged saved plan";
    "0231" Error PlanOutdated "outdated saved plan";
    "0233" Error NotConfirmed "not confirmed";
    "0234" Error VerifyFailed(422) "verification failed";
    "0235" Error ImportNotVerified "import not verified";
    "0236" Error ListMalformed "invalid list of profiles";
    "0237" Error EnvironmentListMalformed "invalid list of environments";
    "0240" Error AuditBroken "audit log broken";
    "0241" Error PassphraseUnusable "no usable passphrase";
    "0242" Error MessageAlreadySent(409) "message already sent or cancelled";
    "0245" Error RestoreUnconfirmed(503) "unconfirmed restore";
    "0246" Error TokenSuspended(401) "suspended token";
    "0250" Error UnknownEnvironmentVariable "unknown MAILWRIGHT_ environment variable";
    "0251" Error Usage "invalid command line";
    "0252" Error StoreNewer "store of a newer version";
    "0253" Error ClearText "unencrypted listener or connection";
    "0254" Error AmbiguousArgument "ambiguous argument";
    "0255" Error InvalidPattern "invalid pattern or label selector";
    "0256" Error SeveralEnvironments "several environments where only one is possible";
    "0257" Error EnvironmentNotNamed "no environment named";
    "0258" Error HoldUnlimited(422) "hold without a profile, a company or a function";
    "0259" Error VariableUnusable "missing or invalid environment variable";
    "0260" Error OutOfScope(403) "company or function outside the token's scope";
    "0261" Error MessageMalformed(422) "malformed message";
    "0262" Error MessageTooLarge(413) "message too large";
    "0263" Error RecipientNotAllowed(422) "recipient not allowed";
    "0264" Error IdempotencyKeyReused(422) "idempotency key reused";
    "0265" Error DocumentAlreadySent(409) "document already sent";
    "0266" Error InvalidTransition(409) "action not possible in this status";
    "0267" Error NotDelivered "message not delivered";
    "0268" Error ClientMissing(422) "missing client";
    "0270" Error SomeEnvironmentsFailed "some environments failed";
    "0271" Error EnvironmentExists "environment exists";
    "0272" Warning VariableUnused "unused variable";
    "0280" Error LeaseHeld(409) "the lease is held by another client";
    "0281" Error RolloutUnknown "unknown rollout";
    "0282" Error WaveEmpty "empty wave";
    "0283" Error RolloutRunning "rollout already running";
    "0284" Error RolloutUnfinished "unfinished rollout";
    "0285" Error RolloutNotStarted "no rollout to resume";
    "0286" Error RolloutFilesChanged "files changed since the rollout started";
    "0287" Error JournalUnwritable "journal not writable";
    "0288" Error JournalDamaged "damaged journal";
    "0289" Error RolloutStopped "rollout stopped";
    "0290" Error CheckFailed "check failed";
    "0291" Error DeadlineExceeded "deadline exceeded";
    "0292" Error ChangedMeanwhile "environment changed since the rollout";
    "0293" Error LeaseLost "lease lost";
    "0294" Error NoPreviousGeneration "no earlier generation to return to";
    "0300" Error Submodule "Git submodule";
    "0301" Error UnknownRevision "unknown revision";
    "0302" Error HistoryMissing "incomplete history";
    "0303" Error GitFailed "Git failed";
    "0304" Warning LineEndings "age file with translated line endings";
    "0305" Error SourceRefused(422) "source refused by the policy";
    "0310" Error ApprovalMissing(403) "missing approvals";
    "0311" Error ApprovalForged(403) "invalid signature";
    "0312" Error ApprovalForAnotherPlan(403) "approval of another plan";
    "0313" Error ApprovalExpired(403) "expired approval";
    "0314" Error ApprovalByUnknownSigner(403) "approval by an unknown signer";
    "0315" Error ApprovalMalformed(400) "malformed approval";
    "0316" Error ApprovalWithoutReason(403) "approval without a reason";
    "0317" Error SelfApproval(403) "self-approval";
    "0318" Error BreakGlassRefused(403) "changes without approvals not allowed";
    "0319" Error SigningKeyUnfit "no usable signing key";
    "0320" Error ManualChangeNeedsApproval(403) "manual change needs approvals";
    "0321" Error IdentityTokenRefused(401) "identity token not accepted";
    "0322" Error IssuerUnreachable(503) "keys of the issuer unavailable";
    "0323" Error IdentityTokenMissing "no identity token";
    "0324" Error IdentitySignInRefused(401) "sign-in with an identity provider not accepted";
    "0325" Error IdentityProviderUnavailable(503) "identity provider unavailable";
    "0326" Error PasskeyTooNew(403) "passkey too new to sign";
    "0327" Error SignedAlready(409) "signed already";
    "0330" Error ServiceIdentityLost "missing service identity";
    "0331" Error CannotListen "cannot listen";
    "0332" Error Unwritable "cannot write a file";
    "0333" Error LastAdministrator(409) "last administrator";
    "0334" Error NotHosted(404) "environment not served at this address";
    "0335" Error DataFolderMismatch "data folder of another kind";
    "0340" Error HoldTargetMissing(422) "hold for an unknown profile";
    "0350" Error SignInFailed "sign-in of the reader failed";
    "0351" Error ReaderTokenUnusable "unusable reader token";
    "0360" Error ReservedSecretName "reserved secret name";
    "0361" Error StagedSecretMissing "no staged secret";
    "0362" Error StagedSecretExists "secret already staged";
    "0363" Error StagedSecretNotPromoted "staged secret not accepted yet";
    "0364" Error RecipientRequired "required recipient";
    "0370" Error WatchUnwritable "watch folder not usable";
    "0371" Error FilesInvalid "invalid files in the commit";
    "0372" Error DriftConflict "change conflicts with drift";
    "0373" Error RemoteRefused "invalid repository address";
    "0374" Error ApplyIsManual "change waits for an operator";
    "0385" Error FederatedTokenRedirected(422) "federated token redirected";
    "0386" Error IdentityMismatch "store of another service";
    "0390" Error CrossOrigin(403) "request from another site";
    "0391" Error TooManySignIns(429) "too many failed sign-ins";
    "0392" Error SessionEnded(401) "session ended";
    "0393" Error TooManyTestMessages(429) "too many test messages";
    "0395" Error ConsoleRestricted(403) "console restricted";
    "0396" Error ProfileExists(409) "profile exists";
    "0397" Error ProposalDecided(409) "proposal decided";
    "0400" Error RightMissing(403) "right to a change missing";
    "0401" Error RightsExceeded(403) "rights beyond those of the caller";
    "0402" Error RightsAdded(422) "added rights not allowed for this plan";
    "0403" Error StepUpRequired(403) "identity not confirmed recently";
    "0410" Error OperatorNameTaken(409) "operator name taken";
    "0411" Error OperatorInactive(409) "removed or suspended operator";
    "0412" Error EnrolmentRefused(401) "enrolment link not valid";
    "0413" Error OwnEnrolment(403) "enrolment link for oneself";
    "0414" Error PasskeyRefused(401) "passkey not accepted";
    "0415" Error PasskeysUnavailable(409) "no passkeys at this address";
    "0416" Error LastPasskey(409) "last passkey";
    "0430" Error SenderMissing(422) "missing sender";
    "0431" Error SenderTokenRefused(401) "ID token of a sender not accepted";
    "0432" Error GraphTokenRefused(400) "token for Microsoft Graph not accepted";
    "0433" Error SenderMismatch(403) "message waits for another account";
    "0434" Error SenderLeaseEnded(409) "lease of a message has ended";
    "0435" Error MessageHeld(409) "message held";
    "0436" Error DelegateChanged(409) "delegate profile changed";
    "0437" Error UserSignInFailed "sign-in of a user failed";
    "0438" Error GraphSendFailed "Graph did not accept the message";
    "0439" Error SenderLeasesUsedUp(409) "message was begun too often";
    "0450" Error NoAddressBook(422) "profile without an address book";
    "0451" Error ProfileInactive(409) "disabled or suspended profile";
    "0452" Error AddressBookDenied(409) "permission for the address book missing";
    "0453" Error AddressBookUnavailable(503) "address book not available";
    "0454" Error TooManyLookUps(429) "too many searches of the address book";
    "0456" Error PatchUnreadable "not a patch of the console";
    "0457" Error PatchConflict "files differ from what the patch expects";
    "0458" Error PatchUnfit "patch does not fit the files";
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^MW[0-9]{4}$")).into()
    }
}

impl ToSchema for Code {}

/// The text is not the id of a code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown problem code")]
pub struct UnknownCode;

impl Code {
    /// Returns the page that `explain` prints, as Markdown without its heading.
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
