use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
    sync::Once,
};

thread_local! {
    static HEARD: RefCell<Option<Rc<RefCell<String>>>> = const { RefCell::new(None) };
}

/// What is logged on this thread from now on, for tests whose runtime has no other.
#[derive(Debug)]
pub struct Log(Rc<RefCell<String>>);

impl Log {
    pub fn listen() -> Self {
        // One subscriber for the whole process: with one for each thread, a thread that has none can switch a line off
        // for all of them.
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            let all_of_ours = tracing_subscriber::EnvFilter::new("info,stratt_event_bridge=trace");
            let lines = tracing_subscriber::fmt().with_writer(|| ThisThread).with_ansi(false);
            lines.with_env_filter(all_of_ours).init();
        });
        let heard = Rc::default();
        HEARD.set(Some(Rc::clone(&heard)));
        Self(heard)
    }

    /// How many lines contain this.
    pub fn count(&self, text: &str) -> usize {
        self.0.borrow().lines().filter(|line| line.contains(text)).count()
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
