//! The history: generations, the differences of two, and the rollback with its preview.

use super::client::Client;
use crate::support::repository::TestRepository;
use serde_json::json;

const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{202e}gpj";

/// A service with three generations: an apply, and two changes by hand.
fn service() -> TestRepository {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    assert_eq!(repo.patch("relay", &json!({ "description": HOSTILE })).status, 200);
    assert_eq!(repo.patch("relay", &json!({ "from": { "address": "other@example.com" } })).status, 200);
    repo
}

fn generation(repo: &TestRepository) -> u64 {
    repo.state()["generation"].as_u64().unwrap()
}

#[test]
fn generations_are_listed_and_compared() {
    let repo = service();
    let mut client = Client::signed_in(&repo);
    let list = client.page("/console/history");
    assert!(list.contains("diff?from=2&amp;to=3") && list.contains("diff?from=0&amp;to=1"), "{list}");
    assert!(list.contains("apply from files") && list.contains("by hand") && list.contains("1 changed"), "{list}");
    let page = client.page("/console/history/diff?from=1&to=3");
    assert!(page.contains("from.address") && page.contains("other@example.com"), "{page}");
    assert!(
        page.contains("&#60;script&#62;") && !page.contains("<script>alert") && !page.contains('\u{202e}'),
        "{page}"
    );
    // Only what differs, and in both directions.
    let page = client.page("/console/history/diff?from=3&to=2");
    assert!(page.contains("<del><bdi>other@example.com</bdi></del>") && !page.contains("description"), "{page}");
    assert!(client.page("/console/history/diff?from=0&to=1").contains("provider.smtp.host"));
    assert!(client.page("/console/history/diff?from=2&to=2").contains("Nothing differs."));
    for query in ["from=1&to=99", "from=x&to=1", "from=99999999999999999999&to=1"] {
        assert_eq!(client.get(&format!("/console/history/diff?{query}")).status, 404, "{query}");
    }
}

#[test]
fn a_rollback_shows_what_it_changes_before_it_does() {
    let repo = service();
    let mut client = Client::signed_in(&repo);
    let page = client.page("/console/history/1/rollback");
    assert!(page.contains("other@example.com") && page.contains("name=\"base\" value=\"3\""), "{page}");
    assert_eq!(generation(&repo), 3, "a preview changes nothing");
    // Another change in between: the preview is not what would happen any more.
    assert_eq!(repo.patch("relay", &json!({ "description": "in between" })).status, 200);
    let stale = client.post("/console/history/1/rollback", &[("base", "3")]);
    assert!(stale.status == 409 && generation(&repo) == 4, "{}", stale.body);
    assert_eq!(client.post("/console/history/1/rollback", &[("base", "4")]).status, 303);
    assert_eq!(generation(&repo), 5);
    assert_eq!(repo.state()["profiles"]["relay"]["live"]["profile"]["from"]["address"], "erp@example.com");
    let list = client.page("/console/history");
    assert!(list.contains("rollback <span class=\"dim\">to 1</span>"), "{list}");
    assert!(client.page("/console/history/5/rollback").contains("Nothing differs."));
    assert_eq!(client.get("/console/history/77/rollback").status, 404);
}

#[test]
fn a_rollback_that_takes_the_last_sender_away_has_to_be_confirmed() {
    let repo = service();
    let mut client = Client::signed_in(&repo);
    // Generation 0 is empty: every company would lose its sender.
    let page = client.page("/console/history/0/rollback");
    assert!(page.contains("would be deleted") && page.contains("name=\"allow\""), "{page}");
    let refused = client.post("/console/history/0/rollback", &[("base", "3")]);
    assert!(refused.status == 409 || refused.status == 422, "{}", refused.body);
    assert_eq!(generation(&repo), 3);
    assert_eq!(client.post("/console/history/0/rollback", &[("base", "3"), ("allow", "yes")]).status, 303);
    assert_eq!(generation(&repo), 4);
    assert!(repo.state()["profiles"]["relay"]["live"].is_null());
}

#[test]
fn a_viewer_reads_the_history_and_cannot_roll_back() {
    let repo = service();
    let token = repo.run(&["token", "create", "dev", "--name", "v", "--role", "viewer"]).code(0).stdout;
    let mut client = Client::new(&repo);
    client.sign_in(token.trim());
    let list = client.page("/console/history");
    assert!(!list.contains("/rollback"), "{list}");
    client.page("/console/history/diff?from=1&to=3");
    assert_eq!(client.get("/console/history/1/rollback").status, 403);
    assert_eq!(client.post("/console/history/1/rollback", &[("base", "3")]).status, 403);
    assert_eq!(generation(&repo), 3);
}

/// A rollback is a change that was not proposed, and it would bring an earlier policy back.
#[test]
fn the_policy_of_the_console_holds_for_rollbacks_too() {
    let repo = service();
    for (policy, number) in [("read-only", 4), ("propose", 5)] {
        repo.write(
            "environments/dev/environment.yaml",
            format!("companies: [EDU1]\npolicy: {{ console: {policy} }}\n"),
        );
        repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
        let mut client = Client::signed_in(&repo);
        assert!(!client.page("/console/history").contains("/rollback"));
        let page = client.page("/console/history/1/rollback");
        assert!(page.contains("MW0395") && !page.contains("name=\"base\""), "{page}");
        let base = number.to_string();
        let refused = client.post("/console/history/1/rollback", &[("base", &base), ("allow", "yes")]);
        assert!(refused.status == 403 && refused.body.contains("MW0395"), "{policy}: {}", refused.body);
        assert_eq!(generation(&repo), number);
    }
}

/// The preview says what the rollback would be refused for.
#[test]
fn a_rollback_without_a_right_is_refused_before_it_is_confirmed() {
    let repo = service();
    repo.write(
        "environments/dev/access.yaml",
        "\
roles:
  returns:
    grants:
      - { areas: [service, profiles, history, changes], activities: [see, plan, rollback] }
      - { areas: [profiles], activities: [change], fields: [description] }
bindings:
  returns: { subjects: [{ token: ray }], roles: [returns] }
",
    );
    repo.run(&["apply", "--skip-verify", "dev", "--yes", "--allow-rights"]).code(0);
    // The apply took the address of the third generation away again.
    assert_eq!(repo.patch("relay", &json!({ "from": { "address": "other@example.com" } })).status, 200);
    let token = repo.run(&["token", "create", "dev", "--name", "ray", "--role", "bound"]).code(0).stdout;
    let mut ray = Client::new(&repo);
    ray.sign_in(token.trim());
    let page = ray.page("/console/history/1/rollback");
    assert!(page.contains("MW0400") && !page.contains("name=\"base\""), "{page}");
}

#[test]
fn a_profile_says_where_each_value_comes_from() {
    let repo = service();
    let mut client = Client::signed_in(&repo);
    let page = client.page("/console/profiles/relay");
    let origin = |field: &str| {
        let row = page.split(&format!("<code>{field}</code></th>")).nth(1).unwrap_or_else(|| panic!("{field}: {page}"));
        let link = row.split("diff?to=").nth(1).unwrap();
        link.split('"').next().unwrap().parse::<u64>().unwrap()
    };
    let found = ["provider.smtp.host", "description", "from.address"].map(origin);
    assert_eq!(found, [1, 2, 3]);
    // Back to the first value: it comes from the rollback.
    assert_eq!(client.post("/console/history/1/rollback", &[("base", "3")]).status, 303);
    let page = client.page("/console/profiles/relay");
    assert!(page.contains("diff?to=4") && !page.contains("diff?to=3"), "{page}");
}
