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
    let done = match work(Fuel::Inline) {
        Err(FilterFault::OutOfFuel) => {
            let done = runtime::blocking(move || work(Fuel::Blocking)).await;
            done.map_err(|panic| Fault::reject(FaultKind::Panic, format!("a filter panicked: {}", panic.0)))?
        }
        done => done,
    };
    done.map_err(|fault| match fault {
        FilterFault::Fault(fault) => fault,
        FilterFault::OutOfFuel => Fault::reject(FaultKind::Filter, "a filter ran longer than an item may take"),
    })
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
