use super::log::subscribe;
use std::{cell::RefCell, collections::BTreeMap, fmt::Debug, rc::Rc};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

thread_local! {
    static SEEN: RefCell<Option<Rc<RefCell<Vec<Span>>>>> = const { RefCell::new(None) };
}

/// The spans of the crate that begin on this thread from now on, for tests with a single-threaded runtime.
#[derive(Debug)]
pub struct Spans(Rc<RefCell<Vec<Span>>>);

/// A recorded span.
#[derive(Debug, Clone)]
pub struct Span {
    id: Id,
    pub kind: &'static str,
    /// The kind of the parent span.
    pub within: Option<&'static str>,
    pub fields: BTreeMap<&'static str, String>,
    /// The number of spans that it links to.
    pub links: usize,
    pub is_over: bool,
}

impl Spans {
    pub fn listen() -> Self {
        subscribe();
        let seen = Rc::default();
        SEEN.set(Some(Rc::clone(&seen)));
        Self(seen)
    }

    /// Returns the ended spans of a kind, oldest first.
    pub fn of(&self, kind: &str) -> Vec<Span> {
        self.all().into_iter().filter(|span| span.kind == kind && span.is_over).collect()
    }

    pub fn all(&self) -> Vec<Span> {
        self.0.borrow().clone()
    }
}

impl Span {
    /// Returns the value of a field; a field that was never recorded is empty.
    pub fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    /// Checks that all of these fields are as expected.
    pub fn says(&self, fields: &[(&str, &str)]) {
        for (field, value) in fields {
            assert_eq!(self.get(field), *value, "{field} of {self:#?}");
        }
    }
}

/// A layer that records the spans of threads that listen.
pub(crate) struct SpansOfThisThread;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpansOfThisThread {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let within = context.span(id).and_then(|span| Some(span.parent()?.name()));
        let kind = attributes.metadata().name();
        let mut span =
            Span { id: id.clone(), kind, within, fields: BTreeMap::new(), links: 0, is_over: false };
        attributes.record(&mut Fields(&mut span.fields));
        with_seen(|seen| seen.push(span));
    }

    fn on_follows_from(&self, id: &Id, _: &Id, _: Context<'_, S>) {
        with_span(id, |span| span.links += 1);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        with_span(id, |span| values.record(&mut Fields(&mut span.fields)));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        with_span(&id, |span| span.is_over = true);
    }
}

fn with_seen(change: impl FnOnce(&mut Vec<Span>)) {
    SEEN.with_borrow(|seen| {
        if let Some(seen) = seen {
            change(&mut seen.borrow_mut());
        }
    });
}

fn with_span(id: &Id, change: impl FnOnce(&mut Span)) {
    with_seen(|seen| {
        if let Some(span) = seen.iter_mut().rfind(|span| span.id == *id) {
            change(span);
        }
    });
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}
