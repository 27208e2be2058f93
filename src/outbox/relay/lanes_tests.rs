use super::*;
use bytes::Bytes;

fn row(id: i64, uri: &str) -> Row {
    let (subject, message_id) = (String::new(), String::new());
    Row { id, uri: uri.into(), subject, message_id, payload: Bytes::new(), trace: None }
}

fn ids(lanes: &mut Lanes) -> Vec<i64> {
    std::iter::from_fn(|| lanes.next()).map(|row| row.id).collect()
}

#[test]
fn one_row_of_each_unit_is_in_flight_and_others_follow() {
    let mut lanes = Lanes::default();
    lanes.add(vec![row(1, "a"), row(2, "b"), row(3, "a"), row(4, "a")]);
    assert_eq!(ids(&mut lanes), [1, 2]);
    lanes.done(&row(1, "a"));
    lanes.add(vec![row(5, "a")]);
    assert_eq!(ids(&mut lanes), [3]);
    lanes.done(&row(3, "a"));
    lanes.done(&row(2, "b"));
    assert_eq!(ids(&mut lanes), [4]);
    lanes.done(&row(4, "a"));
    assert_eq!(ids(&mut lanes), [5]);
    // Held until they are marked.
    assert_eq!(lanes.len(), 5);
    lanes.forget(&Report { sent: vec![1, 2, 3], quarantined: vec![(4, String::new())] });
    assert_eq!(lanes.held(), [5]);
}

#[tokio::test(start_paused = true)]
async fn rows_of_an_older_look_are_discarded_after_a_failure() {
    let mut lanes = Lanes::default();
    lanes.add(vec![row(1, "a"), row(2, "a"), row(3, "b")]);
    assert_eq!(ids(&mut lanes), [1, 3]);
    // A look begins without 1, 2 and 3, and returns 4 long after 1 has failed.
    assert!(lanes.blocked().is_empty());
    lanes.failed(&row(1, "a"));
    assert_eq!(lanes.held(), [3]);
    tokio::time::advance(BACKOFF * 2).await;
    lanes.add(vec![row(4, "a"), row(5, "b")]);
    lanes.done(&row(3, "b"));
    assert_eq!(ids(&mut lanes), [5]);
    // The next look returns all of them.
    assert!(lanes.blocked().is_empty());
    lanes.add(vec![row(1, "a"), row(2, "a"), row(4, "a")]);
    assert_eq!(ids(&mut lanes), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_fails_backs_off_longer_each_time() {
    let mut lanes = Lanes::default();
    for seconds in [1, 2, 4, 5, 5] {
        lanes.add(vec![row(1, "a"), row(2, "a")]);
        assert_eq!(ids(&mut lanes), [1]);
        lanes.failed(&row(1, "a"));
        // A fifth of it is random.
        tokio::time::advance(Duration::from_millis(seconds * 790)).await;
        assert_eq!(lanes.blocked(), ["a"]);
        tokio::time::advance(Duration::from_millis(seconds * 420)).await;
        assert!(lanes.blocked().is_empty());
    }
    lanes.add(vec![row(1, "a")]);
    lanes.next().unwrap();
    lanes.done(&row(1, "a"));
    lanes.add(vec![row(2, "a")]);
    lanes.next().unwrap();
    lanes.failed(&row(2, "a"));
    tokio::time::advance(BACKOFF * 2).await;
    assert!(lanes.blocked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_row_is_taken_of_a_unit_that_is_retried() {
    let mut lanes = Lanes::default();
    lanes.add(vec![row(1, "a")]);
    lanes.next().unwrap();
    lanes.failed(&row(1, "a"));
    tokio::time::advance(BACKOFF * 2).await;
    assert!(lanes.blocked().is_empty());
    lanes.add(vec![row(1, "a"), row(2, "a")]);
    assert_eq!(lanes.held(), [1]);
    assert_eq!(lanes.blocked(), ["a"]);
    lanes.next().unwrap();
    lanes.done(&row(1, "a"));
    assert!(lanes.blocked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn few_units_are_retried_at_once() {
    let mut lanes = Lanes::default();
    let rows: Vec<_> = (0..1000).map(|id| row(id, &id.to_string())).collect();
    lanes.add(rows.clone());
    while lanes.next().is_some() {}
    for row in &rows {
        lanes.failed(row);
    }
    assert_eq!((lanes.len(), lanes.blocked().len()), (0, 1000));
    tokio::time::advance(BACKOFF * 2).await;
    let blocked = lanes.blocked();
    assert_eq!(blocked.len(), 1000 - RETRIES);
    lanes.add(rows.iter().filter(|row| !blocked.contains(&row.uri)).cloned().collect());
    assert_eq!((lanes.len(), lanes.blocked().len()), (RETRIES, 1000));
}

#[tokio::test(start_paused = true)]
async fn when_a_unit_has_recovered_the_others_are_retried_at_once() {
    let mut lanes = Lanes::default();
    for _ in 0..3 {
        lanes.add(vec![row(1, "a"), row(2, "b")]);
        assert_eq!(ids(&mut lanes), [1, 2]);
        lanes.failed(&row(2, "b"));
        lanes.failed(&row(1, "a"));
        tokio::time::advance(LONGEST_BACKOFF * 2).await;
        assert!(lanes.blocked().is_empty());
    }
    lanes.add(vec![row(1, "a"), row(2, "b")]);
    assert_eq!(ids(&mut lanes), [1, 2]);
    lanes.failed(&row(2, "b"));
    assert!(lanes.blocked().contains(&"b".to_owned()));
    lanes.done(&row(1, "a"));
    assert!(lanes.blocked().is_empty());
}

#[test]
fn a_unit_with_enough_rows_is_not_requested() {
    let mut lanes = Lanes::default();
    lanes.add((0..100).map(|id| row(id, "a")).collect());
    assert_eq!(lanes.blocked(), ["a"]);
    for id in 0..50 {
        assert_eq!(lanes.next().unwrap().id, id);
        lanes.done(&row(id, "a"));
    }
    assert!(lanes.blocked().is_empty());
}

#[test]
fn payload_counts_until_it_is_published_or_given_back() {
    let large = |id, uri| Row { payload: Bytes::from_static(&[0; 100]), ..row(id, uri) };
    let mut lanes = Lanes::default();
    lanes.add(vec![large(1, "a"), large(2, "a"), large(3, "b"), large(4, "c"), large(5, "c")]);
    assert_eq!(lanes.bytes(), 500);
    while lanes.next().is_some() {}
    lanes.done(&large(1, "a"));
    assert_eq!((lanes.bytes(), lanes.len()), (400, 5));
    lanes.failed(&large(4, "c"));
    assert_eq!(lanes.bytes(), 200);
    lanes.give_up_waiting();
    assert_eq!(lanes.bytes(), 100);
}

#[test]
fn rows_given_back_return_behind_the_row_in_flight() {
    let mut lanes = Lanes::default();
    lanes.add(vec![row(1, "a"), row(2, "a"), row(3, "b")]);
    assert_eq!(lanes.next().unwrap().id, 1);
    lanes.give_up_waiting();
    assert_eq!(lanes.held(), [1]);
    // From a look that began before.
    lanes.add(vec![row(4, "a"), row(5, "b")]);
    assert!(lanes.next().is_none());
    assert!(lanes.blocked().is_empty());
    lanes.add(vec![row(2, "a"), row(3, "b"), row(4, "a")]);
    assert_eq!(ids(&mut lanes), [3]);
    lanes.done(&row(1, "a"));
    assert_eq!(ids(&mut lanes), [2]);
}
