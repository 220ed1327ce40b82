//! The body of a request, bounded in size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// No body longer than this is read. The API server takes objects of 3 MiB, an update carries two
/// of them, and JSON escapes can double each.
pub(super) const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What nearly all reviews are shorter than. Those that say so in advance, as an API server does,
/// have memory of their own: they never wait for large ones.
const MOST_SMALL_BYTES: usize = 512 * 1024;

/// All small bodies together may take this much memory at a time.
const SMALL_BYTES_TOGETHER: usize = 16 * 1024 * 1024;

/// All other bodies together may take this much.
const LARGE_BYTES_TOGETHER: usize = 32 * 1024 * 1024;

/// A body has to be here by then: an API server waits 10 seconds at the most for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// So long may pass without a byte of it. An API server has all of it in hand when it begins.
const SILENCE: Duration = Duration::from_secs(1);

/// So much of a body that is too long is read and thrown away, so that a client which writes all
/// of it before it reads gets to see the answer.
const MOST_BYTES_DISCARDED: usize = 64 * 1024 * 1024;

/// JSON values in a body. The largest legal objects have some ten thousand.
const MOST_VALUES: usize = 500_000;

/// What a JSON value takes in memory, where two bytes are enough to write it.
const BYTES_A_VALUE: usize = 160;

/// All values together may take this much memory at a time.
const MOST_VALUE_BYTES_TOGETHER: usize = 112 * 1024 * 1024;

/// The memory that reviews take, all together.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    values: Arc<Semaphore>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            small: Arc::new(Semaphore::new(SMALL_BYTES_TOGETHER)),
            large: Arc::new(Semaphore::new(LARGE_BYTES_TOGETHER)),
            values: Arc::new(Semaphore::new(MOST_VALUE_BYTES_TOGETHER)),
        }
    }

    /// Where a body takes its bytes from.
    fn for_bytes_of(&self, body: &Body) -> &Arc<Semaphore> {
        // A body is never longer than it was said to be: HTTP ends it there.
        let is_small = body.size_hint().upper().is_some_and(|it| it <= MOST_SMALL_BYTES as u64);
        if is_small { &self.small } else { &self.large }
    }

    /// Waits for the memory that `text` takes once it is parsed.
    pub(super) async fn for_values_of(&self, text: &[u8]) -> Result<Share, BodyError> {
        let values = count_values(text);
        if values > MOST_VALUES {
            return Err(BodyError::TooManyValues);
        }
        let taking = take(&self.values, values * BYTES_A_VALUE);
        tokio::time::timeout(PATIENCE, taking).await.map_err(|_elapsed| BodyError::Busy)
    }
}

/// Memory that is given back when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Share {
    fn merge(&mut self, more: Self) {
        match (&mut self.0, more.0) {
            (Some(mine), Some(more)) => mine.merge(more),
            (mine @ None, more) => *mine = more,
            (Some(_), None) => {}
        }
    }
}

async fn take(from: &Arc<Semaphore>, bytes: usize) -> Share {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    // The semaphore is never closed, so that there is always a permit.
    Share(Arc::clone(from).acquire_many_owned(bytes).await.ok())
}

/// A body that was read, and its share of the memory.
#[derive(Debug)]
pub(super) struct ReadBody {
    pub(super) bytes: Vec<u8>,
    _share: Share,
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is longer than {MOST_BYTES} bytes")]
    TooLong,
    #[error("the body holds more than {MOST_VALUES} JSON values")]
    TooManyValues,
    #[error(
        "the body did not arrive within {} seconds, or nothing of it for {} s",
        PATIENCE.as_secs(),
        SILENCE.as_secs()
    )]
    TooSlow,
    #[error("too many reviews are under way")]
    Busy,
    #[error("the body broke off: {0}")]
    Broken(String),
}

impl BodyError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong | Self::TooManyValues => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads `body`, of which `headers` may tell the length.
pub(super) async fn read(
    mut body: Body,
    headers: &HeaderMap,
    memory: &Memory,
) -> Result<ReadBody, BodyError> {
    if body.size_hint().lower() > MOST_BYTES as u64 {
        // Who asks first whether to send it is told before it is sent.
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body, 0).await;
        }
        return Err(BodyError::TooLong);
    }
    let read = collect(&mut body, memory).await;
    if matches!(read, Err(BodyError::TooLong)) {
        discard(&mut body, MOST_BYTES).await;
    }
    read
}

async fn collect(body: &mut Body, memory: &Memory) -> Result<ReadBody, BodyError> {
    let from = memory.for_bytes_of(body);
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let mut share = Share::default();
    loop {
        let silent = deadline.min(Instant::now() + SILENCE);
        let frame =
            timeout_at(silent, body.frame()).await.map_err(|_elapsed| BodyError::TooSlow)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            BodyError::Broken(lasthop_contract::text::escape(&error.to_string()))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MOST_BYTES {
            return Err(BodyError::TooLong);
        }
        let taking = timeout_at(deadline, take(from, data.len()));
        share.merge(taking.await.map_err(|_elapsed| BodyError::Busy)?);
        bytes.extend_from_slice(&data);
    }
    Ok(ReadBody { bytes, _share: share })
}

async fn discard(body: &mut Body, mut read: usize) {
    let reading = async {
        while read < MOST_BYTES_DISCARDED {
            let Some(Ok(frame)) = body.frame().await else { return };
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Whether it ended in time or not: the answer is the same.
    let _elapsed = tokio::time::timeout(PATIENCE, reading).await;
}

/// An upper bound of the JSON values in `text`: separators outside of strings.
fn count_values(text: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use futures_util::future::{FutureExt as _, join_all};
    use futures_util::stream::{self, StreamExt as _};

    use super::*;

    fn beginning(bytes: usize) -> Body {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes]))]);
        Body::from_stream(first.chain(stream::pending()))
    }

    #[tokio::test]
    async fn large_bodies_that_do_not_end_hold_up_no_small_one_and_are_given_up() {
        let memory = Memory::new();
        let headers = HeaderMap::new();
        let slow = (0..5).map(|_| read(beginning(MOST_BYTES - 1), &headers, &memory));
        let mut slow = Box::pin(join_all(slow));
        assert!((&mut slow).now_or_never().is_none());
        assert!(memory.large.available_permits() < MOST_SMALL_BYTES, "they hold what there is");
        for length in [0, 1, 10_000, MOST_SMALL_BYTES] {
            let small = read(Body::from(vec![b' '; length]), &headers, &memory).await.unwrap();
            assert_eq!(small.bytes.len(), length);
        }
        // Nobody asked the slow ones meanwhile, so they held their share all the time.
        for slow in slow.await {
            assert!(matches!(slow, Err(BodyError::TooSlow | BodyError::Busy)), "{slow:?}");
        }
        assert_eq!(memory.large.available_permits(), LARGE_BYTES_TOGETHER);
        let large = read(Body::from(vec![b' '; MOST_BYTES]), &headers, &memory).await.unwrap();
        assert_eq!(large.bytes.len(), MOST_BYTES);
    }

    #[tokio::test]
    async fn a_silent_body_is_given_up_with_a_status_that_says_so() {
        let began = Instant::now();
        let read = read(beginning(1), &HeaderMap::new(), &Memory::new()).await;
        assert_eq!(read.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }

    #[test]
    fn counts_values_and_not_what_is_inside_of_strings() {
        assert_eq!(count_values(br#"",,,[[[{{{""#), 1);
        assert_eq!(count_values(br#""\",\",\\""#), 1);
        assert!(count_values(br#"[0,0,[],{"a":1}]"#) >= 6);
    }
}
