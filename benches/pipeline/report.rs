//! The table and the JSON.

use serde_json::{Map, Value, json};

/// What was measured, in order.
#[derive(Default)]
pub struct Report {
    rows: Vec<(String, Map<String, Value>)>,
}

impl Report {
    /// Notes a figure of a part, and prints it. `goal` is what must be reached, in words.
    pub fn figure(&mut self, part: &str, name: &str, value: f64, unit: &str, goal: &str) {
        let shown = if value.abs() >= 1_000.0 {
            grouped(value)
        } else {
            format!("{value:.3}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        };
        let goal_shown = if goal.is_empty() {
            String::new()
        } else {
            format!("   goal {goal}")
        };
        println!("{part:<10} {name:<44} {shown:>12} {unit:<8}{goal_shown}");
        match self.rows.iter_mut().find(|(known, _)| known == part) {
            Some((_, figures)) => drop(figures.insert(name.to_owned(), json!(value))),
            None => {
                let figures = Map::from_iter([(name.to_owned(), json!(value))]);
                self.rows.push((part.to_owned(), figures));
            }
        }
    }

    /// A figure noted before.
    pub fn value(&self, part: &str, name: &str) -> Option<f64> {
        let (_, figures) = self.rows.iter().find(|(known, _)| known == part)?;
        figures.get(name)?.as_f64()
    }

    /// p50, p99 and p99.9 of microseconds, as milliseconds.
    pub fn percentiles(&mut self, part: &str, what: &str, mut times: Vec<u32>, goals: [&str; 3]) {
        if times.is_empty() {
            return;
        }
        times.sort_unstable();
        for ((name, of), goal) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
            .into_iter()
            .zip(goals)
        {
            let at = ((times.len() - 1) as f64 * of) as usize;
            self.figure(
                part,
                &format!("{what} {name}"),
                f64::from(times[at]) / 1_000.0,
                "ms",
                goal,
            );
        }
    }

    pub fn json(&self) -> Value {
        Value::Object(
            self.rows
                .iter()
                .map(|(part, figures)| (part.clone(), Value::Object(figures.clone())))
                .collect(),
        )
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
