//! Sources, one a file, and the table of them.

mod cron;
mod every;
mod items;
mod lines;
mod long_poll;
mod queue;
mod schedule;
mod webhook;

pub use queue::buffer;

use crate::component::{Kind, SourceSettings};

/// Every source, by the name of its component key.
pub const KINDS: &[Kind<dyn SourceSettings>] =
    &[every::KIND, cron::KIND, items::KIND, lines::KIND, long_poll::KIND, queue::KIND, webhook::KIND];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::find;
    use crate::settings::read_text;

    /// Reads `text` as a source; answers what is wrong with it.
    fn mistakes(text: &str) -> Vec<String> {
        let name = text.split(' ').next().unwrap();
        let kind = find(KINDS, name).unwrap();
        let found = read_text(text, kind.read).err().unwrap_or_default();
        found.into_iter().map(|mistake| format!("{}; {}", mistake.message, mistake.way_out)).collect()
    }

    #[test]
    fn sources_are_written_short_or_with_all_their_settings() {
        for text in [
            "every = '1m'",
            "every = { period = '1h', align = true, jitter = '10s', missed = 'all', overlap = 'queue' }",
            "cron = '*/5 * * * *'",
            "cron = { expression = '0 0 6 * * MON-FRI', zone = 'Europe/Zurich', jitter = '1m', missed = 'skip' }",
            "items = [1, 'two', { three = 3 }]",
            "items = { values = [] }",
            "items = { range = [1, 100], step = 5, repeat = false }",
            "lines = 'urls.txt'",
            "lines = '-'",
            "lines = { path = 'logs/*.log', format = 'csv', delimiter = ';', follow = true, max_line = '1MiB' }",
        ] {
            assert_eq!(mistakes(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_mistakes() {
        for (text, expected) in [
            ("every = '0s'", "cannot tick that often"),
            ("every = { period = '1m', jitter = '1m' }", "the jitter is not shorter than the period"),
            ("every = { align = true }", "period"),
            ("cron = '61 * * * *'", "`61 * * * *` is no cron expression"),
            ("cron = '0 0 30 2 *'", "names no time that ever comes"),
            ("cron = { expression = '* * * * *', zone = 'Mars' }", "there is no time zone `Mars`"),
            ("items = {}", "either `values` or a `range`"),
            ("items = { values = [1], range = [1, 2] }", "either `values` or a `range`"),
            ("items = { range = [2, 1] }", "the range ends at 1, before it begins at 2"),
            ("items = { range = [1, 2], step = 0 }", "at least 1"),
            ("lines = 'a***b'", "is not a pattern"),
            ("lines = { path = 'a.csv', delimiter = '--' }", "one ASCII character"),
        ] {
            let found = mistakes(text);
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
    }
}
