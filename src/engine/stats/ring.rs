//! What happened to one webhook's deliveries over the last hour and the last day, in slots of time that are used
//! again. Pure: the caller says what time it is.
//!
//! Invariant: a sum covers the slot of now and those before it that make up the window, so all of the window but at
//! most the first slot's length of it. A slot takes memory once something happens in it: a webhook that is busy all
//! day has about 7 kB, most have far less.

use crate::model::{EndReason, FaultKind, Outcome, SteadyMillis, UnixMillis};

/// The hour's slots.
const HOUR_SLOTS: usize = 12;
const HOUR_SLOT_MS: u64 = 300_000;
/// The day's slots.
pub(super) const DAY_SLOTS: usize = 24;
pub(super) const DAY_SLOT_MS: u64 = 3_600_000;

/// Bins of a histogram whose bounds double: from `RESPONSE_UNIT_US` on up to a minute, which no timeout exceeds by
/// much, and from 1 ms and `LATER_UNIT_MS` on up to 18 hours. The last one has no upper bound.
const RESPONSE_BINS: usize = 20;
const FIRST_BINS: usize = 28;
const LATER_BINS: usize = 20;
const RESPONSE_UNIT_US: u64 = 256;
const LATER_UNIT_MS: u64 = 256;
/// A later delivery's bin is this many further in the first ones' bins: 256 ms are 2^8 ms.
const LATER_SHIFT: usize = FIRST_BINS - LATER_BINS;

/// How a delivery ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Ending {
    Delivered,
    Failed,
    Dropped,
    Expired,
    Cancelled,
}

impl Ending {
    pub(in crate::engine) const fn of(reason: EndReason) -> Self {
        match reason {
            EndReason::Exhausted | EndReason::Gone | EndReason::Unreadable => Self::Failed,
            EndReason::WebhookRemoved | EndReason::Discarded => Self::Cancelled,
            EndReason::Expired => Self::Expired,
            EndReason::OverRate => Self::Dropped,
        }
    }
}

/// An attempt as it is counted.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Sample {
    /// When it ended, as people are shown it.
    pub(in crate::engine) at: UnixMillis,
    pub(in crate::engine) outcome: Said,
    pub(in crate::engine) succeeded: bool,
    /// How long it took.
    pub(in crate::engine) took_us: u32,
    /// How the delivery ended with it, if it did.
    pub(in crate::engine) ending: Option<Ending>,
    /// From the event's arrival to a delivery by the schedule, milliseconds; `first`: by the first attempt.
    pub(in crate::engine) arrived_ms: Option<u64>,
    pub(in crate::engine) first: bool,
}

/// What an attempt met, without the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// This status.
    Status(u16),
    /// No usable answer.
    Fault(FaultKind),
}

impl Said {
    pub(in crate::engine) const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Status(code) => Self::Status(*code),
            Outcome::Fault { kind, .. } => Self::Fault(*kind),
        }
    }

    /// Whether its time says how long the receiver takes to answer.
    const fn is_timed(self) -> bool {
        matches!(self, Self::Status(_) | Self::Fault(FaultKind::Timeout))
    }
}

/// Counts of values by size. Bin 0 is below one unit, bin k from 2^(k-1) to 2^k units.
#[derive(Clone, Debug)]
struct Histogram<const BINS: usize> {
    bins: [u16; BINS],
    /// Each count stands for 2^this values: when a bin is full all are halved, and of what comes later each 2^this-th
    /// is counted.
    halvings: u8,
    passed: u16,
}

impl<const BINS: usize> Histogram<BINS> {
    const EMPTY: Self = Self {
        bins: [0; BINS],
        halvings: 0,
        passed: 0,
    };
    /// Beyond it a slot would have counted four thousand million values.
    const HALVINGS_MAX: u8 = 15;

    fn add(&mut self, units: u64) {
        self.passed += 1;
        if u32::from(self.passed) < 1 << self.halvings {
            return;
        }
        self.passed = 0;
        let bin = (u64::BITS - units.leading_zeros()) as usize;
        let Some(count) = self.bins.get_mut(bin.min(BINS - 1)) else {
            return;
        };
        *count = count.saturating_add(1);
        if *count == u16::MAX && self.halvings < Self::HALVINGS_MAX {
            self.halvings += 1;
            for bin in &mut self.bins {
                *bin = bin.div_ceil(2);
            }
        }
    }

    fn add_to(&self, sums: &mut [u64; BINS]) {
        for (sum, count) in sums.iter_mut().zip(&self.bins) {
            *sum += u64::from(*count) << self.halvings;
        }
    }
}

/// What happened in one slot of time.
#[derive(Clone, Debug)]
struct Slot {
    number: u64,
    attempts: u32,
    succeeded: u32,
    /// By [`Ending`].
    ended: [u32; 5],
    response: Histogram<RESPONSE_BINS>,
    first: Histogram<FIRST_BINS>,
    later: Histogram<LATER_BINS>,
}

impl Slot {
    const fn new(number: u64) -> Self {
        Self {
            number,
            attempts: 0,
            succeeded: 0,
            ended: [0; 5],
            response: Histogram::EMPTY,
            first: Histogram::EMPTY,
            later: Histogram::EMPTY,
        }
    }

    fn attempted(&mut self, sample: &Sample) {
        self.attempts = self.attempts.saturating_add(1);
        self.succeeded = self.succeeded.saturating_add(u32::from(sample.succeeded));
        if sample.outcome.is_timed() {
            self.response
                .add(u64::from(sample.took_us) / RESPONSE_UNIT_US);
        }
        if let Some(ending) = sample.ending {
            self.ended(ending, 1);
        }
        match sample.arrived_ms {
            Some(ms) if sample.first => self.first.add(ms),
            Some(ms) => self.later.add(ms / LATER_UNIT_MS),
            None => {}
        }
    }

    fn count(&self, ending: Ending) -> u64 {
        let count = self.ended.get(ending as usize);
        count.copied().unwrap_or_default().into()
    }

    fn ended(&mut self, ending: Ending, count: u32) {
        if let Some(ended) = self.ended.get_mut(ending as usize) {
            *ended = ended.saturating_add(count);
        }
    }
}

/// The slots of one window.
#[derive(Clone, Debug)]
struct Slots<const COUNT: usize> {
    slots: [Option<Box<Slot>>; COUNT],
}

impl<const COUNT: usize> Slots<COUNT> {
    const EMPTY: Self = Self {
        slots: [const { None }; COUNT],
    };

    fn at(&mut self, number: u64) -> &mut Slot {
        let at = usize::try_from(number % COUNT as u64).unwrap_or(0);
        let place = self
            .slots
            .get_mut(at)
            .expect("a remainder is below its divisor");
        let slot = place.get_or_insert_with(|| Box::new(Slot::new(number)));
        if slot.number != number {
            **slot = Slot::new(number);
        }
        slot
    }

    /// Those of the window that ends with the slot `now`.
    fn of_window(&self, now: u64) -> impl Iterator<Item = &Slot> {
        let slots = self.slots.iter().flatten().map(|slot| &**slot);
        slots.filter(move |slot| slot.number <= now && slot.number + COUNT as u64 > now)
    }

    fn add_to(&self, now: u64, sum: &mut Sum) {
        for slot in self.of_window(now) {
            sum.add(slot);
        }
    }
}

/// One webhook's figures.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    hour: Slots<HOUR_SLOTS>,
    day: Slots<DAY_SLOTS>,
    /// From when on all is counted.
    pub(super) since: SteadyMillis,
    /// When something was counted last.
    pub(super) used: SteadyMillis,
    pub(super) last_success: Option<UnixMillis>,
    pub(super) last_failure: Option<(UnixMillis, Said)>,
}

impl Ring {
    pub(super) const fn new(since: SteadyMillis) -> Self {
        Self {
            hour: Slots::EMPTY,
            day: Slots::EMPTY,
            since,
            used: since,
            last_success: None,
            last_failure: None,
        }
    }

    pub(super) fn attempted(&mut self, now: SteadyMillis, sample: &Sample) {
        self.used = now;
        self.hour.at(now.0 / HOUR_SLOT_MS).attempted(sample);
        self.day.at(now.0 / DAY_SLOT_MS).attempted(sample);
        if sample.succeeded {
            self.last_success = Some(sample.at);
        } else {
            self.last_failure = Some((sample.at, sample.outcome));
        }
    }

    /// Deliveries that ended without an attempt.
    pub(super) fn ended(&mut self, now: SteadyMillis, ending: Ending, count: u32) {
        self.used = now;
        self.hour.at(now.0 / HOUR_SLOT_MS).ended(ending, count);
        self.day.at(now.0 / DAY_SLOT_MS).ended(ending, count);
    }

    pub(super) fn add_hour(&self, now: SteadyMillis, sum: &mut Sum) {
        self.hour.add_to(now.0 / HOUR_SLOT_MS, sum);
    }

    pub(super) fn add_day(&self, now: SteadyMillis, sum: &mut Sum) {
        self.day.add_to(now.0 / DAY_SLOT_MS, sum);
    }

    /// Adds the day's slots one by one, the oldest first: the last one is that of now.
    pub(super) fn add_hours(&self, now: SteadyMillis, hours: &mut [Hour; DAY_SLOTS]) {
        let now = now.0 / DAY_SLOT_MS;
        for slot in self.day.of_window(now) {
            let back = usize::try_from(now - slot.number).unwrap_or(DAY_SLOTS);
            if let Some(hour) = hours.iter_mut().rev().nth(back) {
                hour.attempts += u64::from(slot.attempts);
                hour.succeeded += u64::from(slot.succeeded);
                hour.delivered += slot.count(Ending::Delivered);
                hour.failed += slot.count(Ending::Failed);
            }
        }
    }
}

/// What happened in one hour of the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Attempts.
    pub attempts: u64,
    /// Of these, the ones that the profile takes for success.
    pub succeeded: u64,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// That failed for good.
    pub failed: u64,
}

/// When the window begins that a sum at `now` covers.
pub(super) const fn hour_from(now: SteadyMillis) -> SteadyMillis {
    window_from(now, HOUR_SLOT_MS, HOUR_SLOTS as u64)
}

/// As [`hour_from`], for the day.
pub(super) const fn day_from(now: SteadyMillis) -> SteadyMillis {
    window_from(now, DAY_SLOT_MS, DAY_SLOTS as u64)
}

const fn window_from(now: SteadyMillis, length_ms: u64, count: u64) -> SteadyMillis {
    SteadyMillis((now.0 / length_ms + 1).saturating_sub(count) * length_ms)
}

/// What happened in a window, for one webhook or several.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) attempts: u64,
    pub(super) succeeded: u64,
    ended: [u64; 5],
    response: [u64; RESPONSE_BINS],
    first: [u64; FIRST_BINS],
    later: [u64; LATER_BINS],
}

/// How long something took: half of it no longer than `p50_ms`, and so on, as near as bins tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50_ms: f64,
    /// 95 of 100 took no longer.
    pub p95_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
}

impl Sum {
    fn add(&mut self, slot: &Slot) {
        self.attempts += u64::from(slot.attempts);
        self.succeeded += u64::from(slot.succeeded);
        for (sum, count) in self.ended.iter_mut().zip(&slot.ended) {
            *sum += u64::from(*count);
        }
        slot.response.add_to(&mut self.response);
        slot.first.add_to(&mut self.first);
        slot.later.add_to(&mut self.later);
    }

    pub(super) fn ended(&self, ending: Ending) -> u64 {
        self.ended.get(ending as usize).copied().unwrap_or_default()
    }

    /// How long attempts took that were answered or timed out.
    pub(super) fn response(&self) -> Option<Percentiles> {
        percentiles(&self.response, RESPONSE_UNIT_US as f64 / 1_000.0)
    }

    /// From arrival to delivery, of what was delivered by the first attempt.
    pub(super) fn first(&self) -> Option<Percentiles> {
        percentiles(&self.first, 1.0)
    }

    /// From arrival to delivery.
    pub(super) fn arrived(&self) -> Option<Percentiles> {
        let mut all = self.first;
        for (sum, count) in all.iter_mut().skip(LATER_SHIFT).zip(&self.later) {
            *sum += count;
        }
        percentiles(&all, 1.0)
    }
}

/// `None` where there is nothing.
fn percentiles(bins: &[u64], unit_ms: f64) -> Option<Percentiles> {
    let total: u64 = bins.iter().sum();
    let at = |percent: u64| {
        let rank = (total * percent).div_ceil(100);
        let (mut before, mut low, mut high) = (0, 0.0, unit_ms);
        let mut rest = bins.iter();
        while let Some(count) = rest.next() {
            if before + count >= rank {
                let open = rest.as_slice().is_empty();
                let part = (rank - before) as f64 / *count as f64;
                return if open {
                    low
                } else {
                    (high - low).mul_add(part, low)
                };
            }
            before += count;
            (low, high) = (high, high * 2.0);
        }
        low
    };
    (total > 0).then(|| Percentiles {
        p50_ms: at(50),
        p95_ms: at(95),
        p99_ms: at(99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(took_us: u32, arrived_ms: u64, first: bool) -> Sample {
        Sample {
            at: UnixMillis(7),
            outcome: Said::Status(200),
            succeeded: true,
            took_us,
            ending: Some(Ending::Delivered),
            arrived_ms: Some(arrived_ms),
            first,
        }
    }

    fn failure() -> Sample {
        Sample {
            at: UnixMillis(9),
            outcome: Said::Fault(FaultKind::Connect),
            succeeded: false,
            took_us: 10,
            ending: None,
            arrived_ms: None,
            first: false,
        }
    }

    fn hour(ring: &Ring, now: u64) -> Sum {
        let mut sum = Sum::default();
        ring.add_hour(SteadyMillis(now), &mut sum);
        sum
    }

    fn day(ring: &Ring, now: u64) -> Sum {
        let mut sum = Sum::default();
        ring.add_day(SteadyMillis(now), &mut sum);
        sum
    }

    const HOUR: u64 = 3_600_000;
    const START: u64 = 1_700_000_000_000 / DAY_SLOT_MS * DAY_SLOT_MS;

    #[test]
    fn hours_are_told_one_by_one_and_what_is_a_day_old_is_not() {
        let mut ring = Ring::new(SteadyMillis(0));
        let hour = |number: u64| SteadyMillis(number * DAY_SLOT_MS + 7);
        for number in [100, 101, 101, 123, 124, 124, 124] {
            ring.attempted(hour(number), &success(1_000, 5, true));
        }
        ring.ended(hour(124), Ending::Failed, 2);
        let hours = |now| {
            let mut hours = [Hour::default(); DAY_SLOTS];
            ring.add_hours(now, &mut hours);
            hours
        };
        let now = hours(hour(124));
        assert_eq!(now.map(|hour| hour.attempts).iter().sum::<u64>(), 6);
        assert_eq!(
            (now[0].attempts, now[1].attempts, now[22].attempts),
            (2, 0, 1)
        );
        let last = Hour {
            attempts: 3,
            succeeded: 3,
            delivered: 3,
            failed: 2,
        };
        assert_eq!(now[23], last);
        let later = hours(hour(146));
        assert_eq!((later[0].attempts, later[1]), (1, last));
        assert_eq!(hours(hour(148)), [Hour::default(); DAY_SLOTS]);
    }

    #[test]
    fn what_happened_leaves_the_hour_before_it_leaves_the_day() {
        let mut ring = Ring::new(SteadyMillis(START));
        ring.attempted(SteadyMillis(START), &success(1_000, 5, true));
        ring.attempted(SteadyMillis(START + 10), &failure());
        ring.ended(SteadyMillis(START + 20), Ending::Dropped, 7);
        for now in [START, START + 20, START + HOUR - 1] {
            let sum = hour(&ring, now);
            assert_eq!((sum.attempts, sum.succeeded), (2, 1), "{now}");
            assert_eq!(
                (sum.ended(Ending::Delivered), sum.ended(Ending::Dropped)),
                (1, 7)
            );
        }
        assert_eq!(hour(&ring, START + HOUR).attempts, 0);
        assert_eq!(day(&ring, START + HOUR).attempts, 2);
        assert_eq!(day(&ring, START + 24 * HOUR - 1).ended(Ending::Dropped), 7);
        let gone = day(&ring, START + 24 * HOUR);
        assert_eq!((gone.attempts, gone.ended(Ending::Dropped)), (0, 0));
        assert_eq!(
            (gone.response(), gone.first(), gone.arrived()),
            (None, None, None)
        );
        assert_eq!(ring.last_success, Some(UnixMillis(7)));
        let refused = Said::Fault(FaultKind::Connect);
        assert_eq!(ring.last_failure, Some((UnixMillis(9), refused)));
    }

    #[test]
    fn a_slot_that_comes_round_again_begins_anew_after_any_gap() {
        let mut ring = Ring::new(SteadyMillis(START));
        // One each ten minutes for three days: the sums are those of the windows, however often slots come round.
        for step in 0..3 * 144 {
            let now = START + step * 600_000;
            ring.attempted(SteadyMillis(now), &failure());
            assert_eq!(hour(&ring, now).attempts, (step + 1).min(6));
            let in_day = step.min(23 * 6 + step % 6) + 1;
            assert_eq!(day(&ring, now).attempts, in_day, "{step}");
        }
        // A gap of exactly so many rounds that the same slot is met, and of years.
        for gap in [HOUR, 24 * HOUR, 10_000 * 24 * HOUR] {
            let now = ring.used.0 + gap;
            ring.attempted(SteadyMillis(now), &failure());
            assert_eq!(hour(&ring, now).attempts, 1, "{gap}");
        }
        assert_eq!(day(&ring, ring.used.0).attempts, 1);
    }

    #[test]
    fn a_window_begins_with_its_first_slot() {
        let now = SteadyMillis(START + 3 * HOUR + 299_999);
        assert_eq!(
            hour_from(now),
            SteadyMillis(START + 3 * HOUR + 300_000 - HOUR)
        );
        assert_eq!(day_from(now), SteadyMillis(START + 4 * HOUR - 24 * HOUR));
        assert_eq!(day_from(SteadyMillis(5)), SteadyMillis(0));
    }

    #[test]
    fn percentiles_lie_within_the_bin_of_the_value() {
        let mut ring = Ring::new(SteadyMillis(START));
        let now = SteadyMillis(START);
        for number in 0..1_000_u32 {
            // 1 ms, but 3 of 100 take 300 ms; one in a hundred arrives after two minutes, by a retry.
            let took_us = if number % 100 < 3 { 300_000 } else { 1_000 };
            let late = number % 100 == 50;
            let arrived_ms = if late { 120_000 } else { 6 };
            ring.attempted(now, &success(took_us, arrived_ms, !late));
        }
        let sum = hour(&ring, START);
        let near = |shown: f64, value: f64| {
            assert!(
                shown >= value / 2.0 && shown <= value * 2.0,
                "{shown} for {value}"
            );
        };
        let response = sum.response().unwrap();
        near(response.p50_ms, 1.0);
        near(response.p95_ms, 1.0);
        near(response.p99_ms, 300.0);
        let first = sum.first().unwrap();
        near(first.p99_ms, 6.0);
        let all = sum.arrived().unwrap();
        near(all.p50_ms, 6.0);
        near(all.p99_ms, 6.0);
        for _ in 0..100 {
            ring.attempted(now, &success(1_000, 120_000, false));
        }
        near(hour(&ring, START).arrived().unwrap().p95_ms, 120_000.0);
        // Days are shown as the last bin's lower bound.
        let mut slow = Ring::new(now);
        slow.attempted(now, &success(u32::MAX, u64::MAX, false));
        assert_eq!(hour(&slow, START).arrived().unwrap().p50_ms, 67_108_864.0);
        assert_eq!(hour(&slow, START).response().unwrap().p50_ms, 67_108.864);
    }

    #[test]
    fn a_full_histogram_halves_and_keeps_its_shape() {
        let mut histogram = Histogram::<FIRST_BINS>::EMPTY;
        let total = 1_000_000;
        for number in 0..total {
            histogram.add(if number % 50 == 0 { 5_000 } else { 3 });
        }
        let mut sums = [0; FIRST_BINS];
        histogram.add_to(&mut sums);
        let counted: u64 = sums.iter().sum();
        assert!(counted.abs_diff(total) < total / 100, "{counted}");
        assert!(histogram.halvings >= 4);
        // 2 of 100, as near as one in sixteen that is looked at tells.
        assert!((10_000..40_000).contains(&sums[13]), "{sums:?}");
    }

    #[test]
    fn a_busy_webhook_has_a_bounded_size() {
        let slots = (HOUR_SLOTS + DAY_SLOTS) * size_of::<Slot>();
        assert!(
            slots + size_of::<Ring>() < 7_500,
            "{slots} {}",
            size_of::<Ring>()
        );
    }
}
