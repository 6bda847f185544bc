//! What a setting can hold, for those who look at a config without reading it: an editor, by the config's schema.

/// What a value of a setting looks like. `${…}` may stand in every text but that of a filter, and a text that is filled
/// in may stand for a number or a boolean.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    Boolean,
    /// A whole number, both bounds included.
    Integer {
        least: i128,
        most: i128,
    },
    Number,
    Text,
    /// A text of letters, digits, `_` and `-` that begins with a letter or digit.
    Name,
    /// A text such as `90s`.
    Duration,
    /// A text such as `16MiB`, or a number of bytes: no fewer than these.
    Size {
        least: u64,
    },
    /// A text such as `10/s`.
    Rate,
    /// A text that is jq.
    Filter,
    /// One of these texts.
    Words(Vec<String>),
    List(Box<Form>),
    /// A table of settings, which the record tells.
    Table,
    /// A table whose keys are the author's own.
    Map(Box<Form>),
    /// A list of tables of settings, which the record tells.
    Tables,
    Any,
}
