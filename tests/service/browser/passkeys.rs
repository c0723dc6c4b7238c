//! Passkeys with Chromium and a virtual device: what `passkey.js` posts is what `mailwright::passkey` verifies.

use mailwright::{
    model::Digest,
    passkey::{
        Algorithm, Assertion, AssertionResponse, Challenge, PasskeyError, Person, RegistrationResponse, RelyingParty,
    },
};
use serde_json::{Value, json};

use crate::support::browser::run_script;

/// Returns the answer that a form posted.
fn answer(result: &Value, name: &str) -> Value {
    let posted = result[name]["posted"].as_array().unwrap();
    assert_eq!((posted.len(), &posted[0]["do"]), (1, &json!("it")), "{name}: {result:#}");
    serde_json::from_str(posted[0]["answer"].as_str().unwrap()).unwrap()
}

#[test]
fn a_passkey_of_each_algorithm_signs_in_and_signs_a_document() {
    for algorithm in Algorithm::ALL {
        let site = RelyingParty::from_origin("http://localhost").unwrap();
        let person = Person {
            handle: b"0123456789abcdef".to_vec(),
            name: "ann".to_owned(),
            display_name: "Ann Änder".to_owned(),
        };
        let document = Digest::of_bytes(b"a plan");
        let (for_key, for_sign_in) = (Challenge::random().unwrap(), Challenge::random().unwrap());
        let for_document = Challenge::for_document(&document).unwrap();
        let mut creation = site.creation_options(&person, &for_key, &[]);
        creation["pubKeyCredParams"] = json!([{ "type": "public-key", "alg": algorithm.id() }]);
        // The browser waits for so long when the device has no key, and when it does not recognise the person.
        let mut sign_in = site.request_options(&for_sign_in, &[]);
        let mut signature = site.request_options(&for_document, &[]);
        (sign_in["timeout"], signature["timeout"]) = (json!(3000), json!(3000));
        let given = json!({ "creation": creation, "signIn": sign_in, "signature": signature });
        let result = run_script("passkey.mjs", &given);
        for none in ["accessible", "violations", "errors"] {
            assert_eq!(result[none], json!([]), "{none}: {result:#}");
        }
        let problem = |problem: &str| json!({ "problem": problem, "posted": [] });
        assert_eq!(result["none"], problem("You cancelled it."), "a device without a key");
        assert_eq!(result["again"], problem("registered"), "a device that has a key of the person");
        assert_eq!(result["unverified"], problem("You cancelled it."));
        assert_eq!(result["credentials"], json!([{ "rpId": "localhost", "isResidentCredential": true }]));
        assert_eq!((&result["left"], &result["plain"]), (&json!(""), &json!(false)));

        let site = RelyingParty::from_origin(result["address"].as_str().unwrap()).unwrap();
        let created: RegistrationResponse = serde_json::from_value(answer(&result, "created")).unwrap();
        assert_eq!(created.challenge().as_ref(), Some(&for_key));
        let registered = site.register(&created, &for_key, &person.handle).unwrap();
        assert_eq!(registered.algorithm, algorithm);
        let mut passkey = registered.passkey;
        assert_eq!(passkey.transports, ["internal"]);
        for (name, challenge) in [("signedIn", &for_sign_in), ("signed", &for_document)] {
            let answer: AssertionResponse = serde_json::from_value(answer(&result, name)).unwrap();
            assert_eq!((answer.id(), answer.challenge().as_ref()), (passkey.id.as_str(), Some(challenge)));
            let before = passkey.counter;
            let Assertion { counter } = site.verify(&answer, challenge, &passkey).unwrap();
            assert!(counter > before, "{name}: {counter}");
            passkey.counter = counter;
            assert_eq!(site.verify(&answer, challenge, &passkey), Err(PasskeyError::Counter), "{name}");
            assert_eq!(site.verify(&answer, &for_key, &passkey), Err(PasskeyError::Challenge), "{name}");
            let elsewhere = RelyingParty::from_origin("http://localhost:1").unwrap();
            assert_eq!(elsewhere.verify(&answer, challenge, &passkey), Err(PasskeyError::OtherSite), "{name}");
            assert_eq!(challenge.is_for(&document), name == "signed");
        }
    }
}
