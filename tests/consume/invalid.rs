//! Bad input: dead-lettered at once and unchanged, never retried, never an obstacle to other events.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use stratt_event_bridge::{
    Delivery, Envelope, Feed, UnitPublished,
    dead_letter::{DeadLetterErrorKind, DeadLetterReason},
};
use support::{Running, Stage, eventually, published, source};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_dead_lettered_byte_for_byte_and_others_go_on() {
    let stage = Stage::new().await;
    let handled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&handled);
    let consumer = stage.consumer("strict").on(move |_: Delivery<UnitPublished>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    let running = Running::start(consumer.build().await.unwrap());
    let envelope = Envelope::builder(published("a", 1), source()).build().unwrap();
    let valid = String::from_utf8(envelope.encode().unwrap()).unwrap();
    let key = envelope.idempotency_key().to_string();
    let subject = "strat.dev.unit.published";
    let bad = [
        (subject, valid.replace(&key, &"0".repeat(64))),
        (subject, valid.replace("\"1.0\"", "\"2.0\"")),
        (subject, "{\"eventId\":".to_owned()),
        (subject, String::new()),
        (subject, "\u{0}\r\n\u{feff}".to_owned()),
        (
            subject,
            valid.replace("\"meta\":{}", &format!("\"meta\":{{\"x\":\"{}\"}}", "x".repeat(256 * 1024))),
        ),
        // Near the largest message that the server accepts: the headers of a dead letter leave no room for the bytes.
        (subject, "x".repeat(1024 * 1024 - 400)),
        ("strat.core.unit.published", valid.clone()),
        ("strat.UPPER.unit.published", valid.clone()),
    ];
    for (index, (subject, payload)) in bad.iter().enumerate() {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("X", index.to_string());
        let stored =
            stage.context().publish_with_headers(*subject, headers, payload.clone().into()).await.unwrap();
        stored.await.unwrap();
    }
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |handled| *handled == 1).await;
    let letters = stage.dead_letters_are(bad.len()).await;
    for letter in &letters {
        let index: usize = letter.headers().get("X").unwrap().as_str().parse().unwrap();
        let (subject, payload) = &bad[index];
        assert_eq!(letter.reason(), Some(DeadLetterReason::Invalid), "{payload:.80}");
        assert_eq!((letter.deliveries(), letter.subject()), (1, *subject));
        assert!(!letter.error().is_empty() && !letter.error().contains('\n'));
        let time = letter.headers().get("Strat-Dead-Letter-Time").unwrap().as_str();
        assert_eq!((time.len(), time.find('.')), ("2026-03-31T10:15:00.000Z".len(), Some(19)), "{time}");
        if letter.is_payload_omitted() {
            assert!(payload.len() > 1024 * 1000);
        } else {
            assert_eq!(letter.payload(), payload.as_bytes());
        }
    }
    assert_eq!(letters.iter().filter(|letter| letter.is_payload_omitted()).count(), 1);
    stage.all_answered(Feed::Strat, "strict").await;
    assert_eq!(handled.load(Ordering::SeqCst), 1);

    let dead_letters = stage.bridge.dead_letters();
    let nowhere = letters.iter().find(|letter| letter.subject().contains("UPPER")).unwrap();
    let error = dead_letters.redrive(nowhere.sequence()).await.unwrap_err();
    assert_eq!(error.kind(), DeadLetterErrorKind::NotRedrivable);
    // The bytes that were left out are read from the stream; they are as invalid as before.
    let omitted = letters.iter().find(|letter| letter.is_payload_omitted()).unwrap();
    let receipt = dead_letters.redrive(omitted.sequence()).await.unwrap();
    let again = stage.stream(Feed::Strat).await.get_raw_message(receipt.sequence()).await.unwrap();
    assert_eq!(again.payload.len(), 1024 * 1024 - 400);
    let summary = running.stop().await;
    assert_eq!(summary.handled, 1);
    assert!(summary.invalid >= bad.len() as u64);
}
