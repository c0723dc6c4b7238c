//! `mailwright watch`: the program, real services, a real bare repository as the remote, a mail server, receivers of
//! webhooks. One topic a file.

mod cut_line;
mod fixture;

mod breaking_off;
mod expiring;
mod follow;
mod gate;
mod reports;
mod settings;
mod slow;
mod stops;
mod waves;
mod waves_without_coordinator;
