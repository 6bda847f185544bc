//! Which dead letters a command means.

use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::cli::access::Access;
use crate::model::{Fault, parse_duration};
use crate::store::DeadLetterFilter;

/// What dead letters must have in common.
#[derive(Clone, Debug, Args)]
pub(super) struct FilterArguments {
    /// Only those of this pipeline.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Only those that this component gave up, such as `get` or `sink.db`.
    #[arg(long, value_name = "ID")]
    component: Option<String>,
    /// Only those with this kind of fault, such as `status` or `timeout`.
    #[arg(long, value_name = "KIND")]
    fault: Option<String>,
    /// Only those given up within this time, such as `2h`.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    within: Option<Duration>,
    /// Only those not given up again for so long, such as `7d`.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
}

/// Dead letters by their numbers, or by what they have in common.
#[derive(Clone, Debug, Args)]
pub(super) struct SelectionArguments {
    /// Their numbers in the list.
    #[arg(value_name = "ID", conflicts_with_all = ["pipeline", "component", "fault", "within", "older_than"])]
    ids: Vec<i64>,
    #[command(flatten)]
    filter: FilterArguments,
}

/// [`SelectionArguments`] for a command that changes something, and must be told what.
#[derive(Clone, Debug, Args)]
#[group(id = "which", required = true, multiple = true,
    args = ["ids", "pipeline", "component", "fault", "within", "older_than", "all"])]
pub(super) struct ExplicitSelection {
    #[command(flatten)]
    selection: SelectionArguments,
    /// All of them.
    #[arg(long, conflicts_with_all = ["ids", "pipeline", "component", "fault", "within", "older_than"])]
    all: bool,
}

/// What [`SelectionArguments`] come to.
pub(super) enum Selection {
    Ids(Vec<i64>),
    Filter(Box<DeadLetterFilter>),
}

impl FilterArguments {
    pub(super) fn into_filter(self) -> DeadLetterFilter {
        let Self { pipeline, component, fault, within, older_than } = self;
        let (since, until) = (within.map(before_now), older_than.map(before_now));
        DeadLetterFilter { pipeline, component, fault, since, until, ..DeadLetterFilter::default() }
    }
}

impl SelectionArguments {
    pub(super) fn into_selection(self) -> Selection {
        let Self { mut ids, filter } = self;
        if ids.is_empty() {
            return Selection::Filter(Box::new(filter.into_filter()));
        }
        ids.sort_unstable();
        ids.dedup();
        Selection::Ids(ids)
    }
}

impl ExplicitSelection {
    /// The numbers of all that are meant, the oldest first.
    pub(super) fn ids(self, access: &Access) -> Result<Vec<i64>, Fault> {
        match self.selection.into_selection() {
            Selection::Ids(ids) => Ok(ids),
            Selection::Filter(filter) => access.ids(&filter),
        }
    }
}

fn before_now(duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    Timestamp::now().saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

/// `1 dead letter`, `7 dead letters`.
pub(super) fn counted(count: usize) -> String {
    if count == 1 { "1 dead letter".to_owned() } else { format!("{count} dead letters") }
}
