//! What an operation works on and what it answers.

use crate::expr::fuel;
use crate::expr::metered::{Metered, bound_of_member, is_container};
use crate::model::Value;
use crate::model::json::MAX_DEPTH;

/// A value that lies somewhere else: the item, a part of it, a constant, a variable.
#[derive(Clone, Copy)]
pub(in crate::expr) struct View<'v> {
    pub(super) value: &'v Value,
    /// For arrays and objects, how deep they nest at most.
    pub(super) bound: u32,
}

impl<'v> View<'v> {
    /// A value from outside of the run.
    pub(super) fn input(value: &'v Value) -> Self {
        Self { value, bound: if is_container(value) { MAX_DEPTH as u32 } else { 0 } }
    }

    pub(super) fn of(metered: &'v Metered) -> Self {
        Self { value: &metered.value, bound: metered.depth_bound() }
    }

    pub(super) fn null() -> Self {
        Self { value: &Value::Null, bound: 0 }
    }

    /// A member of this value.
    pub(super) fn member(self, value: &'v Value) -> Self {
        Self { value, bound: bound_of_member(self.bound, value) }
    }

    pub(super) fn to_metered(self) -> Metered {
        Metered::bounded(self.value.clone(), self.bound)
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
