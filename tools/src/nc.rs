use crate::errors::{Exit, Failure};
pub(crate) fn nc(_: &crate::args::Nc, _: &mut crate::session::Session) -> Result<Exit, Failure> { Ok(Exit::Done) }
