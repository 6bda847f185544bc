//! robots.txt: what a site asks crawlers not to fetch (RFC 9309). Asked for with `robots = true`.
//!
//! A site's file is fetched once, by a task of its own; until it is there, requests to the site are told to come again.

mod rules;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use surf::http::Method;
use url::Url;

use self::rules::{Rules, product_token};
use super::Meter;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::request::Request;
use super::route::Route;
use super::settings::Limits;
use super::status::is_success;
use super::trust::Pair;
use crate::model::{Fault, FaultKind, Size, Verdict, show_duration};
use crate::runtime;

/// How long a file holds (RFC 9309, section 2.4).
const HOLDS: Duration = Duration::from_secs(24 * 3600);

/// How soon a request comes again whose site's file is being fetched.
const FETCH_CHECK: Duration = Duration::from_millis(50);

/// A site whose file cannot be read is not fetched from for this long, and then twice as long each time.
const FIRST_CLOSED: Duration = Duration::from_secs(60);
const LONGEST_CLOSED: Duration = Duration::from_secs(3600);

/// With more sites than this, those whose file no longer holds are forgotten; with as many that hold, all are.
const SITES_REMEMBERED: usize = 4096;

/// How much of a file is taken in at all, and how many redirects lead to it (section 2.3.1.2).
const MAX_FILE: Size = Size::mib(8);
const REDIRECTS: usize = 5;

/// What a client knows of the files of its sites.
pub(super) struct Robots {
    /// How the files call us.
    token: String,
    sites: Mutex<HashMap<String, Site>>,
}

#[derive(Clone)]
enum Site {
    /// Its file is being fetched.
    Asking,
    /// Its file may be asked for again from then on.
    Later {
        at: Instant,
    },
    Known {
        rules: Arc<Rules>,
        until: Instant,
    },
    /// Its file cannot be read, which closes the site for a time (section 2.3.1.4).
    Closed {
        until: Instant,
        cause: Arc<str>,
        times: u32,
    },
}

impl Robots {
    pub(super) fn new(user_agent: &HeaderValue) -> Self {
        let token = product_token(user_agent.to_str().unwrap_or_default()).to_owned();
        Self { token, sites: Mutex::default() }
    }

    fn sites(&self) -> MutexGuard<'_, HashMap<String, Site>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    /// Whether the robots.txt of its site lets this URL be fetched; begins to fetch the file if it is not there. The
    /// failure has the kind [`FaultKind::Robots`] if the file says no.
    pub(super) fn ask_robots(&self, url: &Url) -> Result<(), Failure> {
        let now = self.client.clock.instant();
        let origin = url.origin().ascii_serialization();
        let robots = &self.client.robots;
        let mut sites = robots.sites();
        let not_yet = |at| {
            let cause = "the robots.txt of its site is being fetched";
            Err(Failure { kind: FaultKind::Wait, verdict: Verdict::NotBefore(at), cause: cause.to_owned() })
        };
        match sites.get(&origin) {
            Some(Site::Known { rules, until }) if *until > now => {
                let rules = rules.clone();
                drop(sites);
                let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
                return if rules.allow(path) {
                    Ok(())
                } else {
                    let cause = format!("the robots.txt of its site asks `{}` not to", robots.token);
                    Err(Failure::reject(FaultKind::Robots, cause))
                };
            }
            Some(Site::Closed { until, cause, .. }) if *until > now => {
                let wait = show_duration(Duration::from_secs(until.duration_since(now).as_secs() + 1));
                let cause =
                    format!("its site is not fetched from for {wait}, since its robots.txt cannot be read: {cause}");
                let verdict = Verdict::Retry { not_before: Some(*until) };
                return Err(Failure { kind: FaultKind::Status, verdict, cause });
            }
            Some(Site::Asking) => return not_yet(now + FETCH_CHECK),
            Some(Site::Later { at }) if *at > now => return not_yet(*at),
            _ => {}
        }
        let times = match sites.get(&origin) {
            Some(Site::Closed { times, .. }) => *times,
            _ => 0,
        };
        if sites.len() >= SITES_REMEMBERED {
            sites.retain(|_, site| site.holds(now));
            if sites.len() >= SITES_REMEMBERED {
                sites.clear();
            }
        }
        sites.insert(origin.clone(), Site::Asking);
        drop(sites);
        let asking = self.clone();
        let file = url.join("/robots.txt").unwrap_or_else(|_| url.clone());
        // Nobody joins it: what it finds stands in the table.
        drop(runtime::spawn(async move {
            let client = asking.client.clone();
            let site = asking.fetch_robots(file, times).await;
            client.robots.sites().insert(origin, site);
        }));
        not_yet(now + FETCH_CHECK)
    }

    async fn fetch_robots(mut self, file: Url, times: u32) -> Site {
        self.robots = false;
        let limits = Limits { max_body: MAX_FILE, redirects: REDIRECTS, ..self.route.limits };
        self.route = Arc::new(Route { limits, ..(*self.route).clone() });
        let pair = Pair::of(&file);
        let answered = self.send(Box::new(Request::new(Method::Get, file)), &Meter::uncounted()).await;
        let now = self.client.clock.instant();
        let closed = |cause: &str| {
            let wait = FIRST_CLOSED.saturating_mul(1 << times.min(16)).min(LONGEST_CLOSED);
            Site::Closed { until: now + wait, cause: cause.into(), times: times + 1 }
        };
        let rules = match answered {
            Err(Fault { verdict: Verdict::NotBefore(at), .. }) => return Site::Later { at },
            // More redirects than the standard asks to follow, or in a rehearsal no reply: as if there were no file.
            Err(Fault { kind: FaultKind::Redirect | FaultKind::Request, .. }) => Rules::default(),
            Err(fault) => return closed(&fault.message),
            Ok(response) if response.status == 429 || response.status >= 500 => {
                return closed(&format!("the server answered {}", response.status));
            }
            Ok(response) if !is_success(response.status) => Rules::default(),
            Ok(response) => match response.body {
                Ok(body) => Rules::read(&body, &self.client.robots.token),
                Err(fault) => return closed(&fault.message),
            },
        };
        if let Some(pair) = pair {
            self.client.admission.keep_crawl_delay(&pair, rules.delay(), now);
        }
        Site::Known { rules: Arc::new(rules), until: now + HOLDS }
    }
}

impl Site {
    fn holds(&self, now: Instant) -> bool {
        match self {
            Site::Asking => true,
            Site::Later { .. } => false,
            Site::Known { until, .. } | Site::Closed { until, .. } => *until > now,
        }
    }
}
