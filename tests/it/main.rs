//! Integration tests: every one on a real nats-server of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::clone_on_ref_ptr,
    clippy::assigning_clones,
    clippy::print_stdout,
    missing_debug_implementations,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod acl;
mod adapter;
mod batch;
mod blocked;
mod broker_faults;
mod clock;
mod cloud_events;
mod cluster;
mod compatibility;
mod consume;
mod crash;
mod dead_letter_tool;
mod dead_letters;
mod dedupe;
mod drift;
mod expiry;
mod forwarding;
mod golden;
mod growing_table;
mod hostile;
mod interop;
mod invalid;
mod ledger;
mod lifecycle;
mod links;
#[cfg(feature = "metrics")]
mod metrics;
mod network_faults;
mod orchestrator;
mod orchestrator_refuses;
mod order;
mod outage;
mod outbox;
mod outbox_batches;
mod outbox_deaths;
#[cfg(feature = "otel")]
mod outbox_traces;
mod permissions;
mod pipelined;
mod proxy;
mod publish;
mod races;
mod recreation;
mod redis;
mod redis_server;
mod roundtrip;
mod schema;
mod secrets;
mod server;
mod settle_in;
mod shutdown;
mod slow;
mod spans;
mod sql_schema;
mod sql_stores;
mod startup;
mod status;
mod store_faults;
mod support;
mod sweeper;
mod tidy;
mod topology;
#[cfg(feature = "otel")]
mod traces;
mod twins;
mod values;
mod wrong_stores;
