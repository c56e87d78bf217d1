//! Every `code` that an answer can carry, with its status and its meaning: the one list, which the API's document is
//! made from and which [`Problem`](super::error::Problem) is held to.
//!
//! A code is a promise to programs. It keeps its name, its status and its meaning for as long as the API is `v1`.

/// A code of a problem or of one field at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) name: &'static str,
    pub(super) status: u16,
    /// When it is answered, for people.
    pub(super) means: &'static str,
}

/// The codes of fields at fault that lend a problem none: it then has `fields_invalid`.
const OF_FIELDS_ONLY: [Code; 2] = [
    code(
        "invalid",
        400,
        "the field's value cannot be used; `detail` says what to write instead",
    ),
    code(
        "more_faults",
        400,
        "stands last in a list of faults that was cut: how many more there are",
    ),
];

/// All others, by status.
const ALL: [Code; 66] = [
    // Of the request as a whole.
    code(
        "json_invalid",
        400,
        "the body, or an event's JSON, cannot be read; `detail` has line and column",
    ),
    code("utf8_invalid", 400, "the body is not UTF-8"),
    code(
        "body_incomplete",
        400,
        "the connection ended inside the body",
    ),
    code(
        "length_ambiguous",
        400,
        "the request says its length in two ways, or follows one that does",
    ),
    code(
        "tls_required",
        400,
        "plain HTTP was spoken to a port that speaks TLS",
    ),
    code(
        "batch_size",
        400,
        "a batch is empty or has more than 1,000 events",
    ),
    code(
        "query_invalid",
        400,
        "a parameter of the query is unknown, or its value is of no use",
    ),
    code("limit_invalid", 400, "`limit` is out of its bounds"),
    code(
        "cursor_invalid",
        400,
        "`cursor` is not one that this list gave",
    ),
    // Of fields.
    code(
        "fields_invalid",
        400,
        "fields of the body are wrong; `errors` names each",
    ),
    code("missing", 400, "a field that must be there is not"),
    code("unknown_field", 400, "a field is not known here"),
    code(
        "secret_invalid",
        400,
        "the secret is not of the form that the profile's receivers know",
    ),
    code(
        "secret_reserved",
        400,
        "the secret begins as sealed ones do, and cannot be stored",
    ),
    code("https_required", 400, "a URL does not begin with https://"),
    code("url_invalid", 400, "a URL cannot be used as it is written"),
    code(
        "address_blocked",
        400,
        "a URL leads to an address that nothing is sent to",
    ),
    code(
        "event_type_unknown",
        400,
        "an event type is not one of the profile's, or is written in a wrong way",
    ),
    code(
        "event_type_reserved",
        400,
        "types that begin with `hookwheel.` are posted by the daemon alone",
    ),
    code(
        "schema_mismatch",
        400,
        "the event's data does not fit the schema of its type",
    ),
    code(
        "id_invalid",
        400,
        "an event's id has other characters than A-Z a-z 0-9 _ -, or over 64",
    ),
    code(
        "header_invalid",
        400,
        "a header's name or value cannot be sent",
    ),
    code("header_reserved", 400, "the daemon sets this header itself"),
    code("header_conflict", 400, "two fields set the same header"),
    code("format_unknown", 400, "there is no format of this name"),
    code(
        "tls_unknown",
        400,
        "the account may use no TLS settings of this name",
    ),
    code("filter_invalid", 400, "an event pattern cannot be used"),
    code(
        "webhook_unknown",
        400,
        "a field names a webhook that the account does not have",
    ),
    // Of who asks for what.
    code(
        "unauthorized",
        401,
        "there is no key in the request, or no account has this one",
    ),
    code(
        "scope_missing",
        403,
        "the key has not the scope that the call needs",
    ),
    code(
        "not_found",
        404,
        "there is nothing at this path, or nothing of this name in the account",
    ),
    code(
        "method_not_allowed",
        405,
        "the path exists, but not with this method; see `Allow`",
    ),
    code("body_timeout", 408, "the body did not arrive in time"),
    code(
        "body_too_slow",
        408,
        "the body came below the lowest rate that is waited for",
    ),
    // Of how things stand.
    code(
        "too_many_webhooks",
        409,
        "the account has as many webhooks as it may have",
    ),
    code(
        "id_conflict",
        409,
        "an event of this id was posted with other content",
    ),
    code(
        "changed_in_between",
        409,
        "somebody else changed it at the same time; read it again, and repeat the change",
    ),
    code(
        "state_unclear",
        409,
        "a record of the delivery is damaged, so nothing is sent again",
    ),
    code(
        "discard_under_way",
        409,
        "what the webhook holds is being discarded already",
    ),
    code(
        "webhook_declared",
        409,
        "the config declares the webhook, so only the config changes it",
    ),
    code(
        "webhook_active",
        409,
        "an active webhook holds nothing; set `active` to false first",
    ),
    code(
        "webhook_held",
        409,
        "the config has no longer what the webhook names, so nothing can be sent",
    ),
    code(
        "in_flight",
        409,
        "the delivery is being sent at this moment",
    ),
    code(
        "nothing_signed",
        409,
        "the profile signs nothing, so there is no secret to replace",
    ),
    code(
        "rotation_not_offered",
        409,
        "the profile replaces secrets in the other way",
    ),
    code(
        "secret_unfit",
        409,
        "the stored secret does not fit the profile as it is now",
    ),
    code("already_staged", 409, "a secret is staged already"),
    code("nothing_staged", 409, "no secret is staged"),
    code(
        "nothing_to_roll_back",
        409,
        "there is no old secret, or it has expired",
    ),
    code(
        "too_many_jobs",
        409,
        "the account has as many open jobs as it may have",
    ),
    code("job_ended", 409, "the job has ended"),
    code(
        "too_large",
        413,
        "the body, or what is to be stored of it, is over its limit",
    ),
    code(
        "encoding_unsupported",
        415,
        "the body has a Content-Encoding; send it as it is",
    ),
    // Of how much at once.
    code(
        "too_many_requests",
        429,
        "the key has made its requests of this minute",
    ),
    code(
        "too_many_events",
        429,
        "the key has posted its events of this second",
    ),
    code(
        "too_many_discards",
        429,
        "as many discards are under way as there may be",
    ),
    code(
        "too_many_tests",
        429,
        "as many tests are under way as there may be",
    ),
    code(
        "too_many_reads",
        429,
        "the account asks for as many lists and reports at once as it may",
    ),
    code(
        "too_many_streams",
        429,
        "as many live streams are open as the account, or all together, may have",
    ),
    code(
        "too_many_dry_runs",
        429,
        "as many dry runs are under way as there may be",
    ),
    // Of the daemon.
    code(
        "internal",
        500,
        "something went wrong in the daemon; its log says what",
    ),
    code("busy", 503, "too much is asked of the disk at this moment"),
    code("stopping", 503, "the daemon is being stopped"),
    code(
        "memory_full",
        503,
        "bodies, or answers not yet taken, fill the memory for them",
    ),
    code("connections_full", 503, "too many connections are open"),
    code(
        "disk_full",
        507,
        "the disk has no room for more events; what was taken is delivered on",
    ),
];

const fn code(name: &'static str, status: u16, means: &'static str) -> Code {
    Code {
        name,
        status,
        means,
    }
}

/// Every code that a problem can have.
pub(super) fn of_problems() -> impl Iterator<Item = &'static Code> {
    ALL.iter()
}

/// Every code that a field at fault can have: those of problems, and two of its own.
pub(super) fn of_fields() -> impl Iterator<Item = &'static Code> {
    let of_input = ALL.iter().filter(|code| code.status == 400);
    of_input.chain(&OF_FIELDS_ONLY)
}

/// The code of this name that a problem can have.
pub(super) fn find(name: &str) -> Option<&'static Code> {
    ALL.iter().find(|code| code.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_stands_here_once_with_a_meaning() {
        let all = || ALL.iter().chain(&OF_FIELDS_ONLY);
        let names: BTreeSet<_> = all().map(|code| code.name).collect();
        assert_eq!(names.len(), all().count());
        for code in all() {
            assert!((400..600).contains(&code.status), "{code:?}");
            assert!(
                !code.means.is_empty() && !code.means.ends_with('.'),
                "{code:?}"
            );
        }
    }
}
