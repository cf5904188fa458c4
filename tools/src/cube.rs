//! The drawing of a cube of three dimensions, in characters that every terminal has.
//!
//! ```text
//!          110-----------111
//!          /|            /|
//!         / |           / |
//!       010-----------011 |
//!        |  |          |  |
//!        | 100---------|-101
//!        | /           | /
//!        |/            |/
//!       000-----------001
//! ```

use dht_client::{Cluster, NodeId};
use dht_console::output::{BAD, GOOD, Out};

/// The position of the middle of each node's id, as column and row, by id.
const PLACES: [(usize, usize); 8] = [(8, 8), (22, 8), (8, 3), (22, 3), (11, 5), (25, 5), (11, 0), (25, 0)];

const WIDTH: usize = 32;
const HEIGHT: usize = 9;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ink {
    None,
    Up,
    Down,
}

/// Returns the lines of the drawing, or `None` if the cube does not have three dimensions.
pub(crate) fn draw(cluster: &Cluster, out: &Out) -> Option<Vec<String>> {
    if cluster.dimension.bits() != 3 {
        return None;
    }
    let mut paper = [[(' ', Ink::None); WIDTH]; HEIGHT];
    // Links at the back are drawn first, because those in front cross them. Links of a higher dimension are further
    // back.
    let mut links = cluster.links.clone();
    links.sort_by_key(|link| std::cmp::Reverse(link.a.index() | link.b.index()));
    for link in &links {
        line(&mut paper, place(link.a), place(link.b), link.up);
    }
    for member in &cluster.nodes {
        let (column, row) = place(member.node);
        let is_up = member.view.is_ok();
        let id = member.node.binary(cluster.dimension);
        let label = if is_up { id } else { format!("({id})") };
        for (at, letter) in label.chars().enumerate() {
            paper[row][column + at - label.len() / 2] = (letter, if is_up { Ink::Up } else { Ink::Down });
        }
    }
    Some(paper.iter().map(|row| render(row, out)).collect())
}

fn place(node: NodeId) -> (usize, usize) {
    PLACES[usize::from(node.index())]
}

/// Draws a link between two positions: horizontal, vertical, or along the slope that suggests depth.
fn line(paper: &mut [[(char, Ink); WIDTH]; HEIGHT], from: (usize, usize), to: (usize, usize), is_up: bool) {
    let (columns, rows) = (from.0.abs_diff(to.0), from.1.abs_diff(to.1));
    let steps = columns.max(rows);
    let stroke = match (is_up, columns, rows) {
        (false, ..) => '.',
        (true, _, 0) => '-',
        (true, 0, _) => '|',
        (true, ..) => '/',
    };
    let between = |a: usize, b: usize, step: usize| (a * (steps - step) + b * step + steps / 2) / steps;
    let mut middle = None;
    for step in 1..steps {
        let (column, row) = (between(from.0, to.0, step), between(from.1, to.1, step));
        // A slope has one stroke in each row between its ends, and none in the rows of the ends.
        if rows != 0 && (row == from.1 || row == to.1) {
            continue;
        }
        paper[row][column] = (stroke, if is_up { Ink::Up } else { Ink::Down });
        if step * 2 <= steps || middle.is_none() {
            middle = Some((column, row));
        }
    }
    if let (false, Some((column, row))) = (is_up, middle) {
        paper[row][column] = ('x', Ink::Down);
    }
}

/// Colours each run of equal ink in a row.
fn render(row: &[(char, Ink)], out: &Out) -> String {
    let length = row.iter().rposition(|(_, ink)| *ink != Ink::None).map_or(0, |last| last + 1);
    let mut text = String::new();
    for stretch in row[..length].chunk_by(|(_, a), (_, b)| a == b) {
        let letters: String = stretch.iter().map(|(letter, _)| letter).collect();
        text.push_str(&match stretch[0].1 {
            Ink::None => letters,
            Ink::Up => out.paint(GOOD, &letters),
            Ink::Down => out.paint(BAD, &letters),
        });
    }
    text
}
