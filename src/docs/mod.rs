//! The guides.

#[doc = include_str!("delivery.md")]
pub mod delivery {}

#[doc = include_str!("dedupe.md")]
pub mod dedupe {}

#[doc = include_str!("dead_letters.md")]
pub mod dead_letters {}

/// With the features `postgres` and `sqlite`.
#[cfg(all(feature = "postgres", feature = "sqlite"))]
#[doc = include_str!("outbox.md")]
pub mod outbox {}

#[doc = include_str!("wire.md")]
pub mod wire {}

#[doc = include_str!("operating.md")]
#[doc = include_str!("scaling.svg")]
#[doc = include_str!("held.svg")]
#[doc = include_str!("batches.svg")]
pub mod operating {}

#[doc = include_str!("observing.md")]
pub mod observing {}

/// With the feature `console`.
#[cfg(feature = "console")]
#[doc = include_str!("console.md")]
pub mod console {}

#[doc = include_str!("permissions.md")]
pub mod permissions {}

#[doc = include_str!("comparing.md")]
pub mod comparing {}

#[doc = include_str!("architecture.md")]
pub mod architecture {}

/// Compiles the examples of README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}
