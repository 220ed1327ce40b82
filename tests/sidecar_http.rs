//! What the sidecar passes on: requests and answers whole, the truth about the client, and nothing
//! that could mean two things.

mod sidecar_http {
    mod again;
    mod application;
    mod meaning;
    mod other;
    mod refused;
    mod scene;
    mod told;
    mod whole;
}
