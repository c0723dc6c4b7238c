//! A mail from the sender to itself, where that is asked for.

use crate::{
    entra::graph::{Graph, GraphError, quoted},
    model::{
        finding::{Finding, Severity},
        finding_id::Id,
    },
    verify::{graph::directory_access::reason, remedy::Remedies},
};

/// A probe was asked for, and nothing was sent.
pub(super) fn no_probe(why: &str, decides: &str) -> Finding {
    let finding = Finding::unknown(Id::GraphProbe, "", format!("no mail was sent as a probe: {why}"));
    // That was asked for, and what it would have told is not known; it keeps no mail from leaving.
    Finding { severity: Severity::Warning, ..finding }.expected("a mail that is taken").remedy([decides])
}

/// A mail to the sender itself.
pub(super) async fn probe(graph: &Graph, from: &str, remedies: &Remedies<'_>) -> Finding {
    let message = serde_json::json!({
        "message": {
            "subject": "Mailwright: a test of this mailbox",
            "body": { "contentType": "Text", "content": "Somebody ran `mailwright verify --probe`. Nothing is to be done." },
            "toRecipients": [{ "emailAddress": { "address": from } }],
        },
        "saveToSentItems": false,
    });
    match graph.post_once(&format!("/users/{}/sendMail", quoted(from)), &message).await {
        Ok(202) => Finding::pass(
            Id::GraphProbe,
            "/from/address",
            format!("a mail from {from} to itself was taken (HTTP 202; delivery follows)"),
        ),
        Ok(status) => Finding::unknown(
            Id::GraphProbe,
            "/from/address",
            "Graph answered something else than that it took the mail",
        )
        .seen(format!("HTTP {status}"))
        .expected("HTTP 202")
        .remedy([format!("Look whether the mail arrived at {from}.")]),
        Err(error @ GraphError::Refused { .. }) if !error.is_undecided() => {
            Finding::fail(Id::GraphProbe, "/from/address", format!("Graph does not send as {from}"))
                .seen(reason(&error))
                .expected("HTTP 202")
                .remedy(remedies.ask_exchange(from).into_iter().take(3))
        }
        Err(error) => Finding::unknown(Id::GraphProbe, "/from/address", "whether the mail was taken is not known")
            .seen(reason(&error))
            .expected("HTTP 202")
            .remedy([format!("Look whether the mail arrived at {from}.")]),
    }
}
