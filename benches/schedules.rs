//! How late ticks are: `cargo bench --bench schedules`.
//!
//! So many schedules of one second run in one engine, each a pipeline of its own whose position is committed with every
//! tick. A tick is as late as the item that it made comes to the pipeline's first step after the time at the end of its
//! window. Ticks that do not happen because the one before is still in flight are counted too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use gatherd::component::{
    FilterFault, Onward, Opened, Outputs, Retry, SourceSettings, Step, StepContext, StepSettings, Transform,
    TransformScope,
};
use gatherd::model::{Fingerprint, Item, Size};
use gatherd::pipeline::{DeadLimits, Engine, Expect, Options, PipelinePlan, Plan, SourcePlan, StepPlan};
use gatherd::runtime::{self, Clock};
use gatherd::settings::read_text;
use gatherd::store::Store;
use jiff::SignedDuration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// How many schedules run.
    #[arg(long, default_value_t = 10_000)]
    schedules: usize,
    /// For how long ticks are counted, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many threads run the tasks.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// First ticks come within five seconds; they are not counted.
const WARM_UP: Duration = Duration::from_secs(8);

fn main() {
    let Arguments { schedules, seconds, threads, bench: _ } = Arguments::parse();
    runtime::set_threads(threads);
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let store = Store::open(folder.path()).expect("a new folder holds no other store");
    let ticks = Arc::<Ticks>::default();
    let plan = plan(schedules, &ticks);
    let options = Options::default();
    let started = Instant::now();
    let engine = Engine::start(&plan, &store, &options).expect("schedules open");
    say(&format!("{schedules} schedules started in {:.2} s", started.elapsed().as_secs_f64()));
    runtime::block_on(async {
        let clock = Clock::system();
        clock.sleep(WARM_UP).await;
        ticks.late.lock().unwrap_or_else(PoisonError::into_inner).clear();
        ticks.has_warmed_up.store(true, Ordering::Release);
        let (began, cpu) = (Instant::now(), cpu_seconds());
        clock.sleep(Duration::from_secs(seconds)).await;
        let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let late = std::mem::take(&mut *ticks.late.lock().unwrap_or_else(PoisonError::into_inner));
        engine.stop(&clock, Duration::from_secs(5)).await;
        show(late, schedules as f64 * took, cpu / took);
    });
}

fn show(mut late: Vec<SignedDuration>, due: f64, cpu: f64) {
    late.sort_unstable();
    let at = |share: f64| {
        let place = ((late.len() as f64 * share) as usize).min(late.len().saturating_sub(1));
        late.get(place).map_or(f64::NAN, |late| late.as_secs_f64() * 1e3)
    };
    say(&format!(
        "{} ticks, {:.1} % of those due; {:.0} % of a CPU",
        late.len(),
        late.len() as f64 / due * 100.0,
        cpu * 100.0
    ));
    for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
        say(&format!("{:5.1} % are at most {:8.2} ms late", share * 100.0, at(share)));
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells this");
    let behind_the_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind_the_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn plan(schedules: usize, ticks: &Arc<Ticks>) -> Plan {
    let kind = gatherd::sources::KINDS.iter().find(|kind| kind.name == "every").expect("there is such a source");
    let every: Arc<dyn SourceSettings> =
        Arc::from(read_text(r#"every = "1s""#, kind.read).unwrap_or_else(|_| panic!("this is a schedule")));
    let pipeline = |number: usize| PipelinePlan {
        name: format!("schedule-{number}").into(),
        part: None,
        uses_window: true,
        expect: Expect::default(),
        source: SourcePlan { id: "every".into(), settings: every.clone(), durable: None },
        steps: vec![StepPlan {
            id: "look".into(),
            settings: Arc::new(Look(ticks.clone())),
            when: None,
            retry: Retry::FETCH,
            workers: 1,
            aside: None,
            onward: Onward::default(),
        }],
        sinks: Vec::new(),
        fingerprint: Fingerprint::of([number.to_string().as_str()]),
    };
    Plan {
        pipelines: (0..schedules).map(pipeline).collect(),
        sinks: Vec::new(),
        clients: Default::default(),
        memory: Size::mib(256),
        drain: Duration::from_secs(5),
        dead_letters: DeadLimits::DEFAULT,
        alerts: Vec::new(),
    }
}

/// How late ticks were.
#[derive(Default)]
struct Ticks {
    late: Mutex<Vec<SignedDuration>>,
    has_warmed_up: AtomicBool,
}

/// A step that looks how late its item is.
struct Look(Arc<Ticks>);

impl StepSettings for Look {
    fn open(&self, _context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(Look(self.0.clone()))))
    }
}

impl Transform for Look {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault> {
        if let Some(window) = item.origin.window {
            let late = scope.now.duration_since(window.end);
            self.0.late.lock().unwrap_or_else(PoisonError::into_inner).push(late);
        }
        Ok(Outputs::Same)
    }
}

#[expect(clippy::print_stdout, reason = "a bench is run to be read")]
fn say(line: &str) {
    println!("{line}");
}
