//! The sender of a request, and what they may do.

/// The rights of a visitor of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Nothing: every request is answered by 403.
    Denied,
    /// See everything that the console shows.
    Read,
    /// Redrive, discard, pause and resume as well.
    Operate,
}

/// The sender of a request, as the host knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    name: String,
    access: Access,
}

impl Visitor {
    /// Returns a visitor who may do nothing.
    #[must_use]
    pub fn denied() -> Self {
        Self { name: String::new(), access: Access::Denied }
    }

    /// Returns a visitor who may see everything that the console shows.
    #[must_use]
    pub fn reader(name: impl Into<String>) -> Self {
        Self { name: name.into(), access: Access::Read }
    }

    /// Returns a visitor who may change something as well. The name is written into the audit stream with each action.
    #[must_use]
    pub fn operator(name: impl Into<String>) -> Self {
        Self { name: name.into(), access: Access::Operate }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the visitor may do.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }
}
