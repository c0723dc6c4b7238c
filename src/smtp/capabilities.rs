//! Extensions that a mail server offers in its reply to EHLO (RFC 5321, section 4.1.1.1).
//!
//! [`Capabilities::from_reply`] parses the reply, with keywords in any case. A server that accepted only HELO offers nothing, and
//! its refusal of EHLO is kept. Lines that cannot be parsed are skipped. Nothing here decides if an extension is needed.

use super::reply::Reply;

/// The extensions that a server offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The name that the server states.
    domain: String,
    /// Keywords in upper case, with their parameters.
    keywords: Vec<(String, Vec<String>)>,
    /// Login mechanisms in upper case, each once.
    mechanisms: Vec<String>,
    /// The reply to EHLO, where only HELO was accepted.
    refused: Option<Reply>,
}

impl Capabilities {
    /// Parses the reply to EHLO.
    pub fn from_reply(reply: &Reply) -> Self {
        let mut lines = reply.lines();
        let domain = lines.next().and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned();
        let mut found = Self { domain, ..Self::default() };
        for line in lines {
            // Servers wrote `AUTH=PLAIN LOGIN` before RFC 2554; some write other keywords in the same way.
            let (keyword, first) = match line.split_once(|c: char| c.is_whitespace() || c == '=') {
                Some((keyword, rest)) => (keyword, rest),
                None => (line, ""),
            };
            let keyword = keyword.to_ascii_uppercase();
            let parameters: Vec<String> = first.split_whitespace().map(str::to_owned).collect();
            if keyword.is_empty() {
                continue;
            }
            if keyword == "AUTH" {
                for mechanism in parameters.iter().map(|name| name.trim_start_matches('=').to_ascii_uppercase()) {
                    if !mechanism.is_empty() && !found.mechanisms.contains(&mechanism) {
                        found.mechanisms.push(mechanism);
                    }
                }
            }
            found.keywords.push((keyword, parameters));
        }
        found
    }

    /// Returns the extensions of a server that accepts HELO and refuses EHLO: none.
    pub(super) fn from_helo(reply: &Reply, refused: Reply) -> Self {
        Self {
            refused: Some(refused),
            ..Self { keywords: Vec::new(), mechanisms: Vec::new(), ..Self::from_reply(reply) }
        }
    }

    /// Returns the name that the server states.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns true if the server offers an extension; its keyword is given in upper case.
    pub fn offers(&self, keyword: &str) -> bool {
        self.keywords.iter().any(|(own, _)| own == keyword)
    }

    /// Returns the login mechanisms, in upper case.
    pub fn mechanisms(&self) -> &[String] {
        &self.mechanisms
    }

    /// Returns the size of a message that the server accepts: `Some(0)` for no limit, none if it does not state it.
    pub fn size(&self) -> Option<u64> {
        let (_, parameters) = self.keywords.iter().find(|(own, _)| own == "SIZE")?;
        // A number that does not fit means no limit.
        Some(parameters.first().and_then(|size| size.parse().ok()).unwrap_or(0))
    }

    /// Returns the reply to EHLO if the server accepted only HELO, and so offers nothing.
    pub fn refused(&self) -> Option<&Reply> {
        self.refused.as_ref()
    }
}
