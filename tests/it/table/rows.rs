//! The contracts' table as data, written from the products' pages and from what was decided where those are
//! silent; nothing here is read from the profiles.

use hmac::{Hmac, KeyInit, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// How a signature header's value looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 64 hex digits over the body.
    Hex,
    /// `sha256=` and 64 hex digits over the body.
    Prefixed,
    /// `t=<unix seconds>,v1=<hex>` over `<t>.` and the body.
    Timed,
    /// `v1,<base64>` over id, time and body; the key is the base64 behind `whsec_`.
    Standard,
}

/// One product's contract.
pub struct Row {
    pub profile: &'static str,
    /// The fields of a registration on the product's page, without `url`.
    pub registration: &'static str,
    pub events_required: bool,
    /// Types that may be posted and subscribed to; none: any.
    pub types: &'static [&'static str],
    /// Types that may be subscribed to only: they stand in `data.event.type`.
    pub inner_types: &'static [&'static str],
    pub scope_field: &'static str,
    /// The payload on the product's page, laid out as there.
    pub page: &'static str,
    /// The signature header, in lower case.
    pub header: &'static str,
    pub form: Form,
    pub secret_required: bool,
    /// A secret as the product's page shows it.
    pub secret: &'static str,
    /// Seconds before attempt 2, 3, …
    pub delays_s: &'static [u64],
    pub jitter_percent: u64,
    pub success: fn(u16) -> bool,
    pub timeout: &'static str,
}

const fn is_2xx(status: u16) -> bool {
    status / 100 == 2
}

const fn is_200(status: u16) -> bool {
    status == 200
}

pub const ROWS: [Row; 6] = [
    Row {
        profile: "driftlock",
        registration: r#"{"secret": "a-secret:given", "events": ["anomaly.detected"]}"#,
        events_required: true,
        types: &["anomaly.detected"],
        inner_types: &[],
        scope_field: "scope",
        page: include_str!("../../data/contracts/driftlock.json"),
        header: "x-driftlock-signature",
        form: Form::Hex,
        secret_required: false,
        secret: "whsec_not+base64:at-all!",
        delays_s: &[30, 2 * 60, 8 * 60, 32 * 60, 128 * 60],
        jitter_percent: 0,
        success: is_2xx,
        timeout: "10s",
    },
    Row {
        profile: "anomalyarmor",
        registration: r#"{"name": "Internal Alerting System", "headers": {"Authorization": "Bearer your-secret-token", "X-API-Key": "your-api-key"}}"#,
        events_required: false,
        types: &["alert.triggered"],
        inner_types: &[
            "schema_change",
            "freshness_violation",
            "discovery_complete",
            "connection_failed",
        ],
        scope_field: "scope",
        page: include_str!("../../data/contracts/anomalyarmor.json"),
        header: "x-anomalyarmor-signature",
        form: Form::Prefixed,
        secret_required: true,
        secret: "whsec_not+base64:at-all!",
        delays_s: &[60, 5 * 60, 15 * 60, 3600],
        jitter_percent: 0,
        success: is_2xx,
        timeout: "30s",
    },
    Row {
        profile: "dataflow",
        registration: r#"{"events": ["pipeline.run.completed", "pipeline.run.failed", "connection.status.changed"], "secret": "whsec_1a2b3c4d5e6f7g8h9i0j", "description": "Ours", "active": true}"#,
        events_required: true,
        types: &[
            "pipeline.run.started",
            "pipeline.run.completed",
            "pipeline.run.failed",
            "pipeline.created",
            "pipeline.updated",
            "pipeline.deleted",
            "connection.created",
            "connection.updated",
            "connection.deleted",
            "connection.status.changed",
            "connection.test.completed",
            "quality.rule.failed",
            "quality.threshold.exceeded",
            "quality.anomaly.detected",
        ],
        inner_types: &[],
        scope_field: "scope",
        page: include_str!("../../data/contracts/dataflow.json"),
        header: "x-dataflow-signature",
        form: Form::Timed,
        secret_required: true,
        secret: "whsec_1a2b3c4d5e6f7g8h9i0j",
        delays_s: &[60, 5 * 60, 15 * 60, 3600, 6 * 3600],
        jitter_percent: 0,
        success: is_200,
        timeout: "5s",
    },
    Row {
        profile: "flock",
        registration: r#"{"secret": "your-hmac-secret", "headers": {"Authorization": "Bearer your-token"}, "timeout": "30s", "retry": {"delays": ["1s", "2s", "4s"]}}"#,
        events_required: false,
        types: &["artifact.published"],
        inner_types: &[],
        scope_field: "scope",
        page: include_str!("../../data/contracts/flock.json"),
        header: "x-flock-signature",
        form: Form::Prefixed,
        secret_required: false,
        secret: "your-hmac-secret",
        delays_s: &[1, 2, 4],
        jitter_percent: 0,
        success: is_2xx,
        timeout: "30s",
    },
    Row {
        profile: "driftguard",
        registration: r#"{"events": ["breaking", "warning"], "contract_id": null}"#,
        events_required: true,
        types: &["breaking", "warning", "pass"],
        inner_types: &[],
        scope_field: "contract_id",
        page: include_str!("../../data/contracts/driftguard.json"),
        header: "x-driftguard-signature",
        form: Form::Hex,
        secret_required: true,
        secret: "whsec_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        delays_s: &[5, 25],
        jitter_percent: 0,
        success: is_2xx,
        timeout: "10s",
    },
    Row {
        profile: "standard",
        registration: r#"{"events": ["user.*"], "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}"#,
        events_required: false,
        types: &[],
        inner_types: &[],
        scope_field: "scope",
        page: include_str!("../../data/contracts/standard.json"),
        header: "webhook-signature",
        form: Form::Standard,
        secret_required: true,
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        delays_s: &[
            5,
            5 * 60,
            30 * 60,
            2 * 3600,
            5 * 3600,
            10 * 3600,
            14 * 3600,
            20 * 3600,
            24 * 3600,
        ],
        jitter_percent: 20,
        success: is_2xx,
        timeout: "20s",
    },
];

impl Row {
    /// The type of the page's example.
    pub fn some_type(&self) -> String {
        self.event()["type"].as_str().unwrap().to_owned()
    }

    /// The least registration there is, for one type.
    pub fn least(&self, url: &str) -> Value {
        json!({ "url": url, "events": [self.some_type()] })
    }

    /// The body that a receiver gets for the page's example: the page's, without its white space.
    pub fn body(&self) -> String {
        serde_json::from_str::<Value>(self.page)
            .unwrap()
            .to_string()
    }

    /// The event that the page's example is the body of.
    pub fn event(&self) -> Value {
        let page: Value = serde_json::from_str(self.page).unwrap();
        match self.profile {
            "anomalyarmor" => json!({
                "type": page["event_type"],
                "data": { "alert": page["alert"], "event": page["event"], "links": page["links"] },
            }),
            "flock" => json!({
                "type": page["event"], "created_at": page["timestamp"], "data": page["artifact"],
            }),
            "standard" => json!({
                "type": page["type"], "created_at": page["timestamp"], "data": page["data"],
            }),
            // These are posted with the names that the receiver sees.
            _ => page,
        }
    }

    /// The signature header's value for a body, as a receiver computes it that holds the page's secret.
    pub fn signature(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD as BASE64;
        let key = match self.form {
            Form::Standard => BASE64.decode(&self.secret["whsec_".len()..]).unwrap(),
            Form::Hex | Form::Prefixed | Form::Timed => self.secret.as_bytes().to_vec(),
        };
        let mac = |before: String| {
            Hmac::<Sha256>::new_from_slice(&key)
                .unwrap()
                .chain_update(before)
                .chain_update(body)
                .finalize()
                .into_bytes()
                .to_vec()
        };
        let hex = |bytes: Vec<u8>| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        match self.form {
            Form::Hex => hex(mac(String::new())),
            Form::Prefixed => format!("sha256={}", hex(mac(String::new()))),
            Form::Timed => format!("t={timestamp},v1={}", hex(mac(format!("{timestamp}.")))),
            Form::Standard => format!("v1,{}", BASE64.encode(mac(format!("{id}.{timestamp}.")))),
        }
    }
}
