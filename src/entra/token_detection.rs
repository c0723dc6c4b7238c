//! Detection of tokens that only the program of a signed-in user may have: access tokens, and refresh tokens of Entra.
//!
//! [`has_access_or_refresh_token`] looks for them in any text, by shape, header and claims, also where the text is JSON whose
//! strings have escaped characters. An access token in another form than a JWT, as personal accounts have, is not recognised.
//! Nothing here verifies a signature or returns a part of what was found.
//!
//! Sources: RFC 9068 (`typ` of access tokens); Microsoft's pages "Access token claims reference" and "ID token claims reference":
//! `roles` are in both, the claims of [`ACCESS_TOKEN_CLAIMS`] in access tokens only.

use std::borrow::Cow;

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
/// Claims that only access tokens have: of users (`scp`), of version 1 (`appid`, `appidacr`) and of version 2 (`azpacr`), which
/// those of applications have as well.
pub const ACCESS_TOKEN_CLAIMS: [&str; 5] = ["scp", "appid", "idtyp", "appidacr", "azpacr"];
/// The largest number of times that escaped characters are replaced, for JSON in a string of JSON.
const NESTED: usize = 4;
/// The length from which a text in the form of a refresh token is one. Those of Entra have several hundred characters.
const REFRESH_TOKEN: usize = 60;
/// The largest part of a text that is decoded as claims.
const CLAIMS: usize = 64 * 1024;

/// Returns true if a text has an access token, or something in the form of a refresh token.
pub fn has_access_or_refresh_token(text: &[u8]) -> bool {
    if has_token(text) {
        return true;
    }
    let mut decoded = Cow::Borrowed(text);
    for _ in 0..NESTED {
        if !decoded.contains(&b'\\') {
            return false;
        }
        decoded = Cow::Owned(replace_escapes(&decoded));
        if has_token(&decoded) {
            return true;
        }
    }
    // No text for people is escaped so often.
    decoded.contains(&b'\\') && decoded.windows(3).any(|part| part == b"eyJ")
}

/// Replaces the escaped characters of JSON strings (RFC 8259, section 7) that a token can have. What is not one is kept.
fn replace_escapes(text: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.first().filter(|_| *first == b'\\');
        let hexadecimal = escaped.filter(|escaped| **escaped == b'u').and_then(|_| read_hexadecimal(after));
        let (character, length) = match (hexadecimal, escaped) {
            (Some(character), _) => (character, 5),
            (None, Some(b'b' | b'f' | b'n' | b'r' | b't')) => (b' ', 1),
            (None, Some(escaped)) => (*escaped, 1),
            (None, None) => (*first, 0),
        };
        decoded.push(character);
        rest = &after[length..];
    }
    decoded
}

/// Reads `u002e`. Characters that no token has are replaced by a blank.
fn read_hexadecimal(text: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(text.get(1..5)?).ok()?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    Some(u8::try_from(code).ok().filter(u8::is_ascii).unwrap_or(b' '))
}

fn has_token(text: &[u8]) -> bool {
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
    word.split(|byte| *byte == b'.').filter(|part| is_object(part) && part.len() <= CLAIMS).any(|part| {
        let json = BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let part = json.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
        part.is_some_and(|part| has_claims_of_access_token(&part) || has_header_of_access_token(&part))
    })
}

/// Returns true for the beginning of a JSON object in Base64: `{"`, or `{` and white space.
fn is_object(part: &[u8]) -> bool {
    part.starts_with(b"ey") || part.starts_with(b"ew")
}

/// Returns true for the header of an access token by RFC 9068: `at+jwt`, also as a media type.
fn has_header_of_access_token(header: &Value) -> bool {
    let typ = header["typ"].as_str().unwrap_or_default().to_ascii_lowercase();
    typ.trim_start_matches("application/") == "at+jwt"
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
    fn tokens_of_applications_and_escaped_tokens_are_found() {
        let app = json!({ "aud": "api://x", "azp": "x", "azpacr": "1", "roles": ["Mail.Send"], "ver": "2.0" });
        assert!(is_found(&jwt(&app)));
        assert!(is_found(&jwt(&json!({ "aud": "api://x", "appidacr": "2", "roles": ["Mail.Send"] }))));
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
            let token = format!("{}.{}.c2ln", part(&json!({ "typ": typ })), part(&json!({ "aud": "api://x" })));
            assert!(is_found(&token), "{typ}");
        }
        let spaced = BASE64_URL_SAFE_NO_PAD.encode("{ \"aud\": \"https://graph.microsoft.com\" }");
        assert!(is_found(&format!("eyJ9.{spaced}.c2ln")));
        let token = jwt(&json!({ "aud": "https://graph.microsoft.com" }));
        let escape = |text: &str| text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect::<String>();
        for text in [token.replace('.', "\\u002E"), token.replace('e', "\\u0065"), escape(&token)] {
            assert!(is_found(&format!("{{\"a\":\"{text}\"}}")), "{text}");
            let nested = json!({ "a": format!("{{\"a\":\"{text}\"}}") });
            assert!(is_found(&nested.to_string()), "{nested}");
        }
        let refresh = format!("1.A{}", "Qx-_.".repeat(30));
        assert!(is_found(&refresh.replace('.', "\\u002e")) && is_found(&format!("\\/{refresh}\\/")));
        assert!(is_found(&json!({ "a": format!("x\n{refresh}") }).to_string()));
    }

    #[test]
    fn escapes_are_replaced_and_what_is_none_is_kept() {
        for (text, expected) in [
            ("a\\u002eb", "a.b"),
            ("\\/\\\\", "/\\"),
            ("\\u00fc", " "),
            ("a\\nb", "a b"),
            ("\\u00", "u00"),
            ("\\uzzzz", "uzzzz"),
            ("\\", "\\"),
            ("", ""),
        ] {
            assert_eq!(replace_escapes(text.as_bytes()), expected.as_bytes(), "{text}");
        }
        assert!(!is_found(&"\\".repeat(100_000)));
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
