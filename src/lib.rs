//! STRATT event bridge.

#[cfg(feature = "testing")]
pub mod testing;
