//! Notices when pages go round in circles, in memory that does not grow with their number.

use crate::model::Value;

/// Circles of up to so many pages are noticed when they close.
const RECENT: usize = 256;

/// What has been seen in a run: the last pages one by one, and one page of old, which moves on at powers of two, so that
/// a circle of any length is noticed before it has been gone round three times (Brent: An improved Monte Carlo
/// factorization algorithm, 1980).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Circle {
    /// Once it is full, the newest takes the oldest one's place.
    recent: Vec<u64>,
    /// Where the oldest stands once it is full.
    oldest: usize,
    old: u64,
    /// How many pages have come since the old one, and after how many it moves on.
    since: u64,
    power: u64,
}

impl Circle {
    /// Notes a page by its print; answers whether it was seen before.
    pub(super) fn closes_with(&mut self, print: u64) -> bool {
        if self.recent.contains(&print) || (self.power > 0 && print == self.old) {
            return true;
        }
        if self.recent.len() < RECENT {
            self.recent.push(print);
        } else {
            self.recent[self.oldest] = print;
            self.oldest = (self.oldest + 1) % RECENT;
        }
        if self.since >= self.power {
            self.old = print;
            self.power = (2 * self.power).max(1);
            self.since = 0;
        }
        self.since += 1;
        false
    }

    /// As the store keeps it: base64 of the numbers, 8 bytes each.
    pub(super) fn to_value(&self) -> Value {
        let (newer, older) = self.recent.split_at(self.oldest);
        let numbers = [self.old, self.since, self.power].into_iter().chain(older.iter().chain(newer).copied());
        let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        Value::from(data_encoding::BASE64.encode(&bytes))
    }

    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let bytes = data_encoding::BASE64.decode(value.as_text()?.as_bytes()).ok()?;
        let mut numbers = bytes.chunks_exact(8).map(|chunk| chunk.try_into().map_or(0, u64::from_le_bytes));
        let (old, since, power) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let recent: Vec<u64> = numbers.collect();
        (recent.len() <= RECENT).then_some(Self { recent, oldest: 0, old, since, power })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many pages a circle of `length` that is entered after `lead` pages is noticed; it is stored now and
    /// then.
    fn noticed(lead: u64, length: u64) -> u64 {
        let mut circle = Circle::default();
        for page in 0.. {
            let print = if page < lead { page } else { lead + (page - lead) % length };
            if circle.closes_with(print) {
                return page;
            }
            if page % 7 == 0 {
                circle = Circle::from_value(&circle.to_value()).unwrap();
            }
            assert!(circle.recent.len() <= RECENT);
        }
        0
    }

    #[test]
    fn a_circle_of_any_length_is_noticed_and_a_short_one_when_it_closes() {
        for (lead, length) in [(0, 1), (5, 1), (0, 20), (1000, 1), (1000, 256)] {
            assert_eq!(noticed(lead, length), lead + length, "{lead} {length}");
        }
        for (lead, length) in [(0, 257), (10, 5000), (5000, 300)] {
            let at = noticed(lead, length);
            assert!(at <= 3 * (lead + length), "{lead} {length}: {at}");
        }
    }
}
