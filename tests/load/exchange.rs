//! HTTP/1.1 with no more of it than a load needs: heads with a Content-Length.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of a large body that are read at once.
const BUFFER: usize = 256 * 1024;

/// A head is no longer than this.
const HEAD: usize = 16 * 1024;

/// Reads messages from a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    filled: usize,
}

/// The head of a message.
#[derive(Debug)]
pub(crate) struct Head {
    /// Its first line.
    pub(crate) start: String,
    /// Bytes of the body that follows.
    pub(crate) length: u64,
    pub(crate) is_last: bool,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; HEAD], filled: 0 }
    }

    /// The next head; [`None`] where the stream ended instead.
    pub(crate) async fn head<S>(&mut self, stream: &mut S) -> io::Result<Option<Head>>
    where
        S: AsyncRead + Unpin,
    {
        loop {
            if let Some(end) = find_end(&self.buffer[..self.filled]) {
                let head = read_head(&self.buffer[..end])?;
                self.consume(end);
                return Ok(Some(head));
            }
            match stream.read(&mut self.buffer[self.filled..]).await? {
                0 if self.filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.filled += count,
            }
        }
    }

    /// The `length` bytes of a body, piece by piece.
    pub(crate) async fn body<S>(
        &mut self,
        stream: &mut S,
        mut length: u64,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()>
    where
        S: AsyncRead + Unpin,
    {
        if length > u64::try_from(HEAD).expect("a head is small") {
            self.buffer.resize(BUFFER, 0);
        }
        while length > 0 {
            if self.filled == 0 {
                self.filled = stream.read(&mut self.buffer).await?;
                if self.filled == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let piece = self.filled.min(usize::try_from(length).unwrap_or(usize::MAX));
            take(&self.buffer[..piece]);
            length -= u64::try_from(piece).expect("a buffer is small");
            self.consume(piece);
        }
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|it| it == b"\r\n\r\n").map(|at| at + 4)
}

fn read_head(bytes: &[u8]) -> io::Result<Head> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let (mut length, mut is_last) = (0, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(|_no_number| io::ErrorKind::InvalidData)?;
        } else if name.eq_ignore_ascii_case("connection") {
            is_last = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Head { start, length, is_last })
}
