//! Long polls through the real program: events arrive as they happen, each at least once, over kills, failing sinks and
//! servers that have bad moments.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use support::gatherd::{Workplace, wait_for_lines};
use support::server::{Server, reply};
use support::{LIMIT, wait_until};

/// A server with a list of events, which holds its answer back until there are some after the cursor.
#[derive(Clone)]
struct Events {
    server: Server,
    state: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    count: usize,
    /// How long an answer is held back at most.
    hold: Duration,
    /// In place of an answer.
    bad: Option<&'static str>,
}

impl Events {
    fn start(hold: Duration) -> Self {
        let state = Arc::new((Mutex::new(State { count: 0, hold, bad: None }), Condvar::new()));
        let shared = state.clone();
        let server = Server::start(move |seen, connection| {
            let after: usize = seen.target.split_once("since=").unwrap().1.parse().unwrap();
            let (state, changed) = &*shared;
            let state = state.lock().unwrap();
            let hold = state.hold;
            let is_waiting = |state: &mut State| state.count <= after && state.bad.is_none();
            let (state, _) = changed.wait_timeout_while(state, hold, is_waiting).unwrap();
            let answer = match state.bad {
                Some(status) => reply(status, &[], ""),
                None if state.count <= after => reply("204 No Content", &[], ""),
                None => {
                    // Three at a time.
                    let next = state.count.min(after + 3);
                    let events: Vec<_> = (after + 1..=next).map(|id| format!("{{\"id\":{id}}}")).collect();
                    let body = format!("{{\"events\":[{}],\"next\":{next}}}", events.join(","));
                    reply("200 OK", &["content-type: application/json"], body)
                }
            };
            drop(state);
            connection.write_all(&answer)
        });
        Self { server, state }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
    }

    fn happen(&self, count: usize) {
        self.change(|state| state.count += count);
    }

    /// A pipeline from here to `to`.
    fn pipeline(&self, to: &str) -> Workplace {
        Workplace::new(&format!(
            r#"
            [pipeline.events]
            from  = {{ long_poll = {{
              url     = "{}?since={{.cursor}}",
              cursor  = ".next",
              items   = ".events[]",
              initial = 0,
            }} }}
            steps = [{{ map = ".id" }}]
            to    = [{{ {to} }}]
            "#,
            self.server.url("/events")
        ))
    }

    fn asked(&self) -> Vec<String> {
        self.server.seen().iter().map(|seen| seen.target.split_once("since=").unwrap().1.to_owned()).collect()
    }
}

#[test]
fn events_arrive_as_they_happen_and_the_next_are_asked_for_at_once() {
    let events = Events::start(LIMIT);
    let workplace = events.pipeline("file = \"out.ndjson\"");
    let daemon = workplace.start();
    events.happen(1);
    wait_for_lines(&workplace, "out.ndjson", 1);
    wait_until("the next question", || events.asked().len() == 2);
    events.happen(7);
    wait_for_lines(&workplace, "out.ndjson", 8);
    wait_until("the next question", || events.asked().last().unwrap() == "8");
    assert_eq!(daemon.stop().code(), Some(0), "a question that is on its way holds up no stop");
    assert_eq!(workplace.read("out.ndjson"), "1\n2\n3\n4\n5\n6\n7\n8\n");

    // What has settled is not asked for again.
    let asked = events.asked().len();
    events.happen(1);
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", 9);
    daemon.stop();
    assert_eq!(events.asked()[asked], "8");
}

#[test]
fn a_single_run_takes_what_is_there_and_ends_with_the_first_empty_answer() {
    let events = Events::start(Duration::from_millis(10));
    events.happen(7);
    let workplace = events.pipeline("file = \"out.ndjson\"");
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(events.asked(), ["0", "3", "6", "7"]);
    assert_eq!(workplace.read("out.ndjson").lines().count(), 7);
}

#[test]
fn kills_lose_no_event_that_its_sink_has_not_taken() {
    let events = Events::start(LIMIT);
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let shop = Server::start(move |_, connection| {
        let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        connection.write_all(&reply(status, &[], ""))
    });
    let sink =
        format!("http = {{ url = \"{}\", json = \".\" }}, retry = {{ base = \"5ms\", cap = \"5ms\" }}", shop.url("/"));
    let workplace = events.pipeline(&sink);
    for round in 1..=10 {
        events.happen(5);
        is_well.store(false, Ordering::SeqCst);
        let before = shop.seen().len();
        let daemon = workplace.start();
        wait_until("the sink fails", || shop.seen().len() > before);
        daemon.kill();
        is_well.store(true, Ordering::SeqCst);
        let daemon = workplace.start();
        let arrived = || shop.seen().iter().map(|seen| seen.body.clone()).collect::<BTreeSet<_>>().len();
        wait_until("all have been brought to the sink", || arrived() == 5 * round);
        // Also in the middle of what it took.
        daemon.kill();
    }
    is_well.store(true, Ordering::SeqCst);
    let before = shop.seen().len();
    let asked = events.asked().len();
    events.happen(1);
    let daemon = workplace.start();
    wait_until("the last one", || shop.seen()[before..].iter().any(|seen| seen.body == "51"));
    daemon.stop();
    let first: usize = events.asked()[asked].parse().unwrap();
    assert!(first <= 50, "asked after {first}");
    assert_eq!(workplace.dead_letters().len(), 0);
}

#[test]
fn a_server_with_a_bad_moment_is_asked_again_after_a_pause_and_nothing_is_lost() {
    let events = Events::start(LIMIT);
    let workplace = events.pipeline("file = \"out.ndjson\"");
    let daemon = workplace.start();
    for (number, status) in ["503 Service Unavailable", "404 Not Found", "401 Unauthorized"].iter().enumerate() {
        events.change(|state| state.bad = Some(status));
        let asked = events.asked().len();
        wait_until("it is asked again and again", || events.asked().len() > asked + 1);
        daemon.wait_for_log(&format!("the server answered {status}"));
        events.change(|state| state.bad = None);
        events.happen(1);
        wait_for_lines(&workplace, "out.ndjson", number + 1);
    }
    daemon.stop();
    assert_eq!(workplace.read("out.ndjson"), "1\n2\n3\n");
}

#[test]
fn empty_answers_are_asked_for_at_once_but_not_in_a_hot_loop() {
    let events = Events::start(Duration::ZERO);
    let workplace = events.pipeline("file = \"out.ndjson\"");
    let started = Instant::now();
    let daemon = workplace.start();
    wait_until("some questions", || events.asked().len() >= 5);
    // The pauses alone before the sixth: 100 + 200 + 400 + 800 ms, however fast the machine.
    wait_until("six questions", || events.asked().len() >= 6);
    assert!(started.elapsed() >= Duration::from_millis(1500), "{:?}", started.elapsed());
    events.happen(1);
    wait_for_lines(&workplace, "out.ndjson", 1);
    daemon.stop();
}
