//! The one expression language: jq filters, and templates that hold them. Compiled once, run for every item.

mod arithmetic;
mod builtins;
mod compile;
mod cut;
mod filter;
mod fuel;
mod language;
mod metered;
mod native;
mod regular;
mod rewrite;
mod template;

use filter::shortened;
pub use filter::{Engine, Filter, FilterError, Fuel, Results, Scope, Vars};
pub use template::{Encoding, Template};

/// Text that is no filter or template: what is wrong, and which bytes of the text show it.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntaxError {
    pub message: String,
    pub span: std::ops::Range<usize>,
}
