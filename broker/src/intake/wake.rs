//! What wakes a sleeping shard: the ring's doorbell, or under loom a model of it around the same protocol.

#[cfg(not(loom))]
pub(crate) use shard_ring::{Bell, Doorbell, doorbell};

#[cfg(loom)]
pub(crate) use model::{Bell, Doorbell, doorbell};

#[cfg(loom)]
mod model {
    use loom::sync::{Arc, Condvar, Mutex};
    use shard_ring::Asleep;
    use std::io;

    struct Shared {
        asleep: Asleep,
        /// The eventfd.
        rung: Mutex<u64>,
        changed: Condvar,
    }

    /// The ringing side.
    #[derive(Clone)]
    pub struct Bell(Arc<Shared>);

    /// The sleeping side.
    pub struct Doorbell(Arc<Shared>);

    /// A bell and its doorbell.
    pub fn doorbell() -> io::Result<(Bell, Doorbell)> {
        let shared = Arc::new(Shared { asleep: Asleep::new(), rung: Mutex::new(0), changed: Condvar::new() });
        Ok((Bell(shared.clone()), Doorbell(shared)))
    }

    impl Bell {
        /// Wakes the sleeper if it sleeps.
        pub fn ring(&self) {
            if self.0.asleep.claim() {
                *self.0.rung.lock().unwrap() += 1;
                self.0.changed.notify_one();
            }
        }
    }

    impl Doorbell {
        /// Sleeps until `found` finds something.
        pub fn wait_until<T>(&mut self, mut found: impl FnMut() -> Option<T>) -> T {
            loop {
                if let Some(it) = found() {
                    return it;
                }
                self.0.asleep.announce();
                let found_late = found();
                if found_late.is_none() || !self.0.asleep.withdraw() {
                    let mut rung = self.0.rung.lock().unwrap();
                    while *rung == 0 {
                        rung = self.0.changed.wait(rung).unwrap();
                    }
                    *rung = 0;
                }
                if let Some(it) = found_late {
                    return it;
                }
            }
        }
    }
}
