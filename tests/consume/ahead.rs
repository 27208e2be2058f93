//! A stream that has lost its end, as after a power loss: old servers leave the durable ahead of it, and deliver
//! nothing.

use std::{fs, path::Path};
use stratt_event_bridge::{ConsumerBuilder, Feed, testing::NatsServer};
use support::{Effects, NEWEST, Running, Stage, eventually, published, short};

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn consumer(stage: &Stage, effects: &Effects) -> ConsumerBuilder {
    stage.consumer("c").options(short()).on(effects.handler())
}

/// Handles six events, of which the stream has lost three when the server is back.
async fn lose_the_end(stage: &mut Stage, effects: &Effects, running: &Running) {
    let messages = stage.server.folder().join("data/jetstream/$G/streams/STRATT_EVENTS/msgs");
    let kept = stage.server.folder().join("kept");
    for number in 1..=3 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "c").await;
    stage.server.kill();
    copy(&messages, &kept);
    stage.server.restart().await.unwrap();
    for number in 4..=6 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "c").await;
    assert!(effects.count() == 6 && !running.is_over());
    stage.server.kill();
    copy(&kept, &messages);
    stage.server.restart().await.unwrap();
}

async fn last_sequence(stage: &Stage) -> u64 {
    let last = || async {
        Some(stage.context().get_stream("STRATT_EVENTS").await.ok()?.cached_info().state.last_sequence)
    };
    eventually("the stream", last, Option::is_some).await.unwrap()
}

async fn is_told_of_with_a_way_out(version: &str) {
    let server = NatsServer::builder().version(version).start().await.unwrap();
    let mut stage = Stage::on(server).await;
    let effects = Effects::default();
    let running = Running::start(consumer(&stage, &effects).build().await.unwrap());
    lose_the_end(&mut stage, &effects, &running).await;
    assert_eq!(last_sequence(&stage).await, 3);
    // While it runs, and when it is built.
    for error in [running.failure().await, consumer(&stage, &effects).build().await.unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("delivered up to 6") && text.contains("ends at 3"), "{text}");
    }
    // The cure.
    stage.stream(Feed::Strat).await.delete_consumer("c").await.unwrap();
    let running = Running::start(consumer(&stage, &effects).build().await.unwrap());
    stage.bridge.publish(published("a", 7)).await.unwrap();
    eventually("handled", || async { effects.contain(7) }, |is_handled| *is_handled).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.duplicates), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_ahead_of_its_stream_is_told_of_with_a_way_out() {
    tokio::join!(is_told_of_with_a_way_out("2.10.26"), is_told_of_with_a_way_out("2.12.8"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_servers_put_a_durable_back_that_is_ahead() {
    let mut stage = Stage::on(NatsServer::builder().version(NEWEST).start().await.unwrap()).await;
    let effects = Effects::default();
    let running = Running::start(consumer(&stage, &effects).build().await.unwrap());
    lose_the_end(&mut stage, &effects, &running).await;
    stage.bridge.publish(published("a", 7)).await.unwrap();
    eventually("handled", || async { effects.contain(7) }, |is_handled| *is_handled).await;
    running.stop().await;
}
