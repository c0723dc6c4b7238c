//! Removal of the secrets of a request from its reply, before anything reads it.
//!
//! [`SentSecrets`] collects what a request contains and redacts the reply. A proxy, or a host that an attacker controls, can
//! repeat what it received: in a text, a code or an id. Replies are kept with messages and findings, where callers read them
//! who must not know the secret. A secret is found in clear and form-encoded; other encodings, and parts of a secret, are not.

use reqwest::Url;
use serde_json::Value;
use zeroize::Zeroizing;

/// The fields of a form that hold secrets.
const SECRET_FIELDS: [&str; 4] = ["client_secret", "client_assertion", "device_code", "refresh_token"];
/// The shortest secret that is removed, in bytes. Shorter ones occur in many texts by chance.
const SHORTEST: usize = 4;
/// Replaces a secret.
const REPLACEMENT: &str = "…";

/// The secrets of a request.
#[derive(Default)]
pub(super) struct SentSecrets(Vec<Zeroizing<String>>);

impl SentSecrets {
    /// Adds a bearer token.
    pub(super) fn add_bearer(&mut self, token: &str) {
        self.add(token);
    }

    /// Adds the secrets of an encoded form.
    pub(super) fn add_form(&mut self, form: &str) {
        for field in form.split('&') {
            let Some((key, written)) = field.split_once('=') else { continue };
            if !SECRET_FIELDS.contains(&key) {
                continue;
            }
            let query = Zeroizing::new(format!("http://form/?{field}"));
            if let Ok(url) = Url::parse(&query) {
                url.query_pairs().for_each(|(_, value)| self.add(&value));
            }
            self.add(written);
        }
    }

    fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST && !self.0.iter().any(|own| own.as_str() == secret) {
            self.0.push(Zeroizing::new(secret.to_owned()));
        }
    }

    /// Replaces the secrets in a text.
    pub(super) fn redact_text(&self, text: &mut String) {
        for secret in &self.0 {
            // A URL's host is written in lower case. Both texts keep their offsets.
            let (folded, form) = (text.to_ascii_lowercase(), Zeroizing::new(secret.to_ascii_lowercase()));
            let (mut redacted, mut from) = (String::new(), 0);
            for (at, found) in folded.match_indices(form.as_str()) {
                redacted.push_str(&text[from..at]);
                redacted.push_str(REPLACEMENT);
                from = at + found.len();
            }
            if from > 0 {
                redacted.push_str(&text[from..]);
                *text = redacted;
            }
        }
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
            "error": { "code": "…", "message": "Bearer …, …" },
            "list": ["client_secret=…&x", "abcdef abc", 7, "https://…/"],
        });
        assert_eq!(reply, clean);
    }
}
