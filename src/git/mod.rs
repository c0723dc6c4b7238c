//! What Git says of the files: revisions, what changed between two of them, and where a work tree comes from.
//!
//! The one place that runs `git`.
//!
//! * [`source()`]: commit, branch, author, signature, and whether everything is committed
//! * [`Range`]: two sides to compare, as people write them: `main..topic`, `main...topic`, `HEAD`
//! * [`Follower`]: a clone that follows a branch of somebody else's repository
//! * [`TreeComparison`]: both sides listed, with the paths that differ
//!
//! What a repository holds is somebody else's: names may be anything but empty, a link may lead anywhere, an object may
//! be missing, and its configuration may name programs. Git is run so that it starts nothing (but what the operator's own
//! configuration has check a signature), asks nobody and writes nothing (`run`), and what it answers is read by its `-z`
//! forms and within bounds.

mod changed_paths;
mod comparison;
mod follow;
mod objects;
mod range;
mod run;
mod signature;
mod source;
mod work_tree;

pub use changed_paths::ChangedPaths;
pub use comparison::{ListedTree, TreeComparison, empty_submodule};
pub use follow::{Follower, Step};
pub use range::{Range, Side, is_none};
pub use run::{GitError, Stop};
pub use source::{Source, source};
