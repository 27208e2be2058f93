//! Outages of what handlers depend on: bad days, on which no event is to blame.

use std::{
    env, fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    BreakerCause, CircuitBreaker, ConsumerBuilder, ConsumerMonitor, ConsumerOptions, ConsumerPhase, Delivery,
    Event, EventType, HandlerError, Order, UnitDeprecated, UnitPublished, dead_letter::DeadLetterReason,
};
use support::{Log, Running, Stage, deprecated, eventually, number_of, published, quick};
use tokio::time::{Instant, interval, sleep};

/// The length of the outage in seconds, of which an hour is the whole: all other times are scaled with it.
const OUTAGE: &str = "OUTAGE_SECONDS";
const PER_SECOND: u64 = 100;
const HOUR: Duration = Duration::from_hours(1);

/// A dependency of the handlers, and what they did.
#[derive(Default)]
struct Dependency {
    is_away: AtomicBool,
    attempts_while_away: AtomicU64,
    handled: AtomicU64,
    first_success: Mutex<Option<Instant>>,
}

impl Dependency {
    fn called_for(&self, actor: Option<&str>) -> Result<(), HandlerError> {
        match actor {
            Some("rejected") => return Err(HandlerError::reject("never")),
            Some("bad") if !self.is_away() => return Err("bad by itself".into()),
            _ => {}
        }
        if self.is_away() {
            self.attempts_while_away.fetch_add(1, Ordering::SeqCst);
            return Err("dependency is away".into());
        }
        self.first_success.lock().unwrap().get_or_insert_with(Instant::now);
        self.handled.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn is_away(&self) -> bool {
        self.is_away.load(Ordering::SeqCst)
    }

    fn go_away(&self) {
        self.is_away.store(true, Ordering::SeqCst);
    }

    fn come_back(&self) -> Instant {
        *self.first_success.lock().unwrap() = None;
        self.is_away.store(false, Ordering::SeqCst);
        Instant::now()
    }

    fn attempts(&self) -> u64 {
        self.attempts_while_away.load(Ordering::SeqCst)
    }

    fn handled(&self) -> u64 {
        self.handled.load(Ordering::SeqCst)
    }
}

fn depending(builder: ConsumerBuilder, on: &Arc<Dependency>) -> ConsumerBuilder {
    let on = Arc::clone(on);
    builder.on(move |delivery: Delivery<UnitPublished>| {
        let ended = on.called_for(delivery.event().actor.as_deref());
        async { ended }
    })
}

fn open(monitor: &ConsumerMonitor) -> Vec<(EventType, BreakerCause)> {
    monitor.status().open_breakers().map(|breaker| (breaker.event_type(), breaker.cause())).collect()
}

async fn is_open(monitor: &ConsumerMonitor, count: usize) {
    eventually("open breakers", || async { open(monitor).len() }, |open| *open == count).await;
}

/// Quick probes, and more time for an event than it takes until the breaker opens.
fn quick_probes() -> ConsumerOptions {
    quick()
        .with_circuit_breaker(CircuitBreaker::default().with_probe_interval(Duration::from_millis(500)))
        .with_max_attempts(8)
        .with_retry_delays([Duration::from_secs(1)])
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// With the default options; all of their times are scaled with the outage, down to what can be measured.
///
/// `OUTAGE_SECONDS=3600 cargo it consume -- an_outage_of_a_dependency --nocapture` takes the whole hour, unscaled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_a_dependency_dead_letters_nothing() {
    let seconds: f64 = env::var(OUTAGE).map_or(4.0, |seconds| seconds.parse().unwrap());
    let scale = seconds / HOUR.as_secs_f64();
    let scaled = |seconds: u64| Duration::from_secs(seconds).mul_f64(scale);
    let interval_of_probes = scaled(5).max(Duration::from_millis(100));
    let options = ConsumerOptions::default()
        .with_retry_delays([1, 5, 30, 120, 600, 1800, 7200].map(scaled))
        .with_circuit_breaker(CircuitBreaker::default().with_probe_interval(interval_of_probes));
    let stage = Stage::new().await;
    let on = Arc::new(Dependency::default());
    let consumer = depending(stage.consumer("patient").options(options), &on).build().await.unwrap();
    let monitor = consumer.monitor();
    let running = Running::start(consumer);
    stage.bridge.publish(published("good", 0)).await.unwrap();
    eventually("handled", || async { on.handled() }, |handled| *handled == 1).await;

    on.go_away();
    let (begun, resident) = (Instant::now(), resident_kib());
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(PER_SECOND).unwrap());
    let mut sent = 0;
    while begun.elapsed().as_secs_f64() < seconds {
        ticks.tick().await;
        sent += 1;
        let actor = match sent {
            20 => Some("rejected"),
            30 => Some("bad"),
            _ => None,
        };
        let mut event = published(&format!("unit-{sent}"), sent);
        if let Some(actor) = actor {
            event = event.with_actor(actor);
        }
        stage.bridge.publish(event).await.unwrap();
    }
    let (attempts, grown) = (on.attempts(), resident_kib().saturating_sub(resident));
    assert_eq!(open(&monitor), [(EventType::UnitPublished, BreakerCause::Failures)]);
    let status = monitor.status();
    assert_eq!((status.phase(), status.is_working()), (ConsumerPhase::CircuitOpen, false));
    let is_rejected = |letters: &[_]| matches!(letters, [_]);
    let letters = stage.dead_letters().await;
    assert!(letters.is_empty() || is_rejected(&letters), "{letters:?}");
    // Those that opened it, those that ran beside them, and one in each interval.
    let probes = begun.elapsed().as_secs_f64() / interval_of_probes.as_secs_f64();
    let most = 10.0 + 64.0 + probes.ceil();
    println!("{attempts} attempts, at most {most}, while {sent} events waited; memory grew by {grown} KiB");
    assert!(attempts as f64 <= most, "{attempts} attempts, at most {most}");
    // Other tests run beside the short one, in the same process.
    assert!(env::var(OUTAGE).is_err() || grown < 64 * 1024, "memory grew by {grown} KiB");

    let back = on.come_back();
    let first = || async { *on.first_success.lock().unwrap() };
    let first = eventually("success", first, Option::is_some).await.unwrap();
    // All but the one that is rejected and the bad one, and the one before the outage.
    let mut seconds = 0;
    while on.handled() < sent - 1 {
        // A backlog of an hour takes more than the deadline of a condition.
        let before = on.handled();
        eventually("handled", || async { on.handled() }, |handled| *handled > before).await;
        if back.elapsed().as_secs() > seconds {
            seconds = back.elapsed().as_secs();
            println!("{seconds} s after its return {} are handled", on.handled());
        }
    }
    println!("first success after {:?}, all {sent} handled after {:?}", first - back, back.elapsed());
    assert!(open(&monitor).is_empty());
    // The bad one has its attempts first, which take 2 h 42 min where the outage took an hour.
    let exhausted = usize::from(env::var(OUTAGE).is_err());
    let letters = stage.dead_letters_are(1 + exhausted).await;
    let has = |wanted| letters.iter().filter(|letter| letter.reason() == Some(wanted)).count();
    assert_eq!((has(DeadLetterReason::Exhausted), has(DeadLetterReason::Rejected)), (exhausted, 1));
    let summary = running.stop().await;
    assert_eq!((summary.exhausted, summary.rejected), (exhausted as u64, 1), "{summary:?}");
}

#[tokio::test]
async fn while_one_type_waits_the_others_flow() {
    let log = Log::listen();
    let stage = Stage::new().await;
    let (on, others) = (Arc::new(Dependency::default()), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&others);
    let options = quick_probes().with_max_in_flight(8);
    let consumer = depending(stage.consumer("split").options(options), &on)
        .on(move |_: Delivery<UnitDeprecated>| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
        .build()
        .await
        .unwrap();
    let monitor = consumer.monitor();
    let running = Running::start(consumer);
    on.go_away();
    for number in 1..=200 {
        stage.bridge.publish(published(&format!("a-{number}"), number)).await.unwrap();
    }
    is_open(&monitor, 1).await;
    assert_eq!(monitor.status().phase(), ConsumerPhase::Running);
    for number in 1..=200 {
        stage.bridge.publish(deprecated(&format!("b-{number}"), number)).await.unwrap();
    }
    eventually("others", || async { others.load(Ordering::SeqCst) }, |others| *others == 200).await;
    assert!(on.is_away() && on.handled() == 0);
    on.come_back();
    eventually("handled", || async { on.handled() }, |handled| *handled == 200).await;
    is_open(&monitor, 0).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.exhausted), (400, 0), "{summary:?}");
    assert!(summary.deferred > 0, "{summary:?}");
    assert_eq!(log.count("circuit breaker opened"), 1);
    assert_eq!(log.count("circuit breaker closed"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_defers_opens_the_breaker_at_once() {
    let stage = Stage::new().await;
    let runs: Arc<Mutex<Vec<(u64, u32, Instant)>>> = Arc::default();
    let seen = Arc::clone(&runs);
    let pause = Duration::from_millis(600);
    let options = quick_probes().with_max_attempts(1).with_max_in_flight(1);
    let consumer =
        stage.consumer("deferring").options(options).on(move |delivery: Delivery<UnitPublished>| {
            let mut runs = seen.lock().unwrap();
            runs.push((delivery.sequence(), delivery.attempt(), Instant::now()));
            let ended = if runs.len() == 1 {
                Err(HandlerError::defer_for("down for maintenance", pause))
            } else {
                Ok(())
            };
            async { ended }
        });
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    let running = Running::start(consumer);
    for number in 1..=3 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    is_open(&monitor, 1).await;
    assert_eq!(open(&monitor), [(EventType::UnitPublished, BreakerCause::Deferred)]);
    eventually("runs", || async { runs.lock().unwrap().len() }, |runs| *runs == 4).await;
    let runs = runs.lock().unwrap().clone();
    // Not before the time that the handler gave, and with no attempt counted although there is only one.
    assert!(runs[1].2.duration_since(runs[0].2) >= pause);
    assert!(runs.iter().all(|(_, attempt, _)| *attempt == 1), "{runs:?}");
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.exhausted), (3, 0), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_breaker_a_deferred_event_waits_alone() {
    let stage = Stage::new().await;
    let deferred = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&deferred);
    let options = quick().with_circuit_breaker(None).with_max_attempts(1);
    let consumer = stage.consumer("alone").options(options).on(move |delivery: Delivery<UnitPublished>| {
        let is_early = delivery.sequence() == 1 && count.fetch_add(1, Ordering::SeqCst) < 20;
        async move { if is_early { Err(HandlerError::defer("not yet")) } else { Ok(()) } }
    });
    let running = Running::start(consumer.build().await.unwrap());
    for number in 1..=3 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    eventually("deferred", || async { deferred.load(Ordering::SeqCst) }, |deferred| *deferred == 21).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.deferred, summary.exhausted), (3, 20, 0), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_per_unit_holds_through_an_outage() {
    const UNITS: u64 = 5;
    let stage = Stage::since(11).await;
    let on = Arc::new(Dependency::default());
    let effects: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let (depends, seen) = (Arc::clone(&on), Arc::clone(&effects));
    let options = quick_probes().with_order(Order::PerUnit);
    let consumer = stage.consumer("ordered").options(options).on(move |delivery: Delivery<UnitPublished>| {
        let ended = depends.called_for(None);
        if ended.is_ok() {
            let event = delivery.event();
            let effect = (event.unit_uri().to_string(), number_of(event.fingerprint()));
            seen.lock().unwrap().push(effect);
        }
        async { ended }
    });
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    let running = Running::start(consumer);
    on.go_away();
    for number in 1..=40 {
        stage.bridge.publish(published(&format!("unit-{}", number % UNITS), number)).await.unwrap();
    }
    is_open(&monitor, 1).await;
    sleep(Duration::from_secs(1)).await;
    on.come_back();
    eventually("effects", || async { effects.lock().unwrap().len() }, |effects| *effects == 40).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.exhausted), (40, 0), "{summary:?}");
    for unit in 0..UNITS {
        let uri = published(&format!("unit-{unit}"), 1).unit_uri().to_string();
        let of_unit: Vec<_> =
            effects.lock().unwrap().iter().filter(|(of, _)| *of == uri).map(|(_, number)| *number).collect();
        assert!(of_unit.is_sorted(), "{uri}: {of_unit:?}");
    }
}
