//! Names of environments, profiles, companies and secrets: each is a type that is checked when it is created.
//!
//! So a value of such a type can be a part of a path without further checks. An error states the rule and does not repeat the text.
//! The name of a next value ([`SecretReference::next`]) is derived from a checked one and not checked itself.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use utoipa::ToSchema;

/// The reason why a text is not a name of the wanted kind. States what is allowed, and does not repeat the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub(crate) &'static str);

/// The message for a name of the right form that Windows reserves.
const RESERVED: &str = "Windows reserves the names CON, PRN, AUX, NUL, COM0 to COM9 and LPT0 to LPT9, with any ending and in any case, so the repository could not be checked out there";

/// The reason why a name is invalid.
enum Flaw {
    /// The characters or the length are wrong.
    Form,
    /// Windows reserves the name for a device.
    Reserved,
}

impl InvalidName {
    /// Returns true if the form of the name is right, and Windows reserves it.
    pub fn is_reserved(&self) -> bool {
        self.0 == RESERVED
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident, $rule:literal, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, pattern = $pattern, example = $example)]
        pub struct $name(String);

        impl $name {
            /// The form of such a name, in words, for messages.
            pub const RULE: &'static str = $rule;

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(Flaw::Form) => Err(InvalidName($rule)),
                    Err(Flaw::Reserved) => Err(InvalidName(RESERVED)),
                }
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
    /// The name of a profile; also the name of its file. Many file systems do not distinguish two names that differ in case
    /// only, so the rules refuse such a pair.
    ProfileName,
    check_label,
    "a profile's name has 1 to 80 characters out of A-Z a-z 0-9 . _ -, begins with a letter or digit and does not end with a dot",
    "^(?!([Cc][Oo][Nn]|[Pp][Rr][Nn]|[Aa][Uu][Xx]|[Nn][Uu][Ll]|[Cc][Oo][Mm][0-9]|[Ll][Pp][Tt][0-9])([.]|/|$))[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$",
    "invoices"
);

name!(
    /// The name of an environment; also the name of its folder.
    EnvironmentName,
    check_label,
    "an environment's name has 1 to 80 characters out of A-Z a-z 0-9 . _ -, begins with a letter or digit and does not end with a dot",
    "^(?!([Cc][Oo][Nn]|[Pp][Rr][Nn]|[Aa][Uu][Xx]|[Nn][Uu][Ll]|[Cc][Oo][Mm][0-9]|[Ll][Pp][Tt][0-9])([.]|/|$))[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$",
    "prod"
);

name!(
    /// The name of a rollout; also the name of its file.
    RolloutName,
    check_label,
    "a rollout's name has 1 to 80 characters out of A-Z a-z 0-9 . _ -, begins with a letter or digit and does not end with a dot",
    "^(?!([Cc][Oo][Nn]|[Pp][Rr][Nn]|[Aa][Uu][Xx]|[Nn][Uu][Ll]|[Cc][Oo][Mm][0-9]|[Ll][Pp][Tt][0-9])([.]|/|$))[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$",
    "relay-to-587"
);

name!(
    /// An ERP company id.
    CompanyId,
    check_company,
    "a company id has 1 to 4 characters out of A-Z and 0-9",
    "^[A-Z0-9]{1,4}$",
    "EDU1"
);

name!(
    /// The name of a secret: `NAME/KEY`, which is the file `secrets/ENV/NAME/KEY.age`.
    SecretReference,
    check_reference,
    "a secret is named NAME/KEY; each part has 1 to 80 characters out of A-Z a-z 0-9 . _ -, begins with a letter or digit and does not end with a dot",
    "^(?!([Cc][Oo][Nn]|[Pp][Rr][Nn]|[Aa][Uu][Xx]|[Nn][Uu][Ll]|[Cc][Oo][Mm][0-9]|[Ll][Pp][Tt][0-9])([.]|/|$))[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?/(?!([Cc][Oo][Nn]|[Pp][Rr][Nn]|[Aa][Uu][Xx]|[Nn][Uu][Ll]|[Cc][Oo][Mm][0-9]|[Ll][Pp][Tt][0-9])([.]|/|$))[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$",
    "smtp-relay/password"
);

/// Checks a name that is also the name of a file or a folder.
fn check_label(text: &str) -> Result<(), Flaw> {
    let has_form = (1..=80).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.ends_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    match has_form {
        false => Err(Flaw::Form),
        true if is_reserved_by_windows(text) => Err(Flaw::Reserved),
        true => Ok(()),
    }
}

fn check_company(text: &str) -> Result<(), Flaw> {
    let has_form = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if has_form { Ok(()) } else { Err(Flaw::Form) }
}

fn check_reference(text: &str) -> Result<(), Flaw> {
    let (name, key) = text.split_once('/').ok_or(Flaw::Form)?;
    check_label(name).and_then(|()| check_label(key))
}

/// Returns true if Windows treats a file of this name as a device, whatever its ending
/// (<https://learn.microsoft.com/windows/win32/fileio/naming-a-file>). The characters that Windows forbids, and the other
/// spellings of the numbers, are not allowed in names.
fn is_reserved_by_windows(text: &str) -> bool {
    let stem = text.split('.').next().unwrap_or_default();
    let is = |word: &str| stem.eq_ignore_ascii_case(word);
    let is_numbered = stem.split_at_checked(3).is_some_and(|(word, number)| {
        (word.eq_ignore_ascii_case("com") || word.eq_ignore_ascii_case("lpt"))
            && number.len() == 1
            && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    is("con") || is("prn") || is("aux") || is("nul") || is_numbered
}

impl SecretReference {
    /// Returns the two parts, NAME and KEY.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }

    /// Returns the name of the file of the secret's next value: `relay/password.next` for `relay/password`.
    #[must_use]
    pub fn next(&self) -> Self {
        Self(format!("{}.next", self.0))
    }

    /// Returns the secret whose next value a file of this name would be: `relay/password` for `relay/password.next`. A secret
    /// itself must not have such a name.
    pub fn next_of(&self) -> Option<Self> {
        self.0.strip_suffix(".next")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_reserves_are_refused_in_any_case_and_with_any_ending() {
        let refused = |text: &str| text.parse::<ProfileName>().err().map(|error| error.is_reserved());
        for device in ["con", "PRN", "Aux", "nuL", "com0", "COM1", "Com9", "lpt0", "LPT9"] {
            for ending in ["", ".old", ".tar.gz", ".x-y_z"] {
                assert_eq!(refused(&format!("{device}{ending}")), Some(true), "{device}{ending}");
            }
            // A name that merely begins or ends like a device is allowed.
            for name in [format!("{device}s"), format!("{device}-1"), format!("a.{device}"), format!("{device}_x.con")]
            {
                assert_eq!(refused(&name), None, "{name}");
            }
        }
        for text in ["com", "lpt", "com10", "lpt11", "console", "company"] {
            assert_eq!(refused(text), None, "{text}");
        }
        for text in ["a.", "a ", " a", "a:b", "a<b", "a>b", "a\"b", "a|b", "a?b", "a*b", "a\\b", "com\u{b9}", "conin$"]
        {
            assert_eq!(refused(text), Some(false), "{text}");
        }
        assert!("con/password".parse::<SecretReference>().is_err());
        assert!("relay/nul".parse::<SecretReference>().is_err());
        assert!("relay/nul.next".parse::<SecretReference>().is_err());
        assert!("relay/password".parse::<SecretReference>().is_ok());
        assert!("CON".parse::<CompanyId>().is_ok(), "a company is the name of no file");
    }
}
