//! An issuer of identity tokens, its keys, and what it signs.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

pub(crate) const AUDIENCE: &str = "https://mail.example.com";
pub(crate) const SUBJECT: &str = "repo:example/mail:ref:refs/heads/main";

/// The responses of the issuer, and the number of requests.
#[derive(Default)]
pub(crate) struct IssuerState {
    pub(crate) keys: Vec<Value>,
    pub(crate) down: bool,
    pub(crate) names: Option<String>,
    pub(crate) asked: u32,
    /// The token that GitHub's address for tokens returns.
    pub(crate) token: String,
    pub(crate) audiences: Vec<String>,
    /// Keys of the `OpenID` configuration that differ from the usual ones.
    pub(crate) configuration: serde_json::Map<String, Value>,
    /// The answer of the token endpoint to a code.
    pub(crate) redeemed: Option<(u16, Value)>,
    /// The requests for codes: the heads, and the form.
    pub(crate) redemptions: Vec<(Vec<String>, BTreeMap<String, String>)>,
}

pub(crate) struct Issuer {
    pub(crate) address: String,
    pub(crate) answers: Arc<Mutex<IssuerState>>,
}

impl Issuer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(IssuerState::default()));
        let (own, shared) = (address.clone(), Arc::clone(&answers));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut lines = reader.by_ref().lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                let heads: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let length = heads.iter().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().unwrap())
                });
                let mut form = String::new();
                reader.take(length.unwrap_or_default()).read_to_string(&mut form).unwrap();
                let (status, body) = answer(&own, &first, &heads, &form, &mut shared.lock().unwrap());
                let text = body.to_string();
                drop(write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                ));
            }
        });
        Self { address, answers }
    }

    pub(crate) fn publish(&self, keys: &[&Key]) {
        self.answers.lock().unwrap().keys = keys.iter().map(|key| key.published.clone()).collect();
    }

    pub(crate) fn asked(&self) -> u32 {
        self.answers.lock().unwrap().asked
    }
}

fn answer(own: &str, request: &str, heads: &[String], form: &str, answers: &mut IssuerState) -> (u16, Value) {
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    if let Some(query) = path.strip_prefix("/token?") {
        let asks = heads.iter().any(|line| line.eq_ignore_ascii_case("authorization: bearer the-asking-token"));
        answers.audiences.push(query.to_owned());
        return if asks { (200, json!({ "value": answers.token })) } else { (401, json!({})) };
    }
    if answers.down {
        return (500, json!({}));
    }
    if path == "/keys" {
        answers.asked += 1;
        return (200, json!({ "keys": answers.keys }));
    }
    if path == "/redeem" {
        let url = reqwest::Url::parse(&format!("http://form/?{form}")).unwrap();
        answers.redemptions.push((heads.to_vec(), url.query_pairs().into_owned().collect()));
        return answers.redeemed.clone().unwrap_or((400, json!({ "error": "invalid_grant" })));
    }
    let names = answers.names.clone().unwrap_or_else(|| own.to_owned());
    let mut configuration = json!({
        "issuer": names, "jwks_uri": format!("{own}/keys"), "authorization_endpoint": format!("{own}/authorize"),
        "token_endpoint": format!("{own}/redeem"),
    });
    for (key, value) in &answers.configuration {
        configuration[key] = value.clone();
    }
    (200, configuration)
}

/// A key of an issuer.
pub(crate) struct Key {
    pub(crate) signing: EncodingKey,
    pub(crate) algorithm: Algorithm,
    pub(crate) id: &'static str,
    pub(crate) published: Value,
    pub(crate) public_pem: String,
}

pub(crate) fn key(id: &'static str, algorithm: Algorithm) -> Key {
    let (pair, signing) = if algorithm == Algorithm::ES256 {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let signing = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        (pair, signing)
    } else {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let signing = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
        (pair, signing)
    };
    let mut jwk = Jwk::from_encoding_key(&signing, algorithm).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    let mut published = serde_json::to_value(jwk).unwrap();
    published["use"] = json!("sig");
    Key { signing, algorithm, id, published, public_pem: pair.public_key_pem() }
}

pub(crate) fn now() -> i64 {
    mailwright::time::Clock::system().now().as_second()
}

pub(crate) fn claims(issuer: &Issuer) -> Value {
    json!({
        "iss": issuer.address, "aud": AUDIENCE, "sub": SUBJECT, "repository": "example/mail",
        "iat": now(), "nbf": now(), "exp": now() + 300,
    })
}

pub(crate) fn sign(key: &Key, claims: &Value) -> String {
    let mut header = Header::new(key.algorithm);
    header.kid = Some(key.id.to_owned());
    jsonwebtoken::encode(&header, claims, &key.signing).unwrap()
}
