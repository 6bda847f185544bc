//! The language of filters: jq's own words, less those that reach out of the filter, plus gatherd's.

use std::cell::OnceCell;
use std::sync::OnceLock;

use jaq_core::data::HasLut;
use jaq_core::load::parse::Def;
use jaq_core::native::{Fun, run};
use jaq_core::{DataT, Lut};

use super::metered::Metered;
use super::{Scope, builtins, fuel};
use crate::model::{Text, Value, Window};

/// jaq over our values.
pub(super) struct Language;

impl DataT for Language {
    type V<'a> = Metered;
    type Data<'a> = Context<'a>;
}

/// What native functions can reach. jaq clones it with every context it makes, so it counts them.
pub(super) struct Context<'a> {
    lut: &'a Lut<Language>,
    pub(super) seen: &'a Seen<'a>,
}

/// What a run can see beside its input.
pub(super) struct Seen<'a> {
    pub(super) scope: &'a Scope<'a>,
    labels: OnceCell<Value>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(scope: &'a Scope<'a>) -> Self {
        Self { scope, labels: OnceCell::new() }
    }

    pub(super) fn labels(&self) -> Value {
        self.labels.get_or_init(|| self.scope.labels.to_value()).clone()
    }

    pub(super) fn label(&self, name: &str) -> Value {
        self.scope.labels.get(name).unwrap_or_default()
    }

    pub(super) fn now(&self) -> Metered {
        Metered::from(self.scope.now.as_microsecond() as f64 / 1e6)
    }

    pub(super) fn window(&self) -> Value {
        let object = |window: Window| {
            let entries = [("start", window.start), ("end", window.end)];
            entries.into_iter().map(|(name, time)| (Text::from(name), Value::from(time.to_string()))).collect()
        };
        self.scope.window.map_or(Value::Null, object)
    }
}

impl<'a> Context<'a> {
    pub(super) fn new(lut: &'a Lut<Language>, seen: &'a Seen<'a>) -> Self {
        fuel::context_made();
        Self { lut, seen }
    }
}

impl Clone for Context<'_> {
    fn clone(&self) -> Self {
        Self::new(self.lut, self.seen)
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        fuel::context_dropped();
    }
}

impl<'a> HasLut<'a, Language> for Context<'a> {
    fn lut(&self) -> &'a Lut<Language> {
        self.lut
    }
}

/// Words of jq that reach the environment, the terminal, other inputs or the process, with why they are missing.
pub(super) const LEFT_OUT: [(&str, &str); 10] = [
    ("env", "a filter does not see the environment; give it a variable: `vars = { site = \"${SITE}\" }`, then `$site`"),
    ("halt", "a filter cannot end the process; `error(…)` rejects the item, `empty` filters it"),
    ("halt_error", "a filter cannot end the process; `error(…)` rejects the item"),
    ("input", "a filter sees one item at a time"),
    ("inputs", "a filter sees one item at a time"),
    ("input_filename", "a filter sees one item at a time; see `labels`"),
    ("input_line_number", "a filter sees one item at a time; see `labels`"),
    ("debug", "a filter writes nothing; end a pipeline in `log` to look at its items"),
    ("stderr", "a filter writes nothing; end a pipeline in `log` to look at its items"),
    ("get_search_list", "a filter loads no modules"),
];

/// Words that others have made and that are left out: those above, those that `prelude.jq` or a native function
/// below replaces, and `jn` and `yn`, which count up to their argument without coming back to us.
const REPLACED: &[&str] = &[
    "env",
    "halt",
    "halt_error",
    "debug",
    "debug_empty",
    "stderr",
    "stderr_empty",
    "now",
    "localtime",
    "strflocaltime",
    "jn",
    "yn",
    "nan",
    "infinite",
    "matches",
    "split_matches",
    "split_",
    "test",
    "match",
    "capture",
    "scan",
    "scan_",
    "split",
    "splits",
    "sub",
    "gsub",
    "type",
    "add",
    "join",
    "from_entries",
    "to_entries",
    "tonumber",
    "totype",
    "del",
    "delpaths",
    "pick",
    "ascii",
    "toboolean",
    "capture_of_match",
    "not",
    "keys",
    "flatten",
    "reverse",
    "ltrimstr",
    "rtrimstr",
    "gamma",
];

/// The definitions that every filter can use.
pub(super) fn definitions() -> &'static [Def<&'static str>] {
    static DEFINITIONS: OnceLock<Vec<Def<&'static str>>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| {
        let ours = jaq_core::load::parse(include_str!("prelude.jq"), |parser| parser.defs());
        let ours = ours.expect("prelude.jq is part of the program, and every test compiles it");
        let theirs = jaq_core::defs().chain(jaq_std::defs()).filter(|def| !REPLACED.contains(&def.name));
        theirs.chain(ours).collect()
    })
}

/// The native functions that every filter can use.
pub(super) fn functions() -> impl Iterator<Item = Fun<Language>> {
    let theirs = jaq_core::funs().chain(jaq_std::funs()).filter(|(name, ..)| !REPLACED.contains(name));
    theirs.chain(builtins::functions().into_iter().map(run::<Language>))
}
