//! Test messages from the page of a profile: who may send one, to whom, with which contents, and how many; and why a message
//! waits, as its page explains it.

use serde_json::{Value, json};

use super::client::Client;
use crate::support::repository::{HttpResponse, SMALL_PROFILE, TestRepository};

const GUARDED: &str = "companies: [EDU1, EDU2]\ndelivery: { recipients: { allow: ['*@example.com'] } }\n";
const ACCESS: &str = "\
roles:
  tester:
    grants:
      - { areas: [profiles], activities: [see] }
      - { areas: [mail], activities: [submit], companies: [EDU1] }
  confirmed:
    grants:
      - { areas: [profiles, outbox], activities: [see] }
      - { areas: [mail], activities: [submit], stepUp: 5m }
bindings:
  testers: { subjects: [{ token: tina }], roles: [tester] }
  confirmed: { subjects: [{ token: carl }], roles: [confirmed] }
";

/// A service whose profile `relay` serves everything, and whose mail is held, so that nothing is sent.
fn service(environment: &str) -> TestRepository {
    let mut repo = TestRepository::small();
    repo.write("environments/dev/environment.yaml", environment);
    repo.serve();
    apply(&repo);
    let hold = json!({ "profile": "relay", "reason": "moved to <another> building" });
    assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
    repo
}

fn apply(repo: &TestRepository) {
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
}

fn sign_in(repo: &TestRepository, name: &str, role: &str) -> Client {
    let token = repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout;
    let mut client = Client::new(repo);
    client.sign_in(token.trim());
    client
}

/// Returns the id of the form of a page.
fn form(page: &str) -> String {
    let value = page.split("name=\"form\" value=\"").nth(1).unwrap_or_else(|| panic!("{page}"));
    value.split('"').next().unwrap().to_owned()
}

fn send(client: &mut Client, profile: &str, company: &str, to: &str, form: &str) -> HttpResponse {
    let fields = [("form", form), ("company", company), ("function", "default"), ("to", to)];
    client.post(&format!("/console/profiles/{profile}/test"), &fields)
}

fn new_form() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Returns the accepted test messages of the audit log.
fn recorded(repo: &TestRepository) -> Vec<Value> {
    let entries = repo.http("GET", "/v1/audit?limit=1000", &[], b"").json()["entries"].as_array().unwrap().clone();
    entries.into_iter().filter(|entry| entry["action"] == "message.test").collect()
}

#[test]
fn a_test_message_has_a_fixed_text_and_leads_to_its_page() {
    let repo = service(GUARDED);
    let mut client = Client::signed_in(&repo);
    let page = client.page("/console/profiles/relay");
    assert!(page.contains("This environment sends only to *@example.com."), "{page}");
    let form = form(&page);
    let sent = send(&mut client, "relay", "EDU1", "ann@example.com", &form);
    assert_eq!(sent.status, 303, "{}", sent.body);
    let location = sent.header("location").unwrap().to_owned();
    let id = location.strip_prefix("/console/outbox/").unwrap().strip_suffix("?done=test").unwrap().to_owned();
    let page = client.page(&location);
    for shown in ["Test message of the profile relay (dev)", "The test message is accepted", "ann@example.com"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let content = repo.http("GET", &format!("/v1/messages/{id}/content"), &[], b"").body;
    for line in ["Auto-Submitted: auto-generated", "Environment: dev", "Profile: relay", "Company: EDU1"] {
        assert!(content.contains(line), "{line}: {content}");
    }
    // The same form again is the same message, and one entry.
    assert_eq!(send(&mut client, "relay", "EDU1", "ann@example.com", &form).header("location"), Some(&*location));
    let entries = recorded(&repo);
    assert_eq!(entries.len(), 1, "{entries:#?}");
    let (actor, detail) = (&entries[0]["actor"], &entries[0]["detail"]);
    assert_eq!((actor, &detail["message"]), (&json!("first-admin"), &json!(id)));
    assert_eq!((&detail["profile"], &detail["to"]), (&json!("relay"), &json!("ann@example.com")));

    // No field has contents, and no recipient is beyond the guard or one of several.
    let more = [
        ("form", form.as_str()),
        ("company", "EDU1"),
        ("function", "default"),
        ("to", "ann@example.com"),
        ("text", "Buy now"),
    ];
    assert_eq!(client.post("/console/profiles/relay/test", &more).status, 400);
    for (to, code) in [
        ("ann@example.org", "MW0263"),
        ("ann@example.com, bob@example.com", "MW0261"),
        ("ann@example.com\r\nBcc: bob@example.com", "MW0261"),
        ("", "MW0261"),
    ] {
        let refused = send(&mut client, "relay", "EDU1", to, &new_form());
        assert!(refused.status >= 400 && refused.body.contains(code), "{to:?}: {}", refused.body);
    }
    let foreign = [("Sec-Fetch-Site", "cross-site")];
    let refused = client.post_with("/console/profiles/relay/test", &more[..4], &foreign);
    assert!(refused.status == 403 && refused.body.contains("MW0390"), "{}", refused.body);
    assert_eq!(recorded(&repo).len(), 1);
}

#[test]
fn a_person_sends_for_its_companies_and_only_by_the_profile_that_serves_them() {
    let repo = service("companies: [EDU1, EDU2]\n");
    repo.write("environments/dev/access.yaml", ACCESS);
    let own = SMALL_PROFILE.replace("system-wide", "{ companies: [EDU1] }");
    repo.write("environments/dev/profiles/edu1.yaml", own);
    repo.write("environments/dev/profiles/off.yaml", format!("enabled: false\n{SMALL_PROFILE}"));
    repo.write(
        "environments/dev/profiles/user.yaml",
        "provider:\n  microsoft-graph-delegate:\n    tenant: contoso.example\n    client: 0c0ffee0-0000-4000-8000-0000000000e1\n    platform: native\n    redirect: https://localhost\nfunctions: [user-interface]\nappliesTo: { companies: [EDU2] }\n",
    );
    apply(&repo);
    let mut admin = Client::signed_in(&repo);
    let page = admin.page("/console/profiles/relay");
    assert!(!page.contains("<option value=\"EDU1\">") && page.contains("<option value=\"EDU2\">"), "{page}");
    let refused = send(&mut admin, "relay", "EDU1", "ann@example.com", &new_form());
    assert!(refused.status == 422 && refused.body.contains("MW0108"), "{}", refused.body);
    assert!(refused.body.contains("edu1") && refused.body.contains("Coverage"), "{}", refused.body);
    for (profile, text) in [("off", "The profile is disabled"), ("user", "sends as a user who has signed in")] {
        let page = admin.page(&format!("/console/profiles/{profile}"));
        assert!(page.contains(text) && !page.contains(&format!("/{profile}/test\"")), "{page}");
        assert!(send(&mut admin, profile, "EDU2", "ann@example.com", &new_form()).status >= 400);
    }

    // Within the companies of the grant; without a right to the outbox the page of the profile says that it was sent.
    let mut tina = sign_in(&repo, "tina", "bound");
    assert!(tina.page("/console/profiles/relay").contains("another profile comes first"));
    let refused = send(&mut tina, "relay", "EDU2", "ann@example.com", &new_form());
    assert!(refused.status == 403 && refused.body.contains("MW0202"), "{}", refused.body);
    let page = tina.page("/console/profiles/edu1");
    let sent = send(&mut tina, "edu1", "EDU1", "ann@example.com", &form(&page));
    assert_eq!(sent.header("location"), Some("/console/profiles/edu1?done=test"), "{}", sent.body);
    assert!(tina.page("/console/profiles/edu1?done=test").contains("The test message is accepted"));

    // A viewer may not, and a grant with step-up needs a person.
    let mut viewer = sign_in(&repo, "vera", "viewer");
    assert!(viewer.page("/console/profiles/edu1").contains("your rights do not include"));
    assert_eq!(send(&mut viewer, "edu1", "EDU1", "ann@example.com", &new_form()).status, 403);
    let mut carl = sign_in(&repo, "carl", "bound");
    let refused = send(&mut carl, "edu1", "EDU1", "ann@example.com", &new_form());
    assert!(refused.status == 403 && refused.body.contains("MW0403"), "{}", refused.body);
    let refusals =
        repo.run(&["audit", "list", "dev", "--action", "access", "--outcome", "refused", "--format", "json"]).stdout;
    assert!(refusals.contains("mail:submit") && refusals.contains("tina") && refusals.contains("vera"), "{refusals}");
    assert_eq!(recorded(&repo).len(), 1);

    let own = SMALL_PROFILE.replace("system-wide", "{ companies: [EDU2] }");
    repo.write("environments/dev/profiles/edu2.yaml", own);
    apply(&repo);
    let page = admin.page("/console/profiles/relay");
    assert!(page.contains("another profile comes first") && !page.contains("/relay/test\""), "{page}");
}

#[test]
fn test_messages_are_limited_in_number() {
    let repo = service("companies: [EDU1]\n");
    let mut client = Client::signed_in(&repo);
    for _ in 0..5 {
        assert_eq!(send(&mut client, "relay", "EDU1", "ann@example.com", &new_form()).status, 303);
    }
    let refused = send(&mut client, "relay", "EDU1", "ann@example.com", &new_form());
    assert!(refused.status == 429 && refused.body.contains("MW0393"), "{}", refused.body);
    assert!(refused.body.contains("href=\"/console/profiles/relay\""), "the page leads back: {}", refused.body);
    assert_eq!(recorded(&repo).len(), 5);
}

/// Returns the page of a message in a language.
fn message_page(client: &mut Client, path: &str, language: &str) -> String {
    let answer = client.send("GET", path, &[("Accept-Language", language)], "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

#[test]
fn the_page_of_a_message_says_why_it_waits_and_where_that_is_changed() {
    let repo = service("companies: [EDU1]\nunserved: [{ reason: a test }]\n");
    let mut client = Client::signed_in(&repo);
    let sent = send(&mut client, "relay", "EDU1", "ann@example.com", &new_form());
    let path = sent.header("location").unwrap().split('?').next().unwrap().to_owned();
    let (english, german) = (message_page(&mut client, &path, "en"), message_page(&mut client, &path, "de"));
    for shown in ["An operator lets this mail wait", "Release the hold", "moved to &#60;another&#62; building"] {
        assert!(english.contains(shown), "{shown}: {english}");
    }
    assert!(english.contains("<a href=\"/console/holds\">") && english.contains("/live\""), "{english}");
    assert!(german.contains("Diese Mail ist angehalten") && german.contains("Geben Sie die Mail frei"), "{german}");

    let hold = repo.http("GET", "/v1/holds", &[], b"").json();
    let hold = hold["holds"][0]["id"].as_str().unwrap().to_owned();
    // A profile without a server, and then none.
    assert_eq!(
        repo.patch(
            "relay",
            &json!({ "provider": { "smtp": { "host": "127.0.0.1", "port": 1, "encryption": "none" } } })
        )
        .status,
        200
    );
    assert!(repo.http("DELETE", &format!("/v1/holds/{hold}"), &[], b"").status < 300);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut away = message_page(&mut client, &path, "en");
    while !away.contains("The server cannot be reached") && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(50));
        away = message_page(&mut client, &path, "en");
    }
    for shown in ["The server cannot be reached", "/console/profiles/relay/edit\">Change the profile", "Verify now"] {
        assert!(away.contains(shown), "{shown}: {away}");
    }
    assert_eq!(repo.patch("relay", &json!({ "enabled": false })).status, 200);
    let unserved = message_page(&mut client, &path, "de");
    assert!(unserved.contains("Kein Profil, über das der Dienst senden kann"), "{unserved}");
    assert!(unserved.contains("/console/coverage/EDU1/default\">"), "{unserved}");
}
