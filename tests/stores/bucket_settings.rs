//! A bucket with settings that could lose, or not take, what is settled is refused by their name.

use async_nats::jetstream::{
    self, kv,
    stream::{Config, PersistenceMode, RetentionPolicy, Source, SubjectTransform},
};
use std::time::Duration;
use stratt_event_bridge::{
    async_nats,
    dedupe::{KvStore, KvStoreOptions, StoreErrorKind},
};
use support::Stage;

/// The stream of a bucket, as it should be.
async fn made(context: &jetstream::Context) -> Config {
    let max_age = Duration::from_hours(30 * 24);
    let bucket = kv::Config { bucket: "model".into(), history: 1, max_age, ..kv::Config::default() };
    context.create_key_value(bucket).await.unwrap();
    let model = context.get_stream("KV_model").await.unwrap().cached_info().config.clone();
    Config { name: "KV_b".into(), subjects: vec!["$KV.b.>".into()], ..model }
}

async fn is_refused(stage: &Stage, broken: Config, says: &str) {
    stage.context().create_stream(broken).await.unwrap();
    let options = || KvStoreOptions::default().with_bucket("b".parse().unwrap());
    for refused in [
        KvStore::open(stage.client.clone(), options()).await,
        KvStore::create(stage.client.clone(), options()).await,
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{says}: {error}");
        assert!(error.to_string().starts_with("bucket b ") && error.to_string().contains(says), "{error}");
    }
    stage.context().delete_stream("KV_b").await.unwrap();
}

#[tokio::test]
async fn a_bucket_that_could_lose_what_is_settled_is_refused() {
    let stage = Stage::since(12).await;
    let right = made(&stage.context()).await;
    for (broken, says) in [
        (Config { no_ack: true, ..right.clone() }, "does not acknowledge writes (no_ack)"),
        (Config { retention: RetentionPolicy::Interest, ..right.clone() }, "has retention Interest"),
        (Config { discard_new_per_subject: true, ..right.clone() }, "discard_new_per_subject"),
        (Config { persist_mode: Some(PersistenceMode::Async), ..right.clone() }, "persist_mode Async"),
        (Config { max_message_size: 100, ..right.clone() }, "max_message_size of 100"),
        (
            Config { subjects: vec!["$KV.b.a.>".into()], ..right.clone() },
            "does not cover its own keys ($KV.b.>)",
        ),
        (
            Config {
                subject_transform: Some(SubjectTransform {
                    source: "$KV.b.>".into(),
                    destination: "$KV.b.x.>".into(),
                }),
                ..right.clone()
            },
            "subject_transform",
        ),
        (
            Config {
                subjects: Vec::new(),
                mirror: Some(Source { name: "KV_model".into(), ..Source::default() }),
                ..right.clone()
            },
            "is a mirror",
        ),
    ] {
        is_refused(&stage, broken, says).await;
    }
    stage.context().create_stream(right).await.unwrap();
    KvStore::create(stage.client.clone(), KvStoreOptions::default().with_bucket("b".parse().unwrap()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_sealed_bucket_is_told_as_sealed() {
    let stage = Stage::new().await;
    let mut sealed = made(&stage.context()).await;
    stage.context().create_stream(sealed.clone()).await.unwrap();
    sealed.sealed = true;
    stage.context().update_stream(sealed).await.unwrap();
    let error =
        KvStore::create(stage.client.clone(), KvStoreOptions::default().with_bucket("b".parse().unwrap()))
            .await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Mismatch);
    assert_eq!(error.to_string(), "bucket b is sealed and takes no more writes");
}
