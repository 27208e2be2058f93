//! The content of a unit, in the one form that is stored and fingerprinted.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt};
use stratt_event_bridge::{Fingerprint, ParseError};

/// The content of a unit as canonical JSON: members sorted by the bytes of their names, no blanks, strings with no more
/// escapes than JSON demands. Integers of 64 bits stay as they are; other numbers are doubles, written as short as they
/// can be read back. It is what RFC 8785 asks for, except that the RFC writes whole doubles as integers and sorts
/// names by UTF-16.
///
/// Exactly these bytes are stored, and exactly these bytes are hashed: what was fingerprinted is what is handed out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content(String);

impl Content {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, ParseError> {
        fingerprint(&self.0)
    }
}

/// The fingerprint of content as it is stored.
pub(crate) fn fingerprint(stored: &str) -> Result<Fingerprint, ParseError> {
    format!("blake3:{}", blake3::hash(stored.as_bytes()).to_hex()).parse()
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        serde_json::to_string(&node).map(Self).map_err(D::Error::custom)
    }
}

/// A JSON value. Unlike that of `serde_json` it refuses a name that occurs twice, of which readers take different ones,
/// and its order does not depend on what features other crates turn on.
#[derive(Serialize)]
#[serde(untagged)]
enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Text(String),
    List(Vec<Node>),
    Members(BTreeMap<String, Node>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry::<String, Node>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!("name {name:?} occurs twice")));
            }
            members.insert(name, value);
        }
        Ok(Node::Members(members))
    }
}
