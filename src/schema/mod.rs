//! The wire contract for programs in other languages: JSON Schema 2020-12, and AsyncAPI 3.1.
//!
//! Names, patterns and limits come from the types of this crate. Every value and event of the contract implements
//! [`JsonSchema`], so that a host can use them in types of its own. `strattctl contract DIR`
//! writes the documents; those of this version are in `tests/golden/schema` of the repository.
//!
//! A schema cannot say all that a reader checks: see [the wire contract](crate::docs::wire).

mod asyncapi;
mod envelope;
mod headers;
mod messages;
mod payload;
mod values;

pub use asyncapi::asyncapi;
pub use envelope::envelope;
pub use payload::payload;
pub use schemars::{self, JsonSchema, Schema};

use schemars::{SchemaGenerator, generate::SchemaSettings};

/// Returns the generator for what a reader accepts: an optional field may be `null` as well.
fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_deserialize().into_generator()
}

/// Returns the schema as a document of its own, with what it refers to.
fn document(mut schema: Schema, mut generator: SchemaGenerator) -> Schema {
    if let Some(dialect) = &generator.settings().meta_schema {
        schema.insert("$schema".to_owned(), dialect.as_ref().into());
    }
    schema.insert("$defs".to_owned(), generator.take_definitions(true).into());
    schema
}
