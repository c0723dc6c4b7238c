//! The expressions of `$search` on directory objects: clauses in double quotes, joined by `AND`, `OR` and parentheses.
//!
//! [`Search::parse`] reads an expression for a type; [`Search::matches`] applies it to the JSON of an object. Source: Microsoft
//! Graph, "Use the $search query parameter" (2022-12-08): `displayName` and `description` are split into words, of which each
//! word of the clause must begin one, in any order; any other property must begin with the clause. Umlauts are compared as they
//! are, because the page does not say what the directory does.

use serde_json::Value;

use super::{
    error::{ODataError, refusal},
    odata::EntityType,
};

/// The deepest nesting of an expression, because it is read by recursion.
const DEPTH: usize = 16;

/// An expression of `$search`.
#[derive(Debug)]
pub(super) enum Search {
    All(Vec<Self>),
    Any(Vec<Self>),
    /// Each word of the clause begins a word of the property.
    Words(String, Vec<String>),
    /// The property begins with the clause.
    Begins(String, String),
}

#[derive(Debug, PartialEq)]
enum Token {
    Clause(String),
    And,
    Or,
    Open,
    Close,
}

fn malformed(text: &str) -> ODataError {
    refusal(400, "Request_BadRequest", format!("Unrecognized query argument specified: '{text}'."))
}

impl Search {
    /// Parses an expression.
    pub(super) fn parse(of: &EntityType, text: &str) -> Result<Self, ODataError> {
        let tokens = tokens(text).ok_or_else(|| malformed(text))?;
        let mut parser = Parser { of, tokens: &tokens, depth: 0 };
        let search = parser.any().map_err(|error| error.unwrap_or_else(|| malformed(text)))?;
        if parser.tokens.is_empty() { Ok(search) } else { Err(malformed(text)) }
    }

    /// Returns true if an object matches.
    pub(super) fn matches(&self, item: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(item)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(item)),
            Self::Words(property, wanted) => item[property].as_str().is_some_and(|text| {
                let words = words(text);
                wanted.iter().all(|wanted| words.iter().any(|word| word.starts_with(wanted)))
            }),
            Self::Begins(property, wanted) => {
                let begins = |value: &Value| value.as_str().is_some_and(|text| text.to_lowercase().starts_with(wanted));
                begins(&item[property]) || item[property].as_array().into_iter().flatten().any(begins)
            }
        }
    }
}

struct Parser<'t> {
    of: &'t EntityType,
    tokens: &'t [Token],
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self, token: &Token) -> bool {
        let is_next = self.tokens.first() == Some(token);
        if is_next {
            self.tokens = &self.tokens[1..];
        }
        is_next
    }

    /// Fails without an error if the expression is malformed.
    fn any(&mut self) -> Result<Search, Option<ODataError>> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(None);
        }
        let mut parts = vec![self.all()?];
        while self.take(&Token::Or) {
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(Search::Any(parts))
    }

    fn all(&mut self) -> Result<Search, Option<ODataError>> {
        let mut parts = vec![self.one()?];
        while self.take(&Token::And) {
            parts.push(self.one()?);
        }
        Ok(Search::All(parts))
    }

    fn one(&mut self) -> Result<Search, Option<ODataError>> {
        if self.take(&Token::Open) {
            let inner = self.any()?;
            return if self.take(&Token::Close) { Ok(inner) } else { Err(None) };
        }
        let [Token::Clause(clause), rest @ ..] = self.tokens else { return Err(None) };
        self.tokens = rest;
        let (property, text) = clause.split_once(':').ok_or(None)?;
        self.of.check(property, "Invalid search clause").map_err(Some)?;
        Ok(if matches!(property, "displayName" | "description") {
            Search::Words(property.to_owned(), own_words(text))
        } else {
            Search::Begins(property.to_owned(), text.to_lowercase())
        })
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '(' | ')' => {
                tokens.push(if first == '(' { Token::Open } else { Token::Close });
                &rest[1..]
            }
            '"' => {
                let mut clause = String::new();
                let mut characters = rest[1..].char_indices();
                let end = loop {
                    match characters.next()? {
                        (at, '"') => break at,
                        (_, '\\') => clause.push(characters.next()?.1),
                        (_, other) => clause.push(other),
                    }
                };
                tokens.push(Token::Clause(clause));
                &rest[end + 2..]
            }
            _ => match (rest.strip_prefix("AND"), rest.strip_prefix("OR")) {
                (Some(after), _) => {
                    tokens.push(Token::And);
                    after
                }
                (_, Some(after)) => {
                    tokens.push(Token::Or);
                    after
                }
                _ => return None,
            },
        }
        .trim_start();
    }
    Some(tokens)
}

/// Returns the words of a property: those of the text, and what symbols alone separate as one.
fn words(text: &str) -> Vec<String> {
    let joined = |run: &str| run.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    own_words(text).into_iter().chain(text.split_whitespace().map(joined).filter(|word| !word.is_empty())).collect()
}

/// Splits a text at spaces and symbols, between letters and digits, and where a small letter precedes a capital one.
fn own_words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous: Option<char> = None;
    for c in text.chars() {
        if c.is_alphanumeric() {
            let continues = previous.is_some_and(|previous| {
                previous.is_numeric() == c.is_numeric() && !(previous.is_lowercase() && c.is_uppercase())
            });
            match words.last_mut().filter(|_| continues) {
                Some(word) => word.extend(c.to_lowercase()),
                None => words.push(c.to_lowercase().collect()),
            }
        }
        previous = Some(c).filter(|c| c.is_alphanumeric());
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test ends there")]

    use serde_json::json;

    use super::{super::odata::USER, *};

    #[test]
    fn names_are_searched_by_their_words_and_addresses_by_their_beginning() {
        let user = json!({ "displayName": "Anne-Marie MüllerLüdenscheidt 2nd", "mail": "am.mueller@contoso.example" });
        for (search, matches) in [
            ("\"displayName:anne\"", true),
            ("\"displayName:mül anne\"", true),
            ("\"displayName:lüdenscheidt\"", true),
            ("\"displayName:annemarie\"", true),
            ("\"displayName:2\"", true),
            ("\"displayName:arie\"", false),
            ("\"mail:am.m\"", true),
            ("\"mail:mueller\"", false),
            ("\"displayName:unknown\" OR \"mail:AM\"", true),
            ("\"displayName:anne\" AND (\"mail:x\" OR \"mail:y\")", false),
        ] {
            assert_eq!(Search::parse(&USER, search).unwrap().matches(&user), matches, "{search}");
        }
        let deep = format!("{}\"mail:a\"{}", "(".repeat(40), ")".repeat(40));
        for search in ["anne", "\"anne\"", "\"nope:a\"", "\"mail:a", "\"mail:a\" \"mail:b\"", "", "(\"mail:a\"", &deep]
        {
            assert!(Search::parse(&USER, search).is_err(), "{search}");
        }
    }
}
