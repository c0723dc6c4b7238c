//! The pages in Chromium: accessible in light and dark, at 320 pixels, by keyboard, without JavaScript, within the policy.

use crate::support::{browser::check_pages, repository::TestRepository};
use serde_json::json;

#[test]
fn pages_withstand_what_a_browser_can_be() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo.patch(
        "relay",
        &json!({ "description": "Changed by hand, with a long description that has to be wrapped somewhere" }),
    );
    let hold = json!({ "profile": "relay", "reason": "The relay is moved to another building" });
    assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
    repo.run(&["verify", "dev", "relay"]);
    let address = repo.address().replace("127.0.0.1", "localhost");
    let open = [("console-sign-in", "/console/sign-in"), ("console-setup-open", "/console/setup")];
    let mut problems = check_pages(&address, None, &open);
    let pages = [
        ("console-overview", "/console"),
        ("console-profiles", "/console/profiles"),
        ("console-profiles-none", "/console/profiles?q=nothing"),
        ("console-profile", "/console/profiles/relay"),
        ("console-setup", "/console/setup"),
        ("console-sessions", "/console/sessions"),
    ];
    problems.extend(check_pages(&address, Some(repo.token()), &pages));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
