//! `mailwright verify`: will the mail leave?

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    api::{Redacted, VerifyRequest},
    cli::{
        self, CliError, Context, ErrorFormat, Exit, Runnable, ServiceOptions,
        args::environments::SelectionArgs,
        args::{fail_on::FailOn, identity::IdentityOptions, outbound::OutgoingOptions},
        environment::{self, Environment},
        fleet::{EnvironmentSet, Fleet},
        ui::fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
        variables,
        verification::{VerifyProgress, verify_with_progress},
    },
    client::Client,
    config::{Desired, DesiredProfile, Repository, SecretFile, suggest},
    entra::{
        Endpoints, Http, HttpError,
        aadsts::Cause,
        claims::Claims,
        http::tls_remedy,
        sign_in::{SignIn, SignInError},
    },
    model::{
        Code, Destination, Digest, EnvironmentName, ProfileName, Provider, SecretReference, StoredProfile,
        finding::Report,
    },
    operations::{gate, waivers},
    secrets::{self, Header, Identities, OpenError, Purpose, ValueId},
    text,
    verify::{self, NeededPermissions, ReaderApplication, ReportSet, Subject, SubjectSecret, Verifier, VerifyOptions},
};

/// Check that the mail will leave: registrations, permissions, redirect URIs, credentials, mail servers
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright verify prod                       the service checks: it can open the secrets\n  \
    mailwright verify prod invoices --local      this machine checks, with your own identity\n  \
    mailwright verify prod --manifest app.json   an exported registration, without any network\n  \
    mailwright verify prod --format junit > report.xml\n  \
    mailwright verify prod invoices --probe      sends a mail to the sender itself\n  \
    mailwright verify 'prod-*' -l region=emea --format sarif > report.sarif\n\n\
    How far it gets: 0 the files · 1 what anybody may ask · 2 with the profile's own credential ·\n\
    3 with a reader's token (MAILWRIGHT_READER_TOKEN, or --sign-in CLIENT) · 4 a probe.\n\
    What it could not see is `unknown`, never clean, and says what would decide it.\n\n\
    Exit code: 0 nothing that --fail-on names, 1 could not run, 3 findings: errors as a rule, also warnings with\n\
    --fail-on warning, also what is unknown with --fail-on unknown.\n\
    Of several environments: 1 if any could not be checked, else 3 if any has such findings.\n\
    `mailwright explain GRAPH-REDIRECT-SPA` tells more about a finding."
)]
pub(crate) struct Verify {
    /// The environment: a name, or a pattern such as 'prod-*'
    #[arg(value_name = "ENV", required_unless_present_any = ["selector", "since"])]
    environment: Option<String>,
    /// Its profiles, all that are enabled if none is named; or further environments
    #[arg(value_name = "PROFILE|ENV")]
    more: Vec<String>,
    /// A profile, where its name is that of an environment too (can be repeated)
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    #[command(flatten)]
    choice: SelectionArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    /// Show what passed, too
    #[arg(long)]
    all: bool,
    /// What makes the exit code 3: errors, warnings as well, or anything unknown as well
    #[arg(long, value_enum, default_value_t = FailOn::Error, value_name = "LIMIT")]
    fail_on: FailOn,
    /// Check from here, with an identity of yours, instead of asking the service
    #[arg(long)]
    local: bool,
    /// Send this secret where the files say, though it does not say itself that it belongs there (can be repeated)
    #[arg(long, value_name = "NAME/KEY", requires = "local")]
    send_secret: Vec<String>,
    /// An exported registration (`az ad app show`, Graph's JSON, the portal's manifest); checks nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all = ["probe", "sign_in"])]
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

/// Held by whoever may ask for a passphrase.
static ASKING: Mutex<()> = Mutex::new(());

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

impl Runnable for Verify {
    fn error_format(&self) -> ErrorFormat {
        ErrorFormat::json_if(self.format == Format::Json)
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        self.refuse_what_is_ignored()?;
        let repository = Arc::new(context.repository()?);
        let (environments, profiles) = self.sort_out(&repository)?;
        match Fleet::find(context, &repository, &environments, &self.choice, &self.service)? {
            Fleet::Single(environment) => {
                let report = self.report(context, &environment, &profiles)?;
                context.printer.out(&match self.format {
                    Format::Human => report.human(self.all),
                    Format::Json => report.json(),
                    Format::Sarif => report.sarif(),
                    Format::Junit => report.junit(),
                    Format::Markdown => report.markdown(),
                    Format::Github => report.github(),
                });
                Ok(if report.fails_on(self.fail_on.limit()) { Exit::Code(3) } else { Exit::Done })
            }
            Fleet::Many(several) => self.several(context, several, &profiles),
        }
    }
}

impl Verify {
    /// An option that would change nothing is told, and not passed over.
    fn refuse_what_is_ignored(&self) -> Result<(), CliError> {
        if self.local && self.manifest.is_empty() {
            return Ok(());
        }
        let mut given = self.outgoing.explicitly_set(self.reader.sign_in.is_some());
        if !self.identities.is_empty() {
            given.push("--identity");
        }
        if given.is_empty() {
            return Ok(());
        }
        let (why, remedy) = if self.manifest.is_empty() {
            (
                "is for checks from this machine, and here the service checks",
                "Add `--local`, or start the service with it.",
            )
        } else {
            ("is for checks over the network, and `--manifest` needs none", "Leave it out.")
        };
        Err(CliError::coded(Code::Usage, format!("`{}` {why}", given.join("`, `"))).remedy(remedy))
    }

    /// What was named besides the first environment: further ones, or profiles.
    fn sort_out(&self, repository: &Repository) -> Result<(Vec<String>, Vec<String>), CliError> {
        let known = repository.environments();
        let known = |word: &str| known.iter().find(|name| name.as_str() == word);
        let first = self.environment.as_deref();
        let first_profiles = first.and_then(known).map(|name| repository.profile_names(name)).unwrap_or_default();
        let mut environments: Vec<String> = first.map(str::to_owned).into_iter().collect();
        let mut profiles = self.profiles.clone();
        for word in &self.more {
            let is_environment = known(word).is_some() || word.contains(['*', '?', '[', '{']);
            let is_profile = first_profiles.iter().any(|name| name.as_str() == word);
            match (is_environment, is_profile) {
                (true, true) => {
                    return Err(CliError::coded(Code::Usage, format!("`{word}` is an environment and a profile"))
                        .remedy(format!("If the profile is meant: `--profile {word}`.")));
                }
                (true, false) => environments.push(word.clone()),
                (false, _) => profiles.push(word.clone()),
            }
        }
        Ok((environments, profiles))
    }

    /// What verify finds in one environment.
    fn report(&self, context: &Context, environment: &Environment, profiles: &[String]) -> Result<Report, CliError> {
        let desired = environment.desired(context)?;
        let chosen = chosen(&desired, profiles)?;
        let mut report = if !self.manifest.is_empty() {
            self.offline(context, &desired, &chosen, !profiles.is_empty())?
        } else if self.local {
            self.locally(context, environment, &desired, &chosen)?
        } else {
            self.by_service(context, environment, &desired, &chosen)?
        };
        let whole = profiles.is_empty() && self.manifest.is_empty();
        waivers::apply(&mut report, &desired.verify, context.clock.now(), whole.then_some(&desired));
        waivers::add_places(&mut report, &desired);
        Ok(report)
    }

    /// EnvironmentSet environments: a part each, or one document for all.
    fn several(&self, context: &Context, several: EnvironmentSet, profiles: &[String]) -> Result<Exit, CliError> {
        if self.reader.sign_in.is_some() {
            return Err(CliError::coded(Code::Usage, "one signs in to one tenant, and several environments are meant")
                .remedy("Name one environment; or give each its own reader under `verify.reader`."));
        }
        if !matches!(self.format, Format::Sarif | Format::Junit | Format::Github)
            && several.print_if_empty(context, self.sheet_format())
        {
            return Ok(Exit::Done);
        }
        let ended = several
            .each(context, Report::summary, |context, environment| self.report(context, environment, profiles))?;
        let joined = match self.format {
            Format::Human | Format::Json | Format::Markdown => None,
            Format::Sarif => Some(joined(&ended).sarif()),
            Format::Junit => Some(joined(&ended).junit()),
            Format::Github => Some(joined(&ended).github()),
        };
        let outcome = |ended: TaskResult<Report>| TaskResult {
            name: ended.name,
            notes: ended.notes,
            result: ended.result.map(|report| self.outcome(&report)),
        };
        let sheet = FleetReport::new(ended.into_iter().map(outcome).collect());
        let words = SummaryLabels { notable: ("findings", "with findings"), quiet: ("clean", "clean") };
        if let Some(joined) = joined {
            sheet.print_failures(context);
            context.printer.out(&joined);
            return sheet.exit(false);
        }
        sheet.print(context, self.sheet_format(), &words)
    }

    /// How a sheet of several environments is printed.
    fn sheet_format(&self) -> cli::Format {
        match self.format {
            Format::Json => cli::Format::Json,
            Format::Markdown => cli::Format::Markdown,
            _ => cli::Format::Human,
        }
    }

    fn outcome(&self, report: &Report) -> Summary {
        let open = report.open().next().is_some();
        Summary {
            text: if self.format == Format::Markdown { report.markdown() } else { report.human(self.all) },
            document: serde_json::to_value(report).unwrap_or_default(),
            line: report.summary(),
            code: if report.fails_on(self.fail_on.limit()) { 3 } else { 0 },
            telling: open || self.all,
            counts: open,
            refusal: None,
        }
    }

    fn options(&self, context: &Context, desired: &Desired) -> Result<VerifyOptions, CliError> {
        let mut options = VerifyOptions::new(desired.environment.clone(), context.clock.now());
        options.credential_days = desired.verify.credential_days;
        let outgoing = self.outgoing.outgoing()?;
        options.http.authorities = outgoing.authorities;
        options.federated = outgoing.federated;
        options.dns_server = outgoing.dns_server;
        options.smtp_timeout = outgoing.smtp_timeout;
        options.hello = outgoing.hello;
        options.probe = self.probe;
        options.needs =
            NeededPermissions::from_profiles(desired.profiles.values().map(|profile| &profile.stored.profile));
        Ok(options)
    }

    fn offline(
        &self,
        context: &Context,
        desired: &Desired,
        profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
        are_named: bool,
    ) -> Result<Report, CliError> {
        let mut manifests = Vec::new();
        for path in &self.manifest {
            let failed = |why: String| CliError::coded(Code::Unreadable, format!("`{}`: {why}", path.display()));
            let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            let text = text::try_decode(&bytes).ok_or_else(|| failed("this is neither UTF-8 nor UTF-16".to_owned()))?;
            let document: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
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
        let mut others = Vec::new();
        for (name, profile) in profiles {
            let Some(client) = verify::client_id(&profile.stored.profile.provider) else {
                others.push(format!("`{name}` has no registration"));
                continue;
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
                let secret = SubjectSecret::None;
                subjects.push(Subject {
                    name: (*name).clone(),
                    profile: profile.stored.profile.clone(),
                    secret,
                    next: SubjectSecret::None,
                    refused: None,
                });
            } else {
                others.push(format!("`{name}` has the client {client}"));
            }
        }
        // Who names a profile wants that one checked; without a name it is those that the files are of.
        if are_named && !others.is_empty() && !subjects.is_empty() {
            return Err(CliError::coded(
                Code::NotFound,
                format!("what was exported is not of every profile that is named: {}", others.join("; ")),
            )
            .remedy("Give `--manifest` once for each registration, or leave the profile out."));
        }
        if !others.is_empty() && !subjects.is_empty() {
            context
                .printer
                .note(&format!("Not checked, since what was exported is not theirs: {}.", others.join("; ")));
        }
        if subjects.is_empty() {
            let error =
                CliError::coded(Code::NotFound, "no profile's client is in what was exported; nothing was checked");
            return Err(match why {
                Some(why) => error.detail(why),
                None => error,
            });
        }
        collect(context, &desired.environment, &Arc::new(verifier), subjects)
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
        for (reference, file) in desired.age_files() {
            let used = profiles.values().any(|profile| profile.stored.secrets.contains_key(reference))
                || gate::reader_secret(desired).is_some_and(|(reader, _)| reader == reference);
            if used && let Ok(bytes) = std::fs::read(environment.repository.root().join(&file.path)) {
                files.insert(file.digest.clone(), bytes);
            }
        }
        // Without any identity the anonymous checks are still worth making; each finding says what is missing.
        let identities = if files.is_empty() {
            Ok(Identities::default())
        } else {
            // Who is asked for a passphrase is asked for one at a time.
            let _alone = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
            self.identities.load(files.values().map(Vec::as_slice))
        };
        if !self.identities.is_empty()
            && let Err(error) = identities
        {
            return Err(error);
        }
        let known = self.known_destinations(context, environment, files.values());
        let open = |secret: Option<(&SecretReference, &Digest)>, destination: &Destination| {
            let Some((reference, digest)) = secret else { return SubjectSecret::None };
            let Some(file) = files.get(digest) else {
                return SubjectSecret::Unavailable("its age file cannot be read".to_owned());
            };
            let identities = match &identities {
                Err(error) => return SubjectSecret::Unavailable(error.message.clone()),
                Ok(identities) => identities,
            };
            let accepted_for = match self.accepted_for(reference, file, destination, &known) {
                Err(why) => return SubjectSecret::Unavailable(why),
                Ok(accepted_for) => accepted_for,
            };
            let purpose = Purpose { environment: &desired.environment, destination, accepted_for };
            match secrets::open_for(file, identities.iter(), &purpose) {
                Ok(value) => SubjectSecret::from_bytes(value.expose_secret()),
                Err(OpenError::Redirected(redirected)) => SubjectSecret::Redirected(redirected.to_string()),
                Err(error) => SubjectSecret::Unavailable(error.to_string()),
            }
        };
        let subjects: Vec<Subject> = profiles
            .iter()
            .map(|(name, profile)| {
                let destination = profile.stored.profile.provider.destination();
                Subject {
                    name: (*name).clone(),
                    profile: profile.stored.profile.clone(),
                    secret: open(profile.stored.secrets.iter().next(), &destination),
                    next: open(profile.stored.next.iter().next(), &destination),
                    refused: None,
                }
            })
            .collect();
        options.reader_application = desired.verify.reader.clone().map(|settings| {
            let secret = gate::reader_secret(desired).map(|(reference, file)| (reference, &file.digest));
            ReaderApplication { secret: open(secret, &settings.destination()), settings }
        });
        let verifier = Arc::new(Verifier::new(options).map_err(CliError::new)?);
        collect(context, &desired.environment, &verifier, subjects)
    }

    /// Where the service first accepted the values in some files for, by the ids that they are bound under. It is asked
    /// only if a file does not say itself where it belongs. A service that does not answer knows nothing.
    fn known_destinations<'f>(
        &self,
        context: &Context,
        environment: &Environment,
        mut files: impl Iterator<Item = &'f Vec<u8>>,
    ) -> BTreeMap<String, Destination> {
        if files.all(|file| Header::read(file).is_ok_and(|header| header.sealed_for.is_some())) {
            return BTreeMap::new();
        }
        let asked = environment
            .client(context, &self.service)
            .and_then(|client| context.runtime()?.block_on(environment::state(&client, &environment.name)));
        match asked {
            Ok(state) => state
                .secrets
                .into_iter()
                .map(|(digest, record)| {
                    let id = ValueId::bound(record.value_id.as_deref(), &digest);
                    (id.as_str().to_owned(), record.destination)
                })
                .collect(),
            Err(error) => {
                context.printer.note(&format!(
                    "The service could not be asked where the secrets belong that do not say so: {}",
                    error.message
                ));
                BTreeMap::new()
            }
        }
    }

    /// Where a secret was first accepted for, or why it is sent nowhere: a file that does not say where it belongs goes
    /// where the service knows it to belong, or where the operator says. Whoever can write the files could otherwise have
    /// every secret that the operator can open.
    fn accepted_for<'k>(
        &self,
        reference: &SecretReference,
        file: &[u8],
        destination: &Destination,
        known: &'k BTreeMap<String, Destination>,
    ) -> Result<Option<&'k Destination>, String> {
        let header = Header::read(file).map_err(|error| error.to_string())?;
        let accepted_for = known.get(header.bound_id().as_str());
        let is_vouched_for = self.send_secret.iter().any(|named| named == reference.as_str());
        if header.sealed_for.is_some() || accepted_for.is_some() || is_vouched_for {
            return Ok(accepted_for);
        }
        Err(format!(
            "its file does not say where it belongs, and no service that was asked knows it: it was not sent to {destination}. \
             If it belongs there: `--send-secret {reference}`, or seal it for its destination (`mailwright secrets set`)"
        ))
    }

    /// The token of somebody who may read the directory: from the environment, or by signing in now.
    fn reader_token(
        &self,
        context: &Context,
        profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
        options: &VerifyOptions,
    ) -> Result<Option<SecretString>, CliError> {
        let Some(client) = &self.reader.sign_in else {
            let token = variables::read(variables::READER_TOKEN).map(SecretString::from);
            if token.as_ref().is_some_and(|token| Claims::read(token).is_none()) {
                return Err(CliError::coded(
                    Code::ReaderTokenUnusable,
                    format!(
                        "the token in {} is no JWT, so it cannot be told which Graph it is for; it was sent nowhere",
                        variables::READER_TOKEN
                    ),
                )
                .remedy(TOKEN_BY_AZ));
            }
            return Ok(token);
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
            let (why, remedy) = if places.is_empty() {
                (
                    "none of these profiles is at Microsoft, so there is no tenant to sign in to".to_owned(),
                    "Leave out `--sign-in`.",
                )
            } else {
                (
                    format!("one signs in to one tenant, and these profiles are in {}", places.len()),
                    "Name the profiles of one tenant: mailwright verify ENV PROFILE...",
                )
            };
            return Err(CliError::coded(Code::Usage, why).remedy(remedy));
        };
        let endpoints = Endpoints::for_cloud(cloud).map_err(|error| CliError::new(error.to_string()))?;
        let graph = endpoints.graph.as_str().trim_end_matches('/').to_owned();
        let http = Http::new(&options.http).map_err(CliError::new)?;
        let sign_in = SignIn::new(http, endpoints);
        let scope = format!("{graph}/Application.Read.All {graph}/Directory.Read.All");
        let failed = |error: SignInError| {
            let remedy = sign_in_remedy(&error, client, tenant);
            CliError::coded(Code::SignInFailed, format!("cannot sign in to {tenant}: {error}")).remedy(remedy)
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

/// The profiles that were named, or all that are enabled. A manifest is about the profiles of its client.
fn chosen<'d>(
    desired: &'d Desired,
    named: &[String],
) -> Result<BTreeMap<&'d ProfileName, &'d DesiredProfile>, CliError> {
    if named.is_empty() {
        let enabled = desired.profiles.iter().filter(|(_, profile)| profile.stored.profile.enabled);
        return Ok(enabled.collect());
    }
    let mut chosen = BTreeMap::new();
    for text in named {
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

/// Runs the checks here, with a line of progress.
fn collect(
    context: &Context,
    environment: &EnvironmentName,
    verifier: &Arc<Verifier>,
    subjects: Vec<Subject>,
) -> Result<Report, CliError> {
    let progress = VerifyProgress::new(context, subjects.len());
    context.runtime()?.block_on(async {
        let mut results = Arc::clone(verifier).run(subjects);
        let mut profiles = Vec::new();
        while let Some(verified) = results.recv().await {
            progress.show(profiles.len() + 1, &verified);
            profiles.push(verified);
        }
        progress.end();
        profiles.sort_by(|a, b| a.profile.cmp(&b.profile));
        Ok(Report {
            format_version: Report::FORMAT_VERSION,
            environment: environment.to_string(),
            profiles,
            findings: verifier.reader_finding().into_iter().collect(),
            requests: verifier.requests(),
        })
    })
}

/// The reports of several environments, and what kept the others from having one.
fn joined(ended: &[TaskResult<Report>]) -> ReportSet<'_> {
    let mut joined = ReportSet::default();
    for TaskResult { name, result, .. } in ended {
        match result {
            Ok(report) => joined.reports.push(report),
            Err(error) => joined.failed.push((name.as_str(), error.headline())),
        }
    }
    joined
}

/// How a reader's token is made.
const TOKEN_BY_AZ: &str = "az account get-access-token --resource-type ms-graph --query accessToken --output tsv";

/// What helps against what a sign-in by device code ended with.
fn sign_in_remedy(error: &SignInError, client: &str, tenant: &str) -> String {
    let by_token = format!("Or give a token in MAILWRIGHT_READER_TOKEN: {TOKEN_BY_AZ}");
    let refusal = match error {
        SignInError::Http(HttpError::Tls { fault, .. }) => return tls_remedy(fault).to_owned(),
        SignInError::Http(HttpError::Busy { .. } | HttpError::NotJson { status: 500.., .. })
        | SignInError::Unknown(500..) => return BUSY.to_owned(),
        SignInError::Http(HttpError::NotJson { .. } | HttpError::Redirect { .. } | HttpError::Huge { .. }) => {
            return "Check HTTPS_PROXY and NO_PROXY: something else answers in the sign-in host's place.".to_owned();
        }
        SignInError::Http(_) => {
            return "Check the network from this machine, HTTPS_PROXY, and the firewall; then sign in again."
                .to_owned();
        }
        SignInError::Refused(refusal) => refusal,
        _ => return "Check whether a proxy answers in the sign-in host's place; then sign in again.".to_owned(),
    };
    // While a user is waited for, the word tells more than the number.
    match refusal.error.as_str() {
        "expired_token" => return "Nobody entered the code in time: sign in again.".to_owned(),
        "authorization_declined" => {
            return "The user declined: sign in again, as somebody who may read the directory.".to_owned();
        }
        _ => {}
    }
    let advice = refusal.entry().map(|entry| entry.remedy.as_str()).unwrap_or_default();
    match refusal.cause() {
        Cause::Service => BUSY.to_owned(),
        Cause::Tenant => format!("Correct `tenant` in the profiles: there is no {tenant} in this cloud."),
        Cause::Client | Cause::ServicePrincipal => {
            format!("Give the application (client) id of a public client of {tenant}: {client} is not known there.")
        }
        Cause::NoCredential | Cause::SecretWrong => {
            format!("Allow public client flows: az ad app update --id {client} --is-fallback-public-client true")
        }
        Cause::Consent => format!(
            "Have an administrator consent to Application.Read.All and Directory.Read.All (delegated): az ad app permission admin-consent --id {client}"
        ),
        Cause::ConditionalAccess => {
            let meaning = refusal.entry().map_or("Conditional Access blocks it", |entry| entry.meaning.as_str());
            format!("A policy of the tenant blocks it: {meaning}. {by_token}")
        }
        Cause::Assignment => format!(
            "Assign the user to the client: Portal: Enterprise applications > {client} > Users and groups; or require no assignment: az ad sp update --id {client} --set appRoleAssignmentRequired=false"
        ),
        Cause::UserAccount => {
            format!("Sign in with an account of {tenant}, not with a guest's or a personal one. {by_token}")
        }
        _ if refusal.error == "access_denied" => {
            "The user declined: sign in again, as somebody who may read the directory.".to_owned()
        }
        Cause::Unknown => format!(
            "The client must be public, allow public client flows, and have Application.Read.All and Directory.Read.All (delegated) with consent. {by_token}"
        ),
        _ => format!("{advice} {by_token}"),
    }
}

const BUSY: &str = "The sign-in host is overloaded, or fails: sign in again in some minutes.";

/// What the service is asked to check with.
pub(crate) struct Ask<'a> {
    pub(crate) root: &'a Path,
    pub(crate) desired: &'a Desired,
    pub(crate) probe: bool,
    pub(crate) reader: Option<SecretString>,
}

/// Has the service check profiles as the files want them. Age files go along as they are.
pub(crate) async fn ask_service(
    context: &Context,
    client: &Client,
    ask: &Ask<'_>,
    profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
) -> Result<Report, CliError> {
    let mut secrets = BTreeMap::new();
    let files: BTreeMap<&Digest, &SecretFile> = ask.desired.age_files().map(|(_, file)| (&file.digest, file)).collect();
    for (_, digest) in profiles.values().flat_map(|profile| profile.stored.age_files()) {
        if let Some(file) = files.get(digest)
            && let Ok(bytes) = std::fs::read(ask.root.join(&file.path))
        {
            secrets.insert(digest.clone(), BASE64_STANDARD.encode(bytes));
        }
    }
    let profiles: BTreeMap<ProfileName, StoredProfile> =
        profiles.iter().map(|(name, profile)| ((*name).clone(), profile.stored.clone())).collect();
    let mut request = gate::profile_request(ask.root, ask.desired, profiles);
    request.secrets.extend(secrets);
    let request = VerifyRequest { probe: ask.probe, reader_token: ask.reader.clone().map(Redacted), ..request };
    verify_with_progress(context, client, &request).await
}
