//! What a profile costs: rendering and signing an event of 1 KiB, beside the bare HMAC-SHA256 of its body.
//!
//! Every request has to be hashed once, whatever the design; the figure is how many such hashes the whole
//! making of a request costs. Profiles and the bare hash take turns, block by block, so that all see the
//! same machine, and the fastest block of each counts: what disturbs a block only makes it slower.
//!
//! `cargo bench --bench contract`; `HOOKWHEEL_BENCH_BLOCKS` sets the number of blocks (default 200).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints and stops at the first surprise"
)]

use std::hint::black_box;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac as _};
use hookwheel::model::{AccountName, Event, EventId, Secret, UnixMicros};
use hookwheel::profile::{Profile, Profiles};
use hookwheel::render::{self, Envelope, ecma};
use hookwheel::sign::{SignContext, Signer};
use sha2::Sha256;
use tokio::time::Instant;

/// Bytes of the event's data.
const DATA_BYTES: usize = 1024;
/// Rounds in one block: some milliseconds, far over the clock's step.
const BLOCK: u32 = 500;

/// One profile's contract, ready, with the times of its fastest blocks.
struct Contract {
    name: String,
    envelope: Envelope,
    signer: Signer,
    secret: Secret,
    event: Event,
    body: String,
    render: Duration,
    both: Duration,
    bare: Duration,
}

fn main() {
    // `cargo bench` says so; `cargo test --benches` only wants it to start.
    let blocks = if std::env::args().any(|argument| argument == "--bench") {
        std::env::var("HOOKWHEEL_BENCH_BLOCKS").map_or(200, |text| text.parse().unwrap())
    } else {
        1
    };
    let profiles = Profiles::built_in();
    let mut envelopes = render::compile_all(&profiles).unwrap();
    let mut contracts: Vec<Contract> = profiles
        .iter()
        .map(|profile| contract(profile, envelopes.remove(&profile.name).unwrap()))
        .collect();
    for _ in 0..blocks {
        for contract in &mut contracts {
            measure(contract);
        }
    }
    report(&contracts);
}

fn contract(profile: &Profile, envelope: Envelope) -> Contract {
    let event = event(profile);
    Contract {
        name: profile.name.clone(),
        signer: Signer::compile(profile),
        secret: profile.secret.generate().unwrap(),
        body: envelope.render(&event).unwrap(),
        envelope,
        event,
        render: Duration::MAX,
        both: Duration::MAX,
        bare: Duration::MAX,
    }
}

/// An event whose data is of the size, made of what events are made of: the same parts for every profile.
fn event(profile: &Profile) -> Event {
    let mut rows = String::new();
    let part = |rows: &str| {
        let (alert, event) = (r#"{"id":"alert_1"}"#, r#"{"type":"schema_change"}"#);
        format!(r#"{{"alert":{alert},"event":{event},"links":{{"rows":[{rows}]}}}}"#)
    };
    for number in 0.. {
        let comma = if number > 0 { "," } else { "" };
        let row = format!(
            r#"{comma}{{"name":"column \"{number}\" añadida","kind":"varchar","size":{number}.5,"nullable":true}}"#
        );
        if part(&rows).len() + row.len() > DATA_BYTES {
            break;
        }
        rows.push_str(&row);
    }
    let data = ecma::normalise(&part(&rows)).unwrap();
    let example = render::example(
        profile,
        &AccountName::new("acme").unwrap(),
        EventId::generate(),
        UnixMicros(1_706_096_400_123_456),
    );
    Event {
        data: data.text,
        metadata: None,
        scope: None,
        ..example.unwrap()
    }
}

fn measure(contract: &mut Contract) {
    let Contract {
        envelope,
        signer,
        secret,
        event,
        body,
        ..
    } = &*contract;
    let context = SignContext {
        id: event.id.as_str(),
        event_type: &event.event_type,
        timestamp_s: 1_706_096_400,
        attempt: 1,
    };
    let render = time(|| {
        black_box(envelope.render(black_box(event)).unwrap());
    });
    let both = time(|| {
        let body = envelope.render(black_box(event)).unwrap();
        let signed = signer.sign(body.as_bytes(), &context, &[secret]);
        black_box(signed.unwrap());
    });
    let bare = time(|| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).unwrap();
        black_box(mac.chain_update(black_box(body.as_bytes())).finalize());
    });
    contract.render = contract.render.min(render);
    contract.both = contract.both.min(both);
    contract.bare = contract.bare.min(bare);
}

fn time(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..BLOCK {
        work();
    }
    start.elapsed() / BLOCK
}

fn report(contracts: &[Contract]) {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{:<14} {:>6} {:>10} {:>15} {:>10} {:>7}",
        "profile", "body", "render", "render + sign", "bare HMAC", "ratio"
    );
    for contract in contracts {
        println!(
            "{:<14} {:>4} B {:>7.2} µs {:>12.2} µs {:>7.2} µs {:>6.2}x",
            contract.name,
            contract.body.len(),
            us(contract.render),
            us(contract.both),
            us(contract.bare),
            us(contract.both) / us(contract.bare),
        );
    }
}
