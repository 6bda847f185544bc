//! How a component is known to a config.

use crate::settings::Section;

/// A component as its table lists it. `S` is the role's settings, such as `dyn SourceSettings`.
pub struct Kind<S: ?Sized> {
    /// The component key in a config.
    pub name: &'static str,
    /// One sentence for `gatherd kinds`.
    pub summary: &'static str,
    /// A whole config that shows the component at work. A test runs it.
    pub sample: &'static str,
    /// Reads the component's table, or reports what is wrong with it and answers nothing.
    pub read: fn(&mut Section<'_>) -> Option<Box<S>>,
}

/// The kind of this name.
pub fn find<'a, S: ?Sized>(kinds: &'a [Kind<S>], name: &str) -> Option<&'a Kind<S>> {
    kinds.iter().find(|kind| kind.name == name)
}
