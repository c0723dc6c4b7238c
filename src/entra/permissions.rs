//! Permissions of Microsoft Graph: names, ids, and which of them includes which.
//!
//! The built-in table is data from `microsoftgraph/microsoft-graph-devx-content` (MIT). The permissions that a tenant's own service
//! principal of Graph lists take precedence, because ids of national clouds are not published. If they cannot be read, the table
//! alone is used; an id that neither has is its own name.

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

/// The holder of a permission: the application itself or a signed-in user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PermissionKind {
    /// A permission of the application: an app role, `Role` in a registration.
    Application,
    /// A permission of the signed-in user: a scope, `Scope` in a registration.
    Delegated,
}

impl PermissionKind {
    /// Returns the id of the kind in a registration.
    pub fn id(self) -> &'static str {
        match self {
            PermissionKind::Application => "Role",
            PermissionKind::Delegated => "Scope",
        }
    }

    /// Returns the kind as an adjective.
    pub fn adjective(self) -> &'static str {
        match self {
            PermissionKind::Application => "application",
            PermissionKind::Delegated => "delegated",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    delegated: Option<String>,
    application: Option<String>,
    /// True if a user may consent to the delegated permission, according to the permission itself. A tenant's policy
    /// may still require an administrator.
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
static BY_ID: LazyLock<HashMap<(PermissionKind, &'static str), &'static str>> =
    LazyLock::new(|| all().map(|(kind, name, id)| ((kind, id), name)).collect());

/// Returns the id of a permission in the built-in table.
pub fn id(kind: PermissionKind, name: &str) -> Option<&'static str> {
    let entry = TABLE.get(name)?;
    match kind {
        PermissionKind::Application => entry.application.as_deref(),
        PermissionKind::Delegated => entry.delegated.as_deref(),
    }
}

/// Returns true if a user may consent to a delegated permission, unless the tenant's policy requires an administrator.
pub fn may_users_consent(name: &str) -> bool {
    TABLE.get(name).is_some_and(|entry| entry.user_consent)
}

/// Returns every permission of the built-in table.
pub fn all() -> impl Iterator<Item = (PermissionKind, &'static str, &'static str)> {
    TABLE.iter().flat_map(|(name, entry)| {
        let role = entry.application.iter().map(|id| (PermissionKind::Application, name.as_str(), id.as_str()));
        let scope = entry.delegated.iter().map(|id| (PermissionKind::Delegated, name.as_str(), id.as_str()));
        role.chain(scope)
    })
}

/// A map of ids to names: a tenant's own if they could be read, else the built-in table.
#[derive(Clone, Debug, Default)]
pub struct PermissionNames {
    /// Names that the tenant lists and the table does not.
    own: HashMap<(PermissionKind, String), String>,
    /// The object id of Graph's service principal in the tenant; none if it could not be read.
    graph: Option<String>,
}

impl PermissionNames {
    /// Creates the map of the built-in table.
    pub fn built_in() -> Self {
        Self::default()
    }

    /// Creates the map of a tenant, from its service principal of Graph and the built-in table.
    pub fn from_service_principal(graph: &ServicePrincipal) -> Self {
        let mut names = Self::built_in();
        names.graph = Some(graph.id.clone()).filter(|id| !id.is_empty());
        let mut add = |kind, id: &str, value: &Option<String>| {
            let Some(value) = value else { return };
            let id = id.to_lowercase();
            // Names that equal the table's take no memory.
            if BY_ID.get(&(kind, id.as_str())) != Some(&value.as_str()) {
                names.own.insert((kind, id), value.clone());
            }
        };
        for role in &graph.app_roles {
            add(PermissionKind::Application, &role.id, &role.value);
        }
        for scope in &graph.oauth2_permission_scopes {
            add(PermissionKind::Delegated, &scope.id, &scope.value);
        }
        names
    }

    /// Returns the name of an id; the id itself if it is not known.
    pub fn name<'a>(&'a self, kind: PermissionKind, id: &'a str) -> &'a str {
        let lower = id.to_lowercase();
        let built_in = BY_ID.get(&(kind, lower.as_str())).copied();
        self.own.get(&(kind, lower)).map(String::as_str).or(built_in).unwrap_or(id)
    }

    /// Returns true if ids were read from the tenant itself, and not from the table of the worldwide cloud.
    pub fn is_of_tenant(&self) -> bool {
        self.graph.is_some()
    }

    /// Returns true if an object of the tenant is Graph's service principal: Exchange has permissions of the same
    /// names. None if Graph's service principal could not be read.
    pub fn is_graph(&self, resource_id: &str) -> Option<bool> {
        self.graph.as_deref().map(|graph| graph.eq_ignore_ascii_case(resource_id))
    }
}

/// Returns the other permissions that include `name`.
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

/// Returns what the holder of a permission can do, for permissions that a mail profile does not need.
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
        | "RoleManagement.ReadWrite.All" => "its holder can give itself any other permission",
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
