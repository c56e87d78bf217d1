//! Records written by any released version decode for ever.
//!
//! One file for each variant. A file is never changed once it is released: what it holds is on people's disks.
//! To add one for a new variant, run the test with `HOOKWHEEL_WRITE_GOLDEN=1`; it writes only missing files.

use super::*;
use crate::model::{
    Actor, AuditAction, AuditEntry, ClientAuth, EndReason, Endpoint, FaultKind, Job, JobFilter,
    JobId, JobKind, JobState, OAuth2, Order, Secret, TraceContext, UnixMicros,
};
use crate::store::codec::{check_known, decode_record, encode_record};
use crate::store::record::{Cancellation, End, Moment, Queued, Record, Row};

#[expect(
    clippy::too_many_lines,
    reason = "one entry for each variant, and nothing else"
)]
fn records() -> Vec<(&'static str, Record)> {
    let at = Moment {
        steady: SteadyMillis(1_700_000_000_001),
        wall: UnixMillis(1_700_000_000_002),
    };
    let position = Position {
        segment: 3,
        offset: 4_096,
    };
    let (id, due) = (
        WebhookId(0x0192_f0c1_d2e3_7000_8000_0000_0000_000a),
        SteadyMillis(1_700_000_000_000),
    );
    let fault = Attempt {
        number: 1,
        outcome: Outcome::Fault {
            kind: FaultKind::Tls,
            detail: "expired".to_owned(),
        },
        phases: Phases {
            dns_us: Some(1),
            connect_us: Some(2),
            tls_us: None,
            first_byte_us: None,
            total_us: 9,
        },
        response: None,
        ..attempt(0)
    };
    let success = Attempt {
        number: 2,
        trigger: Trigger::Manual,
        ..attempt(200)
    };
    vec![
        (
            "accepted",
            Record::Accepted {
                event: Arc::new(event("evt_1", "{\"n\":1}")),
                webhooks: vec![id],
                due,
                client_id: true,
            },
        ),
        (
            "attempted",
            Record::Attempted {
                webhook: id,
                event: position,
                due,
                attempt: fault,
                run_attempts: 1,
                next_due: due.plus(5_000),
                at,
            },
        ),
        (
            "ended_delivered",
            Record::Ended {
                webhook: id,
                event: position,
                due,
                attempt: success.clone(),
                end: End::Delivered,
                at,
            },
        ),
        (
            "ended_failed",
            Record::Ended {
                webhook: id,
                event: position,
                due,
                attempt: success.clone(),
                end: End::Failed(EndReason::Gone),
                at,
            },
        ),
        (
            "ended_unreadable",
            Record::Ended {
                webhook: id,
                event: position,
                due,
                attempt: attempt(0),
                end: End::Failed(EndReason::Unreadable),
                at,
            },
        ),
        (
            "requeued",
            Record::Requeued {
                webhook: id,
                event: position,
                from: Some(due),
                due: due.plus(1),
                attempts: 2,
                run_attempts: 1,
                at,
            },
        ),
        (
            "webhook_put",
            Record::WebhookPut {
                webhook: webhook(7).into(),
                at,
            },
        ),
        (
            "webhook_removed",
            Record::WebhookRemoved { webhook: id, at },
        ),
        (
            "webhook_forgotten",
            Record::WebhookForgotten { webhook: id, at },
        ),
        (
            "cancelled",
            Record::Cancelled {
                webhook: id,
                entries: vec![Cancellation {
                    due,
                    event: position,
                    attempts: 3,
                }],
                reason: EndReason::Expired,
                at,
            },
        ),
        (
            "snapshot",
            Record::Snapshot {
                rows: vec![
                    Row {
                        webhook: webhook(8),
                        removed: true,
                    }
                    .into(),
                ],
                at,
            },
        ),
        (
            "webhook_stored",
            Record::WebhookStored {
                webhook: Webhook {
                    order: Order::ByKey("/customer".to_owned()),
                    ..webhook(7)
                }
                .into(),
                at,
            },
        ),
        (
            "registry",
            Record::Registry {
                rows: vec![
                    Row {
                        webhook: Webhook {
                            order: Order::Fifo,
                            ..webhook(8)
                        },
                        removed: true,
                    }
                    .into(),
                ],
                at,
            },
        ),
        (
            "deferred",
            Record::Deferred {
                webhook: id,
                event: position,
                due,
                attempt: Attempt {
                    trigger: Trigger::Probe,
                    ..success
                },
                run_attempts: 1,
                not_before: due.plus(5_000),
                at,
            },
        ),
        ("job_stored", Record::JobStored { job: job(), at }),
        (
            "job_stepped",
            Record::JobStepped {
                job: Job {
                    state: JobState::Done,
                    kind: JobKind::Rematch { only: None },
                    ended_at: Some(at.wall),
                    ..job()
                },
                queued: vec![Queued {
                    webhook: id,
                    event: position,
                    attempts: 2,
                    added: true,
                }],
                due,
                at,
            },
        ),
        ("job_forgotten", Record::JobForgotten { job: job().id, at }),
        (
            "jobs",
            Record::Jobs {
                jobs: vec![job()],
                at,
            },
        ),
        (
            "webhook_kept",
            Record::WebhookKept {
                webhook: with_token().into(),
                at,
            },
        ),
        (
            "roster",
            Record::Roster {
                rows: vec![
                    Row {
                        webhook: with_token(),
                        removed: true,
                    }
                    .into(),
                ],
                at,
            },
        ),
        (
            "audited",
            Record::Audited {
                entry: AuditEntry {
                    account: AccountName::new("acme").unwrap(),
                    actor: Actor::Key {
                        name: "backend".to_owned(),
                        address: Some([192, 0, 2, 7].into()),
                    },
                    action: AuditAction::ProfileChanged,
                    webhook: Some(id),
                    subject: Some("evt_1".to_owned()),
                    details: vec!["url".to_owned()],
                },
                at,
            },
        ),
        (
            "attempted_without_token",
            Record::Attempted {
                webhook: id,
                event: position,
                due,
                attempt: Attempt {
                    outcome: Outcome::Fault {
                        kind: FaultKind::Token,
                        detail: "401".to_owned(),
                    },
                    ..attempt(0)
                },
                run_attempts: 1,
                next_due: due.plus(5_000),
                at,
            },
        ),
        (
            "accepted_traced",
            Record::AcceptedTraced {
                event: Arc::new(Event {
                    trace: Some(trace()),
                    ..event("evt_1", "{\"n\":1}")
                }),
                trace: trace(),
                webhooks: vec![id],
                due,
                client_id: true,
            },
        ),
        (
            "webhook_saved",
            Record::WebhookSaved {
                webhook: declared(),
                at,
            },
        ),
        (
            "webhooks",
            Record::Webhooks {
                rows: vec![Row {
                    webhook: declared(),
                    removed: true,
                }],
                at,
            },
        ),
    ]
}

fn trace() -> TraceContext {
    TraceContext {
        trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
        parent_id: 0xb7ad_6b71_6920_3331,
        flags: 1,
        state: Some("a=b".to_owned()),
    }
}

fn declared() -> Webhook {
    Webhook {
        declared: Some("orders".to_owned()),
        inactive: Some(Inactive {
            reason: InactiveReason::Undeclared,
            since: UnixMillis(1_700_000_000_003),
        }),
        ..with_token()
    }
}

fn with_token() -> Webhook {
    Webhook {
        tls: Some("partner".to_owned()),
        oauth2: Some(OAuth2 {
            token_url: Endpoint::parse("https://id.example.com/token").unwrap(),
            client_id: "hookwheel".to_owned(),
            client_secret: Secret::new("s3cret".to_owned()),
            scope: Some("events".to_owned()),
            audience: None,
            client_auth: ClientAuth::Body,
        }),
        ..webhook(9)
    }
}

fn job() -> Job {
    let position = |offset| Position { segment: 3, offset };
    Job {
        id: JobId(0x0192_f0c1_d2e3_7000_8000_0000_0000_000b),
        account: AccountName::new("acme").unwrap(),
        kind: JobKind::Resend {
            from: WebhookId(7),
            to: WebhookId(8),
        },
        filter: JobFilter {
            since: Some(UnixMicros(1_700_000_000_000_000)),
            until: None,
            states: vec!["failed".to_owned()],
            types: vec!["a.b".to_owned()],
        },
        per_second: 100,
        state: JobState::Running,
        next: position(4_096),
        end: position(9_000),
        matched: 3,
        queued: 2,
        skipped: 1,
        created_at: UnixMillis(1_700_000_000_000),
        ended_at: None,
    }
}

/// The versions of the encoding that were ever released, and the one that is written.
const VERSIONS: [u8; 5] = [1, 2, 3, 4, 5];
const WRITTEN: u8 = 5;
/// Kinds of records that only versions before 3 have written.
const BEFORE_3: [&str; 2] = ["webhook_put", "snapshot"];
/// How many kinds the first two versions had; those after them came with version 3.
const KINDS_BEFORE_3: usize = 11;
/// Kinds of records that only version 3 has written.
const ONLY_3: [&str; 2] = ["webhook_stored", "registry"];
/// How many there were before version 4.
const KINDS_BEFORE_4: usize = 18;
/// Kinds of records that only version 4 has written.
const ONLY_4: [&str; 2] = ["webhook_kept", "roster"];
/// How many there were before version 5.
const KINDS_BEFORE_5: usize = 22;

#[test]
fn records_of_every_version_decode() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/records");
    let mut checked = 0;
    for (at, (name, record)) in records().into_iter().enumerate() {
        let mut bytes = Vec::new();
        encode_record(&record, &mut bytes).unwrap();
        assert_eq!(bytes[0], WRITTEN);
        for version in VERSIONS {
            let had = match version {
                1 | 2 => at < KINDS_BEFORE_3,
                3 => at < KINDS_BEFORE_4 && !BEFORE_3.contains(&name),
                4 => at < KINDS_BEFORE_5 && !BEFORE_3.contains(&name) && !ONLY_3.contains(&name),
                _ => ![BEFORE_3, ONLY_3, ONLY_4].concat().contains(&name),
            };
            if !had {
                continue;
            }
            let path = directory.join(format!("v{version}_{name}.hex"));
            let missing = version == WRITTEN && !path.exists();
            if missing && std::env::var_os("HOOKWHEEL_WRITE_GOLDEN").is_some() {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                std::fs::write(&path, hex + "\n").unwrap();
            }
            let golden = unhex(std::fs::read_to_string(&path).unwrap().trim());
            assert_eq!(golden[0], version, "{name}");
            assert_eq!(decode_record(&golden).unwrap(), record, "{name}");
            assert!(check_known(&golden).is_ok(), "{name}");
            if version == WRITTEN {
                assert_eq!(
                    golden, bytes,
                    "{name} is written otherwise now; that needs a new version"
                );
            }
            checked += 1;
        }
    }
    let files = std::fs::read_dir(&directory).unwrap().count();
    assert_eq!((checked, files), (75, 75));
}

#[test]
fn what_is_no_record_is_refused() {
    for (name, record) in records() {
        let mut bytes = Vec::new();
        encode_record(&record, &mut bytes).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode_record(&bytes[..cut]).is_err(), "{name} cut at {cut}");
        }
        bytes.push(0);
        assert!(decode_record(&bytes).is_err(), "{name} with a byte more");
        bytes[0] = 9;
        assert!(matches!(decode_record(&bytes), Err(CodecError::Version(9))));
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
