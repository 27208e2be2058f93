//! Batches of operations for one statement, and the results of its rows.

use crate::dedupe::{Claim, Fence, Slot, SlotState, StoreError, StoreErrorKind, sql::state};
use std::{collections::BTreeMap, time::Duration};

/// A claim of a slot.
#[derive(Debug)]
pub(super) struct ClaimOp {
    pub(super) slot: Slot,
    pub(super) lease: Duration,
}

/// A change under a fence.
#[derive(Debug)]
pub(super) enum Change {
    Renew(RenewOp),
    Write(WriteOp),
}

/// A renewal of a lease.
#[derive(Debug)]
pub(super) struct RenewOp {
    pub(super) slot: Slot,
    pub(super) fence: Fence,
    pub(super) lease: Duration,
}

/// A write that ends a claim.
#[derive(Debug)]
pub(super) struct WriteOp {
    pub(super) slot: Slot,
    pub(super) fence: Fence,
    pub(super) what: Write,
}

/// The kinds of writes that end a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Settle,
    Release,
    Defer,
    Forget,
}

impl Write {
    /// Returns how many attempts are taken back, limited by those there are.
    pub(super) fn taken_back(self) -> i32 {
        match self {
            Self::Settle | Self::Release => 0,
            Self::Defer => 1,
            Self::Forget => i32::MAX,
        }
    }
}

/// The result of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// An earlier call has done it.
    Before,
    Fenced,
    /// Another transaction has locked the row: repeat the change.
    Busy,
}

/// The retry delay for a slot that is being changed at this moment.
const SOON: Duration = Duration::from_millis(50);
/// The longest time that is written, a century: databases cannot express dates far beyond it.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Returns the time in microseconds, rounded up, since a lease must not be cut short.
pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.min(LONGEST).as_nanos().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// A batch without duplicates, in the order of the keys, in which every statement locks rows.
#[derive(Debug)]
pub(super) struct Distinct<Op> {
    ops: Vec<Op>,
    /// The indexes of the operations that are sent.
    sent: Vec<usize>,
    /// For each operation, the index in `sent` of the one that represents it.
    places: Vec<usize>,
}

impl<Op> Distinct<Op> {
    fn new<K: Ord>(ops: Vec<Op>, key: impl Fn(&Op) -> K) -> Self {
        let mut first = BTreeMap::new();
        for (index, op) in ops.iter().enumerate() {
            first.entry(key(op)).or_insert(index);
        }
        let places_of: BTreeMap<_, _> = first.keys().enumerate().map(|(place, key)| (key, place)).collect();
        let places = ops.iter().map(|op| places_of.get(&key(op)).copied().unwrap_or_default()).collect();
        let sent = first.into_values().collect();
        Self { ops, sent, places }
    }

    /// Returns the operations that are sent, in the order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Op> {
        self.sent.iter().filter_map(|index| self.ops.get(*index))
    }

    /// Returns the answer of every operation; `repeat` derives the answer of a duplicate, which was not sent.
    fn spread<A: Copy>(
        &self,
        answers: &[A],
        repeat: impl Fn(&Op, &Op, A) -> A,
    ) -> Result<Vec<A>, StoreError> {
        let answer = |(index, (op, place)): (usize, (&Op, &usize))| {
            let (answer, sent) = (*answers.get(*place)?, *self.sent.get(*place)?);
            Some(if sent == index { answer } else { repeat(self.ops.get(sent)?, op, answer) })
        };
        let spread: Option<_> = self.ops.iter().zip(&self.places).enumerate().map(answer).collect();
        spread.ok_or_else(|| StoreError::new(StoreErrorKind::Unavailable).with_message("rows are missing"))
    }
}

impl Distinct<ClaimOp> {
    pub(super) fn claims(ops: Vec<ClaimOp>) -> Self {
        Self::new(ops, |op| (op.slot.key(), op.slot.consumer().clone()))
    }

    /// Returns the claims of all operations. A second claim of a slot finds it held by the first.
    pub(super) fn answer(&self, claims: &[Claim]) -> Result<Vec<Claim>, StoreError> {
        self.spread(claims, |_, _, first| match first {
            Claim::Acquired { .. } => Claim::Held { retry_in: SOON },
            other => other,
        })
    }
}

impl Distinct<WriteOp> {
    /// Makes a batch of writes. Of writes with different fences at most one is not stale, so they may go together.
    pub(super) fn writes(ops: Vec<WriteOp>) -> Self {
        Self::new(ops, |op| (op.slot.key(), op.slot.consumer().clone(), op.fence))
    }

    pub(super) fn answer(&self, written: &[Written]) -> Result<Vec<Written>, StoreError> {
        self.spread(written, |sent, op, first| if sent.what == op.what { first } else { Written::Busy })
    }
}

impl Distinct<RenewOp> {
    pub(super) fn renewals(ops: Vec<RenewOp>) -> Self {
        Self::new(ops, |op| (op.slot.key(), op.slot.consumer().clone(), op.fence))
    }

    pub(super) fn answer(&self, renewed: &[Written]) -> Result<Vec<Written>, StoreError> {
        let is_covered = |sent: &RenewOp, op: &RenewOp| sent.lease >= op.lease;
        self.spread(renewed, |sent, op, first| if is_covered(sent, op) { first } else { Written::Busy })
    }
}

/// The row of a slot when it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) state: i64,
    pub(super) fence: i64,
    pub(super) attempts: i64,
    /// The rest of the lease, if the slot is held.
    pub(super) left: Duration,
}

impl Seen {
    /// Returns the state of a slot by its row, if it has one.
    pub(super) fn state_of(seen: Option<Self>) -> Result<SlotState, StoreError> {
        let Some(Self { state, attempts, left, .. }) = seen else { return Ok(SlotState::UNKNOWN) };
        let attempts = u32::try_from(attempts).map_err(|_| StoreError::new(StoreErrorKind::Corrupt))?;
        match state {
            state::SETTLED => Ok(SlotState::Settled),
            state::HELD => Ok(SlotState::Held { attempts, expires_in: left }),
            _ => Ok(SlotState::Free { attempts }),
        }
    }

    fn is_of(&self, fence: Fence) -> bool {
        u64::try_from(self.fence) == Ok(fence.get())
    }
}

/// Returns the claim of a slot that was not granted. `None` is a slot that is free or being changed at this moment.
pub(super) fn not_granted(seen: Option<Seen>) -> Claim {
    match seen {
        Some(Seen { state: state::SETTLED, .. }) => Claim::Settled,
        Some(Seen { state: state::HELD, left, .. }) if !left.is_zero() => Claim::Held { retry_in: left },
        _ => Claim::Held { retry_in: SOON },
    }
}

/// Returns the claim of a slot that was granted.
pub(super) fn granted(fence: i64, attempt: i64, lapsed: i64) -> Result<Claim, StoreError> {
    match (u64::try_from(fence), u32::try_from(attempt), u32::try_from(lapsed)) {
        (Ok(fence), Ok(attempt), Ok(lapsed)) => {
            Ok(Claim::Acquired { fence: Fence::new(fence), attempt, lapsed })
        }
        _ => Err(StoreError::new(StoreErrorKind::Corrupt)),
    }
}

/// Returns the result of a write that did not find its grant: it succeeded earlier, or it is too late.
pub(super) fn not_written(op: &WriteOp, seen: Option<Seen>) -> Written {
    let Some(seen) = seen.filter(|seen| seen.is_of(op.fence)) else { return Written::Fenced };
    match (seen.state, op.what) {
        (state::HELD, _) => Written::Busy,
        (state::SETTLED, Write::Settle) | (state::FREE, Write::Release | Write::Defer) => Written::Before,
        (state::FREE, Write::Forget) if seen.attempts == 0 => Written::Before,
        _ => Written::Fenced,
    }
}

/// Returns the result of a renewal that did not find its grant.
pub(super) fn not_renewed(op: &RenewOp, seen: Option<Seen>) -> Written {
    match seen {
        Some(seen) if seen.is_of(op.fence) && seen.state == state::HELD => Written::Busy,
        _ => Written::Fenced,
    }
}

impl Written {
    pub(super) fn into_result(self) -> Result<(), StoreError> {
        match self {
            Self::Done | Self::Before => Ok(()),
            Self::Fenced => Err(StoreError::new(StoreErrorKind::Fenced)),
            Self::Busy => Err(StoreError::new(StoreErrorKind::Unavailable)
                .with_message("slot is locked by another transaction")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(digit: &str) -> Slot {
        Slot::new("tests".parse().unwrap(), digit.repeat(64).parse().unwrap())
    }

    #[test]
    fn a_batch_is_sent_in_key_order_and_answered_in_its_own() {
        let ops = ["3", "1", "2"].map(|digit| ClaimOp { slot: slot(digit), lease: Duration::ZERO });
        let batch = Distinct::claims(ops.into());
        let sent: Vec<_> = batch.iter().map(|op| op.slot.key().to_string().remove(0)).collect();
        assert_eq!(sent, ['1', '2', '3']);
        let claims = [1, 2, 3].map(|fence| granted(fence, 1, 0).unwrap());
        assert_eq!(batch.answer(&claims).unwrap(), [claims[2], claims[0], claims[1]]);
    }

    #[test]
    fn a_slot_is_claimed_once_in_a_batch_and_others_find_it_held() {
        let ops = ["1", "1", "2", "2"].map(|digit| ClaimOp { slot: slot(digit), lease: Duration::ZERO });
        let batch = Distinct::claims(ops.into());
        let first = granted(1, 1, 0).unwrap();
        let held = Claim::Held { retry_in: SOON };
        assert_eq!(
            batch.answer(&[first, Claim::Settled]).unwrap(),
            [first, held, Claim::Settled, Claim::Settled]
        );
        assert!(batch.answer(&[first]).is_err());
    }

    #[test]
    fn a_write_is_sent_once_and_contradicting_ones_are_repeated() {
        let op = |fence, what| WriteOp { slot: slot("1"), fence: Fence::new(fence), what };
        let ops =
            vec![op(2, Write::Settle), op(1, Write::Settle), op(2, Write::Settle), op(2, Write::Forget)];
        let batch = Distinct::writes(ops);
        assert_eq!(
            batch.answer(&[Written::Fenced, Written::Done]).unwrap(),
            [Written::Done, Written::Fenced, Written::Done, Written::Busy]
        );
    }

    #[test]
    fn a_renewal_is_sent_once_and_a_longer_one_is_repeated() {
        let op = |fence, seconds| {
            let lease = Duration::from_secs(seconds);
            RenewOp { slot: slot("1"), fence: Fence::new(fence), lease }
        };
        let batch = Distinct::renewals(vec![op(2, 7), op(1, 7), op(2, 7), op(2, 6), op(2, 8)]);
        assert_eq!(
            batch.answer(&[Written::Fenced, Written::Done]).unwrap(),
            [Written::Done, Written::Fenced, Written::Done, Written::Done, Written::Busy]
        );
    }

    #[test]
    fn times_are_rounded_up_and_bounded() {
        assert_eq!(micros(Duration::from_nanos(1001)), 2);
        assert_eq!(micros(Duration::MAX), micros(LONGEST));
    }
}
