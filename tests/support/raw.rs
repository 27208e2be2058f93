use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Publishes a message with a header block that no client library would write, and returns what the server answered.
pub async fn raw_publish(url: &str, subject: &str, header: &[u8], payload: &[u8]) -> String {
    let mut socket = TcpStream::connect(url.strip_prefix("nats://").unwrap()).await.unwrap();
    let connect = r#"CONNECT {"verbose":false,"headers":true,"no_responders":true,"lang":"raw","version":"1","protocol":1}"#;
    let mut command = format!("{connect}\r\nSUB in 1\r\n").into_bytes();
    let (headers, total) = (header.len(), header.len() + payload.len());
    command.extend(format!("HPUB {subject} in {headers} {total}\r\n").into_bytes());
    command.extend([header, payload, b"\r\n"].concat());
    socket.write_all(&command).await.unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    let answer = async {
        while !String::from_utf8_lossy(&seen).contains("MSG in") {
            let read = socket.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            seen.extend_from_slice(&buffer[..read]);
        }
    };
    timeout(Duration::from_secs(5), answer).await.expect("the stream acknowledges the message");
    String::from_utf8_lossy(&seen).into_owned()
}
