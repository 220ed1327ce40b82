//! What the sidecar passes on: requests and answers whole, and the truth about the client.

mod sidecar_http {
    mod again;
    mod application;
    mod early;
    mod other;
    mod refused;
    mod scene;
    mod told;
    mod whole;
}
