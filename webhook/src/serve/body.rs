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
const MOST_BYTES_TOGETHER: usize = 96 * 1024 * 1024;

/// A body has to be here by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// So much of a body that is too long is read and thrown away, so that a client which writes all
/// of it before it reads gets to see the answer.
const MOST_BYTES_DISCARDED: usize = 64 * 1024 * 1024;

/// JSON values in a body: each takes up to 80 bytes of memory where two are enough to write it.
const MOST_VALUES: usize = 1_000_000;

/// The memory that bodies take, all together.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

impl Memory {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_BYTES_TOGETHER)))
    }
}

/// A body that was read, and its share of the memory.
#[derive(Debug)]
pub(super) struct ReadBody {
    pub(super) bytes: Vec<u8>,
    _share: Option<OwnedSemaphorePermit>,
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
    #[error("the body broke off: {0}")]
    Broken(String),
}

impl BodyError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong | Self::TooManyValues => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
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
    match &read {
        Err(BodyError::TooLong) => discard(&mut body, MOST_BYTES).await,
        Ok(read) if count_values(&read.bytes) > MOST_VALUES => {
            return Err(BodyError::TooManyValues);
        }
        Ok(_) | Err(_) => {}
    }
    read
}

async fn collect(body: &mut Body, memory: &Memory) -> Result<ReadBody, BodyError> {
    let mut bytes = Vec::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            BodyError::Broken(lasthop_contract::text::escape(&error.to_string()))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MOST_BYTES {
            return Err(BodyError::TooLong);
        }
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        // The semaphore is never closed, so that an error cannot happen.
        if let Ok(more) = Arc::clone(&memory.0).acquire_many_owned(size).await {
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
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
    if text.len() < MOST_VALUES {
        return 0;
    }
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
        let commas = format!("\"{}\"", ",".repeat(MOST_VALUES + 1));
        assert_eq!(count_values(commas.as_bytes()), 1);
        let quoted = format!("\"{}\"", "\\\",".repeat(MOST_VALUES));
        assert_eq!(count_values(quoted.as_bytes()), 1);
        let nulls = format!("[{}0]", "0,".repeat(MOST_VALUES));
        assert!(count_values(nulls.as_bytes()) > MOST_VALUES);
    }
}
