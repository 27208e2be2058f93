//! What is told to those who look after a service.

mod emission;
pub(crate) mod span;

pub(crate) use emission::Emission;
