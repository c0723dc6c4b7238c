//! `$select`, `$filter` and `$orderby` of the sandbox's Graph: it answers the supported queries, and refuses all others
//! with Graph's own errors, as Graph itself would.

use crate::support::sandbox::{DIRECT, Sandbox, good, reader_token};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

fn reader_of(sandbox: &Sandbox) -> impl Fn(&str) -> (u16, Value) {
    let token = sandbox.runtime.block_on(reader_token(&sandbox.running));
    move |path| {
        let url = format!("{}/v1.0{path}", sandbox.running.address);
        sandbox.runtime.block_on(async {
            let answer = sandbox.http.get(url).bearer_auth(token.expose_secret()).send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        })
    }
}

#[test]
fn supported_queries_are_answered() {
    let sandbox = Sandbox::start(good());
    let ask = reader_of(&sandbox);
    let names = |path: &str| -> Vec<String> {
        let (status, body) = ask(path);
        assert_eq!(status, 200, "{path}: {body}");
        body["value"].as_array().unwrap().iter().map(|item| item["displayName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/users?$filter=startswith(userPrincipalName,'AL')"), ["alice@contoso.example"]);
    assert_eq!(
        names("/users?$filter=mail eq 'x@y.example' or proxyAddresses/any(p:p eq 'smtp:invoices@contoso.example')"),
        ["documents@contoso.example"]
    );
    assert_eq!(names("/users?$filter=startswith(mail,'s') and accountEnabled eq false"), ["shared@contoso.example"]);
    assert_eq!(names("/users?$filter=displayName eq 'o''brien or not'"), Vec::<String>::new());
    assert_eq!(names(&format!("/applications?$filter=appId eq '{DIRECT}'")), ["Documents"]);
    let (_, selected) = ask("/users?$select=id,mail&$top=1");
    let keys: Vec<&String> = selected["value"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "mail"]);
    assert!(selected["@odata.nextLink"].as_str().unwrap().contains("$select=id%2Cmail"), "{selected}");
}

#[test]
fn unsupported_queries_are_refused_as_by_graph() {
    let sandbox = Sandbox::start(good());
    let ask = reader_of(&sandbox);
    let user = "Could not find a property named 'nope' on type 'microsoft.graph.user'.";
    for (path, code, message) in [
        ("/users?$select=nope", "BadRequest", format!("Parsing OData Select and Expand failed: {user}")),
        (
            "/users/alice@contoso.example?$select=id,nope",
            "BadRequest",
            format!("Parsing OData Select and Expand failed: {user}"),
        ),
        ("/users?$filter=nope eq 'x'", "BadRequest", format!("Invalid filter clause: {user}")),
        ("/users?$filter=startswith(nope,'x')", "BadRequest", format!("Invalid filter clause: {user}")),
        (
            "/users?$filter=contains(mail,'x')",
            "Request_UnsupportedQuery",
            "Unsupported or invalid query filter clause specified.".to_owned(),
        ),
        (
            "/applications?$filter=appId eq nothing",
            "Request_UnsupportedQuery",
            "Unsupported or invalid query filter clause specified.".to_owned(),
        ),
        (
            "/users?$orderby=mail",
            "Request_UnsupportedQuery",
            "Sorting not supported for current query.".to_owned(),
        ),
        ("/users?$nope=1", "BadRequest", "The query parameter '$nope' is not supported.".to_owned()),
        (
            "/users?$top=many",
            "BadRequest",
            "Invalid value 'many' for $top query option found. The $top query option requires a non-negative integer value."
                .to_owned(),
        ),
    ] {
        let (status, body) = ask(path);
        let error = &body["error"];
        assert_eq!((status, &error["code"], &error["message"]), (400, &json!(code), &json!(message)), "{path}");
        assert!(error["innerError"]["request-id"].is_string(), "{body}");
    }
}
