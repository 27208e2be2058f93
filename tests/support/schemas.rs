use jsonschema::{Draft, Validator};
use serde_json::Value;
use stratt_event_bridge::schema::{JsonSchema, schemars};

/// Returns a validator that asserts formats too, so that no test passes because they are ignored.
pub fn validator(schema: &Value) -> Validator {
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    options.build(schema).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the validator of a value of the contract.
pub fn validator_of<T: JsonSchema>() -> Validator {
    validator(schemars::schema_for!(T).as_value())
}
