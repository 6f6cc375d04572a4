//! Which topics are meant: names in which a star stands for anything.

/// A name of topics, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether a topic is meant.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = topic.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The earliest place leaves the most for what comes after.
            let Some(at) = rest.find(part) else { return false };
            rest = rest.split_at(at + part.len()).1;
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn a_star_stands_for_anything_and_all_else_for_itself() {
        for (pattern, topic, expected) in [
            ("orders", "orders", true),
            ("orders", "orders-eu", false),
            ("*", "anything", true),
            ("orders*", "orders", true),
            ("orders-*", "orders-eu", true),
            ("orders-*", "my-orders-eu", false),
            ("*-eu", "orders-eu", true),
            ("*-eu", "orders-eu-1", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("a.c", "abc", false),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(topic), expected, "{pattern} {topic}");
        }
    }
}
