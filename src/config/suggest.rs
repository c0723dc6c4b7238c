//! "Did you mean": the nearest of the allowed words.

/// The allowed word that is nearest to what was written, if one is near enough to be what was meant.
pub fn nearest<'a>(written: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR_ENOUGH: f32 = 0.65;
    let written = written.to_ascii_lowercase();
    allowed
        .into_iter()
        .map(|word| (similarity(&written, &word.to_ascii_lowercase()), word))
        .filter(|(ratio, _)| *ratio >= NEAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

fn similarity(one: &str, other: &str) -> f32 {
    similar::TextDiff::from_chars(one, other).ratio()
}
