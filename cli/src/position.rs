//! Positions as they are typed: `start`, `end`, `17`, `+5`, `-5`, `@2015-05-17`, `@-1h`.

use std::time::Duration;

use headwater_log_store::{
    Clock, Error as LogError, Offset, Timestamp, TopicPartition, Watermarks,
};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp as Instant};

/// The shape of positions, for help and errors.
pub(crate) const SHAPE: &str = "start, end, N (that offset), +N (N after the start), -N (the last N), @TIME (the first record \
     at or after it: 2015-05-17, 2015-05-17T10:05:03Z, 10 digits of seconds or 13 of milliseconds, \
     -1h for an hour ago)";

/// Where to begin in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Start,
    End,
    Offset(Offset),
    AfterStart(u64),
    BeforeEnd(u64),
    Time(Timestamp),
    Ago(Duration),
}

/// Where to begin in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// The offset to begin at.
    pub(crate) offset: Offset,
    /// Leave out what comes before the first record of this time or later.
    pub(crate) not_before: Option<Timestamp>,
}

impl Position {
    /// Reads a position.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is no position: {SHAPE}");
        let count = |digits: &str| digits.parse::<u64>().map_err(|_| invalid());
        match text {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            _ => match text.split_at_checked(1) {
                Some(("+", rest)) => Ok(Self::AfterStart(count(rest)?)),
                Some(("-", rest)) => Ok(Self::BeforeEnd(count(rest)?)),
                Some(("@", rest)) => match rest.strip_prefix('-') {
                    Some(ago) => parse_ago(ago).map(Self::Ago).ok_or_else(invalid),
                    None => parse_time(rest).map(Self::Time).ok_or_else(invalid),
                },
                _ => Ok(Self::Offset(Offset::new(count(text)?))),
            },
        }
    }

    /// The place in a partition that has these ends.
    ///
    /// # Errors
    /// `OffsetOutOfRange` for an offset that the partition does not have.
    pub(crate) fn resolve(
        self,
        topic_partition: &TopicPartition,
        watermarks: Watermarks,
        clock: &dyn Clock,
    ) -> Result<Beginning, LogError> {
        let Watermarks { start, end } = watermarks;
        let at = |offset| Beginning { offset, not_before: None };
        // The log cannot look times up yet, so the records before are read and left out.
        let since = |time| Beginning { offset: start, not_before: Some(time) };
        match self {
            Self::Start => Ok(at(start)),
            Self::End => Ok(at(end)),
            Self::AfterStart(records) => {
                Ok(at(Offset::new(start.value().saturating_add(records)).min(end)))
            }
            Self::BeforeEnd(records) => {
                Ok(at(Offset::new(end.value().saturating_sub(records)).max(start)))
            }
            Self::Offset(offset) if offset < start || offset > end => {
                Err(LogError::OffsetOutOfRange {
                    topic_partition: topic_partition.clone(),
                    offset,
                    start,
                    end,
                })
            }
            Self::Offset(offset) => Ok(at(offset)),
            Self::Time(time) => Ok(since(time)),
            Self::Ago(duration) => {
                let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                let now = clock.now().as_millis();
                Ok(since(Timestamp::from_millis(now.saturating_sub(millis))))
            }
        }
    }
}

/// A point in time: a date, a date with a time (UTC without a zone), or seconds or milliseconds
/// since 1970.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let millis = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        match text.len() {
            10 => text.parse::<i64>().ok()?.checked_mul(1000)?,
            13 => text.parse().ok()?,
            _ => return None,
        }
    } else if let Ok(instant) = text.parse::<Instant>() {
        instant.as_millisecond()
    } else {
        let time: DateTime = text.parse().ok()?;
        time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond()
    };
    Some(Timestamp::from_millis(millis))
}

/// How long ago: `90m`, `7d`, or as ISO 8601 writes it. A day has 24 hours.
pub(crate) fn parse_ago(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use headwater_log_store::{
        ManualClock, Offset, PartitionId, Timestamp, TopicName, TopicPartition, Watermarks,
    };

    use super::{Beginning, Position};

    #[test]
    fn positions_are_read_as_they_are_typed() {
        let time = |millis| Position::Time(Timestamp::from_millis(millis));
        for (text, expected) in [
            ("start", Position::Start),
            ("end", Position::End),
            ("0", Position::Offset(Offset::ZERO)),
            ("17", Position::Offset(Offset::new(17))),
            ("+5", Position::AfterStart(5)),
            ("-5", Position::BeforeEnd(5)),
            ("@1431857103", time(1_431_857_103_000)),
            ("@1431857103250", time(1_431_857_103_250)),
            ("@2015-05-17T10:05:03Z", time(1_431_857_103_000)),
            ("@2015-05-17T12:05:03+02:00", time(1_431_857_103_000)),
            ("@2015-05-17", time(1_431_820_800_000)),
            ("@2015-05-17T10:05:03.250", time(1_431_857_103_250)),
            ("@-7d", Position::Ago(Duration::from_secs(604_800))),
            ("@-PT1H30M", Position::Ago(Duration::from_secs(5400))),
            ("@-P2D", Position::Ago(Duration::from_secs(172_800))),
            ("@-1h", Position::Ago(Duration::from_secs(3600))),
            ("@-90s", Position::Ago(Duration::from_secs(90))),
        ] {
            assert_eq!(Position::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_position_is_refused_with_the_shapes() {
        for text in [
            "",
            "x",
            "+",
            "-",
            "@",
            "1.5",
            "--5",
            "@12345",
            "@tomorrow",
            "@2015-13-01",
            "@--1h",
            "@-1mo",
        ] {
            let error = Position::parse(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
            assert!(error.contains("@TIME"), "{error}");
        }
    }

    #[test]
    fn positions_stay_within_the_partition_or_are_refused_by_name() {
        let topic_partition =
            TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(2));
        let watermarks = Watermarks { start: Offset::new(10), end: Offset::new(20) };
        let clock = ManualClock::new(Timestamp::from_millis(5_000));
        let resolve =
            |text| Position::parse(text).unwrap().resolve(&topic_partition, watermarks, &clock);
        for (text, offset) in [
            ("start", 10),
            ("end", 20),
            ("+3", 13),
            ("+30", 20),
            ("-3", 17),
            ("-30", 10),
            ("20", 20),
        ] {
            let expected = Beginning { offset: Offset::new(offset), not_before: None };
            assert_eq!(resolve(text).unwrap(), expected, "{text}");
        }
        for text in ["9", "21"] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.contains("t-2") && error.contains(text), "{error}");
        }
        let ago = resolve("@-2s").unwrap();
        assert_eq!(ago.not_before, Some(Timestamp::from_millis(3_000)));
        assert_eq!(ago.offset, Offset::new(10));
    }
}
