//! Which crate may use which (DESIGN section 3), and which packages from outside are named where: checked over
//! `cargo metadata`, so that a new arrow is a decision and not an accident.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
    process::Command,
};

/// Every crate of the workspace and the workspace crates it may use. A crate that is not here is refused.
const ARROWS: &[(&str, &[&str])] = &[
    ("quorate-domain", &[]),
    ("quorate-planner", &["quorate-domain"]),
    ("quorate-runtime", &[]),
    ("quorate-agent-core", &["quorate-domain"]),
    ("quorate-leader-core", &["quorate-domain", "quorate-planner"]),
    ("quorate-consensus", &["quorate-domain", "quorate-runtime"]),
    ("quorate-rpc", &["quorate-domain", "quorate-runtime"]),
    (
        "quorate-coordinator",
        &[
            "quorate-domain",
            "quorate-planner",
            "quorate-leader-core",
            "quorate-consensus",
            "quorate-rpc",
            "quorate-runtime",
        ],
    ),
    ("quorate-warden", &["quorate-domain", "quorate-agent-core", "quorate-runtime"]),
    (
        "quorate-agent",
        &["quorate-domain", "quorate-agent-core", "quorate-rpc", "quorate-runtime", "quorate-warden"],
    ),
    (
        "quorate",
        &[
            "quorate-domain",
            "quorate-planner",
            "quorate-consensus",
            "quorate-rpc",
            "quorate-runtime",
            "quorate-coordinator",
            "quorate-agent-core",
            "quorate-agent",
            "quorate-warden",
        ],
    ),
    ("quorate-sim", &["quorate-domain", "quorate-planner", "quorate-leader-core", "quorate-agent-core"]),
    ("quorate-xtask", &[]),
    (
        "quorate-tests",
        &[
            "quorate-domain",
            "quorate-planner",
            "quorate-consensus",
            "quorate-rpc",
            "quorate-runtime",
            "quorate-coordinator",
            "quorate-agent-core",
            "quorate-agent",
            "quorate-warden",
            "quorate",
        ],
    ),
];

/// Packages from outside, and the only crates that may name them.
const NAMED_ONLY_BY: &[(&str, &[&str])] = &[
    ("openraft", &["quorate-consensus", "quorate-coordinator"]),
    ("sled", &["quorate-consensus"]),
    ("tonic", &["quorate-rpc", "quorate-coordinator", "quorate-agent", "quorate", "quorate-tests"]),
    ("anyhow", &["quorate", "quorate-sim", "quorate-xtask", "quorate-tests"]),
];

/// Rooms without time, chance, threads or IO; and what would bring those in.
const PURE: &[&str] = &["quorate-domain", "quorate-planner", "quorate-leader-core", "quorate-agent-core"];
const IMPURE: &[&str] =
    &["tokio", "tokio-util", "tokio-stream", "rand", "tonic", "tracing", "sled", "openraft", "rustix", "log"];

/// For each crate: what it uses in any way (also to build and to test), by package name.
fn workspace() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(manifest)
        .output()
        .context("cargo metadata does not start")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let name = |value: &Value| value["name"].as_str().map(str::to_owned).context("something has no name");
    packages
        .iter()
        .map(|package| {
            let used = package["dependencies"].as_array().context("a package lists no dependencies")?;
            Ok((name(package)?, used.iter().map(name).collect::<Result<_>>()?))
        })
        .collect()
}

fn allowed(table: &[(&str, &[&str])], name: &str) -> Option<BTreeSet<String>> {
    let (_, row) = table.iter().find(|(known, _)| *known == name)?;
    Some(row.iter().map(ToString::to_string).collect())
}

#[test]
fn every_crate_uses_only_what_its_row_of_the_arrows_table_names() -> Result<()> {
    let crates = workspace()?;
    for (name, used) in &crates {
        let row = allowed(ARROWS, name).with_context(|| {
            format!("{name} is not in the arrows table: add it to DESIGN section 3 and here")
        })?;
        let ours: BTreeSet<_> = used.iter().filter(|used| crates.contains_key(*used)).cloned().collect();
        let beyond: Vec<_> = ours.difference(&row).collect();
        assert!(beyond.is_empty(), "{name} must not use {beyond:?} (DESIGN section 3, arrows)");
    }
    for (name, row) in ARROWS {
        assert!(crates.contains_key(*name), "{name} is in the arrows table and not in the workspace");
        let unknown: Vec<_> = row.iter().filter(|used| !crates.contains_key(**used)).collect();
        assert!(unknown.is_empty(), "the row of {name} names {unknown:?}, which the workspace has not");
    }
    Ok(())
}

#[test]
fn the_pure_rooms_can_reach_no_clock_no_chance_and_no_io() -> Result<()> {
    let crates = workspace()?;
    for name in PURE {
        let used = crates.get(*name).with_context(|| format!("{name} is not in the workspace"))?;
        let impure: Vec<_> = IMPURE.iter().filter(|bad| used.contains(**bad)).collect();
        assert!(impure.is_empty(), "{name} is pure and must not use {impure:?}");
    }
    Ok(())
}

#[test]
fn raft_store_and_wire_are_named_only_in_their_own_rooms() -> Result<()> {
    let crates = workspace()?;
    for (package, rooms) in NAMED_ONLY_BY {
        let users: Vec<_> = crates
            .iter()
            .filter(|(_, used)| used.contains(*package))
            .map(|(name, _)| name.as_str())
            .collect();
        assert!(!users.is_empty(), "{package} is used nowhere: take it out of this table");
        let strays: Vec<_> = users.iter().filter(|user| !rooms.contains(*user)).collect();
        assert!(strays.is_empty(), "{package} may be named only by {rooms:?}, not by {strays:?}");
    }
    Ok(())
}
