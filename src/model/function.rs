//! Catalogue of functions: the kinds of mail that the ERP sends, each with the function that it falls back to.
//!
//! The table is data (`functions.json`); a new function is a new row there and in the schemas. Which profile serves a function is
//! decided by [`crate::model::resolution`]. An unknown id is [`UnknownFunction`].

use std::{fmt, str::FromStr, sync::LazyLock};

use serde::{Deserialize, Serialize, Serializer, de};
use utoipa::ToSchema;

/// A kind of mail that the ERP sends. Ordered as the catalogue is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "all-documents")]
pub struct Function(u8);

/// One row of the catalogue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The id that files and requests use.
    pub id: String,
    /// The name that the ERP shows.
    pub name: String,
    /// The mail that it covers.
    pub covers: String,
    /// The function that a request falls back to if no profile claims this one.
    pub falls_back_to: Option<String>,
}

#[expect(clippy::expect_used, reason = "the catalogue is part of the binary, and a test reads it")]
static CATALOGUE: LazyLock<Vec<(Entry, Option<Function>)>> = LazyLock::new(|| {
    let entries: Vec<Entry> =
        serde_json::from_str(include_str!("functions.json")).expect("functions.json is well formed");
    let parents: Vec<Option<Function>> = entries
        .iter()
        .map(|entry| {
            entry.falls_back_to.as_ref().map(|parent| {
                let index = entries.iter().position(|e| e.id == *parent).expect("fallsBackTo names a function");
                Function(u8::try_from(index).expect("fewer than 256 functions"))
            })
        })
        .collect();
    entries.into_iter().zip(parents).collect()
});

impl Function {
    /// Returns every function, in the order of the catalogue.
    pub fn all() -> impl ExactSizeIterator<Item = Function> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "fewer than 256 functions; checked when the catalogue is read"
        )]
        (0..CATALOGUE.len()).map(|index| Function(index as u8))
    }

    /// Returns the function at the end of every chain of fallbacks.
    pub fn default_function() -> Function {
        Function(0)
    }

    /// Returns the only function that a delegate profile may claim.
    pub fn user_interface() -> Function {
        Function::all().find(|f| f.id() == "user-interface").unwrap_or(Function(0))
    }

    /// Returns the function of mail that a signature triggers or asks for.
    pub fn electronic_signatures() -> Function {
        Function::all().find(|f| f.id() == "electronic-signatures").unwrap_or(Function(0))
    }

    /// Returns the function's row of the catalogue.
    pub fn entry(self) -> &'static Entry {
        &CATALOGUE[usize::from(self.0)].0
    }

    /// Returns the id that files and requests use.
    pub fn id(self) -> &'static str {
        &self.entry().id
    }

    /// Returns the function that a request falls back to if no profile claims this one.
    pub fn falls_back_to(self) -> Option<Function> {
        CATALOGUE[usize::from(self.0)].1
    }

    /// Returns this function, then each fallback, to the last one.
    pub fn chain(self) -> impl Iterator<Item = Function> {
        std::iter::successors(Some(self), |f| f.falls_back_to())
    }
}

/// The reason why a text is not a function: no function has this id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown function; `mailwright functions` lists them")]
pub struct UnknownFunction;

impl FromStr for Function {
    type Err = UnknownFunction;
    fn from_str(id: &str) -> Result<Self, UnknownFunction> {
        Function::all().find(|f| f.id() == id).ok_or(UnknownFunction)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
