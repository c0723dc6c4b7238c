//! [`Place`]: file, line and column of a value, as findings, plans and error messages show them.
//!
//! Lines and columns count from 1; a column is a number of characters. A value that is in no file, such as one of an earlier
//! generation, has the place [`Place::nowhere`], which is not shown ([`Place::is_in_a_file`]).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a file, as editors count: lines and columns (in characters) from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The file, relative to the repository, with forward slashes.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// Returns the place of a value that is in no file, such as a value of an earlier generation.
    pub fn nowhere() -> Self {
        Self { file: String::new(), line: 1, column: 1 }
    }

    /// Returns true if the place is in a file.
    pub fn is_in_a_file(&self) -> bool {
        !self.file.is_empty()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
