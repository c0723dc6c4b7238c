//! The writes of registration tools, as they send them to the sandbox's Graph: `az`, Graph PowerShell, Terraform's provider
//! `azuread` and the CLI for Microsoft 365. Each changes what the sandbox answers afterwards.

use crate::support::sandbox::{DESKTOP, DIRECT, SECRET, Sandbox, good};
use serde_json::{Value, json};

const ADMINISTRATOR: &str = "0c0ffee0-0000-4000-8000-0000000000ad";
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// An administrator's program.
struct Tool {
    sandbox: Sandbox,
    token: String,
}

impl Tool {
    fn start() -> Self {
        let mut scenario = good();
        let administrator = json!({
            "client": ADMINISTRATOR, "name": "Administrator", "secrets": [{ "value": "admin-secret" }],
            "granted": [
                "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All",
                "DelegatedPermissionGrant.ReadWrite.All", "User.Read.All",
            ],
        });
        scenario["tenants"][0]["applications"].as_array_mut().unwrap().push(administrator);
        let sandbox = Sandbox::start(scenario);
        let (status, body) = sandbox.sign_in(ADMINISTRATOR, "admin-secret");
        assert_eq!(status, 200, "{body}");
        Self { token: body["access_token"].as_str().unwrap().to_owned(), sandbox }
    }

    fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/v1.0{path}", self.sandbox.running.address);
        let request = self.sandbox.http.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        let request = if let Some(body) = &body { request.json(body) } else { request };
        self.sandbox.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap_or_default())
        })
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.send("POST", path, Some(body));
        assert!([200, 201].contains(&status), "{path}: {status} {body}");
        body
    }

    fn change(&self, method: &str, path: &str, body: Option<Value>) {
        let (status, body) = self.send(method, path, body);
        assert_eq!(status, 204, "{method} {path}: {body}");
    }

    /// Returns the object id of a service principal, as the tools look it up.
    fn principal(&self, client: &str) -> String {
        let found = self.get(&format!("/servicePrincipals?$filter=servicePrincipalNames/any(c:c eq '{client}')"));
        assert_eq!(found["value"].as_array().unwrap().len(), 1, "{found}");
        found["value"][0]["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_secret_is_added_used_and_removed() {
    let tool = Tool::start();
    let path = format!("/applications(appId='{DIRECT}')");
    let added = tool.post(&format!("{path}/addPassword"), json!({ "passwordCredential": { "displayName": "new" } }));
    assert!(added["@odata.context"].as_str().unwrap().ends_with("$metadata#microsoft.graph.passwordCredential"));
    let secret = added["secretText"].as_str().unwrap();
    assert_eq!(added["hint"], secret[..3]);
    assert_eq!(tool.sandbox.sign_in(DIRECT, secret).0, 200);
    // The list has the same id, without the value: this is how a tool finds what to remove.
    let listed = tool.get(&format!("{path}?$select=passwordCredentials"));
    let listed = listed["passwordCredentials"].as_array().unwrap();
    let own = listed.iter().find(|known| known["keyId"] == added["keyId"]).unwrap();
    assert_eq!((&own["displayName"], &own["secretText"]), (&json!("new"), &Value::Null));
    let object = tool.get(&format!("/applications?$filter=appId eq '{DIRECT}'"))["value"][0]["id"].clone();
    let remove = format!("/applications/{}/removePassword", object.as_str().unwrap());
    tool.change("POST", &remove, Some(json!({ "keyId": added["keyId"] })));
    assert_eq!(tool.sandbox.sign_in(DIRECT, secret).1["error_codes"], json!([7_000_215]));
    let (status, body) = tool.send("POST", &remove, Some(json!({ "keyId": added["keyId"] })));
    assert_eq!((status, &body["error"]["code"]), (400, &json!("Request_BadRequest")));
    // The others keep their ids.
    let left = tool.get(&format!("{path}?$select=passwordCredentials"));
    assert_eq!(left["passwordCredentials"].as_array().unwrap().len(), listed.len() - 1);
}

#[test]
fn an_application_is_registered_changed_and_deleted() {
    let tool = Tool::start();
    let created = tool.post("/applications", json!({ "displayName": "ERP", "signInAudience": "AzureADMyOrg" }));
    assert!(created["@odata.context"].as_str().unwrap().ends_with("/v1.0/$metadata#applications/$entity"));
    let (object, client) = (created["id"].as_str().unwrap(), created["appId"].as_str().unwrap());
    let path = format!("/applications/{object}");
    let key = rcgen::KeyPair::generate().unwrap();
    let der = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let der = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der.der());
    let change = json!({
        "displayName": "ERP mail", "isFallbackPublicClient": true,
        "spa": { "redirectUris": ["https://erp.contoso.example/"] },
        "keyCredentials": [{ "type": "AsymmetricX509Cert", "usage": "Verify", "key": der }],
    });
    tool.change("PATCH", &path, Some(change));
    let shown = tool.get(&format!("/myorganization{path}"));
    let key = &shown["keyCredentials"][0];
    assert_eq!((&shown["displayName"], &shown["isFallbackPublicClient"]), (&json!("ERP mail"), &json!(true)));
    // Permissions on other resources remain as they were sent, which is what Terraform compares.
    let required = json!([
        { "resourceAppId": "00000002-0000-0ff1-ce00-000000000000",
          "resourceAccess": [{ "id": "0c0ffee0-0000-4000-8000-00000000f001", "type": "Role" }] },
        { "resourceAppId": GRAPH, "resourceAccess": [{ "id": "b633e1c5-b582-4048-a93e-9f11b44c7e96", "type": "Role" }] },
    ]);
    tool.change("PATCH", &path, Some(json!({ "requiredResourceAccess": required })));
    assert_eq!(tool.get(&path)["requiredResourceAccess"], required);
    // A list of keys replaces the present one; those that remain are named without their contents.
    tool.change("PATCH", &path, Some(json!({ "keyCredentials": [{ "keyId": key["keyId"], "key": null }] })));
    assert_eq!(tool.get(&path)["keyCredentials"][0]["customKeyIdentifier"], key["customKeyIdentifier"]);
    tool.change("PATCH", &path, Some(json!({ "keyCredentials": [] })));
    assert_eq!(tool.get(&path)["keyCredentials"], json!([]));

    let credential = json!({
        "name": "cluster", "issuer": "https://i.example", "subject": "system:x", "audiences": ["api://AzureADTokenExchange"],
    });
    tool.post(&format!("{path}/federatedIdentityCredentials"), credential.clone());
    let (status, _) = tool.send("POST", &format!("{path}/federatedIdentityCredentials"), Some(credential));
    assert_eq!(status, 409);
    assert_eq!(tool.get(&format!("{path}/federatedIdentityCredentials/cluster"))["subject"], "system:x");
    tool.change("DELETE", &format!("{path}/federatedIdentityCredentials/cluster"), None);
    assert_eq!(tool.get(&format!("{path}/federatedIdentityCredentials"))["value"], json!([]));

    tool.post("/servicePrincipals", json!({ "appId": client }));
    let principal = format!("/servicePrincipals/{}", tool.principal(client));
    tool.change("PATCH", &principal, Some(json!({ "accountEnabled": false, "appRoleAssignmentRequired": true })));
    let shown = tool.get(&principal);
    assert_eq!((&shown["accountEnabled"], &shown["appRoleAssignmentRequired"]), (&json!(false), &json!(true)));
    assert_eq!(tool.get(&format!("{path}?$expand=owners"))["owners"], json!([]));
    tool.change("DELETE", &principal, None);
    assert_eq!(tool.send("GET", &principal, None).0, 404);
    tool.change("DELETE", &path, None);
    assert_eq!(tool.send("GET", &path, None).0, 404);
}

#[test]
fn permissions_are_granted_and_withdrawn_from_both_ends() {
    let tool = Tool::start();
    let (own, graph) = (tool.principal(DESKTOP), tool.principal(GRAPH));
    let role = "e2a3a72e-5f79-4c64-b1b1-878b674786c9"; // Mail.ReadWrite
    let body = json!({ "principalId": own, "resourceId": graph, "appRoleId": role });
    // `az rest` and PowerShell write to the one that receives; Terraform to the one that grants.
    for list in [
        format!("/servicePrincipals/{own}/appRoleAssignments"),
        format!("/servicePrincipals/{graph}/appRoleAssignedTo"),
    ] {
        let granted = tool.post(&list, body.clone());
        assert_eq!(
            (&granted["principalId"], &granted["resourceDisplayName"]),
            (&json!(own), &json!("Microsoft Graph"))
        );
        let (status, again) = tool.send("POST", &list, Some(body.clone()));
        assert_eq!(status, 400, "{again}");
        let id = granted["id"].as_str().unwrap();
        let expanded = tool.get(&format!("/servicePrincipals/{own}?$expand=appRoleAssignments"));
        assert_eq!(expanded["appRoleAssignments"][0]["id"], id);
        let filtered = tool.get(&format!("/servicePrincipals/{own}/appRoleAssignments?$filter=resourceId eq {graph}"));
        assert_eq!(filtered["value"].as_array().unwrap().len(), 1);
        tool.change("DELETE", &format!("{list}/{id}"), None);
        assert_eq!(tool.get(&format!("/servicePrincipals/{own}/appRoleAssignments"))["value"], json!([]));
    }

    // Of delegated permissions, for everybody and for one user.
    let user = tool.get("/users/alice@contoso.example")["id"].clone();
    let all = json!({ "clientId": own, "consentType": "AllPrincipals", "resourceId": graph, "scope": "Mail.Send" });
    let (status, body) = tool.send("POST", "/oauth2PermissionGrants", Some(all));
    assert_eq!((status, &body["error"]["code"]), (409, &json!("Request_MultipleObjectsWithSameKeyValue")));
    let one = json!({
        "clientId": own, "consentType": "Principal", "principalId": user, "resourceId": graph, "scope": "Contacts.Read",
    });
    let granted = tool.post("/oauth2PermissionGrants", one);
    let path = format!("/oauth2PermissionGrants/{}", granted["id"].as_str().unwrap());
    assert_eq!((&granted["consentType"], &granted["principalId"]), (&json!("Principal"), &user));
    tool.change("PATCH", &path, Some(json!({ "scope": "Contacts.Read Mail.Send" })));
    assert_eq!(tool.get(&path)["scope"].as_str().unwrap().trim(), "Contacts.Read Mail.Send");
    tool.change("DELETE", &path, None);
    assert_eq!(tool.send("GET", &path, None).0, 404);

    // A user is assigned to an application.
    let assigned = format!("/servicePrincipals/{own}/appRoleAssignedTo");
    let body = json!({ "principalId": user, "resourceId": own, "appRoleId": uuid::Uuid::nil() });
    let id = tool.post(&assigned, body)["id"].clone();
    assert_eq!(tool.get(&assigned)["value"][0]["principalType"], "User");
    tool.change("DELETE", &format!("{assigned}/{}", id.as_str().unwrap()), None);
    assert_eq!(tool.get(&assigned)["value"], json!([]));
}

#[test]
fn a_program_without_the_permission_changes_nothing() {
    let tool = Tool::start();
    let (_, body) = tool.sandbox.sign_in(DIRECT, SECRET);
    let before = tool.get(&format!("/applications(appId='{DIRECT}')"));
    let principal = tool.principal(DIRECT);
    let weak = Tool { token: body["access_token"].as_str().unwrap().to_owned(), sandbox: tool.sandbox };
    for (method, path) in [
        ("POST", format!("/applications(appId='{DIRECT}')/addPassword")),
        ("POST", format!("/applications(appId='{DIRECT}')/removePassword")),
        ("PATCH", format!("/applications(appId='{DIRECT}')")),
        ("DELETE", format!("/applications(appId='{DIRECT}')")),
        ("DELETE", format!("/applications(appId='{DIRECT}')/federatedIdentityCredentials/x")),
        ("PATCH", format!("/servicePrincipals/{principal}")),
        ("DELETE", format!("/servicePrincipals/{principal}")),
        ("POST", format!("/servicePrincipals/{principal}/appRoleAssignedTo")),
        ("DELETE", format!("/servicePrincipals/{principal}/appRoleAssignedTo/x")),
        ("POST", "/oauth2PermissionGrants".to_owned()),
    ] {
        let (status, body) = weak.send(method, &path, Some(json!({})));
        assert_eq!((status, &body["error"]["code"]), (403, &json!("Authorization_RequestDenied")), "{method} {path}");
    }
    let after = weak.get(&format!("/applications(appId='{DIRECT}')"));
    assert_eq!(before, after);
}
