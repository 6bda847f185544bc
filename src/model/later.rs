//! What is made when somebody asks for it.

use std::sync::OnceLock;

/// Something that is there, or will be when it is asked for. Unlike in a [`OnceLock`] alone, what is there from the
/// beginning costs nothing more than itself, and so does a copy of it.
#[derive(Debug)]
pub(super) enum Later<T> {
    There(T),
    Asked(OnceLock<T>),
}

impl<T> Later<T> {
    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::There(value) => Some(value),
            Self::Asked(cell) => cell.get(),
        }
    }

    #[inline]
    pub(super) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        match self {
            Self::There(value) => value,
            Self::Asked(cell) => cell.get_or_init(make),
        }
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::There(value) => Some(value),
            Self::Asked(cell) => cell.get_mut(),
        }
    }

    pub(super) fn into_inner(self) -> Option<T> {
        match self {
            Self::There(value) => Some(value),
            Self::Asked(cell) => cell.into_inner(),
        }
    }
}

impl<T> Default for Later<T> {
    fn default() -> Self {
        Self::Asked(OnceLock::new())
    }
}

impl<T> From<T> for Later<T> {
    fn from(value: T) -> Self {
        Self::There(value)
    }
}

impl<T: Clone> Clone for Later<T> {
    fn clone(&self) -> Self {
        self.get().cloned().map_or_else(Self::default, Self::There)
    }
}
