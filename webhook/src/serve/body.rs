//! The body of a request, bounded in size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// No body longer than this is read. The API server takes objects of 3 MiB, an update carries two
/// of them, and JSON escapes can double each.
pub(super) const MOST_BYTES: usize = 16 * 1024 * 1024;

/// All bodies together may take this much memory at a time.
const MOST_BYTES_TOGETHER: usize = 48 * 1024 * 1024;

/// A body has to be here by then.
const PATIENCE: Duration = Duration::from_secs(10);

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
    bodies: Arc<Semaphore>,
    values: Arc<Semaphore>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(MOST_BYTES_TOGETHER)),
            values: Arc::new(Semaphore::new(MOST_VALUE_BYTES_TOGETHER)),
        }
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
    #[error("the body did not arrive within {} seconds", PATIENCE.as_secs())]
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
    let read = tokio::time::timeout(PATIENCE, collect(&mut body, memory)).await;
    let read = read.unwrap_or(Err(BodyError::TooSlow));
    if matches!(read, Err(BodyError::TooLong)) {
        discard(&mut body, MOST_BYTES).await;
    }
    read
}

async fn collect(body: &mut Body, memory: &Memory) -> Result<ReadBody, BodyError> {
    let mut bytes = Vec::new();
    let mut share = Share::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            BodyError::Broken(lasthop_contract::text::escape(&error.to_string()))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MOST_BYTES {
            return Err(BodyError::TooLong);
        }
        share.merge(take(&memory.bodies, data.len()).await);
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
    use super::*;

    #[test]
    fn counts_values_and_not_what_is_inside_of_strings() {
        assert_eq!(count_values(br#"",,,[[[{{{""#), 1);
        assert_eq!(count_values(br#""\",\",\\""#), 1);
        assert!(count_values(br#"[0,0,[],{"a":1}]"#) >= 6);
    }
}
