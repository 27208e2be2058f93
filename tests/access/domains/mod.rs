//! JetStream elsewhere: in the hub of a leaf node, or in another account that exports it.

mod advisories;
pub mod imported;
mod refused;
mod stored_twice;
mod work;
