//! Clients that do the same thing over and over.

use std::cell::{Cell, RefCell};
use std::io::{self, Read as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use lasthop_contract::text::hex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;

use crate::application::Pattern;
use crate::client::{Client, HOST, is_resumed};
use crate::exchange::Reader;
use crate::tally::Tally;

/// The body of a small answer, in bytes.
const SMALL: u64 = 1024;

/// After a failure, so that a program that is gone does not get millions of them.
const BREATH: Duration = Duration::from_millis(10);

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    Time(Duration),
    Count(u64),
}

/// What is looked at in a body that arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Checked {
    Length,
    Digest,
}

/// Clients side by side.
#[derive(Debug)]
pub(crate) struct Drive {
    shared: Rc<Shared>,
    connections: u64,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    stop: Stop,
    began: Instant,
    /// Turns that were taken.
    turns: Cell<u64>,
    tally: RefCell<Tally>,
}

impl Shared {
    /// Whether there is another turn to take.
    fn goes_on(&self) -> bool {
        let turn = self.turns.replace(self.turns.get() + 1);
        match self.stop {
            Stop::Time(time) => self.began.elapsed() < time,
            Stop::Count(count) => turn < count,
        }
    }

    fn done(&self, bytes: u64) {
        let mut tally = self.tally.borrow_mut();
        tally.done += 1;
        tally.bytes += bytes;
    }

    /// `turn` on one connection, as long as that goes; the first turn was taken already.
    async fn turns_on_one<T>(&self, turn: &T) -> io::Result<()>
    where
        T: AsyncFn(&mut Stream, &mut Reader) -> io::Result<u64>,
    {
        let mut reader = Reader::new();
        let mut stream = self.client.connect().await?;
        loop {
            let bytes = turn(&mut stream, &mut reader).await?;
            self.done(bytes);
            if !self.goes_on() {
                return stream.shutdown().await;
            }
        }
    }

    async fn failed(&self, error: &io::Error) {
        self.tally.borrow_mut().fail(error);
        sleep(BREATH).await;
    }
}

type Stream = TlsStream<TcpStream>;

impl Drive {
    pub(crate) fn new(client: Client, connections: u64, stop: Stop) -> Self {
        let shared = Shared {
            client,
            stop,
            began: Instant::now(),
            turns: Cell::new(0),
            tally: RefCell::new(Tally::new()),
        };
        Self { shared: Rc::new(shared), connections }
    }

    /// A connection for every request.
    pub(crate) async fn connect(self) -> Tally {
        self.each(async |shared| {
            let mut reader = Reader::new();
            while shared.goes_on() {
                let asked = async {
                    let mut stream = shared.client.connect().await?;
                    small(&mut stream, &mut reader).await?;
                    shared.tally.borrow_mut().resumed += u64::from(is_resumed(&stream));
                    stream.shutdown().await
                };
                match asked.await {
                    Ok(()) => shared.done(SMALL),
                    Err(error) => shared.failed(&error).await,
                }
            }
        })
        .await
    }

    /// Many requests on every connection.
    pub(crate) async fn request(self) -> Tally {
        self.stay(async |stream, reader| {
            small(stream, reader).await?;
            Ok(SMALL)
        })
        .await
    }

    /// Bodies of `size` bytes to the client.
    pub(crate) async fn download(self, size: u64, checked: Checked) -> Tally {
        let expected = Rc::new(digest(size));
        self.stay(async move |stream, reader| {
            let head = format!("GET /bytes/{size} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
            send(stream, &head).await?;
            let mut came = Context::new(&SHA256);
            take(stream, reader, |bytes| {
                if checked == Checked::Digest {
                    came.update(bytes);
                }
            })
            .await?;
            same(checked, &expected, &hex(came.finish().as_ref()))?;
            Ok(size)
        })
        .await
    }

    /// Bodies of `size` bytes from the client.
    pub(crate) async fn upload(self, size: u64, checked: Checked) -> Tally {
        let expected = Rc::new(digest(size));
        let pattern = Rc::new(Pattern::new());
        let target = if checked == Checked::Digest { "/digest" } else { "/" };
        self.stay(async move |stream, reader| {
            let head =
                format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let mut place = 0;
            while place < size {
                let piece = pattern.piece(place, size);
                stream.write_all(piece).await?;
                place += u64::try_from(piece.len()).expect("a piece is small");
            }
            stream.flush().await?;
            let mut answer = Vec::new();
            take(stream, reader, |bytes| answer.extend_from_slice(bytes)).await?;
            same(checked, &expected, &String::from_utf8_lossy(&answer))?;
            Ok(size)
        })
        .await
    }

    /// Connections that lie idle after a request each, until standard input ends.
    pub(crate) async fn hold(self) -> anyhow::Result<()> {
        let held = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&held);
        let tally = self
            .each(async move |shared| {
                while shared.goes_on() {
                    let asked = async {
                        let mut stream = shared.client.connect().await?;
                        small(&mut stream, &mut Reader::new()).await?;
                        Ok(stream)
                    };
                    match asked.await {
                        Ok(stream) => {
                            shared.done(SMALL);
                            kept.borrow_mut().push(stream);
                        }
                        Err(error) => shared.failed(&error).await,
                    }
                }
            })
            .await;
        tally.print()?;
        let mut rest = Vec::new();
        // Nothing else is left to do meanwhile.
        io::stdin().read_to_end(&mut rest)?;
        held.borrow_mut().clear();
        Ok(())
    }

    /// `turn` again and again on connections that stay open.
    async fn stay<T>(self, turn: T) -> Tally
    where
        T: AsyncFn(&mut Stream, &mut Reader) -> io::Result<u64> + 'static,
    {
        let turn = Rc::new(turn);
        self.each(async move |shared| {
            let turn = Rc::clone(&turn);
            while shared.goes_on() {
                if let Err(error) = shared.turns_on_one(&*turn).await {
                    shared.failed(&error).await;
                }
            }
        })
        .await
    }

    /// `live` as many times side by side as there are connections.
    async fn each<L>(self, live: L) -> Tally
    where
        L: AsyncFn(Rc<Shared>) + 'static,
    {
        let live = Rc::new(live);
        let mut clients = JoinSet::new();
        for _ in 0..self.connections {
            let (live, shared) = (Rc::clone(&live), Rc::clone(&self.shared));
            clients.spawn_local(async move { live(shared).await });
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client does not panic");
        }
        drop(live);
        Rc::into_inner(self.shared).expect("all clients ended").tally.into_inner()
    }
}

/// A request for a small answer, and the answer.
pub(crate) async fn small(stream: &mut Stream, reader: &mut Reader) -> io::Result<()> {
    let head = format!("GET /bytes/{SMALL} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    send(stream, &head).await?;
    take(stream, reader, |_bytes| {}).await
}

/// Sends a whole request. What was written may still wait in the TLS layer, above all where tokio thinks
/// that the task has done enough for one turn, and reading does not send it.
async fn send(stream: &mut Stream, head: &str) -> io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await
}

/// An answer with its body, which must be a good one.
async fn take(stream: &mut Stream, reader: &mut Reader, body: impl FnMut(&[u8])) -> io::Result<()> {
    let head = reader.head(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    reader.body(stream, head.length, body).await?;
    if head.start.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(io::Error::other(head.start)) }
}

/// The digest of a body of `size` bytes.
fn digest(size: u64) -> String {
    let pattern = Pattern::new();
    let mut digest = Context::new(&SHA256);
    let mut place = 0;
    while place < size {
        let piece = pattern.piece(place, size);
        digest.update(piece);
        place += u64::try_from(piece.len()).expect("a piece is small");
    }
    hex(digest.finish().as_ref())
}

fn same(checked: Checked, expected: &str, came: &str) -> io::Result<()> {
    if checked == Checked::Length || expected == came {
        return Ok(());
    }
    Err(io::Error::other(format!("the bytes are not those that were sent: {came}")))
}
