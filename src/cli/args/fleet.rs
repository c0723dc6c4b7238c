//! Arguments of commands that ask the services of environments and print their answers.

use super::{environments::EnvironmentsArgs, service::ServiceArgs};
use crate::cli::Format;

/// Environments, the format of the output, and the service.
#[derive(Debug, clap::Args)]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    pub(crate) environments: EnvironmentsArgs,
    /// Output format
    #[arg(long, value_parser = Format::text_or_json(), default_value = Format::HUMAN, value_name = "FORMAT")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}
