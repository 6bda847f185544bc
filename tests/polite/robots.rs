//! robots.txt.

use std::time::{Duration, Instant};

use crate::support::gatherd::{Ended, Workplace};
use crate::support::server::{self, Server, reply};

/// A site with this reply for its robots.txt; other pages are 1, and `/away` redirects to `/private/away`.
fn site(robots: Vec<u8>) -> Server {
    Server::start(move |seen, connection| match &*seen.target {
        "/robots.txt" => connection.write_all(&robots),
        "/away" => connection.write_all(&reply("302 Found", &["location: /private/away"], "")),
        _ => connection.write_all(&server::json("1")),
    })
}

/// Fetches these paths of a site, and answers how that ended and which were fetched, in order of their names.
fn crawl(site: &Server, paths: &[&str], settings: &str, client: &str) -> (Workplace, Ended, Vec<String>) {
    let items: Vec<String> = paths.iter().map(|path| format!("'{}'", site.url(path))).collect();
    let workplace = Workplace::new(&format!(
        r#"
        [http.crawler]
        base = "{}"
        {client}

        [pipeline.crawl]
        from  = {{ items = [{}] }}
        steps = [{{ get = {{ via = "crawler", url = "{{.}}", allow = ["127.0.0.1"], {settings} }}, retry = {{ tries = 1 }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#,
        site.url(""),
        items.join(", "),
    ));
    let ended = workplace.run_once();
    let mut fetched: Vec<String> = site.seen().into_iter().map(|seen| seen.target).collect();
    fetched.retain(|target| target != "/robots.txt");
    fetched.sort_unstable();
    (workplace, ended, fetched)
}

const RULES: &str = "User-agent: *\nDisallow: /private/\nAllow: /private/open$\n\n\
                     User-agent: shy\nDisallow: /\n\nUser-agent: slow\nCrawl-delay: 1\n";

#[test]
fn what_a_site_asks_not_to_fetch_is_filtered_and_its_file_is_fetched_once() {
    let site = site(reply("200 OK", &["content-type: text/plain"], RULES));
    let paths = ["/a", "/b?q=1", "/private/x", "/private/open", "/private/open/x", "/away"];
    let (workplace, ended, fetched) = crawl(&site, &paths, "robots = true", "");
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    // The redirect itself may be fetched, and what it leads to may not.
    assert_eq!(fetched, ["/a", "/away", "/b?q=1", "/private/open"]);
    assert_eq!(workplace.read("out.ndjson").lines().count(), 3);
    assert!(ended.stderr.contains("3 filtered (robots 3)"), "{}", ended.stderr);
    let files = site.seen().iter().filter(|seen| seen.target == "/robots.txt").count();
    assert_eq!(files, 1);
}

#[test]
fn the_rules_are_those_for_our_own_name_and_hold_only_where_they_are_asked_for() {
    // The step's settings, the client's, and how many of two pages are fetched.
    let cases = [
        ("", "", 2),
        ("robots = true", "", 1),
        ("", "robots = true", 1),
        ("robots = false", "robots = true", 2),
        ("", "robots = true\nuser_agent = 'Shy/2.0 (+https://shy.example)'", 0),
    ];
    for (step, client, expected) in cases {
        let site = site(reply("200 OK", &[], RULES));
        let (_, ended, fetched) = crawl(&site, &["/a", "/private/x"], step, client);
        assert_eq!((ended.code(), fetched.len()), (Some(0), expected), "{step} {client}: {ended:?}");
    }
}

#[test]
fn a_file_that_is_not_there_allows_all_and_one_that_cannot_be_read_nothing() {
    for (status, is_open) in [
        ("404 Not Found", true),
        ("403 Forbidden", true),
        ("429 Too Many Requests", false),
        ("500 Internal Server Error", false),
        ("503 Service Unavailable", false),
    ] {
        let site = site(reply(status, &[], "User-agent: *\nDisallow: /\n"));
        let (workplace, ended, fetched) = crawl(&site, &["/a", "/private/x"], "robots = true", "");
        if is_open {
            assert_eq!((ended.code(), fetched.len()), (Some(0), 2), "{status}: {ended:?}");
        } else {
            assert_eq!((ended.code(), fetched.len()), (Some(1), 0), "{status}: {ended:?}");
            for letter in workplace.dead_letters() {
                let message = letter["fault"]["message"].as_str().unwrap();
                assert!(message.contains("robots.txt cannot be read"), "{status}: {message}");
            }
        }
    }
}

#[test]
fn a_crawl_delay_is_kept() {
    let times = std::sync::Arc::<std::sync::Mutex<Vec<Instant>>>::default();
    let noted = times.clone();
    let site = Server::start(move |seen, connection| {
        if seen.target == "/robots.txt" {
            return connection.write_all(&reply("200 OK", &[], RULES));
        }
        noted.lock().unwrap().push(Instant::now());
        connection.write_all(&server::json("1"))
    });
    let (_, ended, fetched) = crawl(&site, &["/a", "/b", "/c"], "robots = true", "user_agent = 'slow'");
    assert_eq!((ended.code(), fetched.len()), (Some(0), 3), "{ended:?}");
    let times = times.lock().unwrap();
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(900)), "{gaps:?}");
}
