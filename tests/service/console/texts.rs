//! Texts and templates of the console: every language has every key, and every key is used and exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The reasons to wait, as a message explains them.
const WAITS: &str = "suspended no-sender held server-away throttled limited retry scheduled";

/// Groups of keys that are put together at run time (`page.word("group", id)`), with the ids of each.
fn groups() -> BTreeMap<&'static str, Vec<String>> {
    let ids = |list: &str| list.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let functions: Vec<String> = mailwright::model::Function::all().map(|function| function.id().to_owned()).collect();
    let statuses = mailwright::model::Status::ALL.iter().map(|status| status.id().to_owned()).collect();
    let reasons = mailwright::model::WaitReason::ALL.iter().map(|reason| reason.id().to_owned()).collect();
    BTreeMap::from([
        ("language", ids("en de")),
        ("answer", ids("yes no")),
        ("sign-in-notice", ids("ended out")),
        ("sign-in-obstacle", ids("cookie clear-text")),
        ("status", statuses),
        ("difference", ids("added changed removed")),
        ("outcome", ids("accepted refused")),
        ("token", ids("active suspended expired revoked")),
        ("operator", ids("active invited without suspended removed")),
        ("account-kind", ids("token operator identity")),
        ("message-done", ids("retry cancel replay resolve test")),
        ("step", ids("disabled other-client name-comes-later none")),
        ("recipient", ids("waiting delivered failed unknown")),
        ("class", ids("delivered transient throttled auth size permanent unknown")),
        ("bulk-action", ids("retry cancel replay replay-all resolve-delivered resolve-failed")),
        ("bulk-help", ids("retry cancel replay replay-all resolve-delivered resolve-failed")),
        ("waiting", reasons),
        ("wait-means", ids(WAITS)),
        ("wait-remedy", ids(WAITS)),
        ("wait-link", ids("profile edit coverage holds")),
        ("test-mail", ids("subject text")),
        ("test-obstacle", ids("delegate disabled right other-profiles")),
        ("form-provider", ids("smtp microsoft-graph-direct microsoft-graph-delegate")),
        ("profiles-column", ids("name provider state verified changed")),
        ("provider", ids("smtp microsoft-graph-direct microsoft-graph-delegate")),
        ("state", ids("suspended unreachable failing removed paused disabled unverified ready")),
        ("drift", ids("unmanaged restored changed removed")),
        ("drift-help", ids("unmanaged restored changed removed")),
        ("change", ids("apply manual rollback")),
        ("encryption", ids("starttls tls none")),
        ("platform", ids("native spa")),
        ("rotation", ids("staged refused promoted")),
        ("verify-standing", ids("running complete incomplete")),
        ("level", ids("offline anonymous credential reader probe")),
        ("verdict", ids("fail unknown pass")),
        ("severity", ids("error warning info")),
        ("signature", ids("good unknown-key expired revoked bad unchecked none")),
        ("form-section", ids("general connection sender limits")),
        (
            "form",
            ids(
                "name description host port encryption login username cloud sign-in graph tenant client credential token-file platform redirect address-book from-address from-name from-dkim preset per-minute concurrency recipients-per-day message-size secret",
            ),
        ),
        (
            "form-help",
            ids(
                "name description host port encryption username cloud sign-in graph tenant client token-file platform redirect address-book from-address from-name from-dkim preset per-minute concurrency recipients-per-day message-size secret",
            ),
        ),
        ("form-login", ids("none password oauth")),
        ("form-cloud", ids("global us-government-l4 us-government-l5 china custom")),
        ("form-credential", ids("client-secret certificate federated")),
        ("form-preset", ids("usual own exchange-online-smtp microsoft-graph")),
        ("form-value", ids("password client-secret certificate")),
        ("plan-sealing", ids("rekey set")),
        ("plan-action", ids("create update delete rename adopt forget")),
        ("proposal-status", ids("open expired applied rejected")),
        ("signing-meaning", ids("reviewed approved authored")),
        ("signing-method", ids("passkey ssh identity-provider")),
        ("signing-wanted", ids("reviewed approved authored")),
        (
            "secret-change",
            ids(
                "new rotated resealed file-changed renamed removed rotation-finished next-staged next-replaced next-resealed next-withdrawn",
            ),
        ),
        (
            "seal",
            ids(
                "insecure recipient mixed library failed destination empty too-long utf-16 keystore der not-text age-file merge-markers pointer control blank mark encrypted pem-in-base64 kubernetes web-key base64 masked private-key json secret-id line-breaks invisible-end blank-end assignment no-certificate no-key encrypted-key openssh-key",
            ),
        ),
        ("function", functions.clone()),
        ("covers", functions),
    ])
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console")
}

/// Returns the keys of a language, with the names of the values that each text uses.
fn keys(language: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(folder().join(format!("texts/{language}.ftl"))).unwrap();
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((key, _)) = line.split_once(" =").filter(|_| line.starts_with(|c: char| c.is_ascii_lowercase())) {
            key.clone_into(&mut current);
            assert!(keys.insert(current.clone(), BTreeSet::new()).is_none(), "{language}: {key} is there twice");
        }
        let values = line
            .split('$')
            .skip(1)
            .map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>());
        if let Some(found) = keys.get_mut(&current) {
            found.extend(values);
        }
    }
    assert!(keys.len() > 100, "{language}: only {} keys were read", keys.len());
    keys
}

fn files(folder: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Returns the texts in quotes that follow a word, with the file of each.
fn literals_after(word: &str, sources: &[(String, String)]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in sources {
        for rest in text.split(word).skip(1) {
            found
                .extend(rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_language_has_every_key_and_every_key_is_used() {
    let english = keys("en");
    let german = keys("de");
    assert_eq!(english, german);
    let mut sources = Vec::new();
    files(&folder(), ".html", &mut sources);
    files(&folder(), ".rs", &mut sources);
    for (_, text) in &mut sources {
        *text = text.lines().filter(|line| !line.starts_with("//!")).collect::<Vec<_>>().join("\n");
    }
    assert!(sources.len() > 20);
    let groups = groups();
    let used_groups = literals_after("page.word(", &sources);
    let unknown: Vec<&String> = used_groups.iter().filter(|group| !groups.contains_key(group.as_str())).collect();
    assert!(unknown.is_empty(), "groups that this test does not know: {unknown:?}");
    let mut used: BTreeSet<String> =
        groups.iter().flat_map(|(group, ids)| ids.iter().map(move |id| format!("{group}-{id}"))).collect();
    for call in ["page.t(", "page.t1(", "page.t2(", "page.tn("] {
        used.extend(literals_after(call, &sources));
    }
    // Labels of values are keys in Rust.
    for call in ["code(", "plain("] {
        used.extend(literals_after(call, &sources).into_iter().filter(|key| key.starts_with("profile-")));
    }
    // Texts about numbers are keys in Rust.
    let counted =
        english.keys().filter(|key| sources.iter().any(|(_, text)| text.contains(&format!("(\"{key}\", summary"))));
    used.extend(counted.cloned().collect::<Vec<_>>());
    let missing: Vec<&String> = used.iter().filter(|key| !english.contains_key(*key)).collect();
    assert!(missing.is_empty(), "used, and in no file: {missing:?}");
    let unused: Vec<&String> = english.keys().filter(|key| !used.contains(*key)).collect();
    assert!(unused.is_empty(), "in the files, and not used: {unused:?}");
}

#[test]
fn templates_have_nothing_that_the_content_security_policy_blocks_or_that_is_not_escaped() {
    let mut templates = Vec::new();
    files(&folder(), ".html", &mut templates);
    for (path, text) in templates {
        for refused in ["|safe", "| safe", " style=", "<style", "javascript:", "hx-on", "hx-vals", "js:"] {
            assert!(!text.contains(refused), "{path}: {refused}");
        }
        for script in text.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap();
            let loads = tag.contains("src=\"{{ page.asset(") && script[tag.len()..].starts_with("></script>");
            assert!(loads, "{path}: {tag}");
        }
        let handler = text.split_whitespace().find(|word| {
            word.strip_prefix("on").is_some_and(|rest| {
                rest.split('=')
                    .next()
                    .is_some_and(|name| rest.contains('=') && name.chars().all(|c| c.is_ascii_lowercase()))
            })
        });
        assert!(handler.is_none(), "{path}: {handler:?}");
    }
}

/// Removes command lines, which are the same in every language.
fn without_commands(text: &str) -> String {
    let mut parts = text.split("<code>mailwright ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| kept + part.split_once("</code>").map_or("", |(_, rest)| rest))
}

#[test]
fn templates_have_no_text_of_their_own() {
    let mut templates = Vec::new();
    files(&folder(), ".html", &mut templates);
    let mut faults = Vec::new();
    for (path, text) in templates {
        // What is left without tags, expressions and code is text.
        let mut rest = String::new();
        let (mut depth, mut previous) = (0_i32, ' ');
        for character in text.chars() {
            match (previous, character) {
                ('{', '{' | '%') => depth += 1,
                ('}' | '%', '}') => depth -= 1,
                _ if depth == 0 => rest.push(character),
                _ => {}
            }
            previous = if depth > 0 && character == '{' { ' ' } else { character };
        }
        let mut plain = String::new();
        let mut inside = 0;
        for character in without_commands(&rest).chars() {
            match character {
                '<' => inside += 1,
                '>' => inside -= 1,
                _ if inside == 0 => plain.push(character),
                _ => {}
            }
        }
        let words = plain.split(|c: char| !c.is_alphabetic()).filter(|word| word.chars().count() > 1);
        let allowed = ["CSV", "JSON", "Mailwright", "Enter", "Esc", "API", "NAME", "KEY"];
        faults.extend(words.filter(|word| !allowed.contains(word)).map(|word| format!("{path}: {word}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
