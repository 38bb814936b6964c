//! What wakes a sleeping shard: the ring's doorbell, or under loom a model of it around the same protocol.

#[cfg(not(loom))]
pub(crate) use shard_ring::{Bell, Doorbell, doorbell};

#[cfg(loom)]
pub(crate) use model::{Bell, Doorbell, doorbell};

#[cfg(loom)]
mod model {
    use loom::sync::{Arc, Condvar, Mutex};
    use shard_ring::Latch;

    struct Shared {
        latch: Latch,
        /// The eventfd.
        rung: Mutex<u64>,
        changed: Condvar,
    }

    #[derive(Clone)]
    pub struct Bell(Arc<Shared>);

    pub struct Doorbell(Arc<Shared>);

    pub fn doorbell() -> (Bell, Doorbell) {
        let shared = Arc::new(Shared { latch: Latch::new(), rung: Mutex::new(0), changed: Condvar::new() });
        (Bell(shared.clone()), Doorbell(shared))
    }

    impl Bell {
        pub fn ring(&self) -> bool {
            let asleep = self.0.latch.ring();
            if asleep {
                *self.0.rung.lock().expect("no panic under the lock") += 1;
                self.0.changed.notify_one();
            }
            asleep
        }
    }

    impl Doorbell {
        pub fn wait(&mut self) {
            if self.0.latch.begin_wait() {
                let mut rung = self.0.rung.lock().expect("no panic under the lock");
                while *rung == 0 {
                    rung = self.0.changed.wait(rung).expect("no panic under the lock");
                }
                *rung = 0;
                drop(rung);
                self.0.latch.woken();
            }
        }
    }
}
