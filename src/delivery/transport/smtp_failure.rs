//! Conversion of an [`SmtpError`] of an SMTP step into a [`Failure`]: phase, reply and class.
//!
//! [`server_failure`] is for the steps before a message (connection, greeting, TLS, login), and its failures concern the server.
//! [`message_failure`] is for the steps of a message: a refusal concerns the message or the recipient, unless the connection
//! cannot be used after it (421, or a success that is out of place). The class of a reply is in the table of [`crate::replies`].
//! An error without a reply has the class `Transient`, except a lasting TLS fault or bytes in clear after STARTTLS (`Auth`). Once
//! the final dot may have been sent, `connection` uses `Unknown` instead. [`refuses_parameters`] finds a refusal of MAIL that may
//! succeed without optional parameters. Nothing here sends a command or decides about a retry.

use crate::{delivery::failure::Failure, model::message::Class, replies, smtp::client::SmtpError};

/// Returns true if a reply to MAIL is about its parameters: a code for them (RFC 5321, 4.2.2), and no enhanced code with
/// another subject than the protocol (RFC 3463).
pub(super) fn refuses_parameters(failure: &Failure) -> bool {
    let mut words = failure.reply.split([' ', '-']);
    let code = words.next().unwrap_or_default();
    let enhanced = words.next().filter(|word| word.starts_with("5.") && word.matches('.').count() == 2);
    !failure.concerns_server
        && match enhanced {
            Some(enhanced) => enhanced.starts_with("5.5.") && code.starts_with('5'),
            None => matches!(code, "501" | "504" | "555"),
        }
}

/// Returns the failure of a step before the message.
pub(super) fn server_failure(phase: &'static str, error: SmtpError) -> Failure {
    match error {
        SmtpError::Refused(reply) => classify_reply(phase, reply.to_string()).of_server(),
        SmtpError::Tls(fault) => {
            let class = if fault.is_lasting() { Class::Auth } else { Class::Transient };
            Failure::new("tls", fault.to_string(), class).of_server()
        }
        SmtpError::Injected => Failure::new("tls", error.to_string(), Class::Auth).of_server(),
        error => Failure::new(phase, error.to_string(), Class::Transient).of_server(),
    }
}

/// Classifies a reply by the table.
fn classify_reply(phase: &'static str, reply: String) -> Failure {
    let meaning = replies::classify_smtp(phase, &reply);
    Failure {
        retry_after: meaning.wait,
        scope: meaning.scope,
        fault: meaning.fault,
        remedy: meaning.remedy,
        // A success that is out of place means that the two sides are out of step.
        ..Failure::new(phase, reply, if meaning.class == Class::Delivered { Class::Transient } else { meaning.class })
    }
}

/// Returns the failure of a step of the message.
pub(super) fn message_failure(phase: &'static str, error: SmtpError) -> Failure {
    match error {
        SmtpError::Refused(reply) => {
            // 421 closes the connection; after a success that is out of place it cannot be used any more.
            let ends = reply.code() == 421 || reply.is_success() || reply.is_intermediate();
            let failure = classify_reply(phase, reply.to_string());
            if ends { failure.of_server() } else { failure }
        }
        error => Failure::new(phase, error.to_string(), Class::Transient).of_server(),
    }
}
