//! Frames of HTTP/2 (RFC 9113), for what no client would send.

/// What a client sends first, with the frame of its settings.
pub fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Kinds of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of [`HEADERS`] and [`DATA`].
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame (4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literal fields (RFC 7541, 6.2.2), each shorter than 128 bytes.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 128);
        [&[length.expect("the text is short")], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The header block of a GET.
pub fn get(host: &str, path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)])
}

/// The header block of an extended CONNECT for `protocol` (RFC 8441, 4).
pub fn connect(protocol: &str, host: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "https"),
        (":authority", host),
        (":path", path),
        ("sec-websocket-version", "13"),
    ])
}

/// The kinds of the frames in `bytes`, in order.
pub fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let [a, b, c, kind, ..] = *head;
        kinds.push(kind);
        let length = u32::from_be_bytes([0, a, b, c]);
        bytes = rest.get(usize::try_from(length).expect("24 bits")..).unwrap_or_default();
    }
    kinds
}
