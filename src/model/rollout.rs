//! [`Rollout`]: the contents of a rollout file: waves of environments, limits for failures, and the checks between waves.
//!
//! [`crate::config`] reads the file and resolves the waves, [`crate::rollout`] carries it out. Without other terms, 8 environments
//! are changed at once, each has 120 seconds, and the first failure stops the rollout.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer, de};

use super::{CompanyId, Function, HumanDuration};

/// A rollout, as `rollouts/NAME.yaml` declares it. Which environments its waves contain depends on the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Description: the change and its reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The environment whose service keeps the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<String>,
    /// True if each service verifies the changed profiles before it accepts them.
    #[serde(default = "yes")]
    pub gate: bool,
    /// Defaults of waves.
    #[serde(flatten)]
    pub defaults: Terms,
    /// The waves, in the order in which they run.
    pub waves: Vec<Wave>,
}

fn yes() -> bool {
    true
}

/// A wave: environments that are changed before the next checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// The name.
    pub name: String,
    /// The environments, as names and patterns over names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// A selector; the environments whose labels match it are part of the wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The settings of the wave.
    #[serde(flatten)]
    pub terms: Terms,
}

/// Settings of a wave. For a setting that a wave does not have, the rollout's applies; if that is absent too, the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terms {
    /// Number of environments that are changed at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u16>,
    /// Maximum time for one environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<HumanDuration>,
    /// Time to wait before the checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<HumanDuration>,
    /// Checks before the next wave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
    /// The number of failures that is tolerated, and the reaction to more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,
}

impl Terms {
    /// Returns these settings, with those of `other` where they are not set.
    #[must_use]
    pub fn or(&self, other: &Terms) -> Terms {
        Terms {
            parallel: self.parallel.or(other.parallel),
            deadline: self.deadline.or(other.deadline),
            soak: self.soak.or(other.soak),
            checks: self.checks.clone().or_else(|| other.checks.clone()),
            failures: self.failures.or(other.failures),
        }
    }

    /// Returns the number of environments that are changed at once.
    pub fn parallel(&self) -> usize {
        self.parallel.unwrap_or(8).max(1).into()
    }

    /// Returns the maximum time for one environment.
    pub fn deadline(&self) -> HumanDuration {
        self.deadline.unwrap_or(HumanDuration::seconds(120))
    }

    /// Returns the number of failures that is tolerated, and the reaction to more.
    pub fn failures(&self) -> Failures {
        self.failures.unwrap_or_default()
    }
}

/// The number of failed environments that a wave tolerates, and what happens if more fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Failures {
    /// The number of failed environments that is tolerated.
    pub tolerate: u32,
    /// Reaction to more failures.
    pub then: Then,
}

/// Reaction to more failures than are tolerated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Finished environments stay as they are, and no further environment is started.
    #[default]
    Stop,
    /// Each environment of the wave is rolled back to the generation that it had.
    TakeBack,
}

/// Checks in each environment of a wave before the next wave begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Checks {
    /// The check that `verify` finds no error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Clean>,
    /// The check that no change was made outside Git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<NoDrift>,
    /// The check that a test mail is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The check that few deliveries fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_deliveries: Option<FailedDeliveries>,
}

impl Checks {
    /// Returns true if no check is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `verify: clean`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clean {
    /// `verify` must find no error.
    Clean,
}

/// `drift: none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoDrift {
    /// There must be no drift.
    None,
}

/// A test mail that must be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// The recipient.
    #[serde(deserialize_with = "super::address::deserialize")]
    pub to: String,
    /// The company whose mail it is; by default the environment's first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<CompanyId>,
    /// The function.
    #[serde(default = "Function::default_function")]
    pub function: Function,
    /// Maximum time until it is delivered.
    #[serde(default = "Probe::default_within")]
    pub within: HumanDuration,
}

impl Probe {
    fn default_within() -> HumanDuration {
        HumanDuration::seconds(120)
    }
}

/// The share of deliveries that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailedDeliveries {
    /// The share that must not be reached.
    pub below: Share,
    /// The period that is examined.
    #[serde(default = "FailedDeliveries::default_over")]
    pub over: HumanDuration,
}

impl FailedDeliveries {
    fn default_over() -> HumanDuration {
        HumanDuration::seconds(900)
    }
}

/// A share, as files write it: `2%`, `0.5%`. Kept in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// The format of a share, in words, for messages.
    pub const RULE: &str = "a share is a number from 0 to 100 and %: 2%, 0.5%";

    /// Returns true if `part` of `whole` is less than this share. If `whole` is 0, the share of failures is 0.
    pub fn is_above(self, part: u64, whole: u64) -> bool {
        whole == 0 || u128::from(part) * 10_000 < u128::from(self.0) * u128::from(whole)
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').ok_or(Self::RULE)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, longest: usize| {
            (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits(whole, 3) || !digits(part, 2) {
            return Err(Self::RULE);
        }
        let whole: u32 = whole.parse().map_err(|_| Self::RULE)?;
        let hundredths: u32 = format!("{part:0<2}").parse().map_err(|_| Self::RULE)?;
        let share = whole * 100 + hundredths;
        if share > 10_000 { Err(Self::RULE) } else { Ok(Self(share)) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
