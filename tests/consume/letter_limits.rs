//! Dead letters of events that are nearly as large as the broker accepts: what does not fit is left out, and a header
//! says so.

use async_nats::{HeaderMap, HeaderValue, header::NATS_MESSAGE_ID};
use sha2::{Digest, Sha256};
use stratt_event_bridge::{
    Delivery, Envelope, Event, Feed, HandlerError, UnitPublished, async_nats, dead_letter::DeadLetter,
    topology::DEAD_LETTER_STREAM,
};
use support::{Running, Stage, published, source};

const SUBJECT: &str = "strat.dev.unit.published";

/// Stores an invalid event with `headers` bytes of headers and `payload` bytes.
async fn store(stage: &Stage, headers: usize, payload: usize) {
    let mut big = HeaderMap::new();
    big.insert("X-Big", "h".repeat(headers));
    let stored = stage.context().publish_with_headers(SUBJECT, big, "p".repeat(payload).into()).await;
    stored.unwrap().await.unwrap();
}

/// Limits a dead letter to so many bytes, headers included.
async fn limit_letters(stage: &Stage, bytes: i32) {
    let mut config =
        stage.context().get_stream(DEAD_LETTER_STREAM).await.unwrap().cached_info().config.clone();
    config.max_message_size = bytes;
    stage.context().update_stream(&config).await.unwrap();
}

fn header<'a>(letter: &'a DeadLetter, name: &str) -> Option<&'a str> {
    letter.headers().get(name).map(HeaderValue::as_str)
}

/// Returns the number of bytes that were left out of the headers, and of the payload.
fn omitted(letter: &DeadLetter) -> (Option<usize>, Option<usize>) {
    let number = |name| header(letter, name).map(|number| number.parse().unwrap());
    (number("Strat-Dead-Letter-Headers-Omitted"), number("Strat-Dead-Letter-Payload-Omitted"))
}

/// Waits for so many dead letters, and returns them by the sequences of their events.
async fn letters_are(stage: &Stage, count: usize) -> Vec<DeadLetter> {
    let mut letters = stage.dead_letters_are(count).await;
    letters.sort_by_key(DeadLetter::stream_sequence);
    letters
}

async fn rejecting(stage: &Stage) -> Running {
    let consumer = stage.consumer("strict");
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Err(HandlerError::reject("never")) });
    Running::start(consumer.build().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_near_the_limit_of_a_stream_are_left_out() {
    let stage = Stage::new().await;
    let running = rejecting(&stage).await;
    for headers in [40_000, 65_300] {
        store(&stage, headers, 2).await;
    }
    let letters = letters_are(&stage, 2).await;
    assert_eq!(letters[0].payload(), "pp");
    assert_eq!((omitted(&letters[0]), header(&letters[0], "X-Big").unwrap().len()), ((None, None), 40_000));
    assert_eq!(letters[1].payload(), "pp");
    assert_eq!(header(&letters[1], "X-Big"), None);
    let (headers, payload) = omitted(&letters[1]);
    assert!(headers.unwrap() >= 65_300 && payload.is_none());
    stage.all_answered(Feed::Strat, "strict").await;
    assert_eq!(running.stop().await.postponed, 0);
    // The bytes are there, and are redriven without the headers.
    let receipt = stage.bridge.dead_letters().redrive(letters[1].sequence()).await.unwrap();
    let again = stage.stream(Feed::Strat).await.get_raw_message(receipt.sequence()).await.unwrap();
    assert!(again.payload == "pp" && again.headers.get("X-Big").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_larger_of_headers_and_bytes_is_left_out_first() {
    let stage = Stage::new().await;
    let running = rejecting(&stage).await;
    limit_letters(&stage, 4_000).await;
    let cases = [(100, 100), (100, 5_000), (5_000, 100), (5_000, 6_000)];
    for (headers, payload) in cases {
        store(&stage, headers, payload).await;
    }
    let letters = letters_are(&stage, cases.len()).await;
    for (letter, (headers, payload)) in letters.iter().zip(cases) {
        let (headers_omitted, payload_omitted) = omitted(letter);
        assert_eq!(
            (headers_omitted.is_some(), payload_omitted.is_some()),
            (headers > 4_000, payload > 4_000)
        );
        assert_eq!(header(letter, "X-Big").is_none(), headers > 4_000);
        assert_eq!(letter.payload().len(), if payload > 4_000 { 0 } else { payload });
        assert_eq!(letter.is_payload_omitted(), payload > 4_000);
        let digest = (payload > 4_000).then(|| hex::encode(Sha256::digest("p".repeat(payload))));
        assert_eq!(header(letter, "Strat-Dead-Letter-Payload-Digest"), digest.as_deref());
    }
    stage.all_answered(Feed::Strat, "strict").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_bytes_is_redriven_under_its_key() {
    let stage = Stage::new().await;
    let running = rejecting(&stage).await;
    limit_letters(&stage, 2_000).await;
    let event = published("a", 1);
    let key = event.idempotency_key();
    let envelope = Envelope::builder(event, source()).meta("note", "n".repeat(3_000)).build().unwrap();
    stage.bridge.publish_envelope(&envelope).await.unwrap();
    let letter = stage.dead_letters_are(1).await.remove(0);
    assert!(letter.is_payload_omitted());
    running.stop().await;
    let receipt = stage.bridge.dead_letters().redrive(letter.sequence()).await.unwrap();
    let again = stage.stream(Feed::Strat).await.get_raw_message(receipt.sequence()).await.unwrap();
    assert_eq!(again.payload, envelope.encode().unwrap());
    let message_id = again.headers.get(NATS_MESSAGE_ID).unwrap().as_str();
    assert_eq!(message_id, format!("{key}:redrive:{}", letter.sequence()));
}
