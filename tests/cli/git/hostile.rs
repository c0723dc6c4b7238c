//! Repositories that mean no good, or are not whole: a configuration that names programs, names, links, submodules,
//! shallow and partial clones, rewritten history, translated line ends.

use std::{
    collections::BTreeSet,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};

use super::{commit, edit, git, git_in, layered, touched};
use crate::support::repository::{SMALL_PROFILE, TestRepository, run_command};

/// Clones a test repository, with further options.
fn cloned(repo: &TestRepository, options: &[&str]) -> TestRepository {
    let clone = TestRepository::empty();
    std::fs::remove_dir(clone.path("environments")).unwrap();
    let url = format!("file://{}", repo.folder.path().display());
    git(&clone, &[&["clone", "--quiet"], options, &[&url, "."]].concat());
    clone
}

#[test]
fn names_never_break_what_is_read_or_shown() {
    use std::os::unix::ffi::OsStrExt as _;
    let repo = layered();
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
        let path = repo.path("environments/prod/profiles").join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, SMALL_PROFILE).unwrap();
    }
    let on_disk = repo.run(&["diff"]).code(1);
    commit(&repo, "hostile");
    let in_a_tree = repo.run(&["diff", "HEAD~1.."]).code(1);
    for output in [&on_disk, &in_a_tree] {
        assert!(!output.stdout.contains('\x1b') && !output.stdout.contains("a\nb"), "{}", output.stdout);
        for shown in [r"a\nb.yaml", "-rf.yaml", "--output=x.yaml", r"\u{1b}[2J.yaml", "\u{fffd}\u{fffd}.yaml"] {
            assert!(output.stdout.contains(shown), "{shown} is not in {}", output.stdout);
        }
    }
    let problems = |text: &str| text.matches("error[").count();
    assert_eq!(problems(&on_disk.stdout), problems(&in_a_tree.stdout), "both ways see the same");
    assert_eq!(touched(&repo, &["HEAD~1.."]), "prod invalid", "and nothing else is drawn in");
}

#[test]
fn links_are_followed_inside_and_nowhere_else() {
    let repo = layered();
    repo.write("shared/relay.yaml", SMALL_PROFILE);
    std::fs::create_dir_all(repo.path("environments/prod/profiles")).unwrap();
    let at = |name: &str| repo.path(&format!("environments/prod/profiles/{name}.yaml"));
    symlink("../../../shared/relay.yaml", at("relay")).unwrap();
    git(&repo, &["add", "shared"]);
    commit(&repo, "a link inside");
    assert_eq!(touched(&repo, &["HEAD~1.."]), "", "it says what the base says");
    // A change of a link's target is a change of the environment.
    edit(&repo, "shared/relay.yaml", "smtp.example.com", "linked.example.com");
    assert_eq!(touched(&repo, &[]), "prod changed", "in the work tree");
    git(&repo, &["commit", "--quiet", "-am", "what it leads to"]);
    assert_eq!(touched(&repo, &["HEAD~1.."]), "prod changed", "in a commit");
    for (index, target) in
        ["/etc/passwd", "../../../../../../etc/passwd", "nowhere", "loop.yaml", ""].into_iter().enumerate()
    {
        let target = if target.is_empty() { "x/".repeat(400) + ".." } else { target.to_owned() };
        git(&repo, &["checkout", "--quiet", "-B", &format!("hostile-{index}"), "main"]);
        symlink(&target, at("loop")).unwrap();
        let on_disk = repo.run(&["diff"]).code(1).stdout;
        commit(&repo, "a link outside");
        let in_a_tree = repo.run(&["diff", "HEAD~1.."]).code(1).stdout;
        for text in [on_disk, in_a_tree] {
            assert!(text.contains("MW0015") && !text.contains("root:"), "{target}: {text}");
        }
    }
    // A whole folder that is a link.
    git(&repo, &["checkout", "--quiet", "main"]);
    symlink("prod", repo.path("environments/copy")).unwrap();
    assert_eq!(touched(&repo, &[]), "copy added");
    commit(&repo, "a linked folder");
    assert_eq!(touched(&repo, &["HEAD~1.."]), "copy added");
    edit(&repo, "environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
    assert_eq!(touched(&repo, &[]), "copy changed, prod changed");
}

#[test]
fn what_is_missing_behind_a_good_link_is_missing() {
    let repo = layered();
    git(&repo, &["checkout", "--quiet", "-b", "linked"]);
    repo.write("sealed/README.md", "Sealed.\n");
    symlink("../sealed", repo.path("secrets/prod")).unwrap();
    repo.write(
        "environments/prod/profiles/relay.yaml",
        "provider: { smtp: { username: erp, password: { secret: relay/password } } }\n",
    );
    git(&repo, &["add", "sealed"]);
    let on_disk = repo.run(&["diff"]).code(1).stdout;
    commit(&repo, "a linked folder of secrets");
    let in_a_tree = repo.run(&["diff", "HEAD~1.."]).code(1).stdout;
    for text in [on_disk, in_a_tree] {
        assert!(text.contains("MW0031") && !text.contains("MW0015"), "{text}");
    }
}

#[test]
fn a_submodule_is_never_an_empty_folder() {
    let other = TestRepository::small();
    git(&other, &["init", "--quiet"]);
    git(&other, &["add", "environments"]);
    git(&other, &["commit", "--quiet", "-m", "one"]);
    let repo = layered();
    git(&repo, &["rm", "--quiet", "-r", "environments/test/profiles"]);
    let url = other.folder.path().to_str().unwrap();
    git(&repo, &["submodule", "--quiet", "add", url, "environments/test/profiles"]);
    git(&repo, &["commit", "--quiet", "-am", "a submodule"]);
    let text = repo.run(&["diff", "HEAD~1.."]).code(1).stdout;
    assert!(text.contains("MW0300") && text.contains("environments/test/profiles"), "{text}");
    // A clone without it has an empty folder, which would be an environment without profiles of its own.
    let clone = cloned(&repo, &[]);
    for command in [&["validate"][..], &["plan", "test"], &["validate", "dev"]] {
        let output = clone.run(command).code(1);
        assert!(
            output.stderr.contains("MW0300") && output.stderr.contains("git submodule update --init"),
            "{}",
            output.stderr
        );
    }
    git(&repo, &["rm", "--quiet", "-rf", "environments"]);
    drop(std::fs::remove_dir_all(repo.path("environments")));
    git(&repo, &["submodule", "--quiet", "add", "--name", "all", url, "environments"]);
    git(&repo, &["commit", "--quiet", "-am", "all of it"]);
    let output = repo.run(&["diff", "HEAD~1.."]).code(1);
    assert!(output.stderr.contains("MW0300") && output.stderr.contains("In HEAD"), "{}", output.stderr);
}

#[test]
fn a_shallow_or_partial_clone_says_what_it_lacks() {
    let repo = layered();
    // No file of HEAD may have the contents that HEAD~1 has there.
    edit(&repo, "environments/prod/environment.yaml", "[EDU1]", "[EDU8]");
    commit(&repo, "before");
    edit(&repo, "environments/prod/environment.yaml", "[EDU8]", "[EDU9]");
    let second = commit(&repo, "two");
    git(&repo, &["config", "uploadpack.allowFilter", "true"]);
    let shallow = cloned(&repo, &["--depth", "1"]);
    let output = shallow.run(&["diff", "HEAD~1.."]).code(1);
    assert!(output.stderr.contains("MW0302") && output.stderr.contains("git fetch --unshallow"), "{}", output.stderr);
    assert_eq!(touched(&shallow, &[]), "", "what is there is enough for the work tree");
    git(&shallow, &["fetch", "--quiet", "--unshallow"]);
    assert_eq!(touched(&shallow, &["HEAD~1.."]), "prod changed");
    let partial = cloned(&repo, &["--filter=blob:none"]);
    let output = partial.run(&["diff", "HEAD~1.."]).code(1);
    assert!(
        output.stdout.contains("MW0302") && output.stdout.contains("partial clone"),
        "{}{}",
        output.stdout,
        output.stderr
    );
    git(&partial, &["archive", "--output", ".x.tar", "HEAD~1"]);
    assert_eq!(touched(&partial, &["HEAD~1.."]), "prod changed");
    assert_eq!(touched(&partial, &[&format!("{second}~1..{second}")]), "prod changed");
}

#[test]
fn rewritten_history_is_compared_as_it_is() {
    let repo = layered();
    edit(&repo, "environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
    let lost = commit(&repo, "to be rewritten");
    edit(&repo, "environments/prod/environment.yaml", "[EDU2]", "[EDU3]");
    git(&repo, &["commit", "--quiet", "-a", "--amend", "-m", "rewritten"]);
    assert_eq!(touched(&repo, &[&format!("{lost}..")]), "prod changed", "no ancestor, and still a tree");
    let clone = cloned(&repo, &[]);
    let output = clone.run(&["diff", &lost]).code(1);
    assert!(output.stderr.contains("MW0301") && output.stderr.contains("forced push"), "{}", output.stderr);
    git(&repo, &["checkout", "--quiet", "--orphan", "apart"]);
    commit(&repo, "apart");
    assert_eq!(touched(&repo, &["main.."]), "");
    let output = repo.run(&["diff", "main..."]).code(1);
    assert!(output.stderr.contains("no commit in common"), "{}", output.stderr);
}

#[test]
fn translated_line_ends_change_nothing_but_age_files() {
    let repo = TestRepository::examples();
    git(&repo, &["init", "--quiet"]);
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "--quiet", "-m", "one"]);
    // Without the attribute, and with a configuration that translates.
    let clone = cloned(&repo, &["--config", "core.autocrlf=true", "--config", "core.eol=crlf"]);
    assert!(clone.read("environments/prod/environment.yaml").contains("\r\n"));
    edit(&clone, "environments/prod/environment.yaml", "\r\n", "\r\n\r\n");
    let text = clone.run(&["diff", "HEAD", "prod"]).stdout;
    assert!(!text.contains("environments/prod"), "line ends do not count as a difference: {text}");
    git(&clone, &["checkout", "--quiet", "."]);
    // An armored age file still opens, and is another file.
    let age = "secrets/dev/relay/password.age";
    let bytes = std::fs::read(repo.path(age)).unwrap();
    let output = clone.run(&["validate", "dev"]).code(0);
    assert!(output.stdout.contains("MW0304") && output.stdout.contains("*.age -text"), "{}", output.stdout);
    // A binary one is damaged.
    let binary = crate::support::tools::without_armor(&bytes);
    clone.write(age, &binary);
    clone.run(&["validate", "dev"]).code(0);
    clone.write(age, binary.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]));
    let output = clone.run(&["validate", "dev"]).code(1);
    assert!(
        output.stdout.contains("MW0034") && output.stdout.contains("has translated its line ends"),
        "{}",
        output.stdout
    );
    // With the attribute nothing is translated, and nothing is dirty.
    repo.write(".gitattributes", "*.age -text\n");
    git_in(repo.folder.path(), &["add", ".gitattributes"]);
    git(&repo, &["commit", "--quiet", "-m", "two"]);
    let clone = cloned(&repo, &["--config", "core.autocrlf=true"]);
    assert_eq!(std::fs::read(clone.path(age)).unwrap(), bytes);
    assert_eq!(touched(&clone, &["HEAD"]), "");
}

/// Keys of a repository's configuration that name a program. The marker is replaced by the path of a program that leaves
/// a trace when it is started.
const PROGRAMS: &[(&str, &str)] = &[
    ("core.fsmonitor", "@"),
    ("core.pager", "@"),
    ("core.editor", "@"),
    ("core.sshCommand", "@"),
    ("core.askPass", "@"),
    ("core.gitProxy", "@"),
    ("core.alternateRefsCommand", "@"),
    ("credential.helper", "!@"),
    ("diff.external", "@"),
    ("diff.canary.command", "@"),
    ("diff.canary.textconv", "@"),
    ("filter.canary.clean", "@"),
    ("filter.canary.smudge", "@"),
    ("filter.canary.required", "true"),
    ("filter.long.process", "@"),
    ("filter.long.required", "true"),
    ("merge.canary.driver", "@"),
    ("merge.tool", "canary"),
    ("mergetool.canary.cmd", "@"),
    ("gpg.program", "@"),
    ("gpg.openpgp.program", "@"),
    ("gpg.x509.program", "@"),
    ("gpg.ssh.program", "@"),
    ("gpg.ssh.defaultKeyCommand", "@"),
    ("gpg.ssh.allowedSignersFile", "/dev/null"),
    ("log.showSignature", "true"),
    ("interactive.diffFilter", "@"),
    ("sequence.editor", "@"),
    ("pager.log", "@"),
    ("pager.diff", "@"),
    ("pager.status", "@"),
    ("uploadpack.packObjectsHook", "@"),
    ("remote.origin.url", "ext::@"),
    ("remote.origin.uploadpack", "@"),
    ("remote.origin.receivepack", "@"),
    ("remote.origin.vcs", "ext"),
    ("remote.origin.promisor", "true"),
    ("extensions.partialClone", "origin"),
    ("protocol.allow", "always"),
    ("protocol.ext.allow", "always"),
    ("alias.rev-parse", "!@"),
    ("alias.log", "!@"),
    ("alias.ls-tree", "!@"),
    ("alias.cat-file", "!@"),
    ("alias.ls-files", "!@"),
    ("alias.merge-base", "!@"),
    ("trailer.canary.command", "@"),
    ("trailer.canary.cmd", "@"),
    ("submodule.inner.update", "!@"),
    ("submodule.recurse", "true"),
    ("gc.recentObjectsHook", "@"),
    ("tar.canary.command", "@"),
    ("browser.canary.cmd", "@"),
    ("sendemail.toCmd", "@"),
];

/// Programs that leave a trace, and what a repository starts of them.
struct Canaries<'a> {
    repo: &'a TestRepository,
}

impl Canaries<'_> {
    /// A program by this name.
    fn program(&self, name: &str) -> String {
        let path = self.repo.path(&format!(".canaries/{name}"));
        self.repo.write(&format!(".canaries/{name}"), format!("#!/bin/sh\ntouch '{0}.ran'\ncat\n", path.display()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Puts every key into a file of configuration, which need not be one that Git can read any more.
    fn write_configuration(&self, file: &str) {
        for (name, value) in PROGRAMS {
            // Not by Git, which would already heed some of them.
            let value = if value.contains('@') { value.replace('@', &self.program(name)) } else { (*value).to_owned() };
            let (section, key) = name.rsplit_once('.').unwrap();
            let section = match section.split_once('.') {
                Some((section, part)) => format!("[{section} \"{part}\"]"),
                None => format!("[{section}]"),
            };
            let path = self.repo.path(file);
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            writeln!(file, "{section}\n\t{key} = \"{value}\"").unwrap();
        }
    }

    fn write_hooks(&self) {
        for hook in [
            "post-checkout",
            "post-index-change",
            "pre-auto-gc",
            "reference-transaction",
            "fsmonitor-watchman",
            "post-merge",
            "post-rewrite",
        ] {
            let program = self.program(hook);
            std::fs::create_dir_all(self.repo.path(".git/hooks")).unwrap();
            std::fs::copy(program, self.repo.path(&format!(".git/hooks/{hook}"))).unwrap();
        }
    }

    /// Those that were started so far.
    fn started(&self) -> BTreeSet<String> {
        let names = std::fs::read_dir(self.repo.path(".canaries")).into_iter().flatten();
        let names = names.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".ran").map(str::to_owned)).collect()
    }
}

/// Every command that asks Git something.
fn ask_git_everything(repo: &TestRepository) {
    for command in [
        &["validate"][..],
        &["diff"],
        &["diff", "HEAD~1..HEAD"],
        &["diff", "HEAD~1..."],
        &["plan", "dev"],
        &["plan", "--since", "HEAD~1"],
        &["apply", "dev", "--yes", "--skip-verify"],
    ] {
        repo.run(command);
    }
}

/// Gives HEAD a signature that looks like one of this kind.
fn pretend_to_be_signed(repo: &TestRepository, kind: &str) {
    let commit = git(repo, &["cat-file", "commit", "HEAD"]);
    let (head, message) = commit.split_once("\n\n").unwrap();
    let signed = format!("{head}\ngpgsig -----BEGIN {kind}-----\n \n AAAA\n -----END {kind}-----\n\n{message}\n");
    let mut child = Command::new("git")
        .current_dir(repo.folder.path())
        .args(["hash-object", "-t", "commit", "-w", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(signed.as_bytes()).unwrap();
    let id = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    git(repo, &["update-ref", "refs/heads/main", id.trim()]);
}

#[test]
fn nothing_that_a_repository_configures_is_started() {
    for (kind, is_included) in
        [("SSH SIGNATURE", false), ("PGP SIGNATURE", false), ("SIGNED MESSAGE", false), ("PGP SIGNATURE", true)]
    {
        let mut repo = layered();
        repo.serve();
        repo.write(".gitattributes", "*.yaml filter=canary diff=canary merge=canary\nsecrets/* filter=long\n");
        commit(&repo, "attributes");
        edit(&repo, "environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
        commit(&repo, "two");
        pretend_to_be_signed(&repo, kind);
        // Something for filters to look at.
        edit(&repo, "environments/dev/environment.yaml", "[EDU1]", "[EDU1, EDU3]");
        repo.write("secrets/README.md", "Changed.\n");
        let canaries = Canaries { repo: &repo };
        canaries.write_hooks();
        if is_included {
            canaries.write_configuration(".included");
            git(&repo, &["config", "include.path", "../.included"]);
            git(&repo, &["config", "extensions.worktreeConfig", "true"]);
            std::fs::copy(repo.path(".included"), repo.path(".git/config.worktree")).unwrap();
        } else {
            canaries.write_configuration(".git/config");
        }
        ask_git_everything(&repo);
        assert_eq!(canaries.started(), BTreeSet::new(), "{kind}");
        let source = repo.run(&["plan", "dev", "--format", "json"]).json()["source"].clone();
        assert!(source["commit"].is_string() && source["dirty"] == true && source["author"].is_object(), "{source}");
        assert_eq!(canaries.started(), BTreeSet::new(), "{kind}");
        // They would be, by a Git that is asked without care: with a newer time and the same size it compares the contents.
        let unchanged = "environments/prod/environment.yaml";
        repo.write(unchanged, repo.read(unchanged));
        for arguments in [&["status"][..], &["log", "-1", "--format=%G?"]] {
            drop(Command::new("git").current_dir(repo.folder.path()).args(arguments).output().unwrap());
        }
        let started = canaries.started();
        for part in ["filter.canary.clean", "gpg."] {
            assert!(started.iter().any(|name| name.starts_with(part)), "{kind}: {started:?}");
        }
    }
}

#[test]
fn nothing_is_fetched_by_a_program_of_the_repository() {
    let repo = layered();
    edit(&repo, "environments/prod/environment.yaml", "[EDU1]", "[EDU2]");
    commit(&repo, "two");
    let gone = git(&repo, &["rev-parse", "HEAD~1:environments/prod/environment.yaml"]);
    let canaries = Canaries { repo: &repo };
    canaries.write_configuration(".git/config");
    std::fs::remove_file(repo.path(&format!(".git/objects/{}/{}", &gone[..2], &gone[2..]))).unwrap();
    let output = repo.run(&["diff", "HEAD~1..HEAD", "prod"]);
    assert!(output.stdout.contains("MW0302") || output.stderr.contains("MW0302"), "{}{}", output.stdout, output.stderr);
    assert_eq!(canaries.started(), BTreeSet::new());
}

#[test]
fn a_submodule_starts_nothing_either() {
    let other = TestRepository::small();
    other.write("environments/dev/profiles/.gitattributes", "* filter=canary\n");
    git(&other, &["init", "--quiet"]);
    git(&other, &["add", "environments"]);
    git(&other, &["commit", "--quiet", "-m", "one"]);
    let mut repo = layered();
    repo.serve();
    git(&repo, &["rm", "--quiet", "-r", "environments/test/profiles"]);
    git(&repo, &["submodule", "--quiet", "add", other.folder.path().to_str().unwrap(), "environments/test/profiles"]);
    git(&repo, &["commit", "--quiet", "-am", "a submodule"]);
    let dirty = || repo.run(&["plan", "dev", "--format", "json"]).code(0).json()["source"]["dirty"].clone();
    assert_eq!(dirty(), false);
    let canaries = Canaries { repo: &repo };
    canaries.write_configuration(".git/modules/environments/test/profiles/config");
    let file = "environments/test/profiles/environments/dev/profiles/relay.yaml";
    let original = repo.read(file);
    repo.write(file, format!("{original}# changed\n"));
    ask_git_everything(&repo);
    assert_eq!(dirty(), true);
    assert_eq!(canaries.started(), BTreeSet::new());
    // With the size that the index has and a newer time, Git has to compare the contents.
    repo.write(file, original);
    drop(Command::new("git").current_dir(repo.folder.path()).arg("status").output().unwrap());
    assert!(canaries.started().contains("filter.canary.clean"), "Git itself would start it");
}

#[test]
fn a_clone_that_is_followed_starts_nothing() {
    use mailwright::git::Follower;
    let repo = layered();
    repo.write(".gitattributes", "* filter=canary\n*.md filter=long ident text eol=crlf\n");
    git(&repo, &["add", "--all"]);
    let head = commit(&repo, "attributes");
    let remote = repo.folder.path().to_str().unwrap().to_owned();
    let open = || Follower::open(repo.path(".clone"), remote.clone(), "main".to_owned()).unwrap();
    let canaries = Canaries { repo: &repo };
    let follower = open();
    for (name, value) in PROGRAMS.iter().filter(|(name, _)| name.starts_with("filter.")) {
        let value = if *value == "@" { canaries.program(name) } else { (*value).to_owned() };
        git_in(&repo.path(".clone"), &["config", name, &value]);
    }
    follower.fetch().unwrap();
    follower.check_out(&head).unwrap();
    assert_eq!(canaries.started(), BTreeSet::new());
    let checked_out = std::fs::read(repo.path(".clone/secrets/README.md")).unwrap();
    assert_eq!(checked_out, b"Sealed.\n", "as its bytes are in the commit");
    // Opening the clone removes settings that were written into its configuration.
    open();
    let config = std::fs::read_to_string(repo.path(".clone/.git/config")).unwrap();
    assert!(!config.contains("canary"), "{config}");
    std::fs::remove_dir_all(repo.path(".clone/.git")).unwrap();
    std::fs::write(repo.path(".clone/.git"), "gitdir: ../.git\n").unwrap();
    let refused = Follower::open(repo.path(".clone"), remote.clone(), "main".to_owned()).unwrap_err();
    assert_eq!(refused.code.id(), "MW0370", "{refused}");
}

#[test]
fn a_work_tree_elsewhere_is_refused() {
    let mut repo = layered();
    repo.serve();
    git(&repo, &["config", "core.worktree", repo.folder.path().parent().unwrap().to_str().unwrap()]);
    let output = repo.run(&["diff"]).code(1);
    assert!(output.stderr.contains("MW0303"), "{}", output.stderr);
    let output = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert!(output.stderr.contains("warning[MW0303]"), "{}", output.stderr);
}

#[test]
fn a_linked_work_tree_and_a_folder_of_a_repository_are_compared() {
    let repo = layered();
    let here = repo.folder.path().join(".linked");
    git(&repo, &["worktree", "add", "--quiet", here.to_str().unwrap(), "-b", "topic"]);
    let ask = |folder: &Path| {
        let mut command = repo.command(&["diff", "--format", "json"]);
        command.current_dir(folder);
        run_command(command).json()["environments"].as_object().unwrap().len()
    };
    assert_eq!(ask(&here), 0);
    std::fs::write(here.join("environments/dev/environment.yaml"), "extends: base\ncompanies: [EDU7]\n").unwrap();
    assert_eq!(ask(&here), 1);
    // The same as a part of a larger repository.
    let larger = TestRepository::empty();
    std::fs::remove_dir(larger.path("environments")).unwrap();
    git(&larger, &["init", "--quiet"]);
    larger.write("mail/environments/dev/environment.yaml", "companies: [EDU1]\n");
    larger.write("mail/environments/dev/profiles/relay.yaml", SMALL_PROFILE);
    git(&larger, &["add", "--all"]);
    git(&larger, &["commit", "--quiet", "-m", "one"]);
    assert_eq!(ask(&larger.path("mail")), 0);
    larger.write("mail/environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    assert_eq!(ask(&larger.path("mail")), 1);
}
