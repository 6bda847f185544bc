//! Durations, sizes and rates as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Reads `90s`, `1h 30m`, `500ms`. The error says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write one such as \"90s\", \"5m\" or \"1h 30m\"");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| format!("`{text}` is negative; a duration cannot be"))
}

/// Writes a duration in its shortest whole units: `90s` is `1m 30s`.
pub fn show_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    if left == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= millis {
            parts.push(format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    parts.join(" ")
}

/// A number of bytes: `16MiB`, `1GB`, `512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// For use as a limit in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size: bytesize::ByteSize =
            text.parse().map_err(|_| format!("`{text}` is not a size; write one such as \"16MiB\" or \"1GB\""))?;
        Ok(Self(size.0))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 >= 1 << shift && self.0.trailing_zeros() >= shift {
                return write!(formatter, "{}{unit}", self.0 >> shift);
            }
        }
        write!(formatter, "{}B", self.0)
    }
}

/// How often something may happen: `10/s`, `600/m`, `5000/h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

impl Rate {
    /// The time between two events at this rate.
    pub fn interval(self) -> Duration {
        self.per / self.count
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate; write one such as \"10/s\", \"600/m\" or \"5000/h\"");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let count: u32 = count.trim().parse().map_err(|_| wrong())?;
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        if count == 0 {
            return Err(format!("`{text}` never lets anything pass; the count must be at least 1"));
        }
        Ok(Self { count, per: Duration::from_secs(per) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            3600 => "h",
            _ => "d",
        };
        write!(formatter, "{}/{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_as_people_write_them() {
        for (text, seconds) in [("90s", 90.0), ("5m", 300.0), ("1h 30m", 5400.0), ("500ms", 0.5), ("2d", 172_800.0)] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.as_secs_f64(), seconds, "{text}");
            assert_eq!(parse_duration(&show_duration(duration)).unwrap(), duration, "{text}");
        }
        assert!(parse_duration("soon").unwrap_err().contains("\"90s\""));
        assert!(parse_duration("-5s").is_err());
    }

    #[test]
    fn sizes_are_read_and_shown_in_the_largest_whole_unit() {
        for (text, shown) in [("16MiB", "16MiB"), ("1024KiB", "1MiB"), ("1000", "1000B"), ("2GB", "1953125KiB")] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), shown);
        }
        assert!("much".parse::<Size>().is_err());
    }

    #[test]
    fn rates_have_a_count_and_a_unit() {
        assert_eq!("10/s".parse::<Rate>().unwrap().interval(), Duration::from_millis(100));
        assert_eq!("600/m".parse::<Rate>().unwrap().to_string(), "600/m");
        for wrong in ["10", "0/s", "ten/s", "10/y"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
