//! From the TOML shape to typed values: every value on its own, each error with its place.
//!
//! A [`Partial`] is what one table says; partials are laid over each other along `extends`, and the
//! result is completed in `set`.

mod schemas;
mod signing;

use std::collections::BTreeMap;
use std::ops::Range;

use http::{HeaderName, HeaderValue};
use toml::Spanned;

pub(super) use schemas::PlacedSchema;

use super::raw::{RawExample, RawExhausted, RawProfile, RawRate, RawRetry};
use super::{
    Example, ExhaustedAction, Field, Generate, HeaderRule, KeyForm, MatchPath, Overflow,
    ProfileError, Rotation, SignatureRule, Template, check_type,
};
use crate::model::{
    EventId, GonePolicy, OPERATIONAL, StatusRange, SuccessRule, UnixMicros, parse_duration,
};

/// Templates longer than this are a mistake: an envelope is some hundred bytes.
const BODY_TEMPLATE_MAX: usize = 64 * 1024;
/// No receiver is waited for longer than this; an attempt holds a connection meanwhile.
const TIMEOUT_MAX_MS: u64 = 5 * 60 * 1000;
/// Below this no TLS handshake over a network ends.
const TIMEOUT_MIN_MS: u64 = 100;
/// A receiver that failed for good is not knocked at more often than this, and a day is long to wait for it.
const PROBE_MIN_MS: u64 = 10 * 1000;
const PROBE_MAX_MS: u64 = 24 * 3600 * 1000;
/// Headers that describe the message or the connection: nobody but the sender sets them.
pub(super) const FRAMING_HEADERS: [&str; 10] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];
/// Names that the API's own members of an event or a registration have.
const TAKEN_FIELDS: [&str; 35] = [
    "inactive",
    "failing",
    "held",
    "hint",
    "staged_public_key",
    "id",
    "type",
    "data",
    "metadata",
    "created_at",
    "updated_at",
    "url",
    "events",
    "secret",
    "name",
    "description",
    "headers",
    "active",
    "timeout",
    "retry",
    "version",
    "format",
    "filter",
    "bearer_token",
    "api_key",
    "api_key_header",
    "auth_header",
    "auth_value",
    "max_retries",
    "retry_delay",
    "retry_backoff",
    "signed",
    "public_key",
    "secret_rotation",
    "contract",
];

/// What one table says. `None`: nothing, so the parent's value holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Partial {
    pub(super) event_types: Option<Vec<String>>,
    pub(super) inner_types: Option<Vec<String>>,
    pub(super) events_required: Option<bool>,
    pub(super) match_on: Option<Vec<MatchPath>>,
    pub(super) scope_field: Option<String>,
    pub(super) success: Option<SuccessRule>,
    pub(super) timeout_ms: Option<u32>,
    pub(super) body: Option<String>,
    pub(super) body_span: Option<Range<usize>>,
    pub(super) on_gone: Option<GonePolicy>,
    pub(super) honour_retry_after: Option<bool>,
    pub(super) secret_required: Option<bool>,
    pub(super) generate: Option<Vec<Generate>>,
    pub(super) generate_span: Option<Range<usize>>,
    pub(super) rotation: Option<Rotation>,
    pub(super) key: Option<KeyForm>,
    /// Each with the key form that it names itself; its rule's is not yet known.
    pub(super) signatures: Option<Vec<(SignatureRule, Option<KeyForm>)>>,
    pub(super) headers: Option<Vec<HeaderRule>>,
    pub(super) delays_ms: Option<Vec<u64>>,
    pub(super) initial_ms: Option<u64>,
    pub(super) multiplier: Option<f64>,
    pub(super) max_delay_ms: Option<u64>,
    pub(super) max_retries: Option<u32>,
    pub(super) jitter_percent: Option<u8>,
    pub(super) retry_span: Option<Range<usize>>,
    pub(super) exhausted_action: Option<ExhaustedAction>,
    pub(super) unless_succeeded_since: Option<bool>,
    pub(super) disable_after_ms: Option<Option<u64>>,
    pub(super) probe_every_ms: Option<Option<u64>>,
    pub(super) per_second: Option<u32>,
    pub(super) per_hour: Option<u32>,
    pub(super) overflow: Option<Overflow>,
    pub(super) backlog: Option<u32>,
    pub(super) requests_per_minute: Option<u32>,
    pub(super) example: Option<Example>,
    pub(super) example_span: Option<Range<usize>>,
    pub(super) schemas: BTreeMap<String, PlacedSchema>,
}

impl Partial {
    /// What holds where `child` is laid over `self`.
    pub(super) fn under(self, child: Self) -> Self {
        let exponential = child.initial_ms.is_some()
            || child.multiplier.is_some()
            || child.max_delay_ms.is_some()
            || child.max_retries.is_some();
        Self {
            event_types: child.event_types.or(self.event_types),
            inner_types: child.inner_types.or(self.inner_types),
            events_required: child.events_required.or(self.events_required),
            match_on: child.match_on.or(self.match_on),
            scope_field: child.scope_field.or(self.scope_field),
            success: child.success.or(self.success),
            timeout_ms: child.timeout_ms.or(self.timeout_ms),
            body: child.body.or(self.body),
            body_span: child.body_span.or(self.body_span),
            on_gone: child.on_gone.or(self.on_gone),
            honour_retry_after: child.honour_retry_after.or(self.honour_retry_after),
            secret_required: child.secret_required.or(self.secret_required),
            generate: child.generate.or(self.generate),
            generate_span: child.generate_span.or(self.generate_span),
            rotation: child.rotation.or(self.rotation),
            key: child.key.or(self.key),
            signatures: child.signatures.or(self.signatures),
            headers: child.headers.or(self.headers),
            initial_ms: child.initial_ms.or(self.initial_ms),
            multiplier: child.multiplier.or(self.multiplier),
            max_delay_ms: child.max_delay_ms.or(self.max_delay_ms),
            max_retries: child.max_retries.or(self.max_retries),
            delays_ms: child.delays_ms.or(self.delays_ms.filter(|_| !exponential)),
            jitter_percent: child.jitter_percent.or(self.jitter_percent),
            retry_span: child.retry_span.or(self.retry_span),
            exhausted_action: child.exhausted_action.or(self.exhausted_action),
            unless_succeeded_since: child.unless_succeeded_since.or(self.unless_succeeded_since),
            disable_after_ms: child.disable_after_ms.or(self.disable_after_ms),
            probe_every_ms: child.probe_every_ms.or(self.probe_every_ms),
            per_second: child.per_second.or(self.per_second),
            per_hour: child.per_hour.or(self.per_hour),
            overflow: child.overflow.or(self.overflow),
            backlog: child.backlog.or(self.backlog),
            requests_per_minute: child.requests_per_minute.or(self.requests_per_minute),
            example: child.example.or(self.example),
            example_span: child.example_span.or(self.example_span),
            schemas: schemas::inherited(self.schemas)
                .chain(child.schemas)
                .collect(),
        }
    }

    /// The same, without the places: for a text that is not the operator's.
    pub(super) fn unplaced(self) -> Self {
        Self {
            body_span: None,
            generate_span: None,
            retry_span: None,
            example_span: None,
            schemas: schemas::inherited(self.schemas).collect(),
            ..self
        }
    }
}

/// The errors of one profile, gathered.
pub(super) struct Faults<'a> {
    pub(super) profile: &'a str,
    pub(super) found: Vec<ProfileError>,
}

impl Faults<'_> {
    pub(super) fn push(&mut self, span: Option<Range<usize>>, message: impl Into<String>) {
        self.found.push(ProfileError {
            profile: self.profile.to_owned(),
            span,
            message: message.into(),
        });
    }

    /// The value of `given` as `parse` reads it; what it refuses is noted.
    fn take<T, U>(
        &mut self,
        given: &Spanned<T>,
        parse: impl FnOnce(&T) -> Result<U, String>,
    ) -> Option<U> {
        parse(given.get_ref())
            .map_err(|message| self.push(Some(given.span()), message))
            .ok()
    }

    fn maybe<T, U>(
        &mut self,
        given: Option<&Spanned<T>>,
        parse: impl FnOnce(&T) -> Result<U, String>,
    ) -> Option<U> {
        given.and_then(|given| self.take(given, parse))
    }

    fn each<T, U>(
        &mut self,
        given: Option<&Vec<Spanned<T>>>,
        parse: impl Fn(&T) -> Result<U, String>,
    ) -> Option<Vec<U>> {
        Some(given?.iter().filter_map(|g| self.take(g, &parse)).collect())
    }
}

/// Reads one table.
pub(super) fn partial(raw: &RawProfile, faults: &mut Faults<'_>) -> Partial {
    let mut partial = Partial {
        event_types: faults.each(raw.event_types.as_ref(), event_type),
        inner_types: faults.each(raw.inner_types.as_ref(), event_type),
        events_required: raw.events_required,
        match_on: faults.each(raw.match_on.as_ref(), |text| match_path(text)),
        scope_field: faults.maybe(raw.scope_field.as_ref(), |text| scope_field(text)),
        success: faults
            .each(raw.success.as_ref(), |text| status_range(text))
            .map(SuccessRule),
        timeout_ms: faults.maybe(raw.timeout.as_ref(), |text| timeout(text)),
        body: faults.maybe(raw.body.as_ref(), |text| body(text)),
        body_span: raw.body.as_ref().map(Spanned::span),
        on_gone: faults.maybe(raw.on_gone.as_ref(), |text| {
            choice(
                text,
                &[
                    ("disable", GonePolicy::Disable),
                    ("retry", GonePolicy::Retry),
                ],
            )
        }),
        honour_retry_after: raw.honour_retry_after,
        requests_per_minute: raw.api.as_ref().and_then(|api| api.requests_per_minute),
        signatures: raw.signature.as_ref().map(|all| {
            let all = all.iter();
            all.filter_map(|raw| signing::signature(raw, faults))
                .collect()
        }),
        headers: raw.headers.as_ref().map(|all| {
            let all = all.iter();
            all.filter_map(|(name, value)| header(name, value, faults))
                .collect()
        }),
        ..Partial::default()
    };
    if let Some(raw) = &raw.secret {
        signing::secret(raw, &mut partial, faults);
    }
    if let Some(raw) = &raw.retry {
        partial.retry_span = Some(raw.span());
        retry(raw.get_ref(), &mut partial, faults);
    }
    if let Some(raw) = &raw.exhausted {
        exhausted(raw, &mut partial, faults);
    }
    if let Some(raw) = &raw.rate {
        rate(raw, &mut partial, faults);
    }
    if let Some(raw) = &raw.example {
        partial.example_span = Some(raw.span());
        partial.example = example(raw.get_ref(), faults);
    }
    if let Some(raw) = &raw.schemas {
        partial.schemas = schemas::read(raw, faults);
    }
    partial
}

fn retry(raw: &RawRetry, partial: &mut Partial, faults: &mut Faults<'_>) {
    let millis = |text: &String| duration_ms(text);
    partial.delays_ms = faults.each(raw.delays.as_ref(), millis);
    partial.initial_ms = faults.maybe(raw.initial.as_ref(), millis);
    partial.max_delay_ms = faults.maybe(raw.max_delay.as_ref(), millis);
    partial.multiplier = raw.multiplier.as_ref().map(|given| *given.get_ref());
    partial.max_retries = raw.max_retries.as_ref().map(|given| *given.get_ref());
    partial.jitter_percent = faults.maybe(raw.jitter.as_ref(), |text| percent(text));
    let other = raw.initial.as_ref().map(Spanned::span);
    let other = other.or_else(|| raw.max_delay.as_ref().map(Spanned::span));
    let other = other.or_else(|| raw.multiplier.as_ref().map(Spanned::span));
    let other = other.or_else(|| raw.max_retries.as_ref().map(Spanned::span));
    if raw.delays.is_some() && other.is_some() {
        faults.push(
            other,
            "write either `delays` or `initial`, `multiplier`, `max_delay` and `max_retries`",
        );
    }
}

fn exhausted(raw: &RawExhausted, partial: &mut Partial, faults: &mut Faults<'_>) {
    partial.exhausted_action = faults.maybe(raw.action.as_ref(), |text| {
        choice(
            text,
            &[
                ("fail", ExhaustedAction::Fail),
                ("disable", ExhaustedAction::Disable),
            ],
        )
    });
    partial.unless_succeeded_since = raw.unless_succeeded_since;
    partial.disable_after_ms =
        faults.maybe(raw.disable_after.as_ref(), |text| match text.as_str() {
            "never" => Ok(None),
            text => duration_ms(text)
                .map(Some)
                .map_err(|message| format!("{message}, or \"never\"")),
        });
    partial.probe_every_ms = faults.maybe(raw.probe_every.as_ref(), |text| match text.as_str() {
        "never" => Ok(None),
        text => probe_every(text).map(Some),
    });
}

fn probe_every(text: &str) -> Result<u64, String> {
    let ms = duration_ms(text).map_err(|message| format!("{message}, or \"never\""))?;
    let fits = (PROBE_MIN_MS..=PROBE_MAX_MS).contains(&ms);
    let refused = || format!("a probe is sent every 10s to 24h, or \"never\", not every {text}");
    fits.then_some(ms).ok_or_else(refused)
}

fn rate(raw: &Spanned<RawRate>, partial: &mut Partial, faults: &mut Faults<'_>) {
    let (span, raw) = (raw.span(), raw.get_ref());
    partial.per_second = raw.per_second;
    partial.per_hour = raw.per_hour;
    partial.backlog = raw.backlog;
    if raw.backlog == Some(0) {
        faults.push(Some(span), "`backlog` is at least 1");
    }
    partial.overflow = faults.maybe(raw.overflow.as_ref(), |text| {
        choice(
            text,
            &[
                ("delay", Overflow::Delay),
                ("drop-oldest", Overflow::DropOldest),
            ],
        )
    });
}

fn example(raw: &RawExample, faults: &mut Faults<'_>) -> Option<Example> {
    let event_type = faults.take(&raw.event_type, event_type);
    let data = faults.take(&raw.data, |text| json(text, false));
    let metadata = faults.maybe(raw.metadata.as_ref(), |text| json(text, true));
    let id = faults.maybe(raw.id.as_ref(), |text| {
        EventId::new(text)
            .map(|id| id.as_str().to_owned())
            .map_err(|error| error.to_string())
    });
    let created_at = faults.maybe(raw.created_at.as_ref(), |text| {
        UnixMicros::parse(text).map_err(|error| error.to_string())
    });
    Some(Example {
        event_type: event_type?,
        data: data?,
        metadata,
        scope: raw.scope.clone(),
        id,
        created_at,
    })
}

fn header(
    name: &Spanned<String>,
    value: &Spanned<String>,
    faults: &mut Faults<'_>,
) -> Option<HeaderRule> {
    let name = faults.take(name, |text| header_name(text));
    let value = faults.take(value, |text| {
        header_text(text)?;
        let fields = [
            Field::Id,
            Field::Timestamp,
            Field::Type,
            Field::Attempt,
            Field::Retry,
        ];
        let template = Template::parse(text, &fields)?;
        let constant = template
            .is_constant()
            .then(|| HeaderValue::from_str(text).map_err(|error| error.to_string()))
            .transpose()?;
        Ok((template, constant))
    });
    let (value, constant) = value?;
    Some(HeaderRule {
        name: name?,
        value,
        constant,
    })
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("`{text}` is not a header name (RFC 9110, 5.1)"))?;
    if FRAMING_HEADERS.contains(&name.as_str()) {
        return Err(format!(
            "`{text}` is set by the sender; choose another header"
        ));
    }
    Ok(name)
}

fn header_text(text: &str) -> Result<(), String> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Ok(());
    }
    Err("a header's value is printable ASCII".to_owned())
}

fn event_type(text: &String) -> Result<String, String> {
    check_type(text)?;
    if text.starts_with(OPERATIONAL) {
        return Err(format!(
            "`{text}` begins with `{OPERATIONAL}`, as operational events do; choose another name"
        ));
    }
    Ok(text.clone())
}

fn match_path(text: &str) -> Result<MatchPath, String> {
    let refused = || format!("`{text}` is neither `type` nor a path such as `data.event.type`");
    if text == "type" {
        return Ok(MatchPath::Type);
    }
    let keys = text.strip_prefix("data.").ok_or_else(refused)?;
    let keys: Vec<String> = keys.split('.').map(str::to_owned).collect();
    if keys.iter().any(String::is_empty) {
        return Err(refused());
    }
    Ok(MatchPath::Data(keys))
}

fn scope_field(text: &str) -> Result<String, String> {
    let form = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts || text.len() > 32 || !text.chars().all(form) {
        return Err(
            "a scope field is a lower-case name of up to 32 letters, digits and _".to_owned(),
        );
    }
    if TAKEN_FIELDS.contains(&text) {
        return Err(format!(
            "`{text}` is a member of the API already; choose another name"
        ));
    }
    Ok(text.to_owned())
}

fn status_range(text: &str) -> Result<StatusRange, String> {
    let range = if let Some(class) = text.strip_suffix("xx") {
        let class: Option<u16> = class.parse().ok().filter(|class| *class < 10);
        class.map(|class| (class * 100, class * 100 + 99))
    } else if let Some((from, to)) = text.split_once('-') {
        from.parse().ok().zip(to.parse().ok())
    } else {
        text.parse().ok().map(|code| (code, code))
    };
    match range {
        Some((from, to)) if (200..=599).contains(&from) && from <= to && to <= 599 => {
            Ok(StatusRange { from, to })
        }
        _ => Err(format!(
            "`{text}` names no status codes from 200 to 599; write \"2xx\", \"200\" or \"200-204\""
        )),
    }
}

fn timeout(text: &str) -> Result<u32, String> {
    let ms = duration_ms(text)?;
    u32::try_from(ms)
        .ok()
        .filter(|_| (TIMEOUT_MIN_MS..=TIMEOUT_MAX_MS).contains(&ms))
        .ok_or_else(|| format!("a timeout is from 100ms to 5m, not {text}"))
}

fn body(text: &str) -> Result<String, String> {
    if text.len() > BODY_TEMPLATE_MAX {
        return Err(format!("the template is over {BODY_TEMPLATE_MAX} bytes"));
    }
    Ok(text.to_owned())
}

fn json(text: &str, object: bool) -> Result<String, String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| format!("this is not JSON: {error}"))?;
    if object && !text.trim_start().starts_with('{') {
        return Err("metadata is a JSON object".to_owned());
    }
    Ok(text.to_owned())
}

fn percent(text: &str) -> Result<u8, String> {
    text.strip_suffix('%')
        .and_then(|number| number.parse().ok())
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| format!("`{text}` is not a share from \"0%\" to \"100%\""))
}

fn duration_ms(text: &str) -> Result<u64, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<String> = choices
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    Err(format!(
        "`{text}` is not supported; use {}",
        names.join(" or ")
    ))
}
