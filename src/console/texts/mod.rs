//! Texts of the console, in Fluent files: [`text`] returns one in a [`Language`].
//!
//! A new language is a file, a variant of [`Language`] and its names in all files. Tests hold that every language has every
//! key, that every key that is used exists, and that every one that exists is used.

use std::{str::FromStr, sync::LazyLock};

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use unic_langid::LanguageIdentifier;

/// A language of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// English.
    English,
    /// German.
    German,
}

impl Language {
    /// Every language; the first is used where a browser accepts none of them.
    pub(super) const ALL: &[Language] = &[Language::English, Language::German];

    /// Returns the language tag (BCP 47).
    pub(super) fn id(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::German => "de",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Language::English => include_str!("en.ftl"),
            Language::German => include_str!("de.ftl"),
        }
    }

    /// Returns the language that an `Accept-Language` header prefers (RFC 9110, section 12.5.4).
    pub(super) fn negotiate(header: &str) -> Self {
        let mut best = (Self::ALL[0], 0.0);
        for range in header.split(',').take(20) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default().split('-').next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
            if let (Ok(language), Ok(weight)) = (tag.parse(), weight)
                && weight > best.1
            {
                best = (language, weight);
            }
        }
        best.0
    }
}

impl FromStr for Language {
    type Err = ();
    fn from_str(id: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|language| language.id() == id).ok_or(())
    }
}

/// A value in a text.
pub(super) enum Argument {
    Text(String),
    Number(u64),
}

type Bundle = FluentBundle<FluentResource>;

static BUNDLES: LazyLock<Vec<Bundle>> =
    LazyLock::new(|| Language::ALL.iter().map(|language| read(*language)).collect());

fn read(language: Language) -> Bundle {
    let tag: LanguageIdentifier = language.id().parse().unwrap_or_default();
    let mut bundle = Bundle::new_concurrent(vec![tag]);
    // Marks around values would be copied with them; the style sheet isolates values instead.
    bundle.set_use_isolating(false);
    // What cannot be read is missing, which a test finds.
    let resource = FluentResource::try_new(language.source().to_owned()).unwrap_or_else(|(resource, _)| resource);
    bundle.add_resource_overriding(resource);
    bundle
}

/// Returns a text; the key itself if there is none.
pub(super) fn text(language: Language, key: &str, arguments: &[(&str, Argument)]) -> String {
    let index = Language::ALL.iter().position(|one| *one == language).unwrap_or_default();
    let Some(bundle) = BUNDLES.get(index) else { return key.to_owned() };
    let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else {
        tracing::error!(key, language = language.id(), "a text of the console is missing");
        return key.to_owned();
    };
    let mut values = FluentArgs::new();
    for (name, argument) in arguments {
        match argument {
            Argument::Text(text) => values.set(*name, FluentValue::from(text.as_str())),
            Argument::Number(number) => values.set(*name, FluentValue::from(*number)),
        }
    }
    let mut errors = Vec::new();
    bundle.format_pattern(pattern, Some(&values), &mut errors).into_owned()
}
