//! The meter under which a filter runs, so that none can hold a thread, eat the memory or overflow the stack.
//!
//! jaq knows no limits, but everything it does goes through our values ([`super::metered`]) and our context
//! ([`super::language`]), and those count here. When a limit is reached, the run is unwound with a payload of our
//! own: no `try` in a filter catches that, and no panic hook prints it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{FilterError, Fuel};
use crate::model::json::MAX_DEPTH;

/// One unit is about ten nanoseconds of work in a release build.
const INLINE_UNITS: u64 = 200_000;
const BLOCKING_UNITS: u64 = 500_000_000;

/// How many bytes a run may make in all.
const MADE_LIMIT: usize = 256 << 20;

/// How many contexts may be alive at a time: jaq keeps one for each pending output of a sub-filter, with about half
/// a kilobyte around it.
const CONTEXT_LIMIT: usize = 200_000;

/// How much stack a run may take; the smallest stack that gatherd's threads have is two mebibytes. A debug build's
/// frames are larger, which the limit leaves room for.
const STACK_LIMIT: usize = 1 << 20;

/// How long a path inside a filter may become; jaq drops paths recursively.
pub(super) const PATH_LIMIT: u32 = 4096;

struct Meter {
    units: Cell<u64>,
    made: Cell<usize>,
    contexts: Cell<usize>,
    slices: Cell<u32>,
    /// An address near the stack's end when the run began; zero outside of runs.
    stack: Cell<usize>,
    not_finite: Cell<bool>,
    nested: Cell<bool>,
}

impl Meter {
    const fn idle() -> Self {
        Self {
            units: Cell::new(u64::MAX),
            made: Cell::new(0),
            contexts: Cell::new(0),
            slices: Cell::new(0),
            stack: Cell::new(0),
            not_finite: Cell::new(false),
            nested: Cell::new(false),
        }
    }

    /// What the meter reads, if a run is under way.
    fn outer(&self) -> Option<Self> {
        (self.stack.get() != 0).then(|| {
            let outer = Self::idle();
            outer.take(self);
            outer
        })
    }

    fn take(&self, other: &Self) {
        self.units.set(other.units.get());
        self.made.set(other.made.get());
        self.contexts.set(other.contexts.get());
        self.slices.set(other.slices.get());
        self.stack.set(other.stack.get());
        self.not_finite.set(other.not_finite.get());
        self.nested.set(other.nested.get());
    }
}

thread_local! {
    static METER: Meter = const { Meter::idle() };
}

/// Why a run was ended: the payload that unwinds it.
enum Stop {
    OutOfFuel,
    MadeTooMuch,
    TooManyPending,
    Recursion,
    ValueDepth,
    PathLength,
}

impl From<Stop> for FilterError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::OutOfFuel => FilterError::OutOfFuel,
            Stop::MadeTooMuch => FilterError::TooMuch(format!("it makes more than {} MiB", MADE_LIMIT >> 20)),
            Stop::TooManyPending => {
                FilterError::TooMuch(format!("more than {CONTEXT_LIMIT} of its parts wait for each other"))
            }
            Stop::Recursion => FilterError::Failed("it calls itself too deeply".to_owned()),
            Stop::ValueDepth => FilterError::Failed(format!("its result is nested deeper than {MAX_DEPTH}")),
            Stop::PathLength => FilterError::Failed(format!("a path in it is longer than {PATH_LIMIT}")),
        }
    }
}

fn halt(stop: Stop) -> ! {
    METER.with(|meter| meter.take(&Meter::idle()));
    resume_unwind(Box::new(stop))
}

/// Runs `work` with this much fuel.
pub(super) fn metered<T>(fuel: Fuel, work: impl FnOnce() -> Result<T, FilterError>) -> Result<T, FilterError> {
    let outer = METER.with(|meter| {
        let outer = meter.outer();
        meter.take(&Meter::idle());
        meter.units.set(match fuel {
            Fuel::Inline => INLINE_UNITS,
            Fuel::Blocking => BLOCKING_UNITS,
        });
        meter.stack.set(stack_address());
        outer
    });
    let result = catch_unwind(AssertUnwindSafe(work));
    METER.with(|meter| meter.take(&outer.unwrap_or(Meter::idle())));
    result.unwrap_or_else(|payload| {
        Err(match payload.downcast::<Stop>() {
            Ok(stop) => FilterError::from(*stop),
            Err(_) => FilterError::Failed("it met a mistake in the filter engine".to_owned()),
        })
    })
}

#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)) as usize
}

/// Counts work.
#[inline]
pub(super) fn spend(units: usize) {
    METER.with(|meter| match meter.units.get().checked_sub(units as u64) {
        Some(left) => meter.units.set(left),
        None => halt(Stop::OutOfFuel),
    });
}

/// Counts bytes that are about to be made, and the work of filling them.
pub(super) fn make(bytes: usize) {
    METER.with(|meter| {
        let made = meter.made.get().saturating_add(bytes);
        if made > MADE_LIMIT && meter.stack.get() != 0 {
            halt(Stop::MadeTooMuch);
        }
        meter.made.set(made);
    });
    spend(1 + bytes / 64);
}

/// Looks at how many bytes something would be if it were written out.
pub(super) fn check_size(bytes: usize) {
    if bytes > MADE_LIMIT {
        halt(Stop::MadeTooMuch);
    }
}

/// Counts one more context, and looks how deep the stack is.
pub(super) fn context_made() {
    spend(6);
    METER.with(|meter| {
        let contexts = meter.contexts.get() + 1;
        meter.contexts.set(contexts);
        let base = meter.stack.get();
        if base == 0 {
            return;
        }
        if contexts > CONTEXT_LIMIT {
            halt(Stop::TooManyPending);
        }
        if base.abs_diff(stack_address()) > STACK_LIMIT {
            halt(Stop::Recursion);
        }
    });
}

pub(super) fn context_dropped() {
    METER.with(|meter| meter.contexts.set(meter.contexts.get().saturating_sub(1)));
}

/// Counts one more slice as part of a path.
pub(super) fn slice_made() {
    METER.with(|meter| {
        let slices = meter.slices.get() + 1;
        meter.slices.set(slices);
        if slices > PATH_LIMIT {
            path_too_long();
        }
    });
}

pub(super) fn path_too_long() -> ! {
    halt(Stop::PathLength)
}

pub(super) fn value_too_deep() -> ! {
    halt(Stop::ValueDepth)
}

/// Remembers that a number was made that JSON has no word for.
pub(super) fn not_finite_made() {
    METER.with(|meter| meter.not_finite.set(true));
}

pub(super) fn was_not_finite_made() -> bool {
    METER.with(|meter| meter.not_finite.get())
}

/// Remembers that an array or object was made that holds another.
pub(super) fn nested_made() {
    METER.with(|meter| meter.nested.set(true));
}

pub(super) fn forget_nested_made() {
    METER.with(|meter| meter.nested.set(false));
}

pub(super) fn was_nested_made() -> bool {
    METER.with(|meter| meter.nested.get())
}
