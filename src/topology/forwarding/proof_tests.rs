use super::super::{
    Forwarded,
    look::{Messages, Newest},
};
use super::*;
use time::macros::datetime;

const CREATED: OffsetDateTime = datetime!(2026-11-28 12:00 UTC);

/// A stream of events from 1 to `newest`, of which Choco has everything up to `forwarded`.
fn look(newest: u64, forwarded: u64) -> Look {
    let id = |sequence: u64| Some(format!("id {sequence}"));
    let messages = Messages {
        newest: (newest > 0).then(|| Newest { sequence: newest, id: id(newest) }),
        forwarded: (forwarded > 0).then(|| Forwarded {
            stored: forwarded,
            sequence: forwarded,
            id: id(forwarded),
        }),
    };
    Look {
        messages,
        created: CREATED,
        first: 1,
        last: newest,
        choco_last: forwarded,
        choco_newest: (forwarded > 0).then(|| CREATED + Duration::from_secs(1)),
    }
}

/// A proof with a clock of its own.
struct Watched {
    proof: Proof,
    now: Instant,
}

impl Watched {
    fn new() -> Self {
        Self { proof: Proof::default(), now: Instant::now() }
    }

    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Looks 10 s later.
    fn sees(&mut self, look: &Look) -> Progress {
        self.after(10);
        self.proof.see(self.now, look);
        self.progress()
    }

    fn progress(&self) -> Progress {
        self.proof.progress(self.now).unwrap()
    }
}

/// Returns what is proven, how far and how long it is behind, and how long it stalls, in seconds.
fn short(progress: Progress) -> (u64, u64, Option<u64>, Option<u64>) {
    let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs());
    (progress.proven, progress.behind, seconds(progress.behind_for), seconds(progress.stalled_for))
}

const PROVEN: (Option<u64>, Option<u64>) = (None, None);

fn times(progress: Progress) -> (Option<u64>, Option<u64>) {
    let (_, _, behind, stalled) = short(progress);
    (behind, stalled)
}

#[test]
fn load_is_no_stall_and_what_is_owed_is_never_a_newer_event() {
    let mut watched = Watched::new();
    assert_eq!(watched.proof.progress(watched.now), None);
    for round in 1..100 {
        // Always 50 behind the newest, and beyond the newest of the look before.
        let seen = watched.sees(&look(100 * round, 100 * round - 50));
        assert_eq!(short(seen), (100 * round - 50, 50, Some(0), Some(0)));
    }
    let mut stalled = Watched::new();
    for round in 0..10 {
        let seen = stalled.sees(&look(100 + round, 50));
        assert_eq!(short(seen), (50, 50 + round, Some(10 * round), Some(10 * round)));
    }
    assert_eq!(short(stalled.sees(&look(200, 100))), (100, 100, Some(0), Some(0)));
    assert_eq!(short(stalled.sees(&look(200, 200))), (200, 0, None, None));
}

#[test]
fn a_backlog_that_moves_is_behind_and_does_not_stall() {
    let mut watched = Watched::new();
    for round in 1..20 {
        assert_eq!(times(watched.sees(&look(1000, round))), (Some(10 * (round - 1)), Some(0)));
    }
    assert_eq!(times(watched.sees(&look(1000, 19))), (Some(190), Some(10)));
}

#[test]
fn what_is_removed_from_the_origin_is_not_owed() {
    let mut watched = Watched::new();
    watched.sees(&look(5, 3));
    // The newest was deleted: that before it is owed for as long.
    let deleted = Look { last: 5, ..look(4, 3) };
    assert_eq!(short(watched.sees(&deleted)), (3, 1, Some(10), Some(10)));
    // Then all was purged, before it was forwarded.
    let purged = Look { first: 6, last: 5, ..look(0, 3) };
    assert_eq!(short(watched.sees(&purged)), (3, 0, None, None));
    // The next one comes behind the gap.
    let mut next = Look { first: 6, ..look(6, 6) };
    next.choco_last = 4;
    next.messages.forwarded.as_mut().unwrap().stored = 4;
    assert_eq!(short(watched.sees(&next)), (6, 0, None, None));
    // Expired at the front, and not forwarded.
    let expired = Look { first: 8, ..look(10, 6) };
    assert_eq!(short(watched.sees(&expired)).1, 3);
}

#[test]
fn what_choco_has_lost_is_no_stall() {
    // Its newest was deleted, all has aged out, or it was purged; seen before, or for the first time.
    let mut tail = look(5, 4);
    tail.choco_last = 5;
    let mut empty = look(5, 0);
    (empty.choco_last, empty.choco_newest) = (5, tail.choco_newest);
    for lost in [tail, empty] {
        for seen_before in [true, false] {
            let mut watched = Watched::new();
            if seen_before {
                assert_eq!(watched.sees(&look(5, 5)).proven, 5);
            }
            for _ in 0..10 {
                assert_eq!(times(watched.sees(&lost)), PROVEN, "{lost:?}");
            }
            // What comes then is owed.
            let mut next = lost.clone();
            (next.messages.newest, next.last) = (look(6, 0).messages.newest, 6);
            assert_eq!((watched.sees(&next).behind, times(watched.sees(&next))), (1, (Some(10), Some(10))));
            assert_eq!(short(watched.sees(&look(6, 6))), (6, 0, None, None));
        }
    }
    // One that never had a message has lost none.
    assert_eq!(short(Watched::new().sees(&look(5, 0))), (0, 5, Some(0), Some(0)));
}

#[test]
fn a_stream_of_choco_that_is_recreated_is_owed_everything() {
    let mut watched = Watched::new();
    watched.sees(&look(5, 5));
    assert_eq!(short(watched.sees(&look(5, 0))), (0, 5, Some(0), Some(0)));
}

#[test]
fn sequences_of_another_origin_prove_nothing() {
    let recreated = |newest, forwarded| {
        let created = CREATED + Duration::from_secs(60);
        Look { created, ..look(newest, forwarded) }
    };
    let mut watched = Watched::new();
    watched.sees(&look(10, 10));
    // Behind, ahead of it, and of the same sequence, whatever the clocks say.
    let mut ahead = recreated(3, 10);
    ahead.choco_newest = Some(ahead.created + Duration::from_secs(1));
    assert_eq!(short(watched.sees(&ahead)), (0, 3, Some(0), Some(0)));
    assert_eq!(short(watched.sees(&recreated(20, 10))), (0, 20, Some(10), Some(10)));
    let mut same = recreated(10, 10);
    same.messages.forwarded.as_mut().unwrap().id = Some("other".into());
    assert_eq!(short(watched.sees(&same)), (0, 10, Some(20), Some(20)));
    // Nothing of Choco is left, or it is the event itself, stored by a server with a slow clock.
    let mut empty = recreated(3, 10);
    empty.messages.forwarded = None;
    assert_eq!(short(watched.sees(&empty)), (0, 3, Some(30), Some(30)));
    assert_eq!(short(watched.sees(&recreated(10, 10))), (10, 0, None, None));
    // One that begins behind the last forwarded event owes only its own.
    let mut following = Watched::new();
    let follows = Look { first: 11, ..recreated(12, 10) };
    assert_eq!(short(following.sees(&follows)).1, 2);
}

#[test]
fn silence_of_the_broker_is_no_stall_and_a_missing_origin_is() {
    let mut watched = Watched::new();
    watched.sees(&look(5, 3));
    for _ in 0..10 {
        watched.after(10);
        watched.proof.see_nothing(watched.now);
    }
    assert_eq!(times(watched.sees(&look(5, 3))), (Some(110), Some(10)));
    for round in 0..3 {
        watched.after(10);
        watched.proof.see_no_origin(watched.now);
        let progress = watched.progress();
        assert!(progress.is_origin_missing && progress.stalled_for == Some(Duration::from_secs(10 * round)));
    }
    assert!(!watched.sees(&look(5, 5)).is_origin_missing);
}

#[test]
fn a_heal_comes_once_in_five_minutes_while_it_helps() {
    let mut watched = Watched::new();
    watched.sees(&look(2000, 257));
    assert!(watched.proof.is_healing_of_use() && watched.proof.next_heal(watched.now).is_none());
    watched.proof.heals(watched.now);
    watched.after(60);
    assert_eq!(watched.proof.next_heal(watched.now), Some(Duration::from_mins(4)));
    watched.after(240);
    assert_eq!(watched.proof.next_heal(watched.now), None);
    // It did not move: another would not help either.
    assert!(!watched.proof.is_healing_of_use() && !watched.progress().stops_again);
    // It moved long after the heal.
    watched.sees(&look(2000, 514));
    assert!(watched.proof.is_healing_of_use() && !watched.progress().stops_again);
    // One more window at once: flow control.
    watched.proof.heals(watched.now);
    watched.sees(&look(2000, 771));
    assert!(watched.progress().stops_again && !watched.proof.is_healing_of_use());
    assert!(!watched.sees(&look(2000, 2000)).stops_again);
}
