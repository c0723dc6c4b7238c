//! The expressions of `$filter`: comparisons of properties, joined by `and`, `or`, `not` and parentheses.
//!
//! [`Filter::parse`] reads an expression for a type; [`Filter::matches`] applies it to the JSON of an object. In the directory,
//! `ne`, `not` and `endsWith` are for advanced queries alone. Sources: Microsoft Graph, "Use the $filter query parameter" and
//! "Advanced query capabilities on directory objects".

use serde_json::{Value, json};

use super::{
    error::{ODataError, refusal},
    odata::EntityType,
};

/// The deepest nesting of an expression, because it is read by recursion.
const DEPTH: usize = 16;

/// An expression of `$filter`.
#[derive(Debug)]
pub(super) enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Equals(String, Value),
    OneOf(String, Vec<Value>),
    StartsWith(String, String),
    EndsWith(String, String),
    /// An element of a collection matches; its name in the expression is the second part.
    Element(String, String, Box<Self>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A property, an operator, a number or a GUID.
    Word(String),
    /// A text in quotes.
    Text(String),
    Open,
    Close,
    Comma,
    Colon,
}

struct Parser<'p> {
    of: &'p EntityType,
    /// The name of the element inside of `any(...)`, which is not a property.
    variable: Option<String>,
    tokens: Vec<Token>,
    next: usize,
    is_advanced: bool,
    depth: usize,
}

fn unsupported() -> ODataError {
    refusal(400, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified.")
}

impl Filter {
    /// Parses an expression. `is_advanced` means that the operators of advanced queries are allowed.
    pub(super) fn parse(of: &EntityType, text: &str, is_advanced: bool) -> Result<Self, ODataError> {
        let tokens = tokens(text)?;
        let mut parser = Parser { of, variable: None, tokens, next: 0, is_advanced, depth: 0 };
        let filter = parser.any()?;
        if parser.next == parser.tokens.len() { Ok(filter) } else { Err(unsupported()) }
    }

    /// Returns true if an object matches. Texts are compared without regard to case, as the directory does.
    pub(super) fn matches(&self, item: &Value) -> bool {
        let text = |path: &str| find(item, path).as_str().map(str::to_lowercase);
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(item)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(item)),
            Self::Not(part) => !part.matches(item),
            Self::Equals(path, wanted) => is_same(find(item, path), wanted),
            Self::OneOf(path, wanted) => wanted.iter().any(|wanted| is_same(find(item, path), wanted)),
            Self::StartsWith(path, wanted) => text(path).is_some_and(|found| found.starts_with(&wanted.to_lowercase())),
            Self::EndsWith(path, wanted) => text(path).is_some_and(|found| found.ends_with(&wanted.to_lowercase())),
            Self::Element(path, name, part) => find(item, path)
                .as_array()
                .into_iter()
                .flatten()
                .any(|element| part.matches(&json!({ name.as_str(): element }))),
        }
    }
}

fn find<'v>(item: &'v Value, path: &str) -> &'v Value {
    path.split('/').fold(item, |value, name| &value[name])
}

fn is_same(found: &Value, wanted: &Value) -> bool {
    match (found.as_str(), wanted.as_str()) {
        (Some(found), Some(wanted)) => found.to_lowercase() == wanted.to_lowercase(),
        _ => found == wanted,
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word))
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.next += 1;
        token
    }

    fn expect(&mut self, token: &Token) -> Result<(), ODataError> {
        if self.take().as_ref() == Some(token) { Ok(()) } else { Err(unsupported()) }
    }

    fn any(&mut self) -> Result<Filter, ODataError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(unsupported());
        }
        let mut parts = vec![self.all()?];
        while self.is_word("or") {
            self.next += 1;
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(Filter::Any(parts))
    }

    fn all(&mut self) -> Result<Filter, ODataError> {
        let mut parts = vec![self.one()?];
        while self.is_word("and") {
            self.next += 1;
            parts.push(self.one()?);
        }
        Ok(Filter::All(parts))
    }

    fn one(&mut self) -> Result<Filter, ODataError> {
        if self.is_word("not") {
            if !self.is_advanced {
                return Err(unsupported());
            }
            self.next += 1;
            self.depth += 1;
            if self.depth > DEPTH {
                return Err(unsupported());
            }
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(Filter::Not(Box::new(inner)));
        }
        match self.take() {
            Some(Token::Open) => {
                let inner = self.any()?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Some(Token::Word(word)) if self.peek() == Some(&Token::Open) => self.function(&word),
            Some(Token::Word(property)) => self.comparison(property),
            _ => Err(unsupported()),
        }
    }

    /// Reads what follows the name of a function: `startsWith(mail,'a')` or `proxyAddresses/any(p:p eq 'a')`.
    fn function(&mut self, name: &str) -> Result<Filter, ODataError> {
        self.expect(&Token::Open)?;
        if let Some(property) = name.strip_suffix("/any") {
            let property = self.checked(property.to_owned())?;
            let Some(Token::Word(variable)) = self.take() else { return Err(unsupported()) };
            self.expect(&Token::Colon)?;
            let outer = self.variable.replace(variable.clone());
            let inner = self.any()?;
            self.variable = outer;
            self.expect(&Token::Close)?;
            return Ok(Filter::Element(property, variable, Box::new(inner)));
        }
        let ends = name.eq_ignore_ascii_case("endswith");
        if !ends && !name.eq_ignore_ascii_case("startswith") {
            return Err(unsupported());
        }
        let Some(Token::Word(property)) = self.take() else { return Err(unsupported()) };
        let property = self.checked(property)?;
        self.expect(&Token::Comma)?;
        let Some(Token::Text(value)) = self.take() else { return Err(unsupported()) };
        self.expect(&Token::Close)?;
        if ends && !self.is_advanced {
            return Err(refusal(
                400,
                "Request_UnsupportedQuery",
                "Operator 'endsWith' is not supported because the 'ConsistencyLevel:eventual' header is missing. Refer to https://aka.ms/graph-docs/advanced-queries for more information",
            ));
        }
        Ok(if ends { Filter::EndsWith(property, value) } else { Filter::StartsWith(property, value) })
    }

    fn comparison(&mut self, property: String) -> Result<Filter, ODataError> {
        let property = self.checked(property)?;
        let Some(Token::Word(operator)) = self.take() else { return Err(unsupported()) };
        match operator.to_ascii_lowercase().as_str() {
            "eq" => Ok(Filter::Equals(property, self.literal()?)),
            "ne" => {
                let differs = Filter::Not(Box::new(Filter::Equals(property, self.literal()?)));
                if self.is_advanced {
                    return Ok(differs);
                }
                Err(refusal(
                    400,
                    "Request_UnsupportedQuery",
                    "Unsupported property filter clause operator 'NotEqualsMatch'.",
                ))
            }
            "in" => {
                self.expect(&Token::Open)?;
                let mut values = vec![self.literal()?];
                while self.peek() == Some(&Token::Comma) {
                    self.next += 1;
                    values.push(self.literal()?);
                }
                self.expect(&Token::Close)?;
                Ok(Filter::OneOf(property, values))
            }
            _ => Err(unsupported()),
        }
    }

    /// Returns a property, if the type has it.
    fn checked(&self, property: String) -> Result<String, ODataError> {
        let first = property.split('/').next().unwrap_or_default();
        if self.variable.as_deref() != Some(first) {
            self.of.check(first, "Invalid filter clause")?;
        }
        Ok(property)
    }

    /// Reads a text in quotes, a GUID, or a word such as `true`.
    fn literal(&mut self) -> Result<Value, ODataError> {
        match self.take() {
            Some(Token::Text(text)) => Ok(Value::String(text)),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Ok(json!(true)),
                "false" => Ok(json!(false)),
                "null" => Ok(Value::Null),
                _ if word.parse::<uuid::Uuid>().is_ok() => Ok(Value::String(word)),
                _ => Err(unsupported()),
            },
            _ => Err(unsupported()),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, ODataError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            ':' => Token::Colon,
            '\'' => {
                let (inside, after) = quoted(&rest[1..]).ok_or_else(unsupported)?;
                tokens.push(Token::Text(inside));
                rest = after.trim_start();
                continue;
            }
            _ => {
                let is_end = |c: char| c.is_whitespace() || "(),:'".contains(c);
                let end = rest.find(is_end).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                rest = rest[end..].trim_start();
                continue;
            }
        };
        tokens.push(token);
        rest = rest[1..].trim_start();
    }
    Ok(tokens)
}

/// Splits a text after its closing quote. A doubled quote is one of the text.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('\'')?;
        inside.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                inside.push('\'');
                rest = after;
            }
            None => return Some((inside, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test ends there")]

    use super::{super::odata::USER, *};

    #[test]
    fn filters_compare_without_case_and_respect_quotes() {
        let user = json!({ "id": "1", "mail": "A or B@example.com", "proxyAddresses": ["SMTP:a@example.com"] });
        for (filter, matches) in [
            ("mail eq 'a or B@example.com'", true),
            ("mail eq 'a' or id eq '1'", true),
            ("mail eq 'a' and id eq '1'", false),
            ("(mail eq 'a' or id eq '1') and not(mail eq 'b')", true),
            ("id in ('2', '1')", true),
            ("mail ne null", true),
            ("startswith(mail,'a or')", true),
            ("endsWith(mail, '@EXAMPLE.com')", true),
            ("proxyAddresses/any(p:p eq 'smtp:a@example.com')", true),
            ("proxyAddresses/any(p:endswith(p,'@example.org'))", false),
            ("proxyAddresses/any(p:p eq 'smtp:b@example.com')", false),
        ] {
            assert_eq!(Filter::parse(&USER, filter, true).unwrap().matches(&user), matches, "{filter}");
        }
    }

    #[test]
    fn unknown_properties_and_operators_are_refused() {
        let deep = format!("{}id eq '1'{}", "(".repeat(40), ")".repeat(40));
        let negated = format!("{}id eq '1'", "not ".repeat(100_000));
        for filter in ["unknown eq 'a'", "mail gt 'a'", "mail eq a", "mail eq 'a' id", "mail eq 'a", "(mail eq 'a'", ""]
        {
            assert!(Filter::parse(&USER, filter, true).is_err(), "{filter}");
        }
        assert!(Filter::parse(&USER, &deep, true).is_err() && Filter::parse(&USER, &negated, true).is_err());
        for advanced in ["mail ne 'a'", "endswith(mail,'a')", "not(mail eq 'a')"] {
            assert!(Filter::parse(&USER, advanced, false).is_err(), "{advanced}");
        }
    }
}
