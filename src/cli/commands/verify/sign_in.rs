//! The token with which `verify` reads the directory of a tenant: from `MAILWRIGHT_READER_TOKEN`, or by a sign-in with a
//! device code.
//!
//! [`reader_token`] returns it. A token from the variable that is not a JWT is refused, because it would not be known where it may
//! be sent. Nothing is returned if neither is given. Profiles of several tenants, and a sign-in that is refused or not completed in
//! time, are an error.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;

use crate::{
    cli::{CliError, Context, commands::verify::Verify, variables},
    config::DesiredProfile,
    entra::{
        Endpoints, Http, HttpError,
        aadsts::Cause,
        claims::Claims,
        http::tls_remedy,
        sign_in::{SignIn, SignInError},
    },
    model::{Code, ProfileName, Provider},
    text::shell::quote_posix,
    verify::VerifyOptions,
};

/// The command that creates a token of a reader.
const TOKEN_BY_AZ: &str = "az account get-access-token --resource-type ms-graph --query accessToken --output tsv";

const BUSY: &str = "The sign-in host is busy or failing. Sign in again in a few minutes.";

/// Returns the token of a reader of the directory: from the environment, or by a sign-in.
pub(super) fn reader_token(
    command: &Verify,
    context: &Context,
    profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
    options: &VerifyOptions,
) -> Result<Option<SecretString>, CliError> {
    let Some(client) = &command.reader.sign_in else {
        let token = variables::read(variables::READER_TOKEN).map(SecretString::from);
        if token.as_ref().is_some_and(|token| Claims::read(token).is_none()) {
            return Err(CliError::coded(
                Code::ReaderTokenUnusable,
                format!(
                    "the token in {} is not a JWT, so its Graph host cannot be determined; it was not sent",
                    variables::READER_TOKEN
                ),
            )
            .remedy(TOKEN_BY_AZ));
        }
        return Ok(token);
    };
    let places: BTreeSet<_> = profiles
        .values()
        .filter_map(|profile| match &profile.stored.profile.provider {
            Provider::MicrosoftGraphDelegate(delegate) => Some((delegate.cloud.clone(), delegate.tenant.clone())),
            Provider::MicrosoftGraphDirect(direct) => Some((direct.cloud.clone(), direct.tenant.clone())),
            Provider::Smtp(_) => None,
        })
        .collect();
    let [(cloud, tenant)] = places.iter().collect::<Vec<_>>()[..] else {
        let (why, remedy) = if places.is_empty() {
            (
                "none of these profiles uses Microsoft Graph, so there is no tenant to sign in to".to_owned(),
                "Omit `--sign-in`.".to_owned(),
            )
        } else {
            (
                format!("cannot sign in: these profiles are in {} tenants", places.len()),
                name_one_tenant(options, profiles),
            )
        };
        return Err(CliError::coded(Code::Usage, why).remedy(remedy));
    };
    let endpoints = Endpoints::for_cloud(cloud).map_err(|error| CliError::new(error.to_string()))?;
    let graph = endpoints.graph.as_str().trim_end_matches('/').to_owned();
    let http = Http::new(&options.http).map_err(CliError::new)?;
    let sign_in = SignIn::new(http, endpoints);
    let scope = format!("{graph}/Application.Read.All {graph}/Directory.Read.All");
    let failed = |error: SignInError| {
        let remedy = sign_in_remedy(&error, client, tenant);
        CliError::coded(Code::SignInFailed, format!("cannot sign in to {tenant}: {error}")).remedy(remedy)
    };
    context.runtime()?.block_on(async {
        let request = sign_in.device_code(tenant, client, &scope).await.map_err(failed)?;
        context.printer.note(&format!(
            "Open {} and enter the code {} to sign in to {tenant}.",
            request.verification_uri().as_str(),
            request.user_code().secret()
        ));
        let token = sign_in.device_token(tenant, client, &request).await.map_err(failed)?;
        Ok(Some(token.value))
    })
}

/// Returns the remedy for a failed sign-in by device code.
fn sign_in_remedy(error: &SignInError, client: &str, tenant: &str) -> String {
    let by_token = format!("Or set MAILWRIGHT_READER_TOKEN to a token: {TOKEN_BY_AZ}");
    let refusal = match error {
        SignInError::Http(HttpError::Tls { fault, .. }) => return tls_remedy(fault).to_owned(),
        SignInError::Http(HttpError::Busy { .. } | HttpError::NotJson { status: 500.., .. })
        | SignInError::Unknown(500..) => return BUSY.to_owned(),
        SignInError::Http(HttpError::NotJson { .. } | HttpError::Redirect { .. } | HttpError::Huge { .. }) => {
            return "Check HTTPS_PROXY and NO_PROXY: another server answers instead of the sign-in host.".to_owned();
        }
        SignInError::Http(_) => {
            return "Check the network from this machine, HTTPS_PROXY, and the firewall; then sign in again."
                .to_owned();
        }
        SignInError::Refused(refusal) => refusal,
        _ => return "Check if a proxy answers instead of the sign-in host, then sign in again.".to_owned(),
    };
    // While the user has not signed in, the error name is more specific than the number.
    match refusal.error.as_str() {
        "expired_token" => return "The code was not entered in time. Sign in again.".to_owned(),
        "authorization_declined" => {
            return "The user declined. Sign in again as a user with read access to the directory.".to_owned();
        }
        _ => {}
    }
    let advice = refusal.entry().map(|entry| entry.remedy.as_str()).unwrap_or_default();
    match refusal.cause() {
        Cause::Service => BUSY.to_owned(),
        Cause::Tenant => format!("Correct `tenant` in the profiles: {tenant} does not exist in this cloud."),
        Cause::Client | Cause::ServicePrincipal => {
            format!("Pass the application (client) id of a public client of {tenant}: {client} does not exist there.")
        }
        Cause::NoCredential | Cause::SecretWrong => {
            format!(
                "Allow public client flows: az ad app update --id {} --is-fallback-public-client true",
                quote_posix(client)
            )
        }
        Cause::Consent => format!(
            "Have an administrator consent to Application.Read.All and Directory.Read.All (delegated): az ad app permission admin-consent --id {}",
            quote_posix(client)
        ),
        Cause::ConditionalAccess => {
            let meaning = refusal.entry().map_or("Conditional Access blocks it", |entry| entry.meaning.as_str());
            format!("A policy of the tenant blocks it: {meaning}. {by_token}")
        }
        Cause::Assignment => format!(
            "Assign the user to the client: Portal: Enterprise applications > {client} > Users and groups; or require no assignment: az ad sp update --id {} --set appRoleAssignmentRequired=false",
            quote_posix(client)
        ),
        Cause::UserAccount => {
            format!("Sign in with an account of {tenant}, not with a guest account or a personal account. {by_token}")
        }
        _ if refusal.error == "access_denied" => {
            "The user declined. Sign in again as a user with read access to the directory.".to_owned()
        }
        Cause::Unknown => format!(
            "The client must be public, allow public client flows, and have Application.Read.All and Directory.Read.All (delegated) with consent. {by_token}"
        ),
        _ => format!("{advice} {by_token}"),
    }
}

/// Returns the command that verifies the profiles in the tenant of the first one.
fn name_one_tenant(options: &VerifyOptions, profiles: &BTreeMap<&ProfileName, &DesiredProfile>) -> String {
    let tenant = |profile: &DesiredProfile| match &profile.stored.profile.provider {
        Provider::MicrosoftGraphDelegate(delegate) => Some((delegate.cloud.clone(), delegate.tenant.clone())),
        Provider::MicrosoftGraphDirect(direct) => Some((direct.cloud.clone(), direct.tenant.clone())),
        Provider::Smtp(_) => None,
    };
    let first = profiles.values().find_map(|profile| tenant(profile));
    let names = profiles.iter().filter(|(_, profile)| first.is_some() && tenant(profile) == first);
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    format!("Name the profiles of one tenant: mailwright verify {} {}", options.environment, names.join(" "))
}
