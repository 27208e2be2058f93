//! No content of an event is logged or recorded in spans, whatever happens to the event.

use stratt_event_bridge::{Delivery, Envelope, Feed, HandlerError, UnitPublished, async_nats::HeaderMap};
use support::{Log, Running, Spans, Stage, published, source};

const MARK: &str = "Wahlkabine-7719";

#[tokio::test]
async fn no_payload_or_meta_is_logged() {
    let (log, spans) = (Log::listen(), Spans::listen());
    let stage = Stage::new().await;
    let consumer =
        stage.consumer("quiet").feed(Feed::Choco).on(|delivery: Delivery<UnitPublished>| async move {
            match delivery.event().uri.slug() {
                "flaky" if delivery.attempt() == 1 => Err(HandlerError::retry("not yet")),
                "poison" => Err(HandlerError::reject("never")),
                "panics" => panic!("as it must"),
                _ => Ok(()),
            }
        });
    let running = Running::start(consumer.build().await.unwrap());
    let context = stage.context();
    for (slug, number) in [("fine", 1), ("flaky", 2), ("poison", 3), ("panics", 4)] {
        let event = published(slug, number).with_actor(MARK);
        let envelope = Envelope::builder(event, source()).meta("note", MARK).build().unwrap();
        stage.bridge.publish_envelope(&envelope).await.unwrap();
        stage.bridge.publish_envelope(&envelope).await.unwrap();
        let json = String::from_utf8(envelope.encode().unwrap()).unwrap();
        assert!(json.contains(MARK));
        let invalid = [
            json[..json.len() - 1].to_owned(),
            json.replace("0000", "1111"),
            json.replace("strat://dev/rule", MARK),
            json.replace("\"actor\"", "\"occurrence\""),
            json.replace("\"1.0\"", &format!("\"{MARK}\"")),
        ];
        // The same event once more, and a message that is no event.
        for bytes in [json].into_iter().chain(invalid) {
            let mut headers = HeaderMap::new();
            headers.insert("note", MARK);
            let stored = context.publish_with_headers("strat.dev.unit.published", headers, bytes.into());
            stored.await.unwrap().await.unwrap();
        }
    }
    let letters = stage.dead_letters_are(24).await;
    stage.all_answered(Feed::Choco, "quiet").await;
    let dead_letters = stage.bridge.dead_letters();
    dead_letters.redrive(letters[0].sequence()).await.unwrap();
    dead_letters.discard(letters[1].sequence()).await.unwrap();
    stage.all_answered(Feed::Choco, "quiet").await;
    let summary = running.stop().await;
    assert!(summary.handled >= 2 && summary.retried >= 1 && summary.exhausted >= 1, "{summary:?}");
    assert!(summary.invalid >= 20 && summary.rejected >= 1 && summary.duplicates >= 1, "{summary:?}");
    // The log was recorded, at every level that the crate uses.
    for heard in ["event is dead-lettered", " DEBUG ", " WARN "] {
        assert!(log.count(heard) > 0, "{heard}");
    }
    assert_eq!(log.count(MARK), 0);
    for kind in ["publish", "process", "settle", "dead_letter"] {
        assert!(!spans.of(kind).is_empty(), "{kind}");
    }
    for span in spans.all() {
        assert!(!format!("{span:?}").contains(MARK), "{span:#?}");
    }
}
