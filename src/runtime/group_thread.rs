//! A thread of its own for work that blocks and is cheaper done together, such as writes that share an fsync.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::channel::{Receiver, Sender, channel};
use super::{block_on_until, lock};

/// What a [`GroupThread`] does.
pub trait GroupWork: Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;

    /// How many requests are joined at most, counted by [`GroupWork::weight`]. At least one is always taken.
    const WEIGHT_LIMIT: usize;

    /// How many requests may wait; the next ones wait to wait.
    const REQUESTS: usize;

    fn weight(_request: &Self::Request) -> usize {
        1
    }

    /// Does the work of all `requests`, and answers each in its place. Work that waits for something ends its wait
    /// once `is_closing` says so.
    fn work(&mut self, requests: Vec<Self::Request>, is_closing: &dyn Fn() -> bool) -> Vec<Self::Answer>;
}

/// How long a thread waits for the next request before it ends: what it has touched stays in memory while it waits, and to
/// start another takes 50 us.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that takes the requests that wait, all at once, and answers each. It ends while there are none, and the worker
/// rests. Dropping it lets the thread finish what it has by itself.
pub struct GroupThread<W: GroupWork> {
    name: String,
    requests: Sender<Waiting<W>>,
    shared: Arc<Shared<W>>,
    /// Closed when the worker is gone.
    ended: async_channel::Receiver<()>,
    /// The thread that was started last.
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Waiting<W: GroupWork> {
    request: W::Request,
    answer: async_channel::Sender<W::Answer>,
}

struct Shared<W: GroupWork> {
    requests: Receiver<Waiting<W>>,
    patience: Duration,
    state: Mutex<State<W>>,
}

struct State<W> {
    /// Not there while a thread has it, and when it is gone.
    worker: Option<Worker<W>>,
    has_thread: bool,
}

struct Worker<W> {
    work: W,
    /// Dropped after it.
    _end: async_channel::Sender<()>,
}

impl<W: GroupWork> GroupThread<W> {
    pub fn start(name: &str, worker: W) -> io::Result<Self> {
        Self::start_with(name, worker, PATIENCE)
    }

    fn start_with(name: &str, work: W, patience: Duration) -> io::Result<Self> {
        let (sender, requests) = channel(W::REQUESTS);
        let (end, ended) = async_channel::bounded(1);
        let worker = Some(Worker { work, _end: end });
        let shared = Arc::new(Shared { requests, patience, state: Mutex::new(State { worker, has_thread: false }) });
        let started = Self { name: name.to_owned(), requests: sender, shared, ended, thread: Mutex::new(None) };
        started.wake()?;
        Ok(started)
    }

    /// Waits for the answer; nothing if the worker is gone. A request whose future is dropped may still be done.
    pub async fn ask(&self, request: W::Request) -> Option<W::Answer> {
        let _busy = super::activity::busy();
        let (answer, answered) = async_channel::bounded(1);
        self.requests.send(Waiting { request, answer }).await.ok()?;
        self.wake_or_work();
        answered.recv().await.ok()
    }

    /// Takes no more requests, and waits until those that wait are done and the worker is dropped.
    pub async fn close(&self) {
        let _busy = super::activity::busy();
        self.requests.close();
        self.wake_or_work();
        // Nothing is ever sent: this ends when the worker does.
        let _ = self.ended.recv().await;
    }

    /// [`GroupThread::close`] for where nothing can be awaited.
    pub fn close_blocking(&mut self) {
        self.requests.close();
        self.wake_or_work();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("a thread panicked, and what it was asked is undone");
        }
    }

    /// Starts a thread if the worker rests.
    fn wake(&self) -> io::Result<()> {
        // Held while a thread is started, which takes the worker once it is let go.
        let mut state = lock(&self.shared.state);
        if state.worker.is_some() && !state.has_thread {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name(self.name.clone()).spawn(move || run(&shared))?;
            state.has_thread = true;
            *lock(&self.thread) = Some(thread);
        }
        Ok(())
    }

    /// Where no thread is to be had, the calling one does what there is to do.
    fn wake_or_work(&self) {
        if let Err(error) = self.wake() {
            log::warn!(thread = self.name, error:%; "cannot start a thread; its work is done by another");
            run(&self.shared);
        }
    }
}

/// Refuses the requests that still wait when the worker panics: nobody would ever answer them.
struct Refusing<'a, W: GroupWork>(&'a Receiver<Waiting<W>>);

impl<W: GroupWork> Drop for Refusing<'_, W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
            while self.0.try_recv().is_ok() {}
        }
    }
}

/// Works until nothing has come for a while, or nothing can come any more.
fn run<W: GroupWork>(shared: &Shared<W>) {
    let Shared { requests, patience, state } = shared;
    let Some(mut worker) = lock(state).worker.take() else { return };
    let _at_a_panic = Refusing(requests);
    loop {
        let first = match block_on_until(requests.recv(), Instant::now() + *patience) {
            Some(Ok(first)) => first,
            Some(Err(_)) => return,
            None => {
                let mut state = lock(state);
                // What comes after this look finds the worker at rest, and wakes it.
                if requests.is_empty() && !requests.is_closed() {
                    *state = State { worker: Some(worker), has_thread: false };
                    return;
                }
                continue;
            }
        };
        let mut weight = W::weight(&first.request);
        let mut group = vec![first.request];
        let mut answers = vec![first.answer];
        while weight < W::WEIGHT_LIMIT
            && let Ok(next) = requests.try_recv()
        {
            weight += W::weight(&next.request);
            group.push(next.request);
            answers.push(next.answer);
        }
        for (answer, to) in worker.work.work(group, &|| requests.is_closed()).into_iter().zip(answers) {
            // Nobody listens any more if the future was dropped.
            let _ = to.try_send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{block_on, spawn};

    /// Answers each number with how many were asked together.
    struct Count;

    impl GroupWork for Count {
        type Request = u32;
        type Answer = (u32, usize);
        const WEIGHT_LIMIT: usize = 10;
        const REQUESTS: usize = 1024;

        fn work(&mut self, requests: Vec<u32>, _is_closing: &dyn Fn() -> bool) -> Vec<(u32, usize)> {
            assert!(!requests.contains(&99), "ninety-nine");
            let count = requests.len();
            requests.into_iter().map(|number| (number, count)).collect()
        }
    }

    #[test]
    fn every_request_gets_its_own_answer_and_groups_have_a_limit() {
        check(PATIENCE);
    }

    #[test]
    fn a_worker_that_rests_is_woken_by_the_next_request() {
        for _ in 0..100 {
            check(Duration::ZERO);
        }
    }

    fn check(patience: Duration) {
        let thread = Arc::new(GroupThread::start_with("count", Count, patience).unwrap());
        let asked: Vec<_> = (0..50)
            .map(|number| {
                let thread = thread.clone();
                spawn(async move { (number, thread.ask(number).await.unwrap()) })
            })
            .collect();
        block_on(async {
            for asked in asked {
                let (number, (answer, together)) = asked.join().await.unwrap();
                assert_eq!(number, answer);
                assert!(together <= 10);
            }
            thread.close().await;
            assert_eq!(thread.ask(1).await, None);
        });
    }

    #[test]
    fn a_panic_of_the_worker_is_no_answer() {
        for patience in [PATIENCE, Duration::ZERO] {
            let thread = GroupThread::start_with("count", Count, patience).unwrap();
            assert_eq!(block_on(thread.ask(99)), None);
            assert_eq!(block_on(thread.ask(1)), None);
            block_on(thread.close());
        }
    }

    #[test]
    fn a_worker_is_gone_when_its_thread_is_closed_whether_it_rests_or_not() {
        struct Held(Arc<()>);
        impl GroupWork for Held {
            type Request = ();
            type Answer = ();
            const WEIGHT_LIMIT: usize = 1;
            const REQUESTS: usize = 1;

            fn work(&mut self, requests: Vec<()>, _is_closing: &dyn Fn() -> bool) -> Vec<()> {
                assert_eq!(Arc::strong_count(&self.0), 2);
                requests
            }
        }
        for patience in [PATIENCE, Duration::ZERO] {
            let held = Arc::new(());
            let thread = GroupThread::start_with("held", Held(held.clone()), patience).unwrap();
            block_on(thread.ask(())).unwrap();
            block_on(thread.close());
            assert_eq!(Arc::strong_count(&held), 1);
            let mut thread = GroupThread::start_with("held", Held(held.clone()), patience).unwrap();
            block_on(thread.ask(())).unwrap();
            thread.close_blocking();
            assert_eq!(Arc::strong_count(&held), 1);
        }
    }
}
