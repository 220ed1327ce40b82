//! No request and no answer that could mean two things is passed on as it is: each is refused, or
//! means one thing to everybody, which is what the application saw, byte for byte.

mod http_meaning {
    mod answers;
    mod framing;
    mod heads;
    mod http2;
    mod witness;
}
