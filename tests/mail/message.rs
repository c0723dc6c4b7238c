//! Composition of messages, without a service: addresses, headers, recipients of a transport, signatures, encodings.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use mail_parser::{MessageParser, MimeHeaders as _};
use mailwright::{
    delivery::{
        outgoing::{OutgoingMessage, SendOptions},
        transport::graph_draft::Draft,
    },
    mime::{
        Malformed, address_list, base64 as lenient,
        compose::{FilePart, MessageParts},
        content::StoredContent,
        parameter,
        raw_message::read_raw_message,
        seven_bit,
    },
    model::{
        address::{Address, NamedAddress, canonical_pattern},
        delivery::{Attachments, RecipientGuard},
    },
};
use proptest::prelude::*;

#[test]
fn addresses_are_read_and_written_in_the_form_in_which_they_are_transmitted() {
    for (text, wanted) in [
        ("a@example.com", "a@example.com"),
        ("  a@example.com\u{a0}", "a@example.com"),
        ("\u{feff}a@example.com\u{200b}\r\n", "a@example.com"),
        ("\u{202a}a@example.com\u{202c}", "a@example.com"),
        ("A.B+c=d@Example.COM", "A.B+c=d@Example.COM"),
        ("root@localhost", "root@localhost"),
        ("a@my_host.example", "a@my_host.example"),
        ("info@müller.example", "info@xn--mller-kva.example"),
        ("info@MÜLLER.example", "info@xn--mller-kva.example"),
        ("info@例え。テスト", "info@xn--r8jz45g.xn--zckzah"),
        ("grüße@müller.example", "grüße@xn--mller-kva.example"),
        ("\"john\"@example.com", "john@example.com"),
        ("\"john doe\"@example.com", "\"john doe\"@example.com"),
        ("\"a@b\\\"c\"@example.com", "\"a@b\\\"c\"@example.com"),
        ("\"a..b\"@example.com", "\"a..b\"@example.com"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("a@[ipv6:2001:DB8::1]", "a@[IPv6:2001:db8::1]"),
    ] {
        let address = Address::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(address.to_string(), wanted, "{text:?}");
        assert_eq!(Address::parse(wanted).unwrap().to_string(), wanted);
    }
    assert!(!Address::parse("info@müller.example").unwrap().needs_smtputf8());
    assert!(Address::parse("grüße@example.com").unwrap().needs_smtputf8());
    let same = |one: &str, other: &str| Address::parse(one).unwrap() == Address::parse(other).unwrap();
    assert!(same("Ann@Example.com", "ann@example.COM") && same("GRÜSSE@a.example", "grüsse@A.example"));
    assert!(same("\"ann\"@example.com", "ann@example.com") && same("a@müller.example", "a@XN--MLLER-KVA.example"));
    assert!(!same("ann@example.com", "joann@example.com") && !same("ann@example.com", "ann@example.com.test"));
    assert_eq!(canonical_pattern("*@müller.example"), "*@xn--mller-kva.example");
}

#[test]
fn invalid_addresses_are_refused_with_reason_and_position() {
    for (text, reason, position) in [
        ("", "it is empty", None),
        ("a b", "no `@`", None),
        ("a b@example.com", "a space", Some(2)),
        ("a@example.com;", "`;` follows", Some(14)),
        ("a@example.com; b@example.com", "second address", Some(14)),
        ("a@example.com,b@example.com", "second address", Some(14)),
        ("a@b@example.com", "second `@`", Some(4)),
        ("a@example.com;;", "`;` follows", Some(14)),
        ("a@example.com;b", "`;` follows", Some(14)),
        ("a@example.com/b@example.com", "`/` separates it from a second address", Some(14)),
        ("a@example.com b@example.com", "a space separates it from a second address", Some(14)),
        ("a@xn--zzzzzz.example", "internationalised", Some(3)),
        ("a@xn--a.example", "internationalised", Some(3)),
        ("a@mail.xn----eha.example", "internationalised", Some(8)),
        ("a@-\u{fc}.example", "internationalised", Some(3)),
        ("mailto:a@example.com", "`mailto:` link", Some(1)),
        ("SMTP:a@example.com", "`SMTP:` before", Some(1)),
        ("https://a@example.com", "`https:` link", Some(1)),
        ("a.@example.com", "a dot before", Some(2)),
        (".a@example.com", "begin with a dot", Some(1)),
        ("a..b@example.com", "two dots", Some(3)),
        ("a@example..com", "two dots", Some(11)),
        ("a@example.com.", "ends with a dot", Some(15)),
        ("a@-example.com", "hyphen", Some(3)),
        ("a@", "after the `@`", None),
        ("@example.com", "before the `@`", Some(1)),
        ("a\u{200b}b@example.com", "invisible character (U+200B)", Some(2)),
        ("a@exam\u{ad}ple.com", "invisible character (U+00AD)", Some(7)),
        ("a@example.com\r\nBcc: b@example.com", "control character (U+000D)", Some(14)),
        ("a\u{ff20}example.com", "U+FF20", Some(2)),
        ("“a@example.com”", "`“` (U+201C) is a typographic quotation mark", Some(1)),
        ("„a”@example.com", "U+201E", Some(1)),
        ("a’b@example.com", "U+2019", Some(2)),
        ("a@example.com”", "U+201D", Some(14)),
        ("«a@example.com»", "U+00AB", Some(1)),
        ("a@192.0.2.1", "without brackets", Some(3)),
        ("a@[example]", "not an IP address", Some(3)),
        ("a\u{fffd}@example.com", "U+FFFD", Some(2)),
    ] {
        let error = Address::parse(text).expect_err(text);
        assert!(error.to_string().contains(reason), "{text:?}: {error}");
        assert_eq!(error.position, position, "{text:?}: {error}");
        assert!(!error.remedy.is_empty() && !error.to_string().contains("b@example.com"), "{text:?}: {error}");
    }
    assert!(Address::parse(&format!("{}@example.com", "a".repeat(65))).is_err());
    assert!(Address::parse(&format!("a@{}.com", "a".repeat(64))).is_err());
}

#[test]
fn a_name_next_to_an_address_is_unambiguous_or_refused() {
    let read = |text: &str| NamedAddress::parse(text).map(|named| (named.name, named.address.to_string()));
    for (text, name, address) in [
        ("John Doe <j@example.com>", Some("John Doe"), "j@example.com"),
        ("\"Doe, John\" <j@example.com>", Some("Doe, John"), "j@example.com"),
        ("\"a \\\"b\\\" c\" <j@example.com> ", Some("a \"b\" c"), "j@example.com"),
        ("<j@example.com>", None, "j@example.com"),
        ("Müller & Söhne GmbH <info@müller.example>", Some("Müller & Söhne GmbH"), "info@xn--mller-kva.example"),
        ("j@example.com <j@example.com>", Some("j@example.com"), "j@example.com"),
        ("John Q. Public <j@example.com>", Some("John Q. Public"), "j@example.com"),
    ] {
        assert_eq!(read(text).unwrap(), (name.map(str::to_owned), address.to_owned()), "{text}");
    }
    for (text, reason, position) in [
        ("Doe, John <j@example.com>", "`,` separates", 4),
        ("Sales; Berlin <j@example.com>", "`;` separates", 6),
        ("John (Sales) <j@example.com>", "comment", 6),
        ("a@example.com, John <b@example.com>", "second address", 14),
        ("John <a@example.com>; Ann <b@example.com>", "second address", 21),
        ("John <a@example.com>;", "follows", 21),
        ("a@example.com\nb@example.com", "a line break separates", 14),
        ("a@example.com\tb@example.com", "a tab separates", 14),
        ("John <a@example.com", "not closed", 6),
        ("John <a b@example.com>", "a space", 8),
        ("\"John <a@example.com>", "no `@`", 0),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.to_string().contains(reason) || position == 0, "{text}: {error}");
        assert!(position == 0 || error.position == Some(position), "{text}: {error}");
    }
}

#[test]
fn headers_are_parsed_by_the_standard_and_as_programs_write_them() {
    let read = |value: &str| {
        let list = address_list::parse(value).unwrap_or_else(|error| panic!("{value}: {error}"));
        list.entries.iter().map(|entry| (entry.name.clone().unwrap_or_default(), entry.address.to_string())).collect()
    };
    let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
    let cases: Vec<(&str, Vec<(String, String)>)> = vec![
        ("a@example.com, b@example.com", vec![pair("", "a@example.com"), pair("", "b@example.com")]),
        ("undisclosed-recipients:;", vec![]),
        (
            "Team: Ann <a@example.com>, b@example.com;, c@example.com",
            vec![pair("Ann", "a@example.com"), pair("", "b@example.com"), pair("", "c@example.com")],
        ),
        ("Pete(A nice \\) chap) <pete(his account)@silly.test>".split("(his").next().unwrap(), vec![]),
        ("John (Sales (Berlin)) <j@example.com>", vec![pair("John", "j@example.com")]),
        ("j@example.com (John)", vec![pair("", "j@example.com")]),
        ("=?utf-8?q?J=C3=B6rg?= =?utf-8?q?_M?= <j@example.com>", vec![pair("Jörg M", "j@example.com")]),
        ("\"Doe, John\" <j@example.com>", vec![pair("Doe, John", "j@example.com")]),
        ("Jörg <j@example.com>", vec![pair("Jörg", "j@example.com")]),
        ("<@relay.example,@other.example:j@example.com>", vec![pair("", "j@example.com")]),
        ("j@example.com <j@example.com>", vec![pair("j@example.com", "j@example.com")]),
        ("John Q. Public <j@example.com>", vec![pair("John Q. Public", "j@example.com")]),
        (
            "\"john doe\"@example.com,,b@example.com",
            vec![pair("", "\"john doe\"@example.com"), pair("", "b@example.com")],
        ),
        ("a @ example.com", vec![pair("", "a@example.com")]),
        ("b . c @ example . com, d@example.com", vec![pair("", "b.c@example.com"), pair("", "d@example.com")]),
        ("Ann <a@ example.com>", vec![pair("Ann", "a@example.com")]),
        ("<a@example.com (c)>", vec![pair("", "a@example.com")]),
        ("<a (c)@example.com>", vec![pair("", "a@example.com")]),
        ("< b . c @ example . com >", vec![pair("", "b.c@example.com")]),
        ("<\"a (b) c\"@example.com>", vec![pair("", "\"a (b) c\"@example.com")]),
        ("a@[IPv6:2001:db8::1], b@example.com", vec![pair("", "a@[IPv6:2001:db8::1]"), pair("", "b@example.com")]),
    ];
    for (value, wanted) in cases {
        if value.starts_with("Pete") {
            assert!(address_list::parse(value).is_err());
            continue;
        }
        let got: Vec<(String, String)> = read(value);
        assert_eq!(got, wanted, "{value}");
    }
    for value in [
        "good@example.com, Purchasing",
        "Doe, John <j@example.com>",
        "a@example.com; b@example.com",
        "Ann a@example.com",
        "a@example.com b@example.com",
        "\"open <a@example.com>",
        "a@example.com (open",
        "<a@example.com",
        "a@example.com>",
        "Team: Other: a@example.com;;",
        "<>",
    ] {
        let error = address_list::parse(value).expect_err(value);
        assert!(!error.reason.is_empty() && !error.remedy.is_empty());
    }
    for (value, reason, position) in [
        ("Team: a@example.com", "a group that no `;` closes", 1),
        ("b@example.com, Team: a@example.com", "a group that no `;` closes", 16),
        ("undisclosed-recipients:", "a group that no `;` closes", 1),
        ("http://a@example.com", "`http:` link", 1),
        ("mailto:a@example.com", "`mailto:` link", 1),
        ("b@example.com, SMTP:a@example.com", "`SMTP:` before", 16),
        ("smtp:a@example.com;", "`smtp:` before", 1),
        ("Team: mailto:a@example.com;", "`mailto:` link", 7),
        ("Ann <mailto:a@example.com>", "`mailto:` link", 6),
        ("Ann <SMTP:a@example.com>", "`SMTP:` before", 6),
        ("unknown-scheme:a@example.com", "a group that no `;` closes", 1),
        ("Ann <a b@example.com>", "a space", 7),
        ("Ann < a @ exa mple.com >", "a space", 14),
        ("b@example.com, a\u{ff20}example.com", "is not an `@`", 17),
        ("“a@example.com”", "is a typographic quotation mark", 1),
        ("b@example.com, <a@example.com”>", "is a typographic quotation mark", 30),
        ("a@example.com. Thanks", "ends with a dot", 15),
    ] {
        let error = address_list::parse(value).expect_err(value);
        assert!(error.reason.contains(reason) && error.position == Some(position), "{value}: {error:?}");
    }
}

fn guard(rewrite_to: Option<&str>) -> RecipientGuard {
    RecipientGuard { rewrite_to: rewrite_to.map(str::to_owned), ..RecipientGuard::default() }
}

fn graph(guard: &RecipientGuard) -> SendOptions<'_> {
    SendOptions { address: "erp@example.com", name: Some("ERP"), guard, header_is_envelope: true }
}

fn raw(message: &str, envelope: &[&str]) -> Result<StoredContent, Malformed> {
    let envelope: Vec<String> = envelope.iter().map(|one| (*one).to_owned()).collect();
    read_raw_message(message.as_bytes(), &envelope, "<1@example.com>", Timestamp::UNIX_EPOCH, &Attachments::default())
}

/// The addresses in To, Cc and Bcc, as a parser reads them that is not ours; in the form in which they are compared.
fn addressed(message: &[u8]) -> Vec<String> {
    let message = MessageParser::default().parse_headers(message).unwrap();
    let lists = [message.to(), message.cc(), message.bcc()];
    let all = lists.into_iter().flatten().flat_map(|list| list.clone().into_list());
    let mut all: Vec<String> = all.map(|one| one.address.unwrap_or_default().to_lowercase()).collect();
    all.sort();
    all
}

/// The same of a document for Graph.
fn addressed_by_draft(message: &[u8]) -> Vec<String> {
    let document = Draft::read(message).unwrap().document;
    let lists = ["toRecipients", "ccRecipients", "bccRecipients"].map(|key| document[key].as_array().unwrap().clone());
    let all = lists.iter().flatten().map(|one| one["emailAddress"]["address"].as_str().unwrap().to_lowercase());
    let mut all: Vec<String> = all.collect();
    all.sort();
    all
}

/// Local parts of which some are part of others, and domains likewise.
const LOCALS: [&str; 7] = ["ann", "joann", "ANN", "a.b", "jim.bob", "bob", "o'neil+x"];
const DOMAINS: [&str; 4] = ["example.com", "Example.COM", "my-example.com", "example.com.test"];
/// Formats an address as it appears in a header.
const FORMS: [&str; 9] = [
    "@@",
    "<@@>",
    "Name <@@>",
    "\"Name, of x@y.example\" <@@>",
    "=?utf-8?q?J=C3=B6rg?= <@@>",
    "Name (with a comment) <@@>",
    "Team: @@;",
    "<@relay.example:@@>",
    "ann@example.com <@@>",
];

fn address() -> impl Strategy<Value = String> {
    (0..LOCALS.len(), 0..DOMAINS.len()).prop_map(|(local, domain)| format!("{}@{}", LOCALS[local], DOMAINS[domain]))
}

fn header_list() -> impl Strategy<Value = Vec<String>> {
    let entry = (address(), 0..FORMS.len()).prop_map(|(address, form)| FORMS[form].replace("@@", &address));
    prop::collection::vec(entry, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// For every header, envelope, recipient guard and set of recipients that were served before: a transport that reads
    /// the header addresses exactly the recipients that still wait, each once.
    #[test]
    fn a_transport_without_an_envelope_addresses_exactly_the_waiting_recipients(
        to in header_list(), cc in header_list(), folded in any::<bool>(), is_twice in any::<bool>(),
        envelope in prop::collection::vec(address(), 0..5), served in prop::collection::vec(any::<bool>(), 40),
        rewrites in any::<bool>(),
    ) {
        let separator = if folded { ",\r\n\t" } else { ", " };
        let mut header = String::from("From: erp@example.com\r\nSubject: s\r\n");
        for (name, list) in [("To", &to), ("Cc", &cc)] {
            if !list.is_empty() {
                header.push_str(&format!("{name}: {}\r\n", list.join(separator)));
            }
        }
        let message = format!("{header}\r\ntext\r\n");
        let envelope: Vec<&str> = envelope.iter().map(String::as_str).collect();
        let Ok(kept) = raw(&message, &envelope) else {
            prop_assert!(envelope.is_empty() && to.is_empty() && cc.is_empty(), "{}", message);
            return Ok(());
        };
        let waiting: Vec<String> =
            kept.recipients.iter().zip(&served).filter(|(_, served)| !**served).map(|(one, _)| one.clone()).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let guard = guard(rewrites.then_some("tests@example.com"));
        // As an earlier version may have kept it: with fields that name recipients, and twice.
        let mut content = kept.content;
        if is_twice {
            let more = b"Resent-To: customer@public.example\r\nBcc: hidden@public.example\r\nTo: other@public.example\r\n";
            drop(content.splice(0..0, more.iter().copied()));
        }
        let outgoing = OutgoingMessage::build(content, &waiting, &graph(&guard)).unwrap();
        let mut wanted: Vec<String> = waiting.iter().map(|one| one.to_lowercase()).collect();
        if rewrites {
            wanted = vec!["tests@example.com".to_owned()];
        }
        wanted.sort();
        prop_assert_eq!(&addressed(&outgoing.bytes), &wanted, "{}", String::from_utf8_lossy(&outgoing.bytes));
        prop_assert_eq!(&addressed_by_draft(&outgoing.bytes), &wanted);
        let text = String::from_utf8(outgoing.bytes.to_vec()).unwrap();
        prop_assert!(!text.contains("public.example"), "{}", text);
    }

    /// Nothing that comes from outside ends in a panic, and what is written is read as the same.
    #[test]
    fn a_parsed_address_parses_to_itself(text in "\\PC{0,40}", tail in "[a-z@.\"\\\\<>(),;: \\[\\]äß-]{0,30}") {
        for text in [&text, &tail, &format!("{text}@{tail}"), &format!("{tail} <{tail}@example.com>")] {
            if let Ok(address) = Address::parse(text) {
                let again = Address::parse(address.as_str()).unwrap();
                prop_assert_eq!(again.as_str(), address.as_str());
                prop_assert!(address.domain().is_ascii());
            }
            if let Ok(named) = NamedAddress::parse(text) {
                let field = address_list::field("To", &[address_list::Entry::new(named.name, named.address.clone())]);
                let list = address_list::parse(&field.unfolded()).unwrap();
                prop_assert_eq!(&list.entries[0].address, &named.address);
                prop_assert_eq!(list.entries.len(), 1);
            }
            if let Ok(list) = address_list::parse(text) {
                let again = address_list::parse(&address_list::field("To", &list.entries).unfolded()).unwrap();
                let of = |list: &address_list::AddressList| -> Vec<String> {
                    list.entries.iter().map(|entry| entry.address.to_string()).collect()
                };
                prop_assert_eq!(of(&again), of(&list));
            }
            drop(lenient::decode(text));
            drop(parameter::MediaType::parse(text));
        }
    }

    /// Base64 survives line breaks and missing padding.
    #[test]
    fn base64_is_read_as_programs_write_it(bytes in prop::collection::vec(any::<u8>(), 0..200), width in 1_usize..80) {
        let text = BASE64_STANDARD.encode(&bytes);
        let lines: Vec<String> = text.as_bytes().chunks(width).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
        prop_assert_eq!(&lenient::decode(&lines.join("\r\n")).unwrap(), &bytes);
        prop_assert_eq!(&lenient::decode(text.trim_end_matches('=')).unwrap(), &bytes);
        prop_assert_eq!(&lenient::decode(&format!(" {}\n", lines.join("\n").trim_end_matches('='))).unwrap(), &bytes);
    }

    /// A message in ASCII says what it said before.
    #[test]
    fn a_message_converted_to_ascii_has_the_same_contents(
        text in "[a-zäöü€.=F \t\n]{0,300}", subject in "[a-zäöü€ ]{1,60}", file in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        let text = text.replace('\n', "\r\n");
        let file: Vec<u8> = file.into_iter().filter(|byte| !b"\r\n".contains(byte)).collect();
        let mut message = format!(
            "Subject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b b\"\r\n\r\npreamble ü\r\n--b b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n--b b\r\nContent-Type: application/octet-stream; name=\"März.bin\"\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        ).into_bytes();
        message.extend_from_slice(&file);
        message.extend_from_slice(b"\r\n--b b--\r\n");
        let converted = seven_bit::convert(&message).unwrap();
        prop_assert!(converted.is_ascii());
        let (before, after) = (MessageParser::default().parse(&message).unwrap(), MessageParser::default().parse(&converted).unwrap());
        prop_assert_eq!(before.subject(), after.subject());
        prop_assert_eq!(before.body_text(0), after.body_text(0), "{}", String::from_utf8_lossy(&converted));
        prop_assert_eq!(before.attachment(0).unwrap().contents(), after.attachment(0).unwrap().contents());
    }
}

#[test]
fn a_signature_stays_where_nothing_that_it_covers_was_changed() {
    let signature = |names: &str| {
        format!("DKIM-Signature: v=1; a=rsa-sha256; d=example.com;\r\n\ts=k; h={names};\r\n bh=x; b=y\r\n")
    };
    let message = |names: &str, more: &str| {
        format!(
            "{}From: ERP <erp@example.com>\r\nTo: a@example.org,\r\n\tb@example.org\r\nSubject: s\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <m@example.com>\r\n{more}\r\nhello\r\n",
            signature(names)
        )
    };
    let plain = guard(None);
    let smtp = SendOptions { header_is_envelope: false, ..graph(&plain) };
    let leaves = |sender: &SendOptions<'_>, message: &str, waiting: &[&str]| {
        let kept = raw(message, &[]).unwrap();
        let waiting: Vec<String> = waiting.iter().map(|one| (*one).to_owned()).collect();
        String::from_utf8(OutgoingMessage::build(kept.content, &waiting, sender).unwrap().bytes.to_vec()).unwrap()
    };
    let both = ["a@example.org", "b@example.org"];
    let all = "from:to:subject:date:message-id:cc";
    // Nothing is changed, so not a byte is.
    let whole = message(all, "");
    assert_eq!(leaves(&smtp, &whole, &both), whole);
    assert_eq!(leaves(&graph(&plain), &whole, &both), whole);
    // Whatever only the receiving side writes goes; the signature does not cover it.
    let received = message(
        all,
        "Authentication-Results: mx.example; dkim=pass\r\nReceived: from x\r\nResent-From: other@example.org\r\nReturn-Path: <x@example.org>\r\nARC-Seal: i=1\r\nX-Mailwright-Recipient: x\r\n",
    );
    assert_eq!(leaves(&smtp, &received, &both), whole);
    // A broken signature counts against a message, so it goes.
    assert!(!leaves(&graph(&plain), &whole, &["a@example.org"]).contains("DKIM-Signature"));
    assert!(leaves(&graph(&plain), &message("from:subject", ""), &["a@example.org"]).contains("DKIM-Signature"));
    let tagged = RecipientGuard { subject_tag: Some("[TEST]".to_owned()), ..RecipientGuard::default() };
    let sender = SendOptions { header_is_envelope: false, ..graph(&tagged) };
    assert!(!leaves(&sender, &whole, &both).contains("DKIM-Signature"));
    let other = SendOptions { address: "other@example.com", name: None, guard: &plain, header_is_envelope: false };
    let moved = leaves(&other, &whole, &both);
    assert!(moved.starts_with("From: other@example.com\r\n") && !moved.contains("DKIM-Signature"), "{moved}");
    // It says that no further `Subject` follows, and none may be added.
    let oversigned = message("from:from:subject:subject:resent-from", "Resent-From: other@example.org\r\n");
    assert!(!leaves(&smtp, &oversigned, &both).contains("DKIM-Signature"));
}

#[test]
fn a_resent_message_names_its_recipients() {
    let message = "From: erp@example.com\r\nTo: first@example.org\r\nResent-To: second@example.org\r\n\r\nhello\r\n";
    let refused = raw(message, &[]).unwrap_err();
    assert!(refused.reason.contains("Resent-To") && refused.remedy.unwrap().contains("--to"));
    let kept = raw(message, &["second@example.org"]).unwrap();
    assert!(!String::from_utf8(kept.content).unwrap().contains("Resent"));
}

/// A message with these fields and this body.
fn drafted(header: &str, body: &str) -> Result<Draft, Malformed> {
    let head = "From: erp@example.com\r\nTo: a@example.org\r\nMIME-Version: 1.0\r\n";
    Draft::read(format!("{head}{header}\r\n{body}").as_bytes())
}

/// A body as a draft has it: its type and its content, without the line ends behind it.
fn shown(draft: &Draft) -> (String, String) {
    let body = &draft.document["body"];
    (body["contentType"].as_str().unwrap().to_owned(), body["content"].as_str().unwrap().trim_end().to_owned())
}

#[test]
fn a_draft_shows_what_the_message_shows() {
    const HTML: &str =
        "Content-Type: text/html; charset=utf-8\r\n\r\n<h1>Invoice</h1><a href='https://x.example'>x</a>";
    const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n\r\nInvoice";
    const IMAGE: &str = "Content-Type: image/png\r\nContent-ID: <z>\r\nContent-Disposition: inline; filename=z.png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==";
    const FILE: &str = "Content-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==";
    let multi = |kind: &str, boundary: &str, parts: &[&str]| {
        let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
        format!("Content-Type: multipart/{kind}; boundary={boundary}\r\n\r\n{parts}--{boundary}--\r\n")
    };
    let page = ("html", "<h1>Invoice</h1><a href='https://x.example'>x</a>");
    let text = ("text", "Invoice");
    let related = multi("related", "r", &[HTML, IMAGE]);
    for (message, (kind, content), files) in [
        (HTML.to_owned(), page, 0),
        (TEXT.to_owned(), text, 0),
        ("\r\nInvoice".to_owned(), text, 0),
        (multi("mixed", "m", &[HTML, FILE]), page, 1),
        (multi("mixed", "m", &[TEXT, FILE]), text, 1),
        (related.clone(), page, 1),
        (multi("mixed", "m", &[&related, FILE]), page, 2),
        (multi("alternative", "a", &[TEXT, HTML]), page, 0),
        (multi("alternative", "a", &[HTML]), page, 0),
        (multi("alternative", "a", &[TEXT]), text, 0),
        (multi("alternative", "a", &[TEXT, &related]), page, 1),
        (multi("alternative", "a", &[&related]), page, 1),
        (multi("related", "r", &[&multi("alternative", "a", &[TEXT, HTML]), IMAGE]), page, 1),
        (multi("mixed", "m", &[&multi("alternative", "a", &[TEXT, &related]), FILE]), page, 2),
        (multi("mixed", "m", &[HTML, IMAGE]), page, 1),
        (FILE.to_owned(), ("text", ""), 1),
        ("Content-Type: text/rtf; name=a.rtf\r\n\r\n{\\rtf1}".to_owned(), ("text", ""), 1),
        (
            multi(
                "related; start=\"<page>\"",
                "r",
                &[&HTML.replace("\r\n\r\n", "\r\nContent-ID: <page>\r\n\r\n"), IMAGE],
            ),
            page,
            1,
        ),
    ] {
        let (header, body) = message.split_once("\r\n\r\n").unwrap_or(("", message.trim_start()));
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        let draft = drafted(&header, body).unwrap_or_else(|error| panic!("{message}: {error}"));
        assert_eq!(shown(&draft), (kind.to_owned(), content.to_owned()), "{message}");
        assert_eq!(draft.attachments.len(), files, "{message}");
    }
    let typed = |kind: &str| format!("Content-Type: {kind}\r\n\r\nInvoice");
    for (message, reason) in [
        (typed("text/rtf"), "text/rtf"),
        (typed("text/enriched"), "text/enriched"),
        (multi("alternative", "a", &[TEXT, &typed("text/x-amp-html"), HTML]), "text/x-amp-html"),
        (multi("alternative", "a", &[TEXT, &typed("text/calendar")]), "text/calendar"),
        (multi("mixed", "m", &[TEXT, &typed("application/pdf")]), "application/pdf"),
        (multi("report", "m", &[TEXT, &typed("message/delivery-status")]), "a report"),
        (multi("related; start=\"<page>\"", "r", &[IMAGE, HTML]), "`start`"),
        (
            multi("related", "r", &[HTML, &IMAGE.replace("Content-ID: <z>", "Content-Location: z.png")]),
            "Content-Location",
        ),
        (typed("text/plain; charset=x-none"), "character set"),
        ("Content-Type: text/plain; charset=hz-gb-2312\r\n\r\n~{<:Ky2;~}".to_owned(), "character set"),
        ("Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\u{1b}$B@A\u{1b}(B".to_owned(), "character set"),
        (
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 a".to_owned(),
            "x-uuencode",
        ),
        (multi("mixed", "m", &[HTML, HTML]), "more than one text"),
        (multi("mixed", "m", &[TEXT, HTML]), "more than one text"),
        (
            "Content-Type: text/plain; charset=x-none\r\nContent-Transfer-Encoding: base64\r\n\r\n/PwK".to_owned(),
            "character set",
        ),
        (
            "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n<p>!</p>".to_owned(),
            "transfer encoding",
        ),
    ] {
        let (header, body) = message.split_once("\r\n\r\n").unwrap();
        let refused = drafted(&format!("{header}\r\n"), body).map(|draft| draft.document).expect_err(&message);
        assert!(refused.reason.contains(reason), "{message}: {refused}");
    }
}

proptest! {
    #[test]
    fn the_draft_contains_the_composed_parts(
        text in proptest::option::of("[a-zäß€ <&.=\n]{0,200}"),
        html in proptest::option::of("<p>[a-zäß€ .=\n]{0,200}</p>"),
        files in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), 0..4_usize, any::<bool>()), 0..4),
    ) {
        const TYPES: [&str; 4] = ["application/pdf", "text/csv", "text/html", "application/xml"];
        let wanted: Vec<Vec<u8>> = files.iter().map(|(bytes, ..)| bytes.clone()).collect();
        let attachments = files.into_iter().enumerate().map(|(index, (bytes, kind, is_inline))| FilePart {
            name: format!("{index}.bin"),
            media_type: TYPES[kind].to_owned(),
            bytes,
            content_id: (is_inline && html.is_some()).then(|| format!("{index}@x")),
        });
        let parts = MessageParts {
            to: vec!["a@example.org".to_owned()],
            text: text.clone(),
            html: html.clone(),
            attachments: attachments.collect(),
            ..MessageParts::default()
        };
        let kept = parts.compose("<1@example.com>", Timestamp::UNIX_EPOCH, &Attachments::default()).unwrap();
        let draft = Draft::read(&kept.content).unwrap();
        let (kind, content) = shown(&draft);
        let plain = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
        prop_assert_eq!(kind, if html.is_some() { "html" } else { "text" });
        prop_assert_eq!(plain(&content), plain(&html.or(text).unwrap_or_default()));
        let mut found: Vec<(String, Vec<u8>)> =
            draft.attachments.iter().map(|file| (file.name.clone(), file.bytes.to_vec())).collect();
        found.sort();
        prop_assert_eq!(found.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn a_draft_carries_everything_or_is_refused() {
    let draft = |header: &str, body: &str| {
        Draft::read(format!("From: erp@example.com\r\nTo: a@example.org\r\n{header}\r\n{body}").as_bytes())
    };
    let carried = draft(
        "Subject: =?utf-8?q?J=C3=B6rg?=\r\nImportance: High\r\nIn-Reply-To: <1@x>\r\nReferences: <0@x>\r\n <1@x>\r\nSensitivity: Private\r\nX-Erp-Run: 4711\r\nDisposition-Notification-To: erp@example.com\r\nUser-Agent: x\r\n",
        "hello\r\n",
    )
    .unwrap()
    .document;
    assert_eq!((&carried["importance"], &carried["isReadReceiptRequested"]), (&"high".into(), &true.into()));
    assert_eq!(carried["subject"], "Jörg");
    let properties: BTreeSet<(String, String)> = carried["singleValueExtendedProperties"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap().to_owned(), one["value"].as_str().unwrap().to_owned()))
        .collect();
    let wanted = [("Integer 0x0036", "2"), ("String 0x1039", "<0@x> <1@x>"), ("String 0x1042", "<1@x>")];
    assert_eq!(properties, wanted.map(|(id, value)| (id.to_owned(), value.to_owned())).into());
    assert_eq!(carried["internetMessageHeaders"][0]["name"], "X-Erp-Run");
    let part = |kind: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary=b\r\n|--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: {kind}\r\n\r\nx\r\n--b--\r\n"
        )
    };
    // A signed invoice is a file among others.
    for file in ["application/octet-stream; name=invoice.xml.p7m", "application/pgp-signature; name=invoice.pdf.asc"] {
        let whole = part(file);
        let (header, body) = whole.split_once('|').unwrap();
        assert_eq!(draft(header, body).unwrap().attachments.len(), 1, "{file}");
    }
    let many = (0..6).map(|number| format!("X-H{number}: x\r\n")).collect::<String>();
    for (header, body, reason) in [
        ("Auto-Submitted: auto-generated\r\n".to_owned(), String::new(), "Auto-Submitted"),
        ("List-Unsubscribe: <https://x.example>\r\n".to_owned(), String::new(), "List-Unsubscribe"),
        ("Importance: very\r\n".to_owned(), String::new(), "Importance"),
        (many, String::new(), "6 `X-` headers"),
        ("Content-Type: multipart/signed; boundary=b\r\n".to_owned(), "--b\r\n\r\nx\r\n--b--\r\n".to_owned(), "signed"),
        (
            "Content-Type: multipart/encrypted; boundary=b\r\n".to_owned(),
            "--b\r\n\r\nx\r\n--b--\r\n".to_owned(),
            "encrypted",
        ),
        ("Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n".to_owned(), "x".to_owned(), "S/MIME"),
        ("Content-Type: text/calendar; method=REQUEST\r\n".to_owned(), "x".to_owned(), "invitation"),
        ("Content-Type: application/octet-stream; name=\"SMIME.P7M\"\r\n".to_owned(), "x".to_owned(), "S/MIME"),
        (
            "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=mail.p7m\r\n"
                .to_owned(),
            "x".to_owned(),
            "S/MIME",
        ),
        ("Content-Type: application/octet-stream; name=message.asc\r\n".to_owned(), "x".to_owned(), "PGP"),
        // The two names of a part can differ, and a name can be encoded.
        (
            "Content-Type: application/octet-stream; name=smime.p7m\r\nContent-Disposition: attachment; filename=mail.bin\r\n".to_owned(),
            "x".to_owned(),
            "S/MIME",
        ),
        (
            "Content-Type: application/octet-stream; name=mail.bin\r\nContent-Disposition: attachment; filename=smime.p7m\r\n".to_owned(),
            "x".to_owned(),
            "S/MIME",
        ),
        (
            "Content-Type: application/octet-stream\r\nContent-Disposition: inline; filename*=utf-8''smime%2Ep7m\r\n".to_owned(),
            "x".to_owned(),
            "S/MIME",
        ),
        (
            "Content-Type: application/octet-stream; name=\"=?utf-8?B?c21pbWUucDdt?=\"\r\n".to_owned(),
            "x".to_owned(),
            "S/MIME",
        ),
        ("Content-Type: application/octet-stream; name=\"smime.p7m.\"\r\n".to_owned(), "x".to_owned(), "S/MIME"),
        (
            "Content-Type: application/octet-stream; name*0=smi; name*1=me.p7m\r\nContent-Disposition: attachment\r\n".to_owned(),
            "x".to_owned(),
            "S/MIME",
        ),
    ]
    .into_iter()
    .chain(
        [
            ("multipart/signed; boundary=c", "signed"),
            ("application/x-pkcs7-mime", "S/MIME"),
            ("application/octet-stream; name=smime.p7m", "S/MIME"),
            ("application/octet-stream; name=smime.p7s", "S/MIME"),
            ("text/calendar; method=CANCEL", "invitation"),
            ("text/plain", "more than one text"),
        ]
        .map(|(kind, reason)| {
            let whole = part(kind);
            let (header, body) = whole.split_once('|').unwrap();
            (header.to_owned(), body.to_owned(), reason)
        }),
    ) {
        let refused = draft(&header, &body).map(|draft| draft.document).expect_err(&format!("{header}{body}"));
        assert!(refused.reason.contains(reason), "{header}: {refused}");
    }
}

#[test]
fn a_forbidden_file_is_found_under_every_spelling_of_its_name() {
    let rules =
        Attachments { forbidden: vec!["exe".to_owned(), ".JS".to_owned(), "application/x-msdownload".to_owned()] };
    for name in [
        "a.exe",
        "a.EXE",
        "a.exe.",
        "a.exe. .",
        "a.exe\u{200b}",
        "a.e\u{ad}xe",
        "a.exe::$DATA",
        "a.exe:x.txt",
        "a.exe。",
        "a。exe",
        "a．ｅｘｅ",
        "a%2Eexe",
        "folder/a.exe",
        "..\\a.exe",
        "a.js",
        "a.exe\"",
        "a.exe'",
    ] {
        assert!(rules.rule_against(name, "text/plain").is_some(), "{name}");
    }
    assert!(rules.rule_against("a.bin", "Application/X-MSDownload; name=b").is_some());
    for name in ["exe", "a.exe.txt", "exe.pdf", "a.jsx", "", "100%.pdf"] {
        assert!(rules.rule_against(name, "text/plain").is_none(), "{name}");
    }
    // What was composed is what counts, and so is every name in a raw message.
    let file = |name: &str, media_type: &str| MessageParts {
        to: vec!["a@example.org".to_owned()],
        attachments: vec![FilePart {
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            bytes: b"x".to_vec(),
            content_id: None,
        }],
        ..MessageParts::default()
    };
    for (name, media_type) in [
        ("a.pdf", "application/pdf; name=\"a.exe\""),
        ("a.pdf", "application/pdf; name*=utf-8''a.exe"),
        ("=?utf-8?q?a.exe?=", "application/pdf"),
        ("=?utf-8?b?YS5leGU=?=", "application/pdf"),
        ("a.exe::$DATA", "application/pdf"),
    ] {
        let refused = file(name, media_type).compose("<1@example.com>", Timestamp::UNIX_EPOCH, &rules);
        assert!(refused.is_err(), "{name} {media_type}");
    }
    let taken =
        file("Rechnung März 2026 für Müller & Söhne, sehr lang damit es gefaltet wird ✓.pdf", "application/pdf");
    let kept = taken.compose("<1@example.com>", Timestamp::UNIX_EPOCH, &rules).unwrap();
    let text = String::from_utf8(kept.content.clone()).unwrap();
    assert!(text.contains("name=\"=?utf-8?b?") && text.contains("filename*0*=utf-8''Rechnung"), "{text}");
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 100), "{text}");
    let read = MessageParser::default().parse(&kept.content).unwrap();
    let name = read.attachment(0).unwrap().attachment_name().unwrap().to_owned();
    assert_eq!(name, "Rechnung März 2026 für Müller & Söhne, sehr lang damit es gefaltet wird ✓.pdf");
}

#[test]
fn invalid_base64_is_refused_with_the_character_and_its_position() {
    for (text, reason) in [
        ("JVBERi0...", "`.` at character 8"),
        ("aGV\u{e4}", "U+00E4"),
        ("aG-_", "`-` at character 3"),
        ("data:application/pdf;base64,aGVs", "`:` at character 5"),
        ("aGVs=bG8=", "`=` at character 5 is not at the end"),
        ("aGVsb", "middle of a byte"),
    ] {
        let error = lenient::decode(text).expect_err(text);
        assert!(error.reason.contains(reason) && !error.remedy.is_empty(), "{text}: {error}");
    }
    assert_eq!(lenient::decode("").unwrap(), b"");
}

#[test]
fn an_address_that_looks_encoded_is_refused() {
    // In a header, some programs would read `victim@evil.example` or another recipient.
    for text in
        ["=?utf-8?q?victim=40evil.example?=@example.com", "\"=?utf-8?b?YQ==?=\"@example.com", "a=?b@example.com"]
    {
        let refused = Address::parse(text).expect_err(text);
        assert!(refused.reason.contains("encoded word"), "{text}: {refused}");
    }
    assert!(Address::parse("a=b?c@example.com").is_ok());
}

#[test]
fn guards_compare_addresses_and_not_texts() {
    let guard: RecipientGuard = serde_json::from_value(serde_json::json!({
        "allow": ["*@müller.example", "\"tester\"@Example.org"], "rewriteTo": " tests@müller.example\u{a0}",
    }))
    .unwrap();
    for allowed in ["a@xn--mller-kva.example", "a@MÜLLER.example", "Tester@example.org"] {
        assert!(guard.allows(allowed), "{allowed}");
    }
    for refused in ["a@evil.example", "a@x.xn--mller-kva.example", "tester@example.org.evil.example", "no address"] {
        assert!(!guard.allows(refused), "{refused}");
    }
    assert_eq!(guard.rewrite_to.unwrap(), "tests@xn--mller-kva.example");
}

/// The header of a message, unfolded, one field a line.
fn header(content: &[u8]) -> String {
    let text = String::from_utf8(content.to_vec()).unwrap();
    text.split_once("\r\n\r\n").unwrap().0.replace("\r\n ", " ")
}

#[test]
fn a_blank_before_the_colon_is_removed() {
    let kept = raw(
        "From : erp@example.com\r\nTo\t: a@example.com\r\nBcc : b@example.com\r\nSubject : x\r\nX-A : b\r\n\r\nhi",
        &[],
    );
    let kept = kept.unwrap();
    assert_eq!(kept.recipients, ["a@example.com", "b@example.com"]);
    let text = header(&kept.content);
    assert!(text.contains("To: a@example.com\r\nSubject: x\r\nX-A: b"), "{text}");
    assert!(!text.contains(" :") && !text.contains("Bcc"), "{text}");
    // A message that was accepted before has them in the store.
    let guard = guard(None);
    let stored = b"To : a@example.com\r\nSubject: x\r\n\r\nhi".to_vec();
    let sent = OutgoingMessage::build(stored, &["a@example.com".to_owned()], &graph(&guard)).unwrap();
    assert!(header(&sent.bytes).contains("To: a@example.com"), "{}", header(&sent.bytes));
    // A signature over such a field does not hold any more.
    let signed = |name: &str| {
        let message = format!(
            "DKIM-Signature: v=1; d=example.com; h=to:subject; b=x\r\nFrom: erp@example.com\r\n{name}: a@example.com\r\nSubject: x\r\n\r\nhi"
        );
        header(&raw(&message, &[]).unwrap().content).contains("DKIM-Signature")
    };
    assert!(signed("To") && !signed("To "));
}

#[test]
fn parameters_and_ids_that_are_not_ascii_are_no_encoded_words() {
    let kept = raw(
        "From: erp@example.com\r\nTo: a@example.com\r\nReferences: <\u{fc}@x> <1@x>\r\n <2@x>\r\nIn-Reply-To: <\u{fc}@x>\r\nContent-Type: text/plain; charset=utf-8; name=\"\u{e4} b.txt\"\r\nContent-Disposition: attachment; filename=\"\u{e4} b.txt\"\r\nX-\u{41}: \u{e4}\r\n\r\n\u{e4}",
        &[],
    );
    let text = header(&kept.unwrap().content);
    assert!(text.contains("References: <1@x> <2@x>\r\n") && !text.contains("In-Reply-To"), "{text}");
    assert!(text.contains("Content-Type: text/plain; charset=utf-8; name*=utf-8''%C3%A4%20b.txt"), "{text}");
    assert!(text.contains("Content-Disposition: attachment; filename*=utf-8''%C3%A4%20b.txt"), "{text}");
    assert_eq!(text.matches("=?utf-8?").count(), 1, "only X-A is free text: {text}");
    for (value, ascii) in [
        ("a/b; filename*=utf-8''\u{e4}%20b", "a/b;\r\n filename*=utf-8''%C3%A4%20b"),
        (
            "a/b; name*0=\"\u{e4}\"; name*1=\u{f6}; name*2=c",
            "a/b;\r\n name*0*=utf-8''%C3%A4;\r\n name*1*=%C3%B6;\r\n name*2=c",
        ),
        ("a/b; x=\"\\\"\u{e4}\\\\\"", "a/b;\r\n x*=utf-8''%22%C3%A4%5C"),
    ] {
        assert_eq!(parameter::in_ascii(value), ascii, "{value}");
    }
    let long = parameter::in_ascii(&format!("a/b; name={}", "\u{e4}".repeat(60)));
    assert!(long.lines().all(|line| line.len() <= 76) && long.contains("name*7*="), "{long}");
    let read = format!("Content-Type: {long}\r\n\r\nx");
    let read = MessageParser::default().parse(read.as_bytes()).unwrap();
    assert_eq!(read.attachment_name(), Some("\u{e4}".repeat(60).as_str()));
}

#[test]
fn a_line_with_an_encoded_word_has_76_characters_at_most() {
    let long = |text: &str| text.repeat(400 / text.len());
    let parts = MessageParts {
        to: vec![format!("{} <a@example.com>", long("\u{e4}")), "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4} <somebody.with.a.long.name@a-long-domain.example.com>".to_owned()],
        reply_to: vec![format!("{} <a@example.com>", "\u{e4}".repeat(22))],
        subject: long("\u{1f600}"),
        text: Some("x".to_owned()),
        attachments: vec![FilePart {
            name: "\u{e4}".repeat(100),
            media_type: "application/pdf".to_owned(),
            bytes: b"x".to_vec(),
            content_id: None,
        }],
        headers: vec![
            ("Keywords".to_owned(), long("k").repeat(3)),
            ("Comments".to_owned(), format!("{} a  b \u{e4}", long("word "))),
            ("X-Long-Header-Name-For-Test".to_owned(), long("\u{e4}")),
            (format!("X-{}", "N".repeat(66)), long("\u{20ac} ")),
        ],
        ..MessageParts::default()
    };
    let kept = parts.compose("<1@example.com>", Timestamp::UNIX_EPOCH, &Attachments::default()).unwrap();
    let text = String::from_utf8(kept.content.clone()).unwrap();
    let too_long: Vec<&str> = text.lines().filter(|line| line.contains("=?") && line.len() > 76).collect();
    assert!(too_long.is_empty(), "{too_long:#?}");
    let read = MessageParser::default().parse(&kept.content).unwrap();
    assert_eq!(read.subject().unwrap(), long("\u{1f600}"));
    let value = |name: &str| {
        read.header_raw(name).map(|raw| mailwright::mime::field::decode_words(&raw.trim().replace("\r\n", "")))
    };
    assert_eq!(value("X-Long-Header-Name-For-Test").unwrap(), long("\u{e4}"));
    assert_eq!(value("Keywords").unwrap(), long("k").repeat(3));
}

#[test]
fn a_message_that_begins_with_an_empty_line_says_so() {
    for message in ["\r\nTo: a@example.com\r\n\r\nhi", "\n\nTo: a@example.com\n\nhi"] {
        let refused = raw(message, &[]).unwrap_err();
        assert!(refused.to_string().contains("begins with an empty line"), "{refused}");
    }
    assert!(raw("\r\nhi", &["a@example.com"]).is_ok());
}
