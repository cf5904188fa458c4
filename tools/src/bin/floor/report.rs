//! The table at the end: each figure beside the floor's and beside its goal.

use std::fmt;

use crate::rounds::Pair;

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    figure: String,
    floor: String,
    node: String,
    /// What is held against the goal when it is a ratio.
    ratio: String,
    goal: String,
    is_met: Option<bool>,
}

impl Row {
    /// A figure of which the ratio to the floor has a goal.
    pub(crate) fn ratio(figure: String, pair: &Pair, unit: &str, goal: f64) -> Self {
        let ratio = pair.ratio;
        Self {
            figure,
            floor: format!("{} {unit}", short(pair.floor)),
            node: format!("{} {unit}", short(pair.node)),
            ratio: format!("{:.2} [{:.2}-{:.2}]", ratio.median, ratio.low, ratio.high),
            goal: format!("<= {goal} x"),
            is_met: Some(ratio.median <= goal),
        }
    }

    /// A figure that has a goal of its own; the floor's may be unknown.
    pub(crate) fn absolute(figure: &str, floor: Option<f64>, node: Option<f64>, unit: &str, goal: f64) -> Self {
        let written =
            |figure: Option<f64>| figure.map_or_else(|| String::from("-"), |it| format!("{} {unit}", short(it)));
        Self {
            figure: figure.to_owned(),
            floor: written(floor),
            node: written(node),
            ratio: String::new(),
            goal: format!("<= {} {unit}", short(goal)),
            is_met: node.map(|figure| figure <= goal),
        }
    }

    /// Was the goal missed?
    pub(crate) fn is_missed(&self) -> bool {
        self.is_met == Some(false)
    }

    /// Could it not be taken?
    pub(crate) const fn is_unmeasured(&self) -> bool {
        self.is_met.is_none()
    }

    const fn cells(&self) -> [&str; 6] {
        let verdict = match self.is_met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        [
            self.figure.as_str(),
            self.floor.as_str(),
            self.node.as_str(),
            self.ratio.as_str(),
            self.goal.as_str(),
            verdict,
        ]
    }
}

/// The whole table.
#[derive(Debug)]
pub(crate) struct Table<'a>(pub(crate) &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = ["figure", "floor", "dht-node", "ratio [quarters]", "goal", ""];
        let lines: Vec<[&str; 6]> = std::iter::once(titles).chain(self.0.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        for line in lines {
            let mut text = format!("{:<width$}", line[0], width = widths[0]);
            for (cell, width) in line.into_iter().zip(widths).skip(1) {
                text.push_str(&format!("  {cell:>width$}"));
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Three digits are more than such figures are worth.
fn short(figure: f64) -> String {
    let decimals = if figure.abs() < 10.0 {
        2
    } else if figure.abs() < 100.0 {
        1
    } else {
        0
    };
    format!("{figure:.decimals$}")
}
