//! Replies that are lists: their items, page by page, and of these what is new.
//!
//! A run is all pages that one item of the source leads to. With `new_by` the store keeps it: each page leaves behind
//! where the run goes on, in the commit in which that page and all before it settle; the last one moves the cursor.

mod auto;
mod circle;
mod cursor_value;
mod new_by;
mod pages;
mod parameter;
mod progress;
mod run;
mod step;

use self::new_by::NewBy;
use self::pages::Pages;
pub(super) use self::step::ListingStep;
use super::into::Place;
use crate::expr::Filter;
use crate::http::Payload;
use crate::settings::Section;

/// What is taken of a reply that is a list.
#[derive(Clone)]
pub(super) struct Listing {
    /// All of a page's value if left out.
    items: Option<Filter>,
    pages: Option<Pages>,
    new_by: Option<NewBy>,
}

impl Listing {
    /// Reads `items`, `pages` and `new_by`; nothing if none of them is there.
    pub(super) fn read(section: &mut Section<'_>, payload: &Payload, into: Option<&Place>) -> Option<Self> {
        let items =
            section.optional("items", "where in a reply its items stand, such as \".data[]\": each goes on by itself");
        let pages = Pages::read(section, payload);
        let new_by = NewBy::read(section, payload);
        if into.is_some()
            && let Some(key) = ["items", "pages", "new_by"].into_iter().find(|key| section.has(key))
        {
            let message = format!("with `{key}` a reply is many items, which cannot go into the one that asked");
            section.mistake("into", message, format!("leave out `into` or `{key}`"));
        }
        if section.has("new_by") && !section.has("items") {
            let way_out = "add `items`, such as \".data[]\", or \".[]\" if the reply is a list";
            section.mistake("new_by", "`new_by` does not know where in a reply the items stand", way_out);
        }
        (items.is_some() || pages.is_some() || new_by.is_some()).then_some(Self { items, pages, new_by })
    }

    pub(super) fn has_pages(&self) -> bool {
        self.pages.is_some()
    }

    /// Whether what comes again is left out.
    pub(super) fn has_cursor(&self) -> bool {
        self.new_by.is_some()
    }

    /// Whether what comes again hangs on the item that asks, too.
    pub(super) fn has_partitions(&self) -> bool {
        self.new_by.as_ref().is_some_and(|new_by| new_by.per.is_some())
    }
}
