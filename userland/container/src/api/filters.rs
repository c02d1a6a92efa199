//! Filters of lists: `{"label":["a=b"]}`, in the old form `{"label":{"a=b":true}}`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::Failure;

/// What a list is to be reduced to.
#[derive(Clone, Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads the value of `filters`, of which each name must be among the known.
    ///
    /// # Errors
    /// When it is none, or names an unknown filter.
    pub fn read(text: Option<&str>, known: &[&str]) -> Result<Self, Failure> {
        let Some(text) = text else { return Ok(Self::default()) };
        let bad = || Failure::bad(format!("invalid filter: {text}"));
        let parsed: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|_| bad())?;
        let mut filters = BTreeMap::new();
        for (name, values) in parsed {
            if !known.contains(&name.as_str()) {
                return Err(Failure::bad(format!("invalid filter '{name}'")));
            }
            let values: Option<Vec<String>> = match values {
                Value::Array(values) => {
                    values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
                }
                Value::Object(values) => Some(values.into_iter().map(|(value, _)| value).collect()),
                _ => None,
            };
            filters.insert(name, values.ok_or_else(bad)?);
        }
        Ok(Self(filters))
    }

    /// The values of one filter.
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether there is no such filter, or one of its values is accepted.
    pub fn any(&self, name: &str, accept: impl Fn(&str) -> bool) -> bool {
        let values = self.values(name);
        values.is_empty() || values.iter().any(|value| accept(value))
    }

    /// Whether every `label` that is asked for is there, and every `label!` is not.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").iter().all(has) && !self.values("label!").iter().any(has)
    }

    /// A switch among the filters, as `dangling`.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.values(name).first().map(|value| matches!(value.as_str(), "1" | "true" | "True" | "TRUE"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_the_same() {
        for text in
            [r#"{"label":["a=b"],"name":["x","y"]}"#, r#"{"label":{"a=b":true},"name":{"x":true,"y":true}}"#]
        {
            let filters = Filters::read(Some(text), &["label", "name"]).unwrap();
            assert!(filters.any("name", |name| name == "y") && !filters.any("name", |name| name == "z"));
            assert!(filters.any("other", |_| false));
            assert!(filters.labels(&BTreeMap::from([("a".to_owned(), "b".to_owned())])));
            assert!(!filters.labels(&BTreeMap::from([("a".to_owned(), "c".to_owned())])));
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in ["x", "[]", r#"{"label":1}"#, r#"{"unknown":["x"]}"#] {
            assert!(Filters::read(Some(bad), &["label"]).is_err(), "{bad}");
        }
    }
}
