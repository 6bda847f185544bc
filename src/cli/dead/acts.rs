//! What is done with dead letters.

use crate::cli::access::Access;
use crate::model::{Fault, FaultKind, Size, Value};
use crate::runtime;
use crate::store::{DeadLetter, DeadLetterFilter, Replay};

/// How many dead letters are read at a time, and how much memory they take at most.
const PAGE: usize = 500;
const PAGE_BYTES: Size = Size::mib(8);

impl Access {
    /// Hands over dead letters, the newest first, up to the filter's limit.
    pub(super) fn each(
        &self,
        filter: &DeadLetterFilter,
        mut take: impl FnMut(DeadLetter) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut left = filter.limit.unwrap_or(usize::MAX);
        let mut filter = DeadLetterFilter { bytes: Some(PAGE_BYTES), ..filter.clone() };
        while left > 0 {
            filter.limit = Some(left.min(PAGE));
            let page = match self {
                Access::Daemon(daemon) => daemon.dead_letters(&filter)?,
                Access::Store(store) => store.dead_letters(&filter)?,
            };
            let Some(last) = page.last() else { return Ok(()) };
            filter.after = Some((last.last, last.id));
            left = left.saturating_sub(page.len());
            page.into_iter().try_for_each(&mut take)?;
        }
        Ok(())
    }

    pub(super) fn ids(&self, filter: &DeadLetterFilter) -> Result<Vec<i64>, Fault> {
        match self {
            Access::Daemon(daemon) => daemon.dead_letter_ids(filter),
            Access::Store(store) => store.dead_letter_ids(filter),
        }
    }

    /// One that must be there; `attempted` says what for.
    pub(super) fn letter(&self, id: i64, attempted: &str) -> Result<DeadLetter, Fault> {
        let found = match self {
            Access::Daemon(daemon) => daemon.dead_letter(id)?,
            Access::Store(store) => store.dead_letter(id)?,
        };
        found.ok_or_else(|| {
            let message =
                format!("cannot {attempted} dead letter {id}: there is none of that number (see `gatherd dead list`)");
            Fault::stop(FaultKind::Request, message)
        })
    }

    /// `json` stands for the value as [`DeadLetter::value_to_json`] shows it.
    pub(super) fn edit(&self, id: i64, json: Value) -> Result<(), Fault> {
        match self {
            Access::Daemon(daemon) => daemon.edit_dead_letter(id, &json),
            Access::Store(store) => {
                let value = DeadLetter::value_from_json(json).map_err(|why| Fault::stop(FaultKind::Request, why))?;
                runtime::block_on(store.edit_dead_letter(id, value))
            }
        }
    }

    /// Answers why some of them will not be replayed as things stand.
    pub(super) fn replay(&self, replays: Vec<Replay>) -> Result<Vec<String>, Fault> {
        match self {
            Access::Daemon(daemon) => daemon.replay_dead_letters(&replays),
            Access::Store(store) => runtime::block_on(store.replay_dead_letters(replays)).map(|()| Vec::new()),
        }
    }

    pub(super) fn drop(&self, ids: &[i64]) -> Result<(), Fault> {
        match self {
            Access::Daemon(daemon) => daemon.drop_dead_letters(ids),
            Access::Store(store) => runtime::block_on(store.drop_dead_letters(ids)),
        }
    }

    pub(super) fn is_daemon(&self) -> bool {
        matches!(self, Access::Daemon(_))
    }
}
