//! The embedded log's consumer.
mod fetcher;
mod subscription;
mod log_consumer;

pub(crate) use log_consumer::LogConsumer;
