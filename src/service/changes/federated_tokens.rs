//! Checks that profiles and the reader of the directory use a federated token file only for the destination that `serve`
//! allows.
//!
//! The allowed destinations are options of the operator ([`crate::entra::federated`]), so that the author of a profile cannot
//! choose them. Another destination refuses the whole change. The file is not read here.

use super::Change;
use crate::{
    entra::{FederatedFiles, federated},
    model::{Code, EnvironmentName},
    service::http::HttpProblem,
};

/// Checks that a federated token goes only to the destination that the service's options allow, for profiles and for the reader.
pub(super) fn check(environment: &EnvironmentName, change: &Change, files: &FederatedFiles) -> Result<(), HttpProblem> {
    let profiles = change.changes.iter().filter_map(|profile_change| {
        let provider = &profile_change.profile()?.profile.provider;
        let path = provider.federated_token_file()?;
        Some((format!("profile `{}`", profile_change.name()), path, provider.destination()))
    });
    let reader = change.settings.iter().filter_map(|settings| {
        let application = &settings.reader.as_ref()?.application;
        let path = application.credential.federated_token_file()?;
        Some(("`verify.reader`".to_owned(), path, application.destination()))
    });
    for (place, path, destination) in profiles.chain(reader) {
        let Some(reason) = files.refusal(path, environment, &destination) else { continue };
        return Err(HttpProblem::new(
            Code::FederatedTokenRedirected,
            format!("the federated token of {place}, `{path}`: {reason}"),
        )
        .remedy(format!(
            "If this is intended, let the operator restart the service with: {}",
            federated::format_option(path, environment, &destination)
        )));
    }
    Ok(())
}
