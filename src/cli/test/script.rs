//! The servers of a test: replies that are known beforehand, and a list of what was asked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::read::{Answer, AnswerOutcome};
use crate::http::{NoReply, Script, ScriptedReply, Sent, Url};
use crate::runtime::Clock;

/// Answers as a test says.
pub(super) struct TestServers {
    answers: Vec<Answer>,
    clock: Clock,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    requests: Vec<Sent>,
    unexpected: Vec<String>,
    /// How often each request was made.
    asked: HashMap<String, usize>,
}

/// How a request is called: `GET https://a.example/x`.
pub(in crate::cli) fn line(method: &str, url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    format!("{} {url}", method.to_ascii_uppercase())
}

impl TestServers {
    pub(super) fn new(answers: Vec<Answer>, clock: Clock) -> Self {
        Self { answers, clock, log: Mutex::default() }
    }

    /// All requests, in the order in which they came.
    pub(super) fn requests(&self) -> Vec<Sent> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).requests.clone()
    }

    /// The requests that the test has no reply to, each once.
    pub(super) fn unexpected(&self) -> Vec<String> {
        let mut unexpected = self.log.lock().unwrap_or_else(PoisonError::into_inner).unexpected.clone();
        unexpected.sort();
        unexpected.dedup();
        unexpected
    }

    fn next(&self, sent: Sent) -> Option<Answer> {
        let line = line(&sent.method, &sent.url);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.requests.push(sent);
        let answers: Vec<&Answer> = self.answers.iter().filter(|answer| answer.to == line).collect();
        let asked = log.asked.entry(line.clone()).or_default();
        let answer = answers.get(*asked).or(answers.last()).map(|answer| (*answer).clone());
        *asked += 1;
        if answer.is_none() {
            log.unexpected.push(line);
        }
        answer
    }
}

#[async_trait]
impl Script for TestServers {
    async fn reply(&self, sent: Sent) -> Result<ScriptedReply, NoReply> {
        let Answer { after, outcome, .. } = self.next(sent).ok_or(NoReply::Unexpected)?;
        if !after.is_zero() {
            self.clock.sleep(after).await;
        }
        match outcome {
            AnswerOutcome::Reply(reply) => Ok(reply),
            AnswerOutcome::None(none) => Err(none),
            AnswerOutcome::Silent => std::future::pending().await,
        }
    }
}
