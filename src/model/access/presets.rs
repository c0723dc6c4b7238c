//! The built-in roles as grants: [`preset`]. Each role of the series `viewer`, `planner`, `deployer` and `admin` has the grants of
//! those before it.
//!
//! A sender's token can be limited to companies and functions ([`Scope`]); its grants are limited in the same way.

use std::sync::LazyLock;

use super::{
    Grant,
    vocabulary::{Activity, Area},
};
use crate::model::token::{Role, Scope};

/// The grants of one role that the role before it in the series does not have.
fn own_grants(role: Role) -> Vec<(Area, Vec<Activity>)> {
    use Activity::{
        Apply, Cancel, Change, Create, Delete, Enable, Hold, LookUp, Plan, Propose, Replay, Resolve, Retry, Rollback,
        Rotate, Run, See, Submit, Verify,
    };
    match role {
        Role::Bound => Vec::new(),
        Role::Sender => vec![(Area::Mail, vec![Submit, LookUp]), (Area::OwnMail, vec![See, Cancel])],
        Role::Viewer => vec![
            (Area::Service, vec![See]),
            (Area::Profiles, vec![See]),
            (Area::Settings, vec![See]),
            (Area::Access, vec![See]),
            (Area::History, vec![See]),
            (Area::Outbox, vec![See]),
            (Area::Rollouts, vec![See]),
        ],
        Role::Planner => vec![(Area::Changes, vec![Plan, Propose]), (Area::Profiles, vec![Verify])],
        Role::Deployer => vec![
            (Area::Changes, vec![Apply, Rollback]),
            (Area::Profiles, vec![Create, Change, Delete, Enable, Rotate]),
            (Area::Settings, vec![Change]),
            (Area::Outbox, vec![Retry, Cancel, Hold, Replay, Resolve]),
            (Area::Rollouts, vec![Run]),
        ],
        Role::Admin => Area::ALL.iter().map(|area| (*area, area.activities().to_vec())).collect(),
    }
}

static PRESETS: LazyLock<Vec<(Role, Vec<Grant>)>> = LazyLock::new(|| {
    let grants = |role: Role| {
        let included = Role::ALL.iter().filter(move |other| match role {
            Role::Bound | Role::Sender | Role::Admin => **other == role,
            _ => **other != Role::Sender && role.includes(**other),
        });
        let grant = |(area, activities): (Area, Vec<Activity>)| Grant {
            areas: [area].into(),
            activities: activities.into_iter().collect(),
            ..Grant::default()
        };
        included.flat_map(|role| own_grants(*role)).map(grant).collect()
    };
    Role::ALL.iter().map(|role| (*role, grants(*role))).collect()
});

/// Returns the grants of a built-in role.
pub fn preset(role: Role) -> &'static [Grant] {
    PRESETS.iter().find(|(own, _)| *own == role).map_or(&[], |(_, grants)| grants)
}

/// Returns a grant of a built-in role, limited to the companies and functions of a token.
pub(super) fn limited(grant: &Grant, scope: &Scope) -> Grant {
    Grant { companies: scope.companies.clone(), functions: scope.functions.clone(), ..grant.clone() }
}
