//! The streams as files for other tools: what they should be, written down without a broker.

mod json;
mod nack;
