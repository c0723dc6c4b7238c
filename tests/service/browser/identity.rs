//! Sign-in and signature with an identity provider in Chromium: the whole walk from the link over the sandbox of Entra to the
//! console.

use serde_json::{Value, json};

use crate::support::{
    browser::{check_pages, run_script},
    host_process::HostProcess,
    repository::{SMALL_PROFILE, TestRepository, run_command},
    sandbox::Sandbox,
};

const TENANT: &str = "0c0ffee0-0000-4000-8000-000000000001";
const CLIENT: &str = "0c0ffee0-0000-4000-8000-0000000000cc";
const SECRET: &str = "C4nary-of-the-console";

/// Proposes the files of an environment in which persons with a role sign, and returns the path of the proposal.
fn propose(repo: &TestRepository, host: &HostProcess, sandbox: &Sandbox) -> String {
    let run = |arguments: &[&str]| {
        let mut command = repo.command(arguments);
        command.env("MAILWRIGHT_SERVICE", host.address("dev")).env("MAILWRIGHT_TOKEN", host.token("dev"));
        run_command(command).code(0)
    };
    let policy = format!(
        "policy:
  approvals:
    signers: [{{ name: managers, role: Mail.dev.Admin, issuer: \"{}/{TENANT}/v2.0\" }}]
    rules: [{{ count: 1, reasonRequired: true }}]
",
        sandbox.running.address
    );
    repo.write("environments/dev/environment.yaml", format!("companies: [EDU1]\n{policy}"));
    repo.write("environments/dev/profiles/relay.yaml", SMALL_PROFILE);
    run(&["apply", "dev", "--yes", "--skip-verify"]);
    repo.write("environments/dev/environment.yaml", format!("companies: [EDU1, EDU2]\n{policy}"));
    let proposed = run(&["plan", "dev", "--propose"]);
    let path = proposed.stderr.trim().rsplit_once("/console/").unwrap().1.to_owned();
    format!("/console/{path}")
}

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
    let proposal = propose(&repo, &host, &sandbox);
    let result = run_script(
        "browser_identity.mjs",
        &json!({ "address": address, "admin": "Adele Admin", "other": "Alice <Example>", "proposal": proposal }),
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
    // The signature: what the page shows, the password at the provider, and the page of the proposal with it.
    assert!(text(&result["signText"]).contains("mailwright-signature-v1"), "{}", result["signText"]);
    assert_eq!((&result["signPassword"], &result["signed"]), (&json!("Enter password"), &json!(proposal)));
    let signature = text(&result["signature"]);
    for shown in ["Adele Admin", "managers", "has approved", "with the identity provider", "Ticket 4711", "sha256:"] {
        assert!(signature.contains(shown), "{shown}: {signature}");
    }
    assert_eq!((&result["signAccessible"], &result["signWide"]), (&json!([]), &json!([])));
    assert!(text(&result["otherAccount"]).contains("has no role here"), "{result:#}");
    let refused: Vec<String> = result["refused"].as_array().unwrap().iter().map(text).collect();
    assert!(refused[0].contains("access_denied: AADSTS65004: User declined"), "{refused:?}");
    assert!(refused[1].contains("MW0324") && refused[1].contains("has no role here"), "{refused:?}");
    assert_eq!(result["cookiesOfRefused"], json!([]));
    assert_eq!(result["violations"], json!([]));
    assert!(!host.log().contains("C4nary"));
}
