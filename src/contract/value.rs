//! The common parts of the validated text values of the contract.

/// An error of a text that is not a valid value of the type it was parsed into.
///
/// Its `Display` names the type, shows the text and the part of it that is wrong (escaped, each cut at 64
/// characters), and states the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid {what} {shown:?}: {}{rule}",
    .part.as_ref().map_or_else(String::new, |(name, part)| format!("{name} {part:?} "))
)]
pub struct ParseError {
    what: &'static str,
    rule: &'static str,
    shown: String,
    part: Option<(&'static str, String)>,
}

impl ParseError {
    /// Returns an error whose `rule` states what would have been valid.
    pub(crate) fn new(what: &'static str, rule: &'static str, text: &str) -> Self {
        Self { what, rule, shown: shown(text), part: None }
    }

    /// Returns the same error with the part of the text that the rule is about.
    pub(crate) fn of_part(mut self, name: &'static str, part: &str) -> Self {
        self.part = Some((name, shown(part)));
        self
    }

    /// Returns the kind of value that was asked for, such as `domain` or `unit URI`.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    pub(crate) fn rule(&self) -> &'static str {
        self.rule
    }

    /// Returns the part that is wrong, such as `domain` or `version` of a unit URI; `None` if it is no single one.
    #[must_use]
    pub fn part(&self) -> Option<&'static str> {
        self.part.as_ref().map(|(name, _)| *name)
    }
}

/// Returns the beginning of a text, enough to recognise it.
fn shown(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Implements parsing, printing and serde for `struct $name(Box<str>)`, given what it is and its rule: as code, in
/// words, and as the most bytes and a pattern.
macro_rules! text_value {
    ($name:ident, $what:literal, $valid:expr, $rule:literal, $max:expr, $pattern:expr $(, $($more:tt)+)?) => {
        impl $name {
            /// Returns the text, as it stands on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::contract::value::ParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err($crate::contract::value::ParseError::new($what, $rule, text))
                }
            }
        }

        $crate::contract::value::text_traits!($name);
        $crate::contract::value::text_schema!($name, $rule, $max, $pattern $(, $($more)+)?);
    };
}

/// The traits every text value has once it can be parsed and has `as_str`.
macro_rules! text_traits {
    ($name:ident) => {
        impl TryFrom<&str> for $name {
            type Error = $crate::contract::value::ParseError;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text =
                    <$crate::contract::value::Text<'de> as serde::Deserialize>::deserialize(deserializer)?;
                text.0.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Implements `schemars::JsonSchema` for a text value, given its rule in words, the most bytes, and a pattern for the
/// whole text; further keywords of JSON Schema may follow.
///
/// The pattern keeps to what the regular expressions of most languages have in common: it looks neither ahead nor
/// behind, and names no class. It must say the same as the code; `tests/contract/schema.rs` compares them.
#[cfg(feature = "schema")]
macro_rules! text_schema {
    ($name:ident, $rule:expr, $max:expr, $pattern:expr $(, $($more:tt)+)?) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $rule,
                    "maxLength": $max,
                    "pattern": concat!("^(?:", $pattern, ")$"),
                    // In Python and others, `$` also matches before a line feed at the end.
                    "not": { "pattern": "[^!-~]" }
                    $(, $($more)+)?
                })
            }
        }
    };
}

#[cfg(not(feature = "schema"))]
macro_rules! text_schema {
    ($($ignored:tt)*) => {};
}

pub(crate) use {text_schema, text_traits, text_value};

/// A JSON string, borrowed when it holds no escapes.
#[derive(serde::Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) std::borrow::Cow<'a, str>);

/// Returns whether `text` has 1 to `max` bytes, each of them accepted.
pub(crate) fn is_token(text: &str, max: usize, accepted: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(accepted)
}
