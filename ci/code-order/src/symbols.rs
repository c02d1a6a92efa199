//! The functions of the binary, as `nm` tells them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use qemu::{Error, Result};

struct Function {
    bytes: u64,
    /// Functions of the same code are one function, with several names.
    names: Vec<String>,
}

/// The functions by their addresses.
pub struct Symbols {
    /// Where a process begins.
    pub entry: u64,
    functions: BTreeMap<u64, Function>,
}

impl Symbols {
    /// Those of a binary with symbols.
    pub fn of(binary: &Path) -> Result<Symbols> {
        let said = Command::new("nm")
            .args(["--print-size", "--defined-only"])
            .arg(binary)
            .output()
            .map_err(|error| Error::Usage(format!("nm (package binutils) does not start: {error}")))?;
        let mut symbols = Symbols { entry: 0, functions: BTreeMap::new() };
        for line in String::from_utf8_lossy(&said.stdout).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let &[address, bytes, kind, name] = words.as_slice() else { continue };
            let number = |digits| u64::from_str_radix(digits, 16);
            let (Ok(address), Ok(bytes)) = (number(address), number(bytes)) else { continue };
            if !matches!(kind, "t" | "T" | "w" | "W" | "i") {
                continue;
            }
            if name == "_start" {
                symbols.entry = address;
            }
            let function = symbols.functions.entry(address).or_insert(Function { bytes, names: Vec::new() });
            function.bytes = function.bytes.max(bytes);
            function.names.push(plain(name));
        }
        if symbols.entry == 0 {
            return Err(Error::Usage(format!("{}: nm finds no function _start in it", binary.display())));
        }
        Ok(symbols)
    }

    /// From the first function to the end of the last.
    pub fn code(&self) -> Range<u64> {
        let end = |(address, function): (&u64, &Function)| address + function.bytes;
        self.functions.first_key_value().map_or(0, |(address, _)| *address)
            ..self.functions.last_key_value().map_or(0, end)
    }

    /// Whether there is a function of this name.
    pub fn has(&self, name: &str) -> bool {
        self.functions.values().any(|function| function.names.iter().any(|one| one == name))
    }

    /// The names of the functions that these addresses are in, each once, in the addresses' order.
    pub fn called(&self, addresses: impl IntoIterator<Item = u64>) -> Vec<String> {
        let (mut seen, mut written) = (BTreeSet::new(), HashSet::new());
        let mut names = Vec::new();
        for address in addresses {
            let Some((start, function)) = self.functions.range(..=address).next_back() else { continue };
            if address < start + function.bytes.max(1) && seen.insert(start) {
                names.extend(function.names.iter().filter(|name| written.insert(name.as_str())).cloned());
            }
        }
        names
    }
}

/// A name without what tells one version of a crate from another, and one run of the compiler from another; the same
/// as image/link does.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("Cs") {
        plain += before;
        plain.push('C');
        let digits = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
        match after.as_bytes().get(digits) {
            Some(b'_') if digits > 0 => rest = &after[digits + 1..],
            _ => {
                plain.push('s');
                rest = after;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_crate_is_not_in_a_plain_name() {
        assert_eq!(plain("_RNvNtCs6vOXarSOk4V_4init4main3run"), "_RNvNtC4init4main3run");
        assert_eq!(plain("_RINvCs1_3fooNtCsabc_3bar3BazE"), "_RINvC3fooNtC3bar3BazE");
        assert_eq!(plain("XCs_Cs"), "XCs_Cs");
        assert_eq!(plain("memcpy"), "memcpy");
    }

    #[test]
    fn addresses_become_functions_once_each_in_their_order() {
        let function = |bytes, names: &[&str]| Function {
            bytes,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let functions =
            [(16, function(8, &["a"])), (32, function(16, &["b", "c"])), (48, function(0, &["d"]))];
        let symbols = Symbols { entry: 16, functions: functions.into() };
        assert_eq!(symbols.called([40, 17, 33, 24, 8, 48]), ["b", "c", "a", "d"]);
        assert_eq!(symbols.code(), 16..48);
    }
}
