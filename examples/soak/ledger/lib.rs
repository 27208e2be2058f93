//! A ledger: what was published, handled and settled, held against what broker and store have in the end.
//!
//! All participants, in all processes, write their observations into one [`Journal`]: publishers through
//! [`Journal::condemned`], [`Journal::attempted`] and [`Journal::published`], handlers through [`Journal::ran`] and
//! [`Journal::effect`], the store through a [`WitnessStore`] around it, and the supervisor through
//! [`Journal::crashed`]. At the end a [`Ledger`] reads the journal, the streams and the store, and strikes a
//! [`Balance`]: it counts in the words of Jepsen's tests, and it names every violation of a guarantee. One ledger is
//! about one durable.

mod audit;
mod balance;
mod explained;
mod fact;
mod found;
mod history;
mod journal;
mod ledger;
mod order;
mod replay;
mod witness;

pub use balance::Balance;
pub use fact::{End, Entry, Fact};
pub use journal::Journal;
pub use ledger::{Ledger, LedgerError};
pub use witness::WitnessStore;
