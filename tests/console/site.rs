//! A console on a real broker, asked without a network.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header::LOCATION},
};
use serde_json::Value;
use std::sync::Arc;
use stratt_event_bridge::{
    Delivery, EventBridge, HandlerError, UnitPublished,
    console::{self, ConsoleOptions, Visitor},
    dedupe::KvStoreOptions,
};
use support::{Running, Stage, quick};
use tower::ServiceExt;

pub const HOST: &str = "ops.example";
pub const SAME_ORIGIN: &[(&str, &str)] = &[("sec-fetch-site", "same-origin")];

/// A console below `/console`, as hosts mount it.
#[derive(Clone)]
pub struct Site {
    router: Router,
}

#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Page {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}: {}", self.status, self.text))
    }

    pub fn location(&self) -> &str {
        self.headers[LOCATION].to_str().unwrap()
    }
}

impl Site {
    pub fn new(bridge: &EventBridge, options: ConsoleOptions) -> Self {
        let router = Router::new().nest("/console", console::router(bridge.clone(), options));
        Self { router }
    }

    /// Everybody may do everything.
    pub fn operated(bridge: &EventBridge) -> Self {
        Self::new(bridge, operator())
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let mut request =
            Request::builder().method(method).uri(format!("/console{path}")).header("host", HOST);
        if method == "POST" {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = to_bytes(body, 4 << 20).await.unwrap();
        Page {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Page {
        self.ask("GET", path, &[], "").await
    }

    /// Sends a form as a page of the console does.
    pub async fn post(&self, path: &str, form: &str) -> Page {
        self.ask("POST", path, SAME_ORIGIN, form).await
    }

    pub async fn json(&self, path: &str) -> Value {
        self.get(path).await.json()
    }

    /// Returns the first parts of a live page.
    pub async fn stream(&self, path: &str) -> Body {
        let request =
            Request::get(format!("/console{path}")).header("host", HOST).body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        answer.into_body()
    }
}

pub fn operator() -> ConsoleOptions {
    ConsoleOptions::default().with_authoriser(|_| Visitor::operator("alice"))
}

/// Runs a consumer that rejects what has `bad` in its URI.
pub async fn rejecting(stage: &Stage, name: &str, error: &'static str) -> Running {
    let store = Arc::new(stage.bridge.create_kv_store(KvStoreOptions::default()).await.unwrap());
    let consumer = stage.bridge.consumer(name, store).options(quick());
    let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| async move {
        if delivery.event().uri.to_string().contains("bad") {
            return Err(HandlerError::reject(error));
        }
        Ok(())
    });
    Running::start(consumer.build().await.unwrap())
}

/// Returns paths of all pages and answers that are read, of a broker with the dead letter 1 of a group and a durable.
pub async fn reads(site: &Site) -> Vec<String> {
    let group = site.json("/api/groups").await[0]["group"].as_str().unwrap_or("0").to_owned();
    let of_group = format!("/groups/{group}");
    let fixed = [
        "",
        "/dead-letters",
        "/dead-letters/1",
        "/dead-letters/1/payload",
        "/tail",
        "/tail?feed=choco",
        "/audit",
        "/durables/strat/catalogue",
        "/console.css",
        "/console.js",
        "/api/status",
        "/api/groups",
        "/api/audit",
        "/api/dead-letters/1",
        "/nowhere",
        "/dead-letters/999",
        "/groups/none",
    ];
    fixed.into_iter().map(str::to_owned).chain([of_group]).collect()
}
