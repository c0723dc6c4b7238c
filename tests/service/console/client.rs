//! [`Client`]: a browser without scripts, which keeps cookies as browsers do.

use std::collections::BTreeMap;

use crate::support::repository::{HttpResponse, TestRepository, send_request};

/// A browser at a service.
pub(super) struct Client {
    address: String,
    /// The path prefix of the environment.
    base: String,
    pub(super) cookies: BTreeMap<String, String>,
    /// The cookies that bind requests for passkeys to the browser: every page with the form for the sign-in sets one.
    pub(super) bindings: BTreeMap<String, String>,
}

impl Client {
    /// A browser without a session.
    pub(super) fn new(repo: &TestRepository) -> Self {
        Self::at(repo.address(), "")
    }

    /// A browser at an environment of a process that serves several.
    pub(super) fn at(address: &str, base: &str) -> Self {
        Self {
            address: address.trim_start_matches("http://").to_owned(),
            base: base.to_owned(),
            cookies: BTreeMap::new(),
            bindings: BTreeMap::new(),
        }
    }

    /// A browser that has signed in with the administrator's token.
    pub(super) fn signed_in(repo: &TestRepository) -> Self {
        let mut client = Self::new(repo);
        client.sign_in(repo.token());
        client
    }

    pub(super) fn sign_in(&mut self, token: &str) {
        let answer = self.post("/console/sign-in", &[("token", token), ("next", "/console")]);
        assert_eq!(answer.status, 303, "{}", answer.body);
    }

    pub(super) fn get(&mut self, path: &str) -> HttpResponse {
        self.send("GET", path, &[], "")
    }

    /// Returns a page, which must be there.
    pub(super) fn page(&mut self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}\n{}", answer.head, answer.body);
        answer.body
    }

    pub(super) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> HttpResponse {
        self.post_with(path, fields, &[("Sec-Fetch-Site", "same-origin")])
    }

    pub(super) fn post_with(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> HttpResponse {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
        all.extend(headers);
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let body = fields.join("&");
        self.send("POST", path, &all, if body.is_empty() { "x=" } else { &body })
    }

    pub(super) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> HttpResponse {
        let cookies: Vec<String> =
            self.cookies.iter().chain(&self.bindings).map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut all = headers.to_vec();
        // The name under which a browser has passkeys without TLS.
        if self.address.starts_with("localhost") && !headers.iter().any(|(name, _)| *name == "Host") {
            all.push(("Host", &self.address));
        }
        if !cookies.is_empty() {
            all.push(("Cookie", &cookies));
        }
        let answer = send_request(&self.address, method, &format!("{}{path}", self.base), &all, body.as_bytes());
        for line in answer.head.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if !name.eq_ignore_ascii_case("set-cookie") {
                continue;
            }
            let (name, rest) = value.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            // What a browser needs for the prefix `__Host-`.
            for wanted in ["; Path=/", "; Secure", "; HttpOnly"] {
                assert!(rest.contains(wanted) && name.starts_with("__Host-"), "{line}");
            }
            assert!(["Lax", "Strict"].iter().any(|site| rest.contains(&format!("; SameSite={site}"))), "{line}");
            let kept = if name.contains(".passkey") { &mut self.bindings } else { &mut self.cookies };
            if rest.contains("Max-Age=0") {
                kept.remove(name);
            } else {
                kept.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
