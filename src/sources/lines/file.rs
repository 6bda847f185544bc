//! One file that is being read: what it is, where the reading stands, and how it goes on.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::records::{Format, Record, Records};
use crate::model::{ItemId, Labels, Size, Text, Value};

/// How many of a file's first bytes tell it from another that came to stand in its place.
const HEAD: usize = 256;

/// Tells a file from all others of the machine at one time. After a restart, device numbers may have changed and
/// inode numbers may have been given away again, so that its birth and its first bytes are compared too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub device: u64,
    pub inode: u64,
    /// Nanoseconds since 1970; 0 where the file system does not know.
    pub born: i64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        Self { device: metadata.dev(), inode: metadata.ino(), born }
    }
}

/// A place in a file, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bookmark {
    pub path: PathBuf,
    pub inode: u64,
    pub born: i64,
    /// A hash of the first [`HEAD`] bytes, or of all up to the offset if those are fewer.
    pub head: i64,
    /// In the uncompressed contents.
    pub offset: u64,
}

impl Bookmark {
    pub(super) fn is_of(&self, identity: Identity) -> bool {
        (self.inode, self.born) == (identity.inode, identity.born)
    }

    /// All but the offset, which items share.
    pub(super) fn file_value(&self) -> Value {
        let path = self.path.to_string_lossy().into_owned();
        Value::array(vec![path.into(), self.inode.cast_signed().into(), self.born.into(), self.head.into()])
    }

    pub(super) fn read(file: &Value, offset: &Value) -> Option<Self> {
        let Value::Array(parts) = file else { return None };
        let [path, inode, born, head] = parts.as_slice() else { return None };
        Some(Self {
            path: path.as_text()?.into(),
            inode: inode.as_i64()?.cast_unsigned(),
            born: born.as_i64()?,
            head: head.as_i64()?,
            offset: u64::try_from(offset.as_i64()?).ok()?,
        })
    }
}

/// A file that is open for reading.
pub(super) struct OpenFile {
    pub path: PathBuf,
    pub identity: Identity,
    /// For every item of this file.
    pub labels: Labels,
    input: Input,
    records: Records,
    head: Vec<u8>,
    max_line: Size,
    format: Format,
}

enum Input {
    Plain(File),
    Gzip(Box<flate2::read::MultiGzDecoder<BufReader<File>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<File>>>),
}

impl Input {
    fn open(path: &Path, file: File) -> io::Result<Self> {
        Ok(match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Input::Gzip(Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file)))),
            Some("zst") => Input::Zstd(Box::new(zstd::stream::read::Decoder::new(file)?)),
            _ => Input::Plain(file),
        })
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Plain(file) => file.read(buffer),
            Input::Gzip(decoder) => decoder.read(buffer),
            Input::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl OpenFile {
    /// Opens a file at its beginning.
    pub(super) fn open(path: &Path, format: Format, max_line: Size) -> io::Result<Self> {
        let file = File::open(path)?;
        let identity = Identity::of(&file.metadata()?);
        let mut labels = Labels::default();
        labels.set("file".into(), Value::from(path.to_string_lossy().into_owned()));
        Ok(Self {
            path: path.to_owned(),
            identity,
            labels,
            input: Input::open(path, file)?,
            records: Records::new(format, max_line),
            head: Vec::with_capacity(HEAD),
            max_line,
            format,
        })
    }

    /// Goes on where a bookmark lies. False if the file does not hold what the bookmark was laid in: it then stands
    /// at its beginning.
    pub(super) fn resume(&mut self, bookmark: &Bookmark) -> io::Result<bool> {
        let mut skipped = Vec::new();
        let wanted = bookmark.offset.min(HEAD as u64);
        self.input.by_ref().take(wanted).read_to_end(&mut skipped)?;
        let same = skipped.len() as u64 == wanted && hash(&skipped) == bookmark.head;
        if !same || self.is_shorter_than(bookmark.offset)? {
            *self = Self::open(&self.path, self.format, self.max_line)?;
            return Ok(false);
        }
        self.head = skipped;
        if self.records.needs_header() {
            let mut first = OpenFile::open(&self.path, self.format, self.max_line)?;
            while first.records.needs_header() && first.records.read_to() < bookmark.offset {
                let (_, ended) = first.read(1)?;
                if ended {
                    break;
                }
            }
            self.records = first.records;
        }
        self.skip_to(wanted, bookmark.offset)?;
        self.records.go_to(bookmark.offset);
        Ok(true)
    }

    fn skip_to(&mut self, from: u64, offset: u64) -> io::Result<()> {
        match &mut self.input {
            Input::Plain(file) => file.seek(SeekFrom::Start(offset)).map(drop),
            compressed => io::copy(&mut compressed.take(offset - from), &mut io::sink()).map(drop),
        }
    }

    /// Whether the file was cut off before this place. Of a compressed file that cannot be told.
    pub(super) fn is_shorter_than(&self, offset: u64) -> io::Result<bool> {
        match &self.input {
            Input::Plain(file) => Ok(file.metadata()?.len() < offset),
            _ => Ok(false),
        }
    }

    /// Where the next byte to be read stands.
    pub(super) fn read_to(&self) -> u64 {
        self.records.read_to()
    }

    pub(super) fn is_compressed(&self) -> bool {
        !matches!(self.input, Input::Plain(_))
    }

    /// Whether the file still begins as it did when it was read.
    pub(super) fn begins_as_before(&self) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        let Input::Plain(file) = &self.input else { return Ok(true) };
        let mut begins = vec![0; self.head.len()];
        match file.read_exact_at(&mut begins, 0) {
            Ok(()) => Ok(begins == self.head),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next records, at most `limit`, after at most one read; and whether the end was reached.
    pub(super) fn read(&mut self, limit: usize) -> io::Result<(Vec<Record>, bool)> {
        let records = self.records.take(limit, false);
        if !records.is_empty() {
            return Ok((records, false));
        }
        let before = self.records.read_to();
        let read = self.records.fill(&mut self.input)?;
        if before < HEAD as u64 {
            let head = self.records.newest(read);
            self.head.extend(head.iter().take(HEAD - self.head.len()));
        }
        Ok((self.records.take(limit, false), read == 0))
    }

    /// What is left where the file ends for good.
    pub(super) fn rest(&mut self) -> Vec<Record> {
        self.records.take(usize::MAX, true)
    }

    /// A bookmark at the end of a record.
    pub(super) fn bookmark(&self, offset: u64) -> Bookmark {
        let length = usize::try_from(offset).unwrap_or(usize::MAX).min(self.head.len());
        Bookmark {
            path: self.path.clone(),
            inode: self.identity.inode,
            born: self.identity.born,
            head: hash(&self.head[..length]),
            offset,
        }
    }

    /// Whether bookmarks from this one on differ in nothing but their offset.
    pub(super) fn is_past_head(offset: u64) -> bool {
        offset >= HEAD as u64
    }

    /// The name for messages.
    pub(super) fn name(&self) -> Text {
        self.path.to_string_lossy().into()
    }
}

fn hash(bytes: &[u8]) -> i64 {
    ItemId::root(&[bytes]).0.cast_signed()
}
