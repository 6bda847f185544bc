//! The limit that the engine is measured against: numbers that go through two bounded channels, from a producer through
//! a worker to a consumer, one message an item, on the executor that gatherd uses. `benches/run` runs and times it.

use clap::Parser;
use gatherd::runtime;

/// As many messages as gatherd's own channels hold.
const CAPACITY: usize = 1024;

#[derive(Parser)]
struct Arguments {
    /// How many numbers go through.
    #[arg(long, default_value_t = 1_000_000)]
    items: u64,
    /// How many threads run the tasks.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Arguments { items, threads, bench: _ } = Arguments::parse();
    runtime::set_threads(threads);
    let (first_sender, first_receiver) = async_channel::bounded(CAPACITY);
    let (second_sender, second_receiver) = async_channel::bounded(CAPACITY);
    let producer = runtime::spawn(async move {
        for number in 1..=items {
            first_sender.send(number).await.expect("the worker takes numbers until this task ends");
        }
    });
    let worker = runtime::spawn(async move {
        while let Ok(number) = first_receiver.recv().await {
            second_sender.send(number * 2).await.expect("the consumer takes numbers until this task ends");
        }
    });
    let consumer = runtime::spawn(async move {
        let mut last = 0;
        while let Ok(number) = second_receiver.recv().await {
            assert_eq!(number, last + 2, "every number comes once, and in order");
            last = number;
        }
        last
    });
    let last = runtime::block_on(async {
        producer.join().await.expect("a channel's sender does not panic");
        worker.join().await.expect("a channel's sender does not panic");
        consumer.join().await.expect("every number comes once, and in order")
    });
    assert_eq!(last, items * 2, "numbers are missing at the end");
}
