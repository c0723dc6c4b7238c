//! Every check of the verifier, where it passes and where it fails, with the whole finding compared.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::support::sandbox::{DESKTOP, DIRECT, PASSWORD, SECRET, VerifyCase, WEB, delegate, direct, good, smtp};
use mailwright::model::{finding::Verdict, finding_id::FindingId};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

/// Findings that other modules cover: certificates made with OpenSSL (`postfix`), waivers (`command`).
const ELSEWHERE: [FindingId; 5] = [
    // Only a defect causes it; the unit tests of `verify` have one.
    FindingId::VerifyInternal,
    FindingId::SmtpCertificateExpired,
    FindingId::SmtpCertificateName,
    FindingId::WaiverExpired,
    FindingId::WaiverUnused,
];

async fn run(name: &str, cases: Vec<VerifyCase>) -> BTreeSet<(FindingId, Verdict)> {
    let mut running = JoinSet::new();
    // Each makes keys of its own; more at once would only wait for each other.
    let turns = Arc::new(Semaphore::new(6));
    for (index, case) in cases.into_iter().enumerate() {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        running.spawn(async move {
            let done = (index, case.run().await);
            drop(turn);
            done
        });
    }
    let mut done = running.join_all().await;
    done.sort_by_key(|(index, _)| *index);
    let mut seen = BTreeSet::new();
    let mut text = String::new();
    for (_, (verified, shown)) in done {
        for secret in [SECRET, PASSWORD, "eyJ"] {
            assert!(!shown.contains(secret), "a secret or a token is in a finding:\n{shown}");
        }
        seen.extend(verified.findings.iter().map(|finding| (finding.id, finding.verdict)));
        text.push_str(&shown);
        text.push('\n');
    }
    insta::assert_snapshot!(name, text);
    seen
}

fn direct_cases() -> Vec<VerifyCase> {
    let case = |name| VerifyCase::new(name, direct());
    let credential = "/provider/microsoft-graph-direct/credential";
    vec![
        case("all well, seen by a reader").reader(),
        case("all well, as far as the application itself sees"),
        case("requested, never consented").app("granted", json!([])),
        case("neither requested nor granted").app("granted", json!([])).app("requests", json!({})),
        case("delegated instead of application")
            .app("granted", json!([]))
            .app("requests", json!({ "delegated": ["Mail.Send"] })),
        case("address book, nothing of it granted").with("/provider/microsoft-graph-direct/addressBook", json!(true)),
        case("address book, by a broader permission")
            .with("/provider/microsoft-graph-direct/addressBook", json!(true))
            .app("granted", json!(["Mail.Send", "Directory.Read.All"])),
        case("more than needed").app("granted", json!(["Mail.Send", "Mail.ReadWrite"])),
        case("wrong secret").secret("aB3-another"),
        case("the secret's id").secret("3d4e5f60-1111-4222-8333-444455556666"),
        case("expired secret").secret("old-secret"),
        case("secret expires soon")
            .app("secrets", json!([{ "value": SECRET, "name": "mailwright", "expires": "2026-12-06T12:00:00Z" }])),
        case("a registration without any secret").reader().app("secrets", json!([])),
        {
            let mut case = case("a secret that is not available, and all have expired").reader().app(
                "secrets",
                json!([
                    { "value": "one", "name": "one", "expires": "2025-01-01T00:00:00Z" },
                    { "value": "two", "name": "two", "expires": "2025-06-01T00:00:00Z" },
                ]),
            );
            case.unavailable = true;
            case
        },
        case("which of several is ambiguous").app(
            "secrets",
            json!([
                { "value": SECRET, "name": "one", "expires": "2027-01-01T00:00:00Z" },
                { "value": "aB3-second", "name": "two", "expires": "2028-01-01T00:00:00Z" },
            ]),
        ),
        case("no such client").app("client", json!("0c0ffee0-0000-4000-8000-0000000000ff")),
        case("disabled").app("disabled", json!(true)),
        case("a service principal that cannot be read").reader().fault(unreadable_principal()),
        case("not installed, seen by a reader").reader().app("notInstalled", json!(true)),
        case("a partner's registration").app("registeredElsewhere", json!(true)),
        case("a partner's registration, seen by a reader").reader().app("registeredElsewhere", json!(true)),
        case("a partner's registration, disabled in the tenant")
            .reader()
            .app("registeredElsewhere", json!(true))
            .app("disabled", json!(true)),
        case("a registration that neither Graph nor the tenant shows yet")
            .fault(json!({ "at": "appId='0c0ffee0-0000-4000-8000-0000000000d1')?", "status": 404, "code": "Request_ResourceNotFound" })),
        case("deactivated, seen by a reader").reader().app("deactivated", json!(true)),
        case("a Graph that does not know all properties yet")
            .fault(json!({ "at": "isDisabled", "status": 400, "code": "BadRequest" })),
        case("no such tenant").with("/provider/microsoft-graph-direct/tenant", json!("elsewhere.example")),
        case("another cloud").set("/tenants/0/graphHost", json!("graph.microsoft.us")),
        case("hosts that are not addresses")
            .with("/provider/microsoft-graph-direct/cloud/custom/graph", json!("http://graph.example/x")),
        case("Conditional Access").fault(json!({ "at": "/token", "aadsts": 53003 })),
        case("a code without a finding of its own").fault(json!({ "at": "/token", "aadsts": 135_099 })),
        case("a code of a user's, which the table explains").fault(json!({ "at": "/token", "aadsts": 50126 })),
        case("personal accounts only").app("audience", json!("PersonalMicrosoftAccount")),
        case("a token that is not a JWT").fault(json!({ "at": "/token", "body": "opaque-token" })),
        case("no such mailbox").reader().with("/from/address", json!("absent@contoso.example")),
        case("an alias").reader().with("/from/address", json!("invoices@contoso.example")),
        case("no mailbox").reader().with("/from/address", json!("guest@contoso.example")),
        case("licences of Exchange without a mailbox").reader().set(
            "/tenants/0/users/0/plans",
            json!([
                { "id": "efb87545-963c-4e0d-99df-69c6916d9eb0", "status": "Deleted" },
                { "id": "33c4f319-9bdd-48d6-9c4d-410b750a4a5a" },
                { "id": "5136a095-5cf0-4aff-bec3-e84448b38ea5" },
                { "id": "199a5c09-e0ca-4e37-8f7c-b05d533e1ea2" },
                { "id": "113feb6c-3fe4-4440-bddc-54d774bf0318" },
            ]),
        ),
        case("a licence of Exchange that is not known").reader().set(
            "/tenants/0/users/0/plans",
            json!([{ "id": "113feb6c-3fe4-4440-bddc-54d774bf0318" }, { "id": "0c0ffee0-0000-4000-8000-00000000beef" }]),
        ),
        case("a licence that is suspended").reader().set(
            "/tenants/0/users/0/plans",
            json!([{ "id": "9aaf7827-d63c-4b61-89c3-182f06f82e5c", "status": "Suspended" }]),
        ),
        case("a room")
            .app("granted", json!(["Mail.Send", "MailboxSettings.Read", "User.Read.All"]))
            .set("/tenants/0/users/0/mailbox", json!("room")),
        case("another primary address").reader().set("/tenants/0/users/0/mail", json!("documents@fabrikam.example")),
        case("a shared mailbox").reader().with("/from/address", json!("shared@contoso.example")),
        case("a mailbox that its own settings prove")
            .app("granted", json!(["Mail.Send", "MailboxSettings.Read", "User.Read.All"])),
        case("no mailbox, by its settings")
            .app("granted", json!(["Mail.Send", "MailboxSettings.Read"]))
            .with("/from/address", json!("guest@contoso.example")),
        case("a disabled user with a licence, whose mailbox may not be seen")
            .reader()
            .with("/from/address", json!("alice@contoso.example"))
            .set("/tenants/0/users/3/enabled", json!(false)),
        case("a shared mailbox, by its settings")
            .app("granted", json!(["Mail.Send", "MailboxSettings.Read", "User.Read.All"]))
            .with("/from/address", json!("shared@contoso.example")),
        case("another domain").reader().with("/from/address", json!("documents@other.example")),
        {
            let mut case = case("a secret that is not available");
            case.unavailable = true;
            case
        },
        {
            let mut case = case("hosts that are not to be asked");
            case.refused = true;
            case
        },
        case("a probe").options(|options| options.probe = true),
        case("a probe that Exchange allows")
            .options(|options| options.probe = true)
            .app("granted", json!([]))
            .app("requests", json!({}))
            .app("exchange", json!(["documents@contoso.example"])),
        case("a probe that Exchange allows without the consent that was requested")
            .options(|options| options.probe = true)
            .app("granted", json!([]))
            .app("exchange", json!(["documents@contoso.example"])),
        case("a probe that Graph does not decide")
            .options(|options| options.probe = true)
            .fault(json!({ "at": "/sendMail", "status": 503, "code": "ResourceUnhealthy" })),
        case("a 404 that is not Graph's").reader().fault(json!({ "at": "$batch/applications", "status": 404, "code": "" })),
        case("a probe that is not allowed")
            .options(|options| options.probe = true)
            .app("granted", json!([]))
            .app("requests", json!({})),
        case("a federated token that may not be read")
            .with(credential, json!({ "federatedTokenFile": "/var/run/secrets/none" })),
        case("a certificate, seen by a reader").certificate(true).reader(),
        case("a certificate that the application does not know").certificate(false).reader(),
        case("a federated token").federated("system:serviceaccount:mail:mailwright"),
        case("a federated token for another subject").federated("system:serviceaccount:mail:another"),
        case("a certificate without a key")
            .with(credential, json!({ "certificate": { "secret": "documents/secret" } }))
            .secret("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
    ]
}

/// A reader may not read what the tenant knows of an application.
fn unreadable_principal() -> Value {
    json!({ "at": "?$select=id,appId,accountEnabled", "status": 403, "code": "Authorization_RequestDenied" })
}

fn hostile_cases() -> Vec<VerifyCase> {
    let case = |name| VerifyCase::new(name, direct());
    let discovery = "openid-configuration";
    vec![
        case("HTML").fault(json!({ "at": discovery, "body": "html" })),
        case("truncated").fault(json!({ "at": "/v1.0/", "body": "truncated" })),
        case("huge").fault(json!({ "at": discovery, "body": "huge" })),
        case("elsewhere").fault(json!({ "at": discovery, "redirect": "https://elsewhere.invalid/" })),
        case("empty token").fault(json!({ "at": "/token", "body": "empty" })),
        case("unknown fields").fault(json!({ "at": "", "body": "strange" })),
        case("throttled, then not").fault(json!({ "at": "/token", "status": 429, "retryAfter": 1, "times": 2 })),
        case("unavailable, until a date")
            .fault(json!({ "at": "/v1.0/", "status": 503, "retryAfter": 2, "asDate": true, "times": 1 })),
        case("throttled inside a batch")
            .fault(json!({ "at": "$batch/applications", "status": 429, "retryAfter": 1, "times": 1 })),
        case("throttled inside a batch, until a date")
            .fault(json!({ "at": "$batch/applications", "status": 429, "retryAfter": 2, "asDate": true, "times": 1 })),
        case("trouble of its own").fault(json!({ "at": "/token", "status": 500 })),
        case("busy, without a word about how long").fault(json!({ "at": "/token", "status": 503 })),
        case("busy, in Entra's own words").fault(json!({ "at": "/token", "status": 500, "json": {
            "error": "server_error", "error_description": "AADSTS90036: An unexpected, non-retryable error.", "error_codes": [90036],
        } })),
        case("busy where the tenant is asked for").fault(json!({ "at": discovery, "status": 500, "body": "html" })),
        case("throttled for too long").fault(json!({ "at": "/token", "status": 429, "retryAfter": 600 })),
        case("slow")
            .fault(json!({ "at": discovery, "delay": 30000 }))
            .options(|options| options.http.timeout = Duration::from_secs(6)),
        case("reset").fault(json!({ "at": "/v1.0/", "reset": true })),
        {
            let mut case = case("clock").set("/clock", json!(3630)).options(|options| {
                // The run's own clock does not matter here: the machine's is compared.
                options.credential_days = 1;
            });
            // The host's time is in whole seconds, and the answer takes a while.
            case.hidden = (3625..3630).map(|seconds| (format!("-{seconds} s"), "-3630 s")).collect();
            case
        },
        {
            let mut case = case("an untrusted authority");
            case.trusting = false;
            case
        },
        case("no listener")
            .with("/provider/microsoft-graph-direct/cloud/custom/signIn", json!("https://localhost:1")),
    ]
}

fn delegate_cases() -> Vec<VerifyCase> {
    let desktop = |name| VerifyCase::new(name, delegate(DESKTOP)).reader();
    let web = |name| VerifyCase::new(name, delegate(WEB)).reader();
    let spa = |uri: &str| json!({ "spa": [uri] });
    let book = "/provider/microsoft-graph-delegate/addressBook";
    let all = ["Mail.ReadWrite", "Mail.Send", "User.Read", "User.ReadBasic.All"];
    let shared = ["Mail.ReadWrite", "Mail.Send", "User.Read", "User.ReadBasic.All", "Mail.Send.Shared"];
    vec![
        desktop("desktop, all well"),
        web("web, all well"),
        VerifyCase::new("desktop, no reader", delegate(DESKTOP)),
        web("web, under Web").app("redirects", json!({ "web": ["https://erp.contoso.example/web"] })),
        web("web, under desktop").app("redirects", json!({ "publicClient": ["https://erp.contoso.example/web"] })),
        desktop("desktop, without the address of the helper")
            .app("redirects", json!({ "publicClient": ["https://localhost"] })),
        desktop("desktop, none at all").app("redirects", json!({})),
        desktop("desktop, under Web").app("redirects", json!({ "web": ["https://localhost"] })),
        desktop("desktop, under single-page application").app("redirects", json!({ "spa": ["https://localhost"] })),
        desktop("desktop, with a port").app("redirects", json!({ "publicClient": ["https://localhost:8400"] })),
        desktop("desktop, in http").app("redirects", json!({ "publicClient": ["http://localhost"] })),
        desktop("desktop, with a slash").app("redirects", json!({ "publicClient": ["https://localhost/"] })),
        desktop("desktop, twice")
            .app("redirects", json!({ "publicClient": ["https://localhost"], "web": ["https://localhost:8400/"] })),
        web("web, case").app("redirects", spa("https://erp.contoso.example/Web")),
        web("web, trailing slash").app("redirects", spa("https://erp.contoso.example/web/")),
        web("web, port").app("redirects", spa("https://erp.contoso.example:8443/web")),
        web("web, default port written out").app("redirects", spa("https://erp.contoso.example:443/web")),
        web("web, http").app("redirects", spa("http://erp.contoso.example/web")),
        web("web, path").app("redirects", spa("https://erp.contoso.example/app")),
        web("web, query").app("redirects", spa("https://erp.contoso.example/web?x=1")),
        web("web, one more of another owner").app(
            "redirects",
            json!({ "spa": ["https://erp.contoso.example/other", "https://erp.contoso.example/portal"] }),
        ),
        web("web, case, under another platform")
            .app("redirects", json!({ "web": ["https://erp.contoso.example/Web"] })),
        web("web, another host").app("redirects", spa("https://other.contoso.example/web")),
        web("web, none at all").app("redirects", json!({})),
        web("web, one more with a wildcard").app(
            "redirects",
            json!({ "spa": ["https://erp.contoso.example/web"], "web": ["https://*.contoso.example/x"] }),
        ),
        web("web, nothing requested").app("requests", json!({})).app("consented", json!([])),
        web("web, application instead of delegated")
            .app("requests", json!({ "application": ["Mail.Send"], "delegated": ["User.Read"] }))
            .app("consented", json!(["User.Read"])),
        web("web, consent of one user")
            .app("consented", json!([]))
            .app("consentedBy", json!({ "alice@contoso.example": all })),
        web("web, no consent").app("consented", json!([])),
        web("web, consent on Exchange alone")
            .app("consented", json!([]))
            .app("consentedOn", json!({ "00000002-0000-0ff1-ce00-000000000000": all })),
        web("web, consent on SharePoint as well")
            .app("consentedOn", json!({ "00000003-0000-0ff1-ce00-000000000000": ["Sites.FullControl.All"] })),
        web("web, the names of permissions cannot be read").fault(json!({
            "at": "?$select=id,appId,appRoles", "status": 403, "code": "Authorization_RequestDenied",
        })),
        web("web, a service principal that cannot be read").fault(unreadable_principal()),
        web("web, more than needed").app("consented", json!([all.to_vec(), vec!["Directory.ReadWrite.All"]].concat())),
        web("web, address book without Contacts.Read").with(book, json!(true)),
        web("web, a From of its own").with("/from", json!({ "address": "documents@contoso.example" })),
        web("web, a From of its own, allowed")
            .with("/from", json!({ "address": "documents@contoso.example" }))
            .app("requests", json!({ "delegated": shared }))
            .app("consented", json!(shared)),
        web("web, no user assigned").app("assignmentRequired", json!(true)),
        web("web, a user assigned")
            .app("assignmentRequired", json!(true))
            .app("assigned", json!(["alice@contoso.example"])),
        web("web, not installed").app("notInstalled", json!(true)),
        web("web, a partner's registration").app("registeredElsewhere", json!(true)),
        web("web, deactivated").app("deactivated", json!(true)),
        web("web, no such client").app("client", json!("0c0ffee0-0000-4000-8000-0000000000ff")),
        web("web, a credential").app("secrets", json!([{ "value": "for-no-one" }])),
        desktop("desktop, flows off").app("publicFlows", json!(false)),
    ]
}

fn manifest_cases() -> Vec<VerifyCase> {
    let graph = json!({
        "appId": WEB, "signInAudience": "AzureADMyOrg", "web": { "redirectUris": ["https://erp.contoso.example/web"] },
        "spa": null, "passwordCredentials": [], "novelty": true,
        "requiredResourceAccess": [{ "resourceAppId": "00000003-0000-0000-c000-000000000000", "resourceAccess": [
            { "id": "e383f46e-2787-4529-855e-0e479a3ffac0", "type": "Scope" },
        ] }],
    });
    let portal = json!({
        "appId": WEB, "signInAudience": "AzureADMyOrg", "allowPublicClient": false, "name": "Web",
        "replyUrlsWithType": [{ "url": "https://erp.contoso.example/web", "type": "Spa" }],
        "passwordCredentials": [], "requiredResourceAccess": [],
    });
    let direct_manifest = json!({
        "appId": DIRECT, "signInAudience": "AzureADMyOrg",
        "requiredResourceAccess": [{ "resourceAppId": "00000003-0000-0000-c000-000000000000", "resourceAccess": [
            { "id": "b633e1c5-b582-4048-a93e-9f11b44c7e96", "type": "Role" },
        ] }],
    });
    let request = |manifest: &mut Value, id: &str, kind: &str| {
        let access = manifest.pointer_mut("/requiredResourceAccess/0/resourceAccess").unwrap();
        access.as_array_mut().unwrap().push(json!({ "id": id, "type": kind }));
    };
    let with = |name, profile, manifest: Value| {
        let mut case = VerifyCase::new(name, profile);
        case.manifest = Some(manifest);
        case
    };
    vec![
        with("Graph's JSON", delegate(WEB), graph.clone()),
        with("the portal's older form", delegate(WEB), portal),
        with("one of a list", delegate(WEB), json!([{ "appId": DESKTOP }, graph.clone()])),
        with("a direct sender", direct(), direct_manifest.clone()),
        with(
            "a direct sender that asks for nothing",
            direct(),
            json!({ "appId": DIRECT, "signInAudience": "AzureADMyOrg" }),
        ),
        with("a direct sender, all expired and more than needed", direct(), {
            let mut manifest = direct_manifest.clone();
            manifest["passwordCredentials"] = json!([
                { "keyId": "k1", "displayName": "one", "hint": "aB3", "endDateTime": "2025-01-01T00:00:00Z" },
                { "keyId": "k2", "displayName": "two", "hint": "xyz", "endDateTime": "2025-01-01T00:00:00Z" },
            ]);
            request(&mut manifest, "e2a3a72e-5f79-4c64-b1b1-878b674786c9", "Role");
            manifest
        }),
        with("a direct sender, one secret", direct(), {
            let mut manifest = direct_manifest.clone();
            manifest["passwordCredentials"] = json!([{ "keyId": "k1", "endDateTime": "2028-01-01T00:00:00Z" }]);
            manifest
        }),
        with("a direct sender, several secrets", direct(), {
            let mut manifest = direct_manifest.clone();
            manifest["passwordCredentials"] = json!([
                { "keyId": "k1", "endDateTime": "2025-01-01T00:00:00Z" },
                { "keyId": "k2", "endDateTime": "2028-01-01T00:00:00Z" },
            ]);
            manifest
        }),
        with(
            "a direct sender with a certificate, in the portal's older form",
            direct(),
            json!({
                "appId": DIRECT, "signInAudience": "AzureADMyOrg", "replyUrlsWithType": [],
                "keyCredentials": [{
                    "customKeyIdentifier": "AB12", "keyId": "k1", "endDate": "2026-12-01T00:00:00Z",
                    "type": "AsymmetricX509Cert", "usage": "Verify",
                }],
            }),
        )
        .with("/provider/microsoft-graph-direct/credential", json!({ "certificate": { "secret": "documents/key" } })),
        with("more requested than needed", delegate(WEB), {
            let mut manifest = graph.clone();
            request(&mut manifest, "ff74d97f-43af-4b68-9f2a-b77ee6968c5d", "Scope");
            manifest
        }),
        with("a direct sender with an address book", direct(), direct_manifest.clone())
            .with("/provider/microsoft-graph-direct/addressBook", json!(true)),
        with("a direct sender with an address book, by a broader permission", direct(), {
            let mut manifest = direct_manifest.clone();
            request(&mut manifest, "19dbc75e-c2e2-444c-a770-ec69d8559fc7", "Role");
            manifest
        })
        .with("/provider/microsoft-graph-direct/addressBook", json!(true)),
        with("a direct sender that asks for much, by name", direct(), {
            let mut manifest = direct_manifest;
            for id in [
                "19dbc75e-c2e2-444c-a770-ec69d8559fc7",
                "741f803b-c850-494e-b5df-cde7c675a1ca",
                "0c0ffee0-0000-4000-8000-0000000000ee",
            ] {
                request(&mut manifest, id, "Role");
            }
            manifest
        }),
        with("ids of permissions in another cloud", delegate(WEB), graph)
            .with("/provider/microsoft-graph-delegate/cloud", json!("china")),
    ]
}

fn smtp_cases() -> Vec<VerifyCase> {
    let case = |name| VerifyCase::new(name, smtp()).secret(PASSWORD);
    let tls =
        |name| case(name).with("/provider/smtp/encryption", json!("tls")).with("/provider/smtp/port", json!("SMTPS"));
    let in_clear = json!({ "host": "127.0.0.1", "port": "SMTP", "encryption": "none" });
    vec![
        case("STARTTLS, all well"),
        tls("TLS, all well"),
        case("in clear on this machine").with("/provider/smtp", in_clear),
        case("in clear elsewhere")
            .with("/provider/smtp", json!({ "host": "0.0.0.0", "port": "SMTP", "encryption": "none" })),
        case("no such name").with("/provider/smtp/host", json!("mail.invalid")),
        case("Exchange Online with a password").with("/provider/smtp/host", json!("smtp.office365.com")),
        case("no listener").with("/provider/smtp/port", json!(1)),
        case("silent").set("/smtp/silent", json!(true)),
        case("no STARTTLS").set("/smtp/noStarttls", json!(true)),
        case("TLS where there is none").with("/provider/smtp/encryption", json!("tls")),
        {
            let mut case = case("an untrusted authority");
            case.trusting = false;
            case
        },
        case("a certificate that ends soon").options(|options| options.now = "4095-12-25T00:00:00Z".parse().unwrap()),
        case("no login offered").set("/smtp/users", json!({})),
        case("wrong password").secret("another-password"),
        case("sender refused").set("/smtp/refusedSenders", json!(["documents@contoso.example"])),
        {
            let mut case = case("a password that is not available");
            case.unavailable = true;
            case
        },
        case("a probe").options(|options| options.probe = true),
        case("a probe that is not taken")
            .options(|options| options.probe = true)
            .set("/smtp/refusedRecipients", json!(["documents@contoso.example"])),
        case("a probe without a reply to its last byte")
            .options(|options| options.probe = true)
            .fault(json!({ "at": "smtp/dot", "reset": true, "after": true })),
        case("a sender that must log in first")
            .with("/provider/smtp", json!({ "host": "localhost", "port": "SMTP", "encryption": "starttls" }))
            .set("/smtp/requiresLogin", json!(true)),
        case("room for small mail alone").set("/smtp/size", json!(2_000_000)),
    ]
}

fn dns_cases() -> Vec<VerifyCase> {
    let case = |name| VerifyCase::new(name, smtp()).secret(PASSWORD).with("/from/dkimSelector", json!("selector1"));
    let selector = "/dns/selector1._domainkey.contoso.example";
    vec![
        case("SPF, DKIM and DMARC"),
        case("SPF, none").set("/dns/contoso.example", json!(["something else"])),
        case("SPF, two").set("/dns/contoso.example", json!(["v=spf1 -all", "v=spf1 ~all"])),
        case("SPF, everybody").set("/dns/contoso.example", json!(["v=spf1 +all"])),
        case("DMARC, none").set("/dns/_dmarc.contoso.example", json!([])),
        case("DMARC, of the domain above").with("/from/address", json!("x@mail.contoso.example")),
        case("DKIM, another selector").with("/from/dkimSelector", json!("selector2")),
        case("DKIM, revoked").set(selector, json!(["v=DKIM1; p="])),
        case("the name server fails for SPF").fault(json!({ "at": "dns/contoso.example" })),
        case("the name server fails for DKIM").fault(json!({ "at": "dns/selector1" })),
        {
            let mut case = case("no response");
            case.dns = false;
            case
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_check_passes_and_fails() {
    let mut seen = BTreeSet::new();
    seen.extend(run("direct", direct_cases()).await);
    seen.extend(run("delegate", delegate_cases()).await);
    seen.extend(run("manifest", manifest_cases()).await);
    seen.extend(run("smtp", smtp_cases()).await);
    seen.extend(run("dns", dns_cases()).await);
    seen.extend(run("hostile", hostile_cases()).await);
    for id in FindingId::ALL {
        let failed = seen.iter().any(|(found, verdict)| found == id && *verdict != Verdict::Pass);
        assert!(failed || ELSEWHERE.contains(id), "{id} was never found");
        if let Some(check) = id.check() {
            assert!(seen.contains(&(check, Verdict::Pass)), "{check} never passed, which says that {id} is not so");
        }
        let is_a_check = id.check() == Some(*id);
        assert_eq!(seen.contains(&(*id, Verdict::Pass)), is_a_check, "whether {id} passes, and whether it is a check");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_with_an_apostrophe_is_found_and_probed() {
    let sender = "o'neil@contoso.example";
    let case = VerifyCase::new("an apostrophe in the sender", direct())
        .reader()
        .options(|options| options.probe = true)
        .with("/from/address", json!(sender))
        .set("/tenants/0/users/3/name", json!(sender));
    let (verified, shown) = case.run().await;
    for id in [FindingId::Mailbox, FindingId::GraphProbe] {
        let found = verified.findings.iter().find(|finding| finding.id == id);
        assert!(found.is_some_and(|finding| finding.verdict == Verdict::Pass), "{id}:\n{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_consented_to_a_broader_permission_is_counted() {
    let broader = ["Mail.ReadWrite", "Mail.Send", "User.Read", "User.Read.All"];
    let case = VerifyCase::new("a broader consent of one user", delegate(WEB))
        .reader()
        .app("consented", json!([]))
        .app("consentedBy", json!({ "alice@contoso.example": broader }));
    let (verified, shown) = case.run().await;
    let some: Vec<_> = verified.findings.iter().filter(|finding| finding.id == FindingId::ConsentSome).collect();
    assert!(!some.is_empty() && some.iter().all(|finding| finding.seen == "consent of 1 user"), "{shown}");
}

#[test]
fn every_finding_has_a_page() {
    let pages = include_str!("../../src/model/findings.md");
    let headings: Vec<&str> = pages.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, FindingId::ALL.iter().map(|id| id.id()).collect::<Vec<_>>());
    for id in FindingId::ALL {
        assert!(id.explanation().len() > 60, "{id} says too little");
    }
}

#[test]
fn the_scenario_of_these_tests_is_valid() {
    serde_json::from_value::<mailwright::sandbox::Scenario>(good()).unwrap();
}
