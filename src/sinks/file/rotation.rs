//! When a file is put away and a new one begun, and what becomes of the old ones.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::Size;
use crate::settings::Section;
use crate::store::sync_folder_of;

/// A file that is due is renamed from `out.ndjson` to `out-20260102T030405678Z.ndjson`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rotation {
    size: Option<Size>,
    age: Option<Duration>,
    compress: Option<Compression>,
    keep: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstandard,
}

impl Compression {
    fn extension(self) -> &'static str {
        match self {
            Compression::Gzip => "gz",
            Compression::Zstandard => "zst",
        }
    }
}

impl Rotation {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let rotate = section.table("rotate", "when a file is put away and a new one begun", |rotate| {
            let size: Option<Size> =
                rotate.optional("size", "before it grows beyond this size; a batch stays together");
            let age: Option<Duration> = rotate.optional("age", "with the first item after this time");
            if rotate.is_empty() {
                rotate.mistake(
                    "size",
                    "`rotate` says nothing",
                    "add a size such as \"100MiB\", or an age such as \"1d\"",
                );
            }
            Some((size, age))
        });
        let words = [("gz", Compression::Gzip), ("zst", Compression::Zstandard)];
        let compress = section.optional_choice("compress", &words, "how files that were put away are compressed");
        let keep = section.optional("keep", "how many files that were put away are kept; all unless given");
        for key in ["compress", "keep"] {
            if section.has(key) && !section.has("rotate") {
                let way_out = "add a rotate = { size = \"100MiB\" }";
                section.mistake(key, format!("`{key}` is for files that were put away, and none ever is"), way_out);
            }
        }
        let (size, age) = rotate.unwrap_or_default();
        Self { size, age, compress, keep }
    }

    /// Whether a file of this length is put away before `more` bytes come. Its age is only asked for if it counts.
    pub(super) fn is_due(
        &self,
        length: u64,
        more: u64,
        age: impl FnOnce() -> io::Result<Duration>,
    ) -> io::Result<bool> {
        if length == 0 {
            return Ok(false);
        }
        let is_full = self.size.is_some_and(|size| length.saturating_add(more) > size.0);
        Ok(is_full || self.age.map(|limit| Ok::<_, io::Error>(age()? >= limit)).transpose()?.unwrap_or(false))
    }

    /// Whether there is anything to do about files that were put away.
    pub(super) fn tidies(&self) -> bool {
        self.compress.is_some() || self.keep.is_some()
    }
}

/// Puts a file away under a name with the time, and answers that name.
pub(super) fn put_away(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let mut time = now;
    loop {
        let away = name_at(path, time);
        // Also taken if only its compressed form is left.
        let is_taken = [None, Some(Compression::Gzip), Some(Compression::Zstandard)]
            .into_iter()
            .any(|compression| with_extension(&away, compression).exists());
        if !is_taken {
            fs::rename(path, &away)?;
            sync_folder_of(path)?;
            return Ok(away);
        }
        time += Duration::from_millis(1);
    }
}

fn with_extension(path: &Path, compression: Option<Compression>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if let Some(compression) = compression {
        name.push(".");
        name.push(compression.extension());
    }
    name.into()
}

/// `folder/stem-TIME.extension`.
fn name_at(path: &Path, time: Timestamp) -> PathBuf {
    let (stem, extension) = stem_and_extension(path);
    path.with_file_name(format!("{stem}-{}{extension}", time.strftime("%Y%m%dT%H%M%S%3fZ")))
}

fn stem_and_extension(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    (stem, extension.unwrap_or_default())
}

/// Compresses and removes files that were put away, on a thread of its own. Dropping it waits for the work at hand.
pub(super) struct Tidier {
    paths: Option<mpsc::Sender<PathBuf>>,
    thread: Option<JoinHandle<()>>,
}

impl Tidier {
    pub(super) fn start(rotation: Rotation) -> io::Result<Self> {
        let (sender, paths) = mpsc::channel::<PathBuf>();
        let thread = std::thread::Builder::new().name("gatherd-tidy".to_owned()).spawn(move || {
            for path in paths {
                if let Err(error) = tidy(&rotation, &path) {
                    log::error!(file:% = path.display(), error:%; "cannot tidy up the files that were put away");
                }
            }
        })?;
        Ok(Self { paths: Some(sender), thread: Some(thread) })
    }

    /// Looks after the files that were put away from `path`, those of earlier runs too.
    pub(super) fn tidy(&self, path: &Path) {
        if let Some(paths) = &self.paths {
            // It only ends before this does if it panicked, which was reported.
            let _ = paths.send(path.to_owned());
        }
    }
}

impl Drop for Tidier {
    fn drop(&mut self) {
        self.paths = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that tidies up files panicked");
        }
    }
}

fn tidy(rotation: &Rotation, path: &Path) -> io::Result<()> {
    let mut away = files_put_away(path)?;
    if let Some(keep) = rotation.keep {
        let surplus = away.len().saturating_sub(keep);
        for file in away.drain(..surplus) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            log::info!(file:% = file.display(); "removed a file that was put away");
        }
    }
    if let Some(compression) = rotation.compress {
        for file in away {
            if !file.extension().is_some_and(|extension| extension == "gz" || extension == "zst") {
                compress(&file, compression)?;
            }
        }
    }
    sync_folder_of(path)
}

/// The files that were put away from `path`, the oldest first.
fn files_put_away(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (stem, extension) = stem_and_extension(path);
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_put_away(&name.to_string_lossy(), &stem, &extension) {
            found.push(entry.path());
        }
    }
    // Times are written so that they sort.
    found.sort();
    Ok(found)
}

/// Whether a name is one that [`name_at`] makes, compressed or not.
fn is_put_away(name: &str, stem: &str, extension: &str) -> bool {
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    let time = name.strip_suffix(extension).and_then(|name| name.strip_prefix(stem)?.strip_prefix('-'));
    let shape = |(place, byte): (usize, u8)| match place {
        8 => byte == b'T',
        18 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    time.is_some_and(|time| time.len() == 19 && time.bytes().enumerate().all(shape))
}

/// Puts the compressed form in a file's place, unless someone else was faster. A crash leaves the one or the other whole.
fn compress(file: &Path, compression: Compression) -> io::Result<()> {
    let mut source = match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // On a file system without locks there is nobody to wait for.
    let _ = source.lock();
    if !file.exists() {
        return Ok(());
    }
    let target = with_extension(file, Some(compression));
    let mut half_done = target.clone().into_os_string();
    half_done.push(".half");
    let half_done = PathBuf::from(half_done);
    let output = File::create(&half_done)?;
    output.set_permissions(source.metadata()?.permissions())?;
    let output = match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::default());
            io::copy(&mut source, &mut encoder)?;
            encoder.finish()?
        }
        Compression::Zstandard => {
            let mut encoder = zstd::Encoder::new(output, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            io::copy(&mut source, &mut encoder)?;
            encoder.finish()?
        }
    };
    output.sync_all()?;
    fs::rename(&half_done, &target)?;
    sync_folder_of(file)?;
    fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_rotation_makes_are_taken_for_its_own() {
        for (name, is_own) in [
            ("out-20260102T030405678Z.ndjson", true),
            ("out-20260102T030405678Z.ndjson.gz", true),
            ("out-20260102T030405678Z.ndjson.zst", true),
            ("out-20260102T030405678Z.ndjson.gz.half", false),
            ("out.ndjson", false),
            ("out-backup.ndjson", false),
            ("out-2-20260102T030405678Z.ndjson", false),
            ("out-20260102T030405678Z.csv", false),
        ] {
            assert_eq!(is_put_away(name, "out", ".ndjson"), is_own, "{name}");
        }
        assert!(is_put_away("log-20260102T030405678Z", "log", ""));
    }

    #[test]
    fn a_file_is_due_by_size_or_age_but_never_while_empty() {
        let hour = Duration::from_secs(3600);
        let rotation = Rotation { size: Some(Size(100)), age: Some(hour), ..Rotation::default() };
        for (length, age, more, is_due) in [
            (0, hour, 1000, false),
            (50, Duration::ZERO, 50, false),
            (50, Duration::ZERO, 51, true),
            (50, hour, 1, true),
        ] {
            assert_eq!(rotation.is_due(length, more, || Ok(age)).unwrap(), is_due, "{length} {age:?} {more}");
        }
        assert!(!Rotation::default().is_due(u64::MAX, u64::MAX, || panic!("asked for its age")).unwrap());
    }
}
