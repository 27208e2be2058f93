//! The addresses of units, and of what units import.

use crate::contract::{
    domain::Domain,
    value::{ParseError, is_token, text_schema, text_traits},
};
use std::str::FromStr;

/// The address of a unit: `strat://{domain}/{type}/{slug}@{semver}`, at most 512 bytes.
///
/// The type is `[a-z][a-z0-9-]*`, the slug kebab-case, the version [SemVer 2.0](https://semver.org).
///
/// ```
/// use stratt_event_bridge::UnitUri;
///
/// let uri: UnitUri = "strat://dev/rule/no-secrets@1.0.0-rc.1".parse().unwrap();
/// assert_eq!(uri.domain().as_str(), "dev");
/// assert_eq!(uri.version(), "1.0.0-rc.1");
/// assert!("strat://dev/rule/No_Secrets@1.0".parse::<UnitUri>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitUri {
    text: Box<str>,
    domain: Domain,
}

const UNIT_MAX_BYTES: usize = 512;
const RESOURCE_MAX_BYTES: usize = 2048;

impl UnitUri {
    /// Returns the text, as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the domain; events of this unit are published under it.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Returns the type, such as `rule`.
    #[must_use]
    pub fn unit_type(&self) -> &str {
        self.parts().kind
    }

    /// Returns the slug, such as `no-secrets`.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.parts().slug
    }

    /// Returns the semantic version, such as `1.0.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.parts().version
    }

    fn parts(&self) -> Parts<'_> {
        // It was split when it was parsed.
        split(&self.text).unwrap_or_default()
    }
}

#[derive(Default)]
struct Parts<'a> {
    domain: &'a str,
    kind: &'a str,
    slug: &'a str,
    version: &'a str,
}

/// Returns the parts, or which of them is missing.
fn split(text: &str) -> Result<Parts<'_>, &'static str> {
    let rest = text.strip_prefix("strat://").ok_or("must begin with strat://")?;
    let (domain, rest) =
        rest.split_once('/').ok_or("has no type: must be strat://{domain}/{type}/{slug}@{semver}")?;
    let (kind, rest) =
        rest.split_once('/').ok_or("has no slug: must be strat://{domain}/{type}/{slug}@{semver}")?;
    let (slug, version) =
        rest.split_once('@').ok_or("has no version: must be strat://{domain}/{type}/{slug}@{semver}")?;
    Ok(Parts { domain, kind, slug, version })
}

impl FromStr for UnitUri {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |rule| ParseError::new("unit URI", rule, text);
        if text.len() > UNIT_MAX_BYTES {
            return Err(refused("must have at most 512 bytes"));
        }
        let Parts { domain, kind, slug, version } = split(text).map_err(refused)?;
        let is_domain = domain.parse::<Domain>();
        let domain = is_domain.map_err(|error| refused(error.rule()).of_part("domain", domain))?;
        for (name, part, is_valid, rule) in [
            ("type", kind, is_type(kind), "must be of a-z 0-9 - and begin with a letter"),
            ("slug", slug, is_slug(slug), "must be words of a-z 0-9, with one - between two"),
            ("version", version, is_semver(version), "must be one of SemVer 2.0, such as 1.0.0"),
        ] {
            if !is_valid {
                return Err(refused(rule).of_part(name, part));
            }
        }
        Ok(Self { domain, text: text.into() })
    }
}

text_traits!(UnitUri);
text_schema!(
    UnitUri,
    "must be strat://{domain}/{type}/{slug}@{semver} of at most 512 bytes",
    UNIT_MAX_BYTES,
    concat!(
        r"strat://[a-z0-9][a-z0-9-]{0,62}/[a-z][a-z0-9-]*/[a-z0-9]+(?:-[a-z0-9]+)*",
        r"@(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)",
        r"(?:-(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?",
        r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
    )
);

fn is_type(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_slug(text: &str) -> bool {
    text.split('-')
        .all(|word| is_token(word, UNIT_MAX_BYTES, |b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

/// Checks a version against the grammar of
/// <https://semver.org/spec/v2.0.0.html#backusnaur-form-grammar-for-valid-semver-versions>.
fn is_semver(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    core.split('.').try_fold(0, |count, part| is_number(part).then_some(count + 1)) == Some(3)
        && pre.is_none_or(|pre| {
            pre.split('.').all(|part| is_identifier(part) && (!is_digits(part) || is_number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(is_identifier))
}

fn is_digits(text: &str) -> bool {
    is_token(text, UNIT_MAX_BYTES, |b| b.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    is_digits(text) && (text == "0" || !text.starts_with('0'))
}

fn is_identifier(text: &str) -> bool {
    is_token(text, UNIT_MAX_BYTES, |b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The address of something that a unit imports: any absolute URI with a scheme.
///
/// Printable ASCII without blanks, at most 2048 bytes, such as `choco://docs/style-guide`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceUri(Box<str>);

impl ResourceUri {
    /// Returns the text, as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceUri {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |rule| ParseError::new("resource URI", rule, text);
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(refused("has no scheme: must be an absolute URI"));
        };
        if text.len() > RESOURCE_MAX_BYTES {
            Err(refused("must have at most 2048 bytes"))
        } else if !is_scheme(scheme) {
            let rule = "must be of A-Z a-z 0-9 + - . and begin with a letter";
            Err(refused(rule).of_part("scheme", scheme))
        } else if rest.is_empty() {
            Err(refused("has nothing behind its scheme"))
        } else if !rest.bytes().all(|b| b.is_ascii_graphic()) {
            Err(refused("must be printable ASCII without blanks"))
        } else {
            Ok(Self(text.into()))
        }
    }
}

text_traits!(ResourceUri);
text_schema!(
    ResourceUri,
    "must be an absolute URI of printable ASCII without blanks, at most 2048 bytes",
    RESOURCE_MAX_BYTES,
    "[A-Za-z][A-Za-z0-9+.-]*:[!-~]+"
);

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

impl From<UnitUri> for ResourceUri {
    fn from(uri: UnitUri) -> Self {
        Self(uri.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_uris_are_told_from_others() {
        let valid = [
            "strat://dev/rule/no-secrets@1.0.0",
            "strat://0a-b/t/s@0.0.0",
            "strat://dev/role/a1-2b@10.20.30-alpha.1.x-y-z+build.007",
            "strat://dev/x-/s@1.0.0+0-0",
        ];
        for text in valid {
            assert_eq!(text.parse::<UnitUri>().unwrap().as_str(), text);
        }
        let long = format!("strat://dev/rule/{}@1.0.0", "a".repeat(512));
        let invalid = [
            "",
            "strat://",
            "STRAT://dev/rule/a@1.0.0",
            "strat://Dev/rule/a@1.0.0",
            "strat://dev.x/rule/a@1.0.0",
            "strat://*/rule/a@1.0.0",
            "strat://dev/1rule/a@1.0.0",
            "strat://dev/rule/@1.0.0",
            "strat://dev/rule/a--b@1.0.0",
            "strat://dev/rule/-a@1.0.0",
            "strat://dev/rule/a/b@1.0.0",
            "strat://dev/rule/a@1.0",
            "strat://dev/rule/a@1.0.0.0",
            "strat://dev/rule/a@01.0.0",
            "strat://dev/rule/a@1.0.0-01",
            "strat://dev/rule/a@1.0.0-",
            "strat://dev/rule/a@1.0.0+",
            "strat://dev/rule/a@1.0.0#x",
            "strat://dev/rule/a@1.0.0\n",
            "strat://dev/rule/ä@1.0.0",
            long.as_str(),
        ];
        for text in invalid {
            assert!(text.parse::<UnitUri>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn resource_uris_are_absolute_and_printable() {
        for text in ["choco://docs/a?b#c", "strat://dev/rule/a@1.0.0", "urn:isbn:1"] {
            assert!(text.parse::<ResourceUri>().is_ok(), "{text:?}");
        }
        for text in ["", "docs/a", ":a", "1a:b", "a:", "a: b", "a:\u{e9}", "a:\n", "a:\0"] {
            assert!(text.parse::<ResourceUri>().is_err(), "{text:?} must be refused");
        }
    }
}
