//! A watch of forwarding, for health checks and metrics.

use super::{heal::heal, look::Access, memory::Memory, meter::Meter, options::ForwardingOptions};
use crate::{
    report::report,
    topology::{Forwarding, TopologyError},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// A watch of the broker's forwarding to Choco, which looks again and again while it [runs](Self::run).
///
/// Clones are handles on the same watch. See [`EventBridge::watch_forwarding`](crate::EventBridge::watch_forwarding).
///
/// ```no_run
/// # use stratt_event_bridge::{EventBridge, topology::ForwardingOptions};
/// # async fn example(bridge: EventBridge) {
/// let watch = bridge.watch_forwarding(ForwardingOptions::default());
/// let running = watch.clone();
/// tokio::spawn(async move { running.run(std::future::pending()).await });
/// // In a health check:
/// let is_fine = watch.current().is_some_and(|forwarding| !forwarding.is_stalled());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ForwardingWatch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    choco: Access,
    origin: Option<Access>,
    memory: Arc<Memory>,
    options: ForwardingOptions,
    meter: Meter,
    last: Mutex<Option<(Instant, Forwarding)>>,
}

impl ForwardingWatch {
    pub(crate) fn new(
        choco: Access,
        origin: Option<Access>,
        memory: Arc<Memory>,
        options: ForwardingOptions,
    ) -> Self {
        let (meter, last) = (Meter::new(), Mutex::default());
        Self { inner: Arc::new(Inner { choco, origin, memory, options, meter, last }) }
    }

    /// Looks at the intervals of the options until `shutdown` resolves, and once more when a stall is due. Logs when
    /// forwarding stalls and when it goes on again, and sets the [metrics](crate::docs::observing#metrics).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the watch; what it has seen is kept by the bridge.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) {
        let looking = async {
            let mut stall = Stall::default();
            loop {
                let pause = match self.look().await {
                    Ok(seen) => {
                        self.act(&seen, &mut stall).await;
                        self.pause(&seen)
                    }
                    Err(error) => {
                        tracing::debug!(error = %report(&error), "forwarding could not be looked at");
                        self.inner.options.interval
                    }
                };
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = looking => {}
            () = shutdown => {}
        }
    }

    /// Returns what the last look has found; `None` before the first, and when the broker has not answered for longer
    /// than the bound and three intervals. Does no I/O.
    #[must_use]
    pub fn current(&self) -> Option<Forwarding> {
        let interval = self.inner.options.interval;
        let last = self.inner.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, seen) = last.as_ref()?;
        (at.elapsed() <= seen.bound + interval * 3).then(|| seen.clone())
    }

    /// Looks now.
    ///
    /// # Errors
    ///
    /// As for [`EventBridge::forwarding`](crate::EventBridge::forwarding).
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn look(&self) -> Result<Forwarding, TopologyError> {
        let Inner { choco, origin, memory, options, meter, last } = &*self.inner;
        let seen = Forwarding::read(memory, choco, origin.as_ref()).await?;
        let seen = Forwarding { bound: options.bound.unwrap_or(seen.bound), ..seen };
        meter.shows(&seen);
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), seen.clone()));
        Ok(seen)
    }

    /// Heals forwarding; see [`EventBridge::heal_forwarding`](crate::EventBridge::heal_forwarding).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn heal(&self) -> Result<(), TopologyError> {
        heal(&self.inner.memory, &self.inner.choco).await?;
        self.inner.meter.heals();
        Ok(())
    }

    /// Logs a change, and heals if it may and that can be of use.
    async fn act(&self, seen: &Forwarding, stall: &mut Stall) {
        if !seen.is_stalled() {
            if std::mem::take(stall).is_reported {
                tracing::info!("forwarding to Choco goes on: {seen}");
            }
            return;
        }
        // A second line where the cause is known only now.
        let lacks_flow_control = seen.lacks_flow_control();
        if !stall.is_reported || (lacks_flow_control && !stall.lacks_flow_control) {
            tracing::error!("forwarding to Choco is stalled: {seen}");
        }
        (stall.is_reported, stall.lacks_flow_control) = (true, lacks_flow_control);
        let is_healing_of_use =
            !lacks_flow_control && !seen.is_choco_full && self.inner.memory.is_healing_of_use().await;
        if !self.inner.options.heals || stall.is_refused || !is_healing_of_use {
            return;
        }
        match self.heal().await {
            Ok(()) => tracing::warn!("forwarding to Choco is healed: another server leads its stream"),
            Err(error) => {
                stall.is_refused = true;
                tracing::error!(error = %report(&error), "forwarding to Choco cannot be healed");
            }
        }
    }

    /// Returns the time until the next look.
    fn pause(&self, seen: &Forwarding) -> Duration {
        let interval = self.inner.options.interval;
        let due = seen.stalled_for().and_then(|stalled| seen.bound.checked_sub(stalled));
        let due = due.filter(|due| !due.is_zero());
        due.map_or(interval, |due| due.min(interval))
    }
}

/// The reactions to the present stall.
#[derive(Debug, Default)]
struct Stall {
    is_reported: bool,
    lacks_flow_control: bool,
    is_refused: bool,
}
