//! Reads what can be read of a damaged store.
//!
//! SQLite refuses a whole file over damage to its first page, which holds the header and the schema, or over a length
//! that is not the one in the header. So a copy of the file is mended in these two, and read as far as it goes; the
//! checksums of the rows tell what of it is true.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, Row};

use super::checksum::{Table, is_whole};
use super::folder::create;
use super::layout::Layout;
use super::queue;
use super::salvage::{COMPANIONS, beside, remove_with_companions};
use super::schema::{self, TABLES, Version};

/// What was rescued, and what was seen to be lost.
#[derive(Debug, Default)]
pub(super) struct Rescued {
    pub(super) rows: u64,
    pub(super) damaged_rows: u64,
    /// Tables that could not be read from one end to the other.
    pub(super) tables_cut_short: u64,
}

/// Makes a store at `fresh`, one file without a log, of the rows of `file` that are whole.
pub(super) fn rescue(file: &Path, fresh: &Path) -> Result<Rescued, Box<dyn Error>> {
    create(fresh)?;
    let mut target = schema::connect_to_write(fresh)?;
    target.pragma_update(None, "journal_mode", "delete")?;
    let noted = Layout::noted(file);
    let copy = Copy::of(file, noted.as_ref())?;
    let known = copy.version();
    let version = known.or(noted.as_ref().map(|layout| layout.version)).unwrap_or(schema::VERSION);
    schema::migrate(&mut target, 0, version)?;
    if known.is_none() {
        let layout = match noted {
            Some(layout) => layout,
            // Where a table is elsewhere in the damaged store, it is the checksums that show it.
            None => Layout::of(&target)?,
        };
        copy.replace_first_page(fresh, &layout)?;
    }
    let mut rescued = Rescued::default();
    match schema::connect_to_read(&copy.file) {
        Ok(source) => {
            let transaction = target.transaction()?;
            for table in TABLES {
                copy_table(&source, &transaction, table, &mut rescued)?;
            }
            transaction.commit()?;
        }
        Err(_) => rescued.tables_cut_short = TABLES.len() as u64,
    }
    schema::migrate(&mut target, version, schema::VERSION)?;
    let transaction = target.transaction()?;
    queue::reconcile(&transaction, file)?;
    transaction.commit()?;
    target.close().map_err(|(_, error)| error)?;
    File::open(fresh)?.sync_all()?;
    Ok(rescued)
}

/// A copy of a damaged store, to be mended and read. Removed when dropped.
struct Copy {
    file: PathBuf,
}

/// SQLite's default, which the store leaves as it is.
const PAGE: usize = 4096;

/// The header of the file, at the start of its first page.
const HEADER: usize = 100;

/// Where no layout is known: more than the tables and indexes of a store begin on that was never migrated.
const ROOT_PAGES: u64 = 100;

impl Copy {
    fn of(file: &Path, layout: Option<&Layout>) -> Result<Self, Box<dyn Error>> {
        let copy = Self { file: beside(file, ".rescue") };
        remove_with_companions(&copy.file)?;
        create(&copy.file)?;
        fs::copy(file, &copy.file)?;
        let log = beside(file, COMPANIONS[0]);
        if log.exists() {
            fs::copy(&log, beside(&copy.file, COMPANIONS[0]))?;
            // A log that does not fit any more is left out.
            let merged = Connection::open(&copy.file)
                .and_then(|connection| connection.pragma_update(None, "journal_mode", "delete"));
            if let Err(error) = merged {
                log::error!(error:%; "the log of the damaged store cannot be read");
            }
            for companion in COMPANIONS {
                let _ = fs::remove_file(beside(&copy.file, companion));
            }
        }
        copy.mend_header(layout)?;
        Ok(copy)
    }

    fn version(&self) -> Option<i64> {
        match schema::version(&schema::connect_to_read(&self.file).ok()?) {
            Ok(Version::Known(version @ 1..)) => Some(version),
            _ => None,
        }
    }

    /// Takes the header of a sound store, and the tables from where the layout says that they begin.
    fn replace_first_page(&self, sound: &Path, layout: &Layout) -> Result<(), Box<dyn Error>> {
        let mut page = [0; PAGE];
        File::open(sound)?.read_exact_at(&mut page[..HEADER], 0)?;
        // A leaf of a table without rows (<https://sqlite.org/fileformat2.html#b_tree_pages>): its kind, and where its
        // content ends.
        page[HEADER] = 0x0d;
        page[HEADER + 5..HEADER + 7].copy_from_slice(&(PAGE as u16).to_be_bytes());
        OpenOptions::new().write(true).open(&self.file)?.write_all_at(&page, 0)?;
        self.mend_header(Some(layout))?;
        layout.write(&self.file)?;
        Ok(())
    }

    /// Makes SQLite go by the file's own length, and expect no log and no free pages
    /// (<https://sqlite.org/fileformat2.html#the_database_header>).
    fn mend_header(&self, layout: Option<&Layout>) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(&self.file)?;
        let pages = file.metadata()?.len().div_ceil(PAGE as u64);
        // SQLite reads nothing of a file that ends before one of its tables begins.
        let pages = pages.max(layout.map_or(ROOT_PAGES, Layout::last_root_page));
        file.set_len(pages * PAGE as u64)?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        // Read and written without a log.
        header[18..20].fill(1);
        // The first free page, and how many there are.
        header[32..40].fill(0);
        // The length counts only if this equals the change counter.
        let change_counter: [u8; 4] = [header[24], header[25], header[26], header[27]];
        header[92..96].copy_from_slice(&change_counter.map(|byte| !byte));
        file.write_all_at(&header, 0)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = remove_with_companions(&self.file) {
            log::warn!(file:% = self.file.display(), error:%; "cannot remove a copy of the damaged store");
        }
    }
}

/// Copies from both ends, each as far as it can be read.
fn copy_table(from: &Connection, to: &Connection, table: &Table, rescued: &mut Rescued) -> rusqlite::Result<()> {
    if !to.table_exists(None, table.name)? {
        // The damaged store is of a version that has no such table.
        return Ok(());
    }
    let before = to.total_changes();
    if !copy_rows(from, to, table, "ASC", &mut rescued.damaged_rows)? {
        rescued.tables_cut_short += 1;
        copy_rows(from, to, table, "DESC", &mut 0)?;
    }
    rescued.rows += to.total_changes() - before;
    Ok(())
}

/// Copies the whole rows in the order of the key, and answers whether it came to the end.
fn copy_rows(
    from: &Connection,
    to: &Connection,
    table: &Table,
    order: &str,
    damaged_rows: &mut u64,
) -> rusqlite::Result<bool> {
    let sql = format!("SELECT * FROM {} ORDER BY {} {order}", table.name, table.key);
    let Ok(mut statement) = from.prepare(&sql) else { return Ok(false) };
    let places = vec!["?"; statement.column_count()].join(",");
    let mut insert = to.prepare(&format!("INSERT OR IGNORE INTO {} VALUES ({places})", table.name))?;
    let Ok(mut rows) = statement.query([]) else { return Ok(false) };
    loop {
        match rows.next() {
            Err(_) => return Ok(false),
            Ok(None) => return Ok(true),
            Ok(Some(row)) if is_whole(table, row).unwrap_or(false) => copy_row(row, &mut insert)?,
            Ok(Some(_)) => *damaged_rows += 1,
        }
    }
}

fn copy_row(row: &Row<'_>, insert: &mut rusqlite::Statement<'_>) -> rusqlite::Result<()> {
    let columns = 0..row.as_ref().column_count();
    let values = columns.map(|column| row.get_ref(column).map(ToSqlOutput::Borrowed));
    insert.execute(rusqlite::params_from_iter(values.collect::<rusqlite::Result<Vec<_>>>()?))?;
    Ok(())
}
