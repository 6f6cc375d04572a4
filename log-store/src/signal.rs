//! Wakes those who wait for something new, and costs next to nothing while nobody does.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Counts publications, for those who wait for the next.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    generation: Mutex<u64>,
    changed: Condvar,
    waiters: AtomicUsize,
}

impl Signal {
    /// Wakes everybody who waits.
    pub(crate) fn notify(&self) {
        // Pairs with the fence of a waiter: either it sees what was published, or this sees it.
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::Relaxed) > 0 {
            *self.generation.lock() += 1;
            self.changed.notify_all();
        }
    }

    /// Waits until `ready` gives something, up to `timeout`. `ready` is called again after each
    /// notification.
    pub(crate) fn wait<T>(
        &self,
        timeout: Duration,
        clock: impl Fn() -> Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let deadline = clock().saturating_add(timeout);
        let _waiting = Waiting::new(&self.waiters);
        loop {
            let seen = *self.generation.lock();
            if let Some(result) = ready() {
                return Some(result);
            }
            let mut generation = self.generation.lock();
            while *generation == seen {
                let left = deadline.saturating_sub(clock());
                if left.is_zero() || self.changed.wait_for(&mut generation, left).timed_out() {
                    drop(generation);
                    return ready();
                }
            }
        }
    }
}

/// Counts a waiter for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Self(waiters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn a_notification_ends_the_wait_and_silence_ends_it_at_the_deadline() {
        let (signal, flag) = (Arc::new(Signal::default()), Arc::new(AtomicBool::new(false)));
        let started = Instant::now();
        let clock = move || started.elapsed();
        let waiter = {
            let (signal, flag) = (Arc::clone(&signal), Arc::clone(&flag));
            std::thread::spawn(move || {
                let ready = || flag.load(Ordering::Acquire).then_some(());
                signal.wait(Duration::from_secs(60), clock, ready)
            })
        };
        flag.store(true, Ordering::Release);
        signal.notify();
        assert_eq!(waiter.join().unwrap(), Some(()));
        assert!(started.elapsed() < Duration::from_secs(50));
        let silence: Option<()> = signal.wait(Duration::from_millis(1), clock, || None);
        assert_eq!(silence, None);
    }
}
