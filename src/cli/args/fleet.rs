//! The arguments of commands that query the services of one or many environments: environments, output format, and service.
//!
//! A command flattens [`FleetArgs`] and passes its parts to [`crate::cli::fleet::Fleet`].

use super::{environments::EnvironmentsArgs, output::OutputArgs, service::ServiceArgs};

/// Environments, the format of the output, and the service.
#[derive(Debug, clap::Args)]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    pub(crate) environments: EnvironmentsArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}
