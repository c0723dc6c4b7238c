//! Fixtures that several test binaries share. Each test file imports the parts that it uses.
#![allow(dead_code, reason = "every test file uses another part")]

#[cfg(target_os = "linux")]
pub(crate) mod browser;
pub(crate) mod fleet;
pub(crate) mod forge;
pub(crate) mod generated;
pub(crate) mod host_process;
pub(crate) mod issuer;
pub(crate) mod own;
pub(crate) mod passkey_device;
pub(crate) mod pasted;
#[cfg(target_os = "linux")]
pub(crate) mod postfix;
pub(crate) mod recorder;
pub(crate) mod repository;
pub(crate) mod sandbox;
pub(crate) mod tools;

/// The functions whose mail is sent without a user who signs in: all but one, in the catalogue's order.
pub(crate) fn functions() -> impl Iterator<Item = &'static str> {
    use mailwright::model::Function;
    Function::all().filter(|function| *function != Function::user_interface()).map(Function::id)
}
