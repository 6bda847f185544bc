//! A thread of its own for work that blocks and is cheaper done together, such as writes that share an fsync.

use std::io;
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};

/// What a [`GroupThread`] does.
pub trait GroupWork: Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;

    /// How many requests are joined at most, counted by [`GroupWork::weight`]. At least one is always taken.
    const WEIGHT_LIMIT: usize;

    /// How many requests may wait; the next ones wait to wait. Room for all of them is taken at the start.
    const REQUESTS: usize;

    fn weight(_request: &Self::Request) -> usize {
        1
    }

    /// Does the work of all `requests`, and answers each in its place. Work that waits for something ends its wait
    /// once `is_closing` says so.
    fn work(&mut self, requests: Vec<Self::Request>, is_closing: &dyn Fn() -> bool) -> Vec<Self::Answer>;
}

/// A thread that takes the requests that wait, all at once, and answers each. Dropping it lets the thread finish
/// what it has by itself.
pub struct GroupThread<W: GroupWork> {
    requests: Sender<Waiting<W>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

struct Waiting<W: GroupWork> {
    request: W::Request,
    answer: Sender<W::Answer>,
}

impl<W: GroupWork> GroupThread<W> {
    pub fn start(name: &str, mut worker: W) -> io::Result<Self> {
        let (sender, requests) = async_channel::bounded(W::REQUESTS);
        let (end, ended) = async_channel::bounded(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            run(&mut worker, &requests);
            drop(worker);
            drop(end);
        })?;
        Ok(Self { requests: sender, ended, thread: Some(thread) })
    }

    /// Waits for the answer; nothing if the thread has ended. A request whose future is dropped may still be done.
    pub async fn ask(&self, request: W::Request) -> Option<W::Answer> {
        let _busy = super::activity::busy();
        let (answer, answered) = async_channel::bounded(1);
        self.requests.send(Waiting { request, answer }).await.ok()?;
        answered.recv().await.ok()
    }

    /// Takes no more requests, and waits until those that wait are done and the worker is dropped.
    pub async fn close(&self) {
        let _busy = super::activity::busy();
        self.requests.close();
        // Nothing is ever sent: this ends when the thread does.
        let _ = self.ended.recv().await;
    }

    /// [`GroupThread::close`] for where nothing can be awaited.
    pub fn close_blocking(&mut self) {
        self.requests.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("a thread panicked, and what it was asked is undone");
        }
    }
}

/// Refuses the requests that still wait when the thread ends, be it by a panic: nobody would ever answer them.
struct Refusing<'a, W: GroupWork>(&'a Receiver<Waiting<W>>);

impl<W: GroupWork> Drop for Refusing<'_, W> {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

fn run<W: GroupWork>(worker: &mut W, requests: &Receiver<Waiting<W>>) {
    let _at_the_end = Refusing(requests);
    while let Ok(first) = requests.recv_blocking() {
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
        for (answer, to) in worker.work(group, &|| requests.is_closed()).into_iter().zip(answers) {
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
        let thread = std::sync::Arc::new(GroupThread::start("count", Count).unwrap());
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
        let thread = GroupThread::start("count", Count).unwrap();
        assert_eq!(block_on(thread.ask(99)), None);
        assert_eq!(block_on(thread.ask(1)), None);
    }
}
