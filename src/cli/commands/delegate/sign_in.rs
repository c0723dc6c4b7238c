//! Sign-in of the person at this desktop: the browser and a loopback address (authorization code with PKCE), or a device code.
//!
//! [`UserSignIn::sign_in`] returns the tokens, which stay in memory and end with the process: no refresh token is requested. The
//! account is checked before a message is read: the ID token must belong to this sign-in and this application, and the access
//! token to the same account. An answer with another state than that of the sign-in is ignored. Nothing here sends mail.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;

use crate::{
    cli::{CliError, Printer, variables},
    delivery::transport::UserMailbox,
    entra::{
        Endpoints, Http,
        aadsts::Cause,
        authorization_code::{AuthorizationRequest, UserTokens, exchange_user},
        claims::Claims,
        sign_in::{SignIn, SignInError},
    },
    model::{Code, sender::PersonId},
    sync::BlockingPool,
    text::{printable, shortened},
};

/// The time in which the person signs in with the browser.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(300);
/// The time in which a request to the loopback address arrives.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest request to the loopback address that is read. A code has about 1,500 bytes.
const REQUEST_LIMIT: usize = 32 * 1024;
/// The largest number of connections to the loopback address in one sign-in.
const CONNECTIONS: usize = 50;

/// The way to sign in, for one application.
pub(super) struct UserSignIn<'a> {
    pub(super) printer: &'a Printer,
    pub(super) http: Http,
    pub(super) endpoints: Endpoints,
    pub(super) tenant: &'a str,
    pub(super) application: &'a str,
    /// The sign-in name that is expected.
    pub(super) user: Option<&'a str>,
    pub(super) by_device_code: bool,
    pub(super) opens_browser: bool,
    pub(super) pool: BlockingPool,
}

/// A signed-in person.
pub(super) struct SignedIn {
    pub(super) tokens: UserTokens,
    pub(super) person: PersonId,
    pub(super) name: String,
    /// The address of the person's mailbox.
    pub(super) address: String,
    /// The delegated permissions of the access token.
    pub(super) permissions: BTreeSet<String>,
}

impl UserSignIn<'_> {
    /// Signs in, and checks the account. `permissions` are those of Graph that the token must have; `claims` answers a challenge.
    pub(super) async fn sign_in(&self, permissions: &[&str], claims: Option<&str>) -> Result<SignedIn, CliError> {
        let graph = self.endpoints.graph.as_str().trim_end_matches('/');
        let scopes: Vec<String> = ["openid", "profile"]
            .iter()
            .map(|scope| (*scope).to_owned())
            .chain(permissions.iter().map(|permission| format!("{graph}/{permission}")))
            .collect();
        let (tokens, nonce) = if self.by_device_code {
            (self.by_device_code(&scopes).await?, None)
        } else {
            let (tokens, nonce) = self.by_browser(&scopes, claims).await?;
            (tokens, Some(nonce))
        };
        self.check_account(tokens, nonce.as_deref(), permissions).await
    }

    /// Checks that the tokens are for this application and for one account, and that they have what was asked for.
    async fn check_account(
        &self,
        tokens: UserTokens,
        nonce: Option<&str>,
        permissions: &[&str],
    ) -> Result<SignedIn, CliError> {
        let claims = Claims::read(&tokens.id).ok_or_else(|| failed("the ID token cannot be read".to_owned()))?;
        if !claims.aud.eq_ignore_ascii_case(self.application) {
            return Err(failed("the ID token is for another application".to_owned()));
        }
        if nonce.is_some_and(|nonce| nonce != claims.nonce) {
            return Err(failed("the ID token belongs to another sign-in".to_owned()));
        }
        let uuid = |text: &str| text.parse::<Uuid>().ok();
        let (Some(tenant), Some(object)) = (uuid(&claims.tid), uuid(&claims.oid)) else {
            return Err(failed("the ID token does not name the account (`tid`, `oid`)".to_owned()));
        };
        // A sign-in with fewer scopes than requested succeeds.
        let granted: BTreeSet<String> = Claims::read(&tokens.access)
            .map(|claims| claims.permissions().map(str::to_owned).collect())
            .unwrap_or_default();
        let missing: Vec<&str> =
            permissions.iter().copied().filter(|permission| !granted.contains(*permission)).collect();
        if !granted.is_empty() && !missing.is_empty() {
            return Err(self.consent_missing(&format!("the token has no {}", missing.join(", "))));
        }
        let mailbox = UserMailbox {
            http: &self.http,
            pool: &self.pool,
            endpoints: &self.endpoints,
            token: &tokens.access,
            request_id: Uuid::now_v7().to_string(),
        };
        let found = mailbox.me().await;
        let (id, address) =
            found.map_err(|failure| failed(format!("Graph does not name the account: {}", failure.reply)))?;
        if uuid(&id) != Some(object) {
            return Err(failed("the access token belongs to another account than the ID token".to_owned()));
        }
        let is_wanted =
            |user: &str| [&address, &claims.preferred_username].iter().any(|own| own.eq_ignore_ascii_case(user));
        if let Some(user) = self.user.filter(|user| !is_wanted(user)) {
            return Err(failed(format!("signed in as {address}, and not as {user}"))
                .remedy(format!("Sign in again, and choose {user}.")));
        }
        let name = if claims.name.is_empty() { claims.preferred_username } else { claims.name };
        Ok(SignedIn { tokens, person: PersonId { tenant, object }, name, address, permissions: granted })
    }

    async fn by_device_code(&self, scopes: &[String]) -> Result<UserTokens, CliError> {
        let sign_in = SignIn::new(self.http.clone(), self.endpoints.clone());
        let (tenant, application) = (self.tenant, self.application);
        let begun = sign_in.device_code(tenant, application, &scopes.join(" ")).await;
        let begun = begun.map_err(|error| self.refused(&error))?;
        self.printer.note(&format!(
            "Open {} and enter the code {} to sign in to {tenant} for the application {application}. Enter no code that someone else gave you.",
            begun.verification_uri().as_str(),
            begun.user_code().secret()
        ));
        sign_in.device_user_tokens(tenant, application, &begun).await.map_err(|error| self.refused(&error))
    }

    async fn by_browser(&self, scopes: &[String], claims: Option<&str>) -> Result<(UserTokens, String), CliError> {
        let cannot_listen = |error: std::io::Error| failed(format!("cannot listen on this machine: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot_listen)?;
        let port = listener.local_addr().map_err(cannot_listen)?.port();
        let redirect = Url::parse(&format!("http://localhost:{port}/"));
        let redirect = redirect.map_err(|error| failed(format!("the loopback address is malformed: {error}")))?;
        let (state, nonce, verifier) = (random()?, random()?, SecretString::from(random()?));
        let request = AuthorizationRequest { client: self.application, redirect: &redirect, verifier: &verifier };
        let sign_in = SignIn::new(self.http.clone(), self.endpoints.clone());
        let (authorize, token) = sign_in.user_endpoints(self.tenant).map_err(|error| self.refused(&error))?;
        let claims = capabilities(claims);
        let mut more = vec![("nonce", nonce.as_str()), ("response_mode", "query"), ("claims", claims.as_str())];
        match self.user {
            Some(user) => more.push(("login_hint", user)),
            None => more.push(("prompt", "select_account")),
        }
        let address = request.url(&authorize, scopes, &state, &more);
        self.printer.note(&format!("Sign in with the browser: {address}"));
        if self.opens_browser {
            open_browser(self.printer, &address);
        }
        let wait = tokio::time::timeout(SIGN_IN_TIMEOUT, wait_for_code(&listener, &state)).await;
        let code = wait.map_err(|_| failed("the sign-in was not completed within 5 minutes".to_owned()))?;
        let code = code.map_err(|error| self.answered(&error))?;
        let tokens = exchange_user(&self.http, &token, &request, &code, &[("claims", &claims)]).await;
        Ok((tokens.map_err(|error| self.refused(&error))?, nonce))
    }

    /// Returns the error for an answer of the sign-in page.
    fn answered(&self, error: &AnswerError) -> CliError {
        match error {
            AnswerError::Io(reason) => failed(reason.clone()),
            AnswerError::Refused { error, description } => {
                let description =
                    shortened(&printable(description.lines().next().unwrap_or_default()), 300).into_owned();
                let reason = format!("{}: {description}", printable(error));
                let is_consent = error == "consent_required" || description.contains("AADSTS65001");
                if is_consent { self.consent_missing(&reason) } else { failed(reason) }
            }
        }
    }

    /// Returns the error for a refusal of Entra.
    fn refused(&self, error: &SignInError) -> CliError {
        match error {
            SignInError::Refused(refusal) if refusal.cause() == Cause::Consent => {
                self.consent_missing(&refusal.to_string())
            }
            _ => failed(error.to_string()),
        }
    }

    fn consent_missing(&self, reason: &str) -> CliError {
        failed(format!("consent is missing: {reason}")).remedy(format!(
            "An administrator of {} consents at: {}",
            self.tenant,
            self.endpoints.admin_consent(self.tenant, self.application)
        ))
    }
}

/// Returns the error of a sign-in.
fn failed(reason: String) -> CliError {
    CliError::coded(Code::UserSignInFailed, format!("cannot sign in the user: {reason}"))
        .remedy("Sign in again. Messages that wait are not changed.")
}

/// Returns 256 random bits as text.
fn random() -> Result<String, CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| CliError::new(format!("cannot get random numbers: {error}")))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns the claims to request: those of a challenge, and that this program answers challenges.
fn capabilities(challenge: Option<&str>) -> String {
    let mut claims: Map<String, Value> = challenge.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    // A challenge comes from outside: this can be something else than an object.
    let access_token = claims.entry("access_token").or_insert(Value::Null);
    if !access_token.is_object() {
        *access_token = json!({});
    }
    access_token["xms_cc"] = json!({ "values": ["cp1"] });
    Value::Object(claims).to_string()
}

/// Opens the address with the program of the desktop. If that fails, the address that was printed is there.
fn open_browser(printer: &Printer, address: &Url) {
    let given = variables::read(variables::BROWSER);
    let program =
        given.unwrap_or_else(|| if cfg!(target_os = "macos") { "open".to_owned() } else { "xdg-open".to_owned() });
    let mut command = std::process::Command::new(&program);
    let quiet = std::process::Stdio::null;
    let started = command.arg(address.as_str()).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    if let Err(error) = started {
        printer.note(&format!("The browser cannot be opened (`{program}`: {error}); open the address above."));
    }
}

/// The reason why the loopback address got no code.
enum AnswerError {
    Io(String),
    Refused { error: String, description: String },
}

/// Waits for the answer of the sign-in page, and returns its code. Other requests to the address are answered and ignored.
async fn wait_for_code(listener: &TcpListener, state: &str) -> Result<String, AnswerError> {
    for _ in 0..CONNECTIONS {
        let (mut stream, _) =
            listener.accept().await.map_err(|error| AnswerError::Io(format!("cannot read the answer: {error}")))?;
        let Some(query) = read_query(&mut stream).await else {
            answer(&mut stream, "404 Not Found", "There is nothing here.").await;
            continue;
        };
        let parameter = |name: &str| query.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        // An answer to another sign-in, or one that was forged.
        if parameter("state") != Some(state) {
            answer(&mut stream, "400 Bad Request", "This is not the answer to the sign-in that was begun.").await;
            continue;
        }
        if let Some(error) = parameter("error") {
            answer(&mut stream, "200 OK", "The sign-in failed. The program says why. You can close this page.").await;
            let description = parameter("error_description").unwrap_or_default().to_owned();
            return Err(AnswerError::Refused { error: error.to_owned(), description });
        }
        if let Some(code) = parameter("code").filter(|code| !code.is_empty()) {
            answer(&mut stream, "200 OK", "Signed in. You can close this page.").await;
            return Ok(code.to_owned());
        }
        answer(&mut stream, "400 Bad Request", "The answer has no code.").await;
    }
    Err(AnswerError::Io("too many requests came to the loopback address".to_owned()))
}

/// Reads the query of a request for the address; none if it is another request.
async fn read_query(stream: &mut TcpStream) -> Option<Vec<(String, String)>> {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") && bytes.len() < REQUEST_LIMIT {
            let mut part = [0; 4096];
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(&part[..count]),
            }
        }
    };
    tokio::time::timeout(REQUEST_TIMEOUT, read).await.ok()?;
    let head = String::from_utf8(bytes).ok()?;
    let target = head.lines().next()?.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    let url = Url::parse("http://localhost/").ok()?.join(&target).ok()?;
    (url.path() == "/" && url.query().is_some()).then(|| url.query_pairs().into_owned().collect())
}

async fn answer(stream: &mut TcpStream, status: &str, text: &str) {
    let body = format!("<!DOCTYPE html><meta charset=\"utf-8\"><title>Mailwright</title><p>{text}</p>");
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'\r\nConnection: close\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(format!("{head}{body}").as_bytes()).await);
    drop(stream.shutdown().await);
}
