//! Three members of a replica group that exchange, change and make up messages as the input says: none of them panics,
//! and what is encoded is decoded again.

#[path = "../replica/mob.rs"]
mod mob;

use mob::{Choose, Mob};

/// The number of steps after which a run ends.
const STEPS_MAX: usize = 20_000;

/// The input, whose bytes decide what happens. It is followed by any number of zeros.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }
}

impl Choose for Script<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        let number =
            if bound > 256 { u64::from(self.byte()) << 8 | u64::from(self.byte()) } else { self.byte().into() };
        number % bound
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }
}

/// Lets the input decide what happens. Returns its length.
pub(crate) fn run(input: &[u8]) -> usize {
    let mut mob = Mob::new(Script(input));
    for _ in 0..STEPS_MAX {
        if mob.choose.0.is_empty() {
            break;
        }
        mob.step();
    }
    input.len()
}
