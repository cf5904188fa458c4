//! Measures how much a well-behaved client suffers while other clients try to monopolise a node.
//!
//! Each attack is run against a node by itself and against a cube of eight, both in memory, or only against a cube in
//! which three nodes keep each topic on disk; then no attack may cost a leader its leadership. A polite client
//! publishes alone and beside the attackers, in alternating rounds, first one record at a time and then pipelined. The
//! attackers run in a process of their own, at a lower priority: real attackers would not compete with the nodes for
//! processors.
//!
//! ```text
//! cube: attackers ── 110 ── 111, the home of all topics
//!                     │
//!                    010, the third node: its requests pass the link between 110 and 111
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `cases` | the attacks |
//! | `crowd` | the attackers' process |
//! | `polite` | the polite client |
//! | `ground` | the attacked nodes and their topics |
//! | `verdict` | figures, goals, and the printed table |

mod cases;
mod crowd;
mod ground;
mod polite;
mod verdict;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use cases::Case;
pub(crate) use crowd::run as run_crowd;

use crate::Attack;
use crate::clock;
use crate::error::Error;
use crate::setup;

use cases::CASES;
use ground::{Ground, Place, Shape};
use polite::{PIPELINED, Published, UNBATCHED, publish};
use verdict::{Figures, Row, Seen};

/// Time that an attack needs to take full effect, and time after it until the nodes have recovered.
const SETTLE: Duration = Duration::from_millis(200);

/// Measures all attacks, or the requested one. The exit code is 1 if a goal was missed.
pub(crate) fn attack(options: &Attack) -> Result<ExitCode, Error> {
    let program = setup::node_program(options.node.as_ref())?;
    let base_port = setup::free_ports(options.base_port)?;
    let cases: Vec<&Case> = match options.only {
        Some(case) => vec![case],
        None => CASES.iter().collect(),
    };
    writeln!(io::stdout(), "{}", verdict::titles())?;
    let mut missed = 0;
    for case in cases {
        let shapes: &[Shape] = if options.replicas > 1 { &[Shape::Cube] } else { &[Shape::Single, Shape::Cube] };
        for &shape in shapes {
            for row in measure(&program, base_port, case, shape, options)? {
                writeln!(io::stdout(), "{row}")?;
                missed += row.missed();
            }
        }
    }
    writeln!(io::stdout(), "missed goals: {missed} (marked with !)")?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures one attack on newly started nodes, with the polite client connected to each of its nodes in turn.
fn measure(program: &Path, base_port: u16, case: &Case, shape: Shape, options: &Attack) -> Result<Vec<Row>, Error> {
    let memory_bytes = options.memory << 20;
    let ground = Ground::start(program, base_port, shape, (memory_bytes, options.replicas))?;
    let places = shape.places();
    let mut figures: Vec<Figures> = places.iter().map(|_| Figures::default()).collect();
    let (links_before, term_before) = (ground.links_down()?, ground.term()?);
    let (mut asked, mut seconds) = (0, 0.0);
    for _ in 0..options.rounds.max(1) {
        for (place, figures) in places.iter().zip(&mut figures) {
            figures.idle.add(polite_client(&ground, *place, options.secs));
        }
        let crowd = ground.start_crowd(case, options.nice)?;
        clock::pause(SETTLE.max(Duration::from_millis(case.settle_ms)));
        let (since, before) = (clock::now(), ground.asked()?);
        let mut own = 0;
        for (place, figures) in places.iter().zip(&mut figures) {
            let runs = polite_client(&ground, *place, options.secs);
            own +=
                if *place == shape.ingress() { runs.iter().map(|run| run.latencies_ns.len() as u64).sum() } else { 0 };
            figures.beside.add(runs);
        }
        asked += ground.asked()?.saturating_sub(before).saturating_sub(own);
        seconds += since.elapsed().as_secs_f64();
        drop(crowd);
        clock::pause(SETTLE);
    }
    let seen = Seen {
        asked: asked as f64 / seconds,
        links_lost: ground.links_down()? - links_before,
        terms: ground.term()? - term_before,
        turn_us: ground.longest("turn_longest_us")?,
        turn_cpu_us: ground.longest("turn_longest_cpu_us")?,
        memory_bytes: ground.most_memory()?,
        memory_bytes_max: memory_bytes + (64 << 20) + memory_bytes / 10,
    };
    let name = format!("{}, {}", case.name, shape.name());
    let row = |(place, figures): (&Place, Figures)| Row::new(&name, place.name(), case.competitors(), figures, seen);
    Ok(places.iter().zip(figures).map(row).collect())
}

/// Publishes one record at a time, then pipelined.
fn polite_client(ground: &Ground, place: Place, seconds: f64) -> [Published; 2] {
    let (addr, topic) = (ground.addr(place), &ground.topics().polite);
    [UNBATCHED, PIPELINED].map(|window| publish(addr, topic, window, seconds / 2.0))
}
