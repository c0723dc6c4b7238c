//! What several tests need. Each test file names the parts that it uses.
#![allow(dead_code, reason = "every test file uses another part")]

pub(crate) mod fleet;
pub(crate) mod forge;
pub(crate) mod generated;
pub(crate) mod host;
pub(crate) mod issuer;
#[cfg(target_os = "linux")]
pub(crate) mod postfix;
pub(crate) mod recorder;
pub(crate) mod sandboxed;
pub(crate) mod tools;
pub(crate) mod trial;

/// The functions whose mail leaves without anybody signing in: all but one, in the catalogue's order.
pub(crate) fn functions() -> impl Iterator<Item = &'static str> {
    use mailwright::model::Function;
    Function::all().filter(|function| *function != Function::user_interface()).map(Function::id)
}
