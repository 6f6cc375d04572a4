//! The users' functions of the cases, by name; the Java program has the same.
//!
//! A function is `name` or `name:argument`. Null prints as `null`, as in Java, but where it is said.

/// A key or a value of a stream.
pub(crate) type Text = Option<String>;

fn split(function: &str) -> (&str, &str) {
    function.split_once(':').unwrap_or((function, ""))
}

fn or_null(text: &Text) -> &str {
    text.as_deref().unwrap_or("null")
}

/// A predicate of a key and a value; `!` before it turns it around.
pub(crate) fn test(function: &str, key: &Text, value: &Text) -> bool {
    if let Some(function) = function.strip_prefix('!') {
        return !test(function, key, value);
    }
    let (name, argument) = split(function);
    match name {
        "starts" => value.as_ref().is_some_and(|value| value.starts_with(argument)),
        "longer" => {
            let least = argument.parse().unwrap_or(0);
            value.as_ref().is_some_and(|value| value.len() > least)
        }
        "even" => {
            value.as_ref().is_some_and(|value| value.bytes().map(u32::from).sum::<u32>() % 2 == 0)
        }
        "is" => value.as_deref() == Some(argument),
        "key" => key.as_deref() == Some(argument),
        "null" => value.is_none(),
        "noKey" => key.is_none(),
        _ => true,
    }
}

/// A value of a value, or a key of a key and a value.
pub(crate) fn map(function: &str, key: &Text, value: &Text) -> Text {
    let (name, argument) = split(function);
    match name {
        "value" => value.clone(),
        "key" => key.clone(),
        "suffix" => value.as_ref().map(|value| format!("{value}{argument}")),
        "text" => Some(format!("{}{argument}", or_null(value))),
        "keyed" => Some(format!("{}{argument}{}", or_null(key), or_null(value))),
        "bracketed" => Some(format!("[{}]", or_null(key))),
        "prefix" => value.as_ref().map(|value| format!("{argument}{value}")),
        "nullIf" => value.clone().filter(|value| !value.starts_with(argument)),
        "null" => None,
        "const" => Some(argument.to_owned()),
        "first" => value.as_ref().and_then(|value| value.get(..1)).map(str::to_owned),
        "firstUnless" => {
            let found = value.as_ref().filter(|value| !value.starts_with(argument));
            found.and_then(|value| value.get(..1)).map(str::to_owned)
        }
        "unless" => value.clone().filter(|value| value != argument),
        // The text before the argument's first letter, unless it is the rest of the argument.
        "before" => {
            let (separator, none) = argument.split_at_checked(1)?;
            let found = value.as_ref()?.split(separator).next()?;
            (none.is_empty() || found != none).then(|| found.to_owned())
        }
        "after" => value.as_ref()?.split_once(argument).map(|(_, after)| after.to_owned()),
        _ => None,
    }
}

/// Any number of records of one.
pub(crate) fn flat_map(function: &str, key: &Text, value: &Text) -> Vec<(Text, Text)> {
    let Some(text) = value else {
        return Vec::new();
    };
    match function {
        "swapAndNull" => vec![(value.clone(), key.clone()), (None, value.clone())],
        "twice" => ["1", "2"].map(|n| (key.clone(), Some(format!("{text}{n}")))).into(),
        "letters" => text.chars().map(|letter| (key.clone(), Some(letter.to_string()))).collect(),
        "byLetter" => {
            text.chars().map(|letter| (Some(letter.to_string()), value.clone())).collect()
        }
        _ => Vec::new(),
    }
}

/// The value of a join.
pub(crate) fn join(function: &str, left: &Text, right: &Text) -> String {
    let (left, right) = (or_null(left), or_null(right));
    match split(function) {
        ("pair", _) => format!("({left},{right})"),
        (_, separator) => format!("{left}{separator}{right}"),
    }
}

/// The next aggregate; `None` removes the row. A null value is `~`.
pub(crate) fn aggregate(function: &str, aggregate: &str, value: &Text) -> Text {
    let (name, separator) = split(function);
    let value = value.as_deref().unwrap_or("~");
    match name {
        "number" => Some((aggregate.parse::<i64>().unwrap_or(0) + 1).to_string()),
        "appendDel" if value.starts_with("DEL") => None,
        "last" => Some(value.to_owned()),
        _ => Some(format!("{aggregate}{separator}{value}")),
    }
}

/// The next value of a reduction; a null is `null`.
pub(crate) fn reduce(function: &str, aggregate: &Text, value: &Text) -> Text {
    let (name, separator) = split(function);
    match name {
        "appendDel" if value.as_ref().is_some_and(|value| value.starts_with("DEL")) => None,
        "last" => value.clone(),
        _ => Some(format!("{}{separator}{}", or_null(aggregate), or_null(value))),
    }
}
