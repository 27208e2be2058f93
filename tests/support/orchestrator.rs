use super::signal;
use super::{DEADLINE, orchestrator_http, without_settings};
use serde_json::Value;
use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

/// The example `orchestrator_http` as a process.
pub struct Orchestrator {
    child: Child,
    address: String,
    log: Arc<Mutex<Vec<Value>>>,
    reading: JoinHandle<()>,
}

impl Orchestrator {
    pub fn command(settings: &[(&str, &str)]) -> Command {
        let mut command = without_settings(orchestrator_http());
        command.env("HTTP_ADDR", "127.0.0.1:0").envs(settings.iter().copied());
        command
    }

    pub async fn start(nats_url: &str, database_url: &str) -> Self {
        Self::start_with(&[("NATS_URL", nats_url), ("DATABASE_URL", database_url)]).await
    }

    /// Starts it and waits until it logs where it listens.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut child = Self::command(settings).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut next = async || {
            let line = lines.next_line().await.unwrap()?;
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            log.lock().unwrap().push(line.clone());
            Some(line["fields"].clone())
        };
        let address = loop {
            let said = timeout(DEADLINE, next()).await.expect("it does not become ready");
            let said = said.expect("it ended before it was ready");
            if said["message"] == "orchestrator is ready" {
                break said["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
            }
        };
        let kept = Arc::clone(&log);
        let reading = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, address, log, reading }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await
    }

    pub async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(post(path, "application/json", body)).await
    }

    pub async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(&self.address).await
    }

    /// Sends the bytes of a request as they are, and reads until the service closes the connection.
    pub async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect().await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("no answer").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Returns the value of a metric with its labels.
    pub async fn metric(&self, name: &str) -> String {
        let text = self.get("/metrics").await.body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }

    /// Kills it (SIGKILL).
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Stops it (SIGTERM).
    pub async fn terminate(&self) {
        signal(&self.child, "-TERM").await;
    }

    pub async fn stop(self) -> String {
        self.terminate().await;
        self.last_words().await
    }

    /// Waits for the end, which must be a success. The last line of the log may be that of a library: the task of a
    /// connection logs that it is closed while the process ends.
    pub async fn last_words(mut self) -> String {
        let status = timeout(DEADLINE, self.child.wait()).await.expect("it does not end").unwrap();
        self.reading.await.unwrap();
        let log = self.log.lock().unwrap();
        assert!(status.success(), "{status}: {log:#?}");
        let own =
            |line: &&Value| line["target"].as_str().is_some_and(|of| of.starts_with("orchestrator_http"));
        log.iter().rfind(own).unwrap()["fields"]["message"].as_str().unwrap().to_owned()
    }
}

pub fn post(path: &str, media_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: {media_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lowercase.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
