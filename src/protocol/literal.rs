//! Types with one value, for fields that always hold the same word.

/// Defines a type whose only value, `It`, is the given word on the wire.
macro_rules! literal {
    ($(#[$doc:meta])* $name:ident = $text:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize, PartialEq, Eq)]
        pub enum $name {
            /// The only value.
            #[default]
            #[serde(rename = $text)]
            It,
        }
    };
}

pub(super) use literal;
