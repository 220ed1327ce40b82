//! How many connections and requests an address has, where it may have so many and no more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits;

/// What the clients behind an address may have.
#[derive(Clone, Debug)]
pub(crate) struct PerClient {
    /// Connections, and each WebSocket that came over HTTP/2: over HTTP/1.1 it had been one.
    pub(crate) connections: Shares,
    /// Requests of HTTP/2 that hold a connection to the application: what as many connections of
    /// HTTP/1.1 could have, or one of HTTP/2.
    pub(crate) requests: Shares,
}

impl PerClient {
    /// For so many connections of an address.
    pub(crate) fn new(most: usize) -> Self {
        let streams = usize::try_from(limits::H2_STREAMS).unwrap_or(usize::MAX);
        Self { connections: Shares::new(most), requests: Shares::new(most.max(streams)) }
    }
}

/// How many of a thing each address has. IPv6 addresses count one by one: the pods of a node share
/// its /64 with the kubelet.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    most: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Shares {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// One more for `peer`, unless it has as many as it may.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<Share> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { of: self.clone(), peer })
    }
}

/// One part of an address's share, given back however what has it ends.
#[derive(Debug)]
pub(crate) struct Share {
    of: Shares,
    peer: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.peer).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.peer);
        } else {
            taken.insert(self.peer, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_takes_nothing_from_another() {
        let shares = Shares::new(2);
        let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|it| it.parse().unwrap());
        let held: Vec<Share> = (0..5).filter_map(|_| shares.take(one)).collect();
        assert_eq!(held.len(), 2);
        let more = shares.take(other);
        assert!(more.is_some());
        drop(held);
        assert!(shares.take(one).is_some());
        drop(more);
        assert!(shares.taken.lock().unwrap().is_empty());
    }
}
