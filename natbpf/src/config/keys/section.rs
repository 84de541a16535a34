//! How a section is declared.

/// A key, a value for it and a note. The header of a section is the first, without a value.
pub type Row = (&'static str, &'static str, &'static str);

/// Declares the struct of a section. Behind each key stands what the example says: a value, and a note.
macro_rules! section {
    (
        $(#[$about:meta])*
        $header:literal $note:literal
        pub struct $name:ident {
            $($(#[$attribute:meta])* $key:ident: $type:ty = $value:literal $remark:literal;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$attribute])* pub $key: $type,)*
        }

        impl $name {
            pub const EXAMPLE: &[$crate::config::keys::section::Row] =
                &[($header, "", $note), $((stringify!($key), $value, $remark)),*];
        }
    };
}
pub(super) use section;
