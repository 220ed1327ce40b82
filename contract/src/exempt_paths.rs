//! Paths that a health checker without a certificate may reach.

use crate::text::escape;

/// The longest path that is taken, in bytes.
const MOST_BYTES: usize = 1024;

/// Raw paths, compared as they are. What two programs could read in two ways is not among them, and
/// so is not exempt in any spelling.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExemptPaths(Vec<String>);

impl ExemptPaths {
    /// Reads paths.
    ///
    /// # Errors
    /// What is wrong with each, all at once.
    pub fn from_entries<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, Vec<String>> {
        let mut paths = Vec::new();
        let mut errors = Vec::new();
        for entry in entries {
            let entry = entry.as_ref();
            match objection(entry) {
                None => paths.push(entry.to_owned()),
                Some(reason) => errors.push(format!("`{}` {reason}", escape(entry))),
            }
        }
        paths.sort_unstable();
        paths.dedup();
        if errors.is_empty() { Ok(Self(paths)) } else { Err(errors) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `path`, as it came and without its query, is one of them.
    pub fn hold(&self, path: &str) -> bool {
        self.0.iter().any(|exempt| exempt == path)
    }
}

fn objection(path: &str) -> Option<&'static str> {
    let has = |part: &str| path.contains(part);
    if !path.starts_with('/') {
        Some("is no path, which begins with `/`")
    } else if has("?") || has("#") {
        Some("has a query or fragment; a path is exempt whatever its query")
    } else if has("%") || has("\\") {
        Some("has an escape, which the application may read as another path")
    } else if has("//") || has(";") || path.split('/').any(|part| part == "." || part == "..") {
        Some("has `//`, `.`, `..` or `;` in it, which the application may read as another path")
    } else if has("*") {
        Some("has a wildcard; paths are compared as they are, name each")
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("has a character in it that no path has")
    } else if path.len() > MOST_BYTES {
        Some("is longer than 1024 bytes")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_exempt_in_its_one_spelling() {
        let paths = ExemptPaths::from_entries(["/healthz", "/", "/a/b-c_d.e~f"]).unwrap();
        for (path, exempt) in [
            ("/healthz", true),
            ("/", true),
            ("/a/b-c_d.e~f", true),
            ("/healthz/", false),
            ("/Healthz", false),
            ("/healthz/../admin", false),
            ("/healthz%2f", false),
            ("/%68ealthz", false),
            ("//healthz", false),
            ("/./healthz", false),
            ("/healthz;a", false),
            ("/healthz\\", false),
            ("/healthz2", false),
            ("/health", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(paths.hold(path), exempt, "{path}");
        }
        assert!(!ExemptPaths::default().hold("/"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_entry() {
        let wrong = [
            "healthz",
            "",
            "/a?b",
            "/a#b",
            "/a%62",
            "/a//b",
            "/a/../b",
            "/..",
            "/a/.",
            "/a;b",
            "/a\\b",
            "/a b",
            "/é",
            "/a/*",
            "https://a/b",
        ];
        let errors = ExemptPaths::from_entries(wrong).unwrap_err();
        assert_eq!(errors.len(), wrong.len(), "{errors:?}");
        assert!(ExemptPaths::from_entries([format!("/{}", "a".repeat(1024)).as_str()]).is_err());
        assert!(ExemptPaths::from_entries(["/..a", "/a.b", "/..."]).is_ok());
    }
}
