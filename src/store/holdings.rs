//! What a store holds of each component, in numbers: what would be orphaned if the component went away.

use rusqlite::Connection;

use super::Store;
use super::state::Found;
use crate::model::Fault;

/// So many things of one kind that belong to a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub pipeline: String,
    /// As dead letters call it.
    pub component: String,
    pub what: Held,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Position,
    Cursor,
    /// A key that a `new` has seen.
    SeenKey,
    /// A value that a `changed` remembers.
    LastValue,
    /// What tells a reply from later ones.
    Validator,
    DeadLetter,
}

impl Held {
    /// Of one, and of several.
    pub fn names(self) -> [&'static str; 2] {
        match self {
            Held::Position => ["position", "positions"],
            Held::Cursor => ["cursor", "cursors"],
            Held::SeenKey => ["seen key", "seen keys"],
            Held::LastValue => ["last value", "last values"],
            Held::Validator => ["validator", "validators"],
            Held::DeadLetter => ["dead letter", "dead letters"],
        }
    }
}

/// Each answers a pipeline, a component, and a count that is not zero. Under no pipeline stand the keys of queues.
const QUERIES: [(Held, &str); 6] = [
    (
        Held::Position,
        "SELECT pipeline, component, 1 FROM position_even UNION SELECT pipeline, component, 1 FROM position_odd",
    ),
    (
        Held::Cursor,
        "SELECT pipeline, component, count(*) FROM (SELECT pipeline, component, partition FROM cursor_even \
         UNION SELECT pipeline, component, partition FROM cursor_odd) GROUP BY pipeline, component",
    ),
    (Held::SeenKey, "SELECT pipeline, component, count(*) FROM seen WHERE pipeline <> '' GROUP BY pipeline, component"),
    (Held::LastValue, "SELECT pipeline, component, count(*) FROM last GROUP BY pipeline, component"),
    (Held::Validator, "SELECT pipeline, component, count(*) FROM validator GROUP BY pipeline, component"),
    (Held::DeadLetter, "SELECT pipeline, component, count(*) FROM dead_letter GROUP BY pipeline, component"),
];

impl Store {
    /// What each component has, by name. Reads all of it once.
    pub fn holdings(&self) -> Result<Vec<Holding>, Fault> {
        let mut holdings = self.inner.readers.read(read)?;
        // Those of a component stay in the order of the queries.
        holdings.sort_by(|a, b| (&a.pipeline, &a.component).cmp(&(&b.pipeline, &b.component)));
        Ok(holdings)
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Found<Vec<Holding>>> {
    let mut holdings = Vec::new();
    for (what, sql) in QUERIES {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            let count = row.get::<_, i64>(2)?.unsigned_abs();
            Ok(Holding { pipeline: row.get(0)?, component: row.get(1)?, what, count })
        })?;
        for row in rows {
            holdings.push(row?);
        }
    }
    Ok(Found { value: holdings, damaged: 0 })
}
