//! What a crash may have left at the end of a file, and what becomes of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::{Form, line};
use crate::model::{Value, json};

/// What is to be done about the end of a file before anything is appended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repair {
    Whole,
    /// Everything after this length is part of an item that was never acknowledged.
    CutTo(u64),
    /// The last item is whole, but nothing ends it.
    End,
}

/// How much is read at once.
const BLOCK: usize = 64 << 10;

/// The longest line that is read into memory.
const LONGEST_LINE: usize = 256 << 20;

/// Looks at the end of a file of this form. A table is read through, since a line break in it may stand in quotes.
pub(super) fn inspect(file: &File, form: &Form) -> io::Result<Repair> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Repair::Whole);
    }
    match form {
        Form::Csv(_) => {
            let end = end_of_last_row(file)?;
            Ok(if end == length { Repair::Whole } else { Repair::CutTo(end) })
        }
        Form::Lines(line::Form::Ndjson) => {
            let start = start_of_last_line(file, length)?;
            if start == length {
                return Ok(Repair::Whole);
            }
            // No item is as long as this, so it is not one of ours.
            let Some(length) = usize::try_from(length - start).ok().filter(|length| *length <= LONGEST_LINE) else {
                return Ok(Repair::End);
            };
            let mut last = vec![0; length];
            file.read_exact_at(&mut last, start)?;
            // Someone else may have left out the last line break. A number may be the beginning of a longer one.
            let is_whole = matches!(json::parse(&last), Ok(Value::Object(_) | Value::Array(_) | Value::Text(_)));
            Ok(if is_whole { Repair::End } else { Repair::CutTo(start) })
        }
        // Where a raw item begins, only its author knows: the torn one stays, and comes again whole after it.
        Form::Lines(line::Form::Raw { separator }) => {
            let separator = separator.as_bytes();
            let Some(start) = length.checked_sub(separator.len() as u64) else { return Ok(Repair::End) };
            let mut last = vec![0; separator.len()];
            file.read_exact_at(&mut last, start)?;
            Ok(if last == separator { Repair::Whole } else { Repair::End })
        }
    }
}

/// Where the line begins that has no end; the end of the file if there is none.
fn start_of_last_line(file: &File, length: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let read = &mut block[..usize::try_from(end - start).unwrap_or(BLOCK)];
        file.read_exact_at(read, start)?;
        if let Some(place) = memchr::memrchr(b'\n', read) {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The place after the last line break that stands outside of quotes.
fn end_of_last_row(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut block = vec![0; BLOCK];
    let (mut end, mut passed, mut is_quoted) = (0, 0, false);
    loop {
        let count = match file.read(&mut block) {
            Ok(0) => return Ok(end),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for place in memchr::memchr2_iter(b'"', b'\n', &block[..count]) {
            if block[place] == b'"' {
                is_quoted = !is_quoted;
            } else if !is_quoted {
                end = passed + place as u64 + 1;
            }
        }
        passed += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sinks::file::csv::Columns;

    #[test]
    fn the_end_of_a_file_tells_whether_its_last_item_is_whole() {
        let ndjson = || Form::Lines(line::Form::Ndjson);
        let raw = |separator: &str| Form::Lines(line::Form::Raw { separator: separator.to_owned() });
        let csv = || Form::Csv(Columns::new(vec!["a".to_owned()]));
        let long = format!("{{}}\n\"{}", "x".repeat(3 * BLOCK));
        for (form, content, repair) in [
            (ndjson(), "", Repair::Whole),
            (ndjson(), "{}\n{}\n", Repair::Whole),
            (ndjson(), "{}\n{\"a\"", Repair::CutTo(3)),
            (ndjson(), "{}\n{\"a\":1}", Repair::End),
            (ndjson(), "{}\n12", Repair::CutTo(3)),
            (ndjson(), "{}\n\0\0\0", Repair::CutTo(3)),
            (ndjson(), "{\"a\"", Repair::CutTo(0)),
            (ndjson(), &long, Repair::CutTo(3)),
            (raw("\n"), "a\nb", Repair::End),
            (raw("\n"), "a\nb\n", Repair::Whole),
            (raw("--"), "-", Repair::End),
            (raw(""), "anything", Repair::Whole),
            (csv(), "a\n1\n", Repair::Whole),
            (csv(), "a\n1\n2", Repair::CutTo(4)),
            (csv(), "a\n\"x\ny\"\n", Repair::Whole),
            (csv(), "a\n\"x\n", Repair::CutTo(2)),
            (csv(), "a\n\"say \"\"\n", Repair::CutTo(2)),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            assert_eq!(inspect(&file, &form).unwrap(), repair, "{content:.20} {form:?}");
        }
    }
}
