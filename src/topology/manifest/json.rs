//! The streams as JSON for the API of JetStream.

use crate::topology::{Topology, TopologyError, TopologyErrorKind};
use async_nats::jetstream::stream::Config;
use serde_json::Value;

impl Topology {
    /// Returns the streams as the API of JetStream (`$JS.API.STREAM.CREATE.{stream}`) and `nats stream add --config`
    /// read them, in the order in which they have to be created.
    ///
    /// ```
    /// use stratt_event_bridge::topology::Topology;
    ///
    /// for stream in Topology::default().with_replicas(3).to_json()? {
    ///     println!("{stream}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`verify`](crate::EventBridge::verify) then finds no difference. What was there before is not known here: after
    /// the loss of `STRATT_EVENTS` alone, [`provision`](crate::EventBridge::provision) instead, or set
    /// [`with_first_sequence`](Self::with_first_sequence).
    ///
    /// # Errors
    ///
    /// [`InvalidSettings`](TopologyErrorKind::InvalidSettings) when the settings contradict each other, or ask for a
    /// [durable source](Self::with_durable_source), whose durable only provisioning makes.
    pub fn to_json(&self) -> Result<Vec<Value>, TopologyError> {
        self.written()?.iter().map(value).collect()
    }

    /// Returns the streams that can be written down.
    pub(super) fn written(&self) -> Result<Vec<Config>, TopologyError> {
        let problem = self.problem().or_else(|| {
            self.durable_source
                .then(|| "a durable source needs its durable: provision the topology".to_owned())
        });
        match problem {
            Some(problem) => Err(TopologyError::new(TopologyErrorKind::InvalidSettings, problem)),
            // What is written for an older server than 2.12 asks for no batches.
            None => Ok(self.streams(true)),
        }
    }
}

fn value(stream: &Config) -> Result<Value, TopologyError> {
    let mut value = serde_json::to_value(stream).map_err(|error| {
        let message = format!("stream {} cannot be written as JSON", stream.name);
        TopologyError::new(TopologyErrorKind::InvalidSettings, message).caused_by(error)
    })?;
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    Ok(value)
}
