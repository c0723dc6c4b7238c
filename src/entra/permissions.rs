//! Microsoft Graph's permissions: names, ids, and which of them covers which.
//!
//! The table is data from `microsoftgraph/microsoft-graph-devx-content` (MIT), and the fallback: what a tenant's own
//! service principal of Graph says comes first, since ids of national clouds are not published.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde::Deserialize;

use crate::entra::graph::ServicePrincipal;

/// The application id of Microsoft Graph, in every tenant.
pub const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";
/// The application id of Exchange Online, in every tenant.
pub const EXCHANGE_APP_ID: &str = "00000002-0000-0ff1-ce00-000000000000";

/// Whether the application itself or a signed-in user has a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Of the application: an app role, `Role` in a registration.
    Application,
    /// Of a signed-in user: a scope, `Scope` in a registration.
    Delegated,
}

impl Kind {
    /// As a registration writes it.
    pub fn id(self) -> &'static str {
        match self {
            Kind::Application => "Role",
            Kind::Delegated => "Scope",
        }
    }

    /// As people say it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Application => "application",
            Kind::Delegated => "delegated",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    delegated: Option<String>,
    application: Option<String>,
    /// Whether a user may consent to the delegated permission, as far as the permission itself says. A tenant's policy may
    /// want an administrator all the same.
    #[serde(default)]
    user_consent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[expect(dead_code, reason = "for readers of the file")]
    source: String,
    permissions: BTreeMap<String, Entry>,
}

#[expect(clippy::expect_used, reason = "the table is part of the binary, and a test reads it")]
static TABLE: LazyLock<BTreeMap<String, Entry>> = LazyLock::new(|| {
    let table: Table = serde_json::from_str(include_str!("permissions.json")).expect("permissions.json is well formed");
    table.permissions
});

/// Names by kind and id.
static BY_ID: LazyLock<HashMap<(Kind, &'static str), &'static str>> =
    LazyLock::new(|| all().map(|(kind, name, id)| ((kind, id), name)).collect());

/// The id of a permission in the built-in table.
pub fn id(kind: Kind, name: &str) -> Option<&'static str> {
    let entry = TABLE.get(name)?;
    match kind {
        Kind::Application => entry.application.as_deref(),
        Kind::Delegated => entry.delegated.as_deref(),
    }
}

/// Returns true if a user may consent to a delegated permission, unless the tenant's policy wants an administrator.
pub fn may_users_consent(name: &str) -> bool {
    TABLE.get(name).is_some_and(|entry| entry.user_consent)
}

/// Every permission of the built-in table.
pub fn all() -> impl Iterator<Item = (Kind, &'static str, &'static str)> {
    TABLE.iter().flat_map(|(name, entry)| {
        let role = entry.application.iter().map(|id| (Kind::Application, name.as_str(), id.as_str()));
        let scope = entry.delegated.iter().map(|id| (Kind::Delegated, name.as_str(), id.as_str()));
        role.chain(scope)
    })
}

/// Ids to names: a tenant's own where they could be read, else the built-in table.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// What the tenant says.
    own: HashMap<(Kind, String), String>,
    /// The object id of Graph's service principal in the tenant; none where it could not be read.
    graph: Option<String>,
}

impl Names {
    /// The built-in table.
    pub fn built_in() -> Self {
        Self::default()
    }

    /// The built-in table, and over it what a tenant's service principal of Graph says.
    pub fn of(graph: &ServicePrincipal) -> Self {
        let mut names = Self::built_in();
        names.graph = Some(graph.id.clone()).filter(|id| !id.is_empty());
        let mut add = |kind, id: &str, value: &Option<String>| {
            let Some(value) = value else { return };
            let id = id.to_lowercase();
            // What the table knows already needs no room of its own.
            if BY_ID.get(&(kind, id.as_str())) != Some(&value.as_str()) {
                names.own.insert((kind, id), value.clone());
            }
        };
        for role in &graph.app_roles {
            add(Kind::Application, &role.id, &role.value);
        }
        for scope in &graph.oauth2_permission_scopes {
            add(Kind::Delegated, &scope.id, &scope.value);
        }
        names
    }

    /// The name of an id; the id itself if nobody knows it.
    pub fn name<'a>(&'a self, kind: Kind, id: &'a str) -> &'a str {
        let lower = id.to_lowercase();
        let built_in = BY_ID.get(&(kind, lower.as_str())).copied();
        self.own.get(&(kind, lower)).map(String::as_str).or(built_in).unwrap_or(id)
    }

    /// Returns true if ids were read from the tenant itself, and not from the table of the worldwide cloud.
    pub fn is_of_tenant(&self) -> bool {
        self.graph.is_some()
    }

    /// Whether a grant on this object of the tenant is one on Graph: Exchange has permissions of the same names. None
    /// where it could not be read which object Graph is.
    pub fn is_graph(&self, resource_id: &str) -> Option<bool> {
        self.graph.as_deref().map(|graph| graph.eq_ignore_ascii_case(resource_id))
    }
}

/// The permissions of which any one includes `name`, besides itself.
///
/// Source: the alternatives that Microsoft lists for the requests that `name` is for.
pub fn broader(name: &str) -> &'static [&'static str] {
    match name {
        "User.ReadBasic.All" => {
            &["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"]
        }
        "User.Read.All" => &["User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
        "Group.Read.All" => &["Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
        "OrgContact.Read.All" => &["Directory.Read.All", "Directory.ReadWrite.All"],
        "Contacts.Read" => &["Contacts.ReadWrite"],
        "User.Read" => &["User.ReadWrite", "User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All"],
        "Mail.ReadBasic.All" => &["Mail.Read", "Mail.ReadWrite"],
        "MailboxSettings.Read" => &["MailboxSettings.ReadWrite"],
        "Organization.Read.All" => &["Organization.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
        "Application.Read.All" => &["Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
        "Directory.Read.All" => &["Directory.ReadWrite.All"],
        _ => &[],
    }
}

/// What somebody who holds the permission could do, for those that a mail profile has no use for.
pub fn reach(name: &str) -> &'static str {
    match name {
        "Mail.ReadWrite" => {
            "it reads, changes and deletes mail in every mailbox; only attachments over 3 MB need it for sending"
        }
        "Mail.Read" | "Mail.ReadBasic.All" | "Mail.ReadBasic" => "it reads every mailbox",
        "Directory.ReadWrite.All" => "it changes the whole directory",
        "Application.ReadWrite.All"
        | "AppRoleAssignment.ReadWrite.All"
        | "RoleManagement.ReadWrite.Directory"
        | "RoleManagement.ReadWrite.Exchange"
        | "RoleManagement.ReadWrite.All" => "whoever has it can give itself any other permission",
        "User.ReadWrite.All" => "it changes every user",
        "Group.ReadWrite.All" => "it changes every group, and reads what is in it",
        "Files.ReadWrite.All" | "Sites.ReadWrite.All" | "Sites.FullControl.All" => "it changes every file",
        "Directory.Read.All" => "it reads the whole directory",
        "full_access_as_app" => "it opens every mailbox",
        "MailboxSettings.ReadWrite" => "it changes forwarding and automatic replies of every mailbox",
        _ if name.parse::<uuid::Uuid>().is_ok() => "a permission whose name is not known here",
        _ => "no function of this profile uses it",
    }
}
