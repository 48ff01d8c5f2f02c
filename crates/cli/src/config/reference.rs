//! The configuration reference, from the same table that reads the values.

use super::key::{Fallback, Key, Role};

/// Every key of `role` as a Markdown section.
pub(crate) fn reference_markdown(role: Role) -> String {
    let rows: String = role.keys().iter().map(row).collect();
    format!(
        "## quorate {role}\n\n\
         | key | environment | default | takes | meaning |\n\
         |---|---|---|---|---|\n\
         {rows}"
    )
}

fn row(key: &Key) -> String {
    let fallback = match key.fallback {
        Fallback::Required => "required".to_owned(),
        Fallback::Literal("") => "none".to_owned(),
        Fallback::Literal(text) => format!("`{text}`"),
        Fallback::SameAs(other) => format!("same as `{other}`"),
        Fallback::Unset => "not set".to_owned(),
    };
    let takes = escaped(&key.kind.to_string());
    format!("| `{}` | `{}` | {fallback} | {takes} | {} |\n", key.name, key.variable(), escaped(key.doc))
}

/// A bar inside a cell would end it.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
