//! gatherd gathers from the network without losing anything.
//!
//! The modules, lowest layer first; each imports only from those above it (`tests/layering.rs` holds the table).

pub mod model;
pub mod runtime;
pub mod telemetry;

pub mod expr;
pub mod settings;

pub mod store;

pub mod http;

pub mod component;

pub mod queues;
pub mod sinks;
pub mod sources;
pub mod steps;

pub mod pipeline;

pub mod config;

pub mod assemble;

pub mod daemon;

pub mod cli;
