//! From the application to the next tier: plaintext on localhost in, TLS or mutual TLS out, to the one
//! server that it should be and to no other.

mod originate {
    mod addresses;
    mod bytes;
    mod http;
    mod life;
    mod names;
    mod scene;
    mod server;
}
