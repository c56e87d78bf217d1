//! Time: wall-clock instants, the daemon's own steady time, and the one place that reads either.
//!
//! Two clocks, never mixed. [`UnixMillis`] and [`UnixMicros`] are wall-clock instants: they are shown to
//! people and put into signatures. [`SteadyMillis`] is the queue's time and history's: it first starts at the wall
//! clock, runs on the monotonic clock, and never goes back, not even over a restart (the store hands the last
//! times it saw to [`Clock::going_on`]). Due times are steady, and so is the age of history, so a wall clock
//! that jumps moves no retry and deletes nothing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A wall-clock instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct UnixMillis(pub u64);

/// A wall-clock instant: microseconds since 1970-01-01T00:00:00Z, as an event's `created_at`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct UnixMicros(pub i64);

/// The queue's time in milliseconds: monotonic, never going back over a restart; the wall clock's where that
/// never jumped and the daemon was never down for long.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct SteadyMillis(pub u64);

/// A time or duration text that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not an RFC 3339 instant.
    #[error("`{0}` is not an RFC 3339 time such as 2026-01-31T12:00:00Z")]
    Instant(String),
    /// Not a duration with a unit.
    #[error("`{0}` is not a duration; write a number and a unit: 250ms, 5s, 2m, 1h, 7d")]
    Duration(String),
}

impl UnixMillis {
    /// Whole seconds since the epoch, as signatures carry them.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The same instant in microseconds.
    #[must_use]
    pub fn micros(self) -> UnixMicros {
        UnixMicros(i64::try_from(self.0.saturating_mul(1000)).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for UnixMillis {
    /// RFC 3339, UTC, with three digits of the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(i64::try_from(self.0).unwrap_or(i64::MAX)) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl UnixMicros {
    /// Reads an RFC 3339 instant; what is finer than a microsecond is cut off.
    ///
    /// # Errors
    /// [`TimeError::Instant`] where the text is none.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        /// The beginning of the year 0, the first that RFC 3339 can write.
        const FIRST: UnixMicros = UnixMicros(-62_167_219_200_000_000);
        let refused = || TimeError::Instant(text.to_owned());
        let at: jiff::Timestamp = text.parse().map_err(|_| refused())?;
        let at = Self(at.as_microsecond());
        // Cut off, the very last instant is one that cannot be shown.
        if at < FIRST || jiff::Timestamp::from_microsecond(at.0).is_err() {
            return Err(refused());
        }
        Ok(at)
    }

    /// RFC 3339 in UTC with `digits` (0, 3 or 6) digits of the second.
    #[must_use]
    pub fn rfc3339(self, digits: u8) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => match digits {
                0 => format!("{at:.0}"),
                3 => format!("{at:.3}"),
                _ => format!("{at:.6}"),
            },
            Err(_) => format!("{} us", self.0),
        }
    }
}

impl SteadyMillis {
    /// This instant and `delay_ms` more, saturating.
    #[must_use]
    pub const fn plus(self, delay_ms: u64) -> Self {
        Self(self.0.saturating_add(delay_ms))
    }

    /// Milliseconds from `earlier` to this instant; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Of the time between two processes this much is counted, milliseconds. What is more may be a long stop or a wall
/// clock that was set wrong; taking the one for the other would make ten years of a typing mistake, and history
/// and what waits would be older than any limit.
const DOWN_MAX_MS: u64 = 24 * 3_600_000;

/// Where the time comes from. Cheap to clone; all clones agree.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor: Arc<Anchor>,
}

#[derive(Debug)]
struct Anchor {
    source: Source,
    steady_at_start: SteadyMillis,
}

/// What a clock reads.
#[derive(Debug)]
enum Source {
    /// The system's clocks; the steady one since this instant.
    System(Instant),
    /// A test's; the steady one since this many milliseconds.
    #[cfg(test)]
    Manual(ManualTime, u64),
}

impl Source {
    fn wall_micros(&self) -> u64 {
        match self {
            Self::System(_) => u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX),
            #[cfg(test)]
            Self::Manual(time, _) => time.wall().0 * 1000,
        }
    }

    fn starting_at(self, last_seen: SteadyMillis) -> Clock {
        let wall = SteadyMillis(self.wall_micros() / 1000);
        Clock::of(self, wall.max(last_seen))
    }

    fn going_on(self, last: SteadyMillis, wall: UnixMillis) -> Clock {
        let now = self.wall_micros() / 1000;
        let down = now.saturating_sub(wall.0).min(DOWN_MAX_MS);
        Clock::of(self, last.plus(down))
    }

    fn elapsed_ms(&self) -> u64 {
        match self {
            Self::System(started) => {
                u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
            }
            #[cfg(test)]
            Self::Manual(time, started) => time.monotonic() - started,
        }
    }
}

impl Clock {
    /// The system's clock, with the steady time starting at the wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self::starting_at(SteadyMillis(0))
    }

    /// The system's clock, with a steady time that starts at the later of the wall clock and `last_seen`.
    #[must_use]
    pub fn starting_at(last_seen: SteadyMillis) -> Self {
        Self::system_source().starting_at(last_seen)
    }

    /// The system's clock, with the steady time going on from `last`, when the wall clock showed `wall`: by what
    /// the wall clock has gone on since, if it has, and a day at most.
    #[must_use]
    pub fn going_on(last: SteadyMillis, wall: UnixMillis) -> Self {
        Self::system_source().going_on(last, wall)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    fn system_source() -> Source {
        Source::System(Instant::now())
    }

    fn of(source: Source, steady_at_start: SteadyMillis) -> Self {
        Self {
            anchor: Arc::new(Anchor {
                source,
                steady_at_start,
            }),
        }
    }

    /// How far the wall clock is ahead of the steady time, milliseconds; it changes only when the wall clock is
    /// set, or drifts.
    #[must_use]
    pub fn wall_ahead_ms(&self) -> i64 {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        signed(self.wall().0).saturating_sub(signed(self.steady().0))
    }

    /// The wall clock now.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        UnixMillis(self.anchor.source.wall_micros() / 1000)
    }

    /// The wall clock now, in microseconds.
    #[must_use]
    pub fn wall_micros(&self) -> UnixMicros {
        UnixMicros(i64::try_from(self.anchor.source.wall_micros()).unwrap_or(i64::MAX))
    }

    /// The queue's time now.
    #[must_use]
    pub fn steady(&self) -> SteadyMillis {
        let Anchor {
            source,
            steady_at_start,
        } = &*self.anchor;
        steady_at_start.plus(source.elapsed_ms())
    }

    /// The wall-clock instant that a steady `due` will have, as people are shown it.
    #[must_use]
    pub fn wall_of(&self, due: SteadyMillis) -> UnixMillis {
        let (now, wall) = (self.steady(), self.wall());
        UnixMillis(
            wall.0
                .saturating_add(due.since(now))
                .saturating_sub(now.since(due)),
        )
    }
}

/// Time as a test makes it: it stands still until it is moved, and the wall clock can jump.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct ManualTime(Arc<[std::sync::atomic::AtomicU64; 2]>);

#[cfg(test)]
impl ManualTime {
    pub(crate) fn new(wall: UnixMillis) -> Self {
        Self(Arc::new([wall.0.into(), 0.into()]))
    }

    pub(crate) fn wall(&self) -> UnixMillis {
        UnixMillis(self.0[0].load(std::sync::atomic::Ordering::Relaxed))
    }

    pub(crate) fn set_wall(&self, wall: UnixMillis) {
        self.0[0].store(wall.0, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn monotonic(&self) -> u64 {
        self.0[1].load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Moves both clocks on.
    pub(crate) fn pass(&self, ms: u64) {
        self.set_wall(UnixMillis(self.wall().0 + ms));
        let now = self.monotonic() + ms;
        self.0[1].store(now, std::sync::atomic::Ordering::Relaxed);
    }

    /// A process's clock, as [`Clock::starting_at`].
    pub(crate) fn clock(&self, last_seen: SteadyMillis) -> Clock {
        Source::Manual(self.clone(), self.monotonic()).starting_at(last_seen)
    }

    /// A process's clock, as [`Clock::going_on`].
    pub(crate) fn going_on(&self, last: SteadyMillis, wall: UnixMillis) -> Clock {
        Source::Manual(self.clone(), self.monotonic()).going_on(last, wall)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Reads a duration written as a whole number with a unit: `250ms`, `5s`, `2m`, `1h`, `7d`.
///
/// # Errors
/// [`TimeError::Duration`] for anything else, and for what exceeds ten years.
pub fn parse_duration(text: &str) -> Result<Duration, TimeError> {
    const TEN_YEARS_MS: u64 = 10 * 366 * 24 * 3600 * 1000;
    let refused = || TimeError::Duration(text.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refused()),
    };
    match number.checked_mul(unit_ms) {
        Some(ms) if ms <= TEN_YEARS_MS => Ok(Duration::from_millis(ms)),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_instants_as_rfc_3339() {
        assert_eq!(
            UnixMillis(1_700_000_000_123).to_string(),
            "2023-11-14T22:13:20.123Z"
        );
        let at = UnixMicros::parse("2025-01-15T10:30:00.123456Z").unwrap();
        assert_eq!(at.rfc3339(6), "2025-01-15T10:30:00.123456Z");
        assert_eq!(at.rfc3339(0), "2025-01-15T10:30:00Z");
        assert_eq!(
            UnixMicros::parse("2025-01-15T11:30:00+01:00")
                .unwrap()
                .rfc3339(0),
            "2025-01-15T10:30:00Z"
        );
        assert!(UnixMicros::parse("yesterday").is_err());
    }

    #[test]
    fn takes_no_instant_that_rfc_3339_cannot_show() {
        let last = UnixMicros::parse("9999-12-30T21:59:59.999999Z").unwrap();
        assert_eq!(last.rfc3339(6), "9999-12-30T21:59:59.999999Z");
        let first = UnixMicros::parse("0000-01-01T00:00:00Z").unwrap();
        assert_eq!(first.rfc3339(0), "0000-01-01T00:00:00Z");
        for text in [
            "9999-12-30T22:00:00.999999999Z",
            "0000-01-01T00:00:00+00:01",
            "-009999-01-02T01:59:59Z",
        ] {
            assert!(UnixMicros::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_durations_with_units_and_refuses_others() {
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_duration("2h").unwrap(), Duration::from_secs(7200));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 s",
            "1w",
            "99999999999999999999s",
            "9999999d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn steady_time_does_not_go_back_behind_what_was_seen() {
        let future = SteadyMillis(Clock::system().steady().0 + 3_600_000);
        let clock = Clock::starting_at(future);
        assert!(clock.steady() >= future);
        let due = clock.steady().plus(5_000);
        let shown = clock.wall_of(due).0.abs_diff(clock.wall().0 + 5_000);
        assert!(
            shown < 1_000,
            "a due time 5 s ahead is shown {shown} ms off"
        );
    }

    #[test]
    fn steady_time_goes_on_by_what_the_wall_clock_has_and_a_day_at_most() {
        let (wall, day) = (Clock::system().wall(), 24 * 3_600_000);
        let last = SteadyMillis(1_700_000_000_000);
        for (shown, expected) in [
            (wall.0 - 3_600_000, 3_600_000),
            (wall.0 - 9 * day, day),
            (0, day),
            // The wall clock has gone back.
            (wall.0 + 9 * day, 0),
        ] {
            let gone_on = Clock::going_on(last, UnixMillis(shown))
                .steady()
                .since(last);
            assert!(
                gone_on.abs_diff(expected) < 1_000,
                "{gone_on} for {expected}"
            );
        }
    }
}
