//! The rollout's file: problems with their places, waves against environments, and files that change under a run.

use serde_json::Value;

use crate::rollout::fixture::RolloutFixture;

fn problems(fleet: &RolloutFixture, text: &str) -> Vec<String> {
    fleet.rollout("port", text);
    let output = fleet.run(&["validate", "--format", "json"]);
    let report = output.json();
    let one = |problem: &Value| {
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        format!("{}:{} {} {} {}", problem["line"], problem["column"], text("code"), text("message"), text("remedy"))
    };
    let found: Vec<String> = report["diagnostics"].as_array().unwrap().iter().map(one).collect();
    assert_eq!(output.code, i32::from(!found.is_empty()));
    found
}

#[test]
fn problems_have_their_places() {
    let fleet = RolloutFixture::empty(3);
    let wave = "waves:\n  - name: one\n    environments: [c-01]\n";
    assert_eq!(problems(&fleet, wave), Vec::<String>::new());
    for (text, expected) in [
        ("gate: false\n", "1:1 MW0009 `waves` is missing"),
        (&format!("soka: 1h\n{wave}"), "1:1 MW0008 unknown key `soka` Did you mean `soak`?"),
        (&format!("soak: 1x\n{wave}"), "1:7 MW0011 this is not a duration"),
        (&format!("checks: {{ failedDeliveries: {{ below: lots }} }}\n{wave}"), "1:38 MW0011 this is not a share"),
        (
            &format!("checks: {{ probe: {{ to: no-address }} }}\n{wave}"),
            "1:24 MW0110 this is not an e-mail address: it has no `@`",
        ),
        (
            &format!("checks: {{ probe: {{ to: a@b.example, function: defualt }} }}\n{wave}"),
            "1:47 MW0007 unknown function Did you mean `default`?",
        ),
        (&format!("coordinator: base\n{wave}"), "1:14 MW0025 `base` is abstract"),
        (&format!("coordinator: c01\n{wave}"), "1:14 MW0024 unknown environment `c01` Did you mean `c-01`?"),
        (&wave.replace("c-01", "c-9*"), "3:20 MW0024 no environment's name matches `c-9*`"),
        (&wave.replace("c-01", "base"), "3:20 MW0025 `base` is abstract"),
        (&wave.replace("environments: [c-01]", "selector: ring=none"), "3:15 MW0282 the wave `one` selects nothing"),
        (&wave.replace("environments: [c-01]", "selector: 'a b'"), "3:15 MW0255 `a b` is not a label selector"),
        (&format!("{wave}  - name: two\n    environments: ['c-0[1]']\n"), "4:11 MW0282 the wave `two` is empty"),
        (&format!("{wave}  - name: one\n    environments: ['*']\n"), "4:11 MW0011 there is a wave `one` already"),
        (&format!("{wave}  - name: two\n"), "4:11 MW0009 the wave `two` has neither"),
    ] {
        let found = problems(&fleet, text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:#?}");
    }
    fleet.repo.write("rollouts/notes.txt", "x");
    fleet.rollout("port", wave);
    let output = fleet.run(&["validate"]).code(1);
    assert!(output.stdout.contains("rollouts/notes.txt") && output.stdout.contains("MW0014"), "{}", output.stdout);
    fleet.repo.remove("rollouts/notes.txt");
    let output = fleet.run(&["rollout", "plan", "prot"]).code(1);
    assert!(output.stderr.contains("MW0281") && output.stderr.contains("Did you mean `port`?"), "{}", output.stderr);
    // Files with problems stop it before anything is asked.
    fleet.repo.write("environments/c-01/profiles/relay.yaml", "functions: 1\n");
    let output = fleet.run(&["rollout", "start", "port", "--yes"]).code(1);
    assert!(output.stderr.contains("environments/c-01/profiles/relay.yaml:1:12"), "{}", output.stderr);
}

#[test]
fn the_schema_states_the_defaults_that_the_types_have() {
    use mailwright::{
        config::SCHEMAS,
        model::rollout::{Checks, Failures, Share, Terms},
    };
    let text = SCHEMAS.iter().find(|(name, _)| *name == "rollout").unwrap().1;
    let schema: Value = serde_json::from_str(text).unwrap();
    let defs = &schema["$defs"];
    assert_eq!(defs["parallel"]["default"], Terms::default().parallel());
    assert_eq!(defs["deadline"]["default"], Terms::default().deadline().to_string());
    let failures = serde_json::to_value(Failures::default()).unwrap();
    let (tolerate, then) = (&defs["failures"]["properties"]["tolerate"], &defs["failures"]["properties"]["then"]);
    assert_eq!((&failures["tolerate"], &failures["then"]), (&tolerate["default"], &then["default"]));
    let checks: Checks = serde_json::from_value(
        serde_json::json!({ "probe": { "to": "a@b.example" }, "failedDeliveries": { "below": "2%" } }),
    )
    .unwrap();
    let checks = serde_json::to_value(checks).unwrap();
    let of = |check: &str| &defs["checks"]["properties"][check]["properties"];
    assert_eq!(checks["probe"]["within"], of("probe")["within"]["default"]);
    assert_eq!(checks["probe"]["function"], of("probe")["function"]["default"]);
    assert_eq!(checks["failedDeliveries"]["over"], of("failedDeliveries")["over"]["default"]);
    for (share, part, whole, holds) in [
        ("2%", 1, 50, false),
        ("2%", 1, 51, true),
        ("0.5%", 0, 0, true),
        ("0%", 0, 5, false),
        ("100%", 5, 5, false),
        ("12.25%", 1, 9, true),
    ] {
        let parsed: Share = share.parse().unwrap();
        assert_eq!(
            (parsed.to_string().as_str(), parsed.is_above(part, whole)),
            (share, holds),
            "{share} {part} {whole}"
        );
    }
    for wrong in ["", "%", "2", "101%", "1.234%", "-1%", "1.%", "a%"] {
        assert!(wrong.parse::<Share>().is_err(), "{wrong}");
    }
}
