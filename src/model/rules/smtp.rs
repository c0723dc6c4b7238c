//! Rules for the SMTP settings of a profile: host, port, encryption, login.
//!
//! They check the form and the combination of values; nothing connects. [`crate::verify`] tries the server.

use super::{Violations, graph};
use crate::model::{
    Code, Encryption,
    host::{is_host, is_loopback},
    provider::Smtp,
};

/// Checks the SMTP settings of a profile.
pub(super) fn check(smtp: &Smtp, found: &mut Violations<'_>) {
    if !is_host(&smtp.host) {
        found.add(
            "/provider/smtp/host",
            Code::InvalidValue,
            "this is not a host name or an IP address".to_owned(),
            "Write the name alone: no scheme, no port, no spaces.",
        );
    }
    if smtp.port == 0 {
        found.add(
            "/provider/smtp/port",
            Code::InvalidValue,
            "port 0 cannot be connected to".to_owned(),
            "Use 587 with starttls, 465 with tls.",
        );
    }
    if let Some(oauth) = &smtp.oauth {
        let pointer = "/provider/smtp/oauth";
        graph::check_registration(pointer, &oauth.cloud, &oauth.tenant, &oauth.client, found);
        graph::check_token_file(pointer, &oauth.credential, found);
        if smtp.password.is_some() || smtp.username.is_none() {
            found.add(
                pointer,
                Code::LoginIncomplete,
                "a login by token goes with a user name and without a password".to_owned(),
                "Add `username`, the mailbox that sends, and remove `password`.",
            );
        }
        if smtp.encryption == Encryption::None && !is_loopback(&smtp.host) {
            found.add(
                "/provider/smtp/encryption",
                Code::PasswordInClear,
                format!("the token would travel to `{}` in clear", smtp.host),
                "Use `encryption: starttls` or `tls`; in clear is for loopback addresses only.",
            );
        }
    }
    match (&smtp.username, &smtp.password) {
        _ if smtp.oauth.is_some() => {}
        (Some(_), None) => found.add(
            "/provider/smtp/username",
            Code::LoginIncomplete,
            "a user name without a password".to_owned(),
            "Add `password: { secret: NAME/KEY }` (or `oauth`), or remove the user name.",
        ),
        (None, Some(_)) => found.add(
            "/provider/smtp/password",
            Code::LoginIncomplete,
            "a password without a user name".to_owned(),
            "Add `username`, or remove the password.",
        ),
        _ => {}
    }
    if smtp.username.as_ref().is_some_and(|user| user.is_empty() || user.chars().any(char::is_control)) {
        found.add(
            "/provider/smtp/username",
            Code::InvalidValue,
            "the user name is empty or has control characters".to_owned(),
            "Correct it.",
        );
    }
    if smtp.password.is_some() && smtp.encryption == Encryption::None && !is_loopback(&smtp.host) {
        found.add(
            "/provider/smtp/encryption",
            Code::PasswordInClear,
            format!("the password would travel to `{}` in clear", smtp.host),
            "Use `encryption: starttls` or `tls`; in clear is for loopback addresses only.",
        );
    }
    if (smtp.encryption == Encryption::Tls && smtp.port == 587)
        || (smtp.encryption == Encryption::Starttls && smtp.port == 465)
    {
        found.add(
            "/provider/smtp/port",
            Code::UnusualPort,
            format!("port {} is unusual for this `encryption`", smtp.port),
            "Submission is `starttls` on 587 (RFC 6409) or `tls` on 465 (RFC 8314).",
        );
    }
}
