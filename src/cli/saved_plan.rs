//! Saved plans: the file of a plan, and the folder `PLANFILE.approvals` with its approvals.
//!
//! An approval is two files: the signed text, and the signature as `ssh-keygen -Y sign` writes it. So signers do not change each
//! other's files, and keys of agents and hardware need nothing else. A text without a signature is ignored; more than 20 approvals,
//! and a plan that is damaged or over 256 MiB, are errors.

use std::path::{Path, PathBuf};

use crate::{
    approvals::{APPROVALS_LIMIT, SIGNATURE_LIMIT, TEXT_LIMIT},
    cli::CliError,
    fs::write_atomically,
    model::{Approval, Code},
    reconcile::saved::SavedPlan,
};

/// The maximum size of a saved plan, in bytes.
const PLAN_LIMIT: u64 = 256 * 1024 * 1024;

/// Writes the file of a plan.
pub(crate) fn write_plan(path: &Path, saved: &SavedPlan) -> Result<(), CliError> {
    write_atomically(path, saved.to_text().as_bytes())
        .map_err(|error| CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display())))
}

/// Reads the file of a plan.
pub(crate) fn read_plan(path: &Path) -> Result<SavedPlan, CliError> {
    let text = crate::fs::read_given(path, PLAN_LIMIT).map_err(|error| {
        CliError::coded(Code::Unreadable, format!("cannot read the saved plan `{}`: {error}", path.display()))
            .remedy("Name a file that `mailwright plan ENV --out FILE` wrote, or an environment.")
    })?;
    SavedPlan::read(&text).map_err(|error| {
        CliError::coded(Code::PlanDamaged, format!("`{}`: {error}", path.display())).remedy("Plan again.")
    })
}

/// The files of one approval.
pub(crate) struct ApprovalFiles {
    /// The text that is signed.
    pub(crate) text: PathBuf,
    /// The signature.
    pub(crate) signature: PathBuf,
}

impl ApprovalFiles {
    /// Creates the paths of a signer's approval.
    pub(crate) fn new(plan_file: &Path, signer: &str) -> Self {
        let text = approvals_folder(plan_file).join(format!("{signer}.txt"));
        let signature = signature_path(&text);
        Self { text, signature }
    }

    /// Writes the signature.
    pub(crate) fn write_signature(&self, signature: &str) -> Result<(), CliError> {
        write(&self.signature, signature)
    }

    /// Writes the text. A signature of an earlier text is removed first.
    pub(crate) fn write_text(&self, text: &str) -> Result<(), CliError> {
        let folder = self.text.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::new(format!("cannot create the folder `{}`: {error}", folder.display())))?;
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

/// Returns the path `PLANFILE.approvals`.
fn approvals_folder(plan_file: &Path) -> PathBuf {
    let mut name = plan_file.as_os_str().to_owned();
    name.push(".approvals");
    name.into()
}

/// Returns the path that `ssh-keygen -Y sign` writes the signature of a file to.
fn signature_path(text: &Path) -> PathBuf {
    let mut name = text.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Reads the approvals of a saved plan. Texts without a signature are ignored.
pub(crate) fn read_approvals(plan_file: &Path) -> Result<Vec<Approval>, CliError> {
    let folder = approvals_folder(plan_file);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(&folder, &error))?,
    };
    let mut texts: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") && signature_path(&path).is_file() {
            texts.push(path);
        }
    }
    texts.sort();
    if texts.len() > APPROVALS_LIMIT {
        return Err(CliError::coded(
            Code::ApprovalMalformed,
            format!("`{}` has {} approvals; the limit is {APPROVALS_LIMIT}", folder.display(), texts.len()),
        )
        .remedy("Remove those that are not needed."));
    }
    texts
        .iter()
        .map(|path| {
            let message = read_bounded(path, TEXT_LIMIT)?;
            let signature = read_bounded(&signature_path(path), SIGNATURE_LIMIT)?;
            Ok(Approval { message, signature })
        })
        .collect()
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display()))
}

fn read_bounded(path: &Path, limit: usize) -> Result<String, CliError> {
    let bytes = crate::fs::read_ordinary(path, limit as u64).map_err(|error| {
        if error.kind() == std::io::ErrorKind::FileTooLarge {
            let message = format!("`{}` is too large for an approval", path.display());
            return CliError::coded(Code::ApprovalMalformed, message).remedy("Remove the file, and approve again.");
        }
        unreadable(path, &error)
    })?;
    String::from_utf8(bytes).map_err(|_| unreadable(path, &"it is not UTF-8"))
}
