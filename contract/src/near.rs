//! The nearest of some known names, for "did you mean".

/// The candidate nearest to `word`, if one is near enough to be a likely slip.
///
/// Near enough is a Damerau-Levenshtein distance of at most a third of the word's length (and at
/// least two), or one of the two names being a part of the other: `app-router-tls` is the likely
/// meaning of `router-tls`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word)
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(word, candidate);
            let part = candidate.len().min(word.len()) >= 4
                && (candidate.contains(word) || word.contains(candidate));
            (distance <= limit || part).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_a_slip_and_a_part_but_nothing_far() {
        assert_eq!(nearest("router-tls", ["app-router-tls", "db"]), Some("app-router-tls"));
        assert_eq!(nearest("hackazon-secert", ["hackazon-secret"]), Some("hackazon-secret"));
        assert_eq!(nearest("web", ["database", "web"]), None);
    }
}
