//! Sign-in with an identity provider in Chromium: the whole walk from the link over the sandbox of Entra to the console.

use serde_json::{Value, json};

use crate::support::{
    browser::{check_pages, run_script},
    host_process::HostProcess,
    repository::TestRepository,
    sandbox::Sandbox,
};

const TENANT: &str = "0c0ffee0-0000-4000-8000-000000000001";
const CLIENT: &str = "0c0ffee0-0000-4000-8000-0000000000cc";
const SECRET: &str = "C4nary-of-the-console";

#[test]
fn a_person_signs_in_with_an_account_of_the_identity_provider() {
    let sandbox = Sandbox::start(json!({
        "tenants": [{
            "id": TENANT, "domains": ["contoso.example"],
            "users": [
                { "name": "adele@contoso.example", "displayName": "Adele Admin" },
                { "name": "alice@contoso.example", "displayName": "Alice <Example>" },
            ],
            "applications": [{
                "client": CLIENT, "name": "Mailwright console", "secrets": [{ "value": SECRET }],
                "redirects": { "web": ["http://localhost/environments/dev/console/sign-in/callback"] },
                "roles": { "adele@contoso.example": ["Mail.dev.Admin"], "alice@contoso.example": ["Mail.test.Admin"] },
                "optionalClaims": ["auth_time"],
            }],
        }],
    }));
    let repo = TestRepository::empty();
    repo.write("ca.pem", &sandbox.running.authority);
    repo.write("secret.txt", SECRET);
    let issuers = format!(
        "issuers:
  - issuer: {}/{TENANT}/v2.0
    console:
      label: Contoso
      clientId: {CLIENT}
      clientSecretFile: secret.txt
      rules: [{{ name: admins, role: admin, claims: {{ roles: 'Mail.{{environment}}.Admin' }} }}]
",
        sandbox.running.address
    );
    repo.write("oidc.yaml", issuers);
    // The first start finds a port, which the public address has.
    let mut host = HostProcess::new(&repo, "hosted", vec!["dev".to_owned()]);
    host.start();
    let port = host.root().rsplit(':').next().unwrap().to_owned();
    host.kill();
    let file = |name: &str| repo.path(name).display().to_string();
    let public = format!("http://localhost:{port}");
    host.options = ["--oidc", &file("oidc.yaml"), "--outgoing-ca-file", &file("ca.pem"), "--public-url", &public]
        .map(str::to_owned)
        .to_vec();
    host.start();
    let address = format!("{public}/environments/dev");
    let problems = check_pages(&address, "", &[], &[("sign-in-identity", "/console/sign-in".to_owned())]);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let result = run_script(
        "browser_identity.mjs",
        &json!({ "address": address, "admin": "Adele Admin", "other": "Alice <Example>" }),
    );

    assert_eq!(result["form"], "/environments/dev/console/sign-in");
    assert_eq!(result["accounts"], json!(["Pick an account", ["Adele Admin", "Alice <Example>"]]));
    assert_eq!((&result["arrived"], &result["user"]), (&json!("/console/profiles?q=a"), &json!("Adele Admin")));
    let cookie = json!({
        "name": "__Host-mw-dev", "path": "/", "httpOnly": true, "secure": true, "sameSite": "Lax",
    });
    assert_eq!(result["cookies"], json!([cookie]));
    assert_eq!((&result["password"], &result["confirmed"]), (&json!("Enter password"), &json!("/console/sessions")));
    assert_eq!(result["renewed"], true);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert!(text(&result["otherAccount"]).contains("has no role here"), "{result:#}");
    let refused: Vec<String> = result["refused"].as_array().unwrap().iter().map(text).collect();
    assert!(refused[0].contains("access_denied: AADSTS65004: User declined"), "{refused:?}");
    assert!(refused[1].contains("MW0324") && refused[1].contains("has no role here"), "{refused:?}");
    assert_eq!(result["cookiesOfRefused"], json!([]));
    assert_eq!(result["violations"], json!([]));
    assert!(!host.log().contains("C4nary"));
}
