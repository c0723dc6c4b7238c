//! [`PasskeyDevice`]: a device of a person, in software, which answers the requests for passkeys that pages have.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A device with one key for one person.
pub(crate) struct PasskeyDevice {
    key: EcdsaKeyPair,
    id: Vec<u8>,
    /// The handle of the person, as the registration gave it.
    handle: Option<String>,
    /// The page that asks, `http://localhost:PORT`.
    pub(crate) origin: String,
    /// The count of signatures; a device states one more with each.
    pub(crate) counter: u32,
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn head(kind: u8, length: usize) -> Vec<u8> {
    match u16::try_from(length).unwrap() {
        short @ 0..24 => vec![kind << 5 | u8::try_from(short).unwrap()],
        long => [vec![kind << 5 | 0x19], long.to_be_bytes().to_vec()].concat(),
    }
}

fn bytes(value: &[u8]) -> Vec<u8> {
    [head(2, value.len()), value.to_vec()].concat()
}

fn text(value: &str) -> Vec<u8> {
    [head(3, value.len()), value.as_bytes().to_vec()].concat()
}

impl PasskeyDevice {
    /// A device that no person has used.
    pub(crate) fn new(origin: &str) -> Self {
        let mut id = vec![0; 16];
        getrandom::fill(&mut id).unwrap();
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self { key, id, handle: None, origin: origin.to_owned(), counter: 0 }
    }

    fn data(&mut self, site: &str, flags: u8, key: &[u8]) -> Vec<u8> {
        self.counter += 1;
        [&Sha256::digest(site.as_bytes())[..], &[flags], &self.counter.to_be_bytes(), key].concat()
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        json!({ "type": kind, "challenge": options["challenge"], "origin": self.origin }).to_string().into_bytes()
    }

    /// Answers the options of a registration.
    pub(crate) fn create(&mut self, options: &Value) -> String {
        let point = self.key.public_key().as_ref();
        let cose =
            [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21][..], &bytes(&point[1..33]), &[0x22], &bytes(&point[33..])].concat();
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let key = [&[0; 16][..], &length, &self.id, &cose].concat();
        let data = self.data(options["rp"]["id"].as_str().unwrap(), 0b100_0101, &key);
        let object =
            [vec![0xa3], text("fmt"), text("none"), text("attStmt"), vec![0xa0], text("authData"), bytes(&data)];
        self.handle = options["user"]["id"].as_str().map(str::to_owned);
        json!({
            "id": encode(&self.id), "type": "public-key",
            "response": {
                "clientDataJSON": encode(&self.client_data("webauthn.create", options)),
                "attestationObject": encode(&object.concat()), "transports": ["internal"],
            },
        })
        .to_string()
    }

    /// Answers the options of a sign-in or a signature.
    pub(crate) fn get(&mut self, options: &Value) -> String {
        let data = self.data(options["rpId"].as_str().unwrap(), 0b101, &[]);
        let client_data = self.client_data("webauthn.get", options);
        let message = [data.as_slice(), &Sha256::digest(&client_data)].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        json!({
            "id": encode(&self.id), "type": "public-key",
            "response": {
                "clientDataJSON": encode(&client_data), "authenticatorData": encode(&data),
                "signature": encode(signature.as_ref()), "userHandle": self.handle,
            },
        })
        .to_string()
    }
}

/// Returns the options in the form of a page that asks for a passkey.
pub(crate) fn options(page: &str) -> Value {
    let start = page.find("data-passkey-options=\"").unwrap_or_else(|| panic!("no form for a passkey:\n{page}"));
    let rest = &page[start + "data-passkey-options=\"".len()..];
    let text = &rest[..rest.find('"').unwrap()];
    let text = text.replace("&#34;", "\"").replace("&quot;", "\"").replace("&#38;", "&").replace("&amp;", "&");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
