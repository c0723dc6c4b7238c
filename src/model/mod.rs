//! Model: profiles, functions, companies, states and changesets, and the rules about them.
//!
//! Everything here is pure: no file, no clock, no network, and no other module but `text`. The same code decides in `validate`,
//! in the plan, in the service and in `resolve`, so that they cannot disagree.
//!
//! * [`access`]: roles, bindings, and the decision who may do what
//! * [`address`]: e-mail addresses
//! * [`name`]: names, checked when they are created
//! * [`function`]: the catalogue of functions, from `functions.json`
//! * [`profile`], [`provider`], [`cloud`] and [`encryption`]: the contents of a profile
//! * [`settings`] and [`delivery`]: settings of an environment
//! * [`generation`], [`audit`], [`token`], [`session`], [`lease`], [`integrity`]: documents of the service that other sides read
//! * [`address_book`]: entries of an address book, as searches return them
//! * [`hold`], [`suspension`], [`rotation`]: why mail of a profile does not leave, and which secret it uses
//! * [`waiting`]: waiting mail by reason, as the API reports it
//! * [`finding`], [`finding_id`], [`severity`], [`last_verified`]: results of `verify`
//! * [`verified_merge`]: merging of two verification results
//! * [`file_text`]: profiles and environments as the text of their files
//! * [`place`]: a line and column of a file
//! * [`message`]: messages, recipients and attempts
//! * [`sender`]: the person whose own client sends a message
//! * [`secret`]: references, digests and destinations; never a value
//! * [`host`]: host names and loopback addresses
//! * [`verify_settings`] and [`watch_settings`]: the sections `verify` and `watch` of an environment file
//! * [`resolution`]: which profile sends for a company and a function, and why
//! * [`rollout`]: the order in which environments get a change, and the checks in between
//! * [`rules`]: everything that must hold between profiles and settings
//! * [`strings`]: every string of a document, with its position
//! * [`secret_detection`]: detection of keys, tokens and masks in plain text
//! * [`state`] and [`changeset`]: the state of the service, and the document that changes it
//! * [`proposal`]: changes that wait for another person
//! * [`provenance`]: the source of a change, and the sources that an environment allows
//! * [`approvals`]: the approvals that a change needs
//! * [`signature`]: signatures of persons of the console, and their meaning
//! * [`renamed`]: names that were replaced by others
//! * [`problem`] and [`code`]: failures, and the catalogue of problem codes that `explain` prints from
//! * [`canonical`]: the one way to write a value so that equal values have equal digests

pub mod access;
pub mod address;
pub mod address_book;
pub mod approvals;
pub mod audit;
pub mod canonical;
pub mod changeset;
pub mod cloud;
pub mod code;
pub mod delivery;
pub mod encryption;
pub mod file_text;
pub mod finding;
pub mod finding_id;
pub mod function;
pub mod generation;
pub mod hold;
pub mod host;
pub mod integrity;
pub mod last_verified;
pub mod lease;
pub mod message;
pub mod name;
pub mod operator;
pub mod place;
pub mod problem;
pub mod profile;
pub mod proposal;
pub mod provenance;
pub mod provider;
pub mod renamed;
pub mod resolution;
pub mod rollout;
pub mod rotation;
pub mod rules;
pub mod secret;
pub mod secret_detection;
pub mod secret_recipient;
pub mod sender;
pub mod session;
pub mod settings;
pub mod severity;
pub mod signature;
pub mod state;
pub mod strings;
pub mod suspension;
pub mod token;
pub mod verified_merge;
pub mod verify_settings;
pub mod waiting;
pub mod watch_settings;

pub use access::AccessPolicy;
pub use address::Address;
pub use approvals::{ApprovalNeed, Approvals};
pub use audit::{AuditEntry, AuditOutcome};
pub use canonical::Digest;
pub use changeset::{Allowances, Approval, Changeset, ProfileChange};
pub use cloud::Cloud;
pub use code::Code;
pub use delivery::{Delivery, HumanDuration, Limits};
pub use encryption::Encryption;
pub use function::Function;
pub use generation::{ChangeSummary, Generation, GenerationDetail};
pub use hold::{Hold, Lane};
pub use last_verified::{CredentialEnd, LastVerified};
pub use lease::Lease;
pub use message::{Attempt, Message, Status};
pub use name::{CompanyId, EnvironmentName, InvalidName, ProfileName, RolloutName, SecretReference};
pub use place::Place;
pub use problem::Problem;
pub use profile::{AppliesTo, Mailbox, Profile, StoredProfile};
pub use provenance::Provenance;
pub use provider::{Client, GraphDirect, Provider};
pub use resolution::Resolution;
pub use rollout::Rollout;
pub use secret::{CredentialKind, Destination, SecretRecord};
pub use secret_recipient::SecretRecipient;
pub use settings::{Reader, Settings};
pub use severity::Severity;
pub use signature::{Meaning, Signature};
pub use state::{Applied, ChangeKind, ChangeRecord, ProfileState, State};
pub use verify_settings::{VerifySettings, Waiver};
pub use waiting::{WaitReason, Waiting};
pub use watch_settings::WatchSettings;
