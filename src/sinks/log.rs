//! `log`: each item is a line of gatherd's own log.

use std::time::Duration;

use async_trait::async_trait;
use log::Level;

use crate::component::{BatchLimits, Kind, Opened, Sink, SinkContext, SinkSettings, WriteFault};
use crate::model::{Item, Size};
use crate::runtime;
use crate::settings::Section;

pub(super) const KIND: Kind<dyn SinkSettings> = Kind {
    name: "log",
    summary: "Writes each item to the log of gatherd, as compact JSON",
    sample: r#"
[pipeline.greetings]
from = { items = [{ hello = "world" }, { hello = "moon" }] }
to   = ["notice"]

[sink.notice]
log = { level = "info" }
"#,
    read: |section| Some(Box::new(LogSettings::read(section))),
};

struct LogSettings {
    level: Level,
}

impl LogSettings {
    fn read(section: &mut Section<'_>) -> Self {
        section.shorthand("level");
        let words = [
            ("info", Level::Info),
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("debug", Level::Debug),
            ("trace", Level::Trace),
        ];
        Self { level: section.choice("level", &words, "how loud the lines are") }
    }
}

impl SinkSettings for LogSettings {
    fn batch(&self) -> BatchLimits {
        BatchLimits { items: 100, bytes: Size::mib(1), age: Duration::ZERO }
    }

    fn open(&self, context: SinkContext) -> Opened<Box<dyn Sink>> {
        Ok(Box::new(LogSink { target: format!("gatherd::sink::{}", context.name), level: self.level }))
    }
}

struct LogSink {
    /// By which `RUST_LOG` can choose the lines of this sink.
    target: String,
    level: Level,
}

#[async_trait]
impl Sink for LogSink {
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault> {
        for item in batch {
            log::log!(target: &self.target, self.level, trace:% = item.trace(); "{}", item.value);
            // A line is a system call or two; others wait no longer than for one of them.
            runtime::yield_now().await;
        }
        Ok(())
    }
}
