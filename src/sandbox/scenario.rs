//! Scenarios of the sandbox: tenants with their registrations and users, a mail server, DNS records, and faults.
//!
//! A scenario file is YAML or JSON; `mailwright sandbox --example` prints one with every key. Its secrets are in clear, because
//! they protect nothing. An unknown key is an error.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::faults::Fault;

/// A whole scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scenario {
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// The mail server.
    pub smtp: Smtp,
    /// Text records by name, for SPF, DKIM and DMARC.
    pub dns: BTreeMap<String, Vec<String>>,
    /// Faults.
    pub faults: Vec<Fault>,
    /// The delay of every reply, in milliseconds.
    pub latency: u64,
    /// The offset of the sandbox's clock, in seconds.
    pub clock: i64,
}

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tenant {
    /// The directory id.
    pub id: Uuid,
    /// Verified domains; each can be used as the name of the tenant.
    pub domains: Vec<String>,
    /// The host of the Graph that the tenant belongs to; none means the sandbox's own.
    pub graph_host: Option<String>,
    /// The users of the tenant.
    pub users: Vec<User>,
    /// Groups.
    pub groups: Vec<Group>,
    /// Contacts of the organization.
    pub contacts: Vec<Contact>,
    /// The applications that the tenant knows.
    pub applications: Vec<Application>,
    /// The user whose device codes are approved automatically, on the second poll.
    pub approves_device_codes: Option<String>,
    /// The number of additional registrations, each with ten grants, for tests of large tenants.
    pub more_registrations: u32,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// The user principal name.
    pub name: String,
    /// The display name, if it is not the name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The object ids of the groups that the user is a member of.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Further addresses.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// True if the account is enabled.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The kind of mailbox: `user`, `shared`, `room` or `none`.
    #[serde(default)]
    pub mailbox: Mailbox,
    /// The primary address, if it is not the name.
    #[serde(default)]
    pub mail: Option<String>,
    /// The service plans that are assigned, if they are not the usual ones of the mailbox.
    #[serde(default)]
    pub plans: Option<Vec<Plan>>,
    /// The department.
    #[serde(default)]
    pub department: Option<String>,
    /// The company.
    #[serde(default)]
    pub company: Option<String>,
    /// The contacts that the user keeps in the mailbox.
    #[serde(default)]
    pub contacts: Vec<Contact>,
    /// Addresses of other mailboxes that Exchange lets the user send as.
    #[serde(default)]
    pub send_as: Vec<String>,
}

impl User {
    /// Returns true if an address is one of the user's: the name, the primary address or an alias.
    pub(super) fn has_address(&self, address: &str) -> bool {
        let mut own = std::iter::once(&self.name).chain(&self.mail).chain(&self.aliases);
        own.any(|own| own.eq_ignore_ascii_case(address))
    }

    /// Returns true if the user may send from an address.
    pub(super) fn may_send_as(&self, address: &str) -> bool {
        self.has_address(address) || self.send_as.iter().any(|other| other.eq_ignore_ascii_case(address))
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The display name.
    pub name: String,
    /// The object id; by default derived from the name.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// The address, if the group has one.
    #[serde(default)]
    pub mail: Option<String>,
    /// The description.
    #[serde(default)]
    pub description: Option<String>,
    /// The kind: `distribution`, `microsoft-365` or `security`.
    #[serde(default)]
    pub kind: GroupKind,
}

/// The kinds of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// A list of recipients.
    #[default]
    Distribution,
    /// A group with a mailbox of its own.
    #[serde(rename = "microsoft-365")]
    Microsoft365,
    /// A group for permissions, without mail.
    Security,
}

/// A contact: a person or a company outside of the tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contact {
    /// The display name.
    pub name: String,
    /// The address.
    pub mail: String,
    /// The company.
    #[serde(default)]
    pub company: Option<String>,
}

/// A service plan of a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The id of the plan.
    pub id: Uuid,
    /// The status: `Enabled`, `Warning`, `Suspended`, `LockedOut` or `Deleted`.
    #[serde(default = "enabled")]
    pub status: String,
}

fn enabled() -> String {
    "Enabled".to_owned()
}

/// The mailbox of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mailbox {
    /// A licensed mailbox.
    #[default]
    User,
    /// A shared mailbox, without a licence.
    Shared,
    /// The mailbox of a room, whose account is disabled.
    Room,
    /// No mailbox.
    None,
}

/// A registration and its service principal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Application {
    /// The application (client) id.
    pub client: Uuid,
    /// The name of the application.
    pub name: String,
    /// The accounts that may sign in; `AzureADMyOrg` by default.
    pub audience: Option<String>,
    /// Redirect URIs, by platform.
    pub redirects: Redirects,
    /// True if public client flows, such as device code, are allowed.
    pub public_flows: bool,
    /// Permissions on Graph that the registration requests.
    pub requests: Requests,
    /// Client secrets.
    pub secrets: Vec<Secret>,
    /// Certificates.
    pub certificates: Vec<Certificate>,
    /// Issuers that are trusted.
    pub federated: Vec<Federated>,
    /// True if the tenant has no service principal of the application.
    pub not_installed: bool,
    /// True if the service principal is disabled.
    pub disabled: bool,
    /// True if the registration is deactivated.
    pub deactivated: bool,
    /// True if the application is registered in another tenant, so that this tenant has only its service principal.
    pub registered_elsewhere: bool,
    /// Entra's "Assignment required": true if only assigned users may sign in.
    pub assignment_required: bool,
    /// Users who are assigned.
    pub assigned: Vec<String>,
    /// The app roles of users, by the name of the user.
    pub roles: BTreeMap<String, Vec<String>>,
    /// True if ID tokens have the groups of the user (`groupMembershipClaims`).
    pub group_claims: bool,
    /// Optional claims of ID tokens; `auth_time` is known.
    pub optional_claims: Vec<String>,
    /// Application permissions that are granted.
    pub granted: Vec<String>,
    /// Delegated permissions that are consented to for all users.
    pub consented: Vec<String>,
    /// Delegated permissions that a user consented to.
    pub consented_by: BTreeMap<String, Vec<String>>,
    /// Delegated permissions on other resources than Graph that are consented to for all users, by the resource's
    /// application id.
    pub consented_on: BTreeMap<Uuid, Vec<String>>,
    /// Mailboxes that Exchange lets the application send as (RBAC for Applications).
    pub exchange: Vec<String>,
}

/// Redirect URIs, by platform.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "Graph's own names")]
pub struct Redirects {
    pub web: Vec<String>,
    pub spa: Vec<String>,
    pub public_client: Vec<String>,
}

/// Permissions of Graph that a registration requests, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Requests {
    /// Permissions of the application itself.
    pub application: Vec<String>,
    /// Permissions of signed-in users.
    pub delegated: Vec<String>,
    /// Permissions on other resources, by the resource's application id. Unless they are stated, there is an empty entry of
    /// Exchange, because most registrations have another resource next to Graph.
    pub on: Option<BTreeMap<Uuid, Vec<RequestedAccess>>>,
}

/// A permission on another resource than Graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedAccess {
    /// The id of the permission.
    pub id: Uuid,
    /// `Role` or `Scope`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A client secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// The value, which protects nothing.
    pub value: String,
    /// The description in the portal.
    #[serde(default)]
    pub name: String,
    /// The expiry; by default three years from now.
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// The certificate, in PEM form, without its key.
    pub pem: String,
}

/// An issuer that is trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Federated {
    /// `iss` of the token.
    pub issuer: String,
    /// `sub` of the token.
    pub subject: String,
    /// The name of the credential.
    #[serde(default)]
    pub name: Option<String>,
}

/// The mail server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Smtp {
    /// User names and passwords, which protect nothing.
    pub users: BTreeMap<String, String>,
    /// True if the server requires a login.
    pub requires_login: bool,
    /// Senders that it refuses.
    pub refused_senders: Vec<String>,
    /// Recipients that it refuses.
    pub refused_recipients: Vec<String>,
    /// True if STARTTLS is not offered.
    pub no_starttls: bool,
    /// The largest mail, in bytes.
    pub size: Option<u64>,
    /// True if the server accepts connections and sends nothing.
    pub silent: bool,
}

fn yes() -> bool {
    true
}

impl Scenario {
    /// Returns a tenant by id or domain.
    pub(super) fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.is_called(name))
    }
}

impl Tenant {
    /// Returns true if the name is the tenant's id or one of its domains.
    pub(super) fn is_called(&self, name: &str) -> bool {
        name.parse().is_ok_and(|id: Uuid| id == self.id)
            || self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(name))
    }

    pub(super) fn application(&self, client: &str) -> Option<Application> {
        let client: Uuid = client.parse().ok()?;
        self.applications
            .iter()
            .find(|application| application.client == client)
            .cloned()
            .or_else(|| self.additional_application(client))
    }

    /// Returns one of the additional registrations.
    fn additional_application(&self, client: Uuid) -> Option<Application> {
        let number = client.as_u128().checked_sub(FIRST_ADDITIONAL_ID)?;
        (number < u128::from(self.more_registrations)).then(|| Application {
            client,
            name: format!("Registration {number}"),
            requests: Requests { application: vec!["Mail.Send".to_owned()], ..Requests::default() },
            granted: vec!["Mail.Send".to_owned()],
            secrets: vec![Secret { value: format!("secret-of-{number}"), name: String::new(), expires: None }],
            consented_by: (0..9)
                .map(|user| (format!("user{user}@{number}.example"), vec!["User.Read".to_owned()]))
                .collect(),
            ..Application::default()
        })
    }

    /// Returns every registration.
    pub(super) fn all_applications(&self) -> Vec<Application> {
        let more = (0..self.more_registrations)
            .filter_map(|number| self.application(&Self::additional_client_id(number).to_string()));
        self.applications.iter().cloned().chain(more).collect()
    }

    /// Returns the client id of an additional registration.
    pub fn additional_client_id(number: u32) -> Uuid {
        Uuid::from_u128(FIRST_ADDITIONAL_ID + u128::from(number))
    }

    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|user| user.name.eq_ignore_ascii_case(name) || self.object_id(&user.name).to_string() == name)
    }

    /// Returns the object id of the service principal of an application.
    pub(super) fn principal_id(&self, client: impl std::fmt::Display) -> Uuid {
        self.object_id(&format!("sp/{client}"))
    }

    /// Returns the object id of an object of this tenant, which is derived from its name.
    pub(super) fn object_id(&self, name: &str) -> Uuid {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(format!("{}/{}", self.id, name.to_lowercase()).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Uuid::new_v8(bytes)
    }
}

/// The first client id of the additional registrations.
const FIRST_ADDITIONAL_ID: u128 = 0x0000_0000_5a9d_4b00_8000_0000_0000_0000;
