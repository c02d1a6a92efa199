//! The same lines to Debian's own systemd-tmpfiles and systemd-sysusers and to ours, in two roots: what they leave must
//! be the same to the last bit of every mode.
//!
//! Needs root, for owners and device nodes; anybody else is told so and passes.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Settings: what is there before (a shell script), the lines, the arguments.
struct Case(&'static str, &'static str, &'static [&'static str]);

const TMPFILES: &[Case] = &[
    Case(
        "",
        "d /a/b/c 0750 core wheel -\nd /a/b/c/d\nf /a/file 0600 core - - hello\\nthere\\x21\n",
        &["--create"],
    ),
    Case(
        "mkdir -p a; echo old > a/f; echo old > a/g; chmod 600 a/f; chmod 700 a",
        "d /a\nd /b 0700\nf /a/f 0644 - - - new\nf+ /a/g - - - - new\nf /a/h\nF /a/i 0640 - - - x\n",
        &["--create"],
    ),
    Case(
        "mkdir a; echo 1 > a/x; echo 1 > a/y",
        "w /a/x - - - - 2\\n\nw+ /a/* - - - - 3\\n\nw /none - - - - 4\n",
        &["--create"],
    ),
    Case(
        "mkdir -p a d; echo x > a/file; ln -s /old a/link; ln -s /new a/same",
        "L /a/new - - - - ../target\nL /a/link - - - - /new\nL+ /a/file - - - - /new\nL /a/same - - - - /new\n\
         L /a/factory/x\nL+ /d - - - - /x\n",
        &["--create"],
    ),
    Case("mkdir a; echo x > a/p2", "p /a/p 0622 core wheel\np+ /a/p2\np /a/p3\n", &["--create"]),
    Case(
        "",
        "c /a/null 0666 - wheel - 1:3\nb /a/loop 0640 root wheel - 7:0\nc+ /a/zero - - - - 1:5\n",
        &["--create"],
    ),
    Case(
        "mkdir -p usr/share/factory/etc src/in; echo f > usr/share/factory/etc/x; echo s > src/s; ln -s s src/l; \
         chmod 640 src/s; chown 500:10 src/s; mkdir full empty; echo k > full/kept",
        "C /etc/x\nC /copy - - - - /src\nC /full - - - - /src\nC /empty - - - - /src\nC /none - - - - /no/such\n",
        &["--create"],
    ),
    Case(
        "mkdir -p a/b/c; echo x > a/b/f; chmod 711 a/b; chmod 4755 a/b/f; ln -s f a/b/l",
        "z /a/b 0770 core wheel\nZ /a/b ~0755 core :wheel\nz /a/*/f :0700\nz /none 0700\ne /a/b 0755\ne /a/none 0700\n",
        &["--create"],
    ),
    Case(
        "mkdir a; chmod 755 a",
        "d /a :0700 :core :wheel\nd /b :0700 :core :wheel\nd /c ~0777\n",
        &["--create"],
    ),
    Case("ln -s b a; mkdir b; touch f", "d /a 0700\nd /a/in\nd /f\nf /a\n", &["--create"]),
    Case("touch f; mkdir d", "d= /f 0700\nf= /d 0600 - - - x\n", &["--create"]),
    Case(
        "mkdir -p a/b r/x/y R/x/y D/x/y e; touch a/b/f r1 r2 D/f; ln -s /etc l",
        "r /r1\nr /r2*\nr /e\nr /r\nR /R\nR /l\nR /none\nD /D 0700\nd /a\nr! /a/b/f\n",
        &["--remove", "--create"],
    ),
    Case("mkdir -p a; touch a/b", "r! /a/b\nd! /c\n", &["--remove", "--create", "--boot"]),
    Case(
        "",
        "d /a/1\nd /b/2\nd /a/x/3\nd /run/4\n",
        &["--create", "--prefix=/a", "--prefix=/run", "--exclude-prefix=/a/x"],
    ),
    Case("", "d /a/1\nd /run/4\nd /dev/x\nd /tmp/y\n", &["--create", "-E"]),
    Case("", "d /a 0700\nd /a 0755\nf /b - - - - 1\nf /b - - - - 2\nz /a 0711\n", &["--create"]),
    Case("mkdir -p a", "t /a - - - - user.x=1 user.y=\"2 3\"\nT /a - - - - user.z=4\n", &["--create"]),
    Case("", "f~ /a - - - - aGVsbG8K\nf /%m-%b-%% - - - - %m%%\nd \"/a b\" 0700\nd '/c d'\n", &["--create"]),
    Case(
        "mkdir -p t/old/deep t/kept t/sticky t/lock u/x x/in X/in; cd t; touch f old/deep/f kept/f sticky/s; chmod +t sticky/s; \
         mkfifo p; ln -s f l; mknod n c 1 3; cd ..; touch u/x/f x/in/f X/in/f; \
         find t u x X -exec touch -h -d '2001-01-01' {} +",
        "d /t - - - 10d\nx /t/kept\nd /u - - - ~0\nd /x - - - am:1s\nx /x/in\nd /X - - - 0\nX /X/in\n",
        &["--clean"],
    ),
    Case(
        "mkdir -p t/a t/b; touch t/a/f t/b/g; find t -exec touch -h -d '2001-01-01' {} +",
        "e /t/* - - - m:1d\nx /t/b/*\n",
        &["--clean"],
    ),
    Case("mkdir t; touch t/f", "q /t 1777 root root 30d\nv /v\nQ /Q 0700\n", &["--clean", "--create"]),
];

const SYSUSERS: &[Case] = &[
    Case("", "u ab - \"A B\" /var/ab /bin/sh\nu cd 450\ng ef 451\nm cd ef\nm gh ij\n", &[]),
    Case("", "u root 0 \"Super User\" /root\ng root 0\ng tty 5\nu nobody 65534:65534\n", &[]),
    Case("", "g wide 460\nu deep 461:wide \"Deep\" /x\nu deeper -:wide\n", &[]),
    Case("", "u taken 500\ng taken2 10\nu core 7\ng wheel 8\nm core wheel\nm core new\n", &[]),
    Case("mkdir -p srv; touch srv/f; chown 470:471 srv/f", "u own /srv/f\ng owng /srv/f\n", &[]),
    Case("", "r - 200-201\nu a\nu b\n", &[]),
    Case("", "u a 480\nu a 481\nbad\nu 1x\ng g\n", &[]),
    Case("echo '+::::::' >> etc/passwd; echo '+:::' >> etc/group", "u x 490\n", &[]),
];

#[test]
fn tmpfiles_does_what_debians_does() {
    compare(TMPFILES, "systemd-tmpfiles", "tmpfiles.d", sysinit::systemd_tmpfiles);
}

#[test]
fn sysusers_does_what_debians_does() {
    compare(SYSUSERS, "systemd-sysusers", "sysusers.d", sysinit::systemd_sysusers);
}

fn compare(cases: &[Case], program: &str, kind: &str, ours: fn(Vec<OsString>) -> ExitCode) {
    if !rustix_is_root() {
        eprintln!("{program}: skipped, needs root");
        return;
    }
    let mut wrong = Vec::new();
    for Case(before, lines, args) in cases {
        let (theirs_root, our_root) = (root(before, kind, lines), root(before, kind, lines));
        let at = |root: &Path| format!("--root={}", root.display());
        let theirs =
            Command::new(program).arg(at(theirs_root.path())).args(*args).output().expect("Debian's systemd");
        let mut all: Vec<OsString> = vec![program.into(), at(our_root.path()).into()];
        all.extend(args.iter().map(Into::into));
        let our_status = ours(all);
        let their_status = ExitCode::from(u8::try_from(theirs.status.code().unwrap_or(255)).unwrap_or(255));
        let (want, got) = (listing(theirs_root.path()), listing(our_root.path()));
        if want != got || their_status != our_status {
            let only = |one: &[String], other: &[String], mark: &str| {
                let lines = one.iter().filter(|line| !other.contains(line));
                lines.map(|line| format!("    {mark} {line}\n")).collect::<String>()
            };
            wrong.push(format!(
                "{lines}  after: {before}\n{}{}    status {their_status:?}, ours {our_status:?}\n    {}",
                only(&want, &got, "theirs:"),
                only(&got, &want, "ours:  "),
                String::from_utf8_lossy(&theirs.stderr)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

fn root(before: &str, kind: &str, lines: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    for folder in ["etc", "usr/lib", "run", "var", "dev", "tmp"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    fs::create_dir_all(path.join("etc").join(kind)).unwrap();
    fs::write(path.join("etc").join(kind).join("test.conf"), lines).unwrap();
    fs::write(path.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\ncore:x:500:501::/home/core:/bin/sh\n")
        .unwrap();
    fs::write(path.join("etc/group"), "root:x:0:\ncore:x:501:\nwheel:x:10:root\n").unwrap();
    fs::write(path.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let done =
        Command::new("sh").args(["-ec", &format!("umask 022; {before}")]).current_dir(path).status().unwrap();
    assert!(done.success(), "{before}");
    root
}

/// Every path with its type, mode, owner, target, attributes and content.
fn listing(root: &Path) -> Vec<String> {
    let script = "find . -printf '%P %y %m %U %G %l\\n' | sort; \
                  find . -type f ! -name '.*' | sort | while read -r f; do echo \"$f: $(od -An -c \"$f\" | tr -s '\\n ' ' ')\"; done; \
                  find . ! -type l | sort | while read -r f; do stat -c '%n %t:%T' \"$f\"; done";
    let out = Command::new("sh").args(["-c", script]).current_dir(root).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (path, name) in [("a", "user.x"), ("a", "user.y"), ("a", "user.z")] {
        let value = Command::new("perl")
            .args(["-e", "my $b = \"\\0\" x 64; my $n = syscall(191, my $p = $ARGV[0], my $k = $ARGV[1], $b, 64); print substr($b, 0, $n > 0 ? $n : 0)", path, name])
            .current_dir(root)
            .output()
            .unwrap();
        lines.push(format!("{path} {name} {}", String::from_utf8_lossy(&value.stdout)));
    }
    // The locks of who writes these files, and who waits there.
    lines.retain(|line| !line.contains(".pwd.lock"));
    lines
}
