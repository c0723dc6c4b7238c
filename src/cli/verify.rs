//! `mailwright verify`: will the mail leave?

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    CliError, Context, Exit, ServiceOptions,
    environment::{self, Environment},
    outgoing::OutgoingOptions,
    plan,
    secrets::IdentityOptions,
    variables,
};
use crate::{
    api::{Unshown, VerifyRequest},
    client::Client,
    config::{Desired, DesiredProfile, suggest},
    microsoft::{self, Endpoints, Http},
    model::{Code, ProfileName, Provider, SecretReference},
    secrets::{self, Identities},
    verify::{self, Opened, Options, ReaderApplication, Report, Severity, Subject, Verified, Verifier, gate, waivers},
};

/// Check that the mail will leave: registrations, permissions, redirect URIs, credentials, mail servers
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright verify prod                       the service checks: it can open the secrets\n  \
    mailwright verify prod invoices --local      this machine checks, with your own identity\n  \
    mailwright verify prod --manifest app.json   an exported registration, without any network\n  \
    mailwright verify prod --format junit > report.xml\n  \
    mailwright verify prod invoices --probe      sends a mail to the sender itself\n\n\
    How far it gets: 0 the files · 1 what anybody may ask · 2 with the profile's own credential ·\n\
    3 with a reader's token (MAILWRIGHT_READER_TOKEN, or --sign-in CLIENT) · 4 a probe.\n\
    What it could not see is `unknown`, never clean, and says what would decide it.\n\n\
    Exit code: 0 clean, 1 could not run, 3 findings of severity error (or warning, with --fail-on warning).\n\
    `mailwright explain GRAPH-REDIRECT-SPA` tells more about a finding."
)]
pub(crate) struct Verify {
    /// The environment
    environment: String,
    /// The profiles; all that are enabled if none is named
    profiles: Vec<String>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    /// Show what passed, too
    #[arg(long)]
    all: bool,
    /// From which severity on the exit code is 3
    #[arg(long, value_enum, default_value_t = FailOn::Error, value_name = "SEVERITY")]
    fail_on: FailOn,
    /// Check from here, with an identity of yours, instead of asking the service
    #[arg(long)]
    local: bool,
    /// An exported registration (`az ad app show`, Graph's JSON, the portal's manifest); checks nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    manifest: Vec<PathBuf>,
    /// Send a mail from each profile's sender to itself
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    reader: ReaderOptions,
    #[command(flatten)]
    outgoing: OutgoingOptions,
    #[command(flatten)]
    identities: IdentityOptions,
    #[command(flatten)]
    service: ServiceOptions,
}

/// Who reads the directory.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reading the directory (level 3)")]
struct ReaderOptions {
    /// Sign in by device code, as a user who may read the directory, with this public client of the tenant
    #[arg(long, value_name = "CLIENT")]
    sign_in: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// One document; `mailwright schema verify-report` describes it.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// XML, for whatever shows tests.
    Junit,
    /// For a comment on a pull request.
    Markdown,
    /// Workflow commands of GitHub.
    Github,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Error,
    Warning,
}

impl Verify {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        plan::json_even_on_errors(context, self.format == Format::Json, || self.verify(context))
    }

    fn verify(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let desired = environment.desired(context)?;
        let profiles = self.chosen(&desired)?;
        let mut report = if !self.manifest.is_empty() {
            self.offline(context, &desired, &profiles)?
        } else if self.local {
            self.locally(context, &environment, &desired, &profiles)?
        } else {
            self.by_service(context, &environment, &desired, &profiles)?
        };
        let whole = self.profiles.is_empty() && self.manifest.is_empty();
        waivers::apply(&mut report, &desired.verify, context.clock.now(), whole);
        waivers::place(&mut report, &desired);
        context.printer.out(&match self.format {
            Format::Human => report.human(self.all),
            Format::Json => report.json(),
            Format::Sarif => report.sarif(),
            Format::Junit => report.junit(),
            Format::Markdown => report.markdown(),
            Format::Github => report.github(),
        });
        let limit = match self.fail_on {
            FailOn::Error => Severity::Error,
            FailOn::Warning => Severity::Warning,
        };
        Ok(if report.fails_on(limit) { Exit::Code(3) } else { Exit::Done })
    }

    /// The profiles that were named, or all that are enabled. A manifest is about the profiles of its client.
    fn chosen<'d>(&self, desired: &'d Desired) -> Result<BTreeMap<&'d ProfileName, &'d DesiredProfile>, CliError> {
        if self.profiles.is_empty() {
            let enabled = desired.profiles.iter().filter(|(_, profile)| profile.stored.profile.enabled);
            return Ok(enabled.collect());
        }
        let mut chosen = BTreeMap::new();
        for text in &self.profiles {
            let name = environment::profile_name(text)?;
            let (name, profile) = desired.profiles.get_key_value(&name).ok_or_else(|| {
                let error = CliError::coded(
                    Code::NotFound,
                    format!("the environment `{}` has no profile `{name}`", desired.environment),
                );
                match suggest::nearest(text, desired.profiles.keys().map(ProfileName::as_str)) {
                    Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                    None => error,
                }
            })?;
            chosen.insert(name, profile);
        }
        Ok(chosen)
    }

    fn options(&self, context: &Context, desired: &Desired) -> Result<Options, CliError> {
        let mut options = Options::new(desired.environment.clone(), context.clock.now());
        options.credential_days = desired.verify.credential_days;
        let outgoing = self.outgoing.outgoing()?;
        options.http.authorities = outgoing.authorities;
        options.federated_token_files = outgoing.federated_token_files;
        options.dns_server = outgoing.dns_server;
        options.smtp_timeout = outgoing.smtp_timeout;
        options.probe = self.probe;
        Ok(options)
    }

    fn offline(
        &self,
        context: &Context,
        desired: &Desired,
        profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
    ) -> Result<Report, CliError> {
        let mut manifests = Vec::new();
        for path in &self.manifest {
            let failed = |why: String| CliError::coded(Code::Unreadable, format!("`{}`: {why}", path.display()));
            let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            let document: serde_json::Value = serde_json::from_slice(&text).map_err(|error| {
                failed(format!("this is not JSON: {error}"))
                    .remedy("az ad app show --id CLIENT > app.json, or the manifest that the portal downloads.")
            })?;
            manifests.push((path, document));
        }
        let mut options = self.options(context, desired)?;
        options.manifests = manifests.iter().map(|(_, document)| document.clone()).collect();
        let mut verifier = Verifier::new(options).map_err(CliError::new)?;
        let mut subjects = Vec::new();
        let mut why = None;
        for (name, profile) in profiles {
            let client = match &profile.stored.profile.provider {
                Provider::MicrosoftGraphDelegate(delegate) => &delegate.client,
                Provider::MicrosoftGraphDirect(direct) => &direct.client,
                Provider::Smtp(_) => continue,
            };
            let mut found = None;
            for (path, document) in &manifests {
                match verify::graph::from_export(document, client) {
                    Ok(application) => found = Some(application),
                    Err(error) => why = Some(format!("`{}`: {error}", path.display())),
                }
            }
            if let Some(application) = found {
                verifier.add_manifest(client, application);
                let secret = Opened::None;
                subjects.push(Subject {
                    name: (*name).clone(),
                    profile: profile.stored.profile.clone(),
                    secret,
                    refused: None,
                });
            }
        }
        if subjects.is_empty() {
            let error =
                CliError::coded(Code::NotFound, "no profile's client is in what was exported; nothing was checked");
            return Err(match why {
                Some(why) => error.detail(why),
                None => error,
            });
        }
        self.collect(context, &Arc::new(verifier), subjects)
    }

    fn locally(
        &self,
        context: &Context,
        environment: &Environment,
        desired: &Desired,
        profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
    ) -> Result<Report, CliError> {
        let mut options = self.options(context, desired)?;
        options.reader = self.reader_token(context, profiles, &options)?;
        let mut files: BTreeMap<_, Vec<u8>> = BTreeMap::new();
        for (reference, file) in &desired.secrets {
            let used = profiles.values().any(|profile| profile.stored.secrets.contains_key(reference))
                || gate::reader_secret(desired) == Some(reference);
            if used && let Ok(bytes) = std::fs::read(environment.repository.root().join(&file.path)) {
                files.insert(reference.clone(), bytes);
            }
        }
        // Without any identity the anonymous checks are still worth making; each finding says what is missing.
        let identities = if files.is_empty() {
            Ok(Identities::default())
        } else {
            self.identities.load(files.values().map(Vec::as_slice))
        };
        if !self.identities.is_empty()
            && let Err(error) = identities
        {
            return Err(error);
        }
        let open = |reference: Option<&SecretReference>| {
            let Some(reference) = reference else { return Opened::None };
            let Some(file) = files.get(reference) else {
                return Opened::Unavailable("its age file cannot be read".to_owned());
            };
            match &identities {
                Err(error) => Opened::Unavailable(error.message.clone()),
                Ok(identities) => match secrets::open(file, identities.iter()) {
                    Ok(value) => match std::str::from_utf8(value.expose_secret()) {
                        Ok(text) => Opened::Value(SecretString::from(text)),
                        Err(_) => Opened::Unavailable("its value is no text".to_owned()),
                    },
                    Err(error) => Opened::Unavailable(error.to_string()),
                },
            }
        };
        let subjects: Vec<Subject> = profiles
            .iter()
            .map(|(name, profile)| Subject {
                name: (*name).clone(),
                profile: profile.stored.profile.clone(),
                secret: open(profile.stored.profile.provider.secret().map(|(reference, _)| reference)),
                refused: None,
            })
            .collect();
        options.reader_application = desired
            .verify
            .reader
            .clone()
            .map(|settings| ReaderApplication { settings, secret: open(gate::reader_secret(desired)) });
        let verifier = Arc::new(Verifier::new(options).map_err(CliError::new)?);
        self.collect(context, &verifier, subjects)
    }

    /// The token of somebody who may read the directory: from the environment, or by signing in now.
    fn reader_token(
        &self,
        context: &Context,
        profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
        options: &Options,
    ) -> Result<Option<SecretString>, CliError> {
        let Some(client) = &self.reader.sign_in else {
            return Ok(variables::read(variables::READER_TOKEN).map(SecretString::from));
        };
        let places: BTreeSet<_> = profiles
            .values()
            .filter_map(|profile| match &profile.stored.profile.provider {
                Provider::MicrosoftGraphDelegate(delegate) => Some((delegate.cloud.clone(), delegate.tenant.clone())),
                Provider::MicrosoftGraphDirect(direct) => Some((direct.cloud.clone(), direct.tenant.clone())),
                Provider::Smtp(_) => None,
            })
            .collect();
        let [(cloud, tenant)] = places.iter().collect::<Vec<_>>()[..] else {
            return Err(CliError::coded(
                Code::Usage,
                format!("one signs in to one tenant, and these profiles are in {}", places.len()),
            )
            .remedy("Name the profiles of one tenant: mailwright verify ENV PROFILE..."));
        };
        let endpoints = Endpoints::of(cloud).map_err(|error| CliError::new(error.to_string()))?;
        let graph = endpoints.graph.as_str().trim_end_matches('/').to_owned();
        let http = Http::new(&options.http).map_err(CliError::new)?;
        let sign_in = microsoft::sign_in::SignIn::new(http, endpoints);
        let scope = format!("{graph}/Application.Read.All {graph}/Directory.Read.All");
        let failed = |error: microsoft::sign_in::SignInError| {
            CliError::new(format!("cannot sign in to {tenant}: {error}")).remedy(
                "The client must be public, allow public client flows, and have Application.Read.All and Directory.Read.All (delegated) with consent. Where Conditional Access blocks device codes, give a token in MAILWRIGHT_READER_TOKEN: az account get-access-token --resource-type ms-graph --query accessToken --output tsv",
            )
        };
        context.runtime()?.block_on(async {
            let begun = sign_in.device_code(tenant, client, &scope).await.map_err(failed)?;
            context.printer.note(&format!(
                "Open {} and enter the code {} to sign in to {tenant}.",
                begun.verification_uri().as_str(),
                begun.user_code().secret()
            ));
            let token = sign_in.device_token(tenant, client, &begun).await.map_err(failed)?;
            Ok(Some(token.value))
        })
    }

    /// Runs the checks here, with a line of progress.
    fn collect(&self, context: &Context, verifier: &Arc<Verifier>, subjects: Vec<Subject>) -> Result<Report, CliError> {
        let progress = Progress::new(context, subjects.len());
        let environment = self.environment.clone();
        context.runtime()?.block_on(async {
            let mut results = Arc::clone(verifier).run(subjects);
            let mut profiles = Vec::new();
            while let Some(verified) = results.recv().await {
                progress.one(profiles.len() + 1, &verified);
                profiles.push(verified);
            }
            progress.end();
            profiles.sort_by(|a, b| a.profile.cmp(&b.profile));
            Ok(Report {
                format_version: Report::FORMAT_VERSION,
                environment,
                profiles,
                findings: verifier.reader_finding().into_iter().collect(),
                requests: verifier.requests(),
            })
        })
    }

    fn by_service(
        &self,
        context: &Context,
        environment: &Environment,
        desired: &Desired,
        profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
    ) -> Result<Report, CliError> {
        let client = environment.client(context, &self.service).map_err(|error| {
            if error.code == Some(Code::TokenMissing) {
                error.detail("or check from this machine, with `--local`")
            } else {
                error
            }
        })?;
        let options = self.options(context, desired)?;
        let reader = self.reader_token(context, profiles, &options)?;
        let ask = Ask { root: environment.repository.root(), desired, probe: self.probe, reader };
        context.runtime()?.block_on(ask_service(context, &client, &ask, profiles))
    }
}

/// What the service is asked to check with.
pub(super) struct Ask<'a> {
    pub(super) root: &'a Path,
    pub(super) desired: &'a Desired,
    pub(super) probe: bool,
    pub(super) reader: Option<SecretString>,
}

/// Has the service check profiles as the files want them. Age files go along as they are.
pub(super) async fn ask_service(
    context: &Context,
    client: &Client,
    ask: &Ask<'_>,
    profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
) -> Result<Report, CliError> {
    let mut secrets = BTreeMap::new();
    for (reference, digest) in profiles.values().flat_map(|profile| &profile.stored.secrets) {
        if let Some(file) = ask.desired.secrets.get(reference)
            && let Ok(bytes) = std::fs::read(ask.root.join(&file.path))
        {
            secrets.insert(digest.clone(), BASE64_STANDARD.encode(bytes));
        }
    }
    secrets.extend(gate::reader_file(ask.root, ask.desired));
    let request = VerifyRequest {
        environment: ask.desired.environment.clone(),
        profiles: profiles.iter().map(|(name, profile)| ((*name).clone(), profile.stored.clone())).collect(),
        secrets,
        credential_days: ask.desired.verify.credential_days,
        probe: ask.probe,
        reader: gate::reading(ask.desired),
        reader_token: ask.reader.clone().map(Unshown),
    };
    self::ask(context, client, &request).await
}

/// Has the service check, with a line of progress.
pub(super) async fn ask(context: &Context, client: &Client, request: &VerifyRequest) -> Result<Report, CliError> {
    let progress = Progress::new(context, request.profiles.len());
    let mut profiles = Vec::new();
    let answer = client
        .verify(request, |verified| {
            progress.one(profiles.len() + 1, &verified);
            profiles.push(verified);
        })
        .await;
    progress.end();
    let (findings, requests) = answer?;
    profiles.sort_by(|a: &Verified, b| a.profile.cmp(&b.profile));
    Ok(Report {
        format_version: Report::FORMAT_VERSION,
        environment: request.environment.to_string(),
        profiles,
        findings,
        requests,
    })
}

/// One line that is written over, on a terminal; nothing elsewhere.
struct Progress {
    total: usize,
    shown: bool,
}

impl Progress {
    fn new(_context: &Context, total: usize) -> Self {
        Self { total, shown: std::io::stderr().is_terminal() && total > 1 }
    }

    #[expect(clippy::print_stderr, reason = "a line that is written over is not what the printer prints")]
    fn one(&self, done: usize, verified: &Verified) {
        if self.shown {
            eprint!("\r\x1b[K{done} of {} checked: {}", self.total, verified.profile);
        }
    }

    #[expect(clippy::print_stderr, reason = "a line that is written over is not what the printer prints")]
    fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
