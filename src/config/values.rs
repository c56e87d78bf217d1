//! The texts that a config's values are written in: sizes, address ranges, key hashes; and near words.
//!
//! Pure: text in, checked value or [`Refusal`] out. It knows neither files nor places.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::RangeError;

/// Why a text was not taken, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) problem: String,
    pub(super) fix: String,
}

impl Refusal {
    pub(super) fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}

/// Reads a size in bytes: a whole number and a binary unit, `512B`, `256KiB`, `64MiB`, `20GiB`, `1TiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, Refusal> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(refused_size(text, number, unit)),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| refused_size(text, number, unit))?;
    number.checked_mul(1 << shift).ok_or_else(|| {
        Refusal::new(
            format!("`{text}` is too large a size"),
            "write a smaller one",
        )
    })
}

fn refused_size(text: &str, number: &str, unit: &str) -> Refusal {
    let unit = unit.trim();
    let binary = match unit.to_ascii_lowercase().as_str() {
        "" if !number.is_empty() => {
            return Refusal::new(
                format!("`{text}` has no unit"),
                format!("write `{text}B` for bytes, or a unit such as KiB or MiB"),
            );
        }
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        "b" => "B",
        _ => {
            return Refusal::new(
                format!("`{text}` is not a size"),
                "write a whole number and a unit: 512B, 256KiB, 64MiB, 20GiB, 1TiB",
            );
        }
    };
    Refusal::new(
        format!("`{unit}` is not a unit here: sizes are counted in binary units"),
        format!("write `{number}{binary}`"),
    )
}

/// Reads one address, or a range as a prefix: `10.20.0.0/16`, `10.1.2.3`, `fd00::/8`.
pub(super) fn parse_range(text: &str) -> Result<IpNet, Refusal> {
    const FIX: &str =
        "write an address or a range: \"10.20.0.0/16\", \"10.1.2.3\", \"fd12:3456::/32\"";
    let range = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(range), _) => range,
        (_, Ok(address)) => IpNet::from(address),
        _ => {
            return Err(Refusal::new(
                format!("`{text}` is not an address range"),
                FIX,
            ));
        }
    };
    Ok(range)
}

/// What the address rules say against a range, with the fix apart.
pub(super) fn refused_range(error: &RangeError) -> Refusal {
    match error {
        RangeError::Never { range, rule } => Refusal::new(
            format!("`{range}` can never be allowed: it is {rule}"),
            "remove it; no request ever goes there",
        ),
        RangeError::HostBits {
            range,
            instead,
            single,
        } => Refusal::new(
            format!("`{range}` has bits set behind its prefix"),
            format!("write `{instead}`, or `{single}` for the one address"),
        ),
        RangeError::Mapped { range } => Refusal::new(
            format!("`{range}` is a range of IPv4-mapped addresses"),
            "write it as IPv4: such addresses are judged as the IPv4 ones that they are",
        ),
    }
}

/// Reads `sha256:` and 64 lower-case hexadecimal digits. No message repeats the text: it may be the
/// key itself, put here by mistake.
pub(super) fn parse_hash(text: &str) -> Result<[u8; 32], Refusal> {
    let form = "write \"sha256:\" and the SHA-256 of the key as 64 lower-case hexadecimal digits \
                (printf %s \"$KEY\" | sha256sum)";
    let Some(digits) = text.strip_prefix("sha256:") else {
        return Err(Refusal::new("does not start with `sha256:`", form));
    };
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let problem = format!(
            "has {} characters after `sha256:`, not 64 hexadecimal digits",
            digits.chars().count()
        );
        return Err(Refusal::new(problem, form));
    }
    if digits.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Refusal::new("has upper-case digits", form));
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).expect("hexadecimal digits are ASCII");
        *byte = u8::from_str_radix(pair, 16).expect("both are hexadecimal digits");
    }
    Ok(hash)
}

/// The words at most two edits away from `word`, the nearest first.
pub(crate) fn near<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Vec<&'w str> {
    let mut found: Vec<(usize, &str)> = words
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        // Of a short word two edits leave nothing: there one is the most.
        .filter(|(edits, candidate)| *edits <= if candidate.len() < 5 { 1 } else { 2 })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, candidate)| candidate).collect()
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
    fn sizes_are_binary_and_others_are_told_the_unit() {
        assert_eq!(parse_size("512B"), Ok(512));
        assert_eq!(parse_size("256KiB"), Ok(256 << 10));
        assert_eq!(parse_size("20GiB"), Ok(20 << 30));
        for (text, fix) in [
            ("64MB", "`64MiB`"),
            ("64mib", "`64MiB`"),
            ("64 MiB", "`64MiB`"),
            ("1k", "`1KiB`"),
            ("1024", "`1024B`"),
            ("", "whole number"),
            ("-1MiB", "whole number"),
            ("1.5GiB", "whole number"),
            ("MiB", "MiB"),
            ("99999999999TiB", "smaller"),
        ] {
            let refusal = parse_size(text).unwrap_err();
            assert!(refusal.fix.contains(fix), "{text}: {refusal:?}");
        }
    }

    #[test]
    fn ranges_are_prefixes_or_single_addresses() {
        let single = parse_range("10.1.2.3").unwrap();
        assert_eq!(single.to_string(), "10.1.2.3/32");
        assert_eq!(parse_range("fd00::/8").unwrap().prefix_len(), 8);
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0",
            "intranet",
            "10.0.0.0-10.0.0.9",
            "0x7f.1",
        ] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hashes_are_read_and_never_repeated() {
        let hash = parse_hash(&format!("sha256:{}", "0f".repeat(32))).unwrap();
        assert_eq!(hash, [0x0f; 32]);
        for text in [
            "hunter2hunter2",
            "sha256:hunter2hunter2",
            &format!("sha256:{}", "0F".repeat(32)),
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            let refusal = parse_hash(text).unwrap_err();
            assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
        }
    }

    #[test]
    fn near_words_come_nearest_first() {
        assert_eq!(near("lisen", ["path", "listen", "list"]), ["listen"]);
        assert_eq!(near("alow", ["allow", "deny"]), ["allow"]);
        assert!(near("xy", ["ab", "name"]).is_empty());
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in "[a-c]{0,6}", b in "[a-c]{0,6}", c in "[a-c]{0,6}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,80}") {
            prop_assert!(parse_size(&text).is_err() || text.ends_with('B'));
            prop_assert!(parse_range(&text).is_err() || text.contains(['.', ':']));
            prop_assert!(parse_hash(&text).is_err() || text.starts_with("sha256:"));
        }

        #[test]
        fn a_size_reads_back(number in 0u64..1 << 20, unit in 0usize..4) {
            let name = ["B", "KiB", "MiB", "GiB"][unit];
            prop_assert_eq!(parse_size(&format!("{number}{name}")), Ok(number << (10 * unit)));
        }
    }
}
