//! The probe: a mail from the sender to itself, if the options request it.
//!
//! [`probe`] is the only check that sends a mail through Graph. A refusal is an error. A lost answer, a busy Graph, or a status
//! other than 202 is `unknown`, because the mail may have been sent; it is not sent again.

use crate::{
    entra::graph::{Graph, GraphError, percent_encode},
    model::{Severity, finding::Finding, finding_id::FindingId},
    verify::{graph::directory_access::error_code, remedy::Remedies},
};

/// Returns the finding for a probe that was not sent.
pub(super) fn no_probe(why: &str, decides: &str) -> Finding {
    let finding = Finding::unknown(FindingId::GraphProbe, "", format!("no mail was sent as a probe: {why}"));
    // The result of the probe is not known, and mail leaves without it.
    Finding { severity: Severity::Warning, ..finding }.expected("a mail that is accepted").remedy([decides])
}

/// Sends a mail to the sender itself.
pub(super) async fn probe(graph: &Graph, from: &str, remedies: &Remedies<'_>) -> Finding {
    let message = serde_json::json!({
        "message": {
            "subject": "Mailwright: a test of this mailbox",
            "body": { "contentType": "Text", "content": "An operator ran `mailwright verify --probe`. No action is required." },
            "toRecipients": [{ "emailAddress": { "address": from } }],
        },
        "saveToSentItems": false,
    });
    match graph.post_once(&format!("/users/{}/sendMail", percent_encode(from)), &message).await {
        Ok(202) => Finding::pass(
            FindingId::GraphProbe,
            "/from/address",
            format!("a mail from {from} to itself was accepted (HTTP 202; delivery follows)"),
        ),
        Ok(status) => {
            Finding::unknown(FindingId::GraphProbe, "/from/address", "Graph replied with another status than 202")
                .seen(format!("HTTP {status}"))
                .expected("HTTP 202")
                .remedy([format!("Check if the mail arrived at {from}.")])
        }
        Err(error @ GraphError::Refused { .. }) if !error.is_undecided() => {
            Finding::fail(FindingId::GraphProbe, "/from/address", format!("Graph does not send as {from}"))
                .seen(error_code(&error))
                .expected("HTTP 202")
                .remedy(remedies.ask_exchange(from).into_iter().take(3))
        }
        Err(error) => {
            Finding::unknown(FindingId::GraphProbe, "/from/address", "it is not known whether the mail was accepted")
                .seen(error_code(&error))
                .expected("HTTP 202")
                .remedy([format!("Check if the mail arrived at {from}.")])
        }
    }
}
