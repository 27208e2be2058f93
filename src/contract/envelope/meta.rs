//! Free-form companions of an event.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// The `meta` of an envelope: a JSON object that the contract does not specify further.
///
/// It is kept as the text it was received as and read on demand: a hostile object costs its own size and no more.
#[derive(Clone)]
pub struct Meta(Box<RawValue>);

impl Meta {
    /// Returns the object as JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// Returns the value of a member, or `None` if there is no such member. Of members with the same name the last
    /// counts.
    ///
    /// # Errors
    ///
    /// If the object cannot be read, or the member is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Members<'a>(#[serde(borrow)] BTreeMap<Name<'a>, &'a RawValue>);

        #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        let Members(members) = serde_json::from_str(self.as_json())?;
        members.get(&Name(name.into())).map(|value| serde_json::from_str(value.get())).transpose()
    }

    /// Returns the object with these members, in this order.
    pub(super) fn new(members: &[(String, serde_json::Value)]) -> Result<Self, serde_json::Error> {
        struct Object<'a>(&'a [(String, serde_json::Value)]);

        impl Serialize for Object<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
            }
        }

        serde_json::value::to_raw_value(&Object(members)).map(Self)
    }

    /// `None` if `value` is not an object.
    pub(super) fn from_raw(value: &RawValue) -> Option<Self> {
        value.get().starts_with('{').then(|| Self(value.to_owned()))
    }
}

impl PartialEq for Meta {
    /// Returns whether the JSON text is the same.
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl fmt::Debug for Meta {
    /// Writes its size only: its content may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meta({} bytes)", self.as_json().len())
    }
}
