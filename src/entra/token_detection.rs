//! Detection of tokens that only the program of a signed-in user may have: access tokens, and refresh tokens of Entra.
//!
//! [`has_access_or_refresh_token`] looks for them in any text, by shape and claims. An access token in another form than a JWT,
//! as personal accounts have, is not recognised. Nothing here verifies a signature or returns a part of what was found.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

/// Ids and hosts of Microsoft Graph in the national clouds, as audiences name them.
const GRAPH: [&str; 6] = [
    "00000003-0000-0000-c000-000000000000",
    "graph.microsoft.com",
    "graph.microsoft.us",
    "dod-graph.microsoft.us",
    "microsoftgraph.chinacloudapi.cn",
    "graph.microsoft.de",
];
/// Claims that only access tokens have.
pub const ACCESS_TOKEN_CLAIMS: [&str; 3] = ["scp", "appid", "idtyp"];
/// The length from which a text in the form of a refresh token is one. Those of Entra have several hundred characters.
const REFRESH_TOKEN: usize = 60;
/// The largest part of a text that is decoded as claims.
const CLAIMS: usize = 64 * 1024;

/// Returns true if a text has an access token, or something in the form of a refresh token.
pub fn has_access_or_refresh_token(text: &[u8]) -> bool {
    text.split(|byte| !is_token_byte(*byte)).any(|word| is_refresh_token(word) || is_access_token(word))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Returns true for the form of Entra's refresh tokens and authorization codes: `0.A...`, `1.A...`.
fn is_refresh_token(word: &[u8]) -> bool {
    word.len() >= REFRESH_TOKEN && (word.starts_with(b"0.A") || word.starts_with(b"1.A"))
}

/// Returns true for a JWT that is an access token, whatever it is for, and for any JWT for Graph.
fn is_access_token(word: &[u8]) -> bool {
    // Other words may be joined to it, as in `token.eyJ...`.
    word.split(|byte| *byte == b'.').filter(|part| part.starts_with(b"eyJ") && part.len() <= CLAIMS).any(|part| {
        let json = BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let claims = json.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
        claims.is_some_and(|claims| has_claims_of_access_token(&claims))
    })
}

fn has_claims_of_access_token(claims: &Value) -> bool {
    let audiences = match &claims["aud"] {
        Value::Array(audiences) => audiences.iter().collect(),
        audience => vec![audience],
    };
    let is_graph = |audience: &&Value| {
        let audience = audience.as_str().unwrap_or_default().to_ascii_lowercase();
        GRAPH.contains(&audience.trim_start_matches("https://").trim_end_matches('/'))
    };
    audiences.iter().any(is_graph) || ACCESS_TOKEN_CLAIMS.iter().any(|claim| !claims[*claim].is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn jwt(claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2lnbmF0dXJl", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(claims))
    }

    fn is_found(text: &str) -> bool {
        has_access_or_refresh_token(text.as_bytes())
    }

    #[test]
    fn access_and_refresh_tokens_are_found_wherever_they_are() {
        for audience in [
            json!("https://graph.microsoft.com"),
            json!("https://graph.microsoft.com/"),
            json!("00000003-0000-0000-C000-000000000000"),
            json!("https://dod-graph.microsoft.us"),
            json!("https://microsoftgraph.chinacloudapi.cn"),
            json!(["x", "https://graph.microsoft.us"]),
        ] {
            let token = jwt(&json!({ "aud": audience }));
            for text in
                [token.clone(), format!("Bearer {token}"), json!({ "a": token }).to_string(), format!("x.{token}")]
            {
                assert!(is_found(&text), "{audience}: {text}");
            }
        }
        assert!(is_found(&jwt(&json!({ "aud": "https://outlook.office.com", "scp": "Mail.Send" }))));
        let refresh = format!("1.A{}", "Qx-_.".repeat(30));
        assert!(is_found(&refresh) && is_found(&format!("refresh_token={refresh}&x=1")));
        assert!(is_found(&format!("\"0.A{}\"", "b".repeat(100))));
    }

    #[test]
    fn id_tokens_and_common_texts_are_not_refused() {
        let id = json!({ "aud": "0c0ffee0-0000-4000-8000-0000000000e1", "oid": "x", "roles": ["Mail.Admin"] });
        assert!(!is_found(&jwt(&id)));
        for text in ["", "1.Abc", "0.A", "eyJ.eyJ.x", "HTTP 202: accepted", "sent 1.A and 0.A", "10.1.1.A"] {
            assert!(!is_found(text), "{text}");
        }
    }
}
