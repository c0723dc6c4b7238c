//! Verification by the service with progress on the terminal, for `verify` and the gate of `apply`.
//!
//! The request is made by [`crate::operations::gate`], and the caller evaluates the report. An answer of the service that is cut
//! off is an error.

use crate::{
    api::VerifyRequest,
    cli::{CliError, Context},
    client::Client,
    model::finding::{Report, Verified},
    operations::gate,
};

/// Has the service verify profiles, with a line of progress.
pub(crate) async fn verify_with_progress(
    context: &Context,
    client: &Client,
    request: &VerifyRequest,
) -> Result<Report, CliError> {
    let progress = VerifyProgress::new(context, request.profiles.len());
    let report = gate::verify(client, request, |count, verified| progress.show(count, verified)).await;
    progress.end();
    Ok(report?)
}

/// A line of progress that is updated on a terminal. Nothing is shown elsewhere.
pub(crate) struct VerifyProgress<'a> {
    context: &'a Context,
    total: usize,
}

impl<'a> VerifyProgress<'a> {
    pub(crate) fn new(context: &'a Context, total: usize) -> Self {
        Self { context, total }
    }

    /// Shows that a profile was verified.
    pub(crate) fn show(&self, done: usize, verified: &Verified) {
        if self.total > 1 {
            self.context.printer.status_line(&format!("{done} of {} checked: {}", self.total, verified.profile));
        }
    }

    /// Removes the line.
    pub(crate) fn end(&self) {
        if self.total > 1 {
            self.context.printer.status_line("");
        }
    }
}
