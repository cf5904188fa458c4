//! The table at the end: each figure beside that of the floor, or of another peer, and beside its goal.

use std::fmt;

use crate::rounds::Pair;

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    figure: String,
    /// What the daemon is held against.
    peer: String,
    node: String,
    /// What is held against the goal when it is a ratio.
    ratio: String,
    goal: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    Missed,
    /// It could not be taken.
    Unmeasured,
    /// There is no goal.
    Told,
}

impl Verdict {
    const fn of(is_met: bool) -> Self {
        if is_met { Self::Met } else { Self::Missed }
    }
}

impl Row {
    /// A figure of which the ratio to the floor has a goal.
    pub(crate) fn ratio(figure: String, pair: &Pair, unit: &str, goal: f64) -> Self {
        let verdict = Verdict::of(pair.ratio.median <= goal);
        Self { goal: format!("<= {goal} x"), verdict, ..Self::told(figure, pair, unit, None) }
    }

    /// A figure of which the ratio is to be large; that of the floor to the same peer stands in brackets.
    pub(crate) fn at_least(figure: String, pair: &Pair, unit: &str, goal: f64, floor: &Pair) -> Self {
        let verdict = Verdict::of(pair.ratio.median >= goal);
        let told = Self::told(figure, pair, unit, Some(floor));
        Self { goal: format!(">= {goal} x {}", told.goal), verdict, ..told }
    }

    /// A figure without a goal; the floor's ratio to the same peer stands in brackets.
    pub(crate) fn told(figure: String, pair: &Pair, unit: &str, floor: Option<&Pair>) -> Self {
        let ratio = pair.ratio;
        Self {
            figure,
            peer: format!("{} {unit}", short(pair.floor)),
            node: format!("{} {unit}", short(pair.node)),
            ratio: format!("{:.2} [{:.2}-{:.2}]", ratio.median, ratio.low, ratio.high),
            goal: floor.map_or_else(String::new, |floor| format!("({:.2})", floor.ratio.median)),
            verdict: Verdict::Told,
        }
    }

    /// A figure whose peer is not there.
    pub(crate) fn unmeasured(figure: String, node: f64, unit: &str, goal: f64) -> Self {
        let (peer, node) = (String::from("-"), format!("{} {unit}", short(node)));
        let (ratio, goal) = (String::new(), format!(">= {goal} x"));
        Self { figure, peer, node, ratio, goal, verdict: Verdict::Unmeasured }
    }

    /// A figure that has a goal of its own; the floor's may be unknown.
    pub(crate) fn absolute(figure: &str, floor: Option<f64>, node: Option<f64>, unit: &str, goal: f64) -> Self {
        let written =
            |figure: Option<f64>| figure.map_or_else(|| String::from("-"), |it| format!("{} {unit}", short(it)));
        Self {
            figure: figure.to_owned(),
            peer: written(floor),
            node: written(node),
            ratio: String::new(),
            goal: format!("<= {} {unit}", short(goal)),
            verdict: node.map_or(Verdict::Unmeasured, |figure| Verdict::of(figure <= goal)),
        }
    }

    /// Was the goal missed?
    pub(crate) fn is_missed(&self) -> bool {
        self.verdict == Verdict::Missed
    }

    /// Could it not be taken?
    pub(crate) fn is_unmeasured(&self) -> bool {
        self.verdict == Verdict::Unmeasured
    }

    const fn cells(&self) -> [&str; 6] {
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Unmeasured => "not measured",
            Verdict::Told => "",
        };
        [self.figure.as_str(), self.peer.as_str(), self.node.as_str(), self.ratio.as_str(), self.goal.as_str(), verdict]
    }
}

/// The whole table.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// What the daemon is held against.
    pub(crate) peer: &'a str,
    /// Its lines.
    pub(crate) rows: &'a [Row],
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = ["figure", self.peer, "dht-node", "ratio [quarters]", "goal", ""];
        let lines: Vec<[&str; 6]> = std::iter::once(titles).chain(self.rows.iter().map(Row::cells)).collect();
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
