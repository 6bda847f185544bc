//! Typed readers over a TOML value that knows its place, and the list of mistakes found on the way.
//!
//! A component reads its settings from a [`Section`], one call a setting. The call names the setting, its type, its
//! default and what it is for: `gatherd kinds`, `gatherd explain` and the list of known keys all come from these
//! calls, so nothing is declared twice. Reading goes on after a mistake, so that one run finds all of them.

mod fill;
mod form;
mod mistake;
mod parse;
mod place;
mod read;
mod reading;
mod record;
mod rule;
mod section;
mod setting;
mod shown;
mod suggestion;
mod text_offset;
mod tree;
mod types;

pub use fill::Fill;
pub use form::Form;
pub use mistake::{Breaks, Mistake, Mistakes, Severity};
pub use parse::parse;
pub use place::{Place, SourceFile};
pub use read::{Read, Unread, describe, read_text};
pub use reading::Reading;
pub use record::{ANY_KEY, Inner, Presence, Record, expanded};
pub use rule::Rule;
pub use section::Section;
pub use setting::{Given, Setting, Wrong};
pub use shown::Shown;
pub use suggestion::{list, way_out};
pub use tree::{Data, Entry, Node, Table, key_to_toml, text_to_toml};
pub use types::{Identity, Secret, SecretValue};
