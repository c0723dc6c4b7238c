//! A large tenant: every page is read, no more is asked than there is, and results without a reader are not computed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::support::sandbox::{Sandbox, WEB, delegate, good, reader_token};
use mailwright::{
    entra::{
        Endpoints, Http,
        graph::{Application, Graph, OAuth2PermissionGrant},
        http,
    },
    model::{
        Cloud,
        cloud::CustomCloud,
        finding::{Finding, Level},
        finding_id::FindingId,
    },
    sandbox::scenario::Tenant,
    time::Clock,
    verify::{Subject, SubjectSecret, Verifier, VerifyOptions},
};
use serde_json::json;

const REGISTRATIONS: u32 = 1000;
/// Users who consented one by one to one application: more than ten pages of a hundred.
const USERS: usize = 1050;

fn large() -> Sandbox {
    let mut scenario = good();
    let consents: BTreeMap<String, Vec<&str>> =
        (0..USERS).map(|user| (format!("user{user}@contoso.example"), vec!["Mail.Send"])).collect();
    let tenant = &mut scenario["tenants"][0];
    // Each has ten grants.
    tenant["moreRegistrations"] = json!(REGISTRATIONS);
    let web = &mut tenant["applications"][2];
    web["consented"] = json!(["Mail.ReadWrite", "User.Read", "User.ReadBasic.All"]);
    web["consentedBy"] = json!(consents);
    Sandbox::start(scenario)
}

fn options(sandbox: &Sandbox) -> http::HttpOptions {
    http::HttpOptions {
        authorities: Some(sandbox.running.authority.clone().into_bytes()),
        ..http::HttpOptions::default()
    }
}

fn subjects(sandbox: &Sandbox) -> Vec<Subject> {
    let made_up = (0..REGISTRATIONS).map(|number| Tenant::additional_client_id(number).to_string());
    let clients = made_up.chain([WEB.to_owned()]).enumerate();
    clients
        .map(|(index, client)| {
            let mut profile = delegate(WEB);
            profile["provider"]["microsoft-graph-delegate"]["client"] = json!(client);
            let text = profile.to_string().replace("HERE", &sandbox.running.address);
            Subject {
                name: format!("p{index}").parse().unwrap(),
                profile: serde_json::from_str(&text).unwrap(),
                secret: SubjectSecret::None,
                refused: None,
                next: SubjectSecret::None,
            }
        })
        .collect()
}

fn verifier(sandbox: &Sandbox) -> Arc<Verifier> {
    let mut verifying = VerifyOptions::new("dev".parse().unwrap(), Clock::system().now());
    verifying.http = options(sandbox);
    verifying.reader = Some(sandbox.runtime.block_on(reader_token(&sandbox.running)));
    Arc::new(Verifier::new(verifying).unwrap())
}

#[test]
fn a_thousand_registrations_and_ten_thousand_grants_are_read_to_the_end() {
    let sandbox = large();
    let verifier = verifier(&sandbox);
    let mut done = 0;
    let mut consent: Option<Finding> = None;
    sandbox.runtime.block_on(async {
        let mut results = Arc::clone(&verifier).run(subjects(&sandbox));
        while let Some(verified) = results.recv().await {
            done += 1;
            assert_eq!(verified.reached, Level::Reader);
            consent = consent.take().or_else(|| {
                verified
                    .findings
                    .into_iter()
                    .find(|finding| finding.id == FindingId::ConsentSome && finding.seen.contains(&USERS.to_string()))
            });
        }
    });
    assert_eq!(done, REGISTRATIONS + 1);
    let consent = consent.unwrap();
    assert_eq!(consent.seen, format!("consent of {USERS} users"));
    assert!(consent.message.contains("`Mail.Send`"), "{}", consent.message);
    // Four questions a registration in batches of twenty, and a request for each further page.
    let pages = USERS.div_ceil(100) as u64;
    let most = u64::from(REGISTRATIONS) + pages;
    let asked = verifier.requests();
    assert!(asked <= most, "{asked} requests, where {most} are enough");
}

#[test]
fn a_list_is_one_request_a_page() {
    let sandbox = large();
    let token = sandbox.runtime.block_on(reader_token(&sandbox.running));
    let custom = CustomCloud { sign_in: sandbox.running.address.clone(), graph: sandbox.running.address.clone() };
    let endpoints = Endpoints::for_cloud(&Cloud::Custom(custom)).unwrap();
    let http = Http::new(&options(&sandbox)).unwrap();
    let graph = Graph::new(http.clone(), &endpoints, token);
    let (applications, grants) = sandbox.runtime.block_on(async {
        let applications = graph.list::<Application>("/applications?$select=appId&$top=300").await.unwrap();
        let before = http.sent();
        assert_eq!(before, u64::from(REGISTRATIONS + 4).div_ceil(300));
        let path = format!("/servicePrincipals(appId='{WEB}')/oauth2PermissionGrants");
        let grants = graph.list::<OAuth2PermissionGrant>(path).await.unwrap();
        assert_eq!(http.sent() - before, (grants.len() as u64).div_ceil(100));
        (applications, grants)
    });
    assert_eq!(applications.len(), REGISTRATIONS as usize + 4);
    assert_eq!(grants.len(), USERS + 1);
}

#[test]
fn results_without_a_reader_are_not_computed() {
    let sandbox = large();
    let verifier = verifier(&sandbox);
    sandbox.runtime.block_on(async {
        let mut results = Arc::clone(&verifier).run(subjects(&sandbox));
        let mut asked = 0;
        // No result is read, so that requests end long before the profiles do.
        loop {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let now = verifier.requests();
            if now == asked && now > 0 {
                break;
            }
            asked = now;
        }
        let mut rest = 0;
        while results.recv().await.is_some() {
            rest += 1;
        }
        assert_eq!(rest, REGISTRATIONS + 1);
        let all = verifier.requests();
        assert!(asked * 3 < all, "{asked} of {all} requests were made before a result was read");
    });
}
