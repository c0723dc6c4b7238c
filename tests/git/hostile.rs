//! Repositories that mean no good, or are not whole: names, links, submodules, shallow and partial clones, rewritten
//! history, translated line ends.

use std::os::unix::fs::symlink;

use super::{commit, edit, git, git_in, layered, touched};
use crate::support::trial::{SMALL_PROFILE, Trial};

/// A clone of a trial's repository, made with more options.
fn cloned(trial: &Trial, options: &[&str]) -> Trial {
    let clone = Trial::empty();
    std::fs::remove_dir(clone.path("environments")).unwrap();
    let url = format!("file://{}", trial.folder.path().display());
    git(&clone, &[&["clone", "--quiet"], options, &[&url, "."]].concat());
    clone
}

#[test]
fn names_never_break_what_is_read_or_shown() {
    use std::os::unix::ffi::OsStrExt as _;
    let trial = layered();
    let names: [&[u8]; 9] = [
        b"a\nb.yaml",
        b"-rf.yaml",
        b"--output=x.yaml",
        b"quote\"'.yaml",
        b"\x1b[2J.yaml",
        b"\xff\xfe.yaml",
        b"tab\there.yaml",
        b":(exclude)x.yaml",
        b"Relay.yaml",
    ];
    for name in names {
        let path = trial.path("environments/prod/profiles").join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, SMALL_PROFILE).unwrap();
    }
    let on_disk = trial.run(&["diff"]).code(1);
    commit(&trial, "hostile");
    let in_a_tree = trial.run(&["diff", "HEAD~1.."]).code(1);
    for ran in [&on_disk, &in_a_tree] {
        assert!(!ran.stdout.contains('\x1b') && !ran.stdout.contains("a\nb"), "{}", ran.stdout);
        for shown in [r"a\nb.yaml", "-rf.yaml", "--output=x.yaml", r"\u{1b}[2J.yaml", "\u{fffd}\u{fffd}.yaml"] {
            assert!(ran.stdout.contains(shown), "{shown} is not in {}", ran.stdout);
        }
    }
    let problems = |text: &str| text.matches("error[").count();
    assert_eq!(problems(&on_disk.stdout), problems(&in_a_tree.stdout), "both ways see the same");
    assert_eq!(touched(&trial, &["HEAD~1.."]), "prod invalid", "and nothing else is drawn in");
}

#[test]
fn links_are_followed_inside_and_nowhere_else() {
    let trial = layered();
    trial.write("shared/relay.yaml", SMALL_PROFILE);
    std::fs::create_dir_all(trial.path("environments/prod/profiles")).unwrap();
    let at = |name: &str| trial.path(&format!("environments/prod/profiles/{name}.yaml"));
    symlink("../../../shared/relay.yaml", at("relay")).unwrap();
    git(&trial, &["add", "shared"]);
    commit(&trial, "a link inside");
    assert_eq!(touched(&trial, &["HEAD~1.."]), "", "it says what the base says");
    // What a link leads to is what changes.
    edit(&trial, "shared/relay.yaml", "smtp.example.com", "linked.example.com");
    assert_eq!(touched(&trial, &[]), "prod changed", "in the work tree");
    git(&trial, &["commit", "--quiet", "-am", "what it leads to"]);
    assert_eq!(touched(&trial, &["HEAD~1.."]), "prod changed", "in a commit");
    for (index, target) in
        ["/etc/passwd", "../../../../../../etc/passwd", "nowhere", "loop.yaml", ""].into_iter().enumerate()
    {
        let target = if target.is_empty() { "x/".repeat(400) + ".." } else { target.to_owned() };
        git(&trial, &["checkout", "--quiet", "-B", &format!("hostile-{index}"), "main"]);
        symlink(&target, at("loop")).unwrap();
        let on_disk = trial.run(&["diff"]).code(1).stdout;
        commit(&trial, "a link outside");
        let in_a_tree = trial.run(&["diff", "HEAD~1.."]).code(1).stdout;
        for text in [on_disk, in_a_tree] {
            assert!(text.contains("MW0015") && !text.contains("root:"), "{target}: {text}");
        }
    }
    // A whole folder that is a link.
    git(&trial, &["checkout", "--quiet", "main"]);
    symlink("prod", trial.path("environments/copy")).unwrap();
    assert_eq!(touched(&trial, &[]), "copy added");
    commit(&trial, "a linked folder");
    assert_eq!(touched(&trial, &["HEAD~1.."]), "copy added");
    edit(&trial, "environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
    assert_eq!(touched(&trial, &[]), "copy changed, prod changed");
}

#[test]
fn a_submodule_is_never_an_empty_folder() {
    let other = Trial::small();
    git(&other, &["init", "--quiet"]);
    git(&other, &["add", "environments"]);
    git(&other, &["commit", "--quiet", "-m", "one"]);
    let trial = layered();
    git(&trial, &["rm", "--quiet", "-r", "environments/test/profiles"]);
    let url = other.folder.path().to_str().unwrap();
    git(&trial, &["submodule", "--quiet", "add", url, "environments/test/profiles"]);
    git(&trial, &["commit", "--quiet", "-am", "a submodule"]);
    let text = trial.run(&["diff", "HEAD~1.."]).code(1).stdout;
    assert!(text.contains("MW0300") && text.contains("environments/test/profiles"), "{text}");
    // A clone without it has an empty folder, which would be an environment without profiles of its own.
    let clone = cloned(&trial, &[]);
    for command in [&["validate"][..], &["plan", "test"], &["validate", "dev"]] {
        let ran = clone.run(command).code(1);
        assert!(ran.stderr.contains("MW0300") && ran.stderr.contains("git submodule update --init"), "{}", ran.stderr);
    }
    git(&trial, &["rm", "--quiet", "-rf", "environments"]);
    drop(std::fs::remove_dir_all(trial.path("environments")));
    git(&trial, &["submodule", "--quiet", "add", "--name", "all", url, "environments"]);
    git(&trial, &["commit", "--quiet", "-am", "all of it"]);
    let ran = trial.run(&["diff", "HEAD~1.."]).code(1);
    assert!(ran.stderr.contains("MW0300") && ran.stderr.contains("In HEAD"), "{}", ran.stderr);
}

#[test]
fn a_shallow_or_partial_clone_says_what_it_lacks() {
    let trial = layered();
    // No file of HEAD may have the contents that HEAD~1 has there.
    edit(&trial, "environments/prod/environment.yaml", "[EDU1]", "[EDU8]");
    commit(&trial, "before");
    edit(&trial, "environments/prod/environment.yaml", "[EDU8]", "[EDU9]");
    let second = commit(&trial, "two");
    git(&trial, &["config", "uploadpack.allowFilter", "true"]);
    let shallow = cloned(&trial, &["--depth", "1"]);
    let ran = shallow.run(&["diff", "HEAD~1.."]).code(1);
    assert!(ran.stderr.contains("MW0302") && ran.stderr.contains("git fetch --unshallow"), "{}", ran.stderr);
    assert_eq!(touched(&shallow, &[]), "", "what is there is enough for the work tree");
    git(&shallow, &["fetch", "--quiet", "--unshallow"]);
    assert_eq!(touched(&shallow, &["HEAD~1.."]), "prod changed");
    let partial = cloned(&trial, &["--filter=blob:none"]);
    let ran = partial.run(&["diff", "HEAD~1.."]).code(1);
    assert!(ran.stdout.contains("MW0302") && ran.stdout.contains("partial clone"), "{}{}", ran.stdout, ran.stderr);
    git(&partial, &["archive", "--output", ".x.tar", "HEAD~1"]);
    assert_eq!(touched(&partial, &["HEAD~1.."]), "prod changed");
    assert_eq!(touched(&partial, &[&format!("{second}~1..{second}")]), "prod changed");
}

#[test]
fn rewritten_history_is_compared_as_it_is() {
    let trial = layered();
    edit(&trial, "environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
    let lost = commit(&trial, "to be rewritten");
    edit(&trial, "environments/prod/environment.yaml", "[EDU2]", "[EDU3]");
    git(&trial, &["commit", "--quiet", "-a", "--amend", "-m", "rewritten"]);
    assert_eq!(touched(&trial, &[&format!("{lost}..")]), "prod changed", "no ancestor, and still a tree");
    let clone = cloned(&trial, &[]);
    let ran = clone.run(&["diff", &lost]).code(1);
    assert!(ran.stderr.contains("MW0301") && ran.stderr.contains("forced push"), "{}", ran.stderr);
    git(&trial, &["checkout", "--quiet", "--orphan", "apart"]);
    commit(&trial, "apart");
    assert_eq!(touched(&trial, &["main.."]), "");
    let ran = trial.run(&["diff", "main..."]).code(1);
    assert!(ran.stderr.contains("no commit in common"), "{}", ran.stderr);
}

#[test]
fn translated_line_ends_change_nothing_but_age_files() {
    let trial = Trial::examples();
    git(&trial, &["init", "--quiet"]);
    git(&trial, &["add", "."]);
    git(&trial, &["commit", "--quiet", "-m", "one"]);
    // Without the attribute, and with a configuration that translates.
    let clone = cloned(&trial, &["--config", "core.autocrlf=true", "--config", "core.eol=crlf"]);
    assert!(clone.read("environments/prod/environment.yaml").contains("\r\n"));
    edit(&clone, "environments/prod/environment.yaml", "\r\n", "\r\n\r\n");
    let text = clone.run(&["diff", "HEAD", "prod"]).stdout;
    assert!(!text.contains("environments/prod"), "lines ends are no difference: {text}");
    git(&clone, &["checkout", "--quiet", "."]);
    // An armored age file still opens, and is another file.
    let age = "secrets/dev/relay/password.age";
    let bytes = std::fs::read(trial.path(age)).unwrap();
    let ran = clone.run(&["validate", "dev"]).code(0);
    assert!(ran.stdout.contains("MW0304") && ran.stdout.contains("*.age -text"), "{}", ran.stdout);
    // A binary one is damaged.
    let binary = crate::support::tools::without_armor(&bytes);
    clone.write(age, &binary);
    clone.run(&["validate", "dev"]).code(0);
    clone.write(age, binary.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]));
    let ran = clone.run(&["validate", "dev"]).code(1);
    assert!(ran.stdout.contains("MW0034") && ran.stdout.contains("has translated its line ends"), "{}", ran.stdout);
    // With the attribute nothing is translated, and nothing is dirty.
    trial.write(".gitattributes", "*.age -text\n");
    git_in(trial.folder.path(), &["add", ".gitattributes"]);
    git(&trial, &["commit", "--quiet", "-m", "two"]);
    let clone = cloned(&trial, &["--config", "core.autocrlf=true"]);
    assert_eq!(std::fs::read(clone.path(age)).unwrap(), bytes);
    assert_eq!(touched(&clone, &["HEAD"]), "");
}
