//! The application behind what is measured.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;

use aws_lc_rs::digest::{Context, SHA256};
use lasthop_contract::text::hex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::spawn_local;

use crate::exchange::{Head, Reader};

/// Connections that the kernel keeps until they are taken.
const BACKLOG: u32 = 4096;

/// The bytes of every body: the one at each place is the place modulo 251, and so is each whole block.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    pub(crate) fn new() -> Self {
        Self((0..251).cycle().take(251 * 1024).collect())
    }

    /// The bytes at `place` of a body of `length`, as many as there are in one piece.
    pub(crate) fn piece(&self, place: u64, length: u64) -> &[u8] {
        let left = usize::try_from(length - place).unwrap_or(usize::MAX);
        &self.0[..self.0.len().min(left)]
    }
}

/// Answers until it is killed.
pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    let listener: TcpListener = socket.listen(BACKLOG)?;
    let mut output = io::stdout();
    writeln!(output, "{}", listener.local_addr()?)?;
    output.flush()?;
    let pattern = Rc::new(Pattern::new());
    loop {
        let Ok((stream, _peer)) = listener.accept().await else { continue };
        let pattern = Rc::clone(&pattern);
        // A connection that breaks off is the client's to tell of.
        spawn_local(async move { answer(stream, &pattern).await.unwrap_or_default() });
    }
}

async fn answer(mut stream: TcpStream, pattern: &Pattern) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new();
    while let Some(head) = reader.head(&mut stream).await? {
        let is_last = head.is_last;
        let mut words = head.start.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match (method, target.strip_prefix("/bytes/").map(str::parse)) {
            ("GET", Some(Ok(length))) => send(&mut stream, length, pattern).await?,
            ("POST", _) => take(&mut stream, &mut reader, &head).await?,
            _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?,
        }
        if is_last {
            break;
        }
    }
    stream.shutdown().await
}

async fn send(stream: &mut TcpStream, length: u64, pattern: &Pattern) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    );
    let first = pattern.piece(0, length);
    // A short answer is one packet, as it is of every server.
    stream.write_all(&[head.as_bytes(), first].concat()).await?;
    let mut place = u64::try_from(first.len()).expect("a piece is small");
    while place < length {
        let piece = pattern.piece(place, length);
        stream.write_all(piece).await?;
        place += u64::try_from(piece.len()).expect("a piece is small");
    }
    Ok(())
}

async fn take(stream: &mut TcpStream, reader: &mut Reader, head: &Head) -> io::Result<()> {
    let mut digest = Context::new(&SHA256);
    let is_wanted = head.start.contains(" /digest ");
    let hash = |bytes: &[u8]| {
        if is_wanted {
            digest.update(bytes);
        }
    };
    reader.body(stream, head.length, hash).await?;
    let text = if is_wanted { hex(digest.finish().as_ref()) } else { String::new() };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    stream.write_all(answer.as_bytes()).await
}
