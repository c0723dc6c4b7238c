//! Suggestions for misspelt words: [`nearest`] returns the allowed word for "Did you mean `host`?", or none if no word is
//! similar.
//!
//! Bounded in time: words over 256 bytes are not compared and get no suggestion.

/// The minimum similarity of two words: the share of their characters that they have in common, in order.
const NEAR_ENOUGH: f32 = 0.65;
/// The maximum length of a word that is compared, in bytes. Comparing costs the product of both lengths, and no allowed word
/// is nearly as long.
const LONGEST: usize = 256;

/// Returns the allowed word that is most similar to a misspelt one, if one is similar enough.
pub fn nearest<'a>(written: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > LONGEST {
        return None;
    }
    let written = written.to_ascii_lowercase();
    allowed
        .into_iter()
        .filter(|word| may_be_near(&written, word))
        .map(|word| (similarity(&written, &word.to_ascii_lowercase()), word))
        .filter(|(ratio, _)| *ratio >= NEAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

/// Returns false if two words have too few characters in common, whatever their order. Costs a fraction of a comparison.
fn may_be_near(one: &str, other: &str) -> bool {
    if other.len() > LONGEST {
        return false;
    }
    let mut left: Vec<char> = other.chars().map(|c| c.to_ascii_lowercase()).collect();
    let length = one.chars().count() + left.len();
    let mut common = 0;
    for c in one.chars() {
        if let Some(at) = left.iter().position(|other| *other == c) {
            left.swap_remove(at);
            common += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "words are short")]
    let most = 2.0 * common as f32 / length.max(1) as f32;
    most >= NEAR_ENOUGH
}

fn similarity(one: &str, other: &str) -> f32 {
    similar::TextDiff::from_chars(one, other).ratio()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_check_rules_out_only_words_that_are_not_similar() {
        for (one, other) in [("hots", "host"), ("prt", "port"), ("encryptoin", "encryption"), ("functions", "function")]
        {
            assert_eq!(nearest(one, ["port", other]), Some(other));
        }
        assert_eq!(nearest(&"host".repeat(1000), ["host"]), None);
        assert_eq!(nearest("", ["host"]), None);
        let words = ["password", "Passwort", "host", "sohT", "encryption", "certificate", "from", "form", "a", ""];
        let pairs = words.iter().flat_map(|one| words.iter().map(move |other| (one, other)));
        for (one, other) in pairs.filter(|(one, _)| !one.is_empty()) {
            let (one, lower) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
            assert!(may_be_near(&one, other) || similarity(&one, &lower) < NEAR_ENOUGH, "{one} {other}");
        }
    }
}
