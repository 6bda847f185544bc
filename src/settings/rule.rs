//! The rules of the config language.

macro_rules! rules {
    ($($(#[doc = $about:literal])+ $rule:ident = $name:literal,)+) => {
        /// A rule of the config language that a config can break. Components have rules of their own, which they
        /// report with [`super::Section::mistake`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[doc = $about])+ $rule,)+ }

        impl Rule {
            pub const ALL: &[Rule] = &[$(Rule::$rule),+];

            /// Its name, which is also that of the case in `tests/mistakes`.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$rule => $name),+ }
            }

            pub fn about(self) -> &'static str {
                match self { $(Rule::$rule => concat!($($about),+)),+ }
            }
        }
    };
}

rules! {
    /// A file must be there, and be readable as UTF-8 text.
    UnreadableFile = "unreadable-file",
    /// A folder must hold at least one config.
    EmptyFolder = "empty-folder",
    /// A config must be TOML.
    Syntax = "syntax",
    /// A key must be one that its table knows.
    UnknownKey = "unknown-key",
    /// A setting without a default must be there.
    MissingKey = "missing-key",
    /// A value must have the type that its setting takes.
    WrongType = "wrong-type",
    /// A number must lie within what its type can hold.
    NumberOutOfRange = "number-out-of-range",
    /// A duration is written as people write it.
    BadDuration = "bad-duration",
    /// A size is written as people write it.
    BadSize = "bad-size",
    /// A rate is written as people write it.
    BadRate = "bad-rate",
    /// A word must be one of those that its setting knows.
    UnknownWord = "unknown-word",
    /// A filter must be jq.
    BadFilter = "bad-filter",
    /// A template must hold jq filters in its braces.
    BadTemplate = "bad-template",
    /// `${…}` holds the name of a variable or of a secret.
    BadFill = "bad-fill",
    /// `${NAME}` must be set in the environment.
    UnsetVariable = "unset-variable",
    /// `${secret:NAME}` must be found.
    UnsetSecret = "unset-secret",
    /// `${…}` does not stand in a filter.
    FillInFilter = "fill-in-filter",
    /// What a setting makes of `${…}` must be of its type.
    BadFilledValue = "bad-filled-value",
    /// A file holds sections of a few kinds.
    UnknownNoun = "unknown-section",
    /// Sections other than `[service]` have names.
    UnnamedSection = "unnamed-section",
    /// A name is made of letters, digits, `_` and `-`.
    BadName = "bad-name",
    /// A name means one thing, in whichever file it stands; sinks and queues share their names.
    DefinedTwice = "defined-twice",
    /// The name of a variable is one that jq takes.
    BadVariable = "bad-variable",
    /// A config has at least one pipeline.
    NoPipeline = "no-pipeline",
    /// A source, step or sink is a table.
    NotAComponent = "not-a-component",
    /// A source, step or sink names what it is.
    NoComponent = "no-component",
    /// A source, step or sink is one thing only.
    TwoComponents = "two-components",
    /// There is a source, step or sink of that name.
    UnknownComponent = "unknown-component",
    /// A source is a source, a step a step, and a sink a sink.
    WrongRole = "wrong-role",
    /// Beside the component key stand only the common settings.
    MisplacedKey = "misplaced-key",
    /// An id is a name, and means one component of its pipeline.
    BadId = "bad-id",
    /// A count or size lets something pass.
    TooSmall = "too-small",
    /// The longest time between two tries is not shorter than the shortest.
    BadRetry = "bad-retry",
    /// Only a step that goes to the network has workers and tries again.
    NotANetworkStep = "not-a-network-step",
    /// `to` names sinks and queues that are there.
    UnknownSink = "unknown-sink",
    /// `to` names each sink once.
    NamedTwice = "named-twice",
    /// What nothing names does nothing.
    Unused = "unused",
    /// `via` must name a client.
    UnknownClient = "unknown-client",
    /// `queue` names a queue that is there.
    UnknownQueue = "unknown-queue",
    /// No two sources listen for the same requests.
    TakenTwice = "taken-twice",
    /// What other machines can reach asks for a token.
    OpenAdmin = "open-admin",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rules_have_the_same_name() {
        let mut names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rule::ALL.len());
    }
}
