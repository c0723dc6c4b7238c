//! Git: revisions, comparisons of two revisions, provenance of a work tree, clones that follow a branch.
//!
//! Only this module runs `git`.
//!
//! * [`read_provenance`]: commit, branch, author, signature, and uncommitted changes
//! * [`Range`]: two sides to compare, as the command line accepts them: `main..topic`, `main...topic`, `HEAD`
//! * [`Follower`]: a clone that follows a branch of a remote repository
//! * [`TreeComparison`]: both sides listed, with the paths that differ
//!
//! The contents of a repository are untrusted: file names may contain any character, a link may lead anywhere, an object may be
//! missing, and the configuration may name programs. `run` starts Git so that it runs no other program (but the one that the
//! operator's own configuration names to check signatures), and never prompts; only [`Follower`] writes, into its own clone. Its
//! output is read in the `-z` formats and within limits of size and 120 seconds; beyond them it is a problem.

mod changed_paths;
mod comparison;
mod follow;
mod ignored;
mod listing;
mod objects;
mod range;
mod run;
mod signature;
mod source;
mod work_tree;

pub use changed_paths::ChangedPaths;
pub use comparison::{ListedTree, TreeComparison, find_empty_submodule};
pub use follow::{FollowStep, Follower};
pub use ignored::{find_missing_ignore_line, ignore_line, list_committable};
pub use range::{Range, Side, is_null_revision};
pub use run::Cancellation;
pub use source::{WorkTreeProvenance, read_provenance};
