//! `[secret]` and `[[signature]]`: how requests are signed, and with what.

use super::super::raw::{RawSecret, RawSignature};
use super::super::{
    Algorithm, Field, Generate, KeyForm, Random, Rotation, SignatureRule, Template,
};
use super::{Faults, Partial, choice, header_name, header_text};

pub(super) fn secret(raw: &RawSecret, partial: &mut Partial, faults: &mut Faults<'_>) {
    partial.secret_required = raw.required;
    partial.generate = faults.maybe(raw.generate.as_ref(), |text| generate(text));
    partial.generate_span = raw.generate.as_ref().map(toml::Spanned::span);
    partial.rotation = faults.maybe(raw.rotation.as_ref(), |text| {
        choice(
            text,
            &[("staged", Rotation::Staged), ("overlap", Rotation::Overlap)],
        )
    });
    partial.key = faults.maybe(raw.key.as_ref(), |text| key_form(text));
}

fn key_form(text: &str) -> Result<KeyForm, String> {
    let forms = [KeyForm::Utf8, KeyForm::WhsecBase64, KeyForm::WhskBase64];
    choice(text, &forms.map(|form| (form.as_str(), form)))
}

/// Reads one signature, and the key form that it names; without one its rule has a guess, which is
/// replaced once the profile's own is known.
pub(super) fn signature(
    raw: &RawSignature,
    faults: &mut Faults<'_>,
) -> Option<(SignatureRule, Option<KeyForm>)> {
    let header_name = faults.take(&raw.header, |text| header_name(text));
    let algorithm = faults.take(&raw.algorithm, |text| {
        let all = [Algorithm::HmacSha256, Algorithm::Ed25519];
        choice(text, &all.map(|algorithm| (algorithm.as_str(), algorithm)))
    });
    let key = faults.maybe(raw.key.as_ref(), |text| {
        let form = key_form(text)?;
        match (algorithm, form) {
            (Some(Algorithm::Ed25519), KeyForm::Utf8 | KeyForm::WhsecBase64) => {
                Err("ed25519 needs `key = \"whsk-base64\"`; leave `key` out".to_owned())
            }
            (Some(Algorithm::HmacSha256), KeyForm::WhskBase64) => {
                Err("HMAC needs `key = \"utf8\"` or \"whsec-base64\"".to_owned())
            }
            _ => Ok(form),
        }
    });
    let signed = faults.take(&raw.signed, |text| {
        let template = Template::parse(text, &[Field::Timestamp, Field::Id, Field::Body])?;
        match template.count(Field::Body) {
            1 => Ok(template),
            _ => Err("the signed text has {body} exactly once".to_owned()),
        }
    });
    let value = faults.take(&raw.value, |text| signature_value(text));
    let algorithm = algorithm?;
    let rule = SignatureRule {
        header: raw.header.get_ref().clone(),
        header_name: header_name?,
        algorithm,
        key: match algorithm {
            Algorithm::HmacSha256 => key.unwrap_or(KeyForm::Utf8),
            Algorithm::Ed25519 => KeyForm::WhskBase64,
        },
        signed: signed?,
        value: value?,
    };
    Some((rule, key))
}

fn signature_value(text: &str) -> Result<Template, String> {
    let fields = [Field::Hex, Field::Base64, Field::Timestamp, Field::Id];
    let template = Template::parse(text, &fields)?;
    if template.count(Field::Hex) + template.count(Field::Base64) != 1 {
        return Err("the value has either {hex} or {base64}, exactly once".to_owned());
    }
    if text.contains("}{") {
        return Err(
            "two placeholders need text between them, or no receiver can part them".to_owned(),
        );
    }
    header_text(text)?;
    Ok(template)
}

/// Reads how secrets are generated: one part, or two with a space between, for HMAC and ed25519.
fn generate(text: &str) -> Result<Vec<Generate>, String> {
    let parts: Option<Vec<Generate>> = text.split(' ').map(generate_part).collect();
    parts.filter(|parts| parts.len() <= 2).ok_or_else(|| {
        format!(
            "`{text}` is not text followed by {{random:n}} (n letters and digits, 24 to 128) or \
             {{base64:n}} (n random bytes, 24 to 64), nor two such parts with one space between"
        )
    })
}

/// Reads text with one `{random:n}` or `{base64:n}` at its end.
fn generate_part(text: &str) -> Option<Generate> {
    let (prefix, random) = text.split_once('{')?;
    let (kind, count) = random.strip_suffix('}')?.split_once(':')?;
    let count: usize = count.parse().ok()?;
    let random = match kind {
        "random" if (24..=128).contains(&count) => Random::Alphanumeric(count),
        "base64" if (24..=64).contains(&count) => Random::Base64(count),
        _ => return None,
    };
    let printable = prefix.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    (printable && prefix.len() <= 32).then(|| Generate {
        prefix: prefix.to_owned(),
        random,
    })
}
