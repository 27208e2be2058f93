//! The company of a running event: one that may kill its process runs alone.
//!
//! When a process dies, the claims of all that ran in it expire, and no one can say which event has killed it. An event
//! whose claims expired twice runs alone from then on. So whatever expires a third time has done it by itself, and what
//! expired in company is not counted as an attempt.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// From this many expired claims on, an event runs alone.
pub(crate) const LAPSES_IN_COMPANY: u32 = 2;

/// The claims that the consumers of one bridge hold.
#[derive(Debug, Default)]
pub(crate) struct Company(RwLock<()>);

/// The presence of a delivery that holds a claim, or is about to.
#[derive(Debug)]
pub(crate) enum Presence<'a> {
    InCompany(#[expect(dead_code, reason = "held until it is dropped")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held until it is dropped")] RwLockWriteGuard<'a, ()>),
}

impl Company {
    /// Joins the others, at once if nothing runs alone or waits to.
    pub(crate) fn try_join(&self) -> Option<Presence<'_>> {
        self.0.try_read().ok().map(Presence::InCompany)
    }

    /// Joins the others once nothing runs alone or waits to.
    pub(crate) async fn join(&self) -> Presence<'_> {
        Presence::InCompany(self.0.read().await)
    }

    /// Waits until nothing else holds a claim. Until this presence ends nothing else begins.
    pub(crate) async fn be_alone(&self) -> Presence<'_> {
        Presence::Alone(self.0.write().await)
    }
}
