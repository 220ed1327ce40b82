//! One test for each system that lasthop serves, against a real API server with real kubectl: what
//! is wrong is refused at apply, what is right is admitted, the created pod carries the sidecar, and
//! the sidecar, started from that pod, serves real clients.

mod walkthroughs {
    mod ako;
    mod ambassador;
    mod iks;
    mod istio;
    mod nginx;
    mod support;
}
