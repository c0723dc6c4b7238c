//! Microsoft Graph's permissions: names, ids, and which of them covers which.
//!
//! The table is data from `microsoftgraph/microsoft-graph-devx-content` (MIT), and the fallback: what a tenant's own
//! service principal of Graph says comes first, since ids of national clouds are not published.

use std::{collections::HashMap, sync::LazyLock};

use serde::Deserialize;

use super::graph::ServicePrincipal;

/// The application id of Microsoft Graph, in every tenant.
pub const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";

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
#[serde(rename_all = "camelCase")]
struct Entry {
    value: String,
    delegated_scope: Option<Id>,
    application_role: Option<Id>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    // The file is part of the program; a test reads it.
    serde_json::from_str(include_str!("permissions.json")).unwrap_or_default()
});

/// The id of a permission in the built-in table.
pub fn id(kind: Kind, name: &str) -> Option<&'static str> {
    let entry = TABLE.iter().find(|entry| entry.value == name)?;
    let id = match kind {
        Kind::Application => entry.application_role.as_ref(),
        Kind::Delegated => entry.delegated_scope.as_ref(),
    };
    id.map(|id| id.id.as_str())
}

/// Every permission of the built-in table.
pub fn all() -> impl Iterator<Item = (Kind, &'static str, &'static str)> {
    TABLE.iter().flat_map(|entry| {
        let role = entry.application_role.iter().map(|id| (Kind::Application, entry.value.as_str(), id.id.as_str()));
        let scope = entry.delegated_scope.iter().map(|id| (Kind::Delegated, entry.value.as_str(), id.id.as_str()));
        role.chain(scope)
    })
}

/// Ids to names: a tenant's own where they could be read, else the built-in table.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: HashMap<(Kind, String), String>,
    /// The object id of Graph's service principal in the tenant; none where it could not be read.
    graph: Option<String>,
}

impl Names {
    /// The built-in table.
    pub fn built_in() -> Self {
        let names = all().map(|(kind, name, id)| ((kind, id.to_owned()), name.to_owned())).collect();
        Self { names, graph: None }
    }

    /// The built-in table, and over it what a tenant's service principal of Graph says.
    pub fn of(graph: &ServicePrincipal) -> Self {
        let mut names = Self::built_in();
        names.graph = Some(graph.id.clone()).filter(|id| !id.is_empty());
        for role in &graph.app_roles {
            if let Some(value) = &role.value {
                names.names.insert((Kind::Application, role.id.to_lowercase()), value.clone());
            }
        }
        for scope in &graph.oauth2_permission_scopes {
            if let Some(value) = &scope.value {
                names.names.insert((Kind::Delegated, scope.id.to_lowercase()), value.clone());
            }
        }
        names
    }

    /// The name of an id; the id itself if nobody knows it.
    pub fn name<'a>(&'a self, kind: Kind, id: &'a str) -> &'a str {
        self.names.get(&(kind, id.to_lowercase())).map_or(id, String::as_str)
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
        "Application.ReadWrite.All" | "AppRoleAssignment.ReadWrite.All" | "RoleManagement.ReadWrite.Directory" => {
            "whoever has it can give itself any other permission"
        }
        "Directory.Read.All" => "it reads the whole directory",
        "full_access_as_app" => "it opens every mailbox",
        "MailboxSettings.ReadWrite" => "it changes forwarding and automatic replies of every mailbox",
        _ => "no function of this profile uses it",
    }
}
