//! [`RelyingParty`]: options for a browser, and the verification of its answers (sections 7.1 and 7.2).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    authenticator_data::AuthenticatorData,
    cbor::{Key, Reader},
    challenge::Challenge,
    client_data::{self, Purpose},
    error::PasskeyError,
    public_key::{Algorithm, PublicKey},
};
use crate::model::{Digest, signature::PasskeyEvidence};

/// Maximum length of a part of an answer, in bytes. An attestation, which is not asked for, has some kilobytes.
const PART_LIMIT: usize = 64 * 1024;

/// The time that a browser waits for the person, in milliseconds. It ends before the challenge does.
const TIMEOUT: u32 = 4 * 60 * 1000;

/// A person who gets a passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// A random id, which says nothing about the person. A device keeps it with the key and returns it at a sign-in.
    pub handle: Vec<u8>,
    /// The name by which the person signs in.
    pub name: String,
    /// The name that is shown.
    pub display_name: String,
}

/// A registered key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Passkey {
    /// The id of the key, as base64url.
    pub id: String,
    /// The handle of its person, as base64url.
    pub handle: String,
    /// The public key (COSE), as base64url.
    pub public_key: String,
    /// The count of signatures that the device last stated; 0 for devices that do not count.
    pub counter: u32,
    /// True if the key can be copied to other devices of the person by its provider.
    pub is_synced: bool,
    /// The ways in which the device is reached, for the browser: `internal`, `usb`, `hybrid`.
    pub transports: Vec<String>,
}

/// The answer to a registration, as JSON of `PublicKeyCredential.toJSON`. Fields that are not needed are ignored.
#[derive(Clone, Debug, Deserialize)]
pub struct RegistrationResponse {
    id: String,
    response: AttestationPart,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttestationPart {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    attestation_object: String,
    #[serde(default)]
    transports: Vec<String>,
}

/// The answer to a sign-in or to a request for a signature. Of a signature, [`AssertionResponse::evidence`] is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct AssertionResponse {
    id: String,
    response: AssertionPart,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssertionPart {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    authenticator_data: String,
    signature: String,
    #[serde(default)]
    user_handle: Option<String>,
}

/// A verified registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The key, to be stored. The caller refuses an id that is stored already.
    pub passkey: Passkey,
    /// The algorithm of the key.
    pub algorithm: Algorithm,
}

/// A verified sign-in or signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The count of signatures, to be stored with the key.
    pub counter: u32,
}

fn decode(text: &str) -> Result<Vec<u8>, PasskeyError> {
    if text.len() > PART_LIMIT {
        return Err(PasskeyError::Malformed);
    }
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| PasskeyError::Malformed)
}

impl RegistrationResponse {
    /// Returns the challenge that the answer contains, which finds the request. It is not verified.
    pub fn challenge(&self) -> Option<Challenge> {
        client_data::challenge(&decode(&self.response.client_data).ok()?)
    }
}

impl AssertionResponse {
    /// Returns the challenge that the answer contains, which finds the request. It is not verified.
    pub fn challenge(&self) -> Option<Challenge> {
        client_data::challenge(&decode(&self.response.client_data).ok()?)
    }

    /// Returns the id of the key, which finds its record. It is not verified.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns what is kept of a verified answer, so that it can be verified again.
    pub fn evidence(&self, passkey: &Passkey) -> PasskeyEvidence {
        PasskeyEvidence {
            passkey: passkey.id.clone(),
            public_key: passkey.public_key.clone(),
            client_data: self.response.client_data.clone(),
            authenticator_data: self.response.authenticator_data.clone(),
            signature: self.response.signature.clone(),
        }
    }
}

/// The site that keys belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    origins: Vec<String>,
}

impl RelyingParty {
    /// Returns the site of the console's address, `https://HOST[:PORT]`, or `http://localhost[:PORT]`; none for an address
    /// that browsers have no passkeys for: no TLS, or an IP address.
    pub fn from_origin(origin: &str) -> Option<Self> {
        let url = reqwest::Url::parse(origin).ok()?;
        let host = url.domain()?;
        let is_secure = url.scheme() == "https" || url.scheme() == "http" && host == "localhost";
        is_secure.then(|| Self { id: host.to_owned(), origins: vec![url.origin().ascii_serialization()] })
    }

    /// Returns the site of a `Host` header that names this machine as `localhost`; none for any other. Whether the browser uses
    /// TLS is not known, and makes no difference there.
    pub fn for_local_host(host: &str) -> Option<Self> {
        let url = reqwest::Url::parse(&format!("http://{host}")).ok()?;
        let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if url.domain() != Some("localhost") || !is_plain || host.contains(['@', '/', '\\']) {
            return None;
        }
        let plain = url.origin().ascii_serialization();
        let encrypted = reqwest::Url::parse(&format!("https://{host}")).ok()?.origin().ascii_serialization();
        Some(Self { id: "localhost".to_owned(), origins: vec![plain, encrypted] })
    }

    /// Returns the site of kept evidence if it is `localhost`; none for another site.
    pub fn of_local_evidence(evidence: &PasskeyEvidence) -> Option<Self> {
        let origin = client_data::origin(&decode(&evidence.client_data).ok()?)?;
        let (_, authority) = origin.split_once("://")?;
        Self::for_local_host(authority)
    }

    /// Returns the name of the site, which keys are bound to.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the options with which a browser creates a key for a person. A device that has one of `existing` makes no other.
    pub fn creation_options(&self, person: &Person, challenge: &Challenge, existing: &[Passkey]) -> Value {
        let algorithms = Algorithm::ALL.map(|algorithm| json!({ "type": "public-key", "alg": algorithm.id() }));
        json!({
            "rp": { "id": self.id, "name": "Mailwright" },
            "user": {
                "id": BASE64_URL_SAFE_NO_PAD.encode(&person.handle), "name": person.name, "displayName": person.display_name,
            },
            "challenge": challenge.text(),
            "pubKeyCredParams": algorithms,
            "timeout": TIMEOUT,
            "excludeCredentials": descriptors(existing),
            "authenticatorSelection": {
                "residentKey": "required", "requireResidentKey": true, "userVerification": "required",
            },
            "attestation": "none",
        })
    }

    /// Returns the options with which a browser asks for a signature: by one of the keys, or by any key of the site if none
    /// is given.
    pub fn request_options(&self, challenge: &Challenge, allowed: &[Passkey]) -> Value {
        json!({
            "rpId": self.id, "challenge": challenge.text(), "timeout": TIMEOUT,
            "allowCredentials": descriptors(allowed), "userVerification": "required",
        })
    }

    /// Verifies the answer to a registration. The caller has taken the challenge from [`Challenges`](super::Challenges).
    pub fn register(
        &self,
        answer: &RegistrationResponse,
        challenge: &Challenge,
        handle: &[u8],
    ) -> Result<Registration, PasskeyError> {
        let client_data = decode(&answer.response.client_data)?;
        client_data::check(&client_data, Purpose::Create, challenge, &self.origins)?;
        let object = decode(&answer.response.attestation_object)?;
        let data = AuthenticatorData::parse(find_authenticator_data(&object)?, &self.id)?;
        let key = data.key.ok_or(PasskeyError::Malformed)?;
        if decode(&answer.id)? != key.id {
            return Err(PasskeyError::OtherKey);
        }
        let is_transport =
            |name: &&String| name.len() <= 20 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        Ok(Registration {
            passkey: Passkey {
                id: BASE64_URL_SAFE_NO_PAD.encode(key.id),
                handle: BASE64_URL_SAFE_NO_PAD.encode(handle),
                public_key: BASE64_URL_SAFE_NO_PAD.encode(key.cose),
                counter: data.counter,
                is_synced: data.is_synced,
                transports: answer.response.transports.iter().filter(is_transport).take(8).cloned().collect(),
            },
            algorithm: key.parsed.algorithm,
        })
    }

    /// Verifies a signature by a stored key. The caller has taken the challenge from [`Challenges`](super::Challenges), and
    /// stores the counter.
    pub fn verify(
        &self,
        answer: &AssertionResponse,
        challenge: &Challenge,
        passkey: &Passkey,
    ) -> Result<Assertion, PasskeyError> {
        if answer.id != passkey.id
            || answer.response.user_handle.as_ref().is_some_and(|handle| *handle != passkey.handle)
        {
            return Err(PasskeyError::OtherKey);
        }
        let AssertionPart { client_data, authenticator_data, signature, .. } = &answer.response;
        let counter = self.check_signed(client_data, authenticator_data, signature, challenge, passkey)?;
        if (counter != 0 || passkey.counter != 0) && counter <= passkey.counter {
            return Err(PasskeyError::Counter);
        }
        Ok(Assertion { counter })
    }

    /// Verifies the kept answer to a request for a signature of a document again. The challenge is the one that the answer
    /// contains: it names the document. The counter is not compared, because the key has been used since.
    pub fn verify_evidence(
        &self,
        evidence: &PasskeyEvidence,
        document: &Digest,
        passkey: &Passkey,
    ) -> Result<(), PasskeyError> {
        let PasskeyEvidence { client_data, authenticator_data, signature, .. } = evidence;
        let challenge = client_data::challenge(&decode(client_data)?).ok_or(PasskeyError::Malformed)?;
        if evidence.passkey != passkey.id || evidence.public_key != passkey.public_key {
            return Err(PasskeyError::OtherKey);
        }
        if !challenge.is_for(document) {
            return Err(PasskeyError::Challenge);
        }
        self.check_signed(client_data, authenticator_data, signature, &challenge, passkey).map(drop)
    }

    /// Checks the parts of an answer and its signature, and returns the counter.
    fn check_signed(
        &self,
        client_data: &str,
        authenticator_data: &str,
        signature: &str,
        challenge: &Challenge,
        passkey: &Passkey,
    ) -> Result<u32, PasskeyError> {
        let client_data = decode(client_data)?;
        client_data::check(&client_data, Purpose::Get, challenge, &self.origins)?;
        let signed = decode(authenticator_data)?;
        let data = AuthenticatorData::parse(&signed, &self.id)?;
        let (key, _) = PublicKey::parse(&decode(&passkey.public_key)?)?;
        let message = [signed.as_slice(), &Sha256::digest(&client_data)].concat();
        key.verify(&message, &decode(signature)?)?;
        // After the signature: what is not signed must not look like a copied key. Whether a key is synced never changes.
        if data.is_synced != passkey.is_synced {
            return Err(PasskeyError::Malformed);
        }
        Ok(data.counter)
    }
}

fn descriptors(passkeys: &[Passkey]) -> Vec<Value> {
    let describe =
        |passkey: &Passkey| json!({ "type": "public-key", "id": passkey.id, "transports": passkey.transports });
    passkeys.iter().map(describe).collect()
}

/// Finds the authenticator's data in an attestation object. The statement of the device's maker is read over.
fn find_authenticator_data(object: &[u8]) -> Result<&[u8], PasskeyError> {
    let mut reader = Reader::new(object);
    let mut found = None;
    for _ in 0..reader.map()? {
        match reader.key()? {
            Key::Text("authData") if found.is_none() => found = Some(reader.bytes()?),
            Key::Text("authData") => return Err(PasskeyError::Malformed),
            _ => reader.skip()?,
        }
    }
    if reader.position() != object.len() {
        return Err(PasskeyError::Malformed);
    }
    found.ok_or(PasskeyError::Malformed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
        },
    };
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: &str = "https://mail.example.com:8443";

    enum Signer {
        Es256(EcdsaKeyPair),
        EdDsa(Ed25519KeyPair),
        Rs256(RsaKeyPair),
    }

    /// A device, of which every field can be wrong.
    struct Device {
        signer: Signer,
        id: Vec<u8>,
        site: String,
        flags: u8,
        counter: u32,
        origin: String,
        /// More members of the client data.
        more: String,
        /// What follows the key, or the counter.
        tail: Vec<u8>,
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

    impl Device {
        fn new(algorithm: Algorithm) -> Self {
            let signer = match algorithm {
                Algorithm::Es256 => Signer::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
                Algorithm::EdDsa => Signer::EdDsa(Ed25519KeyPair::generate().unwrap()),
                Algorithm::Rs256 => Signer::Rs256(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap()),
            };
            Self {
                signer,
                id: vec![7; 32],
                site: "mail.example.com".to_owned(),
                flags: 0b101,
                counter: 1,
                origin: ORIGIN.to_owned(),
                more: String::new(),
                tail: Vec::new(),
            }
        }

        fn cose(&self) -> Vec<u8> {
            match &self.signer {
                Signer::Es256(key) => {
                    let point = key.public_key().as_ref();
                    [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21][..], &bytes(&point[1..33]), &[0x22], &bytes(&point[33..])]
                        .concat()
                }
                Signer::EdDsa(key) => {
                    [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21][..], &bytes(key.public_key().as_ref())].concat()
                }
                Signer::Rs256(key) => {
                    // DER: a sequence of the modulus, with a zero before it, and the exponent.
                    let der = key.public_key().as_ref();
                    let (n, e) = (&der[9..265], &der[267..]);
                    [&[0xa4, 1, 3, 3, 0x39, 1, 0, 0x20][..], &bytes(n), &[0x21], &bytes(e)].concat()
                }
            }
        }

        fn data(&self, flags: u8, key: &[u8]) -> Vec<u8> {
            let site = Sha256::digest(self.site.as_bytes());
            [&site[..], &[flags], &self.counter.to_be_bytes(), key, &self.tail].concat()
        }

        fn client_data(&self, kind: &str, challenge: &Challenge) -> Vec<u8> {
            let (challenge, origin, more) = (challenge.text(), &self.origin, &self.more);
            format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"{more}}}"#).into_bytes()
        }

        fn register_with(&self, challenge: &Challenge, cose: &[u8]) -> RegistrationResponse {
            let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
            let key = [&[0; 16][..], &length, &self.id, cose].concat();
            let data = self.data(self.flags | 1 << 6, &key);
            let object =
                [vec![0xa3], text("fmt"), text("none"), text("attStmt"), vec![0xa0], text("authData"), bytes(&data)];
            let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
            serde_json::from_value(json!({
                "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": {},
                "response": {
                    "clientDataJSON": encode(&self.client_data("webauthn.create", challenge)),
                    "attestationObject": encode(&object.concat()), "transports": ["internal", "Odd One"],
                },
            }))
            .unwrap()
        }

        fn register(&self, challenge: &Challenge) -> RegistrationResponse {
            self.register_with(challenge, &self.cose())
        }

        fn sign(&self, challenge: &Challenge) -> AssertionResponse {
            let (data, client_data) = (self.data(self.flags, &[]), self.client_data("webauthn.get", challenge));
            let message = [data.as_slice(), &Sha256::digest(&client_data)].concat();
            let signature = match &self.signer {
                Signer::Es256(key) => key.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec(),
                Signer::EdDsa(key) => key.sign(&message).as_ref().to_vec(),
                Signer::Rs256(key) => {
                    let mut signature = vec![0; key.public_modulus_len()];
                    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature).unwrap();
                    signature
                }
            };
            let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
            serde_json::from_value(json!({
                "id": encode(&self.id),
                "response": {
                    "clientDataJSON": encode(&client_data), "authenticatorData": encode(&data),
                    "signature": encode(&signature), "userHandle": encode(b"handle"),
                },
            }))
            .unwrap()
        }
    }

    fn site() -> RelyingParty {
        RelyingParty::from_origin(&format!("{ORIGIN}/console")).unwrap()
    }

    fn challenge() -> Challenge {
        Challenge::random().unwrap()
    }

    fn register(device: &Device) -> Result<Registration, PasskeyError> {
        let challenge = challenge();
        site().register(&device.register(&challenge), &challenge, b"handle")
    }

    #[test]
    fn a_key_of_each_algorithm_is_registered_and_signs() {
        for algorithm in Algorithm::ALL {
            let mut device = Device::new(algorithm);
            let registered = register(&device).unwrap();
            assert_eq!(registered.algorithm, algorithm);
            let mut passkey = registered.passkey;
            assert_eq!((passkey.counter, passkey.is_synced), (1, false));
            assert_eq!(passkey.transports, ["internal"]);
            let challenge = challenge();
            device.counter = 2;
            let answer = device.sign(&challenge);
            assert_eq!(answer.challenge(), Some(challenge.clone()));
            assert_eq!(site().verify(&answer, &challenge, &passkey), Ok(Assertion { counter: 2 }));
            // The same answer, to a request that was made again.
            assert_eq!(site().verify(&answer, &self::challenge(), &passkey), Err(PasskeyError::Challenge));
            passkey.counter = 2;
            assert_eq!(site().verify(&answer, &challenge, &passkey), Err(PasskeyError::Counter));
            let other = register(&Device::new(algorithm)).unwrap().passkey;
            let other = Passkey { counter: 0, ..other };
            assert_eq!(site().verify(&answer, &challenge, &other), Err(PasskeyError::Signature), "another key");
        }
    }

    #[test]
    fn a_device_that_does_not_count_signs_again() {
        let mut device = Device::new(Algorithm::Es256);
        device.counter = 0;
        let passkey = register(&device).unwrap().passkey;
        for _ in 0..2 {
            let challenge = challenge();
            assert_eq!(site().verify(&device.sign(&challenge), &challenge, &passkey), Ok(Assertion { counter: 0 }));
        }
    }

    #[test]
    fn each_fault_of_an_answer_is_refused() {
        type Fault = (fn(&mut Device), PasskeyError);
        let faults: &[Fault] = &[
            (|device| device.site = "example.com".to_owned(), PasskeyError::OtherSite),
            (|device| device.origin = "https://mail.example.com".to_owned(), PasskeyError::OtherSite),
            (|device| device.origin = "http://mail.example.com:8443".to_owned(), PasskeyError::OtherSite),
            (|device| device.origin = format!("{ORIGIN}/"), PasskeyError::OtherSite),
            (|device| device.more = r#","crossOrigin":true"#.to_owned(), PasskeyError::OtherSite),
            (|device| device.more = r#","topOrigin":"https://evil.example""#.to_owned(), PasskeyError::OtherSite),
            (|device| device.more = r#","origin":"https://mail.example.com:8443""#.to_owned(), PasskeyError::Malformed),
            (|device| device.flags = 0b001, PasskeyError::NotVerified),
            (|device| device.flags = 0b100, PasskeyError::NotVerified),
            (|device| device.flags = 0b1_0101, PasskeyError::Malformed),
            (|device| device.tail = vec![0xa0], PasskeyError::Malformed),
            (|device| device.flags |= 1 << 7, PasskeyError::Malformed),
        ];
        for (index, (fault, why)) in faults.iter().enumerate() {
            let mut device = Device::new(Algorithm::Es256);
            let passkey = register(&device).unwrap().passkey;
            device.counter = 2;
            fault(&mut device);
            assert_eq!(register(&device).unwrap_err(), *why, "registration, {index}");
            let challenge = challenge();
            assert_eq!(site().verify(&device.sign(&challenge), &challenge, &passkey), Err(*why), "sign-in, {index}");
        }
        // Extensions that are announced are read over; a key may say that it is synced.
        let mut device = Device::new(Algorithm::Es256);
        (device.flags, device.tail) = (0b1001_1101, [&[0xa1][..], &text("hmac"), &[0xf5]].concat());
        let passkey = register(&device).unwrap().passkey;
        assert!(passkey.is_synced);
        device.counter = 2;
        let challenge = challenge();
        assert!(site().verify(&device.sign(&challenge), &challenge, &passkey).is_ok());
        device.flags = 0b1000_0101;
        assert_eq!(site().verify(&device.sign(&challenge), &challenge, &passkey), Err(PasskeyError::Malformed));
    }

    #[test]
    fn an_answer_serves_one_purpose_and_one_person() {
        let mut device = Device::new(Algorithm::Es256);
        let passkey = register(&device).unwrap().passkey;
        device.counter = 2;
        let challenge = challenge();
        let mut answer = device.sign(&challenge);
        let created = device.client_data("webauthn.create", &challenge);
        answer.response.client_data = BASE64_URL_SAFE_NO_PAD.encode(created);
        assert_eq!(site().verify(&answer, &challenge, &passkey), Err(PasskeyError::OtherPurpose));
        let mut registration = device.register(&challenge);
        registration.response.client_data = device.sign(&challenge).response.client_data;
        assert_eq!(site().register(&registration, &challenge, b"handle"), Err(PasskeyError::OtherPurpose));
        let mut registration = device.register(&challenge);
        registration.id = BASE64_URL_SAFE_NO_PAD.encode([8; 32]);
        assert_eq!(site().register(&registration, &challenge, b"handle"), Err(PasskeyError::OtherKey));
        let elsewhere = Passkey { handle: BASE64_URL_SAFE_NO_PAD.encode(b"another"), ..passkey.clone() };
        assert_eq!(site().verify(&device.sign(&challenge), &challenge, &elsewhere), Err(PasskeyError::OtherKey));
        let elsewhere = Passkey { id: BASE64_URL_SAFE_NO_PAD.encode([8; 32]), ..passkey };
        assert_eq!(site().verify(&device.sign(&challenge), &challenge, &elsewhere), Err(PasskeyError::OtherKey));
    }

    #[test]
    fn other_keys_and_damaged_ones_are_refused() {
        let device = Device::new(Algorithm::Es256);
        let challenge = challenge();
        let cose = device.cose();
        let register =
            |cose: &[u8]| site().register(&device.register_with(&challenge, cose), &challenge, b"").unwrap_err();
        let with = |at: usize, byte: u8| {
            let mut changed = cose.clone();
            changed[at] = byte;
            changed
        };
        // ES384; another kind; another curve; a point that is not on the curve; a label twice.
        assert_eq!(register(&[&[0xa5, 1, 2, 3, 0x38, 34][..], &cose[5..]].concat()), PasskeyError::Algorithm);
        assert_eq!(register(&with(2, 1)), PasskeyError::Malformed);
        assert_eq!(register(&with(6, 2)), PasskeyError::Malformed);
        assert_eq!(register(&with(20, cose[20] ^ 1)), PasskeyError::Malformed);
        assert_eq!(register(&[&[0xa6, 1, 2, 1, 2][..], &cose[3..]].concat()), PasskeyError::Malformed);
        assert_eq!(register(&cose[..cose.len() - 1]), PasskeyError::Malformed);
        // RSA with 1024 bits: the modulus is cut.
        let rsa = Device::new(Algorithm::Rs256).cose();
        let short = [&rsa[..8], &bytes(&rsa[11..139]), &rsa[rsa.len() - 5..]].concat();
        let key = PublicKey::parse(&short).map(|(key, _)| key.verify(b"", &[0; 128]));
        assert!(matches!(key, Err(_) | Ok(Err(_))));
    }

    #[test]
    fn a_site_is_a_name_that_browsers_have_passkeys_for() {
        for (origin, id) in [
            ("https://mail.example.com", Some("mail.example.com")),
            ("https://MAIL.example.com:8443/console", Some("mail.example.com")),
            ("http://localhost:8480", Some("localhost")),
            ("http://mail.example.com", None),
            ("http://127.0.0.1:8480", None),
            ("https://[::1]:8480", None),
            ("mail.example.com", None),
        ] {
            assert_eq!(RelyingParty::from_origin(origin).as_ref().map(RelyingParty::id), id, "{origin}");
        }
        assert_eq!(site().origins, [ORIGIN]);
        for (host, origin) in [
            ("localhost:8470", Some("http://localhost:8470")),
            ("localhost", Some("http://localhost")),
            ("127.0.0.1:8470", None),
            ("localhost.example.com", None),
            ("evil.example@localhost", None),
            ("localhost/evil", None),
            ("localhost\\evil", None),
            ("localhost?x", None),
            ("", None),
        ] {
            let found = RelyingParty::for_local_host(host).map(|site| site.origins[0].clone());
            assert_eq!(found.as_deref(), origin, "{host}");
        }
    }

    proptest! {
        /// Whatever a browser sends, nothing panics, and what was changed is not accepted.
        #[test]
        fn a_changed_answer_is_refused(at in 0_usize..2000, byte in 1_u8..=255, part in 0_usize..3) {
            let mut device = Device::new(Algorithm::EdDsa);
            let passkey = register(&device).unwrap().passkey;
            device.counter = 2;
            let challenge = challenge();
            let mut answer = device.sign(&challenge);
            let parts = [&mut answer.response.client_data, &mut answer.response.authenticator_data, &mut answer.response.signature];
            let changed = &mut *parts.into_iter().nth(part).unwrap();
            let mut bytes = decode(changed).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= byte;
            *changed = BASE64_URL_SAFE_NO_PAD.encode(bytes);
            prop_assert!(site().verify(&answer, &challenge, &passkey).is_err());
        }

        #[test]
        fn any_attestation_object_is_read_without_a_panic(object in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(data) = find_authenticator_data(&object) {
                drop(AuthenticatorData::parse(data, "mail.example.com"));
            }
            drop(PublicKey::parse(&object));
        }
    }
}
