//! The TOML layer: sections are only a way to write dotted keys, and every value remembers its line.

use std::fs;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layers::Layers;
use super::origin::Origin;
use super::problem::Problem;

/// A configuration longer than this is some other file, given by mistake.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Reads the file into the layers; `false` when what it says is not known, which is then a problem of its own.
pub(super) fn read(path: &Path, layers: &mut Layers) -> bool {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(found) => {
            layers.refuse(Problem {
                key: "configuration file".to_owned(),
                value: Some(path.display().to_string()),
                origin: None,
                found,
                expected: "a readable TOML file of at most 1 MiB".to_owned(),
                remedy: "name another file or correct this one".to_owned(),
            });
            return false;
        }
    };
    let document = Document { path, text: &text };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        let start = error.span().map_or(0, |span| span.start);
        layers.refuse(Problem {
            key: "configuration file".to_owned(),
            value: Some(document.line_text(start).to_owned()),
            origin: Some(document.origin(start)),
            found: error.message().to_owned(),
            expected: "TOML".to_owned(),
            remedy: "correct this line".to_owned(),
        });
    }
    if errors.is_empty() {
        document.walk("", table.get_ref(), layers);
    }
    errors.is_empty()
}

fn read_text(path: &Path) -> Result<String, String> {
    let size_bytes = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size_bytes > FILE_MAX_BYTES {
        return Err(format!("this file has {size_bytes} bytes"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

struct Document<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Document<'_> {
    fn walk(&self, prefix: &str, table: &DeTable<'_>, layers: &mut Layers) {
        let role = layers.role();
        for (name, value) in table {
            let dotted = join(prefix, name.get_ref());
            let origin = self.origin(name.span().start);
            let is_section = role.keys().iter().any(|key| is_below(key.name, &dotted));
            match (role.key(&dotted), value.get_ref()) {
                (Some(key), inner) => {
                    layers.take(key, key.kind.read_toml(inner), origin, self.source_of(value));
                }
                (None, DeValue::Table(inner)) if is_section || !inner.is_empty() => {
                    self.walk(&dotted, inner, layers);
                }
                (None, _) if is_section => layers.refuse(Problem {
                    key: dotted.clone(),
                    value: Some(self.source_of(value)),
                    origin: Some(origin),
                    found: "this is a section, not a key".to_owned(),
                    expected: "a table".to_owned(),
                    remedy: format!("write [{dotted}] and its keys below it"),
                }),
                (None, _) => layers.refuse_unknown(&dotted, self.source_of(value), origin),
            }
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Origin::File { path: self.path.to_owned(), line }
    }

    /// The value as it is written.
    fn source_of(&self, value: &Spanned<DeValue<'_>>) -> String {
        let written = self.text.get(value.span()).unwrap_or_default();
        written.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn line_text(&self, offset: usize) -> &str {
        let number = match self.origin(offset) {
            Origin::File { line, .. } => line,
            _ => 1,
        };
        self.text.lines().nth(number - 1).unwrap_or_default().trim()
    }
}

/// A name that is not a bare key keeps its quotes, so that `"raft.heartbeat_ms"` is not taken for the dotted key.
fn join(prefix: &str, name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let name = if is_bare { name.to_owned() } else { format!("{name:?}") };
    if prefix.is_empty() { name } else { format!("{prefix}.{name}") }
}

fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}
