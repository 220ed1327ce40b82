//! Where the header blocks of HTTP/2 begin and end in the bytes of a connection (RFC 9113, 4.3).

/// What a client sends first (RFC 9113, 3.4), in bytes.
const PREFACE: usize = 24;

/// Frames that header blocks are made of, and the flag of a block's last one (RFC 9113, 6.2, 6.10).
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames that a client sends.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Bytes that are left of the preface or a frame's payload.
    left: usize,
    /// The frame header that is being read, and how much of it there is.
    header: ([u8; 9], usize),
    is_open: bool,
    ends_with_frame: bool,
}

/// What the last bytes left of the header blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// No block is on its way.
    Closed,
    /// One is, and it began in these bytes.
    Begun,
    /// One is, that began earlier.
    Open,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self { left: PREFACE, header: ([0; 9], 0), is_open: false, ends_with_frame: false }
    }

    /// Takes the next bytes.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> Seen {
        let mut was_open = self.is_open;
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let (_, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= bytes.len() - rest.len();
                bytes = rest;
            } else {
                self.header_byte(*first);
                bytes = rest;
            }
            if self.left == 0 && self.ends_with_frame {
                (self.is_open, self.ends_with_frame, was_open) = (false, false, false);
            }
        }
        match (self.is_open, was_open) {
            (false, _) => Seen::Closed,
            (true, false) => Seen::Begun,
            (true, true) => Seen::Open,
        }
    }

    fn header_byte(&mut self, byte: u8) {
        let (header, count) = &mut self.header;
        if let Some(place) = header.get_mut(*count) {
            *place = byte;
        }
        *count += 1;
        if *count < header.len() {
            return;
        }
        *count = 0;
        let [a, b, c, kind, flags, ..] = *header;
        self.left = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.is_open = true;
            self.ends_with_frame = flags & END_HEADERS != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.extend(vec![7; usize::from(length)]);
        bytes
    }

    #[test]
    fn blocks_are_found_however_the_bytes_are_cut() {
        let preface = [&[0; PREFACE][..], &frame(4, 0, 6), &frame(HEADERS, 0, 3)].concat();
        let whole = [&preface[..], &frame(CONTINUATION, 0, 0), &frame(CONTINUATION, 4, 2)].concat();
        let both = [&whole[..], &frame(0, 1, 200), &frame(HEADERS, 5, 0)].concat();
        for size in [1, 2, 5, 9, 10, 1000] {
            let seen = |bytes: &[u8]| {
                let mut blocks = Blocks::new();
                bytes.chunks(size).map(|it| blocks.see(it)).last().unwrap()
            };
            assert_ne!(seen(&preface), Seen::Closed, "{size}");
            assert_ne!(seen(&whole[..whole.len() - 1]), Seen::Closed, "{size}");
            assert_eq!(seen(&whole), Seen::Closed, "{size}");
            assert_eq!(seen(&both), Seen::Closed, "{size}");
        }
    }

    #[test]
    fn the_next_block_has_a_beginning_of_its_own() {
        let mut blocks = Blocks::new();
        assert_eq!(blocks.see(&[0; PREFACE]), Seen::Closed);
        assert_eq!(blocks.see(&frame(HEADERS, 0, 3)), Seen::Begun);
        assert_eq!(blocks.see(&frame(CONTINUATION, 0, 3)), Seen::Open);
        let next = [frame(CONTINUATION, 4, 3), frame(HEADERS, 0, 3)].concat();
        assert_eq!(blocks.see(&next), Seen::Begun);
    }
}
