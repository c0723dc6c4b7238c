//! Addresses of the console: the right of each, security headers on every answer, and requests from other sites.

use super::client::Client;
use crate::support::repository::TestRepository;

/// Every address, its method and its right. A new address is a new line here.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/console", "profiles:see outbox:see in scope"),
    ("GET", "/console/access", "profiles:see access:see"),
    ("GET", "/console/account", "signed-in"),
    ("POST", "/console/account/passkeys", "signed-in"),
    ("POST", "/console/account/passkeys/{id}/remove", "signed-in"),
    ("GET", "/console/assets/{hash}/{name}", "open"),
    ("GET", "/console/audit", "audit:see"),
    ("GET", "/console/audit/export", "audit:see"),
    ("POST", "/console/audit/verify", "audit:verify"),
    ("GET", "/console/compose", "mail:submit of some"),
    ("POST", "/console/compose", "mail:submit of some"),
    ("GET", "/console/confirm", "signed-in"),
    ("POST", "/console/confirm", "signed-in"),
    ("GET", "/console/confirm/identity", "signed-in"),
    ("GET", "/console/coverage", "profiles:see in scope"),
    ("GET", "/console/coverage/{company}/{function}", "profiles:see in scope"),
    ("GET", "/console/delegate", "open"),
    ("GET", "/console/enroll", "open"),
    ("POST", "/console/enroll", "open"),
    ("POST", "/console/enroll/passkey", "open"),
    ("GET", "/console/history", "history:see"),
    ("GET", "/console/history/diff", "history:see"),
    ("GET", "/console/history/{number}/rollback", "history:see changes:rollback"),
    ("POST", "/console/history/{number}/rollback", "history:see changes:rollback"),
    ("GET", "/console/holds", "outbox:see in scope"),
    ("POST", "/console/holds", "outbox:hold of some"),
    ("POST", "/console/holds/{id}/release", "outbox:hold of some"),
    ("POST", "/console/language", "open"),
    ("GET", "/console/live", "profiles:see outbox:see in scope"),
    ("GET", "/console/operators", "operators:see"),
    ("POST", "/console/operators", "operators:create"),
    ("POST", "/console/operators/{id}/confirm", "operators:confirm"),
    ("POST", "/console/operators/{id}/link", "operators:create"),
    ("POST", "/console/operators/{id}/passkeys/{passkey}/remove", "operators:delete"),
    ("POST", "/console/operators/{id}/remove", "operators:delete"),
    ("GET", "/console/outbox", "outbox:see in scope"),
    ("GET", "/console/outbox/bulk", "outbox:see in scope"),
    ("POST", "/console/outbox/bulk", "outbox:see in scope"),
    ("GET", "/console/outbox/bulk/{sequence}", "outbox:see in scope"),
    ("GET", "/console/outbox/live", "outbox:see in scope"),
    ("GET", "/console/outbox/{id}", "outbox:see in scope"),
    ("POST", "/console/outbox/{id}/cancel", "outbox:cancel of some"),
    ("GET", "/console/outbox/{id}/live", "outbox:see in scope"),
    ("POST", "/console/outbox/{id}/replay", "outbox:replay of some"),
    ("POST", "/console/outbox/{id}/resolve", "outbox:resolve of some"),
    ("POST", "/console/outbox/{id}/retry", "outbox:retry of some"),
    ("POST", "/console/plan", "profiles:see changes:plan in scope"),
    ("POST", "/console/plan/apply", "profiles:see changes:edit in scope"),
    ("POST", "/console/plan/form", "profiles:see changes:plan in scope"),
    ("POST", "/console/plan/patch", "profiles:see changes:plan in scope"),
    ("POST", "/console/plan/propose", "profiles:see changes:propose in scope"),
    ("GET", "/console/profiles", "profiles:see in scope"),
    ("GET", "/console/profiles/new", "profiles:see changes:plan in scope"),
    ("GET", "/console/profiles/{name}", "profiles:see in scope"),
    ("GET", "/console/profiles/{name}/edit", "profiles:see changes:plan in scope"),
    ("GET", "/console/profiles/{name}/patch", "profiles:see changes:plan in scope"),
    ("POST", "/console/profiles/{name}/test", "profiles:see mail:submit in scope"),
    ("GET", "/console/proposals", "profiles:see in scope"),
    ("GET", "/console/proposals/{id}", "profiles:see in scope"),
    ("POST", "/console/proposals/{id}/apply", "profiles:see changes:edit|changes:apply in scope"),
    ("POST", "/console/proposals/{id}/approve", "profiles:see changes:propose in scope"),
    ("GET", "/console/proposals/{id}/patch", "profiles:see changes:plan in scope"),
    ("POST", "/console/proposals/{id}/reject", "profiles:see changes:propose in scope"),
    ("POST", "/console/proposals/{id}/sign", "profiles:see changes:propose in scope"),
    ("GET", "/console/proposals/{id}/sign/{digest}", "profiles:see changes:propose in scope"),
    ("POST", "/console/proposals/{id}/signature", "profiles:see changes:propose in scope"),
    ("POST", "/console/proposals/{id}/verify", "profiles:see changes:plan in scope"),
    ("GET", "/console/rollouts", "rollouts:see history:see"),
    ("GET", "/console/sessions", "signed-in"),
    ("POST", "/console/sessions/{id}/end", "signed-in"),
    ("GET", "/console/setup", "open"),
    ("GET", "/console/sign-in", "open"),
    ("POST", "/console/sign-in", "open"),
    ("GET", "/console/sign-in/callback", "open"),
    ("GET", "/console/sign-in/callback/{provider}", "open"),
    ("POST", "/console/sign-in/passkey", "open"),
    ("GET", "/console/sign-in/with/{provider}", "open"),
    ("POST", "/console/sign-out", "signed-in"),
    ("POST", "/console/sign-out-everywhere", "signed-in"),
    ("GET", "/console/tokens", "tokens:see"),
    ("POST", "/console/tokens/{id}/revoke", "tokens:delete"),
    ("GET", "/console/verify", "profiles:see in scope"),
    ("POST", "/console/verify", "profiles:see profiles:verify in scope"),
    ("GET", "/console/verify/{id}", "profiles:see in scope"),
    ("GET", "/console/waiting", "mail:submit of some"),
    ("GET", "/console/waiting/{id}", "mail:submit of some"),
];

/// A real address for a route.
fn example(path: &str) -> String {
    path.replace("{hash}/{name}", "0/console.css")
        .replace("{name}", "relay")
        .replace("{sequence}", "1")
        .replace("{number}", "1")
        .replace("{company}/{function}", "EDU1/default")
        .replace("{id}", "000000000000")
}

#[test]
fn every_address_declares_its_right() {
    let found: Vec<(String, String, String)> =
        mailwright::console::route_list().into_iter().map(|route| (route.method, route.path, route.right)).collect();
    let expected: Vec<(String, String, String)> = ROUTES
        .iter()
        .map(|(method, path, right)| ((*method).to_owned(), (*path).to_owned(), (*right).to_owned()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_address_asks_for_its_right() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    for (method, path, right) in ROUTES {
        let mut client = Client::new(&repo);
        let path = example(path);
        let answer = match *method {
            "GET" => client.get(&path),
            _ => client.post(&path, &[]),
        };
        let location = answer.header("location").unwrap_or_default();
        let is_refused = answer.status == 303 && location.starts_with("/console/sign-in?next=");
        assert_eq!(is_refused, *right != "open", "{method} {path}: {}", answer.head);
        // A script that asked for a part of a page is not given the form.
        if *right != "open" {
            let answer = client.send(method, &path, &[("HX-Request", "true"), ("Sec-Fetch-Site", "same-origin")], "");
            assert_eq!(answer.status, 401, "{method} {path}: {}", answer.head);
            assert!(answer.header("hx-redirect").unwrap().starts_with("/console/sign-in?next="));
            assert_eq!(answer.body, "");
        }
    }
}

#[test]
fn a_sender_cannot_sign_in_and_a_viewer_sees_the_pages() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let token = |role: &str| {
        repo.run(&["token", "create", "dev", "--name", &format!("the {role}"), "--role", role]).code(0).stdout
    };
    let mut client = Client::new(&repo);
    let refused = client.post("/console/sign-in", &[("token", token("sender").trim())]);
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body.contains("MW0202") && client.cookies.is_empty(), "{}", refused.body);
    client.sign_in(token("viewer").trim());
    for path in ["/console", "/console/profiles", "/console/profiles/relay", "/console/setup", "/console/sessions"] {
        assert!(client.page(path).contains("the viewer"), "{path}");
    }
}

#[test]
fn the_role_of_a_binding_opens_the_pages_until_it_is_taken_away() {
    let mut repo = TestRepository::small();
    let policy = "\
roles:
  reader:
    grants: [{ areas: [profiles], activities: [see] }]
bindings:
  desk: { subjects: [{ token: desk }], roles: [reader] }
";
    repo.write("environments/dev/access.yaml", policy);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes", "--allow-rights"]).code(0);
    let token = |name: &str| {
        repo.run(&["token", "create", "dev", "--name", name, "--role", "bound"]).code(0).stdout.trim().to_owned()
    };
    let (desk, other) = (token("desk"), token("other"));
    assert_eq!(Client::new(&repo).post("/console/sign-in", &[("token", &other)]).status, 403);
    let mut client = Client::new(&repo);
    client.sign_in(&desk);
    let profiles = client.page("/console/profiles");
    assert!(profiles.contains("relay"));
    // The navigation leads to what may be opened.
    let navigation = profiles.split("<nav").nth(1).unwrap().split("</nav>").next().unwrap();
    for link in navigation.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        client.page(link);
    }
    assert!(
        navigation.contains("\"/console/coverage\"") && !navigation.contains("\"/console/outbox\""),
        "{navigation}"
    );
    let overview = client.get("/console");
    assert!(
        overview.status == 403 && overview.body.contains("MW0202"),
        "it has no right to the outbox: {}",
        overview.body
    );
    repo.write("environments/dev/access.yaml", "bindings: {}\n");
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    assert_eq!(client.get("/console/profiles").status, 303, "the session ends with the right");
}

#[test]
fn every_answer_has_the_security_headers() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut client = Client::signed_in(&repo);
    let style = client.page("/console");
    let style = style.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let expected = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let mut answers = vec![
        client.get(&style),
        client.get("/console"),
        client.get("/console/"),
        client.get("/console/nothing/here"),
        client.get("/console/profiles/nothing"),
        client.get("/console/profiles/%ff"),
        client.get("/console/assets/0/console.css"),
        client.send("DELETE", "/console/profiles", &[], ""),
        client.post_with("/console/sign-out", &[], &[("Origin", "https://evil.example")]),
        client.post("/console/sign-in", &[("other", "field")]),
        Client::new(&repo).get("/console/profiles"),
    ];
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 404, 404, 404, 404, 404, 405, 403, 400, 303]);
    let asset = answers.remove(0);
    assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(asset.header("content-type"), Some("text/css; charset=utf-8"));
    for answer in answers {
        assert_eq!(answer.header("content-security-policy"), Some(expected), "{}", answer.head);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"));
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.head);
        if answer.status >= 400 {
            let is_page = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
            let id = answer.header("x-request-id").unwrap();
            assert!(
                is_page && answer.body.contains("MW0") && answer.body.contains(id),
                "{}\n{}",
                answer.head,
                answer.body
            );
        }
    }
}

#[test]
fn a_request_that_another_site_started_changes_nothing() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut client = Client::signed_in(&repo);
    let cookies = client.cookies.clone();
    for headers in [
        &[("Sec-Fetch-Site", "cross-site")][..],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "null"), ("Sec-Fetch-Site", "cross-site")],
        &[("Origin", "http://test.evil.example")],
        &[("Origin", "http://test:1")],
    ] {
        for path in ["/console/sign-out", "/console/sign-in", "/console/sign-out-everywhere", "/console/language"] {
            let token = repo.token().to_owned();
            let answer = client.post_with(path, &[("token", &token)], headers);
            assert_eq!(answer.status, 403, "{path} {headers:?}: {}", answer.body);
            assert!(answer.body.contains("MW0390"), "{}", answer.body);
            assert_eq!(client.cookies, cookies, "{path} {headers:?}");
        }
    }
    client.page("/console");
    // Programs other than browsers say nothing of this kind, and have no cookies that others could use.
    assert_eq!(client.post_with("/console/sign-out", &[], &[("Origin", "http://test")]).status, 303);
    assert_eq!(client.get("/console").status, 303);
}

#[test]
fn a_browser_at_the_address_of_the_service_is_sent_to_the_console() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut client = Client::new(&repo);
    let answer = client.send("GET", "/", &[("Accept", "text/html,application/xhtml+xml;q=0.9")], "");
    assert_eq!((answer.status, answer.header("location")), (303, Some("/console")));
    let answer = client.send("GET", "/", &[("Accept", "*/*")], "");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("MW0214")));
}

#[test]
fn the_api_takes_no_session_and_the_console_no_token() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut client = Client::signed_in(&repo);
    assert_eq!(client.get("/v1/service").status, 401);
    let authorization = format!("Bearer {}", repo.token());
    let answer = Client::new(&repo).send("GET", "/console/profiles", &[("Authorization", &authorization)], "");
    assert_eq!(answer.status, 303);
}
