//! Numbers as ECMAScript prints them (ECMA-262, 6.1.6.1.20), where that keeps their value.

/// Decimals of up to this many digits survive a double and print with the same digits (DBL_DIG).
const EXACT_DIGITS: usize = 15;
/// From here on ECMAScript writes an exponent: 0.000001, but 1e-7.
const FRACTION_ZEROS_MAX: usize = 5;

/// Whether the number with these digits and no exponent certainly has the shortest form already. Most
/// numbers do, and are told apart here without being parsed.
pub(super) fn is_plain(whole: &str, fraction: Option<&str>) -> bool {
    let Some(fraction) = fraction else {
        return whole.len() <= EXACT_DIGITS;
    };
    let zeros = fraction.len() - fraction.trim_start_matches('0').len();
    whole.len() + fraction.len() <= EXACT_DIGITS
        && !fraction.ends_with('0')
        && (whole != "0" || zeros <= FRACTION_ZEROS_MAX)
}

/// What becomes of a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It has the shortest form already.
    AsWritten,
    /// The same value in the shortest form.
    Shortest(String),
    /// No double has this value: it stays as written, and does not survive `JSON.parse`.
    Unfit,
}

/// Judges a number in JSON's grammar. Its value is that of its decimal digits; it fits where the
/// shortest text of the nearest double has the same value.
pub(super) fn form(text: &str) -> Form {
    let Ok(double) = text.parse::<f64>() else {
        return Form::Unfit;
    };
    if !double.is_finite() {
        return Form::Unfit;
    }
    let mut buffer = ryu_js::Buffer::new();
    let shortest = buffer.format_finite(double);
    if shortest == text {
        Form::AsWritten
    } else if Decimal::of(shortest).same_value(&Decimal::of(text)) {
        Form::Shortest(shortest.to_owned())
    } else {
        Form::Unfit
    }
}

/// A decimal number: significant digits times a power of ten. Zero has no digits; its sign is nothing.
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let trailing = all.len() - all.trim_end_matches('0').len();
        let digits = all.trim_matches('0').to_owned();
        let exponent = saturating_power(power)
            .saturating_sub(to_i64(fraction.len()))
            .saturating_add(to_i64(trailing));
        Self {
            negative,
            digits,
            exponent,
        }
    }

    fn same_value(&self, other: &Self) -> bool {
        if self.digits.is_empty() || other.digits.is_empty() {
            return self.digits.is_empty() && other.digits.is_empty();
        }
        self.negative == other.negative
            && self.digits == other.digits
            && self.exponent == other.exponent
    }
}

/// An exponent's value; one too big for an i64 is out of a double's reach anyway.
fn saturating_power(text: &str) -> i64 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = digits.parse().unwrap_or(i64::MAX);
    if negative { -value } else { value }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
