//! Downloads from servers as they are: they cut, lie, stall, redirect, and change what they serve.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use http_client::{Http, Url};
use update::download::{Download, Patience};
use update_engine::payload::Data;

/// What a server does with one request: it gets the first byte that is asked for.
type Behaviour = dyn Fn(usize, Option<u64>, &mut TcpStream) -> io::Result<()> + Send + Sync;

/// A server on loopback that behaves as told; it notes the ranges that it was asked for.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Option<u64>>>>,
}

impl Server {
    fn new(
        behave: impl Fn(usize, Option<u64>, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a.payload", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Option<u64>>>> = Arc::default();
        let (noted, behave): (_, Arc<Behaviour>) = (Arc::clone(&asked), Arc::new(behave));
        let count = AtomicUsize::new(0);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (behave, noted) = (Arc::clone(&behave), Arc::clone(&noted));
                thread::spawn(move || {
                    let from = range(&stream);
                    noted.lock().unwrap().push(from);
                    let _ = behave(number, from, &mut stream);
                });
            }
        });
        Server { url, asked }
    }

    fn download(&self) -> Download {
        download(&[&self.url], None)
    }
}

/// Reads a request, and the first byte of its range.
fn range(stream: &TcpStream) -> Option<u64> {
    let mut from = None;
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap_or_default().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    from
}

fn download(urls: &[&str], size: Option<u64>) -> Download {
    let patience = Patience { answer: Duration::from_secs(2), pause: Duration::from_millis(5), tries: 4 };
    let urls = urls.iter().map(|url| Url::parse(url).unwrap()).collect();
    Download::new(Http::new(&[]).unwrap(), urls, size, patience).unwrap()
}

fn file() -> Vec<u8> {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| (0..3_000_000_u32).map(|at| (at % 251) as u8 ^ (at >> 16) as u8).collect()).clone()
}

/// The head of an answer with the file from this byte on.
fn head(file: &[u8], from: Option<u64>, etag: &str) -> String {
    let (length, last) = (file.len() as u64, file.len() - 1);
    match from {
        None => format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n"
        ),
        Some(from) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{last}/{length}\r\nETag: {etag}\r\nConnection: close\r\n\r\n",
            length - from
        ),
    }
}

fn whole(download: &mut Download) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    download.read_to_end(&mut bytes).map(|_| bytes)
}

fn refused(download: &mut Download) -> String {
    whole(download).unwrap_err().to_string()
}

#[test]
fn a_server_that_cuts_is_asked_for_the_rest() {
    let server = Server::new(|_, from, stream| {
        let (file, start) = (file(), from.unwrap_or(0) as usize);
        stream.write_all(head(&file, from, "\"1\"").as_bytes())?;
        stream.write_all(&file[start..file.len().min(start + 700_000)])
    });
    assert!(whole(&mut server.download()).unwrap() == file());
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[0] < pair[1]), "{asked:?}");
}

#[test]
fn a_server_that_cuts_at_once_is_given_up() {
    let server = Server::new(|_, from, stream| {
        stream.write_all(head(&file(), from, "\"1\"").as_bytes())?;
        stream.write_all(if from.is_none() { b"0123456789" } else { b"" })
    });
    let error = refused(&mut server.download());
    assert!(error.contains("/a.payload"), "{error}");
    assert_eq!(server.asked.lock().unwrap().len(), 4);
}

#[test]
fn a_server_that_stalls_or_says_nothing_is_given_up() {
    let stalls = Server::new(|_, from, stream| {
        stream.write_all(head(&file(), from, "\"1\"").as_bytes())?;
        stream.write_all(b"0123456789")?;
        thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    assert!(refused(&mut stalls.download()).contains("in time"));
    let silent = Server::new(|_, _, _| {
        thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    assert!(refused(&mut silent.download()).contains("in time"));
}

#[test]
fn a_file_that_changes_is_not_mixed() {
    // With a tag, with another length, with neither range nor tag but a shorter file.
    let changes = |etag: bool, length: usize, ranges: bool| {
        Server::new(move |number, from, stream| {
            let mut file = file();
            file.truncate(file.len() - number * length);
            let tag = if etag { format!("\"{number}\"") } else { "W/\"x\"".to_owned() };
            let from = from.filter(|_| ranges);
            stream.write_all(head(&file, from, &tag).as_bytes())?;
            let start = from.unwrap_or(0) as usize;
            stream.write_all(&file[start..file.len().min(start + 1_200_000)])
        })
    };
    assert!(refused(&mut changes(true, 0, true).download()).contains("has changed"));
    assert!(refused(&mut changes(true, 1, true).download()).contains("has changed"));
    assert!(refused(&mut changes(false, 1, true).download()).contains("were announced"));
    assert!(refused(&mut changes(false, 1_900_000, false).download()).contains("were announced"));
    let gone = Server::new(|_, from, stream| {
        if from.is_some() {
            return stream.write_all(b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n");
        }
        stream.write_all(head(&file(), None, "\"1\"").as_bytes())?;
        stream.write_all(b"01234")
    });
    assert!(refused(&mut gone.download()).contains("has changed"));
}

#[test]
fn a_server_that_lies_about_ranges_is_refused() {
    for answer in
        ["bytes 0-2999999/3000000", "bytes 12-2999999/3000000", "", "bytes 2999999-11/3000000", "nonsense"]
    {
        let server = Server::new(move |_, from, stream| {
            if from.is_none() {
                stream.write_all(head(&file(), None, "\"1\"").as_bytes())?;
                return stream.write_all(b"0123456789");
            }
            let length = 2_999_990;
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\nContent-Range: {answer}\r\nETag: \"1\"\r\n\r\n"
            );
            stream.write_all(head.as_bytes())
        });
        let error = refused(&mut server.download());
        assert!(error.contains("asked for the bytes from 10 on"), "{answer}: {error}");
    }
}

#[test]
fn a_server_without_ranges_serves_all_the_same() {
    let server = Server::new(|number, _, stream| {
        let file = file();
        stream.write_all(head(&file, None, "\"1\"").replace("Accept-Ranges: bytes\r\n", "").as_bytes())?;
        stream.write_all(if number < 2 { &file[..1_100_000 * (number + 1)] } else { &file })
    });
    assert!(whole(&mut server.download()).unwrap() == file());
    let mut download = server.download();
    download.pass(1_000_000).unwrap();
    assert!(whole(&mut download).unwrap() == file()[1_000_000..]);
}

#[test]
fn what_is_passed_over_is_not_fetched() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let server = Server::new(move |_, from, stream| {
        let file = file();
        stream.write_all(head(&file, from, "\"1\"").as_bytes())?;
        for chunk in file[from.unwrap_or(0) as usize..].chunks(10_000) {
            stream.write_all(chunk)?;
            counted.fetch_add(chunk.len(), Ordering::SeqCst);
        }
        Ok(())
    });
    let (mut download, file) = (server.download(), file());
    let mut some = [0; 1000];
    download.read_exact(&mut some).unwrap();
    download.pass(10).unwrap();
    download.read_exact(&mut some).unwrap();
    assert_eq!(some, file[1010..2010]);
    download.pass(1_500_000).unwrap();
    download.pass(900_000).unwrap();
    download.read_exact(&mut some).unwrap();
    assert_eq!(some, file[2_402_010..2_403_010]);
    assert_eq!(*server.asked.lock().unwrap(), [None, Some(2_402_010)]);
    assert!(download.pass(1 << 40).is_err());
    assert!(whole(&mut download).unwrap() == file[2_403_010..]);
}

#[test]
fn redirects_lead_on_but_not_in_circles() {
    let last = Server::new(|_, from, stream| {
        let file = file();
        stream.write_all(head(&file, from, "\"1\"").as_bytes())?;
        stream.write_all(&file[from.unwrap_or(0) as usize..])
    });
    let to = last.url.clone();
    let first = Server::new(move |_, _, stream| {
        stream.write_all(
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
        )
    });
    assert!(whole(&mut first.download()).unwrap() == file());
    let circle = Server::new(|_, _, stream| {
        stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /a.payload\r\nContent-Length: 0\r\n\r\n")
    });
    assert!(refused(&mut circle.download()).contains("redirect"));
}

#[test]
fn another_server_takes_over() {
    let missing =
        Server::new(|_, _, stream| stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    let busy = Server::new(|_, _, stream| {
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    });
    let garbage = Server::new(|_, _, stream| stream.write_all(b"\x16\x03\x01 what is this\r\n\r\n"));
    let cuts = Server::new(|_, from, stream| {
        stream.write_all(head(&file(), from, "\"a\"").as_bytes())?;
        stream.write_all(if from.is_none() { b"\x00\x01\x02\x03\x04" } else { b"" })
    });
    let good = Server::new(|_, from, stream| {
        let file = file();
        stream.write_all(head(&file, from, "\"b\"").as_bytes())?;
        stream.write_all(&file[from.unwrap_or(0) as usize..])
    });
    let urls = [&missing, &busy, &garbage, &cuts, &good].map(|server| server.url.as_str());
    assert!(whole(&mut download(&urls, Some(3_000_000))).unwrap() == file());
    assert_eq!(*good.asked.lock().unwrap(), [Some(5)], "it goes on where the other one ended");
    assert_eq!(missing.asked.lock().unwrap().len(), 1, "what is not there is asked for once");
    assert_eq!(busy.asked.lock().unwrap().len(), 4);
    assert!(refused(&mut download(&[&missing.url], None)).contains("404"));
    assert!(refused(&mut download(&[&good.url], Some(7))).contains("7 were announced"));
}

#[test]
fn a_server_with_tls_has_to_be_who_it_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.payload"), file()).unwrap();
    let openssl = |arguments: &[&str]| {
        let status = Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    };
    let plain = "[req]\ndistinguished_name=name\n[name]\n";
    std::fs::write(folder.path().join("plain.cnf"), plain).unwrap();
    openssl(&[
        "req",
        "-config",
        "plain.cnf",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "certificate.pem",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("openssl")
        .args(["s_server", "-WWW", "-quiet", "-key", "key.pem", "-cert", "certificate.pem", "-accept"])
        .arg(port.to_string())
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..100 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let url = Url::parse(&format!("https://localhost:{port}/a.payload")).unwrap();
    let patience = Patience { pause: Duration::from_millis(5), tries: 2, ..Patience::default() };
    let ask = |certificates: &[std::path::PathBuf]| {
        let http = Http::new(certificates).unwrap();
        whole(&mut Download::new(http, vec![url.clone()], None, patience.clone()).unwrap())
    };
    let trusted = ask(&[folder.path().join("certificate.pem")]);
    let stranger = ask(&[]).unwrap_err().to_string();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(trusted.unwrap() == file());
    assert!(stranger.contains("TLS with localhost"), "{stranger}");
}
