//! `quorate config`.

use crate::{
    args::{ConfigVerb, RoleArgs},
    config::{self, Loaded, Role},
    exit, output,
};

/// Answers from the sources alone; nothing is started and nobody is asked.
pub(crate) fn run(verb: ConfigVerb) -> anyhow::Result<u8> {
    match verb {
        ConfigVerb::Check(role) => check(role),
        ConfigVerb::Show { origin, role } => show(role, origin),
        ConfigVerb::Reference => {
            let both = [Role::Coordinator, Role::Agent].map(config::reference_markdown);
            output::data(&both.join("\n"))?;
            Ok(exit::OK)
        }
    }
}

fn load(role: RoleArgs) -> Loaded {
    match role {
        RoleArgs::Coordinator(args) => config::load(Role::Coordinator, &args.into()),
        RoleArgs::Agent(args) => config::load(Role::Agent, &args.into()),
    }
}

fn check(role: RoleArgs) -> anyhow::Result<u8> {
    let loaded = load(role);
    let text = config::check_text(&loaded);
    if loaded.problems.is_empty() {
        output::data(&text)?;
        return Ok(exit::OK);
    }
    output::notes(text.trim_end());
    Ok(exit::USAGE)
}

/// What is wrong does not keep the rest from being shown: seeing where a value comes from is how it is put right.
fn show(role: RoleArgs, origin: bool) -> anyhow::Result<u8> {
    let loaded = load(role);
    output::data(&config::show_text(&loaded.resolved, origin))?;
    if loaded.problems.is_empty() {
        return Ok(exit::OK);
    }
    output::notes(&loaded.problems.to_string());
    Ok(exit::USAGE)
}
