//! A thread with an async runtime of its own, for work that must not wait behind other work.

use std::{
    io,
    thread::{self, JoinHandle},
};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The thread; it ends, and with it every task on it, before this is gone.
///
/// Its tasks take turns on the one thread, in the order in which they were woken. That costs fewer wake-ups than a pool
/// of threads, and what becomes ready together is done together: answers that go to one peer leave in one packet.
#[derive(Debug)]
pub struct Lane {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// Starts the thread under a name that tools of the system show.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // An error means that the lane was dropped, which is what ends it.
            let _ = runtime.block_on(stopped);
            // Its tasks end here; calls that block, such as one to a dead disk, are not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// The way to its runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop.take();
        // Its own thread cannot wait for itself; it ends all the same. A panic on it was printed where it happened.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_its_tasks_on_its_own_thread_until_it_is_dropped() {
        let lane = Lane::start("lane-test").unwrap();
        let name = || thread::current().name().map(str::to_owned);
        let (first, second) =
            (lane.handle().spawn(async move { name() }), lane.handle().spawn(async move { name() }));
        assert_eq!(first.await.unwrap().as_deref(), Some("lane-test"));
        assert_eq!(second.await.unwrap().as_deref(), Some("lane-test"));
        let endless = lane.handle().spawn(std::future::pending::<()>());
        drop(lane);
        assert!(endless.is_finished(), "its tasks have ended when it is gone");
        assert!(endless.await.unwrap_err().is_cancelled());
    }
}
