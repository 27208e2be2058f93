//! A dedupe store of one slot, which keeps the contract of [`DedupeStore`](crate::dedupe::DedupeStore).

use crate::{
    consumer::delivery::decide::Write,
    dedupe::{Claim, Fence},
};
use std::time::Duration;

/// The record of the slot in the store. A slot that was never claimed equals one that was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) status: Status,
    pub(super) attempts: u32,
    /// The claims that ended by expiry.
    pub(super) lapsed: u32,
    /// The fence of the last grant.
    pub(super) fence: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Status {
    Free,
    Held { claimant: u8, is_over: bool },
    Settled,
}

impl Record {
    pub(super) const UNKNOWN: Self = Self { status: Status::Free, attempts: 0, lapsed: 0, fence: 1 };

    pub(super) fn claim(&mut self, claimant: u8) -> Claim {
        let (attempt, lapsed) = match self.status {
            Status::Settled => return Claim::Settled,
            Status::Held { claimant: holder, .. } if holder == claimant => (self.attempts, self.lapsed),
            Status::Held { is_over: false, .. } => return Claim::Held { retry_in: Duration::ZERO },
            Status::Held { is_over: true, .. } => (self.attempts + 1, self.lapsed + 1),
            Status::Free => (self.attempts + 1, self.lapsed),
        };
        let status = Status::Held { claimant, is_over: false };
        *self = Self { status, attempts: attempt, lapsed, fence: self.fence + 1 };
        Claim::Acquired { fence: Fence::new(self.fence), attempt, lapsed }
    }

    /// Returns whether the lease was renewed; otherwise the fence is stale.
    pub(super) fn renew(&mut self, fence: u64) -> bool {
        match &mut self.status {
            Status::Held { is_over, .. } if fence == self.fence => {
                *is_over = false;
                true
            }
            Status::Held { .. } | Status::Free | Status::Settled => false,
        }
    }

    /// Returns whether the write was done, now or before; otherwise its fence is stale.
    pub(super) fn write(&mut self, what: Write, fence: u64) -> bool {
        if fence != self.fence {
            return false;
        }
        match (self.status, what) {
            (Status::Held { .. }, _) => {
                (self.status, self.attempts) = match what {
                    Write::Settle => (Status::Settled, self.attempts),
                    Write::Release(_) => (Status::Free, self.attempts),
                    Write::Defer(_) | Write::Isolate => (Status::Free, self.attempts.saturating_sub(1)),
                    Write::Forget(_) => (Status::Free, 0),
                };
                if let Write::Forget(_) = what {
                    self.lapsed = 0;
                }
                true
            }
            (Status::Settled, Write::Settle)
            | (Status::Free, Write::Release(_) | Write::Defer(_) | Write::Isolate) => true,
            (Status::Free, Write::Forget(_)) => (self.attempts, self.lapsed) == (0, 0),
            (Status::Settled | Status::Free, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        consumer::delivery::decide::Ending,
        dead_letter::DeadLetterReason,
        dedupe::{DedupeStore, MemoryStore, Slot, StoreErrorKind},
    };
    use futures::FutureExt;

    #[derive(Debug, Clone, Copy)]
    enum Call {
        Claim { claimant: usize, lapses: bool },
        Renew(usize),
        Write(Write, usize),
    }

    /// Plays the calls on both stores; every answer must be the same.
    fn play(calls: &[Call]) {
        let key = "1".repeat(64).parse().unwrap();
        let slots = [0, 1].map(|_| Slot::new("tests".parse().unwrap(), key));
        let (mut model, store) = (Record::UNKNOWN, MemoryStore::new());
        // Every grant with its fence here and there.
        let mut grants = vec![(u64::MAX, Fence::new(u64::MAX))];
        for call in calls {
            match *call {
                Call::Claim { claimant, lapses } => {
                    let lease = if lapses { Duration::ZERO } else { Duration::from_secs(3600) };
                    let real = store.claim(&slots[claimant], lease).now_or_never().unwrap().unwrap();
                    match (model.claim(u8::try_from(claimant).unwrap()), real) {
                        (Claim::Settled, Claim::Settled) | (Claim::Held { .. }, Claim::Held { .. }) => {}
                        (
                            Claim::Acquired { fence, attempt, lapsed },
                            Claim::Acquired { fence: real, attempt: real_attempt, lapsed: real_lapsed },
                        ) if (attempt, lapsed) == (real_attempt, real_lapsed) => {
                            grants.push((fence.get(), real));
                            let status =
                                Status::Held { claimant: u8::try_from(claimant).unwrap(), is_over: lapses };
                            model.status = status;
                        }
                        answers => panic!("{calls:?}: {answers:?}"),
                    }
                }
                Call::Renew(before_last) => {
                    let (fence, real) = grants[grants.len().saturating_sub(1 + before_last)];
                    let renewed = store.renew(&slots[0], real, Duration::from_secs(3600));
                    let renewed = renewed.now_or_never().unwrap().map_err(|error| error.kind());
                    let wanted = if model.renew(fence) { Ok(()) } else { Err(StoreErrorKind::Fenced) };
                    assert_eq!(renewed, wanted, "{calls:?}");
                }
                Call::Write(what, before_last) => {
                    let (fence, real) = grants[grants.len().saturating_sub(1 + before_last)];
                    let slot = &slots[0];
                    let written = match what {
                        Write::Settle => store.settle(slot, real),
                        Write::Release(_) => store.release(slot, real),
                        Write::Defer(_) | Write::Isolate => store.defer(slot, real),
                        Write::Forget(_) => store.forget(slot, real),
                    };
                    let written = written.now_or_never().unwrap().map_err(|error| error.kind());
                    let wanted = if model.write(what, fence) { Ok(()) } else { Err(StoreErrorKind::Fenced) };
                    assert_eq!(written, wanted, "{calls:?}");
                }
            }
        }
    }

    #[test]
    fn the_model_answers_as_the_memory_store_does() {
        let release = Write::Release(Ending::Returned);
        let defer = Write::Defer(Ending::Returned);
        let writes = [Write::Settle, release, defer, Write::Forget(DeadLetterReason::Rejected)];
        let claims = [(0, false), (0, true), (1, false), (1, true)];
        let calls: Vec<_> = claims
            .map(|(claimant, lapses)| Call::Claim { claimant, lapses })
            .into_iter()
            .chain(writes.map(|what| Call::Write(what, 0)))
            .chain(writes.map(|what| Call::Write(what, 1)))
            .chain([Call::Renew(0), Call::Renew(1)])
            .collect();
        let mut sequences = vec![vec![]];
        for _ in 0..4 {
            sequences = sequences
                .iter()
                .flat_map(|played| calls.iter().map(move |call| [played.as_slice(), &[*call]].concat()))
                .collect();
        }
        assert_eq!(sequences.len(), 38_416);
        for sequence in sequences {
            play(&sequence);
        }
    }
}
