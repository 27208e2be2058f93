use super::*;

fn seen(lag: u64, seconds: Option<u64>, error: Option<&str>) -> Forwarding {
    Forwarding {
        lag,
        last_activity: seconds.map(Duration::from_secs),
        error: error.map(str::to_owned),
        skips_new_origin: None,
        progress: None,
        bad_for: None,
        lacks_durable: false,
        is_choco_full: false,
        bound: BOUND,
    }
}

fn progress(behind: u64, seconds: Option<u64>) -> Progress {
    let duration = seconds.map(Duration::from_secs);
    Progress {
        proven: 257,
        behind,
        behind_for: duration,
        stalled_for: duration,
        is_origin_missing: false,
        stops_again: false,
    }
}

#[test]
fn without_a_proof_hints_are_stalls_a_lag_is_not() {
    assert!(Forwarding { skips_new_origin: Some(true), ..seen(0, Some(1), None) }.are_hints_bad());
    assert!(!Forwarding { skips_new_origin: Some(false), ..seen(0, Some(1), None) }.are_hints_bad());
    assert!(!seen(0, Some(1), None).are_hints_bad() && !seen(9, Some(1), None).are_hints_bad());
    assert!(seen(0, Some(6), None).are_hints_bad() && seen(0, None, None).are_hints_bad());
    let told = seen(0, Some(1), Some("stalled on flow control"));
    assert!(told.are_hints_bad() && !told.is_stalled());
    let for_long = Forwarding { bad_for: Some(BOUND), ..told.clone() };
    assert!(for_long.is_stalled() && for_long.lacks_flow_control());
    assert!(!Forwarding { bad_for: Some(BOUND / 2), ..told }.is_stalled());
}

#[test]
fn with_a_proof_only_the_bound_counts() {
    let with = |proof, hints| Forwarding { progress: Some(proof), ..hints };
    let fine = seen(0, Some(1), None);
    let bad = Forwarding { skips_new_origin: Some(true), ..seen(9, None, Some("stalled on flow control")) };
    for hints in [&fine, &bad] {
        assert!(!with(progress(0, None), hints.clone()).is_stalled());
        assert!(!with(progress(9, Some(59)), hints.clone()).is_stalled());
        assert!(with(progress(9, Some(60)), hints.clone()).is_stalled());
    }
    assert!(with(progress(9, Some(60)), bad.clone()).lacks_flow_control());
    assert!(!with(progress(9, Some(60)), fine.clone()).lacks_flow_control());
    let again = Progress { stops_again: true, ..progress(9, Some(60)) };
    assert!(with(again, fine.clone()).lacks_flow_control());
    assert!(!with(Progress { stops_again: true, ..progress(0, None) }, fine).lacks_flow_control());
}

#[test]
fn a_line_says_what_is_known_and_what_to_do() {
    let with = |proof| Forwarding { progress: Some(proof), ..seen(0, Some(1), None) }.to_string();
    assert_eq!(with(progress(0, None)), "everything is forwarded: STRATT_EVENTS up to 257");
    let behind = "forwarding is behind for 9 s: STRATT_EVENTS up to 257, at most 1743 are left";
    assert_eq!(with(progress(1743, Some(9))), behind);
    let stalled = "forwarding is stalled for 61 s: STRATT_EVENTS up to 257, at most 1743 are left";
    assert_eq!(with(progress(1743, Some(61))), stalled);
    let import = "import $JS.FC.STRATT_EVENTS.*.* into the account of CHOCO_STRATT";
    assert_eq!(
        with(Progress { stops_again: true, ..progress(1743, Some(61)) }),
        format!("{stalled}; flow control does not arrive: {import}")
    );
    let missing = Progress { is_origin_missing: true, ..progress(0, None) };
    assert_eq!(with(missing), "STRATT_EVENTS does not exist: provision the topology");
    let unproven = "forwarding seems to work, without a proof: lag 3, no error";
    assert_eq!(seen(3, Some(1), None).to_string(), unproven);
}
