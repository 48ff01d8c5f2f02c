//! The layers, from the weakest to the strongest: default, file, environment, flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::file;
use super::key::{Fallback, Key, Role, VARIABLE_PREFIX};
use super::origin::Origin;
use super::problem::Problem;
use super::resolved::{Resolved, Setting};
use super::suggest::nearest;
use super::value::Value;

/// Variables with our prefix that are not keys: they belong to the command line itself.
const RESERVED_VARIABLES: [&str; 3] = ["QUORATE_ENDPOINTS", "QUORATE_LOG", "QUORATE_CONFIG"];

/// Everything a configuration is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The configuration file, if one is used.
    pub(crate) file: Option<PathBuf>,
    /// The environment; what does not begin with `QUORATE_` is passed over.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Named flags that stand for a key.
    pub(crate) flags: Vec<Flag>,
    /// The arguments of `--set`, each `KEY=VALUE`.
    pub(crate) sets: Vec<String>,
}

impl Sources {
    /// The given file and flags over the environment of this process.
    pub(crate) fn of_process(file: Option<PathBuf>, flags: Vec<Flag>, sets: Vec<String>) -> Self {
        Self { file, environment: std::env::vars_os().collect(), flags, sets }
    }
}

/// A named flag that stands for a key, such as `--node-id 1` for `node.id`.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// As the operator wrote it: `--node-id`.
    pub(crate) name: String,
    /// The dotted key.
    pub(crate) key: String,
    /// What was given.
    pub(crate) value: String,
}

/// Reads every layer of `role`'s configuration; the second part is all that is wrong.
pub(super) fn resolve(role: Role, sources: &Sources) -> (Resolved, Vec<Problem>) {
    let mut layers = Layers::new(role);
    let mut file_was_read = true;
    if let Some(path) = &sources.file {
        file_was_read = file::read(path, &mut layers);
    }
    layers.take_environment(&sources.environment);
    layers.take_flags(sources);
    // With an unreadable file nobody knows what is missing, and a list of every required key would hide the cause.
    layers.take_defaults(file_was_read);
    (Resolved::new(role, layers.settings), layers.problems)
}

/// The layers read so far; a later one replaces what an earlier one said.
pub(super) struct Layers {
    role: Role,
    settings: BTreeMap<&'static str, Setting>,
    problems: Vec<Problem>,
}

impl Layers {
    fn new(role: Role) -> Self {
        Self { role, settings: BTreeMap::new(), problems: Vec::new() }
    }

    /// Whose layers these are.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Keeps a problem.
    pub(super) fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Takes what a layer says about a key; `shown` is the value as it stands there.
    ///
    /// An unusable value still wins over weaker layers: it must not look as if the weaker one were in force.
    pub(super) fn take(
        &mut self,
        key: &'static Key,
        read: Result<Value, String>,
        origin: Origin,
        shown: String,
    ) {
        let value = match read {
            Ok(value) => Some(value),
            Err(found) => {
                let remedy = match &origin {
                    Origin::Environment(name) => format!("correct or unset {name}"),
                    Origin::Flag(name) => format!("correct or leave out {name}"),
                    Origin::File { .. } => "correct or remove this line".to_owned(),
                    Origin::Default | Origin::SameAs(_) => key.how_to_set(),
                };
                self.refuse(Problem {
                    key: key.name.to_owned(),
                    value: Some(shown),
                    origin: Some(origin.clone()),
                    found,
                    expected: key.kind.to_string(),
                    remedy,
                });
                None
            }
        };
        self.settings.insert(key.name, Setting { value, origin });
    }

    /// Refuses a key that this role does not know.
    pub(super) fn refuse_unknown(&mut self, name: &str, shown: String, origin: Origin) {
        let found = if self.role.other().key(name).is_some() {
            format!("this is a key of the {}, not of the {}", self.role.other(), self.role)
        } else {
            "there is no such key".to_owned()
        };
        let meant = nearest(name, self.role.keys().iter().map(|key| key.name));
        let problem = unknown(self.role, name, Some(shown), origin, found, meant);
        self.refuse(problem);
    }

    fn take_environment(&mut self, environment: &[(OsString, OsString)]) {
        let mut ours: Vec<(String, &OsString)> = environment
            .iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| {
                name.starts_with(VARIABLE_PREFIX) && !RESERVED_VARIABLES.contains(&name.as_str())
            })
            .collect();
        ours.sort();
        for (name, value) in ours {
            let shown = format!("{:?}", value.to_string_lossy());
            let origin = Origin::Environment(name.clone());
            match self.role.keys().iter().find(|key| key.variable() == name) {
                Some(key) => {
                    let text = value.to_str().ok_or_else(|| "this is not UTF-8".to_owned());
                    self.take(key, text.and_then(|text| key.kind.read_text(text)), origin, shown);
                }
                None => self.refuse_unknown_variable(&name, shown, origin),
            }
        }
    }

    fn refuse_unknown_variable(&mut self, name: &str, shown: String, origin: Origin) {
        let other = self.role.other();
        let found = if other.keys().iter().any(|key| key.variable() == name) {
            format!("this variable sets a key of the {other}, not of the {}", self.role)
        } else {
            "no key is set by this variable".to_owned()
        };
        let variables: Vec<String> = self.role.keys().iter().map(Key::variable).collect();
        let meant = nearest(name, variables.iter().map(String::as_str));
        let problem = unknown(self.role, name, Some(shown), origin, found, meant);
        self.refuse(problem);
    }

    fn take_flags(&mut self, sources: &Sources) {
        let mut flags = sources.flags.clone();
        for set in &sources.sets {
            match set.split_once('=') {
                Some((key, value)) => flags.push(Flag {
                    name: format!("--set {key}"),
                    key: key.trim().to_owned(),
                    value: value.to_owned(),
                }),
                None => self.refuse(Problem {
                    key: set.clone(),
                    value: None,
                    origin: Some(Origin::Flag("--set".to_owned())),
                    found: "there is no `=`".to_owned(),
                    expected: "KEY=VALUE".to_owned(),
                    remedy: format!("write --set {set}=VALUE"),
                }),
            }
        }
        for flag in flags {
            self.take_flag(flag);
        }
    }

    fn take_flag(&mut self, flag: Flag) {
        let shown = format!("{:?}", flag.value);
        let origin = Origin::Flag(flag.name);
        let Some(key) = self.role.key(&flag.key) else {
            self.refuse_unknown(&flag.key, shown, origin);
            return;
        };
        let earlier = self.settings.get(key.name).map(|setting| setting.origin.clone());
        if let Some(Origin::Flag(earlier)) = earlier {
            self.refuse(Problem {
                key: key.name.to_owned(),
                value: Some(shown),
                origin: Some(origin),
                found: format!("the flag {earlier} has already set this key"),
                expected: "each key at most once among the flags".to_owned(),
                remedy: "leave one of them out".to_owned(),
            });
            return;
        }
        self.take(key, key.kind.read_text(&flag.value), origin, shown);
    }

    fn take_defaults(&mut self, report_missing: bool) {
        // Literals come before copies, so that a copy finds what it copies wherever that stands in the table.
        for key in self.role.keys() {
            if self.settings.contains_key(key.name) {
                continue;
            }
            match key.fallback {
                Fallback::Literal(text) => {
                    self.take(key, key.kind.read_text(text), Origin::Default, text.to_owned());
                }
                Fallback::Required if report_missing => self.refuse(Problem {
                    key: key.name.to_owned(),
                    value: None,
                    origin: None,
                    found: "this key is required and set nowhere".to_owned(),
                    expected: key.kind.to_string(),
                    remedy: key.how_to_set(),
                }),
                Fallback::Required | Fallback::SameAs(_) | Fallback::Unset => {}
            }
        }
        for key in self.role.keys() {
            if let Fallback::SameAs(source) = key.fallback
                && !self.settings.contains_key(key.name)
                && let Some(copied) = self.settings.get(source).and_then(|setting| setting.value.clone())
            {
                let origin = Origin::SameAs(source);
                self.settings.insert(key.name, Setting { value: Some(copied), origin });
            }
        }
    }
}

fn unknown(
    role: Role,
    name: &str,
    value: Option<String>,
    origin: Origin,
    found: String,
    meant: Option<&str>,
) -> Problem {
    let removal = match &origin {
        Origin::Environment(_) => "unset it",
        Origin::Flag(_) => "leave it out",
        _ => "remove it",
    };
    let remedy = match meant {
        Some(meant) => format!("did you mean `{meant}`? otherwise {removal}"),
        None => removal.to_owned(),
    };
    Problem {
        key: name.to_owned(),
        value,
        origin: Some(origin),
        found,
        expected: format!("a key that `quorate config show` lists for the {role}"),
        remedy,
    }
}
