//! Names of Secrets that were seen while reviews were answered, for "did you mean".

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many names are remembered, the oldest forgotten first: some megabytes at most.
const MOST: usize = 10_000;

type Named = (String, String);

/// Namespaces and names, bounded in number.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    known: BTreeSet<Named>,
    by_age: VecDeque<Named>,
}

impl Seen {
    /// The Secret is there.
    pub(super) fn remember(&self, namespace: &str, name: &str) {
        let named = (namespace.to_owned(), name.to_owned());
        let mut names = self.names();
        if !names.known.insert(named.clone()) {
            return;
        }
        names.by_age.push_back(named);
        if names.by_age.len() > MOST
            && let Some(oldest) = names.by_age.pop_front()
        {
            names.known.remove(&oldest);
        }
    }

    /// The Secret is not there.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        let named = (namespace.to_owned(), name.to_owned());
        let mut names = self.names();
        if names.known.remove(&named) {
            names.by_age.retain(|other| *other != named);
        }
    }

    /// The names in a namespace.
    pub(super) fn of(&self, namespace: &str) -> Vec<String> {
        let names = self.names();
        let from = (namespace.to_owned(), String::new());
        let of_it = names.known.range(from..).take_while(|(of, _)| of == namespace);
        of_it.map(|(_, name)| name.clone()).collect()
    }

    /// The names everywhere else.
    pub(super) fn elsewhere(&self, namespace: &str) -> Vec<Named> {
        self.names().known.iter().filter(|(of, _)| of != namespace).cloned().collect()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_first() {
        let seen = Seen::default();
        for number in 0..=MOST {
            seen.remember("shop", &format!("name-{number}"));
        }
        let names = seen.of("shop");
        assert_eq!(names.len(), MOST);
        assert!(!names.contains(&"name-0".to_owned()));
        assert!(names.contains(&"name-1".to_owned()));
    }

    #[test]
    fn keeps_namespaces_apart() {
        let seen = Seen::default();
        seen.remember("shop", "web-tls");
        seen.remember("shop-2", "api-tls");
        seen.remember("shop", "old-tls");
        seen.forget("shop", "old-tls");
        assert_eq!(seen.of("shop"), ["web-tls"]);
        assert_eq!(seen.elsewhere("shop"), [("shop-2".to_owned(), "api-tls".to_owned())]);
    }
}
