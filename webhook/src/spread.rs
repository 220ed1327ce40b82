//! Work on many things, spread over the processors of the machine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, panic, thread};

/// The stack of each thread, in bytes: what reading a document at its deepest takes, with much to spare.
const STACK: usize = 16 * 1024 * 1024;

/// What `work` makes of each of `items`, in their order. It never runs on the caller's own stack.
///
/// # Errors
/// No thread can be started.
pub(crate) fn spread<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> io::Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let take = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        items.get(at).map(|item| (at, work(item)))
    };
    let run = || std::iter::from_fn(take).collect::<Vec<_>>();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut done = thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..processors.min(items.len()) {
            match thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run) {
                Ok(thread) => threads.push(thread),
                // One that runs does the work of all.
                Err(error) if threads.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        let done =
            threads.into_iter().map(|it| it.join().unwrap_or_else(|it| panic::resume_unwind(it)));
        Ok(done.flatten().collect::<Vec<_>>())
    })?;
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, made)| made).collect())
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn everything_is_done_once_and_in_order() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(spread(&items, |it| it * 2).unwrap(), (0..2000).step_by(2).collect::<Vec<_>>());
        assert_eq!(spread(&[], |it: &usize| *it).unwrap(), Vec::<usize>::new());
    }
}
