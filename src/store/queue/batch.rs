//! A batch: the entries of a push as one blob, which is never changed once it is written.
//!
//! ```text
//! batch   length of the header (4 bytes), its checksum (4), header, frames
//! header  pushed (8), priority (4), due (8), expires (8), count, number of queues, then for each its id (8) and name
//! frame   index (4), length (4), checksum (4), the bytes of the entry
//! ```
//!
//! The header holds what the queues' own rows are made of, so that those can be made anew. Each frame can be found
//! without the ones before it, so that damage costs the entries that it hit, and no others.

use bytes::Bytes;

use super::encoding::{Input, put_bytes, put_number};
use crate::model::Text;

const FRAME_HEAD: usize = 12;

#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// In milliseconds since 1970, as all times here.
    pub(super) pushed: i64,
    pub(super) priority: i32,
    pub(super) due: Option<i64>,
    pub(super) expires: Option<i64>,
    pub(super) count: usize,
    pub(super) queues: Vec<(i64, Text)>,
}

impl Header {
    /// The header of a batch, unless it is damaged.
    pub(super) fn read(batch: i64, blob: &[u8]) -> Option<Self> {
        let mut input = Input(blob);
        let length = u32::from_le_bytes(input.array()?);
        let checksum = u32::from_le_bytes(input.array()?);
        let header = input.take(length as usize)?;
        if checksum != crc32fast::hash(header) ^ seal(batch, u32::MAX, length) {
            return None;
        }
        let mut input = Input(header);
        let (pushed, priority) = (i64::from_le_bytes(input.array()?), i32::from_le_bytes(input.array()?));
        let mut time = || Some(Some(i64::from_le_bytes(input.array()?)).filter(|time| *time != NEVER));
        let (due, expires) = (time()?, time()?);
        let (count, queues) = (input.number()?, input.number()?);
        let mut header = Self { pushed, priority, due, expires, count, queues: Vec::new() };
        for _ in 0..queues {
            header.queues.push((i64::from_le_bytes(input.array()?), input.text()?));
        }
        Some(header)
    }

    fn write(&self, batch: i64, out: &mut Vec<u8>) {
        let mut header = Vec::with_capacity(64);
        header.extend(self.pushed.to_le_bytes());
        header.extend(self.priority.to_le_bytes());
        for time in [self.due, self.expires] {
            header.extend(time.unwrap_or(NEVER).to_le_bytes());
        }
        put_number(self.count, &mut header);
        put_number(self.queues.len(), &mut header);
        for (id, name) in &self.queues {
            header.extend(id.to_le_bytes());
            put_bytes(name.as_bytes(), &mut header);
        }
        let length = u32::try_from(header.len()).expect("names of queues are short");
        out.extend(length.to_le_bytes());
        out.extend((crc32fast::hash(&header) ^ seal(batch, u32::MAX, length)).to_le_bytes());
        out.extend(header);
    }
}

const NEVER: i64 = i64::MIN;

/// An encoded entry with its own checksum, made before it is known where it will stand.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    bytes: Bytes,
    checksum: u32,
}

impl Payload {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let checksum = crc32fast::hash(&bytes);
        Self { bytes: bytes.into(), checksum }
    }

    /// Its bytes on disk.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + FRAME_HEAD
    }
}

pub(super) fn pack(batch: i64, header: &Header, payloads: &[Payload]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + payloads.iter().map(Payload::size).sum::<usize>());
    header.write(batch, &mut out);
    for (index, Payload { bytes, checksum }) in (0u32..).zip(payloads) {
        let length = u32::try_from(bytes.len()).expect("a value of 4 GiB is beyond every limit on the way here");
        out.extend(index.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend((checksum ^ seal(batch, index, length)).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

/// The bytes of each of a batch's entries, or nothing for one that is damaged.
pub(super) fn unpack(batch: i64, blob: &Bytes, count: usize) -> Vec<Option<Bytes>> {
    let mut entries = vec![None; count];
    let header = Input(blob).array().map_or(0, |length| 8 + u32::from_le_bytes(length) as usize);
    let mut at = if Header::read(batch, blob).is_some() { header } else { 0 };
    let mut next = 0;
    while let Some((index, length)) = find_frame(batch, blob, &mut at, next, count) {
        let start = at + FRAME_HEAD;
        at = start + length;
        entries[index] = Some(blob.slice(start..at));
        next = index + 1;
    }
    entries
}

/// The next whole frame from `at` on, which is moved to where it begins.
fn find_frame(batch: i64, blob: &[u8], at: &mut usize, next: usize, count: usize) -> Option<(usize, usize)> {
    let expected = next..count;
    while !expected.is_empty() && *at + FRAME_HEAD <= blob.len() {
        let mut input = Input(&blob[*at..]);
        let mut number = || input.array().map(u32::from_le_bytes);
        let (index, length, checksum) = (number()?, number()?, number()?);
        if expected.contains(&(index as usize))
            && let Some(bytes) = input.take(length as usize)
            && checksum == crc32fast::hash(bytes) ^ seal(batch, index, length)
        {
            return Some((index as usize, length as usize));
        }
        *at += 1;
    }
    None
}

/// Binds a checksum to a place, so that whole bytes from elsewhere do not pass.
fn seal(batch: i64, index: u32, length: u32) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&batch.to_le_bytes());
    place[8..12].copy_from_slice(&index.to_le_bytes());
    place[12..].copy_from_slice(&length.to_le_bytes());
    crc32fast::hash(&place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(count: usize) -> Header {
        Header {
            pushed: 5,
            priority: -3,
            due: Some(7),
            expires: None,
            count,
            queues: vec![(1, "detail".into()), (2, "list".into())],
        }
    }

    fn packed(batch: i64, entries: &[Vec<u8>]) -> Vec<u8> {
        let payloads: Vec<_> = entries.iter().map(|bytes| Payload::new(bytes.clone())).collect();
        pack(batch, &header(entries.len()), &payloads)
    }

    proptest! {
        #[test]
        fn a_whole_batch_gives_every_entry(entries in prop::collection::vec(any::<Vec<u8>>(), 0..50)) {
            let blob = Bytes::from(packed(9, &entries));
            prop_assert_eq!(Header::read(9, &blob), Some(header(entries.len())));
            let back = unpack(9, &blob, entries.len());
            prop_assert_eq!(back, entries.into_iter().map(|bytes| Some(bytes.into())).collect::<Vec<_>>());
        }

        #[test]
        fn damage_costs_what_it_hit_and_alters_nothing(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..20),
            at in any::<prop::sample::Index>(),
            damage in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let whole = packed(9, &entries);
            let mut blob = whole.clone();
            let at = at.index(blob.len());
            let end = blob.len().min(at + damage.len());
            blob[at..end].copy_from_slice(&damage[..end - at]);
            let back = unpack(9, &blob.into(), entries.len());
            let mut start = whole.len() - entries.iter().map(|bytes| bytes.len() + FRAME_HEAD).sum::<usize>();
            for (entry, back) in entries.iter().zip(back) {
                let frame = start..start + FRAME_HEAD + entry.len();
                start = frame.end;
                let is_hit = frame.start < end && at < frame.end;
                prop_assert!(back.as_ref() == Some(&Bytes::from(entry.clone())) || is_hit && back.is_none());
            }
        }

        #[test]
        fn a_batch_that_stands_elsewhere_is_not_taken_for_another(entries in prop::collection::vec(any::<Vec<u8>>(), 1..9)) {
            let blob = Bytes::from(packed(9, &entries));
            prop_assert_eq!(Header::read(8, &blob), None);
            prop_assert_eq!(unpack(8, &blob, entries.len()), vec![None; entries.len()]);
        }
    }
}
