//! Signatures of persons of an identity provider: what they confirm there, which answers must not become a signature, and which
//! signatures count when the change is applied. The issuer is the test's own.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    client::Client,
    edit::{NEW, plan, send_on, with},
    identity_sign_in::{PUBLIC, Setup, come_back, parameters},
};
use crate::support::{
    issuer::{AUDIENCE, key, now, sign},
    repository::HttpResponse,
};
use jsonwebtoken::Algorithm;

/// Persons with the role `Mail.Admin` are signers, those of the group `mail-quality` as well.
fn serve(rules: &str) -> Setup {
    let setup = Setup::new();
    let issuer = &setup.issuer.address;
    let policy = format!(
        "companies: [EDU1]
policy:
  approvals:
    signers:
      - {{ name: managers, role: Mail.Admin, issuer: \"{issuer}\" }}
      - {{ name: quality, group: mail-quality, issuer: \"{issuer}\" }}
    rules: {rules}
"
    );
    setup.repo.write("environments/dev/environment.yaml", policy);
    setup.repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    setup
}

/// A person who has signed in.
struct Person<'a> {
    setup: &'a Setup,
    id: &'static str,
    client: Client,
}

impl<'a> Person<'a> {
    fn sign_in(setup: &'a Setup, id: &'static str) -> Self {
        let mut client = setup.client();
        assert_eq!(setup.sign_in(&mut client, |claims| claims["sub"] = json!(id)).status, 303);
        Self { setup, id, client }
    }

    fn propose(&mut self, name: &str) -> String {
        let page = plan(&mut self.client, &with(NEW, &[("name", name)]));
        let answer = send_on(&mut self.client, "/console/plan/propose", &page, &[("reason", "")]);
        answer.header("location").unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
    }

    /// Asks for the page that shows what is signed.
    fn review(&mut self, proposal: &str) -> HttpResponse {
        let fields = [("meaning", "approved"), ("reason", "Ticket 4711"), ("offset", "60")];
        self.client.post(&format!("{proposal}/sign"), &fields)
    }

    /// Goes to the issuer for what a page shows, and returns the parameters.
    fn go(&mut self, page: &str) -> BTreeMap<String, String> {
        let link = page.split("/sign/sha256:").nth(1).unwrap_or_else(|| panic!("{page}"));
        let digest = link.split('"').next().unwrap();
        let proposal = page.split("/console/proposals/").nth(1).unwrap().split(['/', '"']).next().unwrap();
        let answer = self.client.get(&format!("/console/proposals/{proposal}/sign/sha256:{digest}"));
        assert_eq!(answer.status, 303, "{}", answer.body);
        parameters(answer.header("location").unwrap())
    }

    /// Comes back with a token that the issuer has made for this signature, with other claims than the usual ones.
    fn answer(&mut self, begun: &BTreeMap<String, String>, change: impl FnOnce(&mut Value)) -> HttpResponse {
        let mut claims = self.setup.claims(begun);
        claims["sub"] = json!(self.id);
        claims["auth_time"] = json!(now());
        change(&mut claims);
        self.setup.issue(&sign(&self.setup.key, &claims));
        come_back(&mut self.client, begun)
    }

    fn sign(&mut self, proposal: &str, change: impl FnOnce(&mut Value)) -> HttpResponse {
        let page = self.review(proposal);
        assert_eq!(page.status, 200, "{}", page.body);
        let begun = self.go(&page.body);
        self.answer(&begun, change)
    }

    fn apply(&mut self, proposal: &str) -> HttpResponse {
        let page = self.client.page(proposal);
        send_on(&mut self.client, &format!("{proposal}/apply"), &page, &[])
    }
}

fn signatures(setup: &Setup, outcome: &str) -> Vec<Value> {
    let entries = setup.audit();
    let is_signature = |entry: &&Value| entry["action"] == "proposal.sign" && entry["outcome"] == outcome;
    entries.iter().filter(is_signature).cloned().collect()
}

fn refused_events(setup: &Setup) -> i64 {
    let store = rusqlite::Connection::open(setup.repo.path(".data/store.sqlite")).unwrap();
    let query = "SELECT count(*) FROM event WHERE json_extract(record, '$.type') = 'signature-refused'";
    store.query_row(query, [], |row| row.get(0)).unwrap()
}

/// Returns the text that a page shows to be signed.
fn shown_text(page: &str) -> String {
    let text = page.split("<pre>").nth(1).unwrap_or_else(|| panic!("{page}")).split("</pre>").next().unwrap();
    text.replace("&#34;", "\"").replace("&#39;", "'").replace("&#60;", "<").replace("&#62;", ">").replace("&#38;", "&")
}

#[test]
fn persons_with_a_role_sign_what_they_see_at_their_identity_provider() {
    let setup = serve("[{ count: 2, signers: [managers], reasonRequired: true }]");
    let mut author = Person::sign_in(&setup, "person-3");
    let proposal = author.propose("invoices");
    let (mut ann, mut bob) = (Person::sign_in(&setup, "person-1"), Person::sign_in(&setup, "person-2"));
    assert!(ann.client.page(&proposal).contains("managers (role Mail.Admin)"), "who can still sign");
    assert!(!author.client.page(&proposal).contains("I approve it"), "the author does not approve");

    let page = ann.review(&proposal).body;
    for shown in ["Ann Example (sso:person-1)", "Ticket 4711", "Sign with Example", "person: person-1"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let begun = ann.go(&page);
    let digest: String = Sha256::digest(shown_text(&page)).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(begun["nonce"], format!("sha256:{digest}"), "what is signed is what is shown");
    assert_eq!((begun["max_age"].as_str(), begun["prompt"].as_str()), ("0", "login"));
    assert_eq!(begun["code_challenge_method"], "S256");
    assert_eq!(begun["redirect_uri"], format!("{PUBLIC}/console/sign-in/callback"));
    let signed = ann.answer(&begun, |_| {});
    assert_eq!(signed.header("location"), Some(proposal.as_str()), "{}", signed.body);
    let again = come_back(&mut ann.client, &begun);
    assert!(again.status >= 400, "an answer counts once: {}", again.head);
    assert!(!ann.client.page(&proposal).contains("I approve it"), "ann has signed");

    // The same person twice is one person.
    assert!(author.apply(&proposal).body.contains("approved by Ann Example (sso:person-1) (managers)"));
    assert_eq!(bob.sign(&proposal, |_| {}).status, 303);
    let detail = setup.repo.http("GET", &format!("/v1/proposals/{}", proposal.rsplit_once('/').unwrap().1), &[], b"");
    let detail = detail.json();
    assert_eq!(detail["signatures"][0]["identity"]["id"], "person-1");
    assert_eq!(detail["signatures"][1]["method"], "identity-provider");
    let applied = author.apply(&proposal);
    assert_eq!(applied.status, 303, "{}", applied.body);
    let history = setup.repo.run(&["history", "dev"]).code(0).stdout;
    for shown in ["Ann Example (sso:person-1) (managers) approved 20", "+01:00 by identity-provider: Ticket 4711"] {
        assert!(history.contains(shown), "{shown}: {history}");
    }
    let entry = &signatures(&setup, "accepted")[0];
    let evidence = &entry["detail"]["signature"]["evidence"];
    assert!(evidence["idToken"].as_str().is_some_and(|token| token.split('.').count() == 3), "{entry}");
    assert_eq!(evidence["key"]["kty"], "RSA");
    assert!(!setup.repo.service_log().contains(evidence["idToken"].as_str().unwrap()));
    setup.repo.run(&["audit", "verify", "dev"]).code(0);
    // The evidence opens nothing, even where pipelines have the audience of the console.
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        setup.repo.http_without_token("GET", "/v1/state", &[("Authorization", bearer.as_str())], b"").status
    };
    let mut claims = json!({
        "iss": setup.issuer.address, "aud": AUDIENCE, "sub": "person-1", "iat": now(), "nbf": now(), "exp": now() + 300,
    });
    assert_eq!((ask(evidence["idToken"].as_str().unwrap()), ask(&sign(&setup.key, &claims))), (401, 200));
    claims["nonce"] = begun["nonce"].clone().into();
    assert_eq!(ask(&sign(&setup.key, &claims)), 401);
}

/// A change of the claims, and the reason of the refusal.
type Case = (fn(&mut Value), &'static str);

#[test]
fn an_answer_that_does_not_confirm_this_text_by_this_person_now_is_refused_and_reported() {
    let setup = serve("[{ count: 1, signers: [managers] }]");
    let mut author = Person::sign_in(&setup, "person-3");
    let proposal = author.propose("invoices");
    let mut ann = Person::sign_in(&setup, "person-1");
    let before = refused_events(&setup);
    let cases: [Case; 9] = [
        (|claims| claims["nonce"] = json!("sha256:00"), "belongs to another sign-in"),
        (|claims| claims["nonce"] = Value::Null, "belongs to another sign-in"),
        (|claims| claims["auth_time"] = Value::Null, "does not say when you entered your password"),
        (|claims| claims["auth_time"] = json!(now() - 120), "did not ask you for your password again"),
        (|claims| claims["sub"] = json!("person-2"), "another account than yours"),
        (|claims| claims["aud"] = json!("another"), "another application"),
        (|claims| claims["iss"] = json!("https://elsewhere.example"), "another issuer"),
        (|claims| claims["roles"] = json!(["Member"]), "does not have the role or the group any more"),
        (|claims| claims["groups"] = json!(vec!["x".repeat(100); 150]), "too large to be kept"),
    ];
    let number = i64::try_from(cases.len()).unwrap();
    for (change, words) in cases {
        let answer = ann.sign(&proposal, change);
        assert!(answer.status >= 400 && answer.body.contains(words), "{words}: {}\n{}", answer.head, answer.body);
    }
    // An answer of the provider that is an error; the session stays as it is.
    let page = ann.review(&proposal).body;
    let begun = ann.go(&page);
    let cancelled = ann.client.get(&format!("/console/sign-in/callback?error=access_denied&state={}", begun["state"]));
    assert!(cancelled.body.contains("access_denied"), "{}", cancelled.body);
    assert_eq!(refused_events(&setup), before + number + 1, "each is an event");
    assert_eq!(signatures(&setup, "refused").len(), usize::try_from(number).unwrap() + 1);

    // Another session of the same person, and another person's browser, complete nothing that was begun elsewhere.
    let page = ann.review(&proposal).body;
    let begun = ann.go(&page);
    let mut other = Person::sign_in(&setup, "person-1");
    let link = page.split("/sign/sha256:").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(other.client.get(&format!("{proposal}/sign/sha256:{link}")).status, 404);
    other.client.cookies.insert("__Host-mw.sign-in".to_owned(), ann.client.cookies["__Host-mw.sign-in"].clone());
    let refused = other.answer(&begun, |_| {});
    assert!(refused.status == 401 && refused.body.contains("another session"), "{}", refused.body);
    // A text of another proposal, and one that no page has shown.
    let second = author.propose("orders");
    assert_eq!(ann.client.get(&format!("{second}/sign/sha256:{link}")).status, 404);
    assert_eq!(ann.client.get(&format!("{proposal}/sign/sha256:{}", "0".repeat(64))).status, 404);
    // The author, by the page and by the address.
    let own = author.sign(&proposal, |_| {});
    assert!(own.body.contains("MW0317"), "{}", own.body);
    assert!(ann.client.page(&proposal).contains("Missing:"), "nothing has counted");
    assert!(signatures(&setup, "accepted").is_empty());
}

#[test]
fn a_signature_counts_at_the_apply_while_provider_role_and_key_are_as_far_as_is_known() {
    let mut setup = serve("[{ count: 1, signers: [quality] }]");
    let mut author = Person::sign_in(&setup, "person-3");
    let (first, second) = (author.propose("invoices"), author.propose("orders"));
    let member = |claims: &mut Value| claims["groups"] = json!(["mail-quality"]);
    let mut client = setup.client();
    let in_group = |claims: &mut Value| {
        claims["sub"] = json!("person-1");
        member(claims);
    };
    assert_eq!(setup.sign_in(&mut client, in_group).status, 303);
    let mut ann = Person { setup: &setup, id: "person-1", client };
    assert_eq!(ann.sign(&first, member).status, 303);
    assert_eq!(ann.sign(&second, member).status, 303);
    assert!(!author.client.page(&first).contains("Missing:"));
    // A later sign-in states no such group.
    let _later = Person::sign_in(&setup, "person-1");
    let refused = author.apply(&first);
    assert!(
        refused.status == 403 && refused.body.contains("does not have the role or the group any more"),
        "{}",
        refused.body
    );
    // Another one has it again.
    let mut client = setup.client();
    assert_eq!(setup.sign_in(&mut client, in_group).status, 303);
    assert!(!author.client.page(&first).contains("Missing:"));

    // The provider publishes another key, and the service has fetched it.
    let cookies = author.client.cookies.clone();
    setup.repo.kill();
    setup.issuer.publish(&[&key("two", Algorithm::RS256)]);
    let path = setup.repo.path("oidc.yaml");
    setup.repo.serve_with(&["--demo", "--oidc", path.to_str().unwrap(), "--public-url", PUBLIC]);
    let mut client = setup.client();
    client.cookies = cookies;
    let page = client.page(&first);
    assert!(page.contains("Missing:") && page.contains("cannot be verified now"), "{page}");
    let refused = client.post(&format!("{first}/apply"), &[("planned", "1")]);
    assert!(refused.status >= 400, "{}", refused.head);
    assert_eq!(setup.repo.state()["generation"], 1);
}

#[test]
fn who_signs_sees_the_own_signature_and_does_not_apply_with_it() {
    let setup = serve("[{ count: 1, signers: [managers] }]");
    let (mut ann, mut author) = (Person::sign_in(&setup, "person-1"), Person::sign_in(&setup, "person-3"));
    let proposal = author.propose("invoices");
    assert_eq!(ann.sign(&proposal, |_| {}).status, 303);
    let page = ann.client.page(&proposal);
    assert!(page.contains("has approved") && !page.contains("applies the change"), "{page}");
    assert!(page.contains("You have signed this proposal, and the signature is needed"), "{page}");
    assert!(!author.client.page(&proposal).contains("You have signed this proposal"));
    let refused = ann.apply(&proposal);
    assert!(refused.status == 403 && refused.body.contains("MW0317"), "{}", refused.body);
    assert_eq!(author.apply(&proposal).status, 303);
}
