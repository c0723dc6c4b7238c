//! The first administrator's token of a new service: created at the first start, shown once or written to a file, and only
//! then stored.
//!
//! [`FirstToken::create`] decides whether one is needed. Further tokens are created by `mailwright token`. If its file cannot be
//! written, or it cannot be printed, nothing is stored and the start fails; it can be repeated. A token is also created when
//! `--new-admin-token` asks for it or a restore suspended those of all administrators.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::{
    api::NewToken,
    cli::{
        CliError, Context,
        args::service::expand_environment,
        commands::serve::data::OpenedData,
        data_folder::{store_error, write_private},
        exposure::warn_if_unignored,
    },
    model::{
        AuditOutcome, Code, EnvironmentName,
        token::{Role, Scope, Token},
    },
    service::new_token,
    store::{AuditEvent, SqliteStore, StoredToken, Tokens as _},
};

/// An administrator's token that is not stored yet. It is stored after it was shown or written, so that a start that fails
/// before that can be repeated.
pub(super) struct FirstToken {
    environment: EnvironmentName,
    store: SqliteStore,
    recipient: String,
    file: Option<PathBuf>,
    bearer: SecretString,
    stored: StoredToken,
    event: AuditEvent,
    /// True if the service is new.
    is_first: bool,
    /// True if the administrators' tokens are suspended after a restore.
    are_suspended: bool,
}

impl FirstToken {
    /// Creates a token if the store has none, if all administrators' tokens are suspended after a restore, or if `another`
    /// is set because one was lost. A user who can start a service on its data is its administrator.
    pub(super) async fn create(
        context: &Context,
        opened: &OpenedData,
        file: Option<&Path>,
        another: bool,
    ) -> Result<Option<Self>, CliError> {
        let store = opened.store.clone();
        let tokens = store.tokens().await.map_err(store_error)?;
        let is_lasting = |token: &&Token| token.role == Role::Admin && token.revoked_at.is_none();
        let are_suspended = tokens.iter().any(|token| is_lasting(&token))
            && tokens.iter().filter(is_lasting).all(|token| token.suspended_at.is_some());
        let is_first = tokens.is_empty();
        if !is_first && !another && !are_suspended {
            return Ok(None);
        }
        let now = context.clock.now();
        let wanted = NewToken {
            name: "first-admin".to_owned(),
            role: Role::Admin,
            scope: Scope::default(),
            expires_at: None,
            replaces: None,
        };
        let random = |buffer: &mut [u8]| getrandom::fill(buffer).map_err(|error| error.to_string());
        let (mut stored, bearer) = new_token(&wanted, now, random).map_err(CliError::new)?;
        if !is_first {
            // A name that no other token has.
            stored.token.name = format!("admin-{}", stored.token.id);
        }
        let event = AuditEvent {
            at: now,
            actor: match (is_first, are_suspended) {
                (true, _) => "(first start)",
                (false, true) => "(restored)",
                (false, false) => "(start with --new-admin-token)",
            }
            .to_owned(),
            action: "token.create",
            outcome: AuditOutcome::Accepted,
            detail: json!({ "id": stored.token.id, "name": stored.token.name, "role": stored.token.role, "expiresAt": null }),
        };
        let file = file.map(|path| expand_environment(path.to_owned(), &opened.name));
        let (environment, recipient) = (opened.name.clone(), opened.identity.recipient());
        Ok(Some(Self { environment, store, recipient, file, bearer, stored, event, is_first, are_suspended }))
    }

    /// Writes the token to its file, if one is named.
    pub(super) fn write(&self, context: &Context) -> Result<(), CliError> {
        let Some(path) = &self.file else { return Ok(()) };
        write_private(path, &format!("{}\n", self.bearer.expose_secret())).map_err(|error| {
            CliError::coded(Code::Unwritable, format!("cannot write the token to `{}`: {error}", path.display()))
                .remedy("Correct `--token-file` and start again; the token was not stored.")
        })?;
        warn_if_unignored(context, path);
        Ok(())
    }

    /// Stores the token; it is accepted from then on.
    pub(super) async fn store(self) -> Result<(), CliError> {
        self.store.create_token(self.stored, self.event).await.map_err(store_error)
    }
}

/// Prints the token, and the recipient of a new service. After a restore or `--new-admin-token` the recipient is known, and not
/// printed. Fails if they cannot be shown: then the token must not be stored.
pub(super) fn print_token(context: &Context, first: &FirstToken) -> Result<(), CliError> {
    let FirstToken { environment, recipient, .. } = first;
    let shown = match &first.file {
        Some(path) => format!("  The administrator's token is in {}.", path.display()),
        None => format!(
            "  The administrator's token, shown this once:\n\n    {}\n\n  Set MAILWRIGHT_TOKEN to it, or MAILWRIGHT_TOKEN_FILE to a file that contains it.",
            first.bearer.expose_secret()
        ),
    };
    if first.are_suspended {
        return show(
            context,
            first.file.is_some(),
            &format!(
                "\nThe store was restored from a backup, and its tokens are suspended (mailwright explain MW0245).\n{shown}\n"
            ),
        );
    }
    if !first.is_first {
        let id = &first.stored.token.id;
        return show(
            context,
            first.file.is_some(),
            &format!(
                "\nAnother administrator's token was created ({id}).\n{shown}\n  Revoke the one that was lost: mailwright token list {environment}, mailwright token revoke {environment} ID\n"
            ),
        );
    }
    let text = format!(
        "\nThis is a new service.\n{shown}\n  Its recipient, for secrets/{environment}/recipients.txt:\n\n    {recipient}\n"
    );
    show(context, first.file.is_some(), &text)
}

/// Prints the tokens and recipients of several new services. Fails as [`print_token`] does.
pub(super) fn print_tokens(context: &Context, all: &[FirstToken], token_file: Option<&Path>) -> Result<(), CliError> {
    let line = |of: &dyn Fn(&FirstToken) -> String| {
        let width = all.iter().map(|first| first.environment.as_str().len()).max().unwrap_or_default();
        all.iter().map(|first| format!("    {:width$}  {}\n", first.environment, of(first))).collect::<String>()
    };
    let shown = match token_file {
        Some(path) => format!("  Their administrators' tokens are in {}.", path.display()),
        None => format!(
            "  Their administrators' tokens, shown this once:\n\n{}\n  `--token-file 'DIR/{{environment}}.token'` writes them to files instead; MAILWRIGHT_TOKEN_FILE may contain the same placeholder.",
            line(&|first| first.bearer.expose_secret().to_owned())
        ),
    };
    let text = format!(
        "\nNew services, or new tokens: {}.\n{shown}\n  Their recipients, for secrets/{{environment}}/recipients.txt:\n\n{}",
        all.len(),
        line(&|first| first.recipient.clone())
    );
    show(context, token_file.is_some(), &text)
}

/// Prints a text. If it has the token, because no file does, a failure to print it is an error.
fn show(context: &Context, is_in_file: bool, text: &str) -> Result<(), CliError> {
    if is_in_file {
        context.printer.out(text);
        return Ok(());
    }
    context.printer.try_out(text).map_err(|error| {
        CliError::coded(Code::Unwritable, format!("cannot print the administrator's token: {error}"))
            .remedy("Start again with standard output open, or with `--token-file FILE`; the token was not stored.")
    })
}
