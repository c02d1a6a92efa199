//! Shell patterns as in glob(7): `*`, `?` and `[a-z]`, over whole names without special slashes.

/// Whether the name matches the pattern. Linear in memory, at worst pattern times name in time.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go back to: after the last star, one character further each time.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p + 1, n));
            p += 1;
        } else if let Some(next) = one(&pattern, p, name[n]) {
            p = next;
            n += 1;
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            p = after_star;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Matches one character against the pattern's element at `p`; where the next element begins.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => match class(pattern, p) {
            Some((end, negated, members)) => (contains(members, c) != negated).then_some(end),
            None => (c == '[').then_some(p + 1),
        },
        '\\' if p + 1 < pattern.len() => (pattern[p + 1] == c).then_some(p + 2),
        literal => (literal == c).then_some(p + 1),
    }
}

/// The class that begins at `p`: where it ends, whether it is negated, its members.
fn class(pattern: &[char], p: usize) -> Option<(usize, bool, &[char])> {
    let negated = matches!(pattern.get(p + 1), Some('!' | '^'));
    let start = p + 1 + usize::from(negated);
    // A bracket that comes first is a member.
    let length = pattern.get(start + 1..)?.iter().position(|&c| c == ']')? + 1;
    Some((start + length + 1, negated, &pattern[start..start + length]))
}

fn contains(members: &[char], c: char) -> bool {
    let mut rest = members;
    loop {
        match rest {
            [low, '-', high, after @ ..] => {
                if (*low..=*high).contains(&c) {
                    return true;
                }
                rest = after;
            }
            [member, after @ ..] => {
                if *member == c {
                    return true;
                }
                rest = after;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "eth0"),
            ("en*", "enp0s3"),
            ("e*p*s?", "enp0s3"),
            ("eth[0-3]", "eth2"),
            ("eth[!0-3]", "eth7"),
            ("[]x]", "]"),
            ("a[", "a["),
            ("**a", "bba"),
            ("\\*", "*"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("en*", "eth0"), ("eth[0-3]", "eth7"), ("?", ""), ("", "a"), ("\\*", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "[\\[\\]!*?a\\-\\\\]{0,12}", name in "[\\[a*]{0,8}") {
            let _ = matches(&pattern, &name);
        }
    }
}
