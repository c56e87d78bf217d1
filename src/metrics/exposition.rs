//! From OpenMetrics to the text format that Prometheus had before, version 0.0.4.
//!
//! There a counter's family carries the suffix of its samples, an info is a gauge, and there are no units and no end mark.

/// The same metrics, in the older format.
pub(super) fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // A family's meaning comes before its type, and its name hangs on the type.
    let mut meaning: Option<&str> = None;
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            meaning = Some(help);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap_or((kind, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = meaning.take().and_then(|help| help.split_once(' ')) {
                out.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn counters_and_infos_carry_their_suffix_and_units_go() {
        let text = "# HELP a_seconds Of a.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n\
                    # HELP b What.\n# TYPE b info\nb_info{version=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n# EOF\n";
        let expected = "# HELP a_seconds_total Of a.\n# TYPE a_seconds_total counter\na_seconds_total 1\n\
                        # HELP b_info What.\n# TYPE b_info gauge\nb_info{version=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n";
        assert_eq!(classic(text), expected);
    }
}
