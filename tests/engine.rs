//! The engine, driven through its own surface with scripted components on a clock turned by hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gatherd::component::{
    Aim, BatchLimits, Continuation, Fetch, Fetched, FilterFault, Full, Mark, MarkKind, Onward, Opened, Outputs,
    Position, Produced, Promise, Retry, Sink, SinkContext, SinkSettings, Source, SourceContext, SourceSettings, Step,
    StepContext, StepSettings, Transform, TransformScope, WriteFault,
};
use gatherd::model::{Fault, FaultKind, Fingerprint, Item, Size, Text, Value, Verdict};
use gatherd::pipeline::{
    BufferPlan, Counts, DeadLimits, Engine, Expect, Options, PipelinePlan, Plan, SinkPlan, SourcePlan, StepPlan,
};
use gatherd::runtime::{self, Clock};
use gatherd::store::{DeadLetter, DeadLetterFilter, Replay, Store};

/// Far more than any test needs: what tells done from hung.
const LIMIT: Duration = Duration::from_secs(60);

// ---- a source that counts

/// Makes the integers from its position to `end`, then ends or falls silent.
struct Numbers {
    end: i64,
    silent_at_end: bool,
}

impl SourceSettings for Numbers {
    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        let next = context.position.and_then(|position| position.as_i64()).unwrap_or(0);
        Ok(Box::new(NumbersSource { next, end: self.end, silent_at_end: self.silent_at_end }))
    }
}

struct NumbersSource {
    next: i64,
    end: i64,
    silent_at_end: bool,
}

#[async_trait]
impl Source for NumbersSource {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        if self.next >= self.end {
            if self.silent_at_end {
                std::future::pending::<()>().await;
            }
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        let position = Some(Position::new(Value::from(self.next)));
        Ok(Some(Produced { position, ..Produced::new(Value::from(number), number.to_le_bytes().to_vec()) }))
    }
}

// ---- steps made of closures

type Apply = dyn Fn(&Item) -> Result<Outputs, FilterFault> + Send + Sync;

#[derive(Clone)]
struct Computes(Arc<Apply>);

impl Transform for Computes {
    fn apply(&self, item: &Item, _scope: &TransformScope) -> Result<Outputs, FilterFault> {
        (self.0)(item)
    }
}

impl StepSettings for Computes {
    fn open(&self, _context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(self.clone())))
    }
}

fn computes(apply: impl Fn(&Item) -> Result<Outputs, FilterFault> + Send + Sync + 'static) -> StepPlan {
    step("computes", Arc::new(Computes(Arc::new(apply))), 1)
}

type Call = dyn Fn(Item) -> futures_lite::future::Boxed<Result<Outputs, Fault>> + Send + Sync;

#[derive(Clone)]
struct Calls {
    host: fn(&Item) -> &'static str,
    call: Arc<Call>,
}

#[async_trait]
impl Fetch for Calls {
    fn aim(&self, item: &Item, _page: Option<&Continuation>) -> Aim {
        Aim { host: (self.host)(item).into(), url: None }
    }

    async fn fetch(&self, call: gatherd::component::Call<'_>) -> Result<Fetched, Fault> {
        let outputs = (self.call)(call.item.clone()).await;
        if let Ok(Outputs::One(item)) = &outputs {
            call.meter.grow(item.value.size_in_memory()).await;
        }
        outputs.map(Fetched::Whole)
    }
}

impl StepSettings for Calls {
    fn is_network(&self) -> bool {
        true
    }

    fn open(&self, _context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Fetch(Arc::new(self.clone())))
    }
}

fn calls<F>(
    workers: usize,
    host: fn(&Item) -> &'static str,
    call: impl Fn(Item) -> F + Send + Sync + 'static,
) -> StepPlan
where
    F: Future<Output = Result<Outputs, Fault>> + Send + 'static,
{
    step("calls", Arc::new(Calls { host, call: Arc::new(move |item| Box::pin(call(item))) }), workers)
}

fn step(id: &str, settings: Arc<dyn StepSettings>, workers: usize) -> StepPlan {
    StepPlan {
        id: id.into(),
        settings,
        when: None,
        retry: Retry::FETCH,
        workers,
        aside: None,
        onward: Onward::default(),
    }
}

fn number(item: &Item) -> i64 {
    item.value.as_i64().expect("the source makes integers")
}

// ---- a sink that records

/// Records what it is given, after asking its script about every batch.
#[derive(Clone)]
struct Records {
    limits: BatchLimits,
    script: Arc<AskScript>,
    written: Arc<Mutex<Vec<Vec<i64>>>>,
    arrived: Arc<event_listener::Event>,
}

type AskScript = dyn Fn(&[i64]) -> Script + Send + Sync;

enum Script {
    Accept,
    Fail(WriteFault),
    Hang,
}

impl Records {
    fn new(script: impl Fn(&[i64]) -> Script + Send + Sync + 'static) -> Self {
        let limits = BatchLimits { items: 100, bytes: Size::mib(1), age: Duration::ZERO };
        Self { limits, script: Arc::new(script), written: Arc::default(), arrived: Arc::default() }
    }

    fn batches(&self) -> Vec<Vec<i64>> {
        self.written.lock().unwrap().clone()
    }

    /// Waits until it has so many items.
    async fn arrivals(&self, count: usize) {
        while self.items().len() < count {
            futures_lite::future::yield_now().await;
        }
    }

    fn items(&self) -> Vec<i64> {
        let mut items = self.batches().concat();
        items.sort_unstable();
        items
    }
}

impl SinkSettings for Records {
    fn batch(&self) -> BatchLimits {
        self.limits
    }

    fn open(&self, _context: SinkContext) -> Opened<Box<dyn Sink>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Sink for Records {
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault> {
        let numbers: Vec<i64> = batch.iter().map(number).collect();
        match (self.script)(&numbers) {
            Script::Accept => {
                self.written.lock().unwrap().push(numbers);
                self.arrived.notify(usize::MAX);
                Ok(())
            }
            Script::Fail(fault) => Err(fault),
            Script::Hang => std::future::pending().await,
        }
    }
}

fn accepts() -> Records {
    Records::new(|_| Script::Accept)
}

fn destination_fault() -> WriteFault {
    WriteFault::Batch(Fault::retry(FaultKind::Connect, "cannot reach the destination"))
}

fn refusal() -> WriteFault {
    WriteFault::Mixed(Fault::reject(FaultKind::Refused, "the destination refused it"))
}

// ---- running a plan

struct Bench {
    folder: tempfile::TempDir,
    clock: Clock,
    plan: Plan,
    once: bool,
    give_up: Option<Duration>,
}

impl Bench {
    fn new() -> Self {
        let plan = Plan {
            pipelines: Vec::new(),
            sinks: Vec::new(),
            clients: Default::default(),
            memory: Size::mib(256),
            drain: Duration::from_secs(30),
            dead_letters: DeadLimits::DEFAULT,
            alerts: Vec::new(),
        };
        let clock = Clock::turned_by_hand("2026-11-21T09:00:00Z".parse().unwrap());
        Self { folder: tempfile::tempdir().unwrap(), clock, plan, once: true, give_up: None }
    }

    fn sink(mut self, name: &str, sink: &Records) -> Self {
        let settings = Arc::new(sink.clone());
        let (batch, retry) = (sink.limits, Retry::SINK);
        let buffer = None;
        let fingerprint = Fingerprint::of([name]);
        self.plan.sinks.push(SinkPlan {
            name: name.into(),
            settings,
            when: None,
            batch,
            retry,
            workers: 1,
            buffer,
            fingerprint,
        });
        self
    }

    /// A sink whose items wait on disk once its channel is full.
    fn buffered_sink(self, name: &str, sink: &Records, disk: Size, full: Full) -> Self {
        let mut bench = self.sink(name, sink);
        let queue: Text = format!("sink.{name}").into();
        let source = gatherd::sources::buffer(queue.clone());
        if let Some(plan) = bench.plan.sinks.last_mut() {
            plan.buffer = Some(BufferPlan { queue, source, disk, full });
        }
        bench
    }

    fn pipeline(mut self, name: &str, source: Numbers, steps: Vec<StepPlan>, sinks: &[&str]) -> Self {
        let source = SourcePlan { id: "numbers".into(), settings: Arc::new(source), durable: None };
        let sinks = sinks.iter().map(|sink| Text::from(*sink)).collect();
        self.plan.pipelines.push(PipelinePlan {
            name: name.into(),
            part: None,
            uses_window: true,
            expect: Expect::default(),
            source,
            steps,
            sinks,
            fingerprint: Fingerprint::of([name]),
        });
        self
    }

    fn into_daemon(mut self) -> Self {
        self.once = false;
        self
    }

    fn start(&self) -> (Engine, Store) {
        let store = Store::open(self.folder.path()).unwrap();
        let options = Options { clock: self.clock.clone(), once: self.once, give_up: self.give_up };
        (Engine::start(&self.plan, &store, &options).unwrap(), store)
    }

    /// Runs the plan to its end, turning the clock whenever everyone waits for it.
    fn run(&self) -> Ran {
        let (engine, store) = self.start();
        turn_until(&self.clock, engine.finished());
        Ran::of(&engine, &store)
    }
}

struct Ran {
    counts: Vec<Counts>,
    dead: Vec<DeadLetter>,
    position: HashMap<String, Option<i64>>,
}

impl Ran {
    fn of(engine: &Engine, store: &Store) -> Self {
        let status = engine.status();
        let position = |name: &Text| {
            let position = store.position(name, "numbers").unwrap();
            (name.to_string(), position.and_then(|position| position.as_i64()))
        };
        Self {
            counts: status.iter().map(|pipeline| pipeline.counts).collect(),
            dead: store.dead_letters(&DeadLetterFilter::default()).unwrap(),
            position: status.iter().map(|pipeline| position(&pipeline.name)).collect(),
        }
    }

    fn dead_numbers(&self) -> Vec<i64> {
        let mut numbers: Vec<i64> = self.dead.iter().filter_map(|letter| letter.value.as_i64()).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Waits for `done`, and turns the clock to its next sleeper as long as that is not there.
fn turn_until(clock: &Clock, done: impl Future<Output = ()>) {
    let started = Instant::now();
    let mut done = std::pin::pin!(done);
    while runtime::block_on(futures_lite::future::poll_once(&mut done)).is_none() {
        assert!(started.elapsed() < LIMIT, "hung");
        std::thread::sleep(Duration::from_millis(1));
        if let Some(next) = clock.next_sleeper() {
            clock.advance(next);
        }
    }
}

/// Waits for `done` without turning the clock.
fn wait_for(done: impl Future<Output = ()>) {
    runtime::block_on(Clock::system().timeout(LIMIT, done)).expect("hung");
}

fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "hung");
        std::thread::yield_now();
    }
}

fn numbers(end: i64) -> Numbers {
    Numbers { end, silent_at_end: false }
}

#[test]
fn every_item_is_delivered_and_the_position_moves_behind_them() {
    let sink = accepts();
    let ran = Bench::new().sink("out", &sink).pipeline("p", numbers(5000), vec![], &["out"]).run();
    assert_eq!(sink.items(), (0..5000).collect::<Vec<_>>());
    assert_eq!(ran.position["p"], Some(5000));
    let Counts { produced, settled, delivered, .. } = ran.counts[0];
    assert_eq!((produced, settled, delivered), (5000, 5000, 5000));
}

#[test]
fn children_of_children_all_arrive() {
    let sink = accepts();
    let double = || {
        computes(|item| {
            let number = number(item);
            Ok(Outputs::Many(vec![Value::from(number * 2), Value::from(number * 2 + 1)]))
        })
    };
    let ran = Bench::new().sink("out", &sink).pipeline("p", numbers(100), vec![double(), double()], &["out"]).run();
    assert_eq!(sink.items(), (0..400).collect::<Vec<_>>());
    assert_eq!(ran.counts[0].settled, 100);
}

#[test]
fn a_step_that_panics_costs_one_item() {
    let sink = accepts();
    let inline = computes(|item| if number(item) == 3 { panic!("three") } else { Ok(Outputs::One(item.clone())) });
    let network = calls(
        8,
        |_| "host",
        |item| async move { if number(&item) == 5 { panic!("five") } else { Ok(Outputs::One(item)) } },
    );
    let ran = Bench::new().sink("out", &sink).pipeline("p", numbers(10), vec![inline, network], &["out"]).run();
    assert_eq!(sink.items(), [0, 1, 2, 4, 6, 7, 8, 9]);
    assert_eq!(ran.dead_numbers(), [3, 5]);
    assert!(ran.dead.iter().all(|letter| letter.fault.kind == "panic"));
    assert_eq!(ran.position["p"], Some(10));
}

#[test]
fn a_sink_that_panics_costs_one_item() {
    let sink = Records::new(|batch| if batch.contains(&4) { panic!("four") } else { Script::Accept });
    let ran = Bench::new().sink("out", &sink).pipeline("p", numbers(10), vec![], &["out"]).run();
    assert_eq!(sink.items(), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    assert_eq!(ran.dead_numbers(), [4]);
}

#[test]
fn a_call_that_fails_is_tried_five_times_and_then_given_up() {
    let sink = accepts();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let failing = calls(
        8,
        |_| "host",
        move |item| {
            let counted = counted.clone();
            async move {
                if number(&item) != 7 {
                    return Ok(Outputs::One(item));
                }
                counted.fetch_add(1, Ordering::Relaxed);
                Err(Fault::retry(FaultKind::Connect, "cannot get: connection refused"))
            }
        },
    );
    let ran = Bench::new().sink("out", &sink).pipeline("p", numbers(10), vec![failing], &["out"]).run();
    assert_eq!(sink.items(), [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(tries.load(Ordering::Relaxed), 5);
    assert_eq!(ran.dead_numbers(), [7]);
    assert_eq!((ran.dead[0].fault.attempts, &*ran.dead[0].component), (5, "calls"));
}

#[test]
fn with_one_worker_items_keep_their_order_through_retries() {
    let sink = accepts();
    let failed = Arc::new(Mutex::new(HashSet::new()));
    let step = calls(
        1,
        |item| if number(item) % 2 == 0 { "even" } else { "odd" },
        move |item| {
            let first_time = failed.lock().unwrap().insert(number(&item));
            async move {
                if first_time && number(&item) % 3 == 0 {
                    return Err(Fault::retry(FaultKind::Timeout, "too slow"));
                }
                Ok(Outputs::One(item))
            }
        },
    );
    Bench::new().sink("out", &sink).pipeline("p", numbers(50), vec![step], &["out"]).run();
    assert_eq!(sink.batches().concat(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_host_that_hangs_holds_up_only_its_own_items() {
    let sink = accepts();
    let step = calls(
        4,
        |item| if number(item) % 2 == 0 { "alive" } else { "hangs" },
        |item| async move {
            if number(&item) % 2 == 1 {
                std::future::pending::<()>().await;
            }
            Ok(Outputs::One(item))
        },
    );
    let bench = Bench::new().sink("out", &sink).pipeline("p", numbers(600), vec![step], &["out"]);
    let (engine, _store) = bench.start();
    wait_until(|| sink.items().len() == 300);
    wait_for(engine.abandon());
}

#[test]
fn many_hosts_that_hang_leave_the_workers_to_the_others() {
    const HOSTS: [&str; 12] = ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8", "h9", "h10", "h11"];
    let sink = accepts();
    let step = calls(
        2,
        |item| if number(item) % 2 == 0 { "alive" } else { HOSTS[number(item) as usize / 2 % 12] },
        |item| async move {
            if number(&item) % 2 == 1 {
                std::future::pending::<()>().await;
            }
            Ok(Outputs::One(item))
        },
    );
    let bench = Bench::new().sink("out", &sink).pipeline("p", numbers(600), vec![step], &["out"]);
    let (engine, _store) = bench.start();
    turn_until(&bench.clock, async {
        while sink.items().len() < 300 {
            runtime::yield_now().await;
        }
    });
    wait_for(engine.abandon());
}

#[test]
fn the_items_of_a_dead_host_are_given_up_in_time_even_if_there_is_no_retry_for_each() {
    let bench = Bench::new();
    let (clock, tries) = (bench.clock.clone(), Arc::new(AtomicUsize::new(0)));
    let (start, counted) = (clock.instant(), tries.clone());
    let dead = calls(
        8,
        |_| "dead",
        move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Err(Fault::retry(FaultKind::Connect, "cannot get: connection refused")) }
        },
    );
    let ran = bench.pipeline("p", numbers(500), vec![dead], &[]).run();
    assert_eq!(ran.dead.len(), 500);
    assert!(ran.dead.iter().all(|letter| letter.fault.message == "cannot get: connection refused"));
    assert!(clock.instant().duration_since(start) <= Retry::FETCH.within * 2);
    let tries = tries.load(Ordering::Relaxed);
    assert!((500..=600).contains(&tries), "ten retries at once, then ten a minute: {tries} tries");
}

#[test]
fn an_item_that_is_told_the_time_of_its_next_try_does_not_hold_up_its_neighbours() {
    let sink = accepts();
    let bench = Bench::new().sink("out", &sink);
    let clock = bench.clock.clone();
    let opens = clock.instant() + Duration::from_secs(90);
    let done = Arc::new(AtomicUsize::new(0));
    let counted = done.clone();
    let step = calls(
        4,
        |_| "host",
        move |item| {
            let is_refused = clock.instant() < opens && item.value == Value::from(7);
            counted.fetch_add(usize::from(!is_refused), Ordering::Relaxed);
            async move {
                if is_refused {
                    let verdict = Verdict::Retry { not_before: Some(opens) };
                    return Err(Fault { verdict, ..Fault::retry(FaultKind::Status, "503 Service Unavailable") });
                }
                Ok(Outputs::One(item))
            }
        },
    );
    let bench = bench.pipeline("p", numbers(100), vec![step], &["out"]);
    let (engine, _store) = bench.start();
    // The clock stands still meanwhile.
    wait_until(|| done.load(Ordering::Relaxed) == 99);
    turn_until(&bench.clock, engine.finished());
    assert_eq!(sink.items().len(), 100);
}

#[test]
fn items_wait_for_a_host_that_is_down_only_as_long_as_they_may_be_tried() {
    let bench = Bench::new();
    let clock = bench.clock.clone();
    let (start, times) = (clock.instant(), Arc::new(AtomicUsize::new(0)));
    let asked = times.clone();
    let step = calls(
        4,
        |_| "dead",
        move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            let later = clock.instant() + Duration::from_secs(100);
            async move { Err(Fault { kind: FaultKind::Down, ..Fault::not_before(later, "`dead` is left alone for now") }) }
        },
    );
    let clock = bench.clock.clone();
    let ran = bench.pipeline("p", numbers(500), vec![step], &[]).run();
    assert_eq!(ran.dead.len(), 500);
    assert!(ran.dead.iter().all(|letter| letter.fault.kind == "down"), "{:?}", ran.dead[0].fault);
    let (waited, within) = (clock.instant().duration_since(start), Retry::FETCH.within);
    // Those that the stage took in later have waited from then on.
    assert!(waited >= within && waited <= 3 * within, "{waited:?}");
    assert!(times.load(Ordering::Relaxed) < 50, "the host is not asked for each item");
}

#[test]
fn a_host_that_asks_to_wait_is_not_called_before_its_time() {
    let sink = accepts();
    let clock_seen = Arc::new(Mutex::new(Vec::new()));
    let bench = Bench::new().sink("out", &sink);
    let (clock, seen, asked) = (bench.clock.clone(), clock_seen.clone(), Arc::new(AtomicBool::new(false)));
    let start = clock.instant();
    let step = calls(
        4,
        |_| "host",
        move |item| {
            let now = clock.instant();
            seen.lock().unwrap().push(now.duration_since(start).as_secs());
            let first = !asked.swap(true, Ordering::Relaxed);
            async move {
                if first {
                    return Err(Fault::not_before(now + Duration::from_secs(90), "the rate is used up"));
                }
                Ok(Outputs::One(item))
            }
        },
    );
    let ran = bench.pipeline("p", numbers(3), vec![step], &["out"]).run();
    assert_eq!(sink.items(), [0, 1, 2]);
    assert_eq!(ran.counts[0].retried, 0, "waiting is no try");
    let seen = clock_seen.lock().unwrap();
    assert_eq!(seen[0], 0);
    assert!(seen[1..].iter().all(|seconds| *seconds >= 90), "{seen:?}");
}

#[test]
fn a_dead_sink_does_not_delay_another_pipeline() {
    let (dead, alive) = (Records::new(|_| Script::Fail(destination_fault())), accepts());
    let bench = Bench::new()
        .sink("dead", &dead)
        .sink("alive", &alive)
        .pipeline("held", numbers(20_000), vec![], &["dead"])
        .pipeline("free", numbers(20_000), vec![], &["alive"]);
    let (engine, _store) = bench.start();
    wait_until(|| alive.items().len() == 20_000);
    wait_for(engine.abandon());
    assert!(dead.items().is_empty());
}

#[test]
fn a_sink_is_waited_for_until_it_works_again() {
    let failures = AtomicUsize::new(0);
    let sink = Records::new(move |_| {
        if failures.fetch_add(1, Ordering::Relaxed) < 12 { Script::Fail(destination_fault()) } else { Script::Accept }
    });
    let ran = Bench::new().sink("out", &sink).pipeline("p", numbers(10), vec![], &["out"]).run();
    assert_eq!(sink.items(), (0..10).collect::<Vec<_>>());
    assert!(ran.dead.is_empty());
}

#[test]
fn items_that_a_batch_left_behind_are_tried_again_alone() {
    let held_back =
        |batch: &[i64]| -> Vec<usize> { (0..batch.len()).filter(|place| batch[*place] % 10 == 3).collect() };
    let failures = Arc::new(AtomicUsize::new(0));
    let counted = failures.clone();
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let noted = delivered.clone();
    let sink = Records::new(move |batch| {
        let left = held_back(batch);
        if left.is_empty() || counted.fetch_add(1, Ordering::Relaxed) >= 8 {
            return Script::Accept;
        }
        let delivered = (0..batch.len()).filter(|place| !left.contains(place)).map(|place| batch[place]);
        noted.lock().unwrap().extend(delivered);
        let fault = Fault::retry(FaultKind::Write, "no space for these");
        Script::Fail(WriteFault::Items(left.into_iter().map(|place| (place, fault.clone())).collect()))
    });
    let ran = Bench::new().sink("out", &sink).pipeline("p", numbers(30), vec![], &["out"]).run();
    assert!(ran.dead.is_empty());
    let mut all = [sink.items(), delivered.lock().unwrap().clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<_>>());
    assert!(failures.load(Ordering::Relaxed) > 8);
}

#[test]
fn a_single_run_gives_up_on_a_dead_sink_and_its_items_come_again() {
    let dead = Records::new(|_| Script::Fail(destination_fault()));
    let mut bench = Bench::new().sink("out", &dead).pipeline("p", numbers(10), vec![], &["out"]);
    bench.give_up = Some(Duration::from_secs(300));
    let ran = bench.run();
    assert_eq!((ran.counts[0].abandoned, ran.position["p"]), (10, None));
    let alive = accepts();
    bench.plan.sinks.clear();
    let ran = bench.sink("out", &alive).run();
    assert_eq!((alive.items().len(), ran.position["p"]), (10, Some(10)));
}

#[test]
fn bad_rows_are_found_by_halving_the_batch() {
    let sink = Records::new(|batch| {
        if batch.iter().any(|number| number % 40 == 7) { Script::Fail(refusal()) } else { Script::Accept }
    });
    let ran = Bench::new().sink("out", &sink).pipeline("p", numbers(100), vec![], &["out"]).run();
    assert_eq!(ran.dead_numbers(), [7, 47, 87]);
    assert_eq!(sink.items().len(), 97);
    assert!(ran.dead.iter().all(|letter| &*letter.component == "sink.out"));
}

#[test]
fn twenty_refusals_in_a_row_open_the_breaker_and_nothing_is_given_up() {
    let mended = Arc::new(AtomicBool::new(false));
    let (seen, refused) = (mended.clone(), Arc::new(Mutex::new(Vec::new())));
    let noted = refused.clone();
    let sink = Records::new(move |batch| {
        if seen.load(Ordering::Relaxed) {
            return Script::Accept;
        }
        if batch.len() == 1 {
            noted.lock().unwrap().push(batch[0]);
        }
        Script::Fail(refusal())
    });
    let bench = Bench::new().sink("out", &sink).pipeline("p", numbers(100), vec![], &["out"]);
    let (engine, store) = bench.start();
    // Twenty refusals open it; the probes after that take another item each time.
    turn_until(&bench.clock, async {
        while refused.lock().unwrap().len() < 25 {
            futures_lite::future::yield_now().await;
        }
    });
    mended.store(true, Ordering::Relaxed);
    turn_until(&bench.clock, engine.finished());
    let ran = Ran::of(&engine, &store);
    assert_eq!(sink.items(), (0..100).collect::<Vec<_>>());
    assert!(ran.dead.is_empty());
    let probes: HashSet<i64> = refused.lock().unwrap()[20..25].iter().copied().collect();
    assert_eq!(probes.len(), 5, "a probe took an item twice");
}

#[test]
fn a_batch_is_written_when_it_is_full_or_old() {
    let mut sink = accepts();
    sink.limits = BatchLimits { items: 4, bytes: Size::mib(1), age: Duration::from_secs(10) };
    let source = Numbers { end: 10, silent_at_end: true };
    let bench = Bench::new().into_daemon().sink("out", &sink).pipeline("p", source, vec![], &["out"]);
    let (engine, _store) = bench.start();
    wait_until(|| sink.batches().len() == 2 && bench.clock.next_sleeper().is_some());
    assert_eq!(sink.batches(), [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
    wait_until(|| bench.clock.next_sleeper() == Some(Duration::from_secs(10)));
    bench.clock.advance(Duration::from_secs(9));
    assert_eq!(sink.batches().len(), 2);
    bench.clock.advance(Duration::from_secs(1));
    wait_until(|| sink.batches().len() == 3);
    assert_eq!(sink.batches()[2], [8, 9]);
    wait_for(engine.abandon());
}

#[test]
fn a_silent_source_does_not_hold_up_a_stop() {
    let sink = accepts();
    let source = Numbers { end: 10, silent_at_end: true };
    let bench = Bench::new().into_daemon().sink("out", &sink).pipeline("p", source, vec![], &["out"]);
    let (engine, store) = bench.start();
    wait_until(|| sink.items().len() == 10);
    wait_for(engine.stop(&bench.clock, Duration::from_secs(30)));
    assert_eq!(Ran::of(&engine, &store).position["p"], Some(10));
}

#[test]
fn a_sink_that_hangs_holds_up_a_stop_for_the_drain_and_no_longer() {
    let sink = Records::new(|_| Script::Hang);
    let source = Numbers { end: 10, silent_at_end: true };
    let bench = Bench::new().into_daemon().sink("out", &sink).pipeline("p", source, vec![], &["out"]);
    let (engine, store) = bench.start();
    wait_until(|| engine.status()[0].counts.produced == 10);
    let before = bench.clock.instant();
    turn_until(&bench.clock, engine.stop(&bench.clock, Duration::from_secs(30)));
    assert_eq!(bench.clock.instant().duration_since(before), Duration::from_secs(30));
    let ran = Ran::of(&engine, &store);
    assert_eq!((ran.counts[0].abandoned, ran.position["p"]), (10, None));
}

#[test]
fn a_stop_does_not_wait_for_a_sink_that_is_down() {
    let sink = Records::new(|_| Script::Fail(destination_fault()));
    let source = Numbers { end: 10, silent_at_end: true };
    let bench = Bench::new().into_daemon().sink("out", &sink).pipeline("p", source, vec![], &["out"]);
    let (engine, _store) = bench.start();
    wait_until(|| bench.clock.next_sleeper().is_some());
    // The clock stands still: only not waiting at all gets to the end.
    wait_for(engine.stop(&bench.clock, Duration::from_secs(30)));
}

#[test]
fn an_item_whose_key_is_in_flight_shares_its_outcome() {
    let mark = |item: &Item| Mark {
        pipeline: "p".into(),
        component: "new".into(),
        key: (number(item) % 5).to_string().into(),
        kind: MarkKind::Seen { until: None },
    };
    let marked = || computes(move |item| Ok(Outputs::Marked(None, Box::new(mark(item)))));
    let sink = accepts();
    let bench = Bench::new().sink("out", &sink).pipeline("p", numbers(1000), vec![marked()], &["out"]);
    let ran = bench.run();
    assert_eq!(sink.items(), [0, 1, 2, 3, 4]);
    assert_eq!((ran.counts[0].settled, ran.counts[0].filtered), (1000, 995));
}

#[test]
fn a_mark_is_left_only_by_an_item_that_settled() {
    let marked = || {
        computes(|item| {
            let key = number(item).to_string().into();
            let kind = MarkKind::Seen { until: None };
            let mark = Mark { pipeline: "p".into(), component: "new".into(), key, kind };
            Ok(Outputs::Marked(None, Box::new(mark)))
        })
    };
    let dead = Records::new(|_| Script::Fail(destination_fault()));
    let mut bench = Bench::new().sink("out", &dead).pipeline("p", numbers(10), vec![marked()], &["out"]);
    bench.give_up = Some(Duration::from_secs(60));
    bench.run();
    let alive = accepts();
    bench.plan.sinks.clear();
    bench.sink("out", &alive).run();
    assert_eq!(alive.items(), (0..10).collect::<Vec<_>>());
}

#[test]
fn an_item_abandoned_while_the_engine_runs_comes_again() {
    let failures = Arc::new(AtomicUsize::new(0));
    let sink = Records::new(move |batch| {
        if batch.contains(&3) && failures.fetch_add(1, Ordering::Relaxed) < 2 {
            Script::Fail(destination_fault())
        } else {
            Script::Accept
        }
    });
    let mut bench = Bench::new().into_daemon().sink("out", &sink).pipeline("p", numbers(10), vec![], &["out"]);
    bench.give_up = Some(Duration::ZERO);
    let ran = bench.run();
    assert!(ran.counts[0].abandoned >= 2);
    assert_eq!(sink.items().into_iter().collect::<HashSet<_>>(), (0..10).collect());
    assert_eq!(ran.position["p"], Some(10));
}

/// A daemon whose sink has given up these numbers, each in a dead letter.
fn with_dead_letters(sink: &Records, numbers: i64) -> (Bench, Engine, Store) {
    let source = Numbers { end: numbers, silent_at_end: true };
    let bench = Bench::new().into_daemon().sink("out", sink).pipeline("p", source, vec![], &["out"]);
    let (engine, store) = bench.start();
    let count = numbers as u64;
    let all_dead = async {
        while store.dead_size("p").items < count {
            runtime::yield_now().await;
        }
    };
    turn_until(&bench.clock, all_dead);
    (bench, engine, store)
}

fn replay_of(letter: i64, interval: Duration) -> Replay {
    Replay { letter, from: None, interval }
}

#[test]
fn a_replay_keeps_to_its_pace() {
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let sink =
        Records::new(move |_| if mended.load(Ordering::SeqCst) { Script::Accept } else { Script::Fail(refusal()) });
    let (bench, engine, store) = with_dead_letters(&sink, 5);
    is_mended.store(true, Ordering::SeqCst);
    let ids = store.dead_letter_ids(&DeadLetterFilter::default()).unwrap();
    let replays = ids.iter().map(|id| replay_of(*id, Duration::from_secs(10))).collect();
    runtime::block_on(store.replay_dead_letters(replays)).unwrap();
    for arrived in 1..=5 {
        wait_until(|| sink.items().len() == arrived && store.dead_size("p").items as usize == 5 - arrived);
        wait_until(|| bench.clock.next_sleeper() == Some(Duration::from_secs(10)));
        bench.clock.advance(Duration::from_secs(9));
        assert_eq!(sink.items().len(), arrived);
        bench.clock.advance(Duration::from_secs(1));
    }
    wait_for(engine.stop(&bench.clock, Duration::from_secs(30)));
}

#[test]
fn a_replay_that_is_abandoned_comes_again_at_the_next_start() {
    let hangs = Arc::new(AtomicBool::new(false));
    let hang = hangs.clone();
    let sink = Records::new(move |_| if hang.load(Ordering::SeqCst) { Script::Hang } else { Script::Fail(refusal()) });
    let (mut bench, engine, store) = with_dead_letters(&sink, 1);
    hangs.store(true, Ordering::SeqCst);
    runtime::block_on(store.replay_dead_letters(vec![replay_of(1, Duration::ZERO)])).unwrap();
    wait_until(|| store.is_replay_asked(1).unwrap());
    wait_for(engine.abandon());
    assert_eq!(store.dead_size("p").items, 1);
    drop((engine, store));
    let alive = accepts();
    bench.plan.sinks.clear();
    let bench = bench.sink("out", &alive);
    let (engine, store) = bench.start();
    wait_until(|| store.dead_size("p").items == 0);
    assert_eq!(alive.items(), [0]);
    wait_for(engine.stop(&bench.clock, Duration::from_secs(30)));
}

#[test]
fn items_larger_than_the_budget_pass_one_at_a_time() {
    let sink = accepts();
    let large = calls(
        8,
        |_| "host",
        |item| async move {
            let text = "x".repeat(200_000);
            Ok(Outputs::One(item.with_value(Value::from(text))))
        },
    );
    let back = computes(|item| {
        Ok(Outputs::One(item.with_value(Value::from(item.value.as_text().map_or(0, str::len) as i64))))
    });
    let mut bench = Bench::new().sink("out", &sink).pipeline("p", numbers(50), vec![large, back], &["out"]);
    bench.plan.memory = Size(100_000);
    bench.run();
    assert_eq!(sink.items(), vec![200_000; 50]);
}

#[test]
fn a_sink_that_hangs_does_not_delay_its_neighbour() {
    let (hangs, works) = (Records::new(|_| Script::Hang), accepts());
    let bench = Bench::new()
        .sink("works", &works)
        .buffered_sink("hangs", &hangs, Size::mib(100), Full::Block)
        .pipeline("p", numbers(20_000), vec![], &["hangs", "works"]);
    let (engine, store) = bench.start();
    turn_until(&bench.clock, works.arrivals(20_000));
    wait_for(engine.abandon());
    drop((engine, store));
    // What waited for the one that hung is there at the next start; the other has it already.
    let (mended, works) = (accepts(), accepts());
    let mut bench = bench;
    bench.plan.sinks.clear();
    bench.sink("works", &works).buffered_sink("hangs", &mended, Size::mib(100), Full::Block).run();
    let arrived: HashSet<i64> = mended.items().into_iter().collect();
    assert_eq!(arrived, (0..20_000).collect());
    assert!(works.items().len() < 20_000, "the position moved over what is on disk");
}

#[test]
fn a_buffer_brings_everything_to_a_sink_that_was_slow() {
    let failures = AtomicUsize::new(0);
    let slow = Records::new(move |_| {
        if failures.fetch_add(1, Ordering::Relaxed) < 5 { Script::Fail(destination_fault()) } else { Script::Accept }
    });
    let works = accepts();
    let ran = Bench::new()
        .buffered_sink("slow", &slow, Size::mib(100), Full::Block)
        .sink("works", &works)
        .pipeline("p", numbers(10_000), vec![], &["slow", "works"])
        .run();
    assert_eq!(slow.items(), (0..10_000).collect::<Vec<_>>());
    assert_eq!(works.items(), (0..10_000).collect::<Vec<_>>());
    assert_eq!(ran.position["p"], Some(10_000));
}

#[test]
fn a_full_buffer_does_what_its_config_says() {
    for (full, expected) in [(Full::DeadLetter, "dead letters"), (Full::DropOldest, "dropped")] {
        let hangs = Records::new(|_| Script::Hang);
        let works = accepts();
        let bench = Bench::new().sink("works", &works).buffered_sink("hangs", &hangs, Size(20_000), full).pipeline(
            "p",
            numbers(20_000),
            vec![],
            &["hangs", "works"],
        );
        let (engine, store) = bench.start();
        turn_until(&bench.clock, works.arrivals(20_000));
        wait_for(engine.abandon());
        let counts = engine.status()[0].counts;
        match full {
            Full::DeadLetter => assert!(counts.rejected > 0, "{expected}"),
            _ => assert!(counts.filtered > 0, "{expected}"),
        }
        let held = store.queue_size("sink.hangs").unwrap();
        assert!(held.bytes < 10_000_000, "{held:?}");
    }
}
