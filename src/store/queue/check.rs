//! Checks what queues hold: that every entry that is not settled can be handed out.

use rusqlite::{Connection, OptionalExtension};

use super::batch::{Header, unpack};
use super::ledger::read_blob;
use super::progress::Progress;
use super::recovery::for_each_row;
use crate::model::Text;
use crate::store::check::CheckReport;

/// Checks every batch. Rows with damage are reported elsewhere, and passed over here.
pub(in crate::store) fn check(connection: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
    let queues = read_queues(connection)?;
    let batches = connection
        .prepare("SELECT id FROM batch ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for batch in batches {
        check_batch(connection, &queues, batch, report)?;
    }
    let lost = "SELECT queue, batch FROM progress \
                WHERE batch NOT IN (SELECT id FROM batch) OR queue NOT IN (SELECT id FROM queue)";
    for_each_row(connection, lost, |row| {
        let (queue, batch): (i64, i64) = (row.get(0)?, row.get(1)?);
        report.damaged(format!("batch {batch} of queue {queue}"), "the queue or the batch is not there");
        Ok(())
    })
}

fn read_queues(connection: &Connection) -> rusqlite::Result<Vec<(i64, Text)>> {
    let mut statement = connection.prepare("SELECT id, name FROM queue")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn check_batch(
    connection: &Connection,
    queues: &[(i64, Text)],
    batch: i64,
    report: &mut CheckReport,
) -> rusqlite::Result<()> {
    let blob = read_blob(connection, batch)?.unwrap_or_default();
    let header = Header::read(batch, &blob);
    if header.is_none() {
        report.damaged(format!("batch {batch}"), "its header is not as it was written");
    }
    let mut statement = connection.prepare_cached("SELECT * FROM progress WHERE queue = ?1 AND batch = ?2")?;
    let mut is_used = false;
    for (queue, name) in queues {
        let Some(progress) = statement.query_row([queue, &batch], Progress::read).optional()? else { continue };
        is_used = true;
        let Some(progress) = progress else { continue };
        let entries = unpack(batch, &blob, progress.len());
        for index in progress.unsettled() {
            if entries.get(index as usize).is_some_and(Option::is_some) {
                report.whole += 1;
            } else {
                let place = format!("queue `{name}`, entry {index} of batch {batch}");
                report.damaged(place, "it is not as it was written");
            }
        }
    }
    if !is_used {
        report.damaged(format!("batch {batch}"), "no queue knows of it");
    }
    Ok(())
}
