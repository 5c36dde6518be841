//! Guest memory: what is mapped where, and how it is reached.

pub(crate) mod backing;
pub(crate) mod function;
pub(crate) mod interval;
pub(crate) mod messages;
