//! Tokens by client credentials, authorization code, refresh token and device code, and introspection of tokens.
//!
//! [`token`] checks the request as Entra does and issues a token that the sandbox signs. A refusal has Entra's code and text. The
//! time is that of the machine with the offset of the scenario.

use std::sync::Arc;

use axum::{
    Form, Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Fields, OAuthError, UserConsent,
    authorize::{consented, is_same_redirect},
    credential::{PresentedCredential, check_credential, parse_basic},
};
use crate::sandbox::{
    Sandbox,
    entra::error::oauth_error,
    scenario::{Application, Tenant, User},
};

/// `POST /{tenant}/oauth2/v2.0/token`: issues a token.
pub(in crate::sandbox) async fn token(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    match issue(&sandbox, &name, &headers, &form).await {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store, no-cache")], Json(token)).into_response(),
        Err(error) => error.correlated(&headers, &form).into_response(&sandbox),
    }
}

async fn issue(sandbox: &Sandbox, name: &str, headers: &HeaderMap, form: &Fields) -> Result<Value, OAuthError> {
    let scenario = sandbox.scenario();
    let field = |key: &str| form.get(key).map_or("", String::as_str);
    let grant = field("grant_type");
    if grant.is_empty() {
        return Err(oauth_error(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'grant_type'.",
        ));
    }
    let tenant = match scenario.tenant(name) {
        Some(tenant) => tenant,
        None if !super::is_tenant_name(name) => return Err(super::malformed_tenant("invalid_request", name)),
        None => {
            return Err(oauth_error(
                400,
                "invalid_request",
                90_002,
                format!(
                    "Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
                ),
            ));
        }
    };
    let (client, basic_secret) = parse_basic(headers).unwrap_or_else(|| (field("client_id").to_owned(), None));
    if client.is_empty() {
        return Err(oauth_error(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'client_id'.",
        ));
    }
    if client.parse::<Uuid>().map_or(true, |id| id.is_nil()) {
        return Err(oauth_error(
            400,
            "unauthorized_client",
            700_038,
            format!("{client} is not a valid application identifier."),
        ));
    }
    let application = tenant.application(&client).filter(|application| !application.not_installed).ok_or_else(|| {
        oauth_error(400, "unauthorized_client", 700_016, format!("Application with identifier '{client}' was not found in the directory '{name}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."))
    })?;
    if application.disabled || application.deactivated {
        return Err(oauth_error(
            401,
            "unauthorized_client",
            7_000_112,
            format!("Application '{client}'({}) is disabled.", application.name),
        ));
    }
    let secret = basic_secret.or_else(|| form.get("client_secret").cloned());
    let presented = check_credential(sandbox, tenant, &application, secret.as_deref(), form)?;
    match grant {
        "client_credentials" => client_credentials(sandbox, tenant, &application, presented, field("scope")),
        "authorization_code" => authorization_code(sandbox, tenant, &application, presented, headers, form).await,
        "refresh_token" => refresh(sandbox, tenant, &application, presented, form).await,
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => {
            device(sandbox, tenant, &application, form).await
        }
        other => Err(oauth_error(
            400,
            "unsupported_grant_type",
            70_003,
            format!("The app requested an unsupported grant type '{other}'."),
        )),
    }
}

fn client_credentials(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    presented: PresentedCredential,
    scope: &str,
) -> Result<Value, OAuthError> {
    if presented == PresentedCredential::None {
        return Err(oauth_error(
            401,
            "invalid_client",
            7_000_216,
            "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
        ));
    }
    if scope.is_empty() {
        return Err(oauth_error(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'scope'.",
        ));
    }
    let Some(resource) = scope.strip_suffix("/.default").filter(|_| !scope.contains(' ')) else {
        return Err(oauth_error(
            400,
            "invalid_scope",
            1_002_012,
            format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
            ),
        ));
    };
    let resource = resource.trim_end_matches('/');
    let exchange = resource == EXCHANGE;
    if resource != sandbox.address() && resource != "https://graph.microsoft.com" && !exchange {
        return Err(oauth_error(
            400,
            "invalid_resource",
            500_011,
            format!(
                "The resource principal named {resource} was not found in the tenant named {}. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
                tenant.domains.first().map_or("", String::as_str)
            ),
        ));
    }
    let now = sandbox.now().as_second();
    let mut claims = json!({
        "aud": if exchange { EXCHANGE } else { sandbox.address() },
        "iss": format!("https://sts.windows.net/{}/", tenant.id),
        "iat": now, "nbf": now, "exp": now + 3900,
        "app_displayname": application.name,
        "appid": application.client,
        "appidacr": if presented == PresentedCredential::Secret { "1" } else { "2" },
        "idtyp": "app",
        "oid": tenant.principal_id(application.client),
        "sub": tenant.principal_id(application.client),
        "idp": format!("https://sts.windows.net/{}/", tenant.id),
        // Both are for Entra's own use, and no client can read them.
        "aio": BASE64_STANDARD.encode(Uuid::now_v7().as_bytes()),
        "rh": format!("1.{}.", BASE64_URL_SAFE_NO_PAD.encode(tenant.id.as_bytes())),
        "tenant_region_scope": "EU",
        "tid": tenant.id,
        "ver": "1.0",
        "wids": [NO_DIRECTORY_ROLE],
        "xms_tcdt": 1_704_067_200,
        // The real service refers to the credential here. A new id makes each token differ.
        "uti": Uuid::now_v7().simple().to_string(),
    });
    // Without any grant the token is still issued, without the claim.
    let of_exchange = |role: &&String| role.ends_with(".SendAsApp");
    let granted: Vec<&String> = application.granted.iter().filter(|role| of_exchange(role) == exchange).collect();
    if !granted.is_empty() {
        claims["roles"] = json!(granted);
    }
    Ok(
        json!({ "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": sandbox.tokens.sign_access(&claims) }),
    )
}

/// `POST /sandbox/introspect`: informs a mail server if a token is valid for a login (RFC 7662). Entra has no such
/// endpoint; mail servers other than Exchange ask in this way. A token of an application is for its tenant and not for
/// one mailbox, so only the domain of `username` matters.
pub(in crate::sandbox) async fn introspect(
    State(sandbox): State<Arc<Sandbox>>,
    Form(form): Form<Fields>,
) -> Json<Value> {
    let scenario = sandbox.scenario();
    let claims = form.get("token").and_then(|token| sandbox.tokens.read(token));
    let good = claims.and_then(|claims| {
        let may_send = claims["roles"].as_array()?.iter().any(|role| role == "SMTP.SendAsApp");
        let domain = scenario.tenant(claims["tid"].as_str()?)?.domains.first()?.clone();
        (claims["aud"] == EXCHANGE && may_send && claims["exp"].as_i64()? > sandbox.now().as_second()).then(|| {
            json!({
                "active": true, "token_type": "Bearer", "scope": "SMTP.SendAsApp", "client_id": claims["appid"],
                "username": format!("{}@{domain}", claims["appid"].as_str().unwrap_or_default()),
                "iss": claims["iss"], "aud": claims["aud"], "exp": claims["exp"],
            })
        })
    });
    Json(good.unwrap_or_else(|| json!({ "active": false })))
}

/// The only entry of the claim `wids` in the token of an application.
const NO_DIRECTORY_ROLE: &str = "0997a1d0-0d1d-4acb-b408-d5ca73121e90";

/// Exchange Online, whose tokens log in to a mail server.
pub(in crate::sandbox) const EXCHANGE: &str = "https://outlook.office365.com";

/// Returns true if a text has the form of the codes that the sandbox issues.
fn is_code(code: &str) -> bool {
    code.strip_prefix("0.").is_some_and(|id| id.len() == 32 && id.parse::<Uuid>().is_ok())
}

async fn authorization_code(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    presented: PresentedCredential,
    headers: &HeaderMap,
    form: &Fields,
) -> Result<Value, OAuthError> {
    let field = |key: &str| form.get(key).map_or("", String::as_str);
    let user_consent = sandbox.user_consents.lock().await.remove(field("code"));
    if user_consent.is_none() && !is_code(field("code")) {
        return Err(oauth_error(400, "invalid_grant", 9_002_313, "Invalid request. Request is malformed or invalid."));
    }
    let user_consent = user_consent
        .filter(|user_consent| user_consent.client == application.client && user_consent.tenant == tenant.id)
        .ok_or_else(|| oauth_error(400, "invalid_grant", 54_005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."))?;
    if user_consent.redirect != field("redirect_uri") {
        return Err(oauth_error(
            400,
            "invalid_client",
            500_112,
            "The reply address does not match the reply address provided when requesting Authorization code.",
        ));
    }
    let on = |uris: &[String]| uris.iter().any(|uri| is_same_redirect(uri, &user_consent.redirect));
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let cross_origin = origin.is_some();
    if on(&application.redirects.spa) {
        if !cross_origin {
            return Err(oauth_error(
                400,
                "invalid_request",
                9_002_327,
                "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
            ));
        }
    } else if cross_origin {
        return Err(oauth_error(
            400,
            "invalid_request",
            9_002_326,
            format!(
                "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type. Request origin: '{}'.",
                origin.unwrap_or_default()
            ),
        ));
    } else if on(&application.redirects.public_client) {
        if presented != PresentedCredential::None {
            return Err(oauth_error(
                401,
                "invalid_client",
                700_025,
                "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
            ));
        }
    } else if presented == PresentedCredential::None {
        return Err(oauth_error(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    }
    if let Some(challenge) = &user_consent.challenge {
        let answer = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier").as_bytes()));
        if *challenge != answer {
            return Err(oauth_error(
                400,
                "invalid_grant",
                501_481,
                "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
            ));
        }
    }
    Ok(delegated(sandbox, tenant, application, &user_consent).await)
}

async fn refresh(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    presented: PresentedCredential,
    form: &Fields,
) -> Result<Value, OAuthError> {
    let known = sandbox.refresh_tokens.lock().await.get(form.get("refresh_token").map_or("", String::as_str)).cloned();
    let user_consent = known
        .filter(|user_consent| user_consent.client == application.client && user_consent.tenant == tenant.id)
        .ok_or_else(|| {
            oauth_error(400, "invalid_grant", 9_002_313, "Invalid request. Request is malformed or invalid.")
        })?;
    let is_web = application.redirects.web.iter().any(|uri| is_same_redirect(uri, &user_consent.redirect));
    if is_web && presented == PresentedCredential::None {
        return Err(oauth_error(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    }
    // A refresh token is for a user and a client, and not for the scopes of the first sign-in: any that is consented to is given.
    let mut user_consent = user_consent;
    if let Some(scope) = form.get("scope").filter(|scope| !scope.trim().is_empty()) {
        user_consent.scopes = consented(sandbox, application, &user_consent.user, scope)?;
    }
    Ok(delegated(sandbox, tenant, application, &user_consent).await)
}

async fn device(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    form: &Fields,
) -> Result<Value, OAuthError> {
    if !application.public_flows && application.redirects.public_client.is_empty() {
        return Err(oauth_error(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    }
    let code = form.get("device_code").map_or("", String::as_str);
    let (user, scope) = {
        let mut devices = sandbox.devices.lock().await;
        let device = devices
            .get_mut(code)
            .filter(|device| device.client == application.client && device.tenant == tenant.id)
            .ok_or_else(|| {
                oauth_error(
                    400,
                    "bad_verification_code",
                    70_018,
                    "Invalid verification code due to User typing in wrong user code for device code flow.",
                )
            })?;
        device.polls += 1;
        if device.polls > 1 && device.approved.is_none() {
            device.approved.clone_from(&tenant.approves_device_codes);
        }
        let user = device.approved.clone().ok_or_else(|| {
            oauth_error(
                400,
                "authorization_pending",
                70_016,
                "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
            )
        })?;
        let found = (user, device.scope.clone());
        devices.remove(code);
        found
    };
    let scopes = consented(sandbox, application, &user, &scope)?;
    let user_consent = UserConsent {
        tenant: tenant.id,
        client: application.client,
        user,
        scopes,
        redirect: String::new(),
        challenge: None,
        nonce: None,
        auth_time: sandbox.now().as_second(),
    };
    Ok(delegated(sandbox, tenant, application, &user_consent).await)
}

async fn delegated(sandbox: &Sandbox, tenant: &Tenant, application: &Application, user_consent: &UserConsent) -> Value {
    let now = sandbox.now().as_second();
    let graph: Vec<&str> =
        user_consent.scopes.iter().map(String::as_str).filter(|scope| *scope != "offline_access").collect();
    let user_id = tenant.object_id(&user_consent.user);
    let access = json!({
        "aud": sandbox.address(),
        "iss": format!("https://sts.windows.net/{}/", tenant.id),
        "iat": now, "nbf": now, "exp": now + 3900,
        "appid": application.client,
        "appidacr": "0",
        "idtyp": "user",
        "oid": user_id,
        "scp": graph.join(" "),
        "tid": tenant.id,
        "upn": user_consent.user,
        "ver": "1.0",
        "uti": Uuid::now_v7().simple().to_string(),
    });
    let mut answer = json!({
        "token_type": "Bearer",
        "scope": graph.join(" "),
        "expires_in": 3599,
        "ext_expires_in": 3599,
        "access_token": sandbox.tokens.sign_access(&access),
    });
    if user_consent.scopes.iter().any(|scope| scope == "offline_access") {
        let refresh = format!("1.{}", Uuid::now_v7().simple());
        sandbox.refresh_tokens.lock().await.insert(refresh.clone(), user_consent.clone());
        answer["refresh_token"] = json!(refresh);
    }
    if user_consent.scopes.iter().any(|scope| scope == "openid") {
        let user = tenant.user(&user_consent.user);
        let mut id = json!({
            "aud": application.client,
            "iss": format!("{}/{}/v2.0", sandbox.address(), tenant.id),
            "iat": now, "nbf": now, "exp": now + 3900,
            "name": user.and_then(|user| user.display_name.as_ref()).unwrap_or(&user_consent.user),
            "oid": user_id,
            "preferred_username": user_consent.user,
            "sub": tenant.object_id(&format!("{}/{}", application.client, user_consent.user)),
            "tid": tenant.id,
            "ver": "2.0",
        });
        if let Some(nonce) = &user_consent.nonce {
            id["nonce"] = json!(nonce);
        }
        add_claims(&mut id, application, user, user_consent);
        answer["id_token"] = json!(sandbox.tokens.sign(&id));
        answer["client_info"] =
            json!(BASE64_URL_SAFE_NO_PAD.encode(json!({ "uid": user_id, "utid": tenant.id }).to_string()));
    }
    answer
}

/// The largest number of groups that an ID token has. For more, it refers to Graph instead.
const GROUPS: usize = 200;

/// Adds the claims of an ID token that the registration decides on.
fn add_claims(id: &mut Value, application: &Application, user: Option<&User>, user_consent: &UserConsent) {
    let is_user = |(name, _): &(&String, &Vec<String>)| name.eq_ignore_ascii_case(&user_consent.user);
    if let Some((_, roles)) = application.roles.iter().find(is_user) {
        id["roles"] = json!(roles);
    }
    let groups = user.map_or(&[][..], |user| &user.groups);
    if application.group_claims && groups.len() > GROUPS {
        id["_claim_names"] = json!({ "groups": "src1" });
        id["_claim_sources"] = json!({ "src1": { "endpoint": "https://graph.windows.net/getMemberObjects" } });
    } else if application.group_claims && !groups.is_empty() {
        id["groups"] = json!(groups);
    }
    if application.optional_claims.iter().any(|claim| claim == "auth_time") {
        id["auth_time"] = json!(user_consent.auth_time);
    }
}
