use std::sync::Arc;
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};
use tokio_util::task::AbortOnDropHandle;

/// The form of a time in the answers of a server, with zeros for digits.
const LOOKS: &[u8] = b"0000-00-00T00:00:00";
const TIME: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

/// A proxy that shifts all times in the answers of a server: to its client, the own clock seems to be wrong the other
/// way.
pub struct ShiftedTimes {
    url: String,
    _accepting: AbortOnDropHandle<()>,
}

impl ShiftedTimes {
    pub async fn by(shift: time::Duration, url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server: Arc<str> = url.trim_start_matches("nats://").into();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let accepting = tokio::spawn(async move {
            let mut carried = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                let (mut from_client, to_client) = client.into_split();
                let (from_server, mut to_server) = TcpStream::connect(&*server).await.unwrap().into_split();
                let there = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
                let back = tokio::spawn(carry(from_server, to_client, shift));
                carried.push((AbortOnDropHandle::new(there), AbortOnDropHandle::new(back)));
            }
        });
        Self { url, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shift: time::Duration) {
    let mut bytes = Vec::new();
    while from.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        for start in 0..bytes.len() {
            if let Some(time) = bytes.get_mut(start..start + LOOKS.len()).filter(|time| looks(time)) {
                shift_in_place(time, shift);
            }
        }
        // What may be the beginning of a time waits for the rest of it.
        let waits = (bytes.len().saturating_sub(LOOKS.len() - 1)..bytes.len())
            .find(|start| looks(&bytes[*start..]))
            .unwrap_or(bytes.len());
        let rest = bytes.split_off(waits);
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        bytes = rest;
    }
}

fn looks(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(LOOKS)
        .all(|(byte, look)| if *look == b'0' { byte.is_ascii_digit() } else { byte == look })
}

/// Shifts a time in place; its length stays the same.
fn shift_in_place(bytes: &mut [u8], shift: time::Duration) {
    let text = std::str::from_utf8(bytes).unwrap();
    // Year 1 stands for "never".
    if let Ok(time) = PrimitiveDateTime::parse(text, TIME)
        && time.year() > 2000
    {
        bytes.copy_from_slice((time + shift).format(TIME).unwrap().as_bytes());
    }
}
