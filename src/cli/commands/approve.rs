//! `mailwright approve`: signs the changes of a saved plan with an SSH key, and writes the approval to the folder
//! `PLANFILE.approvals`.
//!
//! The plan is computed again from the changeset in the file, so that what is shown is what is signed; a plan of another
//! generation, or one that shows other changes, is refused. With `--offline` this comparison is left out. A plan that needs no
//! approval is not signed. Whether a signer counts is decided by the service, by `policy.approvals`.

use std::{path::PathBuf, time::Duration};

use serde_json::json;

use crate::{
    approvals::{self, ApprovalText, NAMESPACE, REASON_LIMIT, VALIDITY_LIMIT},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        args::values::parse_duration,
        environment::{self, Environment},
        saved_plan::{ApprovalFiles, read_plan},
        signing_key::SigningKey,
        ui::confirm::confirm,
    },
    model::{
        Approval, ApprovalNeed, Code, Meaning,
        approvals::{KnownSigner, is_signer_name},
    },
    reconcile::{recompute, render, saved::SavedPlan},
    text::shell::quote_path,
};

/// Approve a saved plan: sign its changes with an SSH key
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright plan prod --out prod.plan       lists the signers\n  \
    mailwright approve prod.plan --reason 'Ticket 4711'\n  \
    mailwright approve prod.plan --meaning reviewed             where a rule asks for reviews\n  \
    mailwright approve prod.plan --key ~/.ssh/id_ed25519.pub    a key in an agent, or on hardware\n  \
    mailwright approve prod.plan --key alice.pub --unsigned     to be signed with `ssh-keygen -Y sign`\n  \
    mailwright apply prod.plan                 sends the approvals too\n\n\
    The plan is computed again from the changes in the file, shown, and signed after a `yes`. The approval is two files\n\
    in the folder PLANFILE.approvals: the text, and its signature, which ssh-keygen can verify:\n  \
    ssh-keygen -Y verify -f allowed_signers -I alice -n approval@mailwright.dev -s alice.txt.sig < alice.txt\n\
    The service decides if it counts: signers and numbers are in `policy.approvals`.")]
pub(crate) struct Approve {
    /// A file that `plan --out` or `rollback --out` wrote
    #[arg(value_name = "PLANFILE", value_hint = clap::ValueHint::FilePath)]
    plan_file: PathBuf,
    /// The SSH key; for a public one (.pub), `ssh-keygen` signs with the agent or the hardware
    /// [default: `MAILWRIGHT_SSH_KEY_FILE`, then one of those in `~/.ssh`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    key: Option<PathBuf>,
    /// The reason; it is signed, and kept in the history and the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The meaning of the signature: `reviewed`, `approved` or `authored`
    #[arg(long, value_name = "MEANING", default_value_t = Meaning::Approved)]
    meaning: Meaning,
    /// Validity of the approval: 4h, 3d; at most 30 days
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    expires_in: Duration,
    /// Write only the text, and print the `ssh-keygen` command that signs it
    #[arg(long)]
    unsigned: bool,
    /// Show the plan of the file without comparing it with the service
    #[arg(long)]
    offline: bool,
    /// Skip the confirmation prompt
    #[arg(long, short = 'y')]
    yes: bool,
    /// Output format of the approval
    #[arg(long, value_parser = Format::text_or_json(), default_value = Format::HUMAN, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Approve {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let saved = read_plan(&self.plan_file)?;
        if self.offline {
            context.printer.note("warning: this is the plan in the file; it was not compared with the service");
        } else {
            self.compare(context, &saved)?;
        }
        // The signer sees the plan; with another format, standard output is for the approval.
        if self.format == Format::Human {
            context.printer.out(&render::render_human(&saved.plan));
        } else {
            context.printer.note(&render::render_human(&saved.plan));
        }
        let Some(wanted) = &saved.plan.approvals else {
            context.printer.note("The plan needs no approval, so there is nothing to sign.");
            return Ok(Exit::Done);
        };
        let key = SigningKey::find(self.key.as_deref())?;
        let signer = wanted.needs.iter().flat_map(|need| &need.signers).find(|signer| signer.key == key.fingerprint());
        let signer = signer.ok_or_else(|| unknown_signer(&key, &saved))?;
        // The name becomes the name of a file, and with `--offline` nothing has checked the plan.
        if !is_signer_name(&signer.name) {
            return Err(
                CliError::coded(Code::PlanDamaged, "the plan has an invalid name of a signer").remedy("Plan again.")
            );
        }
        let asks = |need: &&ApprovalNeed| {
            need.meaning == self.meaning && need.signers.iter().any(|other| other.name == signer.name)
        };
        let mut asking = wanted.needs.iter().filter(asks).peekable();
        if asking.peek().is_none() {
            return Err(other_meaning(self.meaning, &signer.name, &saved));
        }
        let reason_wanted = asking.any(|need| need.reason_required);
        let message = ApprovalText {
            environment: saved.plan.environment.clone(),
            action: saved.signed_action().to_string(),
            base: saved.changeset.base,
            digest: saved.approval_digest(),
            meaning: self.meaning,
            expires: self.expires(context)?,
            reason: self.reason(context, reason_wanted)?,
        };
        let text = message.to_text();
        context.printer.note(&format!("\nThis is what `{}` signs:\n\n{text}", signer.name));
        let file =
            if self.meaning.is_default() { signer.name.clone() } else { format!("{}.{}", signer.name, self.meaning) };
        let files = ApprovalFiles::new(&self.plan_file, &file);
        if self.unsigned {
            files.write_text(&text)?;
            context.printer.out(&format!(
                "To sign it:\n  ssh-keygen -Y sign -n {NAMESPACE} -f KEY {}\nLeave the signature where ssh-keygen writes it.",
                quote_path(&files.text)
            ));
            return Ok(Exit::Done);
        }
        confirm(context, self.yes, &format!("Approve this as `{}`?", signer.name), "Pass `--yes` to skip the prompt.")?;
        let signature = key.sign(&text)?;
        files.write_text(&text)?;
        files.write_signature(&signature)?;
        self.report(context, &saved, signer, &files, Approval { message: text, signature });
        Ok(Exit::Done)
    }
}

impl Approve {
    /// Checks that the plan in the file shows what its changes do to the state of the service.
    fn compare(&self, context: &Context, saved: &SavedPlan) -> Result<(), CliError> {
        let environment = Environment::find(context, saved.plan.environment.as_str())?;
        let client = environment.client(context, &self.service)?;
        let state = context.runtime()?.block_on(environment::state(&client, &environment.name))?;
        if state.generation != saved.changeset.base {
            return Err(CliError::coded(
                Code::PlanOutdated,
                format!(
                    "the plan starts from generation {}, and the service is at {}",
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
            format!("the changes in `{}` are not the ones that it shows", self.plan_file.display()),
        )
        .remedy("Plan again yourself, and find out who created this file."))
    }

    fn expires(&self, context: &Context) -> Result<jiff::Timestamp, CliError> {
        if self.expires_in > VALIDITY_LIMIT.unsigned_abs() {
            return Err(CliError::coded(Code::Usage, "an approval is valid for at most 30 days")
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
                "the environment requires a reason for this approval",
            )
            .remedy("Pass `--reason TEXT`."));
        }
        Ok(reason)
    }

    fn report(
        &self,
        context: &Context,
        saved: &SavedPlan,
        signer: &KnownSigner,
        files: &ApprovalFiles,
        approval: Approval,
    ) {
        if self.format == Format::Json {
            let document = json!({
                "environment": saved.plan.environment, "generation": saved.changeset.base, "signer": signer, "meaning": self.meaning, "message": approval.message, "signature": approval.signature,
                "files": [files.text, files.signature],
            });
            context.printer.json(&document);
            return;
        }
        context.printer.out(&format!(
            "Signed as `{}` ({}): {}\nTo apply it with its approvals:\n  mailwright apply {}",
            signer.name,
            self.meaning,
            files.signature.display(),
            quote_path(&self.plan_file)
        ));
    }
}

fn other_meaning(meaning: Meaning, signer: &str, saved: &SavedPlan) -> CliError {
    let needs = saved.plan.approvals.iter().flat_map(|wanted| &wanted.needs);
    let message = format!("the plan needs no signature of `{signer}` with the meaning `{meaning}`");
    let error = CliError::coded(Code::ApprovalByUnknownSigner, message);
    needs
        .fold(error, |error, need| error.detail(format!("it needs {}", need.describe())))
        .remedy("Pass `--meaning` with the meaning that the plan asks for: reviewed, approved or authored.")
}

fn unknown_signer(key: &SigningKey, saved: &SavedPlan) -> CliError {
    let needs = saved.plan.approvals.iter().flat_map(|wanted| &wanted.needs);
    let error = CliError::coded(
        Code::ApprovalByUnknownSigner,
        format!("the key {} ({}) may not approve this plan", key.path.display(), key.fingerprint()),
    );
    needs.fold(error, |error, need| error.detail(format!("it needs {}", need.describe()))).remedy(
        "Name another key with `--key FILE`. The signers are in `policy.approvals.signers` of environment.yaml.",
    )
}
