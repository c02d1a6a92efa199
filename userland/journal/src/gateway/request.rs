//! What a client asks for: the path, the arguments behind it, and the headers Accept and Range. Pure. Source:
//! systemd-journal-gatewayd.service(8).

use crate::config::parse_bool;
use crate::query::cursor::Cursor;
use crate::query::matches::Expression;
use crate::query::output::Format;
use crate::query::pick;

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To the page for people.
    Redirect,
    /// The page for people.
    Browse,
    /// Entries.
    Entries(Box<Entries>),
    /// The values of a field.
    Field(String, Format),
    /// The machine.
    Machine,
    /// The boots.
    Boots,
}

/// Which entries, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries {
    /// How they are written.
    pub format: Format,
    /// Where to begin.
    pub cursor: Option<Cursor>,
    /// So many later, or, if negative, earlier.
    pub skip: i64,
    /// No more than these.
    pub count: Option<u64>,
    /// Go on with new ones.
    pub follow: bool,
    /// Only the one of the cursor.
    pub discrete: bool,
    /// Only of this boot.
    pub boot: bool,
    /// What they must have.
    pub expression: Expression,
}

/// Why there is no answer: a status of HTTP, and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The words.
    pub words: &'static str,
}

fn bad(words: &'static str) -> Refusal {
    Refusal { status: 400, words }
}

/// The media type of a format.
#[must_use]
pub fn media_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::JsonSse => "text/event-stream",
        Format::Export => "application/vnd.fdo.journal",
        _ => "text/plain",
    }
}

/// Reads a request.
///
/// # Errors
/// It cannot be answered.
pub fn parse(
    method: &str,
    path: &str,
    query: Option<&str>,
    accept: Option<&str>,
    range: Option<&str>,
) -> Result<Request, Refusal> {
    if method != "GET" {
        return Err(Refusal { status: 406, words: "Unsupported method." });
    }
    let format = match accept {
        Some("application/json") => Format::Json,
        Some("text/event-stream") => Format::JsonSse,
        Some("application/vnd.fdo.journal") => Format::Export,
        _ => Format::Short,
    };
    match path {
        "/" => Ok(Request::Redirect),
        "/browse" => Ok(Request::Browse),
        "/machine" => Ok(Request::Machine),
        "/boots" => Ok(Request::Boots),
        "/entries" => entries(format, query.unwrap_or_default(), range).map(Box::new).map(Request::Entries),
        _ => match path.strip_prefix("/fields/") {
            Some(name) => Ok(Request::Field(decode(name), format)),
            None => Err(Refusal { status: 404, words: "Not found." }),
        },
    }
}

fn entries(format: Format, query: &str, range: Option<&str>) -> Result<Entries, Refusal> {
    let mut entries = Entries {
        format,
        cursor: None,
        skip: 0,
        count: None,
        follow: false,
        discrete: false,
        boot: false,
        expression: Expression::All(Vec::new()),
    };
    if let Some(range) = range.and_then(|range| range.strip_prefix("entries=")) {
        take_range(&mut entries, range.trim())?;
    }
    let mut matches = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key), decode(value));
        let flag = || {
            if value.is_empty() { Some(true) } else { parse_bool(&value) }
                .ok_or_else(|| bad("Failed to parse URL arguments."))
        };
        match key.as_str() {
            "follow" => entries.follow = flag()?,
            "discrete" => entries.discrete = flag()?,
            "boot" => entries.boot = flag()?,
            _ => matches.push(format!("{key}={value}")),
        }
    }
    // What begins with a slash would be looked up as a file, and + would separate alternatives.
    if matches.iter().any(|word| word.starts_with('/')) {
        return Err(bad("Failed to parse URL arguments."));
    }
    entries.expression = pick::matches(&matches).map_err(|_| bad("Failed to parse URL arguments."))?;
    if entries.discrete {
        if entries.cursor.is_none() {
            return Err(bad("Discrete seeks require a cursor specification."));
        }
        entries.count = Some(1);
    }
    Ok(entries)
}

/// `cursor[[:num_skip]:num_entries]`
fn take_range(entries: &mut Entries, range: &str) -> Result<(), Refusal> {
    let malformed = || bad("Failed to parse Range header.");
    let mut parts = range.splitn(3, ':');
    let cursor = parts.next().unwrap_or_default().trim();
    let (skip, count) = match (parts.next(), parts.next()) {
        (Some(skip), Some(count)) => (Some(skip), Some(count)),
        (count, _) => (None, count),
    };
    if let Some(skip) = skip.filter(|skip| !skip.is_empty()) {
        entries.skip = skip.parse().map_err(|_| malformed())?;
    }
    if let Some(count) = count.filter(|count| !count.is_empty()) {
        entries.count = Some(count.parse().ok().filter(|count| *count > 0).ok_or_else(malformed)?);
    }
    if !cursor.is_empty() {
        entries.cursor = Some(Cursor::parse(cursor).map_err(|_| bad("Failed to seek in journal."))?);
    }
    Ok(())
}

/// `%41` and `+`, as in a form.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                match (digit(high), digit(low)) {
                    (Some(high), Some(low)) => {
                        bytes.push((high * 16 + low) as u8);
                        rest = after;
                    }
                    _ => bytes.push(b'%'),
                }
            }
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries_of(query: &str, range: &str) -> Result<Entries, Refusal> {
        match parse("GET", "/entries", Some(query), None, Some(range)) {
            Ok(Request::Entries(entries)) => Ok(*entries),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        }
    }

    #[test]
    fn ranges() {
        let of = |range| {
            entries_of("", range).map(|entries| (entries.cursor.is_some(), entries.skip, entries.count))
        };
        assert_eq!(of("entries=t=5"), Ok((true, 0, None)));
        assert_eq!(of("entries=t=5:7"), Ok((true, 0, Some(7))));
        assert_eq!(of("entries=:-3:7"), Ok((false, -3, Some(7))));
        assert_eq!(of("entries=:-3:"), Ok((false, -3, None)));
        assert_eq!(of("bytes=0-1"), Ok((false, 0, None)));
        for range in ["entries=x", "entries=:0", "entries=:x:1", "entries=::-1"] {
            assert_eq!(of(range).unwrap_err().status, 400, "{range}");
        }
    }

    #[test]
    fn arguments() {
        let entries = entries_of("boot&follow=no&_EXE=%2Fbin%2Fa+b", "").unwrap();
        assert!(entries.boot && !entries.follow);
        assert_eq!(entries.expression, pick::matches(&["_EXE=/bin/a b".to_owned()]).unwrap());
        assert!(entries_of("boot=maybe", "").is_err());
        assert!(entries_of("lower=1", "").is_err());
        assert!(entries_of("%2Fetc%2Fpasswd=1", "").is_err(), "no file is looked at for a stranger");
        assert!(entries_of("discrete", "").is_err());
        assert_eq!(entries_of("discrete", "entries=t=5").unwrap().count, Some(1));
        assert_eq!(parse("POST", "/entries", None, None, None).unwrap_err().status, 406);
        assert_eq!(parse("GET", "/x", None, None, None).unwrap_err().status, 404);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(path: String, query: String, range: String) {
            let _ = parse("GET", &path, Some(&query), None, Some(&range));
            let _ = entries_of(&query, &format!("entries={range}"));
        }
    }
}
