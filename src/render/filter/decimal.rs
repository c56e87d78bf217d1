//! Numbers as exact decimals: what JSON writes is compared to the last digit.

use std::cmp::Ordering;
use std::fmt;

/// A JSON number: `0.d₁d₂d₃… × 10^exponent`, the first and the last digit not 0. Zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    exponent: i64,
    digits: Vec<u8>,
}

impl Decimal {
    /// Reads a JSON number (RFC 8259, 6); `None` for another text. Of exponents beyond 64 bits only the sign
    /// counts.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if whole.is_empty() || !all().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut digits: Vec<u8> = all().skip_while(|byte| *byte == b'0').collect();
        let leading = whole.len() + fraction.len() - digits.len();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                exponent: 0,
                digits,
            });
        }
        let shift = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        Some(Self {
            negative,
            exponent: exponent.saturating_add(shift),
            digits,
        })
    }

    /// The order of what is left when the signs are dropped.
    fn compare_size(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self
                .exponent
                .cmp(&other.exponent)
                .then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

impl fmt::Display for Decimal {
    /// As JSON writes it: digits where that is short, else with an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.digits.iter().copied().map(char::from).collect();
        if digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        match usize::try_from(self.exponent) {
            Err(_) | Ok(0) if self.exponent > -6 => {
                let zeros = usize::try_from(-self.exponent).unwrap_or(0);
                write!(f, "0.{:0<zeros$}{digits}", "")
            }
            Ok(whole @ 1..=21) => match digits.split_at_checked(whole) {
                Some((before, behind)) if !behind.is_empty() => write!(f, "{before}.{behind}"),
                _ => write!(f, "{digits:0<whole$}"),
            },
            Ok(_) | Err(_) => {
                let (first, rest) = digits.split_at(1);
                let point = if rest.is_empty() { "" } else { "." };
                write!(
                    f,
                    "{first}{point}{rest}e{}",
                    self.exponent.saturating_sub(1)
                )
            }
        }
    }
}

/// `+5`, `-05`, `7`; beyond 64 bits the farthest there is.
fn read_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX);
    Some(if negative { -size } else { size })
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.compare_size(other),
            (true, true) => other.compare_size(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        for (a, b) in [
            ("300", "300.0"),
            ("300", "3e2"),
            ("0.003", "3E-3"),
            ("-0", "0.000e99999999999999999999"),
            ("1.50", "15e-1"),
            ("1e400", "10e399"),
        ] {
            assert_eq!(number(a), number(b), "{a} {b}");
        }
        assert!(number("9007199254740993") > number("9007199254740992"));
        assert!(number("0.1") < number("0.10000000000000000001"));
        assert!(number("-1e400") < number("-5") && number("-0.1") < number("0"));
        assert!(number("1e-99999999999999999999") > number("0"));
        for text in ["", "-", ".5", "1e", "1e+", "x", "1.x", "+1", "--1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn is_shown_as_json_writes_it() {
        for (given, shown) in [
            ("300.0", "300"),
            ("-0", "0"),
            ("-12.50", "-12.5"),
            ("0.25", "0.25"),
            ("0.003", "0.003"),
            ("0.1234e-5", "0.000001234"),
            ("1e-7", "1e-7"),
            ("1.5e30", "1.5e30"),
            ("9007199254740993", "9007199254740993"),
        ] {
            assert_eq!(number(given).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_same_number(digits in "-?[0-9]{1,25}(\\.[0-9]{1,9})?", power in -40..40_i32) {
            let given = number(&format!("{digits}e{power}"));
            prop_assert_eq!(number(&given.to_string()), given);
        }

        #[test]
        fn orders_as_doubles_do(a in -1e9..1e9_f64, b in -1e9..1e9_f64) {
            let (x, y) = (number(&format!("{a}")), number(&format!("{b:e}")));
            prop_assert_eq!(Some(x.cmp(&y)), a.partial_cmp(&b));
        }

        #[test]
        fn orders_as_integers_do(a: i128, b: i128) {
            prop_assert_eq!(number(&a.to_string()).cmp(&number(&b.to_string())), a.cmp(&b));
        }
    }
}
