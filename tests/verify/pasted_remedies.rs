//! Remedies that are printed to be pasted: an address, a redirect URI or an id of a credential is one argument of a command, and
//! runs nothing.

use mailwright::model::finding::Verified;
use serde_json::{Value, json};

use crate::support::{
    pasted::{HOSTILE, calls_of, powershell_words},
    sandbox::{DESKTOP, VerifyCase, WEB, delegate, direct},
};

/// Local parts that an address can have, and that a shell would act on.
const LOCAL_PARTS: [&str; 9] = [
    "o'brien",
    "$touch",
    "`touch`",
    "a&touch",
    "a|touch",
    "-Flag",
    "{client}$touch{client}",
    "\u{2019}+$touch+\u{2019}",
    "\"$(touch x);'\"",
];

fn steps(verified: &Verified) -> impl Iterator<Item = &str> {
    verified.findings.iter().flat_map(|finding| &finding.remedy).map(String::as_str)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sender_is_one_argument_for_powershell() {
    for local_part in LOCAL_PARTS {
        let sender = format!("{local_part}@contoso.example");
        let case = || VerifyCase::new("hostile", direct()).with("/from/address", json!(sender));
        let (unscoped, _) = case().run().await;
        let (missing, _) = case().app("granted", json!([])).run().await;
        let mut seen = Vec::new();
        for step in steps(&unscoped).chain(steps(&missing)) {
            if !["Test-", "New-", "Get-"].iter().any(|verb| step.starts_with(verb)) {
                continue;
            }
            let words = powershell_words(step);
            let address = match words[0].as_str() {
                "Test-ServicePrincipalAuthorization" | "Test-ApplicationAccessPolicy" => sender.clone(),
                "New-ManagementScope" => format!("PrimarySmtpAddress -eq '{}'", sender.replace('\'', "''")),
                _ => continue,
            };
            assert!(words.contains(&address), "{step}: {words:?}");
            seen.push(words[0].clone());
        }
        seen.sort();
        seen.dedup();
        let wanted = ["New-ManagementScope", "Test-ApplicationAccessPolicy", "Test-ServicePrincipalAuthorization"];
        assert_eq!(seen, wanted, "{sender}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_registration_contains_is_one_argument_for_a_shell() {
    for hostile in HOSTILE {
        let uri = format!("https://erp.contoso.example/{hostile}");
        let manifest = |client: &str, platform: &str| {
            json!({
                "appId": client, "signInAudience": "AzureADMyOrg", platform: { "redirectUris": [uri] },
                "passwordCredentials": [{ "keyId": hostile, "displayName": "one", "endDateTime": "2030-01-01T00:00:00Z" }],
                "requiredResourceAccess": [],
            })
        };
        let (mut bodies, mut ids) = (Vec::new(), Vec::new());
        for (client, platform) in [(WEB, "spa"), (DESKTOP, "publicClient")] {
            let mut case = VerifyCase::new("hostile", delegate(client));
            case.manifest = Some(manifest(client, platform));
            let (verified, _) = case.run().await;
            for step in steps(&verified).filter(|step| step.starts_with("az ")) {
                let calls = calls_of(step);
                assert!(calls.iter().all(|call| call[0] == "az"), "{step}: {calls:?}");
                let value_of = |option: &str| {
                    let call = calls.last().unwrap();
                    let at = call.iter().position(|word| word == option)?;
                    call.get(at + 1).cloned()
                };
                bodies.extend(value_of("--body"));
                ids.extend(value_of("--key-id"));
            }
        }
        let is_listed = |body: &String| {
            let body: Value = serde_json::from_str(body).unwrap();
            let uris = body.pointer("/spa/redirectUris").or_else(|| body.pointer("/publicClient/redirectUris"));
            uris.is_some_and(|uris| uris.as_array().unwrap().contains(&json!(uri)))
        };
        assert!(bodies.iter().any(is_listed), "{uri}: {bodies:?}");
        assert!(ids.iter().any(|id| id == hostile), "{hostile:?}: {ids:?}");
    }
}
