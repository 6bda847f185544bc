//! Durable queues between pipelines.

mod embedded;

pub use embedded::QueueSettings;
