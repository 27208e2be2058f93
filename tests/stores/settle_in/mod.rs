//! The effect of a handler and the mark that it was handled, in one transaction.

mod host;
mod killed;

use host::Host;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    BatchOptions, Delivery, Feed, HandlerError, UnitPublished, dedupe::StoreErrorKind,
};
use support::{Running, Stage, eventually, published, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effect_and_mark_commit_together_or_not_at_all() {
    support::needs!(Postgres);
    for host in Host::both().await {
        let stage = Stage::new().await;
        let handling = host.clone();
        let consumer = stage.bridge.consumer("exact", host.store()).options(quick()).on(
            move |delivery: Delivery<UnitPublished>| {
                let host = handling.clone();
                async move {
                    let is_second = delivery.attempt() == 2;
                    host.handle(&delivery, is_second).await?;
                    if is_second { Ok(()) } else { Err(HandlerError::retry("rolled back")) }
                }
            },
        );
        let running = Running::start(consumer.build().await.unwrap());
        let receipt = stage.bridge.publish(published("a", 1)).await.unwrap();
        stage.all_answered(Feed::Strat, "exact").await;
        // The same fact again, past the broker's own recognition.
        let stream = stage.stream(Feed::Strat).await;
        let stored = stream.get_raw_message(receipt.sequence()).await.unwrap();
        stage.context().publish(stored.subject, stored.payload).await.unwrap().await.unwrap();
        stage.all_answered(Feed::Strat, "exact").await;
        let summary = running.stop().await;
        assert_eq!((summary.handled, summary.retried, summary.duplicates), (1, 1, 1), "{host:?}");
        assert_eq!(host.count("SELECT count(*) FROM effects WHERE attempt = 2").await, 1);
        assert_eq!(host.count("SELECT count(*) FROM effects").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_its_claim_cannot_commit() {
    support::needs!(Postgres);
    for host in Host::both().await {
        let stage = Stage::new().await;
        let handling = host.clone();
        let (fenced, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let consumer = stage.bridge.consumer("late", host.store()).options(quick()).on(
            move |delivery: Delivery<UnitPublished>| {
                let (host, fenced) = (handling.clone(), fenced.clone());
                async move {
                    host.steal(&delivery).await;
                    let result = host.handle(&delivery, true).await;
                    fenced.send(format!("{result:?}")).unwrap();
                    result
                }
            },
        );
        host.create_long_ago().await;
        let running = Running::start(consumer.build().await.unwrap());
        stage.bridge.publish(published("a", 1)).await.unwrap();
        let result = seen.recv().await.unwrap();
        assert!(result.contains(&format!("{:?}", StoreErrorKind::Fenced)), "{result}");
        let summary = running.stop().await;
        assert_eq!((summary.handled, summary.abandoned), (0, 1), "{summary:?}");
        assert_eq!(host.count("SELECT count(*) FROM effects").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_commits_without_the_one_that_lost_its_claim() {
    support::needs!(Postgres);
    for host in Host::both().await {
        let stage = Stage::new().await;
        host.create_long_ago().await;
        let (handling, has_stolen) = (host.clone(), Arc::new(AtomicBool::new(false)));
        let batches = BatchOptions::default().with_max_wait(Duration::from_millis(100));
        let consumer = stage.bridge.consumer("late", host.store()).options(quick()).on_batch(
            batches,
            move |batch: Vec<Delivery<UnitPublished>>| {
                let (host, has_stolen) = (handling.clone(), Arc::clone(&has_stolen));
                async move {
                    let third = batch.iter().find(|delivery| delivery.sequence() == 3);
                    if let Some(third) = third.filter(|_| !has_stolen.swap(true, Ordering::SeqCst)) {
                        host.steal(third).await;
                    }
                    host.handle_all(&batch).await
                }
            },
        );
        for number in 1..=10 {
            stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
        }
        let consumer = consumer.build().await.unwrap();
        let monitor = consumer.monitor();
        let running = Running::start(consumer);
        let ended = || async {
            let counts = monitor.status().counts();
            (counts.handled, counts.abandoned)
        };
        eventually("handled and abandoned", ended, |ended| *ended == (9, 1)).await;
        running.stop().await;
        assert_eq!(host.effects().await, (9, 9));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_repeated_after_its_commit_is_refused() {
    support::needs!(Postgres);
    for host in Host::both().await {
        let stage = Stage::new().await;
        let (results, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let handling = host.clone();
        let consumer = stage.bridge.consumer("twice", host.store()).options(quick()).on(
            move |delivery: Delivery<UnitPublished>| {
                let (host, results) = (handling.clone(), results.clone());
                async move {
                    for _time in 1..=2 {
                        results
                            .send(host.handle(&delivery, true).await.map_err(|error| error.to_string()))
                            .unwrap();
                    }
                    Ok(())
                }
            },
        );
        let running = Running::start(consumer.build().await.unwrap());
        stage.bridge.publish(published("a", 1)).await.unwrap();
        assert_eq!(seen.recv().await.unwrap(), Ok(()));
        let refused = seen.recv().await.unwrap().unwrap_err();
        assert!(refused.contains("is settled already"), "{refused}");
        stage.all_answered(Feed::Strat, "twice").await;
        assert_eq!(running.stop().await.handled, 1);
        assert_eq!(host.count("SELECT count(*) FROM effects").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_commit_is_not_known_has_each_effect_once() {
    support::needs!(Postgres);
    for host in Host::both().await {
        let stage = Stage::new().await;
        let (handling, calls) = (host.clone(), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&calls);
        let batches = BatchOptions::default().with_max_events(4).with_max_wait(Duration::from_millis(100));
        // What is handled and not known to be comes again soon.
        let options = quick().with_lease(Duration::from_secs(2)).with_ack_wait(Duration::from_secs(3));
        let consumer = stage.bridge.consumer("unknown", host.store()).options(options).on_batch(
            batches,
            move |batch: Vec<Delivery<UnitPublished>>| {
                let (host, is_first) = (handling.clone(), count.fetch_add(1, Ordering::SeqCst) == 0);
                async move {
                    host.handle_all(&batch).await?;
                    if is_first { Err(HandlerError::retry("commit was not answered")) } else { Ok(()) }
                }
            },
        );
        for number in 1..=6 {
            stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
        }
        let running = Running::start(consumer.build().await.unwrap());
        stage.all_answered(Feed::Strat, "unknown").await;
        let summary = running.stop().await;
        assert_eq!(host.effects().await, (6, 6));
        assert!(calls.load(Ordering::SeqCst) > 2, "{summary:?}");
        assert_eq!((summary.handled, summary.exhausted), (2, 0), "{summary:?}");
    }
}
