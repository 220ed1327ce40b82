//! The sidecar's life: how it starts or says why not, follows its Secrets, and ends.

mod sidecar_life {
    mod bounds;
    mod end;
    mod goaway;
    mod reload;
    mod scene;
    mod secrets;
    mod start;
    mod status;
}
