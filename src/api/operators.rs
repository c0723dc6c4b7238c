//! Documents about operators: `/v1/operators`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    operator::Operator,
    token::{Role, Scope},
};

/// `POST /v1/operators`: an operator to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewOperator {
    /// The name, 1 to 80 characters, which no operator has or had.
    #[schema(min_length = 1, max_length = 80)]
    pub name: String,
    /// The role; `bound` if it is not given.
    #[serde(default = "NewOperator::default_role")]
    pub role: Role,
    /// The companies and functions of a sender.
    #[serde(default, skip_serializing_if = "Scope::is_everything")]
    pub scope: Scope,
    /// The end of the enrolment link, at most 7 days from now; by default after 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub link_ends_at: Option<Timestamp>,
}

impl NewOperator {
    /// Returns the role of an operator that bindings of the access policy give all rights.
    pub fn default_role() -> Role {
        Role::Bound
    }
}

/// `POST /v1/operators/{id}/link`: an enrolment link to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewEnrolmentLink {
    /// The end of the link, at most 7 days from now; by default after 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub link_ends_at: Option<Timestamp>,
}

/// An operator with the secret of its enrolment link, which no other answer has. It does not implement `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperatorInvited {
    /// The operator.
    #[serde(flatten)]
    pub operator: Operator,
    /// The secret of the link: the part behind `/console/enroll#`. It cannot be read again later.
    pub secret: String,
    /// The link; none if the service does not know the address of its console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// `GET /v1/operators`: all operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperatorList {
    /// The operators, oldest first, with those that were removed.
    pub operators: Vec<Operator>,
}
