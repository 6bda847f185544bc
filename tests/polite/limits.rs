//! Servers that say how much they take, and count what is too much.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::check_each;
use crate::support::gatherd::Workplace;
use crate::support::nginx::Nginx;
use crate::support::server::{self, Server, reply};

/// How many requests a server has taken, and how many were too many.
#[derive(Default)]
struct Count {
    taken: usize,
    too_many: usize,
}

/// A window of a rate limit.
struct Window {
    began: Instant,
    left: usize,
}

/// A server that takes `limit` requests in each window of `length`, and answers as `describe` says: headers made of how
/// many are left and of how long the window lasts. What is too much is a 429.
fn limited(
    limit: usize,
    length: Duration,
    describe: impl Fn(usize, Duration) -> Vec<String> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Count>>) {
    let count = Arc::new(Mutex::new(Count::default()));
    let counted = count.clone();
    let window: Mutex<Option<Window>> = Mutex::default();
    let server = Server::start(move |seen, connection| {
        let mut window = window.lock().unwrap();
        if window.as_ref().is_none_or(|window| window.began.elapsed() >= length) {
            *window = Some(Window { began: Instant::now(), left: limit });
        }
        let Window { began, left } = window.as_mut().unwrap();
        let is_taken = *left > 0;
        *left -= usize::from(is_taken);
        let headers = describe(*left, length.saturating_sub(began.elapsed()));
        drop(window);
        let mut counted = counted.lock().unwrap();
        counted.taken += usize::from(is_taken);
        counted.too_many += usize::from(!is_taken);
        drop(counted);
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let status = if is_taken { "200 OK" } else { "429 Too Many Requests" };
        connection.write_all(&reply(status, &headers, &seen.target[1..]))
    });
    (server, count)
}

/// Seconds, upwards.
fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000) as u64
}

/// Runs so many items through `step`, and expects each to be delivered once.
#[track_caller]
fn all_arrive(what: &str, items: usize, step: &str, more: &str) {
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.all]
        from  = {{ items = {{ range = [1, {items}] }} }}
        steps = [{step}, {{ map = "tonumber" }}]
        to    = [{{ file = "out.ndjson" }}]
        {more}
        "#
    ));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{what}: {ended:?}");
    let mut arrived: Vec<u64> = workplace.values("out.ndjson").iter().map(|id| id.as_u64().unwrap()).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=items as u64).collect::<Vec<_>>(), "{what}");
}

/// The headers that tell how many are left, and for how long.
type Describe = fn(usize, Duration) -> Vec<String>;
type BoxedDescribe = Box<dyn Fn(usize, Duration) -> Vec<String> + Send + Sync>;

#[test]
fn in_a_storm_of_429s_everything_arrives_and_the_pace_settles_at_the_limit() {
    let http_date = |left: Duration| {
        let at = jiff::Timestamp::try_from(SystemTime::now() + left + Duration::from_secs(1)).unwrap();
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
    };
    let dated: BoxedDescribe = Box::new(move |_, left| vec![format!("retry-after: {}", http_date(left))]);
    let cases: [(&str, BoxedDescribe); 3] = [
        ("without a word", Box::new(|_, _| Vec::new())),
        ("with seconds", Box::new(|_, left| vec![format!("retry-after: {}", seconds(left))])),
        ("with a date", dated),
    ];
    for (what, describe) in cases {
        const ITEMS: usize = 200;
        let (server, count) = limited(30, Duration::from_secs(1), describe);
        let step = format!(r#"{{ get = {{ url = "{}/{{.}}", as = "text" }} }}"#, server.url(""));
        all_arrive(what, ITEMS, &step, "");
        let count = count.lock().unwrap();
        assert_eq!(count.taken, ITEMS, "{what}");
        assert!(count.too_many * 5 <= ITEMS, "{what}: {} were too many", count.too_many);
    }
}

#[test]
fn what_a_server_says_is_left_is_kept_to() {
    let cases: [(&str, Describe); 6] = [
        ("three fields of the IETF's first drafts", |left, reset| {
            let reset = seconds(reset);
            vec![
                "ratelimit-limit: 4, 4;w=2".into(),
                format!("ratelimit-remaining: {left}"),
                format!("ratelimit-reset: {reset}"),
            ]
        }),
        ("the dictionary of draft 7", |left, reset| {
            vec![format!("ratelimit: limit=4, remaining={left}, reset={}", seconds(reset))]
        }),
        ("the list of later drafts", |left, reset| {
            vec![format!("ratelimit: \"burst\";r={left};t={}, \"day\";r=5000;t=80000", seconds(reset))]
        }),
        ("X-RateLimit with seconds", |left, reset| {
            vec![format!("x-ratelimit-remaining: {left}"), format!("x-ratelimit-reset: {}", seconds(reset))]
        }),
        ("X-RateLimit with a time, as GitHub has it", |left, reset| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let reset = now + reset;
            vec![
                "x-ratelimit-limit: 4".into(),
                format!("x-ratelimit-remaining: {left}"),
                format!("x-ratelimit-reset: {}", reset.as_millis().div_ceil(1000)),
            ]
        }),
        ("X-RateLimit with a fraction", |left, reset| {
            vec![format!("x-ratelimit-remaining: {left}"), format!("x-ratelimit-reset-after: {}", reset.as_secs_f64())]
        }),
    ];
    check_each(&cases, |(what, describe)| {
        let (server, count) = limited(4, Duration::from_secs(2), *describe);
        let step = format!(r#"{{ get = {{ url = "{}/{{.}}", as = "text" }} }}"#, server.url(""));
        all_arrive(what, 10, &step, "");
        let count = count.lock().unwrap();
        assert_eq!(count.taken, 10, "{what}");
        // Where the two clocks disagree about when the budget begins anew, a request may come too soon.
        assert!(count.too_many <= 1, "{what}: {} too many", count.too_many);
    });
    // Who does not want that says so.
    let (server, count) = limited(4, Duration::from_secs(1), cases[3].1);
    let step = format!(r#"{{ get = {{ via = "own", url = "{}/{{.}}", as = "text" }} }}"#, server.url(""));
    all_arrive("rate_headers = false", 10, &step, "[http.own]\nrate_headers = false");
    assert!(count.lock().unwrap().too_many > 0);
}

#[test]
fn a_403_that_refuses_too_many_requests_is_waited_out_and_any_other_is_not() {
    let cases: [(&str, &'static [&'static str], bool); 5] = [
        ("a time to come again", &["retry-after: 1"], true),
        ("nothing left, as GitHub has it", &["x-ratelimit-remaining: 0", "x-ratelimit-reset: 1"], true),
        ("nothing left, as the drafts have it", &["ratelimit: limit=5, remaining=0, reset=1"], true),
        ("something left", &["x-ratelimit-remaining: 7", "x-ratelimit-reset: 1"], false),
        ("no word of it", &[], false),
    ];
    check_each(&cases, |(what, headers, arrives)| {
        let refusal = *headers;
        let asked = Mutex::new(0);
        let server = Server::start(move |_, connection| {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            let status = if *asked == 1 { "403 Forbidden" } else { "200 OK" };
            connection.write_all(&reply(status, if *asked == 1 { refusal } else { &[] }, "1"))
        });
        let workplace = Workplace::new(&format!(
            r#"
            [pipeline.all]
            from  = {{ items = [1] }}
            steps = [{{ get = "{}" }}]
            to    = [{{ file = "out.ndjson" }}]
            "#,
            server.url("/")
        ));
        let ended = workplace.run_once();
        let (arrived, dead) = (workplace.values("out.ndjson").len(), workplace.dead_letters().len());
        assert_eq!((arrived, dead), if *arrives { (1, 0) } else { (0, 1) }, "{what}: {ended:?}");
    });
}

#[test]
fn rates_hold_for_a_client_and_for_each_host_and_let_a_burst_pass() {
    // What stands in the client, how many requests each of two hosts gets, and how many milliseconds they take at least:
    // two thirds of the rate's time, since the first may be late in arriving.
    let cases: [(&str, &str, usize, u64); 5] = [
        ("rate", r#"rate = "20/s""#, 15, 300),
        ("rate and burst", "rate = \"20/s\"\nburst = 1", 10, 600),
        ("rate per host", r#"per_host_rate = "10/s""#, 20, 600),
        ("rate per host and burst", "per_host_rate = \"10/s\"\nburst = 15", 20, 250),
        ("both", "rate = \"100/s\"\nper_host_rate = \"10/s\"", 20, 600),
    ];
    check_each(&cases, |(what, settings, requests, least)| {
        let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let servers = [1, 2].map(|n| {
            let times = times.clone();
            Server::start_at(&format!("127.0.7.{n}"), move |_, connection| {
                times.lock().unwrap().push(Instant::now());
                connection.write_all(&server::json("1"))
            })
        });
        for default in [false, true] {
            times.lock().unwrap().clear();
            let (section, via) = if default { ("service.http", "") } else { ("http.own", "via = 'own', ") };
            let workplace = Workplace::new(&format!(
                r#"
                [service]
                allow = ["127.0.7.0/24"]

                [{section}]
                {settings}

                [pipeline.all]
                from  = {{ lines = "urls.txt" }}
                steps = [{{ get = {{ {via}url = "{{.}}" }} }}]
                to    = [{{ file = "out.ndjson" }}]
                "#
            ));
            let urls = (0..*requests).flat_map(|n| servers.iter().map(move |server| server.url(&format!("/{n}\n"))));
            workplace.write("urls.txt", urls.collect::<String>());
            let ended = workplace.run_once();
            assert_eq!(ended.code(), Some(0), "{what}: {ended:?}");
            let times = times.lock().unwrap();
            assert_eq!(times.len(), 2 * requests, "{what}");
            let took = *times.iter().max().unwrap() - *times.iter().min().unwrap();
            assert!(took >= Duration::from_millis(*least), "{what}: {took:?}");
        }
    });
}

#[test]
fn a_503_holds_up_its_item_and_a_429_its_host() {
    for (status, holds_up_all) in [("503 Service Unavailable", false), ("429 Too Many Requests", true)] {
        let times: Arc<Mutex<Vec<(String, Instant)>>> = Arc::default();
        let noted = times.clone();
        let server = Server::start(move |seen, connection| {
            let mut times = noted.lock().unwrap();
            let is_first = !times.iter().any(|(target, _)| *target == seen.target);
            times.push((seen.target.clone(), Instant::now()));
            drop(times);
            if seen.target == "/1" && is_first {
                return connection.write_all(&reply(status, &["retry-after: 2"], ""));
            }
            connection.write_all(&reply("200 OK", &[], &seen.target[1..]))
        });
        let step = format!(r#"{{ get = {{ url = "{}/{{.}}", as = "text" }} }}"#, server.url(""));
        all_arrive(status, 40, &step, "");
        let times = times.lock().unwrap();
        let refused = times.iter().find(|(target, _)| target == "/1").unwrap().1;
        let early = times.iter().filter(|(_, at)| *at - refused < Duration::from_millis(1900)).count();
        // What was on its way when the refusal came is not held up.
        assert_eq!(early < 30, holds_up_all, "{status}: {early} requests within the time of `Retry-After`");
    }
}

#[test]
fn a_rule_pauses_the_host_and_the_item_comes_again() {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = times.clone();
    let server = Server::start(move |seen, connection| {
        let mut times = noted.lock().unwrap();
        times.push(Instant::now());
        let is_first = times.len() == 1;
        drop(times);
        let target = &seen.target[1..];
        let body = if is_first { r#"{"error":"quota"}"#.to_owned() } else { format!(r#"{{"id":{target}}}"#) };
        connection.write_all(&server::json(&body))
    });
    let step = format!(
        r#"{{ get = "{}/{{.}}", on = [{{ when = '.error == "quota"', do = "pause", for = "1500ms" }}] }},
           {{ map = ".id | tostring" }}"#,
        server.url("")
    );
    all_arrive("pause", 10, &step, "");
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 11);
    assert!(times[1] - times[0] >= Duration::from_millis(1400), "{:?}", times[1] - times[0]);
}

#[test]
fn nginx_with_limit_req_lets_everything_through_in_its_time() {
    const ITEMS: usize = 60;
    // What nginx answers beyond its 20 requests a second, what stands in the client, and the most that it refuses.
    for (status, client, most) in [(429, "", 30), (503, "rate = '15/s'\nburst = 5", 0)] {
        let origin = Server::start(|seen, connection| connection.write_all(&reply("200 OK", &[], &seen.target[1..])));
        let zone = "limit_req_zone $server_name zone=all:1m rate=20r/s;";
        let server = format!(
            "location / {{ limit_req zone=all burst=5 nodelay; limit_req_status {status}; proxy_pass http://{}; }}",
            origin.address
        );
        let Some(nginx) = Nginx::start(zone, &server) else { return };
        let workplace = Workplace::new(&format!(
            r#"
            [http.own]
            {client}

            [pipeline.all]
            from  = {{ items = {{ range = [1, {ITEMS}] }} }}
            steps = [{{ get = {{ via = "own", url = "http://{}/{{.}}" }} }}]
            to    = [{{ file = "out.ndjson" }}]
            "#,
            nginx.address
        ));
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(0), "{status}: {ended:?}");
        assert_eq!(workplace.read("out.ndjson").lines().count(), ITEMS);
        assert_eq!(origin.seen().len(), ITEMS, "{status}: each was asked for once behind nginx");
        let retries = ended.stderr.split(", ").find_map(|part| part.strip_suffix(" retries")?.parse().ok());
        assert!(retries.unwrap_or(0) <= most, "{status}: {}", ended.stderr);
    }
}
