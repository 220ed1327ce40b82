//! Which client certificate comes in: one table of keys, chains, usages, names, times and
//! revocations, with the verdict written down by rule. A real sidecar in both versions of TLS,
//! `lasthop rehearse` and `lasthop check` each have to say what it says.

mod client_matrix {
    mod cast;
    mod journeys;
    mod rows;
    mod rule;
    mod sidecar;
}
