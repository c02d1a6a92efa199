//! Users and groups that the C library does not know: its lookups, getpwnam(3) and getgrnam(3) and their kin, which then
//! ask somebody else.
//!
//! The C library of a static program reads files only. The four functions here have the names of its own, and a program
//! that calls [`also_known`] gets these, so that libraries which look names up find them, too. The files come first.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

/// Who is asked for what no file has. User and group have the same name and number.
#[derive(Debug, Clone, Copy)]
pub struct Others {
    /// The name with this number.
    pub name_of: fn(u32) -> Option<String>,
    /// The number of this name.
    pub number_of: fn(&str) -> Option<u32>,
}

static OTHERS: OnceLock<Others> = OnceLock::new();

/// From now on these are asked, too. The first ones that are given stay.
pub fn also_known(others: Others) {
    let _ = OTHERS.set(others);
    // the linker must take these four rather than the C library's
    std::hint::black_box((getpwuid as *const (), getpwnam as *const ()));
    std::hint::black_box((getgrgid as *const (), getgrnam as *const ()));
}

/// An answer's record, and the text that it points into. Both stay where they are until the next question.
struct Answer<T> {
    record: MaybeUninit<T>,
    text: Vec<u8>,
}

/// An answer of the C library longer than this is an error.
const LONGEST: usize = 1 << 20;

impl<T> Answer<T> {
    const fn new() -> Answer<T> {
        Answer { record: MaybeUninit::uninit(), text: Vec::new() }
    }

    /// Asks the C library, with as much room as it wants.
    fn ask(&mut self, ask: impl Fn(*mut T, *mut c_char, usize, *mut *mut T) -> c_int) -> Option<*mut T> {
        self.text.resize(self.text.len().max(1024), 0);
        loop {
            let mut found = ptr::null_mut();
            let (text, room) = (self.text.as_mut_ptr().cast(), self.text.len());
            match ask(self.record.as_mut_ptr(), text, room, &mut found) {
                libc::ERANGE if room < LONGEST => self.text.resize(room * 2, 0),
                _ => return (!found.is_null()).then_some(found),
            }
        }
    }

    /// Takes in words; tells where each is.
    fn words<const N: usize>(&mut self, words: [&str; N]) -> [*mut c_char; N] {
        self.text.clear();
        let starts = words.map(|word| {
            let start = self.text.len();
            self.text.extend(word.bytes().filter(|byte| *byte != 0).chain([0]));
            start
        });
        starts.map(|start| self.text.as_mut_ptr().wrapping_add(start).cast())
    }
}

thread_local! {
    static USER: RefCell<Answer<libc::passwd>> = const { RefCell::new(Answer::new()) };
    static GROUP: RefCell<Answer<libc::group>> = const { RefCell::new(Answer::new()) };
}

/// The end of a group's list of members.
struct NoMembers([*mut c_char; 1]);
// SAFETY: it is a null pointer, which nobody writes to.
unsafe impl Sync for NoMembers {}
static NO_MEMBERS: NoMembers = NoMembers([ptr::null_mut()]);

fn by_number(number: u32) -> Option<(String, u32)> {
    Some(((OTHERS.get()?.name_of)(number)?, number))
}

/// # Safety
/// `name` is null, or a string that ends with a zero.
unsafe fn by_name(name: *const c_char) -> Option<(String, u32)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    Some((name.to_owned(), (OTHERS.get()?.number_of)(name)?))
}

fn user(
    ask: impl Fn(*mut libc::passwd, *mut c_char, usize, *mut *mut libc::passwd) -> c_int,
    other: impl FnOnce() -> Option<(String, u32)>,
) -> *mut libc::passwd {
    USER.with_borrow_mut(|answer| {
        if let Some(found) = answer.ask(ask) {
            return found;
        }
        let Some((name, number)) = other() else { return ptr::null_mut() };
        let [pw_name, pw_passwd, pw_gecos, pw_dir, pw_shell] =
            answer.words([&name, "x", "", "/", "/usr/sbin/nologin"]);
        let record =
            libc::passwd { pw_name, pw_passwd, pw_uid: number, pw_gid: number, pw_gecos, pw_dir, pw_shell };
        ptr::from_mut(answer.record.write(record))
    })
}

fn group(
    ask: impl Fn(*mut libc::group, *mut c_char, usize, *mut *mut libc::group) -> c_int,
    other: impl FnOnce() -> Option<(String, u32)>,
) -> *mut libc::group {
    GROUP.with_borrow_mut(|answer| {
        if let Some(found) = answer.ask(ask) {
            return found;
        }
        let Some((name, number)) = other() else { return ptr::null_mut() };
        let [gr_name, gr_passwd] = answer.words([&name, "x"]);
        let gr_mem = NO_MEMBERS.0.as_ptr().cast_mut();
        ptr::from_mut(answer.record.write(libc::group { gr_name, gr_passwd, gr_gid: number, gr_mem }))
    })
}

/// getpwuid(3)
#[unsafe(no_mangle)]
extern "C" fn getpwuid(uid: libc::uid_t) -> *mut libc::passwd {
    // SAFETY: the pointers are to a record and to text of that length, which both live on.
    let ask = |record, text, room, found| unsafe { libc::getpwuid_r(uid, record, text, room, found) };
    user(ask, || by_number(uid))
}

/// getpwnam(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn getpwnam(name: *const c_char) -> *mut libc::passwd {
    // SAFETY: as above; the name is what the caller of getpwnam(3) has to give.
    let ask = |record, text, room, found| unsafe { libc::getpwnam_r(name, record, text, room, found) };
    // SAFETY: the same.
    user(ask, || unsafe { by_name(name) })
}

/// getgrgid(3)
#[unsafe(no_mangle)]
extern "C" fn getgrgid(gid: libc::gid_t) -> *mut libc::group {
    // SAFETY: the pointers are to a record and to text of that length, which both live on.
    let ask = |record, text, room, found| unsafe { libc::getgrgid_r(gid, record, text, room, found) };
    group(ask, || by_number(gid))
}

/// getgrnam(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn getgrnam(name: *const c_char) -> *mut libc::group {
    // SAFETY: as above; the name is what the caller of getgrnam(3) has to give.
    let ask = |record, text, room, found| unsafe { libc::getgrnam_r(name, record, text, room, found) };
    // SAFETY: the same.
    group(ask, || unsafe { by_name(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_librarys_lookups_know_the_others() {
        also_known(Others {
            name_of: |number| (number == 61_200).then(|| "web".to_owned()),
            number_of: |name| (name == "web").then_some(61_200),
        });
        let name = |text: *mut c_char| {
            // SAFETY: it is of a record that was just found.
            unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
        };
        // SAFETY: each record is read before the next question, and the names end with a zero.
        unsafe {
            let user = libc::getpwuid(61_200);
            assert_eq!(
                (name((*user).pw_name), name((*user).pw_shell)),
                ("web".into(), "/usr/sbin/nologin".into())
            );
            assert_eq!((*libc::getpwnam(c"web".as_ptr())).pw_gid, 61_200);
            let group = libc::getgrgid(61_200);
            assert_eq!((name((*group).gr_name), (*(*group).gr_mem).is_null()), ("web".into(), true));
            assert_eq!((*libc::getgrnam(c"web".as_ptr())).gr_gid, 61_200);
            assert_eq!(name((*libc::getpwuid(0)).pw_name), "root", "the files come first");
            assert!(libc::getpwuid(61_201).is_null() && libc::getpwnam(c"nobody at all".as_ptr()).is_null());
        }
    }
}
