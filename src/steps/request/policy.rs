//! What becomes of an item by the reply it got: the author's `on` rules, then the defaults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::component::{FilterFault, Reason};
use crate::expr::{Filter, Scope};
use crate::http::{Method, Ticket, Url, answered, is_success, is_transient};
use crate::model::{Fault, FaultKind, Reply, Value, Verdict};
use crate::settings::Section;

/// What a request came to.
pub(super) struct Answer {
    pub method: Method,
    pub url: Url,
    /// Where the reply came from, after redirects.
    pub from: Url,
    /// The reply's value; null if none came or it could not be read.
    pub value: Value,
    pub reply: Arc<Reply>,
    /// Why no reply came, or why it could not be read.
    pub fault: Option<Fault>,
    /// What the request was signed with.
    pub ticket: Option<Ticket>,
    /// When the server wants to be asked again.
    pub not_before: Option<Instant>,
}

/// What a rule does with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Pass,
    Filter,
    Retry,
    Reject,
    RefreshAuth,
    Pause,
}

/// The words for actions, as `on` and `gatherd explain --errors` use them.
const ACTIONS: [(&str, Action); 6] = [
    ("pass", Action::Pass),
    ("filter", Action::Filter),
    ("retry", Action::Retry),
    ("reject", Action::Reject),
    ("refresh_auth", Action::RefreshAuth),
    ("pause", Action::Pause),
];

/// How long a host is paused unless the rule says so.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Rule {
    when: Filter,
    action: Action,
    /// How long the action `pause` lasts.
    pause: Duration,
}

/// The first rule that matches decides; if none does, the defaults do.
#[derive(Clone)]
pub(super) struct Policy {
    rules: Vec<Rule>,
}

/// What the policy says of an answer.
#[derive(Debug)]
pub(super) enum Decision {
    Pass,
    Filter(Reason),
    Fail(Fault),
    /// No request goes to the host for this long, and the item comes again then. The fault says why.
    Pause(Duration, Fault),
    /// The client signs in anew, and the request is sent again. The fault is for a request that is refused even so.
    RefreshAuth(Fault),
}

impl Policy {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        const ABOUT: &str =
            "what to do with replies and faults; the first rule that matches decides, then the defaults";
        let rules = section.tables_beside("on", ABOUT, |section| {
            const WHEN: &str = "a filter over the reply (null if none came), such as \"labels.status == 404\" or \
                                \"labels.fault == \\\"timeout\\\"\"";
            let when = section.required("when", WHEN);
            let action = section.required_choice("do", &ACTIONS, "what to do with the item");
            const FOR: &str =
                "how long `do = \"pause\"` pauses the requests to the host; longer if `Retry-After` says so";
            let pause = if action == Some(Action::Pause) {
                section.or("for", PAUSE, FOR)
            } else {
                let given = section.optional("for", FOR);
                if given.is_some() && action.is_some() {
                    let way_out = "write `do = \"pause\"`, or remove `for`";
                    section.mistake("for", "only a pause lasts for a time", way_out);
                }
                given.unwrap_or(PAUSE)
            };
            Some(Rule { when: when?, action: action?, pause })
        });
        Self { rules }
    }

    /// Whether a rule says that the client is to sign in anew.
    pub(super) fn refreshes_auth(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::RefreshAuth)
    }

    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// One row a rule: what happened, and what is done.
    pub(super) fn table(&self) -> Vec<(String, String)> {
        let word = |action| ACTIONS.iter().find(|(_, other)| *other == action).map_or("", |(word, _)| word);
        let rules = self.rules.iter().map(|rule| (format!("`{}`", rule.when.source()), word(rule.action).to_owned()));
        let defaults = [
            ("no reply: the fault is dns, connect, tls, timeout or disconnect", "retry"),
            ("a body that was cut short or did not end in time", "retry"),
            ("status 408, 425, 429, 500 and above", "retry, not before `Retry-After`"),
            ("status 403 with `Retry-After`, or with nothing left by `RateLimit-*` or `X-RateLimit-*`", "retry then"),
            ("any other status but 2xx", "reject"),
            ("a body that is too large, or not what its headers say", "reject"),
            ("the fault is redirect, forbidden or request", "reject"),
            ("the fault is robots", "filter"),
            ("status 2xx", "pass"),
        ];
        rules.chain(defaults.map(|(event, action)| (event.to_owned(), action.to_owned()))).collect()
    }

    /// `scope` has the reply's labels.
    pub(super) fn decide(&self, answer: &Answer, scope: &Scope<'_>) -> Result<Decision, FilterFault> {
        for rule in &self.rules {
            let matches = rule.when.test(&answer.value, scope);
            if matches.map_err(|error| FilterFault::new("when", error, scope.fuel))? {
                return Ok(answer.decision(rule));
            }
        }
        Ok(answer.default_decision())
    }
}

impl Answer {
    fn decision(&self, rule: &Rule) -> Decision {
        let verdict = match rule.action {
            Action::Pass => return Decision::Pass,
            Action::Filter => return Decision::Filter(Reason::Policy),
            Action::Retry | Action::Pause => Verdict::Retry { not_before: self.not_before },
            Action::Reject | Action::RefreshAuth => Verdict::Reject,
        };
        let fault = match &self.fault {
            Some(fault) => Fault { verdict, ..fault.clone() },
            None => self.refusal(verdict, &format!(", on which the rule `{}` acts", rule.when.source())),
        };
        match rule.action {
            Action::RefreshAuth => Decision::RefreshAuth(fault),
            Action::Pause => Decision::Pause(rule.pause, fault),
            _ => Decision::Fail(fault),
        }
    }

    pub(super) fn default_decision(&self) -> Decision {
        match (self.reply.status, &self.fault) {
            (Some(status), _) if is_transient(status, &self.reply.headers) => {
                Decision::Fail(self.refusal(Verdict::Retry { not_before: self.not_before }, ""))
            }
            (Some(status), _) if !is_success(status) => Decision::Fail(self.refusal(Verdict::Reject, "")),
            (_, Some(fault)) if fault.kind == FaultKind::Robots => Decision::Filter(Reason::Robots),
            (_, Some(fault)) => Decision::Fail(fault.clone()),
            (_, None) => Decision::Pass,
        }
    }

    /// The fault that the server's answer is.
    fn refusal(&self, verdict: Verdict, why: &str) -> Fault {
        let status = self.reply.status.unwrap_or_default();
        let message = answered(self.method, &self.url, status, why, &self.value);
        Fault::new(FaultKind::Status, verdict, message)
    }
}
