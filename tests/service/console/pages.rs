//! Pages: what they show, in which language, how large they are, and that nothing from outside can become part of them.

use super::client::Client;
use crate::support::repository::TestRepository;
use serde_json::json;

const HOSTILE: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\u{202e}gpj";

#[test]
fn hostile_names_are_text_in_every_page() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let change = json!({ "description": HOSTILE, "from": { "name": HOSTILE } });
    assert_eq!(repo.patch("relay", &change).status, 200);
    let hold = json!({ "profile": "relay", "reason": HOSTILE });
    assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
    let mut client = Client::new(&repo);
    let answer = client.send(
        "POST",
        "/console/sign-in",
        &[("Content-Type", "application/x-www-form-urlencoded"), ("User-Agent", HOSTILE)],
        &format!("token={}", repo.token()),
    );
    assert_eq!(answer.status, 303);
    for path in [
        "/console",
        "/console/profiles",
        "/console/profiles/relay",
        "/console/sessions",
        "/console/profiles?q=%3Cscript%3Ealert(1)%3C/script%3E&company=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E",
        "/console/profiles?sort=%3Cscript%3E&state=%3Cscript%3E",
    ] {
        let page = client.page(path);
        assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{path}: {page}");
        assert!(!page.contains('\u{202e}'), "{path}");
    }
    let page = client.page("/console/profiles/relay");
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    for path in ["/console/%3Cscript%3Ealert(1)%3C/script%3E", "/console/profiles/%3Cscript%3E"] {
        let answer = client.get(path);
        assert!(answer.status == 404 && !answer.body.contains("<script>"), "{}", answer.body);
    }
}

#[test]
fn the_language_follows_the_browser_until_one_is_chosen() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut client = Client::new(&repo);
    let title = |client: &mut Client, accepted: &str| {
        let page = client.send("GET", "/console/sign-in", &[("Accept-Language", accepted)], "").body;
        let language = page.split("<html lang=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert_eq!(page.contains("<h1>Anmelden</h1>"), language == "de", "{page}");
        language
    };
    for (accepted, language) in [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("fr,en;q=0.8,de;q=0.4", "en"),
        ("fr", "en"),
        ("en;q=0.2,DE;q=0.3", "de"),
        ("de;q=0", "en"),
        ("de;q=x,,;;", "en"),
    ] {
        assert_eq!(title(&mut client, accepted), language, "{accepted}");
    }
    let chosen = client.post("/console/language", &[("language", "de"), ("next", "//evil.example")]);
    assert_eq!((chosen.status, chosen.header("location")), (303, Some("/console")));
    assert_eq!(title(&mut client, "en"), "de");
    assert_eq!(client.post("/console/language", &[("language", "xx"), ("next", "/console")]).status, 400);
}

#[test]
fn without_a_session_setup_shows_what_readyz_shows() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let page = Client::new(&repo).page("/console/setup");
    assert!(page.contains("The service accepts mail.") && !page.contains("smtp.example.com"), "{page}");
    assert!(!page.contains("age1") && !page.contains("Generation"), "{page}");
    let page = Client::signed_in(&repo).page("/console/setup");
    assert!(page.contains("smtp.example.com:587") && page.contains("age1") && page.contains("Generation"), "{page}");
}

#[test]
fn the_list_of_ten_thousand_profiles_is_filtered_ordered_and_small() {
    let mut repo = TestRepository::small();
    repo.quiet = true;
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let profile = |number: usize| {
        json!({ "action": "create", "name": format!("profile-{number:05}"), "profile": { "profile": {
            "description": format!("Invoices of branch {number} with a description of some length"),
            "enabled": false,
            "provider": { "smtp": { "host": format!("mail-{}.example.com", number % 70) } },
            "from": { "address": format!("branch-{number}@example.com") },
            "functions": ["documents-accounts-receivable", "document-purchasing"],
            "appliesTo": { "companies": ["EDU1", "EDU2"] },
        } } })
    };
    let changes: Vec<_> = (0..10_000).map(profile).collect();
    let changeset = json!({
        "id": "018f3a2e-0000-7000-8000-00000000000a", "environment": "dev", "base": 1, "changes": changes,
    });
    let answer = repo.http("POST", "/v1/changesets", &[], changeset.to_string().as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.body);
    let mut client = Client::signed_in(&repo);
    let names = |page: &str| -> Vec<String> {
        let rows = page.split("<th scope=\"row\"><a href=\"/console/profiles/").skip(1);
        rows.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    for path in
        ["/console", "/console/setup", "/console/profiles", "/console/profiles/profile-00042", "/console/sessions"]
    {
        let page = client.page(path);
        assert!(page.len() < 200_000, "{path}: {} bytes", page.len());
    }
    let first = client.page("/console/profiles");
    assert!(first.contains("10001 profiles match") && first.contains("Page 1 of 101"), "{first}");
    assert_eq!(names(&first), (0..100).map(|number| format!("profile-{number:05}")).collect::<Vec<_>>());
    assert!(first.contains("href=\"/console/profiles?page=2\""));
    let last = client.page("/console/profiles?page=101");
    assert_eq!(names(&last), ["relay"]);
    assert_eq!(names(&client.page("/console/profiles?page=999999")), ["relay"]);
    let down = client.page("/console/profiles?sort=-name&q=branch+1");
    assert_eq!(names(&down)[..2], ["profile-01999", "profile-01998"]);
    assert!(down.contains("aria-sort=\"descending\""), "{down}");
    assert_eq!(names(&client.page("/console/profiles?q=branch-4242%40")), ["profile-04242"]);
    assert_eq!(names(&client.page("/console/profiles?state=unverified")), ["relay"]);
    assert_eq!(names(&client.page("/console/profiles?function=default")), ["relay"]);
    assert_eq!(names(&client.page("/console/profiles?company=EDU2&state=disabled&page=3")).len(), 100);
    assert!(client.page("/console/profiles?q=nothing+like+it").contains("No profile matches the filter."));
}

#[test]
fn no_page_has_a_secret_or_a_token() {
    let canary = "Canary-b7Qx93Lm-k2Rv58Tz";
    let mut repo = TestRepository::examples();
    repo.pipe(&["secrets", "set", "dev", "relay/password"], canary.as_bytes()).code(0);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    // What a server says about a login is shown, too.
    repo.run(&["verify", "dev"]);
    let token = repo.token().to_owned();
    let secret_of_token = token.rsplit('_').next().unwrap().to_owned();
    let mut client = Client::signed_in(&repo);
    let session = client.cookies["__Host-mw"].clone();
    let (mut pages, mut bytes) = (0, 0);
    let mut paths: Vec<String> =
        ["/console", "/console/profiles", "/console/setup", "/console/sessions", "/console/unknown"]
            .map(str::to_owned)
            .into();
    let state = repo.state();
    let profiles = state["profiles"].as_object().unwrap();
    paths.extend(profiles.keys().map(|name| format!("/console/profiles/{name}")));
    for path in paths {
        let answer = client.get(&path);
        for hidden in [canary, &secret_of_token, &session] {
            assert!(!answer.body.contains(hidden) && !answer.head.contains(hidden), "{path}: {hidden}");
        }
        pages += 1;
        bytes += answer.body.len();
    }
    assert!(pages > 8 && bytes > 20_000, "{pages} pages of {bytes} bytes");
    let refused = Client::new(&repo).post("/console/sign-in", &[("token", &format!("{token}x")), ("next", "/console")]);
    assert!(refused.status == 401 && !refused.body.contains(&secret_of_token), "{}", refused.body);
    assert!(!repo.service_log().contains(&session) && !repo.service_log().contains(&secret_of_token));
}
