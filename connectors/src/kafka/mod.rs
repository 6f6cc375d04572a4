//! A Kafka cluster as the log, and the bridge between it and another log.
mod failure;
mod settings;
mod convert;
mod context;
mod member;
mod cluster;
mod watermarks;
mod groups;
mod partition;
mod confirm;
mod reading;
mod rebalance;
mod consumer;
mod delivery;
mod known_topics;
mod producer;
mod log;

pub use log::KafkaLog;
pub use settings::KafkaLogBuilder;
