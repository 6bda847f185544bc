//! The list of mistakes in a config.

use std::cell::RefCell;
use std::fmt;
use std::panic::Location;

use super::{Place, Rule};

/// Something wrong in a config: where, what, and the way out.
#[derive(Clone, Debug)]
pub struct Mistake {
    pub severity: Severity,
    pub breaks: Breaks,
    /// Nothing if it stands in no file, such as a file that is not there.
    pub place: Option<Place>,
    /// A sentence without its full stop: ``there is no step `mpa` ``.
    pub message: String,
    /// How the sentence goes on: ``did you mean `map`?``
    pub way_out: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The config is not used.
    Mistake,
    /// The config is used all the same.
    Warning,
}

/// Which rule a mistake breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaks {
    Language(Rule),
    /// A component's own rule, told by where in the code it is checked.
    Component(&'static Location<'static>),
}

/// `quakes.toml:5:3: there is no step…`, then the line with the spot marked.
impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(formatter, "{place}: ")?;
        }
        if self.severity == Severity::Warning {
            formatter.write_str("warning: ")?;
        }
        write!(formatter, "{}; {}", self.message, self.way_out)?;
        if let Some(place) = &self.place {
            write!(formatter, "\n{}", place.marked())?;
        }
        Ok(())
    }
}

/// The mistakes found so far. Shared by all that reads a config.
#[derive(Debug, Default)]
pub struct Mistakes {
    found: RefCell<Vec<Mistake>>,
    /// Where a config could not be read.
    spoiled: RefCell<Vec<Place>>,
}

impl Mistakes {
    /// Reports a broken rule.
    pub fn report(
        &self,
        rule: Rule,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.add(Severity::Mistake, Breaks::Language(rule), place.into(), message.into(), way_out.into());
    }

    /// Reports what is odd, but can be used.
    pub fn warn(
        &self,
        rule: Rule,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.add(Severity::Warning, Breaks::Language(rule), place.into(), message.into(), way_out.into());
    }

    /// Whether there is any at `place` or within.
    pub(super) fn has_any_in(&self, place: &Place) -> bool {
        let is_in = |found: &Place| {
            found.file().name == place.file().name
                && (place.span().start..=place.span().end).contains(&found.span().start)
        };
        let is_serious = |mistake: &Mistake| mistake.severity == Severity::Mistake;
        self.found.borrow().iter().any(|mistake| is_serious(mistake) && mistake.place.as_ref().is_some_and(is_in))
    }

    /// Remembers that nothing found at `place` can be trusted, because its TOML is broken.
    pub(super) fn spoil(&self, place: Place) {
        self.spoiled.borrow_mut().push(place);
    }

    pub(super) fn add(
        &self,
        severity: Severity,
        breaks: Breaks,
        place: Option<Place>,
        message: String,
        way_out: String,
    ) {
        self.found.borrow_mut().push(Mistake { severity, breaks, place, message, way_out });
    }

    /// Whether there is any so far, warnings aside.
    pub fn any(&self) -> bool {
        self.found.borrow().iter().any(|mistake| mistake.severity == Severity::Mistake)
    }

    /// All of them, file by file and from top to bottom. What may only be the consequence of broken TOML is left out.
    pub fn into_sorted(self) -> Vec<Mistake> {
        let mut found = self.found.into_inner();
        let spoiled = self.spoiled.into_inner();
        found.retain(|mistake| is_syntax(mistake) || !spoiled.iter().any(|place| is_consequence(mistake, place)));
        // Stable, so that mistakes at the same spot stay in the order in which they were found.
        found.sort_by_cached_key(|mistake| {
            mistake.place.as_ref().map(|place| (place.file().name.clone(), place.span().start))
        });
        found
    }
}

/// Whether a mistake may come from TOML that could not be read: it stands there, or misses something that may stand
/// there.
fn is_consequence(mistake: &Mistake, spoiled: &Place) -> bool {
    let is_in_file = |place: &Place| place.file().name == spoiled.file().name;
    let overlaps = |place: &Place| {
        is_in_file(place) && place.span().start <= spoiled.span().end && place.span().end > spoiled.span().start
    };
    match mistake.breaks {
        Breaks::Language(Rule::UnknownSink | Rule::UnknownClient | Rule::NoPipeline) => true,
        Breaks::Language(Rule::MissingKey) => mistake.place.as_ref().is_some_and(is_in_file),
        _ => mistake.place.as_ref().is_some_and(overlaps),
    }
}

fn is_syntax(mistake: &Mistake) -> bool {
    mistake.breaks == Breaks::Language(Rule::Syntax)
}
