//! The arguments of commands that query the services of one or many environments: environments, output format, and service.
//!
//! A command flattens [`FleetArgs`] and passes its parts to [`crate::cli::fleet::Fleet`].

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
