//! A config in outline: what is compared with another one to tell what a change would do.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::Assembled;
use super::load::{HostLoad, loads};
use crate::model::Fingerprint;

/// What a config says, as far as another one can differ from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// Fingerprints by name.
    pub pipelines: BTreeMap<String, String>,
    /// Of what only a start reads of `[service]`.
    pub service: BTreeMap<String, String>,
    pub loads: Vec<HostLoad>,
}

/// What going over from one config to another does, by the names of pipelines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub starts: Vec<String>,
    pub restarts: Vec<String>,
    pub stops: Vec<String>,
    /// Those that go on.
    pub unchanged: Vec<String>,
    /// Settings of `[service]` that only the next start reads.
    pub need_restart: Vec<String>,
}

impl Assembled {
    pub fn outline(&self) -> Outline {
        let hex = |fingerprint: &Fingerprint| HEXLOWER.encode(fingerprint.as_ref());
        Outline {
            pipelines: self.pipelines.iter().map(|plan| (plan.name.to_string(), hex(&plan.fingerprint))).collect(),
            service: self.service.read_at_start().map(|(key, fingerprint)| (key.clone(), hex(fingerprint))).collect(),
            loads: loads(self),
        }
    }
}

impl Outline {
    /// What going over to this config from `before` does.
    pub fn difference(&self, before: &Self) -> Difference {
        let names = |is_meant: &dyn Fn(Option<&String>, Option<&String>) -> bool| -> Vec<String> {
            let all: BTreeSet<&String> = self.pipelines.keys().chain(before.pipelines.keys()).collect();
            let meant = |name: &&&String| is_meant(before.pipelines.get(**name), self.pipelines.get(**name));
            all.iter().filter(meant).map(|name| (*name).clone()).collect()
        };
        let keys: BTreeSet<&String> = self.service.keys().chain(before.service.keys()).collect();
        Difference {
            starts: names(&|before, after| before.is_none() && after.is_some()),
            restarts: names(&|before, after| before.is_some() && after.is_some() && before != after),
            stops: names(&|_, after| after.is_none()),
            unchanged: names(&|before, after| before == after),
            need_restart: keys
                .into_iter()
                .filter(|key| self.service.get(*key) != before.service.get(*key))
                .cloned()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_are_told_apart_by_name_and_fingerprint() {
        let outline = |pipelines: &[(&str, &str)], service: &[(&str, &str)]| Outline {
            pipelines: pipelines.iter().map(|(name, print)| (name.to_string(), print.to_string())).collect(),
            service: service.iter().map(|(name, print)| (name.to_string(), print.to_string())).collect(),
            loads: Vec::new(),
        };
        let before = outline(&[("gone", "1"), ("other", "1"), ("same", "1")], &[("admin", "1"), ("memory", "1")]);
        let after = outline(&[("new", "1"), ("other", "2"), ("same", "1")], &[("memory", "1"), ("threads", "1")]);
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let expected = Difference {
            starts: names(&["new"]),
            restarts: names(&["other"]),
            stops: names(&["gone"]),
            unchanged: names(&["same"]),
            need_restart: names(&["admin", "threads"]),
        };
        assert_eq!(after.difference(&before), expected);
    }
}
