//! Looks into queues without changing them.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::progress::Progress;
use super::recovery::Scan;
use super::time_of;
use crate::model::Text;
use crate::store::state::Found;
use crate::store::{QueueCounts, QueueSize};

/// When the next entry that is held back may be handed out.
pub(in crate::store) fn next_due(connection: &Connection, queue: &str) -> rusqlite::Result<Found<Option<Timestamp>>> {
    let sql = "SELECT min(due) FROM progress WHERE queue = (SELECT id FROM queue WHERE name = ?1) AND due IS NOT NULL";
    let due: Option<i64> = connection.prepare_cached(sql)?.query_row([queue], |row| row.get(0))?;
    Ok(Found { value: due.map(time_of), damaged: 0 })
}

/// When the oldest entry was pushed.
pub(in crate::store) fn oldest(connection: &Connection, queue: &str) -> rusqlite::Result<Found<Option<Timestamp>>> {
    let id = "SELECT id FROM queue WHERE name = ?1";
    let Some(id) = connection.prepare_cached(id)?.query_row([queue], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(Found { value: None, damaged: 0 });
    };
    let mut found = Found { value: None, damaged: 0 };
    let mut statement = connection.prepare_cached("SELECT * FROM progress WHERE queue = ?1 ORDER BY batch")?;
    let mut rows = statement.query([id])?;
    while found.value.is_none()
        && let Some(row) = rows.next()?
    {
        match Progress::read(row)? {
            None => found.damaged += 1,
            Some(progress) if progress.counts().unsettled > 0 => found.value = Some(time_of(progress.pushed)),
            Some(_) => {}
        }
    }
    Ok(found)
}

/// What every queue holds, counted row by row.
pub(in crate::store) fn sizes(connection: &Connection) -> rusqlite::Result<Found<Vec<(Text, QueueSize)>>> {
    let scan = Scan::of(connection)?;
    let mut sizes: Vec<_> = scan.queues.into_values().map(|queue| (queue.name, queue.size)).collect();
    sizes.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Found { value: sizes, damaged: scan.damaged.len() as u64 })
}

/// What every queue holds, by state.
pub(in crate::store) fn counts(connection: &Connection) -> rusqlite::Result<Found<Vec<(Text, QueueCounts)>>> {
    let Found { value: sizes, damaged } = sizes(connection)?;
    let mut queues = Vec::new();
    for (name, size) in sizes {
        let mut counts = QueueCounts { size, ..QueueCounts::default() };
        let sql = "SELECT * FROM progress WHERE queue = (SELECT id FROM queue WHERE name = ?1)";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([&*name])?;
        while let Some(row) = rows.next()? {
            let Some(progress) = Progress::read(row)? else { continue };
            counts.in_flight += u64::from(progress.counts().out);
            counts.suspects += u64::from(progress.counts().suspects);
            counts.held_back += progress.held_back() as u64;
        }
        queues.push((name, counts));
    }
    Ok(Found { value: queues, damaged })
}
