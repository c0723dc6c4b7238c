//! `mailwright approve`: signs what a saved plan does.
//!
//! An approval is two files in the folder `PLANFILE.approvals`: the text, and the signature beside it, just as
//! `ssh-keygen -Y sign` leaves them. So several people approve without touching what others signed, and hardware keys
//! and agents need nothing of ours.

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use ssh_key::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::{
    approvals::{
        self, APPROVALS_LIMIT, ApprovalText, NAMESPACE, REASON_LIMIT, SIGNATURE_LIMIT, TEXT_LIMIT, VALIDITY_LIMIT,
    },
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceOptions,
        args::values::parse_duration,
        environment::{self, Environment},
        ui::confirm::confirm,
        variables,
    },
    fs::write_atomically,
    model::{
        Approval, Code,
        approvals::{KnownSigner, is_signer_name},
    },
    reconcile::{recompute, render, saved::SavedPlan},
};

/// The largest key file, in bytes: one of RSA 4096 has 3400.
const KEY_LIMIT: u64 = 64 * 1024;

/// Approve a saved plan: sign what it does with an SSH key
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright plan prod --out prod.plan       says who must approve\n  \
    mailwright approve prod.plan --reason 'Ticket 4711'\n  \
    mailwright approve prod.plan --key ~/.ssh/id_ed25519.pub    a key in an agent, or on hardware\n  \
    mailwright approve prod.plan --key alice.pub --unsigned     to be signed elsewhere, by `ssh-keygen -Y sign`\n  \
    mailwright apply prod.plan                 sends the approvals along\n\n\
    The plan is computed anew from what the file would do, shown, and signed after a `yes`. The approval is two files\n\
    in the folder PLANFILE.approvals: the text, and its signature, which ssh-keygen checks as well:\n  \
    ssh-keygen -Y verify -f allowed_signers -I alice -n approval@mailwright.dev -s alice.txt.sig < alice.txt\n\
    Whether it counts is for the service to say: allowed signers and numbers are in `policy.approvals`.")]
pub(crate) struct Approve {
    /// A file that `plan --out` or `rollback --out` wrote
    #[arg(value_name = "PLANFILE", value_hint = clap::ValueHint::FilePath)]
    plan_file: PathBuf,
    /// The SSH key; a public one (.pub) is signed with by way of `ssh-keygen`, which asks the agent or the hardware
    /// [default: `MAILWRIGHT_SSH_KEY_FILE`, then one of those in `~/.ssh`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    key: Option<PathBuf>,
    /// Why; it is signed, and kept in the history and the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long the approval is good: 4h, 3d; at most 30 days
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    expires_in: Duration,
    /// Write the text only, and say how to sign it with `ssh-keygen`
    #[arg(long)]
    unsigned: bool,
    /// Show the plan as the file has it, without asking the service whether that is what it does
    #[arg(long)]
    offline: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// How to print what was signed
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
}

impl Runnable for Approve {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let saved = read_plan(&self.plan_file)?;
        if self.offline {
            context
                .printer
                .note("warning: the plan is shown as the file has it; whether it does just that was not asked.");
        } else {
            self.compare(context, &saved)?;
        }
        // Whoever signs sees what; with another format, standard output is for the approval.
        if self.format == Format::Human {
            context.printer.out(&render::render_human(&saved.plan));
        } else {
            context.printer.note(&render::render_human(&saved.plan));
        }
        let Some(wanted) = &saved.plan.approvals else {
            context.printer.note("The plan needs nobody's approval, so there is nothing to sign.");
            return Ok(Exit::Done);
        };
        let key = Key::find(self.key.as_deref())?;
        let signer = wanted.needs.iter().flat_map(|need| &need.signers).find(|signer| signer.key == key.print());
        let signer = signer.ok_or_else(|| stranger(&key, &saved))?;
        // It becomes a file's name, and without the service nobody has checked the plan file.
        if !is_signer_name(&signer.name) {
            return Err(CliError::coded(Code::PlanDamaged, "the plan names a signer that none can be called")
                .remedy("Plan again."));
        }
        let reason_wanted = wanted
            .needs
            .iter()
            .any(|need| need.reason_required && need.signers.iter().any(|other| other.name == signer.name));
        let message = ApprovalText {
            environment: saved.plan.environment.clone(),
            action: saved.signed_action().to_string(),
            base: saved.changeset.base,
            digest: saved.approval_digest(),
            expires: self.expires(context)?,
            reason: self.reason(context, reason_wanted)?,
        };
        let text = message.to_text();
        context.printer.note(&format!("\nThis is what `{}` signs:\n\n{text}", signer.name));
        let files = Files::of(&self.plan_file, &signer.name);
        if self.unsigned {
            files.write_text(&text)?;
            context.printer.out(&format!(
                "To sign it:\n  ssh-keygen -Y sign -n {NAMESPACE} -f KEY {}\nThe signature belongs beside it, where ssh-keygen puts it.",
                files.text.display()
            ));
            return Ok(Exit::Done);
        }
        confirm(context, self.yes, &format!("Approve this as `{}`?", signer.name), "Give `--yes`.")?;
        let signature = key.sign(&text)?;
        files.write_text(&text)?;
        write(&files.signature, &signature)?;
        self.report(context, signer, &files, Approval { message: text, signature });
        Ok(Exit::Done)
    }
}

impl Approve {
    /// The service's state says what the plan would do; that must be what the file shows.
    fn compare(&self, context: &Context, saved: &SavedPlan) -> Result<(), CliError> {
        let environment = Environment::find(context, saved.plan.environment.as_str())?;
        let client = environment.client(context, &self.service)?;
        let state = context.runtime()?.block_on(environment::state(&client, &environment.name))?;
        if state.generation != saved.changeset.base {
            return Err(CliError::coded(
                Code::PlanOutdated,
                format!(
                    "the plan starts from generation {}, and the service is at {}; nothing was signed",
                    saved.changeset.base, state.generation
                ),
            )
            .remedy("Plan again."));
        }
        if recompute::matches_changeset(saved, &state)? {
            return Ok(());
        }
        Err(CliError::coded(
            Code::PlanDamaged,
            format!("`{}` does something else than it shows; nothing was signed", self.plan_file.display()),
        )
        .remedy("Plan again yourself, and find out who made this file."))
    }

    fn expires(&self, context: &Context) -> Result<jiff::Timestamp, CliError> {
        if self.expires_in > VALIDITY_LIMIT.unsigned_abs() {
            return Err(CliError::coded(Code::Usage, "an approval is good for 30 days at most")
                .remedy("Write for example `--expires-in 24h`."));
        }
        let second = (context.clock.now() + self.expires_in).as_second();
        jiff::Timestamp::from_second(second).map_err(|error| CliError::new(error.to_string()))
    }

    fn reason(&self, context: &Context, wanted: bool) -> Result<String, CliError> {
        let asked = |context: &Context| context.printer.ask("Why is this approved? ");
        let reason = match &self.reason {
            Some(reason) => reason.trim().to_owned(),
            None if wanted && !self.yes => asked(context).unwrap_or_default(),
            None => String::new(),
        };
        if !approvals::is_reason(&reason) {
            let message = format!("a reason is one line of at most {REASON_LIMIT} characters");
            return Err(CliError::coded(Code::Usage, message).remedy("Write it shorter, and on one line."));
        }
        if wanted && reason.is_empty() {
            return Err(CliError::coded(
                Code::ApprovalWithoutReason,
                "the environment wants a reason for this approval; nothing was signed",
            )
            .remedy("Give `--reason TEXT`."));
        }
        Ok(reason)
    }

    fn report(&self, context: &Context, signer: &KnownSigner, files: &Files, approval: Approval) {
        if self.format == Format::Json {
            let document = json!({
                "signer": signer, "message": approval.message, "signature": approval.signature,
                "files": [files.text, files.signature],
            });
            context.printer.out(&format!("{document:#}"));
            return;
        }
        context.printer.out(&format!(
            "Approved as `{}`: {}\nTo apply it with the approvals beside it:\n  mailwright apply {}",
            signer.name,
            files.signature.display(),
            self.plan_file.display()
        ));
    }
}

/// Reads a saved plan, whole or not at all.
pub(crate) fn read_plan(path: &Path) -> Result<SavedPlan, CliError> {
    let text = std::fs::read(path).map_err(|error| {
        CliError::coded(Code::Unreadable, format!("cannot read the saved plan `{}`: {error}", path.display()))
            .remedy("Name the file that `mailwright plan ENV --out FILE` wrote, or an environment.")
    })?;
    SavedPlan::read(&text).map_err(|error| {
        CliError::coded(Code::PlanDamaged, format!("`{}`: {error}", path.display())).remedy("Plan again.")
    })
}

fn stranger(key: &Key, saved: &SavedPlan) -> CliError {
    let needs = saved.plan.approvals.iter().flat_map(|wanted| &wanted.needs);
    let error = CliError::coded(
        Code::ApprovalByUnknownSigner,
        format!(
            "the key {} ({}) is none that may approve this plan; nothing was signed",
            key.path.display(),
            key.print()
        ),
    );
    needs
        .fold(error, |error, need| error.detail(format!("it needs {}", need.describe())))
        .remedy("Name the right key with `--key FILE`. Signers are in `policy.approvals.signers` of environment.yaml.")
}

/// The files of one approval.
struct Files {
    text: PathBuf,
    signature: PathBuf,
}

impl Files {
    fn of(plan_file: &Path, signer: &str) -> Self {
        let text = folder(plan_file).join(format!("{signer}.txt"));
        let signature = beside(&text);
        Self { text, signature }
    }

    /// Writes the text. An older signature would not be one of it, so it goes first.
    fn write_text(&self, text: &str) -> Result<(), CliError> {
        let folder = self.text.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::new(format!("cannot make the folder `{}`: {error}", folder.display())))?;
        match std::fs::remove_file(&self.signature) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CliError::new(format!("cannot replace `{}`: {error}", self.signature.display())));
            }
            _ => {}
        }
        write(&self.text, text)
    }
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    write_atomically(path, text.as_bytes())
        .map_err(|error| CliError::new(format!("cannot write `{}`: {error}", path.display())))
}

/// `PLANFILE.approvals`.
fn folder(plan_file: &Path) -> PathBuf {
    let mut name = plan_file.as_os_str().to_owned();
    name.push(".approvals");
    name.into()
}

/// Where `ssh-keygen -Y sign` puts the signature of a file.
fn beside(text: &Path) -> PathBuf {
    let mut name = text.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// The approvals that lie beside a plan file. A text that nobody has signed yet is left alone.
pub(crate) fn collect(plan_file: &Path) -> Result<Vec<Approval>, CliError> {
    let folder = folder(plan_file);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(&folder, &error))?,
    };
    let mut texts: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") && beside(&path).is_file() {
            texts.push(path);
        }
    }
    texts.sort();
    if texts.len() > APPROVALS_LIMIT {
        return Err(CliError::coded(
            Code::ApprovalMalformed,
            format!("`{}` holds {} approvals, and {APPROVALS_LIMIT} are the most", folder.display(), texts.len()),
        )
        .remedy("Remove those that are not needed."));
    }
    texts
        .iter()
        .map(|path| {
            let message = read_bounded(path, TEXT_LIMIT)?;
            let signature = read_bounded(&beside(path), SIGNATURE_LIMIT)?;
            Ok(Approval { message, signature })
        })
        .collect()
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display()))
}

fn read_bounded(path: &Path, limit: usize) -> Result<String, CliError> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(limit as u64 + 1).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    if text.len() > limit {
        let message = format!("`{}` is larger than any approval", path.display());
        return Err(CliError::coded(Code::ApprovalMalformed, message).remedy("Remove it, and approve again."));
    }
    Ok(text)
}

/// A key to sign with: ours to use, or one that `ssh-keygen` signs with: in an agent, on hardware, or RSA.
struct Key {
    path: PathBuf,
    public: PublicKey,
    private: Option<PrivateKey>,
}

impl Key {
    /// The key that is named, or the first at the usual places.
    fn find(named: Option<&Path>) -> Result<Self, CliError> {
        let named = named.map(Path::to_owned).or_else(|| variables::read(variables::SSH_KEY_FILE).map(PathBuf::from));
        if let Some(path) = named {
            return Self::read(path);
        }
        let folder = variables::home().map(|home| home.join(".ssh")).unwrap_or_default();
        let names = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];
        match names.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
            Some(path) => Self::read(path),
            None => Err(CliError::coded(Code::SigningKeyUnfit, "no SSH key is at hand to sign with").remedy(
                "Give `--key FILE`, or set MAILWRIGHT_SSH_KEY_FILE. `ssh-keygen -t ed25519` makes a key; for one in an agent, name its .pub file.",
            )),
        }
    }

    fn read(path: PathBuf) -> Result<Self, CliError> {
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(&path)
            .and_then(|file| file.take(KEY_LIMIT).read_to_string(&mut text))
            .map_err(|error| unfit(&path, &format!("cannot be read: {error}")))?;
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            return Ok(Self { path, public, private: None });
        }
        let private = PrivateKey::from_openssh(text.as_bytes())
            .map_err(|_| unfit(&path, "is no SSH key that OpenSSH writes today, or is damaged"))?;
        let public = private.public_key().clone();
        // What a security key's file holds is only a handle, and the crate that signs for us cannot use RSA keys.
        let ours = matches!(public.algorithm(), ssh_key::Algorithm::Ed25519 | ssh_key::Algorithm::Ecdsa { .. });
        Ok(Self { path, public, private: ours.then_some(private) })
    }

    fn print(&self) -> String {
        approvals::fingerprint(self.public.key_data())
    }

    /// Signs, and asks for a passphrase where the key has one.
    fn sign(&self, text: &str) -> Result<String, CliError> {
        let Some(private) = &self.private else { return self.sign_elsewhere(text) };
        let opened;
        let key = if private.is_encrypted() {
            if !std::io::stdin().is_terminal() {
                return Err(unfit(&self.path, "has a passphrase, and there is no terminal to type it on")
                    .remedy("Put the key into an agent (`ssh-add`), and name its .pub file."));
            }
            let question = format!("Passphrase of {}: ", self.path.display()).replace(char::is_control, " ");
            let passphrase = Zeroizing::new(
                rpassword::prompt_password(question).map_err(|error| CliError::new(format!("cannot ask: {error}")))?,
            );
            opened = private
                .decrypt(passphrase.as_bytes())
                .map_err(|_| unfit(&self.path, "does not open with this passphrase"))?;
            &opened
        } else {
            private
        };
        approvals::sign(key, text).map_err(|_| unfit(&self.path, "is of a kind that cannot approve"))
    }

    /// Lets `ssh-keygen` sign: it knows agents and hardware.
    fn sign_elsewhere(&self, text: &str) -> Result<String, CliError> {
        let failed = |why: &dyn std::fmt::Display| {
            unfit(&self.path, &format!("cannot sign by way of `ssh-keygen -Y sign`: {why}"))
                .remedy("For a key in an agent, `ssh-add -l` lists it; for one on hardware, plug it in. With `--unsigned` the text is signed elsewhere.")
        };
        let mut child = Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
            .arg(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
        }
        let output = child.wait_with_output().map_err(|error| failed(&error))?;
        if !output.status.success() {
            return Err(failed(&"it says why above"));
        }
        String::from_utf8(output.stdout).map_err(|error| failed(&error))
    }
}

fn unfit(path: &Path, why: &str) -> CliError {
    CliError::coded(Code::SigningKeyUnfit, format!("the key `{}` {why}", path.display())).remedy(
        "Name a private key in OpenSSH's form (ed25519, ecdsa P-256, rsa), or the .pub file of one in an agent.",
    )
}
