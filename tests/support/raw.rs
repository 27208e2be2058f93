use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Publishes a message with a header block that no client library would write, and returns what the server answered.
/// The URL may have user and password, or the JWT of a bearer as the password of the user `jwt`.
pub async fn raw_publish(url: &str, subject: impl AsRef<[u8]>, header: &[u8], payload: &[u8]) -> String {
    let address = url.strip_prefix("nats://").unwrap();
    let (user, address) = match address.split_once('@') {
        Some((user, address)) => (user.split_once(':'), address),
        None => (None, address),
    };
    let user = user.map(|(user, pass)| match user {
        "jwt" => format!(r#""jwt":"{pass}","#),
        _ => format!(r#""user":"{user}","pass":"{pass}","#),
    });
    let user = user.unwrap_or_default();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let options =
        r#""verbose":false,"headers":true,"no_responders":true,"lang":"raw","version":"1","protocol":1"#;
    let mut command = format!("CONNECT {{{user}{options}}}\r\nSUB in 1\r\n").into_bytes();
    let (headers, total) = (header.len(), header.len() + payload.len());
    command.extend([b"HPUB ", subject.as_ref(), format!(" in {headers} {total}\r\n").as_bytes()].concat());
    command.extend([header, payload, b"\r\n"].concat());
    socket.write_all(&command).await.unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    let answer = async {
        while !String::from_utf8_lossy(&seen).contains("MSG ") {
            let read = socket.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            seen.extend_from_slice(&buffer[..read]);
        }
    };
    timeout(Duration::from_secs(5), answer).await.expect("the stream acknowledges the message");
    String::from_utf8_lossy(&seen).into_owned()
}
