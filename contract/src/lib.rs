//! What the webhook and the sidecar must agree on.
