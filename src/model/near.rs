//! Words that may have been meant: of a word that is not known, those that are at most two edits away.
//!
//! Pure. What is compared are short names that the operator or a client wrote: keys, profiles, formats.

/// The words at most two edits away from `word`, the nearest first.
pub fn near<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Vec<&'w str> {
    let mut found: Vec<(usize, &str)> = words
        .into_iter()
        // A length that differs by more than two edits needs no comparison, however long the word is.
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 2 * char::MAX_LEN_UTF8)
        .map(|candidate| (distance(word, candidate), candidate))
        // Of a short word two edits leave nothing: there one is the most.
        .filter(|(edits, candidate)| *edits <= if candidate.len() < 5 { 1 } else { 2 })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The question that a message asks about a word that is not known, with a space behind it; empty where no known
/// word is near.
pub fn did_you_mean<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> String {
    let near = near(word, words);
    if near.is_empty() {
        String::new()
    } else {
        format!("did you mean `{}`? ", near.join("` or `"))
    }
}

/// Levenshtein's distance: how many insertions, removals and replacements make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, above), beside) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(0);
            next.push(
                (beside + usize::from(from != *to))
                    .min(above + 1)
                    .min(left + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn near_words_come_nearest_first() {
        assert_eq!(near("lisen", ["path", "listen", "list"]), ["listen"]);
        assert_eq!(near("alow", ["allow", "deny"]), ["allow"]);
        assert!(near("xy", ["ab", "name"]).is_empty());
        assert_eq!(
            did_you_mean("standrad", ["standard", "other"]),
            "did you mean `standard`? "
        );
        assert_eq!(did_you_mean("quite-another", ["standard"]), "");
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in "[a-c]{0,6}", b in "[a-c]{0,6}", c in "[a-c]{0,6}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c));
        }
    }
}
