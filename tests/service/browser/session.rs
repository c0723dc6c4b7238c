//! A session of the console in Chromium: cookie, keys, local times, sign-out, and what other sites can do with it.

use serde_json::json;

use crate::support::{browser::run_script, repository::TestRepository};

#[test]
fn a_session_is_used_by_keys_and_is_out_of_reach_for_other_sites() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let given = json!({ "address": repo.address(), "token": repo.token() });
    let result = run_script("browser_session.mjs", &given);

    // The token is sent once, and is nowhere afterwards.
    assert_eq!(result["signedIn"], true);
    assert_eq!(result["requestsWithToken"], json!([format!("POST {}/console/sign-in", repo.address())]));
    assert_eq!((&result["tokenInPage"], &result["stored"]), (&json!(false), &json!({ "cookies": "" })));
    let cookie = json!({
        "name": "__Host-mw", "path": "/", "httpOnly": true, "secure": true, "sameSite": "Lax", "expires": -1,
    });
    assert_eq!(result["cookies"], json!([cookie]));

    let row = |index: usize| result["rows"][index].as_str().unwrap();
    let last = row(result["rows"].as_array().unwrap().len() - 1);
    let keys = json!([["j", row(0)], ["j", row(1)], ["k", row(0)], ["/", "INPUT"], ["Escape", "BODY"], ["k", last],]);
    assert_eq!(result["keys"], keys);
    assert_eq!(result["dialog"], json!([1, 0]), "the list of keys opens, and closes");
    assert_eq!(result["opened"], format!("/console/profiles/{last}"));
    // Tokyo is nine hours before UTC, all year.
    let time = |index: usize| result["time"][index].as_str().unwrap();
    let at: jiff::Timestamp = time(0).parse().unwrap();
    assert_eq!(time(1), at.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let local = at.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(9))).strftime("%H:%M").to_string();
    assert!(time(2).contains(&local), "{local}: {}", time(2));

    // A page of another origin and a page without one: the request is refused, and a frame shows nothing.
    assert_eq!(result["attacks"], json!([{ "status": 403, "framed": [0] }, { "status": 403, "framed": [0] }]));
    assert_eq!(result["stillSignedIn"], "/console/profiles");
    assert_eq!((&result["signedOut"], &result["cookiesAfter"]), (&json!("/console/sign-in"), &json!([])));
    assert_eq!(result["back"], json!(["/console/sign-in", 0]), "the page before is not shown again");
    assert_eq!(result["otherSession"], "/console/sessions", "a sign-out ends one session");
    assert_eq!(result["everywhere"], json!(["/console/sign-in", 0]));
    assert_eq!(result["violations"], json!([]));
    assert!(!repo.service_log().contains(repo.token()));
}
