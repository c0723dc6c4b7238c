//! Names that were checked when they were made: whoever holds one need not check it again.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use utoipa::ToSchema;

/// Why a text is not a name of the wanted kind. Says what is allowed; never more of the text than it is given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub(crate) &'static str);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident, $rule:literal, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, pattern = $pattern, example = $example)]
        pub struct $name(String);

        impl $name {
            /// What such a name looks like, in words.
            pub const RULE: &'static str = $rule;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $check(text) { Ok(Self(text.to_owned())) } else { Err(InvalidName($rule)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// The name of a profile; also the name of its file. Two names that differ in case only are the same name
    /// to half of the world's file systems, so the rules refuse such a pair.
    ProfileName,
    is_label,
    "a profile's name has 1 to 80 characters out of A-Z a-z 0-9 . _ -, begins with a letter or digit and does not end with a dot",
    "^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$",
    "invoices"
);

name!(
    /// The name of an environment; also the name of its folder.
    EnvironmentName,
    is_label,
    "an environment's name has 1 to 80 characters out of A-Z a-z 0-9 . _ -, begins with a letter or digit and does not end with a dot",
    "^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$",
    "prod"
);

name!(
    /// The name of a rollout; also the name of its file.
    RolloutName,
    is_label,
    "a rollout's name has 1 to 80 characters out of A-Z a-z 0-9 . _ -, begins with a letter or digit and does not end with a dot",
    "^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$",
    "relay-to-587"
);

name!(
    /// An ERP company id.
    CompanyId,
    is_company,
    "a company id has 1 to 4 characters out of A-Z and 0-9",
    "^[A-Z0-9]{1,4}$",
    "EDU1"
);

name!(
    /// Names a secret: `NAME/KEY`, which is the file `secrets/ENV/NAME/KEY.age`.
    SecretReference,
    is_reference,
    "a secret is named NAME/KEY; each part has 1 to 80 characters out of A-Z a-z 0-9 . _ -, begins with a letter or digit and does not end with a dot",
    "^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?/[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$",
    "smtp-relay/password"
);

fn is_label(text: &str) -> bool {
    (1..=80).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.ends_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_company(text: &str) -> bool {
    (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_reference(text: &str) -> bool {
    text.split_once('/').is_some_and(|(name, key)| is_label(name) && is_label(key))
}

impl SecretReference {
    /// The two parts, NAME and KEY.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }

    /// What the file of its next value is called: `relay/password.next` for `relay/password`.
    #[must_use]
    pub fn next(&self) -> Self {
        Self(format!("{}.next", self.0))
    }

    /// The secret whose next value a file of this name would be: `relay/password.next` is that of `relay/password`.
    /// So no secret has such a name of its own.
    pub fn next_of(&self) -> Option<Self> {
        self.0.strip_suffix(".next")?.parse().ok()
    }
}
