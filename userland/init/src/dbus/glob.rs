//! Shell patterns over unit names: `*`, `?`, `[a-z]`, `[!a]`, `\x` (glob(7), without the rules for slashes).

/// Whether the whole text matches the pattern. Takes at most length(pattern) × length(text) steps.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star: it takes one more character each time.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&character) = text.get(t) {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') => Some(p + 1),
            Some('[') => class(&pattern, p, character).unwrap_or((character == '[').then_some(p + 1)),
            Some('\\') if pattern.get(p + 1) == Some(&character) => Some(p + 2),
            Some(&literal) => (literal == character).then_some(p + 1),
            None => None,
        };
        match (step, star) {
            (Some(next), _) => (p, t) = (next, t + 1),
            (None, Some((after, taken))) => {
                (p, t) = (after, taken + 1);
                star = Some((after, taken + 1));
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|rest| *rest == '*')
}

/// Whether it holds any pattern character.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// A bracket expression at `start`: outer None, it is not closed; inner None, the character is not in it.
fn class(pattern: &[char], start: usize, character: char) -> Option<Option<usize>> {
    let negated = matches!(pattern.get(start + 1), Some('!' | '^'));
    let first = start + 1 + usize::from(negated);
    let end = first + 1 + pattern.get(first + 1..)?.iter().position(|c| *c == ']')?;
    let members = pattern.get(first..end)?;
    let (mut at, mut found) = (0, false);
    while let Some(&low) = members.get(at) {
        match (members.get(at + 1), members.get(at + 2)) {
            (Some('-'), Some(&high)) => {
                found |= (low..=high).contains(&character);
                at += 3;
            }
            _ => {
                found |= low == character;
                at += 1;
            }
        }
    }
    Some((found != negated).then_some(end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_the_shell_does() {
        let yes = [
            ("*", ""),
            ("ssh*", "sshd.service"),
            ("*.service", "a.service"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
        ];
        for (pattern, text) in
            yes.into_iter().chain([("[!a]x", "bx"), ("*a*b", "xaxxb"), ("\\*", "*"), ("[", "[")])
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", ""), ("a?", "a"), ("*.mount", "a.service"), ("[!a]", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "[\\[\\]*?!a-c\\\\-]{0,20}", text in "[\\[\\]a-c*]{0,20}") {
            let _ = matches(&pattern, &text);
        }

        #[test]
        fn a_text_between_stars_matches_itself(text in "[a-z.@]{0,20}") {
            let pattern = format!("*{}*", text);
            prop_assert!(matches(&pattern, &text));
        }
    }
}
