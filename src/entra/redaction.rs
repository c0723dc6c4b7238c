//! Removal of the secrets of a request from its reply, before anything reads it.
//!
//! [`SentSecrets`] collects what a request contains and redacts the reply. A proxy, or a host that an attacker controls, can repeat
//! what it received: in a text, a code or an id. Replies are kept with messages and findings, where callers read them who must not
//! know the secret. The encodings in which it finds a secret are those of [`Redaction`]; in another one it stays. Keys of a
//! document are not changed.

use reqwest::Url;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::text::redaction::Redaction;

/// The fields of a form that hold secrets.
const SECRET_FIELDS: [&str; 6] =
    ["client_secret", "client_assertion", "code", "code_verifier", "device_code", "refresh_token"];

/// The secrets of a request.
#[derive(Default)]
pub(super) struct SentSecrets(Redaction);

impl SentSecrets {
    /// Adds a bearer token.
    pub(super) fn add_bearer(&mut self, token: &str) {
        self.0.add(token);
    }

    /// Adds the secrets of an encoded form.
    pub(super) fn add_form(&mut self, form: &str) {
        for field in form.split('&') {
            let Some((key, _)) = field.split_once('=') else { continue };
            if !SECRET_FIELDS.contains(&key) {
                continue;
            }
            let query = Zeroizing::new(format!("http://form/?{field}"));
            if let Ok(url) = Url::parse(&query) {
                url.query_pairs().for_each(|(_, value)| self.0.add(&value));
            }
        }
    }

    /// Replaces the secrets in a text.
    pub(super) fn redact_text(&self, text: &mut String) {
        self.0.apply_to(text);
    }

    /// Replaces the secrets in all texts of a document.
    pub(super) fn redact(&self, document: &mut Value) {
        match document {
            Value::String(text) => self.redact_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact(item)),
            Value::Object(map) => map.values_mut().for_each(|value| self.redact(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_sent_is_in_no_text_of_the_reply() {
        let mut secrets = SentSecrets::default();
        secrets.add_bearer("header.claims.signature");
        secrets.add_form("client_id=app&client_secret=s3cr%2Bt+%2F&scope=abcdef&client_assertion=abc");
        let mut reply = json!({
            "error": { "code": "header.claims.signature", "message": "Bearer header.claims.signature, s3cr+t /" },
            "list": ["client_secret=s3cr%2Bt+%2F&x", "abcdef abc", 7, "https://HEADER.claims.Signature/"],
        });
        secrets.redact(&mut reply);
        let clean = json!({
            "error": { "code": "…", "message": "Bearer …, … …" },
            "list": ["client_secret=…&x", "abcdef abc", 7, "https://…/"],
        });
        assert_eq!(reply, clean);
        let mut encoded = json!(["czNjcit0IC8=", "s3cr%2Bt%20%2f", "733363722b74202F", "s3cr\\u002bt \\/"]);
        secrets.redact(&mut encoded);
        let shown = encoded.to_string();
        assert!(encoded.as_array().unwrap().iter().all(|text| text.as_str().unwrap().contains('…')), "{shown}");
        assert!(!shown.to_lowercase().contains("s3cr") && !shown.contains("7333"), "{shown}");
    }
}
