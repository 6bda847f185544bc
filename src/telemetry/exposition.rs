//! Metrics as text: the Prometheus format 0.0.4, or OpenMetrics 1.0 for who asks for it.
//!
//! Sources: "Exposition formats" of the Prometheus documentation, and the OpenMetrics specification, version 1.0.0.
//! They differ in the name of a counter's family, in the line for the unit, and in the line at the end.

use std::fmt::{Display, Write};

use super::histogram::{BOUNDS, Distribution};

/// How long a label's value is at most, in bytes; the rest of a longer one is cut off.
const LABEL: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// The format for who sends this `Accept` header.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Prometheus }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Labels of a sample, in the order in which they are written.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text as it is written: one family after the other.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

/// A family of samples that is being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: Kind,
}

impl Exposition {
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// A number that only grows, but for restarts. The name is without `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, Kind::Counter, help)
    }

    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, Kind::Gauge, help)
    }

    /// Durations; the name ends in `_seconds`.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, Kind::Histogram, help)
    }

    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let (kind_name, suffix) = match (kind, self.format) {
            (Kind::Counter, Format::Prometheus) => ("counter", "_total"),
            (Kind::Counter, Format::OpenMetrics) => ("counter", ""),
            (Kind::Gauge, _) => ("gauge", ""),
            (Kind::Histogram, _) => ("histogram", ""),
        };
        write(&mut self.text, format_args!("# TYPE {name}{suffix} {kind_name}\n"));
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            write(&mut self.text, format_args!("# UNIT {name} {unit}\n"));
        }
        write(&mut self.text, format_args!("# HELP {name}{suffix} {}\n", escaped(help)));
        Family { text: &mut self.text, name, kind }
    }
}

impl Family<'_> {
    /// One sample of a counter or gauge.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        self.line(suffix, labels, None, value);
        self
    }

    /// One histogram.
    pub fn distribution(&mut self, labels: Labels<'_>, distribution: &Distribution) -> &mut Self {
        let mut count = 0;
        for (place, bucket) in distribution.buckets.iter().enumerate() {
            count += bucket;
            // OpenMetrics wants a point in what is a floating point number.
            let bound = BOUNDS.get(place).map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            self.line("_bucket", labels, Some(&bound), count);
        }
        self.line("_sum", labels, None, distribution.total.as_secs_f64());
        self.line("_count", labels, None, count);
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut opening = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            write(self.text, format_args!("{opening}{name}=\"{}\"", escaped(cut(value)).replace('"', "\\\"")));
            opening = ',';
        }
        if opening == ',' {
            self.text.push('}');
        }
        write(self.text, format_args!(" {value}\n"));
    }
}

fn write(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("a String takes every write");
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(LABEL)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Histogram;
    use super::*;

    fn text(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.counter("gatherd_items", "Items.").sample(&[("pipeline", "a\"b\\c\nd")], 3);
        exposition.gauge("gatherd_memory_bytes", "Memory.").sample(&[], 1.5);
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(400));
        exposition.histogram("gatherd_call_seconds", "Calls.").distribution(&[("sink", "db")], &histogram.read());
        exposition.finish()
    }

    #[test]
    fn a_counter_is_named_by_the_rules_of_each_format() {
        let prometheus = text(Format::Prometheus);
        assert!(prometheus.starts_with("# TYPE gatherd_items_total counter\n# HELP gatherd_items_total Items.\n"));
        assert!(!prometheus.contains("# UNIT") && !prometheus.contains("# EOF"));
        let open = text(Format::OpenMetrics);
        assert!(open.starts_with("# TYPE gatherd_items counter\n# HELP gatherd_items Items.\n"));
        assert!(open.contains("# UNIT gatherd_memory_bytes bytes\n") && open.ends_with("\n# EOF\n"));
        for text in [prometheus, open] {
            assert!(text.contains("\ngatherd_items_total{pipeline=\"a\\\"b\\\\c\\nd\"} 3\n"), "{text}");
            assert!(text.contains("\ngatherd_memory_bytes 1.5\n"), "{text}");
            assert!(text.contains("gatherd_call_seconds_bucket{sink=\"db\",le=\"0.25\"} 0\n"), "{text}");
            assert!(text.contains("gatherd_call_seconds_bucket{sink=\"db\",le=\"+Inf\"} 1\n"), "{text}");
            assert!(text.contains("gatherd_call_seconds_sum{sink=\"db\"} 0.4\n"), "{text}");
            assert!(text.contains("gatherd_call_seconds_count{sink=\"db\"} 1\n"), "{text}");
        }
    }

    #[test]
    fn a_long_label_is_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(100)).len(), LABEL);
        assert_eq!(cut(&format!("x{}", "ä".repeat(100))).len(), LABEL - 1);
    }
}
