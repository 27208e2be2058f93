use stratt_event_bridge::{ConsumeError, ConsumeSummary, DurableConsumer};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

/// A consumer that runs in the background until it is stopped.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<ConsumeSummary, ConsumeError>>,
}

impl Running {
    pub fn start(consumer: DurableConsumer) -> Self {
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _stopped_or_dropped = stopped.await;
        };
        Self { stop, task: tokio::spawn(consumer.run(shutdown)) }
    }

    /// Returns whether the consumer has ended by itself.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    pub async fn stop(self) -> ConsumeSummary {
        self.stop.send(()).expect("the consumer ended by itself");
        self.task.await.unwrap().unwrap()
    }

    /// Returns the error of a consumer that ends by itself.
    pub async fn failure(self) -> ConsumeError {
        timeout(super::DEADLINE, self.task).await.expect("the consumer goes on").unwrap().unwrap_err()
    }
}
