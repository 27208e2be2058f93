use super::spans::SpansOfThisThread;
use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
    sync::Once,
};
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

thread_local! {
    static HEARD: RefCell<Option<Rc<RefCell<String>>>> = const { RefCell::new(None) };
}

/// One subscriber for the whole process: with one for each thread, a thread without one could disable a line for all of
/// them. Lines of threads that do not listen are dropped.
pub(crate) fn subscribe() {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| {
        let all_of_ours = EnvFilter::new("info,stratt_event_bridge=trace");
        let lines = tracing_subscriber::fmt::layer().with_writer(|| ThisThread).with_ansi(false);
        let ours = Targets::new().with_target("stratt_event_bridge", tracing::Level::TRACE);
        let told = tracing_subscriber::registry()
            .with(lines.with_filter(all_of_ours))
            .with(SpansOfThisThread.with_filter(ours));
        let told = told.with(super::traces::layer());
        told.init();
    });
}

/// The log of this thread from now on, for tests with a single-threaded runtime.
#[derive(Debug)]
pub struct Log(Rc<RefCell<String>>);

impl Log {
    pub fn listen() -> Self {
        subscribe();
        let heard = Rc::default();
        HEARD.set(Some(Rc::clone(&heard)));
        Self(heard)
    }

    /// Returns the number of lines that contain this.
    pub fn count(&self, text: &str) -> usize {
        self.count_all(&[text])
    }

    /// Returns the number of lines that contain all of these.
    pub fn count_all(&self, texts: &[&str]) -> usize {
        let has_all = |line: &&str| texts.iter().all(|text| line.contains(text));
        self.0.borrow().lines().filter(has_all).count()
    }
}

struct ThisThread;

impl Write for ThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        HEARD.with_borrow(|heard| {
            if let Some(heard) = heard {
                heard.borrow_mut().push_str(&String::from_utf8_lossy(bytes));
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
