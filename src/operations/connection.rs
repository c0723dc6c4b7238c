//! Clients for the services of environments: [`Connector`] creates one, [`check_service`] and [`fetch_state`] make sure that
//! the service belongs to the environment.
//!
//! An address in a file can be wrong, so callers make this check before they request anything else. A service of another
//! environment is a problem that names both; a service that does not answer is that of the client. The HTTP client is
//! [`crate::client`].

use std::sync::Arc;

use super::Retry;
use crate::{
    api::wrong_environment,
    client::Client,
    model::{EnvironmentName, Generation, Problem, State},
};

/// The token that a client carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPurpose {
    /// Reading and changing the state.
    Deploy,
    /// Submitting mail: probes and notifications.
    SendMail,
}

/// Creates the client of an environment's service. The address comes from the files, if they have one.
pub type Connector =
    Arc<dyn Fn(&EnvironmentName, Option<&str>, ClientPurpose) -> Result<Client, Problem> + Send + Sync>;

/// Reads the state of a service, which must belong to the environment.
pub async fn fetch_state(client: &Client, name: &EnvironmentName) -> Result<State, Problem> {
    let state = client.state().await?;
    check_environment(client, &state.environment, name)?;
    Ok(state)
}

/// Checks that a service belongs to the environment, before anything else is requested from it.
pub async fn check_service(client: &Client, name: &EnvironmentName) -> Result<(), Problem> {
    check_environment(client, &client.service().await?.environment, name)
}

/// Checks that the environment that a service reported is the expected one.
pub fn check_environment(client: &Client, found: &EnvironmentName, expected: &EnvironmentName) -> Result<(), Problem> {
    if found == expected {
        return Ok(());
    }
    Err(wrong_environment(&format!("the service at {}", client.address()), found, expected))
}

/// Reads one generation, without its settings and profiles. None if the service does not have it.
pub async fn fetch_generation(client: &Client, number: u64, retry: &Retry) -> Result<Option<Generation>, Problem> {
    let page = retry.run(|| client.generations(Some(number + 1), 1)).await?;
    Ok(page.generations.into_iter().next().filter(|found| found.number == number))
}
