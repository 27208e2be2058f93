//! The comparison of a configuration with the one that is wanted.

use serde::Serialize;
use std::fmt::{self, Debug};

/// A setting of a configuration, with its value as a person would write it.
#[derive(Debug)]
pub(crate) struct Setting {
    name: &'static str,
    value: String,
    is_immutable: bool,
}

impl Setting {
    /// Returns a setting that the server can change.
    pub(crate) fn mutable(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), is_immutable: false }
    }

    /// Returns a setting that the server cannot change.
    pub(crate) fn immutable(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), is_immutable: true }
    }
}

/// A setting that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ConfigDifference {
    pub(crate) field: &'static str,
    pub(crate) found: String,
    pub(crate) wanted: String,
    pub(crate) is_immutable: bool,
}

impl ConfigDifference {
    /// Compares one setting; `None` if it is as wanted.
    pub(crate) fn between<T: Debug + PartialEq>(field: &'static str, found: &T, wanted: &T) -> Option<Self> {
        (found != wanted).then(|| Self::violated(field, found, format!("{wanted:?}")))
    }

    /// Returns a setting that violates a requirement other than equality, which `wanted` states.
    pub(crate) fn violated(field: &'static str, found: &dyn Debug, wanted: String) -> Self {
        Self { field, found: format!("{found:?}"), wanted, is_immutable: false }
    }
}

impl fmt::Display for ConfigDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, found, wanted, .. } = self;
        write!(f, "{field} {found}, wanted {wanted}")
    }
}

/// Returns the settings that differ, in their order.
pub(crate) fn differences<const N: usize>(
    wanted: [Setting; N],
    found: [Setting; N],
) -> impl Iterator<Item = ConfigDifference> {
    wanted.into_iter().zip(found).filter(|(wanted, found)| wanted.value != found.value).map(
        |(Setting { name, value, is_immutable }, found)| ConfigDifference {
            field: name,
            found: found.value,
            wanted: value,
            is_immutable,
        },
    )
}
