//! What an operation works on and what it answers.

use crate::expr::fuel;
use crate::expr::metered::{Metered, is_container};
use crate::model::Value;
use crate::model::json::MAX_DEPTH;

/// A value that lies somewhere else: the item, a part of it, a constant, a variable.
#[derive(Clone, Copy)]
pub(in crate::expr) struct View<'v> {
    pub(super) value: &'v Value,
    /// How deep the value nests at most, if it is an array or an object.
    bound: u32,
}

impl<'v> View<'v> {
    /// A value from outside of the run.
    pub(super) fn input(value: &'v Value) -> Self {
        Self { value, bound: MAX_DEPTH as u32 }
    }

    pub(super) fn of(metered: &'v Metered) -> Self {
        Self { value: &metered.value, bound: metered.depth_bound() }
    }

    pub(super) fn null() -> Self {
        Self { value: &Value::Null, bound: 0 }
    }

    /// A member of this value.
    pub(super) fn member(self, value: &'v Value) -> Self {
        // A member that is an array or an object nests at least one deep.
        Self { value, bound: self.depth_bound_inside() }
    }

    /// How deep a member of this array or object nests at most.
    pub(super) fn depth_bound_inside(self) -> u32 {
        self.bound.saturating_sub(1).max(1)
    }

    pub(super) fn depth_bound(self) -> u32 {
        if is_container(self.value) { self.bound } else { 0 }
    }

    pub(super) fn to_metered(self) -> Metered {
        Metered::bounded(self.value.clone(), self.depth_bound())
    }
}

/// What an operation answers. What is there already is not copied.
pub(in crate::expr) enum Answer<'v> {
    Part(View<'v>),
    New(Metered),
}

impl Answer<'_> {
    pub(in crate::expr) fn value(&self) -> &Value {
        match self {
            Self::Part(view) => view.value,
            Self::New(metered) => &metered.value,
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        match self {
            Self::Part(view) => *view,
            Self::New(metered) => View::of(metered),
        }
    }

    #[inline]
    pub(super) fn into_metered(self) -> Metered {
        match self {
            Self::Part(view) => view.to_metered(),
            Self::New(metered) => metered,
        }
    }

    /// The same, no longer bound to where it lies.
    pub(super) fn detached(self) -> Answer<'static> {
        Answer::New(self.into_metered())
    }

    /// Neither `null` nor `false`.
    pub(in crate::expr) fn is_true(&self) -> bool {
        is_true(self.value())
    }

    /// The value as it leaves the run.
    #[inline(always)]
    pub(in crate::expr) fn into_value(self) -> Value {
        match self {
            // Numbers that JSON lacks come about in runs alone, and may be bound to a variable there.
            Self::Part(view) if !fuel::was_not_finite_made() => view.value.clone(),
            other => other.into_metered().into_value(),
        }
    }
}

pub(super) fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}
