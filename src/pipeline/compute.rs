//! Runs a component's own computation so that it can neither hold an executor thread nor take the process down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;

use crate::component::{FilterFault, TransformScope};
use crate::expr::{Filter, Fuel};
use crate::model::{Fault, FaultKind, Item};
use crate::runtime::{self, Panic};

/// A component's own computation.
pub(super) type Work<C, T> = fn(&C, &Item, TransformScope) -> Result<T, FilterFault>;

/// Runs `work` on this thread with little fuel, and if that was not enough, once more on a blocking thread with
/// much. A panic is a fault of the item.
pub(super) async fn compute<C, T>(now: Timestamp, component: &Arc<C>, item: &Item, work: Work<C, T>) -> Result<T, Fault>
where
    C: Send + Sync + 'static,
    T: Send + 'static,
{
    match compute_inline(now, &**component, item, work) {
        Ok(result) => Ok(result),
        Err(FilterFault::Fault(fault)) => Err(fault),
        Err(FilterFault::OutOfFuel) => compute_blocking(now, component, item, work).await,
    }
}

/// Runs `work` on this thread with little fuel. A panic is a fault of the item.
pub(super) fn compute_inline<C, T>(
    now: Timestamp,
    component: &C,
    item: &Item,
    work: Work<C, T>,
) -> Result<T, FilterFault> {
    let scope = TransformScope { now, fuel: Fuel::Inline };
    let outcome = catch_unwind(AssertUnwindSafe(|| work(component, item, scope)));
    outcome.unwrap_or_else(|panic| Err(FilterFault::Fault(panicked(&Panic::from(panic)))))
}

/// Runs `work` on a blocking thread with much fuel, after little was not enough.
pub(super) async fn compute_blocking<C, T>(
    now: Timestamp,
    component: &Arc<C>,
    item: &Item,
    work: Work<C, T>,
) -> Result<T, Fault>
where
    C: Send + Sync + 'static,
    T: Send + 'static,
{
    let (component, item) = (component.clone(), item.clone());
    let scope = TransformScope { now, fuel: Fuel::Blocking };
    match runtime::blocking(move || work(&component, &item, scope)).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(FilterFault::Fault(fault))) => Err(fault),
        Ok(Err(FilterFault::OutOfFuel)) => Err(Fault::reject(FaultKind::Filter, "it ran longer than an item may take")),
        Err(panic) => Err(panicked(&panic)),
    }
}

/// The fault of the item on which a component panicked.
pub(super) fn panicked(panic: &Panic) -> Fault {
    Fault::reject(FaultKind::Panic, format!("the component panicked: {}", panic.0))
}

/// Whether a `when` lets an item in; without one, every item is let in.
pub(super) fn lets_in(when: Option<&Filter>, item: &Item, scope: TransformScope) -> Result<bool, FilterFault> {
    when.map_or(Ok(true), |when| {
        when.test(&item.value, &scope.of(item)).map_err(|error| FilterFault::new("when", error, scope.fuel))
    })
}
