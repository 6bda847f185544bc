//! A crawl through the real program: `config/examples/crawl.toml` against a site whose pages lead to each other, killed
//! again and again on its way.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::HashMap;
use std::fs;

use support::gatherd::{Running, Workplace};
use support::server::{Server, reply};
use support::wait_until;

/// How many links deep the example goes.
const DEEPEST: u32 = 3;

/// How many pages each page leads further to.
const CHILDREN: usize = 3;

/// The pages that many links deep and less: 1 + 3 + 9 + 27.
const PAGES: usize = 40;

/// How many pages gatherd has in flight: four are fetched at a time, and a batch of the sink is on its way to the disk.
const WINDOW: usize = 12;

/// A page of a site without end: it leads to its children, to its parent, to itself, and elsewhere.
fn page(number: usize) -> String {
    let children = (1..=CHILDREN).map(|child| format!("<li><a href='{}#top'>further</a>", number * CHILDREN + child));
    let parent = number.saturating_sub(1) / CHILDREN;
    format!(
        "<!doctype html><base href='/pages/'><a href='{parent}'>back</a> <a href='/pages/{number}'>here</a> \
         <a href='//other.example/'>elsewhere</a> <a href='mailto:me@site.example'>write</a> <ul>{}</ul>",
        children.collect::<String>()
    )
}

fn site() -> Server {
    Server::start(|seen, connection| {
        let number = seen.target.strip_prefix("/pages/").and_then(|number| number.parse().ok());
        let said = match number {
            Some(number) => reply("200 OK", &["content-type: text/html; charset=utf-8"], page(number)),
            None => reply("404 Not Found", &[], ""),
        };
        connection.write_all(&said)
    })
}

fn start(workplace: &Workplace, site: &Server) -> Running {
    let mut command = workplace.command(&["run", "--once", "gatherd.toml", "test.toml"]);
    command.env("SITE", site.url("/pages/0"));
    Running::start(command)
}

fn depth_of(number: usize) -> u32 {
    if number == 0 { 0 } else { 1 + depth_of((number - 1) / CHILDREN) }
}

#[test]
fn a_crawl_that_is_killed_again_and_again_has_every_page_once() {
    let site = site();
    let workplace = Workplace::new(&fs::read_to_string("config/examples/crawl.toml").unwrap());
    workplace.write("test.toml", "[service]\nallow = [\"127.0.0.1\"]\n");
    let kills = [1, 6, 15, 30];
    for count in kills {
        let running = start(&workplace, &site);
        wait_until(&format!("{count} pages are fetched"), || site.seen().len() >= count);
        running.kill();
    }
    let ended = start(&workplace, &site).end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    let expected: Vec<(String, u32)> =
        (0..PAGES).map(|number| (format!("/pages/{number}"), depth_of(number))).collect();
    assert_eq!(expected.last().unwrap().1, DEEPEST);
    assert_eq!(in_database(&workplace, &site), expected);

    let mut fetched: HashMap<String, usize> = HashMap::new();
    for seen in site.seen() {
        *fetched.entry(seen.target).or_default() += 1;
    }
    assert_eq!(fetched.len(), PAGES, "nothing deeper, and nothing else, was asked for: {fetched:?}");
    let again = site.seen().len() - PAGES;
    assert!(again <= kills.len() * WINDOW, "{again} pages were fetched again: {fetched:?}");

    // A crawl that is over finds nothing new.
    let before = site.seen().len();
    assert_eq!(start(&workplace, &site).end().code(), Some(0));
    assert_eq!(site.seen().len(), before);
}

/// The path and depth of every page, by number.
fn in_database(workplace: &Workplace, site: &Server) -> Vec<(String, u32)> {
    let database = rusqlite::Connection::open(workplace.path("pages.db")).unwrap();
    let mut query = database
        .prepare(
            "SELECT replace(url, ?1, ''), depth FROM pages ORDER BY CAST(replace(url, ?1 || '/pages/', '') AS INT)",
        )
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    query.query_map([site.url("")], row).unwrap().map(Result::unwrap).collect()
}
