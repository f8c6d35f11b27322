//! Declaring a section: a struct whose fields are the keys of the file, with their defaults.
//!
//! Most sections of the format are plain lists of keys. [`section!`] makes the struct, its defaults, its reader and the list of
//! its paths from one declaration; what keys mean together is checked by hand beside it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::http::HttpClientConfig;
use super::tls::TlsConfig;
use crate::yaml::{Cursor, Section};
use crate::{Secret, Url};

/// A type of field.
pub(super) trait Field: Sized {
    /// Takes `key` out of the section; `default` if it is not there.
    fn take(section: &mut Section<'_>, key: &'static str, default: Self) -> Self {
        section.take(key).map_or(default, Self::read)
    }

    /// Reads a value. What is wrong is noted, and the result then does not matter.
    fn read(cursor: Cursor<'_>) -> Self;

    /// The paths in it that are relative to the file.
    fn paths<'a>(&'a mut self, _out: &mut Vec<&'a mut PathBuf>) {}
}

macro_rules! fields {
    ($($type:ty: $read:expr;)*) => {
        $(impl Field for $type {
            fn read(cursor: Cursor<'_>) -> Self {
                let read: fn(Cursor<'_>) -> Self = $read;
                read(cursor)
            }
        })*
    };
}

fields! {
    String: |cursor| cursor.string().unwrap_or_default();
    bool: |cursor| cursor.bool().unwrap_or_default();
    i64: |cursor| cursor.signed().unwrap_or_default();
    u64: |cursor| cursor.unsigned().unwrap_or_default();
    f64: |cursor| cursor.float().unwrap_or_default();
    Duration: |cursor| cursor.duration().unwrap_or_default();
    Option<Secret>: |cursor| cursor.secret();
    Option<Url>: |cursor| cursor.url();
    Option<String>: |cursor| cursor.non_empty();
    Vec<String>: |cursor| cursor.strings();
    BTreeMap<String, String>: |cursor| cursor.string_map();
}

impl Field for Option<PathBuf> {
    fn read(cursor: Cursor<'_>) -> Self {
        cursor.path()
    }

    fn paths<'a>(&'a mut self, out: &mut Vec<&'a mut PathBuf>) {
        out.extend(self.iter_mut());
    }
}

impl Field for Vec<PathBuf> {
    fn read(cursor: Cursor<'_>) -> Self {
        cursor.strings().into_iter().map(PathBuf::from).collect()
    }

    fn paths<'a>(&'a mut self, out: &mut Vec<&'a mut PathBuf>) {
        out.extend(self.iter_mut());
    }
}

impl Field for TlsConfig {
    fn read(cursor: Cursor<'_>) -> Self {
        TlsConfig::read(cursor)
    }

    fn paths<'a>(&'a mut self, out: &mut Vec<&'a mut PathBuf>) {
        out.extend(TlsConfig::paths(self));
    }
}

/// Its keys stand among those of the section itself.
impl Field for HttpClientConfig {
    fn take(section: &mut Section<'_>, _key: &'static str, default: Self) -> Self {
        HttpClientConfig::read(section, default.enable_http2)
    }

    fn read(_cursor: Cursor<'_>) -> Self {
        unreachable!("it is taken out of its section")
    }

    fn paths<'a>(&'a mut self, out: &mut Vec<&'a mut PathBuf>) {
        out.extend(HttpClientConfig::paths(self));
    }
}

/// A section that was declared by [`section!`].
pub(super) trait Keys: Default {
    /// Takes its keys out of `section`.
    fn take_keys(section: &mut Section<'_>) -> Self;

    /// The paths in it that are relative to the file.
    fn all_paths<'a>(&'a mut self, out: &mut Vec<&'a mut PathBuf>);

    /// What is wrong with the section as a whole.
    fn check(&self, _cursor: Cursor<'_>) {}
}

/// Reads a declared section; one that says nothing has all zero values in Go, which here are the defaults.
pub(super) fn read_keys<T: Keys>(cursor: Cursor<'_>) -> Option<T> {
    let n_problems = cursor.n_problems();
    let mut section = cursor.section()?;
    let keys = T::take_keys(&mut section);
    section.finish();
    // A wrong value would only be blamed a second time, as a missing one.
    if cursor.n_problems() == n_problems {
        keys.check(cursor);
    }
    Some(keys)
}

/// Declares a section. A key that is not a good name for a field is given after `as`.
macro_rules! section {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$field_doc:meta])* $field:ident $(as $key:literal)?: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $name {
            fn take_all(section: &mut $crate::yaml::Section<'_>) -> Self {
                let defaults = $name::default();
                $name {
                    $($field: $crate::prometheus::field::Field::take(
                        section,
                        $crate::prometheus::field::section!(@key $field $($key)?),
                        defaults.$field,
                    ),)*
                }
            }

            fn each_path<'a>(&'a mut self, out: &mut Vec<&'a mut std::path::PathBuf>) {
                $($crate::prometheus::field::Field::paths(&mut self.$field, out);)*
            }
        }
    };
}

/// The same for a section whose keys need no check together, or one that is given as a function.
macro_rules! keys {
    ($name:ident $(, $check:expr)?) => {
        impl $crate::prometheus::field::Keys for $name {
            fn take_keys(section: &mut $crate::yaml::Section<'_>) -> Self {
                $name::take_all(section)
            }

            fn all_paths<'a>(&'a mut self, out: &mut Vec<&'a mut std::path::PathBuf>) {
                self.each_path(out);
            }

            $(fn check(&self, cursor: $crate::yaml::Cursor<'_>) {
                let check: fn(&Self, $crate::yaml::Cursor<'_>) = $check;
                check(self, cursor);
            })?
        }
    };
}

pub(super) use {keys, section};
