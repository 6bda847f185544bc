//! Filters of components that go to the network.

use super::FilterFault;
use crate::expr::Fuel;
use crate::http::Unrendered;
use crate::model::{Fault, FaultKind};
use crate::runtime;

/// Runs `work`, which runs filters, on the executor's thread; and once more on a blocking one if that is not enough.
pub async fn with_fuel<T, W>(work: W) -> Result<T, Fault>
where
    T: Send + 'static,
    W: Fn(Fuel) -> Result<T, FilterFault> + Send + 'static,
{
    match work(Fuel::Inline) {
        Err(FilterFault::OutOfFuel) => with_much_fuel(Box::new(move || work(Fuel::Blocking))).await,
        done => done.map_err(ended_by),
    }
}

/// [`with_fuel`] for work over what need not be cloned unless it goes to another thread.
pub async fn with_fuel_over<A, B, T, W>(one: &A, other: &B, work: W) -> Result<T, Fault>
where
    A: Clone + Send + Sync + 'static,
    B: Clone + Send + Sync + 'static,
    T: Send + 'static,
    W: Fn(&A, &B, Fuel) -> Result<T, FilterFault> + Send + Sync + 'static,
{
    match work(one, other, Fuel::Inline) {
        Err(FilterFault::OutOfFuel) => {
            let (one, other) = (one.clone(), other.clone());
            with_much_fuel(Box::new(move || work(&one, &other, Fuel::Blocking))).await
        }
        done => done.map_err(ended_by),
    }
}

async fn with_much_fuel<T: Send + 'static>(
    work: Box<dyn FnOnce() -> Result<T, FilterFault> + Send>,
) -> Result<T, Fault> {
    let done = runtime::blocking(work).await;
    let done = done.map_err(|panic| Fault::reject(FaultKind::Panic, format!("a filter panicked: {}", panic.0)))?;
    done.map_err(ended_by)
}

fn ended_by(fault: FilterFault) -> Fault {
    match fault {
        FilterFault::Fault(fault) => fault,
        FilterFault::OutOfFuel => Fault::reject(FaultKind::Filter, "a filter ran longer than an item may take"),
    }
}

impl FilterFault {
    /// The fault of an item that no request can be made from.
    pub fn of_request(unrendered: Unrendered, fuel: Fuel) -> Self {
        match unrendered {
            Unrendered::Filter { setting, error } => FilterFault::new(setting, error, fuel),
            Unrendered::Unsendable(cause) => {
                FilterFault::Fault(Fault::reject(FaultKind::Request, format!("cannot make a request: {cause}")))
            }
        }
    }
}
