//! A sandbox in this process, and cases for the verifier: a profile and its expected findings.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use mailwright::{
    model::{
        Profile,
        finding::{Finding, Verdict, Verified},
    },
    sandbox::{Ports, SandboxServer, Scenario},
    time::Clock,
    verify::{Subject, SubjectSecret, Verifier, VerifyOptions},
};
use serde_json::{Value, json};

/// The initial time of the clocks of these tests, so that days left are always the same.
pub(crate) const NOW: &str = "2026-11-23T12:00:00Z";

pub(crate) const TENANT: &str = "contoso.example";
pub(crate) const DIRECT: &str = "0c0ffee0-0000-4000-8000-0000000000d1";
pub(crate) const DESKTOP: &str = "0c0ffee0-0000-4000-8000-0000000000e1";
pub(crate) const WEB: &str = "0c0ffee0-0000-4000-8000-0000000000e2";
pub(crate) const READER: &str = "0c0ffee0-0000-4000-8000-0000000000aa";
pub(crate) const SECRET: &str = "aB3-canary-of-the-client-secret";
pub(crate) const PASSWORD: &str = "canary-of-the-password";

const DELEGATED: [&str; 4] = ["Mail.ReadWrite", "Mail.Send", "User.Read", "User.ReadBasic.All"];

/// The content type of [`encode`].
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Returns the fields of a form as a request has them.
pub(crate) fn encode(fields: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params("https://form.invalid", fields).unwrap();
    url.query().unwrap_or_default().to_owned()
}

/// A sandbox in the process of the test.
pub(crate) struct Sandbox {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) running: SandboxServer,
    pub(crate) http: reqwest::Client,
}

impl Sandbox {
    pub(crate) fn start(scenario: Value) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ports = Ports { https: 0, smtp: 0, smtps: 0, dns: 0 };
        let running = runtime.block_on(SandboxServer::start(serde_json::from_value(scenario).unwrap(), ports)).unwrap();
        let authority = reqwest::Certificate::from_pem(running.authority.as_bytes()).unwrap();
        let http = reqwest::Client::builder().add_root_certificate(authority).build().unwrap();
        Self { runtime, running, http }
    }

    pub(crate) fn put(&self, scenario: &Value) {
        let url = format!("{}/sandbox/scenario", self.running.address);
        let answer = self.runtime.block_on(self.http.put(url).json(scenario).send()).unwrap();
        assert_eq!(answer.status(), 204);
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let url = format!("{}/sandbox/{path}", self.running.address);
        self.runtime.block_on(async { self.http.get(url).send().await.unwrap().json().await.unwrap() })
    }

    /// Asks for a token of an application with its secret. Returns the status and the reply.
    pub(crate) fn sign_in(&self, client: &str, secret: &str) -> (u16, Value) {
        let url = format!("{}/{TENANT}/oauth2/v2.0/token", self.running.address);
        let scope = format!("{}/.default", self.running.address);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
            ("scope", &*scope),
        ];
        self.runtime.block_on(async {
            let answer = self.http.post(url).header("content-type", FORM).body(encode(&form)).send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        })
    }

    /// Orders something that goes wrong.
    pub(crate) fn fault(&self, fault: &Value) {
        let url = format!("{}/sandbox/faults", self.running.address);
        let answer = self.runtime.block_on(self.http.post(url).json(fault).send()).unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

/// A scenario in which every profile below is as it should be.
pub(crate) fn good() -> Value {
    json!({
        "tenants": [{
            "id": "0c0ffee0-0000-4000-8000-000000000001",
            "domains": [TENANT, "contoso.onmicrosoft.com"],
            "users": [
                { "name": "documents@contoso.example", "aliases": ["invoices@contoso.example"] },
                { "name": "shared@contoso.example", "mailbox": "shared" },
                { "name": "guest@contoso.example", "mailbox": "none" },
                { "name": "alice@contoso.example" },
            ],
            "applications": [
                {
                    "client": DIRECT, "name": "Documents", "requests": { "application": ["Mail.Send"] },
                    "granted": ["Mail.Send"],
                    "secrets": [
                        { "value": "old-secret", "name": "last year's", "expires": "2025-06-01T00:00:00Z" },
                        { "value": SECRET, "name": "mailwright", "expires": "2027-11-23T12:00:00Z" },
                    ],
                },
                {
                    "client": DESKTOP, "name": "Desktop", "publicFlows": true,
                    "redirects": { "publicClient": ["https://localhost", "http://localhost"] },
                    "requests": { "delegated": DELEGATED }, "consented": DELEGATED,
                },
                {
                    "client": WEB, "name": "Web", "redirects": { "spa": ["https://erp.contoso.example/web"] },
                    "requests": { "delegated": DELEGATED }, "consented": DELEGATED,
                },
                {
                    "client": READER, "name": "Reader", "granted": ["Application.Read.All", "Directory.Read.All"],
                    "secrets": [{ "value": "reader-secret" }],
                },
            ],
        }],
        "smtp": { "users": { "mailer": PASSWORD } },
        "dns": {
            TENANT: ["v=spf1 include:spf.protection.outlook.com -all"],
            "_dmarc.contoso.example": ["v=DMARC1; p=quarantine"],
            "selector1._domainkey.contoso.example": ["v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GN"],
        },
    })
}

/// The profile of a direct sender; `HERE` is the sandbox.
pub(crate) fn direct() -> Value {
    json!({
        "provider": { "microsoft-graph-direct": {
            "cloud": { "custom": { "signIn": "HERE", "graph": "HERE" } },
            "tenant": TENANT, "client": DIRECT,
            "credential": { "clientSecret": { "secret": "documents/secret" } },
        } },
        "from": { "address": "documents@contoso.example" },
        "functions": ["all-documents"], "appliesTo": "system-wide",
    })
}

/// The profile of a delegate.
pub(crate) fn delegate(client: &str) -> Value {
    let (platform, redirect) =
        if client == WEB { ("spa", "https://erp.contoso.example/web") } else { ("native", "https://localhost") };
    json!({
        "provider": { "microsoft-graph-delegate": {
            "cloud": { "custom": { "signIn": "HERE", "graph": "HERE" } },
            "tenant": TENANT, "client": client, "platform": platform, "redirect": redirect,
        } },
        "functions": ["user-interface"], "appliesTo": "system-wide",
    })
}

/// The profile of a mail server; `SMTP` and `SMTPS` are the sandbox's ports.
pub(crate) fn smtp() -> Value {
    json!({
        "provider": { "smtp": {
            "host": "localhost", "port": "SMTP", "encryption": "starttls",
            "username": "mailer", "password": { "secret": "relay/password" },
        } },
        "from": { "address": "documents@contoso.example" },
        "functions": ["default"], "appliesTo": "system-wide",
    })
}

/// A case for the verifier: a scenario, a profile and the options of the run.
pub(crate) struct VerifyCase {
    pub(crate) name: &'static str,
    pub(crate) scenario: Value,
    pub(crate) profile: Value,
    pub(crate) secret: Option<String>,
    pub(crate) with_reader: bool,
    pub(crate) trusting: bool,
    pub(crate) options: Box<dyn FnOnce(&mut VerifyOptions) + Send>,
    pub(crate) manifest: Option<Value>,
    pub(crate) unavailable: bool,
    pub(crate) refused: bool,
    pub(crate) dns: bool,
    /// Texts that differ from run to run, and their replacements.
    pub(crate) hidden: Vec<(String, &'static str)>,
    /// Files that the profile names; removed when the case is over.
    pub(crate) files: Option<tempfile::TempDir>,
    /// The file of a federated token, which is for what the profile says.
    pub(crate) federated: Option<std::path::PathBuf>,
}

impl VerifyCase {
    pub(crate) fn new(name: &'static str, profile: Value) -> Self {
        Self {
            name,
            scenario: good(),
            profile,
            secret: Some(SECRET.to_owned()),
            with_reader: false,
            trusting: true,
            options: Box::new(|_| {}),
            manifest: None,
            unavailable: false,
            refused: false,
            dns: true,
            hidden: Vec::new(),
            files: None,
            federated: None,
        }
    }

    /// Changes the scenario: a JSON pointer, and the value to set.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        put(&mut self.scenario, pointer, value);
        self
    }

    /// Changes the application of the profile.
    pub(crate) fn app(self, key: &str, value: Value) -> Self {
        let client = self.profile.to_string();
        let index = [DIRECT, DESKTOP, WEB].iter().position(|id| client.contains(id)).unwrap();
        self.set(&format!("/tenants/0/applications/{index}/{key}"), value)
    }

    pub(crate) fn fault(self, fault: Value) -> Self {
        self.set("/faults", json!([fault]))
    }

    /// Changes the profile.
    pub(crate) fn with(mut self, pointer: &str, value: Value) -> Self {
        put(&mut self.profile, pointer, value);
        self
    }

    pub(crate) fn reader(mut self) -> Self {
        self.with_reader = true;
        self
    }

    pub(crate) fn secret(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut VerifyOptions) + Send + 'static) -> Self {
        self.options = Box::new(change);
        self
    }

    /// Gives the application a certificate, and the profile the one that is `mine`.
    pub(crate) fn certificate(self, known: bool) -> Self {
        let (mine, other) = (SigningCertificate::new(), SigningCertificate::new());
        let registered = if known { &mine.certificate } else { &other.certificate };
        let mut case = self
            .app("certificates", json!([{ "pem": registered }]))
            .with(
                "/provider/microsoft-graph-direct/credential",
                json!({ "certificate": { "secret": "documents/key" } }),
            )
            .secret(&format!("{}{}", mine.certificate, mine.key));
        case.hidden = vec![(mine.thumbprint.clone(), "MINE"), (other.thumbprint, "OTHER")];
        case
    }

    /// Lets the profile sign in with a token of another issuer, which the application trusts for `subject`.
    pub(crate) fn federated(self, subject: &str) -> Self {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
        let part = |document: Value| BASE64_URL_SAFE_NO_PAD.encode(document.to_string());
        let claims = json!({
            "iss": "https://issuer.example", "sub": "system:serviceaccount:mail:mailwright",
            "aud": ["api://AzureADTokenExchange"], "exp": 4_000_000_000_u64,
        });
        let token = format!("{}.{}.c2lnbmF0dXJl", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, token).unwrap();
        let mut case = self
            .app("federated", json!([{ "issuer": "https://issuer.example", "subject": subject }]))
            .with("/provider/microsoft-graph-direct/credential", json!({ "federatedTokenFile": path }));
        case.hidden = vec![(path.display().to_string(), "TOKEN-FILE")];
        case.files = Some(folder);
        case.federated = Some(path);
        case
    }

    pub(crate) async fn run(self) -> (Verified, String) {
        let scenario: Scenario = serde_json::from_value(self.scenario).unwrap();
        let ports = Ports { https: 0, smtp: 0, smtps: 0, dns: 0 };
        let running = SandboxServer::start(scenario, ports).await.unwrap();
        let text = self
            .profile
            .to_string()
            .replace("HERE", &running.address)
            .replace("\"SMTP\"", &running.smtp.port().to_string())
            .replace("\"SMTPS\"", &running.smtps.port().to_string());
        let profile: Profile = serde_json::from_str(&text).unwrap();
        let mut options = VerifyOptions::new("dev".parse().unwrap(), NOW.parse::<Timestamp>().unwrap());
        options.http.authorities = self.trusting.then(|| running.authority.clone().into_bytes());
        options.http.timeout = Duration::from_secs(20);
        options.http.patience = Duration::from_secs(5);
        options.smtp_timeout = Duration::from_secs(20);
        let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
        options.dns_server = Some(if self.dns { running.dns } else { nowhere });
        if self.with_reader {
            options.reader = Some(reader_token(&running).await);
        }
        (self.options)(&mut options);
        if let Some(path) = &self.federated {
            let provider = &profile.provider;
            let option = mailwright::entra::federated::format_option(
                path.to_str().unwrap(),
                &options.environment,
                &provider.destination(),
            );
            let file = option.split('\'').nth(1).unwrap().parse().unwrap();
            options.federated = mailwright::entra::FederatedFiles::new(vec![file]);
        }
        if let Some(manifest) = &self.manifest {
            options.manifests = vec![manifest.clone()];
        }
        let mut verifier = Verifier::new(options).unwrap();
        if let Some(manifest) = &self.manifest {
            let client = ["delegate", "direct"]
                .iter()
                .find_map(|kind| self.profile.pointer(&format!("/provider/microsoft-graph-{kind}/client"))?.as_str());
            let application = mailwright::verify::graph::from_export(manifest, client.unwrap()).unwrap();
            verifier.add_manifest(client.unwrap(), application);
        }
        let names_secret = profile.provider.secret().is_some();
        let secret = match self.secret {
            _ if self.unavailable => SubjectSecret::Unavailable("no identity opens it".to_owned()),
            Some(secret) if names_secret => SubjectSecret::Value(secret.into()),
            _ => SubjectSecret::None,
        };
        let refused = self.refused.then(|| "the token may not apply".to_owned());
        let subject = Subject { name: "trial".parse().unwrap(), profile, secret, next: SubjectSecret::None, refused };
        let verified = Arc::new(verifier).verify(&subject).await;
        let places = [
            (running.address.clone(), "https://SANDBOX"),
            (running.address.trim_start_matches("https://").to_owned(), "SANDBOX"),
            (
                running.address.replace("://", "%3A%2F%2F").replace("localhost:", "localhost%3A"),
                "https%3A%2F%2FSANDBOX",
            ),
            (format!("localhost:{}", running.smtp.port()), "localhost:SMTP"),
            (format!("localhost {}", running.smtp.port()), "localhost SMTP"),
            (format!("port {}", running.smtp.port()), "port SMTP"),
            (format!("port {}", running.smtps.port()), "port SMTPS"),
            (format!("localhost:{}", running.smtps.port()), "localhost:SMTPS"),
            (format!("localhost {}", running.smtps.port()), "localhost SMTPS"),
        ];
        let mut text = shown(self.name, &verified);
        for (address, name) in places.into_iter().chain(self.hidden) {
            text = text.replace(&address, name);
        }
        (verified, text)
    }
}

/// A certificate with its key.
pub(crate) struct SigningCertificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) thumbprint: String,
}

impl SigningCertificate {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.not_after = rcgen::date_time_ymd(2027, 3, 1);
        let certificate = parameters.self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        let both = mailwright::entra::Certificate::from_pem(format!("{certificate}{key}").into()).unwrap();
        let thumbprint = both.sha1_thumbprint().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        });
        Self { certificate, key, thumbprint }
    }

    /// Returns the certificate and its key in one PEM file.
    pub(crate) fn pem(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

fn put(document: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.insert(key.to_owned(), value)),
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        _ => panic!("nothing can be put at {pointer}"),
    }
}

/// Returns a token that may read the directory.
pub(crate) async fn reader_token(running: &SandboxServer) -> secrecy::SecretString {
    use mailwright::{
        entra::{
            Endpoints, Http, http,
            sign_in::{ClientAuthentication, SignIn},
        },
        model::{Cloud, cloud::CustomCloud},
    };
    let custom = CustomCloud { sign_in: running.address.clone(), graph: running.address.clone() };
    let endpoints = Endpoints::for_cloud(&Cloud::Custom(custom)).unwrap();
    let options =
        http::HttpOptions { authorities: Some(running.authority.clone().into_bytes()), ..http::HttpOptions::default() };
    let sign_in = SignIn::new(Http::new(&options).unwrap(), endpoints.clone());
    let proof = ClientAuthentication::Secret("reader-secret".to_owned().into());
    let scope = endpoints.graph_scope();
    sign_in.application_token(TENANT, READER, &proof, &scope, Clock::system().now()).await.unwrap().value
}

/// A result as a person could compare it, every finding whole.
fn shown(name: &str, verified: &Verified) -> String {
    let mut out = format!("== {name} (reached {})\n", verified.reached);
    for finding in &verified.findings {
        out.push_str(&whole(finding));
    }
    out
}

/// A finding with all that it says.
pub(crate) fn whole(finding: &Finding) -> String {
    let mut out = String::new();
    let verdict = match finding.verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Unknown => format!("unknown {}", finding.severity.id()),
        Verdict::Fail => format!("fail {}", finding.severity.id()),
    };
    writeln!(out, "{verdict} {} at {} (level {})", finding.id, finding.pointer, finding.level.number()).unwrap();
    writeln!(out, "  {}", finding.message).unwrap();
    for (label, text) in [("seen", &finding.seen), ("expected", &finding.expected)] {
        if !text.is_empty() {
            writeln!(out, "  {label}: {text}").unwrap();
        }
    }
    for step in &finding.remedy {
        writeln!(out, "  > {step}").unwrap();
    }
    out
}
