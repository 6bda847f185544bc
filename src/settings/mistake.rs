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

    /// All of them, file by file and from top to bottom. What is only the consequence of broken TOML on the same
    /// lines is left out.
    pub fn into_sorted(self) -> Vec<Mistake> {
        let mut found = self.found.into_inner();
        let broken: Vec<Place> =
            found.iter().filter(|mistake| is_syntax(mistake)).filter_map(|m| m.place.clone()).collect();
        found.retain(|mistake| {
            is_syntax(mistake)
                || !mistake.place.as_ref().is_some_and(|place| broken.iter().any(|broken| touches(place, broken)))
        });
        // Stable, so that mistakes at the same spot stay in the order in which they were found.
        found.sort_by_cached_key(|mistake| {
            mistake.place.as_ref().map(|place| (place.file().name.clone(), place.span().start))
        });
        found
    }
}

fn is_syntax(mistake: &Mistake) -> bool {
    mistake.breaks == Breaks::Language(Rule::Syntax)
}

fn touches(place: &Place, broken: &Place) -> bool {
    place.file().name == broken.file().name && (place.line()..=place.last_line()).contains(&broken.line())
}
