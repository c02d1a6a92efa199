//! A payload gives back what it was made of, and whoever changed a bit of it gets nothing written.

use std::fs::File;
use std::io::Write;

use proptest::prelude::*;

use super::*;

/// As `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them; it signs nothing else.
const PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEIHB8Qvts1OC2CURnHVEJU/T7xtCJt2GFyFso9ofBhaqH\n\
-----END PRIVATE KEY-----\n\n";
pub(crate) const PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEAhNUv5joEi8od64j+8l144bsSFvomq/YBxTd0fNRhTHk=\n\
-----END PUBLIC KEY-----\n\n";

pub(crate) fn keys(pem: &str) -> Result<Keys, KeyError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("one.pem"), pem).unwrap();
    std::fs::write(folder.path().join("README"), "not a key").unwrap();
    Keys::read(&[folder.path()])
}

pub(crate) fn signer() -> Signer {
    Signer::read(PRIVATE).unwrap()
}

/// Bytes that do not compress, the same for one seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| step()).collect()
}

/// A root of noise, a hole and text, and a kernel.
fn release(version: &str) -> Release {
    let mut root = noise(1, (1 << 20) + 200_000);
    root.extend(vec![0; 2 << 20]);
    root.extend(b"a line of text\n".repeat(20_000));
    root.resize(root.len().next_multiple_of(4096), 0);
    Release {
        version: version.to_owned(),
        root,
        root_hash: [7; 32],
        salt: [8; 32],
        kernel: noise(2, 90_001),
        kernel_arguments: vec!["console=ttyS0,115200".to_owned()],
    }
}

/// The same with something put in near the beginning, so that all that follows is elsewhere.
fn next() -> Release {
    let mut next = release("2");
    next.root.splice(5000..5000, noise(3, 4096 * 3 + 17));
    next.root.resize(next.root.len().next_multiple_of(4096), 0);
    next.root_hash = [9; 32];
    next
}

fn payload(release: &Release, base: Option<&Release>) -> Vec<u8> {
    let mut made = Vec::new();
    make(release, base, &Terms::default(), &[signer()], &mut made).unwrap();
    made
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// What a machine with this base writes.
fn written(payload: &[u8], base: Option<&Release>) -> Result<(Manifest, Vec<u8>, Vec<u8>), PayloadError> {
    let mut rest = payload;
    let manifest = open(&mut rest, &keys(PUBLIC).unwrap())?;
    let (mut root, mut kernel) = (Vec::new(), Vec::new());
    let of_base = |bytes: &[u8]| base.is_some().then(|| file(bytes));
    let old = base.map(|base| (base.root.as_slice(), base.kernel.as_slice())).unwrap_or_default();
    write_image(&manifest.root, &mut rest, of_base(old.0).as_ref(), &mut root)?;
    write_image(&manifest.kernel, &mut rest, of_base(old.1).as_ref(), &mut kernel)?;
    assert!(rest.is_empty(), "{} bytes belong to nothing", rest.len());
    Ok((manifest, root, kernel))
}

#[test]
fn a_full_payload_is_the_whole_release() {
    let release = release("1");
    let made = payload(&release, None);
    assert_eq!(made, payload(&release, None), "the same release makes the same bytes");
    let (manifest, root, kernel) = written(&made, None).unwrap();
    assert_eq!((manifest.version.as_str(), manifest.root_hash), ("1", Digest([7; 32])));
    assert!(root == release.root && kernel == release.kernel);
    assert!(
        made.len() < (1 << 20) + 200_000 + 90_001 + 100_000,
        "{} bytes: the hole and the text take none",
        made.len()
    );
    assert_eq!(manifest.data_length() as usize, data_of(&made).len());
}

/// The data in a payload.
fn data_of(payload: &[u8]) -> &[u8] {
    let mut rest = payload;
    open(&mut rest, &keys(PUBLIC).unwrap()).unwrap();
    rest
}

#[test]
fn a_difference_is_small_and_needs_its_base() {
    let (old, new) = (release("1"), next());
    let made = payload(&new, Some(&old));
    let (manifest, root, kernel) = written(&made, Some(&old)).unwrap();
    assert!(root == new.root && kernel == new.kernel);
    assert_eq!(manifest.base.unwrap().version, "1");
    assert!(made.len() < 60_000, "{} bytes for 12 KiB put in", made.len());
    assert!(matches!(written(&made, None), Err(PayloadError::NoBase(_))));
    // Another base than the one it was made from gives nothing that passes for the release.
    assert!(written(&made, Some(&new)).is_err());
}

#[test]
fn only_who_has_a_trusted_key_is_believed() {
    let made = payload(&release("1"), None);
    let other = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    assert!(matches!(open(&mut &made[..], &keys(other).unwrap()), Err(PayloadError::Unsigned)));
    let both = format!("{other}{PUBLIC}");
    // One file, one key: the first.
    assert!(matches!(open(&mut &made[..], &keys(&both).unwrap()), Err(PayloadError::Unsigned)));
    for bad in ["", "garbage", &PUBLIC.replace("PUBLIC", "PRIVATE"), &PUBLIC.replace("MCow", "MCoW")] {
        assert!(matches!(keys(bad), Err(KeyError::NotOne(_))), "{bad}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Keys::read(&[empty.path(), &empty.path().join("missing")]), Err(KeyError::None(_))));
    assert!(Signer::read(PUBLIC).is_none() && Signer::read("").is_none());
}

#[test]
fn a_payload_of_the_future_says_what_to_do() {
    let mut made = payload(&release("1"), None);
    made[8] = 2;
    let told = open(&mut &made[..], &keys(PUBLIC).unwrap()).unwrap_err().to_string();
    assert!(told.contains("format 2") && told.contains("between"), "{told}");
    assert!(matches!(
        open(&mut &b"GIF89a, and more than twenty bytes"[..], &keys(PUBLIC).unwrap()),
        Err(PayloadError::NotOne)
    ));
}

#[test]
fn a_cut_payload_is_refused_wherever_it_is_cut() {
    let made = payload(&release("1"), None);
    let head = made.len() - data_of(&made).len();
    let cuts = (0..head).step_by(7).chain((head..made.len()).step_by(99_991));
    for length in cuts {
        assert!(written(&made[..length], None).is_err(), "cut at {length}");
    }
}

/// What a manifest may not say, although it is signed.
#[test]
fn a_signed_manifest_is_checked_too() {
    let good = open(&mut &payload(&next(), Some(&release("1")))[..], &keys(PUBLIC).unwrap()).unwrap();
    let refused = |change: &dyn Fn(&mut Manifest), why: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let told = Manifest::parse(&serde_json::to_vec(&bad).unwrap()).unwrap_err();
        assert!(told.contains(why), "{told}");
    };
    refused(&|bad| bad.product = "other".to_owned(), "product");
    refused(&|bad| bad.architecture = "riscv64".to_owned(), "riscv64");
    refused(&|bad| bad.root.size += 4096, "in pieces");
    refused(&|bad| bad.root.size = 0, "root of 0 bytes");
    refused(&|bad| bad.root.pieces[0].length = 0, "piece of 0 bytes");
    refused(&|bad| bad.root.pieces[0].length = u32::MAX, "piece of 4294967295 bytes");
    refused(&|bad| bad.root.pieces[0].source = Source::Base(u64::MAX), "not in the base");
    refused(&|bad| bad.base = None, "not in the base");
    refused(&|bad| bad.kernel.pieces[0].source = Source::Base(1), "not in the base");
    refused(&|bad| bad.kernel_arguments.push("a\"; set root=hd1".to_owned()), "kernel argument");
    let endless = Source::Data { length: 1, prefix: Some((0, u64::MAX)) };
    refused(&|bad| bad.root.pieces[0].source = endless.clone(), "not in the base");
    let huge = Source::Data { length: u32::MAX, prefix: None };
    refused(&|bad| bad.root.pieces[0].source = huge.clone(), "bytes of data");
    let text = serde_json::to_string(&good).unwrap().replacen('{', "{\"later\":1,", 1);
    assert!(Manifest::parse(text.as_bytes()).unwrap_err().contains("unknown field"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bit_that_is_turned_is_found(at: prop::sample::Index, bit in 0..8_u8) {
        thread_local! { static MADE: (Release, Vec<u8>) = { let one = release("1"); let made = payload(&one, None); (one, made) }; }
        MADE.with(|(release, made)| {
            let mut bad = made.clone();
            let at = at.index(bad.len());
            bad[at] ^= 1 << bit;
            // Bits of a compressed frame that change nothing may be turned; what is written is the release, or nothing.
            if let Ok((_, root, kernel)) = written(&bad, None) {
                prop_assert!(root == release.root && kernel == release.kernel, "bit {bit} of byte {at}");
                prop_assert!(at >= made.len() - data_of(made).len());
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_bytes_are_no_payload(bytes in prop::collection::vec(any::<u8>(), 0..4096), valid_head: bool) {
        let mut bytes = bytes;
        if valid_head && bytes.len() > 20 {
            bytes[..12].copy_from_slice(b"CORTENUP\x01\0\0\0");
        }
        prop_assert!(open(&mut &bytes[..], &keys(PUBLIC).unwrap()).is_err());
        prop_assert!(Manifest::parse(&bytes).is_err());
    }
}
