//! The table printed at the end: each figure next to that of the bare server or another peer, and next to its goal.

use std::fmt;

use crate::rounds::Pair;

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    figure: String,
    /// The figure of the server that the daemon is compared with.
    peer: String,
    node: String,
    /// The ratio of the two figures, if the goal is about their ratio.
    ratio: String,
    goal: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    Missed,
    /// The figure could not be measured.
    Unmeasured,
    /// There is no goal.
    NoGoal,
}

impl Verdict {
    const fn of(is_met: bool) -> Self {
        if is_met { Self::Met } else { Self::Missed }
    }
}

impl Row {
    /// Returns a row whose ratio of the daemon's figure to its peer's should be at most `goal`.
    pub(crate) fn ratio(figure: String, pair: &Pair, unit: &str, goal: f64) -> Self {
        let verdict = Verdict::of(pair.ratio.median <= goal);
        Self { goal: format!("<= {goal} x"), verdict, ..Self::without_goal(figure, pair, unit, None) }
    }

    /// Returns a row whose ratio of the daemon's figure to its peer's should be at least `goal`. The ratio of the bare
    /// server's figure to the same peer's is printed in brackets.
    pub(crate) fn at_least(figure: String, pair: &Pair, unit: &str, goal: f64, floor: &Pair) -> Self {
        let verdict = Verdict::of(pair.ratio.median >= goal);
        let row = Self::without_goal(figure, pair, unit, Some(floor));
        Self { goal: format!(">= {goal} x {}", row.goal), verdict, ..row }
    }

    /// Returns a row whose ratio of the daemon's figure to its peer's should be at least `goal`, without a bare server.
    pub(crate) fn ratio_at_least(figure: String, pair: &Pair, unit: &str, goal: f64) -> Self {
        let verdict = Verdict::of(pair.ratio.median >= goal);
        Self { goal: format!(">= {goal} x"), verdict, ..Self::without_goal(figure, pair, unit, None) }
    }

    /// Returns a row whose figure of the daemon should be larger than that of its peer by at most `goal`.
    pub(crate) fn difference(figure: &str, [peer, node]: [f64; 2], unit: &str, goal: f64) -> Self {
        Self {
            figure: figure.to_owned(),
            peer: format!("{} {unit}", short(peer)),
            node: format!("{} {unit}", short(node)),
            ratio: String::new(),
            goal: format!("<= {} {unit} more", short(goal)),
            verdict: Verdict::of(node - peer <= goal),
        }
    }

    /// Returns a row without a goal. The ratio of the bare server's figure to the same peer's is printed in brackets.
    pub(crate) fn without_goal(figure: String, pair: &Pair, unit: &str, floor: Option<&Pair>) -> Self {
        let ratio = pair.ratio;
        Self {
            figure,
            peer: format!("{} {unit}", short(pair.floor)),
            node: format!("{} {unit}", short(pair.node)),
            ratio: format!("{:.2} [{:.2}-{:.2}]", ratio.median, ratio.low, ratio.high),
            goal: floor.map_or_else(String::new, |floor| format!("({:.2})", floor.ratio.median)),
            verdict: Verdict::NoGoal,
        }
    }

    /// Returns a row whose peer is not installed, so that the ratio is unknown.
    pub(crate) fn unmeasured(figure: String, node: f64, unit: &str, goal: f64) -> Self {
        let (peer, node) = (String::from("-"), format!("{} {unit}", short(node)));
        let (ratio, goal) = (String::new(), format!(">= {goal} x"));
        Self { figure, peer, node, ratio, goal, verdict: Verdict::Unmeasured }
    }

    /// Returns a row whose goal is an upper bound of the daemon's figure itself. Either figure may be unknown.
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

    /// Returns true if the goal was missed.
    pub(crate) fn is_missed(&self) -> bool {
        self.verdict == Verdict::Missed
    }

    /// Returns true if the figure could not be measured.
    pub(crate) fn is_unmeasured(&self) -> bool {
        self.verdict == Verdict::Unmeasured
    }

    const fn cells(&self) -> [&str; 6] {
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Unmeasured => "not measured",
            Verdict::NoGoal => "",
        };
        [self.figure.as_str(), self.peer.as_str(), self.node.as_str(), self.ratio.as_str(), self.goal.as_str(), verdict]
    }
}

/// The whole table.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// The name of the server that the daemon is compared with.
    pub(crate) peer: &'a str,
    /// The name of the daemon.
    pub(crate) node: &'a str,
    /// The lines.
    pub(crate) rows: &'a [Row],
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = ["figure", self.peer, self.node, "ratio [quarters]", "goal", ""];
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

/// Formats a figure with three significant digits below 100, and as an integer above: more would be noise.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Spread;

    #[test]
    fn a_goal_is_met_up_to_its_bound() {
        let pair =
            |ratio| Pair { floor: 2.0, node: 2.0 * ratio, ratio: Spread { median: ratio, low: ratio, high: ratio } };
        let rows = [
            (Row::ratio_at_least("rate".to_owned(), &pair(0.5), "k/s", 0.5), false),
            (Row::ratio_at_least("rate".to_owned(), &pair(0.49), "k/s", 0.5), true),
            (Row::ratio("p50".to_owned(), &pair(1.6), "us", 1.6), false),
            (Row::ratio("p50".to_owned(), &pair(1.61), "us", 1.6), true),
            (Row::difference("memory", [3.0, 5.0], "MiB", 2.0), false),
            (Row::difference("memory", [3.0, 5.1], "MiB", 2.0), true),
            (Row::without_goal("CPU".to_owned(), &pair(9.0), "us", None), false),
        ];
        for (row, is_missed) in rows {
            assert_eq!(row.is_missed(), is_missed, "{row:?}");
        }
    }

    #[test]
    fn the_columns_of_a_table_are_as_wide_as_their_widest_cell() {
        let row = Row::difference("idle node", [3.0, 123.4], "MiB", 2.0);
        let expected = "\
figure     one copy  three copies  ratio [quarters]              goal
idle node  3.00 MiB       123 MiB                    <= 2.00 MiB more  MISSED
";
        assert_eq!(Table { peer: "one copy", node: "three copies", rows: &[row] }.to_string(), expected);
    }
}
