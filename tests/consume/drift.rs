//! A durable that exists with other settings, or is changed or deleted while it is in use.

use async_nats::jetstream::consumer::{
    AckPolicy, Config, DeliverPolicy, IntoConsumerConfig, ReplayPolicy, pull,
};
use futures::StreamExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumeErrorKind, ConsumerBuilder, ConsumerOptions, Delivery, Feed, HandlerError, OnMismatch, StartAt,
    UnitPublished, async_nats,
};
use support::{DEADLINE, Log, Running, Stage, eventually, published, quick};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn consumer(stage: &Stage, name: &str, options: ConsumerOptions) -> ConsumerBuilder {
    stage.consumer(name).options(options).on(|_: Delivery<UnitPublished>| async { Ok(()) })
}

/// A durable as an operator creates it, good enough for a consumer of `unit.published`.
fn theirs(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.into()),
        description: Some("of the operators".into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: 40 * SECOND,
        filter_subject: "strat.dev.unit.published".into(),
        ..pull::Config::default()
    }
}

async fn found(stage: &Stage, name: &str) -> Config {
    stage.stream(Feed::Strat).await.consumer_info(name).await.unwrap().config
}

/// Changes a durable as another service or an operator would.
async fn change(stage: &Stage, changed: pull::Config) {
    stage.stream(Feed::Strat).await.update_consumer(changed).await.unwrap();
}

async fn refused(builder: ConsumerBuilder, kind: ConsumeErrorKind, says: &[&str]) {
    let error = builder.build().await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for said in says {
        assert!(error.to_string().contains(said), "{error} does not say {said:?}");
    }
}

#[tokio::test]
async fn a_durable_that_differs_is_refused_by_name_and_left_as_it_is() {
    let stage = Stage::new().await;
    drop(consumer(&stage, "c", quick()).build().await.unwrap());
    // Neither the same options nor options that do not concern the durable are a difference.
    drop(consumer(&stage, "c", quick().with_max_attempts(9)).build().await.unwrap());
    let before = found(&stage, "c").await;
    let slower = quick().with_ack_wait(60 * SECOND);
    let says = ["durable c", "ack wait 45s", "wanted 60s", "`OnMismatch`"];
    refused(consumer(&stage, "c", slower), ConsumeErrorKind::Mismatch, &says).await;
    assert_eq!(found(&stage, "c").await, before);
    let later = quick().with_start_at(StartAt::New);
    refused(consumer(&stage, "c", later), ConsumeErrorKind::Conflict, &["deliver policy All, wanted New"])
        .await;
}

#[tokio::test]
async fn a_durable_is_updated_where_asked_for_and_possible() {
    let stage = Stage::new().await;
    let stream = stage.stream(Feed::Strat).await;
    let old = pull::Config {
        max_deliver: 3,
        backoff: vec![SECOND, 2 * SECOND],
        inactive_threshold: 3600 * SECOND,
        max_batch: 1,
        max_expires: SECOND,
        headers_only: true,
        ..theirs("c")
    };
    stream.create_consumer(old.clone()).await.unwrap();
    let update = || quick().with_on_mismatch(OnMismatch::Update);
    drop(consumer(&stage, "c", update()).build().await.unwrap());
    let updated = found(&stage, "c").await;
    assert_eq!((updated.max_deliver, updated.ack_wait, updated.backoff.len()), (-1, 45 * SECOND, 0));
    assert_eq!((updated.inactive_threshold, updated.max_expires), (Duration::ZERO, Duration::ZERO));
    assert_eq!((updated.max_batch, updated.headers_only), (0, false));
    let filters = ["strat.*.unit.published", "stratt.redrive.c.*.unit.published"];
    assert_eq!(
        (updated.filter_subject.as_str(), &*updated.filter_subjects),
        ("", &filters.map(String::from)[..])
    );
    assert_eq!(updated.description.as_deref(), Some("of the operators"));
    drop(consumer(&stage, "c", quick()).build().await.unwrap());
    assert_eq!(found(&stage, "c").await, updated);

    let acks_all = pull::Config { durable_name: Some("d".into()), ack_policy: AckPolicy::All, ..old };
    stream.create_consumer(acks_all).await.unwrap();
    let says = ["ack policy All, wanted Explicit"];
    refused(consumer(&stage, "d", update()), ConsumeErrorKind::Conflict, &says).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_of_others_is_adopted_as_it_is_and_works() {
    let stage = Stage::new().await;
    let mut config = theirs("adopted");
    config.deliver_policy = DeliverPolicy::New;
    config.max_ack_pending = 7;
    stage.stream(Feed::Strat).await.create_consumer(config).await.unwrap();
    let before = found(&stage, "adopted").await;
    let adopting =
        consumer(&stage, "adopted", quick().with_on_mismatch(OnMismatch::Keep)).build().await.unwrap();
    assert_eq!(found(&stage, "adopted").await, before);
    let running = Running::start(adopting);
    for number in 1..=20 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "adopted").await;
    assert_eq!(running.stop().await.handled, 20);
}

#[tokio::test]
async fn a_durable_that_breaks_a_guarantee_is_not_adopted() {
    let stage = Stage::new().await;
    let stream = stage.stream(Feed::Strat).await;
    let good = theirs("c");
    let all = || "strat.dev.unit.>".to_owned();
    for (broken, says) in [
        (pull::Config { max_deliver: 5, ..good.clone() }, "max deliver 5, wanted -1"),
        (pull::Config { max_deliver: 5, backoff: vec![41 * SECOND], ..good.clone() }, "max deliver 5"),
        (pull::Config { backoff: vec![41 * SECOND], ..good.clone() }, "backoff [41s], wanted none"),
        (
            pull::Config { ack_wait: 39 * SECOND, ..good.clone() },
            "ack wait 39s, wanted at least the lease, 40s",
        ),
        (pull::Config { ack_policy: AckPolicy::None, ..good.clone() }, "ack policy None, wanted Explicit"),
        (pull::Config { headers_only: true, ..good.clone() }, "headers only true"),
        (pull::Config { inactive_threshold: SECOND, ..good.clone() }, "inactive threshold 1s, wanted none"),
        (pull::Config { memory_storage: true, ..good.clone() }, "memory storage true, wanted false"),
        (
            pull::Config { replay_policy: ReplayPolicy::Original, ..good.clone() },
            "replay policy Original, wanted Instant",
        ),
        (pull::Config { max_batch: 5, ..good.clone() }, "max batch 5, wanted none"),
        (pull::Config { max_expires: SECOND, ..good.clone() }, "max expires 1s, wanted none"),
        (pull::Config { filter_subject: all(), ..good.clone() }, "wanted only events that have a handler"),
        (pull::Config { filter_subject: String::new(), ..good.clone() }, "filters []"),
    ] {
        stream.create_consumer(broken).await.unwrap();
        let adopting = consumer(&stage, "c", quick().with_on_mismatch(OnMismatch::Keep));
        refused(adopting, ConsumeErrorKind::Mismatch, &["durable c", says]).await;
        stream.delete_consumer("c").await.unwrap();
    }
    let push = async_nats::jetstream::consumer::push::Config {
        deliver_subject: "inbox".into(),
        durable_name: Some("c".into()),
        ack_wait: 40 * SECOND,
        ..Default::default()
    };
    stream.create_consumer(push.into_consumer_config()).await.unwrap();
    let adopting = consumer(&stage, "c", quick().with_on_mismatch(OnMismatch::Keep));
    refused(adopting, ConsumeErrorKind::Mismatch, &["deliver subject"]).await;
}

#[tokio::test]
async fn a_foreign_change_ends_the_consumer_or_is_reported_once() {
    let log = Log::listen();
    let stage = Stage::new().await;
    let running = Running::start(consumer(&stage, "shared", quick()).build().await.unwrap());
    // Another version of the service has a longer ack wait: no reason to stop, nor to change it back.
    let other = quick().with_ack_wait(60 * SECOND).with_on_mismatch(OnMismatch::Update);
    drop(consumer(&stage, "shared", other).build().await.unwrap());
    let told = r#"field="ack wait" found="60s" wanted="45s""#;
    eventually("told", || async { log.count(told) }, |lines| *lines == 1).await;
    // The second look from now on begins after the answer to the first.
    let mut looks = stage.client.subscribe("$JS.API.CONSUMER.INFO.STRATT_EVENTS.shared").await.unwrap();
    for _look in 0..2 {
        timeout(DEADLINE, looks.next()).await.expect("nobody looks").unwrap();
    }
    assert_eq!(found(&stage, "shared").await.ack_wait, 60 * SECOND);
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "shared").await;
    // A limit of deliveries strands events.
    let stranding = pull::Config {
        filter_subject: "strat.*.unit.published".into(),
        max_deliver: 1,
        max_ack_pending: 250_000,
        ack_wait: 60 * SECOND,
        ..theirs("shared")
    };
    change(&stage, stranding).await;
    let begun = Instant::now();
    let error = running.failure().await;
    assert_eq!(error.kind(), ConsumeErrorKind::Mismatch);
    assert!(error.to_string().contains("durable shared was changed"), "{error}");
    assert!(error.to_string().contains("max deliver 1, wanted -1"), "{error}");
    assert_eq!(log.count("durable was changed"), 1);
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_durable_handles_what_a_foreign_limit_stranded() {
    let stage = Stage::new().await;
    let healed = Arc::new(AtomicBool::new(false));
    let build = || {
        let healed = Arc::clone(&healed);
        let builder = stage.consumer("limited").on(move |delivery: Delivery<UnitPublished>| {
            let works =
                healed.load(Ordering::SeqCst) || !delivery.event().uri.to_string().contains("stranded");
            async move { if works { Ok(()) } else { Err(HandlerError::retry("down")) } }
        });
        builder.build()
    };
    let running = Running::start(build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "limited").await;
    let mut limited = theirs("limited");
    (limited.filter_subject, limited.max_deliver) = ("strat.*.unit.published".into(), 1);
    change(&stage, limited).await;
    // Delivered once and never again, without any report by the server.
    stage.bridge.publish(published("stranded", 2)).await.unwrap();
    assert_eq!(running.failure().await.kind(), ConsumeErrorKind::Mismatch);
    assert!(stage.dead_letters().await.is_empty());
    // It is still in the stream: a new durable delivers it, and the store knows what was handled.
    stage.stream(Feed::Strat).await.delete_consumer("limited").await.unwrap();
    healed.store(true, Ordering::SeqCst);
    let running = Running::start(build().await.unwrap());
    stage.all_answered(Feed::Strat, "limited").await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.duplicates), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_durable_or_stream_is_reported_without_traffic() {
    for deletes_stream in [false, true] {
        let stage = Stage::new().await;
        let running = Running::start(consumer(&stage, "idle", quick()).build().await.unwrap());
        let stream = stage.stream(Feed::Strat).await;
        let waiting = || async { stream.consumer_info("idle").await.unwrap().num_waiting };
        eventually("requests", waiting, |waiting| *waiting == 1).await;
        if deletes_stream {
            stage.context().delete_stream(Feed::Strat.stream()).await.unwrap();
        } else {
            stream.delete_consumer("idle").await.unwrap();
        }
        let begun = Instant::now();
        assert_eq!(running.failure().await.kind(), ConsumeErrorKind::ConsumerGone);
        // Takes milliseconds. An open request lasts for 10 s, and without a status the look every 5 s would find it.
        assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_deleted_while_all_is_in_flight_is_reported() {
    let stage = Stage::new().await;
    let full = quick().with_max_in_flight(1).with_shutdown_grace(Duration::ZERO);
    let busy = stage.consumer("busy").options(full).on(|_: Delivery<UnitPublished>| std::future::pending());
    let running = Running::start(busy.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let stream = stage.stream(Feed::Strat).await;
    let taken = || async {
        let info = stream.consumer_info("busy").await.unwrap();
        (info.num_ack_pending, info.num_waiting)
    };
    eventually("taken", taken, |taken| *taken == (1, 0)).await;
    stream.delete_consumer("busy").await.unwrap();
    assert_eq!(running.failure().await.kind(), ConsumeErrorKind::ConsumerGone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_that_is_gone_after_a_reconnect_is_told_as_gone() {
    let mut stage = Stage::new().await;
    let running = Running::start(consumer(&stage, "idle", quick()).build().await.unwrap());
    stage.server.kill();
    // As after a disaster: the server comes back without its data.
    std::fs::remove_dir_all(stage.server.folder().join("data")).unwrap();
    stage.server.restart().await.unwrap();
    let begun = Instant::now();
    assert_eq!(running.failure().await.kind(), ConsumeErrorKind::ConsumerGone);
    assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
}
