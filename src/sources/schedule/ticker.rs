//! The source that makes ticks by the clock, and remembers the last one that settled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::adaptive::INTERVAL;
use super::{FIRST_TICK_WITHIN, Missed, Overlap, Rules, Times};
use crate::component::{Position, Produced, Source, SourceContext};
use crate::model::{Fault, Findings, ItemId, Text, Value, Window};
use crate::runtime;

/// The longest sleep: how soon a clock that was set, or a machine that woke up, is noticed.
const SLEEP: Duration = Duration::from_secs(60);

/// A time of day that runs this far ahead of the time that passed has jumped.
const JUMP: SignedDuration = SignedDuration::from_secs(10);

/// A clock that went back by less than this, or by less than the time between two ticks, is waited for, so that no
/// tick comes twice. Beyond it the mark is taken to be wrong.
const PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// Makes the ticks of one schedule, at most one of them in flight.
///
/// The mark, which is the source's position, is the end of the last settled window. A tick's window starts there; so
/// a tick that was skipped, missed or abandoned widens the next window. The very first window reaches back to the time
/// at which the schedule would have ticked before.
pub(in crate::sources) struct Ticker {
    context: SourceContext,
    rules: Rules,
    times: Arc<dyn Times>,
    /// The very first tick, while there is no mark and it has not been made.
    first: Option<Timestamp>,
    /// The last tick that was made, skipped or given up: the schedule goes on after it.
    passed: Timestamp,
    /// No window starts before this: the mark at the start, or the end of a hole that was given up.
    floor: Timestamp,
    /// Ticks up to this time were missed.
    missed_until: Timestamp,
    /// The tick in flight and what is found of it, if that makes a difference to the times.
    watched: Option<(Timestamp, Arc<Findings>)>,
    /// Both clocks when they were last looked at.
    looked: (Timestamp, Instant),
    ended: bool,
}

impl Ticker {
    /// `times` makes the schedule from its start: the mark, or the very first tick.
    pub(in crate::sources) fn new(
        context: SourceContext,
        rules: Rules,
        times: impl FnOnce(Timestamp) -> Arc<dyn Times>,
    ) -> Self {
        let looked = (context.clock.timestamp(), context.clock.instant());
        let now = whole_milliseconds(looked.0);
        let mark = context.position.as_ref().and_then(read_mark);
        let first = match mark {
            Some(_) => None,
            None if context.once => Some(now),
            None => Some(now + spread(&context, FIRST_TICK_WITHIN)),
        };
        let start = mark.or(first).unwrap_or(now);
        let times = times(start);
        let floor = mark.or_else(|| times.before(start)).unwrap_or(start);
        let mut ticker = Self {
            context,
            rules,
            times,
            first,
            passed: mark.unwrap_or(floor),
            floor,
            missed_until: now,
            watched: None,
            looked,
            ended: false,
        };
        if let Some(mark) = mark {
            if ticker.context.progress.has_made() {
                // Opened anew because a tick was abandoned: gatherd ran all the time, so nothing was missed.
                ticker.missed_until = mark;
            } else {
                ticker.miss(now);
            }
            ticker.doubt(now);
        }
        ticker
    }

    /// Looks at the clock, and notices what happened to it.
    fn look(&mut self) -> Timestamp {
        let (now, instant) = (self.context.clock.timestamp(), self.context.clock.instant());
        let (then, then_instant) = std::mem::replace(&mut self.looked, (now, instant));
        let slept = SignedDuration::try_from(instant.saturating_duration_since(then_instant));
        let jumped = now.duration_since(then).saturating_sub(slept.unwrap_or(SignedDuration::MAX));
        if jumped > JUMP {
            log::info!(pipeline = self.context.pipeline.as_ref(), seconds = jumped.as_secs();
                "the clock went forward, or the machine slept");
            self.miss(now);
        }
        self.doubt(now);
        now
    }

    /// Takes the ticks up to `now` as missed.
    fn miss(&mut self, now: Timestamp) {
        self.missed_until = now;
        if self.rules.missed == Missed::Skip
            && let Some(latest) = self.times.until(now).filter(|latest| *latest > self.passed)
        {
            self.passed = latest;
            self.floor = latest;
        }
    }

    /// Starts anew at `now` if the schedule has come so far ahead of the clock that the clock must have been wrong.
    fn doubt(&mut self, now: Timestamp) {
        let ahead = self.passed.duration_since(now);
        let interval = || self.times.after(self.passed).map_or(ahead, |next| next.duration_since(self.passed));
        if ahead > PATIENCE && ahead > interval() {
            log::warn!(pipeline = self.context.pipeline.as_ref(), mark = self.passed.to_string().as_str();
                "the last tick lies in the future: the clock was set back, and the schedule starts anew");
            self.passed = now;
            self.floor = self.times.until(now).unwrap_or(now);
        }
    }

    /// The tick that comes next, and the time at which it is made.
    fn upcoming(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        if let Some(first) = self.first {
            return Some((first, first));
        }
        if self.context.once {
            let next = self.times.after(self.passed).filter(|next| *next < self.missed_until);
            let tick = next.filter(|_| self.rules.missed == Missed::All).unwrap_or(self.missed_until);
            return Some((tick, now));
        }
        let next = self.times.after(self.passed)?;
        let due = self.due(next);
        if due > now || self.rules.missed == Missed::All {
            return Some((next, due));
        }
        let latest = self.latest_due(now).max(next);
        Some((latest, self.due(latest)))
    }

    /// When a tick is made: at its time, or later by its share of the jitter.
    fn due(&self, tick: Timestamp) -> Timestamp {
        if self.rules.jitter.is_zero() {
            return tick;
        }
        let draw = hash(&self.context, tick.to_string().as_bytes());
        let jitter = u64::try_from(self.rules.jitter.as_nanos()).unwrap_or(u64::MAX);
        tick.checked_add(Duration::from_nanos(draw % jitter)).unwrap_or(tick)
    }

    fn latest_due(&self, now: Timestamp) -> Timestamp {
        let latest = self.times.until(now).unwrap_or(now);
        if self.due(latest) <= now { latest } else { self.times.before(latest).unwrap_or(latest) }
    }

    /// Once a tick that was watched has ended, goes on at the pace that follows from it.
    fn learn(&mut self) {
        if self.context.progress.in_flight() == 0
            && let Some((tick, findings)) = self.watched.take()
            && let Some(times) = self.times.following(tick, &findings)
        {
            self.times = times;
        }
    }

    /// Whether this tick waits until none is in flight, instead of being skipped.
    fn waits(&self, tick: Timestamp) -> bool {
        self.context.once
            || self.rules.overlap == Overlap::Queue
            || (self.rules.missed == Missed::All && tick <= self.missed_until)
    }

    fn make(&mut self, tick: Timestamp) -> Produced {
        self.ended = self.context.once && tick >= self.missed_until;
        self.first = None;
        self.passed = tick;
        let mark = self.context.progress.settled().as_ref().and_then(read_mark);
        let known = [mark, Some(self.floor)].into_iter().flatten().filter(|start| *start < tick).max();
        let start = known.or_else(|| self.times.before(tick)).unwrap_or(tick);
        let end = Text::from(tick.to_string());
        let value = [("start".into(), Value::from(start.to_string())), ("end".into(), Value::Text(end.clone()))];
        let place = end.as_bytes().to_vec();
        let findings = self.times.interval().map(|_| Arc::<Findings>::default());
        self.watched = findings.clone().map(|findings| (tick, findings));
        Produced {
            window: Some(Window { start, end: tick }),
            position: Some(Position::new(write_mark(end, self.times.interval()))),
            findings,
            ..Produced::new(value.into_iter().collect(), place)
        }
    }
}

#[async_trait]
impl Source for Ticker {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        while !self.ended {
            self.learn();
            let now = self.look();
            if self.context.trigger.is_asked() {
                self.context.progress.idle().await;
                self.learn();
                self.context.trigger.answer();
                let now = whole_milliseconds(self.look());
                return Ok(Some(self.make(now)));
            }
            let Some((tick, due)) = self.upcoming(now) else { return Ok(None) };
            let ahead = due.duration_since(now);
            if ahead.is_positive() {
                let sleep = self.context.clock.sleep(ahead.unsigned_abs().min(SLEEP));
                let sleep = runtime::race(sleep, self.context.trigger.asked());
                match &self.watched {
                    None => sleep.await,
                    Some(_) => runtime::race(sleep, self.context.progress.idle()).await,
                }
            } else if self.context.progress.in_flight() == 0 {
                return Ok(Some(self.make(tick)));
            } else if self.waits(tick) {
                self.context.progress.idle().await;
            } else {
                log::debug!(pipeline = self.context.pipeline.as_ref(), tick = tick.to_string().as_str();
                    "a tick was skipped, for the one before is in flight");
                self.passed = tick;
            }
        }
        Ok(None)
    }
}

/// A position is the mark alone, or an object with the mark and the interval.
fn read_mark(position: &Value) -> Option<Timestamp> {
    let mark = match position {
        Value::Object(noted) => noted.get(MARK)?,
        mark => mark,
    };
    mark.as_text()?.parse().ok()
}

fn write_mark(mark: Text, interval: Option<Duration>) -> Value {
    let Some(interval) = interval else { return Value::Text(mark) };
    let milliseconds = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    [(MARK.into(), Value::Text(mark)), (INTERVAL.into(), Value::from(milliseconds))].into_iter().collect()
}

const MARK: &str = "mark";

fn whole_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// This schedule's share of `limit`, in whole milliseconds: the same at every start, and another for each schedule.
fn spread(context: &SourceContext, limit: Duration) -> Duration {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(hash(context, b"first") % limit)
}

fn hash(context: &SourceContext, what: &[u8]) -> u64 {
    ItemId::root(&[context.pipeline.as_bytes(), context.id.as_bytes(), what]).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::{Progress, contract};
    use crate::runtime::{Clock, block_on};
    use futures_lite::FutureExt;
    use futures_lite::future::poll_once;

    /// Full multiples of a number of seconds.
    struct Every(i64);

    impl Times for Every {
        fn after(&self, time: Timestamp) -> Option<Timestamp> {
            Timestamp::from_second((time.as_second().div_euclid(self.0) + 1) * self.0).ok()
        }

        fn until(&self, time: Timestamp) -> Option<Timestamp> {
            Timestamp::from_second(time.as_second().div_euclid(self.0) * self.0).ok()
        }
    }

    /// A schedule that ticks at full minutes, and the engine around it. Times of day are those of 1 January 2026.
    struct Run {
        rules: Rules,
        mark: Option<&'static str>,
        start: &'static str,
        once: bool,
        /// How long each tick is in flight.
        takes: Duration,
        /// Ticks that end abandoned.
        abandoned: &'static [&'static str],
        /// At this time the clock jumps by so many seconds.
        jump: Option<(&'static str, i64)>,
        until: &'static str,
    }

    const RUN: Run = Run {
        rules: Rules::DEFAULT,
        mark: Some("10:00:00"),
        start: "10:00:30",
        once: false,
        takes: Duration::from_secs(1),
        abandoned: &[],
        jump: None,
        until: "10:03:30",
    };

    const fn rules(missed: Missed, overlap: Overlap) -> Rules {
        Rules { jitter: Duration::ZERO, missed, overlap }
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-01-01T{time}Z").parse().unwrap()
    }

    fn show(time: Timestamp) -> String {
        time.to_string().replace("2026-01-01T", "").replace('Z', "")
    }

    impl Run {
        fn context(&self) -> SourceContext {
            let position = self.mark.map(|mark| Value::from(at(mark).to_string()));
            let progress = Arc::new(Progress::starting_at(position.clone()));
            let context = contract::source_context("quakes", "every", Clock::turned_by_hand(at(self.start)));
            SourceContext { progress, position, once: self.once, ..context }
        }

        /// Every tick, as `time made: start of its window - end of its window`.
        fn ticks(&self) -> Vec<String> {
            let context = self.context();
            let (clock, progress) = (context.clock.clone(), context.progress.clone());
            let mut ticker = Ticker::new(context, self.rules, |_| Arc::new(Every(60)));
            let mut made = Vec::new();
            let mut jump = self.jump;
            let mut in_flight: Option<(Instant, Produced)> = None;
            loop {
                // Every round asks anew, as an engine may.
                let mut next = ticker.next();
                match block_on(poll_once(&mut next)) {
                    Some(answer) => match answer.unwrap() {
                        None => break,
                        Some(tick) => {
                            let window = tick.window.unwrap();
                            assert_eq!(tick.value.get("end"), Some(&Value::from(window.end.to_string())));
                            let (start, end) = (show(window.start), show(window.end));
                            made.push(format!("{}: {start} - {end}", show(clock.timestamp())));
                            progress.produced(1);
                            in_flight = Some((clock.instant() + self.takes, tick));
                        }
                    },
                    None => {
                        let ends = in_flight.as_ref().map(|(ends, _)| ends.duration_since(clock.instant()));
                        let wait = [ends, clock.next_sleeper()].into_iter().flatten().min().unwrap();
                        clock.advance(wait);
                    }
                }
                drop(next);
                if let Some((_, tick)) = in_flight.take_if(|(ends, _)| *ends <= clock.instant()) {
                    let abandoned = self.abandoned.contains(&show(tick.window.unwrap().end).as_str());
                    progress.ended(1, tick.position.filter(|_| !abandoned).map(Position::into_value));
                }
                if let Some((_, seconds)) = jump.take_if(|(time, _)| clock.timestamp() >= at(time)) {
                    clock.jump(SignedDuration::from_secs(seconds));
                }
                if clock.timestamp() >= at(self.until) {
                    break;
                }
            }
            made
        }
    }

    fn check(rule: &str, run: &Run, expected: &[&str]) {
        assert_eq!(run.ticks(), expected, "{rule}");
    }

    #[test]
    fn windows_follow_each_other_without_a_gap() {
        check(
            "in time",
            &RUN,
            &["10:01:00: 10:00:00 - 10:01:00", "10:02:00: 10:01:00 - 10:02:00", "10:03:00: 10:02:00 - 10:03:00"],
        );
        check(
            "an abandoned tick is covered by the next",
            &Run { abandoned: &["10:01:00", "10:02:00"], ..RUN },
            &["10:01:00: 10:00:00 - 10:01:00", "10:02:00: 10:00:00 - 10:02:00", "10:03:00: 10:00:00 - 10:03:00"],
        );
    }

    #[test]
    fn a_tick_that_meets_the_one_before_is_skipped_or_waits() {
        let takes = Duration::from_secs(70);
        check(
            "skip",
            &Run { takes, until: "10:05:30", ..RUN },
            &["10:01:00: 10:00:00 - 10:01:00", "10:03:00: 10:01:00 - 10:03:00", "10:05:00: 10:03:00 - 10:05:00"],
        );
        let rules_queue = rules(Missed::Latest, Overlap::Queue);
        check(
            "queue",
            &Run { takes, rules: rules_queue, until: "10:04:00", ..RUN },
            &["10:01:00: 10:00:00 - 10:01:00", "10:02:10: 10:01:00 - 10:02:00", "10:03:20: 10:02:00 - 10:03:00"],
        );
        let takes = Duration::from_secs(150);
        check(
            "queue, the latest of several",
            &Run { takes, rules: rules_queue, until: "10:05:00", ..RUN },
            &["10:01:00: 10:00:00 - 10:01:00", "10:03:30: 10:01:00 - 10:03:00"],
        );
        let all = rules(Missed::All, Overlap::Queue);
        check(
            "queue, each of several",
            &Run { takes, rules: all, until: "10:06:30", ..RUN },
            &["10:01:00: 10:00:00 - 10:01:00", "10:03:30: 10:01:00 - 10:02:00", "10:06:00: 10:02:00 - 10:03:00"],
        );
    }

    #[test]
    fn missed_ticks_are_merged_left_out_or_made_one_by_one() {
        let run = Run { start: "10:03:30", until: "10:04:30", ..RUN };
        check("latest", &run, &["10:03:30: 10:00:00 - 10:03:00", "10:04:00: 10:03:00 - 10:04:00"]);
        let skip = rules(Missed::Skip, Overlap::Skip);
        check("skip", &Run { rules: skip, ..run }, &["10:04:00: 10:03:00 - 10:04:00"]);
        check("skip, none missed", &Run { rules: skip, until: "10:01:30", ..RUN }, &["10:01:00: 10:00:00 - 10:01:00"]);
        check(
            "all",
            &Run { rules: rules(Missed::All, Overlap::Skip), ..run },
            &[
                "10:03:30: 10:00:00 - 10:01:00",
                "10:03:31: 10:01:00 - 10:02:00",
                "10:03:32: 10:02:00 - 10:03:00",
                "10:04:00: 10:03:00 - 10:04:00",
            ],
        );
    }

    #[test]
    fn the_first_tick_ever_comes_within_five_seconds_and_its_window_is_one_interval() {
        check(
            "no mark",
            &Run { mark: None, start: "10:00:00", until: "10:01:30", ..RUN },
            &["10:00:00.584: 10:00:00 - 10:00:00.584", "10:01:00: 10:00:00.584 - 10:01:00"],
        );
        let first = |pipeline: String| {
            let context = SourceContext { pipeline: pipeline.into(), ..Run { mark: None, ..RUN }.context() };
            spread(&context, FIRST_TICK_WITHIN)
        };
        let firsts: Vec<_> = (0..1000).map(|number| first(format!("pipeline-{number}"))).collect();
        assert!(firsts.iter().all(|first| *first < FIRST_TICK_WITHIN));
        for second in 0..5 {
            let count = firsts.iter().filter(|first| first.as_secs() == second).count();
            assert!((150..250).contains(&count), "{count} of 1000 in second {second}");
        }
    }

    #[test]
    fn a_run_once_ticks_now_and_ends() {
        let once = Run { once: true, start: "10:03:30", until: "10:10:00", ..RUN };
        check("latest", &once, &["10:03:30: 10:00:00 - 10:03:30"]);
        check("skip", &Run { rules: rules(Missed::Skip, Overlap::Skip), ..once }, &["10:03:30: 10:03:00 - 10:03:30"]);
        check(
            "all",
            &Run { rules: rules(Missed::All, Overlap::Skip), ..once },
            &[
                "10:03:30: 10:00:00 - 10:01:00",
                "10:03:31: 10:01:00 - 10:02:00",
                "10:03:32: 10:02:00 - 10:03:00",
                "10:03:33: 10:03:00 - 10:03:30",
            ],
        );
        check("no mark", &Run { mark: None, ..once }, &["10:03:30: 10:03:00 - 10:03:30"]);
    }

    #[test]
    fn a_schedule_that_is_opened_anew_makes_the_abandoned_tick_again() {
        let run = Run { rules: rules(Missed::Skip, Overlap::Skip), start: "10:01:30", ..RUN };
        let context = run.context();
        context.progress.produced(1);
        context.progress.ended(1, None);
        let mut ticker = Ticker::new(context, run.rules, |_| Arc::new(Every(60)));
        let tick = block_on(ticker.next()).unwrap().unwrap();
        assert_eq!(tick.window, Some(Window { start: at("10:00:00"), end: at("10:01:00") }));
    }

    #[test]
    fn a_clock_that_jumps_repeats_no_tick_and_loses_no_window() {
        let forward = Run { jump: Some(("10:01:30", 600)), until: "10:13:30", ..RUN };
        check(
            "forward, latest",
            &forward,
            &["10:01:00: 10:00:00 - 10:01:00", "10:12:00: 10:01:00 - 10:12:00", "10:13:00: 10:12:00 - 10:13:00"],
        );
        let skip = rules(Missed::Skip, Overlap::Skip);
        check(
            "forward, skip",
            &Run { rules: skip, ..forward },
            &["10:01:00: 10:00:00 - 10:01:00", "10:13:00: 10:12:00 - 10:13:00"],
        );
        check(
            "back a little",
            &Run { jump: Some(("10:02:01", -90)), until: "10:03:30", ..RUN },
            &["10:01:00: 10:00:00 - 10:01:00", "10:02:00: 10:01:00 - 10:02:00", "10:03:00: 10:02:00 - 10:03:00"],
        );
        let back_far = Run { jump: Some(("10:02:01", -7200)), until: "10:02:30", ..RUN }.ticks();
        assert_eq!(
            &back_far[..4],
            [
                "10:01:00: 10:00:00 - 10:01:00",
                "10:02:00: 10:01:00 - 10:02:00",
                "08:03:00: 08:02:00 - 08:03:00",
                "08:04:00: 08:03:00 - 08:04:00",
            ]
        );
        check(
            "a mark of tomorrow",
            &Run { mark: Some("23:00:00"), until: "10:02:30", ..RUN },
            &["10:01:00: 10:00:00 - 10:01:00", "10:02:00: 10:01:00 - 10:02:00"],
        );
    }

    #[test]
    fn jitter_delays_a_tick_by_less_than_itself_and_leaves_the_window_alone() {
        let rules = Rules { jitter: Duration::from_secs(20), ..Rules::DEFAULT };
        let run = Run { rules, until: "10:20:30", ..RUN };
        let ticks = run.ticks();
        assert_eq!(ticks.len(), 20);
        assert_eq!(ticks, run.ticks());
        let mut delays: Vec<_> = ticks
            .iter()
            .map(|tick| {
                let (made, window) = tick.split_once(": ").unwrap();
                let end = window.split_once(" - ").unwrap().1;
                at(made).duration_since(at(end)).as_millis()
            })
            .collect();
        assert!(delays.iter().all(|delay| (0..20_000).contains(delay)), "{delays:?}");
        delays.dedup();
        assert!(delays.len() > 15);
    }

    #[test]
    fn a_slept_through_tick_is_noticed_within_a_minute() {
        // Only the time of day moves while a machine sleeps, so a long sleep of the program would last too long.
        let run = Run { mark: Some("00:00:00"), start: "00:00:00", ..RUN };
        let context = run.context();
        let clock = context.clock.clone();
        let mut ticker = Ticker::new(context, run.rules, |_| Arc::new(Every(86_400)));
        let mut next = ticker.next().boxed();
        assert!(block_on(poll_once(&mut next)).is_none());
        assert_eq!(clock.next_sleeper(), Some(SLEEP));
    }
}
