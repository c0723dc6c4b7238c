//! The protocol itself: replies, offers, contents and names, whatever arrives in whatever pieces.

use mailwright::smtp::{Capabilities, DataEncoder, HelloName, Reply, ReplyParser};
use proptest::prelude::*;

/// Reads everything, piece by piece: the replies, and whether the end was an error.
fn read(bytes: &[u8], piece: usize) -> (Vec<Reply>, bool) {
    let mut parser = ReplyParser::default();
    let mut replies = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            match parser.push(rest) {
                Ok((received, reply)) => {
                    assert!(received > 0 && received <= rest.len(), "{received} of {}", rest.len());
                    replies.extend(reply);
                    rest = &rest[received..];
                }
                Err(_) => return (replies, true),
            }
        }
    }
    replies.extend(parser.finish());
    (replies, false)
}

fn one(bytes: &[u8]) -> Reply {
    let (replies, failed) = read(bytes, bytes.len());
    assert!(!failed && replies.len() == 1, "{:?}: {replies:?}", String::from_utf8_lossy(bytes));
    replies.into_iter().next().unwrap()
}

#[test]
fn the_three_digits_decide() {
    for (bytes, code, text) in [
        (&b"250 ok\r\n"[..], 250, "250 ok"),
        (b"250 ok\n", 250, "250 ok"),
        (b"250\r\n", 250, "250"),
        (b"250 \r\n", 250, "250"),
        (b"250\tok\r\n", 250, "250 ok"),
        (b"250ok\r\n", 250, "250 ok"),
        (b"550 5.1.1 Empf\xe4nger unbekannt\r\n", 550, "550 5.1.1 Empf\u{fffd}nger unbekannt"),
        (b"250-first\r\n250-second\r\n250 third\r\n", 250, "250 first second third"),
        (b"250-first\r\n250\r\n", 250, "250 first"),
        // The last line decides, as it does for other clients.
        (b"250-first\r\n550 second\r\n", 550, "550 first second"),
        (b"554-no\r\nbroken by hand\r\n554 end\r\n", 554, "554 no broken by hand end"),
        (b"220 \x1b[31mred\x07 \xe2\x80\xae\r\n", 220, "220 [31mred"),
        (b"421 the end without an end", 421, "421 the end without an end"),
        (b"\r\n \r\n220 mail.example.com\r\n", 220, "220 mail.example.com"),
    ] {
        for piece in [1, 2, 7, bytes.len()] {
            let (replies, failed) = read(bytes, piece);
            assert!(!failed && replies.len() == 1, "{bytes:?}: {replies:?}");
            assert_eq!((replies[0].code(), replies[0].to_string().as_str()), (code, text));
        }
    }
}

#[test]
fn a_malformed_reply_is_an_error() {
    for bytes in [&b"hello\r\n"[..], b"25 ok\r\n", b"2500 ok\r\n", b"150 ok\r\n", b"650 ok\r\n", b"-50 no\r\n"] {
        assert!(read(bytes, bytes.len()).1, "{:?}", String::from_utf8_lossy(bytes));
    }
    // A reply that never ends, and one whose end never came.
    assert!(read(&b"250-more\r\n".repeat(2_000_000), 4096).1);
    assert_eq!(read(b"250-more\r\n", 4).0, []);
    assert_eq!(read(b"25", 4).0, []);
    assert_eq!(read(b"\r\n", 4).0, []);
}

#[test]
fn long_lines_are_cut_without_changing_their_meaning() {
    let long = [b"250 ".to_vec(), vec![b'x'; 20_000], b"\r\n354 next\r\n".to_vec()].concat();
    let (replies, failed) = read(&long, 1000);
    assert!(!failed);
    assert_eq!(replies.iter().map(Reply::code).collect::<Vec<_>>(), [250, 354]);
    assert!(replies[0].to_string().len() < 400);
    let line = |start: &str, length: usize| [start.as_bytes(), &vec![b'x'; length]].concat();
    // However long a line is, the code that follows it decides.
    for (reply, code) in [
        ([line("550-", 3_000_000), b"\r\n550 no\r\n".to_vec()].concat(), 550),
        ([line("250-", 3_000_000), b"\r\n250 taken\r\n".to_vec()].concat(), 250),
        (line("250 ", 3_000_000).into_iter().chain(*b"\r\n").collect(), 250),
        ([b"550-no\r\n".repeat(100_000), b"550 no\r\n".to_vec()].concat(), 550),
    ] {
        let reply = one(&reply);
        assert_eq!((reply.code(), reply.is_cut()), (code, false));
    }
    // A line without an end has a code, and so has a refusal of which more lines were announced.
    for start in ["250 ", "550 ", "550-no\r\n550-"] {
        let mut parser = ReplyParser::default();
        let (_, reply) = parser.push(&line(start, 17_000_000)).unwrap();
        let code: u16 = start[..3].parse().unwrap();
        assert!(reply.is_some_and(|reply| reply.code() == code && reply.is_cut()), "{start}: its end was not read");
    }
    assert!(ReplyParser::default().push(&line("250-", 17_000_000)).is_err(), "a refusal could follow");
    assert!(ReplyParser::default().push(&line("250-ok\r\n550-", 17_000_000)).is_err(), "neither of the two");
}

#[test]
fn extensions_are_read_in_any_case() {
    let reply = one(
        b"250-mail.example.com at your service\r\n250-auth plain LOGIN\r\n250-AUTH=PLAIN Login XOAUTH2\r\n250-StartTLS\r\n250-size 20480000\r\n250-8BitMime\r\n250-smtputf8\r\n250 dsn  \r\n",
    );
    let offers = Capabilities::from_reply(&reply);
    assert_eq!(offers.domain(), "mail.example.com");
    assert_eq!(offers.mechanisms(), ["PLAIN", "LOGIN", "XOAUTH2"]);
    for keyword in ["STARTTLS", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH"] {
        assert!(offers.offers(keyword), "{keyword}");
    }
    assert!(!offers.offers("PIPELINING"));
    assert_eq!(offers.size(), Some(20_480_000));
    let size = |line: &str| Capabilities::from_reply(&one(format!("250-x\r\n250 {line}\r\n").as_bytes())).size();
    assert_eq!(
        [size("SIZE"), size("SIZE 0"), size("SIZE=5"), size("SIZE 99999999999999999999999")],
        [Some(0), Some(0), Some(5), Some(0)]
    );
    assert_eq!(size("8BITMIME"), None);
    // The server's own name does not count as an extension.
    assert!(!Capabilities::from_reply(&one(b"250 STARTTLS\r\n")).offers("STARTTLS"));
}

#[test]
fn helo_names_are_validated() {
    for good in ["mail.example.com", "relay", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a-1.example"] {
        assert_eq!(good.parse::<HelloName>().map(|name| name.to_string()).as_deref(), Ok(good));
    }
    for bad in [
        "",
        " ",
        "a b",
        "a\r\nb",
        "-a.example",
        "a..b",
        "192.0.2.1",
        "[192.0.2]",
        "[::1]",
        "a_b.example",
        "mäil.example",
    ] {
        assert!(bad.parse::<HelloName>().is_err(), "{bad:?}");
    }
}

fn encoded(contents: &[u8], piece: usize) -> Vec<u8> {
    let mut encoder = DataEncoder::default();
    let mut out = Vec::new();
    for piece in contents.chunks(piece.max(1)) {
        encoder.encode(piece, &mut out);
    }
    encoder.finish(&mut out);
    out
}

/// Reads contents as a server does: up to the first line with only a dot, and the rest after it.
fn decoded(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut contents = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2).unwrap();
        let (line, after) = rest.split_at(end);
        rest = after;
        if line == b".\r\n" {
            return (contents, rest.to_vec());
        }
        contents.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
}

proptest! {
    #[test]
    fn replies_are_the_same_in_any_pieces(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1_usize..50) {
        prop_assert_eq!(read(&bytes, piece), read(&bytes, bytes.len()));
    }

    #[test]
    fn reply_like_lines_never_panic(
        lines in prop::collection::vec("[2-5][0-9]{2}[- a\t][ -~\u{e4}\u{4e2d}]{0,80}\r?\n", 0..20),
        piece in 1_usize..50,
    ) {
        let (replies, failed) = read(lines.concat().as_bytes(), piece);
        prop_assert!(!failed);
        for reply in replies {
            prop_assert!((200..600).contains(&reply.code()));
            prop_assert!(reply.to_string().chars().all(|c| !c.is_control()));
            prop_assert!(reply.to_string().chars().count() <= 300);
            drop(Capabilities::from_reply(&reply));
        }
    }

    #[test]
    fn contents_arrive_as_they_are_and_end_once(
        contents in prop::collection::vec(prop::sample::select(&b".\r\na.b"[..]), 0..300),
        piece in 1_usize..40,
    ) {
        let out = encoded(&contents, piece);
        prop_assert_eq!(&out, &encoded(&contents, contents.len()), "in whatever pieces");
        let (arrived, rest) = decoded(&out);
        prop_assert!(rest.is_empty(), "nothing is left after the end");
        // No line end but CRLF, so that no server sees an end where another one sees none.
        for (at, byte) in out.iter().enumerate() {
            match byte {
                b'\n' => prop_assert!(at > 0 && out[at - 1] == b'\r'),
                b'\r' => prop_assert_eq!(out.get(at + 1), Some(&b'\n')),
                _ => {}
            }
        }
        let lines = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n").replace('\r', "\n").trim_end_matches('\n').to_owned()
        };
        prop_assert_eq!(lines(&arrived), lines(&contents));
    }
}
