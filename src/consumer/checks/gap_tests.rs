use super::*;

const NOTHING: [Arrived; 2] = [Arrived { all: 0, awaited: 0 }; 2];

fn all(count: u64) -> [Arrived; 2] {
    [Arrived { all: count, awaited: count }; 2]
}

/// A stream from 11 to 20, of which the durable has acknowledged everything up to 14.
fn look() -> Look {
    Look {
        first: 11,
        last_before: 20,
        last: 20,
        delivered: 14,
        deliveries: 4,
        floor: 14,
        pending: 6,
        ..Look::default()
    }
}

fn after(look: Look) -> Gaps {
    let mut gaps = Gaps::default();
    assert_eq!(gaps.judge(&look, NOTHING, |_| true), Finding::Well);
    gaps.go_on(look);
    gaps
}

fn lost(from: u64, to: u64, count: u64) -> Finding {
    Finding::Lost(Lost { from, to, count })
}

#[test]
fn what_was_handled_between_two_looks_is_not_lost() {
    // All of it was handled, and removed afterwards.
    let idle = Look { first: 18, delivered: 20, deliveries: 10, floor: 20, pending: 0, ..look() };
    assert_eq!(after(look()).judge(&idle, all(6), |_| false), Finding::Well);
    // More was handled than was removed.
    let beyond = Look { first: 18, delivered: 19, deliveries: 9, floor: 19, pending: 1, ..look() };
    assert_eq!(after(look()).judge(&beyond, all(5), |_| false), Finding::Well);
}

#[test]
fn what_is_removed_while_the_durable_stands_before_it_is_lost() {
    let pushed = Look { first: 18, floor: 17, pending: 3, ..look() };
    assert_eq!(after(look()).judge(&pushed, NOTHING, |_| false), lost(15, 17, 3));
    // More are pending now, since new ones were stored.
    let busy = Look { last: 30, pending: 13, ..pushed };
    let mut gaps = after(look());
    assert_eq!(gaps.judge(&busy, NOTHING, |_| false), lost(15, 17, 3));
    gaps.go_on(busy.clone());
    assert_eq!(gaps.judge(&busy, NOTHING, |_| false), Finding::Well);
}

#[test]
fn what_is_removed_while_it_is_in_flight_is_lost() {
    let beyond = Look { first: 18, delivered: 20, deliveries: 10, floor: 20, pending: 0, ..look() };
    let has_16 = |removed: Range<u64>| removed.contains(&16);
    assert_eq!(after(look()).judge(&beyond, all(6), has_16), lost(15, 17, 3));
}

#[test]
fn what_vanishes_behind_the_front_is_lost_at_the_second_look() {
    let purged = Look { pending: 2, ..look() };
    let mut gaps = after(look());
    assert_eq!(gaps.judge(&purged, NOTHING, |_| false), Finding::Unsure);
    assert_eq!(gaps.judge(&purged, NOTHING, |_| false), lost(15, 20, 4));
    gaps.go_on(purged.clone());
    assert_eq!(gaps.judge(&purged, NOTHING, |_| false), Finding::Well);
    // The missing events were on their way.
    let mut gaps = after(look());
    let delivered = Look { delivered: 18, deliveries: 8, pending: 2, ..look() };
    assert_eq!(gaps.judge(&purged, NOTHING, |_| false), Finding::Unsure);
    assert_eq!(gaps.judge(&delivered, all(4), |_| false), Finding::Well);
}

#[test]
fn a_durable_that_stays_ahead_is_found() {
    let ahead = Look { delivered: 25, last: 20, pending: 0, ..look() };
    let mut gaps = Gaps::default();
    assert_eq!(gaps.judge(&ahead, NOTHING, |_| false), Finding::Unsure);
    assert_eq!(gaps.judge(&ahead, NOTHING, |_| false), Finding::Ahead);
    // A replica that lagged had answered.
    let mut gaps = after(look());
    assert_eq!(gaps.judge(&ahead, NOTHING, |_| false), Finding::Unsure);
    let caught_up = Look { last: 25, ..ahead };
    assert_eq!(gaps.judge(&caught_up, all(99), |_| false), Finding::Well);
}
