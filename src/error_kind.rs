//! The texts of error kinds.

/// Gives each kind of an error a word for programs, and words for people: those of an error without a message of its
/// own.
macro_rules! kind_words {
    ($kind:ident { $($variant:ident => $word:literal, $words:literal;)+ }) => {
        impl $kind {
            /// Returns the kind as one word in `snake_case`, for metrics, spans and other uses as text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Returns what `Display` prints.
            pub(crate) const fn words(self) -> &'static str {
                match self {
                    $(Self::$variant => $words,)+
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.words())
            }
        }

        #[cfg(test)]
        impl $crate::error_kind::tests::Kind for $kind {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    };
}

pub(crate) use kind_words;

#[cfg(test)]
pub(crate) mod tests {
    use crate::{
        BreakerCause, ConsumeErrorKind, DecodeErrorKind, PublishErrorKind,
        dead_letter::{DeadLetterErrorKind, SweepErrorKind},
        dedupe::StoreErrorKind,
        durables::DurablesErrorKind,
        topology::TopologyErrorKind,
        watch::WatchErrorKind,
    };
    use std::{
        collections::HashSet,
        fmt::{Debug, Display},
    };

    pub(crate) trait Kind: Copy + Debug + Display + 'static {
        const ALL: &'static [Self];

        fn word(self) -> &'static str;
    }

    /// `StreamFull` as `stream_full`.
    fn in_snake_case(name: &str) -> String {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(letter.to_lowercase());
        }
        snake
    }

    fn check<K: Kind>() {
        let mut lines = HashSet::new();
        for kind in K::ALL {
            assert_eq!(kind.word(), in_snake_case(&format!("{kind:?}")));
            let line = kind.to_string();
            assert!(line.starts_with(char::is_lowercase) && !line.ends_with('.'), "{line}");
            assert!(lines.insert(line), "{kind:?} has the words of another kind");
        }
    }

    #[test]
    fn each_kind_has_its_name_and_words_of_its_own() {
        check::<BreakerCause>();
        check::<ConsumeErrorKind>();
        check::<DeadLetterErrorKind>();
        check::<DecodeErrorKind>();
        check::<DurablesErrorKind>();
        #[cfg(any(feature = "postgres", feature = "sqlite"))]
        check::<crate::outbox::OutboxErrorKind>();
        check::<PublishErrorKind>();
        check::<StoreErrorKind>();
        check::<SweepErrorKind>();
        check::<TopologyErrorKind>();
        check::<WatchErrorKind>();
    }
}
