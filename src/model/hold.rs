//! [`Hold`]: an operator's order that mail of a profile, a company or a function waits, until a time or until it is released.
//! [`Lane`] is a company and a function.
//!
//! [`Hold::covers`] decides if it applies to mail: all of its conditions must match, and after its end it applies to none. Delivery
//! obeys holds, the store keeps them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{CompanyId, Function, ProfileName};

/// A company and a function. Their messages are sent in the order of acceptance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The company.
    pub company: CompanyId,
    /// The function.
    pub function: Function,
}

/// An order that matching mail waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The id of the hold.
    pub id: String,
    /// The profile whose mail waits; none means every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub profile: Option<ProfileName>,
    /// The company whose mail waits; none means every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<CompanyId>,
    /// The function whose mail waits; none means every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
    /// The reason.
    pub reason: String,
    /// The operator who created it.
    pub owner: String,
    /// The time from which the hold applies.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The time at which the hold expires; none means that it stays until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

impl Hold {
    /// Returns true if mail of this lane and profile waits.
    pub fn covers(&self, lane: &Lane, profile: Option<&ProfileName>, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
            && self.company.as_ref().is_none_or(|own| *own == lane.company)
            && self.function.is_none_or(|own| own == lane.function)
            && self.profile.as_ref().is_none_or(|own| Some(own) == profile)
    }
}
