//! The reads of an address book at the sandbox's Graph: users, groups and contacts, searched, counted, sorted and paged; and
//! what each costs in permissions and headers.

use crate::support::sandbox::{Sandbox, good};
use serde_json::{Value, json};

const BOOK: &str = "0c0ffee0-0000-4000-8000-0000000000b0";
/// The users of a large tenant.
const USERS: usize = 20_000;

struct Book {
    sandbox: Sandbox,
    token: String,
}

impl Book {
    fn start(granted: &[&str]) -> Self {
        let mut scenario = good();
        let tenant = &mut scenario["tenants"][0];
        let users = tenant["users"].as_array_mut().unwrap();
        users.extend((0..USERS).map(|number| {
            json!({ "name": format!("user{number}@contoso.example"), "displayName": format!("Person {number}") })
        }));
        users.push(json!({
            "name": "jm@contoso.example", "displayName": "Jürgen Müller-Lüdenscheidt",
            "contacts": [{ "name": "Zoë Zöllner", "mail": "zoe@elsewhere.example", "company": "Elsewhere" }],
        }));
        tenant["groups"] = json!([
            { "name": "Sales", "mail": "sales@contoso.example", "description": "Everybody who sells" },
            { "name": "Accounting team", "mail": "team@contoso.example", "kind": "microsoft-365" },
            { "name": "Administrators", "kind": "security" },
        ]);
        tenant["contacts"] =
            json!([{ "name": "Customer Ltd", "mail": "info@customer.example", "company": "Customer" }]);
        let book =
            json!({ "client": BOOK, "name": "Book", "granted": granted, "secrets": [{ "value": "book-secret" }] });
        tenant["applications"].as_array_mut().unwrap().push(book);
        let sandbox = Sandbox::start(scenario);
        let (_, body) = sandbox.sign_in(BOOK, "book-secret");
        Self { token: body["access_token"].as_str().unwrap().to_owned(), sandbox }
    }

    fn ask(&self, path: &str, is_eventual: bool) -> (u16, Value) {
        let url = if path.starts_with("https:") {
            path.to_owned()
        } else {
            format!("{}/v1.0{path}", self.sandbox.running.address)
        };
        let request = self.sandbox.http.get(url).bearer_auth(&self.token);
        let request = if is_eventual { request.header("ConsistencyLevel", "eventual") } else { request };
        self.sandbox.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        })
    }

    /// Returns the names of a list, which needs the header of advanced queries or not.
    fn names(&self, path: &str, is_eventual: bool) -> Vec<String> {
        let (status, body) = self.ask(path, is_eventual);
        assert_eq!(status, 200, "{path}: {body}");
        body["value"].as_array().unwrap().iter().map(|item| item["displayName"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn twenty_thousand_users_are_searched_counted_sorted_and_paged() {
    let book = Book::start(&["User.ReadBasic.All"]);
    let search = |text: &str| book.names(&format!("/users?$search={text}&$select=displayName,mail"), true);
    for text in [
        "\"displayName:müller\"",
        "\"displayName:jürgen lüden\"",
        "\"mail:jm@\"",
        "\"displayName:unknown\" OR \"mail:JM\"",
    ] {
        assert_eq!(search(text), ["Jürgen Müller-Lüdenscheidt"], "{text}");
    }
    assert_eq!(search("\"displayName:enscheidt\""), Vec::<String>::new(), "the middle of a word is not found");
    // A search finds `Person 1234`, and those whose numbers begin with it.
    let (_, found) = book.ask("/users?$search=\"displayName:1234\"&$count=true&$top=5&$orderby=displayName desc", true);
    assert_eq!(found["@odata.count"], 11);
    assert_eq!(found["value"][0]["displayName"], "Person 12349");
    let (_, next) = book.ask(found["@odata.nextLink"].as_str().unwrap(), true);
    assert_eq!(next["value"][0]["displayName"], "Person 12344");

    let (status, count) = book.ask("/users/$count", true);
    assert_eq!((status, count.as_u64().unwrap()), (200, (USERS + 5) as u64));
    let mut seen = 0;
    let mut path = "/users?$top=999&$select=id".to_owned();
    while !path.is_empty() {
        let (_, page) = book.ask(&path, false);
        seen += page["value"].as_array().unwrap().len();
        path = page["@odata.nextLink"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(seen, USERS + 5);
    assert_eq!(book.names("/users?$orderby=displayName&$top=1", false), ["alice@contoso.example"]);
    // Without `$select` a user has eleven properties, the same with any permission.
    let (_, user) = book.ask("/users/jm@contoso.example", false);
    let keys: Vec<&String> = user.as_object().unwrap().keys().collect();
    let usual = [
        "@odata.context",
        "businessPhones",
        "displayName",
        "givenName",
        "id",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
    ];
    assert_eq!(keys, usual);
    assert!(user["@odata.context"].as_str().unwrap().ends_with("/v1.0/$metadata#users/$entity"));
}

#[test]
fn an_advanced_query_without_its_parameters_is_refused_in_the_words_of_graph() {
    let book = Book::start(&["User.Read.All", "Group.Read.All", "Application.Read.All"]);
    let search = "Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'";
    let ends = "Operator 'endsWith' is not supported because the 'ConsistencyLevel:eventual' header is missing. Refer to https://aka.ms/graph-docs/advanced-queries for more information";
    for (path, is_eventual, code, message) in [
        ("/users?$search=\"displayName:a\"", false, "Request_UnsupportedQuery", search),
        ("/users/$count", false, "Request_BadRequest", "$count is not currently supported."),
        ("/users?$filter=endsWith(mail,'a')", false, "Request_UnsupportedQuery", ends),
        (
            "/users?$filter=mail ne null",
            true,
            "Request_UnsupportedQuery",
            "Unsupported property filter clause operator 'NotEqualsMatch'.",
        ),
        (
            "/applications?$orderby=displayName",
            true,
            "Request_UnsupportedQuery",
            "Sorting not supported for current query.",
        ),
        (
            "/users?$orderby=displayName&$filter=mail eq 'a'",
            false,
            "Request_UnsupportedQuery",
            "Sorting not supported for current query.",
        ),
    ] {
        let (status, body) = book.ask(path, is_eventual);
        assert_eq!(
            (status, &body["error"]["code"], &body["error"]["message"]),
            (400, &json!(code), &json!(message)),
            "{path}"
        );
    }
    // A count that is asked for without the header is left out.
    assert_eq!(book.ask("/groups?$count=true", false).1["@odata.count"], Value::Null);
    assert_eq!(book.ask("/groups?$count=true", true).1["@odata.count"], 3);
    assert_eq!(book.names("/groups?$filter=not(mailEnabled eq true)&$count=true", true), ["Administrators"]);
    assert_eq!(book.names("/applications?$orderby=displayName&$count=true&$top=1", true), ["Book"]);
    // In a batch, each request has its own header.
    let request = |id: &str, headers: Value| json!({ "id": id, "method": "GET", "url": "/users?$search=\"mail:jm\"", "headers": headers });
    let batch = json!({ "requests": [request("with", json!({ "ConsistencyLevel": "eventual" })), request("without", json!({}))] });
    let url = format!("{}/v1.0/$batch", book.sandbox.running.address);
    let answer: Value = book.sandbox.runtime.block_on(async {
        let sending = book.sandbox.http.post(url).bearer_auth(&book.token).json(&batch);
        sending.send().await.unwrap().json().await.unwrap()
    });
    let status_of = |id: &str| {
        let parts = answer["responses"].as_array().unwrap();
        parts.iter().find(|part| part["id"] == id).unwrap()["status"].clone()
    };
    assert_eq!([status_of("with"), status_of("without")], [json!(200), json!(400)]);
}

#[test]
fn groups_and_contacts_need_permissions_of_their_own() {
    let book = Book::start(&["Group.Read.All", "OrgContact.Read.All", "Contacts.Read"]);
    assert_eq!(
        book.names("/groups?$search=\"displayName:team\" OR \"mail:sales\"&$orderby=displayName", true),
        ["Accounting team", "Sales"]
    );
    assert_eq!(book.names("/groups?$filter=groupTypes/any(t:t eq 'Unified')", false), ["Accounting team"]);
    assert_eq!(book.names("/contacts?$search=\"displayName:customer\"", true), ["Customer Ltd"]);
    assert_eq!(book.names("/contacts?$filter=mail eq 'info@customer.example'", false), ["Customer Ltd"]);
    let (_, body) = book.ask(
        "/users/jm@contoso.example/contacts?$filter=emailAddresses/any(a:a/address eq 'zoe@elsewhere.example')",
        false,
    );
    assert_eq!(body["value"][0]["emailAddresses"][0]["name"], "Zoë Zöllner", "{body}");
    let id = book.ask("/groups", false).1["value"][0]["id"].clone();
    assert_eq!(book.ask(&format!("/groups/{}", id.as_str().unwrap()), false).1["mail"], "sales@contoso.example");
    assert_eq!(book.ask("/groups/0c0ffee0-0000-4000-8000-00000000dead", false).0, 404);

    let (status, body) = book.ask("/users", false);
    assert_eq!((status, &body["error"]["code"]), (403, &json!("Authorization_RequestDenied")));
    let poor = Book::start(&["User.Read.All"]);
    for (path, code) in [
        ("/groups", "Authorization_RequestDenied"),
        ("/contacts", "Authorization_RequestDenied"),
        ("/users/jm@contoso.example/contacts", "ErrorAccessDenied"),
    ] {
        let (status, body) = poor.ask(path, false);
        assert_eq!((status, &body["error"]["code"]), (403, &json!(code)), "{path}");
    }
}
