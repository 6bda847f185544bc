//! Filters as native operations against the same filters in jaq: `cargo bench --bench filters`.
//!
//! Both answers are compared before anything is measured. Two figures for each filter: the filter alone, on a value that
//! has been looked at before; and an item's whole way, from JSON text through the filter to JSON text. `--count` runs
//! one of them without a clock, to be counted by `valgrind --tool=callgrind`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Parser;
use gatherd::expr::{Encoding, Engine, Filter, Fuel, Scope, Template, Vars};
use gatherd::model::{Labels, Value, json};
use jiff::Timestamp;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// How long each filter is measured in each engine.
    #[arg(long, default_value_t = 300)]
    milliseconds: u64,
    /// Runs the filter of this name so often and measures nothing.
    #[arg(long, num_args = 2, value_names = ["NAME", "TIMES"])]
    count: Option<Vec<String>>,
    /// With `--count`: in jaq.
    #[arg(long)]
    jaq: bool,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const FILTERS: &[(&str, &str)] = &[
    ("one path", ".properties.mag"),
    (
        "five fields",
        "{id, mag: .properties.mag, place: .properties.place, time: .properties.time, url: .properties.url}",
    ),
    ("select", "select(.properties.mag >= 2.5 and .properties.type == \"earthquake\")"),
    ("a default", ".properties.alert // .properties.status // \"none\""),
    ("text", "\"M\\(.properties.mag) \\(.properties.place)\""),
    ("arithmetic", "(.properties.time / 1000 + 3600) * 2"),
    ("a list", "[.geometry.coordinates[] | . * 2]"),
    ("each member", ".geometry.coordinates[]"),
    ("a condition", "if .properties.mag > 5 then \"strong\" elif .properties.mag > 2 then \"light\" else \"weak\" end"),
    ("an expression", "select(.properties.place | test(\"km [NS]\"))"),
    ("with a label", ". + {status: labels.status, day: labels.fetched_at[:10]}"),
    ("a list of objects", "[.properties.types | split(\",\")[] | select(length > 0) | {name: ., long: (length > 6)}]"),
];

fn main() {
    let arguments = Arguments::parse();
    let items = [small(), large()];
    if let Some([name, times]) = arguments.count.as_deref() {
        let (_, source) = FILTERS.iter().find(|(known, _)| known == name).expect("a filter of the table");
        let filter = compiled(source, if arguments.jaq { Engine::Jaq } else { Engine::Native });
        let value = json::parse(items[0].as_bytes()).expect("the bench's own JSON");
        let times: u64 = times.parse().expect("a number of times");
        return in_scope(|scope| (0..times).for_each(|_| drop(black_box(filter.run(black_box(&value), scope)))));
    }
    let time = Duration::from_millis(arguments.milliseconds);
    for item in &items {
        say(&format!("\nan item of {} bytes", item.len()));
        say("| filter | native | jaq | ratio | whole way, native | jaq | ratio |");
        say("|---|--:|--:|--:|--:|--:|--:|");
        let mut ratios = [0.0; 2];
        for (name, source) in FILTERS {
            let [alone, whole] = compare(source, item, time);
            say(&format!("| {name} | {} | {} |", row(alone), row(whole)));
            for (sum, [native, jaq]) in ratios.iter_mut().zip([alone, whole]) {
                *sum += (jaq / native).ln() / FILTERS.len() as f64;
            }
        }
        let [alone, whole] = ratios.map(f64::exp);
        say(&format!("| geometric mean | | | {alone:.1}x | | | {whole:.1}x |"));
        say(&format!("a URL of constant text and one path: {:.0} ns", template(item, time)));
    }
}

/// Nanoseconds a run: native and jaq, of the filter alone and of the whole way.
fn compare(source: &str, item: &str, time: Duration) -> [[f64; 2]; 2] {
    let filters = [Engine::Native, Engine::Jaq].map(|engine| compiled(source, engine));
    let value = json::parse(item.as_bytes()).expect("the bench's own JSON");
    in_scope(|scope| {
        let answers = filters.each_ref().map(|filter| filter.run(&value, scope).map(|values| shown(&values)));
        assert_eq!(answers[0], answers[1], "{source}");
        assert!(answers[0].as_ref().is_ok_and(|outputs| !outputs.is_empty()), "{source}: {answers:?}");
        let alone = filters
            .each_ref()
            .map(|filter| fastest(time, &mut || drop(black_box(filter.run(black_box(&value), scope)))));
        let mut out = Vec::new();
        let whole = filters.each_ref().map(|filter| {
            fastest(time, &mut || {
                let value = json::parse(black_box(item).as_bytes()).expect("the bench's own JSON");
                out.clear();
                for output in filter.run(&value, scope).expect("it was run before") {
                    json::write(&output, &mut out);
                }
                black_box(&out);
            })
        });
        [alone, whole]
    })
}

fn template(item: &str, time: Duration) -> f64 {
    let value = json::parse(item.as_bytes()).expect("the bench's own JSON");
    let nothing = &mut |_: &str| Ok(String::new());
    let template = Template::compile("http://127.0.0.1:8080/items/{.id}", Encoding::Url, &Vars::default(), nothing);
    let template = template.expect("a template");
    in_scope(|scope| fastest(time, &mut || drop(black_box(template.render(black_box(&value), scope)))))
}

fn compiled(source: &str, engine: Engine) -> Filter {
    let vars = Vars::default();
    let filter = match engine {
        Engine::Native => Filter::compile(source, &vars),
        Engine::Jaq => Filter::compile_for_jaq(source, &vars),
    };
    let filter = filter.expect(source);
    assert_eq!(filter.engine(), engine, "{source}");
    filter
}

fn in_scope<T>(work: impl FnOnce(&Scope<'_>) -> T) -> T {
    let mut labels = Labels::default();
    labels.set("status".into(), Value::from(200));
    labels.set("fetched_at".into(), Value::from("2026-01-02T03:04:05Z"));
    work(&Scope { labels: &labels, window: None, now: Timestamp::UNIX_EPOCH, fuel: Fuel::Inline })
}

/// Nanoseconds a run takes, in the best of a few rounds.
fn fastest(time: Duration, run: &mut dyn FnMut()) -> f64 {
    const ROUNDS: u32 = 5;
    let begun = Instant::now();
    let mut times = 0_u32;
    while begun.elapsed() < time / 10 {
        run();
        times += 1;
    }
    let times = (times * 10 / ROUNDS).max(1);
    let rounds = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        (0..times).for_each(|_| run());
        begun.elapsed().as_nanos() as f64 / f64::from(times)
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn row([native, jaq]: [f64; 2]) -> String {
    format!("{native:.0} ns | {jaq:.0} ns | {:.1}x", jaq / native)
}

fn shown(values: &[Value]) -> Vec<String> {
    values.iter().map(Value::to_string).collect()
}

/// About 400 bytes.
fn small() -> String {
    r#"{"type":"Feature","id":"us7000abcd","properties":{"mag":4.3,"place":"12 km N of Somewhere, Chile","time":1763740800000,"url":"https://earthquake.example/event/us7000abcd","alert":null,"status":"reviewed","type":"earthquake","types":",origin,phase-data,dyfi,","title":"M 4.3 - 12 km N of Somewhere, Chile"},"geometry":{"type":"Point","coordinates":[-71.2345,-29.8765,45.1]}}"#.to_owned()
}

/// About 1 KB: the same with more beside what the filters look at.
fn large() -> String {
    let more = r#","detail":{"code":"7000abcd","net":"us","sig":284,"nst":null,"dmin":0.437,"rms":0.81,"gap":91,"magType":"mb","tz":null,"felt":3,"cdi":2.2,"mmi":null,"tsunami":0,"sources":[{"id":"us","updated":1763741800000,"preferred":true,"name":"National Earthquake Information Center"},{"id":"cl","updated":1763741900000,"preferred":false,"name":"Centro Sismologico Nacional"}],"description":"An item has more fields than a filter asks for, and some of them are long; what is not asked for should cost next to nothing, whatever it holds: lists, objects, or a text with \"quotes\" and umlauts \u00e4\u00f6\u00fc in it."}}"#;
    let small = small();
    format!("{}{more}", small.strip_suffix('}').unwrap_or(&small))
}

#[expect(clippy::print_stdout, reason = "what a bench is for")]
fn say(line: &str) {
    println!("{line}");
}
